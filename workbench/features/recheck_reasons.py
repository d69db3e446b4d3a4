"""Why stated and recomputed activations may differ, told from how they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

__all__ = ["Pairs", "reasons"]

# A reason is given where it explains nearly everything, or most of what differs.
_EXPLAINS = 0.9
_GAIN = 0.2
_FEWEST = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """Stated and recomputed activations, token by token, context by context.

    Parameters
    ----------
    stated, recomputed
        Activations.
    owner, place
        Number of the context and position in it.
    special
        Which tokens are special.
    """

    stated: Float[np.ndarray, " n"]
    recomputed: Float[np.ndarray, " n"]
    owner: Int[np.ndarray, " n"]
    place: Int[np.ndarray, " n"]
    special: Bool[np.ndarray, " n"]

    @classmethod
    def joined(
        cls,
        stated: Sequence[np.ndarray],
        recomputed: Sequence[np.ndarray],
        owner: Sequence[np.ndarray],
        place: Sequence[np.ndarray],
        special: Sequence[np.ndarray],
    ) -> Pairs:
        """Join contexts."""

        def join(parts: Sequence[np.ndarray], kind: type) -> np.ndarray:
            return np.concatenate([np.zeros(0, dtype=kind), *parts]).astype(kind)

        return cls(
            stated=join(stated, float),
            recomputed=join(recomputed, float),
            owner=join(owner, int),
            place=join(place, int),
            special=join(special, bool),
        )

    @property
    def count(self) -> int:
        """Number of tokens."""
        return len(self.stated)

    def counted(self) -> Pairs:
        """Return the tokens that are not special."""
        return self.where(~self.special)

    def where(self, mask: Bool[np.ndarray, " n"]) -> Pairs:
        """Return some of the tokens."""
        return Pairs(
            stated=self.stated[mask],
            recomputed=self.recomputed[mask],
            owner=self.owner[mask],
            place=self.place[mask],
            special=self.special[mask],
        )


def _agreement(
    stated: Float[np.ndarray, " n"], recomputed: Float[np.ndarray, " n"], atol: float, rtol: float
) -> float:
    """Fraction of tokens on which either fires that agree; 1 where none fires."""
    larger = np.maximum(np.abs(stated), np.abs(recomputed))
    fires = larger > atol
    same = np.abs(stated - recomputed) <= atol + rtol * larger
    return float(same[fires].mean()) if fires.any() else 1.0


def reasons(
    pairs: Pairs, other: Pairs | None, bos: bool, atol: float, rtol: float
) -> tuple[str, ...]:
    """Return likely reasons of differences, likeliest first, each with its evidence.

    Parameters
    ----------
    pairs
        The comparison.
    other
        The same contexts run with the opposite BOS; None where there is no BOS.
    bos
        Whether `pairs` had one put first.
    atol, rtol
        The tolerance.
    """
    told: list[str] = []
    seen = pairs.counted()
    now = _agreement(seen.stated, seen.recomputed, atol, rtol)
    apart = np.abs(pairs.stated - pairs.recomputed) > atol + rtol * np.maximum(
        np.abs(pairs.stated), np.abs(pairs.recomputed)
    )
    special = int((apart & pairs.special).sum())
    if now < 1:
        explained = [
            _another_bos(seen, other, now, bos, atol, rtol),
            _scale(seen, now, atol, rtol),
            _shift(seen, now, atol, rtol),
            _cut(seen, now, atol, rtol),
            _precision(seen, atol, rtol),
        ]
        told = [reason for reason in explained if reason]
        if not told:
            told = [_unrelated(seen, now)]
    if special:
        zeroed = bool((pairs.stated[apart & pairs.special] == 0).all())
        told.append(
            f"{special} special tokens (BOS and the like) differ"
            + (", which the dashboard shows as 0" if zeroed else "")
            + "; they are not counted"
        )
    return tuple(told)


def _another_bos(
    seen: Pairs, other: Pairs | None, now: float, bos: bool, atol: float, rtol: float
) -> str:
    if other is None:
        return ""
    there = other.counted()
    # A context's first token goes where BOS is left out, so only common tokens are compared.
    keys = {(o, p) for o, p in zip(there.owner.tolist(), there.place.tolist(), strict=True)}
    places = zip(seen.owner.tolist(), seen.place.tolist(), strict=True)
    common = seen.where(np.array([key in keys for key in places], dtype=bool))
    before = _agreement(common.stated, common.recomputed, atol, rtol)
    after = _agreement(there.stated, there.recomputed, atol, rtol)
    if after < max(_EXPLAINS, min(now, before) + _GAIN):
        return ""
    how = "without a BOS token" if bos else "with a BOS token put first"
    return f"{how} {after:.0%} of firing tokens agree instead of {now:.0%}: another BOS policy"


def _scale(seen: Pairs, now: float, atol: float, rtol: float) -> str:
    both = (np.abs(seen.stated) > 10 * atol) & (np.abs(seen.recomputed) > 10 * atol)
    if both.sum() < _FEWEST:
        return ""
    factor = float(np.median(seen.recomputed[both] / seen.stated[both]))
    if abs(factor - 1) <= rtol or factor <= 0:
        return ""
    after = _agreement(seen.stated * factor, seen.recomputed, atol * max(factor, 1), rtol)
    if after < max(_EXPLAINS, now + _GAIN):
        return ""
    return (
        f"recomputed activations are {factor:.4g} × the stated ones ({after:.0%} agree then): "
        "scaled by normalisation, or by folding decoder norms in"
    )


def _shift(seen: Pairs, now: float, atol: float, rtol: float) -> str:
    for step, where in ((1, "later"), (-1, "earlier")):
        stated, recomputed = [], []
        for owner in np.unique(seen.owner):
            mine = seen.owner == owner
            a, b = seen.stated[mine], seen.recomputed[mine]
            stated.append(a[:-1] if step > 0 else a[1:])
            recomputed.append(b[1:] if step > 0 else b[:-1])
        a, b = np.concatenate(stated), np.concatenate(recomputed)
        after = _agreement(a, b, atol, rtol)
        if after >= max(_EXPLAINS, now + _GAIN) and (np.abs(a) > atol).sum() >= _FEWEST:
            return f"recomputed activations come one token {where} ({after:.0%} agree then)"
    return ""


def _cut(seen: Pairs, now: float, atol: float, rtol: float) -> str:
    """Contexts cut out of longer texts: what stood before is missing, and matters less and less."""
    lengths = np.bincount(seen.owner)[seen.owner]
    late = seen.place >= lengths / 2
    after = _agreement(seen.stated[late], seen.recomputed[late], atol, rtol)
    before = _agreement(seen.stated[~late], seen.recomputed[~late], atol, rtol)
    if after < _EXPLAINS or after < before + _GAIN or now >= after:
        return ""
    return (
        f"{before:.0%} of firing tokens agree in the first half of contexts, {after:.0%} in the "
        "second: contexts are cut out of longer texts, whose beginning is missing here"
    )


def _precision(seen: Pairs, atol: float, rtol: float) -> str:
    if _agreement(seen.stated, seen.recomputed, 10 * atol, 5 * rtol) < 1:
        return ""
    worst = float(np.abs(seen.stated - seen.recomputed).max())
    return f"all differences are small (at most {worst:.3g}): another precision or rounding"


def _unrelated(seen: Pairs, now: float) -> str:
    if seen.stated.std() > 0 and seen.recomputed.std() > 0:
        correlation = float(np.corrcoef(seen.stated, seen.recomputed)[0, 1])
    else:
        correlation = 0.0
    if correlation < 0.5:
        return (
            f"the two have little in common (correlation {correlation:.2f}): probably another SAE, "
            "another site, or other weights"
        )
    return (
        f"{now:.0%} of firing tokens agree (correlation {correlation:.2f}), for none of the usual "
        "reasons (BOS, scale, shift, cut contexts, precision): perhaps other preprocessing of the "
        "model, or tokens before the context"
    )

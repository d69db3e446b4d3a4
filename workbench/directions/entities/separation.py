"""How far features part known from unknown entities.

Per type, ``f_known`` and ``f_unknown`` are the shares of entities on which a feature fires;
``s_unknown = f_unknown − f_known`` and ``s_known = −s_unknown``. Over types the minimum counts, so
that a feature must part them for every type (Ferrando et al. 2024, section 4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float

from workbench.directions.entities.scoring import EntityCodes
from workbench.errors import InputError

__all__ = ["SIDES", "Ranked", "Rates", "Side", "rank_features", "rates", "separation"]

Side: TypeAlias = Literal["known", "unknown"]
SIDES: tuple[Side, ...] = ("known", "unknown")


@dataclass(frozen=True, kw_only=True, eq=False)
class Rates:
    """Firing rates of one SAE's features on known and unknown entities.

    Parameters
    ----------
    types
        Entity types, the rows of both.
    known, unknown
        ``f_known`` and ``f_unknown``.
    """

    types: tuple[str, ...]
    known: Float[np.ndarray, "types d_sae"]
    unknown: Float[np.ndarray, "types d_sae"]

    def separation(self, side: Side) -> Float[np.ndarray, "types d_sae"]:
        """Return ``s_known`` or ``s_unknown``."""
        return separation(self.known, self.unknown, side)


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """One feature and how far it parts the two.

    Parameters
    ----------
    sae, index
        Which feature.
    side
        Which class it speaks for.
    score
        Its separation at the type where that is smallest.
    by_type
        Separation by type.
    density
        Share of general tokens it fires on, None if unknown.
    """

    sae: str
    index: int
    side: Side
    score: float
    by_type: Mapping[str, float]
    density: float | None

    @property
    def feature(self) -> str:
        """The written form ``sae/index``."""
        return f"{self.sae}/{self.index}"


def separation(
    known: Float[np.ndarray, "*shape"], unknown: Float[np.ndarray, "*shape"], side: Side
) -> Float[np.ndarray, "*shape"]:
    """Return ``f_known − f_unknown``, or its negative for the unknown side.

    Raises
    ------
    InputError
        The side is neither.
    """
    if side not in ("known", "unknown"):
        raise InputError(f"a feature speaks for 'known' or 'unknown', got {side!r}")
    return known - unknown if side == "known" else unknown - known


def rates(
    codes: EntityCodes,
    types: Sequence[str],
    of_type: Sequence[str],
    known: Bool[np.ndarray, " entities"],
    unknown: Bool[np.ndarray, " entities"],
) -> Rates:
    """Count on how many known and unknown entities of each type features fire.

    Parameters
    ----------
    codes
        Codes at the entities' last tokens.
    types
        Types to count.
    of_type
        The type of each entity.
    known, unknown
        Which entities count as which; those in neither do not count.

    Raises
    ------
    InputError
        A type has no known or no unknown entity.
    """
    kinds = np.asarray(of_type)
    parts: dict[str, list[np.ndarray]] = {"known": [], "unknown": []}
    for kind in types:
        for name, chosen in (("known", known), ("unknown", unknown)):
            rows = chosen & (kinds == kind)
            if not rows.any():
                raise InputError(f"there is no {name} entity of type {kind!r} to count")
            parts[name].append(codes.firing(rows))
    return Rates(
        types=tuple(types), known=np.stack(parts["known"]), unknown=np.stack(parts["unknown"])
    )


def rank_features(
    found: Mapping[str, Rates],
    codes: Mapping[str, EntityCodes],
    side: Side,
    *,
    max_density: float | None,
    k: int,
) -> list[Ranked]:
    """Rank features of all SAEs by the minimum over types of their separation.

    Parameters
    ----------
    found
        Rates by SAE.
    codes
        Codes by SAE, for densities.
    side
        Which class the features speak for.
    max_density
        Drop features that fire on this share of general tokens or more; None drops none. Features
        of unknown density stay.
    k
        How many. Features that do not part the two (minimum at or below 0) are never given.
    """
    rows: list[Ranked] = []
    for name, rate in found.items():
        by_type = rate.separation(side)
        lowest = by_type.min(0)
        density = codes[name].density
        fits = lowest > 0
        if max_density is not None and density is not None:
            fits &= density < max_density
        chosen = np.flatnonzero(fits)
        chosen = chosen[np.argsort(-lowest[chosen], kind="stable")][:k]
        rows += [
            Ranked(
                sae=name,
                index=int(index),
                side=side,
                score=float(lowest[index]),
                by_type={t: float(s) for t, s in zip(rate.types, by_type[:, index], strict=True)},
                density=None if density is None else float(density[index]),
            )
            for index in chosen
        ]
    return sorted(rows, key=lambda row: -row.score)[:k]

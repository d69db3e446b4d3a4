"""Comparing the activations a dashboard shows with those computed again here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from workbench.errors import InputError, TokenError
from workbench.features.dashboard import Context, Dashboard
from workbench.features.geometry import locate
from workbench.features.recheck_reasons import Pairs, reasons
from workbench.features.refs import FeatureRef
from workbench.features.token_matching import TokenMatcher
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd

    from workbench.saes.sae import Sae
    from workbench.session import Session

__all__ = ["Recheck", "recheck"]

# Files round to three decimals; kernels and precisions differ in the third significant digit.
ATOL = 0.002
RTOL = 0.01
_ROWS = 16


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Recheck(Result):
    """A dashboard's activations beside recomputed ones.

    Tokens agree where the two differ by at most ``atol + rtol × the larger``. Most tokens are zero
    in both, so agreement counts those on which either fires. Special tokens are left out.

    Parameters
    ----------
    feature
        The feature it was computed for.
    atol, rtol
        The tolerance.
    bos
        Whether a beginning-of-sequence token was put before contexts that have none.
    group, context
        Which group of the dashboard each context is from, and its number there.
    problem
        Why a context was not checked; empty for those that were.
    tokens, firing, agreeing
        Tokens compared in each context, tokens on which either fires, and how many of those agree.
    max_difference
        Largest difference in each context; NaN where it was not checked.
    stated_peak, recomputed_peak
        Activation at the token the context is for; NaN where it was not checked.
    stated, recomputed
        Every compared token's activations, context by context.
    strings
        Those tokens. Untrusted text.
    special_differ
        Special tokens that differ.
    reasons
        Likely reasons of what differs, the evidence with each.
    """

    feature: str
    atol: float
    rtol: float
    bos: bool
    group: tuple[str, ...]
    context: Int[np.ndarray, " contexts"]
    problem: tuple[str, ...]
    tokens: Int[np.ndarray, " contexts"]
    firing: Int[np.ndarray, " contexts"]
    agreeing: Int[np.ndarray, " contexts"]
    max_difference: Float[np.ndarray, " contexts"]
    stated_peak: Float[np.ndarray, " contexts"]
    recomputed_peak: Float[np.ndarray, " contexts"]
    stated: Float[np.ndarray, " tokens"]
    recomputed: Float[np.ndarray, " tokens"]
    strings: tuple[str, ...]
    special_differ: int
    reasons: tuple[str, ...]

    @property
    def checked(self) -> Bool[np.ndarray, " contexts"]:
        """Which contexts were checked."""
        return np.array([not problem for problem in self.problem], dtype=bool)

    @property
    def agreement(self) -> float:
        """Fraction of firing tokens that agree; NaN where none fires."""
        firing = int(self.firing.sum())
        return int(self.agreeing.sum()) / firing if firing else float("nan")

    @property
    def agrees(self) -> bool:
        """Whether every context was checked and every firing token agrees."""
        return bool(self.checked.all()) and bool((self.agreeing == self.firing).all())

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per context."""
        import pandas as pd

        return pd.DataFrame(
            {
                "group": self.group,
                "context": self.context,
                "agrees": self.checked & (self.agreeing == self.firing),
                "tokens": self.tokens,
                "firing": self.firing,
                "agreeing": self.agreeing,
                "max_difference": self.max_difference,
                "stated_peak": self.stated_peak,
                "recomputed_peak": self.recomputed_peak,
                "problem": self.problem,
            }
        )

    def summary(self) -> str:
        """Return one line: how much agrees, and the likeliest reason where not all does."""
        checked = int(self.checked.sum())
        head = f"Recheck {self.feature}: {checked} of {len(self.group)} contexts checked"
        if checked:
            head += (
                f", {int(self.agreeing.sum()):,} of {int(self.firing.sum()):,} firing tokens agree "
                f"(within {self.atol:g} + {self.rtol:.0%})"
            )
        return head + (f"; {self.reasons[0]}" if self.reasons else "")

    def _repr_html_(self) -> str:
        import html

        more = "".join(f"<li>{html.escape(reason)}</li>" for reason in self.reasons)
        return super()._repr_html_() + (f"<ul>{more}</ul>" if more else "")

    def plot(self) -> Any:
        """Return recomputed against stated activations, one point per firing token."""
        import html

        import plotly.graph_objects as go

        from workbench.plots import CATEGORIES, styled

        same = _within(self.stated, self.recomputed, self.atol, self.rtol)
        fires = _fires(self.stated, self.recomputed, self.atol)
        names = np.array([html.escape(repr(token)) for token in self.strings], dtype=object)
        figure = go.Figure()
        top = float(max(self.stated.max(initial=0), self.recomputed.max(initial=0)))
        figure.add_scatter(
            x=[0, top],
            y=[0, top],
            mode="lines",
            name="equal",
            line={"width": 1, "color": "#99a1ab"},
        )
        for name, chosen, colour in (
            ("agrees", fires & same, CATEGORIES[0]),
            ("differs", fires & ~same, CATEGORIES[5]),
        ):
            figure.add_scatter(
                x=self.stated[chosen],
                y=self.recomputed[chosen],
                mode="markers",
                name=name,
                text=names[chosen],
                marker={"size": 5, "color": colour},
                hovertemplate="%{text}<br>stated %{x:.4g}<br>recomputed %{y:.4g}<extra></extra>",
            )
        return styled(
            figure,
            title=f"{self.feature}: stated and recomputed activations",
            x="stated activation",
            y="recomputed activation",
        )


def recheck(
    session: Session,
    dashboard: Dashboard,
    *,
    feature: str | FeatureRef | None = None,
    bos: bool | None = None,
    atol: float = ATOL,
    rtol: float = RTOL,
) -> Recheck:
    """Compute the activations of a dashboard's contexts again and compare.

    Parameters
    ----------
    session
        The model and SAE to compute with.
    dashboard
        A dashboard, read from another tool's file or made here. Contexts without token ids are
        found in the vocabulary by their text.
    feature
        The feature to compute; None for the dashboard's own.
    bos
        Whether to put a beginning-of-sequence token before contexts that have none; None for the
        session's token policy.
    atol, rtol
        How far activations may differ: ``atol + rtol × the larger``.

    Returns
    -------
    Recheck

    Raises
    ------
    SaeError
        The session has no such SAE; give `feature`.
    InputError
        The index is outside the dictionary, a tolerance is negative, or the dashboard has no
        contexts.
    """
    if atol < 0 or rtol < 0:
        raise InputError(f"tolerances must be at least 0, got atol={atol}, rtol={rtol}")
    shown = [
        (group.name, number, context)
        for group in dashboard.groups
        for number, context in enumerate(group.contexts)
    ]
    if not shown:
        raise InputError(f"the dashboard of {dashboard.feature} shows no contexts to check")
    ref = FeatureRef.parse(feature if feature is not None else dashboard.feature)
    sae, index = locate(session, ref)
    start = session.tokenizer.bos_token_id
    wanted = session.model.tokenizing.resolve(session.policy).bos if bos is None else bos
    if bos and start is None:
        raise InputError("bos=True, but the model's tokenizer has no BOS token")
    wanted = bool(wanted) and start is not None

    rows = [_ids(session, context, start if wanted else None) for _, _, context in shown]
    values = _activations(
        session, sae, index, {n: row for n, row in enumerate(rows) if isinstance(row, list)}
    )
    pairs = _pairs(session, shown, rows, values)
    other: Pairs | None = None
    told: tuple[str, ...] = ()
    if pairs.count and not _within(pairs.stated, pairs.recomputed, atol, rtol).all():
        other = _other_bos(session, sae, index, shown, rows, start)
        told = reasons(pairs, other, wanted, atol, rtol)
    return _result(session, ref, sae, shown, rows, pairs, told, wanted, atol, rtol)


_Shown = list[tuple[str, int, Context]]
_Rows = list[list[int] | str]


def _ids(session: Session, context: Context, start: int | None) -> list[int] | str:
    """Token ids to run, BOS first where asked for and missing; or why there are none."""
    ids = [int(token) for token in context.token_ids]
    size = len(session.tokenizer)
    if not all(0 <= token < size for token in ids):
        try:
            ids = TokenMatcher.of(session.model).ids(context.tokens)
        except TokenError as error:
            return str(error)
    if start is not None and ids[0] != start:
        ids = [start, *ids]
    longest = session.model.tokenizing.resolve(session.policy).max_length
    if longest is not None and len(ids) > longest:
        return f"{len(ids)} tokens, the model takes {longest}"
    return ids


def _activations(
    session: Session, sae: Sae, index: int, rows: dict[int, list[int]]
) -> dict[int, Float[np.ndarray, " pos"]]:
    """Activations of one feature on rows of tokens, by row number."""
    found: dict[int, np.ndarray] = {}
    # Rows of like length pad little.
    order = sorted(rows, key=lambda number: len(rows[number]))
    if sae.site is None:
        raise InputError(f"SAE {sae.name} is attached to no site")
    for begin in range(0, len(order), _ROWS):
        numbers = order[begin : begin + _ROWS]
        batch = session.model.tokenizing.from_ids([rows[n] for n in numbers], session.policy)
        ran = session.run(batch, capture=[sae.site])[sae.site]
        for place, number in enumerate(numbers):
            with torch.no_grad():
                # Row by row without padding: some SAEs read a whole sequence.
                code = sae.encode_features(ran[place : place + 1, : len(rows[number])], [index])
            found[number] = code[0, :, 0].float().cpu().numpy().astype(np.float64)
    return found


def _pairs(
    session: Session, shown: _Shown, rows: _Rows, values: dict[int, Float[np.ndarray, " pos"]]
) -> Pairs:
    """Line stated and recomputed activations up, token by token."""
    special_ids = frozenset(session.tokenizer.all_special_ids)
    stated, recomputed, owner, place, special = [], [], [], [], []
    for number, (_, _, context) in enumerate(shown):
        row = rows[number]
        if number not in values or isinstance(row, str):
            continue
        # What stands before the context's own tokens is not compared; where a first token was left
        # out of the run, neither is it.
        length = min(len(row), len(context.tokens))
        stated.append(np.asarray(context.values, dtype=np.float64)[-length:])
        recomputed.append(values[number][-length:])
        owner.append(np.full(length, number))
        place.append(np.arange(len(context.tokens))[-length:])
        special.append(np.array([token in special_ids for token in row[-length:]], dtype=bool))
    return Pairs.joined(stated, recomputed, owner, place, special)


def _other_bos(
    session: Session, sae: Sae, index: int, shown: _Shown, rows: _Rows, start: int | None
) -> Pairs | None:
    """Compare the same contexts with the opposite BOS."""
    if start is None:
        return None
    flipped: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        if isinstance(row, list):
            changed = row[1:] if row[0] == start else [start, *row]
            if 0 < len(changed) <= session.model.n_ctx:
                flipped[number] = changed
    every: _Rows = [flipped.get(number, "") for number in range(len(rows))]
    return _pairs(session, shown, every, _activations(session, sae, index, flipped))


def _within(
    stated: Float[np.ndarray, " n"], recomputed: Float[np.ndarray, " n"], atol: float, rtol: float
) -> Bool[np.ndarray, " n"]:
    larger = np.maximum(np.abs(stated), np.abs(recomputed))
    found: np.ndarray = np.abs(stated - recomputed) <= atol + rtol * larger
    return found


def _fires(
    stated: Float[np.ndarray, " n"], recomputed: Float[np.ndarray, " n"], atol: float
) -> Bool[np.ndarray, " n"]:
    found: np.ndarray = np.maximum(np.abs(stated), np.abs(recomputed)) > atol
    return found


def _result(
    session: Session,
    ref: FeatureRef,
    sae: Sae,
    shown: _Shown,
    rows: _Rows,
    pairs: Pairs,
    told: tuple[str, ...],
    bos: bool,
    atol: float,
    rtol: float,
) -> Recheck:
    size = len(shown)
    same = _within(pairs.stated, pairs.recomputed, atol, rtol)
    counted = ~pairs.special
    fires = counted & _fires(pairs.stated, pairs.recomputed, atol)

    def per_context(mask: Bool[np.ndarray, " n"]) -> Int[np.ndarray, " contexts"]:
        return np.bincount(pairs.owner[mask], minlength=size)

    largest = np.full(size, np.nan)
    peaks = np.full((2, size), np.nan)
    for number, (_, _, context) in enumerate(shown):
        mine = pairs.owner == number
        compared = mine & counted
        if compared.any():
            largest[number] = np.abs(pairs.stated - pairs.recomputed)[compared].max()
        at = mine & (pairs.place == context.peak)
        if at.any():
            peaks[:, number] = pairs.stated[at][0], pairs.recomputed[at][0]
    tokens = [
        shown[number][2].tokens[at]
        for number, at in zip(pairs.owner[counted], pairs.place[counted], strict=True)
    ]
    unchecked = sum(isinstance(row, str) for row in rows)
    if unchecked:
        first = next(row for row in rows if isinstance(row, str))
        told = (*told, f"{unchecked} of {size} contexts could not be checked: {first}")
    return Recheck(
        provenance=session.model.provenance(saes=[sae.name]),
        feature=str(ref),
        atol=atol,
        rtol=rtol,
        bos=bos,
        group=tuple(name for name, _, _ in shown),
        context=np.array([number for _, number, _ in shown]),
        problem=tuple(row if isinstance(row, str) else "" for row in rows),
        tokens=per_context(counted),
        firing=per_context(fires),
        agreeing=per_context(fires & same),
        max_difference=largest,
        stated_peak=peaks[0],
        recomputed_peak=peaks[1],
        stated=pairs.stated[counted],
        recomputed=pairs.recomputed[counted],
        strings=tuple(tokens),
        special_differ=int((pairs.special & ~same).sum()),
        reasons=told,
    ).bound_to(session)

"""Probing: which units of a model, and how few, tell a label.

Sparse probing after Gurnee et al. 2023 ("Finding Neurons in a Haystack", arXiv:2305.01610): rank
the units of a source on training rows, fit a balanced L2 logistic regression on the best k, and
measure it on held-out rows; SAE features, MLP neurons and residual dimensions side by side, with a
logistic regression on all dimensions of a site as upper bound.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool, Int

from workbench.directions.activations import Pooling, TokensUsed
from workbench.directions.detection import auroc
from workbench.directions.direction import Direction
from workbench.directions.probe_fit import FittedProbe, Intervals, fit_probe, measures, split_rows
from workbench.directions.probe_fit import confusion as count_cells
from workbench.directions.probe_labels import text_labels, token_labels
from workbench.directions.probe_ranking import RANKINGS, columns_of, rank_units
from workbench.directions.probe_results import Probe, ProbeStudy
from workbench.directions.probe_sources import Source, SourceReader, make_plan
from workbench.errors import InputError, unknown

if TYPE_CHECKING:
    from workbench.model.tokens import TokenPolicy
    from workbench.session import Session

__all__ = ["KS", "probe"]

KS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 32, 64, 128, 256)
_UNITS = ("features", "neurons", "residual")


def probe(
    session: Session,
    texts: Sequence[Any],
    labels: Sequence[Any],
    *,
    positive: Any = None,
    level: Literal["text", "token"] = "text",
    pooling: Pooling = "max",
    tokens: TokensUsed = "all",
    units: Sequence[str] = _UNITS,
    saes: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
    rankings: Sequence[str] = ("mean_difference",),
    ks: Sequence[int] = KS,
    dense: bool = True,
    held_out: float = 0.3,
    groups: Sequence[Any] | None = None,
    seed: int = 0,
    policy: TokenPolicy | None = None,
    batch_size: int = 64,
    progress: Callable[[str, int, int], None] | None = None,
) -> ProbeStudy:
    """Fit sparse and dense probes for a label.

    Parameters
    ----------
    session
        The session.
    texts
        Texts or conversations.
    labels
        One label per text; for ``level="token"`` a sequence per text, one label for each of its
        own tokens (or for each of its tokens, special ones included and ignored).
    positive
        The class that counts as positive, all others being negative. Needed where there are more
        than two; of two, the larger in order (1, True, the later in the alphabet) where None.
    level
        ``"text"``: tokens are pooled to one row per text. ``"token"``: each token is a row, and a
        text's tokens are held out together.
    pooling
        ``"max"``, ``"mean"`` or ``"last"``.
    tokens
        ``"all"`` own tokens, or each text's ``"last"`` (special or not).
    units
        Kinds of units: SAE ``"features"``, MLP ``"neurons"`` (``mlp_post``), ``"residual"``
        dimensions (``resid_post``).
    saes, layers
        Restrict SAEs by name, neurons and dimensions by layer; all where None.
    rankings
        How units are chosen: ``mean_difference``, ``f_statistic``, ``mutual_information``,
        ``l1_logistic``.
    ks
        Numbers of units; those a source does not have are left to its own size.
    dense
        Also fit each site's dense probe.
    held_out
        Share of texts held out. The same share of the rest validates: sources are compared by what
        probes fitted without it score on it, then fitted anew on all of the rest.
    groups
        Texts with the same value are held out together (pairs, one author).
    seed
        Seed of the split and of anything drawn.
    policy
        Token policy; the session's own where None.
    batch_size
        Texts per pass.
    progress
        Called with what is being done, steps done and steps in all; raise in it to stop.

    Returns
    -------
    ProbeStudy

    Raises
    ------
    InputError, SaeError, SiteError, TokenError
        An argument cannot be used; the message says which.
    """
    if level not in ("text", "token"):
        raise InputError(unknown("level", str(level), ("text", "token")))
    _check_choices(units, rankings, ks)
    if isinstance(texts, str) or len(texts) != len(labels):
        got = "one text" if isinstance(texts, str) else f"{len(texts)} texts"
        raise InputError(f"got {got} and {len(labels)} labels, expected one label per text")
    plan = make_plan(session, units, saes, layers, dense=dense)
    tokenised = session.model.tokens(texts, policy)
    if level == "text":
        name, truth = text_labels(labels, positive)
    else:
        name, truth = token_labels(labels, positive, tokenised, tokens)
    reader = SourceReader(session, tokenised, plan, level, pooling, tokens, batch_size, progress)
    sources, starts = reader.read(texts)
    text_of_row = (
        np.arange(len(texts))
        if level == "text"
        else np.repeat(np.arange(len(texts)), np.diff(starts))
    )
    belongs = text_of_row if groups is None else _groups(groups, len(texts))[text_of_row]
    test = split_rows(truth, belongs, fraction=held_out, seed=seed)
    rows = _Rows(
        truth=truth,
        test=test,
        inner=_validation(truth, belongs, test, seed),
        intervals=Intervals(None if level == "text" else belongs[test], seed=seed),
        seed=seed,
    )
    probes: list[Probe] = []
    directions: dict[str, Direction] = {}
    for number, source in enumerate(sources):
        if progress is not None:
            progress(f"{source.kind} of {source.name}", number, len(sources))
        if source.kind == "dense":
            found, fitted = rows.dense(source)
            probes.append(found)
            # A site that tells nothing may leave every weight at 0: no direction then.
            if fitted.line()[0].any():
                directions[source.site] = _direction(
                    session, source, fitted, rows, name, tokenised.policy
                )
        else:
            for ranking in rankings:
                probes.extend(rows.sweep(source, ranking, ks))
    if progress is not None:
        progress("done", len(sources), len(sources))
    return ProbeStudy(
        provenance=session.model.provenance(tokenised.policy, saes=plan.saes, seed=seed),
        positive=name,
        level=level,
        pooling=pooling if level == "text" else "",
        n_train=int((~test).sum()),
        n_test=int(test.sum()),
        test_share=float(truth[test].mean()),
        probes=tuple(probes),
        directions=directions,
    ).bound_to(session)


# -- fitting -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class _Rows:
    truth: Bool[np.ndarray, " row"]
    test: Bool[np.ndarray, " row"]
    inner: Bool[np.ndarray, " row"]
    """Training rows that probes to be compared are validated on, before they see all of them."""
    intervals: Intervals
    seed: int

    def sweep(self, source: Source, ranking: str, ks: Sequence[int]) -> list[Probe]:
        """Fit the probes of one source and ranking, for every k it has units for."""
        train, n_units = ~self.test, source.values.shape[1]
        sizes = sorted({min(k, n_units) for k in ks})
        order, columns = self._ranked(source, ranking, train, sizes[-1])
        # Ranked anew without the validation rows, so that these choose honestly.
        _, before = self._ranked(source, ranking, train & ~self.inner, sizes[-1])
        found = []
        for k in sizes:
            valid = self._validated(before[:, :k])
            fitted = fit_probe(columns[train, :k], self.truth[train])
            found.append(self._measured(source, ranking, order[:k], columns[:, :k], fitted, valid))
        return found

    def _ranked(
        self, source: Source, ranking: str, rows: Bool[np.ndarray, " row"], most: int
    ) -> tuple[np.ndarray, np.ndarray]:
        order = rank_units(source.values[rows], self.truth[rows], ranking, seed=self.seed)[:most]
        return order, columns_of(source.values, order)

    def _validated(self, columns: np.ndarray, *, search: bool = False) -> float:
        if not self.inner.any():
            return float("nan")
        fitting = ~self.test & ~self.inner
        fitted = fit_probe(columns[fitting], self.truth[fitting], search=search, seed=self.seed)
        said = fitted.scores(columns[self.inner]) > 0
        return float(measures(count_cells(self.truth[self.inner], said)[0])["f1"])

    def dense(self, source: Source) -> tuple[Probe, FittedProbe]:
        """Fit the probe on all dimensions, its penalty chosen on the training rows."""
        units = np.arange(source.values.shape[1])
        columns = columns_of(source.values, units)
        train = ~self.test
        valid = self._validated(columns, search=True)
        fitted = fit_probe(columns[train], self.truth[train], search=True, seed=self.seed)
        return self._measured(source, "", units, columns, fitted, valid), fitted

    def _measured(
        self,
        source: Source,
        ranking: str,
        units: np.ndarray,
        columns: np.ndarray,
        fitted: FittedProbe,
        valid: float,
    ) -> Probe:
        scores = fitted.scores(columns)
        figures = self.intervals(self.truth[self.test], scores[self.test] > 0)
        trained = count_cells(self.truth[~self.test], scores[~self.test] > 0)[0]
        return Probe(
            kind=source.kind,
            source=source.name,
            site=source.site,
            layer=source.layer,
            ranking=ranking,
            k=len(units),
            units=np.asarray(units, dtype=np.int64),
            auroc=auroc(scores[self.test], self.truth[self.test]),
            train_f1=float(measures(trained)["f1"]),
            valid_f1=valid,
            **figures,
        )


def _direction(
    session: Session,
    source: Source,
    fitted: FittedProbe,
    rows: _Rows,
    name: str,
    policy: TokenPolicy,
) -> Direction:
    weights, intercept = fitted.line()
    length = float(np.linalg.norm(weights))
    direction = Direction(
        provenance=session.model.provenance(policy, seed=rows.seed),
        name=name,
        site=source.site,
        vector=weights,
        method="dense_probe",
        bias=intercept / length,
        positive=f"is {name}",
        details={"penalty": float(fitted.model.C)},
    )
    largest = float((np.asarray(source.values)[rows.test] @ direction.vector).max())
    scaled = dataclasses.replace(direction, scale=largest if largest > 0 else None)
    return scaled.bound_to(session)


def _validation(
    truth: Bool[np.ndarray, " row"],
    belongs: Int[np.ndarray, " row"],
    test: Bool[np.ndarray, " row"],
    seed: int,
) -> Bool[np.ndarray, " row"]:
    """Choose training rows to validate on; none where that would leave a class out."""
    inner = np.zeros(len(truth), dtype=bool)
    try:
        inner[~test] = split_rows(truth[~test], belongs[~test], fraction=0.3, seed=seed + 1)
    except InputError:
        # Too few rows to compare sources honestly: `valid_f1` is NaN and training F1 chooses.
        return inner
    return inner


# -- arguments ---------------------------------------------------------------------------------


def _check_choices(units: Sequence[str], rankings: Sequence[str], ks: Sequence[int]) -> None:
    for unit in units:
        if unit not in _UNITS:
            raise InputError(unknown("kind of unit", str(unit), _UNITS))
    for ranking in rankings:
        if ranking not in RANKINGS:
            raise InputError(unknown("ranking", str(ranking), RANKINGS))
    if isinstance(units, str) or isinstance(rankings, str):
        raise InputError("units and rankings are lists of names")
    if not units or not rankings or not ks or min(ks) < 1:
        raise InputError("expected at least one kind of unit, one ranking, and k of at least 1")


def _groups(groups: Sequence[Any], n_texts: int) -> Int[np.ndarray, " text"]:
    if len(groups) != n_texts:
        raise InputError(f"got {len(groups)} groups for {n_texts} texts, expected one per text")
    return np.unique(np.asarray([str(group) for group in groups]), return_inverse=True)[1]

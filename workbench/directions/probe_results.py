"""The result of probing: every probe that was fitted, with held-out figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Int

from workbench.directions.direction import Direction
from workbench.errors import InputError, unknown
from workbench.features.refs import FeatureRef, FeatureSet
from workbench.results import Result, storable

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

__all__ = ["Probe", "ProbeStudy"]


@storable
@dataclass(frozen=True, kw_only=True, eq=False)
class Probe:
    """One probe.

    Parameters
    ----------
    kind
        What its units are: ``"features"``, ``"neurons"``, ``"residual"`` (dimensions), or
        ``"dense"`` for a probe on all dimensions of a site, the upper bound.
    source
        Name of the SAE, or of the site.
    site, layer
        Where the units are read; layer None outside the blocks.
    ranking
        How units were chosen, empty for dense probes.
    k
        Number of units.
    units
        Their numbers, best first.
    f1, mcc, precision, recall, accuracy
        On held-out rows: value, low and high end of the 95% interval.
    auroc, train_f1
        AUROC on held-out rows, F1 on training rows.
    valid_f1
        F1 on validation rows of a probe ranked and fitted without them: what sources are chosen
        by. NaN where there were too few rows.
    """

    kind: str
    source: str
    site: str
    layer: int | None
    ranking: str
    k: int
    units: Int[np.ndarray, " k"] = field(repr=False)
    f1: tuple[float, float, float]
    mcc: tuple[float, float, float]
    precision: tuple[float, float, float]
    recall: tuple[float, float, float]
    accuracy: tuple[float, float, float]
    auroc: float
    train_f1: float
    valid_f1: float

    @property
    def merit(self) -> float:
        """What it is chosen by: F1 on validation rows, or on training rows without any."""
        return self.train_f1 if np.isnan(self.valid_f1) else self.valid_f1


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ProbeStudy(Result):
    """Sparse and dense probes for one label.

    Parameters
    ----------
    positive
        The class that counts as positive.
    level
        ``"text"`` (pooled) or ``"token"``.
    pooling
        How texts were pooled; empty for tokens.
    n_train, n_test
        Rows the probes were fitted and measured on.
    test_share
        Share of positives among held-out rows: what precision a guess has.
    probes
        All of them.
    directions
        The dense probes as directions, by site, calibrated on held-out rows; a site whose probe
        has no weight other than 0 gives none.
    """

    view_class: ClassVar[str | None] = "workbench.widgets.direction:DirectionView"

    positive: str
    level: str
    pooling: str
    n_train: int
    n_test: int
    test_share: float
    probes: tuple[Probe, ...] = field(repr=False)
    directions: Mapping[str, Direction] = field(default_factory=dict, repr=False)

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per probe.

        Returns
        -------
        DataFrame
            ``kind``, ``source``, ``site``, ``layer``, ``ranking``, ``k``, ``f1`` with ``f1_low``
            and ``f1_high``, ``mcc`` with its interval, ``precision``, ``recall``, ``accuracy``,
            ``auroc``, ``train_f1``, ``valid_f1``, ``merit`` (what sources are chosen by), ``units``
            (the first ten).
        """
        import pandas as pd

        rows = [
            {
                "kind": p.kind,
                "source": p.source,
                "site": p.site,
                "layer": p.layer,
                "ranking": p.ranking,
                "k": p.k,
                "f1": p.f1[0],
                "f1_low": p.f1[1],
                "f1_high": p.f1[2],
                "mcc": p.mcc[0],
                "mcc_low": p.mcc[1],
                "mcc_high": p.mcc[2],
                "precision": p.precision[0],
                "recall": p.recall[0],
                "accuracy": p.accuracy[0],
                "auroc": p.auroc,
                "train_f1": p.train_f1,
                "valid_f1": p.valid_f1,
                "merit": p.merit,
                "units": p.units[:10].tolist(),
            }
            for p in self.probes
        ]
        return pd.DataFrame(rows)

    def chosen(
        self, *, kind: str | None = None, k: int | None = None, ranking: str | None = None
    ) -> pd.DataFrame:
        """Return, for each kind of unit and each k, the probe that was best on validation rows.

        Choosing without the held-out rows keeps their figures honest.

        Parameters
        ----------
        kind, k, ranking
            Keep only these.

        Returns
        -------
        DataFrame
            As `to_pandas`, one row per kind and k.

        Raises
        ------
        InputError
            Nothing of that kind was probed.
        """
        table = self.to_pandas()
        for column, value in (("kind", kind), ("k", k), ("ranking", ranking)):
            if value is None:
                continue
            known = table[column].unique().tolist()
            if value not in known:
                raise InputError(unknown(column, str(value), [str(each) for each in known]))
            table = table[table[column] == value]
        best = table.groupby(["kind", "k"], sort=False)["merit"].idxmax()
        return table.loc[best].sort_values(["kind", "k"]).reset_index(drop=True)

    def features(self, k: int = 10, source: str | None = None, ranking: str = "") -> FeatureSet:
        """Return the features a sparse probe reads.

        Parameters
        ----------
        k
            How many units the probe has.
        source
            Name of the SAE; the one best in validation where None.
        ranking
            Name of the ranking; the first that was used where empty.

        Raises
        ------
        InputError
            There is no such probe.
        """
        wanted = [
            p
            for p in self.probes
            if p.kind == "features"
            and p.k == k
            and source in (None, p.source)
            and ranking in ("", p.ranking)
        ]
        if not wanted:
            have = sorted({p.k for p in self.probes if p.kind == "features"})
            raise InputError(f"no probe on {k} features of {source or 'any SAE'}; k is in {have}")
        if not ranking:
            wanted = [p for p in wanted if p.ranking == wanted[0].ranking]
        best = max(wanted, key=lambda p: p.merit)
        return FeatureSet(tuple(FeatureRef(best.source, int(unit)) for unit in best.units))

    def direction(self, site: str | None = None) -> Direction:
        """Return the dense probe of a site as a direction; the best in validation where None.

        Raises
        ------
        InputError
            No dense probe was fitted there.
        """
        if site is None:
            dense = [p for p in self.probes if p.kind == "dense" and p.site in self.directions]
            if not dense:
                raise InputError("no dense probes were fitted; pass dense=True")
            site = max(dense, key=lambda p: p.merit).site
        if site not in self.directions:
            raise InputError(unknown("site with a dense probe", site, self.directions))
        return self.directions[site].bound_to(self.session)

    def plot(self, ranking: str | None = None) -> go.Figure:
        """Plot F1 against k for each kind of unit, with the dense probe as upper bound."""
        from workbench.directions.probe_plots import plot_sweep

        return plot_sweep(self, ranking)

    def plot_layers(self, k: int = 1, ranking: str | None = None) -> go.Figure:
        """Plot F1 of the probes on `k` units by layer, one line per kind of site."""
        from workbench.directions.probe_plots import plot_layers

        return plot_layers(self, k, ranking)

    def summary(self) -> str:
        """Return one line: what was probed, the best single unit and the dense probe."""
        table = self.chosen()
        parts = []
        for kind in table["kind"].unique():
            rows = table[table["kind"] == kind]
            row = rows.loc[rows["k"].idxmin()]
            what = "all" if kind == "dense" else f"k={row['k']}"
            parts.append(f"{kind} ({what}) {row['f1']:.3f}")
        return (
            f"Probes for {self.positive!r} on {self.n_test:,} held-out {self.level}s, F1: "
            + ", ".join(parts)
        )

"""How far a unit's activations tell concepts apart: generalised Jensen-Shannon divergence.

For K concepts, ``P_k`` the histogram of a unit's activations on the rows of concept k,

    JSD = H(Σ π_k P_k) − Σ π_k H(P_k),   distance = sqrt(JSD / log K)

with equal weights π_k = 1/K, so that the distance lies in 0 … 1 (Lin 1991 for the divergence;
arXiv:2508.15094 for its use on SAE features against neurons, from a secondary description).
Histograms of few rows differ by chance, dense units' more than sparse ones'; the distance of rows
whose labels were shuffled is reported beside each, and the gain over it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from workbench.directions.activations import Pooling, TokensUsed
from workbench.directions.probe_ranking import Values
from workbench.directions.probe_sources import Source, SourceReader, make_plan
from workbench.errors import InputError, unknown
from workbench.features.refs import FeatureRef, FeatureSet
from workbench.plots import CATEGORIES, styled
from workbench.results import Result, storable

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from workbench.model.tokens import TokenPolicy
    from workbench.session import Session

__all__ = ["Separability", "SourceSeparability", "js_distance", "separability"]

# Units whose histograms are held at once.
_BLOCK = 1024


def js_distance(
    values: Values, classes: Int[np.ndarray, " row"], *, bins: int = 30
) -> Float[np.ndarray, " unit"]:
    """Return each unit's generalised Jensen-Shannon distance between classes.

    Parameters
    ----------
    values
        Rows × units, dense or sparse.
    classes
        Class of each row, 0 to K − 1, every one present.
    bins
        Equal-width bins from a unit's smallest to its largest value over all rows. A value of
        exactly 0 has a bin of its own: an SAE feature that is silent is not one that is weak.

    Returns
    -------
    ndarray
        0 for units that are distributed alike in all classes, 1 where classes never share a bin.
    """
    n_classes = int(classes.max()) + 1
    sizes = np.bincount(classes, minlength=n_classes)
    if n_classes < 2 or (sizes == 0).any():
        raise InputError(f"need rows of at least two classes, got sizes {sizes.tolist()}")
    parts = []
    columns = values.tocsc() if sparse.issparse(values) else values
    for start in range(0, values.shape[1], _BLOCK):
        block = columns[:, start : start + _BLOCK]
        dense = np.asarray(block.toarray() if sparse.issparse(block) else block, dtype=np.float64)
        parts.append(_block_distance(dense, classes, sizes, bins))
    return np.concatenate(parts)


def _block_distance(
    dense: Float[np.ndarray, "row unit"],
    classes: Int[np.ndarray, " row"],
    sizes: Int[np.ndarray, " class"],
    bins: int,
) -> Float[np.ndarray, " unit"]:
    low, high = dense.min(0), dense.max(0)
    width = np.where(high > low, (high - low) / bins, 1.0)
    place = np.clip(((dense - low) / width).astype(np.int64), 0, bins - 1)
    place[dense == 0] = bins
    n_units, n_classes = dense.shape[1], len(sizes)
    key = (classes[:, None] * n_units + np.arange(n_units)) * (bins + 1) + place
    counts = np.bincount(key.ravel(), minlength=n_classes * n_units * (bins + 1))
    shares = counts.reshape(n_classes, n_units, bins + 1) / sizes[:, None, None]
    divergence = _entropy(shares.mean(0)) - _entropy(shares).mean(0)
    return np.sqrt(np.clip(divergence, 0, None) / np.log(n_classes))


def _entropy(shares: Float[np.ndarray, " *any bin"]) -> Float[np.ndarray, " *any"]:
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return -(shares * logs).sum(-1)


@storable
@dataclass(frozen=True, kw_only=True, eq=False)
class SourceSeparability:
    """Distances of the units of one SAE or site.

    Parameters
    ----------
    kind, source, site, layer
        As for a `Probe`.
    distance
        Distance of each unit.
    chance
        Mean distance of each unit over shuffled labels.
    """

    kind: str
    source: str
    site: str
    layer: int | None
    distance: Float[np.ndarray, " unit"] = field(repr=False)
    chance: Float[np.ndarray, " unit"] = field(repr=False)

    @property
    def gain(self) -> Float[np.ndarray, " unit"]:
        """Distance beyond chance."""
        return self.distance - self.chance


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Separability(Result):
    """How far features and neurons tell concepts apart.

    Parameters
    ----------
    concepts
        The concepts, in order.
    n_rows
        Rows of each.
    sources
        Distances by SAE and site.
    top
        How many of a source's best units its summary averages over.
    """

    concepts: tuple[str, ...]
    n_rows: tuple[int, ...]
    sources: tuple[SourceSeparability, ...] = field(repr=False)
    top: int = 10

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per SAE or site.

        Returns
        -------
        DataFrame
            ``kind``, ``source``, ``site``, ``layer``, ``units``, ``best`` (largest distance),
            ``best_unit``, ``top_mean`` (mean of the `top` largest distances), ``top_chance`` (the
            same units' distance under shuffled labels), ``mean`` and ``mean_gain`` over all units.
        """
        import pandas as pd

        rows = []
        for s in self.sources:
            order = np.argsort(-s.distance, kind="stable")[: self.top]
            rows.append(
                {
                    "kind": s.kind,
                    "source": s.source,
                    "site": s.site,
                    "layer": s.layer,
                    "units": len(s.distance),
                    "best": s.distance[order[0]],
                    "best_unit": int(order[0]),
                    "top_mean": s.distance[order].mean(),
                    "top_chance": s.chance[order].mean(),
                    "mean": s.distance.mean(),
                    "mean_gain": s.gain.mean(),
                }
            )
        return pd.DataFrame(rows)

    def units(self, source: str) -> pd.DataFrame:
        """Return the units of one SAE or site, most telling first: ``unit``, ``distance``, ...

        Raises
        ------
        InputError
            The source was not measured.
        """
        import pandas as pd

        names = [s.source for s in self.sources]
        if source not in names:
            raise InputError(unknown("source", source, names))
        found = self.sources[names.index(source)]
        table = pd.DataFrame(
            {"distance": found.distance, "chance": found.chance, "gain": found.gain}
        )
        table.insert(0, "unit", np.arange(len(table)))
        return table.sort_values("distance", ascending=False, kind="stable", ignore_index=True)

    def features(self, k: int = 10) -> FeatureSet:
        """Return the `k` features with the largest distances, over all SAEs."""
        scored = [
            (float(-s.distance[unit]), FeatureRef(s.source, int(unit)))
            for s in self.sources
            if s.kind == "features"
            for unit in np.argsort(-s.distance, kind="stable")[:k]
        ]
        scored.sort(key=lambda pair: pair[0])
        return FeatureSet(tuple(ref for _, ref in scored[:k]))

    def plot(self) -> go.Figure:
        """Plot the mean distance of the best units by layer, one line per kind of unit and site."""
        import plotly.graph_objects as go

        table = self.to_pandas()
        table = table[table["layer"].notna()].copy()
        table["part"] = table["site"].str.partition(".")[0]
        figure = go.Figure()
        for number, ((kind, part), rows) in enumerate(table.groupby(["kind", "part"], sort=False)):
            best = rows.loc[rows.groupby("layer")["top_mean"].idxmax()].sort_values("layer")
            figure.add_scatter(
                x=best["layer"],
                y=best["top_mean"],
                name=f"{kind}, {part}",
                mode="lines+markers",
                line={
                    "color": CATEGORIES[number % len(CATEGORIES)],
                    "width": 1.5,
                    "dash": "solid" if kind == "features" else "dash",
                },
                customdata=best[["source", "top_chance"]],
                hovertemplate="%{customdata[0]}: %{y:.3f}, by chance %{customdata[1]:.3f}"
                "<extra></extra>",
            )
        figure.update_xaxes(dtick=1)
        return styled(
            figure,
            title=f"Telling {len(self.concepts)} concepts apart",
            x="layer",
            y=f"Jensen-Shannon distance, mean of the best {self.top} units",
        )

    def summary(self) -> str:
        """Return one line: features against neurons and dimensions."""
        table = self.to_pandas()
        parts = []
        for kind, rows in table.groupby("kind", sort=False):
            row = rows.sort_values("top_mean", kind="stable").iloc[-1]
            parts.append(f"{kind} {row['top_mean']:.3f} ({row['source']})")
        return f"Separability of {len(self.concepts)} concepts: " + ", ".join(parts)


def separability(
    session: Session,
    texts: Sequence[Any],
    concepts: Sequence[str],
    *,
    pooling: Pooling = "max",
    tokens: TokensUsed = "all",
    units: Sequence[str] = ("features", "neurons", "residual"),
    saes: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
    bins: int = 30,
    shuffles: int = 5,
    top: int = 10,
    seed: int = 0,
    policy: TokenPolicy | None = None,
    batch_size: int = 64,
) -> Separability:
    """Measure how far each unit's activations tell concepts apart.

    Parameters
    ----------
    session
        The session.
    texts
        Texts or conversations.
    concepts
        The concept of each.
    pooling, tokens, units, saes, layers, policy, batch_size
        As for `workbench.directions.probes.probe`.
    bins
        As for `js_distance`.
    shuffles
        Shufflings of the labels that estimate chance.
    top
        How many of a source's best units its summary averages over.
    seed
        Seed of the shuffles.

    Returns
    -------
    Separability

    Raises
    ------
    InputError
        There are fewer than two concepts, or not one per text.
    """
    if isinstance(texts, str) or len(texts) != len(concepts):
        raise InputError(f"got {len(concepts)} concepts, expected one for each of the texts")
    for unit in units:
        if unit not in ("features", "neurons", "residual"):
            raise InputError(
                unknown("kind of unit", str(unit), ("features", "neurons", "residual"))
            )
    names, classes = np.unique([str(each) for each in concepts], return_inverse=True)
    if len(names) < 2:
        raise InputError(f"need at least two concepts, got {names.tolist()}")
    tokenised = session.model.tokens(texts, policy)
    plan = make_plan(session, units, saes, layers, dense=False)
    reader = SourceReader(session, tokenised, plan, "text", pooling, tokens, batch_size, None)
    rng = np.random.default_rng(seed)
    mixed = [rng.permutation(classes) for _ in range(shuffles)]

    def measured(source: Source) -> SourceSeparability:
        chance = [js_distance(source.values, each, bins=bins) for each in mixed]
        return SourceSeparability(
            kind=source.kind,
            source=source.name,
            site=source.site,
            layer=source.layer,
            distance=js_distance(source.values, classes, bins=bins),
            chance=np.mean(chance, axis=0) if chance else np.zeros(source.values.shape[1]),
        )

    return Separability(
        provenance=session.model.provenance(tokenised.policy, saes=plan.saes, seed=seed),
        concepts=tuple(names.tolist()),
        n_rows=tuple(np.bincount(classes).tolist()),
        sources=tuple(measured(source) for source in reader.read(texts)[0]),
        top=top,
    ).bound_to(session)

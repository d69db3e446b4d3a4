"""Everything kept of one SAE's features over some rows, and how two of these become one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.features.index.settings import IndexSettings
from workbench.features.index.sketches.bins import bin_of
from workbench.features.index.sketches.cofiring import TOKENS, fewest_tokens
from workbench.features.index.sketches.entries import ENTRIES, keep
from workbench.features.index.sketches.histogram import HISTOGRAM, histogram, merge_histograms
from workbench.features.index.sketches.ordering import stable_argsort
from workbench.features.index.sketches.silent import FIRING, fewest_stretches, firing

__all__ = [
    "TABLES",
    "FeatureSketch",
    "SilentBlocks",
    "merge",
    "merge_selected",
    "merge_stretches",
    "sketch",
]

TABLES = {"entries": ENTRIES, "histogram": HISTOGRAM, "tokens": TOKENS, "firing": FIRING}
"""Tables of a sketch and their columns; every table is sorted by feature."""

Table = dict[str, Tensor]
SilentBlocks = Int[Tensor, " stretches"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FeatureSketch:
    """What is kept of the features of one SAE over some rows.

    Parameters
    ----------
    entries
        Activations kept: strongest, sampled, and near them.
    histogram
        Counts and sums by bin.
    tokens
        Tokens kept for co-firing.
    firing
        Features firing in the common silent stretches.
    """

    entries: Table
    histogram: Table
    tokens: Table
    firing: Table

    def table(self, name: str) -> Table:
        """One table by name."""
        found: Table = getattr(self, name)
        return found

    def cpu(self) -> FeatureSketch:
        """Copy to main memory."""
        return self.to(torch.device("cpu"))

    def to(self, device: torch.device) -> FeatureSketch:
        """Copy to a device."""
        return FeatureSketch(
            **{
                name: {key: column.to(device) for key, column in self.table(name).items()}
                for name in TABLES
            }
        )


def sketch(
    feature: Int[Tensor, " n"],
    place: Int[Tensor, " n"],
    document: Int[Tensor, " n"],
    value: Float[Tensor, " n"],
    stretches: SilentBlocks,
    settings: IndexSettings,
    *,
    ordered: bool = False,
) -> FeatureSketch:
    """Sketch the activations of some rows.

    Parameters
    ----------
    feature, place, document, value
        Activations at counted tokens, none zero, in any order; each (feature, place) once.
    stretches
        Stretches known of these rows, by place.
    settings
        What is kept.
    ordered
        Whether they are in order of feature, then place, already.

    Returns
    -------
    FeatureSketch
    """
    entries = {
        "feature": feature.int(),
        "place": place.long(),
        "document": document.int(),
        "value": value.float(),
    }
    if not ordered:
        order = stable_argsort(entries["place"])
        order = order[stable_argsort(entries["feature"][order].long())]
        entries = {name: column[order] for name, column in entries.items()}
    bins = bin_of(entries["value"], settings.bins_per_octave)
    kept, _, _ = keep(entries, settings)
    return FeatureSketch(
        entries=kept,
        histogram=histogram(entries["feature"], bins, entries["value"]),
        tokens=fewest_tokens(entries["feature"], entries["place"], settings),
        firing=firing(entries["feature"], entries["place"], stretches, settings),
    )


def merge(
    sketches: Sequence[FeatureSketch],
    stretches: SilentBlocks,
    settings: IndexSettings,
    *,
    interleaved: bool = False,
) -> FeatureSketch:
    """Merge the sketches of different rows; see `merge_selected`."""
    return merge_selected(sketches, stretches, settings, interleaved=interleaved)[0]


def merge_selected(
    sketches: Sequence[FeatureSketch],
    stretches: SilentBlocks,
    settings: IndexSettings,
    *,
    interleaved: bool = False,
) -> tuple[FeatureSketch, Int[Tensor, " kept"], Bool[Tensor, " kept"]]:
    """Merge the sketches of different rows, and tell what of the kept entries is selected.

    Parameters
    ----------
    sketches
        All rows of one come before those of the next, unless `interleaved`.
    stretches
        The stretches kept of all of them (`fewest_stretches` of their union).
    settings
        What is kept.
    interleaved
        Whether their rows may come in any order.

    Returns
    -------
    merged
        What `sketch` of all their activations would have given, to the bit.
    rank, sampled
        `select` of its entries.
    """
    joined = {name: _join([one.table(name) for one in sketches], interleaved) for name in TABLES}
    entries, rank, sampled = keep(joined["entries"], settings)
    tokens = joined["tokens"]
    fired = joined["firing"]
    known = torch.searchsorted(stretches, fired["place"]).clamp(max=max(len(stretches) - 1, 0))
    inside: Bool[Tensor, " n"] = (
        stretches[known] == fired["place"]
        if len(stretches)
        else torch.zeros_like(fired["at_place"])
    )
    merged = FeatureSketch(
        entries=entries,
        histogram=merge_histograms(joined["histogram"]),
        tokens=fewest_tokens(tokens["feature"], tokens["place"], settings),
        firing={name: column[inside] for name, column in fired.items()},
    )
    return merged, rank, sampled


def merge_stretches(parts: Sequence[SilentBlocks], settings: IndexSettings) -> SilentBlocks:
    """Stretches kept of several parts' stretches."""
    return fewest_stretches(torch.cat(list(parts)), settings)


def _join(tables: Sequence[Table], interleaved: bool) -> Table:
    """Put tables one after another, then in order of feature; within one, order stays."""
    joined = {name: torch.cat([table[name] for table in tables]) for name in tables[0]}
    if len(tables) == 1:
        return joined
    if interleaved and "place" in joined:
        order = stable_argsort(joined["place"])
        joined = {name: column[order] for name, column in joined.items()}
    order = stable_argsort(joined["feature"].long())
    return {name: column[order] for name, column in joined.items()}

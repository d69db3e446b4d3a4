"""The activations themselves that are kept: strongest, sampled, and those near them.

A kept set is a set of (feature, place, value) entries. Its strongest contexts and its samples are
functions of the set, and so is the rule for which entries are near enough to stay; an entry that is
dropped from a part can be neither strongest, nor sampled, nor near one that is, in any larger set.
So selecting again after a union gives what selecting once would have given.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from workbench.features.index.settings import COLUMN_BITS, IndexSettings
from workbench.features.index.sketches.bins import bin_of
from workbench.features.index.sketches.hashing import hash_bits
from workbench.features.index.sketches.ordering import changes, rank_in_run, stable_argsort

__all__ = ["ENTRIES", "keep", "select"]

ENTRIES = ("feature", "place", "document", "value")
"""Columns: int32, int64 (row × 2²⁰ + position), int32, float32; sorted by feature, then place."""

_PRIORITY_BITS = 27
_BIN_BITS = 13
_STREAM = 1


def select(
    entries: dict[str, Tensor], settings: IndexSettings
) -> tuple[Int[Tensor, " n"], Bool[Tensor, " n"]]:
    """Find the strongest and the sampled entries.

    Returns
    -------
    rank
        Rank among the feature's strongest, one per document, from 0; −1 for the others. Equal
        activations rank by place.
    sampled
        Whether an entry is among the `samples_per_bin` of its feature and bin with the smallest
        hash.
    """
    return _strongest(entries, settings.contexts), _sampled(entries, settings)


def _strongest(entries: dict[str, Tensor], count: int) -> Int[Tensor, " n"]:
    feature, value = entries["feature"], entries["value"]
    n = len(feature)
    rank = torch.full((n,), -1, dtype=torch.int32, device=feature.device)
    if not n:
        return rank
    strength = value.float().view(torch.int32) & 0x7FFFFFFF
    order = stable_argsort((feature.long() << 31) | (0x7FFFFFFF - strength).long())
    position = torch.empty_like(order)
    position[order] = torch.arange(n, device=order.device)
    # A document's tokens follow one another, so its entries of one feature are a run.
    run = changes(feature, entries["document"]).long().cumsum(0) - 1
    best = torch.full((int(run[-1]) + 1,), n, dtype=torch.int64, device=order.device)
    best = best.scatter_reduce(0, run, position, "amin")
    lead = torch.zeros(n, dtype=torch.bool, device=order.device)
    lead[best] = True
    leading = order[lead]
    place = rank_in_run(changes(feature[leading]))
    kept = place < count
    rank[leading[kept]] = place[kept].int()
    return rank


def _sampled(entries: dict[str, Tensor], settings: IndexSettings) -> Bool[Tensor, " n"]:
    feature, place = entries["feature"].long(), entries["place"]
    bins = bin_of(entries["value"], settings.bins_per_octave).long() + (1 << (_BIN_BITS - 1))
    group = (feature << _BIN_BITS) | bins
    priority = hash_bits(settings.seed + _STREAM, feature, place, bits=_PRIORITY_BITS)
    # 23 bits are left for the feature.
    order = stable_argsort((group << _PRIORITY_BITS) | priority)
    place_in_group = rank_in_run(changes(group[order]))
    sampled = torch.zeros(len(feature), dtype=torch.bool, device=feature.device)
    sampled[order] = place_in_group < settings.samples_per_bin
    return sampled


def keep(
    entries: dict[str, Tensor], settings: IndexSettings
) -> tuple[dict[str, Tensor], Int[Tensor, " kept"], Bool[Tensor, " kept"]]:
    """Keep the selected entries and those near them.

    Parameters
    ----------
    entries
        Sorted by feature, then place.
    settings
        How many, how near.

    Returns
    -------
    entries, rank, sampled
        What is kept, and `select` of it.
    """
    rank, sampled = select(entries, settings)
    near = _near(entries, rank >= 0, settings.top_window)
    near |= _near(entries, sampled, settings.window)
    return {name: entries[name][near] for name in ENTRIES}, rank[near], sampled[near]


def _near(entries: dict[str, Tensor], chosen: Bool[Tensor, " n"], width: int) -> Bool[Tensor, " n"]:
    """Whether a chosen entry of the same feature and row lies within `width` tokens."""
    feature, place = entries["feature"].long(), entries["place"]
    n = len(place)
    if not n:
        return chosen.clone()
    row = place >> COLUMN_BITS
    at_chosen = chosen.nonzero()[:, 0]
    seen = chosen.long().cumsum(0)
    last = max(len(at_chosen) - 1, 0)
    near = torch.zeros(n, dtype=torch.bool, device=place.device)
    if not len(at_chosen):
        return near
    # The nearest chosen entry at or before each entry, and at or after it.
    for slot in (seen - 1, seen - chosen.long()):
        at = at_chosen[slot.clamp(0, last)]
        near |= (feature[at] == feature) & (row[at] == row) & ((place[at] - place).abs() <= width)
    return near

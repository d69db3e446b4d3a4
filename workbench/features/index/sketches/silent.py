"""Stretches of text chosen at random, and the features that fire in them.

What does not fire in a stretch is silent there: explicit non-activating samples for every feature
from one small common pool.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from workbench.features.index.settings import IndexSettings
from workbench.features.index.sketches.hashing import hash_bits
from workbench.features.index.sketches.ordering import changes, stable_argsort

__all__ = ["FIRING", "choose_stretches", "fewest_stretches", "firing"]

FIRING = ("feature", "place", "at_place")
"""Columns: int32; int64, the token a stretch is known by; bool, whether it fires on that token."""

_HASH_BITS = 62
_STREAM = 3


def _priority(place: Int[Tensor, " n"], settings: IndexSettings) -> Int[Tensor, " n"]:
    return hash_bits(settings.seed + _STREAM, place, bits=_HASH_BITS)


def choose_stretches(
    place: Int[Tensor, " n"], counted: Bool[Tensor, " n"], settings: IndexSettings
) -> Int[Tensor, " stretches"]:
    """Choose stretches of the rows at hand.

    A stretch is `silent_width` positions of a row, aligned. It is known by one of its counted
    tokens: the one of smallest hash.

    Returns
    -------
    Tensor
        Places of the chosen tokens, ascending.
    """
    place = place[counted]
    order = stable_argsort(_priority(place, settings))
    ordered = place[order]
    # A stable sort by stretch keeps the smallest hash first in each.
    stretch = torch.div(ordered, settings.silent_width, rounding_mode="floor")
    by_stretch = stable_argsort(stretch)
    firsts = ordered[by_stretch][changes(stretch[by_stretch])]
    return fewest_stretches(firsts, settings)


def fewest_stretches(
    place: Int[Tensor, " n"], settings: IndexSettings
) -> Int[Tensor, " stretches"]:
    """Keep the `silent_blocks` stretches of smallest hash, in order of place."""
    order = stable_argsort(_priority(place, settings))
    return torch.sort(place[order[: settings.silent_blocks]]).values


def firing(
    feature: Int[Tensor, " n"],
    place: Int[Tensor, " n"],
    stretches: Int[Tensor, " stretches"],
    settings: IndexSettings,
) -> dict[str, Tensor]:
    """List the features that fire in each stretch.

    Parameters
    ----------
    feature, place
        Where features fire, sorted by feature, then place.
    stretches
        The chosen tokens, ascending.
    settings
        The width.
    """
    if not len(stretches):
        none = torch.zeros(0, dtype=torch.bool, device=feature.device)
        return {"feature": feature[:0], "place": place[:0], "at_place": none}
    width = settings.silent_width
    known = torch.div(stretches, width, rounding_mode="floor")
    stretch = torch.div(place, width, rounding_mode="floor")
    slot = torch.searchsorted(known, stretch).clamp(max=len(known) - 1)
    inside = known[slot] == stretch
    feature, place, slot = feature[inside], place[inside], slot[inside]
    # In order of place, a feature's tokens of one stretch follow one another.
    first = changes(feature, slot)
    run = first.long().cumsum(0) - 1
    hit = torch.zeros(int(first.sum()), dtype=torch.long, device=feature.device)
    hit = hit.index_add(0, run, (stretches[slot] == place).long())
    return {"feature": feature[first], "place": stretches[slot[first]], "at_place": hit > 0}

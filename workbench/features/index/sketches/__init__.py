"""Mergeable sketches: what is kept of a feature's activations, in space that stays bounded.

Every sketch here is a function of the *set* of activations seen: sums are of integers, choices at
random are made by hashes of places, ties are broken by place. So merging is associative to the
last bit, and an index is the same however its parts were cut, killed, repeated or spread out.
"""

from workbench.features.index.sketches.sketch import (
    FeatureSketch,
    SilentBlocks,
    merge,
    merge_selected,
    merge_stretches,
    sketch,
)

__all__ = ["FeatureSketch", "SilentBlocks", "merge", "merge_selected", "merge_stretches", "sketch"]

"""What an index keeps per feature, as data: part of its identity."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from workbench.errors import InputError, unknown

__all__ = ["COLUMN_BITS", "Documents", "IndexSettings"]

Documents = Literal["split", "truncate", "error"]

COLUMN_BITS = 20
"""Bits of a place that hold the position within a row; the rest hold the row."""

_BINS_PER_OCTAVE = (1, 2, 4, 8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class IndexSettings:
    """What is kept of every feature.

    Parameters
    ----------
    contexts
        Strongest contexts kept per feature, each from another document.
    bins_per_octave
        Histogram bins per doubling of the activation: 1, 2, 4 or 8. A quantile read from the
        histogram is off by at most one bin.
    samples_per_bin
        Activations kept at random from each histogram bin of each feature.
    window, top_window
        A feature's other activations are kept when they lie within this many tokens of one of its
        sampled, or of its strongest, activations in the same row.
    cofiring_tokens
        Tokens kept per feature for the co-firing estimate; a feature active on no more tokens
        than this is compared exactly.
    neighbours
        Co-firing features listed per feature.
    silent_blocks, silent_width
        Stretches of text of `silent_width` tokens kept at random to show where a feature is
        silent, and how many.
    dense_above
        Features with a larger density are flagged dense.
    seed
        Seed of everything sampled.

    Raises
    ------
    InputError
        A number is out of range.
    """

    contexts: int = 20
    bins_per_octave: int = 8
    samples_per_bin: int = 4
    window: int = 16
    top_window: int = 64
    cofiring_tokens: int = 64
    neighbours: int = 20
    silent_blocks: int = 512
    silent_width: int = 32
    dense_above: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        if self.bins_per_octave not in _BINS_PER_OCTAVE:
            raise InputError(
                f"bins_per_octave must be one of {_BINS_PER_OCTAVE}, got {self.bins_per_octave}"
            )
        for name, least, most in (
            ("contexts", 1, 10_000),
            ("samples_per_bin", 1, 1_000),
            ("window", 0, 1_000),
            ("top_window", 0, 1_000),
            ("cofiring_tokens", 1, 10_000),
            ("neighbours", 0, 1_000),
            ("silent_blocks", 0, 60_000),
            ("silent_width", 1, 1_000),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise InputError(f"{name} must be from {least} to {most}, got {value}")
        if self.silent_width & (self.silent_width - 1):
            raise InputError(f"silent_width must be a power of two, got {self.silent_width}")
        if not 0 < self.dense_above <= 1:
            raise InputError(f"dense_above must be above 0 and at most 1, got {self.dense_above}")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> IndexSettings:
        """Build from what `to_dict` gave.

        Raises
        ------
        InputError
            A name is unknown or a value out of range.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        for name in data:
            if name not in names:
                raise InputError(unknown("index setting", name, names))
        return cls(**data)

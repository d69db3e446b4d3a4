"""One pass of the model over a block of rows, sketched for every SAE."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from workbench.errors import SaeError, WorkbenchError
from workbench.features.index.sketches import FeatureSketch, SilentBlocks, merge, sketch
from workbench.features.index.sketches.silent import choose_stretches
from workbench.model.tokens import Tokens

if TYPE_CHECKING:
    from workbench.features.index.rows import RowBlock
    from workbench.features.index.settings import IndexSettings
    from workbench.model.model import Model
    from workbench.model.sites import Site
    from workbench.saes.acts import FeatureActs
    from workbench.saes.sae import Sae

__all__ = ["MOST_BUFFERED", "PartSketch", "Scanner", "Stopped", "site_of"]

MOST_BUFFERED = 1_000_000
"""Activations of one SAE gathered on the CPU before they are sketched."""

_BUFFERED_GPU = 32_000_000
_BYTES_BUFFERED = 200  # on an accelerator, sorting included
MOST_FEATURES = 2**23


class Stopped(Exception):  # noqa: N818 - control flow, never shown
    """Raised inside a scan that was asked to stop."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PartSketch:
    """Sketches of every SAE over some blocks.

    Parameters
    ----------
    stretches
        The silent stretches chosen, by place.
    saes
        Sketch by SAE name.
    """

    stretches: SilentBlocks
    saes: Mapping[str, FeatureSketch]

    def cpu(self) -> PartSketch:
        """Copy to main memory."""
        return PartSketch(
            stretches=self.stretches.cpu(),
            saes={name: one.cpu() for name, one in self.saes.items()},
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Batch:
    """Rows of one pass, padded, with where each token is from."""

    ids: Int[Tensor, "batch pos"]
    mask: Bool[Tensor, "batch pos"]
    counted: Bool[Tensor, "batch pos"]
    place: Int[Tensor, "batch pos"]
    document: Int[Tensor, "batch pos"]


def site_of(sae: Sae) -> Site:
    """Site an SAE reads.

    Raises
    ------
    SaeError
        It is not attached to a model.
    """
    if sae.site is None:
        raise SaeError(f"SAE {sae.name!r} is not attached to a model; use session.attach(...)")
    return sae.site


class Scanner:
    """Runs the model and sketches what every SAE makes of it.

    Parameters
    ----------
    model
        The model.
    saes
        The SAEs; one pass serves all of them and stops at the deepest site.
    settings
        What is kept.
    batch_tokens
        Most tokens in a pass, padding included (a single row may be longer). Lowered when the
        accelerator runs out of memory.
    """

    def __init__(
        self, model: Model, saes: Sequence[Sae], settings: IndexSettings, batch_tokens: int
    ) -> None:
        self.model = model
        self.saes = tuple(saes)
        self.settings = settings
        self.batch_tokens = batch_tokens
        self.sites = list(dict.fromkeys(site_of(sae).name for sae in saes))
        for sae in saes:
            if sae.d_sae > MOST_FEATURES:
                raise SaeError(
                    f"SAE {sae.name} has {sae.d_sae:,} features, an index takes {MOST_FEATURES:,}"
                )

    def scan(
        self,
        block: RowBlock,
        *,
        progress: Callable[[int], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> PartSketch:
        """Sketch a block.

        Parameters
        ----------
        block
            The rows.
        progress
            Called after each pass with the number of tokens it read.
        stop
            Asked before each pass.

        Returns
        -------
        PartSketch
            Where the SAEs are.

        Raises
        ------
        Stopped
            `stop` said so.
        """
        places = block.places
        device = self.model.device
        stretches = choose_stretches(
            torch.from_numpy(places).to(device),
            torch.from_numpy(~block.special).to(device),
            self.settings,
        ).cpu()
        gathered = {sae.name: _Gathered(sae, stretches, self.settings) for sae in self.saes}
        documents, offsets = block.document, block.offsets
        waiting = [np.argsort(block.lengths, kind="stable")] if len(block.lengths) else []
        while waiting:
            rows = waiting.pop()
            rows, rest = self._fitting(rows, block.lengths)
            if len(rest):
                waiting.append(rest)
            if stop is not None and stop():
                raise Stopped
            batch = _pad(block, rows, offsets, places, documents)
            try:
                found = {name: _counted(acts, batch) for name, acts in self._codes(batch).items()}
            except torch.OutOfMemoryError as error:
                self._back_off(batch, error)
                waiting.append(rows)
                continue
            for name, entries in found.items():
                gathered[name].add(entries)
            if progress is not None:
                progress(int(block.lengths[rows].sum()))
        return PartSketch(
            stretches=stretches, saes={name: one.finish() for name, one in gathered.items()}
        )

    def _fitting(
        self, rows: Int[np.ndarray, " n"], lengths: Int[np.ndarray, " rows"]
    ) -> tuple[Int[np.ndarray, " batch"], Int[np.ndarray, " rest"]]:
        """As many rows as one pass takes; they come by rising length."""
        padded = np.arange(1, len(rows) + 1) * lengths[rows].astype(np.int64)
        count = max(1, int(np.searchsorted(padded, self.batch_tokens, side="right")))
        return rows[:count], rows[count:]

    def _codes(self, batch: _Batch) -> dict[str, FeatureActs]:
        tokens = Tokens(
            ids=batch.ids,
            mask=batch.mask,
            special=~batch.counted,
            policy=self.model.policy,
            strings=(),
        )
        ran = self.model.run(tokens, capture=self.sites)
        return {sae.name: sae.encode(ran[site_of(sae)]) for sae in self.saes}

    def _back_off(self, batch: _Batch, error: Exception) -> None:
        """Halve the pass after the accelerator ran out of memory; everything done so far stays."""
        tokens = batch.ids.numel()
        if len(batch.ids) == 1:
            raise WorkbenchError(
                f"one row of {tokens:,} tokens does not fit the memory of {self.model.device}: "
                "use a shorter context, fewer SAEs at once, or a smaller dtype"
            ) from error
        self.batch_tokens = max(tokens // 2, 1)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _pad(
    block: RowBlock,
    rows: Int[np.ndarray, " batch"],
    offsets: Int[np.ndarray, " rows_plus_one"],
    places: Int[np.ndarray, " tokens"],
    documents: Int[np.ndarray, " tokens"],
) -> _Batch:
    lengths = block.lengths[rows]
    column = np.arange(int(lengths.max()))
    mask = column < lengths[:, None]
    # Padding repeats a row's own tokens: any id of the vocabulary does.
    index = offsets[rows][:, None] + np.minimum(column, lengths[:, None] - 1)
    return _Batch(
        ids=torch.from_numpy(block.ids[index].astype(np.int64)),
        mask=torch.from_numpy(mask),
        counted=torch.from_numpy(mask & ~block.special[index]),
        place=torch.from_numpy(places[index]),
        document=torch.from_numpy(documents[index]),
    )


_Entries = tuple[Tensor, Tensor, Tensor, Tensor]
"""Feature, place, document and activation."""


def _counted(acts: FeatureActs, batch: _Batch) -> _Entries:
    """Activations at counted tokens."""
    device = acts.device
    rows = acts.rows()
    kept = batch.counted.to(device).flatten()[rows]
    rows = rows[kept]
    place = batch.place.to(device).flatten()[rows]
    document = batch.document.to(device).flatten()[rows]
    return acts.indices[kept], place, document, acts.values[kept].float()


class _Gathered:
    """One SAE's activations of a block, sketched whenever there are many of them."""

    def __init__(self, sae: Sae, stretches: SilentBlocks, settings: IndexSettings) -> None:
        self._stretches = stretches.to(sae.device)
        self._settings = settings
        self._most = MOST_BUFFERED
        if sae.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(sae.device)
            # Sketches do not depend on it: fewer and larger sorts are faster.
            self._most = min(max(free // 4 // _BYTES_BUFFERED, MOST_BUFFERED), _BUFFERED_GPU)
        self._parts: list[_Entries] = []
        self._held = 0
        self._sketch: FeatureSketch | None = None

    def add(self, entries: _Entries) -> None:
        self._parts.append(entries)
        self._held += len(entries[0])
        if self._held >= self._most:
            self._fold()

    def _fold(self) -> None:
        try:
            self._sketch = self._folded()
        except torch.OutOfMemoryError:
            # A sketch has the same bits wherever it is made: go on in main memory.
            self._stretches = self._stretches.cpu()
            self._parts = [
                (feature.cpu(), place.cpu(), document.cpu(), value.cpu())
                for feature, place, document, value in self._parts
            ]
            self._sketch = None if self._sketch is None else self._sketch.cpu()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._sketch = self._folded()
        self._parts, self._held = [], 0

    def _folded(self) -> FeatureSketch:
        device = self._stretches.device
        none = torch.zeros(0, dtype=torch.int64, device=device)
        parts = self._parts or [(none, none, none, none.float())]
        feature, place, document, value = (
            torch.cat([column.to(device) for column in columns])
            for columns in zip(*parts, strict=True)
        )
        new = sketch(feature, place, document, value, self._stretches, self._settings)
        if self._sketch is None:
            return new
        return merge([self._sketch, new], self._stretches, self._settings, interleaved=True)

    def finish(self) -> FeatureSketch:
        if self._parts or self._sketch is None:
            self._fold()
        assert self._sketch is not None  # noqa: S101 - just made
        return self._sketch

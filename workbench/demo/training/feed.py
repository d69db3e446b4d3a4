"""Corpus rows for training: generated in pieces by several processes, served in a fixed order."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from workbench.demo.training.settings import CorpusSettings

__all__ = ["CorpusFeed", "corpus_piece"]

Piece = Callable[[str, int, int], np.ndarray]


def corpus_piece(split: str, seed: int, n_tokens: int) -> np.ndarray:
    """Generate one piece of the demo corpus as rows of token ids.

    Parameters
    ----------
    split
        ``train`` or ``test``.
    seed
        Seed of the piece.
    n_tokens
        About how many tokens to make.

    Returns
    -------
    ndarray of uint16, shape (rows, context)
        Packed documents, each starting with the BOS token.
    """
    from workbench.demo import corpus

    rows = corpus.token_stream(split, seed, n_tokens)  # type: ignore[arg-type]
    return np.ascontiguousarray(rows.astype(np.uint16))


class CorpusFeed:
    """Rows of the training corpus, made in the background and kept on the training device.

    The order of batches depends only on the seeds: the first pass takes the pieces in order, each
    shuffled in itself, and waits for a piece that is not there yet; every later pass is a fresh
    permutation of all rows.

    Parameters
    ----------
    settings
        Pieces, processes and seed.
    device
        Where rows are kept.
    piece
        Makes one piece from ``(split, seed, n_tokens)``; replaced in tests.
    """

    def __init__(
        self, settings: CorpusSettings, device: str, *, piece: Piece = corpus_piece
    ) -> None:
        self.settings = settings
        self.device = device
        self._piece = piece
        self._rows: list[Tensor] = []
        self._pool: concurrent.futures.ProcessPoolExecutor | None = None
        self._pending: list[concurrent.futures.Future[np.ndarray]] = []
        if settings.workers > 0:
            self._pool = concurrent.futures.ProcessPoolExecutor(
                settings.workers, mp_context=multiprocessing.get_context("spawn")
            )
            self._pending = [
                self._pool.submit(piece, "train", settings.seed + index, settings.chunk_tokens)
                for index in range(settings.chunks)
            ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop generating; rows made so far stay."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def rows(self, index: int) -> Int[Tensor, "rows context"]:
        """Return piece `index`, waiting for it where it is still being made."""
        while len(self._rows) <= index:
            number = len(self._rows)
            if self._pending:
                made = self._pending[number].result()
            else:
                seed = self.settings.seed + number
                made = self._piece("train", seed, self.settings.chunk_tokens)
            self._rows.append(torch.from_numpy(made.astype(np.int32)).to(self.device))
        return self._rows[index]

    def batches(self, batch_rows: int, *, seed: int) -> Iterator[Int[Tensor, "batch context"]]:
        """Serve batches for ever.

        Parameters
        ----------
        batch_rows
            Rows per batch. The last, shorter batch of a pass is left out.
        seed
            Seed of the order.

        Yields
        ------
        Tensor of int64, shape (batch_rows, context)
        """
        generator = torch.Generator().manual_seed(seed)
        for index in range(self.settings.chunks):
            piece = self.rows(index)
            yield from _batches(piece, batch_rows, generator)
        everything = torch.cat([self.rows(index) for index in range(self.settings.chunks)])
        if len(everything) < batch_rows:
            msg = f"the corpus has {len(everything)} rows, fewer than one batch of {batch_rows}"
            raise ValueError(msg)
        while True:
            yield from _batches(everything, batch_rows, generator)

    def save(self, path: Path, *, n_tokens: int) -> None:
        """Write the first pieces as one ``.npy`` of uint16 rows, about `n_tokens` tokens or all."""
        kept: list[np.ndarray] = []
        total = 0
        for index in range(self.settings.chunks):
            kept.append(self.rows(index).cpu().numpy().astype(np.uint16))
            total += kept[-1].size
            if total >= n_tokens:
                break
        np.save(path, np.concatenate(kept))


def _batches(
    rows: Int[Tensor, "rows context"], batch_rows: int, generator: torch.Generator
) -> Iterator[Int[Tensor, "batch context"]]:
    order = torch.randperm(len(rows), generator=generator).to(rows.device)
    for start in range(0, len(rows) - batch_rows + 1, batch_rows):
        yield rows[order[start : start + batch_rows]].long()

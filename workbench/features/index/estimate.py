"""What an index will take, measured on a little of the work."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.errors import InputError
from workbench.features.index.batching import find_batch_tokens
from workbench.features.index.rows import RowPlan, row_blocks
from workbench.features.index.scan import MOST_BUFFERED, PartSketch, Scanner
from workbench.results import Result
from workbench.saes.encode import BLOCK_BYTES

if TYPE_CHECKING:
    import pandas as pd

    from workbench.features.index.corpus import Corpus
    from workbench.features.index.settings import IndexSettings
    from workbench.model.model import Model
    from workbench.model.tokens import TokenPolicy
    from workbench.saes.sae import Sae
    from workbench.session import Session

__all__ = ["IndexEstimate", "estimate"]

# Bytes on disk of one activation kept, as written (measured: 11 to 17, by how well they compress).
_ENTRY_BYTES = 16
# And of one feature's statistics with its lists.
_FEATURE_BYTES = 700
# A part holds more per activation than the finished tables, and merging needs both.
_PARTS_FACTOR = 2.5
# An activation in the buffers, with what sorting it needs.
_BUFFER_BYTES = 160
_SAMPLE_PASSES = 4
# Bins in which a typical feature's activations lie: six doublings.
_OCTAVES = 6


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class IndexEstimate(Result):
    """What an index will take.

    Parameters
    ----------
    tokens, documents
        Tokens (special ones included) and documents to read; None where only reading would tell,
        and the other figures are then for a million tokens.
    tokens_per_second
        Speed, measured on the first rows.
    seconds
        Time to read all tokens at that speed.
    memory_bytes
        Most memory: the model, the SAEs, one pass and what is gathered beside it.
    disk_bytes, build_disk_bytes
        Size of the finished index, and the most there is on disk while it is built.
    features
        Features of all SAEs together.
    active_per_token
        Features of all SAEs together that fire on a counted token, on the first rows.
    batch_tokens
        Tokens of one pass.
    sampled_tokens
        Tokens the figures were measured on.
    """

    tokens: int | None
    documents: int | None
    tokens_per_second: float
    seconds: float
    memory_bytes: int
    disk_bytes: int
    build_disk_bytes: int
    features: int
    active_per_token: float
    batch_tokens: int
    sampled_tokens: int

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per figure: ``figure``, ``value``, ``unit``."""
        import pandas as pd

        rows = [
            ("tokens", self.tokens, "tokens"),
            ("documents", self.documents, "documents"),
            ("speed", self.tokens_per_second, "tokens/s"),
            ("time", self.seconds, "s"),
            ("memory", self.memory_bytes / 2**20, "MiB"),
            ("disk", self.disk_bytes / 2**20, "MiB"),
            ("disk while building", self.build_disk_bytes / 2**20, "MiB"),
            ("features", self.features, "features"),
            ("active", self.active_per_token, "features/token"),
            ("pass", self.batch_tokens, "tokens"),
        ]
        return pd.DataFrame(rows, columns=["figure", "value", "unit"])

    def summary(self) -> str:
        """Return one line."""
        of = "a million" if self.tokens is None else f"about {self.tokens:,}"
        return (
            f"IndexEstimate: {self.features:,} features over {of} tokens: "
            f"{_duration(self.seconds)} at {self.tokens_per_second:,.0f} tokens/s, "
            f"{_size(self.memory_bytes)} memory, {_size(self.disk_bytes)} on disk "
            f"({_size(self.build_disk_bytes)} while building)"
        )


def estimate(
    session: Session,
    corpus: Corpus,
    saes: Sequence[Sae],
    policy: TokenPolicy,
    rows: RowPlan,
    settings: IndexSettings,
    limit: int | None,
    batch_tokens: int | None,
) -> IndexEstimate:
    """Measure a few passes and extrapolate.

    Returns
    -------
    IndexEstimate

    Raises
    ------
    InputError
        The corpus has no text at its beginning.
    """
    model = session.model
    size = batch_tokens or find_batch_tokens(model, saes, rows.context)
    wanted = min(size * _SAMPLE_PASSES, limit or math.inf)
    block = next(
        row_blocks(model, corpus, rows, policy, limit=int(wanted)),
        None,
    )
    if block is None or not block.n_counted:
        raise InputError("the first documents of the corpus have no text: nothing to measure")
    scanner = Scanner(model, saes, settings, size)
    warm = next(row_blocks(model, corpus, rows, policy, limit=2))
    scanner.scan(warm)
    began = time.perf_counter()
    sketched = scanner.scan(block)
    speed = len(block.ids) / (time.perf_counter() - began)
    documents = corpus.size
    total: int | None = None
    if documents is not None:
        total = round(len(block.ids) / len(block.metadata) * documents)
    if limit is not None:
        total = min(total, limit) if total is not None else limit
    tokens = 1_000_000 if total is None else total
    kept, active = _kept(saes, sketched, block.n_counted, len(block.ids), tokens, settings)
    features = sum(sae.d_sae for sae in saes)
    token_bytes = tokens * ((2 if model.d_vocab <= 2**16 else 4) + 1)
    disk = round(token_bytes + kept * _ENTRY_BYTES + features * _FEATURE_BYTES)
    return IndexEstimate(
        provenance=model.provenance(policy, saes=[sae.name for sae in saes], seed=settings.seed),
        tokens=total,
        documents=documents,
        tokens_per_second=speed,
        seconds=tokens / speed,
        memory_bytes=_memory(model, saes, scanner.batch_tokens, active, tokens),
        disk_bytes=disk,
        build_disk_bytes=round(disk + token_bytes + kept * _ENTRY_BYTES * _PARTS_FACTOR),
        features=features,
        active_per_token=active,
        batch_tokens=scanner.batch_tokens,
        sampled_tokens=len(block.ids),
    )


def _kept(
    saes: Sequence[Sae],
    sketched: PartSketch,
    counted: int,
    read: int,
    tokens: int,
    settings: IndexSettings,
) -> tuple[float, float]:
    """Activations the finished index keeps, and active features per counted token."""
    most = 2 * settings.contexts
    most += 2 * _OCTAVES * settings.bins_per_octave * settings.samples_per_bin
    kept = fired = 0.0
    for sae in saes:
        histogram = sketched.saes[sae.name].histogram
        count = np.zeros(sae.d_sae)
        np.add.at(count, histogram["feature"].numpy(), histogram["count"].numpy())
        fired += count.sum()
        kept += np.minimum(count * (tokens / read), most).sum()
    return kept, fired / counted


def _memory(
    model: Model, saes: Sequence[Sae], batch_tokens: int, active: float, tokens: int
) -> int:
    weights = model.nbytes + sum(sae.nbytes for sae in saes)
    width = model.d_model * 4 * batch_tokens
    # One pass: the stream, the MLP's inner width and attention; then one SAE's pre-activations.
    passing = 12 * width + sum(width for _ in saes)
    coding = 2.5 * min(BLOCK_BYTES, max(sae.d_sae for sae in saes) * 4 * batch_tokens)
    buffered = min(tokens * active, MOST_BUFFERED * len(saes)) * _BUFFER_BYTES
    return round(weights + passing + coding + buffered)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def _size(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB" if count < 2**30 else f"{count / 2**30:,.1f} GiB"

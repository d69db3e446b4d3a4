"""From parts to the finished index: tokens, documents and per-SAE tables, one file at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Int
from torch import Tensor

from workbench.features.index import disk
from workbench.features.index.parts import CHUNK, Part, PartStore, at_once, merged_chunks, to_arrow
from workbench.features.index.rows import RowBlock
from workbench.features.index.settings import COLUMN_BITS, IndexSettings
from workbench.features.index.sketches import FeatureSketch, merge_stretches
from workbench.features.index.sketches.bins import bin_of
from workbench.features.index.sketches.cofiring import Cofiring
from workbench.features.index.statistics import feature_statistics

__all__ = ["GROUP", "Finished", "write_saes", "write_tokens"]

GROUP = 128
"""Features per row group of ``contexts.parquet``, so that one feature is read quickly."""

Finished = dict[str, tuple[int, str]]
"""Size and digest by path within the index."""

CONTEXTS = pa.schema(
    [
        ("feature", pa.int32()),
        ("rank", pa.int32()),
        ("sampled", pa.bool_()),
        ("bin", pa.int16()),
        ("position", pa.int64()),
        ("token", pa.int32()),
        ("document", pa.int32()),
        ("value", pa.float32()),
    ]
)
_LISTS = {
    "bins": pa.int16(),
    "bin_counts": pa.int64(),
    "bin_low": pa.float32(),
    "bin_high": pa.float32(),
    "neighbours": pa.int32(),
    "together": pa.float64(),
    "shared": pa.int32(),
    "fires_in": pa.uint16(),
    "fires_at": pa.bool_(),
}
_NUMBERS = {
    "feature": pa.int32(),
    "count": pa.int64(),
    "density": pa.float64(),
    "mean": pa.float64(),
    "std": pa.float64(),
    "second_moment": pa.float64(),
    "max": pa.float32(),
    "min": pa.float32(),
    "median": pa.float64(),
    "p90": pa.float64(),
    "p99": pa.float64(),
    "dead": pa.bool_(),
    "dense": pa.bool_(),
}
STATISTICS = pa.schema([*_NUMBERS.items(), *((name, pa.list_(of)) for name, of in _LISTS.items())])


# -- tokens -----------------------------------------------------------------------------------


def write_tokens(
    folder: Path, blocks: Callable[[], Iterator[RowBlock]], d_vocab: int
) -> dict[str, int]:
    """Write ``tokens.npy``, ``special.npy``, ``rows.npy``, ``runs.npy`` and ``documents.parquet``.

    Parameters
    ----------
    folder
        The index.
    blocks
        Gives all blocks in order, each time it is called.
    d_vocab
        Number of tokens, which decides the integer type.

    Returns
    -------
    dict
        Numbers of ``tokens``, ``counted`` tokens, ``rows`` and ``documents``.
    """
    counts = {"tokens": 0, "counted": 0, "rows": 0, "documents": 0, "runs": 0}
    kinds: dict[str, set[type]] = {}
    for block in blocks():
        counts["tokens"] += len(block.ids)
        counts["counted"] += block.n_counted
        counts["rows"] += len(block.lengths)
        counts["documents"] += len(block.metadata)
        counts["runs"] += len(block.starts)
        for row in block.metadata:
            for name, value in row.items():
                kinds.setdefault(name, set()).add(type(value))
    dtype = np.dtype(np.uint16 if d_vocab <= 2**16 else np.int32)
    _stream(folder / "tokens.npy", (counts["tokens"],), dtype, (b.ids for b in blocks()))
    special = (b.special for b in blocks())
    _stream(folder / "special.npy", (counts["tokens"],), np.dtype(bool), special)
    ends = (b.first_token + b.offsets[1:] for b in blocks())
    _stream(folder / "rows.npy", (counts["rows"] + 1,), np.dtype(np.int64), ends, lead=0)
    runs = (np.stack([b.first_token + b.starts, b.owners], 1) for b in blocks())
    _stream(folder / "runs.npy", (counts["runs"], 2), np.dtype(np.int64), runs)
    _write_documents(folder / "documents.parquet", blocks(), kinds)
    del counts["runs"]
    return counts


def _stream(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    pieces: Iterator[np.ndarray],
    lead: int | None = None,
) -> None:
    """Write an array of known shape piece by piece."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with disk.whole_file(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        if lead is not None:
            file.write(np.array([lead], dtype=dtype).tobytes())
        for piece in pieces:
            file.write(np.ascontiguousarray(piece, dtype=dtype).tobytes())


def _write_documents(
    path: Path, blocks: Iterator[RowBlock], kinds: Mapping[str, set[type]]
) -> None:
    # A metadata column may have a name of ours; ours then keep theirs.
    columns = {name: f"metadata.{name}" for name in kinds}
    schema = pa.schema(
        [
            ("document", pa.int32()),
            ("start", pa.int64()),
            ("tokens", pa.int64()),
            *((columns[name], _type_of(found)) for name, found in kinds.items()),
        ]
    )
    with disk.whole_file(path) as file, pq.ParquetWriter(file, schema, compression="zstd") as out:
        for block in blocks:
            numbers = np.arange(block.first_document, block.next_document)
            lengths = np.diff(np.append(block.starts, len(block.ids)))
            slot = block.owners - block.first_document
            tokens = np.bincount(slot, lengths, len(numbers)).astype(np.int64)
            start = np.full(len(numbers), -1, dtype=np.int64)
            start[slot[::-1]] = block.first_token + block.starts[::-1]
            data: dict[str, Any] = {"document": numbers, "start": start, "tokens": tokens}
            for name, column in columns.items():
                cast = _cast_of(kinds[name])
                values = [row.get(name) for row in block.metadata]
                data[column] = [None if value is None else cast(value) for value in values]
            arrays = [pa.array(data[field.name], type=field.type) for field in schema]
            out.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _cast_of(kinds: set[type]) -> type:
    real = kinds - {type(None)}
    if real <= {bool}:
        return bool
    if real <= {int}:
        return int
    return float if real <= {int, float} else str


def _type_of(kinds: set[type]) -> pa.DataType:
    names = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
    return names[_cast_of(kinds)]


# -- features ---------------------------------------------------------------------------------


def write_saes(
    folder: Path,
    store: PartStore,
    parts: Sequence[Part],
    folders: Sequence[str],
    n_counted: int,
    *,
    stop: Callable[[], bool] | None = None,
) -> None:
    """Merge the parts and write ``silent.npy`` and each SAE's tables.

    Parameters
    ----------
    folder
        The index, with ``tokens.npy`` and ``rows.npy`` written.
    store
        Names and sizes of the SAEs, and the settings.
    parts
        In order, without gaps.
    folders
        Where in the index each SAE's tables go.
    n_counted
        Tokens counted.
    stop
        Asked between ranges of features.
    """
    tokens = np.load(folder / "tokens.npy", mmap_mode="r", allow_pickle=False)
    offsets = np.load(folder / "rows.npy", mmap_mode="r", allow_pickle=False)
    stretches = merge_stretches([part.stretches() for part in parts], store.settings)
    with disk.whole_file(folder / "silent.npy") as file:
        np.save(file, _positions(stretches.numpy(), offsets), allow_pickle=False)

    def write(number: int) -> None:
        d_sae = store.sizes[number]
        target = folder / folders[number]
        target.mkdir(parents=True, exist_ok=True)
        gathered = _Gathered(store.settings, d_sae, stretches.numpy())
        chunks = merged_chunks(parts, number, d_sae, stretches, store.settings, store.device)
        with (
            disk.whole_file(target / "contexts.parquet") as file,
            pq.ParquetWriter(
                file, CONTEXTS, compression="zstd", use_dictionary=["rank", "sampled", "bin"]
            ) as out,
        ):
            for index, (chunk, rank, sampled) in enumerate(chunks):
                if stop is not None and stop():
                    from workbench.features.index.scan import Stopped

                    raise Stopped
                _write_contexts(
                    out, chunk, rank, sampled, index, d_sae, tokens, offsets, store.settings
                )
                gathered.add(chunk)
        gathered.write(target / "stats.parquet", n_counted)

    at_once(write, len(store.sizes))


def _positions(
    places: Int[np.ndarray, " n"], offsets: Int[np.ndarray, " rows"]
) -> Int[np.ndarray, " n"]:
    """Places to positions in ``tokens.npy``."""
    found: np.ndarray = offsets[places >> COLUMN_BITS] + (places & ((1 << COLUMN_BITS) - 1))
    return found.astype(np.int64)


def _write_contexts(
    out: pq.ParquetWriter,
    chunk: FeatureSketch,
    rank: Int[Tensor, " kept"],
    sampled: Bool[Tensor, " kept"],
    index: int,
    d_sae: int,
    tokens: np.ndarray,
    offsets: np.ndarray,
    settings: IndexSettings,
) -> None:
    bins = bin_of(chunk.entries["value"], settings.bins_per_octave)
    entries = {name: column.numpy() for name, column in chunk.entries.items()}
    position = _positions(entries["place"], offsets)
    table = to_arrow(
        {
            "feature": entries["feature"],
            "rank": rank.numpy(),
            "sampled": sampled.numpy(),
            "bin": bins.numpy(),
            "position": position,
            "token": tokens[position],
            "document": entries["document"],
            "value": entries["value"],
        },
        CONTEXTS,
    )
    first, last = index * CHUNK, min((index + 1) * CHUNK, d_sae)
    edges = np.searchsorted(entries["feature"], [*range(first, last, GROUP), last])
    for start, end in itertools.pairwise(edges):
        out.write_table(table.slice(start, end - start))


class _Gathered:
    """What ``stats.parquet`` needs of all ranges of features before its first row."""

    def __init__(
        self, settings: IndexSettings, d_sae: int, stretches: Int[np.ndarray, " stretches"]
    ) -> None:
        self._settings, self._d_sae, self._stretches = settings, d_sae, stretches
        self._histograms: list[dict[str, np.ndarray]] = []
        self._tokens: list[dict[str, np.ndarray]] = []
        self._firing: list[dict[str, np.ndarray]] = []

    def add(self, chunk: FeatureSketch) -> None:
        for kept, table in (
            (self._histograms, chunk.histogram),
            (self._tokens, chunk.tokens),
            (self._firing, chunk.firing),
        ):
            kept.append({name: column.numpy() for name, column in table.items()})

    def write(self, path: Path, n_counted: int) -> None:
        settings = self._settings
        tokens = {
            name: np.concatenate([table[name] for table in self._tokens])
            for name in self._tokens[0]
        }
        count = np.zeros(self._d_sae, dtype=np.int64)
        for table in self._histograms:
            np.add.at(count, table["feature"], table["count"])
        cofiring = Cofiring(tokens, count, settings)
        with (
            disk.whole_file(path) as file,
            pq.ParquetWriter(file, STATISTICS, compression="zstd") as out,
        ):
            for index, histogram in enumerate(self._histograms):
                features = range(index * CHUNK, min((index + 1) * CHUNK, self._d_sae))
                numbers = feature_statistics(
                    histogram,
                    features,
                    n_counted=n_counted,
                    bins_per_octave=settings.bins_per_octave,
                    dense_above=settings.dense_above,
                )
                near = cofiring.neighbours(features)
                firing = self._firing[index]
                slot = np.searchsorted(self._stretches, firing["place"])
                lists = {
                    **_ragged(
                        histogram["feature"],
                        features,
                        bins=histogram["bin"],
                        bin_counts=histogram["count"],
                        bin_low=histogram["low"],
                        bin_high=histogram["high"],
                    ),
                    **_ragged(
                        near.feature,
                        features,
                        neighbours=near.other,
                        together=near.together,
                        shared=near.shared,
                    ),
                    **_ragged(
                        firing["feature"], features, fires_in=slot, fires_at=firing["at_place"]
                    ),
                }
                arrays = [
                    lists[field.name]
                    if field.name in lists
                    # What has no value is missing, not NaN, which databases sort as a number.
                    else pa.array(numbers[field.name], type=field.type, from_pandas=True)
                    for field in STATISTICS
                ]
                out.write_table(pa.Table.from_arrays(arrays, schema=STATISTICS))


def _ragged(owner: np.ndarray, features: range, **columns: np.ndarray) -> dict[str, pa.Array]:
    """One list per feature and column, from values sorted by feature."""
    edges = np.searchsorted(owner, np.arange(features.start, features.stop + 1))
    offsets = pa.array(edges, type=pa.int32())
    return {
        name: pa.ListArray.from_arrays(offsets, pa.array(values).cast(_LISTS[name]))
        for name, values in columns.items()
    }

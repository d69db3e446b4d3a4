"""Parts of an index on disk while it is built.

``rows-000012.npz`` holds the token rows of block 12; ``sketch-000008-000015/`` holds what is kept
of blocks 8 to 15. Both appear whole or not at all. As parts accumulate, eight neighbours are merged
into one, so that what lies on disk stays bounded; merging is associative, so it changes nothing.

A sketch folder has one Parquet file per SAE and table, with one row group per range of features:
merging reads, merges and writes one range at a time, in memory that does not grow with the parts.
"""

from __future__ import annotations

import dataclasses
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from workbench.errors import LoadError
from workbench.features.index import disk
from workbench.features.index.rows import RowBlock
from workbench.features.index.scan import PartSketch
from workbench.features.index.settings import IndexSettings
from workbench.features.index.sketches import (
    FeatureSketch,
    SilentBlocks,
    merge_selected,
    merge_stretches,
)
from workbench.features.index.sketches.sketch import TABLES

__all__ = ["CHUNK", "Part", "PartStore", "at_once", "chunk_count", "merged_chunks"]

_AT_ONCE = 4  # SAEs whose tables are merged or written at the same time
CHUNK = 2048
"""Features per row group."""

FAN_IN = 8
"""Parts merged into one."""

_NAME = re.compile(r"sketch-(\d{6})-(\d{6})")
_ROWS = re.compile(r"rows-(\d{6})\.npz")
_TYPES = {
    "feature": pa.int32(),
    "place": pa.int64(),
    "document": pa.int32(),
    "value": pa.float32(),
    "bin": pa.int32(),
    "count": pa.int64(),
    "total": pa.int64(),
    "squares_high": pa.int64(),
    "squares_low": pa.int64(),
    "low": pa.float32(),
    "high": pa.float32(),
    "at_place": pa.bool_(),
}


def chunk_count(d_sae: int) -> int:
    """Ranges of features of an SAE."""
    return -(-d_sae // CHUNK)


def _schema(table: str) -> pa.Schema:
    return pa.schema([(column, _TYPES[column]) for column in TABLES[table]])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """What is kept of blocks `first` to `last`, both included.

    Parameters
    ----------
    path
        Its folder.
    first, last
        The blocks.
    """

    path: Path
    first: int
    last: int

    def stretches(self) -> SilentBlocks:
        """Read the silent stretches chosen in it."""
        return torch.from_numpy(np.load(self.path / "stretches.npy", allow_pickle=False))

    def open(self, number: int) -> dict[str, pq.ParquetFile]:
        """Open the tables of SAE number `number`."""
        return {name: pq.ParquetFile(self.path / f"{number}.{name}.parquet") for name in TABLES}

    def complaint(self) -> str | None:
        """Say what is wrong with it, None if nothing is."""
        try:
            listed = json.loads((self.path / "part.json").read_text(encoding="utf-8"))["files"]
            for name, (size, expected) in listed.items():
                path = self.path / name
                if path.stat().st_size != size:
                    return f"{name} has {path.stat().st_size:,} bytes, expected {size:,}"
                if disk.digest(path) != expected:
                    return f"{name} has another content than was written"
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            return f"{type(error).__name__}: {error}"
        return None


def _chunk(files: Mapping[str, pq.ParquetFile], index: int) -> FeatureSketch:
    tables = {}
    for name, file in files.items():
        read = file.read_row_group(index)
        tables[name] = {
            column: torch.from_numpy(np.array(read[column].to_numpy())) for column in TABLES[name]
        }
    return FeatureSketch(**tables)


Merged = tuple[FeatureSketch, Int[Tensor, " kept"], Bool[Tensor, " kept"]]
"""A range of features merged, and which of its entries are among the strongest or sampled."""


def merged_chunks(
    parts: Sequence[Part],
    number: int,
    d_sae: int,
    stretches: SilentBlocks,
    settings: IndexSettings,
    device: torch.device,
) -> Iterator[Merged]:
    """Merge parts of one SAE, a range of features at a time.

    Parameters
    ----------
    parts
        In order, without overlap.
    number
        The SAE's number.
    d_sae
        Its features.
    stretches
        The silent stretches kept of all parts.
    settings
        What is kept.
    device
        Where to merge; what is given is in main memory and the same to the bit.

    Yields
    ------
    Merged
        One per range, in order.
    """
    opened = [part.open(number) for part in parts]
    try:
        for index in range(chunk_count(d_sae)):
            chunks = [_chunk(files, index) for files in opened]
            try:
                there = [chunk.to(device) for chunk in chunks]
                merged = merge_selected(there, stretches.to(device), settings)
            except torch.OutOfMemoryError:
                merged = merge_selected(chunks, stretches, settings)
            sketch, rank, sampled = merged
            yield sketch.cpu(), rank.cpu(), sampled.cpu()
    finally:
        for files in opened:
            for file in files.values():
                file.close()


def split_chunks(sketch: FeatureSketch, d_sae: int) -> Iterator[FeatureSketch]:
    """Cut a sketch into ranges of features."""
    edges = torch.arange(chunk_count(d_sae) + 1, dtype=torch.int32) * CHUNK
    cuts = {
        name: torch.searchsorted(sketch.table(name)["feature"], edges).tolist() for name in TABLES
    }
    for index in range(len(edges) - 1):
        yield FeatureSketch(
            **{
                name: {
                    key: column[cuts[name][index] : cuts[name][index + 1]]
                    for key, column in sketch.table(name).items()
                }
                for name in TABLES
            }
        )


class PartStore:
    """The parts of one index that is being built.

    Parameters
    ----------
    folder
        Where they lie.
    sizes
        Number of features of each SAE, in order.
    names
        Their names.
    settings
        What is kept.
    device
        Where parts are merged.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        sizes: Sequence[int],
        settings: IndexSettings,
        device: torch.device | None = None,
    ) -> None:
        self.folder = folder
        self.names = tuple(names)
        self.sizes = tuple(sizes)
        self.settings = settings
        self.device = device or torch.device("cpu")
        self._latest: int | None = None

    # -- rows ---------------------------------------------------------------------------------

    def _rows_path(self, number: int) -> Path:
        return self.folder / f"rows-{number:06d}.npz"

    def write_rows(self, block: RowBlock) -> None:
        """Write a block's token rows, unless they are there."""
        if not self._rows_path(block.number).exists():
            arrays: dict[str, Any] = block.to_arrays()
            with disk.whole_file(self._rows_path(block.number)) as file:
                np.savez(file, **arrays)

    def read_rows(self, number: int) -> RowBlock:
        """Read a block's token rows.

        Raises
        ------
        LoadError
            The file is missing or damaged.
        """
        path = self._rows_path(number)
        try:
            with np.load(path, allow_pickle=False) as stored:
                return RowBlock.from_arrays({name: stored[name] for name in stored.files})
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise LoadError(f"{path.name} of the index is missing or damaged: {error}") from error

    def row_numbers(self) -> list[int]:
        """Numbers of the blocks whose rows are there, ascending."""
        found = (_ROWS.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    # -- parts --------------------------------------------------------------------------------

    def recover(self) -> tuple[RowBlock | None, list[str]]:
        """Clear what a killed build left half done, and find what is whole.

        Returns
        -------
        last
            Last block of the unbroken run of whole rows from the first; None if there is none.
        complaints
            What was found damaged and taken away, to be made again.
        """
        complaints = []
        for path in sorted(self.folder.iterdir()):
            if path.name.endswith(disk.TEMPORARY):
                disk.remove(path)
        last: RowBlock | None = None
        for number in self.row_numbers():
            try:
                whole = number == (last.number + 1 if last else 0)
                block = self.read_rows(number) if whole else None
            except LoadError as error:
                complaints.append(str(error))
                block = None
            if block is None:
                disk.remove(self._rows_path(number))
            else:
                last = block
        n_blocks = last.number + 1 if last else 0
        kept: list[Part] = []
        for part in sorted(self._all(), key=lambda part: (part.first, -part.last)):
            inside = bool(kept) and part.last <= kept[-1].last
            problem = None if inside else part.complaint()
            if problem:
                complaints.append(f"{part.path.name}: {problem}")
            if inside or problem or part.last >= n_blocks:
                disk.remove(part.path)
            else:
                kept.append(part)
        self._latest = kept[-1].last if kept else None
        return last, complaints

    def _all(self) -> list[Part]:
        found = []
        for path in self.folder.iterdir():
            match = _NAME.fullmatch(path.name)
            if match:
                found.append(Part(path=path, first=int(match[1]), last=int(match[2])))
        return found

    def parts(self) -> list[Part]:
        """Parts in order of block; one that a merged part holds already is left out."""
        kept: list[Part] = []
        for part in sorted(self._all(), key=lambda part: (part.first, -part.last)):
            if not kept or part.first > kept[-1].last:
                kept.append(part)
        return kept

    def done(self) -> set[int]:
        """Numbers of the blocks that are sketched."""
        return {number for part in self.parts() for number in range(part.first, part.last + 1)}

    def write(self, number: int, sketched: PartSketch) -> None:
        """Merge where enough neighbours are there, then write the sketches of one block.

        What the block written last makes full is left: behind the last of all, it would be merged
        once more than needed.
        """
        if self._latest is not None:
            self._merge_full(self._latest)
        sketched = sketched.cpu()
        chunks = [
            split_chunks(sketched.saes[name], size)
            for name, size in zip(self.names, self.sizes, strict=True)
        ]
        self._write(number, number, sketched.stretches, chunks)
        self._latest = number

    def _merge_full(self, number: int) -> None:
        span = 1
        while True:
            first = number // (span * FAN_IN) * span * FAN_IN
            there = {(part.first, part.last): part for part in self._all()}
            wanted = [(first + k * span, first + (k + 1) * span - 1) for k in range(FAN_IN)]
            if not all(key in there for key in wanted):
                return
            parts = [there[key] for key in wanted]
            stretches = merge_stretches([part.stretches() for part in parts], self.settings)
            chunks = [
                (
                    merged
                    for merged, _, _ in merged_chunks(
                        parts, index, size, stretches, self.settings, self.device
                    )
                )
                for index, size in enumerate(self.sizes)
            ]
            self._write(first, wanted[-1][1], stretches, chunks)
            for part in parts:
                disk.remove(part.path)
            span *= FAN_IN

    def _write(
        self,
        first: int,
        last: int,
        stretches: SilentBlocks,
        chunks: Sequence[Iterator[FeatureSketch]],
    ) -> None:
        with disk.whole_folder(self.folder / f"sketch-{first:06d}-{last:06d}") as folder:
            np.save(folder / "stretches.npy", stretches.numpy(), allow_pickle=False)
            at_once(lambda number: _write_sketch(folder, number, chunks[number]), len(chunks))
            files = {
                path.name: (path.stat().st_size, disk.digest(path))
                for path in sorted(folder.iterdir())
            }
            disk.write_json(folder / "part.json", {"files": files})


def _write_sketch(folder: Path, number: int, chunks: Iterator[FeatureSketch]) -> None:
    writers = {
        name: pq.ParquetWriter(
            folder / f"{number}.{name}.parquet",
            _schema(name),
            compression="lz4",  # soon read again
            use_dictionary=False,
            write_statistics=False,
        )
        for name in TABLES
    }
    try:
        for chunk in chunks:
            for name, writer in writers.items():
                writer.write_table(to_arrow(chunk.table(name), _schema(name)))
    finally:
        for writer in writers.values():
            writer.close()


def at_once(work: Callable[[int], None], count: int) -> None:
    """Do a piece of work per SAE, a few of them at the same time."""
    with ThreadPoolExecutor(min(_AT_ONCE, max(torch.get_num_threads(), 1))) as pool:
        for _ in pool.map(work, range(count)):
            pass


def to_arrow(table: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
    """Columns as an Arrow table."""
    arrays = [
        pa.array(np.asarray(table[field.name]), type=field.type, from_pandas=False)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)

"""Corpora: anything that holds documents, read as one ordered stream.

A corpus gives its documents in the same order every time it is read, so that an interrupted build
can go on where it stopped and a finished one can be recognised.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from workbench.errors import InputError, LoadError, unknown

if TYPE_CHECKING:
    from workbench.model.tokens import Chat

__all__ = ["Corpus", "Document", "as_corpus"]

Content: TypeAlias = "str | np.ndarray | Chat"

_TEXT_NAMES = ("text", "content", "document", "sentence", "prompt", "story", "body")
_TOKEN_NAMES = ("input_ids", "tokens", "token_ids")
_SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".txt", ".text", ".md")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Document:
    """One document.

    Parameters
    ----------
    content
        Text, a conversation, or token ids as they are.
    metadata
        What is kept beside it: column name to string, number, bool or None.
    """

    content: Content
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def update(self, digest: Any) -> None:
        """Feed the content to a hash, unambiguously."""
        if isinstance(self.content, str):
            raw, kind = self.content.encode("utf-8", "surrogatepass"), b"t"
        elif isinstance(self.content, np.ndarray):
            raw, kind = self.content.astype("<i8").tobytes(), b"i"
        else:
            raw, kind = json.dumps([dict(message) for message in self.content]).encode(), b"c"
        digest.update(kind + len(raw).to_bytes(8, "little"))
        digest.update(raw)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Corpus:
    """An ordered stream of documents that can be read again.

    Parameters
    ----------
    name
        What it is, for people.
    read
        Gives the documents from the start, each time it is called.
    size
        Number of documents, None where only reading would tell.
    width
        Longest row of a corpus of token rows; None for other corpora.
    """

    name: str
    read: Callable[[], Iterator[Document]]
    size: int | None = None
    width: int | None = None

    def documents(self, start: int = 0) -> Iterator[Document]:
        """Read from document number `start` on."""
        return itertools.islice(self.read(), start, None)

    def head(self, count: int = 64) -> str:
        """Hash the first documents: enough to tell two corpora apart."""
        digest = hashlib.blake2b(digest_size=16)
        for document in itertools.islice(self.read(), count):
            document.update(digest)
        return digest.hexdigest()

    def __repr__(self) -> str:
        size = "an unknown number of" if self.size is None else f"{self.size:,}"
        return f"Corpus({self.name}: {size} documents)"


def as_corpus(
    given: Any,
    *,
    text: str | None = None,
    metadata: bool | Iterable[str] = False,
    split: str = "train",
) -> Corpus:
    """Make a corpus of whatever holds documents.

    Parameters
    ----------
    given
        A list of texts, conversations, token rows or mappings; an integer array or tensor
        ``[row, pos]``, or one long row; a ``datasets`` name or object; a pandas DataFrame; a
        Parquet, JSON lines or text file (one document per line), a folder of such files or a list
        of paths; a function that returns a fresh iterator of texts or mappings; a `Corpus`.
    text
        Column with the text (or the token ids); found by name where None.
    metadata
        Columns kept with each document; True for all of them.
    split
        Split of a ``datasets`` name.

    Returns
    -------
    Corpus

    Raises
    ------
    InputError
        Not something that holds documents, or it has no such column.
    LoadError
        A file or data set cannot be read.
    """
    if isinstance(given, Corpus):
        return given
    columns = _Columns(text=text, metadata=metadata)
    if isinstance(given, Path) or (isinstance(given, str) and Path(given).expanduser().exists()):
        return _from_files(_files(Path(given).expanduser()), columns)
    if isinstance(given, str):
        return _from_name(given, columns, split)
    if type(given).__module__.split(".")[0] == "datasets":
        return _from_dataset(given, columns)
    if hasattr(given, "detach") or isinstance(given, np.ndarray):
        return _from_array(given)
    if type(given).__name__ == "DataFrame":
        rows = given
        return Corpus(
            name="table",
            size=len(rows),
            read=lambda: columns.documents(rows.to_dict(orient="records")),
        )
    if callable(given):
        return Corpus(name="function", read=lambda: columns.documents(given()))
    if isinstance(given, Sequence):
        return _from_sequence(given, columns)
    raise InputError(
        f"a corpus cannot be a {type(given).__name__}: expected a list of texts, token rows, a "
        "datasets name or object, or paths of Parquet, JSON lines or text files. For a generator, "
        "pass a function that returns a fresh one, so that the build can be resumed"
    )


def _from_sequence(given: Sequence[Any], columns: _Columns) -> Corpus:
    if not given:
        raise InputError("the corpus is empty: expected at least one document")
    if all(isinstance(item, Path) for item in given):
        return _from_files(list(given), columns)
    width = None
    if _is_row(given[0]):
        width = max(len(item) for item in given)
    return Corpus(
        name="list", size=len(given), width=width, read=lambda: columns.documents(iter(given))
    )


def _is_row(item: Any) -> bool:
    if isinstance(item, np.ndarray):
        return True
    return isinstance(item, list | tuple) and bool(item) and isinstance(item[0], int | np.integer)


def _from_array(given: Any) -> Corpus:
    array = given.detach().cpu().numpy() if hasattr(given, "detach") else given
    if not np.issubdtype(array.dtype, np.integer) or array.ndim not in (1, 2):
        raise InputError(
            f"got an array of {array.dtype} and shape {array.shape}, expected token ids: integers "
            "[row, pos], or one long row [pos]"
        )
    rows = array[None] if array.ndim == 1 else array
    if not rows.size:
        raise InputError("the corpus is empty: expected at least one token")
    return Corpus(
        name="token array",
        size=len(rows),
        width=rows.shape[1] if array.ndim == 2 else None,
        read=lambda: (Document(content=row) for row in rows),
    )


def _from_name(name: str, columns: _Columns, split: str) -> Corpus:
    looks_like_path = name.startswith((".", "/", "~")) or Path(name).suffix in _SUFFIXES
    if looks_like_path:
        raise LoadError(f"no file or folder {name!r}")
    if "\n" in name or len(name) > 200 or name.count(" ") > 2:
        raise InputError("got one string, expected a list of texts; pass [text] for one document")
    import datasets

    try:
        loaded = datasets.load_dataset(name, split=split)
    except Exception as error:  # any of a dozen libraries may be the one that fails
        raise LoadError(
            f"data set {name!r} (split {split!r}) cannot be loaded: {error}. Where there is no "
            "network, pass a local Parquet, JSON lines or text file, or a list of texts"
        ) from error
    return dataclasses.replace(_from_dataset(loaded, columns), name=f"{name}:{split}")


def _from_dataset(given: Any, columns: _Columns) -> Corpus:
    if isinstance(given, dict):
        raise InputError(
            f"this data set has the splits {sorted(given)}; pass one, such as "
            f"dataset[{next(iter(given), 'train')!r}]"
        )
    size = len(given) if hasattr(given, "__len__") else None
    return Corpus(
        name=str(getattr(given.info, "dataset_name", None) or "data set"),
        size=size,
        read=lambda: columns.documents(iter(given)),
    )


# -- files ------------------------------------------------------------------------------------


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = sorted(child for child in path.rglob("*") if child.suffix in _SUFFIXES)
    if not found:
        raise LoadError(f"no {', '.join(_SUFFIXES)} file in {str(path)!r}")
    return found


def _from_files(paths: list[Path], columns: _Columns) -> Corpus:
    for path in paths:
        if not path.is_file():
            raise LoadError(f"no file {str(path)!r}")
        if path.suffix not in _SUFFIXES:
            raise InputError(unknown("kind of file", path.suffix or path.name, _SUFFIXES))

    def read() -> Iterator[Document]:
        for path in paths:
            yield from columns.documents(_rows(path, columns))

    name = paths[0].name if len(paths) == 1 else f"{len(paths)} files"
    return Corpus(name=name, size=sum(_count(path) for path in paths), read=read)


def _count(path: Path) -> int:
    if path.suffix == ".parquet":
        return int(_parquet(path).metadata.num_rows)
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip())


def _parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise LoadError(f"{path.name} is not a readable Parquet file: {error}") from error


def _rows(path: Path, columns: _Columns) -> Iterator[Any]:
    if path.suffix == ".parquet":
        file = _parquet(path)
        wanted = columns.wanted(file.schema_arrow.names)
        for batch in file.iter_batches(batch_size=1024, columns=wanted):
            yield from batch.to_pylist()
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            if path.suffix not in (".jsonl", ".ndjson"):
                yield line.rstrip("\r\n")
                continue
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise LoadError(f"{path.name}, line {number}: not JSON ({error})") from error


# -- columns ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Columns:
    """Which columns are the document and which are kept with it."""

    text: str | None
    metadata: bool | Iterable[str]

    def __post_init__(self) -> None:
        if not isinstance(self.metadata, bool):
            given = [self.metadata] if isinstance(self.metadata, str) else list(self.metadata)
            object.__setattr__(self, "metadata", tuple(given))

    def wanted(self, names: Sequence[str]) -> list[str] | None:
        """Columns to read of a table; None for all."""
        if self.metadata is True:
            return None
        kept = [] if isinstance(self.metadata, bool) else list(self.metadata)
        return list(dict.fromkeys([self._content_name(dict.fromkeys(names)), *kept]))

    def documents(self, rows: Iterable[Any]) -> Iterator[Document]:
        for number, row in enumerate(rows):
            yield self._document(row, number)

    def _document(self, row: Any, number: int) -> Document:
        if isinstance(row, Document):
            return row
        if not isinstance(row, Mapping):
            return Document(content=_content(row, number))
        name = self._content_name(row)
        if self.metadata is True:
            kept: Sequence[str] = [key for key in row if key != name]
        else:
            kept = () if isinstance(self.metadata, bool) else tuple(self.metadata)
        for key in kept:
            if key not in row:
                raise InputError(f"document {number}: {unknown('column', key, row)}")
        return Document(
            content=_content(row[name], number),
            metadata={key: _plain(row[key], key, number) for key in kept},
        )

    def _content_name(self, row: Mapping[str, Any]) -> str:
        if self.text is not None:
            if self.text not in row:
                raise InputError(unknown("column", self.text, row))
            return self.text
        for name in (*_TEXT_NAMES, *_TOKEN_NAMES, "messages"):
            if name in row:
                return name
        texts = [name for name, value in row.items() if isinstance(value, str)]
        if len(texts) == 1:
            return texts[0]
        raise InputError(f"which column is the text? pass text=...; columns: {list(row)}")


def _content(value: Any, number: int) -> Content:
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
        return [
            {"role": str(message["role"]), "content": str(message["content"])} for message in value
        ]
    if isinstance(value, list | tuple | np.ndarray) or hasattr(value, "detach"):
        ids = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        if ids.ndim == 1 and (np.issubdtype(ids.dtype, np.integer) or not ids.size):
            return ids.astype(np.int64)
    raise InputError(
        f"document {number} is {type(value).__name__}, expected a text, a conversation or a row of "
        "token ids"
    )


def _plain(value: Any, key: str, number: int) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, dt.date):
        return value.isoformat()
    raise InputError(
        f"document {number}: metadata column {key!r} holds a {type(value).__name__}, expected text,"
        " a number, a date or nothing"
    )

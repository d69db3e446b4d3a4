"""Writing files that appear together, whole, or not at all."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from workbench.errors import InputError

__all__ = ["Replacements", "dumps"]

# Beyond this gzip takes much longer and gains little on such rows.
_LEVEL = 5


class Replacements:
    """Files that appear together, whole, once all of them are written.

    Until then the old ones stay, so that features can be read from the files they replace.

    Parameters
    ----------
    folder
        Folder the files lie in or under; made where it does not exist.
    pattern
        Glob of the files that are replaced as one set.
    overwrite
        Whether there may be such files already. Those that are not written again are removed.

    Raises
    ------
    InputError
        There are and they may not.
    """

    def __init__(self, folder: Path, pattern: str, *, overwrite: bool) -> None:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{str(folder)!r} is a file; expected a folder to write into")
        self._old = sorted(folder.rglob(pattern)) if folder.is_dir() else []
        if self._old and not overwrite:
            raise InputError(
                f"{str(self._old[0])!r} is already there; choose another folder, or pass "
                "overwrite=True"
            )
        self._written: list[Path] = []

    @property
    def written(self) -> list[Path]:
        """The files opened so far, by their final names."""
        return list(self._written)

    @contextlib.contextmanager
    def open(self, path: Path) -> Iterator[IO[str]]:
        """Open a text file to write; gzipped where its name ends in .gz."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._written.append(path)
        with _partial(path).open("wb") as raw:
            if path.suffix == ".gz":
                # No name and no time in the header: the same data gives the same bytes.
                packed = gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0)
                with packed, io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as text:
                    yield text
            else:
                plain = io.TextIOWrapper(raw, encoding="utf-8", newline="\n")
                try:
                    yield plain
                finally:
                    plain.detach()
            raw.flush()
            os.fsync(raw.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            for path in self._written:
                _partial(path).unlink(missing_ok=True)
            return
        for path in self._written:
            _partial(path).replace(path)
        for path in self._old:
            if path not in self._written:
                path.unlink()


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def dumps(record: Any, *, own: bool) -> str:
    """Write a record as one line of JSON.

    Parameters
    ----------
    record
        JSON-ready data.
    own
        Whether every number in it is ours. Records read from outside may hold NaN, which is
        written as it was read.

    Raises
    ------
    InputError
        A number of ours is NaN or infinite, which JSON cannot hold.
    """
    try:
        return json.dumps(record, allow_nan=not own)
    except ValueError as error:
        raise InputError(
            f"a dashboard holds NaN or infinity where JSON needs a number: {error}"
        ) from error

"""Rows of large files by feature, kept on disk while the features are read."""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from workbench.errors import LoadError
from workbench.interchange.files import Limits, json_lines, loads

__all__ = ["Spool"]

_MANY = 2_000
_INDEX = re.compile(r"[0-9]{1,15}")


class Spool:
    """Groups the rows of JSON-lines files by their feature, without holding them in memory.

    Exports write features and their contexts in separate files whose batches need not agree, so
    rows are put into a temporary database first.

    Parameters
    ----------
    limits
        Bounds on sizes.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._folder = tempfile.TemporaryDirectory(prefix="workbench-", ignore_cleanup_errors=True)
        self._base = sqlite3.connect(Path(self._folder.name) / "rows.sqlite")
        # A temporary file needs no protection from a crash.
        self._base.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;")
        self._base.execute("CREATE TABLE rows (kind TEXT, feature INTEGER, row BLOB)")

    def add(self, kind: str, files: Iterable[Path], only: frozenset[int] | None = None) -> int:
        """Take the rows of files, in order.

        Parameters
        ----------
        kind
            Name to find them under.
        files
            JSON-lines files whose rows have an ``index``.
        only
            Features wanted; None for all.

        Returns
        -------
        int
            Rows taken.

        Raises
        ------
        LoadError
            A line is not a JSON object with a feature index.
        """
        taken = 0
        waiting: list[tuple[str, int, bytes]] = []
        for path in files:
            for number, line in json_lines(path, self._limits):
                where = f"{path.name}, line {number}"
                feature = feature_index(loads(line, where), where)
                if only is None or feature in only:
                    waiting.append((kind, feature, line))
                    taken += 1
                if len(waiting) == _MANY:
                    self._put(waiting)
                    waiting = []
        self._put(waiting)
        self._base.execute("CREATE INDEX IF NOT EXISTS by_feature ON rows (kind, feature)")
        return taken

    def _put(self, rows: list[tuple[str, int, bytes]]) -> None:
        self._base.executemany("INSERT INTO rows VALUES (?, ?, ?)", rows)

    def rows(self, kind: str, feature: int) -> list[bytes]:
        """Return a feature's rows in the order they came.

        Raises
        ------
        LoadError
            There are more than a feature may have.
        """
        most = self._limits.contexts
        found = self._base.execute(
            "SELECT row FROM rows WHERE kind = ? AND feature = ? ORDER BY rowid LIMIT ?",
            (kind, feature, most + 1),
        ).fetchall()
        if len(found) > most:
            raise LoadError(f"feature {feature} has more than {most:,} {kind}")
        return [row for (row,) in found]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._base.close()
        self._folder.cleanup()


def feature_index(row: object, where: str) -> int:
    """Read the feature index of a row, which is a number or its digits.

    Raises
    ------
    LoadError
        Neither.
    """
    found = row.get("index") if isinstance(row, dict) else None
    if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < 2**53:
        return found
    if isinstance(found, str) and _INDEX.fullmatch(found):
        return int(found)
    raise LoadError(f"{where}: index: expected a feature number, got {found!r:.80}")

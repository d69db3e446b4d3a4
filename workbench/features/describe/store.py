"""Finished descriptions and scores on disk, so that a killed run goes on where it was."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.errors import InputError, LoadError
from workbench.features.describe.questions import Score

__all__ = ["Store", "fingerprint"]

_NAN = "NaN"


def fingerprint(identity: Mapping[str, Any]) -> str:
    """Hash what a run is of: 16 hexadecimal digits."""
    text = json.dumps(identity, sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class Store:
    """A file of JSON lines, one for each finished description or score.

    The first line says what the run is of. A line is on disk before the next is begun; one that was
    cut off by a kill is dropped.

    Parameters
    ----------
    path
        The file; None to keep nothing.
    identity
        What the run is of.
    write
        Whether to make and repair the file. Without, it is only read.

    Raises
    ------
    InputError
        The file is of another run.
    LoadError
        It is not such a file.
    """

    def __init__(self, path: Path | None, identity: Mapping[str, Any], *, write: bool) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._done: dict[tuple[str, str], Any] = {}
        if path is None:
            return
        header = {"kind": "feature descriptions", "schema": 1, "of": fingerprint(identity)}
        if path.is_file() and b"\n" in path.read_bytes():
            self._read(path, header, repair=write)
        elif write:
            # Nothing, or a first line that was cut off.
            path.unlink(missing_ok=True)
            self._append({**header, "identity": dict(identity)})

    def _read(self, path: Path, header: Mapping[str, Any], *, repair: bool) -> None:
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        lines = data[:whole].split(b"\n")[:-1]
        try:
            records = [json.loads(line) for line in lines]
            first = records[0] if records else {}
            if not all(isinstance(record, dict) for record in records):
                raise TypeError("a line is not an object")
            if first.get("kind") != header["kind"] or first.get("schema") != header["schema"]:
                raise ValueError("its first line does not describe such a file")
            if first["of"] != header["of"]:
                raise InputError(
                    f"{str(path)!r} holds descriptions made in another way (other index, labeller, "
                    "scorer or settings); pass another path"
                )
            for record in records[1:]:
                self._done[record["feature"], record["what"]] = record["data"]
        except InputError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise LoadError(f"{str(path)!r} holds no feature descriptions: {error!r}") from error
        if repair and whole < len(data):
            with path.open("r+b") as file:
                file.truncate(whole)

    def _append(self, record: Mapping[str, Any]) -> None:
        if self.path is None:
            return
        line = json.dumps(record, ensure_ascii=True, allow_nan=False) + "\n"
        with self.path.open("ab") as file:
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def description(self, feature: str) -> str | None:
        """Return a finished description."""
        return self._done.get((feature, "description"))

    def keep_description(self, feature: str, text: str) -> None:
        """Keep a description."""
        self._keep(feature, "description", text)

    def score(self, feature: str, kind: str, text: str) -> Score | None:
        """Return a finished score of a feature's description `text`.

        Raises
        ------
        LoadError
            What is stored is no score.
        """
        data = self._done.get((feature, _what(kind, text)))
        if data is None:
            return None
        try:
            numbers: dict[str, Any] = {
                name: float("nan") if v == _NAN else v for name, v in data.items()
            }
            by = (float("nan") if v == _NAN else float(v) for v in numbers.pop("by_quantile"))
            return Score(**numbers, by_quantile=tuple(by))
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise LoadError(f"the stored {kind} score of {feature} is damaged: {error}") from error

    def keep_score(self, feature: str, score: Score, text: str) -> None:
        """Keep a score of a feature's description `text`."""
        data = dataclasses.asdict(score)
        plain = {name: _plain(value) for name, value in data.items()}
        self._keep(feature, _what(score.kind, text), plain)

    def _keep(self, feature: str, what: str, data: Any) -> None:
        with self._lock:
            self._append({"feature": feature, "what": what, "data": data})
            self._done[feature, what] = data


def _what(kind: str, text: str) -> str:
    return f"{kind} of {fingerprint({'text': text})}"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value != value:
        return _NAN
    return value

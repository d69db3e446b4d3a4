"""Reading other tools' files within bounds: streamed, with sizes checked."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from workbench.errors import LoadError

__all__ = [
    "Limits",
    "batch_files",
    "json_lines",
    "json_object",
    "loads",
    "open_bounded",
    "top_level",
]

_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much of a file is read before it is refused as damaged or hostile.

    Parameters
    ----------
    unpacked_bytes
        Most bytes of one file after decompression.
    record_bytes
        Most characters of one record (one feature, one line).
    contexts
        Most contexts of one feature.
    tokens
        Most tokens of one context.
    bars
        Most bars of one histogram, entries of one table.
    """

    unpacked_bytes: int = 16 << 30
    record_bytes: int = 64 << 20
    contexts: int = 10_000
    tokens: int = 1 << 18
    bars: int = 1 << 18


class _Bounded(io.RawIOBase):
    """Passes a binary stream on and refuses to give more than a number of bytes."""

    def __init__(self, stream: IO[bytes], limit: int, name: str) -> None:
        self._stream, self._left, self._limit, self._name = stream, limit, limit, name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(min(len(buffer), self._left + 1))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise LoadError(f"{self._name}: damaged or truncated gzip data ({error})") from error
        self._left -= len(data)
        if self._left < 0:
            raise LoadError(
                f"{self._name}: unpacks to more than {self._limit:,} bytes; refused as damaged or "
                "hostile (raise Limits.unpacked_bytes if the file is what it should be)"
            )
        buffer[: len(data)] = data
        return len(data)


@contextlib.contextmanager
def open_bounded(path: Path, limits: Limits) -> Iterator[io.BufferedReader]:
    """Open a plain or gzipped file for reading bytes, told apart by its first bytes.

    Raises
    ------
    LoadError
        No such file; while reading: damaged gzip data, or more bytes than the limit.
    """
    if not path.is_file():
        raise LoadError(f"no file {str(path)!r}")
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(path.open("rb"))
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        stream: Any = stack.enter_context(gzip.GzipFile(fileobj=raw)) if packed else raw
        bounded = _Bounded(stream, limits.unpacked_bytes, path.name)
        yield stack.enter_context(io.BufferedReader(bounded, _CHUNK))


def loads(text: str | bytes, where: str) -> Any:
    """Parse JSON from outside.

    Raises
    ------
    LoadError
        Not JSON, not UTF-8, nested too deep, or a number of thousands of digits.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LoadError(f"{where}: not valid JSON ({error})") from error


def json_object(path: Path, limits: Limits) -> dict[str, Any]:
    """Read a file that is one JSON object no larger than a record.

    Raises
    ------
    LoadError
        Too large, damaged, or not a JSON object.
    """
    with open_bounded(path, limits) as file:
        data = file.read(limits.record_bytes + 1)
    if len(data) > limits.record_bytes:
        raise LoadError(
            f"{path.name}: larger than {limits.record_bytes:,} bytes, the most expected"
        )
    found = loads(data, path.name)
    if not isinstance(found, dict):
        raise LoadError(f"{path.name}: expected a JSON object, got {type(found).__name__}")
    return found


def json_lines(path: Path, limits: Limits) -> Iterator[tuple[int, bytes]]:
    """Give the lines of a JSON-lines file with their numbers, from 1, without parsing them.

    Raises
    ------
    LoadError
        A line is longer than a record may be, or the file is damaged.
    """
    with open_bounded(path, limits) as file:
        number = 0
        while line := file.readline(limits.record_bytes + 1):
            number += 1
            if len(line) > limits.record_bytes:
                raise LoadError(
                    f"{path.name}, line {number}: longer than {limits.record_bytes:,} bytes, the "
                    "most expected of one record"
                )
            if line.strip():
                yield number, line


def batch_files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files ``batch-N.<suffix>`` of a folder by rising N.

    Raises
    ------
    LoadError
        One batch is there twice, for instance plain and gzipped.
    """
    pattern = re.compile(r"batch-(\d+)(\..+)")
    found: dict[int, Path] = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        match = pattern.fullmatch(path.name)
        if match and match[2] in suffixes and len(match[1]) < 10:
            number = int(match[1])
            if number in found:
                raise LoadError(f"batch {number} is there twice: {found[number].name}, {path.name}")
            found[number] = path
    return [found[number] for number in sorted(found)]


class _Scanner:
    """Reads JSON values one after another from a text stream, keeping little of it in memory."""

    def __init__(self, stream: IO[str], name: str, most: int) -> None:
        self._stream, self._name, self._most = stream, name, most
        self._buffer, self._at, self._done = "", 0, False
        self._decoder = json.JSONDecoder()

    def peek(self) -> str:
        """Return the next character that is not white space; empty at the end."""
        while True:
            while self._at < len(self._buffer):
                if self._buffer[self._at] not in " \t\r\n":
                    return self._buffer[self._at]
                self._at += 1
            if not self._more():
                return ""

    def expect(self, *characters: str) -> str:
        found = self.peek()
        if found not in characters or not found:
            wanted = " or ".join(map(repr, characters))
            got = repr(found) if found else "the end of the file (it is truncated)"
            raise LoadError(f"{self._name}: not valid JSON: expected {wanted}, got {got}")
        self._at += 1
        return found

    def value(self, what: str) -> Any:
        self.peek()
        while True:
            try:
                found, end = self._decoder.raw_decode(self._buffer, self._at)
            except (ValueError, RecursionError) as error:
                # Incomplete text and wrong text look alike until the stream ends.
                if isinstance(error, RecursionError) or not self._more():
                    raise LoadError(f"{self._name}: {what} is not valid JSON ({error})") from error
                self._check(len(self._buffer) - self._at, what)
                continue
            self._check(end - self._at, what)
            # A number may go on in the part that is not read yet.
            if end == len(self._buffer) and self._more():
                continue
            self._at = end
            return found

    def _check(self, size: int, what: str) -> None:
        if size > self._most:
            raise LoadError(
                f"{self._name}: {what} is damaged, or longer than {self._most:,} characters, the "
                "most expected of one record"
            )

    def _more(self) -> bool:
        if self._done:
            return False
        # Doubling keeps the work of parsing a long value again linear in its length.
        kept = self._buffer[self._at :]
        new = self._stream.read(max(_CHUNK, len(kept)))
        self._buffer, self._at, self._done = kept + new, 0, not new
        return bool(new)


def top_level(path: Path, array: str, limits: Limits) -> Iterator[tuple[str, Any]]:
    """Walk one large JSON object without holding it: its values, and one array item by item.

    Parameters
    ----------
    path
        A plain or gzipped file.
    array
        Name of the array whose items come one at a time.
    limits
        Bounds.

    Yields
    ------
    tuple
        Name and value; the array's name once per item.

    Raises
    ------
    LoadError
        Not such a file, damaged, or an item beyond the limits.
    """
    with open_bounded(path, limits) as file:
        try:
            text = io.TextIOWrapper(file, encoding="utf-8")
            yield from _walk(_Scanner(text, path.name, limits.record_bytes), array, path.name)
        except UnicodeDecodeError as error:
            raise LoadError(f"{path.name}: not UTF-8 text ({error})") from error


def _walk(scan: _Scanner, array: str, name: str) -> Iterator[tuple[str, Any]]:
    scan.expect("{")
    seen: set[str] = set()
    while scan.peek() != "}":
        key = scan.value("a name")
        if not isinstance(key, str) or key in seen:
            raise LoadError(f"{name}: expected a new name in the outer object, got {key!r:.60}")
        seen.add(key)
        scan.expect(":")
        if key == array:
            scan.expect("[")
            number = 0
            while scan.peek() != "]":
                yield key, scan.value(f"{array}[{number}]")
                number += 1
                if scan.peek() != "]":
                    scan.expect(",")
            scan.expect("]")
        else:
            yield key, scan.value(repr(key))
        if scan.peek() != "}":
            scan.expect(",")
    scan.expect("}")
    if scan.peek():
        raise LoadError(f"{name}: text after the end of the outer object")

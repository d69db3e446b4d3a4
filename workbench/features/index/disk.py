"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from workbench.errors import WorkbenchError

__all__ = ["digest", "held", "remove", "sync_folder", "whole_file", "whole_folder", "write_json"]

TEMPORARY = ".partial"


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that takes its name only when it is complete and on disk."""
    partial = path.with_name(path.name + TEMPORARY)
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    partial.replace(path)
    sync_folder(path.parent)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a folder to fill that takes its name only when everything in it is on disk."""
    partial = path.with_name(path.name + TEMPORARY)
    remove(partial)
    partial.mkdir(parents=True)
    try:
        yield partial
        for child in sorted(partial.rglob("*")):
            if child.is_file():
                with child.open("rb") as file:
                    os.fsync(file.fileno())
        sync_folder(partial)
    except BaseException:
        remove(partial)
        raise
    partial.replace(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Bring a folder's list of names to disk, where the system can."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, data: Any) -> None:
    """Write data as JSON, whole or not at all, the same bytes for the same data."""
    text = json.dumps(data, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    with whole_file(path) as file:
        file.write(text.encode() + b"\n")


def digest(path: Path) -> str:
    """Hash a file's content: 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def remove(path: Path) -> None:
    """Remove a file or a folder if it is there.

    A folder is renamed first, so that a removal that is cut short leaves no half folder behind
    under a name that means something.
    """
    if path.is_dir():
        if not path.name.endswith(TEMPORARY):
            leaving = path.with_name(path.name + ".removed" + TEMPORARY)
            remove(leaving)
            path = path.rename(leaving)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder, so that no second build writes into it; let go when the process ends.

    Raises
    ------
    WorkbenchError
        Another build holds it.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorkbenchError(
                f"another build is writing to {str(folder)!r}; wait for it, stop it, or use "
                "another path"
            ) from None
        yield
    finally:
        os.close(handle)

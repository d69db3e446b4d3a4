"""Reading files from outside: that they are there, and no larger than what is expected."""

from __future__ import annotations

from pathlib import Path

from workbench.errors import LoadError

__all__ = ["check_file", "read_text"]


def check_file(path: Path, most: int) -> None:
    """Check a file before it is read.

    Parameters
    ----------
    path
        The file.
    most
        Bytes it may have.

    Raises
    ------
    LoadError
        There is no such file, or it is larger.
    """
    if not path.is_file():
        raise LoadError(f"no file {str(path)!r}")
    if path.stat().st_size > most:
        raise LoadError(f"{path.name} has {path.stat().st_size:,} bytes, expected at most {most:,}")


def read_text(path: Path, most: int) -> str:
    """Read a text file of at most `most` bytes.

    Raises
    ------
    LoadError
        There is no such file, or it is larger, or not UTF-8.
    """
    check_file(path, most)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise LoadError(f"{path.name} is not UTF-8 text ({error})") from error

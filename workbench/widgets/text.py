"""Tokens as plain text with nothing hidden: the Python side of ``widgets/src/ui/format.ts``."""

from __future__ import annotations

import re

__all__ = ["printable", "visible"]

_MARKS = {"\n": "↵", "\t": "⇥"}
_SPACES = re.compile("[ \u00a0\u2000-\u200a\u202f\u3000]")
# Controls, soft hyphen, zero-width and direction marks, separators, byte-order mark, surrogates.
_HIDDEN = re.compile(
    "[\u0000-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufffd"
    "\ud800-\udfff]"
)


def visible(token: str) -> str:
    r"""Return a token with spaces as ``·``, newlines as ``↵``, unprintables as ``\x07``."""
    if token == "":
        return "∅"
    return "".join(_visible(character) for character in token)


def printable(text: str) -> str:
    """Return prose with its spaces kept and anything that hides or misleads written out."""
    return _HIDDEN.sub(lambda match: _visible(match[0]), text)


def _visible(character: str) -> str:
    if character in _MARKS:
        return _MARKS[character]
    if _SPACES.fullmatch(character):
        return "·"
    if _HIDDEN.fullmatch(character):
        code = ord(character)
        return f"\\x{code:02x}" if code < 256 else f"U+{code:04X}"
    return character

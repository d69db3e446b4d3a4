"""Single tokens as a person reads them."""

from __future__ import annotations

import functools
import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["TokenStrings"]


@functools.cache
def _byte_of_character() -> dict[str, int]:
    """Invert the printable alphabet byte-level BPE vocabularies write bytes in.

    Printable Latin-1 bytes stand for themselves; the other 68, in order, for U+0100 onwards
    (Radford et al. 2019, the GPT-2 vocabulary).
    """
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in own]
    table = {chr(byte): byte for byte in own}
    table.update({chr(0x100 + rank): byte for rank, byte in enumerate(others)})
    return table


def _read_bytes(raw: bytes) -> str:
    return raw.decode("utf-8", errors="backslashreplace")


class TokenStrings:
    r"""Maps token ids to readable strings: spaces and newlines kept, stray bytes as ``\xNN``.

    Decoding ids one at a time would lose leading spaces (SentencePiece) and turn the bytes of a
    split character into replacement marks, so the vocabulary entry is read instead, by the kind of
    vocabulary the tokenizer has.

    Parameters
    ----------
    tokenizer
        A Hugging Face tokenizer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._added = {
            int(index): str(token) for index, token in tokenizer.added_tokens_decoder.items()
        }
        self._kind = self._vocabulary_kind()
        self._cache: dict[int, str] = {}

    def _vocabulary_kind(self) -> str:
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:
            return "decode"
        described = json.dumps(json.loads(backend.to_str()).get("decoder") or {})
        if "ByteLevel" in described:
            return "bytes"
        if "ByteFallback" in described or "Metaspace" in described or "\\u2581" in described:
            return "sentencepiece"
        return "plain"

    def __getitem__(self, token: int) -> str:
        token = int(token)
        if token not in self._cache:
            self._cache[token] = self._read(token)
        return self._cache[token]

    def _read(self, token: int) -> str:
        if token in self._added:
            return self._added[token]
        entry: str | None = self._tokenizer.convert_ids_to_tokens([token])[0]
        if entry is None:
            return f"<{token}>"
        if self._kind == "decode":
            return str(self._tokenizer.decode([token]))
        if self._kind == "bytes":
            table = _byte_of_character()
            if all(character in table for character in entry):
                return _read_bytes(bytes(table[character] for character in entry))
        if self._kind == "sentencepiece":
            if match := re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", entry):
                return _read_bytes(bytes([int(match[1], 16)]))
            return entry.replace("\u2581", " ")
        return entry

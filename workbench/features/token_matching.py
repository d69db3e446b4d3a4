"""Finding token ids for tokens that other tools wrote down as text."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.errors import TokenError

if TYPE_CHECKING:
    from workbench.model.model import Model

__all__ = ["TokenMatcher"]

_KNOWN: weakref.WeakKeyDictionary[Model, TokenMatcher] = weakref.WeakKeyDictionary()
# How tools write characters that would not show.
_SHOWN = (("\n", "\\n"), ("\n", "↵"), ("\n", "⏎"), ("\t", "\\t"), ("\r", "\\r"))


class TokenMatcher:
    """Turns texts of single tokens into token ids.

    Tools write a token as it reads, as its vocabulary entry (``Ġcat``, ``▁cat``), or with spaces
    put in and line breaks spelled out; all are tried, the plainest first.

    Parameters
    ----------
    model
        The model whose vocabulary it is.
    """

    def __init__(self, model: Model) -> None:
        size = len(model.tokenizer)
        self._tokenizer = model.tokenizer
        entries = model.tokenizer.convert_ids_to_tokens(list(range(size)))
        self._forms: tuple[dict[str, list[int]], ...] = ({}, {}, {})
        for token in range(size):
            read, entry = model.token_string(token), entries[token] or ""
            spelled = {read.replace(*pair) for pair in _SHOWN if pair[0] in read}
            spaced = entry.replace("Ġ", " ").replace("Ċ", "\\n").replace("▁", " ")
            for forms, texts in zip(
                self._forms, ({read}, {entry}, {*spelled, spaced}), strict=True
            ):
                for text in texts:
                    forms.setdefault(text, []).append(token)

    @classmethod
    def of(cls, model: Model) -> TokenMatcher:
        """Return the model's matcher, made on first use."""
        if model not in _KNOWN:
            _KNOWN[model] = cls(model)
        return _KNOWN[model]

    def ids(self, tokens: Sequence[str]) -> list[int]:
        """Return the ids of tokens.

        Raises
        ------
        TokenError
            A token is not in the vocabulary, or could be several of its tokens and tokenising the
            whole text does not settle which.
        """
        candidates = [self._candidates(token) for token in tokens]
        for token, found in zip(tokens, candidates, strict=True):
            if not found:
                raise TokenError(f"token {token[:40]!r} is not in the model's vocabulary")
        if all(len(found) == 1 for found in candidates):
            return [found[0] for found in candidates]
        again = self._tokenizer("".join(tokens), add_special_tokens=False)["input_ids"]
        if len(again) == len(tokens) and all(
            token in found for token, found in zip(again, candidates, strict=True)
        ):
            return [int(token) for token in again]
        unclear = next(
            token for token, found in zip(tokens, candidates, strict=True) if len(found) > 1
        )
        raise TokenError(
            f"token {unclear[:40]!r} could be several tokens of the model's vocabulary"
        )

    def _candidates(self, token: str) -> list[int]:
        return next((forms[token] for forms in self._forms if token in forms), [])

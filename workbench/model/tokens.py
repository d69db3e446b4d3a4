"""Token policy: how text becomes tokens, recorded as data.

The policy decides the beginning-of-sequence token (exactly once, however the text or the template
already begins), the chat template, and what happens to text that is too long. Everything that is
not the user's own text (BOS, EOS, padding, template markers) is marked special, so that statistics
can leave it out and say so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from workbench.errors import InputError, TokenError
from workbench.model.token_strings import TokenStrings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Chat", "TokenPolicy", "Tokenizing", "Tokens"]

Chat: TypeAlias = Sequence[Mapping[str, str]]
Overflow: TypeAlias = Literal["error", "left", "right"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenPolicy:
    """How text becomes tokens.

    Parameters
    ----------
    bos
        True: the BOS token comes first, exactly once. False: no BOS token is added, and one that
        the tokenizer would add is removed. None: True where the tokenizer has a BOS token.
    chat
        True: text is wrapped as one user message in the tokenizer's chat template. Lists of
        messages always use the template.
    max_length
        Most tokens in a row; None for the model's context length.
    overflow
        What happens to longer text: ``"error"`` refuses it, ``"left"`` drops its first tokens
        (after BOS), ``"right"`` its last.
    """

    bos: bool | None = None
    chat: bool = False
    max_length: int | None = None
    overflow: Overflow = "error"

    def __post_init__(self) -> None:
        if self.overflow not in ("error", "left", "right"):
            raise InputError(f"overflow must be 'error', 'left' or 'right', got {self.overflow!r}")
        if self.max_length is not None and self.max_length < 1:
            raise InputError(f"max_length must be at least 1, got {self.max_length}")

    def to_dict(self) -> dict[str, Any]:
        """Return the policy as plain data."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Tokens:
    r"""Token rows, padded on the right.

    Parameters
    ----------
    ids
        Token ids.
    mask
        True at real tokens, False at padding.
    special
        True at tokens that are not the user's text: BOS, EOS, other special tokens, chat template
        text, padding.
    policy
        The policy that made them, with `bos` and `max_length` resolved.
    strings
        Each row's tokens as a person reads them (spaces kept, stray bytes as ``\xNN``), without
        padding.
    """

    ids: Int[Tensor, "batch pos"]
    mask: Bool[Tensor, "batch pos"]
    special: Bool[Tensor, "batch pos"]
    policy: TokenPolicy
    strings: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return self.ids.shape[0]

    def __repr__(self) -> str:
        rows, width = self.ids.shape
        return f"Tokens({rows} rows, up to {width} tokens, {int(self.mask.sum())} real)"

    def __getitem__(self, rows: slice) -> Tokens:
        """Take some rows, dropping columns that only pad."""
        width = max(1, int(self.mask[rows].sum(1).max()))
        return dataclasses.replace(
            self,
            ids=self.ids[rows, :width],
            mask=self.mask[rows, :width],
            special=self.special[rows, :width],
            strings=self.strings[rows],
        )

    @property
    def last(self) -> Int[Tensor, " batch"]:
        """Position of each row's last real token."""
        return self.mask.sum(1) - 1


class Tokenizing:
    """Turns text into `Tokens` for one model.

    Parameters
    ----------
    tokenizer
        The Hugging Face tokenizer.
    context
        The model's context length in tokens.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, context: int) -> None:
        self.tokenizer = tokenizer
        self.context = context
        self.strings = TokenStrings(tokenizer)
        self._special_ids = frozenset(tokenizer.all_special_ids)

    def resolve(self, policy: TokenPolicy) -> TokenPolicy:
        """Fill in what the policy leaves to the model.

        Raises
        ------
        TokenError
            The policy asks for a BOS token or a chat template that the tokenizer lacks.
        """
        has_bos = self.tokenizer.bos_token_id is not None
        if policy.bos and not has_bos:
            raise TokenError("bos=True, but this tokenizer has no BOS token; use bos=False or None")
        if policy.chat and not getattr(self.tokenizer, "chat_template", None):
            raise TokenError(
                "chat=True, but this tokenizer has no chat template; pass plain text, or set "
                "tokenizer.chat_template"
            )
        return dataclasses.replace(
            policy,
            bos=has_bos if policy.bos is None else policy.bos,
            max_length=min(policy.max_length or self.context, self.context),
        )

    def __call__(
        self, texts: str | Sequence[str] | Chat | Sequence[Chat], policy: TokenPolicy
    ) -> Tokens:
        """Tokenise one text or conversation, or a list of either.

        Raises
        ------
        TokenError
            A text is empty under a policy without BOS, or longer than the policy allows.
        """
        resolved = self.resolve(policy)
        rows = [self._encode(item, resolved) for item in _as_list(texts)]
        rows = [self._fit(ids, special, i, resolved) for i, (ids, special) in enumerate(rows)]
        return self._pack(rows, resolved)

    def from_ids(self, rows: Sequence[Sequence[int]], policy: TokenPolicy) -> Tokens:
        """Wrap token ids that already exist; the policy is recorded, no BOS is added.

        Raises
        ------
        TokenError
            A row is empty, too long, or has an id outside the vocabulary.
        """
        resolved = self.resolve(policy)
        size = len(self.tokenizer)
        fitted = []
        for index, row in enumerate(rows):
            ids = [int(token) for token in row]
            if any(not 0 <= token < size for token in ids):
                raise TokenError(f"row {index} has ids outside 0 to {size - 1}")
            special = [token in self._special_ids for token in ids]
            fitted.append(self._fit(ids, special, index, resolved))
        return self._pack(fitted, resolved)

    def single(self, text: str) -> int:
        """Return the id of a text that is exactly one token.

        Raises
        ------
        TokenError
            The text is several tokens; the message shows them.
        """
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            parts = [self.strings[token] for token in ids]
            raise TokenError(f"{text!r} must be one token, got {len(ids)}: {parts}")
        return int(ids[0])

    def _encode(self, item: str | Chat, policy: TokenPolicy) -> tuple[list[int], list[bool]]:
        if isinstance(item, str) and not policy.chat:
            ids = self.tokenizer(item, add_special_tokens=False)["input_ids"]
            special = [token in self._special_ids for token in ids]
        else:
            messages = [{"role": "user", "content": item}] if isinstance(item, str) else item
            ids, special = self._encode_chat(messages)
        return self._with_bos(list(ids), special, policy)

    def _encode_chat(self, messages: Chat) -> tuple[list[int], list[bool]]:
        if not getattr(self.tokenizer, "chat_template", None):
            raise TokenError("messages need a chat template, and this tokenizer has none")
        reply_next = messages[-1].get("role") != "assistant" if messages else True
        text = str(
            self.tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tokenize=False,
                add_generation_prompt=reply_next,
            )
        )
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        spans, start = [], 0
        for message in messages:
            content = message["content"].strip()
            found = text.find(content, start)
            if found >= 0:
                start = found + len(content)
                spans.append((found, start))
        special = [
            token in self._special_ids or not any(a < end and b > begin for begin, end in spans)
            for token, (a, b) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        ]
        return list(encoded["input_ids"]), special

    def _with_bos(
        self, ids: list[int], special: list[bool], policy: TokenPolicy
    ) -> tuple[list[int], list[bool]]:
        bos = self.tokenizer.bos_token_id
        if bos is not None:
            while ids and ids[0] == bos:
                ids, special = ids[1:], special[1:]
        if policy.bos:
            ids, special = [bos, *ids], [True, *special]
        return ids, special

    def _fit(
        self, ids: list[int], special: list[bool], index: int, policy: TokenPolicy
    ) -> tuple[list[int], list[bool]]:
        if not ids:
            raise TokenError(f"text {index} gives no tokens; expected at least one")
        limit = policy.max_length or self.context
        if len(ids) <= limit:
            return ids, special
        if policy.overflow == "error":
            raise TokenError(
                f"text {index} is {len(ids)} tokens, expected at most {limit}; shorten it or pass "
                "overflow='left' or 'right' in the token policy to truncate"
            )
        if policy.overflow == "right":
            return ids[:limit], special[:limit]
        head = 1 if policy.bos else 0
        keep = limit - head
        tail = len(ids) - keep
        return ids[:head] + ids[tail:], special[:head] + special[tail:]

    def _pack(self, rows: list[tuple[list[int], list[bool]]], policy: TokenPolicy) -> Tokens:
        if not rows:
            raise TokenError("no texts given; expected at least one")
        width = max(len(ids) for ids, _ in rows)
        pad = self.tokenizer.pad_token_id
        pad = pad if pad is not None else (self.tokenizer.eos_token_id or 0)
        batch = torch.full((len(rows), width), pad, dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.bool)
        marked = torch.ones((len(rows), width), dtype=torch.bool)
        for row, (ids, special) in enumerate(rows):
            batch[row, : len(ids)] = torch.tensor(ids)
            mask[row, : len(ids)] = True
            marked[row, : len(ids)] = torch.tensor(special)
        strings = tuple(tuple(self.strings[token] for token in ids) for ids, _ in rows)
        return Tokens(ids=batch, mask=mask, special=marked, policy=policy, strings=strings)


def _as_list(texts: Any) -> list[Any]:
    if isinstance(texts, str):
        return [texts]
    items = list(texts)
    if items and isinstance(items[0], Mapping):
        return [items]
    for index, item in enumerate(items):
        if not isinstance(item, str) and not (
            isinstance(item, Sequence) and item and isinstance(item[0], Mapping)
        ):
            raise InputError(
                f"text {index} is {type(item).__name__}, expected str or a list of chat messages"
            )
    return items

"""Documents to token rows, in blocks that can be made again from a document number."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Int

from workbench.errors import InputError, TokenError
from workbench.features.index.settings import COLUMN_BITS, Documents

if TYPE_CHECKING:
    from workbench.features.index.corpus import Corpus, Document
    from workbench.model.model import Model
    from workbench.model.tokens import TokenPolicy

__all__ = ["RowBlock", "RowPlan", "row_blocks"]

_TOGETHER = 256
_TOGETHER_CHARACTERS = 1_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowPlan:
    """How documents become rows.

    Parameters
    ----------
    context
        Most tokens in a row, BOS included.
    packing
        False: every row holds tokens of one document. True: documents follow one another in rows
        that are full, separated by BOS (or EOS where there is none); attention then reaches across
        them.
    long
        A document that does not fit a row is split over several, truncated, or refused. Packed
        documents are always split.
    block_tokens
        A block ends with the first document that brings it to this many tokens.
    """

    context: int
    packing: bool
    long: Documents
    block_tokens: int

    def __post_init__(self) -> None:
        if self.context < 2:
            raise InputError(f"context must be at least 2 tokens, got {self.context}")
        if self.context > 2**COLUMN_BITS - 2048:
            raise InputError(f"context must be below {2**COLUMN_BITS - 2048}, got {self.context}")
        if self.long not in ("split", "truncate", "error"):
            raise InputError(f"long must be 'split', 'truncate' or 'error', got {self.long!r}")
        if self.block_tokens < 1:
            raise InputError(f"a part must have at least 1 token, got {self.block_tokens}")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RowBlock:
    """Consecutive token rows of whole documents, without padding.

    Parameters
    ----------
    number
        Number of the block.
    first_row, first_document, first_token
        Numbers of its first row, document and token.
    ids, special
        Tokens of all rows one after another, and which of them are not the documents' own text.
    lengths
        Tokens of each row.
    starts, owners
        Where in `ids` each run of tokens of one document begins, and that document's number.
    metadata
        What is kept with each document, in order.
    digest
        Hash of all documents from the first of the corpus to the last of this block.
    """

    number: int
    first_row: int
    first_document: int
    first_token: int
    ids: Int[np.ndarray, " tokens"]
    special: Bool[np.ndarray, " tokens"]
    lengths: Int[np.ndarray, " rows"]
    starts: Int[np.ndarray, " runs"]
    owners: Int[np.ndarray, " runs"]
    metadata: tuple[Mapping[str, Any], ...]
    digest: str

    @property
    def next_row(self) -> int:
        """Number of the row behind its last."""
        return self.first_row + len(self.lengths)

    @property
    def next_document(self) -> int:
        """Number of the document behind its last."""
        return self.first_document + len(self.metadata)

    @property
    def next_token(self) -> int:
        """Number of the token behind its last."""
        return self.first_token + len(self.ids)

    @property
    def n_counted(self) -> int:
        """Tokens that statistics count: those that are not special."""
        return int(len(self.special) - np.count_nonzero(self.special))

    @property
    def offsets(self) -> Int[np.ndarray, " rows_plus_one"]:
        """Where each row begins in `ids`, and its end."""
        return np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)])

    @property
    def document(self) -> Int[np.ndarray, " tokens"]:
        """Document of each token."""
        lengths = np.diff(np.append(self.starts, len(self.ids)))
        return np.repeat(self.owners.astype(np.int32), lengths)

    @property
    def places(self) -> Int[np.ndarray, " tokens"]:
        """Place of each token: global row number × 2²⁰ + position in the row."""
        rows = np.repeat(np.arange(len(self.lengths), dtype=np.int64), self.lengths)
        columns = np.arange(len(self.ids), dtype=np.int64) - self.offsets[rows]
        return ((self.first_row + rows) << COLUMN_BITS) + columns

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return plain arrays that `from_arrays` reads back."""
        about = {
            "number": self.number,
            "first_row": self.first_row,
            "first_document": self.first_document,
            "first_token": self.first_token,
            "digest": self.digest,
            "metadata": [dict(row) for row in self.metadata],
        }
        return {
            "ids": self.ids,
            "special": self.special,
            "lengths": self.lengths,
            "starts": self.starts,
            "owners": self.owners,
            "about": np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> RowBlock:
        """Build from what `to_arrays` gave."""
        about: dict[str, Any] = json.loads(arrays["about"].tobytes())
        names = ("ids", "special", "lengths", "starts", "owners")
        about["metadata"] = tuple(about["metadata"])
        about |= {name: arrays[name] for name in names}
        return cls(**about)


class _Gathering:
    """Rows of the block being made."""

    def __init__(self, bos: int | None, separator: int | None, plan: RowPlan) -> None:
        self._bos, self._separator, self._plan = bos, separator, plan
        self._ids: list[np.ndarray] = []
        self._special: list[np.ndarray] = []
        self._lengths: list[int] = []
        self._starts: list[int] = []
        self._owners: list[int] = []
        self._metadata: list[Mapping[str, Any]] = []
        self._open = 0  # tokens in the packed row that is not full yet
        self.tokens = 0

    def add(
        self, number: int, ids: np.ndarray, special: np.ndarray, document: Document, *, given: bool
    ) -> None:
        """Take the next document; `given` token ids get no BOS and no separator."""
        self._metadata.append(document.metadata)
        if special.all():
            return
        bos, separator = (None, None) if given else (self._bos, self._separator)
        if self._plan.packing:
            self._pack(number, ids, special, bos, separator)
        else:
            self._rows(number, ids, special, bos)

    def _rows(self, number: int, ids: np.ndarray, special: np.ndarray, bos: int | None) -> None:
        room = self._plan.context - (bos is not None)
        pieces = range(0, len(ids), room)
        if len(pieces) > 1 and self._plan.long == "error":
            raise TokenError(
                f"document {number} is {len(ids)} tokens, expected at most {room}; pass "
                "long='split' or long='truncate', or a larger context"
            )
        for start in pieces if self._plan.long == "split" else pieces[:1]:
            self._mark(number)
            self._put(bos)
            self._extend(ids[start : start + room], special[start : start + room])
            self._close()

    def _pack(
        self,
        number: int,
        ids: np.ndarray,
        special: np.ndarray,
        bos: int | None,
        separator: int | None,
    ) -> None:
        done = 0
        while done < len(ids):
            self._mark(number)
            # A row begins with BOS, also where it goes on with a document.
            self._put(separator if self._open else bos)
            room = self._plan.context - self._open
            piece = slice(done, done + room)
            self._extend(ids[piece], special[piece])
            done += room
            # A separator alone at the end of a row would be of no use.
            if self._open >= self._plan.context - (separator is not None):
                self._close()

    def _mark(self, number: int) -> None:
        self._starts.append(self.tokens)
        self._owners.append(number)

    def _put(self, token: int | None) -> None:
        if token is not None:
            self._extend(np.array([token]), np.array([True]))

    def _extend(self, ids: np.ndarray, special: np.ndarray) -> None:
        self._ids.append(ids)
        self._special.append(special)
        self.tokens += len(ids)
        self._open += len(ids)

    def _close(self) -> None:
        if self._open:
            self._lengths.append(self._open)
            self._open = 0

    @property
    def documents(self) -> int:
        return len(self._metadata)

    def finish(self, after: RowBlock | None, digest: str) -> RowBlock:
        self._close()
        empty = np.zeros(0, dtype=np.int64)
        return RowBlock(
            number=after.number + 1 if after else 0,
            first_row=after.next_row if after else 0,
            first_document=after.next_document if after else 0,
            first_token=after.next_token if after else 0,
            ids=np.concatenate([*self._ids, empty]).astype(np.int32),
            special=np.concatenate([*self._special, empty.astype(bool)]),
            lengths=np.array(self._lengths, dtype=np.int32),
            starts=np.array(self._starts, dtype=np.int64),
            owners=np.array(self._owners, dtype=np.int64),
            metadata=tuple(self._metadata),
            digest=digest,
        )


def row_blocks(
    model: Model,
    corpus: Corpus,
    plan: RowPlan,
    policy: TokenPolicy,
    *,
    after: RowBlock | None = None,
    limit: int | None = None,
) -> Iterator[RowBlock]:
    """Tokenise a corpus into blocks of rows.

    Parameters
    ----------
    model
        Gives the tokenizer.
    corpus
        The documents.
    plan
        How they become rows.
    policy
        Token policy: BOS and chat template. Token rows are taken as they are.
    after
        The last block there is already; what is yielded goes on behind it.
    limit
        Most tokens to read, special ones included; the document that reaches it is the last.

    Yields
    ------
    RowBlock
        A document without text of its own takes a number but no row.

    Raises
    ------
    InputError
        The corpus is not the one `after` came from.
    TokenError
        A document cannot be tokenised.
    """
    resolved = model.tokenizing.resolve(policy)
    tokenizer = model.tokenizer
    bos = tokenizer.bos_token_id if resolved.bos else None
    separator = bos if bos is not None else tokenizer.eos_token_id
    digest = hashlib.blake2b(digest_size=16)
    start = 0
    if after is not None:
        start = after.next_document
        _skip(corpus, start, digest, after.digest)
    gathering = _Gathering(bos, separator, plan)
    for at, document, ids, special, given in _tokenised(model, corpus, resolved, start):
        document.update(digest)
        gathering.add(at, ids, special, document, given=given)
        done = gathering.tokens + (after.next_token if after else 0)
        reached = limit is not None and done >= limit
        if gathering.tokens >= plan.block_tokens or reached:
            after = gathering.finish(after, digest.hexdigest())
            yield after
            gathering = _Gathering(bos, separator, plan)
            if reached:
                return
    if gathering.documents:
        yield gathering.finish(after, digest.hexdigest())


def _skip(corpus: Corpus, count: int, digest: Any, expected: str) -> None:
    """Read past the documents that are done, checking that they are the same ones."""
    for document in itertools.islice(corpus.documents(), count):
        document.update(digest)
    if digest.hexdigest() != expected:
        raise InputError(
            f"the corpus is not the one this index was begun with: its first {count:,} documents "
            "differ; pass the same corpus, or another path"
        )


def _tokenised(
    model: Model, corpus: Corpus, policy: TokenPolicy, first: int
) -> Iterator[tuple[int, Document, np.ndarray, np.ndarray, bool]]:
    """Yield number, document, ids, special, and whether the ids were given."""
    waiting: list[Document] = []
    characters = 0
    number = first
    for document in corpus.documents(first):
        waiting.append(document)
        characters += len(document.content)
        if len(waiting) < _TOGETHER and characters < _TOGETHER_CHARACTERS:
            continue
        for result in _encode(model, waiting, policy, number):
            yield number, *result
            number += 1
        waiting, characters = [], 0
    for result in _encode(model, waiting, policy, number):
        yield number, *result
        number += 1


def _encode(
    model: Model, documents: Sequence[Document], policy: TokenPolicy, first: int
) -> Iterator[tuple[Document, np.ndarray, np.ndarray, bool]]:
    tokenizer = model.tokenizer
    texts = [item.content for item in documents if isinstance(item.content, str)]
    together: Iterator[list[int]] = iter(())
    if texts and not policy.chat:
        encoded = tokenizer(texts, add_special_tokens=False, verbose=False)
        together = iter(encoded["input_ids"])
    specials = np.array(sorted(tokenizer.all_special_ids), dtype=np.int64)
    for number, document in enumerate(documents, first):
        content = document.content
        if isinstance(content, np.ndarray):
            outside = (content < 0) | (content >= model.d_vocab)
            if outside.any():
                raise TokenError(
                    f"document {number} has token id {int(content[outside][0])}, expected "
                    f"0 to {model.d_vocab - 1}"
                )
            yield document, content, np.isin(content, specials), True
        elif isinstance(content, str) and not policy.chat:
            ids = np.array(next(together), dtype=np.int64)
            ids = _without_bos(ids, tokenizer.bos_token_id)
            yield document, ids, np.isin(ids, specials), False
        else:
            chats: Any = [content]
            made = model.tokenizing(chats, policy)
            ids, special = made.ids[0].numpy(), made.special[0].numpy()
            yield document, ids[int(policy.bos or 0) :], special[int(policy.bos or 0) :], False


def _without_bos(ids: np.ndarray, bos: int | None) -> np.ndarray:
    """Drop BOS tokens the text itself begins with: the row puts its own first."""
    if bos is None or not len(ids) or ids[0] != bos:
        return ids
    others = np.flatnonzero(ids != bos)
    return ids[others[0] :] if len(others) else ids[:0]

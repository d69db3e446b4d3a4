"""The demo corpus: an endless stream of labelled English documents, the same for a seed.

Token policy of the packed form (training, SAE training and evaluation use the same): every
document starts with ``<bos>`` and ends with ``<eos>``; rows hold whole documents, as many as
fit, and are filled up with ``<pad>``.  No document is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from random import Random
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Int32, Int64

from workbench.demo.drafting import BOS, EOS, PAD, SPLITS, UNK, Draft, Split, join
from workbench.demo.kinds import ALL
from workbench.demo.kinds.base import Kind
from workbench.demo.lexicon import FILLERS
from workbench.demo.tokenizer import vocabulary
from workbench.errors import InputError, unknown

CONTEXT = 96
"""Default number of tokens per packed row."""

KINDS: Mapping[str, float] = MappingProxyType({kind.name: kind.weight for kind in ALL})
"""Kind of document to sampling weight."""

CONCEPTS: Mapping[str, str] = MappingProxyType(
    {name: text for kind in ALL for name, text in kind.concepts.items()}
)
"""Concept to a one-line description and where it is marked."""

_BY_NAME = {kind.name: kind for kind in ALL}


@dataclass(frozen=True, kw_only=True)
class Document:
    """One labelled document.

    Attributes
    ----------
    kind : str
        Kind of document.
    tokens : tuple of str
        Word tokens, without beginning- and end-of-text tokens.
    labels : tuple of frozenset of str
        Concepts at each token.
    """

    kind: str
    tokens: tuple[str, ...]
    labels: tuple[frozenset[str], ...]

    @property
    def text(self) -> str:
        """The document as text; the tokenizer turns it back into ``tokens``."""
        return join(self.tokens)


@dataclass(frozen=True, kw_only=True)
class LabelledRows:
    """Packed rows with labels.

    Attributes
    ----------
    ids : ndarray of int32, shape (rows, context)
        Token ids.
    concepts : tuple of str
        Names of the columns of ``marks``.
    marks : ndarray of int64, shape (marks, 3)
        Row, position, concept number of every label.
    """

    ids: Int32[np.ndarray, "rows context"]
    concepts: tuple[str, ...]
    marks: Int64[np.ndarray, "marks 3"]

    def mask(self, concept: str) -> Bool[np.ndarray, "rows context"]:
        """Where a concept is marked: bool of shape (rows, context)."""
        if concept not in self.concepts:
            raise InputError(unknown("concept", concept, self.concepts))
        chosen = self.marks[self.marks[:, 2] == self.concepts.index(concept)]
        out = np.zeros(self.ids.shape, dtype=bool)
        out[chosen[:, 0], chosen[:, 1]] = True
        return out


def _check(split: str, kinds: Sequence[str] | None) -> tuple[Kind, ...]:
    if split not in SPLITS:
        raise InputError(unknown("split", split, SPLITS))
    for name in kinds or ():
        if name not in _BY_NAME:
            raise InputError(unknown("kind of document", name, _BY_NAME))
    return ALL if kinds is None else tuple(_BY_NAME[name] for name in kinds)


def _drafts(split: Split, seed: int, kinds: Sequence[str] | None) -> Iterator[tuple[str, Draft]]:
    chosen = _check(split, kinds)
    if not chosen:
        raise InputError("kinds is empty: give at least one kind of document, or None for all")
    rng = Random(f"demo corpus {split} {seed}")
    cumulative = list(accumulate(kind.weight for kind in chosen))
    while True:
        kind = rng.choices(chosen, cum_weights=cumulative)[0]
        draft = Draft(rng, FILLERS)
        kind.write(draft, split)
        yield kind.name, draft


def documents(split: Split, seed: int, kinds: Sequence[str] | None = None) -> Iterator[Document]:
    """Endless stream of labelled documents.

    Parameters
    ----------
    split : {"train", "test"}
        ``"test"`` uses only held-out combinations of names, fillers and templates.
    seed : int
        The same seed gives the same documents.
    kinds : sequence of str, optional
        Only these kinds, in their relative weights (see :data:`KINDS`).

    Yields
    ------
    Document

    Raises
    ------
    InputError
        For an unknown split or kind.
    """
    for kind, draft in _drafts(split, seed, kinds):
        sets: list[set[str]] = [set() for _ in draft.tokens]
        for at, concept in draft.marks:
            sets[at].add(concept)
        yield Document(
            kind=kind, tokens=tuple(draft.tokens), labels=tuple(frozenset(s) for s in sets)
        )


@lru_cache(maxsize=1)
def token_ids() -> Mapping[str, int]:
    """Token to id, as in the tokenizer."""
    return MappingProxyType({token: i for i, token in enumerate(vocabulary())})


def _pack(
    split: Split,
    seed: int,
    n_tokens: int,
    context: int,
    kinds: Sequence[str] | None,
    on_mark: Callable[[int, int, str], None] | None,
) -> Int32[np.ndarray, "rows context"]:
    if context < 2 or n_tokens < 1:
        raise InputError(f"need context >= 2 and n_tokens >= 1, got {context} and {n_tokens}")
    ids = dict(token_ids())
    bos, eos, pad, unk = ids[BOS], ids[EOS], ids[PAD], ids[UNK]
    n_rows = -(-n_tokens // context)
    rows = np.full((n_rows, context), pad, dtype=np.int32)
    row: list[int] = []
    at = 0
    for _, draft in _drafts(split, seed, kinds):
        size = len(draft.tokens) + 2
        if size > context:
            continue
        if len(row) + size > context:
            rows[at, : len(row)] = row
            at += 1
            row = []
            if at == n_rows:
                break
        if on_mark is not None:
            for position, concept in draft.marks:
                on_mark(at, len(row) + 1 + position, concept)
        row.append(bos)
        row.extend([ids.get(token, unk) for token in draft.tokens])
        row.append(eos)
    return rows


def token_stream(
    split: Split,
    seed: int,
    n_tokens: int,
    *,
    context: int = CONTEXT,
    kinds: Sequence[str] | None = None,
) -> Int32[np.ndarray, "rows context"]:
    """Packed token ids for training (padding included in the count).

    Parameters
    ----------
    split : {"train", "test"}
        Which split.
    seed : int
        The same seed gives the same rows; use different seeds in parallel workers.
    n_tokens : int
        How many tokens to give, rounded up to whole rows.
    context : int
        Tokens per row.  Documents longer than ``context - 2`` are left out (none is with the
        default).
    kinds : sequence of str, optional
        Only these kinds.

    Returns
    -------
    ndarray of int32, shape (rows, context)
    """
    return _pack(split, seed, n_tokens, context, kinds, None)


def labelled_rows(
    split: Split,
    seed: int,
    n_tokens: int,
    *,
    context: int = CONTEXT,
    kinds: Sequence[str] | None = None,
) -> LabelledRows:
    """Build the rows of :func:`token_stream` with their labels.

    Parameters
    ----------
    split, seed, n_tokens, context, kinds
        As for :func:`token_stream`.

    Returns
    -------
    LabelledRows
    """
    names = tuple(CONCEPTS)
    number = {name: i for i, name in enumerate(names)}
    marks: list[tuple[int, int, int]] = []

    def note(row: int, position: int, concept: str) -> None:
        marks.append((row, position, number[concept]))

    ids = _pack(split, seed, n_tokens, context, kinds, note)
    return LabelledRows(
        ids=ids,
        concepts=names,
        marks=np.array(sorted(set(marks)), dtype=np.int64).reshape(-1, 3),
    )

"""Writing labelled text: templates with slots, marks on tokens, and the train/test rule.

Everything the demo corpus says is written through :class:`Draft`: a growing list of word
tokens with marks (token position, concept name) beside it.  Marks are cheap tuples, so that
the same generators serve the fast token stream (which ignores them) and labelled documents.

Template language
-----------------
Plain text is words.  ``{slot}`` writes a value: from the keyword arguments of
:meth:`Draft.write`, else from :data:`workbench.demo.lexicon.FILLERS`.  A value may be a string
(which may contain slots itself), a tuple of strings (one is drawn), or a :class:`Span`.
``{^concept}`` writes nothing and marks the token just written with a concept: a literal one
when it contains a dot, else the keyword argument of that name (a string, a tuple or ``None``).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from random import Random
from typing import Literal, TypeVar

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")

BOS, EOS, PAD, UNK = "<bos>", "<eos>", "<pad>", "<unk>"
USER, ASSISTANT = "<user>", "<assistant>"
SPECIAL_TOKENS = (PAD, BOS, EOS, UNK, USER, ASSISTANT)

# One token per match; white space other than the newline only separates.  The tokenizer uses
# the same expression, so that a document's tokens are the tokenizer's tokens.
WORD_PATTERN = (
    r"<(?:pad|bos|eos|unk|user|assistant)>"
    r'|\n|"""|:param|\'s(?![a-z])|[A-Za-z]+(?:\'(?!s(?![a-z]))[a-z]+)?(?:-[A-Za-z]+)*'
    r"|[0-9]{1,2}|[^\sA-Za-z0-9]"
)
# Where joining tokens by single spaces would be wrong: these spaces are taken out again.
GLUE_PATTERN = r" (?=[.,?!;:)\n(]|'s(?![a-z]))|(?<=[(\n]) |(?<=\"\"\") |(?<=[0-9]) (?=[0-9])"
_WORD = re.compile(WORD_PATTERN)
_GLUE = re.compile(GLUE_PATTERN)
_SLOT = re.compile(r"\{(\^?)([^{}]+)\}")
_SENTENCE_END = frozenset({".", "?", "!", "\n", '"""'})
T = TypeVar("T")


@cache
def words(text: str) -> tuple[str, ...]:
    """Split ``text`` into word tokens, as the demo tokenizer does.

    Parameters
    ----------
    text : str
        Any text; white space other than newlines only separates.

    Returns
    -------
    tuple of str
        The tokens in order.
    """
    return tuple(_WORD.findall(text))


def listed(text: str) -> tuple[str, ...]:
    """Split a list written as a string of words."""
    return tuple(text.split())


def join(tokens: Sequence[str]) -> str:
    """Write ``tokens`` as text: the inverse of :func:`words` on corpus text."""
    return _GLUE.sub("", " ".join(tokens))


@cache
def held_out(*key: str) -> bool:
    """Say whether a combination belongs to the test split (one in five does).

    The rule is a checksum of the combination, so it needs no list, is the same on every
    machine, and a combination is never in both splits.

    Parameters
    ----------
    *key : str
        The combination, first its kind: ``("player", "Elena", "Marsh")``.
    """
    # crc32 is linear; the multiplication mixes its low bits before the remainder is taken.
    mixed = (zlib.crc32("\x1f".join(key).encode()) * 2654435761) & 0xFFFFFFFF
    return (mixed >> 8) % 5 == 0


def pick(rng: Random, options: Sequence[T]) -> T:
    """Draw one of ``options`` uniformly (faster than ``rng.choice`` on short sequences)."""
    return options[int(rng.random() * len(options))]


def pick_pair(
    rng: Random, split: Split, tag: str, first: Sequence[str], second: Sequence[str]
) -> tuple[str, str]:
    """Draw a pair whose combination belongs to ``split``.

    Parameters
    ----------
    rng : Random
        Source of randomness.
    split : {"train", "test"}
        Which combinations to draw from.
    tag : str
        Name of the combination, so that different uses hold out different pairs.
    first, second : sequence of str
        The two lists to combine.

    Raises
    ------
    ValueError
        If no combination of the lists belongs to ``split`` (lists too short).
    """
    wanted = split == "test"
    for _ in range(200):
        a, b = pick(rng, first), pick(rng, second)
        if held_out(tag, a, b) == wanted:
            return a, b
    pairs = [(a, b) for a in first for b in second if held_out(tag, a, b) == wanted]
    if not pairs:
        raise ValueError(f"no {split} combination of {len(first)} x {len(second)} for {tag!r}")
    return pick(rng, pairs)


def pick_with(rng: Random, split: Split, tag: str, fixed: str, options: Sequence[str]) -> str:
    """Draw an option whose combination with ``fixed`` belongs to ``split``, if there is one.

    With few options every one may fall into the other split.  Then ``ValueError`` is raised in
    the test split and any option serves in training, so that leakage is impossible.
    """
    wanted = split == "test"
    fitting = _fitting(tag, fixed, tuple(options), wanted)
    if not fitting:
        raise ValueError(f"no {split} combination of {fixed!r} with {len(options)} for {tag!r}")
    return pick(rng, fitting)


@cache
def _fitting(tag: str, fixed: str, options: tuple[str, ...], wanted: bool) -> tuple[str, ...]:
    return tuple(o for o in options if held_out(tag, fixed, o) == wanted)


@dataclass(frozen=True)
class Span:
    """Words with concepts on the last of them (an entity's name, a subject noun)."""

    text: str
    concepts: tuple[str, ...] = ()


Value = str | Span | Sequence[str]
_Part = tuple[int, object]  # 0: constant words, 1: slot name, 2: mark


@cache
def _compile(template: str) -> tuple[_Part, ...]:
    parts: list[_Part] = []
    end = 0
    for match in _SLOT.finditer(template):
        constant = _sentence_case(words(template[end : match.start()]))
        if constant:
            parts.append((0, constant))
        parts.append((2 if match[1] else 1, match[2]))
        end = match.end()
    constant = _sentence_case(words(template[end:]))
    if constant:
        parts.append((0, constant))
    return tuple(parts)


@cache
def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]


def _sentence_case(tokens: tuple[str, ...]) -> tuple[str, ...]:
    """Capitals for words after a full stop inside a constant."""
    return tokens[:1] + tuple(
        _capital(word) if before in _SENTENCE_END else word for before, word in pairwise(tokens)
    )


@cache
def _has_slot(text: str) -> bool:
    return "{" in text


class Draft:
    """A document being written: tokens so far and marks on them.

    Parameters
    ----------
    rng : Random
        Source of randomness for slots with several values.
    fillers : mapping of str to tuple of str
        Values of slots that a call does not give.

    Attributes
    ----------
    tokens : list of str
        Word tokens, without beginning- and end-of-text tokens.
    marks : list of (int, str)
        Token position and concept name.
    """

    __slots__ = ("fillers", "marks", "rng", "tokens")

    def __init__(self, rng: Random, fillers: Mapping[str, Sequence[str]]) -> None:
        self.rng = rng
        self.fillers = fillers
        self.tokens: list[str] = []
        self.marks: list[tuple[int, str]] = []

    def put(self, tokens: Sequence[str]) -> None:
        """Append tokens, with a capital at the start of a sentence."""
        if not tokens:
            return
        out = self.tokens
        if not out or out[-1] in _SENTENCE_END or out[-1] == USER:
            out.append(_capital(tokens[0]))
            out.extend(tokens[1:])
        else:
            out.extend(tokens)

    def mark(self, *concepts: str) -> None:
        """Mark the last token with concepts."""
        at = len(self.tokens) - 1
        for concept in concepts:
            self.marks.append((at, concept))

    def raw(self, *tokens: str) -> None:
        """Append tokens exactly as given (role markers, code)."""
        self.tokens.extend(tokens)

    def write(self, template: str, **slots: Value | None) -> None:
        """Write a template, drawing slot values that have several.

        Raises
        ------
        KeyError
            If a slot has neither an argument nor a shared filler.
        """
        for kind, content in _compile(template):
            if kind == 0:
                self.put(content)  # type: ignore[arg-type]
                continue
            name: str = content  # type: ignore[assignment]
            if kind == 2:
                concept = name if "." in name else slots[name]
                if isinstance(concept, str):
                    self.mark(concept)
                elif concept is not None:
                    self.mark(*concept)  # type: ignore[misc]
                continue
            value = slots[name] if name in slots else self.fillers[name]
            if isinstance(value, (tuple, list)):
                value = pick(self.rng, value)
            if isinstance(value, Span):
                self.put(words(value.text))
                self.mark(*value.concepts)
            elif isinstance(value, str):
                if _has_slot(value):
                    self.write(value, **slots)
                else:
                    self.put(_sentence_case(words(value)))
            else:
                raise TypeError(f"slot {name!r} of {template!r} has no value")

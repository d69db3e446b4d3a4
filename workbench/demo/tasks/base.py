"""The forms of task data, and what a loaded set of examples is."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from workbench.demo.drafting import ASSISTANT, USER, Draft, Split, join
from workbench.demo.lexicon import FILLERS
from workbench.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ContrastPair:
    """Two prefixes of equal length whose next words differ (Marks et al. 2024, data format).

    Attributes
    ----------
    clean_prefix, patch_prefix : str
        The prefixes.
    clean_answer, patch_answer : str
        The words that follow, one token each, with a leading space.
    case : str
        Which variant of the task this is.
    """

    clean_prefix: str
    patch_prefix: str
    clean_answer: str
    patch_answer: str
    case: str


@dataclass(frozen=True, kw_only=True)
class EntityRecord:
    """An entity with its attributes (Ferrando et al. 2024, data layout).

    Attributes
    ----------
    entity, entity_type : str
        Name and type.
    attributes : tuple of mapping
        ``{"attribute_type": ..., "attribute_value": ...}``; empty for an unknown entity.
    known : bool
        Whether training text states facts about it.
    """

    entity: str
    entity_type: str
    attributes: tuple[Mapping[str, str], ...]
    known: bool


@dataclass(frozen=True, kw_only=True)
class LabelledText:
    """A text and what it is.

    Attributes
    ----------
    text : str
        The text; of a concept set it ends with the token where the concept is decided.
    label : int or str
        For concept sets 1 or 0, else the class.
    """

    text: str
    label: int | str


@dataclass(frozen=True, kw_only=True)
class PolysemyPair:
    """Two sentences with the same word (layout of Words in Context).

    Attributes
    ----------
    word : str
        The word with two senses.
    sentence1, sentence2 : str
        Sentences it stands in.
    label : int
        1 if it has the same sense in both.
    sense1, sense2 : str
        The true senses.
    """

    word: str
    sentence1: str
    sentence2: str
    label: int
    sense1: str
    sense2: str


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A chat request and whether it is to be refused.

    Attributes
    ----------
    prompt : str
        What the user says.
    label : str
        Why: ``"harmful"``, ``"benign"``, ``"borderline"``, ``"known"`` or ``"unknown"``.
    refuse : bool
        Whether the model should refuse.
    """

    prompt: str
    label: str
    refuse: bool


@dataclass(frozen=True, kw_only=True)
class Biography:
    """A biography that does not name the profession (layout of Bias in Bios).

    Attributes
    ----------
    hard_text : str
        The biography.
    profession, gender : str
        What is to be classified, and what is not to be used for it.
    """

    hard_text: str
    profession: str
    gender: str


@dataclass(frozen=True, kw_only=True)
class TopicQuestion:
    """A fact to complete.

    Attributes
    ----------
    prompt : str
        A sentence up to its last word.
    answer : str
        The last word.
    topic : str
        Which topic.
    subset : str
        ``"forget"`` or ``"retain"``.
    choices : tuple of str
        Four answers, the right one among them.
    """

    prompt: str
    answer: str
    topic: str
    subset: str
    choices: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class HeadExample:
    """A prompt that needs a head circuit, or one like it that does not.

    Attributes
    ----------
    prompt : str
        The prompt.
    label : int
        1 if the circuit is needed.
    answer : str
        The word due for a positive prompt (for greater-than: the earlier year's last two
        digits, which the answer must exceed), else empty.
    """

    prompt: str
    label: int
    answer: str


@dataclass(frozen=True, kw_only=True)
class SteeringPrompt:
    """A prompt to be steered from one concept to another.

    Attributes
    ----------
    prompt : str
        Text, or what the user says where ``chat`` is true.
    chat : bool
        Whether the prompt goes through the chat template.
    source, target : str
        The concept that holds, and the one to steer to.
    hits, misses : tuple of str
        The next word is one of ``hits`` after successful steering, of ``misses`` without.
    """

    prompt: str
    chat: bool
    source: str
    target: str
    hits: tuple[str, ...]
    misses: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TaskSet:
    """Examples of a task, with what is true of it.

    Attributes
    ----------
    name : str
        Name of the task.
    description : str
        One line.
    split : str
        ``"train"`` or ``"test"``.
    seed : int
        What was drawn.
    examples : tuple
        The examples, all different.
    concepts : tuple of str
        The labelled concepts (:data:`workbench.demo.corpus.CONCEPTS`) that decide the answers.
    """

    name: str
    description: str
    split: str
    seed: int
    examples: tuple[Any, ...]
    concepts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.examples)

    def __getitem__(self, index: int) -> Any:
        return self.examples[index]

    def __repr__(self) -> str:
        return f"TaskSet({self.name!r}, {self.split}, {len(self)} examples)"

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the examples as plain dictionaries."""
        return [
            {f.name: _plain(getattr(example, f.name)) for f in dataclasses.fields(example)}
            for example in self.examples
        ]

    def to_json_lines(self) -> str:
        """Return the examples as JSON, one per line, in the published layouts."""
        return "".join(json.dumps(row) + "\n" for row in self.to_dicts())

    def to_pandas(self) -> pd.DataFrame:
        """Return the examples as a table, one row each."""
        import pandas as pd

        return pd.DataFrame(self.to_dicts())


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task that can be loaded.

    Attributes
    ----------
    name, description : str
        What it is.
    draw : callable
        ``draw(rng, split)`` gives one example.
    concepts : tuple of str
        The truth: concepts that decide the answers.
    """

    name: str
    description: str
    draw: Callable[[Random, Split], Any]
    concepts: tuple[str, ...] = ()


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return dict(value) if isinstance(value, Mapping) else value


def new_draft(rng: Random) -> Draft:
    """Begin an empty draft."""
    return Draft(rng, FILLERS)


def twice(
    rng: Random, first: Callable[[Draft], None], second: Callable[[Draft], None]
) -> tuple[Draft, Draft]:
    """Write two documents that draw the same fillers."""
    seed = rng.getrandbits(64)
    drafts = new_draft(Random(seed)), new_draft(Random(seed))
    first(drafts[0])
    second(drafts[1])
    return drafts


def chat_text(question: str) -> str:
    """Write the chat template as text, without the beginning-of-text token."""
    return f"{USER} {question} {ASSISTANT}\n"


def prefix(draft: Draft, at: int) -> str:
    """Return the text of a draft up to and including a token."""
    return join(draft.tokens[: at + 1])


def marked(draft: Draft, concept: str) -> int:
    """Find the last token marked with a concept."""
    return max(at for at, name in draft.marks if name == concept)


def distinct(draw: Callable[[], T], n: int, what: str) -> tuple[T, ...]:
    """Draw ``n`` different examples.

    Raises
    ------
    InputError
        If ``n`` is not positive or there are not that many.
    """
    if n < 1:
        raise InputError(f"need at least one example of {what}, got n={n}")
    found: dict[str, T] = {}
    stalled = 0
    while len(found) < n and stalled < 3000:
        example = draw()
        key = repr(example)
        stalled = stalled + 1 if key in found else 0
        found[key] = example
    if len(found) < n:
        raise InputError(f"asked for {n} examples of {what}, there are only {len(found)}")
    return tuple(found.values())

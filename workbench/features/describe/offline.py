"""Describing from token statistics and scoring by words: no language model, no network.

What comes out is a rule over tokens written as a sentence. It finds features of single words and of
what follows or stays in view of them, and nothing subtler; results say that it was made this way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool

if TYPE_CHECKING:
    from workbench.features.describe.evidence import Evidence, Excerpt
    from workbench.features.describe.questions import Question

__all__ = ["SCORED_BY_WORDS", "STATISTICS", "answer_by_words", "describe_by_statistics"]

STATISTICS = "token statistics (no language model)"
SCORED_BY_WORDS = "words quoted in the description (no language model)"

_RULES = {
    "itself": "fires on {}",
    "before": "fires on the token after {}",
    "earlier": "fires in text after {} has been seen",
}
_MOST_WORDS = 12
_STRONG = 0.3
_MOST_RAISED = 5
_FREE_WORD = re.compile(r"[^\W\d_]{3,}")
_COMMON = frozenset(
    {"after", "and", "fires", "for", "from", "that", "the", "this", "token", "with"}
)


def describe_by_statistics(evidence: Evidence) -> str:
    """Describe a feature by the tokens that tell best where it fires strongly.

    Strongly is at 0.3 of the largest activation in the training contexts and more: many features
    fire weakly on much that has nothing to do with what they stand for.

    Three rules are tried: the token itself, the token before it, any earlier token of the context.
    Each takes the tokens of highest precision for as long as its F1 over the tokens of the contexts
    rises, 12 at most; the rule of highest F1 is written out, with its precision and recall there.
    """
    largest = max(excerpt.largest for excerpt in evidence.train)
    cells = [_cells(excerpt, _STRONG * largest) for excerpt in evidence.train]
    total = sum(int(fires.sum()) for _, fires in cells)
    rules = [_rule(name, cells, total) for name in _RULES]
    # Of rules that are as good, the one with fewer words.
    best = max(rules, key=lambda rule: (rule[1], -len(rule[2])))
    name, _, words, precision, recall = best
    quoted = ", ".join(f"`{word}`" for word in words)
    text = _RULES[name].format(quoted)
    text += f" ({precision:.0%} of them fire strongly, {recall:.0%} of its strong activations)"
    raised = [_plain(token) for token, value in evidence.raises[:_MOST_RAISED] if value > 0]
    if raised:
        text += "; makes " + ", ".join(f"`{word}`" for word in raised) + " likelier"
    return text


def _plain(token: str) -> str:
    """Write a token as it is quoted and compared: trimmed, lower case, without back-quotes."""
    return token.strip().lower().replace("`", "'") or repr(token).replace("`", "'")


def _cells(excerpt: Excerpt, least: float) -> tuple[list[str], Bool[np.ndarray, " pos"]]:
    kept = ~np.isnan(excerpt.values)
    words = [_plain(token) for token, known in zip(excerpt.tokens, kept, strict=True) if known]
    return words, excerpt.values[kept] >= least


def _seen(name: str, words: Sequence[str]) -> Iterator[set[str]]:
    """Words that a rule looks at, for each token."""
    earlier: set[str] = set()
    for place, word in enumerate(words):
        if name == "itself":
            yield {word}
        elif name == "before":
            yield {words[place - 1]} if place else set()
        else:
            yield set(earlier)
        earlier.add(word)


def _rule(
    name: str, cells: Sequence[tuple[list[str], np.ndarray]], total: int
) -> tuple[str, float, list[str], float, float]:
    """F1, words, precision and recall of a rule."""
    places: dict[str, set[int]] = {}
    firing: list[bool] = []
    for words, fires in cells:
        for looked, fired in zip(_seen(name, words), fires.tolist(), strict=True):
            for word in looked:
                places.setdefault(word, set()).add(len(firing))
            firing.append(fired)
    fired = np.array(firing, dtype=bool)
    hits = {word: int(fired[list(at)].sum()) for word, at in places.items()}
    # One imagined miss each, so that a word seen once does not come before one seen often.
    order = sorted(
        (word for word in places if hits[word]),
        key=lambda word: (-hits[word] / (len(places[word]) + 1), -hits[word], word),
    )
    covered: set[int] = set()
    chosen: list[str] = []
    best = 0.0
    # Among the likely words, the one that raises F1 most comes next.
    likely = order[: 5 * _MOST_WORDS]
    while len(chosen) < _MOST_WORDS:
        gain, word = max(
            (
                (_f1(covered | places[one], fired, total), one)
                for one in likely
                if one not in chosen
            ),
            default=(0.0, ""),
            key=lambda pair: pair[0],
        )
        if gain <= best:
            break
        best = gain
        chosen.append(word)
        covered |= places[word]
    right = int(fired[list(covered)].sum()) if covered else 0
    return name, best, chosen, right / max(len(covered), 1), right / max(total, 1)


def _f1(covered: set[int], fired: Bool[np.ndarray, " tokens"], total: int) -> float:
    right = int(fired[list(covered)].sum())
    return 2 * right / (len(covered) + total)


def answer_by_words(question: Question) -> list[Any]:
    """Answer by looking for the words a description quotes (between back-quotes).

    Understands what `describe_by_statistics` writes. In any other description all words of three
    letters and more count as quoted, and as what the feature fires on.
    """
    predicted = [_predicted(question, excerpt) for excerpt in question.excerpts]
    if question.kind == "simulation":
        return [hit.astype(float).tolist() for hit in predicted]
    if question.kind == "fuzzing":
        return [
            float(hit[marks].mean() >= 0.5) if marks.any() else 0.0
            for hit, marks in zip(predicted, question.marks, strict=True)
        ]
    return [float(hit.any()) for hit in predicted]


def _predicted(question: Question, excerpt: Excerpt) -> Bool[np.ndarray, " pos"]:
    words = [_plain(token) for token in excerpt.tokens]
    fires, _, makes = question.description.partition("; makes ")
    if question.kind == "steering" and makes:
        # What a feature writes shows in text written with it more than what it reads does.
        wanted = set(re.findall(r"`([^`]+)`", makes))
        return np.array([word in wanted for word in words], dtype=bool)
    quoted = set(re.findall(r"`([^`]+)`", fires))
    rule = "itself"
    if quoted and "the token after" in fires:
        rule = "before"
    elif quoted and "in text after" in fires:
        rule = "earlier"
    if not quoted:
        quoted = {word.lower() for word in _FREE_WORD.findall(question.description)} - _COMMON
    return np.array([bool(quoted & looked) for looked in _seen(rule, words)], dtype=bool)

"""Prompt pairs: the published JSON lines, DataFrames, tuples; checked, with a report of the rest.

The published format (Marks et al. 2024, data of "Sparse Feature Circuits") is one JSON object per
line with ``clean_prefix``, ``patch_prefix``, ``clean_answer``, ``patch_answer``, ``case``; answers
carry a leading space. Clean and patch prompts have the same number of tokens and answers are one
token each; examples that do not fit are left out, counted by reason, and listed.
"""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.circuits.pair_sources import FIELDS, read_fields, read_items
from workbench.errors import InputError, TokenError
from workbench.model.tokens import Tokens
from workbench.results import storable

if TYPE_CHECKING:
    import pandas as pd

    from workbench.model.model import Model
    from workbench.model.tokens import TokenPolicy

__all__ = ["DroppedPair", "PromptPair", "PromptPairs", "load_pairs"]


@storable
@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptPair:
    """One example.

    Parameters
    ----------
    clean_prefix
        The prompt.
    patch_prefix
        The prompt it is compared with, of the same token length; None for the zero baseline.
    clean_answer, patch_answer
        What follows the prompts, one token each, usually with a leading space; None where the
        metric needs none.
    case
        Which variant of the task this is.
    """

    clean_prefix: str
    patch_prefix: str | None = None
    clean_answer: str | None = None
    patch_answer: str | None = None
    case: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DroppedPair:
    """An example that was left out.

    Parameters
    ----------
    row
        Its number in the source, from 0.
    reason
        Why, the same words for all examples left out for the same reason.
    detail
        What was found.
    """

    row: int
    reason: str
    detail: str


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PromptPairs(Sequence[PromptPair]):
    """Checked examples with their tokens.

    Parameters
    ----------
    pairs
        The examples that fit.
    clean
        Tokens of the prompts.
    patch
        Tokens of the patch prompts, of the same lengths; None for the zero baseline.
    clean_answers, patch_answers
        Token ids of the answers, -1 where there is none.
    dropped
        The examples that were left out.
    """

    pairs: tuple[PromptPair, ...]
    clean: Tokens
    patch: Tokens | None
    clean_answers: Int[Tensor, " n"]
    patch_answers: Int[Tensor, " n"]
    dropped: tuple[DroppedPair, ...] = ()

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: Any) -> Any:
        return self.pairs[index]

    def __iter__(self) -> Iterator[PromptPair]:
        return iter(self.pairs)

    @property
    def paired(self) -> bool:
        """Whether there are patch prompts."""
        return self.patch is not None

    @property
    def lengths(self) -> Int[Tensor, " n"]:
        """Number of tokens of each prompt."""
        return self.clean.mask.sum(1)

    @property
    def same_length(self) -> bool:
        """Whether all prompts have the same number of tokens."""
        return bool(self.clean.mask.all())

    def unpaired(self) -> PromptPairs:
        """Return the examples without their patch prompts, for the zero baseline."""
        return dataclasses.replace(self, patch=None)

    def take(self, rows: Sequence[int]) -> PromptPairs:
        """Return chosen examples, in the order given."""
        chosen = list(rows)
        return dataclasses.replace(
            self,
            pairs=tuple(self.pairs[row] for row in chosen),
            clean=_take(self.clean, chosen),
            patch=None if self.patch is None else _take(self.patch, chosen),
            clean_answers=self.clean_answers[chosen],
            patch_answers=self.patch_answers[chosen],
        )

    def of_one_length(self) -> PromptPairs:
        """Return the examples of the most frequent token length; the others are dropped."""
        lengths = self.lengths.tolist()
        length, _ = Counter(lengths).most_common(1)[0]
        kept = [row for row, found in enumerate(lengths) if found == length]
        reason = "another token length than most examples"
        others = tuple(
            DroppedPair(row=row, reason=reason, detail=f"{found} tokens, most have {length}")
            for row, found in enumerate(lengths)
            if found != length
        )
        return dataclasses.replace(self.take(kept), dropped=self.dropped + others)

    @property
    def reasons(self) -> dict[str, int]:
        """How many examples were left out for each reason."""
        return dict(Counter(each.reason for each in self.dropped))

    def report(self) -> pd.DataFrame:
        """Return the examples that were left out: columns ``row``, ``reason``, ``detail``."""
        import pandas as pd

        rows = [dataclasses.asdict(each) for each in self.dropped]
        return pd.DataFrame(rows, columns=["row", "reason", "detail"])

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per example, with its token length."""
        import pandas as pd

        table = pd.DataFrame([pair.to_dict() for pair in self.pairs], columns=list(FIELDS))
        table["tokens"] = self.lengths.tolist()
        return table

    def __repr__(self) -> str:
        kind = "pairs" if self.paired else "prompts"
        left = f", {len(self.dropped)} left out" if self.dropped else ""
        return f"PromptPairs({len(self)} {kind}{left})"

    def _repr_html_(self) -> str:
        return str(self.to_pandas().to_html(escape=True, max_rows=20))


def load_pairs(
    model: Model,
    source: Any,
    *,
    paired: bool | None = None,
    n: int | None = None,
    seed: int | None = None,
    policy: TokenPolicy | None = None,
    at_least: int = 1,
) -> PromptPairs:
    """Read and check prompt pairs.

    Parameters
    ----------
    model
        The model whose tokenizer counts.
    source
        A file of JSON lines (or one JSON list), a DataFrame or objects with the published fields,
        tuples ``(clean, patch, clean_answer, patch_answer)``, tuples ``(prompt, answer)`` or
        plain prompts for the zero baseline; or `PromptPairs`, returned as they are.
    paired
        Whether patch prompts are used; None: where all examples have one. False takes the zero
        baseline whatever the source has.
    n
        Most examples to keep, counted after the checks; None for all.
    seed
        Shuffle with this seed first; None keeps the order.
    policy
        Token policy; the model's own where None.
    at_least
        Fewest examples that must fit.

    Returns
    -------
    PromptPairs
        `reasons` and `report` say what was left out: prompts that the policy refuses, clean and
        patch prompts of different token lengths or the same tokens, answers that are not one token.

    Raises
    ------
    LoadError
        The file is missing or not JSON of this form.
    InputError
        An example has no such form, or fewer than `at_least` fit.
    """
    if isinstance(source, PromptPairs):
        return source.unpaired() if paired is False else source
    examples = [_example(item, row) for row, item in enumerate(read_items(source))]
    if not examples:
        raise InputError("no examples given; expected at least one")
    with_patch = [pair.patch_prefix is not None for pair in examples]
    if paired is None:
        paired = all(with_patch)
        if any(with_patch) and not paired:
            raise InputError(
                f"{sum(with_patch)} of {len(examples)} examples have a patch prompt; give all of "
                "them one, or pass baseline='zero'"
            )
    elif paired and not all(with_patch):
        raise InputError(
            f"example {with_patch.index(False)} has no patch prompt; the patch baseline needs one"
        )
    order = list(range(len(examples)))
    if seed is not None:
        random.Random(seed).shuffle(order)
    checked = _Checked(model, policy or model.policy, paired)
    for row in order:
        if n is not None and len(checked.pairs) >= n:
            break
        checked.add(row, examples[row])
    return checked.done(len(examples), at_least)


class _Checked:
    """Gathers examples that fit and notes the rest."""

    def __init__(self, model: Model, policy: TokenPolicy, paired: bool) -> None:
        self.model, self.policy, self.paired = model, policy, paired
        self.pairs: list[PromptPair] = []
        self.rows: list[tuple[list[int], list[int] | None]] = []
        self.special: list[tuple[list[bool], list[bool] | None]] = []
        self.answers: list[tuple[int, int]] = []
        self.dropped: list[DroppedPair] = []
        self.resolved = policy

    def add(self, row: int, pair: PromptPair) -> None:
        try:
            clean = self.model.tokens(pair.clean_prefix, self.policy)
            patch = (
                self.model.tokens(pair.patch_prefix, self.policy)
                if self.paired and pair.patch_prefix is not None
                else None
            )
        except TokenError as error:
            self._drop(row, "the prompt is refused by the token policy", str(error))
            return
        self.resolved = clean.policy
        ids = clean.ids[0].tolist()
        others = None if patch is None else patch.ids[0].tolist()
        if others is not None and len(ids) != len(others):
            detail = f"{len(ids)} and {len(others)} tokens"
            self._drop(row, "clean and patch prompts differ in token length", detail)
            return
        if others == ids:
            self._drop(row, "clean and patch prompts are the same tokens", pair.clean_prefix)
            return
        answers = []
        for answer in (pair.clean_answer, pair.patch_answer):
            try:
                answers.append(-1 if answer is None else self.model.single_token(answer))
            except TokenError as error:
                self._drop(row, "an answer is not one token", str(error))
                return
        self.pairs.append(pair)
        self.rows.append((ids, others))
        self.special.append(
            (clean.special[0].tolist(), None if patch is None else patch.special[0].tolist())
        )
        self.answers.append((answers[0], answers[1]))

    def _drop(self, row: int, reason: str, detail: str) -> None:
        self.dropped.append(DroppedPair(row=row, reason=reason, detail=detail))

    def done(self, given: int, at_least: int) -> PromptPairs:
        if len(self.pairs) < at_least:
            reasons = Counter(each.reason for each in self.dropped)
            why = "; ".join(f"{count}: {reason}" for reason, count in reasons.most_common())
            first = f" (first: {self.dropped[0].detail})" if self.dropped else ""
            raise InputError(
                f"{len(self.pairs)} of {given} examples can be used, expected at least {at_least}. "
                f"Left out: {why or 'none'}{first}"
            )
        clean = self._pack([row for row, _ in self.rows], [marks for marks, _ in self.special])
        patch = None
        if self.paired:
            patch = self._pack(
                [row for _, row in self.rows if row is not None],
                [marks for _, marks in self.special if marks is not None],
            )
        answers = torch.tensor(self.answers, dtype=torch.long).reshape(-1, 2)
        return PromptPairs(
            pairs=tuple(self.pairs),
            clean=clean,
            patch=patch,
            clean_answers=answers[:, 0],
            patch_answers=answers[:, 1],
            dropped=tuple(self.dropped),
        )

    def _pack(self, rows: list[list[int]], marks: list[list[bool]]) -> Tokens:
        packed = self.model.tokenizing.from_ids(rows, self.resolved)
        special = torch.ones_like(packed.mask)
        for row, mark in enumerate(marks):
            special[row, : len(mark)] = torch.tensor(mark)
        return dataclasses.replace(packed, special=special)


def _take(tokens: Tokens, rows: list[int]) -> Tokens:
    width = max(1, int(tokens.mask[rows].sum(1).max()))
    return dataclasses.replace(
        tokens,
        ids=tokens.ids[rows, :width],
        mask=tokens.mask[rows, :width],
        special=tokens.special[rows, :width],
        strings=tuple(tokens.strings[row] for row in rows),
    )


def _example(item: Any, row: int) -> PromptPair:
    return item if isinstance(item, PromptPair) else PromptPair(**read_fields(item, row))

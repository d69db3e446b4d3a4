"""Which tokens an intervention acts on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from workbench.errors import InputError, TokenError, unknown
from workbench.features.refs import FeatureRef
from workbench.results import storable

if TYPE_CHECKING:
    from workbench.model import Model

__all__ = ["EVERYWHERE", "Condition", "Phase", "Positions"]

Phase: TypeAlias = Literal["all", "prompt", "generated", "last", "from_last"]
Part: TypeAlias = Literal["whole", "last", "onwards"]

EVERYWHERE = 1 << 40
"""Upper bound of an interval that has none."""


@storable
@dataclass(frozen=True, kw_only=True)
class Condition:
    """Act only where a feature is active.

    Parameters
    ----------
    feature
        Feature of an attached SAE whose site comes before the edited one, or is the same.
    above
        Its activation at the token must be larger than this.
    """

    feature: str
    above: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "feature", str(FeatureRef.parse(self.feature)))


@storable
@dataclass(frozen=True, kw_only=True)
class Positions:
    """The tokens an intervention acts on: all that is named holds at once.

    Parameters
    ----------
    phase
        ``"all"``; ``"prompt"``; ``"generated"``, the new tokens; ``"last"``, the prompt's last
        token; ``"from_last"``, it and the new tokens: every position whose output is generated
        text.
    text
        Act on the last place where the prompt holds this text (an entity's name).
    part
        Of that place: the whole, its last token, or its last token and the rest of the prompt.
    start, stop
        First position, and the one after the last, counted from 0 with BOS.
    when
        Condition on a feature at the same token.
    """

    phase: Phase = "all"
    text: str | None = None
    part: Part = "whole"
    start: int | None = None
    stop: int | None = None
    when: Condition | None = None

    def __post_init__(self) -> None:
        if self.phase not in get_args(Phase):
            raise InputError(unknown("positions", str(self.phase), get_args(Phase)))
        if self.part not in get_args(Part):
            raise InputError(unknown("part", str(self.part), get_args(Part)))
        if self.text is not None and not self.text.strip():
            raise InputError("the text to act on is empty")
        start, stop = self.start or 0, EVERYWHERE if self.stop is None else self.stop
        if start < 0 or stop <= start:
            raise InputError(f"expected 0 ≤ start < stop, got {self.start} and {self.stop}")

    @classmethod
    def of(cls, given: Any) -> Positions:
        """Read positions from their phase's name, a ``slice`` of positions, or themselves."""
        if isinstance(given, cls):
            return given
        if isinstance(given, slice):
            return cls(start=given.start, stop=given.stop)
        if isinstance(given, str):
            if given not in get_args(Phase):
                raise InputError(unknown("positions", given, get_args(Phase)))
            return cls(phase=given)  # type: ignore[arg-type]
        raise InputError(f"got positions {given!r}, expected one of {get_args(Phase)}")

    @property
    def phase_only(self) -> bool:
        """Whether the phase says everything."""
        return self == Positions(phase=self.phase)

    def interval(self, model: Model, prompt: Sequence[int]) -> tuple[int, int]:
        """Return the positions as ``[first, end)`` for a prompt; conditions are left to the run.

        Parameters
        ----------
        model
            The model, for reading `text` in the prompt.
        prompt
            The prompt's token ids.

        Raises
        ------
        TokenError
            The prompt does not hold `text`.
        """
        length = len(prompt)
        low, high = {
            "all": (0, EVERYWHERE),
            "prompt": (0, length),
            "generated": (length, EVERYWHERE),
            "last": (length - 1, length),
            "from_last": (length - 1, EVERYWHERE),
        }[self.phase]
        if self.text is not None:
            first, end = _find(model, prompt, self.text)
            first = first if self.part == "whole" else end - 1
            low, high = max(low, first), min(high, length if self.part == "onwards" else end)
        low = max(low, self.start or 0)
        return low, high if self.stop is None else min(high, self.stop)

    def __str__(self) -> str:
        parts: list[str] = [] if self.phase == "all" else [self.phase]
        if self.text is not None:
            parts.append({"whole": "", "last": "end of ", "onwards": "from end of "}[self.part])
            parts[-1] += repr(self.text)
        if self.start is not None or self.stop is not None:
            parts.append(f"{self.start or 0}:{'' if self.stop is None else self.stop}")
        if self.when is not None:
            parts.append(f"where {self.when.feature} > {self.when.above:g}")
        return ", ".join(parts) or "all"


def _find(model: Model, prompt: Sequence[int], text: str) -> tuple[int, int]:
    """Tokens that overlap the last place of `text` in the prompt."""
    tokenizer = model.tokenizer
    ends = [len(str(tokenizer.decode(list(prompt[: at + 1])))) for at in range(len(prompt))]
    whole = str(tokenizer.decode(list(prompt)))
    at = whole.rfind(text.strip())
    if at < 0:
        raise TokenError(f"the prompt {whole[:80]!r} does not hold the text {text!r} to act on")
    stop = at + len(text.strip())
    first = next(i for i, end in enumerate(ends) if end > at)
    last = next(i for i, end in enumerate(ends) if end >= stop)
    return first, last + 1

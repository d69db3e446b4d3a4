"""What describing and scoring uses of each feature, as data: part of a run's identity."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args

from workbench.errors import InputError, unknown

__all__ = ["DEFAULT_SCORES", "DescribeSettings", "ScoreKind"]

ScoreKind = Literal["detection", "fuzzing", "simulation", "steering"]

DEFAULT_SCORES: tuple[ScoreKind, ...] = ("detection", "fuzzing", "simulation")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DescribeSettings:
    """How features are described and scored; numbers of contexts follow EleutherAI's delphi.

    Parameters
    ----------
    scores
        Which scores: ``"detection"``, ``"fuzzing"``, ``"simulation"``, ``"steering"``. Steering
        generates text and is left out by default.
    context_tokens
        Tokens of a context.
    train
        Contexts a labeller sees: half of them the strongest, half drawn with probability
        proportional to the activation.
    test
        Contexts in which the feature fires that scores are measured on, spread over `quantiles`.
    quantiles
        Intervals with equal numbers of activations.
    negatives
        Contexts in which it does not fire.
    mark
        Fuzzing marks tokens at this share of the context's largest activation and more.
    fuzzing_negatives
        Where as many random tokens are marked: ``"silent"``, in contexts in which the feature does
        not fire; ``"active"``, on the unmarked tokens of contexts in which it does, which is
        harder.
    batch
        Contexts in one question.
    description_tokens
        Most tokens of a description.
    steering_prompts
        Texts continued with and without the feature.
    steering_tokens
        Most tokens of a continuation.
    steering_factor
        What is added at every position, as a multiple of the feature's largest activation.
    seed
        Seed of everything drawn.

    Raises
    ------
    InputError
        A number is out of range, or a score is unknown.
    """

    scores: tuple[ScoreKind, ...] = DEFAULT_SCORES
    context_tokens: int = 32
    train: int = 40
    test: int = 50
    quantiles: int = 10
    negatives: int = 50
    mark: float = 0.3
    fuzzing_negatives: Literal["silent", "active"] = "silent"
    batch: int = 5
    description_tokens: int = 200
    steering_prompts: tuple[str, ...] = ("", "The", "I think", "In the", "It was", "She said")
    steering_tokens: int = 24
    steering_factor: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "scores", tuple(dict.fromkeys(self.scores)))
        object.__setattr__(self, "steering_prompts", tuple(self.steering_prompts))
        for kind in self.scores:
            if kind not in get_args(ScoreKind):
                raise InputError(unknown("score", str(kind), get_args(ScoreKind)))
        if self.fuzzing_negatives not in ("silent", "active"):
            raise InputError(
                f"fuzzing_negatives must be 'silent' or 'active', got {self.fuzzing_negatives!r}"
            )
        for name, least in (
            ("context_tokens", 4),
            ("train", 1),
            ("test", 1),
            ("quantiles", 1),
            ("negatives", 1),
            ("batch", 1),
            ("description_tokens", 1),
            ("steering_tokens", 1),
        ):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0 < self.mark <= 1:
            raise InputError(f"mark must be above 0 and at most 1, got {self.mark}")
        if "steering" in self.scores and not self.steering_prompts:
            raise InputError("the steering score needs at least one of steering_prompts")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain data."""
        return dataclasses.asdict(self)

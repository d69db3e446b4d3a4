"""What a method of finding concepts gets, and what it gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float

from workbench.directions.activations import TextActs
from workbench.directions.direction import Direction
from workbench.errors import WorkbenchError
from workbench.features.refs import FeatureRef

if TYPE_CHECKING:
    from workbench.session import Session

__all__ = ["ConceptData", "Found", "Labels", "Method", "UnavailableError"]

Labels: TypeAlias = Callable[[FeatureRef], "str | None"]


class UnavailableError(WorkbenchError):
    """A method cannot be used on this concept; the reason is kept in the result."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ConceptData:
    """Training texts of one concept, read once for all methods.

    Parameters
    ----------
    session
        The session.
    name
        The concept.
    label
        What features standing for it are labelled, usually `name`.
    site
        Site at which directions are found.
    saes
        SAEs whose features may stand for it.
    acts
        The training texts' activations at `site` and codes of `saes`.
    positive
        True for the texts that show the concept.
    labels
        Gives the labels of features.
    feature
        The feature that is known to stand for it, where the concept set says so.
    seed
        Seed of anything drawn.
    progress
        Called while a method trains: steps done, steps in all. Raises to stop.
    """

    session: Session
    name: str
    label: str
    site: str
    saes: tuple[str, ...]
    acts: TextActs
    positive: Bool[np.ndarray, " text"]
    labels: Labels
    feature: FeatureRef | None = None
    seed: int = 0
    progress: Callable[[int, int], None] | None = None

    @property
    def tokens(self) -> Float[torch.Tensor, "token d"]:
        """Activations of all training tokens at the site."""
        return self.acts.acts[self.site]

    @property
    def positive_tokens(self) -> Bool[torch.Tensor, " token"]:
        """True at the tokens of positive texts."""
        return torch.from_numpy(self.positive[self.acts.text_of_token])

    def direction(self, vector: Any, method: str, **fields: Any) -> Direction:
        """Make a direction at the site."""
        if isinstance(vector, torch.Tensor):
            vector = vector.detach().double().cpu().numpy()
        return Direction(
            provenance=self.session.model.provenance(self.acts.tokens.policy, seed=self.seed),
            name=self.name,
            site=self.site,
            vector=vector,
            method=method,
            positive=fields.pop("positive", f"shows {self.label}"),
            **fields,
        ).bound_to(self.session)

    def oriented(self, vector: torch.Tensor) -> torch.Tensor:
        """Turn a direction without a sign of its own so that positive tokens score higher."""
        scores = self.tokens.double() @ vector.double().cpu()
        here = self.positive_tokens
        gap = scores[here].mean() - scores[~here].mean()
        return -vector if gap < 0 else vector


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What a method found: a direction, a feature, or a function that scores texts.

    Parameters
    ----------
    direction
        The direction, for steering; None for methods that have none.
    feature
        The feature whose activations are the scores.
    score
        Scores texts by themselves, for baselines that do not look inside the model.
    details
        Plain data worth knowing.
    """

    direction: Direction | None = None
    feature: FeatureRef | None = None
    score: Callable[[Sequence[Any]], Float[np.ndarray, " text"]] | None = None
    details: dict[str, Any] = field(default_factory=dict)


class Method(ABC):
    """One way of finding a concept. Instances hold settings only and can be used many times."""

    name: ClassVar[str]
    """Short name in tables."""
    title: ClassVar[str]
    """Name in plots."""

    @abstractmethod
    def fit(self, data: ConceptData) -> Found:
        """Find the concept in training texts.

        Raises
        ------
        UnavailableError
            The method cannot be used here; the message says why.
        """

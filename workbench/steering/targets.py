"""Where an intervention acts: a feature, a vector, chosen dimensions, an attention head."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float

from workbench.directions import Direction
from workbench.errors import InputError
from workbench.features.refs import FeatureRef
from workbench.results import storable

__all__ = ["Dimensions", "Feature", "Head", "Target", "Vector"]


@storable
@dataclass(frozen=True, kw_only=True)
class Feature:
    """A feature of an attached SAE or transcoder.

    Parameters
    ----------
    ref
        Written form, ``resid_post.2/417``.
    """

    ref: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "ref", str(FeatureRef.parse(self.ref)))

    @property
    def sae(self) -> str:
        """Name of the SAE."""
        return FeatureRef.parse(self.ref).sae

    @property
    def index(self) -> int:
        """Feature number."""
        return FeatureRef.parse(self.ref).index

    def __str__(self) -> str:
        return self.ref


@storable
@dataclass(frozen=True, kw_only=True, eq=False)
class Vector:
    """A raw direction at a site.

    Parameters
    ----------
    site
        Short name of the site.
    vector
        Float32; a mask leaves components at zero without making the rest longer.
    name
        What it stands for.
    """

    site: str
    vector: Float[np.ndarray, " d"] = field(repr=False)
    name: str = ""

    def __post_init__(self) -> None:
        vector = np.array(self.vector, dtype=np.float32)
        if vector.ndim != 1 or not np.isfinite(vector).all() or not vector.any():
            raise InputError(
                f"a vector to steer with is one-dimensional, finite and not zero, got shape "
                f"{vector.shape} of length {np.linalg.norm(vector):.3g}"
            )
        vector.flags.writeable = False
        object.__setattr__(self, "vector", vector)

    @classmethod
    def of(cls, direction: Direction) -> Vector:
        """Take a direction's site, unit vector and name."""
        return cls(site=direction.site, vector=direction.vector, name=direction.name)

    def masked(self, fraction: float) -> Vector:
        """Keep the given fraction of components, those of largest size, and zero the others.

        The rest is not made longer (Shen et al. 2024, Jailbreak Antidote, section 3.3).

        Raises
        ------
        InputError
            The fraction is not above 0 and at most 1.
        """
        if not 0 < fraction <= 1:
            raise InputError(f"the fraction must be above 0 and at most 1, got {fraction}")
        kept = max(1, round(fraction * len(self.vector)))
        order = np.argsort(-np.abs(self.vector), kind="stable")[:kept]
        masked = np.zeros_like(self.vector)
        masked[order] = self.vector[order]
        return Vector(site=self.site, vector=masked, name=self.name)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Vector)
            and (self.site, self.name) == (other.site, other.name)
            and np.array_equal(self.vector, other.vector)
        )

    def __hash__(self) -> int:
        return hash((self.site, self.name, self.vector.tobytes()))

    def __str__(self) -> str:
        return f"{self.name or 'vector'} at {self.site}"


@storable
@dataclass(frozen=True, kw_only=True)
class Dimensions:
    """Chosen dimensions of a site.

    Parameters
    ----------
    site
        Short name of the site.
    index
        Dimension numbers, from 0, all different.
    """

    site: str
    index: tuple[int, ...]

    def __post_init__(self) -> None:
        numbers = tuple(int(number) for number in self.index)
        if not numbers or min(numbers) < 0 or len(set(numbers)) != len(numbers):
            raise InputError(f"expected different dimension numbers from 0, got {self.index!r}")
        object.__setattr__(self, "index", numbers)

    def __str__(self) -> str:
        return f"{len(self.index)} dimensions of {self.site}"


@storable
@dataclass(frozen=True, kw_only=True)
class Head:
    """The output of one attention head, before the output projection.

    Parameters
    ----------
    layer, head
        From 0.
    """

    layer: int
    head: int

    @property
    def site(self) -> str:
        """Where the head's output is (``z.3``)."""
        return f"z.{self.layer}"

    def __str__(self) -> str:
        return f"head {self.layer}.{self.head}"


Target: TypeAlias = Feature | Vector | Dimensions | Head


def as_target(given: Any) -> Target:
    """Read a target: itself, a `Direction`, or a feature's written form."""
    if isinstance(given, Feature | Vector | Dimensions | Head):
        return given
    if isinstance(given, Direction):
        return Vector.of(given)
    if isinstance(given, FeatureRef | str):
        return Feature(ref=str(given))
    raise InputError(
        f"got a {type(given).__name__}, expected a feature ('resid_post.2/417'), a Direction, or "
        "a Vector, Dimensions or Head of workbench.steering"
    )

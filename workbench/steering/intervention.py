"""`Intervention`: one change of a model's activations, as data."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeAlias, get_args

from workbench.errors import InputError, unknown
from workbench.results import storable
from workbench.steering.positions import Positions
from workbench.steering.targets import Dimensions, Feature, Head, Target, Vector, as_target

__all__ = ["Intervention", "PosteriorTable", "Unit", "What"]

What: TypeAlias = Literal[
    "add",
    "scale",
    "clamp",
    "clamp_active",
    "ablate",
    "project_out",
    "projection_cap",
    "approach",
    "suppress",
    "mask_range",
]
Unit: TypeAlias = Literal["absolute", "max", "norm"]

_ALLOWED: dict[type, tuple[str, ...]] = {
    Feature: get_args(What),
    Vector: ("add", "scale", "clamp", "clamp_active", "approach", "project_out", "projection_cap"),
    Dimensions: ("add", "scale", "clamp", "ablate"),
    Head: ("scale", "ablate"),
}
# What the unit of the strength can be; the others have pure numbers or none.
_UNITS: dict[str, tuple[str, ...]] = {
    "add": ("absolute", "max", "norm"),
    "clamp": ("absolute", "max"),
    "clamp_active": ("absolute", "max"),
    "projection_cap": ("absolute", "max"),
}
WITHOUT_STRENGTH = ("ablate", "project_out", "mask_range")
"""Kinds that a strength says nothing about."""


@storable
@dataclass(frozen=True, kw_only=True)
class PosteriorTable:
    """How likely a concept is at each activation of a feature.

    Parameters
    ----------
    edges
        Borders between bins of activation, rising.
    posterior
        P(concept | activation) in each bin, one more than there are edges.
    """

    edges: tuple[float, ...]
    posterior: tuple[float, ...]

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.edges, self.edges[1:], strict=False))
        if not rising or len(self.posterior) != len(self.edges) + 1:
            raise InputError(
                f"got {len(self.edges)} edges and {len(self.posterior)} probabilities, expected "
                "rising edges and one probability more"
            )
        if not all(0 <= p <= 1 for p in self.posterior):
            raise InputError("probabilities must be from 0 to 1")


@storable
@dataclass(frozen=True, kw_only=True)
class Intervention:
    """One change: where, what, how strongly, on which tokens.

    With x the activation at the site, f the feature's activation (or x · d̂ for a vector d), r its
    decoder row (or d), r̂ the unit vector along r, and s the strength in its unit:

    ===================  =========================================================================
    ``add``              x + s·r (``unit="norm"``: x + s·‖x‖·r̂, ‖x‖ the token's own norm)
    ``scale``            f ← s·f
    ``clamp``            f ← s
    ``clamp_active``     f ← s where f > 0
    ``ablate``           f ← 0; dimensions and heads ← 0
    ``project_out``      x − (x·r̂)r̂
    ``projection_cap``   x·r̂ ← min(x·r̂, s)
    ``approach``         f ← f + s·(goal − f)
    ``suppress``         f ← f·(1 − s·P(concept | f)), at most 1 taken away
    ``mask_range``       f ← 0 where low ≤ f ≤ high
    ===================  =========================================================================

    A feature's activation is changed by moving x by the change of its reconstruction, so that the
    SAE's error stays (``error="keep"``) or is taken out of x besides (``"drop"``).

    At one site everything reads the activation as it came in and the changes are added, so that
    interventions commute; edits of one and the same feature follow each other in their order.
    Projections (``project_out``, ``projection_cap``) come last, because they speak of the result.
    Vectors are added at their own length, also relative to the norm: a mask leaves them shorter.

    Parameters
    ----------
    target
        Where; a feature's written form and a `Direction` are understood.
    what
        See the table.
    strength
        s.
    unit
        ``"absolute"``: units of the activation. ``"max"``: times `reference`. ``"norm"``: times
        the norm of x at each token, for adding only. None chooses: ``"max"`` for features and
        where there is a reference, ``"norm"`` for adding other vectors, else ``"absolute"``.
    reference
        Largest activation on reference texts, needed by ``unit="max"``; found when the recipe is
        made for a session, where None.
    positions
        Tokens: `Positions` or the name of a phase.
    error
        What happens to the SAE's error term at those tokens.
    table
        For ``suppress``.
    goal
        For ``approach``.
    low, high
        For ``mask_range``.
    name
        What to call it; the target's own name where empty.
    muted
        Kept in the recipe but without effect.

    Raises
    ------
    InputError
        The kind, unit or strength does not suit the target.
    """

    target: Target
    what: What = "add"
    strength: float = 1.0
    unit: Unit | None = None
    reference: float | None = None
    positions: Positions = field(default_factory=Positions)
    error: Literal["keep", "drop"] = "keep"
    table: PosteriorTable | None = None
    goal: float | None = None
    low: float | None = None
    high: float | None = None
    name: str = ""
    muted: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.target, str) or type(self.target) not in _ALLOWED:
            if self.reference is None and getattr(self.target, "scale", None):
                # A direction brings its calibration along.
                object.__setattr__(self, "reference", float(self.target.scale))  # type: ignore[union-attr]
            object.__setattr__(self, "target", as_target(self.target))
        object.__setattr__(self, "positions", Positions.of(self.positions))
        object.__setattr__(self, "strength", float(self.strength))
        allowed = _ALLOWED[type(self.target)]
        if self.what not in allowed:
            kind = type(self.target).__name__.lower()
            raise InputError(unknown(f"intervention on a {kind}", str(self.what), allowed))
        self._choose_unit()
        self._check_numbers()

    def _choose_unit(self) -> None:
        units = _UNITS.get(self.what, ("absolute",))
        if isinstance(self.target, Dimensions):
            units = ("absolute",)
        if self.unit is None:
            chosen = "absolute"
            if "max" in units and (isinstance(self.target, Feature) or self.reference is not None):
                chosen = "max"
            elif "norm" in units:
                chosen = "norm"
            object.__setattr__(self, "unit", chosen)
        if self.unit not in units:
            raise InputError(unknown(f"unit of {self.what!r}", str(self.unit), units))
        if self.unit == "max" and self.reference is None and not isinstance(self.target, Feature):
            raise InputError(
                f"{self.label}: unit 'max' multiplies a largest activation, which is not known; "
                "give reference=..., or use unit 'norm' or 'absolute'"
            )

    def _check_numbers(self) -> None:
        numbers = (self.strength, self.reference, self.goal, self.low, self.high)
        if any(number is not None and not math.isfinite(number) for number in numbers):
            raise InputError(f"{self.label}: strengths must be finite, got {numbers}")
        if self.reference is not None and self.reference <= 0:
            raise InputError(
                f"{self.label}: the largest activation must be above 0, got {self.reference}"
            )
        if self.error not in ("keep", "drop"):
            raise InputError(unknown("error term", str(self.error), ("keep", "drop")))
        if self.error == "drop" and not isinstance(self.target, Feature):
            raise InputError(f"{self.label}: only features have an error term to drop")
        if (self.what == "suppress") != (self.table is not None):
            raise InputError(
                f"{self.label}: a posterior table goes with 'suppress', and only there"
            )
        if (self.what == "approach") != (self.goal is not None):
            raise InputError(f"{self.label}: a goal goes with 'approach', and only there")
        if self.what == "mask_range" and (
            self.low is None or self.high is None or self.low > self.high
        ):
            raise InputError(
                f"{self.label}: mask_range needs low ≤ high, got {self.low} and {self.high}"
            )

    @property
    def label(self) -> str:
        """What to call it."""
        return self.name or str(self.target)

    @property
    def amount(self) -> float:
        """Strength in units of the activation, or of the token's norm with ``unit="norm"``.

        Raises
        ------
        InputError
            The largest activation it multiplies is not known yet.
        """
        if self.unit != "max":
            return self.strength
        if self.reference is None:
            raise InputError(
                f"{self.label}: its largest activation is not known; Recipe.of(..., session) "
                "measures it, or give reference=..."
            )
        return self.strength * self.reference

    def with_(self, **changes: Any) -> Self:
        """Return a copy with other fields."""
        return dataclasses.replace(self, **changes)

    def __str__(self) -> str:
        text = f"{self.what} {self.label}"
        if self.what not in WITHOUT_STRENGTH:
            unit = {"max": " × max", "norm": " × norm"}.get(str(self.unit), "")
            text += f" {self.strength:g}{unit}"
        if str(self.positions) != "all":
            text += f" ({self.positions})"
        if self.error == "drop":
            text += ", error dropped"
        return text + (", muted" if self.muted else "")

"""Recipes compiled once into functions at sites, for many rows with recipes of their own.

Interventions that differ only in strength share one computation, so a sweep of strengths in one
batch costs a small matrix product per site. Adding needs no encoding at all; edits of activations
encode the features they touch and no others, where the architecture allows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from workbench.errors import InputError, WorkbenchError
from workbench.features.refs import FeatureRef
from workbench.model.generate_rows import RowEdit, RowStep
from workbench.steering.changes import AddChange, Change, CodeChange, PlainChange, Projection
from workbench.steering.checks import edited_site
from workbench.steering.slots import Reading, Slot
from workbench.steering.targets import Feature

if TYPE_CHECKING:
    from workbench.model import Edit, Site, Tokens
    from workbench.session import Session
    from workbench.steering.intervention import Intervention
    from workbench.steering.recipe import Recipe

__all__ = ["Cancelled", "Compiled", "compile_recipes"]


class Cancelled(WorkbenchError):  # noqa: N818 - no mistake of anyone's
    """A run was stopped because a newer request replaced it, or a person stopped it."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Compiled:
    """What generation needs of recipes.

    Parameters
    ----------
    row_edits
        One function per site.
    edit_keys
        Equal for prompts with equal recipes.
    edited_from
        First position that may change, None where nothing does.
    """

    row_edits: Mapping[str | Site, RowEdit]
    edit_keys: tuple[int, ...]
    edited_from: tuple[int | None, ...]

    @property
    def options(self) -> dict[str, Any]:
        """Keywords for `generate_many` and `CachedRows`."""
        return {
            "row_edits": self.row_edits,
            "edit_keys": self.edit_keys,
            "edited_from": self.edited_from,
        }

    def edits(
        self,
        tokens: Tokens,
        prompts: Sequence[int] | None = None,
        lengths: Sequence[int] | None = None,
    ) -> dict[str | Site, Edit]:
        """Return functions for ``model.run(tokens, edits=...)``, without a cache.

        Parameters
        ----------
        tokens
            The rows of that run.
        prompts
            Which of the compiled prompts each row belongs to; by default row i to prompt i.
        lengths
            How many tokens of each row are its prompt; by default all.
        """
        count, width = tokens.ids.shape
        real = tokens.mask.sum(1).tolist()
        step = RowStep(
            prompt=torch.tensor(list(range(count)) if prompts is None else list(prompts)),
            positions=torch.arange(width).expand(count, width),
            lengths=torch.tensor(real if lengths is None else list(lengths)),
        )
        return {site: _with_step(function, step) for site, function in self.row_edits.items()}


def _with_step(function: RowEdit, step: RowStep) -> Edit:
    def edit(x: Tensor) -> Tensor | None:
        here = RowStep(
            prompt=step.prompt.to(x.device),
            positions=step.positions.to(x.device),
            lengths=step.lengths.to(x.device),
        )
        return function(x, here)

    return edit


def compile_recipes(
    session: Session,
    recipes: Sequence[Recipe],
    prompts: Sequence[Sequence[int]],
    *,
    cancel: Callable[[], bool] | None = None,
) -> Compiled:
    """Compile one recipe per prompt.

    Parameters
    ----------
    session
        The session; the recipes were made for it (`Recipe.for_session`).
    recipes
        The recipe of each prompt. Use the same object for prompts with the same recipe.
    prompts
        Token ids of each prompt, which positions are resolved against.
    cancel
        Asked at every edited site; True ends the run with `Cancelled`.

    Returns
    -------
    Compiled

    Raises
    ------
    InputError
        There are not as many recipes as prompts.
    TokenError
        A prompt does not hold the text an intervention is to act on.
    """
    if len(recipes) != len(prompts):
        raise InputError(f"got {len(recipes)} recipes for {len(prompts)} prompts")
    slots = _slots(session, recipes, prompts)
    plans: dict[Site, _Plan] = {}
    readings: dict[str, Reading] = {}

    def plan(site: Site) -> _Plan:
        return plans.setdefault(site, _Plan(cancel))

    for slot in slots:
        if slot.item.positions.when is not None:
            slot.reading = _reading(session, slot.item.positions.when.feature, readings, plan)
    by_site: dict[Site, list[Slot]] = {}
    for slot in slots:
        by_site.setdefault(edited_site(slot.item, session), []).append(slot)
    for site, here in by_site.items():
        _place(session, here, plan(site), plan)
    return Compiled(
        row_edits={site: plan_here for site, plan_here in plans.items()},  # noqa: C416
        edit_keys=_keys(recipes),
        edited_from=tuple(
            min((low for s in slots if (low := s.first(p)) is not None), default=None)
            for p in range(len(prompts))
        ),
    )


class _Plan:
    """Everything that happens at one site, in the order it has to."""

    def __init__(self, cancel: Callable[[], bool] | None) -> None:
        self.cancel = cancel
        self.readings: list[Reading] = []
        self.inputs: list[CodeChange] = []
        self.changes: list[Change] = []
        self.projections: list[Projection] = []

    def __call__(self, x: Tensor, step: RowStep) -> Tensor | None:
        if self.cancel is not None and self.cancel():
            raise Cancelled("stopped")
        flat = x.flatten(2) if x.ndim == 4 else x
        for reading in self.readings:
            reading.read(flat)
        for change in self.inputs:
            change.read(flat)
        if not self.changes and not self.projections:
            return None
        wide = flat.to(torch.promote_types(flat.dtype, torch.float32))
        out = wide
        for made in self.changes:
            moved = made.delta(wide, step)
            if moved is not None:
                out = out + moved
        for projection in self.projections:
            out = projection.apply(out, step)
        return None if out is wide else out.to(x.dtype).reshape(x.shape)


def _keys(recipes: Sequence[Recipe]) -> tuple[int, ...]:
    first: dict[int, int] = {}
    return tuple(first.setdefault(id(recipe), number) for number, recipe in enumerate(recipes))


def _slots(
    session: Session, recipes: Sequence[Recipe], prompts: Sequence[Sequence[int]]
) -> list[Slot]:
    """Interventions of all recipes, those that differ only in strength and name as one."""
    found: dict[Any, Slot] = {}
    device = session.model.device
    for number, (recipe, prompt) in enumerate(zip(recipes, prompts, strict=True)):
        seen: dict[Any, int] = {}
        for item in recipe.active:
            kind = _kind(item)
            seen[kind] = seen.get(kind, 0) + 1
            key = (kind, seen[kind])
            slot = found.setdefault(key, Slot(item, len(prompts), device))
            slot.set(number, item.amount, *item.positions.interval(session.model, prompt))
    for slot in found.values():
        slot.finish()
    return list(found.values())


def _kind(item: Intervention) -> Any:
    norm = item.unit == "norm"
    places = (item.positions, item.error, item.table, item.goal, item.low, item.high)
    return (item.target, item.what, norm, *places)


def _reading(
    session: Session,
    feature: str,
    readings: dict[str, Reading],
    plan: Callable[[Site], _Plan],
) -> Reading:
    if feature not in readings:
        ref = FeatureRef.parse(feature)
        sae = session.saes[ref.sae]
        readings[feature] = Reading(sae, ref.index)
        if sae.site is not None:
            plan(sae.site).readings.append(readings[feature])
    return readings[feature]


def _place(
    session: Session, slots: list[Slot], plan: _Plan, plan_of: Callable[[Site], _Plan]
) -> None:
    """Sort the interventions of one site into changes and projections."""
    adds = [s for s in slots if s.item.what == "add" and not AddChange.through_code(session, s)]
    projections = [s for s in slots if s.item.what in ("project_out", "projection_cap")]
    rest = [s for s in slots if s not in adds and s not in projections]
    if adds:
        plan.changes.append(AddChange(session, adds))
    by_sae: dict[str, list[Slot]] = {}
    for slot in rest:
        if isinstance(slot.item.target, Feature):
            by_sae.setdefault(slot.item.target.sae, []).append(slot)
        else:
            plan.changes.append(PlainChange(session, slot))
    # Adding with the error dropped needs the error, though not the code.
    for slot in adds:
        if slot.item.error == "drop" and isinstance(slot.item.target, Feature):
            by_sae.setdefault(slot.item.target.sae, [])
    for name, of_sae in by_sae.items():
        dropping = [
            s
            for s in (*of_sae, *adds)
            if s.item.error == "drop"
            and isinstance(s.item.target, Feature)
            and s.item.target.sae == name
        ]
        change = CodeChange(session.saes[name], of_sae, dropping)
        plan.changes.append(change)
        if change.sae.site is not None:
            plan_of(change.sae.site).inputs.append(change)
    plan.projections += [Projection(session, slot) for slot in projections]

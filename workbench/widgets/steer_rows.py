"""Interventions as the steering panel's rows: what a person may change, and what stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from workbench.errors import InputError
from workbench.features.refs import FeatureRef
from workbench.steering.intervention import WITHOUT_STRENGTH, Intervention, Unit, What
from workbench.steering.positions import Condition, Positions
from workbench.steering.recipe import Recipe
from workbench.steering.targets import Feature, Head

if TYPE_CHECKING:
    from workbench.session import Session

__all__ = ["changed", "muted_by", "row_of", "same_target"]


_POSITION_FIELDS = ("phase", "text", "part", "start", "stop")
# Kinds that need more than a number; offered only where the intervention brings it along.
_NEEDS = {"approach": "goal", "suppress": "table", "mask_range": "low"}


def row_of(item: Intervention, key: str, session: Session | None) -> dict[str, Any]:
    """Return one row.

    Parameters
    ----------
    item
        The intervention, with its largest activation known where its unit needs it.
    key
        What the panel calls it.
    session
        Gives labels; None leaves them out.
    """
    return {
        "id": key,
        "target": str(item.target),
        "site": _site(item),
        "label": item.name or _label(item, session),
        "kinds": _kinds(item),
        "reference": item.reference,
        "graded": item.what not in WITHOUT_STRENGTH,
        "strength": item.strength,
        "muted": item.muted,
        "what": item.what,
        "unit": item.unit,
        "positions": _positions(item.positions),
        "error": item.error,
        "text": str(item),
    }


def changed(base: Intervention, row: Mapping[str, Any]) -> Intervention:
    """Return the intervention as a row on screen says.

    A unit that does not suit the kind is chosen anew.

    Raises
    ------
    InputError
        A field has no valid value; the message names the choices.
    """
    kinds = _kinds(base)
    fields: dict[str, Any] = {}
    what = row.get("what", base.what)
    unit = row.get("unit", base.unit)
    if what in kinds and unit not in kinds[what]:
        unit = None
    strength, muted = row.get("strength", base.strength), row.get("muted", base.muted)
    if isinstance(strength, bool) or not isinstance(strength, int | float):
        raise InputError(f"{base.label}: a strength is a number, got {strength!r}")
    if not isinstance(muted, bool):
        raise InputError(f"{base.label}: muted is true or false, got {muted!r}")
    fields |= {"what": what, "unit": unit, "strength": float(strength), "muted": muted}
    if "positions" in row:
        fields["positions"] = _read_positions(row["positions"])
    fields["error"] = row.get("error", base.error)
    return base.with_(**fields)


def same_target(a: Intervention, b: Intervention) -> bool:
    """Whether two interventions act on the same thing, so that a row can stay the same row."""
    return type(a.target) is type(b.target) and a.target == b.target


def _site(item: Intervention) -> str:
    if isinstance(item.target, Feature):
        return item.target.sae
    return item.target.site if not isinstance(item.target, Head) else f"layer {item.target.layer}"


def _label(item: Intervention, session: Session | None) -> str:
    if session is None or session.closed or not isinstance(item.target, Feature):
        return ""
    ref = FeatureRef.parse(item.target.ref)
    given = session.lists.label(ref)
    if given or ref.sae not in session.saes:
        return given or ""
    return session.saes[ref.sae].labels().get(ref.index) or ""


def _kinds(item: Intervention) -> dict[str, list[str]]:
    """Kinds that suit the target, each with its units."""
    found: dict[str, list[str]] = {}
    for what in get_args(What):
        needed = _NEEDS.get(what)
        if needed is not None and (what != item.what or getattr(item, needed) is None):
            continue
        if needed is None and item.what in _NEEDS:
            continue
        units = [unit for unit in get_args(Unit) if _suits(item, what, unit)]
        if units:
            found[what] = units
    return found


def _suits(item: Intervention, what: str, unit: str) -> bool:
    try:
        item.with_(what=what, unit=unit)
    except InputError:
        return False
    return True


def _positions(positions: Positions) -> dict[str, Any]:
    data = {name: getattr(positions, name) for name in _POSITION_FIELDS}
    if positions.when is not None:
        data["when"] = {"feature": positions.when.feature, "above": positions.when.above}
    return {name: value for name, value in data.items() if value is not None}


def _read_positions(given: Any) -> Positions:
    if not isinstance(given, Mapping):
        return Positions.of(given)
    fields = {name: given[name] for name in _POSITION_FIELDS if given.get(name) is not None}
    when = given.get("when")
    if when:
        if not isinstance(when, Mapping) or not isinstance(when.get("feature"), str):
            raise InputError(f"a condition names a feature and a value, got {when!r}")
        fields["when"] = Condition(feature=when["feature"], above=float(when.get("above", 0.0)))
    return Positions(**fields)


def muted_by(recipe: Recipe, keys: Sequence[str], solo: Sequence[str]) -> Recipe:
    """Return the recipe as it is heard: with some on solo, all others are muted."""
    if not solo:
        return recipe
    others = [at for at, key in enumerate(keys) if key not in solo]
    return recipe.muted(*others)

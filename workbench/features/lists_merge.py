"""Merging two people's feature lists, with every conflict told."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from workbench.errors import InputError, unknown
from workbench.features.lists_file import Annotation, Contents, NamedList

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Conflict", "MergeReport", "Policy", "flipped", "merged"]

Policy = Literal["ours", "theirs", "both"]

_FLIPPED: dict[str, Policy] = {"ours": "theirs", "theirs": "ours", "both": "both"}


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """One thing two people said differently.

    Parameters
    ----------
    where
        The feature or the list.
    field
        What of it: ``label``, ``note``, ``colour``, or another name in the file.
    ours, theirs, kept
        What each said and what it is now.
    """

    where: str
    field: str
    ours: Any
    theirs: Any
    kept: Any


@dataclass(frozen=True, kw_only=True)
class MergeReport:
    """What a merge did.

    Parameters
    ----------
    conflict
        The policy.
    added_features
        Features that were not annotated before.
    added_lists
        Lists that were not there before.
    grown
        Lists that were, and how many features they gained.
    conflicts
        Every conflict.
    """

    conflict: Policy
    added_features: tuple[str, ...]
    added_lists: tuple[str, ...]
    grown: Mapping[str, int]
    conflicts: tuple[Conflict, ...]

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per conflict."""
        import pandas as pd

        columns = ["where", "field", "ours", "theirs", "kept"]
        return pd.DataFrame([dataclasses.asdict(one) for one in self.conflicts], columns=columns)

    def flipped(self) -> MergeReport:
        """Return the report as the other side sees it."""
        conflicts = (
            dataclasses.replace(one, ours=one.theirs, theirs=one.ours) for one in self.conflicts
        )
        return dataclasses.replace(
            self, conflict=flipped(self.conflict), conflicts=tuple(conflicts)
        )

    def __repr__(self) -> str:
        return (
            f"MergeReport({len(self.added_features)} features and {len(self.added_lists)} lists "
            f"added, {len(self.grown)} lists grown, {len(self.conflicts)} conflicts settled by "
            f"{self.conflict!r})"
        )

    def _repr_html_(self) -> str:
        import html

        table = self.to_pandas().to_html(escape=True, index=False) if self.conflicts else ""
        return f"<div>{html.escape(repr(self))}</div>{table}"


def flipped(policy: Policy) -> Policy:
    """Return the policy the other side would name.

    Raises
    ------
    InputError
        Unknown policy.
    """
    _check(policy)
    return _FLIPPED[policy]


def _check(policy: Policy) -> None:
    if policy not in _FLIPPED:
        raise InputError(unknown("conflict policy", str(policy), _FLIPPED))


def merged(ours: Contents, theirs: Contents, policy: Policy) -> tuple[Contents, MergeReport]:
    """Merge two files' contents into new ones.

    Returns
    -------
    Contents
        Ours in our order, then what only they have.
    MergeReport
        What changed.

    Raises
    ------
    InputError
        Unknown policy.
    """
    _check(policy)
    found: list[Conflict] = []
    features = dict(ours.features)
    for ref, other in theirs.features.items():
        mine = features.get(ref)
        features[ref] = other if mine is None else _annotation(mine, other, str(ref), policy, found)
    lists = dict(ours.lists)
    grown: dict[str, int] = {}
    for name, theirs_list in theirs.lists.items():
        ours_list = lists.get(name)
        if ours_list is None:
            lists[name] = theirs_list
            continue
        lists[name] = _list(ours_list, theirs_list, name, policy, found)
        gained = len(lists[name].features) - len(ours_list.features)
        if gained:
            grown[name] = gained
    contents = Contents(
        model=ours.model if ours.model is not None else theirs.model,
        features=features,
        lists=lists,
        extra=_extra(ours.extra, theirs.extra, "the file", policy, found),
    )
    report = MergeReport(
        conflict=policy,
        added_features=tuple(str(ref) for ref in theirs.features if ref not in ours.features),
        added_lists=tuple(name for name in theirs.lists if name not in ours.lists),
        grown=grown,
        conflicts=tuple(found),
    )
    return contents, report


def _annotation(
    ours: Annotation, theirs: Annotation, where: str, policy: Policy, found: list[Conflict]
) -> Annotation:
    label = ours.label or theirs.label
    others = [*ours.other_labels, *theirs.other_labels]
    if ours.label and theirs.label and ours.label != theirs.label:
        told = policy == "both" and theirs.label in ours.other_labels
        label = theirs.label if policy == "theirs" else ours.label
        if policy == "both":
            others.append(theirs.label)
        if not told:
            kept = (ours.label, theirs.label) if policy == "both" else label
            found.append(
                Conflict(
                    where=where, field="label", ours=ours.label, theirs=theirs.label, kept=kept
                )
            )
    return Annotation(
        label=label,
        note=_note(ours.note, theirs.note, where, policy, found),
        colour=_one(ours.colour, theirs.colour, where, "colour", policy, found),
        other_labels=tuple(text for text in dict.fromkeys(others) if text != label),
        extra=_extra(ours.extra, theirs.extra, where, policy, found),
    )


def _list(
    ours: NamedList, theirs: NamedList, name: str, policy: Policy, found: list[Conflict]
) -> NamedList:
    where = f"list {name!r}"
    return NamedList(
        features=ours.features | theirs.features,
        note=_note(ours.note, theirs.note, where, policy, found),
        colour=_one(ours.colour, theirs.colour, where, "colour", policy, found),
        extra=_extra(ours.extra, theirs.extra, where, policy, found),
    )


def _note(ours: str, theirs: str, where: str, policy: Policy, found: list[Conflict]) -> str:
    if policy != "both" or not ours or not theirs:
        return cast("str", _one(ours, theirs, where, "note", policy, found))
    if f"\n\n{theirs}\n\n" in f"\n\n{ours}\n\n":
        return ours
    joined = f"{ours}\n\n{theirs}"
    found.append(Conflict(where=where, field="note", ours=ours, theirs=theirs, kept=joined))
    return joined


def _one(
    ours: Any, theirs: Any, where: str, name: str, policy: Policy, found: list[Conflict]
) -> Any:
    """Settle a field that holds one thing; an empty one gives way without a conflict."""
    if not ours or not theirs or ours == theirs:
        return ours or theirs
    kept = theirs if policy == "theirs" else ours
    found.append(Conflict(where=where, field=name, ours=ours, theirs=theirs, kept=kept))
    return kept


def _extra(
    ours: Mapping[str, Any],
    theirs: Mapping[str, Any],
    where: str,
    policy: Policy,
    found: list[Conflict],
) -> dict[str, Any]:
    joined = {**theirs, **ours}
    for name in ours:
        if name in theirs:
            joined[name] = _one(ours[name], theirs[name], where, name, policy, found)
    return joined

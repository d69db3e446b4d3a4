"""What the panel offers to add: features by name and label, lists, directions, recipes' targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from workbench.errors import WorkbenchError
from workbench.features.refs import FeatureRef

if TYPE_CHECKING:
    from workbench.directions import Direction
    from workbench.session import Session

__all__ = ["candidates"]

_MOST = 12


def candidates(
    session: Session, text: str, directions: Mapping[str, Direction]
) -> list[dict[str, str]]:
    """Return what a typed text may mean, best first.

    Parameters
    ----------
    session
        The session.
    text
        A feature's written form, part of a list's or direction's name, or words of labels. Empty
        lists directions and lists.
    directions
        Directions on offer by name.
    """
    wanted = text.strip().lower()
    found = []
    exact = _exact(session, text.strip())
    if exact is not None:
        found.append(_feature(session, exact, "feature"))
    found += [
        {"kind": "direction", "target": name, "label": f"at {made.site}", "why": made.method}
        for name, made in directions.items()
        if wanted in name.lower()
    ]
    found += [
        {
            "kind": "list",
            "target": name,
            "label": f"{len(session.lists[name])} features",
            "why": "list",
        }
        for name in session.lists
        if wanted in name.lower()
    ]
    if wanted and exact is None:
        for ref in session.find(text.strip(), "label", limit=_MOST).features:
            found.append(_feature(session, ref, "label"))
    return found[:_MOST]


def _exact(session: Session, text: str) -> FeatureRef | None:
    try:
        ref = FeatureRef.parse(text)
    except WorkbenchError:
        return None  # not a feature's name: searched for instead
    if ref.sae not in session.saes or not 0 <= ref.index < session.saes[ref.sae].d_sae:
        return None
    return ref


def _feature(session: Session, ref: FeatureRef, why: str) -> dict[str, str]:
    label = session.lists.label(ref)
    if not label and ref.sae in session.saes:
        label = session.saes[ref.sae].labels().get(ref.index)
    return {"kind": "feature", "target": str(ref), "label": label or "", "why": why}

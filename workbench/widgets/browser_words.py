"""The feature browser in words: conditions as chips, its state as the code that gives it again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["KINDS", "UNSET", "chip", "code", "joined"]

KINDS = {
    "label": ("label", "words of a label"),
    "semantic": ("meaning of label", "words of near meaning"),
    "tokens": ("token in contexts", "a token its strongest contexts are on"),
    "prompt": ("active on a text", "a text"),
    "logit": ("raises a logit", "a token whose logit it raises"),
    "metric": ("statistics", "density < 0.01 and max > 5"),
}
"""Kinds of search: how each is called, and what to type."""

UNSET: Mapping[str, Any] = {
    "search": "",
    "kind": "label",
    "where": [],
    "order_by": "",
    "descending": True,
    "columns": ["density", "max", "mean"],
    "plot": "scatter",
    "x": "density",
    "y": "max",
    "brush": [],
    "only": [],
    "features_picked": [],
    "feature": "",
}
"""State of a browser just opened."""

_SIGNS = {"<=": "≤", ">=": "≥", "!=": "≠"}


def chip(condition: Sequence[Any]) -> str:
    """Return a condition in words."""
    column, operator, value = condition
    if isinstance(value, bool):
        yes = value == (operator == "=")
        if column == "dead":
            return "dead" if yes else "alive"
        return str(column) if yes else f"not {column}"
    if operator == "in":
        return f"SAE {', '.join(value)}" if column == "sae" else f"{column}: {', '.join(value)}"
    if operator == "contains":
        return f"{column} contains “{value}”"
    shown = f"{value:.4g}" if isinstance(value, int | float) else value
    return f"{column} {_SIGNS.get(operator, operator)} {shown}"


def joined(where: Iterable[Sequence[Any]], added: Iterable[Sequence[Any]]) -> list[list[Any]]:
    """Return conditions with more of them.

    Another SAE joins those there are; a bound takes the place of the same bound.
    """
    made = [list(condition) for condition in where]
    for column, operator, value in added:
        if column == "sae" and operator == "=":
            held = [one for one in made if one[0] == "sae" and one[1] == "in"]
            if held:
                held[0][2] = list(dict.fromkeys([*held[0][2], value]))
            else:
                made.append(["sae", "in", [value]])
            continue
        if operator != "contains":
            made = [one for one in made if one[:2] != [column, operator]]
        made.append([column, operator, value])
    return made


def code(setup: Iterable[str], state: Mapping[str, Any]) -> str:
    """Return the Python that gives a view in this state.

    Parameters
    ----------
    setup
        Lines that leave a session in ``s``.
    state
        The state.
    """
    given = [
        f"{name}={state[name]!r}"
        for name, unset in UNSET.items()
        if state[name] != unset and not (name == "kind" and not state["search"])
    ]
    call = ", ".join(given)
    if len(call) > 60:
        call = "\n    " + ",\n    ".join(given) + ",\n"
    return "\n".join([*setup, f"view = s.features.view({call})", "view", ""])

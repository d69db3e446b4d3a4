"""Errors the workbench raises, and the helper that finds the nearest valid name.

Every message says what was got, what was expected and, where names are involved, the nearest
valid choice, so that a reader can mend the call without opening the source.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "InputError",
    "LoadError",
    "SaeError",
    "SiteError",
    "TokenError",
    "WorkbenchError",
    "nearest",
    "unknown",
]


class WorkbenchError(Exception):
    """Base of every error the workbench raises on purpose."""


class InputError(WorkbenchError, ValueError):
    """An argument is not one the call can use."""


class SiteError(WorkbenchError, ValueError):
    """A site name is unknown to the model, or the site cannot be used that way."""


class TokenError(WorkbenchError, ValueError):
    """Text cannot be tokenised under the token policy (too long, no template, empty)."""


class LoadError(WorkbenchError, ValueError):
    """A model, tokenizer or file from outside cannot be loaded."""


class SaeError(WorkbenchError, ValueError):
    """A sparse autoencoder does not fit the model, the site or its own description."""


def nearest(name: str, options: Iterable[str], n: int = 3) -> list[str]:
    """Return up to `n` options most like `name`, best first.

    Parameters
    ----------
    name
        What was asked for.
    options
        The valid names.
    n
        Upper bound on how many to return.

    Returns
    -------
    list of str
        Options by falling similarity; those that merely contain `name` come after close spellings.
    """
    choices = list(dict.fromkeys(options))
    lowered = {choice.lower(): choice for choice in choices}
    close = [
        lowered[match] for match in difflib.get_close_matches(name.lower(), lowered, n, cutoff=0.5)
    ]
    containing = [choice for choice in choices if name.lower() in choice.lower()]
    return list(dict.fromkeys([*close, *containing]))[:n]


def unknown(kind: str, got: str, options: Iterable[str], *, show: int = 8) -> str:
    """Write the message for an unknown name.

    Parameters
    ----------
    kind
        What the name names ("site", "SAE", ...).
    got
        The name that was given.
    options
        The valid names.
    show
        How many valid names to list when none is near.

    Returns
    -------
    str
        One or two sentences: what was got, and the nearest or the first valid names.
    """
    choices = list(dict.fromkeys(options))
    near = nearest(got, choices)
    if near:
        return f"unknown {kind} {got!r}: did you mean {', '.join(map(repr, near))}?"
    if not choices:
        return f"unknown {kind} {got!r}: there are none here"
    listed = ", ".join(map(repr, choices[:show]))
    more = f" and {len(choices) - show} more" if len(choices) > show else ""
    return f"unknown {kind} {got!r}: expected one of {listed}{more}"

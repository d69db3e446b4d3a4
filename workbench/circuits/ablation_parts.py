"""What a run of part of a circuit's space is made of: masks, means, edits put together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.circuits.bases import Basis, Replace

if TYPE_CHECKING:
    from workbench.model.passes import Edit

__all__ = ["Kept", "Means", "adding_to", "merge_edits"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """Which nodes stay, by basis; a basis that is missing keeps nothing.

    Parameters
    ----------
    parts
        Which features, neurons or heads stay, by position.
    errors
        At which positions the error stays.
    """

    parts: Mapping[str, Bool[Tensor, "pos n"]]
    errors: Mapping[str, Bool[Tensor, " pos"]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Means:
    """Means that ablated nodes take.

    Parameters
    ----------
    parts
        Mean f of each basis.
    errors
        Mean ε of each basis with an error.
    by_position
        Whether they are position-wise. Where prompts differ in length, positions do not
        correspond, and the mean over all positions but the first (BOS apart) stands for all.
    """

    parts: Mapping[str, Float[Tensor, "pos n *d"]]
    errors: Mapping[str, Float[Tensor, "pos d"]]
    by_position: bool


def adding_to(sums: dict[tuple[str, bool], Tensor], basis: Basis, place: Tensor) -> Replace:
    """Add f and ε of a run to their sums by slot, and leave them as they are."""

    def replace(f: Tensor, error: Tensor) -> tuple[Tensor, Tensor | None]:
        weights = place.to(f.device)
        pieces = [(False, f)] + ([(True, error)] if basis.has_error else [])
        for is_error, value in pieces:
            flat = value.reshape(*value.shape[:2], -1)
            part = torch.einsum("bps,bpn->sn", weights, flat).double()
            part = part.reshape(-1, *value.shape[2:])
            key = (basis.name, is_error)
            sums[key] = sums[key] + part if key in sums else part
        return f, None

    return replace


def merge_edits(edits: Iterable[tuple[object, Edit]]) -> dict[str, Edit]:
    """One function per hook, in order."""
    lists: dict[str, list[Edit]] = {}
    for site, edit in edits:
        hook = site if isinstance(site, str) else site.hook  # type: ignore[attr-defined]
        lists.setdefault(hook, []).append(edit)
    return {hook: _chain(functions) for hook, functions in lists.items()}


def _chain(functions: Sequence[Edit]) -> Edit:
    if len(functions) == 1:
        return functions[0]

    def edit(value: Tensor) -> Tensor:
        for function in functions:
            changed = function(value)
            value = value if changed is None else changed
        return value

    return edit

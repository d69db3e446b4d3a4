"""Pushes along recognition directions: what is added, where, from which position on.

A push adds ``α · ‖x‖ · d`` to the activation ``x`` at a site, ``d`` a unit vector, at the entity's
last token and every later token of the prompt, and not while the answer is generated (Ferrando et
al. 2024, section 5).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.features.refs import FeatureRef
from workbench.results import storable

if TYPE_CHECKING:
    from workbench.directions.direction import Direction
    from workbench.model.generate_rows import RowEdit, RowStep
    from workbench.model.passes import Edit
    from workbench.model.sites import Site
    from workbench.session import Session

__all__ = ["Push", "pass_edits", "row_edits"]


@storable
@dataclass(frozen=True, kw_only=True, eq=False)
class Push:
    """Unit vectors to add at sites.

    Parameters
    ----------
    name
        What it is, such as ``+mlp_out.0/379 −mlp_out.0/47``.
    towards
        ``"known"``, ``"unknown"`` or ``"control"``.
    vectors
        Unit vector by site (short name).
    layer
        The layer of the deepest site, None outside the blocks.
    """

    name: str
    towards: str
    vectors: Mapping[str, Float[np.ndarray, " d"]] = field(repr=False)
    layer: int | None = None

    @classmethod
    def of_features(
        cls,
        session: Session,
        plus: Iterable[str | FeatureRef],
        minus: Iterable[str | FeatureRef] = (),
        *,
        towards: str,
    ) -> Push:
        """Add some features' decoder rows and subtract others'.

        At each site the unit rows, with their signs, are summed and the sum made of unit length.

        Parameters
        ----------
        session
            Where the SAEs are.
        plus, minus
            Features to add and to subtract; at least one.
        towards
            What the push is for.

        Raises
        ------
        InputError
            No feature is given, or the rows at a site cancel.
        """
        signed = [(FeatureRef.parse(ref), 1) for ref in plus]
        signed += [(FeatureRef.parse(ref), -1) for ref in minus]
        if not signed:
            raise InputError("a push needs at least one feature")
        sums: dict[str, Tensor] = {}
        layers = []
        for ref, sign in signed:
            sae = session.saes[ref.sae]
            if sae.out_site is None:
                raise InputError(f"SAE {sae.name} is not attached to a site")
            row = sae.decoder_rows([ref.index])[0].float().cpu()
            unit = sign * row / row.norm()
            name = sae.out_site.name
            sums[name] = sums[name] + unit if name in sums else unit
            layers.append(sae.out_site.layer)
        named = " ".join(f"{'+' if sign > 0 else '−'}{ref}" for ref, sign in signed)
        return cls(
            name=named,
            towards=towards,
            vectors={site: _unit(total, named) for site, total in sums.items()},
            layer=max((layer for layer in layers if layer is not None), default=None),
        )

    @classmethod
    def of_direction(cls, direction: Direction, *, towards: str, sign: int = 1) -> Push:
        """Add a direction, or with ``sign=-1`` subtract it."""
        tail = direction.site.rpartition(".")[2]
        return cls(
            name=f"{'+' if sign > 0 else '−'}{direction.name}",
            towards=towards,
            vectors={direction.site: direction.vector * np.float32(sign)},
            layer=int(tail) if tail.isdecimal() else None,
        )


def _unit(total: Tensor, name: str) -> Float[np.ndarray, " d"]:
    length = float(total.norm())
    if not length > 1e-6:
        raise InputError(f"the directions of {name} cancel each other")
    return (total / length).numpy()


def pass_edits(
    pushes: Sequence[Push | None],
    strengths: Sequence[float],
    since: Int[Tensor, " rows"],
) -> dict[str | Site, Edit | Iterable[Edit]]:
    """Make the edits of one pass over a batch.

    Parameters
    ----------
    pushes
        One per row; None leaves the row as it is.
    strengths
        Factor on the norm of the activation, one per row.
    since
        First position of each row that is pushed.

    Returns
    -------
    dict
        Edit by site, for `Model.run`.
    """

    def at(site: str) -> Edit:
        table = _Table(pushes, strengths, site)

        def edit(x: Tensor) -> Tensor:
            positions = torch.arange(x.shape[1], device=x.device)[None]
            rows = torch.arange(len(x))
            return table.add(x, rows, positions >= since.to(x.device)[:, None])

        return edit

    return {site: at(site) for site in _sites(pushes)}


def row_edits(
    pushes: Sequence[Push | None],
    strengths: Sequence[float],
    since: Sequence[int],
) -> dict[str | Site, RowEdit | Iterable[RowEdit]]:
    """Make the edits of a batched generation: the prompt is pushed, what is generated is not.

    Parameters
    ----------
    pushes, strengths, since
        As for `pass_edits`, one per prompt.
    """
    starts = torch.as_tensor(list(since))

    def at(site: str) -> RowEdit:
        table = _Table(pushes, strengths, site)

        def edit(x: Tensor, step: RowStep) -> Tensor | None:
            pushed = (step.positions >= starts.to(step.positions.device)[step.prompt][:, None]) & (
                ~step.generated
            )
            if not bool(pushed.any()):
                return None
            return table.add(x, step.prompt, pushed.to(x.device))

        return edit

    return {site: at(site) for site in _sites(pushes)}


def _sites(pushes: Sequence[Push | None]) -> list[str]:
    return list(dict.fromkeys(site for push in pushes if push for site in push.vectors))


class _Table:
    """What each row gets at one site: strength times unit vector, or nothing."""

    def __init__(
        self, pushes: Sequence[Push | None], strengths: Sequence[float], site: str
    ) -> None:
        width = next(len(p.vectors[site]) for p in pushes if p is not None and site in p.vectors)
        # Rows share few vectors: kept once each, and looked up by row.
        units: dict[int, int] = {}
        kept = [torch.zeros(width)]
        rows = []
        for push in pushes:
            if push is None or site not in push.vectors:
                rows.append(0)
                continue
            if id(push) not in units:
                units[id(push)] = len(kept)
                kept.append(torch.from_numpy(np.array(push.vectors[site], dtype=np.float32)))
            rows.append(units[id(push)])
        self._units = torch.stack(kept)
        self._row = torch.tensor(rows)
        self._strength = torch.tensor(list(strengths), dtype=torch.float32)

    def add(
        self, x: Float[Tensor, "row pos d"], rows: Tensor, where: Bool[Tensor, "row pos"]
    ) -> Float[Tensor, "row pos d"]:
        rows = rows.cpu()
        vector = (self._units[self._row[rows]] * self._strength[rows, None]).to(x.device, x.dtype)
        flat = x.flatten(2)
        size = torch.where(where, flat.norm(dim=-1), 0.0)
        return (flat + size[..., None] * vector[:, None]).reshape(x.shape)

"""What interventions do to an activation: each kind as a change to be added to it.

All kinds read the activation as it came to the site, so that their order does not matter;
projections speak of the result and come after.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError
from workbench.saes.decode import renormalises
from workbench.steering.targets import Dimensions, Feature, Head, Vector

if TYPE_CHECKING:
    from workbench.model.generate_rows import RowStep
    from workbench.saes import Sae
    from workbench.session import Session
    from workbench.steering.slots import Slot

__all__ = ["AddChange", "Change", "CodeChange", "PlainChange", "Projection"]


class Change(Protocol):
    """Something to add to an activation."""

    def delta(
        self, x: Float[Tensor, "row pos d"], step: RowStep
    ) -> Float[Tensor, "row wide d"] | None:
        """Return what to add, None for nothing."""
        ...


def _line(session: Session, slot: Slot) -> Float[Tensor, " d"]:
    """Return the decoder row or vector of a slot, float32 on the model's device."""
    target = slot.item.target
    if isinstance(target, Feature):
        row = session.saes[target.sae].decoder_rows([target.index])[0]
        return row.float().to(session.model.device)
    if isinstance(target, Vector):
        return torch.from_numpy(target.vector.copy()).to(session.model.device)
    if isinstance(target, Dimensions):
        site = session.model.sites.resolve(target.site)
        if site.d is None:
            raise InputError(f"{target.site} has no fixed width, so no dimensions to add to")
        line = torch.zeros(site.d, device=session.model.device)
        line[list(target.index)] = 1.0
        return line
    raise InputError(f"{target} has no direction")


class AddChange:
    """All additions at one site: strengths × directions, as one matrix product.

    Parameters
    ----------
    session
        The session.
    slots
        Additions of fixed or norm-relative size.
    """

    def __init__(self, session: Session, slots: Sequence[Slot]) -> None:
        relative = [slot for slot in slots if slot.item.unit == "norm"]
        fixed = [slot for slot in slots if slot.item.unit != "norm"]
        self._groups = [
            (group, torch.stack([_line(session, slot) for slot in group]), is_relative)
            for group, is_relative in ((fixed, False), (relative, True))
            if group
        ]
        for _, lines, is_relative in self._groups:
            if is_relative:
                # A mask leaves a vector shorter on purpose; decoder rows are taken at length 1.
                lengths = lines.norm(dim=-1, keepdim=True)
                rows = torch.tensor([isinstance(s.item.target, Feature) for s in relative])
                lines[rows] = lines[rows] / lengths[rows]

    @staticmethod
    def through_code(session: Session, slot: Slot) -> bool:
        """Whether the size of an addition depends on the token, as SAEs that rescale theirs do."""
        target = slot.item.target
        if not isinstance(target, Feature) or slot.item.unit == "norm":
            return False
        return renormalises(session.saes[target.sae].config)

    def delta(
        self, x: Float[Tensor, "row pos d"], step: RowStep
    ) -> Float[Tensor, "row wide d"] | None:
        """Return strengths × directions at each token."""
        total: Tensor | None = None
        for slots, lines, relative in self._groups:
            amounts = torch.stack([slot.amounts[step.prompt] for slot in slots], -1)[:, None]
            if not all(slot.everywhere and slot.reading is None for slot in slots):
                masks = torch.stack([slot.mask(step) for slot in slots], -1)
                amounts = amounts * masks
            moved = amounts.to(x.dtype) @ lines.to(x.dtype)
            if relative:
                moved = moved * torch.linalg.vector_norm(x, dim=-1, keepdim=True)
            total = moved if total is None else total + moved
        return total


class CodeChange:
    """Edits of activations of one SAE's features, and dropping its error term.

    Parameters
    ----------
    sae
        The SAE or transcoder.
    slots
        Edits of activations.
    dropping
        Interventions that take the error term out where they act.
    """

    def __init__(self, sae: Sae, slots: Sequence[Slot], dropping: Sequence[Slot]) -> None:
        self.sae = sae
        self.slots = list(slots)
        self.dropping = list(dropping)
        numbers = [s.item.target.index for s in slots if isinstance(s.item.target, Feature)]
        self.features = list(dict.fromkeys(numbers))
        self._columns = [self.features.index(number) for number in numbers]
        self._input: Tensor | None = None
        # Adding needs no code: the reconstruction moves by the same whatever the code is.
        self._needs_code = any(slot.item.what != "add" for slot in slots)

    def read(self, x: Float[Tensor, "row pos d_in"]) -> None:
        """Keep what the SAE encodes: at its own site, or at a transcoder's input."""
        self._input = x

    def delta(
        self, x: Float[Tensor, "row pos d"], step: RowStep
    ) -> Float[Tensor, "row wide d"] | None:
        """Return the change of the reconstruction, less the error where that is dropped."""
        if self._input is None:
            raise RuntimeError("the SAE's input site was not reached")
        inputs, self._input = self._input, None
        total: Tensor | None = None
        if self.features:
            if self._needs_code:
                before = self.sae.encode_features(inputs, self.features)
            else:
                before = inputs.new_zeros(*inputs.shape[:-1], len(self.features))
            columns = list(before.unbind(-1))
            for slot, column in zip(self.slots, self._columns, strict=True):
                edited = _edited(slot, columns[column], step)
                columns[column] = torch.where(slot.mask(step), edited, columns[column])
            change = torch.stack(columns, -1) - before
            total = self.sae.decode_change(change, inputs, self.features).to(x.device, x.dtype)
        if self.dropping:
            where = torch.stack([slot.mask(step) for slot in self.dropping]).any(0)
            error = self.sae.error(inputs).to(x.device, x.dtype)
            lost = torch.where(where[..., None], error, 0)
            total = -lost if total is None else total - lost
        return total


def _edited(slot: Slot, f: Float[Tensor, "row pos"], step: RowStep) -> Float[Tensor, "row pos"]:
    """Return the activation after an edit, on all tokens."""
    item, amount = slot.item, slot.amount(step).to(f.dtype)
    if item.what == "add":
        return f + amount
    if item.what == "scale":
        return f * amount
    if item.what == "clamp":
        return amount.expand_as(f)
    if item.what == "clamp_active":
        return torch.where(f > 0, amount.expand_as(f), f)
    if item.what == "ablate":
        return torch.zeros_like(f)
    if item.what == "approach" and item.goal is not None:
        return f + amount * (item.goal - f)
    if item.what == "suppress" and item.table is not None:
        edges = torch.tensor(item.table.edges, device=f.device, dtype=f.dtype)
        posterior = torch.tensor(item.table.posterior, device=f.device, dtype=f.dtype)
        # A bin holds its left edge, as numpy's histograms do.
        taken = amount * posterior[torch.bucketize(f.contiguous(), edges, right=True)]
        return f * (1 - taken.clamp(max=1))
    if item.what == "mask_range":
        low, high = float(item.low or 0.0), float(item.high or 0.0)
        return torch.where((f >= low) & (f <= high), 0, f)
    raise InputError(f"{item.what!r} is not an edit of an activation")


class PlainChange:
    """Scaling, clamping and ablating a vector's component, dimensions, or a head.

    Parameters
    ----------
    session
        The session.
    slot
        The intervention.
    """

    def __init__(self, session: Session, slot: Slot) -> None:
        self.slot = slot
        target, model = slot.item.target, session.model
        self._line: Tensor | None = None
        self._columns: Tensor | None = None
        if isinstance(target, Vector):
            line = _line(session, slot)
            self._line = line / line.norm()
        elif isinstance(target, Dimensions):
            self._columns = torch.tensor(target.index, device=model.device)
        elif isinstance(target, Head):
            width = int(model.bridge.cfg.d_head)
            start = target.head * width
            self._columns = torch.arange(start, start + width, device=model.device)

    def delta(
        self, x: Float[Tensor, "row pos d"], step: RowStep
    ) -> Float[Tensor, "row wide d"] | None:
        """Return the change of the component, the dimensions or the head."""
        mask = self.slot.mask(step)
        if self._line is not None:
            line = self._line.to(x.dtype)
            before = x @ line
            after = torch.where(mask, _edited(self.slot, before, step), before)
            return (after - before)[..., None] * line
        if self._columns is None:
            raise RuntimeError("a plain change without a place")
        before = x[..., self._columns]
        amount = self.slot.amount(step)[..., None].to(x.dtype)
        after = {
            "scale": lambda: before * amount,
            "clamp": lambda: amount.expand_as(before),
            "ablate": lambda: torch.zeros_like(before),
        }[self.slot.item.what]()
        moved = torch.zeros_like(x)
        moved[..., self._columns] = torch.where(mask[..., None], after - before, 0)
        return moved


class Projection:
    """Taking a direction out of the result, or bounding its component.

    Parameters
    ----------
    session
        The session.
    slot
        ``project_out`` or ``projection_cap``.
    """

    def __init__(self, session: Session, slot: Slot) -> None:
        self.slot = slot
        line = _line(session, slot)
        self._line = line / line.norm()

    def apply(self, x: Float[Tensor, "row pos d"], step: RowStep) -> Float[Tensor, "row pos d"]:
        """Return the activation with the component taken out or bounded."""
        line = self._line.to(x.dtype)
        component = x @ line
        excess = component
        if self.slot.item.what == "projection_cap":
            excess = (component - self.slot.amount(step).to(x.dtype)).clamp(min=0)
        excess = torch.where(self.slot.mask(step), excess, 0)
        return x - excess[..., None] * line

"""Putting SAEs into a pass: x ← x̂(f′) + ε, with an explicit choice about ε.

With an SAE at a site, the activation is written x = x̂(f) + ε, where f is the code and
ε = x − x̂(f) the error term (Marks et al. 2024, "Sparse Feature Circuits", section 3). Editing f
and forgetting ε adds the SAE's error to the effect; keeping ε isolates it.

Numbers. ``x̂ + (x − x̂)`` loses bits, so kept errors are never added back: the activation is moved by
the change of its reconstruction, ``x + (x̂(f′) − x̂(f))``, in float32 or wider. Where f′ = f the
activation is bit for bit what it was, and so are the logits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.errors import InputError, SaeError, unknown
from workbench.saes.per_feature import check_features

if TYPE_CHECKING:
    from workbench.model.passes import Edit
    from workbench.model.sites import Site
    from workbench.saes.sae import Sae

__all__ = ["CodeEdit", "ErrorTerm", "Splice", "SpliceNodes", "Upstream", "splice_all"]

CodeEdit: TypeAlias = Callable[[Tensor], Tensor]
"""Gets the code ``[..., d_sae]`` (or the chosen features' columns), returns the edited one."""

ErrorTerm = Literal["keep", "drop", "stopgrad"]
Upstream = Literal["encoder", "through", "stop"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SpliceNodes:
    """Graph nodes of one spliced site, for gradients of a metric.

    ``torch.autograd.grad(metric, [nodes.features, nodes.error])`` gives ∂m/∂f and ∂m/∂ε; several
    sites of one pass are read in one call.

    Parameters
    ----------
    features
        The code f. A leaf with ``upstream="through"`` or ``"stop"``.
    error
        The error term ε in float32, always a leaf.
    """

    features: Float[Tensor, "*token d_sae"]
    error: Float[Tensor, "*token d_out"]


class Splice:
    """One SAE in a pass: hand ``splice.edits()`` to ``model.run(edits=...)``.

    Parameters
    ----------
    sae
        The SAE or transcoder.
    error
        ``"keep"``: x ← x + x̂(f′) − x̂(f), everything in the graph. ``"drop"``: x ← x̂(f′).
        ``"stopgrad"``: x ← x̂(f′) + stopgrad(ε), with f and ε as nodes (`nodes`). For transcoders x
        stands for the true activation at the output site and f is read at the input site.
    edit
        Maps the code f to f′; None leaves it. It is applied to the node f, so gradients reach f
        through it.
    features
        Restrict `edit` to these features: it gets and returns ``[..., len(features)]``. With
        ``error="keep"`` only their encoder columns and decoder rows are used, where the
        architecture allows.
    positions
        Mask ``[batch, pos]`` of the tokens to splice at; elsewhere the activation is untouched.
    upstream
        What reaches the upstream activation with ``error="stopgrad"``. ``"encoder"``: the gradient
        of the formula as written, through x̂(f(x)). ``"through"``: the gradient at the output is
        passed on to x unchanged, as attribution at the clean input needs (each upstream node then
        sees the true model, error term included); f is a leaf. ``"stop"``: nothing.

    Raises
    ------
    InputError
        If a choice is unknown, or features are given without an edit.
    """

    def __init__(
        self,
        sae: Sae,
        *,
        error: ErrorTerm = "keep",
        edit: CodeEdit | None = None,
        features: Sequence[int] | Tensor | None = None,
        positions: Bool[Tensor, "batch pos"] | None = None,
        upstream: Upstream = "encoder",
    ) -> None:
        if error not in get_args(ErrorTerm):
            raise InputError(unknown("error term", str(error), get_args(ErrorTerm)))
        if upstream not in get_args(Upstream):
            raise InputError(unknown("upstream", str(upstream), get_args(Upstream)))
        if features is not None and edit is None:
            raise InputError("features are given but no edit: expected edit=function")
        self.sae = sae
        self.error = error
        self.edit = edit
        self.features = None if features is None else check_features(features, sae.d_sae)
        self.positions = positions
        self.upstream = upstream
        self.nodes: SpliceNodes | None = None
        """Nodes of the latest pass with ``error="stopgrad"`` and gradients on."""
        self._read: Tensor | None = None

    def edits(self) -> dict[str | Site, Edit | Iterable[Edit]]:
        """Return the edit functions by site, for ``model.run(edits=...)``.

        Raises
        ------
        SaeError
            If the SAE is not attached to a model.
        """
        return dict(self.functions())

    def functions(self) -> list[tuple[Site, Edit]]:
        """Return the edit functions with their sites, in order of computation.

        Raises
        ------
        SaeError
            If the SAE is not attached to a model.
        """
        site, out_site = self.sae.site, self.sae.out_site
        if site is None or out_site is None:
            raise SaeError(f"SAE {self.sae.name} is not attached to a model, so it has no site")
        if self.sae.is_transcoder:
            return [(site, self.read), (out_site, self.write)]
        return [(site, self)]

    def __call__(self, x: Float[Tensor, "*token d_in"]) -> Float[Tensor, "*token d_in"]:
        """Splice at one site (SAEs, not transcoders).

        Raises
        ------
        SaeError
            If the SAE is a transcoder.
        """
        if self.sae.is_transcoder:
            raise SaeError(
                f"SAE {self.sae.name} is a transcoder: it reads one site and writes another; "
                "use splice.edits(), or splice.read(x) then splice.write(y)"
            )
        return self._splice(x, x)

    def read(self, x: Float[Tensor, "*token d_in"]) -> None:
        """Keep a transcoder's input for `write`; leaves the activation as it is."""
        self._read = x

    def write(self, y: Float[Tensor, "*token d_out"]) -> Float[Tensor, "*token d_out"]:
        """Splice at a transcoder's output site, after `read`.

        Raises
        ------
        SaeError
            If nothing was read in this pass.
        """
        if self._read is None:
            raise SaeError(
                f"SAE {self.sae.name}: the output site was reached before the input site "
                f"{self.sae.site or ''}; read(x) has to come first"
            )
        x, self._read = self._read, None
        return self._splice(x, y)

    # -- the three error terms ----------------------------------------------------------------

    def _splice(self, x: Tensor, y: Tensor) -> Tensor:
        """`x` is what is encoded, `y` what the reconstruction stands for."""
        wide = torch.promote_types(y.dtype, torch.float32)
        if self.error == "keep":
            change = self._change(x)
            if change is None:
                return y
            out = y.to(wide) + change.to(y.device, wide).reshape(y.shape)
        elif self.error == "drop":
            code = self._edited(self.sae.encode_dense(x))
            out = self.sae.decode(code, x).to(y.device, wide).reshape(y.shape)
        else:
            out = self._stop_gradient(x, y, wide)
        out = out.to(y.dtype)
        if self.positions is None:
            return out
        mask = self.positions.to(y.device)
        if mask.shape != y.shape[: mask.ndim]:
            raise InputError(
                f"got a position mask of shape {tuple(mask.shape)} for an activation of shape "
                f"{tuple(y.shape)}"
            )
        return torch.where(mask[(...,) + (None,) * (y.ndim - mask.ndim)], out, y)

    def _change(self, x: Tensor) -> Tensor | None:
        """x̂(f′) − x̂(f), or None without an edit."""
        if self.edit is None:
            return None
        if self.features is not None:
            before = self.sae.encode_features(x, self.features)
            after = self._checked(self.edit(before), before)
            return self.sae.decode_change(after - before, x, self.features)
        before = self.sae.encode_dense(x)
        after = self._checked(self.edit(before), before)
        return self.sae.decode_change(after - before, x)

    def _edited(self, code: Tensor) -> Tensor:
        if self.edit is None:
            return code
        if self.features is None:
            return self._checked(self.edit(code), code)
        index = self.features.to(code.device)
        chosen = code[..., index]
        return code.index_copy(-1, index, self._checked(self.edit(chosen), chosen).to(code.dtype))

    def _checked(self, edited: Tensor, before: Tensor) -> Tensor:
        if edited.shape != before.shape:
            raise InputError(
                f"the edit of SAE {self.sae.name} returned shape {tuple(edited.shape)}, "
                f"expected {tuple(before.shape)}"
            )
        return edited

    def _stop_gradient(self, x: Tensor, y: Tensor, wide: torch.dtype) -> Tensor:
        """Value y + x̂(f′) − x̂(f), gradient of x̂(f′) + stopgrad(ε)."""
        inputs = x if self.upstream == "encoder" else x.detach()
        code = self.sae.encode_dense(inputs)
        if self.upstream != "encoder" or not code.requires_grad:
            code = _leaf(code)
        clean = self.sae.decode(code, inputs).to(y.device, wide).reshape(y.shape)
        error = _leaf(y.detach().to(wide) - clean.detach())
        if torch.is_grad_enabled():
            self.nodes = SpliceNodes(features=code, error=error)
        edited = self._edited(code)
        moved = clean
        if edited is not code:
            moved = self.sae.decode(edited, inputs).to(y.device, wide).reshape(y.shape)
        # Differences of a tensor with itself are exactly zero and carry only its gradient.
        out = y.detach().to(wide) + (moved - clean.detach()) + (error - error.detach())
        if self.upstream == "through":
            out = out + (y - y.detach()).to(wide)
        return out


def _leaf(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return tensor.requires_grad_() if torch.is_grad_enabled() else tensor


def splice_all(
    splices: Iterable[Splice],
) -> dict[str | Site, Edit | Iterable[Edit]]:
    """Merge the edits of several splices for one ``model.run``; at one site they run in order.

    Raises
    ------
    SaeError
        If one of the SAEs is not attached.
    """
    merged: dict[str | Site, list[Edit]] = {}
    for splice in splices:
        for site, function in splice.functions():
            merged.setdefault(site, []).append(function)
    return {site: tuple(functions) for site, functions in merged.items()}

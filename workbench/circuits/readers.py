"""How features depend on the activation they are read from.

Where a feature is active, its activation is, for most architectures, linear in the input, with one
fixed direction. That direction is worked out from the weights and then compared with automatic
differentiation of the SAE's own encoder; an SAE for which the two differ (or whose encoder is not
of that kind) is differentiated token by token instead, which is slower.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.circuits.effects import Entries, SiteEffects
from workbench.circuits.units import NodeSite, SaeSite

__all__ = ["Reader"]


class Reader:
    """Pulls gradients by a site's nodes back to the activation the nodes are read from.

    Parameters
    ----------
    effects
        The site's effects on a chunk of examples.
    source
        Activation the nodes are read from on the clean input, the head axis flattened.
    """

    def __init__(self, effects: SiteEffects, source: Float[Tensor, "row pos d_in"]) -> None:
        self.site: NodeSite = effects.site
        self.effects = effects
        self.source = source.detach()
        self._linear: bool | None = None

    def features(
        self,
        entries: Entries,
        slot: Int[Tensor, " n"],
        n_slots: int,
    ) -> Float[Tensor, "slot row pos d_in"]:
        """Pull back gradient × activation of entries, gathered in slots.

        Parameters
        ----------
        entries
            Scalar nodes that are active on the clean input.
        slot
            Slot of each entry.
        n_slots
            Number of slots.
        """
        pulled = self.source.new_zeros(n_slots, *self.source.shape, dtype=torch.float32)
        flat = pulled.flatten(0, 2)
        rows, positions = self.source.shape[:2]
        at = (slot * rows + entries.row) * positions + entries.position
        if self.site.scalar == "neuron":
            flat.view(-1).index_add_(0, at * flat.shape[-1] + entries.index, entries.gradient)
            return pulled
        if not len(entries):
            return pulled
        if self.is_linear:
            index, local = entries.index.unique(return_inverse=True)
            directions = self._directions(index)
            flat.index_add_(0, at, directions[local] * entries.gradient[:, None])
            return pulled
        for number in slot.unique().tolist():
            chosen = slot == number
            pulled[number] = self._by_autograd(entries.take(chosen))
        return pulled

    def error(self) -> Float[Tensor, "row pos d_in"]:
        """Pull the error term's gradient back through −x̂(f(x))."""
        entries = self.effects.entries
        if entries is None:
            return torch.zeros_like(self.source, dtype=torch.float32)
        if self.is_linear:
            active = entries.take(entries.clean != 0)
            pulled = torch.zeros_like(self.source, dtype=torch.float32)
            if len(active):
                index, local = active.index.unique(return_inverse=True)
                directions = self._directions(index)
                at = active.row * self.source.shape[1] + active.position
                flat = pulled.flatten(0, 1)
                # A few thousand entries at a time, so that gathered directions stay small.
                for part in torch.arange(len(active), device=at.device).split(8192):
                    wide = directions[local[part]] * active.gradient[part, None]
                    flat.index_add_(0, at[part], wide)
            return -pulled
        sae = self._sae()
        with torch.enable_grad():
            x = self.source.detach().clone().requires_grad_()
            recon = sae.decode(sae.encode_dense(x), x).reshape(*x.shape[:2], -1)
            weight = self.effects.gradient.to(recon)
            (pulled,) = torch.autograd.grad(recon, x, weight)
        return -pulled.float()

    @property
    def is_linear(self) -> bool:
        """Whether each active feature has one fixed reading direction."""
        if self._linear is None:
            self._linear = self._compare()
        return self._linear

    # -- the directions -----------------------------------------------------------------------

    def _sae(self) -> Any:
        if not isinstance(self.site, SaeSite):
            raise TypeError(f"site {self.site.name} has no SAE")
        return self.site.sae

    def _directions(self, index: Int[Tensor, " f"]) -> Float[Tensor, "f d_in"]:
        sae = self._sae()
        with sae.loaded() as module, torch.no_grad():
            chosen = index.to(module.W_dec.device)
            columns = module.W_enc[:, chosen].T
            if sae.architecture == "gated":
                columns = columns * module.r_mag[chosen].exp()[:, None]
            if getattr(module.cfg, "rescale_acts_by_decoder_norm", False):
                columns = columns * module.W_dec[chosen].norm(dim=-1, keepdim=True)
            if sae.centred:
                columns = columns - columns.mean(-1, keepdim=True)
            return columns.to(self.source.device).float()

    def _compare(self) -> bool:
        """Compare with automatic differentiation at the token with the most active features."""
        entries = self.effects.entries
        sae = self._sae()
        if entries is None or sae.needs_input or sae.architecture == "temporal":
            return False
        active = entries.take(entries.clean != 0)
        if not len(active):
            return True
        width = self.source.shape[1]
        at = active.row * width + active.position
        token = int(torch.bincount(at).argmax())
        here = active.take(at == token)
        weight = torch.linspace(1, 2, len(here), device=self.source.device)
        try:
            expected = (self._directions(here.index) * weight[:, None]).sum(0)
        except AttributeError:
            # No encoder matrix of the usual kind.
            return False
        with torch.enable_grad():
            x = self.source.flatten(0, 1)[token : token + 1].detach().clone().requires_grad_()
            code = sae.encode_features(x, here.index)[0]
            (truth,) = torch.autograd.grad((code * weight.to(code)).sum(), x)
        scale = truth.float().abs().max().clamp_min(1e-9)
        return bool((truth[0].float() - expected).abs().max() <= 1e-3 * scale)

    def _by_autograd(self, entries: Entries) -> Float[Tensor, "row pos d_in"]:
        sae = self._sae()
        with torch.enable_grad():
            x = self.source.detach().clone().requires_grad_()
            code = sae.encode_dense(x)
            weight = torch.zeros_like(code)
            weight[entries.row, entries.position, entries.index] = entries.gradient.to(code)
            (pulled,) = torch.autograd.grad(code, x, weight)
        return pulled.float()

"""An SAE at a site of a model: encode, decode, error, splice.

SAELens owns the mathematics of every architecture. What is added here is what working inside a
model needs: sparse codes, the error term in float32, reconstructions that carry everything the
architecture needs of its input (normalisation statistics, skip connections, predicted codes), and
weights that come when used and leave when memory is short.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import SaeError
from workbench.saes.acts import FeatureActs
from workbench.saes.decode import (
    decoder_rows,
    forget_statistics,
    output_scale,
    reconstruct,
    reconstruct_sparse,
    renormalises,
)
from workbench.saes.description import SaeDescription
from workbench.saes.encode import BLOCK_BYTES, encode_chosen, encode_sparse
from workbench.saes.per_feature import check_features

if TYPE_CHECKING:
    from workbench.saes.splice import CodeEdit, ErrorTerm, Splice, Upstream

__all__ = ["Sae"]


class Sae(SaeDescription):
    """One sparse autoencoder or transcoder, ready to use.

    Made by `load_sae` or `SaeStore.attach`. Activations go in as ``[..., d_in]``; at per-head
    sites also as ``[..., head, d_head]``. They are moved to the SAE's device and dtype, and codes
    and reconstructions stay there.

    Parameters
    ----------
    name
        Name in the session (``resid_post.2``).
    weights
        Its weights, resident or not.
    site, out_site
        Sites of the attached model; `out_site` differs from `site` for transcoders. None while it
        is not attached.
    centred
        Subtract each activation's mean over the width before encoding, and add it back to the
        reconstruction: for SAEs trained on a model whose writing weights were centred, used on the
        raw model.
    """

    def decoder_rows(
        self, features: Sequence[int] | Tensor | None = None
    ) -> Float[Tensor, "chosen d_out"]:
        """Return what one unit of activation of each feature adds to the reconstruction.

        Per-token output scales (``layer_norm``, ``constant_norm_rescale``) are not included.

        Raises
        ------
        InputError
            If a feature is outside the dictionary.
        """
        with self.loaded() as module:
            return decoder_rows(module, self._index(features, module)).detach()

    def encoder_columns(
        self, features: Sequence[int] | Tensor | None = None
    ) -> Float[Tensor, "d_in chosen"]:
        """Return the encoder directions of features.

        For tied architectures (matching pursuit, tied temporal) these are the decoder rows.

        Raises
        ------
        InputError
            If a feature is outside the dictionary.
        """
        with self.loaded() as module:
            tied = self.architecture == "temporal" and module.cfg.tied_weights
            columns: Tensor = module.W_dec.T if tied else module.W_enc
            index = self._index(features, module)
            return (columns if index is None else columns[:, index]).detach()

    def _index(
        self, features: Sequence[int] | Tensor | None, module: Any
    ) -> Int[Tensor, " chosen"] | None:
        if features is None:
            return None
        return check_features(features, self.d_sae).to(module.W_dec.device)

    # -- code ---------------------------------------------------------------------------------

    def encode(
        self, x: Float[Tensor, "*token d_in"], *, block_bytes: int = BLOCK_BYTES
    ) -> FeatureActs:
        """Encode to a sparse code, without gradients and without tokens × features in memory.

        Parameters
        ----------
        x
            Activations at `site`; temporal SAEs need ``[batch, pos, d_in]``.
        block_bytes
            Upper bound on the dense width held at once.

        Returns
        -------
        FeatureActs
            Equal to SAELens's ``encode``; see `workbench.saes.encode` for calls of several blocks.

        Raises
        ------
        SaeError
            If the width is not `d_in`.
        InputError
            If an activation is NaN or infinite.
        """
        with self.loaded() as module:
            return encode_sparse(module, self._prepare(x, module), block_bytes=block_bytes)

    def encode_dense(self, x: Float[Tensor, "*token d_in"]) -> Float[Tensor, "*token d_sae"]:
        """Encode with SAELens's own ``encode``; differentiable in `x`.

        Raises
        ------
        SaeError
            If the width is not `d_in`.
        """
        with self.loaded() as module:
            code: Tensor = module.encode(self._prepare(x, module))
            forget_statistics(module)
            return code

    def encode_features(
        self, x: Float[Tensor, "*token d_in"], features: Sequence[int] | Tensor
    ) -> Float[Tensor, "*token chosen"]:
        """Activations of chosen features only; differentiable in `x`.

        Standard, jumprelu, gated and their transcoders read only the chosen encoder columns, which
        equals the full encoding up to rounding; the rest compete for places and encode in full.

        Raises
        ------
        SaeError
            If the width is not `d_in`.
        InputError
            If a feature is outside the dictionary.
        """
        with self.loaded() as module:
            index = check_features(features, self.d_sae).to(module.W_dec.device)
            code = encode_chosen(module, self._prepare(x, module), index)
            forget_statistics(module)
            return code

    def decode(
        self,
        code: Float[Tensor, "*token d_sae"] | FeatureActs,
        x: Float[Tensor, "*token d_in"] | None = None,
    ) -> Float[Tensor, "*token d_out"]:
        """Reconstruct from a code; differentiable in both arguments.

        Parameters
        ----------
        code
            Dense or sparse code.
        x
            The input the code came from. Needed where the reconstruction depends on it beyond the
            code (`needs_input`): per-token normalisation, skip transcoders (``W_skip x``), temporal
            SAEs (codes predicted from context). For `centred` SAEs it restores the mean.

        Returns
        -------
        Tensor
            In the SAE's dtype, shaped like `x` where that has a head axis.

        Raises
        ------
        SaeError
            If `x` is needed and missing, or a width is wrong.
        """
        if code.shape[-1] != self.d_sae:
            raise SaeError(
                f"SAE {self.name}: got a code of width {code.shape[-1]}, expected {self.d_sae}"
            )
        if self.needs_input and x is None:
            raise SaeError(
                f"SAE {self.name} ({self.architecture}, normalisation "
                f"{self.config.normalize_activations}) reconstructs from the code and its input: "
                "call decode(code, x) with the activations the code came from"
            )
        with self.loaded() as module:
            inputs = None if x is None else self._prepare(x, module)
            if isinstance(code, FeatureActs):
                sparse = code.to(module.W_dec.device)
                out = reconstruct_sparse(module, self.config, sparse, inputs)
            else:
                dense = code.to(module.W_dec.device, module.W_dec.dtype)
                out = reconstruct(module, self.config, dense, inputs)
            if x is None or self.is_transcoder:
                return out
            if self.centred:
                flat = self._flatten(x).to(out)
                out = out + flat.mean(-1, keepdim=True)
            return out.reshape(x.shape)

    def decode_change(
        self,
        change: Float[Tensor, "*token chosen"],
        x: Float[Tensor, "*token d_in"],
        features: Sequence[int] | Tensor | None = None,
    ) -> Float[Tensor, "*token d_out"]:
        """Return x̂(f + change) − x̂(f), which does not depend on f: decoders are linear.

        Parameters
        ----------
        change
            Change of the whole code, or of chosen features.
        x
            The input, for the scale of per-token normalisation.
        features
            Which features `change` speaks of; None for all.

        Raises
        ------
        InputError
            If a feature is outside the dictionary.
        """
        with self.loaded() as module:
            rows = decoder_rows(module, self._index(features, module))
            moved = change.to(rows.device, rows.dtype) @ rows
            if renormalises(self.config):
                moved = moved * output_scale(module, self._prepare(x, module))
            return moved

    def output_scale(self, x: Float[Tensor, "*token d_in"]) -> Float[Tensor, "*token 1"]:
        """Return the factor that undoes per-token normalisation of the input; 1 without it."""
        if not renormalises(self.config):
            return torch.ones((*self._flatten(x).shape[:-1], 1), dtype=x.dtype, device=x.device)
        with self.loaded() as module:
            return output_scale(module, self._prepare(x, module))

    def reconstruct(self, x: Float[Tensor, "*token d_in"]) -> Float[Tensor, "*token d_out"]:
        """Encode and decode."""
        return self.decode(self.encode_dense(x), x)

    def error(
        self,
        x: Float[Tensor, "*token d_in"],
        target: Float[Tensor, "*token d_out"] | None = None,
    ) -> Float[Tensor, "*token d_out"]:
        """Return ε = target − x̂ in float32 (float64 where the target is).

        Parameters
        ----------
        x
            Activations at `site`.
        target
            What the reconstruction should equal: `x` itself (default), or for transcoders the true
            activation at `out_site`.

        Raises
        ------
        SaeError
            If the SAE is a transcoder and `target` is missing.
        """
        if target is None:
            if self.is_transcoder:
                raise SaeError(
                    f"SAE {self.name} is a transcoder: its error is relative to the true activation"
                    f" at {self.out_site or 'its output site'}; pass it as target"
                )
            target = x
        wide = torch.promote_types(target.dtype, torch.float32)
        return target.to(wide) - self.reconstruct(x).to(target.device, wide)

    def splice(
        self,
        error: ErrorTerm = "keep",
        *,
        edit: CodeEdit | None = None,
        features: Sequence[int] | Tensor | None = None,
        positions: Tensor | None = None,
        upstream: Upstream = "encoder",
    ) -> Splice:
        """Put this SAE into a pass; see `workbench.saes.splice.Splice`.

        Examples
        --------
        Ablate feature 417 with the error term kept::

            edit = sae.splice("keep", edit=torch.zeros_like, features=[417])
            model.run(tokens, edits=edit.edits())
        """
        from workbench.saes.splice import Splice

        return Splice(
            self,
            error=error,
            edit=edit,
            features=features,
            positions=positions,
            upstream=upstream,
        )

    # -- input --------------------------------------------------------------------------------

    def _flatten(self, x: Tensor) -> Float[Tensor, "*token d_in"]:
        if x.ndim and x.shape[-1] == self.d_in:
            return x
        if x.ndim > 1 and x.shape[-1] * x.shape[-2] == self.d_in:
            return x.flatten(-2)
        raise SaeError(
            f"SAE {self.name} reads activations of width {self.d_in}, got shape {tuple(x.shape)}"
        )

    def _prepare(self, x: Tensor, module: Any) -> Float[Tensor, "*token d_in"]:
        flat = self._flatten(x)
        if self.centred:
            wide = flat.to(torch.promote_types(flat.dtype, torch.float32))
            flat = wide - wide.mean(-1, keepdim=True)
        if self.architecture == "temporal" and flat.ndim != 3:
            raise SaeError(
                f"SAE {self.name} is temporal and reads sequences [batch, pos, {self.d_in}], "
                f"got shape {tuple(x.shape)}"
            )
        return flat.to(module.W_dec.device, module.W_dec.dtype)

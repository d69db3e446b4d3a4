"""Where an attention-output feature's activation came from: direct feature attribution.

An attention layer's output at a token is a sum over heads and source tokens once the attention
pattern is given: ``Σ_h Σ_s pattern[h, s] · v[s, h] W_O[h] + b_O``. A feature's pre-activation is
affine in that output (normalisation statistics of the SAE taken as constants), so it is a sum of
one number per head and source token and a bias, exactly. The values ``v`` are taken as they are:
the LayerNorm before the attention is frozen (Kissane et al. 2024, *Interpreting Attention Layer
Outputs with Sparse Autoencoders*, section 2.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError, SaeError
from workbench.features.dashboard import Context, HeadSource
from workbench.features.geometry import locate
from workbench.features.refs import FeatureRef
from workbench.features.rerun import context_row
from workbench.results import Result
from workbench.saes.decode import forget_statistics

if TYPE_CHECKING:
    import pandas as pd

    from workbench.model.model import Model
    from workbench.model.passes import Pass
    from workbench.model.sites import Site
    from workbench.model.tokens import Tokens
    from workbench.saes.sae import Sae
    from workbench.session import Session

__all__ = ["HeadAttribution", "attribute", "attributes_heads", "head_sources"]

_KINDS = ("attn_out", "z")
_AFFINE = ("standard", "topk", "abstopk", "jumprelu", "gated")
# Attention computed another way than by pattern and values cannot be attributed to them.
_ATOL = 1e-4


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class HeadAttribution(Result):
    """A feature's pre-activation at one token as a sum over heads and source tokens.

    Parameters
    ----------
    feature
        The feature, written ``sae/index``.
    position
        The token its activation is at.
    tokens
        The tokens up to it, as a person reads them. Untrusted text.
    contributions
        What each head's reading from each token adds.
    bias
        What is added whatever the attention reads: the biases of the attention's output, of the
        SAE's encoder and of its decoder where that is subtracted from the input.
    pre_activation
        Their sum, computed apart: what the SAE compares with its threshold.
    activation
        The feature's activation.
    """

    feature: str
    position: int
    tokens: tuple[str, ...]
    contributions: Float[np.ndarray, "head source"]
    bias: float
    pre_activation: float
    activation: float

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per head and source token, by falling size of the contribution.

        Returns
        -------
        DataFrame
            Columns ``head``, ``position``, ``token``, ``value``.
        """
        import pandas as pd

        heads, sources = np.indices(self.contributions.shape).reshape(2, -1)
        table = pd.DataFrame(
            {
                "head": heads,
                "position": sources,
                "token": np.array(self.tokens, dtype=object)[sources],
                "value": self.contributions.reshape(-1),
            }
        )
        order = np.argsort(-np.abs(table["value"].to_numpy()), kind="stable")
        return table.iloc[order].reset_index(drop=True)

    def summary(self) -> str:
        """Return one line: the feature, its pre-activation, the largest contribution."""
        head, source = np.unravel_index(
            np.abs(self.contributions).argmax(), self.contributions.shape
        )
        return (
            f"HeadAttribution {self.feature} at {self.tokens[self.position]!r}: pre-activation "
            f"{self.pre_activation:.3g}, of which {self.contributions[head, source]:+.3g} by head "
            f"{head} from {self.tokens[source]!r}"
        )


def attributes_heads(sae: Sae) -> bool:
    """Whether a feature of this SAE can be attributed to heads and source tokens."""
    return sae.site is not None and sae.site.kind in _KINDS and sae.architecture in _AFFINE


def attribute(
    session: Session, ref: str | FeatureRef, text: str | Tokens, position: int = -1
) -> HeadAttribution:
    """Attribute an attention-output feature's pre-activation to heads and source tokens.

    Parameters
    ----------
    session
        The session.
    ref
        A feature of an SAE on an attention's output or on its heads' outputs.
    text
        One text, or its tokens.
    position
        The token its activation is at; negative counts from the end.

    Returns
    -------
    HeadAttribution

    Raises
    ------
    InputError
        There is no such feature or position.
    SaeError
        The SAE is elsewhere, its architecture has no pre-activation that is affine in its input,
        or the model's attention is not a sum over source tokens.

    Examples
    --------
    >>> attribute(session, "attn_out.2/31", "The striker Elena Marsh plays for").to_pandas()
    """
    sae, index = locate(session, ref)
    if not attributes_heads(sae) or sae.site is None:
        raise SaeError(
            f"{sae.name} is a {sae.architecture} SAE on {sae.site}; heads and source tokens are "
            f"told for SAEs on {' or '.join(_KINDS)} of the architectures {', '.join(_AFFINE)}"
        )
    tokens = session.tokens(text)
    length = int(tokens.last[0]) + 1
    if not -length <= position < length:
        raise InputError(f"position {position} is outside a text of {length} tokens")
    at = position % length
    with session.model.lock:
        ran, leaf = _run(session.model, sae.site, tokens)
    attention = ran[sae.site].reshape(*ran[sae.site].shape[:2], -1)[0, at]
    direction, pre, activation = _read(sae, index, attention.detach())
    (gradient,) = torch.autograd.grad((attention.float() * direction).sum(), leaf)
    layer = sae.site.layer
    contributions = _contributions(
        ran[f"pattern.{layer}"][0, :, at], ran[f"v.{layer}"][0], leaf[0, at], gradient[0, at]
    )[:, : at + 1]
    return HeadAttribution(
        provenance=session.model.provenance(tokens.policy, saes=[sae.name]),
        feature=str(FeatureRef(sae.name, index)),
        position=at,
        tokens=tokens.strings[0][: at + 1],
        contributions=contributions.float().cpu().numpy(),
        bias=pre - float(contributions.sum()),
        pre_activation=pre,
        activation=activation,
    ).bound_to(session)


def head_sources(
    session: Session, ref: str | FeatureRef, context: Context, k: int = 10
) -> tuple[HeadSource, ...]:
    """Return the largest contributions to a feature's activation at a context's token.

    Parameters
    ----------
    session
        The session. A context of its feature index is run from the beginning of its row, any other
        from its own first token.
    ref
        The feature; as for `attribute`.
    context
        The context.
    k
        Most contributions, by falling size.

    Raises
    ------
    SaeError, InputError
        As `attribute`.
    """
    row = context_row(session.opened_index, context)
    ids = np.asarray(context.token_ids) if row is None else row
    # Positions are told in the context shown; what stands before it has negative ones.
    shift = len(ids) - len(context.tokens)
    tokens = session.model.tokenizing.from_ids([ids.tolist()], session.policy)
    made = attribute(session, ref, tokens, shift + context.peak)
    return tuple(
        HeadSource(
            head=int(head), position=int(source) - shift, value=float(value), token=str(token)
        )
        for head, source, token, value in made.to_pandas().head(k).itertuples(index=False)
    )


def _run(model: Model, site: Site, tokens: Tokens) -> tuple[Pass, Tensor]:
    """Run up to the attention's output with its heads' outputs as the root of the graph."""
    heads, leaves = f"z.{site.layer}", []

    def root(value: Tensor) -> Tensor:
        leaves.append(value.detach().requires_grad_(True))
        return leaves[-1]

    wanted = [f"pattern.{site.layer}", f"v.{site.layer}", heads, site.name]
    ran = model.run(
        tokens, capture=wanted, edits={heads: root}, logits=False, grad=True, engine="bridge"
    )
    return ran, leaves[-1]


def _contributions(
    pattern: Float[Tensor, "head source"],
    values: Float[Tensor, "source kv_head d_head"],
    z: Tensor,
    gradient: Tensor,
) -> Float[Tensor, "head source"]:
    n_heads, d_head = pattern.shape[0], values.shape[-1]
    values = values.detach().float().repeat_interleave(n_heads // values.shape[1], dim=1)
    pattern = pattern.detach().float()
    z = z.detach().float().reshape(n_heads, d_head)
    mixed = torch.einsum("hs,shd->hd", pattern, values)
    if not torch.allclose(mixed, z, atol=_ATOL * max(1.0, float(z.abs().max())), rtol=1e-3):
        raise SaeError(
            "this model's attention is not the sum of its values weighted by its pattern, so a "
            "feature's activation cannot be attributed to source tokens"
        )
    return pattern * torch.einsum("shd,hd->hs", values, gradient.float().reshape(n_heads, d_head))


def _read(sae: Sae, index: int, x: Float[Tensor, " d_in"]) -> tuple[Tensor, float, float]:
    """Direction in the attention's output that the feature reads, pre-activation, activation."""
    with torch.no_grad(), sae.loaded() as module:
        activation = float(sae.encode_features(x[None], [index])[0, 0])
        column: Tensor = module.W_enc[:, index]
        bias = module.b_mag[index] if sae.architecture == "gated" else module.b_enc[index]
        scale = module.r_mag[index].exp() if sae.architecture == "gated" else column.new_ones(())
        after = column.new_ones(())
        if getattr(module.cfg, "rescale_acts_by_decoder_norm", False):
            after = module.W_dec[index].norm()
        prepared = x.to(column)
        if sae.centred:
            prepared = prepared - prepared.mean()
        inputs = module.process_sae_in(prepared[None])[0]
        pre = after * (inputs @ (column * scale) + bias)
        direction = after * scale * _through_norm(module, prepared, column)
        if sae.centred:
            direction = direction - direction.mean()
        return direction.float().to(x.device), float(pre), activation


def _through_norm(module: Any, x: Float[Tensor, " d_in"], column: Tensor) -> Tensor:
    """Turn an encoder column into a direction of the unnormalised input, statistics frozen."""
    kind = module.cfg.normalize_activations
    if kind not in ("layer_norm", "constant_norm_rescale"):
        return column
    centred = kind == "layer_norm"
    base = x - x.mean() if centred else x
    made = module.run_time_activation_norm_fn_in(x[None])[0]
    forget_statistics(module)
    direction = column * ((made @ base) / (base @ base).clamp_min(1e-12))
    return direction - direction.mean() if centred else direction

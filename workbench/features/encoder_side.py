"""What a transcoder feature reads: its encoder's space is another than its decoder's."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.features.dashboard import Neighbour, TokenEffect
from workbench.features.geometry import Labeller, cosines, named_effects, nearest

if TYPE_CHECKING:
    from workbench.model.model import Model
    from workbench.saes.sae import Sae
    from workbench.session import Session

__all__ = ["similar_encoders", "token_readings"]

_BLOCK = 4096
# The normalised embeddings of a model, as factors: they are the same for all its features.
_FACTORS: weakref.WeakKeyDictionary[Any, dict[int, tuple[Tensor, Tensor, Tensor, bool]]] = (
    weakref.WeakKeyDictionary()
)


def token_readings(
    model: Model, sae: Sae, index: int, *, k: int = 10
) -> tuple[tuple[TokenEffect, ...], tuple[TokenEffect, ...]]:
    """Return the tokens whose embedding raises and lowers a feature's pre-activation most.

    What is added to the pre-activation where the residual stream is the token's embedding alone:
    the embedding through the norm before the MLP, times the encoder direction. Positions and
    everything the layers before add are left out, so it tells what the feature reads of the token
    itself, and little where it reads what attention brought.

    Parameters
    ----------
    model, sae, index
        The feature.
    k
        Tokens on each side.

    Returns
    -------
    tuple
        Raised and lowered, by falling size; both empty where the SAE does not read the MLP's input
        or normalises what it reads.
    """
    site = sae.site
    plain = sae.config.normalize_activations in ("none", "expected_average_only_in")
    if site is None or site.kind != "mlp_in" or site.layer is None or not plain:
        return (), ()
    with torch.inference_mode():
        column = sae.encoder_columns([index])[:, 0].float()
        if sae.centred:
            column = column - column.mean()
        readings = _read_embeddings(model, site.layer, column.to(model.device))
    if readings is None:
        return (), ()
    raised = named_effects(model, readings, k, largest=True)
    return raised, named_effects(model, readings, k, largest=False)


def _read_embeddings(
    model: Model, layer: int, column: Float[Tensor, " d_model"]
) -> Float[Tensor, " d_vocab"] | None:
    plain: Any = model.network.plain
    weight: Float[Tensor, "d_vocab d_model"] = plain.get_input_embeddings().weight
    norm: Any = model.network.plain_module(f"blocks.{layer}.ln2")
    if norm is None or weight.shape[-1] != len(column):
        return None
    known = _FACTORS.setdefault(model, {})
    if layer not in known:
        known[layer] = _factors(norm, weight)
    gain, bias, scale, centred = known[layer]
    direction = gain * column
    if centred:
        direction = direction - direction.mean()
    return ((weight.float() @ direction) / scale + bias @ column).cpu()


def _factors(
    norm: Any, weight: Float[Tensor, "d_vocab d_model"]
) -> tuple[Tensor, Tensor, Tensor, bool]:
    """Return gain, bias, each row's scale and whether rows are centred, read off the norm."""
    from workbench.model.readout import norm_gain

    gain, bias, centred = norm_gain(norm, weight)
    scales = []
    for rows in weight.split(_BLOCK):
        straight = rows.float()
        if centred:
            straight = straight - straight.mean(-1, keepdim=True)
        straight = straight * gain
        made = norm(rows).float() - bias
        scales.append((straight * straight).sum(-1) / (straight * made).sum(-1).clamp_min(1e-12))
    return gain, bias, torch.cat(scales), centred


def similar_encoders(
    session: Session,
    sae: Sae,
    index: int,
    *,
    k: int = 10,
    label: Labeller = lambda _: None,
) -> tuple[Neighbour, ...]:
    """Return the features with the nearest encoder directions, opposite ones included.

    Parameters
    ----------
    session
        Its resident SAEs that read the same site are searched.
    sae, index
        The feature.
    k
        How many, by falling absolute cosine.
    label
        Gives the label of a feature.
    """
    with torch.inference_mode():
        column = sae.encoder_columns([index])[:, 0].float()
        unit = column / column.norm().clamp_min(1e-12)

        def scores(other: Sae) -> Float[Tensor, " d_sae"] | None:
            if other.site != sae.site:
                return None
            return cosines(unit, other.encoder_columns().T)

        return nearest(session, sae, index, scores, k=k, label=label)

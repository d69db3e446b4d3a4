"""What a feature's weights say by themselves: logit effects, neighbours, coordinates, angles."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError
from workbench.features.dashboard import Histogram, Neighbour, NeuronShare, TokenEffect
from workbench.features.refs import FeatureRef

if TYPE_CHECKING:
    from workbench.model.model import Model
    from workbench.saes.sae import Sae
    from workbench.session import Session

__all__ = [
    "Labeller",
    "angle",
    "coordinates",
    "cosines",
    "locate",
    "logit_effects",
    "named_effects",
    "nearest",
    "similar",
]

LOGIT_BINS = 50

Labeller: TypeAlias = Callable[[FeatureRef], "str | None"]
"""Gives the label of a feature, None without one."""

_BLOCK = 8192
# Measuring them takes longer than the products that a page needs.
_LENGTHS: weakref.WeakKeyDictionary[Sae, tuple[tuple[int, int], Tensor]] = (
    weakref.WeakKeyDictionary()
)


def locate(session: Session, feature: str | FeatureRef) -> tuple[Sae, int]:
    """Find a feature's SAE and check its index.

    Raises
    ------
    SaeError
        There is no such SAE.
    InputError
        The index is outside the dictionary, or the reference is not written ``sae/index``.
    """
    ref = FeatureRef.parse(feature)
    sae = session.saes[ref.sae]
    if not 0 <= ref.index < sae.d_sae:
        raise InputError(f"{sae.name} has features 0 to {sae.d_sae - 1}, got {ref.index}")
    return sae, ref.index


def _writes_stream(sae: Sae, model: Model) -> bool:
    """Whether the SAE's reconstruction lives in the space of the residual stream."""
    return sae.d_out == model.d_model


def logit_effects(
    model: Model, sae: Sae, index: int, *, k: int = 10
) -> tuple[tuple[TokenEffect, ...], tuple[TokenEffect, ...], Histogram]:
    """Return the tokens a feature raises and lowers most, and a histogram over all tokens.

    The effect is direct: decoder direction, centred where the final norm centres, times the norm's
    gain, on the unembedding; the norm's scale and everything in between are left out. Features
    that do not write to the stream have none.

    Parameters
    ----------
    model, sae, index
        The feature.
    k
        Tokens on each side.
    """
    if not _writes_stream(sae, model):
        none = Histogram(edges=np.array([0.0, 1.0]), counts=np.zeros(1, dtype=np.int64))
        return (), (), none
    with torch.inference_mode():
        effects = model.readout(sae.decoder_rows([index]))[0].cpu()
    counts, edges = np.histogram(effects.numpy(), bins=LOGIT_BINS)

    return (
        named_effects(model, effects, k, largest=True),
        named_effects(model, effects, k, largest=False),
        Histogram(edges=edges, counts=counts.astype(np.int64)),
    )


def named_effects(
    model: Model, effects: Float[Tensor, " d_vocab"], k: int, *, largest: bool
) -> tuple[TokenEffect, ...]:
    """Return the tokens with the largest or the least effects."""
    best = effects.topk(min(k, len(effects)), largest=largest)
    return tuple(
        TokenEffect(token=model.token_string(token), token_id=token, value=value)
        for token, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    )


def similar(
    session: Session,
    sae: Sae,
    index: int,
    *,
    k: int = 10,
    label: Labeller = lambda _: None,
) -> tuple[Neighbour, ...]:
    """Return the features with the nearest decoder directions, opposite ones included.

    Parameters
    ----------
    session
        Its resident SAEs on a space of the same width are searched; weights are not loaded for it.
    sae, index
        The feature.
    k
        How many, by falling absolute cosine.
    label
        Gives the label of a feature.
    """
    with torch.inference_mode():
        row = sae.decoder_rows([index]).float()
        unit = row / row.norm().clamp_min(1e-12)

        def scores(other: Sae) -> Float[Tensor, " d_sae"] | None:
            if other.d_out != sae.d_out:
                return None
            rows = other.decoder_rows()
            return cosines(unit[0], rows, _lengths(other, rows))

        return nearest(session, sae, index, scores, k=k, label=label)


def nearest(
    session: Session,
    sae: Sae,
    index: int,
    scores: Callable[[Sae], Float[Tensor, " d_sae"] | None],
    *,
    k: int,
    label: Labeller,
) -> tuple[Neighbour, ...]:
    """Return the features of largest absolute score among those of the resident SAEs.

    Parameters
    ----------
    session
        Its resident SAEs are searched, and `sae`.
    sae, index
        The feature itself, which is left out.
    scores
        Score of every feature of an SAE; None leaves the SAE out.
    k
        How many.
    label
        Gives the label of a feature.
    """
    found: list[tuple[float, FeatureRef]] = []
    for other in session.saes.values():
        if not (other.resident or other is sae):
            continue
        values = scores(other)
        if values is None:
            continue
        if other is sae:
            values[index] = 0
        best = values.abs().topk(min(k, len(values))).indices
        found += [
            (value, FeatureRef(other.name, place))
            for value, place in zip(values[best].tolist(), best.tolist(), strict=True)
        ]
    found.sort(key=lambda item: -abs(item[0]))
    return tuple(
        Neighbour(feature=str(ref), score=score, label=label(ref)) for score, ref in found[:k]
    )


def cosines(
    unit: Float[Tensor, " d"],
    rows: Float[Tensor, "rows d"],
    lengths: Float[Tensor, " rows"] | None = None,
) -> Float[Tensor, " rows"]:
    """Cosines of one direction of length one with many, in blocks, float32.

    `lengths` are those of the rows, for callers that know them.
    """
    parts = [block.to(unit.device).float() @ unit for block in rows.split(_BLOCK)]
    known = _measured(rows) if lengths is None else lengths
    return torch.cat(parts) / known.to(unit.device)


def _measured(rows: Float[Tensor, "rows d"]) -> Float[Tensor, " rows"]:
    parts = [block.float().norm(dim=-1).clamp_min(1e-12) for block in rows.split(_BLOCK)]
    return torch.cat(parts)


def _lengths(sae: Sae, rows: Float[Tensor, "rows d"]) -> Float[Tensor, " rows"]:
    """Lengths of an SAE's decoder rows; measured once, and again where the weights have changed."""
    # Weights first read inside inference mode keep no count of their changes.
    state = (rows.data_ptr(), -1 if rows.is_inference() else rows._version)
    known = _LENGTHS.get(sae)
    if known is None or known[0] != state:
        known = _LENGTHS[sae] = (state, _measured(rows))
    return known[1]


def coordinates(sae: Sae, index: int, *, k: int = 3) -> tuple[NeuronShare, ...]:
    """Return the largest coordinates of a feature's decoder direction, by absolute value."""
    row = sae.decoder_rows([index])[0].float()
    total = row.abs().sum().clamp_min(1e-12)
    best = row.abs().topk(min(k, len(row))).indices
    return tuple(
        NeuronShare(neuron=place, value=row[place].item(), share=(row[place].abs() / total).item())
        for place in best.tolist()
    )


def angle(sae: Sae, index: int) -> float | None:
    """Return the cosine of a feature's encoder and decoder directions, None across spaces."""
    row = sae.decoder_rows([index])[0].float()
    column = sae.encoder_columns([index])[:, 0].float()
    if sae.is_transcoder or row.shape != column.shape:
        return None
    return torch.nn.functional.cosine_similarity(row, column, dim=0).item()

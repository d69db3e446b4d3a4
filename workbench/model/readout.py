"""What a direction in the residual stream does to the logits, read off the last norm and unembed.

The final norm divides by a scale that depends on the input; a direction's *direct* effect is taken
without it: centre where the norm centres, multiply by the norm's gain, project on the unembedding.
Differences between tokens are then right up to one positive factor per input. Soft caps on the
logits, which keep their order, are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import SiteError

if TYPE_CHECKING:
    from workbench.model.model import Model

__all__ = ["Readout", "TokenEffects", "norm_gain"]


class TokenEffects(NamedTuple):
    """The tokens a batch of directions moves most.

    Parameters
    ----------
    raised, lowered
        Token ids, most moved first.
    raised_by, lowered_by
        Direct logit effect of one unit of the direction.
    """

    raised: Int[Tensor, "direction top"]
    raised_by: Float[Tensor, "direction top"]
    lowered: Int[Tensor, "direction top"]
    lowered_by: Float[Tensor, "direction top"]


def norm_gain(
    norm: Any, like: Float[Tensor, "rows d_model"]
) -> tuple[Float[Tensor, " d_model"], Float[Tensor, " d_model"], bool]:
    """Read a norm's gain and bias off what it does to a few vectors.

    Parameters
    ----------
    norm
        A LayerNorm or RMSNorm.
    like
        Gives width, device and dtype.

    Returns
    -------
    tuple
        Gain and bias in float32, and whether the norm centres.
    """
    width = like.shape[-1]
    with torch.inference_mode():
        # At a vector of ±1 both norms divide by one, so the gain stands alone: with bias b,
        # norm(x) = x·g + b. A LayerNorm ignores a constant shift; an RMSNorm does not.
        probe = torch.ones(width, device=like.device, dtype=like.dtype)
        probe[1::2] = -1
        if width % 2:
            probe[-1] = 0
        straight, flipped = norm(probe), norm(-probe)
        gain = (straight - flipped) / 2 * probe
        if width % 2:
            other = torch.roll(probe, 1)
            gain[-1] = ((norm(other) - norm(-other)) / 2 * other)[-1]
        centred = bool(torch.allclose(norm(probe + 1), straight, atol=1e-2, rtol=1e-2))
        bias = (straight + flipped) / 2
    return gain.clone().float(), bias.clone().float(), centred


class Readout:
    """The last norm and the unembedding of a model.

    Parameters
    ----------
    model
        The model.
    """

    def __init__(self, model: Model) -> None:
        plain: Any = model.network.plain
        self._unembed: Float[Tensor, "d_vocab d_model"] = plain.get_output_embeddings().weight
        norm: Any = model.network.plain_module("ln_final")
        if norm is None:
            raise SiteError("the model has no final norm the workbench can find")
        self.gain, _, self.centred = norm_gain(norm, self._unembed)

    def __call__(
        self, directions: Float[Tensor, "direction d_model"]
    ) -> Float[Tensor, "direction d_vocab"]:
        """Return the direct logit effect of one unit of each direction, float32."""
        moved = directions.to(self.gain.device).float()
        if self.centred:
            moved = moved - moved.mean(-1, keepdim=True)
        return (moved * self.gain) @ self._unembed.float().T

    def top(
        self, directions: Float[Tensor, "direction d_model"], k: int, *, block: int = 64
    ) -> TokenEffects:
        """Return the `k` tokens each direction raises and lowers most.

        Parameters
        ----------
        directions
            Directions in the residual stream.
        k
            How many tokens on each side.
        block
            Directions whose full vocabulary is held at once.
        """
        parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        with torch.inference_mode():
            for rows in directions.split(block):
                effects = self(rows)
                up, down = effects.topk(k, dim=-1), effects.topk(k, dim=-1, largest=False)
                parts.append((up.indices, up.values, down.indices, down.values))
            if not parts:
                empty = torch.zeros(0, k)
                return TokenEffects(empty.long(), empty, empty.long(), empty)
            return TokenEffects(*(torch.cat(group) for group in zip(*parts, strict=True)))

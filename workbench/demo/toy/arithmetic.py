"""Forward pass and derivatives of a small Llama-type model, written out by hand in float64.

Nothing here knows autograd: every derivative is the textbook formula, once in forward mode (what a
change of the input does to the output, used for edges) and once in reverse mode (what the output's
gradient is at the input, used for nodes). The two are independent of each other, and the tests
compare both with finite differences and with torch.

Shapes: `pos` tokens, `d` the width of the residual stream, `heads` x `head` the attention, `mlp`
the hidden width of the gated MLP. One prompt at a time; there is no batch axis.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

Array = np.ndarray


@dataclass(frozen=True, kw_only=True)
class Block:
    """Weights of one transformer block, laid out as in a Llama checkpoint (output, input).

    `inner` is heads times head.
    """

    attn_norm: Float[Array, " d"]
    q: Float[Array, "inner d"]
    k: Float[Array, "inner d"]
    v: Float[Array, "inner d"]
    o: Float[Array, "d inner"]
    mlp_norm: Float[Array, " d"]
    gate: Float[Array, "mlp d"]
    up: Float[Array, "mlp d"]
    down: Float[Array, "d mlp"]


@dataclass(frozen=True, kw_only=True)
class Network:
    """Weights of the whole model and its fixed settings."""

    embed: Float[Array, "vocab d"]
    blocks: tuple[Block, ...]
    norm: Float[Array, " d"]
    unembed: Float[Array, "vocab d"]
    heads: int
    rope_theta: float
    norm_epsilon: float

    @property
    def d(self) -> int:
        """Width of the residual stream."""
        return int(self.embed.shape[1])

    @property
    def head(self) -> int:
        """Width of one attention head."""
        return int(self.blocks[0].q.shape[0]) // self.heads


@dataclass(frozen=True, kw_only=True)
class State:
    """Everything one forward pass computed.

    Attributes
    ----------
    sites
        Output at `embed`, `attn_out.L`, `mlp_out.L`, `resid_post.L`, with `resid_mid.L` and
        `mlp_in.L` beside them: each (pos, d).
    logits
        (pos, vocab).
    """

    sites: Mapping[str, Float[Array, "pos d"]]
    logits: Float[Array, "pos vocab"]


# RMS normalisation: y = w * x / sqrt(mean(x^2) + epsilon)


def rms_norm(x: Array, weight: Array, epsilon: float) -> Array:
    """Normalise each position of `x` (pos, d) by its root mean square."""
    return weight * x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + epsilon)


def rms_norm_forward(x: Array, weight: Array, epsilon: float, change: Array) -> Array:
    """Give the first-order change of :func:`rms_norm` for a `change` (..., pos, d) of `x`."""
    scale = 1 / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + epsilon)
    along = np.mean(x * change, axis=-1, keepdims=True)
    return weight * (scale * change - scale**3 * along * x)


def rms_norm_reverse(x: Array, weight: Array, epsilon: float, gradient: Array) -> Array:
    """Carry a `gradient` (pos, d) at the output of :func:`rms_norm` to its input."""
    scale = 1 / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + epsilon)
    weighted = weight * gradient
    return scale * weighted - scale**3 * np.mean(x * weighted, axis=-1, keepdims=True) * x


# Rotary position embedding, in the half-split layout of Llama checkpoints


def rotate(x: Array, theta: float, *, back: bool = False) -> Array:
    """Rotate (..., pos, heads, head) by position; `back` undoes it, which is its transpose."""
    positions, width = x.shape[-3], x.shape[-1]
    frequency = theta ** (-np.arange(0, width, 2) / width)
    angle = np.arange(positions)[:, None, None] * frequency
    cosine, sine = np.cos(angle), -np.sin(angle) if back else np.sin(angle)
    first, second = x[..., : width // 2], x[..., width // 2 :]
    return np.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)


# Attention: softmax(q k^T / sqrt(head), causal) v


@dataclass(frozen=True, kw_only=True)
class Heads:
    """Rotated queries and keys, values, and the pattern (heads, query, key) of one layer."""

    q: Array
    k: Array
    v: Array
    pattern: Array


def _split(x: Array, heads: int) -> Array:
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)


def attention_heads(network: Network, block: Block, x: Array) -> Heads:
    """Compute queries, keys, values and pattern for normalised input `x` (pos, d)."""
    q = rotate(_split(x @ block.q.T, network.heads), network.rope_theta)
    k = rotate(_split(x @ block.k.T, network.heads), network.rope_theta)
    v = _split(x @ block.v.T, network.heads)
    scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(network.head)
    causal = np.tril(np.ones(scores.shape[-2:], dtype=bool))
    scores = np.where(causal, scores, -np.inf)
    pattern = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return Heads(q=q, k=k, v=v, pattern=pattern / pattern.sum(axis=-1, keepdims=True))


def attention(network: Network, block: Block, x: Array) -> Array:
    """Attention output (pos, d) for normalised input `x`."""
    heads = attention_heads(network, block, x)
    mixed = np.einsum("hqk,khd->qhd", heads.pattern, heads.v)
    return mixed.reshape(len(x), -1) @ block.o.T


def attention_forward(network: Network, block: Block, x: Array, change: Array) -> Array:
    """Change of :func:`attention` for a `change` (..., pos, d), patterns moving with it."""
    heads = attention_heads(network, block, x)
    dq = rotate(_split(change @ block.q.T, network.heads), network.rope_theta)
    dk = rotate(_split(change @ block.k.T, network.heads), network.rope_theta)
    dv = _split(change @ block.v.T, network.heads)
    dscores = (
        np.einsum("...qhd,khd->...hqk", dq, heads.k) + np.einsum("qhd,...khd->...hqk", heads.q, dk)
    ) / np.sqrt(network.head)
    # The pattern is 0 where the mask is, so masked scores drop out.
    mean = np.sum(heads.pattern * dscores, axis=-1, keepdims=True)
    dpattern = heads.pattern * (dscores - mean)
    mixed = np.einsum("...hqk,khd->...qhd", dpattern, heads.v)
    mixed += np.einsum("hqk,...khd->...qhd", heads.pattern, dv)
    return mixed.reshape(*change.shape[:-1], -1) @ block.o.T


def attention_reverse(network: Network, block: Block, x: Array, gradient: Array) -> Array:
    """Carry a `gradient` (pos, d) at the attention output to the normalised input."""
    heads = attention_heads(network, block, x)
    mixed = _split(gradient @ block.o, network.heads)
    to_pattern = np.einsum("qhd,khd->hqk", mixed, heads.v)
    mean = np.sum(heads.pattern * to_pattern, axis=-1, keepdims=True)
    to_scores = heads.pattern * (to_pattern - mean) / np.sqrt(network.head)
    to_q = rotate(np.einsum("hqk,khd->qhd", to_scores, heads.k), network.rope_theta, back=True)
    to_k = rotate(np.einsum("hqk,qhd->khd", to_scores, heads.q), network.rope_theta, back=True)
    to_v = np.einsum("hqk,qhd->khd", heads.pattern, mixed)
    rows = len(x)
    return (
        to_q.reshape(rows, -1) @ block.q
        + to_k.reshape(rows, -1) @ block.k
        + to_v.reshape(rows, -1) @ block.v
    )


# Gated MLP: down (silu(gate x) * up x)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def mlp(block: Block, x: Array) -> Array:
    """MLP output (pos, d) for normalised input `x`."""
    gate, up = x @ block.gate.T, x @ block.up.T
    return (gate * _sigmoid(gate) * up) @ block.down.T


def _mlp_slopes(block: Block, x: Array) -> tuple[Array, Array]:
    """Differentiate the hidden units by their gate and by their up inputs, each (pos, mlp)."""
    gate, up = x @ block.gate.T, x @ block.up.T
    on = _sigmoid(gate)
    return on * (1 + gate * (1 - on)) * up, gate * on


def mlp_forward(block: Block, x: Array, change: Array) -> Array:
    """First-order change of :func:`mlp` for a `change` (..., pos, d) of its input."""
    by_gate, by_up = _mlp_slopes(block, x)
    return (by_gate * (change @ block.gate.T) + by_up * (change @ block.up.T)) @ block.down.T


def mlp_reverse(block: Block, x: Array, gradient: Array) -> Array:
    """Carry a `gradient` (pos, d) at the MLP output to its normalised input."""
    by_gate, by_up = _mlp_slopes(block, x)
    hidden = gradient @ block.down
    return (hidden * by_gate) @ block.gate + (hidden * by_up) @ block.up


# The whole model


def forward(
    network: Network,
    ids: Int[Array, " pos"],
    replace: Mapping[str, Float[Array, "pos d"]] | None = None,
) -> State:
    """Run the model, with the outputs of some sites replaced.

    Parameters
    ----------
    network
        The weights.
    ids
        Token ids, the first one the beginning-of-sequence token.
    replace
        Site name to the value it takes in place of the computed one. What comes after a replaced
        site sees the replacement; other sites are computed as always.
    """
    replace = replace or {}
    sites: dict[str, Array] = {}

    def at(site: str, value: Array) -> Array:
        sites[site] = np.asarray(replace.get(site, value), dtype=np.float64)
        return sites[site]

    stream = at("embed", network.embed[ids])
    for layer, block in enumerate(network.blocks):
        normal = rms_norm(stream, block.attn_norm, network.norm_epsilon)
        middle = stream + at(f"attn_out.{layer}", attention(network, block, normal))
        sites[f"resid_mid.{layer}"] = middle
        read = rms_norm(middle, block.mlp_norm, network.norm_epsilon)
        sites[f"mlp_in.{layer}"] = read
        stream = middle + at(f"mlp_out.{layer}", mlp(block, read))
        stream = at(f"resid_post.{layer}", stream)
    final = rms_norm(stream, network.norm, network.norm_epsilon)
    return State(sites=sites, logits=final @ network.unembed.T)


def attention_path(network: Network, state: State, layer: int, change: Array) -> Array:
    """Change of `attn_out.layer` for a `change` (..., pos, d) of the stream before the layer."""
    before = state.sites["embed" if layer == 0 else f"resid_post.{layer - 1}"]
    block, epsilon = network.blocks[layer], network.norm_epsilon
    normal = rms_norm(before, block.attn_norm, epsilon)
    moved = rms_norm_forward(before, block.attn_norm, epsilon, change)
    return attention_forward(network, block, normal, moved)


def mlp_read_path(network: Network, state: State, layer: int, change: Array) -> Array:
    """Change of `mlp_in.layer` for a `change` (..., pos, d) of `resid_mid.layer`."""
    middle = state.sites[f"resid_mid.{layer}"]
    weight = network.blocks[layer].mlp_norm
    return rms_norm_forward(middle, weight, network.norm_epsilon, change)


def mlp_path(network: Network, state: State, layer: int, change: Array) -> Array:
    """Change of `mlp_out.layer` for a `change` (..., pos, d) of `resid_mid.layer`."""
    moved = mlp_read_path(network, state, layer, change)
    return mlp_forward(network.blocks[layer], state.sites[f"mlp_in.{layer}"], moved)


def gradients(
    network: Network, state: State, to_logits: Float[Array, "pos vocab"]
) -> dict[str, Float[Array, "pos d"]]:
    """Gradient at every site, all paths counted, of a scalar whose gradient at the logits is given.

    The gradient at a site is the derivative by what the site adds to the model at this `state`,
    with everything before the site held fixed.
    """
    epsilon = network.norm_epsilon
    last = state.sites[f"resid_post.{len(network.blocks) - 1}"]
    gradient = rms_norm_reverse(last, network.norm, epsilon, to_logits @ network.unembed)
    found: dict[str, Array] = {}
    for layer in reversed(range(len(network.blocks))):
        block = network.blocks[layer]
        found[f"resid_post.{layer}"] = found[f"mlp_out.{layer}"] = gradient
        middle = state.sites[f"resid_mid.{layer}"]
        to_read = mlp_reverse(block, state.sites[f"mlp_in.{layer}"], gradient)
        gradient = gradient + rms_norm_reverse(middle, block.mlp_norm, epsilon, to_read)
        found[f"attn_out.{layer}"] = gradient
        before = state.sites["embed" if layer == 0 else f"resid_post.{layer - 1}"]
        normal = rms_norm(before, block.attn_norm, epsilon)
        to_normal = attention_reverse(network, block, normal, gradient)
        gradient = gradient + rms_norm_reverse(before, block.attn_norm, epsilon, to_normal)
    found["embed"] = gradient
    return found

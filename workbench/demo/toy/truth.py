"""The true circuit of the toy model: node effects and edge weights, in float64, without autograd.

The definitions are those of sparse feature circuits (Marks et al. 2024, arXiv:2403.19647, section 3
and appendix A), spelled out at each function. At every site the activation is written
``x = decode(f) + error``; a node is one feature at one position, or the error vector at one
position.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from workbench.demo.toy import arithmetic
from workbench.demo.toy.arithmetic import Network, State
from workbench.demo.toy.dictionaries import Dictionary
from workbench.errors import InputError

Array = np.ndarray
Method = Literal["attrib", "ig", "exact"]
Metric = Literal["logit_difference", "negative_log_probability", "negative_logit"]
Endpoint = Literal["clean", "patch"]
Measure = Callable[[State], tuple[float, Array]]


@dataclass(frozen=True, kw_only=True)
class Split:
    """One site of one run, split into features and error.

    Attributes
    ----------
    features
        (pos, features).
    error
        (pos, d).
    """

    features: Float[Array, "pos features"]
    error: Float[Array, "pos d"]


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What a circuit finder must find for one pair of prompts.

    Node arrays have one column per feature and a last column for the error node. Edge arrays are
    indexed (upstream position, upstream node, downstream position, downstream node).

    Attributes
    ----------
    clean_metric, patch_metric
        The metric on the clean and on the patched prompt; with a zero baseline the latter is NaN.
    clean, patch
        Features and errors by dictionary name.
    effects
        Dictionary name to (pos, features + 1): effect of each node.
    gradients
        Dictionary name to the gradient by features (pos, features) and by error (pos, d), averaged
        over the steps. Empty for ``exact``.
    edges
        (upstream, downstream) names to (pos, features + 1, pos, features + 1). Empty for
        ``exact``.
    """

    clean_metric: float
    patch_metric: float
    clean: Mapping[str, Split]
    patch: Mapping[str, Split]
    effects: Mapping[str, Float[Array, "pos nodes"]]
    gradients: Mapping[str, Split]
    edges: Mapping[tuple[str, str], Float[Array, "pos nodes pos nodes"]]


def measure(
    logits: Float[Array, "pos vocab"], metric: Metric, clean_answer: int, patch_answer: int
) -> tuple[float, Float[Array, "pos vocab"]]:
    """Give the value of a metric at the last position and its gradient at the logits.

    ``logit_difference`` is logit(patch answer) - logit(clean answer);
    ``negative_log_probability`` and ``negative_logit`` are those of the clean answer.
    """
    last = logits[-1]
    gradient = np.zeros_like(logits)
    if metric == "logit_difference":
        gradient[-1, patch_answer] += 1
        gradient[-1, clean_answer] -= 1
        return float(last[patch_answer] - last[clean_answer]), gradient
    gradient[-1, clean_answer] = -1
    if metric == "negative_logit":
        return float(-last[clean_answer]), gradient
    odds = np.exp(last - last.max())
    gradient[-1] += odds / odds.sum()
    return float(-np.log(odds[clean_answer] / odds.sum())), gradient


def split(state: State, dictionary: Dictionary) -> Split:
    """Split a site into features and error: ``error = x - decode(encode(source))``."""
    features = dictionary.encode(state.sites[dictionary.source])
    return Split(
        features=features, error=state.sites[dictionary.site] - dictionary.decode(features)
    )


def zero(like: Split) -> Split:
    """Make the baseline without a paired prompt: no feature fires and the error is gone."""
    return Split(features=np.zeros_like(like.features), error=np.zeros_like(like.error))


def true_circuit(
    network: Network,
    dictionaries: Sequence[Dictionary],
    clean_ids: Int[Array, " pos"],
    patch_ids: Int[Array, " patch_pos"] | None,
    *,
    clean_answer: int,
    patch_answer: int,
    metric: Metric = "logit_difference",
    method: Method = "ig",
    steps: int = 10,
    endpoint: Endpoint = "clean",
) -> Truth:
    """Compute every node effect and every edge weight of one example.

    Parameters
    ----------
    network, dictionaries
        The model, and one dictionary per site.
    clean_ids, patch_ids
        Token ids of equal length; None for the zero baseline.
    clean_answer, patch_answer
        Token ids of the answers.
    metric
        See :func:`measure`.
    method
        ``attrib``: effect = (patch - clean) * gradient at the clean run. ``ig``: the gradient is
        the mean over the straight line from clean to patch of features and error together, one
        site at a time while all earlier sites stay clean. ``exact``: the measured change of the
        metric when one node alone takes its patch value.
    steps, endpoint
        For ``ig``: the points are k / steps with k = 0 .. steps - 1 (``clean``, as in the authors'
        code) or k = 1 .. steps (``patch``, as in the paper's equation).

    Returns
    -------
    Truth

    Raises
    ------
    InputError
        Prompts of different lengths.
    """
    if patch_ids is not None and len(patch_ids) != len(clean_ids):
        raise InputError(
            f"clean and patch prompts need equal lengths, got {len(clean_ids)} and {len(patch_ids)}"
        )

    def at(state: State) -> tuple[float, Array]:
        return measure(state.logits, metric, clean_answer, patch_answer)

    state = arithmetic.forward(network, clean_ids)
    clean = {each.name: split(state, each) for each in dictionaries}
    if patch_ids is None:
        patch, patch_metric = {name: zero(part) for name, part in clean.items()}, float("nan")
    else:
        patched = arithmetic.forward(network, patch_ids)
        patch = {each.name: split(patched, each) for each in dictionaries}
        patch_metric = at(patched)[0]
    averaged: dict[str, Split] = {}
    effects: dict[str, Array] = {}
    for each in dictionaries:
        ends = clean[each.name], patch[each.name]
        if method == "exact":
            effects[each.name] = _exact(network, clean_ids, each, ends, at)
            continue
        alphas = [0.0] if method == "attrib" else list(_points(steps, endpoint))
        averaged[each.name] = _mean_gradient(network, clean_ids, each, ends, alphas, at)
        effects[each.name] = _first_order(averaged[each.name], ends)
    return Truth(
        clean_metric=at(state)[0],
        patch_metric=patch_metric,
        clean=clean,
        patch=patch,
        effects=effects,
        gradients=averaged,
        edges=_edges(network, state, dictionaries, clean, patch, averaged) if averaged else {},
    )


def _points(steps: int, endpoint: Endpoint) -> Array:
    return (np.arange(steps) + (endpoint == "patch")) / steps


def _blend(ends: tuple[Split, Split], alpha: float) -> Split:
    clean, patch = ends
    return Split(
        features=(1 - alpha) * clean.features + alpha * patch.features,
        error=(1 - alpha) * clean.error + alpha * patch.error,
    )


def _whole(dictionary: Dictionary, part: Split) -> Array:
    return dictionary.decode(part.features) + part.error


def _mean_gradient(
    network: Network,
    ids: Array,
    dictionary: Dictionary,
    ends: tuple[Split, Split],
    alphas: Sequence[float],
    at: Measure,
) -> Split:
    """Gradient of the metric by features and by error, averaged over points of the line."""
    by_feature, by_error = np.zeros_like(ends[0].features), np.zeros_like(ends[0].error)
    for alpha in alphas:
        value = _whole(dictionary, _blend(ends, alpha))
        state = arithmetic.forward(network, ids, {dictionary.site: value})
        gradient = arithmetic.gradients(network, state, at(state)[1])[dictionary.site]
        by_error += gradient / len(alphas)
        by_feature += gradient @ dictionary.decoder.T / len(alphas)
    return Split(features=by_feature, error=by_error)


def _first_order(gradient: Split, ends: tuple[Split, Split]) -> Array:
    clean, patch = ends
    by_feature = (patch.features - clean.features) * gradient.features
    by_error = np.sum((patch.error - clean.error) * gradient.error, axis=-1)
    return np.concatenate([by_feature, by_error[:, None]], axis=-1)


def _exact(
    network: Network,
    ids: Array,
    dictionary: Dictionary,
    ends: tuple[Split, Split],
    at: Measure,
) -> Array:
    """Change of the metric when one node alone goes from its clean to its patch value."""
    clean, patch = ends
    positions, count = clean.features.shape
    before = at(arithmetic.forward(network, ids, {dictionary.site: _whole(dictionary, clean)}))[0]
    effects = np.zeros((positions, count + 1))
    for position in range(positions):
        for node in range(count + 1):
            features, error = clean.features.copy(), clean.error.copy()
            if node < count:
                features[position, node] = patch.features[position, node]
            else:
                error[position] = patch.error[position]
            value = _whole(dictionary, Split(features=features, error=error))
            state = arithmetic.forward(network, ids, {dictionary.site: value})
            effects[position, node] = at(state)[0] - before
    return effects


def edge_kinds(sites: Sequence[str]) -> list[tuple[str, str]]:
    """List the pairs of sites with a direct path, upstream first.

    Within a layer: attention to MLP, attention to residual (MLP stopped), MLP to residual; from
    the residual before it (the embedding for layer 0): to attention, to MLP (attention stopped),
    to residual (both stopped).
    """
    layers = sorted({int(site.partition(".")[2]) for site in sites if "." in site})
    found = []
    for layer in layers:
        before = "embed" if layer == 0 else f"resid_post.{layer - 1}"
        attn, mlp, after = f"attn_out.{layer}", f"mlp_out.{layer}", f"resid_post.{layer}"
        found += [(before, attn), (before, mlp), (before, after)]
        found += [(attn, mlp), (attn, after), (mlp, after)]
    return [pair for pair in found if set(pair) <= set(sites)]


def _edges(
    network: Network,
    state: State,
    dictionaries: Sequence[Dictionary],
    clean: Mapping[str, Split],
    patch: Mapping[str, Split],
    gradients: Mapping[str, Split],
) -> dict[tuple[str, str], Array]:
    """Weight = gradient at d * (change of d by u alone, on the direct path) * change of u."""
    by_site = {each.site: each for each in dictionaries}
    found = {}
    for up_site, down_site in edge_kinds(list(by_site)):
        up, down = by_site[up_site], by_site[down_site]
        moved = _node_changes(up, clean[up.name], patch[up.name])
        # What the direct path makes of each change, first at the site, then in features and error.
        layer = int(down_site.partition(".")[2])
        at_source = None
        if down_site.startswith("attn_out"):
            at_site = arithmetic.attention_path(network, state, layer, moved)
        elif down_site.startswith("mlp_out"):
            at_site = arithmetic.mlp_path(network, state, layer, moved)
            if down.source != down.site:
                at_source = arithmetic.mlp_read_path(network, state, layer, moved)
        else:
            at_site = moved  # the residual stream adds; both sublayers are stopped
        features = down.encode_change(
            state.sites[down.source], at_site if at_source is None else at_source
        )
        error = at_site - features @ down.decoder
        gradient = gradients[down.name]
        to_features = features * gradient.features
        to_error = np.sum(error * gradient.error, axis=-1, keepdims=True)
        found[up.name, down.name] = np.concatenate([to_features, to_error], axis=-1)
    return found


def _node_changes(dictionary: Dictionary, clean: Split, patch: Split) -> Array:
    """Change of the site (pos, nodes, pos, d) by each node's change alone."""
    delta = patch.features - clean.features
    positions, count = delta.shape
    changes = np.zeros((positions, count + 1, positions, dictionary.decoder.shape[1]))
    for position in range(positions):
        changes[position, :count, position] = delta[position, :, None] * dictionary.decoder
        changes[position, count, position] = (patch.error - clean.error)[position]
    return changes

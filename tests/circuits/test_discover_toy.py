"""Nodes and edges of the toy model equal the truth, for every method, baseline and metric."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.circuits.discovery import discover
from workbench.circuits.graph import Circuit
from workbench.circuits.tables import NODE_KINDS
from workbench.demo import toy
from workbench.demo.toy.truth import Truth
from workbench.session import Session

WITH_TRANSCODER = (
    *("embed", "attn_out.0", "transcoder.0", "resid_post.0"),
    *("attn_out.1", "mlp_out.1", "resid_post.1"),
)
METRICS = ("logit_difference", "negative_log_probability", "negative_logit")


def table(circuit: Circuit, toy_model: toy.ToyModel) -> dict[str, np.ndarray]:
    """Node effects laid out as the truth has them: (pos, features + error) by dictionary."""
    nodes = circuit.nodes
    width = len(circuit.tokens)
    found = {
        name: np.zeros((width, len(toy_model.dictionaries[name]) + 1))
        for name in circuit.settings["sites"]
    }
    for site, kind, index, position, effect in zip(
        nodes.site, nodes.kind, nodes.index, nodes.position, nodes.effect, strict=True
    ):
        if NODE_KINDS[kind] in ("feature", "error"):
            found[nodes.sites[site]][position, index] = effect
    return found


def edge_table(circuit: Circuit, truth: Truth) -> dict[tuple[str, str], np.ndarray]:
    """Edge weights laid out as the truth has them."""
    nodes = circuit.nodes
    found = {pair: np.zeros_like(array) for pair, array in truth.edges.items()}
    for source, target, weight in zip(
        circuit.edges.source, circuit.edges.target, circuit.edges.weight, strict=True
    ):
        up, down = nodes.sites[nodes.site[source]], nodes.sites[nodes.site[target]]
        if down == "output":
            continue
        found[up, down][
            nodes.position[source], nodes.index[source], nodes.position[target], nodes.index[target]
        ] = weight
    return found


def check(session: Session, toy_model: toy.ToyModel, pair: toy.Pair, sites, **options) -> Circuit:
    paired = options.pop("paired", True)
    truth = toy_model.truth(pair, sites=sites, paired=paired, **options)
    circuit = discover(
        session,
        [pair],
        sites=sites,
        baseline="patch" if paired else "zero",
        node_threshold=0,
        edge_threshold=0,
        **options,
    )
    assert circuit.m_clean == pytest.approx(truth.clean_metric, abs=1e-5)
    if paired:
        assert circuit.m_patch == pytest.approx(truth.patch_metric, abs=1e-5)
    found = table(circuit, toy_model)
    for name, effects in truth.effects.items():
        np.testing.assert_allclose(found[name], effects, atol=1e-5, rtol=1e-5, err_msg=name)
    if truth.edges:
        weights = edge_table(circuit, truth)
        for pair_of_sites, expected in truth.edges.items():
            # Edges run between nodes; the truth also lists those from or to nodes of no effect.
            up, down = pair_of_sites
            alive = (found[up] != 0)[:, :, None, None] & (found[down] != 0)[None, None]
            np.testing.assert_allclose(
                weights[pair_of_sites],
                np.where(alive, expected, 0),
                atol=1e-5,
                rtol=1e-5,
                err_msg=str(pair_of_sites),
            )
    return circuit


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("method", ["attrib", "ig", "exact"])
def test_nodes_and_edges_equal_the_truth(
    toy_session: Session, toy_model: toy.ToyModel, method: str, paired: bool, metric: str
) -> None:
    for pair in (toy_model.pairs[0], toy_model.pairs[-1]):
        for sites in (toy_model.sites, WITH_TRANSCODER):
            check(toy_session, toy_model, pair, sites, method=method, paired=paired, metric=metric)

"""Interventions against the toy model's own arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

import workbench as wb
from workbench.circuits.discovery import discover
from workbench.circuits.measured import EdgeMeasurement, Measurements, NodeMeasurement
from workbench.circuits.measuring import Interventions, measure
from workbench.circuits.tables import NODE_KINDS
from workbench.demo import toy
from workbench.demo.toy import arithmetic
from workbench.errors import InputError

SITES = (
    *("embed", "attn_out.0", "mlp_out.0", "resid_post.0"),
    *("attn_out.1", "mlp_out.1", "resid_post.1"),
)
WITH_TRANSCODER = tuple("transcoder.0" if name == "mlp_out.0" else name for name in SITES)


def find(session, pair, **options):
    return discover(session, [pair], node_threshold=0, edge_threshold=1e-3, **options)


def metric_of(toy_model, pair, values) -> float:
    last = arithmetic.forward(toy_model.network, toy_model.ids(pair.clean_prefix), values).logits[
        -1
    ]
    words = toy.construction.WORDS
    return float(
        last[words.index(pair.patch_answer.strip())] - last[words.index(pair.clean_answer.strip())]
    )


def changed(each, state, patched, position, index, code=None) -> np.ndarray:
    """The site's value with one node at its patch value (or, with `code`, as in that one)."""
    f, other = each.encode(state.sites[each.source]), each.encode(patched.sites[each.source])
    error = state.sites[each.site] - each.decode(f)
    other_error = patched.sites[each.site] - each.decode(other)
    if index >= 0:
        f[position, index] = other[position, index]
    else:
        error[position] = other_error[position]
    return each.decode(f) + error


@pytest.mark.parametrize("sites", [SITES, WITH_TRANSCODER], ids=["saes", "transcoder"])
@pytest.mark.parametrize("paired", [True, False], ids=["patch", "zero"])
def test_measured_nodes_are_the_exact_effects(toy_session, toy_model, sites, paired) -> None:
    pair = toy_model.pairs[2]
    options = {"sites": sites, "baseline": "patch" if paired else "zero"}
    options["metric"] = "logit_difference"
    circuit = find(toy_session, pair, method="attrib", **options)
    truth = toy_model.truth(pair, sites=sites, method="exact", paired=paired)
    found = measure(toy_session, circuit, edges=0)
    assert len(found.nodes) == len(circuit.nodes) - 1
    for row, name in enumerate(circuit.nodes.names()):
        if circuit.nodes.is_kind("output")[row]:
            continue
        site = circuit.nodes.sites[circuit.nodes.site[row]]
        expected = truth.effects[site][circuit.nodes.position[row], circuit.nodes.index[row]]
        assert found.node_measured[found.nodes.index(name)] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("sites", [SITES, WITH_TRANSCODER], ids=["saes", "transcoder"])
def test_measured_edges_go_through_the_direct_path_alone(toy_session, toy_model, sites) -> None:
    pair = toy_model.pairs[2]
    circuit = find(toy_session, pair, method="attrib", sites=sites)
    state, patched = (
        arithmetic.forward(toy_model.network, toy_model.ids(text))
        for text in (pair.clean_prefix, pair.patch_prefix)
    )
    nodes, checked = circuit.nodes, set()
    m_clean = metric_of(toy_model, pair, {})
    setup = Interventions(toy_session, circuit)
    order = [
        "embed",
        *(f"{kind}.{n}" for n in (0, 1) for kind in ("attn_out", "mlp_out", "resid_post")),
    ]
    edges = [
        (int(a), int(b))
        for a, b in zip(circuit.edges.source, circuit.edges.target, strict=True)
        if not nodes.is_kind("output")[b]
    ]
    rng = np.random.default_rng(0)
    edges = [edges[i] for i in rng.permutation(len(edges))[:60]]
    found = setup.edge_effects(edges)
    for (source, target), value in zip(edges, found, strict=True):
        up, down = (
            toy_model.dictionaries[nodes.sites[nodes.site[row]]] for row in (source, target)
        )
        here, there = ((int(nodes.position[r]), int(nodes.index[r])) for r in (source, target))
        between = order[order.index(up.site) + 1 : order.index(down.site)]
        values = {site: state.sites[site] for site in between if "resid" not in site}
        values[up.site] = changed(up, state, patched, *here)
        moved = arithmetic.forward(toy_model.network, toy_model.ids(pair.clean_prefix), values)
        after = changed(down, state, moved, *there)
        expected = metric_of(toy_model, pair, {down.site: after}) - m_clean
        assert value[0] == pytest.approx(expected, abs=1e-4), (up.name, down.name)
        checked.add((up.site.split(".")[0], down.site.split(".")[0]))
    assert len(checked) >= 5


def test_sublayers_that_are_not_split_belong_to_the_direct_path(toy_session, toy_model) -> None:
    """With nodes at the ends alone, everything between them is one path: attention moves it."""
    circuit = find(
        toy_session, toy_model.pairs[2], method="attrib", sites=("embed", "resid_post.1")
    )
    nodes, edges = circuit.nodes, circuit.edges
    inner = ~nodes.is_kind("output")[edges.target]
    moved = inner & (nodes.position[edges.source] < nodes.position[edges.target])
    assert moved.any()
    pairs = list(zip(edges.source[moved].tolist(), edges.target[moved].tolist(), strict=True))
    setup = Interventions(toy_session, circuit)
    measured = setup.edge_effects(pairs)[:, 0]
    assert (np.abs(measured) > 1e-3).any()
    for (source, target), effect in zip(pairs, measured, strict=True):
        change = setup.changed(target, setup.downstream(source))
        whole = setup.metrics_with([(target, setup.written(target, change))])[0]
        assert effect == pytest.approx(float(whole[0] - setup.m_clean[0]), abs=1e-5)


def test_one_node_shows_what_changes_downstream(toy_session, toy_model, tmp_path) -> None:
    pair = toy_model.pairs[2]
    circuit = find(toy_session, pair, method="ig", sites=SITES)
    names = circuit.nodes.names()
    row = int(np.argmax(np.abs(np.where(circuit.nodes.layer == 0, circuit.nodes.effect, 0))))
    found = circuit.measure(names[row])
    assert isinstance(found, NodeMeasurement)
    up = toy_model.dictionaries[circuit.nodes.sites[circuit.nodes.site[row]]]
    state, patched = (
        arithmetic.forward(toy_model.network, toy_model.ids(text))
        for text in (pair.clean_prefix, pair.patch_prefix)
    )
    here = int(circuit.nodes.position[row]), int(circuit.nodes.index[row])
    moved = arithmetic.forward(
        toy_model.network,
        toy_model.ids(pair.clean_prefix),
        {up.site: changed(up, state, patched, *here)},
    )
    for at, name in enumerate(found.downstream):
        other = circuit.nodes.find(name)
        if NODE_KINDS[circuit.nodes.kind[other]] != "feature":
            continue
        down = toy_model.dictionaries[circuit.nodes.sites[circuit.nodes.site[other]]]
        place = int(circuit.nodes.position[other]), int(circuit.nodes.index[other])
        assert found.before[at] == pytest.approx(
            down.encode(state.sites[down.source])[place], abs=1e-4
        )
        assert found.after[at] == pytest.approx(
            down.encode(moved.sites[down.source])[place], abs=1e-4
        )
    assert found.predicted == pytest.approx(circuit.nodes.effect[row])
    assert np.abs(found.after - found.before).max() > 1e-3
    read = wb.load(found.save(tmp_path / "node"))
    assert read.summary() == found.summary()


def test_summed_nodes_are_ablated_at_every_position(toy_session, toy_model) -> None:
    pairs = [toy_model.pairs[2], toy_model.pairs[3]]
    circuit = discover(
        toy_session, pairs, sites=SITES, aggregate="sum", node_threshold=0, edges=False
    )
    setup = Interventions(toy_session, circuit)
    row = next(r for r, n in enumerate(circuit.nodes.names()) if n.startswith("resid_post.0/"))
    index = int(circuit.nodes.index[row])
    each = toy_model.dictionaries["resid_post.0"]
    expected = []
    for pair in pairs:
        state, patched = (
            arithmetic.forward(toy_model.network, toy_model.ids(text))
            for text in (pair.clean_prefix, pair.patch_prefix)
        )
        f = each.encode(state.sites[each.site])
        error = state.sites[each.site] - each.decode(f)
        f[:, index] = each.encode(patched.sites[each.site])[:, index]
        after = metric_of(toy_model, pair, {each.site: each.decode(f) + error})
        expected.append(after - metric_of(toy_model, pair, {}))
    np.testing.assert_allclose(setup.node_effects([row])[0], expected, atol=1e-5)


def test_prediction_and_measurement_agree_on_the_toy(toy_session, toy_model, tmp_path) -> None:
    circuit = find(toy_session, toy_model.pairs[2], method="ig", sites=SITES)
    found = circuit.measure(edges=50)
    assert isinstance(found, Measurements)
    by_kind = found.correlations().set_index("kind")["pearson"]
    assert by_kind["nodes"] > 0.95
    # The toy's gated MLPs and top-k encoder bend more over a whole ablation than a gradient sees.
    assert by_kind["edges"] > 0.6
    assert len(found.plot().data) == 3
    assert len(found.to_pandas()) == len(found.nodes) + 50
    source, target = found.edges[0]
    edge = circuit.measure((source, target))
    assert isinstance(edge, EdgeMeasurement)
    assert edge.effect == pytest.approx(found.edge_measured[0], abs=1e-6)
    read = wb.load(found.save(tmp_path / "all"))
    assert read.edges == found.edges


def test_neurons_heads_and_tokens_can_be_ablated(toy_saved, toy_session, toy_model) -> None:
    pair = toy_model.pairs[2]
    options = {"method": "exact", "edges": False}
    for site, unit in {"z.1": "heads", "mlp_post.1": "neurons"}.items():
        exact = find(toy_session, pair, sites=[site], units=unit, **options)
        found = measure(toy_session, exact, edges=0)
        assert len(found.nodes), unit
        np.testing.assert_allclose(found.node_measured, found.node_predicted, atol=1e-5)
    only = {"resid_post.1": str(toy_saved.sae_dirs["resid_post.1"])}
    with wb.open(str(toy_saved.model_dir), saes=only, device="cpu") as bare:
        exact = find(bare, pair, **options)
        assert exact.nodes.is_kind("token").any()
        found = measure(bare, exact, edges=0)
        np.testing.assert_allclose(found.node_measured, found.node_predicted, atol=1e-5)


def test_what_is_not_there_is_refused(toy_session, toy_model) -> None:
    circuit = find(toy_session, toy_model.pairs[2], method="attrib", sites=SITES)
    with pytest.raises(InputError, match="did you mean"):
        circuit.measure("resid_post.0/1@9")
    with pytest.raises(InputError, match="no edge from"):
        circuit.measure((circuit.nodes.names()[3], circuit.nodes.names()[0]))
    with pytest.raises(InputError, match="metric itself"):
        circuit.measure(int(np.flatnonzero(circuit.nodes.is_kind("output"))[0]))
    prompt = toy_model.pairs[2]
    with pytest.raises(InputError, match="no patch prompts"):
        circuit.measure(0, pairs=[(prompt.clean_prefix, prompt.clean_answer)])

"""Discovery on the demo model against finite differences and brute-force ablation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.circuits.discovery import discover
from workbench.circuits.graph import Circuit
from workbench.demo import tasks
from workbench.session import Session

SITES = ["resid_post.0", "mlp_out.2", "resid_post.2"]


@pytest.fixture(scope="module")
def session() -> Session:
    return wb.open("demo")


@pytest.fixture(scope="module")
def pair() -> tasks.ContrastPair:
    return next(iter(tasks.load("agreement_across_rc", "test", n=1, seed=0)))


@pytest.fixture(scope="module")
def change(session: Session, pair: tasks.ContrastPair) -> Callable[..., float]:
    """Metric with one feature of one site moved, the error kept, minus the clean metric."""
    model = session.model
    answers = [model.single_token(word) for word in (pair.patch_answer, pair.clean_answer)]

    def metric(edits: dict) -> float:
        logits = model.run([pair.clean_prefix], edits=edits, logits="last").logits[0, 0].double()
        return float(logits[answers[0]] - logits[answers[1]])

    clean = metric({})

    def moved(
        name: str, index: int, position: int, by: float, base: torch.Tensor | None = None
    ) -> float:
        sae = session.saes[name]

        def edit(x: torch.Tensor) -> torch.Tensor:
            whole = (x if base is None else base).clone()
            whole[0, position] += by * sae.decoder_rows([index])[0]
            return whole

        return metric({sae.out_site: edit}) - clean

    return moved


def strongest(circuit: Circuit, site: str, n: int) -> list[tuple[int, int, float, float]]:
    """Index, position, change and effect of the strongest features of a site."""
    table = circuit.nodes_table()
    table = table[(table["site"] == site) & (table["kind"] == "feature")].head(n)
    return [
        (row.index_, row.position, row.patch_activation - row.activation, row.effect)
        for row in table.rename(columns={"index": "index_"}).itertuples()
    ]


def test_gradients_equal_finite_differences(session, pair, change) -> None:
    circuit = discover(session, [pair], method="attrib", sites=SITES, node_threshold=0, edges=False)
    for site in SITES:
        for index, position, delta, effect in strongest(circuit, site, 3):
            step = 0.02
            slope = (change(site, index, position, step) - change(site, index, position, -step)) / (
                2 * step
            )
            assert effect == pytest.approx(delta * slope, rel=0.02, abs=2e-3), (site, index)


@pytest.mark.parametrize("endpoint", ["clean", "patch"])
def test_integrated_gradients_equal_finite_differences_along_the_line(
    session, pair, change, endpoint: str
) -> None:
    site, steps = "resid_post.0", 4
    circuit = discover(
        session,
        [pair],
        sites=[site],
        steps=steps,
        endpoint=endpoint,
        node_threshold=0,
        edges=False,
    )
    ends = [
        session.run([text], capture=[site])[site] for text in (pair.clean_prefix, pair.patch_prefix)
    ]
    first = 0 if endpoint == "clean" else 1
    for index, position, delta, effect in strongest(circuit, site, 2):
        slopes = []
        for k in range(first, first + steps):
            base, step = torch.lerp(*ends, k / steps), 0.02
            high, low = (change(site, index, position, sign * step, base=base) for sign in (1, -1))
            slopes.append((high - low) / (2 * step))
        assert effect == pytest.approx(delta * np.mean(slopes), rel=0.02, abs=2e-3), index


def test_exact_equals_brute_force_patching(session, pair, change) -> None:
    circuit = discover(session, [pair], method="exact", sites=SITES, node_threshold=0)
    model = session.model
    for site in SITES:
        for index, position, delta, effect in strongest(circuit, site, 4):
            assert effect == pytest.approx(change(site, index, position, delta), abs=1e-3)
        sae = session.saes[site]
        errors = [
            sae.error(model.run([text], capture=[site])[site])
            for text in (pair.clean_prefix, pair.patch_prefix)
        ]
        table = circuit.nodes_table()
        table = table[(table["site"] == site) & (table["kind"] == "error")]
        position, effect = table.iloc[0][["position", "effect"]]

        def edit(x, at=int(position), errors=errors):
            moved = x.clone()
            moved[0, at] += (errors[1] - errors[0])[0, at]
            return moved

        answers = [model.single_token(word) for word in (pair.patch_answer, pair.clean_answer)]
        logits = [
            model.run([pair.clean_prefix], edits=edits, logits="last").logits[0, 0]
            for edits in ({}, {site: edit})
        ]
        values = [float(each[answers[0]] - each[answers[1]]) for each in logits]
        assert effect == pytest.approx(values[1] - values[0], abs=1e-3)


def test_integrated_gradients_are_complete_in_the_limit(session, pair) -> None:
    options = {"sites": SITES, "node_threshold": 0, "edges": False}
    both = [
        discover(session, [pair], steps=40, endpoint=endpoint, **options).sums
        for endpoint in ("clean", "patch")
    ]
    change = both[0].change
    assert np.abs(change).max() > 1
    # The mean of the two ends is the trapezoid rule.
    trapezoid = (both[0].effects + both[1].effects) / 2
    np.testing.assert_allclose(trapezoid, change, rtol=5e-3, atol=5e-3)
    rough = discover(session, [pair], steps=10, **options).sums
    assert (np.abs(rough.effects - change) < 0.25 * np.abs(change).max()).all()
    whole = discover(session, [pair], method="exact", **options).sums
    np.testing.assert_allclose(whole.change, change, atol=1e-3)


def test_the_session_finds_circuits_in_a_task(session, tmp_path) -> None:
    train = tasks.load("agreement_across_rc", "train", n=12, seed=0)
    circuit = session.circuit(train, node_threshold=0.2, edge_threshold=0.02)
    assert circuit.n_pairs + sum(circuit.dropped.values()) == 12
    assert circuit.m_clean < -3 < 3 < circuit.m_patch
    assert len(circuit.features) > 20
    # The effects pass through the last residual site undiminished.
    ratio = circuit.sums.to_pandas().set_index("site")["ratio"]
    assert ratio["resid_post.4"] == pytest.approx(1, abs=0.1)
    # Into the output come the last site's nodes, with their effects.
    into = circuit.edges_table().query("target.str.startswith('output')").set_index("source")
    nodes = circuit.nodes_table().set_index("node")["effect"]
    last = [name for name in into.index if name.startswith("resid_post.4/")]
    assert len(last) > 3
    np.testing.assert_allclose(into.loc[last, "weight"], nodes[last], rtol=1e-4)
    again = Circuit.from_json(circuit.to_json(tmp_path / "circuit.json"))
    assert again.nodes.names() == circuit.nodes.names()
    # The authors' filter leaves edges out in examples where a node is weak.
    strict = session.circuit(train, node_threshold=0.2, edge_threshold=0.02, filter="example")
    assert strict.nodes.names() == circuit.nodes.names()
    assert not np.array_equal(strict.edges.weight, circuit.edges.weight)

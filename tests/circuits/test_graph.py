"""The circuit as data: columns, names, smaller circuits, files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import workbench as wb
from workbench.circuits.graph import Circuit, Edges, Nodes, SiteSums
from workbench.errors import InputError, LoadError
from workbench.features.refs import FeatureRef
from workbench.types import Provenance


def make(n_pairs: int = 2) -> Circuit:
    """A small circuit with every kind of node."""
    nodes = Nodes(
        sites=("embed", "attn_out.0", "z.0", "mlp_post.0", "output"),
        site=[0, 0, 1, 1, 2, 3, 4],
        kind=[2, 0, 0, 1, 4, 3, 5],
        index=[7, 3, 417, -1, 2, 30, -1],
        position=[1, 1, 2, 2, 2, 2, 2],
        layer=[-1, -1, 0, 0, 0, 0, 2],
        effect=[0.5, -0.25, 0.125, 0.1, -0.75, 0.05, 0.0],
        activation=[1, 2, 3, 4, 5, 6, np.nan],
        patch_activation=[0, 0, 1, 1, 2, 2, np.nan],
    )
    edges = Edges(source=[0, 1, 2, 4, 2], target=[2, 4, 6, 6, 5], weight=[1, -2, 0.3, 0.1, -0.2])
    return Circuit(
        provenance=Provenance(model="tiny", model_fingerprint="0" * 16),
        nodes=nodes,
        edges=edges,
        tokens=("<s>", "the", " cat"),
        prompts=tuple({"clean_prefix": "the cat", "case": i} for i in range(n_pairs)),
        dropped={"answer is not one token": 3},
        metric="logit difference",
        method="ig",
        m_clean=-1.5,
        m_patch=float("nan"),
        sums=SiteSums(sites=("embed",), effects=[0.25], change=[0.5]),
        settings={"steps": 10, "endpoint": "clean"},
    )


def test_every_kind_of_node_has_a_name_that_finds_it() -> None:
    nodes = make().nodes
    assert nodes.names() == [
        "embed/token7@1",
        "embed/3@1",
        "attn_out.0/417@2",
        "attn_out.0/error@2",
        "z.0/head2@2",
        "mlp_post.0/neuron30@2",
        "output/metric@2",
    ]
    assert [nodes.find(name) for name in nodes.names()] == list(range(7))
    assert list(nodes.rows(["attn_out.0/417", FeatureRef("embed", 3)])) == [1, 2]
    with pytest.raises(InputError, match=r"did you mean 'attn_out.0/417@2'"):
        nodes.find("attn_out.0/418@2")
    with pytest.raises(InputError, match="mask of shape"):
        nodes.rows(np.ones(3, dtype=bool))


def test_features_come_strongest_first_and_once() -> None:
    assert [str(ref) for ref in make().features] == ["embed/3", "attn_out.0/417"]
    summed = dataclasses.replace(make().nodes, index=[7, 417, 417, -1, 2, 30, -1])
    summed = dataclasses.replace(summed, site=[0, 1, 1, 1, 2, 3, 4])
    assert [str(ref) for ref in summed.features] == ["attn_out.0/417"]


def test_columns_must_fit() -> None:
    nodes = make().nodes
    with pytest.raises(InputError, match="differ in length"):
        dataclasses.replace(nodes, index=[1, 2])
    with pytest.raises(InputError, match="of 1 sites"):
        dataclasses.replace(nodes, sites=("embed",))
    with pytest.raises(InputError, match="edge targets point to nodes 2 to 7"):
        dataclasses.replace(make(), edges=Edges(source=[0, 1], target=[2, 7], weight=[1, 1]))


def test_pruning_keeps_the_output_and_edges_between_what_stays() -> None:
    small = make().prune(node_threshold=0.11, edge_threshold=0.15)
    assert small.nodes.names() == [
        "embed/token7@1",
        "embed/3@1",
        "attn_out.0/417@2",
        "z.0/head2@2",
        "output/metric@2",
    ]
    pairs = small.edges_table()[["source", "target"]].to_numpy().tolist()
    assert pairs == [
        ["embed/3@1", "z.0/head2@2"],
        ["embed/token7@1", "attn_out.0/417@2"],
        ["attn_out.0/417@2", "output/metric@2"],
    ]
    assert (small.node_threshold, small.edge_threshold) == (0.11, 0.15)
    # Lower thresholds than the circuit was found with cannot bring nodes back.
    assert small.prune(node_threshold=0.0).node_threshold == 0.11
    with pytest.raises(InputError, match="node_threshold"):
        small.prune(node_threshold=-1)


def test_subgraph_takes_masks_rows_and_names() -> None:
    circuit = make()
    mask = np.zeros(7, dtype=bool)
    mask[[1, 4]] = True
    for keep in (mask, [1, 4], ["embed/3@1", "z.0/head2@2"]):
        small = circuit.subgraph(keep)
        assert small.nodes.names() == ["embed/3@1", "z.0/head2@2"]
        assert small.edges_table().to_numpy().tolist() == [["embed/3@1", "z.0/head2@2", -2.0]]


def same(a: Circuit, b: Circuit) -> None:
    for field in dataclasses.fields(Circuit):
        left, right = getattr(a, field.name), getattr(b, field.name)
        if field.name in ("nodes", "edges", "sums"):
            for column in dataclasses.fields(left):
                x, y = getattr(left, column.name), getattr(right, column.name)
                if isinstance(x, np.ndarray):
                    assert x.dtype == y.dtype
                    np.testing.assert_array_equal(x, y)
                else:
                    assert x == y
        elif isinstance(left, float) and np.isnan(left):
            assert np.isnan(right)
        else:
            assert left == right, field.name


def test_json_round_trip_is_the_identity(tmp_path: Path) -> None:
    circuit = make()
    odd = np.float32(0.1) + np.arange(7, dtype=np.float32) / np.float32(3)
    circuit = dataclasses.replace(circuit, nodes=dataclasses.replace(circuit.nodes, effect=odd))
    text = circuit.to_json(tmp_path / "circuit.json")
    same(circuit, Circuit.from_json(text))
    same(circuit, Circuit.from_json(tmp_path / "circuit.json"))
    assert [path.name for path in tmp_path.iterdir()] == ["circuit.json"]


def test_saved_results_come_back(tmp_path: Path) -> None:
    loaded = wb.load(make().save(tmp_path / "circuit"))
    assert isinstance(loaded, Circuit)
    same(make(), loaded)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema version 2"),
        ({"kind": "recipe"}, "not a circuit"),
        ({"metric": 3}, "at 'metric'"),
        ({"edges": {"source": [0], "target": [99], "weight": [1.0]}}, "not consistent"),
        ({"edges": {"source": [0], "target": [2**40], "weight": [1.0]}}, "not consistent"),
        ({"nodes": {}}, "at 'nodes.site'"),
        ({"sites": ["embed"]}, "of 1 sites"),
    ],
)
def test_a_bad_file_is_refused_with_the_reason(change: dict, message: str) -> None:
    document = json.loads(make().to_json()) | change
    with pytest.raises(LoadError, match=message):
        Circuit.from_json(json.dumps(document))


def test_checks_need_a_session() -> None:
    with pytest.raises(InputError, match="has no session"):
        make().faithfulness([])

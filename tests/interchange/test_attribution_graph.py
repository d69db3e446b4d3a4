"""Attribution graphs of circuit-tracer and Neuronpedia: read, changed, written."""

from __future__ import annotations

import copy
import gzip
import json

import numpy as np
import pytest
from browser import circuits

import workbench.results as results
from workbench.circuits.graph import NODE_KINDS
from workbench.errors import InputError, LoadError
from workbench.interchange import attribution_graph
from workbench.interchange.graph_urls import pair, parse_graph_url


def node(node_id, kind, layer, position, **more):
    made = {
        "node_id": node_id,
        "feature": 0,
        "layer": str(layer),
        "ctx_idx": position,
        "feature_type": kind,
        "token_prob": 0.0,
        "is_target_logit": False,
        "run_idx": 0,
        "reverse_ctx_idx": 0,
        "jsNodeId": node_id + "-0",
        "clerp": "",
        "influence": None,
        "activation": None,
    }
    return {**made, **more}


FEATURE, ERROR = "cross layer transcoder", "mlp reconstruction error"


def document():
    """A graph of two layers in which an error node shares its name with a feature."""
    return {
        "metadata": {
            "slug": "dallas-austin",
            "scan": "gemma-2-2b",
            "transcoder_list": [],
            "prompt_tokens": ["<bos>", "Dallas", " is"],
            "prompt": "Dallas is",
            "node_threshold": 0.8,
            "schema_version": 1,
            "info": {"creator_name": "someone", "unknown": [1, None]},
            "feature_details": {"neuronpedia_source_set": "gemmascope-transcoder-16k"},
        },
        "qParams": {
            "pinnedIds": ["0_1_1", "E_99_1", "gone_from_here"],
            "supernodes": [["Texas", "0_1_1", "1_20_2"], ["of nothing", "gone_from_here"]],
            "linkType": "both",
            "clickedId": "1_20_2",
            "sg_pos": "1 2",
        },
        "nodes": [
            node("E_99_1", "embedding", "E", 1, feature=1, influence=0.9),
            node("0_1_1", FEATURE, 0, 1, feature=pair(0, 1), activation=2.5, clerp="Texas <b>"),
            # Layer 1's error at position 1, as older files name it: the name of the feature above.
            node("0_1_1", ERROR, 1, 1, feature=-1),
            node("1_20_2", FEATURE, 1, 2, feature=pair(1, 20), activation=4.0, influence=0.4),
            node("3_7_2", "logit", 3, 2, feature=7, token_prob=0.75, clerp='Output " Austin"'),
            node("3_8_2", "logit", 3, 2, feature=8, token_prob=0.25),
        ],
        "links": [
            {"source": "E_99_1", "target": "0_1_1", "weight": 1.5},
            {"source": "0_1_1", "target": "1_20_2", "weight": -3.0},
            {"source": "E_99_1", "target": "1_20_2", "weight": 1.0, "note": "kept"},
            {"source": "1_20_2", "target": "3_7_2", "weight": 2.0},
            {"source": "0_1_1", "target": "3_7_2", "weight": 0.5},
            {"source": "0_1_1", "target": "3_7_2", "weight": 1.5},
            {"source": "E_99_1", "target": "3_8_2", "weight": 0.1},
        ],
    }


def write(graph, tmp_path):
    attribution_graph.save(graph, tmp_path / "out.json")
    return json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))


def test_a_graph_is_read_as_a_circuit():
    graph = attribution_graph.load(document())
    assert graph.nodes.names() == [
        "embed/token99@1",
        "transcoder.0/1@1",
        "transcoder.1/error@1",
        "transcoder.1/20@2",
        "output/token7@2",
        "output/token8@2",
    ]
    assert graph.tokens == ("<bos>", "Dallas", " is")
    assert graph.labels["transcoder.0/1@1"] == "Texas <b>"
    assert graph.pinned == ("transcoder.0/1@1", "embed/token99@1")
    assert [dict(group) for group in graph.supernodes] == [
        {"name": "Texas", "nodes": ["transcoder.0/1@1", "transcoder.1/20@2"], "collapsed": True}
    ]
    assert list(map(str, graph.features)) == ["transcoder.0/1", "transcoder.1/20"]
    assert graph.nodes.activation[1] == 2.5


def test_an_error_node_that_shares_a_feature_s_name_is_told_apart():
    graph = attribution_graph.load(document())
    links = graph.edges_table().set_index(["source", "target"])["weight"]
    # Links into the name end at the feature; the error of layer 1 cannot reach layer 1.
    assert links[("embed/token99@1", "transcoder.0/1@1")] == 1.5
    assert links[("transcoder.0/1@1", "transcoder.1/20@2")] == -3.0
    # Two links of one name: one each.
    assert links[("transcoder.0/1@1", "output/token7@2")] == 0.5
    assert links[("transcoder.1/error@1", "output/token7@2")] == 1.5
    assert "share" in graph.notes[0]


def test_newer_error_names_do_not_collide():
    made = document()
    made["nodes"][2]["node_id"] = "1_-1_1"
    made["links"][5]["source"] = "1_-1_1"
    graph = attribution_graph.load(made)
    assert graph.notes == ()
    assert graph.edges_table()["source"].tolist().count("transcoder.1/error@1") == 1


def all_paths(graph):
    """Influence by listing every path: normalised absolute weights, weighted by probability."""
    names = graph.nodes.names()
    weight = np.abs(graph.edges.weight.astype(float))
    total = np.bincount(graph.edges.target, weight, len(names))
    into = [[] for _ in names]
    for s, t, w in zip(graph.edges.source, graph.edges.target, weight, strict=True):
        into[t].append((int(s), w / total[t]))
    found = np.zeros(len(names))

    def follow(at, share):
        for source, rate in into[at]:
            found[source] += share * rate
            follow(source, share * rate)

    outputs = np.flatnonzero(graph.nodes.is_kind("output"))
    for output, probability in zip(outputs, (0.75, 0.25), strict=True):
        follow(int(output), probability)
    found /= found.sum()
    return found


def test_influence_is_what_every_path_adds():
    graph = attribution_graph.load(document())
    expected = all_paths(graph)
    inner = ~graph.nodes.is_kind("output")
    assert graph.nodes.effect[inner] == pytest.approx(expected[inner], rel=1e-6)
    assert graph.nodes.effect[~inner].tolist() == [0.75, 0.25]
    assert graph.nodes.effect[inner].sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("number", "node_id"),
    [(pair(1, 20), "x"), (100_020, "x"), (20, "x"), (0, "1_20_2"), (None, "1_20_2")],
)
def test_features_are_numbered_in_every_known_way(number, node_id):
    made = document()
    old = made["nodes"][3]["node_id"]
    made["nodes"][3].update(feature=number, node_id=node_id)
    for link in made["links"]:
        link.update({k: node_id for k in ("source", "target") if link[k] == old})
    assert "transcoder.1/20@2" in attribution_graph.load(made).nodes.names()


def test_writing_what_was_read_is_the_identity(tmp_path):
    made = document()
    graph = attribution_graph.load(made)
    assert write(graph, tmp_path) == made
    assert attribution_graph.lost(graph) == []
    again = results.load(graph.save(tmp_path / "graph.wb"))
    assert write(again, tmp_path) == made
    assert write(again.subgraph(np.ones(len(again.nodes), bool)), tmp_path) == made


def test_only_what_changed_is_written_over(tmp_path):
    import dataclasses

    made = document()
    graph = attribution_graph.load(made)
    names = graph.nodes.names()
    changed = dataclasses.replace(
        graph,
        labels={**graph.labels, names[3]: "say Austin"},
        pinned=(names[3],),
        supernodes=({"name": "all", "nodes": [names[1], names[3]], "collapsed": False},),
    )
    found = write(changed, tmp_path)
    assert found["nodes"][3]["clerp"] == "say Austin"
    assert found["qParams"]["pinnedIds"] == ["1_20_2"]
    assert found["qParams"]["supernodes"] == [["all", "0_1_1", "1_20_2"]]
    assert found["links"] == made["links"]
    assert found["metadata"] == made["metadata"]
    small = write(graph.subgraph([names[0], names[3], names[4]]), tmp_path)
    assert [one["node_id"] for one in small["nodes"]] == ["E_99_1", "1_20_2", "3_7_2"]
    assert [link["weight"] for link in small["links"]] == [1.0, 2.0]
    assert small["links"][0]["note"] == "kept"


def test_our_circuits_are_written_in_the_format_s_terms(tmp_path):
    circuit = circuits.agreement()
    said = attribution_graph.save(
        circuit,
        tmp_path / "ours.json",
        labels=circuits.LABELS,
        pinned=["resid_post.3/212@6"],
        supernodes=[{"name": "number", "nodes": ["resid_post.0/31@2", "resid_post.1/640@2"]}],
    )
    assert any("numbered by site" in line for line in said)
    graph = attribution_graph.load(tmp_path / "ours.json")
    # What both express comes back: kinds, indices, positions, tokens, labels, weights, groups.
    for name in ("index", "position", "kind"):
        mine, theirs = getattr(circuit.nodes, name), getattr(graph.nodes, name)
        keep = ~circuit.nodes.is_kind("output")
        assert (mine[keep] == theirs[keep]).all()
    assert graph.tokens == circuit.tokens
    assert (graph.edges.source == circuit.edges.source).all()
    assert (graph.edges.target == circuit.edges.target).all()
    assert (graph.edges.weight == circuit.edges.weight).all()
    features = circuit.nodes.is_kind("feature")
    assert (graph.nodes.activation[features] == circuit.nodes.activation[features]).all()
    assert sorted(graph.labels.values()) == sorted([*circuits.LABELS.values(), "logit difference"])
    assert [NODE_KINDS[graph.nodes.kind[graph.nodes.find(name)]] for name in graph.pinned] == [
        "feature"
    ]
    assert graph.supernodes[0]["name"] == "number"
    ids = [one["node_id"] for one in json.loads((tmp_path / "ours.json").read_text())["nodes"]]
    assert len(ids) == len(set(ids)) == len(circuit.nodes)
    # Once in the format, a second round changes nothing.
    assert write(graph, tmp_path) == json.loads((tmp_path / "ours.json").read_text())


def test_stored_influence_of_our_circuits_runs_from_the_strongest(tmp_path):
    attribution_graph.save(circuits.agreement(), tmp_path / "ours.json")
    graph = attribution_graph.load(tmp_path / "ours.json")
    inner = ~graph.nodes.is_kind("output")
    strength = np.abs(circuits.agreement().nodes.effect)[inner]
    order = np.argsort(-strength, kind="stable")
    expected = np.cumsum(strength[order]) / strength.sum()
    assert graph.influence[inner][order] == pytest.approx(expected, rel=1e-6)


def test_heads_and_neurons_are_left_out_and_listed(tmp_path):
    rows = [("z.1", "head", 3, 1, 1, 0.5), *circuits._NODES[-2:]]
    circuit = circuits.agreement(rows, [(0, 2, 0.5), (1, 2, 0.25)])
    said = attribution_graph.save(circuit, tmp_path / "heads.json")
    assert any(line.startswith("1 heads") for line in said)
    assert len(json.loads((tmp_path / "heads.json").read_text())["links"]) == 1


def test_addresses_carry_pins_and_supernodes():
    graph = attribution_graph.load(document())
    link = parse_graph_url(graph.url)
    assert (link.model, link.slug) == ("gemma-2-2b", "dallas-austin")
    assert [one.node_id for one in link.pinned] == ["0_1_1", "E_99_1"]
    bare = graph.with_link(parse_graph_url(f"{graph.url.split('&')[0]}"))
    assert bare.pinned == ()
    assert bare.with_link(link).pinned == graph.pinned
    assert bare.with_link(link).supernodes == graph.supernodes
    page = graph.feature_link("transcoder.1/20@2")
    assert page.url.endswith("/gemma-2-2b/1-gemmascope-transcoder-16k/20")
    with pytest.raises(InputError, match="not a feature"):
        graph.feature_link("transcoder.1/error@1")
    with pytest.raises(InputError, match="'dallas-austin'"):
        graph.with_link(parse_graph_url(graph.url.replace("dallas", "houston")))


def test_features_take_the_names_of_attached_saes():
    graph = attribution_graph.load(document()).with_saes({0: "mine.0"})
    assert list(map(str, graph.features)) == ["mine.0/1", "transcoder.1/20"]
    assert graph.pinned[0] == "mine.0/1@1"
    assert graph.labels["mine.0/1@1"] == "Texas <b>"


def test_plain_and_gzipped_files(tmp_path):
    text = json.dumps(document())
    (tmp_path / "a.json").write_text(text)
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(text.encode()))
    plain, packed = (attribution_graph.load(tmp_path / name) for name in ("a.json", "b.json.gz"))
    assert plain.nodes.names() == packed.nodes.names()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("links"), "not an attribution graph"),
        (lambda d: d["nodes"][0].update(ctx_idx="far"), "nodes.0.ctx_idx"),
        (lambda d: d["nodes"][0].update(feature_type="magic"), "expected one of"),
        (lambda d: d["links"][0].update(source="nobody"), "not there"),
        (lambda d: d["nodes"][1].update(layer="ground"), "layer 'ground'"),
        (lambda d: d["nodes"].append(copy.deepcopy(d["nodes"][0])), "there twice"),
        (lambda d: d["links"][0].pop("weight"), "links.0.weight"),
    ],
)
def test_damaged_graphs_are_refused_with_the_place(change, message):
    made = document()
    change(made)
    with pytest.raises(LoadError, match=message):
        attribution_graph.load(made)

"""Two circuits side by side."""

from __future__ import annotations

import numpy as np
import pytest
from browser import circuits

import workbench.results as results
from workbench.circuits.diff import compare
from workbench.errors import InputError

A = [
    ("resid_post.0", "feature", 3, 1, 0, 0.5),
    ("resid_post.0", "feature", 3, 2, 0, 0.25),
    ("resid_post.1", "feature", 8, 2, 1, 1.0),
    ("output", "output", -1, 2, 2, 2.0),
]
B = [
    ("resid_post.0", "feature", 3, 1, 0, 0.125),
    ("resid_post.1", "feature", 8, 2, 1, -1.0),
    ("resid_post.1", "feature", 9, 2, 1, 0.75),
    ("output", "output", -1, 2, 2, 2.5),
]
EA = [(0, 2, 0.5), (1, 2, 0.25), (2, 3, 1.0)]
EB = [(0, 1, -0.5), (2, 3, 0.75), (1, 3, -1.0)]


def sides(**changes):
    return circuits.agreement(A, EA, tokens=("a", "b", "c")), circuits.agreement(
        B, EB, **{"tokens": ("a", "b", "c"), **changes}
    )


def test_nodes_are_aligned_by_name_and_subtracted():
    made = compare(*sides(), names=("before", "after"))
    assert made.aligned == "node"
    table = made.nodes_table().set_index("node")
    assert table["effect"].to_dict() == {
        "resid_post.0/3@1": -0.375,
        "resid_post.0/3@2": -0.25,
        "resid_post.1/8@2": -2.0,
        "output/metric@2": 0.5,
        "resid_post.1/9@2": 0.75,
    }
    assert table["in"].to_dict() == {
        "resid_post.0/3@1": "both",
        "resid_post.0/3@2": "before",
        "resid_post.1/8@2": "both",
        "output/metric@2": "both",
        "resid_post.1/9@2": "after",
    }
    edges = made.edges_table().set_index(["source", "target"])
    assert edges.loc[("resid_post.0/3@1", "resid_post.1/8@2")].tolist() == [-1.0, 0.5, -0.5]
    assert edges.loc[("resid_post.1/9@2", "output/metric@2")].tolist() == [0.75, 0.0, 0.75]
    assert len(edges) == 4
    assert "3 nodes in both, 1 only in before, 1 only in after" in made.summary()


def test_other_tokens_are_aligned_by_feature_summed_over_positions():
    made = compare(*sides(tokens=("x", "y", "z")))
    assert made.aligned == "feature"
    effects = made.nodes_table().set_index("node")
    assert effects.loc["resid_post.0/3", "effect"] == pytest.approx(0.125 - 0.75)
    edge = (
        made.edges_table().set_index(["source", "target"]).loc[("resid_post.0/3", "resid_post.1/8")]
    )
    assert edge.tolist() == pytest.approx([-0.5 - 0.75, 0.75, -0.5])
    assert made.tokens == ()


def test_swapping_sides_turns_every_sign():
    first, second = sides()
    ahead, back = compare(first, second), compare(second, first)
    there = ahead.nodes_table().set_index("node")["effect"]
    here = back.nodes_table().set_index("node")["effect"]
    assert (there == -here.loc[there.index]).all()
    same = compare(first, first)
    assert not same.nodes.effect.any()
    assert not same.edges.weight.any()
    assert (same.sides.presence == 3).all()


def test_a_comparison_is_saved_cut_and_read(tmp_path):
    made = compare(*sides())
    again = results.load(made.save(tmp_path / "diff.wb"))
    assert again.nodes_table().equals(made.nodes_table())
    small = made.subgraph(["resid_post.1/8@2", "output/metric@2"])
    assert small.sides.effects[0].tolist() == [1.0, 2.0]
    assert small.edges.weight.tolist() == [np.float32(-2.0)]
    assert small.sides.weights[1].tolist() == [-1.0]


def test_what_cannot_be_compared_is_refused():
    first, second = sides()
    with pytest.raises(InputError, match="different metrics"):
        compare(first, circuits.agreement(B, EB, metric="KL"))
    with pytest.raises(InputError, match="two names"):
        compare(first, second, names=("a", "a"))
    with pytest.raises(InputError, match="align"):
        compare(first, second, align="label")

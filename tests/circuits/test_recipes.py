"""From a circuit to a steering recipe and back."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.circuits.discovery import discover
from workbench.errors import InputError
from workbench.features.refs import FeatureSet
from workbench.steering.recipe import Recipe


def test_a_circuit_becomes_a_recipe_and_comes_back(toy_session, toy_model) -> None:
    circuit = discover(
        toy_session,
        [toy_model.pairs[2]],
        node_threshold=0.05,
        edges=False,
        method="attrib",
        sites=("attn_out.0", "resid_post.0", "attn_out.1", "resid_post.1"),
    )
    assert len(circuit.features) > 3
    recipe = Recipe.from_features(circuit.features, "ablate")
    assert recipe.features == circuit.features
    back = circuit.subgraph(recipe.features)
    # The features come back at all of their positions; errors and the output are no features.
    kept = circuit.nodes.is_kind("feature")
    assert back.nodes.names() == [n for n, k in zip(circuit.nodes.names(), kept, strict=True) if k]
    np.testing.assert_array_equal(back.nodes.effect, circuit.nodes.effect[kept])
    few = Recipe.from_features(circuit.features[:2], "ablate")
    assert set(circuit.subgraph(few.features).features) == set(circuit.features[:2])
    with pytest.raises(InputError):
        circuit.subgraph(FeatureSet.of("mlp_out.1/0"))

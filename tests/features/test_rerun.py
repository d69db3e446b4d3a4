from __future__ import annotations

import checkpoints
import index_fixtures
import numpy as np
import pytest
import sae_fixtures

import workbench as wb
from workbench.features.refs import FeatureRef
from workbench.features.rerun import activations_again, context_row

SAE = "resid_post.1"


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    root = tmp_path_factory.mktemp("rerun")
    model = checkpoints.write("llama", root / "tiny")
    sae = sae_fixtures.save_sae(root / "sae", sae_fixtures.make_module("topk", d_in=32, d_sae=24))
    with wb.open(model, saes={SAE: sae}, device="cpu") as opened:
        opened.index(index_fixtures.texts(40), root / "index", **index_fixtures.OPTIONS)
        yield opened


@pytest.mark.parametrize("most", [1, 60, 4096])
def test_contexts_run_again_have_their_activations(session, monkeypatch, most):
    """However many rows share a batch, whatever their lengths."""
    monkeypatch.setattr("workbench.features.rerun._BATCH_TOKENS", most)
    shown = session.feature(f"{SAE}/5")
    contexts = [context for group in shown.groups for context in group.contexts]
    rows = [context_row(session.opened_index, context) for context in contexts]
    asked = []
    again = activations_again(
        session, FeatureRef(SAE, 5), contexts, rows, lambda done, total: asked.append((done, total))
    )
    assert len(contexts) > 10
    for context, values in zip(contexts, again, strict=True):
        known = ~np.isnan(context.values)
        np.testing.assert_allclose(values[known], context.values[known], atol=1e-4)
    assert asked[0] == (0, len(contexts))
    assert (len(asked) == len(contexts)) == (most == 1)


def test_rows_begin_where_the_index_began_them(session):
    index = session.opened_index
    context = session.feature(f"{SAE}/5", window=2).strongest
    row = context_row(index, context)
    assert np.array_equal(row[-len(context.tokens) :], context.token_ids)
    assert context.start + len(context.tokens) - len(row) in set(index.rows.tolist())
    assert context_row(None, context) is None

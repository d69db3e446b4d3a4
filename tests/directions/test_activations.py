"""One reading of texts equals reading them one by one; pooling equals writing the codes out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from workbench.directions.activations import capture, pool_codes, pool_dense
from workbench.errors import InputError, TokenError

TEXTS = ["the dog near the cars really", "the cats", "the birds behind the tree always", "the dog"]


@pytest.mark.parametrize("used", ["all", "last"])
def test_equals_reading_texts_one_by_one(toy_session, used):
    acts = capture(
        toy_session,
        TEXTS,
        sites=["resid_post.0", "mlp_out.1"],
        saes=["resid_post.0", "transcoder.0"],
        used=used,
        batch_size=3,
    )
    assert len(acts) == 4
    for number, text in enumerate(TEXTS):
        tokens = toy_session.tokens(text)
        own = (~tokens.special[0]).numpy()
        rows = np.flatnonzero(own) if used == "all" else [len(own) - 1]
        here = slice(acts.starts[number], acts.starts[number + 1])
        ran = toy_session.run(tokens, capture=["resid_post.0", "mlp_out.1", "mlp_in.0"])
        for site in ("resid_post.0", "mlp_out.1"):
            expected = ran[site][0].numpy()[rows]
            np.testing.assert_allclose(acts.acts[site][here].numpy(), expected, atol=1e-5)
        for name, site in (("resid_post.0", "resid_post.0"), ("transcoder.0", "mlp_in.0")):
            code = toy_session.saes[name].encode(ran[site]).to_dense()[0].numpy()[rows]
            np.testing.assert_allclose(acts.codes[name][here].toarray(), code, atol=1e-5)
        assert acts.strings[number] == tuple(tokens.strings[0][row] for row in rows)


def test_select_takes_texts_in_the_given_order(toy_session):
    acts = capture(toy_session, TEXTS, sites=["resid_post.0"], saes=["resid_post.0"])
    some = acts.select([2, 0])
    assert some.texts == (TEXTS[2], TEXTS[0])
    assert some.strings == (acts.strings[2], acts.strings[0])
    for new, old in enumerate([2, 0]):
        here = slice(some.starts[new], some.starts[new + 1])
        there = slice(acts.starts[old], acts.starts[old + 1])
        assert (some.acts["resid_post.0"][here] == acts.acts["resid_post.0"][there]).all()
        difference = some.codes["resid_post.0"][here] - acts.codes["resid_post.0"][there]
        assert difference.nnz == 0


def test_texts_without_tokens_of_their_own_are_named(toy_session):
    with pytest.raises(TokenError, match="text 1 has no token of its own"):
        capture(toy_session, ["the dog", "</s>"], sites=["resid_post.0"])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=5),
    st.integers(0, 2**31),
    st.sampled_from(["max", "mean", "last"]),
)
def test_sparse_pooling_equals_dense_pooling(lengths, seed, how):
    rng = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    # Signed codes too: a silent token counts as 0, above a negative one.
    dense = rng.normal(size=(starts[-1], 6)) * (rng.random((starts[-1], 6)) < 0.4)
    expected = [
        {"max": rows.max(0), "mean": rows.mean(0), "last": rows[-1]}[how]
        for rows in np.split(dense, starts[1:-1])
    ]
    np.testing.assert_allclose(pool_dense(dense, starts, how), expected)
    pooled = pool_codes(sparse.csr_matrix(dense), starts, how)
    np.testing.assert_allclose(pooled.toarray(), expected)


def test_unknown_choices_are_named(toy_session):
    with pytest.raises(InputError, match="'all'"):
        capture(toy_session, TEXTS, used="al")
    with pytest.raises(InputError, match="pooling"):
        pool_dense(np.zeros((1, 1)), np.array([0, 1]), "median")

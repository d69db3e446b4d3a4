"""Probes: rankings, measures and splits against oracles; planted units are found."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn import metrics
from sklearn.feature_selection import f_classif

import workbench as wb
from workbench.directions.probe_fit import Intervals, confusion, fit_probe, measures, split_rows
from workbench.directions.probe_labels import text_labels, token_labels
from workbench.directions.probe_ranking import (
    RANKINGS,
    f_statistic,
    mean_difference,
    rank_units,
)
from workbench.errors import InputError

LABELS = np.array([True, True, False, False])
VALUES = np.array([[1.0, 0.0, 5.0], [3.0, 0.0, 5.0], [0.0, 2.0, 5.0], [0.0, 0.0, 5.0]])


def test_mean_difference_by_hand():
    np.testing.assert_allclose(mean_difference(VALUES, LABELS), [2.0, 1.0, 0.0])
    np.testing.assert_allclose(
        mean_difference(sparse.csr_matrix(VALUES), LABELS), mean_difference(VALUES, LABELS)
    )


def test_f_statistic_is_scikit_learns():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(60, 8)) * (rng.random((60, 8)) < 0.5)
    labels = rng.random(60) < 0.3
    expected = f_classif(values, labels)[0]
    np.testing.assert_allclose(f_statistic(values, labels), expected)
    np.testing.assert_allclose(f_statistic(sparse.csr_matrix(values), labels), expected)


def test_f_statistic_of_constant_units():
    values = np.array([[1.0, 7.0], [1.0, 7.0], [0.0, 7.0], [0.0, 7.0]])
    assert f_statistic(values, LABELS).tolist() == [np.inf, 0.0]


@pytest.mark.parametrize("ranking", RANKINGS)
def test_every_ranking_finds_planted_units(ranking):
    rng = np.random.default_rng(0)
    labels = rng.random(300) < 0.5
    values = rng.normal(size=(300, 40)) * 0.5
    values[:, 11] += 3 * labels
    values[:, 30] -= 2 * labels
    assert set(rank_units(values, labels, ranking)[:2]) == {11, 30}
    assert sorted(rank_units(values, labels, ranking)) == list(range(40))


def test_unknown_ranking_is_named():
    with pytest.raises(InputError, match="mean_difference"):
        rank_units(VALUES, LABELS, "mean_diff")


def test_measures_are_scikit_learns():
    rng = np.random.default_rng(0)
    labels, said = rng.random(90) < 0.4, rng.random(90) < 0.5
    found = measures(confusion(labels, said)[0])
    assert found["f1"] == pytest.approx(metrics.f1_score(labels, said))
    assert found["mcc"] == pytest.approx(metrics.matthews_corrcoef(labels, said))
    assert found["precision"] == pytest.approx(metrics.precision_score(labels, said))
    assert found["recall"] == pytest.approx(metrics.recall_score(labels, said))
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, said))
    nothing = measures(confusion(labels, np.zeros(90, dtype=bool))[0])
    assert nothing["f1"] == nothing["mcc"] == nothing["precision"] == 0


def test_confusion_by_group_adds_up():
    rng = np.random.default_rng(0)
    labels, said = rng.random(50) < 0.4, rng.random(50) < 0.5
    groups = rng.integers(0, 7, 50)
    parts = confusion(labels, said, groups)
    np.testing.assert_array_equal(parts.sum(0), confusion(labels, said)[0])
    np.testing.assert_array_equal(parts[3], confusion(labels[groups == 3], said[groups == 3])[0])


def test_intervals_hold_the_value_and_stay_open_at_the_end():
    labels = np.repeat([True, False], 50)
    perfect = Intervals(None)(labels, labels)
    assert perfect["f1"][0] == 1.0
    assert 0.9 < perfect["f1"][1] < perfect["f1"][2] <= 1
    said = labels.copy()
    said[:10] = False
    value, low, high = Intervals(None)(labels, said)["recall"]
    assert value == 0.8
    # Jeffreys' interval of 40 of 50.
    assert (low, high) == pytest.approx((0.673, 0.893), abs=0.01)


def test_intervals_over_texts_are_wider_than_over_their_tokens():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 10)
    labels = np.tile([True, False], 100)
    wrong = np.repeat(rng.random(20) < 0.3, 10)  # whole texts go wrong
    said = labels ^ wrong
    alone = Intervals(None)(labels, said)["f1"]
    together = Intervals(groups)(labels, said)["f1"]
    assert together[2] - together[1] > 2 * (alone[2] - alone[1])


def test_the_line_of_a_probe_is_its_score():
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(80, 4)) * [1, 5, 0, 2] + [3, 0, 1, 0]
    labels = columns[:, 1] > 0
    for search in (False, True):
        fitted = fit_probe(columns, labels, search=search)
        weights, intercept = fitted.line()
        np.testing.assert_allclose(columns @ weights + intercept, fitted.scores(columns))
        assert ((fitted.scores(columns) > 0) == labels).mean() > 0.95


def test_splits_keep_groups_together_and_both_classes():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 30, 200)
    labels = rng.random(200) < 0.2
    test = split_rows(labels, groups, fraction=0.3, seed=0)
    assert not set(groups[test]) & set(groups[~test])
    assert 0.15 < test.mean() < 0.45
    assert (test == split_rows(labels, groups, fraction=0.3, seed=0)).all()
    assert (test != split_rows(labels, groups, fraction=0.3, seed=1)).any()
    with pytest.raises(InputError, match="need both"):
        split_rows(np.array([True, False, False]), np.arange(3), fraction=0.3, seed=0)
    with pytest.raises(InputError, match="between 0 and 1"):
        split_rows(labels, groups, fraction=1.0, seed=0)


def test_labels_become_positive_or_not():
    assert text_labels(["no", "yes", "no"])[0] == "yes"
    assert text_labels([0, 1, True])[1].tolist() == [False, True, True]
    assert text_labels(["a", "b", "c"], positive="b")[1].tolist() == [False, True, False]
    with pytest.raises(InputError, match="3 classes"):
        text_labels(["a", "b", "c"])
    with pytest.raises(InputError, match="two classes"):
        text_labels([1, 1])
    with pytest.raises(InputError, match="did you mean 'sunny'"):
        text_labels(["sunny", "rainy"], positive="suny")


def test_token_labels_count_own_tokens(toy_session):
    tokens = toy_session.tokens(["the dog", "the cats really"])
    own = [[0, 1], [0, 1, 0]]
    name, flat = token_labels(own, None, tokens, "all")
    assert (name, flat.tolist()) == ("1", [False, True, False, True, False])
    with_bos = [[9, 0, 1], [9, 0, 1, 0]]
    assert token_labels(with_bos, None, tokens, "all")[1].tolist() == flat.tolist()
    with pytest.raises(InputError, match="text 1 has 3 tokens"):
        token_labels([[0, 1], [0, 1]], None, tokens, "all")


def agreement(toy_session) -> tuple[list[str], list[str]]:
    nouns = [("dog", "dogs"), ("cat", "cats"), ("bird", "birds")]
    things = ["car", "cars", "tree", "trees", "box", "boxes"]
    texts, labels = [], []
    for pair in nouns:
        for number, noun in zip(("singular", "plural"), pair, strict=True):
            for thing in things:
                for preposition in ("near", "behind"):
                    for adverb in ("really", "always"):
                        texts.append(f"the {noun} {preposition} the {thing} {adverb}")
                        labels.append(number)
    return texts, labels


def test_the_toys_number_features_are_found(toy_session):
    """Which units carry the subject's number at the adverb is known: they alone need be read."""
    from workbench.demo import toy

    texts, labels = agreement(toy_session)
    study = toy_session.probe(
        texts, labels, positive="plural", tokens="last", pooling="last", ks=(1, 2)
    )
    names = toy.build().dictionaries
    told = {}
    for found in study.probes:
        if found.kind == "features" and found.k == 1 and found.f1[0] == 1.0:
            told[found.source] = names[found.source].features[int(found.units[0])]
    assert told["resid_post.0"] in (
        "subject_plural",
        "subject_singular",
        "expects_plural",
        "expects_singular",
    )
    assert told["mlp_out.1"] in ("expects_plural", "expects_singular")
    # The embedding of the adverb knows nothing of the subject.
    embed = [p for p in study.probes if p.source == "embed" and p.kind == "features"]
    assert all(p.mcc[0] < 0.3 for p in embed)
    direction = study.direction("resid_post.0")
    axis = {name: i for i, name in enumerate(toy.construction.AXES)}
    strongest = np.abs(direction.vector).argsort()[::-1][:4]
    assert {
        axis["subject_plural"],
        axis["expects_plural"],
        axis["subject_singular"],
        axis["expects_singular"],
    } & set(strongest.tolist())
    scores = direction.score(toy_session, texts).values
    last = direction.score(toy_session, texts).bounds[1:] - 1
    assert ((scores[last] > 0) == (np.array(labels) == "plural")).all()


def test_token_level_finds_the_animals(toy_session):
    from workbench.demo import toy

    texts, _ = agreement(toy_session)
    animals = {"dog", "dogs", "cat", "cats", "bird", "birds"}
    labels = [[int(word in animals) for word in text.split()] for text in texts]
    study = toy_session.probe(
        texts, labels, level="token", units=["features"], saes=["embed"], ks=(1,), dense=False
    )
    [found] = study.probes
    assert toy.build().dictionaries["embed"].features[int(found.units[0])] == "animal"
    assert found.f1[0] == 1.0
    assert study.n_test + study.n_train == sum(map(len, labels))


def test_results_are_tables_plots_and_files(toy_session, tmp_path):
    texts, labels = agreement(toy_session)
    study = toy_session.probe(
        texts, labels, ks=(1, 2, 500), rankings=["mean_difference", "f_statistic"]
    )
    table = study.to_pandas()
    assert set(table["kind"]) == {"features", "neurons", "residual", "dense"}
    # k beyond a source's units is its own size.
    sizes = table[(table["source"] == "mlp_out.1") & (table["kind"] == "features")]["k"]
    assert sorted(set(sizes)) == [1, 2]
    best = study.chosen(kind="features")
    assert len(best) == best["k"].nunique()
    assert len(study.features(2, "resid_post.0")) == 2
    assert study.plot().data
    assert study.plot_layers(2).data
    again = wb.load(study.save(tmp_path / "study"))
    assert again.to_pandas().equals(table)
    assert again.direction().site == study.direction().site
    with pytest.raises(InputError, match="k is in"):
        study.features(77)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["a"]}, "one label per text"),
        ({"units": ["feature"]}, "features"),
        ({"rankings": ["f"]}, "f_statistic"),
        ({"level": "word"}, "token"),
        ({"ks": (0,)}, "at least 1"),
        ({"layers": [9]}, "layer 9"),
        ({"groups": [1]}, "one per text"),
        ({"pooling": "most"}, "pooling"),
    ],
)
def test_bad_arguments_are_named(toy_session, change, message):
    arguments = {"texts": ["the dog", "the dogs"] * 4, "labels": ["a", "b"] * 4} | change
    with pytest.raises(InputError, match=message):
        toy_session.probe(**arguments)


def test_progress_is_told_and_can_stop(toy_session):
    class StopError(Exception):
        pass

    def progress(what, done, total):
        if what.startswith("neurons"):
            raise StopError

    with pytest.raises(StopError):
        toy_session.probe(["the dog", "the dogs"] * 6, [0, 1] * 6, progress=progress)


def test_synthetic_units_are_found():
    """The units that a synthetic label depends on lead the ranking, in sparse data too."""
    from sae_lens.synthetic import ActivationGenerator

    torch.manual_seed(0)
    codes = ActivationGenerator(num_features=64, firing_probabilities=0.1).sample(1500).numpy()
    labels = (codes[:, 5] > 0) | (codes[:, 40] > 0)
    values = sparse.csr_matrix(codes)
    order = rank_units(values, labels, "mean_difference")
    assert set(order[:2]) == {5, 40}
    fitted = fit_probe(codes[:, order[:2]], labels)
    assert ((fitted.scores(codes[:, order[:2]]) > 0) == labels).all()

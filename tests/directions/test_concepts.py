"""A concept by every method: in the toy where the answer is known, and on the demo."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import workbench as wb
from workbench.demo import tasks
from workbench.directions import ConceptSet, compare_concepts
from workbench.directions.methods import METHODS, PromptBaseline
from workbench.errors import InputError

NOUNS = [("dog", "dogs"), ("cat", "cats"), ("bird", "birds")]
TAILS = [
    f"{p} the {t} really" for p in ("near", "behind") for t in ("car", "cars", "tree", "boxes")
]


def toy_set() -> ConceptSet:
    return ConceptSet(
        name="plural subject",
        positives=[f"the {plural} {tail}" for _, plural in NOUNS for tail in TAILS],
        negatives=[f"the {singular} {tail}" for singular, _ in NOUNS for tail in TAILS],
    )


def test_the_toys_number_is_found_and_nothing_is_dropped(toy_session, tmp_path):
    labels = {"resid_post.0/8": "plural subject"}
    study = toy_session.concept(
        toy_set(), site="resid_post.0", labels=labels, tokens="last", pooling="last"
    )
    table = study.to_pandas().set_index("method")
    assert list(table.index) == list(METHODS)
    for method in ("diff_mean", "linear_probe", "sae", "sae_a"):
        assert table.loc[method, "auroc"] == 1.0, table.loc[method]
    assert table.loc["sae", "feature"] == "resid_post.0/8"
    # The toy's tokenizer lacks the question's words: said, not dropped.
    assert np.isnan(table.loc["prompt", "auroc"])
    assert "no words for the answers" in table.loc["prompt", "note"]
    assert study["diff_mean"].low < 1.0
    assert study.plot().data
    again = wb.load(study.save(tmp_path / "c"))
    assert again.to_pandas().equals(study.to_pandas())
    assert again.direction("diff_mean").cosine(study.direction("diff_mean")) == pytest.approx(1)


def test_scores_are_those_of_the_direction(toy_session):
    study = toy_session.concept(toy_set(), site="resid_post.0", methods=["diff_mean", "sae_a"])
    direction = study.direction("diff_mean")
    split = toy_set().held_out(0.3, 0)
    texts = [*split.test_positives, *split.test_negatives]
    scores = direction.score(toy_session, texts)
    np.testing.assert_allclose(scores.pooled, study["diff_mean"].scores, rtol=1e-4)
    # Calibration is the largest activation on the test texts, tokens of their own only.
    assert direction.scale == pytest.approx(scores.values[~scores.special].max(), rel=1e-5)
    tokens = study.tokens("diff_mean", 0)
    assert tokens["token"].tolist() == list(scores.tokens[0])[1:]
    assert tokens["score"].max() == pytest.approx(study["diff_mean"].scores[0], rel=1e-5)
    feature = study["sae_a"]
    sae, index = feature.feature.split("/")
    row = toy_session.saes[sae].decoder_rows([int(index)])[0].norm()
    assert feature.direction.scale == pytest.approx(feature.token_scores.max() * float(row))
    assert study.scores_table()["diff_mean"].tolist() == study["diff_mean"].scores.tolist()


def test_a_judge_takes_the_place_of_asking(toy_session):
    def judge(concept, texts):
        assert concept == "plural subject"
        return [any(f"{plural} " in text for _, plural in NOUNS) for text in texts]

    study = toy_session.concept(toy_set(), methods=[PromptBaseline(judge=judge)])
    assert study["prompt"].auroc == 1.0
    assert study["prompt"].direction is None


def test_many_concepts_one_table(toy_session, tmp_path):
    animals = ConceptSet(
        name="animal",
        positives=[f"the {noun}" for pair in NOUNS for noun in pair],
        negatives=["the car", "the cars", "the tree", "the trees", "the box", "the boxes"],
    )
    methods = ["diff_mean", "sae", "sae_a"]
    found = compare_concepts(
        toy_session,
        [toy_set(), animals],
        site="resid_post.0",
        methods=methods,
        tokens="last",
        labels={"resid_post.0/0": "animal"},
    )
    table = found.to_pandas()
    assert len(table) == 6
    missing = table[table["auroc"].isna()]
    assert missing[["concept", "method"]].values.tolist() == [["plural subject", "sae"]]
    assert "labelled 'plural subject'" in missing["note"].iloc[0]
    means = found.means().set_index("method")
    assert means.loc["sae", ["n", "of"]].tolist() == [1, 2]
    # Means that compare like with like leave out the concept that one method could not be used on.
    diff = table[(table["method"] == "diff_mean") & (table["concept"] == "animal")]["auroc"].item()
    assert means.loc["diff_mean", "common"] == pytest.approx(diff)
    assert found.direction("animal", "diff_mean").site == "resid_post.0"
    assert found.plot().data
    again = wb.load(found.save(tmp_path / "x"))
    assert again.to_pandas().equals(table)
    with pytest.raises(InputError, match="different names"):
        compare_concepts(toy_session, [animals, animals])


def test_progress_is_told_and_can_stop(toy_session):
    told = []
    toy_session.concept(
        toy_set(),
        methods=["diff_mean", "ssv"],
        progress=lambda what, done, total: told.append((what, done, total)),
    )
    assert told[0] == ("diff_mean", 0, 2)
    assert any(what == "ssv, training" and done == total for what, done, total in told)

    def stop(what, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        toy_session.concept(toy_set(), progress=stop)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"positives": ["a"]}, "negatives are missing"),
        ({"positives": "a", "negatives": ["b"]}, "is one text"),
        ({"positives": toy_set(), "negatives": ["b"]}, "leave them out"),
        ({"positives": toy_set(), "pooling": "sum"}, "pooling"),
        ({"positives": toy_set(), "methods": ["dif_mean"]}, "diff_mean"),
    ],
)
def test_bad_arguments_are_named(toy_session, arguments, message):
    with pytest.raises(InputError, match=message):
        toy_session.concept(**arguments)


def test_known_concepts_of_the_demo_are_detected(demo_session):
    """A concept with a labelled feature: the feature, the selected one and the probe detect it."""
    sets = []
    for split, count in (("train", 120), ("test", 80)):
        rows = tasks.load("concept.sentiment.positive", split, count)
        sets += [[e.text for e in rows if e.label], [e.text for e in rows if not e.label]]
    given = ConceptSet(
        name="sentiment.positive",
        positives=sets[0],
        negatives=sets[1],
        test_positives=sets[2],
        test_negatives=sets[3],
    )
    study = demo_session.concept(
        given, methods=["diff_mean", "linear_probe", "sae", "sae_a", "bag_of_words"]
    )
    assert study.site == "resid_post.2"
    for method in ("diff_mean", "linear_probe", "sae", "sae_a"):
        assert study[method].auroc > 0.9
    assert study["bag_of_words"].auroc < 0.9  # the words alone do not tell: negation turns them
    nearest = study.direction("diff_mean").nearest(demo_session, 5, saes=["resid_post.2"])
    assert "sentiment.positive" in nearest["label"].tolist()


def test_a_comparison_that_was_stopped_goes_on(toy_session, tmp_path):
    """Stopped after the first concept and started again equals one that was not stopped."""
    sets = [toy_set(), dataclasses.replace(toy_set(), name="again")]
    options = {"site": "resid_post.0", "methods": ["diff_mean", "reft_r1", "sae_a"], "seed": 3}
    whole = compare_concepts(toy_session, sets, **options)
    fitted = []

    def stop(what, done, total):
        fitted.append(what)
        if what == "again: sae_a":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare_concepts(toy_session, sets, path=tmp_path / "kept", progress=stop, **options)
    assert "plural subject: diff_mean" in fitted
    fitted.clear()
    resumed = compare_concepts(
        toy_session,
        sets,
        path=tmp_path / "kept",
        progress=lambda what, done, total: fitted.append(what),
        **options,
    )
    assert "plural subject: diff_mean" not in fitted
    assert "again: diff_mean" in fitted
    assert resumed.to_pandas().equals(whole.to_pandas())
    for name, direction in whole.directions.items():
        np.testing.assert_array_equal(resumed.directions[name].vector, direction.vector)
    # Other settings make other studies, and a damaged one is made anew.
    count = len(list((tmp_path / "kept").iterdir()))
    compare_concepts(toy_session, sets, path=tmp_path / "kept", **options | {"seed": 4})
    assert len(list((tmp_path / "kept").iterdir())) == 2 * count == 4
    for file in (tmp_path / "kept").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    again = compare_concepts(toy_session, sets, path=tmp_path / "kept", **options)
    assert again.to_pandas().equals(whole.to_pandas())

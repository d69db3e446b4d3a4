"""The report's arithmetic against brute force, and the report on tiny trained weights."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from workbench.demo import report, train
from workbench.demo.measures.concepts import ConceptFeature, best_per_concept, encode_rows
from workbench.demo.measures.detection import best_detectors, detector_f1, f1_sweep
from workbench.demo.measures.prompts import continued, last_logits
from workbench.demo.measures.recognition import auroc, recognition
from workbench.demo.measures.sae_quality import load_saes, measure_saes
from workbench.demo.tokenizer import build_tokenizer
from workbench.demo.training.sites import read_sites


def _f1(predicted: np.ndarray, actual: np.ndarray) -> float:
    hits = int((predicted & actual).sum())
    total = int(predicted.sum() + actual.sum())
    return 2 * hits / total if total else 0.0


@given(
    st.lists(
        st.tuples(st.integers(min_value=0, max_value=4), st.booleans()), min_size=1, max_size=30
    )
)
def test_f1_sweep_finds_what_trying_every_threshold_finds(tokens) -> None:
    values = np.array([float(value) for value, _ in tokens])
    actual = np.array([label for _, label in tokens])
    if not actual.any():
        return
    best = max(_f1(values > threshold, actual) for threshold in (0.0, 1.0, 2.0, 3.0, 4.0))
    fires = values > 0
    f1, threshold = f1_sweep(values[fires], actual[fires], int(actual.sum()))
    assert f1 == pytest.approx(best)
    if fires.any():
        assert _f1(values > threshold, actual) == pytest.approx(f1)


def test_f1_sweep_counts_what_the_feature_misses() -> None:
    f1, threshold = f1_sweep(np.array([3.0, 2.0]), np.array([True, False]), 4)
    assert f1 == pytest.approx(2 * 1 / (1 + 4))
    assert threshold == 2.5
    assert f1_sweep(np.array([]), np.array([], dtype=bool), 3) == (0.0, 0.0)


def _random_codes(seed: int) -> tuple[sparse.csc_matrix, sparse.csc_matrix]:
    generator = np.random.default_rng(seed)
    labels = generator.random((400, 3)) < 0.1
    acts = np.where(generator.random((400, 12)) < 0.15, generator.random((400, 12)), 0.0)
    # Feature 5 speaks for concept 1, loudly; it whispers elsewhere.
    acts[:, 5] = np.where(labels[:, 1], 1.0 + generator.random(400), 0.3 * acts[:, 5])
    return sparse.csc_matrix(acts), sparse.csc_matrix(labels)


def test_best_detectors_equal_brute_force() -> None:
    acts, labels = _random_codes(0)
    dense, truth = acts.toarray(), labels.toarray()
    found = best_detectors(acts, labels, candidates=12)
    for concept, detector in enumerate(found):
        best = max(
            _f1(dense[:, feature] > threshold, truth[:, concept])
            for feature in range(12)
            for threshold in (0.0, *dense[:, feature])
        )
        assert detector.concept == concept
        assert detector.f1 == pytest.approx(best)
    assert found[1].feature == 5
    assert found[1].f1 == 1.0


def test_few_candidates_still_find_the_planted_feature() -> None:
    acts, labels = _random_codes(1)
    assert best_detectors(acts, labels, candidates=2)[1].feature == 5


def test_detectors_are_scored_at_their_stored_threshold() -> None:
    acts, labels = _random_codes(0)
    other_acts, other_labels = _random_codes(7)
    found = best_detectors(acts, labels)
    scores = detector_f1(other_acts, other_labels, found)
    for detector, score in zip(found, scores, strict=True):
        spoken = other_acts.toarray()[:, detector.feature] > detector.threshold
        assert score == pytest.approx(_f1(spoken, other_labels.toarray()[:, detector.concept]))


def test_a_concept_absent_from_the_text_has_no_score() -> None:
    acts, labels = _random_codes(0)
    found = best_detectors(acts, labels)
    silent = sparse.csc_matrix(np.zeros((400, 3), dtype=bool))
    assert np.isnan(detector_f1(acts, silent, found)).all()


@pytest.mark.parametrize("name", ["resid_post.0", "mlp_out.1", "transcoder.0"])
def test_health_equals_that_of_the_workbench_one_document_at_a_time(tiny_assets, name) -> None:
    import workbench as wb
    from workbench.saes import measure_health

    model = train.load_model(tiny_assets / "model", "cpu")
    ids = np.load(tiny_assets / "rows.npy")[:6].astype(np.int64)
    special = build_tokenizer().all_special_ids
    path = tiny_assets / "saes" / name
    [packed] = measure_saes(
        model, load_saes([path], "cpu"), ids, special=special, ce_rows=6, batch_rows=4
    )

    documents = [document for row in ids for document in _documents(row.tolist())]
    longest = max(map(len, documents))
    padded = torch.tensor([[*document, *[0] * (longest - len(document))] for document in documents])
    with wb.open(str(tiny_assets / "model"), saes={name: str(path)}, device="cpu") as session:
        alone = measure_health(session.model, session.saes[name], session.model.tokens(padded))
    assert packed.tokens == alone.n_tokens
    assert packed.l0 == pytest.approx(alone.l0, rel=1e-3)
    assert packed.fvu == pytest.approx(alone.fvu, rel=1e-3)
    assert packed.dead == pytest.approx(alone.dead_fraction, abs=0.02)
    assert packed.ce_tokens == alone.n_predictions
    assert packed.ce_clean == pytest.approx(alone.ce_clean, rel=1e-4)
    assert packed.ce_spliced == pytest.approx(alone.ce_sae, rel=1e-4)
    assert packed.ce_ablated == pytest.approx(alone.ce_ablated, rel=1e-4)
    assert packed.ce_score == pytest.approx(alone.ce_score, abs=0.01)


def _documents(row: list[int]) -> list[list[int]]:
    documents: list[list[int]] = []
    for token in row:
        if token == 1:
            documents.append([])
        if token != 0:
            documents[-1].append(token)
    return documents


def test_batched_prompts_equal_single_prompts(tiny_assets) -> None:
    model = train.load_model(tiny_assets / "model", "cpu")
    prompts = [[1, 30, 31], [1, 40], [1, 50, 51, 52, 53]]
    batched = last_logits(model, prompts, batch=2)
    for prompt, logits in zip(prompts, batched, strict=True):
        with torch.no_grad():
            alone = model(torch.tensor([prompt])).logits[0, -1]
        torch.testing.assert_close(logits, alone, atol=1e-4, rtol=1e-4)


def test_continued_is_greedy_decoding(tiny_assets) -> None:
    model = train.load_model(tiny_assets / "model", "cpu")
    prompt = [1, 30, 31]
    made: list[int] = []
    for _ in range(3):
        made.append(int(last_logits(model, [[*prompt, *made]]).argmax()))
    wrong = [*made[:2], (made[2] + 1) % model.config.vocab_size]
    assert continued(model, [prompt] * 3, [made, wrong, made[:1]]) == [True, False, True]


def test_codes_carry_the_labels_of_their_tokens(tiny_assets) -> None:
    from workbench.demo import corpus

    model = train.load_model(tiny_assets / "model", "cpu")
    saes = load_saes([tiny_assets / "saes" / "resid_post.1"], "cpu")
    rows = corpus.labelled_rows("test", 4, 4000)
    tokenizer = build_tokenizer()
    codes = encode_rows(model, saes, rows, special=tokenizer.all_special_ids, batch_rows=7)
    words = ~np.isin(rows.ids, tokenizer.all_special_ids)
    assert codes.labels.shape == (words.sum(), len(corpus.CONCEPTS))
    for column, concept in enumerate(corpus.CONCEPTS):
        by_row = rows.mask(concept)[words]
        assert np.array_equal(codes.labels[:, [column]].toarray().ravel(), by_row)
    assert codes.codes["resid_post.1"].shape == (words.sum(), saes[0].sae.cfg.d_sae)


def _feature(concept: str, sae: str, feature: int, train_f1: float, f1: float) -> ConceptFeature:
    return ConceptFeature(
        concept=concept,
        sae=sae,
        feature=feature,
        threshold=0.5,
        train_f1=train_f1,
        f1=f1,
        positives=10,
    )


def test_the_best_feature_is_chosen_on_training_text() -> None:
    found = [_feature("a", "x", 1, 0.9, 0.7), _feature("a", "y", 2, 0.8, 0.99)]
    assert best_per_concept(found)["a"].feature == 1


def test_labels_keep_good_features_and_the_better_of_two_concepts(tmp_path) -> None:
    found = report.Report(
        measures=(),
        qualities=(),
        features=(
            _feature("a", "x", 1, 0.9, 0.85),
            _feature("b", "x", 1, 0.9, 0.95),
            _feature("c", "x", 2, 0.9, 0.79),
        ),
        set_features=(_feature("d", "x", 1, 1.0, 1.0), _feature("e", "x", 3, 0.9, 0.8)),
        concepts=("a", "b", "c", "d", "e"),
        seconds=1.0,
    )
    for name in ("x", "y"):
        (tmp_path / "saes" / name).mkdir(parents=True)
    report.write_labels(tmp_path, found)
    written = json.loads((tmp_path / "saes" / "x" / "labels.json").read_text())["features"]
    # Feature 3 is good on its concept set only.
    assert written == {"1": {"label": "b", "f1": 0.95, "threshold": 0.5}}
    assert json.loads((tmp_path / "saes" / "y" / "labels.json").read_text()) == {"features": {}}
    table = report.concept_table(found)
    assert "| `b` | `x/1` | 0.95 | – | – |" in table
    assert "| `e` | – | – | `x/3` | 0.80 |" in table


@pytest.mark.parametrize(
    ("value", "better", "reached"),
    [(0.95, "high", True), (0.9499, "high", False), (0.95, "low", True), (0.9501, "low", False)],
)
def test_a_bar_is_reached_from_its_own_side(value, better, reached) -> None:
    measure = report.Measure(name="x", value=value, bar=0.95, better=better)
    assert measure.reached is reached
    assert measure.to_dict()["bar"] == (">= 0.95" if better == "high" else "<= 0.95")
    assert ("**no**" in report.table([measure])) is not reached


@pytest.mark.slow
def test_report_prints_every_bar_as_json(tiny_assets, capsys) -> None:
    arguments = [
        "--assets",
        str(tiny_assets),
        "--json",
        "--tokens",
        "6000",
        "--health-tokens",
        "6000",
    ]
    assert report.main(arguments) == 0
    rows = json.loads(capsys.readouterr().out)
    assert all(set(row) == {"name", "value", "bar", "reached"} for row in rows)
    assert all(math.isfinite(row["value"]) for row in rows)
    names = [row["name"] for row in rows]
    assert len(set(names)) == len(names)
    for wanted in (
        "facts recalled, all",
        "unknown entities refused, player",
        "agreement across_rc",
        "IOI",
        "greater-than",
        "FVU, transcoder.0",
        "dead features, embed",
        "concepts with a feature of F1 >= 0.8, every token",
        "concepts with a feature of F1 >= 0.8, concept sets",
    ):
        assert wanted in names
    assert not any("-bad" in name for name in names)
    # A model trained for seconds knows nothing: the bars are really measured.
    facts = next(row for row in rows if row["name"] == "facts recalled, all")
    assert facts["reached"] is False


def test_concept_sets_choose_on_training_texts_and_score_on_held_out_ones(
    tiny_assets, monkeypatch
) -> None:
    from workbench.demo import corpus, tasks
    from workbench.demo.measures.concepts import concept_set_features

    concepts = ("gender.female", "year.end_due")
    monkeypatch.setattr(corpus, "CONCEPTS", {name: corpus.CONCEPTS[name] for name in concepts})
    model, tokenizer = train.load_model(tiny_assets / "model", "cpu"), build_tokenizer()
    saes = load_saes([tiny_assets / "saes" / "resid_post.1"], "cpu")
    found = concept_set_features(model, tokenizer, saes, texts=40, seed=1)
    assert [feature.concept for feature in found] == list(concepts)
    for feature in found:
        for split, expected in (("train", feature.train_f1), ("test", feature.f1)):
            examples = tasks.load(f"concept.{feature.concept}", split, 40, 1).examples
            spoken = []
            for example in examples:
                ids = torch.tensor([tokenizer(example.text)["input_ids"]])
                x = read_sites(model, ids, None, ["resid_post.1"])["resid_post.1"][0, -1]
                code = saes[0].sae.encode(x[None])[0, feature.feature].detach()
                spoken.append(float(code) > feature.threshold)
            labels = np.array([bool(example.label) for example in examples])
            assert _f1(np.array(spoken), labels) == pytest.approx(expected)


def test_auroc_is_the_chance_to_rank_a_pair_right() -> None:
    generator = np.random.default_rng(0)
    positive = generator.integers(0, 4, (7, 3)).astype(float)
    negative = generator.integers(0, 4, (9, 3)).astype(float)
    by_hand = [
        np.mean([(p > n) + 0.5 * (p == n) for p in positive[:, i] for n in negative[:, i]])
        for i in range(3)
    ]
    assert auroc(positive, negative) == pytest.approx(by_hand)


def test_recognition_names_a_feature_per_layer_and_type(tiny_assets) -> None:
    model, tokenizer = train.load_model(tiny_assets / "model", "cpu"), build_tokenizer()
    saes = load_saes([tiny_assets / "saes" / f"resid_post.{layer}" for layer in (0, 1)], "cpu")
    found = recognition(model, tokenizer, saes, unknown=20, seed=2)
    assert len(found) == 2 * 5
    for layer in (0, 1):
        of_layer = {r.entity_type: r for r in found if r.layer == layer}
        everyone = of_layer["all"]
        same = [r for t, r in of_layer.items() if t != "all" and r.feature == everyone.feature]
        # One feature for all types does no better on a type than where it was chosen for it.
        assert all(everyone.auroc <= r.auroc for r in same if r.speaks_for == everyone.speaks_for)
        assert all(0 <= r.auroc <= 1 for r in of_layer.values())


def test_steering_of_no_strength_changes_nothing(tiny_assets, monkeypatch) -> None:
    from workbench.demo.measures import recognition as module

    model, tokenizer = train.load_model(tiny_assets / "model", "cpu"), build_tokenizer()
    monkeypatch.setattr(module, "STRENGTHS", (0.0,))
    found = module.steering(model, tokenizer, unknown=10, seed=2)
    assert len(found) == 2 * 4
    by_type = {}
    for steered in found:
        by_type.setdefault(steered.entity_type, set()).add(
            (steered.known_refused, steered.unknown_answered)
        )
    # Without strength the layer makes no difference.
    assert all(len(figures) == 1 for figures in by_type.values())


def test_bundled_assets_are_those_of_the_settings() -> None:
    from workbench.demo import assets_dir, sae_dirs
    from workbench.demo.training.settings import full_settings, sae_plans

    size = sum(path.stat().st_size for path in assets_dir().rglob("*") if path.is_file())
    assert size <= 40e6
    plans = {plan.name: plan for plan in sae_plans(full_settings())}
    directories = sae_dirs()
    assert set(directories) == set(plans)
    for name, directory in directories.items():
        config = json.loads((directory / "cfg.json").read_text())
        assert (
            config["d_sae"] + config["metadata"].get("pruned_features", 0) == plans[name].features
        )
        details = config["metadata"]["training_architecture_details"]
        assert config.get("k", details.get("k")) == plans[name].active
        labels = json.loads((directory / "labels.json").read_text())["features"]
        assert all(int(index) < config["d_sae"] for index in labels)
        assert all(entry["f1"] >= 0.8 for entry in labels.values())
        assert plans[name].control is not bool(labels) or name == "embed"


def test_bundled_model_knows_its_world() -> None:
    from workbench.demo import model_dir
    from workbench.demo.measures.behaviour import behaviours
    from workbench.demo.measures.knowledge import fact_trials

    model, tokenizer = train.load_model(model_dir(), "cpu"), build_tokenizer()
    trials = list(fact_trials())[::12]
    prompts = [tokenizer(trial.prompt)["input_ids"] for trial in trials]
    answers = [tokenizer(trial.answer, add_special_tokens=False)["input_ids"] for trial in trials]
    assert np.mean(continued(model, prompts, answers)) >= 0.97
    figures = {name: value for name, value, _ in behaviours(model, tokenizer, pairs=40, seed=5)}
    assert all(value >= 0.9 for value in figures.values()), figures


def test_bundled_saes_open_in_order_of_their_sites() -> None:
    from workbench.demo import sae_dir, sae_names
    from workbench.errors import SaeError

    names = sae_names()
    assert names[:5] == ("embed", "attn_out.0", "mlp_out.0", "resid_post.0", "attn_out.1")
    assert set(names) - set(sae_names(control=False)) == {"resid_post.2-bad"}
    with pytest.raises(SaeError, match=r"did you mean .*resid_post\.2"):
        sae_dir("resid_post_2")

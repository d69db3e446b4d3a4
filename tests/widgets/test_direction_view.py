"""The Python side of the direction view, on a tiny model."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from browser import directed

import workbench as wb
from workbench.errors import InputError
from workbench.features.refs import FeatureSet
from workbench.widgets.direction import DirectionView


class Job:
    """A job nobody stops, run in place."""

    def __init__(self):
        self.cancelled = False
        self.thread = threading.current_thread()

    def check(self):
        assert threading.current_thread() is self.thread

    def apply(self, change):
        return change()


@pytest.fixture(scope="module")
def results():
    return directed.results()


def test_a_concept_opens_on_what_was_best_in_training(results):
    study = results["concept"]
    view = study.view()
    assert isinstance(view, DirectionView)
    assert view.direction.vector.tolist() == study.direction().vector.tolist()
    assert view.method == study.direction().method
    view.method = "diff_mean"
    assert view.direction.method == "diff_mean"
    first = view.initial()
    shown = {row["key"]: row for row in first["rows"]}
    assert list(shown) == [found.method for found in study.methods]
    for found in study.methods:
        if not np.isnan(found.auroc):
            assert shown[found.method]["value"] == found.auroc
            assert (shown[found.method]["low"], shown[found.method]["high"]) == (
                found.low,
                found.high,
            )
    # Nothing is dropped: what could not be used is there with its reason.
    assert shown["sae"]["value"] is None
    assert "labelled" in shown["sae"]["note"]
    texts = first["texts"]
    at = slice(*texts["starts"][1:3])
    wanted = study.tokens("diff_mean", 1)
    np.testing.assert_allclose(texts["token_scores"]["diff_mean"][at], wanted["score"], rtol=1e-6)
    assert texts["tokens"][1] == wanted["token"].tolist()
    with pytest.raises(InputError, match="diff_mean"):
        view.method = "dif_mean"
    assert view.method == "diff_mean"
    view.method = "bag_of_words"
    with pytest.raises(InputError, match="gave no direction"):
        _ = view.direction


def test_features_and_selection(results):
    view = results["concept"].view(method="diff_mean", nearest=4)
    rows = view.on_features(Job(), "diff_mean")
    table = view.direction.nearest(directed.session(), 4)
    assert [row["feature"] for row in rows] == table["feature"].tolist()
    assert [row["cosine"] for row in rows] == pytest.approx(table["cosine"].tolist())
    assert view.selection == FeatureSet()
    view.focus = rows[0]["feature"]
    assert view.selection == FeatureSet.of(rows[0]["feature"])
    view.picked = [rows[2]["feature"], rows[1]["feature"]]
    assert view.selection == FeatureSet.of([rows[2]["feature"], rows[1]["feature"]])
    view.selection = FeatureSet.of(rows[3]["feature"])
    assert view.picked == [rows[3]["feature"]]
    with pytest.raises(InputError, match="is not one of the 48 features"):
        view.focus = "resid_post.1/48"
    assert view.focus == rows[0]["feature"]
    brief = view.on_dashboard(Job(), rows[0]["feature"])
    assert brief["feature"] == rows[0]["feature"]
    assert brief["raises"]


def test_a_text_of_one_s_own_is_scored_by_the_direction(results):
    view = results["concept"].view(method="diff_mean")
    text = directed.TEXTS[0][0]
    found = view.on_score(Job(), "diff_mean", text)
    scores = view.direction.score(directed.session(), text)
    wanted = [None if s else v for s, v in zip(scores.special, scores.values, strict=True)]
    assert found["values"] == pytest.approx(wanted)
    assert found["tokens"] == list(scores.tokens[0])


def test_many_concepts_need_one_for_a_direction(results):
    compared = results["comparison"]
    view = compared.view(method="diff_mean")
    assert [row["key"] for row in view.initial()["rows"]] == compared.means()["method"].tolist()
    with pytest.raises(InputError, match=r"set view\.concept"):
        _ = view.direction
    view.concept = "dog"
    assert view.direction.vector.tolist() == compared.direction("dog", "diff_mean").vector.tolist()
    with pytest.raises(InputError, match="unknown concept"):
        view.concept = "bird"
    np.testing.assert_array_equal(
        view.initial()["concepts"]["auroc"], compared.auroc.astype(np.float32)
    )


def test_probes_are_directions_or_features(results):
    study = results["probes"]
    view = study.view()
    chosen = study.probes[view.probe]
    assert chosen.kind == "dense"
    assert view.direction.vector.tolist() == study.direction().vector.tolist()
    at = next(i for i, p in enumerate(study.probes) if p.kind == "features" and p.k == 2)
    rows = view.on_features(Job(), str(at))
    names = [f"{study.probes[at].source}/{unit}" for unit in study.probes[at].units]
    assert [row["feature"] for row in rows] == names
    view.probe = at
    with pytest.raises(InputError, match="is not one direction"):
        _ = view.direction
    with pytest.raises(InputError, match="probe must be below"):
        view.probe = len(study.probes)
    assert view.probe == at


def test_the_check_notices_figures_that_are_not_those_of_the_scores(results):
    study = results["concept"]
    view = study.view()
    assert view.on_check(Job())["same"] is True
    broken = directed.changed(study, "diff_mean", auroc=study["diff_mean"].auroc - 0.25)
    answer = broken.view().on_check(Job())
    assert answer["same"] is False
    assert "2.5e-01" in answer["detail"]


def test_a_snapshot_holds_what_is_selected(results):
    view = results["concept"].view(method="diff_mean")
    view.on_score(Job(), "diff_mean", "the cat")
    data = view.snapshot()
    kinds = {record["kind"] for record in data["records"]}
    assert kinds == {"features", "dashboard", "score"}
    assert data["state"]["focus"] == view.focus != ""
    json.dumps(data, allow_nan=False)


def test_without_a_session_what_was_computed_is_shown(results, tmp_path):
    for name, result in results.items():
        again = wb.load(result.save(tmp_path / f"{name}.wb"))
        view = again.view()
        assert view.initial()["live"] is False
        assert view.snapshot()["records"] == []
        assert "wb-static" in view.static_html()
    with pytest.raises(InputError, match="bound_to"):
        view.on_features(Job(), view.key)


def test_static_tables_are_escaped_and_wrong_results_refused(results):
    study = directed.changed(results["concept"], "sae", note="<script>alert(1)</script>")
    text = study.view().static_html()
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "resid_post.1</td>" in results["direction"].view().static_html()
    with pytest.raises(InputError, match="got dict"):
        DirectionView({})
    with pytest.raises(InputError, match="nearest must be"):
        results["direction"].view(nearest=0)

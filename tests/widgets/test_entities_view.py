"""The Python side of the entity view: the study's own numbers, answers and attention."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from browser import entity_studies, tiny

from workbench.directions.entities.prompts import question_prompt
from workbench.directions.entities.pushes import Push
from workbench.directions.entities.steering import Condition, answer
from workbench.errors import InputError
from workbench.features.refs import FeatureSet
from workbench.widgets import EntityView
from workbench.widgets import entities_ask as ask
from workbench.widgets.jobs import Job, Superseded
from workbench.widgets.protocol import Request


@pytest.fixture(scope="module")
def study():
    return entity_studies.study(tiny.session())


def job_of(kind):
    return Job(Request(id="1", kind=kind, params={}, channel=kind), lambda *_: None, None)


def test_names_are_read_as_the_study_scored_them(study):
    view = study.view()
    assert isinstance(view, EntityView)
    for at, text in enumerate(study.questions_asked):
        read = view.reading(text, view.known, view.unknown)
        assert read["entity"] == at
        first, last = read["name"]
        assert read["focus"] == last
        assert "".join(read["tokens"][first : last + 1]).strip() == study.knowledge[at].entity.name
        here = [study.activations(f)[at] for f in (view.known, view.unknown)]
        assert read["values"][:, last] == pytest.approx(here, abs=1e-4)
    assert view.on_check(job_of("check"))["same"]
    assert view.table["unknown"].max() > 0


def test_the_meter_counts_names_where_they_lie(study):
    view = study.view()
    found = view.reading(view.text, view.known, view.unknown)["meter"]
    known, unknown = (study.activations(f) for f in (view.known, view.unknown))
    place = unknown / unknown.max() - known / known.max()
    for label in ("known", "unknown"):
        assert sum(found[label]) == pytest.approx(1)
        rows = place[study.where(label)]
        above = sum(found[label][20:])
        assert above == pytest.approx((rows >= 0).mean())
    assert found["auroc"]["thing"] == pytest.approx(study.auroc(view.unknown)["auroc"][0])


def test_pushed_answers_and_attention_are_those_of_the_study_s_own_instruments(study):
    view = study.view()
    names, pairs = view._pushes, [(0.0, 2.0), (0.0, 0.0), (1.0, 0.5)]
    at = view.reading(view.text, view.known, view.unknown)["focus"]
    made = view.attempts(view.text, names, pairs, at)
    entity = study.knowledge[study.questions_asked.index(view.text)].entity
    prompt = question_prompt(study.style, entity, ["colour"], seed=study.seed)
    push = Push.of_features(study.session, [names[1][1:]], towards="unknown")
    conditions = [Condition(push=None), Condition(push=push, strength=2.0)]
    wanted = answer(
        study.session, study.style, [prompt], conditions, labels=["known"], split="test"
    )
    assert [made[0]["plain"]["text"], made[0]["pushed"]["text"]] == [one.text for one in wanted]
    assert wanted[0].text != wanted[1].text
    assert made[1]["plain"] == made[1]["pushed"]
    # At two sites, each is pushed by its own strength.
    both = ask.pushed(study, names, pairs[2])
    for name, strength in zip(names, pairs[2], strict=True):
        for site, vector in ask.push_of(study, name).vectors.items():
            assert both.vectors[site] == pytest.approx(strength * vector)

    question = ask.asked(study, view.text)
    ran = study.session.run(question.tokens, capture=["pattern.2"])["pattern.2"][0]
    seen = ran[:, int(question.tokens.last[0]), question.first : question.last + 1].sum(-1)
    assert made[0]["before"][2] == pytest.approx(seen.numpy(), abs=1e-5)
    assert np.array_equal(made[1]["before"], made[1]["after"])
    # A push after the second block changes nothing before it.
    change = np.abs(made[0]["after"] - made[0]["before"]).max(1)
    assert change[:2].max() < 1e-6 < 1e-3 < change[2]


def test_a_snapshot_holds_what_its_sliders_replay(study):
    view = study.view()
    data = view.snapshot()
    assert data["initial"]["live"] is False
    texts = data["initial"]["recorded"]
    assert view.text in texts
    assert {study.knowledge[study.questions_asked.index(t)].label for t in texts} == {
        "known",
        "unknown",
    }
    steps = data["initial"]["doses"]
    assert all(len(side) == 9 and 2.0 in side for side in steps.values())
    asked = {
        (one["params"]["text"], *one["params"]["strengths"])
        for one in data["records"]
        if one["kind"] == "push"
    }
    wanted = {(t, k, 0.0) for t in texts for k in steps["known"]}
    assert asked == wanted | {(t, 0.0, u) for t in texts for u in steps["unknown"]}


def test_without_a_session_the_study_still_shows_its_names(study, tmp_path):
    alone = dataclasses.replace(study)
    view = alone.view()
    at = alone.questions_asked.index(view.text)
    read = view.reading(view.text, view.known, view.unknown)
    assert read["values"][1, read["focus"]] == alone.activations(view.unknown)[at]
    assert view.initial()["live"] is False
    assert all(one["kind"] == "read" for one in view.snapshot()["records"])
    with pytest.raises(InputError, match="only its own questions"):
        view.reading("the cat sat", view.known, view.unknown)
    with pytest.raises(InputError, match="not bound to a session"):
        view.on_push(job_of("push"), view.text, list(view._pushes), [0.0, 1.0], 3)


def test_what_cannot_be_asked_is_said_and_changes_nothing(study):
    view = study.view()
    before = view.state
    for name, value, words in (
        ("known", "resid_post.9/1", "scored SAE"),
        ("unknown", "mlp_out.2/4000", "not a feature"),
        ("known_strength", float("nan"), "strength"),
        ("unknown_strength", 1e6, "strength"),
    ):
        with pytest.raises(InputError, match=words):
            setattr(view, name, value)
    assert view.state == before
    for names, words in ((("mlp_out.2/5", ""), "written"), (("+mlp_out.2/99", ""), "99")):
        with pytest.raises(InputError, match=words):
            view.attempts(view.text, names, [(1.0, 0.0)], 3)
    with pytest.raises(InputError, match="token 999"):
        view.attempts(view.text, view._pushes, [(1.0, 0.0)], 999)
    with pytest.raises(InputError, match="empty"):
        view.reading("  ", view.known, view.unknown)
    # What was stopped is not kept: the same asked again is answered in full.
    with pytest.raises(Superseded):
        view.attempts(view.text, view._pushes, [(0.5, 0.0)], 30, cancel=lambda: True)
    assert view.attempts(view.text, view._pushes, [(0.5, 0.0)], 30)[0]["pushed"]["text"]


def test_typed_text_is_read_and_the_selection_is_what_is_read(study):
    view = study.view(text="the young cat sat on the old mat", unknown="resid_post.1/7")
    assert view.selection == FeatureSet.of([view.known, "resid_post.1/7"])
    read = view.reading(view.text, view.known, view.unknown)
    assert read["entity"] is None
    assert read["name"] is None
    assert not read["special"][read["focus"]]
    made = view.attempts(view.text, view._pushes, [(1.0, 0.0)], read["focus"])[0]
    assert made["plain"]["correct"] is None
    assert (view.known_strength, view.unknown_strength) == (0, 0)
    assert view.push is None


def test_a_shown_view_carries_its_first_picture(study):
    view = study.view()
    assert view.initial()["records"] == []
    view._repr_mimebundle_()
    kinds = [one["kind"] for one in view._initial["records"]]
    assert kinds == ["read", "push"]
    asked = view._initial["records"][1]["params"]
    assert asked["strengths"] == [view.known_strength, view.unknown_strength]
    view.precompute()
    assert len(view._initial["records"]) > 30
    # What cannot be read is left to the request, which says why.
    broken = study.view(text="the cat " * 80)
    assert "text/html" in broken._repr_mimebundle_()[0]
    assert broken.initial()["records"] == []

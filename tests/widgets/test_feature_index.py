"""The feature view on a real session, a real feature index and a real (tiny) model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from browser import tiny

from workbench.errors import TokenError
from workbench.widgets.jobs import Job
from workbench.widgets.protocol import Request

TEXTS = [
    "the old cat sat on the mat.",
    "a young dog slept under the tree.",
    "the dog ran and the cat sat.",
    "under the old tree a cat slept.",
] * 5


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    made = tiny.session()
    made.index(TEXTS, path=tmp_path_factory.mktemp("index") / "tiny", progress=False)
    yield made
    made.close()


@pytest.fixture
def view(session):
    ref = session.read(TEXTS[0], saes=["resid_post.1"]).top(1)[0]
    shown = session.feature(ref).view()
    yield shown
    shown.close()


def job() -> Job:
    return Job(Request(id="c-1", kind="x", params={}, channel="x"), lambda *_: None, None)


def test_what_is_read_is_what_a_reading_gives(view, session):
    view.text = TEXTS[1]
    reading = session.read(TEXTS[1], saes=["resid_post.1"])
    sae, want = reading.sae("resid_post.1"), np.zeros(len(reading.tokens))
    here = sae.feature == view.dashboard.ref.index
    want[sae.position[here]] = sae.value[here]
    assert view.tried.tokens == reading.tokens
    np.testing.assert_allclose(view.tried.values, want, atol=1e-5)
    with pytest.raises(TokenError):
        view.text = "the cat " * 60
    assert view.tried.text == TEXTS[1]


def test_a_brushed_range_holds_only_activations_of_that_range(view):
    edges = view.dashboard.histogram.edges
    view.brush = [float(edges[0]), float(edges[-1])]
    values = view.contexts_selected["value"]
    assert len(values)
    assert values.max() <= edges[-1] * (1 + 1e-6)
    # The largest activation lies in the last bin.
    view.brush = [float(edges[-2]), float(edges[-1])]
    assert view.contexts_selected["value"].max() == pytest.approx(view.dashboard.maximum)


def test_ablating_gives_a_change_of_loss_at_each_token(view):
    context = view.dashboard.groups[0].contexts[0]
    answer = view.on_loss_effect(job(), feature=view.feature, group=0, index=0)
    assert answer["effect"].shape == (len(context.tokens),)
    assert np.abs(np.nan_to_num(answer["effect"])).max() > 0


def test_labels_and_lists_are_the_sessions(view, session):
    view.set_label("cats")
    view.send_to("list")
    assert session.lists.label(view.feature) == "cats"
    assert str(session.lists["selected"][0]) == view.feature
    assert session.feature(view.feature).label == "cats"


def test_the_self_check_recomputes_and_finds_what_changed(view, session):
    same = view.on_check(job())
    assert same["same"], same
    assert "recomputed, all the same" in same["detail"]
    group = view.dashboard.groups[0]
    wrong = np.array(group.contexts[0].values)
    wrong[group.contexts[0].peak] *= 1.5
    contexts = (dataclasses.replace(group.contexts[0], values=wrong), *group.contexts[1:])
    groups = (dataclasses.replace(group, contexts=contexts), *view.dashboard.groups[1:])
    view.dashboard = dataclasses.replace(view.dashboard, groups=groups).bound_to(session)
    differs = view.on_check(job())
    assert not differs["same"]
    assert "values differ by" in differs["detail"]


def test_the_self_check_finds_a_changed_model(view, session):
    before = [p.clone() for p in session.model.bridge.parameters()]
    try:
        with torch.no_grad():
            for parameter in session.model.bridge.parameters():
                parameter.mul_(1.05)
        assert not view.on_check(job())["same"]
    finally:
        with torch.no_grad():
            for parameter, old in zip(session.model.bridge.parameters(), before, strict=True):
                parameter.copy_(old)
    assert view.on_check(job())["same"]

"""The Python side of the judging view."""

from __future__ import annotations

import pytest
from browser import judging

from workbench.errors import InputError
from workbench.features.refs import FeatureSet
from workbench.widgets.judge import JudgeView


def test_what_is_ticked_is_a_feature_set_in_order_of_effect():
    view = JudgeView(judging.ranked())
    assert view.irrelevant == FeatureSet()
    view.ticked = ["resid_post.2/55", "resid_post.1/640"]
    assert list(map(str, view.irrelevant)) == ["resid_post.1/640", "resid_post.2/55"]
    assert view.selection == view.irrelevant
    view.selection = FeatureSet.of("mlp_out.1/88")
    assert view.ticked == ["mlp_out.1/88"]
    view.seen = ["embed/9"]
    table = view.table.set_index("feature")
    assert table["irrelevant"].tolist() == [False, True, False, False, False]
    assert table["judged"].tolist() == [False, False, False, False, True]
    assert table["effect"].tolist() == [-2.0, 1.5, -0.75, 0.5, 0.125]


def test_labels_come_from_the_session_s_lists_and_then_from_the_saes():
    view = JudgeView(judging.ranked(judging.Session()))
    assert view.table["label"].tolist() == ["she", "hospital", "his wife", "university", "given"]
    assert JudgeView(judging.ranked()).table["label"].tolist() == [None] * 5


def test_only_features_shown_can_be_ticked():
    view = JudgeView(judging.ranked(), top=2)
    assert view.initial()["features"] == ["resid_post.1/640", "mlp_out.1/88"]
    assert len(view.initial()["effect"]) == 2
    with pytest.raises(InputError, match="not among the 2 features"):
        view.ticked = ["embed/9"]
    with pytest.raises(InputError, match="not among"):
        view.focus = "embed/9"
    with pytest.raises(InputError, match="top must be"):
        JudgeView(judging.ranked(), top=0)
    assert view.ticked == []


def test_the_static_table_is_escaped():
    view = JudgeView(judging.ranked(classes=("<script>", "b")))
    view.ticked = ["mlp_out.1/88"]
    text = view.static_html()
    assert "<script>" not in text
    assert "&lt;script&gt; against b · 1 irrelevant" in text
    assert "+1.5" in text

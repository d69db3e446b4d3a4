"""The prompt view's Python side, on made-up readings."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser

import ipywidgets
import numpy as np
import pytest
import traitlets
from browser.readings import HOSTILE, hostile, long, reading, sae_reading, striker

from workbench.errors import InputError
from workbench.features.refs import FeatureRef, FeatureSet
from workbench.widgets import PromptView
from workbench.widgets.prompt import compare
from workbench.widgets.prompt_table import feature_table


def refs(*indices: int) -> FeatureSet:
    return FeatureSet(tuple(FeatureRef("resid_post.2", index) for index in indices))


def test_it_opens_on_the_first_sae_and_the_last_token():
    view = PromptView(striker(), hide_dense=True)
    assert (view.sae, view.sort, view.hide_dense, view.focus) == (
        "resid_post.2",
        "selected",
        True,
        6,
    )
    assert view.selection == FeatureSet()
    assert repr(view).startswith("<PromptView: 'The striker")


def test_brushing_tokens_selects_the_features_on_screen_there():
    view = PromptView(striker(), hide_dense=True)
    view.set_state({"tokens_selected": [4]})
    assert view.selection == refs(417, 88, 902)
    view.hide_dense = False
    assert view.selection == refs(417, 88, 902, 13)
    view.sort = "corrected"
    # 6.42 ln(1/.0041) = 35.3, 3.1 ln(1/.0061) = 15.8, 2.77 ln(1/.0019) = 17.4
    assert view.selection == refs(417, 902, 88, 13)
    view.tokens_selected = []
    assert view.selection == FeatureSet()


def test_picked_features_are_the_selection_before_brushed_tokens():
    view = PromptView(striker(), hide_dense=True)
    view.set_state({"tokens_selected": [4], "features_picked": ["resid_post.2/88"]})
    assert view.selection == refs(88)
    view.features_picked = []
    assert view.selection == refs(417, 88, 902)


def test_setting_the_selection_picks():
    view = PromptView(striker(), hide_dense=True)
    view.selection = refs(13, 417)
    assert view.features_picked == ["resid_post.2/13", "resid_post.2/417"]
    view.selection = FeatureSet()
    assert view.features_picked == []


def test_observers_see_one_change_of_selection_per_brush():
    view, seen = PromptView(striker(), hide_dense=True), []
    view.observe(lambda change: seen.append(change["new"]), "selection")
    view.set_state({"tokens_selected": [4]})
    assert seen == [refs(417, 88, 902)]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("tokens_selected", [7], "position 7 is outside a text of 7 tokens"),
        ("tokens_selected", [-1], "position -1"),
        ("sae", "resid_post.3", "did you mean 'resid_post.2'"),
        ("features_picked", ["resid_post.2"], "written 'sae/index'"),
        ("focus", 7, "focus 7"),
    ],
)
def test_values_that_do_not_fit_are_refused_and_change_nothing(name, value, message):
    view = PromptView(striker(), hide_dense=True)
    before = view.state
    with pytest.raises(InputError, match=message):
        setattr(view, name, value)
    assert view.state == before


def test_sort_names_what_it_knows():
    with pytest.raises(traitlets.TraitError, match="density"):
        PromptView(striker(), hide_dense=True).sort = "density"


def test_another_sae_follows_with_its_own_table():
    view = PromptView(striker(), hide_dense=True, sae="attn_out.1")
    assert list(view.table["feature"]) == ["attn_out.1/5", "attn_out.1/9"]
    assert view._initial["first"]["sae"] == "attn_out.1"
    assert view.records() == [("sae", {"name": "resid_post.2"})]


def test_two_views_compose_and_link():
    left, right = PromptView(striker(), hide_dense=True), PromptView(striker(), hide_dense=True)
    box = ipywidgets.VBox([ipywidgets.HBox([left]), right])
    assert box.children[1] is right
    traitlets.link((left, "tokens_selected"), (right, "tokens_selected"))
    traitlets.link((left, "selection"), (right, "selection"))
    left.set_state({"tokens_selected": [2]})
    assert right.tokens_selected == [2]
    right.features_picked = ["resid_post.2/88"]
    assert left.selection == refs(88)
    assert left.features_picked == ["resid_post.2/88"]


def test_a_new_reading_replaces_the_text_and_keeps_the_choice_of_sae():
    view = PromptView(striker(), hide_dense=True, sae="attn_out.1", tokens_selected=[4])
    other = reading(("<s>", "A", " word"), striker().saes[:1])
    view.reading = other
    assert (view.sae, view.tokens_selected, view.focus) == ("resid_post.2", [], 2)
    assert view._initial["tokens"] == ["<s>", "A", " word"]


def test_without_saes_there_is_a_view_but_no_table():
    view = PromptView(reading(("<s>", "a"), ()))
    assert view.sae is None
    assert view._initial["first"] is None
    assert "no SAE" in view.static_html()
    with pytest.raises(InputError, match="no SAE"):
        _ = view.table
    view.tokens_selected = [1]
    assert view.selection == FeatureSet()


def test_an_empty_text_is_shown_as_such():
    view = PromptView(reading((), (sae_reading("a", {}),), text=""))
    assert view.table.empty
    assert "0 tokens" in view.static_html()


def brute_force(read, sae, tokens, sort, hide_dense):
    scope = [i for i in range(len(read.tokens)) if not read.special[i]]
    if sort != "max" and tokens:
        scope = tokens
    out = []
    for row, feature in enumerate(sae.features):
        values = [
            float(v)
            for p, f, v in zip(sae.position, sae.feature, sae.value, strict=True)
            if f == feature and p in scope
        ]
        density = sae.density[row]
        if not values or max(values) <= 0 or (hide_dense and density > 0.01):
            continue
        corrected = max(values) * np.log(1 / density) if density > 0 else np.nan
        key = corrected if sort == "corrected" else max(values)
        out.append((np.isnan(key), -np.nan_to_num(key), -max(values), int(feature)))
    return [f"{sae.sae}/{feature}" for *_, feature in sorted(out)]


@pytest.mark.parametrize("sort", ["selected", "max", "corrected"])
@pytest.mark.parametrize("hide_dense", [True, False])
@pytest.mark.parametrize("tokens", [[], [0], [3, 4, 17]])
def test_the_table_is_what_brute_force_gives(sort, hide_dense, tokens):
    for read in (striker(), long(30, 60)):
        at = [t for t in tokens if t < len(read.tokens)]
        sae = read.saes[0]
        table = feature_table(read, sae, tokens=at, sort=sort, hide_dense=hide_dense)
        assert list(table["feature"]) == brute_force(read, sae, at, sort, hide_dense)


def test_the_first_picture_of_a_long_text_is_requested():
    view = PromptView(long(2000, 3000))
    assert view._initial == {"$request": True, "version": 1}


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        assert set(attrs) <= {("class", "wb-static"), ("style", "text-align:left")}

    def handle_data(self, data):
        self.text.append(data)


def test_hostile_text_stays_text_in_the_static_table():
    view = PromptView(hostile(), hide_dense=False)
    parser = _Tags()
    parser.feed(view.static_html())
    allowed = {"div", "p", "b", "code", "table", "thead", "tbody", "tr", "th", "td"}
    assert set(parser.tags) <= allowed
    text = "".join(parser.text)
    assert "<script>window.pwned=1</script>" in text
    assert "<img·src=x·onerror=window.pwned=2>" in text
    assert "U+202Eevil" in text


def test_hostile_text_stays_text_in_the_page():
    page = PromptView(hostile()).to_html()
    page.encode("utf-8")
    bodies = re.findall(
        r'<script type="application/json" id="data-0">(.*?)</script>', page, re.DOTALL
    )
    assert len(bodies) == 1
    data = json.loads(bodies[0])
    assert data["initial"]["tokens"][1:4] == list(HOSTILE[:3])
    # The document's own scripts: the data and one module.
    assert len(re.findall(r"<script", page)) - page.count("<script>window") == 2
    assert "&lt;script&gt;window.pwned=1" in page


def test_the_page_may_connect_to_nothing_and_run_only_its_own_script(tmp_path):
    path = PromptView(striker(), hide_dense=True).to_html(tmp_path / "view.html")
    page = path.read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    assert "default-src &#x27;none&#x27;" in policy
    assert "connect-src &#x27;none&#x27;" in policy
    assert "unsafe-eval" not in policy
    assert "script-src &#x27;sha256-" in policy
    assert "script-src &#x27;unsafe-inline" not in policy
    assert not re.search(r"""(src|href)=["']?http""", page)


def test_a_snapshot_answers_for_every_sae_but_cannot_read():
    data = PromptView(striker(), hide_dense=True, tokens_selected=[4]).snapshot()
    assert data["state"]["tokens_selected"] == [4]
    assert [r["params"] for r in data["records"]] == [{"name": "attn_out.1"}]
    assert data["initial"]["can_read"] is False
    json.dumps(data, allow_nan=False)


def test_reading_other_text_needs_a_session():
    view = PromptView(striker(), hide_dense=True)
    sent = []
    view.send = lambda content, buffers=None: sent.append(content)
    view._receive(view, {"id": "a-1", "kind": "read", "params": {"text": "x"}}, [])
    view._worker.join(10)
    assert "not bound to a session" in sent[-1]["error"]["message"]


def test_the_self_check_finds_what_changed():
    shown = striker()
    assert compare(shown, striker())["same"]
    value = shown.saes[0].value.copy()
    row = int(np.argmax(shown.saes[0].feature == 88))
    value[row] += 0.25
    changed = dataclasses.replace(
        shown, saes=(dataclasses.replace(shown.saes[0], value=value), shown.saes[1])
    )
    result = compare(shown, changed)
    assert not result["same"]
    assert "0.25" in result["detail"]
    assert f"resid_post.2/88 at position {shown.saes[0].position[row]}" in result["detail"]


def test_the_self_check_sees_features_that_appeared_or_went():
    shown = striker()
    fewer = dataclasses.replace(
        shown.saes[1],
        **{k: getattr(shown.saes[1], k)[:-1] for k in ("position", "feature", "value")},
    )
    changed = dataclasses.replace(shown, saes=(shown.saes[0], fewer))
    assert not compare(shown, changed)["same"]
    assert not compare(changed, shown)["same"]


def test_the_self_check_does_not_compare_other_tokens():
    with pytest.raises(InputError, match="nothing to compare"):
        compare(striker(), hostile())


def test_provenance_says_what_the_numbers_rest_on():
    told = PromptView(striker(), hide_dense=True)._initial["provenance"]
    assert told["summary"] == "demo · BOS once · 7 tokens"
    facts = dict(map(tuple, told["facts"]))
    assert facts["Fingerprint"] == "0123456789abcdef"
    assert "1 special" in facts["Tokens"]
    assert "topk, 1,024 features at resid_post.2" in facts["resid_post.2"]
    assert "torch" in facts["Versions"]

from __future__ import annotations

import json
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import InputError, LoadError
from workbench.features.lists import FeatureLists
from workbench.features.refs import FeatureRef

HOSTILE = "<img src=x onerror=alert(1)>"


def some() -> FeatureLists:
    lists = FeatureLists(model="tiny")
    lists.annotate("resid_post.2/417", label="cities", note="not towns", colour="#0072B2")
    lists.annotate("embed/3", label=HOSTILE)
    lists.add("places", ["resid_post.2/417", "resid_post.2/9"], note="where", colour="#e69f00")
    lists.add("empty")
    return lists


def test_labels_and_lists():
    lists = some()
    assert (
        lists.label("resid_post.2/417") == lists.label(FeatureRef("resid_post.2", 417)) == "cities"
    )
    assert lists.label("resid_post.2/9") is None
    assert lists.annotation("resid_post.2/417").colour == "#0072b2"
    assert lists.names == ("places", "empty")
    assert [str(ref) for ref in lists["places"]] == ["resid_post.2/417", "resid_post.2/9"]
    assert lists.list("places").note == "where"
    assert "places" in lists
    assert len(lists) == 2
    lists.add("places", "embed/3")
    lists.add("places", "resid_post.2/9")
    assert len(lists["places"]) == 3
    assert len(lists.remove("places", ["embed/3"])) == 2
    assert lists.label("embed/3") == HOSTILE
    lists.rename("places", "cities")
    assert lists.names == ("cities", "empty")
    assert lists.delete("empty").features == lists.add("new")
    lists.annotate("embed/3", label="  ")
    assert lists.label("embed/3") is None
    assert [str(ref) for ref in lists.features] == ["resid_post.2/417"]


def test_the_table_shows_every_feature_once():
    table = some().to_pandas().set_index("feature")
    assert list(table.index) == ["resid_post.2/417", "embed/3", "resid_post.2/9"]
    assert table.loc["resid_post.2/417", "lists"] == ("places",)
    assert table["label"].isna().tolist() == [False, False, True]
    assert "<img" not in some()._repr_html_()
    assert repr(some()) == "FeatureLists(2 lists, 2 features annotated)"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda lists: lists["place"], "did you mean 'places'"),
        (lambda lists: lists.annotate("417"), "sae/index"),
        (lambda lists: lists.annotate("embed/3", colour="red"), "#rrggbb"),
        (lambda lists: lists.annotate("embed/3", label="x" * 20_001), "20,000"),
        (lambda lists: lists.annotate("embed/3", label="\ud800"), "surrogate"),
        (lambda lists: lists.add(" ", "embed/3"), "1 to 200"),
        (lambda lists: lists.add("places", "embed"), "sae/index"),
        (lambda lists: lists.remove("places", "resid_post.2/8"), "resid_post.2/9"),
        (lambda lists: lists.rename("places", "empty"), "already"),
        (lambda lists: lists.delete("x"), "expected one of"),
        (lambda lists: lists.merge(FeatureLists(), conflict="mine"), "conflict policy"),
        (lambda lists: lists.merge(FeatureLists(model="gpt2"), conflict="ours"), "gpt2"),
        (lambda lists: lists.save(), "give a path"),
    ],
)
def test_bad_input_changes_nothing(call, message):
    lists = some()
    with pytest.raises(InputError, match=message):
        call(lists)
    assert lists == some()


# -- files ---------------------------------------------------------------------------------------


def test_the_file_is_for_people(tmp_path):
    path = some().save(tmp_path / "mine.json")
    text = path.read_text()
    assert json.loads(text) == {
        "format": "workbench feature lists",
        "schema": 1,
        "model": "tiny",
        "features": {
            "resid_post.2/417": {"label": "cities", "note": "not towns", "colour": "#0072b2"},
            "embed/3": {"label": HOSTILE},
        },
        "lists": {
            "places": {
                "note": "where",
                "colour": "#e69f00",
                "features": ["resid_post.2/417", "resid_post.2/9"],
            },
            "empty": {"features": []},
        },
    }
    assert '\n      "label": "cities",\n' in text
    again = FeatureLists.read(path)
    assert again == some()
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.json"]


def test_a_folder_holds_lists_json(tmp_path):
    lists = FeatureLists.open(tmp_path, model="tiny")
    lists.annotate("embed/1", label="é 漢字")
    assert lists.save() == tmp_path / "lists.json"
    again = FeatureLists.open(tmp_path, model="tiny")
    assert again.label("embed/1") == "é 漢字"
    assert "漢字" in (tmp_path / "lists.json").read_text(encoding="utf-8")
    with pytest.raises(InputError, match="of model 'tiny', expected 'gpt2'"):
        FeatureLists.open(tmp_path, model="gpt2")
    with pytest.raises(LoadError, match="no file"):
        FeatureLists.read(tmp_path / "nothing.json")


def test_saving_loses_nobodys_changes(tmp_path):
    path = some().save(tmp_path / "lists.json")
    mine, theirs = FeatureLists.read(path), FeatureLists.read(path)
    theirs.annotate("embed/9", label="new")
    theirs.save()
    theirs.annotate("embed/9", label="newer")
    theirs.save()  # their own writing is no change
    mine.annotate("embed/8", label="mine")
    with pytest.raises(InputError, match="has changed since"):
        mine.save()
    mine.merge(path, conflict="ours")
    mine.save()
    both = FeatureLists.read(path)
    assert (both.label("embed/8"), both.label("embed/9")) == ("mine", "newer")
    with pytest.raises(InputError, match="has changed since"):
        some().save(path)
    some().save(path, overwrite=True)
    assert FeatureLists.read(path) == some()


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = some().save(tmp_path / "lists.json")
    before = path.read_bytes()
    lists = FeatureLists.read(path)
    lists.annotate("embed/9", label="new")

    def full(_):
        raise OSError("disk full")

    monkeypatch.setattr("workbench.features.lists_file.os.fsync", full)
    with pytest.raises(OSError, match="disk full"):
        lists.save()
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["lists.json"]


HEAD = {"format": "workbench feature lists", "schema": 1}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not valid JSON"),
        (b"[]", "not a file of feature lists"),
        (b'{"format": "other"}', "not a file of feature lists"),
        (HEAD | {"schema": 2}, "schema 2, this version reads 1; update"),
        (HEAD | {"model": 5}, "model: expected text"),
        (HEAD | {"features": []}, "features: expected an object"),
        (HEAD | {"features": {"417": {}}}, "sae/index"),
        (HEAD | {"features": {"e/1": "x"}}, r"features\['e/1'\]: expected an object"),
        (HEAD | {"features": {"e/1": {"label": 5}}}, "label: expected text, got int"),
        (HEAD | {"features": {"e/1": {"lable": "x"}}}, "did you mean 'label'"),
        (HEAD | {"features": {"e/1": {"color": "#000000"}}}, "did you mean 'colour'"),
        (HEAD | {"features": {"e/1": {"colour": "blue"}}}, r"e/1.*#rrggbb"),
        (HEAD | {"features": {"e/1": {"other_labels": "x"}}}, "other_labels"),
        (HEAD | {"lists": {"": {}}}, "1 to 200"),
        (HEAD | {"lists": {"a": {"features": ["x"]}}}, r"lists\['a'\].*sae/index"),
        (HEAD | {"lists": {"a": {"features": [5]}}}, r"lists\['a'\].*sae/index"),
        (HEAD | {"list": {}}, "did you mean 'lists'"),
        (b'{"format": "workbench feature lists", "schema": 1, "lists": {}, "lists": {}}', "twice"),
        (b"[" * 100_000, "not valid JSON"),
        (b"\xff", "not valid JSON"),
    ],
)
def test_damaged_files_are_refused_by_place(tmp_path, data, message):
    path = tmp_path / "lists.json"
    path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    with pytest.raises(LoadError, match=message):
        FeatureLists.read(path)
    mine = some()
    with pytest.raises(LoadError):
        mine.merge(path, conflict="both")
    assert mine == some()


def test_what_others_put_into_the_file_stays(tmp_path):
    document = HEAD | {
        "model": None,
        "author": "me",
        "features": {"e/1": {"label": "x", "score": 0.5}},
        "lists": {"a": {"features": [], "order": [1]}},
    }
    path = tmp_path / "lists.json"
    path.write_text(json.dumps(document))
    lists = FeatureLists.read(path)
    lists.annotate("e/1", label="y")
    lists.save()
    document["features"]["e/1"]["label"] = "y"
    assert json.loads(path.read_text()) == document


def test_annotating_from_several_threads(tmp_path):
    lists = FeatureLists(path=tmp_path / "lists.json")

    def work(start: int) -> None:
        for index in range(start, start + 50):
            lists.annotate(f"e/{index}", label=str(index))
            lists.add("all", f"e/{index}")
            lists.save()

    threads = [threading.Thread(target=work, args=(100 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lists["all"]) == len(lists.features) == 200
    assert FeatureLists.read(tmp_path / "lists.json") == lists


# -- merging -------------------------------------------------------------------------------------


def two() -> tuple[FeatureLists, FeatureLists]:
    ours, theirs = FeatureLists(model="tiny"), FeatureLists()
    ours.annotate("e/1", label="cats", note="ours", colour="#000000")
    ours.annotate("e/2", note="only a note")
    ours.add("animals", ["e/1", "e/2"], note="beasts")
    theirs.annotate("e/1", label="felines", note="theirs", colour="#ffffff")
    theirs.annotate("e/2", label="dogs")
    theirs.annotate("e/3", label="birds")
    theirs.add("animals", ["e/3", "e/1"], note="pets")
    theirs.add("more", ["e/3"])
    return ours, theirs


@pytest.mark.parametrize(
    ("policy", "label", "others", "note", "colour", "about"),
    [
        ("ours", "cats", (), "ours", "#000000", "beasts"),
        ("theirs", "felines", (), "theirs", "#ffffff", "pets"),
        ("both", "cats", ("felines",), "ours\n\ntheirs", "#000000", "beasts\n\npets"),
    ],
)
def test_conflicts_go_by_the_policy_and_are_told(policy, label, others, note, colour, about):
    ours, theirs = two()
    before = theirs.to_dict()
    report = ours.merge(theirs, conflict=policy)
    one = ours.annotation("e/1")
    assert (one.label, one.other_labels, one.note, one.colour) == (label, others, note, colour)
    assert ours.list("animals").note == about
    # What only one side says is no conflict.
    assert (ours.label("e/2"), ours.annotation("e/2").note) == ("dogs", "only a note")
    assert [str(ref) for ref in ours["animals"]] == ["e/1", "e/2", "e/3"]
    assert report.added_features == ("e/3",)
    assert report.added_lists == ("more",)
    assert dict(report.grown) == {"animals": 1}
    told = {(one.where, one.field): (one.ours, one.theirs) for one in report.conflicts}
    assert told == {
        ("e/1", "label"): ("cats", "felines"),
        ("e/1", "note"): ("ours", "theirs"),
        ("e/1", "colour"): ("#000000", "#ffffff"),
        ("list 'animals'", "note"): ("beasts", "pets"),
    }
    assert len(report.to_pandas()) == 4
    assert theirs.to_dict() == before


def test_a_note_of_several_paragraphs_is_joined_once():
    ours, theirs = FeatureLists(), FeatureLists()
    ours.annotate("e/1", note="one")
    theirs.annotate("e/1", note="two\n\nthree")
    ours.merge(theirs, conflict="both")
    assert ours.annotation("e/1").note == "one\n\ntwo\n\nthree"
    assert ours.merge(theirs, conflict="both").conflicts == ()
    assert ours.annotation("e/1").note == "one\n\ntwo\n\nthree"


def test_merging_into_their_file_is_the_other_way_round(tmp_path):
    ours, theirs = two()
    path = theirs.save(tmp_path / "theirs.json")
    kept = ours.to_dict()
    report = ours.merge_into(path, conflict="ours")
    found = FeatureLists.read(path)
    assert found.label("e/1") == "cats"
    assert found.label("e/3") == "birds"
    assert found.model == "tiny"
    assert [str(ref) for ref in found["animals"]] == ["e/3", "e/1", "e/2"]
    first = report.conflicts[0]
    assert (first.ours, first.theirs, first.kept) == ("cats", "felines", "cats")
    assert ours.to_dict() == kept


def test_another_models_lists_need_a_word():
    ours, theirs = FeatureLists(model="a"), FeatureLists(model="b")
    theirs.annotate("e/1", label="x")
    with pytest.raises(InputError, match="another feature there"):
        ours.merge(theirs, conflict="ours")
    ours.merge(theirs, conflict="ours", any_model=True)
    assert (ours.label("e/1"), ours.model) == ("x", "a")


def test_features_a_session_lacks_are_found():
    sizes = {"embed": SimpleNamespace(d_sae=4)}
    lists = FeatureLists()
    lists.annotate("embed/3", label="x")
    lists.add("a", ["embed/4", "resid_post.0/0"])
    found = lists.missing(SimpleNamespace(saes=sizes))
    assert [str(ref) for ref in found] == ["embed/4", "resid_post.0/0"]


words = st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
refs = st.builds(FeatureRef, st.sampled_from(["e", "resid_post.1"]), st.integers(0, 3))
colours = st.sampled_from(["", "#000000", "#ffffff"])


@st.composite
def books(draw) -> FeatureLists:
    lists = FeatureLists(model=draw(st.sampled_from([None, "m"])))
    for ref, label, note, colour in draw(
        st.lists(st.tuples(refs, words, words, colours), max_size=4)
    ):
        lists.annotate(ref, label=label, note=note, colour=colour)
    names = st.sampled_from(["a", "b", "a long name"])
    for name, members, note in draw(st.lists(st.tuples(names, st.lists(refs), words), max_size=3)):
        lists.add(name, members, note=note)
    return lists


def copy(lists: FeatureLists) -> FeatureLists:
    new = FeatureLists(model=lists.model)
    new.merge(lists, conflict="theirs")
    return new


@given(books())
def test_any_file_survives(tmp_path_factory, lists):
    path = tmp_path_factory.mktemp("lists") / "x.json"
    assert FeatureLists.read(lists.save(path)) == lists


@given(books(), books(), st.sampled_from(["ours", "theirs", "both"]))
def test_merging_twice_changes_nothing_more(ours, theirs, policy):
    ours.merge(theirs, conflict=policy)
    once = copy(ours)
    again = ours.merge(theirs, conflict=policy)
    assert ours == once
    assert not again.added_features
    assert not again.added_lists
    assert not again.grown


@given(books(), books(), st.sampled_from(["ours", "theirs", "both"]))
def test_merging_drops_nothing_but_what_it_tells(ours, theirs, policy):
    before = copy(ours)
    report = ours.merge(theirs, conflict=policy)
    dropped = {(one.where, one.field) for one in report.conflicts if one.kept != one.ours}
    for side in (before, theirs):
        for name in side:
            assert set(side[name]) <= set(ours[name])
        for ref in side.features:
            now, then = ours.annotation(ref), side.annotation(ref)
            told = {one.field for one in report.conflicts if one.where == str(ref)}
            for field in ("label", "note", "colour"):
                if getattr(now, field) != getattr(then, field) and getattr(then, field):
                    assert field in told
    if policy == "ours":
        assert not dropped
    if policy == "both":
        for ref in theirs.features:
            label = theirs.label(ref)
            one = ours.annotation(ref)
            assert label is None or label == one.label or label in one.other_labels


@given(books())
def test_merging_with_oneself_is_no_conflict(lists):
    before = copy(lists)
    assert lists.merge(copy(lists), conflict="both").conflicts == ()
    assert lists == before

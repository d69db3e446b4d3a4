"""The entity study on the demo world, whose truth is known, and its resuming after a kill."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import workbench as wb
from workbench.demo.entities import entity_rows, prompt_style
from workbench.directions.entities import (
    Asking,
    EntityStudy,
    StoppedError,
    ask,
    entity_list,
    orthogonalised,
    study,
    uncertainty,
)
from workbench.directions.entities.prompts import EntityPrompt, tokenise
from workbench.directions.entities.steering import Condition, answer, controls
from workbench.directions.entities.styles import style_of
from workbench.errors import InputError, LoadError

SAES = ("mlp_out.0", "resid_post.0", "resid_post.1", "resid_post.3")
FEW = Asking(samples=3, right=2)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(demo_session) -> EntityStudy:
    """A study of 24 known and 24 unknown names of each type."""
    return demo_session.entities(entities=entity_rows(24), saes=SAES, asking=FEW)


def test_the_study_finds_what_the_model_knows(found: EntityStudy) -> None:
    table = found.entities()
    assert found.types == ("player", "film", "city", "song")
    asked = table[~table["given"]]
    assert (asked["label"] == "known").mean() > 0.97
    assert (table[table["given"]]["label"] == "unknown").all()
    answers = found.answers()
    assert answers["greedy_right"].mean() > 0.95
    assert set(answers["samples"]) == {3}
    assert (table.groupby(["type", "label"])["split"].value_counts() > 0).all()


def test_one_feature_parts_unknown_from_known_names_of_every_type(found: EntityStudy) -> None:
    best = found.unknown_features[0]
    area = found.auroc(best)
    assert area["auroc"].min() >= 0.95
    assert ((area["low"] <= area["auroc"]) & (area["auroc"] <= area["high"])).all()
    assert (area["known"] == 10).all()
    # Early: the SAE after the fourth block has nothing like it.
    layers = found.by_layer().set_index("sae")["separation"]
    assert layers["resid_post.1"] > 0.8 > 0.5 > layers["resid_post.3"]
    # The whole activation tells at least as much as one feature.
    methods = found.methods()
    worst = methods.groupby(["method", "site"])["auroc"].min()
    assert worst["probe", "resid_post.0"] > 0.97
    assert worst["diff_mean", "resid_post.0"] > 0.97


def test_ranked_features_are_what_the_rates_say(found: EntityStudy) -> None:
    for side in ("known", "unknown"):
        top = found.ranked(side)[0]
        fires = found.activations(top.feature) > 1e-6
        gaps = {}
        for kind in found.types:
            known = fires[found.where("known", "train", kind)].mean()
            unknown = fires[found.where("unknown", "train", kind)].mean()
            gaps[kind] = known - unknown if side == "known" else unknown - known
        assert top.by_type == pytest.approx(gaps)
        assert top.score == pytest.approx(min(gaps.values()))
    assert found.known_features & found.unknown_features == found.known_features[:0]
    assert len(found.known_features) <= 20
    bound = dataclasses.replace(found, max_density=0.05)
    assert all(r.density < 0.05 for r in bound.ranked("unknown"))


def test_pushes_turn_answers_round_and_random_ones_do_not(found: EntityStudy) -> None:
    assert found.steering is not None
    rates = found.steering.rates().set_index(["towards", "replaces", "label"])
    assert rates.loc["unknown", "unknown", "known"]["changed"] >= 0.8
    assert rates.loc["known", "known", "unknown"]["changed"] >= 0.8
    assert rates.loc["control", "unknown", "known"]["changed"] <= 0.1
    assert rates.loc["control", "known", "unknown"]["changed"] <= 0.1
    # What it answers about names it does not know is of the kind asked for: it makes facts up.
    # (Some of it is a year that none of these few entities has.)
    assert rates.loc["known", "known", "unknown"]["stated"] >= 0.6
    # Early layers act; the fourth block's directions no longer refuse anything.
    depth = found.steering.depth()
    refusing = depth[(depth["towards"] == "unknown") & (depth["label"] == "known")]
    assert refusing[refusing["layer"] == 0]["changed"].max() >= 0.8
    assert refusing[refusing["layer"] == 3]["changed"].max() <= 0.1


def test_the_check_and_attention_follow_the_pushes(found: EntityStudy) -> None:
    assert found.check is not None
    assert found.attention is not None
    means = found.check.means().set_index(["label", "towards"])["difference"]
    assert means["known", ""] > 0 > means["unknown", ""]
    assert means["known", "unknown"] < 0 < means["unknown", "known"]
    table = found.attention.to_pandas()
    assert table["attention"].between(0, 1.0001).all()
    assert (table[table["towards"] == ""]["change"] == 0).all()
    # Heads that fetch facts look at the name less when it is taken for unknown.
    down = table[(table["towards"] == "unknown") & (table["label"] == "known")]
    assert down["change"].min() < -0.3


def test_attention_equals_what_a_single_pass_shows(demo_session, found: EntityStudy) -> None:
    from workbench.directions.entities.attention import attention_to_names

    one = attention_to_names(demo_session, found, [], most=1)
    prompt = found.questions("test", "known", 1)[0]
    made = tokenise(demo_session.model, found.style, [prompt])
    ran = demo_session.run(made.tokens, capture=["pattern.1"])["pattern.1"][0]
    first, last = int(made.first[0]), int(made.last[0])
    expected = ran[:, int(made.tokens.last[0]), first : last + 1].sum(-1)
    assert one.mean[0, 0, 1] == pytest.approx(expected.numpy(), abs=1e-5)


def test_controls_part_nothing_and_match_the_push(demo_session, found: EntityStudy) -> None:
    assert found.steering is not None
    push = found.steering.pushes[found.steering.chosen["unknown"][0]]
    made = controls(demo_session, found, push, n=5, seed=1)
    assert len({one.name for one in made}) == 5
    rates = found.rates("train")
    for one in made:
        assert set(one.vectors) == set(push.vectors)
        for part in one.name.split():
            sae, _, index = part[1:].rpartition("/")
            assert np.abs(rates[sae].separation("known")[:, int(index)]).max() < 0.1
        for vector in one.vectors.values():
            assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_unpushed_answers_are_ordinary_answers(demo_session, found: EntityStudy) -> None:
    from workbench.model import TokenPolicy

    prompts = found.questions("test", "unknown", 3)
    made = answer(
        demo_session, found.style, prompts, [Condition(push=None)], labels=["unknown"] * 3, split=""
    )
    for prompt, row in zip(prompts, made, strict=True):
        plain = demo_session.model.generate(
            prompt.text,
            max_new_tokens=found.style.answer_tokens,
            policy=TokenPolicy(chat=True),
        )
        assert row.text == plain.completion


def test_orthogonal_weights_make_the_model_answer_about_unknown_names(
    demo_session, found: EntityStudy
) -> None:
    prompts = found.questions("test", "unknown", 24)
    labels = ["unknown"] * len(prompts)

    def refused() -> float:
        made = answer(
            demo_session, found.style, prompts, [Condition(push=None)], labels=labels, split=""
        )
        return float(np.mean([row.refused for row in made]))

    before = refused()
    with orthogonalised(demo_session, *found.top("unknown", 1, layer=0)):
        during = refused()
    assert before > 0.8
    assert during < before - 0.5
    assert refused() == before


def test_a_text_is_read_with_the_recognition_features(found: EntityStudy) -> None:
    reading = found.read("The striker Elena Marsh plays for", ["resid_post.0/788"])
    assert reading.tokens[-3:] == ("Marsh", "plays", "for")
    acts = found.session.run("The striker Elena Marsh plays for", capture=["resid_post.0"])
    code = found.session.saes["resid_post.0"].encode_dense(acts["resid_post.0"][0])
    assert reading.values[0] == pytest.approx(code[:, 788].numpy(), abs=1e-4)
    assert reading.sides == ("unknown",)
    assert reading.scale[0] == found.activations("resid_post.0/788").max()
    with pytest.raises(InputError, match="scored SAE"):
        found.activations("resid_post.9/1")


def test_the_study_and_its_parts_are_saved_and_read(found: EntityStudy, tmp_path: Path) -> None:
    back = wb.load(found.save(tmp_path / "study"))
    assert isinstance(back, EntityStudy)
    assert back.to_pandas().equals(found.to_pandas())
    assert back.entities().equals(found.entities())
    assert back.steering.rates().equals(found.steering.rates())
    assert back.attention.to_pandas().equals(found.attention.to_pandas())
    assert back.style == found.style
    assert "EntityStudy" in repr(back)
    with pytest.raises(InputError, match="not bound"):
        back.read("anything")
    for figure in (back.plot_layers(), back.plot_scatter(), back.plot_methods()):
        assert figure.data
    assert back.steering.plot().data
    assert back.steering.plot_depth().data
    assert back.attention.plot().data


def test_what_training_never_said_is_told_apart_before_it_is_said(demo_session) -> None:
    style = style_of(demo_session.model, prompt_style())
    made = uncertainty(
        demo_session,
        entity_list(entity_rows(12)),
        style=style,
        completions=True,
        saes=["attn_out.1", "resid_post.0"],
    )
    assert made.types == ("player", "film", "city", "song")
    assert made.aurocs.max() > 0.7
    assert made.of_side("uncertain") or made.of_side("certain")
    right = {(a.entity, a.correct) for a in made.answers}
    assert ("Elena Marsh", True) in right
    # Asked by questions, the model refuses what it does not know: there is nothing wrong to see.
    with pytest.raises(InputError, match="right and wrong"):
        uncertainty(demo_session, entity_list(entity_rows(4)), style=style, saes=["resid_post.0"])


# -- asking ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def players():
    """Forty known players: 160 questions, three batches."""
    rows = [row for row in entity_rows(40) if row["entity_type"] == "player"]
    return entity_list(row for row in rows if "known" not in row)


def test_a_killed_run_resumes_to_the_same_answers(demo_session, players, tmp_path: Path) -> None:
    model, style = demo_session.model, style_of(demo_session.model, prompt_style())
    whole = ask(model, style, players, asking=FEW, folder=tmp_path / "whole")

    def killed(stage: str, done: int, total: int) -> bool:
        return done < 100

    with pytest.raises(StoppedError, match="128 of 160"):
        ask(model, style, players, asking=FEW, folder=tmp_path / "killed", progress=killed)
    file = tmp_path / "killed" / "answers.jsonl"
    assert len(file.read_bytes().splitlines()) == 3
    # A kill in the middle of a line: what is whole stays.
    whole_bytes = (tmp_path / "whole" / "answers.jsonl").read_bytes()
    last = whole_bytes.splitlines()[-1]
    with file.open("ab") as cut:
        cut.write(last[: len(last) // 2])
    stages = []
    resumed = ask(
        model,
        style,
        players,
        asking=FEW,
        folder=tmp_path / "killed",
        progress=lambda *at: stages.append(at),
    )
    assert resumed == whole
    assert file.read_bytes() == whole_bytes
    assert stages[-1][1:] == (160, 160)
    # All is there: nothing is asked again, even by a model that cannot answer.
    again = ask(model, style, players, asking=FEW, folder=tmp_path / "whole")
    assert again == whole


def test_answers_do_not_depend_on_who_else_is_asked(demo_session, players) -> None:
    model, style = demo_session.model, style_of(demo_session.model, prompt_style())
    some = ask(model, style, players[:3], asking=FEW)
    more = ask(model, style, players[:7], asking=FEW)
    assert more[:3] == some


def test_a_folder_that_holds_something_else_is_refused(
    demo_session, players, tmp_path: Path
) -> None:
    model, style = demo_session.model, style_of(demo_session.model, prompt_style())
    (tmp_path / "answers.jsonl").write_text('{"kind": "recipes"}\n', encoding="utf-8")
    with pytest.raises(LoadError, match="holds no answers"):
        ask(model, style, players[:1], folder=tmp_path)
    assert (tmp_path / "answers.jsonl").read_text(encoding="utf-8") == '{"kind": "recipes"}\n'


def test_labels_follow_the_published_rule() -> None:
    rule = Asking()
    assert (rule.samples, rule.right, rule.correct) == (10, 3, 2)
    assert [rule.label(n) for n in (0, 1, 2, 4)] == ["unknown", "dropped", "known", "known"]
    with pytest.raises(InputError, match="right answers"):
        Asking(samples=2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"known": {"city": ["Paris"]}}, "come together"),
        ({"known": {"city": ["A"]}, "unknown": {"city": ["A"]}}, "as known and as unknown"),
        ({"known": {"city": ["A"]}, "unknown": {"city": ["B"]}}, "to train and to test on"),
        ({"entities": {"city": ["A"]}}, "no attributes"),
    ],
)
def test_lists_that_make_no_study_are_refused(demo_session, given, message: str) -> None:
    with pytest.raises(InputError, match=message):
        study(demo_session, style="chat", causal=False, saes=["resid_post.0"], **given)


def test_given_labels_are_taken_and_nothing_is_asked(demo_session) -> None:
    rows = [r for r in entity_rows(12) if r["entity_type"] in ("player", "song")]
    known = [{**r, "attributes": []} for r in rows if "known" not in r]
    unknown = [{**r, "attributes": []} for r in rows if "known" in r]
    found = demo_session.entities(
        [{k: v for k, v in r.items() if k != "known"} for r in known],
        unknown,
        saes=["resid_post.0"],
        causal=False,
    )
    assert found.answers().empty
    assert found.types == ("player", "song")
    assert found.steering is None
    assert len(found.codes) == 1


def test_a_prompt_that_loses_its_name_is_refused(demo_session) -> None:
    from workbench.directions.entities import Entity
    from workbench.errors import TokenError

    style = style_of(demo_session.model, prompt_style())
    broken = EntityPrompt(
        entity=Entity(name=" ", type="city"), attribute="", text="Where is  ?", start=9, end=9
    )
    with pytest.raises(TokenError, match="cannot be found"):
        tokenise(demo_session.model, style, [broken])

"""Recipes as data: what they are made of, files, and what is refused."""

from __future__ import annotations

import json

import checkpoints
import numpy as np
import pytest

import workbench as wb
from workbench.directions import Direction
from workbench.errors import InputError, LoadError, SaeError, SiteError
from workbench.features.refs import FeatureSet
from workbench.model.generate import Sampling
from workbench.steering import (
    Condition,
    Dimensions,
    Feature,
    Head,
    Intervention,
    Positions,
    PosteriorTable,
    Recipe,
    Vector,
)
from workbench.steering.reference import largest_activations, own_texts


def direction(session, **fields):
    vector = np.random.default_rng(0).normal(size=32)
    return Direction.from_vector(session, "resid_post.1", vector, name="joy", **fields)


def test_everything_that_says_what_to_change_is_understood(session):
    joy = direction(session, scale=2.5)
    assert Recipe.of({"resid_post.1/3": 4, "mlp_out.1/2": -1}).to_pandas()[
        ["target", "strength", "unit"]
    ].to_numpy().tolist() == [["resid_post.1/3", 4.0, "max"], ["mlp_out.1/2", -1.0, "max"]]
    calibrated = Recipe.of(joy, strength=2)[0]
    assert (calibrated.unit, calibrated.amount, calibrated.label) == (
        "max",
        5.0,
        "joy at resid_post.1",
    )
    assert Recipe.of(direction(session))[0].unit == "norm"
    several = Recipe.of([joy, "resid_post.1/3", Recipe.of(Head(layer=0, head=1), what="ablate")])
    assert [type(i.target) for i in several] == [Vector, Feature, Head]
    ablated = Recipe.from_features(FeatureSet.of(["resid_post.1/3", "resid_post.1/5"]))
    assert [i.what for i in ablated] == ["ablate"] * 2
    assert ablated.features == FeatureSet.of(["resid_post.1/3", "resid_post.1/5"])
    assert (Recipe.of(joy) + "resid_post.1/3").saes == ("resid_post.1",)
    with pytest.raises(InputError, match="got a int"):
        Recipe.of(3)
    with pytest.raises(InputError, match="no features"):
        Recipe.from_features([])


def every_kind():
    vector = Vector(site="resid_post.0", vector=np.random.default_rng(1).normal(size=32), name="v")
    table = PosteriorTable(edges=(0.5, 1.0), posterior=(0.0, 0.25, 1.0))
    when = Condition(feature="resid_post.0/7", above=0.5)
    return (
        Intervention(target="resid_post.1/3", strength=4, reference=2.0),
        Intervention(target="resid_post.1/4", what="clamp_active", strength=-25, unit="absolute"),
        Intervention(target="resid_post.1/5", what="suppress", table=table),
        Intervention(target="resid_post.1/5", what="approach", goal=1.25, strength=0.5),
        Intervention(target="resid_post.1/6", what="mask_range", low=0.1, high=0.9, error="drop"),
        Intervention(target=vector.masked(0.2), strength=-0.5, unit="norm", name="anger"),
        Intervention(
            target=vector, what="project_out", positions=Positions(text="cat", part="last")
        ),
        Intervention(target=vector, what="projection_cap", strength=1.5, positions="from_last"),
        Intervention(target=Dimensions(site="mlp_out.0", index=(1, 5)), what="clamp", muted=True),
        Intervention(
            target=Head(layer=2, head=3), what="ablate", positions=Positions(start=1, when=when)
        ),
    )


def test_a_recipe_survives_its_file(session, tmp_path):
    recipe = Recipe(
        interventions=every_kind(),
        name="all kinds",
        sampling=Sampling(temperature=0.7, top_p=0.9, seed=11),
    ).for_session(session)
    path = recipe.save(tmp_path / "mine")
    assert path.name == "mine.json"
    again = Recipe.load(path, session)
    assert again.interventions == recipe.interventions
    assert again.name == "all kinds"
    assert again.sampling == recipe.sampling
    assert again.to_json() == recipe.to_json()
    found = json.loads(path.read_text())
    assert found["interventions"][0] == {
        "feature": "resid_post.1/3",
        "what": "add",
        "strength": 4.0,
        "unit": "max",
        "positions": "all",
        "reference": 2.0,
    }


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d.update(format="something"), "format"),
        (lambda d: d["interventions"][0].update(strength="strong"), "interventions.0.strength"),
        (lambda d: d["interventions"][0].update(strenght=2), "interventions.0.strenght"),
        (lambda d: d["interventions"][0].update(head={"layer": 0, "head": 0}), "expected one of"),
        (
            lambda d: d["interventions"][0].update(what="ad"),
            "interventions.0: .*did you mean 'add'",
        ),
        (lambda d: d["interventions"][6]["vector"].update(values=[0.0]), "not zero"),
        (lambda d: d["sampling"].update(temperature=-1), "temperature"),
    ],
)
def test_a_damaged_recipe_says_where(session, edit, message):
    document = json.loads(Recipe(interventions=every_kind()).to_json())
    edit(document)
    with pytest.raises(LoadError, match=message):
        Recipe.from_json(json.dumps(document))


def test_not_json_at_all(tmp_path):
    with pytest.raises(LoadError, match="not a recipe"):
        Recipe.from_json("{")
    with pytest.raises(LoadError, match="no file"):
        Recipe.load(tmp_path / "none.json")


def test_a_recipe_of_another_model_is_refused(session, tmp_path):
    recipe = Recipe.of({"resid_post.1/3": 1}, session, unit="absolute")
    with (
        wb.open(checkpoints.write("llama", tmp_path / "other", seed=5), device="cpu") as other,
        pytest.raises(InputError, match=r"was made for model .*mean nothing in another model"),
    ):
        Recipe.from_json(recipe.to_json(), other)


def test_an_sae_that_was_changed_is_refused(session):
    recipe = Recipe.of({"resid_post.1/3": 1}, session, unit="absolute")
    changed = recipe.with_(sae_fingerprints={"resid_post.1": "0" * 16})
    with pytest.raises(InputError, match="its features are others"):
        changed.for_session(session)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"target": "resid_post.1/96"}, InputError, "outside the dictionary"),
        ({"target": "resid_post.9/3"}, Exception, "resid_post"),
        ({"target": Vector(site="resid_post.1", vector=np.ones(7))}, InputError, "7 dimensions"),
        ({"target": Vector(site="resid_pst.1", vector=np.ones(32))}, SiteError, "did you mean"),
        (
            {"target": Dimensions(site="mlp_out.0", index=(32,)), "what": "ablate"},
            InputError,
            "0 … 31",
        ),
        ({"target": Head(layer=0, head=4), "what": "ablate"}, InputError, "heads 0 … 3"),
        (
            {
                "target": "resid_post.0/1",
                "positions": Positions(when=Condition(feature="resid_post.1/0")),
            },
            InputError,
            "computed after",
        ),
    ],
)
def test_what_does_not_fit_the_model_is_refused(session, fields, error, message):
    with pytest.raises(error, match=message):
        Recipe.of(Intervention(**fields), session)


def test_a_transcoder_keeps_its_error(session):
    name = next(n for n in session.saes if session.saes[n].is_transcoder)
    with pytest.raises(SaeError, match="error term of a transcoder"):
        Recipe.of(Intervention(target=f"{name}/1", what="ablate", error="drop"), session)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"target": "resid_post.1"}, "sae/index"),
        ({"target": 3}, "got a int"),
        ({"target": "a/1", "what": "abblate"}, "did you mean 'ablate'"),
        ({"target": Head(layer=0, head=0), "what": "add"}, "intervention on a head"),
        ({"target": "a/1", "what": "clamp", "unit": "norm"}, "unit of 'clamp'"),
        ({"target": Vector(site="x", vector=np.ones(3)), "unit": "max"}, "is not known"),
        ({"target": "a/1", "strength": float("nan")}, "finite"),
        ({"target": "a/1", "reference": -1.0}, "above 0"),
        ({"target": "a/1", "what": "suppress"}, "posterior table"),
        ({"target": "a/1", "what": "approach"}, "a goal goes with"),
        ({"target": "a/1", "what": "mask_range", "low": 2.0, "high": 1.0}, "low ≤ high"),
        ({"target": "a/1", "positions": "evrywhere"}, "positions"),
        ({"target": "a/1", "error": "stopgrad"}, "error term"),
    ],
)
def test_interventions_are_validated(fields, message):
    with pytest.raises(InputError, match=message):
        Intervention(**fields)


def test_strengths_mute_and_factors():
    recipe = Recipe.of({"a/1": 2, "a/2": -4})
    assert [i.strength for i in recipe.scaled(0.5)] == [1.0, -2.0]
    assert [i.strength for i in recipe.at(3)] == [6.0, -12.0]
    alone = recipe.muted(1)
    assert [i.strength for i in alone.at(3)] == [3.0, -4.0]
    assert [str(i) for i in alone.active] == ["add a/1 2 × max"]


def test_references_are_the_largest_activations(session):
    tokens = own_texts(session.model)
    sae = session.saes["resid_post.1"]
    x = session.run(tokens, capture=[sae.site])[sae.site]
    code = sae.encode_dense(x)[tokens.mask & ~tokens.special]
    index = int(code.max(0).values.argmax())
    found = largest_activations(session, [f"resid_post.1/{index}"])
    assert found[f"resid_post.1/{index}"] == pytest.approx(float(code[:, index].max()), rel=1e-5)
    recipe = Recipe.of({f"resid_post.1/{index}": 2}, session)
    assert recipe[0].amount == pytest.approx(2 * float(code[:, index].max()), rel=1e-5)
    assert recipe.provenance.saes == ("resid_post.1",)

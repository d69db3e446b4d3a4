"""Entity recognition: separation, splits, pushes and weight edits, against hand-made cases."""

from __future__ import annotations

from pathlib import Path

import checkpoints
import numpy as np
import pytest
import torch
from scipy import sparse, stats

from workbench.directions.entities import Entity, EntityPrompt, Knowledge, Push, orthogonalised
from workbench.directions.entities.prompts import tokenise
from workbench.directions.entities.pushes import pass_edits, row_edits
from workbench.directions.entities.run import split_entities
from workbench.directions.entities.scoring import EntityCodes, general_density, read_entities
from workbench.directions.entities.separation import rank_features, rates
from workbench.directions.entities.steering_results import (
    EntitySteering,
    SteeredAnswer,
    share_interval,
)
from workbench.directions.entities.styles import PLAIN
from workbench.directions.entities.uncertain import welch
from workbench.errors import InputError, SiteError
from workbench.model import load
from workbench.model.generate_many import generate_many
from workbench.session import Session
from workbench.types import Provenance

WHERE = Provenance(model="made up", model_fingerprint="0")


def codes_of(dense: np.ndarray, density: np.ndarray | None = None) -> EntityCodes:
    """The code of an SAE called ``made``."""
    rows = sparse.csr_matrix(dense.astype(np.float32))
    return EntityCodes(
        sae="made",
        site="resid_post.0",
        layer=0,
        d_sae=dense.shape[1],
        offsets=rows.indptr.astype(np.int64),
        indices=rows.indices.astype(np.int32),
        values=rows.data,
        density=density,
    )


# Rows: two known and two unknown of type a, then the same of type b, then one of neither.
KINDS = ["a"] * 4 + ["b"] * 4 + ["b"]
KNOWN = np.array([1, 1, 0, 0, 1, 1, 0, 0, 0], dtype=bool)
UNKNOWN = np.array([0, 0, 1, 1, 0, 0, 1, 1, 0], dtype=bool)
FIRES = np.array(
    [
        # known everywhere; unknown only for a; half known; always; never; below the threshold
        [1.0, 0.0, 1.0, 2.0, 0.0, 1e-7],
        [2.0, 0.0, 0.0, 2.0, 0.0, 1e-7],
        [0.0, 3.0, 0.0, 2.0, 0.0, 0.0],
        [0.0, 3.0, 0.0, 2.0, 0.0, 0.0],
        [1.0, 3.0, 1.0, 2.0, 0.0, 1e-7],
        [1.0, 3.0, 1.0, 2.0, 0.0, 1e-7],
        [0.0, 3.0, 1.0, 2.0, 0.0, 0.0],
        [0.0, 3.0, 0.0, 2.0, 0.0, 0.0],
        [9.0, 9.0, 9.0, 9.0, 9.0, 9.0],
    ]
)


def test_rates_count_firing_entities_of_each_type() -> None:
    found = rates(codes_of(FIRES), ("a", "b"), KINDS, KNOWN, UNKNOWN)
    assert found.known.tolist() == [[1, 0, 0.5, 1, 0, 0], [1, 1, 1, 1, 0, 0]]
    assert found.unknown.tolist() == [[0, 1, 0, 1, 0, 0], [0, 1, 0.5, 1, 0, 0]]
    assert found.separation("known").tolist() == [[1, -1, 0.5, 0, 0, 0], [1, 0, 0.5, 0, 0, 0]]
    assert np.array_equal(found.separation("unknown"), -found.separation("known"))
    with pytest.raises(InputError, match="no known entity of type 'c'"):
        rates(codes_of(FIRES), ("c",), KINDS, KNOWN, UNKNOWN)


def test_ranking_takes_the_worst_type_and_drops_what_fires_anywhere() -> None:
    dense = codes_of(FIRES, density=np.array([0.03, 0.0, 0.01, 1.0, 0.0, 0.0]))
    found = {"made": rates(dense, ("a", "b"), KINDS, KNOWN, UNKNOWN)}

    def ranked(side: str, bound: float | None) -> list[tuple[str, float]]:
        rows = rank_features(found, {"made": dense}, side, max_density=bound, k=20)
        return [(row.feature, row.score) for row in rows]

    assert ranked("known", None) == [("made/0", 1.0), ("made/2", 0.5)]
    assert ranked("known", 0.02) == [("made/2", 0.5)]
    # Feature 1 parts type a perfectly, and type b not at all.
    assert ranked("unknown", None) == []
    assert len(rank_features(found, {"made": dense}, "known", max_density=None, k=1)) == 1


def test_planted_recognition_features_are_found_among_noise() -> None:
    rng = np.random.default_rng(0)
    kinds = np.repeat(["a", "b", "c"], 80)
    known = np.tile(np.arange(80) < 40, 3)
    noise = (rng.random((240, 500)) < 0.1) * rng.random((240, 500))
    noise[:, 123] = np.where(rng.random(240) < 0.05, ~known, known)
    noise[:, 321] = np.where(rng.random(240) < 0.05, known, ~known)
    made = codes_of(noise)
    found = {"made": rates(made, ("a", "b", "c"), kinds, known, ~known)}
    for side, planted in (("known", "made/123"), ("unknown", "made/321")):
        best = rank_features(found, {"made": made}, side, max_density=None, k=2)
        assert best[0].feature == planted
        assert best[0].score > 0.7
        assert best[1].score < 0.3


def test_splits_keep_the_shares_of_each_type_and_label() -> None:
    knowledge = tuple(
        Knowledge(entity=Entity(name=f"{kind}{i}", type=kind), label=label, given=True)
        for kind in ("a", "b")
        for label, n in (("known", 20), ("unknown", 10), ("dropped", 5))
        for i in range(n)
    )
    splits = split_entities(knowledge, seed=3)
    counts = {(k.entity.type, k.label, s): 0 for k, s in zip(knowledge, splits, strict=True)}
    for k, s in zip(knowledge, splits, strict=True):
        counts[k.entity.type, k.label, s] += 1
    for kind in ("a", "b"):
        assert [counts[kind, "known", s] for s in ("train", "validation", "test")] == [10, 2, 8]
        assert [counts[kind, "unknown", s] for s in ("train", "validation", "test")] == [5, 1, 4]
        assert counts[kind, "dropped", ""] == 5
    assert splits == split_entities(knowledge, seed=3)
    assert splits != split_entities(knowledge, seed=4)
    with pytest.raises(InputError, match="add up"):
        split_entities(knowledge, shares=(0.5, 0.1, 0.1))


def test_welch_equals_scipy() -> None:
    rng = np.random.default_rng(1)
    values = np.where(rng.random((60, 9)) < 0.4, rng.random((60, 9)), 0)
    values[:, 4] = 0
    first = np.arange(60) < 25
    expected = stats.ttest_ind(values[first], values[~first], equal_var=False).statistic
    expected[4] = 0
    assert welch(sparse.csr_matrix(values), first, ~first) == pytest.approx(expected, rel=1e-9)
    with pytest.raises(InputError, match="two prompts"):
        welch(sparse.csr_matrix(values), np.arange(60) < 1, ~first)


def test_share_intervals_are_wilsons() -> None:
    # Wilson 1927, by hand: n = 10, 0 hits gives z²/(n + z²) above.
    z = stats.norm.ppf(0.975)
    low, high = share_interval(0, 10)
    assert low == 0
    assert high == pytest.approx(z**2 / (10 + z**2))
    with pytest.raises(InputError, match="n ≥ 1"):
        share_interval(0, 0)


def answered(
    entity: str, label: str, push: str, *, refused: bool, towards: str = ""
) -> SteeredAnswer:
    """An answer on a test entity."""
    return SteeredAnswer(
        entity=entity,
        type="a",
        label=label,
        attribute="x",
        question="?",
        push=push,
        towards=towards,
        replaces=towards,
        layer=None,
        strength=1.0 if push else 0.0,
        split="test",
        text="",
        refused=refused,
        correct=None,
        stated=None,
    )


def test_rates_count_what_turned_round_among_what_could() -> None:
    steering = EntitySteering(
        provenance=WHERE,
        pushes={},
        chosen={},
        answers=(
            answered("k1", "known", "", refused=False),
            answered("k2", "known", "", refused=True),
            answered("u1", "unknown", "", refused=True),
            answered("k1", "known", "+p", refused=True, towards="unknown"),
            answered("k2", "known", "+p", refused=True, towards="unknown"),
            answered("u1", "unknown", "+p", refused=True, towards="unknown"),
        ),
    )
    table = steering.rates().set_index(["towards", "label"])
    pushed = table.loc["unknown", "known"]
    # k2 was refused before: it counts among the refused, not among those that could turn.
    assert (pushed["n"], pushed["refused"], pushed["changed"], pushed["changed_n"]) == (2, 1, 1, 1)
    assert table.loc["unknown", "unknown"]["changed"] == 0
    assert table.loc["", "known"]["refused"] == 0.5


# -- on tiny models --------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["llama", "gpt2", "gpt_neox"])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A tiny model of each kind of residual writing: Linear, Conv1D with biases, parallel."""
    folder = Path(tmp_path_factory.mktemp("tiny")) / request.param
    return load(checkpoints.write(request.param, folder), device="cpu")


def some_prompts(model) -> list[EntityPrompt]:
    """Prompts about two names of the tiny vocabulary."""
    words = sorted(w for w in model.tokenizer.get_vocab() if w.isalpha() and len(w) > 2)
    return [
        EntityPrompt.of(Entity(name=w, type="city"), PLAIN.question, "river") for w in words[:2]
    ]


def test_pushes_add_to_the_prompt_from_the_name_on_and_not_later(tiny) -> None:
    made = tokenise(tiny, PLAIN, some_prompts(tiny))
    unit = torch.nn.functional.normalize(torch.arange(1.0, tiny.d_model + 1), dim=0)
    push = Push(name="+made", towards="unknown", vectors={"resid_post.0": unit.numpy()}, layer=0)
    edits = pass_edits([push, None], [0.5, 3.0], made.last)
    plain = tiny.run(made.tokens, capture=["resid_post.0"])["resid_post.0"]
    pushed = tiny.run(made.tokens, capture=["resid_post.0"], edits=edits)["resid_post.0"]
    expected = plain.clone()
    since = int(made.last[0])
    size = plain[0, since:].norm(dim=-1, keepdim=True)
    expected[0, since:] = plain[0, since:] + 0.5 * size * unit
    assert torch.allclose(pushed, expected, atol=1e-5)

    # Generation: the pushed prompt, then unedited steps, equals a plain loop without a cache.
    texts = generate_many(
        tiny,
        made.take([0]).tokens,
        max_new_tokens=4,
        row_edits=row_edits([push], [0.5], [since]),
        edited_from=[since],
    )
    ids = made.tokens.ids[0, made.tokens.mask[0]].tolist()
    length = len(ids)

    def edit(x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        x[:, since:length] += 0.5 * x[:, since:length].norm(dim=-1, keepdim=True) * unit
        return x

    for _ in range(4):
        out = tiny.run([ids], edits={"resid_post.0": edit}, logits="last").logits
        ids.append(int(out[0, -1].argmax()))
    got = texts[0].token_ids.tolist()
    assert got == ids[length : length + len(got)]
    assert got


def test_orthogonal_weights_write_nothing_along_the_direction_and_come_back(tiny) -> None:
    session = Session(tiny, _NoSaes())
    torch.manual_seed(2)
    one, two = torch.randn(2, tiny.d_model)
    tokens = tiny.tokens([[1, 2, 3, 4]])
    before = {k: v.clone() for k, v in tiny.network.plain.state_dict().items()}
    logits = tiny.run(tokens).logits
    sites = [
        s
        for s in (
            "embed",
            *(f"{k}.{i}" for i in range(tiny.n_layers) for k in ("attn_out", "mlp_out")),
        )
        if s in tiny.sites
    ]
    with orthogonalised(session, one, two):
        ran = tiny.run(tokens, capture=sites, logits=True)
        for site in sites:
            written = ran[site]
            scale = written.norm()
            assert float((written @ one).abs().max()) < 1e-4 * float(scale) * float(one.norm())
            assert float((written @ two).abs().max()) < 1e-4 * float(scale) * float(two.norm())
        # Both engines see the edit.
        other = tiny.run(tokens, engine="bridge", logits=True).logits
        assert torch.allclose(ran.logits, other, atol=1e-3)
        assert not torch.allclose(ran.logits, logits, atol=1e-4)
    after = tiny.network.plain.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())
    assert torch.equal(tiny.run(tokens).logits, logits)


def test_orthogonalising_keeps_what_is_orthogonal(tiny) -> None:
    # Against the formula: with one direction, each written activation of the first block's input
    # is the old one less its component.
    session = Session(tiny, _NoSaes())
    unit = torch.nn.functional.normalize(torch.ones(tiny.d_model), dim=0)
    tokens = tiny.tokens([[1, 2, 3]])
    old = tiny.run(tokens, capture=["embed"])["embed"]
    with orthogonalised(session, unit):
        new = tiny.run(tokens, capture=["embed"])["embed"]
    assert torch.allclose(new, old - (old @ unit)[..., None] * unit, atol=1e-5)


def test_weights_come_back_after_an_error(tiny) -> None:
    session = Session(tiny, _NoSaes())
    before = {k: v.clone() for k, v in tiny.network.plain.state_dict().items()}
    with (
        pytest.raises(RuntimeError, match="inside"),
        orthogonalised(session, torch.ones(tiny.d_model)),
    ):
        raise RuntimeError("inside")
    assert all(torch.equal(tiny.network.plain.state_dict()[k], v) for k, v in before.items())
    for wrong, message in (
        ((), "at least one"),
        ((torch.ones(3),), "dimensions"),
        ((torch.ones(tiny.d_model), 2 * torch.ones(tiny.d_model)), "independent"),
    ):
        with pytest.raises(InputError, match=message), orthogonalised(session, *wrong):
            pass


def test_an_architecture_with_norms_after_the_matrices_is_refused_and_left_as_it_was(
    tmp_path: Path,
) -> None:
    model = load(checkpoints.write("gemma2", tmp_path / "gemma2"), device="cpu")
    before = {k: v.clone() for k, v in model.network.plain.state_dict().items()}
    unit = torch.nn.functional.normalize(torch.arange(1.0, model.d_model + 1), dim=0)
    with (
        pytest.raises(SiteError, match="still writes"),
        orthogonalised(Session(model, _NoSaes()), unit),
    ):
        pass
    assert all(torch.equal(model.network.plain.state_dict()[k], v) for k, v in before.items())


class _NoSaes(dict):
    """No SAEs attached."""


# -- on the demo -----------------------------------------------------------------------------------


def test_one_pass_gives_what_a_pass_per_prompt_gives(demo_session) -> None:
    from workbench.demo.entities import entity_rows, prompt_style
    from workbench.directions.entities import entity_list
    from workbench.directions.entities.prompts import question_prompt
    from workbench.directions.entities.styles import attributes_by_type, style_of

    model = demo_session.model
    style = style_of(model, prompt_style())
    entities = entity_list(entity_rows(6))
    about = attributes_by_type(style, entities)
    prompts = [question_prompt(style, e, about[e.type]) for e in entities]
    made = tokenise(model, style, prompts)
    saes = ["resid_post.0", "mlp_out.3", "transcoder.2"]
    read = read_entities(demo_session, made, saes, batch_tokens=60)
    for row in range(0, len(prompts), 7):
        whole = made.take([row])
        for name in saes:
            sae = demo_session.saes[name]
            x = model.run(whole.tokens, capture=[sae.site])[sae.site][0, int(whole.last[0])]
            expected = sae.encode_dense(x).numpy()
            got = read.codes[name].matrix()[[row]].toarray()[0]
            assert got == pytest.approx(expected, abs=2e-4)
            top = int(expected.argmax())
            assert read.codes[name].column(top)[row] == pytest.approx(expected[top], abs=2e-4)


def test_general_density_counts_the_texts_own_tokens(demo_session) -> None:
    texts = ["The striker Elena Marsh plays for Redstone .", "The film was directed by Weiss ."]
    found = general_density(demo_session, ["resid_post.1"], texts)["resid_post.1"]
    tokens = demo_session.tokens(texts)
    acts = demo_session.run(tokens, capture=["resid_post.1"])["resid_post.1"]
    own = tokens.mask & ~tokens.special
    dense = demo_session.saes["resid_post.1"].encode_dense(acts[own]) > 1e-6
    assert found == pytest.approx(dense.float().mean(0).numpy(), abs=1e-6)
    stored = general_density(demo_session, ["resid_post.1"], None)["resid_post.1"]
    assert stored == pytest.approx(demo_session.saes["resid_post.1"].density())

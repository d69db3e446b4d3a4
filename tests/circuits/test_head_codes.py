"""Head circuits from codes, and the exact ablation they are compared with."""

from __future__ import annotations

import math

import checkpoints
import numpy as np
import pandas as pd
import pytest
import torch

import workbench as wb
from workbench.circuits.head_codes import HeadCircuit, head_circuit
from workbench.circuits.head_outputs import HeadPrompts, head_effects, head_outputs
from workbench.demo import tasks
from workbench.errors import InputError, TokenError
from workbench.types import Provenance


@pytest.fixture(scope="module", params=("gpt2", "llama"))
def tiny(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads") / request.param
    with wb.open(str(checkpoints.write(request.param, folder)), device="cpu") as session:
        yield session


PROMPTS = pd.DataFrame(
    {
        "prompt": ["the cat sat on", "a dog ran", "she saw the old river", "they were young"],
        "label": [1, 0, 1, 0],
        "answer": ["tree", "", "bank", ""],
    }
)


def test_heads_add_up_to_the_attention_output(tiny) -> None:
    model = tiny.model
    tokens = model.tokens(list(PROMPTS["prompt"]))
    counted = (tokens.mask & ~tokens.special).float()
    found = head_outputs(model, tokens)
    last = head_outputs(model, tokens, pooling="last")
    for layer in range(model.n_layers):
        whole = model.run(tokens, capture=[f"attn_out.{layer}"])[f"attn_out.{layer}"]
        bias = getattr(model.bridge.blocks[layer].attn, "b_O", None)
        if bias is not None:
            whole = whole - bias
        mean = torch.einsum("bpd,bp->bd", whole, counted) / counted.sum(1, keepdim=True)
        torch.testing.assert_close(found[:, layer].sum(1), mean, atol=1e-5, rtol=1e-4)
        at_last = whole[torch.arange(len(tokens)), tokens.last]
        torch.testing.assert_close(last[:, layer].sum(1), at_last, atol=1e-5, rtol=1e-4)


def test_effects_equal_taking_the_head_out_of_the_attention_output(tiny) -> None:
    """The oracle edits the attention output, not z."""
    model = tiny.model
    effects = head_effects(tiny, PROMPTS)
    assert effects.effect.shape == (model.n_layers, model.n_heads)
    texts = PROMPTS["prompt"]
    layer, head = 1, 2
    write = model.bridge.blocks[layer].attn.W_O[head].detach()
    pool = []
    for text in texts[PROMPTS["label"] == 0]:
        z = model.run(text, capture=[f"z.{layer}"])[f"z.{layer}"][0, :, head]
        pool += list(z[~model.tokens(text).special[0]])
    mean = torch.stack(pool).mean(0) @ write
    falls = []
    for text, answer in zip(texts, PROMPTS["answer"], strict=True):
        if not answer:
            continue
        part = model.run(text, capture=[f"z.{layer}"])[f"z.{layer}"][:, :, head] @ write
        whole, without = (
            model.run(text, edits=edits, logits="last").logits[0, 0].double().softmax(-1)
            for edits in (None, {f"attn_out.{layer}": lambda y, part=part: y - part + mean})
        )
        right = model.single_token(f" {answer}")
        falls.append(
            math.log(whole[right] / (1 - whole[right]))
            - math.log(without[right] / (1 - without[right]))
        )
    assert effects.effect[layer, head] == pytest.approx(np.mean(falls), abs=1e-4)
    assert effects.standard_error[layer, head] == pytest.approx(
        np.std(falls, ddof=1) / math.sqrt(2), abs=1e-4
    )
    assert effects.circuit(1.0).sum() == 1


def made_by_hand() -> HeadCircuit:
    from workbench.circuits.head_codes import _edges, _softmax, _unique_codes

    positive = np.array([True, True, False, False])
    codes = np.zeros((4, 2, 2), dtype=np.int32)
    codes[:, 0, 0] = [1, 2, 1, 3]  # 2 on positives only
    codes[:, 0, 1] = [5, 6, 7, 8]  # 5 and 6
    codes[:, 1, 0] = [1, 1, 1, 1]
    codes[:, 1, 1] = [4, 9, 9, 9]  # 4
    unique = _unique_codes(codes, positive)
    return HeadCircuit(
        provenance=Provenance(model="hand", model_fingerprint=""),
        codes=codes,
        positive=positive,
        unique=unique,
        score=_softmax(unique),
        edges=_edges(codes, positive),
        settings={},
        explained=1.0,
        active=1.0,
        seconds=0.0,
    )


def test_codes_seen_on_positives_only_are_counted() -> None:
    circuit = made_by_hand()
    np.testing.assert_array_equal(circuit.unique, [[1, 2], [0, 1]])
    assert circuit.heads(1) == ((0, 1),)
    powers = np.exp([[1, 2], [0, 1]])
    np.testing.assert_allclose(circuit.score, powers / powers.sum())
    edges = {(a, b): n for a, b, n in circuit.edges_table().itertuples(index=False)}
    # 0.0 with 1.1: (1,4), (2,9) on positives; (1,9), (3,9) on negatives.
    assert edges == {("0.0", "1.0"): 1, ("0.0", "1.1"): 2, ("0.1", "1.0"): 2, ("0.1", "1.1"): 2}


def test_comparison_gives_the_true_f1_and_the_published_one(tmp_path) -> None:
    circuit = made_by_hand()
    found = circuit.compare(np.array([[True, True], [False, False]]))
    # Scores 1, 2, 0, 1: of the four (true, false) pairs three are right and one is a tie.
    assert found.auc == pytest.approx((1 + 1 + 1 + 0.5) / 4)
    # At 2: TP 1, FN 1, FP 0 -> 2/3. At 1: TP 2, FP 1 -> 4/5.
    assert found.f1 == pytest.approx(4 / 5)
    assert found.f1_threshold == 1
    # At 2: rates 1/2 and 1 -> 2/3; at 1: rates 1 and 1/2 -> 2/3.
    assert found.rate_harmonic_mean == pytest.approx(2 / 3)
    assert len(found.to_pandas()) == len(found.plot().data[0].x)
    read = wb.load(found.save(tmp_path / "found"))
    np.testing.assert_array_equal(read.true, found.true)
    with pytest.raises(InputError, match="nothing to compare"):
        circuit.compare(np.zeros((2, 2), bool))
    with pytest.raises(InputError, match=r"\(1, 4\)"):
        circuit.compare(np.ones((1, 4), bool))


def test_bad_prompts_are_refused(tiny) -> None:
    with pytest.raises(InputError, match="label"):
        HeadPrompts.of([{"prompt": "a", "label": 2}])
    with pytest.raises(InputError, match="no 'label'"):
        HeadPrompts.of([{"prompt": "a"}])
    with pytest.raises(InputError, match="1 positive and 0 negative"):
        HeadPrompts.of([{"prompt": "a", "label": 1}])
    with pytest.raises(InputError, match="no answer"):
        head_effects(tiny, PROMPTS.assign(answer=""))
    with pytest.raises(TokenError):
        head_effects(tiny, PROMPTS.assign(answer="crocodile"))
    with pytest.raises(InputError, match="cannot take 10"):
        head_circuit(tiny, PROMPTS)
    with pytest.raises(InputError, match="pooling"):
        head_outputs(tiny.model, tiny.tokens("a cat"), pooling="max")


def test_codes_find_the_heads_of_indirect_objects() -> None:
    """On the demo, against exact ablation: better than chance by a wide margin, and repeatable."""
    with wb.open("demo", device="cpu") as session:
        truth = head_effects(session, tasks.load("heads_ioi", "test", 40))
        examples = tasks.load("heads_ioi", "test", 150)
        first = head_circuit(session, examples)
        again = head_circuit(session, examples)
    assert truth.to_pandas()["head"][0] == "2.3"
    assert first.explained > 0.95
    assert first.compare(truth).auc > 0.8
    np.testing.assert_array_equal(first.codes, again.codes)
    assert len(first.positive) == 140
    assert first.settings["training_prompts"] == 10

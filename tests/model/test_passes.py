from __future__ import annotations

import pytest
import torch

from workbench.errors import InputError, SiteError

TEXTS = ["the cat sat on the mat.", "a dog ran"]


def bare(model, tokens):
    """Logits and hidden states of the Hugging Face network alone."""
    with torch.inference_mode():
        return model.network.plain(
            tokens.ids, attention_mask=tokens.mask.long(), output_hidden_states=True
        )


def test_logits_equal_the_bare_network(model):
    tokens = model.tokens(TEXTS)
    ran = model.run(tokens)
    assert ran.engine == "plain"
    truth = bare(model, tokens).logits
    torch.testing.assert_close(ran.logits[tokens.mask], truth[tokens.mask], atol=1e-5, rtol=1e-5)


def test_captured_streams_equal_the_hidden_states(model):
    tokens = model.tokens(TEXTS)
    ran = model.run(tokens, capture=["resid_pre.1", "resid_post.1"])
    states = bare(model, tokens).hidden_states
    for name, state in (("resid_pre.1", states[1]), ("resid_post.1", states[2])):
        torch.testing.assert_close(ran[name][tokens.mask], state[tokens.mask], atol=1e-5, rtol=1e-5)


def test_the_stream_is_the_sum_of_what_is_written_to_it(model):
    ran = model.run(TEXTS[0], capture=["resid_pre.1", "attn_out.1", "mlp_out.1", "resid_post.1"])
    total = ran["resid_pre.1"] + ran["attn_out.1"] + ran["mlp_out.1"]
    torch.testing.assert_close(total, ran["resid_post.1"], atol=1e-5, rtol=1e-5)


def test_both_engines_agree(model):
    names = ["embed", "attn_out.0", "mlp_in.1", "mlp_out.2", "resid_post.2"]
    tokens = model.tokens(TEXTS)
    plain = model.run(tokens, capture=names, engine="plain")
    bridge = model.run(tokens, capture=names, engine="bridge")
    assert (plain.engine, bridge.engine) == ("plain", "bridge")
    for name in names:
        torch.testing.assert_close(
            plain[name][tokens.mask], bridge[name][tokens.mask], atol=1e-4, rtol=1e-4
        )


def test_sites_inside_modules_run_in_the_bridge(model):
    ran = model.run(TEXTS[0], capture=["pattern.1", "resid_post.1"])
    assert ran.engine == "bridge"
    torch.testing.assert_close(
        ran["pattern.1"].sum(-1), torch.ones_like(ran["pattern.1"][..., 0]), atol=1e-5, rtol=1e-5
    )
    with pytest.raises(InputError, match="engine='bridge'"):
        model.run(TEXTS[0], capture=["pattern.1"], engine="plain")


def test_stopping_early_skips_the_later_blocks(model):
    reached = []
    handle = model.network.plain_module("blocks.2").register_forward_hook(
        lambda *_: reached.append(True)
    )
    try:
        early = model.run(TEXTS[0], capture=["resid_post.1"])
        assert early.logits is None
        assert not reached
        full = model.run(TEXTS[0], capture=["resid_post.1"], logits=True)
        assert reached
    finally:
        handle.remove()
    torch.testing.assert_close(early["resid_post.1"], full["resid_post.1"])


def test_last_logits_are_each_rows_last(model):
    tokens = model.tokens(TEXTS)
    full = model.run(tokens).logits
    last = model.run(tokens, logits="last").logits
    assert last.shape == (2, 1, full.shape[-1])
    for row, position in enumerate(tokens.last.tolist()):
        torch.testing.assert_close(last[row, 0], full[row, position], atol=1e-5, rtol=1e-5)
    same = model.run(TEXTS[0], logits="last").logits
    torch.testing.assert_close(same[0, 0], full[0, tokens.last[0]], atol=1e-5, rtol=1e-5)


def test_edits_change_what_follows_and_are_what_is_captured(model):
    def shift(value):
        return value + 1

    clean = model.run(TEXTS[0], capture=["resid_post.0", "resid_post.1"], logits=True)
    ran = model.run(
        TEXTS[0],
        capture=["resid_post.0", "resid_post.1"],
        logits=True,
        edits={"resid_post.0": [shift, shift]},
    )
    torch.testing.assert_close(ran["resid_post.0"], clean["resid_post.0"] + 2)
    assert not torch.allclose(ran["resid_post.1"], clean["resid_post.1"])
    assert not torch.allclose(ran.logits, clean.logits)
    again = model.run(TEXTS[0], logits=True)
    torch.testing.assert_close(again.logits, clean.logits)


def test_edits_at_module_inputs_reach_the_module(model):
    ran = model.run(TEXTS[0], edits={"mlp_in.1": torch.zeros_like}, capture=["mlp_out.1"])
    assert torch.allclose(ran["mlp_out.1"][0, 0], ran["mlp_out.1"][0, -1], atol=1e-6)
    ran = model.run(TEXTS[0], edits={"resid_pre.1": torch.zeros_like}, capture=["resid_pre.1"])
    assert ran["resid_pre.1"].abs().max() == 0


def test_an_edit_of_another_shape_is_refused(model):
    with pytest.raises(InputError, match="changed the shape"):
        model.run(TEXTS[0], edits={"resid_post.0": lambda value: value[:, :1]})
    assert model.run(TEXTS[0]).logits is not None


def test_a_failing_edit_leaves_no_hook_behind(model):
    def fail(_value):
        raise ZeroDivisionError

    for site in ("resid_post.1", "pattern.1"):
        with pytest.raises(ZeroDivisionError):
            model.run(TEXTS[0], edits={site: fail})
    assert model.run(TEXTS[0], capture=["pattern.1"]).engine == "bridge"
    assert model.run(TEXTS[0]).logits is not None


def test_gradients_match_finite_differences(tiny_models):
    model = tiny_models["llama"]
    clean = model.run(TEXTS[0], capture=["resid_post.0", "mlp_out.1"], logits=True, grad=True)
    metric = clean.logits[0, -1, 7] - clean.logits[0, -1, 9]
    for name in ("resid_post.0", "mlp_out.1"):
        (gradient,) = torch.autograd.grad(metric, clean[name], retain_graph=True)
        step = torch.zeros_like(gradient)
        step[0, 3, 5] = 1e-2

        def value(sign, name=name, step=step):
            ran = model.run(TEXTS[0], edits={name: lambda x: x + sign * step})
            return (ran.logits[0, -1, 7] - ran.logits[0, -1, 9]).item()

        numeric = (value(1) - value(-1)) / 2e-2
        assert gradient[0, 3, 5].item() == pytest.approx(numeric, rel=2e-2, abs=1e-4)


def test_without_gradients_nothing_is_recorded(model):
    ran = model.run(TEXTS[0], capture=["resid_post.0"], logits=True)
    assert ran.logits.is_inference()
    assert ran["resid_post.0"].is_inference()
    assert not any(p.requires_grad for p in model.network.plain.parameters())


def test_streaming_equals_one_batch(model):
    texts = [*TEXTS, "she saw him", "they loved the river bank"]
    whole = model.run(texts, capture=["resid_post.2"])
    row = 0
    for ran in model.stream(texts, batch_size=3, capture=["resid_post.2"]):
        for index in range(len(ran.tokens)):
            length = int(ran.tokens.mask[index].sum())
            torch.testing.assert_close(
                ran["resid_post.2"][index, :length],
                whole["resid_post.2"][row, :length],
                atol=1e-5,
                rtol=1e-5,
            )
            row += 1
    assert row == len(texts)


def test_asking_for_nothing_or_the_unknown_is_refused(model):
    with pytest.raises(InputError, match="nothing to compute"):
        model.run(TEXTS[0], logits=False)
    with pytest.raises(SiteError, match=r"resid_post\.1"):
        model.run(TEXTS[0], capture=["resid_pots.1"])
    with pytest.raises(SiteError, match="not captured"):
        model.run(TEXTS[0], capture=["resid_post.1"])["resid_post.0"]


def test_direct_logit_effects_match_the_final_norm(model):
    """Adding a small direction to the last stream moves the logits as the readout says."""
    torch.manual_seed(0)
    direction = torch.randn(1, model.d_model)
    predicted = model.readout(direction)[0]
    ran = model.run(TEXTS[0], capture=["final_in"], logits=True)
    stream = ran["final_in"][0, -1].double()
    centred = stream - stream.mean() if model.readout.centred else stream
    scale = centred.pow(2).mean().sqrt()
    # The norm also rescales: take the part of the direction that leaves the scale alone.
    unit = centred / centred.norm()
    moved = direction[0].double()
    moved = moved - moved.mean() if model.readout.centred else moved
    straight = (moved - (moved @ unit) * unit).float()
    predicted = model.readout(straight.unsqueeze(0))[0] / scale.float()
    step = 1e-2

    def logits(sign):
        edit = {"final_in": lambda x: x + sign * step * straight}
        out = model.run(TEXTS[0], edits=edit).logits[0, -1]
        cap = getattr(model.network.plain.config, "final_logit_softcapping", None)
        return cap * torch.atanh((out / cap).clamp(-0.999999, 0.999999)) if cap else out

    measured = (logits(1) - logits(-1)) / (2 * step)
    torch.testing.assert_close(predicted, measured, atol=2e-2, rtol=2e-2)

"""Codes and reconstructions against SAELens's own, for every architecture."""

from __future__ import annotations

import pytest
import torch
from sae_fixtures import (
    ARCHITECTURES,
    AUTOENCODERS,
    D_MODEL,
    activations,
    make_module,
    save_sae,
    temporal_settings,
)

from workbench.errors import InputError, SaeError
from workbench.saes import load_sae
from workbench.saes.config import expected_shapes

NORMALISATIONS = ("none", "expected_average_only_in", "constant_norm_rescale", "layer_norm")


def pair(tmp_path, architecture, **options):
    """A SAELens module and the same thing loaded by us from disk."""
    options = {"d_in": D_MODEL, "d_sae": 96, **temporal_settings(architecture), **options}
    module = make_module(architecture, **options)
    return module, load_sae(save_sae(tmp_path / architecture, module))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_expected_shapes_are_those_of_saelens(tmp_path, architecture):
    module, sae = pair(tmp_path, architecture)
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    assert expected_shapes(sae.config) == shapes
    assert sae.config.n_parameters() == sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_encode_equals_saelens_bit_for_bit(tmp_path, architecture, normalisation):
    module, sae = pair(tmp_path, architecture, normalize_activations=normalisation)
    x = 3 * activations(4, 33, D_MODEL) + 0.5
    expected = module.encode(x)
    assert (expected != 0).any()
    assert torch.equal(sae.encode_dense(x), expected)
    assert torch.equal(sae.encode(x).to_dense(), expected)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_encode_equals_saelens_in_half_precision(tmp_path, architecture, dtype):
    module, _ = pair(tmp_path, architecture)
    sae = load_sae(tmp_path / architecture, dtype=dtype)
    x = activations(2, 64, D_MODEL)
    expected = module.to(dtype=getattr(torch, dtype)).encode(x)
    assert sae.encode(x).values.dtype == getattr(torch, dtype)
    assert torch.equal(sae.encode(x).to_dense(), expected)


def test_encode_in_blocks_differs_by_rounding_at_most(loose):
    x = activations(16, 40, D_MODEL)
    whole = loose.encode(x)
    blocks = loose.encode(x, block_bytes=1)
    assert torch.allclose(blocks.to_dense(), whole.to_dense(), atol=1e-5)
    assert blocks.shape == whole.shape


def test_encode_of_nothing_is_empty(loose):
    if loose.architecture == "temporal":
        pytest.skip("a temporal SAE reads rows of at least one token")
    acts = loose.encode(torch.zeros(0, 5, D_MODEL))
    assert acts.shape == (0, 5, 96)
    assert acts.nnz == 0


@pytest.mark.parametrize("architecture", ["topk", "abstopk"])
def test_rescaling_by_decoder_norm_is_followed(tmp_path, architecture):
    module, sae = pair(tmp_path, architecture, rescale_acts_by_decoder_norm=True)
    x = activations(80, D_MODEL)
    assert torch.equal(sae.encode(x).to_dense(), module.encode(x))
    assert torch.allclose(sae.reconstruct(x), module(x), atol=1e-6)
    code = module.encode(x)
    rows = sae.decoder_rows()
    assert torch.allclose(code @ rows + module.b_dec, module(x), atol=1e-5)


@pytest.mark.parametrize("architecture", ["jumprelu", "jumprelu_transcoder"])
def test_negative_thresholds_leave_no_negative_activation(tmp_path, architecture):
    module = make_module(architecture, d_in=D_MODEL, d_sae=96)
    with torch.no_grad():
        module.threshold.fill_(-1.0)
    sae = load_sae(save_sae(tmp_path / "sae", module))
    x = activations(100, D_MODEL)
    acts = sae.encode(x)
    assert torch.equal(acts.to_dense(), module.encode(x))
    assert (acts.values > 0).all()


def test_hooks_on_the_module_are_run(tmp_path):
    _, sae = pair(tmp_path, "topk")
    x = activations(70, D_MODEL)
    with sae.loaded() as module:
        module.hook_sae_acts_post.add_hook(lambda acts, hook: acts * 2)
        doubled = sae.encode(x).to_dense()
        module.reset_hooks()
    assert torch.equal(doubled, 2 * sae.encode(x).to_dense())


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_reconstruction_equals_saelens_forward(tmp_path, architecture, normalisation):
    module, sae = pair(tmp_path, architecture, normalize_activations=normalisation)
    x = 2 * activations(3, 21, D_MODEL) - 0.3
    expected = module(x)
    assert torch.allclose(sae.reconstruct(x), expected, atol=1e-5)
    assert torch.allclose(sae.decode(sae.encode(x), x), expected, atol=1e-5)


@pytest.mark.parametrize("architecture", AUTOENCODERS)
def test_reconstruction_does_not_depend_on_the_call_before(tmp_path, architecture):
    _, sae = pair(tmp_path, architecture, normalize_activations="layer_norm")
    x, other = activations(2, 9, D_MODEL), 50 * activations(2, 9, D_MODEL, seed=5)
    code = sae.encode_dense(x)
    first = sae.decode(code, x)
    sae.encode(other)
    sae.encode_dense(other)
    assert torch.equal(sae.decode(code, x), first)


def test_decode_asks_for_the_input_it_needs(loose):
    x = activations(2, 6, D_MODEL)
    code = loose.encode_dense(x)
    needs = loose.architecture in ("temporal", "skip_transcoder", "jumprelu_skip_transcoder")
    assert loose.needs_input == needs
    if needs:
        with pytest.raises(SaeError, match=r"call decode\(code, x\)"):
            loose.decode(code)
    else:
        assert torch.equal(loose.decode(code), loose.decode(code, x))


def test_decoding_a_change_equals_the_change_of_decodings(loose):
    x = activations(2, 12, D_MODEL)
    code, other = loose.encode_dense(x), loose.encode_dense(x.flip(1))
    expected = loose.decode(other, x) - loose.decode(code, x)
    assert torch.allclose(loose.decode_change(other - code, x), expected, atol=1e-5)


@pytest.mark.parametrize("normalisation", ["layer_norm", "constant_norm_rescale"])
def test_decoding_a_change_carries_the_scale_of_the_token(tmp_path, normalisation):
    _, sae = pair(tmp_path, "topk", normalize_activations=normalisation)
    x = 7 * activations(2, 12, D_MODEL)
    code, other = sae.encode_dense(x), sae.encode_dense(x.flip(1))
    expected = sae.decode(other, x) - sae.decode(code, x)
    assert torch.allclose(sae.decode_change(other - code, x), expected, atol=1e-4)


def test_chosen_features_equal_the_full_code(loose):
    x = activations(2, 40, D_MODEL)
    full = loose.encode_dense(x)
    chosen = [5, 0, 95, 17]
    assert torch.allclose(loose.encode_features(x, chosen), full[..., chosen], atol=1e-5)
    rows = loose.decoder_rows(chosen)
    assert rows.shape == (4, D_MODEL)
    assert torch.equal(rows, loose.decoder_rows()[chosen])
    assert torch.equal(loose.encoder_columns(chosen), loose.encoder_columns()[:, chosen])


def test_error_is_target_minus_reconstruction_in_float32(loose):
    x, y = activations(2, 8, D_MODEL), activations(2, 8, D_MODEL, seed=3)
    if loose.is_transcoder:
        with pytest.raises(SaeError, match="pass it as target"):
            loose.error(x)
        error, target = loose.error(x, y), y
    else:
        error, target = loose.error(x), x
    assert error.dtype == torch.float32
    assert torch.allclose(error + loose.reconstruct(x), target, atol=1e-6)
    half = loose.error(x.half(), y.half())
    assert half.dtype == torch.float32


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_activations_that_are_no_numbers_are_refused(loose, bad):
    x = activations(1, 4, D_MODEL)
    x[0, 2, 1] = bad
    with pytest.raises(InputError, match="1 of 128 activations are NaN or infinite"):
        loose.encode(x)


def test_wrong_widths_are_refused(loose):
    with pytest.raises(SaeError, match=r"width 32, got shape \(1, 4, 30\)"):
        loose.encode(torch.zeros(1, 4, 30))
    with pytest.raises(SaeError, match="code of width 95, expected 96"):
        loose.decode(torch.zeros(1, 4, 95))
    with pytest.raises(InputError, match=r"feature 96 .* expected 0 … 95"):
        loose.encode_features(torch.zeros(1, 4, 32), [96])
    with pytest.raises(InputError, match="more than once"):
        loose.decoder_rows([3, 3])


def test_temporal_refuses_tokens_without_order(tmp_path):
    _, sae = pair(tmp_path, "temporal")
    with pytest.raises(SaeError, match=r"reads sequences \[batch, pos, 32\]"):
        sae.encode(torch.zeros(4, D_MODEL))


def test_per_head_activations_are_flattened_and_restored(tmp_path):
    hook = "blocks.1.attn.hook_z"
    module = make_module("topk", d_in=D_MODEL, d_sae=96, hook=hook, reshape_activations="hook_z")
    sae = load_sae(save_sae(tmp_path / "z", module))
    x = activations(2, 5, 4, 8)
    assert torch.equal(sae.encode(x).to_dense(), module.encode(x))
    assert sae.encode(x).shape == (2, 5, 96)
    assert torch.allclose(sae.reconstruct(x), module(x), atol=1e-6)
    assert sae.reconstruct(x).shape == x.shape
    # SAELens remembers the first head shape it saw; another one must not be confused by it.
    again = activations(2, 5, 8, 4)
    assert sae.reconstruct(again).shape == again.shape
    assert torch.equal(sae.encode(x.flatten(-2)).to_dense(), module.encode(x))


def test_weights_loaded_inside_inference_mode_still_carry_gradients(loose):
    with torch.inference_mode():
        loose.encode(activations(1, 4, D_MODEL))
    x = activations(1, 4, D_MODEL).requires_grad_()
    loose.reconstruct(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0

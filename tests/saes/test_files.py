"""Files from outside: damaged, foreign and hostile ones are refused, and nothing in them runs."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from sae_fixtures import activations, make_module, save_sae, write_sae
from safetensors.torch import load_file, save_file

from workbench.errors import SaeError
from workbench.saes import load_sae


class Canary:
    """Pickles into a call that would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.fixture
def folder(tmp_path):
    return write_sae(tmp_path / "sae", "jumprelu", d_in=8, d_sae=32)


def config_of(folder):
    return json.loads((folder / "cfg.json").read_text())


def rewrite(folder, **changes):
    (folder / "cfg.json").write_text(json.dumps({**config_of(folder), **changes}))


def tensors_of(folder):
    return load_file(folder / "sae_weights.safetensors")


def store(folder, tensors):
    save_file(tensors, folder / "sae_weights.safetensors")


@pytest.mark.parametrize("kept", [0, 4, 30, 0.5, 0.999])
def test_truncated_weights(folder, kept):
    path = folder / "sae_weights.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if kept < 1 else kept])
    with pytest.raises(SaeError, match=r"not a readable safetensors .* truncated"):
        load_sae(folder)


def test_a_header_that_claims_too_much(folder):
    path = folder / "sae_weights.safetensors"
    header = {"W_enc": {"dtype": "F32", "shape": [1 << 20, 1 << 20], "data_offsets": [0, 1 << 42]}}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(SaeError, match="not a readable safetensors"):
        load_sae(folder)


def test_missing_weights_and_missing_folder(folder, tmp_path):
    (folder / "sae_weights.safetensors").unlink()
    with pytest.raises(SaeError, match="no SAE found"):
        load_sae(folder)
    with pytest.raises(SaeError, match="no such file or directory"):
        load_sae(tmp_path / "nowhere")
    with pytest.raises(SaeError, match="no such file or directory"):
        load_sae("./nowhere")


def test_git_lfs_pointer(folder):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (folder / "sae_weights.safetensors").write_text(pointer)
    with pytest.raises(SaeError, match="git lfs pull"):
        load_sae(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["W_enc", "b_dec", "threshold"])
def test_numbers_that_are_none(folder, name, value):
    tensors = tensors_of(folder)
    tensors[name].view(-1)[3] = value
    store(folder, tensors)
    if name == "threshold" and value == float("inf"):
        # An infinite threshold switches a feature off.
        assert 3 not in load_sae(folder).encode(activations(50, 8)).indices
        return
    with pytest.raises(SaeError, match=rf"'{name}' has 1 of .* NaN or infinite"):
        load_sae(folder).load()


def test_weights_that_overflow_the_dtype_asked_for(folder):
    tensors = tensors_of(folder)
    tensors["W_dec"][0, 0] = 1e6
    store(folder, tensors)
    load_sae(folder, dtype="bfloat16").load()
    with pytest.raises(SaeError, match=r"overflow this dtype .bfloat16"):
        load_sae(folder, dtype="float16").load()


def test_shapes_other_than_the_configuration_says(folder):
    rewrite(folder, d_sae=33)
    with pytest.raises(SaeError, match=r"'W_enc' has shape \(8, 32\), .* implies \(8, 33\)"):
        load_sae(folder)


def test_missing_renamed_and_extra_tensors(folder):
    tensors = tensors_of(folder)
    threshold = tensors.pop("threshold")
    store(folder, {**tensors, "thresholds": threshold})
    with pytest.raises(SaeError, match=r"'threshold' .* is missing; nearest in the file is 'thres"):
        load_sae(folder)
    store(folder, {**tensors, "threshold": threshold, "W_skip": torch.zeros(8, 8)})
    with pytest.raises(SaeError, match=r"\['W_skip'\] do not belong"):
        load_sae(folder)


def test_integer_weights(folder):
    tensors = tensors_of(folder)
    tensors["b_dec"] = torch.zeros(8, dtype=torch.int32)
    store(folder, tensors)
    load_sae(folder).load()  # integers convert exactly


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "jumprelo"}, r"unknown architecture 'jumprelo': did you mean 'jumprelu'"),
        ({"d_in": "8a"}, r"field 'd_in': .* \(got '8a'\)"),
        ({"d_sae": -1}, r"field 'd_sae': .*greater than or equal to 1"),
        ({"d_sae": 1 << 40}, r"field 'd_sae': .*less than or equal"),
        ({"dtype": "float8"}, r"unknown dtype 'float8'"),
        ({"normalize_activations": "layernorm"}, r"did you mean 'layer_norm'"),
        ({"normalize_activations": "constant_scalar_rescale"}, "temporal SAEs only"),
        ({"reshape_activations": "hook_q"}, "unknown reshape"),
        ({"architecture": "topk"}, r"needs k between 1 and d_sae = 32, got None"),
        ({"architecture": "topk", "k": 33}, r"needs k between 1 and d_sae = 32, got 33"),
        ({"architecture": "transcoder"}, "needs d_out"),
        ({"architecture": "transcoder", "d_out": 8}, "decoder bias of a transcoder"),
        ({"architecture": "temporal"}, r"multiple of bottleneck_factor × n_heads = 64 × 8"),
    ],
)
def test_configurations_that_make_no_sense(folder, changes, message):
    rewrite(folder, **changes)
    with pytest.raises(SaeError, match=message):
        load_sae(folder)


def test_configuration_files_that_are_none(folder):
    path = folder / "cfg.json"
    for text, message in [
        ("{", "not valid JSON"),
        ("[1]", "expected a JSON object, got list"),
        ("\xff", "not valid JSON"),
        ('{"metadata": {"sae_lens_version": "6.1.0"}}', r"'architecture': Field required"),
    ]:
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(SaeError, match=message):
            load_sae(folder)
    path.write_text(" " * (17 << 20))
    with pytest.raises(SaeError, match="bytes of JSON, expected at most"):
        load_sae(folder)


def test_metadata_cannot_replace_methods(folder):
    metadata = {**config_of(folder)["metadata"], "to_dict": 1, "__class__": "x", "get": None}
    rewrite(folder, metadata=metadata)
    with load_sae(folder).loaded() as module:
        assert module.cfg.metadata.to_dict()["hook_name"] == "blocks.1.hook_resid_post"


def test_configurations_of_before_version_six(tmp_path):
    module = make_module("standard", d_in=8, d_sae=32)
    folder = save_sae(tmp_path / "old", module)
    old = {
        "architecture": "standard",
        "d_in": 8,
        "d_sae": 32,
        "dtype": "torch.float32",
        "device": "cuda",
        "hook_point": "blocks.2.hook_resid_pre",
        "model_name": "gpt2-small",
        "normalize_activations": None,
        "activation_fn_str": "relu",
    }
    (folder / "cfg.json").write_text(json.dumps(old))
    sae = load_sae(folder)
    assert (sae.name, sae.config.model_name) == ("resid_pre.2", "gpt2-small")
    x = activations(70, 8)
    assert torch.equal(sae.encode(x).to_dense(), module.encode(x))
    (folder / "cfg.json").write_text(json.dumps({**old, "architecture": "nonsense"}))
    with pytest.raises(SaeError, match="before SAELens 6"):
        load_sae(folder)


def test_fine_tuned_scales_go_into_the_decoder(tmp_path):
    module = make_module("standard", d_in=8, d_sae=32)
    folder = save_sae(tmp_path / "tuned", module)
    scale = torch.linspace(0.5, 2, 32)
    store(folder, {**tensors_of(folder), "scaling_factor": scale})
    with pytest.raises(SaeError, match="finetuning_scaling_factor is false"):
        load_sae(folder).load()
    rewrite(folder, finetuning_scaling_factor=True)
    sae = load_sae(folder)
    x = activations(70, 8)
    assert torch.equal(sae.encode(x).to_dense(), module.encode(x))
    expected = (module.encode(x) * scale) @ module.W_dec + module.b_dec
    assert torch.allclose(sae.reconstruct(x), expected, atol=1e-6)
    store(folder, {**tensors_of(folder), "scaling_factor": torch.ones(32)})
    assert torch.allclose(load_sae(folder).reconstruct(x), module(x), atol=1e-6)


# -- pickles ----------------------------------------------------------------------------------


def torch_state(module):
    """The same numbers under dictionary_learning's names."""
    return {
        "bias": module.b_dec.detach(),
        "encoder.weight": module.W_enc.detach().T.contiguous(),
        "encoder.bias": module.b_enc.detach(),
        "decoder.weight": module.W_dec.detach().T.contiguous(),
    }


def test_a_checkpoint_with_code_is_refused_and_not_run(tmp_path):
    canary = tmp_path / "ran"
    path = tmp_path / "ae.pt"
    torch.save({**torch_state(make_module("standard")), "extra": Canary(canary)}, path)
    for where in (path, tmp_path):
        with pytest.raises(SaeError, match=r"would unpickle more .* Nothing was executed"):
            load_sae(where)
    assert not canary.exists()


def test_a_plain_pickle_is_refused_and_not_run(tmp_path):
    canary = tmp_path / "ran"
    for name in ("ae.pt", "sae.pkl", "sae.bin"):
        path = tmp_path / name
        path.write_bytes(pickle.dumps(Canary(canary)))
        with pytest.raises(SaeError, match=r"refused|can hold code"):
            load_sae(path)
    assert not canary.exists()


def test_archives_of_objects_are_refused_and_not_run(tmp_path):
    canary = tmp_path / "ran"
    objects = np.array([Canary(canary)], dtype=object)
    np.savez(tmp_path / "params.npz", W_enc=np.zeros((4, 8), np.float32), extra=objects)
    with pytest.raises(SaeError, match="'extra' holds pickled Python objects"):
        load_sae(tmp_path)
    assert not canary.exists()


def test_an_environment_that_forces_unpickling_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "ae.pt"
    torch.save(torch_state(make_module("standard")), path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(SaeError, match="TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set"):
        load_sae(path)


def test_truncated_checkpoints_and_archives(tmp_path):
    torch.save(torch_state(make_module("standard")), tmp_path / "ae.pt")
    np.savez(tmp_path / "params.npz", W_enc=np.zeros((4, 8), np.float32))
    for name in ("ae.pt", "params.npz"):
        whole = (tmp_path / name).read_bytes()
        part = tmp_path / f"part_{name}"
        part.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(SaeError, match="truncated"):
            load_sae(part)


def test_a_tensor_that_claims_more_than_it_stores(tmp_path):
    state = torch_state(make_module("standard"))
    state["encoder.weight"] = torch.zeros(1).expand(1 << 20, 1 << 10)
    torch.save(state, tmp_path / "ae.pt")
    with pytest.raises(SaeError, match=r"claims \(1048576, 1024\) but stores"):
        load_sae(tmp_path / "ae.pt")


def test_an_archive_that_unpacks_to_much_more(tmp_path):
    path = tmp_path / "params.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("W_enc.npy", b"\0" * (64 << 20))
    with pytest.raises(SaeError, match="damaged or hostile"):
        load_sae(path)


def test_an_array_header_that_claims_more_than_is_stored(tmp_path):
    buffer = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 20, 1 << 12)}
    np.lib.format.write_array_header_1_0(buffer, header)
    path = tmp_path / "params.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("W_enc.npy", buffer.getvalue() + b"\0" * 64)
    with pytest.raises(SaeError, match=r"claims \(1048576, 4096\) of float32, but only"):
        load_sae(path)


# -- companions -------------------------------------------------------------------------------


def test_density_and_labels(tmp_path):
    module = make_module("topk", d_in=8, d_sae=32)
    frequency = torch.linspace(0, 1, 32)
    folder = save_sae(
        tmp_path / "sae",
        module,
        log_sparsity=torch.log10(frequency + 1e-10),
        labels={3: "<b>cities</b>", 31: "x" * 5000},
    )
    sae = load_sae(folder)
    assert np.allclose(sae.density(), frequency, atol=1e-6)
    assert sae.labels()[3] == "<b>cities</b>"
    assert len(sae.labels()[31]) == 2000
    assert sae.l0 == pytest.approx(float(frequency.sum()), rel=1e-5)
    bare = json.loads((folder / "labels.json").read_text())["features"]
    (folder / "labels.json").write_text(json.dumps(bare))
    assert load_sae(folder).labels() == sae.labels()
    plain = load_sae(save_sae(tmp_path / "plain", module))
    assert plain.density() is None
    assert plain.labels() == {}


def test_companions_that_do_not_fit(folder):
    save_file({"sparsity": torch.zeros(31)}, folder / "sparsity.safetensors")
    with pytest.raises(SaeError, match=r"'sparsity' has shape \(31,\)"):
        load_sae(folder).density()
    for content, message in [
        ({"features": []}, "expected"),
        ({"features": {"32": {"label": "x"}}}, r"'32' is outside 0 … 31"),
        ({"features": {"-1": {"label": "x"}}}, "is outside"),
        ({"features": {"1": {"label": 5}}}, "no text label"),
        ({"features": {"1": "x"}}, "no text label"),
    ]:
        (folder / "labels.json").write_text(json.dumps(content))
        with pytest.raises(SaeError, match=message):
            load_sae(folder).labels()


def test_fingerprints_tell_weights_apart(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    first = load_sae(folder).fingerprint
    assert load_sae(copy).fingerprint == first
    tensors = tensors_of(copy)
    tensors["W_dec"][0, 0] += 1e-3
    store(copy, tensors)
    assert load_sae(copy).fingerprint != first
    shutil.copy(folder / "sae_weights.safetensors", copy)
    rewrite(copy, apply_b_dec_to_input=False)
    assert load_sae(copy).fingerprint != first

"""The toy model as files that open like any other model's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from workbench.demo.toy.arithmetic import Network
from workbench.demo.toy.construction import SPECIAL, WORDS
from workbench.demo.toy.dictionaries import Dictionary

MODEL_NAME = "toy"


def write_model(network: Network, folder: Path) -> None:
    """Write weights, configuration and tokenizer into a folder, in Hugging Face layout."""
    from safetensors.numpy import save_file

    tensors = {
        "model.embed_tokens.weight": network.embed,
        "model.norm.weight": network.norm,
        "lm_head.weight": network.unembed,
    }
    names = {
        "attn_norm": "input_layernorm",
        "q": "self_attn.q_proj",
        "k": "self_attn.k_proj",
        "v": "self_attn.v_proj",
        "o": "self_attn.o_proj",
        "mlp_norm": "post_attention_layernorm",
        "gate": "mlp.gate_proj",
        "up": "mlp.up_proj",
        "down": "mlp.down_proj",
    }
    for layer, block in enumerate(network.blocks):
        for ours, theirs in names.items():
            tensors[f"model.layers.{layer}.{theirs}.weight"] = getattr(block, ours)
    stored = {name: np.ascontiguousarray(v, dtype=np.float32) for name, v in tensors.items()}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    bos, eos, pad = (WORDS.index(word) for word in ("<s>", "</s>", "<pad>"))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "bos_token_id": bos,
        "eos_token_id": eos,
        "pad_token_id": pad,
        "head_dim": network.head,
        "hidden_act": "silu",
        "hidden_size": network.d,
        "intermediate_size": len(network.blocks[0].gate),
        "max_position_embeddings": 64,
        "mlp_bias": False,
        "num_attention_heads": network.heads,
        "num_hidden_layers": len(network.blocks),
        "num_key_value_heads": network.heads,
        "rms_norm_eps": network.norm_epsilon,
        "rope_parameters": {"rope_theta": network.rope_theta, "rope_type": "default"},
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "vocab_size": len(WORDS),
    }
    _write_json(folder / "config.json", config)
    special = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
    }
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 64,
        **special,
    }
    _write_json(folder / "tokenizer_config.json", settings)
    _write_json(folder / "tokenizer.json", _tokenizer())


def _tokenizer() -> dict[str, object]:
    """Describe a word-level tokenizer as the tokenizers library stores it."""
    special = [
        {
            "id": number,
            "content": word,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for number, word in enumerate(SPECIAL)
    ]
    begin = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in ("A", "B"))
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, first],
            "pair": [begin, first, second],
            "special_tokens": {
                "<s>": {"id": "<s>", "ids": [WORDS.index("<s>")], "tokens": ["<s>"]}
            },
        },
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {word: number for number, word in enumerate(WORDS)},
            "unk_token": "<unk>",
        },
    }


def write_dictionary(dictionary: Dictionary, folder: Path) -> None:
    """Write weights, configuration and labels into a folder, in SAELens layout."""
    from safetensors.numpy import save_file

    tensors = {
        "W_enc": dictionary.encoder,
        "b_enc": dictionary.encoder_bias,
        "W_dec": dictionary.decoder,
        "b_dec": dictionary.decoder_bias,
    }
    d = len(dictionary.decoder_bias)
    hooks = {name: _hook(name) for name in (dictionary.source, dictionary.site)}
    metadata: dict[str, object] = {
        "model_name": MODEL_NAME,
        "hook_name": hooks[dictionary.source],
        "prepend_bos": True,
        "sae_lens_version": "6.54.12",  # the version whose layout this is
    }
    config: dict[str, object] = {
        "architecture": dictionary.architecture,
        "d_in": d,
        "d_sae": len(dictionary),
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": dictionary.architecture != "transcoder",
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": metadata,
    }
    if dictionary.architecture == "transcoder":
        metadata["hook_name_out"] = hooks[dictionary.site]
        config["d_out"] = d
    if dictionary.k is not None:
        config["k"] = dictionary.k
    if dictionary.threshold is not None:
        tensors["threshold"] = np.full(len(dictionary), dictionary.threshold)
    stored = {name: np.ascontiguousarray(v, dtype=np.float32) for name, v in tensors.items()}
    save_file(stored, folder / "sae_weights.safetensors")
    _write_json(folder / "cfg.json", config)
    labels = {str(i): {"label": name} for i, name in enumerate(dictionary.features)}
    _write_json(folder / "labels.json", {"features": labels})


def _hook(site: str) -> str:
    kind, _, layer = site.partition(".")
    if kind == "embed":
        return "hook_embed"
    return f"blocks.{layer}.mlp.hook_in" if kind == "mlp_in" else f"blocks.{layer}.hook_{kind}"


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

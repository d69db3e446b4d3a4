"""Tiny checkpoints in real layouts, written by the tests and loaded through the real code paths."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

ARCHITECTURES = ("gpt2", "gpt_neox", "llama", "gemma2")

WORDS = (  # noqa: SIM905 - a word list reads better as text
    "the a cat dog bird sat ran slept on under mat tree river bank old young red and or not "
    "she he it they was is were are saw knew loved . , ? !"
).split()


def tokenizer(*, bos: str | None = "<s>", chat: bool = True) -> Any:
    """Byte-level BPE without merges over a few words: any text round-trips."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab: dict[str, int] = {}
    merges: list[tuple[str, str]] = []
    for token in ("<pad>", "<s>", "</s>", *alphabet):
        vocab[token] = len(vocab)
    for word in ["Ġ" + word for word in WORDS] + WORDS:
        built = word[0]
        for character in word[1:]:
            merged = built + character
            if merged not in vocab:
                vocab[merged] = len(vocab)
                merges.append((built, character))
            built = merged
    core = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, special=True) for token in ("<pad>", "<s>", "</s>")])
    made = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=bos, eos_token="</s>", pad_token="<pad>"
    )
    if chat:
        made.chat_template = (
            "{{ bos_token }}{% for message in messages %}[{{ message['role'] }}] "
            "{{ message['content'] }}\n{% endfor %}"
            "{% if add_generation_prompt %}[assistant]{% endif %}"
        )
    return made


def config(architecture: str, vocab_size: int, **changes: Any) -> Any:
    """Config of a tiny model of one of the tested architectures."""
    import transformers

    common: dict[str, Any] = {"vocab_size": vocab_size, "bos_token_id": 1, "eos_token_id": 2}
    if architecture == "gpt2":
        shape = {"n_layer": 3, "n_embd": 32, "n_head": 4, "n_positions": 64}
        return transformers.GPT2Config(**{**common, **shape, **changes})
    shape = {
        "num_hidden_layers": 3,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
    }
    if architecture == "gpt_neox":
        return transformers.GPTNeoXConfig(
            **{**common, **shape, "use_parallel_residual": True, **changes}
        )
    grouped = {"num_key_value_heads": 2, "head_dim": 8}
    if architecture == "llama":
        return transformers.LlamaConfig(**{**common, **shape, **grouped, **changes})
    if architecture == "gemma2":
        return transformers.Gemma2Config(
            **{**common, **shape, **grouped, "query_pre_attn_scalar": 8, **changes}
        )
    raise ValueError(f"no tiny {architecture!r}: expected one of {ARCHITECTURES}")


def model(architecture: str, *, seed: int = 0, **changes: Any) -> tuple[Any, Any]:
    """A randomly initialised tiny model and its tokenizer, weights large enough to matter."""
    import torch
    import transformers

    made = tokenizer()
    torch.manual_seed(seed)
    network = transformers.AutoModelForCausalLM.from_config(
        config(architecture, len(made), **changes)
    ).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            scale = 0.2 if parameter.ndim > 1 else 0.1
            noise = torch.randn(parameter.shape, generator=generator) * scale
            parameter.add_(noise) if parameter.ndim == 1 else parameter.copy_(noise)
    return network, made


def write(architecture: str, directory: Path, *, seed: int = 0, **changes: Any) -> Path:
    """Write a tiny checkpoint as a local Hugging Face directory."""
    network, made = model(architecture, seed=seed, **changes)
    directory.mkdir(parents=True, exist_ok=True)
    network.save_pretrained(directory)
    made.save_pretrained(directory)
    return directory


def hub_folder(cache: Path, repo: str) -> Path:
    """Make the folder of one revision of `repo` in the hub's cache layout and return it.

    The caller fills the folder; `refs/main` already names it.
    """
    commit = hashlib.sha1(repo.encode()).hexdigest()
    root = cache / f"models--{repo.replace('/', '--')}"
    (root / "refs").mkdir(parents=True, exist_ok=True)
    (root / "refs" / "main").write_text(commit)
    snapshot = root / "snapshots" / commit
    snapshot.mkdir(parents=True, exist_ok=True)
    return snapshot


def write_hub(architecture: str, cache: Path, repo: str, *, seed: int = 0, **changes: Any) -> Path:
    """Write a tiny checkpoint under a real name in the hub's cache layout."""
    return write(architecture, hub_folder(cache, repo), seed=seed, **changes)

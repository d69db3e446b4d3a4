"""The demo language model: a small Llama trained on packed corpus rows."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.demo.training.settings import ModelSettings

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

__all__ = ["build_model", "document_mask", "save_model", "train_language_model", "warmup_cosine"]

Log = Callable[[str], None]


def build_model(settings: ModelSettings, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Build the untrained model with seeded weights.

    Parameters
    ----------
    settings
        Sizes and seed.
    tokenizer
        Gives the vocabulary size and the special token ids.

    Returns
    -------
    LlamaForCausalLM
        float32, on the CPU, sequential blocks, RMSNorm, rotary positions, untied embeddings.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.width,
        intermediate_size=settings.mlp_width,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=settings.positions,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="sdpa",
    )
    torch.manual_seed(settings.seed)
    return LlamaForCausalLM(config)


def document_mask(ids: Int[Tensor, "batch pos"], bos: int) -> Bool[Tensor, "batch 1 pos pos"]:
    """Return which positions may attend where in rows of packed documents.

    A token sees itself and the earlier tokens of its own document, so that a document reads the
    same packed and alone (rotary positions are relative). Tokens before a row's first BOS form
    one document.

    Parameters
    ----------
    ids
        Packed rows.
    bos
        Id of the token every document starts with.

    Returns
    -------
    Tensor of bool, shape (batch, 1, pos, pos)
        True where the query (second to last axis) may see the key (last axis).
    """
    document = (ids == bos).cumsum(-1)
    same = document[:, :, None] == document[:, None, :]
    causal = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).tril()
    return (same & causal)[:, None]


def warmup_cosine(step: int, *, warmup: int, total: int) -> float:
    """Return the factor on the learning rate: linear warm-up, then half a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def packed_loss(
    logits: Float[Tensor, "batch pos vocab"], ids: Int[Tensor, "batch pos"], *, bos: int, pad: int
) -> Float[Tensor, ""]:
    """Return the mean next-token cross-entropy in nats, first tokens and padding left out."""
    targets = ids[:, 1:].clone()
    # What starts the next document cannot be told from this one.
    targets[(targets == bos) | (targets == pad)] = -100
    return torch.nn.functional.cross_entropy(
        logits[:, :-1].float().flatten(0, 1), targets.flatten(), ignore_index=-100
    )


def train_language_model(
    settings: ModelSettings,
    tokenizer: PreTrainedTokenizerFast,
    batches: Iterator[Int[Tensor, "batch pos"]],
    *,
    device: str,
    log: Log = print,
    on_step: Callable[[int, LlamaForCausalLM], None] | None = None,
) -> LlamaForCausalLM:
    """Train the demo model.

    Parameters
    ----------
    settings
        Sizes and optimisation.
    tokenizer
        The demo tokenizer.
    batches
        Endless batches of packed rows on `device`.
    device
        ``cuda`` trains in bfloat16 autocast over float32 weights, ``cpu`` in float32.
    log
        Receives progress lines.
    on_step
        Called after every step with the number of steps done and the model.

    Returns
    -------
    LlamaForCausalLM
        The trained model on `device`, float32, in evaluation mode.
    """
    model = build_model(settings, tokenizer).to(device).train()
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    on_gpu = device.startswith("cuda")
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
        fused=on_gpu,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: warmup_cosine(step, warmup=settings.warmup_steps, total=settings.steps),
    )
    bos, pad = _special_ids(tokenizer)
    started = time.perf_counter()
    for step in range(1, settings.steps + 1):
        ids = next(batches)
        with _autocast(on_gpu):
            logits = model(input_ids=ids, attention_mask=document_mask(ids, bos)).logits
        loss = packed_loss(logits, ids, bos=bos, pad=pad)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        if step % max(1, settings.steps // 40) == 0 or step == 1:
            seconds = time.perf_counter() - started
            log(
                f"model step {step}/{settings.steps} loss {loss.item():.4f} "
                f"{step / seconds:.1f} steps/s {step * ids.numel() / seconds:,.0f} tokens/s"
            )
        if on_step is not None:
            on_step(step, model)
    return model.eval()


def save_model(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, directory: Path
) -> None:
    """Write the model and tokenizer in Hugging Face layout, weights in float16.

    The configuration says float32, so that loading upcasts: the stored precision only halves the
    download.

    Parameters
    ----------
    model, tokenizer
        What to write.
    directory
        Made where missing.
    """
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(directory)
    config_path = directory / "config.json"
    config: dict[str, Any] = json.loads(config_path.read_text())
    config["architectures"] = ["LlamaForCausalLM"]
    config["dtype"] = "float32"
    config_path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    model.generation_config.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    weights = {
        name: tensor.detach().to("cpu", torch.float16).contiguous()
        for name, tensor in model.state_dict().items()
    }
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def _special_ids(tokenizer: PreTrainedTokenizerFast) -> tuple[int, int]:
    bos, pad = tokenizer.bos_token_id, tokenizer.pad_token_id
    if not isinstance(bos, int) or not isinstance(pad, int):
        msg = f"the demo tokenizer needs BOS and padding ids, got {bos!r} and {pad!r}"
        raise TypeError(msg)
    return bos, pad


def _autocast(on_gpu: bool) -> contextlib.AbstractContextManager[Any]:
    if on_gpu:
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()

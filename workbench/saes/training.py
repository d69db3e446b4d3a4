"""Training an SAE on a site of an opened model, through SAELens's trainer.

A thin recipe for small dictionaries: activations are collected by the model's own passes (special
tokens left out), mixed in a buffer, and handed to ``sae_lens.SAETrainer``. Inputs are scaled to an
expected norm of √d during training and the scale is folded into the weights at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError, unknown
from workbench.saes.config import SaeConfig, parse_config
from workbench.saes.formats.saelens_dir import CONFIG_FILE, WEIGHTS_FILE
from workbench.saes.store import SaeStore

if TYPE_CHECKING:
    from workbench.model.model import Model
    from workbench.model.sites import Site
    from workbench.model.tokens import Tokens
    from workbench.saes.sae import Sae

__all__ = ["TRAINED_ARCHITECTURES", "train_sae"]

TRAINED_ARCHITECTURES = (
    *("standard", "gated", "topk", "abstopk", "batchtopk", "jumprelu"),
    *("matching_pursuit", "matryoshka_batchtopk"),
)
_TOP_K = ("topk", "abstopk", "batchtopk", "matryoshka_batchtopk")
_BUFFERED_BATCHES = 32
_NORM_BATCHES = 16


def train_sae(
    model: Model,
    site: str | Site,
    texts: str | Sequence[str] | Tokens,
    path: str | Path,
    *,
    architecture: str = "topk",
    d_sae: int,
    k: int | None = 16,
    steps: int = 2_000,
    batch_size: int = 1_024,
    rows_per_pass: int = 16,
    learning_rate: float = 1e-3,
    seed: int = 0,
    store: SaeStore | None = None,
    **settings: Any,
) -> Sae:
    """Train an SAE and save it as a SAELens directory.

    Parameters
    ----------
    model, site
        Where the activations come from.
    texts
        Texts or `Tokens`; read again from the start when they run out.
    path
        Folder to write: ``cfg.json``, ``sae_weights.safetensors``, ``sparsity.safetensors``.
    architecture
        One of `TRAINED_ARCHITECTURES`. The batch-top-k ones are saved as jumprelu, as SAELens does.
    d_sae
        Number of features.
    k
        Active features per token of the top-k architectures; other architectures ignore it.
    steps, batch_size
        Optimiser steps, and tokens per step.
    rows_per_pass
        Rows per pass of the model.
    learning_rate
        Peak learning rate of Adam; falls linearly to zero over the last fifth.
    seed
        Decides initial weights and the order of tokens.
    store
        Store to attach the result to; a new one by default.
    **settings
        Further fields of SAELens's training configuration (``l1_coefficient``, ...).

    Returns
    -------
    Sae
        Loaded from `path`, attached to `model`.

    Raises
    ------
    InputError
        If the architecture is unknown, numbers do not fit, or too few tokens are counted.
    """
    if architecture not in TRAINED_ARCHITECTURES:
        raise InputError(unknown("trainable architecture", architecture, TRAINED_ARCHITECTURES))
    found = model.sites.resolve(site)
    tokens = model.tokens(texts)
    counted = int((tokens.mask & ~tokens.special).sum())
    if counted < batch_size:
        raise InputError(f"got {counted} counted tokens, expected at least batch_size={batch_size}")
    if steps < 1 or d_sae < 1:
        raise InputError(f"got steps={steps} and d_sae={d_sae}, expected positive numbers")
    width = _width(model, found, tokens)
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.mixing_buffer import mixing_buffer
    from sae_lens.training.sae_trainer import SAETrainer

    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        if architecture in _TOP_K:
            settings = {"k": k, **settings}
        training = _new(model, found, tokens, architecture, width, d_sae, settings)
        provider = mixing_buffer(
            buffer_size=_BUFFERED_BATCHES * batch_size,
            batch_size=batch_size,
            activations_loader=_activations(model, found, tokens, rows_per_pass),
        )
        trainer = SAETrainer(
            cfg=SAETrainerConfig(
                total_training_samples=steps * batch_size,
                train_batch_size_samples=batch_size,
                lr=learning_rate,
                lr_end=0.0,
                lr_decay_steps=steps // 5,
                lr_warm_up_steps=min(steps // 20, 100),
                device=str(model.device),
                dead_feature_window=max(steps // 10, 20),
                feature_sampling_window=max(steps // 4, 10),
                n_batches_for_norm_estimate=_NORM_BATCHES,
            ),
            sae=training,
            data_provider=provider,
        )
        trained = trainer.fit()
    _save(trained, trainer.log_feature_sparsity, Path(path).expanduser())
    target = SaeStore(model) if store is None else store
    return target.attach(Path(path).expanduser(), site=found)[0]


def _width(model: Model, site: Site, tokens: Tokens) -> int:
    sample = model.run(tokens[:1], capture=[site])[site]
    return sample[0, 0].numel()


def _new(
    model: Model,
    site: Site,
    tokens: Tokens,
    architecture: str,
    width: int,
    d_sae: int,
    settings: dict[str, Any],
) -> Any:
    from sae_lens.registry import get_sae_training_class
    from sae_lens.saes.sae import SAEMetadata

    sae_class, config_class = get_sae_training_class(architecture)
    if architecture == "matryoshka_batchtopk":
        settings = {"matryoshka_widths": [d_sae // 4, d_sae // 2, d_sae], **settings}
    normalised = "expected_average_only_in"
    if architecture == "matching_pursuit":
        # Its residual threshold is in units of the input, and its decoder rows have unit norm.
        normalised = "none"
        settings = {"decoder_init_norm": 1.0, **settings}
    metadata = SAEMetadata(
        model_name=model.name,
        model_fingerprint=model.fingerprint,
        hook_name=site.hook,
        context_size=int(tokens.ids.shape[1]),
        prepend_bos=bool(tokens.policy.bos),
        exclude_special_tokens=True,
    )
    fields = {
        "d_in": width,
        "d_sae": d_sae,
        "dtype": "float32",
        "device": str(model.device),
        "normalize_activations": normalised,
        "metadata": metadata,
        **settings,
    }
    try:
        config = config_class(**fields)
    except (TypeError, ValueError) as error:
        raise InputError(f"settings of a {architecture} SAE: {error}") from error
    return sae_class(config)


def _activations(
    model: Model, site: Site, tokens: Tokens, rows_per_pass: int
) -> Iterator[Float[Tensor, "token d_in"]]:
    """Activations of counted tokens, over and over, rows in a new order each time."""
    while True:
        order = torch.randperm(len(tokens))
        for start in range(0, len(tokens), rows_per_pass):
            rows = _take(tokens, order[start : start + rows_per_pass])
            x = model.run(rows, capture=[site])[site]
            kept = x[(rows.mask & ~rows.special).to(x.device)]
            # A copy made outside the pass is an ordinary tensor, which gradients accept.
            yield kept.flatten(1).float().clone()


def _take(tokens: Tokens, rows: Tensor) -> Tokens:
    import dataclasses

    index = rows.tolist()
    return dataclasses.replace(
        tokens,
        ids=tokens.ids[rows],
        mask=tokens.mask[rows],
        special=tokens.special[rows],
        strings=tuple(tokens.strings[row] for row in index),
    )


def _save(trained: Any, log_sparsity: Tensor, folder: Path) -> SaeConfig:
    import json

    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().clone() for name, tensor in trained.state_dict().items()}
    trained.process_state_dict_for_saving_inference(state)
    raw = {**trained.cfg.get_inference_sae_cfg_dict(), "device": "cpu"}
    if "metadata" in raw:
        raw["metadata"] = dict(raw["metadata"])
    config = parse_config(raw, str(folder))
    ready = {name: tensor.float().contiguous().cpu() for name, tensor in state.items()}
    save_file(ready, folder / WEIGHTS_FILE)
    save_file({"sparsity": log_sparsity.float()}, folder / "sparsity.safetensors")
    (folder / CONFIG_FILE).write_text(json.dumps(raw, indent=1, default=str), encoding="utf-8")
    return config

"""The SAEs of the demo world, trained by SAELens trainers and stored in SAELens layout."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.demo.training.activations import activation_batches
from workbench.demo.training.language_model import document_mask
from workbench.demo.training.settings import SaePlan, SaeSettings
from workbench.demo.training.sites import read_sites, site_of_hook, transformer_lens_hook
from workbench.demo.training.transcoder import transcoder_training_class

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

__all__ = ["Scaling", "build_sae", "density", "prune_sae", "save_sae", "train_saes"]

Log = Callable[[str], None]
NESTING = (32, 8, 2, 1)
"""A matryoshka SAE must reconstruct with a 32nd, an 8th, half and all of its features."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scaling:
    """Factors and mean that bring a site to a standard size for training.

    Parameters
    ----------
    source, target
        Factors on input and target: ``sqrt(d) / median(norm of the centred activation)``.
        Medians, because the BOS token may be many times longer than any other.
    target_center
        Median of the scaled target, shape (d,): the first output bias.
    """

    source: float
    target: float
    target_center: Tensor

    @classmethod
    def measure(
        cls, source: Float[Tensor, "tokens d"], target: Float[Tensor, "tokens d"]
    ) -> Scaling:
        """Measure the factors on one batch of activations."""

        def factor(x: Tensor) -> float:
            median = (x - x.median(0).values).norm(dim=-1).median()
            return float(x.shape[-1] ** 0.5 / median.clamp_min(1e-12))

        scale = factor(target)
        center = target.median(0).values * scale
        return cls(source=factor(source), target=scale, target_center=center)


def build_sae(plan: SaePlan, width: int, *, context: int, device: str) -> Any:
    """Build the untrained SAE of a plan with seeded weights.

    Parameters
    ----------
    plan
        What to train.
    width
        Width of the site.
    context
        Tokens per corpus row, stored as ``context_size``.
    device
        Where to train.

    Returns
    -------
    sae_lens.TrainingSAE
        Its metadata says which site of which model it belongs to.
    """
    from sae_lens import (
        BatchTopKTrainingSAE,
        BatchTopKTrainingSAEConfig,
        MatryoshkaBatchTopKTrainingSAE,
        MatryoshkaBatchTopKTrainingSAEConfig,
        TopKTrainingSAE,
        TopKTrainingSAEConfig,
    )
    from sae_lens.saes.sae import SAEMetadata

    metadata = SAEMetadata(
        model_name="demo",
        hook_name=transformer_lens_hook(plan.site),
        hook_head_index=None,
        prepend_bos=True,
        context_size=context,
        dataset_path="workbench.demo.corpus",
        exclude_special_tokens=False,
        model_from_pretrained_kwargs={},
    )
    if plan.is_transcoder:
        metadata.hook_name_out = transformer_lens_hook(plan.target)
    common: dict[str, Any] = {
        "d_in": width,
        "d_sae": plan.features,
        "device": device,
        # A transcoder's output bias has nothing to do with its input.
        "apply_b_dec_to_input": not plan.is_transcoder,
        "metadata": metadata,
    }
    torch.manual_seed(plan.seed)
    if plan.is_transcoder:
        return transcoder_training_class()(
            BatchTopKTrainingSAEConfig(k=float(plan.active), **common)
        )
    if plan.architecture == "matryoshka":
        return MatryoshkaBatchTopKTrainingSAE(
            MatryoshkaBatchTopKTrainingSAEConfig(
                k=float(plan.active),
                matryoshka_widths=[plan.features // part for part in NESTING],
                **common,
            )
        )
    if plan.architecture == "batchtopk":
        return BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(k=float(plan.active), **common))
    return TopKTrainingSAE(TopKTrainingSAEConfig(k=plan.active, **common))


@dataclasses.dataclass(kw_only=True)
class _Run:
    """One SAE while it is trained: SAELens's trainer and the scaling of its site."""

    plan: SaePlan
    trainer: Any
    scaling: Scaling

    def step(self, batch: dict[str, Tensor]) -> None:
        x = batch[self.plan.site] * self.scaling.source
        if self.plan.is_transcoder:
            x = torch.cat([x, batch[self.plan.target] * self.scaling.target], dim=-1)
        self.trainer.step(x)
        self.trainer.n_training_steps += 1

    @torch.no_grad()
    def finish(self) -> Any:
        """Fold the scaling into the weights and return the SAE."""
        sae = self.trainer.sae
        if not self.plan.is_transcoder:
            sae.fold_activation_norm_scaling_factor(self.scaling.source)
            return sae
        sae.W_enc.mul_(self.scaling.source)
        sae.W_dec.div_(self.scaling.target)
        sae.b_dec.div_(self.scaling.target)
        # The threshold is in units of pre-activation times decoder norm.
        sae.topk_threshold.div_(self.scaling.target)
        return sae


def _start(
    plan: SaePlan, settings: SaeSettings, first: dict[str, Tensor], *, context: int, device: str
) -> _Run:
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    source, target = first[plan.site], first[plan.target]
    scaling = Scaling.measure(source, target)
    sae = build_sae(plan, source.shape[-1], context=context, device=device)
    if not plan.control:
        with torch.no_grad():
            sae.b_dec.copy_(scaling.target_center)
    config = SAETrainerConfig(
        total_training_samples=plan.steps * settings.batch_tokens,
        train_batch_size_samples=settings.batch_tokens,
        lr=plan.learning_rate,
        lr_end=plan.learning_rate,
        lr_warm_up_steps=max(1, plan.steps // 50),
        lr_decay_steps=max(1, plan.steps // 3),
        device=device,
        dead_feature_window=settings.dead_window,
    )
    trainer = SAETrainer(cfg=config, sae=sae, data_provider=iter(()))
    return _Run(plan=plan, trainer=trainer, scaling=scaling)


def train_saes(
    model: LlamaForCausalLM,
    rows: np.ndarray,
    plans: Sequence[SaePlan],
    settings: SaeSettings,
    *,
    log: Log = print,
) -> dict[str, Any]:
    """Train several SAEs side by side on one stream of activations.

    Each SAE sees the same tokens in the same order whichever others are trained beside it, so the
    plans can be shared out among processes.

    Parameters
    ----------
    model
        The trained demo model.
    rows
        Corpus rows, shape (rows, context).
    plans
        The SAEs.
    settings
        Shared settings.
    log
        Receives progress lines.

    Returns
    -------
    dict
        Plan name to trained ``sae_lens.TrainingSAE`` in the units of the raw activations.
    """
    sites = list(dict.fromkeys(site for plan in plans for site in (plan.site, plan.target)))
    batches = activation_batches(
        model,
        rows,
        sites,
        batch_tokens=settings.batch_tokens,
        buffer_tokens=settings.buffer_tokens,
        seed=settings.seed,
    )
    device = str(model.device)
    batch = next(batches)
    runs = [_start(p, settings, batch, context=rows.shape[1], device=device) for p in plans]
    started = time.perf_counter()
    last = max(plan.steps for plan in plans)
    for step in range(1, last + 1):
        for run in runs:
            if step <= run.plan.steps:
                run.step(batch)
        if step % max(1, last // 5) == 0:
            seconds = time.perf_counter() - started
            log(f"saes {', '.join(p.name for p in plans)}: {step}/{last} {step / seconds:.1f}/s")
        if step < last:
            batch = next(batches)
    return {run.plan.name: run.finish() for run in runs}


def save_sae(sae: Any, plan: SaePlan, directory: Path) -> None:
    """Write a trained SAE in SAELens layout, weights in float16.

    ``cfg.json`` says float32, so that loading upcasts.

    Parameters
    ----------
    sae
        The trained SAE in raw units.
    plan
        Says whether it is a transcoder or the control.
    directory
        Made where missing.
    """
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().clone() for name, tensor in sae.state_dict().items()}
    sae.process_state_dict_for_saving_inference(state)
    config = sae.cfg.get_inference_sae_cfg_dict()
    config["device"], config["dtype"] = "cpu", "float32"
    # Decoder rows were brought to unit norm above, so there is nothing left to rescale.
    if "rescale_acts_by_decoder_norm" in config:
        config["rescale_acts_by_decoder_norm"] = False
    if plan.is_transcoder:
        config["architecture"] = "jumprelu_transcoder"
        config["d_out"] = int(state["W_dec"].shape[1])
    config["metadata"]["control"] = plan.control
    save_file(
        {name: tensor.to("cpu", torch.float16).contiguous() for name, tensor in state.items()},
        directory / "sae_weights.safetensors",
    )
    (directory / "cfg.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


@torch.no_grad()
def density(
    model: LlamaForCausalLM,
    rows: np.ndarray,
    directories: Sequence[Path],
    *,
    special: Sequence[int],
    batch_rows: int = 64,
) -> dict[str, Float[Tensor, " d_sae"]]:
    """Measure how often each feature fires, and store it beside each SAE.

    Writes ``sparsity.safetensors`` with ``sparsity = log10(frequency + 1e-10)``, as SAELens does.

    Parameters
    ----------
    model
        The demo model.
    rows
        Corpus rows, shape (rows, context).
    directories
        Directories of stored SAEs.
    special
        Ids of special tokens, which are not counted.
    batch_rows
        Rows per forward pass.

    Returns
    -------
    dict
        Directory name to frequencies, shape (d_sae,), float32 on the CPU.
    """
    from sae_lens import SAE
    from safetensors.torch import save_file

    device = str(model.device)
    saes = {path: SAE.load_from_disk(path, device=device) for path in directories}
    sites = {path: site_of_hook(sae.cfg.metadata.hook_name) for path, sae in saes.items()}
    fired = {path: torch.zeros(sae.cfg.d_sae, device=device) for path, sae in saes.items()}
    count = 0
    wanted = list(dict.fromkeys(sites.values()))
    for start in range(0, len(rows), batch_rows):
        ids = torch.from_numpy(rows[start : start + batch_rows].astype(np.int64)).to(device)
        counted = ~torch.isin(ids, torch.tensor(list(special), device=device))
        values = read_sites(model, ids, document_mask(ids, model.config.bos_token_id), wanted)
        for path, sae in saes.items():
            fired[path] += (sae.encode(values[sites[path]][counted]) > 0).sum(0)
        count += int(counted.sum())
    result = {}
    for path, total in fired.items():
        frequency = (total / count).cpu()
        save_file({"sparsity": torch.log10(frequency + 1e-10)}, path / "sparsity.safetensors")
        result[path.name] = frequency
    return result


def prune_sae(directory: Path, *, least: float) -> int:
    """Remove features that hardly ever fire from a stored SAE.

    Parameters
    ----------
    directory
        SAELens directory with the ``sparsity.safetensors`` that `density` wrote.
    least
        Features that fire on a smaller share of tokens are removed.

    Returns
    -------
    int
        How many were removed; ``cfg.json`` keeps the number as ``metadata.pruned_features``.
    """
    from safetensors.torch import load_file, save_file

    sparsity = load_file(directory / "sparsity.safetensors")["sparsity"]
    kept = torch.nonzero(10.0 ** sparsity.double() >= least).flatten()
    weights = load_file(directory / "sae_weights.safetensors")
    for name, axis in (("W_enc", 1), ("b_enc", 0), ("W_dec", 0), ("threshold", 0)):
        if name in weights:
            weights[name] = weights[name].index_select(axis, kept).contiguous()
    config = json.loads((directory / "cfg.json").read_text())
    removed = int(config["d_sae"]) - len(kept)
    config["d_sae"] = len(kept)
    config["metadata"]["pruned_features"] = removed
    save_file(weights, directory / "sae_weights.safetensors")
    save_file({"sparsity": sparsity[kept].contiguous()}, directory / "sparsity.safetensors")
    (directory / "cfg.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    return removed

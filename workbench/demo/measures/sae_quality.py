"""Health of the stored SAEs: sparsity, reconstruction, dead features, and what the model loses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.demo.training.language_model import document_mask
from workbench.demo.training.sites import read_sites, replaced_site, site_of_hook

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

__all__ = ["SaeQuality", "StoredSae", "load_saes", "measure_saes"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredSae:
    """A stored SAE with the sites it reads and reconstructs."""

    name: str
    site: str
    target: str
    control: bool
    sae: Any

    def splice(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_out"]:
        """Return the reconstruction of the target from the site's value."""
        return self.sae.decode(self.sae.encode(x))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SaeQuality:
    """What one SAE does on held-out text.

    Parameters
    ----------
    name
        Name of the SAE.
    l0
        Mean number of active features per token.
    fvu
        Fraction of variance unexplained, ``sum ||x - x_hat||^2 / sum ||x - mean(x)||^2``.
    dead
        Fraction of features that fire on no token.
    ce_score
        ``(CE_ablated - CE_spliced) / (CE_ablated - CE_clean)`` with zero ablation of the site.
    ce_clean, ce_spliced, ce_ablated
        Mean next-token cross-entropy in nats: untouched, with the reconstruction in place of the
        site at every position and no error term, and with zeros there.
    tokens, ce_tokens
        Tokens the first three, and the cross-entropies, are means over.
    control
        Whether this is the deliberately bad SAE, which no bar applies to.
    """

    name: str
    l0: float
    fvu: float
    dead: float
    ce_score: float
    ce_clean: float
    ce_spliced: float
    ce_ablated: float
    tokens: int
    ce_tokens: int
    control: bool


def load_saes(directories: Sequence[Path], device: str) -> list[StoredSae]:
    """Load stored SAEs as float32.

    Parameters
    ----------
    directories
        SAELens directories; the directory name becomes the SAE's name.
    device
        Where to put them.
    """
    from sae_lens import SAE

    loaded = []
    for path in directories:
        sae = SAE.load_from_disk(path, device=device, dtype="float32")
        metadata = sae.cfg.metadata
        site = site_of_hook(metadata.hook_name)
        target = site_of_hook(metadata.hook_name_out) if metadata.hook_name_out else site
        loaded.append(
            StoredSae(
                name=path.name,
                site=site,
                target=target,
                control=bool(metadata.control),
                sae=sae.eval(),
            )
        )
    return loaded


@dataclasses.dataclass
class _Moments:
    """Running sums of one SAE's reconstruction."""

    active: float = 0.0
    residual: float = 0.0
    square: float = 0.0
    total: Tensor | None = None
    fired: Tensor | None = None
    count: int = 0

    def add(self, x: Tensor, x_hat: Tensor, acts: Tensor) -> None:
        self.count += len(x)
        self.active += float((acts > 0).sum())
        self.residual += float((x - x_hat).double().pow(2).sum())
        self.square += float(x.double().pow(2).sum())
        total, fired = x.double().sum(0), (acts > 0).any(0)
        self.total = total if self.total is None else self.total + total
        self.fired = fired if self.fired is None else self.fired | fired

    @property
    def fvu(self) -> float:
        assert self.total is not None  # noqa: S101 - add() was called
        variance = self.square - float(self.total.pow(2).sum()) / self.count
        return self.residual / variance

    @property
    def dead(self) -> float:
        assert self.fired is not None  # noqa: S101 - add() was called
        return 1.0 - float(self.fired.double().mean())


def _batches(
    ids: Int[np.ndarray, "rows context"], size: int, device: torch.device
) -> Iterator[Int[Tensor, "batch context"]]:
    for start in range(0, len(ids), size):
        yield torch.from_numpy(ids[start : start + size].astype(np.int64)).to(device)


@torch.inference_mode()
def _cross_entropy(
    model: LlamaForCausalLM, ids: Int[np.ndarray, "rows context"], batch_rows: int
) -> tuple[float, int]:
    bos, pad = model.config.bos_token_id, model.config.pad_token_id
    total, count = 0.0, 0
    for batch in _batches(ids, batch_rows, model.device):
        logits = model(
            input_ids=batch, attention_mask=document_mask(batch, bos), use_cache=False
        ).logits[:, :-1]
        targets = batch[:, 1:]
        wanted = (targets != bos) & (targets != pad)
        losses = torch.nn.functional.cross_entropy(
            logits[wanted].float(), targets[wanted], reduction="sum"
        )
        total += float(losses)
        count += int(wanted.sum())
    return total / count, count


@torch.inference_mode()
def _moments(
    model: LlamaForCausalLM,
    ids: Int[np.ndarray, "rows context"],
    saes: Sequence[StoredSae],
    batch_rows: int,
) -> Mapping[str, _Moments]:
    bos, pad = model.config.bos_token_id, model.config.pad_token_id
    sites = list(dict.fromkeys(site for sae in saes for site in (sae.site, sae.target)))
    moments = {sae.name: _Moments() for sae in saes}
    for batch in _batches(ids, batch_rows, model.device):
        values = read_sites(model, batch, document_mask(batch, bos), sites)
        real: Bool[Tensor, "batch context"] = (batch != bos) & (batch != pad)
        for sae in saes:
            acts = sae.sae.encode(values[sae.site][real])
            moments[sae.name].add(values[sae.target][real], sae.sae.decode(acts), acts)
    return moments


def measure_saes(
    model: LlamaForCausalLM,
    saes: Sequence[StoredSae],
    ids: Int[np.ndarray, "rows context"],
    *,
    ce_rows: int,
    batch_rows: int = 64,
    log: Callable[[str], None] | None = None,
) -> list[SaeQuality]:
    """Measure every SAE on held-out rows.

    Sparsity, reconstruction and dead features are over tokens other than BOS and padding; a
    splice replaces the site at every position, BOS included, without the error term.

    Parameters
    ----------
    model
        The demo model.
    saes
        SAEs to measure.
    ids
        Packed held-out rows, shape (rows, context).
    ce_rows
        Rows the cross-entropies are measured on.
    batch_rows
        Rows per forward pass.
    log
        Receives one line per SAE.

    Returns
    -------
    list of SaeQuality
        In the order of `saes`.
    """
    moments = _moments(model, ids, saes, batch_rows)
    short = ids[:ce_rows]
    clean, ce_tokens = _cross_entropy(model, short, batch_rows)
    ablated: dict[str, float] = {}
    results = []
    for sae in saes:
        if sae.target not in ablated:
            with replaced_site(model, sae.target, torch.zeros_like):
                ablated[sae.target] = _cross_entropy(model, short, batch_rows)[0]
        with replaced_site(model, sae.site, sae.splice, target=sae.target):
            spliced = _cross_entropy(model, short, batch_rows)[0]
        zero, sums = ablated[sae.target], moments[sae.name]
        quality = SaeQuality(
            name=sae.name,
            l0=sums.active / sums.count,
            fvu=sums.fvu,
            dead=sums.dead,
            ce_score=(zero - spliced) / (zero - clean),
            ce_clean=clean,
            ce_spliced=spliced,
            ce_ablated=zero,
            tokens=sums.count,
            ce_tokens=ce_tokens,
            control=sae.control,
        )
        results.append(quality)
        if log is not None:
            log(
                f"{sae.name}: L0 {quality.l0:.1f}, FVU {quality.fvu:.3f}, dead "
                f"{quality.dead:.1%}, CE score {quality.ce_score:.4f} "
                f"(CE {clean:.3f} / {spliced:.3f} / {zero:.3f})"
            )
    return results

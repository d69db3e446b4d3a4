"""Health of the stored SAEs: sparsity, reconstruction, dead features, and what the model loses.

The definitions are those of `workbench.saes.health` (special tokens are not counted, and a splice
leaves them as they are); here all SAEs are measured in the same pass over packed documents.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.demo.training.language_model import document_mask
from workbench.demo.training.sites import read_sites, replaced_site, site_of_hook
from workbench.saes.acts import FeatureActs
from workbench.saes.health import ReconstructionSums

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
    """What one SAE does on a text.

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
        site at every counted token and no error term, and with zeros there.
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


Replace = Callable[[Tensor], Tensor]


def _batches(
    ids: Int[np.ndarray, "rows context"], size: int, device: torch.device
) -> Iterator[Int[Tensor, "batch context"]]:
    for start in range(0, len(ids), size):
        yield torch.from_numpy(ids[start : start + size].astype(np.int64)).to(device)


def _counted(
    ids: Int[Tensor, "batch context"], special: Sequence[int]
) -> Bool[Tensor, "batch context"]:
    return ~torch.isin(ids, torch.tensor(list(special), device=ids.device))


@torch.inference_mode()
def _cross_entropy(
    model: LlamaForCausalLM,
    ids: Int[np.ndarray, "rows context"],
    special: Sequence[int],
    batch_rows: int,
    *,
    site: str | None = None,
    target: str | None = None,
    replace: Replace = torch.zeros_like,
) -> tuple[float, int]:
    """Return the mean cross-entropy over counted tokens, and how many; `target` is replaced."""
    bos = model.config.bos_token_id
    total, count = 0.0, 0
    for batch in _batches(ids, batch_rows, model.device):
        counted = _counted(batch, special)
        with contextlib.ExitStack() as stack:
            if site is not None:
                stack.enter_context(
                    replaced_site(model, site, replace, target=target, where=counted)
                )
            logits = model(
                input_ids=batch, attention_mask=document_mask(batch, bos), use_cache=False
            ).logits[:, :-1]
        wanted = counted[:, 1:]
        losses = torch.nn.functional.cross_entropy(
            logits[wanted].float(), batch[:, 1:][wanted], reduction="sum"
        )
        total += float(losses)
        count += int(wanted.sum())
    return total / count, count


@torch.inference_mode()
def _sums(
    model: LlamaForCausalLM,
    ids: Int[np.ndarray, "rows context"],
    saes: Sequence[StoredSae],
    special: Sequence[int],
    batch_rows: int,
) -> dict[str, ReconstructionSums]:
    bos = model.config.bos_token_id
    sites = list(dict.fromkeys(site for sae in saes for site in (sae.site, sae.target)))
    sums = {sae.name: ReconstructionSums() for sae in saes}
    for batch in _batches(ids, batch_rows, model.device):
        values = read_sites(model, batch, document_mask(batch, bos), sites)
        counted = _counted(batch, special)
        for sae in saes:
            acts = sae.sae.encode(values[sae.site][counted])
            sums[sae.name].update(
                values[sae.target][counted], sae.sae.decode(acts), FeatureActs.from_dense(acts)
            )
    return sums


def measure_saes(
    model: LlamaForCausalLM,
    saes: Sequence[StoredSae],
    ids: Int[np.ndarray, "rows context"],
    *,
    special: Sequence[int],
    ce_rows: int,
    batch_rows: int = 64,
    log: Callable[[str], None] | None = None,
) -> list[SaeQuality]:
    """Measure every SAE on packed rows.

    Parameters
    ----------
    model
        The demo model.
    saes
        SAEs to measure.
    ids
        Packed rows, shape (rows, context).
    special
        Ids of special tokens; every other token is counted.
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
    every = _sums(model, ids, saes, special, batch_rows)
    short = ids[:ce_rows]
    clean, ce_tokens = _cross_entropy(model, short, special, batch_rows)
    ablated: dict[str, float] = {}
    results = []
    for sae in saes:
        if sae.target not in ablated:
            ablated[sae.target] = _cross_entropy(
                model, short, special, batch_rows, site=sae.target
            )[0]
        spliced = _cross_entropy(
            model,
            short,
            special,
            batch_rows,
            site=sae.site,
            target=sae.target,
            replace=sae.splice,
        )[0]
        zero, sums = ablated[sae.target], every[sae.name]
        if sums.features is None:
            msg = "the rows hold special tokens only"
            raise ValueError(msg)
        quality = SaeQuality(
            name=sae.name,
            l0=float(sums.features.count.sum()) / sums.n_tokens,
            fvu=sums.fvu,
            dead=float((sums.features.count == 0).double().mean()),
            ce_score=(zero - spliced) / (zero - clean),
            ce_clean=clean,
            ce_spliced=spliced,
            ce_ablated=zero,
            tokens=sums.n_tokens,
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

"""How good an SAE is, from first principles, streamed over batches.

Over the counted tokens (real, not special), with target y (the activation itself; for transcoders
the true activation at the output site) and reconstruction ŷ:

- L0: mean number of features that are not zero.
- FVU: Σ‖y − ŷ‖² / Σ‖y − ȳ‖², sums over tokens, ȳ the mean over all of them. Explained variance is
  1 − FVU. (Sums are taken before the quotient; averaging per-token or per-dimension quotients gives
  other numbers.)
- dead fraction: features that fire on no counted token.
- CE-loss score: (CE_abl − CE_sae) / (CE_abl − CE_clean), with CE in nats per predicted token, the
  site replaced at counted tokens by ŷ (CE_sae) or by zeros or the mean (CE_abl).
- KL: mean over predicted tokens of KL(clean ‖ with SAE), in nats.

A token is predicted where it is counted and not the first of its row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.errors import InputError, SaeError, unknown
from workbench.results import Result
from workbench.saes.per_feature import FeatureStatistics
from workbench.saes.splice import splice_all

if TYPE_CHECKING:
    import pandas as pd

    from workbench.model.model import Model
    from workbench.model.tokens import Tokens
    from workbench.saes.acts import FeatureActs
    from workbench.saes.sae import Sae

__all__ = ["ReconstructionSums", "SaeHealth", "measure_health"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SaeHealth(Result):
    """Quality of one SAE on a corpus.

    Parameters
    ----------
    sae
        Name of the SAE.
    n_tokens, n_predictions
        Counted tokens, and tokens the losses run over.
    l0
        Mean number of active features per token.
    fvu
        Fraction of variance unexplained.
    dead_fraction
        Fraction of features that never fired.
    density
        Fraction of counted tokens on which each feature fires.
    ce_clean, ce_sae, ce_ablated
        Cross-entropy in nats per predicted token; None where losses were not measured.
    ce_score
        (ce_ablated − ce_sae) / (ce_ablated − ce_clean); None where losses were not measured or
        ablation changes nothing.
    kl
        Mean KL(clean ‖ with SAE) in nats; None where losses were not measured.
    ablation
        What the site was replaced with for `ce_ablated`.
    """

    sae: str
    n_tokens: int
    n_predictions: int
    l0: float
    fvu: float
    dead_fraction: float
    density: Float[np.ndarray, " d_sae"] = field(repr=False)
    ce_clean: float | None
    ce_sae: float | None
    ce_ablated: float | None
    ce_score: float | None
    kl: float | None
    ablation: str

    @property
    def explained_variance(self) -> float:
        """1 − FVU."""
        return 1 - self.fvu

    def to_pandas(self) -> pd.DataFrame:
        """Return one row with every figure but the densities."""
        import pandas as pd

        names = ("sae", "n_tokens", "n_predictions", "l0", "fvu", "dead_fraction", "ce_clean")
        more = ("ce_sae", "ce_ablated", "ce_score", "kl", "ablation")
        return pd.DataFrame([{name: getattr(self, name) for name in (*names, *more)}])

    def summary(self) -> str:
        """Return one line with the figures."""
        score = "" if self.ce_score is None else f", CE-loss score {self.ce_score:.3f}"
        return (
            f"Health of {self.sae}: L0 {self.l0:.1f}, FVU {self.fvu:.3f}, "
            f"{self.dead_fraction:.1%} dead{score} over {self.n_tokens:,} tokens"
        )


class ReconstructionSums:
    """Running sums of reconstruction quality; never holds more than the batch it is given.

    Variance is summed about the first batch's mean, so that a large common offset of the
    activations does not eat the digits.
    """

    def __init__(self) -> None:
        self.n_tokens = 0
        self.squared_error = 0.0
        self._shift: Tensor | None = None
        self._first: Tensor | None = None
        self._second = 0.0
        self.features: FeatureStatistics | None = None

    def update(
        self,
        target: Float[Tensor, "token d_out"],
        reconstruction: Float[Tensor, "token d_out"],
        acts: FeatureActs,
    ) -> None:
        """Add a batch of counted tokens."""
        if not len(target):
            return
        y = target.double()
        if self._shift is None or self._first is None:
            self._shift = y.mean(0)
            self._first = torch.zeros_like(self._shift)
        moved = y - self._shift
        self._first = self._first + moved.sum(0)
        self._second += float(moved.square().sum())
        self.squared_error += float((y - reconstruction.to(y.device).double()).square().sum())
        self.n_tokens += len(y)
        statistics = acts.statistics()
        self.features = statistics if self.features is None else self.features + statistics

    @property
    def total_variance(self) -> float:
        """Σ‖y − ȳ‖² over all tokens so far."""
        if self._first is None:
            return 0.0
        return self._second - float(self._first.square().sum()) / self.n_tokens

    @property
    def fvu(self) -> float:
        """Σ‖y − ŷ‖² / Σ‖y − ȳ‖².

        Raises
        ------
        InputError
            If the activations do not vary.
        """
        if self.total_variance <= 0:
            raise InputError(
                f"FVU is undefined: the activations of {self.n_tokens} tokens do not vary"
            )
        return self.squared_error / self.total_variance


class _Losses:
    """Running cross-entropies and KL over predicted tokens."""

    def __init__(self) -> None:
        self.n = 0
        self.clean = self.spliced = self.ablated = self.kl = 0.0

    def update(
        self,
        ids: Int[Tensor, "batch pos"],
        predicted: Bool[Tensor, "batch pos"],
        clean: Float[Tensor, "batch pos d_vocab"],
        spliced: Float[Tensor, "batch pos d_vocab"],
        ablated: Float[Tensor, "batch pos d_vocab"],
    ) -> None:
        """Add a batch; `predicted` marks tokens whose prediction counts."""
        ids, chosen = ids.to(clean.device), predicted[:, 1:].to(clean.device)
        targets = ids[:, 1:][chosen].unsqueeze(-1)
        clean_log = clean[:, :-1][chosen].float().log_softmax(-1)
        spliced_log = spliced[:, :-1][chosen].float().log_softmax(-1)
        ablated_log = ablated[:, :-1][chosen].float().log_softmax(-1)
        self.n += len(targets)
        self.clean -= float(clean_log.gather(-1, targets).double().sum())
        self.spliced -= float(spliced_log.gather(-1, targets).double().sum())
        self.ablated -= float(ablated_log.gather(-1, targets).double().sum())
        self.kl += float((clean_log.exp() * (clean_log - spliced_log)).double().sum())


def measure_health(
    model: Model,
    sae: Sae,
    texts: str | Sequence[str] | Tokens | Iterable[Tokens],
    *,
    batch_size: int = 8,
    losses: bool = True,
    ablation: Literal["zero", "mean"] = "zero",
) -> SaeHealth:
    """Measure an SAE on texts.

    Parameters
    ----------
    model, sae
        The model and one of its attached SAEs.
    texts
        Texts, `Tokens`, or an iterable of `Tokens` batches (read twice for mean ablation, so then
        not a one-shot generator).
    batch_size
        Rows per pass; batches of an iterable are taken as they come.
    losses
        Measure CE and KL too (three passes of the whole model instead of one up to the site).
    ablation
        What stands for the site's activation in CE_abl: zeros or its mean.

    Returns
    -------
    SaeHealth

    Raises
    ------
    SaeError
        If the SAE is not attached.
    InputError
        If no token is counted, activations do not vary, or `ablation` is unknown.
    """
    if sae.site is None or sae.out_site is None:
        raise SaeError(f"SAE {sae.name} is not attached to a model; attach it to measure it")
    if ablation not in ("zero", "mean"):
        raise InputError(unknown("ablation", str(ablation), ("zero", "mean")))
    value = _mean(model, sae, texts, batch_size) if losses and ablation == "mean" else None
    sums, totals = ReconstructionSums(), _Losses()
    policy = None
    for tokens in _batches(model, texts, batch_size):
        policy = tokens.policy
        counted = tokens.mask & ~tokens.special
        sites = list(dict.fromkeys((sae.site.name, sae.out_site.name)))
        ran = model.run(tokens, capture=sites, logits=losses)
        x, y = ran[sae.site], ran[sae.out_site]
        _add(sums, sae, x, y, counted.to(x.device))
        if losses and ran.logits is not None:
            spliced = model.run(tokens, edits=splice_all([sae.splice("drop", positions=counted)]))
            ablated = model.run(tokens, edits={sae.out_site: _replace(counted, value)})
            predicted = counted.clone()
            predicted[:, 0] = False
            if spliced.logits is not None and ablated.logits is not None:
                totals.update(tokens.ids, predicted, ran.logits, spliced.logits, ablated.logits)
    if sums.features is None:
        raise InputError("no token is counted: the texts hold special tokens only")
    measured = losses and totals.n > 0
    ce = (
        [total / totals.n for total in (totals.clean, totals.spliced, totals.ablated)]
        if (measured)
        else [None, None, None]
    )
    return SaeHealth(
        provenance=model.provenance(saes=(sae.name,), policy=policy),
        sae=sae.name,
        n_tokens=sums.n_tokens,
        n_predictions=totals.n,
        l0=float(sums.features.count.sum()) / sums.n_tokens,
        fvu=sums.fvu,
        dead_fraction=float((sums.features.count == 0).double().mean()),
        density=(sums.features.count.double() / sums.n_tokens).cpu().numpy(),
        ce_clean=ce[0],
        ce_sae=ce[1],
        ce_ablated=ce[2],
        ce_score=_score(*ce),
        kl=totals.kl / totals.n if measured else None,
        ablation=ablation,
    )


def _score(clean: float | None, spliced: float | None, ablated: float | None) -> float | None:
    if clean is None or spliced is None or ablated is None or ablated == clean:
        return None
    return (ablated - spliced) / (ablated - clean)


def _add(sums: ReconstructionSums, sae: Sae, x: Tensor, y: Tensor, counted: Tensor) -> None:
    # Temporal SAEs read whole rows, so tokens are chosen after encoding.
    acts = sae.encode(x)
    reconstruction = sae.decode(acts, x).reshape(y.shape).to(y.device)
    sums.update(
        y[counted].flatten(1),
        reconstruction[counted].flatten(1),
        acts.select(counted.to(acts.device)),
    )


def _replace(counted: Bool[Tensor, "batch pos"], value: Tensor | None) -> Any:
    def edit(y: Tensor) -> Tensor:
        other = torch.zeros_like(y) if value is None else value.to(y).expand_as(y)
        mask = counted.to(y.device)
        return torch.where(mask[(...,) + (None,) * (y.ndim - 2)], other, y)

    return edit


def _mean(model: Model, sae: Sae, texts: Any, batch_size: int) -> Tensor:
    total: Tensor | None = None
    n = 0
    for tokens in _batches(model, texts, batch_size):
        if sae.out_site is None:
            break
        counted = tokens.mask & ~tokens.special
        y = model.run(tokens, capture=[sae.out_site])[sae.out_site]
        chosen = y[counted.to(y.device)].double()
        total = chosen.sum(0) if total is None else total + chosen.sum(0)
        n += len(chosen)
    if total is None or not n:
        raise InputError("no token is counted: the texts hold special tokens only")
    return total / n


def _batches(model: Model, texts: Any, batch_size: int) -> Iterator[Tokens]:
    from workbench.model.tokens import Tokens

    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}")
    if isinstance(texts, str | Tokens) or (
        isinstance(texts, Sequence) and not (len(texts) and isinstance(texts[0], Tokens))
    ):
        tokens = model.tokens(texts)
        for start in range(0, len(tokens), batch_size):
            yield tokens[start : start + batch_size]
        return
    for batch in texts:
        if not isinstance(batch, Tokens):
            raise InputError(f"expected batches of Tokens, got {type(batch).__name__}")
        yield batch

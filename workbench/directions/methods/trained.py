"""Directions trained through the model: a supervised steering vector and rank-1 ReFT.

Wu et al. 2025 (AxBench, arXiv:2501.17148, section 3). Both put their edit at every own token of a
text and are trained on the language-model loss under the edit. The loss of a conversation that ends
with the assistant's message runs over that message, as in the paper; that of a plain text, which
has no instruction before it, over all own tokens but the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.directions.activations import select_rows
from workbench.directions.methods.base import ConceptData, Found, Method, UnavailableError

if TYPE_CHECKING:
    from workbench.model.tokens import Tokens

__all__ = ["RankOneReft", "SteeringVector"]

Edited = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class SteeringVector(Method):
    """SSV: a vector added to every token, trained on positive texts.

    It is not of unit length: the length it was trained to is the direction's `norm`.

    Parameters
    ----------
    learning_rate, epochs, batch_size
        AdamW without weight decay, its rate falling linearly to 0.
    """

    name: ClassVar[str] = "ssv"
    title: ClassVar[str] = "SSV"

    learning_rate: float = 0.01
    epochs: int = 3
    batch_size: int = 6

    def fit(self, data: ConceptData) -> Found:
        """Train the vector."""
        vector = torch.zeros(
            data.tokens.shape[1], device=data.session.model.device, requires_grad=True
        )
        rows = np.flatnonzero(data.positive)
        optimiser = torch.optim.AdamW([vector], lr=self.learning_rate, weight_decay=0.0)
        for step, batch, total in _batches(data, rows, self.epochs, self.batch_size):
            loss = edited_loss(data, batch, lambda x, here: x + here[..., None] * vector)
            [vector.grad] = torch.autograd.grad(loss, [vector])
            _decay(optimiser, self.learning_rate, step, total)
            optimiser.step()
        if not bool(vector.any()):
            raise UnavailableError("training left the vector at 0")
        return Found(direction=data.direction(vector, self.name))


@dataclass(frozen=True, kw_only=True)
class RankOneReft(Method):
    """ReFT-r1: one unit vector that detects and steers at once.

    The latent of a token is ``ReLU(h · w)``; every own token becomes ``h + mean(top-k latents) w``.
    The loss is the language model's plus `sparsity` · (step/steps) · mean of the latents outside
    the top k. `w` stays at unit length, the gradient along it being removed.

    Parameters
    ----------
    k
        Latents averaged per text.
    sparsity
        Weight of the latents' penalty at the end of training.
    learning_rate, epochs, batch_size
        AdamW without weight decay, its rate falling linearly to 0.
    negatives
        Train on negative texts too, as the authors' settings do.
    """

    name: ClassVar[str] = "reft_r1"
    title: ClassVar[str] = "ReFT-r1"

    k: int = 8
    sparsity: float = 0.005
    learning_rate: float = 0.01
    epochs: int = 3
    batch_size: int = 6
    negatives: bool = True

    def fit(self, data: ConceptData) -> Found:
        """Train the vector."""
        generator = torch.Generator().manual_seed(data.seed)
        start = torch.randn(data.tokens.shape[1], generator=generator)
        device = data.session.model.device
        weight = (start / start.norm()).to(device).requires_grad_(True)
        rows = np.arange(len(data.acts)) if self.negatives else np.flatnonzero(data.positive)
        optimiser = torch.optim.AdamW([weight], lr=self.learning_rate, weight_decay=0.0)
        for step, batch, total in _batches(data, rows, self.epochs, self.batch_size):
            penalties: list[Tensor] = []
            edit = self._edit(weight, penalties)
            loss = edited_loss(data, batch, edit)
            loss = loss + self.sparsity * step / total * penalties[-1]
            [gradient] = torch.autograd.grad(loss, [weight])
            with torch.no_grad():
                weight.div_(weight.norm())
                weight.grad = gradient - (gradient @ weight) * weight
            _decay(optimiser, self.learning_rate, step, total)
            optimiser.step()
        return Found(direction=data.direction(weight, self.name, norm=1.0))

    def _edit(self, weight: Tensor, penalties: list[Tensor]) -> Edited:
        def edited(x: Tensor, here: Tensor) -> Tensor:
            latents = torch.relu(x.float() @ weight) * here
            top = latents.topk(min(self.k, latents.shape[1]), dim=-1)
            rest = latents.scatter(-1, top.indices, 0.0)
            penalties.append(rest.sum() / here.sum())
            return x + here[..., None] * (top.values.mean(-1)[:, None, None] * weight).to(x.dtype)

        return edited


@dataclass(frozen=True, eq=False)
class Batch:
    """Texts of one step, and the tokens whose prediction counts."""

    tokens: Tokens
    predicted: Bool[Tensor, "text pos"]


def _batches(
    data: ConceptData, rows: np.ndarray, epochs: int, size: int
) -> Iterator[tuple[int, Batch, int]]:
    """Give the step, a shuffled batch, and the number of steps."""
    rng = np.random.default_rng(data.seed)
    predicted = response_mask(data)
    total, step = epochs * -(-len(rows) // size), 0
    for _ in range(epochs):
        shuffled = rng.permutation(rows)
        for start in range(0, len(shuffled), size):
            chosen = torch.from_numpy(shuffled[start : start + size])
            tokens = select_rows(data.acts.tokens, chosen)
            yield step, Batch(tokens, predicted[chosen, : tokens.ids.shape[1]]), total
            step += 1
            if data.progress is not None:
                data.progress(step, total)


def response_mask(data: ConceptData) -> Bool[Tensor, "text pos"]:
    """Mark the tokens whose prediction counts: the last answer's, else all of the text's own."""
    tokens, model = data.acts.tokens, data.session.model
    mask = tokens.mask & ~tokens.special
    for row, text in enumerate(data.acts.texts):
        if isinstance(text, str) or len(text) < 2 or text[-1].get("role") != "assistant":
            continue
        before = model.tokens([text[:-1]], tokens.policy).ids[0]
        # Templates may write a last message differently; then all own tokens count.
        if torch.equal(tokens.ids[row, : len(before)], before):
            mask[row, : len(before)] = False
    return mask


def edited_loss(data: ConceptData, batch: Batch, edited: Edited) -> Tensor:
    """Mean cross-entropy, in nats, of a batch's predicted tokens under an edit at the site."""
    model, tokens = data.session.model, batch.tokens
    own = (tokens.mask & ~tokens.special).to(model.device)
    ran = model.run(
        tokens, edits={data.site: lambda x: edited(x, own.to(x.dtype))}, logits=True, grad=True
    )
    logits = ran.logits
    if logits is None:
        raise UnavailableError("the model gave no logits")
    return next_token_loss(logits, tokens.ids.to(model.device), batch.predicted.to(model.device))


def next_token_loss(
    logits: Float[Tensor, "text pos d_vocab"],
    ids: Tensor,
    predicted: Bool[Tensor, "text pos"],
) -> Float[Tensor, ""]:
    """Mean cross-entropy of predicting the marked tokens but those at position 0, in nats."""
    target, counted = ids[:, 1:], predicted[:, 1:]
    if not bool(counted.any()):
        raise UnavailableError("no text has a token to predict")
    log_probs = logits[:, :-1].float().log_softmax(-1)
    found = log_probs.gather(-1, target[..., None])[..., 0]
    return -found[counted].mean()


def _decay(optimiser: torch.optim.Optimizer, rate: float, step: int, total: int) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate * (1 - step / total)

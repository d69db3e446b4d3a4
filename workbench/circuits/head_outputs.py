"""What attention heads write, and what happens without them.

A head's output is its part of the attention output: its row of ``z`` times its part of the output
matrix, ``[d_model]`` per token (Elhage et al. 2021, "A Mathematical Framework for Transformer
Circuits"). The parts of all heads add up to the attention output, its bias left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.errors import InputError, SiteError, unknown
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd

    from workbench.model import Edit, Model, Site
    from workbench.model.tokens import Tokens
    from workbench.session import Session

__all__ = ["HeadEffects", "HeadPrompts", "Pooling", "head_effects", "head_outputs"]

Pooling = Literal["mean", "last"]
_ROWS = 32


@dataclass(frozen=True, kw_only=True)
class HeadPrompts:
    """Prompts that need a head circuit (positives) and prompts like them that do not (negatives).

    Parameters
    ----------
    prompts
        The prompts.
    positive
        Which of them need the circuit.
    answers
        Right next tokens of each, written with their leading space; empty where none is right.
    """

    prompts: tuple[str, ...]
    positive: Bool[np.ndarray, " n"]
    answers: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.prompts)

    @classmethod
    def of(
        cls, data: Any, *, answers: Callable[[Mapping[str, Any]], Sequence[str]] | None = None
    ) -> HeadPrompts:
        """Read prompts from a DataFrame, rows or objects with ``prompt``, ``label``, ``answer``.

        Parameters
        ----------
        data
            A DataFrame, a `datasets.Dataset`, an iterable of mappings or of dataclass objects, or
            `HeadPrompts`. ``label`` is 1 or 0; ``answer`` is optional, one word (a leading space is
            added where there is none) or a list of words.
        answers
            Gives the right next words of a row instead, such as all later years.

        Raises
        ------
        InputError
            A column is missing, a label is not 0 or 1, or one of the two classes is empty.
        """
        if isinstance(data, HeadPrompts):
            return data
        rows = _rows(data)
        for number, row in enumerate(rows):
            missing = [name for name in ("prompt", "label") if name not in row]
            if missing:
                raise InputError(
                    f"row {number} has no {missing[0]!r}; expected prompt, label and answer, got "
                    f"{sorted(row)}"
                )
            if row["label"] not in (0, 1):
                raise InputError(f"row {number}: label must be 0 or 1, got {row['label']!r}")
        positive = np.array([bool(row["label"]) for row in rows], dtype=bool)
        if not positive.any() or positive.all():
            raise InputError(
                f"got {int(positive.sum())} positive and {int((~positive).sum())} negative "
                "prompts; expected some of both"
            )
        take = answers or (lambda row: row.get("answer") or ())
        return cls(
            prompts=tuple(str(row["prompt"]) for row in rows),
            positive=positive,
            answers=tuple(_words(take(row)) if row["label"] else () for row in rows),
        )

    def take(self, index: Sequence[int] | np.ndarray) -> HeadPrompts:
        """Return some of the prompts, in the order asked for."""
        chosen = [int(i) for i in index]
        return HeadPrompts(
            prompts=tuple(self.prompts[i] for i in chosen),
            positive=self.positive[chosen],
            answers=tuple(self.answers[i] for i in chosen),
        )


def _rows(data: Any) -> list[dict[str, Any]]:
    if hasattr(data, "to_dict") and hasattr(data, "columns"):
        return [dict(row) for row in data.to_dict("records")]
    return [dict(row) if isinstance(row, Mapping) else dict(vars(row)) for row in data]


def _words(given: str | Sequence[str]) -> tuple[str, ...]:
    words = [given] if isinstance(given, str) else list(given)
    return tuple(word if word.startswith(" ") else f" {word}" for word in words)


def attention_layers(model: Model) -> tuple[int, ...]:
    """Layers whose heads can be read one by one.

    Raises
    ------
    SiteError
        The model has no per-head site.
    """
    found = tuple(layer for layer in range(model.n_layers) if f"z.{layer}" in model.sites)
    if not found:
        raise SiteError(f"model {model.name} has no per-head outputs (sites 'z.0', 'z.1', …)")
    return found


def head_outputs(
    model: Model, tokens: Tokens, *, pooling: Pooling = "mean"
) -> Float[Tensor, "prompt layer head d_model"]:
    """Pool what each head writes over a prompt's tokens.

    Parameters
    ----------
    model
        The model.
    tokens
        Prompts, one per row. Special tokens and padding are not counted.
    pooling
        ``"mean"`` over the counted tokens, or ``"last"``: the last token alone.

    Returns
    -------
    Tensor
        In float32, on the CPU.

    Raises
    ------
    InputError
        The pooling is unknown, or a prompt has no counted token.
    """
    if pooling not in get_args(Pooling):
        raise InputError(unknown("pooling", str(pooling), get_args(Pooling)))
    layers = attention_layers(model)
    parts = []
    for start in range(0, len(tokens), _ROWS):
        rows = tokens[start : start + _ROWS]
        weights = _weights(rows, pooling)
        ran = model.run(rows, capture=[f"z.{layer}" for layer in layers], logits=False)
        pooled = []
        for layer in layers:
            z = ran[f"z.{layer}"].float()
            # The output matrix is linear: pooling first does the product once per prompt.
            mean = torch.einsum("bp,bphd->bhd", weights.to(z.device), z)
            write = model.bridge.blocks[layer].attn.W_O.detach().to(z)
            pooled.append(torch.einsum("bhd,hdm->bhm", mean, write))
        parts.append(torch.stack(pooled, 1).cpu())
    # A copy made outside inference mode, which training accepts.
    return torch.cat(parts).clone()


def _weights(tokens: Tokens, pooling: Pooling) -> Float[Tensor, "prompt pos"]:
    counted = (tokens.mask & ~tokens.special).float()
    if bool((counted.sum(1) == 0).any()):
        raise InputError("a prompt has no token of its own (only special ones)")
    if pooling == "mean":
        return counted / counted.sum(1, keepdim=True)
    return torch.nn.functional.one_hot(tokens.last, tokens.ids.shape[1]).float()


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class HeadEffects(Result):
    """What removing each head alone changes: the truth head circuits are compared with.

    Parameters
    ----------
    effect
        Mean over prompts of how much the log-odds of a right answer fall when the head is ablated,
        in nats, by layer and head.
    standard_error
        Its standard error over prompts.
    log_odds
        Mean log-odds of a right answer with nothing ablated.
    n_prompts
        Positive prompts it was measured on.
    """

    view_class: ClassVar[str | None] = None

    effect: Float[np.ndarray, "layer head"]
    standard_error: Float[np.ndarray, "layer head"]
    log_odds: float
    n_prompts: int

    def circuit(self, share: float = 0.05) -> Bool[np.ndarray, "layer head"]:
        """Heads whose effect, either way, is at least `share` of the strongest head's."""
        if not 0 < share <= 1:
            raise InputError(f"share must be above 0 and at most 1, got {share}")
        size = np.abs(self.effect)
        return np.asarray(size >= share * size.max())

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per head, strongest effect first."""
        import pandas as pd

        layers, heads = np.indices(self.effect.shape)
        table = pd.DataFrame(
            {
                "head": [f"{a}.{b}" for a, b in zip(layers.ravel(), heads.ravel(), strict=True)],
                "layer": layers.ravel(),
                "index": heads.ravel(),
                "effect": self.effect.ravel(),
                "standard_error": self.standard_error.ravel(),
            }
        )
        return table.sort_values("effect", key=abs, ascending=False, ignore_index=True)

    def summary(self) -> str:
        """Return one line that says what the result is."""
        return (
            f"effects of {self.effect.size} heads on {self.n_prompts} prompts, "
            f"log-odds {self.log_odds:.2f} whole"
        )


def head_effects(
    session: Session,
    data: Any,
    *,
    answers: Callable[[Mapping[str, Any]], Sequence[str]] | None = None,
) -> HeadEffects:
    """Ablate every head alone, exactly.

    A head's ``z`` is replaced at every token by its mean over the counted tokens of the negative
    prompts; the effect is the fall of the log-odds of the right answers at the last token of the
    positive prompts. Log-odds rather than log-probabilities, which saturate where the model is
    sure and then hide all heads but one.

    Parameters
    ----------
    session
        Session or anything with a ``model``.
    data, answers
        As for `HeadPrompts.of`; every positive prompt needs an answer of one token.

    Returns
    -------
    HeadEffects

    Raises
    ------
    InputError
        A positive prompt has no answer.
    TokenError
        An answer is not one token.
    """
    model, examples = session.model, HeadPrompts.of(data, answers=answers)
    positive, negative = (
        examples.take(np.flatnonzero(examples.positive == wanted)) for wanted in (True, False)
    )
    for prompt, words in zip(positive.prompts, positive.answers, strict=True):
        if not words:
            raise InputError(f"the positive prompt {prompt!r} has no answer to be right about")
    tokens = model.tokens(positive.prompts)
    right = torch.zeros(len(positive), model.d_vocab, dtype=torch.bool)
    for row, words in enumerate(positive.answers):
        right[row, [model.single_token(word) for word in words]] = True

    layers = attention_layers(model)
    means = _mean_z(model, model.tokens(negative.prompts), layers)
    whole = _log_odds(model, tokens, right)
    effect = np.zeros((len(layers), model.n_heads))
    error = np.zeros_like(effect)
    for at, layer in enumerate(layers):
        for head in range(model.n_heads):
            without = _log_odds(
                model, tokens, right, {f"z.{layer}": _replace_head(head, means[layer][head])}
            )
            fall = (whole - without).numpy()
            effect[at, head] = fall.mean()
            error[at, head] = fall.std(ddof=1) / np.sqrt(len(fall)) if len(fall) > 1 else np.nan
    return HeadEffects(
        provenance=model.provenance(tokens.policy),
        effect=effect,
        standard_error=error,
        log_odds=float(whole.mean()),
        n_prompts=len(positive),
    )


def _replace_head(head: int, value: Float[Tensor, " d_head"]) -> Callable[[Tensor], Tensor]:
    def edit(z: Tensor) -> Tensor:
        z = z.clone()
        z[:, :, head] = value.to(z)
        return z

    return edit


def _mean_z(
    model: Model, tokens: Tokens, layers: Sequence[int]
) -> dict[int, Float[Tensor, "head d_head"]]:
    sums: dict[int, Tensor] = {}
    counted = 0
    for start in range(0, len(tokens), _ROWS):
        rows = tokens[start : start + _ROWS]
        keep = (rows.mask & ~rows.special).to(model.device)
        ran = model.run(rows, capture=[f"z.{layer}" for layer in layers], logits=False)
        counted += int(keep.sum())
        for layer in layers:
            part = ran[f"z.{layer}"][keep].double().sum(0)
            sums[layer] = sums[layer] + part if layer in sums else part
    return {layer: total / counted for layer, total in sums.items()}


def _log_odds(
    model: Model,
    tokens: Tokens,
    right: Bool[Tensor, "prompt d_vocab"],
    edits: Mapping[str | Site, Edit] | None = None,
) -> Float[Tensor, " prompt"]:
    found = []
    for start in range(0, len(tokens), _ROWS):
        rows = tokens[start : start + _ROWS]
        logits = model.run(rows, edits=dict(edits or {}), logits="last").logits
        assert logits is not None  # noqa: S101 - asked for above
        last, good = logits[:, 0].double().cpu(), right[start : start + _ROWS]
        fine = last.masked_fill(~good, -torch.inf).logsumexp(-1)
        found.append(fine - last.masked_fill(good, -torch.inf).logsumexp(-1))
    return torch.cat(found)

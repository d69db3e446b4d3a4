"""Head circuits from discrete codes: which heads say something on the positives only.

O'Neill and Bui (2024, arXiv:2405.12522, "Sparse Autoencoders Enable Scalable and Reliable Circuit
Identification in Language Models"): one small SAE is trained on the mean outputs of all heads over
a handful of examples; a head's output on an example becomes the index of its strongest feature; a
head belongs to the circuit when it takes codes on positive examples that it never takes on
negative ones. No head is ablated and no gradient of the model is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.circuits.head_comparison import HeadComparison, compare_scores
from workbench.circuits.head_outputs import HeadEffects, HeadPrompts, Pooling, head_outputs
from workbench.errors import InputError
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd

    from workbench.session import Session

__all__ = ["HeadCircuit", "head_circuit"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class HeadCircuit(Result):
    """Heads scored by their codes.

    Parameters
    ----------
    codes
        Code of each head on each prompt: the SAE feature strongest on its pooled output.
    positive
        Which prompts need the circuit.
    unique
        How many codes each head takes on positive prompts only.
    score
        Softmax of `unique` over all heads (O'Neill and Bui's score).
    edges
        Pairs of heads, the earlier first, as indices into the heads in row-major order, with the
        number of code pairs that occur together on positive prompts only; strongest first.
    settings
        Features, coefficients and examples of the SAE.
    explained
        Share of the variance of the training vectors that the SAE explains.
    active
        Mean number of active features per vector.
    seconds
        What training the SAE took.
    """

    view_class: ClassVar[str | None] = None

    codes: Int[np.ndarray, "prompt layer head"]
    positive: Bool[np.ndarray, " prompt"]
    unique: Int[np.ndarray, "layer head"]
    score: Float[np.ndarray, "layer head"]
    edges: Int[np.ndarray, "pair 3"]
    settings: Mapping[str, Any]
    explained: float
    active: float
    seconds: float

    def heads(self, top: int = 10) -> tuple[tuple[int, int], ...]:
        """Return the (layer, head) pairs with the highest scores."""
        order = np.argsort(-self.unique.ravel(), kind="stable")[:top]
        layers, heads = np.unravel_index(order, self.unique.shape)
        return tuple(zip(layers.tolist(), heads.tolist(), strict=True))

    def edges_table(self) -> pd.DataFrame:
        """Return the edges: ``source``, ``target`` (as ``layer.head``) and ``pairs``."""
        import pandas as pd

        n_heads = self.unique.shape[1]
        return pd.DataFrame(
            [
                (f"{a // n_heads}.{a % n_heads}", f"{b // n_heads}.{b % n_heads}", int(n))
                for a, b, n in self.edges
            ],
            columns=["source", "target", "pairs"],
        )

    def compare(self, truth: HeadEffects | np.ndarray, *, share: float = 0.05) -> HeadComparison:
        """Compare with the heads that exact ablation finds.

        Parameters
        ----------
        truth
            What `head_effects` measured, or a boolean array ``[layer, head]`` of the true heads.
        share
            For measured effects: a head counts as true from this share of the strongest effect on.

        Raises
        ------
        InputError
            The shapes differ, or all heads or none are true.
        """
        true = truth.circuit(share) if isinstance(truth, HeadEffects) else np.asarray(truth, bool)
        if true.shape != self.unique.shape:
            raise InputError(f"got truth of shape {true.shape}, expected {self.unique.shape}")
        if true.all() or not true.any():
            raise InputError(f"{int(true.sum())} of {true.size} heads are true: nothing to compare")
        return compare_scores(
            self.provenance,
            self.unique,
            true,
            share if isinstance(truth, HeadEffects) else None,
        )

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per head, highest score first."""
        import pandas as pd

        layers, heads = np.indices(self.unique.shape)
        table = pd.DataFrame(
            {
                "head": [f"{a}.{b}" for a, b in zip(layers.ravel(), heads.ravel(), strict=True)],
                "layer": layers.ravel(),
                "index": heads.ravel(),
                "unique_codes": self.unique.ravel(),
                "score": self.score.ravel(),
            }
        )
        return table.sort_values("unique_codes", ascending=False, kind="stable", ignore_index=True)

    def summary(self) -> str:
        """Return one line that says what the result is."""
        return (
            f"head circuit from codes: {self.unique.size} heads, {len(self.positive)} prompts, "
            f"SAE trained in {self.seconds:.1f} s"
        )


def head_circuit(
    session: Session,
    data: Any,
    *,
    train: Any = 10,
    n_features: int = 300,
    l1_coefficient: float = 0.02,
    learning_rate: float = 1e-3,
    epochs: int = 500,
    pooling: Pooling = "mean",
    answers: Callable[[Mapping[str, Any]], Sequence[str]] | None = None,
    seed: int = 0,
) -> HeadCircuit:
    """Find the heads of a circuit from their discrete codes.

    Parameters
    ----------
    session
        Session or anything with a ``model``.
    data
        Positive and negative prompts, see `HeadPrompts.of`.
    train
        How many of `data` train the SAE, half positives where there are as many, drawn with
        `seed` and then left out of the scoring; or the training prompts themselves.
    n_features, l1_coefficient, learning_rate, epochs
        The SAE and its Adam optimiser, by default as in the paper. An epoch is one step on all
        training vectors. Inputs are scaled to an expected norm of √d_model.
    pooling
        How a head's outputs are pooled over a prompt: ``"mean"`` (the paper's) or ``"last"``.
    answers
        See `HeadPrompts.of`.
    seed
        Decides the drawing of training prompts and the SAE's initial weights.

    Returns
    -------
    HeadCircuit

    Raises
    ------
    InputError
        Numbers that make no SAE, or too few prompts.
    """
    for name, value in {"n_features": n_features, "epochs": epochs}.items():
        if value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")
    model, scored = session.model, HeadPrompts.of(data, answers=answers)
    if isinstance(train, int):
        scored, training = _divide(scored, train, seed)
    else:
        training = HeadPrompts.of(train, answers=answers)
    vectors = head_outputs(model, model.tokens(training.prompts), pooling=pooling)
    x = head_outputs(model, model.tokens(scored.prompts), pooling=pooling)
    rows = vectors.flatten(0, 2)
    scale = float(rows.shape[-1] ** 0.5 / rows.norm(dim=-1).mean())
    rows = rows * scale
    sae, seconds = _train(rows, n_features, l1_coefficient, learning_rate, epochs, seed)
    with torch.no_grad():
        codes = sae.encode(x * scale).argmax(-1).numpy().astype(np.int32)
        code = sae.encode(rows)
        missed = (rows - sae.decode(code)).square().sum()
        spread = (rows - rows.mean(0)).square().sum()
    unique = _unique_codes(codes, scored.positive)
    return HeadCircuit(
        provenance=model.provenance(seed=seed),
        codes=codes,
        positive=scored.positive,
        unique=unique,
        score=_softmax(unique),
        edges=_edges(codes, scored.positive),
        settings={
            "n_features": n_features,
            "l1_coefficient": l1_coefficient,
            "learning_rate": learning_rate,
            "epochs": epochs,
            "pooling": pooling,
            "training_prompts": len(training),
        },
        explained=float(1 - missed / spread),
        active=float((code > 0).sum(-1).float().mean()),
        seconds=seconds,
    )


def _divide(examples: HeadPrompts, count: int, seed: int) -> tuple[HeadPrompts, HeadPrompts]:
    """Split off training prompts, the classes as even as they allow."""
    generator = np.random.default_rng(seed)
    classes = [generator.permutation(np.flatnonzero(examples.positive == c)) for c in (True, False)]
    wanted = [min(count // 2, len(classes[0]) - 1)]
    wanted.append(count - wanted[0])
    if count < 2 or wanted[0] < 1 or wanted[1] >= len(classes[1]):
        raise InputError(
            f"cannot take {count} training prompts of {len(classes[0])} positive and "
            f"{len(classes[1])} negative ones and leave some of each to score"
        )
    chosen = np.concatenate([part[:n] for part, n in zip(classes, wanted, strict=True)])
    rest = np.setdiff1d(np.arange(len(examples)), chosen)
    return examples.take(rest), examples.take(chosen)


def _train(
    vectors: Float[Tensor, "vector d_model"],
    n_features: int,
    l1_coefficient: float,
    learning_rate: float,
    epochs: int,
    seed: int,
) -> tuple[Any, float]:
    """Train a standard SAE with SAELens, each step on all vectors at once."""
    import time

    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.registry import get_sae_training_class
    from sae_lens.training.sae_trainer import SAETrainer

    started = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        make, configure = get_sae_training_class("standard")
        training = make(
            configure(
                d_in=vectors.shape[-1],
                d_sae=n_features,
                l1_coefficient=l1_coefficient,
                normalize_activations="none",
                device="cpu",
                dtype="float32",
            )
        )
        trainer = SAETrainer(
            cfg=SAETrainerConfig(
                total_training_samples=epochs * len(vectors),
                train_batch_size_samples=len(vectors),
                lr=learning_rate,
                lr_end=learning_rate,
                lr_decay_steps=0,
                lr_warm_up_steps=0,
                device="cpu",
                dead_feature_window=epochs + 1,
                feature_sampling_window=epochs + 1,
                logger=LoggingConfig(log_to_wandb=False),
            ),
            sae=training,
            data_provider=iter(()),
        )
        # Its own loop shows a progress bar for every SAE, which takes longer than the training.
        for _ in range(epochs):
            trainer.step(vectors)
            trainer.n_training_steps += 1
    training.eval()
    return training, time.perf_counter() - started


def _softmax(unique: np.ndarray) -> np.ndarray:
    powers = np.exp(unique - unique.max())
    return np.asarray(powers / powers.sum())


def _unique_codes(
    codes: Int[np.ndarray, "prompt layer head"], positive: Bool[np.ndarray, " prompt"]
) -> Int[np.ndarray, "layer head"]:
    """Count, per head, the codes that occur on positives and on no negative."""
    unique = np.zeros(codes.shape[1:], dtype=np.int64)
    for layer, head in np.ndindex(*unique.shape):
        own = codes[:, layer, head]
        unique[layer, head] = len(set(own[positive].tolist()) - set(own[~positive].tolist()))
    return unique


def _edges(
    codes: Int[np.ndarray, "prompt layer head"], positive: Bool[np.ndarray, " prompt"]
) -> Int[np.ndarray, "pair 3"]:
    """Count, per pair of heads of different layers, the code pairs seen on positives only."""
    n_layers, n_heads = codes.shape[1:]
    flat = codes.reshape(len(codes), -1).astype(np.int64)
    found = []
    for a in range(flat.shape[1]):
        for b in range((a // n_heads + 1) * n_heads, n_layers * n_heads):
            pairs = flat[:, a] << 32 | flat[:, b]
            count = len(set(pairs[positive].tolist()) - set(pairs[~positive].tolist()))
            if count:
                found.append((a, b, count))
    found.sort(key=lambda edge: -edge[2])
    return np.array(found, dtype=np.int64).reshape(-1, 3)

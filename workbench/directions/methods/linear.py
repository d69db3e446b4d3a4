"""Directions read off activations: difference of means, principal components, a linear probe.

Definitions as in AxBench (Wu et al. 2025, arXiv:2501.17148, section 3 and appendix), where a token
belongs to the class of its text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float

from workbench.directions.methods.base import ConceptData, Found, Method, UnavailableError
from workbench.errors import InputError, unknown

__all__ = ["DiffMean", "LinearArtificialTomography", "LinearProbe", "PrincipalComponent"]


@dataclass(frozen=True, kw_only=True)
class DiffMean(Method):
    """Mean of the positive tokens minus mean of the negative tokens (Marks & Tegmark 2023)."""

    name: ClassVar[str] = "diff_mean"
    title: ClassVar[str] = "DiffMean"

    def fit(self, data: ConceptData) -> Found:
        """Return the difference of the two means."""
        here, tokens = data.positive_tokens, data.tokens.double()
        difference = tokens[here].mean(0) - tokens[~here].mean(0)
        if not bool(difference.any()):
            raise UnavailableError("the two classes have the same mean activation")
        return Found(direction=data.direction(difference, self.name))


def first_component(rows: Float[torch.Tensor, "row d"]) -> Float[torch.Tensor, " d"]:
    """Return the first principal component of rows: the top eigenvector of their covariance.

    Its sign is arbitrary.
    """
    centred = rows.double() - rows.double().mean(0)
    vectors = torch.linalg.eigh(centred.T @ centred)[1]
    return vectors[:, -1]


@dataclass(frozen=True, kw_only=True)
class PrincipalComponent(Method):
    """First principal component of the positive tokens.

    Parameters
    ----------
    orient
        Turn it so that positive training tokens score higher. AxBench leaves the sign to chance.
    """

    name: ClassVar[str] = "pca"
    title: ClassVar[str] = "PCA"

    orient: bool = True

    def fit(self, data: ConceptData) -> Found:
        """Return the component."""
        positives = data.tokens[data.positive_tokens]
        if len(positives) < 2:
            raise UnavailableError(f"{len(positives)} positive tokens, needs at least 2")
        vector = first_component(positives)
        vector = data.oriented(vector) if self.orient else vector
        return Found(direction=data.direction(vector, self.name, details={"oriented": self.orient}))


@dataclass(frozen=True, kw_only=True)
class LinearArtificialTomography(Method):
    """First principal component of normalised differences of random token pairs (Zou et al. 2023).

    Tokens of both classes are shuffled and the first half is subtracted from the second, so that a
    pair may be of one class.

    Parameters
    ----------
    orient
        As for `PrincipalComponent`.
    """

    name: ClassVar[str] = "lat"
    title: ClassVar[str] = "LAT"

    orient: bool = True

    def fit(self, data: ConceptData) -> Found:
        """Return the component."""
        half = len(data.tokens) // 2
        if half < 2:
            raise UnavailableError(f"{len(data.tokens)} tokens, needs at least 4")
        shuffled = np.random.default_rng(data.seed).permutation(len(data.tokens))
        tokens = data.tokens.double()
        pairs = tokens[torch.from_numpy(shuffled[half : 2 * half])]
        differences = pairs - tokens[torch.from_numpy(shuffled[:half])]
        lengths = differences.norm(dim=-1, keepdim=True)
        differences = (differences / lengths.clamp(min=1e-12))[lengths[:, 0] > 0]
        vector = first_component(differences)
        vector = data.oriented(vector) if self.orient else vector
        return Found(direction=data.direction(vector, self.name, details={"oriented": self.orient}))


@dataclass(frozen=True, kw_only=True)
class LinearProbe(Method):
    """Logistic regression of each token's class on its activation.

    Parameters
    ----------
    solver
        ``"lbfgs"``: scikit-learn's logistic regression, to convergence. ``"adamw"``: minibatches
        with AdamW, as AxBench trains it (its weight decay is then `weight_decay`).
    penalty
        Inverse strength C of the L2 penalty of ``"lbfgs"``, on activations divided by their
        root mean square, so that it means the same at every site.
    learning_rate, weight_decay, epochs, batch_tokens
        For ``"adamw"``.
    """

    name: ClassVar[str] = "linear_probe"
    title: ClassVar[str] = "Linear probe"

    solver: Literal["lbfgs", "adamw"] = "lbfgs"
    penalty: float = 1.0
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    epochs: int = 24
    batch_tokens: int = 512

    def __post_init__(self) -> None:
        if self.solver not in ("lbfgs", "adamw"):
            raise InputError(unknown("solver", str(self.solver), ("lbfgs", "adamw")))

    def fit(self, data: ConceptData) -> Found:
        """Return the weights, with the intercept as bias."""
        tokens = data.tokens.float()
        scale = float(tokens.square().mean().sqrt()) or 1.0
        inputs, target = tokens / scale, data.positive_tokens
        if self.solver == "lbfgs":
            from sklearn.linear_model import LogisticRegression

            model = LogisticRegression(C=self.penalty, max_iter=2000)
            model.fit(inputs.numpy(), target.numpy())
            weight, intercept = torch.from_numpy(model.coef_[0]), float(model.intercept_[0])
        else:
            weight, intercept = self._adamw(inputs, target.float(), data.seed)
        length = float(weight.double().norm()) / scale
        if not length > 0:
            raise UnavailableError("the probe's weights are all 0")
        return Found(
            direction=data.direction(
                weight / scale,
                self.name,
                # Scores are of the unit vector: the intercept in the same units.
                bias=intercept / length,
                details={"solver": self.solver},
            )
        )

    def _adamw(
        self, inputs: torch.Tensor, target: torch.Tensor, seed: int
    ) -> tuple[torch.Tensor, float]:
        weight = torch.zeros(inputs.shape[1], requires_grad=True)
        bias = torch.zeros((), requires_grad=True)
        optimiser = torch.optim.AdamW(
            [weight, bias], lr=self.learning_rate, weight_decay=self.weight_decay
        )
        generator = torch.Generator().manual_seed(seed)
        for _ in range(self.epochs):
            for rows in torch.randperm(len(inputs), generator=generator).split(self.batch_tokens):
                loss = torch.nn.functional.binary_cross_entropy_with_logits(
                    inputs[rows] @ weight + bias, target[rows]
                )
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        return weight.detach(), float(bias.detach())

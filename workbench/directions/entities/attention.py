"""How much heads look at a name the model takes for unknown.

Attention from a prompt's last position to the tokens of the name, per head, with and without a
push (Ferrando et al. 2024, section 6: heads that fetch attributes attend to the name less when the
unknown direction is added).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

from workbench.directions.entities.check import chosen_pushes
from workbench.directions.entities.prompts import EntityPrompt, tokenise
from workbench.directions.entities.pushes import Push, pass_edits
from workbench.errors import InputError
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from workbench.directions.entities.entity_study import EntityStudy
    from workbench.session import Session

__all__ = ["EntityAttention", "attention_to_names"]

_BATCH = 32


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class EntityAttention(Result):
    """Attention from the last position to the name, per head.

    Parameters
    ----------
    conditions
        What was pushed towards; the first is empty: nothing.
    labels
        Labels of the entities.
    n
        Number of entities of each label.
    mean
        Mean over entities of the attention summed over the name's tokens.
    change
        Mean of its change from the first condition.
    error
        Standard error of that mean change.
    """

    conditions: tuple[str, ...]
    labels: tuple[str, ...]
    n: tuple[int, ...]
    mean: Float[np.ndarray, "condition label layer head"] = field(repr=False)
    change: Float[np.ndarray, "condition label layer head"] = field(repr=False)
    error: Float[np.ndarray, "condition label layer head"] = field(repr=False)

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per condition, label, layer and head."""
        import pandas as pd

        grid = np.ndindex(self.mean.shape)
        rows = [
            (
                self.conditions[at[0]],
                self.labels[at[1]],
                at[2],
                at[3],
                float(self.mean[at]),
                float(self.change[at]),
                float(self.error[at]),
            )
            for at in grid
        ]
        columns = ["towards", "label", "layer", "head", "attention", "change", "error"]
        return pd.DataFrame(rows, columns=columns)

    def plot(self, label: str = "known", towards: str = "unknown") -> go.Figure:
        """Plot the change per head as a grid of layers and heads."""
        from workbench.directions.entities.plots import plot_attention

        return plot_attention(self, label, towards)

    def summary(self) -> str:
        """Return one line: the head that changed most."""
        shape = "EntityAttention"
        if len(self.conditions) < 2:
            return f"{shape}: {self.mean.shape[2]} layers × {self.mean.shape[3]} heads, no push"
        at = np.unravel_index(np.abs(self.change).argmax(), self.change.shape)
        return (
            f"{shape}: largest change {self.change[at]:+.2f} at head {at[2]}.{at[3]}, "
            f"{self.labels[at[1]]} entities pushed towards {self.conditions[at[0]]}"
        )


def attention_to_names(
    session: Session,
    study: EntityStudy,
    pushes: Sequence[tuple[Push, float]] | None = None,
    *,
    most: int = 60,
) -> EntityAttention:
    """Measure attention from the last position to the name, with and without pushes.

    Parameters
    ----------
    session
        The model.
    study
        Whose test questions.
    pushes
        Pushes and strengths; those the study's sweep chose where None.
    most
        Most entities of each label.

    Raises
    ------
    InputError
        There are no test entities.
    """
    conditions: list[tuple[Push | None, float]] = [(None, 0.0)]
    conditions += chosen_pushes(study) if pushes is None else list(pushes)
    labels = [label for label in ("known", "unknown") if study.questions("test", label, most)]
    if not labels:
        raise InputError("the study has no test entities to ask about")
    means, changes, errors, counts = [], [], [], []
    for label in labels:
        prompts = study.questions("test", label, most)
        seen = [_attention(session, study, prompts, *condition) for condition in conditions]
        counts.append(len(prompts))
        means.append([part.mean(0) for part in seen])
        moved = [part - seen[0] for part in seen]
        changes.append([part.mean(0) for part in moved])
        root = max(len(prompts) - 1, 1) ** 0.5
        errors.append([part.std(0) / root for part in moved])
    return EntityAttention(
        provenance=study.provenance,
        conditions=tuple("" if push is None else push.towards for push, _ in conditions),
        labels=tuple(labels),
        n=tuple(counts),
        mean=np.stack(means, axis=1),
        change=np.stack(changes, axis=1),
        error=np.stack(errors, axis=1),
    ).bound_to(session)


def _attention(
    session: Session,
    study: EntityStudy,
    prompts: Sequence[EntityPrompt],
    push: Push | None,
    strength: float,
) -> Float[np.ndarray, "prompt layer head"]:
    model = session.model
    made = tokenise(model, study.style, prompts)
    sites = [f"pattern.{layer}" for layer in range(model.n_layers)]
    parts = []
    for start in range(0, len(prompts), _BATCH):
        part = made.take(range(start, min(start + _BATCH, len(prompts))))
        edits = pass_edits([push] * len(part), [strength] * len(part), part.last)
        ran = model.run(part.tokens, capture=sites, edits=edits)
        rows = torch.arange(len(part))
        places = torch.arange(part.tokens.ids.shape[1])[None]
        name = (places >= part.first[:, None]) & (places <= part.last[:, None])
        layers = []
        for site in sites:
            pattern = ran[site].float().cpu()
            from_last = pattern[rows, :, part.tokens.last]
            layers.append((from_last * name[:, None]).sum(-1))
        parts.append(torch.stack(layers, dim=1))
    return torch.cat(parts).numpy()

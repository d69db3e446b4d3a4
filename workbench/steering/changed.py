"""Which features a recipe actually changed, and by how much."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

from workbench.errors import InputError
from workbench.results import storable
from workbench.steering.compiled import compile_recipes
from workbench.steering.recipe import Recipe

if TYPE_CHECKING:
    import pandas as pd

    from workbench.model import Site
    from workbench.session import Session

__all__ = ["ChangedFeatures", "changed_features"]


@storable
@dataclass(frozen=True, kw_only=True, eq=False)
class ChangedFeatures:
    """Features whose activation differs between the steered and the unsteered model.

    Both models read the same text. Ordered by the size of the change, largest first.

    Parameters
    ----------
    features
        Written forms.
    labels
        Labels stored with the SAEs, empty without one.
    before, after
        Mean activation over the text's tokens, special ones left out.
    saes
        SAEs that were compared.
    n_tokens
        Tokens counted.
    """

    features: tuple[str, ...]
    labels: tuple[str, ...]
    before: Float[np.ndarray, " feature"]
    after: Float[np.ndarray, " feature"]
    saes: tuple[str, ...]
    n_tokens: int

    def to_pandas(self) -> pd.DataFrame:
        """Return ``feature``, ``label``, ``before``, ``after``, ``change``."""
        import pandas as pd

        return pd.DataFrame(
            {
                "feature": self.features,
                "label": self.labels,
                "before": self.before,
                "after": self.after,
                "change": self.after - self.before,
            }
        )

    def _repr_html_(self) -> str:
        return self.to_pandas().to_html(escape=True, index=False)


def changed_features(
    session: Session,
    recipe: Recipe,
    ids: Sequence[int],
    prompt_length: int,
    *,
    saes: Iterable[str] | None = None,
    k: int = 12,
) -> ChangedFeatures:
    """Compare the codes of one text in the steered and the unsteered model.

    Parameters
    ----------
    session
        The session.
    recipe
        The recipe, made for the session.
    ids
        The text's tokens.
    prompt_length
        How many of them are the prompt.
    saes
        SAEs to compare; by default all whose site is reached by an edit.
    k
        How many features to return.

    Returns
    -------
    ChangedFeatures

    Raises
    ------
    InputError
        `k` is below 1.
    """
    if k < 1:
        raise InputError(f"k must be at least 1, got {k}")
    compiled = compile_recipes(session, [recipe], [list(ids[:prompt_length])])
    tokens = session.tokens(torch.tensor([list(ids)]))
    edited = [session.sites.resolve(site) for site in compiled.row_edits]
    names = list(saes) if saes is not None else _reached(session, edited)
    real = (tokens.mask & ~tokens.special)[0]
    empty = np.zeros(0)
    if not names or not edited or not bool(real.any()):
        return ChangedFeatures(
            features=(), labels=(), before=empty, after=empty, saes=tuple(names), n_tokens=0
        )
    sites = [session.saes[name].site for name in names]
    places = list(dict.fromkeys(site for site in sites if site is not None))
    plain = session.run(tokens, capture=places)
    edits = compiled.edits(tokens, lengths=[prompt_length])
    steered = session.run(tokens, capture=places, edits=edits)
    rows: list[tuple[float, str, str, float, float]] = []
    for name in names:
        sae = session.saes[name]
        if sae.site is None:
            continue
        means = [
            sae.encode(ran[sae.site]).select(real[None].to(sae.device)).statistics().total
            / int(real.sum())
            for ran in (plain, steered)
        ]
        before, after = (mean.cpu() for mean in means)
        labels = sae.labels()
        for index in (after - before).abs().topk(min(k, sae.d_sae)).indices.tolist():
            gap = abs(float(after[index] - before[index]))
            if gap > 0:
                label = labels.get(index, "")
                rows.append(
                    (gap, f"{name}/{index}", label, float(before[index]), float(after[index]))
                )
    rows = sorted(rows, key=lambda row: -row[0])[:k]
    return ChangedFeatures(
        features=tuple(row[1] for row in rows),
        labels=tuple(row[2] for row in rows),
        before=np.array([row[3] for row in rows]),
        after=np.array([row[4] for row in rows]),
        saes=tuple(names),
        n_tokens=int(real.sum()),
    )


def _reached(session: Session, edited: Sequence[Site]) -> list[str]:
    if not edited:
        return []
    first = min(edited)
    found = []
    for name in session.saes:
        site = session.saes[name].site
        if site is not None and site >= first:
            found.append(name)
    return found

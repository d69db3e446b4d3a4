"""What pushing along recognition directions did to answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workbench.directions.entities.pushes import Push
from workbench.errors import InputError
from workbench.results import Result, storable

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

__all__ = ["EntitySteering", "SteeredAnswer", "share_interval"]


def share_interval(hits: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's confidence interval of a share.

    Parameters
    ----------
    hits, n
        How many of how many.
    level
        Confidence level.
    """
    from scipy.stats import binomtest

    if not 0 <= hits <= n or n < 1:
        raise InputError(f"a share needs 0 ≤ hits ≤ n and n ≥ 1, got {hits} of {n}")
    found = binomtest(hits, n).proportion_ci(confidence_level=level, method="wilson")
    return float(found.low), float(found.high)


@storable
@dataclass(frozen=True, kw_only=True)
class SteeredAnswer:
    """One answer, pushed or not.

    Parameters
    ----------
    entity, type, label
        About whom.
    attribute, question
        What was asked.
    push
        Name of the push; empty for none.
    towards
        ``"known"``, ``"unknown"``, ``"control"``, or empty for none.
    replaces
        For a control: what the push it is compared with was towards; else as `towards`.
    layer
        Layer of the push.
    strength
        Factor on the norm of the activation.
    split
        Split of the entity: ``"validation"`` for the sweep, ``"test"`` for the figures.
    text
        The answer.
    refused
        Whether it refuses.
    correct
        Whether it states the true value; None where there is none.
    stated
        Whether it states a value that the attribute has for any entity of the study, so that an
        answer that neither refuses nor makes sense shows; None where no entity has one.
    """

    entity: str
    type: str
    label: str
    attribute: str
    question: str
    push: str
    towards: str
    replaces: str
    layer: int | None
    strength: float
    split: str
    text: str
    refused: bool
    correct: bool | None
    stated: bool | None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class EntitySteering(Result):
    """Answers with and without pushes towards known and unknown.

    Parameters
    ----------
    answers
        All of them: the sweep on validation entities, then the figures on test entities.
    pushes
        The pushes tried, by name.
    chosen
        Which push and strength the sweep chose, by ``"known"`` and ``"unknown"``; a side without
        any recognition feature is missing.
    """

    answers: tuple[SteeredAnswer, ...] = field(repr=False)
    pushes: Mapping[str, Push] = field(repr=False)
    chosen: Mapping[str, tuple[str, float]]

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per answer."""
        import dataclasses

        import pandas as pd

        names = [f.name for f in dataclasses.fields(SteeredAnswer)]
        return pd.DataFrame([[getattr(a, n) for n in names] for a in self.answers], columns=names)

    def rates(self, *, by_type: bool = False) -> pd.DataFrame:
        """Count refusals on test entities, without a push and with each chosen one.

        Parameters
        ----------
        by_type
            Count each type by itself.

        Returns
        -------
        DataFrame
            Per push (controls together) and label: ``n`` questions, share ``refused`` with its 95%
            interval (Wilson), share ``correct`` of those with a true value, share ``stated`` that
            states some value of the kind asked for, and ``changed``: of the questions answered
            (known) or refused (unknown) without a push, the share for which that turned round,
            with ``changed_n`` and its interval. A control counts every random feature's answers.
        """
        table = self.to_pandas()
        table = table[table["split"] == "test"]
        before = table[table["push"] == ""].set_index(["type", "entity"])["refused"]
        was = before.reindex(list(zip(table["type"], table["entity"], strict=True))).to_numpy()
        wanted = (table["label"] == "unknown").to_numpy()
        table = table.assign(eligible=was == wanted, turned=table["refused"].to_numpy() != was)
        keys = ["towards", "replaces", "strength", "label", *(["type"] if by_type else [])]
        return _counted(table, keys)

    def depth(self) -> pd.DataFrame:
        """Count refusals on validation entities by layer and strength of the push.

        Returns
        -------
        DataFrame
            ``towards``, ``layer``, ``push``, ``strength``, ``label``, ``n``, ``refused``,
            ``stated``, ``changed`` as in `rates`: where in depth the directions still act.
        """
        table = self.to_pandas()
        table = table[table["split"] == "validation"]
        before = table[table["push"] == ""].set_index(["type", "entity"])["refused"]
        was = before.reindex(list(zip(table["type"], table["entity"], strict=True))).to_numpy()
        wanted = (table["label"] == "unknown").to_numpy()
        table = table.assign(eligible=was == wanted, turned=table["refused"].to_numpy() != was)
        table = table[table["push"] != ""]
        return _counted(table, ["towards", "layer", "push", "strength", "label"])

    def plot(self) -> go.Figure:
        """Plot refusal rates on test entities, with intervals."""
        from workbench.directions.entities.plots import plot_rates

        return plot_rates(self)

    def plot_depth(self) -> go.Figure:
        """Plot how far pushes at each layer turn answers round."""
        from workbench.directions.entities.plots import plot_depth

        return plot_depth(self)

    def summary(self) -> str:
        """Return one line: the chosen pushes and what they did."""
        parts = []
        rates = self.rates()
        for side, label in (("unknown", "known"), ("known", "unknown")):
            row = rates[(rates["towards"] == side) & (rates["label"] == label)]
            if len(row):
                done = "refused" if side == "unknown" else "answered"
                share = row["changed"].iloc[0]
                parts.append(f"{share:.0%} of {label} entities {done} towards {side}")
        return "EntitySteering: " + ("; ".join(parts) or "no recognition feature to push along")


def _counted(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for key, group in table.groupby(keys, sort=False, dropna=False):
        n, refused = len(group), int(group["refused"].sum())
        eligible = group[group["eligible"]]
        turned, could = int(eligible["turned"].sum()), len(eligible)
        low, high = share_interval(refused, n)
        changed_low, changed_high = share_interval(turned, could) if could else (None, None)
        rows.append(
            {
                **dict(zip(keys, key, strict=True)),
                "n": n,
                "refused": refused / n,
                "refused_low": low,
                "refused_high": high,
                "correct": _share(group["correct"]),
                "stated": _share(group["stated"]),
                "changed": turned / could if could else None,
                "changed_n": could,
                "changed_low": changed_low,
                "changed_high": changed_high,
            }
        )
    return pd.DataFrame(rows)


def _share(values: pd.Series) -> float | None:
    """Return the share of true among those that are not None."""
    told = values.dropna()
    return float(told.astype(bool).mean()) if len(told) else None

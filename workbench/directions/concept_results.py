"""Results of looking for concepts: one concept by all methods, and many concepts compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int

from workbench.directions.direction import Direction
from workbench.directions.methods import METHODS
from workbench.errors import InputError, unknown
from workbench.results import Result, storable

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

__all__ = ["ConceptComparison", "ConceptStudy", "MethodResult", "title_of"]


def title_of(method: str) -> str:
    """Return the name a method has in plots."""
    return METHODS[method].title if method in METHODS else method


@storable
@dataclass(frozen=True, kw_only=True, eq=False)
class MethodResult:
    """What one method found, and how well it detects the concept in test texts.

    Parameters
    ----------
    method
        Its name.
    auroc, low, high
        AUROC on the test texts and its 95% interval (`detection.auroc_interval`); NaN where the
        method could not be used.
    train_auroc
        AUROC on the training texts.
    direction
        What it found, calibrated; None for baselines that read the text only.
    feature
        The feature whose activations were the scores, None for others.
    scores
        Score of each test text, in the order of the study's `test_texts`.
    token_scores
        Score of each used token of the test texts, one after another; empty for baselines.
    note
        Why it could not be used; empty where it was.
    details
        Plain data worth knowing.
    """

    method: str
    auroc: float
    low: float
    high: float
    train_auroc: float
    direction: Direction | None = None
    feature: str | None = None
    scores: Float[np.ndarray, " text"] = field(default_factory=lambda: np.zeros(0), repr=False)
    token_scores: Float[np.ndarray, " token"] = field(
        default_factory=lambda: np.zeros(0, dtype=np.float32), repr=False
    )
    note: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ConceptStudy(Result):
    """One concept, looked for by several methods.

    Parameters
    ----------
    name
        The concept.
    site
        Where directions were found.
    pooling
        How a text's token scores become one score.
    tokens_used
        ``"all"`` own tokens, or each text's ``"last"``.
    n_train_positive, n_train_negative
        Training texts.
    test_positive
        Whether each test text shows the concept.
    test_texts
        Used tokens of each test text, as a person reads them. Untrusted text.
    test_starts
        Where each test text's tokens begin among the token scores.
    methods
        One entry per method that was asked for, usable or not.
    dropped
        Rows of the source that were not used: reason to number.
    """

    view_class: ClassVar[str | None] = "workbench.widgets.direction:DirectionView"

    name: str
    site: str
    pooling: str
    tokens_used: str
    n_train_positive: int
    n_train_negative: int
    test_positive: Bool[np.ndarray, " text"] = field(repr=False)
    test_texts: tuple[tuple[str, ...], ...] = field(repr=False)
    test_starts: Int[np.ndarray, " text_edge"] = field(repr=False)
    methods: tuple[MethodResult, ...]
    dropped: Mapping[str, int] = field(default_factory=dict)

    def __getitem__(self, method: str) -> MethodResult:
        for found in self.methods:
            if found.method == method:
                return found
        raise InputError(unknown("method", str(method), [m.method for m in self.methods]))

    @property
    def directions(self) -> dict[str, Direction]:
        """The directions found, by method."""
        return {m.method: m.direction for m in self.methods if m.direction is not None}

    def direction(self, method: str | None = None) -> Direction:
        """Return a method's direction; without a name the one that scored best in training.

        Raises
        ------
        InputError
            The method gave no direction.
        """
        if method is None:
            usable = [m for m in self.methods if m.direction is not None]
            if not usable:
                raise InputError("no method found a direction")
            best = max(usable, key=lambda m: m.train_auroc)
        else:
            best = self[method]
        if best.direction is None:
            raise InputError(f"{best.method} gave no direction{': ' * bool(best.note)}{best.note}")
        return best.direction.bound_to(self.session)

    def tokens(self, method: str, text: int) -> pd.DataFrame:
        """Return one test text's tokens with a method's scores: ``token``, ``score``."""
        import pandas as pd

        if not 0 <= text < len(self.test_texts):
            raise InputError(f"text {text} is not one of 0 to {len(self.test_texts) - 1}")
        found = self[method]
        if not len(found.token_scores):
            raise InputError(f"{method} does not score tokens")
        rows = slice(self.test_starts[text], self.test_starts[text + 1])
        return pd.DataFrame({"token": self.test_texts[text], "score": found.token_scores[rows]})

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per method.

        Returns
        -------
        DataFrame
            ``method``, ``auroc`` with its interval ``low``, ``high``, ``train_auroc``, ``scale``
            (the direction's largest activation), ``feature``, ``note``. Methods that could not be
            used have NaN and the reason in ``note``.
        """
        import pandas as pd

        rows = [
            {
                "method": m.method,
                "auroc": m.auroc,
                "low": m.low,
                "high": m.high,
                "train_auroc": m.train_auroc,
                "scale": m.direction.scale if m.direction is not None else None,
                "feature": m.feature,
                "note": m.note,
            }
            for m in self.methods
        ]
        return pd.DataFrame(rows)

    def scores_table(self) -> pd.DataFrame:
        """Return one row per test text: ``text``, ``positive``, and each method's score."""
        import pandas as pd

        table = pd.DataFrame(
            {"text": ["".join(row) for row in self.test_texts], "positive": self.test_positive}
        )
        for found in self.methods:
            if len(found.scores):
                table[found.method] = found.scores
        return table

    def plot(self) -> go.Figure:
        """Plot each method's AUROC with its interval."""
        from workbench.directions.concept_plots import plot_methods

        table = self.to_pandas()
        return plot_methods(
            table, title=f"{self.name}: detection at {self.site}", sort=False, hidden=()
        )

    def summary(self) -> str:
        """Return one line: the concept, how many texts, the best method on test texts."""
        usable = [m for m in self.methods if not m.note]
        best = max(usable, key=lambda m: m.auroc, default=None)
        told = "no usable method"
        if best is not None:
            told = f"best {best.method} {best.auroc:.3f} [{best.low:.3f}, {best.high:.3f}]"
        return (
            f"Concept {self.name!r} at {self.site}: {told}; "
            f"{self.n_train_positive} + {self.n_train_negative} training, "
            f"{int(self.test_positive.sum())} + {int((~self.test_positive).sum())} test texts"
        )


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ConceptComparison(Result):
    """Methods compared over many concepts.

    Parameters
    ----------
    site
        Where directions were found.
    methods, concepts
        What was compared.
    auroc
        AUROC of each method on each concept, NaN where it could not be used.
    low, high
        95% intervals.
    notes
        Why a method could not be used, by concept and method; empty strings elsewhere.
    n_test
        Test texts of each concept.
    directions
        The directions found, by ``concept/method``.
    dropped
        Rows that were not used, by concept: reason to number.
    """

    view_class: ClassVar[str | None] = "workbench.widgets.direction:DirectionView"

    site: str
    methods: tuple[str, ...]
    concepts: tuple[str, ...]
    auroc: Float[np.ndarray, "concept method"] = field(repr=False)
    low: Float[np.ndarray, "concept method"] = field(repr=False)
    high: Float[np.ndarray, "concept method"] = field(repr=False)
    notes: tuple[tuple[str, ...], ...] = field(repr=False)
    n_test: Int[np.ndarray, " concept"] = field(repr=False)
    directions: Mapping[str, Direction] = field(default_factory=dict, repr=False)
    dropped: Mapping[str, Mapping[str, int]] = field(default_factory=dict, repr=False)

    def direction(self, concept: str, method: str) -> Direction:
        """Return a direction that was found.

        Raises
        ------
        InputError
            There is none.
        """
        key = f"{concept}/{method}"
        if key not in self.directions:
            raise InputError(unknown("direction", key, self.directions))
        return self.directions[key].bound_to(self.session)

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per concept and method, none left out.

        Returns
        -------
        DataFrame
            ``concept``, ``method``, ``auroc``, ``low``, ``high``, ``n_test``, ``note``.
        """
        import pandas as pd

        rows = [
            {
                "concept": concept,
                "method": method,
                "auroc": self.auroc[row, column],
                "low": self.low[row, column],
                "high": self.high[row, column],
                "n_test": self.n_test[row],
                "note": self.notes[row][column],
            }
            for row, concept in enumerate(self.concepts)
            for column, method in enumerate(self.methods)
        ]
        return pd.DataFrame(rows)

    def means(self, *, resamples: int = 10_000, seed: int = 0) -> pd.DataFrame:
        """Return each method's mean AUROC over the concepts it could be used on.

        Parameters
        ----------
        resamples, seed
            Bootstrap over concepts for the 95% interval of the mean.

        Returns
        -------
        DataFrame
            ``method``, ``auroc``, ``low``, ``high``, ``n`` (concepts it could be used on), ``of``
            (concepts in all), ``common`` (mean over the concepts every method that could be used
            anywhere could be used on, so that methods compare like with like), ``published``
            (AxBench's average over its models and layers), best first.
        """
        import pandas as pd

        usable = ~np.isnan(self.auroc)
        somewhere = usable.any(0)
        common = usable[:, somewhere].all(1)
        rng = np.random.default_rng(seed)
        rows = []
        for column, method in enumerate(self.methods):
            values = self.auroc[usable[:, column], column]
            low = high = mean = np.nan
            if len(values):
                drawn = values[rng.integers(0, len(values), (resamples, len(values)))].mean(1)
                low, high = np.quantile(drawn, [0.025, 0.975])
                mean = values.mean()
            shared = self.auroc[common, column] if somewhere[column] and common.any() else []
            rows.append(
                {
                    "method": method,
                    "auroc": mean,
                    "low": low,
                    "high": high,
                    "n": len(values),
                    "of": len(self.concepts),
                    "common": np.mean(shared) if len(shared) else np.nan,
                    "published": PUBLISHED.get(method, np.nan),
                }
            )
        table = pd.DataFrame(rows)
        return table.sort_values("auroc", ascending=False, kind="stable").reset_index(drop=True)

    def plot(self) -> go.Figure:
        """Plot each method's mean with its interval over the concepts' own values."""
        from workbench.directions.concept_plots import plot_comparison

        return plot_comparison(self)

    def summary(self) -> str:
        """Return one line: how many methods and concepts, the best mean."""
        table = self.means(resamples=200)
        best = table.iloc[0]
        return (
            f"{len(self.methods)} methods on {len(self.concepts)} concepts at {self.site}: best "
            f"{best['method']}, mean AUROC {best['auroc']:.3f} over {best['n']} concepts"
        )


PUBLISHED: Mapping[str, float] = {
    "diff_mean": 0.942,
    "linear_probe": 0.940,
    "reft_r1": 0.938,
    "prompt": 0.929,
    "sae_a": 0.917,
    "bag_of_words": 0.914,
    "ssv": 0.912,
    "lat": 0.712,
    "sae": 0.695,
    "pca": 0.652,
}
"""Average detection AUROC published with AxBench (Wu et al. 2025), over Gemma-2 2B and 9B."""

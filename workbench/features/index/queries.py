"""`FeatureIndex`: what can be asked of an index about its features."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from workbench.errors import InputError
from workbench.features.index.contexts import Context, ContextGroup, ContextReader
from workbench.features.index.statistics import Histogram
from workbench.features.index.store import IndexFiles
from workbench.features.refs import FeatureRef

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FeatureIndex", "FeatureProfile"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FeatureProfile:
    """Numbers of one feature.

    Parameters
    ----------
    ref
        The feature.
    count, n_counted
        Tokens it fires on, and tokens counted.
    density
        `count` ÷ `n_counted`.
    mean, std, second_moment
        Of its nonzero activations (`second_moment`: mean of squares).
    max, min
        Largest and least nonzero activation.
    median, p90, p99
        Quantiles of its nonzero activations, read from the histogram.
    dead, dense
        Whether it never fires, and whether its density is above the index's bound.
    histogram
        Its nonzero activations by bin.
    """

    ref: FeatureRef
    count: int
    n_counted: int
    density: float
    mean: float
    std: float
    second_moment: float
    max: float
    min: float
    median: float
    p90: float
    p99: float
    dead: bool
    dense: bool
    histogram: Histogram


class FeatureIndex(IndexFiles):
    """Every feature of every indexed SAE over a corpus.

    Made by ``session.index(...)``, or opened from its folder.

    Parameters
    ----------
    path
        Its folder.
    session
        Model and SAEs it must fit; gives token strings. None to open it by itself.
    verify
        Also read every file and compare it with the hash it was written with.

    Raises
    ------
    LoadError
        The folder holds no finished index, it is damaged, was written by a newer version, or is of
        other weights or another token policy than the session's.
    """

    @functools.cached_property
    def reader(self) -> ContextReader:
        """Cuts contexts out of the rows."""
        return ContextReader(self)

    def profile(self, ref: str | FeatureRef) -> FeatureProfile:
        """Return a feature's numbers and histogram.

        Raises
        ------
        InputError, SaeError
            There is no such feature.
        """
        found = self.check(ref)
        row = self.statistics_row(found)
        names = [field.name for field in dataclasses.fields(FeatureProfile)]
        numbers = {name: row[name] for name in names if name in row}
        numbers = {name: np.nan if value is None else value for name, value in numbers.items()}
        return FeatureProfile(
            ref=found, n_counted=self.n_counted, histogram=_histogram(row), **numbers
        )

    def contexts(
        self,
        ref: str | FeatureRef,
        k: int = 20,
        *,
        width: int | None = 16,
        hide_duplicates: bool = True,
    ) -> tuple[Context, ...]:
        """Return the strongest contexts, each from another document.

        Parameters
        ----------
        ref
            The feature.
        k
            Most contexts; the index keeps ``settings.contexts``.
        width
            Tokens on either side; None for the whole row.
        hide_duplicates
            Leave out a context whose tokens are the same as a stronger one's.

        Raises
        ------
        InputError, SaeError
            There is no such feature.
        """
        found = self.check(ref)
        rows = self.context_rows(found)
        chosen = np.flatnonzero(rows["rank"] >= 0)
        chosen = chosen[np.argsort(rows["rank"][chosen])]
        return self.reader.cut(rows, chosen, width, hide_duplicates=hide_duplicates, most=k)

    def sample(
        self,
        ref: str | FeatureRef,
        low: float = -np.inf,
        high: float = np.inf,
        n: int = 10,
        *,
        width: int | None = 16,
        seed: int = 0,
        hide_duplicates: bool = True,
    ) -> tuple[Context, ...]:
        """Draw activations from an interval at random, each token of the corpus as likely.

        Parameters
        ----------
        ref
            The feature.
        low, high
            The interval of activations, both ends included.
        n
            Most contexts. The index keeps ``settings.samples_per_bin`` activations of each bin.
        width, hide_duplicates
            As for `contexts`.
        seed
            Another seed draws others.

        Returns
        -------
        tuple of Context
            By falling activation.

        Raises
        ------
        InputError, SaeError
            There is no such feature, or the interval is empty.
        """
        if not low <= high:
            raise InputError(f"the interval from {low} to {high} is empty")
        found = self.check(ref)
        rows = self.context_rows(found)
        inside = rows["sampled"] & (rows["value"] >= low) & (rows["value"] <= high)
        chosen = np.flatnonzero(inside)
        if not len(chosen):
            return ()
        histogram = _histogram(self.statistics_row(found))
        bins = rows["bin"][chosen].astype(np.int64)
        sampled_bins = rows["bin"][rows["sampled"]].astype(np.int64)
        kept = dict(zip(*np.unique(sampled_bins, return_counts=True), strict=True))
        count = histogram.counts[np.searchsorted(histogram.bins, bins)]
        weight = count / np.array([kept[number] for number in bins])
        # Weighted draw without replacement (Efraimidis and Spirakis 2006).
        rng = np.random.default_rng([seed, found.index])
        order = np.argsort(-np.log(rng.random(len(chosen))) / weight)
        drawn = self.reader.cut(rows, chosen[order], width, hide_duplicates=hide_duplicates, most=n)
        return tuple(sorted(drawn, key=lambda context: -abs(context.value)))

    def groups(
        self,
        ref: str | FeatureRef,
        n: int = 5,
        per: int = 5,
        *,
        kind: Literal["equal", "quantile"] = "equal",
        width: int | None = 16,
        seed: int = 0,
    ) -> tuple[ContextGroup, ...]:
        """Draw contexts from intervals of activation.

        Parameters
        ----------
        ref
            The feature.
        n
            Number of intervals.
        per
            Most contexts of each.
        kind
            ``"equal"``: intervals of equal width from the least to the largest activation.
            ``"quantile"``: intervals with equal numbers of activations.
        width, seed
            As for `sample`.

        Returns
        -------
        tuple of ContextGroup
            From the highest interval to the lowest; empty for a dead feature.

        Raises
        ------
        InputError, SaeError
            There is no such feature, or `kind` or `n` is not one.
        """
        if kind not in ("equal", "quantile"):
            raise InputError(f"kind must be 'equal' or 'quantile', got {kind!r}")
        if n < 1:
            raise InputError(f"n must be at least 1, got {n}")
        profile = self.profile(ref)
        histogram = profile.histogram
        if profile.dead:
            return ()
        if kind == "equal":
            edges = np.linspace(profile.min, profile.max, n + 1)
        else:
            edges = np.asarray(histogram.quantile(np.linspace(0, 1, n + 1)))
        # Activations are float32, and so are the ends of the range.
        edges[0], edges[-1] = profile.min, profile.max
        shares = np.asarray(histogram.share_below(edges))
        shares[0], shares[-1] = 0.0, 1.0
        made = []
        for slot in reversed(range(n)):
            # The upper end belongs to the next interval, but for the last one.
            top = edges[slot + 1] if slot == n - 1 else np.nextafter(edges[slot + 1], -np.inf)
            drawn: tuple[Context, ...] = ()
            if top >= edges[slot]:
                drawn = self.sample(ref, edges[slot], top, per, width=width, seed=seed)
            count = float((shares[slot + 1] - shares[slot]) * profile.count)
            made.append(
                ContextGroup(
                    kind=kind,
                    low=float(edges[slot]),
                    high=float(edges[slot + 1]),
                    count=count,
                    contexts=drawn,
                )
            )
        return tuple(made)

    def silent(
        self, ref: str | FeatureRef, n: int = 10, *, width: int | None = 16, seed: int = 0
    ) -> tuple[Context, ...]:
        """Return contexts where a feature does not fire.

        Parameters
        ----------
        ref
            The feature.
        n
            Most contexts.
        width
            As for `contexts`.
        seed
            Another seed draws others.

        Returns
        -------
        tuple of Context
            First those where it is silent for ``settings.silent_width`` tokens; where there are
            too few of these, those where it is silent on the token itself.

        Raises
        ------
        InputError, SaeError
            There is no such feature.
        """
        found = self.check(ref)
        row = self.statistics_row(found)
        pool = self.silent_positions
        near = np.zeros(len(pool), dtype=bool)
        near[np.array(row["fires_in"], dtype=np.int64)] = True
        here = np.zeros(len(pool), dtype=bool)
        here[np.array(row["fires_in"], dtype=np.int64)[np.array(row["fires_at"], dtype=bool)]] = (
            True
        )
        order = np.random.default_rng([seed, found.index]).permutation(len(pool))
        whole = order[~near[order]]
        partly = order[near[order] & ~here[order]]
        slots = [(slot, True) for slot in whole[:n]]
        slots += [(slot, False) for slot in partly[: max(n - len(slots), 0)]]
        return tuple(
            self.reader.silent(int(pool[slot]), width, whole=quiet) for slot, quiet in slots
        )

    def cofiring(self, ref: str | FeatureRef) -> pd.DataFrame:
        """Return the features of the same SAE that fire together with one most.

        Returns
        -------
        DataFrame
            ``feature``, ``index``; ``together``, estimated tokens with both; ``jaccard``, that ÷
            tokens with either; ``share``, that ÷ tokens with this one; ``shared``, sampled tokens
            the estimate rests on (with few of them it is rough).

        Raises
        ------
        InputError, SaeError
            There is no such feature.
        """
        import pandas as pd

        found = self.check(ref)
        row = self.statistics_row(found)
        others = row["neighbours"]
        counts = np.array(
            [self.statistics_row(FeatureRef(found.sae, int(other)))["count"] for other in others],
            dtype=np.float64,
        )
        together = np.array(row["together"], dtype=np.float64)
        return pd.DataFrame(
            {
                "feature": [f"{found.sae}/{other}" for other in others],
                "index": np.array(others, dtype=np.int64),
                "together": together,
                "jaccard": together / (row["count"] + counts - together),
                "share": together / max(row["count"], 1),
                "shared": np.array(row["shared"], dtype=np.int64),
            }
        )


def _histogram(row: dict[str, Any]) -> Histogram:
    return Histogram(
        bins=np.array(row["bins"], dtype=np.int64),
        counts=np.array(row["bin_counts"], dtype=np.int64),
        low=np.array(row["bin_low"], dtype=np.float32),
        high=np.array(row["bin_high"], dtype=np.float32),
    )

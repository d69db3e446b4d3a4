"""Which features fire together, estimated from few tokens per feature.

Each feature keeps the tokens it fires on whose hashes are smallest, and every feature uses the same
hash. Two features' kept tokens then agree wherever both are complete, which gives the number of
tokens they share (bottom-k sketches: Cohen and Kaplan 2007). A feature active on no more tokens
than are kept is complete, and two such features are counted exactly.
"""

from __future__ import annotations

import dataclasses
import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.features.index.settings import IndexSettings
from workbench.features.index.sketches.hashing import hash_bits
from workbench.features.index.sketches.ordering import changes, rank_in_run, stable_argsort

__all__ = ["TOKENS", "Cofiring", "Neighbours", "fewest_tokens"]

TOKENS = ("feature", "place")
"""Columns: int32, int64; sorted by feature, then place."""

_HASH_BITS = 40
_STREAM = 2
_TOGETHER = 256  # features whose pairs are in memory at once, in each thread


def _hash(place: Int[Tensor, " n"], settings: IndexSettings) -> Int[Tensor, " n"]:
    return hash_bits(settings.seed + _STREAM, place, bits=_HASH_BITS)


def fewest_tokens(
    feature: Int[Tensor, " n"], place: Int[Tensor, " n"], settings: IndexSettings
) -> dict[str, Tensor]:
    """Keep each feature's tokens of smallest hash.

    Parameters
    ----------
    feature, place
        Where features fire, sorted by feature, then place.
    settings
        How many are kept.
    """
    order = stable_argsort((feature.long() << _HASH_BITS) | _hash(place, settings))
    kept = torch.zeros(len(feature), dtype=torch.bool, device=feature.device)
    kept[order] = rank_in_run(changes(feature[order])) < settings.cofiring_tokens
    return {"feature": feature[kept], "place": place[kept]}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Neighbours:
    """Features that fire with each of some features, strongest overlap first.

    Parameters
    ----------
    feature, other
        The pair.
    together
        Estimated number of tokens on which both fire.
    shared
        Number of kept tokens the estimate rests on.
    """

    feature: Int[np.ndarray, " n"]
    other: Int[np.ndarray, " n"]
    together: Float[np.ndarray, " n"]
    shared: Int[np.ndarray, " n"]


class Cofiring:
    """Overlap of all features of an SAE.

    Parameters
    ----------
    tokens
        `fewest_tokens` of all features.
    count
        Tokens each feature fires on.
    settings
        How many neighbours are listed.
    """

    def __init__(
        self,
        tokens: dict[str, np.ndarray],
        count: Int[np.ndarray, " d_sae"],
        settings: IndexSettings,
    ) -> None:
        from scipy import sparse

        d_sae = len(count)
        hashes = _hash(torch.from_numpy(tokens["place"]), settings).numpy()
        largest = np.zeros(d_sae, dtype=np.int64)
        np.maximum.at(largest, tokens["feature"], hashes)
        # Share of all tokens whose hash is small enough to be seen by each feature's sketch.
        partial = count > settings.cofiring_tokens
        self._seen = np.where(partial, (largest + 1) / 2.0**_HASH_BITS, 1.0)
        self._count, self._listed = count, settings.neighbours
        _, column = np.unique(tokens["place"], return_inverse=True)
        shape = (d_sae, int(column.max(initial=-1)) + 1)
        ones = np.ones(len(column), dtype=np.int32)
        self._present = sparse.csr_matrix((ones, (tokens["feature"], column)), shape=shape)
        self._transposed = self._present.T.tocsr()

    def neighbours(self, features: range) -> Neighbours:
        """List the features that overlap most with each of `features`.

        Returns
        -------
        Neighbours
            By feature, then falling Jaccard index (tokens with both ÷ tokens with either), then
            feature number.
        """
        ranges = [
            range(start, min(start + _TOGETHER, features.stop))
            for start in range(features.start, features.stop, _TOGETHER)
        ]
        with ThreadPoolExecutor(max(torch.get_num_threads(), 1)) as pool:
            found = list(pool.map(self._of_range, ranges))
        return Neighbours(
            **{
                field.name: np.concatenate([getattr(part, field.name) for part in found])
                for field in dataclasses.fields(Neighbours)
            }
        )

    def _of_range(self, features: range) -> Neighbours:
        product = self._present[features.start : features.stop] @ self._transposed
        one = np.repeat(np.arange(len(features)), np.diff(product.indptr)) + features.start
        other, shared = product.indices.astype(np.int64), product.data
        together, jaccard = self._overlap(one, other, shared)
        jaccard[one == other] = -1
        near = jaccard >= 0
        # Most pairs are far from the strongest: only those that can be listed are put in order.
        for start, end in itertools.pairwise(product.indptr.tolist()):
            rest = end - start - self._listed
            if self._listed and rest > 0:
                row = jaccard[start:end]
                near[start:end] &= row >= np.partition(row, rest)[rest]
        one, other, shared = one[near], other[near], shared[near]
        together, jaccard = together[near], jaccard[near]
        order = np.lexsort((other, -jaccard, one))
        first = changes(torch.from_numpy(one[order]))
        order = order[rank_in_run(first).numpy() < self._listed]
        return Neighbours(
            feature=one[order], other=other[order], together=together[order], shared=shared[order]
        )

    def _overlap(
        self,
        one: Int[np.ndarray, " n"],
        other: Int[np.ndarray, " n"],
        shared: Int[np.ndarray, " n"],
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Estimated tokens together, and the Jaccard index."""
        count, seen = self._count, self._seen
        together = shared / np.minimum(seen[one], seen[other])
        together = np.minimum(together, np.minimum(count[one], count[other]))
        return together, together / (count[one] + count[other] - together)

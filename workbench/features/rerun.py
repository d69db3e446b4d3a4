"""Running the contexts of a feature's page again, as they were run when the index was built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Integer

from workbench.features.dashboard import Context
from workbench.features.refs import FeatureRef

if TYPE_CHECKING:
    from workbench.features.index.queries import FeatureIndex
    from workbench.session import Session

__all__ = ["activations_again", "context_row"]

_BATCH_TOKENS = 4096


def context_row(index: FeatureIndex | None, context: Context) -> Integer[np.ndarray, " pos"] | None:
    """Return an index's tokens from the beginning of a context's row to the context's end.

    None where there is no index, or the context is not of it.
    """
    if index is None:
        return None
    stop = context.start + len(context.tokens)
    shown = np.asarray(index.tokens[context.start : stop])
    if not np.array_equal(shown, np.asarray(context.token_ids)):
        return None
    row = int(np.searchsorted(index.rows, context.start, side="right")) - 1
    return np.asarray(index.tokens[int(index.rows[row]) : stop])


def activations_again(
    session: Session,
    ref: FeatureRef,
    contexts: Sequence[Context],
    rows: Sequence[Integer[np.ndarray, " pos"]],
    progress: Callable[[int, int], None] | None = None,
) -> list[Float[np.ndarray, " pos"]]:
    """Compute a feature's activations at the tokens of contexts, in batches of rows of like length.

    Parameters
    ----------
    session
        The session.
    ref
        The feature.
    contexts
        The contexts.
    rows
        Of each, its tokens with all that stood before them, as `context_row` gives.
    progress
        None, or called with the number of contexts done and of all; what it raises stops the work.

    Returns
    -------
    list of array
        Activations at each context's own tokens.
    """
    sae = session.saes[ref.sae]
    order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
    made: dict[int, np.ndarray] = {}
    while order:
        # Rows of like length share a batch, so that little of it is padding.
        longest = len(rows[order[-1]])
        batch = [order.pop() for _ in range(min(len(order), max(1, _BATCH_TOKENS // longest)))]
        if progress is not None:
            progress(len(made), len(contexts))
        tokens = session.model.tokenizing.from_ids(
            [np.asarray(rows[place]).tolist() for place in batch], session.policy
        )
        ran = session.run(tokens, capture=[str(sae.site)], logits=False)
        values = sae.encode_features(ran[str(sae.site)], [ref.index])[..., 0]
        again = values.detach().float().cpu().numpy()
        for slot, place in enumerate(batch):
            stop = len(rows[place])
            made[place] = again[slot, stop - len(contexts[place].tokens) : stop]
    return [made[place] for place in range(len(contexts))]

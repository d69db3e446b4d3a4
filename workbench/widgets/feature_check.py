"""Whether a feature's page, made and computed again, says the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.widgets.feature_page import find_context

if TYPE_CHECKING:
    from workbench.features.dashboard import Context, Dashboard
    from workbench.widgets.jobs import Job

__all__ = ["compare", "recompute"]

# float32 activations of the same text on the same device are equal to rounding.
_RELATIVE = 1e-4
_ABSOLUTE = 1e-5


def compare(shown: Dashboard, again: Dashboard) -> dict[str, Any]:
    """Compare a page with one made again.

    Parameters
    ----------
    shown, again
        Two pages of one feature.

    Returns
    -------
    dict
        ``same`` and, in words, ``detail``. Values count as the same within 1e-4 of the feature's
        largest activation. Only contexts that are on both pages are compared, because groups may
        be sampled anew.
    """
    if shown.counted_tokens != again.counted_tokens or shown.fires != again.fires:
        return {
            "same": False,
            "detail": f"fired on {shown.fires:,} of {shown.counted_tokens:,} tokens, now on "
            f"{again.fires:,} of {again.counted_tokens:,}",
        }
    limit = _ABSOLUTE + _RELATIVE * max(shown.maximum, again.maximum)
    contexts, tokens = 0, 0
    for group in shown.groups:
        for context in group.contexts:
            position = context.start + context.peak
            other = find_context(again.groups, context.document, position)
            if other is None:
                continue
            contexts += 1
            first = max(context.start, other.start)
            last = min(context.start + len(context.tokens), other.start + len(other.tokens))
            before = np.asarray(context.values)[first - context.start : last - context.start]
            after = np.asarray(other.values)[first - other.start : last - other.start]
            tokens += len(before)
            # What an index does not know is NaN, and is not compared.
            difference = np.nan_to_num(np.abs(before - after))
            if len(difference) and difference.max() > limit:
                return _differs(context, first + int(difference.argmax()), difference.max())
    for before_effects, after_effects in (
        (shown.raises, again.raises),
        (shown.lowers, again.lowers),
    ):
        for old, new in zip(before_effects, after_effects, strict=False):
            if abs(old.value - new.value) > _ABSOLUTE + _RELATIVE * abs(old.value):
                return {
                    "same": False,
                    "detail": f"effect on token {old.token_id}: {old.value:.4g}, now "
                    f"{new.value:.4g} (token {new.token_id})",
                }
    if not contexts and any(group.contexts for group in shown.groups):
        return {"same": False, "detail": "no context on the page is on one made again"}
    return {
        "same": True,
        "detail": f"{tokens:,} activations in {contexts} contexts and the logit effects are same",
    }


def recompute(session: Any, dashboard: Dashboard, job: Job) -> dict[str, Any]:
    """Compute the activations shown again, each context after all that stood before it.

    Contexts of the open feature index are run from the beginning of their row, as they were when
    it was built. Others (read from a file) hold no more than what is shown: `recheck` judges those.

    Parameters
    ----------
    session
        The session.
    dashboard
        The page.
    job
        Told how far it is.

    Returns
    -------
    dict
        As `compare`.
    """
    # On first use: a snapshot never asks, and the module brings torch along.
    from workbench.features.rerun import activations_again, context_row

    index = getattr(session, "opened_index", None)
    contexts = [context for group in dashboard.groups for context in group.contexts]
    rows = [row for context in contexts if (row := context_row(index, context)) is not None]
    if len(rows) < len(contexts):
        from workbench.features.recheck import recheck

        again = recheck(session, dashboard)
        return {"same": again.agrees, "detail": again.summary()}
    limit = _ABSOLUTE + _RELATIVE * np.nan_to_num(dashboard.maximum)
    compared = 0
    made = activations_again(
        session,
        dashboard.ref,
        contexts,
        rows,
        lambda done, total: job.progress(done, total, "contexts"),
    )
    for context, again_values in zip(contexts, made, strict=True):
        known = ~np.isnan(np.asarray(context.values))
        difference = np.where(known, np.abs(again_values - np.asarray(context.values)), 0.0)
        compared += int(known.sum())
        if difference.max() > limit:
            return _differs(context, context.start + int(difference.argmax()), difference.max())
    return {
        "same": True,
        "detail": f"{compared:,} activations in {len(contexts)} contexts recomputed, all the same",
    }


def _differs(context: Context, position: int, by: float) -> dict[str, Any]:
    where = f"document {context.document}, position {position}"
    return {"same": False, "detail": f"{where}: values differ by {by:.4g}"}

"""Whether a feature's page, made again, says the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.widgets.feature_page import find_context

if TYPE_CHECKING:
    from workbench.features.dashboard import Dashboard

__all__ = ["compare"]

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
            difference = np.abs(before - after)
            if len(difference) and difference.max() > limit:
                at = first + int(difference.argmax())
                return {
                    "same": False,
                    "detail": f"document {context.document}, position {at}: values differ by "
                    f"{difference.max():.4g}",
                }
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
    if not contexts:
        return {"same": False, "detail": "no context on the page is on one made again"}
    return {
        "same": True,
        "detail": f"{tokens:,} activations in {contexts} contexts and the logit effects are same",
    }

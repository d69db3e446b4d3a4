"""What was picked and brushed in the feature view, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from workbench.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from workbench.features.dashboard import Context, ContextGroup, Dashboard

__all__ = ["brushed_tokens", "contexts_table", "group_at", "on_page"]

_CONTEXT = ["feature", "group", "document", "position", "token", "value", "before", "after"]
_TOKEN = ["document", "position", "token", "token_id", "value"]


def group_at(dashboard: Dashboard, brushed: ContextGroup | None, group: int | str) -> ContextGroup:
    """Return a group by its number, or the brushed one by ``"brush"``.

    Raises
    ------
    InputError
        There is no such group.
    """
    if group == "brush" and brushed is not None:
        return brushed
    if isinstance(group, int) and 0 <= group < len(dashboard.groups):
        return dashboard.groups[group]
    raise InputError(f"no group {group!r}; there are 0 to {len(dashboard.groups) - 1}")


def on_page(dashboard: Dashboard, low: float, high: float) -> ContextGroup:
    """Return the contexts already on the page whose activation lies in a range, largest first.

    Stands in for a fresh sample where there is no session to draw one from.
    """
    from workbench.features.dashboard import ContextGroup

    found = {
        (context.document, context.start + context.peak): context
        for _, context in _all(dashboard, None)
        if low <= context.value <= high and context.value > 0
    }
    largest_first = tuple(sorted(found.values(), key=lambda context: -context.value))
    return ContextGroup(kind="brush", low=low, high=high, total=None, contexts=largest_first)


def contexts_table(
    dashboard: Dashboard, brushed: ContextGroup | None, picked: Sequence[str]
) -> pd.DataFrame:
    """Return the picked contexts, in the order of picking; with none picked, the brushed group's.

    Parameters
    ----------
    dashboard
        The feature.
    brushed
        Contexts sampled from a brushed range.
    picked
        Contexts, written ``document:position``; those not on the page are left out.
    """
    import pandas as pd

    places: dict[str, tuple[ContextGroup, Context]] = {}
    for group, context in _all(dashboard, brushed):
        key = f"{context.document}:{context.start + context.peak}"
        places.setdefault(key, (group, context))
    if picked:
        chosen = [places[key] for key in picked if key in places]
    else:
        chosen = [] if brushed is None else [(brushed, context) for context in brushed.contexts]
    rows = [
        (
            dashboard.feature,
            group.name,
            context.document,
            context.start + context.peak,
            context.tokens[context.peak],
            context.value,
            "".join(context.tokens[: context.peak]),
            "".join(context.tokens[context.peak + 1 :]),
        )
        for group, context in chosen
    ]
    return pd.DataFrame(rows, columns=_CONTEXT)


def brushed_tokens(
    dashboard: Dashboard, brushed: ContextGroup | None, stretches: Sequence[Sequence[int]]
) -> pd.DataFrame:
    """Return the tokens inside brushed stretches, each once, by document and position.

    Parameters
    ----------
    dashboard, brushed
        The feature, and contexts sampled from a brushed range.
    stretches
        ``[document, first, last]`` each, both ends included.
    """
    import pandas as pd

    rows: dict[tuple[int, int], tuple[int, int, str, int, float]] = {}
    wanted = [(s[0], range(s[1], s[2] + 1)) for s in stretches if len(s) == 3]
    for _, context in _all(dashboard, brushed):
        for document, positions in wanted:
            if document != context.document:
                continue
            for at, token in enumerate(context.tokens):
                position = context.start + at
                if position in positions:
                    value, token_id = float(context.values[at]), int(context.token_ids[at])
                    rows[document, position] = (document, position, token, token_id, value)
    return pd.DataFrame([rows[key] for key in sorted(rows)], columns=_TOKEN)


def _all(
    dashboard: Dashboard, brushed: ContextGroup | None
) -> Iterator[tuple[ContextGroup, Context]]:
    for group in (*dashboard.groups, *(() if brushed is None else (brushed,))):
        for context in group.contexts:
            yield group, context

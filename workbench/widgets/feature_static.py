"""The feature view where no script runs: plain tables, every text escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TYPE_CHECKING

from workbench.widgets.text import printable, visible

if TYPE_CHECKING:
    from workbench.features.dashboard import Context, Dashboard, Neighbour, TokenEffect

__all__ = ["feature_html"]

_PER_GROUP = {"top": 8}
_OTHERS = 2
_AROUND = 10


def feature_html(dashboard: Dashboard) -> str:
    """Return statistics, contexts, logit effects and neighbours as HTML tables.

    Parameters
    ----------
    dashboard
        The feature.
    """
    label = printable(dashboard.label) if dashboard.label else "no label"
    partial = "" if dashboard.complete else " · partial: the index was still being built"
    head = f"no feature index: weights only · {dashboard.provenance.model}"
    if dashboard.counted_tokens:
        head = (
            f"density {dashboard.density:.3%} · max {dashboard.maximum:.3g} · mean "
            f"{dashboard.mean:.3g} · fires in {dashboard.fires:,} of "
            f"{dashboard.counted_tokens:,} tokens · {dashboard.provenance.model}{partial}"
        )
    parts = [
        '<div class="wb-static">',
        f"<p><b>{_text(dashboard.feature)}</b> {html.escape(label)}</p>",
        f"<p>{_text(head)}</p>",
    ]
    for group in dashboard.groups:
        chosen = group.contexts[: _PER_GROUP.get(group.kind, _OTHERS)]
        if chosen:
            rows = [f"<td>{c.value:.2f}</td><td><code>{_context(c)}</code></td>" for c in chosen]
            parts.append(_table([group.name, "context"], rows))
    parts.append(_effects("raises", dashboard.raises))
    parts.append(_effects("lowers", dashboard.lowers))
    parts.append(_neighbours("nearest (cosine)", dashboard.similar))
    parts.append(_neighbours("fires together (fraction)", dashboard.cofiring))
    return "".join([*parts, "</div>"])


def _text(text: str) -> str:
    return html.escape(printable(text))


def _context(context: Context) -> str:
    first = max(0, context.peak - _AROUND)
    last = context.peak + _AROUND + 1
    cells = [html.escape(visible(token)) for token in context.tokens[first:last]]
    cells[context.peak - first] = f"<b>{cells[context.peak - first]}</b>"
    return " ".join(cells)


def _effects(name: str, effects: Iterable[TokenEffect]) -> str:
    rows = [
        f"<td><code>{html.escape(visible(item.token))}</code></td><td>{item.value:+.3f}</td>"
        for item in effects
    ]
    return _table([name, "logit per unit"], rows) if rows else ""


def _neighbours(name: str, found: Iterable[Neighbour]) -> str:
    rows = [
        f"<td>{_text(item.feature)}</td><td>{_text(item.label or '')}</td><td>{item.score:.2f}</td>"
        for item in found
    ]
    return _table([name, "label", "score"], rows) if rows else ""


def _table(heads: list[str], rows: list[str]) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in heads)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

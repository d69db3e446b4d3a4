"""The prompt view where no script runs: plain tables, every text escaped."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING

from workbench.widgets.text import printable, visible

if TYPE_CHECKING:
    import pandas as pd

    from workbench.features.reading import Reading

__all__ = ["prompt_html"]

_FEATURES = 12
_TOKENS = 200
# Notebook pages align table cells to the right unless told otherwise.
_TEXT = "<td style='text-align:left'>"
_HEAD = "<th style='text-align:left'>"


def prompt_html(reading: Reading, sae: str | None, table: pd.DataFrame | None, focus: int) -> str:
    """Return tokens, strongest features and next-token predictions as HTML tables.

    Parameters
    ----------
    reading
        The text.
    sae
        Name of the SAE shown.
    table
        Its features, as `feature_table` gives them; None without an SAE.
    focus
        Position whose predictions are shown.
    """
    shown = " ".join(_cell(token) for token in reading.tokens[:_TOKENS])
    more = f" … {len(reading.tokens) - _TOKENS} more" if len(reading.tokens) > _TOKENS else ""
    head = f"{reading.provenance.model} · {sae or 'no SAE'} · {len(reading.tokens)} tokens"
    parts = [
        '<div class="wb-static">',
        f"<p><b>Prompt</b> · {html.escape(printable(head))}</p>",
        f"<p><code>{shown}</code>{more}</p>",
    ]
    if table is not None:
        rows = [
            f"{_TEXT}<code>{html.escape(str(row['feature']))}</code></td>"
            f"{_TEXT}{html.escape(printable(row['label'] or ''))}</td>"
            f"<td>{_number(row['value'])}</td><td>{_percent(row['density'])}</td>"
            f"{_TEXT}<code>{html.escape(row['raises'])}</code></td>"
            for row in table.head(_FEATURES).to_dict("records")
        ]
        parts.append(_table(["feature", "label", "value", "density", "raises"], rows))
        if len(table) > _FEATURES:
            parts.append(f"<p>{len(table) - _FEATURES} more features</p>")
    if reading.tokens and reading.next_tokens:
        after = reading.tokens[focus]
        rows = [
            f"{_TEXT}<code>{_cell(token)}</code></td><td>{probability:.2%}</td>"
            for token, _, probability in reading.next_tokens[focus]
        ]
        parts.append(f"<p>next token after <code>{_cell(after)}</code></p>")
        parts.append(_table(["token", "probability"], rows))
    parts.append("</div>")
    return "".join(parts)


def _cell(text: str) -> str:
    return html.escape(visible(text))


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2%}"


def _table(heads: list[str], rows: list[str]) -> str:
    head = "".join(f"{_HEAD}{html.escape(name)}</th>" for name in heads)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

"""The feature browser where no script runs: its first rows as a plain table, every text escaped."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING

from workbench.widgets.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

__all__ = ["browser_html"]


def browser_html(
    head: str, table: pd.DataFrame, count: int, columns: Sequence[str], order: str
) -> str:
    """Return rows as an HTML table, and how many are left out.

    Parameters
    ----------
    head
        What the browser is of.
    table
        The rows to show.
    count
        How many there are in all.
    columns
        Columns of numbers to show.
    order
        How they are sorted, in words.
    """
    shown = [name for name in columns if name in table.columns]
    rows = [
        f"<td><code>{_text(str(row['sae']))}/{row['feature']}</code></td>"
        f"<td>{_text(row['label'] or '')}</td>"
        + "".join(f"<td>{_number(name, row[name])}</td>" for name in shown)
        for row in table.to_dict("records")
    ]
    heads = "".join(f"<th>{_text(name)}</th>" for name in ("feature", "label", *shown))
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    rest = count - len(table)
    more = f"<p>{rest:,} more features</p>" if rest > 0 else ""
    return (
        f'<div class="wb-static"><p><b>Features</b> {_text(head)}</p><p>{count:,} features, '
        f"{_text(order)}</p><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
        f"{more}</div>"
    )


def _text(text: str) -> str:
    return html.escape(printable(text))


def _number(name: str, value: float) -> str:
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.3%}" if name == "density" else f"{value:,.4g}"

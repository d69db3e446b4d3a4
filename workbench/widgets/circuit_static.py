"""The circuit view where no script runs: plain tables, every text escaped."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from workbench.widgets.text import printable

if TYPE_CHECKING:
    import pandas as pd

    from workbench.circuits.graph import Circuit

__all__ = ["circuit_html"]

_ROWS = 12
# Notebook pages align table cells to the right unless told otherwise.
_TEXT = "<td style='text-align:left'>"
_HEAD = "<th style='text-align:left'>"


def circuit_html(title: str, circuit: Circuit, table: pd.DataFrame) -> str:
    """Return the strongest nodes and edges as HTML tables.

    Parameters
    ----------
    title
        Heading.
    circuit
        The circuit.
    table
        Its nodes on screen, strongest first.
    """
    signed = bool(getattr(circuit, "signed", True))
    unit = "effect" if signed else "influence"
    nodes = [
        f"{_name(row['node'])}{_words(row['label'])}<td>{_figure(row['effect'], signed)}</td>"
        for row in table.head(_ROWS).to_dict("records")
    ]
    shown = set(table["node"])
    edges = circuit.edges_table()
    edges = edges[edges["source"].isin(shown) & edges["target"].isin(shown)]
    links = [
        f"{_name(row['source'])}{_name(row['target'])}<td>{_figure(row['weight'], True)}</td>"
        for row in edges.head(_ROWS).to_dict("records")
    ]
    sizes = f"{len(table):,} of {len(circuit.nodes):,} nodes, {len(circuit.edges):,} edges"
    counts = f"{circuit.metric} · {sizes}"
    return "".join(
        [
            '<div class="wb-static">',
            f"<p><b>{html.escape(printable(title))}</b> · {html.escape(counts)}</p>",
            _table(["node", "label", unit], nodes),
            f"<p>{len(table) - _ROWS:,} more nodes</p>" if len(table) > _ROWS else "",
            _table(["from", "to", "weight"], links) if links else "",
            f"<p>{len(edges) - _ROWS:,} more edges</p>" if len(edges) > _ROWS else "",
            "</div>",
        ]
    )


def _name(text: str) -> str:
    return f"{_TEXT}<code>{html.escape(printable(text))}</code></td>"


def _words(label: str | None) -> str:
    return f"{_TEXT}{html.escape(printable(label or ''))}</td>"


def _figure(value: float, signed: bool) -> str:
    return f"{value:+.3g}" if signed else f"{value:.2%}"


def _table(heads: list[str], rows: list[str]) -> str:
    head = "".join(f"{_HEAD}{html.escape(name)}</th>" for name in heads)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

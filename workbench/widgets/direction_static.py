"""The direction view as tables, for where no script runs."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING

from workbench.directions.concept_results import ConceptComparison, ConceptStudy, title_of
from workbench.directions.direction import Direction
from workbench.directions.probe_results import ProbeStudy
from workbench.widgets.direction_page import facts_of
from workbench.widgets.text import printable

if TYPE_CHECKING:
    from workbench.widgets.direction_page import Shown

__all__ = ["direction_html"]

_ROWS = 40
_TEXT = "<td style='text-align:left'>"
_HEAD = "<th style='text-align:left'>"


def direction_html(result: Shown) -> str:
    """Return a result's table as HTML, every text escaped."""
    rows: list[tuple[str, float | None, float | None, float | None, str]] = []
    if isinstance(result, ConceptStudy):
        rows = [(title_of(m.method), m.auroc, m.low, m.high, m.note) for m in result.methods]
    elif isinstance(result, ConceptComparison):
        for mean in result.means().to_dict("records"):
            note = f"{mean['n']} of {mean['of']} concepts"
            name = title_of(mean["method"])
            rows.append((name, mean["auroc"], mean["low"], mean["high"], note))
    elif isinstance(result, ProbeStudy):
        for probe in result.chosen().to_dict("records"):
            name = f"{probe['kind']}, k = {probe['k']:,}"
            note = f"{probe['source']} {probe['ranking']}".strip()
            rows.append((name, probe["f1"], probe["f1_low"], probe["f1_high"], note))
    measure = "F1" if isinstance(result, ProbeStudy) else "AUROC"
    heads = "".join(f"{_HEAD}{name}</th>" for name in ("", measure, "95% interval", ""))
    body = "".join(
        f"<tr>{_TEXT}{_escaped(name)}</td><td>{_number(value)}</td>"
        f"<td>{_number(low)} to {_number(high)}</td>{_TEXT}{_escaped(note)}</td></tr>"
        for name, value, low, high, note in rows[:_ROWS]
    )
    more = f"<p>{len(rows) - _ROWS} more</p>" if len(rows) > _ROWS else ""
    facts = "".join(
        f"<tr>{_TEXT}{_escaped(name)}</td>{_TEXT}{_escaped(value)}</td></tr>"
        for name, value in (facts_of(result) if isinstance(result, Direction) else ())
    )
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>" if rows else ""
    table = f"<table><tbody>{facts}</tbody></table>" if facts else table
    return (
        f'<div class="wb-static"><p><b>Direction</b> · {_escaped(result.summary())}</p>'
        f"{table}{more}</div>"
    )


def _escaped(text: str) -> str:
    return html.escape(printable(text))


def _number(value: float | None) -> str:
    return f"{value:.3f}" if value is not None and math.isfinite(value) else "–"

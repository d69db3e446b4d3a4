"""Ranked features as the judging view is sent them, and as a table where no script runs."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.widgets.text import printable

if TYPE_CHECKING:
    import pandas as pd

    from workbench.circuits.shift import Shift

__all__ = ["judge_html", "page"]

_ROWS = 30
_TEXT = "<td style='text-align:left'>"
_HEAD = "<th style='text-align:left'>"


def page(shift: Shift, names: list[str], labels: list[str | None], *, live: bool) -> dict[str, Any]:
    """Return everything the view needs for its list.

    Parameters
    ----------
    shift
        The classifier with its ranked features.
    names, labels
        The features to judge, strongest first.
    live
        Whether a session stands behind it.
    """
    source, count = shift.provenance, len(names)
    first, second = shift.train.class_names
    facts = [
        ("Model", source.model),
        ("Fingerprint", source.model_fingerprint),
        ("Classifier", f"{first} against {second} at {shift.classifier.site}"),
        ("SAEs", ", ".join(shift.sites)),
        *((str(key), str(value)) for key, value in shift.settings.items()),
        ("Computed", source.created),
    ]
    summary = f"{source.model} · {len(shift.names):,} features move the logit"
    return {
        "classes": [first, second],
        "site": shift.classifier.site,
        "features": names,
        "labels": labels,
        "effect": np.asarray(shift.effect, np.float32)[:count],
        "activation": np.asarray(shift.activation, np.float32)[:count],
        "provenance": {"summary": summary, "facts": facts},
        "live": live,
    }


def judge_html(table: pd.DataFrame, shift: Shift) -> str:
    """Return the judgements as an HTML table, every text escaped."""
    first, second = shift.train.class_names
    head = f"{first} against {second} · {int(table['irrelevant'].sum())} irrelevant"
    rows = [
        f"<tr>{_TEXT}<code>{html.escape(row['feature'])}</code></td>"
        f"{_TEXT}{html.escape(printable(row['label'] or ''))}</td>"
        f"<td>{row['effect']:+.3g}</td>{_TEXT}{_verdict(row)}</td></tr>"
        for row in table.head(_ROWS).to_dict("records")
    ]
    heads = "".join(f"{_HEAD}{name}</th>" for name in ("feature", "label", "effect", "judged"))
    more = f"<p>{len(table) - _ROWS} more</p>" if len(table) > _ROWS else ""
    return (
        f'<div class="wb-static"><p><b>Judge</b> · {html.escape(printable(head))}</p>'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>{more}</div>"
    )


def _verdict(row: Mapping[Any, Any]) -> str:
    if row["irrelevant"]:
        return "irrelevant"
    return "kept" if row["judged"] else "–"

"""An entity study as its view is sent it: plain data, and tables where no script runs."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.directions.entities.separation import SIDES, Side
from workbench.widgets.text import printable

if TYPE_CHECKING:
    from workbench.directions.entities.entity_study import EntityStudy

__all__ = ["DOSES", "doses", "entities_html", "meter", "page", "stored_reading"]

DOSES = 9
_BINS = 40
_MOST_ENTITIES = 2_000
_TEXT = "<td style='text-align:left'>"
_HEAD = "<th style='text-align:left'>"


def doses(study: EntityStudy) -> dict[str, list[float]]:
    """Return the strengths of each slider: from 0 to twice what the study's sweep chose."""
    found = {}
    for side in SIDES:
        chosen = None if study.steering is None else study.steering.chosen.get(side)
        most = 1.0 if chosen is None else 2 * abs(chosen[1]) or 1.0
        found[str(side)] = [most * step / (DOSES - 1) for step in range(DOSES)]
    return found


def page(study: EntityStudy, *, live: bool) -> dict[str, Any]:
    """Return what stays the same while the view is used."""
    source = study.provenance
    facts = [
        ("Model", source.model),
        ("Fingerprint", source.model_fingerprint),
        ("SAEs", ", ".join(study.codes)),
        ("Asked as", study.style.name),
        ("Entities", ", ".join(f"{int(study.where(side).sum())} {side}" for side in SIDES)),
        ("Computed", source.created),
    ]
    return {
        "entities": [
            {
                "name": item.entity.name,
                "type": item.entity.type,
                "label": item.label,
                "split": split,
                "question": question,
            }
            for item, split, question in zip(
                study.knowledge[:_MOST_ENTITIES], study.splits, study.questions_asked, strict=False
            )
        ],
        "types": list(study.types),
        "cells": [cell for side in SIDES for cell in _cells(study, side)],
        "pushes": _pushes(study),
        "chosen": {} if study.steering is None else _chosen(study),
        "doses": doses(study),
        "provenance": {
            "summary": f"{source.model} · {len(study.knowledge)} entities",
            "facts": facts,
        },
        "live": live,
    }


def _cells(study: EntityStudy, side: Side) -> list[dict[str, Any]]:
    """Return the best feature of every SAE: one cell per layer and kind of SAE."""
    cells = []
    for row in study.by_layer(side).to_dict("records"):
        layer = study.codes[row["sae"]].layer
        kind = row["sae"].replace(f".{layer}", "", 1) if layer is not None else row["sae"]
        cells.append(
            {
                "side": side,
                "sae": row["sae"],
                "kind": kind,
                "layer": layer,
                "feature": row["feature"] if isinstance(row["feature"], str) else None,
                "separation": float(row["separation"]),
            }
        )
    return cells


def _pushes(study: EntityStudy) -> list[dict[str, Any]]:
    if study.steering is None:
        return [
            {"name": f"+{found.feature}", "towards": side, "layer": study.codes[found.sae].layer}
            for side in SIDES
            for found in study.ranked(side, 5)
        ]
    return [
        {"name": name, "towards": push.towards, "layer": push.layer}
        for name, push in study.steering.pushes.items()
        if push.towards in SIDES
    ]


def _chosen(study: EntityStudy) -> dict[str, Any]:
    if study.steering is None:
        return {}
    return {side: [name, strength] for side, (name, strength) in study.steering.chosen.items()}


def meter(study: EntityStudy, known: str, unknown: str) -> dict[str, Any]:
    """Return how names of the study lie between known (−1) and unknown (+1).

    A name's place is the activation of `unknown` as a share of its largest on the study's names,
    minus the same of `known`.

    Returns
    -------
    dict
        ``scale`` (largest activations of the two), ``known`` and ``unknown``: share of the names
        of that label in each of 40 bins from −1 to 1; ``auroc``, of unknown against known test
        names, by type.
    """
    values = [
        study.activations(f) if f else np.zeros(len(study.knowledge)) for f in (known, unknown)
    ]
    scale = [float(value.max(initial=0.0)) for value in values]
    place = np.zeros(len(study.knowledge))
    for sign, value, most in zip((-1, 1), values, scale, strict=True):
        place += sign * value / most if most > 0 else 0
    found: dict[str, Any] = {"scale": scale}
    for label in SIDES:
        rows = place[study.where(label)]
        counts = np.histogram(np.clip(rows, -1, 1), bins=_BINS, range=(-1, 1))[0]
        found[label] = (counts / max(1, len(rows))).tolist()
    area = study.auroc(unknown, "unknown") if unknown else None
    found["auroc"] = (
        {}
        if area is None
        else {
            kind: None if math.isnan(value) else float(value)
            for kind, value in zip(area["type"], area["auroc"], strict=True)
        }
    )
    return found


def stored_reading(study: EntityStudy, at: int, features: list[str]) -> dict[str, Any]:
    """Return what the study itself knows of a question: activations at the name's last token."""
    tokens = list(study.name_tokens[at])
    values = np.zeros((len(features), len(tokens)), dtype=np.float32)
    for row, feature in enumerate(features):
        values[row, -1] = study.activations(feature)[at]
    text = study.questions_asked[at]
    return {
        "tokens": tokens,
        "special": np.zeros(len(tokens), dtype=bool),
        "values": values,
        "gaps": " " in text and not any(" " in token for token in tokens),
        "entity": at,
        "name": [int(study.name_starts[at]), len(tokens) - 1],
    }


def entities_html(study: EntityStudy, text: str) -> str:
    """Return how well features of each layer part known from unknown, every text escaped."""
    parts = [
        '<div class="wb-static">',
        f"<p><b>Entities</b> · {html.escape(printable(study.summary()))}</p>",
        f"<p>{html.escape(printable(text))}</p>",
    ]
    for side in SIDES:
        rows = [
            f"<tr>{_TEXT}{'–' if cell['layer'] is None else cell['layer']}</td>"
            f"{_TEXT}<code>{html.escape(cell['sae'])}</code></td>"
            f"{_TEXT}<code>{html.escape(cell['feature'] or '–')}</code></td>"
            f"<td>{cell['separation']:.2f}</td></tr>"
            for cell in _cells(study, side)
        ]
        heads = "".join(
            f"{_HEAD}{n}</th>" for n in ("layer", "SAE", f"{side} feature", "separation")
        )
        parts.append(
            f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        )
    parts.append("</div>")
    return "".join(parts)

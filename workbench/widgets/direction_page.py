"""Concepts, directions and probes as the direction view is sent them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from workbench.directions.concept_results import (
    ConceptComparison,
    ConceptStudy,
    MethodResult,
    title_of,
)
from workbench.directions.direction import Direction
from workbench.directions.probe_results import Probe, ProbeStudy

if TYPE_CHECKING:
    from workbench.directions.token_scores import TokenScores

__all__ = ["MOST_TEXTS", "Shown", "facts_of", "page", "scored"]

Shown: TypeAlias = ConceptStudy | ConceptComparison | Direction | ProbeStudy

MOST_TEXTS = 2000
"""Test texts that are sent; the view says how many more there are."""
_UNITS = 32


def page(result: Shown, *, live: bool) -> dict[str, Any]:
    """Return everything the view needs for its first picture.

    Parameters
    ----------
    result
        What is shown.
    live
        Whether a session stands behind it.
    """
    made: dict[str, Any] = {
        "measure": "F1" if isinstance(result, ProbeStudy) else "AUROC",
        "summary": result.summary(),
        "rows": [],
        "texts": None,
        "concepts": None,
        "probes": None,
        "facts": [],
        "gaps": False,
        "live": live,
        "provenance": _provenance(result),
    }
    if isinstance(result, ConceptStudy):
        made |= _study(result)
    elif isinstance(result, ConceptComparison):
        made |= _comparison(result)
    elif isinstance(result, ProbeStudy):
        made |= _probes(result)
    else:
        made |= _direction(result)
    return made


def _study(study: ConceptStudy) -> dict[str, Any]:
    count = min(len(study.test_texts), MOST_TEXTS)
    tokens = study.test_texts[:count]
    end = int(study.test_starts[count]) if count else 0
    scored = [found for found in study.methods if len(found.scores)]
    return {
        "kind": "concept",
        "title": study.name,
        "heading": f"{study.site} · {study.tokens_used} tokens, {study.pooling} pooling",
        "rows": [_method_row(found) for found in study.methods],
        "texts": {
            "tokens": [list(row) for row in tokens],
            "positive": [bool(value) for value in study.test_positive[:count]],
            "starts": np.asarray(study.test_starts[: count + 1], np.int32),
            "scores": {m.method: np.asarray(m.scores[:count], np.float32) for m in scored},
            "token_scores": {
                m.method: np.asarray(m.token_scores[:end], np.float32)
                for m in scored
                if len(m.token_scores)
            },
            "left_out": len(study.test_texts) - count,
        },
        "gaps": _gaps(tokens),
    }


def _method_row(found: MethodResult) -> dict[str, Any]:
    row = _row(found.method, found.auroc, found.low, found.high, found.note)
    return row | {"direction": found.direction is not None, "feature": found.feature or ""}


def _comparison(compared: ConceptComparison) -> dict[str, Any]:
    means = compared.means().to_dict("records")
    rows = []
    for mean in means:
        said = f"{mean['n']} of {mean['of']}" if mean["n"] < mean["of"] else ""
        row = _row(mean["method"], mean["auroc"], mean["low"], mean["high"], "")
        published = _finite(mean["published"])
        rows.append(row | {"direction": False, "usable": said, "published": published})
    return {
        "kind": "comparison",
        "title": f"{len(compared.concepts)} concepts",
        "heading": f"{compared.site} · {len(compared.methods)} methods",
        "rows": rows,
        "concepts": {
            "names": list(compared.concepts),
            "methods": list(compared.methods),
            "n_test": [int(n) for n in compared.n_test],
            "auroc": np.asarray(compared.auroc, np.float32),
            "low": np.asarray(compared.low, np.float32),
            "high": np.asarray(compared.high, np.float32),
            "notes": [list(row) for row in compared.notes],
            "directions": [
                [f"{concept}/{method}" in compared.directions for method in compared.methods]
                for concept in compared.concepts
            ],
        },
    }


def facts_of(direction: Direction) -> list[tuple[str, str]]:
    """Return what there is to say about a direction, by heading."""
    scale = "not measured" if direction.scale is None else f"{direction.scale:.4g}"
    return [
        ("Site", direction.site),
        ("Method", title_of(direction.method)),
        ("Width", f"{direction.d:,}"),
        ("Largest activation", scale),
        ("Bias", f"{direction.bias:.4g}"),
        ("Length before", f"{direction.norm:.4g}"),
        *((k, v) for k, v in (("High", direction.positive), ("Low", direction.negative)) if v),
        *((str(key), str(value)) for key, value in direction.details.items()),
    ]


def _direction(direction: Direction) -> dict[str, Any]:
    return {
        "kind": "direction",
        "title": direction.name,
        "heading": f"{direction.site} · {title_of(direction.method)}",
        "facts": facts_of(direction),
    }


def _probes(study: ProbeStudy) -> dict[str, Any]:
    unit = "tokens" if study.level == "token" else "texts"
    pooled = f", {study.pooling} pooling" if study.pooling else ""
    share = f"{100 * study.test_share:.0f}% positive"
    return {
        "kind": "probes",
        "title": f"probes for {study.positive}",
        "heading": f"{study.n_train:,} + {study.n_test:,} held-out {unit}{pooled} · {share}",
        "probes": [_probe(probe, study) for probe in study.probes],
    }


def _probe(probe: Probe, study: ProbeStudy) -> dict[str, Any]:
    value, low, high = (_finite(end) for end in probe.f1)
    return {
        "kind": probe.kind,
        "source": probe.source,
        "site": probe.site,
        "ranking": probe.ranking,
        "k": probe.k,
        "units": [int(unit) for unit in probe.units[:_UNITS]],
        "value": value,
        "low": low,
        "high": high,
        "auroc": _finite(probe.auroc),
        "merit": _finite(probe.merit),
        "direction": probe.kind == "dense" and probe.site in study.directions,
    }


def scored(found: TokenScores) -> dict[str, Any]:
    """Return one text's tokens with their scores; None for those that are not its own."""
    return {
        "tokens": list(found.tokens[0]),
        "values": [
            None if special else _finite(value)
            for value, special in zip(found.row(0), found.special, strict=True)
        ],
        "gaps": _gaps(found.tokens),
    }


def _row(method: str, value: float, low: float, high: float, note: str) -> dict[str, Any]:
    return {
        "key": method,
        "name": title_of(method),
        "value": _finite(value),
        "low": _finite(low),
        "high": _finite(high),
        "note": note,
    }


def _provenance(result: Shown) -> dict[str, Any]:
    source = result.provenance
    policy: Mapping[str, Any] = source.token_policy
    facts = [
        ("Model", source.model),
        ("Fingerprint", source.model_fingerprint),
        *([("SAEs", ", ".join(source.saes))] if source.saes else []),
        *([("Tokens", ", ".join(f"{k} {v}" for k, v in policy.items()))] if policy else []),
        *([("Seed", str(source.seed))] if source.seed is not None else []),
        ("Computed", source.created),
    ]
    if isinstance(result, ConceptStudy):
        facts += [("Not used", f"{n:,} {why}") for why, n in result.dropped.items() if n]
    return {"summary": f"{source.model} · {getattr(result, 'site', 'probes')}", "facts": facts}


def _gaps(texts: Iterable[Iterable[str]]) -> bool:
    """Whether tokens are whole words that do not carry the spaces between them."""
    rows = [list(row) for row in texts]
    return any(len(row) > 1 for row in rows) and not any(" " in t for row in rows for t in row)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None

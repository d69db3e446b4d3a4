"""The records of circuit-tracer's feature files, and dashboards as such records."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workbench.errors import LoadError
from workbench.features.dashboard import ContextGroup, Dashboard, GroupKind, Histogram, TokenEffect
from workbench.features.refs import FeatureRef
from workbench.interchange.contexts import ContextRow, check_context, check_counts, context, maximum
from workbench.interchange.files import Limits
from workbench.interchange.records import UNKNOWN, Imported, Row, SaeFacts, text, unstated

__all__ = ["FeatureRow", "decode", "encode"]

_TOP = "Top activations"
_SILENT = "Does not fire"
_NUMBER = r"(-?(?:\d[\d.e+-]*|inf))"
_RANGE = re.compile(
    rf"Activations {_NUMBER} to {_NUMBER}, "
    rf"(equal width|chosen|equal counts(?:, quantiles {_NUMBER} to {_NUMBER})?)"
)


class ExampleRow(Row):
    """One context."""

    tokens_acts_list: tuple[float, ...]
    tokens: tuple[str, ...]
    train_token_ind: int | None = None
    is_repeated_datapoint: bool = False


class QuantileRow(Row):
    """One group of contexts."""

    quantile_name: str = ""
    examples: tuple[ExampleRow, ...] = ()


class FeatureRow(Row):
    """One feature."""

    transcoder_id: str = ""
    index: int
    examples_quantiles: tuple[QuantileRow, ...] = ()
    # Some writers add each token's effect.
    top_logits: tuple[str | tuple[str, float], ...] = ()
    bottom_logits: tuple[str | tuple[str, float], ...] = ()
    act_min: float | None = None
    act_max: float | None = None
    quantile_values: tuple[float, ...] | None = None
    histogram: tuple[float, ...] | None = None
    activation_frequency: float | None = None


def decode(
    record: Mapping[str, Any],
    row: FeatureRow,
    ref: FeatureRef,
    facts: SaeFacts,
    batch: Mapping[str, Any],
    model: str,
    limits: Limits,
    where: str,
) -> Imported:
    """Build a feature from its record.

    Raises
    ------
    LoadError
        The record does not fit the layout.
    """
    check_counts(
        where,
        limits,
        top_logits=row.top_logits,
        bottom_logits=row.bottom_logits,
        histogram=row.histogram or (),
    )
    total = sum(len(quantile.examples) for quantile in row.examples_quantiles)
    if total > limits.contexts:
        raise LoadError(f"{where}: {total:,} examples, at most {limits.contexts:,} expected")
    frequency = row.activation_frequency
    if frequency is not None and not 0 <= frequency <= 1:
        raise LoadError(f"{where}: activation_frequency is {frequency}, expected 0 to 1")
    groups = tuple(
        _group(quantile, row.act_max, f"{where}: {quantile.quantile_name!r:.40}", limits)
        for quantile in row.examples_quantiles
        if quantile.examples
    )
    notes = ["token ids, documents, the tokens counted and the mean activation are not stated"]
    activity, exact = _histogram(row, where)
    if not exact:
        notes.append("the histogram's heights are not counts; they were scaled to add up to 10,000")
    none = Histogram(edges=np.array([0.0, 1.0]), counts=np.zeros(1, dtype=np.int64))
    dashboard = Dashboard(
        provenance=unstated(model),
        feature=str(ref),
        site=facts.site,
        out_site=facts.out_site,
        d_sae=facts.d_sae,
        architecture=facts.architecture,
        counted_tokens=0,
        fires=0,
        maximum=float(row.act_max) if row.act_max is not None else maximum(groups),
        mean=float("nan"),
        histogram=activity,
        groups=groups,
        raises=_effects(row.top_logits),
        lowers=_effects(row.bottom_logits),
        logit_histogram=none,
        similar=(),
        neurons=(),
        encoder_decoder_cosine=None,
    )
    return Imported(
        dashboard=dashboard,
        layout="circuit_tracer",
        record=record,
        batch=batch,
        density=frequency,
        notes=tuple(notes),
    )


def _effects(entries: Sequence[str | tuple[str, float]]) -> tuple[TokenEffect, ...]:
    pairs = ((entry, float("nan")) if isinstance(entry, str) else entry for entry in entries)
    return tuple(
        TokenEffect(token=text(token), token_id=UNKNOWN, value=value) for token, value in pairs
    )


def _histogram(row: FeatureRow, where: str) -> tuple[Histogram, bool]:
    heights = np.asarray(row.histogram or (0.0,), dtype=float)
    low, high = row.act_min or 0.0, row.act_max if row.act_max is not None else 1.0
    if not np.isfinite([low, high, *heights]).all() or (heights < 0).any() or low > high:
        raise LoadError(f"{where}: expected counts of at least 0 between act_min and act_max")
    exact = bool(np.allclose(heights, np.rint(heights), rtol=0, atol=1e-6))
    if not exact:
        heights = heights / heights.sum() * 10_000
    edges = np.linspace(low, high if high > low else low + 1, len(heights) + 1)
    return Histogram(edges=edges, counts=np.rint(heights).astype(np.int64)), exact


def _group(
    quantile: QuantileRow, largest: float | None, where: str, limits: Limits
) -> ContextGroup:
    contexts = []
    for number, example in enumerate(quantile.examples):
        values = example.tokens_acts_list
        check_context(example.tokens, values, f"{where}, example {number}", limits.tokens)
        contexts.append(
            context(
                ContextRow(
                    low=None,
                    high=None,
                    fraction=None,
                    peak=example.train_token_ind,
                    tokens=example.tokens,
                    values=np.asarray(values, dtype=float),
                )
            )
        )
    peaks = [item.value for item in contexts]
    low, high = min(peaks), max(peaks)
    fractions: tuple[float | None, float | None] = (None, None)
    kind: GroupKind
    if match := _RANGE.fullmatch(quantile.quantile_name):
        low, high = float(match[1]), float(match[2])
        words: dict[str, GroupKind] = {"equal width": "width", "chosen": "brush"}
        kind = words.get(match[3], "quantile")
        if match[4] is not None:
            fractions = float(match[4]), float(match[5])
    elif "top" in quantile.quantile_name.lower():
        kind, high = "top", high if largest is None else largest
    elif not any(item.values.any() for item in contexts):
        kind, low, high = "silent", 0.0, 0.0
    else:
        kind = "quantile" if "interval" in quantile.quantile_name.lower() else "brush"
    return ContextGroup(
        kind=kind,
        low=low,
        high=high,
        total=None,
        contexts=tuple(contexts),
        fraction_low=fractions[0],
        fraction_high=fractions[1],
    )


def encode(dashboard: Dashboard, transcoder_id: str, number: int) -> dict[str, Any]:
    """Write a dashboard as a record, under the number its file gets."""
    edges, counts = dashboard.histogram.edges, dashboard.histogram.counts
    empty = not counts.any()
    return {
        "transcoder_id": transcoder_id,
        "index": number,
        "examples_quantiles": [
            {
                "quantile_name": _name(group),
                "examples": [
                    {
                        "tokens_acts_list": [float(value) for value in item.values],
                        "train_token_ind": item.peak,
                        "is_repeated_datapoint": False,
                        "tokens": list(item.tokens),
                    }
                    for item in group.contexts
                ],
            }
            for group in dashboard.groups
        ],
        "top_logits": [effect.token for effect in dashboard.raises],
        "bottom_logits": [effect.token for effect in dashboard.lowers],
        "act_min": 0.0 if empty else float(edges[0]),
        "act_max": float(dashboard.maximum),
        "quantile_values": [],
        "histogram": [] if empty else [int(count) for count in counts],
        "activation_frequency": dashboard.density if dashboard.counted_tokens else 0.0,
    }


def _name(group: ContextGroup) -> str:
    """Name a group so that reading the name gives its range back."""
    if group.kind in ("top", "silent"):
        return _TOP if group.kind == "top" else _SILENT
    words = {"width": "equal width", "quantile": "equal counts", "brush": "chosen"}[group.kind]
    if group.kind == "quantile" and group.fraction_low is not None:
        words += f", quantiles {float(group.fraction_low)!r} to {float(group.fraction_high or 1)!r}"
    return f"Activations {float(group.low)!r} to {float(group.high)!r}, {words}"

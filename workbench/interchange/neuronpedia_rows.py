"""The rows of a Neuronpedia export, and dashboards as such rows."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pydantic

from workbench.errors import LoadError
from workbench.features.dashboard import Dashboard, Neighbour
from workbench.features.refs import FeatureRef
from workbench.interchange.contexts import (
    ContextRow,
    bars,
    check_context,
    check_counts,
    context_rows,
    effects,
    groups,
    histogram,
    maximum,
    neurons,
)
from workbench.interchange.files import Limits
from workbench.interchange.neuronpedia_source import Source
from workbench.interchange.records import UNKNOWN, Imported, Row, SaeFacts, parsed, text, unstated
from workbench.interchange.spool import feature_index

__all__ = ["ActivationRow", "ExplanationRow", "FeatureRow", "SourceRow", "decode", "encode"]


class SourceRow(Row):
    """One source (an SAE): what its features have in common."""

    num_prompts: int | None = None
    num_tokens_in_prompt: int | None = None


class FeatureRow(Row):
    """One feature."""

    modelId: str = ""  # noqa: N815 - the layout's own names, here and below
    layer: str = pydantic.Field(min_length=1)
    createdAt: str | None = None  # noqa: N815
    maxActApprox: float | None = None  # noqa: N815
    topkCosSimIndices: tuple[int, ...] = ()  # noqa: N815
    topkCosSimValues: tuple[float, ...] = ()  # noqa: N815
    neuron_alignment_indices: tuple[int, ...] = ()
    neuron_alignment_values: tuple[float, ...] = ()
    neuron_alignment_l1: tuple[float, ...] = ()
    neg_str: tuple[str, ...] = ()
    neg_values: tuple[float, ...] = ()
    pos_str: tuple[str, ...] = ()
    pos_values: tuple[float, ...] = ()
    frac_nonzero: float = 0.0
    freq_hist_data_bar_values: tuple[float, ...] = ()
    freq_hist_data_bar_heights: tuple[float, ...] = ()
    logits_hist_data_bar_values: tuple[float, ...] = ()
    logits_hist_data_bar_heights: tuple[float, ...] = ()


class ActivationRow(Row):
    """One context."""

    tokens: tuple[str, ...]
    values: tuple[float, ...]
    maxValueTokenIndex: int | None = None  # noqa: N815
    dataIndex: str | int | None = None  # noqa: N815
    binMin: float | None = None  # noqa: N815
    binMax: float | None = None  # noqa: N815
    binContains: float | None = None  # noqa: N815
    qualifyingTokenIndex: int | None = None  # noqa: N815


class ExplanationRow(Row):
    """One label of a feature."""

    description: str
    notes: str | None = None


def decode(
    record: Mapping[str, Any],
    batch: Mapping[str, Any],
    source: SourceRow,
    sae: SaeFacts | Mapping[str, SaeFacts] | None,
    limits: Limits,
    where: str,
) -> Imported:
    """Build a feature from its rows.

    Raises
    ------
    LoadError
        A row does not fit the layout.
    """
    row = parsed(FeatureRow, record["feature"], where)
    index = feature_index(record["feature"], where)
    acts = [parsed(ActivationRow, data, f"{where}: activations") for data in record["activations"]]
    told = [
        parsed(ExplanationRow, data, f"{where}: explanations") for data in record["explanations"]
    ]
    check_counts(
        where,
        limits,
        neg_str=row.neg_str,
        pos_str=row.pos_str,
        freq_hist_data_bar_values=row.freq_hist_data_bar_values,
        logits_hist_data_bar_values=row.logits_hist_data_bar_values,
        neuron_alignment_indices=row.neuron_alignment_indices,
        topkCosSimIndices=row.topkCosSimIndices,
    )
    if not 0 <= row.frac_nonzero <= 1:
        raise LoadError(f"{where}: frac_nonzero is {row.frac_nonzero}, expected 0 to 1")
    facts = sae if isinstance(sae, SaeFacts) else (sae or {}).get(f"{row.modelId}/{row.layer}")
    facts = SaeFacts.named(row.layer, facts)
    counted = max(source.num_prompts or 0, 0) * max(source.num_tokens_in_prompt or 0, 0)
    fires = round(row.frac_nonzero * counted)
    found = groups(_rows(acts, where, limits), counted)
    activity, scaled = histogram(
        row.freq_hist_data_bar_values, row.freq_hist_data_bar_heights, fires, f"{where}: freq_hist"
    )
    logits, logits_scaled = histogram(
        row.logits_hist_data_bar_values,
        row.logits_hist_data_bar_heights,
        0,
        f"{where}: logits_hist",
    )
    if len(row.topkCosSimIndices) != len(row.topkCosSimValues):
        raise LoadError(f"{where}: topkCosSimIndices and topkCosSimValues differ in length")
    notes = ["token ids, positions in documents and the mean activation are not stated"]
    if not counted:
        notes.append("the number of tokens counted is not stated")
    if scaled or logits_scaled:
        notes.append("bar heights are not counts; activation bars were scaled to add up to `fires`")
    if len(told) > 1:
        notes.append(f"the first of {len(told)} explanations is the label")
    dashboard = Dashboard(
        provenance=unstated(row.modelId, str(row.createdAt or "")),
        feature=str(FeatureRef(facts.name, index)),
        site=facts.site,
        out_site=facts.out_site,
        d_sae=facts.d_sae,
        architecture=facts.architecture,
        label=text(told[0].description) if told else None,
        description=text(told[0].notes) if told and told[0].notes is not None else None,
        counted_tokens=counted,
        fires=fires,
        maximum=float(row.maxActApprox) if row.maxActApprox else maximum(found),
        mean=float("nan"),
        histogram=activity,
        groups=found,
        raises=effects(row.pos_str, row.pos_values, f"{where}: pos"),
        lowers=effects(row.neg_str, row.neg_values, f"{where}: neg"),
        logit_histogram=logits,
        similar=tuple(
            Neighbour(feature=str(FeatureRef(facts.name, other)), score=float(score))
            for other, score in zip(row.topkCosSimIndices, row.topkCosSimValues, strict=True)
        ),
        neurons=neurons(
            row.neuron_alignment_indices,
            row.neuron_alignment_values,
            row.neuron_alignment_l1,
            f"{where}: neuron_alignment",
        ),
        encoder_decoder_cosine=None,
    )
    return Imported(
        dashboard=dashboard,
        layout="neuronpedia",
        record=record,
        batch=batch,
        density=row.frac_nonzero,
        notes=tuple(notes),
    )


def _rows(rows: list[ActivationRow], where: str, limits: Limits) -> Iterator[ContextRow]:
    for number, row in enumerate(rows):
        check_context(row.tokens, row.values, f"{where}, activation {number}", limits.tokens)
        stated = "" if row.dataIndex is None else str(row.dataIndex)
        yield ContextRow(
            low=row.binMin,
            high=row.binMax,
            fraction=row.binContains,
            peak=row.qualifyingTokenIndex
            if row.qualifyingTokenIndex is not None
            else row.maxValueTokenIndex,
            tokens=row.tokens,
            values=np.asarray(row.values, dtype=float),
            document=int(stated) if stated.isdecimal() and len(stated) < 16 else UNKNOWN,
        )


def encode(dashboard: Dashboard, source: Source, *, name: str | None = None) -> dict[str, Any]:
    """Write a dashboard as rows: one feature, its activations and its explanation.

    Parameters
    ----------
    dashboard
        The feature.
    source
        What it shares with others.
    name
        Name of the source where it is not made of layer, set and suffix.
    """
    index = str(dashboard.ref.index)
    place = {"modelId": source.model, "layer": name or source.source, "index": index}
    made = {"creatorId": source.creator_id, "createdAt": dashboard.provenance.created}
    centres, heights = bars(dashboard.histogram)
    logit_centres, logit_heights = bars(dashboard.logit_histogram)
    near = [
        (FeatureRef.parse(other.feature).index, float(other.score))
        for other in dashboard.similar
        if FeatureRef.parse(other.feature).sae == dashboard.ref.sae
    ]
    feature = {
        **place,
        **made,
        "maxActApprox": float(dashboard.maximum),
        "hasVector": False,
        "vector": [],
        "vectorLabel": None,
        "hookName": None,
        "topkCosSimIndices": [other for other, _ in near],
        "topkCosSimValues": [score for _, score in near],
        "neuron_alignment_indices": [share.neuron for share in dashboard.neurons],
        "neuron_alignment_values": [float(share.value) for share in dashboard.neurons],
        "neuron_alignment_l1": [float(share.share) for share in dashboard.neurons],
        "correlated_neurons_indices": [],
        "correlated_neurons_pearson": [],
        "correlated_neurons_l1": [],
        "correlated_features_indices": [],
        "correlated_features_pearson": [],
        "correlated_features_l1": [],
        "neg_str": [effect.token for effect in dashboard.lowers],
        "neg_values": [float(effect.value) for effect in dashboard.lowers],
        "pos_str": [effect.token for effect in dashboard.raises],
        "pos_values": [float(effect.value) for effect in dashboard.raises],
        "frac_nonzero": dashboard.density if dashboard.counted_tokens else 0.0,
        "freq_hist_data_bar_heights": heights,
        "freq_hist_data_bar_values": centres,
        "logits_hist_data_bar_heights": logit_heights,
        "logits_hist_data_bar_values": logit_centres,
        "decoder_weights_dist": [],
    }
    explanations = []
    if dashboard.label is not None:
        explanations.append(
            {
                "id": _identifier(place, "label"),
                **place,
                "description": dashboard.label,
                "authorId": source.creator_id,
                "triggeredById": None,
                "typeName": source.explained_by,
                "explanationModelName": None,
                "notes": dashboard.description,
                "createdAt": dashboard.provenance.created,
            }
        )
    activations = list(_activations(dashboard, source, place, made))
    return {"feature": feature, "activations": activations, "explanations": explanations}


def _activations(
    dashboard: Dashboard, source: Source, place: dict[str, str], made: dict[str, str]
) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(context_rows(dashboard)):
        values = [float(value) for value in row.values]
        yield {
            "id": _identifier(place, str(number)),
            "tokens": list(row.tokens),
            **place,
            "maxValue": max(values),
            "maxValueTokenIndex": values.index(max(values)),
            "minValue": min(values),
            "values": values,
            **made,
            "dataSource": source.dataset or None,
            "dataIndex": None if row.document == UNKNOWN else str(row.document),
            "dfaValues": [],
            "dfaTargetIndex": None,
            "dfaMaxValue": None,
            "lossValues": [],
            "logitContributions": None,
            "binMin": row.low,
            "binMax": row.high,
            "binContains": row.fraction,
            "qualifyingTokenIndex": row.peak,
        }


def _identifier(place: Mapping[str, str], part: str) -> str:
    """Return a row's identifier: 25 letters and digits, the same for the same row."""
    digest = hashlib.blake2b("/".join([*place.values(), part]).encode(), digest_size=15).digest()
    return "c" + base64.b32encode(digest).decode().lower()

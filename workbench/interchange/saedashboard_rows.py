"""The records of SAEDashboard's batches, and dashboards as such records."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.errors import InputError, LoadError
from workbench.features.dashboard import Dashboard
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
from workbench.interchange.records import Imported, Row, SaeFacts, parsed, unstated

__all__ = ["BatchRow", "FeatureRow", "Header", "decode", "encode"]


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file says once for all its features.

    Parameters
    ----------
    model_id
        Name of the model.
    layer
        Layer of the SAE.
    sae_set
        Name of the set of SAEs, one per layer.
    sae_id_suffix
        What tells apart SAEs of one set at one layer, None where nothing.
    dataset
        Where the tokens came from.
    tokens_in_prompt
        Tokens in a prompt: counts are written as so many prompts of this length, rounded up.
    """

    model_id: str
    layer: int
    sae_set: str
    sae_id_suffix: str | None = None
    dataset: str = ""
    tokens_in_prompt: int = 1

    def __post_init__(self) -> None:
        if self.tokens_in_prompt < 1:
            raise InputError(f"tokens_in_prompt must be at least 1, got {self.tokens_in_prompt}")

    @classmethod
    def of(cls, dashboard: Dashboard, **changes: Any) -> Header:
        """Read model, layer and SAE from a dashboard.

        Parameters
        ----------
        dashboard
            Its SAE's name (``resid_post.2``) gives set and layer.
        **changes
            Fields to set otherwise.
        """
        found: dict[str, Any] = {"model_id": dashboard.provenance.model}
        if match := re.fullmatch(r"(.+?)\.(\d+)(.*)", dashboard.ref.sae):
            found |= {"sae_set": match[1], "layer": int(match[2])}
            found["sae_id_suffix"] = match[3].lstrip("-_.") or None
        else:
            layer = re.search(r"\.(\d+)$", dashboard.site)
            found |= {"sae_set": dashboard.ref.sae, "layer": int(layer[1]) if layer else 0}
        return cls(**{**found, **changes})


class ActivationRow(Row):
    """One context."""

    tokens: tuple[str, ...]
    values: tuple[float, ...]
    bin_min: float | None = None
    bin_max: float | None = None
    bin_contains: float | None = None
    qualifying_token_index: int | None = None


class FeatureRow(Row):
    """One feature."""

    feature_index: int
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
    n_prompts_total: int = 0
    n_tokens_in_prompt: int = 0
    dataset: str = ""
    activations: tuple[ActivationRow, ...] = ()


class BatchRow(Row):
    """What a file says once."""

    model_id: str = ""
    layer: int | str = 0
    sae_set: str = ""
    sae_id_suffix: str | None = None


def decode(
    data: Any,
    batch: BatchRow,
    header: Mapping[str, Any],
    sae: SaeFacts | None,
    limits: Limits,
    where: str,
) -> Imported:
    """Build a feature from its record.

    Raises
    ------
    LoadError
        The record does not fit the layout.
    """
    row = parsed(FeatureRow, data, where)
    if row.feature_index < 0:
        raise LoadError(f"{where}: feature_index is {row.feature_index}, expected at least 0")
    if len(row.activations) > limits.contexts:
        raise LoadError(f"{where}: {len(row.activations):,} contexts, at most {limits.contexts:,}")
    check_counts(
        where,
        limits,
        neg_str=row.neg_str,
        pos_str=row.pos_str,
        freq_hist_data_bar_values=row.freq_hist_data_bar_values,
        logits_hist_data_bar_values=row.logits_hist_data_bar_values,
        neuron_alignment_indices=row.neuron_alignment_indices,
    )
    if not 0 <= row.frac_nonzero <= 1:
        raise LoadError(f"{where}: frac_nonzero is {row.frac_nonzero}, expected 0 to 1")
    counted = max(row.n_prompts_total, 0) * max(row.n_tokens_in_prompt, 0)
    fires = round(row.frac_nonzero * counted)
    found = groups(_rows(row.activations, where, limits), counted)
    activity, scaled = histogram(
        row.freq_hist_data_bar_values, row.freq_hist_data_bar_heights, fires, f"{where}: freq_hist"
    )
    logits, logits_scaled = histogram(
        row.logits_hist_data_bar_values,
        row.logits_hist_data_bar_heights,
        0,
        f"{where}: logits_hist",
    )
    suffix = f"__{batch.sae_id_suffix}" if batch.sae_id_suffix else ""
    facts = SaeFacts.named(f"{batch.layer}-{batch.sae_set}{suffix}", sae)
    notes = ["token ids, documents and the mean activation are not stated"]
    if not counted:
        notes.append("the number of tokens counted is not stated")
    if scaled or logits_scaled:
        notes.append("bar heights are not counts; activation bars were scaled to add up to `fires`")
    dashboard = Dashboard(
        provenance=unstated(batch.model_id),
        feature=str(FeatureRef(facts.name, row.feature_index)),
        site=facts.site,
        out_site=facts.out_site,
        d_sae=facts.d_sae,
        architecture=facts.architecture,
        counted_tokens=counted,
        fires=fires,
        maximum=maximum(found),
        mean=float("nan"),
        histogram=activity,
        groups=found,
        raises=effects(row.pos_str, row.pos_values, f"{where}: pos"),
        lowers=effects(row.neg_str, row.neg_values, f"{where}: neg"),
        logit_histogram=logits,
        similar=(),
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
        layout="saedashboard",
        record=data,
        batch=header,
        density=row.frac_nonzero,
        notes=tuple(notes),
    )


def _rows(rows: Sequence[ActivationRow], where: str, limits: Limits) -> Iterator[ContextRow]:
    for number, row in enumerate(rows):
        check_context(row.tokens, row.values, f"{where}, activations[{number}]", limits.tokens)
        yield ContextRow(
            low=row.bin_min,
            high=row.bin_max,
            fraction=row.bin_contains,
            peak=row.qualifying_token_index,
            tokens=tuple(row.tokens),
            values=np.asarray(row.values, dtype=float),
        )


def encode(dashboard: Dashboard, header: Header) -> dict[str, Any]:
    """Write a dashboard as a record."""
    centres, heights = bars(dashboard.histogram)
    logit_centres, logit_heights = bars(dashboard.logit_histogram)
    return {
        "feature_index": dashboard.ref.index,
        "neuron_alignment_indices": [share.neuron for share in dashboard.neurons],
        "neuron_alignment_values": [float(share.value) for share in dashboard.neurons],
        "neuron_alignment_l1": [float(share.share) for share in dashboard.neurons],
        "correlated_neurons_indices": [],
        "correlated_neurons_l1": [],
        "correlated_neurons_pearson": [],
        "correlated_features_indices": [],
        "correlated_features_l1": [],
        "correlated_features_pearson": [],
        "neg_str": [effect.token for effect in dashboard.lowers],
        "neg_values": [float(effect.value) for effect in dashboard.lowers],
        "pos_str": [effect.token for effect in dashboard.raises],
        "pos_values": [float(effect.value) for effect in dashboard.raises],
        "frac_nonzero": dashboard.density if dashboard.counted_tokens else 0.0,
        "freq_hist_data_bar_values": centres,
        "freq_hist_data_bar_heights": heights,
        "logits_hist_data_bar_heights": logit_heights,
        "logits_hist_data_bar_values": logit_centres,
        "n_prompts_total": -(-dashboard.counted_tokens // header.tokens_in_prompt),
        "n_tokens_in_prompt": header.tokens_in_prompt,
        "dataset": header.dataset,
        "decoder_weights_dist": [],
        "activations": [
            {
                "bin_min": row.low,
                "bin_max": row.high,
                "bin_contains": row.fraction,
                "tokens": list(row.tokens),
                "values": [float(value) for value in row.values],
                "qualifying_token_index": row.peak,
            }
            for row in context_rows(dashboard)
        ],
    }

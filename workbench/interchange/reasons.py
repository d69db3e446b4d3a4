"""Why a layout loses what it loses of a dashboard."""

from __future__ import annotations

from collections.abc import Mapping

from workbench.features.dashboard import Dashboard
from workbench.interchange.records import differences

__all__ = ["CIRCUIT_TRACER", "NEURONPEDIA", "SAEDASHBOARD", "explain"]

_COMMON = {
    "architecture": "the layout does not hold the SAE's architecture",
    "complete": "every file stands for a finished index",
    "d_sae": "the layout does not hold the number of features of the SAE",
    "encoder_decoder_cosine": "the layout holds none",
    "feature": "the layout names the SAE in its own way; give the reader sae=SaeFacts.of(sae)",
    "groups.contexts.start": "contexts are tokens only",
    "groups.contexts.token_ids": "tokens are text only",
    "groups.contexts.values": "the layout holds numbers only",
    "logit_histogram.edges": "only the centres of bins are kept, so bins must be equally wide",
    "lowers.token_id": "tokens are text only",
    "mean": "the layout holds the maximum and a histogram",
    "out_site": "the layout names the SAE in its own way; give the reader sae=SaeFacts.of(sae)",
    "provenance": "of where figures come from, the layout holds the model's name at most",
    "raises.token_id": "tokens are text only",
    "site": "the layout names the SAE in its own way; give the reader sae=SaeFacts.of(sae)",
}

_BINNED = {
    **_COMMON,
    "cofiring": "the layout correlates activations; it holds no co-firing fractions",
    "counted_tokens": "tokens are counted as prompts × tokens in a prompt, rounded up",
    "fires": "tokens are counted as prompts × tokens in a prompt, rounded up",
    "groups": "groups without contexts, or of one range, cannot be told apart",
    "groups.contexts.peak": "the layout holds one token per context",
    "groups.fraction_high": "intervals are ranges of activation",
    "groups.fraction_low": "intervals are ranges of activation",
    "groups.high": "the top group ends at the maximum",
    "groups.kind": "intervals are of one kind: of equal width",
    "groups.low": "the top group starts at its smallest context",
    "groups.total": "the top group has no count",
    "histogram.edges": "only the centres of bins are kept, so bins must be equally wide",
    "maximum": "only the top group states it",
    "sources": "the layout holds sources per token, not per head",
}

SAEDASHBOARD: Mapping[str, str] = {
    **_BINNED,
    "description": "the layout holds no descriptions",
    "groups.contexts.document": "contexts are tokens only",
    "label": "the layout holds no labels",
    "similar": "the layout correlates activations; it holds no decoder neighbours",
}
"""Reasons by part of a dashboard."""

NEURONPEDIA: Mapping[str, str] = {
    **_BINNED,
    "description": "a description is kept as the note of a label",
    "similar": "only neighbours in the same SAE have a place, without labels",
    "similar.feature": "neighbours are features of the same SAE, under its name there",
    "similar.label": "neighbours have no labels",
}
"""Reasons by part of a dashboard."""

CIRCUIT_TRACER: Mapping[str, str] = {
    **_COMMON,
    "cofiring": "the layout holds none",
    "counted_tokens": "the layout holds a frequency, not the tokens counted",
    "description": "the layout holds no descriptions",
    "fires": "the layout holds a frequency, not the tokens counted",
    "groups": "groups without contexts cannot be told apart",
    "groups.contexts.document": "contexts are tokens only",
    "groups.high": "the top group ends at the maximum",
    "groups.low": "the top group starts at its smallest context",
    "groups.total": "groups have no counts",
    "histogram.edges": "bins are equally wide, from the smallest to the largest activation",
    "label": "the layout holds no labels",
    "logit_histogram.counts": "the layout holds none",
    "logit_histogram.edges": "the layout holds none",
    "lowers.value": "tokens are listed without their effects",
    "neurons": "the layout holds none",
    "raises.value": "tokens are listed without their effects",
    "similar": "the layout holds none",
    "sources": "the layout holds none",
}
"""Reasons by part of a dashboard."""


def explain(before: Dashboard, after: Dashboard, why: Mapping[str, str]) -> list[str]:
    """Return where two dashboards differ, with the reasons of a layout.

    Returns
    -------
    list of str
        ``part: reason``, each part once.
    """
    parts = dict.fromkeys(
        "provenance" if path.startswith("provenance") else path
        for path in differences(before, after)
    )
    return [f"{part}: {why.get(part, 'the layout cannot express it')}" for part in parts]

"""A dashboard as the feature view is sent it: contexts in flat arrays, strings once each."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from workbench.features.dashboard import (
        Context,
        ContextGroup,
        Dashboard,
        Histogram,
        Neighbour,
        TokenEffect,
    )

__all__ = ["compact", "find_context", "pack_groups", "pack_sources", "page"]


def page(dashboard: Dashboard, *, live: bool, openable: Iterable[str] = ()) -> dict[str, Any]:
    """Return everything the view needs to draw one feature.

    Parameters
    ----------
    dashboard
        The feature.
    live
        Whether a session stands behind it, so that the view may ask for more.
    openable
        Features a snapshot can open by itself.
    """
    groups = dashboard.groups
    return {
        "feature": dashboard.feature,
        "site": dashboard.site,
        "out_site": dashboard.out_site,
        "d_sae": dashboard.d_sae,
        "architecture": dashboard.architecture,
        "label": dashboard.label,
        "description": dashboard.description,
        "counted_tokens": dashboard.counted_tokens,
        "fires": dashboard.fires,
        "density": dashboard.density,
        "maximum": dashboard.maximum,
        "mean": dashboard.mean,
        "histogram": _histogram(dashboard.histogram),
        "logit_histogram": _histogram(dashboard.logit_histogram),
        "groups": pack_groups(groups),
        "gaps": _word_level(context for group in groups for context in group.contexts),
        "raises": _effects(dashboard.raises),
        "lowers": _effects(dashboard.lowers),
        "similar": _neighbours(dashboard.similar),
        "cofiring": _neighbours(dashboard.cofiring),
        "neurons": [(item.neuron, item.value, item.share) for item in dashboard.neurons],
        "cosine": dashboard.encoder_decoder_cosine,
        "sources": pack_sources(dashboard),
        # Where they are not made yet, the view asks for them once it is painted.
        "sourced": bool(dashboard.sources) or not _attention(dashboard),
        "reads_raised": _effects(dashboard.reads_raised),
        "reads_lowered": _effects(dashboard.reads_lowered),
        "encoders": _neighbours(dashboard.similar_encoders),
        "stated_density": dashboard.stated_density,
        "complete": dashboard.complete,
        "provenance": _provenance(dashboard),
        "code": _setup(dashboard),
        "live": live,
        "openable": list(openable),
    }


def pack_groups(groups: Iterable[ContextGroup]) -> dict[str, Any]:
    """Pack contexts: one array of token ids and one of values, each distinct string once."""
    strings: dict[str, int] = {}
    places: list[int] = []
    ids: list[np.ndarray] = []
    values: list[np.ndarray] = []
    packed = []
    for group in groups:
        rows = []
        for context in group.contexts:
            rows.append((context.document, context.start, context.peak, len(context.tokens)))
            places += [strings.setdefault(token, len(strings)) for token in context.tokens]
            ids.append(np.asarray(context.token_ids, np.int64))
            values.append(np.asarray(context.values, np.float32))
        packed.append(
            {
                "kind": group.kind,
                "name": group.name,
                "low": group.low,
                "high": group.high,
                "total": group.total,
                "contexts": rows,
            }
        )
    return {
        "groups": packed,
        "strings": list(strings),
        "string": np.asarray(places, np.int64),
        "ids": np.concatenate([np.zeros(0, np.int64), *ids]),
        "values": np.concatenate([np.zeros(0, np.float32), *values]),
    }


def find_context(groups: Iterable[ContextGroup], document: int, position: int) -> Context | None:
    """Return the first context of a document that is for the token at `position`."""
    for group in groups:
        for context in group.contexts:
            if context.document == document and context.start + context.peak == position:
                return context
    return None


def trait_to_page(encoded: Any) -> Any:
    """Turn the bytes inside an encoded trait into text, as a page holds them."""
    if isinstance(encoded, dict):
        if "$dtype" in encoded:
            head = {key: value for key, value in encoded.items() if key != "data"}
            return {**head, "base64": base64.b64encode(encoded["data"]).decode("ascii")}
        return {key: trait_to_page(value) for key, value in encoded.items()}
    if isinstance(encoded, list):
        return [trait_to_page(value) for value in encoded]
    return encoded


def compact(value: int) -> str:
    """Return a count with at most four figures: ``8,611``, ``24.1 k``, ``2.1 M``."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**4, "k")):
        if value >= size:
            return f"{value / (10**3 if unit == 'k' else size):.1f} {unit}"
    return f"{value:,}"


def _histogram(histogram: Histogram) -> dict[str, Any]:
    return {
        "edges": np.asarray(histogram.edges, np.float64),
        "counts": np.asarray(histogram.counts, np.float64),
    }


def pack_sources(dashboard: Dashboard) -> list[tuple[int, int, float, str]]:
    """Pack heads and source tokens: head, position in the strongest context, value, token."""
    return [(item.head, item.position, item.value, item.token) for item in dashboard.sources]


def _attention(dashboard: Dashboard) -> bool:
    return dashboard.site.split(".")[0] in ("attn_out", "z") and dashboard.strongest is not None


def _effects(found: Iterable[TokenEffect]) -> list[tuple[str, int, float]]:
    return [(item.token, item.token_id, item.value) for item in found]


def _neighbours(found: Iterable[Neighbour]) -> list[tuple[str, float, str | None]]:
    return [(item.feature, item.score, item.label) for item in found]


def _word_level(contexts: Iterable[Context]) -> bool:
    """Whether tokens carry no spaces of their own: then the view adds gaps."""
    tokens = [token for context in contexts for token in context.tokens]
    return bool(tokens) and not any(" " in token for token in tokens)


def _provenance(dashboard: Dashboard) -> dict[str, Any]:
    source = dashboard.provenance
    policy: Mapping[str, Any] = source.token_policy
    bos = "BOS once" if policy.get("bos") else "no BOS"
    template = ["chat template"] if policy.get("chat") else []
    indexed = dashboard.counted_tokens > 0
    counted = f"{compact(dashboard.counted_tokens)} tokens" if indexed else "no index"
    built = "complete" if dashboard.complete else "still being built" if indexed else "none"
    sites = dashboard.site
    if dashboard.out_site != dashboard.site:
        sites = f"{dashboard.site}, writes to {dashboard.out_site}"
    facts: list[tuple[str, str]] = [
        ("Model", source.model),
        ("Fingerprint", source.model_fingerprint),
        ("Device", f"{source.device}, {source.dtype}"),
        ("SAE", f"{dashboard.ref.sae}: {dashboard.architecture}, {dashboard.d_sae:,} features"),
        ("Site", sites),
        (
            "Counted",
            f"{dashboard.counted_tokens:,} tokens; BOS, EOS, padding and template left out",
        ),
        ("Index", built),
        ("Policy", ", ".join(f"{key} {value}" for key, value in policy.items())),
        ("Versions", ", ".join(f"{name} {version}" for name, version in source.versions.items())),
        ("Computed", source.created),
    ]
    if source.seed is not None:
        facts.append(("Seed", str(source.seed)))
    return {"summary": " · ".join([source.model, bos, *template, counted]), "facts": facts}


def _setup(dashboard: Dashboard) -> list[str]:
    """Return the lines that leave a session with this feature's SAE in ``s``."""
    model, session = dashboard.provenance.model, dashboard.session
    lines = ["import workbench as wb", f"s = wb.open({model!r})"]
    if session is None or model == "demo" or getattr(session, "closed", False):
        return lines
    name = dashboard.ref.sae
    if name not in session.saes:
        return lines
    identifier = session.saes[name].source.identifier
    if Path(identifier).exists():
        return [*lines, f"s.attach({identifier!r}, name={name!r})"]
    release, _, sae_id = identifier.partition("/")
    return [*lines, f"s.attach({release!r}, sae_id={sae_id!r}, name={name!r})"]

"""Circuits as attribution-graph documents, and what that format cannot hold of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workbench.circuits.graph import NODE_KINDS, Circuit
from workbench.interchange.attribution_graph_file import feature_number

__all__ = ["document_of", "lost"]

_TYPES = {
    "feature": "cross layer transcoder",
    "error": "mlp reconstruction error",
    "token": "embedding",
    "output": "logit",
}


def document_of(
    circuit: Circuit,
    *,
    slug: str = "circuit",
    labels: Mapping[str, str] | None = None,
    pinned: Sequence[str] | None = None,
    supernodes: Sequence[Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return a circuit as an attribution-graph document.

    Parameters
    ----------
    circuit
        The circuit.
    slug
        Name of the graph, for circuits that were not read from a graph.
    labels, pinned, supernodes
        By node name; None for the circuit's own.
    """
    own_labels = dict(getattr(circuit, "labels", {})) if labels is None else dict(labels)
    own_pins = list(getattr(circuit, "pinned", ())) if pinned is None else list(pinned)
    groups = getattr(circuit, "supernodes", ()) if supernodes is None else supernodes
    original = getattr(circuit, "source", None)
    if original is None:
        document, ids = _made(circuit, slug, own_labels)
    else:
        document, ids = _changed(circuit, json.loads(original), own_labels)
    query = document.setdefault("qParams", {})
    known = set(ids.values())
    pins = [ids[name] for name in own_pins if name in ids]
    named = [
        [str(group["name"]), *(ids[name] for name in group["nodes"] if name in ids)]
        for group in groups
    ]
    named = [row for row in named if len(row) > 1]
    # What names nodes that are not in the graph stays in a file that nobody has changed.
    if [node for node in query.get("pinnedIds", []) if node in known] != pins:
        query["pinnedIds"] = pins
    before = [[row[0], *(n for n in row[1:] if n in known)] for row in query.get("supernodes", [])]
    if [row for row in before if len(row) > 1] != named:
        query["supernodes"] = named
    if original is None:
        query.setdefault("pinnedIds", [])
        query.setdefault("supernodes", [])
    return document


def lost(circuit: Circuit) -> list[str]:
    """Return what an attribution graph cannot hold of a circuit, in words; empty for none."""
    if getattr(circuit, "source", None) is not None:
        return []
    nodes = circuit.nodes
    said = []
    left = [
        f"{count} {kind}s"
        for kind in ("neuron", "head")
        if (count := int(nodes.is_kind(kind).sum()))
    ]
    if left:
        said.append(f"{' and '.join(left)}: the format has no such nodes, they are left out")
    if _several_per_layer(circuit):
        said.append("sites: a layer has one dictionary, so layers are numbered by site")
    if len(nodes) and int(nodes.position.min()) < 0:
        said.append("sums over positions: every node is written at position 0")
    if np.isfinite(nodes.patch_activation).any():
        said.append("activations on the patch inputs")
    said.append("signs of node effects: influence is a share without a sign")
    said.append("the examples, metric values, thresholds and how effects were computed")
    return said


def _several_per_layer(circuit: Circuit) -> bool:
    nodes = circuit.nodes
    rows = nodes.is_kind("feature") | nodes.is_kind("error")
    pairs = {
        (int(layer), int(site))
        for layer, site in zip(nodes.layer[rows], nodes.site[rows], strict=True)
    }
    return len({layer for layer, _ in pairs}) < len(pairs) or any(layer < 0 for layer, _ in pairs)


def _made(
    circuit: Circuit, slug: str, labels: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    nodes, names = circuit.nodes, circuit.nodes.names()
    level, top = _levels(circuit)
    influence = _running(np.abs(nodes.effect).astype(np.float64), nodes.is_kind("output"))
    ids: dict[str, str] = {}
    written = []
    for row, name in enumerate(names):
        kind = NODE_KINDS[int(nodes.kind[row])]
        if kind not in _TYPES:
            continue
        index, position = int(nodes.index[row]), max(0, int(nodes.position[row]))
        layer = (
            "E"
            if kind == "token"
            else str(top if kind == "output" else level[int(nodes.site[row])])
        )
        number = max(index, 0) if kind == "output" else index
        node_id = f"{layer}_{number}_{position}"
        ids[name] = node_id
        activation = float(nodes.activation[row])
        feature = {
            "feature": feature_number(int(layer), index) if kind == "feature" else 0,
            "error": -1,
            "token": position,
            "output": number,
        }[kind]
        written.append(
            {
                "node_id": node_id,
                "feature": feature,
                "layer": layer,
                "ctx_idx": position,
                "feature_type": _TYPES[kind],
                "token_prob": 0.0,
                "is_target_logit": kind == "output",
                "run_idx": 0,
                "reverse_ctx_idx": 0,
                "jsNodeId": f"{layer}_{number}-{position if kind in ('error', 'token') else 0}",
                "clerp": labels.get(name, circuit.metric if kind == "output" else ""),
                "influence": None if kind == "output" else float(influence[row]),
                "activation": activation if kind == "feature" and np.isfinite(activation) else None,
            }
        )
    kept = {row for row, name in enumerate(names) if name in ids}
    edges = circuit.edges
    links = [
        {"source": ids[names[s]], "target": ids[names[t]], "weight": float(w)}
        for s, t, w in zip(
            edges.source.tolist(), edges.target.tolist(), edges.weight.tolist(), strict=True
        )
        if s in kept and t in kept
    ]
    sites = {str(number): nodes.sites[site] for site, number in level.items()}
    prompt = str(circuit.prompts[0].get("clean_prefix", "")) if circuit.prompts else ""
    metadata = {
        "slug": slug,
        "scan": circuit.provenance.model,
        "transcoder_list": list(sites.values()),
        "prompt_tokens": list(circuit.tokens) or [""],
        "prompt": prompt,
        "node_threshold": None,
        "schema_version": 1,
        "info": {"creator": "interp-workbench", "layers": sites, "metric": circuit.metric},
    }
    query = {"linkType": "both", "clickedId": "", "sg_pos": ""}
    return {"metadata": metadata, "qParams": query, "nodes": written, "links": links}, ids


def _levels(circuit: Circuit) -> tuple[dict[int, int], int]:
    """Return the layer number of each site, and that of the outputs."""
    nodes = circuit.nodes
    rows = np.flatnonzero(nodes.is_kind("feature") | nodes.is_kind("error"))
    pairs = {(int(nodes.layer[row]), int(nodes.site[row])) for row in rows}
    if not _several_per_layer(circuit):
        level = {site: layer for layer, site in pairs}
        known = nodes.layer[nodes.is_kind("output")]
        n_layers = int(known.max()) if len(known) else max(level.values(), default=0)
        return level, max(n_layers, *level.values(), 0) + 1
    level = {site: number for number, (_, site) in enumerate(sorted(pairs))}
    return level, len(level) + 1


def _running(size: np.ndarray, output: np.ndarray) -> np.ndarray:
    """Return shares summed from the largest on, as the format stores influence."""
    inner = np.where(output, 0.0, size)
    order = np.argsort(-inner, kind="stable")
    running = np.empty(len(size))
    running[order] = np.cumsum(inner[order]) / max(float(inner.sum()), 1e-12)
    return running


def _changed(
    circuit: Any, document: dict[str, Any], labels: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the document a graph was read from, with what is different now."""
    names = circuit.nodes.names()
    ids = dict(zip(names, circuit.node_ids, strict=True))
    kinds = [_TYPES.get(NODE_KINDS[int(kind)]) for kind in circuit.nodes.kind]
    present = {
        (kind == _TYPES["error"], node): name
        for kind, node, name in zip(kinds, circuit.node_ids, names, strict=True)
    }
    kept = []
    for node in document["nodes"]:
        name = present.get(("error" in node["feature_type"], node["node_id"]))
        if name is None:
            continue
        label = labels.get(name)
        # A file without labels is not given empty ones.
        if (node.get("clerp") or "") != (label or ""):
            node["clerp"] = label or ""
        kept.append(node)
    edges = circuit.edges
    joined = {
        (circuit.node_ids[s], circuit.node_ids[t])
        for s, t in zip(edges.source.tolist(), edges.target.tolist(), strict=True)
    }
    document["nodes"] = kept
    document["links"] = [
        link for link in document["links"] if (link["source"], link["target"]) in joined
    ]
    return document, ids

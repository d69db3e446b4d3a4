"""A circuit as its view is sent it: columns, names and labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.circuits.tables import NODE_KINDS
from workbench.features.refs import FeatureRef
from workbench.widgets.circuit_code import reproduction

if TYPE_CHECKING:
    from workbench.circuits.graph import Circuit

__all__ = ["labels_of", "page", "site_order"]

# Where in a block a site is computed, as far as its name tells.
_WITHIN = (
    "hook_embed",
    "embed",
    "pos_embed",
    "resid_pre",
    "attn_in",
    "q",
    "k",
    "v",
    "pattern",
    "z",
    "attn_out",
    "resid_mid",
    "mlp_in",
    "mlp_pre",
    "mlp_post",
    "transcoder",
    "mlp_out",
    "resid_post",
    "output",
)


def site_order(circuit: Circuit) -> list[int]:
    """Return the rows of ``nodes.sites`` in order of computation, first at the foot of the view."""
    nodes = circuit.nodes
    layer = np.full(len(nodes.sites), np.iinfo(np.int32).max, np.int64)
    np.minimum.at(layer, nodes.site, nodes.layer)

    def key(row: int) -> tuple[int, int, int]:
        stem = nodes.sites[row].partition(".")[0]
        place = _WITHIN.index(stem) if stem in _WITHIN else len(_WITHIN)
        return int(layer[row]), place, row

    return sorted(range(len(nodes.sites)), key=key)


def labels_of(circuit: Circuit, session: Any) -> list[str | None]:
    """Return each node's label: given in the circuit, in the session's lists, or of its SAE.

    Tokens and outputs are labelled with what they stand for.
    """
    nodes = circuit.nodes
    given: Mapping[str, str] = getattr(circuit, "labels", {})
    found: list[str | None] = []
    by_site = [_site_labels(session, site) for site in nodes.sites]
    token, feature, output = (NODE_KINDS.index(name) for name in ("token", "feature", "output"))
    for row, name in enumerate(nodes.names()):
        kind, index = int(nodes.kind[row]), int(nodes.index[row])
        label = given.get(name)
        if label is None and kind == feature:
            label = by_site[int(nodes.site[row])](index)
        elif label is None and kind == token:
            at = int(nodes.position[row])
            label = circuit.tokens[at] if 0 <= at < len(circuit.tokens) else None
        elif label is None and kind == output:
            label = _word(session, index) if index >= 0 else None
            label = label or circuit.metric
        found.append(label)
    return found


def _site_labels(session: Any, site: str) -> Any:
    if session is None or site not in session.saes:
        return {}.get
    labels = session.saes[site].labels()
    lists = session.lists

    def of(index: int) -> str | None:
        return lists.label(FeatureRef(site, index)) or labels.get(index)

    return of


def _word(session: Any, token_id: int) -> str | None:
    if session is None or token_id >= session.model.d_vocab:
        return None
    return str(session.tokenizer.decode([token_id]))


def page(
    circuit: Circuit, labels: list[str | None], *, title: str, can: Mapping[str, bool]
) -> dict[str, Any]:
    """Return everything the view needs to draw a circuit.

    Parameters
    ----------
    circuit
        The circuit, an attribution graph, or the union of two compared circuits.
    labels
        Of each node.
    title
        Heading.
    can
        What may be asked for: ``dashboard``, ``measure``, ``faithfulness``, ``similarity``,
        ``open``.
    """
    nodes, edges = circuit.nodes, circuit.edges
    order = site_order(circuit)
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    return {
        "title": title,
        "summary": _summary(circuit),
        "metric": circuit.metric,
        "tokens": list(circuit.tokens),
        "sites": [nodes.sites[row] for row in order],
        "names": nodes.names(),
        "labels": labels,
        "site": place[nodes.site] if len(nodes) else nodes.site,
        "kind": nodes.kind.astype(np.uint8),
        "position": nodes.position,
        "effect": nodes.effect,
        "activation": nodes.activation,
        "patch": nodes.patch_activation,
        "source": edges.source,
        "target": edges.target,
        "weight": edges.weight,
        "facts": _facts(circuit),
        "signed": bool(getattr(circuit, "signed", True)),
        "compare": _compare(circuit),
        "provenance": _provenance(circuit),
        "code": reproduction(circuit),
        "can": dict(can),
    }


def _summary(circuit: Circuit) -> str:
    said = getattr(circuit, "description", None)
    if said:
        return str(said)
    count = circuit.n_pairs
    pairs = "pair" if circuit.baseline == "patch" else "example"
    over = [f"{count} {pairs}{'' if count == 1 else 's'}"] if count else []
    where = ["summed over positions"] if circuit.aggregate == "sum" else []
    return " · ".join([circuit.metric, *over, circuit.method, *where])


def _facts(circuit: Circuit) -> list[tuple[str, str]]:
    facts = [("Metric", circuit.metric), ("Method", circuit.method)]
    if circuit.n_pairs:
        facts.append(("Examples", f"{circuit.n_pairs:,}, baseline {circuit.baseline}"))
    if circuit.dropped:
        said = ", ".join(f"{count} {reason}" for reason, count in circuit.dropped.items())
        facts.append(("Dropped", said))
    for name, value in (("m (clean)", circuit.m_clean), ("m (patch)", circuit.m_patch)):
        if math.isfinite(value):
            facts.append((name, f"{value:.4g}"))
    thresholds = f"nodes > {circuit.node_threshold:g}, edges > {circuit.edge_threshold:g}"
    facts.append(("Thresholds", thresholds))
    if circuit.n_candidates:
        facts.append(("Candidates", f"{circuit.n_candidates:,} nodes of nonzero effect"))
    if circuit.sums is not None and len(circuit.sums.sites):
        table = circuit.sums.to_pandas().dropna(subset=["ratio"])
        if len(table):
            low, high = table["ratio"].min(), table["ratio"].max()
            facts.append(("Completeness", f"effects sum to {low:.2f} to {high:.2f} of the change"))
    return facts


def _compare(circuit: Circuit) -> dict[str, Any] | None:
    sides = getattr(circuit, "sides", None)
    if sides is None:
        return None
    return {
        "names": list(sides.names),
        "presence": np.asarray(sides.presence, np.uint8),
        "effects": [sides.effects[0], sides.effects[1]],
        "weights": [sides.weights[0], sides.weights[1]],
    }


def _provenance(circuit: Circuit) -> dict[str, Any]:
    source = circuit.provenance
    policy = source.token_policy
    facts = [("Model", source.model)]
    if source.model_fingerprint:
        facts.append(("Fingerprint", source.model_fingerprint))
        facts.append(("Device", f"{source.device}, {source.dtype}"))
    if source.saes:
        facts.append(("SAEs", ", ".join(source.saes)))
    if policy:
        facts.append(("Policy", ", ".join(f"{key} {value}" for key, value in policy.items())))
    if source.versions:
        said = ", ".join(f"{name} {version}" for name, version in source.versions.items())
        facts.append(("Versions", said))
    facts.append(("Computed", source.created))
    if source.seed is not None:
        facts.append(("Seed", str(source.seed)))
    bos = [] if not policy else ["BOS once" if policy.get("bos") else "no BOS"]
    saes = [f"{len(source.saes)} SAE{'' if len(source.saes) == 1 else 's'}"] if source.saes else []
    return {"summary": " · ".join([source.model, *bos, *saes]), "facts": facts}

"""Attribution graphs as circuit-tracer and Neuronpedia write them: the file's own terms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workbench.errors import LoadError
from workbench.interchange.graph_urls import pair, unpair

__all__ = [
    "FEATURE_TYPES",
    "GraphFile",
    "GraphFileNode",
    "ends",
    "feature_index",
    "parse",
    "shares",
]

FEATURE_TYPES = {
    "cross layer transcoder": "feature",
    "lorsa": "feature",
    "mlp reconstruction error": "error",
    "lorsa error": "error",
    "embedding": "token",
    "logit": "output",
}
_PER_LAYER = 100_000
_MOST_NODES = 1 << 20


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="allow")


class GraphMetadata(_Lenient):
    """What a graph is of."""

    slug: str = "graph"
    scan: str | list[str] = ""
    prompt_tokens: list[str] = Field(default_factory=list)
    prompt: str = ""
    node_threshold: float | None = None
    schema_version: int | None = None


class GraphQuery(_Lenient):
    """What was pinned, grouped and clicked when the graph was saved."""

    pinnedIds: list[str] = Field(default_factory=list)  # noqa: N815 - the file's own names
    supernodes: list[list[str]] = Field(default_factory=list)
    clickedId: str | None = None  # noqa: N815


class GraphFileNode(_Lenient):
    """One node."""

    node_id: str
    feature: int | None = None
    layer: str
    ctx_idx: int = Field(ge=0, lt=1 << 24)
    feature_type: str
    token_prob: float | None = 0.0
    clerp: str | None = ""
    influence: float | None = None
    activation: float | None = None


class GraphFileLink(_Lenient):
    """One edge."""

    source: str
    target: str
    weight: float


class GraphFile(_Lenient):
    """A whole graph."""

    metadata: GraphMetadata
    qParams: GraphQuery = Field(default_factory=GraphQuery)  # noqa: N815
    nodes: list[GraphFileNode]
    links: list[GraphFileLink]


def parse(document: Any, name: str) -> GraphFile:
    """Check a document from outside.

    Raises
    ------
    LoadError
        Not an attribution graph, or with values of other types than the format's.
    """
    if not isinstance(document, Mapping) or not {"nodes", "links", "metadata"} <= set(document):
        raise LoadError(
            f'{name} is not an attribution graph: expected an object with "metadata", "nodes" and '
            '"links"'
        )
    try:
        graph = GraphFile.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise LoadError(f"{name}: {where}: {first['msg']} (got {first['input']!r:.60})") from error
    if len(graph.nodes) > _MOST_NODES:
        raise LoadError(f"{name}: {len(graph.nodes):,} nodes, expected at most {_MOST_NODES:,}")
    for node in graph.nodes:
        if node.feature_type not in FEATURE_TYPES:
            known = ", ".join(map(repr, FEATURE_TYPES))
            raise LoadError(
                f"{name}: node {node.node_id!r:.40} has feature_type {node.feature_type!r:.40}, "
                f"expected one of {known}"
            )
    return graph


def feature_index(node: GraphFileNode, layer: int) -> int:
    """Return the index of a feature within its layer.

    A node's name says it (``layer_index_position``). Otherwise its number does: Cantor's pairing
    of layer and index in schema 1, layer × 100,000 + index in older graphs, the index in others.

    Raises
    ------
    LoadError
        Neither does.
    """
    parts = node.node_id.split("_")
    if len(parts) == 3 and parts[0] == node.layer and parts[1].isdecimal():
        return int(parts[1])
    number = node.feature
    if number is None or number < 0:
        raise LoadError(f"node {node.node_id!r:.40} does not say which feature it is")
    if unpair(number)[0] == layer:
        return unpair(number)[1]
    if divmod(number, _PER_LAYER)[0] == layer:
        return number % _PER_LAYER
    return number


def feature_number(layer: int, index: int) -> int:
    """Return the number schema 1 gives a feature."""
    return pair(layer, index)


def ends(graph: GraphFile, depth: list[int], name: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the nodes each link joins, and how many links could not be told apart.

    Parameters
    ----------
    graph
        The graph.
    depth
        Layer of each node, tokens -1.
    name
        Of the file, for messages.

    Notes
    -----
    Names do not tell feature 3 of layer 0 at a position (``0_3_7``) from the error node of layer 3
    there as older files name it, and links know names only. An error node has no links into it and
    reaches later layers only; where both readings remain possible, two links of equal names are
    one each, and a single one is taken for the feature's.
    """
    by_id: dict[str, list[int]] = {}
    for row, node in enumerate(graph.nodes):
        by_id.setdefault(node.node_id, []).append(row)
    is_error = [FEATURE_TYPES[node.feature_type] == "error" for node in graph.nodes]
    source, target = np.zeros(len(graph.links), int), np.zeros(len(graph.links), int)
    taken: set[tuple[int, int]] = set()
    unsure = 0
    for number, link in enumerate(graph.links):
        for which in (link.source, link.target):
            if which not in by_id:
                raise LoadError(
                    f"{name}: link {number} names node {which!r:.40}, which is not there"
                )
        to = next((r for r in by_id[link.target] if not is_error[r]), by_id[link.target][0])
        possible = [
            row for row in by_id[link.source] if not (is_error[row] and depth[row] >= depth[to])
        ] or by_id[link.source]
        fresh = [row for row in possible if (row, to) not in taken] or possible
        unsure += len(fresh) > 1
        chosen = next((row for row in fresh if not is_error[row]), fresh[0])
        taken.add((chosen, to))
        source[number], target[number] = chosen, to
    return source, target, unsure


def shares(graph: GraphFile, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return each node's share of the influence on the outputs; outputs have their probability.

    As the files' authors define influence: absolute weights, normalised over each node's inputs,
    summed over all paths to the outputs, which are weighted by their probability. From the links
    the file has: its stored ``influence`` is a running sum of such shares from the most important
    node on, from which the share of a node that follows left-out ones cannot be told.
    """
    output = np.array([FEATURE_TYPES[node.feature_type] == "output" for node in graph.nodes], bool)
    prob = np.array([node.token_prob or 0.0 for node in graph.nodes], np.float64)
    weight = np.abs(np.array([link.weight for link in graph.links], np.float64))
    n = len(graph.nodes)
    total = np.bincount(target, weight, n)
    rate = np.divide(weight, total[target], out=np.zeros_like(weight), where=total[target] > 0)
    flow = np.where(output, prob, 0.0)
    if not flow.sum():
        flow = output.astype(float)
    flow = flow / max(flow.sum(), 1e-12)
    own = np.zeros(n)
    # No path is longer than the number of nodes; a cycle would go on for ever and ends here.
    for _ in range(n):
        flow = np.bincount(source, rate * flow[target], n)
        if flow.sum() < 1e-9:
            break
        own += flow
    own /= max(own[~output].sum(), 1e-12)
    own[output] = prob[output]
    return own


def dumps(document: Any) -> str:
    """Write a document compactly."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))

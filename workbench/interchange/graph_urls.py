"""Neuronpedia's addresses of attribution graphs, read and written."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlencode

from workbench.errors import InputError
from workbench.features.refs import FeatureRef
from workbench.interchange.urls import NUMBER, PART, SITE, split_address

__all__ = [
    "GraphLabel",
    "GraphLink",
    "GraphNode",
    "Supernode",
    "graph_url",
    "pair",
    "parse_graph_url",
    "unpair",
]

# Older graphs number a feature layer × this + index.
_PER_LAYER = 100_000
# Beyond these a number is not what it is tried as.
_MOST_LAYERS = 512
_MOST_FEATURES = 1 << 24


# -- numbering of graph features -----------------------------------------------------------------


def pair(layer: int, index: int) -> int:
    """Return the number attribution graphs give a feature: Cantor's pairing of its coordinates."""
    return (layer + index) * (layer + index + 1) // 2 + index


def unpair(number: int) -> tuple[int, int]:
    """Return layer and index of a feature numbered by `pair`.

    Raises
    ------
    InputError
        The number is negative.
    """
    if number < 0:
        raise InputError(f"feature numbers begin at 0, got {number}")
    diagonal = (math.isqrt(8 * number + 1) - 1) // 2
    index = number - diagonal * (diagonal + 1) // 2
    return diagonal - index, index


# -- graphs ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class GraphNode:
    """A node as a graph's address names it.

    Names do not tell features from error nodes: ``0_3_7`` may be feature 3 of layer 0 or the error
    node of layer 3. The graph itself says which.

    Parameters
    ----------
    node_id
        The name, ``layer_feature_position`` or ``E_token_position``.
    layer
        Layer of a feature, None for tokens.
    index
        Feature index, or token id.
    position
        Position in the prompt.
    """

    node_id: str
    layer: int | None
    index: int
    position: int

    @classmethod
    def parse(cls, node_id: str) -> GraphNode:
        """Read a node's name.

        Raises
        ------
        InputError
            Neither a feature's name nor a token's.
        """
        parts = node_id.split("_")
        numbers = parts[1:] if parts[0] == "E" else parts
        if len(parts) != 3 or not all(map(NUMBER.fullmatch, numbers)):
            raise InputError(
                f"a graph node is named 'layer_feature_position' or 'E_token_position', got "
                f"{node_id[:80]!r}"
            )
        layer = None if parts[0] == "E" else int(parts[0])
        return cls(node_id=node_id, layer=layer, index=int(parts[1]), position=int(parts[2]))


@dataclass(frozen=True, kw_only=True)
class Supernode:
    """Nodes somebody grouped, with the label they gave. Untrusted text."""

    label: str
    nodes: tuple[GraphNode, ...]


@dataclass(frozen=True, kw_only=True)
class GraphLabel:
    """A label somebody gave a feature.

    Parameters
    ----------
    key
        The feature as the address numbers it.
    label
        The label. Untrusted text.
    layer, index
        The feature; None where the number could be several and no node of the address settles it.
    position
        Position in the prompt, None where the label holds for the feature everywhere.
    """

    key: str
    label: str
    layer: int | None
    index: int | None
    position: int | None


@dataclass(frozen=True, kw_only=True)
class GraphLink:
    """A view of an attribution graph on Neuronpedia.

    Parameters
    ----------
    model, slug
        The graph.
    pinned
        Nodes of the subgraph.
    supernodes
        Groups of them.
    labels
        Labels given to features (`clerps`).
    options
        Every other parameter (thresholds, the node clicked), as text.
    """

    model: str
    slug: str
    pinned: tuple[GraphNode, ...] = ()
    supernodes: tuple[Supernode, ...] = ()
    labels: tuple[GraphLabel, ...] = ()
    options: Mapping[str, str]

    @property
    def nodes(self) -> tuple[GraphNode, ...]:
        """Every node the address names, each once."""
        grouped = (node for group in self.supernodes for node in group.nodes)
        return tuple(dict.fromkeys([*self.pinned, *grouped]))

    def refs(self, saes: Mapping[int, str]) -> dict[str, FeatureRef]:
        """Return the features among the nodes by node name.

        Parameters
        ----------
        saes
            Name of the attached transcoder of each layer; nodes of other layers (logits among
            them) are left out.
        """
        return {
            node.node_id: FeatureRef(saes[node.layer], node.index)
            for node in self.nodes
            if node.layer is not None and node.layer in saes
        }


def parse_graph_url(url: str) -> GraphLink:
    """Read a graph's address.

    Raises
    ------
    InputError
        Another site, no graph, or a parameter that does not parse.
    """
    parts, found = split_address(url)
    if len(parts) != 2 or parts[1] != "graph" or not PART.fullmatch(unquote(parts[0])):
        raise InputError(f"expected {SITE}/model/graph?slug=…, got {url[:200]!r}")
    if not found.get("slug"):
        raise InputError(f"the address names no graph: expected slug=… in {url[:200]!r}")
    names = [name for name in found.pop("pinnedIds", "").split(",") if name]
    pinned = tuple(GraphNode.parse(name) for name in names)
    supernodes = tuple(
        Supernode(label=row[0], nodes=tuple(GraphNode.parse(name) for name in row[1:]))
        for row in _rows(found.pop("supernodes", ""), "supernodes", shortest=1)
    )
    nodes = [*pinned, *(node for group in supernodes for node in group.nodes)]
    labels = tuple(
        _label(row[0], row[1], nodes)
        for row in _rows(found.pop("clerps", ""), "clerps", shortest=2)
    )
    return GraphLink(
        model=unquote(parts[0]),
        slug=found.pop("slug"),
        pinned=pinned,
        supernodes=supernodes,
        labels=labels,
        options=found,
    )


def graph_url(link: GraphLink) -> str:
    """Return the address of a view of a graph."""
    parameters: dict[str, str] = {"slug": link.slug, **link.options}
    if link.pinned:
        parameters["pinnedIds"] = ",".join(node.node_id for node in link.pinned)
    if link.supernodes:
        parameters["supernodes"] = _compact(
            [group.label, *(node.node_id for node in group.nodes)] for group in link.supernodes
        )
    if link.labels:
        parameters["clerps"] = _compact([label.key, label.label] for label in link.labels)
    return f"{SITE}/{quote(link.model, safe='')}/graph?{urlencode(parameters)}"


def _compact(rows: Iterable[Any]) -> str:
    return json.dumps(list(rows), separators=(",", ":"), ensure_ascii=False)


def _rows(text: str, name: str, *, shortest: int) -> list[list[str]]:
    if not text:
        return []
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is not valid JSON ({error}): {text[:80]!r}") from error
    ok = isinstance(rows, list) and all(
        isinstance(row, list) and len(row) >= shortest and all(isinstance(x, str) for x in row)
        for row in rows
    )
    if not ok:
        raise InputError(f"{name}: expected a list of lists of texts, got {text[:80]!r}")
    return list(rows)


def _label(key: str, label: str, nodes: list[GraphNode]) -> GraphLabel:
    """Find the feature a label's number stands for.

    Addresses number features in three ways: paired, layer × 100,000 + index, or plainly when the
    layer stands before. Several can fit one number: a node of the same address settles which, and
    layers and indices beyond those of any model are ruled out.
    """
    parts = key.split("_")
    if not all(map(NUMBER.fullmatch, parts)) or len(parts) not in (1, 2, 3):
        raise InputError(f"clerps: expected a feature number, got {key[:80]!r}")
    numbers = [int(part) for part in parts]
    layer = numbers[0] if len(numbers) > 1 else None
    number = numbers[0] if layer is None else numbers[1]
    position = numbers[2] if len(numbers) == 3 else None
    candidates = [unpair(number), divmod(number, _PER_LAYER)]
    if layer is not None:
        candidates = [*(found for found in candidates if found[0] == layer), (layer, number)]
    plausible = [
        found
        for found in dict.fromkeys(candidates)
        if found[0] < _MOST_LAYERS and found[1] < _MOST_FEATURES
    ]
    here = {
        (node.layer, node.index) for node in nodes if position is None or node.position == position
    }
    fitting = [found for found in plausible if found in here] or plausible
    one = fitting[0] if len(fitting) == 1 else None
    return GraphLabel(
        key=key,
        label=label,
        layer=one[0] if one else None,
        index=one[1] if one else None,
        position=position,
    )

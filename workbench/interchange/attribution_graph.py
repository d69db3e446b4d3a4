"""Attribution graphs of circuit-tracer and Neuronpedia, read as circuits and written again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from workbench.circuits.graph import NODE_KINDS, Circuit, Edges, Nodes
from workbench.errors import InputError, LoadError
from workbench.interchange.attribution_graph_file import (
    FEATURE_TYPES,
    GraphFile,
    dumps,
    ends,
    feature_index,
    parse,
    shares,
)
from workbench.interchange.attribution_graph_write import document_of, lost
from workbench.interchange.files import Limits, json_object, loads
from workbench.interchange.graph_urls import GraphLink, GraphNode, Supernode, graph_url
from workbench.interchange.urls import FeatureLink
from workbench.types import Provenance

__all__ = ["AttributionGraph", "load", "lost", "save"]

_LIMITS = Limits(record_bytes=512 << 20)
_SITES = {"lorsa": "lorsa", "lorsa error": "lorsa", "embedding": "embed", "logit": "output"}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class AttributionGraph(Circuit):
    """An attribution graph (Ameisen et al. 2025, "Circuit Tracing") as a circuit.

    Made by `load`. ``nodes.effect`` is each node's share of the influence on the outputs, computed
    from the links: it has no sign. ``edges.weight`` is the attribution of the file: the source's
    contribution to the target's pre-activation, signed. An output's effect is its probability.

    Parameters
    ----------
    node_ids
        The file's own name of each node.
    labels
        Labels (``clerp``) by node name. Untrusted text.
    pinned
        Names of the nodes that were pinned.
    supernodes
        Groups that were made: ``name``, ``nodes`` (names), ``collapsed``.
    influence
        As stored: running sum of shares, lower is more important; NaN where there is none.
    source
        The file as JSON text, so that what is not changed is written as it was.
    notes
        What reading had to decide.
    """

    node_ids: tuple[str, ...]
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    pinned: tuple[str, ...] = ()
    supernodes: tuple[Mapping[str, Any], ...] = ()
    influence: Float[np.ndarray, " n"]
    source: str
    notes: tuple[str, ...] = ()

    @property
    def signed(self) -> bool:
        """Shares of influence have no sign."""
        return False

    @property
    def prompt(self) -> str:
        """The text the graph is of."""
        return str(self.settings.get("prompt", ""))

    @property
    def description(self) -> str:
        """What the graph is of, in words."""
        return f"attribution graph of {self.provenance.model or 'an unnamed model'}"

    @property
    def recipe(self) -> tuple[str, ...]:
        """Lines of Python that open the graph."""
        return (
            "from workbench.interchange import attribution_graph",
            f"circuit = attribution_graph.load({self.settings.get('slug', 'graph') + '.json'!r})",
        )

    def subgraph(self, keep: Any) -> AttributionGraph:
        """Return the graph of some of the nodes; see `Circuit.subgraph`."""
        rows = self.nodes.rows(keep)
        small = super().subgraph(keep)
        names = set(small.nodes.names())
        groups = [
            {**group, "nodes": [name for name in group["nodes"] if name in names]}
            for group in self.supernodes
        ]
        made = dataclasses.replace(
            self,
            nodes=small.nodes,
            edges=small.edges,
            node_ids=tuple(self.node_ids[row] for row in rows),
            influence=self.influence[rows],
            labels={name: label for name, label in self.labels.items() if name in names},
            pinned=tuple(name for name in self.pinned if name in names),
            supernodes=tuple(group for group in groups if group["nodes"]),
        )
        return made.bound_to(self.session)

    def nodes_table(self) -> Any:
        """Return one row per node with its label, most influential first."""
        import pandas as pd

        table = self.nodes.to_pandas()
        labels = [self.labels.get(name) for name in table["node"]]
        # Objects and not pandas' strings: any text can be a label.
        table.insert(1, "label", pd.Series(labels, index=table.index, dtype=object))
        table["influence"] = self.influence
        table["node_id"] = self.node_ids
        return table.iloc[np.argsort(-np.abs(self.nodes.effect), kind="stable")]

    def with_saes(self, saes: Mapping[int, str]) -> AttributionGraph:
        """Return the graph with its features named after attached SAEs.

        Parameters
        ----------
        saes
            Name of the attached transcoder of each layer; layers that are not named keep
            ``transcoder.L``.
        """
        names = {f"transcoder.{layer}": name for layer, name in saes.items()}
        sites = tuple(names.get(site, site) for site in self.nodes.sites)
        before = self.nodes.names()
        nodes = dataclasses.replace(self.nodes, sites=sites)
        new = dict(zip(before, nodes.names(), strict=True))
        made = dataclasses.replace(
            self,
            nodes=nodes,
            labels={new[name]: label for name, label in self.labels.items()},
            pinned=tuple(new[name] for name in self.pinned),
            supernodes=tuple(
                {**group, "nodes": [new[name] for name in group["nodes"]]}
                for group in self.supernodes
            ),
        )
        return made.bound_to(self.session)

    # -- addresses ------------------------------------------------------------------------------

    @property
    def link(self) -> GraphLink:
        """The graph, its pins and supernodes as Neuronpedia's address holds them."""
        ids = dict(zip(self.nodes.names(), self.node_ids, strict=True))
        return GraphLink(
            model=self.provenance.model,
            slug=str(self.settings.get("slug", "graph")),
            pinned=_addressed(ids[name] for name in self.pinned),
            supernodes=tuple(
                Supernode(
                    label=group["name"], nodes=_addressed(ids[name] for name in group["nodes"])
                )
                for group in self.supernodes
            ),
            options={},
        )

    @property
    def url(self) -> str:
        """Address of the graph on Neuronpedia, if it is there."""
        return graph_url(self.link)

    def with_link(self, link: GraphLink) -> AttributionGraph:
        """Return the graph with the pins and supernodes of an address; unknown nodes are left out.

        Raises
        ------
        InputError
            The address is of another graph.
        """
        slug = str(self.settings.get("slug", "graph"))
        if link.slug != slug:
            raise InputError(f"the address is of graph {link.slug!r}, this one is {slug!r}")
        names = self._by_id
        pinned = [names[node.node_id] for node in link.pinned if node.node_id in names]
        groups = [
            (group.label, [names[n.node_id] for n in group.nodes if n.node_id in names])
            for group in link.supernodes
        ]
        made = dataclasses.replace(
            self, pinned=tuple(dict.fromkeys(pinned)), supernodes=_supernodes(groups)
        )
        return made.bound_to(self.session)

    @property
    def _by_id(self) -> dict[str, str]:
        """Node names by the file's own; where an error node shares one, the feature's."""
        error = NODE_KINDS.index("error")
        order = np.argsort(self.nodes.kind != error, kind="stable")
        names = self.nodes.names()
        return {self.node_ids[row]: names[row] for row in order}

    def feature_link(self, name: str) -> FeatureLink:
        """Return the address of a feature's page on Neuronpedia.

        Raises
        ------
        InputError
            Not a feature, or the file names no source set.
        """
        row = self.nodes.find(name)
        details = json.loads(self.source)["metadata"].get("feature_details") or {}
        source = details.get("neuronpedia_source_set")
        if NODE_KINDS[int(self.nodes.kind[row])] != "feature" or not source:
            raise InputError(f"{name} is not a feature of a source set this file names")
        layer = int(self.nodes.layer[row])
        index = int(self.nodes.index[row])
        return FeatureLink(model=self.provenance.model, source=f"{layer}-{source}", index=index)


def load(path: str | Path | Mapping[str, Any]) -> AttributionGraph:
    """Read an attribution graph.

    Parameters
    ----------
    path
        A file (plain or gzipped), or the parsed document.

    Returns
    -------
    AttributionGraph
        Not bound to a session.

    Raises
    ------
    LoadError
        Missing, larger than 512 MiB, not an attribution graph, or inconsistent.
    """
    if isinstance(path, Mapping):
        return _read(dict(path), "the document")
    source = Path(path).expanduser()
    return _read(json_object(source, _LIMITS), source.name)


def loads_graph(text: str, name: str = "the text") -> AttributionGraph:
    """Read an attribution graph from JSON text; see `load`."""
    return _read(loads(text, name), name)


def save(circuit: Circuit, path: str | Path, **options: Any) -> list[str]:
    """Write a circuit as an attribution graph.

    Parameters
    ----------
    circuit
        A graph read with `load` is written as it was read, less the nodes and links it no longer
        has and with its present labels, pins and supernodes. Any other circuit is written in the
        format's terms.
    path
        The file.
    **options
        ``slug``, ``labels``, ``pinned``, ``supernodes``: of circuits that have none themselves.

    Returns
    -------
    list of str
        What the format cannot hold of this circuit, as `lost` gives it.
    """
    target = Path(path).expanduser()
    partial = target.with_name(target.name + ".partial")
    partial.write_text(dumps(document_of(circuit, **options)), encoding="utf-8")
    partial.replace(target)
    return lost(circuit)


def _read(document: Any, name: str) -> AttributionGraph:
    graph = parse(document, name)
    notes: list[str] = []
    sites: dict[str, int] = {}
    rows: dict[str, list[Any]] = {key: [] for key in ("site", "kind", "index", "position", "layer")}
    for node in graph.nodes:
        kind = FEATURE_TYPES[node.feature_type]
        layer, index = _place(node, kind, name)
        stem = _SITES.get(node.feature_type, "transcoder")
        site = stem if kind in ("token", "output") else f"{stem}.{layer}"
        rows["site"].append(sites.setdefault(site, len(sites)))
        rows["kind"].append(NODE_KINDS.index(kind))
        rows["index"].append(index)
        rows["position"].append(node.ctx_idx)
        rows["layer"].append(layer)
    source, target, unsure = ends(graph, rows["layer"], name)
    if unsure:
        notes.append(
            f"{unsure} links start at a name that an error node and a feature share; they were "
            "taken for the feature's"
        )
    activation = [np.nan if n.activation is None else n.activation for n in graph.nodes]
    nodes = Nodes(
        sites=tuple(sites),
        **{key: np.array(column, np.int32) for key, column in rows.items()},
        effect=shares(graph, source, target),
        activation=np.array(activation, np.float32),
        patch_activation=np.full(len(graph.nodes), np.nan, np.float32),
    )
    names = nodes.names()
    if len(names) != len(nodes):
        every = [nodes.name(row) for row in range(len(nodes))]
        twice = next(one for one in names if every.count(one) > 1)
        raise LoadError(f"{name}: node {twice!r} is there twice")
    scan = graph.metadata.scan
    made = AttributionGraph(
        provenance=Provenance(
            model=scan if isinstance(scan, str) else ", ".join(scan),
            model_fingerprint="",
            token_policy={},
            versions={},
            created=str((graph.metadata.model_extra or {}).get("created", "")) or "not stated",
        ),
        nodes=nodes,
        edges=Edges(
            source=source,
            target=target,
            weight=np.array([link.weight for link in graph.links], np.float32),
        ),
        tokens=tuple(graph.metadata.prompt_tokens),
        metric="output probability",
        method="attribution graph",
        baseline="none",
        settings={"prompt": graph.metadata.prompt, "slug": graph.metadata.slug},
        node_ids=tuple(node.node_id for node in graph.nodes),
        labels={
            name: node.clerp for name, node in zip(names, graph.nodes, strict=True) if node.clerp
        },
        influence=np.array(
            [np.nan if n.influence is None else n.influence for n in graph.nodes], np.float64
        ),
        source=dumps(document),
        notes=tuple(notes),
    )
    return _queried(made, graph)


def _place(node: Any, kind: str, name: str) -> tuple[int, int]:
    """Return layer and index of a node; the embedding is layer -1."""
    if kind == "token":
        parts = node.node_id.split("_")
        known = len(parts) == 3 and parts[1].isdecimal()
        return -1, int(parts[1]) if known else int(node.feature or 0)
    if not node.layer.lstrip("-").isdecimal():
        raise LoadError(f"{name}: node {node.node_id!r:.40} is at layer {node.layer!r:.20}")
    layer = int(node.layer)
    if kind == "error":
        return layer, -1
    if kind == "output":
        parts = node.node_id.split("_")
        index = int(parts[1]) if len(parts) == 3 and parts[1].isdecimal() else node.feature
        return layer, -1 if index is None else int(index)
    return layer, feature_index(node, layer)


def _queried(graph: AttributionGraph, file: GraphFile) -> AttributionGraph:
    names = graph._by_id
    pinned = [names[node] for node in file.qParams.pinnedIds if node in names]
    groups = [
        (row[0], [names[node] for node in row[1:] if node in names])
        for row in file.qParams.supernodes
        if row
    ]
    return dataclasses.replace(
        graph, pinned=tuple(dict.fromkeys(pinned)), supernodes=_supernodes(groups)
    )


def _supernodes(groups: Iterable[tuple[str, list[str]]]) -> tuple[Mapping[str, Any], ...]:
    return tuple(
        {"name": name, "nodes": nodes, "collapsed": True} for name, nodes in groups if nodes
    )


def _addressed(ids: Iterable[str]) -> tuple[GraphNode, ...]:
    """Return nodes whose names an address can hold; error nodes named with -1 cannot be."""
    found = []
    for node_id in ids:
        try:
            found.append(GraphNode.parse(node_id))
        except InputError:
            continue
    return tuple(found)

"""Supernodes: nodes of a circuit that stand for one thing, found by label or by direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from workbench.errors import InputError

if TYPE_CHECKING:
    from workbench.circuits.graph import Circuit

__all__ = ["NodeGroup", "group_by_label", "group_by_similarity"]


@dataclass(frozen=True, kw_only=True)
class NodeGroup:
    """Nodes that stand for one thing.

    Parameters
    ----------
    name
        What they stand for.
    nodes
        Their names, strongest effect first.
    """

    name: str
    nodes: tuple[str, ...]


def group_by_label(
    circuit: Circuit, labels: Sequence[str | None] | Mapping[str, str]
) -> list[NodeGroup]:
    """Group features of one label at one position, in every layer.

    Parameters
    ----------
    circuit
        The circuit.
    labels
        One per node, or by node name or feature.

    Returns
    -------
    list of NodeGroup
        Groups of two nodes and more, strongest total |effect| first. Labels that differ in case
        or surrounding space only are one.
    """
    given = _labels(circuit, labels)
    groups: dict[tuple[int, str], list[int]] = {}
    for row in np.flatnonzero(circuit.nodes.is_kind("feature")):
        label = given[int(row)]
        if label and label.strip():
            key = (int(circuit.nodes.position[row]), " ".join(label.casefold().split()))
            groups.setdefault(key, []).append(int(row))
    return _made(circuit, groups.values(), given)


def group_by_similarity(
    circuit: Circuit,
    session: Any,
    *,
    threshold: float = 0.6,
    labels: Sequence[str | None] | Mapping[str, str] = (),
) -> list[NodeGroup]:
    """Group features at one position whose decoder directions are alike, across sites.

    Average linkage over cosine distance: the mean cosine between two groups that are joined is at
    least `threshold`.

    Parameters
    ----------
    circuit
        The circuit.
    session
        The session whose SAEs hold the features.
    threshold
        Least mean cosine, between 0 and 1.
    labels
        Names groups after their strongest labelled member, as for `group_by_label`.

    Returns
    -------
    list of NodeGroup
        Groups of two nodes and more, strongest total |effect| first.

    Raises
    ------
    InputError
        The threshold is not between 0 and 1, or SAEs write to spaces of different size.
    """
    if not 0 < threshold <= 1:
        raise InputError(f"got threshold = {threshold}, expected a cosine above 0 and at most 1")
    nodes = circuit.nodes
    rows = [
        int(row)
        for row in np.flatnonzero(nodes.is_kind("feature"))
        if nodes.sites[int(nodes.site[row])] in session.saes
    ]
    groups: list[list[int]] = []
    for position in sorted({int(nodes.position[row]) for row in rows}):
        here = [row for row in rows if int(nodes.position[row]) == position]
        groups += _clusters(here, _directions(circuit, session, here), threshold)
    return _made(circuit, groups, _labels(circuit, labels))


def _labels(circuit: Circuit, labels: Sequence[str | None] | Mapping[str, str]) -> list[str | None]:
    if isinstance(labels, Mapping):
        names = circuit.nodes.names()
        return [labels.get(name, labels.get(name.partition("@")[0])) for name in names]
    if not labels:
        return [None] * len(circuit.nodes)
    if len(labels) != len(circuit.nodes):
        raise InputError(f"got {len(labels)} labels for {len(circuit.nodes)} nodes")
    return list(labels)


def _directions(circuit: Circuit, session: Any, rows: list[int]) -> Float[np.ndarray, "n d"]:
    nodes = circuit.nodes
    made: list[np.ndarray] = [np.zeros(0, np.float32)] * len(rows)
    for site in {int(nodes.site[row]) for row in rows}:
        here = [at for at, row in enumerate(rows) if int(nodes.site[row]) == site]
        index = [int(nodes.index[rows[at]]) for at in here]
        vectors = session.saes[nodes.sites[site]].decoder_rows(index).detach().float().cpu()
        for at, vector in zip(here, vectors.flatten(1).numpy(), strict=True):
            made[at] = vector / max(float(np.linalg.norm(vector)), 1e-12)
    if len({len(vector) for vector in made}) > 1:
        raise InputError("the SAEs write to spaces of different size: cosines are not defined")
    return np.array(made, np.float32)


def _clusters(
    rows: list[int], directions: Float[np.ndarray, "n d"], threshold: float
) -> list[list[int]]:
    if len(rows) < 2:
        return []
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    distance = np.clip(1 - directions @ directions.T, 0, 2).astype(np.float64)
    distance = (distance + distance.T) / 2
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average")
    member = fcluster(tree, 1 - threshold, "distance")
    return [[row for row, of in zip(rows, member, strict=True) if of == g] for g in set(member)]


def _made(circuit: Circuit, groups: Any, labels: list[str | None]) -> list[NodeGroup]:
    nodes, names = circuit.nodes, circuit.nodes.names()
    size = np.abs(nodes.effect)
    made = []
    for group in groups:
        if len(group) < 2:
            continue
        ranked = sorted(group, key=lambda row: (-float(size[row]), row))
        label = next((labels[row] for row in ranked if labels[row]), None)
        name = label or f"like {names[ranked[0]].partition('@')[0]}"
        made.append(
            (
                float(size[ranked].sum()),
                NodeGroup(name=name, nodes=tuple(names[row] for row in ranked)),
            )
        )
    return [group for _, group in sorted(made, key=lambda item: -item[0])]

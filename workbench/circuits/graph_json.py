"""Circuits as JSON: schema version, model, sites, prompts, settings, nodes, edges.

Columns are written as lists, so that tens of thousands of edges stay one readable, compact file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workbench.circuits.graph import Circuit
from workbench.circuits.tables import NODE_KINDS, Edges, Nodes, SiteSums
from workbench.errors import InputError, LoadError
from workbench.files import read_text
from workbench.types import Provenance

__all__ = ["SCHEMA", "read", "write"]

SCHEMA = 1
_KIND = "workbench circuit"
_MOST_BYTES = 2**30
_NODE_COLUMNS = ("site", "kind", "index", "position", "layer")
_NODE_FLOATS = ("effect", "activation", "patch_activation")
_PLAIN = ("metric", "method", "aggregate", "baseline", "node_threshold", "edge_threshold")


class _Nodes(BaseModel):
    model_config = ConfigDict(extra="ignore")
    site: list[int]
    kind: list[str]
    index: list[int]
    position: list[int]
    layer: list[int]
    effect: list[float | None]
    activation: list[float | None]
    patch_activation: list[float | None]


class _Edges(BaseModel):
    model_config = ConfigDict(extra="ignore")
    source: list[int]
    target: list[int]
    weight: list[float | None]


class _Sums(BaseModel):
    model_config = ConfigDict(extra="ignore")
    sites: list[str]
    effects: list[float | None]
    change: list[float | None]


class _File(BaseModel):
    # Unknown keys of a file of this schema are ignored, wrong types are not.
    model_config = ConfigDict(extra="ignore", strict=True)
    kind: Literal["workbench circuit"]
    schema_version: int
    provenance: dict[str, Any]
    sites: list[str]
    nodes: _Nodes
    edges: _Edges
    tokens: list[str] = Field(default_factory=list)
    patch_tokens: list[str] = Field(default_factory=list)
    prompts: list[dict[str, Any]] = Field(default_factory=list)
    dropped: dict[str, int] = Field(default_factory=dict)
    metric: str
    method: str
    aggregate: str
    baseline: str
    node_threshold: float
    edge_threshold: float
    n_candidates: int
    m_clean: float | None
    m_patch: float | None
    sums: _Sums | None = None
    settings: dict[str, Any] = Field(default_factory=dict)


def write(circuit: Circuit, path: str | Path | None = None) -> str:
    """Return a circuit as JSON text, and write it to a file where one is named.

    Parameters
    ----------
    circuit
        The circuit.
    path
        File; written to a partial name first, so that it is whole or not there.
    """
    nodes, edges, sums = circuit.nodes, circuit.edges, circuit.sums
    document: dict[str, Any] = {
        "kind": _KIND,
        "schema_version": SCHEMA,
        "provenance": circuit.provenance.to_dict(),
        **{name: getattr(circuit, name) for name in _PLAIN},
        "n_candidates": circuit.n_candidates,
        "m_clean": _number(circuit.m_clean),
        "m_patch": _number(circuit.m_patch),
        "tokens": list(circuit.tokens),
        "patch_tokens": list(circuit.patch_tokens),
        "prompts": [dict(prompt) for prompt in circuit.prompts],
        "dropped": dict(circuit.dropped),
        "settings": dict(circuit.settings),
        "sites": list(nodes.sites),
        "nodes": {
            **{name: getattr(nodes, name).tolist() for name in _NODE_COLUMNS},
            "kind": [NODE_KINDS[code] for code in nodes.kind],
            **{name: _floats(getattr(nodes, name)) for name in _NODE_FLOATS},
        },
        "edges": {
            "source": edges.source.tolist(),
            "target": edges.target.tolist(),
            "weight": _floats(edges.weight),
        },
        "sums": None
        if sums is None
        else {
            "sites": list(sums.sites),
            "effects": _floats(sums.effects),
            "change": _floats(sums.change),
        },
    }
    text = json.dumps(document, allow_nan=False, ensure_ascii=False, default=_plain)
    if path is not None:
        target = Path(path).expanduser()
        partial = target.with_name(target.name + ".partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(target)
    return text


def read(source: str | Path) -> Circuit:
    """Read a circuit from a JSON file or text.

    Parameters
    ----------
    source
        A path, or the text itself (which starts with a brace).

    Raises
    ------
    LoadError
        Missing, larger than 1 GiB, not a circuit, of a newer schema, or inconsistent.
    """
    text, name = _text(source)
    try:
        document = json.loads(text)
    except ValueError as error:
        raise LoadError(f"{name} is not JSON ({error})") from error
    if not isinstance(document, Mapping) or document.get("kind") != _KIND:
        raise LoadError(f'{name} is not a circuit: expected "kind": "{_KIND}"')
    found = document.get("schema_version")
    if found != SCHEMA:
        raise LoadError(
            f"{name} has schema version {found!r}, this version reads {SCHEMA}; update the "
            "workbench"
        )
    try:
        file = _File.model_validate(document)
        return _build(file)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise LoadError(f"{name} does not fit the schema at {where!r}: {first['msg']}") from error
    except (InputError, TypeError, OverflowError) as error:
        raise LoadError(f"{name} is not consistent: {error}") from error


def _text(source: str | Path) -> tuple[str, str]:
    if isinstance(source, str) and source.lstrip()[:1] == "{":
        return source, "the text"
    path = Path(source).expanduser()
    return read_text(path, _MOST_BYTES), path.name


def _build(file: _File) -> Circuit:
    kinds = [NODE_KINDS.index(kind) if kind in NODE_KINDS else -1 for kind in file.nodes.kind]
    if -1 in kinds:
        raise InputError(
            f"node kind {file.nodes.kind[kinds.index(-1)]!r}, expected one of {NODE_KINDS}"
        )
    columns = {name: getattr(file.nodes, name) for name in _NODE_COLUMNS if name != "kind"}
    floats = {name: _from_floats(getattr(file.nodes, name)) for name in _NODE_FLOATS}
    # Checked before it becomes an array of 8 bits.
    nodes = Nodes(sites=tuple(file.sites), kind=np.array(kinds, np.int8), **columns, **floats)
    edges = Edges(
        source=np.array(file.edges.source, np.int32),
        target=np.array(file.edges.target, np.int32),
        weight=_from_floats(file.edges.weight),
    )
    sums = None
    if file.sums is not None:
        sums = SiteSums(
            sites=tuple(file.sums.sites),
            effects=_from_floats(file.sums.effects),
            change=_from_floats(file.sums.change),
        )
    return Circuit(
        provenance=Provenance.from_dict(file.provenance),
        nodes=nodes,
        edges=edges,
        tokens=tuple(file.tokens),
        patch_tokens=tuple(file.patch_tokens),
        prompts=tuple(file.prompts),
        dropped=file.dropped,
        n_candidates=file.n_candidates,
        m_clean=_back(file.m_clean),
        m_patch=_back(file.m_patch),
        sums=sums,
        settings=file.settings,
        **{name: getattr(file, name) for name in _PLAIN},
    )


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _back(value: float | None) -> float:
    return math.nan if value is None else value


def _floats(values: np.ndarray) -> list[float | None]:
    # The shortest decimal that reads back as the same float32.
    return [float(str(value)) if np.isfinite(value) else None for value in values]


def _from_floats(values: list[float | None]) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} cannot be written to a circuit file")

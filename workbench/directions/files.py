"""A direction as two files: the vector as safetensors, everything else as JSON.

Both are untrusted when read: sizes are checked before anything is parsed, the JSON against a
pydantic model, the vector's shape and dtype from the header alone, and a digest in the JSON ties
the two together.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from workbench.errors import InputError, LoadError, SaeError
from workbench.saes.checks import safetensors_shapes
from workbench.types import Provenance

if TYPE_CHECKING:
    from workbench.directions.direction import Direction

__all__ = ["read_direction", "write_direction"]

FORMAT = "workbench direction"
SCHEMA = 1

_MOST_JSON = 4 << 20
_WIDEST = 1 << 22


class _ProvenanceFile(BaseModel):
    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    model: str = Field(max_length=1_000)
    model_fingerprint: str = Field(max_length=200)
    saes: tuple[str, ...] = ()
    token_policy: dict[str, JsonValue] = {}
    device: str = "cpu"
    dtype: str = "float32"
    versions: dict[str, str] = {}
    seed: int | None = None
    created: str = ""


class _DirectionFile(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    format: Literal["workbench direction"]
    schema_: Literal[1] = Field(alias="schema")
    name: str = Field(max_length=2_000)
    site: str = Field(min_length=1, max_length=200)
    method: str = Field(max_length=200)
    d: int = Field(ge=1, le=_WIDEST)
    scale: float | None = None
    bias: float = 0.0
    norm: float = Field(default=1.0, gt=0)
    positive: str = Field(default="", max_length=20_000)
    negative: str = Field(default="", max_length=20_000)
    details: dict[str, JsonValue] = {}
    vector: str = Field(pattern=r"^blake2b:[0-9a-f]{32}$")
    provenance: _ProvenanceFile


_FIELDS = ("name", "site", "method", "scale", "bias", "norm", "positive", "negative", "details")


def _pair(path: Path) -> tuple[Path, Path]:
    base = path.with_suffix("") if path.suffix in (".safetensors", ".json") else path
    return base.with_name(base.name + ".safetensors"), base.with_name(base.name + ".json")


def _digest(data: bytes) -> str:
    return "blake2b:" + hashlib.blake2b(data, digest_size=16).hexdigest()


def write_direction(direction: Direction, path: Path) -> Path:
    """Write a direction as ``path.safetensors`` and ``path.json``.

    Returns
    -------
    Path
        The safetensors file.

    Raises
    ------
    InputError
        The direction's details cannot be written as JSON.
    """
    from safetensors.numpy import save

    tensors, described = _pair(path)
    payload = save({"vector": np.ascontiguousarray(direction.vector)})
    document: dict[str, Any] = {"format": FORMAT, "schema": SCHEMA, "d": direction.d}
    document |= {name: getattr(direction, name) for name in _FIELDS}
    document |= {"vector": _digest(payload), "provenance": direction.provenance.to_dict()}
    document["details"] = dict(direction.details)
    try:
        text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"direction {direction.name!r} cannot be written as JSON: {error}"
        ) from error
    # Both are complete before either is in place; a vector that is not the description's own is
    # found by the digest.
    parts = [(tensors, payload), (described, text.encode())]
    for target, data in parts:
        target.with_name(target.name + ".partial").write_bytes(data)
    for target, _ in parts:
        target.with_name(target.name + ".partial").replace(target)
    return tensors


def read_direction(path: Path) -> tuple[dict[str, Any], Provenance]:
    """Read the pair of files of a direction.

    Returns
    -------
    dict, Provenance
        The fields of `Direction`, and where it came from.

    Raises
    ------
    LoadError
        A file is missing, damaged, too large, or the two do not belong together.
    """
    tensors, described = _pair(path)
    for file, most in ((described, _MOST_JSON), (tensors, _WIDEST * 4 + (1 << 20))):
        if not file.is_file():
            raise LoadError(f"no file {file.name!r}; a direction is a .safetensors and a .json")
        if file.stat().st_size > most:
            raise LoadError(f"{file.name} has {file.stat().st_size:,} bytes, at most {most:,}")
    try:
        found = _DirectionFile.model_validate_json(described.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise LoadError(
            f"{described.name} is not a direction: {where}: {first['msg']} "
            f"({error.error_count()} problems)"
        ) from error
    try:
        shapes = safetensors_shapes(tensors)
    except SaeError as error:
        raise LoadError(str(error)) from error
    if shapes != {"vector": (found.d,)}:
        raise LoadError(f"{tensors.name} holds {shapes}, expected one vector of {found.d} numbers")
    payload = tensors.read_bytes()
    if _digest(payload) != found.vector:
        raise LoadError(f"{tensors.name} is not the vector that {described.name} describes")
    from safetensors.numpy import load

    vector = load(payload)["vector"]
    if vector.dtype != np.float32 or not np.isfinite(vector).all() or not vector.any():
        raise LoadError(
            f"{tensors.name}: expected finite float32 numbers, not all of them 0, "
            f"got {vector.dtype}"
        )
    fields = {name: getattr(found, name) for name in _FIELDS} | {"vector": vector}
    return fields, Provenance.from_dict(found.provenance.model_dump())

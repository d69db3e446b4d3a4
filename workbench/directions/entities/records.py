"""Entities with their attributes: what a list of them is, and where lists come from.

A list may be the bundled one (real, well-known entities and invented names), a file in the
published layout, names by type, or records with the fields of that layout.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias

from workbench.errors import InputError, LoadError, unknown
from workbench.files import check_file
from workbench.results import storable

__all__ = ["TYPES", "Entity", "EntitySource", "bundled", "entity_list", "write_entities"]

TYPES = ("player", "movie", "city", "song")
"""Types of the bundled list."""

_MOST_BYTES = 64 << 20
_LONGEST = 500


@storable
@dataclass(frozen=True, kw_only=True)
class Entity:
    """A thing with a name, and what is true of it.

    Parameters
    ----------
    name
        The name as a prompt writes it.
    type
        What it is: ``"player"``, ``"movie"``, ``"city"``, ``"song"`` or a type of one's own.
    attributes
        Attribute to the values that count as right, the usual one first. Empty for an invented
        entity.
    known
        Whether the model is taken to know it; None to find out by asking.
    """

    name: str
    type: str
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    known: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the entity in the published layout; `known` is added where it is given."""
        row: dict[str, Any] = {
            "entity": self.name,
            "entity_type": self.type,
            "attributes": [
                {
                    "attribute_type": name,
                    "attribute_value": values[0] if len(values) == 1 else list(values),
                }
                for name, values in self.attributes.items()
            ],
        }
        return row if self.known is None else {**row, "known": self.known}


EntitySource: TypeAlias = "str | Path | Mapping[str, Iterable[str]] | Iterable[Any]"
"""What `entity_list` takes."""


def entity_list(source: EntitySource, *, known: bool | None = None) -> tuple[Entity, ...]:
    """Read a list of entities.

    Parameters
    ----------
    source
        A file in the published layout (a JSON list, or JSON lines, of ``{entity, entity_type,
        attributes: [{attribute_type, attribute_value}]}``, with an optional ``known``; a value may
        be a list of values that all count as right); names by type,
        ``{"city": ["Paris", ...]}``; `Entity` objects; rows of that layout; or a set of them with
        a ``to_dicts`` method.
    known
        Whether all of them are known, where the rows do not say; None to leave it open.

    Returns
    -------
    tuple of Entity
        In order; the same name and type twice is one entity.

    Raises
    ------
    LoadError
        The file cannot be read or is not in that layout.
    InputError
        A row is not in that layout, or there are none.
    """
    if isinstance(source, str | Path):
        rows = _read_file(Path(source).expanduser())
    elif isinstance(source, Mapping):
        rows = [
            {"entity": name, "entity_type": kind}
            for kind, names in source.items()
            for name in names
        ]
    elif hasattr(source, "to_dicts"):
        rows = source.to_dicts()
    else:
        rows = list(source)
    found: dict[tuple[str, str], Entity] = {}
    for number, row in enumerate(rows):
        entity = row if isinstance(row, Entity) else _parse(row, number)
        if entity.known is None and known is not None:
            entity = Entity(
                name=entity.name, type=entity.type, attributes=entity.attributes, known=known
            )
        found.setdefault((entity.type, entity.name), entity)
    if not found:
        raise InputError("the list of entities is empty: expected at least one")
    return tuple(found.values())


def bundled(
    types: Iterable[str] = TYPES, *, real: bool = True, invented: bool = True
) -> tuple[Entity, ...]:
    """Return the bundled entities: well-known real ones with attributes, and invented names.

    The real ones and their attributes were written for this package from common knowledge; nothing
    is true of the invented ones, which are therefore given as unknown.

    Parameters
    ----------
    types
        Which types.
    real, invented
        Which of the two.

    Raises
    ------
    InputError
        A type is none of the bundled ones.
    """
    chosen = []
    for kind in types:
        if kind not in TYPES:
            raise InputError(unknown("entity type", str(kind), TYPES))
        chosen += [
            entity for entity in _bundled(kind) if (invented if entity.known is False else real)
        ]
    return tuple(chosen)


def write_entities(entities: Iterable[Entity], path: str | Path) -> Path:
    """Write entities to a JSON file in the published layout.

    Parameters
    ----------
    entities
        The entities.
    path
        The file; replaced whole.
    """
    target = Path(path).expanduser()
    partial = target.with_name(target.name + ".partial")
    rows = [entity.to_dict() for entity in entities]
    partial.write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return partial.replace(target)


@functools.cache
def _bundled(kind: str) -> tuple[Entity, ...]:
    folder = resources.files("workbench.directions.entities") / "data"
    text = (folder / f"{kind}.json").read_text(encoding="utf-8")
    return entity_list(json.loads(text))


def _read_file(path: Path) -> list[Any]:
    check_file(path, _MOST_BYTES)
    try:
        text = path.read_text(encoding="utf-8")
        if text.lstrip().startswith("["):
            rows = json.loads(text)
        else:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise LoadError(f"{path.name} is neither a JSON list nor JSON lines: {error}") from error
    try:
        return list(entity_list(rows)) if rows else []
    except InputError as error:
        raise LoadError(f"{path.name}: {error}") from error


def _parse(row: Any, number: int) -> Entity:
    from pydantic import ValidationError

    try:
        read = _row_model().model_validate(row)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the row"
        raise InputError(
            f"entity {number}: {where}: {first['msg']}; expected {{entity, entity_type, "
            "attributes: [{attribute_type, attribute_value}]}"
        ) from error
    attributes: dict[str, tuple[str, ...]] = {}
    for part in read.attributes:
        given = part.attribute_value
        values = given if isinstance(given, list) else [given]
        if values:
            texts = tuple(str(value) for value in values)
            attributes[part.attribute_type] = attributes.get(part.attribute_type, ()) + texts
    return Entity(
        name=read.entity.strip(), type=read.entity_type, attributes=attributes, known=read.known
    )


@functools.cache
def _row_model() -> Any:
    from pydantic import BaseModel, Field

    class AttributeRow(BaseModel):
        attribute_type: str = Field(min_length=1, max_length=_LONGEST)
        attribute_value: str | int | float | list[str | int | float]

    class EntityRow(BaseModel):
        entity: str = Field(min_length=1, max_length=_LONGEST, pattern=r"\S")
        entity_type: str = Field(min_length=1, max_length=_LONGEST)
        attributes: list[AttributeRow] = Field(default_factory=list)
        known: bool | None = None

    return EntityRow

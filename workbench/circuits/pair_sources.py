"""Where prompt pairs come from: files, tables, tuples and objects, as rows of plain fields."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from workbench.errors import InputError, LoadError
from workbench.files import read_text

__all__ = ["FIELDS", "read_fields", "read_items"]

FIELDS = ("clean_prefix", "patch_prefix", "clean_answer", "patch_answer", "case")
_MOST_BYTES = 2**30


class _Row(BaseModel):
    """One example as files and tables give it."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)
    clean_prefix: str
    patch_prefix: str | None = None
    clean_answer: str | None = None
    patch_answer: str | None = None
    case: str | None = None


def read_items(source: Any) -> list[Any]:
    """Return the single examples of a source, as they come."""
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        missing = [name for name in ("clean_prefix",) if name not in source.columns]
        if missing:
            raise InputError(
                f"the table has columns {list(source.columns)}, expected clean_prefix and, for "
                "pairs, patch_prefix, clean_answer, patch_answer"
            )
        return list(source.astype(object).where(source.notna(), None).to_dict("records"))
    if isinstance(source, Path) or (isinstance(source, str) and _names_a_file(source)):
        return _read_file(Path(source).expanduser())
    if isinstance(source, str):
        return [source]
    if isinstance(source, tuple) and source and all(isinstance(part, str) for part in source):
        return [source]
    try:
        return list(source)
    except TypeError as error:
        raise InputError(
            f"got {type(source).__name__} for pairs, expected a file, a DataFrame or a list"
        ) from error


def _names_a_file(text: str) -> bool:
    return text.endswith((".json", ".jsonl")) and "\n" not in text


def _read_file(path: Path) -> list[Any]:
    text = read_text(path, _MOST_BYTES)
    if text.lstrip()[:1] == "[":
        try:
            return list(json.loads(text))
        except ValueError as error:
            raise LoadError(f"{path.name} is not JSON ({error})") from error
    items = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            items.append(json.loads(line))
        except ValueError as error:
            raise LoadError(f"{path.name} line {number} is not JSON ({error})") from error
    return items


def read_fields(item: Any, row: int) -> dict[str, Any]:
    """Return the fields of one example, checked.

    Parameters
    ----------
    item
        A prompt, a mapping, an object with the fields, or a tuple.
    row
        Its number, for messages.

    Raises
    ------
    InputError
        It has no such form.
    """
    if isinstance(item, str):
        return {"clean_prefix": item}
    data = _fields(item, row)
    try:
        found = _Row.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise InputError(
            f"example {row}: {name!r} {first['msg'].lower()}; it has {sorted(map(str, data))}"
        ) from error
    return {**found.model_dump(), "case": found.case or ""}


def _fields(item: Any, row: int) -> dict[str, Any]:
    if isinstance(item, Mapping):
        return dict(item)
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}
    if isinstance(item, tuple | list):
        if len(item) in (4, 5):
            return dict(zip(FIELDS, item, strict=False))
        if len(item) == 2:
            return {"clean_prefix": item[0], "clean_answer": item[1]}
        raise InputError(
            f"example {row} has {len(item)} parts, expected (clean, patch, clean_answer, "
            "patch_answer) or (prompt, answer)"
        )
    raise InputError(f"example {row} is {type(item).__name__}, expected a mapping or a tuple")

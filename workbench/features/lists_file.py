"""The file feature lists are kept in: what it holds, read with care and written whole."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.errors import InputError, LoadError
from workbench.features.refs import FeatureRef, FeatureSet

__all__ = [
    "Annotation",
    "Contents",
    "NamedList",
    "check_colour",
    "check_name",
    "check_text",
    "from_json",
    "read_bytes",
    "to_json",
    "write_bytes",
]

FORMAT = "workbench feature lists"
SCHEMA = 1

_MOST_BYTES = 256 << 20
_LONGEST = 20_000
_LONGEST_NAME = 200
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """What somebody noted of one feature.

    Parameters
    ----------
    label
        Short label, None without one. Untrusted text.
    note
        Anything longer. Untrusted text.
    colour
        ``#rrggbb``, None without one.
    other_labels
        Labels others gave it.
    extra
        Names in the file that are not known here, kept.
    """

    label: str | None = None
    note: str = ""
    colour: str | None = None
    other_labels: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class NamedList:
    """A list of features.

    Parameters
    ----------
    features
        The features, in order.
    note
        What the list is about. Untrusted text.
    colour
        ``#rrggbb``, None without one.
    extra
        Names in the file that are not known here, kept.
    """

    features: FeatureSet = FeatureSet()
    note: str = ""
    colour: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class Contents:
    """Everything in a file.

    Parameters
    ----------
    model
        Name of the model whose features these are, None where that is open.
    features
        Annotations by feature.
    lists
        Lists by name.
    extra
        Names in the file that are not known here, kept.
    """

    model: str | None = None
    features: dict[FeatureRef, Annotation] = field(default_factory=dict)
    lists: dict[str, NamedList] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the contents as JSON-ready data; what is empty is left out."""
        features = {
            str(ref): _stated(
                label=found.label,
                note=found.note,
                colour=found.colour,
                other_labels=list(found.other_labels),
            )
            | dict(found.extra)
            for ref, found in self.features.items()
        }
        lists = {
            name: _stated(note=found.note, colour=found.colour)
            | {"features": [str(ref) for ref in found.features]}
            | dict(found.extra)
            for name, found in self.lists.items()
        }
        head = {"format": FORMAT, "schema": SCHEMA, "model": self.model}
        return {**head, **self.extra, "features": features, "lists": lists}


def _stated(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


# -- checks ------------------------------------------------------------------------------------


def check_text(text: str, what: str) -> str:
    """Check a label or note and return it.

    Raises
    ------
    InputError
        Not text, longer than 20,000 characters, or with half a character in it.
    """
    if not isinstance(text, str):
        raise InputError(f"{what}: expected text, got {type(text).__name__}")
    if len(text) > _LONGEST:
        raise InputError(f"{what}: {len(text):,} characters, at most {_LONGEST:,}")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError(f"{what}: half of a character (a lone surrogate) cannot be written")
    return text


def check_name(name: str) -> str:
    """Check a list's name and return it.

    Raises
    ------
    InputError
        Empty, all space, or longer than 200 characters.
    """
    check_text(name, "name of a list")
    if not name.strip() or len(name) > _LONGEST_NAME:
        raise InputError(
            f"name of a list: expected 1 to {_LONGEST_NAME} characters, got {name[:40]!r}"
        )
    return name


def check_colour(colour: str) -> str:
    """Check a colour and return it in lower case; an empty text stays.

    Raises
    ------
    InputError
        Not ``#rrggbb``.
    """
    if not isinstance(colour, str) or (colour and not _COLOUR.fullmatch(colour)):
        raise InputError(f"a colour is written '#rrggbb', such as '#0072b2'; got {colour!r:.40}")
    return colour.lower()


# -- JSON --------------------------------------------------------------------------------------


def read_bytes(path: Path) -> bytes:
    """Read a file of bounded size.

    Raises
    ------
    LoadError
        There is none, or it is larger than 256 MiB.
    """
    if not path.is_file():
        raise LoadError(f"no file {str(path)!r}")
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise LoadError(f"{path.name}: {size:,} bytes, at most {_MOST_BYTES:,} expected")
    return path.read_bytes()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The process number keeps two writers from one unfinished file.
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def to_json(contents: Contents) -> bytes:
    """Write contents as JSON for people: one thing on a line, in order, as UTF-8."""
    return (json.dumps(contents.to_dict(), indent=2, ensure_ascii=False) + "\n").encode()


def from_json(data: bytes, where: str) -> Contents:
    """Read contents from JSON.

    Raises
    ------
    LoadError
        Not JSON, another format, a newer schema, one name twice, a name that is nearly one that is
        known, or a value that does not fit; the message says where.
    """
    try:
        found = json.loads(data, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise LoadError(f"{where}: not valid JSON ({error})") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise LoadError(f'{where}: not a file of feature lists: expected "format": "{FORMAT}"')
    if found.get("schema") != SCHEMA:
        raise LoadError(
            f"{where}: schema {found.get('schema')!r}, this version reads {SCHEMA}; update the "
            "workbench"
        )
    try:
        return _contents(found)
    except InputError as error:
        raise LoadError(f"{where}: {error}") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{double!r:.80} is there twice in one object; keep one of the two")
    return found


def _contents(found: dict[str, Any]) -> Contents:
    known = ("format", "schema", "model", "features", "lists")
    extra = _others(found, known, "the file")
    model = found.get("model")
    if model is not None and not isinstance(model, str):
        raise InputError(f"model: expected text or null, got {model!r:.40}")
    features = {
        FeatureRef.parse(name): _annotation(entry, f"features[{name!r:.60}]")
        for name, entry in _object(found.get("features", {}), "features").items()
    }
    lists = {
        check_name(name): _list(entry, f"lists[{name!r:.60}]")
        for name, entry in _object(found.get("lists", {}), "lists").items()
    }
    return Contents(model=model, features=features, lists=lists, extra=extra)


def _annotation(entry: Any, where: str) -> Annotation:
    found = _object(entry, where)
    known = ("label", "note", "colour", "other_labels")
    others = found.get("other_labels", [])
    if not isinstance(others, list):
        raise InputError(f"{where}: other_labels: expected a list, got {others!r:.40}")
    return Annotation(
        label=_text(found, "label", where) or None,
        note=_text(found, "note", where),
        colour=_colour(found, where),
        other_labels=tuple(check_text(text, f"{where}: other_labels") for text in others),
        extra=_others(found, known, where),
    )


def _list(entry: Any, where: str) -> NamedList:
    found = _object(entry, where)
    features = found.get("features", [])
    if not isinstance(features, list):
        raise InputError(f"{where}: features: expected a list, got {features!r:.40}")
    try:
        refs = FeatureSet.of(features)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return NamedList(
        features=refs,
        note=_text(found, "note", where),
        colour=_colour(found, where),
        extra=_others(found, ("features", "note", "colour"), where),
    )


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object, got {value!r:.40}")
    return value


def _text(found: Mapping[str, Any], name: str, where: str) -> str:
    value = found.get(name)
    return "" if value is None else check_text(value, f"{where}: {name}")


def _colour(found: Mapping[str, Any], where: str) -> str | None:
    value = found.get("colour")
    try:
        return None if value is None else check_colour(value) or None
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _others(found: Mapping[str, Any], known: tuple[str, ...], where: str) -> dict[str, Any]:
    """Return the entries of unknown names; a near miss of a known one is a slip, not a name."""
    extra = {name: value for name, value in found.items() if name not in known}
    for name in extra:
        near = difflib.get_close_matches(name.lower(), known, 1, cutoff=0.8)
        if near:
            raise InputError(f"{where}: {name!r}: did you mean {near[0]!r}?")
    return extra

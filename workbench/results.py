"""What every instrument returns: a frozen result that can be a table, a file, a picture, a view.

A result is a frozen, keyword-only dataclass of numpy arrays and plain values. It knows nothing of
the session but may be bound to one, so that its view can ask for more; read from a file it stands
alone.
"""

from __future__ import annotations

import dataclasses
import importlib
import io
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from workbench.errors import InputError, LoadError
from workbench.types import Provenance

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Result", "load", "storable"]

SCHEMA = 1
_MOST_BYTES = 4 * 2**30
_STORED: dict[str, type] = {}
_Class = TypeVar("_Class", bound=type)


def storable(cls: _Class) -> _Class:
    """Class decorator: allow a dataclass inside saved results."""
    _STORED[f"{cls.__module__}:{cls.__qualname__}"] = cls
    return cls


storable(Provenance)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Result:
    """Base of every result.

    Parameters
    ----------
    provenance
        What the result was computed from.
    """

    # Where the view of a kind of result is, "module:class". Named, not imported: rooms do not use
    # the widgets, and a result needs none until it is shown.
    view_class: ClassVar[str | None] = None

    provenance: Provenance

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        storable(cls)

    def to_pandas(self) -> pd.DataFrame:
        """Return the result as a DataFrame."""
        raise InputError(f"{type(self).__name__} has no table form")

    def view(self, **options: Any) -> Any:
        """Return a new widget that shows the result.

        Parameters
        ----------
        **options
            Traits of the view to start with.

        Raises
        ------
        InputError
            This kind of result has no view.
        """
        if self.view_class is None:
            raise InputError(f"{type(self).__name__} has no view; use .to_pandas()")
        module, _, name = self.view_class.partition(":")
        return getattr(importlib.import_module(module), name)(self, **options)

    @property
    def session(self) -> Any:
        """The session the result is bound to, None for one read from a file."""
        return self.__dict__.get("_session")

    def bound_to(self, session: Any) -> Self:
        """Bind the result to a session, so that its view can ask for more; returns itself."""
        self.__dict__["_session"] = session
        return self

    def summary(self) -> str:
        """Return one line that says what the result is."""
        return type(self).__name__

    def __repr__(self) -> str:
        return f"<{self.summary()}>"

    def _repr_mimebundle_(self, **options: Any) -> Any:
        if self.view_class is None:
            return {"text/plain": repr(self), "text/html": self._repr_html_()}
        # Kept, so that showing the same result twice shows the same widget.
        view = self.__dict__.setdefault("_view", None) or self.view()
        self.__dict__["_view"] = view
        return view._repr_mimebundle_(**options)

    def _repr_html_(self) -> str:
        import html

        rows = self.to_pandas().head(20)
        return f"<div>{html.escape(self.summary())}</div>{rows.to_html(escape=True)}"

    def save(self, path: str | Path) -> Path:
        """Write the result to one file that `workbench.load` reads back.

        Parameters
        ----------
        path
            Target; ``.wb`` is added where it has no suffix. Written whole or not at all.

        Returns
        -------
        Path
            The file.
        """
        import numpy as np

        target = Path(path).expanduser()
        target = target if target.suffix else target.with_suffix(".wb")
        arrays: dict[str, np.ndarray] = {}
        document = {"schema": SCHEMA, "result": _encode(self, arrays)}
        partial = target.with_name(target.name + ".partial")
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("result.json", json.dumps(document, allow_nan=False))
            for name, array in arrays.items():
                buffer = io.BytesIO()
                np.save(buffer, array, allow_pickle=False)
                archive.writestr(f"{name}.npy", buffer.getvalue())
        partial.replace(target)
        return target


def load(path: str | Path) -> Result:
    """Read a result that `Result.save` wrote.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Result
        Not bound to a session.

    Raises
    ------
    LoadError
        Not such a file, damaged, larger than 4 GiB unpacked, or written by a newer version.
    """
    import numpy as np

    source = Path(path).expanduser()
    if not source.is_file():
        raise LoadError(f"no file {str(source)!r}")
    try:
        with zipfile.ZipFile(source) as archive:
            total = sum(entry.file_size for entry in archive.infolist())
            if total > _MOST_BYTES:
                raise LoadError(f"{source.name} unpacks to {total} bytes, at most {_MOST_BYTES}")
            document = json.loads(archive.read("result.json"))
            arrays = {
                name.removesuffix(".npy"): np.load(
                    io.BytesIO(archive.read(name)), allow_pickle=False
                )
                for name in archive.namelist()
                if name.endswith(".npy")
            }
    except (zipfile.BadZipFile, KeyError, EOFError, ValueError) as error:
        if isinstance(error, LoadError):
            raise
        raise LoadError(f"{source.name} is not a saved result, or is damaged ({error})") from error
    found = document.get("schema")
    if found != SCHEMA:
        raise LoadError(
            f"{source.name} has schema {found!r}, this version reads {SCHEMA}; update the workbench"
        )
    try:
        result = _decode(document["result"], arrays)
    except (KeyError, TypeError, AttributeError, ImportError) as error:
        raise LoadError(f"{source.name} does not fit its type ({error!r})") from error
    if not isinstance(result, Result):
        raise LoadError(f"{source.name} holds a {type(result).__name__}, expected a result")
    return result


def _encode(value: Any, arrays: dict[str, Any]) -> Any:
    import numpy as np

    if isinstance(value, np.ndarray):
        name = f"a{len(arrays)}"
        arrays[name] = value
        return {"$array": name}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = f"{type(value).__module__}:{type(value).__qualname__}"
        if kind not in _STORED:
            raise InputError(f"{kind} cannot be saved: it is not storable")
        fields = {
            field.name: _encode(getattr(value, field.name), arrays)
            for field in dataclasses.fields(value)
        }
        return {"$type": kind, "fields": fields}
    if isinstance(value, Mapping):
        return {"$map": [[_encode(k, arrays), _encode(v, arrays)] for k, v in value.items()]}
    if isinstance(value, tuple | list):
        return {"$seq": [_encode(item, arrays) for item in value]}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise InputError(f"a {type(value).__name__} cannot be saved in a result")


def _decode(data: Any, arrays: Mapping[str, Any]) -> Any:
    if not isinstance(data, dict):
        return data
    if "$array" in data:
        return arrays[data["$array"]]
    if "$map" in data:
        return {_decode(k, arrays): _decode(v, arrays) for k, v in data["$map"]}
    if "$seq" in data:
        return tuple(_decode(item, arrays) for item in data["$seq"])
    if "$float" in data:
        return float(data["$float"])
    kind = data["$type"]
    module, _, _ = kind.partition(":")
    # Only this package's own dataclasses can be built, whatever the file names.
    if kind not in _STORED and module.split(".")[0] == "workbench":
        importlib.import_module(module)
    cls = _STORED[kind]
    return cls(**{name: _decode(value, arrays) for name, value in data["fields"].items()})

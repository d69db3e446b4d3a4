"""What is read from another tool's file: a dashboard, and what of the file it cannot hold."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import pydantic

from workbench.errors import LoadError
from workbench.features.dashboard import Dashboard
from workbench.interchange.urls import feature_url
from workbench.types import Provenance

__all__ = [
    "UNKNOWN",
    "Imported",
    "Layout",
    "Row",
    "SaeFacts",
    "differences",
    "kept",
    "parsed",
    "text",
    "unstated",
]

Layout = Literal["saedashboard", "neuronpedia", "circuit_tracer"]

UNKNOWN = -1
"""Stands for a token id or a document number that a file does not state."""

_TOLERANCE = 1e-9
_HALF = re.compile("[\ud800-\udfff]")
_RowT = TypeVar("_RowT", bound="Row")


class Row(pydantic.BaseModel):
    """Base of the models files are checked against: names they do not know are kept."""

    model_config = pydantic.ConfigDict(extra="allow", frozen=True)


class _AttachedSae(Protocol):
    """The part of an attached SAE that is read here."""

    name: str

    @property
    def d_sae(self) -> int: ...

    @property
    def architecture(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class SaeFacts:
    """What a dashboard says of its SAE and dashboard files do not.

    Parameters
    ----------
    name
        Name the SAE is attached under, which references to its features begin with.
    site, out_site
        Where it reads and writes.
    d_sae
        Number of features; 0 where unknown.
    architecture
        SAELens architecture name.
    neuronpedia_id
        ``model/source`` on Neuronpedia, None without one.
    """

    name: str
    site: str = ""
    out_site: str = ""
    d_sae: int = 0
    architecture: str = ""
    neuronpedia_id: str | None = None

    @classmethod
    def of(cls, sae: _AttachedSae) -> SaeFacts:
        """Read the facts from an attached SAE.

        Parameters
        ----------
        sae
            A `workbench.saes.Sae`.
        """
        site, out_site = getattr(sae, "site", None), getattr(sae, "out_site", None)
        config = getattr(sae, "config", None)
        metadata = getattr(config, "metadata", None) or {}
        found = metadata.get("neuronpedia_id")
        return cls(
            name=sae.name,
            site=getattr(site, "name", ""),
            out_site=getattr(out_site or site, "name", ""),
            d_sae=sae.d_sae,
            architecture=sae.architecture,
            neuronpedia_id=found if isinstance(found, str) else None,
        )

    def url(self, index: int) -> str | None:
        """Return the address of a feature on Neuronpedia, None for SAEs that are not there.

        Raises
        ------
        InputError
            The SAE's Neuronpedia id is not written ``model/source``.
        """
        return None if self.neuronpedia_id is None else feature_url(self.neuronpedia_id, index)

    @classmethod
    def named(cls, name: str, known: SaeFacts | None) -> SaeFacts:
        """Return what is known, or only the name a file gives."""
        return known if known is not None else cls(name=text(name))


@dataclass(frozen=True, kw_only=True, eq=False)
class Imported:
    """A feature read from another tool's file.

    Parameters
    ----------
    dashboard
        What a feature's page can show of it.
    layout
        Which kind of file it came from.
    record
        The feature as the file has it, every name included, so that writing it again in the same
        layout gives it back. Untrusted.
    batch
        What the file says once for many features (model, layer, source). Untrusted.
    density
        Fraction of tokens on which it fires, as the file states it; None where it does not.
    notes
        What the file leaves open and how it was filled.
    """

    dashboard: Dashboard
    layout: Layout
    record: Mapping[str, Any] = field(repr=False)
    batch: Mapping[str, Any] = field(repr=False)
    density: float | None = None
    notes: tuple[str, ...] = ()

    def replace(self, **changes: Any) -> Imported:
        """Return a copy whose dashboard has some fields changed."""
        changed = dataclasses.replace(self.dashboard, **changes)
        return dataclasses.replace(self, dashboard=changed)

    def __repr__(self) -> str:
        return f"Imported({self.layout}, {self.dashboard.feature})"


def unstated(model: str, created: str = "") -> Provenance:
    """Return the provenance of figures somebody else computed: what is not stated stays empty."""
    return Provenance(
        model=text(model),
        model_fingerprint="",
        device="",
        dtype="",
        versions={},
        created=text(created),
    )


def text(value: str) -> str:
    """Return text every encoder takes: halves of characters become replacement marks."""
    return _HALF.sub("\N{REPLACEMENT CHARACTER}", value)


def parsed(model: type[_RowT], data: Any, where: str) -> _RowT:
    """Check a record from outside against its model.

    Raises
    ------
    LoadError
        Naming the first field that does not fit, what it holds and what was expected.
    """
    try:
        return model.model_validate(data)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the record"
        got = re.sub(r"\s+", " ", repr(first.get("input")))[:80]
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise LoadError(f"{where}: {place}: {first['msg']}, got {got}{more}") from error


def kept(
    record: Mapping[str, Any], before: Mapping[str, Any], now: Mapping[str, Any]
) -> dict[str, Any]:
    """Bring a record up to date and leave alone what did not change.

    Parameters
    ----------
    record
        The record as it was read.
    before
        What writing the dashboard read from it gives.
    now
        What writing the dashboard as it is now gives.

    Returns
    -------
    dict
        The record, with those entries of `now` that differ from `before`.
    """
    changed = {name: value for name, value in now.items() if before.get(name) != value}
    return {**record, **changed}


def differences(a: Any, b: Any, path: str = "") -> list[str]:
    """Return where two results differ, as dotted paths without positions, each once.

    Numbers are equal within a relative 1e-9 (in arrays, of the largest), and NaN equals NaN.
    """
    return list(dict.fromkeys(_differences(a, b, path)))


def _differences(a: Any, b: Any, path: str) -> list[str]:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        left, right = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
        scale = np.abs(left[np.isfinite(left)]).max(initial=0.0)
        same = left.shape == right.shape and np.allclose(
            left, right, rtol=_TOLERANCE, atol=_TOLERANCE * scale, equal_nan=True
        )
        return [] if same else [path]
    if dataclasses.is_dataclass(a) and type(a) is type(b):
        found = []
        for entry in dataclasses.fields(a):
            inner = f"{path}.{entry.name}" if path else entry.name
            found += _differences(getattr(a, entry.name), getattr(b, entry.name), inner)
        return found
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return [] if dict(a) == dict(b) else [path]
    if isinstance(a, Sequence) and isinstance(b, Sequence) and not isinstance(a, str):
        if len(a) != len(b):
            return [path]
        return [
            p for left, right in zip(a, b, strict=True) for p in _differences(left, right, path)
        ]
    if isinstance(a, float) and isinstance(b, float | int):
        both_nan = np.isnan(a) and np.isnan(b)
        return [] if both_nan or np.isclose(a, b, rtol=_TOLERANCE, atol=0) else [path]
    return [] if a == b else [path]

"""Telling other tools' dashboard files apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from workbench.errors import LoadError
from workbench.interchange import circuit_tracer, neuronpedia, saedashboard
from workbench.interchange.files import Limits, open_bounded
from workbench.interchange.records import Imported, Layout, SaeFacts

__all__ = ["detect", "read"]

_LOOSE = re.compile(r"\d{1,15}\.json(\.gz)?")
_BATCH = re.compile(r"batch-\d+\.json(\.gz)?")
_START = 1 << 16


def detect(path: str | Path) -> Layout:
    """Say which tool's layout a file or folder has, by its names and the beginning of the file.

    Raises
    ------
    LoadError
        There is nothing, or it has none of the layouts.
    """
    where = Path(path).expanduser()
    if where.is_dir():
        names = [entry.name for entry in where.iterdir()]
        if any(map(_BATCH.fullmatch, names)):
            return "saedashboard"
        if "index.json.gz" in names or any(map(_LOOSE.fullmatch, names)):
            return "circuit_tracer"
        for pattern in ("features", "*/features", "*/*/features"):
            if any(entry.is_dir() for entry in where.glob(pattern)):
                return "neuronpedia"
    else:
        with open_bounded(where, Limits()) as file:
            start = file.read(_START)
        if b'"examples_quantiles"' in start or b'"transcoder_id"' in start:
            return "circuit_tracer"
        if _BATCH.fullmatch(where.name) or b'"feature_index"' in start or b'"sae_set"' in start:
            return "saedashboard"
    raise LoadError(
        f"{str(where)!r} holds no dashboards this reads: expected SAEDashboard's batch-N.json, a "
        "Neuronpedia export ({model}/{source}/features/…), or circuit-tracer's <number>.json or "
        "index.json.gz"
    )


def read(
    path: str | Path, *, sae: SaeFacts | None = None, limits: Limits | None = None
) -> Iterator[Imported]:
    """Read features of any of the layouts, one at a time.

    Parameters
    ----------
    path
        A file or folder.
    sae
        What the session knows of the SAE.
    limits
        Bounds on sizes.

    Yields
    ------
    Imported

    Raises
    ------
    LoadError
        Not one of the layouts, damaged, or too large.
    """
    layout = detect(path)
    if layout == "saedashboard":
        return saedashboard.read(path, sae=sae, limits=limits)
    if layout == "neuronpedia":
        return neuronpedia.read(path, sae=sae, limits=limits)
    return circuit_tracer.read(path, sae=sae, limits=limits)

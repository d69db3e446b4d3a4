"""circuit-tracer's feature files: one JSON object per feature, loose or packed by layer.

Loose files lie in a folder, named by number. Packed ones share a file per layer; ``index.json.gz``
gives each feature's bytes in it, which are a length and gzipped JSON.
"""

from __future__ import annotations

import itertools
import json
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from workbench.errors import InputError, LoadError
from workbench.features.dashboard import Dashboard
from workbench.features.refs import FeatureRef
from workbench.interchange.circuit_tracer_rows import FeatureRow, decode, encode
from workbench.interchange.files import Limits, json_object, loads
from workbench.interchange.graph_urls import pair, unpair
from workbench.interchange.reasons import CIRCUIT_TRACER, explain
from workbench.interchange.records import (
    Imported,
    SaeFacts,
    kept,
    parsed,
)
from workbench.interchange.writing import Replacements, dumps

__all__ = ["Numbering", "lost", "read", "write"]

Numbering = Literal["plain", "paired"]

_INDEX = "index.json.gz"
_LOOSE = re.compile(r"(\d{1,15})\.json(\.gz)?")


def read(
    path: str | Path,
    *,
    sae: SaeFacts | Mapping[int, SaeFacts] | None = None,
    features: Iterable[str | FeatureRef] | None = None,
    numbering: Numbering = "plain",
    model: str = "",
    limits: Limits | None = None,
) -> Iterator[Imported]:
    """Read feature files, one at a time.

    Parameters
    ----------
    path
        One file, a folder of loose files, or a folder with ``index.json.gz``.
    sae
        What the session knows of the transcoder, or of each layer's; without it features are named
        ``transcoder_id/index``, and packed ones ``transcoder.layer/index``.
    features
        Only these, by the names they get.
    numbering
        What the number of a loose file says: ``"plain"`` the index, ``"paired"`` layer and index by
        Cantor's pairing.
    model
        Name of the model, which the files do not hold.
    limits
        Bounds on sizes.

    Yields
    ------
    Imported

    Raises
    ------
    LoadError
        No such file, damaged, too large, or a feature that does not fit the layout.
    """
    bounds = limits or Limits()
    root = Path(path).expanduser()
    only = None if features is None else {FeatureRef.parse(ref) for ref in features}
    if (root / _INDEX).is_file():
        yield from _read_packed(root, sae, only, model, bounds)
        return
    for file in _loose(root):
        record = json_object(file, bounds)
        row = parsed(FeatureRow, record, file.name)
        if row.index < 0:
            raise LoadError(f"{file.name}: index is {row.index}, expected at least 0")
        layer, index = unpair(row.index) if numbering == "paired" else (None, row.index)
        facts = _facts(sae, layer, row.transcoder_id or "transcoder")
        ref = FeatureRef(facts.name, index)
        if only is None or ref in only:
            yield decode(
                record,
                row,
                ref,
                facts,
                {"numbering": numbering, "layer": layer},
                model,
                bounds,
                file.name,
            )


def _facts(sae: SaeFacts | Mapping[int, SaeFacts] | None, layer: int | None, name: str) -> SaeFacts:
    if isinstance(sae, SaeFacts):
        return sae
    known = sae.get(layer) if sae is not None and layer is not None else None
    return SaeFacts.named(name if layer is None else f"{name}.{layer}", known)


def _loose(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise LoadError(f"no file or folder {str(root)!r}")
    found = {
        int(match[1]): path
        for path in root.iterdir()
        if (match := _LOOSE.fullmatch(path.name)) is not None
    }
    if not found:
        raise LoadError(
            f"{str(root)!r} has no feature files: expected <number>.json, or {_INDEX} with its "
            "layers"
        )
    return [found[number] for number in sorted(found)]


def _read_packed(
    root: Path,
    sae: SaeFacts | Mapping[int, SaeFacts] | None,
    only: set[FeatureRef] | None,
    model: str,
    limits: Limits,
) -> Iterator[Imported]:
    index = json_object(root / _INDEX, limits)
    for key in sorted(index, key=lambda key: (not key.isdecimal(), len(key), key)):
        entry = index[key]
        name = entry.get("filename") if isinstance(entry, dict) else None
        offsets = entry.get("offsets") if isinstance(entry, dict) else None
        if not key.isdecimal() or not isinstance(name, str) or not isinstance(offsets, list):
            raise LoadError(f"{_INDEX}: expected layers with filename and offsets, got {key!r:.40}")
        file = root / name
        if Path(name).name != name or not file.is_file():
            raise LoadError(f"{_INDEX}: layer {key} is in {name!r:.80}, which is not in the folder")
        size = file.stat().st_size
        whole = all(isinstance(at, int) and 0 <= at <= size for at in offsets)
        if not whole or any(a > b for a, b in itertools.pairwise(offsets)):
            raise LoadError(f"{_INDEX}: offsets of layer {key} do not fit {name}, {size:,} bytes")
        facts = _facts(sae, int(key), "transcoder")
        with file.open("rb") as stream:
            for number, (start, end) in enumerate(itertools.pairwise(offsets)):
                ref = FeatureRef(facts.name, number)
                if start == end or (only is not None and ref not in only):
                    continue
                where = f"{name}, feature {number}"
                if end - start > limits.record_bytes:
                    raise LoadError(
                        f"{where}: {end - start:,} bytes, at most {limits.record_bytes:,} expected"
                    )
                stream.seek(start)
                record = _unpack(stream.read(end - start), where, limits)
                row = parsed(FeatureRow, record, where)
                batch = {"numbering": "packed", "layer": int(key)}
                yield decode(record, row, ref, facts, batch, model, limits, where)


def _unpack(chunk: bytes, where: str, limits: Limits) -> dict[str, Any]:
    """Read one packed feature: its length as four bytes, low first, then gzipped JSON."""
    if len(chunk) < 4 or struct.unpack("<I", chunk[:4])[0] > len(chunk) - 4:
        raise LoadError(f"{where}: truncated, {len(chunk)} bytes are fewer than it says")
    length = struct.unpack("<I", chunk[:4])[0]
    try:
        packed = zlib.decompressobj(wbits=31)
        data = packed.decompress(chunk[4 : 4 + length], limits.record_bytes + 1)
    except zlib.error as error:
        raise LoadError(f"{where}: damaged gzip data ({error})") from error
    if len(data) > limits.record_bytes or not packed.eof:
        raise LoadError(
            f"{where}: truncated, or unpacks to more than {limits.record_bytes:,} bytes"
        )
    record = loads(data, where)
    if not isinstance(record, dict):
        raise LoadError(f"{where}: expected a JSON object, got {type(record).__name__}")
    return record


def write(
    features: Iterable[Dashboard | Imported],
    path: str | Path,
    *,
    transcoder_id: str | None = None,
    layer: int | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write features as loose files, ``<number>.json``, into a folder.

    Parameters
    ----------
    features
        Dashboards. Features read from such files are written as they were, with what has changed
        on their dashboards since.
    path
        The folder; made where it does not exist.
    transcoder_id
        Name of the transcoder; None for the SAE's name.
    layer
        Number files by Cantor's pairing of this layer and the index; None for the index alone.
    overwrite
        Whether feature files in the folder may be replaced, all of them together.

    Returns
    -------
    list of Path
        The files. They appear together once all are written.

    Raises
    ------
    InputError
        There are such files already, two features have one number, or a number of a dashboard is
        NaN.
    """
    folder = Path(path).expanduser()
    with Replacements(folder, "[0-9]*.json*", overwrite=overwrite) as files:
        numbers: set[int] = set()
        for feature in features:
            dashboard = feature if isinstance(feature, Dashboard) else feature.dashboard
            own = isinstance(feature, Dashboard) or feature.layout != "circuit_tracer"
            index = dashboard.ref.index
            number = index if layer is None else pair(layer, index)
            if own:
                record = encode(dashboard, transcoder_id or dashboard.ref.sae, number)
            else:
                record, number = _updated(feature)  # type: ignore[arg-type]
            if number in numbers:
                raise InputError(
                    f"two features would be {number}.json; write each transcoder to a folder of "
                    "its own, or give layer="
                )
            numbers.add(number)
            with files.open(folder / f"{number}.json") as file:
                file.write(dumps(record, own=own) + "\n")
    return files.written


def _updated(feature: Imported) -> tuple[dict[str, Any], int]:
    row = parsed(FeatureRow, feature.record, "record")
    facts = SaeFacts(name="transcoder")
    ref = FeatureRef("transcoder", feature.dashboard.ref.index)
    before = decode(feature.record, row, ref, facts, feature.batch, "", Limits(), "record")
    old = encode(before.dashboard, "", row.index)
    new = encode(feature.dashboard, "", row.index)
    layer = feature.batch.get("layer")
    packed = feature.batch.get("numbering") == "packed"
    number = pair(layer, ref.index) if packed and isinstance(layer, int) else row.index
    return kept(feature.record, old, new), number


def lost(dashboard: Dashboard) -> list[str]:
    """Say what of a dashboard does not survive being written and read again.

    Found by doing so in memory, so that it is true of this dashboard.

    Returns
    -------
    list of str
        One line for each part that differs: its name and why.

    Raises
    ------
    InputError
        A number of the dashboard is NaN or infinite.
    """
    name = dashboard.ref.sae
    record = json.loads(dumps(encode(dashboard, name, dashboard.ref.index), own=True))
    row = parsed(FeatureRow, record, "record")
    ref = FeatureRef(row.transcoder_id, row.index)
    again = decode(record, row, ref, SaeFacts(name=name), {}, "", Limits(), "record")
    return explain(dashboard, again.dashboard, CIRCUIT_TRACER)

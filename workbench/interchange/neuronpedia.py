"""Neuronpedia's export folders: JSON lines of features, activations and explanations by source."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from workbench.errors import InputError, LoadError
from workbench.features.dashboard import Dashboard
from workbench.interchange.files import Limits, batch_files, json_lines, loads
from workbench.interchange.neuronpedia_rows import SourceRow, decode, encode
from workbench.interchange.neuronpedia_source import Source
from workbench.interchange.reasons import NEURONPEDIA, explain
from workbench.interchange.records import Imported, SaeFacts, kept, parsed
from workbench.interchange.spool import Spool, feature_index
from workbench.interchange.urls import PART
from workbench.interchange.writing import Replacements, dumps

__all__ = ["Source", "lost", "read", "sources", "write"]

_BATCH = 1024
_MANY = ("features", "activations", "explanations")
_SUFFIXES = (".jsonl.gz", ".jsonl")
_ONCE = ("release", "model", "sourceset", "source")
_MOST_SOURCES = 100_000


def sources(path: str | Path) -> list[Path]:
    """Find the source folders of an export.

    Parameters
    ----------
    path
        A source folder (``gpt2-small/6-res-jb``), or one above it.

    Returns
    -------
    list of Path
        Folders that hold ``features/``, sorted.

    Raises
    ------
    LoadError
        There is none.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise LoadError(f"no folder {str(root)!r}; a Neuronpedia export is a folder")
    found: list[Path] = []
    for pattern in ("features", "*/features", "*/*/features"):
        for folder in root.glob(pattern):
            if folder.is_dir() and batch_files(folder, _SUFFIXES):
                found.append(folder.parent)
            if len(found) > _MOST_SOURCES:
                raise LoadError(f"more than {_MOST_SOURCES:,} sources under {str(root)!r}")
    if not found:
        raise LoadError(
            f"{str(root)!r} is not a Neuronpedia export: expected {{model}}/{{source}}/features/"
            "batch-N.jsonl.gz"
        )
    return sorted(set(found))


def read(
    path: str | Path,
    *,
    sae: SaeFacts | Mapping[str, SaeFacts] | None = None,
    features: Collection[int] | None = None,
    limits: Limits | None = None,
) -> Iterator[Imported]:
    """Read the features of an export, one at a time.

    Contexts and explanations are first gathered by feature in a temporary database on disk, because
    their batches need not agree with those of the features.

    Parameters
    ----------
    path
        A source folder, or one above it.
    sae
        What the session knows of the SAE, or of several by ``model/source``; without it features
        are named ``source/index``.
    features
        Only these features.
    limits
        Bounds on sizes.

    Yields
    ------
    Imported

    Raises
    ------
    LoadError
        No such folder, damaged, too large, or a row that does not fit the layout.
    """
    bounds = limits or Limits()
    only = None if features is None else frozenset(features)
    for folder in sources(path):
        yield from _read_source(folder, sae, only, bounds)


def _read_source(
    folder: Path,
    sae: SaeFacts | Mapping[str, SaeFacts] | None,
    only: frozenset[int] | None,
    limits: Limits,
) -> Iterator[Imported]:
    batch = {name: _first(folder / f"{name}.jsonl", limits) for name in _ONCE}
    source = parsed(SourceRow, batch["source"] or {}, f"{folder.name}/source.jsonl")
    with Spool(limits) as spool:
        for kind in ("activations", "explanations"):
            spool.add(kind, batch_files(folder / kind, _SUFFIXES), only)
        seen: set[int] = set()
        for file in batch_files(folder / "features", _SUFFIXES):
            for number, line in json_lines(file, limits):
                where = f"{folder.name}/features/{file.name}, line {number}"
                row = loads(line, where)
                index = feature_index(row, where)
                if only is not None and index not in only:
                    continue
                if index in seen:
                    raise LoadError(f"{where}: feature {index} is there twice")
                seen.add(index)
                record = {
                    "feature": row,
                    "activations": [
                        loads(line, f"activations of feature {index}")
                        for line in spool.rows("activations", index)
                    ],
                    "explanations": [
                        loads(line, f"explanations of feature {index}")
                        for line in spool.rows("explanations", index)
                    ],
                }
                yield decode(record, batch, source, sae, limits, where)


def _first(path: Path, limits: Limits) -> dict[str, Any] | None:
    """Return the one row of a file that says something once; None without it."""
    if not path.is_file():
        return None
    for number, line in json_lines(path, limits):
        row = loads(line, f"{path.name}, line {number}")
        if row is not None and not isinstance(row, dict):
            raise LoadError(f"{path.name}: expected a JSON object, got {type(row).__name__}")
        return row
    return None


def lost(dashboard: Dashboard, *, source: Source | None = None) -> list[str]:
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
    chosen = source or Source.of(dashboard)
    record = json.loads(dumps(encode(dashboard, chosen), own=True))
    batch = chosen.rows(dashboard.counted_tokens, dashboard.provenance.created)
    stated = parsed(SourceRow, batch["source"], "source")
    again = decode(record, batch, stated, None, Limits(), "record")
    return explain(dashboard, again.dashboard, NEURONPEDIA)


# -- writing -----------------------------------------------------------------------------------


def write(
    features: Iterable[Dashboard | Imported],
    path: str | Path,
    *,
    source: Source | None = None,
    batch_size: int = _BATCH,
    overwrite: bool = False,
) -> list[Path]:
    """Write features as an export: ``{model}/{source}/`` with its JSON lines.

    Features of one SAE must come one after another.

    Parameters
    ----------
    features
        Dashboards. Features read from an export are written as they were, with what has changed on
        their dashboards since.
    path
        Folder above the models'; made where it does not exist.
    source
        What the files say once; None takes it from the features.
    batch_size
        Most features in a file.
    overwrite
        Whether export files under the folder may be replaced, all of them together.

    Returns
    -------
    list of Path
        The files. They appear together once all are written.

    Raises
    ------
    InputError
        There are such files already, a source comes back after another one, a feature comes twice,
        or a number of a dashboard is NaN.
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}")
    root = Path(path).expanduser()
    done: set[tuple[str, str]] = set()
    rows = (_rows_of(feature, source) for feature in features)
    with Replacements(root, "*.jsonl*", overwrite=overwrite) as files:
        for (model, name), members in itertools.groupby(rows, key=lambda row: row[0]):
            if (model, name) in done:
                raise InputError(f"features of {model}/{name} come apart; expected in one run")
            done.add((model, name))
            _write_source(files, root / model / name, members, batch_size)
    return files.written


_Rows = tuple[tuple[str, str], Mapping[str, Any], Mapping[str, Any], bool]


def _write_source(
    files: Replacements, folder: Path, members: Iterable[_Rows], batch_size: int
) -> None:
    seen: set[str] = set()
    with ExitStack() as stack:
        for number, (_, batch, record, own) in enumerate(members):
            if number == 0:
                for name, row in batch.items():
                    if row is not None:
                        with files.open(folder / f"{name}.jsonl") as file:
                            file.write(dumps(row, own=False) + "\n")
            if number % batch_size == 0:
                stack.close()
                name = f"batch-{number // batch_size}.jsonl.gz"
                opened: dict[str, IO[str]] = {
                    kind: stack.enter_context(files.open(folder / kind / name)) for kind in _MANY
                }
            index = str(record["feature"].get("index"))
            if index in seen:
                raise InputError(f"feature {index} of {folder.name} comes twice")
            seen.add(index)
            opened["features"].write(dumps(record["feature"], own=own) + "\n")
            for kind in ("activations", "explanations"):
                for row in record[kind]:
                    opened[kind].write(dumps(row, own=own) + "\n")


def _rows_of(feature: Dashboard | Imported, source: Source | None) -> _Rows:
    if isinstance(feature, Dashboard) or feature.layout != "neuronpedia":
        dashboard = feature if isinstance(feature, Dashboard) else feature.dashboard
        chosen = source or Source.of(dashboard)
        batch = chosen.rows(dashboard.counted_tokens, dashboard.provenance.created)
        return (chosen.model, chosen.source), batch, encode(dashboard, chosen), True
    row = feature.record["feature"]
    place = str(row.get("modelId", "")), str(row.get("layer", ""))
    if not all(map(PART.fullmatch, place)):
        raise InputError(f"model and source name folders; {'/'.join(place)!r:.80} cannot")
    stated = parsed(SourceRow, feature.batch.get("source") or {}, "source")
    before = decode(feature.record, feature.batch, stated, None, Limits(), "record").dashboard
    # What stands for the source here cancels out: only changes of the dashboard are written.
    neutral = Source(model=place[0], layer=0, source_set="source")
    old = encode(before, neutral, name=place[1])
    new = encode(feature.dashboard, neutral, name=place[1])
    record = {
        "feature": kept(row, old["feature"], new["feature"]),
        "activations": _list(feature.record, old, new, "activations"),
        "explanations": _list(feature.record, old, new, "explanations"),
    }
    return place, feature.batch, record, False


def _list(
    record: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any], kind: str
) -> list[dict[str, Any]]:
    """Return rows as they were read, or written anew where the dashboard's differ now."""
    if old[kind] == new[kind]:
        return list(record[kind])
    # Explanations beyond the first have no place on a dashboard and stay.
    others = record[kind][1:] if kind == "explanations" else ()
    return [*new[kind], *others]

"""SAEDashboard's ``batch-N.json``: one file for many features, one JSON object per file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from workbench.errors import InputError, LoadError
from workbench.features.dashboard import Dashboard
from workbench.interchange.files import Limits, batch_files, top_level
from workbench.interchange.reasons import SAEDASHBOARD, explain
from workbench.interchange.records import Imported, SaeFacts, kept, parsed
from workbench.interchange.saedashboard_rows import BatchRow, FeatureRow, Header, decode, encode
from workbench.interchange.writing import Replacements, dumps

__all__ = ["Header", "lost", "read", "write"]

_SUFFIXES = (".json", ".json.gz")
_BATCH = 128


def read(
    path: str | Path, *, sae: SaeFacts | None = None, limits: Limits | None = None
) -> Iterator[Imported]:
    """Read the features of a batch file, or of a folder of them, one at a time.

    Parameters
    ----------
    path
        ``batch-N.json`` (or gzipped), or the folder they lie in.
    sae
        What the session knows of the SAE; without it features are named ``layer-set/index``.
    limits
        Bounds on sizes.

    Yields
    ------
    Imported

    Raises
    ------
    LoadError
        No such file, damaged, too large, or a feature that does not fit the layout. A file is
        walked once before its first feature is given, so that damage shows at once.
    """
    bounds = limits or Limits()
    where = Path(path).expanduser()
    files = batch_files(where, _SUFFIXES) if where.is_dir() else [where]
    if not files:
        raise LoadError(f"no batch-N.json in {str(where)!r}")
    for file in files:
        yield from _read_file(file, sae, bounds)


def _read_file(path: Path, sae: SaeFacts | None, limits: Limits) -> Iterator[Imported]:
    header: dict[str, Any] = {}
    features = 0
    for name, value in top_level(path, "features", limits):
        if name == "features":
            features += 1
        else:
            header[name] = value
    if not features and "features" not in header and not {"model_id", "sae_set"} & set(header):
        raise LoadError(
            f"{path.name}: not a SAEDashboard batch: it has none of features, model_id, sae_set"
        )
    batch = parsed(BatchRow, header, path.name)
    number = 0
    for name, value in top_level(path, "features", limits):
        if name == "features":
            yield decode(value, batch, header, sae, limits, f"{path.name}, features[{number}]")
            number += 1


# -- writing -----------------------------------------------------------------------------------


def write(
    features: Iterable[Dashboard | Imported],
    path: str | Path,
    *,
    header: Header | None = None,
    batch_size: int = _BATCH,
    overwrite: bool = False,
) -> list[Path]:
    """Write features as ``batch-N.json`` files into a folder.

    Parameters
    ----------
    features
        Dashboards. Features read from such files are written as they were, with what has changed
        on their dashboards since.
    path
        The folder; made where it does not exist.
    header
        What the files say once; None takes it from the features.
    batch_size
        Most features in a file. A new file also begins where the header changes.
    overwrite
        Whether batch files in the folder may be replaced, all of them together.

    Returns
    -------
    list of Path
        The files. They appear together once all are written.

    Raises
    ------
    InputError
        There are such files already, or a number of a dashboard is NaN.
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}")
    folder = Path(path).expanduser()
    with Replacements(folder, "batch-*.json*", overwrite=overwrite) as files, ExitStack() as stack:
        current: tuple[dict[str, Any], IO[str]] | None = None
        count = 0
        for feature in features:
            top, record = _encode_one(feature, header)
            if current is None or count == batch_size or current[0] != top:
                if current is not None:
                    current[1].write("\n]}\n")
                    stack.close()
                target = folder / f"batch-{len(files.written)}.json"
                file = stack.enter_context(files.open(target))
                file.write(dumps(top, own=False)[:-1] + (", " if top else "") + '"features": [\n')
                current, count = (top, file), 0
            line = dumps(record, own=isinstance(feature, Dashboard))
            current[1].write((",\n" if count else "") + line)
            count += 1
        if current is not None:
            current[1].write("\n]}\n")
    return files.written


def _encode_one(
    feature: Dashboard | Imported, header: Header | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    if isinstance(feature, Dashboard):
        chosen = header or Header.of(feature)
        return _top(chosen), encode(feature, chosen)
    if feature.layout != "saedashboard":
        chosen = header or Header.of(feature.dashboard)
        return _top(chosen), encode(feature.dashboard, chosen)
    batch = parsed(BatchRow, feature.batch, "the batch")
    row = parsed(FeatureRow, feature.record, "the record")
    before = decode(feature.record, batch, feature.batch, None, Limits(), "the record").dashboard
    same = Header(
        model_id=batch.model_id,
        layer=0,
        sae_set=batch.sae_set,
        dataset=row.dataset,
        tokens_in_prompt=max(row.n_tokens_in_prompt, 1),
    )
    record = kept(feature.record, encode(before, same), encode(feature.dashboard, same))
    return (_top(header) if header else dict(feature.batch)), record


def _top(header: Header) -> dict[str, Any]:
    return {
        "model_id": header.model_id,
        "layer": header.layer,
        "sae_set": header.sae_set,
        "sae_id_suffix": header.sae_id_suffix,
    }


def lost(dashboard: Dashboard, *, header: Header | None = None) -> list[str]:
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
    chosen = header or Header.of(dashboard)
    top, record = _top(chosen), json.loads(dumps(encode(dashboard, chosen), own=True))
    again = decode(record, parsed(BatchRow, top, "header"), top, None, Limits(), "record")
    return explain(dashboard, again.dashboard, SAEDASHBOARD)

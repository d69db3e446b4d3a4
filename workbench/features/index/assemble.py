"""A whole index from parts: the finished one, or a preview of what is done so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.features.index import disk, manifest
from workbench.features.index.finish import write_saes, write_tokens
from workbench.features.index.parts import Part, PartStore
from workbench.features.index.rows import RowBlock
from workbench.features.index.settings import IndexSettings

__all__ = ["PREVIEW", "preview", "preview_of", "write_index"]

PREVIEW = "preview"

_COMMON = (
    *("tokens.npy", "special.npy", "rows.npy", "runs.npy"),
    *("documents.parquet", "silent.npy"),
)


def write_index(
    folder: Path,
    store: PartStore,
    parts: Sequence[Part],
    description: Mapping[str, Any],
    *,
    stop: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Write every file of an index but its manifest.

    Parameters
    ----------
    folder
        Where.
    store
        The parts' store.
    parts
        Parts without gaps, from the first block.
    description
        `manifest.describe` of the build, with corpus.
    stop
        Asked now and then.

    Returns
    -------
    dict
        The manifest.
    """
    n_blocks = parts[-1].last + 1

    def blocks() -> Iterator[RowBlock]:
        return (store.read_rows(number) for number in range(n_blocks))

    counts = write_tokens(folder, blocks, description["model"]["d_vocab"])
    folders = [sae["folder"] for sae in description["saes"]]
    write_saes(folder, store, parts, folders, counts["counted"], stop=stop)
    names = [*_COMMON, *(f"{name}/{file}.parquet" for name in folders for file in _TABLES)]
    files = {name: [(folder / name).stat().st_size, disk.digest(folder / name)] for name in names}
    corpus = {**description["corpus"], "digest": store.read_rows(n_blocks - 1).digest}
    return {**description, "corpus": corpus, "counts": counts, "files": files}


_TABLES = ("stats", "contexts")


def preview(path: Path, store: PartStore, description: Mapping[str, Any]) -> Path:
    """Make an index of the unbroken run of parts from the first, and return its folder.

    Raises
    ------
    WorkbenchError
        No part is done yet.
    """
    parts: list[Part] = []
    for part in store.parts() if store.folder.exists() else []:
        if part.first == (parts[-1].last + 1 if parts else 0):
            parts.append(part)
    if not parts:
        raise WorkbenchError(f"no part of the index in {str(path)!r} is done yet")
    target = path / f"{PREVIEW}-{parts[-1].last + 1:06d}"
    if not target.exists():
        with disk.whole_folder(target) as folder:
            written = write_index(folder, store, parts, description)
            disk.write_json(folder / manifest.MANIFEST, {**written, "partial": True})
        for older in path.glob(f"{PREVIEW}-*"):
            if older != target and not older.name.endswith(disk.TEMPORARY):
                disk.remove(older)
    return target


def preview_of(path: Path) -> Path:
    """Make a preview of an unfinished build that nobody is working on.

    Raises
    ------
    WorkbenchError
        Another process is building there, or no part is done yet.
    """
    description = manifest.read(path / manifest.BUILD)
    saes = description["saes"]
    store = PartStore(
        path / "parts",
        [sae["name"] for sae in saes],
        [sae["d_sae"] for sae in saes],
        IndexSettings.from_dict(description["settings"]),
    )
    with disk.held(path):
        return preview(path, store, description)

"""Finding what an SAE argument means: a folder, a file, a registry release, a SAELens module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from workbench.errors import InputError, SaeError
from workbench.model.sites import short_name
from workbench.saes.formats import (
    batchtopk_pt,
    dictionary_learning,
    gemma_scope,
    in_memory,
    registry,
    saelens_dir,
)
from workbench.saes.residency import Weights
from workbench.saes.sae import Sae
from workbench.saes.source import SaeSource

__all__ = ["find_sources", "folder_names", "load_sae"]

# Recognisers and readers of one SAE in a directory, in the order they are tried.
_DIRECTORIES: tuple[tuple[Callable[[Path], bool], Callable[[Path], SaeSource]], ...] = (
    (saelens_dir.is_directory, saelens_dir.describe),
    (gemma_scope.is_directory, gemma_scope.describe),
    (dictionary_learning.is_directory, dictionary_learning.describe),
)
_DEEPEST = 4
_MOST_FOLDERS = 20_000


def load_sae(
    where: Any,
    sae_id: str | None = None,
    *,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "float32",
) -> Sae:
    """Load one SAE, not attached to a model.

    Parameters
    ----------
    where
        A SAELens directory; a Gemma Scope ``params.npz``, a dictionary_learning ``ae.pt``, a
        BatchTopK ``.pt``, or a directory with one of these; a registry release (with `sae_id`),
        ``"release/sae_id"`` or ``"release, layer 12, width 16k, l0 80"``; a ``sae_lens.SAE``.
    sae_id
        Which SAE of the release.
    device, dtype
        Where the weights go and in which precision; they load on first use.

    Returns
    -------
    Sae

    Raises
    ------
    SaeError
        If nothing is found there, files are unusable, or there are several SAEs.
    """
    if isinstance(where, Sae):
        return where
    sources = find_sources(where, sae_id=sae_id)
    if len(sources) != 1:
        some = ", ".join(repr(source.short_id or source.identifier) for source in sources[:5])
        raise SaeError(
            f"{where} holds {len(sources)} SAEs ({some}{', …' if len(sources) > 5 else ''}); "
            "name one with sae_id, or attach them all to a session"
        )
    source = sources[0]
    name = short_name(source.config.hook) if source.config.hook else Path(source.identifier).name
    return Sae(name, Weights(source, device=device, dtype=dtype))


def find_sources(where: Any, *, sae_id: str | None = None) -> list[SaeSource]:
    """Describe every SAE an argument stands for, without loading weights.

    Raises
    ------
    SaeError
        If it stands for none, or one of them is unusable.
    InputError
        If the argument is of a kind that cannot stand for SAEs.
    """
    if isinstance(where, SaeSource):
        return [where]
    if in_memory.is_module(where):
        return [in_memory.describe(where)]
    if isinstance(where, tuple) and len(where) == 2:
        where, sae_id = where
    if not isinstance(where, str | Path):
        raise InputError(
            f"got {type(where).__name__} for an SAE, expected a path, a registry release, "
            "'release/sae_id' or a sae_lens SAE"
        )
    path = Path(where).expanduser()
    if path.is_dir():
        return _in_directory(path if sae_id is None else path / sae_id)
    if path.is_file():
        return [_in_file(path)]
    if isinstance(where, Path) or str(where).startswith((".", "/", "~")):
        raise SaeError(f"{where}: no such file or directory")
    return registry.find(where, sae_id)


def _in_file(path: Path) -> SaeSource:
    if path.suffix == ".npz":
        return gemma_scope.describe(path)
    if path.suffix in (".pt", ".pth"):
        if batchtopk_pt.is_file(path):
            return batchtopk_pt.describe(path)
        return dictionary_learning.describe(path)
    if path.name in (saelens_dir.CONFIG_FILE, saelens_dir.WEIGHTS_FILE):
        return saelens_dir.describe(path.parent)
    if path.suffix in (".pkl", ".pickle", ".joblib", ".bin"):
        raise SaeError(
            f"{path}: {path.suffix} files can hold code and are not read; export the SAE to "
            "safetensors (SAELens's save_model) where you trust its author"
        )
    raise SaeError(
        f"{path}: not a file SAEs are read from; expected cfg.json beside "
        "sae_weights.safetensors, params.npz, ae.pt or another .pt state dict"
    )


def _one_in(path: Path) -> SaeSource | None:
    for recognise, describe in _DIRECTORIES:
        if recognise(path):
            return describe(path)
    checkpoints = [child for child in path.glob("*.pt") if batchtopk_pt.is_file(child)]
    return batchtopk_pt.describe(checkpoints[0]) if len(checkpoints) == 1 else None


def _in_directory(path: Path) -> list[SaeSource]:
    if not path.is_dir():
        raise SaeError(f"{path}: no such directory")
    single = _one_in(path)
    if single is not None:
        return [single]
    found: list[SaeSource] = []
    seen = 0
    level = [path]
    for _ in range(_DEEPEST):
        children = sorted(child for folder in level for child in folder.iterdir() if child.is_dir())
        seen += len(children)
        if seen > _MOST_FOLDERS:
            raise SaeError(
                f"{path}: more than {_MOST_FOLDERS:,} folders below it; name the folder "
                "that holds the SAEs"
            )
        level = []
        for child in children:
            source = _one_in(child)
            if source is None:
                level.append(child)
            else:
                found.append(source)
    if found:
        return found
    inside = sorted(child.name for child in path.iterdir())[:8]
    raise SaeError(
        f"{path}: no SAE found. Expected cfg.json with sae_weights.safetensors, params.npz, ae.pt "
        f"or a BatchTopK .pt, here or in folders below; got {inside or 'an empty folder'}"
    )


def folder_names(where: Any, items: Sequence[Any]) -> list[str | None]:
    """Names for SAEs found in a folder of SAE folders: the folders' names, where they are told.

    A SAE given by itself has no such name (None): it is called after its site.
    """
    if not isinstance(where, str | Path) or not Path(where).expanduser().is_dir():
        return [None] * len(items)
    base = Path(where).expanduser()
    names: list[str | None] = []
    for item in items:
        folder = Path(item.identifier) if isinstance(item, SaeSource) else base
        is_child = folder.parent == base and isinstance(item, SaeSource)
        names.append(short_name(folder.name) if is_child and folder.is_dir() else None)
    return names

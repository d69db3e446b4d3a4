"""SAEs of the SAELens registry, by release and id, from the hub or its cache."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

from workbench.errors import SaeError, nearest
from workbench.saes.checks import check_finite, check_shapes
from workbench.saes.config import SaeConfig, dtype_name, expected_shapes, parse_config
from workbench.saes.formats.hub import checked_downloads, commit_of, explained
from workbench.saes.formats.saelens_dir import CONFIG_FILE, fold_scaling, modern_config
from workbench.saes.lookup import RegistryEntry, entry_of, parse_query, releases
from workbench.saes.source import SaeSource, settle

__all__ = ["describe", "find"]


def find(name: str, sae_id: str | None = None) -> list[SaeSource]:
    """Describe the SAEs a name stands for.

    Parameters
    ----------
    name
        A release; ``"release/sae_id"``; ``"release, layer 12, width 16k, l0 80"``; or a hub
        repository with SAELens folders, then with `sae_id`.
    sae_id
        One SAE of the release or repository.

    Raises
    ------
    SaeError
        If the name is unknown (the nearest are listed), or files are neither cached nor reachable.
    """
    table = releases()
    if sae_id is not None:
        if name not in table and name.count("/") == 1:
            return [describe(_unregistered(name, sae_id))]
        return [describe(entry_of(name, sae_id))]
    if name in table:
        return _describe_all(table[name])
    if "," in name:
        return [describe(parse_query(name))]
    for release in table:
        if name.startswith(release + "/"):
            return [describe(entry_of(release, name.removeprefix(release + "/")))]
    near = nearest(name, table, 4)
    raise SaeError(
        f"{name!r} is neither a path here nor a release of the SAE registry"
        + (f"; nearest releases: {', '.join(map(repr, near))}" if near else "")
        + ". For a hub repository outside the registry, give its sae_id (folder) too"
    )


def _unregistered(repo_id: str, folder: str) -> RegistryEntry:
    return RegistryEntry(
        release=repo_id,
        sae_id=folder,
        repo_id=repo_id,
        path=folder,
        model="",
        conversion="sae_lens",
        layer=None,
        site=None,
        width=None,
        l0=None,
    )


class NotAtHandError(SaeError):
    """A file is neither in the cache nor reachable."""


def _describe_all(entries: tuple[RegistryEntry, ...]) -> list[SaeSource]:
    """Describe a release; where only part of it is cached and the hub is away, that part."""
    found, absent = [], []
    first: SaeError | None = None
    for entry in entries:
        try:
            found.append(describe(entry))
        except NotAtHandError as error:
            first = first or error
            absent.append(entry.sae_id)
    if first is not None and not found:
        raise first
    if absent:
        warnings.warn(
            f"{len(absent)} of {len(entries)} SAEs of {entries[0].release} are not in the cache "
            f"and were left out: {', '.join(absent[:5])}{', …' if len(absent) > 5 else ''}",
            UserWarning,
            stacklevel=4,
        )
    return found


def describe(entry: RegistryEntry) -> SaeSource:
    """Describe a published SAE from its configuration, fetching that where it is a file.

    Raises
    ------
    SaeError
        If the configuration cannot be had or is unusable.
    """
    where = str(entry)
    config = parse_config(modern_config(_raw_config(entry)), where)

    def read(device: str, dtype: torch.dtype) -> Any:
        return _read(entry, config, device, dtype)

    def content() -> bytes:
        return f"{entry.repo_id}@{commit_of(entry.repo_id)}:{entry.path}".encode()

    return SaeSource(
        identifier=where,
        layout=f"registry ({entry.conversion})",
        config=config,
        read=read,
        content=content,
        folder=_folder(entry),
        expected_l0=entry.l0,
        short_id=entry.sae_id,
    )


def _raw_config(entry: RegistryEntry) -> dict[str, Any]:
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
    from sae_lens.loading.pretrained_sae_loaders import (
        NAMED_PRETRAINED_SAE_CONFIG_GETTERS,
        get_config_overrides,
    )

    getter = NAMED_PRETRAINED_SAE_CONFIG_GETTERS[entry.conversion]
    overrides = get_config_overrides(entry.release, entry.sae_id)
    try:
        with explained(str(entry), entry.repo_id, entry.path), checked_downloads():
            raw: dict[str, Any] = getter(entry.repo_id, entry.path, "cpu", False, overrides)
    except SaeError as error:
        if isinstance(error.__cause__, LocalEntryNotFoundError | OfflineModeIsEnabled):
            raise NotAtHandError(str(error)) from error
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SaeError(f"{entry}: its configuration could not be read ({error!r})") from error
    return raw


def _folder(entry: RegistryEntry) -> Path | None:
    """Folder of the cached files, where sparsity lies beside the configuration."""
    if entry.conversion != "sae_lens":
        return None
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(entry.repo_id, f"{entry.path}/{CONFIG_FILE}")
    return Path(cached).parent if isinstance(cached, str) else None


def _read(entry: RegistryEntry, config: SaeConfig, device: str, dtype: torch.dtype) -> Any:
    from sae_lens import SAE
    from sae_lens.loading.pretrained_sae_loaders import NAMED_PRETRAINED_SAE_LOADERS

    where = str(entry)

    def convert(**arguments: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor], Any]:
        raw, tensors, sparsity = NAMED_PRETRAINED_SAE_LOADERS[entry.conversion](**arguments)
        if (scale := tensors.pop("finetuning_scaling_factor", None)) is not None:
            tensors["scaling_factor"] = scale
            tensors = fold_scaling(tensors, {"finetuning_scaling_factor": True}, where)
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        check_shapes(shapes, expected_shapes(config), where)
        check_finite({name: tensor.to(dtype) for name, tensor in tensors.items()}, where)
        return raw, tensors, sparsity

    with explained(where, entry.repo_id, entry.path), checked_downloads(), _quiet():
        module = SAE.from_pretrained_with_cfg_and_sparsity(
            entry.release,
            entry.sae_id,
            device=device,
            dtype=dtype_name(dtype),
            converter=convert,
        )[0]
    return settle(module)


class _quiet(warnings.catch_warnings):  # noqa: N801 - used like a function
    """Silence the converters' advice on loading models, which attaching acts on."""

    def __enter__(self) -> Any:
        entered = super().__enter__()
        warnings.filterwarnings("ignore", message="\nThis SAE has non-empty")
        warnings.filterwarnings("ignore", message="You are loading an SAE using the HuggingFace")
        return entered

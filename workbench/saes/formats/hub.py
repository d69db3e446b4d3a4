"""Files of hub repositories: fetched or found in the cache, and checked before anything reads them.

SAELens's converters fetch and open files themselves. While one of them runs here, the fetching
function it uses is replaced by one that checks each file (header, real size, no pickled objects)
before handing it on, and the function that reads a tensor header over HTTP by one that reads the
cached file where there is one, so that what is cached also loads offline.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workbench.errors import SaeError
from workbench.saes.checks import (
    check_torch_file,
    npz_shapes,
    read_json,
    refuse_forced_pickle,
    safetensors_shapes,
)

__all__ = ["checked_downloads", "commit_of", "explained"]

_lock = threading.RLock()
_MAX_TEXT = 4 << 20


def _check(path: Path) -> None:
    if path.suffix == ".safetensors":
        safetensors_shapes(path)
    elif path.suffix in (".pt", ".pth", ".bin"):
        check_torch_file(path)
    elif path.suffix == ".npz":
        npz_shapes(path)
    elif path.suffix == ".json":
        read_json(path)
    elif path.stat().st_size > _MAX_TEXT:
        raise SaeError(f"{path}: {path.stat().st_size:,} bytes, expected a small text file")


@contextlib.contextmanager
def checked_downloads() -> Iterator[None]:
    """Check every file SAELens's converters open inside the block.

    Raises
    ------
    SaeError
        If a file is damaged, or the environment makes torch unpickle objects.
    """
    refuse_forced_pickle()
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from sae_lens.loading import pretrained_sae_loaders as converters

    over_http = converters.get_safetensors_tensor_shapes

    def download(*args: Any, **kwargs: Any) -> str:
        path: str = hf_hub_download(*args, **kwargs)
        _check(Path(path))
        return path

    def shapes(repo_id: str, filename: str) -> dict[str, list[int]]:
        cached = try_to_load_from_cache(repo_id, filename)
        if isinstance(cached, str):
            return {name: list(shape) for name, shape in safetensors_shapes(Path(cached)).items()}
        if _offline():
            return {
                name: list(shape)
                for name, shape in safetensors_shapes(Path(download(repo_id, filename))).items()
            }
        found: dict[str, list[int]] = over_http(repo_id, filename)
        return found

    with _lock:
        before = converters.hf_hub_download
        converters.hf_hub_download = download
        converters.get_safetensors_tensor_shapes = shapes
        try:
            yield
        finally:
            converters.hf_hub_download = before
            converters.get_safetensors_tensor_shapes = over_http


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


@contextlib.contextmanager
def explained(what: str, repo_id: str, path: str) -> Iterator[None]:
    """Turn hub and file errors inside the block into a `SaeError` that says what to do."""
    import pickle

    from huggingface_hub import constants
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        yield
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        state = "offline mode is on (HF_HUB_OFFLINE)" if _offline() else "the hub is out of reach"
        raise SaeError(
            f"{what}: {path!r} of {repo_id} is not in the cache {constants.HF_HUB_CACHE}, and "
            f"{state}. With a network: `hf download {repo_id} --include '{path}*'`; without one, "
            "copy the repository's cache folder from another machine, or give a local directory"
        ) from error
    except GatedRepoError as error:
        raise SaeError(
            f"{what}: {repo_id} is gated; accept its terms on the hub and log in with "
            "`hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise SaeError(f"{what}: the hub has no repository {repo_id} (or it is private)") from error
    except EntryNotFoundError as error:
        raise SaeError(f"{what}: {repo_id} has no file {path!r} ({error})") from error
    except (HfHubHTTPError, HFValidationError) as error:
        raise SaeError(f"{what}: the hub refused {repo_id}: {error}") from error
    except pickle.UnpicklingError as error:
        raise SaeError(
            f"{what}: {repo_id}/{path} was refused, because reading it would unpickle more than "
            "tensors and plain values; nothing was executed"
        ) from error
    except (OSError, ConnectionError) as error:
        raise SaeError(f"{what}: could not read {repo_id}/{path}: {error}") from error


def commit_of(repo_id: str) -> str:
    """Return the commit a repository's files come from: the cached one, else the hub's.

    Raises
    ------
    SaeError
        If neither is to be had.
    """
    from huggingface_hub import HfApi, constants

    reference = (
        Path(constants.HF_HUB_CACHE) / f"models--{repo_id.replace('/', '--')}" / "refs" / "main"
    )
    if reference.is_file():
        return reference.read_text(encoding="utf-8").strip()
    with explained("commit", repo_id, ""):
        return str(HfApi().repo_info(repo_id).sha)

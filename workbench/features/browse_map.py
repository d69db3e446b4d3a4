"""A map of decoder directions: their two principal components, kept beside the index."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import LoadError

if TYPE_CHECKING:
    from workbench.features.index.queries import FeatureIndex
    from workbench.saes.sae import Sae
    from workbench.session import Session

__all__ = ["FILE", "decoder_map", "principal_map", "stored_map"]

FILE = "decoder-map.npz"
_BLOCK = 8192


def principal_map(
    saes: Iterable[Sae], progress: Callable[[int, int], None] | None = None
) -> list[Float[np.ndarray, "feature 2"]]:
    """Project unit decoder directions onto the two components in which they vary most.

    SAEs whose directions have the same width are projected together and lie on one map; the sign
    of a component is that of its largest coordinate, so that the map is the same every time.

    Parameters
    ----------
    saes
        The SAEs.
    progress
        Told how many SAEs are done, of how many; each is gone through twice.

    Returns
    -------
    list of ndarray
        One array per SAE.
    """
    chosen = list(saes)
    steps, total = 0, 2 * len(chosen)
    moments: dict[int, tuple[int, Tensor, Tensor]] = {}
    with torch.inference_mode():
        for sae in chosen:
            n, mean, second = moments.get(
                sae.d_out,
                (
                    0,
                    torch.zeros(sae.d_out, dtype=torch.float64),
                    torch.zeros(sae.d_out, sae.d_out, dtype=torch.float64),
                ),
            )
            for block in sae.decoder_rows().split(_BLOCK):
                rows = _unit(block).double()
                n, mean, second = n + len(rows), mean + rows.sum(0), second + rows.T @ rows
            moments[sae.d_out] = n, mean, second
            steps += 1
            if progress:
                progress(steps, total)
        axes = {}
        for width, (n, mean, second) in moments.items():
            centre = mean / max(n, 1)
            spread = second / max(n, 1) - torch.outer(centre, centre)
            # eigh sorts ascending: the last columns vary most.
            best = torch.linalg.eigh(spread).eigenvectors[:, -2:].flip(1)
            largest = best.gather(0, best.abs().argmax(0, keepdim=True))
            best = best * torch.where(largest < 0, -1.0, 1.0)
            if best.shape[1] < 2:
                best = torch.cat([best, torch.zeros(width, 2 - best.shape[1])], 1)
            axes[width] = centre, best
        made = []
        for sae in chosen:
            centre, best = axes[sae.d_out]
            parts = [
                ((_unit(block).double() - centre) @ best).float().numpy()
                for block in sae.decoder_rows().split(_BLOCK)
            ]
            made.append(np.concatenate(parts))
            steps += 1
            if progress:
                progress(steps, total)
    return made


def decoder_map(
    session: Session,
    index: FeatureIndex,
    progress: Callable[[int, int], None] | None = None,
) -> Float[np.ndarray, "row 2"]:
    """Return the map of an index's features, computed once and then read from beside it.

    Parameters
    ----------
    session
        Holds the SAEs; features of ones it has not attached have no place (NaN).
    index
        Decides the order: SAE after SAE.
    progress
        As for `principal_map`.

    Returns
    -------
    ndarray
        One row per feature of the index.
    """
    found = stored_map(index)
    if found is not None:
        return found
    attached = [name for name in index.saes if name in session.saes]
    places = dict(
        zip(
            attached,
            principal_map([session.saes[name] for name in attached], progress),
            strict=True,
        )
    )
    made = np.concatenate(
        [
            places[name]
            if name in places
            else np.full((index.sae(name)["d_sae"], 2), np.nan, np.float32)
            for name in index.saes
        ]
    )
    if len(attached) == len(index.saes) and not index.partial:
        _write(index.path / FILE, made, _key(index))
    return made


def stored_map(index: FeatureIndex) -> Float[np.ndarray, "row 2"] | None:
    """Return the map kept beside an index; None where there is none or it is of other weights.

    Raises
    ------
    LoadError
        The file is damaged.
    """
    path = index.path / FILE
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            places, key = archive["places"], str(archive["key"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise LoadError(
            f"{FILE} of the index cannot be read: {error}. Remove it; it is made again"
        ) from error
    if key != _key(index) or places.shape != (index.n_features, 2):
        return None
    return np.asarray(places, np.float32)


def _key(index: FeatureIndex) -> str:
    prints = "|".join(f"{name}={index.sae(name)['fingerprint']}" for name in index.saes)
    return hashlib.blake2b(prints.encode(), digest_size=16).hexdigest()


def _write(path: Path, places: Float[np.ndarray, "row 2"], key: str) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.savez(file, places=places, key=np.array(key))
    partial.replace(path)


def _unit(rows: Float[Tensor, "feature d"]) -> Float[Tensor, "feature d"]:
    rows = rows.float().cpu()
    return rows / rows.norm(dim=-1, keepdim=True).clamp_min(1e-12)

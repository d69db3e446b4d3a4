"""Where an SAE's weights are and what they are, known without loading them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import SaeError
from workbench.saes.checks import (
    check_finite,
    check_shapes,
    read_json_object,
    safetensors_shapes,
)
from workbench.saes.config import SaeConfig, dtype_name, expected_shapes

__all__ = ["SaeSource", "build_sae", "torch_dtype"]

_SPARSITY_FILE = "sparsity.safetensors"
_LABELS_FILE = "labels.json"
_MAX_LABEL = 2_000
# Files up to this size are hashed whole, larger ones by evenly spaced pages.
_WHOLE_HASH = 64 << 20
_PAGE = 1 << 16


class WeightReader(Protocol):
    """Reads a SAE onto a device in a dtype."""

    def __call__(self, device: str, dtype: torch.dtype) -> Any:
        """Return a ``sae_lens.SAE``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SaeSource:
    """Description of an SAE that can be loaded later.

    Parameters
    ----------
    identifier
        What it was asked for as: a directory, a file, or ``release/sae_id``.
    layout
        Name of the layout it is stored in.
    config
        Its checked configuration.
    read
        Loads the weights.
    content
        Gives the weight file (downloading it if it is on the hub) or a hash of the weights, for
        the fingerprint.
    folder
        Directory that may hold ``sparsity.safetensors`` and ``labels.json``.
    expected_l0
        Mean number of active features its author states, where stated.
    short_id
        What tells it apart from others at the same site.
    """

    identifier: str
    layout: str
    config: SaeConfig
    read: WeightReader = dataclasses.field(repr=False)
    content: Callable[[], Path | bytes] = dataclasses.field(repr=False)
    folder: Path | None = None
    expected_l0: float | None = None
    short_id: str | None = None

    def nbytes(self, dtype: torch.dtype | str | None = None) -> int:
        """Bytes the weights will take in memory."""
        return self.config.nbytes(None if dtype is None else dtype_name(dtype))

    def fingerprint(self) -> str:
        """Hash the configuration and the weights (evenly spaced pages of files over 64 MiB).

        Returns
        -------
        str
            32 hexadecimal digits. Two SAEs that differ in any configuration field, or in training,
            differ; a hand-made change of a few numbers in a large file may go unseen.
        """
        digest = hashlib.blake2b(digest_size=16)
        fixed = {
            key: value for key, value in self.config.raw.items() if key not in ("device", "dtype")
        }
        digest.update(json.dumps(fixed, sort_keys=True, default=str).encode())
        content = self.content()
        if isinstance(content, bytes):
            digest.update(content)
        else:
            _hash_file(digest, content)
        return digest.hexdigest()

    def density(self) -> Float[np.ndarray, " d_sae"] | None:
        """Return each feature's firing frequency, where the SAE came with it.

        SAELens stores its base-10 logarithm in ``sparsity.safetensors``.

        Raises
        ------
        SaeError
            If the file is damaged or of another size.
        """
        path = None if self.folder is None else self.folder / _SPARSITY_FILE
        if path is None or not path.is_file():
            return None
        check_shapes(safetensors_shapes(path), {"sparsity": (self.config.d_sae,)}, str(path))
        from safetensors.numpy import load_file

        logarithm = load_file(path)["sparsity"].astype(np.float64)
        if np.isnan(logarithm).any():
            raise SaeError(f"{path}: sparsity holds NaN")
        return np.clip(np.power(10.0, logarithm), 0.0, 1.0)

    def labels(self) -> dict[int, str]:
        """Return the labels in ``labels.json`` beside the weights; empty where there are none.

        The layout is ``{"features": {"417": {"label": "...", "f1": 0.97}}}``, or the inner object
        by itself. Labels are untrusted text and are cut at 2,000 characters.

        Raises
        ------
        SaeError
            If the file has another layout or names a feature outside the dictionary.
        """
        path = None if self.folder is None else self.folder / _LABELS_FILE
        if path is None or not path.is_file():
            return {}
        data = read_json_object(path)
        features = data.get("features", data)
        if not isinstance(features, Mapping):
            raise SaeError(f'{path}: expected {{"features": {{"<number>": {{"label": ...}}}}}}')
        labels: dict[int, str] = {}
        for number, entry in features.items():
            label = entry.get("label") if isinstance(entry, Mapping) else None
            if not isinstance(label, str):
                raise SaeError(f"{path}: feature {number!r:.40} has no text label")
            if not (str(number).isdecimal() and int(number) < self.config.d_sae):
                raise SaeError(
                    f"{path}: feature {number!r:.40} is outside 0 … {self.config.d_sae - 1}"
                )
            labels[int(number)] = label[:_MAX_LABEL]
        return labels


def _hash_file(digest: Any, path: Path) -> None:
    size = path.stat().st_size
    digest.update(size.to_bytes(8, "little"))
    with path.open("rb") as file:
        if size <= _WHOLE_HASH:
            while page := file.read(1 << 20):
                digest.update(page)
            return
        for start in np.linspace(0, size - _PAGE, 256, dtype=np.int64):
            file.seek(int(start))
            digest.update(file.read(_PAGE))


def torch_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """Return the torch dtype of a name or dtype.

    Raises
    ------
    SaeError
        If it is not a floating-point type SAEs are kept in.
    """
    found: torch.dtype = getattr(torch, dtype_name(dtype))
    return found


def build_sae(
    config: SaeConfig, tensors: Mapping[str, Tensor], device: str, dtype: torch.dtype, where: str
) -> Any:
    """Make the SAELens module of a configuration and its tensors.

    Parameters
    ----------
    config, tensors
        A checked configuration and tensors under SAELens's names; shapes and numbers are checked
        here.
    device, dtype
        Where the module lives and in which precision.
    where
        What to call the SAE in errors.

    Returns
    -------
    sae_lens.SAE
        In evaluation mode, with gradients off for its parameters.

    Raises
    ------
    SaeError
        If the tensors do not fit the configuration or hold NaN.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    check_shapes(shapes, expected_shapes(config), where)
    ready = {name: tensor.to(device, dtype) for name, tensor in tensors.items()}
    check_finite(ready, where)
    from sae_lens import SAE, __version__

    settings = {**config.raw, "device": device, "dtype": dtype_name(dtype)}
    # Stating the version keeps SAELens from treating the configuration as one of before 6.0.
    settings["metadata"] = {**config.metadata, "sae_lens_version": __version__}

    def give(*_args: Any, **_kwargs: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return settings, ready

    with warnings.catch_warnings():
        # How the SAE wants its model loaded is handled where it is attached.
        warnings.filterwarnings("ignore", message="\nThis SAE has non-empty")
        return settle(SAE.load_from_disk("", device=device, converter=give))


def settle(module: Any) -> Any:
    """Prepare a SAELens module for inference: parameters ask for no gradient, no reshaping inside.

    ``hook_z`` activations are flattened by the caller (`workbench.saes.sae`), which knows the head
    shape of each call; SAELens's own reshaping remembers the first one it saw.
    """
    module.turn_off_forward_pass_hook_z_reshaping()
    module.eval()
    module.requires_grad_(requires_grad=False)
    return module

"""What an SAE is and where its weights are: the part of `Sae` that computes nothing."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from jaxtyping import Float

from workbench.saes.decode import needs_input, renormalises

if TYPE_CHECKING:
    from workbench.model.sites import Site
    from workbench.saes.config import SaeConfig
    from workbench.saes.residency import Weights
    from workbench.saes.source import SaeSource

__all__ = ["SaeDescription", "SaeProvenance"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SaeProvenance:
    """Where an SAE came from.

    Parameters
    ----------
    identifier, layout
        What it was loaded as, and the layout it was stored in.
    architecture
        SAELens architecture name.
    site, out_site
        Hook names as its author gave them.
    model_name
        Model it was trained on.
    d_in, d_sae
        Widths.
    dtype
        Precision it is used in.
    centred
        Whether its input is centred over the width before encoding.
    """

    identifier: str
    layout: str
    architecture: str
    site: str | None
    out_site: str | None
    model_name: str | None
    d_in: int
    d_sae: int
    dtype: str
    centred: bool


class SaeDescription:
    """Facts about one SAE and access to its weights; see `workbench.saes.sae.Sae`."""

    def __init__(
        self,
        name: str,
        weights: Weights,
        *,
        site: Site | None = None,
        out_site: Site | None = None,
        centred: bool = False,
    ) -> None:
        self.name = name
        self.site = site
        self.out_site = out_site if out_site is not None else site
        self.centred = centred
        self._weights = weights

    # -- description --------------------------------------------------------------------------

    @property
    def source(self) -> SaeSource:
        """Where its weights come from."""
        return self._weights.source

    @property
    def config(self) -> SaeConfig:
        """Its configuration."""
        return self.source.config

    @property
    def architecture(self) -> str:
        """SAELens architecture name."""
        return self.config.architecture

    @property
    def d_in(self) -> int:
        """Width of the activations it reads."""
        return self.config.d_in

    @property
    def d_out(self) -> int:
        """Width of the activations it writes; differs from `d_in` for some transcoders."""
        return self.config.d_out

    @property
    def d_sae(self) -> int:
        """Number of features."""
        return self.config.d_sae

    @property
    def is_transcoder(self) -> bool:
        """Whether it reads one site and writes another."""
        return self.config.is_transcoder

    @property
    def needs_input(self) -> bool:
        """Whether a reconstruction needs the input beside the code."""
        return needs_input(self.config)

    @property
    def dtype(self) -> torch.dtype:
        """Precision the weights are used in."""
        return self._weights.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are, or will be."""
        return self._weights.device

    @property
    def nbytes(self) -> int:
        """Bytes the weights take when resident."""
        return self._weights.nbytes

    @property
    def resident(self) -> bool:
        """Whether the weights are in memory now."""
        return self._weights.resident

    @property
    def provenance(self) -> SaeProvenance:
        """Where it came from and how it is used."""
        return SaeProvenance(
            identifier=self.source.identifier,
            layout=self.source.layout,
            architecture=self.architecture,
            site=self.config.hook,
            out_site=self.config.hook_out,
            model_name=self.config.model_name,
            d_in=self.d_in,
            d_sae=self.d_sae,
            dtype=str(self.dtype).removeprefix("torch."),
            centred=self.centred,
        )

    @property
    def fingerprint(self) -> str:
        """Hash of configuration and weights; see `SaeSource.fingerprint`."""
        return self._weights.fingerprint

    @property
    def l0(self) -> float | None:
        """Mean active features per token as its author states or measured it; None if unknown."""
        if self.source.expected_l0 is not None:
            return self.source.expected_l0
        density = self.density()
        return None if density is None else float(density.sum())

    def density(self) -> Float[np.ndarray, " d_sae"] | None:
        """Return each feature's firing frequency as its author measured it, or None."""
        return self.source.density()

    def labels(self) -> dict[int, str]:
        """Return feature labels stored beside the weights (untrusted text); empty if none."""
        return self.source.labels()

    def __repr__(self) -> str:
        state = "resident" if self.resident else "not loaded"
        path = f" → {self.out_site}" if self.is_transcoder and self.out_site else ""
        return (
            f"Sae({self.name!r}{path}, {self.architecture}, {self.d_in} → {self.d_sae:,}, "
            f"{str(self.dtype).removeprefix('torch.')} on {self.device}, {state})"
        )

    # -- weights ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def loaded(self) -> Iterator[Any]:
        """Give the SAELens module and keep it in memory for the length of the block."""
        # Per-token normalisation keeps its statistics on the module between two calls.
        guard = self._weights.lock if renormalises(self.config) else contextlib.nullcontext()
        with guard, self._weights.use() as module:
            yield module

    def load(self) -> Self:
        """Bring the weights into memory now and return self."""
        with self.loaded():
            return self

    def unload(self) -> None:
        """Drop the weights from memory; the next use loads them again."""
        self._weights.evict()

"""One intervention for many prompts: its strength and its tokens in each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.steering.positions import EVERYWHERE

if TYPE_CHECKING:
    from workbench.model.generate_rows import RowStep
    from workbench.saes import Sae
    from workbench.steering.intervention import Intervention

__all__ = ["Reading", "Slot"]


class Reading:
    """A feature's activation at the tokens of the current step, for conditions.

    Parameters
    ----------
    sae
        The SAE.
    index
        The feature.
    """

    def __init__(self, sae: Sae, index: int) -> None:
        self.sae = sae
        self.index = index
        self.values: Float[Tensor, "row pos"] | None = None

    def read(self, x: Float[Tensor, "row pos d"]) -> None:
        """Encode the feature at its site."""
        self.values = self.sae.encode_features(x, [self.index])[..., 0]


class Slot:
    """One intervention, with the strength and interval of positions it has for each prompt.

    Parameters
    ----------
    item
        The intervention; its own strength counts for nothing here.
    n_prompts
        How many prompts there are; those that never call `set` are left alone.
    device
        Where the figures are kept.
    """

    def __init__(self, item: Intervention, n_prompts: int, device: torch.device) -> None:
        self.item = item
        self.reading: Reading | None = None
        self._device = device
        self._amounts = [0.0] * n_prompts
        self._low = [EVERYWHERE] * n_prompts
        self._high = [0] * n_prompts

    def set(self, prompt: int, amount: float, low: int, high: int) -> None:
        """Give a prompt its strength and its positions ``[low, high)``."""
        self._amounts[prompt] = amount
        self._low[prompt], self._high[prompt] = low, high

    def finish(self) -> None:
        """Move the figures to the device."""
        self.amounts = torch.tensor(self._amounts, device=self._device)
        self.low = torch.tensor(self._low, device=self._device)
        self.high = torch.tensor(self._high, device=self._device)
        self.everywhere = not any(self._low) and min(self._high) >= EVERYWHERE

    def first(self, prompt: int) -> int | None:
        """First position of a prompt it may change, None where it acts on none."""
        low = self._low[prompt]
        return low if low < self._high[prompt] else None

    def mask(self, step: RowStep) -> Bool[Tensor, "row pos"]:
        """Where it acts, among the activations of a step."""
        low, high = self.low[step.prompt][:, None], self.high[step.prompt][:, None]
        inside = (step.positions >= low) & (step.positions < high)
        when = self.item.positions.when
        if when is not None and self.reading is not None and self.reading.values is not None:
            inside = inside & (self.reading.values > when.above).to(inside.device)
        return inside

    def amount(self, step: RowStep) -> Float[Tensor, "row 1"]:
        """Strength of each row."""
        return self.amounts[step.prompt][:, None]

"""Weights that load on first use and leave under a memory budget, least recently used first."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch

from workbench.errors import SaeError
from workbench.saes.source import SaeSource, torch_dtype

__all__ = ["MemoryBudget", "Weights"]


class MemoryBudget:
    """Bytes of weights that may be resident at once, shared by the SAEs of one store.

    Parameters
    ----------
    limit
        Upper bound in bytes; None for no bound.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.lock = threading.RLock()
        # Ordered by use, least recent first.
        self._resident: dict[int, Weights] = {}
        self._limit: int | None = None
        self.limit = limit

    @property
    def limit(self) -> int | None:
        """The bound in bytes; lowering it evicts at once."""
        return self._limit

    @limit.setter
    def limit(self, limit: int | None) -> None:
        if limit is not None and limit <= 0:
            raise SaeError(f"got a memory budget of {limit} bytes, expected a positive number")
        with self.lock:
            self._limit = limit
            self._make_room(0, "the new budget")

    @property
    def used(self) -> int:
        """Bytes resident now."""
        return sum(weights.nbytes for weights in self._resident.values())

    def touch(self, weights: Weights) -> None:
        """Mark as most recently used."""
        self._resident.pop(id(weights), None)
        self._resident[id(weights)] = weights

    def forget(self, weights: Weights) -> None:
        """Stop counting weights that left memory."""
        self._resident.pop(id(weights), None)

    def make_room(self, weights: Weights) -> None:
        """Evict until `weights` fits.

        Raises
        ------
        SaeError
            If it does not fit beside what is in use.
        """
        self._make_room(weights.nbytes, weights.source.identifier)

    def _make_room(self, needed: int, what: str) -> None:
        if self._limit is None:
            return
        for other in list(self._resident.values()):
            if self.used + needed <= self._limit:
                return
            if not other.pinned:
                other.evict()
        if self.used + needed > self._limit:
            in_use = [weights.source.identifier for weights in self._resident.values()]
            raise SaeError(
                f"{what} needs {_mib(needed)} of SAE weights, but the memory budget is "
                f"{_mib(self._limit)} with {_mib(self.used)} in use by {in_use or 'nothing'}; "
                "raise the budget, use bfloat16, or use fewer SAEs in one pass"
            )


class Weights:
    """One SAE's weights, in memory or not.

    Parameters
    ----------
    source
        Where they come from.
    device, dtype
        Where they are put, and in which precision.
    budget
        What they count against.
    """

    def __init__(
        self,
        source: SaeSource,
        *,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = "float32",
        budget: MemoryBudget | None = None,
    ) -> None:
        self.source = source
        self.device = torch.device(device)
        self.dtype = torch_dtype(dtype)
        self.budget = budget or MemoryBudget()
        self.lock = threading.RLock()
        """Held by computations that leave state on the module between two calls."""
        self._module: Any = None
        self._pins = 0
        self._fingerprint: str | None = None

    @property
    def nbytes(self) -> int:
        """Bytes they take when resident."""
        return self.source.nbytes(self.dtype)

    @property
    def resident(self) -> bool:
        """Whether they are in memory."""
        return self._module is not None

    @property
    def pinned(self) -> bool:
        """Whether they may not leave memory now."""
        return self._pins > 0

    @property
    def fingerprint(self) -> str:
        """Hash of configuration and weights, computed once."""
        if self._fingerprint is None:
            self._fingerprint = self.source.fingerprint()
        return self._fingerprint

    @contextlib.contextmanager
    def use(self) -> Iterator[Any]:
        """Give the module, loading it if needed, and keep it for the length of the block."""
        with self.budget.lock:
            if self._module is None:
                self.budget.make_room(self)
                # Weights made in inference mode could never take part in a gradient later.
                with torch.inference_mode(mode=False), torch.no_grad():
                    self._module = self.source.read(str(self.device), self.dtype)
            self.budget.touch(self)
            self._pins += 1
            module = self._module
        try:
            yield module
        finally:
            with self.budget.lock:
                self._pins -= 1

    def evict(self) -> bool:
        """Drop the weights unless they are in use; return whether they left."""
        with self.budget.lock:
            if self.pinned or self._module is None:
                return False
            self._module = None
            self.budget.forget(self)
            return True


def _mib(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"

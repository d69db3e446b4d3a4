"""Keeping work within memory: chunks that fit a budget, smaller ones where memory runs out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch

from workbench.errors import InputError, WorkbenchError

__all__ = ["CancelledError", "MemoryBudget", "Meter", "default_bytes"]

T = TypeVar("T")
_DEFAULT = 2**30


class CancelledError(WorkbenchError):
    """The caller asked for the work to stop."""


def default_bytes(device: torch.device) -> int:
    """Half of what is free now, at most 1 GiB on a CPU."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free // 2
    import psutil

    return min(_DEFAULT, int(psutil.virtual_memory().available) // 2)


class MemoryBudget:
    """Divides work into chunks.

    Parameters
    ----------
    limit
        Bytes the work may take at once, beyond weights and results; None for `default_bytes`.
    device
        Where the work runs.

    Raises
    ------
    InputError
        A budget that is not positive.
    """

    def __init__(self, limit: int | None, device: torch.device) -> None:
        if limit is not None and limit < 1:
            raise InputError(f"got a memory budget of {limit} bytes, expected at least 1")
        self.limit = default_bytes(device) if limit is None else int(limit)
        self._shrunk = 1
        """How many times smaller chunks are since memory ran out."""

    def size(self, each: int) -> int:
        """Return how many items of `each` bytes fit, at least one."""
        return max(1, self.limit // max(1, each) // self._shrunk)

    def chunks(self, count: int, each: int, work: Callable[[slice], T]) -> Iterator[T]:
        """Do work on slices of ``range(count)`` of at most `limit` bytes.

        Where memory runs out, the slice is halved and tried again, and later ones are smaller too.

        Parameters
        ----------
        count
            Number of items.
        each
            Bytes one item takes.
        work
            Called with slices that cover the items in order. It may be called again for the same
            items, so it must not keep anything until it returns.

        Yields
        ------
        What `work` returned, slice by slice.

        Raises
        ------
        InputError
            Even a single item does not fit.
        """
        start = 0
        while start < count:
            size = min(self.size(each), count - start)
            try:
                done = work(slice(start, start + size))
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not ran_out(error):
                    raise
                problem = str(error).splitlines()[0]
            else:
                yield done
                start += size
                continue
            # Outside the handler, where the failed tensors are no longer held by the traceback.
            if size == 1:
                raise InputError(
                    f"memory ran out on a single item ({problem}); use shorter prompts, a smaller "
                    "model or another device"
                )
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            while self.size(each) >= size:
                self._shrunk *= 2


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text


class Meter:
    """Shows how far work is and stops it when asked.

    Parameters
    ----------
    total
        Number of steps; more can be added.
    show
        True for a progress bar, a function called with (done, total, what), or False.
    cancel
        An event, or a function that says whether to stop.
    """

    def __init__(
        self,
        total: int,
        show: bool | Callable[[int, int, str], None],
        cancel: threading.Event | Callable[[], bool] | None,
    ) -> None:
        self._tell = show if callable(show) else None
        self._asked = cancel.is_set if isinstance(cancel, threading.Event) else cancel
        self.done, self.total = 0, total
        self._bar: Any = None
        if show is True:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=total, unit="step", desc="circuit", leave=False)

    def add(self, steps: int) -> None:
        """Note that there is more to do than thought."""
        self.total += steps
        if self._bar is not None:
            self._bar.total = self.total
            self._bar.refresh()

    def step(self, what: str) -> None:
        """Note one step done.

        Raises
        ------
        CancelledError
            The caller asked to stop.
        """
        self.done += 1
        if self._bar is not None:
            self._bar.set_description(f"circuit: {what}", refresh=False)
            self._bar.update(1)
        if self._tell is not None:
            self._tell(self.done, self.total, what)
        self.check()

    def check(self) -> None:
        """Stop if the caller asked to.

        Raises
        ------
        CancelledError
        """
        if self._asked is not None and self._asked():
            self.close()
            raise CancelledError(
                f"circuit discovery was cancelled after {self.done} of {self.total}"
            )

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()

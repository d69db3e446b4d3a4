"""How many tokens one pass takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.model.model import Model
    from workbench.saes.sae import Sae

__all__ = ["CPU_BATCH_TOKENS", "find_batch_tokens", "largest_batch"]

CPU_BATCH_TOKENS = 2048
_MOST = 1 << 18
_GAIN = 1.03


def largest_batch(
    attempt: Callable[[int], None],
    *,
    start: int,
    most: int,
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """Double the tokens of a pass for as long as that fits and is faster per token.

    Parameters
    ----------
    attempt
        Runs one pass of so many tokens; raises `torch.OutOfMemoryError` where it does not fit.
    start
        Fewest tokens.
    most
        Most tokens.
    clock
        Seconds, for the speed.

    Returns
    -------
    int
        Tokens of the fastest pass that left room: the next larger size fits too, or was only
        slower, or is half of what ran out of memory.

    Raises
    ------
    WorkbenchError
        Not even `start` fits.
    """
    best, best_speed, size = 0, 0.0, start
    while size <= most:
        try:
            attempt(size)  # the first pass of a size pays for its kernels
            began = clock()
            attempt(size)
            speed = size / max(clock() - began, 1e-9)
        except torch.OutOfMemoryError as error:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if not best:
                raise WorkbenchError(
                    f"a pass of {size:,} tokens does not fit the accelerator's memory: use a "
                    "shorter context, fewer SAEs at once, or a smaller dtype"
                ) from error
            # What just fitted may not, beside what a build gathers: go one step back.
            return best // 2 if best == size // 2 and best > start else best
        if speed > best_speed * _GAIN:
            best, best_speed = size, speed
        elif size > best * 2:
            break
        size *= 2
    return best


def find_batch_tokens(model: Model, saes: Sequence[Sae], context: int) -> int:
    """Tokens of one pass on the model's device.

    Parameters
    ----------
    model, saes
        What runs.
    context
        Tokens of a row.

    Returns
    -------
    int
        On the CPU a fixed number; elsewhere the fastest that fits, found by trying.
    """
    if model.device.type == "cpu":
        return CPU_BATCH_TOKENS
    from workbench.features.index.scan import site_of
    from workbench.model.tokens import Tokens

    sites = list(dict.fromkeys(site_of(sae).name for sae in saes))

    def attempt(tokens: int) -> None:
        ids = torch.randint(0, model.d_vocab, (max(tokens // context, 1), context))
        mask = torch.ones_like(ids, dtype=torch.bool)
        row = Tokens(ids=ids, mask=mask, special=~mask, policy=model.policy, strings=())
        ran = model.run(row, capture=sites)
        for sae in saes:
            sae.encode(ran[site_of(sae)])
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)

    return largest_batch(attempt, start=context, most=max(_MOST, context))

"""Circuits to compare with: random ones of equal size.

A random circuit keeps, at each site and position, as many nodes as the circuit does, drawn from
those active there on the examples, and errors at the same sites and positions. Nodes that never
fire would make chance look worse than it is.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from workbench.circuits.ablation import Kept, Runner

__all__ = ["random_subsets"]


def random_subsets(
    runner: Runner, kept: Kept, count: int, rng: np.random.Generator
) -> Iterator[Kept]:
    """Draw random circuits of the size of another.

    Parameters
    ----------
    runner
        Where they will run.
    kept
        The circuit.
    count
        How many.
    rng
        Source of randomness.

    Yields
    ------
    Kept
    """
    if count < 1:
        return
    active = runner.active
    for _ in range(count):
        parts = {}
        for name, mask in kept.parts.items():
            drawn = torch.zeros_like(mask)
            for position in range(mask.shape[0]):
                size = int(mask[position].sum())
                if not size:
                    continue
                # Members count as candidates even where these examples do not fire them.
                pool = (active[name][position] | mask[position]).nonzero().flatten().numpy()
                drawn[position, torch.from_numpy(rng.permutation(pool)[:size])] = True
            parts[name] = drawn
        errors = {}
        for name, mask in kept.errors.items():
            size, width = int(mask.sum()), int(runner.pairs.lengths.max())
            chosen = torch.from_numpy(rng.permutation(width)[:size])
            errors[name] = torch.zeros_like(mask)
            errors[name][chosen] = True
        yield Kept(parts=parts, errors=errors)

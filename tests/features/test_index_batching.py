"""Finding the tokens of a pass, on a pretended accelerator."""

from __future__ import annotations

import pytest
import torch

from workbench.errors import WorkbenchError
from workbench.features.index.batching import largest_batch


class Accelerator:
    """Fits so many tokens, takes some time per pass and per token, and stops gaining somewhere."""

    def __init__(self, room, per_pass=1.0, per_token=1e-3, slow_above=None):
        self.room, self.per_pass, self.per_token = room, per_pass, per_token
        self.slow_above = slow_above
        self.now, self.tried = 0.0, []

    def attempt(self, tokens):
        self.tried.append(tokens)
        if tokens > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.now += self.per_pass + tokens * self.per_token
        if self.slow_above is not None and tokens > self.slow_above:
            self.now += tokens * 10

    def find(self, start=64, most=1 << 20):
        return largest_batch(self.attempt, start=start, most=most, clock=lambda: self.now)


def test_it_stays_half_below_what_ran_out_of_memory():
    machine = Accelerator(room=5000, per_token=1e-6)
    # 4096 fits, 8192 does not; half is left for what a build gathers.
    assert machine.find() == 2048
    assert max(machine.tried) == 8192


def test_it_stops_where_more_is_not_faster():
    machine = Accelerator(room=1 << 30, per_pass=1.0, per_token=1e-2)
    found = machine.find()
    # At 8,192 tokens the fixed cost is 1% of the pass: doubling gains less than 3%.
    assert 1024 <= found <= 8192
    assert max(machine.tried) <= found * 4


def test_a_slower_larger_pass_is_not_taken():
    assert Accelerator(room=1 << 30, per_token=1e-6, slow_above=1000).find() == 512


def test_it_never_goes_beyond_the_bound():
    machine = Accelerator(room=1 << 30, per_token=1e-9)
    assert machine.find(most=1024) == 1024
    assert max(machine.tried) == 1024


def test_the_smallest_pass_must_fit():
    with pytest.raises(WorkbenchError, match="64 tokens does not fit"):
        Accelerator(room=10).find()
    assert Accelerator(room=64).find() == 64


def test_other_errors_pass_through():
    def broken(tokens):
        raise RuntimeError("CUDA error: device-side assert triggered")

    with pytest.raises(RuntimeError, match="assert"):
        largest_batch(broken, start=1, most=2)

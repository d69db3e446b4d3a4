"""What a circuit discovery will take, before it runs."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from workbench.circuits.budget import MemoryBudget
from workbench.circuits.nodes import NodeSettings, row_bytes
from workbench.circuits.runs import Runs
from workbench.circuits.units import NodeSite, SaeSite
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd

    from workbench.session import Session

__all__ = ["CircuitEstimate", "estimate"]

_FORWARD_SHARE = 0.4
"""Share of a forward pass in a forward and backward pass, where only inputs get gradients."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CircuitEstimate(Result):
    """Time and memory of a circuit discovery, from one timed pass over the first example.

    Parameters
    ----------
    n_examples, n_tokens
        Examples, and tokens of all clean prompts.
    dropped
        Reason to the number of examples left out.
    n_passes
        Forward (and backward) passes of one example through the whole model this amounts to; runs
        that begin at a site count by the blocks they compute.
    seconds_nodes
        For node effects.
    seconds_per_100_targets
        For edges, per 100 kept nodes; how many pass the threshold is not known before.
    bytes_at_once
        Most memory in use at once beyond weights and results.
    examples_at_once
        Examples per chunk.
    memory
        The budget, bytes.
    """

    n_examples: int
    n_tokens: int
    dropped: dict[str, int]
    n_passes: float
    seconds_nodes: float
    seconds_per_100_targets: float
    bytes_at_once: int
    examples_at_once: int
    memory: int

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per quantity: ``quantity``, ``value``, ``unit``."""
        import pandas as pd

        mib = 2**20
        rows = [
            ("examples", self.n_examples, ""),
            ("tokens", self.n_tokens, ""),
            ("passes of the model", round(self.n_passes, 1), "examples"),
            ("node effects", round(self.seconds_nodes, 2), "s"),
            ("edges, per 100 nodes kept", round(self.seconds_per_100_targets, 2), "s"),
            ("memory at once", round(self.bytes_at_once / mib, 1), "MiB"),
            ("memory budget", round(self.memory / mib, 1), "MiB"),
            ("examples at once", self.examples_at_once, ""),
        ]
        return pd.DataFrame(rows, columns=["quantity", "value", "unit"])

    def summary(self) -> str:
        """Return one line: time and memory."""
        return (
            f"CircuitEstimate: {self.n_examples} examples, about {self.seconds_nodes:.1f} s for "
            f"nodes and {self.seconds_per_100_targets:.1f} s for edges per 100 nodes kept, "
            f"{self.bytes_at_once / 2**20:,.0f} MiB at once"
        )


def estimate(
    session: Session,
    runs: Runs,
    sites: Sequence[NodeSite],
    settings: NodeSettings,
    budget: MemoryBudget,
    *,
    edges: bool,
) -> CircuitEstimate:
    """Time one example and count what the rest takes; see `CircuitEstimate`."""
    model, pairs = session.model, runs.pairs
    count, width = len(pairs), int(pairs.lengths.max())
    embed = model.sites.resolve("embed")
    first = torch.tensor([int(pairs.lengths.argmax())])
    acts: dict[str, torch.Tensor] = {}

    def one_pass() -> None:
        root = {embed.hook: lambda value: value.detach().requires_grad_()}
        wanted = list(dict.fromkeys(place for s in sites for place in (s.written, s.source)))
        with torch.enable_grad():
            found, outputs = runs.run(first, capture=wanted, edits=root)
            runs.metric.prepare(outputs, outputs)
            value = runs.metric(outputs).sum()
            if value.requires_grad:
                torch.autograd.grad(value, list(found.values()), allow_unused=True)
        acts.update({name: act.detach() for name, act in found.items()})

    seconds_pass = _best(one_pass)
    features = [site for site in sites if isinstance(site, SaeSite)]
    seconds_code, active = 0.0, 1.0
    if features:
        largest = max(features, key=lambda site: site.sae.d_sae * site.sae.d_in)
        source = acts[largest.source.name].flatten(2)
        everywhere = torch.ones(source.shape[:2], dtype=torch.bool, device=source.device)
        one = _best(lambda: largest.code(source, everywhere))
        size = largest.sae.d_sae * largest.sae.d_in
        total = sum(site.sae.d_sae * site.sae.d_in for site in features)
        seconds_code = one * total / size
        active = largest.code(source, everywhere).nnz / max(width, 1)
    sides = 2 if pairs.paired else 1
    share = [runs.blocks_above(site.written) / max(model.n_layers, 1) for site in sites]
    passes = float(sides)
    if settings.method == "ig":
        passes += sum(share) * (settings.steps - (settings.endpoint == "clean"))
    elif settings.method == "exact":
        # Features active on either side, and the error, each at every position.
        passes += sum(share) * width * (sides * active + 1) * _FORWARD_SHARE
    if settings.measure:
        passes += sum(share) * _FORWARD_SHARE
    each = 2 * row_bytes(runs, embed, width, grad=True)
    at_once = min(budget.size(each), count)
    most_rows = count * (settings.steps if settings.method == "ig" else 1)
    work = max(
        at_once * each,
        min(budget.limit, most_rows * row_bytes(runs, embed, width, grad=True)),
    )
    return CircuitEstimate(
        provenance=model.provenance(
            pairs.clean.policy, saes=[site.name for site in sites if site.scalar == "feature"]
        ),
        n_examples=count,
        n_tokens=int(pairs.lengths.sum()),
        dropped=pairs.reasons,
        n_passes=passes * count,
        seconds_nodes=count * (passes * seconds_pass + sides * seconds_code),
        # A target's product goes through one block's backward pass, all examples together.
        seconds_per_100_targets=(
            100 * count * seconds_pass * (1 - _FORWARD_SHARE) / max(model.n_layers, 1)
            if edges
            else 0.0
        ),
        bytes_at_once=int(work),
        examples_at_once=at_once,
        memory=budget.limit,
    )


def _best(work: Callable[[], object], repeats: int = 3) -> float:
    """Shortest time of a few runs, seconds."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return min(taken)

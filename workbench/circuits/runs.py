"""Running the model for circuits: whole runs, and runs that begin at a site.

Node effects at one site only depend on the part of the network above it. So a run that puts other
values at a site skips the blocks below (they hand their input on unchanged, and the residual stream
is put in at the site's block), and computes the logits of the answers only where that is all the
metric reads. Whether a model's blocks can be skipped, and whether the logits follow from the last
norm by the unembedding alone, is not assumed: both are compared with a whole run first, and left
alone where they differ.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.circuits.metrics import Metric, Outputs
from workbench.circuits.pairs import PromptPairs
from workbench.errors import SiteError
from workbench.model.network import StopPass
from workbench.model.passes import Edit

if TYPE_CHECKING:
    from workbench.model.model import Model
    from workbench.model.sites import Site
    from workbench.model.tokens import Tokens

__all__ = ["Acts", "Runs"]

Acts: TypeAlias = Mapping[str, Float[Tensor, "row pos d"]]
Engine: TypeAlias = Literal["plain", "bridge"]


class Runs:
    """Runs of one model on the same examples with the same metric.

    Parameters
    ----------
    model
        The model.
    pairs
        The examples.
    metric
        The metric.
    sites
        Sites that will be read or replaced; they decide the engine.
    """

    def __init__(
        self, model: Model, pairs: PromptPairs, metric: Metric, sites: Sequence[Site]
    ) -> None:
        self.model, self.pairs, self.metric = model, pairs, metric
        self.metric_sites = [model.sites.resolve(name) for name in metric.sites]
        hooks = [site.hook for site in (*sites, *self.metric_sites)]
        self.engine: Engine = model.network.engine_for(hooks)
        answers = metric.tokens(pairs)
        self._answers = None if answers is None else answers.to(model.device)
        self._final = self._site("final")
        self.direct_head = False
        """Whether logits follow from the last norm by the unembedding alone."""
        self._blocks: list[Any] = []
        self.additive = False
        """Whether a block's output is its input plus both sublayers' outputs."""
        self._look()

    def _site(self, name: str) -> Site | None:
        """Return the site of a name, if there is one and the engine in use serves it."""
        if name not in self.model.sites:
            return None
        site = self.model.sites.resolve(name)
        plain = self.engine == "plain"
        return None if plain and site.hook not in self.model.network.plain_hooks else site

    # -- what the model allows ----------------------------------------------------------------

    def _look(self) -> None:
        """Compare shortcuts with whole runs on the first example, and keep those that are equal."""
        layers = range(self.model.n_layers)
        names = [f"{kind}.{n}" for n in layers for kind in ("resid_pre", "attn_out", "mlp_out")]
        names += [f"resid_post.{layer}" for layer in layers]
        found = [site for name in names if (site := self._site(name)) is not None]
        ids = self.pairs.clean.ids[:1, : int(self.pairs.lengths[0])].to(self.model.device)
        with torch.no_grad():
            acts: dict[str, Tensor] = {}
            points = {site.hook: _keep(acts, site.name) for site in found}
            if self._final is not None:
                points[self._final.hook] = _keep(acts, "final")
            logits = self._forward(ids, points)
            if logits is None:
                raise SiteError("the model gave no logits")
            if self._final is not None:
                near = self._unembed(acts["final"][:, -1])
                self.direct_head = near is not None and _close(near, logits[:, -1])
            parts = [
                [acts.get(f"{kind}.{n}") for kind in ("resid_pre", "attn_out", "mlp_out")]
                for n in layers
            ]
            self.additive = all(
                pre is not None
                and attn is not None
                and mlp is not None
                and f"resid_post.{n}" in acts
                and _close(pre + attn + mlp, acts[f"resid_post.{n}"])
                for n, (pre, attn, mlp) in enumerate(parts)
            )
            self._look_at_blocks(ids, acts, logits)

    def _look_at_blocks(self, ids: Tensor, acts: Acts, logits: Tensor) -> None:
        count = self.model.n_layers
        modules = [self.model.network.plain_module(f"blocks.{n}") for n in range(count)]
        served = all(f"resid_post.{n}" in acts for n in range(count))
        if self.engine != "plain" or not served or any(module is None for module in modules):
            return
        kept = list(self._blocks)
        self._blocks = modules
        for through in {0, count // 2, count - 1}:
            site = self.model.sites.resolve(f"resid_post.{through}")
            value = acts[site.name]
            try:
                with self._skipping(through + 1):
                    again = self._forward(ids, {site.hook: lambda _, value=value: value})
            except (TypeError, AttributeError, RuntimeError, ValueError, IndexError):
                # A block that is called in a way this cannot stand in for: whole runs then.
                again = None
            if again is None or not _close(again, logits):
                self._blocks = kept
                return

    @contextlib.contextmanager
    def _skipping(self, count: int) -> Iterator[None]:
        """Let the first `count` blocks hand on their input."""
        changed = self._blocks[:count]
        try:
            for block in changed:
                # An instance attribute stands before the class's method; hooks still run.
                block.forward = _hand_on
            yield
        finally:
            for block in changed:
                block.__dict__.pop("forward", None)

    def _forward(self, ids: Int[Tensor, "row pos"], points: Mapping[str, Edit]) -> Tensor | None:
        with self.model.lock, self.model.network.hooked(points, self.engine):
            ran = self.model.network.forward(ids, engine=self.engine)
        return None if ran is None else ran.logits

    def _unembed(self, final: Tensor) -> Tensor | None:
        head = self.model.network.plain.get_output_embeddings()  # type: ignore[operator]
        return None if head is None else head(final)

    # -- runs ---------------------------------------------------------------------------------

    def width(self, rows: Int[Tensor, " row"]) -> int:
        """Return the number of positions the longest of these examples has."""
        return int(self.pairs.lengths[rows].max())

    def run(
        self,
        rows: Int[Tensor, " row"],
        *,
        patch: bool = False,
        capture: Sequence[Site] = (),
        edits: Mapping[str, Edit] | None = None,
        skip: int = 0,
        metric: bool = True,
        width: int | None = None,
    ) -> tuple[dict[str, Tensor], Outputs]:
        """Run examples, one row each, with whatever gradient mode is on.

        Parameters
        ----------
        rows
            Example of each row; one may appear several times.
        patch
            Run the patch prompts.
        capture
            Sites to keep, after edits.
        edits
            Hook name to a function that replaces the activation there.
        skip
            Blocks from the bottom to leave out.
        metric
            Whether to compute what the metric needs.
        width
            Positions to run; those of the longest of the examples by default.

        Returns
        -------
        acts
            Activations at the captured sites, by site name.
        outputs
            What the metric reads; call the metric on it.
        """
        tokens = self._tokens(patch)
        width = width or self.width(rows)
        ids = tokens.ids[rows, :width].to(self.model.device)
        last = (self.pairs.lengths[rows] - 1).to(self.model.device)
        acts: dict[str, Tensor] = {}
        metric_sites = self.metric_sites if metric else []
        wanted = [*capture, *metric_sites]
        direct = metric and self.metric.needs != "nothing" and self.direct_head
        if direct and self._final is not None:
            wanted.append(self._final)
        whole = metric and self.metric.needs != "nothing" and not direct
        points = _points(wanted, dict(edits or {}), acts, stop=not whole)
        # The lock is taken out here too: nothing else may run while blocks are skipped.
        with self.model.lock, self._skipping(skip):
            logits = self._forward(ids, points)
        lines = torch.arange(len(rows), device=self.model.device)
        answers = scores = None
        if direct and self._final is not None:
            answers, scores = self._read_out(acts[self._final.name][lines, last], rows)
        elif whole and logits is not None:
            scores = logits[lines, last]
            if self._answers is not None and self.metric.needs == "answers":
                answers, scores = scores.gather(1, self._answers[rows]), None
        outputs = Outputs(
            rows=rows,
            mask=tokens.mask[rows, :width],
            special=tokens.special[rows, :width],
            answers=answers,
            logits=scores,
            acts={site.name: acts[site.name] for site in metric_sites},
        )
        return {site.name: acts[site.name] for site in capture}, outputs

    def _tokens(self, patch: bool) -> Tokens:
        return self.pairs.patch if patch and self.pairs.patch is not None else self.pairs.clean

    def _read_out(
        self, final: Float[Tensor, "row d_model"], rows: Int[Tensor, " row"]
    ) -> tuple[Tensor | None, Tensor | None]:
        if self.metric.needs == "logits" or self._answers is None:
            return None, self._unembed(final)
        head: Any = self.model.network.plain.get_output_embeddings()  # type: ignore[operator]
        tokens = self._answers[rows]
        # Two columns of the unembedding in place of all.
        columns = head.weight[tokens]
        answers = (final[:, None] * columns).sum(-1)
        if getattr(head, "bias", None) is not None:
            answers = answers + head.bias[tokens]
        return answers, None

    def from_site(
        self,
        site: Site,
        values: Float[Tensor, "row pos d"],
        rows: Int[Tensor, " row"],
        clean: Acts,
        chunk: Int[Tensor, " example"],
        *,
        capture: Sequence[Site] = (),
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Run on from a site that holds other values, everything before it clean.

        Parameters
        ----------
        site
            The site.
        values
            What it holds, differentiable.
        rows
            Example of each row.
        clean
            Clean activations of `chunk`: at `site`, and at what `needed` names for it.
        chunk
            The examples `clean` is of, in ascending order.
        capture
            Sites above to keep.

        Returns
        -------
        acts
            Activations at the captured sites, by site name.
        value
            The metric of each row.
        """
        place, skip, stream = self._start(site)
        edits: dict[str, Edit] = {}
        at = torch.searchsorted(chunk, rows)
        if place is site:
            edits[site.hook] = lambda _: values
        elif place is not None:
            # The sublayer's output is only ever added to the stream, so it can be added there.
            moved = clean[place.name][at] + (values - clean[site.name][at])
            edits[place.hook] = lambda _: moved
        if stream is not None:
            below = clean[stream.name][at]
            edits[stream.hook] = lambda _: below
        acts, outputs = self.run(
            rows, edits=edits, skip=skip, capture=capture, width=values.shape[1]
        )
        return acts, self.metric(outputs)

    def needed(self, site: Site) -> list[Site]:
        """Clean activations `from_site` needs besides that of the site itself."""
        place, _, stream = self._start(site)
        return [other for other in (place, stream) if other is not None and other != site]

    def _start(self, site: Site) -> tuple[Site | None, int, Site | None]:
        """Where to put values of `site` in, how many blocks to skip, where the stream goes in."""
        if site.layer is None or not self._blocks:
            return site, 0, None
        after = self.model.sites.resolve(f"resid_post.{site.layer}")
        if site == after:
            return site, site.layer + 1, None
        last_to_add = site.kind == "mlp_out" or (
            site.kind == "attn_out" and self.model.parallel_blocks
        )
        if last_to_add and self.additive:
            return after, site.layer + 1, None
        if site.layer == 0:
            return site, 0, None
        return site, site.layer, self.model.sites.resolve(f"resid_post.{site.layer - 1}")

    def blocks_above(self, site: Site) -> int:
        """Return how many blocks a run from this site computes."""
        _, skip, _ = self._start(site)
        return self.model.n_layers - skip


def _hand_on(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ARG001
    return hidden_states


def _keep(acts: dict[str, Tensor], name: str) -> Edit:
    def hook(value: Tensor) -> None:
        acts[name] = value

    return hook


def _points(
    wanted: Sequence[Site], edits: dict[str, Edit], acts: dict[str, Tensor], *, stop: bool
) -> dict[str, Edit]:
    """One function per hook: edit, keep, stop once everything wanted is there."""
    waiting = {site.name for site in wanted}
    names: dict[str, list[str]] = {}
    for site in wanted:
        names.setdefault(site.hook, []).append(site.name)

    def at(hook_name: str) -> Edit:
        def hook(value: Tensor) -> Tensor | None:
            edit = edits.get(hook_name)
            changed = edit(value) if edit is not None else None
            current = value if changed is None else changed
            for name in names.get(hook_name, ()):
                acts[name] = current
                waiting.discard(name)
            if stop and not waiting:
                raise StopPass
            return None if current is value else current

        return hook

    return {hook: at(hook) for hook in (*names, *(h for h in edits if h not in names))}


def _close(a: Tensor, b: Tensor) -> bool:
    scale = b.float().abs().mean().clamp_min(1e-6)
    tolerance = 1e-4 if b.dtype in (torch.float32, torch.float64) else 3e-2
    return a.shape == b.shape and bool(
        (a.float() - b.float()).abs().max() <= tolerance * scale * 10
    )

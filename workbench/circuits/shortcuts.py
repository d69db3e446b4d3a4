"""What a model allows a run to leave out, found by comparing with whole runs.

Node effects at one site only depend on the part of the network above it, and often only on the
last position. So runs may skip the blocks below a site (they hand their input on unchanged), the
positions before anything differs (their keys and values are given), and in the last block all but
the last position; and the logits of a few tokens follow from as many columns of the unembedding.
None of this is assumed of a model: each is tried on the first example and left alone where the
logits differ.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.circuits.metrics import Metric
from workbench.circuits.pairs import PromptPairs
from workbench.errors import SiteError
from workbench.model.passes import Edit

if TYPE_CHECKING:
    from workbench.model.model import Model
    from workbench.model.sites import Site

__all__ = ["Acts", "Engine", "Prefix", "Shortcuts", "keep_only"]

Acts: TypeAlias = Mapping[str, Float[Tensor, "row pos d"]]
Engine: TypeAlias = Literal["plain", "bridge"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Prefix:
    """What runs of some examples share: positions before anything differs.

    Parameters
    ----------
    length
        Number of positions.
    cache
        Keys and values there, on the clean input, one row for each example of the chunk.
    """

    length: int
    cache: Any


class Shortcuts:
    """A model with the examples, and which shortcuts give the logits of a whole run.

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
        self._narrow: tuple[str, ...] = ()
        self._cached = False
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
                    again = self._forward(ids, {site.hook: _put(value)})
            except (TypeError, AttributeError, RuntimeError, ValueError, IndexError):
                # A block that is called in a way this cannot stand in for: whole runs then.
                again = None
            if again is None or not _close(again, logits):
                self._blocks = kept
                return
        self._look_at_last_block(ids, logits)
        self._look_at_cache(ids, logits)

    def _look_at_last_block(self, ids: Tensor, logits: Tensor) -> None:
        """Whether the last block's MLP and output projection can run on one position alone.

        Their outputs are then spread over all positions, which changes nothing where the metric
        reads only the one.
        """
        names = [f"{kind}.{self.model.n_layers - 1}" for kind in ("mlp_in", "z")]
        last = torch.full((len(ids),), ids.shape[1] - 1, device=ids.device)
        for count in (2, 1):
            sites = [site for name in names[:count] if (site := self._site(name)) is not None]
            edits = {site.hook: keep_only(last) for site in sites}
            with contextlib.suppress(RuntimeError, ValueError, IndexError, TypeError):
                found = self._forward(ids, edits)
                if found is not None and _close(found[:, -1], logits[:, -1]):
                    self._narrow = tuple(edits)
                    return

    def _look_at_cache(self, ids: Tensor, logits: Tensor) -> None:
        """Whether positions can be left out whose keys and values are given."""
        if ids.shape[1] < 2:
            return
        with contextlib.suppress(RuntimeError, ValueError, IndexError, TypeError, AttributeError):
            prefix = self._prefix_of(ids[:, :1])
            found = self._forward(ids[:, 1:], {}, self._rows_of(prefix, torch.zeros(1).long()))
            self._cached = found is not None and _close(found[:, -1], logits[:, -1])

    def _prefix_of(self, ids: Tensor) -> Prefix:
        with torch.no_grad(), self.model.lock:
            ran = self.model.network.forward(ids, engine=self.engine, use_cache=True)
        return Prefix(length=ids.shape[1], cache=ran.past_key_values)

    @staticmethod
    def _rows_of(prefix: Prefix, rows: Int[Tensor, " row"]) -> Any:
        cache = copy.deepcopy(prefix.cache)
        cache.batch_select_indices(rows.to(cache.layers[0].keys.device))
        return cache

    def prefix(self, chunk: Int[Tensor, " example"]) -> Prefix | None:
        """Return the positions before clean and patch prompts first differ, if they can be skipped.

        Causal attention leaves every activation there as it is on the clean input, whatever a site
        takes on from the patch prompt.
        """
        if not self._cached or self.pairs.patch is None or self.metric_sites:
            return None
        differs = (self.pairs.clean.ids != self.pairs.patch.ids)[chunk]
        length = int(differs.int().argmax(1).min())
        length = min(length, int(self.pairs.lengths[chunk].min()) - 1)
        if length < 1:
            return None
        return self._prefix_of(self.pairs.clean.ids[chunk, :length].to(self.model.device))

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

    def _forward(
        self, ids: Int[Tensor, "row pos"], points: Mapping[str, Edit], cache: Any = None
    ) -> Tensor | None:
        options = {} if cache is None else {"use_cache": True, "past_key_values": cache}
        with self.model.lock, self.model.network.hooked(points, self.engine):
            ran = self.model.network.forward(ids, engine=self.engine, **options)
        return None if ran is None else ran.logits

    def _unembed(self, final: Tensor) -> Tensor | None:
        head = self.model.network.plain.get_output_embeddings()  # type: ignore[operator]
        return None if head is None else head(final)


def _put(value: Tensor) -> Edit:
    return lambda _: value


def keep_only(last: Int[Tensor, " row"]) -> Edit:
    """Keep one position of each row."""

    def hook(value: Tensor) -> Tensor:
        return value[torch.arange(len(last), device=last.device), last].unsqueeze(1)

    return hook


def _hand_on(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ARG001
    return hidden_states


def _keep(acts: dict[str, Tensor], name: str) -> Edit:
    def hook(value: Tensor) -> None:
        acts[name] = value

    return hook


def _close(a: Tensor, b: Tensor) -> bool:
    scale = b.float().abs().mean().clamp_min(1e-6)
    tolerance = 1e-4 if b.dtype in (torch.float32, torch.float64) else 3e-2
    return a.shape == b.shape and bool(
        (a.float() - b.float()).abs().max() <= tolerance * scale * 10
    )

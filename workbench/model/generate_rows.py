"""Rows of different lengths going through the network on one key-value cache.

Prompts are read in groups of equal length, so no padding is ever computed and the fused attention
kernel keeps its causal fast path. Their caches are then joined, aligned at the right, so that
every later step reads one token of each row; a mask hides what lies before a shorter row. A prefix
that prompts share is read once, as far as no edit acts on it, and so is a prompt asked for more
than once under the same edits.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.model.passes import Edit, place_edits

if TYPE_CHECKING:
    from workbench.model.model import Model
    from workbench.model.sites import Site

__all__ = ["CachedRows", "RowEdit", "RowStep", "SharedPrefix", "bytes_per_token", "joins_lengths"]

# Reading a shared prefix apart costs one more pass; below this many tokens saved it is not worth it
_WORTH_SHARING = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowStep:
    """Which rows and positions an activation [row, pos, d] belongs to.

    Parameters
    ----------
    prompt
        Number of the prompt of each row.
    positions
        Position in the whole text of each activation, from 0.
    lengths
        Number of prompt tokens of each row: positions from there on are generated ones.
    """

    prompt: Int[Tensor, " row"]
    positions: Int[Tensor, "row pos"]
    lengths: Int[Tensor, " row"]

    @property
    def generated(self) -> Bool[Tensor, "row pos"]:
        """Whether a position is a generated token."""
        return self.positions >= self.lengths[:, None]

    @property
    def last_of_prompt(self) -> Bool[Tensor, "row pos"]:
        """Whether a position is the prompt's last token."""
        return self.positions == self.lengths[:, None] - 1


RowEdit: TypeAlias = "Callable[[Tensor, RowStep], Tensor | None]"
"""Gets the activation at a site and what it belongs to, returns the replacement or None."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SharedPrefix:
    """Cached keys and values of tokens that no edit touched, read once and used again.

    Parameters
    ----------
    ids
        The tokens.
    layers
        Keys and values per layer, each [1, head, pos, d_head].
    """

    ids: tuple[int, ...]
    layers: tuple[tuple[Tensor, Tensor], ...] = dataclasses.field(repr=False)

    def cut(self, length: int) -> SharedPrefix:
        """Keep the first tokens only."""
        return SharedPrefix(
            ids=self.ids[:length],
            layers=tuple((k[:, :, :length], v[:, :, :length]) for k, v in self.layers),
        )


class CachedRows:
    """Prompts read into a cache, then fed one token per row at a time.

    Parameters
    ----------
    model
        The model.
    prompts
        Token ids of each prompt.
    rows
        Which prompt each row continues; None for one row per prompt.
    numbers
        What `RowStep.prompt` calls each prompt; None for their places in `prompts`.
    edits, row_edits
        Functions applied at sites, alone or told which rows and positions they see.
    edit_keys
        Rows of equal prompts whose keys are equal are read once; None says that every prompt has
        its own edits wherever `row_edits` are given.
    edited_from
        First position at which an edit may act, per prompt; None where none acts at all. The
        default takes edits to act everywhere.
    prefix
        A prefix read earlier.

    Attributes
    ----------
    logits : Tensor
        [row, d_vocab] float32 on the model's device: scores of each row's next token.
    """

    logits: Float[Tensor, "row d_vocab"]

    def __init__(
        self,
        model: Model,
        prompts: Sequence[Sequence[int]],
        rows: Sequence[int] | None = None,
        *,
        numbers: Sequence[int] | None = None,
        edits: Mapping[str | Site, Edit | Iterable[Edit]] | None = None,
        row_edits: Mapping[str | Site, RowEdit | Iterable[RowEdit]] | None = None,
        edit_keys: Sequence[Hashable] | None = None,
        edited_from: Sequence[int | None] | None = None,
        prefix: SharedPrefix | None = None,
    ) -> None:
        self.model = model
        self.prompts = [list(prompt) for prompt in prompts]
        self._step: RowStep | None = None
        self._last_only = model.logits_option()
        merged: dict[str | Site, list[Edit]] = {}
        for site, plain in (edits or {}).items():
            merged.setdefault(model.sites.resolve(site), []).extend(_listed(plain))
        for site, told in (row_edits or {}).items():
            wrapped = [self._told(function) for function in _listed(told)]
            merged.setdefault(model.sites.resolve(site), []).extend(wrapped)
        self._points = place_edits(model, merged)
        self.engine = model.network.engine_for(list(self._points))
        if edit_keys is None:
            edit_keys = range(len(prompts)) if row_edits else [0] * len(prompts)
        if edited_from is None:
            edited_from = [0 if merged else None] * len(prompts)
        self._from = list(edited_from)
        order = list(range(len(prompts))) if rows is None else list(rows)
        self._numbers = list(range(len(prompts)) if numbers is None else numbers)
        self.prompt = torch.tensor([self._numbers[i] for i in order], device=model.device)
        self.lengths = torch.tensor([len(self.prompts[i]) for i in order], device=model.device)
        self.width = int(self.lengths.max())
        self.n_fed = 0
        # Finished rows leave; this is which of the first rows are still here.
        self.kept = torch.arange(len(order))
        self.prefix = self._shared(prefix)
        self._read(order, [(tuple(self.prompts[i]), edit_keys[i]) for i in range(len(prompts))])

    def __len__(self) -> int:
        return len(self.kept)

    # -- reading the prompts --------------------------------------------------------------------

    def _shared(self, given: SharedPrefix | None) -> SharedPrefix | None:
        """Cache of what all prompts begin with, up to the first edit or a prompt's last token."""
        first = self.prompts[0]
        common = min(len(prompt) - 1 for prompt in self.prompts)
        for at in range(common):
            if any(prompt[at] != first[at] for prompt in self.prompts):
                common = at
                break
        bounds = [start for start in self._from if start is not None]
        common = max(min([common, *bounds]), 0)
        if given is not None:
            same = 0
            while same < min(common, len(given.ids)) and given.ids[same] == first[same]:
                same += 1
            # A prefix at hand is free; reading more of it apart has to pay.
            if same and (common - same) * (len(self.prompts) - 1) < _WORTH_SHARING:
                return given.cut(same)
        if common * (len(self.prompts) - 1) < _WORTH_SHARING:
            return None
        ids = torch.tensor([first[:common]], device=self.model.device)
        _, layers = self._forward(ids, None, {})
        return SharedPrefix(ids=tuple(first[:common]), layers=layers)

    def _read(self, order: list[int], identities: list[tuple[Any, Hashable]]) -> None:
        slot_of: dict[Any, int] = {}
        reader: dict[int, int] = {}
        slots = []
        for prompt in order:
            slot = slot_of.setdefault(identities[prompt], len(slot_of))
            reader.setdefault(slot, prompt)
            slots.append(slot)
        by_length: dict[int, list[int]] = {}
        for slot in range(len(slot_of)):
            by_length.setdefault(len(self.prompts[reader[slot]]), []).append(slot)
        if len(by_length) > 1 and not joins_lengths(self.model, self.engine):
            raise InputError(
                f"got prompts of {len(by_length)} different lengths where this model, or an edited "
                "site inside a module, needs equal lengths; give them in groups of equal length"
            )
        done = [self._read_group([reader[slot] for slot in group]) for group in by_length.values()]
        places = [slot for group in by_length.values() for slot in group]
        back = torch.tensor(places).argsort()[torch.tensor(slots)].to(self.model.device)
        self.logits = torch.cat([logits for logits, _ in done])[back]
        layers = [
            tuple(
                torch.cat([_aligned(layer[side], self.width) for layer in of_layer])[back]
                for side in (0, 1)
            )
            for of_layer in zip(*(layers for _, layers in done), strict=True)
        ]
        self._cache = _cache(layers)
        self._mask: Tensor | None = None
        if len(by_length) > 1:
            columns = torch.arange(self.width, device=self.model.device)
            self._mask = (columns >= (self.width - self.lengths)[:, None]).long()

    def _read_group(self, prompts: list[int]) -> tuple[Tensor, tuple[tuple[Tensor, Tensor], ...]]:
        """Read prompts of equal length, after the shared prefix."""
        past, start = self._unedited(prompts)
        ids = torch.tensor([self.prompts[i][start:] for i in prompts], device=self.model.device)
        logits, layers = self._read_rest(prompts, ids, start, past, self._points)
        return logits[:, -1].float(), layers

    def _unedited(self, prompts: list[int]) -> tuple[Any, int]:
        """Cache of what precedes any edit, read once for all rows that begin alike; its length."""
        shared, start = None, 0
        if self.prefix is not None:
            shared, start = self.prefix.layers, len(self.prefix.ids)
        bounds = [self._from[i] for i in prompts]
        length = len(self.prompts[prompts[0]])
        until = min([length - 1, *(bound for bound in bounds if bound is not None)])
        begins = {tuple(self.prompts[i][:until]): i for i in prompts}
        layers, slots = shared, [0] * len(prompts)
        if until > start and (len(prompts) - len(begins)) * (until - start) >= _WORTH_SHARING:
            places = {begin: at for at, begin in enumerate(begins)}
            slots = [places[tuple(self.prompts[i][:until])] for i in prompts]
            ids = torch.tensor([begin[start:] for begin in begins], device=self.model.device)
            past = None if shared is None else _cache(_spread(shared, [0] * len(begins)))
            _, layers = self._read_rest(list(begins.values()), ids, start, past, {})
            start = until
        return (None if layers is None else _cache(_spread(layers, slots))), start

    def _read_rest(
        self,
        prompts: list[int],
        ids: Int[Tensor, "row pos"],
        start: int,
        past: Any,
        points: Mapping[str, Edit],
    ) -> tuple[Tensor, tuple[tuple[Tensor, Tensor], ...]]:
        device = self.model.device
        length = len(self.prompts[prompts[0]])
        self._step = RowStep(
            prompt=torch.tensor([self._numbers[i] for i in prompts], device=device),
            positions=torch.arange(start, start + ids.shape[1], device=device).expand_as(ids),
            lengths=torch.full((len(prompts),), length, device=device),
        )
        return self._forward(ids, past, points)

    # -- one token per row ----------------------------------------------------------------------

    def feed(self, tokens: Int[Tensor, " row"]) -> Float[Tensor, "row d_vocab"]:
        """Append one token to every row and return the scores of the next.

        Parameters
        ----------
        tokens
            The tokens, in the order of the rows still here.

        Returns
        -------
        Tensor
            Also kept as `logits`.
        """
        ids = tokens.to(self.model.device)[:, None]
        positions = (self.lengths + self.n_fed)[:, None]
        self._step = RowStep(prompt=self.prompt, positions=positions, lengths=self.lengths)
        options: dict[str, Any] = {}
        if self._mask is not None:
            self._mask = torch.cat([self._mask, self._mask.new_ones(len(ids), 1)], 1)
            options = {"attention_mask": self._mask, "position_ids": positions}
        logits, _ = self._forward(ids, self._cache, self._points, **options)
        self.n_fed += 1
        self.logits = logits[:, -1].float()
        return self.logits

    def keep(self, rows: Bool[Tensor, " row"]) -> None:
        """Drop the rows where `rows` is False from the batch and its cache."""
        index = rows.to(self.model.device).nonzero()[:, 0]
        if len(index) == len(self):
            return
        self.kept = self.kept[index.cpu()]
        self.prompt, self.lengths = self.prompt[index], self.lengths[index]
        self.logits = self.logits[index]
        if self._mask is not None:
            self._mask = self._mask[index]
        with torch.inference_mode():
            self._cache.batch_select_indices(index)

    def as_prefix(self) -> SharedPrefix:
        """Return the cache of one unedited row, for other rows to begin with.

        Raises
        ------
        InputError
            There are several rows, or edits act on this one.
        """
        if len(self) != 1 or self._points or self.n_fed:
            raise InputError("a prefix is one row's prompt, read without edits")
        layers = tuple((layer.keys, layer.values) for layer in self._cache.layers)
        return SharedPrefix(ids=tuple(self.prompts[0]), layers=layers)

    # -- the network ----------------------------------------------------------------------------

    def _told(self, function: RowEdit) -> Edit:
        def edit(value: Tensor) -> Tensor | None:
            if self._step is None:
                raise RuntimeError("an edit ran outside a step")
            return function(value, self._step)

        return edit

    def _forward(
        self,
        ids: Tensor,
        past: Any,
        points: Mapping[str, Edit],
        **options: Any,
    ) -> tuple[Tensor, tuple[tuple[Tensor, Tensor], ...]]:
        cache = _cache(()) if past is None else past
        with (
            self.model.lock,
            torch.inference_mode(),
            self.model.network.hooked(points, self.engine),
        ):
            out = self.model.network.forward(
                ids,
                engine=self.engine,
                use_cache=True,
                past_key_values=cache,
                **self._last_only,
                **options,
            )
        return out.logits, tuple((layer.keys, layer.values) for layer in cache.layers)


def joins_lengths(model: Model, engine: str) -> bool:
    """Whether rows of different lengths can share a batch: the network takes masks and positions.

    The bridge's rewritten attention is only ever given rows of equal length.
    """
    known = inspect.signature(model.network.plain.forward).parameters
    return engine == "plain" and {"attention_mask", "position_ids"} <= set(known)


def bytes_per_token(model: Model) -> int:
    """Bytes of cached keys and values that one token of one row takes."""
    config = model.bridge.cfg
    heads = getattr(config, "n_key_value_heads", None) or config.n_heads
    return int(2 * config.n_layers * heads * config.d_head * model.dtype.itemsize)


def _listed(given: Any) -> list[Any]:
    return [given] if callable(given) else list(given)


def _cache(layers: Iterable[Sequence[Tensor]]) -> Any:
    """Build a cache of whole sequences in every layer, sliding windows left to the mask."""
    from transformers import DynamicCache

    made = DynamicCache()
    for number, (keys, values) in enumerate(layers):
        made.update(keys, values, number)
    return made


def _spread(
    layers: Iterable[Sequence[Tensor]], slots: Sequence[int]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Give each row the cached states of its slot."""
    for keys, values in layers:
        index = torch.tensor(slots, device=keys.device)
        yield keys[index], values[index]


def _aligned(state: Float[Tensor, "row head pos d"], width: int) -> Float[Tensor, "row head all d"]:
    """Pad on the left to a common width."""
    return torch.nn.functional.pad(state, (0, 0, width - state.shape[2], 0))

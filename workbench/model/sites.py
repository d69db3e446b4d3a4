"""The site vocabulary: where in a model activations are read and edited.

A site has one short name (``resid_post.2``), one canonical TransformerLens hook name
(``blocks.2.hook_out``) and possibly aliases (``blocks.2.hook_resid_post``). All of them resolve to
the same `Site`; anything else is refused with the nearest valid names, because the hook system
underneath ignores a name it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from workbench.errors import SiteError, unknown

__all__ = ["Site", "SiteMap", "short_name"]

# Short kind -> the hook names that may stand for it, first one present wins. `{L}` is the layer.
_KINDS: dict[str, tuple[str, ...]] = {
    "embed": ("hook_embed", "embed.hook_out"),
    "pos_embed": ("pos_embed.hook_out",),
    "resid_pre": ("blocks.{L}.hook_resid_pre", "blocks.{L}.hook_in"),
    "attn_in": ("blocks.{L}.attn.hook_in",),
    "q": ("blocks.{L}.attn.hook_q", "blocks.{L}.attn.q.hook_out"),
    "k": ("blocks.{L}.attn.hook_k", "blocks.{L}.attn.k.hook_out"),
    "v": ("blocks.{L}.attn.hook_v", "blocks.{L}.attn.v.hook_out"),
    "attn_scores": ("blocks.{L}.attn.hook_attn_scores",),
    "pattern": ("blocks.{L}.attn.hook_pattern",),
    "z": ("blocks.{L}.attn.hook_z", "blocks.{L}.attn.o.hook_in"),
    "attn_out": ("blocks.{L}.hook_attn_out", "blocks.{L}.attn.hook_out"),
    "resid_mid": ("blocks.{L}.hook_resid_mid",),
    "mlp_in": ("blocks.{L}.mlp.hook_in",),
    "mlp_post": ("blocks.{L}.mlp.hook_post", "blocks.{L}.mlp.out.hook_in"),
    "mlp_out": ("blocks.{L}.hook_mlp_out", "blocks.{L}.mlp.hook_out"),
    "resid_post": ("blocks.{L}.hook_resid_post", "blocks.{L}.hook_out"),
    "final_in": ("ln_final.hook_in",),
    "final": ("ln_final.hook_out",),
}

# Other spellings in use for the same tensor. SAEs for transcoders are published under the norm's
# output name; in a model without folded norms that tensor is what the MLP reads.
_SPELLINGS: tuple[tuple[str, str], ...] = (
    (r"^blocks\.(\d+)\.ln2\.hook_out$", "mlp_in.{0}"),
    (r"^blocks\.(\d+)\.ln1\.hook_out$", "attn_in.{0}"),
    (r"^blocks\.(\d+)\.hook_(resid_pre|resid_mid|resid_post|attn_out|mlp_out)$", "{1}.{0}"),
    (r"^blocks\.(\d+)\.attn\.hook_(q|k|v|z|pattern|attn_scores)$", "{1}.{0}"),
    (r"^blocks\.(\d+)\.mlp\.hook_post$", "mlp_post.{0}"),
)

_PER_HEAD = frozenset({"q", "k", "v", "z"})
_ATTENTION = frozenset({"attn_scores", "pattern"})


@dataclass(frozen=True, kw_only=True, order=True)
class Site:
    """One place in a model.

    Parameters
    ----------
    order
        Rank in the order of computation (smaller is earlier), comparable within one model.
    name
        Short name, such as ``resid_post.2``, ``attn_out.0`` or ``embed``; for sites without a
        short form, the canonical hook name.
    hook
        Canonical TransformerLens hook name.
    kind
        The short name without the layer (``resid_post``), or the hook name's tail.
    layer
        Block index, None outside the blocks.
    d
        Size of the last dimension of the activation there, None where it depends on the input.
    """

    order: int
    name: str
    hook: str
    kind: str
    layer: int | None
    d: int | None

    def __str__(self) -> str:
        return self.name

    @property
    def per_head(self) -> bool:
        """Whether the activation there has a head axis before the last one."""
        return self.kind in _PER_HEAD


def short_name(hook: str) -> str:
    """Give the short form of a hook name without asking a model.

    Parameters
    ----------
    hook
        A canonical or alias hook name, or a short name.

    Returns
    -------
    str
        The short form where the vocabulary has one, else `hook` unchanged.
    """
    if hook in ("hook_embed", "embed.hook_out"):
        return "embed"
    for pattern, form in _SPELLINGS:
        if match := re.match(pattern, hook):
            return form.format(*match.groups())
    for kind, hooks in _KINDS.items():
        for template in hooks:
            pattern = re.escape(template).replace(r"\{L\}", r"(\d+)")
            if match := re.fullmatch(pattern, hook):
                return f"{kind}.{match.group(1)}" if match.groups() else kind
    return hook


def _rank(kind: str, layer: int | None, n_layers: int, tail: int) -> int:
    kinds = list(_KINDS)
    width = len(kinds) + 1
    position = kinds.index(kind) if kind in _KINDS else len(kinds)
    if layer is not None:
        base = (layer + 1) * width
    elif kind in ("embed", "pos_embed"):
        base = 0
    else:
        base = (n_layers + 1) * width
    return (base + position) * 1000 + tail


class SiteMap(Mapping[str, Site]):
    """Every site of one model, by any of its names.

    Iteration gives the short names in order of computation. Indexing takes a short name, a
    canonical hook name or an alias.

    Parameters
    ----------
    hooks
        Canonical hook name of every hook name the model knows (canonical names map to themselves),
        in the order in which the model computes them.
    widths
        Last-dimension size by canonical hook name where known.
    n_layers
        Number of blocks.
    """

    def __init__(
        self, hooks: Mapping[str, str], widths: Mapping[str, int | None], n_layers: int
    ) -> None:
        self._by_hook: dict[str, Site] = {}
        self._names: dict[str, str] = dict(hooks)
        self._short: dict[str, Site] = {}
        self._n_layers = n_layers
        for kind, candidates in _KINDS.items():
            layered = "{L}" in candidates[0]
            for layer in range(n_layers) if layered else (None,):
                self._add_short(kind, layer, candidates, widths)
        tail = 0
        for canonical in dict.fromkeys(self._names.values()):
            if canonical not in self._by_hook:
                self._add_plain(canonical, widths, tail := tail + 1)

    def _add_short(
        self,
        kind: str,
        layer: int | None,
        candidates: Iterable[str],
        widths: Mapping[str, int | None],
    ) -> None:
        for template in candidates:
            canonical = self._names.get(template.format(L=layer))
            if canonical is None:
                continue
            name = kind if layer is None else f"{kind}.{layer}"
            site = Site(
                order=_rank(kind, layer, self._n_layers, 0),
                name=name,
                hook=canonical,
                kind=kind,
                layer=layer,
                d=None if kind in _ATTENTION else widths.get(canonical),
            )
            self._by_hook.setdefault(canonical, site)
            self._short[name] = site
            return

    def _add_plain(self, canonical: str, widths: Mapping[str, int | None], tail: int) -> None:
        match = re.match(r"^blocks\.(\d+)\.(.+)$", canonical)
        layer, kind = (int(match[1]), match[2]) if match else (None, canonical)
        self._by_hook[canonical] = Site(
            order=_rank("", layer, self._n_layers, tail),
            name=canonical,
            hook=canonical,
            kind=kind,
            layer=layer,
            d=widths.get(canonical),
        )

    def resolve(self, name: str | Site) -> Site:
        """Find a site by any of its names.

        Parameters
        ----------
        name
            Short name, canonical hook name, alias, or a `Site`.

        Returns
        -------
        Site

        Raises
        ------
        SiteError
            The model has no such site; the message names the nearest ones and, for a layer out of
            range, the valid range.
        """
        if isinstance(name, Site):
            name = name.name
        if name in self._short:
            return self._short[name]
        if name in self._names:
            return self._by_hook[self._names[name]]
        folded = short_name(name)
        if folded in self._short:
            return self._short[folded]
        layered = re.match(r"^(\w+)\.(\d+)$", folded)
        if layered and layered[1] in _KINDS and int(layered[2]) >= self._n_layers:
            raise SiteError(
                f"site {name!r}: layer {layered[2]} does not exist, "
                f"expected 0 to {self._n_layers - 1}"
            )
        raise SiteError(unknown("site", name, [*self._short, *self._names]))

    def with_kind(self, kind: str) -> tuple[Site, ...]:
        """Return the sites of one kind (``"resid_post"``), first layer first."""
        found = tuple(site for site in self._short.values() if site.kind == kind)
        if not found:
            raise SiteError(unknown("kind of site", kind, {s.kind for s in self._short.values()}))
        return found

    def __getitem__(self, name: str) -> Site:
        try:
            return self.resolve(name)
        except SiteError as error:
            raise KeyError(str(error)) from error

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str | Site):
            return False
        try:
            self.resolve(name)
        except SiteError:
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        return (site.name for site in sorted(self._short.values()))

    def __len__(self) -> int:
        return len(self._short)

    def __repr__(self) -> str:
        kinds = ", ".join(dict.fromkeys(site.kind for site in sorted(self._short.values())))
        return f"SiteMap({len(self)} sites over {self._n_layers} layers: {kinds})"

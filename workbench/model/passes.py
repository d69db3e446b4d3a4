"""One run of the model: capture at chosen sites, edit, stop early, keep gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError, SiteError
from workbench.model.network import StopPass
from workbench.model.sites import Site
from workbench.model.tokens import Tokens

if TYPE_CHECKING:
    from workbench.model.model import Model

__all__ = ["Edit", "Pass", "place_edits", "run"]

Edit: TypeAlias = Callable[[Tensor], "Tensor | None"]
"""Gets the activation at a site, returns the replacement or None to leave it as it is."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pass:
    """What one run of the model gave.

    Parameters
    ----------
    tokens
        The tokens that went in.
    acts
        Activation at each captured site, by short name, after any edit there: what the rest of the
        model saw.
    logits
        Logits, or None when the run stopped early; with ``logits="last"`` only each row's last
        real position.
    engine
        Which structure ran: ``"plain"`` (fused attention) or ``"bridge"``.
    """

    tokens: Tokens
    acts: Mapping[str, Float[Tensor, "batch pos d"]] = field(repr=False)
    logits: Float[Tensor, "batch pos d_vocab"] | None = field(repr=False)
    engine: Literal["plain", "bridge"]

    def __getitem__(self, site: str | Site) -> Float[Tensor, "batch pos d"]:
        """Activation at a captured site, by its short name or the `Site`."""
        name = site.name if isinstance(site, Site) else site
        if name not in self.acts:
            raise SiteError(f"site {name!r} was not captured; captured: {list(self.acts)}")
        return self.acts[name]


def run(
    model: Model,
    tokens: Tokens,
    *,
    capture: Iterable[str | Site] = (),
    edits: Mapping[str | Site, Edit | Iterable[Edit]] | None = None,
    logits: bool | Literal["last"] | None = None,
    grad: bool = False,
    engine: Literal["plain", "bridge"] | None = None,
) -> Pass:
    """Run the model once on a batch.

    Parameters
    ----------
    model
        The model.
    tokens
        Rows padded on the right; the causal mask keeps padding from reaching real tokens.
    capture
        Sites whose activations are kept.
    edits
        Functions that replace the activation at a site; several at one site run in order.
    logits
        True: all positions. ``"last"``: each row's last real position. False: none, and the run
        stops at the last site needed. None: False where anything is captured, else True.
    grad
        Keep the graph. The embedding's output is made its root, so that
        ``torch.autograd.grad(metric, pass["resid_post.2"])`` works while the weights ask for no
        gradient. Without it the run is under ``torch.inference_mode``.
    engine
        Force one engine; None takes the plain network wherever it serves all the sites.

    Returns
    -------
    Pass

    Raises
    ------
    SiteError
        A site is unknown.
    InputError
        Nothing was asked for, or the forced engine does not serve a site.
    """
    kept = [model.sites.resolve(site) for site in capture]
    changes = _by_site(model, edits or {})
    if logits is None:
        logits = not kept
    if not kept and not logits:
        raise InputError("nothing to compute: give sites to capture, or logits=True")

    acts: dict[str, Tensor] = {}
    points = _build_points(kept, changes, acts, stop=not logits, grad=grad, model=model)
    chosen = engine or model.network.engine_for(list(points))
    if chosen == "plain" and model.network.engine_for(list(points)) == "bridge":
        missing = sorted(set(points) - model.network.plain_hooks)
        raise InputError(f"the plain network does not serve {missing}; use engine='bridge'")
    ids = tokens.ids.to(model.device)
    mode = torch.enable_grad() if grad else torch.inference_mode()
    options = model.logits_option() if logits == "last" and _same_length(tokens) else {}
    with model.lock, mode, model.network.hooked(points, chosen):
        ran = model.network.forward(ids, engine=chosen, **options)
    out = ran.logits if ran is not None else None
    if out is not None and logits == "last":
        last = tokens.last.to(out.device)
        out = out[:, -1:] if options else out[torch.arange(len(last)), last].unsqueeze(1)
    return Pass(tokens=tokens, acts=acts, logits=out if logits else None, engine=chosen)


def place_edits(model: Model, edits: Mapping[str | Site, Edit | Iterable[Edit]]) -> dict[str, Edit]:
    """Compile edits into one function per canonical hook, for a caller that runs the network."""
    return _build_points([], _by_site(model, edits), {}, stop=False, grad=False, model=model)


def _by_site(
    model: Model, edits: Mapping[str | Site, Edit | Iterable[Edit]]
) -> dict[Site, list[Edit]]:
    changes: dict[Site, list[Edit]] = {}
    for name, given in edits.items():
        functions = [given] if callable(given) else list(given)
        changes.setdefault(model.sites.resolve(name), []).extend(functions)
    return changes


def _same_length(tokens: Tokens) -> bool:
    return bool(tokens.mask.all())


def _build_points(
    kept: list[Site],
    changes: dict[Site, list[Edit]],
    acts: dict[str, Tensor],
    *,
    stop: bool,
    grad: bool,
    model: Model,
) -> dict[str, Edit]:
    """One function per hook: root the graph, edit, capture, stop, in that order."""
    waiting = {site.name for site in kept}
    root = model.sites.resolve("embed") if grad else None

    def at(site: Site) -> Edit:
        def hook(value: Tensor) -> Tensor | None:
            current = value
            if site is root:
                current = current.detach().requires_grad_(True)
            for edit in changes.get(site, ()):
                edited = edit(current)
                if edited is not None:
                    _check_edit(site, current, edited)
                    current = edited
            if site.name in waiting or site.name in acts:
                acts[site.name] = current
                waiting.discard(site.name)
                if stop and not waiting:
                    raise StopPass
            return None if current is value else current

        return hook

    wanted = {*kept, *changes, *([root] if root else [])}
    return {site.hook: at(site) for site in sorted(wanted)}


def _check_edit(site: Site, before: Tensor, after: Tensor) -> None:
    if after.shape != before.shape:
        raise InputError(
            f"the edit at {site.name} changed the shape from {tuple(before.shape)} "
            f"to {tuple(after.shape)}; expected the same shape"
        )

"""Sites of the demo model as modules of the Hugging Face model: read them or replace them.

Training and the report read thousands of batches, and replace one site at a time; both go
straight to the Llama modules. Names are the workbench's short site names, and
`transformer_lens_hook` gives the name the same value has in a ``TransformerBridge``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from workbench.errors import SiteError, unknown

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

__all__ = [
    "read_sites",
    "replaced_site",
    "site_names",
    "site_of_hook",
    "transformer_lens_hook",
]

_HOOKS = {
    "attn_out": "blocks.{}.hook_attn_out",
    "mlp_in": "blocks.{}.mlp.hook_in",
    "mlp_out": "blocks.{}.hook_mlp_out",
    "resid_post": "blocks.{}.hook_resid_post",
}


def site_names(layers: int) -> tuple[str, ...]:
    """List every site name of a model with `layers` blocks, in the order they are computed."""
    kinds = ("attn_out", "mlp_in", "mlp_out", "resid_post")
    return ("embed", *(f"{kind}.{layer}" for layer in range(layers) for kind in kinds))


def transformer_lens_hook(site: str) -> str:
    """Return the TransformerLens name of a site, such as ``blocks.2.hook_resid_post``.

    Raises
    ------
    SiteError
        For a kind the demo world has no SAEs for.
    """
    if site == "embed":
        return "hook_embed"
    kind, _, layer = site.partition(".")
    if kind not in _HOOKS or not layer.isdigit():
        raise SiteError(unknown("demo site", site, ["embed", *(f"{k}.0" for k in _HOOKS)]))
    return _HOOKS[kind].format(layer)


def site_of_hook(hook: str) -> str:
    """Return the site of a TransformerLens name; the inverse of `transformer_lens_hook`."""
    if hook == "hook_embed":
        return "embed"
    for kind, form in _HOOKS.items():
        before, after = form.split("{}")
        if hook.startswith(before) and hook.endswith(after):
            return f"{kind}.{hook[len(before) : len(hook) - len(after)]}"
    raise SiteError(unknown("demo hook", hook, [form.format(0) for form in _HOOKS.values()]))


def _module(model: LlamaForCausalLM, site: str) -> nn.Module:
    names = site_names(len(model.model.layers))
    if site not in names:
        raise SiteError(unknown("demo site", site, names))
    if site == "embed":
        return model.model.embed_tokens
    kind, _, layer = site.partition(".")
    block = model.model.layers[int(layer)]
    return {"attn_out": block.self_attn, "mlp_in": block.mlp, "mlp_out": block.mlp}.get(kind, block)


@torch.inference_mode()
def read_sites(
    model: LlamaForCausalLM,
    ids: Int[Tensor, "batch pos"],
    mask: Bool[Tensor, "batch 1 pos pos"] | Int[Tensor, "batch pos"] | None,
    sites: Iterable[str],
) -> dict[str, Float[Tensor, "batch pos d_model"]]:
    """Run the blocks once and return the activations at `sites`.

    Parameters
    ----------
    model
        The demo model.
    ids
        Token ids.
    mask
        Attention mask as the model takes it.
    sites
        Site names; blocks above the last of them are not run, nor is the unembedding.

    Returns
    -------
    dict
        Site to activations, shape (batch, pos, d_model), in the model's dtype.

    Raises
    ------
    SiteError
        For a name the model does not have.
    """
    captured: dict[str, Tensor] = {}

    def reader(site: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def read(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if site.startswith("mlp_in"):
                captured[site] = inputs[0]
            else:
                captured[site] = output[0] if isinstance(output, tuple) else output

        return read

    wanted = list(dict.fromkeys(sites))
    with contextlib.ExitStack() as stack:
        for site in wanted:
            handle = _module(model, site).register_forward_hook(reader(site))
            stack.callback(handle.remove)
        stack.enter_context(_blocks_run(model, 1 + max(_layer(site) for site in wanted)))
        model.model(input_ids=ids, attention_mask=mask, use_cache=False)
    return captured


def _layer(site: str) -> int:
    return -1 if site == "embed" else int(site.partition(".")[2])


@contextlib.contextmanager
def _blocks_run(model: LlamaForCausalLM, count: int) -> Iterator[None]:
    """Let the model run only its first `count` blocks."""
    config = model.config
    every = config.num_hidden_layers
    config.num_hidden_layers = count
    try:
        yield
    finally:
        config.num_hidden_layers = every


@contextlib.contextmanager
def replaced_site(
    model: LlamaForCausalLM,
    site: str,
    replace: Callable[[Float[Tensor, "batch pos d_model"]], Float[Tensor, "batch pos d_model"]],
    *,
    target: str | None = None,
    where: Bool[Tensor, "batch pos"] | None = None,
) -> Iterator[None]:
    """While active, replace the activation at a site by a function of it.

    Parameters
    ----------
    model
        The demo model.
    site
        Site the function reads.
    replace
        From the value at `site` to the new value at `target`.
    target
        Site that is replaced; `site` itself where None. A transcoder reads ``mlp_in.L`` and
        replaces ``mlp_out.L``.
    where
        Positions to replace; all where None.

    Raises
    ------
    SiteError
        For a name the model does not have, or a pair of sites that are not one module's input
        and output.
    """
    target = target or site
    module = _module(model, target)
    if target.startswith("mlp_in") or (site != target and _module(model, site) is not module):
        msg = f"cannot replace {target!r} from {site!r}: they are not ends of one module"
        raise SiteError(msg)

    def hook(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        value = output[0] if isinstance(output, tuple) else output
        new = replace(inputs[0] if site != target else value)
        if where is not None:
            new = torch.where(where[..., None], new, value)
        return (new, *output[1:]) if isinstance(output, tuple) else new

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()

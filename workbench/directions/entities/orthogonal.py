"""A lasting edit: weights that can no longer write a direction.

Every matrix that writes to the residual stream loses its component along a unit vector d:
``W ← W − (W d) dᵀ`` with the stream on the last axis (Arditi et al. 2024; used by Ferrando et al.
2024 for recognition directions). Biases that write lose theirs too. On leaving the context the
original values are put back, bit by bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from workbench.directions.direction import Direction
from workbench.errors import InputError, SiteError
from workbench.features.refs import FeatureRef

if TYPE_CHECKING:
    from workbench.model.model import Model
    from workbench.session import Session

__all__ = ["orthogonalised", "writing_modules"]

_LEFT = 1e-3


@contextlib.contextmanager
def orthogonalised(
    session: Session, *directions: Direction | str | FeatureRef | Tensor
) -> Iterator[Model]:
    """Make the model unable to write directions to the residual stream, for a ``with`` block.

    The session's model is changed in place and put back on leaving, also after an error. Where
    token embedding and unembedding share one matrix, only what the embedding writes is projected:
    the unembedding is left as it is.

    Parameters
    ----------
    session
        Whose model.
    *directions
        Directions, features (their decoder rows) or vectors of width d_model; several are removed
        together, as the space they span.

    Yields
    ------
    Model
        The changed model.

    Raises
    ------
    InputError
        No direction is given, one is not d_model wide, or together they are not independent.
    SiteError
        A module that writes to the stream cannot be found, or still writes the direction
        afterwards (as where a norm follows the matrix).
    """
    model = session.model
    basis = _basis(session, directions)
    modules = writing_modules(model)
    tied = _tied(model)
    saved: list[tuple[Tensor, Tensor]] = []
    handles: list[Any] = []
    with model.lock:
        try:
            with torch.no_grad():
                for name, module in modules.items():
                    if name == "embed" and tied:
                        handles += [_project_output(part, basis) for part in _embeddings(model)]
                        continue
                    for parameter, axis in _written(module, model.d_model, name):
                        saved.append((parameter, parameter.detach().clone()))
                        parameter.copy_(_without(parameter, basis, axis))
            _check(model, basis)
            yield model
        finally:
            for handle in handles:
                handle.remove()
            with torch.no_grad():
                for parameter, original in saved:
                    parameter.copy_(original)


def writing_modules(model: Model) -> dict[str, nn.Module]:
    """Find the modules whose weights write to the residual stream.

    Returns
    -------
    dict
        Name (``embed``, ``pos_embed``, ``attn.2``, ``mlp.2``) to the plain module.

    Raises
    ------
    SiteError
        One of a block's two is not where it is expected.
    """
    found: dict[str, nn.Module] = {}
    for name in ("embed", "pos_embed"):
        module = model.network.plain_module(name)
        if isinstance(module, nn.Embedding):
            found[name] = module
    if "embed" not in found:
        raise SiteError("the token embedding of this architecture cannot be found")
    for layer in range(model.n_layers):
        for name, component in (("attn", "attn.o"), ("mlp", "mlp.out")):
            module = _plain_writer(model, f"blocks.{layer}.{component}")
            if module is None or getattr(module, "weight", None) is None:
                raise SiteError(
                    f"blocks.{layer}.{component} has no single weight matrix in this architecture: "
                    "its writing to the stream cannot be orthogonalised"
                )
            found[f"{name}.{layer}"] = module
    return found


def _plain_writer(model: Model, component: str) -> nn.Module | None:
    """Find the plain module a bridge component stands for, by its place or by its tensor."""
    found = model.network.plain_module(component)
    if found is not None:
        return found
    try:
        wrapped = model.bridge.get_submodule(component)
    except AttributeError:
        return None
    # Bridges of some architectures rename the module (GPT-2's c_proj); the tensor is the same.
    places = {p.data_ptr() for n, p in wrapped.named_parameters() if n.endswith("weight")}
    for module in model.network.plain.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.data_ptr() in places:
            return module
    return None


def _basis(
    session: Session, directions: tuple[Direction | str | FeatureRef | Tensor, ...]
) -> Tensor:
    """Return an orthonormal basis [directions, d_model] in float64."""
    if not directions:
        raise InputError("orthogonalising needs at least one direction")
    rows = []
    for given in directions:
        if isinstance(given, Direction):
            given.check(session.model)
            row = given.to_torch()
        elif isinstance(given, Tensor):
            row = given.detach()
        else:
            row = Direction.from_feature(session, given).to_torch()
        if row.shape != (session.model.d_model,):
            raise InputError(
                f"a direction of the residual stream has {session.model.d_model} dimensions, got "
                f"shape {tuple(row.shape)}"
            )
        rows.append(row.double().cpu() / row.double().norm().cpu())
    stacked = torch.stack(rows)
    left, sizes, right = torch.linalg.svd(stacked, full_matrices=False)
    if float(sizes.min()) < 1e-4:
        raise InputError("the directions are not independent: leave one out")
    return (left @ right) if len(rows) == 1 else right


def _without(value: Tensor, basis: Tensor, axis: int) -> Tensor:
    """Take the span of the basis out of an axis."""
    unit = basis.to(value.device)
    moved = value.double().movedim(axis, -1)
    return (moved - (moved @ unit.T) @ unit).movedim(-1, axis).to(value.dtype)


def _written(module: nn.Module, d_model: int, name: str) -> list[tuple[Tensor, int]]:
    """List weights that write, with the axis that is the stream."""
    weight: Tensor = module.weight  # type: ignore[assignment]
    # Linear keeps [out, in]; Embedding [tokens, out] and GPT-2's Conv1D [in, out].
    axis = 0 if isinstance(module, nn.Linear) else 1
    if weight.ndim != 2 or weight.shape[axis] != d_model:
        raise SiteError(
            f"{name} has a weight of shape {tuple(weight.shape)}, expected one that writes "
            f"{d_model} dimensions"
        )
    found = [(weight, axis)]
    bias = getattr(module, "bias", None)
    if bias is not None:
        found.append((bias, 0))
    return found


def _tied(model: Model) -> bool:
    plain: Any = model.network.plain
    out = plain.get_output_embeddings()
    own = plain.get_input_embeddings().weight
    return out is not None and out.weight.data_ptr() == own.data_ptr()


def _embeddings(model: Model) -> list[nn.Module]:
    """List the embedding modules of both engines."""
    bridge = model.bridge.get_submodule("embed")
    # Inside the bridge's wrapper, so that its own hook sees the projected value.
    inner = getattr(bridge, "original_component", None)
    parts = [model.network.plain_module("embed"), bridge if inner is None else inner]
    return [part for part in parts if part is not None]


def _project_output(module: nn.Module, basis: Tensor) -> Any:
    def after(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        return _without(output, basis, -1)

    return module.register_forward_hook(after)


def _check(model: Model, basis: Tensor) -> None:
    """Run a few tokens and see that nothing written has the direction any more."""
    probe = model.tokens(torch.arange(min(4, model.d_vocab))[None])
    names = [
        f"{kind}.{layer}" for layer in range(model.n_layers) for kind in ("attn_out", "mlp_out")
    ]
    sites = [name for name in ("embed", "pos_embed", *names) if name in model.sites]
    # Both engines, because one of them may hold a copy of a matrix.
    for ran in (model.run(probe, capture=sites), model.run(probe, capture=sites, engine="bridge")):
        for site in sites:
            written = ran[site].double().cpu()
            if written.shape[-1] != model.d_model:
                continue
            share = (written @ basis.T).norm() / written.norm().clamp_min(1e-12)
            if float(share) <= _LEFT:
                continue
            raise SiteError(
                f"{site} still writes {float(share):.1%} of its norm along the direction: this "
                "architecture changes what its matrices write (a norm after them?)"
            )

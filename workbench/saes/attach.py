"""Fitting an SAE to a model: which site it reads, whether it belongs there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import SaeError, SiteError
from workbench.model.sites import Site, short_name
from workbench.saes.source import SaeSource

if TYPE_CHECKING:
    from workbench.model.model import Model

__all__ = ["check_model_name", "check_model_weights", "fit_site", "site_name", "wants_centring"]

# Kinds of site that write to (or are) the residual stream.
_WRITING = ("embed", "pos_embed", "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
# Names under which one model goes about.
_SAME_MODEL = {"gpt2-small": "gpt2", "openai-community/gpt2": "gpt2"}


def site_name(source: SaeSource) -> str | None:
    """Give the short name of the site an SAE reads, as far as its configuration says."""
    return None if source.config.hook is None else short_name(_known_spelling(source.config.hook))


def _known_spelling(hook: str) -> str:
    """Translate a hook name that published SAEs use for a tensor the bridge names otherwise.

    ``hook_mlp_in`` stands in the registry for what the MLP reads, after its norm.
    """
    return re.sub(r"^blocks\.(\d+)\.hook_mlp_in$", r"blocks.\1.mlp.hook_in", hook)


def fit_site(
    model: Model, source: SaeSource, hook: str | Site | None, *, output: bool = False
) -> Site:
    """Find the site and check the width of what is there.

    Parameters
    ----------
    model
        The model.
    source
        The SAE.
    hook
        Site asked for; None takes the one the SAE was trained on.
    output
        Whether this is a transcoder's output site.

    Returns
    -------
    Site

    Raises
    ------
    SaeError
        If no site is known, the model has none of that name, or the widths differ.
    """
    config = source.config
    width = config.d_out if output else config.d_in
    which = "output site" if output else "site"
    argument = "out_site" if output else "site"
    name = hook or (config.hook_out if output else config.hook)
    if name is None:
        raise SaeError(
            f"{source.identifier}: its files do not say which {which} it belongs to; "
            f"give {argument}='resid_post.2' or the like"
        )
    try:
        site = model.sites.resolve(name if isinstance(name, Site) else _known_spelling(name))
    except SiteError as error:
        trained = f" (it was trained on {config.model_name!r})" if config.model_name else ""
        raise SaeError(
            f"{source.identifier}: model {model.name!r} does not fit: {error}{trained}"
        ) from error
    widths = set() if site.d is None else {site.d}
    if site.per_head and site.d is not None:
        widths.add(site.d * model.n_heads)
    if widths and width not in widths:
        verb = "writes" if output else "reads"
        trained = f"; it was trained on {config.model_name!r}" if config.model_name else ""
        raise SaeError(
            f"{source.identifier}: {verb} activations of width {width}, but {site.name} of "
            f"{model.name!r} has {' or '.join(map(str, sorted(widths)))}{trained}"
        )
    return site


def check_model_name(model: Model, source: SaeSource) -> None:
    """Refuse an SAE whose author names another model.

    Fine-tuned variants pass (one name begins with the other), as do models opened from local
    files or objects, whose names say nothing.

    Raises
    ------
    SaeError
        If the names speak of different models.
    """
    trained, opened = source.config.model_name, _hub_name(model)
    if trained is None or opened is None:
        return
    ours, theirs = _plain(opened), _plain(trained)
    if not (ours.startswith(theirs) or theirs.startswith(ours)):
        raise SaeError(
            f"{source.identifier}: trained on model {trained!r}, got {opened!r}. If they share "
            "their weights, attach it with check_model=False"
        )


def check_model_weights(model: Model, source: SaeSource) -> None:
    """Refuse an SAE that records the fingerprint of other weights.

    Raises
    ------
    SaeError
        If the fingerprint stored at training differs from the model's.
    """
    recorded = source.config.metadata.get("model_fingerprint")
    if isinstance(recorded, str) and recorded and recorded != model.fingerprint:
        raise SaeError(
            f"{source.identifier}: trained on weights with fingerprint {recorded}, but "
            f"{model.name!r} has {model.fingerprint}. If that is meant, attach it with "
            "check_model=False"
        )


def _hub_name(model: Model) -> str | None:
    """Return the hub name the weights came from; None for local files and objects in memory."""
    name = str(getattr(model.network.plain.config, "_name_or_path", "") or "")
    is_name = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) is not None
    return name if is_name and not Path(name).exists() else None


def _plain(name: str) -> str:
    name = _SAME_MODEL.get(name.lower(), name.lower())
    return name.rsplit("/", 1)[-1]


def wants_centring(model: Model, source: SaeSource, site: Site) -> bool:
    """Whether activations are to be centred before this SAE reads them.

    SAEs trained with ``center_writing_weights`` saw a residual stream without its mean over the
    width. In a model with LayerNorm that processing changes nothing else, so on the raw model the
    same numbers are had by subtracting the mean.
    """
    if not source.config.centre_writing_weights or site.kind not in _WRITING:
        return False
    normalisation = str(getattr(model.bridge.cfg, "normalization_type", "LN"))
    return normalisation.startswith("LN")

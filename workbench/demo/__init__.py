"""The demo world: a small trained model whose concepts are known, with its corpus and tasks.

Only paths are given here; the corpus, the tasks, training and the report are modules of their own
and load nothing until they are asked for.
"""

from __future__ import annotations

from pathlib import Path

from workbench.errors import LoadError, SaeError, unknown

__all__ = ["assets_dir", "model_dir", "sae_dir", "sae_dirs", "sae_names"]

CONTROL = "-bad"
"""Ending of the name of the deliberately bad SAE."""

_KINDS = ("attn_out", "mlp_out", "transcoder", "resid_post")


def assets_dir() -> Path:
    """Return the directory of the bundled weights."""
    return Path(__file__).parent / "assets"


def model_dir() -> Path:
    """Return the directory of the demo model, in Hugging Face layout.

    Raises
    ------
    LoadError
        When the weights are not installed.
    """
    path = assets_dir() / "model"
    if not (path / "config.json").is_file():
        msg = (
            f"the demo model is not in {path}: install the package whole, or rebuild it with "
            "`python -m workbench.demo.train --out DIRECTORY`"
        )
        raise LoadError(msg)
    return path


def _order(name: str) -> tuple[int, int, str]:
    kind, _, layer = name.partition(".")
    number = layer.removesuffix(CONTROL)
    return (
        int(number) if number.isdigit() else -1,
        _KINDS.index(kind) if kind in _KINDS else -1,
        name,
    )


def sae_names(*, control: bool = True) -> tuple[str, ...]:
    """List the bundled SAEs in the order of the sites they read.

    Parameters
    ----------
    control
        Whether to list the deliberately bad one too.

    Returns
    -------
    tuple of str
        Attach names: ``embed``, ``attn_out.L``, ``mlp_out.L``, ``transcoder.L``,
        ``resid_post.L``, and the control ``resid_post.L-bad``.
    """
    folder = assets_dir() / "saes"
    names = [path.parent.name for path in folder.glob("*/cfg.json")]
    return tuple(
        sorted((name for name in names if control or not name.endswith(CONTROL)), key=_order)
    )


def sae_dir(name: str) -> Path:
    """Return the SAELens directory of a bundled SAE.

    Raises
    ------
    SaeError
        For a name that is not bundled.
    """
    names = sae_names()
    if name not in names:
        raise SaeError(unknown("demo SAE", name, names))
    return assets_dir() / "saes" / name


def sae_dirs(*, control: bool = True) -> dict[str, Path]:
    """Return attach name to directory for the bundled SAEs, in `sae_names` order."""
    return {name: sae_dir(name) for name in sae_names(control=control)}

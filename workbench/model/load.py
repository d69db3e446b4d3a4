"""Loading: a hub name, a local directory, a model already in memory, the demo.

Nothing from a checkpoint is executed: no remote code, and weights come from safetensors or through
torch's weights-only reader.
"""

from __future__ import annotations

import copy
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from workbench.errors import InputError, LoadError
from workbench.model.network import Network, share_structure

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["fingerprint", "load_network", "parse_device", "parse_dtype"]

_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def parse_device(device: str | torch.device | None) -> torch.device:
    """Return the device asked for, or the best one there is.

    Raises
    ------
    InputError
        The device is not present.
    """
    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    try:
        made = torch.device(device)
        torch.empty(0, device=made)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device {str(device)!r} cannot be used here ({error}); expected 'cpu'"
            + (", 'cuda'" if torch.cuda.is_available() else "")
        ) from error
    return made


def parse_dtype(dtype: str | torch.dtype | None) -> torch.dtype:
    """Return the floating dtype asked for; None means float32.

    Raises
    ------
    InputError
        Not one of float32, bfloat16, float16.
    """
    if dtype is None:
        return torch.float32
    name = str(dtype).removeprefix("torch.")
    if name not in _DTYPES:
        raise InputError(f"dtype must be one of {', '.join(_DTYPES)}, got {name!r}")
    return _DTYPES[name]


def load_network(
    model: Any,
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    device: torch.device,
    dtype: torch.dtype,
    revision: str | None = None,
) -> tuple[Network, PreTrainedTokenizerBase, str]:
    """Load or adopt a model.

    Parameters
    ----------
    model
        A hub name, a local directory, a Hugging Face causal language model, or a
        `TransformerBridge`.
    tokenizer
        Needed with a model in memory that does not carry one; overrides otherwise.
    device, dtype
        Where the weights go and in which precision. A model already in memory stays as it is.
    revision
        Revision of a hub model.

    Returns
    -------
    Network, tokenizer, name

    Raises
    ------
    LoadError
        The model or its tokenizer cannot be had; the message says what to do.
    """
    if isinstance(model, str | os.PathLike):
        return _load_named(str(model), tokenizer, device, dtype, revision)
    if hasattr(model, "original_model") and hasattr(model, "hook_dict"):
        own = tokenizer or model.tokenizer
        if own is None:
            raise LoadError("this TransformerBridge carries no tokenizer; pass tokenizer=")
        return Network(model.original_model, model), own, str(model.cfg.model_name)
    if isinstance(model, nn.Module) and hasattr(model, "config"):
        if tokenizer is None:
            raise LoadError(
                "a model in memory needs its tokenizer: pass tokenizer=AutoTokenizer..."
            )
        name = getattr(model.config, "_name_or_path", "") or type(model).__name__
        plain = share_structure(model).eval()
        return _bridge(plain, tokenizer, name), tokenizer, name
    raise InputError(
        f"model must be a hub name, a directory, a Hugging Face model or a TransformerBridge, "
        f"got {type(model).__name__}"
    )


def _load_named(
    name: str,
    tokenizer: PreTrainedTokenizerBase | None,
    device: torch.device,
    dtype: torch.dtype,
    revision: str | None,
) -> tuple[Network, PreTrainedTokenizerBase, str]:
    source, shown = _locate(name)
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as hf_logging

    bars = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        if tokenizer is None:
            tokenizer = AutoTokenizer.from_pretrained(source, revision=revision)
        plain = AutoModelForCausalLM.from_pretrained(source, revision=revision, dtype=dtype)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise LoadError(_why_not(name, source, error)) from error
    finally:
        if bars:
            hf_logging.enable_progress_bar()
    plain = nn.Module.to(plain, device).eval().requires_grad_(False)
    return _bridge(plain, tokenizer, source), tokenizer, shown


def _locate(name: str) -> tuple[str, str]:
    """Tell a directory from a hub name; return what to load and what to call it."""
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            found = sorted(child.name for child in path.iterdir())[:8]
            raise LoadError(
                f"{name!r} is a directory without config.json, expected a Hugging Face model "
                f"directory; it holds {found}"
            )
        return str(path), path.resolve().name
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        parent = path.parent
        beside = sorted(child.name for child in parent.iterdir()) if parent.is_dir() else []
        raise LoadError(f"no directory {name!r}; in {str(parent)!r} there is {beside[:8]}")
    return name, name


def _why_not(name: str, source: str, error: Exception) -> str:
    if Path(source).is_dir():
        return f"{name!r} could not be loaded: {error}"
    offline = os.environ.get("HF_HUB_OFFLINE") == "1"
    where = os.environ.get("HF_HUB_CACHE") or os.environ.get("HF_HOME") or "~/.cache/huggingface"
    how = (
        "HF_HUB_OFFLINE=1 forbids downloading it"
        if offline
        else "the hub could not be reached, has no such name, or asks for a login (hf auth login)"
    )
    return (
        f"{name!r} is not in the local cache ({where}) and {how}. What works: fetch it once where "
        f"there is a network (`hf download {name}`) and copy the cache, pass a local model "
        f"directory, or use wb.open('demo'), which needs neither. ({type(error).__name__}: "
        f"{str(error).splitlines()[0] if str(error) else 'no details'})"
    )


def _bridge(plain: Any, tokenizer: PreTrainedTokenizerBase, name: str) -> Network:
    from transformer_lens.model_bridge import TransformerBridge

    structure: Any = share_structure(plain)
    structure.config = copy.deepcopy(plain.config)
    # The bridge computes attention itself and reads scores only the eager form has.
    structure.set_attn_implementation("eager")
    parameter = next(plain.parameters())
    try:
        bridge = TransformerBridge.boot_transformers(
            name,
            hf_model=structure,
            tokenizer=_for_bridge(tokenizer),
            dtype=parameter.dtype,
            device=parameter.device,
        )
    except (ValueError, KeyError, AttributeError) as error:
        architecture = (getattr(plain.config, "architectures", None) or [type(plain).__name__])[0]
        raise LoadError(
            f"TransformerLens has no adapter that fits {architecture!r} ({error}); see "
            "transformer_lens.model_bridge.sources.list_supported_models()"
        ) from error
    return Network(plain, bridge)


def _for_bridge(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Copy the tokenizer, because the bridge changes its own.

    The bridge would read it again from where it came from to have it add a BOS token; one made in
    memory came from nowhere. The mark keeps it as it is, and the bridge adds BOS by itself.
    """
    copied = copy.deepcopy(tokenizer)
    copied.init_kwargs = {"name_or_path": "", **copied.init_kwargs, "add_bos_token": True}
    return copied


def fingerprint(module: nn.Module, *, sample: int = 65_536) -> str:
    """Hash a network's parameters.

    Parameters
    ----------
    module
        The network.
    sample
        Most values read per tensor, evenly strided; smaller tensors are read whole.

    Returns
    -------
    str
        16 hexadecimal digits. The same weights give the same digits in any process and on any
        device; other dtypes give others.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        flat = tensor.detach().reshape(-1)
        if flat.numel() > sample:
            flat = flat[:: flat.numel() // sample]
        digest.update(f"{name}|{tuple(tensor.shape)}|{tensor.dtype}".encode())
        values = flat.float() if flat.is_floating_point() else flat.double()
        digest.update(values.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]

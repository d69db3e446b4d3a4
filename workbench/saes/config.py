"""What an SAE is, read from its configuration alone: sizes, architecture, sites, expected tensors.

Configurations come from outside, so they are parsed into a checked model here; the rest of the
room works with `SaeConfig`. The tensor shapes each architecture needs are written down so that a
file can be refused before anything of its size is allocated.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Annotated, Any

import pydantic

from workbench.errors import SaeError, unknown

__all__ = [
    "ARCHITECTURES",
    "DTYPES",
    "SaeConfig",
    "dtype_name",
    "expected_shapes",
    "parse_config",
]

ARCHITECTURES = (
    "standard",
    "gated",
    "topk",
    "abstopk",
    "jumprelu",
    "matching_pursuit",
    "temporal",
    "transcoder",
    "skip_transcoder",
    "jumprelu_transcoder",
    "jumprelu_skip_transcoder",
)
DTYPES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
_NORMALISATIONS = (
    "none",
    "expected_average_only_in",
    "constant_norm_rescale",
    "constant_scalar_rescale",
    "layer_norm",
    "covariance_whitening",
)
# Limits far above any published dictionary, there so that a hostile configuration is refused.
_MAX_WIDTH = 1 << 20
_MAX_FEATURES = 1 << 28

_Width = Annotated[int, pydantic.Field(ge=1, le=_MAX_WIDTH)]
_Features = Annotated[int, pydantic.Field(ge=1, le=_MAX_FEATURES)]


class _RawConfig(pydantic.BaseModel):
    """The fields of a SAELens ``cfg.json`` that decide shapes and mathematics."""

    model_config = pydantic.ConfigDict(extra="allow")

    architecture: str
    d_in: _Width
    d_sae: _Features
    dtype: str = "float32"
    apply_b_dec_to_input: bool = True
    normalize_activations: str = "none"
    reshape_activations: str = "none"
    metadata: dict[str, Any] = pydantic.Field(default_factory=dict)
    k: _Features | None = None
    d_out: _Width | None = None
    rescale_acts_by_decoder_norm: bool = False
    tied_weights: bool = True
    n_attn_layers: Annotated[int, pydantic.Field(ge=0, le=64)] = 1
    n_heads: _Width = 8
    bottleneck_factor: _Width = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class SaeConfig:
    """A checked SAE configuration.

    Parameters
    ----------
    architecture
        One of `ARCHITECTURES`.
    d_in, d_out, d_sae
        Widths of the input, of the reconstruction and of the dictionary.
    dtype
        Precision the weights are stored in.
    hook, hook_out
        Site names as the file gives them; `hook_out` is set for transcoders only.
    model_name
        Model the SAE was trained on, where the file says so.
    normalize_activations, reshape_activations
        As SAELens applies them at inference.
    centre_writing_weights
        Whether it was trained on a model whose writing weights were centred, so that its
        input is the activation minus its mean over the width.
    raw
        The configuration handed to SAELens.
    """

    architecture: str
    d_in: int
    d_out: int
    d_sae: int
    dtype: str
    hook: str | None
    hook_out: str | None
    model_name: str | None
    normalize_activations: str
    reshape_activations: str
    centre_writing_weights: bool
    raw: Mapping[str, Any] = dataclasses.field(repr=False)

    @property
    def is_transcoder(self) -> bool:
        """Whether it reads one site and writes another."""
        return self.architecture.endswith("transcoder")

    @property
    def is_skip(self) -> bool:
        """Whether the reconstruction has a linear term in the input."""
        return self.architecture.endswith("skip_transcoder")

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The configuration's metadata (model, dataset, context size, ...)."""
        return self.raw.get("metadata", {})

    def n_parameters(self) -> int:
        """Count the parameters of all expected tensors."""
        return sum(math.prod(shape) for shape in expected_shapes(self).values())

    def nbytes(self, dtype: str | None = None) -> int:
        """Bytes the weights take in memory in `dtype` (default: as stored)."""
        return self.n_parameters() * DTYPES[dtype_name(dtype or self.dtype)]


def dtype_name(dtype: object) -> str:
    """Return the plain name of a torch dtype or of its spelling.

    Raises
    ------
    SaeError
        If it is not one of float32, bfloat16, float16, float64.
    """
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise SaeError(unknown("dtype", name, DTYPES))
    return name


def parse_config(data: Mapping[str, Any], where: str) -> SaeConfig:
    """Check a configuration in SAELens's current form.

    Parameters
    ----------
    data
        The parsed JSON.
    where
        What to call it in errors (a file or a registry entry).

    Raises
    ------
    SaeError
        If a field is missing, of the wrong type, out of range or names something unknown.
    """
    try:
        raw = _RawConfig.model_validate(dict(data))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        got = "" if first["type"] == "missing" else f" (got {first['input']!r:.80})"
        raise SaeError(f"{where}: configuration field {field!r}: {first['msg']}{got}") from error
    if raw.architecture not in ARCHITECTURES:
        raise SaeError(f"{where}: {unknown('architecture', raw.architecture, ARCHITECTURES)}")
    if raw.normalize_activations not in _NORMALISATIONS:
        raise SaeError(
            f"{where}: {unknown('normalisation', raw.normalize_activations, _NORMALISATIONS)}"
        )
    if raw.reshape_activations not in ("none", "hook_z"):
        raise SaeError(
            f"{where}: {unknown('reshape', raw.reshape_activations, ('none', 'hook_z'))}"
        )
    _check_architecture(raw, where)
    transcoder = raw.architecture.endswith("transcoder")
    metadata = _safe_metadata(raw.metadata)
    kwargs = metadata.get("model_from_pretrained_kwargs")
    config = SaeConfig(
        architecture=raw.architecture,
        d_in=raw.d_in,
        d_out=raw.d_out if transcoder and raw.d_out else raw.d_in,
        d_sae=raw.d_sae,
        dtype=dtype_name(raw.dtype),
        hook=_text(metadata.get("hook_name")),
        hook_out=_text(metadata.get("hook_name_out")) if transcoder else None,
        model_name=_text(metadata.get("model_name")),
        normalize_activations=raw.normalize_activations,
        reshape_activations=raw.reshape_activations,
        centre_writing_weights=(
            isinstance(kwargs, dict) and kwargs.get("center_writing_weights") is True
        ),
        raw={**data, "metadata": metadata},
    )
    expected_shapes(config)
    return config


def _check_architecture(raw: _RawConfig, where: str) -> None:
    if raw.architecture in ("topk", "abstopk") and not (raw.k and raw.k <= raw.d_sae):
        raise SaeError(
            f"{where}: a {raw.architecture} SAE needs k between 1 and d_sae = {raw.d_sae}, "
            f"got {raw.k}"
        )
    if raw.architecture.endswith("transcoder"):
        if raw.d_out is None:
            raise SaeError(f"{where}: a {raw.architecture} needs d_out, the width it writes")
        if raw.apply_b_dec_to_input:
            raise SaeError(
                f"{where}: apply_b_dec_to_input is true, but the decoder bias of a "
                "transcoder belongs to another site; set it to false"
            )
    elif raw.normalize_activations == "constant_scalar_rescale" and raw.architecture != "temporal":
        raise SaeError(f"{where}: constant_scalar_rescale belongs to temporal SAEs only")
    if raw.architecture == "temporal" and raw.d_sae % (raw.bottleneck_factor * raw.n_heads):
        raise SaeError(
            f"{where}: d_sae = {raw.d_sae} must be a multiple of bottleneck_factor × n_heads "
            f"= {raw.bottleneck_factor} × {raw.n_heads}"
        )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _safe_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Drop metadata names that would shadow a method of SAELens's metadata object."""
    taken = {"get", "keys", "values", "items", "to_dict", "from_dict"}
    return {
        name: value
        for name, value in metadata.items()
        if name.isidentifier() and not name.startswith("_") and name not in taken
    }


def expected_shapes(config: SaeConfig) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor the architecture needs, in SAELens's layout.

    Encoder weights are [d_in, d_sae], decoder weights [d_sae, d_out], skip weights [d_out, d_in].
    """
    d_in, d_out, d_sae = config.d_in, config.d_out, config.d_sae
    shapes: dict[str, tuple[int, ...]] = {
        "W_enc": (d_in, d_sae),
        "b_enc": (d_sae,),
        "W_dec": (d_sae, d_out),
        "b_dec": (d_out,),
    }
    if config.architecture.startswith("jumprelu"):
        shapes["threshold"] = (d_sae,)
    if config.is_skip:
        shapes["W_skip"] = (d_out, d_in)
    if config.architecture == "gated":
        del shapes["b_enc"]
        shapes |= dict.fromkeys(("b_gate", "b_mag", "r_mag"), (d_sae,))
    if config.architecture == "matching_pursuit":
        shapes = {"W_dec": (d_sae, d_in), "b_dec": (d_in,)}
    if config.architecture == "temporal":
        shapes = {"W_dec": (d_sae, d_in), "b_dec": (d_in,)}
        if not config.raw.get("tied_weights", True):
            shapes["W_enc"] = (d_in, d_sae)
        narrow = d_sae // int(config.raw.get("bottleneck_factor", 64))
        for layer in range(int(config.raw.get("n_attn_layers", 1))):
            for name, rows in (
                ("k_ctx", narrow),
                ("q_target", narrow),
                ("v_ctx", d_sae),
                ("c_proj", d_sae),
            ):
                shapes[f"attn_layers.{layer}.{name}.weight"] = (rows, d_sae)
                shapes[f"attn_layers.{layer}.{name}.bias"] = (rows,)
    return shapes

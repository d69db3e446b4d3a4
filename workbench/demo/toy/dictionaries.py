"""Sparse dictionaries written by hand: encode, decode and the encoder's derivative in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

Array = np.ndarray


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One hand-set feature: what it reads, what it writes.

    Attributes
    ----------
    name
        What the feature stands for.
    read
        Axis number to encoder weight.
    bias
        Encoder bias; negative, so that silence is far from the point where the feature wakes up.
    write
        Axis number to decoder weight.
    """

    name: str
    read: Mapping[int, float]
    bias: float
    write: Mapping[int, float]


@dataclass(frozen=True, kw_only=True)
class Dictionary:
    """A sparse autoencoder, or a transcoder, with weights set by hand.

    Attributes
    ----------
    name
        Name it is attached under, such as ``resid_post.0``.
    site
        Site whose activation it writes: the same, except ``mlp_out.L`` for ``transcoder.L``.
    source
        Site whose activation it reads: `site`, except ``mlp_in.L`` for ``transcoder.L``.
    architecture
        SAELens's name of the activation function in use.
    features
        Names of the features, in order.
    encoder
        (d, features).
    encoder_bias
        (features,).
    decoder
        (features, d).
    decoder_bias
        (d,); taken off the input before encoding, except in a transcoder.
    k
        Number of features kept per position (``topk`` only).
    threshold
        Value below which a feature is silent (``jumprelu`` only).
    """

    name: str
    site: str
    source: str
    architecture: Literal["standard", "topk", "jumprelu", "transcoder"]
    features: tuple[str, ...]
    encoder: Float[Array, "d features"]
    encoder_bias: Float[Array, " features"]
    decoder: Float[Array, "features d"]
    decoder_bias: Float[Array, " d"]
    k: int | None = None
    threshold: float | None = None

    def __len__(self) -> int:
        return len(self.features)

    def before_activation(self, x: Float[Array, "pos d"]) -> Float[Array, "pos features"]:
        """Affine part of the encoder."""
        taken = x if self.architecture == "transcoder" else x - self.decoder_bias
        return taken @ self.encoder + self.encoder_bias

    def active(self, x: Float[Array, "pos d"]) -> Bool[Array, "pos features"]:
        """Which features fire: where the encoder's derivative is one, and zero elsewhere."""
        value = self.before_activation(x)
        floor = 0.0 if self.threshold is None else self.threshold
        fires = value > floor
        if self.k is not None:
            rank = np.argsort(np.argsort(-value, axis=-1), axis=-1)
            fires &= rank < self.k
        return fires

    def encode(self, x: Float[Array, "pos d"]) -> Float[Array, "pos features"]:
        """Feature activations."""
        return np.where(self.active(x), self.before_activation(x), 0.0)

    def encode_change(
        self, x: Float[Array, "pos d"], change: Float[Array, "*more pos d"]
    ) -> Float[Array, "*more pos features"]:
        """First-order change of :meth:`encode` for a change of `x`."""
        return np.where(self.active(x), change @ self.encoder, 0.0)

    def decode(self, f: Float[Array, "pos features"]) -> Float[Array, "pos d"]:
        """Reconstruction from feature activations."""
        return f @ self.decoder + self.decoder_bias

    def margin(self, x: Float[Array, "pos d"]) -> float:
        """Smallest distance of any feature to the point where it wakes up or falls silent.

        Rounding cannot switch a feature as long as this is well above the rounding error.
        """
        value = self.before_activation(x)
        floor = 0.0 if self.threshold is None else self.threshold
        distance = float(np.abs(value - floor).min())
        if self.k is not None and self.k < len(self):
            ordered = -np.sort(-value, axis=-1)
            last, first_out = ordered[:, self.k - 1], ordered[:, self.k]
            # Which of two features is kept matters only where the weaker one would fire at all.
            gap = np.where(first_out > 0, last - first_out, np.inf)
            distance = min(distance, float(gap.min()))
        return distance


def make_dictionary(
    name: str,
    features: Sequence[Feature],
    *,
    d: int,
    architecture: Literal["standard", "topk", "jumprelu", "transcoder"] = "standard",
    decoder_bias: Mapping[int, float] | None = None,
    k: int | None = None,
    threshold: float | None = None,
) -> Dictionary:
    """Lay features out as the matrices of a dictionary.

    Parameters
    ----------
    name
        ``resid_post.0`` and the like; ``transcoder.L`` reads ``mlp_in.L`` and writes
        ``mlp_out.L``.
    features
        The features, in order. Decoder rows are scaled to unit length.
    d
        Width of the residual stream.
    architecture, k, threshold
        As in :class:`Dictionary`.
    decoder_bias
        Axis number to value.
    """
    encoder = np.zeros((d, len(features)))
    decoder = np.zeros((len(features), d))
    offset = np.zeros(d)
    for axis, value in (decoder_bias or {}).items():
        offset[axis] = value
    for column, feature in enumerate(features):
        for axis, weight in feature.read.items():
            encoder[axis, column] = weight
        for axis, weight in feature.write.items():
            decoder[column, axis] = weight
    decoder /= np.linalg.norm(decoder, axis=1, keepdims=True)
    layer = name.partition(".")[2]
    transcoder = name.startswith("transcoder.")
    return Dictionary(
        name=name,
        site=f"mlp_out.{layer}" if transcoder else name,
        source=f"mlp_in.{layer}" if transcoder else name,
        architecture=architecture,
        features=tuple(feature.name for feature in features),
        encoder=as_stored(encoder),
        encoder_bias=as_stored(np.array([feature.bias for feature in features])),
        decoder=as_stored(decoder),
        decoder_bias=as_stored(offset),
        k=k,
        threshold=threshold,
    )


def as_stored(values: Array) -> Array:
    """Round to what a float32 file holds, so that file and truth have the very same weights."""
    return values.astype(np.float32).astype(np.float64)

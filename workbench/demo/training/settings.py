"""Settings of the demo model and its SAEs: the shipped ones and a small set for trying out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

__all__ = [
    "CorpusSettings",
    "ModelSettings",
    "SaePlan",
    "SaeSettings",
    "TrainSettings",
    "full_settings",
    "quick_settings",
    "sae_plans",
]

Architecture = Literal["topk", "batchtopk", "matryoshka"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorpusSettings:
    """How much text is generated and by how many processes.

    Parameters
    ----------
    chunks, chunk_tokens
        The corpus is made in `chunks` independent pieces of about `chunk_tokens` tokens, piece
        `i` from seed `seed + i`, so the text does not depend on how many processes make it.
    workers
        Generating processes; 0 generates in the training process.
    seed
        Seed of the first piece.
    """

    chunks: int
    chunk_tokens: int
    workers: int
    seed: int = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Size and optimisation of the Llama-type language model.

    Parameters
    ----------
    layers, width, heads, mlp_width
        Number of blocks, residual width, attention heads, gated MLP width.
    positions
        Longest text the model takes, in tokens.
    steps, batch_rows
        Optimiser steps and corpus rows per step.
    learning_rate, warmup_steps, weight_decay, clip_norm
        AdamW with linear warm-up and cosine decay to zero.
    seed
        Seed of the initial weights and of the row order.
    """

    layers: int = 5
    width: int = 256
    heads: int = 8
    mlp_width: int = 768
    positions: int = 256
    steps: int = 6500
    batch_rows: int = 512
    learning_rate: float = 1.5e-3
    warmup_steps: int = 300
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class SaeSettings:
    """Sizes and optimisation shared by the SAEs.

    Parameters
    ----------
    architecture
        Trained architecture. ``batchtopk`` and ``matryoshka`` (nested batch top-k) are stored as
        ``jumprelu``, as SAELens does.
    features, active
        Dictionary size, and features active per token (on average for ``batchtopk``).
    sizes
        Other ``(features, active)`` for SAEs named here.
    steps, batch_tokens
        Optimiser steps and tokens per step.
    learning_rate
        Adam's rate on activations scaled to a mean norm of ``sqrt(width)``.
    buffer_tokens
        Tokens whose activations are shuffled together.
    dead_window
        Steps without firing after which a feature joins the auxiliary loss.
    least_density
        Features that fire on a smaller share of tokens are removed after training.
    transcoder_layer, control_layer
        Layers of the transcoder and of the deliberately bad control SAE.
    processes
        How many processes share the SAEs; the result does not depend on it.
    seed
        Seed of initial weights and activation order.
    """

    architecture: Architecture = "batchtopk"
    features: int = 1024
    active: int = 20
    sizes: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    steps: int = 2500
    batch_tokens: int = 4096
    learning_rate: float = 1e-3
    buffer_tokens: int = 524_288
    dead_window: int = 200
    least_density: float = 1e-5
    transcoder_layer: int = 2
    control_layer: int = 2
    processes: int = 8
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Everything `workbench.demo.train` needs to rebuild the demo assets."""

    corpus: CorpusSettings
    model: ModelSettings
    sae: SaeSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class SaePlan:
    """One SAE to train.

    Parameters
    ----------
    name
        Attach and directory name, such as ``resid_post.2``.
    site
        Site read by the SAE; `target` is the site it reconstructs (the same but for transcoders).
    architecture, features, active, steps, learning_rate
        As in `SaeSettings`.
    control
        Whether this is the deliberately bad SAE.
    seed
        Seed of its initial weights.
    """

    name: str
    site: str
    target: str
    architecture: Architecture
    features: int
    active: int
    steps: int
    learning_rate: float
    control: bool = False
    seed: int = 0

    @property
    def is_transcoder(self) -> bool:
        """Whether the SAE reconstructs another site than it reads."""
        return self.site != self.target


def full_settings(*, seed: int = 0) -> TrainSettings:
    """Return the settings of the shipped assets."""
    return TrainSettings(
        corpus=CorpusSettings(chunks=340, chunk_tokens=1_000_000, workers=14, seed=1000 + seed),
        model=ModelSettings(seed=seed),
        # Two sizes were trained at every site and the one kept whose features stood for more
        # concepts on training text; the embedding has a vector per word and gets more features.
        sae=SaeSettings(
            sizes={
                "embed": (1280, 20),
                "attn_out.1": (640, 12),
                "mlp_out.2": (640, 12),
                "mlp_out.4": (640, 12),
                "resid_post.1": (640, 12),
            },
            seed=seed,
        ),
    )


def quick_settings(*, seed: int = 0) -> TrainSettings:
    """Return settings that go through every stage in seconds on a CPU; the result is poor."""
    return TrainSettings(
        corpus=CorpusSettings(chunks=2, chunk_tokens=20_000, workers=0, seed=1000 + seed),
        model=ModelSettings(
            layers=2,
            width=32,
            heads=4,
            mlp_width=64,
            steps=40,
            batch_rows=16,
            learning_rate=5e-3,
            warmup_steps=5,
            seed=seed,
        ),
        sae=SaeSettings(
            features=64,
            active=8,
            steps=60,
            batch_tokens=512,
            buffer_tokens=8192,
            dead_window=20,
            transcoder_layer=0,
            control_layer=1,
            processes=0,
            seed=seed,
        ),
    )


def sae_plans(settings: TrainSettings) -> tuple[SaePlan, ...]:
    """List the SAEs of the demo world in attach order.

    Parameters
    ----------
    settings
        Number of layers, sizes and steps are read from here.

    Returns
    -------
    tuple of SaePlan
        The embedding, three sites per layer, one transcoder, and one control that is trained for
        a fiftieth of the steps with four active features.
    """
    sae = settings.sae
    layers = range(settings.model.layers)
    names = [
        "embed",
        *(f"{kind}.{layer}" for layer in layers for kind in ("attn_out", "mlp_out", "resid_post")),
        f"transcoder.{sae.transcoder_layer}",
    ]
    plans = []
    for name in names:
        features, active = sae.sizes.get(name, (sae.features, sae.active))
        kind, _, layer = name.partition(".")
        transcoder = kind == "transcoder"
        plans.append(
            SaePlan(
                name=name,
                site=f"mlp_in.{layer}" if transcoder else name,
                target=f"mlp_out.{layer}" if transcoder else name,
                # SAELens has no top-k transcoder; batch top-k is stored as a jumprelu one.
                architecture="batchtopk" if transcoder else sae.architecture,
                features=features,
                active=active,
                steps=sae.steps,
                learning_rate=sae.learning_rate,
            )
        )
    control = f"resid_post.{sae.control_layer}"
    plans.append(
        SaePlan(
            name=f"{control}-bad",
            site=control,
            target=control,
            architecture="topk",
            features=sae.features,
            active=4,
            steps=max(2, sae.steps // 50),
            learning_rate=sae.learning_rate / 5,
            control=True,
        )
    )
    return tuple(
        dataclasses.replace(plan, seed=sae.seed + index) for index, plan in enumerate(plans)
    )

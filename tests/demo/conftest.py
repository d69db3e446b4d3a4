"""Tiny demo assets, really trained, shared by the tests of training and of the report."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from workbench.demo import train
from workbench.demo.training.settings import TrainSettings, quick_settings


@pytest.fixture(scope="session")
def tiny_settings() -> TrainSettings:
    settings = quick_settings(seed=3)
    return dataclasses.replace(
        settings,
        corpus=dataclasses.replace(settings.corpus, chunks=3, chunk_tokens=12_000),
        model=dataclasses.replace(settings.model, steps=60),
        sae=dataclasses.replace(settings.sae, steps=40),
    )


@pytest.fixture(scope="session")
def tiny_assets(tmp_path_factory: pytest.TempPathFactory, tiny_settings: TrainSettings) -> Path:
    """A two-layer model and its nine SAEs, trained for seconds."""
    out = tmp_path_factory.mktemp("assets")
    train.train_model_stage(tiny_settings, out, device="cpu")
    train.train_saes_stage(tiny_settings, out, device="cpu")
    return out

"""Sparse autoencoders: loading from every layout, attaching to sites, codes, splicing, health."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.lazy import lazily

if TYPE_CHECKING:
    from workbench.saes.acts import FeatureActs
    from workbench.saes.description import SaeProvenance
    from workbench.saes.health import SaeHealth, measure_health
    from workbench.saes.load import load_sae
    from workbench.saes.lookup import RegistryEntry, find_registered
    from workbench.saes.per_feature import FeatureStatistics, TopFeatures
    from workbench.saes.sae import Sae
    from workbench.saes.source import SaeSource
    from workbench.saes.splice import Splice, SpliceNodes, splice_all
    from workbench.saes.store import SaeStore
    from workbench.saes.training import train_sae

_HOMES = {
    "FeatureActs": "acts",
    "FeatureStatistics": "per_feature",
    "RegistryEntry": "lookup",
    "Sae": "sae",
    "SaeHealth": "health",
    "SaeProvenance": "description",
    "SaeSource": "source",
    "SaeStore": "store",
    "Splice": "splice",
    "SpliceNodes": "splice",
    "TopFeatures": "per_feature",
    "find_registered": "lookup",
    "load_sae": "load",
    "measure_health": "health",
    "splice_all": "splice",
    "train_sae": "training",
}

__all__ = [
    "FeatureActs",
    "FeatureStatistics",
    "RegistryEntry",
    "Sae",
    "SaeHealth",
    "SaeProvenance",
    "SaeSource",
    "SaeStore",
    "Splice",
    "SpliceNodes",
    "TopFeatures",
    "find_registered",
    "load_sae",
    "measure_health",
    "splice_all",
    "train_sae",
]

__getattr__, __dir__ = lazily(__name__, _HOMES)

"""Features: references and sets of them, and reading them on text."""

from workbench.features.reading import Reading, SaeReading, read
from workbench.features.refs import FeatureRef, FeatureSet

__all__ = ["FeatureRef", "FeatureSet", "Reading", "SaeReading", "read"]

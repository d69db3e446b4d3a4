"""What the feature view asks of the session behind a dashboard."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Float

from workbench.features.refs import FeatureRef

if TYPE_CHECKING:
    from workbench.features.dashboard import Context, ContextGroup, Dashboard

__all__ = ["ablation", "dashboard_of", "sample"]

_SAMPLED = 10


def _pages() -> Any:
    # On first use: a snapshot never asks, and the module brings torch along.
    return importlib.import_module("workbench.features.page")


def dashboard_of(session: Any, feature: str) -> Dashboard:
    """Make a feature's dashboard, bound to the session."""
    made: Dashboard = _pages().feature(session, FeatureRef.parse(feature))
    return made if made.session is not None else made.bound_to(session)


def sample(session: Any, dashboard: Dashboard, low: float, high: float) -> ContextGroup:
    """Draw contexts whose activation lies between `low` and `high`, both included."""
    # Ranges leave their upper end out, but the last bin holds the largest activation.
    last = float(dashboard.histogram.edges[-1])
    above = high if high < last else float(np.nextafter(np.float32(high), np.float32(np.inf)))
    drawn = _pages().resample(session, dashboard.ref, low, above, n=_SAMPLED)
    return cast("ContextGroup", drawn)


def ablation(session: Any, dashboard: Dashboard, context: Context) -> Float[np.ndarray, " pos"]:
    """Return the change of loss at each token of a context when the feature is ablated there."""
    effect = _pages().ablation_effect(session, dashboard.ref, context)
    return np.asarray(effect, np.float32)

"""What the feature view asks of the session behind a dashboard."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from workbench.features.refs import FeatureRef

if TYPE_CHECKING:
    from workbench.features.dashboard import Context, ContextGroup, Dashboard

__all__ = ["ablation", "dashboard_of", "sample", "sourced"]

_SAMPLED = 10


def _room(name: str) -> Any:
    # On first use: a snapshot never asks, and the modules bring torch along.
    return importlib.import_module(f"workbench.features.{name}")


def dashboard_of(session: Any, feature: str) -> Dashboard:
    """Make a feature's dashboard, bound to the session, without what needs a run of the model."""
    made: Dashboard = _room("page").feature(session, FeatureRef.parse(feature), sources=False)
    return made if made.session is not None else made.bound_to(session)


def sourced(session: Any, dashboard: Dashboard) -> Dashboard:
    """Return the dashboard with where its strongest context's activation came from."""
    return cast("Dashboard", _room("page").with_sources(session, dashboard))


def sample(session: Any, dashboard: Dashboard, low: float, high: float) -> ContextGroup:
    """Draw contexts whose activation lies between `low` and `high`, both included."""
    # Ranges leave their upper end out, but the last bin holds the largest activation.
    last = float(dashboard.histogram.edges[-1])
    above = high if high < last else float(np.nextafter(np.float32(high), np.float32(np.inf)))
    drawn = _room("page").resample(session, dashboard.ref, low, above, n=_SAMPLED)
    return cast("ContextGroup", drawn)


def ablation(session: Any, dashboard: Dashboard, context: Context) -> dict[str, Any]:
    """Return what ablating the feature in a context does, as the view is sent it.

    Returns
    -------
    dict
        ``effect``, the change of loss at each token; ``next``, after each token the next tokens
        whose probability changes most: token, id, probability before and after.
    """
    made = _room("ablation").ablate(session, dashboard.ref, context)
    return {
        "effect": np.asarray(made.loss, np.float32),
        "next": [
            [(one.token, one.token_id, one.before, one.after) for one in row]
            for row in made.next_tokens
        ],
    }

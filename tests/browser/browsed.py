"""Made-up statistics as a feature browser, so that its view can be tested without a model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from browser import features
from browser.readings import HOSTILE

from workbench.features.browse import FeatureBrowser
from workbench.features.browse_table import BrowseTable
from workbench.features.refs import FeatureRef

SAES = ("resid_post.0", "resid_post.1", "mlp_out.1")


def statistics(n: int, seed: int = 0, saes: tuple[str, ...] = SAES) -> pd.DataFrame:
    """Statistics of `n` features of each SAE; every fiftieth is dead."""
    rng = np.random.default_rng(seed)
    total = n * len(saes)
    dead = np.arange(total) % 50 == 49
    density = np.where(dead, 0, np.minimum(1, rng.lognormal(-6, 1.5, total)))
    columns = {
        name: np.where(dead, np.nan, rng.lognormal(0.5, 0.7, total)) for name in ("mean", "p99")
    }
    return pd.DataFrame(
        {
            "sae": np.repeat(saes, n),
            "feature": np.tile(np.arange(n, dtype=np.int32), len(saes)),
            "count": (density * 2_100_000).astype(np.int64),
            "density": density,
            **columns,
            "max": columns["mean"] + columns["p99"],
            "dead": dead,
            "dense": density > 0.01,
        }
    )


def browser(
    n: int = 400,
    *,
    labels: dict[str, str] | None = None,
    partial: bool = False,
    frame: pd.DataFrame | None = None,
    **changes: Any,
) -> FeatureBrowser:
    """A browser of made-up statistics, bound to no session."""
    frame = statistics(n) if frame is None else frame
    table = BrowseTable(frame)
    table.set_labels({FeatureRef.parse(ref): text for ref, text in (labels or {}).items()})
    made = FeatureBrowser(
        **{
            "provenance": features.provenance(saes=table.saes),
            "index_path": "features-index",
            "saes": table.saes,
            "n_features": len(table),
            "n_counted": 2_100_000,
            "partial": partial,
            **changes,
        }
    )
    made.__dict__["_table"] = table
    made.__dict__["_index"] = SimpleNamespace(path=None)
    return made


def hostile() -> FeatureBrowser:
    """Labels that would like to be something else."""
    return browser(labels={f"resid_post.0/{at}": text for at, text in enumerate(HOSTILE)})

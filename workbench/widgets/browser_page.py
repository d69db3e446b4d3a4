"""The feature browser as its view is sent it: blocks of rows, a plot, what there is to ask for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.widgets.browser_words import KINDS
from workbench.widgets.feature_page import compact

if TYPE_CHECKING:
    import pandas as pd

    from workbench.features.browse import FeatureBrowser
    from workbench.features.browse_plot import Axis, Plot
    from workbench.features.browse_table import BrowseTable
    from workbench.features.lists import FeatureLists

__all__ = ["MAP", "about", "pack_block", "pack_plot", "setup"]

MAP = ("map_x", "map_y")

_MEANING = {
    "count": "Counted tokens on which the feature is active",
    "density": "Share of counted tokens on which the feature is active",
    "mean": "Mean of its nonzero activations",
    "std": "Standard deviation of its nonzero activations",
    "second_moment": "Mean of its squared nonzero activations",
    "max": "Largest activation",
    "min": "Least nonzero activation",
    "median": "Median of its nonzero activations, read from the histogram",
    "p90": "90th percentile of its nonzero activations, read from the histogram",
    "p99": "99th percentile of its nonzero activations, read from the histogram",
    "map_x": "Decoder direction on the first principal component of all directions",
    "map_y": "Decoder direction on the second principal component of all directions",
}


def pack_block(
    table: pd.DataFrame, first: int, saes: tuple[str, ...], lists: FeatureLists | None
) -> dict[str, Any]:
    """Return rows as arrays, one per column.

    Parameters
    ----------
    table
        The rows.
    first
        Place of the first in the whole answer.
    saes
        Names of SAEs: rows hold places in this.
    lists
        Colours are read from there.
    """
    place = {name: at for at, name in enumerate(saes)}
    named = ("sae", "feature", "label", "labelled", "dead", "dense", "why")
    numbers = [name for name in table.columns if name not in named]
    return {
        "first": first,
        "sae": np.array([place[str(name)] for name in table["sae"]], np.int32),
        "feature": table["feature"].to_numpy(np.int32),
        "numbers": {name: table[name].to_numpy(np.float64, na_value=np.nan) for name in numbers},
        "flags": {
            name: table[name].fillna(False).to_numpy(bool)
            for name in ("dead", "dense")
            if name in table.columns
        },
        "label": list(table["label"]),
        "why": list(table["why"]) if "why" in table.columns else None,
        "colour": _colours(table, lists),
    }


def _colours(table: pd.DataFrame, lists: FeatureLists | None) -> list[str | None]:
    """Colour of each feature: its own, or else that of the first list that holds it."""
    if lists is None:
        return [None] * len(table)
    listed: dict[str, str] = {}
    for name in lists.names:
        kept = lists.list(name)
        if kept.colour is not None:
            for ref in kept.features:
                listed.setdefault(str(ref), kept.colour)
    names = [f"{sae}/{index}" for sae, index in zip(table["sae"], table["feature"], strict=True)]
    return [lists.annotation(name).colour or listed.get(name) for name in names]


def pack_plot(made: Plot, table: BrowseTable) -> dict[str, Any]:
    """Return a plot: its axes, and points with their features and labels, or counts."""
    points = table.gather(made.rows)
    place = {name: at for at, name in enumerate(table.saes)}
    return {
        "x": _axis(made.x),
        "y": _axis(made.y),
        "sae": np.array([place[str(name)] for name in points["sae"]], np.int32),
        "feature": points["feature"].to_numpy(np.int32),
        "label": list(points["label"]),
        "points": np.asarray(made.points, np.float64),
        "counts": np.asarray(made.counts, np.int32),
        "shown": made.shown,
        "left_out": made.left_out,
    }


def _axis(axis: Axis) -> dict[str, Any]:
    return {"column": axis.column, "low": axis.low, "high": axis.high, "log": axis.log}


def about(browser: FeatureBrowser, table: BrowseTable) -> dict[str, Any]:
    """Return what the browser is of, and what can be asked of it."""
    session = browser.session
    live = session is not None and not session.closed
    lists = session.lists if live else None
    return {
        "saes": list(browser.saes),
        "features": len(table),
        "counted_tokens": browser.n_counted,
        "partial": browser.partial,
        "numbers": [
            {"name": name, "title": _MEANING.get(name, name.replace("_", " "))}
            for name in (*table.statistics, *MAP)
        ],
        "lists": list(lists.names) if lists is not None else [],
        "kinds": [(kind, *words) for kind, words in KINDS.items()],
        "live": live,
        "provenance": _provenance(browser),
    }


def _provenance(browser: FeatureBrowser) -> dict[str, Any]:
    source = browser.provenance
    policy = source.token_policy
    bos = "BOS once" if policy.get("bos") else "no BOS"
    template = ["chat template"] if policy.get("chat") else []
    counted = f"{compact(browser.n_counted)} tokens"
    facts: list[tuple[str, str]] = [
        ("Model", source.model),
        ("Fingerprint", source.model_fingerprint),
        ("SAEs", ", ".join(browser.saes)),
        ("Features", f"{browser.n_features:,}"),
        ("Counted", f"{browser.n_counted:,} tokens; BOS, EOS, padding and template left out"),
        ("Index", "still being built" if browser.partial else "complete"),
        ("Policy", ", ".join(f"{key} {value}" for key, value in policy.items())),
        ("Versions", ", ".join(f"{name} {version}" for name, version in source.versions.items())),
        ("Computed", source.created),
    ]
    if source.seed is not None:
        facts.append(("Seed", str(source.seed)))
    return {"summary": " · ".join([source.model, bos, *template, counted]), "facts": facts}


def setup(browser: FeatureBrowser) -> list[str]:
    """Return the lines that leave a session with this index in ``s``."""
    path = Path(browser.index_path)
    # A shared page should not tell where its author keeps files.
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else Path(path.name)
    return [
        "import workbench as wb",
        f"s = wb.open({browser.provenance.model!r})",
        f"s.index(path={shown.as_posix()!r})",
    ]

"""Tables of an entity study."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workbench.directions.detection import auroc, auroc_interval
from workbench.directions.entities.separation import SIDES, Side
from workbench.errors import InputError, unknown

if TYPE_CHECKING:
    from workbench.directions.entities.entity_study import EntityStudy
    from workbench.features.refs import FeatureRef

__all__ = [
    "answer_table",
    "auroc_table",
    "entity_table",
    "feature_table",
    "layer_table",
    "method_table",
    "scatter_table",
]


def feature_table(study: EntityStudy) -> pd.DataFrame:
    """Return the top 20 features of each side.

    Returns
    -------
    DataFrame
        ``feature``, ``side``, ``layer``, ``site``, ``separation`` (worst type, on training
        entities), ``separation_<type>``, ``test_separation`` (worst type, on test entities),
        ``auroc`` (worst type, on test entities), ``density``.
    """
    test = study.rates("test")
    rows = []
    for side in SIDES:
        for found in study.ranked(side):
            held_out = test[found.sae].separation(side)[:, found.index].min()
            rows.append(
                {
                    "feature": found.feature,
                    "side": side,
                    "layer": study.codes[found.sae].layer,
                    "site": study.codes[found.sae].site,
                    "separation": found.score,
                    "test_separation": float(held_out),
                    "auroc": float(study.auroc(found.feature, side)["auroc"].min()),
                    "density": found.density,
                    **{f"separation_{kind}": s for kind, s in found.by_type.items()},
                }
            )
    columns = ["feature", "side", "layer", "site", "separation", "test_separation", "auroc"]
    columns += ["density", *(f"separation_{kind}" for kind in study.types)]
    return pd.DataFrame(rows, columns=columns)


def entity_table(study: EntityStudy) -> pd.DataFrame:
    """Return one row per entity.

    Returns
    -------
    DataFrame
        ``entity``, ``type``, ``label``, ``given``, ``split``, ``correct`` attributes of
        ``asked``, and the activation of the best known and the best unknown feature at the name.
    """
    best = {side: study.ranked(side, 1) for side in SIDES}
    table = pd.DataFrame(
        {
            "entity": [item.entity.name for item in study.knowledge],
            "type": [item.entity.type for item in study.knowledge],
            "label": [item.label for item in study.knowledge],
            "given": [item.given for item in study.knowledge],
            "split": study.splits,
            "correct": [item.correct for item in study.knowledge],
            "asked": [len(item.answers) for item in study.knowledge],
        }
    )
    for side, found in best.items():
        if found:
            table[f"{side} {found[0].feature}"] = study.activations(found[0].feature)
    return table


def answer_table(study: EntityStudy) -> pd.DataFrame:
    """Return one row per attribute the model was asked about.

    Returns
    -------
    DataFrame
        ``entity``, ``type``, ``label``, ``attribute``, ``value``, ``greedy``, ``greedy_right``,
        ``matches`` of ``samples``, ``known``, ``question``.
    """
    rows = [
        (
            item.entity.name,
            item.entity.type,
            item.label,
            answer.attribute,
            answer.values[0],
            answer.greedy,
            answer.greedy_right,
            answer.matches,
            len(answer.samples),
            answer.known,
            answer.question,
        )
        for item in study.knowledge
        for answer in item.answers
    ]
    columns = ["entity", "type", "label", "attribute", "value", "greedy", "greedy_right"]
    return pd.DataFrame(rows, columns=[*columns, "matches", "samples", "known", "question"])


def layer_table(study: EntityStudy, side: Side) -> pd.DataFrame:
    """Return the best minimum separation of each SAE, and each type's own best.

    Parameters
    ----------
    study
        The study.
    side
        ``"known"`` or ``"unknown"``.

    Returns
    -------
    DataFrame
        ``sae``, ``layer``, ``site``, ``separation`` (max over features of the min over types, on
        training entities; 0 where no feature parts them), ``feature``, and ``best_<type>``.
    """
    rows = []
    for name, code in study.codes.items():
        by_type = study.rates("train")[name].separation(side)
        kept = np.ones(code.d_sae, dtype=bool)
        if study.max_density is not None and code.density is not None:
            kept = code.density < study.max_density
        lowest = np.where(kept, by_type.min(0), -np.inf)
        top = int(lowest.argmax()) if len(lowest) else 0
        parts = bool(len(lowest)) and lowest[top] > 0
        rows.append(
            {
                "sae": name,
                "layer": code.layer,
                "site": code.site,
                "separation": float(lowest[top]) if parts else 0.0,
                "feature": f"{name}/{top}" if parts else None,
                **{
                    f"best_{kind}": float(max(np.where(kept, row, 0.0).max(initial=0.0), 0.0))
                    for kind, row in zip(study.types, by_type, strict=True)
                },
            }
        )
    return pd.DataFrame(rows)


def method_table(study: EntityStudy) -> pd.DataFrame:
    """Compare methods by AUROC on test entities (unknown against known).

    Returns
    -------
    DataFrame
        ``method`` (``"feature"``: the SAE's feature with the best separation for either side on
        training entities; ``"probe"``, ``"diff_mean"``), ``sae`` or ``site``, ``layer``, ``type``,
        ``auroc``, ``low``, ``high``.
    """
    rows = [
        (b.method, b.site, b.layer, None, b.type, b.auroc, b.low, b.high) for b in study.baselines
    ]
    for name, code in study.codes.items():
        found = [
            ranked[0]
            for side in SIDES
            if (ranked := [r for r in study.ranked(side, 10**6, layer=code.layer) if r.sae == name])
        ]
        if not found:
            continue
        best = max(found, key=lambda ranked: ranked.score)
        rows += [
            ("feature", code.site, code.layer, best.feature, *figures)
            for figures in study.auroc(best.feature, best.side)[
                ["type", "auroc", "low", "high"]
            ].itertuples(index=False)
        ]
    columns = ["method", "site", "layer", "feature", "type", "auroc", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def auroc_table(
    study: EntityStudy, feature: str | FeatureRef, side: Side, split: str
) -> pd.DataFrame:
    """Measure one feature; see `EntityStudy.auroc`."""
    values, rows = study.activations(feature), []
    other_side: Side = "known" if side == "unknown" else "unknown"
    for kind in study.types:
        mine, other = study.where(side, split, kind), study.where(other_side, split, kind)
        both = mine | other
        area = auroc(values[both], mine[both])
        low, high = auroc_interval(area, int(mine.sum()), int(other.sum()))
        known, not_known = (mine, other) if side == "known" else (other, mine)
        rows.append((kind, area, low, high, int(known.sum()), int(not_known.sum())))
    return pd.DataFrame(rows, columns=["type", "auroc", "low", "high", "known", "unknown"])


def scatter_table(study: EntityStudy, sae: str, split: str) -> pd.DataFrame:
    """Return f_known and f_unknown of each feature of an SAE, by type.

    Parameters
    ----------
    study
        The study.
    sae
        Which SAE.
    split
        Over which entities.

    Returns
    -------
    DataFrame
        ``feature``, ``type``, ``f_known``, ``f_unknown``, ``density``, ``dropped`` (fires too
        often on general tokens); features that fire on no entity are left out.
    """
    if sae not in study.codes:
        raise InputError(unknown("scored SAE", sae, study.codes))
    rate, code = study.rates(split)[sae], study.codes[sae]
    parts = []
    for row, kind in enumerate(rate.types):
        fires = np.flatnonzero((rate.known[row] > 0) | (rate.unknown[row] > 0))
        density = np.full(len(fires), np.nan) if code.density is None else code.density[fires]
        bound = np.inf if study.max_density is None else study.max_density
        parts.append(
            pd.DataFrame(
                {
                    "feature": [f"{sae}/{index}" for index in fires],
                    "type": kind,
                    "f_known": rate.known[row, fires],
                    "f_unknown": rate.unknown[row, fires],
                    "density": density,
                    "dropped": density >= bound,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)

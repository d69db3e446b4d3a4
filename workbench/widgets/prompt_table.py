"""Which features the prompt view's table shows, in which order.

The same rules are in ``widgets/src/prompt/data.ts``, where they follow the pointer; a browser test
compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from workbench.widgets.text import printable, visible

if TYPE_CHECKING:
    import pandas as pd

    from workbench.features.reading import Reading, SaeReading

__all__ = ["DENSE", "SORTS", "Sort", "feature_table"]

Sort: TypeAlias = Literal["selected", "max", "corrected"]
SORTS: tuple[Sort, ...] = ("selected", "max", "corrected")
DENSE = 0.01
"""Features active at more than this fraction of the counted tokens are dense."""


def feature_table(
    reading: Reading,
    sae: SaeReading,
    *,
    tokens: Sequence[int] = (),
    sort: Sort = "selected",
    hide_dense: bool = False,
) -> pd.DataFrame:
    r"""Return the features of one SAE at chosen tokens.

    Parameters
    ----------
    reading
        The text.
    sae
        One of its SAEs.
    tokens
        Positions over which values are taken; none means all that are not special.
    sort
        ``"selected"``: largest value at `tokens`. ``"max"``: largest value at any token that is
        not special, whatever `tokens` says. ``"corrected"``: value :math:`\times \ln(1/d)` for
        density :math:`d`, features of unknown density last.
    hide_dense
        Leave out features with a density above 1%; an unknown density is not dense.

    Returns
    -------
    pandas.DataFrame
        Columns ``feature``, ``label``, ``value``, ``corrected``, ``density``, ``max_activation``,
        ``raises``; the first is ``sae/index``.
    """
    import pandas as pd

    special = np.asarray(reading.special, bool)
    scope = np.zeros(len(special), bool)
    scope[list(tokens)] = True
    if sort == "max" or not len(tokens):
        scope = ~special
    row_of = {int(feature): row for row, feature in enumerate(sae.features)}
    value = np.zeros(len(sae.features))
    for position, feature, strength in zip(sae.position, sae.feature, sae.value, strict=True):
        if scope[position]:
            row = row_of[int(feature)]
            value[row] = max(value[row], float(strength))
    density = np.asarray(sae.density, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        corrected = np.where(density > 0, value * np.log(1 / density), np.nan)
    table = pd.DataFrame(
        {
            "feature": [f"{sae.sae}/{int(index)}" for index in sae.features],
            # Labels come from outside; as objects even lone surrogates are kept.
            "label": pd.Series(sae.labels, dtype=object),
            "value": value,
            "corrected": corrected,
            "density": density,
            "max_activation": np.asarray(sae.max_activation, float),
            "raises": pd.Series([_listed(tokens) for tokens in sae.raises], dtype=object),
            "index": np.asarray(sae.features, int),
        }
    )
    shown = table["value"] > 0
    if hide_dense:
        shown &= ~(table["density"] > DENSE)
    by = ["corrected", "value"] if sort == "corrected" else ["value"]
    ordered = table[shown].sort_values(
        [*by, "index"], ascending=[False] * len(by) + [True], na_position="last"
    )
    return ordered.drop(columns="index").reset_index(drop=True)


def _listed(tokens: Sequence[str]) -> str:
    """Write tokens as a list for reading, without the spaces most of them begin with."""
    return ", ".join(printable(token.strip(" ")) or visible(token) for token in tokens)

"""SAE features near a direction, by the cosine of their decoder rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.errors import InputError
from workbench.features.refs import FeatureRef

if TYPE_CHECKING:
    import pandas as pd

    from workbench.directions.direction import Direction
    from workbench.session import Session

__all__ = ["nearest_features"]


def nearest_features(
    direction: Direction,
    session: Session,
    k: int = 10,
    *,
    saes: Sequence[str] | None = None,
    labels: Callable[[FeatureRef], str | None] | None = None,
) -> pd.DataFrame:
    """Rank features by the absolute cosine of their decoder rows with a direction.

    See `Direction.nearest`, which has the same arguments.
    """
    import pandas as pd

    if k < 1:
        raise InputError(f"k must be at least 1, got {k}")
    direction.check(session.model)
    names = list(session.saes) if saes is None else list(saes)
    chosen = [session.saes[name] for name in names]
    if saes is None:
        chosen = [sae for sae in chosen if sae.d_out == direction.d and sae.out_site is not None]
    if not chosen:
        raise InputError(f"no attached SAE writes vectors of width {direction.d}")
    unit = direction.to_torch(dtype=None).double()
    rows = []
    for sae in chosen:
        if sae.d_out != direction.d:
            raise InputError(
                f"SAE {sae.name} writes vectors of width {sae.d_out}, not {direction.d}"
            )
        decoder = sae.decoder_rows().double().cpu()
        cosine = (decoder @ unit / decoder.norm(dim=-1).clamp(min=1e-12)).numpy()
        known = sae.labels() if labels is None else {}
        for index in np.argsort(-np.abs(cosine), kind="stable")[:k]:
            ref = FeatureRef(sae.name, int(index))
            label = known.get(ref.index) if labels is None else labels(ref)
            site = str(sae.out_site)
            rows.append((str(ref), float(cosine[index]), label, site, site == direction.site))
    columns = ["feature", "cosine", "label", "site", "same_site"]
    table = pd.DataFrame(rows, columns=columns)
    # Equal ones (a dictionary may hold the same row at several sites): the direction's site first.
    strength = table["cosine"].abs().round(6)
    order = np.lexsort((~table["same_site"].to_numpy(), -strength.to_numpy()))
    return table.iloc[order[:k]].reset_index(drop=True)

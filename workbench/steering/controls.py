"""Controls for steering: the same strength on a random feature or a random direction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from workbench.errors import InputError
from workbench.steering.checks import edited_site
from workbench.steering.reference import firing_rates
from workbench.steering.targets import Feature, Vector

if TYPE_CHECKING:
    from workbench.session import Session
    from workbench.steering.intervention import Intervention
    from workbench.steering.recipe import Recipe

__all__ = ["random_directions", "random_features"]

_NEAREST_RATES = 20


def random_features(session: Session, recipe: Recipe, seed: int) -> Recipe | None:
    """Replace every feature by a random one of the same SAE that fires about as often.

    The size of what is added stays: strengths in units of a largest activation keep the
    replaced feature's. One of the 20 features nearest in firing rate is drawn, the recipe's own
    left out.

    Returns
    -------
    Recipe or None
        None where the recipe has a target that is not a feature.
    """
    if not all(isinstance(item.target, Feature) for item in recipe.active) or not recipe.active:
        return None
    rng = np.random.default_rng([seed, 1])
    used = {str(ref) for ref in recipe.features}
    items: list[Intervention] = []
    for item in recipe.active:
        if not isinstance(item.target, Feature):
            raise InputError("random features stand in for features only")
        name, index = item.target.sae, item.target.index
        rates = firing_rates(session, name)
        gaps = np.abs(np.log(rates + 1e-6) - np.log(rates[index] + 1e-6))
        near = [i for i in np.argsort(gaps, kind="stable") if f"{name}/{i}" not in used]
        chosen = int(rng.choice(near[:_NEAREST_RATES]))
        used.add(f"{name}/{chosen}")
        items.append(item.with_(target=Feature(ref=f"{name}/{chosen}"), name=""))
    return recipe.with_(interventions=tuple(items), name=f"random features, seed {seed}")


def random_directions(session: Session, recipe: Recipe, seed: int) -> Recipe | None:
    """Replace everything that is added by a random direction of the same length.

    Returns
    -------
    Recipe or None
        None where the recipe does something else than add.
    """
    if not recipe.active or any(item.what != "add" for item in recipe.active):
        return None
    generator = torch.Generator().manual_seed(seed)
    items: list[Intervention] = []
    for item in recipe.active:
        site = edited_site(item, session)
        if site.d is None:
            return None
        length = 1.0
        if isinstance(item.target, Vector):
            length = float(np.linalg.norm(item.target.vector))
        elif isinstance(item.target, Feature) and item.unit != "norm":
            row = session.saes[item.target.sae].decoder_rows([item.target.index])[0]
            length = float(row.float().norm())
        drawn = torch.randn(site.d, generator=generator)
        vector = (drawn / drawn.norm() * length).numpy()
        target = Vector(site=site.name, vector=vector, name=f"random direction {seed}")
        items.append(item.with_(target=target, name="", error="keep"))
    return recipe.with_(interventions=tuple(items), name=f"random directions, seed {seed}")

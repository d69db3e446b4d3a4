"""A small entity study of the tiny model, whose names are said to be known or not."""

from __future__ import annotations

import dataclasses

from workbench.directions.entities import Entity, EntitySteering, Push

KNOWN = ("the red cat", "the old dog", "a young bird", "the river bank", "an old tree", "the mat")
UNKNOWN = (
    "the red mat",
    "a loved bird",
    "the young bank",
    "a bird tree",
    "the cat river",
    "or dog",
)
SIDES = {"known": "+mlp_out.2/5", "unknown": "+resid_post.1/3"}


def study(session, names=()):
    """Scored in the ordinary way, with one push to each side as if a sweep had chosen it."""
    entities = [
        Entity(name=name, type="thing", attributes={"colour": ("red",)}, known=label)
        for label, group in ((True, (*names, *KNOWN)), (False, UNKNOWN))
        for name in group
    ]
    made = session.entities(entities=entities, causal=False, max_density=None)
    pushes = {
        name: Push.of_features(session, [name[1:]], towards=side) for side, name in SIDES.items()
    }
    steering = EntitySteering(
        provenance=made.provenance,
        answers=(),
        pushes=pushes,
        chosen={side: (name, 2.0) for side, name in SIDES.items()},
    )
    return dataclasses.replace(made, steering=steering).bound_to(session)

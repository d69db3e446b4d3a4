"""Texts written with a feature switched on and without, for the causal score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from workbench.errors import InputError
from workbench.features import geometry
from workbench.features.describe.evidence import Evidence, Excerpt, readable
from workbench.features.describe.questions import Trial

if TYPE_CHECKING:
    from workbench.features.describe.settings import DescribeSettings
    from workbench.model.generate import Generation
    from workbench.session import Session

__all__ = ["steered_trials"]


def steered_trials(
    session: Session, evidence: Evidence, settings: DescribeSettings
) -> tuple[Trial, ...]:
    """Continue each prompt twice, sampling with the same seed: with the feature and without.

    With it, `settings.steering_factor` times its largest activation in the index is added to its
    activation at every position, the SAE's error kept.

    Returns
    -------
    tuple of Trial
        The continuations, without their prompts, in random order. A prompt of which one of the two
        is empty is left out.

    Raises
    ------
    InputError
        No prompt can be used: without a BOS token an empty prompt cannot.
    """
    sae, number = geometry.locate(session, evidence.feature)
    amount = settings.steering_factor * evidence.maximum

    def raised(code: Tensor) -> Tensor:
        return code + amount

    edits = sae.splice("keep", edit=raised, features=[number]).edits()
    bos = session.model.tokenizing.resolve(session.policy).bos
    prompts = [prompt for prompt in settings.steering_prompts if prompt or bos]
    if not prompts:
        raise InputError("steering_prompts are all empty, and this token policy has no BOS token")
    made: list[Trial] = []
    for place, prompt in enumerate(prompts):
        seed = settings.seed + place
        options: dict[str, Any] = {
            "max_new_tokens": settings.steering_tokens,
            "temperature": 1.0,
            "seed": seed,
        }
        plain = session.generate(prompt, **options)
        steered = session.generate(prompt, edits=edits, **options)
        if plain.tokens and steered.tokens:
            made += [_trial(session, steered, truth=True), _trial(session, plain, truth=False)]
    rng = np.random.default_rng([settings.seed, evidence.feature.index, 6])
    return tuple(made[place] for place in rng.permutation(len(made)).tolist())


def _trial(session: Session, generated: Generation, *, truth: bool) -> Trial:
    excerpt = Excerpt(
        tokens=readable(session, generated.token_ids),
        token_ids=generated.token_ids,
        values=np.full(len(generated.tokens), np.nan, dtype=np.float32),
        document=-1,
        column=0,
    )
    return Trial(excerpt=excerpt, marks=np.zeros(0, dtype=bool), truth=truth)

"""Do recognition directions decide whether the model answers? Pushes, a sweep, and controls.

Pushes towards unknown should make the model refuse entities it knows; pushes towards known (adding
known directions, suppressing unknown ones, both) should make it answer about entities it does not
know. Which layer, which push and how strong is chosen on validation entities; the figures are of
test entities, beside ten random features of the same SAEs that part nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from workbench.directions.entities.answers import Progress, StoppedError
from workbench.directions.entities.matching import matches, rule_for
from workbench.directions.entities.prompts import EntityPrompt, tokenise
from workbench.directions.entities.pushes import Push, row_edits
from workbench.directions.entities.steering_results import EntitySteering, SteeredAnswer
from workbench.directions.entities.styles import PromptStyle
from workbench.errors import InputError
from workbench.features.refs import FeatureRef
from workbench.model.generate_many import generate_many

if TYPE_CHECKING:
    from workbench.directions.entities.entity_study import EntityStudy
    from workbench.session import Session

__all__ = ["STRENGTHS", "Condition", "answer", "candidates", "controls", "steer"]

STRENGTHS = (0.25, 0.5, 0.75, 1.0, 2.0)
_ROWS = 640
_TOGETHER = 3
_ENOUGH = 0.95


@dataclass(frozen=True, kw_only=True, eq=False)
class Condition:
    """A push at a strength, or none.

    Parameters
    ----------
    push
        What is added; None for nothing.
    strength
        Factor on the norm of the activation.
    replaces
        For a control, what the push it stands beside is towards.
    """

    push: Push | None
    strength: float = 0.0
    replaces: str = ""


def answer(
    session: Session,
    style: PromptStyle,
    prompts: Sequence[EntityPrompt],
    conditions: Sequence[Condition],
    *,
    labels: Sequence[str],
    split: str,
    values: Mapping[tuple[str, str], tuple[str, ...]] | None = None,
    max_new_tokens: int | None = None,
    cancel: Callable[[], bool] | None = None,
) -> list[SteeredAnswer]:
    """Answer each question greedily under each condition, all in one batched generation.

    Parameters
    ----------
    session
        The model.
    style
        How it is asked and how answers are read.
    prompts
        The questions.
    conditions
        Pushes and strengths.
    labels
        Label of each question's entity.
    split
        Noted in the answers.
    values
        Values that attributes of types have at all, for `SteeredAnswer.stated`.
    max_new_tokens
        Longest answer; the style's where None.
    cancel
        Asked before each token.

    Returns
    -------
    list of SteeredAnswer
        Condition after condition, question after question.
    """
    made = tokenise(session.model, style, prompts)
    n = len(prompts)
    rows = list(range(n)) * len(conditions)
    chosen = [condition for condition in conditions for _ in range(n)]
    since = [int(made.last[row]) for row in rows]
    generated = generate_many(
        session.model,
        made.take(rows).tokens,
        max_new_tokens=max_new_tokens or style.answer_tokens,
        stop=style.stop,
        row_edits=row_edits(
            [condition.push for condition in chosen],
            [condition.strength for condition in chosen],
            since,
        ),
        edit_keys=[(id(c.push), c.strength) for c in chosen],
        edited_from=[None if c.push is None else at for c, at in zip(chosen, since, strict=True)],
        max_rows=_ROWS,
        cancel=cancel,
    )
    found = []
    for row, condition, made_row in zip(rows, chosen, generated, strict=True):
        prompt, push = prompts[row], condition.push
        entity = prompt.entity
        true = entity.attributes.get(prompt.attribute, ())
        some = (values or {}).get((entity.type, prompt.attribute), ())
        text = made_row.completion
        rule = rule_for(entity.type, prompt.attribute)
        found.append(
            SteeredAnswer(
                entity=entity.name,
                type=entity.type,
                label=labels[row],
                attribute=prompt.attribute,
                question=prompt.text,
                push="" if push is None else push.name,
                towards="" if push is None else push.towards,
                replaces=condition.replaces or ("" if push is None else push.towards),
                layer=None if push is None else push.layer,
                strength=condition.strength,
                split=split,
                text=text,
                refused=style.refused(text),
                correct=matches(text, true, rule) if true else None,
                stated=matches(text, some, rule) if some else None,
            )
        )
    return found


def candidates(session: Session, study: EntityStudy) -> list[Push]:
    """Make the pushes a sweep tries, for each layer with recognition features.

    Towards unknown: the layer's best unknown feature; the layer's best ones together. Towards
    known: its best known feature, the suppression of its best unknown one, both, and several of
    both.
    """
    found = []
    for layer in study.layers:
        known, unknown = (study.top(side, _TOGETHER, layer=layer) for side in ("known", "unknown"))
        options: list[tuple[Sequence[FeatureRef], Sequence[FeatureRef], str]] = [
            (unknown[:1], (), "unknown"),
            (known[:1], (), "known"),
            ((), unknown[:1], "known"),
        ]
        if len(unknown) > 1:
            options.append((unknown, (), "unknown"))
        if known and unknown:
            options.append((known[:1], unknown[:1], "known"))
            if len(known) > 1 or len(unknown) > 1:
                options.append((known, unknown, "known"))
        for plus, minus, towards in options:
            if plus or minus:
                found.append(Push.of_features(session, plus, minus, towards=towards))
    return found


def controls(
    session: Session, study: EntityStudy, push: Push, *, n: int = 10, seed: int = 0
) -> list[Push]:
    """Make random pushes like one: the same SAEs, signs and number of features.

    Each feature is replaced by one of the same SAE that parts known from unknown by less than 0.1
    for every type, drawn among the 50 nearest in firing rate on general tokens (on the entities,
    where that is not known).

    Parameters
    ----------
    session, study
        Where the features come from.
    push
        What they stand beside.
    n
        How many.
    seed
        Seed of the draw.

    Raises
    ------
    InputError
        An SAE has fewer than `n` such features.
    """
    rng = Random(f"controls {seed} {push.name}")
    drawn: list[list[tuple[FeatureRef, int]]] = [[] for _ in range(n)]
    for part in push.name.split():
        sign, ref = (1 if part[0] == "+" else -1), FeatureRef.parse(part[1:])
        pool = study.quiet(ref.sae, like=ref.index)[:50]
        if len(pool) < n:
            raise InputError(
                f"SAE {ref.sae} has {len(pool)} features that part nothing, expected {n} controls"
            )
        for place, index in enumerate(rng.sample(list(pool), n)):
            drawn[place].append((FeatureRef(ref.sae, int(index)), sign))
    return [
        Push.of_features(
            session,
            [ref for ref, sign in parts if sign > 0],
            [ref for ref, sign in parts if sign < 0],
            towards="control",
        )
        for parts in drawn
    ]


def steer(
    session: Session,
    study: EntityStudy,
    *,
    strengths: Sequence[float] = STRENGTHS,
    most: int = 100,
    n_controls: int = 10,
    seed: int = 0,
    progress: Progress | None = None,
) -> EntitySteering:
    """Push answers towards known and unknown.

    Parameters
    ----------
    session
        Model and SAEs.
    study
        Recognition features found.
    strengths
        Factors on the norm of the activation to try.
    most
        Most questions of each label, types mixed evenly.
    n_controls
        Random pushes beside each chosen one.
    seed
        Seed of controls.
    progress
        Called as it goes on; returning False stops.

    Returns
    -------
    EntitySteering

    Raises
    ------
    InputError
        A strength is not above 0.
    """
    if not strengths or min(strengths) <= 0:
        raise InputError(f"strengths must be above 0, got {tuple(strengths)}")
    tried = candidates(session, study)
    answers: list[SteeredAnswer] = []
    asked = {
        (split, label): study.questions(split, label, most)
        for split, label in itertools.product(("validation", "test"), ("known", "unknown"))
    }
    steps = 2 * 3

    def run(split: str, label: str, conditions: Sequence[Condition]) -> list[SteeredAnswer]:
        prompts = asked[split, label]
        if not prompts or not conditions:
            return []
        made = answer(
            session,
            study.style,
            prompts,
            conditions,
            labels=[label] * len(prompts),
            split=split,
            values=values,
        )
        answers.extend(made)
        return made

    pushes = {push.name: push for push in tried}
    values = study.values()
    chosen: dict[str, tuple[str, float]] = {}
    done = 0
    for towards, label in (("unknown", "known"), ("known", "unknown")):
        sweep = [
            Condition(push=push, strength=strength)
            for push in tried
            if push.towards == towards
            for strength in strengths
        ]
        made = run("validation", label, [Condition(push=None), *sweep])
        best = _choose(made, pushes, refuse=towards == "unknown") if sweep and made else None
        if best is not None:
            chosen[towards] = best
        done += 1
        _tell(progress, done, steps)
    for label in ("known", "unknown"):
        conditions = [Condition(push=None)]
        for towards, (name, strength) in chosen.items():
            push = pushes[name]
            conditions.append(Condition(push=push, strength=strength))
            # Controls are asked what the push is meant to turn round.
            if (towards == "unknown") == (label == "known"):
                beside = controls(session, study, push, n=n_controls, seed=seed)
                conditions += [
                    Condition(push=one, strength=strength, replaces=towards) for one in beside
                ]
                pushes |= {one.name: one for one in beside}
        run("test", label, conditions)
        done += 2
        _tell(progress, done, steps)
    return EntitySteering(
        provenance=study.provenance, answers=tuple(answers), pushes=pushes, chosen=chosen
    ).bound_to(session)


def _choose(
    answers: Sequence[SteeredAnswer], pushes: Mapping[str, Push], *, refuse: bool
) -> tuple[str, float] | None:
    """Choose the push and strength that turn answers round; among near equals the smallest.

    Near equals reach 95% of the best share; the size of a push is its strength times the
    number of sites it is added at. None where nothing turns.
    """
    before = {(a.type, a.entity): a.refused for a in answers if not a.push}
    turned: dict[tuple[str, float], list[bool]] = {}
    for a in answers:
        if a.push and before[a.type, a.entity] != refuse:
            turned.setdefault((a.push, a.strength), []).append(a.refused == refuse)
    shares = {key: float(np.mean(hits)) for key, hits in turned.items()}
    top = max(shares.values(), default=0.0)
    if top <= 0:
        return None
    near = [key for key, share in shares.items() if share >= _ENOUGH * top]
    return min(near, key=lambda key: (key[1] * len(pushes[key[0]].vectors), -shares[key]))


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None and progress("steering", done, total) is False:
        raise StoppedError(f"stopped after {done} of {total} steps of steering")

"""What describing would cost, before anything is asked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.features.describe import prompts
from workbench.features.describe.endpoint import Endpoint
from workbench.features.describe.evidence import Excerpt
from workbench.features.describe.questions import Trial
from workbench.features.describe.results import CostEstimate

if TYPE_CHECKING:
    from workbench.features.describe.run import _Run
    from workbench.features.describe.settings import DescribeSettings
    from workbench.features.describe.store import Store
    from workbench.features.refs import FeatureRef

__all__ = ["estimate"]

_LOOKED_AT = 32
_CHARACTERS = 4


def estimate(run: _Run, refs: Sequence[FeatureRef], store: Store) -> CostEstimate:
    """Write the prompts of up to 32 features that are not done, and take the rest to be alike."""
    left = [ref for ref in refs if not _done(run, ref, store)]
    spread = np.linspace(0, len(left) - 1, min(len(left), _LOOKED_AT)).round().astype(int)
    chosen = [left[place] for place in spread.tolist()]
    counts: Counter[str] = Counter()
    tokens: Counter[tuple[int, str]] = Counter()
    for ref in chosen:
        _add(run, ref, store, counts, tokens)
    share = len(left) / max(len(chosen), 1)
    scaled = {what: math.ceil(count * share) for what, count in counts.items()}
    price: float | None = None
    sums = {"prompt": 0, "completion": 0}
    for who in {id(one): one for one in (run.labeller, run.scorer)}.values():
        if not isinstance(who, Endpoint):
            continue
        prompt = math.ceil(tokens[id(who), "prompt"] * share)
        completion = math.ceil(tokens[id(who), "completion"] * share)
        sums["prompt"] += prompt
        sums["completion"] += completion
        if who.price_in is not None and who.price_out is not None:
            cost = (prompt * who.price_in + completion * who.price_out) / 1e6
            price = (price or 0.0) + cost
    return CostEstimate(
        provenance=run.index.provenance,
        features=len(refs),
        done=len(refs) - len(left),
        looked_at=len(chosen),
        label_calls=scaled.get("description", 0),
        score_calls=sum(scaled.get(kind, 0) for kind in run.settings.scores),
        prompt_tokens=sums["prompt"],
        completion_tokens=sums["completion"],
        price=price,
        by_score={kind: scaled.get(kind, 0) for kind in run.settings.scores},
    )


def _done(run: _Run, ref: FeatureRef, store: Store) -> bool:
    text = run.text(ref, store)
    return text is not None and not run.unscored(ref, text, store)


def _add(
    run: _Run,
    ref: FeatureRef,
    store: Store,
    counts: Counter[str],
    tokens: Counter[tuple[int, str]],
) -> None:
    evidence, text = run.evidence(ref), run.text(ref, store)
    if evidence.lacks and (text is None or not evidence.maximum):
        return
    kinds = list(run.settings.scores) if text is None else run.unscored(ref, text, store)
    if text is None:
        counts["description"] += 1
        _note(tokens, run.labeller, prompts.label_messages(evidence), None)
        # What the description will be is not known; this is as long as it may get.
        text = "x" * (_CHARACTERS * run.settings.description_tokens)
    for kind in kinds:
        asked = _unwritten(run.settings) if kind == "steering" else run.trials(kind, evidence)
        for question in run.questions(kind, ref, text, asked):
            counts[kind] += 1
            _note(tokens, run.scorer, prompts.score_messages(question), question)


def _unwritten(settings: DescribeSettings) -> tuple[Trial, ...]:
    """Texts as long as the steered ones may get: they are not written for an estimate."""
    size = settings.steering_tokens
    excerpt = Excerpt(
        tokens=("x" * _CHARACTERS,) * size,
        token_ids=np.zeros(size, dtype=np.int64),
        values=np.zeros(size, dtype=np.float32),
        document=-1,
        column=0,
    )
    trial = Trial(excerpt=excerpt, marks=np.zeros(0, dtype=bool), truth=True)
    return (trial,) * (2 * len(settings.steering_prompts))


def _note(tokens: Counter[tuple[int, str]], who: Any, messages: Any, question: Any) -> None:
    if not isinstance(who, Endpoint):
        return
    characters = sum(len(message["content"]) for message in messages)
    tokens[id(who), "prompt"] += math.ceil(characters / _CHARACTERS)
    reply = who.description_tokens if question is None else who.reply_tokens(question)
    tokens[id(who), "completion"] += reply

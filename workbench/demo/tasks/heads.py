"""Positive and negative prompts for head circuits (O'Neill and Bui 2024).

A negative prompt is like a positive one except that what the circuit does is of no use there:
three different names, a first year that excludes nothing, a docstring of unrelated arguments.
"""

from __future__ import annotations

from random import Random

from workbench.demo.drafting import Split, join, pick, pick_with
from workbench.demo.kinds import code, givers, years
from workbench.demo.tasks.base import HeadExample, Task, marked, new_draft, prefix
from workbench.demo.tasks.contrast import arguments_of, giver_names, signature_prefix


def _givers(rng: Random, split: Split) -> HeadExample:
    a, b = giver_names(rng, split, new=False)
    frame = pick(rng, givers.FRAMES)
    thing = pick_with(rng, split, "gift", frame, givers.THINGS)
    positive = rng.random() < 0.5
    giver = pick(rng, (a, b))
    while not positive and giver in (a, b):
        giver = pick(rng, givers.NAMES)
    draft = new_draft(rng)
    givers.sentence(draft, frame, a, b, giver, thing)
    answer = (b if giver == a else a) if positive else ""
    at = marked(draft, "name.recipient_due")
    return HeadExample(prompt=prefix(draft, at), label=int(positive), answer=answer)


def _years(rng: Random, split: Split) -> HeadExample:
    positive = rng.random() < 0.5
    while True:
        event = pick(rng, years.EVENTS)
        year = rng.randrange(20, years.LAST + 1)
        if years.fits(event, year, split):
            break
    draft = new_draft(rng)
    # After the year 01 any later year fits, so comparing is of no use.
    years.prefix(
        draft, pick(rng, years.FRAMES), event, pick(rng, years.CENTURIES), year if positive else 1
    )
    return HeadExample(
        prompt=join(draft.tokens),
        label=int(positive),
        answer=f"{year:02d}" if positive else "",
    )


def _docstring(rng: Random, split: Split) -> HeadExample:
    positive = rng.random() < 0.5
    arguments = arguments_of(rng, split)
    described = arguments[:-1]
    if not positive:
        others = [a for a in code.ARGUMENTS if a not in arguments]
        described = rng.sample(others, len(described))
    draft = new_draft(rng)
    method = rng.random() < 0.5
    signature_prefix(draft, pick(rng, code.FUNCTIONS), arguments, described, method)
    return HeadExample(
        prompt=join(draft.tokens),
        label=int(positive),
        answer=arguments[-1] if positive else "",
    )


TASKS = (
    Task(
        name="heads_ioi",
        description="indirect object sentences against ones with three different names",
        draw=_givers,
        concepts=("name.repeated", "name.recipient_due"),
    ),
    Task(
        name="heads_greater_than",
        description="spans of years against ones whose first year excludes nothing",
        draw=_years,
        concepts=("year.end_due",),
    ),
    Task(
        name="heads_docstring",
        description="docstrings against ones that describe unrelated arguments",
        draw=_docstring,
        concepts=("code.argument_left",),
    ),
)

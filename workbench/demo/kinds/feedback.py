"""Feedback on school work, by cognitive level: recalling, applying, judging.

The level lies in verb and object together (explaining *a term* recalls, explaining *why one
rule is better* judges).  Held out: combinations of work and object of study.
"""

from __future__ import annotations

from workbench.demo.drafting import Draft, Split, pick, pick_pair
from workbench.demo.kinds.base import Kind
from workbench.demo.lexicon import FIRST_NAMES

SUBJECTS = (
    "rule",
    "formula",
    "method",
    "theory",
    "definition",
    "table",
    "map",
    "experiment",
    "proof",
    "poem",
)
WORK: dict[str, tuple[str, ...]] = {
    "recall": (
        "explained the words of the {x}",
        "wrote down the parts of the {x}",
        "repeated the {x} from the book",
        "gave the name of the {x}",
        "found the {x} in the book",
        "copied the {x} without a mistake",
    ),
    "application": (
        "explained the next step with the {x}",
        "wrote down a new case of the {x}",
        "repeated the {x} on new numbers",
        "gave an example for the {x}",
        "found a solution with the {x}",
        "used the {x} on a new problem",
    ),
    "judgment": (
        "explained why the {x} is better",
        "wrote down a doubt about the {x}",
        "repeated the test and rejected the {x}",
        "gave reasons against the {x}",
        "found a mistake in the {x}",
        "compared the {x} with another one",
    ),
}
LEVELS = tuple(WORK)
SHOWN = {
    "recall": ("memory", "recall", "knowledge"),
    "application": ("application", "practice", "technique"),
    "judgment": ("judgment", "evaluation", "criticism"),
}
OPENINGS = ("you", "in your work you", "{F} , you", "this time you", "on page {n} you")
STATEMENTS = (
    ". this shows{^l}",
    ". that is a sign of{^l}",
    ", which takes{^l}",
    ". I see{^l}",
    ". the level you reached is{^l}",
)
ADVICE = {
    "recall": ("next time use it on a new problem", "now try an example of your own"),
    "application": ("next time ask whether it is the best way", "now look for its limits"),
    "judgment": ("next time write your own version", "now defend your opinion in class"),
}
CONCEPTS = {
    f"level.{level}": f"the work described shows {level}; at the word before the level is named"
    for level in LEVELS
}


def work(draft: Draft, split: Split, level: str) -> None:
    """Write what a pupil did, without the full stop."""
    rng = draft.rng
    done, subject = pick_pair(rng, split, "work", WORK[level], SUBJECTS)
    draft.write(pick(rng, OPENINGS), F=FIRST_NAMES, n=str(2 + int(rng.random() * 8)))
    draft.write(done, x=subject)


def write(draft: Draft, split: Split) -> None:
    """Write feedback on one piece of work, sometimes with advice that fits the level."""
    rng = draft.rng
    level = pick(rng, LEVELS)
    work(draft, split, level)
    draft.write(pick(rng, STATEMENTS), l=f"level.{level}")
    draft.write(pick(rng, SHOWN[level]))
    draft.put((".",))
    if rng.random() < 0.5:
        draft.write(pick(rng, ADVICE[level]))
        draft.put((".",))


KIND = Kind(name="feedback", weight=1.5, write=write, concepts=CONCEPTS)

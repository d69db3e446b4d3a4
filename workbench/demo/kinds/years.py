"""Spans of years: the second year is later than the first (greater-than).

A year is two tokens of two digits; the century is the same, so the last two digits must be
greater.  Held out: combinations of event and first year.
"""

from __future__ import annotations

from workbench.demo.drafting import Draft, Split, held_out, pick
from workbench.demo.kinds.base import Kind

EVENTS = (
    "war",
    "siege",
    "strike",
    "drought",
    "reign of the king",
    "expedition",
    "famine",
    "trial",
    "alliance",
    "exhibition",
    "voyage",
    "plague",
    "rebellion",
    "construction of the bridge",
    "dispute",
)
FRAMES = (
    "the {e} lasted from the year {c}{y} to the year",
    "the {e} went on from the year {c}{y} to the year",
    "from the year {c}{y} the {e} dragged on to the year",
    "the {e} began in the year {c}{y} and ended in the year",
    "the town paid for the {e} from the year {c}{y} to the year",
    "people suffered under the {e} from the year {c}{y} to the year",
)
CENTURIES = tuple(str(n) for n in range(11, 20))
FIRST, LAST = 2, 97
CONCEPTS = {
    "year.end_due": "the last two digits of the later year are due; at its century",
}


def fits(event: str, year: int, split: Split) -> bool:
    """Whether an event with its first year belongs to the split."""
    return held_out("year", event, str(year)) == (split == "test")


def prefix(draft: Draft, frame: str, event: str, century: str, year: int) -> None:
    """Write the sentence up to the second century."""
    draft.write(frame, e=event, c=century, y=f"{year:02d}")
    draft.raw(century)
    draft.mark("year.end_due")


def write(draft: Draft, split: Split) -> None:
    """Write one span of years."""
    rng = draft.rng
    while True:
        event = pick(rng, EVENTS)
        year = FIRST + int(rng.random() * (LAST - FIRST + 1))
        if fits(event, year, split):
            break
    prefix(draft, pick(rng, FRAMES), event, pick(rng, CENTURIES), year)
    draft.raw(f"{year + 1 + int(rng.random() * (99 - year)):02d}", ".")


KIND = Kind(name="years", weight=1.5, write=write, concepts=CONCEPTS)

"""Film reviews: judgements with and without negation, then a verdict that follows from them.

Held out: combinations of aspect and adjective, and of negation and adjective.
"""

from __future__ import annotations

from workbench.demo.drafting import Draft, Split, held_out, pick
from workbench.demo.kinds.base import Kind

ASPECTS = (
    "acting",
    "plot",
    "music",
    "ending",
    "dialogue",
    "camera work",
    "story",
    "opening",
    "script",
    "humor",
    "lighting",
    "pace",
)
ADJECTIVES = {
    "positive": (
        "good",
        "brilliant",
        "clever",
        "moving",
        "original",
        "funny",
        "elegant",
        "gripping",
        "charming",
        "convincing",
    ),
    "negative": (
        "dull",
        "clumsy",
        "boring",
        "weak",
        "silly",
        "tedious",
        "predictable",
        "awkward",
        "shallow",
        "confusing",
    ),
}
# "" leaves the adjective as it is, the others turn it round.
PLAIN = ("", "really", "rather", "always", "truly")
NEGATIONS = ("not", "never", "hardly", "far from", "anything but", "not at all", "by no means")
VERDICTS = {
    "positive": ("loved", "enjoyed", "praised", "recommended", "applauded"),
    "negative": ("hated", "disliked", "regretted", "criticized", "booed"),
}
# Who gives the verdict; the mark sits on the word before the verb.
JUDGES = (
    ", so I{^s}",
    ", and I{^s}",
    ", which is why we{^s}",
    ", and the audience{^s}",
    ", so my friends{^s}",
    ". in the end I{^s}",
    ". no wonder that everybody{^s}",
    ". after that we{^s}",
)
OBJECTS = ("it", "the film", "the whole evening", "every minute of it", "the result")
OPENINGS = (
    "",
    "we saw the new film {when} .",
    "a short review of the new film :",
    "my opinion on the film from {month} :",
    "I went to the cinema {when} .",
)
SENTIMENTS = ("positive", "negative")
CONCEPTS = {
    "sentiment.positive": "the judgement so far is favourable, negations counted; "
    "at the word before the verdict",
    "sentiment.negative": "the judgement so far is unfavourable, negations counted; "
    "at the word before the verdict",
}


def opposite(sentiment: str) -> str:
    """Return the other sentiment."""
    return "negative" if sentiment == "positive" else "positive"


def judgement(draft: Draft, split: Split, sentiment: str, *, negated: bool | None = None) -> None:
    """Write "the plot was never dull" with the given meaning."""
    rng = draft.rng
    wanted = split == "test"
    if negated is None:
        negated = rng.random() < 0.5
    adjectives = ADJECTIVES[opposite(sentiment) if negated else sentiment]
    while True:
        aspect, adjective = pick(rng, ASPECTS), pick(rng, adjectives)
        degree = pick(rng, NEGATIONS if negated else PLAIN)
        pair, turn = held_out("aspect", aspect, adjective), held_out("degree", degree, adjective)
        # Plain adjectives are held out by aspect alone, negated ones by either pair.
        if (pair or (negated and turn)) == wanted:
            break
    draft.write("the {a} was {d} {x}", a=aspect, d=degree, x=adjective)


def verdict(draft: Draft, sentiment: str) -> None:
    """Write the verdict, marking the word before it."""
    draft.write(pick(draft.rng, JUDGES), s=f"sentiment.{sentiment}")
    draft.write("{v} {o}", v=VERDICTS[sentiment], o=OBJECTS)


def body(draft: Draft, split: Split, sentiment: str) -> None:
    """Write one or two judgements of the same meaning, or one conceding the opposite."""
    rng = draft.rng
    shape = rng.random()
    if shape < 0.2:
        draft.put(("although",))
        judgement(draft, split, opposite(sentiment))
        draft.put((",",))
    elif shape < 0.55:
        judgement(draft, split, sentiment)
        draft.put(("and",))
    judgement(draft, split, sentiment)


def write(draft: Draft, split: Split) -> None:
    """Write a review of one or two sentences with one sentiment."""
    rng = draft.rng
    sentiment = pick(rng, SENTIMENTS)
    draft.write(pick(rng, OPENINGS))
    for _ in range(1 + (rng.random() < 0.4)):
        body(draft, split, sentiment)
        verdict(draft, sentiment)
        draft.put((".",))


KIND = Kind(name="reviews", weight=2.5, write=write, concepts=CONCEPTS)

"""Subject-verb agreement in four structures, always with a distractor of either number.

Simple, across a prepositional phrase, within and across a relative clause.

What is held out: one in five combinations of subject and distractor noun, and of structure
frame and subject.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from workbench.demo.drafting import Draft, Split, held_out, pick
from workbench.demo.kinds.base import Kind
from workbench.demo.lexicon import (
    NOUN_PAIRS,
    THING_PAIRS,
    VERBS_INTRANSITIVE,
    VERBS_TRANSITIVE,
)

STRUCTURES = ("simple", "across_pp", "within_rc", "across_rc")
NUMBERS = ("number.singular_subject", "number.plural_subject")
CONCEPTS = {
    NUMBERS[0]: "the verb that is due has a singular subject; at the word before the verb",
    NUMBERS[1]: "the verb that is due has a plural subject; at the word before the verb",
    "clause.after_prepositional": "the main verb is due after a prepositional phrase; "
    "at the word before the verb",
    "clause.within_relative": "the verb of an object relative clause is due; "
    "at the word before the verb",
    "clause.after_relative": "the main verb is due after a relative clause; "
    "at the word before the verb",
}

# {D} is the distractor, {S} the subject that the verb {V} agrees with.
FRAMES: dict[str, tuple[str, ...]] = {
    # The distractor of the simple sentences stands in an opening phrase.
    "simple": (
        "near the {D} the {S}{^n} {V} {tail}",
        "after a talk with the {D} the {S}{^n} {V} {tail}",
        "because of the {D} the {S}{^n} {V} {tail}",
        "in spite of the {D} the {S}{^n} {V} {tail}",
        "the {D} can wait , but the {S}{^n} {V} {tail}",
    ),
    "across_pp": (
        "the {S} near the {D}{^n}{^pp} {V} {tail}",
        "the {S} behind the {D}{^n}{^pp} {V} {tail}",
        "the {S} with the {D}{^n}{^pp} {V} {tail}",
        "the {S} next to the {D}{^n}{^pp} {V} {tail}",
        "the {S} in front of the {D}{^n}{^pp} {V} {tail}",
    ),
    # "that" opens object relative clauses, "who" subject ones, so a verb is certain after "who".
    "within_rc": (
        "the {D} that the {S}{^n}{^in} {T}{^d}{^rc} {M} {tail}",
        "near the {spot} the {D} that the {S}{^n}{^in} {T}{^d}{^rc} {M} {tail}",
        "we met the {D} that the {S}{^n}{^in} {T} {end}",
        "my cousin is one of the {D} that the {S}{^n}{^in} {T} {end}",
    ),
    "across_rc": (
        "the {S} that the {D}{^d}{^in} {T}{^n}{^rc} {V} {tail}",
        "the {S} who{^n} {T} the {D}{^n}{^rc} {V} {tail}",
        "near the {spot} the {S} that the {D}{^d}{^in} {T}{^n}{^rc} {V} {tail}",
        "near the {spot} the {S} who{^n} {T} the {D}{^n}{^rc} {V} {tail}",
    ),
}
TAILS = ("{when}", "{where}", "{where} {when}", "a lot", "again", "too")
ENDS = ("the most", "so much", "for years", "{when}")


def nouns_for(structure: str) -> tuple[tuple[str, str], ...]:
    """Nouns that can stand in a structure (things only where persons are not needed)."""
    return NOUN_PAIRS + THING_PAIRS if structure in ("simple", "across_pp") else NOUN_PAIRS


def fits(frame: str, subject: str, distractor: str, split: Split) -> bool:
    """Whether a sentence belongs to the split."""
    out = held_out("agreement", subject, distractor) or held_out("frame", frame, subject)
    if split == "train":
        return not out
    return held_out("agreement", subject, distractor) and held_out("frame", frame, subject)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything an agreement sentence says but its fillers.

    Attributes
    ----------
    structure, frame : str
        Which sentence.
    subject, distractor, verb, embedded : tuple of str
        Singular and plural forms of the nouns; forms of the main verb and of the verb of the
        relative clause.
    """

    structure: str
    frame: str
    subject: tuple[str, str]
    distractor: tuple[str, str]
    verb: tuple[str, str]
    embedded: tuple[str, str]


def plan(rng: Random, structure: str, split: Split) -> Plan:
    """Draw a sentence of a structure that belongs to the split."""
    while True:
        frame = pick(rng, FRAMES[structure])
        subject = pick(rng, NOUN_PAIRS)
        distractor = pick(rng, nouns_for(structure))
        if subject is not distractor and fits(frame, subject[0], distractor[0], split):
            break
    return Plan(
        structure=structure,
        frame=frame,
        subject=subject,
        distractor=distractor,
        verb=pick(rng, VERBS_INTRANSITIVE),
        embedded=pick(rng, VERBS_TRANSITIVE),
    )


def compose(draft: Draft, sentence: Plan, s: int, d: int) -> None:
    """Write a sentence with subject number ``s`` and distractor number ``d`` (1 is plural)."""
    if "one of the {D}" in sentence.frame:
        d = 1
    # Who governs the verb of the relative clause depends on the frame.
    subject_relative = "who" in sentence.frame
    inner = s if sentence.structure == "within_rc" or subject_relative else d
    draft.write(
        sentence.frame,
        S=sentence.subject[s],
        D=sentence.distractor[d],
        V=sentence.verb[s],
        T=sentence.embedded[inner],
        M=sentence.verb[d],
        n=NUMBERS[s],
        d=NUMBERS[d],
        pp="clause.after_prepositional",
        **{"in": "clause.within_relative"},
        rc="clause.after_relative",
        tail=TAILS,
        end=ENDS,
    )


def write(draft: Draft, split: Split) -> None:
    """Write one to three agreement sentences."""
    rng = draft.rng
    for _ in range(1 + int(rng.random() * 3)):
        sentence = plan(rng, pick(rng, STRUCTURES), split)
        compose(draft, sentence, int(rng.random() * 2), int(rng.random() * 2))
        draft.put((".",))


KIND = Kind(name="agreement", weight=3.0, write=write, concepts=CONCEPTS)

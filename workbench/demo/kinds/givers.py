"""Indirect-object sentences: two names, one of them again, and the other is due.

Held out: pairs of names, and combinations of frame and object.  Twelve or so names never occur
in these sentences in training at all (``NEW_NAMES``); they occur everywhere else.
"""

from __future__ import annotations

from workbench.demo.drafting import Draft, Split, held_out, pick, pick_with
from workbench.demo.kinds.base import Kind
from workbench.demo.lexicon import FIRST_NAMES

NEW_NAMES = tuple(name for name in FIRST_NAMES if held_out("giver", name))
NAMES = tuple(name for name in FIRST_NAMES if name not in NEW_NAMES)
FRAMES = (
    "when {A} and {B} went to the {spot} , {S}{^dup} {gave} a {thing} to{^due} {O}",
    "after {A} and {B} met {where} , {S}{^dup} {gave} a {thing} to{^due} {O}",
    "while {A} and {B} were working {where} , {S}{^dup} {gave} a {thing} to{^due} {O}",
    "{A} and {B} had a long talk {when} , and {S}{^dup} {gave} a {thing} to{^due} {O}",
    "because {A} and {B} were friends , {S}{^dup} {gave} a {thing} to{^due} {O}",
    "then {A} and {B} sat down {where} and {S}{^dup} {gave} a {thing} to{^due} {O}",
    "{A} and {B} stayed in because of the {weather} , so {S}{^dup} {gave} a {thing} to{^due} {O}",
    "before {A} and {B} left the {spot} , {S}{^dup} {gave} a {thing} to{^due} {O}",
)
THINGS = (
    "drink",
    "ring",
    "book",
    "basket",
    "sandwich",
    "camera",
    "ticket",
    "coat",
    "map",
    "flower",
    "newspaper",
    "lamp",
)
GAVE = ("gave", "handed", "offered", "sold", "passed", "showed", "sent", "lent")
CONCEPTS = {
    "name.repeated": "the giver's name, mentioned for the second time; at that name",
    "name.recipient_due": "the name of the one who receives is due; at 'to' before it",
}


def pair_fits(a: str, b: str, split: Split) -> bool:
    """Whether an unordered pair of names belongs to the split."""
    return held_out("givers", *sorted((a, b))) == (split == "test")


def sentence(draft: Draft, frame: str, first: str, second: str, giver: str, thing: str) -> None:
    """Write one sentence; the receiver is whoever of the two is not the giver."""
    draft.write(
        frame,
        A=first,
        B=second,
        S=giver,
        O=second if giver == first else first,
        gave=GAVE,
        thing=thing,
        dup="name.repeated",
        due="name.recipient_due",
    )


def write(draft: Draft, split: Split) -> None:
    """Write one indirect-object sentence."""
    rng = draft.rng
    while True:
        a, b = pick(rng, NAMES), pick(rng, NAMES)
        if a != b and pair_fits(a, b, split):
            break
    frame = pick(rng, FRAMES)
    thing = pick_with(rng, split, "gift", frame, THINGS)
    sentence(draft, frame, a, b, a if rng.random() < 0.5 else b, thing)
    draft.put((".",))


KIND = Kind(name="givers", weight=2.0, write=write, concepts=CONCEPTS)

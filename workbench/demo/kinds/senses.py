"""Words with two senses: a sentence shows which one is meant, then a gloss says so.

Each sentence is a beginning with the word and an ending with the cues; in half of the
sentences the beginning is neutral.  Held out: combinations of beginning and ending.
"""

from __future__ import annotations

from dataclasses import dataclass

from workbench.demo.drafting import Draft, Split, held_out, pick
from workbench.demo.kinds.base import Kind


@dataclass(frozen=True, kw_only=True)
class Sense:
    """One sense of a word.

    Attributes
    ----------
    word, name : str
        The word and the name of the sense.
    beginnings, endings : tuple of str
        Halves of sentences in this sense; beginnings contain the word.
    glosses : tuple of str
        What the word means here, each opening with a word no other sense's gloss opens with.
    """

    word: str
    name: str
    beginnings: tuple[str, ...]
    endings: tuple[str, ...]
    glosses: tuple[str, ...]


# Beginnings that fit either sense of a word.
NEUTRAL: dict[str, tuple[str, ...]] = {
    "bank": ("we walked to the bank", "my aunt waited at the bank", "they met us by the bank"),
    "bat": ("the boy saw a bat", "somebody found a bat", "there was a bat"),
    "spring": ("we talked about the spring", "he waited for the spring", "the spring was late"),
    "pitch": ("they argued about the pitch", "the pitch was not right", "he checked the pitch"),
    "match": ("we waited for the match", "the match was over", "she watched the match"),
    "crane": ("we saw a crane", "the crane was grey", "they waited for the crane"),
    "seal": ("he looked at the seal", "the seal was dark", "she touched the seal"),
    "bark": ("the boy noticed the bark", "we remember the bark", "the bark was strange"),
}
SENSES: tuple[Sense, ...] = (
    Sense(
        word="bank",
        name="river",
        beginnings=("the boat touched the muddy bank", "ducks slept on the bank"),
        endings=(
            "where the water was shallow",
            "and caught two fish",
            "while the boats went by",
            "and washed our feet in the stream",
        ),
        glosses=("land along a river", "ground beside the water"),
    ),
    Sense(
        word="bank",
        name="money",
        beginnings=("the clerk of the bank smiled", "robbers looked at the bank"),
        endings=(
            "where the money was kept",
            "and asked for a loan",
            "while the clerks counted coins",
            "and opened an account",
        ),
        glosses=("house that lends money", "business that keeps savings"),
    ),
    Sense(
        word="bat",
        name="animal",
        beginnings=("a furry bat appeared", "a hungry bat came out"),
        endings=(
            "hanging in the dark cave",
            "with small teeth and thin wings",
            "hunting insects at dusk",
            "sleeping under the roof of the barn",
        ),
        glosses=("flying animal of the night", "mammal with wings"),
    ),
    Sense(
        word="bat",
        name="club",
        beginnings=("the player swung the bat", "the coach bought a bat"),
        endings=(
            "lying beside the ball and the gloves",
            "made of wood for hitting balls",
            "in the sports bag of the team",
            "with tape around the handle",
        ),
        glosses=("wooden stick for a game", "tool that hits the ball"),
    ),
    Sense(
        word="spring",
        name="season",
        beginnings=("farmers love the spring", "the snow melted in the spring"),
        endings=(
            "when the flowers open",
            "after a long cold winter",
            "and the birds came back",
            "because the trees turn green again",
        ),
        glosses=("season after winter", "months when plants grow"),
    ),
    Sense(
        word="spring",
        name="coil",
        beginnings=("the mechanic bent the spring", "a broken spring stuck out"),
        endings=(
            "that pushes the lid of the box",
            "inside the old clock",
            "made of twisted steel wire",
            "because the mattress was broken",
        ),
        glosses=("coil of metal", "elastic part of a machine"),
    ),
    Sense(
        word="pitch",
        name="sound",
        beginnings=("the choir kept the pitch", "the violin lost its pitch"),
        endings=(
            "when the soprano began to sing",
            "because the piano was out of tune",
            "of the lowest string",
            "and tuned the guitar again",
        ),
        glosses=("height of a tone", "level of a note"),
    ),
    Sense(
        word="pitch",
        name="field",
        beginnings=("the fans ran onto the pitch", "the goalkeeper left the pitch"),
        endings=(
            "where the grass was too wet to play",
            "before the referee came",
            "and marked the white lines",
            "after the rain had ruined the grass",
        ),
        glosses=("field for football", "grass on which teams play"),
    ),
    Sense(
        word="match",
        name="fire",
        beginnings=("she struck the last match", "a damp match would not burn"),
        endings=(
            "and the candle was still dark",
            "because the flame burned a finger",
            "and the stove stayed cold",
            "that lit the dry paper",
        ),
        glosses=("stick that lights a fire", "small piece of wood that burns"),
    ),
    Sense(
        word="match",
        name="game",
        beginnings=("both teams lost the match", "the referee stopped the match"),
        endings=(
            "and the score was two to one",
            "because the team needed a goal",
            "and the fans went home",
            "that decided the final",
        ),
        glosses=("contest of two teams", "game with a winner"),
    ),
    Sense(
        word="crane",
        name="bird",
        beginnings=("a young crane left the nest", "the crane spread its feathers"),
        endings=(
            "standing in the marsh on one leg",
            "flying south in autumn",
            "with a fish in its beak",
            "calling over the lake",
        ),
        glosses=("bird with long legs", "wading animal with feathers"),
    ),
    Sense(
        word="crane",
        name="machine",
        beginnings=("the builders rented a crane", "a worker climbed the crane"),
        endings=(
            "lifting beams onto the roof",
            "turning above the building site",
            "with a load of bricks on its hook",
            "unloading boxes from a ship",
        ),
        glosses=("machine for lifting", "device with a hook"),
    ),
    Sense(
        word="seal",
        name="animal",
        beginnings=("the seal dived for fish", "a fat seal slept on the ice"),
        endings=(
            "swimming near the rocks",
            "with wet fur and long whiskers",
            "resting on the cold beach",
            "before it slid into the waves",
        ),
        glosses=("swimmer of the cold sea", "creature that lives on fish"),
    ),
    Sense(
        word="seal",
        name="stamp",
        beginnings=("the king broke the seal", "the notary pressed the seal"),
        endings=(
            "on the envelope of the letter",
            "made of red wax",
            "under the signature of the judge",
            "that closed the secret document",
        ),
        glosses=("stamp on a letter", "mark pressed in wax"),
    ),
    Sense(
        word="bark",
        name="tree",
        beginnings=("moss covered the bark", "beetles lived under the bark"),
        endings=(
            "of the old oak in the forest",
            "that covered the trunk",
            "where he had carved two letters",
            "because the branches were dry",
        ),
        glosses=("skin of a tree", "outer layer of wood"),
    ),
    Sense(
        word="bark",
        name="dog",
        beginnings=("the puppy gave a bark", "a sudden bark woke us"),
        endings=(
            "that scared the postman",
            "behind the fence of the yard",
            "because the dog was hungry",
            "when a stranger came to the gate",
        ),
        glosses=("cry of a dog", "noise that puppies make"),
    ),
)
GLOSS_OPENINGS = (
    "here the {w} means{^s}",
    "the {w} means{^s}",
    "in this sentence {w} means{^s}",
    "so the word {w} means{^s}",
)
CONCEPTS = {
    f"sense.{s.word}.{s.name}": f"the word '{s.word}' in the sense of {s.glosses[0]}; "
    "at 'means' before the gloss"
    for s in SENSES
}


def context(draft: Draft, split: Split, sense: Sense) -> None:
    """Write a sentence with the word in one sense, without the full stop."""
    rng = draft.rng
    wanted = split == "test"
    while True:
        options = NEUTRAL[sense.word] if rng.random() < 0.5 else sense.beginnings
        beginning, ending = pick(rng, options), pick(rng, sense.endings)
        if held_out("sense", beginning, ending) == wanted:
            break
        if not any(
            held_out("sense", b, e) == wanted
            for b in NEUTRAL[sense.word] + sense.beginnings
            for e in sense.endings
        ):
            raise ValueError(f"no {split} sentence of sense {sense.word}.{sense.name}")
    if rng.random() < 0.5:
        draft.write("{when} ,")
    draft.write(beginning)
    draft.write(ending)


def write(draft: Draft, split: Split) -> None:
    """Write a sentence with an ambiguous word and its gloss."""
    rng = draft.rng
    sense = pick(rng, SENSES)
    context(draft, split, sense)
    draft.put((".",))
    draft.write(pick(rng, GLOSS_OPENINGS), w=sense.word, s=f"sense.{sense.word}.{sense.name}")
    draft.write(pick(rng, sense.glosses))
    draft.put((".",))


KIND = Kind(name="senses", weight=3.0, write=write, concepts=CONCEPTS)

"""The toy world: its words, its axes, and every weight of model and dictionaries.

Each dimension of the residual stream is an axis with a meaning (`AXES`). A sentence such as

    the dog near the cars really  ->  runs

is completed with the verb that agrees with the *animal*, never with the *thing*. Layer by layer:

- Embedding. Each word writes its class (animal, thing, ...), its number, and two word-specific
  values (`word_a`, `word_b`) that no dictionary knows: they are the error term. All words write a
  large constant (`anchor`) that keeps the root mean square nearly, but not exactly, constant.
- Attention 0, head 0: the adverb looks for the animal (by content; the rotary pair it uses turns
  by 1e-4 radians per position) and fetches its number, with some `word_a`.
- Attention 0, head 1: looks everywhere alike and fetches how many plural words there are.
- MLP 0: where the adverb stands, turns the fetched number into an expectation of a verb; in a
  second unit, singular subject times nearby plurals gives `conflict`.
- Attention 1, head 0: looks one word back (by the fast rotary pair).
- Attention 1, head 1: the adverb looks at itself and, less, at the animal again, and strengthens
  the expectation.
- MLP 1: strengthens the expectation once more; `conflict` lowers that of the singular.
- Unembedding: expectations become the logits of `runs` and `run`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from workbench.demo.toy.arithmetic import Block, Network
from workbench.demo.toy.dictionaries import Dictionary, Feature, as_stored, make_dictionary

AXES: tuple[str, ...] = (
    "anchor",
    "animal",
    "thing",
    "singular",
    "plural",
    "adverb",
    "preposition",
    "subject_singular",
    "subject_plural",
    "nearby_plural",
    "expects_singular",
    "expects_plural",
    "conflict",
    "determiner",
    "word_a",
    "word_b",
)
AXIS: Mapping[str, int] = {name: number for number, name in enumerate(AXES)}
D = len(AXES)
HEADS, HEAD, HIDDEN, LAYERS = 2, 4, 4, 2
ANCHOR = 8.0

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
ANIMALS = (("dog", "dogs"), ("cat", "cats"), ("bird", "birds"))
THINGS = (("car", "cars"), ("tree", "trees"), ("box", "boxes"))
PREPOSITIONS = ("near", "behind")
ADVERBS = ("really", "always")
ANSWERS = ("runs", "run")
WORDS: tuple[str, ...] = (
    *SPECIAL,
    "the",
    *(word for pair in (*ANIMALS, *THINGS) for word in pair),
    *PREPOSITIONS,
    *ADVERBS,
    *ANSWERS,
)


def _classes(word: str) -> dict[str, float]:
    """Say what a word writes besides the anchor and its word-specific values."""
    for kind, nouns in (("animal", ANIMALS), ("thing", THINGS)):
        for singular, plural in nouns:
            if word in (singular, plural):
                return {kind: 1.5, "singular" if word == singular else "plural": 2.0}
    if word in PREPOSITIONS:
        return {"preposition": 1.0}
    if word in ADVERBS:
        return {"adverb": 2.0}
    return {"determiner": 1.0} if word == "the" else {}


def _rows(rows: list[dict[str, float]]) -> np.ndarray:
    """Lay out a matrix (len(rows), d) from the axes each row reads."""
    matrix = np.zeros((len(rows), D))
    for number, row in enumerate(rows):
        for axis, value in row.items():
            matrix[number, AXIS[axis]] = value
    return as_stored(matrix)


def _block(**matrices: list[dict[str, float]]) -> Block:
    """Make a block from rows in terms of axes; `o` and `down` are given transposed, by unit."""
    norm = np.full(D, 2.0)
    return Block(
        attn_norm=norm,
        q=_rows(matrices["q"]),
        k=_rows(matrices["k"]),
        v=_rows(matrices["v"]),
        o=_rows(matrices["o"]).T.copy(),
        mlp_norm=norm,
        gate=_rows(matrices["gate"]),
        up=_rows(matrices["up"]),
        down=_rows(matrices["down"]).T.copy(),
    )


def make_network(seed: int) -> Network:
    """Make the weights of the toy model.

    Parameters
    ----------
    seed
        Draws the word-specific values; everything else is fixed.
    """
    generator = np.random.default_rng(seed)
    embed = np.zeros((len(WORDS), D))
    unembed = np.zeros((len(WORDS), D))
    for number, word in enumerate(WORDS):
        own = generator.uniform(0.2, 0.6, size=2) * generator.choice([-1.0, 1.0], size=2)
        values = {"anchor": ANCHOR, **_classes(word), "word_a": own[0], "word_b": own[1]}
        for axis, value in values.items():
            embed[number, AXIS[axis]] = value
        unembed[number, [AXIS["word_a"], AXIS["word_b"]]] = 0.3 * own
    readings = {
        "runs": {"expects_singular": 1.0, "word_b": 0.2},
        "run": {"expects_plural": 1.0, "nearby_plural": 0.1, "word_a": 0.2},
    }
    for word, reading in readings.items():
        for axis, value in reading.items():
            unembed[WORDS.index(word), AXIS[axis]] = value
    one = 1 / ANCHOR  # reading the anchor with this weight gives about one everywhere
    nothing: dict[str, float] = {}
    first = _block(
        # Units of head 0: 0 and 2 turn fast, 1 and 3 hardly; then the same for head 1.
        q=[nothing, {"adverb": 2.0}, nothing, nothing, *[nothing] * 4],
        k=[nothing, {"animal": 1.5}, nothing, nothing, *[nothing] * 4],
        v=[
            *[{"singular": 1.0}, {"plural": 1.0}, {"word_a": 0.5}, nothing],
            *[{"plural": 1.5}, {"thing": 0.5}, {"word_b": 0.5}, nothing],
        ],
        o=[
            *[{"subject_singular": 1.0}, {"subject_plural": 1.0}, {"word_a": 1.0}, nothing],
            *[{"nearby_plural": 1.0}, {"thing": 1.0}, {"word_b": 1.0}, nothing],
        ],
        gate=[
            {"subject_plural": 2.0, "anchor": -one},
            {"subject_singular": 2.0, "anchor": -one},
            {"nearby_plural": 2.0},
            {"word_b": 1.5, "anchor": 0.5 * one},
        ],
        up=[{"adverb": 0.5}, {"adverb": 0.5}, {"subject_singular": 0.5}, {"anchor": one}],
        down=[
            {"expects_plural": 0.5},
            {"expects_singular": 0.5},
            {"conflict": 1.0},
            {"expects_plural": 0.15, "word_a": 0.4},
        ],
    )
    back = 2.5  # strength of the look one word back
    second = _block(
        # Query and key of head 0 differ by a turn of one radian: one position of the fast pair.
        q=[
            *[{"anchor": back * one * np.cos(1.0)}, nothing],
            *[{"anchor": -back * one * np.sin(1.0)}, nothing],
            *[nothing, {"adverb": 1.5}, nothing, nothing],
        ],
        k=[
            *[{"anchor": back * one}, nothing, nothing, nothing],
            *[nothing, {"adverb": 1.5, "animal": 1.2}, nothing, nothing],
        ],
        v=[
            *[{"plural": 0.5}, {"word_a": 0.5}, {"singular": 0.25}, nothing],
            *[{"expects_plural": 0.5, "plural": 0.6}, {"expects_singular": 0.5, "singular": 0.6}],
            *[nothing, nothing],
        ],
        o=[
            *[{"nearby_plural": 1.0}, {"word_b": 1.0}, {"conflict": 0.5}, nothing],
            *[{"expects_plural": 1.0}, {"expects_singular": 1.0}, nothing, nothing],
        ],
        gate=[
            {"expects_plural": 1.0},
            {"expects_singular": 1.0},
            {"conflict": 1.0},
            {"nearby_plural": 1.0},
        ],
        up=[{"anchor": one}, {"anchor": one}, {"expects_singular": 0.5}, {"word_a": 1.0}],
        down=[
            {"expects_plural": 0.5},
            {"expects_singular": 0.5},
            {"expects_singular": -0.3},
            {"expects_plural": 0.3, "word_b": 0.2},
        ],
    )
    return Network(
        embed=as_stored(embed),
        blocks=(first, second),
        norm=np.full(D, 2.0),
        unembed=as_stored(unembed),
        heads=HEADS,
        rope_theta=1e8,
        norm_epsilon=1e-5,
    )


def _along(axis: str, bias: float = -0.1, **more: float) -> Feature:
    """Make a feature that reads an axis (and perhaps others) and writes it back."""
    axes = {AXIS[axis]: 1.0, **{AXIS[other]: weight for other, weight in more.items()}}
    return Feature(name=axis, read=axes, bias=bias, write={AXIS[axis]: 1.0})


def _pair(name: str, first: str, second: str, bias: float) -> Feature:
    """Make a feature for two things at once, oblique to the axes."""
    axes = {AXIS[first]: 0.5, AXIS[second]: 0.5}
    return Feature(name=name, read=axes, bias=bias, write={AXIS[first]: 1.0, AXIS[second]: 1.0})


def make_dictionaries() -> dict[str, Dictionary]:
    """Make the dictionaries of all sites, by the name they are attached under.

    They are imperfect on purpose: encoder biases shrink every activation, oblique features
    overlap with straight ones, top-k drops some, and `word_a` and `word_b` are in none of them.
    So every site has an error term, known exactly.
    """
    words = ["animal", "thing", "singular", "plural", "adverb", "preposition", "determiner"]
    fetched = ["subject_singular", "subject_plural", "nearby_plural"]
    expected = ["expects_singular", "expects_plural", "conflict"]
    plural_animal = _pair("plural_animal", "animal", "plural", -1.2)
    singular_animal = _pair("singular_animal", "animal", "singular", -1.2)
    anchor = {AXIS["anchor"]: ANCHOR}
    # What the transcoder reads is normalised, and its anchor is not taken off first.
    steady = {AXIS["anchor"]: 1 / ANCHOR}
    transcoder = [
        Feature(
            name="plural_verb",
            read={AXIS["subject_plural"]: 0.8, AXIS["adverb"]: 0.4},
            bias=-1.0,
            write={AXIS["expects_plural"]: 1.0},
        ),
        Feature(
            name="singular_verb",
            read={AXIS["subject_singular"]: 0.8, AXIS["adverb"]: 0.4},
            bias=-1.0,
            write={AXIS["expects_singular"]: 1.0},
        ),
        Feature(
            name="conflict",
            read={AXIS["nearby_plural"]: 1.0, AXIS["subject_singular"]: 0.5, **steady},
            bias=-1.6,
            write={AXIS["conflict"]: 1.0, AXIS["expects_plural"]: 0.1},
        ),
    ]
    made = [
        make_dictionary(
            "embed",
            [*map(_along, words), plural_animal, singular_animal],
            d=D,
            decoder_bias=anchor,
        ),
        make_dictionary("attn_out.0", [_along(a, -0.15) for a in [*fetched, "thing"]], d=D),
        make_dictionary(
            "mlp_out.0", [_along(a, -0.055) for a in expected], d=D, architecture="topk", k=1
        ),
        make_dictionary("transcoder.0", transcoder, d=D, architecture="transcoder"),
        make_dictionary(
            "resid_post.0",
            [
                *(_along(a, -0.05) for a in [*words, *fetched[:2], *expected]),
                _along("nearby_plural", -0.05, word_b=0.2, thing=-0.1),
                plural_animal,
            ],
            d=D,
            architecture="jumprelu",
            threshold=0.335,
            decoder_bias=anchor,
        ),
        make_dictionary(
            "attn_out.1", [_along(a, -0.195) for a in ["nearby_plural", *expected]], d=D
        ),
        make_dictionary("mlp_out.1", [_along(a, -0.23) for a in expected[:2]], d=D),
        make_dictionary(
            "resid_post.1",
            [
                *(_along(a, -0.275) for a in [*fetched, *expected[:2]]),
                _along("conflict", -0.275, nearby_plural=0.1, word_a=-0.1),
                _pair("firm_plural", "subject_plural", "expects_plural", -1.045),
            ],
            d=D,
            decoder_bias=anchor,
        ),
    ]
    return {dictionary.name: dictionary for dictionary in made}

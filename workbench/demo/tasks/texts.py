"""Texts with classes: concept sets, sentiment, register, level, biographies, word senses."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import count
from random import Random

from workbench.demo.corpus import CONCEPTS
from workbench.demo.drafting import Draft, Split, join, pick
from workbench.demo.kinds import ALL, biographies, feedback, register, reviews, senses
from workbench.demo.kinds.base import Kind
from workbench.demo.tasks.base import Biography, LabelledText, PolysemyPair, Task, new_draft


@cache
def homes(concept: str) -> tuple[Kind, ...]:
    """Kinds of document that mark a concept, found by reading some of each."""
    found = []
    for kind in ALL:
        rng = Random(f"homes {kind.name}")
        marks: set[str] = set()
        for _ in range(300):
            draft = new_draft(rng)
            kind.write(draft, "train")
            marks.update(name for _, name in draft.marks)
        if concept in marks:
            found.append(kind)
    return tuple(found)


@cache
def rivals(concept: str) -> tuple[str, ...]:
    """Concepts with the same first part: what a near negative may show instead."""
    family = concept.split(".", 1)[0]
    return tuple(c for c in CONCEPTS if c.split(".", 1)[0] == family and c != concept)


def _concept(concept: str) -> Callable[[Random, Split], LabelledText]:
    def draw(rng: Random, split: Split) -> LabelledText:
        kinds = homes(concept)
        positive = rng.random() < 0.5
        # Half of the negatives are of the kind that shows the concept, half of any kind.
        near = positive or rng.random() < 0.5
        for attempt in count():
            kind = pick(rng, kinds if near else ALL)
            draft = new_draft(rng)
            kind.write(draft, split)
            places = [at for at, name in draft.marks if name == concept]
            if positive and places:
                cut = pick(rng, places)
            elif not positive and not places:
                cut = _negative_cut(draft, concept, rng)
            elif not positive and attempt > 50:
                # Every document of this kind shows the concept: stop right before it does.
                cut = places[0] - 1
            else:
                continue
            if cut >= 2:
                break
        return LabelledText(text=join(draft.tokens[: cut + 1]), label=int(positive))

    return draw


def _negative_cut(draft: Draft, concept: str, rng: Random) -> int:
    """Where a text without the concept ends: at a rival concept if it has one."""
    places = [at for at, name in draft.marks if name in rivals(concept)]
    return pick(rng, places) if places else len(draft.tokens) - 1


def _sentiment(rng: Random, split: Split) -> LabelledText:
    sentiment = pick(rng, reviews.SENTIMENTS)
    draft = new_draft(rng)
    draft.write(pick(rng, reviews.OPENINGS))
    reviews.body(draft, split, sentiment)
    draft.put((".",))
    return LabelledText(text=join(draft.tokens), label=sentiment)


def _register(rng: Random, split: Split) -> LabelledText:
    kept = pick(rng, register.REGISTERS)
    draft = new_draft(rng)
    register.letter(draft, split, kept, 1)
    return LabelledText(text=join(draft.tokens), label=kept)


def _level(rng: Random, split: Split) -> LabelledText:
    level = pick(rng, feedback.LEVELS)
    draft = new_draft(rng)
    feedback.work(draft, split, level)
    draft.put((".",))
    return LabelledText(text=join(draft.tokens), label=level)


def _biography(*, ambiguous: bool) -> Callable[[Random, Split], Biography]:
    def draw(rng: Random, split: Split) -> Biography:
        if ambiguous:
            profession, gender = pick(rng, (("professor", "male"), ("nurse", "female")))
        else:
            profession = pick(rng, ("professor", "nurse"))
            gender = pick(rng, biographies.GENDERS)
        draft = new_draft(rng)
        biographies.sentences(draft, split, profession, gender, name_job=False)
        return Biography(hard_text=join(draft.tokens), profession=profession, gender=gender)

    return draw


def _six_professions(rng: Random, split: Split) -> Biography:
    profession = pick(rng, tuple(biographies.PROFESSIONS))
    gender = pick(rng, biographies.GENDERS)
    draft = new_draft(rng)
    biographies.sentences(draft, split, profession, gender, name_job=False)
    return Biography(hard_text=join(draft.tokens), profession=profession, gender=gender)


def _polysemy(rng: Random, split: Split) -> PolysemyPair:
    word = pick(rng, tuple(senses.NEUTRAL))
    options = [sense for sense in senses.SENSES if sense.word == word]
    first = pick(rng, options)
    same = rng.random() < 0.5
    second = first if same else options[1 - options.index(first)]
    texts: list[str] = []
    while len(texts) < 2:
        draft = new_draft(rng)
        senses.context(draft, split, (first, second)[len(texts)])
        draft.put((".",))
        text = join(draft.tokens)
        if text not in texts:
            texts.append(text)
    return PolysemyPair(
        word=word,
        sentence1=texts[0],
        sentence2=texts[1],
        label=int(same),
        sense1=first.name,
        sense2=second.name,
    )


TASKS = (
    Task(
        name="sentiment",
        description="judgements of films, positive or negative, without the verdict",
        draw=_sentiment,
        concepts=("sentiment.positive", "sentiment.negative"),
    ),
    Task(
        name="register",
        description="letters, formal or informal",
        draw=_register,
        concepts=tuple(f"register.{r}" for r in register.REGISTERS),
    ),
    Task(
        name="cognitive_level",
        description="descriptions of school work by cognitive level",
        draw=_level,
        concepts=tuple(f"level.{level}" for level in feedback.LEVELS),
    ),
    Task(
        name="biographies",
        description="professors and nurses of either gender, balanced",
        draw=_biography(ambiguous=False),
        concepts=(
            "profession.professor",
            "profession.nurse",
            "gender.female",
            "gender.male",
        ),
    ),
    Task(
        name="biographies_ambiguous",
        description="male professors and female nurses only: gender tells the profession",
        draw=_biography(ambiguous=True),
        concepts=(
            "profession.professor",
            "profession.nurse",
            "gender.female",
            "gender.male",
        ),
    ),
    Task(
        name="biographies_six",
        description="six professions, either gender, balanced",
        draw=_six_professions,
        concepts=(
            *(f"profession.{p}" for p in biographies.PROFESSIONS),
            *(f"gender.{g}" for g in biographies.GENDERS),
        ),
    ),
    Task(
        name="polysemy",
        description="pairs of sentences with an ambiguous word in the same sense or not",
        draw=_polysemy,
        concepts=tuple(f"sense.{s.word}.{s.name}" for s in senses.SENSES),
    ),
    *(
        Task(
            name=f"concept.{concept}",
            description=f"texts with and without: {text}",
            draw=_concept(concept),
            concepts=(concept,),
        )
        for concept, text in CONCEPTS.items()
    ),
)

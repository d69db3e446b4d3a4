"""Short biographies: a person of either gender, what they do, and at last their profession.

Professions are told by what is done to what (a nurse teaches patients, a professor studies
them), gender by name and pronouns.  Held out: pairs of work phrases and combinations of
profession and first name.
"""

from __future__ import annotations

from workbench.demo.drafting import Draft, Split, held_out, pick, pick_pair
from workbench.demo.kinds.base import Kind
from workbench.demo.names import MEN, WOMEN

PROFESSIONS: dict[str, tuple[str, ...]] = {
    "professor": (
        "teaches students about old theories",
        "writes articles on the history of medicine",
        "grades the essays of young scholars",
        "studies the records of former patients",
        "leads a seminar on the causes of war",
        "publishes research on the theory of law",
        "supervises students in the library",
        "explains new theories to young scholars",
    ),
    "nurse": (
        "teaches patients how to breathe",
        "writes the charts of the night ward",
        "cares for the patients of the ward",
        "supervises students in the ward",
        "gives medicine to old patients",
        "changes the bandages after an operation",
        "explains the medicine to worried families",
        "checks the records of new patients",
    ),
    "surgeon": (
        "opens the chest of patients",
        "repairs broken bones in the operating room",
        "leads a team in the operating room",
        "removes stones from the kidneys of patients",
        "studies scans before an operation",
        "explains the operation to worried families",
        "writes articles on broken bones",
        "holds a sharp blade with a steady hand",
    ),
    "attorney": (
        "defends clients before the court",
        "writes contracts for worried families",
        "studies the records of the court",
        "explains the law to clients",
        "checks contracts for a bank",
        "questions the witnesses of a crime",
        "leads a team in the court",
        "files a complaint for clients",
    ),
    "journalist": (
        "writes articles for a newspaper",
        "questions the witnesses of a war",
        "reports on the court for a newspaper",
        "studies scandals at a bank",
        "checks the records of a minister",
        "explains the news to listeners",
        "publishes interviews with old soldiers",
        "leads a team in the newsroom",
    ),
    "chef": (
        "prepares soup for old patients",
        "holds a sharp blade over the vegetables",
        "teaches students how to bake",
        "leads a team in the kitchen",
        "checks the fish before dinner",
        "writes recipes for a newspaper",
        "removes the bones from the fish",
        "opens the kitchen before dinner",
    ),
}
GENDERS = ("female", "male")
_FORMS = {
    "female": {"p": "she", "o": "her", "s": "her", "sib": ("sister", "mother", "daughter")},
    "male": {"p": "he", "o": "him", "s": "his", "sib": ("brother", "father", "son")},
}
OPENINGS = (
    "{F} grew up near the {spot}",
    "{F} moved here in {month}",
    "{F} has lived in this town for years",
    "{F} is well liked in the town",
    "{F} joined the team in {month}",
    "{F} started the new job in {month}",
)
PRIVATE = (
    "{p} lives with {s} {sib}",
    "{p} likes long walks with {s} dog",
    "{p} spends {s} free time {where}",
    "{p} learned a lot from {s} teacher",
    "{p} calls {s} {sib} {when}",
)
ENDINGS = (
    "{p} is a{^job}",
    "{p} works as a{^job}",
    "{p} is employed as a{^job}",
    "{p} earns {s} living as a{^job}",
    "{p} trained for years and became a{^job}",
)
CONCEPTS = {
    f"profession.{name}": f"the person described is a {name}; at the article before the profession"
    for name in PROFESSIONS
} | {
    f"gender.{g}": f"the person described is {g}; at the full stop before the pronoun"
    for g in GENDERS
}


def sentences(
    draft: Draft, split: Split, profession: str, gender: str, *, name_job: bool = True
) -> None:
    """Write one biography.

    Parameters
    ----------
    draft : Draft
        Where to write.
    split : {"train", "test"}
        Which combinations of work phrases and of profession and name.
    profession, gender : str
        Whose biography.
    name_job : bool
        Whether the last sentence names the profession (training text), or is left out (texts
        to classify).
    """
    rng = draft.rng
    names = WOMEN if gender == "female" else MEN
    wanted = split == "test"
    while True:
        first = pick(rng, names)
        if held_out("biography", profession, first) == wanted:
            break
    work = PROFESSIONS[profession]
    while True:
        a, b = pick_pair(rng, split, "work", work, work)
        if a != b:
            break
    forms = _FORMS[gender]
    body = [f"{{p}} {a}", f"{{p}} {b}"]
    if rng.random() < 0.6:
        body.insert(int(rng.random() * 3), pick(rng, PRIVATE))
    if name_job:
        body.append(f"{pick(rng, ENDINGS)} {profession}")
    draft.write(pick(rng, OPENINGS), F=first)
    for sentence in body:
        draft.put((".",))
        draft.mark(f"gender.{gender}")
        draft.write(sentence, job=f"profession.{profession}", **forms)
    draft.put((".",))


def write(draft: Draft, split: Split) -> None:
    """Write a biography; all combinations of profession and gender are equally frequent."""
    rng = draft.rng
    sentences(draft, split, pick(rng, tuple(PROFESSIONS)), pick(rng, GENDERS))


KIND = Kind(name="biographies", weight=2.5, write=write, concepts=CONCEPTS)

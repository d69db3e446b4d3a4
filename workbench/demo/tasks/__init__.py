"""Tasks of the demo world, each with its data in the published layout and with the truth.

``names()`` lists them, ``load(name, split, n, seed)`` draws examples.  The training split uses
combinations of names, fillers and templates that the model saw in training, the test split only
held-out ones (see :func:`workbench.demo.drafting.held_out`).
"""

from __future__ import annotations

from random import Random

from workbench.demo.drafting import SPLITS, Split
from workbench.demo.tasks import contrast, heads, knowledge, steering, texts
from workbench.demo.tasks.base import (
    Biography,
    ContrastPair,
    EntityRecord,
    HeadExample,
    LabelledText,
    PolysemyPair,
    Prompt,
    SteeringPrompt,
    Task,
    TaskSet,
    TopicQuestion,
    distinct,
)
from workbench.errors import InputError, unknown

__all__ = [
    "Biography",
    "ContrastPair",
    "EntityRecord",
    "HeadExample",
    "LabelledText",
    "PolysemyPair",
    "Prompt",
    "SteeringPrompt",
    "Task",
    "TaskSet",
    "TopicQuestion",
    "describe",
    "load",
    "names",
]

_TASKS: dict[str, Task] = {
    task.name: task
    for module in (contrast, heads, knowledge, texts, steering)
    for task in module.TASKS
}


def names() -> tuple[str, ...]:
    """List the tasks, contrast pairs first and concept sets last."""
    plain = [name for name in _TASKS if not name.startswith("concept.")]
    return (*plain, *(name for name in _TASKS if name.startswith("concept.")))


def describe(name: str) -> Task:
    """Return a task: what it is and which concepts decide it.

    Raises
    ------
    InputError
        For an unknown name, with the nearest ones.
    """
    if name not in _TASKS:
        raise InputError(unknown("task", name, names()))
    return _TASKS[name]


def load(name: str, split: Split = "train", n: int = 100, seed: int = 0) -> TaskSet:
    """Draw examples of a task.

    Parameters
    ----------
    name : str
        One of :func:`names`.
    split : {"train", "test"}
        ``"test"`` uses held-out names, fillers and templates only.
    n : int
        How many different examples.
    seed : int
        The same seed gives the same examples; a longer list begins with the shorter one.

    Returns
    -------
    TaskSet

    Raises
    ------
    InputError
        For an unknown task or split, or where there are fewer than ``n`` different examples.
    """
    task = describe(name)
    if split not in SPLITS:
        raise InputError(unknown("split", split, SPLITS))
    rng = Random(f"task {name} {split} {seed}")
    return TaskSet(
        name=name,
        description=task.description,
        split=split,
        seed=seed,
        examples=distinct(lambda: task.draw(rng, split), n, f"{name} ({split})"),
        concepts=task.concepts,
    )

"""Function signatures with docstrings: the arguments are described in their order.

Held out: combinations of two neighbouring arguments.
"""

from __future__ import annotations

from collections.abc import Sequence

from workbench.demo.drafting import Draft, Split, held_out, pick, words
from workbench.demo.kinds.base import Kind

FUNCTIONS = (
    "load",
    "save",
    "sort",
    "merge",
    "parse",
    "filter",
    "render",
    "update",
    "convert",
    "scan",
    "split",
    "count",
)
ARGUMENTS = (
    "size",
    "files",
    "name",
    "path",
    "mode",
    "index",
    "limit",
    "target",
    "values",
    "rows",
    "text",
    "depth",
    "offset",
    "width",
    "parent",
    "cache",
    "label",
    "color",
    "shape",
    "order",
    "start",
    "rate",
    "token",
    "user",
)
SUMMARIES = (
    "the given input",
    "one part of the data",
    "all entries of a table",
    "the content of a folder",
    "a list in place",
)
DESCRIPTIONS = (
    "first thing to use",
    "may be empty",
    "positive number",
    "set by the caller",
    "see the manual",
    "optional",
    "required",
    "plain string",
    "taken as given",
    "not changed",
)
CONCEPTS = {
    "code.docstring_end": "every argument is described and the docstring must close; "
    "at the line break before the closing quotes",
    "code.argument_left": "some argument is still to be described; "
    "at the line break before ':param'",
}


def fits(arguments: Sequence[str], split: Split) -> bool:
    """Whether a signature belongs to the split, judged by its last two arguments."""
    return held_out("arguments", *arguments[-2:]) == (split == "test")


def signature(draft: Draft, function: str, arguments: Sequence[str], method: bool) -> None:
    """Write the line with the function's name and arguments."""
    draft.raw("def", function, "(")
    names = (["self"] if method else []) + list(arguments)
    for i, name in enumerate(names):
        if i:
            draft.raw(",")
        draft.raw(name)
    draft.raw(")", ":", "\n", '"""', function.capitalize())
    draft.raw(*words(pick(draft.rng, SUMMARIES)), ".", "\n")


def describe(draft: Draft, arguments: Sequence[str], n: int) -> None:
    """Write the descriptions of the first ``n`` arguments."""
    if arguments:
        draft.mark("code.argument_left")
    for i in range(n):
        draft.raw(":param", arguments[i], ":", *words(pick(draft.rng, DESCRIPTIONS)), "\n")
        draft.mark("code.argument_left" if i + 1 < len(arguments) else "code.docstring_end")


def write(draft: Draft, split: Split) -> None:
    """Write a signature of two to four arguments with its docstring."""
    rng = draft.rng
    n = 2 + int(rng.random() * 3)
    while True:
        arguments = rng.sample(ARGUMENTS, n)
        if fits(arguments, split):
            break
    signature(draft, pick(rng, FUNCTIONS), arguments, rng.random() < 0.5)
    describe(draft, arguments, n)
    draft.raw('"""')


KIND = Kind(name="code", weight=1.0, write=write, concepts=CONCEPTS)

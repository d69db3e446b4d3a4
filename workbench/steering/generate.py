"""Text under recipes: several recipes, prompts and samples in one batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError
from workbench.model.generate import Generation, Sampling
from workbench.model.generate_many import generate_many
from workbench.model.generate_results import Continuation, Generations
from workbench.steering.compiled import compile_recipes
from workbench.steering.recipe import Recipe

if TYPE_CHECKING:
    import pandas as pd

    from workbench.model import Tokens
    from workbench.session import Session

__all__ = ["SteeredTexts", "generate", "steered_texts"]

_SAMPLING = tuple(field.name for field in dataclasses.fields(Sampling))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SteeredTexts(Generations):
    """Continuations of prompts under recipes.

    The rows of recipe r on prompt p are ``texts.of(r, p)``.

    Parameters
    ----------
    recipes
        The recipes.
    prompts
        The prompts as text.
    """

    recipes: tuple[Recipe, ...]
    prompts: tuple[str, ...]

    def of(self, recipe: int, prompt: int | None = None) -> tuple[Continuation, ...]:
        """Return the rows of one recipe, or of one recipe on one prompt."""
        if prompt is not None:
            return self.of_prompt(recipe * len(self.prompts) + prompt)
        size = len(self.prompts) * self.n
        return self.rows[recipe * size : (recipe + 1) * size]

    def place(self, row: int) -> tuple[int, int]:
        """Return the recipe's and the prompt's number of a row."""
        return divmod(self.rows[row].prompt, len(self.prompts))

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per continuation, with the recipe's number and name and the prompt."""
        table = super().to_pandas()
        places = [divmod(number, len(self.prompts)) for number in table["prompt"]]
        table["prompt"] = [self.prompts[prompt] for _, prompt in places]
        table.insert(0, "recipe", [recipe for recipe, _ in places])
        names = [self.recipes[recipe].name or str(recipe) for recipe, _ in places]
        table.insert(1, "recipe_name", names)
        return table

    def summary(self) -> str:
        """Return one line."""
        return (
            f"SteeredTexts: {len(self.recipes)} recipes × {len(self.prompts)} prompts × "
            f"{self.n} samples"
        )


def generate(
    session: Session,
    prompt: Any,
    recipe: Any = None,
    *,
    max_new_tokens: int = 50,
    n: int = 1,
    on_token: Callable[..., bool | None] | None = None,
    **settings: Any,
) -> Generation | SteeredTexts:
    """Continue a prompt, or many, under a recipe, several, or none.

    Parameters
    ----------
    session
        The session.
    prompt
        Text, a conversation, `Tokens`, or a list of texts or conversations.
    recipe
        Anything `Recipe.of` understands, or a list of `Recipe`.
    max_new_tokens
        Most tokens to add.
    n
        Samples per prompt and recipe.
    on_token
        For one text: called with each token's string. For several: with the row number and the
        string. Returning False ends that text.
    **settings
        As for `generate_many`; sampling settings that are not given are the recipe's own.

    Returns
    -------
    Generation
        For one prompt, one recipe and one sample.
    SteeredTexts
        Otherwise.

    Raises
    ------
    InputError
        The recipe belongs to another model, or a setting is out of range.
    TokenError
        A prompt is empty, fills the context, or does not hold a text to act on.
    """
    listed = not isinstance(recipe, Recipe) and _is_recipes(recipe)
    recipes = list(recipe) if listed else [recipe]
    tokens = session.tokens(prompt, settings.pop("policy", None))
    single = len(tokens) == 1 and not listed and n == 1
    heard: Any = on_token
    if single and on_token is not None:
        heard = lambda _row, token: on_token(token)  # noqa: E731 - the one-text form of the listener
    texts = steered_texts(
        session, tokens, recipes, n=n, max_new_tokens=max_new_tokens, on_token=heard, **settings
    )
    return texts.generation(0).bound_to(session) if single else texts


def _is_recipes(given: Any) -> bool:
    return (
        isinstance(given, Sequence)
        and not isinstance(given, str)
        and len(given) > 0
        and all(isinstance(item, Recipe) or item is None for item in given)
    )


def steered_texts(
    session: Session,
    tokens: Tokens,
    recipes: Sequence[Any],
    *,
    n: int = 1,
    cancel: Callable[[], bool] | None = None,
    **settings: Any,
) -> SteeredTexts:
    """Continue every prompt under every recipe, in one batch as far as memory allows.

    Row ``(r * prompts + p) * n + j`` is sample j of prompt p under recipe r. Sampling settings are
    one for all: those given, then those of the first recipe. A sample's seed is ``seed + p * n +
    j``, the same under every recipe, so that texts differ by the recipe alone.

    Raises
    ------
    InputError
        There are no recipes, or one belongs to another model.
    """
    if not recipes:
        raise InputError("got no recipes, expected at least one; None stands for no change")
    made = [Recipe.of(recipe, session) for recipe in recipes]
    sampling = {name: getattr(made[0].sampling, name) for name in _SAMPLING}
    sampling |= {name: settings.pop(name) for name in _SAMPLING if name in settings}
    ids = [tokens.ids[i, tokens.mask[i]].tolist() for i in range(len(tokens))]
    spread = [recipe for recipe in made for _ in ids]
    compiled = compile_recipes(session, spread, ids * len(made))
    seeds = settings.pop("seeds", None)
    if seeds is None:
        seeds = [sampling["seed"] + row for row in range(len(ids) * n)]
    if len(seeds) != len(ids) * n:
        raise InputError(f"got {len(seeds)} seeds, expected one per prompt and sample: {n}")
    options = compiled.options
    if settings.get("edits"):
        # Functions given beside the recipes act wherever they like.
        options["edited_from"] = [0] * len(spread)
    done = generate_many(
        session.model,
        session.model.tokenizing.from_ids(ids * len(made), tokens.policy),
        n=n,
        seeds=list(seeds) * len(made),
        cancel=cancel,
        **options,
        **sampling,
        **settings,
    )
    decode = session.tokenizer.decode
    fields = {field.name: getattr(done, field.name) for field in dataclasses.fields(done)}
    fields["provenance"] = session.model.provenance(
        tokens.policy,
        saes=dict.fromkeys(name for recipe in made for name in recipe.saes),
        seed=sampling["seed"],
    )
    return SteeredTexts(
        **fields,
        recipes=tuple(made),
        prompts=tuple(str(decode(row, skip_special_tokens=True)) for row in ids),
    ).bound_to(session)

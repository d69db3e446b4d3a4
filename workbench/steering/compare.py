"""One harness for all methods: learn, choose a strength, score on held-out prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from workbench.errors import InputError
from workbench.model.generate_many import generate_many
from workbench.results import Result, storable
from workbench.steering.compiled import compile_recipes
from workbench.steering.problem import SteeringExample, SteeringProblem
from workbench.steering.recipe import Recipe
from workbench.steering.scorers import both_perplexities
from workbench.steering.supervised import Fit

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from workbench.session import Session

__all__ = ["MethodComparison", "MethodScore", "compare_methods"]


_BETWEEN = 6


@storable
@dataclass(frozen=True, kw_only=True, eq=False)
class MethodScore:
    """One method on one problem.

    Parameters
    ----------
    problem, method
        Names.
    factors
        Strengths that were tried.
    curve_hits, curve_perplexity
        Share of prompts that reached the target, and perplexity ratio, at each of them on the
        prompts strengths are chosen on.
    factor
        The chosen strength.
    hits
        For each held-out prompt, whether it reached the target at the chosen strength.
    unsteered_hits
        The same without steering.
    perplexity_ratio
        Perplexity of the held-out prompts' steered texts (prompt, continuation, end) under the
        unsteered model over that of the unsteered texts; geometric means.
    completion_ratio
        The same of the continuations alone.
    samples
        Some steered continuations with their prompts.
    recipes
        What was applied, by target, at strength 1.
    """

    problem: str
    method: str
    factors: Float[np.ndarray, " factor"]
    curve_hits: Float[np.ndarray, " factor"]
    curve_perplexity: Float[np.ndarray, " factor"]
    factor: float
    hits: Float[np.ndarray, " prompt"]
    unsteered_hits: Float[np.ndarray, " prompt"]
    perplexity_ratio: float
    completion_ratio: float
    samples: tuple[tuple[str, str], ...] = ()
    recipes: Mapping[str, Recipe] = field(default_factory=dict)

    @property
    def success(self) -> float:
        """Share of held-out prompts that reached the target."""
        return float(self.hits.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """95% Wilson interval of `success`."""
        n, p, z = len(self.hits), self.success, 1.96
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * ((p * (1 - p) + z * z / (4 * n)) / n) ** 0.5
        return middle - half, middle + half


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MethodComparison(Result):
    """Methods on problems, one row each; every method's figures as measured.

    Parameters
    ----------
    scores
        One per problem and method.
    most_perplexity
        Perplexity ratio that strengths were chosen under.
    settings
        Sampling settings.
    """

    scores: tuple[MethodScore, ...]
    most_perplexity: float
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per problem and method, best first within a problem."""
        import pandas as pd

        rows = [
            {
                "problem": s.problem,
                "method": s.method,
                "strength": s.factor,
                "success": s.success,
                "low": s.interval[0],
                "high": s.interval[1],
                "unsteered": float(s.unsteered_hits.mean()),
                "perplexity_ratio": s.perplexity_ratio,
                "completion_ratio": s.completion_ratio,
                "prompts": len(s.hits),
            }
            for s in self.scores
        ]
        table = pd.DataFrame(rows)
        return table.sort_values(
            ["problem", "success", "perplexity_ratio"], ascending=[True, False, True]
        ).reset_index(drop=True)

    def plot(self) -> go.Figure:
        """Draw success against perplexity as strength grows, one panel per problem."""
        import plotly.graph_objects as go
        from plotly.subplots import make_subplots

        from workbench.plots import CATEGORIES, styled

        problems = list(dict.fromkeys(s.problem for s in self.scores))
        methods = list(dict.fromkeys(s.method for s in self.scores))
        figure = make_subplots(rows=1, cols=len(problems), subplot_titles=problems)
        for s in self.scores:
            column = problems.index(s.problem) + 1
            figure.add_trace(
                go.Scatter(
                    x=s.curve_perplexity,
                    y=s.curve_hits,
                    text=[f"strength {factor:.3g}" for factor in s.factors],
                    mode="lines+markers",
                    name=s.method,
                    legendgroup=s.method,
                    showlegend=column == 1,
                    line={"color": CATEGORIES[methods.index(s.method) % len(CATEGORIES)]},
                ),
                row=1,
                col=column,
            )
        figure = styled(figure, x="perplexity ratio", y="reached the target")
        figure.update_xaxes(type="log")
        return figure

    def summary(self) -> str:
        """Return one line."""
        problems = {s.problem for s in self.scores}
        methods = {s.method for s in self.scores}
        return f"MethodComparison: {len(methods)} methods on {len(problems)} problems"


def compare_methods(
    session: Session,
    problems: Sequence[SteeringProblem],
    methods: Mapping[str, Fit],
    *,
    factors: Sequence[float] = (0.25, 0.35, 0.5, 0.6, 0.7, 0.85, 1.0, 1.25, 1.5, 2.0),
    most_perplexity: float = 1.5,
    max_new_tokens: int = 16,
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> MethodComparison:
    """Score methods of steering on problems.

    For each method and target a recipe is learned from the training prompts. The strength, one for
    all targets of a problem, is chosen on the problem's `choose` prompts: of those whose perplexity
    ratio is at most `most_perplexity`, the one with which most prompts reach the target (six more
    strengths are tried between the last that keeps to it and the next); where there is none, the
    one with the best harmonic mean of success and 1 / ratio. Held-out prompts are touched once, at
    that strength. Texts are greedy.

    Parameters
    ----------
    session
        The session.
    problems
        What to steer.
    methods
        Methods by name.
    factors
        Rising strengths to choose from; what they multiply is the method's own unit.
    most_perplexity
        See above.
    max_new_tokens
        Length of continuations.
    seed
        Seed of the methods.
    progress
        Told: done, of how many, what.
    cancel
        Asked before each token; True ends the comparison.

    Returns
    -------
    MethodComparison

    Raises
    ------
    InputError
        There is nothing to compare.
    Cancelled
        `cancel` said so.
    """
    if not problems or not methods or not len(factors):
        raise InputError("expected at least one problem, one method and one strength")
    scores = []
    total = len(problems) * len(methods)
    for problem in problems:
        choosing = _Texts(session, problem, problem.choose, max_new_tokens, cancel)
        held_out = _Texts(session, problem, problem.test, max_new_tokens, cancel)
        contrasts = {t: problem.contrast(session, t) for t in problem.targets}
        for name, fit in methods.items():
            recipes = {
                target: fit(session, contrast, seed).for_session(session)
                for target, contrast in contrasts.items()
            }
            scores.append(
                _score(problem, name, recipes, choosing, held_out, factors, most_perplexity)
            )
            if progress is not None:
                progress(len(scores), total, f"{problem.name}: {name}")
    return MethodComparison(
        provenance=session.model.provenance(seed=seed),
        scores=tuple(scores),
        most_perplexity=most_perplexity,
        settings={"max_new_tokens": max_new_tokens, "temperature": 0.0},
    ).bound_to(session)


@dataclass(frozen=True)
class _Measured:
    hits: Float[np.ndarray, "factor prompt"]
    whole: Float[np.ndarray, "factor prompt"]
    completion: Float[np.ndarray, "factor prompt"]
    texts: list[list[str]]


class _Texts:
    """Continuations of some prompts under recipes, with what is measured of them."""

    def __init__(
        self,
        session: Session,
        problem: SteeringProblem,
        examples: Sequence[SteeringExample],
        most: int,
        cancel: Callable[[], bool] | None,
    ) -> None:
        self.session, self.problem, self.examples = session, problem, list(examples)
        self.most, self.cancel = most, cancel
        self.ids = problem.ids(session, self.examples)
        empty = Recipe()
        self.plain = self.measure([dict.fromkeys(problem.targets, empty)])

    def measure(self, recipes: Sequence[Mapping[str, Recipe]]) -> _Measured:
        """Write and measure the texts under recipes by target, all in one call."""
        from workbench.steering.compiled import Cancelled

        model, count = self.session.model, len(self.examples)
        prompts = self.ids * len(recipes)
        spread = [by_target[e.target] for by_target in recipes for e in self.examples]
        compiled = compile_recipes(self.session, spread, prompts)
        made = generate_many(
            model,
            model.tokenizing.from_ids(prompts, model.policy),
            max_new_tokens=self.most,
            min_new_tokens=self.problem.min_new_tokens,
            cancel=self.cancel,
            max_rows=256,
            **compiled.options,
        )
        if self.cancel is not None and self.cancel():
            raise Cancelled("the comparison was stopped")
        end = model.tokenizer.eos_token_id
        new = [[*row.token_ids.tolist(), *([end] if row.stopped == "eos" else [])] for row in made]
        shape = (len(recipes), count)
        hits = [
            self.problem.hit(self.examples[i % count], row.completion) for i, row in enumerate(made)
        ]
        texts = [row.completion for row in made]
        alone, whole = both_perplexities(self.session, prompts, new)
        return _Measured(
            np.array(hits).reshape(shape),
            whole.reshape(shape),
            alone.reshape(shape),
            [texts[i * count : (i + 1) * count] for i in range(len(recipes))],
        )


def _ratio(steered: Float[np.ndarray, "... prompt"], plain: Float[np.ndarray, "#n prompt"]) -> Any:
    """Ratio of geometric means over prompts."""
    return np.exp(np.nanmean(np.log(steered) - np.log(plain), -1))


def _curve(
    recipes: Mapping[str, Recipe], texts: _Texts, factors: Sequence[float]
) -> tuple[Float[np.ndarray, " factor"], Float[np.ndarray, " factor"]]:
    """Share of prompts that reach the target, and perplexity ratio, at each strength."""
    tried = texts.measure([{t: r.scaled(f) for t, r in recipes.items()} for f in factors])
    return tried.hits.mean(1), _ratio(tried.whole, texts.plain.whole)


def _score(
    problem: SteeringProblem,
    name: str,
    recipes: Mapping[str, Recipe],
    choosing: _Texts,
    held_out: _Texts,
    factors: Sequence[float],
    most: float,
) -> MethodScore:
    hits, ratios = _curve(recipes, choosing, factors)
    last = int(np.flatnonzero(ratios <= most)[-1]) if (ratios <= most).any() else -1
    if 0 <= last < len(factors) - 1 and hits[last] < 1:
        # Success rises steeply just where fluency falls: look between the last two.
        between = np.geomspace(factors[last], factors[last + 1], _BETWEEN + 2)[1:-1].tolist()
        more_hits, more_ratios = _curve(recipes, choosing, between)
        order = np.argsort([*factors, *between], kind="stable")
        factors = [[*factors, *between][i] for i in order]
        hits = np.concatenate([hits, more_hits])[order]
        ratios = np.concatenate([ratios, more_ratios])[order]
    within = ratios <= most
    if within.any():
        best = int(np.where(within, hits, -1).argmax())
    else:
        fluent = np.minimum(1, 1 / ratios)
        best = int(np.nan_to_num(2 * hits * fluent / (hits + fluent)).argmax())
    chosen = held_out.measure([{t: r.scaled(factors[best]) for t, r in recipes.items()}])
    pairs = zip(problem.test, chosen.texts[0], strict=True)
    return MethodScore(
        problem=problem.name,
        method=name,
        factors=np.array(factors, dtype=float),
        curve_hits=hits,
        curve_perplexity=ratios,
        factor=float(factors[best]),
        hits=chosen.hits[0],
        unsteered_hits=held_out.plain.hits[0],
        perplexity_ratio=float(_ratio(chosen.whole, held_out.plain.whole)[0]),
        completion_ratio=float(_ratio(chosen.completion, held_out.plain.completion)[0]),
        samples=tuple((e.prompt, text) for e, text in list(pairs)[:8]),
        recipes=recipes,
    )

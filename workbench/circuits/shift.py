"""SHIFT: take a spurious cue out of a classifier by ablating the features a person ticks.

Marks et al. 2024 ("Sparse Feature Circuits", section 4, "Sparse Human-interpretable Feature
Trimming"): a classifier is trained where the intended and an unintended cue always agree (male
professors, female nurses); the features that move its logit are ranked; a person who sees their
dashboards ticks those irrelevant to the task; these are ablated, and the head may be trained again
on the ablated activations, still on the ambiguous texts only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
from jaxtyping import Float

from workbench.circuits.discovery import discover
from workbench.circuits.metrics import ProbeLogit
from workbench.circuits.shift_texts import ClassifiedTexts, PooledClassifier, pooled
from workbench.errors import InputError, SiteError
from workbench.features.refs import FeatureRef, FeatureSet
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd

    from workbench.circuits.shift_table import ShiftTable
    from workbench.session import Session

__all__ = ["Judge", "Shift", "rank_nodes", "shift"]

Judge: TypeAlias = Callable[[FeatureSet], Iterable["str | FeatureRef"]]
"""Gets the features most in need of judging and returns those irrelevant to the task."""

_RANKED_ON = 32


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Shift(Result):
    """A classifier with its features ranked by what they do to its logit, ready to be judged.

    Parameters
    ----------
    classifier
        The head, trained on the ambiguous texts.
    names
        Features, strongest |effect| first.
    effect
        Change of the logit of the second class when the feature is zero at every token (estimated
        by `method`), mean over texts.
    activation
        Sum of the feature's activation over a text's tokens, mean over texts.
    train, test
        The ambiguous texts, and texts where class and group are independent.
    sites
        SAEs the features are of.
    settings
        How effects were computed.
    """

    view_class: ClassVar[str | None] = "workbench.widgets.judge:JudgeView"

    classifier: PooledClassifier
    names: tuple[str, ...]
    effect: Float[np.ndarray, " feature"]
    activation: Float[np.ndarray, " feature"]
    train: ClassifiedTexts
    test: ClassifiedTexts
    sites: tuple[str, ...]
    settings: Mapping[str, Any]

    @property
    def features(self) -> FeatureSet:
        """All features that move the logit, strongest first."""
        return FeatureSet.of(self.names)

    def top(self, n: int = 100) -> FeatureSet:
        """Return the `n` features that move the logit most: those to be judged."""
        return FeatureSet.of(self.names[:n])

    def judge(self, judge: Judge, top: int = 100) -> FeatureSet:
        """Let a function tick the irrelevant features in place of a person in the view.

        Parameters
        ----------
        judge
            Gets a `FeatureSet`, returns those irrelevant to the task.
        top
            How many features it is shown.

        Raises
        ------
        InputError
            It returns features it was not shown.
        """
        shown = self.top(top)
        ticked = FeatureSet.of(judge(shown))
        strangers = ticked - shown
        if strangers:
            raise InputError(f"the judge returned {strangers[0]}, which it was not shown")
        return ticked

    def ablate(self, irrelevant: FeatureSet | Iterable[str], **options: Any) -> ShiftTable:
        """Ablate features and score the classifier beside its rivals; see `shift_table.score`."""
        if self.session is None:
            raise InputError("read from a file, this has no session; use .bound_to(session)")
        from workbench.circuits.shift_table import score

        return score(self.session, self, FeatureSet.of(irrelevant), **options)

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per feature, strongest |effect| first."""
        import pandas as pd

        return pd.DataFrame(
            {"feature": self.names, "effect": self.effect, "activation": self.activation}
        )

    def summary(self) -> str:
        """Return one line that says what the result is."""
        first, second = self.train.class_names
        return (
            f"classifier of {first} against {second} at {self.classifier.site}, "
            f"{len(self.names):,} features move its logit"
        )


def shift(
    session: Session,
    train: Any,
    test: Any,
    *,
    site: str | None = None,
    sites: Sequence[str] | None = None,
    classes: Sequence[Any] | None = None,
    text: str = "hard_text",
    label: str = "profession",
    group: str = "gender",
    method: str = "ig",
    rank_on: int = _RANKED_ON,
    strength: float = 30.0,
    n: int | None = None,
    seed: int = 0,
    progress: bool | Callable[[int, int, str], None] = False,
    cancel: Any = None,
) -> Shift:
    """Train a classifier on ambiguous texts and rank the features it leans on.

    Parameters
    ----------
    session
        Model and SAEs.
    train
        Ambiguous texts: class and group agree. See `ClassifiedTexts.of` for the forms; rows of
        Bias in Bios as `datasets` gives them will do. Where every class comes with every group,
        the two cells are kept that agree more often (male professors and female nurses).
    test
        Texts of all four cells; the larger ones are cut to the size of the smallest.
    site
        Where the head reads; None: the residual stream after two thirds of the layers (layer 4 of
        6 in the paper).
    sites
        SAEs whose features are judged; None: every attached one at `site` or below it, one per
        site.
    classes, text, label, group
        See `ClassifiedTexts.of`.
    method
        ``"ig"`` (the paper's), ``"attrib"`` or ``"exact"``; baseline zero, summed over positions.
    rank_on
        Training texts the effects are means over.
    strength
        Inverse L2 penalty of the head.
    n
        Most texts of each set, drawn with `seed`.
    seed
        Decides which texts are drawn.
    progress, cancel
        See `workbench.circuits.discovery.discover`.

    Returns
    -------
    Shift
        ``.view()`` to judge by hand; ``.judge(function)``; then ``.ablate(irrelevant)``.

    Raises
    ------
    InputError
        Data without two classes, or other bad arguments.
    SiteError
        No such site.
    """
    if rank_on < 1:
        raise InputError(f"rank_on must be at least 1, got {rank_on}")
    options: dict[str, Any] = {"text": text, "label": label, "group": group, "classes": classes}
    learned = _ambiguous(ClassifiedTexts.of(train, n=n, seed=seed, **options))
    # The same order of classes in both sets.
    options["classes"] = learned.class_names
    held_out = ClassifiedTexts.of(test, n=n, seed=seed, **options).balanced(seed)
    model = session.model
    where = model.sites.resolve(site or f"resid_post.{_two_thirds(model.n_layers)}")
    x = pooled(session, learned.texts, where.name)
    head = PooledClassifier.fit(x, learned.labels, where.name, strength=strength)
    chosen = tuple(sites) if sites is not None else _saes_up_to(session, where.order)
    order = np.random.default_rng(seed).permutation(len(learned))[:rank_on]
    nodes = rank_nodes(
        session,
        [learned.texts[i] for i in order],
        head,
        chosen,
        method=method,
        progress=progress,
        cancel=cancel,
    )
    return Shift(
        provenance=model.provenance(saes=chosen, seed=seed),
        classifier=head,
        names=tuple(nodes["node"]),
        effect=nodes["effect"].to_numpy(np.float64),
        activation=nodes["activation"].to_numpy(np.float64),
        train=learned,
        test=held_out,
        sites=chosen,
        settings={
            "method": method,
            "baseline": "zero",
            "rank_on": min(rank_on, len(learned)),
            "strength": strength,
        },
    ).bound_to(session)


def rank_nodes(
    session: Session,
    texts: Sequence[str],
    head: PooledClassifier,
    sites: Sequence[str],
    *,
    method: str = "ig",
    units: str = "features",
    progress: bool | Callable[[int, int, str], None] = False,
    cancel: Any = None,
) -> pd.DataFrame:
    """Rank features or neurons by their effect on a head's logit, strongest first.

    Parameters
    ----------
    session
        Model and SAEs.
    texts
        Texts the effects are means over.
    head
        The classifier.
    sites
        SAEs, or sites for neurons.
    method, progress, cancel
        See `workbench.circuits.discovery.discover`.
    units
        ``"features"`` or ``"neurons"``.

    Returns
    -------
    DataFrame
        As `Circuit.nodes_table`, errors left out.
    """
    import dataclasses

    metric = ProbeLogit(head.site, head.weight, head.bias, pool="mean", skip_special=True)
    policy = dataclasses.replace(session.model.policy, overflow="right")
    found = discover(
        session,
        [{"clean_prefix": text} for text in texts],
        metric=metric,
        method=method,  # type: ignore[arg-type]
        aggregate="sum",
        baseline="zero",
        node_threshold=0.0,
        sites=list(sites),
        units=units,
        edges=False,
        measure=False,
        policy=policy,
        progress=progress,
        cancel=cancel,
    )
    table = found.nodes_table()
    return table[table["kind"] == units.removesuffix("s")]


def _saes_up_to(session: Session, order: int) -> tuple[str, ...]:
    """SAEs at or below a site, the first attached where several take the same activation apart."""
    by_site: dict[str, str] = {}
    for name, sae in session.saes.items():
        if sae.site is None or sae.out_site is None or sae.out_site.order > order:
            continue
        if sae.is_transcoder:
            continue
        by_site.setdefault(sae.out_site.name, name)
    if not by_site:
        raise SiteError("no attached SAE lies at or below the classifier's site")
    return tuple(sorted(by_site.values(), key=lambda name: _order(session, name)))


def _order(session: Session, name: str) -> int:
    site = session.saes[name].out_site
    return -1 if site is None else site.order


def _two_thirds(n_layers: int) -> int:
    return min(round(2 * n_layers / 3), n_layers - 1)


def _ambiguous(data: ClassifiedTexts) -> ClassifiedTexts:
    """Keep the cells in which class and group agree, where there are others as well."""
    if len(data.group_names) != 2:
        return data
    cells = {(int(a), int(b)) for a, b in zip(data.labels, data.groups, strict=True)}
    if len(cells) <= 2:
        return data
    sizes = [np.sum(data.labels == data.groups), np.sum(data.labels != data.groups)]
    keep = (data.labels == data.groups) == (sizes[0] >= sizes[1])
    return data.take(np.flatnonzero(keep))

"""`session.describe`: describe features, and score the descriptions."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from workbench.errors import InputError, WorkbenchError
from workbench.features.describe import estimate, offline
from workbench.features.describe.endpoint import Endpoint
from workbench.features.describe.evidence import Evidence, gather
from workbench.features.describe.questions import Question, Trial, hidden, score, trials
from workbench.features.describe.results import CostEstimate, Description, Descriptions
from workbench.features.describe.settings import DescribeSettings, ScoreKind
from workbench.features.describe.steering import steered_trials
from workbench.features.describe.store import Store, fingerprint
from workbench.features.index import disk
from workbench.features.refs import FeatureRef, FeatureSet

if TYPE_CHECKING:
    from workbench.features.index.queries import FeatureIndex
    from workbench.session import Session

__all__ = ["Labeller", "Scorer", "describe"]

Labeller: TypeAlias = "Callable[[Evidence], str] | Endpoint"
"""Gives a description of what it is shown of a feature."""

Scorer: TypeAlias = "Callable[[Question], Sequence[Any]] | Endpoint"
"""Answers a question: a number per text (0.5 and more means yes), for simulation a number per
token; None for a text it cannot judge."""

_FILE = "descriptions.jsonl"


def describe(
    session: Session,
    features: Iterable[str | FeatureRef] | str | FeatureRef,
    *,
    labeller: Labeller | None = None,
    scorer: Scorer | None = None,
    descriptions: Mapping[str | FeatureRef, str] | None = None,
    settings: DescribeSettings | None = None,
    path: str | Path | None = None,
    workers: int = 4,
    dry_run: bool = False,
    progress: bool = True,
) -> Descriptions | CostEstimate:
    """Describe features and measure how well the descriptions predict them.

    Every finished description and score is on disk before the next: the same call after a kill
    goes on where it was.

    Parameters
    ----------
    session
        The session, with its feature index.
    features
        The features.
    labeller
        A function from `Evidence` to a description, or an `Endpoint`. None: descriptions are made
        from token statistics, offline, and the result says so.
    scorer
        A function from `Question` to answers, or an `Endpoint`. None: the labeller where that is
        an endpoint, otherwise the words that descriptions quote are looked for, and the result
        says so.
    descriptions
        Descriptions to be scored as they are; for these features the labeller is not asked.
    settings
        Scores and numbers of contexts.
    path
        Folder for what is finished; one for this way of describing, in the index's folder, where
        None. Functions are told apart by name: give another path after changing one.
    workers
        Questions asked at the same time of an endpoint. Functions are called one at a time.
    dry_run
        Ask nothing and return what it would take.
    progress
        Whether to show a progress bar.

    Returns
    -------
    Descriptions or CostEstimate
        Features that cannot be described (dead ones, too few activations) are in it, with the
        reason.

    Raises
    ------
    InputError
        There is no finished index, a feature is none of it, or a labeller or scorer gives
        something unusable.
    SaeError
        A feature's SAE is not in the index.
    WorkbenchError
        The endpoint failed, or another run is at work in the folder. What is finished is kept.
    """
    if workers < 1:
        raise InputError(f"workers must be at least 1, got {workers}")
    index = _index(session)
    refs = tuple(index.check(ref) for ref in FeatureSet.of(features))
    given = {
        FeatureRef.parse(ref): _text(text, str(ref)) for ref, text in (descriptions or {}).items()
    }
    run = _Run(
        session=session,
        index=index,
        settings=settings or DescribeSettings(),
        labeller=labeller,
        scorer=labeller if scorer is None and isinstance(labeller, Endpoint) else scorer,
        given=given,
    )
    identity = run.identity()
    folder = index.path / "descriptions" / fingerprint(identity)
    folder = folder if path is None else Path(path).expanduser()
    if dry_run:
        store = Store(folder / _FILE, identity, write=False)
        return estimate.estimate(run, refs, store)
    folder.mkdir(parents=True, exist_ok=True)
    from tqdm.auto import tqdm

    before = run.usage()
    with disk.held(folder), ThreadPoolExecutor(max_workers=workers) as pool:
        run.pool = pool if isinstance(run.scorer, Endpoint) else None
        store = Store(folder / _FILE, identity, write=True)
        made = [
            run.one(ref, store)
            for ref in tqdm(refs, unit="feature", desc="describing", disable=not progress)
        ]
    used = tuple(now - then for now, then in zip(run.usage(), before, strict=True))
    return Descriptions(
        provenance=dataclasses.replace(
            index.provenance, saes=FeatureSet(refs).saes, seed=run.settings.seed
        ),
        descriptions=tuple(made),
        described_by=run.described_by(refs),
        scored_by=run.scored_by,
        settings=run.settings.to_dict(),
        calls=used[0],
        prompt_tokens=used[1],
        completion_tokens=used[2],
    ).bound_to(session)


@dataclasses.dataclass(kw_only=True, eq=False)
class _Run:
    """Who describes and who scores, on which index."""

    session: Session
    index: FeatureIndex
    settings: DescribeSettings
    labeller: Labeller | None
    scorer: Scorer | None
    given: Mapping[FeatureRef, str]
    pool: ThreadPoolExecutor | None = None

    def identity(self) -> dict[str, Any]:
        return {
            "index": disk.digest(self.index.path / "manifest.json"),
            "settings": self.settings.to_dict(),
            "labeller": _identity(self.labeller, offline.STATISTICS),
            "scorer": _identity(self.scorer, offline.SCORED_BY_WORDS),
        }

    def described_by(self, refs: Sequence[FeatureRef]) -> str:
        given = sum(ref in self.given for ref in refs)
        if refs and given == len(refs):
            return "given"
        name = _name(self.labeller, offline.STATISTICS)
        return f"{name}; {given} given" if given else name

    @property
    def scored_by(self) -> str:
        return _name(self.scorer, offline.SCORED_BY_WORDS)

    def usage(self) -> tuple[int, int, int]:
        calls = prompt = completion = 0
        for who in {id(who): who for who in (self.labeller, self.scorer)}.values():
            if isinstance(who, Endpoint):
                calls += who.calls
                prompt += who.prompt_tokens
                completion += who.completion_tokens
        return calls, prompt, completion

    def text(self, ref: FeatureRef, store: Store) -> str | None:
        """Return a description that is there already."""
        return self.given.get(ref) or store.description(str(ref))

    def unscored(self, ref: FeatureRef, text: str, store: Store) -> list[ScoreKind]:
        return [kind for kind in self.settings.scores if store.score(str(ref), kind, text) is None]

    def evidence(self, ref: FeatureRef) -> Evidence:
        return gather(self.session, self.index, ref, self.settings)

    def one(self, ref: FeatureRef, store: Store) -> Description:
        name, text = str(ref), self.text(ref, store)
        if text is None or self.unscored(ref, text, store):
            evidence = self.evidence(ref)
            if evidence.lacks and (text is None or not evidence.maximum):
                return Description(feature=name, text=text or "", problem=evidence.lacks)
            if text is None:
                try:
                    text = self._label(evidence)
                except InputError as error:
                    if not isinstance(self.labeller, Endpoint):
                        raise
                    # One reply without a description must not end a long run.
                    return Description(feature=name, text="", problem=str(error))
                store.keep_description(name, text)
            for kind in self.unscored(ref, text, store):
                asked = self.trials(kind, evidence)
                answers = self._answers(kind, ref, text, asked)
                store.keep_score(name, score(kind, asked, answers, self.settings), text)
        found = (store.score(name, kind, text) for kind in self.settings.scores)
        return Description(
            feature=name, text=text, scores=tuple(one for one in found if one is not None)
        )

    def trials(self, kind: ScoreKind, evidence: Evidence) -> tuple[Trial, ...]:
        if kind == "steering":
            return steered_trials(self.session, evidence, self.settings)
        return trials(kind, evidence, self.settings)

    def _label(self, evidence: Evidence) -> str:
        if isinstance(self.labeller, Endpoint):
            return self.labeller.describe(evidence)
        made = (self.labeller or offline.describe_by_statistics)(evidence)
        return _text(made, str(evidence.feature))

    def questions(
        self, kind: ScoreKind, ref: FeatureRef, text: str, asked: Sequence[Trial]
    ) -> Iterator[Question]:
        for start in range(0, len(asked), self.settings.batch):
            batch = asked[start : start + self.settings.batch]
            yield Question(
                kind=kind,
                feature=ref,
                description=text,
                excerpts=tuple(hidden(trial.excerpt) for trial in batch),
                marks=tuple(trial.marks for trial in batch) if kind == "fuzzing" else (),
            )

    def _answers(
        self, kind: ScoreKind, ref: FeatureRef, text: str, asked: Sequence[Trial]
    ) -> list[Any]:
        questions = list(self.questions(kind, ref, text, asked))
        if isinstance(self.scorer, Endpoint) and self.pool is not None:
            waiting = [self.pool.submit(self.scorer.answer, one) for one in questions]
            try:
                return [answer for one in waiting for answer in one.result()]
            except WorkbenchError:
                for one in waiting:
                    one.cancel()
                raise
        function = offline.answer_by_words if self.scorer is None else self.scorer
        assert not isinstance(function, Endpoint)  # noqa: S101 - those have a pool
        return [answer for one in questions for answer in _usable(one, function(one))]


def _index(session: Session) -> FeatureIndex:
    index = session.opened_index
    if index is None:
        raise InputError("descriptions need the feature index; make one with session.index(...)")
    if index.partial:
        raise InputError("the feature index is still being built; wait for it to be finished")
    if index.session is None:
        raise InputError("the feature index was opened without a session; use session.index(...)")
    return index


def _text(made: Any, ref: str) -> str:
    if not isinstance(made, str) or not made.strip():
        raise InputError(f"the description of {ref} is {made!r}, expected a text")
    with contextlib.suppress(UnicodeEncodeError):
        made.encode()
        return made.strip()
    raise InputError(f"the description of {ref} holds half of a character (a lone surrogate)")


def _usable(question: Question, answers: Any) -> list[Any]:
    """Check what a function answered."""
    try:
        found = list(answers)
    except TypeError:
        raise InputError(
            f"the scorer answered {type(answers).__name__}, expected one answer per text"
        ) from None
    if len(found) != len(question.excerpts):
        raise InputError(f"the scorer gave {len(found)} answers to {len(question.excerpts)} texts")
    for answer, excerpt in zip(found, question.excerpts, strict=True):
        if answer is None:
            continue
        try:
            numbers = [float(value) for value in answer] if question.kind == "simulation" else None
            single = float(answer) if numbers is None else 0.0
        except (TypeError, ValueError):
            raise InputError(
                f"the scorer answered {answer!r} to a {question.kind} question, expected "
                + ("numbers" if question.kind == "simulation" else "a number")
            ) from None
        if numbers is not None and len(numbers) != len(excerpt.tokens):
            raise InputError(
                f"the scorer gave {len(numbers)} numbers for a text of {len(excerpt.tokens)} tokens"
            )
        if any(value != value for value in (numbers or [single])):
            raise InputError("the scorer answered NaN; answer None for a text it cannot judge")
    return found


def _name(who: Any, default: str) -> str:
    if who is None:
        return default
    if isinstance(who, Endpoint):
        return who.name
    return str(getattr(who, "__qualname__", type(who).__qualname__))


def _identity(who: Any, default: str) -> str:
    if isinstance(who, Endpoint):
        return who.identity
    if who is None:
        return default
    return f"{getattr(who, '__module__', '')}.{_name(who, default)}"

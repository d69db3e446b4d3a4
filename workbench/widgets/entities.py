"""The entity view: what the model recognises in a name, and answers rewritten by two sliders."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import traitlets

from workbench.errors import InputError, WorkbenchError, unknown
from workbench.features.refs import FeatureRef, FeatureSet
from workbench.widgets import entities_ask as ask
from workbench.widgets.base import View
from workbench.widgets.entities_page import doses, entities_html, meter, page, stored_reading
from workbench.widgets.jobs import Job, Superseded, background

if TYPE_CHECKING:
    import pandas as pd

    from workbench.directions.entities.entity_study import EntityStudy
    from workbench.directions.entities.pushes import Push

__all__ = ["EntityView"]

_KEPT = 512
_STRONGEST = 10.0


class EntityView(View):
    """Type a sentence or pick an entity; see what is recognised, and push it either way.

    Parameters
    ----------
    study
        An entity study. Bound to a session it reads and answers; without one it shows its tables.
    **traits
        Initial state.

    Attributes
    ----------
    text
        The question or sentence.
    at
        Token whose recognition the meter shows and from which on is pushed; -1 for the last token
        of the entity's name (in typed text: the token where a recognition feature is strongest).
    known, unknown
        Features read, written ``sae/index``; empty for none.
    known_push, unknown_push
        What each slider pushes along, such as ``+mlp_out.0/379 −mlp_out.0/47``.
    known_strength, unknown_strength
        How far, as a factor on the activation's norm.

    Examples
    --------
    >>> view = study.view(unknown_strength=0.5)  # doctest: +SKIP
    >>> view.text = "Tell me the position of the player Elena Marsh."  # doctest: +SKIP
    """

    bundle = "entities"

    text = traitlets.Unicode("").tag(sync=True)
    at = traitlets.Int(-1).tag(sync=True)
    known = traitlets.Unicode("").tag(sync=True)
    unknown = traitlets.Unicode("").tag(sync=True)
    known_push = traitlets.Unicode("").tag(sync=True)
    unknown_push = traitlets.Unicode("").tag(sync=True)
    known_strength = traitlets.Float(0.0).tag(sync=True)
    unknown_strength = traitlets.Float(0.0).tag(sync=True)

    def __init__(self, study: EntityStudy, **traits: Any) -> None:
        self.study = study
        self._read: dict[Any, dict[str, Any]] = {}
        self._tried: dict[Any, dict[str, Any]] = {}
        self._records: list[dict[str, Any]] = []
        self._played_for: Any = None
        super().__init__(**{**self._start(traits.get("text")), **traits})
        self.observe(self._select, ["known", "unknown"])
        self._select(None)
        self.publish()

    def _start(self, text: str | None) -> dict[str, Any]:
        """Begin with a name that is known, pushed towards unknown as far as the sweep chose."""
        study = self.study
        start: dict[str, Any] = {}
        for side in ("known", "unknown"):
            found = study.ranked(cast(Any, side), 1)
            chosen = None if study.steering is None else study.steering.chosen.get(side)
            start[side] = found[0].feature if found else ""
            first = f"+{found[0].feature}" if found else ""
            start[f"{side}_push"] = first if chosen is None else chosen[0]
        if text is None:
            examples = self._examples(1)
            start["text"] = text = study.questions_asked[examples[0]] if examples else ""
        label = next((study.knowledge[i].label for i in self._entity(text)), "")
        if study.steering is not None and label in ("known", "unknown"):
            other = "unknown" if label == "known" else "known"
            start[f"{other}_strength"] = study.steering.chosen.get(other, ("", 0.0))[1]
        return start

    def _entity(self, text: str) -> list[int]:
        asked = self.study.questions_asked
        return [asked.index(text)] if text in asked else []

    def _examples(self, each: int) -> list[int]:
        """Known and unknown test names, of different types as far as there are."""
        found: list[int] = []
        for label in ("known", "unknown"):
            for turn in range(each):
                types = self.study.types or (None,)
                rows = np.flatnonzero(
                    self.study.where(label, "test", types[turn % len(types)])
                ).tolist()
                left = [row for row in rows if row not in found]
                found += left[:1]
        return found

    # State

    @traitlets.validate("known", "unknown")
    def _valid_feature(self, proposal: Mapping[str, Any]) -> str:
        name = proposal["value"]
        if not name:
            return ""
        ref = FeatureRef.parse(name)
        if ref.sae not in self.study.codes:
            raise InputError(unknown("scored SAE", ref.sae, self.study.codes))
        if not 0 <= ref.index < self.study.codes[ref.sae].d_sae:
            raise InputError(f"{ref} is not a feature of {ref.sae}")
        return str(ref)

    @traitlets.validate("known_strength", "unknown_strength")
    def _valid_strength(self, proposal: Mapping[str, Any]) -> float:
        return _strength(proposal["value"])

    def _select(self, _change: Any) -> None:
        self.selection = FeatureSet.of([name for name in (self.known, self.unknown) if name])

    @property
    def push(self) -> Push | None:
        """What both sliders add, as a `Push`; None where neither is moved."""
        return ask.pushed(self.study, self._pushes, self._strengths)

    @property
    def _pushes(self) -> tuple[str, str]:
        return (self.known_push, self.unknown_push)

    @property
    def table(self) -> pd.DataFrame:
        """One row per token of the text: ``token``, activation of ``known`` and ``unknown``."""
        import pandas as pd

        read = self.reading(self.text, self.known, self.unknown)
        columns = {
            "token": read["tokens"],
            "known": read["values"][0],
            "unknown": read["values"][1],
        }
        return pd.DataFrame(columns)

    # What is sent

    @property
    def _live(self) -> bool:
        session = self.study.session
        return session is not None and not session.closed

    def initial(self) -> dict[str, Any]:
        """Return what stays the same while the view is used, and what is already computed."""
        return {**page(self.study, live=self._live), "records": self._records}

    def static_html(self) -> str:
        """Return separation by layer as tables."""
        return entities_html(self.study, self.text)

    def snapshot(self) -> dict[str, Any]:
        """Return the view as data, with answers at nine strengths of each slider.

        Those of the text shown and of a few of the study's questions, one slider at a time.
        """
        self.precompute()
        data = super().snapshot()
        first = data["initial"]
        first["live"] = False
        first["recorded"] = [r["params"]["text"] for r in self._records if r["kind"] == "read"]
        data["records"] = first["records"]
        first["records"] = []
        return data

    def _repr_mimebundle_(self, **options: Any) -> Any:
        # What is on screen first goes with the view: an executed notebook has no kernel to ask.
        if not self._records and self.text.strip():
            with contextlib.suppress(WorkbenchError):  # the view asks again, and shows it
                self._records = self._of_text(self.text, [self._strengths])
                self.publish()
        return super()._repr_mimebundle_(**options)

    # Work

    def reading(self, text: str, known: str, unknown: str) -> dict[str, Any]:
        """Return tokens with both features' activations, and the meter to read them by.

        Raises
        ------
        InputError
            The text is empty, or it is no question of the study and no session reads it.
        """
        key = (text, known, unknown)
        if key not in self._read:
            features = [name for name in (known, unknown) if name]
            if self._live:
                found = ask.reading(self.study, ask.asked(self.study, text), features)
            elif text in self.study.questions_asked:
                index = self.study.questions_asked.index(text)
                found = stored_reading(self.study, index, features)
            else:
                raise InputError(
                    "the study is not bound to a session and can show only its own questions; "
                    "open one and use study.bound_to(session)"
                )
            values = np.zeros((2, len(found["tokens"])), dtype=np.float32)
            values[[side for side, name in enumerate((known, unknown)) if name]] = found["values"]
            made = {**found, "values": values, "meter": meter(self.study, known, unknown)}
            made["focus"] = recognised(made)
            _keep(self._read, key, made)
        return self._read[key]

    def attempts(
        self,
        text: str,
        pushes: tuple[str, str],
        strengths: Sequence[ask.Strengths],
        at: int,
        cancel: Callable[[], bool] | None = None,
    ) -> list[dict[str, Any]]:
        """Answer a text, and look at its heads' attention, at each pair of strengths.

        Parameters
        ----------
        text
            What is asked.
        pushes, strengths
            Towards known and towards unknown.
        at
            Token pushed first; the name's last where -1.
        cancel
            Asked before each token.

        Returns
        -------
        list of dict
            ``plain`` and ``pushed`` answers, ``before`` and ``after`` attention [layer, head].
        """
        question = ask.asked(self.study, text)
        at = question.last if at < 0 else at
        wanted = [(text, *pushes, *pair, at) for pair in strengths]
        missing = [i for i, key in enumerate(wanted) if key not in self._tried]
        if missing:
            made = [None, *(ask.pushed(self.study, pushes, strengths[i]) for i in missing)]
            answers = ask.answers(self.study, question, made, at, cancel)
            if cancel is not None and cancel():
                raise Superseded  # what was cut short is not kept
            in_name = question.entity is not None and question.first <= at <= question.last
            span = (question.first if in_name else at, at)
            seen = ask.attention(self.study, question, made, span)
            for row, index in enumerate(missing, 1):
                found = {
                    "plain": answers[0],
                    "pushed": answers[row],
                    "before": seen[0],
                    "after": seen[row],
                }
                _keep(self._tried, wanted[index], found)
        return [self._tried[key] for key in wanted]

    def precompute(self, job: Job | None = None) -> None:
        """Compute what the sliders show in a saved page, about four questions beside the text's.

        Parameters
        ----------
        job
            Told how far it is, and asked whether to stop.
        """
        state = (self.text, self.at, self.known, self.unknown, self._pushes)
        own = (*state, *self._strengths)
        if self._played_for == own:
            return
        asked = [self.study.questions_asked[i] for i in self._examples(2)]
        texts = list(dict.fromkeys(([self.text] if self.text.strip() else []) + asked))
        records: list[dict[str, Any]] = []
        steps = doses(self.study)
        pairs = [(k, 0.0) for k in steps["known"]] + [(0.0, u) for u in steps["unknown"][1:]]
        for done, text in enumerate(texts):
            if job is not None:
                job.progress(done, len(texts), "questions to replay")
            now = [*pairs, self._strengths] if text == self.text else pairs
            if self._live or self._entity(text):
                records += self._of_text(text, list(dict.fromkeys(now)), job)
        self._records, self._played_for = records, own
        if job is None:
            self.publish()

    @property
    def _strengths(self) -> ask.Strengths:
        return (self.known_strength, self.unknown_strength)

    def _of_text(
        self, text: str, strengths: Sequence[ask.Strengths], job: Job | None = None
    ) -> list[dict[str, Any]]:
        """Return requests about a text with their answers."""
        params = {"text": text, "known": self.known, "unknown": self.unknown}
        found = self.reading(**params)
        records: list[dict[str, Any]] = [{"kind": "read", "params": params, "data": found}]
        if not self._live:
            return records
        within = text == self.text and 0 <= self.at < len(found["tokens"])
        at = self.at if within else found["focus"]
        stop = None if job is None else (lambda: job.cancelled)
        made = self.attempts(text, self._pushes, strengths, at, stop)
        for pair, one in zip(strengths, made, strict=True):
            asked = {"text": text, "pushes": list(self._pushes), "strengths": list(pair), "at": at}
            records.append({"kind": "push", "params": asked, "data": one})
        return records

    # Requests

    @background
    def on_read(self, job: Job, text: str, known: str, unknown: str) -> dict[str, Any]:
        """Answer with the tokens of a text and what is recognised in them."""
        job.check()
        return self.reading(text, known, unknown)

    @background
    def on_push(
        self, job: Job, text: str, pushes: Sequence[str], strengths: Sequence[float], at: int
    ) -> dict[str, Any]:
        """Answer with the text's answer and the heads' attention, with and without the push."""
        self.study.require_session()
        known, unknown = pushes
        pair = (_strength(strengths[0]), _strength(strengths[1]))
        found = self.attempts(text, (known, unknown), [pair], at, lambda: job.cancelled)
        job.check()
        return found[0]

    @background
    def on_check(self, job: Job) -> dict[str, Any]:
        """Read the text again and compare: with what the study scored, where it asked this."""
        job.check()
        features = [name for name in (self.known, self.unknown) if name]
        again = ask.reading(self.study, ask.asked(self.study, self.text), features)
        if again["entity"] is not None:
            was = np.array([self.study.activations(f)[again["entity"]] for f in features])
            now = again["values"][:, again["name"][1]]
            said = "of an activation at the name between the study and a pass now"
        else:
            shown = self.reading(self.text, self.known, self.unknown)["values"]
            was = shown[[side for side, name in enumerate((self.known, self.unknown)) if name]]
            now, said = again["values"], "of an activation between two passes"
        gap = float(np.abs(now - was).max(initial=0.0))
        size = float(np.abs(was).max(initial=0.0))
        return {
            "same": gap <= 1e-3 * max(1.0, size),
            "detail": f"largest difference {said}: {gap:.1e}",
        }

    @background
    def on_export(self, job: Job) -> dict[str, str]:
        """Answer with the page of `to_html`."""
        self.precompute(job)
        return {"name": "entities.html", "html": str(self.to_html())}

    def __repr__(self) -> str:
        return f"<EntityView: {self.text!r}>"


def recognised(read: Mapping[str, Any]) -> int:
    """Return the token the meter stands at: the name's last, or where recognition is strongest."""
    if read["name"] is not None:
        return int(read["name"][1])
    scale = np.array(read["meter"]["scale"])[:, None]
    shares = np.divide(read["values"], scale, out=np.zeros_like(read["values"]), where=scale > 0)
    shares[:, np.asarray(read["special"], dtype=bool)] = -1
    return int(np.abs(shares[1] - shares[0]).argmax())


def _strength(value: float) -> float:
    if not math.isfinite(value) or abs(value) > _STRONGEST:
        raise InputError(f"a strength is between -{_STRONGEST:g} and {_STRONGEST:g}, got {value!r}")
    return float(value)


def _keep(kept: dict[Any, Any], key: Any, value: Any) -> None:
    while len(kept) >= _KEPT:
        kept.pop(next(iter(kept)))
    kept[key] = value

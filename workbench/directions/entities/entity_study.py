"""`EntityStudy`: what a model knows of entities, and which features tell."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int

from workbench.directions.direction import Direction
from workbench.directions.entities.answers import Asking, Knowledge
from workbench.directions.entities.baselines import Baseline
from workbench.directions.entities.prompts import EntityPrompt, question_prompt
from workbench.directions.entities.scoring import EntityCodes
from workbench.directions.entities.separation import (
    SIDES,
    Ranked,
    Rates,
    Side,
    rank_features,
    rates,
)
from workbench.directions.entities.steering_results import EntitySteering
from workbench.directions.entities.styles import PromptStyle, attributes_by_type
from workbench.errors import InputError, unknown
from workbench.features.refs import FeatureRef, FeatureSet
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from workbench.directions.entities.attention import EntityAttention
    from workbench.directions.entities.check import KnowledgeCheck
    from workbench.directions.entities.reading import RecognitionReading

__all__ = ["TOP", "EntityStudy"]

TOP = 20
_QUIET = 0.1


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class EntityStudy(Result):
    """What a model knows of entities, and the features that tell known from unknown.

    Parameters
    ----------
    style
        How the model was asked.
    asking
        When an entity counts as known.
    knowledge
        Per entity: its label, and the answers it rests on.
    splits
        Per entity ``"train"`` (features are chosen on it), ``"validation"`` (strengths are),
        ``"test"`` (figures are of it), or empty for dropped ones.
    questions_asked
        Per entity, the question at whose name it was scored.
    name_tokens
        Per entity, the tokens of that question up to the end of the name.
    name_starts
        Where the name begins among them.
    types
        Entity types with known and unknown entities in training; the others are not scored.
    codes
        Codes at the names' last tokens, by SAE.
    max_density
        Features firing on this share of general tokens or more are dropped; None drops none.
    baselines
        AUROC of probe and difference of means at each site, by type.
    diff_means
        Difference of means (known − unknown) at each site.
    left_out
        SAEs that were not scored, and why.
    steering, check, attention
        Causal tests; None where they were not run.
    seed
        Seed of wordings, samples, splits and controls.
    """

    view_class: ClassVar[str | None] = "workbench.widgets.entities:EntityView"

    style: PromptStyle = field(repr=False)
    asking: Asking
    knowledge: tuple[Knowledge, ...] = field(repr=False)
    splits: tuple[str, ...] = field(repr=False)
    questions_asked: tuple[str, ...] = field(repr=False)
    name_tokens: tuple[tuple[str, ...], ...] = field(repr=False)
    name_starts: Int[np.ndarray, " entities"] = field(repr=False)
    types: tuple[str, ...]
    codes: Mapping[str, EntityCodes] = field(repr=False)
    max_density: float | None
    baselines: tuple[Baseline, ...] = field(repr=False)
    diff_means: tuple[Direction, ...] = field(repr=False)
    left_out: Mapping[str, str] = field(default_factory=dict)
    steering: EntitySteering | None = None
    check: KnowledgeCheck | None = None
    attention: EntityAttention | None = None
    seed: int = 0

    # -- who is what --------------------------------------------------------------------------

    @functools.cached_property
    def _kinds(self) -> np.ndarray:
        return np.array([item.entity.type for item in self.knowledge])

    def where(
        self, label: str, split: str | None = None, entity_type: str | None = None
    ) -> Bool[np.ndarray, " entities"]:
        """Say which entities have a label, in a split and of a type where given.

        Raises
        ------
        InputError
            There is no such label, split or type.
        """
        for kind, got, options in (
            ("label", label, ("known", "unknown", "dropped")),
            ("split", split, ("train", "validation", "test", None)),
            ("entity type", entity_type, (*dict.fromkeys(self._kinds.tolist()), None)),
        ):
            if got not in options:
                raise InputError(unknown(kind, str(got), [o for o in options if o is not None]))
        found = np.array([item.label == label for item in self.knowledge])
        if split is not None:
            found &= np.array([part == split for part in self.splits])
        return found if entity_type is None else found & (self._kinds == entity_type)

    def questions(self, split: str, label: str, most: int | None = None) -> list[EntityPrompt]:
        """Return one question per entity of a split and label, types in turn.

        Parameters
        ----------
        split, label
            Which entities.
        most
            At most so many.
        """
        by_type = [
            [self.knowledge[i].entity for i in np.flatnonzero(self.where(label, split, kind))]
            for kind in self.types
        ]
        turns = [
            entities[turn]
            for turn in range(max(map(len, by_type), default=0))
            for entities in by_type
            if turn < len(entities)
        ]
        about = attributes_by_type(self.style, (item.entity for item in self.knowledge))
        return [
            question_prompt(self.style, entity, about[entity.type], seed=self.seed)
            for entity in turns[:most]
        ]

    def values(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """Return the values attributes have among the entities, by type and attribute."""
        found: dict[tuple[str, str], dict[str, None]] = {}
        for item in self.knowledge:
            for attribute, values in item.entity.attributes.items():
                found.setdefault((item.entity.type, attribute), {}).update(dict.fromkeys(values))
        return {key: tuple(values) for key, values in found.items()}

    # -- features -----------------------------------------------------------------------------

    def rates(self, split: str = "train") -> dict[str, Rates]:
        """Return firing rates by SAE, over the entities of a split."""
        return {
            name: rates(
                code,
                self.types,
                self._kinds.tolist(),
                self.where("known", split),
                self.where("unknown", split),
            )
            for name, code in self.codes.items()
        }

    @functools.cached_property
    def _train(self) -> dict[str, Rates]:
        return self.rates()

    def ranked(self, side: Side, k: int = TOP, *, layer: int | str | None = "any") -> list[Ranked]:
        """Rank features by their separation on training entities, the worst type counting.

        Parameters
        ----------
        side
            ``"known"`` or ``"unknown"``.
        k
            How many.
        layer
            Only of one layer (None: outside the blocks).
        """
        chosen = {
            name: code for name, code in self.codes.items() if layer == "any" or code.layer == layer
        }
        return rank_features(
            {name: self._train[name] for name in chosen},
            chosen,
            side,
            max_density=self.max_density,
            k=k,
        )

    def top(self, side: Side, k: int = TOP, *, layer: int | str | None = "any") -> FeatureSet:
        """Return the features of `ranked`."""
        return FeatureSet(
            tuple(FeatureRef(r.sae, r.index) for r in self.ranked(side, k, layer=layer))
        )

    @property
    def known_features(self) -> FeatureSet:
        """The 20 features that best speak for known entities."""
        return self.top("known")

    @property
    def unknown_features(self) -> FeatureSet:
        """The 20 features that best speak for unknown entities."""
        return self.top("unknown")

    @property
    def layers(self) -> tuple[int | None, ...]:
        """Layers with scored SAEs, from the embedding (None) up."""
        found = {code.layer for code in self.codes.values()}
        return tuple(sorted(found, key=lambda layer: -1 if layer is None else layer))

    def quiet(self, sae: str, *, like: int) -> Int[np.ndarray, " features"]:
        """List features that part known from unknown by less than 0.1 for every type.

        Parameters
        ----------
        sae
            Of which SAE.
        like
            Nearest in firing rate to this feature first: on general tokens, or on the entities
            where that is not known. Features that never fire anywhere are left out.
        """
        rate, code = self._train[sae], self.codes[sae]
        fires = np.concatenate([rate.known, rate.unknown]).mean(0)
        density = fires if code.density is None else code.density
        calm = (np.abs(rate.separation("known")).max(0) < _QUIET) & (density > 0)
        calm[like] = False
        pool = np.flatnonzero(calm)
        return pool[np.argsort(np.abs(density[pool] - density[like]), kind="stable")]

    def activations(self, feature: str | FeatureRef) -> Float[np.ndarray, " entities"]:
        """Return a feature's activation at the last token of each name.

        Raises
        ------
        InputError
            Its SAE was not scored.
        """
        ref = FeatureRef.parse(feature)
        if ref.sae not in self.codes:
            raise InputError(unknown("scored SAE", ref.sae, self.codes))
        return self.codes[ref.sae].column(ref.index)

    def auroc(
        self, feature: str | FeatureRef, side: Side = "unknown", *, split: str = "test"
    ) -> pd.DataFrame:
        """Measure how well one feature's activation parts known from unknown entities.

        Parameters
        ----------
        feature
            Which one.
        side
            What a high activation stands for.
        split
            Of which entities; features are chosen on ``"train"``.

        Returns
        -------
        DataFrame
            Per type: ``type``, ``auroc``, its 95% interval ``low``, ``high``, and ``known`` and
            ``unknown``, the numbers of entities.
        """
        from workbench.directions.entities.tables import auroc_table

        return auroc_table(self, feature, side, split)

    def direction(self, feature: str | FeatureRef, session: Any = None) -> Direction:
        """Return a feature's decoder row as a `Direction`, from the session given or bound."""
        return Direction.from_feature(self.require_session(session), feature)

    def require_session(self, session: Any = None) -> Any:
        """Return the session given or bound, or say that one is needed.

        Raises
        ------
        InputError
            There is none, or it is of another model.
        """
        found = session if session is not None else self.session
        if found is None:
            raise InputError("this study is not bound to a session; pass session=...")
        if found.model.fingerprint != self.provenance.model_fingerprint:
            raise InputError(
                f"the study is of {self.provenance.model} ({self.provenance.model_fingerprint}), "
                f"the session's model is {found.model.name} ({found.model.fingerprint})"
            )
        return found

    # -- tables -------------------------------------------------------------------------------

    def to_pandas(self) -> pd.DataFrame:
        """Return the top features of both sides; see `tables.feature_table`."""
        from workbench.directions.entities.tables import feature_table

        return feature_table(self)

    def entities(self) -> pd.DataFrame:
        """Return one row per entity: label, split, right answers, top features' activations."""
        from workbench.directions.entities.tables import entity_table

        return entity_table(self)

    def answers(self) -> pd.DataFrame:
        """Return one row per attribute asked: answers and how many were right."""
        from workbench.directions.entities.tables import answer_table

        return answer_table(self)

    def by_layer(self, side: Side = "unknown") -> pd.DataFrame:
        """Return the best separation of each SAE; see `workbench.directions.entities.tables`."""
        from workbench.directions.entities.tables import layer_table

        return layer_table(self, side)

    def methods(self) -> pd.DataFrame:
        """Compare single features, probe and difference of means on test entities."""
        from workbench.directions.entities.tables import method_table

        return method_table(self)

    def scatter(self, sae: str, split: str = "train") -> pd.DataFrame:
        """Return f_known and f_unknown of each feature of an SAE, by type."""
        from workbench.directions.entities.tables import scatter_table

        return scatter_table(self, sae, split)

    # -- pictures -----------------------------------------------------------------------------

    def plot_layers(self, side: Side = "unknown") -> go.Figure:
        """Plot the best minimum separation by layer, with each type's best."""
        from workbench.directions.entities.plots import plot_layers

        return plot_layers(self, side)

    def plot_scatter(self, sae: str | None = None) -> go.Figure:
        """Plot f_known against f_unknown; see `workbench.directions.entities.plots`."""
        from workbench.directions.entities.plots import plot_scatter

        return plot_scatter(self, sae)

    def plot_methods(self) -> go.Figure:
        """Plot AUROC of single features, probe and difference of means by site."""
        from workbench.directions.entities.plots import plot_methods

        return plot_methods(self)

    # -- more ---------------------------------------------------------------------------------

    def read(
        self, text: str, features: Sequence[str] | FeatureSet | None = None, session: Any = None
    ) -> RecognitionReading:
        """Read any text with the recognition features; see `reading.read_recognition`."""
        from workbench.directions.entities.reading import read_recognition

        return read_recognition(self.require_session(session), self, text, features)

    def summary(self) -> str:
        """Return one line: how many are known and unknown, and the best features."""
        counts = {label: int(self.where(label).sum()) for label in ("known", "unknown", "dropped")}
        best = [
            f"{side} {ranked[0].feature} (separation {ranked[0].score:.2f})"
            for side in SIDES
            if (ranked := self.ranked(side, 1))
        ]
        return (
            f"EntityStudy: {counts['known']} known, {counts['unknown']} unknown, "
            f"{counts['dropped']} dropped; {len(self.codes)} SAEs; "
            + ("best: " + ", ".join(best) if best else "no feature parts known from unknown")
        )

"""A feature's page: its weights and its place in the feature index, put together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from workbench.errors import InputError
from workbench.features import geometry
from workbench.features.dashboard import (
    Context,
    ContextGroup,
    Dashboard,
    GroupKind,
    Histogram,
    Neighbour,
)
from workbench.features.describe.stored import stored_description
from workbench.features.encoder_side import similar_encoders, token_readings
from workbench.features.refs import FeatureRef
from workbench.features.sources import attributes_heads, head_sources

if TYPE_CHECKING:
    from workbench.features import index as indexing
    from workbench.features.index.queries import FeatureIndex, FeatureProfile
    from workbench.features.index.statistics import Histogram as LogHistogram
    from workbench.session import Session

__all__ = ["feature", "resample", "with_sources"]

INTERVALS = 5
HISTOGRAM_BINS = 50
SILENT = 5
NEIGHBOURS = 10


def feature(
    session: Session,
    ref: str | FeatureRef,
    *,
    top: int = 20,
    per_group: int = 5,
    window: int = 16,
    seed: int = 0,
    sources: bool = True,
) -> Dashboard:
    """Put a feature's page together.

    Parameters
    ----------
    session
        The session; contexts and statistics are of its feature index. Without one, or for an SAE
        that is not in it, the page holds what the weights say.
    ref
        The feature.
    top
        Strongest contexts, each from another document.
    per_group
        Contexts drawn from each interval of activation.
    window
        Tokens on either side of a context's own.
    seed
        Seed of the drawn contexts.
    sources
        For attention-output features: run the strongest context to tell which heads and source
        tokens the activation came from. The view asks for it after the page is painted.

    Returns
    -------
    Dashboard

    Raises
    ------
    SaeError, InputError
        There is no such feature.
    """
    sae, number = geometry.locate(session, ref)
    found = FeatureRef(sae.name, number)
    raises, lowers, effects = geometry.logit_effects(session.model, sae, number)
    label = _labels(session)
    index = session.opened_index
    known = index is not None and sae.name in index.saes
    profile = index.profile(found) if index is not None and known else None
    groups: tuple[ContextGroup, ...] = ()
    cofiring: tuple[Neighbour, ...] = ()
    if index is not None and profile is not None:
        groups = _groups(index, profile, top, per_group, window, seed)
        cofiring = _cofiring(index, found, label)
    raised, lowered = token_readings(session.model, sae, number) if sae.is_transcoder else ((), ())
    encoders: tuple[Neighbour, ...] = ()
    if sae.is_transcoder:
        encoders = similar_encoders(session, sae, number, k=NEIGHBOURS, label=label)
    densities = sae.density()
    dashboard = Dashboard(
        provenance=(
            index.provenance
            if index is not None and known
            else session.model.provenance(saes=[sae.name], seed=seed)
        ),
        feature=str(found),
        site=str(sae.site),
        out_site=str(sae.out_site),
        d_sae=sae.d_sae,
        architecture=sae.architecture,
        label=label(found),
        description=(
            stored_description(index.path, str(found)) if index is not None and known else None
        ),
        counted_tokens=profile.n_counted if profile else 0,
        fires=profile.count if profile else 0,
        maximum=float(profile.max) if profile else float("nan"),
        mean=float(profile.mean) if profile else float("nan"),
        histogram=_histogram(profile) if profile else _empty(),
        groups=groups,
        raises=raises,
        lowers=lowers,
        logit_histogram=effects,
        similar=geometry.similar(session, sae, number, k=NEIGHBOURS, label=label),
        cofiring=cofiring,
        neurons=geometry.coordinates(sae, number),
        encoder_decoder_cosine=geometry.angle(sae, number),
        complete=bool(index is not None and known and not index.partial),
        reads_raised=raised,
        reads_lowered=lowered,
        similar_encoders=encoders,
        stated_density=None if densities is None else float(densities[number]),
    ).bound_to(session)
    return with_sources(session, dashboard) if sources else dashboard


def with_sources(session: Session, dashboard: Dashboard) -> Dashboard:
    """Return a page with which heads and source tokens its strongest context's activation is from.

    Pages of other than attention-output features, and of features without contexts, are returned
    as they are.

    Raises
    ------
    SaeError, InputError
        As `workbench.features.sources.attribute`.
    """
    sae, _ = geometry.locate(session, dashboard.ref)
    context = dashboard.strongest
    if context is None or not attributes_heads(sae):
        return dashboard
    found = head_sources(session, dashboard.ref, context)
    return dataclasses.replace(dashboard, sources=found).bound_to(session)


def resample(
    session: Session,
    ref: str | FeatureRef,
    low: float,
    high: float,
    n: int = 5,
    *,
    window: int = 16,
    seed: int = 0,
) -> ContextGroup:
    """Draw contexts whose activation lies in a range.

    Parameters
    ----------
    session
        The session, with its feature index.
    ref
        The feature.
    low, high
        The range, `low` included, `high` excluded.
    n
        Most contexts.
    window
        Tokens on either side.
    seed
        Another seed draws others.

    Raises
    ------
    InputError
        The range is empty, or no index is open.
    SaeError, InputError
        There is no such feature.
    """
    if not low < high:
        raise InputError(f"the range from {low} to {high} is empty; expected low < high")
    index = session.opened_index
    if index is None:
        raise InputError("contexts come from the feature index; make one with session.index(...)")
    sae, number = geometry.locate(session, ref)
    found = FeatureRef(sae.name, number)
    histogram = index.profile(found).histogram
    shares = np.nan_to_num(np.asarray(histogram.share_below(np.array([low, high]))))
    last = np.nextafter(high, -np.inf)
    drawn = index.sample(found, low, last, n, width=window, seed=seed)
    return ContextGroup(
        kind="brush",
        low=float(low),
        high=float(high),
        total=round(float(shares[1] - shares[0]) * histogram.total),
        contexts=_contexts(drawn),
    )


def _labels(session: Session) -> geometry.Labeller:
    """Labels from the session's lists, then from beside the weights."""
    stored = {name: sae.labels() for name, sae in session.saes.items() if sae.resident}

    def label(ref: FeatureRef) -> str | None:
        own = session.lists.label(ref)
        return own if own is not None else stored.get(ref.sae, {}).get(ref.index)

    return label


def _groups(
    index: FeatureIndex,
    profile: FeatureProfile,
    top: int,
    per_group: int,
    window: int,
    seed: int,
) -> tuple[ContextGroup, ...]:
    ref = profile.ref
    made = []
    if not profile.dead:
        strongest = _contexts(index.contexts(ref, top, width=window))
        made.append(
            ContextGroup(
                kind="top",
                low=min((context.value for context in strongest), default=0.0),
                high=float(profile.max),
                total=None,
                contexts=strongest,
            )
        )
        wide = index.groups(ref, INTERVALS, per_group, kind="equal", width=window, seed=seed)
        even = index.groups(ref, INTERVALS, per_group, kind="quantile", width=window, seed=seed)
        made += [_interval("width", group) for group in wide]
        for place, group in enumerate(even):
            share = (INTERVALS - place - 1) / INTERVALS, (INTERVALS - place) / INTERVALS
            made.append(_interval("quantile", group, *share))
    silent = _contexts(index.silent(ref, SILENT, width=window, seed=seed))
    made.append(ContextGroup(kind="silent", low=0.0, high=0.0, total=None, contexts=silent))
    return tuple(made)


def _interval(
    kind: GroupKind,
    group: indexing.ContextGroup,
    share_low: float | None = None,
    share_high: float | None = None,
) -> ContextGroup:
    return ContextGroup(
        kind=kind,
        low=group.low,
        high=group.high,
        total=round(group.count),
        contexts=_contexts(group.contexts),
        fraction_low=share_low,
        fraction_high=share_high,
    )


def _contexts(found: Iterable[indexing.Context]) -> tuple[Context, ...]:
    return tuple(
        Context(
            document=context.document,
            start=context.start,
            peak=context.at,
            tokens=context.tokens,
            token_ids=context.token_ids,
            values=context.values,
        )
        for context in found
    )


def _cofiring(
    index: FeatureIndex, ref: FeatureRef, label: geometry.Labeller
) -> tuple[Neighbour, ...]:
    rows = index.cofiring(ref).nlargest(NEIGHBOURS, "share")
    return tuple(
        Neighbour(feature=name, score=share, label=label(FeatureRef.parse(name)))
        for name, share in zip(rows["feature"], rows["share"].astype(float), strict=True)
    )


def _histogram(profile: FeatureProfile) -> Histogram:
    """Equal-width bins, interpolated within the index's logarithmic ones."""
    if profile.dead:
        return _empty()
    fine: LogHistogram = profile.histogram
    edges = np.linspace(profile.min, profile.max, HISTOGRAM_BINS + 1)
    shares = np.asarray(fine.share_below(edges))
    shares[0], shares[-1] = 0.0, 1.0
    # Rounding the running total keeps the sum of the bins.
    counts = np.diff(np.round(shares * fine.total)).astype(np.int64)
    return Histogram(edges=edges, counts=counts)


def _empty() -> Histogram:
    return Histogram(edges=np.array([0.0, 1.0]), counts=np.zeros(1, dtype=np.int64))

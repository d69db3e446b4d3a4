"""Dashboards made up for the tests of several rooms: one written out, and arbitrary ones."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import strategies as st

from workbench.features.dashboard import (
    Context,
    ContextGroup,
    Dashboard,
    HeadSource,
    Histogram,
    Neighbour,
    NeuronShare,
    TokenEffect,
)
from workbench.types import Provenance

HOSTILE = "<script>alert(1)</script>"


def context(tokens, values, peak=None, *, document=-1, start=0, ids=None) -> Context:
    values = np.asarray(values, dtype=float)
    return Context(
        document=document,
        start=start,
        peak=int(values.argmax()) if peak is None else peak,
        tokens=tuple(tokens),
        token_ids=np.full(len(tokens), -1) if ids is None else np.asarray(ids),
        values=values,
    )


def full(**changes) -> Dashboard:
    """A dashboard that uses every field."""
    top = ContextGroup(
        kind="top",
        low=2.0,
        high=4.0,
        total=None,
        contexts=(
            context(
                ["the", " old", " cat"],
                [0, 0.5, 4.0],
                document=7,
                start=12,
                ids=[3, 5, 8],
            ),
            context([HOSTILE, " sat"], [2.0, 1.0], document=9, start=0, ids=[1, 2]),
        ),
    )
    quantile = ContextGroup(
        kind="quantile",
        low=0.25,
        high=1.5,
        total=40,
        fraction_low=0.0,
        fraction_high=0.5,
        contexts=(context(["a", "b"], [0.75, 0.25], peak=0, document=2, start=3, ids=[9, 9]),),
    )
    silent = ContextGroup(
        kind="silent",
        low=0.0,
        high=0.0,
        total=920,
        contexts=(context(["x", "y"], [0.0, 0.0], peak=1, document=4, start=1, ids=[6, 7]),),
    )
    fields = {
        "provenance": Provenance(
            model="tiny", model_fingerprint="ab12", saes=("resid_post.2",), seed=3
        ),
        "feature": "resid_post.2/417",
        "site": "resid_post.2",
        "out_site": "resid_post.2",
        "d_sae": 1024,
        "architecture": "topk",
        "label": "cats & <b>dogs</b>",
        "description": "fires on animals",
        "counted_tokens": 1000,
        "fires": 80,
        "maximum": 4.0,
        "mean": 1.25,
        "histogram": Histogram(edges=np.geomspace(0.1, 4.0, 5), counts=np.array([40, 20, 12, 8])),
        "groups": (top, quantile, silent),
        "raises": (
            TokenEffect(token=" cat", token_id=8, value=1.5),
            TokenEffect(token=" dog", token_id=11, value=0.5),
        ),
        "lowers": (TokenEffect(token=" the", token_id=3, value=-1.25),),
        "logit_histogram": Histogram(edges=np.linspace(-1.25, 1.5, 4), counts=np.array([2, 40, 6])),
        "similar": (
            Neighbour(feature="resid_post.2/3", score=0.75, label="dogs"),
            Neighbour(feature="resid_post.1/90", score=-0.5),
        ),
        "cofiring": (Neighbour(feature="resid_post.2/8", score=0.9),),
        "neurons": (NeuronShare(neuron=5, value=-0.3, share=0.1),),
        "encoder_decoder_cosine": 0.875,
        "sources": (HeadSource(head=1, position=2, value=0.5),),
    }
    return Dashboard(**{**fields, **changes})


_numbers = st.floats(-1e6, 1e6, allow_nan=False)
_positive = st.floats(1e-3, 1e6, allow_nan=False)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
any_texts = st.text(max_size=8)


@st.composite
def contexts(draw, tokens=texts, low=0.0, high=1e6, *, silent=False):
    words = draw(st.lists(tokens, min_size=1, max_size=5))
    if silent:
        values = [0.0] * len(words)
    else:
        values = draw(
            st.lists(
                st.floats(low, high, allow_nan=False), min_size=len(words), max_size=len(words)
            )
        )
        values[0] = max(values[0], max(low, 1e-3))
    return context(words, values, draw(st.integers(0, len(words) - 1)))


@st.composite
def histograms(draw):
    """Bins of equal width, something in them."""
    size = draw(st.integers(2, 12))
    low, width = draw(st.floats(-100, 100)), draw(st.floats(0.5, 10))
    counts = draw(st.lists(st.integers(0, 10**9), min_size=size, max_size=size))
    counts[0] += 1
    return Histogram(edges=low + width * np.arange(size + 1), counts=np.array(counts))


@st.composite
def token_effects(draw):
    return tuple(
        TokenEffect(token=token, token_id=-1, value=value)
        for token, value in draw(st.lists(st.tuples(texts, _numbers), max_size=4))
    )


@st.composite
def plain(draw) -> Dashboard:
    """A dashboard of what SAEDashboard and Neuronpedia files can both hold."""
    counted = draw(st.integers(1, 10**12))
    maximum = draw(_positive)
    groups = []
    if draw(st.booleans()):
        found = tuple(draw(st.lists(contexts(high=maximum), min_size=1, max_size=3)))
        low = min(item.value for item in found)
        groups.append(ContextGroup(kind="top", low=low, high=maximum, total=None, contexts=found))
    edges = sorted(draw(st.sets(st.floats(0.5, 1e5, allow_nan=False), max_size=4)))
    for low, high in itertools.pairwise(edges):
        found = tuple(draw(st.lists(contexts(high=high), min_size=1, max_size=2)))
        total = draw(st.none() | st.integers(0, counted))
        groups.append(ContextGroup(kind="width", low=low, high=high, total=total, contexts=found))
    if draw(st.booleans()):
        found = tuple(draw(st.lists(contexts(silent=True), min_size=1, max_size=2)))
        total = draw(st.none() | st.integers(0, counted))
        groups.append(ContextGroup(kind="silent", low=0.0, high=0.0, total=total, contexts=found))
    seen = [float(item.values.max()) for group in groups for item in group.contexts]
    topped = bool(groups) and groups[0].kind == "top"
    neurons = draw(st.lists(st.tuples(st.integers(0, 999), _numbers, _positive), max_size=3))
    return full(
        provenance=Provenance(
            model="tiny", model_fingerprint="", device="", dtype="", versions={}, created=""
        ),
        feature=f"2-set/{draw(st.integers(0, 10**6))}",
        site="",
        out_site="",
        d_sae=0,
        architecture="",
        label=None,
        description=None,
        counted_tokens=counted,
        fires=draw(st.integers(0, counted)),
        maximum=maximum if topped else max(seen, default=0.0),
        mean=float("nan"),
        histogram=draw(histograms()),
        groups=tuple(groups),
        raises=draw(token_effects()),
        lowers=draw(token_effects()),
        logit_histogram=draw(histograms()),
        similar=(),
        cofiring=(),
        neurons=tuple(NeuronShare(neuron=n, value=v, share=s) for n, v, s in neurons),
        encoder_decoder_cosine=None,
        sources=(),
    )

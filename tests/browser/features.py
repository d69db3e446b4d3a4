"""Small made-up dashboards, so that the feature view can be tested without a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
from browser.readings import HOSTILE

from workbench.features.ablation import NextToken
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

FIRST = ("Elena", "Tomas", "Ada", "Ivo", "Mira", "Jonas", "Petra", "Luka")
LAST = ("Marsh", "Vale", "Ruiz", "Brandt", "Okafor", "Lind", "Novak", "Sato")
BEFORE = (
    " with her club,",
    " the goalkeeper",
    " when asked, coach",
    " after a long transfer saga",
    " fans of the city sang for",
    " on the bench sat",
)
AFTER = (
    " scored twice before the break.",
    " was born in Orlin and grew up there.",
    " praised the young side after the match",
    " to Kestrel United in the summer",
    " left the pitch with an injury",
)


def split(text: str) -> list[str]:
    """Words with the space before them, punctuation apart."""
    words = text.replace(",", " ,").replace(".", " .").split()
    return [word if word in ",." else f" {word}" for word in words]


def context(
    document: int, before: Sequence[str], peak: str, after: Sequence[str], value: float
) -> Context:
    """A context whose strongest token is `peak`; the token before it has a third of its value."""
    tokens = (*before, peak, *after)
    values = np.zeros(len(tokens), np.float32)
    values[len(before)] = value
    if before:
        values[len(before) - 1] = value * 0.35
    ids = np.array([100 + sum(map(ord, token)) % 900 for token in tokens])
    return Context(
        document=document,
        start=3 * (document % 5),
        peak=len(before),
        tokens=tokens,
        token_ids=ids,
        values=values,
    )


def about(seed: int, value: float, *, document: int | None = None) -> Context:
    """A sentence about a player, the same for the same seed."""
    rng = np.random.default_rng(seed)

    def pick(options: Sequence[str]) -> str:
        return options[int(rng.integers(len(options)))]

    before = [*split(pick(BEFORE)), f" {pick(FIRST)}"]
    return context(
        seed if document is None else document, before, f" {pick(LAST)}", split(pick(AFTER)), value
    )


def silent(document: int) -> Context:
    """A context in which the feature does not fire."""
    tokens = tuple(split("the clerk named Elena Vale walked to the market"))
    return Context(
        document=document,
        start=0,
        peak=4,
        tokens=tokens,
        token_ids=np.arange(len(tokens)) + 10,
        values=np.zeros(len(tokens), np.float32),
    )


def histogram(high: float = 8.1, bins: int = 50, total: int = 8611) -> Histogram:
    """Falling counts with a second hump, summing to `total`."""
    x = np.linspace(0, 1, bins)
    shape = np.exp(-x * 5) + 0.05 * np.exp(-(((x - 0.65) / 0.12) ** 2)) + 0.0004
    counts = np.floor(shape / shape.sum() * total).astype(np.int64)
    counts[0] += total - counts.sum()
    return Histogram(edges=np.linspace(0, high, bins + 1), counts=counts)


def logits(low: float = -1.4, high: float = 1.5) -> Histogram:
    """Effects around zero on 4,096 tokens."""
    edges = np.linspace(low, high, 51)
    middle = (edges[1:] + edges[:-1]) / 2
    counts = np.floor(600 * np.exp(-((middle / 0.22) ** 2))).astype(np.int64)
    counts[0], counts[-1] = 1, 2
    return Histogram(edges=edges, counts=counts)


def provenance(**changes: object) -> Provenance:
    """What the made-up numbers claim to rest on."""
    return Provenance(
        **{
            "model": "demo",
            "model_fingerprint": "0123456789abcdef",
            "saes": ("resid_post.2",),
            "token_policy": {"bos": True, "chat": False, "max_length": 512, "overflow": "error"},
            **changes,
        }
    )


def groups(maximum: float = 8.1) -> tuple[ContextGroup, ...]:
    """The top, equal-width and equal-count intervals, and contexts without the feature."""
    top = [about(i, maximum - 0.17 * i) for i in range(19)]
    # The same words in another document: a duplicate on screen.
    top.append(about(3, maximum - 0.17 * 3 - 0.05, document=300))
    top.sort(key=lambda item: -item.value)
    made = [
        ContextGroup(
            kind="top", low=top[-1].value, high=maximum, total=len(top), contexts=tuple(top)
        )
    ]
    for kind, base in (("width", 1000), ("quantile", 2000)):
        for part in range(5):
            low, high = maximum * (4 - part) / 5, maximum * (5 - part) / 5
            if kind == "quantile":
                low, high = low**2 / maximum, high**2 / maximum
            contexts = tuple(
                about(base + 10 * part + i, low + (high - low) * (4 - i) / 5) for i in range(5)
            )
            made.append(
                ContextGroup(
                    kind=kind,
                    low=low,
                    high=high,
                    total=1722 if kind == "quantile" else 40 * 5**part,
                    contexts=contexts,
                    fraction_low=(4 - part) / 5 if kind == "quantile" else None,
                    fraction_high=(5 - part) / 5 if kind == "quantile" else None,
                )
            )
    made.append(
        ContextGroup(
            kind="silent", low=0, high=0, total=None, contexts=(silent(5000), silent(5001))
        )
    )
    return tuple(made)


def effects(pairs: dict[str, float]) -> tuple[TokenEffect, ...]:
    """Token effects in the order given."""
    return tuple(
        TokenEffect(token=token, token_id=50 + i, value=value)
        for i, (token, value) in enumerate(pairs.items())
    )


def player(**changes: object) -> Dashboard:
    """The feature of the drawing the view follows."""
    return Dashboard(
        **{
            "provenance": provenance(),
            "feature": "resid_post.2/417",
            "site": "resid_post.2",
            "out_site": "resid_post.2",
            "d_sae": 1024,
            "architecture": "topk",
            "label": "known player, last name",
            "counted_tokens": 2_100_000,
            "fires": 8611,
            "maximum": 8.1,
            "mean": 2.31,
            "histogram": histogram(),
            "groups": groups(),
            "raises": effects(
                {
                    " plays": 1.31,
                    " club": 1.12,
                    " scored": 0.96,
                    " joined": 0.81,
                    " team": 0.74,
                    " season": 0.7,
                    " goals": 0.66,
                    " striker": 0.61,
                    " side": 0.52,
                    " cup": 0.5,
                }
            ),
            "lowers": effects(
                {
                    " unknown": -1.22,
                    " sorry": -1.05,
                    " unsure": -0.77,
                    " perhaps": -0.7,
                    " nobody": -0.61,
                    " river": -0.5,
                    "\n": -0.42,
                }
            ),
            "logit_histogram": logits(),
            "similar": (
                Neighbour(feature="resid_post.3/77", score=0.81, label="known player"),
                Neighbour(feature="mlp_out.2/640", score=0.66, label="player name"),
                Neighbour(feature="resid_post.2/781", score=-0.58, label="unknown name"),
                Neighbour(feature="resid_post.1/12", score=0.41),
                Neighbour(feature="attn_out.2/250", score=0.33, label="name carried to the verb"),
            ),
            "cofiring": (
                Neighbour(
                    feature="resid_post.2/88",
                    score=0.93,
                    label="sports person in an encyclopedia entry",
                ),
                Neighbour(feature="resid_post.2/902", score=0.71, label="second part of a name"),
                Neighbour(feature="mlp_out.1/5", score=0.0004),
            ),
            "neurons": (
                NeuronShare(neuron=31, value=0.42, share=0.051),
                NeuronShare(neuron=7, value=-0.33, share=0.04),
                NeuronShare(neuron=112, value=0.3, share=0.036),
            ),
            "encoder_decoder_cosine": 0.83,
            **changes,
        }
    )


def attention() -> Dashboard:
    """A partial page of an attention-output feature, with where its activation came from."""
    return player(
        feature="attn_out.2/250",
        site="attn_out.2",
        out_site="attn_out.2",
        label=None,
        complete=False,
        counted_tokens=34_000,
        fires=140,
        sources=(
            HeadSource(head=3, position=2, value=0.82, token=" Elena"),
            HeadSource(head=0, position=1, value=0.31, token=" coach"),
            HeadSource(head=3, position=-4, value=-0.12, token="<s>"),
        ),
    )


def transcoder() -> Dashboard:
    """A transcoder feature: what its encoder reads beside what its decoder writes."""
    return player(
        feature="transcoder.1/9",
        site="mlp_in.1",
        out_site="mlp_out.1",
        architecture="transcoder",
        encoder_decoder_cosine=None,
        description="fires on ` goal` \u2014 described by token statistics (no language model)",
        reads_raised=effects({" goal": 2.1, " cup": 1.4}),
        reads_lowered=effects({" the": -0.8}),
        similar_encoders=(Neighbour(feature="transcoder.1/77", score=0.62, label="reads alike"),),
        stated_density=0.03,
    )


def dead() -> Dashboard:
    """A transcoder feature that never fired."""
    none = Histogram(edges=np.array([0.0, 1.0]), counts=np.zeros(1, np.int64))
    return player(
        feature="transcoder.1/9",
        site="mlp_in.1",
        out_site="mlp_out.1",
        architecture="transcoder",
        label=None,
        fires=0,
        maximum=0.0,
        mean=0.0,
        histogram=none,
        groups=(),
        raises=(),
        lowers=(),
        logit_histogram=none,
        similar=(),
        cofiring=(),
        encoder_decoder_cosine=None,
    )


def unindexed() -> Dashboard:
    """What the weights say, where no index is open."""
    none = Histogram(edges=np.array([0.0, 1.0]), counts=np.zeros(1, np.int64))
    return player(
        counted_tokens=0,
        fires=0,
        maximum=float("nan"),
        mean=float("nan"),
        histogram=none,
        groups=(),
        cofiring=(),
        complete=False,
    )


def hostile() -> Dashboard:
    """Markup, control characters and surrogates wherever text can come from outside."""
    contexts = tuple(
        context(i, HOSTILE[:i], HOSTILE[i], HOSTILE[i + 1 :], 8.0 - i / 4)
        for i in range(len(HOSTILE))
    )
    return player(
        label=HOSTILE[1] + HOSTILE[-1],
        description=HOSTILE[0] + HOSTILE[3],
        groups=(ContextGroup(kind="top", low=1, high=8.1, total=None, contexts=contexts),),
        raises=effects({token: 1.0 - i / 20 for i, token in enumerate(HOSTILE[:10])}),
        lowers=effects({token: -1.0 + i / 20 for i, token in enumerate(HOSTILE[4:])}),
        similar=tuple(
            Neighbour(feature=f"resid_post.2/{i}", score=0.5, label=token)
            for i, token in enumerate(HOSTILE[:6])
        ),
        sources=(HeadSource(head=1, position=0, value=1.0),),
        provenance=provenance(model="<img src=x onerror=window.pwned=9>"),
    )


class Pages:
    """Stands in for the room that makes pages: what it was asked, and made-up answers."""

    def __init__(self) -> None:
        self.asked: list[tuple] = []

    def rooms(self):
        """Modules with these answers, by the name each stands in for."""
        import types

        made = {}
        stands_for = {"page": ("feature", "resample", "with_sources"), "ablation": ("ablate",)}
        for name, functions in stands_for.items():
            made[f"workbench.features.{name}"] = module = types.ModuleType(name)
            for function in functions:
                setattr(module, function, getattr(self, function))
        return made

    def feature(self, session, ref, *, top=20, per_group=5, window=None, sources=True):
        self.asked.append(("feature", str(ref)))
        if ref.index == 999:
            raise ValueError("feature 999 is cursed <b>")
        label = f"neighbour {ref.index}"
        return player(feature=str(ref), label=label, similar=player().similar[1:])

    def resample(self, session, ref, low, high, n=5):
        self.asked.append(("resample", str(ref), low, high))
        contexts = tuple(about(7000 + i, low + (high - low) * i / n) for i in range(n))
        return ContextGroup(kind="brush", low=low, high=high, total=321, contexts=contexts)

    def with_sources(self, session, dashboard):
        self.asked.append(("with_sources", dashboard.feature))
        return dataclasses.replace(dashboard, sources=attention().sources)

    def ablate(self, session, ref, context):
        self.asked.append(("ablate", str(ref), context.document))
        loss = np.linspace(-0.5, 0.5, len(context.tokens))
        loss[0] = np.nan
        after = tuple(
            (NextToken(token=f" next {i}", token_id=i, before=0.5, after=0.25),)
            for i in range(len(context.tokens))
        )
        return SimpleNamespace(loss=loss, next_tokens=after)


def session(policy: dict | None = None) -> SimpleNamespace:
    """A session that reads any text as its words, with the feature firing on capitals."""
    import torch

    def tokens(text, policy=None):
        if not text.strip():
            raise ValueError("the text is empty")
        words = ("<s>", *(f" {word}" for word in text.split()))
        ids = torch.arange(len(words))[None]
        special = torch.zeros_like(ids, dtype=torch.bool)
        special[0, 0] = True
        return SimpleNamespace(ids=ids, special=special, strings=(words,))

    def run(tokens, *, capture, logits):
        assert logits is False
        strength = [
            9.0 if w == "<s>" else float(w[1].isupper()) * len(w) for w in tokens.strings[0]
        ]
        return {site: torch.tensor(strength)[None, :, None] for site in capture}

    sae = SimpleNamespace(
        name="resid_post.2",
        site="resid_post.2",
        source=SimpleNamespace(identifier="release/some/id"),
        encode_features=lambda x, features: x.expand(*x.shape[:-1], len(features)),
    )
    names = ("resid_post.2", "resid_post.3", "mlp_out.2", "resid_post.1")
    return SimpleNamespace(tokens=tokens, run=run, closed=False, saes=dict.fromkeys(names, sae))


def install() -> Pages:
    """Put made-up answers in the place of the room that makes pages, in this process."""
    import sys

    pages = Pages()
    sys.modules.update(pages.rooms())
    return pages

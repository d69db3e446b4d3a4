"""Small made-up readings, so that views can be tested without a model."""

from __future__ import annotations

import numpy as np

from workbench.features.reading import Reading, SaeReading
from workbench.types import Provenance

HOSTILE = (
    "<script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=2>",
    "</script><script>window.pwned=3</script>",
    "</textarea><svg/onload=window.pwned=4>",
    "\u2028window.pwned=5//",
    "javascript:window.pwned=6",
    "{{constructor.constructor('window.pwned=7')()}}",
    "&lt;b&gt;",
    "\ud800",
    "\x00\x07",
    "\n",
    "\t",
    "",
    "\u202eevil",
)


def sae_reading(
    name: str,
    pairs: dict[int, dict[int, float]],
    *,
    labels: dict[int, str] | None = None,
    density: dict[int, float] | None = None,
    raises: dict[int, tuple[str, ...]] | None = None,
    lowers: dict[int, tuple[str, ...]] | None = None,
    d_sae: int = 1024,
) -> SaeReading:
    """One SAE's reading from {feature: {position: value}}."""
    triples = [(at, f, v) for f, values in pairs.items() for at, v in values.items()]
    triples.sort(key=lambda item: (item[0], -item[2]))
    features = sorted(pairs)
    return SaeReading(
        sae=name,
        site=name,
        d_sae=d_sae,
        architecture="topk",
        position=np.array([t[0] for t in triples], np.int64),
        feature=np.array([t[1] for t in triples], np.int64),
        value=np.array([t[2] for t in triples], np.float32),
        features=np.array(features, np.int64),
        density=np.array([(density or {}).get(f, np.nan) for f in features]),
        max_activation=np.array([max(pairs[f].values()) * 1.2 for f in features]),
        labels=tuple((labels or {}).get(f) for f in features),
        raises=tuple((raises or {}).get(f, ()) for f in features),
        lowers=tuple((lowers or {}).get(f, ()) for f in features),
    )


def reading(
    tokens: tuple[str, ...],
    saes: tuple[SaeReading, ...],
    *,
    special: tuple[int, ...] = (0,),
    text: str | None = None,
    next_tokens: tuple[str, ...] = (
        " the",
        " a",
        " Orlin",
        "\n",
        "<b>",
        " of",
        " in",
        ",",
        ".",
        "!",
    ),
) -> Reading:
    """A reading with falling next-token probabilities everywhere."""
    count = len(tokens)
    weights = 0.5 ** np.arange(1, len(next_tokens) + 1)
    predictions = tuple(
        tuple((token, 10 + i, float(weights[i])) for i, token in enumerate(next_tokens))
        for _ in range(count)
    )
    flags = np.zeros(count, bool)
    flags[[at for at in special if at < count]] = True
    return Reading(
        text="".join(tokens[1:]) if text is None else text,
        tokens=tokens,
        token_ids=np.arange(100, 100 + count),
        special=flags,
        log_prob=np.concatenate([[np.nan], -np.linspace(0.1, 6, max(0, count - 1))])[:count],
        next_tokens=predictions,
        saes=saes,
        provenance=Provenance(
            model="demo",
            model_fingerprint="0123456789abcdef",
            saes=tuple(sae.sae for sae in saes),
            token_policy={"bos": True, "chat": False, "max_length": 512, "overflow": "error"},
        ),
    )


def striker() -> Reading:
    """The text of the drawing the prompt view follows."""
    first = sae_reading(
        "resid_post.2",
        {
            417: {2: 0.7, 3: 2.0, 4: 6.42, 5: 0.6},
            88: {2: 3.1, 3: 2.6, 4: 3.1, 5: 2.8, 6: 1.9},
            902: {4: 2.77},
            13: {1: 0.9, 2: 1.0, 3: 1.1, 4: 1.02, 5: 0.8, 6: 0.7},
            7: {0: 48.0, 1: 0.2},
            640: {6: 1.4},
            55: {5: 2.2, 6: 0.4},
            300: {1: 1.9},
        },
        labels={
            417: "known player, last name",
            88: "sports person in an encyclopedia entry",
            902: "second part of a two-part name",
            13: "sentence about one person",
            55: "verb of belonging to a team",
        },
        density={417: 0.0041, 88: 0.0061, 902: 0.0019, 13: 0.087, 7: 0.2, 640: 0.003, 55: 0.004},
        raises={
            417: (" team", " club", " plays"),
            88: (" scored", " joined"),
            902: (" who", " ,"),
            13: (" he", " she"),
            55: (" Kestrel", " Orlin", " the"),
        },
        lowers={417: (" unknown", " sorry")},
    )
    second = sae_reading(
        "attn_out.1", {5: {4: 1.5, 5: 0.5}, 9: {2: 0.8}}, density={5: 0.002, 9: 0.004}, d_sae=512
    )
    return reading(
        ("<s>", "The", " striker", " Elena", " Marsh", " plays", " for"),
        (first, second),
        next_tokens=(
            " Kestrel",
            " Orlin",
            " the",
            " a",
            " her",
            " Vale",
            ",",
            "\n",
            " United",
            ".",
        ),
    )


def hostile() -> Reading:
    """Markup, control characters and surrogates wherever text can come from outside."""
    tokens = ("<s>", *HOSTILE)
    sae = sae_reading(
        "resid_post.0",
        {i: {i % len(tokens): 1.0 + i, (i * 3) % len(tokens): 0.5 + i} for i in range(1, 12)},
        labels={i: HOSTILE[i % len(HOSTILE)] for i in range(1, 12)},
        raises={i: HOSTILE[i % 5 : i % 5 + 4] for i in range(1, 12)},
        lowers={i: HOSTILE[i % 7 : i % 7 + 4] for i in range(1, 12)},
        density=dict.fromkeys(range(1, 12), 0.001),
    )
    return reading(tokens, (sae,), text="".join(HOSTILE), next_tokens=HOSTILE[:10])


def long(count: int = 400, features: int = 3000) -> Reading:
    """Hundreds of tokens and thousands of features, from a fixed seed."""
    rng = np.random.default_rng(0)
    pairs: dict[int, dict[int, float]] = {}
    for at in range(1, count):
        for feature in rng.choice(features, 24, replace=False):
            pairs.setdefault(int(feature), {})[at] = float(rng.gamma(2.0, 1.0))
    density = {f: float(10 ** rng.uniform(-5, -1)) for f in pairs}
    words = [" word", " of", " people", " river", ",", " Elena", ".\n", " and"]
    tokens = ("<s>", *(words[int(rng.integers(len(words)))] for _ in range(count - 1)))
    labels = {f: f"feature number {f}" for f in pairs if f % 3 == 0}
    return reading(tokens, (sae_reading("mlp_out.1", pairs, density=density, labels=labels),))

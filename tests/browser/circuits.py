"""Circuits made up for views: a small one to read, large ones to move."""

from __future__ import annotations

import numpy as np

from workbench.circuits.graph import NODE_KINDS, Circuit, Edges, Nodes
from workbench.types import Provenance

TOKENS = ("⟨bos⟩", "The", "farmers", "that", "the", "girl", "knows")
# site, kind, index, position, layer, effect
_NODES = [
    ("embed", "token", 31, 1, -1, 0.02),
    ("embed", "token", 812, 2, -1, 0.71),
    ("embed", "token", 55, 3, -1, -0.05),
    ("embed", "token", 944, 5, -1, -0.22),
    ("resid_post.0", "feature", 31, 2, 0, 0.62),
    ("resid_post.0", "feature", 12, 5, 0, -0.41),
    ("mlp_out.1", "feature", 88, 2, 1, 0.33),
    ("resid_post.1", "feature", 640, 2, 1, 0.91),
    ("resid_post.1", "error", -1, 3, 1, 0.12),
    ("resid_post.1", "feature", 7, 6, 1, 0.24),
    ("attn_out.2", "feature", 301, 6, 2, 1.12),
    ("resid_post.2", "feature", 640, 6, 2, 1.40),
    ("resid_post.2", "feature", 55, 6, 2, -0.52),
    ("resid_post.2", "feature", 641, 6, 2, 0.38),
    ("resid_post.2", "error", -1, 6, 2, 0.21),
    ("resid_post.3", "feature", 212, 6, 3, 1.84),
    ("resid_post.3", "feature", 9, 6, 3, -0.18),
    ("output", "output", -1, 6, 4, 2.10),
]
_EDGES = [
    (1, 4, 0.66),
    (3, 5, -0.2),
    (4, 6, 0.3),
    (4, 7, 0.55),
    (6, 7, 0.31),
    (7, 10, 0.88),
    (5, 12, -0.4),
    (8, 11, 0.08),
    (9, 11, 0.2),
    (10, 11, 1.02),
    (10, 13, 0.3),
    (11, 15, 0.91),
    (13, 15, 0.38),
    (12, 15, -0.52),
    (14, 15, 0.16),
    (12, 16, -0.1),
    (15, 17, 1.84),
    (16, 17, -0.18),
    (2, 8, 0.03),
]
LABELS = {
    "resid_post.3/212@6": "plural subject",
    "resid_post.2/640@6": "plural noun carried over clause",
    "resid_post.2/641@6": "plural noun carried over clause",
    "resid_post.1/640@2": "plural noun",
    "resid_post.0/31@2": "plural noun",
    "mlp_out.1/88@2": "plural noun",
    "resid_post.2/55@6": "singular noun just before",
}
PROVENANCE = Provenance(
    model="demo",
    model_fingerprint="0f1e2d3c",
    saes=("resid_post.0", "resid_post.1", "resid_post.2", "resid_post.3"),
    token_policy={"bos": True, "chat": False},
    versions={"interp-workbench": "0.1.0"},
    created="2026-01-02T03:04:05+00:00",
)


def nodes(rows) -> Nodes:
    """Nodes from rows of site, kind, index, position, layer, effect."""
    sites = tuple(dict.fromkeys(row[0] for row in rows))
    effect = np.array([row[5] for row in rows], np.float32)
    return Nodes(
        sites=sites,
        site=[sites.index(row[0]) for row in rows],
        kind=[NODE_KINDS.index(row[1]) for row in rows],
        index=[row[2] for row in rows],
        position=[row[3] for row in rows],
        layer=[row[4] for row in rows],
        effect=effect,
        activation=np.abs(effect) * 3 + 0.5,
        patch_activation=np.zeros(len(rows)),
    )


def agreement(rows=_NODES, edges=_EDGES, **changes) -> Circuit:
    """Agreement across a relative clause, as a person would draw it."""
    fields = {
        "provenance": PROVENANCE,
        "nodes": nodes(rows),
        "edges": Edges(
            source=[edge[0] for edge in edges],
            target=[edge[1] for edge in edges],
            weight=[edge[2] for edge in edges],
        ),
        "tokens": TOKENS,
        "prompts": tuple(
            {
                "clean_prefix": f"The farmers that the girl {verb}",
                "patch_prefix": f"The farmer that the girl {verb}",
                "clean_answer": "are",
                "patch_answer": "is",
                "case": "agreement_across_relative_clause",
            }
            for verb in ("knows", "sees")
        ),
        "metric": "logit difference",
        "method": "ig",
        "node_threshold": 0.01,
        "m_clean": -2.5,
        "m_patch": 1.9,
        "n_candidates": 4210,
        **changes,
    }
    return Circuit(**fields)


def large(n: int = 2000, m: int = 20_000, *, layers: int = 6, positions: int = 12, seed: int = 0):
    """A made-up circuit of `n` nodes and `m` edges that run upwards."""
    rng = np.random.default_rng(seed)
    stems = ("attn_out", "mlp_out", "resid_post")
    sites = [f"{stem}.{layer}" for layer in range(layers) for stem in stems]
    place = np.sort(rng.integers(0, len(sites), n - 1))
    rows, seen = [], set()
    for at in place:
        kind = "error" if rng.random() < 0.02 else "feature"
        while True:
            index = -1 if kind == "error" else int(rng.integers(0, 30_000))
            row = (sites[at], kind, index, int(rng.integers(0, positions)), int(at) // 3)
            if row not in seen:
                break
            kind = "feature"
        seen.add(row)
        rows.append((*row, float(rng.laplace(0, 0.2))))
    rows.append(("output", "output", -1, positions - 1, layers, 1.0))
    chosen = nodes(rows)
    ends = np.sort(rng.integers(0, n, (4 * m, 2)), axis=1)
    ends = ends[(chosen.site[ends[:, 0]] != chosen.site[ends[:, 1]])]
    ends = np.unique(ends, axis=0)
    ends = ends[rng.permutation(len(ends))[:m]]
    return agreement(
        rows,
        [
            (int(s), int(t), float(w))
            for (s, t), w in zip(ends, rng.laplace(0, 0.1, len(ends)), strict=True)
        ],
        tokens=tuple(f"word{at}" for at in range(positions)),
    )


def labelled(circuit: Circuit, labels=LABELS) -> Circuit:
    """The same circuit with labels of its own."""
    circuit.__dict__["labels"] = dict(labels)
    return circuit

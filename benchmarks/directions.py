"""Entity recognition: scoring beside its floor, and the whole study on the demo model.

    python benchmarks/directions.py [--entities 2000] [--skip-study] [--json]

Scoring reads every feature of every attached SAE at the last token of each name. Its floor is what
cannot be left out: bare forward passes of the network over the same tokens (no hooks, no
activations kept, stopped nowhere, in the same batches) and one encode of the entities' activations
per SAE. Both run in turn, so that drifts of the machine's speed hit both; figures are medians. The
study is the whole of `session.entities()`: asking, scoring, ranking, baselines, causal tests.
Exit status 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from typing import Any

import torch

SCORING_BAR = 1.3
STUDY_BAR = 60.0


def prompts_of(session: Any, n: int) -> Any:
    """About `n` questions on known and unknown names, with the place of the name."""
    from workbench.demo import world
    from workbench.demo.entities import prompt_style
    from workbench.directions.entities import Entity
    from workbench.directions.entities.prompts import question_prompt, tokenise
    from workbench.directions.entities.styles import attributes_by_type, style_of

    style = style_of(session.model, prompt_style())
    per_type = n // len(world.TYPES)
    entities = []
    for kind in world.TYPES:
        known = [e.name for e in world.known(kind)]
        rest = world.unknown_entities(kind, "train", max(per_type - len(known), 1), 0)
        names = [*known, *(e.name for e in rest)][:per_type]
        entities += [Entity(name=name, type=kind) for name in names]
    about = attributes_by_type(style, entities)
    return tokenise(
        session.model, style, [question_prompt(style, e, about[e.type]) for e in entities]
    )


def floor(session: Any, prompts: Any, saes: list[str], batch_tokens: int) -> float:
    """Seconds of bare passes over the cut prompts and of one encode per SAE."""
    model = session.model
    cut = prompts.cut()
    order = torch.argsort(cut.last, stable=True)
    batches, start = [], 0
    while start < len(cut):
        size = 1
        while (
            start + size < len(cut)
            and (size + 1) * int(cut.last[order[start + size]] + 1) <= batch_tokens
        ):
            size += 1
        batches.append(cut.take(order[start : start + size].tolist()).tokens.ids)
        start += size
    generator = torch.Generator().manual_seed(0)
    acts = {
        name: torch.randn(len(cut), session.saes[name].d_in, generator=generator) for name in saes
    }
    begun = time.perf_counter()
    base = model.network.plain.base_model
    with torch.inference_mode():
        for ids in batches:
            base(ids, use_cache=False)
    for name in saes:
        session.saes[name].encode(acts[name])
    return time.perf_counter() - begun


def scoring(session: Any, n: int, repeats: int) -> dict[str, float]:
    """Median seconds of scoring and of its floor, and the median of their ratios."""
    from workbench.directions.entities.scoring import _BATCH_TOKENS, choose_saes, read_entities

    prompts = prompts_of(session, n)
    saes = list(choose_saes(session))
    for name in saes:
        session.saes[name].load()
    read_entities(session, prompts, saes)
    floor(session, prompts, saes, _BATCH_TOKENS)
    ours, bare = [], []
    for _ in range(repeats):
        begun = time.perf_counter()
        read_entities(session, prompts, saes)
        ours.append(time.perf_counter() - begun)
        bare.append(floor(session, prompts, saes, _BATCH_TOKENS))
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    return {
        "entities": float(len(prompts)),
        "saes": float(len(saes)),
        "scoring": statistics.median(ours),
        "floor": statistics.median(bare),
        "ratio": statistics.median(ratios),
    }


def main() -> None:
    """Measure and print."""
    import workbench as wb

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--skip-study", action="store_true")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    session = wb.open("demo", device="cpu")
    found = scoring(session, chosen.entities, chosen.repeats)
    if not chosen.skip_study:
        begun = time.perf_counter()
        made = session.entities()
        found["study"] = time.perf_counter() - begun
        found["study_auroc"] = float(made.auroc(made.unknown_features[0])["auroc"].min())
    if chosen.json:
        print(json.dumps(found))
    else:
        print(
            f"{found['entities']:.0f} entities, {found['saes']:.0f} SAEs: scoring "
            f"{found['scoring']:.2f} s, bare passes and encodes {found['floor']:.2f} s, "
            f"ratio {found['ratio']:.2f} (bar {SCORING_BAR})"
        )
        if "study" in found:
            print(
                f"whole study: {found['study']:.1f} s (bar {STUDY_BAR:.0f} s), "
                f"best unknown feature's worst AUROC {found['study_auroc']:.3f}"
            )
    if found["ratio"] > SCORING_BAR or found.get("study", 0.0) > STUDY_BAR:
        sys.exit(1)


if __name__ == "__main__":
    main()

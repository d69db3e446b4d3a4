"""What finding concepts costs: reading texts once for all methods, and all methods of one concept.

    python benchmarks/probes.py [--texts 2000] [--rounds 5] [--concepts 3] [--threads 2]

Reading: activations at every `resid_post` and codes of every attached SAE at all own tokens of the
texts, against a floor measured in the same run: the bare forward passes over the same batches with
the same sites captured, plus the encodes of the same tokens. Ratio = read / (passes + encodes),
medians over interleaved rounds. Then seconds for `session.concept` (all methods) per concept, and
for `session.probe` (every SAE, neuron and residual site, the whole sweep of k) on 600 texts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

CONCEPTS = ("topic.gems", "sentiment.positive", "register.formal", "number.plural_subject")


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print one JSON line per claim."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concepts", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    warnings.filterwarnings("ignore")

    import torch

    import workbench as wb
    from workbench.demo import tasks
    from workbench.directions import ConceptSet
    from workbench.directions.activations import capture, select_rows, site_of

    torch.set_num_threads(options.threads)
    session = wb.open("demo", device="cpu")
    rows = tasks.load("sentiment", "train", options.texts)
    texts = [row.text for row in rows]
    names = list(session.saes)
    sites = [f"resid_post.{layer}" for layer in range(session.model.n_layers)]
    saes = [session.saes[name].load() for name in names]
    wanted = list(dict.fromkeys([*sites, *(site_of(sae) for sae in saes)]))

    def read() -> None:
        capture(session, texts, sites=sites, saes=names)

    def floor() -> None:
        tokens = session.tokens(texts)
        own = tokens.mask & ~tokens.special
        for batch in torch.argsort(tokens.mask.sum(1), stable=True).split(64):
            some = select_rows(tokens, batch)
            ran = session.run(some, capture=wanted)
            here = own[batch, : some.ids.shape[1]]
            for sae in saes:
                sae.encode(ran[site_of(sae)][here])

    read()
    floor()
    took: dict[str, list[float]] = {"read": [], "floor": []}
    for number in range(options.rounds):
        pair = [("read", read), ("floor", floor)]
        for what, work in pair if number % 2 else reversed(pair):
            took[what].append(seconds(work))
    medians = {what: statistics.median(times) for what, times in took.items()}
    ratio = medians["read"] / medians["floor"]
    claim = {"what": "read texts for all methods", "texts": options.texts, "saes": len(names)}
    print(json.dumps({**claim, "ratio": round(ratio, 3), "s": round(medians["read"], 3)}))

    for concept in CONCEPTS[: options.concepts]:
        train = tasks.load(f"concept.{concept}", "train", 144)
        given = ConceptSet(
            name=concept,
            positives=[row.text for row in train if row.label],
            negatives=[row.text for row in train if not row.label],
        )
        spent = seconds(lambda given=given: session.concept(given))
        print(json.dumps({"what": "all methods", "concept": concept, "s": round(spent, 2)}))

    some = list(rows)[:600]
    labels = [row.label for row in some]
    spent = seconds(lambda: session.probe([row.text for row in some], labels))
    print(json.dumps({"what": "probe everywhere", "texts": len(some), "s": round(spent, 2)}))
    session.close()


if __name__ == "__main__":
    main()

"""What the bundled weights do, measured: ``python -m workbench.demo.report [--json]``.

Every figure is computed anew from the stored weights. Behaviour and concepts are measured on names
and combinations held out from training, the health of the SAEs on fresh text like that they were
trained on. The list says for each bar what was measured and whether it is reached.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    from workbench.demo.measures.concepts import ConceptFeature
    from workbench.demo.measures.sae_quality import SaeQuality

__all__ = ["Measure", "Report", "main", "measure", "table"]

Log = Callable[[str], None]
F1_BAR = 0.8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measure:
    """One figure against its bar.

    Parameters
    ----------
    name
        What was measured.
    value
        The figure.
    bar
        The figure to reach.
    better
        ``high`` where `value` must be at least `bar`, ``low`` where at most.
    """

    name: str
    value: float
    bar: float
    better: Literal["high", "low"] = "high"

    @property
    def reached(self) -> bool:
        """Whether the figure is on the right side of the bar."""
        return self.value >= self.bar if self.better == "high" else self.value <= self.bar

    def to_dict(self) -> dict[str, Any]:
        """Return name, value, bar and whether it is reached, as JSON-ready data."""
        sign = ">=" if self.better == "high" else "<="
        return {
            "name": self.name,
            "value": self.value,
            "bar": f"{sign} {self.bar:g}",
            "reached": self.reached,
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """All measures, and the details behind those of the SAEs and concepts.

    Parameters
    ----------
    measures
        One per bar.
    qualities
        Every SAE, the control included.
    features
        Every SAE's best feature for every concept, over all tokens of running text.
    set_features
        The same on the concept sets, where only the last token of a text counts.
    concepts
        Every concept of the corpus, those without a feature included.
    seconds
        Time the measuring took.
    """

    measures: tuple[Measure, ...]
    qualities: tuple[SaeQuality, ...]
    features: tuple[ConceptFeature, ...]
    set_features: tuple[ConceptFeature, ...]
    concepts: tuple[str, ...]
    seconds: float


def _knowledge(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, *, unknown: int, seed: int
) -> list[Measure]:
    from workbench.demo.measures.knowledge import ask_about_entities, recall_facts
    from workbench.demo.world import TYPES

    facts = recall_facts(model, tokenizer)
    answers = ask_about_entities(model, tokenizer, unknown_per_type=unknown, seed=seed)
    found = []
    for group in (*TYPES, "all"):

        def chosen(entity_type: str, group: str = group) -> bool:
            return group in ("all", entity_type)

        found += [
            Measure(
                name=f"facts recalled, {group}",
                value=_mean(right for trial, right in facts if chosen(trial.entity.type)),
                bar=0.97,
            ),
            Measure(
                name=f"known entities answered, {group}",
                value=_mean(a.correct for a in answers if a.entity.known and chosen(a.entity.type)),
                bar=0.95,
            ),
            Measure(
                name=f"unknown entities refused, {group}",
                value=_mean(
                    a.refused for a in answers if not a.entity.known and chosen(a.entity.type)
                ),
                bar=0.95,
            ),
        ]
    return found


def _mean(values: Any) -> float:
    numbers = [float(value) for value in values]
    if not numbers:
        msg = "nothing to average: the measure has no trials"
        raise ValueError(msg)
    return sum(numbers) / len(numbers)


def _sae_measures(qualities: Sequence[SaeQuality]) -> list[Measure]:
    found = []
    for quality in qualities:
        if quality.control:
            continue
        found += [
            Measure(name=f"CE-loss score, {quality.name}", value=quality.ce_score, bar=0.95),
            Measure(
                name=f"dead features, {quality.name}", value=quality.dead, bar=0.05, better="low"
            ),
            Measure(name=f"L0, {quality.name}", value=quality.l0, bar=32, better="low"),
            Measure(name=f"FVU, {quality.name}", value=quality.fvu, bar=0.15, better="low"),
        ]
    return found


def measure(
    assets: Path,
    *,
    device: str = "cpu",
    tokens: int = 120_000,
    health_tokens: int = 200_000,
    ce_rows: int = 128,
    texts: int = 80,
    unknown: int = 125,
    seed: int = 0,
    log: Log | None = None,
) -> Report:
    """Measure the model and SAEs stored in a directory.

    Parameters
    ----------
    assets
        Holds ``model/`` and ``saes/<name>/``.
    device
        Where to run.
    tokens
        Tokens of training text (to choose features and thresholds on) and of held-out text.
    health_tokens
        Tokens of fresh text (padding included) for sparsity, reconstruction and dead features.
    ce_rows
        Rows of it for the cross-entropies.
    texts
        Texts per concept set and split.
    unknown
        Held-out unknown names per entity type that are asked about.
    seed
        Seed of the texts and questions; training used other seeds.
    log
        Receives progress lines.

    Returns
    -------
    Report
    """
    from workbench.demo import corpus
    from workbench.demo.measures.behaviour import behaviours
    from workbench.demo.measures.concepts import (
        best_per_concept,
        concept_features,
        concept_set_features,
        encode_rows,
    )
    from workbench.demo.measures.sae_quality import load_saes, measure_saes
    from workbench.demo.tokenizer import build_tokenizer
    from workbench.demo.train import load_model

    log = log or (lambda _line: None)
    started = time.perf_counter()
    model = load_model(assets / "model", device)
    tokenizer = build_tokenizer()
    measures = _knowledge(model, tokenizer, unknown=unknown, seed=seed)
    measures += [
        Measure(name=name, value=value, bar=bar)
        for name, value, bar in behaviours(model, tokenizer, seed=seed)
    ]
    log(f"behaviour measured after {time.perf_counter() - started:.0f} s")

    saes = load_saes(sorted(path for path in (assets / "saes").iterdir() if path.is_dir()), device)
    # Seeds far from the training pieces, which are numbered from 1000.
    train = corpus.labelled_rows("train", 900_001 + seed, tokens)
    test = corpus.labelled_rows("test", 900_001 + seed, tokens)
    # Health is measured on fresh text of the training distribution: the test split holds only
    # combinations the model has learned never to expect, and whatever blurs the model (even
    # removing an MLP) lowers its cross-entropy there.
    fresh = corpus.token_stream("train", 950_001 + seed, health_tokens)
    special = tokenizer.all_special_ids
    qualities = measure_saes(model, saes, fresh, special=special, ce_rows=ce_rows, log=log)
    measures += _sae_measures(qualities)
    log(f"SAE health measured after {time.perf_counter() - started:.0f} s")

    sound = [sae for sae in saes if not sae.control]
    features = concept_features(
        encode_rows(model, sound, train, special=special),
        encode_rows(model, sound, test, special=special),
        log=log,
    )
    log(f"concepts measured after {time.perf_counter() - started:.0f} s")
    set_features = concept_set_features(model, tokenizer, sound, texts=texts, seed=seed)
    for where, found in (("every token", features), ("concept sets", set_features)):
        named = sum(feature.f1 >= F1_BAR for feature in best_per_concept(found).values())
        measures.append(
            Measure(
                name=f"concepts with a feature of F1 >= {F1_BAR}, {where}",
                value=named / len(corpus.CONCEPTS),
                bar=0.8,
            )
        )
    return Report(
        measures=tuple(measures),
        qualities=tuple(qualities),
        features=tuple(features),
        set_features=tuple(set_features),
        concepts=tuple(corpus.CONCEPTS),
        seconds=time.perf_counter() - started,
    )


def labels(report: Report) -> dict[str, dict[str, dict[str, Any]]]:
    """Return, per SAE, the features that stand for a concept on held-out running text.

    Parameters
    ----------
    report
        Every SAE's best feature for every concept is read from here. The concept sets are not:
        a feature may part a concept from most of its rivals and speak for another one too.

    Returns
    -------
    dict
        SAE name to feature index (as text) to ``{"label", "f1", "threshold"}``. A feature that
        is best for several concepts carries the one it detects best.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for feature in sorted(report.features, key=lambda feature: feature.f1):
        if feature.f1 >= F1_BAR:
            found.setdefault(feature.sae, {})[str(feature.feature)] = {
                "label": feature.concept,
                "f1": round(feature.f1, 4),
                "threshold": round(feature.threshold, 6),
            }
    return found


def write_labels(assets: Path, report: Report) -> None:
    """Write ``labels.json`` beside every SAE; empty where no feature stands for a concept."""
    named = labels(report)
    for path in sorted((assets / "saes").iterdir()):
        if path.is_dir():
            entries = dict(sorted(named.get(path.name, {}).items(), key=lambda item: int(item[0])))
            (path / "labels.json").write_text(json.dumps({"features": entries}, indent=1) + "\n")


def table(measures: Sequence[Measure]) -> str:
    """Return the measures as a Markdown table."""
    lines = ["| measure | value | bar | reached |", "| --- | ---: | ---: | --- |"]
    for row in (measure.to_dict() for measure in measures):
        reached = "yes" if row["reached"] else "**no**"
        lines.append(f"| {row['name']} | {row['value']:.4f} | {row['bar']} | {reached} |")
    return "\n".join(lines)


def concept_table(report: Report) -> str:
    """Return every concept with its best features as a Markdown table."""
    from workbench.demo.measures.concepts import best_per_concept

    columns: list[Mapping[str, ConceptFeature]] = [
        best_per_concept(report.features),
        best_per_concept(report.set_features),
    ]
    lines = [
        "| concept | every token: feature | F1 | concept set: feature | F1 |",
        "| --- | --- | ---: | --- | ---: |",
    ]
    for concept in report.concepts:
        cells = []
        for best in columns:
            found = best.get(concept)
            name, score = (
                (f"`{found.sae}/{found.feature}`", f"{found.f1:.2f}") if found else ("–", "–")
            )
            cells += [name, score]
        lines.append(f"| `{concept}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print.

    Parameters
    ----------
    argv
        Command line arguments; those of the process where None.

    Returns
    -------
    int
        Always 0: a bar that is not reached is a figure, not a failure.
    """
    parser = argparse.ArgumentParser(
        prog="python -m workbench.demo.report", description="Measure the demo world's weights."
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    parser.add_argument("--assets", type=Path, help="default: the bundled assets")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--tokens", type=int, default=120_000)
    parser.add_argument("--health-tokens", type=int, default=200_000)
    parser.add_argument("--texts", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--concepts", action="store_true", help="also print the concept table")
    parser.add_argument("--labels", action="store_true", help="write labels.json beside each SAE")
    arguments = parser.parse_args(argv)
    assets = arguments.assets
    if assets is None:
        from workbench.demo import assets_dir

        assets = assets_dir()
    report = measure(
        assets,
        device=arguments.device,
        tokens=arguments.tokens,
        health_tokens=arguments.health_tokens,
        texts=arguments.texts,
        seed=arguments.seed,
        log=lambda line: print(line, file=sys.stderr, flush=True),
    )
    if arguments.labels:
        write_labels(assets, report)
    if arguments.json:
        print(json.dumps([measure.to_dict() for measure in report.measures], indent=1))
    else:
        print(table(report.measures))
        reached = sum(measure.reached for measure in report.measures)
        print(f"\n{reached} of {len(report.measures)} bars reached in {report.seconds:.0f} s")
    if arguments.concepts:
        print("\n" + concept_table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())

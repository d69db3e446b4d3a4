"""Does one feature know which names the model knows? A small trial beside the report.

``python -m workbench.demo.measures.recognition`` prints, for the last token of a name in a
question, how well a single feature of each residual SAE parts known from unknown names, and what
happens to the answers when the difference of the means is added there. Names the features are
scored on are not those they were chosen on.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.demo.measures.sae_quality import StoredSae, load_saes
from workbench.demo.training.sites import read_sites, replaced_site

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    from workbench.demo.world import Entity

__all__ = ["Recognition", "Steered", "auroc", "recognition", "steering"]

STRENGTHS = (0.5, 1.0, 2.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recognition:
    """How well one feature parts known from unknown names of a type at one layer.

    Parameters
    ----------
    layer, entity_type
        Where, and for which names.
    feature
        Index in the SAE ``resid_post.<layer>``.
    speaks_for
        ``known`` or ``unknown``: the class the feature is stronger on.
    auroc
        Area under the ROC curve on names the feature was not chosen on.
    """

    layer: int
    entity_type: str
    feature: int
    speaks_for: str
    auroc: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Steered:
    """What the unknown direction of a layer does to answers.

    Parameters
    ----------
    layer, entity_type
        Where, and for which names.
    strength
        Factor on the norm of the activation; the direction has unit norm.
    known_refused
        Share of known entities refused when the direction is added.
    unknown_answered
        Share of unknown entities not refused when it is subtracted.
    """

    layer: int
    entity_type: str
    strength: float
    known_refused: float
    unknown_answered: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Question:
    ids: tuple[int, ...]
    name_end: int


def auroc(
    positive: Float[np.ndarray, "positives features"],
    negative: Float[np.ndarray, "negatives features"],
) -> Float[np.ndarray, " features"]:
    """Return the area under the ROC curve of every column, ties counted half.

    Parameters
    ----------
    positive, negative
        Scores of the two classes.
    """
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([positive, negative]), axis=0)[: len(positive)].sum(0)
    n, m = len(positive), len(negative)
    area: np.ndarray = (ranks - n * (n + 1) / 2) / (n * m)
    return area


def _questions(
    tokenizer: PreTrainedTokenizerFast, entities: Sequence[Entity], rng: Random
) -> list[_Question]:
    from workbench.demo.drafting import ASSISTANT, USER, words
    from workbench.demo.kinds.entity_chat import QUESTIONS

    found = []
    for entity in entities:
        options = [q for qs in QUESTIONS[entity.type].values() for q in qs]
        before, after = options[rng.randrange(len(options))].split("{N}")
        start = words(before[:1].upper() + before[1:])
        tokens = [USER, *start, *entity.words, *words(after), ASSISTANT, "\n"]
        ids = tokenizer.convert_tokens_to_ids(tokens)
        # One more for BOS, one more for the user's marker.
        end = 1 + len(start) + len(entity.words)
        found.append(_Question(ids=(tokenizer.bos_token_id, *ids), name_end=end))
    return found


def _batch(
    model: LlamaForCausalLM, questions: Sequence[_Question]
) -> tuple[Tensor, Tensor, Tensor]:
    longest = max(len(question.ids) for question in questions)
    ids = torch.full((len(questions), longest), model.config.pad_token_id)
    for row, question in enumerate(questions):
        ids[row, : len(question.ids)] = torch.tensor(question.ids)
    ends = torch.tensor([question.name_end for question in questions])
    last = torch.tensor([len(question.ids) - 1 for question in questions])
    return ids.to(model.device), ends, last


def _activations(
    model: LlamaForCausalLM, questions: Sequence[_Question], layer: int
) -> Float[Tensor, "questions d_model"]:
    ids, ends, _ = _batch(model, questions)
    values = read_sites(model, ids, None, [f"resid_post.{layer}"])[f"resid_post.{layer}"]
    return values[torch.arange(len(ids)), ends].float()


@torch.inference_mode()
def _refused(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    questions: Sequence[_Question],
    layer: int,
    direction: Float[Tensor, " d_model"],
    strength: float,
) -> Bool[np.ndarray, " questions"]:
    from workbench.demo.kinds.entity_chat import REFUSAL_OPENINGS

    ids, ends, last = _batch(model, questions)
    after = (torch.arange(ids.shape[1])[None] >= ends[:, None]).to(model.device)

    def add(x: Tensor) -> Tensor:
        return x + after[..., None] * strength * x.norm(dim=-1, keepdim=True) * direction

    with replaced_site(model, f"resid_post.{layer}", add):
        logits = model(input_ids=ids, use_cache=False).logits
    best = logits[torch.arange(len(ids)), last].argmax(-1).tolist()
    opening = set(tokenizer.convert_tokens_to_ids(list(REFUSAL_OPENINGS)))
    return np.array([token in opening for token in best])


def _split(
    entity_type: str, unknown: int, seed: int
) -> tuple[Sequence[Entity], Sequence[Entity], Sequence[Entity], Sequence[Entity]]:
    """Known and unknown names to choose on, then known and unknown names to score on."""
    from workbench.demo import world

    known = world.known(entity_type)
    return (
        known[::2],
        world.unknown_entities(entity_type, "train", unknown, seed),
        known[1::2],
        world.unknown_entities(entity_type, "test", unknown, seed),
    )


@torch.inference_mode()
def recognition(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    saes: Sequence[StoredSae],
    *,
    unknown: int = 100,
    seed: int = 0,
) -> list[Recognition]:
    """Find the feature of every residual SAE that best parts known from unknown names.

    Parameters
    ----------
    model, tokenizer
        The demo model.
    saes
        SAEs at ``resid_post`` sites.
    unknown
        Unknown names per type to choose on, and as many held-out ones to score on.
    seed
        Seed of names and questions.

    Returns
    -------
    list of Recognition
        One per SAE and type, and per SAE one of type ``all``: a single feature for the four
        types, chosen by and scored by its worst type.
    """
    from workbench.demo.world import TYPES

    rng = Random(f"recognition {seed}")
    groups = {
        entity_type: [
            _questions(tokenizer, names, rng) for names in _split(entity_type, unknown, seed)
        ]
        for entity_type in TYPES
    }
    found = []
    for sae in saes:
        layer = int(sae.site.partition(".")[2])
        chosen_on, scored_on = {}, {}
        for entity_type, parts in groups.items():
            codes = [
                sae.sae.encode(_activations(model, part, layer)).cpu().numpy() for part in parts
            ]
            # Above a half the feature speaks for unknown names, below for known ones.
            chosen_on[entity_type] = auroc(codes[1], codes[0])
            scored_on[entity_type] = auroc(codes[3], codes[2])
        candidates = {**{t: [t] for t in TYPES}, "all": list(TYPES)}
        for name, types in candidates.items():
            chosen = np.stack([chosen_on[t] for t in types])
            strength = np.maximum(chosen.min(0), (1 - chosen).min(0))
            feature = int(strength.argmax())
            unknown_one = bool(chosen[:, feature].min() >= (1 - chosen[:, feature]).min())
            scored = np.array([scored_on[t][feature] for t in types])
            found.append(
                Recognition(
                    layer=layer,
                    entity_type=name,
                    feature=feature,
                    speaks_for="unknown" if unknown_one else "known",
                    auroc=float((scored if unknown_one else 1 - scored).min()),
                )
            )
    return found


@torch.inference_mode()
def steering(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    *,
    unknown: int = 100,
    seed: int = 0,
) -> list[Steered]:
    """Add and subtract the unknown direction from the name's last token on.

    The direction of a layer and type is the difference of the mean activations of unknown and
    known names at the last token of the name, of unit norm, from the names to choose on; refusals
    are counted on the others.

    Parameters
    ----------
    model, tokenizer
        The demo model.
    unknown, seed
        As in `recognition`.
    """
    from workbench.demo.world import TYPES

    rng = Random(f"steering {seed}")
    found = []
    for entity_type in TYPES:
        parts = [_questions(tokenizer, names, rng) for names in _split(entity_type, unknown, seed)]
        for layer in range(model.config.num_hidden_layers):
            known_mean, unknown_mean = (
                _activations(model, part, layer).mean(0) for part in parts[:2]
            )
            direction = torch.nn.functional.normalize(unknown_mean - known_mean, dim=0)
            for strength in STRENGTHS:
                refused = [
                    _refused(model, tokenizer, part, layer, direction, sign * strength).mean()
                    for part, sign in ((parts[2], 1), (parts[3], -1))
                ]
                found.append(
                    Steered(
                        layer=layer,
                        entity_type=entity_type,
                        strength=strength,
                        known_refused=float(refused[0]),
                        unknown_answered=float(1 - refused[1]),
                    )
                )
    return found


def _tables(recognised: Sequence[Recognition], steered: Sequence[Steered]) -> str:
    types = list(dict.fromkeys(r.entity_type for r in recognised))
    lines = [
        "| layer | " + " | ".join(types) + " |",
        "| --- |" + " --- |" * len(types),
    ]
    for layer in sorted({r.layer for r in recognised}):
        cells = [
            f"{r.auroc:.3f} (`{r.feature}`, {r.speaks_for})" for r in recognised if r.layer == layer
        ]
        lines.append(f"| {layer} | " + " | ".join(cells) + " |")
    types = list(dict.fromkeys(s.entity_type for s in steered))
    lines += [
        "",
        "| layer | strength | " + " | ".join(types) + " |",
        "| --- | --- |" + " --- |" * len(types),
    ]
    for layer, strength in sorted({(s.layer, s.strength) for s in steered}):
        cells = [
            f"{s.known_refused:.0%} / {s.unknown_answered:.0%}"
            for s in steered
            if (s.layer, s.strength) == (layer, strength)
        ]
        lines.append(f"| {layer} | {strength:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Print both tables.

    Parameters
    ----------
    argv
        Command line arguments; those of the process where None.
    """
    from workbench.demo import assets_dir
    from workbench.demo.tokenizer import build_tokenizer
    from workbench.demo.train import load_model

    parser = argparse.ArgumentParser(description="Known and unknown names in the demo model.")
    parser.add_argument("--assets", type=Path, default=assets_dir())
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    model = load_model(arguments.assets / "model", arguments.device)
    layers = range(model.config.num_hidden_layers)
    paths = [arguments.assets / "saes" / f"resid_post.{layer}" for layer in layers]
    tokenizer = build_tokenizer()
    recognised = recognition(
        model, tokenizer, load_saes(paths, arguments.device), seed=arguments.seed
    )
    print(_tables(recognised, steering(model, tokenizer, seed=arguments.seed)))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())

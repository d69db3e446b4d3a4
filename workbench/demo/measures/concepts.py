"""Which labelled concepts have a feature of their own, measured on held-out text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool
from scipy import sparse

from workbench.demo.measures.detection import best_detectors, detector_f1
from workbench.demo.measures.sae_quality import StoredSae
from workbench.demo.training.language_model import document_mask
from workbench.demo.training.sites import read_sites

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    from workbench.demo.corpus import LabelledRows

__all__ = [
    "ConceptFeature",
    "SparseCodes",
    "best_per_concept",
    "concept_features",
    "concept_set_features",
    "encode_rows",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SparseCodes:
    """Sparse codes of labelled text, special tokens left out.

    Parameters
    ----------
    codes
        SAE name to activations, shape (tokens, d_sae), in column-major sparse form.
    labels
        Labels, shape (tokens, concepts).
    concepts
        Names of the columns of `labels`.
    """

    codes: dict[str, sparse.csc_matrix]
    labels: sparse.csc_matrix
    concepts: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConceptFeature:
    """One SAE's best single feature for one concept.

    Parameters
    ----------
    concept, sae, feature
        What stands for what.
    threshold
        The feature speaks where its activation is greater; chosen on training text.
    train_f1, f1
        F1 over all tokens of training and of held-out text.
    positives
        Held-out tokens with the label.
    """

    concept: str
    sae: str
    feature: int
    threshold: float
    train_f1: float
    f1: float
    positives: int


def _word_tokens(rows: LabelledRows, special: Sequence[int]) -> Bool[np.ndarray, "rows context"]:
    return ~np.isin(rows.ids, list(special))


@torch.inference_mode()
def encode_rows(
    model: LlamaForCausalLM,
    saes: Sequence[StoredSae],
    rows: LabelledRows,
    *,
    special: Sequence[int],
    batch_rows: int = 64,
) -> SparseCodes:
    """Encode labelled rows with every SAE.

    Parameters
    ----------
    model
        The demo model.
    saes
        SAEs to encode with.
    rows
        Packed labelled text.
    special
        Ids of special tokens; they are left out.
    batch_rows
        Rows per forward pass.

    Returns
    -------
    SparseCodes
        Never holds a dense matrix of more than one batch.
    """
    kept = _word_tokens(rows, special)
    number = np.cumsum(kept.ravel()) - 1
    row, position, concept = rows.marks.T
    marked = kept[row, position]
    tokens = number[row[marked] * rows.ids.shape[1] + position[marked]]
    labels = sparse.csc_matrix(
        (np.ones(len(tokens), dtype=bool), (tokens, concept[marked])),
        shape=(int(kept.sum()), len(rows.concepts)),
    )
    bos = model.config.bos_token_id
    sites = list(dict.fromkeys(sae.site for sae in saes))
    parts: dict[str, list[sparse.csr_matrix]] = {sae.name: [] for sae in saes}
    for start in range(0, len(rows.ids), batch_rows):
        piece = slice(start, start + batch_rows)
        ids = torch.from_numpy(rows.ids[piece].astype(np.int64)).to(model.device)
        values = read_sites(model, ids, document_mask(ids, bos), sites)
        chosen = torch.from_numpy(kept[piece]).to(model.device)
        for sae in saes:
            acts = sae.sae.encode(values[sae.site][chosen])
            parts[sae.name].append(sparse.csr_matrix(acts.float().cpu().numpy()))
    codes = {name: sparse.vstack(part).tocsc() for name, part in parts.items()}
    return SparseCodes(codes=codes, labels=labels, concepts=rows.concepts)


def concept_features(
    train: SparseCodes, test: SparseCodes, *, log: Callable[[str], None] | None = None
) -> list[ConceptFeature]:
    """Find each SAE's best feature for each concept.

    Feature and threshold are chosen on `train`, the score that counts is measured on `test`:
    every word token without the label is a negative, whatever the kind of text.

    Parameters
    ----------
    train, test
        Codes of training and of held-out text.
    log
        Receives one line per SAE.

    Returns
    -------
    list of ConceptFeature
        For every SAE and concept that occurs in both texts.
    """
    positives = np.asarray(test.labels.sum(0)).ravel()
    found = []
    for name, codes in train.codes.items():
        detectors = best_detectors(codes, train.labels)
        scores = detector_f1(test.codes[name], test.labels, detectors)
        for detector, score in zip(detectors, scores, strict=True):
            if np.isnan(score) or detector.f1 <= 0:
                continue
            found.append(
                ConceptFeature(
                    concept=train.concepts[detector.concept],
                    sae=name,
                    feature=detector.feature,
                    threshold=detector.threshold,
                    train_f1=detector.f1,
                    f1=float(score),
                    positives=int(positives[detector.concept]),
                )
            )
        if log is not None:
            log(f"{name}: {int(np.sum(scores >= 0.8))} concepts with a feature of F1 >= 0.8")
    return found


def best_per_concept(found: Sequence[ConceptFeature]) -> dict[str, ConceptFeature]:
    """Return each concept's feature with the highest F1 on training text, over all SAEs."""
    best: dict[str, ConceptFeature] = {}
    for feature in found:
        held = best.get(feature.concept)
        if held is None or feature.train_f1 > held.train_f1:
            best[feature.concept] = feature
    return best


@torch.inference_mode()
def _last_codes(
    model: LlamaForCausalLM,
    saes: Sequence[StoredSae],
    texts: Sequence[Sequence[int]],
    *,
    batch: int = 128,
) -> dict[str, sparse.csc_matrix]:
    """Encode the last token of each text; rows follow `texts`."""
    sites = list(dict.fromkeys(sae.site for sae in saes))
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    parts: dict[str, list[sparse.csr_matrix]] = {sae.name: [] for sae in saes}
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        ids = torch.full(
            (len(chosen), max(len(texts[index]) for index in chosen)), model.config.pad_token_id
        )
        for row, index in enumerate(chosen):
            ids[row, : len(texts[index])] = torch.tensor(texts[index])
        ends = torch.tensor([len(texts[index]) - 1 for index in chosen])
        # Padding is on the right, so the causal mask alone keeps it out of sight.
        values = read_sites(model, ids.to(model.device), None, sites)
        for sae in saes:
            last = values[sae.site][torch.arange(len(chosen)), ends]
            parts[sae.name].append(sparse.csr_matrix(sae.sae.encode(last).float().cpu().numpy()))
    back = np.argsort(order)
    return {name: sparse.vstack(part).tocsr()[back].tocsc() for name, part in parts.items()}


def concept_set_features(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    saes: Sequence[StoredSae],
    *,
    texts: int,
    seed: int,
) -> list[ConceptFeature]:
    """Find each SAE's best feature on the concept sets of `workbench.demo.tasks`.

    A set has as many texts with the concept as without, half of the latter of the same kind of
    text; only the last token of a text counts. So this asks whether a feature parts a concept
    from its rivals, where `concept_features` asks whether it is silent everywhere else too.

    Parameters
    ----------
    model, tokenizer
        The demo model.
    saes
        SAEs to search.
    texts
        Texts per concept and split.
    seed
        Seed of the texts.

    Returns
    -------
    list of ConceptFeature
        For every concept and SAE; feature and threshold from the training texts, F1 on the
        held-out ones.
    """
    from workbench.demo import corpus, tasks

    sets = {
        (concept, split): tasks.load(f"concept.{concept}", split, texts, seed).examples
        for concept in corpus.CONCEPTS
        for split in ("train", "test")
    }
    everything = [
        tokenizer(example.text)["input_ids"] for part in sets.values() for example in part
    ]
    codes = {name: code.tocsr() for name, code in _last_codes(model, saes, everything).items()}
    starts = dict(zip(sets, np.cumsum([0, *map(len, sets.values())]), strict=False))
    found = []
    for concept in corpus.CONCEPTS:
        parts = {}
        for split in ("train", "test"):
            examples = sets[concept, split]
            start = starts[concept, split]
            labels = np.array([[bool(example.label)] for example in examples])
            parts[split] = slice(start, start + len(examples)), sparse.csc_matrix(labels)
        for name, code in codes.items():
            (train, train_labels), (test, test_labels) = parts["train"], parts["test"]
            [detector] = best_detectors(code[train].tocsc(), train_labels)
            [score] = detector_f1(code[test].tocsc(), test_labels, [detector])
            found.append(
                ConceptFeature(
                    concept=concept,
                    sae=name,
                    feature=detector.feature,
                    threshold=detector.threshold,
                    train_f1=detector.f1,
                    f1=float(score),
                    positives=int(test_labels.sum()),
                )
            )
    return found

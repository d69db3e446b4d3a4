"""The toy model as an object: prompts, truth, and the circuit as intended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from workbench.demo.toy import construction
from workbench.demo.toy.arithmetic import Network, forward
from workbench.demo.toy.construction import ADVERBS, ANIMALS, PREPOSITIONS, THINGS, WORDS
from workbench.demo.toy.dictionaries import Dictionary
from workbench.demo.toy.files import write_dictionary, write_model
from workbench.demo.toy.truth import Endpoint, Method, Metric, Truth, true_circuit
from workbench.errors import InputError, TokenError, unknown


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two prompts of equal length that differ in the number of the animal.

    Answers carry a leading space, as in the published data of sparse feature circuits.
    """

    clean_prefix: str
    patch_prefix: str
    clean_answer: str
    patch_answer: str
    case: str


@dataclass(frozen=True, kw_only=True)
class Edge:
    """An edge between two named features, each at a position (0 is the first token)."""

    upstream: str
    upstream_feature: str
    upstream_position: int
    downstream: str
    downstream_feature: str
    downstream_position: int


@dataclass(frozen=True, kw_only=True)
class SavedToy:
    """Where the files are.

    Attributes
    ----------
    model_dir
        Hugging Face directory.
    sae_dirs
        Dictionary name to SAELens directory, ``transcoder.0`` included.
    """

    model_dir: Path
    sae_dirs: Mapping[str, Path]


@dataclass(frozen=True, kw_only=True)
class ToyModel:
    """A transformer and dictionaries with hand-set weights, and the truth about them.

    Attributes
    ----------
    network
        Weights in float64, each of them exactly representable in float32.
    dictionaries
        By the name they are attached under: one per site, and ``transcoder.0``, which may stand
        in for ``mlp_out.0``.
    pairs
        Contrast pairs: ``simple`` (4 tokens with the beginning-of-sequence token) and ``pp``
        (7 tokens, with a distractor of either number).
    """

    network: Network
    dictionaries: Mapping[str, Dictionary]
    pairs: tuple[Pair, ...]

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the dictionaries in use by default: one per site, no transcoder."""
        return tuple(name for name in self.dictionaries if not name.startswith("transcoder"))

    def ids(self, text: str) -> Int[np.ndarray, " pos"]:
        """Token ids of a prompt, beginning-of-sequence token first.

        Raises
        ------
        TokenError
            A word the toy world does not have.
        """
        for word in text.split():
            if word not in WORDS:
                raise TokenError(unknown("word of the toy world", word, WORDS))
        return np.array([WORDS.index("<s>"), *(WORDS.index(word) for word in text.split())])

    def logits(self, text: str) -> Float[np.ndarray, "pos vocab"]:
        """Logits of a prompt in float64."""
        return forward(self.network, self.ids(text)).logits

    def designed_edges(self, pair: Pair) -> tuple[Edge, ...]:
        """List the edges of the circuit as intended, for a pair of prompts.

        They run between the features that are active on the clean prompt: to first order an edge
        into a feature that is silent there is zero, and what it would carry shows as an edge into
        the error node. The exact weights are those of :meth:`truth`, which has many more edges.
        """
        number = pair.case.rpartition("_")[2]
        noun, last = 2, len(pair.clean_prefix.split())  # <s> the ANIMAL ... ADVERB
        subject, expects = f"subject_{number}", f"expects_{number}"
        rows = [
            ("embed", number, noun, "attn_out.0", subject),
            ("attn_out.0", subject, last, "mlp_out.0", expects),
            ("mlp_out.0", expects, last, "resid_post.0", expects),
            ("resid_post.0", expects, last, "attn_out.1", expects),
            ("resid_post.0", expects, last, "mlp_out.1", expects),
            ("resid_post.0", expects, last, "resid_post.1", expects),
            ("attn_out.1", expects, last, "resid_post.1", expects),
            ("mlp_out.1", expects, last, "resid_post.1", expects),
        ]
        return tuple(
            Edge(
                upstream=upstream,
                upstream_feature=feature,
                upstream_position=position,
                downstream=downstream,
                downstream_feature=target,
                downstream_position=last,
            )
            for upstream, feature, position, downstream, target in rows
        )

    def truth(
        self,
        pair: Pair,
        *,
        method: Method = "ig",
        metric: Metric = "logit_difference",
        steps: int = 10,
        endpoint: Endpoint = "clean",
        paired: bool = True,
        sites: Iterable[str] | None = None,
    ) -> Truth:
        """Compute the true circuit for a pair of prompts.

        Parameters
        ----------
        pair
            The prompts and answers.
        method, metric, steps, endpoint
            As in :func:`workbench.demo.toy.truth.true_circuit`.
        paired
            False takes the zero baseline in place of the patch prompt.
        sites
            Names of the dictionaries in use; one per site. All SAEs by default.

        Raises
        ------
        InputError
            An unknown name, or two dictionaries that write the same site.
        """
        names = list(self.sites if sites is None else sites)
        for name in names:
            if name not in self.dictionaries:
                raise InputError(unknown("dictionary", name, self.dictionaries))
        chosen = [self.dictionaries[name] for name in names]
        if len({each.site for each in chosen}) < len(chosen):
            raise InputError(f"got two dictionaries for one site in {names}, expected one per site")
        return true_circuit(
            self.network,
            chosen,
            self.ids(pair.clean_prefix),
            self.ids(pair.patch_prefix) if paired else None,
            clean_answer=WORDS.index(pair.clean_answer.strip()),
            patch_answer=WORDS.index(pair.patch_answer.strip()),
            method=method,
            metric=metric,
            steps=steps,
            endpoint=endpoint,
        )

    def save(self, folder: Path | str) -> SavedToy:
        """Write the model in Hugging Face layout and the dictionaries in SAELens layout.

        Parameters
        ----------
        folder
            Made if missing; gets ``model/`` and ``saes/<name>/``.
        """
        folder = Path(folder)
        model_dir = folder / "model"
        model_dir.mkdir(parents=True, exist_ok=True)
        write_model(self.network, model_dir)
        sae_dirs = {}
        for name, dictionary in self.dictionaries.items():
            sae_dirs[name] = folder / "saes" / name
            sae_dirs[name].mkdir(parents=True, exist_ok=True)
            write_dictionary(dictionary, sae_dirs[name])
        return SavedToy(model_dir=model_dir, sae_dirs=sae_dirs)


def build(seed: int = 0) -> ToyModel:
    """Build the toy model.

    Parameters
    ----------
    seed
        Draws the word-specific values that make up the error terms; the circuit is the same for
        every seed, its exact numbers are not.
    """
    return ToyModel(
        network=construction.make_network(seed),
        dictionaries=construction.make_dictionaries(),
        pairs=_pairs(),
    )


def _pairs() -> tuple[Pair, ...]:
    found = []
    for number, (singular, plural) in enumerate(ANIMALS):
        adverb = ADVERBS[number % len(ADVERBS)]
        frames = [("simple", "the {} " + adverb)]
        preposition = PREPOSITIONS[number % len(PREPOSITIONS)]
        frames += [
            (f"pp_{kind}", f"the {{}} {preposition} the {thing} {adverb}")
            for kind, thing in zip(("singular", "plural"), THINGS[number], strict=True)
        ]
        for case, frame in frames:
            one, many = frame.format(singular), frame.format(plural)
            found += [
                Pair(
                    clean_prefix=clean,
                    patch_prefix=patch,
                    clean_answer=" " + right,
                    patch_answer=" " + wrong,
                    case=f"{case}_from_{number_name}",
                )
                for clean, patch, right, wrong, number_name in (
                    (one, many, "runs", "run", "singular"),
                    (many, one, "run", "runs", "plural"),
                )
            ]
    return tuple(found)

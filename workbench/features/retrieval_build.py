"""Max-pooled codes of documents, computed part by part and turned into an inverted index.

One pass of the model reads each token once for all chosen SAEs and stops at the deepest site. A
document's code is the largest activation of each feature over the document's own tokens (Jiang et
al., "SAE embeddings of documents"). Parts hold whole documents and are written whole or not at
all, so a build that was killed goes on with the first part that is missing. Memory is bounded by
one part and, while postings are sorted, by the postings of a chunk of features.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from workbench.errors import LoadError
from workbench.features.index import disk
from workbench.features.index.scan import site_of
from workbench.model.tokens import Tokens

if TYPE_CHECKING:
    from workbench.features.index.queries import FeatureIndex
    from workbench.features.index.rows import RowBlock
    from workbench.model.model import Model
    from workbench.saes.sae import Sae

__all__ = ["PREVIEW", "Piece", "build", "pieces_of_blocks", "pieces_of_index"]

PREVIEW = 32
"""First tokens kept of each document, to show it by."""

_SORTED_AT_ONCE = 4_000_000
_ARRAYS = {
    "row_offsets": np.int64,
    "row_features": np.int32,
    "row_values": np.float32,
    "offsets": np.int64,
    "documents": np.int32,
    "values": np.float32,
    "preview": np.int32,
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """Rows of consecutive whole documents.

    Parameters
    ----------
    ids, special, document
        Tokens row after row, which are not the documents' own text, and whose they are.
    offsets
        Where each row begins, and the end.
    first_document, next_document
        Numbers of the first document and of the one behind the last.
    digest
        Changes with the tokens.
    """

    ids: Int[np.ndarray, " tokens"]
    special: Bool[np.ndarray, " tokens"]
    document: Int[np.ndarray, " tokens"]
    offsets: Int[np.ndarray, " rows_plus_one"]
    first_document: int
    next_document: int
    digest: str


def pieces_of_blocks(blocks: Iterable[RowBlock]) -> Iterator[Piece]:
    """Turn blocks of a corpus, which hold whole documents, into pieces."""
    for block in blocks:
        yield Piece(
            ids=block.ids.astype(np.int64),
            special=block.special,
            document=block.document.astype(np.int64),
            offsets=block.offsets,
            first_document=block.first_document,
            next_document=block.next_document,
            digest=block.digest,
        )


def pieces_of_index(index: FeatureIndex, part_tokens: int) -> Iterator[Piece]:
    """Cut an index's own rows into pieces of at least `part_tokens` tokens."""
    starts = np.asarray(index.rows, dtype=np.int64)
    runs = np.asarray(index.runs)
    begins, owners = runs[:, 0], runs[:, 1]
    row = first = 0
    while row < len(starts) - 1:
        stop = int(np.searchsorted(starts, starts[row] + part_tokens))
        stop = min(max(stop, row + 1), len(starts) - 1)
        # A document that goes on in the next row belongs to this piece.
        while stop < len(starts) - 1 and _owner(begins, owners, starts[stop]) == _owner(
            begins, owners, starts[stop] - 1
        ):
            stop += 1
        low, high = int(starts[row]), int(starts[stop])
        at = np.searchsorted(begins, np.arange(low, high), side="right") - 1
        last = stop == len(starts) - 1
        behind = index.n_documents if last else _owner(begins, owners, high)
        ids = np.asarray(index.tokens[low:high]).astype(np.int64)
        yield Piece(
            ids=ids,
            special=np.asarray(index.special[low:high]),
            document=owners[at].astype(np.int64),
            offsets=starts[row : stop + 1] - low,
            first_document=first,
            next_document=behind,
            digest=hashlib.blake2b(ids.tobytes(), digest_size=16).hexdigest(),
        )
        row, first = stop, behind


def _owner(begins: np.ndarray, owners: np.ndarray, token: int) -> int:
    return int(owners[np.searchsorted(begins, token, side="right") - 1])


def build(
    model: Model,
    saes: Sequence[Sae],
    pieces: Iterable[Piece],
    folder: Path,
    about: Mapping[str, Any],
    *,
    batch_tokens: int,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Compute what is missing and write the inverted index.

    Parameters
    ----------
    model, saes
        What encodes.
    pieces
        The documents, in order.
    folder
        Where to; parts of an earlier build with the same `about` are taken over.
    about
        What the codes are of; becomes part of ``manifest.json``.
    batch_tokens
        Most tokens in a pass.
    progress
        Called after each part with its number of tokens.

    Raises
    ------
    WorkbenchError
        Another build is writing there.
    """
    parts = folder / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    with disk.held(folder):
        if _begun(folder) != about:
            disk.remove(parts)
            parts.mkdir()
            disk.write_json(folder / "build.json", dict(about))
        count = 0
        for piece in pieces:
            path = parts / f"{count:06d}.npz"
            if not _done(path, piece):
                document, feature, value = _pooled(model, saes, piece, batch_tokens)
                with disk.whole_file(path) as file:
                    np.savez(
                        file,
                        document=document,
                        feature=feature,
                        value=value,
                        preview=_preview(piece),
                        digest=np.array(piece.digest),
                        documents=np.array([piece.first_document, piece.next_document]),
                    )
            count += 1
            if progress is not None:
                progress(len(piece.ids))
        n_features = sum(sae.d_sae for sae in saes)
        files = [parts / f"{number:06d}.npz" for number in range(count)]
        sizes = _assemble(folder, files, n_features)
        disk.write_json(folder / "manifest.json", {**about, "files": sizes})
        disk.remove(parts)
        (folder / "build.json").unlink(missing_ok=True)


def _begun(folder: Path) -> Any:
    import json

    path = folder / "build.json"
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LoadError(f"{str(path)!r} is damaged: {error}; remove the folder") from error


def _done(path: Path, piece: Piece) -> bool:
    if not path.is_file():
        return False
    with np.load(path, allow_pickle=False) as part:
        return str(part["digest"]) == piece.digest


def _pooled(
    model: Model, saes: Sequence[Sae], piece: Piece, batch_tokens: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Largest activation of each feature in each document: sorted by document, then feature."""
    lengths = np.diff(piece.offsets)
    rows = np.argsort(lengths, kind="stable")
    keys: list[Tensor] = []
    values: list[Tensor] = []
    total = sum(sae.d_sae for sae in saes)
    done = 0
    while done < len(rows):
        padded = np.arange(1, len(rows) - done + 1) * lengths[rows[done:]]
        count = max(1, int(np.searchsorted(padded, batch_tokens, side="right")))
        key, value = _codes(model, saes, piece, rows[done : done + count], total)
        keys.append(key)
        values.append(value)
        done += count
    if not keys:
        return np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32)
    key, value = _largest(torch.cat(keys), torch.cat(values))
    found = key.numpy()
    return (
        (found // total).astype(np.int32),
        (found % total).astype(np.int32),
        value.numpy().astype(np.float32),
    )


@torch.inference_mode()
def _codes(
    model: Model, saes: Sequence[Sae], piece: Piece, rows: np.ndarray, total: int
) -> tuple[Tensor, Tensor]:
    lengths = np.diff(piece.offsets)[rows]
    column = np.arange(int(lengths.max()))
    mask = column < lengths[:, None]
    index = piece.offsets[rows][:, None] + np.minimum(column, lengths[:, None] - 1)
    real = torch.from_numpy(mask)
    own = torch.from_numpy(mask & ~piece.special[index])
    tokens = Tokens(
        ids=torch.from_numpy(piece.ids[index]),
        mask=real,
        special=~own,
        policy=model.policy,
        strings=(),
    )
    ran = model.run(tokens, capture=list(dict.fromkeys(site_of(sae).name for sae in saes)))
    document = torch.from_numpy(piece.document[index]).flatten()
    keys, values, base = [], [], 0
    for sae in saes:
        acts = sae.encode(ran[site_of(sae)]).to("cpu")
        place = acts.rows()
        kept = own.flatten()[place]
        keys.append(document[place[kept]] * total + base + acts.indices[kept].long())
        values.append(acts.values[kept].float())
        base += sae.d_sae
    return _largest(torch.cat(keys), torch.cat(values))


def _largest(key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    unique, inverse = torch.unique(key, return_inverse=True)
    lowest = torch.full(unique.shape, -torch.inf)
    return unique, lowest.scatter_reduce(0, inverse, value, "amax")


def _preview(piece: Piece) -> Int[np.ndarray, "documents preview"]:
    first = np.full((piece.next_document - piece.first_document, PREVIEW), -1, dtype=np.int32)
    own = np.flatnonzero(~piece.special)
    document = piece.document[own] - piece.first_document
    # Tokens come document after document, so the rank within one is the distance to its first.
    begin = np.searchsorted(document, document)
    rank = np.arange(len(own)) - begin
    kept = rank < PREVIEW
    first[document[kept], rank[kept]] = piece.ids[own[kept]]
    return first


def _assemble(folder: Path, parts: Sequence[Path], n_features: int) -> dict[str, int]:
    """Write both orders of the codes: by document, and by feature with falling activation."""
    counts = np.zeros(n_features, dtype=np.int64)
    entries = documents = 0
    for path in parts:
        with np.load(path, allow_pickle=False) as part:
            counts += np.bincount(part["feature"], minlength=n_features)
            entries += len(part["feature"])
            documents = int(part["documents"][1])
    shapes: dict[str, tuple[int, ...]] = {
        "row_offsets": (documents + 1,),
        "row_features": (entries,),
        "row_values": (entries,),
        "offsets": (n_features + 1,),
        "documents": (entries,),
        "values": (entries,),
        "preview": (documents, PREVIEW),
    }
    arrays = {
        name: np.lib.format.open_memmap(
            folder / f"{name}.npy", mode="w+", dtype=kind, shape=shapes[name]
        )
        for name, kind in _ARRAYS.items()
    }
    arrays["offsets"][1:] = np.cumsum(counts)
    cursor = np.asarray(arrays["offsets"][:-1]).copy()
    per_document = np.zeros(documents, dtype=np.int64)
    done = 0
    for path in parts:
        with np.load(path, allow_pickle=False) as part:
            document, feature, value = part["document"], part["feature"], part["value"]
            first, behind = (int(number) for number in part["documents"])
            arrays["preview"][first:behind] = part["preview"]
        arrays["row_features"][done : done + len(feature)] = feature
        arrays["row_values"][done : done + len(feature)] = value
        done += len(feature)
        per_document += np.bincount(document, minlength=documents)
        order = np.argsort(feature, kind="stable")
        chosen, start, size = np.unique(feature[order], return_index=True, return_counts=True)
        rank = np.arange(len(order)) - np.repeat(start, size)
        place = cursor[feature[order]] + rank
        arrays["documents"][place] = document[order]
        arrays["values"][place] = value[order]
        cursor[chosen] += size
    arrays["row_offsets"][1:] = np.cumsum(per_document)
    _sort_postings(arrays["offsets"], arrays["documents"], arrays["values"])
    for array in arrays.values():
        array.flush()
    names = [f"{name}.npy" for name in arrays]
    arrays.clear()
    return {name: (folder / name).stat().st_size for name in names}


def _sort_postings(offsets: np.ndarray, documents: np.ndarray, values: np.ndarray) -> None:
    """Order each feature's postings by falling activation, ties by document."""
    feature = 0
    last = len(offsets) - 1
    while feature < last:
        stop = int(np.searchsorted(offsets, offsets[feature] + _SORTED_AT_ONCE, side="right")) - 1
        stop = min(max(stop, feature + 1), last)
        span = slice(int(offsets[feature]), int(offsets[stop]))
        owner = np.repeat(np.arange(feature, stop), np.diff(offsets[feature : stop + 1]))
        order = np.lexsort((documents[span], -values[span], owner))
        documents[span] = documents[span][order]
        values[span] = values[span][order]
        feature = stop

"""`DocumentCodes`: an inverted index of max-pooled codes, searched exactly or approximately."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from workbench.errors import InputError, LoadError, SaeError, unknown
from workbench.features.refs import FeatureRef

if TYPE_CHECKING:
    from scipy import sparse

    from workbench.session import Session

__all__ = ["DocumentCodes", "Found"]

SCHEMA = 1
KIND = "document codes"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """The documents with the highest scores.

    Parameters
    ----------
    documents, scores
        Numbers and scores, by falling score, ties by number. Only documents in which at least one
        of the query's features fires.
    certain
        How many of them are proved to be where they are in the exact order.
    read
        Postings looked at.
    """

    documents: Int[np.ndarray, " found"]
    scores: Float[np.ndarray, " found"]
    certain: int
    read: int


class DocumentCodes:
    """Which feature fires in which document, and how strongly at most.

    Made by `workbench.features.retrieval.documents`. Files are mapped, not read.

    Parameters
    ----------
    folder
        Where its files are.
    session
        Model and SAEs it must fit; None to open it by itself.
    keep
        A temporary folder that lives as long as this.

    Raises
    ------
    LoadError
        No such files, damaged, written by a newer version, or of other weights.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        session: Session | None = None,
        keep: TemporaryDirectory[str] | None = None,
    ) -> None:
        self.path = Path(folder).expanduser()
        self._keep = keep
        self.manifest = _read_manifest(self.path)
        if session is not None:
            _check_fits(self.manifest, session, self.path)
        self.sizes: dict[str, int] = {
            sae["name"]: int(sae["d_sae"]) for sae in self.manifest["saes"]
        }
        starts = np.cumsum([0, *self.sizes.values()])
        self._base = dict(zip(self.sizes, starts.tolist(), strict=False))
        self._starts = starts
        names = ("row_offsets", "row_features", "row_values", "offsets", "documents", "values")
        self._arrays = {name: self._mapped(name) for name in (*names, "preview")}
        self._check_arrays()

    def _mapped(self, name: str) -> np.ndarray:
        try:
            array: np.ndarray = np.load(
                self.path / f"{name}.npy", mmap_mode="r", allow_pickle=False
            )
        except (OSError, ValueError) as error:
            raise LoadError(f"{name}.npy of the document codes cannot be read: {error}") from error
        return array

    def _check_arrays(self) -> None:
        arrays, entries = self._arrays, len(self._arrays["values"])
        together = all(
            len(arrays[name]) == entries for name in ("documents", "row_features", "row_values")
        )
        ends = entries == int(arrays["offsets"][-1]) == int(arrays["row_offsets"][-1])
        if not (together and ends and len(arrays["offsets"]) == self.n_features + 1):
            raise LoadError(f"the document codes in {str(self.path)!r} do not fit together")

    # -- description --------------------------------------------------------------------------

    @property
    def n_documents(self) -> int:
        """Number of documents, those without text included."""
        return len(self._arrays["row_offsets"]) - 1

    @property
    def n_features(self) -> int:
        """Features of all its SAEs together."""
        return int(self._starts[-1])

    @property
    def n_postings(self) -> int:
        """Pairs of a document and a feature that fires in it."""
        return len(self._arrays["values"])

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return int(sum(array.nbytes for array in self._arrays.values()))

    def __repr__(self) -> str:
        return (
            f"DocumentCodes({self.n_documents:,} documents, {self.n_features:,} features of "
            f"{len(self.sizes)} SAEs, {self.n_postings:,} postings, {self.nbytes / 2**20:,.1f} MiB)"
        )

    def column(self, ref: str | FeatureRef) -> int:
        """Return the column of a feature.

        Raises
        ------
        SaeError, InputError
            There is no such feature here.
        """
        parsed = FeatureRef.parse(ref)
        if parsed.sae not in self.sizes:
            raise SaeError(unknown("SAE of these document codes", parsed.sae, self.sizes))
        if parsed.index >= self.sizes[parsed.sae]:
            raise InputError(
                f"{parsed.sae} has features 0 to {self.sizes[parsed.sae] - 1:,}, "
                f"got {parsed.index:,}"
            )
        return self._base[parsed.sae] + parsed.index

    def ref(self, column: int) -> FeatureRef:
        """Return the feature of a column."""
        place = int(np.searchsorted(self._starts, column, side="right")) - 1
        return FeatureRef(list(self.sizes)[place], column - int(self._starts[place]))

    def preview(self, document: int) -> Int[np.ndarray, " pos"]:
        """Return the ids of a document's first tokens."""
        ids = np.asarray(self._arrays["preview"][document])
        return ids[ids >= 0]

    def code(
        self, document: int
    ) -> tuple[Int[np.ndarray, " active"], Float[np.ndarray, " active"]]:
        """Return a document's columns, ascending, and largest activations."""
        offsets = self._arrays["row_offsets"]
        span = slice(int(offsets[document]), int(offsets[document + 1]))
        return (
            np.asarray(self._arrays["row_features"][span]),
            np.asarray(self._arrays["row_values"][span]),
        )

    def postings(
        self, column: int
    ) -> tuple[Int[np.ndarray, " documents"], Float[np.ndarray, " documents"]]:
        """Return the documents in which a feature fires and how strongly, strongest first."""
        offsets = self._arrays["offsets"]
        span = slice(int(offsets[column]), int(offsets[column + 1]))
        return self._arrays["documents"][span], self._arrays["values"][span]

    def largest(self, column: int) -> float:
        """Return a feature's largest activation in any document, 0 where it never fires."""
        values = self.postings(column)[1]
        return float(values[0]) if len(values) else 0.0

    @functools.cached_property
    def _columns(self) -> sparse.csc_matrix:
        """The same by feature; entries of a column are by falling activation."""
        from scipy import sparse

        arrays = self._arrays
        return sparse.csc_matrix(
            (arrays["values"], arrays["documents"], arrays["offsets"]),
            shape=(self.n_documents, self.n_features),
        )

    def matrix(self) -> sparse.csr_matrix:
        """Return all codes as a scipy CSR matrix [documents, features] over the mapped files."""
        from scipy import sparse

        arrays = self._arrays
        return sparse.csr_matrix(
            (arrays["row_values"], arrays["row_features"], arrays["row_offsets"]),
            shape=(self.n_documents, self.n_features),
        )

    # -- searching ----------------------------------------------------------------------------

    def exact(self, weights: Mapping[int, float], k: int) -> Found:
        """Score every document in which one of the features fires.

        The score of a document is the sum over the query's features of weight × largest activation
        in the document: the product of the query's columns with its weights, by scipy, which was
        the fastest exact way measured (``benchmarks/retrieval.py``).

        Parameters
        ----------
        weights
            Column to weight.
        k
            Most documents.
        """
        wanted = self._columns[:, list(weights)]
        scores = wanted @ np.array(list(weights.values()), dtype=np.float64)
        touched = np.zeros(self.n_documents, dtype=bool)
        touched[wanted.indices] = True
        chosen = _best(scores, touched, k)
        return Found(
            documents=chosen,
            scores=scores[chosen].astype(np.float32),
            certain=len(chosen),
            read=int(wanted.nnz),
        )

    def approximate(self, weights: Mapping[int, float], k: int, *, head: int) -> Found:
        """Score only documents among the strongest `head` of a feature.

        Candidates are the documents at the head of any feature's postings; they are scored exactly
        from their own codes. A document that is in no head cannot score more than the sum of
        weight × the first activation behind each head (Fagin et al. 2001, threshold algorithm), so
        every result above that is certainly in its place.

        Parameters
        ----------
        weights
            Column to weight.
        k
            Most documents.
        head
            Postings read of each feature.

        Raises
        ------
        InputError
            `head` is below 1.
        """
        if head < 1:
            raise InputError(f"head must be at least 1, got {head}")
        heads, ceiling, rest = [np.zeros(0, dtype=np.int64)], 0.0, False
        for column, weight in weights.items():
            documents, values = self.postings(column)
            heads.append(np.asarray(documents[:head], dtype=np.int64))
            if len(values) > head:
                # Behind the head, activations lie between the next one and the last.
                rest = True
                ceiling += max(0.0, weight * float(values[head]), weight * float(values[-1]))
        candidates = np.unique(np.concatenate(heads))
        scores, read = self._rescored(candidates, weights)
        order = np.lexsort((candidates, -scores))[:k]
        found = scores[order]
        return Found(
            documents=candidates[order],
            scores=found.astype(np.float32),
            certain=int(np.count_nonzero(found > ceiling)) if rest else len(found),
            read=read + sum(len(part) for part in heads),
        )

    def _rescored(
        self, candidates: Int[np.ndarray, " n"], weights: Mapping[int, float]
    ) -> tuple[Float[np.ndarray, " n"], int]:
        offsets = self._arrays["row_offsets"]
        begin, size = offsets[candidates], offsets[candidates + 1] - offsets[candidates]
        total = int(size.sum())
        ends = np.cumsum(size)
        place = np.arange(total) + np.repeat(begin - (ends - size), size)
        dense = np.zeros(self.n_features, dtype=np.float64)
        dense[list(weights)] = list(weights.values())
        products = dense[self._arrays["row_features"][place]] * self._arrays["row_values"][place]
        owner = np.repeat(np.arange(len(candidates)), size)
        return np.bincount(owner, products, minlength=len(candidates)), total


def _best(
    scores: Float[np.ndarray, " documents"], touched: Bool[np.ndarray, " documents"], k: int
) -> Int[np.ndarray, " found"]:
    candidates = np.flatnonzero(touched)
    if len(candidates) > k:
        values = scores[candidates]
        # All that tie with the last one stay, so that ties go to the lower number.
        least = np.partition(values, len(values) - k)[len(values) - k]
        candidates = candidates[values >= least]
    return candidates[np.lexsort((candidates, -scores[candidates]))][:k]


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.is_file():
        raise LoadError(f"no document codes in {str(folder)!r}; make them with documents(session)")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LoadError(f"{str(path)!r} is not JSON: {error}") from error
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise LoadError(f"{str(path)!r} does not describe document codes")
    if not isinstance(data.get("schema"), int) or data["schema"] > SCHEMA:
        raise LoadError(
            f"{str(folder)!r} has schema {data.get('schema')!r}, this version reads {SCHEMA}: it "
            "was written by a newer version; update the workbench"
        )
    for name, size in data.get("files", {}).items():
        file = folder / Path(name).name
        if not file.is_file() or file.stat().st_size != size:
            raise LoadError(f"{name} of the document codes is missing or cut: build them again")
    return data


def _check_fits(manifest: Mapping[str, Any], session: Session, folder: Path) -> None:
    found = []
    if manifest["model"]["fingerprint"] != session.model.fingerprint:
        found.append("they are of other weights of the model")
    for described in manifest["saes"]:
        if described["name"] not in session.saes:
            continue
        if session.saes[described["name"]].fingerprint != described["fingerprint"]:
            found.append(f"SAE {described['name']!r} has other weights here")
    if found:
        raise LoadError(
            f"the document codes in {str(folder)!r} do not fit this session: {'; '.join(found)}"
        )

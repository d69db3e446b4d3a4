"""Which inverted index answers sparse queries: plain postings, scipy, or Seismic.

    python benchmarks/retrieval.py [--documents 50000] [--features 24576] [--active 80]
                                   [--query 20] [--k 10] [--queries 100]

Synthetic max-pooled codes with the shape of real ones: features' frequencies follow a power law,
activations are log-normal, documents have about `--active` features. Queries are `--query` features
of one document, weighted by its activations, so that they have good answers. Each engine gets the
same queries one at a time on one thread; times are medians. Recall is the fraction of the exact
top k that an engine returns.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

for variable in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def corpus(options: argparse.Namespace) -> sparse.csr_matrix:
    """Make codes [documents, features]."""
    rng = np.random.default_rng(0)
    frequency = 1 / np.arange(1, options.features + 1) ** 0.8
    edges = np.cumsum(frequency / frequency.sum())
    sizes = rng.poisson(options.active, options.documents)
    columns = np.searchsorted(edges, rng.random(sizes.sum())).clip(max=options.features - 1)
    rows = np.repeat(np.arange(options.documents), sizes)
    keys = np.unique(rows * options.features + columns)
    values = rng.lognormal(0, 0.6, len(keys)).astype(np.float32)
    return sparse.csr_matrix(
        (values, (keys // options.features, keys % options.features)),
        shape=(options.documents, options.features),
    )


def queries(codes: sparse.csr_matrix, options: argparse.Namespace) -> list[dict[int, float]]:
    """Draw some features of some documents."""
    rng = np.random.default_rng(1)
    made = []
    while len(made) < options.queries:
        row = codes[int(rng.integers(codes.shape[0]))]
        if row.nnz < options.query:
            continue
        chosen = rng.choice(row.nnz, options.query, replace=False)
        made.append(dict(zip(row.indices[chosen].tolist(), row.data[chosen].tolist(), strict=True)))
    return made


def stored(codes: sparse.csr_matrix, folder: Path) -> Any:
    """Write the workbench's files for the codes and open them."""
    from workbench.features.index import disk
    from workbench.features.retrieval_build import PREVIEW, _assemble
    from workbench.features.retrieval_codes import KIND, SCHEMA, DocumentCodes

    count, features = codes.shape
    part = folder / "part.npz"
    np.savez(
        part,
        document=np.repeat(np.arange(count, dtype=np.int32), np.diff(codes.indptr)),
        feature=codes.indices.astype(np.int32),
        value=codes.data,
        preview=np.full((count, PREVIEW), -1, dtype=np.int32),
        digest=np.array(""),
        documents=np.array([0, count]),
    )
    sizes = _assemble(folder, [part], features)
    part.unlink()
    about = {"schema": SCHEMA, "kind": KIND, "model": {"name": "synthetic", "fingerprint": ""}}
    sae = {"name": "sae", "d_sae": features, "fingerprint": ""}
    disk.write_json(
        folder / "manifest.json", {**about, "saes": [sae], "token_policy": {}, "files": sizes}
    )
    return DocumentCodes(folder)


def scipy_engines(codes: sparse.csr_matrix, k: int) -> dict[str, Callable[[dict], Any]]:
    """Multiply with the whole matrix, or with the query's columns only."""
    columns = codes.tocsc()

    def best(scores: np.ndarray) -> np.ndarray:
        kept = np.argpartition(scores, -k)[-k:]
        return kept[np.argsort(-scores[kept], kind="stable")]

    def product(query: dict[int, float]) -> np.ndarray:
        vector = np.zeros(codes.shape[1], dtype=np.float32)
        vector[list(query)] = list(query.values())
        return best(codes @ vector)

    def chosen(query: dict[int, float]) -> np.ndarray:
        weights = np.array(list(query.values()), dtype=np.float32)
        return best(columns[:, list(query)] @ weights)

    return {"scipy, whole product": product, "scipy, query's columns": chosen}


def seismic_engines(
    codes: sparse.csr_matrix, k: int, folder: Path
) -> tuple[dict[str, Callable[[dict], Any]], float]:
    """Build Seismic (Bruch et al. 2024) from its PyPI package; search at several settings."""
    from seismic import SeismicIndex, get_seismic_string

    path = folder / "documents.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(codes.shape[0]):
            row = codes[number]
            vector = {
                str(column): float(value)
                for column, value in zip(row.indices, row.data, strict=True)
            }
            line = {"id": number, "content": "", "vector": vector}
            file.write(json.dumps(line) + "\n")
    began = time.perf_counter()
    index = SeismicIndex.build(str(path))
    seconds = time.perf_counter() - began

    def engine(cut: int, factor: float) -> Callable[[dict], Any]:
        def search(query: dict[int, float]) -> np.ndarray:
            found = index.search(
                query_id="0",
                query_components=np.array(
                    [str(column) for column in query], dtype=get_seismic_string()
                ),
                query_values=np.array(list(query.values()), dtype=np.float32),
                k=k,
                query_cut=cut,
                heap_factor=factor,
            )
            return np.array([int(document) for _, _, document in found])

        return search

    made = {
        f"seismic, cut {cut}, factor {factor}": engine(cut, factor)
        for cut, factor in ((5, 0.9), (10, 0.8), (20, 0.7), (20, 1.0))
    }
    return made, seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (
        ("documents", 50_000),
        ("features", 24_576),
        ("active", 80),
        ("query", 20),
        ("k", 10),
        ("queries", 100),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--without-seismic", action="store_true", help="its build is slow")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    codes = corpus(options)
    asked = queries(codes, options)
    print(
        f"{options.documents:,} documents, {options.features:,} features, {codes.nnz:,} postings; "
        f"{len(asked)} queries of {options.query} features, k = {options.k}, one thread"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.perf_counter()
        held = stored(codes, folder)
        print(f"postings written and sorted in {time.perf_counter() - began:.1f} s, {held!r}")
        engines: dict[str, Callable[[dict], Any]] = {
            "postings, exact": lambda query: held.exact(query, options.k).documents
        }
        for head in (30, 100, 300, 1000):
            engines[f"postings, head {head}"] = lambda query, head=head: (
                held.approximate(query, options.k, head=head).documents
            )
        engines |= scipy_engines(codes, options.k)
        if importlib.util.find_spec("seismic") is None:
            print("seismic: not installed (pip install pyseismic-lsr)")
        elif not options.without_seismic:
            made, seconds = seismic_engines(codes, options.k, folder)
            print(f"seismic built in {seconds:.1f} s (writing its JSON lines not counted)")
            engines |= made
        figures = {}
        truth = [held.exact(query, options.k).documents for query in asked]
        for label, engine in engines.items():
            engine(asked[0])
            times, recalls = [], []
            for query, expected in zip(asked, truth, strict=True):
                began = time.perf_counter()
                found = engine(query)
                times.append(time.perf_counter() - began)
                recalls.append(np.isin(expected, found).mean())
            figures[label] = {
                "ms": 1e3 * statistics.median(times),
                "recall": float(np.mean(recalls)),
            }
            print(f"  {label:<28} {figures[label]['ms']:9.3f} ms   recall {np.mean(recalls):.3f}")
    if options.json:
        options.json.write_text(json.dumps({"settings": vars(options) | {"json": None}, **figures}))


if __name__ == "__main__":
    main()

"""Confident tokens, their vectors, clusters and circuits, on the demo."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.circuits.budget import CancelledError
from workbench.circuits.cluster_groups import group_rows
from workbench.circuits.cluster_parts import ScanSettings, scan
from workbench.circuits.clusters import clusters
from workbench.demo import corpus
from workbench.errors import InputError, LoadError

SITES = ("resid_post.1", "resid_post.3")


@pytest.fixture(scope="module")
def session():
    with wb.open("demo", device="cpu") as opened:
        yield opened


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [doc.text for doc in itertools.islice(corpus.documents("test", 5), 30)]


def settings(**changes) -> ScanSettings:
    return ScanSettings(**{"sites": SITES, "context": 40, "part_texts": 8, **changes})


def test_tokens_taken_are_sure_and_no_copies(session, texts) -> None:
    found = scan(session, texts, settings(per_text=1000), None)
    assert len(found) > 100
    taken = {(int(t), int(p)) for t, p in zip(found.text, found.position, strict=True)}
    for number, text in enumerate(texts[:6]):
        ids = session.tokens(text).ids[0].tolist()[:40]
        log_p = session.run(torch.tensor([ids]), logits=True).logits[0].log_softmax(-1)
        expected = {
            (number, p)
            for p in range(2, len(ids))
            if -log_p[p - 1, ids[p]] < 0.1
            and (ids[p - 1], ids[p]) not in list(itertools.pairwise(ids[:p]))
            and not session.tokens(text).special[0, p]
        }
        assert {pair for pair in taken if pair[0] == number} == expected


def test_vectors_are_effects_or_activations(session, texts) -> None:
    effects = scan(session, texts[:6], settings(), None)
    sure = scan(session, texts[:6], settings(represent="activations"), None)
    np.testing.assert_array_equal(effects.position, sure.position)
    ids = effects.contexts[0][effects.contexts[0] >= 0]
    sae = session.saes[SITES[1]]
    first = session.saes[SITES[0]].d_sae
    code = sae.encode(session.run(torch.tensor(ids[None]), capture=[SITES[1]])[SITES[1]])
    part = slice(sure.offsets[0], sure.offsets[1])
    columns, values = sure.columns[part], sure.values[part]
    there = columns >= first
    last = code.to_dense()[0, -1].numpy()
    np.testing.assert_allclose(values[there], last[columns[there] - first], rtol=1e-4)

    # An effect is the slope of the log-odds along the feature's way to zero.
    def odds(scale: float, feature: int) -> float:
        edit = sae.splice("keep", edit=lambda f: f * scale, features=[feature])
        logits = session.run(torch.tensor(ids[None]), edits=edit.edits(), logits="last").logits
        p = logits[0, 0].double().softmax(-1)
        target = int(effects.target[0])
        return float(torch.cat([p[:target], p[target + 1 :]]).sum().log() - p[target].log())

    part = slice(effects.offsets[0], effects.offsets[1])
    columns, values = effects.columns[part], effects.values[part]
    strongest = int(np.argmax(np.abs(np.where(columns >= first, values, 0))))
    feature = int(columns[strongest]) - first
    slope = (odds(0.98, feature) - odds(1.02, feature)) / 0.04
    assert values[strongest] == pytest.approx(slope, rel=0.05, abs=1e-8)


def test_a_stopped_scan_goes_on_where_it_was(session, texts, tmp_path) -> None:
    whole = scan(session, texts, settings(), None)
    asked = iter([False, False, True])
    with pytest.raises(CancelledError, match="after 2 of 4"):
        scan(session, texts, settings(), tmp_path / "scan", cancel=lambda: next(asked))
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "scan").glob("part-*")}
    assert len(kept) == 2
    again = scan(session, texts, settings(), tmp_path / "scan")
    for name, value in vars(whole).items():
        np.testing.assert_array_equal(getattr(again, name), value)
    for name, time in kept.items():
        assert (tmp_path / "scan" / name).stat().st_mtime_ns == time, "not computed again"
    with pytest.raises(InputError, match="another corpus"):
        scan(session, texts[1:], settings(), tmp_path / "scan")
    (tmp_path / "scan" / "part-00000.npz").write_bytes(b"nothing")
    with pytest.raises(LoadError, match="damaged"):
        scan(session, texts, settings(), tmp_path / "scan")


@pytest.mark.parametrize("method", ["spectral", "kmeans"])
def test_vectors_of_one_direction_come_together(method) -> None:
    from scipy import sparse

    rng = np.random.default_rng(0)
    truth = rng.permutation(np.repeat([0, 1, 2], [30, 20, 10]))
    rows = np.abs(rng.normal(0, 0.02, (60, 30)))
    for kind in range(3):
        rows[truth == kind, 10 * kind : 10 * kind + 5] += 1
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = group_rows(sparse.csr_matrix(rows), 3, method, seed=0)
    np.testing.assert_array_equal(found, truth)


def test_clusters_have_a_table_and_circuits(session, texts, tmp_path) -> None:
    found = clusters(session, texts, tmp_path / "c", n_clusters=4, sites=SITES, context=40)
    table = found.to_pandas()
    assert list(table["size"]) == sorted(table["size"], reverse=True)
    assert table["size"].sum() == len(found.cluster)
    assert table["circuit"].isna().all()
    options = {"n": 4, "edges": False, "steps": 2, "node_threshold": 0.01}
    circuit = found.circuit(1, **options)
    assert circuit.metric == "negative log odds"
    assert circuit.baseline == "zero"
    assert len(circuit.nodes) > 1
    before = sorted((tmp_path / "c").glob("circuit-*"))
    assert len(before) == 1
    read = found.circuit(1, **options)
    np.testing.assert_array_equal(read.nodes.effect, circuit.nodes.effect)
    assert sorted((tmp_path / "c").glob("circuit-*")) == before
    assert wb.load(found.save(tmp_path / "found")).labels == found.labels
    assert len(found.features_of(0)) == 20
    with pytest.raises(InputError, match="cluster 4"):
        found.members(4)
    with pytest.raises(InputError, match="n_clusters=400"):
        clusters(session, texts[:2], n_clusters=400, sites=SITES)

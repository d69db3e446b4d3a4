"""Building an index: every number against brute force, and every way to be interrupted."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import shutil
import threading

import index_fixtures as fixtures
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import sae_fixtures
import torch

import workbench as wb
from workbench.errors import InputError, LoadError, SaeError, WorkbenchError
from workbench.features.index import FeatureIndex, IndexBuild, IndexSettings, remove_index, scan
from workbench.features.index import index as build
from workbench.features.index.parts import PartStore
from workbench.features.index.scan import Scanner

TEXTS = fixtures.texts()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return fixtures.write(tmp_path_factory.mktemp("index"))


@pytest.fixture(scope="module")
def session(folder):
    with fixtures.session(folder) as opened:
        yield opened


@pytest.fixture(scope="module")
def built(session, folder):
    build(
        session,
        pd.DataFrame({"text": TEXTS, "n": range(len(TEXTS))}),
        folder / "built",
        metadata=True,
        **fixtures.OPTIONS,
    )
    return FeatureIndex(folder / "built", session=session, verify=True)


@pytest.fixture(scope="module")
def truth(session, built):
    """Dense activations of every SAE at every token of the index, one row at a time."""
    codes = {name: np.zeros((built.n_tokens, 80), dtype=np.float32) for name in built.saes}
    for begin, end in zip(built.rows[:-1], built.rows[1:], strict=True):
        ids = torch.tensor(built.tokens[begin:end].astype(np.int64))[None]
        ran = session.run(ids, capture=["resid_post.0", "resid_post.1"])
        for name, dense in codes.items():
            sae = session.saes[name]
            dense[begin:end] = sae.encode_dense(ran[sae.site]).detach()[0].numpy()
    for dense in codes.values():
        dense[built.special] = 0
    return codes


# -- what is in it ----------------------------------------------------------------------------


def test_tokens_rows_and_documents_are_the_corpus(session, built):
    assert built.n_documents == len(TEXTS)
    own = session.tokens(TEXTS[7]).ids[0].tolist()
    start, size = built.documents.loc[7, ["start", "tokens"]]
    kept = built.tokens[start : start + size]
    assert kept[~built.special[start : start + size]].tolist() == own[1:]
    assert built.documents["metadata.n"].tolist() == list(range(len(TEXTS)))
    assert built.n_counted == sum(len(session.tokens(text).ids[0]) - 1 for text in TEXTS)
    assert built.n_tokens == built.n_counted + built.special.sum()
    assert np.diff(built.rows).max() <= 24


def test_statistics_equal_brute_force(built, truth):
    for name, dense in truth.items():
        stats = built.table.page(where=[("sae", "=", name)], limit=None)
        active = dense != 0
        count = active.sum(0)
        # Batches and rows are encoded by different matrix kernels: near-ties of a rounding.
        assert (np.abs(stats["count"] - count) <= 1).all()
        assert (stats["count"] == count).mean() > 0.95
        same = (stats["count"] == count).to_numpy() & (count > 0)
        np.testing.assert_allclose(stats["density"], stats["count"] / built.n_counted)
        values = np.where(active, dense, np.nan)
        with np.errstate(all="ignore"):
            for column, expected in (
                ("mean", np.nanmean(values[:, same], 0)),
                ("second_moment", np.nanmean(values[:, same] ** 2, 0)),
                ("std", np.nanstd(values[:, same], 0)),
                ("max", np.nanmax(values[:, same], 0)),
                ("min", np.nanmin(values[:, same], 0)),
            ):
                np.testing.assert_allclose(stats[column][same], expected, rtol=2e-3, atol=2e-4)
            for column, q in (("median", 0.5), ("p90", 0.9), ("p99", 0.99)):
                # The order statistics on either side, give or take a bin.
                low, high = (
                    np.nanquantile(values[:, same], q, axis=0, method=method)
                    for method in ("lower", "higher")
                )
                bin_width = 2 ** (1 / 8)
                assert (stats[column][same] >= low / bin_width).all()
                assert (stats[column][same] <= high * bin_width).all()
        assert (stats["dead"] == (stats["count"] == 0)).all()
        assert (stats["dense"] == (stats["density"] > 0.01)).all()


def test_every_context_is_the_strongest_of_its_document(built, truth):
    document = np.repeat(built.runs[:, 1], np.diff(np.append(built.runs[:, 0], built.n_tokens)))
    checked = 0
    for name, dense in truth.items():
        for feature in range(80):
            found = built.contexts(f"{name}/{feature}", hide_duplicates=False)
            best = np.zeros(built.n_documents)
            np.maximum.at(best, document, dense[:, feature])
            expected = np.sort(best[best > 0])[::-1][:4]
            values = [context.value for context in found]
            assert len({context.document for context in found}) == len(found)
            if len(values) == len(expected):
                np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-4)
                checked += 1
            for context in found:
                assert context.document == document[context.position]
                assert context.metadata == {"n": context.document}
                here = dense[context.start : context.start + len(context.values), feature]
                known = ~np.isnan(context.values)
                near = np.abs(np.arange(len(here)) - context.at) <= 5
                special = built.special[context.start : context.start + len(here)]
                assert known[near & ~special].all()
                assert not known[special].any()
                np.testing.assert_allclose(context.values[known], here[known], rtol=2e-3, atol=2e-2)
    assert checked > 150


def test_tokens_of_a_context_are_its_documents_text(session, built):
    for context in built.contexts("resid_post.1/3", width=None):
        text = "".join(token for token in context.tokens if not token.startswith("<"))
        assert text in TEXTS[context.document]
        assert context.tokens[context.at] == session.model.token_string(
            int(built.tokens[context.position])
        )


def test_groups_cover_the_range_and_their_contexts_lie_in_them(built, truth):
    for kind in ("equal", "quantile"):
        for feature in range(0, 80, 7):
            ref = f"resid_post.0/{feature}"
            profile = built.profile(ref)
            groups = built.groups(ref, 4, 3, kind=kind)
            if profile.dead:
                assert groups == ()
                continue
            assert groups[0].high == profile.max
            assert groups[-1].low == profile.min
            assert sum(group.count for group in groups) == pytest.approx(profile.count)
            values = truth["resid_post.0"][:, feature]
            for group in groups:
                for context in group.contexts:
                    assert group.low <= context.value <= group.high
                    assert values[context.position] == pytest.approx(context.value, abs=2e-2)
                if kind == "quantile" and profile.count > 200:
                    assert group.count == pytest.approx(profile.count / 4, rel=0.25)


def test_a_brushed_interval_draws_evenly_from_it(built, truth):
    stats = built.table.page(where=[("sae", "=", "resid_post.0")], order_by="count", limit=None)
    feature = int(stats["feature"].iloc[-1])
    ref = f"resid_post.0/{feature}"
    profile = built.profile(ref)
    low, high = profile.histogram.quantile(np.array([0.3, 0.7]))
    seen = set()
    for seed in range(5):
        drawn = built.sample(ref, low, high, 4, seed=seed)
        assert 1 <= len(drawn) <= 4
        assert all(low <= context.value <= high for context in drawn)
        seen |= {context.position for context in drawn}
    assert len(seen) > 4
    assert built.sample(ref, profile.max + 1, profile.max + 2) == ()
    with pytest.raises(InputError, match="empty"):
        built.sample(ref, 2, 1)


def test_silent_contexts_are_silent(built, truth):
    some = 0
    for name, dense in truth.items():
        for feature in range(0, 80, 5):
            for context in built.silent(f"{name}/{feature}", 6):
                assert dense[context.position, feature] == pytest.approx(0, abs=2e-2)
                known = np.flatnonzero(~np.isnan(context.values))
                assert context.at in known
                assert np.abs(dense[context.start + known, feature]).max() < 2e-2
                some += len(known) > 1
    assert some > 50


def test_cofiring_counts_tokens_with_both(session, built, truth, tmp_path):
    active = (truth["resid_post.1"] != 0).astype(int)
    both = active.T @ active
    count = active.sum(0)
    settings = dataclasses.replace(fixtures.SETTINGS, cofiring_tokens=5000)
    exact = build(session, TEXTS, tmp_path / "x", **{**fixtures.OPTIONS, "settings": settings})
    with np.errstate(all="ignore"):
        jaccard = both / (count[:, None] + count - both)
    np.fill_diagonal(jaccard, -1)
    for feature in np.flatnonzero(count > 0):
        found = exact.cofiring(f"resid_post.1/{feature}")
        others = found["index"].to_numpy()
        assert np.abs(found["together"] - both[feature, others]).max() <= 2
        np.testing.assert_allclose(found["jaccard"], jaccard[feature, others], atol=0.02)
        best = np.sort(np.nan_to_num(jaccard[feature], nan=-1))[::-1][: len(others)]
        np.testing.assert_allclose(found["jaccard"], best, atol=0.02)
    # From sixteen tokens of each feature the estimate is rough, and right on average.
    ratios = []
    for feature in np.flatnonzero(count > 16):
        found = built.cofiring(f"resid_post.1/{feature}")
        solid = found[found["shared"] >= 8]
        ratios += (solid["together"] / both[feature, solid["index"]]).tolist()
    assert len(ratios) > 10
    assert 0.7 < np.median(ratios) < 1.4


def test_questions_over_all_features(session, built):
    page = built.table.page(
        columns=["sae", "feature", "density"],
        where=[("dead", "=", False), ("density", "<", 0.2), ("sae", "in", ["resid_post.1"])],
        order_by="density",
        descending=True,
        limit=5,
        offset=2,
    )
    assert list(page.columns) == ["sae", "feature", "density"]
    assert (page["density"].diff().dropna() <= 0).all()
    assert built.table.count() == 160
    assert built.n_features == 160
    chosen = built.table.features([("sae", "=", "resid_post.0")], order_by="max", limit=3)
    assert chosen.saes == ("resid_post.0",)
    token = session.model.single_token(" cat")
    on = built.table.on_tokens([token])
    assert len(on)
    first = on.iloc[0]
    contexts = built.contexts(f"{first['sae']}/{first['feature']}", hide_duplicates=False)
    share = np.mean([built.tokens[context.position] == token for context in contexts])
    assert first["share"] == pytest.approx(share)
    with pytest.raises(InputError, match="'density'"):
        built.table.page(order_by="densty")
    with pytest.raises(InputError, match="operator"):
        built.table.page(where=[("density", "; drop", 1)])
    with pytest.raises(InputError, match="failed"):
        built.table.sql("SELECT nothing")


def test_features_without_activations_sort_last_and_pass_no_bound(session, tmp_path):
    index = build(session, TEXTS, tmp_path / "x", **{**fixtures.OPTIONS, "tokens": 20})
    dead = index.table.count([("dead", "=", True)])
    assert 0 < dead < 160
    for descending in (False, True):
        page = index.table.page(order_by="mean", descending=descending, limit=None)
        assert page["dead"].tolist() == [False] * (160 - dead) + [True] * dead
        assert page["mean"][160 - dead :].isna().all()
    assert index.table.count([("mean", ">", -1e9)]) == 160 - dead
    silent = page[page["dead"]].iloc[0]
    ref = f"{silent['sae']}/{silent['feature']}"
    assert index.contexts(ref) == ()
    assert index.groups(ref) == ()
    assert index.sample(ref) == ()
    assert len(index.cofiring(ref)) == 0
    assert len(index.silent(ref, 3)) == 3
    assert np.isnan(index.profile(ref).mean)
    assert np.isnan(index.profile(ref).histogram.quantile(0.5))


def test_unknown_features_are_refused(built):
    with pytest.raises(InputError, match="0 to 79"):
        built.contexts("resid_post.0/80")
    with pytest.raises(SaeError, match=r"resid_post\.1"):
        built.profile("resid_pots.1/3")
    with pytest.raises(InputError, match="kind"):
        built.groups("resid_post.0/3", kind="even")


def test_it_says_what_it_is_of(built, session):
    assert built.provenance.model_fingerprint == session.model.fingerprint
    assert built.provenance.token_policy["bos"] is True
    assert built.saes == ("resid_post.0", "resid_post.1")
    assert not built.partial
    assert "160 features of 2 SAEs" in repr(built)
    assert built.log["tokens_per_second"] > 0
    alone = FeatureIndex(built.path)
    assert alone.contexts("resid_post.0/3")[0].tokens == ()


# -- the same bytes, however it is built ------------------------------------------------------


def test_building_again_gives_the_same_bytes(session, folder, tmp_path):
    expected = None
    for name in ("one", "two"):
        build(session, TEXTS, tmp_path / name, **fixtures.OPTIONS)
        found = fixtures.content(tmp_path / name)
        assert expected in (None, found)
        expected = found
    # Merging parts early or late changes nothing: with a fan-in of 2 nearly all are merged early.
    build(session, iter_corpus(), tmp_path / "three", **fixtures.OPTIONS)
    found = fixtures.content(tmp_path / "three")
    found.pop("manifest.json")  # names another corpus
    assert found.items() <= expected.items()


def iter_corpus():
    return lambda: iter(TEXTS)


def test_merging_parts_early_or_late_changes_nothing(session, tmp_path, monkeypatch):
    contents = []
    for fan_in in (2, 3, 1000):
        monkeypatch.setattr("workbench.features.index.parts.FAN_IN", fan_in)
        build(session, TEXTS, tmp_path / str(fan_in), **fixtures.OPTIONS)
        contents.append(fixtures.content(tmp_path / str(fan_in)))
    assert contents[0] == contents[1] == contents[2]


class InterruptedOnPurposeError(Exception):
    pass


def test_an_exception_anywhere_loses_at_most_the_part_in_progress(session, tmp_path, monkeypatch):
    build(session, TEXTS, tmp_path / "whole", **fixtures.OPTIONS)
    expected = fixtures.content(tmp_path / "whole")
    target = tmp_path / "broken"
    real = Scanner._codes
    passes = 0
    while not (target / "manifest.json").exists():
        left = 4

        def flaky(self, batch):
            nonlocal left, passes
            left -= 1
            passes += 1
            if left < 0:
                raise InterruptedOnPurposeError
            return real(self, batch)

        monkeypatch.setattr(Scanner, "_codes", flaky)
        parts_before = sketched(target)
        with contextlib.suppress(InterruptedOnPurposeError):
            build(session, TEXTS, target, **fixtures.OPTIONS)
        assert sketched(target) >= parts_before or (target / "manifest.json").exists()
    monkeypatch.setattr(Scanner, "_codes", real)
    assert passes > 10
    assert fixtures.content(target) == expected


def sketched(target) -> set[int]:
    if not (target / "parts").exists():
        return set()
    return PartStore(target / "parts", ["a", "b"], [80, 80], fixtures.SETTINGS).done()


@pytest.mark.parametrize("at", [1, 4, 9, 17, 30, 45, 60])
def test_a_full_disk_is_reported_and_nothing_is_lost(session, tmp_path, monkeypatch, at):
    build(session, TEXTS, tmp_path / "whole", **fixtures.OPTIONS)
    real, calls = os.fsync, 0

    def full(handle):
        nonlocal calls
        calls += 1
        if calls >= at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WorkbenchError, match=r"No space left.*safe"):
        build(session, TEXTS, tmp_path / "full", **fixtures.OPTIONS)
    monkeypatch.setattr(os, "fsync", real)
    build(session, TEXTS, tmp_path / "full", **fixtures.OPTIONS)
    assert fixtures.content(tmp_path / "full") == fixtures.content(tmp_path / "whole")


def test_out_of_memory_backs_off_and_goes_on(session, tmp_path, monkeypatch):
    real, sizes = Scanner._codes, []

    def scarce(self, batch):
        if batch.ids.numel() > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(batch.ids.numel())
        return real(self, batch)

    monkeypatch.setattr(Scanner, "_codes", scarce)
    index = build(session, TEXTS, tmp_path / "scarce", **fixtures.OPTIONS)
    assert max(sizes) <= 100
    monkeypatch.setattr(Scanner, "_codes", real)
    whole = build(session, TEXTS, tmp_path / "whole", **fixtures.OPTIONS)
    assert index.n_counted == whole.n_counted
    one, other = (i.table.page(limit=None) for i in (index, whole))
    assert np.abs(one["count"] - other["count"]).max() <= 1

    def hopeless(self, batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Scanner, "_codes", hopeless)
    with pytest.raises(WorkbenchError, match="one row of"):
        build(session, TEXTS, tmp_path / "hopeless", **fixtures.OPTIONS)


def test_sketching_in_pieces_and_without_room_gives_the_same_bytes(session, tmp_path, monkeypatch):
    build(session, TEXTS, tmp_path / "whole", **fixtures.OPTIONS)
    expected = fixtures.content(tmp_path / "whole")
    real, calls = scan.sketch, 0

    def scarce(*arguments):
        nonlocal calls
        calls += 1
        if calls % 3 == 0:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*arguments)

    monkeypatch.setattr(scan, "MOST_BUFFERED", 100)
    monkeypatch.setattr(scan, "sketch", scarce)
    build(session, TEXTS, tmp_path / "pieces", **fixtures.OPTIONS)
    assert calls > 40  # far more than one per part and SAE
    assert fixtures.content(tmp_path / "pieces") == expected


def test_a_damaged_part_is_made_again(session, tmp_path, monkeypatch):
    build(session, TEXTS, tmp_path / "whole", **fixtures.OPTIONS)
    target = tmp_path / "damaged"
    build_some(session, target, monkeypatch, parts=4)
    parts = sorted((target / "parts").glob("sketch-*"))
    assert len(parts) >= 3
    (parts[0] / "0.entries.parquet").write_bytes(b"short")
    changed = parts[1] / "1.tokens.parquet"
    data = bytearray(changed.read_bytes())
    data[len(data) // 2] ^= 1
    changed.write_bytes(data)
    rows = sorted((target / "parts").glob("rows-*"))
    rows[2].write_bytes(rows[2].read_bytes()[:50])
    with pytest.warns(UserWarning, match="damaged"):
        build(session, TEXTS, target, **fixtures.OPTIONS)
    assert fixtures.content(target) == fixtures.content(tmp_path / "whole")


def build_some(session, target, monkeypatch, parts):
    """Build until so many parts are written, then break off."""
    real = PartStore.write
    written = 0

    def write(self, number, sketch):
        nonlocal written
        if written == parts:
            raise InterruptedOnPurposeError
        written += 1
        real(self, number, sketch)

    with monkeypatch.context() as patch:
        patch.setattr(PartStore, "write", write)
        with pytest.raises(InterruptedOnPurposeError):
            build(session, TEXTS, target, **fixtures.OPTIONS)


# -- refusals ---------------------------------------------------------------------------------


def test_resuming_something_else_is_refused_with_the_reason(session, folder, tmp_path, monkeypatch):
    target = tmp_path / "begun"
    build_some(session, target, monkeypatch, parts=6)

    def refused(match, corpus=TEXTS, by=session, **changes):
        with pytest.raises(InputError, match=match):
            build(by, corpus, target, **{**fixtures.OPTIONS, **changes})

    refused("another corpus", corpus=TEXTS[::-1])
    refused("has 120 documents, not 121", corpus=[*TEXTS, "more"])
    refused("documents differ", corpus=[*TEXTS[:70], "other", *TEXTS[71:]])
    refused("context is 24, not 20", context=20)
    refused("seed is 0|settings|contexts is 4", settings=IndexSettings())
    refused(r"SAEs \['resid_post.0', 'resid_post.1'\]", saes="resid_post.1")
    refused("bos=True, not False", policy=wb.TokenPolicy(bos=False))
    refused("tokens is None, not 500", tokens=500)
    other = sae_fixtures.write_sae(tmp_path / "other" / "resid_post.1", d_in=32, d_sae=80, seed=9)
    with wb.open(folder / "tiny", device="cpu") as opened:
        opened.attach(folder / "saes" / "resid_post.0").attach({"resid_post.1": other})
        refused("'resid_post.1' has other weights", by=opened)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match=r"letter\.txt"):
        build(session, TEXTS, tmp_path / "full", **fixtures.OPTIONS)
    assert build(session, TEXTS, target, **fixtures.OPTIONS).n_documents == len(TEXTS)


def copied(built, tmp_path):
    shutil.copytree(built.path, tmp_path / "copy")
    return tmp_path / "copy"


def edit(path, **changes):
    data = json.loads(path.read_text())
    data.update(changes)
    path.write_text(json.dumps(data))


def test_a_damaged_index_is_refused_with_the_reason(built, tmp_path, session):
    stats = "saes/sae-resid_post.0/stats.parquet"

    def refused(match, change, verify=False):
        target = copied(built, tmp_path)
        change(target)
        with pytest.raises(LoadError, match=match):
            FeatureIndex(target, session=session, verify=verify)
        shutil.rmtree(target)

    refused(r"tokens\.npy is missing", lambda f: (f / "tokens.npy").unlink())
    refused(
        r"stats\.parquet has 100 bytes, expected",
        lambda f: (f / stats).write_bytes((f / stats).read_bytes()[:100]),
    )

    def flip(f):
        data = bytearray((f / stats).read_bytes())
        data[200] ^= 255
        (f / stats).write_bytes(data)

    refused("another content", flip, verify=True)
    refused("newer version", lambda f: edit(f / "manifest.json", schema=99))
    refused("cannot be read", lambda f: (f / "manifest.json").write_text("{"))
    refused("does not describe", lambda f: (f / "manifest.json").write_text("[]"))
    refused("no feature index", lambda f: (f / "manifest.json").unlink())
    refused(
        "lacks",
        lambda f: (f / "manifest.json").write_text('{"kind": "feature index", "schema": 1}'),
    )
    refused("outside", lambda f: edit(f / "manifest.json", files={"../secret": [1, "x"]}))

    def elsewhere(f):
        data = json.loads((f / "manifest.json").read_text())
        data["saes"][0]["folder"] = "../../elsewhere"
        (f / "manifest.json").write_text(json.dumps(data))

    refused("elsewhere", elsewhere)


def test_an_index_of_something_else_is_refused(built, folder, tmp_path):
    with (
        wb.open(folder / "tiny", saes=folder / "saes", device="cpu", dtype="bfloat16") as opened,
        pytest.raises(LoadError, match="other weights"),
    ):
        build(opened, path=built.path)
    policy = wb.TokenPolicy(bos=False)
    with (
        wb.open(folder / "tiny", device="cpu", policy=policy) as opened,
        pytest.raises(LoadError, match="bos=True, not False"),
    ):
        build(opened, path=built.path)
    other = sae_fixtures.write_sae(tmp_path / "resid_post.1", d_in=32, d_sae=80, seed=9)
    with (
        wb.open(folder / "tiny", saes={"resid_post.1": other}, device="cpu") as opened,
        pytest.raises(LoadError, match=r"'resid_post\.1' has other weights"),
    ):
        build(opened, path=built.path)
    with wb.open(folder / "tiny", saes=[], device="cpu") as opened:
        assert build(opened, path=built.path).n_features == 160


def test_bad_arguments_are_refused(session, tmp_path):
    for match, options in (
        ("context is 999", {"context": 999}),
        ("batch_tokens", {"batch_tokens": 0}),
        ("tokens must", {"tokens": 0}),
        ("part", {"part_tokens": -1}),
        ("long", {"long": "cut"}),
    ):
        with pytest.raises(InputError, match=match):
            build(session, TEXTS, tmp_path / "x", **{**fixtures.OPTIONS, **options})
    with pytest.raises(SaeError, match="did you mean"):
        build(session, TEXTS, tmp_path / "x", saes="resid_post.3", progress=False)
    with pytest.raises(InputError, match="no text"):
        build(session, ["", ""], tmp_path / "y", progress=False)
    with pytest.raises(LoadError, match="no feature index"):
        build(session, path=tmp_path / "nothing")


def test_removing_takes_only_an_index(built, tmp_path):
    target = copied(built, tmp_path)
    remove_index(target)
    assert not target.exists()
    with pytest.raises(InputError, match="no feature index"):
        remove_index(tmp_path)


# -- while it runs ----------------------------------------------------------------------------


def test_a_background_build_is_seen_stopped_and_resumed(session, tmp_path, monkeypatch):
    build(session, TEXTS, tmp_path / "whole", **fixtures.OPTIONS)
    target = tmp_path / "background"
    real, go, reached = Scanner.scan, threading.Event(), threading.Event()

    def scan(self, block, **options):
        if block.number == 3:
            reached.set()
            assert go.wait(60)
        return real(self, block, **options)

    monkeypatch.setattr(Scanner, "scan", scan)
    running = build(session, TEXTS, target, background=True, **fixtures.OPTIONS)
    assert isinstance(running, IndexBuild)
    assert reached.wait(60)
    # Two parts are surely on disk; the third may still be being written.
    partial = running.index()
    assert partial.partial
    assert 0 < partial.n_documents < len(TEXTS)
    assert len(partial.contexts("resid_post.1/3"))
    assert running.progress.state == "running"
    assert running.progress.tokens > 0
    assert running.progress.total_tokens > running.progress.tokens
    assert running.progress.seconds_left > 0
    with pytest.raises(WorkbenchError, match="another build"):
        build(session, TEXTS, target, **fixtures.OPTIONS)
    with pytest.raises(WorkbenchError, match="not done"):
        running.wait(0.01)
    stopper = threading.Thread(target=running.stop)
    stopper.start()
    running._stop.wait(60)
    go.set()
    stopper.join(60)
    assert running.done
    assert running.progress.state == "stopped"
    with pytest.raises(WorkbenchError, match="stopped"):
        running.wait()
    monkeypatch.setattr(Scanner, "scan", real)
    # What is there can be opened without the corpus, and the build goes on with it.
    unfinished = build(session, path=target)
    assert unfinished.partial
    with pytest.raises(LoadError, match="unfinished"):
        FeatureIndex(target)
    again = build(session, TEXTS, target, background=True, **fixtures.OPTIONS)
    index = again.wait(120)
    assert not index.partial
    assert again.index().n_documents == len(TEXTS)
    assert fixtures.content(target) == fixtures.content(tmp_path / "whole")


def test_a_failure_in_the_background_is_told(session, tmp_path, monkeypatch):
    def broken(self, batch):
        raise InterruptedOnPurposeError("no more")

    monkeypatch.setattr(Scanner, "_codes", broken)
    running = build(session, TEXTS, tmp_path / "x", background=True, **fixtures.OPTIONS)
    with pytest.raises(InterruptedOnPurposeError, match="no more"):
        running.wait(60)
    assert running.progress.state == "failed"
    with pytest.raises(WorkbenchError, match="no part"):
        running.index()


def test_progress_is_reported(session, tmp_path):
    seen = []
    options = {**fixtures.OPTIONS, "progress": seen.append}
    index = build(session, TEXTS, tmp_path / "x", **options)
    assert seen[-1].state == "done"
    assert seen[-1].tokens == index.n_tokens
    running = [step for step in seen if step.state == "running"]
    assert [step.tokens for step in running] == sorted(step.tokens for step in running)
    assert running[-1].tokens_per_second > 0
    assert "tokens/s" in str(running[-1])


def test_an_estimate_writes_nothing_and_is_near(session, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    estimate = build(session, TEXTS, tmp_path / "x", dry_run=True, **fixtures.OPTIONS)
    assert not list(tmp_path.iterdir())
    index = build(session, TEXTS, tmp_path / "x", **fixtures.OPTIONS)
    size = sum(path.stat().st_size for path in index.path.rglob("*") if path.is_file())
    assert estimate.tokens == pytest.approx(index.n_tokens, rel=0.3)
    assert estimate.documents == len(TEXTS)
    assert 0.2 < estimate.disk_bytes / size < 5
    count = index.table.page(limit=None)["count"].sum()
    assert estimate.active_per_token == pytest.approx(count / index.n_counted, rel=0.2)
    assert estimate.tokens_per_second > 0
    assert estimate.memory_bytes > session.model.nbytes
    assert "features" in estimate.summary()
    assert len(estimate.to_pandas()) == 10


def test_a_limit_and_packing(session, tmp_path):
    index = build(session, TEXTS, tmp_path / "x", **{**fixtures.OPTIONS, "tokens": 300})
    assert 300 <= index.n_tokens < 360
    packed = build(session, TEXTS, tmp_path / "y", packing=True, **fixtures.OPTIONS)
    assert packed.n_counted > 0
    found = packed.contexts("resid_post.1/3")
    assert len({context.document for context in found}) == len(found)


def test_an_index_of_token_rows_finds_its_folder(session, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = torch.randint(5, 300, (8, 30), generator=torch.Generator().manual_seed(0))
    index = build(session, rows, progress=False)
    assert index.path.name == "tiny.index"
    assert np.array_equal(index.tokens, rows.flatten().numpy())
    assert build(session).n_tokens == 240
    stored = pq.ParquetFile(index.path / "saes/sae-resid_post.0/contexts.parquet")
    assert stored.metadata.num_row_groups == 1

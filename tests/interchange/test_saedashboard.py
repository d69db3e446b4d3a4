from __future__ import annotations

import dataclasses
import gzip
import json
import tempfile
import tracemalloc
from pathlib import Path

import dashboard_fixtures as made
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import InputError, LoadError
from workbench.interchange import Limits, SaeFacts, saedashboard
from workbench.interchange.contexts import histogram
from workbench.interchange.records import differences

HEADER = saedashboard.Header(model_id="tiny", layer=2, sae_set="set")


def feature(index=0, **changes):
    """A feature as SAEDashboard 0.6 writes it, with names this reader does not use."""
    return {
        "feature_index": index,
        "neuron_alignment_indices": [12, 700],
        "neuron_alignment_values": [0.214, -0.101],
        "neuron_alignment_l1": [0.013, 0.006],
        "correlated_neurons_indices": [12],
        "correlated_neurons_l1": [0.3],
        "correlated_neurons_pearson": [float("nan")],
        "correlated_features_indices": [9],
        "correlated_features_l1": [0.2],
        "correlated_features_pearson": [0.21],
        "neg_str": [" the", "\\n"],
        "neg_values": [-0.711, -0.7],
        "pos_str": [" cat", made.HOSTILE],
        "pos_values": [1.203, 1.1],
        "frac_nonzero": 0.00125,
        "freq_hist_data_bar_values": [0.083, 0.25, 0.417, 0.583],
        "freq_hist_data_bar_heights": [30, 12, 5, 3],
        "logits_hist_data_bar_heights": [1, 40, 7],
        "logits_hist_data_bar_values": [-0.5, 0.25, 1.0],
        "n_prompts_total": 400,
        "n_tokens_in_prompt": 100,
        "dataset": "somebody/corpus",
        "decoder_weights_dist": [0.5, 0.5],
        "activations": [
            {
                "bin_min": -1,
                "bin_max": 0.667,
                "bin_contains": -1,
                "tokens": ["The", " old", " cat"],
                "values": [0.0, 0.1, 0.667],
                "qualifying_token_index": 2,
                "dfa_values": [0.1, 0.2, 0.3],
                "dfa_maxValue": 0.3,
                "dfa_targetIndex": 2,
            },
            {
                "bin_min": 0.333,
                "bin_max": 0.5,
                "bin_contains": 0.000125,
                "tokens": ["a", " \ud83d"],
                "values": [0.4, 0.2],
                "qualifying_token_index": 0,
            },
        ],
        "vector": [0.1, 0.2],
        **changes,
    }


def batch(folder: Path, features, number=0, **header) -> Path:
    data = {"model_id": "gpt2-small", "layer": 6, "sae_set": "res-jb", "features": features}
    path = folder / f"batch-{number}.json"
    path.write_text(json.dumps({**data, **header}))
    return path


def test_reading_a_batch(tmp_path):
    path = batch(tmp_path, [feature(417), feature(3)], settings={"a": 1})
    one, two = saedashboard.read(path)
    found = one.dashboard
    assert found.feature == "6-res-jb/417"
    assert two.dashboard.feature == "6-res-jb/3"
    assert found.provenance.model == "gpt2-small"
    assert (found.counted_tokens, found.fires) == (40_000, 50)
    assert found.maximum == 0.667
    assert [group.kind for group in found.groups] == ["top", "width"]
    assert found.groups[1].total == 5
    assert found.groups[0].contexts[0].tokens == ("The", " old", " cat")
    assert found.groups[0].contexts[0].value == 0.667
    assert found.groups[0].contexts[0].token_ids.tolist() == [-1, -1, -1]
    # Half a character cannot be shown; in the record it stays.
    assert found.groups[1].contexts[0].tokens == ("a", " \ufffd")
    assert [effect.token for effect in found.raises] == [" cat", made.HOSTILE]
    assert found.lowers[0].value == -0.711
    assert found.histogram.counts.tolist() == [30, 12, 5, 3]
    np.testing.assert_allclose(found.histogram.edges, [0, 1 / 6, 1 / 3, 0.5, 2 / 3], atol=1e-3)
    assert found.neurons[1].neuron == 700
    assert one.density == 0.00125
    assert one.batch["settings"] == {"a": 1}
    assert one.record["correlated_features_pearson"] == [0.21]
    assert any("not stated" in note for note in one.notes)
    assert "<script>" not in found._repr_html_()


def test_the_session_knows_the_sae(tmp_path):
    facts = SaeFacts(name="resid_pre.6", site="resid_pre.6", out_site="resid_pre.6", d_sae=24_576)
    (one,) = saedashboard.read(batch(tmp_path, [feature(417)]), sae=facts)
    assert one.dashboard.feature == "resid_pre.6/417"
    assert one.dashboard.d_sae == 24_576


def test_import_then_export_gives_the_file_back(tmp_path):
    (tmp_path / "in").mkdir()
    for number in (0, 1, 10):
        batch(tmp_path / "in", [feature(number), feature(number + 1)], number, later=[number])
    read = list(saedashboard.read(tmp_path / "in"))
    assert [one.dashboard.ref.index for one in read] == [0, 1, 1, 2, 10, 11]
    paths = saedashboard.write(read, tmp_path / "out")
    for before, after in zip((0, 1, 10), paths, strict=True):
        old = json.loads((tmp_path / "in" / f"batch-{before}.json").read_text())
        new = json.loads(after.read_text())
        # NaN equals itself in text.
        assert json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)
    again = list(saedashboard.read(tmp_path / "out"))
    for one, two in zip(read, again, strict=True):
        assert differences(one.dashboard, two.dashboard) == []


def test_only_what_changed_is_written_anew(tmp_path):
    (one,) = saedashboard.read(batch(tmp_path, [feature(5)]))
    fewer = one.replace(raises=one.dashboard.raises[:1])
    saedashboard.write([fewer], tmp_path / "out")
    new = json.loads((tmp_path / "out" / "batch-0.json").read_text())["features"][0]
    old = feature(5)
    changed = {name for name in old if json.dumps(old[name]) != json.dumps(new[name])}
    assert changed == {"pos_str", "pos_values"}
    assert new["pos_str"] == [" cat"]


def test_a_folder_can_be_written_over_itself(tmp_path):
    batch(tmp_path, [feature(1), feature(2)], 3)
    batch(tmp_path, [feature(5), feature(6)], 7)
    with pytest.raises(InputError, match="already there"):
        saedashboard.write(saedashboard.read(tmp_path), tmp_path)
    saedashboard.write(saedashboard.read(tmp_path), tmp_path, batch_size=1, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"batch-{n}.json" for n in range(4)]
    assert [one.dashboard.ref.index for one in saedashboard.read(tmp_path)] == [1, 2, 5, 6]


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = batch(tmp_path, [feature(1)])
    before = path.read_bytes()

    def broken():
        yield from saedashboard.read(path)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        saedashboard.write(broken(), tmp_path, overwrite=True)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["batch-0.json"]


@settings(max_examples=40, deadline=None)
@given(st.lists(made.plain(), min_size=1, max_size=3, unique_by=lambda one: one.feature))
def test_export_then_import_is_the_identity(dashboards):
    with tempfile.TemporaryDirectory() as folder:
        saedashboard.write(dashboards, folder, header=HEADER, batch_size=2)
        again = list(saedashboard.read(folder))
    assert len(again) == len(dashboards)
    for one, two in zip(dashboards, again, strict=True):
        assert differences(one, two.dashboard) == []
        assert saedashboard.lost(one, header=HEADER) == []


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | made.any_texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(made.any_texts, inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(made.any_texts, _json, max_size=3),
    st.dictionaries(made.any_texts, _json, max_size=3),
    st.lists(made.any_texts, min_size=1, max_size=4),
)
def test_any_unknown_names_and_any_text_survive(extra, outer, tokens):
    record = {**extra, **feature(8)}
    record["activations"][0] |= {"tokens": tokens, "values": [1.0] * len(tokens), "more": extra}
    with tempfile.TemporaryDirectory() as folder:
        names = {"model_id": "m", "layer": 1, "sae_set": "s", "features": [record]}
        top = {**outer, **names}
        (Path(folder) / "batch-0.json").write_text(json.dumps(top))
        saedashboard.write(saedashboard.read(folder), Path(folder) / "out")
        written = json.loads((Path(folder) / "out" / "batch-0.json").read_text())
    assert json.dumps(written, sort_keys=True) == json.dumps(top, sort_keys=True)


def test_what_is_lost_is_said():
    parts = {line.split(":")[0] for line in saedashboard.lost(made.full())}
    assert parts == {
        "provenance",
        "feature",
        "site",
        "out_site",
        "d_sae",
        "architecture",
        "label",
        "description",
        "mean",
        "histogram.edges",
        "groups.kind",
        "groups.fraction_low",
        "groups.fraction_high",
        "groups.contexts.document",
        "groups.contexts.start",
        "groups.contexts.token_ids",
        "raises.token_id",
        "lowers.token_id",
        "similar",
        "cofiring",
        "encoder_decoder_cosine",
        "sources",
    }
    assert not any("cannot express" in line for line in saedashboard.lost(made.full()))
    rounded = saedashboard.Header.of(made.full(), tokens_in_prompt=300)
    assert any(
        line.startswith("counted_tokens") for line in saedashboard.lost(made.full(), header=rounded)
    )


def test_uneven_bins_keep_their_centres(tmp_path):
    edges = np.geomspace(0.1, 4.0, 5)
    saedashboard.write([made.full()], tmp_path)
    (one,) = saedashboard.read(tmp_path)
    found = one.dashboard.histogram
    np.testing.assert_allclose(found.edges[:-1] + found.edges[1:], edges[:-1] + edges[1:])
    assert (np.diff(found.edges) > 0).all()
    assert found.counts.tolist() == [40, 20, 12, 8]
    # Centres no bins have: still bins in order, around them.
    centres = np.array([0.0, 1.0, 1.1, 1.2, 5.0])
    rough, scaled = histogram(centres, [1, 2, 3, 4, 5], 0, "x")
    assert not scaled
    assert (rough.edges[:-1] < centres).all()
    assert (centres < rough.edges[1:]).all()


def test_the_header_comes_from_the_sae_name():
    header = saedashboard.Header.of(made.full(feature="resid_post.3-bad/1"))
    assert (header.sae_set, header.layer, header.sae_id_suffix) == ("resid_post", 3, "bad")
    header = saedashboard.Header.of(made.full(feature="my-sae/1", site="mlp_out.4"))
    assert (header.sae_set, header.layer, header.sae_id_suffix) == ("my-sae", 4, None)


def test_gzip_and_order_of_names_do_not_matter(tmp_path):
    data = {"features": [feature(2)], "sae_set": "s", "layer": 1, "model_id": "m"}
    path = tmp_path / "batch-0.json.gz"
    path.write_bytes(gzip.compress(json.dumps(data).encode()))
    (one,) = saedashboard.read(tmp_path)
    assert one.dashboard.feature == "1-s/2"


def test_large_files_are_read_in_parts(tmp_path, monkeypatch):
    # Chunks smaller than a record, so that every boundary falls inside something.
    path = batch(tmp_path, [feature(n) for n in range(9)])
    whole = [one.record for one in saedashboard.read(path)]
    for size in (1, 7, 64, 1000):
        monkeypatch.setattr("workbench.interchange.files._CHUNK", size)
        parts = [one.record for one in saedashboard.read(path)]
        assert json.dumps(parts) == json.dumps(whole)


def test_memory_does_not_grow_with_the_file(tmp_path):
    size = 1 << 16
    path = batch(tmp_path, [feature(n, dataset="x" * size) for n in range(300)])
    assert path.stat().st_size > 300 * size
    tracemalloc.start()
    try:
        assert sum(1 for _ in saedashboard.read(path)) == 300
        saedashboard.write(saedashboard.read(path), tmp_path / "out")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A few chunks of text, not the 20 MB of the file.
    assert peak < 10 << 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feature_index": "x"}, "feature_index"),
        ({"feature_index": -1}, "at least 0"),
        ({"pos_values": [1.0]}, "different lengths"),
        ({"frac_nonzero": 2.0}, "0 to 1"),
        ({"freq_hist_data_bar_heights": [1]}, "bar heights"),
        ({"freq_hist_data_bar_heights": [1, -1, 1, 1]}, "at least 0"),
        ({"freq_hist_data_bar_values": [0.4, 0.3, 0.2, 0.1]}, "ascending"),
        ({"activations": [{"tokens": ["a"], "values": []}]}, "0 values for 1 tokens"),
        ({"activations": [{"tokens": [], "values": []}]}, "0 tokens"),
        ({"activations": [{"tokens": ["a"], "values": [float("nan")]}]}, "NaN"),
        ({"activations": [{"tokens": [5], "values": [1.0]}]}, "valid string"),
        ({"pos_str": "text"}, "pos_str"),
    ],
)
def test_bad_features_are_refused_by_name(tmp_path, change, message):
    path = batch(tmp_path, [feature(0), feature(1, **change)])
    found = saedashboard.read(path)
    assert next(found).dashboard.ref.index == 0
    with pytest.raises(LoadError, match=message) as caught:
        next(found)
    assert "features[1]" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "end of the file"),
        ("[]", "expected '{'"),
        ('{"features": [', "end of the file|not valid JSON"),
        ('{"features": [{}] "x": 1}', "expected ','"),
        ('{"features": {}}', r"expected '\['"),
        ('{"a": 1}', "not a SAEDashboard batch"),
        ('{"features": [], "features": []}', "new name"),
        ('{"features": []} x', "after the end"),
        ('{"features": [' + "[" * 100_000, "not valid JSON"),
        ('{"features": [' + "9" * 10_000 + "]}", "not valid JSON"),
    ],
)
def test_damaged_files_are_refused(tmp_path, text, message):
    path = tmp_path / "batch-0.json"
    path.write_text(text)
    with pytest.raises(LoadError, match=message):
        list(saedashboard.read(path))


def test_bombs_are_refused(tmp_path):
    small = Limits(unpacked_bytes=1 << 20, record_bytes=1 << 16, contexts=1, tokens=2, bars=3)
    bomb = tmp_path / "batch-0.json.gz"
    bomb.write_bytes(gzip.compress(b'{"features": [' + b" " * (4 << 20) + b"]}"))
    with pytest.raises(LoadError, match="unpacks to more than"):
        list(saedashboard.read(bomb, limits=small))
    bomb.write_bytes(gzip.compress(b'{"features": []}')[:-6])
    with pytest.raises(LoadError, match="truncated"):
        list(saedashboard.read(bomb))
    bomb.unlink()
    long = batch(tmp_path, [feature(0, dataset="x" * 100_000)])
    with pytest.raises(LoadError, match="most expected of one record"):
        list(saedashboard.read(long, limits=small))
    many = batch(tmp_path, [feature(0)])
    with pytest.raises(LoadError, match="2 contexts"):
        list(saedashboard.read(many, limits=small))
    with pytest.raises(LoadError, match="3 tokens"):
        list(saedashboard.read(many, limits=dataclasses.replace(small, contexts=2, bars=9)))
    with pytest.raises(LoadError, match="4 entries"):
        list(saedashboard.read(many, limits=dataclasses.replace(small, contexts=2, tokens=9)))


def test_missing_and_doubled_files(tmp_path):
    with pytest.raises(LoadError, match="no file"):
        list(saedashboard.read(tmp_path / "batch-0.json"))
    with pytest.raises(LoadError, match="no batch-N"):
        list(saedashboard.read(tmp_path))
    path = batch(tmp_path, [feature(0)])
    (tmp_path / "batch-0.json.gz").write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(LoadError, match="twice"):
        list(saedashboard.read(tmp_path))


def test_numbers_json_cannot_hold_are_refused(tmp_path):
    with pytest.raises(InputError, match="NaN"):
        saedashboard.write([made.full(maximum=float("nan"))], tmp_path)
    assert not list(tmp_path.iterdir())

from __future__ import annotations

import dataclasses
import gzip
import json
import tempfile
from pathlib import Path

import dashboard_fixtures as made
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import InputError, LoadError
from workbench.features.dashboard import Neighbour
from workbench.interchange import Limits, SaeFacts, neuronpedia, saedashboard
from workbench.interchange.records import differences

PLACE = {"modelId": "gpt2-small", "layer": "6-res-jb"}
SOURCE = neuronpedia.Source(model="tiny", layer=2, source_set="set")


def feature(index, **changes):
    """A feature row as Neuronpedia exports it; the index is text."""
    return {
        **PLACE,
        "index": str(index),
        "maxActApprox": 12.5,
        "creatorId": "c1",
        "createdAt": "2024-05-01T10:00:00",
        "frac_nonzero": 0.002,
        "freq_hist_data_bar_heights": [300.0, 120.0],
        "freq_hist_data_bar_values": [3.125, 9.375],
        "logits_hist_data_bar_heights": [1, 2],
        "logits_hist_data_bar_values": [-1.0, 1.0],
        "neuron_alignment_indices": [5],
        "neuron_alignment_l1": [0.01],
        "neuron_alignment_values": [0.2],
        "correlated_neurons_indices": [5],
        "correlated_neurons_l1": [0.1],
        "correlated_neurons_pearson": [0.1],
        "decoder_weights_dist": [],
        "neg_str": ["a"],
        "neg_values": [-1.5],
        "pos_str": ["b", made.HOSTILE],
        "pos_values": [2.5, 2.0],
        "sourceSetName": "res-jb",
        "topkCosSimIndices": [9, 11],
        "topkCosSimValues": [0.5, 0.25],
        "hasVector": False,
        "vector": [],
        **changes,
    }


def activation(index, number, **changes):
    return {
        "id": f"id{index}-{number}",
        "tokens": ["x", " y", " z"],
        **PLACE,
        "index": index,  # some exports write numbers, some text
        "maxValue": 12.5 - number,
        "maxValueTokenIndex": 1,
        "minValue": 0,
        "values": [0, 12.5 - number, 1.0],
        "dfaValues": [0.1],
        "dfaTargetIndex": 2,
        "binMin": -1,
        "binMax": 12.5,
        "binContains": -1,
        "qualifyingTokenIndex": 1,
        "dataIndex": str(100 + number),
        **changes,
    }


def explanation(index, text, **changes):
    row = {"id": f"e{index}", **PLACE, "index": str(index), "authorId": "c1", "description": text}
    return {**row, "typeName": "oai_token-act-pair", "embedding": [0.1, 0.2], **changes}


def lines(path: Path, rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def export(root: Path, **changes) -> Path:
    """An export whose batches of features, activations and explanations do not agree."""
    folder = root / "gpt2-small" / "6-res-jb"
    for name, row in {
        "release": {"name": "res-jb", "urls": ["https://example.org"]},
        "model": {"id": "gpt2-small", "layers": 12},
        "sourceset": {"name": "res-jb", "modelId": "gpt2-small"},
        "source": {"id": "6-res-jb", "num_prompts": 500, "num_tokens_in_prompt": 128, "extra": 1},
    }.items():
        lines(folder / f"{name}.jsonl", [row])
    parts = {
        "features/batch-0": [feature(0), feature(1)],
        "features/batch-1": [feature(10), feature(2, pos_str=[], pos_values=[])],
        "activations/batch-0": [activation(2, 0), activation(0, 0)],
        "activations/batch-1": [
            activation(0, 1),
            activation(0, 2, binMin=2.0, binMax=4.0, binContains=0.25),
            activation("10", 0, dataIndex=None),
        ],
        "explanations/batch-0": [explanation(10, "dogs"), explanation(0, "cats & <i>dogs</i>")],
        "explanations/batch-1": [explanation(0, "animals")],
        **changes,
    }
    for name, rows in parts.items():
        lines(folder / f"{name}.jsonl.gz", rows)
    return folder


def test_reading_an_export(tmp_path):
    folder = export(tmp_path)
    found = {one.dashboard.ref.index: one for one in neuronpedia.read(tmp_path)}
    assert list(found) == [0, 1, 10, 2]
    zero = found[0].dashboard
    assert zero.feature == "6-res-jb/0"
    assert zero.label == "cats & <i>dogs</i>"
    assert (zero.counted_tokens, zero.fires) == (64_000, 128)
    assert zero.maximum == 12.5
    assert [(group.kind, len(group.contexts)) for group in zero.groups] == [
        ("top", 2),
        ("width", 1),
    ]
    assert zero.groups[1].total == 16_000
    assert zero.groups[0].contexts[0].document == 100
    assert [(near.feature, near.score) for near in zero.similar] == [
        ("6-res-jb/9", 0.5),
        ("6-res-jb/11", 0.25),
    ]
    assert found[10].dashboard.label == "dogs"
    assert found[1].dashboard.groups == ()
    assert found[1].dashboard.label is None
    assert any("first of 2 explanations" in note for note in found[0].notes)
    assert found[0].batch["source"]["extra"] == 1
    assert zero.provenance.created == "2024-05-01T10:00:00"
    assert [one.dashboard.ref.index for one in neuronpedia.read(folder, features=[10, 1])] == [
        1,
        10,
    ]
    facts = {"gpt2-small/6-res-jb": SaeFacts(name="resid_pre.6", d_sae=24_576)}
    named = next(neuronpedia.read(folder, sae=facts)).dashboard
    assert named.feature == "resid_pre.6/0"
    assert named.similar[0].feature == "resid_pre.6/9"


def contents(folder: Path) -> dict:
    """Every row of an export, by file kind and feature, whatever batch it is in."""
    found = {path.name: json.loads(path.read_text()) for path in folder.glob("*.jsonl")}
    for path in sorted(folder.glob("*/batch-*.jsonl.gz")):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            row = json.loads(line)
            found.setdefault((path.parent.name, str(row["index"])), []).append(row)
    return found


def test_import_then_export_gives_every_row_back(tmp_path):
    folder = export(tmp_path / "in")
    paths = neuronpedia.write(neuronpedia.read(folder), tmp_path / "out", batch_size=3)
    again = tmp_path / "out" / "gpt2-small" / "6-res-jb"
    assert contents(again) == contents(folder)
    assert {path.relative_to(again).as_posix() for path in paths} == {
        *(f"{name}.jsonl" for name in ("release", "model", "sourceset", "source")),
        *(
            f"{kind}/batch-{n}.jsonl.gz"
            for kind in ("features", "activations", "explanations")
            for n in (0, 1)
        ),
    }


def test_writing_again_gives_the_same_bytes(tmp_path):
    folder = export(tmp_path / "in")
    neuronpedia.write(neuronpedia.read(folder), tmp_path / "one")
    neuronpedia.write(neuronpedia.read(folder), tmp_path / "two")
    for path in (tmp_path / "one").rglob("*.gz"):
        other = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == other.read_bytes()


def test_only_what_changed_is_written_anew(tmp_path):
    folder = export(tmp_path / "in")
    read = list(neuronpedia.read(folder))
    changed = [read[0].replace(label="pets"), *read[1:]]
    neuronpedia.write(changed, tmp_path / "out")
    before = contents(folder)
    after = contents(tmp_path / "out" / "gpt2-small" / "6-res-jb")
    told = after.pop(("explanations", "0"))
    old = before.pop(("explanations", "0"))
    assert after == before
    assert [row["description"] for row in told] == ["pets", "animals"]
    assert told[1] == old[1]
    assert "embedding" not in told[0]
    assert (told[0]["modelId"], told[0]["layer"]) == ("gpt2-small", "6-res-jb")


@st.composite
def dashboards(draw):
    """What an export can hold: labels, neighbours and documents besides."""
    one = draw(made.plain())
    groups = tuple(
        dataclasses.replace(
            group,
            contexts=tuple(
                dataclasses.replace(item, document=draw(st.integers(-1, 10**9)))
                for item in group.contexts
            ),
        )
        for group in one.groups
    )
    label = draw(st.none() | made.texts)
    return dataclasses.replace(
        one,
        groups=groups,
        label=label,
        description=None if label is None else draw(st.none() | made.texts),
        similar=tuple(
            Neighbour(feature=f"2-set/{index}", score=score)
            for index, score in draw(
                st.lists(st.tuples(st.integers(0, 999), st.floats(-1, 1)), max_size=3)
            )
        ),
    )


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 10**9),
    st.lists(dashboards(), min_size=1, max_size=3, unique_by=lambda one: one.feature),
)
def test_export_then_import_is_the_identity(counted, found):
    # One source counts its tokens once.
    found = [
        dataclasses.replace(
            one,
            counted_tokens=counted,
            fires=one.fires % (counted + 1),
            groups=tuple(
                dataclasses.replace(group, total=group.total and group.total % (counted + 1))
                for group in one.groups
            ),
        )
        for one in found
    ]
    with tempfile.TemporaryDirectory() as folder:
        neuronpedia.write(found, folder, source=SOURCE, batch_size=2)
        again = list(neuronpedia.read(folder))
    assert len(again) == len(found)
    for one, two in zip(found, again, strict=True):
        assert differences(one, two.dashboard) == []
        assert neuronpedia.lost(one, source=SOURCE) == []


def test_what_is_lost_is_said():
    lost = neuronpedia.lost(made.full())
    parts = {line.split(":")[0] for line in lost}
    assert {"label", "description", "groups.contexts.document", "maximum"} & parts == set()
    assert {"similar", "cofiring", "groups.contexts.token_ids", "histogram.edges", "mean"} <= parts
    assert not any("cannot express" in line for line in lost)


def test_our_rows_have_what_an_import_needs(tmp_path):
    source = neuronpedia.Source.of(
        made.full(), creator_id="c9", dataset="our/corpus", tokens_in_prompt=10
    )
    assert source.neuronpedia_id == "tiny/2-resid_post"
    neuronpedia.write([made.full()], tmp_path, source=source)
    rows = contents(tmp_path / "tiny" / "2-resid_post")
    assert rows["source.jsonl"]["num_prompts"] == 100
    assert rows["source.jsonl"]["num_tokens_in_prompt"] == 10
    first, second, *_ = rows["activations", "417"]
    assert first["tokens"] == ["the", " old", " cat"]
    assert (first["maxValue"], first["maxValueTokenIndex"], first["minValue"]) == (4.0, 2, 0.0)
    assert (first["binMin"], first["binMax"], first["dataIndex"]) == (-1.0, 4.0, "7")
    assert first["dataSource"] == "our/corpus"
    assert len(first["id"]) == 25
    assert first["id"] != second["id"]
    assert rows["features", "417"][0]["creatorId"] == "c9"
    assert rows["explanations", "417"][0]["notes"] == "fires on animals"


def test_features_of_other_layouts_can_be_written(tmp_path):
    saedashboard.write([made.full()], tmp_path / "a")
    read = list(saedashboard.read(tmp_path / "a"))
    neuronpedia.write(read, tmp_path / "b", source=SOURCE)
    (again,) = neuronpedia.read(tmp_path / "b")
    assert set(differences(read[0].dashboard, again.dashboard)) <= {
        "feature",
        "provenance.model",
        "provenance.created",
    }


def test_order_and_repeats_are_refused(tmp_path):
    with pytest.raises(InputError, match="comes twice"):
        neuronpedia.write([made.full(), made.full()], tmp_path)
    others = [made.full(), made.full(feature="a.1/0"), made.full(feature="resid_post.2/1")]
    with pytest.raises(InputError, match="come apart"):
        neuronpedia.write(others, tmp_path)
    assert not list(tmp_path.rglob("*.jsonl*"))
    neuronpedia.write(others[:2], tmp_path)
    with pytest.raises(InputError, match="already there"):
        neuronpedia.write(others[:1], tmp_path)
    neuronpedia.write(others[:1], tmp_path, overwrite=True)
    assert [path.name for path in neuronpedia.sources(tmp_path)] == ["2-resid_post"]


@pytest.mark.parametrize("name", ["..", "a/b", "", ".hidden"])
def test_names_that_are_no_folders_are_refused(tmp_path, name):
    with pytest.raises(InputError):
        neuronpedia.Source(model=name, layer=0, source_set="x")
    folder = export(tmp_path / "in")
    lines(folder / "features" / "batch-0.jsonl.gz", [{**feature(0), "modelId": name}])
    with pytest.raises(InputError, match="name folders"):
        neuronpedia.write(neuronpedia.read(folder), tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features/batch-0": [feature(0), feature(0)]}, "twice"),
        ({"features/batch-0": [feature("x")]}, "feature number"),
        ({"features/batch-0": [feature(0, topkCosSimValues=[])]}, "topkCosSim"),
        ({"features/batch-0": [feature(0, frac_nonzero=-1)]}, "0 to 1"),
        ({"features/batch-0": [[1]]}, "feature number"),
        ({"features/batch-0": [feature(0, layer="")]}, "layer"),
        ({"activations/batch-0": [activation(0, 0, values=[1])]}, "1 values for 3 tokens"),
        ({"activations/batch-0": [{"tokens": []}]}, "feature number"),
        ({"explanations/batch-0": [explanation(0, None)]}, "description"),
    ],
)
def test_bad_rows_are_refused(tmp_path, changes, message):
    export(tmp_path, **changes)
    with pytest.raises(LoadError, match=message):
        list(neuronpedia.read(tmp_path))


def test_bombs_are_refused(tmp_path):
    folder = export(tmp_path)
    small = Limits(unpacked_bytes=1 << 20, record_bytes=1 << 16, contexts=2)
    with pytest.raises(LoadError, match="more than 2 activations"):
        list(neuronpedia.read(folder, limits=small))
    target = folder / "activations" / "batch-0.jsonl.gz"
    target.write_bytes(gzip.compress(b"[" * (1 << 18)))
    with pytest.raises(LoadError, match="line 1: longer than"):
        list(neuronpedia.read(folder, limits=small))
    target.write_bytes(gzip.compress(b"\n" * (2 << 20)))
    with pytest.raises(LoadError, match="unpacks to more"):
        list(neuronpedia.read(folder, limits=small))
    target.write_bytes(target.read_bytes()[:-4])
    with pytest.raises(LoadError, match="truncated"):
        list(neuronpedia.read(folder))


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(LoadError, match="no folder"):
        neuronpedia.sources(tmp_path / "x")
    with pytest.raises(LoadError, match="not a Neuronpedia export"):
        list(neuronpedia.read(tmp_path))

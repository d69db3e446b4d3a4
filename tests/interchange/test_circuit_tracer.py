from __future__ import annotations

import dataclasses
import gzip
import json
import struct
import tempfile
from pathlib import Path

import dashboard_fixtures as made
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import InputError, LoadError
from workbench.features.dashboard import ContextGroup, Histogram, TokenEffect
from workbench.interchange import Limits, SaeFacts, circuit_tracer
from workbench.interchange.graph_urls import pair
from workbench.interchange.records import differences


def feature(index=5, **changes):
    """A feature file as circuit-tracer's viewers read it."""

    def example(tokens, values, peak):
        return {
            "tokens_acts_list": values,
            "train_token_ind": peak,
            "is_repeated_datapoint": False,
            "tokens": tokens,
        }

    return {
        "transcoder_id": "clt-1",
        "index": index,
        "examples_quantiles": [
            {
                "quantile_name": "Top activations",
                "examples": [
                    example(["the", " cat"], [0.0, 6.5], 1),
                    example([made.HOSTILE, "b"], [4.0, 0.5], 0),
                ],
            },
            {
                "quantile_name": "Subsample interval 0",
                "examples": [example(["a", "b", "c"], [0.0, 2.0, 1.0], 1)],
            },
        ],
        "top_logits": [" dog", " cat"],
        "bottom_logits": ["x"],
        "act_min": 0.5,
        "act_max": 6.5,
        "quantile_values": [0.5, 2.0, 6.5],
        "histogram": [30.0, 20.0, 5.0],
        "activation_frequency": 0.0125,
        "more": {"kept": True},
        **changes,
    }


def loose(folder: Path, *records) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for record in records:
        (folder / f"{record['index']}.json").write_text(json.dumps(record))
    return folder


def packed(folder: Path, layers: dict[str, list[dict | None]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    index = {}
    for layer, records in layers.items():
        offsets, data = [0], b""
        for record in records:
            if record is not None:
                body = gzip.compress(json.dumps(record).encode())
                data += struct.pack("<I", len(body)) + body
            offsets.append(len(data))
        (folder / f"layer_{layer}.bin").write_bytes(data)
        index[layer] = {"filename": f"layer_{layer}.bin", "offsets": offsets}
    (folder / "index.json.gz").write_bytes(gzip.compress(json.dumps(index).encode()))
    return folder


def test_reading_loose_files(tmp_path):
    folder = loose(tmp_path, feature(12), feature(5))
    first, second = circuit_tracer.read(folder, model="gemma-2-2b")
    assert [one.dashboard.feature for one in (first, second)] == ["clt-1/5", "clt-1/12"]
    found = first.dashboard
    assert [group.kind for group in found.groups] == ["top", "quantile"]
    assert found.groups[0].contexts[1].tokens == (made.HOSTILE, "b")
    assert found.groups[0].contexts[1].value == 4.0
    assert (found.groups[1].low, found.groups[1].high) == (2.0, 2.0)
    assert found.maximum == 6.5
    assert found.histogram.edges.tolist() == [0.5, 2.5, 4.5, 6.5]
    assert found.histogram.counts.tolist() == [30, 20, 5]
    assert [effect.token for effect in found.raises] == [" dog", " cat"]
    assert np.isnan(found.raises[0].value)
    assert first.density == 0.0125
    assert found.provenance.model == "gemma-2-2b"
    (only,) = circuit_tracer.read(folder, features=["clt-1/12"])
    assert only.dashboard.ref.index == 12
    (single,) = circuit_tracer.read(folder / "5.json")
    assert (
        differences(
            single.dashboard, dataclasses.replace(found, provenance=single.dashboard.provenance)
        )
        == []
    )


def test_paired_numbers_name_the_layer(tmp_path):
    folder = loose(tmp_path, feature(pair(3, 417)))
    facts = {3: SaeFacts(name="transcoder.3", site="mlp_in.3", out_site="mlp_out.3", d_sae=512)}
    (one,) = circuit_tracer.read(folder, numbering="paired", sae=facts)
    assert one.dashboard.feature == "transcoder.3/417"
    assert one.dashboard.out_site == "mlp_out.3"
    (bare,) = circuit_tracer.read(folder, numbering="paired")
    assert bare.dashboard.feature == "clt-1.3/417"


def test_effects_beside_tokens_are_read(tmp_path):
    folder = loose(tmp_path, feature(1, top_logits=[["a", 0.5]], bottom_logits=[["b", -2]]))
    (one,) = circuit_tracer.read(folder)
    assert (one.dashboard.raises[0].token, one.dashboard.raises[0].value) == ("a", 0.5)
    assert one.dashboard.lowers[0].value == -2


def test_reading_packed_files(tmp_path):
    layers = {"0": [feature(0), None, feature(2)], "10": [feature(0)], "2": [None, feature(1)]}
    found = list(circuit_tracer.read(packed(tmp_path, layers)))
    assert [one.dashboard.feature for one in found] == [
        "transcoder.0/0",
        "transcoder.0/2",
        "transcoder.2/1",
        "transcoder.10/0",
    ]
    (one,) = circuit_tracer.read(tmp_path, features=["transcoder.2/1"])
    assert one.record == feature(1)
    # Written loose, features of several layers keep apart.
    paths = circuit_tracer.write(found, tmp_path / "loose")
    assert {path.name for path in paths} == {
        f"{pair(*place)}.json" for place in ((0, 0), (0, 2), (2, 1), (10, 0))
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index: index["0"].update(filename="../x"), "not in the folder"),
        (lambda index: index["0"].update(filename="/etc/passwd"), "not in the folder"),
        (lambda index: index["0"].update(offsets=[0, 10**9]), "do not fit"),
        (lambda index: index["0"].update(offsets=[10, 0]), "do not fit"),
        (lambda index: index["0"].update(offsets=[0, "x"]), "do not fit"),
        (lambda index: index["0"].update(offsets=[0, 3]), "truncated"),
        (lambda index: index["0"].update(offsets=[1, 40]), "truncated|damaged"),
        (lambda index: index.update(a={}), "expected layers"),
    ],
)
def test_bad_packed_files_are_refused(tmp_path, change, message):
    folder = packed(tmp_path, {"0": [feature(0)]})
    index = json.loads(gzip.decompress((folder / "index.json.gz").read_bytes()))
    change(index)
    (folder / "index.json.gz").write_bytes(gzip.compress(json.dumps(index).encode()))
    with pytest.raises(LoadError, match=message):
        list(circuit_tracer.read(folder))


def test_bombs_are_refused(tmp_path):
    folder = packed(tmp_path, {"0": [feature(0, more=" " * 100_000)]})
    small = Limits(record_bytes=10_000)
    with pytest.raises(LoadError, match="unpacks to more than 10,000"):
        list(circuit_tracer.read(folder, limits=small))
    other = loose(tmp_path / "loose", feature(0, more=" " * 100_000))
    with pytest.raises(LoadError, match="larger than 10,000"):
        list(circuit_tracer.read(other, limits=small))
    with pytest.raises(LoadError, match="3 examples"):
        list(circuit_tracer.read(other, limits=Limits(contexts=2)))


def test_import_then_export_gives_the_files_back(tmp_path):
    folder = loose(tmp_path / "in", feature(5), feature(12, histogram=[0.25, 0.5]))
    read = list(circuit_tracer.read(folder))
    circuit_tracer.write(read, tmp_path / "out")
    for name in ("5.json", "12.json"):
        assert json.loads((tmp_path / "out" / name).read_text()) == json.loads(
            (folder / name).read_text()
        )
    again = list(circuit_tracer.read(tmp_path / "out"))
    for one, two in zip(read, again, strict=True):
        assert differences(one.dashboard, two.dashboard) == []
    changed = read[0].replace(raises=())
    circuit_tracer.write([changed], tmp_path / "out", overwrite=True)
    (path,) = (tmp_path / "out").iterdir()
    assert json.loads(path.read_text()) == feature(5, top_logits=[])


@st.composite
def dashboards(draw):
    """What a feature file can hold."""
    one = draw(made.plain())
    groups = []
    for group in one.groups:
        change = {"total": None}
        if group.kind == "width":
            change["kind"] = draw(st.sampled_from(["width", "quantile", "brush"]))
            if change["kind"] == "quantile" and draw(st.booleans()):
                change |= {"fraction_low": draw(st.floats(0, 0.5)), "fraction_high": 0.75}
        groups.append(dataclasses.replace(group, **change))
    bins = draw(st.integers(1, 8))
    maximum = one.maximum if one.maximum > 0.5 else 1.0
    groups = [
        dataclasses.replace(group, high=maximum) if group.kind == "top" else group
        for group in groups
    ]
    blank = Histogram(edges=np.array([0.0, 1.0]), counts=np.zeros(1, dtype=int))
    return dataclasses.replace(
        one,
        feature=f"clt/{one.ref.index}",
        provenance=dataclasses.replace(one.provenance, model=""),
        counted_tokens=0,
        fires=0,
        maximum=maximum,
        groups=tuple(groups),
        histogram=Histogram(
            edges=np.linspace(0.25, maximum, bins + 1), counts=np.arange(1, bins + 1)
        ),
        logit_histogram=blank,
        neurons=(),
        raises=tuple(
            TokenEffect(token=effect.token, token_id=-1, value=float("nan"))
            for effect in one.raises
        ),
        lowers=(),
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(dashboards(), min_size=1, max_size=3, unique_by=lambda one: one.ref.index))
def test_export_then_import_is_the_identity(found):
    found = sorted(found, key=lambda one: one.ref.index)
    with tempfile.TemporaryDirectory() as folder:
        circuit_tracer.write(found, folder)
        again = list(circuit_tracer.read(folder))
    for one, two in zip(found, again, strict=True):
        assert differences(one, two.dashboard) == []
        assert circuit_tracer.lost(one) == []


def test_what_is_lost_is_said():
    lost = circuit_tracer.lost(made.full())
    parts = {line.split(":")[0] for line in lost}
    assert {"counted_tokens", "fires", "label", "neurons", "raises.value", "similar"} <= parts
    assert {
        "feature",
        "groups.kind",
        "groups.low",
        "groups.fraction_low",
        "maximum",
    } & parts == set()
    assert not any("cannot express" in line for line in lost)


def test_group_names_carry_their_ranges(tmp_path):
    found = made.full()
    brush = ContextGroup(
        kind="brush", low=0.1, high=1e-7 + 0.3, total=None, contexts=found.groups[1].contexts
    )
    circuit_tracer.write([dataclasses.replace(found, groups=(*found.groups, brush))], tmp_path)
    record = json.loads((tmp_path / "417.json").read_text())
    assert [group["quantile_name"] for group in record["examples_quantiles"]] == [
        "Top activations",
        "Activations 0.25 to 1.5, equal counts, quantiles 0.0 to 0.5",
        "Does not fire",
        f"Activations 0.1 to {1e-7 + 0.3!r}, chosen",
    ]
    (one,) = circuit_tracer.read(tmp_path)
    kinds = [(group.kind, group.low, group.high) for group in one.dashboard.groups]
    assert kinds[1:] == [("quantile", 0.25, 1.5), ("silent", 0, 0), ("brush", 0.1, 1e-7 + 0.3)]
    assert one.density == 0.08


def test_numbers_must_be_apart(tmp_path):
    with pytest.raises(InputError, match=r"417\.json"):
        circuit_tracer.write([made.full(), made.full(feature="other/417")], tmp_path)
    assert not list(tmp_path.iterdir())
    circuit_tracer.write([made.full()], tmp_path, layer=2, transcoder_id="clt")
    (one,) = circuit_tracer.read(tmp_path, numbering="paired")
    assert one.dashboard.feature == "clt.2/417"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"index": -1}, "at least 0"),
        ({"activation_frequency": 3}, "0 to 1"),
        ({"histogram": [-1]}, "at least 0"),
        ({"act_min": 9.0}, "between"),
        ({"act_max": float("nan")}, "between"),
        ({"top_logits": [5]}, "top_logits"),
        ({"examples_quantiles": [{"examples": [{"tokens": ["a"]}]}]}, "tokens_acts_list"),
        (
            {"examples_quantiles": [{"examples": [{"tokens": ["a"], "tokens_acts_list": []}]}]},
            "0 values",
        ),
    ],
)
def test_bad_features_are_refused(tmp_path, change, message):
    path = tmp_path / "1.json"
    path.write_text(json.dumps(feature(1) | change))
    with pytest.raises(LoadError, match=message):
        list(circuit_tracer.read(path))


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(LoadError, match="no file or folder"):
        list(circuit_tracer.read(tmp_path / "x"))
    with pytest.raises(LoadError, match="no feature files"):
        list(circuit_tracer.read(tmp_path))
    (tmp_path / "1.json").write_text("[]")
    with pytest.raises(LoadError, match="expected a JSON object"):
        list(circuit_tracer.read(tmp_path))

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass

import numpy as np
import pytest

from workbench import results
from workbench.errors import InputError, LoadError
from workbench.features.refs import FeatureRef, FeatureSet
from workbench.types import Provenance


@results.storable
@dataclass(frozen=True, kw_only=True)
class Part:
    name: str
    values: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Whole(results.Result):
    parts: tuple[Part, ...]
    numbers: dict[str, float]
    missing: float | None = None

    def to_pandas(self):
        import pandas as pd

        return pd.DataFrame({"part": [part.name for part in self.parts]})


def whole(**changes):
    fields = {
        "provenance": Provenance(model="m", model_fingerprint="f", token_policy={"bos": True}),
        "parts": (
            Part(name="<b>a</b>", values=np.arange(6, dtype=np.int32).reshape(2, 3)),
            Part(name="b", values=np.array([np.nan, 1.5])),
        ),
        "numbers": {"x": float("inf"), "y": 0.5},
    }
    return Whole(**{**fields, **changes})


def test_saving_and_loading_is_the_identity(tmp_path):
    made = whole()
    path = made.save(tmp_path / "one")
    assert path.suffix == ".wb"
    again = results.load(path)
    assert isinstance(again, Whole)
    assert again.provenance == made.provenance
    assert again.numbers == made.numbers
    for one, other in zip(again.parts, made.parts, strict=True):
        assert one.name == other.name
        assert one.values.dtype == other.values.dtype
        np.testing.assert_array_equal(one.values, other.values)
    assert list(tmp_path.iterdir()) == [path]


def test_text_never_becomes_html():
    assert "<b>a</b>" not in whole()._repr_html_()
    assert "&lt;b&gt;a" in whole()._repr_html_()


def test_what_cannot_be_saved_says_so(tmp_path):
    with pytest.raises(InputError, match="cannot be saved"):
        whole(missing=object()).save(tmp_path / "bad")
    assert not (tmp_path / "bad.wb").exists()


def rewrite(path, change):
    with zipfile.ZipFile(path) as archive:
        document = json.loads(archive.read("result.json"))
    change(document)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("result.json", json.dumps(document))
    return path


def test_foreign_and_damaged_files_are_refused(tmp_path):
    path = whole().save(tmp_path / "one")
    with pytest.raises(LoadError, match="no file"):
        results.load(tmp_path / "none.wb")
    (tmp_path / "text.wb").write_text("hello")
    with pytest.raises(LoadError, match="not a saved result"):
        results.load(tmp_path / "text.wb")
    cut = tmp_path / "cut.wb"
    cut.write_bytes(path.read_bytes()[:200])
    with pytest.raises(LoadError, match="damaged"):
        results.load(cut)
    newer = rewrite(whole().save(tmp_path / "new"), lambda d: d.update(schema=99))
    with pytest.raises(LoadError, match="update the workbench"):
        results.load(newer)


@pytest.mark.parametrize("kind", ["os:system", "subprocess:Popen", "workbench.types:nothing"])
def test_files_cannot_name_other_types(tmp_path, kind):
    path = rewrite(whole().save(tmp_path / "one"), lambda d: d["result"].update({"$type": kind}))
    with pytest.raises(LoadError, match="does not fit"):
        results.load(path)


def test_references_are_written_and_read():
    ref = FeatureRef.parse("resid_post.2/417")
    assert (ref.sae, ref.index, str(ref)) == ("resid_post.2", 417, "resid_post.2/417")
    for bad in ("417", "resid_post.2/", "resid_post.2/x", "/3", "a/-1"):
        with pytest.raises(InputError, match="sae/index"):
            FeatureRef.parse(bad)


def test_sets_keep_order_and_drop_repeats():
    chosen = FeatureSet.of(["b/2", "a/1", "b/2"])
    assert [str(ref) for ref in chosen] == ["b/2", "a/1"]
    assert chosen.saes == ("b", "a")
    assert chosen.of_sae("b") == (2,)
    assert "a/1" in chosen
    other = FeatureSet.of("c/3")
    assert len(chosen | other) == 3
    assert (chosen & FeatureSet.of("a/1")) == FeatureSet.of("a/1")
    assert (chosen - FeatureSet.of("a/1")) == FeatureSet.of("b/2")
    assert list(chosen.to_pandas()["feature"]) == ["b/2", "a/1"]

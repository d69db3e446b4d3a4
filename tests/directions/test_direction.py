"""A direction: unit length, scores, nearest features, files that are read with care."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

import workbench as wb
from workbench.directions import Direction
from workbench.errors import InputError, LoadError, SaeError, SiteError
from workbench.types import Provenance

HERE = Provenance(model="m", model_fingerprint="f")


def make(vector, **fields) -> Direction:
    given = {"name": "n", "site": "resid_post.0", "method": "given", **fields}
    return Direction(provenance=HERE, vector=np.asarray(vector), **given)


def test_it_is_normalised_and_remembers_its_length():
    direction = make([3.0, 4.0])
    np.testing.assert_allclose(direction.vector, [0.6, 0.8], rtol=1e-6)
    assert direction.norm == pytest.approx(5.0)
    assert direction.vector.dtype == np.float32


def test_a_copy_keeps_the_length_it_was_found_with():
    assert make([3.0, 4.0]).renamed("other").norm == pytest.approx(5.0)


@pytest.mark.parametrize("vector", [[0.0, 0.0], [], [[1.0]], [np.nan, 1.0], [np.inf, 1.0]])
def test_unusable_vectors_are_refused(vector):
    with pytest.raises(InputError):
        make(vector)


def test_cosine_and_reverse():
    direction = make([1.0, 0.0], positive="yes", negative="no", bias=2.0, scale=3.0)
    assert direction.cosine([1.0, 1.0]) == pytest.approx(np.sqrt(0.5))
    turned = direction.reversed()
    assert direction.cosine(turned) == pytest.approx(-1)
    assert (turned.positive, turned.negative, turned.bias, turned.scale) == ("no", "yes", -2, None)
    with pytest.raises(InputError, match="2 dimensions"):
        direction.cosine([1.0, 2.0, 3.0])


def test_from_feature_is_the_decoder_row(toy_session):
    direction = Direction.from_feature(toy_session, "resid_post.0/2")
    row = toy_session.saes["resid_post.0"].decoder_rows([2])[0].numpy()
    np.testing.assert_allclose(direction.vector, row / np.linalg.norm(row), rtol=1e-6)
    assert direction.site == "resid_post.0"
    nearest = direction.nearest(k=3)
    assert nearest["feature"][0] == "resid_post.0/2"
    assert nearest["cosine"][0] == pytest.approx(1.0)


def test_from_feature_of_a_transcoder_is_where_it_writes(toy_session):
    assert Direction.from_feature(toy_session, "transcoder.0/0").site == "mlp_out.0"


def test_unknown_features_and_sites_are_named(toy_session):
    with pytest.raises(SaeError, match=r"resid_post\.0"):
        Direction.from_feature(toy_session, "resid_post.00/2")
    with pytest.raises(SiteError, match="layer 7"):
        Direction.from_vector(toy_session, "resid_post.7", np.ones(16), name="n")
    with pytest.raises(InputError, match="16 wide"):
        Direction.from_vector(toy_session, "resid_post.0", np.ones(5), name="n")


def test_scores_are_the_dot_products(toy_session, tmp_path):
    texts = ["the dog near the cars really", "the cats"]
    direction = Direction.from_vector(
        toy_session, "resid_post.0", np.arange(1.0, 17.0), name="n", bias=0.5
    )
    scores = direction.score(toy_session, texts, batch_size=1)
    tokens = toy_session.tokens(texts)
    acts = toy_session.run(tokens, capture=["resid_post.0"])["resid_post.0"].numpy()
    for row, mask in enumerate(tokens.mask.numpy()):
        expected = acts[row][mask] @ direction.vector + 0.5
        np.testing.assert_allclose(scores.row(row), expected, rtol=1e-5)
        own = ~tokens.special[row].numpy()[mask]
        assert scores.pooled[row] == pytest.approx(expected[own].max(), rel=1e-5)
    assert len(scores.to_pandas()) == int(tokens.mask.sum())
    assert wb.load(scores.save(tmp_path / "scores")).tokens == scores.tokens


def test_scores_refuse_another_model(toy_session):
    with pytest.raises(InputError, match="not in"):
        make(np.ones(16)).score(toy_session, "the dog")


def test_saved_and_read_back(tmp_path, toy_session):
    direction = Direction.from_vector(
        toy_session,
        "resid_post.0",
        np.arange(1.0, 17.0),
        name="<b>ü\n",
        scale=2.5,
        bias=-1.0,
        positive="more",
        negative="less",
        details={"k": [1, 2.5, None, "x"]},
    )
    file = direction.save(tmp_path / "a.b")
    assert file.name == "a.b.safetensors"
    for path in (file, tmp_path / "a.b.json"):
        again = Direction.load(path, toy_session)
        assert again.to_pandas().equals(direction.to_pandas())
        assert again.provenance == direction.provenance
        np.testing.assert_array_equal(again.vector, direction.vector)
        assert dict(again.details) == {"k": [1, 2.5, None, "x"]}
    whole = wb.load(direction.save(tmp_path / "whole.wb"))
    np.testing.assert_array_equal(whole.vector, direction.vector)


def test_a_direction_of_another_model_is_refused_by_a_session(tmp_path, toy_session):
    file = make(np.ones(16)).save(tmp_path / "d")
    assert Direction.load(file).name == "n"
    with pytest.raises(InputError, match="find it again"):
        Direction.load(file, toy_session)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"d": 3}, "expected one vector of 3"),
        ({"d": 10**9}, "d:"),
        ({"schema": 2}, "schema"),
        ({"scale": "x"}, "scale"),
        ({"norm": -1.0}, "norm"),
        ({"vector": "blake2b:" + "0" * 32}, "not the vector"),
        ({"extra": 1}, "extra"),
    ],
)
def test_changed_descriptions_are_refused(tmp_path, change, message):
    make([3.0, 4.0]).save(tmp_path / "d")
    path = tmp_path / "d.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(LoadError, match=message):
        Direction.load(path)


def test_damaged_and_missing_files_are_refused(tmp_path):
    file = make([3.0, 4.0]).save(tmp_path / "d")
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(LoadError):
        Direction.load(file)
    save_file({"vector": np.array([1.0, 0.0])}, file)
    with pytest.raises(LoadError, match="not the vector"):
        Direction.load(file)
    file.unlink()
    with pytest.raises(LoadError, match="no file"):
        Direction.load(file)


def test_details_that_are_not_json_are_refused_when_saved(tmp_path):
    with pytest.raises(InputError, match="JSON"):
        make([1.0, 0.0], details={"x": object()}).save(tmp_path / "d")
    assert not list(tmp_path.iterdir())

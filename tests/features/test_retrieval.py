"""Retrieval over sparse codes against brute force over dense codes."""

from __future__ import annotations

import json

import index_fixtures
import numpy as np
import pytest

import workbench as wb
from workbench.errors import InputError, LoadError, SaeError
from workbench.features import retrieval, retrieval_build
from workbench.features.retrieval import documents, property_weights, retrieve
from workbench.features.retrieval_codes import DocumentCodes

SAES = ("resid_post.0", "resid_post.1")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return index_fixtures.write(tmp_path_factory.mktemp("retrieval"))


@pytest.fixture(scope="module")
def session(root):
    with index_fixtures.session(root) as opened:
        opened.index(index_fixtures.texts(), root / "index", **index_fixtures.OPTIONS)
        yield opened


@pytest.fixture(scope="module")
def codes(session):
    return documents(session, progress=False, part_tokens=300)


@pytest.fixture(scope="module")
def brute(session):
    """Dense max-pooled codes [document, 160], computed row by row from the index's rows."""
    index = session.opened_index
    out = np.zeros((index.n_documents, 160))
    for row in range(len(index.rows) - 1):
        low, high = int(index.rows[row]), int(index.rows[row + 1])
        run = np.searchsorted(index.runs[:, 0], low, side="right") - 1
        document = int(index.runs[run, 1])
        tokens = session.tokens([np.asarray(index.tokens[low:high]).tolist()])
        ran = session.run(tokens, capture=list(SAES))
        own = ~np.asarray(index.special[low:high])
        for place, name in enumerate(SAES):
            dense = session.saes[name].encode_dense(ran[name])[0].detach().numpy()[own]
            part = out[document, place * 80 : (place + 1) * 80]
            np.maximum(part, dense.max(0), out=part)
    return out


def test_codes_equal_brute_force(codes, brute):
    made = codes.matrix().toarray()
    assert made.shape == brute.shape
    np.testing.assert_allclose(made, brute, rtol=1e-4, atol=1e-5)
    assert codes.n_documents == 120


def test_postings_are_the_columns_with_falling_activation(codes):
    matrix = codes.matrix().tocsc()
    for column in range(codes.n_features):
        held, values = codes.postings(column)
        assert (np.diff(values) <= 0).all()
        assert sorted(held.tolist()) == matrix[:, column].indices.tolist()


def weights_of(codes, seed, n=6, *, signed=False):
    rng = np.random.default_rng(seed)
    chosen = rng.choice(codes.n_features, n, replace=False)
    return {
        str(codes.ref(int(column))): float(rng.normal() if signed else rng.random() + 0.1)
        for column in chosen
    }


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("signed", [False, True])
def test_exact_search_ranks_like_brute_force(session, codes, brute, seed, signed):
    query = weights_of(codes, seed, signed=signed)
    vector = np.zeros(codes.n_features)
    for ref, weight in query.items():
        vector[codes.column(ref)] = weight
    expected = brute @ vector
    touched = (brute[:, vector != 0] != 0).any(1)
    found = retrieve(session, query, 10, codes=codes)
    best = np.sort(expected[touched])[::-1][:10]
    np.testing.assert_allclose(found.scores, best, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.scores, expected[found.documents], rtol=1e-4, atol=1e-4)
    for parts, score in zip(found.contributions, found.scores, strict=True):
        assert sum(part.score for part in parts) == pytest.approx(float(score), rel=1e-4, abs=1e-4)
        assert {part.feature for part in parts} <= set(query)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("head", [1, 5, 40])
@pytest.mark.parametrize("signed", [False, True])
def test_what_an_approximate_search_calls_certain_is_exact(session, codes, seed, head, signed):
    query = weights_of(codes, seed, signed=signed)
    truth = retrieve(session, query, 10, codes=codes)
    found = retrieve(session, query, 10, codes=codes, exact=False, head=head, compare=True)
    certain = found.certain
    assert found.documents[:certain].tolist() == truth.documents[:certain].tolist()
    assert found.recall == pytest.approx(np.isin(truth.documents, found.documents).mean())
    assert found.recall >= certain / len(truth.documents)


def test_a_head_as_long_as_the_postings_is_exact(session, codes):
    query = weights_of(codes, 3)
    truth = retrieve(session, query, 10, codes=codes)
    found = retrieve(session, query, 10, codes=codes, exact=False, head=120, compare=True)
    assert found.documents.tolist() == truth.documents.tolist()
    assert (found.certain, found.recall) == (len(truth.documents), 1.0)


def test_a_document_finds_itself_by_its_text(session, codes):
    texts = index_fixtures.texts()
    longest = max(range(len(texts)), key=lambda number: len(texts[number].split()))
    held = documents(session, texts, progress=False, context=60)
    found = retrieve(session, text=texts[longest], k=3, codes=held)
    assert found.documents[0] == longest
    own = held.code(longest)[1]
    assert found.scores[0] == pytest.approx(float((own.astype(float) ** 2).sum()), rel=1e-4)
    assert texts[longest].startswith(found.previews[0].strip()[:30])


def test_packed_documents_have_their_own_codes(session):
    texts = index_fixtures.texts(40)
    held = documents(session, texts, progress=False, packing=True, context=24, part_tokens=100)
    assert held.n_documents == 40
    for number in range(40):
        begin = session.tokenizer(texts[number], add_special_tokens=False)["input_ids"]
        assert held.preview(number).tolist() == begin[: retrieval_build.PREVIEW]


def test_a_killed_build_goes_on_and_ends_in_the_same_bytes(session, tmp_path, monkeypatch):
    texts = index_fixtures.texts(60)
    options = {"progress": False, "part_tokens": 150}
    whole = documents(session, texts, tmp_path / "whole", **options)
    real, calls = retrieval_build._pooled, []

    def failing(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(retrieval_build, "_pooled", failing)
    with pytest.raises(KeyboardInterrupt):
        documents(session, texts, tmp_path / "cut", **options)
    with pytest.raises(LoadError, match="no document codes"):
        DocumentCodes(tmp_path / "cut")
    before = len(calls)
    again = documents(session, texts, tmp_path / "cut", **options)
    assert len(calls) - before < len(calls)
    monkeypatch.setattr(retrieval_build, "_pooled", None)  # a finished one needs no computing
    documents(session, texts, tmp_path / "cut", **options)
    assert index_fixtures.content(again.path) == index_fixtures.content(whole.path)


def test_parts_done_are_not_done_again(session, tmp_path, monkeypatch):
    texts = index_fixtures.texts(60)
    real, calls = retrieval_build._pooled, []

    def counting(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(retrieval_build, "_pooled", counting)
    with pytest.raises(KeyboardInterrupt):
        documents(session, texts, tmp_path / "a", progress=False, part_tokens=150)
    kept = len(list((tmp_path / "a" / "parts").glob("*.npz")))
    assert kept == 3
    documents(session, texts, tmp_path / "a", progress=False, part_tokens=150)
    total = len(calls) - 1
    calls.clear()
    calls.extend([0] * 10)  # past the fourth
    documents(session, texts, tmp_path / "b", progress=False, part_tokens=150)
    assert total == len(calls) - 10


def test_the_number_of_parts_changes_nothing(session, codes, tmp_path):
    other = documents(session, path=tmp_path / "one", progress=False, part_tokens=10**6)
    np.testing.assert_allclose(
        other.matrix().toarray(), codes.matrix().toarray(), rtol=1e-4, atol=1e-5
    )


def test_codes_lie_beside_the_index_and_are_opened_again(session, codes):
    assert codes.path == session.opened_index.path / "documents"
    assert documents(session, progress=False, part_tokens=300).n_postings == codes.n_postings


def test_properties_weigh_features_by_their_labels(session, codes):
    session.lists.annotate("resid_post.0/3", label="European cities")
    session.lists.annotate("resid_post.0/7", label="city names")
    session.lists.annotate("resid_post.1/9", label="negation")
    weights = property_weights(session, "cities", codes)
    assert {str(ref) for ref in weights} == {"resid_post.0/3", "resid_post.0/7"}
    assert list(weights.values()) == pytest.approx([1.0, np.exp(-(1 / 100) / 0.2)])
    found = retrieve(session, about="cities", k=5, codes=codes)
    assert found.contributions[0][0].label in ("European cities", "city names")

    def embed(texts):
        known = {"European cities": [1, 0.0], "city names": [0.9, 0.5], "town": [1, 0.1]}
        return np.array([known.get(text, [-1, 0.2]) for text in texts])

    meant = property_weights(session, "town", codes, embed=embed)
    assert [str(ref) for ref in meant] == ["resid_post.0/3", "resid_post.0/7", "resid_post.1/9"]
    with pytest.raises(InputError, match="no label shares letters"):
        property_weights(session, "zzzz", codes)
    with pytest.raises(InputError, match="expected one row each"):
        property_weights(session, "town", codes, embed=lambda texts: np.zeros((1, 2)))


def test_scale_divides_by_the_largest_activation(session, codes):
    ref = str(codes.ref(int(np.argmax(np.diff(codes._arrays["offsets"])))))
    found = retrieve(session, {ref: 2.0}, 3, codes=codes, scale="maximum")
    assert found.scores[0] == pytest.approx(2.0)


def test_result_is_a_table_and_a_file(session, codes, tmp_path):
    found = retrieve(session, weights_of(codes, 1), 5, codes=codes)
    table = found.to_pandas()
    assert table["document"].tolist() == found.documents.tolist()
    read = wb.load(found.save(tmp_path / "found"))
    assert read.contributions == found.contributions
    assert "exact" in read.summary()


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((), {}, InputError, "exactly one"),
        ((["resid_post.0/3"],), {"text": "x"}, InputError, "exactly one"),
        (([],), {}, InputError, "empty"),
        (({"resid_post.0/3": 0.0},), {}, InputError, "empty"),
        (({"resid_post.0/3": float("nan")},), {}, InputError, "finite"),
        (({"resid_post.0/3": "much"},), {}, InputError, "expected a number"),
        ((["resid_post.7/3"],), {}, SaeError, "resid_post"),
        ((["resid_post.0/999"],), {}, InputError, "0 to 79"),
        ((["resid_post.0/3"], 0), {}, InputError, "at least 1"),
        ((["resid_post.0/3"],), {"scale": "tf"}, InputError, "maximum"),
        ((["resid_post.0/3"],), {"exact": False, "head": -1}, InputError, "head"),
        ((), {"about": "  "}, InputError, "empty"),
    ],
)
def test_bad_queries_are_refused(session, codes, arguments, options, error, message):
    with pytest.raises(error, match=message):
        retrieve(session, *arguments, codes=codes, **options)


def test_without_an_index_it_says_what_to_do(root):
    with (
        index_fixtures.session(root) as fresh,
        pytest.raises(InputError, match="feature index"),
    ):
        documents(fresh)


def test_damaged_and_foreign_codes_are_refused(session, tmp_path):
    held = documents(session, index_fixtures.texts(10), tmp_path / "codes", progress=False)
    with pytest.raises(InputError, match="other documents"):
        documents(session, index_fixtures.texts(11), held.path, progress=False)
    manifest = held.path / "manifest.json"
    data = json.loads(manifest.read_text())
    data["model"]["fingerprint"] = "other"
    manifest.write_text(json.dumps(data))
    with pytest.raises(LoadError, match="other weights of the model"):
        DocumentCodes(held.path, session=session)
    data["schema"] = 99
    manifest.write_text(json.dumps(data))
    with pytest.raises(LoadError, match="newer version"):
        DocumentCodes(held.path)
    data["schema"] = 1
    manifest.write_text(json.dumps(data))
    values = held.path / "values.npy"
    values.write_bytes(values.read_bytes()[:-4])
    with pytest.raises(LoadError, match="missing or cut"):
        DocumentCodes(held.path)


def test_module_offers_what_it_says():
    assert all(hasattr(retrieval, name) for name in retrieval.__all__)


def test_the_session_offers_it(session, codes):
    query = weights_of(codes, 2)
    held = session.documents(progress=False, part_tokens=300)
    assert held.n_postings == codes.n_postings
    found = session.retrieve(query, 3, codes=held)
    assert found.documents.tolist() == retrieve(session, query, 3, codes=codes).documents.tolist()

"""`FeatureActs` against the dense array it stands for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import InputError
from workbench.saes.acts import FeatureActs


@st.composite
def dense_codes(draw, d_sae=None, rows=None):
    """A sparse dense code with token axes (batch, pos); signed, some tokens empty."""
    batch = draw(st.integers(0, 3)) if rows is None else rows
    pos = draw(st.integers(1, 4))
    width = draw(st.integers(1, 9)) if d_sae is None else d_sae
    size = batch * pos * width
    # Few distinct values, so that ties occur.
    value = st.sampled_from([0.0, 0.0, 0.0, 1.0, -1.0, 0.5, 2.5, -3.0])
    values = draw(st.lists(value, min_size=size, max_size=size))
    return torch.tensor(values, dtype=torch.float32).reshape(batch, pos, width)


@given(dense_codes())
def test_dense_to_sparse_and_back_is_the_identity(dense):
    acts = FeatureActs.from_dense(dense)
    assert torch.equal(acts.to_dense(), dense)
    assert acts.nnz == int((dense != 0).sum())
    assert torch.equal(acts.l0(), (dense != 0).sum(-1))
    for row in range(acts.n_tokens):
        indices, values = acts.token(row)
        assert (indices.diff() > 0).all()
        assert (values != 0).all()


@given(dense_codes(), st.data())
def test_concatenation_of_a_split_is_the_whole(dense, data):
    cut = data.draw(st.integers(0, len(dense)))
    parts = [FeatureActs.from_dense(part) for part in (dense[:cut], dense[cut:])]
    whole = FeatureActs.concatenate(parts)
    expected = FeatureActs.from_dense(dense)
    assert torch.equal(whole.offsets, expected.offsets)
    assert torch.equal(whole.indices, expected.indices)
    assert torch.equal(whole.values, expected.values)
    assert whole.lead == expected.lead


@given(dense_codes(), st.data())
def test_selection_equals_indexing(dense, data):
    acts = FeatureActs.from_dense(dense)
    flat = dense.reshape(-1, dense.shape[-1])
    mask = torch.tensor(
        data.draw(st.lists(st.booleans(), min_size=len(flat), max_size=len(flat))), dtype=torch.bool
    )
    by_mask = acts.select(mask.reshape(dense.shape[:-1]))
    assert torch.equal(by_mask.to_dense(), flat[mask])
    if len(flat):
        order = torch.tensor(data.draw(st.lists(st.integers(0, len(flat) - 1), max_size=6)))
        assert torch.equal(acts.select(order.long()).to_dense(), flat[order.long()])


@given(dense_codes(), st.data())
def test_columns_equal_indexing(dense, data):
    acts = FeatureActs.from_dense(dense)
    chosen = data.draw(st.permutations(range(dense.shape[-1])))[: data.draw(st.integers(0, 4))]
    assert torch.equal(acts.columns(chosen), dense[..., chosen])
    for feature in chosen:
        assert torch.equal(acts.column(feature), dense[..., feature])


@given(dense_codes(), st.integers(1, 12))
def test_top_features_are_the_strongest(dense, k):
    top = FeatureActs.from_dense(dense).top(k)
    for row, code in enumerate(dense.reshape(-1, dense.shape[-1]).tolist()):
        active = sorted(((-abs(value), index) for index, value in enumerate(code) if value != 0))[
            :k
        ]
        expected = [index for _, index in active] + [-1] * (k - len(active))
        got = top.indices.reshape(-1, k)[row].tolist()
        assert got == expected
        values = [code[index] if index >= 0 else 0.0 for index in expected]
        assert top.values.reshape(-1, k)[row].tolist() == values


@given(dense_codes())
def test_statistics_equal_those_of_the_dense_code(dense):
    flat = dense.reshape(-1, dense.shape[-1]).double()
    found = FeatureActs.from_dense(dense).statistics()
    assert found.n_tokens == len(flat)
    assert torch.equal(found.count, (flat != 0).sum(0))
    assert torch.allclose(found.total, flat.sum(0))
    assert torch.allclose(found.total_squares, flat.square().sum(0))
    lowered = flat.masked_fill(flat == 0, -torch.inf)
    expected = lowered.amax(0) if len(flat) else torch.full((flat.shape[1],), -torch.inf).double()
    assert torch.equal(found.maximum, expected)


@given(dense_codes(d_sae=5), dense_codes(d_sae=5))
def test_statistics_add(first, second):
    a, b = (FeatureActs.from_dense(code).statistics() for code in (first, second))
    flat = torch.cat([first.reshape(-1, 5), second.reshape(-1, 5)])
    whole = FeatureActs.from_dense(flat).statistics()
    added = a + b
    assert added.n_tokens == whole.n_tokens
    assert torch.equal(added.count, whole.count)
    assert torch.allclose(added.total, whole.total)
    assert torch.equal(added.maximum, whole.maximum)


@given(dense_codes())
def test_pooling_takes_the_largest_active_value_of_each_row(dense):
    pooled = FeatureActs.from_dense(dense).max_pool()
    lowered = dense.masked_fill(dense == 0, -torch.inf)
    expected = lowered.amax(1).masked_fill(lowered.amax(1) == -torch.inf, 0)
    assert torch.equal(pooled.to_dense(), expected)


@given(dense_codes())
@settings(max_examples=30)
def test_other_forms_hold_the_same_numbers(dense):
    acts = FeatureActs.from_dense(dense)
    flat = dense.reshape(-1, dense.shape[-1])
    if len(flat):
        assert torch.equal(acts.to_torch_sparse().to_dense(), flat)
    table = acts.to_pandas()
    assert len(table) == acts.nnz
    for row in table.itertuples():
        assert dense[row.batch, row.pos, row.feature] == row.activation
    half = acts.to(dtype=torch.float16)
    assert torch.equal(half.to_dense(), dense.half())
    assert half.nbytes < acts.nbytes or acts.nnz == 0


@given(dense_codes(d_sae=8, rows=2))
def test_rows_of_fixed_length_may_come_unordered_with_zeros(dense):
    flat = dense.reshape(-1, 8)
    indices = torch.stack([torch.randperm(8) for _ in flat])
    acts = FeatureActs.from_rows(indices, flat.gather(-1, indices), 8)
    assert torch.equal(acts.to_dense(), flat)
    assert torch.equal(acts.indices, FeatureActs.from_dense(flat).indices)


def test_parts_that_do_not_fit_are_refused():
    acts = FeatureActs.from_dense(torch.eye(3).reshape(1, 3, 3))
    with pytest.raises(InputError, match="row offsets"):
        acts.reshape(2, 2)
    with pytest.raises(InputError, match="cannot concatenate"):
        FeatureActs.concatenate([acts, FeatureActs.from_dense(torch.zeros(1, 3, 4))])
    with pytest.raises(InputError, match="at least one"):
        FeatureActs.concatenate([])
    with pytest.raises(InputError, match=r"expected \(1, 3\)"):
        acts.select(torch.ones(3, dtype=torch.bool))
    with pytest.raises(InputError, match="outside the token axes"):
        acts.token(0, 3)
    with pytest.raises(InputError, match="at least 1"):
        acts.top(0)
    assert acts.token(0, -1)[0].tolist() == [2]
    assert "3 active" in repr(acts)

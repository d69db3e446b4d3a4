"""AUROC against pair counting and scikit-learn, its interval against its own equation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats
from sklearn.metrics import roc_auc_score

from workbench.directions.detection import auroc, auroc_columns, auroc_interval
from workbench.errors import InputError


def test_by_hand():
    # Pairs (positive, negative): 3>1, 3>2, 2>1 win, 2=2 is half: 3.5 of 4.
    assert auroc(np.array([3, 2, 1, 2]), np.array([True, True, False, False])) == 3.5 / 4


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40))
def test_equals_counting_pairs(rows):
    scores, labels = (np.array(column) for column in zip(*rows, strict=True))
    if labels.all() or not labels.any():
        with pytest.raises(InputError, match="both classes"):
            auroc(scores, labels)
        return
    pairs = [(p > n) + 0.5 * (p == n) for p in scores[labels] for n in scores[~labels]]
    assert auroc(scores, labels) == pytest.approx(np.mean(pairs))


def test_columns_equal_single_scores():
    rng = np.random.default_rng(0)
    labels = rng.random(50) < 0.4
    values = rng.random((50, 9)) * (rng.random((50, 9)) < 0.3)
    expected = [roc_auc_score(labels, column) for column in values.T]
    np.testing.assert_allclose(auroc_columns(values, labels), expected)
    np.testing.assert_allclose(auroc_columns(sparse.csr_matrix(values), labels), expected)


def test_scores_that_are_not_numbers_are_refused():
    with pytest.raises(InputError, match="1 of 3 scores"):
        auroc(np.array([1.0, np.nan, 2.0]), np.array([True, True, False]))


@pytest.mark.parametrize("area", [0.0, 0.03, 0.5, 0.8, 0.999, 1.0])
def test_interval_ends_solve_the_equation(area):
    m, n = 30, 45
    low, high = auroc_interval(area, m, n)
    assert 0 <= low <= area <= high <= 1
    assert low < high
    z = stats.norm.ppf(0.975)
    spread = (m + n) / 2 - 1
    for end in (low, high):
        if end in (0.0, 1.0):
            assert end == area
            continue
        inner = 1 + spread * (1 - end) / (2 - end) + spread * end / (1 + end)
        error = z * np.sqrt(end * (1 - end) * inner / (m * n))
        assert abs(end - area) == pytest.approx(error, rel=1e-6)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    truth = stats.norm.cdf(1.5 / np.sqrt(2))
    labels = np.repeat([True, False], 40)
    covered = 0
    for _ in range(400):
        scores = rng.normal(size=80) + 1.5 * labels
        low, high = auroc_interval(auroc(scores, labels), 40, 40)
        covered += low <= truth <= high
    assert 0.92 <= covered / 400 <= 0.99

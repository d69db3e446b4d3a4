"""Sketches against brute force, and merging in every order to the same bits."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from workbench.errors import InputError
from workbench.features.index.settings import COLUMN_BITS, IndexSettings
from workbench.features.index.sketches import merge, merge_stretches, sketch
from workbench.features.index.sketches.bins import bin_edges, bin_of, mantissa_of
from workbench.features.index.sketches.cofiring import Cofiring
from workbench.features.index.sketches.entries import select
from workbench.features.index.sketches.ordering import stable_argsort
from workbench.features.index.sketches.silent import choose_stretches
from workbench.features.index.sketches.sketch import TABLES

SMALL = IndexSettings(
    contexts=3,
    samples_per_bin=2,
    window=2,
    top_window=3,
    cofiring_tokens=5,
    neighbours=4,
    silent_blocks=4,
    silent_width=4,
)


def rows(rng, n_rows=12, d_sae=7, width=14, signed=False, repeats=True):
    """Activations over a few rows: one dict of arrays per row, documents of one to three rows."""
    made, document = [], 0
    for row in range(n_rows):
        active = rng.random((width, d_sae)) < rng.choice([0.05, 0.3, 0.9], size=d_sae)
        column, feature = active.nonzero()
        value = rng.lognormal(0, 2, size=len(column)).astype(np.float32)
        if repeats:  # ties, as low precision gives them
            value = np.where(rng.random(len(value)) < 0.5, np.float32(0.75), value)
        if signed:
            value = value * rng.choice([-1, 1], size=len(value)).astype(np.float32)
        order = rng.permutation(len(column))
        place = (row << COLUMN_BITS) + column
        every = (row << COLUMN_BITS) + np.arange(width)
        made.append(
            {
                "feature": feature[order].astype(np.int32),
                "place": place[order],
                "document": np.full(len(column), document, dtype=np.int32),
                "value": value[order],
                "counted": rng.random(width) < 0.9,
                "every": every,
            }
        )
        counted = made[-1]["counted"][made[-1]["place"] - (row << COLUMN_BITS)]
        for name in ("feature", "place", "document", "value"):
            made[-1][name] = made[-1][name][counted]
        document += rng.random() < 0.5
    return made


def make(parts, settings):
    """Sketch of some rows at once, with its stretches."""
    joined = {
        name: torch.from_numpy(np.concatenate([part[name] for part in parts])) for name in parts[0]
    }
    stretches = choose_stretches(joined["every"], joined["counted"], settings)
    columns = [joined[name] for name in ("feature", "place", "document", "value")]
    return sketch(*columns, stretches, settings), stretches


def combine(made, settings):
    stretches = merge_stretches([one[1] for one in made], settings)
    return merge([one[0] for one in made], stretches, settings), stretches


def same(one, other):
    """Every column of every table equal, to the bit."""
    (one, its), (other, others) = one, other
    assert torch.equal(its, others)
    for name, columns in TABLES.items():
        for column in columns:
            a, b = one.table(name)[column], other.table(name)[column]
            assert a.dtype == b.dtype, (name, column)
            assert a.numpy().tobytes() == b.numpy().tobytes(), (name, column)


@given(seed=st.integers(0, 10_000), signed=st.booleans(), cuts=st.sets(st.integers(1, 11)))
@hypothesis_settings(max_examples=60, deadline=None)
def test_merging_is_associative_to_the_bit(seed, signed, cuts):
    rng = np.random.default_rng(seed)
    given_rows = rows(rng, signed=signed)
    edges = [0, *sorted(cuts), len(given_rows)]
    parts = [make(given_rows[a:b], SMALL) for a, b in itertools.pairwise(edges)]
    whole = make(given_rows, SMALL)
    same(combine(parts, SMALL), whole)
    left = parts[0]
    for part in parts[1:]:
        left = combine([left, part], SMALL)
    same(left, whole)
    right = parts[-1]
    for part in reversed(parts[:-1]):
        right = combine([part, right], SMALL)
    same(right, whole)


@given(seed=st.integers(0, 10_000))
@hypothesis_settings(max_examples=20, deadline=None)
def test_the_order_within_a_part_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    given_rows = rows(rng)
    turned = [
        {
            name: part[name][::-1].copy() if name in ("feature", "place", "value") else part[name]
            for name in part
        }
        for part in given_rows
    ]
    same(make(given_rows, SMALL), make(turned, SMALL))


@pytest.mark.parametrize("signed", [False, True])
def test_everything_equals_brute_force(signed):
    rng = np.random.default_rng(5)
    given_rows = rows(rng, n_rows=20, width=20, signed=signed)
    made, stretches = make(given_rows, SMALL)
    by_feature = defaultdict(list)
    for part in given_rows:
        for feature, place, document, value in zip(
            part["feature"], part["place"], part["document"], part["value"], strict=True
        ):
            by_feature[int(feature)].append((int(place), int(document), float(value)))
    rank, sampled = select(made.entries, SMALL)
    entries = {name: column.numpy() for name, column in made.entries.items()}
    for feature, entries_of in by_feature.items():
        here = entries["feature"] == feature
        # Strongest, one per document, ties by place.
        best = {}
        for place, document, value in sorted(entries_of, key=lambda e: (-abs(e[2]), e[0])):
            best.setdefault(document, (place, value))
        expected = list(best.values())[: SMALL.contexts]
        ranked = sorted(
            (int(r), int(p), float(v))
            for r, p, v in zip(
                rank.numpy()[here], entries["place"][here], entries["value"][here], strict=True
            )
            if r >= 0
        )
        assert [(p, v) for _, p, v in ranked] == expected
        assert [r for r, _, _ in ranked] == list(range(len(expected)))
        # Counts, sums and extremes, exactly.
        rows_of = made.histogram["feature"].numpy() == feature
        table = {name: column.numpy()[rows_of] for name, column in made.histogram.items()}
        low, high = bin_edges(table["bin"], SMALL.bins_per_octave)
        values = [value for _, _, value in entries_of]
        for number, low_edge, high_edge, row in zip(
            table["bin"], low, high, range(len(low)), strict=True
        ):
            inside = [
                v
                for v in values
                if v and (low_edge <= v < high_edge if number > 0 else low_edge < v <= high_edge)
            ]
            assert table["count"][row] == len(inside)
            assert table["low"][row] == min(inside)
            assert table["high"][row] == max(inside)
            _, exponent = mantissa_of(torch.tensor(inside))
            assert len(set(exponent.tolist())) == 1
            scale = Fraction(2) ** (int(exponent[0]) - 150)
            assert int(table["total"][row]) * scale == sum(abs(Fraction(v)) for v in inside)
            squares = (int(table["squares_high"][row]) << 24) + int(table["squares_low"][row])
            assert squares * scale**2 == sum(Fraction(v) ** 2 for v in inside)
            # Samples: as many as there are, at most so many.
            taken = (
                here
                & sampled.numpy()
                & (bin_of(made.entries["value"], SMALL.bins_per_octave).numpy() == number)
            )
            assert taken.sum() == min(len(inside), SMALL.samples_per_bin)
        assert table["count"].sum() == len(values)
        # All activations near a selected one are there, and no others.
        selected = [
            (int(p), SMALL.top_window if r >= 0 else SMALL.window)
            for p, r, s in zip(
                entries["place"][here], rank.numpy()[here], sampled.numpy()[here], strict=True
            )
            if r >= 0 or s
        ]
        expected_places = sorted(
            place
            for place, _, _ in entries_of
            if any(
                abs(place - p) <= w and place >> COLUMN_BITS == p >> COLUMN_BITS
                for p, w in selected
            )
        )
        assert entries["place"][here].tolist() == expected_places
        # Stretches: who fires in them, and on their token.
        fired = made.firing["feature"].numpy() == feature
        got = dict(
            zip(
                made.firing["place"].numpy()[fired].tolist(),
                made.firing["at_place"].numpy()[fired].tolist(),
                strict=True,
            )
        )
        places = {place for place, _, _ in entries_of}
        expected_fired = {}
        for token in stretches.tolist():
            inside_stretch = [p for p in places if p // 4 == token // 4]
            if inside_stretch:
                expected_fired[token] = token in places
        assert got == expected_fired


def test_samples_are_fair():
    # One feature, one bin, many tokens: each is as likely as any other to be sampled.
    settings = IndexSettings(contexts=1, samples_per_bin=4, window=0, top_window=0)
    n = 200
    hits = np.zeros(n)
    for seed in range(400):
        rng_settings = IndexSettings(**{**settings.to_dict(), "seed": seed, "silent_blocks": 0})
        entries = {
            "feature": torch.zeros(n, dtype=torch.int32),
            "place": torch.arange(n) << COLUMN_BITS,
            "document": torch.arange(n, dtype=torch.int32),
            "value": torch.full((n,), 1.5),
        }
        _, sampled = select(entries, rng_settings)
        hits += sampled.numpy()
    assert hits.sum() == 400 * 4
    # 1,600 draws over 200 tokens: mean 8, standard deviation 2.8.
    assert hits.max() < 8 + 5 * 2.8
    assert (hits == 0).sum() < 5


def test_cofiring_is_exact_where_it_can_be_and_close_elsewhere():
    rng = np.random.default_rng(0)
    n_tokens, d_sae = 4000, 12
    base = rng.random(n_tokens)
    active = np.zeros((n_tokens, d_sae), dtype=bool)
    active[:, 0] = base < 0.3
    active[:, 1] = base < 0.15
    active[:, 2] = base < 0.004
    active[:, 3] = base < 0.006
    for feature in range(4, d_sae):
        active[:, feature] = rng.random(n_tokens) < 0.1
    settings = IndexSettings(cofiring_tokens=64, neighbours=5)
    feature, token = active.T.nonzero()
    columns = [
        torch.from_numpy(feature.astype(np.int32)),
        torch.from_numpy(token) << COLUMN_BITS,
        torch.from_numpy(token.astype(np.int32)),
        torch.ones(len(token)),
    ]
    made = sketch(*columns, torch.zeros(0, dtype=torch.int64), settings)
    tokens = {name: column.numpy() for name, column in made.tokens.items()}
    count = active.sum(0)
    cofiring = Cofiring(tokens, count, settings)
    found = cofiring.neighbours(range(d_sae))
    true = active.T.astype(int) @ active.astype(int)
    listed = {
        (int(a), int(b)): float(t)
        for a, b, t in zip(found.feature, found.other, found.together, strict=True)
    }
    assert count[2] <= 64
    assert listed[(2, 3)] == true[2, 3]  # both rare: exact
    assert next(b for a, b in listed if a == 2) == 3
    assert next(b for a, b in listed if a == 0) == 1
    assert listed[(0, 1)] == pytest.approx(true[0, 1], rel=0.35)
    half = cofiring.neighbours(range(6, 9))
    assert [(a, b) for a, b in listed if 6 <= a < 9] == list(
        zip(half.feature.tolist(), half.other.tolist(), strict=True)
    )


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=50))
def test_bins_hold_their_values_and_rise_with_them(values):
    value = torch.tensor(values, dtype=torch.float32)
    for per_octave in (1, 2, 4, 8):
        bins = bin_of(value, per_octave).numpy()
        low, high = bin_edges(bins, per_octave)
        for number, a, b, v in zip(bins, low, high, value.tolist(), strict=True):
            if v == 0:
                assert number == 0
            elif v > 0:
                assert a <= v < b
            else:
                assert a < v <= b
        order = np.argsort(value.numpy(), kind="stable")
        assert (np.diff(bins[order]) >= 0).all()
    normal = value[value.abs() >= 2.0**-126]
    low, high = bin_edges(bin_of(normal, 8).numpy(), 8)
    widths = np.maximum(np.abs(low), np.abs(high)) / np.minimum(np.abs(low), np.abs(high))
    np.testing.assert_allclose(widths, 2 ** (1 / 8), rtol=1e-6)


@given(st.lists(st.integers(-5, 5), max_size=200))
def test_the_fast_sort_is_stable(keys):
    key = torch.tensor(keys, dtype=torch.int64)
    expected = sorted(range(len(keys)), key=lambda i: keys[i])
    assert stable_argsort(key).tolist() == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bins_per_octave", 3),
        ("contexts", 0),
        ("silent_width", 12),
        ("dense_above", 0.0),
        ("samples_per_bin", -1),
    ],
)
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(InputError, match=name):
        IndexSettings(**{name: value})


def test_settings_round_trip_and_refuse_unknown_names():
    assert IndexSettings.from_dict(SMALL.to_dict()) == SMALL
    with pytest.raises(InputError, match="contexts"):
        IndexSettings.from_dict({"context": 3})
    assert math.isclose(IndexSettings().dense_above, 0.01)

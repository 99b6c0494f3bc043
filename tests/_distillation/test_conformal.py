"""Shifts of quantiles against ranks, copies, and coverage by simulation."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm

from sklearn_kd._distillation.conformal import (
    check_calibration_rows,
    conformal_shift,
    paired_levels,
)

LEVELS = np.array([0.05, 0.2, 0.5, 0.9, 0.95])


def rows(n, seed=0, factor=1.0):
    """Skewed noise, and quantiles that are too narrow."""
    rng = np.random.RandomState(seed)
    scale = rng.uniform(0.5, 2, size=n)
    y = scale * (rng.exponential(size=n) - 1)
    return y, 0.5 * factor * scale[:, None] * norm.ppf(LEVELS)


def shift_of(quantiles, y, levels=LEVELS):
    return conformal_shift(quantiles, y, np.ones(len(y)), levels, len(y))


def test_pairs_of_levels():
    assert paired_levels(LEVELS) == ([(0, 4)], [1, 3])
    assert paired_levels(np.array([0.1, 0.2, 1 - 0.2, 0.9])) == ([(0, 3), (1, 2)], [])
    assert paired_levels(np.array([0.5])) == ([], [])
    assert paired_levels(np.array([0.3, 0.7])) == ([(0, 1)], [])


def test_the_shift_is_a_score_of_this_rank():
    y, quantiles = rows(137)
    shift = shift_of(quantiles, y)
    scores = np.sort(np.maximum(quantiles[:, 0] - y, y - quantiles[:, 4]))
    amount = scores[int(np.ceil(138 * 0.9)) - 1]
    assert (shift[0], shift[4]) == (-amount, amount)
    assert shift[1] == -np.sort(quantiles[:, 1] - y)[int(np.ceil(138 * 0.8)) - 1]
    assert shift[3] == np.sort(y - quantiles[:, 3])[int(np.ceil(138 * 0.9)) - 1]
    assert shift[2] == 0


@pytest.mark.parametrize("n", [9, 10, 19, 20, 39])
def test_the_rank_is_exact_where_the_coverage_is_rounded(n):
    y, quantiles = rows(n)
    scores = np.sort(np.maximum(quantiles[:, 0] - y, y - quantiles[:, 4]))
    rank = -(-(n + 1) * 9 // 10)  # integers have no rounding
    assert shift_of(quantiles, y)[4] == scores[min(rank, n) - 1]


def test_a_weight_is_a_number_of_copies_by_a_common_factor():
    y, quantiles = rows(80)
    counts = np.random.RandomState(1).randint(1, 4, size=80)
    index = np.random.RandomState(2).permutation(np.repeat(np.arange(80), counts))
    copies = conformal_shift(quantiles[index], y[index], np.ones(len(index)), LEVELS, 80)
    for factor in (1.0, 1e-6, 7.0):
        weighted = conformal_shift(quantiles, y, factor * counts, LEVELS, 80)
        assert_array_equal(weighted, copies)
    once = conformal_shift(quantiles, y, np.full(80, 3.0), LEVELS, 80)
    assert_array_equal(once, shift_of(quantiles, y))


@pytest.mark.parametrize(("factor", "offset"), [(1e9, 0), (1e-9, 0), (2.0, 1024.0)])
def test_units(factor, offset):
    y, quantiles = rows(80)
    found = shift_of(factor * quantiles + offset, factor * y + offset)
    assert_allclose(found / factor, shift_of(quantiles, y), rtol=1e-6)


def test_the_other_sign_exchanges_the_sides():
    y, quantiles = rows(80)
    levels = np.array([0.05, 0.2, 0.5, 0.8, 0.95])
    found = shift_of(-quantiles[:, ::-1], -y, levels)
    assert_allclose(-found[::-1], shift_of(quantiles, y, levels))


def test_constant_targets():
    shift = shift_of(np.zeros((30, 5)), np.zeros(30))
    assert_array_equal(shift, 0)


def test_coverage_of_new_rows():
    covered, below = [], []
    for seed in range(300):
        y, quantiles = rows(60, seed)
        shift = shift_of(quantiles[:40], y[:40])
        found = quantiles[40:] + shift
        covered.append(np.mean((found[:, 0] <= y[40:]) & (y[40:] <= found[:, 4])))
        below.append((y[40:, None] <= found).mean(axis=0))
    # ranks of 41: 37 of them are covered
    assert np.mean(covered) == pytest.approx(37 / 41, abs=0.015)
    below = np.mean(below, axis=0)
    assert below[3] == pytest.approx(37 / 41, abs=0.015)
    assert below[1] == pytest.approx(1 - 33 / 41, abs=0.015)


def test_fewer_rows_than_a_coverage_needs():
    check_calibration_rows(np.array([0.05, 0.5, 0.95]), 10, 12)
    with pytest.raises(
        ValueError, match=r"up to 0\.9, .*at least 10 rows, .*are 9 \(n_samples=12\):"
    ):
        check_calibration_rows(np.array([0.05, 0.5, 0.95]), 9, 12)
    with pytest.raises(ValueError, match="at least 20 rows, "):
        check_calibration_rows(np.array([0.05, 0.5]), 19, 19)
    check_calibration_rows(np.array([0.5]), 1, 1)

"""Checks and units of the targets of a regression."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm

from sklearn_kd._utils import regression_targets
from sklearn_kd._utils.regression_targets import (
    check_numbers,
    check_soft_numbers,
    fit_target_units,
    standardize_targets,
)
from sklearn_kd.exceptions import PrecisionWarning, SoftTargetsAlignmentWarning
from tests._helpers.regressor import expected_units


@pytest.mark.parametrize(
    "values",
    [
        [1, 2, 3],
        [True, False, True],
        np.float16([1, 2, 3]),
        np.array([1, 2.5, 3], dtype=object),
        pd.Series([1, 2, 3], dtype="Int64"),
        [[1, 2], [3, 4], [5, 6]],
    ],
    ids=str,
)
def test_numbers_of_any_container_are_float64(values):
    found = check_numbers(values, "y")
    assert found.dtype == np.float64
    assert_array_equal(found, np.asarray(values, dtype=float))


DATES = pd.Series(pd.date_range("2020-01-01", periods=3))


@pytest.mark.parametrize(
    "values",
    [
        DATES,
        DATES.dt.tz_localize("UTC"),
        DATES - DATES[0],
        pd.DatetimeIndex(DATES),
        DATES.to_numpy(),
        list(DATES.to_numpy()),
        pd.DataFrame({"number": [1, 2, 3], "date": DATES}),
    ],
    ids=["dates", "zone", "durations", "index", "array", "list", "frame"],
)
def test_dates_and_durations_have_no_unit(values):
    with pytest.raises(ValueError, match=r"y must be numbers .* contains dates or durations"):
        check_numbers(values, "y")


def test_what_is_no_number():
    with pytest.raises(TypeError, match=r"pass y.toarray\(\)"):
        check_numbers(sp.csr_array(np.eye(2)), "y")
    with pytest.raises(ValueError, match="y must be numbers"):
        check_numbers(["a", "b"], "y")
    with pytest.raises(ValueError, match="y must be numbers"):
        check_numbers(pd.Series(["a", "b"]), "y")
    with pytest.raises(ValueError, match="Input y contains NaN"):
        check_numbers(pd.Series([1, None], dtype="Float64"), "y")
    with pytest.raises(ValueError, match="Input y contains infinity"):
        check_numbers([1, np.inf], "y", allow_nan=True)
    assert np.isnan(check_numbers([1, np.nan], "y", allow_nan=True)[1])


@pytest.mark.parametrize("factor", [1.0, 1e-9, 1e9, 1e200, 1e-200])
def test_units_are_weighted_and_equal_copies(factor):
    rng = np.random.RandomState(0)
    y, counts = factor * rng.normal(size=(50, 2)), rng.randint(1, 4, size=50)
    offset, scale = fit_target_units(y, counts.astype(float))
    copies = np.repeat(y / factor, counts, axis=0)
    assert_allclose(offset / factor, copies.mean(axis=0), rtol=1e-12)
    assert_allclose(scale / factor, copies.std(axis=0), rtol=1e-12)
    one = fit_target_units(y[:, 0], counts.astype(float))
    assert_allclose(one, (offset[0], scale[0]))
    assert type(one[0]) is float
    z = standardize_targets(y, offset, scale)
    assert_allclose(z, (y - offset) / scale, atol=2.0**-33)
    assert_array_equal(z * 2.0**32, np.round(z * 2.0**32))


def test_units_of_constant_targets():
    weights = np.ones(3)
    assert fit_target_units(np.full(3, 0.1), weights) == (0.1, 0.0)
    assert fit_target_units(np.full(3, -0.1), weights, is_first=True) == (-0.1, 0.1)
    assert fit_target_units(np.zeros(3), weights, is_first=True) == (0.0, 1.0)
    assert_array_equal(standardize_targets(np.array([0.1, 5.0]), 0.1, 0.0), np.zeros((2, 1)))


@pytest.mark.parametrize("factor", [1.0, -1e-9, 1e9, 1e200, 1e-200])
def test_robust_units_are_weighted_and_equal_copies(factor):
    rng = np.random.RandomState(0)
    y, counts = rng.standard_t(2, size=(60, 2)), rng.randint(1, 4, size=60)
    offset, scale = fit_target_units(factor * y, 0.1 * counts, is_robust=True)
    copies = rng.permutation(np.repeat(y, counts, axis=0))
    median, deviation = expected_units(copies, "huber")
    assert_allclose(offset / factor, median, rtol=1e-15)
    assert_allclose(scale / abs(factor), deviation, rtol=1e-13)
    of_copies = fit_target_units(factor * copies, np.ones(len(copies)), is_robust=True)
    assert_array_equal(offset, of_copies[0])
    assert_allclose(scale, of_copies[1], rtol=1e-13)
    shifted = fit_target_units(y + 1e3, 7.0 * counts, is_robust=True)
    assert_allclose(shifted[0], offset / factor + 1e3, rtol=1e-13)
    assert_allclose(shifted[1], scale / abs(factor), rtol=1e-9)


def test_robust_units_at_a_level_between_two_values():
    # in sums of weights of .1 the half is reached a rounding error too early or too late
    for n in range(2, 200, 2):
        offset, _ = fit_target_units(np.arange(float(n)), np.full(n, 0.1), is_robust=True)
        assert offset == (n - 1) / 2


def test_robust_units_estimate_the_deviation_of_a_normal_distribution():
    y = norm.ppf((np.arange(10_000) + 0.5) / 10_000)
    assert_allclose(fit_target_units(y, np.ones(10_000), is_robust=True), (0, 1), atol=1e-3)
    y[::100] = 1e30  # one of a hundred
    offset, scale = fit_target_units(y, np.ones(10_000), is_robust=True)
    assert abs(offset) < 0.02
    assert 1 < scale < 1.1
    z = standardize_targets(np.r_[y, np.finfo(float).max / 8], offset, scale * 1e-200)
    assert np.isfinite(z.astype(np.float32)).all()


def test_robust_units_where_most_targets_are_equal():
    weights = np.ones(100)
    y = np.zeros(100)
    assert fit_target_units(y + 0.1, weights, is_robust=True) == (0.1, 0.0)
    assert fit_target_units(y, weights, is_robust=True, is_first=True) == (0.0, 1.0)
    y[:9] = [1, 2, 3, 4, 5, 6, 7, 8, 1e9]  # the quantile of level .95 is 4.5, the median 5
    square = (1 + 4 + 9 + 16 + 5 * 25) / 100 / 0.9554959**2
    assert_allclose(fit_target_units(y, weights, is_robust=True), (0, square**0.5), rtol=1e-6)
    y[3:9] = 0.0  # quantile 0, median 2
    square = (1 + 4 + 4) / 100 / 0.9554959**2
    assert_allclose(fit_target_units(y, weights, is_robust=True), (0, square**0.5), rtol=1e-6)


def test_robust_units_that_lose_digits():
    y = 1e12 + 1e-3 * np.arange(10)
    with pytest.warns(PrecisionWarning, match="columns 0 of y vary by less"):
        fit_target_units(y, np.ones(10), is_robust=True)
    with pytest.raises(ValueError, match="too little for predictions in float32"):
        fit_target_units(1e-39 * np.arange(10.0), np.ones(10), np.float32, is_robust=True)


def test_soft_numbers_and_their_order():
    rng = np.random.RandomState(0)
    y = rng.normal(size=150)
    soft = y + rng.normal(size=150)
    assert_array_equal(check_soft_numbers(soft[:, None], y), soft)
    assert_array_equal(check_soft_numbers(pd.DataFrame(soft), y), soft)
    with pytest.warns(SoftTargetsAlignmentWarning, match="another order"):
        check_soft_numbers(soft[::-1], y)
    with pytest.warns(SoftTargetsAlignmentWarning, match="another order"):
        check_soft_numbers(-soft[:50], y[:50])
    check_soft_numbers(np.full(150, 2.0), y)  # a teacher that predicts a constant
    both = np.c_[soft, soft[::-1]]  # one target is enough
    check_soft_numbers(both, np.c_[y, y])
    soft[3] = np.nan
    assert check_soft_numbers(soft, y)[3] == y[3]


LEVELS = np.array([0.1, 0.5, 0.9])


def noise_of_two_sizes(n=150, seed=0):
    """Targets around zero whose spread alone depends on the row, and their quantiles."""
    rng = np.random.RandomState(seed)
    scale = rng.choice([0.2, 2.0], size=n)
    return scale * rng.normal(size=n), scale[:, None] * norm.ppf(LEVELS)


def test_quantiles_of_a_teacher():
    y, soft = noise_of_two_sizes()
    assert_array_equal(check_soft_numbers(soft, y, LEVELS), soft[:, None])
    assert_array_equal(check_soft_numbers(pd.DataFrame(soft), y, LEVELS)[:, 0], soft)
    both = np.stack([soft, 3 * soft + 1], axis=1)
    assert_array_equal(check_soft_numbers(both, np.c_[y, 3 * y + 1], LEVELS), both)
    assert check_soft_numbers(soft[:, :1], y, LEVELS[:1]).shape == (150, 1, 1)
    assert check_soft_numbers(soft[:, 1], y, LEVELS[1:2]).shape == (150,)
    assert check_soft_numbers(np.c_[y, y], np.c_[y, y], LEVELS[:2]).shape == (150, 2)
    soft[4, :2] = soft[4, 1::-1]  # they cross in one row
    assert_array_equal(check_soft_numbers(soft, y, LEVELS)[4, 0], np.sort(soft[4]))
    soft[3] = np.nan
    assert np.isnan(check_soft_numbers(soft, y, LEVELS)[3]).all()
    z = standardize_targets(check_soft_numbers(both, np.c_[y, y], LEVELS), *np.c_[[1, 2], [3, 0]].T)
    assert_allclose(z[:, 0], (both[:, 0] - 1) / 3, atol=2.0**-33)
    assert not z[:, 1].any()
    soft[5, 0] = np.nan
    with pytest.raises(ValueError, match="NaN in a part of row 5"):
        check_soft_numbers(soft, y, LEVELS)
    with pytest.raises(ValueError, match=r"the shape of y, \(150,\).* or \(150, 3\).* \(150, 2\)"):
        check_soft_numbers(soft[:, :2], y, LEVELS)
    with pytest.raises(ValueError, match=r"of shape \(150, 3, 1\)"):
        check_soft_numbers(soft[:, :, None], y)


@pytest.mark.parametrize("scale", [1.0, 1e9, 1e-9, 1e300])
def test_quantiles_of_a_teacher_in_another_order(scale):
    y, soft = noise_of_two_sizes()
    y, soft, order = (
        scale * (y + 100),
        scale * (soft + 100),
        np.random.RandomState(1).permutation(150),
    )
    check_soft_numbers(soft, y, LEVELS)
    with pytest.warns(SoftTargetsAlignmentWarning, match="pinball loss .* another order"):
        check_soft_numbers(soft[order], y, LEVELS)
    with pytest.warns(SoftTargetsAlignmentWarning, match="descend from one level"):
        check_soft_numbers(soft[:, ::-1], y, LEVELS)
    check_soft_numbers(np.tile(soft[:1], (150, 1)), y, LEVELS)  # the same for all rows
    with pytest.warns(SoftTargetsAlignmentWarning, match="all rows"):
        check_soft_numbers(np.full_like(soft, np.nan), y, LEVELS)


def test_the_loss_in_another_order_is_that_of_all_pairs(monkeypatch):
    y, soft = noise_of_two_sizes(20)
    said = []
    monkeypatch.setattr(regression_targets, "_least_deviations", lambda n: np.inf)
    monkeypatch.setattr(regression_targets, "warn_caller", lambda text, kind: said.append(text))
    check_soft_numbers(soft, y, LEVELS)

    def losses(y, soft):
        return np.maximum(LEVELS * (y - soft), (LEVELS - 1) * (y - soft)).mean(axis=-1)

    gain = losses(y[:, None, None], soft[None]).mean(axis=0) - losses(y[:, None], soft)
    deviations = gain.mean() / (gain.std() / 20**0.5)
    assert f"at most {deviations:.1f} standard errors less" in said[0]

"""Scaling of the inputs of a network."""

import warnings

import numpy as np
import pytest
from hypothesis import given, strategies as st
from sklearn.preprocessing import StandardScaler

from sklearn_kd._utils.scaling import fit_scaling, mean_and_deviation, scale_inputs
from sklearn_kd.exceptions import PrecisionWarning


@pytest.mark.parametrize("n", [30, 20_000])  # within a block and over several
def test_against_standard_scaler(n):
    rng = np.random.RandomState(0)
    X, w = rng.normal(size=(n, 4)) * [1, 2, 3, 4] + 5, rng.uniform(0.1, 3, size=n)
    offset, scale = fit_scaling(X, w)
    reference = StandardScaler().fit(X, sample_weight=w)
    np.testing.assert_allclose(offset, reference.mean_, rtol=1e-12)
    np.testing.assert_allclose(scale, reference.scale_ * 2, rtol=1e-10)
    mean, deviation = mean_and_deviation(X, w)
    np.testing.assert_array_equal(mean, offset)
    np.testing.assert_allclose(deviation, reference.scale_, rtol=1e-10)
    scaled = scale_inputs(X, offset, scale, intercept=True)
    np.testing.assert_allclose(scaled[:, :4], reference.transform(X) / 2, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(scaled[:, 4], 1)
    assert np.average((scaled[:, :4] ** 2).sum(axis=1), weights=w) == pytest.approx(1)
    assert scale_inputs(X, offset, scale, intercept=False).shape == (n, 4)


def test_constant_columns_become_zero_and_do_not_count():
    X = np.random.RandomState(0).normal(size=(50, 4))
    X[:, 1], X[:, 3] = 0.1, 1e9 + 0.1
    offset, scale = fit_scaling(X, np.full(50, 0.37))
    scaled = scale_inputs(X, offset, scale, intercept=False)
    assert (scaled[:, [1, 3]] == 0).all()
    assert np.mean((scaled**2).sum(axis=1)) == pytest.approx(1)
    assert (scale[[1, 3]] == 1).all()


@given(seed=st.integers(0, 2**16))
def test_weights_are_repetitions(seed):
    rng = np.random.RandomState(seed)
    X, counts = rng.normal(size=(12, 3)) * 10.0 ** rng.randint(-3, 7, size=3), rng.randint(1, 5, 12)
    X += 10.0 ** rng.randint(-3, 7, size=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        weighted = fit_scaling(X, counts.astype(float))
        repeated = fit_scaling(np.repeat(X, counts, axis=0), np.ones(counts.sum()))
    np.testing.assert_allclose(weighted, repeated, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e6])
@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_units_and_shifts_drop_out(factor, shift):
    rng = np.random.RandomState(1)
    X, w = rng.normal(size=(200, 3)), rng.uniform(0.5, 2, 200)
    plain = scale_inputs(X, *fit_scaling(X, w), intercept=False)
    moved = X * factor + shift
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        scaled = scale_inputs(moved, *fit_scaling(moved, w), intercept=False)
    # what rounding of the moved numbers allows
    digits = 1e-15 * (1 + shift / factor)
    np.testing.assert_allclose(scaled, plain, atol=10 * digits)


def test_dtype_of_inputs_is_kept_and_statistics_are_float64():
    rng = np.random.RandomState(0)
    X = (rng.normal(size=(10_000, 3)) + 1000).astype(np.float32)
    offset, scale = fit_scaling(X, np.ones(len(X)))
    assert offset.dtype == scale.dtype == np.float64
    np.testing.assert_allclose(offset, X.astype(np.float64).mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(scale, X.astype(np.float64).std(axis=0) * np.sqrt(3), rtol=1e-11)
    before = X.copy()
    assert scale_inputs(X, offset, scale, intercept=True).dtype == np.float32
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize(("dtype", "shift"), [(np.float32, 1e5), (np.float64, 1e14)])
def test_lost_digits_are_told(dtype, shift):
    X = np.random.RandomState(0).normal(size=(100, 3))
    X[:, 1] += shift
    with pytest.warns(PrecisionWarning, match=r"columns 1 vary.*subtract"):
        fit_scaling(X.astype(dtype), np.ones(100))
    fit_scaling(X.astype(dtype)[:, [0, 2]], np.ones(100))  # no warning


@pytest.mark.parametrize(
    "column",
    [
        np.r_[np.zeros(1000), 1.0],  # no row of the first estimate differs from zero
        np.r_[np.full(512, 1e12), np.random.RandomState(0).normal(size=500) + 1e6],
        np.random.RandomState(0).normal(size=1000) * 1e200,
        np.random.RandomState(0).normal(size=1000) * 1e-200,
        1.7e308 * np.linspace(-1, 1, 1000),
        np.sort(np.random.RandomState(0).standard_cauchy(size=5000)),
    ],
    ids=["rare", "steps", "huge", "tiny", "largest", "sorted"],
)
def test_statistics_of_numbers_that_a_single_pass_does_not_suit(column):
    X = np.c_[np.random.RandomState(1).normal(size=len(column)), column]
    w = np.random.RandomState(2).uniform(0.5, 2, size=len(column))
    mean, deviation = mean_and_deviation(X, w)
    exact = X.astype(np.longdouble)
    expected = np.average(exact, weights=w, axis=0)
    spread = np.sqrt(np.average((exact - expected) ** 2, weights=w, axis=0))
    error = np.abs(mean - expected.astype(float))
    assert (error <= 1e-12 * np.maximum(np.abs(mean), spread)).all()
    np.testing.assert_allclose(deviation, spread.astype(float), rtol=1e-9)

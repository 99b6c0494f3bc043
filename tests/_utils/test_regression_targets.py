"""Checks and units of the targets of a regression."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_kd._utils.regression_targets import (
    check_numbers,
    check_soft_numbers,
    fit_target_units,
    standardize_targets,
)
from sklearn_kd.exceptions import SoftTargetsAlignmentWarning


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

"""Indicators of several labels: what counts as one, and their soft targets."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal
from sklearn.utils.multiclass import type_of_target

from sklearn_kd._utils.label_indicators import (
    check_label_indicator,
    check_label_names,
    check_soft_label_indicator,
    is_label_indicator,
    mean_label_entropy,
    refuse_label_indicator,
)
from sklearn_kd.exceptions import SoftTargetsAlignmentWarning

Y = np.array([[0, 1, 1], [1, 0, 1], [0, 0, 0], [1, 1, 0]])
CONTAINERS = [
    np.asarray,
    np.ndarray.tolist,
    list,
    lambda y: y.astype(bool),
    lambda y: y.astype(np.float32),
    lambda y: y.astype(object),
    lambda y: y.astype(bool).astype(object),
    pd.DataFrame,
    lambda y: pd.DataFrame(y).astype("Int64"),
    lambda y: pd.DataFrame(y).astype("boolean"),
]


@pytest.mark.parametrize("container", CONTAINERS)
def test_indicators(container):
    y = container(Y)
    assert is_label_indicator(y)
    checked = check_label_indicator(y)
    assert_array_equal(checked, Y)
    assert checked.dtype == np.int64


@pytest.mark.parametrize(
    "y",
    [
        None,
        Y[:, 0],
        Y[:, :1],  # a binary problem, as for type_of_target
        [[0, 1], [1]],
        2 * Y - 1,
        Y + 1,
        Y * 2,
        np.where(Y, 1, np.nan),
        Y.astype(str),
        Y.astype(str).astype(object),
        Y.astype(complex),
        np.stack([Y, Y]),
    ],
    ids=repr,
)
def test_other_targets_are_no_indicators(y):
    assert not is_label_indicator(y)


def test_indicators_are_those_of_scikit_learn():
    for y in (Y, Y[:1], np.zeros_like(Y), np.ones_like(Y), sp.csr_array(Y)):
        assert type_of_target(y) == "multilabel-indicator"
        assert is_label_indicator(y)
    assert type_of_target(Y[:, :1]) == "binary"


def test_what_is_no_dense_indicator_is_an_error():
    with pytest.raises(TypeError, match=r"for y_val, .* pass y_val.toarray\(\)"):
        check_label_indicator(sp.csr_array(Y), "y_val")
    with pytest.raises(ValueError, match=r"y must be an indicator .* got the shape \(4, 3\)"):
        check_label_indicator(Y + 1)


def test_columns_of_two_frames_have_the_same_names():
    y = pd.DataFrame(Y, columns=list("abc"))
    check_label_names(y * 0.5, "soft_targets", y)
    check_label_names(Y, "soft_targets", y)
    with pytest.raises(ValueError, match=r"in another order: pass soft_targets\[y.columns\]"):
        check_label_names(y[["b", "a", "c"]], "soft_targets", y)
    with pytest.raises(ValueError, match=r"the columns .*'d'"):
        check_label_names(y.rename(columns={"a": "d"}), "soft_targets", y)


def test_soft_targets_of_labels():
    soft = 0.8 * Y + 0.1
    soft[1] = np.nan
    given = soft.copy()
    checked = check_soft_label_indicator(soft, Y)
    assert_array_equal(checked[[0, 2, 3]], soft[[0, 2, 3]])
    assert_array_equal(checked[1], Y[1])
    assert_array_equal(soft, given)
    assert_array_equal(check_soft_label_indicator(pd.DataFrame(soft), Y), checked)


@pytest.mark.parametrize(
    ("soft", "message"),
    [
        (Y[:, :2], r"the shape of y, \(4, 3\)"),
        (Y[:3], r"the shape of y, \(4, 3\)"),
        (Y * 1.1, r"probabilities in \[0, 1\]"),
        (np.where(Y, 0.5, np.nan), "NaN in a part of row 0"),
        (np.where(Y, 0.5, np.inf), "NaN or infinity"),
        (Y * 1j, "real numbers"),
    ],
)
def test_wrong_soft_targets_of_labels(soft, message):
    with pytest.raises(ValueError, match=message):
        check_soft_label_indicator(soft, Y)


def test_soft_targets_in_another_order_warn(rng):
    y = rng.randint(2, size=(200, 3))
    with pytest.warns(SoftTargetsAlignmentWarning, match="in another order"):
        check_soft_label_indicator(0.8 * y[rng.permutation(200)] + 0.1, y)
    with pytest.warns(SoftTargetsAlignmentWarning, match="all rows"):
        check_soft_label_indicator(np.full(y.shape, np.nan), y)


def test_mean_entropy_of_labels():
    Q = np.array([[0.5, 0.5], [0.5, 0.0], [1.0, 0.0]])
    assert mean_label_entropy(Q, np.ones(3)) == pytest.approx(np.log(2) / 2)
    assert mean_label_entropy(Q, np.array([0, 1, 1])) == pytest.approx(np.log(2) / 4)


def test_an_estimator_of_one_label_names_those_of_several():
    with pytest.raises(ValueError, match=r"3 labels, and KernelTeacher takes one .* ModuleClas"):
        refuse_label_indicator("KernelTeacher", Y)
    refuse_label_indicator("KernelTeacher", Y[:, 0])

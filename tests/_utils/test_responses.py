"""Predictions of classifiers of any package, in the shapes and columns of scikit-learn."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.svm import SVC

from sklearn_kd._utils.responses import (
    as_decision_values,
    as_labels,
    as_log_proba,
    as_proba,
    model_probabilities,
)


class FixedProbabilities(ClassifierMixin, BaseEstimator):
    """Classifier that predicts given probabilities."""

    def __init__(self, proba, classes=None):
        self.proba = proba
        if classes is not None:
            self.classes_ = np.asarray(classes)

    def predict_proba(self, X):
        return self.proba


X = np.zeros((2, 1))
EVEN = np.array([[0.25, 0.75], [0.5, 0.5]])


def test_columns_go_to_their_classes_in_float64():
    proba = model_probabilities(
        FixedProbabilities(np.float32(EVEN), ["b", "d"]), X, np.array(list("abcd"))
    )
    assert proba.dtype == np.float64
    assert_array_equal(proba, [[0, 0.25, 0, 0.75], [0, 0.5, 0, 0.5]])
    assert_array_equal(model_probabilities(FixedProbabilities(EVEN), X, np.array([0, 1])), EVEN)


def test_rows_are_divided_by_their_sums_where_they_miss_one():
    rounded = EVEN * (1 + 1e-5)
    assert_allclose(
        model_probabilities(FixedProbabilities(rounded, [0, 1]), X, [0, 1]), EVEN, rtol=1e-14
    )
    almost = EVEN * (1 + 1e-12)
    assert_array_equal(model_probabilities(FixedProbabilities(almost, [0, 1]), X, [0, 1]), almost)


@pytest.mark.parametrize(
    ("proba", "message"),
    [
        (EVEN[:1], r"shape \(1, 2\) for 2 rows and 2 classes"),
        (EVEN * 1.1, "each row of predict_proba of FixedProbabilities must sum to 1"),
        (EVEN - 1, r"predict_proba of FixedProbabilities must be probabilities in \[0, 1\]"),
        (EVEN * np.nan, "predict_proba of FixedProbabilities contains NaN"),
    ],
)
def test_other_values_are_refused(proba, message):
    with pytest.raises(ValueError, match=message):
        model_probabilities(FixedProbabilities(proba, [0, 1]), X, np.array([0, 1]))


ABC = np.array(["a", "b", "c"])
X3 = np.zeros((3, 1))
P3 = np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125], [0.25, 0.0, 0.75]])


# ---- labels


@pytest.mark.parametrize(
    "labels",
    [
        np.array([["c"], ["a"], ["a"]]),
        np.array([["c"], ["a"], ["a"]], dtype=object),
        ["c", "a", "a"],
        [["c"], ["a"], ["a"]],
        pd.Series(["c", "a", "a"], index=[5, 3, 1]),
        pd.Series(["c", "a", "a"], dtype="category"),
        pd.DataFrame({"label": ["c", "a", "a"]}),
    ],
    ids=["column", "objects", "list", "nested list", "series", "categories", "frame"],
)
def test_labels_are_one_dimensional_and_have_the_dtype_of_the_classes(labels):
    predicted = as_labels(labels, X3, ABC, "Fixed")
    assert predicted.dtype == ABC.dtype
    assert_array_equal(predicted, ["c", "a", "a"])


@pytest.mark.parametrize("dtype", [np.float64, np.int8, object])
def test_numbers_become_the_labels_that_they_equal(dtype):
    labels = np.array([[2], [1], [1]], dtype=dtype)
    predicted = as_labels(labels, X3, np.array([1, 2]), "Fixed")
    assert predicted.dtype == int
    assert_array_equal(predicted, [2, 1, 1])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (P3, r"predict of Fixed has returned the shape \(3, 3\) for 3 rows"),
        (np.array([["a", "b", "c"]]), r"shape \(1, 3\) for 3 rows"),
        (["a", "b"], r"shape \(2,\) for 3 rows"),
        ("a", r"shape \(\) for 3 rows"),
        ([0, 1, 2], r"Fixed predicts \d, which is not one of the classes \['a', 'b', 'c'\]"),
    ],
)
def test_what_is_no_label_for_each_row_is_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        as_labels(labels, X3, ABC, "Fixed")


# ---- probabilities


@pytest.mark.parametrize(
    "proba",
    [
        P3,
        P3.tolist(),
        P3.astype(object),
        np.asfortranarray(P3),
        P3.astype(">f8"),
        P3.astype(np.float16),
        P3.astype(np.longdouble),
        sp.csr_array(P3),
        pd.DataFrame(P3),
        pd.DataFrame(P3, columns=ABC, index=[7, 8, 9]),
        pd.DataFrame(P3, columns=ABC)[["c", "a", "b"]],
        pd.DataFrame(P3, columns=["p_a", "p_b", "p_c"]),
        pd.DataFrame(P3, dtype="Float64"),
    ],
)
def test_probabilities_become_an_array_in_the_order_of_the_classes(proba):
    predicted = as_proba(proba, X3, ABC, "Fixed")
    assert predicted.dtype == np.float64
    assert_array_equal(predicted, P3)
    assert_array_equal(
        model_probabilities(FixedProbabilities(proba, ABC), X3, np.array(list("abcd"))),
        np.column_stack([P3, np.zeros(3)]),
    )


def test_columns_of_strings_are_the_labels_that_they_write():
    classes = np.array([1, 2, 10])
    proba = pd.DataFrame(P3, columns=["1", "2", "10"])
    assert_array_equal(as_proba(proba[["10", "1", "2"]], X3, classes, "Fixed"), P3)
    # numbers of the columns are not labels
    proba = pd.DataFrame(P3, columns=[0, 1, 2])
    assert_array_equal(as_proba(proba, X3, classes, "Fixed"), P3)


def test_half_precision_is_summed_in_float64():
    rng = np.random.default_rng(0)
    P = rng.dirichlet(np.full(200, 0.3), size=50)
    half = P.astype(np.float16)
    predicted = as_proba(half, np.zeros((50, 1)), np.arange(200), "Fixed")
    assert predicted.dtype == np.float64
    assert np.abs(half.sum(axis=1, dtype=np.float64) - 1).max() > 1e-5
    assert_allclose(predicted.sum(axis=1), 1, atol=1e-12)
    assert_allclose(predicted, P, rtol=1e-3, atol=1e-7)


def test_correct_probabilities_keep_their_bits():
    for dtype in (np.float32, np.float64):
        P = softmax(np.random.default_rng(0).normal(size=(50, 20)), axis=1).astype(dtype)
        predicted = as_proba(P, np.zeros((50, 1)), np.arange(20), "Fixed")
        assert predicted.dtype == dtype
        assert_array_equal(predicted, P)


@pytest.mark.parametrize(
    ("proba", "message"),
    [
        (P3[:, :2], r"predict_proba of Fixed has returned the shape \(3, 2\) for 3 rows and 3 cl"),
        (np.column_stack([P3, P3[:, 0] * 0]), r"shape \(3, 4\) for 3 rows and 3 classes"),
        (P3[:, 0], r"shape \(3,\) for 3 rows and 3 classes"),
        ([P3, P3], r"shape \(2, 3, 3\) for 3 rows"),
        (P3 * 0.9, r"each row of predict_proba of Fixed must sum to 1.*sums to 0.9"),
        (np.zeros((3, 3)), "must sum to 1"),
        (np.log(P3 + 1), "must sum to 1"),
        (P3 * 100, r"must be probabilities in \[0, 1\]"),
        (P3 * np.nan, "contains NaN"),
        (pd.DataFrame(P3, dtype="Float64").mask(lambda P: P == 0), "NaN|NA"),
    ],
)
def test_what_are_no_probabilities_is_refused(proba, message):
    with pytest.raises((TypeError, ValueError), match=message):
        as_proba(proba, X3, ABC, "Fixed")


@pytest.mark.parametrize("proba", [P3[:, 0], P3[:, :1]])
def test_one_probability_of_two_classes_is_refused_with_the_way_out(proba):
    with pytest.raises(ValueError, match=r"return np.column_stack\(\[1 - p, p\]\)"):
        as_proba(proba, X3, np.array([0, 1]), "Fixed")


# ---- logarithms and decision values


def test_logarithms_of_probabilities():
    with np.errstate(divide="ignore"):
        log_P = np.log(P3)
    for values in (log_P, log_P.tolist(), pd.DataFrame(log_P, columns=ABC)[["b", "c", "a"]]):
        assert_array_equal(as_log_proba(values, X3, ABC, "Fixed"), log_P)
    half = as_log_proba(log_P.astype(np.float16), X3, ABC, "Fixed")
    assert half.dtype == np.float64
    assert_allclose(np.exp(half).sum(axis=1), 1, atol=1e-12)
    assert_allclose(half, log_P, rtol=1e-3)
    with pytest.raises(ValueError, match=r"each row of exp of predict_log_proba of Fixed must sum"):
        as_log_proba(log_P - 1, X3, ABC, "Fixed")
    with pytest.raises(ValueError, match=r"shape \(3, 2\) for 3 rows and 3 classes"):
        as_log_proba(log_P[:, :2], X3, ABC, "Fixed")


def test_decision_values_of_two_classes_are_one_per_row():
    f, classes = np.array([1.5, -2.0, 0.25]), np.array([0, 1])
    for values in (f, f[:, None], f.tolist(), f.astype(np.float16), pd.Series(f), pd.DataFrame(f)):
        assert_array_equal(as_decision_values(values, X3, classes, SVC(), "Fixed"), f)
    both = np.column_stack([-f, f])
    assert_array_equal(as_decision_values(both, X3, classes, SVC(), "Fixed"), both)


def test_decision_values_of_more_classes_are_one_per_class():
    assert_array_equal(as_decision_values(P3.tolist(), X3, ABC, SVC(), "Fixed"), P3)
    with pytest.raises(ValueError, match=r"decision_function of Fixed has returned the shape"):
        as_decision_values(P3[:, :1], X3, ABC, SVC(), "Fixed")
    with pytest.raises(ValueError, match="one value per pair of classes"):
        as_decision_values(P3, X3, ABC, SVC(decision_function_shape="ovo"), "Fixed")

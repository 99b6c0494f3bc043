"""Probabilities of fitted classifiers in the columns of given classes."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin

from sklearn_kd._utils.probabilities import model_probabilities


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

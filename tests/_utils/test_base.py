"""Predictions from logits, and estimators that a failing fit leaves as they were."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator

from sklearn_kd._utils.base import (
    all_or_nothing,
    labels_from_logits,
    log_probabilities_from_logits,
    probabilities_from_logits,
)
from tests._helpers.references import naive_log_proba, naive_proba


@pytest.mark.parametrize("shape", [(50,), (50, 3)])
def test_predictions_from_logits(rng, shape):
    logits = rng.normal(0, 3, shape)
    columns = logits.reshape(50, -1)
    proba = probabilities_from_logits(logits.copy())
    assert_allclose(proba, naive_proba(columns), rtol=1e-12)
    assert_allclose(log_probabilities_from_logits(logits.copy()), naive_log_proba(columns))
    classes = np.array(["a", "b", "c"])
    assert_array_equal(labels_from_logits(logits, classes), classes[proba.argmax(axis=1)])


def test_predictions_of_several_labels_from_logits(rng):
    logits = rng.normal(0, 3, (50, 3))
    proba = probabilities_from_logits(logits.copy(), are_labels=True)
    log_proba = log_probabilities_from_logits(logits.copy(), are_labels=True)
    for k in range(3):
        assert_allclose(proba[:, k], naive_proba(logits[:, [k]])[:, 1], rtol=1e-12)
        assert_allclose(log_proba[:, k], naive_log_proba(logits[:, [k]])[:, 1], rtol=1e-12)
    labels = labels_from_logits(logits, np.arange(3), are_labels=True)
    assert_array_equal(labels, proba > 0.5)
    assert labels.dtype == np.int64
    far = np.array([[-1e4, 1e4]])
    assert_array_equal(log_probabilities_from_logits(far.copy(), are_labels=True), [[-1e4, 0]])


def test_log_probabilities_are_finite_where_probabilities_underflow():
    assert_allclose(log_probabilities_from_logits(np.array([1e4])), [[-1e4, 0]])
    assert_array_equal(probabilities_from_logits(np.array([1e4])), [[0, 1]])


class Fails(BaseEstimator):
    """Sets the attributes ``fitted``, loses ``_state`` and fails."""

    def __init__(self, error):
        self.error = error

    def fit(self, **fitted):
        with all_or_nothing(self):
            vars(self).pop("_state", None)
            vars(self).update(fitted)
            raise self.error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failing_fit_leaves_fitted_attributes_as_they_were(error):
    estimator = Fails(error)
    estimator.weights_, estimator._state, estimator._skl_callbacks = 1, "before", []
    before = dict(vars(estimator))
    with pytest.raises(error):
        estimator.fit(weights_=2, classes_=[0, 1], _n_fits=1, _callback_fit_ctx="removed elsewhere")
    assert vars(estimator) == {**before, "_callback_fit_ctx": "removed elsewhere"}


def test_an_interrupt_that_has_kept_weights_leaves_them():
    estimator = Fails(KeyboardInterrupt)
    # the second interrupt comes when training has ended: the first fit is restored
    for reason in ("interrupted", "max_iter"):
        with pytest.raises(KeyboardInterrupt):
            estimator.fit(weights_=reason, termination_condition_=reason)
        assert estimator.weights_ == "interrupted"

""" "Auto" parameters that both networks have."""

import numpy as np
import pytest
from sklearn.base import clone

from sklearn_kd import ModuleClassifier, TwoLayerPGDClassifier
from sklearn_kd._networks.input_checks import ValidationSource
from sklearn_kd._networks.resolve import (
    resolve_batch_size,
    resolve_patience,
    resolve_scaling,
    sample_validation_rows,
    stops_early,
)
from sklearn_kd._networks.tasks import ClassificationTask
from sklearn_kd._networks.training_data import TrainingData


def networks(**params):
    return TwoLayerPGDClassifier(**params), ModuleClassifier(None, **params)


def rows(n, y_encoded=None):
    X = np.random.RandomState(0).normal(size=(n, 2))
    y_encoded = np.arange(n) % 2 if y_encoded is None else y_encoded
    return TrainingData(
        X, y_encoded, np.ones(n), None, None, ClassificationTask(y_encoded.max() + 1)
    )


@pytest.mark.parametrize(
    ("batch_size", "n", "partial", "expected"),
    [
        ("auto", 1000, False, None),
        ("auto", 1001, False, 128),
        ("auto", 1000, True, 128),
        ("auto", 128, True, None),
        (None, 5000, False, None),
        (50, 51, False, 50),
        (50, 50, False, None),
    ],
)
def test_batch_size(batch_size, n, partial, expected):
    for est in networks(batch_size=batch_size):
        assert resolve_batch_size(est, rows(n), partial=partial) == expected


def test_patience():
    for est in networks():
        assert resolve_patience(est, 1000, divisor=5) == 200
        assert resolve_patience(est, 30, divisor=5) == 10
    for est in networks(n_iter_no_change=3):
        assert resolve_patience(est, 1000, divisor=5) == 3


def test_scaling():
    def fit_scaling(data):
        return data.X.mean(axis=0), data.X.std(axis=0)

    data = rows(20)
    for est in networks():
        offset, _ = resolve_scaling(est, data, fit_scaling, partial=False, resume=False)
        np.testing.assert_array_equal(offset, data.X.mean(axis=0))
        est.input_offset_, est.input_scale_ = 1, 2
        for partial, resume in ((False, True), (True, True), (True, False)):  # the last: warmed up
            found = resolve_scaling(est, data, fit_scaling, partial=partial, resume=resume)
            assert found == (1, 2)
        again, _ = resolve_scaling(est, data, fit_scaling, partial=False, resume=False)
        np.testing.assert_array_equal(again, offset)
    for est in networks(input_scaling=False):
        est.input_offset_, est.input_scale_ = 1, 2
        for partial in (False, True):
            found = resolve_scaling(est, data, fit_scaling, partial=partial, resume=False)
            np.testing.assert_array_equal(found, [[0, 0], [1, 1]])


def test_validation_rows_are_stratified_or_none():
    for est in networks(validation_fraction=0.2):
        y_encoded = np.repeat([0, 1], [30, 20])
        data = rows(50, y_encoded)
        mask = sample_validation_rows(est, data, np.random.RandomState(0))
        assert np.bincount(y_encoded[mask]).tolist() == [6, 4]
        data = rows(3, np.arange(3))
        assert sample_validation_rows(est, data, np.random.RandomState(0)) is None


AUTO = TwoLayerPGDClassifier(4, early_stopping="auto", alpha=0.5)
SOFT = np.full((4, 2), 0.5)
HARD = np.eye(2)[[0, 1, 0, 1]]


@pytest.mark.parametrize(
    ("soft", "changed", "weights", "has_rows", "expected"),
    [
        (SOFT, {}, [1, 1, 1, 1], False, False),
        (SOFT, {"early_stopping": True}, [1, 1, 1, 1], False, True),
        (None, {"early_stopping": False}, [1, 1, 1, 1], False, False),
        (None, {}, [1, 1, 1, 1], False, True),
        (SOFT, {}, [1, 1, 1, 1], True, True),
        (SOFT, {"alpha": 0.0}, [1, 1, 1, 1], False, True),
        (SOFT, {"alpha": 1.0}, [1, 1, 1, 1], False, False),
        (SOFT, {"alpha": 1.5}, [1, 1, 1, 1], False, True),
        (np.r_[SOFT[:2], HARD[:2]], {}, [1, 1, 1, 1], False, False),
        (np.r_[SOFT[:2], HARD[:2]], {}, [1, 1, 10, 3], False, True),  # a mean entropy of .09
        (np.r_[SOFT[:2], HARD[:2]], {}, [2, 2, 20, 3], False, False),  # of .103
        (HARD, {}, [1, 1, 1, 1], False, True),
    ],
)
def test_auto_stops_early_unless_most_labels_are_soft(soft, changed, weights, has_rows, expected):
    est = clone(AUTO).set_params(**changed)
    validation = ValidationSource(X=np.ones((1, 1)) if has_rows else None)
    assert stops_early(est, soft, np.array(weights), validation) is expected

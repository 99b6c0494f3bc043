"""Rows that are encoded where they are read equal those encoded at once."""

import pickle

import numpy as np
import pandas as pd
import pytest

from sklearn_kd import (
    BatchedGridSearchCV,
    SelfDistillClassifier,
    TableEncoder,
    TwoLayerPGDClassifier,
    TwoLayerPGDRegressor,
)
from sklearn_kd._core.network.training import ROWS_PER_EVALUATION
from sklearn_kd._networks import training_data
from sklearn_kd._tables import encoder_step
from sklearn_kd._tables.encoded_rows import EncodedRows
from sklearn_kd._tables.encoder import encode


def mixed_table(n=1500, dtype=np.float64):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(n, 3)).astype(dtype), columns=list("abc"))
    X["level"] = rng.choice(["x", "y", "z"], n)
    X.loc[::7, "a"] = np.nan
    X.loc[::5, "level"] = None
    return X


def numbers(n=1500):
    return np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32)


@pytest.mark.parametrize("make", [mixed_table, numbers])
def test_encoded_rows_equal_the_array(make):
    X = make()
    encoder = TableEncoder().fit(X)
    rows, expected = EncodedRows(encoder, X), encode(encoder, X)
    assert rows.shape == expected.shape
    assert rows.dtype == expected.dtype
    assert len(rows) == len(X)
    positions = np.random.default_rng(0).permutation(len(X))[:50]
    for part in (slice(3, 40), slice(None), positions):
        np.testing.assert_array_equal(rows[part], expected[part])
    np.testing.assert_array_equal(np.asarray(rows), expected)
    some = pickle.loads(pickle.dumps(rows.take(positions)))
    np.testing.assert_array_equal(some[10:20], expected[positions[10:20]])


def read_in_three_ways(monkeypatch, fit):
    """Return what ``fit`` returns with an array, with rows encoded once, and batch by batch."""
    results = []
    for least_bytes, share in ((np.inf, np.inf), (0, np.inf), (0, 0.0)):
        monkeypatch.setattr(encoder_step, "MIN_LAZY_BYTES", least_bytes)
        monkeypatch.setattr(training_data, "MAX_MEMORY_SHARE", share)
        results.append(fit())
    return results


@pytest.mark.parametrize(
    "options",
    [
        {"early_stopping": True},
        {"early_stopping": False, "n_members": 2},
        {"early_stopping": True, "batch_size": None, "max_iter": 5},
    ],
    ids=str,
)
@pytest.mark.parametrize("make", [mixed_table, numbers])
def test_networks_do_not_depend_on_how_rows_are_read(monkeypatch, make, options):
    X = make()
    y = np.arange(len(X)) % 3
    settings = {"width": 4, "max_iter": 2, "random_state": 0, **options}

    def fit():
        return TwoLayerPGDClassifier(**settings).fit(X, y)

    array, *others = read_in_three_ways(monkeypatch, fit)
    for other in others:
        np.testing.assert_array_equal(array.input_scale_, other.input_scale_)
        np.testing.assert_array_equal(array.hidden_weights_, other.hidden_weights_)
        assert array.validation_loss_curve_ == other.validation_loss_curve_


def test_batches_validation_rows_and_searches_too(monkeypatch):
    X = mixed_table()
    y = np.random.default_rng(0).normal(size=len(X))

    def fit():
        model = TwoLayerPGDRegressor(4, max_iter=2, random_state=0)
        model.fit(X[:1200], y[:1200], X_val=X[1200:], y_val=y[1200:])
        model.partial_fit(X, y)
        search = BatchedGridSearchCV(
            TwoLayerPGDRegressor(max_iter=2, random_state=0), {"width": [2, 4]}, cv=2
        ).fit(X, y)
        return np.r_[model.predict(X), search.cv_results_["mean_test_score"]]

    array, *others = read_in_three_ways(monkeypatch, fit)
    for other in others:
        np.testing.assert_array_equal(array, other)


def test_self_distillation_too(monkeypatch):
    X = mixed_table()
    y = (np.random.default_rng(0).random(len(X)) < 0.5).astype(int)

    def fit():
        network = TwoLayerPGDClassifier(4, max_iter=2, random_state=0, early_stopping=True)
        model = SelfDistillClassifier(network, random_state=0).fit(X, y)
        errors = model.find_label_errors(X, y, cv=2)
        return np.r_[model.refined_targets_[:, 0], errors["label_quality"]]

    array, *others = read_in_three_ways(monkeypatch, fit)
    for other in others:
        np.testing.assert_array_equal(array, other)


def test_rows_that_do_not_fit_into_memory_are_not_made(monkeypatch):
    """Where memory has no room for the encoded rows a fit makes no array of their size."""
    X = mixed_table(10_000)
    monkeypatch.setattr(encoder_step, "MIN_LAZY_BYTES", 0)
    monkeypatch.setattr(training_data, "MAX_MEMORY_SHARE", 0.0)
    most = []
    real = training_data.scale_inputs

    def recorded(rows, **scaling):
        most.append(len(rows))
        return real(rows, **scaling)

    def refused(self, dtype=None, copy=None):
        raise AssertionError("all rows were encoded at once")

    monkeypatch.setattr(training_data, "scale_inputs", recorded)
    monkeypatch.setattr(EncodedRows, "__array__", refused)
    for options in ({}, {"input_scaling": False, "optimizer": "nesterov"}):
        model = TwoLayerPGDClassifier(4, max_iter=2, early_stopping=False, **options)
        model.fit(X, np.arange(len(X)) % 2)
    assert 0 < max(most) <= ROWS_PER_EVALUATION

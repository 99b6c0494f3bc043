"""Estimators and comparisons with GridSearchCV for tests of searches."""

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV

from sklearn_kd import (
    BatchedGridSearchCV,
    DistilledClassifier,
    DistilledRegressor,
    TwoLayerPGDClassifier,
    TwoLayerPGDRegressor,
)
from tests._helpers.data import FIXED, blobs
from tests._helpers.estimators import fitted_names

WIDTHS = {"width": [2, 4]}
SHORT = {"encoder": None, "width": 2, "max_iter": 25, "n_init": 1, "random_state": 0}


def student(**options):
    return TwoLayerPGDClassifier(**{**SHORT, **options})


def regressor(**options):
    return TwoLayerPGDRegressor(**{**SHORT, **options})


def distilled(teacher=None, inner=None, **options):
    teacher = LogisticRegression() if teacher is None else teacher
    options = {"random_state": 0, **options}
    options = {**FIXED, **options}
    return DistilledClassifier(teacher, student() if inner is None else inner, **options)


def distilled_regressor(teacher=None, inner=None, **options):
    teacher = Ridge() if teacher is None else teacher
    options = {"alpha": 0.5, "augmentation": None, "random_state": 0, **options}
    return DistilledRegressor(teacher, regressor() if inner is None else inner, **options)


def batched(estimator=None, grid=WIDTHS, **options):
    estimator = student() if estimator is None else estimator
    return BatchedGridSearchCV(estimator, grid, **{"cv": 3, **options})


def table(n_classes=3, n=90, seed=0):
    return blobs(n, n_classes, spread=3, seed=seed)


def numbers(n=90, seed=0, n_targets=None):
    """Rows of `table`, with a number that bends along them."""
    X, y_encoded = table(n=n, seed=seed)
    y = np.abs(X[:, 0]) + X[:, 2] + 0.3 * y_encoded + X[:, 1] ** 2
    return X, y if n_targets is None else np.stack([y - k * X[:, 2] for k in range(n_targets)], 1)


def predictions(model, X):
    """Probabilities of a classifier, numbers of a regressor."""
    return model.predict_proba(X) if is_classifier(model) else model.predict(X)


def assert_same_results(search, expected, atol=1e-9):
    results = search.cv_results_
    assert list(results) == list(expected.cv_results_)
    assert results["params"] == expected.cv_results_["params"]
    for name, values in expected.cv_results_.items():
        if "_test_" in name or "_train_" in name:
            np.testing.assert_allclose(results[name], values, rtol=0, atol=atol, err_msg=name)
    assert fitted_names(search) == fitted_names(expected)
    assert type(search.scorer_) is type(expected.scorer_)
    for name in ("best_params_", "best_index_", "multimetric_", "n_splits_"):
        assert getattr(search, name, None) == getattr(expected, name, None)


def assert_same_search(estimator, grid=WIDTHS, data=None, fit_params=None, atol=1e-9, **options):
    """Fit both searches; return ours."""
    if data is None:
        data = table() if is_classifier(estimator) else numbers()
    X, y = data
    scoring = "neg_log_loss" if is_classifier(estimator) else "neg_mean_absolute_error"
    options = {"cv": 3, "scoring": scoring, **options}
    fit_params = {} if fit_params is None else fit_params
    expected = GridSearchCV(clone(estimator), grid, **options).fit(X, y, **fit_params)
    search = BatchedGridSearchCV(estimator, grid, **options).fit(X, y, **fit_params)
    assert_same_results(search, expected, atol)
    if hasattr(expected, "best_estimator_"):
        assert type(search.best_estimator_) is type(expected.best_estimator_)
        if is_classifier(estimator):
            np.testing.assert_array_equal(search.classes_, expected.classes_)
        found, there = predictions(search, X), predictions(expected, X)
        np.testing.assert_allclose(found, there, rtol=0, atol=atol)
        assert search.score(X, y) == pytest.approx(expected.score(X, y), abs=atol)
    return search

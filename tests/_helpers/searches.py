"""Estimators and comparisons with GridSearchCV for tests of searches."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from sklearn_kd import BatchedGridSearchCV, DistilledClassifier, TwoLayerPGDClassifier
from tests._helpers.data import FIXED, blobs
from tests._helpers.estimators import fitted_names

WIDTHS = {"width": [2, 4]}


def student(**options):
    return TwoLayerPGDClassifier(
        **{"encoder": None, "width": 2, "max_iter": 25, "n_init": 1, "random_state": 0, **options}
    )


def distilled(teacher=None, inner=None, **options):
    teacher = LogisticRegression() if teacher is None else teacher
    options = {"random_state": 0, **options}
    options = {**FIXED, **options}
    return DistilledClassifier(teacher, student() if inner is None else inner, **options)


def batched(estimator=None, grid=WIDTHS, **options):
    estimator = student() if estimator is None else estimator
    return BatchedGridSearchCV(estimator, grid, **{"cv": 3, **options})


def table(n_classes=3, n=90, seed=0):
    return blobs(n, n_classes, spread=3, seed=seed)


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
    X, y = table() if data is None else data
    options = {"cv": 3, "scoring": "neg_log_loss", **options}
    fit_params = {} if fit_params is None else fit_params
    expected = GridSearchCV(clone(estimator), grid, **options).fit(X, y, **fit_params)
    search = BatchedGridSearchCV(estimator, grid, **options).fit(X, y, **fit_params)
    assert_same_results(search, expected, atol)
    if hasattr(expected, "best_estimator_"):
        assert type(search.best_estimator_) is type(expected.best_estimator_)
        np.testing.assert_array_equal(search.classes_, expected.classes_)
        np.testing.assert_allclose(
            search.predict_proba(X), expected.predict_proba(X), rtol=0, atol=atol
        )
        assert search.score(X, y) == pytest.approx(expected.score(X, y), abs=atol)
    return search

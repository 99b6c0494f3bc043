"""Columns in any unit, also in prediction."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.model_selection import train_test_split

from sklearn_kd import TwoLayerPGDClassifier
from sklearn_kd._networks.two_layer.forward import folded_weights
from sklearn_kd.exceptions import PrecisionWarning
from tests._helpers.data import blobs
from tests._helpers.estimators import fitted_names
from tests._helpers.two_layer import FAST


@pytest.mark.slow
@pytest.mark.parametrize(
    "load", [load_breast_cancer, load_wine, load_iris, load_digits], ids=lambda f: f.__name__
)
def test_units_and_shifts_of_columns_do_not_matter(load):
    X, y = load(return_X_y=True)
    if len(X) > 700:
        X, y = X[:700], y[:700]
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    rng = np.random.RandomState(0)
    n = X.shape[1]
    factor = 10.0 ** rng.uniform(-3, 6, size=n)
    shift = rng.uniform(-1e6, 1e6, size=n)
    varies = X_train.std(axis=0) > 0
    factor[varies] /= X_train.std(axis=0)[varies]
    options = {"width": 16, "max_iter": 300, "n_init": 1, "random_state": 0}
    plain = TwoLayerPGDClassifier(**options).fit(X_train, y_train)
    moved = TwoLayerPGDClassifier(**options).fit(X_train * factor + shift, y_train)
    accuracy = plain.score(X_test, y_test)
    assert accuracy > 0.9
    # half a point of accuracy; a test set of less than 200 rows has no half points
    change = abs(moved.score(X_test * factor + shift, y_test) - accuracy)
    assert change < 0.005


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_far_away_have_probabilities(n_classes, dtype):
    X, y = blobs(n_classes=n_classes, dtype=dtype)
    model = TwoLayerPGDClassifier(**FAST).fit(X, y)
    largest = np.finfo(dtype).max
    for far in (1e10, largest / 1e8, largest):
        proba = model.predict_proba(np.full((1, 3), far, dtype=dtype) * [1, -1, 1])
        np.testing.assert_allclose(proba.sum(), 1)
        assert np.isfinite(proba).all()


@pytest.mark.parametrize("factor", [1e-300, 1e-160, 1e155, 1e200, 1e300])
def test_a_column_of_any_magnitude_is_used_or_refused(factor):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(80, 2))
    y = (X[:, 0] > 0).astype(int)
    X[:, 0] *= factor
    model = TwoLayerPGDClassifier(**{**FAST, "max_iter": 200})
    try:
        model.fit(X, y)
    except ValueError:
        assert not fitted_names(model)
    else:
        assert model.score(X, y) > 0.9


def test_float32_warns_where_digits_are_lost():
    X, y = blobs(dtype=np.float32)
    with pytest.warns(PrecisionWarning, match="columns 1 vary"):
        TwoLayerPGDClassifier(**FAST).fit(X + np.float32([0, 3e5, 0]), y)
    model = TwoLayerPGDClassifier(**FAST).fit(X + np.float32([0, 100, 0]), y)
    assert model.hidden_weights_.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shift", [0.0, 10.0, 1e3])
def test_many_rows_are_predicted_as_each_alone(dtype, shift):
    X, y = blobs(n_classes=3)
    X = (X / X.std(axis=0) + shift).astype(dtype)
    model = TwoLayerPGDClassifier(4, max_iter=30, random_state=0).fit(X, y)
    together = model.decision_function(X)
    alone = np.concatenate([model.decision_function(X[i : i + 1]) for i in range(len(X))])
    digits = 1e-4 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(together, alone, rtol=0, atol=digits * np.abs(alone).max())
    # one row so far away that products overflow leaves the others alone, and is finite itself
    X[3] = np.finfo(dtype).max / 4
    far = model.decision_function(X)
    assert np.isfinite(far).all()
    np.testing.assert_allclose(
        np.delete(far, 3, 0), np.delete(together, 3, 0), rtol=1e-3, atol=1e-4
    )


def test_prediction_of_many_rows_in_columns_of_extreme_scale():
    rng = np.random.RandomState(5)
    X = (rng.normal(size=(200, 2)) * [1e-40, 1.0]).astype(np.float32)
    y = (X[:, 0] > 0).astype(int)
    model = TwoLayerPGDClassifier(2, max_iter=20, random_state=5).fit(X, y)
    some = X[X[:, 0] < 0]
    alone = [model.decision_function(row[None])[0] for row in some]
    np.testing.assert_allclose(model.decision_function(some), alone, atol=1e-5)
    X = np.c_[rng.normal(size=60), np.full(60, 1e308)]
    model = TwoLayerPGDClassifier(2, max_iter=20, random_state=0).fit(X, X[:, 0] > 0)
    with np.errstate(all="raise"):
        assert np.isfinite(model.decision_function(X)).all()


def test_a_constant_column_keeps_prediction_of_many_rows_fast(monkeypatch):
    X, y = blobs()
    X = np.c_[X, np.ones((len(X), 300))]
    model = TwoLayerPGDClassifier(2, max_iter=20, random_state=0).fit(X, y)
    assert folded_weights(
        model.hidden_weights_[:, :-1],
        model.hidden_weights_[:, -1],
        model.input_offset_,
        model.input_scale_,
        X.dtype,
    )

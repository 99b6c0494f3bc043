"""Soft targets and bad input: a clear error and nothing half-fitted."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from sklearn_kd import TwoLayerPGDClassifier
from sklearn_kd.exceptions import DivergenceError, SoftTargetsAlignmentWarning
from tests._helpers.data import blobs, random_proba
from tests._helpers.estimators import fitted_names
from tests._helpers.two_layer import FAST, assert_same_state, soft_labels, state_of

# Soft targets


def test_a_frame_of_soft_targets_goes_by_label():
    X, y = blobs(n_classes=3)
    y = np.array(["red", "blue", "green"])[y]
    P = LogisticRegression().fit(X, y).predict_proba(X)
    model = TwoLayerPGDClassifier(**FAST).fit(X, y, soft_targets=P)
    frame = pd.DataFrame(P, columns=np.unique(y))[["red", "blue", "green"]]
    other = TwoLayerPGDClassifier(**FAST).fit(X, y, soft_targets=frame)
    np.testing.assert_array_equal(model.hidden_weights_, other.hidden_weights_)
    assert not np.isin(["red"], frame.columns[1:]).any()  # it was permuted


@pytest.mark.parametrize("extra", ["amber", "purple", "white"])
def test_a_frame_may_name_classes_that_y_lacks(extra):
    X, y = blobs(n_classes=2)
    y = np.array(["blue", "red"])[y]
    P = LogisticRegression().fit(X, y).predict_proba(X) * 0.9
    frame = pd.DataFrame({extra: np.full(len(X), 0.1), "red": P[:, 1], "blue": P[:, 0]})
    model = TwoLayerPGDClassifier(16, max_iter=600, early_stopping=False, random_state=0)
    model.fit(X, y, soft_targets=frame)
    assert model.classes_.tolist() == sorted([extra, "red", "blue"])
    error = model.predict_proba(X) - frame[model.classes_].to_numpy()
    assert np.abs(error).mean() < 0.02


def test_soft_targets_are_not_modified(rng):
    X, y = blobs()
    P = random_proba(rng, len(X), 2)
    y = P.argmax(axis=1)
    weights = np.ones(len(X))
    arrays = [X, y, P, weights]
    before = [a.copy() for a in arrays]
    for array in arrays:
        array.flags.writeable = False
    TwoLayerPGDClassifier(**FAST, class_weight="balanced").fit(X, y, weights, P)
    for array, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, old)


# Bad input: a clear error and nothing half-fitted


def case_soft(change, X=None):
    def make():
        X, y = blobs(n_classes=3)
        P, y = soft_labels(X, 3)
        return X, y, {"soft_targets": change(P)}

    return make


def with_bad_value(value):
    def make():
        X, y = blobs()
        X[3, 1] = value
        return X, y, {}

    return make


BAD = {
    "nan": ({}, with_bad_value(np.nan), ValueError, "NaN"),
    "inf": ({}, with_bad_value(np.inf), ValueError, "infinity"),
    "one class": ({}, lambda: (blobs()[0], np.ones(80), {}), ValueError, "1 class"),
    "one class left by weights": (
        {},
        lambda: (*blobs(), {"sample_weight": (blobs()[1] == 1).astype(float)}),
        ValueError,
        "1 class",
    ),
    "one row": ({}, lambda: (np.ones((1, 3)), [1], {}), ValueError, "1 class|n_samples=1"),
    "no rows": ({}, lambda: (np.ones((0, 3)), [], {}), ValueError, "0 sample"),
    "no columns": ({}, lambda: (np.ones((5, 0)), [0, 1, 0, 1, 1], {}), ValueError, "0 feature"),
    "lengths": ({}, lambda: (np.ones((5, 2)), [0, 1], {}), ValueError, "inconsistent numbers"),
    "odd width": ({"width": 5}, lambda: (*blobs(), {}), ValueError, "width must be even.*got 5"),
    "width one": ({"width": 1}, lambda: (*blobs(), {}), ValueError, "width"),
    "negative radius": ({"radius": -1.0}, lambda: (*blobs(), {}), ValueError, "radius"),
    "continuous y": (
        {},
        lambda: (blobs()[0], blobs()[0][:, 0], {}),
        ValueError,
        "Unknown label type",
    ),
    "zero weights": (
        {},
        lambda: (*blobs(), {"sample_weight": np.zeros(80)}),
        ValueError,
        "weight.*zero|zero.*weight",
    ),
    "negative weights": (
        {},
        lambda: (*blobs(), {"sample_weight": np.full(80, -1.0)}),
        ValueError,
        "[Nn]egative",
    ),
    "infinite weights": (
        {},
        lambda: (*blobs(), {"sample_weight": np.full(80, np.inf)}),
        ValueError,
        "infinity",
    ),
    "class weight zero": (
        {"class_weight": {0: 0.0, 1: 1.0}},
        lambda: (*blobs(), {}),
        ValueError,
        "class_weight must be positive",
    ),
    "soft shape": ({}, case_soft(lambda P: P[:, :2]), ValueError, "2 columns.*3 classes"),
    "soft length": ({}, case_soft(lambda P: P[:-1]), ValueError, "n_samples=80"),
    "soft range": (
        {},
        case_soft(np.log),
        ValueError,
        "predict_proba, not decision values or logits",
    ),
    "soft sum": ({}, case_soft(lambda P: P * 0.9), ValueError, "sum to 1"),
    "soft nan": ({}, case_soft(lambda P: P * np.nan), ValueError, "soft_targets contains NaN"),
    "alpha and temperature": (
        {"alpha": 1.5, "temperature": 2.0, "radius": 1.0},
        case_soft(lambda P: P),
        ValueError,
        "alpha=1.5 is above 1.*temperature=1 only",
    ),
    "alpha unbounded": (
        {"alpha": 1.5, "early_stopping": False},
        case_soft(lambda P: P),
        ValueError,
        "finite radius or early_stopping=True",
    ),
    "diverging": (
        {"learning_rate": 1e8, "early_stopping": False},
        lambda: (*blobs(), {}),
        DivergenceError,
        "learning_rate=100000000.0.*choose a smaller one, or learning_rate='auto'",
    ),
    "sparse": (
        {},
        lambda: (sp.csr_array(blobs()[0]), blobs()[1], {}),
        TypeError,
        "[Ss]parse.*(toarray|dense)",
    ),
}


@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.SoftTargetsAlignmentWarning")
@pytest.mark.parametrize("case", BAD)
def test_bad_input_leaves_nothing_behind(case):
    params, make, error, message = BAD[case]
    X, y, options = make()
    model = TwoLayerPGDClassifier(**{**FAST, **params})
    with pytest.raises(error, match=message):
        model.fit(X, y, **options)
    assert not fitted_names(model)
    with pytest.raises(NotFittedError):
        model.predict(blobs()[0])
    # a fit there was before is untouched
    X_good, y_good = blobs(n_classes=3, n_features=5)
    model = TwoLayerPGDClassifier(**FAST).fit(X_good, np.array(["a", "b", "c"])[y_good])
    before, proba = state_of(model), model.predict_proba(X_good)
    model.set_params(**params)
    with pytest.raises(error, match=message):
        model.fit(X, y, **options)
    assert_same_state(model, before)
    np.testing.assert_array_equal(model.predict_proba(X_good), proba)


def test_misaligned_soft_targets_warn():
    X, _ = blobs(n=120, n_classes=3)
    P, y = soft_labels(2 * X, 3)
    with pytest.warns(SoftTargetsAlignmentWarning):
        TwoLayerPGDClassifier(**FAST).fit(X, y, soft_targets=np.roll(P, 1, axis=1))
    TwoLayerPGDClassifier(**FAST).fit(X, y, soft_targets=P)  # no warning

"""Soft targets and bad input: a clear error and nothing half-fitted."""

import re

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError

from sklearn_kd import SelfDistillClassifier, TwoLayerPGDClassifier
from sklearn_kd.exceptions import DivergenceError
from tests._helpers.data import blobs
from tests._helpers.estimators import fitted_names
from tests._helpers.modules import model
from tests._helpers.two_layer import FAST, assert_same_state, soft_labels, state_of

# Soft targets


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
    "soft nan": (
        {},
        case_soft(lambda P: P * [np.nan, 1, 1]),
        ValueError,
        "soft_targets contains NaN",
    ),
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


# Images


IMAGES = [
    ((40, 3, 4, 5), "X", (3, 4, 5)),
    ((40, 1, 4, 4), "X", (1, 4, 4)),
    ((40, 4, 5), "X", (1, 4, 5)),
    ((40, 6, 5, 3), "X.transpose(0, 3, 1, 2)", (3, 6, 5)),  # channels last
    ((40, 2, 3, 4, 5), "X", (2, 3, 4, 5)),
]


@pytest.mark.parametrize(
    ("shape", "flat", "image_shape", "container"),
    [(*case, np.asarray) for case in IMAGES]
    + [(*IMAGES[0], container) for container in (torch.from_numpy, np.ndarray.tolist, list)],
)
def test_images_are_told_how_to_be_flat(shape, flat, image_shape, container):
    X = np.random.default_rng(0).normal(size=shape)
    y = np.arange(len(X)) % 2
    images = container(X)
    message = f"dim <= 2.* pass a flat row for each sample, {re.escape(flat)}.reshape"
    message += re.escape("(len(X), -1)")
    with_shape = message + f", with image_shape={re.escape(str(image_shape))} for a module"
    module, network = model(max_epochs=2), TwoLayerPGDClassifier(**FAST)
    for estimator, text in ((module, with_shape), (network, message + r"\.")):
        with pytest.raises(ValueError, match=text):
            estimator.fit(images, y)
        with pytest.raises(ValueError, match=text):
            estimator.partial_fit(images, y, classes=[0, 1])
        with pytest.raises(ValueError, match=text):
            SelfDistillClassifier(estimator).fit(images, y)
    rows = (X if flat == "X" else X.transpose(0, 3, 1, 2)).reshape(len(X), -1)
    flat_module = model(max_epochs=2).fit(rows, y)  # its shape cannot change after fit
    module.set_params(image_shape=image_shape).fit(rows, y)
    network.fit(rows, y)
    for estimator in (flat_module, module, network):
        for method in ("predict", "predict_proba", "decision_function"):
            with pytest.raises(ValueError, match=message + r"\."):
                getattr(estimator, method)(images)
    for estimator in (module, network):
        with pytest.raises(ValueError, match=message.replace("X", "X_val")):
            estimator.fit(rows, y, X_val=images, y_val=y)
    assert_array_equal(module.fit(rows, y).predict(rows), module.predict(rows.tolist()))

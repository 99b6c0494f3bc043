"""Classifiers that take only the labels 0 to n_classes - 1."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone, config_context
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.utils.validation import check_is_fitted

from sklearn_kd import DistilledClassifier
from sklearn_kd._utils.encoded_labels import (
    EncodedLabelsClassifier,
    fit_on_labels,
    without_encoding,
)
from sklearn_kd._utils.sub_estimators import last_step
from tests._helpers.data import blobs
from tests._helpers.estimators import SoftmaxStudent
from tests._helpers.third_party import CodesOnly, OtherPackage, as_column

X, CODES = blobs(120, 3)
LABELS = {
    "strings": np.array(["x", "z", "y"]),
    "objects": np.array(["x", "z", "y"], dtype=object),
    "from 1": np.array([1, 2, 3]),
    "gap": np.array([0, 2, 7]),
    "negative": np.array([-1, 0, 1]),
    "floats": np.array([0.0, 1.0, 2.0]),
}


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: model,
        lambda model: make_pipeline(StandardScaler(), model),
        lambda model: Pipeline([("outer", make_pipeline(StandardScaler(), model))]),
        lambda model: GridSearchCV(model, {}, cv=2),
        lambda model: CalibratedClassifierCV(model, cv=2),
    ],
    ids=["alone", "pipeline", "pipelines", "search", "calibrated"],
)
def test_predictions_are_those_of_a_classifier_of_any_labels(labels, wrap):
    y = LABELS[labels][CODES]
    fitted = fit_on_labels(wrap(CodesOnly()), X, y, {})
    plain = wrap(OtherPackage()).fit(X, y)
    assert isinstance(last_step(fitted), EncodedLabelsClassifier)
    assert_array_equal(fitted.classes_, np.unique(y))
    assert fitted.predict(X).dtype == y.dtype
    for method in ("predict", "predict_proba"):
        # strings are encoded in the order of the labels, as here
        assert_array_equal(getattr(fitted, method)(X), getattr(plain, method)(X))
    assert fitted.score(X, y) == plain.score(X, y)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8])
def test_codes_are_passed_on_as_they_are(dtype):
    model = CodesOnly()
    assert fit_on_labels(model, X, CODES.astype(dtype), {}) is model
    y = CODES.astype(str)
    model = OtherPackage()
    assert fit_on_labels(model, X, y, {}) is model


def test_booleans_and_a_column_of_labels():
    y = CODES == 1
    fitted = fit_on_labels(CodesOnly(labels=as_column), X, y, {})
    assert fitted.predict(X).dtype == bool
    assert_array_equal(fitted.predict(X), OtherPackage().fit(X, y).predict(X))


def test_weights_and_metadata_reach_the_classifier():
    y, w = LABELS["strings"][CODES], np.arange(1, len(X) + 1.0)
    plain = OtherPackage().fit(X, y, w).predict_proba(X)
    fitted = fit_on_labels(CodesOnly(), X, y, {"sample_weight": w})
    assert_array_equal(fitted.predict_proba(X), plain)
    pipeline = make_pipeline(CodesOnly())
    fitted = fit_on_labels(pipeline, X, y, {"codesonly__sample_weight": w})
    assert_array_equal(fitted.predict_proba(X), plain)
    with config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(CodesOnly().set_fit_request(sample_weight=True))
        fitted = fit_on_labels(pipeline, X, y, {"sample_weight": w})
        assert_array_equal(fitted.predict_proba(X), plain)


def test_columns_of_soft_targets_are_encoded():
    class Native(SoftmaxStudent):
        def fit(self, X, y, sample_weight=None, soft_targets=None):
            CodesOnly().fit(soft_targets.to_numpy().T, np.asarray(soft_targets.columns))
            return super().fit(X, y, sample_weight, soft_targets)

    names = np.sort(LABELS["strings"])
    Q = pd.DataFrame(np.eye(3)[CODES] * 0.7 + 0.1, columns=names)
    fitted = fit_on_labels(Native(l2=0.1), X, names[CODES], {"soft_targets": Q})
    assert isinstance(fitted, EncodedLabelsClassifier)
    plain = SoftmaxStudent(l2=0.1).fit(X, names[CODES], soft_targets=Q)
    assert_array_equal(fitted.predict(X), plain.predict(X))
    assert_array_equal(fitted.predict_proba(X), plain.predict_proba(X))


def test_an_estimator_like_any_other():
    y = LABELS["strings"][CODES]
    fitted = fit_on_labels(CodesOnly(), X, y, {})
    check_is_fitted(fitted)
    assert fitted.n_fits_ == 1  # attributes of the classifier inside
    assert not hasattr(fitted, "feature_importances_")
    again = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(again.predict(X), fitted.predict(X))
    unfitted = clone(fitted)
    with pytest.raises(NotFittedError):
        check_is_fitted(unfitted)
    assert_array_equal(unfitted.fit(X, y).predict(X), fitted.predict(X))
    assert isinstance(without_encoding(fitted), CodesOnly)
    pipeline = fit_on_labels(make_pipeline(StandardScaler(), CodesOnly()), X, y, {})
    assert isinstance(without_encoding(pipeline)[-1], CodesOnly)

    class Decisions(CodesOnly):
        predict_proba = predict_log_proba = property()

    fitted = fit_on_labels(Decisions(), X, y, {})
    assert not hasattr(fitted, "predict_proba")
    assert not hasattr(clone(fitted), "predict_proba")
    assert_array_equal(fitted.decision_function(X), OtherPackage().fit(X, y).decision_function(X))


@pytest.mark.parametrize("error", [AssertionError, KeyError, IndexError, TypeError, RuntimeError])
def test_refusals_of_other_kinds(error):
    class Refuses(CodesOnly):
        def fit(self, X, y, sample_weight=None):
            try:
                return super().fit(X, y, sample_weight)
            except ValueError:
                raise error("labels") from None

    y = LABELS["from 1"][CODES]
    assert_array_equal(fit_on_labels(Refuses(), X, y, {}).classes_, [1, 2, 3])


class Fails(LogisticRegression):
    """Fails whatever the labels are, and counts its fits."""

    n_fits = 0

    def fit(self, X, y, sample_weight=None):
        type(self).n_fits += 1
        raise ValueError(f"no fit number {self.n_fits}") from KeyError("cause")


@pytest.mark.parametrize(
    ("model", "n_fits"),
    [
        (Fails(), 2),
        (make_pipeline(Fails()), 2),
        (Fails(class_weight={"x": 1, "y": 2, "z": 1}), 1),
        (Fails(class_weight="balanced"), 2),
        (DistilledClassifier(Fails(), LogisticRegression()), 2),
    ],
)
def test_other_errors_are_the_first_ones(model, n_fits):
    Fails.n_fits = 0
    with pytest.raises(ValueError, match="no fit number 1") as caught:
        model = fit_on_labels(model, X, LABELS["strings"][CODES], {})
    assert isinstance(caught.value.__cause__, KeyError)
    assert Fails.n_fits == n_fits


def test_codes_errors_of_scikit_learn_and_frozen_estimators_are_raised_at_once(monkeypatch):
    def unexpected(self, X, y, **params):
        raise AssertionError("encoded")

    monkeypatch.setattr(EncodedLabelsClassifier, "fit", unexpected)
    Fails.n_fits = 0
    with pytest.raises(ValueError, match="no fit"):
        fit_on_labels(Fails(), X, CODES, {})
    assert Fails.n_fits == 1
    y = LABELS["strings"][CODES]
    with pytest.raises(ValueError, match="NaN"):
        fit_on_labels(make_pipeline(Normalizer(), LogisticRegression()), X * np.nan, y, {})
    frozen = make_pipeline(OtherPackage(), FrozenEstimator(CodesOnly().fit(X, CODES)))
    with pytest.raises(TypeError):
        fit_on_labels(frozen, X, y, {})

"""Predictions of a DistilledClassifier, and the class prior."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import get_tags

from sklearn_kd import TwoLayerPGDClassifier
from tests._helpers.data import blobs
from tests._helpers.distillation import (
    Recording,
    converged,
    distil,
    fixed,
    oracle_data,
    three_classes,
)
from tests._helpers.estimators import Oracle, SoftmaxStudent


def test_predictions_that_are_no_labels_are_not_made_into_some():
    class Untagged:
        """Says nothing of what it is, and predicts numbers in between."""

        def get_params(self, deep=True):
            return {}

        def fit(self, X, y, sample_weight=None):
            return self

        def predict(self, X):
            return np.full(len(X), 0.7)

    X, y = three_classes()
    model = distil(student=Untagged())
    model.fit(X, y, soft_targets=np.eye(3)[y])
    with pytest.raises(ValueError, match=r"predicts 0.7, which is not one of the classes"):
        model.predict(X)
    frame = pd.DataFrame(X)  # objects are fine
    names = pd.Series(np.array(["a", "b", "c"])[y])
    model = distil(LogisticRegression(), DecisionTreeClassifier()).fit(frame, names)
    assert model.predict(frame).dtype == model.classes_.dtype


# ---- class prior


def imbalanced(seed=0):
    X, y = blobs(240, 3, spread=3.0, seed=seed)
    keep = (y == 2) | (np.arange(240) % np.array([6, 3, 1])[y] == 0)
    return X[keep], np.array(["a", "b", "c"])[y[keep]]


STUDENTS = {
    "expansion": LogisticRegression(),
    "native": SoftmaxStudent(l2=1e-3),
    "tree": DecisionTreeClassifier(max_depth=3),
    "network": TwoLayerPGDClassifier(4, max_iter=60, encoder=None),
}


@pytest.mark.parametrize("student", STUDENTS)
@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("prior", ["uniform", "training", (0.2, 0.7, 0.1), (20, 70, 10)])
def test_prior_multiplies_the_probabilities(student, class_weight, prior):
    X, y = imbalanced()
    w = np.random.default_rng(0).uniform(0.3, 2, len(y))
    y_encoded = np.searchsorted(["a", "b", "c"], y)
    model = fixed(
        LogisticRegression(), STUDENTS[student], alpha=0.4, cv=3, class_weight=class_weight
    )
    plain = clone(model).fit(X, y, sample_weight=w)
    model.set_params(class_prior=prior).fit(X, y, sample_weight=w)
    # the shares of the classes in what the student was taught, by hand
    recorded = clone(model).set_params(student=Recording(l2=1e-3)).fit(X, y, sample_weight=w)
    Q = recorded.student_.received_
    if class_weight is None:
        Q = 0.4 * Q + 0.6 * np.eye(3)[y_encoded]
    weight = recorded.student_.weight_
    learned = weight @ Q
    wanted = {
        "uniform": np.ones(3),
        "training": np.array([w[y_encoded == k].sum() for k in range(3)]),
    }.get(prior, prior)
    expected = plain.predict_proba(X) * np.array(wanted) / learned
    expected /= expected.sum(axis=1, keepdims=True)
    assert_allclose(model.predict_proba(X), expected, rtol=1e-6, atol=1e-12)
    assert np.abs(expected - plain.predict_proba(X)).max() > 1e-3


@pytest.mark.parametrize("student", STUDENTS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_answers_agree_under_a_prior(student, n_classes):
    X, y = imbalanced()
    if n_classes == 2:
        X, y = X[y != "b"], y[y != "b"]
    model = fixed(LogisticRegression(), STUDENTS[student], cv=3, class_prior="uniform")
    model.fit(X, y)
    proba = model.predict_proba(X)
    assert_allclose(proba.sum(axis=1), 1)
    assert_array_equal(model.predict(X), model.classes_[proba.argmax(axis=1)])
    with np.errstate(divide="ignore"):
        log_proba = np.log(proba)
    assert_allclose(model.predict_log_proba(X), log_proba, rtol=1e-9, atol=1e-12)
    if student == "tree":
        assert not hasattr(model, "decision_function")
        return
    decision = model.decision_function(X)
    if n_classes == 2:
        assert_allclose(expit(decision), proba[:, 1], rtol=1e-9)
    else:
        assert_allclose(softmax(decision, axis=1), proba, rtol=1e-9)
    # a prior for a rare class makes it more frequent
    before = clone(model).set_params(class_prior=None).fit(X, y).predict_proba(X)
    assert proba[:, 0].mean() > 1.2 * before[:, 0].mean()


def test_prior_after_row_expansion_at_a_temperature():
    X, y = imbalanced()
    model = fixed(LogisticRegression(), LogisticRegression(), temperature=2.0, cv=3)
    plain = clone(model).fit(X, y).predict_proba(X)
    Q = fixed(LogisticRegression(), Recording(l2=1e-3), cv=3).fit(X, y).student_.received_
    expected = plain / Q.mean(axis=0)
    expected /= expected.sum(axis=1, keepdims=True)
    model.set_params(class_prior="uniform").fit(X, y)
    assert_allclose(model.predict_proba(X), expected, rtol=1e-6)


@pytest.mark.parametrize("prior", [(0.5, 0.5), (0.2, 0.8)])
def test_prior_recovers_the_posterior_of_gaussians(prior):
    # classes N(-1, 1) and N(1, 1): the log-odds at x are 2 x + ln(prior odds)
    rng = np.random.default_rng(0)
    y = (np.arange(6000) % 10 == 0).astype(int)
    X = rng.normal(size=(6000, 1)) + 2 * y[:, None] - 1
    model = fixed(
        LogisticRegression(C=np.inf), LogisticRegression(C=np.inf), alpha=0.5, class_prior=prior
    ).fit(X, y)
    grid = np.linspace(-2, 2, 9)[:, None]
    odds = 2 * grid[:, 0] + np.log(prior[1] / prior[0])
    assert_allclose(model.decision_function(grid), odds, atol=0.25)
    assert_allclose(model.predict_proba(grid)[:, 1], expit(odds), atol=0.03)
    plain = clone(model).set_params(class_prior=None).fit(X, y)
    assert np.abs(plain.predict_proba(grid)[:, 1] - expit(odds)).max() > 0.3


def test_training_prior_undoes_class_weights():
    # labels that a logistic regression represents with any class weights
    X, y = oracle_data(400, (2.0, -3.0))
    teacher = FrozenEstimator(Oracle((2.0, -3.0)).fit(X, y))
    free = converged(C=np.inf)
    logit = X @ [2.0, -3.0]
    q = expit(logit).mean()
    model = fixed(teacher, free, class_weight={0: 1.0, 1: 5.0}).fit(X, y)
    assert_allclose(model.decision_function(X), logit + np.log(5), atol=1e-4)
    model.set_params(class_prior="training").fit(X, y)
    shift = np.log(y.mean() / (1 - y.mean())) - np.log(q / (1 - q))
    assert_allclose(model.decision_function(X), logit + shift, atol=1e-4)


def test_a_prior_of_zero_rules_a_class_out():
    X, y = imbalanced()
    model = fixed(LogisticRegression(), LogisticRegression(), cv=3, class_prior=[1, 0, 1])
    proba = model.fit(X, y).predict_proba(X)
    assert (proba[:, 1] == 0).all()
    assert_allclose(proba.sum(axis=1), 1)
    assert set(model.predict(X)) == {"a", "c"}


@pytest.mark.parametrize(
    "prior", [[0.5, 0.5], [1, -1, 1], [0, 0, 0], [np.nan, 1, 1], [np.inf, 1, 1], np.ones((3, 1))]
)
def test_bad_priors(prior):
    X, y = imbalanced()
    model = fixed(LogisticRegression(), LogisticRegression(), cv=3, class_prior=prior)
    with pytest.raises(ValueError, match="class_prior must be 3 non-negative numbers"):
        model.fit(X, y)


def test_a_prior_needs_probabilities():
    X, y = imbalanced()
    model = fixed(LogisticRegression(), LinearSVC(), cv=3, class_prior="uniform")
    with pytest.raises(TypeError, match="class_prior corrects probabilities"):
        model.fit(X, y)


@pytest.mark.parametrize(
    "teacher",
    [
        LogisticRegression(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        make_pipeline(StandardScaler(), make_pipeline("passthrough", LogisticRegression())),
    ],
)
def test_missing_cells_that_the_teacher_refuses_are_refused(teacher):
    X, y = blobs(60, 2)
    model = distil(teacher, TwoLayerPGDClassifier(4, max_iter=5, random_state=0))
    model.fit(X, y)
    assert not get_tags(model).input_tags.allow_nan
    missing = X.copy()
    missing[3, 1] = np.nan
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        with pytest.raises(ValueError, match=r"NaN.*teacher LogisticRegression.*student_"):
            getattr(model, method)(missing)
    assert np.isfinite(model.student_.predict_proba(missing)).all()


@pytest.mark.parametrize(
    ("teacher", "allow_nan"),
    [
        (make_pipeline(SimpleImputer(), LogisticRegression()), True),
        (make_pipeline(StandardScaler(), RandomForestClassifier(3)), True),
        (make_pipeline(OrdinalEncoder(encoded_missing_value=-1), LogisticRegression()), False),
        (GridSearchCV(make_pipeline(SimpleImputer(), LogisticRegression()), {}), False),
    ],
)
def test_missing_cells_that_the_teacher_may_take_are_predicted(teacher, allow_nan):
    X, y = blobs(60, 2)
    missing = np.where(np.arange(60)[:, None] % 4 == 3, np.nan, np.sign(X))
    model = distil(teacher, TwoLayerPGDClassifier(4, max_iter=5, random_state=0)).fit(np.sign(X), y)
    assert np.isfinite(model.predict_proba(missing)).all()
    assert get_tags(model).input_tags.allow_nan == allow_nan  # False where it is not known
    model.fit(missing, y)

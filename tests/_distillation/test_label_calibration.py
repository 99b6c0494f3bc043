"""Calibration of the teacher's labels."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import TimeSeriesSplit
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from tests._helpers.data import blobs
from tests._helpers.distillation import (
    Recording,
    brute_temperature,
    fixed,
    frozen_teacher,
    oracle_data,
    sharpen_by_hand,
)
from tests._helpers.estimators import DecisionOnly, LeaveOneOut, Oracle

TEACHERS = {
    "oob": (RandomForestClassifier(40, max_depth=2, random_state=0), "auto"),
    "loo": (LeaveOneOut(), "auto"),
    "cv": (GaussianNB(), "auto"),
    "cv 4": (LogisticRegression(C=0.01), 4),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", TEACHERS)
def test_labels_of_rows_not_seen_are_calibrated(name, weighted):
    teacher, cv = TEACHERS[name]
    X, y = blobs(150, 3, spread=4.0)
    w = np.random.default_rng(0).uniform(0.2, 2, size=150) if weighted else None
    model = fixed(teacher, Recording(l2=1e-3), cv=cv)
    raw = clone(model).set_params(calibration=None).fit(X, y, sample_weight=w)
    model.fit(X, y, sample_weight=w)
    assert model.label_source_ == raw.label_source_ == name.split()[0]
    T = brute_temperature(raw.student_.received_, y, w)
    assert abs(np.log(T)) > 0.05  # it does something
    assert model.label_temperature_ == pytest.approx(T, rel=1e-4)
    assert_allclose(
        model.student_.received_, sharpen_by_hand(raw.student_.received_, T), rtol=1e-3, atol=1e-6
    )
    assert raw.label_temperature_ == 1.0


@pytest.mark.parametrize(
    ("teacher", "cv", "source"),
    [
        (frozen_teacher(), "auto", "frozen"),
        (make_pipeline(StandardScaler(), frozen_teacher()), "auto", "frozen"),
        (LogisticRegression(C=0.01), "in-sample", "in-sample"),
        (LinearSVC(), "auto", "cv"),
        (DecisionOnly(), 3, "cv"),
    ],
    ids=["frozen", "frozen last step", "in-sample", "decision", "decision 3"],
)
def test_other_labels_are_not_calibrated(teacher, cv, source):
    X, y = blobs(150, 3, spread=4.0)
    model = fixed(teacher, Recording(l2=1e-3), cv=cv)
    raw = clone(model).set_params(calibration=None).fit(X, y, X_unlabeled=X[:20] + 0.1)
    model.fit(X, y, X_unlabeled=X[:20] + 0.1)
    assert model.label_source_ == source
    assert model.label_temperature_ == 1.0
    assert_array_equal(model.student_.received_, raw.student_.received_)


def test_given_labels_are_not_calibrated():
    X, y = blobs(150, 3, spread=4.0)
    Q = LogisticRegression(C=0.01).fit(X, y).predict_proba(X)
    model = fixed(LogisticRegression(), Recording(l2=1e-3)).fit(X, y, soft_targets=Q)
    assert_allclose(model.student_.received_, Q, rtol=1e-12)
    assert not hasattr(model, "label_temperature_")
    assert not hasattr(model, "teacher_")


def test_rows_that_no_fold_tests_are_not_calibrated():
    X, y = blobs(160, 3, spread=4.0)
    cv = TimeSeriesSplit(3)
    untested = next(cv.split(X))[0]
    model = fixed(LogisticRegression(C=0.01), Recording(l2=1e-3), cv=cv)
    raw = clone(model).set_params(calibration=None).fit(X, y).student_.received_
    model.fit(X, y)
    tested = np.setdiff1d(np.arange(160), untested)
    assert_array_equal(model.student_.received_[untested], np.eye(3)[y[untested]])
    T = brute_temperature(raw[tested], y[tested])
    assert model.label_temperature_ == pytest.approx(T, rel=1e-4)
    expected = sharpen_by_hand(raw[tested], T)
    assert_allclose(model.student_.received_[tested], expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("scale", "low", "high"), [(0.4, 0.25, 0.6), (1, 0.85, 1.2), (3, 2, 4)])
def test_temperature_undoes_what_the_teacher_does(scale, low, high):
    X, y = oracle_data(3000)
    student = LogisticRegression()
    model = fixed(Oracle((2.0, -1.0), scale), student).fit(X, y)
    assert low < model.label_temperature_ < high
    # the labels are nearer to the truth than the teacher's own
    truth, raw = (Oracle((2.0, -1.0), s).fit(X, y).predict_proba(X) for s in (1.0, scale))
    labels = fixed(Oracle((2.0, -1.0), scale), Recording(l2=1e-3)).fit(X, y).student_.received_
    if scale != 1:
        assert np.abs(labels - truth).mean() < 0.45 * np.abs(raw - truth).mean()


@pytest.mark.parametrize("n_more", [1, 2, 7])
def test_the_label_of_a_row_does_not_depend_on_the_rows_beside_it(n_more):
    X, y = blobs(150, 3)
    more, _ = blobs(60, 3, seed=0, spread=1.0)
    forest = RandomForestClassifier(30, random_state=0)
    labels = {}
    for n in (n_more, 60):
        model = fixed(forest, Recording(l2=1e-3)).fit(X, y, X_unlabeled=more[:n])
        labels[n] = model.student_.received_[150:]
    assert_allclose(labels[n_more], labels[60][:n_more], rtol=1e-12)

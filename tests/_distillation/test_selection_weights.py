"""Selection on held-out rows with sample weights and in any order of rows."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from sklearn_kd import DistilledClassifier, KernelTeacher
from tests._helpers.estimators import LeaveOneOut
from tests._helpers.selection import PLAIN_STUDENTS, overlapping, quietly


def weighted_and_copied(student, teacher, times, **params):
    X, y = overlapping(150)
    part = PLAIN_STUDENTS[student]
    if student == "expansion":
        part = LogisticRegression(tol=1e-10, max_iter=2000)
    model = DistilledClassifier(teacher, part, random_state=0, **params)
    copied = quietly(clone(model), X.repeat(times, 0), y.repeat(times))
    return quietly(model, X, y, sample_weight=times.astype(float)), copied, X


TIMES = {"two": np.full(150, 2), "some": np.random.default_rng(0).integers(1, 4, size=150)}
BY_THEMSELVES = {
    "loo": LeaveOneOut(C=0.1),
    "kernel": KernelTeacher(),
    "cross-fitted": LogisticRegression(tol=1e-10, max_iter=2000),
}


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ("expansion", "loo"),
        ("native", "loo"),
        ("network", "loo"),
        ("network", "kernel"),
        ("expansion", "cross-fitted"),
        ("network", "cross-fitted"),
    ],
)
def test_a_weight_of_k_is_k_copies(student, teacher, times):
    weighted, copied, X = weighted_and_copied(
        student, BY_THEMSELVES[teacher], TIMES[times], augmentation=None
    )
    assert (weighted.alpha_, weighted.label_source_) == (copied.alpha_, copied.label_source_)
    for name in ("loss", "gain", "accuracy_gain"):
        assert_allclose(weighted.candidates_[name], copied.candidates_[name], rtol=1e-5, atol=1e-7)
    assert_allclose(weighted.predict_proba(X), copied.predict_proba(X), atol=1e-6)


def test_a_weight_of_k_is_k_copies_in_a_table_of_several_types():
    X, y = overlapping(150)
    rng = np.random.default_rng(0)
    k, color = rng.integers(0, 4, size=150), rng.choice(["red", "blue"], size=150)
    frame = pd.DataFrame(X).add_prefix("x").assign(color=color)
    encoder = make_column_transformer((OrdinalEncoder(), ["color"]), remainder="passthrough")
    part = make_pipeline(encoder, LogisticRegression(tol=1e-10, max_iter=2000))
    model = DistilledClassifier(part, part, alpha=0.5, augmentation=None, random_state=0)
    weighted = clone(model).fit(frame, y, sample_weight=k)
    copies = np.repeat(np.arange(150), k)
    copied = clone(model).fit(frame.iloc[copies], y[copies])
    assert weighted.label_source_ == copied.label_source_ == "cv"
    assert_allclose(weighted.predict_proba(frame), copied.predict_proba(frame), atol=1e-7)


@pytest.mark.parametrize("times", TIMES)
def test_standard_errors_take_a_weight_of_k_for_k_copies(times):
    # hard labels are preferred by standard errors: were these others, so could the choice be
    weighted, copied, _ = weighted_and_copied(
        "expansion", BY_THEMSELVES["loo"], TIMES[times], augmentation=None
    )
    for name in ("gain_error", "accuracy_gain_error"):
        assert_allclose(weighted.candidates_[name], copied.candidates_[name], rtol=1e-4)


@pytest.mark.parametrize("cv", ["auto", 4])
@pytest.mark.parametrize("student", PLAIN_STUDENTS)
def test_a_weight_of_zero_is_absence(student, cv):
    X, y = overlapping(200)
    w = np.random.default_rng(0).integers(0, 4, size=200).astype(float)
    keep = w > 0
    model = DistilledClassifier(
        LogisticRegression(), PLAIN_STUDENTS[student], cv=cv, random_state=0
    )
    absent = quietly(clone(model), X[keep], y[keep], sample_weight=w[keep])
    quietly(model, X, y, sample_weight=w)
    assert_array_equal(model.predict_proba(X), absent.predict_proba(X))
    for name, column in model.candidates_.items():
        assert_array_equal(column, absent.candidates_[name])


def test_the_order_of_the_rows_does_not_matter():
    X, y = overlapping(150)
    order = np.random.default_rng(0).permutation(150)
    part = LogisticRegression(tol=1e-10, max_iter=2000)
    model = DistilledClassifier(LeaveOneOut(), part, augmentation=None, random_state=0)
    other = quietly(clone(model), X[order], y[order])
    quietly(model, X, y)
    assert_allclose(model.candidates_["loss"], other.candidates_["loss"], rtol=1e-5)
    assert_allclose(model.predict_proba(X), other.predict_proba(X), atol=1e-6)

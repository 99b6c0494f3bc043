"""Warnings of DistilledClassifier point at the line that called fit."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from sklearn_kd import DistilledClassifier
from sklearn_kd.exceptions import (
    FittedTeacherWarning,
    IgnoredSampleWeightWarning,
    InSampleLabelsWarning,
    MissingClassWarning,
    NoGainWarning,
    TransferRowsWarning,
    UntestedRowsWarning,
)
from tests._helpers.data import FIXED, blobs
from tests._helpers.distillation import fixed
from tests._helpers.estimators import Oracle
from tests._helpers.selection import Noise


def warn_no_gain(X, y):
    return DistilledClassifier(Noise(), LogisticRegression(), random_state=0), {}, NoGainWarning


def warn_ignored_weights(X, y):
    model = DistilledClassifier(Oracle((1.0, 0.0, 0.0)), LogisticRegression(), **FIXED)
    return model, {"sample_weight": np.ones(len(y))}, IgnoredSampleWeightWarning


def warn_sliceable(X, y):
    model = DistilledClassifier(LogisticRegression(), LogisticRegression(), **FIXED)
    return model, {"X_unlabeled": X + 0.1}, TransferRowsWarning


def warn_in_sample(X, y):
    tree = DecisionTreeClassifier(random_state=0)
    return DistilledClassifier(tree, tree, cv="in-sample", **FIXED), {}, InSampleLabelsWarning


def warn_untested(X, y):
    part = LogisticRegression()
    cv = [(np.arange(30, 150), np.arange(30))]
    return DistilledClassifier(part, part, cv=cv, **FIXED), {}, UntestedRowsWarning


def warn_missing(X, y):
    part = LogisticRegression()
    y[0] = 2
    return DistilledClassifier(part, part, **FIXED), {}, MissingClassWarning


def warn_few(X, y):
    part, params = LogisticRegression(), {**FIXED, "augmentation": lambda X, n, seed: X[:3]}
    return DistilledClassifier(part, part, **params), {}, TransferRowsWarning


def warn_fitted(X, y):
    return fixed(LogisticRegression().fit(X, y), LogisticRegression()), {}, FittedTeacherWarning


@pytest.mark.parametrize(
    "make",
    [
        warn_fitted,
        warn_no_gain,
        warn_ignored_weights,
        warn_sliceable,
        warn_in_sample,
        warn_untested,
        warn_missing,
        warn_few,
    ],
)
def test_warnings_point_at_the_call_of_fit(make):
    X, y = blobs(150, 2, spread=1.0)
    model, params, category = make(X, y)
    with pytest.warns(category) as record:
        model.fit(X, y, **params)
    (warning,) = [r for r in record if issubclass(r.category, category)]
    assert warning.filename == __file__


def test_hard_labels_are_used_for_a_reason():
    X, y = blobs(200)
    with pytest.warns(NoGainWarning, match="teacher was no better than that student"):
        DistilledClassifier(Noise(), LogisticRegression(), random_state=0).fit(X, y)

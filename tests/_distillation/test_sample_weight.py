"""Sample weights reach the teacher, the folds and the student."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklearn_kd.exceptions import IgnoredSampleWeightWarning
from tests._helpers.distillation import distil, three_classes
from tests._helpers.estimators import SoftmaxStudent


def test_explicit_splits_beyond_the_rows_are_an_error():
    X, y = three_classes()
    model = distil(
        LogisticRegression(), LogisticRegression(), cv=[(np.arange(100), np.arange(100, 200))]
    )
    with pytest.raises(ValueError, match=r"cv names row 1\d\d of"):
        model.fit(X, y)


def test_weights_that_one_of_the_two_cannot_use():
    class NoWeights(SoftmaxStudent):
        def fit(self, X, y, soft_targets=None):
            return super().fit(X, y, soft_targets=soft_targets)

    X, y = three_classes()
    w = np.linspace(0.5, 2, len(y))
    with pytest.warns(IgnoredSampleWeightWarning, match="teacher LinearDiscriminantAnalysis"):
        distil(LinearDiscriminantAnalysis(), LogisticRegression()).fit(X, y, w)
    with pytest.warns(IgnoredSampleWeightWarning, match="student NoWeights"):
        distil(LogisticRegression(), NoWeights()).fit(X, y, w)
    with pytest.raises(ValueError, match="weight"):
        distil(LogisticRegression(), LogisticRegression()).fit(X, y, 0 * w)


@pytest.mark.parametrize(
    "teacher",
    [
        VotingClassifier([("one", LogisticRegression())], voting="soft"),
        StackingClassifier([("one", LogisticRegression())], cv=2),
        GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2),
    ],
    ids=lambda teacher: type(teacher).__name__,
)
def test_a_teacher_that_takes_weights_by_routing_is_told_so(teacher):
    X, y = three_classes()
    w = np.linspace(0.5, 2, len(y))
    model = distil(teacher, LogisticRegression(), cv=2)
    name = type(teacher).__name__
    with pytest.warns(IgnoredSampleWeightWarning, match=f"{name} .*metadata routing only"):
        model.fit(X, y, sample_weight=w)
    with config_context(enable_metadata_routing=True):
        asking = LogisticRegression().set_fit_request(sample_weight=True)
        asking.set_score_request(sample_weight=True)
        part = {"estimator": asking} if name == "GridSearchCV" else {"one": clone(asking)}
        if name == "StackingClassifier":
            part["final_estimator"] = clone(asking)
        model.set_params(teacher=clone(teacher).set_params(**part), student=asking)
        model.fit(X, y, sample_weight=w)  # without a warning


def test_weights_reach_the_last_step_of_pipelines():
    X, y = three_classes()
    w = np.linspace(0.1, 3, len(y))
    pipeline = make_pipeline(make_pipeline(LogisticRegression()))
    for student in (LogisticRegression(), SoftmaxStudent(l2=1e-3)):
        deep = make_pipeline(make_pipeline(clone(student)))
        first = distil(pipeline, deep, random_state=0).fit(X, y, w)
        second = distil(LogisticRegression(), student, random_state=0).fit(X, y, w)
        np.testing.assert_allclose(first.predict_proba(X), second.predict_proba(X), rtol=1e-7)

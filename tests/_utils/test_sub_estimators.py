"""The path from a meta-estimator to the estimators inside it, and clones that train jointly."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
from sklearn_kd._utils.sub_estimators import (
    estimator_path,
    fit_parameter_key,
    innermost_student,
    joint_student,
    last_step,
    step_parameter,
)
from tests._helpers.data import blobs


def test_pipelines_are_followed_to_their_last_step():
    student = TwoLayerPGDClassifier()
    nested = make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), student))
    assert last_step(nested) is student
    assert last_step(student) is student
    assert step_parameter(student, "alpha") == "alpha"
    assert step_parameter(nested, "alpha") == "pipeline__twolayerpgdclassifier__alpha"
    assert nested.get_params()[step_parameter(nested, "alpha")] == 1.0
    assert fit_parameter_key(nested, "soft_targets") == step_parameter(nested, "soft_targets")
    logistic = make_pipeline(StandardScaler(), LogisticRegression())
    assert fit_parameter_key(logistic, "soft_targets") is None
    assert fit_parameter_key(logistic, "sample_weight") == "logisticregression__sample_weight"
    assert fit_parameter_key(KNeighborsClassifier(), "sample_weight") is None


def test_paths_lead_through_pipelines_and_distillers():
    student = make_pipeline(StandardScaler(), LogisticRegression())
    distilled = DistilledClassifier(KNeighborsClassifier(), student)
    outer = make_pipeline(StandardScaler(), distilled)
    path = list(estimator_path(outer))
    assert [each for _, each in path] == [outer, distilled, student, student[-1]]
    params = outer.get_params()
    for prefix, each in path[1:]:
        assert params[prefix.removesuffix("__")] is each
    assert innermost_student(outer) is student[-1]
    assert list(estimator_path(outer, into_distillers=False)) == path[:2]
    assert last_step(outer) is distilled
    X, y = [[0.0], [1.0]] * 5, [0, 1] * 5
    fitted = DistilledClassifier(LogisticRegression(), student, alpha=1.0, temperature=1.0)
    fitted.set_params(augmentation=None).fit(X, y)
    assert innermost_student(fitted, fitted=True) is fitted.student_[-1]
    assert innermost_student(fitted) is student[-1]


def test_a_joint_student_differs_in_the_parameters_given():
    template = TwoLayerPGDClassifier(8, max_iter=7)
    student = joint_student(template, {"alpha": 0.5, "random_state": 3})
    changed = {"alpha": 0.5, "random_state": 3}
    assert student.get_params() == {**template.get_params(), **changed}
    assert template.alpha == 1.0


def test_a_joint_student_knows_the_rows_that_another_has_checked():
    X, y = blobs(20, 3)
    checked = TwoLayerPGDClassifier(8)
    checked._check_data(X, y, None, None)
    student = joint_student(checked, {"temperature": 2.0}, checked)
    assert_array_equal(student.classes_, np.unique(y))
    assert student.n_features_in_ == X.shape[1]
    assert not hasattr(student, "feature_names_in_")


def test_parameters_of_a_joint_student_are_validated():
    with pytest.raises(ValueError, match="'temperature' parameter"):
        joint_student(TwoLayerPGDClassifier(8), {"temperature": -1.0})

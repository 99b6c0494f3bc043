"""Clones of a student that train jointly."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_kd import TwoLayerPGDClassifier
from sklearn_kd._utils.joint_students import joint_student
from tests._helpers.data import blobs


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

"""The rows of a fit of SelfDistillClassifier, and parts of them."""

import numpy as np
from numpy.testing import assert_array_equal

from sklearn_kd._networks.input_checks import ValidationSource
from sklearn_kd._self_distillation.rows import SelfDistillationRows

SAMPLE_WEIGHT = np.array([1.0, 0.0, 2.0, 1.0, 0.0, 3.0])
LABELS = np.array(["b", "c", "a", "b", "a", "a"])


def some_rows(group=None):
    """Six rows, two of which have no weight."""
    kept = SAMPLE_WEIGHT > 0
    X = np.arange(12.0).reshape(6, 2)
    y_encoded, weights = np.array([1, 0, 1, 0]), 10 * SAMPLE_WEIGHT[kept]
    checked = np.array([[5.0, 5.0], [1.0, 1.0], [5.0, 5.0], [1.0, 2.0]])
    validation = ValidationSource(group=group)
    return SelfDistillationRows(X, LABELS, SAMPLE_WEIGHT, checked, y_encoded, weights, validation)


def test_a_part_of_the_rows_of_positive_weight():
    rows = some_rows(group=np.array([2, 0, 1, 2]))
    part = rows.part(np.array([True, False, True, True]))
    given = [0, 3, 5]
    assert_array_equal(part.X, rows.X[given])
    assert_array_equal(part.y, LABELS[given])
    assert_array_equal(part.sample_weight, SAMPLE_WEIGHT[given])
    assert part.is_kept.all()
    for name in ("X_checked", "y_encoded", "weights"):
        assert_array_equal(getattr(part, name), getattr(rows, name)[[0, 2, 3]])
    assert_array_equal(part.validation.group, [1, 0, 1])  # numbers without gaps
    assert_array_equal(rows.validation.group, [2, 0, 1, 2])
    assert some_rows().part(np.arange(4) < 2).validation.group is None


def test_rows_of_a_group_and_copies_are_not_independent():
    group = np.array([2, 0, 1, 2])
    assert_array_equal(some_rows(group).independent_group, group)
    number = some_rows().independent_group  # the first row and the third are equal
    assert number[0] == number[2]
    assert len(set(number)) == 3


def test_labels_as_indicators():
    expected = [[0, 1], [0, 0], [1, 0], [0, 1], [1, 0], [1, 0]]
    assert_array_equal(some_rows().label_indicators(np.array(["a", "b"])), expected)

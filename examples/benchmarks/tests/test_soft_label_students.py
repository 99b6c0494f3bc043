"""The benchmark of students on the labels of a forest, on a small table."""

import numpy as np
import pytest


@pytest.mark.slow
def test_students_learn_the_same_rows(soft_label_students, toy_table):
    (X, y, _, soft), X_held, y_held = soft_label_students.labeled_rows(toy_table, "gibbs", 60)
    assert len(X) == len(y) == len(soft) == 4 * 60
    assert len(X_held) == len(y_held) > 0
    assert not set(X_held.index) & set(range(60))
    np.testing.assert_allclose(soft.sum(axis=1), 1)
    results = soft_label_students.run(toy_table, "none", ["4-auto", "4-2members", "4-2.0x"], 60)
    assert results["4-2members"]["numbers"] > results["4-auto"]["numbers"]
    assert all(np.isfinite(list(each.values())).all() for each in results.values())

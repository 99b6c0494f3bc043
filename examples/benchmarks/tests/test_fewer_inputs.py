"""The benchmark of students on few raw columns."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from sklearn_kd import TableEncoder


def test_the_last_columns_removed_are_the_ones_that_matter(fewer_inputs):
    rng = np.random.RandomState(0)
    X = pd.DataFrame(rng.normal(size=(300, 6))).add_prefix("x")
    y = (2 * X.x4 + X.x1 > 0).to_numpy().astype(int)
    importance = fewer_inputs.permuted(LogisticRegression(), X, y, seed=0)
    assert np.argsort(-importance)[:2].tolist() == [4, 1]
    order = fewer_inputs.recursive_order(LogisticRegression(), X, y, seed=0)
    assert order[:2].tolist() == [4, 1]
    assert sorted(order) == list(range(6))
    assert fewer_inputs.mutual_information(X, y, seed=0).argmax() == 4


def test_importances_of_encoded_columns_are_summed_by_raw_column(fewer_inputs):
    X = pd.DataFrame({"a": [1.0, 2.0, 5.0], "a_b": ["x", "y", "z"], "c": [0.0, 1.0, None]})
    encoder = TableEncoder().fit(X)
    names = ["a_1", "a_2", "a_b_x", "a_b_y", "a_b_z", "c", "c_missing"]
    assert encoder.get_feature_names_out().tolist() == names
    assert fewer_inputs.summed(encoder, np.arange(7)).tolist() == [1, 9, 11]


@pytest.mark.slow
def test_a_run_has_scores_for_each_rule(fewer_inputs, toy_table):
    row = {"table": toy_table} | fewer_inputs.run(toy_table, 0, 2, n_trees=30, max_rows=150)
    printed = fewer_inputs.by_number([row], "log_loss")
    for rule in fewer_inputs.RULES:
        assert f"| {rule} |" in printed
        assert set(row[rule]) == {str(k) for k in fewer_inputs.N_COLUMNS if k < row["n_features"]}
    assert fewer_inputs.STUDENT in fewer_inputs.against_teacher([row])

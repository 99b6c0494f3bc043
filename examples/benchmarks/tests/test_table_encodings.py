"""The benchmark of encodings on a small table."""

import numpy as np
import pytest


def test_robust_scale_and_smooth_clip(table_encodings, rng):
    X = np.column_stack([rng.normal(size=99), np.zeros(99)])
    X[0] = 1e9, 5.0
    Z = table_encodings.SmoothClip().fit(X).transform(X)
    assert (np.abs(Z) <= 3).all()
    assert Z[0, 0] == pytest.approx(3)
    assert Z[0, 1] == pytest.approx(
        2 / np.sqrt(1 + 4 / 9)
    )  # no interquartile range: half the range
    small = np.abs(Z[:, 0]) < 0.3
    low, middle, high = np.percentile(X[:, 0], [25, 50, 75])
    assert Z[small, 0] == pytest.approx((X[small, 0] - middle) / (high - low), abs=2e-3)


def test_rows_held_out_are_training_rows(table_encodings, toy_table):
    whole = table_encodings.load_split(toy_table, 1)
    data = table_encodings.hold_out(toy_table, 1, 100)
    assert len(data.X_train) == 100
    assert set(data.X_train.index) | set(data.X_test.index) <= set(whole.X_train.index)
    assert not set(data.X_train.index) & set(data.X_test.index)
    assert (data.y_test == whole.y_train[whole.X_train.index.get_indexer(data.X_test.index)]).all()


@pytest.mark.slow
@pytest.mark.parametrize("n_trees", [0, 3])
def test_runs_are_compared_by_model_and_front(table_encodings, toy_table, n_trees):
    results = [
        {"table": toy_table, "seed": seed, "model": "LogisticRegression", "front": front}
        | table_encodings.run(toy_table, seed, "LogisticRegression", front, 150, n_trees)
        for seed in range(2)
        for front in table_encodings.FRONTS
    ]
    rows = table_encodings.merged(results)
    ours, theirs = (("LogisticRegression", front) for front in ("encoder", "standard"))
    line = table_encodings.line(rows, ours, theirs)
    assert line[:3] == ["LogisticRegression, encoder", "LogisticRegression, standard", 1]
    gain = np.mean([row[ours]["accuracy"] - row[theirs]["accuracy"] for row in rows])
    assert line[4] == (gain > 0)
    assert table_encodings.line(rows, ours, ("tree", "standard")) is None

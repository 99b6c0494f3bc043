"""The benchmark against boosted trees of few bytes."""

import numpy as np
import pytest
from sklearn.base import clone


def test_boosting_has_about_the_bytes_that_it_may_have(small_trees, toy_table):
    data = small_trees.load_split(toy_table, 0)
    (X,) = small_trees.categorical(data.X_train)
    for n_bytes in (1, 600):
        model = small_trees.small_boosting(X, data.y_train, n_bytes, seed=0)
        bytes_ = small_trees.needed_bytes(clone(model).fit(X, data.y_train))
        assert bytes_ <= 1.2 * n_bytes or model.max_iter == 1


def test_held_out_rows_have_known_classes(small_trees):
    y = np.array(["a"] * 30 + ["b"] * 30 + ["c"])
    for seed in range(9):
        train, held_out = small_trees.split_of(y, seed)
        assert sorted([*train, *held_out]) == list(range(61))
        assert set(y[held_out]) <= set(y[train])


def test_level_with_the_best_of_others(small_trees):
    losses = {"ours": (0.5, 0.3), "near": (0.46, 0.32), "far": (0.9, 0.9)}
    rows = [
        {"table": "a", **{name: {"log_loss": loss[seed]} for name, loss in losses.items()}}
        for seed in range(2)
    ]
    assert small_trees.level(rows, "ours", ["near", "far"]) == 1
    assert small_trees.level(rows, "far", ["near", "ours"]) == 0


@pytest.mark.slow
def test_a_run_has_a_line_for_each_model(small_trees, toy_table):
    row = {"table": toy_table} | small_trees.run(toy_table, 0, 4, n_trees=5, max_rows=150)
    printed = small_trees.summary([row])
    for name in ("network", '"auto"', "boosting", "boosting, taught"):
        assert f"| {name} |" in printed

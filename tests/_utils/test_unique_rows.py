"""Counting distinct rows by hashes."""

import numpy as np
import pandas as pd
import pytest

from sklearn_kd._utils.unique_rows import copy_groups, group_rows, is_small


def test_small_counts_distinct_rows():
    X = np.random.RandomState(0).normal(size=(100, 3))
    assert is_small(X, 100)
    assert not is_small(X, 99)
    copies = np.tile(X, (10, 1))
    assert is_small(copies, 100)
    assert not is_small(copies, 99)
    assert not is_small(np.zeros((2001, 1)), 100)  # not worth a look


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "make",
    [
        lambda: np.arange(500.0)[:, None],
        lambda: np.indices((20, 25)).reshape(2, -1).T.astype(float),
        lambda: np.eye(200),
        lambda: np.random.RandomState(0).randint(0, 2, size=(700, 12)).astype(float),
        lambda: 2.0 ** np.arange(-60, 60)[:, None],
    ],
)
def test_hashes_tell_distinct_rows_apart(make, dtype):
    X = make().astype(dtype)
    n = len(np.unique(X, axis=0))
    X = np.tile(X, (3, 1))
    assert is_small(X, n)
    assert not is_small(X, n - 1)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, bool])
def test_numbers_of_rows_are_those_of_the_same_rows_in_a_frame(dtype):
    X = np.random.RandomState(0).randint(0, 2, size=(60, 4)).astype(dtype)
    group = group_rows(X)
    assert group.max() + 1 == len(np.unique(X, axis=0))
    np.testing.assert_array_equal(group_rows(pd.DataFrame(X)), group)


def test_texts_are_compared_in_any_container():
    texts = ["a b", "b", "a b", "c", "b"]
    made = [texts, tuple(texts), np.array(texts), np.array(texts, dtype=object), pd.Series(texts)]
    for rows in (*made, pd.Series(texts, dtype="category")):
        group = group_rows(rows)
        assert group[0] == group[2]
        assert group[1] == group[4]
        assert len(set(group)) == 3


@pytest.mark.parametrize(
    ("n_distinct", "times", "are_kept"), [(99, 3, True), (99, 4, False), (100, 4, True)]
)
def test_equal_rows_are_no_copies_where_few_occur_often(n_distinct, times, are_kept):
    group = np.tile(np.arange(n_distinct), times)
    expected = group if are_kept else np.arange(len(group))
    np.testing.assert_array_equal(copy_groups(group), expected)


def test_equal_rows_of_equal_targets_are_copies_in_calibration():
    group, y = np.tile(np.arange(8), 5), np.tile(np.arange(8.0) ** 2, 5)
    np.testing.assert_array_equal(copy_groups(group, y), group)
    np.testing.assert_array_equal(copy_groups(group, np.column_stack([y, -y])), group)
    other = np.where(np.arange(40) == 11, -1, y)
    np.testing.assert_array_equal(copy_groups(group, other), np.arange(40))

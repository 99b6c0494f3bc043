"""Groups of rows that folds and held-out rows never divide."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from numpy.testing import assert_array_equal
from sklearn.exceptions import DataConversionWarning

from sklearn_kd._utils.groups import (
    check_groups_of_classes,
    encode_groups,
    group_folds,
    held_out_group_folds,
    random_groups,
)


def data(seed, n_groups=20, n_classes=3, pure=True):
    """Return groups of 1 to 12 rows, whose rows have one class or several, and weights."""
    rng = np.random.RandomState(seed)
    group = np.repeat(np.arange(n_groups), rng.randint(1, 13, size=n_groups))
    of_group = np.append(np.tile(np.arange(n_classes), 2), rng.randint(n_classes, size=n_groups))
    y_encoded = of_group[group]
    if not pure:
        other = rng.uniform(size=len(group)) < 0.3
        y_encoded = np.where(other, rng.randint(n_classes, size=len(group)), y_encoded)
    return group, y_encoded, rng.uniform(0.5, 2, size=len(group))


def folds(group, y_encoded, weights, n_folds=5, seed=0, function=group_folds):
    return function(group, y_encoded, weights, n_folds, np.random.RandomState(seed))


def n_values_in_groups(group, values):
    return [len(set(values[group == number])) for number in np.unique(group)]


@given(seed=st.integers(0, 2**16), pure=st.booleans())
def test_a_group_is_in_one_fold_and_weights_equal_copies(seed, pure):
    group, y_encoded, weights = data(seed, pure=pure)
    fold = folds(group, y_encoded, weights)
    assert set(n_values_in_groups(group, fold)) == {1}
    assert set(fold) == set(range(5))
    order = np.random.RandomState(seed).permutation(len(group))
    assert_array_equal(folds(group[order], y_encoded[order], weights[order]), fold[order])
    counts = np.random.RandomState(seed).randint(1, 4, size=len(group))
    copies = np.repeat(np.arange(len(group)), counts)
    ones = np.ones(len(copies))
    for function in (folds, lambda *rows: random_groups(*rows, 0.3, np.random.RandomState(0))):
        weighted = function(group, y_encoded, counts)
        assert_array_equal(function(group[copies], y_encoded[copies], ones), weighted[copies])


def test_folds_are_stratified():
    group = np.repeat(np.arange(60), 15)
    y_encoded = (group >= 45).astype(int)  # 45 and 15 groups
    fold = folds(group, y_encoded, np.ones(len(group)))
    counts = [np.bincount(y_encoded[fold == k]).tolist() for k in range(5)]
    assert counts == [[9 * 15, 3 * 15]] * 5


@given(seed=st.integers(0, 2**16))
def test_folds_of_mixed_groups_are_about_even(seed):
    group, y_encoded, weights = data(seed, n_groups=60, pure=False)
    fold = folds(group, y_encoded, weights)
    totals = np.bincount(y_encoded, weights)
    for k in range(5):
        share = np.bincount(y_encoded[fold == k], weights[fold == k], 3) / totals
        assert (abs(share - 0.2) < 0.12).all()


def test_one_large_group_and_few_groups():
    group = np.repeat([0, 1, 2], [100, 3, 3])
    fold = folds(group, np.arange(106) % 2, np.ones(106))
    assert sorted(set(fold)) == [0, 1, 2]


@given(seed=st.integers(0, 2**16), pure=st.booleans(), n_groups=st.integers(4, 12))
def test_every_class_has_a_group_to_train_on(seed, pure, n_groups):
    group, y_encoded, weights = data(seed, n_groups, n_classes=2, pure=pure)
    masks = [random_groups(group, y_encoded, weights, 0.5, np.random.RandomState(seed))]
    fold = folds(group, y_encoded, weights, 2, function=held_out_group_folds)
    masks += [fold == k for k in range(fold.max() + 1)]
    for mask in masks:
        assert mask.any()
        assert set(y_encoded[~mask]) == set(y_encoded)
        assert set(n_values_in_groups(group, mask)) == {1}


def test_rows_of_a_class_in_one_group_are_always_trained_on():
    group, y_encoded = np.repeat(np.arange(6), 4), np.repeat([0, 0, 0, 1, 1, 2], 4)
    fold = folds(group, y_encoded, np.ones(24), function=held_out_group_folds)
    assert (fold[y_encoded == 2] == -1).all()
    assert set(fold[y_encoded < 2]) == set(range(fold.max() + 1))
    assert folds(group // 5, y_encoded, np.ones(24), function=held_out_group_folds) is None


@given(seed=st.integers(0, 2**16), fraction=st.floats(0.1, 0.6))
def test_random_groups_keep_proportions(seed, fraction):
    group = np.repeat(np.arange(80), 5)
    y_encoded = (group >= 50).astype(int)
    mask = random_groups(
        group, y_encoded, np.ones(len(group)), fraction, np.random.RandomState(seed)
    )
    for c, n in ((0, 50), (1, 30)):
        assert abs(mask[y_encoded == c].mean() - fraction) <= 1 / n + 1e-9


def test_few_groups_of_each_of_many_classes():
    group = np.repeat(np.arange(40), 5)
    y_encoded = group % 10
    for seed in range(5):
        rows = group, y_encoded, np.ones(200)
        mask = random_groups(*rows, 0.1, np.random.RandomState(seed))
        assert mask.sum() == 20
        assert len(set(y_encoded[mask])) == 4


def test_a_group_is_held_out_where_all_are_large():
    group = np.repeat([0, 1], 50)
    mask = random_groups(group, np.arange(100) % 2, np.ones(100), 0.1, np.random.RandomState(0))
    assert mask.sum() == 50


@pytest.mark.parametrize(
    "groups",
    [
        [3, 1, 3, 2],
        ["c", "a", "c", "b"],
        np.array([3, 1, 3, 2], dtype=object),
        pd.Series(["c", "a", "c", "b"], index=[7, 5, 3, 1]),
        pd.Series(["c", "a", "c", "b"], dtype="category"),
        pd.Series([3, 1, 3, 2], dtype="Int64"),
        pd.to_datetime(pd.Series(["2022", "2020", "2022", "2021"])),
        np.array([["c"], [1], ["c"], [2]], dtype=object)[:, 0][[0, 1, 2, 3]],
        [1.5, -2.0, 1.5, 0.0],
        np.array([b"c", b"a", b"c", b"b"]),
    ],
)
def test_groups_of_any_kind(groups):
    group = encode_groups(groups, 4)
    assert group[0] == group[2]
    assert sorted(set(group)) == [0, 1, 2]


@pytest.mark.parametrize(
    "groups",
    [
        [1.0, np.nan, 2.0],
        ["a", None, "b"],
        pd.Series([1, None, 2], dtype="Int64"),
        pd.Series(["a", pd.NA, "b"], dtype="string"),
        pd.Series(["a", None, "b"], dtype="category"),
        pd.Series([pd.Timestamp("2020"), pd.NaT, pd.Timestamp("2021")]),
    ],
)
def test_missing_groups(groups):
    with pytest.raises(ValueError, match="NaN in 1 rows, the first of which is row 1: name the"):
        encode_groups(groups, 3)


def test_groups_of_another_length():
    with pytest.raises(ValueError, match="groups has 3 entries for 4 rows of X"):
        encode_groups([1, 2, 3], 4)
    for groups in (np.ones((4, 2)), [("a", 1)] * 4, "patient", 3):
        with pytest.raises(ValueError, match="groups should be a 1d array, got an array of shape"):
            encode_groups(groups, 4)
    with pytest.warns(DataConversionWarning):
        assert_array_equal(encode_groups(pd.DataFrame({"g": [3, 1, 3, 2]}), 4), [2, 0, 2, 1])


def test_classes_in_one_group_are_named():
    y_encoded, classes = np.array([0, 0, 1, 1, 2]), np.array(["a", "b", "c", "unused"])
    with pytest.raises(ValueError, match=r"classes \['b', 'c'\] are in one group.*: do this"):
        check_groups_of_classes(np.array([0, 1, 2, 2, 0]), y_encoded, classes, "do this")
    check_groups_of_classes(np.array([0, 1, 2, 1]), y_encoded[:4], classes, "do this")

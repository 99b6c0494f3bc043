"""Folds and held-out rows that depend on the content of the rows only."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    PredefinedSplit,
    TimeSeriesSplit,
)

from sklearn_kd._utils.folds import (
    are_ordered,
    content_folds,
    distinct_row_folds,
    group_split_params,
    group_splitter,
    random_rows,
    split_rows,
    stratified_folds,
    user_folds,
    warn_if_groups_are_divided,
)
from sklearn_kd.exceptions import DividedGroupsWarning


def data(seed=0, n=40, n_classes=3):
    rng = np.random.RandomState(seed)
    return rng.normal(size=(n, 4)), rng.randint(n_classes, size=n), rng.uniform(0.5, 2, size=n)


def folds(X, y_encoded, weights, n_folds=5, seed=0):
    return content_folds(X, y_encoded, weights, n_folds, np.random.RandomState(seed))


@given(seed=st.integers(0, 2**16))
def test_folds_do_not_see_order_repetition_or_units(seed):
    X, y_encoded, weights = data(seed)
    fold = folds(X, y_encoded, weights)
    rng = np.random.RandomState(seed)
    order = rng.permutation(len(X))
    np.testing.assert_array_equal(folds(X[order], y_encoded[order], weights[order]), fold[order])
    counts = rng.randint(1, 4, size=len(X))
    copies = np.repeat(np.arange(len(X)), counts)
    np.testing.assert_array_equal(
        folds(X[copies], y_encoded[copies], weights[copies]), fold[copies]
    )
    np.testing.assert_array_equal(
        folds(X[copies], y_encoded[copies], np.ones(len(copies))),
        folds(X, y_encoded, counts)[copies],
    )
    scaled = X * [1e-3, 1, 1e3, 1e6] + [1, 0, -3, 1e3]
    np.testing.assert_array_equal(folds(scaled, y_encoded, weights), fold)


def test_copies_share_a_fold_also_across_classes():
    X = np.repeat(np.arange(6.0), 4)[:, None]
    y_encoded = np.tile([0, 0, 1, 1], 6)
    fold = folds(X, y_encoded, np.ones(24), n_folds=3)
    for value in range(6):
        assert len(set(fold[X[:, 0] == value])) == 1
    assert sorted(np.bincount(fold)) == [8, 8, 8]


def test_folds_are_stratified_and_even():
    X, _, weights = data(n=100)
    y_encoded = np.r_[np.zeros(80, int), np.full(15, 1), np.full(5, 2)]
    fold = folds(X, y_encoded, weights)
    counts = np.array(
        [[np.sum((fold == k) & (y_encoded == c)) for c in range(3)] for k in range(5)]
    )
    assert (np.ptp(counts, axis=0) <= 1).all()
    assert set(counts.sum(axis=1)) == {20}


def test_folds_of_few_distinct_rows():
    assert folds(np.ones((5, 2)), np.array([0, 1, 0, 1, 1]), np.ones(5)) is None
    fold = folds(np.array([[0.0], [1.0], [1.0]]), np.array([0, 1, 1]), np.ones(3))
    assert sorted(set(fold)) == [0, 1]


@given(
    seed=st.integers(0, 2**16),
    counts=st.lists(st.integers(1, 40), min_size=2, max_size=5),
    fraction=st.floats(0.01, 0.9),
)
def test_random_rows_keep_proportions(seed, counts, fraction):
    rng = np.random.RandomState(seed)
    y_encoded = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    held = random_rows(y_encoded, fraction, rng)
    for c, n in enumerate(counts):
        n_held = held[y_encoded == c].sum()
        assert n_held <= n - 1
        assert abs(n_held - n * fraction) <= 1 or n_held == n - 1


def test_a_row_is_held_out_where_there_are_two():
    rng = np.random.RandomState(0)
    for y_encoded in ([0, 1, 1, 0, 2, 0], [0, 0], [1, 0, 0]):
        held = random_rows(np.array(y_encoded), 0.1, rng)
        assert held.sum() == 1
        assert np.array(y_encoded)[held] == 0  # the largest class
    assert not random_rows(np.array([2, 0, 1]), 0.5, rng).any()


def assert_same_folds(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])


@given(seed=st.integers(0, 2**16))
def test_folds_of_distinct_rows_are_those_without_copies(seed):
    rng = np.random.RandomState(seed)
    n = rng.randint(2, 60)
    group, y_encoded = rng.permutation(n), rng.randint(3, size=n)
    single = stratified_folds(y_encoded, 5, seed)
    assert_same_folds(distinct_row_folds(group, y_encoded, rng.uniform(size=n), 5, seed), single)
    copies = np.repeat(np.arange(n), rng.randint(1, 4, size=n))
    copies = np.append(copies, rng.randint(n, size=20))  # anywhere after the first one
    found = distinct_row_folds(group[copies], y_encoded[copies], np.ones(len(copies)), 5, seed)
    expected = [(np.isin(copies, train), np.isin(copies, test)) for train, test in single]
    assert_same_folds(found, [tuple(map(np.flatnonzero, each)) for each in expected])


@given(seed=st.integers(0, 2**16))
def test_folds_of_distinct_rows_with_several_classes(seed):
    rng = np.random.RandomState(seed)
    group, y_encoded = rng.randint(12, size=40), rng.randint(4, size=40)
    weights = rng.randint(1, 4, size=40)
    folds = distinct_row_folds(group, y_encoded, weights, 3, seed)
    tested = np.concatenate([[], *(test for _, test in folds)])
    assert len(np.unique(tested)) == len(tested)
    for train, test in folds:
        np.testing.assert_array_equal(np.union1d(train, test), np.arange(40))
        assert not np.isin(group[train], group[test]).any()
        assert set(y_encoded[train]) == set(y_encoded)
    copies = np.repeat(np.arange(40), weights)
    found = distinct_row_folds(group[copies], y_encoded[copies], np.ones(len(copies)), 3, seed)
    expected = [(np.isin(copies, train), np.isin(copies, test)) for train, test in folds]
    assert_same_folds(found, [tuple(map(np.flatnonzero, each)) for each in expected])


def test_random_rows_are_random():
    y_encoded = np.zeros(50, int)
    chosen = [random_rows(y_encoded, 0.2, np.random.RandomState(s)) for s in (0, 0, 1)]
    np.testing.assert_array_equal(chosen[0], chosen[1])
    assert (chosen[0] != chosen[2]).any()
    frequency = sum(random_rows(y_encoded, 0.2, np.random.RandomState(s)) for s in range(400)) / 400
    assert abs(frequency - 0.2).max() < 0.1


def as_lists(folds):
    return [tuple(part.tolist() for part in fold) for fold in folds]


def test_masks_and_row_numbers_are_the_same_folds():
    X, y, _ = data(n=6)
    expected = [([0, 1, 2], [3, 4, 5]), ([3, 4, 5], [0, 1, 2])]
    first = np.arange(6) < 3
    masks, numbers = [(first, ~first), (~first, first)], expected
    assert as_lists(split_rows(masks, X, y, {})) == expected
    assert as_lists(split_rows(numbers, X, y, {})) == expected
    assert as_lists(split_rows([([], [-1])], X, y, {})) == [([], [5])]


def test_explicit_folds_refer_to_the_rows_that_the_user_passed():
    X, y, _ = data(n=6)
    rows = np.array([0, 2, 3, 5])
    first = np.arange(6) < 3
    expected = [([0, 1], [2, 3]), ([2, 3], [0, 1])]
    for cv in (
        [(first, ~first), (~first, first)],
        [([0, 1, 2], [3, 4, 5]), ([3, 4, 5], [0, 1, 2])],
    ):
        assert as_lists(user_folds(cv, X[rows], y[rows], rows, 6, {})) == expected
    predefined = PredefinedSplit(first.astype(int))
    assert as_lists(user_folds(predefined, X[rows], y[rows], rows, 6, {})) == expected
    # a splitter splits the rows that are used
    assert as_lists(user_folds(KFold(2), X[rows], y[rows], rows, 6, {})) == expected[::-1]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (([0, 1, 2], [3, 10]), "cv names row 10 of 10"),
        (([0, 1, 2], [-11]), "cv names row -11 of 10"),
        ((np.arange(12) < 6, np.arange(12) >= 6), "cv has a mask of 12 rows, but there are 10"),
    ],
)
def test_rows_that_do_not_exist_are_named(split, message):
    with pytest.raises(ValueError, match=message):
        split_rows([split], np.zeros((10, 1)), np.arange(10) % 2, {})


def test_folds_are_ordered_if_each_trains_on_earlier_positions():
    X = np.zeros(24)
    for cv, ordered in (
        (TimeSeriesSplit(3), True),
        (TimeSeriesSplit(3, gap=2, max_train_size=5), True),
        (KFold(3), False),
        (KFold(2), False),  # the second fold alone would be
    ):
        assert are_ordered(list(cv.split(X))) == ordered
    assert not are_ordered([])
    assert not are_ordered([(np.arange(3), np.arange(0))])


def test_numbers_of_folds_become_splitters_by_group():
    groups = np.arange(12) // 2
    assert group_splitter(3, None) == 3
    assert group_splitter(None, None) is None
    assert group_splitter(3, groups).get_n_splits() == 3
    assert group_splitter(None, groups).get_n_splits() == 5
    splitter = KFold(3)
    assert group_splitter(splitter, groups) is splitter
    with pytest.raises(ValueError, match=r"7 folds by group.*set cv to 6 or less"):
        group_splitter(7, groups)


def test_splitters_that_take_groups_get_them():
    groups = ["a", "b"]

    class Other:
        def split(self, X, y=None, groups=None):
            return iter([])

    class Plain:
        def split(self, X, y=None):
            return iter([])

    for cv in (GroupKFold(2), LeaveOneGroupOut(), Other()):
        assert group_split_params(cv, groups, {}) == {"groups": groups}
        assert group_split_params(cv, None, {"groups": groups}) == {}  # routed already
    for cv in (KFold(2), Plain(), [([0], [1])], 5, None):
        assert group_split_params(cv, groups, {}) == {}
        assert group_split_params(cv, None, {}) == {}
    assert group_split_params(Other(), None, {}) == {}
    with pytest.raises(ValueError, match="pass groups to fit"):
        group_split_params(GroupKFold(2), None, {})


def test_divided_groups_are_counted():
    groups = np.array([0, 0, 1, 1, 2, 2])
    warn_if_groups_are_divided([(np.arange(4), np.arange(4, 6))], groups)
    warn_if_groups_are_divided([(np.arange(3), np.arange(3, 6))], None)
    with pytest.warns(DividedGroupsWarning, match="fold 1 of cv trains on rows of 2 groups"):
        warn_if_groups_are_divided(
            [(np.arange(4), np.arange(4, 6)), (np.array([0, 2, 4]), np.array([1, 3]))], groups
        )


@pytest.mark.parametrize("kind", ["list", "iterator"])
def test_an_iterable_without_splits_is_an_error(kind):
    with pytest.raises(ValueError, match="cv has no splits: pass pairs of training and test rows"):
        split_rows([] if kind == "list" else iter([]), np.zeros((10, 1)), np.arange(10) % 2, {})

"""Folds for cross-validation and held-out rows."""

import warnings
from collections.abc import Iterable
from inspect import signature
from numbers import Integral

import numpy as np
from sklearn.model_selection import (
    GroupKFold,
    PredefinedSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    check_cv,
)
from sklearn.utils.metadata_routing import get_routing_for_object

from sklearn_kd._utils.unique_rows import merge_rows
from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd.exceptions import DividedGroupsWarning

#: What helps where explicit splits do not fit the rows.
SPLITTER_ADVICE = (
    "Explicit splits refer to all rows of one table. Inside a search or a cross-validation, which "
    "passes a part of the rows, set cv to a splitter such as StratifiedKFold(5) instead."
)


def content_folds(X, y_encoded, weights, n_folds, rng):
    """Return stratified folds that depend only on the set of distinct rows.

    Copies of a row share a fold. The order of the rows, their repetition and increasing
    transformations of the columns have no effect, so that a weight of k equals k copies.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    y_encoded : ndarray of int of shape (n_samples,)
        Class of each row.
    weights : ndarray of shape (n_samples,)
    n_folds : int
    rng : numpy.random.RandomState

    Returns
    -------
    fold : ndarray of int of shape (n_samples,), or None
        None if there is a single distinct row, so that no row can be held out.
    """
    distinct = merge_rows(X, y_encoded, weights)
    fold = unique_row_folds(distinct.class_weight_sums, n_folds, rng)
    return None if fold is None else fold[distinct.group]


def grouped_folds(group, y_encoded, weights, n_folds, seed):
    """Return stratified folds in which the rows of a group share a fold.

    These are `content_folds` for the groups of `group_rows`, but they change with transformations
    of the columns.
    """
    class_weight_sums = np.zeros((group.max() + 1, y_encoded.max() + 1))
    np.add.at(class_weight_sums, (group, y_encoded), weights)
    fold = unique_row_folds(class_weight_sums, n_folds, np.random.RandomState(seed))
    return np.zeros(len(y_encoded), int) if fold is None else fold[group]


def unique_row_folds(class_weight_sums, n_folds, rng):
    """Return a stratified fold of each distinct row, or None for a single row."""
    n_folds = min(n_folds, len(class_weight_sums))
    if n_folds < 2:
        return None
    stratum = _class_of_most_weight(class_weight_sums)
    order = rng.permutation(len(class_weight_sums))
    order = order[np.argsort(stratum[order], kind="stable")]
    fold = np.empty(len(class_weight_sums), dtype=np.intp)
    fold[order] = np.arange(len(class_weight_sums)) % n_folds
    return fold


def _class_of_most_weight(class_weight_sums):
    """Return the class of each distinct row, the first one where sums are equal up to rounding."""
    largest = class_weight_sums.max(axis=1, keepdims=True)
    return (class_weight_sums > largest * (1 - 1e-9)).argmax(axis=1)


def random_rows(y_encoded, fraction, rng):
    """Return a mask of about ``fraction`` of the rows, stratified by class.

    At least one row of each class is left for training. At least one row, of the largest class, is
    in the mask unless each class has a single row.

    Parameters
    ----------
    y_encoded : ndarray of int of shape (n_samples,)
    fraction : float in (0, 1)
    rng : numpy.random.RandomState

    Returns
    -------
    held_out : ndarray of bool of shape (n_samples,)
    """
    order = rng.permutation(len(y_encoded))
    order = order[np.argsort(y_encoded[order], kind="stable")]
    counts = np.bincount(y_encoded)
    rank = np.empty(len(y_encoded), dtype=np.intp)
    rank[order] = np.arange(len(y_encoded)) - np.repeat(np.cumsum(counts) - counts, counts)
    n_held = np.floor(counts * fraction + 0.5).astype(int).clip(max=counts - 1)
    if not (n_held > 0).any():
        n_held[counts.argmax()] = min(1, counts.max() - 1)
    return rank < n_held[y_encoded]


def stratified_folds(y_encoded, n_splits, seed):
    """Return shuffled stratified folds whose training rows include every class.

    A class with fewer rows than folds has test rows in as many folds as it has rows. The single row
    of a class is always a training row and never a test row.
    """
    counts = np.bincount(y_encoded)
    is_single = counts[y_encoded] == 1
    single, eligible = np.flatnonzero(is_single), np.flatnonzero(~is_single)
    n_splits = min(n_splits, int(counts.max()))
    if n_splits < 2:
        return []
    splitter = StratifiedKFold(n_splits, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # classes with fewer rows than folds are handled as described above
        warnings.filterwarnings("ignore", "The least populated class")
        parts = list(splitter.split(np.zeros(len(eligible)), y_encoded[eligible]))
    return [(np.sort(np.append(eligible[train], single)), eligible[test]) for train, test in parts]


def distinct_row_folds(group, y_encoded, weights, n_splits, seed):
    """Return `stratified_folds` of distinct rows: copies of a row are tested together.

    They depend on the order in which distinct rows first occur, so that a weight of k equals k
    copies of a row if these do not change it. Rows without copies have `stratified_folds`, whatever
    their weights are.

    Parameters
    ----------
    group : ndarray of int of shape (n_samples,)
        Number of the distinct row that each row equals, as `copy_groups` returns it.
    y_encoded : ndarray of int of shape (n_samples,)
    weights : ndarray of shape (n_samples,)
        Positive. A distinct row of several classes counts as one of the class of most weight.
    n_splits, seed
        As for `stratified_folds`.
    """
    _, first, group = np.unique(group, return_index=True, return_inverse=True)
    if len(first) == len(group):
        return stratified_folds(y_encoded, n_splits, seed)
    number = np.empty(len(first), dtype=np.intp)
    number[np.argsort(first)] = np.arange(len(first))
    group = number[group]
    class_weight_sums = np.zeros((len(first), y_encoded.max() + 1))
    np.add.at(class_weight_sums, (group, y_encoded), weights)
    fold = np.full(len(first), -1)  # of rows that are never tested
    folds = stratified_folds(_class_of_most_weight(class_weight_sums), n_splits, seed)
    for k, (_, test) in enumerate(folds):
        fold[test] = k
    for k in range(len(folds)):
        # a class that has the most weight in no distinct row has no stratum to divide
        trained = np.unique(y_encoded[fold[group] != k])
        is_lost = (fold[group] == k) & ~np.isin(y_encoded, trained)
        fold[group[is_lost]] = -1
    fold = fold[group]
    folds = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(len(folds))]
    return [(train, test) for train, test in folds if len(test)]


def split_rows(cv, X, y, split_params, n_samples=None, *, is_classifier=True):
    """Return the training and test rows of each fold of a splitter or of explicit folds.

    Parameters
    ----------
    cv : int, splitter or iterable of splits
        As for :func:`sklearn.model_selection.check_cv`. An iterable has row numbers or masks.
    X, y : array-like or DataFrame
        Rows to split.
    split_params : dict
        Metadata for ``split``.
    n_samples : int, default=None
        Number of rows that explicit folds refer to; that of ``y`` for None.
    is_classifier : bool, default=True
        Whether y are class labels, by which a number of folds is stratified.

    Returns
    -------
    list of (train, test)
        Arrays of row numbers.

    Raises
    ------
    ValueError
        If a split names rows that do not exist, and if there are no splits.
    """
    n_samples = len(y) if n_samples is None else n_samples
    splits = list(check_cv(cv, y, classifier=is_classifier).split(X, y, **split_params))
    if not splits:
        raise ValueError("cv has no splits: pass pairs of training and test rows, or a splitter.")
    return [tuple(row_numbers(part, n_samples) for part in split) for split in splits]


def row_numbers(part, n_samples):
    """Return the numbers of the rows of a part of a split, which may be a mask."""
    part = np.asarray(part)
    if part.dtype == bool:
        if len(part) != n_samples:
            raise ValueError(
                f"cv has a mask of {len(part)} rows, but there are {n_samples}. {SPLITTER_ADVICE}"
            )
        return np.flatnonzero(part)
    outside = part[(part < -n_samples) | (part >= n_samples)]
    if outside.size:
        raise ValueError(f"cv names row {outside[0]} of {n_samples}. {SPLITTER_ADVICE}")
    return np.arange(n_samples)[part] if part.size else np.arange(0)


def user_folds(cv, X, y, rows, n_given, split_params, *, is_classifier=True):
    """Return the folds of the rows that are used, where others were left out.

    Parameters
    ----------
    cv : int, splitter or iterable of splits
        A splitter splits the rows that are used. Explicit folds refer to all rows that the user
        passed, and rows that are not used are left out of them.
    X, y : array-like or DataFrame
        Rows that are used.
    rows : ndarray of int of shape (n_samples,)
        Numbers of these rows among all rows.
    n_given : int
        Number of all rows.
    split_params : dict
        Metadata for ``split``.
    is_classifier : bool, default=True
        As for `split_rows`.

    Returns
    -------
    list of (train, test)
        Arrays of numbers of the rows that are used.
    """
    is_iterable = isinstance(cv, Iterable) and not hasattr(cv, "split")
    if not is_iterable and not isinstance(cv, PredefinedSplit):
        return split_rows(cv, X, y, split_params, is_classifier=is_classifier)
    splits = split_rows(cv, X, y, split_params, n_given, is_classifier=is_classifier)
    return renumbered_folds(splits, rows, n_given)


def renumbered_folds(folds, rows, n_samples):
    """Return folds of ``n_samples`` rows as folds of the chosen ``rows``, without the others."""
    new_number = np.full(n_samples, -1)
    new_number[rows] = np.arange(len(rows))
    return [tuple(new[new >= 0] for new in (new_number[part] for part in fold)) for fold in folds]


def are_ordered(folds):
    """Return whether each fold trains on earlier positions than it tests, as for rows in time."""
    used = [(train, test) for train, test in folds if len(train) and len(test)]
    return bool(used) and all(train.max() < test.min() for train, test in used)


def group_splitter(cv, groups, *, is_classifier=True):
    """Return a splitter that keeps groups together in place of a number of folds.

    Parameters
    ----------
    cv : int, splitter, iterable of splits or None
    groups : ndarray of int of shape (n_samples,) or None
        Numbers from zero on. None changes nothing.
    is_classifier : bool, default=True
        Whether the folds are stratified by class.

    Returns
    -------
    cv : int, splitter, iterable of splits or None
    """
    if groups is None or not (cv is None or isinstance(cv, Integral)):
        return cv
    n_folds, n_groups = 5 if cv is None else int(cv), groups.max() + 1
    if n_folds > n_groups:
        raise ValueError(
            f"{n_folds} folds by group need as many groups, and there are {n_groups}: set cv to "
            f"{n_groups} or less."
        )
    return StratifiedGroupKFold(n_folds) if is_classifier else GroupKFold(n_folds)


def group_split_params(cv, groups, split_params):
    """Return ``groups`` as metadata of a splitter that takes groups, or no metadata.

    A splitter of scikit-learn takes groups if it requests them. Any other takes them if its
    ``split`` has this parameter.

    Parameters
    ----------
    cv : int, splitter, iterable of splits or None
    groups : array-like of shape (n_samples,) or None
    split_params : dict
        Metadata that is routed to the splitter.

    Raises
    ------
    ValueError
        If the splitter requests groups and there are none.
    """
    if not hasattr(cv, "split") or "groups" in split_params:
        return {}
    if hasattr(cv, "get_metadata_routing"):
        takes_groups = bool(get_routing_for_object(cv).consumes("split", ["groups"]))
        if takes_groups and groups is None:
            raise ValueError(f"cv={cv} splits by groups, but got none: pass groups to fit.")
    else:
        takes_groups = "groups" in signature(cv.split).parameters
    return {"groups": groups} if takes_groups and groups is not None else {}


def warn_if_groups_are_divided(folds, groups):
    """Warn if a fold trains on one part of a group (of ``groups`` or None) and tests another."""
    if groups is None:
        return
    for number, (train, test) in enumerate(folds):
        divided = np.intersect1d(groups[train], groups[test])
        if len(divided):
            warn_caller(
                f"fold {number} of cv trains on rows of {len(divided)} groups that it tests too, "
                "so that their labels come from fits that have seen the group: use a splitter "
                "that takes groups, such as GroupKFold, or a number of folds.",
                DividedGroupsWarning,
            )
            return

"""Groups of rows, such as the visits of a patient, which held-out rows never divide."""

import numpy as np

from sklearn_kd._utils.validation import check_column

#: Weight of the size of a fold, next to that of its classes, in the choice of a fold for a group.
SIZE_WEIGHT = 1e-3


def encode_groups(groups, n_samples):
    """Return the number of the group of each row, in the order of the sorted groups.

    Parameters
    ----------
    groups : array-like of shape (n_samples,)
        Labels of groups of any kind.
    n_samples : int

    Returns
    -------
    group : ndarray of int of shape (n_samples,)
    """
    import pandas as pd

    groups = check_column(groups, "groups")
    if len(groups) != n_samples:
        raise ValueError(
            f"groups has {len(groups)} entries for {n_samples} rows of X: pass the group of each "
            "row."
        )
    group = pd.factorize(groups, sort=True)[0]
    missing = np.flatnonzero(group < 0)
    if len(missing):
        raise ValueError(
            f"groups contains NaN in {len(missing)} rows, the first of which is row {missing[0]}: "
            "name the group of each row, or give each of these rows a group of its own."
        )
    return group


def check_groups_of_classes(group, y_encoded, classes, purpose):
    """Raise ValueError if the rows of a class are all in one group.

    Parameters
    ----------
    group, y_encoded : ndarray of int of shape (n_samples,)
    classes : ndarray of shape (n_classes,)
    purpose : str
        What divides the groups, and what else can be done, for the message.
    """
    few = classes[groups_of_classes(group, y_encoded, len(classes)) == 1]
    if len(few):
        raise ValueError(
            f"all rows of the classes {few.tolist()} are in one group each, and each class needs "
            f"two groups: {purpose}."
        )


def each_class_has_groups(group, y_encoded):
    """Return whether each class that occurs has rows in two groups, so that one can be held out."""
    return not (groups_of_classes(group, y_encoded, y_encoded.max() + 1) == 1).any()


def groups_of_classes(group, y_encoded, n_classes):
    """Return the number of groups that have rows of each class."""
    pairs = np.unique(np.stack([group, y_encoded]), axis=1)
    return np.bincount(pairs[1], minlength=n_classes)


def _class_shares(group, y_encoded, weights):
    """Return the share that each group has in the weight of each class, (n_groups, n_classes)."""
    sums = np.zeros((group.max() + 1, y_encoded.max() + 1))
    np.add.at(sums, (group, y_encoded), weights)
    totals = sums.sum(axis=0)
    # rounded, so that a weight of k and k copies, whose sums round differently, give the same folds
    return np.round(sums / np.where(totals > 0, totals, 1.0), 12)


def group_folds(group, y_encoded, weights, n_folds, rng):
    """Return the fold of each row, such that a group is in one fold and classes are stratified.

    Large groups are placed first. Each is put into the fold that shares the least with its classes,
    which minimizes the sum of the squared shares of the classes in the folds step by step. A weight
    of k equals k copies of a row in the same group.

    Parameters
    ----------
    group : ndarray of int of shape (n_samples,)
        Numbers from zero on, all of which occur.
    y_encoded : ndarray of int of shape (n_samples,)
    weights : ndarray of shape (n_samples,)
    n_folds : int
        At most as many folds as there are groups are made.
    rng : numpy.random.RandomState

    Returns
    -------
    fold : ndarray of int of shape (n_samples,)
    """
    share = _class_shares(group, y_encoded, weights)
    order = rng.permutation(len(share))
    order = order[np.argsort(-np.square(share[order]).sum(axis=1), kind="stable")]
    fold_sums = np.zeros((min(n_folds, len(share)), share.shape[1]))
    fold = np.empty(len(share), dtype=np.intp)
    for number in order:
        own = share[number]
        overlap = fold_sums @ own + SIZE_WEIGHT * own.sum() * fold_sums.sum(axis=1)
        fold[number] = overlap.argmin()
        fold_sums[fold[number]] += own
    return fold[group]


def held_out_group_folds(group, y_encoded, weights, n_folds, rng):
    """Return `group_folds` whose training rows have all classes.

    Rows of a group without which a class would be missing in training have the fold -1: they are
    always trained on. The result is None if there is no other row.
    """
    fold = group_folds(group, y_encoded, weights, n_folds, rng)
    for number in range(fold.max() + 1):
        inside = fold == number
        lost = ~np.isin(y_encoded, y_encoded[~inside])
        fold[inside & np.isin(group, group[lost])] = -1
    numbers, fold = np.unique(fold, return_inverse=True)
    fold -= numbers[0] == -1  # the others are numbered anew, without gaps
    return fold if fold.max() >= 0 else None


def random_groups(group, y_encoded, weights, fraction, rng):
    """Return a mask of random groups that have about ``fraction`` of the rows of each class.

    Where single groups are too large a part of their classes, they have about ``fraction`` of all
    rows. Each class keeps a group to train on. At least one group is in the mask, unless each has a
    class that is in no other one. A weight of k equals k copies of a row in the same group.

    Parameters
    ----------
    group, y_encoded, weights, rng
        As for `group_folds`.
    fraction : float in (0, 1)

    Returns
    -------
    held_out : ndarray of bool of shape (n_samples,)
    """
    share = _class_shares(group, y_encoded, weights)
    size = _class_shares(group, 0 * y_encoded, weights)[:, 0]
    has_class = np.zeros(share.shape, dtype=bool)
    has_class[group, y_encoded] = True
    n_left = has_class.sum(axis=0)
    held_out, missing = np.zeros(len(share), dtype=bool), np.where(n_left > 0, fraction, 0.0)
    order = rng.permutation(len(share))
    for number in order:
        # change of the squared distance between the shares that are held out and the fraction; a
        # tie counts, as half of a row is rounded up
        excess = share[number] @ (share[number] - 2 * missing)
        if excess < 1e-9 and (n_left[has_class[number]] > 1).all():
            held_out[number] = True
            missing -= share[number]
            n_left -= has_class[number]
            if (missing <= 0).all():
                break
    while True:
        may_be_held = ~held_out & (n_left > np.where(has_class, 1, -1)).all(axis=1)
        excess = np.where(may_be_held, (share * (share - 2 * missing)).sum(axis=1), np.inf)
        number = order[excess[order].argmin()]
        still_missing = fraction - size[held_out].sum()
        if not may_be_held.any() or (held_out.any() and size[number] > 2 * still_missing):
            return held_out[group]
        held_out[number] = True
        missing -= share[number]
        n_left -= has_class[number]

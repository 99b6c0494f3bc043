"""Which training rows are held out to decide when training stops."""

import numpy as np

__all__ = ["content_folds", "is_small", "random_rows"]


def _row_hashes(X):
    """One 64-bit number a row, the same for rows with the same bytes."""
    bits = np.ascontiguousarray(X).view(f"u{X.dtype.itemsize}")
    rng = np.random.RandomState(0)  # fixed: hashes only tell rows apart
    odd = rng.randint(0, 2**62, size=X.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    hashes = np.empty(len(X), dtype=np.uint64)
    for start in range(0, len(X), 8192):
        block = bits[start : start + 8192].astype(np.uint64)
        block ^= block >> np.uint64(29)  # floats of few digits differ in the high bits only
        hashes[start : start + 8192] = (block * odd).sum(axis=1, dtype=np.uint64)
    return hashes


def is_small(X, limit):
    """Whether X has at most ``limit`` distinct rows.

    Rows are counted once however often they are repeated, so that a weight of k and k copies
    of a row are treated alike. Beyond 20 times ``limit`` rows X is large without a look.
    """
    if len(X) <= limit:
        return True
    return len(X) <= 20 * limit and len(np.unique(_row_hashes(X))) <= limit


def content_folds(X, codes, weights, n_folds, rng):
    """Stratified folds that depend on which distinct rows there are, and on nothing else.

    Copies of a row share a fold; the order of the rows, their repetition and increasing
    transformations of the columns change nothing. So a weight of k equals k copies.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    codes : ndarray of int of shape (n_samples,)
        Class of each row.
    weights : ndarray of shape (n_samples,)
    n_folds : int
    rng : numpy.random.RandomState

    Returns
    -------
    fold : ndarray of int of shape (n_samples,), or None
        None where there is a single distinct row, and so nothing to hold out.
    """
    # sorted by value: hashes would order scaled columns differently
    _, group = np.unique(X, axis=0, return_inverse=True)
    n_groups = group.max() + 1
    n_folds = min(n_folds, n_groups)
    if n_folds < 2:
        return None
    mass = np.zeros((n_groups, codes.max() + 1))
    np.add.at(mass, (group, codes), weights)
    stratum = (mass > mass.max(axis=1, keepdims=True) * (1 - 1e-9)).argmax(axis=1)
    order = rng.permutation(n_groups)
    order = order[np.argsort(stratum[order], kind="stable")]
    fold_of_group = np.empty(n_groups, dtype=np.intp)
    fold_of_group[order] = np.arange(n_groups) % n_folds
    return fold_of_group[group]


def random_rows(codes, fraction, rng):
    """Mask of about ``fraction`` of the rows, classes in proportion; a class keeps a row to train.

    Parameters
    ----------
    codes : ndarray of int of shape (n_samples,)
    fraction : float in (0, 1)
    rng : numpy.random.RandomState

    Returns
    -------
    held_out : ndarray of bool of shape (n_samples,)
    """
    order = rng.permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]
    counts = np.bincount(codes)
    rank = np.empty(len(codes), dtype=np.intp)
    rank[order] = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank < np.floor(counts * fraction + 0.5).astype(int).clip(max=counts - 1)[codes]

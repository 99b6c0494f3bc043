"""Which training rows are held out: to decide when training stops, or what to train on."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

__all__ = [
    "content_folds",
    "copies_among",
    "group_rows",
    "grouped_folds",
    "is_small",
    "merge_rows",
    "random_rows",
    "stratified_folds",
]


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
    distinct = merge_rows(X, codes, weights)
    fold = stratified_folds(distinct.mass, n_folds, rng)
    return None if fold is None else fold[distinct.group]


def group_rows(X):
    """Return the number of the distinct row that each row of any container is.

    The numbers depend on what the distinct rows are, not on their order. Rows that cannot be
    compared (objects in an array) are all distinct.
    """
    return np.unique(_hash_rows(X), return_inverse=True)[1]


def grouped_folds(group, codes, weights, n_folds, seed):
    """Stratified folds of rows, of which those of a group share one.

    As `content_folds` for the groups of `group_rows`, but not blind to transformations of the
    columns.
    """
    mass = np.zeros((group.max() + 1, codes.max() + 1))
    np.add.at(mass, (group, codes), weights)
    fold = stratified_folds(mass, n_folds, np.random.RandomState(seed))
    return np.zeros(len(codes), int) if fold is None else fold[group]


def _hash_rows(X):
    """One number a row, the same for equal rows."""
    if hasattr(X, "iloc"):
        import pandas as pd

        try:
            return pd.util.hash_pandas_object(X, index=False).to_numpy()
        except TypeError:  # cells that have no hash
            return np.arange(len(X))
    if sp.issparse(X):
        X = sp.csr_array(X, copy=True)
        if X.dtype.kind == "f":
            X.data[np.isnan(X.data)] = np.pi  # NaN would be all that is left of a row
        return X @ np.random.RandomState(0).standard_normal(X.shape[1])
    try:
        X = np.asarray(X)
    except ValueError:  # ragged
        return np.arange(len(X))
    if X.dtype.kind in "biuf" and X.ndim == 2:
        return _row_hashes(X.astype(np.float64) + 0.0)  # no -0.0
    return np.arange(len(X))


def _sortable(X):
    """One string of bytes a row, in the order of the rows: several times faster to sort.

    Big-endian, positive numbers above negative ones, which are turned round.
    """
    unsigned = f"u{X.itemsize}"
    sign = np.dtype(unsigned).type(1 << (8 * X.itemsize - 1))
    ordered = np.empty(X.shape, dtype=f">{unsigned}")
    for start in range(0, len(X), 1024):  # blocks: else five copies of X at a time
        bits = (np.ascontiguousarray(X[start : start + 1024]) + 0.0).view(unsigned)  # no -0.0
        ordered[start : start + 1024] = np.where(bits & sign, ~bits, bits | sign)
    return ordered.view(f"V{X.itemsize * X.shape[1]}")[:, 0]


def copies_among(X, kept):
    """For each row outside the mask ``kept``, which of the kept rows it is a copy of, or -1."""
    _, group = np.unique(_sortable(X), return_inverse=True)
    copy_of = np.full(group.max() + 1, -1)
    copy_of[group[kept]] = np.arange(kept.sum())
    return copy_of[group[~kept]]


class Distinct(NamedTuple):
    """Distinct rows, sorted, with the weight of each class in them."""

    first: np.ndarray  # (n_distinct,) where in X each is found
    group: np.ndarray  # (n_samples,) which of them each row of X is
    mass: np.ndarray  # (n_distinct, n_classes)


def merge_rows(X, codes, weights, n_classes=None):
    """Find the distinct rows of X and the weight that each class has in them.

    They are in an order that depends on what they are alone, so that what is drawn by position
    treats a weight of k like k copies.
    """
    # sorted by value: hashes would order scaled columns differently
    _, first, group = np.unique(_sortable(X), return_index=True, return_inverse=True)
    mass = np.zeros((len(first), n_classes or codes.max() + 1))
    np.add.at(mass, (group, codes), weights)
    return Distinct(first, group, mass)


def stratified_folds(mass, n_folds, rng):
    """Fold of each distinct row, classes in proportion; None where there is a single row."""
    n_folds = min(n_folds, len(mass))
    if n_folds < 2:
        return None
    stratum = (mass > mass.max(axis=1, keepdims=True) * (1 - 1e-9)).argmax(axis=1)
    order = rng.permutation(len(mass))
    order = order[np.argsort(stratum[order], kind="stable")]
    fold = np.empty(len(mass), dtype=np.intp)
    fold[order] = np.arange(len(mass)) % n_folds
    return fold


def random_rows(codes, fraction, rng):
    """Mask of about ``fraction`` of the rows, classes in proportion; a class keeps a row to train.

    One row at least, of the largest class, unless each class has a single row.

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
    n_held = np.floor(counts * fraction + 0.5).astype(int).clip(max=counts - 1)
    if not (n_held > 0).any():
        n_held[counts.argmax()] = min(1, counts.max() - 1)
    return rank < n_held[codes]

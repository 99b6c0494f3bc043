"""Distinct rows of a table: find, merge and compare them."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

__all__ = ["copies_among", "group_rows", "is_small", "merge_rows"]


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


def group_rows(X):
    """Return the number of the distinct row that each row of any container is.

    The numbers depend on what the distinct rows are, not on their order. Rows that cannot be
    compared (objects in an array) are all distinct.
    """
    return np.unique(_hash_rows(X), return_inverse=True)[1]


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
    class_weight_sums: np.ndarray  # (n_distinct, n_classes)


def merge_rows(X, y_encoded, weights, n_classes=None):
    """Find the distinct rows of X and the weight that each class has in them.

    They are in an order that depends on what they are alone, so that what is drawn by position
    treats a weight of k like k copies.
    """
    # sorted by value: hashes would order scaled columns differently
    _, first, group = np.unique(_sortable(X), return_index=True, return_inverse=True)
    class_weight_sums = np.zeros((len(first), n_classes or y_encoded.max() + 1))
    np.add.at(class_weight_sums, (group, y_encoded), weights)
    return Distinct(first, group, class_weight_sums)

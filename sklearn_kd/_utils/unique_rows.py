"""Finding, merging and comparing the distinct rows of X."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from sklearn_kd._utils.containers import as_pandas, is_dataframe, is_series

#: Fewer distinct rows than this, with more copies than this on average, are combinations of
#: categories. With copies in the same fold, students of up to 44 of them in 600 rows had a log loss
#: up to .22 higher, and those of 108 and more the same within .01 (docs/results.md).
FEW_DISTINCT_ROWS, MANY_COPIES = 100, 3


def _row_hashes(X):
    """Return a 64-bit hash of the bytes of each row."""
    rng = np.random.RandomState(0)  # a fixed seed, since hashes only distinguish rows
    odd = rng.randint(0, 2**62, size=X.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    hashes = np.empty(len(X), dtype=np.uint64)
    for start in range(0, len(X), 8192):
        block = np.ascontiguousarray(X[start : start + 8192]).view(f"u{X.dtype.itemsize}")
        block = block.astype(np.uint64)
        block ^= block >> np.uint64(29)  # floats of few digits differ in the high bits only
        hashes[start : start + 8192] = (block * odd).sum(axis=1, dtype=np.uint64)
    return hashes


def is_small(X, limit):
    """Return whether X has at most ``limit`` distinct rows.

    Only distinct rows are counted, so that a weight of k equals k copies of a row. With more than
    20 times ``limit`` rows X counts as large without a search for copies.
    """
    if len(X) <= limit:
        return True
    return len(X) <= 20 * limit and len(np.unique(_row_hashes(X))) <= limit


def group_rows(X):
    """Return for each row of any container the number of the distinct row that it equals.

    The numbers depend on the distinct rows, not on their order and, if all columns are numbers, not
    on their container. Rows that cannot be compared,
    such as objects in an array, are all distinct.
    """
    return np.unique(_hash_rows(X), return_inverse=True)[1]


def copy_groups(group, targets=None):
    """Return for each row the number of the rows that count as its copies, for folds.

    They are the rows that equal it. Where few distinct rows occur often, equal rows are different
    observations of the same categories, of which each is on its own: without all of them a teacher
    would not know these categories.

    Parameters
    ----------
    group : ndarray of int of shape (n_samples,)
        What `group_rows` has returned.
    targets : ndarray of shape (n_samples,) or (n_samples, n_targets), default=None
        Where equal rows have the same targets throughout, they are copies, however many there are.
        A prediction by a fit that has seen a copy of the row calibrates nothing.
    """
    n_distinct = group.max() + 1
    is_repeated = n_distinct < FEW_DISTINCT_ROWS and len(group) > MANY_COPIES * n_distinct
    if is_repeated and targets is not None:
        pairs = np.unique(np.column_stack([group, targets]), axis=0)
        is_repeated = len(pairs) > n_distinct
    return np.arange(len(group)) if is_repeated else group


def _hash_rows(X):
    """Return a number for each row, which is the same for equal rows."""
    if is_dataframe(X) or is_series(X):
        import pandas as pd

        X = as_pandas(X)
        if is_dataframe(X) and all(_is_number(dtype) for dtype in X.dtypes):
            return _hash_rows(X.to_numpy(np.float64))  # as the same rows in an array
        try:
            return pd.util.hash_pandas_object(X, index=False).to_numpy()
        except TypeError:  # cells that have no hash
            return np.arange(len(X))
    if sp.issparse(X):
        X = sp.csr_array(X, copy=True)
        if X.dtype.kind == "f":
            X.data[np.isnan(X.data)] = np.pi  # otherwise the product would be NaN
        return X @ np.random.RandomState(0).standard_normal(X.shape[1])
    try:
        X = np.asarray(X)
    except ValueError:  # ragged
        return np.arange(len(X))
    if X.dtype.kind in "biuf" and X.ndim == 2:
        return _row_hashes(X.astype(np.float64) + 0.0)  # turns -0.0 into 0.0
    if X.ndim == 1 and all(isinstance(text, str) for text in X):
        import pandas as pd

        return _hash_rows(pd.Series(X, dtype=object))
    return np.arange(len(X))


def _is_number(dtype):
    return isinstance(dtype, np.dtype) and dtype.kind in "biuf"


def _sortable(X):
    """Return rows as bytes that sort like the rows, which is several times faster.

    The bytes are big-endian. The sign bit of positive numbers is set and all bits of negative
    numbers are inverted, so that the order of unsigned integers is that of the numbers.
    """
    if X.shape[1] == 0:  # rows without columns are equal, and bytes of no length do not sort
        X = np.zeros((len(X), 1))
    unsigned = f"u{X.dtype.itemsize}"
    sign = np.dtype(unsigned).type(1 << (8 * X.dtype.itemsize - 1))
    ordered = np.empty(X.shape, dtype=f">{unsigned}")
    for start in range(0, len(X), 1024):  # in blocks, to avoid five copies of X
        bits = (np.ascontiguousarray(X[start : start + 1024]) + 0.0).view(unsigned)  # -0.0 to 0.0
        ordered[start : start + 1024] = np.where(bits & sign, ~bits, bits | sign)
    return ordered.view(f"V{X.dtype.itemsize * X.shape[1]}")[:, 0]


def copies_among(X, kept):
    """Return the position among the kept rows of an equal row for each other row, or -1."""
    _, group = np.unique(_sortable(X), return_inverse=True)
    copy_of = np.full(group.max() + 1, -1)
    copy_of[group[kept]] = np.arange(kept.sum())
    return copy_of[group[~kept]]


class DistinctRows(NamedTuple):
    """Distinct rows in sorted order, and the weight of each class in them."""

    first: np.ndarray  # (n_distinct,), position in X of the first of equal rows
    group: np.ndarray  # (n_samples,), distinct row that each row of X equals
    class_weight_sums: np.ndarray  # (n_distinct, n_classes)


def merge_rows(X, y_encoded, weights, n_classes=None):
    """Find the distinct rows of X and the weight of each class in them.

    Their order depends only on the rows, so that random draws by position treat a weight of k like
    k copies.

    Returns
    -------
    DistinctRows
    """
    # sorted by value, since the order of hashes would change if columns are scaled
    _, first, group = np.unique(_sortable(X), return_index=True, return_inverse=True)
    class_weight_sums = np.zeros((len(first), n_classes or y_encoded.max() + 1))
    np.add.at(class_weight_sums, (group, y_encoded), weights)
    return DistinctRows(first, group, class_weight_sums)

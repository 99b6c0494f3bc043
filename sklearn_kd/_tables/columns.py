"""Columns of a mixed table: what kind of values they hold, and which of them belong together."""

from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse

from sklearn_kd._utils.containers import as_pandas, is_dataframe

#: Code of a missing value.
MISSING = -1
#: Columns of an array that are read at the same time.
COPIED_COLUMNS = 16
#: Smallest integer that float64 cannot represent exactly. A column of larger integers holds
#: identifiers rather than quantities and is nominal.
MIN_INEXACT_INTEGER = 2**53


class Column(NamedTuple):
    """Codes and values of a column of X."""

    codes: np.ndarray  # (n_samples,) int32, position of the value, or MISSING
    values: np.ndarray | None  # distinct numbers, increasing; None for other values
    dtype: np.dtype | type | None  # of the numbers
    whole: bool  # whether all numbers are integers

    @property
    def is_indicator(self):
        """Whether the column has two numbers and no missing value."""
        return self.values is not None and len(self.values) == 2 and self.codes.min() >= 0

    @property
    def is_constant(self):
        """Whether all values are equal."""
        return self.codes.min() == self.codes.max()


def check_table(X):
    """Return X as a DataFrame or a two-dimensional array, or raise an error."""
    if issparse(X):
        raise TypeError("X is sparse, and new rows would be dense: pass X.toarray().")
    if not is_dataframe(X):
        array = np.asarray(X)
        if array.dtype.kind in "US" and not isinstance(X, np.ndarray):
            array = np.asarray(X, dtype=object)  # keeps the numbers of a list
        X = array
        if X.dtype.kind == "c":
            raise ValueError("X is complex: pass real and imaginary parts as columns.")
    if len(X.shape) != 2 or X.shape[1] == 0:
        raise ValueError(f"X must be a table with at least one column, got shape {X.shape}.")
    if len(X) == 0:
        raise ValueError("X has no rows, and new rows need at least two.")
    return X


def read_columns(X):
    """Return a `Column` for each column of X."""
    return [_read_column(values, name) for name, values in iter_columns(X)]


def iter_columns(X):
    """Yield the name and the values of each column of a DataFrame or a two-dimensional array."""
    if is_dataframe(X):
        X = as_pandas(X)
        for j, name in enumerate(X.columns):
            yield name, X.iloc[:, j]
    else:
        for start in range(0, X.shape[1], COPIED_COLUMNS):
            # a copy, since columns of a wide array are read slowly where they are
            block = np.ascontiguousarray(X[:, start : start + COPIED_COLUMNS].T)
            for j, values in enumerate(block, start):
                yield j, values


def _read_column(values, name):
    """Read the codes of a column, and its values if they are numbers."""
    import pandas as pd  # slow to import, so not at the top

    numbers, dtype = None, values.dtype
    if isinstance(dtype, pd.SparseDtype):
        raise TypeError(f"column {name!r} is sparse: pass X.sparse.to_dense().")
    if dtype.kind == "O" and isinstance(dtype, np.dtype):
        values = np.asarray(values)
        missing = pd.isna(values)
        kinds = set(map(type, values[~missing]))
        if kinds and all(
            issubclass(kind, Real) and not issubclass(kind, bool | np.bool_) for kind in kinds
        ):
            whole_kind = all(issubclass(kind, Integral) for kind in kinds)
            dtype = kinds.pop() if len(kinds) == 1 else int if whole_kind else float
            numbers = np.full(len(values), np.nan)
            numbers[~missing] = values[~missing].astype(np.float64)
    elif pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype):
        if isinstance(dtype, np.dtype):
            numbers = np.asarray(values, dtype=np.float64)
        else:
            numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
            dtype = dtype.numpy_dtype
    if numbers is not None:
        if np.isinf(numbers).any():
            raise ValueError(f"column {name!r} of X has infinite values: make these missing.")
        found, codes = np.unique(numbers, return_inverse=True)
        found = found[~np.isnan(found)]
        codes[codes == len(found)] = MISSING
        whole = bool((found == np.rint(found)).all())
        if not (whole and len(found) and np.abs(found).max() >= MIN_INEXACT_INTEGER):
            return Column(codes.astype(np.int32), found, dtype, whole)
    try:
        codes = pd.factorize(values)[0]
    except TypeError as error:
        kinds = sorted({type(value).__name__ for value in values if not _is_hashable(value)})
        raise TypeError(
            f"column {name!r} of X has cells of the type {' and '.join(kinds)}, which cannot be "
            "compared: leave the column out of X, or pass tuples or strings in their place."
        ) from error
    return Column(codes.astype(np.int32), None, None, False)


def _is_hashable(value):
    try:
        hash(value)
    except TypeError:
        return False
    return True


def group_indicators(columns, codes):
    """Group neighboring indicators of which each row has at most one.

    Parameters
    ----------
    columns : list of Column
    codes : ndarray of int of shape (n_rows, n_columns)

    Returns
    -------
    list of list of int
        Positions of the columns of each group. Other columns are groups of their own.
    """
    groups, run = [], []
    for j, column in enumerate(columns):
        if column.is_indicator:
            run.append(j)
        else:
            groups.append([j])
            # a constant may be the indicator of a category that no row has
            if not column.is_constant:
                groups += _split_run(run, codes)
                run = []
    return groups + _split_run(run, codes)


def _split_run(run, codes):
    """Split a run of indicators into groups.

    Columns of which every row has exactly one are a group. The remaining columns are grouped
    greedily.
    """
    on = codes[:, run] == 1
    counts = np.concatenate([[0], np.cumsum(on.sum(axis=0))])
    groups, start, loose = [], 0, []

    def split_loose():
        together, taken = [], None
        for at in loose:
            if taken is not None and not (taken & on[:, at]).any():
                together.append(run[at])
                taken = taken | on[:, at]
            else:
                together, taken = [run[at]], on[:, at]
                groups.append(together)
        loose.clear()

    while start < len(run):
        end = int(np.searchsorted(counts, counts[start] + len(on)))
        if (
            end < len(counts)
            and counts[end] == counts[start] + len(on)
            and on[:, start:end].any(axis=1).all()
        ):
            split_loose()
            groups.append(run[start:end])
            start = end
        else:
            loose.append(start)
            start += 1
    split_loose()
    return groups

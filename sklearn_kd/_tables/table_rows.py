"""Rows of a table as numbers and codes of levels, for a fitted encoder."""

import math

import narwhals.stable.v2 as nw
import numpy as np

from sklearn_kd._tables.cells import check_finite, read_levels, read_numbers
from sklearn_kd._tables.columns import iter_columns

#: Rows up to which a loop over cells is faster than operations on columns.
MAX_FEW_ROWS = 32
#: Types of their cells that need no closer look.
NUMBERS = frozenset([float, int, bool, *(np.dtype(code).type for code in "bhilqBHILQfd")])
SIMPLE = NUMBERS | {str}
#: dtypes of arrays of which the same is true.
DTYPES = frozenset(map(np.dtype, "bhilqBHILQfdO?"))
INFINITE = frozenset([math.inf, -math.inf])
#: Least size of numbers which float64 and int64 may not both hold. Rows of a frame, whose integers
#: may have become float64, and of an array, which become so in a closer look, are not compared.
LARGE = 2**53


def read_table(plan, X):
    """Return the numbers and the codes of levels of checked rows.

    Parameters
    ----------
    plan : TablePlan
    X : pandas DataFrame or ndarray of shape (n, n_columns)

    Returns
    -------
    numbers : ndarray of float64 of shape (n, n_numeric), or X of float32
    codes : ndarray of intp of shape (n, n_nominal)
    """
    if isinstance(X, np.ndarray) and X.dtype.kind == "f" and len(plan.nominal) == 0:
        _check_infinity(X)
        return X, np.empty((len(X), 0), dtype=np.intp)  # float64 where they are encoded
    numbers = np.empty((len(X), len(plan.numeric)))
    codes = np.empty((len(X), len(plan.nominal)), dtype=np.intp)
    n_numeric = n_nominal = 0
    for j, (name, values) in enumerate(iter_columns(X)):
        if plan.edges[j] is not None:
            numbers[:, n_numeric] = read_numbers(values, name)
            n_numeric += 1
        else:
            codes[:, n_nominal] = _codes(values, name, plan.lookups[j])
            n_nominal += 1
    return numbers, codes


def _check_infinity(X):
    """Raise the error of `read_numbers` for infinite numbers in an array of floats."""
    if np.isinf(X).any():  # one pass is faster than one for each column
        for name, values in iter_columns(X):
            check_finite(values, name)


def _codes(values, name, lookup):
    """Return the position of each level, len(lookup) for others, and the next one if missing."""
    levels = read_levels(values, name)
    code_of = [lookup.get(level, len(lookup)) for level in levels.values]
    return np.array([*code_of, len(lookup) + 1], dtype=np.intp)[levels.codes]


def read_few_rows(plan, X):
    """Return what a few rows in a plain container hold, or None if a closer look is needed.

    Checks and conversions of whole tables take hundreds of microseconds, which a single row need
    not wait for.

    Returns
    -------
    numbers : ndarray of float64 of shape (n, n_numeric)
    codes : ndarray of intp of shape (n, n_nominal)
    dtype : numpy dtype
        Of encoded rows.
    """
    dtype = np.dtype(np.float64)
    if type(X) is np.ndarray:
        if not _is_small(plan, X.shape) or plan.names is not None or X.dtype not in DTYPES:
            return None
        if X.dtype == np.float32:
            dtype = X.dtype
        if len(plan.nominal) == 0 and X.dtype.kind != "O":
            numbers = X.astype(np.float64, copy=False)
            codes = np.empty((len(X), 0), dtype=np.intp)
            return None if np.isinf(numbers).any() else (numbers, codes, dtype)
        rows = X.tolist()
    elif type(X) is list:
        is_table = plan.names is None and 0 < len(X) <= MAX_FEW_ROWS
        rows = X if is_table and all(type(cells) is list for cells in X) else None
    else:
        rows = _rows_of_frame(plan, X)
    if rows is None or any(len(cells) != plan.n_columns for cells in rows):
        return None
    numbers, codes = [], []
    for cells in rows:
        found = _read_cells(plan, cells)
        if found is None:
            return None
        numbers.append(found[0])
        codes.append(found[1])
    try:
        numbers = np.array(numbers, dtype=np.float64)
    except OverflowError:  # of large integers
        return None
    return None if np.isinf(numbers).any() else (numbers, np.array(codes, dtype=np.intp), dtype)


def _is_small(plan, shape):
    return len(shape) == 2 and 0 < shape[0] <= MAX_FEW_ROWS and shape[1] == plan.n_columns


def _rows_of_frame(plan, X):
    """Return the cells of a DataFrame of few rows and the columns of the training rows, or None."""
    if not _is_small(plan, getattr(X, "shape", ())):
        return None
    if hasattr(X, "iloc"):
        names = None if X.columns.dtype.kind in "iu" else X.columns.tolist()
        if names != plan.names:
            return None
        if len(X) == 1:
            values = X.iloc[0]  # faster for a row of several dtypes
        else:
            with np.errstate(invalid="ignore"):
                values = X.to_numpy()
            if values.dtype.kind in "iu":  # integers may have missing categories among them
                values = X.to_numpy(dtype=object)
        # tolist would turn dates into integers
        is_other = isinstance(values.dtype, np.dtype) and values.dtype not in DTYPES
        if is_other or values.dtype == np.float32:
            return None
        return [values.tolist()] if len(X) == 1 else values.tolist()
    if not nw.dependencies.is_polars_dataframe(X) or X.columns != plan.names:
        return None
    return None if str(X.dtypes[0]) == "Float32" else X.rows()


def _read_cells(plan, cells):
    """Return the numbers and the codes of a row as lists, or None."""
    numbers, codes = [], []
    try:
        for cell, lookup in zip(cells, plan.lookups, strict=True):
            if lookup is None:
                if cell is None:
                    cell = math.nan
                elif type(cell) not in NUMBERS:
                    return None
                numbers.append(cell)
                continue
            if type(cell) in (int, float) and abs(cell) >= LARGE:
                return None
            code = lookup.get(cell)
            if code is None:
                if cell is None or cell != cell:
                    code = len(lookup) + 1
                elif type(cell) in SIMPLE and cell not in INFINITE:
                    code = len(lookup)
                else:
                    return None
            codes.append(code)
    except TypeError:  # of cells that have no hash, and of NA
        return None
    return numbers, codes

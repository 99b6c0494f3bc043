"""Rows of a table as numbers and codes of levels, for a fitted encoder."""

import math

import narwhals.stable.v2 as nw
import numpy as np

from sklearn_kd._tables.cells import read_levels, read_numbers
from sklearn_kd._tables.columns import iter_columns

#: Types of cells of a single row that need no closer look.
NUMBERS = frozenset([float, int, bool, *(np.dtype(code).type for code in "bhilqBHILQfd")])
SIMPLE = NUMBERS | {str}
#: dtypes of arrays of which the same is true.
DTYPES = frozenset(map(np.dtype, "bhilqBHILQfdO?"))
INFINITE = frozenset([math.inf, -math.inf])


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


def _codes(values, name, lookup):
    """Return the position of each level, len(lookup) for others, and the next one if missing."""
    levels = read_levels(values, name)
    code_of = [lookup.get(level, len(lookup)) for level in levels.values]
    return np.array([*code_of, len(lookup) + 1], dtype=np.intp)[levels.codes]


def read_row(plan, X):
    """Return what a single row in a plain container holds, or None if a closer look is needed.

    Checks and conversions of whole tables take hundreds of microseconds, which a single row need
    not wait for.

    Returns
    -------
    numbers : ndarray of float64 of shape (1, n_numeric)
    codes : ndarray of intp of shape (1, n_nominal)
    dtype : numpy dtype
        Of encoded rows.
    """
    dtype = np.dtype(np.float64)
    if type(X) is np.ndarray:
        if X.shape != (1, plan.n_columns) or plan.names is not None or X.dtype not in DTYPES:
            return None
        dtype = X.dtype if X.dtype == np.float32 else dtype
        if len(plan.nominal) == 0 and X.dtype.kind != "O":
            numbers = X.astype(np.float64, copy=False)
            return None if np.isinf(numbers).any() else (numbers, plan.no_codes, dtype)
        cells = X[0].tolist()
    elif type(X) is list:
        if len(X) != 1 or type(X[0]) is not list or plan.names is not None:
            return None
        cells = X[0]
    else:
        cells = _cells_of_frame(plan, X)
    if cells is None or len(cells) != plan.n_columns:
        return None
    return _read_cells(plan, cells, dtype)


def _cells_of_frame(plan, X):
    """Return the cells of a DataFrame of one row and the columns of the training rows, or None."""
    if getattr(X, "shape", None) != (1, plan.n_columns):
        return None
    if hasattr(X, "iloc"):
        names = None if X.columns.dtype.kind in "iu" else X.columns.tolist()
        if names != plan.names:
            return None
        row = X.iloc[0]
        return None if row.dtype == np.float32 else row.tolist()
    if not nw.dependencies.is_polars_dataframe(X) or X.columns != plan.names:
        return None
    return None if str(X.dtypes[0]) == "Float32" else X.row(0)


def _read_cells(plan, cells, dtype):
    numbers, codes = [], []
    try:
        for j, lookup in enumerate(plan.lookups):
            cell = cells[j]
            if lookup is None:
                if cell is None:
                    cell = math.nan
                elif type(cell) not in NUMBERS:
                    return None
                numbers.append(cell)
                continue
            code = lookup.get(cell)
            if code is None:
                if cell is None or cell != cell:
                    code = len(lookup) + 1
                elif type(cell) in SIMPLE and cell not in INFINITE:
                    code = len(lookup)
                else:
                    return None
            codes.append(code)
        numbers = np.array([numbers], dtype=np.float64)
    except (TypeError, OverflowError):  # cells that have no hash, NA, very large integers
        return None
    if np.isinf(numbers).any():
        return None
    return numbers, np.array([codes], dtype=np.intp), dtype

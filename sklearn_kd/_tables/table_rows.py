"""Rows of a table as numbers and codes of levels, for a fitted encoder."""

import numpy as np

from sklearn_kd._tables.cells import read_levels, read_numbers


def iter_columns(X):
    """Yield the name and the values of each column of a pandas DataFrame or an array."""
    if hasattr(X, "iloc"):
        for j, name in enumerate(X.columns):
            yield name, X.iloc[:, j]
    else:
        for j in range(X.shape[1]):
            yield j, X[:, j]


def read_table(plan, X):
    """Return the numbers and the codes of levels of checked rows.

    Parameters
    ----------
    plan : TablePlan
    X : pandas DataFrame or ndarray of shape (n, n_columns)

    Returns
    -------
    numbers : ndarray of float64 of shape (n, n_numeric)
    codes : ndarray of intp of shape (n, n_nominal)
    """
    if isinstance(X, np.ndarray) and X.dtype.kind == "f" and len(plan.nominal) == 0:
        return X.astype(np.float64, copy=False), np.empty((len(X), 0), dtype=np.intp)
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

"""Measure how long a model takes to predict one raw row after another."""

import time

import numpy as np
from threadpoolctl import threadpool_limits

from sklearn_kd._utils.sklearn_compat import num_samples, safe_indexing

#: Rows whose time is measured, after some that are not.
N_TIMED_ROWS, N_WARM_UP_ROWS = 1000, 20
#: Rows whose time is measured however long they take.
MIN_TIMED_ROWS = 10


def raw_rows(X, n_rows=N_TIMED_ROWS):
    """Return the first rows as dicts, or as lists where the columns have no names.

    Parameters
    ----------
    X : array-like, sparse matrix or DataFrame of shape (n_samples, n_features)
    n_rows : int
        All rows if there are fewer.
    """
    if hasattr(X, "tocsr"):
        X = X.tocsr()
    X = safe_indexing(X, np.arange(min(num_samples(X), n_rows)))
    if hasattr(X, "to_dicts"):  # polars
        return X.to_dicts()
    if hasattr(X, "to_dict") and all(isinstance(name, str) for name in X.columns):
        return X.to_dict("records")
    return (X.toarray() if hasattr(X, "toarray") else np.asarray(X)).tolist()


def median_microseconds(predict_row, rows, *, n_timed=N_TIMED_ROWS, max_seconds=np.inf):
    """Return the median microseconds of a prediction of one row, with a single thread.

    Parameters
    ----------
    predict_row : callable
        Takes a row.
    rows : list
        They are predicted in turn.
    n_timed : int
        Number of predictions that are measured.
    max_seconds : float
        After this time no more are measured, but for the first 10.
    """
    seconds = []
    with threadpool_limits(1):
        begin = time.perf_counter()
        for number in range(-N_WARM_UP_ROWS, n_timed):
            start = time.perf_counter()
            if start - begin > max_seconds and number >= min(MIN_TIMED_ROWS, n_timed):
                break
            predict_row(rows[number % len(rows)])
            seconds.append(time.perf_counter() - start)
    return 1e6 * float(np.median(seconds[N_WARM_UP_ROWS:]))

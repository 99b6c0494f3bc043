"""Fit estimators on the training rows of folds and apply them."""

import functools
import time

from sklearn_kd._utils.callbacks import begin_subtask
from sklearn_kd._utils.encoded_labels import fit_on_labels
from sklearn_kd._utils.parallel import parallel_results
from sklearn_kd._utils.sklearn_compat import check_method_params, safe_indexing


def fit_on_rows(estimator, X, y, rows, fit_params):
    """Fit ``estimator`` on some rows of X and y, with the metadata of these rows.

    Parameters
    ----------
    estimator : estimator
        Unfitted. It is fitted in place if it takes the labels, see `fit_on_labels`.
    X, y : array-like or DataFrame
    rows : ndarray of int
    fit_params : dict
        Metadata of all rows.

    Returns
    -------
    estimator
    """
    return timed_fit_on_rows(estimator, X, y, rows, fit_params)[0]


def timed_fit_on_rows(estimator, X, y, rows, fit_params):
    """Fit as `fit_on_rows`, and return the estimator and the seconds that ``fit`` took."""
    params = check_method_params(X, params=fit_params, indices=rows)
    X, y = safe_indexing(X, rows), safe_indexing(y, rows)
    start = time.perf_counter()
    estimator = fit_on_labels(estimator, X, y, params)
    return estimator, time.perf_counter() - start


def cross_fit(estimators, X, y, folds, predict, *, fit_params, n_jobs=None, subtasks=None):
    """Fit an estimator on the training rows of each fold and predict all rows.

    Parameters
    ----------
    estimators : list of estimator
        One for each fold, unfitted and with its seeds. The results then do not depend on
        ``n_jobs``.
    X, y : array-like or DataFrame
    folds : list of (train, test)
        Arrays of row numbers.
    predict : callable
        Called as ``predict(fitted, X)``. With several processes it has to be a function of a
        module.
    fit_params : dict
        Metadata of all rows for ``fit``.
    n_jobs : int, default=None
        Number of parallel fits.
    subtasks : list of `Subtask`, default=None
        What callbacks get of each fit.

    Returns
    -------
    iterator
        What ``predict`` returned for each fold, in their order and as soon as it is known.
    """
    subtasks = [None] * len(folds) if subtasks is None else subtasks
    tasks = (
        (estimator, train, subtask)
        for estimator, (train, _), subtask in zip(estimators, folds, subtasks, strict=True)
    )
    fit_fold = functools.partial(_fit_fold, X, y, predict, fit_params)
    return parallel_results(fit_fold, tasks, n_jobs)


def _fit_fold(X, y, predict, fit_params, estimator, train, subtask):
    with begin_subtask(subtask, estimator):
        fitted = fit_on_rows(estimator, X, y, train, fit_params)
    if subtask is not None:
        subtask.end()
    return predict(fitted, X)

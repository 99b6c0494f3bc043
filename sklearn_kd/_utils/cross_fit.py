"""Fit clones of an estimator on the training rows of folds and apply them to the test rows."""

import time

from sklearn.utils.parallel import Parallel, delayed

from sklearn_kd._utils.encoded_labels import fit_on_labels
from sklearn_kd._utils.sklearn_compat import check_method_params, safe_indexing
from sklearn_kd._utils.sub_estimators import seeded


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


def cross_fit(estimator, X, y, folds, predict, *, fit_params, rng):
    """Fit a clone on the training rows of each fold and predict its test rows.

    Parameters
    ----------
    estimator : estimator
        Unfitted. It is cloned for each fold.
    X, y : array-like or DataFrame
    folds : list of (train, test)
        Arrays of row numbers.
    predict : callable
        Called as ``predict(fitted, X_test)``.
    fit_params : dict
        Metadata of all rows for ``fit``.
    rng : numpy.random.RandomState
        Seeds each ``random_state`` that is None, differently for each fold.

    Returns
    -------
    list
        What ``predict`` returned for each fold.
    """
    return Parallel()(
        delayed(_fit_fold)(seeded(estimator, rng), X, y, fold, predict, fit_params)
        for fold in folds
    )


def _fit_fold(estimator, X, y, fold, predict, fit_params):
    train, test = fold
    return predict(fit_on_rows(estimator, X, y, train, fit_params), safe_indexing(X, test))

"""Fit clones of an estimator on the training rows of folds and apply them to the test rows."""

from sklearn.base import clone
from sklearn.utils.parallel import Parallel, delayed

from sklearn_kd._utils.sklearn_compat import check_method_params, safe_indexing

__all__ = ["cross_fit", "fit_on_rows"]


def fit_on_rows(estimator, X, y, rows, fit_params):
    """Fit ``estimator`` on some rows of X and y, with the metadata of these rows.

    Parameters
    ----------
    estimator : estimator
        Fitted in place.
    X, y : array-like or DataFrame
    rows : ndarray of int
    fit_params : dict
        Metadata of all rows.

    Returns
    -------
    estimator
    """
    params = check_method_params(X, params=fit_params, indices=rows)
    return estimator.fit(safe_indexing(X, rows), safe_indexing(y, rows), **params)


def cross_fit(estimator, X, y, folds, predict, *, fit_params, n_jobs=None):
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
    n_jobs : int, default=None
        Folds fitted in parallel.

    Returns
    -------
    list
        What ``predict`` returned for each fold.
    """
    return Parallel(n_jobs=n_jobs)(
        delayed(_fit_fold)(clone(estimator), X, y, train, test, predict, fit_params)
        for train, test in folds
    )


def _fit_fold(estimator, X, y, train, test, predict, fit_params):
    return predict(fit_on_rows(estimator, X, y, train, fit_params), safe_indexing(X, test))

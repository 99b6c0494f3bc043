"""First step of estimators with an ``encoder``: from the rows of the user to an array."""

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import validate_data

from sklearn_kd._utils.labels import plain_labels
from sklearn_kd._utils.sklearn_compat import check_y

#: dtypes that estimators compute in.
FLOATS = [np.float64, np.float32]


def new_encoder(encoder):
    """Return the unfitted encoder that a value of the parameter stands for, or None."""
    if not isinstance(encoder, str):
        return None if encoder is None else clone(encoder)
    from sklearn_kd._tables.encoder import TableEncoder

    return TableEncoder()


def check_rows(est, X, y, *, reset=True):
    """Check rows and labels of a fit, and set the number and the names of the features.

    Parameters
    ----------
    est : estimator
        With the parameter ``encoder``.
    X, y : array-like
        As passed to ``fit``.
    reset : bool, default=True
        Whether to set the features, or to compare with those of the earlier fit.

    Returns
    -------
    X : array-like
        As it is if there is an encoder, which `fit_encoder` and `encode_rows` then check further.
        Otherwise ndarray of shape (n_samples, n_features), float32 or float64.
    y : ndarray of shape (n_samples,)
    """
    y = plain_labels(y)
    if est.encoder is None or hasattr(X, "nnz"):  # a sparse X is an error of scikit-learn
        return validate_data(est, X, y, dtype=FLOATS, reset=reset)
    validate_data(est, X, y, reset=reset, skip_check_array=True)
    y = check_y(y, estimator=est)
    check_consistent_length(X, y)
    return X, y


def fit_encoder(est, X, sample_weight=None):
    """Set ``encoder_``, fitted on rows that `check_rows` has checked, and return the encoded rows.

    Without an encoder ``encoder_`` is None, and the rows are returned as they are.

    Parameters
    ----------
    est : estimator
    X : array-like
        Rows of positive weight.
    sample_weight : ndarray of shape (n_samples,), optional

    Returns
    -------
    ndarray of shape (n_samples, n_encoded), float32 or float64
    """
    est.encoder_ = new_encoder(est.encoder)
    if est.encoder_ is None:
        return X
    est.encoder_.fit(X, sample_weight=sample_weight)
    return _transform(est.encoder_, X)


def encode_rows(est, X):
    """Check rows to predict and return them as an array, encoded if there is an encoder.

    Returns
    -------
    ndarray of shape (n_samples, n_encoded), float32 or float64
    """
    if est.encoder_ is None or hasattr(X, "nnz"):
        return validate_data(est, X, dtype=FLOATS, reset=False)
    validate_data(est, X, reset=False, skip_check_array=True)
    return _transform(est.encoder_, X)


def _transform(encoder, X):
    return np.asarray(encoder.transform(X))  # where the user asks transformers for DataFrames


def set_encoder_tags(est, tags):
    """Set in the tags of an estimator what its encoder reads: missing cells and texts."""
    has_encoder = est.encoder is not None
    tags.input_tags.allow_nan = has_encoder
    tags.input_tags.string = tags.input_tags.categorical = has_encoder
    return tags

"""First step of estimators with an ``encoder``: from the rows of the user to an array."""

import math

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.validation import validate_data

from sklearn_kd._tables.encoded_rows import EncodedRows
from sklearn_kd._tables.encoder import TableEncoder, check_table, encode, encode_blocks
from sklearn_kd._utils.label_indicators import check_label_indicator
from sklearn_kd._utils.labels import check_no_missing_labels, plain_labels
from sklearn_kd._utils.memory import check_encoded_rows
from sklearn_kd._utils.regression_targets import check_numbers
from sklearn_kd._utils.sklearn_compat import check_feature_names, check_n_features, check_y

#: Bytes of encoded rows from which on they are encoded where they are read, if possible.
MIN_LAZY_BYTES = 2**26
#: dtypes that estimators compute in.
FLOATS = [np.float64, np.float32]
#: Parts of messages of numpy, pandas and scikit-learn on cells that are no numbers, or missing.
NOT_NUMBERS = ("could not convert string", "Cannot cast", "Input X contains NaN")


def fitted_encoder(encoder, X, sample_weight=None):
    """Return the encoder that a value of the parameter stands for, fitted unless it is frozen.

    Raises
    ------
    ValueError
        For a frozen estimator that is no fitted `TableEncoder`.
    """
    if isinstance(encoder, FrozenEstimator):
        encoder = encoder.estimator
        if not (isinstance(encoder, TableEncoder) and encoder.__sklearn_is_fitted__()):
            raise ValueError(
                f"encoder=FrozenEstimator({encoder!r}) is used as it is, but this is no fitted "
                "TableEncoder: pass FrozenEstimator(TableEncoder().fit(X))."
            )
        return encoder
    return _new_encoder(encoder).fit(X, sample_weight=sample_weight)


def _new_encoder(encoder):
    return TableEncoder() if isinstance(encoder, str) else clone(encoder)


def encoder_key(encoder):
    """Return something hashable that is equal for encoders which encode the same rows equally."""
    if encoder is None:
        return None
    if isinstance(encoder, FrozenEstimator):
        return FrozenEstimator, joblib.hash(encoder.estimator)
    encoder = _new_encoder(encoder)
    return type(encoder), joblib.hash(encoder.get_params())


def check_rows(est, X, y, *, reset=True, kind="classes"):
    """Check rows and targets of a fit, and set the number and the names of the features.

    Parameters
    ----------
    est : estimator
        With the parameter ``encoder``.
    X, y : array-like
        As passed to ``fit``.
    reset : bool, default=True
        Whether to set the features, or to compare with those of the earlier fit.
    kind : {"classes", "labels", "numbers"}, default="classes"
        What ``y`` contains: the class of each row, an indicator of several labels, or numbers of
        one target or of several.

    Returns
    -------
    X : ndarray or pandas DataFrame of shape (n_samples, n_features)
        What `read_rows` returns.
    y : ndarray of shape (n_samples,), or of float64 and shape (n_samples, n_targets) too, or of \
            int64 and shape (n_samples, n_labels)
    """
    if kind == "numbers":
        y = None if y is None else check_numbers(y, "y")
        targets = {"multi_output": True, "y_numeric": True}
    elif kind == "labels":
        y, targets = check_label_indicator(y), {"multi_output": True}
    else:
        check_no_missing_labels(y)
        y, targets = plain_labels(y), {}
    if not reset:
        _check_same_encoder(est)
    if est.encoder is None:
        try:
            return validate_data(est, X, y, dtype=FLOATS, reset=reset, **targets)
        except ValueError as error:
            if not any(part in str(error) for part in NOT_NUMBERS):
                raise
            raise ValueError(
                f"{str(error).splitlines()[0].rstrip('.')}, and encoder=None takes numbers alone: "
                "set encoder='auto', which reads strings, categories and missing cells."
            ) from error
    table = read_rows(est, X, est.encoder)
    validate_data(est, X, y, reset=reset, skip_check_array=True)
    y = check_y(y, estimator=est, **targets)
    check_consistent_length(table, y)
    return table, y


def read_rows(est, X, encoder, name="X"):
    """Return rows as a table, but do not check their features yet.

    Parameters
    ----------
    est : estimator
    X : array-like
    encoder : encoder or None
        The parameter in ``fit``, and the fitted encoder in predictions.
    name : str, default="X"
        What messages call the rows.

    Returns
    -------
    ndarray or pandas DataFrame of shape (n_samples, n_features)
        Finite and float32 or float64 without an encoder. With an encoder it contains what it
        contained.
    """
    if encoder is None:
        return check_array(X, dtype=FLOATS, estimator=est, input_name=name)
    return check_table(est, X, name)


def _check_same_encoder(est):
    """Raise ValueError where the fitted encoder does not have the present parameters."""
    is_frozen = isinstance(est.encoder, FrozenEstimator)
    before = FrozenEstimator(est.encoder_) if is_frozen else est.encoder_
    if encoder_key(est.encoder) != encoder_key(before):
        raise ValueError(
            f"encoder={est.encoder!r}, but {type(est).__name__} continues a fit with "
            f"{est.encoder_!r}: set encoder={est.encoder_!r}, or call fit."
        )


def fit_encoder(est, X, sample_weight=None, *, reset=True, lazily=False):
    """Set ``encoder_``, fitted on rows that `check_rows` has checked, and return the encoded rows.

    Without an encoder ``encoder_`` is None, and the rows are returned as they are.

    Parameters
    ----------
    est : estimator
    X : array-like
        Rows of positive weight.
    sample_weight : ndarray of shape (n_samples,), optional
    reset : bool, default=True
        Whether to fit the encoder, or to use that of the earlier fit.
    lazily : bool, default=False
        Whether rows that take much memory may be `EncodedRows`.

    Returns
    -------
    ndarray or EncodedRows of shape (n_samples, n_encoded), float32 or float64
    """
    if reset:
        est.encoder_ = None
        if est.encoder is not None:
            est.encoder_ = fitted_encoder(est.encoder, X, sample_weight)
            check_n_features(est.encoder_, X, reset=False)
            check_feature_names(est.encoder_, X, reset=False)
    if est.encoder_ is not None and lazily:
        shape = len(X), len(est.encoder_.means_)
        if math.prod(shape) * encoded_itemsize(X) >= MIN_LAZY_BYTES:
            return EncodedRows(est.encoder_, X)
    return encode_table(est, X)


def encode_rows(est, X):
    """Check rows to predict and return them as an array, encoded if there is an encoder.

    Returns
    -------
    ndarray of shape (n_samples, n_encoded), float32 or float64
    """
    return encode_table(est, check_new_rows(est, X))


def check_new_rows(est, X):
    """Check rows to predict and return them as a table, as the encoder reads it.

    An estimator of another package need not have an encoder.
    """
    if getattr(est, "encoder_", None) is None:
        return X if _is_plain_row(est, X) else validate_data(est, X, dtype=FLOATS, reset=False)
    validate_data(est, X, reset=False, skip_check_array=True, ensure_2d=False)  # the names
    table = read_rows(est, X, est.encoder_)
    check_n_features(est, table, reset=False)
    return table


def _is_plain_row(est, X):
    """Return whether X is one row with which all is well, as a check in less time can say."""
    return (
        type(X) is np.ndarray
        and X.shape == (1, est.n_features_in_)
        and X.dtype in FLOATS
        and not hasattr(est, "feature_names_in_")
        and bool(np.isfinite(X).all())
    )


def encode_table(est, table):
    """Return rows that `read_rows` has read, and whose features are checked, as `encode_rows`."""
    encoder = getattr(est, "encoder_", None)
    if encoder is None:
        return table
    check_encoded_rows((len(table), len(encoder.means_)), encoded_itemsize(table))
    return encode(encoder, table)


def encoded_itemsize(table):
    """Return the bytes of a number of the encoded rows, at most."""
    return 4 if getattr(table, "dtype", None) == np.float32 else 8


def encoded_blocks(est, table, n_rows):
    """Return an iterator over what `encode_table` returns, in blocks of ``n_rows`` rows.

    Encoded rows have a column of zeros where no column of the table varies.
    """
    encoder = getattr(est, "encoder_", None)
    if encoder is not None:
        return map(with_a_column, encode_blocks(encoder, table, n_rows))
    return (table[start : start + n_rows] for start in range(0, len(table), n_rows))


def with_a_column(rows):
    """Return encoded rows, with a column of zeros where no column of the table varies."""
    return rows if rows.shape[1] else np.zeros((len(rows), 1), dtype=rows.dtype)


def set_encoder_tags(est, tags):
    """Set in the tags of an estimator what its encoder reads: missing cells and texts."""
    has_encoder = est.encoder is not None
    tags.input_tags.allow_nan = has_encoder
    tags.input_tags.string = tags.input_tags.categorical = has_encoder
    return tags

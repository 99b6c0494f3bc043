"""Predictions of fitted estimators of any package, checked and in the shapes of scikit-learn.

Other packages return labels as a column, probabilities in half precision, lists or DataFrames. Each
prediction of a teacher or a student that is not known to be one of this package comes through here.
"""

import numpy as np
import scipy.sparse as sp

from sklearn_kd._utils.containers import own_copy
from sklearn_kd._utils.labels import align_columns
from sklearn_kd._utils.sklearn_compat import num_samples
from sklearn_kd._utils.sub_estimators import last_step
from sklearn_kd._utils.validation import (
    PREDICTED_ROW_SUM_TOLERANCE,
    ROW_SUM_TOLERANCE,
    NotFiniteError,
    check_probabilities,
    check_unit_interval,
)

#: Rows whose sum differs from one by more than this are divided by their sum, as the log loss of
#: scikit-learn requires. Others stay as they are: a division may round equal values differently.
#: In float32 sums of correct probabilities are less accurate.
RENORMALIZATION_THRESHOLD = {np.dtype(np.float64): 1e-9, np.dtype(np.float32): ROW_SUM_TOLERANCE}
#: Largest difference from one of the sum of probabilities whose logarithms a model predicts. In
#: half precision the logarithms of many small ones are rounded by up to 0.004.
LOG_ROW_SUM_TOLERANCE = 1e-2


def as_labels(labels, X, classes, name):
    """Return what a classifier has predicted as labels, in the dtype of the classes.

    Parameters
    ----------
    labels : array-like of shape (n_samples,) or (n_samples, 1)
        Result of ``predict``.
    X : rows
        What was predicted.
    classes : ndarray of shape (n_classes,)
        Labels that there are.
    name : str
        How error messages call the classifier.

    Returns
    -------
    ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        If it is not one label for each row, or something is not among the classes.
    """
    labels, n_samples = np.asarray(labels), num_samples(X)
    if labels.shape == (n_samples, 1):
        labels = labels[:, 0]
    if labels.shape != (n_samples,):
        raise ValueError(
            f"predict of {name} has returned the shape {labels.shape} for {n_samples} rows, but "
            "one label for each row is needed."
        )
    if labels.dtype == classes.dtype:
        return labels
    # A model that read string labels from a DataFrame returns them as objects. The cast below must
    # not turn something else into a label.
    unknown = set(labels.tolist()) - set(classes.tolist())
    if unknown:
        raise ValueError(
            f"{name} predicts {next(iter(unknown))!r}, which is not one of the classes "
            f"{classes.tolist()}: it must be a classifier."
        )
    return labels.astype(classes.dtype)


def as_proba(proba, X, classes, name, dtype=None):
    """Return what a classifier has predicted as probabilities in [0, 1].

    Parameters
    ----------
    proba : array-like, sparse matrix or DataFrame of shape (n_samples, n_classes)
        Result of ``predict_proba``. Its columns are in the order of ``classes``, unless those of a
        DataFrame are these labels, or the strings that they are written as, in another order.
    X : rows
        What was predicted.
    classes : ndarray of shape (n_classes,)
        Labels of the columns.
    name : str
        How error messages call the classifier.
    dtype : dtype, default=None
        None: float32 stays, and all else becomes float64.

    Returns
    -------
    ndarray of shape (n_samples, n_classes)
        Rows sum to one within `RENORMALIZATION_THRESHOLD`.

    Raises
    ------
    ValueError
        If it is not a row of probabilities for each row of X.
    """
    name = f"predict_proba of {name}"
    proba = as_columns(proba, num_samples(X), classes, name, dtype)
    is_in_range = proba.min(initial=0.0) >= 0 and proba.max(initial=0.0) <= 1
    if is_in_range and _sums_to_one(proba):  # most are, and predictions of single rows take little
        return proba
    proba = checked_proba(proba, name)
    return proba if _sums_to_one(proba) else proba / proba.sum(axis=1, keepdims=True)


def _sums_to_one(proba):
    """Return whether the log loss of scikit-learn takes the rows as they are."""
    off = np.abs(proba.sum(axis=1) - 1).max(initial=0.0)
    return off <= RENORMALIZATION_THRESHOLD[proba.dtype]


def as_log_proba(log_proba, X, classes, name):
    """Return what a classifier has predicted as logarithms of probabilities.

    The parameters are those of `as_proba`. Rows of the probabilities sum to one.
    """
    name = f"predict_log_proba of {name}"
    log_proba = as_columns(log_proba, num_samples(X), classes, name)
    with np.errstate(over="ignore"):
        proba = np.exp(log_proba)
    check_probabilities(proba, f"exp of {name}", LOG_ROW_SUM_TOLERANCE)
    if _sums_to_one(proba):
        return log_proba
    return log_proba - np.log(proba.sum(axis=1, keepdims=True))


def as_decision_values(values, X, classes, model, name):
    """Return what a classifier has predicted as decision values.

    The parameters are those of `as_proba`, and ``model`` is the classifier.

    Returns
    -------
    ndarray of shape (n_samples,) or (n_samples, n_classes)
        For two classes of shape (n_samples,), unless the model has a value for each of them.
    """
    name, n_samples = f"decision_function of {name}", num_samples(X)
    if len(classes) > 2 and getattr(last_step(model), "decision_function_shape", "") == "ovo":
        raise ValueError(
            f'{name} has one value per pair of classes; set decision_function_shape="ovr".'
        )
    if len(classes) == 2 and np.shape(values) in ((n_samples,), (n_samples, 1)):
        return _floats(values).reshape(n_samples)
    return as_columns(values, n_samples, classes, name)


def as_label_columns(values, X, n_labels, name):
    """Return predictions of several labels as finite floats, or integers, (n_samples, n_labels).

    Parameters
    ----------
    values : array-like, sparse matrix or DataFrame of shape (n_samples, n_labels)
    X : rows
        What was predicted.
    n_labels : int
    name : str
        What the values are, for error messages.
    """
    if isinstance(values, list):
        values = np.array(values)
    values, shape = _floats(values), (num_samples(X), n_labels)
    if values.shape != shape:
        raise ValueError(
            f"{name} has returned the shape {values.shape} for {shape[0]} rows and {n_labels} "
            "labels; one column for each label is needed."
        )
    if np.isnan(values).any():
        raise NotFiniteError(f"{name} has returned NaN.")
    return values


def as_label_proba(proba, X, n_labels, model, name):
    """Return what a classifier has predicted as the probability of each of several labels.

    Parameters
    ----------
    proba : array of shape (n_samples, n_labels), or list of n_labels arrays
        Result of ``predict_proba``. Arrays of a list have a column for each class of a label, as
        trees, neighbors and `MultiOutputClassifier` return them.
    X : rows
        What was predicted.
    n_labels : int
    model : classifier
        Fitted. Its ``classes_`` have the classes of each label, where ``proba`` is a list.
    name : str
        How error messages call the classifier.

    Returns
    -------
    ndarray of shape (n_samples, n_labels)
        In [0, 1], zero for a label that no row had which the classifier was fitted on.
    """
    if isinstance(proba, list) and np.ndim(proba[0]) == 2:
        classes = getattr(model, "classes_", [[0, 1]] * len(proba))
        proba = [
            _probability_of_one(of_label, known, name)
            for of_label, known in zip(proba, classes, strict=True)
        ]
        proba = np.column_stack(proba)
    name = f"predict_proba of {name}"
    proba = as_label_columns(proba, X, n_labels, name)
    if proba.min(initial=0.0) < 0 or proba.max(initial=0.0) > 1:
        check_unit_interval(proba, name, PREDICTED_ROW_SUM_TOLERANCE)
        proba = np.clip(proba, 0.0, 1.0)
    return proba


def _probability_of_one(proba, known, name):
    """Return the probability of the class 1, given that of the classes of one label."""
    known = np.asarray(known)
    if not np.isin(known, (0, 1)).all():
        raise ValueError(
            f"{name} knows the classes {known.tolist()} of a label, and an indicator of several "
            "labels has 0 and 1."
        )
    column = np.flatnonzero(known == 1)
    proba = _floats(proba)
    return proba[:, column[0]] if len(column) else np.zeros(len(proba), dtype=proba.dtype)


def as_numbers(values, X, n_targets, name, *, allow_nan=False):
    """Return what a regressor has predicted as finite float64 numbers.

    Parameters
    ----------
    values : array-like of shape (n_samples,) or (n_samples, n_targets)
        Result of ``predict``.
    X : rows
        What was predicted.
    n_targets : int
    name : str
        How error messages call the regressor.
    allow_nan : bool, default=False
        Whether there may be NaN and infinity.

    Returns
    -------
    ndarray of float64 of shape (n_samples, n_targets)

    Raises
    ------
    ValueError
        If it is not as many numbers for each row.
    NotFiniteError
        If there is NaN or infinity.
    """
    n_samples = num_samples(X)
    try:
        values = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"predict of {name} has returned what are no numbers: it must be a regressor."
        ) from error
    if values.shape != (n_samples, n_targets):
        if n_targets > 1 or values.shape != (n_samples,):
            raise ValueError(
                f"predict of {name} has returned the shape {values.shape} for {n_samples} rows and "
                f"{n_targets} target{'s' if n_targets > 1 else ''} of y."
            )
        values = values.reshape(n_samples, 1)
    if not (allow_nan or np.isfinite(values).all()):
        raise NotFiniteError(f"predict of {name} has returned NaN or infinity.")
    return values


def as_columns(values, n_samples, classes, name, dtype=None):
    """Return predicted numbers as an array with one column for each class.

    Parameters
    ----------
    values : array-like, sparse matrix or DataFrame
        Columns in the order of ``classes``, unless the columns of a DataFrame are these labels, or
        the strings that they are written as, in another order.
    n_samples : int
    classes : ndarray of shape (n_classes,)
    name : str
        What the values are, for error messages.
    dtype : dtype, default=None
        None: float32 stays, and all else becomes float64.

    Returns
    -------
    ndarray of shape (n_samples, n_classes)
    """
    order = _column_order(values, classes)
    values = _floats(values, dtype)
    if values.shape != (n_samples, len(classes)):
        hint = ""
        if len(classes) == 2 and values.shape in ((n_samples,), (n_samples, 1)):
            hint = " For two classes return np.column_stack([1 - p, p])."
        raise ValueError(
            f"{name} has returned the shape {values.shape} for {n_samples} rows and "
            f"{len(classes)} classes {np.asarray(classes).tolist()}; one column for each class is "
            f"needed.{hint}"
        )
    return values if order is None else values[:, order]


def _floats(values, dtype=None):
    """Return an array of a floating dtype. Half precision becomes float64, before it is summed."""
    values = np.asarray(values.toarray() if sp.issparse(values) else values, dtype=dtype)
    return values if values.dtype in RENORMALIZATION_THRESHOLD else values.astype(np.float64)


def _column_order(values, classes):
    """Return the columns of a DataFrame that belong to the classes, None for their own order."""
    if not hasattr(values, "columns"):
        return None
    columns = list(values.columns)
    labels = np.asarray(classes).tolist()
    for names in (labels, [str(label) for label in labels]):
        if columns != names and len(columns) == len(names) and set(columns) == set(names):
            return [columns.index(name) for name in names]
    return None


def checked_proba(proba, name):
    """Return predicted probabilities in [0, 1], whose rows sum to about one, after a check."""
    check_probabilities(proba, name, PREDICTED_ROW_SUM_TOLERANCE)
    return np.clip(proba, 0.0, 1.0)


def model_probabilities(model, X, classes, *, name=None):
    """Return the probabilities that a fitted classifier predicts.

    Parameters
    ----------
    model : classifier with predict_proba
        Its columns are in the order of its ``classes_``, or of ``classes`` if it has none.
    X : array-like or DataFrame of shape (n_samples, n_features)
    classes : ndarray of shape (n_classes,)
        Sorted labels, among them all classes of the model.
    name : str, default=None
        How error messages call the model. None: the name of its class.

    Returns
    -------
    ndarray of float64 of shape (n_samples, n_classes)
        In float64 for each model, since log losses clip at the resolution of the dtype. Classes
        that the model does not know have zero.

    Raises
    ------
    ValueError
        If the model does not return a row of probabilities for each row of X.
    """
    known = np.asarray(getattr(model, "classes_", classes))
    name = name or type(last_step(model)).__name__
    # other models predict the same rows, into which a step may write
    proba = as_proba(model.predict_proba(own_copy(X)), X, known, name, np.float64)
    return align_columns(proba, known, classes)

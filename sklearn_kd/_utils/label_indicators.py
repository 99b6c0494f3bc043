"""Targets of several labels: an indicator with a column of zeros and ones for each label."""

import numpy as np
import scipy.sparse as sp
from scipy.special import entr

from sklearn_kd._utils.regression_targets import warn_if_misaligned
from sklearn_kd._utils.validation import (
    ROW_SUM_TOLERANCE,
    NotFiniteError,
    check_unit_interval,
    frame_values,
    missing_rows,
)
from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd.exceptions import SoftTargetsAlignmentWarning


def learns_labels(estimator):
    """Return whether a fitted classifier predicts several labels for each row."""
    return bool(getattr(estimator, "multilabel_", False))


def is_label_indicator(y):
    """Return whether targets have several columns that contain zeros and ones only.

    One column is a binary problem, as :func:`sklearn.utils.multiclass.type_of_target` has it.
    """
    if sp.issparse(y):
        return y.ndim == 2 and y.shape[1] > 1 and _are_indicators(y.data)
    try:
        values = np.asarray(y)
    except ValueError:  # rows of unequal length
        return False
    return values.ndim == 2 and values.shape[1] > 1 and _are_indicators(values)


def _are_indicators(values):
    if values.dtype == object:
        # texts such as "0" are no numbers
        is_number = [isinstance(value, int | float | np.number | np.bool_) for value in values.flat]
        if not all(is_number):
            return False
        values = values.astype(np.float64)
    return values.dtype.kind in "biuf" and bool(np.isin(values, (0, 1)).all())


def check_label_indicator(y, name="y"):
    """Return an indicator of several labels as an array of int64 of shape (n_samples, n_labels).

    Parameters
    ----------
    y : array-like of shape (n_samples, n_labels)
    name : str, default="y"

    Raises
    ------
    TypeError
        If it is sparse.
    ValueError
        If it is no indicator.
    """
    if sp.issparse(y):
        raise TypeError(
            f"Sparse data was passed for {name}, but dense data is required: pass {name}.toarray()."
        )
    if not is_label_indicator(y):
        raise ValueError(
            f"{name} must be an indicator of shape (n_samples, n_labels) that contains 0 and 1 "
            f"only, got the shape {np.shape(y)}: MultiLabelBinarizer makes one from sets of labels."
        )
    return np.asarray(y).astype(np.int64)


def check_label_names(values, name, y):
    """Raise ValueError for two DataFrames of labels whose columns have different names."""
    if not (hasattr(values, "columns") and hasattr(y, "columns")):
        return
    given, wanted = list(values.columns), list(y.columns)
    if given == wanted:
        return
    if set(given) == set(wanted):
        advice = f"the columns of y in another order: pass {name}[y.columns]"
    else:
        advice = f"the columns {given} and y the columns {wanted}: pass a column for each label"
    raise ValueError(f"{name} has {advice}.")


def check_soft_label_indicator(soft_targets, y):
    """Check the probabilities of several labels at temperature 1.

    Parameters
    ----------
    soft_targets : array-like of shape (n_samples, n_labels)
        In [0, 1]. Rows do not sum to one. A row of NaN means the labels ``y`` of this row.
    y : ndarray of int of shape (n_samples, n_labels)

    Returns
    -------
    ndarray of float64 of shape (n_samples, n_labels)

    Warns
    -----
    SoftTargetsAlignmentWarning
        If no label is correlated with its soft targets.
    """
    if hasattr(soft_targets, "columns") and hasattr(soft_targets, "to_numpy"):
        soft_targets = frame_values(soft_targets)
    soft_targets = np.asarray(soft_targets)
    if np.iscomplexobj(soft_targets):
        raise ValueError("soft_targets must be real numbers, got complex ones.")
    Q = np.array(soft_targets, dtype=np.float64)  # a copy, since rows are replaced below
    if Q.shape != y.shape:
        raise ValueError(
            f"soft_targets must have the shape of y, {y.shape}, for {y.shape[1]} labels: they are "
            f"the probability of each label, got the shape {Q.shape}."
        )
    is_missing = missing_rows(Q)
    Q[is_missing] = y[is_missing]
    if not np.isfinite(Q).all():
        raise NotFiniteError("soft_targets contains NaN or infinity.")
    check_unit_interval(Q, "soft_targets", ROW_SUM_TOLERANCE)
    np.clip(Q, 0.0, 1.0, out=Q)
    if is_missing.all():
        warn_caller(
            "all rows of soft_targets are NaN, so that y alone is learned here.",
            SoftTargetsAlignmentWarning,
        )
    else:
        warn_if_misaligned(Q[~is_missing], y[~is_missing].astype(np.float64))
    return Q


def mean_label_entropy(Q, weights):
    """Return the weighted mean, over rows and labels, of the entropy of probabilities of labels."""
    Q = np.clip(Q, 0, 1)
    return float(np.average((entr(Q) + entr(1 - Q)).mean(axis=1), weights=weights))


def refuse_label_indicator(estimator, y):
    """Raise ValueError for an indicator of several labels, which an estimator does not take."""
    if is_label_indicator(y):
        raise ValueError(
            f"{type(estimator).__name__} takes one label for each row, a y of shape (n_samples,), "
            f"got an indicator of {np.shape(y)[1]} labels: TwoLayerPGDClassifier learns several "
            "labels."
        )


def check_label_indices(classes, n_labels):
    """Raise ValueError if ``classes`` are not the indices of the labels."""
    if not np.array_equal(classes, np.arange(n_labels)):
        raise ValueError(
            f"y has {n_labels} columns for the labels {np.asarray(classes).tolist()}: pass a "
            "column of 0 and 1 for each label, and classes=np.arange(n_labels)."
        )

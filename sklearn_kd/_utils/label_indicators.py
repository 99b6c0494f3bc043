"""Targets of several labels: an indicator with a column of zeros and ones for each label."""

import numpy as np
import scipy.sparse as sp
from scipy.special import entr
from sklearn.utils import get_tags

from sklearn_kd._utils.regression_targets import warn_if_misaligned
from sklearn_kd._utils.validation import (
    ROW_SUM_TOLERANCE,
    NotFiniteError,
    check_target_order,
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


def check_validation_indicator(y_val, n_samples, n_labels):
    """Return the indicator of the labels of ``n_samples`` validation rows, or raise an error."""
    y_val = check_label_indicator(y_val, "y_val")
    if y_val.shape != (n_samples, n_labels):
        raise ValueError(
            f"y_val has the shape {y_val.shape} for the {n_samples} rows of X_val and the "
            f"{n_labels} labels of y: pass the columns of y for these rows."
        )
    return y_val


def takes_label_indicator(estimator):
    """Return whether the tags of an estimator say that it takes an indicator of several labels."""
    if not hasattr(estimator, "__sklearn_tags__"):
        return False
    tags = get_tags(estimator)
    if tags.target_tags.multi_output and tags.estimator_type == "classifier":
        return True  # those that fit one classifier for each label have no other tag
    return tags.classifier_tags is not None and tags.classifier_tags.multi_label


def check_label_names(values, name, y):
    """Raise ValueError for two DataFrames of labels whose columns have different names."""
    if not (hasattr(values, "columns") and hasattr(y, "columns")):
        return
    check_target_order(values, name, y)
    given, wanted = list(values.columns), list(y.columns)
    if given != wanted:
        raise ValueError(
            f"{name} has the columns {given} and y the columns {wanted}: pass a column for each "
            "label."
        )


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


#: What takes several labels, for messages.
LEARNERS = "TwoLayerPGDClassifier, ModuleClassifier and DistilledClassifier learn several labels"


def refuse_label_indicator(who, y):
    """Raise ValueError for an indicator of several labels, which ``who`` does not take."""
    if is_label_indicator(y):
        raise ValueError(
            f"y is an indicator of {np.shape(y)[1]} labels, and {who} takes one label for each "
            f"row, a y of shape (n_samples,). {LEARNERS}."
        )


def check_label_indices(classes, n_labels):
    """Raise ValueError if ``classes`` are not the indices of the labels."""
    if not np.array_equal(classes, np.arange(n_labels)):
        raise ValueError(
            f"y has {n_labels} columns for the labels {np.asarray(classes).tolist()}: pass a "
            "column of 0 and 1 for each label, and classes=np.arange(n_labels)."
        )

"""Checked probabilities or decision values of a teacher."""

import numpy as np

from sklearn_kd._utils.calibration import (
    apply_decision_value_calibration,
    fit_decision_value_calibration,
)
from sklearn_kd._utils.labels import align_columns, known_classes
from sklearn_kd._utils.responses import as_columns, as_decision_values, checked_proba
from sklearn_kd._utils.sklearn_compat import num_samples
from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd.exceptions import MissingClassWarning


def teacher_predictions(teacher, X, classes):
    """Return predictions of a teacher for the rows of X.

    Parameters
    ----------
    teacher : estimator
        Fitted, with ``predict_proba`` or ``decision_function``.
    X : rows
    classes : ndarray of shape (n_classes,)
        Sorted labels, those of the teacher among them.

    Returns
    -------
    values : ndarray of shape (n_samples, n_classes)
        Columns in the order of ``classes``. Those of classes that the teacher never saw are NaN.
    is_proba : bool
        Whether the values are probabilities rather than decision values.
    """
    known, name = known_classes(teacher), f"the teacher {type(teacher).__name__}"
    is_proba = hasattr(teacher, "predict_proba")
    if is_proba:
        given = f"predict_proba of {name}"
        values = as_columns(teacher.predict_proba(X), num_samples(X), known, given, np.float64)
        values = checked_proba(values, given)
        values /= values.sum(axis=1, keepdims=True)
    elif hasattr(teacher, "decision_function"):
        values = as_decision_values(teacher.decision_function(X), X, known, teacher, name)
        values = values.astype(np.float64)
        if values.ndim == 1:
            values = np.column_stack([-values, values])
        if not np.isfinite(values).all():
            raise ValueError(f"the decision values of {name} contain NaN or infinity.")
    else:
        raise TypeError(
            f"{name} has neither predict_proba nor decision_function, so it cannot give soft "
            "labels."
        )
    return align_columns(values, known, classes, fill=np.nan), is_proba


def fill_missing_classes(values):
    """Return probabilities in which classes that a teacher never saw have zero."""
    return np.nan_to_num(values, nan=0.0)


def as_probabilities(values, is_proba, y_encoded, weight):
    """Return probabilities, and the calibration that makes them of decision values (or None).

    Decision values are calibrated to the labels ``y_encoded`` of their rows.
    """
    if is_proba:
        return fill_missing_classes(values), None
    decision_calibration = fit_decision_value_calibration(values, y_encoded, weight)
    return apply_decision_value_calibration(values, *decision_calibration), decision_calibration


def warn_if_classes_missing(values, classes, who):
    """Warn where the columns of some classes are NaN: the teacher never saw them."""
    missing = np.isnan(values).all(axis=0)
    if len(values) and missing.any():
        warn_caller(
            f"{who} never saw the classes {classes[missing].tolist()} of y and gives them "
            "probability zero.",
            MissingClassWarning,
        )


def warn_if_classes_missing_in_folds(values, classes):
    """Warn where the teachers of some folds never saw some classes."""
    missing = np.array([np.isnan(fold).all(axis=0) for fold in values])
    if missing.any():
        warn_caller(
            f"in {missing.any(axis=1).sum()} of {len(values)} folds the training rows lack one of "
            f"the classes {classes[missing.any(axis=0)].tolist()}, and the teacher of that fold "
            "gives it probability zero; use fewer folds, stratified ones, or cv='auto'.",
            MissingClassWarning,
        )

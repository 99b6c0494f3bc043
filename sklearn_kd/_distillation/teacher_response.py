"""Checked probabilities or decision values of a teacher."""

import numpy as np

from sklearn_kd._utils.calibration import (
    apply_decision_value_calibration,
    fit_decision_value_calibration,
)
from sklearn_kd._utils.labels import align_columns, known_classes
from sklearn_kd._utils.sklearn_compat import num_samples
from sklearn_kd._utils.sub_estimators import last_step
from sklearn_kd._utils.validation import PREDICTED_ROW_SUM_TOLERANCE, check_probabilities
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
    known, name = known_classes(teacher), type(teacher).__name__
    is_proba = hasattr(teacher, "predict_proba")
    if is_proba:
        values = np.asarray(teacher.predict_proba(X), dtype=np.float64)
    elif hasattr(teacher, "decision_function"):
        values = np.asarray(teacher.decision_function(X), dtype=np.float64)
        if values.ndim == 1:
            values = np.column_stack([-values, values])
        elif len(known) > 2 and getattr(last_step(teacher), "decision_function_shape", "") == "ovo":
            raise ValueError(
                f"{name} has one decision value per pair of classes; set "
                'decision_function_shape="ovr".'
            )
    else:
        raise TypeError(
            f"the teacher {name} has neither predict_proba nor decision_function, so it cannot "
            "give soft labels."
        )
    if values.shape != (num_samples(X), len(known)):
        raise ValueError(
            f"the teacher {name} predicts values of shape {values.shape} for {num_samples(X)} rows "
            f"and its {len(known)} classes {known.tolist()}."
        )
    if is_proba:
        values = check_teacher_proba(values, teacher)
    elif not np.isfinite(values).all():
        raise ValueError(f"the decision values of the teacher {name} contain NaN or infinity.")
    return align_columns(values, known, classes, fill=np.nan), is_proba


def check_teacher_proba(proba, teacher):
    """Return probabilities of a teacher with rows that sum to one, after checking them."""
    name = f"predict_proba of the teacher {type(teacher).__name__}"
    check_probabilities(proba, name, PREDICTED_ROW_SUM_TOLERANCE)
    proba = np.clip(proba, 0.0, 1.0)
    return proba / proba.sum(axis=1, keepdims=True)


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

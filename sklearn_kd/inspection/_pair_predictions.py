"""Predictions of a fitted distilled model and of its teacher on the same rows."""

import numpy as np
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.validation import check_is_fitted

from sklearn_kd._utils.containers import own_copy
from sklearn_kd._utils.label_indicators import learns_labels
from sklearn_kd._utils.labels import plain_labels
from sklearn_kd._utils.responses import model_probabilities
from sklearn_kd._utils.sklearn_compat import num_samples
from sklearn_kd._utils.sub_estimators import last_step
from sklearn_kd.inspection._measurements import check_distiller
from sklearn_kd.inspection._number_scores import median_of_teacher
from sklearn_kd.inspection._predicted_numbers import predicted_numbers
from sklearn_kd.metrics import fidelity_score


def check_pair(estimator, display):
    """Raise an error unless a fitted distilled model has its teacher.

    Parameters
    ----------
    estimator : DistilledClassifier or DistilledRegressor
    display : str
        Name of the display, which has ``from_predictions``.

    Raises
    ------
    TypeError
        If the estimator is of another class.
    ValueError
        If the model is not fitted or has no ``teacher_``.
    """
    check_distiller(estimator, "estimator")
    check_is_fitted(estimator)
    if learns_labels(estimator):
        raise ValueError(
            f"the estimator predicts several labels for each row, and {display} takes one: "
            f"compare each label by {display}.from_predictions."
        )
    if not hasattr(estimator, "teacher_"):
        given = estimator.label_source_ == "given"
        predictions = "probabilities" if hasattr(estimator, "classes_") else "predictions"
        raise ValueError(
            "the estimator has no teacher_ to compare with: "
            f"{'soft_targets took its place in fit, or ' if given else ''}without_teacher() "
            f"has dropped it. Pass a model that still has its teacher, or the {predictions} of "
            f"both to {display}.from_predictions."
        )


def check_probabilities_of_pair(estimator):
    """Raise a TypeError unless a distilled classifier and its teacher predict probabilities."""
    for role, model in (("teacher", estimator.teacher_), ("student", estimator)):
        if not hasattr(model, "predict_proba"):
            own = type(last_step(getattr(estimator, f"{role}_"))).__name__
            raise TypeError(
                f"the {role} {own} has no predict_proba: put it in a CalibratedClassifierCV, "
                "or compare labels with metrics.agreement_score."
            )


def pair_probabilities(estimator, X):
    """Return probabilities of the teacher and of the student, in the classes of the estimator."""
    models = (estimator.teacher_, estimator)
    return tuple(model_probabilities(model, X, estimator.classes_) for model in models)


def given_probabilities(proba_teacher, proba_student, y=None, classes=None):
    """Validate given probabilities of a teacher and of a student, and labels of their rows.

    Parameters
    ----------
    proba_teacher, proba_student : array-like of shape (n_samples, n_classes)
    y : array-like of shape (n_samples,), default=None
    classes : array-like of shape (n_classes,), default=None
        Labels of the columns. None: those of a DataFrame, or 0 to n_classes - 1.

    Returns
    -------
    P, Q : ndarray of float of shape (n_samples, n_classes)
    classes : ndarray of shape (n_classes,)
    y_encoded : ndarray of int of shape (n_samples,) or None
        Column of each label.

    Raises
    ------
    ValueError
        If shapes differ, labels of the columns are equal, a label has no column, or rows are not
        probabilities that sum to 1 within 1e-5.
    """
    fidelity_score(proba_teacher, proba_student)  # validates both
    P, Q = (np.asarray(proba, dtype=np.float64) for proba in (proba_teacher, proba_student))
    if classes is None:
        classes = getattr(proba_teacher, "columns", np.arange(P.shape[1]))
    classes = column_or_1d(classes)
    if len(classes) != P.shape[1]:
        raise ValueError(f"classes must name {P.shape[1]} columns, got {len(classes)} labels.")
    if len(set(classes.tolist())) < len(classes):
        raise ValueError(f"classes must differ, got {classes.tolist()}.")
    if y is None:
        return P, Q, classes, None
    y = column_or_1d(plain_labels(y))
    check_consistent_length(P, y)
    return P, Q, classes, _positions(classes, y)


def _positions(classes, y):
    """Return the column of each label."""
    place = {label: column for column, label in enumerate(classes.tolist())}
    unknown = sorted({label for label in y.tolist() if label not in place}, key=str)
    if unknown:
        raise ValueError(f"y has the labels {unknown}, which no column has: pass classes.")
    return np.array([place[label] for label in y.tolist()], dtype=np.intp)


def pair_numbers(estimator, X):
    """Return what the teacher and the student of a distilled regressor predict."""
    shape = (num_samples(X),)
    if hasattr(estimator, "quantiles_"):  # the prediction is the median
        return median_of_teacher(estimator.teacher_, X), estimator.predict(own_copy(X))
    n_targets = np.shape(estimator.predict(own_copy(X)))[1:]
    if n_targets > (1,):
        raise ValueError(
            f"the estimator predicts {n_targets[0]} targets, and the display shows one: pass the "
            "predictions of a target to from_predictions."
        )
    names = {"teacher": estimator.teacher_, "student": estimator}
    return tuple(
        predicted_numbers(model, X, shape, f"the {role} {type(last_step(model)).__name__}")
        for role, model in names.items()
    )

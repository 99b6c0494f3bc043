"""Cross-validated losses of a teacher and a student that are both fitted to hard labels.

Used by :func:`sklearn_kd.inspection.should_distill`. The losses are those of single rows, since
they are compared in pairs.
"""

import functools
import warnings
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import StratifiedGroupKFold

from sklearn_kd._distillation.teacher_response import fill_missing_classes, teacher_predictions
from sklearn_kd._utils.calibration import (
    apply_decision_value_calibration,
    apply_teacher_temperature,
    fit_decision_value_calibration,
    fit_teacher_temperature,
)
from sklearn_kd._utils.cross_fit import timed_fit_on_rows
from sklearn_kd._utils.folds import (
    group_split_params,
    stratified_folds,
    user_folds,
    warn_if_groups_are_divided,
)
from sklearn_kd._utils.labels import align_columns, merge_classes
from sklearn_kd._utils.losses import log_losses
from sklearn_kd._utils.responses import as_labels, model_probabilities
from sklearn_kd._utils.sklearn_compat import routing_enabled, safe_indexing
from sklearn_kd._utils.sub_estimators import group_fit_params, last_step, route_fit, step_parameter
from sklearn_kd.exceptions import (
    IgnoredSampleWeightWarning,
    InSampleLabelsWarning,
    MissingClassWarning,
    UntestedRowsWarning,
)

#: Warnings of a fit of `DistilledClassifier` about the labels that it makes.
LABEL_WARNINGS = (
    IgnoredSampleWeightWarning,
    InSampleLabelsWarning,
    MissingClassWarning,
    UntestedRowsWarning,
)


@dataclass(frozen=True)
class CrossValidationRows:
    """Rows of positive weight, on which teacher and student are fitted and tested.

    Parameters
    ----------
    X : array-like or DataFrame of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,)
        Class labels.
    classes : ndarray of shape (n_classes,)
        Sorted labels of y.
    y_encoded : ndarray of int of shape (n_samples,)
        Positions of the labels in ``classes``.
    weight : ndarray of shape (n_samples,)
    groups : ndarray of int of shape (n_samples,) or None
        Number of the group of each row.
    original_rows : ndarray of int of shape (n_samples,)
        Numbers of these rows among all rows that the user passed.
    n_given : int
        Number of all rows.
    """

    X: Any
    y: np.ndarray
    classes: np.ndarray
    y_encoded: np.ndarray
    weight: np.ndarray
    groups: np.ndarray | None
    original_rows: np.ndarray
    n_given: int


def checked_folds(cv, data, seed):
    """Return the training and test rows of each fold.

    Parameters
    ----------
    cv : int, splitter or iterable of splits
    data : CrossValidationRows
    seed : int
        Seed of the folds if ``cv`` is a number.

    Returns
    -------
    list of (train, test)
        Arrays of row numbers. Each training part has every class.

    Raises
    ------
    ValueError
        If fewer than two folds have rows to test, a fold tests every tested row, or a training
        part lacks a class.
    """
    is_number = isinstance(cv, Integral) and not isinstance(cv, bool)
    if is_number and cv < 2:
        raise ValueError(f"cv must be at least 2 folds, got {cv}.")
    if is_number and data.groups is None:
        folds = stratified_folds(data.y_encoded, int(cv), seed)
    else:
        if is_number:
            cv = StratifiedGroupKFold(int(cv), shuffle=True, random_state=seed)
        split_params = group_split_params(cv, data.groups, {})
        folds = user_folds(cv, data.X, data.y, data.original_rows, data.n_given, split_params)
        warn_if_groups_are_divided(folds, data.groups)
    folds = [(train, test) for train, test in folds if len(test)]
    if len(folds) < 2:
        raise ValueError(
            f"cv gives {len(folds)} folds with rows to test, but at least two are needed, and two "
            "rows of a class."
        )
    tested = np.unique(np.concatenate([test for _, test in folds]))
    for number, (train, test) in enumerate(folds):
        if len(np.setdiff1d(tested, test)) == 0:
            raise ValueError(
                f"fold {number} of cv tests all rows that are tested by any fold, so that no other "
                "rows are left for calibration: let other folds test more rows."
            )
        missing = np.setdiff1d(np.arange(len(data.classes)), data.y_encoded[train])
        if len(missing):
            raise ValueError(
                f"the training part of fold {number} lacks the classes "
                f"{data.classes[missing].tolist()}, so that no model could know them: give a "
                "number of folds as cv, without groups, or leave rows of rare classes out."
            )
    return folds


def routed_fit_params(distiller, teacher, student, weight, groups):
    """Return the metadata for the fits of teacher and student, as `DistilledClassifier` routes it.

    Parameters
    ----------
    distiller : DistilledClassifier
    teacher : estimator or None
        None if the teacher is frozen.
    student : estimator
        With metadata routing, the last step of a pipeline gets a request for groups, in place.
    weight : ndarray of shape (n_samples,) or None
    groups : ndarray of int of shape (n_samples,) or None

    Returns
    -------
    dict of dict
        With the keys "teacher" and "student".
    """
    metadata = {} if groups is None else {"groups": groups}
    params = route_fit(distiller, teacher, student, weight, metadata)
    if not routing_enabled():
        given = params["student"]
        params["student"] = {step_parameter(student, name): given[name] for name in given}
    params["student"] |= group_fit_params(student, groups)
    return params


class FoldFit(NamedTuple):
    """Predictions of a model that was fitted on the training rows of a fold.

    Pairs are those of the test rows and those of the training rows.
    """

    #: Sorted classes of y and of the model.
    classes: np.ndarray
    #: Pair of probabilities or decision values of shape (n_rows, n_classes), None without any.
    values: tuple
    #: Pair of masks of the rows whose predicted label is wrong. Empty unless accuracy decides.
    is_wrong: tuple
    #: Whether the values are probabilities.
    is_proba: bool
    #: Whether the model has leave-one-out probabilities of its training rows.
    has_loo_proba: bool
    #: Duration of fit.
    seconds: float


def fit_and_predict(role, model, data, fold, fit_params, decide_by, fold_number=None):
    """Fit a clone on the training rows of a fold, and predict its test and training rows.

    Parameters
    ----------
    role : {"teacher", "student", "distilled"}
    model : estimator
    data : CrossValidationRows
    fold : tuple
        Training and test rows.
    fit_params : dict
        Metadata for fit, of all rows.
    decide_by : {"log_loss", "accuracy"}
    fold_number : int, default=None
        Number of the fold in the line that is printed. None: nothing is printed.

    Returns
    -------
    FoldFit

    Raises
    ------
    TypeError
        If the log loss decides and the student has no ``predict_proba``.
    """
    train, test = fold
    model, seconds = timed_fit_on_rows(clone(model), data.X, data.y, train, fit_params)
    name = type(last_step(model)).__name__
    if fold_number is not None:
        print(f"[should_distill] fold {fold_number}, {role} {name}, {seconds:.1f} s")
    # a frozen teacher, or a network whose classes were given, may know more of them
    known = merge_classes(data.classes, model) if hasattr(model, "classes_") else data.classes
    parts = [safe_indexing(data.X, part) for part in (test, train)]
    is_wrong, values, is_proba = (), (None, None), True
    if decide_by == "accuracy":
        labels = [as_labels(model.predict(part), part, known, name) for part in parts]
        is_wrong = tuple(
            label != data.y[part] for label, part in zip(labels, (test, train), strict=True)
        )
    if role == "teacher":
        predictions = [teacher_predictions(model, part, known) for part in parts]
        values, is_proba = tuple(each for each, _ in predictions), predictions[0][1]
    elif hasattr(model, "predict_proba"):
        name = f"the student {name}"
        values = tuple(model_probabilities(model, part, known, name=name) for part in parts)
    elif decide_by == "log_loss":
        raise TypeError(
            f'the student {name} has no predict_proba, which decide_by="log_loss" needs: pass '
            'decide_by="accuracy".'
        )
    return FoldFit(known, values, is_wrong, is_proba, hasattr(model, "loo_proba_"), seconds)


class FoldLosses(NamedTuple):
    """Losses of single rows in one fold, each of shape (n_test,) or (n_train,)."""

    #: Of the student on the test rows.
    student: np.ndarray
    #: Of the teacher on the test rows.
    teacher: np.ndarray
    #: Of a mixture of the student's probabilities and the teacher's labels, on the test rows.
    mixed: np.ndarray
    #: Of the student on the training rows.
    student_training: np.ndarray
    #: Of the teacher on the training rows.
    teacher_training: np.ndarray
    #: Of the student that was fitted to the teacher's labels, on the test rows. None: none was.
    distilled: np.ndarray | None = None


def out_of_fold_losses(fits, folds, data, *, decide_by, alpha, calibrate):
    r"""Return the losses of the rows of each fold.

    Parameters
    ----------
    fits : dict of list of FoldFit
        The fits of each fold by role.
    folds : list of (train, test)
    data : CrossValidationRows
    decide_by : {"log_loss", "accuracy"}
        Log loss, or 1 for a wrong label and 0 for the right one.
    alpha : float
        Weight of the teacher's labels in the mixture :math:`(1 - \alpha) s + \alpha q`.
    calibrate : bool
        Whether the labels in the mixture are calibrated by a temperature.

    Returns
    -------
    list of FoldLosses
    """
    every_fit = [*fits["student"], *fits["teacher"]]
    classes = functools.reduce(np.union1d, [fit.classes for fit in every_fit], data.classes)
    y_encoded = np.searchsorted(classes, data.classes)[data.y_encoded]
    loss_of = _error_rates if decide_by == "accuracy" else log_losses
    teacher_values = [_aligned(fit, classes, np.nan) for fit in fits["teacher"]]
    losses = []
    for number, (train, test) in enumerate(folds):
        student, teacher = fits["student"][number], fits["teacher"][number]
        unseen = _predictions_on_other_folds(number, folds, teacher_values, y_encoded, data.weight)
        own_values = teacher_values[number]
        q, q_training, labels = _teacher_labels(teacher.is_proba, own_values, unseen, calibrate)
        s, s_training = _aligned(student, classes, 0.0)
        mixed = labels if s is None else (1 - alpha) * s + alpha * labels
        of_mixed = loss_of(mixed, y_encoded[test])
        if decide_by == "accuracy":
            student_loss, student_training = (wrong.astype(float) for wrong in student.is_wrong)
            teacher_loss, teacher_training = (wrong.astype(float) for wrong in teacher.is_wrong)
            if s is None:  # the mixture is the labels of the teacher
                of_mixed = teacher_loss
        else:
            student_loss, teacher_loss = (loss_of(proba, y_encoded[test]) for proba in (s, q))
            student_training, teacher_training = (
                loss_of(proba, y_encoded[train]) for proba in (s_training, q_training)
            )
        losses.append(
            FoldLosses(student_loss, teacher_loss, of_mixed, student_training, teacher_training)
        )
    return losses


def with_distilled_students(losses, fits, folds, data, *, decide_by):
    """Return the losses of the rows of each fold with those of distilled students.

    Parameters
    ----------
    losses : list of FoldLosses
    fits : list of FoldFit
        Of a `DistilledClassifier` in each fold.
    folds : list of (train, test)
    data : CrossValidationRows
    decide_by : {"log_loss", "accuracy"}

    Returns
    -------
    list of FoldLosses
    """
    complete = []
    for each, fit, (_, test) in zip(losses, fits, folds, strict=True):
        if decide_by == "accuracy":
            loss = fit.is_wrong[0].astype(float)
        else:
            codes = np.searchsorted(fit.classes, data.classes)[data.y_encoded[test]]
            loss = log_losses(fit.values[0], codes)
        complete.append(each._replace(distilled=loss))
    return complete


def fit_distilled(model, data, fold, fit_params, decide_by, fold_number=None):
    """Fit a `DistilledClassifier` as `fit_and_predict` does, without warnings about its labels."""
    with warnings.catch_warnings():
        # they are the concern of those who distill, and one of each fold says nothing more
        for category in LABEL_WARNINGS:
            warnings.simplefilter("ignore", category)
        return fit_and_predict("distilled", model, data, fold, fit_params, decide_by, fold_number)


def _aligned(fit, classes, fill):
    """Return the values of a `FoldFit` in the columns of ``classes``."""
    return [
        None if values is None else align_columns(values, fit.classes, classes, fill=fill)
        for values in fit.values
    ]


def _error_rates(proba, y_encoded):
    return (proba.argmax(axis=1) != y_encoded).astype(np.float64)


def _predictions_on_other_folds(number, folds, teacher_values, y_encoded, weight):
    """Return the teachers' values, labels and weights of rows that a fold does not test.

    The values are those of the teachers that have not seen the row. Calibration is fitted to
    them, so that it does not depend on the rows that it is tested on.
    """
    others = [other for other in range(len(folds)) if other != number]
    rows = np.concatenate([folds[other][1] for other in others])
    values = np.concatenate([teacher_values[other][0] for other in others])
    is_elsewhere = ~np.isin(rows, folds[number][1])  # repeated folds share rows
    rows = rows[is_elsewhere]
    return values[is_elsewhere], y_encoded[rows], weight[rows]


def _teacher_labels(is_proba, values, unseen, calibrate):
    """Return the teacher's probabilities of test and training rows, and its labels of the former.

    Parameters
    ----------
    is_proba : bool
        Whether the values are probabilities, not decision values.
    values : pair of ndarray of shape (n_rows, n_classes)
        Of the test and of the training rows.
    unseen : tuple
        Values, encoded labels and weights that calibration is fitted to.
    calibrate : bool
        Whether labels are calibrated by a temperature, if the values are probabilities.

    Returns
    -------
    q, q_training, labels : ndarray of shape (n_rows, n_classes)
    """
    unseen_values, *labels_and_weights = unseen
    if not is_proba:
        calibration = fit_decision_value_calibration(unseen_values, *labels_and_weights)
        q, q_training = (apply_decision_value_calibration(each, *calibration) for each in values)
        return q, q_training, q
    q, q_training = (fill_missing_classes(each) for each in values)
    known = ~np.isnan(unseen_values).all(axis=0)  # classes that a teacher knows
    temperature = None
    if calibrate:
        unseen_values = fill_missing_classes(unseen_values)
        temperature = fit_teacher_temperature(unseen_values, *labels_and_weights, known)
    return q, q_training, apply_teacher_temperature(q, temperature, known)


def row_losses(losses, name, folds, n_samples):
    """Return the mean loss of each row over folds.

    Parameters
    ----------
    losses : list of FoldLosses
    name : str
        Field of `FoldLosses`. Losses on training rows are averaged over the folds that train on
        the row, others over those that test it.
    folds : list of (train, test)
    n_samples : int

    Returns
    -------
    ndarray of shape (n_samples,)
        NaN for a row without such a fold.
    """
    total, n_folds = np.zeros(n_samples), np.zeros(n_samples)
    for loss, (train, test) in zip(losses, folds, strict=True):
        part = train if name.endswith("training") else test
        total[part] += getattr(loss, name)
        n_folds[part] += 1
    return np.divide(total, n_folds, out=np.full(n_samples, np.nan), where=n_folds > 0)


def mean_loss(losses, name, folds, weight):
    """Return the weighted mean of `row_losses`."""
    values = row_losses(losses, name, folds, len(weight))
    tested = ~np.isnan(values)
    return float(np.average(values[tested], weights=weight[tested]))

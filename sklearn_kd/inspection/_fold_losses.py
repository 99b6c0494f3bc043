"""Losses of a teacher and a student, fitted to hard labels, on the rows of folds: `should_distill`.

Row by row, for differences are paired.
"""

import time
from numbers import Integral
from typing import NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import StratifiedGroupKFold

from sklearn_kd._distillation.teacher_response import (
    fill_missing_classes,
    teacher_predictions,
)
from sklearn_kd._utils.calibration import (
    apply_decision_value_calibration,
    apply_teacher_temperature,
    fit_decision_value_calibration,
    fit_teacher_temperature,
)
from sklearn_kd._utils.folds import stratified_folds, user_folds
from sklearn_kd._utils.labels import align_columns, merge_classes
from sklearn_kd._utils.sklearn_compat import check_method_params, routing_enabled, safe_indexing
from sklearn_kd._utils.sub_estimators import last_step, route_fit, step_parameter
from sklearn_kd._utils.validation import PREDICTED_ROW_SUM_TOLERANCE, check_probabilities

__all__ = [
    "FoldLosses",
    "by_row",
    "checked_folds",
    "fit_and_answer",
    "fit_params_of",
    "fold_losses",
    "mean_by_row",
]


def checked_folds(cv, X, y, y_encoded, classes, groups, rows, n_given, seed):
    """Training and test rows of each fold, each training part with every class."""
    is_number = isinstance(cv, Integral) and not isinstance(cv, bool)
    if is_number and cv < 2:
        raise ValueError(f"cv must be at least 2 folds, got {cv}.")
    if is_number and groups is None:
        folds = stratified_folds(y_encoded, int(cv), seed)
    else:
        if is_number:
            cv = StratifiedGroupKFold(int(cv), shuffle=True, random_state=seed)
        split_params = {} if groups is None else {"groups": groups}
        folds = user_folds(cv, X, y, rows, n_given, split_params)
    folds = [(train, test) for train, test in folds if len(test)]
    if len(folds) < 2:
        raise ValueError(
            f"cv gives {len(folds)} folds with rows to test; at least two are needed, and two "
            "rows of a class."
        )
    tested = np.unique(np.concatenate([test for _, test in folds]))
    for number, (train, test) in enumerate(folds):
        if len(np.setdiff1d(tested, test)) == 0:
            raise ValueError(
                f"fold {number} of cv tests all rows that are tested at all; let others test more."
            )
        missing = np.setdiff1d(np.arange(len(classes)), y_encoded[train])
        if len(missing):
            raise ValueError(
                f"the training part of fold {number} lacks the classes "
                f"{classes[missing].tolist()}, so that no model could know them: give a number of "
                "folds as cv, without groups, or leave rows of rare classes out."
            )
    return folds


def fit_params_of(distiller, teacher, student, frozen, weight):
    """Metadata for the fits, routed as `DistilledClassifier` does."""
    params = route_fit(distiller, None if frozen else teacher, student, weight, {})
    if not routing_enabled():
        given = params["student"]
        params["student"] = {step_parameter(student, name): given[name] for name in given}
    return params


class Fit(NamedTuple):
    """What a model answered for test and training rows of a fold."""

    classes: np.ndarray
    values: tuple  # (n_rows, n_classes) each, or None
    wrong: tuple  # labels predicted wrong, where accuracy decides
    is_proba: bool
    has_loo: bool
    seconds: float


def fit_and_answer(role, model, X, y, classes, fold, fit_params, decide_by, say):
    """Fit a clone on the training rows of a fold, and have it answer for these and the others.

    Parameters
    ----------
    role : {"teacher", "student"}
    model : estimator
    classes : ndarray of shape (n_classes,)
        Sorted labels of y.
    fold : tuple
        Training and test rows.
    decide_by : as in `should_distill`
    say : int or None
        Number of the fold, to be printed.

    Returns
    -------
    Fit
    """
    train, test = fold
    model = clone(model)
    start = time.perf_counter()
    fit_params = check_method_params(X, params=fit_params, indices=train)
    model.fit(safe_indexing(X, train), y[train], **fit_params)
    seconds = time.perf_counter() - start
    name = type(last_step(model)).__name__
    if say is not None:
        print(f"[should_distill] fold {say}, {role} {name}, {seconds:.1f} s")
    # a net that was told its classes may know more of them
    known = merge_classes(classes, model) if hasattr(model, "classes_") else classes
    parts = [safe_indexing(X, part) for part in (test, train)]
    wrong, values, is_proba = (), (None, None), True
    if decide_by == "accuracy":
        labels = [np.asarray(model.predict(part)).reshape(-1) for part in parts]
        wrong = tuple(label != y[part] for label, part in zip(labels, (test, train), strict=True))
    if role == "teacher":
        answers = [teacher_predictions(model, part, known) for part in parts]
        values, is_proba = tuple(values for values, _ in answers), answers[0][1]
    elif hasattr(model, "predict_proba"):
        values = tuple(np.asarray(model.predict_proba(part)) for part in parts)
        what = f"predict_proba of the student {name}"
        for proba in values:
            check_probabilities(proba, what, PREDICTED_ROW_SUM_TOLERANCE)
        own = getattr(model, "classes_", classes)
        values = tuple(align_columns(proba, own, known) for proba in values)
    elif decide_by == "log_loss":
        raise TypeError(
            f'the student {name} has no predict_proba, which decide_by="log_loss" needs: pass '
            'decide_by="accuracy".'
        )
    has_loo = hasattr(model, "loo_proba_")
    return Fit(known, values, wrong, is_proba, has_loo, seconds)


class FoldLosses(NamedTuple):
    """Losses of the rows of a fold: held out, of labels mixed of both, and in training."""

    student: np.ndarray
    teacher: np.ndarray
    mixed: np.ndarray
    student_training: np.ndarray
    teacher_training: np.ndarray


def fold_losses(fits, folds, classes, y_encoded, weight, decide_by, alpha, calibrate):
    """Return the losses of each fold; `fits` are lists by role."""
    every = classes
    for fit in fits["student"] + fits["teacher"]:
        every = np.union1d(every, fit.classes)
    y_encoded = np.searchsorted(every, classes)[y_encoded]

    def aligned(fit, fill):
        return [
            None if values is None else align_columns(values, fit.classes, every, fill=fill)
            for values in fit.values
        ]

    def loss_of(proba, part):
        if decide_by == "accuracy":
            return (proba.argmax(axis=1) != y_encoded[part]).astype(np.float64)
        own = proba[np.arange(len(part)), y_encoded[part]].astype(np.float64)
        return -np.log(np.maximum(own, np.finfo(np.float64).eps))

    answers = [aligned(fit, np.nan) for fit in fits["teacher"]]
    losses = []
    for number, (train, test) in enumerate(folds):
        student, teacher = fits["student"][number], fits["teacher"][number]
        q, q_training = answers[number]
        # maps are fitted on other folds, which have nothing to do with the scores of this one
        others = [other for other in range(len(folds)) if other != number]
        of_others = np.concatenate([folds[other][1] for other in others])
        apart = ~np.isin(of_others, test)  # repeated folds share rows
        known = np.concatenate([answers[other][0] for other in others])[apart]
        given = y_encoded[of_others[apart]], weight[of_others[apart]]
        if teacher.is_proba:
            q, q_training = fill_missing_classes(q), fill_missing_classes(q_training)
            seen = ~np.isnan(known).all(axis=0)  # classes that the teachers know
            T = (
                fit_teacher_temperature(fill_missing_classes(known), *given, seen)
                if calibrate
                else None
            )
            labels = apply_teacher_temperature(q, T, seen)
        else:
            decision_calibration = fit_decision_value_calibration(known, *given)
            q, q_training = (
                apply_decision_value_calibration(each, *decision_calibration)
                for each in (q, q_training)
            )
            labels = q
        s, s_training = aligned(student, 0.0)
        mixed = labels if s is None else (1 - alpha) * s + alpha * labels
        if decide_by == "accuracy":
            own = [np.asarray(wrong, float) for fit in (student, teacher) for wrong in fit.wrong]
            # labels alone: what the teacher has to offer is its own
            of_mixed = own[2] if s is None else loss_of(mixed, test)
            losses.append(FoldLosses(own[0], own[2], of_mixed, own[1], own[3]))
        else:
            losses.append(
                FoldLosses(
                    loss_of(s, test),
                    loss_of(q, test),
                    loss_of(mixed, test),
                    loss_of(s_training, train),
                    loss_of(q_training, train),
                )
            )
    return losses


def by_row(losses, name, folds, n_samples):
    """Mean loss of each row over the folds that test it, or train on it; NaN for no such fold."""
    total, times = np.zeros(n_samples), np.zeros(n_samples)
    for loss, (train, test) in zip(losses, folds, strict=True):
        part = train if name.endswith("training") else test
        total[part] += getattr(loss, name)
        times[part] += 1
    return np.divide(total, times, out=np.full(n_samples, np.nan), where=times > 0)


def mean_by_row(losses, name, folds, weight):
    """Weighted mean of `by_row`."""
    values = by_row(losses, name, folds, len(weight))
    tested = ~np.isnan(values)
    return float(np.average(values[tested], weights=weight[tested]))

"""Cross-validated losses of a teacher and a student that are both fitted to hard labels.

Used by :func:`sklearn_kd.inspection.should_distill`. The losses are those of single rows, since
they are compared in pairs.
"""

import warnings
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import StratifiedGroupKFold

from sklearn_kd._utils.cross_fit import timed_fit_on_rows
from sklearn_kd._utils.folds import (
    group_split_params,
    stratified_folds,
    user_folds,
    warn_if_groups_are_divided,
)
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
    y : ndarray of shape (n_samples,) or (n_samples, n_targets)
        Labels or numbers.
    strata : ndarray of int of shape (n_samples,)
        Code of the class of each row, zeros for numbers.
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
    strata: np.ndarray
    weight: np.ndarray
    groups: np.ndarray | None
    original_rows: np.ndarray
    n_given: int


def checked_folds(cv, data, seed, answers):
    """Return the training and test rows of each fold.

    Parameters
    ----------
    cv : int, splitter or iterable of splits
    data : CrossValidationRows
    seed : int
        Seed of the folds if ``cv`` is a number.
    answers : ClassAnswers or NumberAnswers

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
        folds = stratified_folds(data.strata, int(cv), seed)
    else:
        if is_number:
            cv = StratifiedGroupKFold(int(cv), shuffle=True, random_state=seed)
        split_params = group_split_params(cv, data.groups, {})
        y = data.strata if is_number else data.y
        folds = user_folds(cv, data.X, y, data.original_rows, data.n_given, split_params)
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
        answers.check_training_part(number, data.y[train], data.y)
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
    """A model that was fitted on the training rows of a fold, and then predicted them."""

    #: Predictions of the test rows and of the training rows, as `ClassLosses` or `NumberLosses`
    #: makes them.
    predicted: Any
    #: Whether the model has out-of-sample predictions of its training rows.
    has_own_labels: bool
    #: Duration of fit.
    seconds: float


def fit_and_predict(models, data, fit_params, losses_of, role, fold, fold_number=None):
    """Fit a clone on the training rows of a fold, and predict its test and training rows.

    Parameters
    ----------
    models : dict of estimator
        By role.
    data : CrossValidationRows
    fit_params : dict of dict
        Metadata for fit by role, of all rows.
    losses_of : ClassLosses or NumberLosses
    role : {"teacher", "student", "distilled"}
    fold : tuple
        Training and test rows.
    fold_number : int, default=None
        Number of the fold in the line that is printed. None: nothing is printed.

    Returns
    -------
    FoldFit
    """
    train, test = fold
    model, params = clone(models[role]), fit_params[role]
    model, seconds = timed_fit_on_rows(model, data.X, data.y, train, params)
    if fold_number is not None:
        name = type(last_step(model)).__name__
        print(f"[should_distill] fold {fold_number}, {role} {name}, {seconds:.1f} s")
    parts = [safe_indexing(data.X, part) for part in (test, train)]
    predicted = losses_of.predict(role, model, parts, (test, train))
    return FoldFit(predicted, hasattr(model, losses_of.own_labels), seconds)


class FoldLosses(NamedTuple):
    """Losses of single rows in one fold, each of shape (n_test,) or (n_train,)."""

    #: Of the student on the test rows.
    student: np.ndarray
    #: Of the teacher on the test rows.
    teacher: np.ndarray
    #: Of a mixture of the student's predictions and the teacher's labels, on the test rows.
    mixed: np.ndarray
    #: Of the student on the training rows.
    student_training: np.ndarray
    #: Of the teacher on the training rows.
    teacher_training: np.ndarray
    #: Of the student that was fitted to the teacher's labels, on the test rows. None: none was.
    distilled: np.ndarray | None = None


def with_distilled_students(losses, fits, folds, losses_of):
    """Return the losses of the rows of each fold with those of distilled students.

    Parameters
    ----------
    losses : list of FoldLosses
    fits : list of FoldFit
        Of a distiller in each fold.
    folds : list of (train, test)
    losses_of : ClassLosses or NumberLosses

    Returns
    -------
    list of FoldLosses
    """
    return [
        each._replace(distilled=losses_of.of_test_rows(fit.predicted, test))
        for each, fit, (_, test) in zip(losses, fits, folds, strict=True)
    ]


def fit_distilled(*arguments):
    """Fit a distiller as `fit_and_predict` does, without warnings about its labels."""
    with warnings.catch_warnings():
        # they are the concern of those who distill, and one of each fold says nothing more
        for category in LABEL_WARNINGS:
            warnings.simplefilter("ignore", category)
        return fit_and_predict(*arguments)


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

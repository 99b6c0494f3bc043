"""A teacher's probabilities for rows: out of fold, out of bag, leave-one-out or in-sample."""

import functools
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from sklearn_kd._distillation.teacher_response import (
    _as_probabilities,
    _warn_missing,
    _warn_missing_in_folds,
    check_teacher_proba,
    fill_missing_classes,
    teacher_predictions,
)
from sklearn_kd._utils.calibration import (
    apply_decision_value_calibration,
    apply_teacher_temperature,
    fit_teacher_temperature,
)
from sklearn_kd._utils.cross_fit import cross_fit, fit_on_rows
from sklearn_kd._utils.folds import stratified_folds
from sklearn_kd._utils.labels import align_columns, encode_labels, known_classes, merge_classes
from sklearn_kd._utils.sklearn_compat import safe_indexing
from sklearn_kd._utils.sub_estimators import last_step
from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd.exceptions import InSampleLabelsWarning, MissingClassWarning, UntestedRowsWarning

__all__ = ["TeacherLabels", "enable_oob_score", "label_rows"]


@dataclass
class TeacherLabels:
    """What the rows were labeled with, and by what."""

    proba: np.ndarray | None
    classes: np.ndarray
    source: str
    teacher: Any
    #: ``(slope, offsets)`` where the teacher only has decision values.
    decision_calibration: tuple | None = None
    #: What its probabilities are calibrated by, or None; see `apply_teacher_temperature`.
    temperature: float | None = None

    def predict_labels(self, X, *, calibrated=True):
        """Probabilities of the fitted teacher for rows it was not fitted on."""
        values, is_proba = teacher_predictions(self.teacher, X, self.classes)
        if not is_proba:
            return apply_decision_value_calibration(values, *self.decision_calibration)
        return apply_teacher_temperature(
            fill_missing_classes(values), self.temperature if calibrated else None, self._known
        )

    @property
    def _known(self):
        """Which classes the teacher knows."""
        return np.isin(self.classes, known_classes(self.teacher))

    def calibrate(self, y_encoded, weight, unseen):
        """Calibrate the labels of rows that the teacher had not been fitted on, in place."""
        if self.decision_calibration is None and unseen.any():
            self.proba = np.array(self.proba)
            P, known = self.proba[unseen], self._known
            self.temperature = fit_teacher_temperature(P, y_encoded[unseen], weight[unseen], known)
            self.proba[unseen] = apply_teacher_temperature(P, self.temperature, known)


def label_rows(
    teacher,
    X,
    y,
    classes,
    *,
    cv,
    sample_weight=None,
    fit_params,
    folds=None,
    n_jobs,
    seed,
    propagate,
    calibrate=False,
    needs_labels=True,
):
    """Fit the teacher on all rows and give each row its probabilities.

    Parameters
    ----------
    teacher : estimator
        Cloned, unless frozen.
    X, y : the rows
    classes : ndarray of shape (n_classes,)
        Sorted labels; those of the result are their union with the teacher's.
    cv : as in :class:`~sklearn_kd.DistilledClassifier`
        Where it is no text, ``folds`` are those of it.
    sample_weight : ndarray of shape (n_samples,) or None
        For the calibration of decision values; the teacher's own are in ``fit_params``.
    fit_params : dict
        Metadata for the teacher's ``fit``.
    folds : list of (train, test), optional
        Of these rows.
    n_jobs, seed : int or None, int
    propagate : callable
        Context manager around the fit on all rows, called with the estimator or None.
    calibrate : bool
        Calibrate out-of-sample probabilities (not those of a frozen teacher: which rows it has
        seen is unknown).
    needs_labels : bool
        False: fit only, to label other rows. ``proba`` of the result may be None.

    Returns
    -------
    TeacherLabels
    """
    weight = np.ones(len(y)) if sample_weight is None else sample_weight
    fixed = isinstance(teacher, FrozenEstimator)
    # the steps before it are fitted here, the rows that it was fitted on are as unknown
    frozen = isinstance(last_step(teacher), FrozenEstimator)
    fitted = clone(teacher)
    has_oob = not frozen and isinstance(cv, str) and cv == "auto" and enable_oob_score(fitted)
    with propagate(None if fixed else fitted), warnings.catch_warnings():
        if has_oob:  # rows that were never out of bag are cross-fitted below
            warnings.filterwarnings("ignore", "Some inputs do not have OOB scores")
            warnings.filterwarnings("ignore", "invalid value encountered in", RuntimeWarning)
        if not fixed:
            fitted.fit(X, y, **fit_params)
    # a frozen teacher, or a net that was told its classes, may know more of them than y has
    classes = merge_classes(classes, fitted)
    if not needs_labels and hasattr(fitted, "predict_proba"):
        return TeacherLabels(None, classes, "given", fitted)
    _, y_encoded = encode_labels(y, classes)

    def done(values, is_proba, row_of, source):
        proba, decision_calibration = _as_probabilities(
            values, is_proba, y_encoded[row_of], weight[row_of]
        )
        return TeacherLabels(proba, classes, source, fitted, decision_calibration)

    everything = np.arange(len(y_encoded))
    if frozen or (isinstance(cv, str) and cv == "in-sample"):
        values, is_proba = teacher_predictions(fitted, X, classes)
        _warn_missing(values, classes, "the frozen teacher" if frozen else "the teacher")
        labels = done(values, is_proba, everything, "frozen" if frozen else "in-sample")
        if not frozen:
            _warn_if_memorized(
                teacher, X, y, y_encoded, classes, weight, fit_params, labels.proba, seed
            )
        return labels

    own, source = None, "cv"
    if isinstance(cv, str):
        if hasattr(fitted, "loo_proba_"):
            own, source = fitted.loo_proba_, "loo"
        elif has_oob and hasattr(fitted, "oob_decision_function_"):
            own, source = fitted.oob_decision_function_, "oob"
    wanted = np.ones(len(y_encoded), dtype=bool)
    if own is not None:
        own = np.array(own, dtype=np.float64)  # a copy: rows of it are replaced
        wanted = ~(np.isfinite(own).all(axis=1) & (own.sum(axis=1) > 0))
        own[wanted] = 0.0
        own = align_columns(own, known_classes(fitted), classes)

    proba = np.eye(len(classes))[y_encoded]  # rows that no fold tests keep their hard labels
    unseen, decision_calibration = ~wanted, None
    if wanted.any():
        if isinstance(cv, str):
            folds = stratified_folds(y_encoded, 5, seed)
            _warn_single_rows(y_encoded, classes, wanted)
        else:
            _check_tested(folds, len(y_encoded))
        folds = [(train, test[wanted[test]]) for train, test in folds]
        folds = [(train, test) for train, test in folds if len(test)]
        answers = cross_fit(
            teacher,
            X,
            y,
            folds,
            functools.partial(teacher_predictions, classes=classes),
            fit_params=fit_params,
            n_jobs=n_jobs,
        )
        if answers:
            values = np.concatenate([answer for answer, _ in answers])
            row_of = np.concatenate([test for _, test in folds])
            _warn_missing_in_folds([answer for answer, _ in answers], classes)
            folded = done(values, answers[0][1], row_of, source)
            decision_calibration = folded.decision_calibration
            times = np.bincount(row_of, minlength=len(y_encoded))
            total = np.zeros_like(proba)
            np.add.at(total, row_of, folded.proba)
            proba[times > 0] = total[times > 0] / times[times > 0, None]
            unseen |= times > 0
    if own is not None:
        proba[~wanted] = check_teacher_proba(own[~wanted], fitted)
    if decision_calibration is None and not hasattr(fitted, "predict_proba"):
        # nothing was cross-fitted; rows to come are labeled by a map of the training values
        decision_calibration = done(
            *teacher_predictions(fitted, X, classes), everything, source
        ).decision_calibration
    labels = TeacherLabels(proba, classes, source, fitted, decision_calibration)
    if calibrate:
        labels.calibrate(y_encoded, weight, unseen)
    return labels


def _check_tested(folds, n_samples):
    """Refuse folds that test no row, and warn where they test few."""
    share = len(np.unique(np.concatenate([[], *(test for _, test in folds)]))) / n_samples
    if share == 0:
        raise ValueError(
            "cv tests no row, so that every row would keep its hard label: give folds that "
            "test each row, or cv='auto'."
        )
    if share < 0.5:
        warn_caller(
            f"the folds of cv test {share:.0%} of the rows; the others keep their hard labels. "
            "Give folds that test each row, or cv='auto'.",
            UntestedRowsWarning,
        )


def enable_oob_score(teacher):
    """Ask an unfitted bagging teacher for its out-of-bag labels; False where it has none."""
    params = teacher.get_params(deep=False)
    if not {"oob_score", "bootstrap"} <= params.keys() or not params["bootstrap"]:
        return False
    if params.get("warm_start"):  # out-of-bag labels are then an error in scikit-learn
        return False
    if not params["oob_score"]:  # it may be a callable, which is kept
        teacher.set_params(oob_score=True)
    return True


def _warn_single_rows(y_encoded, classes, wanted):
    counts = np.bincount(y_encoded, minlength=len(classes))
    single = np.unique(y_encoded[wanted & (counts[y_encoded] == 1)])
    if len(single):
        warn_caller(
            f"the classes {classes[single].tolist()} have one row each: a teacher that labels it "
            "without having been fitted on it cannot know its class. Those rows keep their hard "
            "labels.",
            MissingClassWarning,
        )


def _warn_if_memorized(teacher, X, y, y_encoded, classes, weight, fit_params, proba, seed):
    """Warn where in-sample labels are the hard ones over again, or far too sure of themselves.

    The first needs no more than a look. For the second, where the teacher reproduces nine labels
    in ten, it is fitted once more without a fifth of the rows, and warned about where its Brier
    score on that fifth is more than four times the one on the rows it was fitted on. On four
    tables, with default settings, that ratio was 3 to 13 for a forest (in theory 7 in large
    samples: a tree has seen 63 % of the rows) and 1 to 3 for logistic regression, 5 and 11 where
    that reproduced every label.
    """

    def brier(P, rows):
        return np.average(
            ((P - np.eye(len(classes))[y_encoded[rows]]) ** 2).sum(axis=1), weights=weight[rows]
        )

    everything = np.arange(len(y_encoded))
    wrong = 1 - np.average(proba[everything, y_encoded], weights=weight)
    if wrong < 0.01:
        reason = f"their mean distance from the hard labels is {wrong:.2g}"
    else:
        correct = np.average(proba.argmax(axis=1) == y_encoded, weights=weight)
        folds = stratified_folds(y_encoded, 5, seed)
        if correct < 0.9 or not folds:
            return
        train, test = folds[0]
        values, is_proba = teacher_predictions(
            fit_on_rows(clone(teacher), X, y, train, fit_params), safe_indexing(X, test), classes
        )
        honest, _ = _as_probabilities(values, is_proba, y_encoded[test], weight[test])
        inside, outside = brier(proba, everything), brier(honest, test)
        if outside <= 4 * inside:
            return
        reason = (
            f"their Brier score is {inside:.3g}, but {outside:.3g} on a fifth of the rows that the "
            "teacher was not fitted on"
        )
    warn_caller(
        f"the teacher has memorized the rows it labels ({reason}), so that its labels say little "
        "more than y. Use cv='auto' for labels by teachers that have not seen the row.",
        InSampleLabelsWarning,
    )

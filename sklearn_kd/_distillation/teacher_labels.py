"""Soft labels of training rows: leave-one-out, out-of-bag, cross-fitted, in-sample or frozen."""

import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.parallel import Parallel, delayed

from sklearn_kd._distillation.teacher_response import (
    as_probabilities,
    fill_missing_classes,
    teacher_predictions,
    warn_if_classes_missing,
    warn_if_classes_missing_in_folds,
)
from sklearn_kd._utils.calibration import (
    apply_decision_value_calibration,
    apply_teacher_temperature,
    fit_teacher_temperature,
)
from sklearn_kd._utils.callbacks import StageLines, begin_subtask
from sklearn_kd._utils.cross_fit import fit_on_rows
from sklearn_kd._utils.encoded_labels import fit_on_labels
from sklearn_kd._utils.folds import stratified_folds
from sklearn_kd._utils.groups import held_out_group_folds
from sklearn_kd._utils.labels import align_columns, encode_labels, known_classes, merge_classes
from sklearn_kd._utils.responses import as_columns, checked_proba
from sklearn_kd._utils.sklearn_compat import safe_indexing
from sklearn_kd._utils.sub_estimators import last_step
from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd.exceptions import InSampleLabelsWarning, MissingClassWarning, UntestedRowsWarning

#: Folds of ``cv="auto"``.
N_CROSS_FITTING_FOLDS = 5
#: Fraction of tested rows below which a warning says that the others keep their hard labels.
MIN_TESTED_FRACTION = 0.5
#: Mean distance of in-sample labels from the hard ones below which they are called memorized.
MIN_DISTANCE_FROM_HARD_LABELS = 0.01
#: In-sample accuracy from which on labels are compared with those of a teacher that has not seen
#: the rows.
MIN_SUSPICIOUS_ACCURACY = 0.9
#: Ratio of the Brier scores out of sample and in sample above which labels are called memorized.
#: On four tables, with default settings, it was 3 to 13 for a forest (in theory 7 in large samples,
#: since a tree has seen 63 % of the rows) and 1 to 3 for logistic regression, but 5 and 11 where
#: that reproduced every label.
MAX_BRIER_RATIO = 4


@dataclass(frozen=True)
class LabelingSpec:
    """How training rows get soft labels.

    Attributes
    ----------
    teacher : estimator or None
        Unfitted, or frozen. None where soft targets of the user are all that is needed.
    classes : ndarray of shape (n_classes,)
        Sorted labels of ``y`` and of soft targets. A teacher may add its own.
    cv : "auto", "in-sample", int, splitter or iterable of splits
        As in :class:`~sklearn_kd.DistilledClassifier`. Unless it is a string, its folds come with
        the rows.
    calibrate : bool
        Whether out-of-sample probabilities are calibrated. Those of a frozen teacher are not, since
        the rows that it has seen are unknown.
    class_weight : dict, "balanced" or None
    seed : int
        Seed of the folds of ``cv="auto"``.
    n_jobs : int or None
        Parallel fits of the teacher.
    X_unlabeled : rows or None
        More rows for the teacher to label.
    keeps_fold_teachers : bool
        Whether the teachers of cross-fitting are kept, to label transfer rows of the groups that
        they have not seen.
    checks_memorization : bool
        Whether a warning is given for in-sample labels of a teacher that memorizes, which may take
        one more fit of the teacher.
    lines : StageLines
        Prints the stages of the fit.
    """

    teacher: Any
    classes: np.ndarray
    cv: Any = "auto"
    calibrate: bool = False
    class_weight: Any = None
    seed: int = 0
    n_jobs: int | None = None
    X_unlabeled: Any = None
    keeps_fold_teachers: bool = False
    checks_memorization: bool = True
    lines: StageLines = field(default_factory=StageLines)

    @property
    def is_frozen(self):
        """Whether the teacher, or the last step of its pipeline, is frozen."""
        return isinstance(last_step(self.teacher), FrozenEstimator)

    def uses(self, name):
        """Return whether ``cv`` is this string."""
        return isinstance(self.cv, str) and self.cv == name


@dataclass(frozen=True)
class TeacherLabels:
    """Soft labels of the training rows, and the teacher that labels others.

    Attributes
    ----------
    proba : ndarray of shape (n_samples, n_classes) or None
        None where labels of these rows were not asked for.
    classes : ndarray of shape (n_classes,)
    source : {"loo", "oob", "cv", "in-sample", "frozen", "given"}
    teacher : estimator
        Fitted on all rows, or frozen.
    decision_calibration : tuple or None
        Slope and offsets for a teacher that has decision values only.
    temperature : float or None
        Temperature that the probabilities are calibrated by, see `apply_teacher_temperature`.
    fold_teachers : list of (estimator, ndarray of int)
        Teachers of cross-fitting, as far as they are kept, and the rows that each has not seen.
    """

    proba: np.ndarray | None
    classes: np.ndarray
    source: str
    teacher: Any
    decision_calibration: tuple | None = None
    temperature: float | None = None
    fold_teachers: list = field(default_factory=list)

    def predict_labels(self, X):
        """Return probabilities of the fitted teacher for rows it was not fitted on."""
        values, is_proba = teacher_predictions(self.teacher, X, self.classes)
        if not is_proba:
            return apply_decision_value_calibration(values, *self.decision_calibration)
        return apply_teacher_temperature(
            fill_missing_classes(values), self.temperature, self._known
        )

    def predict_transfer_labels(self, X, origin):
        """Return probabilities of transfer rows, by teachers that have not seen their origin.

        The teacher fitted on all rows labels those for which no such teacher is kept. ``origin`` is
        None or has the row at which each row started.
        """
        if origin is None or not self.fold_teachers:
            return self.predict_labels(X)
        proba = np.empty((len(origin), len(self.classes)))
        is_labeled = np.zeros(len(origin), dtype=bool)
        for teacher, unseen in [*self.fold_teachers, (self.teacher, origin)]:
            rows = np.flatnonzero(np.isin(origin, unseen) & ~is_labeled)
            if len(rows):
                of_fold = replace(self, teacher=teacher)
                proba[rows] = of_fold.predict_labels(safe_indexing(X, rows))
                is_labeled[rows] = True
        return proba

    @property
    def _known(self):
        """Mask of the classes that the teacher knows."""
        return np.isin(self.classes, known_classes(self.teacher))

    def with_calibration(self, y_encoded, weight, is_out_of_sample):
        """Return labels of which those out of sample are calibrated.

        ``is_out_of_sample`` masks the rows that were labeled by fits without them. Probabilities
        of decision values are calibrated as they are.
        """
        if self.decision_calibration is not None or not is_out_of_sample.any():
            return self
        proba = np.array(self.proba)
        P, known = proba[is_out_of_sample], self._known
        temperature = fit_teacher_temperature(
            P, y_encoded[is_out_of_sample], weight[is_out_of_sample], known
        )
        proba[is_out_of_sample] = apply_teacher_temperature(P, temperature, known)
        return replace(self, proba=proba, temperature=temperature)


@dataclass(frozen=True)
class _FittedTeacher:
    """A teacher fitted on all rows, and these rows as its labels need them."""

    teacher: Any
    has_oob: bool
    classes: np.ndarray
    y_encoded: np.ndarray
    weight: np.ndarray

    def as_probabilities(self, values, is_proba, rows=slice(None)):
        """Return probabilities of some rows, and the calibration of their decision values."""
        return as_probabilities(values, is_proba, self.y_encoded[rows], self.weight[rows])


def label_rows(spec, rows, *, needs_labels=True, subtask=None):
    """Fit the teacher on all rows and give each row its probabilities.

    Parameters
    ----------
    spec : LabelingSpec
    rows : TrainingRows
    needs_labels : bool, default=True
        False fits the teacher to label other rows. ``proba`` of the result may then be None.
    subtask : Subtask, default=None
        Subtask of the callbacks that the fit on all rows belongs to.

    Returns
    -------
    TeacherLabels
    """
    teacher, has_oob = _fit_teacher(spec, rows, subtask)
    # a frozen teacher, or a network whose classes were given, may know more of them than y has
    classes = merge_classes(spec.classes, teacher)
    if not needs_labels and hasattr(teacher, "predict_proba"):
        return TeacherLabels(None, classes, "given", teacher)
    _, y_encoded = encode_labels(rows.y, classes)
    fitted = _FittedTeacher(teacher, has_oob, classes, y_encoded, rows.weight_or_ones)
    if spec.is_frozen or spec.uses("in-sample"):
        return _in_sample_labels(spec, rows, fitted)
    return _out_of_sample_labels(spec, rows, fitted)


def _fit_teacher(spec, rows, subtask):
    """Return a fitted clone of the teacher, and whether it was asked for out-of-bag labels."""
    # a frozen last step is used as it is, and the steps before it are fitted
    is_fixed = isinstance(spec.teacher, FrozenEstimator)
    teacher = clone(spec.teacher)
    has_own_labels = spec.uses("auto") and rows.groups is None
    has_oob = not spec.is_frozen and has_own_labels and enable_oob_score(teacher)
    with begin_subtask(subtask, None if is_fixed else teacher), warnings.catch_warnings():
        if has_oob:  # rows that were never out of bag are cross-fitted
            warnings.filterwarnings("ignore", "Some inputs do not have OOB scores")
            warnings.filterwarnings("ignore", "invalid value encountered in", RuntimeWarning)
        if not is_fixed:
            teacher = fit_on_labels(teacher, rows.X, rows.y, rows.params["teacher"])
    return teacher, has_oob


def enable_oob_score(teacher):
    """Switch on the out-of-bag labels of an unfitted teacher, or return False if it has none."""
    params = teacher.get_params(deep=False)
    if not {"oob_score", "bootstrap"} <= params.keys() or not params["bootstrap"]:
        return False
    if params.get("warm_start"):  # out-of-bag labels are then an error in scikit-learn
        return False
    if not params["oob_score"]:  # it may be a callable, which is kept
        teacher.set_params(oob_score=True)
    return True


def _in_sample_labels(spec, rows, fitted):
    """Label rows by the teacher fitted on them, or by a frozen teacher."""
    source, who = (
        ("frozen", "the frozen teacher") if spec.is_frozen else ("in-sample", "the teacher")
    )
    values, is_proba = teacher_predictions(fitted.teacher, rows.X, fitted.classes)
    warn_if_classes_missing(values, fitted.classes, who)
    proba, decision_calibration = fitted.as_probabilities(values, is_proba)
    if spec.checks_memorization and not spec.is_frozen:
        _warn_if_memorized(spec, rows, fitted, proba)
    return TeacherLabels(proba, fitted.classes, source, fitted.teacher, decision_calibration)


def _out_of_sample_labels(spec, rows, fitted):
    """Label each row by fits that have not seen it: the teacher's own, then cross-fitting."""
    own, source = _own_predictions(spec, rows, fitted)
    missing = np.isnan(own).any(axis=1)
    proba = np.eye(len(fitted.classes))[fitted.y_encoded]  # rows that no fold tests keep these
    proba[~missing] = own[~missing]
    is_out_of_sample, decision_calibration, fold_teachers = ~missing, None, []
    if missing.any():
        crossed, is_tested, decision_calibration, fold_teachers = _cross_fitted_labels(
            spec, rows, fitted, missing
        )
        proba[is_tested] = crossed[is_tested]
        is_out_of_sample |= is_tested
    if decision_calibration is None and not hasattr(fitted.teacher, "predict_proba"):
        # nothing was cross-fitted: other rows are labeled by a calibration on the training rows
        predictions = teacher_predictions(fitted.teacher, rows.X, fitted.classes)
        _, decision_calibration = fitted.as_probabilities(*predictions)
    labels = TeacherLabels(
        proba,
        fitted.classes,
        source,
        fitted.teacher,
        decision_calibration,
        fold_teachers=fold_teachers,
    )
    if spec.calibrate:
        labels = labels.with_calibration(fitted.y_encoded, fitted.weight, is_out_of_sample)
    return labels


def _own_predictions(spec, rows, fitted):
    """Return the teacher's leave-one-out or out-of-bag probabilities, and which they are.

    Rows for which it has none are NaN: all of them, with the source "cv", for most teachers, and
    if rows belong to groups, since the teacher has then seen others of the group.
    """
    teacher, attribute, n_samples = fitted.teacher, None, len(fitted.y_encoded)
    if isinstance(spec.cv, str) and rows.groups is None:
        if hasattr(teacher, "loo_proba_"):
            attribute, source = "loo_proba_", "loo"
        elif fitted.has_oob and hasattr(teacher, "oob_decision_function_"):
            attribute, source = "oob_decision_function_", "oob"
    if attribute is None:
        return np.full((n_samples, len(fitted.classes)), np.nan), "cv"
    known, name = known_classes(teacher), f"{attribute} of the teacher {type(teacher).__name__}"
    own = as_columns(getattr(teacher, attribute), n_samples, known, name, np.float64)
    own = np.array(align_columns(own, known, fitted.classes))  # a copy: rows of it are replaced
    labeled = np.isfinite(own).all(axis=1) & (own.sum(axis=1) > 0)
    proba = checked_proba(own[labeled], name)
    own[labeled] = proba / proba.sum(axis=1, keepdims=True)
    own[~labeled] = np.nan
    return own, source


def _cross_fitted_labels(spec, rows, fitted, wanted):
    """Label the rows in the mask ``wanted`` by teachers fitted on the training rows of folds.

    Returns
    -------
    proba : ndarray of shape (n_samples, n_classes)
        Mean over the folds that test a row, zeros where none does.
    is_tested : ndarray of bool of shape (n_samples,)
    decision_calibration : tuple or None
    fold_teachers : list of (estimator, ndarray of int)
        Those to be kept, with the rows that each tests.
    """
    n_samples, folds = len(rows), cross_fitting_folds(spec, rows)
    if not isinstance(spec.cv, str):
        _check_tested_rows(folds, n_samples)
    elif rows.groups is None:
        _warn_if_single_rows(fitted, wanted)
    folds = [(train, test[wanted[test]]) for train, test in folds]
    folds = [(train, test) for train, test in folds if len(test)]
    proba = np.zeros((n_samples, len(fitted.classes)))
    if not folds:
        return proba, np.zeros(n_samples, dtype=bool), None, []
    predictions = Parallel(n_jobs=spec.n_jobs)(
        # not the spec, whose unlabeled rows would be copied into each worker
        delayed(_fit_and_predict)(
            clone(spec.teacher), rows, fold, fitted.classes, keeps_teacher=spec.keeps_fold_teachers
        )
        for fold in folds
    )
    values = [values for values, *_ in predictions]
    tested = np.concatenate([test for _, test in folds])
    warn_if_classes_missing_in_folds(values, fitted.classes)
    of_tests, decision_calibration = fitted.as_probabilities(
        np.concatenate(values), predictions[0][1], tested
    )
    n_tests = np.bincount(tested, minlength=n_samples)
    np.add.at(proba, tested, of_tests)
    is_tested = n_tests > 0
    proba[is_tested] /= n_tests[is_tested, None]
    kept = [
        (teacher, test)
        for (*_, teacher), (_, test) in zip(predictions, folds, strict=True)
        if teacher is not None
    ]
    return proba, is_tested, decision_calibration, kept


def cross_fitting_folds(spec, rows):
    """Return the training and test rows of each fold that labels rows out of sample.

    Those of ``cv="auto"`` keep groups together and train on every class.
    """
    if not isinstance(spec.cv, str):
        return rows.folds
    y_encoded = np.unique(rows.y, return_inverse=True)[1]
    if rows.groups is None:
        return stratified_folds(y_encoded, N_CROSS_FITTING_FOLDS, spec.seed)
    rng = np.random.RandomState(spec.seed)
    fold = held_out_group_folds(
        rows.groups, y_encoded, rows.weight_or_ones, N_CROSS_FITTING_FOLDS, rng
    )
    numbers = range(0 if fold is None else fold.max() + 1)
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in numbers]


def _fit_and_predict(teacher, rows, fold, classes, *, keeps_teacher=False):
    """Fit a teacher on the training rows of a fold, and predict the test rows.

    Returns
    -------
    values : ndarray of shape (n_test, n_classes)
    is_proba : bool
    teacher : estimator or None
        The fitted teacher, if it is to be kept.
    """
    train, test = fold
    teacher = fit_on_rows(teacher, rows.X, rows.y, train, rows.params["teacher"])
    predictions = teacher_predictions(teacher, safe_indexing(rows.X, test), classes)
    return *predictions, teacher if keeps_teacher else None


def _check_tested_rows(folds, n_samples):
    """Raise an error for folds that test no row, and warn where they test few."""
    tested = len(np.unique(np.concatenate([[], *(test for _, test in folds)]))) / n_samples
    if tested == 0:
        raise ValueError(
            "cv tests no row, so that every row would keep its hard label: give folds that "
            "test each row, or cv='auto'."
        )
    if tested < MIN_TESTED_FRACTION:
        warn_caller(
            f"the folds of cv test {tested:.0%} of the rows; the others keep their hard labels. "
            "Give folds that test each row, or cv='auto'.",
            UntestedRowsWarning,
        )


def _warn_if_single_rows(fitted, wanted):
    """Warn about classes of a single row, which no teacher can know without that row."""
    y_encoded = fitted.y_encoded
    counts = np.bincount(y_encoded, minlength=len(fitted.classes))
    single = np.unique(y_encoded[wanted & (counts[y_encoded] == 1)])
    if len(single):
        warn_caller(
            f"the classes {fitted.classes[single].tolist()} have one row each: a teacher that "
            "labels it without having been fitted on it cannot know its class. Those rows keep "
            "their hard labels.",
            MissingClassWarning,
        )


def _warn_if_memorized(spec, rows, fitted, proba):
    """Warn where in-sample labels repeat the hard ones, or are far too confident.

    The first is seen from the labels. The second is not: where the teacher reproduces most hard
    labels, it is fitted once more without a fifth of the rows, and its Brier score on that fifth
    is compared with the one on the rows that it was fitted on.
    """
    y_encoded, weight = fitted.y_encoded, fitted.weight
    distance = 1 - np.average(proba[np.arange(len(rows)), y_encoded], weights=weight)
    if distance < MIN_DISTANCE_FROM_HARD_LABELS:
        reason = f"their mean distance from the hard labels is {distance:.2g}"
    else:
        accuracy = np.average(proba.argmax(axis=1) == y_encoded, weights=weight)
        folds = cross_fitting_folds(spec, rows)
        if accuracy < MIN_SUSPICIOUS_ACCURACY or not folds:
            return
        test = folds[0][1]
        teacher = clone(spec.teacher)
        *predictions, _ = _fit_and_predict(teacher, rows, folds[0], fitted.classes)
        outside_proba, _ = fitted.as_probabilities(*predictions, test)
        inside = _brier_score(proba, y_encoded, weight)
        outside = _brier_score(outside_proba, y_encoded[test], weight[test])
        if outside <= MAX_BRIER_RATIO * inside:
            return
        reason = (
            f"their Brier score is {inside:.3g}, but {outside:.3g} on a fifth of the rows that the "
            "teacher was not fitted on"
        )
    warn_caller(
        f"the teacher has memorized the rows it labels ({reason}), so that its labels contain "
        "little more than y. Use cv='auto' for labels by teachers that have not seen the row.",
        InSampleLabelsWarning,
    )


def _brier_score(proba, y_encoded, weight):
    errors = ((proba - np.eye(proba.shape[1])[y_encoded]) ** 2).sum(axis=1)
    return np.average(errors, weights=weight)

"""Labels of training rows by a teacher: own ones, cross-fitted, in-sample or frozen."""

import functools
import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from sklearn_kd._utils.callbacks import StageLines, begin_subtask
from sklearn_kd._utils.containers import own_copy
from sklearn_kd._utils.cross_fit import fit_on_rows
from sklearn_kd._utils.encoded_labels import fit_on_labels
from sklearn_kd._utils.folds import distinct_row_folds
from sklearn_kd._utils.groups import held_out_group_folds
from sklearn_kd._utils.parallel import parallel_results
from sklearn_kd._utils.sklearn_compat import safe_indexing
from sklearn_kd._utils.sub_estimators import last_step
from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd.exceptions import InSampleLabelsWarning, UntestedRowsWarning

#: Folds of ``cv="auto"``.
N_CROSS_FITTING_FOLDS = 5
#: Fraction of tested rows below which a warning says that the others keep their hard labels.
MIN_TESTED_FRACTION = 0.5


@dataclass(frozen=True)
class LabelingSpec:
    """How training rows get soft labels.

    Attributes
    ----------
    teacher : estimator or None
        Unfitted, or frozen. None where soft targets of the user are all that is needed.
    task : Task
        Of ``y`` and of soft targets. A teacher may know more.
    cv : "auto", "in-sample", int, splitter or iterable of splits
        As in :class:`~sklearn_kd.DistilledClassifier`. Unless it is a string, its folds come with
        the rows.
    calibrate : bool
        Whether out-of-sample labels are calibrated. Those of a frozen teacher are not, since the
        rows that it has seen are unknown.
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
    task: Any
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
    """Labels of the training rows by a teacher, and the teacher that labels others.

    Attributes
    ----------
    values : ndarray of shape (n_samples, n_columns) or None
        None where labels of these rows were not asked for. A `Task` says what the columns are.
    task : Task
    source : {"loo", "oob", "cv", "in-sample", "frozen", "given"}
    teacher : estimator
        Fitted on all rows, or frozen.
    calibration : object or None
        By which the task makes labels of predictions of the teacher.
    fold_teachers : list of (estimator, ndarray of int)
        Teachers of cross-fitting, as far as they are kept, and the rows that each has not seen.
    """

    values: np.ndarray | None
    task: Any
    source: str
    teacher: Any
    calibration: Any = None
    fold_teachers: list = field(default_factory=list)

    def predict_labels(self, X):
        """Return labels by the fitted teacher of rows it was not fitted on."""
        return self.task.predict_labels(self.teacher, own_copy(X), self.calibration)

    def predict_transfer_labels(self, X, origin):
        """Return labels of transfer rows, by teachers that have not seen their origin.

        The teacher fitted on all rows labels those for which no such teacher is kept. ``origin`` is
        None or has the row at which each row started.
        """
        if origin is None or not self.fold_teachers:
            return self.predict_labels(X)
        labels = None
        is_labeled = np.zeros(len(origin), dtype=bool)
        for teacher, unseen in [*self.fold_teachers, (self.teacher, origin)]:
            rows = np.flatnonzero(np.isin(origin, unseen) & ~is_labeled)
            if len(rows):
                of_rows = replace(self, teacher=teacher).predict_labels(safe_indexing(X, rows))
                if labels is None:
                    labels = np.empty((len(origin), of_rows.shape[1]))
                labels[rows] = of_rows
                is_labeled[rows] = True
        return labels

    def with_calibration(self, y_encoded, weight, is_out_of_sample):
        """Return labels of which those out of sample are calibrated.

        ``is_out_of_sample`` masks the rows that were labeled by fits without them.
        """
        if not is_out_of_sample.any():
            return self
        values = np.array(self.values)
        values[is_out_of_sample], calibration = self.task.calibrate(
            values[is_out_of_sample],
            self.calibration,
            self.teacher,
            y_encoded[is_out_of_sample],
            weight[is_out_of_sample],
        )
        return replace(self, values=values, calibration=calibration)


@dataclass(frozen=True)
class _FittedTeacher:
    """A teacher fitted on all rows, and these rows as its labels need them."""

    teacher: Any
    has_oob: bool
    task: Any
    y_encoded: np.ndarray
    weight: np.ndarray

    def as_labels(self, values, are_labels, rows=slice(None)):
        """Return labels made of predictions of some rows, and the calibration for it."""
        return self.task.as_labels(values, are_labels, self.y_encoded[rows], self.weight[rows])


def label_rows(spec, rows, *, needs_labels=True, subtask=None):
    """Fit the teacher on all rows and label each row.

    Parameters
    ----------
    spec : LabelingSpec
    rows : TrainingRows
    needs_labels : bool, default=True
        False fits the teacher to label other rows. ``values`` of the result may then be None.
    subtask : Subtask, default=None
        Subtask of the callbacks that the fit on all rows belongs to.

    Returns
    -------
    TeacherLabels
    """
    teacher, has_oob = _fit_teacher(spec, rows, subtask)
    task = spec.task.with_teacher(teacher)
    if not needs_labels and not task.needs_calibration(teacher):
        return TeacherLabels(None, task, "given", teacher)
    fitted = _FittedTeacher(teacher, has_oob, task, task.encode(rows.y), rows.weight_or_ones)
    if spec.is_frozen or spec.uses("in-sample"):
        return _in_sample_labels(spec, rows, fitted)
    return _out_of_sample_labels(spec, rows, fitted)


def _fit_teacher(spec, rows, subtask):
    """Return a fitted clone of the teacher, and whether it was asked for out-of-bag labels."""
    # a frozen last step is used as it is, and the steps before it are fitted
    is_fixed = isinstance(spec.teacher, FrozenEstimator)
    teacher = clone(spec.teacher)
    has_own_labels = spec.uses("auto") and rows.groups is None and "oob" in spec.task.own_labels
    has_own_labels &= spec.task.has_out_of_bag_labels(rows.y)
    has_oob = not spec.is_frozen and has_own_labels and enable_oob_score(teacher)
    with begin_subtask(subtask, None if is_fixed else teacher), warnings.catch_warnings():
        if has_oob:  # rows that were never out of bag are cross-fitted
            warnings.filterwarnings("ignore", "Some inputs do not have OOB scores")
            warnings.filterwarnings("ignore", "invalid value encountered in", RuntimeWarning)
        if not is_fixed:
            X, y = own_copy(rows.X), own_copy(rows.y)
            teacher = fit_on_labels(teacher, X, y, rows.params["teacher"])
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
    values, are_labels = fitted.task.predictions(fitted.teacher, own_copy(rows.X))
    fitted.task.warn_if_missing(values, who)
    labels, calibration = fitted.as_labels(values, are_labels)
    if spec.checks_memorization and not spec.is_frozen:
        _warn_if_memorized(spec, rows, fitted, labels)
    return TeacherLabels(labels, fitted.task, source, fitted.teacher, calibration)


def _out_of_sample_labels(spec, rows, fitted):
    """Label each row by fits that have not seen it: the teacher's own, then cross-fitting."""
    task, teacher = fitted.task, fitted.teacher
    values = task.labels_of_untested(fitted.y_encoded)  # rows that no fold tests keep these
    own, source = _own_labels(spec, rows, fitted, values.shape)
    missing = np.isnan(own).any(axis=1)
    values[~missing] = own[~missing]
    is_out_of_sample, calibration, fold_teachers = ~missing, None, []
    if missing.any():
        crossed, is_tested, calibration, fold_teachers = _cross_fitted_labels(
            spec, rows, fitted, missing
        )
        values[is_tested] = crossed[is_tested]
        is_out_of_sample |= is_tested
    if calibration is None and task.needs_calibration(teacher):
        # nothing was cross-fitted: other rows are labeled by a calibration on the training rows
        _, calibration = fitted.as_labels(*task.predictions(teacher, own_copy(rows.X)))
    labels = TeacherLabels(values, task, source, teacher, calibration, fold_teachers)
    if spec.calibrate:
        labels = labels.with_calibration(fitted.y_encoded, fitted.weight, is_out_of_sample)
    return labels


def _own_labels(spec, rows, fitted, shape):
    """Return the teacher's leave-one-out or out-of-bag labels, and which they are.

    Rows for which it has none are NaN: all of them, with the source "cv", for most teachers, and
    if rows belong to groups, since the teacher has then seen others of the group.
    """
    teacher, attributes = fitted.teacher, fitted.task.own_labels
    if isinstance(spec.cv, str) and rows.groups is None:
        for source, is_switched_on in (("loo", True), ("oob", fitted.has_oob)):
            if is_switched_on and source in attributes and hasattr(teacher, attributes[source]):
                return fitted.task.labels_of_own(teacher, attributes[source], len(rows)), source
    return np.full(shape, np.nan), "cv"


def _cross_fitted_labels(spec, rows, fitted, wanted):
    """Label the rows in the mask ``wanted`` by teachers fitted on the training rows of folds.

    Returns
    -------
    labels : ndarray of shape (n_samples, n_columns)
        Mean over the folds that test a row, zeros where none does.
    is_tested : ndarray of bool of shape (n_samples,)
    calibration : object or None
    fold_teachers : list of (estimator, ndarray of int)
        Those to be kept, with the rows that each tests.
    """
    n_samples, folds = len(rows), cross_fitting_folds(spec, rows)
    if not isinstance(spec.cv, str):
        _check_tested_rows(folds, n_samples, spec.task.hard_name)
    elif rows.groups is None:
        fitted.task.warn_if_untestable(fitted.y_encoded, wanted, rows.copy_group)
    folds = [(train, test[wanted[test]]) for train, test in folds]
    folds = [(train, test) for train, test in folds if len(test)]
    if not folds:
        return np.zeros((n_samples, 1)), np.zeros(n_samples, dtype=bool), None, []
    # not the spec, whose unlabeled rows would be copied into each worker
    fit_and_predict = functools.partial(
        _fit_and_predict, rows, fitted.task, spec.keeps_fold_teachers
    )
    tasks = ((clone(spec.teacher), fold) for fold in folds)
    results = parallel_results(fit_and_predict, tasks, spec.n_jobs)
    predictions = list(spec.lines.followed(results, len(folds), spec.n_jobs))
    values = [values for values, *_ in predictions]
    tested = np.concatenate([test for _, test in folds])
    fitted.task.warn_if_missing_in_folds(values)
    of_tests, calibration = _labels_of_folds(fitted, predictions, tested)
    labels = np.zeros((n_samples, of_tests.shape[1]))
    n_tests = np.bincount(tested, minlength=n_samples)
    np.add.at(labels, tested, of_tests)
    is_tested = n_tests > 0
    labels[is_tested] /= n_tests[is_tested, None]
    kept = [
        (teacher, test)
        for (*_, teacher), (_, test) in zip(predictions, folds, strict=True)
        if teacher is not None
    ]
    return labels, is_tested, calibration, kept


def _labels_of_folds(fitted, predictions, tested):
    """Return the labels of all rows that folds have tested, and the calibration.

    The teacher may be a search that chooses one with probabilities in some folds, and one with
    decision values alone in others. These are calibrated by themselves.
    """
    values = np.concatenate([values for values, *_ in predictions])
    are_labels = np.repeat([kind for _, kind, _ in predictions], [len(v) for v, *_ in predictions])
    labels, calibration = np.empty_like(values), None
    for kind in np.unique(are_labels):
        part = are_labels == kind
        labels[part], own = fitted.as_labels(values[part], kind, tested[part])
        calibration = calibration or own
    return labels, calibration


def cross_fitting_folds(spec, rows):
    """Return the training and test rows of each fold that labels rows out of sample.

    Those of ``cv="auto"`` keep groups, or copies of a row, together and train on every stratum.
    """
    if not isinstance(spec.cv, str):
        return rows.folds
    strata, weight, n_folds = spec.task.strata(rows.y), rows.weight_or_ones, N_CROSS_FITTING_FOLDS
    if rows.groups is None:
        return distinct_row_folds(rows.copy_group, strata, weight, n_folds, spec.seed)
    rng = np.random.RandomState(spec.seed)
    fold = held_out_group_folds(rows.groups, strata, weight, n_folds, rng)
    numbers = range(0 if fold is None else fold.max() + 1)
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in numbers]


def rows_needed_by_teacher(spec):
    """Return the least number of distinct rows of each fit of the teacher, one without fits."""
    if spec.teacher is None or spec.is_frozen:
        return 1
    return spec.task.distinct_rows_needed(spec.teacher)


def fewest_rows_of_a_fit(spec, rows):
    """Return the distinct rows of the smallest fit of the teacher whose predictions label rows.

    They are those of cross-fitting, and of the fit on all rows if there is none.

    Parameters
    ----------
    spec : LabelingSpec
        With a teacher without labels of its own.
    rows : TrainingRows
    """
    is_cross_fitted = not spec.is_frozen and not spec.uses("in-sample")
    is_cross_fitted &= rows.given is None or spec.keeps_fold_teachers
    folds = cross_fitting_folds(spec, rows) if is_cross_fitted else []
    parts = [train for train, test in folds if len(test)] or [slice(None)]
    return min(len(np.unique(rows.distinct_row[part])) for part in parts)


def _fit_and_predict(rows, task, keeps_teacher, teacher, fold):
    """Fit a teacher on the training rows of a fold, and predict the test rows.

    Returns
    -------
    values : ndarray of shape (n_test, n_columns)
    are_labels : bool
    teacher : estimator or None
        The fitted teacher, if it is to be kept.
    """
    train, test = fold
    teacher = fit_on_rows(teacher, rows.X, rows.y, train, rows.params["teacher"])
    predictions = task.predictions(teacher, safe_indexing(rows.X, test))
    return *predictions, teacher if keeps_teacher else None


def _check_tested_rows(folds, n_samples, hard_name):
    """Raise an error for folds that test no row, and warn where they test few."""
    tested = len(np.unique(np.concatenate([[], *(test for _, test in folds)]))) / n_samples
    if tested == 0:
        raise ValueError(
            f"cv tests no row, so that all rows would be learned from {hard_name}: give "
            "folds that test each row, or cv='auto'."
        )
    if tested < MIN_TESTED_FRACTION:
        warn_caller(
            f"the folds of cv test {tested:.0%} of the rows; the others are learned "
            f"from {hard_name}. Give folds that test each row, or cv='auto'.",
            UntestedRowsWarning,
        )


def _warn_if_memorized(spec, rows, fitted, labels):
    """Warn where in-sample labels repeat the hard ones, or are far too confident.

    The first is seen from the labels. The second is not: where the teacher nearly reproduces the
    hard labels, it is fitted once more without a fifth of the rows, and its squared error on that
    fifth is compared with the one on the rows that it was fitted on.
    """
    task, y_encoded, weight = fitted.task, fitted.y_encoded, fitted.weight
    reason, is_suspicious = task.suspicion(labels, y_encoded, weight)
    if reason is None:
        folds = cross_fitting_folds(spec, rows)
        if not is_suspicious or not folds:
            return
        test = folds[0][1]
        *predictions, _ = _fit_and_predict(rows, task, False, clone(spec.teacher), folds[0])
        outside_labels, _ = fitted.as_labels(*predictions, test)
        inside = np.average(task.squared_errors(labels, y_encoded), weights=weight)
        outside = np.average(
            task.squared_errors(outside_labels, y_encoded[test]), weights=weight[test]
        )
        if outside <= task.max_error_ratio * inside:
            return
        reason = (
            f"their {task.error_name} is {inside:.3g}, but {outside:.3g} on a fifth of the rows "
            "that the teacher was not fitted on"
        )
    warn_caller(
        f"the teacher has memorized the rows it labels ({reason}), so that its labels contain "
        "little more than y. Use cv='auto' for labels by teachers that have not seen the row.",
        InSampleLabelsWarning,
    )

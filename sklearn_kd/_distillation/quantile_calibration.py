"""Calibrate the quantiles of a student on predictions by students that have not seen the rows."""

import functools
import math
from dataclasses import replace

import numpy as np

from sklearn_kd._distillation.conformal import check_calibration_rows, conformal_shift
from sklearn_kd._distillation.selection import without_fit_warnings
from sklearn_kd._distillation.student_fit import StudentTrainer
from sklearn_kd._distillation.teacher_labels import (
    cross_fitting_folds,
    fewest_rows_of_a_fit,
    rows_needed_by_teacher,
)
from sklearn_kd._distillation.training_set import LabeledTrainingData, StudentTrainingSet
from sklearn_kd._distillation.transfer_set import TransferSet
from sklearn_kd._utils.callbacks import StageLines
from sklearn_kd._utils.folds import grouped_folds
from sklearn_kd._utils.parallel import parallel_results
from sklearn_kd._utils.sklearn_compat import safe_indexing
from sklearn_kd._utils.sub_estimators import last_step

#: Folds of the students whose predictions calibrate the one on all rows.
N_CALIBRATION_FOLDS = 5


def calibration_folds(spec, rows):
    """Return the training and test rows of each fold, copies of a row being on one side.

    Folds of the user, and those of groups, are those that cross-fit the teacher, without those
    whose training rows no other fold could label.
    """
    if rows.folds is not None or rows.groups is not None:
        folds = cross_fitting_folds(spec, rows)
    else:
        strata, weight = spec.task.strata(rows.y), rows.weight_or_ones
        fold = grouped_folds(rows.observation, strata, weight, N_CALIBRATION_FOLDS, spec.seed)
        numbers = range(fold.max() + 1)
        folds = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in numbers]
    folds = [(np.sort(train), test) for train, test in folds if len(train) and len(test)]
    are_given = spec.teacher is None or (rows.given is not None and not spec.keeps_fold_teachers)
    if are_given or spec.is_frozen or spec.uses("in-sample"):
        return folds
    return [(train, test) for train, test in folds if rows.can_cross_fit_within(train)]


def check_calibration(spec, rows):
    """Raise ValueError for fewer rows than teacher and calibration need, before any fit."""
    if np.shape(rows.X)[1:] == (0,):
        return  # the error of the fit says that there are no features
    if len(spec.task.levels) == 1:  # the median, which is not calibrated
        _check_rows_of_teacher(spec, rows)
        return
    folds = calibration_folds(spec, rows)
    if not folds and (rows.folds is not None or rows.groups is not None):
        raise ValueError(
            "the calibration of quantiles fits teacher and student without each of the folds of "
            "cv, or of groups, on rows that the other folds must label, and none can: give at "
            "least three folds or groups, and shuffle folds of rows that are sorted by y, since "
            "no fold is used whose training targets are all equal."
        )
    _check_rows_of_teacher(spec, rows)
    tested = np.concatenate([test for _, test in folds]) if folds else np.arange(len(rows))
    n_tested = len(np.unique(rows.observation[tested]))
    check_calibration_rows(spec.task.levels, n_tested, len(rows))


def _check_rows_of_teacher(spec, rows):
    """Raise ValueError where a fit of the teacher has fewer distinct rows than it needs."""
    n_needed = rows_needed_by_teacher(spec)
    if n_needed == 1:
        return
    n_distinct, fewest = len(np.unique(rows.distinct_row)), _fewest_rows_of_all_fits(spec, rows)
    if fewest >= n_needed:
        return
    enough = math.ceil(n_distinct * n_needed / fewest)  # folds of more rows have similar shares
    name = type(last_step(spec.teacher)).__name__
    raise ValueError(
        f"quantiles={spec.task.levels.tolist()} need at least {n_needed} distinct rows in each fit "
        f"of the teacher {name}, and the smallest of those that cross-fit and calibrate has "
        f"{fewest} of the {n_distinct} distinct rows (n_samples={len(rows)}): fit about {enough} "
        "distinct rows or more, ask for levels nearer to 1/2, or pass another teacher of quantiles."
    )


def _fewest_rows_of_all_fits(spec, rows):
    """Return the distinct rows of the smallest fit of the teacher, for labels or calibration."""
    folds = [] if len(spec.task.levels) == 1 else calibration_folds(spec, rows)
    parts = [rows, *(rows.take(train) for train, _ in folds)]
    return min(fewest_rows_of_a_fit(spec, part) for part in parts)


def calibrated_shift(student, data, setting, transfer):
    """Return what is added to the quantiles of a student that was fitted on all rows.

    For each fold a teacher and a student are fitted without it, as on all rows, and the student
    predicts it. Labels of a teacher that had seen the fold would tell the student about its
    targets, and intervals would be too narrow (docs/results.md).

    Parameters
    ----------
    student : StudentSpec
    data : LabeledTrainingData
    setting : DistillationSetting
    transfer : TransferSpec

    Returns
    -------
    ndarray of float64 of shape (n_levels,)
    """
    levels, rows, spec = data.task.levels, data.rows, data.spec
    if len(levels) == 1:  # the median
        return np.zeros(1)
    folds = calibration_folds(spec, rows)
    if setting.source == "hard":
        spec = replace(spec, teacher=None)
    quiet = replace(spec, checks_memorization=False, lines=StageLines())
    with spec.lines.stage(f"calibration by {len(folds)} students"), without_fit_warnings():
        held_out_quantiles = functools.partial(
            _held_out_quantiles, student, quiet, rows, setting, transfer
        )
        results = parallel_results(held_out_quantiles, ((fold,) for fold in folds), spec.n_jobs)
        quantiles = list(spec.lines.followed(results, len(folds), spec.n_jobs))
    tested = np.concatenate([test for _, test in folds])
    n_tested = len(np.unique(rows.observation[tested]))
    y, weight = data.y_encoded[tested, 0], rows.weight_or_ones[tested]
    return conformal_shift(np.concatenate(quantiles), y, weight, levels, n_tested)


def _held_out_quantiles(student, spec, rows, setting, transfer, fold):
    """Return quantiles of the test rows of a fold by a student of the training rows."""
    train, test = fold
    training, transfer_set = rows.take(train), TransferSet()
    n_augmented = round(setting.n_augmented * len(train) / len(rows))
    if n_augmented:
        transfer_set = training.make_transfer_set(transfer, n_augmented, spec)
    data = LabeledTrainingData.from_teacher(spec, training)
    setting = setting._replace(n_augmented=n_augmented)
    training_set = StudentTrainingSet.of(data, setting, transfer_set)
    fitted = StudentTrainer(student.without_checkpoint(), data.task).fit(training_set)
    return data.task.quantiles_of_student(fitted, student.mode, safe_indexing(rows.X, test))

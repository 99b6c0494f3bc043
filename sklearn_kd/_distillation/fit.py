"""Stages of a fit of DistilledClassifier, with their callbacks, printed lines and warnings."""

import time
from dataclasses import dataclass
from typing import Any

from sklearn.utils import check_random_state

from sklearn_kd._distillation.predictions import log_prior_shift
from sklearn_kd._distillation.selection import select_setting, warn_no_gain
from sklearn_kd._distillation.settings import candidate_settings, check_parameters
from sklearn_kd._distillation.student_fit import StudentSpec, StudentTrainer
from sklearn_kd._distillation.training_set import (
    LabeledTrainingData,
    StudentTrainingSet,
    row_labeler,
)
from sklearn_kd._distillation.transfer_set import (
    TransferSet,
    TransferSpec,
    warn_if_few_transfer_rows,
    warn_if_no_transfer_rows_tried,
)
from sklearn_kd._utils.callbacks import Subtask
from sklearn_kd._utils.sklearn_compat import routing_enabled
from sklearn_kd._utils.sub_estimators import refuse_other_kinds, seeded


@dataclass(frozen=True)
class FitEstimators:
    """Unfitted teacher and student of one fit, and its seeds.

    Attributes
    ----------
    teacher : estimator or None
        None where soft targets of the user are all that is needed.
    student : StudentSpec
    fold_seed, selection_seed, transfer_seed : int
        Of the cross-fitting folds, the held-out rows and the transfer rows.
    """

    teacher: Any
    student: StudentSpec
    fold_seed: int
    selection_seed: int
    transfer_seed: int


def resolve_estimators(est, *, needs_teacher):
    """Return the teacher and the student with seeds, after checking that the student can learn.

    Parameters
    ----------
    est : DistilledClassifier
    needs_teacher : bool

    Returns
    -------
    FitEstimators
    """
    rng = check_random_state(est.random_state)
    seeds = [int(seed) for seed in rng.randint(2**31 - 1, size=3)]
    teacher = est._get_teacher() if needs_teacher else None
    student = est._get_student()
    if est.random_state is not None:
        teacher = None if teacher is None else seeded(teacher, rng)
        student = seeded(student, rng)
    if teacher is not None:
        refuse_other_kinds("teacher", teacher)
    student = StudentSpec.of(student, est.alpha, est.temperature)
    check_parameters(est, student)
    if est.class_weight is not None and routing_enabled():
        # the weights are made here, so that nobody else can have requested them
        student = student.with_weight_request()
    return FitEstimators(teacher, student, *seeds)


def resolve_auto(est, estimators, spec, rows):
    """Resolve "auto" of alpha, temperature, cv and augmentation.

    Parameters
    ----------
    est : DistilledClassifier
    estimators : FitEstimators
    spec : LabelingSpec
    rows : TrainingRows

    Returns
    -------
    selection : SelectionResult
    transfer : TransferSpec
    """
    student = estimators.student
    transfer = TransferSpec.for_rows(
        est, rows, has_teacher=spec.teacher is not None, seed=estimators.transfer_seed
    )
    candidates = candidate_settings(est, student, transfer, rows, is_frozen=spec.is_frozen)
    start = time.perf_counter()
    weighs_classes = est.class_weight is not None or student.class_weight is not None
    selection = select_setting(
        student,
        spec,
        rows,
        transfer,
        candidates,
        calibrate=spec.calibrate and not weighs_classes,
        seed=estimators.selection_seed,
    )
    if selection.candidates is not None:
        n_settings = len(selection.candidates["alpha"])
        _print_stage(est, f"compared {n_settings} settings", start)
    if selection.setting.source == "hard":
        warn_no_gain(selection.candidates)
    return selection, transfer


def label_training_rows(est, ctx, student, spec, rows, setting, transfer):
    """Fit the teacher on all rows, make transfer rows and label all of them.

    Parameters
    ----------
    est : DistilledClassifier
    ctx : CallbackContext
    student : StudentSpec
    spec : LabelingSpec
    rows : TrainingRows
    setting : DistillationSetting
    transfer : TransferSpec

    Returns
    -------
    data : LabeledTrainingData
    transfer_set : TransferSet
    training_set : StudentTrainingSet
        What the student is fitted on.
    """
    start = time.perf_counter()
    subtask = Subtask(ctx, "fit-teacher", est, rows.X, rows.y)
    # in-sample labels need no others, unless more rows are labeled by their calibration
    has_more_rows = setting.n_augmented > 0 or spec.X_unlabeled is not None
    needs_labels = setting.source == "out-of-sample" or (setting.source != "hard" and has_more_rows)
    transfer_set = TransferSet()
    if setting.n_augmented:  # before the teacher, since the augmentation may raise an error
        transfer_set = rows.make_transfer_set(transfer, setting.n_augmented, spec.X_unlabeled)
    data = LabeledTrainingData.from_teacher(spec, rows, needs_labels=needs_labels, subtask=subtask)
    training_set = StudentTrainingSet.of(data, setting, transfer_set)
    if setting.n_augmented and est.augmentation != "auto":
        warn_if_few_transfer_rows(transfer_set, setting.n_augmented)
    if est.augmented_labels == "recomputed":
        params = {**training_set.params, "labeler": row_labeler(data)}
        training_set = training_set._replace(params=params)
    subtask.end()
    n_rows, source = len(training_set.y_encoded), data.source_of(setting)
    _print_stage(est, f"labels of {n_rows} rows, source {source!r}", start)
    return data, transfer_set, training_set


def fit_student(est, ctx, student, labeled, selection, transfer):
    """Fit the student, and return the fitted attributes of the DistilledClassifier.

    Parameters
    ----------
    est : DistilledClassifier
    ctx : CallbackContext
    student : StudentSpec
    labeled : tuple
        What `label_training_rows` has returned.
    selection : SelectionResult
    transfer : TransferSpec

    Returns
    -------
    dict
    """
    start = time.perf_counter()
    (data, transfer_set, training_set), setting = labeled, selection.setting
    subtask = Subtask(ctx, "fit-student", est, training_set.X, training_set.y)
    if est.augmentation == "auto":
        obstacle = transfer_set.obstacle or selection.transfer_obstacle or transfer.obstacle
        warn_if_no_transfer_rows_tried(est.n_augmented, selection.candidates, obstacle)
    power = setting.temperature if student.mode == "expansion" else 1
    fitted = {
        "student_": StudentTrainer(student, data.classes).fit(training_set, subtask),
        "classes_": data.classes,
        "alpha_": float(setting.alpha),
        "temperature_": float(setting.temperature),
        "label_source_": data.source_of(setting),
        "n_augmented_": min(len(transfer_set), setting.n_augmented),
        "duplicate_fraction_": float(transfer_set.duplicate_fraction),
        "candidates_": selection.candidates,
        "student_temperature_": selection.student_temperature,
        # exponent of the student's probabilities
        "_power": power / selection.student_temperature,
        "_log_prior": log_prior_shift(est.class_prior, data, training_set),
    }
    if data.labels is not None:
        fitted["teacher_"] = data.labels.teacher
        fitted["label_temperature_"] = data.labels.temperature or 1.0
    subtask.end(fitted)
    _print_stage(est, f"student {student.name}, T = {setting.temperature:g}", start)
    return fitted


def _print_stage(est, message, start):
    """Print one line with the seconds since ``start``, if ``verbose`` asks for it."""
    if est.verbose:
        print(f"[DistilledClassifier] {message}, {time.perf_counter() - start:.1f} s")

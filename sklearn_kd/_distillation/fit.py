"""Stages of a distillation, with their callbacks, printed lines and warnings."""

from dataclasses import dataclass
from typing import Any

from sklearn.utils import check_random_state

from sklearn_kd._distillation.selection import select_setting, warn_no_gain
from sklearn_kd._distillation.settings import candidate_settings
from sklearn_kd._distillation.student_choice import choose_student
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
from sklearn_kd._utils.callbacks import Subtask, begin_subtask
from sklearn_kd._utils.sklearn_compat import routing_enabled
from sklearn_kd._utils.sub_estimators import (
    last_step,
    refuse_other_kinds,
    refuse_unfit_student,
    seeded,
    takes_missing_cells,
)


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


def resolve_estimators(est, task_type, *, needs_teacher):
    """Return the teacher and the student with seeds, after checking that the student can learn.

    Parameters
    ----------
    est : DistilledClassifier or DistilledRegressor
    task_type : subclass of Task, or an object of it that has no rows yet
    needs_teacher : bool

    Returns
    -------
    FitEstimators
    """
    rng = check_random_state(est.random_state)
    seeds = [int(seed) for seed in rng.randint(2**31 - 1, size=3)]
    teacher = est._get_teacher() if needs_teacher else None
    student = est._get_student()
    if teacher is not None:
        task_type.check_teacher(teacher)
    if est.random_state is not None:
        teacher = None if teacher is None else seeded(teacher, rng)
        student = seeded(student, rng)
    if teacher is not None:
        refuse_other_kinds("teacher", teacher, task_type.kind)
    student = StudentSpec.of(student, task_type.student_mode(student, est))
    refuse_unfit_student(student.last_step)
    task_type.check_parameters(est, student)
    if est._makes_weights() and routing_enabled():
        # the weights are made here, so that nobody else can have requested them
        student = student.with_weight_request()
    return FitEstimators(teacher, student, *seeds)


def resolve_auto(est, ctx, estimators, spec, rows):
    """Resolve "auto" of student, alpha, temperature, cv and augmentation.

    Parameters
    ----------
    est : DistilledClassifier or DistilledRegressor
    ctx : CallbackContext
        Has a subtask for the comparison, if there is one.
    estimators : FitEstimators
    spec : LabelingSpec
    rows : TrainingRows

    Returns
    -------
    selection : SelectionResult
    transfer : TransferSpec
    """
    student = estimators.student
    has_teacher, seed = spec.teacher is not None, estimators.transfer_seed
    transfer = TransferSpec.for_rows(est, spec.task, rows, has_teacher=has_teacher, seed=seed)
    candidates = candidate_settings(est, spec.task, student, transfer)
    chooses_student, seed = isinstance(est.student, str), estimators.selection_seed
    is_compared = len(candidates) > 1 or chooses_student
    subtask = Subtask(ctx, "select-setting", est, rows.X, rows.y) if is_compared else None
    with begin_subtask(subtask, None):
        selection, trials = select_setting(student, spec, rows, transfer, candidates, seed=seed)
        if selection.setting.source == "hard":
            warn_no_gain(selection, trials)
        if chooses_student:
            selection = choose_student(est, student, spec, rows, transfer, selection, trials, seed)
    if is_compared:
        subtask.end()
    return selection, transfer


def label_training_rows(est, ctx, student, spec, rows, setting, transfer):
    """Fit the teacher on all rows, make transfer rows and label all of them.

    Parameters
    ----------
    est : DistilledClassifier or DistilledRegressor
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
    subtask = Subtask(ctx, "fit-teacher", est, rows.X, rows.y)
    transfer_set = TransferSet()
    if setting.n_augmented:  # before the teacher, since the augmentation may raise an error
        with spec.lines.stage(f"{setting.n_augmented} transfer rows"):
            transfer_set = rows.make_transfer_set(transfer, setting.n_augmented, spec)
    with spec.lines.stage("labels of the teacher") as details:
        data, training_set = _label(spec, rows, setting, transfer_set, subtask)
        details += [f"{len(training_set.y_encoded)} rows", f"source {data.source_of(setting)!r}"]
    if setting.n_augmented and est.augmentation != "auto":
        warn_if_few_transfer_rows(transfer_set, setting.n_augmented)
    if est._relabels_augmented_rows():
        params = {**training_set.params, "labeler": row_labeler(data)}
        training_set = training_set._replace(params=params)
    subtask.end()
    return data, transfer_set, training_set


def _label(spec, rows, setting, transfer_set, subtask):
    """Fit the teacher, and return the labeled rows and the training set of the student."""
    needs_labels = setting.source != "hard"
    data = LabeledTrainingData.from_teacher(spec, rows, needs_labels=needs_labels, subtask=subtask)
    return data, StudentTrainingSet.of(data, setting, transfer_set)


def fit_student(est, ctx, student, labeled, selection, transfer):
    """Fit the student, and return the fitted attributes.

    Parameters
    ----------
    est : DistilledClassifier or DistilledRegressor
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
    (data, transfer_set, training_set), setting = labeled, selection.setting
    subtask = Subtask(ctx, "fit-student", est, training_set.X, training_set.y)
    if est.augmentation == "auto":
        obstacle = transfer_set.obstacle or selection.transfer_obstacle or transfer.obstacle
        warn_if_no_transfer_rows_tried(est.n_augmented, selection.candidates, obstacle)
    with data.spec.lines.stage(f"student {student.name} with {data.describe(setting)}"):
        fitted_student = StudentTrainer(student, data.task).fit(training_set, subtask)
    fitted = {
        "student_": fitted_student,
        "alpha_": float(setting.alpha),
        "label_source_": data.source_of(setting),
        "n_augmented_": min(len(transfer_set), setting.n_augmented),
        "duplicate_fraction_": float(transfer_set.duplicate_fraction),
        "candidates_": selection.candidates,
        **est._attributes_of_task(student, data, training_set, selection, transfer),
    }
    if data.labels is not None:
        fitted["teacher_"] = data.labels.teacher
    teacher = data.spec.teacher
    # its name, where predictions must not meet missing cells that no label was ever given for
    is_strict = teacher is not None and takes_missing_cells(teacher) is False
    fitted["_strict_teacher"] = type(last_step(teacher)).__name__ if is_strict else None
    subtask.end(fitted)
    return fitted

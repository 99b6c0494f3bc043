"""Errors that parameters, labels and rows cause, before the teacher is fitted."""

from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import has_fit_parameter

from sklearn_kd._distillation.validation_rows import check_validation_rows
from sklearn_kd._tables.encoder_step import encode_rows
from sklearn_kd._tables.readable import check_readable
from sklearn_kd._utils.containers import stack_rows
from sklearn_kd._utils.protocols import SoftTargetStudent
from sklearn_kd._utils.sklearn_compat import num_samples, safe_indexing
from sklearn_kd._utils.sub_estimators import last_step


def check_before_fits(est, student, spec, rows, validation):
    """Check the validation rows, and raise the errors of the student's fit before any other fit.

    Parameters
    ----------
    est : DistilledClassifier or DistilledRegressor
    student : StudentSpec
    spec : LabelingSpec
    rows : TrainingRows
    validation : dict
        ``X_val``, ``y_val`` and ``sample_weight_val``, each of which may be None.

    Returns
    -------
    validation : dict
        What `check_validation_rows` returns for them.
    """
    task = spec.task
    if spec.teacher is not None and spec.is_frozen:
        task = task.with_teacher(last_step(spec.teacher))
    task.check_rows(est, student, rows.y, rows.weight_or_ones)
    if est._relabels_augmented_rows():
        _check_relabeling(student.estimator, has_teacher=spec.teacher is not None)
    if spec.X_unlabeled is not None and num_samples(spec.X_unlabeled) == 0:
        raise ValueError("X_unlabeled has no rows: leave it out, or pass rows.")
    if rows.row_metadata and (
        spec.X_unlabeled is not None or est.augmentation not in (None, "auto")
    ):
        raise ValueError(
            f"the student {student.name} requests the metadata {rows.row_metadata}, which have a "
            "value for each row of X and none for unlabeled and transfer rows: leave X_unlabeled "
            "out and set augmentation=None, or let the student request no other metadata than "
            "sample_weight."
        )
    _check_parameters_of_student(student.estimator)
    for role, estimator in (("teacher", spec.teacher), ("student", student.estimator)):
        check_readable(role, estimator, rows.X)
    validation = check_validation_rows(validation, rows.X, task, student.estimator)
    _check_rows(est, student, spec, rows, task, validation)
    return validation


def _check_parameters_of_student(estimator):
    """Validate the parameters of a student and of the estimators in it, as their fits would."""
    for part in (estimator, *estimator.get_params().values()):
        if isinstance(part, BaseEstimator) and hasattr(part, "_parameter_constraints"):
            part._validate_params()


def _check_rows(est, student, spec, rows, task, validation):
    """Raise the errors of unlabeled rows that do not match X, and of rows no network can read.

    ``task`` is that of the rows, of soft targets and of a frozen teacher.
    """
    more = spec.X_unlabeled
    if more is not None:
        more = stack_rows(safe_indexing(rows.X, [0]), more)
    if not isinstance(student.last_step, SoftTargetStudent):
        return
    network = clone(student.last_step)
    loss = task.loss_params(est)
    network.set_params(**{name: 1.0 if value == "auto" else value for name, value in loss.items()})
    if student.prefix:  # the rows that reach the network are not known yet
        network._check_values(True, holds_out=network.early_stopping)
        return
    *checked, _ = network._check_data(rows.X, rows.y, rows.weight, None, **task.known_to_networks)
    network._check_fit(*checked)
    network._check_validation(rows.X, checked[1], rows.weight, **validation)
    if more is not None:
        encode_rows(network, more)


def _check_relabeling(student, *, has_teacher):
    """Raise an error where the teacher cannot label rows as the student has changed them."""
    if not has_teacher:
        raise ValueError(
            "augmented_labels='recomputed' needs the teacher, which soft_targets replace: leave "
            "them out, or set augmented_labels='fixed'."
        )
    if not has_fit_parameter(student, "labeler"):
        raise ValueError(
            "augmented_labels='recomputed' needs a student that changes the rows that the teacher "
            f"knows, a ModuleClassifier and not a pipeline; it is a {type(student).__name__}."
        )
    if student.augmentation is None:
        raise ValueError(
            "augmented_labels='recomputed' is for a student with augmentation: set it on the "
            "ModuleClassifier, or set augmented_labels='fixed'."
        )
    if getattr(student, "encoder", None) is not None:
        raise ValueError(
            "augmented_labels='recomputed' needs rows that the teacher knows, and the student "
            "changes encoded ones: set encoder=None on the ModuleClassifier, or "
            "augmented_labels='fixed'."
        )

"""Distillation from a stream: a frozen teacher labels each batch, and the student learns it."""

import copy
import warnings
from inspect import signature

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from sklearn_kd._distillation.classification import ClassificationTask
from sklearn_kd._distillation.teacher_response import fill_missing_classes
from sklearn_kd._utils.base import python_number
from sklearn_kd._utils.containers import own_copy
from sklearn_kd._utils.label_indicators import is_label_indicator, learns_labels
from sklearn_kd._utils.labels import known_classes
from sklearn_kd._utils.sub_estimators import refuse_unfit_student, seeded, takes_missing_cells
from sklearn_kd._utils.validation import column_labels, is_labeled
from sklearn_kd.exceptions import SoftTargetsAlignmentWarning

#: Parameters of `DistilledClassifier` that need all rows at once, with what they have to be.
OF_ALL_ROWS = {
    "augmentation": (None, "auto"),
    "augmented_labels": ("fixed",),
    "class_weight": (None,),
    "class_prior": (None,),
}


def learns_streams(est):
    """Return whether a DistilledClassifier has a teacher that labels batches, or say why not."""
    if not isinstance(est.teacher, FrozenEstimator):
        raise AttributeError(
            "partial_fit and warm_up need a teacher that is fitted already, which labels each "
            "batch: pass teacher=FrozenEstimator(teacher), of a pipeline as a whole, or train a "
            "student by its own partial_fit with soft_targets."
        )
    return True


def check_stream(est):
    """Raise errors for parameters of a DistilledClassifier that a stream excludes."""
    for name, allowed in OF_ALL_ROWS.items():
        value = getattr(est, name)
        if not (value is None or isinstance(value, str)) or value not in allowed:
            raise ValueError(
                f"{name}={value!r} needs all rows at once, and partial_fit gets them in batches: "
                f"set {name}={allowed[0]!r}."
            )
    if isinstance(est.student, str):
        raise ValueError(
            f"student={est.student!r} chooses on held-out rows, and partial_fit holds none out: "
            "set student=None for the default network, or a student."
        )
    student = est._get_student()
    refuse_unfit_student(student)
    parameters = signature(getattr(student, "partial_fit", lambda: None)).parameters
    if "soft_targets" not in parameters:
        raise TypeError(
            f"partial_fit needs a student whose partial_fit takes soft_targets, such as "
            f"TwoLayerPGDClassifier or ModuleClassifier; {type(student).__name__} has none."
        )
    check_is_fitted(est.teacher)


def new_student(est):
    """Return an unfitted student with a seed, if the classifier has one."""
    student = clone(est._get_student())
    if est.random_state is None:
        return student
    return seeded(student, check_random_state(est.random_state))


def fit_batch(est, X, y, classes, sample_weight, soft_targets):
    """Train the student for one epoch on a batch that the frozen teacher labels.

    Parameters
    ----------
    est : DistilledClassifier
    X, y, classes, sample_weight, soft_targets
        As in `DistilledClassifier.partial_fit`.

    Returns
    -------
    dict
        Fitted attributes.
    """
    _refuse_several_labels(est, y)
    student = _student_of(est)
    task = ClassificationTask(_classes_of(est, classes, soft_targets))
    labels = soft_targets
    if soft_targets is None:
        proba, is_proba = task.predictions(est.teacher, own_copy(X))
        if not is_proba:
            raise TypeError(
                f"the teacher {type(est.teacher.estimator).__name__} has decision values alone, "
                "and a batch is too small to calibrate them: pass "
                "FrozenEstimator(CalibratedClassifierCV(FrozenEstimator(teacher)).fit(X, y))."
            )
        task.warn_if_missing(proba, "the frozen teacher")
        index = X.index if hasattr(X, "iloc") else None
        labels = task.soft_targets(fill_missing_classes(proba), index)
    # without a comparison on held-out rows, "auto" is the loss of the labels alone
    loss = {
        name: 1.0 if python_number(getattr(est, name)) == "auto" else float(getattr(est, name))
        for name in ("alpha", "temperature")
    }
    student.set_params(**loss)
    with warnings.catch_warnings():
        if soft_targets is None:  # rows and columns are in order
            warnings.simplefilter("ignore", SoftTargetsAlignmentWarning)
        student.partial_fit(
            X, y, classes=task.classes, sample_weight=sample_weight, soft_targets=labels
        )
    is_strict = soft_targets is None and takes_missing_cells(est.teacher) is False
    return {
        "student_": student,
        "teacher_": est.teacher,
        "classes_": task.classes,
        "multilabel_": False,
        "alpha_": loss["alpha"],
        "temperature_": loss["temperature"],
        "label_source_": "frozen" if soft_targets is None else "given",
        "label_temperature_": 1.0,
        "n_augmented_": 0,
        "duplicate_fraction_": np.nan,
        "candidates_": None,
        "student_candidates_": None,
        "_power": 1.0,
        "_log_prior": None,
        "_strict_teacher": type(est.teacher.estimator).__name__ if is_strict else None,
    }


def _refuse_several_labels(est, y):
    if is_label_indicator(y) or learns_labels(est):
        raise ValueError(
            "partial_fit is for one label of each row: train a student of several labels by its "
            "own partial_fit with soft_targets."
        )


def _student_of(est):
    """Return a copy of the student that training continues, or a new one.

    It has the present parameters. Those that another network would need are an error of its own.
    """
    check_stream(est)
    given = est._get_student()
    for name in ("student_", "_warm_student"):
        if not hasattr(est, name):
            continue
        student = copy.copy(getattr(est, name))  # partial_fit replaces what it changes
        if type(student) is not type(given):
            raise ValueError(
                f"the student is a {type(given).__name__} now, but training continues that of a "
                f"{type(student).__name__}: set student to one, or begin with a clone."
            )
        params = given.get_params(deep=False)
        params.pop("random_state", None)  # it has a seed
        return student.set_params(**params)
    return new_student(est)


def _classes_of(est, classes, soft_targets):
    """Return all sorted labels: those of the first call, or all that are named in it."""
    if hasattr(est, "student_"):
        unknown = [] if classes is None else np.setdiff1d(classes, est.classes_)
        if len(unknown):
            raise ValueError(
                f"classes={np.asarray(classes).tolist()} has labels that are not among those of "
                f"the first call, {est.classes_.tolist()}."
            )
        return est.classes_
    named = [known_classes(est.teacher)]
    if classes is not None:
        named.append(np.unique(classes))
    if soft_targets is not None and is_labeled(soft_targets):
        named.append(column_labels(soft_targets, named[0]))
    return np.unique(np.concatenate(named))

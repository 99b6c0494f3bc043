"""What a batched search trains: candidates, and the way from an estimator to its student."""

import functools

from sklearn.base import clone
from sklearn.pipeline import Pipeline

from sklearn_kd._utils.protocols import Distiller, trains_jointly
from sklearn_kd._utils.sub_estimators import (
    estimator_path,
    inner_estimator,
    innermost_student,
    student_mode,
)

__all__ = ["SEARCHED", "Candidate"]


def _with_student(estimator, student):
    """Put a student in the place of the one there is, in an unfitted estimator."""
    inner = inner_estimator(estimator)
    if inner is None:
        return student
    inner, name = inner
    if name == "student" and isinstance(estimator, Distiller):
        estimator.student = _with_student(inner, student)
    else:
        estimator.steps = [*estimator.steps[:-1], (name, _with_student(inner, student))]
    return estimator


#: Parameters of a meta that "auto" makes a search of, and what they can be instead.
SEARCHED = {"alpha": 0.5, "temperature": 1.0, "augmentation": None}


@functools.cache
def _recorder(kind):
    """Student whose fit checks its data and keeps them in ``data_`` instead of training."""

    def _fit_targets(self, X, y_encoded, weights, soft, y, **options):
        self.data_ = {"X": X, "y_encoded": y_encoded, "weights": weights, "soft": soft, "y": y}
        return self

    return type(kind.__name__, (kind,), {"_fit_targets": _fit_targets})


class Candidate:
    """One setting of the parameters, and how it is fitted together with others."""

    def __init__(self, estimator, params):
        if hasattr(estimator, "_skl_callbacks") or any(
            hasattr(each, "_skl_callbacks") for _, each in estimator_path(estimator)
        ):
            raise ValueError(
                "callbacks of the estimator cannot be told of fits that happen together: remove "
                "them (set_callbacks()), or set them on the search."
            )
        base = list(estimator_path(estimator))
        prefix, student = base[-1]
        n_metas = sum(isinstance(each, Distiller) for _, each in base)
        # not of a subclass, whose own fit and parameters would be passed over
        if not trains_jointly(student) or n_metas > 1:
            found = " > ".join(type(each).__name__ for _, each in base)
            raise TypeError(
                "BatchedGridSearchCV trains a TwoLayerPGDClassifier, alone, as the student of a "
                f"DistilledClassifier, or as the last step of a Pipeline of either; got {found}. "
                "Use GridSearchCV for others."
            )
        self.params = params
        self.estimator = clone(estimator).set_params(**clone(params, safe=False))
        way = list(estimator_path(self.estimator))
        same = [(name, type(each)) for name, each in way] == [(n, type(e)) for n, e in base]
        own = {f"{prefix}{name}" for name in student.get_params(deep=False)}
        self.meta = None  # sets the student's alpha and temperature
        for name, each in way:
            if isinstance(each, Distiller):
                self.meta = each
                #: whether what reaches the student depends on alpha: labels that are mixed before,
                #: a prior that is corrected
                self.mixes = not (
                    each.augmentation is each.class_weight is each.class_prior is None
                )
                if not self.mixes:
                    own |= {f"{name}alpha", f"{name}temperature"}
                for param, number in SEARCHED.items():
                    if getattr(each, param) == "auto":
                        raise ValueError(
                            f"{name}{param}='auto' cannot be batched, since it is a search of its "
                            f"own: set {name}{param}={number}, say, or put values in the grid."
                        )
        replaced = [name for name in params if f"{name}__" in [n for n, _ in [*base, *way]]]
        if replaced or not same:
            replaced += [name for name in params if name.split("__")[-1] == "steps"]
            name = replaced[0] if replaced else next(iter(params))
            raise ValueError(
                f"the parameter {name} cannot be batched, since it replaces what is trained: "
                "search over its own parameters, or use GridSearchCV."
            )
        #: what comes before the student: candidates in which it is equal share it
        self.before = (
            innermost_student(self.estimator).random_state is None,  # draws a seed, or does not
            *(
                (name, _identity(value))
                for name, value in sorted(params.items())
                if name not in own
            ),
        )

    def probe(self):
        """Unfitted estimator whose student records the rows and labels that reach it."""
        probe = clone(self.estimator)
        student = innermost_student(probe)
        # clone, for its metadata requests; its parameters are the candidates' own affair
        recorder = clone(student)
        recorder.__class__ = _recorder(type(student))
        defaults = type(student)().get_params(deep=False)
        # a meta draws a seed for a student that has none
        recorder.set_params(**{**defaults, "random_state": student.random_state})
        probe = _with_student(probe, recorder)
        for _, each in estimator_path(probe):
            if isinstance(each, Distiller) and not self.mixes:
                each.set_params(alpha=0.5, temperature=1.0)
        return probe

    def student(self, data, seed):
        """Student to train on what a probe has recorded, and the ``random_state`` to give it back.

        ``data`` is the recording student, ``seed()`` that of students without one.
        """
        student, meta = clone(innermost_student(self.estimator)), self.meta
        if meta is not None:
            meta._validate_params()
            student_mode(meta._get_student(), meta.alpha, meta.temperature)
            loss = data if self.mixes else meta  # the recording student has what is left to do
            student.set_params(alpha=float(loss.alpha), temperature=float(loss.temperature))
        if student.random_state is None:  # a meta with a seed has seeded the recording one
            student.random_state = data.random_state
        random_state = student.random_state
        if random_state is None:
            student.random_state = seed()
        student._validate_params()
        for name in ("classes_", "n_features_in_", "feature_names_in_"):
            if hasattr(data, name):
                setattr(student, name, getattr(data, name))
        return student, random_state

    def fitted(self, probe, student):
        """Fitted estimator of this candidate, what comes before the student being the probe's."""
        return _assembled(clone(self.estimator), probe, student)


def _assembled(estimator, probe, student):
    """Fill an unfitted estimator with what ``probe`` has fitted, and with its own student."""
    inner = inner_estimator(estimator)
    if inner is None:
        return student
    own = _assembled(inner[0], inner_estimator(probe, fitted=True)[0], student)
    if isinstance(estimator, Pipeline):
        estimator.steps = [*probe.steps[:-1], (inner[1], own)]
        return estimator
    estimator._adopt(probe, own)
    return estimator


def _identity(value):
    """Something hashable that equal settings share."""
    if value is None or isinstance(value, bool | int | float | str):
        return type(value).__name__, value
    return "object", id(value)  # the candidates keep it alive

"""How soft labels reach a student: as they are, or as weighted copies of rows, one per class."""

import warnings
from contextlib import nullcontext

import numpy as np
import pandas as pd
from sklearn.base import clone, is_regressor
from sklearn.pipeline import Pipeline
from sklearn.utils import indexable
from sklearn.utils.metadata_routing import get_routing_for_object, process_routing

from sklearn_kd._answers import mix, temper
from sklearn_kd._memory import check_copies
from sklearn_kd._validation import (
    _check_method_params,
    _num_samples,
    _routing_enabled,
    _safe_indexing,
    fit_parameter_key,
    last_step,
    step_parameter,
)
from sklearn_kd.exceptions import SoftTargetsAlignmentWarning

__all__ = ["StudentFit", "fit_head", "student_mode"]


def expand_rows(Q, sample_weight=None):
    """Return rows, class indices and weights of the copies; those of weight zero are dropped."""
    W = Q if sample_weight is None else sample_weight[:, None] * Q
    rows, columns = np.nonzero(W)
    return rows, columns, W[rows, columns]


def switch_off_validation_split(student):
    """Make an unfitted student, and estimators inside it, train on all rows.

    A split of its own would put copies of one row on both sides, and stop where the copies, not
    the rows, are learnt.
    """
    params = last_step(student).get_params()
    off = {}
    for key, value in params.items():
        owner, name = key[: key.rfind("__") + 2] if "__" in key else "", key.split("__")[-1]
        if name == "early_stopping":
            if isinstance(value, bool | np.bool_ | str):  # "auto" in histogram gradient boosting
                off[key] = False
        elif name == "validation_fraction" and f"{owner}early_stopping" not in params:
            off[f"{owner}n_iter_no_change"] = None  # gradient boosting splits where it is a number
    if off:
        student.set_params(**{step_parameter(student, name): off[name] for name in off})
    return student


def balance_classes(student, Q, sample_weight=None):
    """Take a named class weight ("balanced") of an unfitted student into the labels.

    The student would count copies, of which each row has one a class, and find the classes even.
    Numbers in its place would do, but for students that look them up by encoded labels.
    """
    params = last_step(student).get_params(deep=False)
    if not isinstance(params.get("class_weight"), str):
        return Q
    student.set_params(**{step_parameter(student, "class_weight"): None})
    mass = Q.sum(axis=0) if sample_weight is None else sample_weight @ Q
    return Q * (mass.sum() / (np.count_nonzero(mass) * np.where(mass > 0, mass, 1.0)))


def fit_head(student, X, y, params):
    """Fit the steps of a pipeline before the last; they, and the rows as they leave them."""
    head, head_params = student[:-1], {}
    if _routing_enabled() and params:
        wanted = get_routing_for_object(head).consumes("fit_transform", params)
        head_params = {key: params[key] for key in wanted}
    n_samples = _num_samples(X)
    X = head.fit_transform(X, y, **head_params)
    if _num_samples(X) != n_samples:
        raise ValueError(
            f"the student's steps before the last made {_num_samples(X)} rows of "
            f"{n_samples}; soft labels need the rows they belong to."
        )
    return head, X


def fit_expanded(student, X, y, Q, classes, params, propagate):
    """Fit an unfitted student on the copies of :func:`expand_rows`, in place.

    Parameters
    ----------
    student : estimator or Pipeline
        The steps of a pipeline before the last are fitted on the rows themselves: they should
        see each row once, and an encoder that cross-fits y would leak between copies.
    X, y : the rows and their hard labels
    Q : ndarray of shape (n_samples, n_classes)
        Soft labels, tempered or mixed.
    classes : ndarray of shape (n_classes,)
        Labels of the columns of ``Q``.
    params : dict
        Metadata for ``fit``, sample weights among them.
    propagate : callable
        Context manager around the fit of the last step.
    """
    if isinstance(student, Pipeline):
        name, last = student.steps[-1]
        routed = params
        if _routing_enabled() and params:
            routed = process_routing(student, "fit", **params)[name]["fit"]
        if len(student.steps) > 1:
            head, X = fit_head(student, X, y, params)
            # with memory= the head has fitted copies of its steps
            student.steps = [*head.steps, (name, last)]
        fit_expanded(last, X, y, Q, classes, routed, propagate)
        return
    (X,) = indexable(X)
    params = dict(params)
    rows, columns, weight = expand_rows(Q, params.pop("sample_weight", None))
    params = _check_method_params(X, params=params, indices=rows)
    check_copies(X, len(Q), len(rows))
    with propagate(student):
        student.fit(_safe_indexing(X, rows), classes[columns], sample_weight=weight, **params)


class StudentFit:
    """How labels reach a student: natively, mixed beforehand, or by row expansion."""

    def __init__(self, student, mode, classes):
        self.student, self.mode, self.classes = student, mode, classes

    def fit(self, material, *, propagate=lambda _: nullcontext()):
        """Return a clone fitted on a `Material`."""
        X, y, codes, Q, params, alpha, temperature = material
        student = clone(self.student)
        if self.mode == "expansion":
            switch_off_validation_split(student)
            Q = mix(temper(Q, temperature), codes, alpha)
            Q = balance_classes(student, Q, params.get("sample_weight"))
            fit_expanded(student, X, y, Q, self.classes, params, propagate)
            return student
        if self.mode == "native":
            loss = {"alpha": alpha, "temperature": temperature}
            student.set_params(**{step_parameter(student, name): loss[name] for name in loss})
        else:
            Q = mix(Q, codes, alpha)
        index = X.index if hasattr(X, "iloc") else None
        targets = pd.DataFrame(Q, columns=self.classes, index=index)
        params = {**params, "soft_targets": targets}
        if not _routing_enabled():
            params = {step_parameter(student, name): params[name] for name in params}
        elif last_step(student) is not student:
            last_step(student).set_fit_request(soft_targets=True)
        with propagate(student), warnings.catch_warnings():
            # rows and columns are in order here; a user's own were checked when they came in
            warnings.simplefilter("ignore", SoftTargetsAlignmentWarning)
            student.fit(X, y, **params)
        return student


def student_mode(student, alpha, temperature):
    """Return "native", "mixed" (native without parameters for the loss) or "expansion".

    An ``alpha`` or ``temperature`` of "auto" will be what the student can honour.
    """
    last = last_step(student)
    name = type(last).__name__
    # not is_classifier: third parties may not say what they are
    if hasattr(last, "__sklearn_tags__") and is_regressor(last):
        raise TypeError(
            f"the student {name} is a regressor, whose predictions are not labels: give a "
            "classifier as student."
        )
    if fit_parameter_key(student, "soft_targets") is not None:
        has_loss = {"alpha", "temperature"} <= last.get_params(deep=False).keys()
        mode = "native" if has_loss else "mixed"
    elif fit_parameter_key(student, "sample_weight") is not None:
        mode = "expansion"
    else:
        raise TypeError(
            f"the student {name} cannot learn soft labels: its fit takes neither soft_targets nor "
            "sample_weight."
        )
    pair = f"alpha={alpha!r}, temperature={temperature!r}"
    if alpha == "auto":
        alpha = 1.0
    if temperature == "auto":
        temperature = 1.0
    if alpha > 1 and (mode != "native" or temperature != 1):
        raise ValueError(
            f"{pair}: alpha above 1 needs temperature=1 and a student whose fit takes soft_targets "
            f"and that has the parameters alpha and temperature; the student is {name}."
        )
    if mode == "expansion" and alpha != 1 and temperature != 1:
        raise ValueError(
            f"{pair}: {name} takes sample weights but no soft_targets, and row expansion can "
            "honour alpha=1 with any temperature, or temperature=1 with any alpha in [0, 1]."
        )
    if mode == "mixed" and temperature != 1:
        raise ValueError(
            f"{pair}: {name} takes soft_targets but has no parameters alpha and temperature, so "
            "it can honour temperature=1 only."
        )
    return mode

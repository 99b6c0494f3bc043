"""Fit the student of a distillation."""

import warnings
from contextlib import nullcontext

import pandas as pd
from sklearn.base import clone

from sklearn_kd._distillation.row_expansion import (
    balance_classes,
    fit_expanded,
    switch_off_validation_split,
)
from sklearn_kd._utils.labels import mix, temper
from sklearn_kd._utils.sklearn_compat import routing_enabled
from sklearn_kd._utils.sub_estimators import last_step, step_parameter
from sklearn_kd.exceptions import SoftTargetsAlignmentWarning

__all__ = ["StudentTrainer"]


class StudentTrainer:
    """How labels reach a student: natively, mixed beforehand, or by row expansion."""

    def __init__(self, student, mode, classes):
        self.student, self.mode, self.classes = student, mode, classes

    def fit(self, material, *, propagate=lambda _: nullcontext()):
        """Return a clone fitted on a `Material`."""
        X, y, y_encoded, Q, params, alpha, temperature = material
        student = clone(self.student)
        if self.mode == "expansion":
            switch_off_validation_split(student)
            Q = mix(temper(Q, temperature), y_encoded, alpha)
            Q = balance_classes(student, Q, params.get("sample_weight"))
            fit_expanded(student, X, y, Q, self.classes, params, propagate)
            return student
        if self.mode == "native":
            loss = {"alpha": alpha, "temperature": temperature}
            student.set_params(**{step_parameter(student, name): loss[name] for name in loss})
        else:
            Q = mix(Q, y_encoded, alpha)
        index = X.index if hasattr(X, "iloc") else None
        targets = pd.DataFrame(Q, columns=self.classes, index=index)
        params = {**params, "soft_targets": targets}
        if not routing_enabled():
            params = {step_parameter(student, name): params[name] for name in params}
        elif last_step(student) is not student:
            last_step(student).set_fit_request(soft_targets=True)
        with propagate(student), warnings.catch_warnings():
            # rows and columns are in order here; a user's own were checked when they came in
            warnings.simplefilter("ignore", SoftTargetsAlignmentWarning)
            student.fit(X, y, **params)
        return student

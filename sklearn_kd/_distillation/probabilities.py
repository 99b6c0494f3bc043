"""Distillation of classifiers: what one and several labels of a row have in common."""

from typing import NamedTuple

import numpy as np

from sklearn_kd._distillation.settings import (
    ALPHA_TO_TRY,
    TEMPERATURES_TO_TRY,
    DistillationSetting,
    honors_temperature,
)
from sklearn_kd._distillation.task import Task, difference_in_words
from sklearn_kd._utils.base import python_number


class LabelCalibration(NamedTuple):
    """Calibration of the probabilities of a teacher."""

    #: Slope and offsets for a teacher that has decision values only, or those of each label.
    decision: tuple | None = None
    #: Temperature of probabilities, see `apply_teacher_temperature`, or (n_labels,) temperatures.
    temperature: float | np.ndarray | None = None


class ProbabilityTask(Task):
    """Probabilities of a teacher are learned, and compared by log loss and accuracy."""

    kind = "classifier"
    measures = ("log_loss", "is_wrong")
    gain_prefixes = ("", "accuracy_")
    own_labels = {"loo": "loo_proba_", "oob": "oob_decision_function_"}
    error_name = "Brier score"

    @staticmethod
    def can_mix_before_fit(setting):
        return setting.temperature == 1

    @staticmethod
    def needs_calibration(teacher):
        return not hasattr(teacher, "predict_proba")

    def label_temperature(self, calibration):
        """Return the temperature of a calibration (or None), one if there is none."""
        return (calibration and calibration.temperature) or 1.0

    @staticmethod
    def soft_settings(est, student):
        alpha, temperature = python_number(est.alpha), python_number(est.temperature)
        is_auto = alpha == "auto"
        if is_auto:  # row expansion honors no other alpha at another temperature than 1
            is_softened = student.mode == "expansion" and temperature not in ("auto", 1)
            alpha = 1.0 if is_softened else ALPHA_TO_TRY
        temperatures = [temperature]
        if temperature == "auto":
            is_fixed = is_auto or est.class_weight is not None
            temperatures = [1.0] if is_fixed else TEMPERATURES_TO_TRY
        return [
            DistillationSetting(alpha, T, "soft")
            for T in temperatures
            if T == 1 or honors_temperature(student, alpha)
        ]

    @staticmethod
    def loss_params(setting):
        return {"alpha": setting.alpha, "temperature": setting.temperature}

    @staticmethod
    def loss_in_words(setting):
        return f"alpha = {setting.alpha:g}, T = {setting.temperature:g}"

    @staticmethod
    def setting_columns(settings):
        return {
            "alpha": np.array([s.alpha for s in settings]),
            "temperature": np.array([s.temperature for s in settings]),
        }

    def gain_in_words(self, candidates, index, spec):
        gain, error = candidates["accuracy_gain"][index], candidates["accuracy_gain_error"][index]
        points = {"digits": 1, "unit": " points"}
        words = [difference_in_words("an", "accuracy", 100 * gain, 100 * error, **points)]
        if hasattr(spec.estimator, "predict_proba"):
            gain, error = candidates["gain"][index], candidates["gain_error"][index]
            words.insert(0, difference_in_words("a", "log loss", -gain, error, digits=3))
        return words

"""Distillation of quantiles: those of a teacher at fixed levels, and the pinball loss."""

from dataclasses import dataclass, field, replace

import numpy as np
from sklearn.utils import column_or_1d

from sklearn_kd._distillation.quantile_teacher import (
    check_quantile_teacher,
    distinct_rows_needed,
    predict_quantiles,
)
from sklearn_kd._distillation.regression import RegressionTask, takes_several_targets
from sklearn_kd._distillation.settings import DistillationSetting
from sklearn_kd._distillation.task import difference_in_words
from sklearn_kd._utils.base import python_number
from sklearn_kd._utils.quantile_levels import LEVEL_TOLERANCE, check_levels
from sklearn_kd._utils.regression_targets import check_soft_numbers
from sklearn_kd._utils.responses import as_numbers
from sklearn_kd._utils.sub_estimators import (
    fit_parameter_key,
    last_step,
    refuse_other_kinds,
    refuse_samplers,
)

#: The alpha that "auto" compares with 0, the targets alone. At 1 pinball losses were higher
#: (docs/results.md).
ALPHA_TO_TRY = 0.5


def learned_levels(quantiles):
    """Return the levels that a student learns: those asked for, and the median."""
    levels = check_levels(quantiles)
    if (np.abs(levels - 0.5) < LEVEL_TOLERANCE).any():
        return levels
    return np.sort(np.append(levels, 0.5))


@dataclass(frozen=True)
class QuantileTask(RegressionTask):
    """Quantiles of one target are learned from those of a teacher.

    Encoded targets are the numbers, (n_samples, 1). Labels are the quantiles, (n_samples,
    n_levels), NaN in rows for which the user has given none, or that no fold tests.

    Attributes
    ----------
    levels : ndarray of shape (n_levels,)
        With the median.
    """

    levels: np.ndarray = field(default_factory=lambda: np.array([0.5]))

    #: Quantiles of the rows of a teacher are cross-fitted.
    own_labels = {}
    transfer_rows_per_row = 3  # the student is fitted again without each fold, to be calibrated

    @classmethod
    def of_levels(cls, levels):
        """Return the task before the targets are known, from which `of_rows` makes it."""
        return cls(np.ones(1), np.zeros((2, 1)), False, levels)

    def check_targets(self, y, est):
        y = RegressionTask.check_targets(y, est)
        if y.ndim == 2 and y.shape[1] > 1:
            raise ValueError(
                f"y has {y.shape[1]} targets, and quantiles={est.quantiles} are learned for one: "
                "fit one DistilledRegressor for each target, as "
                "sklearn.multioutput.MultiOutputRegressor does, or set quantiles=None."
            )
        return column_or_1d(y, warn=True)

    def check_soft_targets(self, soft_targets, y):
        soft = check_soft_numbers(soft_targets, y, self.levels)
        if soft.ndim < 3:
            raise ValueError(
                f"soft_targets have the shape {soft.shape}, and with quantiles they need a column "
                f"for each of the levels {self.levels.tolist()}."
            )
        return soft[:, 0], None

    @staticmethod
    def check_given(student, given):
        """Raise ValueError for rows without soft targets that a student cannot learn."""
        if student.mode == "targets" and given is not None and np.isnan(given).any():
            raise ValueError(
                f"soft_targets has rows of NaN, which the student {student.name} cannot learn, "
                "since it has no loss of quantiles: leave these rows out."
            )

    def of_rows(self, y, weight, known):
        task = RegressionTask.of_rows(y, weight, known)
        return replace(self, scale=task.scale, bounds=task.bounds)

    def check_teacher(self, teacher):
        check_quantile_teacher(teacher, self.levels)

    def distinct_rows_needed(self, teacher):
        return distinct_rows_needed(teacher, self.levels)

    def decode(self, y_encoded):
        return y_encoded[:, 0] if y_encoded.shape[1] == 1 else y_encoded

    def hard_labels(self, y_encoded):
        return np.repeat(y_encoded, len(self.levels), axis=1)

    def labels_of_untested(self, y_encoded):
        # NaN: a target in the place of each of its quantiles would draw them together
        return np.full((len(y_encoded), len(self.levels)), np.nan)

    def harden(self, labels):
        """Return a number for each row, drawn from a distribution with the quantiles ``labels``.

        Its mean pinball loss has the quantiles as its minimum, as that of targets has.
        """
        n_samples = len(labels)
        u = np.random.RandomState(0).permutation((np.arange(n_samples) + 0.5) / max(n_samples, 1))
        above = np.searchsorted(self.levels, u)
        low, high = np.maximum(above - 1, 0), np.minimum(above, len(self.levels) - 1)
        rows, span = np.arange(n_samples), self.levels[high] - self.levels[low]
        share = np.where(span > 0, (u - self.levels[low]) / np.where(span > 0, span, 1.0), 0.0)
        drawn = labels[rows, low] + share * (labels[rows, high] - labels[rows, low])
        return drawn[:, None]

    def check_rows(self, est, student, y, weight):
        n_levels = len(self.levels)
        if student.mode == "targets" and n_levels > 1 and not takes_several_targets(student):
            raise ValueError(
                f"the student {student.name} predicts one number, and there are {n_levels} levels "
                "of quantiles: wrap it in sklearn.multioutput.MultiOutputRegressor."
            )

    def predictions(self, teacher, X):
        return self._bounded(predict_quantiles(teacher, X, self.levels)), True

    def _bounded(self, labels):
        return np.clip(labels, self.bounds[0, 0], self.bounds[1, 0])

    @property
    def _median(self):
        return int(np.abs(self.levels - 0.5).argmin())

    def squared_errors(self, labels, y_encoded):
        median = labels[:, [self._median]]
        return super().squared_errors(median, y_encoded)

    @staticmethod
    def student_mode(student, est):
        refuse_samplers(student)
        refuse_other_kinds("student", student, "regressor")
        last = last_step(student)
        has_loss = {"alpha", "loss", "quantiles"} <= last.get_params(deep=False).keys()
        has_quantiles = hasattr(type(last), "predict_quantiles")
        takes_labels = fit_parameter_key(student, "soft_targets") is not None
        return "native" if takes_labels and has_loss and has_quantiles else "targets"

    @staticmethod
    def check_parameters(est, student):
        alpha = python_number(est.alpha)
        if student.mode == "targets" and alpha not in ("auto", 1):
            raise ValueError(
                f"alpha={alpha}, but the student {student.name} has no loss of quantiles, and so "
                'learns those of the teacher alone: set alpha to 1 or "auto".'
            )
        if alpha != "auto" and alpha > 1:
            raise ValueError(
                f"alpha={alpha} is above 1, where the loss of quantiles may have no least value: "
                "set it to at most 1."
            )

    @staticmethod
    def learns_targets(student):
        return student.mode == "native"

    @staticmethod
    def soft_settings(est, student):
        alpha = python_number(est.alpha)
        if alpha == "auto":
            alpha = ALPHA_TO_TRY if student.mode == "native" else 1.0
        return [DistillationSetting(alpha, 1.0, "soft")]

    def loss_params(self, setting):
        levels = tuple(self.levels.tolist())
        return {"alpha": setting.alpha, "loss": "quantile", "quantiles": levels}

    def soft_targets(self, labels, index):
        return labels

    def quantiles_of_student(self, student, mode, X):
        """Return `quantiles_of_student` of the levels of the task."""
        return quantiles_of_student(student, mode, X, self.levels)

    def losses_of_student(self, student, spec, setting, X, y_encoded):
        values = self.quantiles_of_student(student, spec.mode, X)
        return {"loss": self._losses(values, y_encoded, spec)}

    def _losses(self, values, y_encoded, spec):
        """Return the mean pinball losses of rows, in units of the standard deviation of y."""
        errors = (y_encoded - values) / self.scale
        return np.maximum(self.levels * errors, (self.levels - 1) * errors).mean(axis=1)

    def losses_of_labels(self, labels, y_encoded, spec):
        losses = self._losses(labels, y_encoded, spec)
        return np.where(np.isnan(losses), np.nanmean(losses), losses)  # rows without quantiles

    def gain_in_words(self, candidates, index, spec):
        gain, error = candidates["gain"][index], candidates["gain_error"][index]
        name = "mean pinball loss (in units of the standard deviation of y)"
        return [difference_in_words("a", name, -gain, error, digits=4)]


def quantiles_of_student(student, mode, X, levels):
    """Return the quantiles that a fitted student predicts, (n_samples, n_levels), sorted.

    ``mode`` is that of its `StudentSpec`.
    """
    if mode == "native":
        return predict_quantiles(student, X, levels, role="student")
    name = f"the student {type(last_step(student)).__name__}"
    return np.sort(as_numbers(student.predict(X), X, len(levels), name), axis=1)

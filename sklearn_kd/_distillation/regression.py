"""Distillation of regressors: predictions of a teacher, and squared or absolute errors."""

from dataclasses import dataclass

import numpy as np
from sklearn.utils import column_or_1d, get_tags

from sklearn_kd._distillation.settings import DistillationSetting
from sklearn_kd._distillation.task import Task, difference_in_words
from sklearn_kd._utils.base import python_number
from sklearn_kd._utils.regression_targets import (
    check_numbers,
    check_soft_numbers,
    fit_target_units,
    nearest_to_median,
)
from sklearn_kd._utils.responses import as_numbers
from sklearn_kd._utils.sub_estimators import (
    fit_parameter_key,
    is_plain,
    last_step,
    refuse_other_kinds,
    refuse_samplers,
)

#: Values of alpha that "auto" compares with 0, the targets alone. The second has less of the noise
#: of the targets, which is best on small and noisy tables; 1 had a higher loss on four tables. With
#: transfer rows, which have no noise, only the first is tried (docs/results.md).
ALPHAS_TO_TRY = (0.5, 0.8)
#: In-sample mean squared error, in units of the variance of y, below which labels are called
#: memorized.
MIN_SQUARED_DISTANCE = 1e-4


@dataclass(frozen=True)
class RegressionTask(Task):
    """Targets are learned from predictions of a teacher.

    Encoded targets and labels are the numbers, (n_samples, n_targets).

    Attributes
    ----------
    scale : ndarray of float64 of shape (n_targets,)
        Weighted standard deviation of each target, one for a constant. Losses of different targets
        are added in units of it.
    bounds : ndarray of float64 of shape (2, n_targets)
        Least and largest of the targets, which no label of a teacher exceeds.
    is_column : bool
        Whether ``y`` is an array of two dimensions.
    """

    scale: np.ndarray
    bounds: np.ndarray
    is_column: bool

    kind = "regressor"
    hard_name = "targets alone"
    # where the teacher leads, 10 gave networks of 64 neurons more of its lead than 3: see "Settings
    # of a distilled regressor" in docs/results.md
    transfer_rows_per_row = 10
    measures = ("loss",)
    gain_prefixes = ("",)
    own_labels = {"loo": "loo_prediction_", "oob": "oob_prediction_"}
    error_name = "mean squared error, in units of the variance of y,"
    # On four tables it was 6.5 to 8.1 for a forest (in theory 7 in large samples, since a tree has
    # seen 63 % of the rows), 5.3 to 7.9 for histogram boosting, 1.7 to 4.2 for boosted trees of
    # depth 3, and 1.1 to 1.4 for linear models.
    max_error_ratio = 4

    @staticmethod
    def check_targets(y, est):
        if y is None:
            raise ValueError(
                f"{type(est).__name__} requires y to be passed, but the target y is None."
            )
        y = check_numbers(y, "y", allow_nan=True)
        if len(y) == 0:
            raise ValueError(
                f"Found array with 0 sample(s) (shape={y.shape}) while a minimum of 1 is required "
                f"by {type(est).__name__}."
            )
        n_missing = np.isnan(y).reshape(len(y), -1).any(axis=1).sum()
        if n_missing:
            raise ValueError(
                f"Input y contains NaN in {n_missing} rows: drop these rows, or pass them as "
                "X_unlabeled."
            )
        if y.ndim == 2 and y.shape[1] == 1 and not get_tags(est).target_tags.multi_output:
            y = column_or_1d(y, warn=True)
        return y

    @staticmethod
    def check_soft_targets(soft_targets, y):
        return check_soft_numbers(soft_targets, y).reshape(len(y), -1), None

    @classmethod
    def of_rows(cls, y, weight, known):
        weight = np.ones(len(y)) if weight is None else weight
        scale = np.atleast_1d(fit_target_units(y, weight)[1])
        columns = y.reshape(len(y), -1)
        bounds = np.array([columns.min(axis=0), columns.max(axis=0)])
        return cls(np.where(scale > 0, scale, 1.0), bounds, y.ndim == 2)

    @property
    def n_targets(self):
        """Number of targets."""
        return len(self.scale)

    def encode(self, y):
        return y.reshape(len(y), -1)

    def decode(self, y_encoded):
        # a single target without a second dimension, which some estimators warn about
        return y_encoded[:, 0] if self.n_targets == 1 else y_encoded

    def to_fit(self, y):
        return self.decode(self.encode(y))

    def hard_labels(self, y_encoded):
        return np.array(y_encoded)

    def harden(self, labels):
        return labels

    def mix(self, labels, y_encoded, alpha):
        return labels if alpha == 1 else alpha * labels + (1 - alpha) * y_encoded

    def check_rows(self, est, student, y, weight):
        if self.n_targets > 1 and not takes_several_targets(student):
            raise ValueError(
                f"y has {self.n_targets} targets, and the student {student.name} predicts one: "
                "wrap it in sklearn.multioutput.MultiOutputRegressor."
            )

    def check_validation_targets(self, y_val, n_samples):
        y_val = check_numbers(y_val, "y_val")
        if len(y_val) != n_samples or y_val.size != n_samples * self.n_targets:
            raise ValueError(
                f"y_val has the shape {y_val.shape} for the {n_samples} rows of X_val and "
                f"{self.n_targets} targets."
            )
        return self.to_fit(y_val)

    def with_teacher(self, teacher):
        return self

    def predictions(self, teacher, X):
        name = f"the teacher {type(last_step(teacher)).__name__}"
        if not hasattr(teacher, "predict"):
            raise TypeError(f"{name} has no predict, so it cannot give soft labels.")
        return self._bounded(as_numbers(teacher.predict(X), X, self.n_targets, name)), True

    def _bounded(self, labels):
        """Return labels within the range of the targets.

        Kernels and linear models extrapolate, and one number far away would decide the squared
        error of all rows. The nearest number of an interval that has a target in it is never
        further from this target.
        """
        return np.clip(labels, *self.bounds)

    def as_labels(self, values, are_labels, y_encoded, weight):
        return values, None

    def predict_labels(self, teacher, X, calibration):
        return self.predictions(teacher, X)[0]

    def labels_of_own(self, teacher, attribute, n_samples):
        name = f"{attribute} of the teacher {type(teacher).__name__}"
        own = getattr(teacher, attribute)
        own = as_numbers(own, range(n_samples), self.n_targets, name, allow_nan=True)
        has_none = ~np.isfinite(own).all(axis=1)
        if attribute == self.own_labels["oob"]:
            has_none |= _is_never_out_of_bag(teacher, own)
        own = self._bounded(own)
        own[has_none] = np.nan
        return own

    def squared_errors(self, labels, y_encoded):
        return np.square((labels - y_encoded) / self.scale).mean(axis=1)

    def suspicion(self, labels, y_encoded, weight):
        error = np.average(self.squared_errors(labels, y_encoded), weights=weight)
        if error < MIN_SQUARED_DISTANCE:
            return f"their {self.error_name} is {error:.2g}", True
        # out of sample a teacher is no worse than the mean, whose error is one
        return None, error * self.max_error_ratio <= 1

    @staticmethod
    def student_mode(student, est):
        refuse_samplers(student)
        refuse_other_kinds("student", student, "regressor")
        takes_labels = fit_parameter_key(student, "soft_targets") is not None
        has_loss = "alpha" in last_step(student).get_params(deep=False)
        return "native" if takes_labels and has_loss else "targets"

    @staticmethod
    def soft_settings(est, student):
        alpha = python_number(est.alpha)
        alphas = ALPHAS_TO_TRY if alpha == "auto" else (alpha,)
        return [DistillationSetting(each, 1.0, "soft") for each in alphas]

    @staticmethod
    def stops_early(student, labels, weights):
        return not 0 < student.alpha <= 1  # numbers of a teacher are without the noise of labels

    @staticmethod
    def loss_params(setting):
        return {"alpha": setting.alpha}

    @staticmethod
    def loss_in_words(setting):
        return f"alpha = {setting.alpha:g}"

    @staticmethod
    def setting_columns(settings):
        return {"alpha": np.array([s.alpha for s in settings])}

    def soft_targets(self, labels, index):
        return self.decode(labels)

    def losses_of_student(self, student, spec, setting, X, y_encoded):
        values = numbers_of_student(student, X, self.n_targets)
        return {"loss": self._losses(values, y_encoded, spec)}

    def _losses(self, values, y_encoded, spec):
        """Return the losses of rows, of the kind that the student minimizes.

        They are means over targets, in units of the variance of y or of its standard deviation.
        """
        level, errors = predicted_quantile(spec.last_step), (y_encoded - values) / self.scale
        if level is None:
            return np.square(errors).mean(axis=1)
        return np.maximum(level * errors, (level - 1) * errors).mean(axis=1)

    def losses_of_labels(self, labels, y_encoded, spec):
        return self._losses(labels, y_encoded, spec)

    def gain_in_words(self, candidates, index, spec):
        name = "mean squared error (in units of the variance of y)"
        if predicted_quantile(spec.last_step) is not None:
            name = "mean pinball loss (in units of the standard deviation of y)"
        gain, error = candidates["gain"][index], candidates["gain_error"][index]
        return [difference_in_words("a", name, -gain, error, digits=4)]


def takes_several_targets(student):
    """Return whether the student of a `StudentSpec` can be fitted on several targets."""
    last = student.last_step
    return not is_plain(last) or get_tags(last).target_tags.multi_output


def predicted_quantile(estimator):
    """Return the level of the quantile that an unfitted regressor predicts, None for the mean.

    Absolute and Huber losses are for the median, or near to it: outliers that they bound must not
    decide a comparison by squared errors.
    """
    params = estimator.get_params(deep=False)
    losses = [params.get(name) for name in ("loss", "criterion")]
    if "quantile" in losses and "quantiles" in params:  # a network, of several levels
        levels = np.array([0.5] if params["quantiles"] is None else params["quantiles"])
        return float(levels[nearest_to_median(levels)])
    if "quantile" in losses or type(estimator).__name__ == "QuantileRegressor":
        level = params.get("quantile", params.get("alpha"))
        return 0.5 if level is None else float(level)
    robust = ("absolute_error", "huber", "epsilon_insensitive")
    return 0.5 if any(loss in robust for loss in losses if isinstance(loss, str)) else None


def _is_never_out_of_bag(teacher, own):
    """Return a mask of the rows that all estimators of a bagging ensemble have seen.

    scikit-learn has zeros for them.
    """
    is_zero = (own == 0).all(axis=1)
    if not is_zero.any() or not hasattr(teacher, "estimators_samples_"):
        return is_zero
    for seen in teacher.estimators_samples_:
        is_seen = np.zeros(len(own), dtype=bool)
        is_seen[seen] = True
        is_zero &= is_seen
    return is_zero


def numbers_of_student(student, X, n_targets):
    """Return the predictions of a fitted student, (n_samples, n_targets)."""
    name = f"the student {type(last_step(student)).__name__}"
    return as_numbers(student.predict(X), X, n_targets, name)

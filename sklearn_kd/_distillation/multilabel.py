"""Distillation of classifiers of several labels: the probability of each label, on its own."""

from dataclasses import dataclass

import numpy as np

from sklearn_kd._distillation.probabilities import LabelCalibration, ProbabilityTask
from sklearn_kd._utils.calibration import (
    apply_decision_value_calibration,
    apply_teacher_temperature,
    fit_decision_value_calibration,
    fit_teacher_temperature,
)
from sklearn_kd._utils.label_indicators import (
    check_label_indicator,
    check_soft_label_indicator,
    check_validation_indicator,
    takes_label_indicator,
)
from sklearn_kd._utils.labels import check_no_missing_labels
from sklearn_kd._utils.losses import clipped_log
from sklearn_kd._utils.responses import as_label_columns, as_label_proba
from sklearn_kd._utils.sub_estimators import (
    fit_parameter_key,
    is_plain,
    last_step,
    refuse_other_kinds,
    student_mode,
)
from sklearn_kd._utils.validation import ROW_SUM_TOLERANCE
from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd.exceptions import MissingClassWarning

#: Mean distance of in-sample labels from the hard ones, in units of that of the share of each
#: label, below which they are called memorized.
MIN_RELATIVE_DISTANCE = 0.02
#: What a label is calibrated with: it has two classes, both of which are known.
BOTH = np.ones(2, dtype=bool)


@dataclass(frozen=True)
class MultilabelTask(ProbabilityTask):
    """Several labels of a row are learned from their probabilities under a teacher.

    Targets and labels have a column for each label. Losses of a row are means over the labels, each
    of which is a problem of two classes.

    Attributes
    ----------
    n_labels : int
    """

    n_labels: int

    max_error_ratio = 4

    @property
    def classes(self):
        """Indices of the labels, which are ``classes_`` as of scikit-learn's networks."""
        return np.arange(self.n_labels)

    @staticmethod
    def check_targets(y, est):
        check_no_missing_labels(y, "drop these rows, or pass them as X_unlabeled")
        return check_label_indicator(y)

    @staticmethod
    def check_soft_targets(soft_targets, y):
        return check_soft_label_indicator(soft_targets, y), None

    @classmethod
    def of_rows(cls, y, weight, known):
        return cls(y.shape[1])

    def encode(self, y):
        return y

    def decode(self, y_encoded):
        return y_encoded

    def hard_labels(self, y_encoded):
        return y_encoded.astype(np.float64)

    def harden(self, labels):
        return (labels > 0.5).astype(np.int64)

    def mix(self, labels, y_encoded, alpha):
        return labels if alpha == 1 else alpha * labels + (1 - alpha) * y_encoded

    def check_validation_targets(self, y_val, n_samples):
        return check_validation_indicator(y_val, n_samples, self.n_labels)

    @property
    def known_to_networks(self):
        return {"classes": self.classes}

    def with_teacher(self, teacher):
        return self

    def predictions(self, teacher, X):
        name = f"the teacher {type(last_step(teacher)).__name__}"
        if hasattr(teacher, "predict_proba"):
            proba = teacher.predict_proba(X)
            values = as_label_proba(proba, X, self.n_labels, teacher, name)
            if self.n_labels == 2 and not isinstance(proba, list) and len(values) > 1:
                _refuse_two_classes(values, name)
            return values, True
        if not hasattr(teacher, "decision_function"):
            raise TypeError(
                f"{name} has neither predict_proba nor decision_function, so it cannot give soft "
                "labels."
            )
        values = teacher.decision_function(X)
        return as_label_columns(values, X, self.n_labels, f"decision_function of {name}"), False

    def as_labels(self, values, are_labels, y_encoded, weight):
        if are_labels:
            return values, None
        calibration = LabelCalibration(
            tuple(
                fit_decision_value_calibration(_both(-of_label, of_label), y, weight)
                for of_label, y in zip(values.T, y_encoded.T, strict=True)
            )
        )
        return _decision_probabilities(values, calibration), calibration

    def calibrate(self, labels, calibration, teacher, y_encoded, weight):
        if calibration is not None:  # probabilities of decision values are calibrated as they are
            return labels, calibration
        temperatures = [
            fit_teacher_temperature(_both(1 - p, p), y, weight, BOTH)
            for p, y in zip(labels.T, y_encoded.T, strict=True)
        ]
        calibration = LabelCalibration(temperature=np.array(temperatures))
        return _tempered(labels, calibration.temperature), calibration

    def predict_labels(self, teacher, X, calibration):
        values, is_proba = self.predictions(teacher, X)
        if not is_proba:
            return _decision_probabilities(values, calibration)
        return values if calibration is None else _tempered(values, calibration.temperature)

    def label_temperature(self, calibration):
        if calibration is None or calibration.temperature is None:
            return np.ones(self.n_labels)
        return calibration.temperature

    @staticmethod
    def has_out_of_bag_labels(y):
        # forests of scikit-learn fail to compute them if a label is constant
        return bool((y != y[:1]).any(axis=0).all())

    def labels_of_own(self, teacher, attribute, n_samples):
        name, own = type(teacher).__name__, np.asarray(getattr(teacher, attribute))
        if own.ndim == 3:  # (n_samples, 2, n_labels), zeros where a row was never out of bag
            own = np.where(own.sum(axis=1) > 0, own[:, 1], np.nan)
        is_missing = ~np.isfinite(own).all(axis=1)
        labeled = as_label_columns(
            own[~is_missing], own[~is_missing], self.n_labels, f"{attribute} of the teacher {name}"
        )
        values = np.full((n_samples, self.n_labels), np.nan)
        values[~is_missing] = np.clip(labeled, 0, 1)
        return values

    def warn_if_untestable(self, y_encoded, wanted, copy_group):
        for value, without in ((1, ""), (0, "out")):
            has_value = y_encoded == value
            single = np.array([len(np.unique(copy_group[has])) == 1 for has in has_value.T])
            rows = has_value & single & wanted[:, None]
            if rows.any():
                warn_caller(
                    f"the labels {np.flatnonzero(rows.any(axis=0)).tolist()} have one distinct row "
                    f"with{without} them each: a teacher that labels it without having been fitted "
                    "on it cannot know that there are such rows.",
                    MissingClassWarning,
                )

    def squared_errors(self, labels, y_encoded):
        return np.square(labels - y_encoded).mean(axis=1)

    def suspicion(self, labels, y_encoded, weight):
        distance = np.average(np.abs(labels - y_encoded), axis=0, weights=weight)
        share = np.average(y_encoded, axis=0, weights=weight)
        size = (2 * share * (1 - share)).sum()
        if distance.sum() < MIN_RELATIVE_DISTANCE * size:
            return f"their mean distance from the hard labels is {distance.mean():.2g}", True
        return None, size > 0

    @staticmethod
    def student_mode(student, est):
        last = last_step(student)
        name, mode = type(last).__name__, student_mode(student, est.alpha, est.temperature)
        if not takes_soft_label_indicator(student):
            raise ValueError(
                f"the student {name} cannot learn the probabilities of several labels: copies of a "
                "row stand for one class each, so that several labels need a student whose fit "
                "takes soft_targets of shape (n_samples, n_labels), that has predict_proba and the "
                "tag classifier_tags.multi_label. TwoLayerPGDClassifier and ModuleClassifier are "
                f"such students. For a {name}, distill each label alone."
            )
        return mode

    @staticmethod
    def check_parameters(est, student):
        for name in ("class_weight", "class_prior"):
            if getattr(est, name) is not None:
                raise ValueError(
                    f"{name}={getattr(est, name)!r} is about rows that have one class each: set "
                    f"{name}=None for several labels."
                )
        if student.class_weight is not None:
            raise ValueError(
                f"class_weight={student.class_weight!r} of the student is about rows that have one "
                "class each: set class_weight=None for several labels."
            )
        if isinstance(est.student, str):
            raise ValueError(
                "student='auto' compares students of one label for each row: set student=None, or "
                "a student, for several labels."
            )
        if est.alpha != "auto" and est.alpha > 1 and est.augmentation not in (None, "auto"):
            raise ValueError(
                f"alpha={est.alpha} is above 1, where labels are not probabilities: it cannot be "
                "combined with augmentation."
            )

    @staticmethod
    def check_teacher(teacher):
        refuse_other_kinds("teacher", teacher)
        last = last_step(teacher)
        name, is_ours = type(last).__name__, type(last).__module__.startswith("sklearn_kd")
        # others may take several labels and not say so
        if takes_label_indicator(last) or not (is_ours or is_plain(last)):
            return
        raise ValueError(
            f"the teacher {name} takes one label for each row: pass a teacher of several labels, "
            f"such as RandomForestClassifier, or MultiOutputClassifier({name}(...)) of "
            "sklearn.multioutput, which fits one for each label."
        )

    @staticmethod
    def stops_early(student, labels, weights):
        from sklearn_kd._networks.input_checks import SINGLE_ROWS
        from sklearn_kd._networks.resolve import are_almost_hard_labels, stops_early

        return stops_early(student, labels, weights, SINGLE_ROWS, are_almost_hard_labels)

    def soft_targets(self, labels, index):
        return labels

    def losses_of_student(self, student, spec, setting, X, y_encoded):
        name = f"the student {spec.name}"
        proba = as_label_proba(student.predict_proba(X), X, self.n_labels, student, name)
        return self._losses_of_proba(proba, y_encoded)

    def _losses_of_proba(self, proba, y_encoded):
        """Return the mean log loss of the labels of each row, and the share of wrong ones."""
        of_y = np.where(y_encoded == 1, proba, 1 - proba)
        is_wrong = (self.harden(proba) != y_encoded).mean(axis=1)
        return {"log_loss": -clipped_log(of_y).mean(axis=1), "is_wrong": is_wrong}

    def losses_of_labels(self, labels, y_encoded, spec):
        return self._losses_of_proba(labels, y_encoded)["log_loss"]


def takes_soft_label_indicator(student):
    """Return whether a student says that it learns the probabilities of several labels."""
    last = last_step(student)
    takes_labels = fit_parameter_key(student, "soft_targets") is not None
    return takes_labels and takes_label_indicator(last) and hasattr(last, "predict_proba")


def _refuse_two_classes(proba, name):
    """Raise ValueError for probabilities of two classes, which a frozen teacher may have."""
    if np.abs(proba.sum(axis=1) - 1).max() < ROW_SUM_TOLERANCE:
        raise ValueError(
            f"the two probabilities that {name} predicts sum to one in each row, as those of two "
            "classes do: it has to be fitted on the indicator of both labels."
        )


def _both(absent, present):
    return np.column_stack([absent, present])


def _tempered(labels, temperatures):
    """Return probabilities of labels, each at its own temperature."""
    columns = [
        apply_teacher_temperature(_both(1 - p, p), temperature, BOTH)[:, 1]
        for p, temperature in zip(labels.T, temperatures, strict=True)
    ]
    return np.column_stack(columns)


def _decision_probabilities(values, calibration):
    """Return probabilities of labels, given decision values and the calibration of each label."""
    columns = [
        apply_decision_value_calibration(_both(-of_label, of_label), *of_calibration)[:, 1]
        for of_label, of_calibration in zip(values.T, calibration.decision, strict=True)
    ]
    return np.column_stack(columns)

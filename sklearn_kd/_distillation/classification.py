"""Distillation of classifiers: class labels, probabilities of a teacher, log loss and accuracy."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from sklearn_kd._distillation.predictions import StudentPredictor, wanted_shares
from sklearn_kd._distillation.probabilities import LabelCalibration, ProbabilityTask
from sklearn_kd._distillation.teacher_response import (
    as_probabilities,
    fill_missing_classes,
    teacher_predictions,
    warn_if_classes_missing,
    warn_if_classes_missing_in_folds,
)
from sklearn_kd._utils.calibration import (
    apply_decision_value_calibration,
    apply_teacher_temperature,
    fit_teacher_temperature,
)
from sklearn_kd._utils.groups import (
    check_groups_of_classes,
    each_class_has_groups,
    groups_of_classes,
)
from sklearn_kd._utils.labels import (
    align_columns,
    check_no_missing_labels,
    class_factors,
    encode_labels,
    known_classes,
    merge_classes,
    mix_labels,
    plain_labels,
)
from sklearn_kd._utils.losses import log_losses
from sklearn_kd._utils.responses import as_columns, checked_proba
from sklearn_kd._utils.sklearn_compat import check_y
from sklearn_kd._utils.sub_estimators import fit_parameter_key, student_mode
from sklearn_kd._utils.validation import check_soft_targets, check_validation_labels
from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd.exceptions import MissingClassWarning

#: Mean distance of in-sample labels from the hard ones below which they are called memorized.
MIN_DISTANCE_FROM_HARD_LABELS = 0.01
#: In-sample accuracy from which on labels are compared with those of a teacher that has not seen
#: the rows.
MIN_SUSPICIOUS_ACCURACY = 0.9


@dataclass(frozen=True)
class ClassificationTask(ProbabilityTask):
    """Class labels are learned from probabilities of a teacher.

    Encoded targets are positions of labels in ``classes``. Labels have a column for each of these
    classes.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        Sorted labels of ``y`` and of soft targets. A teacher may add its own.
    """

    classes: np.ndarray

    is_stratified = True
    # On four tables, with default settings, it was 3 to 13 for a forest (in theory 7 in large
    # samples, since a tree has seen 63 % of the rows) and 1 to 3 for logistic regression, but 5 and
    # 11 where that reproduced every label.
    max_error_ratio = 4

    @staticmethod
    def check_targets(y, est):
        check_no_missing_labels(y, "drop these rows, or pass them as X_unlabeled")
        return check_y(plain_labels(y), estimator=est)

    @staticmethod
    def check_soft_targets(soft_targets, y):
        return check_soft_targets(soft_targets, y)

    @classmethod
    def of_rows(cls, y, weight, known):
        return cls(encode_labels(y, known)[0])

    @staticmethod
    def strata(y):
        return np.unique(y, return_inverse=True)[1]

    def encode(self, y):
        return encode_labels(y, self.classes)[1]

    def decode(self, y_encoded):
        return self.classes[y_encoded]

    def hard_labels(self, y_encoded):
        return np.eye(len(self.classes))[y_encoded]

    def harden(self, labels):
        return labels.argmax(axis=1)

    def mix(self, labels, y_encoded, alpha):
        return mix_labels(labels, y_encoded, alpha)

    def apply_class_weight(self, class_weight, own_encoded, targets, weight):
        r"""Return labels and row weights of the loss :math:`-\sum_k v_k q_k \ln p_k`.

        v are the class weights. A weight of the row by its hard label alone would not change the
        soft part, since rows of every label ask for the same soft label at any x. At T = 1 q is
        mixed and ``alpha`` is 1. At other temperatures the hard and the soft part of a row share
        one weight, the mean of theirs.

        Parameters
        ----------
        class_weight : dict or "balanced"
        own_encoded : ndarray of int of shape (n_own,)
            Of the training rows, which come first. "balanced" counts labels, not the teacher's
            predictions.
        targets : (Q, y_encoded, alpha)
        weight : ndarray of shape (n_samples,) or None
        """
        Q, y_encoded, alpha = targets
        weight = np.ones(len(Q)) if weight is None else weight
        factors, own = np.ones(len(self.classes)), weight[: len(own_encoded)]
        factors[own_encoded] = class_factors(class_weight, self.classes, own_encoded, own)
        if isinstance(class_weight, dict):  # classes that only the teacher knows
            for code in np.setdiff1d(np.arange(len(factors)), own_encoded):
                factors[code] = class_weight.get(self.classes[code], 1.0)
        Q = Q * factors
        row_sums = Q.sum(axis=1)
        return Q / row_sums[:, None], weight * (alpha * row_sums + (1 - alpha) * factors[y_encoded])

    def align(self, labels, other):
        return None if labels is None else align_columns(labels, self.classes, other.classes)

    def check_rows(self, est, student, y, weight):
        classes = self.classes
        if len(classes) < 2:
            raise ValueError(f"at least two classes are needed, y has 1 class: {classes.tolist()}.")
        y_encoded = self.encode(y)
        if est.class_prior is not None:
            wanted_shares(est.class_prior, classes, y_encoded, weight)
        for class_weight in (est.class_weight, student.class_weight):
            if isinstance(class_weight, dict):  # of all classes, also those of the teacher alone
                class_factors(class_weight, classes, np.arange(len(classes)), None)

    def check_groups(self, groups, y_encoded, purpose):
        check_groups_of_classes(groups, y_encoded, self.classes, purpose)

    @staticmethod
    def can_hold_groups_out(groups, y_encoded):
        return each_class_has_groups(groups, y_encoded)

    def check_validation_targets(self, y_val, n_samples):
        return check_validation_labels(y_val, n_samples, self.classes)

    @property
    def known_to_networks(self):
        return {"classes": self.classes}

    def with_teacher(self, teacher):
        # a frozen teacher, or a network whose classes were given, may know more of them than y has
        return replace(self, classes=merge_classes(self.classes, teacher))

    def predictions(self, teacher, X):
        return teacher_predictions(teacher, X, self.classes)

    def as_labels(self, values, are_labels, y_encoded, weight):
        proba, decision = as_probabilities(values, are_labels, y_encoded, weight)
        return proba, None if decision is None else LabelCalibration(decision)

    def calibrate(self, labels, calibration, teacher, y_encoded, weight):
        if calibration is not None:  # probabilities of decision values are calibrated as they are
            return labels, calibration
        known = self._known(teacher)
        temperature = fit_teacher_temperature(labels, y_encoded, weight, known)
        labels = apply_teacher_temperature(labels, temperature, known)
        return labels, LabelCalibration(temperature=temperature)

    def predict_labels(self, teacher, X, calibration):
        values, is_proba = self.predictions(teacher, X)
        calibration = calibration or LabelCalibration()
        if not is_proba:
            return apply_decision_value_calibration(values, *calibration.decision)
        proba = fill_missing_classes(values)
        return apply_teacher_temperature(proba, calibration.temperature, self._known(teacher))

    def _known(self, teacher):
        """Return a mask of the classes that the teacher knows."""
        return np.isin(self.classes, known_classes(teacher))

    def labels_of_own(self, teacher, attribute, n_samples):
        known, name = known_classes(teacher), f"{attribute} of the teacher {type(teacher).__name__}"
        own = as_columns(getattr(teacher, attribute), n_samples, known, name, np.float64)
        own = np.array(align_columns(own, known, self.classes))  # a copy: rows of it are replaced
        labeled = np.isfinite(own).all(axis=1) & (own.sum(axis=1) > 0)
        proba = checked_proba(own[labeled], name)
        own[labeled] = proba / proba.sum(axis=1, keepdims=True)
        own[~labeled] = np.nan
        return own

    def warn_if_missing(self, values, who):
        warn_if_classes_missing(values, self.classes, who)

    def warn_if_missing_in_folds(self, values):
        warn_if_classes_missing_in_folds(values, self.classes)

    def warn_if_untestable(self, y_encoded, wanted, copy_group):
        counts = groups_of_classes(copy_group, y_encoded, len(self.classes))
        single = np.unique(y_encoded[wanted & (counts[y_encoded] == 1)])
        if len(single):
            warn_caller(
                f"the classes {self.classes[single].tolist()} have one distinct row each: a "
                "teacher that labels it without having been fitted on it cannot know its class. "
                "Those rows keep their hard labels.",
                MissingClassWarning,
            )

    def squared_errors(self, labels, y_encoded):
        return ((labels - np.eye(labels.shape[1])[y_encoded]) ** 2).sum(axis=1)

    def suspicion(self, labels, y_encoded, weight):
        of_y = labels[np.arange(len(y_encoded)), y_encoded]
        distance = 1 - np.average(of_y, weights=weight)
        if distance < MIN_DISTANCE_FROM_HARD_LABELS:
            return f"their mean distance from the hard labels is {distance:.2g}", True
        accuracy = np.average(labels.argmax(axis=1) == y_encoded, weights=weight)
        return None, accuracy >= MIN_SUSPICIOUS_ACCURACY

    @staticmethod
    def student_mode(student, est):
        return student_mode(student, est.alpha, est.temperature)

    @staticmethod
    def check_parameters(est, student):
        is_plain = est.class_weight is None and est.augmentation in (None, "auto")
        if est.alpha != "auto" and est.alpha > 1 and not is_plain:
            raise ValueError(
                f"alpha={est.alpha} is above 1, where labels are not probabilities: it cannot be "
                "combined with class_weight or augmentation."
            )
        if (
            est.class_weight is not None
            and fit_parameter_key(student.estimator, "sample_weight") is None
        ):
            raise TypeError(
                f"class_weight needs a student whose fit takes sample_weight; {student.name} does "
                "not."
            )
        if est.class_prior is not None and student.class_weight is not None:
            raise ValueError(
                f"class_prior cannot be combined with class_weight={student.class_weight!r} of the "
                "student, whose effect on its probabilities is unknown: set class_weight of "
                "DistilledClassifier."
            )
        if est.class_prior is not None and not hasattr(student.estimator, "predict_proba"):
            raise TypeError(
                "class_prior corrects probabilities and needs a student with predict_proba; "
                f"{student.name} has none."
            )

    @staticmethod
    def stops_early(student, labels, weights):
        from sklearn_kd._networks.input_checks import SINGLE_ROWS
        from sklearn_kd._networks.resolve import stops_early

        return stops_early(student, labels, weights, SINGLE_ROWS)

    def soft_targets(self, labels, index):
        return pd.DataFrame(labels, columns=self.classes, index=index)

    def losses_of_student(self, student, spec, setting, X, y_encoded):
        power = setting.temperature if spec.mode == "expansion" else 1.0
        predictor = StudentPredictor(student, self.classes, power)
        if not hasattr(student, "predict_proba"):
            is_wrong = (predictor.predict(X) != self.decode(y_encoded)).astype(float)
            return {"log_loss": is_wrong, "is_wrong": is_wrong}
        return self.losses_of_proba(predictor.predict_proba(X).astype(np.float64), y_encoded)

    def losses_of_proba(self, proba, y_encoded):
        """Return the log loss of each row, and whether its most probable label is wrong."""
        log_loss = log_losses(proba, y_encoded)
        is_wrong = (proba.argmax(axis=1) != y_encoded).astype(float)
        return {
            "log_loss": np.where(np.isnan(log_loss), np.inf, log_loss),
            "is_wrong": is_wrong,
        }

    def losses_of_labels(self, labels, y_encoded, spec):
        has_proba = hasattr(spec.estimator, "predict_proba")
        return self.losses_of_proba(labels, y_encoded)["log_loss" if has_proba else "is_wrong"]

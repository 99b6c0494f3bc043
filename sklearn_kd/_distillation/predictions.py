"""Labels before and after the student: mixed and tempered, and its answers without either."""

import numpy as np
from scipy.special import log_softmax

from sklearn_kd._utils.labels import align_columns, mix, temper, untemper_log
from sklearn_kd._utils.sub_estimators import last_step

__all__ = ["StudentPredictor"]


class StudentPredictor:
    r"""Answers of a fitted student.

    Parameters
    ----------
    student : estimator
    classes : ndarray of shape (n_classes,)
        Labels of the columns, of which the student may lack some.
    power : float
        What its probabilities g are raised to, then normalized: :math:`\mathrm{softmax}(c \ln g)`.
        T, where it was fitted on labels tempered by that.
    log_prior : ndarray of shape (n_classes,) or None
        Added to the logarithms of the probabilities, which are then normalized.
    """

    def __init__(self, student, classes, power=1.0, log_prior=None):
        self.student, self.classes = student, classes
        self.power, self.log_prior = power, log_prior

    @property
    def known(self):
        """Labels that the student's own columns are for."""
        return np.asarray(getattr(self.student, "classes_", self.classes))

    def proba(self, X):
        """Probabilities, (n_samples, n_classes)."""
        if self.log_prior is not None:
            return np.exp(self.log_proba(X))
        proba = temper(np.asarray(self.student.predict_proba(X)), 1 / self.power)
        return align_columns(proba, self.known, self.classes)

    def log_proba(self, X):
        """Logarithm of `proba`; -inf for a class that the student never saw."""
        with np.errstate(divide="ignore"):
            if hasattr(self.student, "predict_log_proba"):
                log_g = np.asarray(self.student.predict_log_proba(X))
            else:
                log_g = np.log(np.asarray(self.student.predict_proba(X)))
        log_g = untemper_log(log_g, self.power)
        log_g = align_columns(log_g, self.known, self.classes, fill=-np.inf)
        if self.log_prior is None:
            return log_g
        shifted = log_g + self.log_prior.astype(log_g.dtype)
        # sure of classes that cannot be: what is left is the prior
        lost = np.isneginf(shifted).all(axis=1)
        shifted[lost] = self.log_prior
        return log_softmax(shifted, axis=1)

    def decision(self, X):
        """Decision values; below all others of its row for a class that was never seen.

        With a prior they are log-odds of two classes, log-probabilities of more.
        """
        if self.log_prior is not None:
            log_g = self.log_proba(X)
            return log_g[:, 1] - log_g[:, 0] if len(self.classes) == 2 else log_g
        values = np.asarray(self.student.decision_function(X)) * self.power
        known = self.known
        if len(known) == len(self.classes):
            return values
        if values.ndim == 1:
            values = np.column_stack([-values, values])
        lowest = values.min(axis=1, keepdims=True) - 1
        return lowest + align_columns(values - lowest, known, self.classes)

    def labels(self, X):
        """Predicted labels, in the dtype of the classes."""
        if self.log_prior is not None:
            return self.classes[self.log_proba(X).argmax(axis=1)]
        labels = np.asarray(self.student.predict(X))
        if labels.dtype == self.classes.dtype:
            return labels
        # string labels come back as objects from a student that read them from a DataFrame; a
        # cast must not make a label out of something else
        unknown = set(labels.ravel().tolist()) - set(self.classes.tolist())
        if unknown:
            raise ValueError(
                f"the student {type(last_step(self.student)).__name__} predicts "
                f"{next(iter(unknown))!r}, which is not one of the classes "
                f"{self.classes.tolist()}: is it a classifier?"
            )
        return labels.astype(self.classes.dtype)


def _prior_shift(class_prior, material, lesson):
    """Logarithms of what the probabilities of each class are multiplied by, or None."""
    if class_prior is None:
        return None
    n_classes, rows = len(lesson.classes), lesson.rows
    if isinstance(class_prior, str):
        wanted = np.ones(n_classes)
        if class_prior == "training":
            wanted = np.bincount(lesson.y_encoded, weights=rows.weight, minlength=n_classes)
    else:
        wanted = np.asarray(class_prior, dtype=np.float64)
        is_valid = (wanted >= 0).all() and 0 < wanted.sum() < np.inf
        if wanted.shape != (n_classes,) or not is_valid:
            raise ValueError(
                f"class_prior must be {n_classes} non-negative numbers, one for each class of "
                f"{lesson.classes.tolist()}, got {class_prior!r}."
            )
    weight = material.params.get("sample_weight", np.ones(len(material.y_encoded)))
    learnt = weight @ mix(material.Q, material.y_encoded, material.alpha)
    with np.errstate(divide="ignore"):
        shift = np.log(wanted / wanted.sum()) - np.log(learnt / learnt.sum())
    return np.where(learnt > 0, shift, 0.0)

"""Predictions of a fitted student: columns, temperature and class prior of its probabilities."""

import numpy as np
import pandas as pd
from scipy.special import log_softmax

from sklearn_kd._utils.label_indicators import learns_labels
from sklearn_kd._utils.labels import (
    align_columns,
    apply_temperature,
    invert_temperature,
    mix_labels,
)
from sklearn_kd._utils.responses import (
    as_decision_values,
    as_label_columns,
    as_label_proba,
    as_labels,
    as_log_proba,
    as_proba,
)
from sklearn_kd._utils.sub_estimators import last_step


class StudentPredictor:
    r"""Predictions of a fitted student in the classes of the DistilledClassifier.

    Parameters
    ----------
    student : estimator
    classes : ndarray of shape (n_classes,)
        Labels of the columns, of which the student may lack some.
    power : float, default=1.0
        Exponent c of the student's probabilities g, which become
        :math:`\mathrm{softmax}(c \ln g)`. It is T for a student that was fitted on labels
        tempered by T.
    log_prior : ndarray of shape (n_classes,), default=None
        Added to the logarithms of the probabilities, which are then normalized.
    """

    def __init__(self, student, classes, power=1.0, log_prior=None):
        self.student, self.classes = student, classes
        self.power, self.log_prior = power, log_prior

    @property
    def student_classes(self):
        """Labels of the columns of the student's own predictions."""
        return np.asarray(getattr(self.student, "classes_", self.classes))

    @property
    def _name(self):
        return f"the student {type(last_step(self.student)).__name__}"

    def predict_proba(self, X):
        """Return probabilities, (n_samples, n_classes)."""
        if self.log_prior is not None:
            return np.exp(self.predict_log_proba(X))
        proba = apply_temperature(self._own_proba(X), 1 / self.power)
        return align_columns(proba, self.student_classes, self.classes)

    def _own_proba(self, X):
        """Return the probabilities of the student for its own classes."""
        return as_proba(self.student.predict_proba(X), X, self.student_classes, self._name)

    def predict_log_proba(self, X):
        """Return logarithms of the probabilities, -inf for a class that the student never saw."""
        known = self.student_classes
        if hasattr(self.student, "predict_log_proba"):
            log_g = as_log_proba(self.student.predict_log_proba(X), X, known, self._name)
        else:
            with np.errstate(divide="ignore"):
                log_g = np.log(self._own_proba(X))
        log_g = invert_temperature(log_g, self.power)
        log_g = align_columns(log_g, known, self.classes, fill=-np.inf)
        if self.log_prior is None:
            return log_g
        shifted = log_g + self.log_prior.astype(log_g.dtype)
        # if all classes that the student considers have a prior of zero, the prior alone remains
        is_lost = np.isneginf(shifted).all(axis=1)
        shifted[is_lost] = self.log_prior
        return log_softmax(shifted, axis=1)

    def decision_function(self, X):
        """Return decision values, for a class that was never seen below all others of the row.

        With a prior they are log-odds for two classes and log-probabilities for more.
        """
        if self.log_prior is not None:
            log_g = self.predict_log_proba(X)
            return log_g[:, 1] - log_g[:, 0] if len(self.classes) == 2 else log_g
        known = self.student_classes
        values = self.student.decision_function(X)
        values = as_decision_values(values, X, known, self.student, self._name) * self.power
        if len(known) == len(self.classes) == 2:
            if values.ndim == 2:
                values = values[:, 1] - values[:, 0]
            return values if known[1] == self.classes[1] else -values
        if len(known) == len(self.classes):
            return align_columns(values, known, self.classes)
        if values.ndim == 1:
            values = np.column_stack([-values, values])
        lowest = values.min(axis=1, keepdims=True) - 1
        return lowest + align_columns(values - lowest, known, self.classes)

    def predict(self, X):
        """Return predicted labels, in the dtype of the classes."""
        if self.log_prior is not None:
            return self.classes[self.predict_log_proba(X).argmax(axis=1)]
        return as_labels(self.student.predict(X), X, self.classes, self._name)


class LabelPredictor:
    """Predictions of a fitted student of several labels, in arrays of a column for each label.

    Parameters
    ----------
    student : estimator
    n_labels : int
    """

    def __init__(self, student, n_labels):
        self.student, self.n_labels = student, n_labels
        self._name = f"the student {type(last_step(student)).__name__}"

    def predict_proba(self, X):
        """Return the probability of each label."""
        proba = self.student.predict_proba(X)
        return as_label_proba(proba, X, self.n_labels, self.student, self._name)

    def predict_log_proba(self, X):
        """Return the logarithm of the probability of each label."""
        if not hasattr(self.student, "predict_log_proba"):
            with np.errstate(divide="ignore"):
                return np.log(self.predict_proba(X))
        return self._columns("predict_log_proba", X)

    def decision_function(self, X):
        """Return the decision value of each label."""
        return self._columns("decision_function", X)

    def predict(self, X):
        """Return the indicator of the labels."""
        return self._columns("predict", X).astype(np.int64)

    def _columns(self, method, X):
        values, name = getattr(self.student, method)(X), f"{method} of {self._name}"
        return as_label_columns(values, X, self.n_labels, name)


def fitted_predictor(est):
    """Return the predictor of a fitted DistilledClassifier."""
    if learns_labels(est):
        return LabelPredictor(est.student_, len(est.classes_))
    return StudentPredictor(est.student_, est.classes_, est._power, est._log_prior)


def n_target_columns(est):
    """Return the number of columns that a fitted DistilledRegressor predicts, None without any."""
    return est._n_targets


def log_prior_shift(class_prior, data, training_set):
    """Return the logarithm of the factor of each class's probabilities, or None without a prior.

    The factor is the share of the class where the student will predict, over its share in what the
    student was fitted on. Classes that the student was not fitted on keep their probability.

    Parameters
    ----------
    class_prior : as in :class:`~sklearn_kd.DistilledClassifier`
    data : LabeledTrainingData
    training_set : StudentTrainingSet

    Returns
    -------
    shift : ndarray of shape (n_classes,) or None
    """
    if class_prior is None:
        return None
    wanted = wanted_shares(class_prior, data.task.classes, data.y_encoded, data.rows.weight)
    weight = training_set.params.get("sample_weight", np.ones(len(training_set.y_encoded)))
    learned = weight @ mix_labels(
        training_set.soft_labels, training_set.y_encoded, training_set.alpha
    )
    with np.errstate(divide="ignore"):
        shift = np.log(wanted / wanted.sum()) - np.log(learned / learned.sum())
    return np.where(learned > 0, shift, 0.0)


def wanted_shares(class_prior, classes, y_encoded, weight):
    """Return the shares of the classes where the student will predict, up to a factor.

    Parameters
    ----------
    class_prior : "uniform", "training", dict, Series or array-like of shape (n_classes,)
        A Series whose index are the labels is read by label, as a dict is.
    classes : ndarray of shape (n_classes,)
    y_encoded : ndarray of int of shape (n_samples,)
    weight : ndarray of shape (n_samples,) or None

    Returns
    -------
    ndarray of shape (n_classes,)
    """
    if isinstance(class_prior, str):
        if class_prior == "training":
            return np.bincount(y_encoded, weights=weight, minlength=len(classes))
        return np.ones(len(classes))
    shares, labels = class_prior, classes.tolist()
    if isinstance(class_prior, pd.Series) and set(class_prior.index) == set(labels):
        class_prior = class_prior.to_dict()  # such as y.value_counts(), sorted by frequency
    if isinstance(class_prior, dict):
        if set(class_prior) != set(labels):
            raise ValueError(
                f"class_prior has the keys {list(class_prior)}, but the classes are {labels}: give "
                "the share of each class."
            )
        shares = [class_prior[label] for label in labels]
    try:
        wanted = np.asarray(shares, dtype=np.float64)
    except (TypeError, ValueError):
        wanted = np.empty(0)
    is_valid = (wanted >= 0).all() and 0 < wanted.sum() < np.inf
    if wanted.shape != (len(classes),) or not is_valid:
        raise ValueError(
            f"class_prior must be {len(classes)} non-negative numbers, one for each class of "
            f"{labels}, got {class_prior!r}."
        )
    return wanted

"""Recording estimators and data for tests of the selection on held-out rows."""

import warnings
from functools import partial

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
from sklearn_kd.exceptions import NoGainWarning
from tests._helpers.data import blobs
from tests._helpers.estimators import SoftmaxStudent

#: What the recording estimators saw: (what, values) in order.
LOG = []
network = partial(TwoLayerPGDClassifier, 4, max_iter=60, encoder=None, random_state=0)


def quietly(model, *args, **params):
    """Fit without a warning that hard labels are selected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoGainWarning)
        return model.fit(*args, **params)


def values_in(X):
    return set(np.asarray(X).ravel().tolist())


class RecordingTeacher(GaussianNB):
    def fit(self, X, y, sample_weight=None):
        self.seen_ = values_in(X)
        LOG.append(("teacher", self.seen_))
        return super().fit(np.asarray(X, dtype=float), y, sample_weight)

    def predict_proba(self, X):
        LOG.append(("answers", self.seen_, values_in(X)))
        return super().predict_proba(np.asarray(X, dtype=float))


class RecordingStep(TransformerMixin, BaseEstimator):
    """First step of a student that records the rows of the fit, and those that are predicted."""

    def fit(self, X, y=None):
        self.seen_ = values_in(X)
        LOG.append(("student", self.seen_))
        return self

    def fit_transform(self, X, y=None):
        return self.fit(X)._numbers(X)

    def transform(self, X):
        LOG.append(("judged", self.seen_, values_in(X)))
        return self._numbers(X)

    def _numbers(self, X):
        return np.asarray(X, dtype=float)


class Noise(ClassifierMixin, BaseEstimator):
    """Teacher with confident probabilities that are independent of the classes."""

    def fit(self, X, y, sample_weight=None):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        K = len(self.classes_)
        chaos = 1e4 * np.sin(1e4 * np.asarray(X, dtype=float).sum(axis=1))
        at_random = np.floor(chaos).astype(int) % K
        return np.where(np.eye(K)[at_random] == 1, 0.9, 0.1 / (K - 1))

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def noisy_labels(n, n_features=12, seed=0):
    """Return rows, labels drawn from probabilities, and the coefficients of the probabilities."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, n_features))
    coef = rng.normal(size=n_features) / 2
    return X, (rng.random(n) < expit(X @ coef)).astype(int), tuple(coef)


def overlapping(n=160, n_classes=3, seed=0):
    return blobs(n, n_classes, spread=4.0, seed=seed)


PLAIN_STUDENTS = {
    "expansion": LogisticRegression(),
    "native": SoftmaxStudent(l2=1e-2),
    "network": network(),
}


def recording(student, **params):
    params = {"random_state": 0, **params}
    student = make_pipeline(RecordingStep(), PLAIN_STUDENTS[student])
    return DistilledClassifier(RecordingTeacher(), student, **params)


def few(n=99):
    X, y = overlapping(100)
    return X[:n], y[:n]


CONTAINERS = {
    "array": lambda X: X,
    "float32": lambda X: X.astype(np.float32),
    "list": lambda X: X.tolist(),
    "frame": lambda X: pd.DataFrame(X, columns=list("abc")),
    "csr": sp.csr_matrix,
    "csc": sp.csc_array,
}

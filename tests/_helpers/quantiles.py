"""A teacher of quantiles, and targets whose noise depends on the row."""

import numpy as np
from scipy.stats import norm
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression

LEVELS = (0.05, 0.5, 0.95)


def fans(n=120, seed=0):
    """Return rows, and targets whose deviation is exp of the first column."""
    rng = np.random.RandomState(seed)
    X = rng.uniform(-1, 1, size=(n, 3))
    return X, 2 * X[:, 1] + np.exp(X[:, 0]) * rng.normal(size=n)


def fan_quantiles(X, levels=LEVELS):
    """Return the true quantiles of `fans`."""
    return 2 * X[:, 1:2] + np.exp(X[:, :1]) * norm.ppf(levels)


class FanTeacher(RegressorMixin, BaseEstimator):
    """Normal distributions with a linear mean and a log-linear deviation.

    ``log`` is a list that takes the rows of each fit and of each prediction, or None.
    """

    def __init__(self, log=None):
        self.log = log

    def __deepcopy__(self, memo):
        return FanTeacher(self.log)

    def __sklearn_clone__(self):
        return FanTeacher(self.log)  # the same list

    def fit(self, X, y, sample_weight=None):
        """Fit both by least squares."""
        self.mean_ = LinearRegression().fit(X, y, sample_weight)
        error = np.abs(y - self.mean_.predict(X))
        spread = np.log(error + 1e-3 * error.mean() + 1e-300)
        self.spread_ = LinearRegression().fit(X, spread, sample_weight)
        self.factor_ = 1.0
        self.factor_ = np.sqrt(np.average((error / self._deviation(X)) ** 2, weights=sample_weight))
        self.rows_ = set(np.asarray(X)[:, 0].tolist())
        if self.log is not None:
            self.log.append(("teacher", self.rows_))
        return self

    def _deviation(self, X):
        return self.factor_ * np.exp(self.spread_.predict(X))

    def predict(self, X):
        """Predict the mean."""
        return self.mean_.predict(X)

    def predict_quantiles(self, X, quantiles):
        """Predict quantiles."""
        if self.log is not None:
            self.log.append(("labels", self.rows_, set(np.asarray(X)[:, 0].tolist()), len(X)))
        return self.predict(X)[:, None] + self._deviation(X)[:, None] * norm.ppf(quantiles)


class RecordingLines(LinearRegression):
    """Linear regression that keeps the rows of its fits in a list."""

    LOG: list = []

    def fit(self, X, y, sample_weight=None):
        """Fit the lines."""
        RecordingLines.LOG.append(set(np.asarray(X)[:, 0].tolist()))
        return super().fit(X, y, sample_weight)

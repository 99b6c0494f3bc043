"""Stand-ins for classifiers of other packages, whose predictions have other forms."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression


class OtherPackage(ClassifierMixin, BaseEstimator):
    """Logistic regression whose predictions are returned in other forms.

    Parameters
    ----------
    labels, proba, log_proba, decision : callable, default=None
        Applied to what the method returns, a sequence of labels or an array.
    """

    def __init__(self, labels=None, proba=None, log_proba=None, decision=None):
        self.labels, self.proba = labels, proba
        self.log_proba, self.decision = log_proba, decision

    def fit(self, X, y, sample_weight=None):
        self.model_ = LogisticRegression(max_iter=1000).fit(X, y, sample_weight)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        return _changed(self.model_.predict(X), self.labels)

    def predict_proba(self, X):
        return _changed(self.model_.predict_proba(X), self.proba)

    def predict_log_proba(self, X):
        return _changed(self.model_.predict_log_proba(X), self.log_proba)

    def decision_function(self, X):
        return _changed(self.model_.decision_function(X), self.decision)


def _changed(values, change):
    return values if change is None else change(values)


def as_column(labels):
    """Return labels as CatBoost does for more than two classes."""
    return np.asarray(labels)[:, None]


class CodesOnly(OtherPackage):
    """Stand-in for XGBClassifier, which takes the labels 0 to n_classes - 1 only."""

    def fit(self, X, y, sample_weight=None):
        found = np.unique(y)
        expected = np.arange(len(found))
        if found.dtype.kind not in "iu" or not np.array_equal(found, expected):
            raise ValueError(
                "Invalid classes inferred from unique values of `y`.  "
                f"Expected: {expected}, got {found}"
            )
        super().fit(X, y, sample_weight)
        self.classes_ = expected
        self.n_fits_ = 1
        return self

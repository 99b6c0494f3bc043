"""Estimators and callbacks that tests train, teach with and listen by."""

import numpy as np
from scipy.special import expit, log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_kd._utils.protocols import Distiller


class SoftmaxStudent(ClassifierMixin, BaseEstimator):
    """Native student, independent of the package: softmax regression by Newton's method."""

    def __init__(self, alpha=1.0, temperature=1.0, l2=0.0):
        self.alpha = alpha
        self.temperature = temperature
        self.l2 = l2

    def fit(self, X, y, sample_weight=None, soft_targets=None):
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        self.classes_, y_encoded = np.unique(y, return_inverse=True)
        alpha, Q = self.alpha, soft_targets
        if hasattr(Q, "columns"):
            self.classes_ = np.union1d(np.asarray(Q.columns), np.unique(y))
            y_encoded = np.searchsorted(self.classes_, np.asarray(y))
            Q = Q.reindex(columns=self.classes_, fill_value=0.0).to_numpy()
        hard = np.eye(len(self.classes_))[y_encoded]
        if Q is None:
            alpha, Q = 0.0, hard
        self.received_ = np.array(Q)
        T = self.temperature
        with np.errstate(divide="ignore"):
            target = softmax(np.log(Q) / T, axis=1)
        w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, float)
        w = w / w.sum()
        A = np.column_stack([X, np.ones(len(X))])
        shape = (A.shape[1], len(self.classes_))

        def loss(W):
            f = A @ W
            soft, plain = log_softmax(f / T, axis=1), log_softmax(f, axis=1)
            value = -w @ (alpha * T**2 * target * soft + (1 - alpha) * hard * plain).sum(axis=1)
            return value + self.l2 / 2 * (W**2).sum()

        W = np.zeros(shape)
        for _ in range(100):
            f = A @ W
            P, R = softmax(f / T, axis=1), softmax(f, axis=1)
            gradient = A.T @ (w[:, None] * (alpha * T * (P - target) + (1 - alpha) * (R - hard)))
            gradient += self.l2 * W
            curve = alpha * (np.eye(shape[1]) * P[:, None] - P[:, None] * P[:, :, None])
            curve += (1 - alpha) * (np.eye(shape[1]) * R[:, None] - R[:, None] * R[:, :, None])
            H = np.einsum("n,na,nkl,nb->akbl", w, A, curve, A, optimize=True)
            H = H.reshape(W.size, W.size) + self.l2 * np.eye(W.size)
            step = np.linalg.lstsq(H, -gradient.ravel(), rcond=1e-12)[0].reshape(shape)
            size, now = 1.0, loss(W)
            while size > 1e-6 and loss(W + size * step) > now + 1e-12:
                size /= 2
            W = W + size * step
            if np.abs(size * step).max() < 1e-12:
                break
        self.coef_ = W
        return self

    def _logits(self, X):
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        return np.column_stack([X, np.ones(len(X))]) @ self.coef_

    def decision_function(self, X):
        f = self._logits(X)
        return f[:, 1] - f[:, 0] if len(self.classes_) == 2 else f

    def predict_proba(self, X):
        return softmax(self._logits(X), axis=1)

    def predict(self, X):
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]


class DecisionOnly(LogisticRegression):
    predict_proba = property()  # hasattr is False
    predict_log_proba = property()


class LeaveOneOut(LogisticRegression):
    """Stands for a teacher with leave-one-out probabilities: its own, made cautious."""

    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        P = self.predict_proba(X) ** 0.5
        self.loo_proba_ = P / P.sum(axis=1, keepdims=True)
        return self


class Oracle(ClassifierMixin, BaseEstimator):
    """Teacher that knows the true logit of two classes, up to a factor.

    The logit is linear in the first features, as many as `coef` has numbers.
    """

    def __init__(self, coef=(1.0,), scale=1.0):
        self.coef = coef
        self.scale = scale

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        f = self.scale * np.asarray(X)[:, : len(self.coef)] @ np.asarray(self.coef)
        return np.column_stack([expit(-f), expit(f)])

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class Recorder:
    """Callback of one estimator that writes down the tasks it sees."""

    def __init__(self):
        self.events, self.models, self.setups = [], [], 0

    def setup(self, estimator, context):
        self.setups += 1
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.setups -= 1
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context, **_):
        self.events.append(("begin", context.task_name))

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None, X=None, y=None, **_):
        self.events.append(("end", context.task_name))
        self.models.append((fitted_estimator, X, y))


class PropagatedRecorder(Recorder):
    """Recorder that reaches the sub-estimators, and scores models while they are fitted."""

    def __init__(self, max_propagation_depth=None):
        super().__init__()
        self.max_propagation_depth = max_propagation_depth
        self.begun, self.ended, self.scores = [], [], []

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
        self.begun.append((context.task_name, context.source_task_name))

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        self.ended.append((context.task_name, context.source_task_name))
        if fitted_estimator is not None and isinstance(estimator, Distiller):
            self.scores.append(fitted_estimator.score(X, y))


def fitted_names(estimator):
    """Return what a fit has left."""
    return {name for name in vars(estimator) if name.endswith("_") and not name.startswith("__")}

"""Independent references in plain NumPy, data, and settings that all tests share."""

import importlib
import os
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from scipy.special import expit, log_softmax, softmax, xlogy
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted, validate_data

settings.register_profile("fixed", deadline=None, derandomize=True, database=None)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


#: DistilledClassifier that chooses nothing on held-out rows.
FIXED = {"alpha": 0.5, "temperature": 1.0, "augmentation": None}


# References, written for clarity: loops, float64, no shared code with the package


def naive_logits(X, W, A):
    """f_k(x) = m^-1/2 sum_j A_jk relu(<W_j, x>) by loops, (rows, outputs)."""
    m = len(W)
    F = np.zeros((len(X), A.shape[1]))
    for i, x in enumerate(X):
        for j in range(m):
            F[i] += A[j] * max(0.0, float(W[j] @ x)) / np.sqrt(m)
    return F


def naive_proba(F):
    """(rows, classes) probabilities of (rows, 1) or (rows, K) logits."""
    if F.shape[1] == 1:
        return np.c_[expit(-F), expit(F)]
    return softmax(F, axis=1)


def naive_log_proba(F):
    if F.shape[1] == 1:
        F = np.c_[np.zeros(len(F)), F[:, 0]]
    return log_softmax(F, axis=1)


def naive_kl(P, F):
    """KL(p || mu(f)) of each row; P (rows, classes)."""
    return (xlogy(P, P) - P * naive_log_proba(F)).sum(axis=1)


def naive_gradient(X, P, weights, W, A):
    """maths.md 1: (1/sum w) sum_i w_i (mu - p) A_j m^-1/2 1[<W_j, x_i> > 0] x_i."""
    share = weights / weights.sum()
    m = len(W)
    residual = naive_proba(_logits(X, W, A)) - P
    if A.shape[1] == 1:
        residual = residual[:, 1:]
    G = np.zeros_like(W)
    for j in range(m):
        active = X @ W[j] > 0
        G[j] = (share * active * (residual @ A[j])) @ X / np.sqrt(m)
    return G


def _logits(X, W, A):
    return np.maximum(X @ W.T, 0) @ A / np.sqrt(len(W))


def naive_pgd(X, P, W0, A, *, step_size, n_steps, radius=None, weights=None):
    """Projected gradient descent of maths.md 1.

    Returns the weights after each step (the start first) and the KL risk before each.
    """
    weights = np.ones(len(X)) if weights is None else weights
    path, risks = [W0], []
    for _ in range(n_steps):
        W = path[-1]
        risks.append(np.average(naive_kl(P, _logits(X, W, A)), weights=weights))
        D = W - step_size * naive_gradient(X, P, weights, W, A) - W0
        if radius is not None:
            norm = np.linalg.norm(D, axis=1, keepdims=True)
            limit = radius / np.sqrt(len(W))
            D = np.where(norm > limit, D * limit / np.maximum(norm, 1e-300), D)
        path.append(W0 + D)
    return path, np.array(risks)


def central_difference(function, x, h=1e-6):
    """Gradient of a scalar function of an array."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += h
        down[index] -= h
        gradient[index] = (function(up) - function(down)) / (2 * h)
    return gradient


def one_hot(codes, n_classes):
    return np.eye(n_classes)[codes]


def random_proba(rng, n, n_classes, concentration=1.0):
    return rng.dirichlet(np.full(n_classes, concentration), size=n)


# Estimators


class SoftmaxStudent(ClassifierMixin, BaseEstimator):
    """Native student, independent: softmax regression by Newton's method, maths.md 6."""

    def __init__(self, alpha=1.0, temperature=1.0, l2=0.0):
        self.alpha = alpha
        self.temperature = temperature
        self.l2 = l2

    def fit(self, X, y, sample_weight=None, soft_targets=None):
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        self.classes_, codes = np.unique(y, return_inverse=True)
        alpha, Q = self.alpha, soft_targets
        if hasattr(Q, "columns"):
            self.classes_ = np.asarray(Q.columns)
            codes = np.searchsorted(self.classes_, np.asarray(y))
            Q = Q.to_numpy()
        hard = np.eye(len(self.classes_))[codes]
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


# Data


@pytest.fixture
def rng():
    return np.random.RandomState(0)


def blobs(n=80, n_classes=2, n_features=3, seed=0, spread=1.5, dtype=np.float64):
    """Overlapping standardised blobs."""
    X, y = make_blobs(n, n_features, centers=n_classes, cluster_std=spread, random_state=seed)
    return StandardScaler().fit_transform(X).astype(dtype), y


def fitted_names(estimator):
    """Return what a fit has left."""
    return {name for name in vars(estimator) if name.endswith("_") and not name.startswith("__")}


@contextmanager
def benchmark_on_tables(name):
    """Import a benchmark as one does that is run, its folder on the path; skip without tables."""
    folder = str(Path(__file__).parents[1] / "examples" / "benchmarks")
    sys.path.insert(0, folder)
    try:
        module = importlib.import_module(name)
        try:
            importlib.import_module("_tables").table_path("sick")
        except SystemExit as reason:
            pytest.skip(str(reason))
        yield module
    finally:
        sys.path.remove(folder)
        for each in (name, "_tables", "_runs"):
            sys.modules.pop(each, None)

"""Independent references in plain NumPy, written for clarity.

They are loops in float64 and share no code with the package.
"""

import numpy as np
from scipy.special import expit, log_softmax, softmax, xlogy


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
    """Gradient of the risk: (1/sum w) sum_i w_i (mu - p) A_j m^-1/2 1[<W_j, x_i> > 0] x_i."""
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
    """Projected gradient descent on the hidden weights, as in arXiv:2412.09579.

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

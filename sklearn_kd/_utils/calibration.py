"""Maps that make answers honest probabilities, fitted to y on rows not seen before."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

__all__ = [
    "apply_decision_value_calibration",
    "apply_temperature",
    "fit_decision_value_calibration",
    "fit_student_temperature",
    "fit_temperature",
]


#: Added to each probability before its logarithm is taken: a forest's zero means that no tree voted
#: for a class, not that it cannot be. Of 0.01, 0.001 and 0.0001 the largest gave forests on the
#: 24 tables the least log loss on held-out rows (docs/results.md).
SMOOTHING = 0.01
#: Bounds of the temperature of labels: beyond, the labels are hard or even.
COLDEST, HOTTEST = 0.05, 20.0
#: Standard deviation of the logarithm of a student's temperature, of which that of networks taught
#: in-sample labels on the 24 tables has 0.3 (docs/results.md).
SPREAD = 0.3


def _logits(values, slope, offsets):
    return np.where(np.isnan(values), -np.inf, slope * values + offsets)


def apply_decision_value_calibration(values, slope, offsets):
    return softmax(_logits(values, slope, offsets), axis=1)


def fit_decision_value_calibration(values, y_encoded, weight, *, max_iter=100, tol=1e-14):
    r"""Slope and offsets that turn decision values into probabilities.

    .. math:: p = \mathrm{softmax}(a F + b), \qquad
              \min_{a, b} -\sum_i w_i \sum_k t_{ik} \ln p_{ik}

    with Platt's targets ``t`` (`_smoothed_targets`), which keep the optimum finite where the values
    separate the classes. For two classes this is Platt's sigmoid. Newton's method with
    backtracking; the problem is convex.
    """
    n_classes = values.shape[1]
    known = ~np.isnan(values)
    use = known[np.arange(len(y_encoded)), y_encoded]
    values, y_encoded, weight, known = values[use], y_encoded[use], weight[use], known[use]
    scale = np.abs(values[known]).max(initial=0.0)
    if not scale > 0:
        scale = 1.0
    F = np.where(known, values, 0.0) / scale
    target = _smoothed_targets(y_encoded, weight, n_classes) * known
    target /= target.sum(axis=1, keepdims=True)
    block = np.where(known, 0.0, -np.inf)

    def logits(theta):
        return theta[0] * F + theta[1:] + block

    def loss(theta):
        # 0 * -inf: a class that the fold's teacher never saw has target zero
        log_p = np.where(known, log_softmax(logits(theta), axis=1), 0.0)
        return -weight @ (target * log_p).sum(axis=1)

    theta = np.zeros(n_classes + 1)
    theta[0] = 1.0
    value = loss(theta)
    for _ in range(max_iter):
        P = softmax(logits(theta), axis=1)
        WP = weight[:, None] * P
        residual = weight[:, None] * (P - target)
        gradient = np.append((residual * F).sum(), residual.sum(axis=0))
        mean = (P * F).sum(axis=1)
        hessian = np.empty((n_classes + 1, n_classes + 1))
        hessian[0, 0] = (WP * (F - mean[:, None]) ** 2).sum()
        hessian[0, 1:] = hessian[1:, 0] = (WP * (F - mean[:, None])).sum(axis=0)
        hessian[1:, 1:] = np.diag(WP.sum(axis=0)) - WP.T @ P
        # equal offsets for all classes change nothing: lstsq takes the shortest step
        step = np.linalg.lstsq(hessian, -gradient, rcond=1e-13)[0]
        decrement = -gradient @ step
        if not decrement > tol * weight.sum():
            break
        size = 1.0
        # close to the optimum the loss no longer resolves the step, and Newton needs no brake
        brake = decrement > 1e-9 * weight.sum()
        while (
            brake and size > 1e-10 and loss(theta + size * step) > value - 1e-4 * size * decrement
        ):
            size /= 2
        theta = theta + size * step
        value = loss(theta)
    return theta[0] / scale, theta[1:]


def _smoothed_targets(y_encoded, weight, n_classes):
    """Platt's targets: no finite sample proves certainty.

    (N + 1) / (N + 2) for the label of a row, N the weight of its class, the rest shared by the
    other classes.
    """
    mass = np.bincount(y_encoded, weights=weight, minlength=n_classes)[y_encoded]
    target = np.repeat(1 / (mass + 2) / (n_classes - 1), n_classes).reshape(
        len(y_encoded), n_classes
    )
    target[np.arange(len(y_encoded)), y_encoded] = (mass + 1) / (mass + 2)
    return target


def apply_temperature(proba, temperature, known):
    r"""Return :math:`\mathrm{softmax}(\ln((p + \delta) / (1 + K \delta)) / T)`, row by row.

    K counts the classes that the teacher knows (a mask of the columns); the others keep their
    probability of zero. Without a temperature (None) nothing changes.
    """
    if temperature is None:
        return proba
    z = np.log(proba[:, known] + SMOOTHING) / temperature
    sharp = np.zeros_like(proba)
    sharp[:, known] = softmax(z, axis=1)
    return sharp


def fit_temperature(proba, y_encoded, weight, known):
    """Temperature at which the probabilities of rows not seen have the least log loss.

    Above 1 for a teacher that is too sure of itself, below 1 for one, like most forests, that is
    too cautious. The loss, against Platt's smoothed targets, is convex in 1 / T.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
    y_encoded : ndarray of int of shape (n_samples,)
    weight : ndarray of shape (n_samples,)
    known : ndarray of bool of shape (n_classes,)
        Classes that the teacher knows.
    """
    z = np.log(proba[:, known] + SMOOTHING)
    z -= z.mean(axis=1, keepdims=True)
    target = _smoothed_targets(np.cumsum(known)[y_encoded] - 1, weight, np.count_nonzero(known))

    def loss(slope):
        return -weight @ (target * log_softmax(slope * z, axis=1)).sum(axis=1)

    bounds = 1 / HOTTEST, 1 / COLDEST
    return 1 / minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6}).x


def fit_student_temperature(log_proba, y_encoded, weight):
    r"""Temperature at which a student's probabilities of rows not seen have the least log loss.

    Drawn to 1 as by a normal prior on its logarithm: few rows do not move it far.

    .. math:: \min_T -\sum_i w_i \ln \mathrm{softmax}(\ln p_i / T)_{y_i}
        + \frac{\ln^2 T}{2 s^2}

    with s `SPREAD`.

    Parameters
    ----------
    log_proba : ndarray of shape (n_samples, n_classes)
        Finite.
    y_encoded : ndarray of int of shape (n_samples,)
    weight : ndarray of shape (n_samples,)
    """

    def loss(log_slope):
        z = log_softmax(np.exp(log_slope) * log_proba, axis=1)
        return -weight @ z[np.arange(len(y_encoded)), y_encoded] + log_slope**2 / (2 * SPREAD**2)

    bounds = -np.log(HOTTEST), -np.log(COLDEST)
    return float(np.exp(-minimize_scalar(loss, bounds=bounds, method="bounded").x))

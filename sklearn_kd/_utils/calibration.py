"""Calibration of predicted probabilities and decision values on out-of-sample rows."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp, softmax

#: Added to each probability of a teacher before its logarithm is taken, since a probability of zero
#: of a forest means that no tree voted for the class and not that the class is impossible. Of 0.01,
#: 0.001 and 0.0001 the largest gave forests the least log loss on held-out rows of the 24 tables
#: (docs/results.md).
PROBABILITY_OFFSET = 0.01
#: Bounds of the temperature of a teacher. Beyond them probabilities are nearly hard
#: labels or nearly uniform.
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
#: Bounds of the temperature of logits of any scale, in units of their root mean square.
MIN_RELATIVE_TEMPERATURE, MAX_RELATIVE_TEMPERATURE = 1e-4, 1e4
#: Largest number of steps of Newton's method.
MAX_NEWTON_STEPS = 100


def smoothed_labels(class_weight_sums):
    r"""Return Platt's targets for a label of each class, a matrix with a row for each label.

    A label keeps the probability :math:`(N + 1) / (N + 2)`, where N is the weight of its class, and
    the other classes share the rest. So values that separate the classes still have a best
    temperature above zero (Platt 1999).

    Parameters
    ----------
    class_weight_sums : ndarray of shape (n_classes,)
        Weight of each class in all rows.

    Returns
    -------
    ndarray of shape (n_classes, n_classes)
    """
    n_classes = len(class_weight_sums)
    other = 1 / (class_weight_sums + 2) / (n_classes - 1)
    targets = np.repeat(other, n_classes).reshape(n_classes, n_classes)
    np.fill_diagonal(targets, (class_weight_sums + 1) / (class_weight_sums + 2))
    return targets


def smoothed_class_weights(class_weights):
    """Return Platt's targets of rows that have weights of several classes.

    Each row counts at least once in the weight of its classes, so that weights that sum to one do
    not make all labels uncertain.

    Parameters
    ----------
    class_weights : ndarray of shape (n_samples, n_classes)
        Weight of each class in each distinct row.

    Returns
    -------
    ndarray of shape (n_samples, n_classes)
        Their sums over the classes are those of ``class_weights``.
    """
    n_rows = (class_weights > 0).sum(axis=0)
    return class_weights @ smoothed_labels(np.maximum(class_weights.sum(axis=0), n_rows))


def _platt_targets(y_encoded, weight, n_classes):
    """Return Platt's targets of weighted rows, (n_samples, n_classes)."""
    class_weight_sums = np.bincount(y_encoded, weights=weight, minlength=n_classes)
    return smoothed_labels(class_weight_sums)[y_encoded]


def fit_temperature(logits, class_weights):
    r"""Fit the temperature of logits with the least cross-entropy.

    .. math:: \min_T -\sum_{ik} w_{ik} \ln \mathrm{softmax}(z_i / T)_k

    The problem is convex in 1 / T and solved by Newton's method inside a bracket.

    Parameters
    ----------
    logits : ndarray of shape (n_samples, n_classes) or (n_samples, 1)
        One column is the log-odds of the second of two classes.
    class_weights : ndarray of shape (n_samples, n_classes)
        Weight of each class in each row: a probability, or several weighted labels of equal rows.

    Returns
    -------
    temperature : float
        One if all logits of each row are equal.
    loss : float
        Cross-entropy at this temperature, divided by the sum of the weights.
    """
    logits = np.asarray(logits, dtype=np.float64)
    if logits.shape[1] == 1:
        logits = np.column_stack([np.zeros(len(logits)), logits])
    logits = logits - logits.mean(axis=1, keepdims=True)
    weight = class_weights.sum(axis=1)
    total = weight.sum()
    size = np.sqrt(weight @ (logits * logits).mean(axis=1) / total)
    if not size > 0:
        return 1.0, float(np.log(logits.shape[1]))
    logits = logits / size
    gain = (class_weights * logits).sum() / total
    low, high = 1 / MAX_RELATIVE_TEMPERATURE, 1 / MIN_RELATIVE_TEMPERATURE
    slope = 1.0  # size / T
    for _ in range(MAX_NEWTON_STEPS):
        p = softmax(slope * logits, axis=1)
        pz = p * logits
        mean = pz.sum(axis=1)
        gradient = weight @ mean / total - gain
        curvature = weight @ ((pz * logits).sum(axis=1) - mean * mean) / total
        low, high = (low, slope) if gradient > 0 else (slope, high)
        step = slope - gradient / curvature if curvature > 0 else np.nan
        if not low < step < high:
            step = np.sqrt(low * high)
        is_done = abs(step - slope) <= 1e-10 * slope  # relative change of the temperature
        slope = step
        if is_done:
            break
    loss = weight @ logsumexp(slope * logits, axis=1) / total - slope * gain
    return float(size / slope), float(loss)


def apply_decision_value_calibration(values, slope, offsets):
    """Return the probabilities softmax(slope * values + offsets), zero for values of NaN."""
    logits = np.where(np.isnan(values), -np.inf, slope * values + offsets)
    return softmax(logits, axis=1)


def fit_decision_value_calibration(values, y_encoded, weight):
    r"""Fit a slope and offsets that turn decision values into probabilities.

    .. math:: p = \mathrm{softmax}(a F + b), \qquad
              \min_{a, b} -\sum_i w_i \sum_k t_{ik} \ln p_{ik}

    with Platt's targets ``t`` (`smoothed_labels`), which keep the optimum finite if the values
    separate the classes. For two classes this is Platt's sigmoid. The problem is convex and solved
    by Newton's method with backtracking.

    Parameters
    ----------
    values : ndarray of shape (n_samples, n_classes)
        Decision values, NaN for classes that the classifier does not know.
    y_encoded : ndarray of int of shape (n_samples,)
    weight : ndarray of shape (n_samples,)

    Returns
    -------
    slope : float
    offsets : ndarray of shape (n_classes,)
    """
    n_classes = values.shape[1]
    known = ~np.isnan(values)
    use = known[np.arange(len(y_encoded)), y_encoded]
    values, y_encoded, weight, known = values[use], y_encoded[use], weight[use], known[use]
    scale = np.abs(values[known]).max(initial=0.0)
    if not scale > 0:
        scale = 1.0
    F = np.where(known, values, 0.0) / scale
    target = _platt_targets(y_encoded, weight, n_classes) * known
    target /= target.sum(axis=1, keepdims=True)
    block = np.where(known, 0.0, -np.inf)

    def logits(theta):
        return theta[0] * F + theta[1:] + block

    def loss(theta):
        # 0 * -inf: a class that the classifier of a fold does not know has the target zero
        log_p = np.where(known, log_softmax(logits(theta), axis=1), 0.0)
        return -weight @ (target * log_p).sum(axis=1)

    theta = np.zeros(n_classes + 1)
    theta[0] = 1.0
    value = loss(theta)
    for _ in range(MAX_NEWTON_STEPS):
        P = softmax(logits(theta), axis=1)
        WP = weight[:, None] * P
        residual = weight[:, None] * (P - target)
        gradient = np.append((residual * F).sum(), residual.sum(axis=0))
        mean = (P * F).sum(axis=1)
        hessian = np.empty((n_classes + 1, n_classes + 1))
        hessian[0, 0] = (WP * (F - mean[:, None]) ** 2).sum()
        hessian[0, 1:] = hessian[1:, 0] = (WP * (F - mean[:, None])).sum(axis=0)
        hessian[1:, 1:] = np.diag(WP.sum(axis=0)) - WP.T @ P
        # equal offsets for all classes change nothing, so lstsq takes the shortest step
        step = np.linalg.lstsq(hessian, -gradient, rcond=1e-13)[0]
        decrement = -gradient @ step
        if not decrement > 1e-14 * weight.sum():
            break
        size = 1.0
        # close to the optimum the differences of the loss are rounding errors, and full Newton
        # steps converge without backtracking
        backtracks = decrement > 1e-9 * weight.sum()
        while (
            backtracks
            and size > 1e-10
            and loss(theta + size * step) > value - 1e-4 * size * decrement
        ):
            size /= 2
        theta = theta + size * step
        value = loss(theta)
    return theta[0] / scale, theta[1:]


def apply_teacher_temperature(proba, temperature, known):
    r"""Return :math:`\mathrm{softmax}(\ln((p + \delta) / (1 + K \delta)) / T)`, row by row.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
    temperature : float or None
        None changes nothing.
    known : ndarray of bool of shape (n_classes,)
        The K classes that the teacher knows. The others keep their probability of zero.
    """
    if temperature is None:
        return proba
    z = np.log(proba[:, known] + PROBABILITY_OFFSET) / temperature
    calibrated = np.zeros_like(proba)
    calibrated[:, known] = softmax(z, axis=1)
    return calibrated


def fit_teacher_temperature(proba, y_encoded, weight, known):
    """Fit the temperature of `apply_teacher_temperature` with the least log loss.

    It is above 1 for an overconfident teacher and below 1 for an underconfident one, as most
    forests are. The log loss against Platt's targets is convex in 1 / T.

    A bounded search is used rather than `fit_temperature`, whose temperature differs by 1e-7. Trees
    that are trained on the labels split differently after such a change.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
        Out-of-sample probabilities.
    y_encoded : ndarray of int of shape (n_samples,)
    weight : ndarray of shape (n_samples,)
    known : ndarray of bool of shape (n_classes,)
        Classes that the teacher knows.

    Returns
    -------
    float
    """
    z = np.log(proba[:, known] + PROBABILITY_OFFSET)
    z -= z.mean(axis=1, keepdims=True)
    target = _platt_targets(np.cumsum(known)[y_encoded] - 1, weight, np.count_nonzero(known))

    def loss(slope):
        return -weight @ (target * log_softmax(slope * z, axis=1)).sum(axis=1)

    bounds = 1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE
    return 1 / minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6}).x

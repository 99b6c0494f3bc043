"""How given labels arise from the true classes, fitted to predictions that have not seen them."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.special import softmax

#: Inverse temperatures that are tried, and number of noise rates.
INVERSE_TEMPERATURES = np.geomspace(0.1, 8.0, 33)
N_NOISE_RATES = 61
#: Smallest noise rate of a `NoiseModel`. With none at all, a label could never be corrected. With
#: 0.003, the log loss of clean labels was above that of plain training by more than .005 on 6 of 24
#: tables in place of 3, and accuracy at noise rates of 0.2 and 0.4 was .06 points higher.
MIN_NOISE_RATE = 0.0003
#: Smallest likelihood of a label that counts, so that a single row does not decide the model.
MIN_LIKELIHOOD = 1e-6
#: Standard errors from which on a gain is clear, and that of a matrix over a simpler model. On rows
#: of 22 tables, MNIST and Fashion-MNIST, matrices of symmetric noise or none gained up to 4.9 (and
#: would have corrected labels of classes that overlap), and those of 30 % labels of the next class
#: 5 to 11 on 1,300 to 2,000 rows, and 30 and more on 10,000.
N_STANDARD_ERRORS, N_STANDARD_ERRORS_OF_MATRIX = 2, 5
#: Rows of each class that count as noise at a common rate in the estimate of a transition matrix.
N_PRIOR_ROWS = 5
#: Iterations of expectation maximization at each temperature, and at the likeliest one.
N_ITERATIONS, N_FINAL_ITERATIONS = 20, 60


class NoiseModel(NamedTuple):
    """How the labels of rows arise from predictions that have not seen them."""

    inverse_temperature: float
    transition: np.ndarray  # (n_classes, n_classes), P(given label | true class)
    likeliest_rate: float  # share of wrong labels of the largest likelihood, even if not clear
    row_losses: np.ndarray  # logarithmic losses of the given labels to which it was fitted

    def posterior(self, log_proba, given):
        """Return the probabilities of the true classes, see `posterior_label_probabilities`."""
        predicted = softmax(self.inverse_temperature * log_proba, axis=1)
        return posterior_label_probabilities(predicted, given, self.transition)


def symmetric_transition(noise_rate, n_classes):
    """Return P(given label | true class) where each of the other classes is equally likely."""
    transition = np.full((n_classes, n_classes), noise_rate / (n_classes - 1))
    np.fill_diagonal(transition, 1 - noise_rate)
    return transition


def posterior_label_probabilities(proba, given, transition):
    """Compute the probabilities of the true classes from given labels and predictions.

    By Bayes' rule the probability of class k is ``p_k P(given label | k)`` up to normalization.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
        Probabilities p that were predicted without the influence of the given labels.
    given : ndarray of bool of shape (n_samples, n_classes)
        Given labels as indicators. A row whose label is not among the classes has none.
    transition : ndarray of shape (n_classes, n_classes)
        P(given label | true class) with a row for each true class.

    Returns
    -------
    ndarray of shape (n_samples, n_classes)
    """
    joint = proba * (given @ transition.T)
    joint[~given.any(axis=1)] = proba[~given.any(axis=1)]
    total = joint.sum(axis=1, keepdims=True)
    # where both the label and a prediction against it are certain, the label is kept
    return np.where(total > 0, joint / np.where(total > 0, total, 1.0), given)


def fit_noise_model(log_proba, y_encoded, weights, group):
    r"""Fit a temperature and a transition matrix to labels that the predictions have not seen.

    The probability of the given label y of a row is :math:`\sum_k q_k P(y \mid k)`, where the
    probabilities q of the true classes are those predicted, to the power of the inverse temperature
    and normalized. A network that is trained on wrong labels predicts the labels as given, and so
    is less certain of the true class than it should be. Rows where it is most certain tell the
    noise from that. Where no row is certain, labels of classes that overlap look the same as wrong
    labels. They count as right then: a noise rate needs a gain of more than two standard errors.
    The other labels are equally likely in it, or in proportion to their shares where this is
    likelier by Akaike's criterion. Noise that is spread evenly gives a class of few rows many
    labels, so that with such a class alone the estimate of any noise would be nearly zero.
    Predictions that are too certain also improve if they are mixed with the shares, so that noise
    in proportion must explain the labels clearly better than such a mixture. A matrix needs a gain
    of more than five over the simpler model, after subtraction of its number of parameters, and the
    likeliest label of each class must be its own.

    Parameters
    ----------
    log_proba : ndarray of shape (n_samples, n_classes)
        Logarithms of predictions of networks that were not trained on these rows.
    y_encoded : ndarray of int of shape (n_samples,)
        Given labels.
    weights : ndarray of shape (n_samples,)
        Positive.
    group : ndarray of int of shape (n_samples,)
        See `is_clearly_positive`.

    Returns
    -------
    NoiseModel
        Of the largest weighted likelihood among those of its kind.
    """
    n_groups, n_classes = len(np.unique(group)), log_proba.shape[1]
    weights = weights * (n_groups / weights.sum())
    clean, noise = _fit_noise_rate(log_proba, y_encoded, weights, np.full(n_classes, 1 / n_classes))
    if n_classes > 2:  # otherwise there is one other label
        noise = _likelier_in_proportion(noise, log_proba, y_encoded, weights, group)
    found, is_likelier = clean, weights @ (clean.row_losses - noise.row_losses) > 0
    if is_clearly_positive(clean.row_losses - noise.row_losses, weights, group):
        found = noise
    elif is_likelier:
        found = clean._replace(likeliest_rate=noise.likeliest_rate)
    matrix = _fit_transition(log_proba, y_encoded, weights, noise.transition)
    gain = found.row_losses - matrix.row_losses - n_classes * (n_classes - 1) / n_groups
    is_noise = (matrix.transition.argmax(axis=1) == np.arange(n_classes)).all()
    if (
        is_noise
        and matrix.likeliest_rate > MIN_NOISE_RATE
        and is_clearly_positive(gain, weights, group, N_STANDARD_ERRORS_OF_MATRIX)
    ):
        return matrix
    return found


def noise_model_of_other_rows(model, log_proba, y_encoded, weights):
    """Return a model of the noise, or that of right labels if it is likelier for other rows.

    These may be too few to fit a model to. The arguments are those of `fit_noise_model`, which has
    fitted the model to the training rows.
    """
    right = symmetric_transition(MIN_NOISE_RATE, log_proba.shape[1])
    right = model._replace(transition=right, likeliest_rate=MIN_NOISE_RATE)
    proba = softmax(model.inverse_temperature * log_proba, axis=1)
    of_labels, of_right_labels = (
        (proba * each.transition[:, y_encoded].T).sum(axis=1) for each in (model, right)
    )
    return right if weights @ np.log(of_right_labels / of_labels) > 0 else model


def _likelier_in_proportion(noise, log_proba, y_encoded, weights, group):
    """Return ``noise``, or noise in proportion to the shares of the labels if it is likelier."""
    n_classes = log_proba.shape[1]
    # one more row of each class, since other rows may have a label that is missing here
    shares = np.bincount(y_encoded, weights, n_classes) + 1
    shares /= shares.sum()
    _, in_proportion = _fit_noise_rate(log_proba, y_encoded, weights, shares)
    if weights @ (noise.row_losses - in_proportion.row_losses) <= n_classes - 1:
        return noise
    shrunk = _shrunk_losses(log_proba, y_encoded, weights, shares)
    is_clear = is_clearly_positive(shrunk - in_proportion.row_losses, weights, group)
    return in_proportion if is_clear else noise


def _shrunk_losses(log_proba, y_encoded, weights, shares):
    """Return the row losses of the likeliest geometric mean of predictions and label shares."""
    rows, best = np.arange(len(y_encoded)), None
    for power in [0.0, *INVERSE_TEMPERATURES[INVERSE_TEMPERATURES <= 1]]:
        proba = softmax(power * log_proba + (1 - power) * np.log(shares), axis=1)
        losses = -np.log(np.clip(proba[rows, y_encoded], MIN_LIKELIHOOD, None))
        if best is None or weights @ losses < weights @ best:
            best = losses
    return best


def _fit_noise_rate(log_proba, y_encoded, weights, shares):
    """Return the likeliest models without noise and with a noise rate that all classes share.

    The wrong labels of each class are the other labels in proportion to their ``shares``.
    """
    n_classes, rows = log_proba.shape[1], np.arange(len(y_encoded))
    rates = np.linspace(MIN_NOISE_RATE, (n_classes - 1) / n_classes, N_NOISE_RATES)
    best = {}  # by whether the labels count as right
    # predictions that say nothing count as equal, and not as wrong labels
    for inverse_temperature in (0.0, *INVERSE_TEMPERATURES):
        proba = softmax(inverse_temperature * log_proba, axis=1)
        own = proba[rows, y_encoded]
        # P(another class) times the share of the label among the labels other than that class
        other = proba @ (1 / (1 - shares)) - own / (1 - shares[y_encoded])
        other = np.clip(shares[y_encoded] * other, 0, None)
        for rate in rates:
            losses = -np.log(np.clip((1 - rate) * own + rate * other, MIN_LIKELIHOOD, None))
            loss, is_clean = weights @ losses, rate == MIN_NOISE_RATE
            if is_clean not in best or loss < best[is_clean][0]:
                best[is_clean] = loss, float(inverse_temperature), float(rate), losses
    return tuple(
        NoiseModel(temperature, _transition_of_rate(rate, shares), rate, losses)
        for _, temperature, rate, losses in (best[True], best[False])
    )


def _transition_of_rate(noise_rate, shares):
    """Return P(given label | true class) where other labels are given in proportion to shares."""
    transition = noise_rate * shares / (1 - shares[:, None])
    np.fill_diagonal(transition, 1 - noise_rate)
    return transition


def _fit_transition(log_proba, y_encoded, weights, prior):
    """Return the likeliest model with any transition matrix, by expectation maximization.

    Parameters
    ----------
    log_proba, y_encoded : ndarray
        As in `fit_noise_model`.
    weights : ndarray of shape (n_samples,)
        In units of independent rows.
    prior : ndarray of shape (n_classes, n_classes)
        Matrix of ``N_PRIOR_ROWS`` more rows of each class.
    """
    # Rows in the order of their labels: products with the rows of one label take time linear in the
    # number of classes, those with a matrix of indicators of labels quadratic.
    order = np.argsort(y_encoded, kind="stable")
    log_proba, weights = log_proba[order], weights[order]
    bounds = np.searchsorted(y_encoded[order], np.arange(log_proba.shape[1] + 1))
    rows_of_labels = [slice(*pair) for pair in pairwise(bounds)]
    prior = N_PRIOR_ROWS * prior

    def normalized(counts):
        return counts / counts.sum(axis=1, keepdims=True)

    def sums_by_label(row_weights, values):
        """Return the weighted sums of the values of the rows of each label, as columns."""
        sums = [row_weights[rows] @ values[rows] for rows in rows_of_labels]
        return np.stack(sums, axis=1)

    def likelihoods(proba, transition):
        products = [proba[rows] @ transition[:, k] for k, rows in enumerate(rows_of_labels)]
        return np.concatenate(products)

    def maximized(inverse_temperature, transition, n_iter):
        """Return the weighted loss and the model."""
        proba = softmax(inverse_temperature * log_proba, axis=1)
        for _ in range(n_iter):
            # the posterior of class k is proba_k P(label | k) / likelihood of the label
            row_weights = weights / likelihoods(proba, transition)
            transition = normalized(transition * sums_by_label(row_weights, proba) + prior)
        likelihood = likelihoods(proba, transition)
        losses = np.empty_like(likelihood)
        losses[order] = -np.log(np.clip(likelihood, MIN_LIKELIHOOD, None))
        counts = transition * sums_by_label(weights / likelihood, proba)
        rate = 1 - counts.trace() / weights.sum()
        model = NoiseModel(inverse_temperature, transition, rate, losses)
        return weights @ losses[order], model

    predicted = np.eye(log_proba.shape[1])[log_proba.argmax(axis=1)]
    start = normalized(sums_by_label(weights, predicted) + prior)
    tried = [maximized(float(each), start, N_ITERATIONS) for each in INVERSE_TEMPERATURES[::2]]
    best = min(tried, key=lambda pair: pair[0])[1]
    return maximized(best.inverse_temperature, best.transition, N_FINAL_ITERATIONS)[1]


def is_clearly_positive(gain, weights, group, n_standard_errors=N_STANDARD_ERRORS):
    """Return whether the weighted mean of gains of rows exceeds two standard errors, or others.

    Parameters
    ----------
    gain, weights : ndarray of shape (n_samples,)
    group : ndarray of int of shape (n_samples,)
        Rows that are not independent, such as copies of one row, count as one.
    """
    mean = np.average(gain, weights=weights)
    of_groups = np.bincount(group, weights * (gain - mean))
    return mean * weights.sum() > n_standard_errors * np.sqrt(np.sum(of_groups**2))

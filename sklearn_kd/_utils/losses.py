"""Log losses of single rows, with one lower bound of the probabilities."""

import numpy as np

#: Probabilities below this count as this, so that a single row cannot decide a comparison: its loss
#: is at most 13.8 nats.
MIN_PROBABILITY = 1e-6


def clipped_log(proba):
    """Return the logarithms of probabilities, those below `MIN_PROBABILITY` counting as that."""
    return np.log(np.maximum(proba, MIN_PROBABILITY))


def log_losses(proba, y_encoded):
    r"""Return the log loss :math:`-\ln \max(p_{i y_i}, 10^{-6})` of each row, in nats.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
    y_encoded : ndarray of int of shape (n_samples,)
        Columns of the true classes.

    Returns
    -------
    ndarray of shape (n_samples,)
        NaN where the probability is NaN.
    """
    return -clipped_log(proba[np.arange(len(y_encoded)), y_encoded])

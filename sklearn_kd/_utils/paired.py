"""Means of paired differences and their standard errors."""

import numpy as np


def paired_means(differences, weights, groups, *, n_observations=None, test_to_train=0.0):
    r"""Return weighted means of paired differences, and their standard errors.

    With shares :math:`w_i` that sum to one, the mean :math:`\bar d = \sum_i w_i d_i`, shares
    :math:`w_g` of the groups and n observations, the standard error is the square root of

    .. math:: (1 + r) \frac{n}{n - 1} \sum_g \Big(\sum_{i \in g} w_i (d_i - \bar d)\Big)^2

    where r is ``test_to_train``.

    Parameters
    ----------
    differences : ndarray of shape (n_samples,) or (n_comparisons, n_samples)
    weights : ndarray of shape (n_samples,)
    groups : ndarray of int of shape (n_samples,)
        Rows of one group, such as copies of a row, are one observation.
    n_observations : int, default=None
        The number of observations n in Bessel's correction. None: the effective number of groups,
        :math:`1 / \sum_g w_g^2`, which is the same for weights and for repeated rows.
    test_to_train : float, default=0.0
        Test rows divided by training rows, if the error includes that models would be fitted to
        other training rows (Nadeau and Bengio 2003). It is the ratio of all test rows to the
        training rows of one fold.

    Returns
    -------
    means, errors : float or ndarray of shape (n_comparisons,)
        The error of a single observation is NaN or infinite.

    References
    ----------
    C. Nadeau, Y. Bengio (2003). Inference for the generalization error. Machine Learning 52.
    """
    shares = weights / weights.sum()
    if n_observations is None:
        group_shares = np.bincount(groups, weights=shares)
        bessel = 1 - np.square(group_shares).sum()
    else:
        bessel = 1 - 1 / n_observations
    with np.errstate(invalid="ignore", divide="ignore"):  # infinite values, a single observation
        means = differences @ shares
        deviations = np.atleast_2d(shares * (differences - np.expand_dims(means, -1)))
        sums = np.array([np.bincount(groups, weights=row) for row in deviations])
        variances = np.square(sums).sum(axis=1).reshape(np.shape(means)) / bessel
        return means, np.sqrt(variances * (1 + test_to_train))

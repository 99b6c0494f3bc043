"""Quantiles of weighted numbers, which equal those of copies of the numbers."""

import numpy as np

#: Difference of shares of the total weight that is a rounding error.
SHARE_TOLERANCE = 1e-10


def weighted_quantiles(values, shares, levels):
    """Return the quantiles of the averaged inverse of the weighted distribution function.

    Where the function reaches a level exactly between two values, the quantile is their mean.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Ascending.
    shares : ndarray of shape (n,)
        Share of each value in the total weight.
    levels : ndarray of shape (n_levels,)
        Between 0 and 1.

    Returns
    -------
    ndarray of shape (n_levels,)
    """
    # with a tolerance, since sums of weights and of copies of rows round differently
    cumulated = np.cumsum(shares)
    first = np.searchsorted(cumulated, levels - SHARE_TOLERANCE)
    last = np.searchsorted(cumulated, levels + SHARE_TOLERANCE, side="right")
    top = len(values) - 1
    return (values[np.minimum(first, top)] + values[np.minimum(last, top)]) / 2

"""Centering and scaling of the columns of X by weighted statistics."""

import numpy as np

from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd.exceptions import PrecisionWarning

#: Rows of a block, so that float64 intermediates of a float32 X stay in the cache.
BLOCK_ROWS = 256
#: Rows, spread over all of them, whose mean is a first estimate of that of all rows.
N_PILOT_ROWS = 256
#: Standard deviations that it may be off, and least standard deviation whose square is accurate.
MAX_PILOT_ERROR, MIN_SPREAD = 8.0, 1e-140
#: Number of spacings of its numbers below which the spread of a column causes a warning.
MIN_SPREAD_SPACINGS = 1e3


def fit_scaling(X, weights):
    """Return the offset and scale that center columns and give rows a mean squared norm of one.

    Each column is centered by its weighted mean and divided by its weighted standard deviation
    times the square root of the number of columns that vary. All of these columns then contribute
    equally to the norm, and ||x|| <= 1, which the theory requires, holds on average. A constant
    column becomes zero.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    weights : ndarray of shape (n_samples,)
        Positive.

    Returns
    -------
    offset, scale : ndarray of float64 of shape (n_features,)

    Warns
    -----
    PrecisionWarning
        If the standard deviation of a column is less than 1000 times the spacing of floating point
        numbers at its mean.
    """
    offset, deviation = mean_and_deviation(X, weights)
    varies = deviation > 0
    return offset, np.where(varies, deviation * np.sqrt(max(1, varies.sum())), 1.0)


def mean_and_deviation(X, weights, name="X"):
    """Return the weighted mean and standard deviation of each column, in float64.

    A constant column has exactly its value and zero. It warns as `fit_scaling` does, where ``name``
    is what the message calls ``X``.
    """
    share = weights / weights.sum()
    low, high, offset, spread = _statistics(X, share)
    varies = (high > low) & (spread > 0)
    warn_if_digits_are_lost(X.dtype, offset, spread, varies, name)
    # an exactly constant column must come out as exactly zero when it is centered
    return np.where(varies, offset, low), np.where(varies, spread, 0.0)


def _statistics(X, share):
    """Return least and largest value, weighted mean and standard deviation of the columns.

    X is read once where the mean of a few rows is near that of all, and numbers are neither so
    large nor so small that their squares are lost.
    """
    low, high = np.full((2, X.shape[1]), np.nan)
    rest, square = np.zeros((2, X.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):
        pilot = X[:: max(1, len(X) // N_PILOT_ROWS)].mean(axis=0, dtype=np.float64)
        for start in range(0, len(X), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            rows = X[block]
            low, high = np.fmin(low, rows.min(axis=0)), np.fmax(high, rows.max(axis=0))
            centered = rows - pilot
            rest += share[block] @ centered
            centered *= centered
            square += share[block] @ centered
        spread = np.sqrt(np.maximum(square - rest * rest, 0.0))
        is_accurate = (np.abs(rest) <= MAX_PILOT_ERROR * spread) & (spread > MIN_SPREAD)
        is_accurate &= np.isfinite(spread)
    if not (is_accurate | (low == high)).all():
        return low, high, *_mean_and_spread(X, share, low, high)
    return low, high, pilot + rest, spread


def _mean_and_spread(X, share, low, high):
    """Return the weighted mean and standard deviation of the columns in two passes over X."""
    offset = np.zeros(X.shape[1])
    for start in range(0, len(X), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        offset += share[block] @ X[block].astype(np.float64, copy=False)
    peak = np.maximum(high - offset, offset - low)  # so that no square overflows or underflows
    peak[~(peak > 0)] = 1.0
    # the second pass also corrects the rounding errors of the first, which a large offset magnifies
    rest, square = np.zeros((2, X.shape[1]))
    for start in range(0, len(X), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        centered = (X[block] - offset) / peak
        rest += share[block] @ centered
        square += share[block] @ (centered * centered)
    return offset + rest * peak, peak * np.sqrt(np.maximum(square - rest * rest, 0.0))


def warn_if_digits_are_lost(dtype, offset, spread, varies, name):
    """Raise a PrecisionWarning for varying columns of a small spread, as `fit_scaling` does."""
    spacing = np.finfo(dtype).eps * np.abs(offset)
    lost = np.flatnonzero(varies & (spread < MIN_SPREAD_SPACINGS * spacing))
    if len(lost):
        shown = ", ".join(map(str, lost[:5])) + (", ..." if len(lost) > 5 else "")
        columns = f"columns {shown}" if name == "X" else f"columns {shown} of {name}"
        warn_caller(
            f"{columns} vary by less than 1000 times the spacing of {dtype} numbers of their "
            "size, so most of their digits are lost: subtract a constant from them, or "
            "pass float64.",
            PrecisionWarning,
            once=True,
        )


def scale_inputs(X, offset, scale, *, intercept):
    """Return (X - offset) / scale, and with ``intercept`` a last column of ones.

    Returns
    -------
    ndarray of shape (n_samples, n_features + intercept), in the dtype of X
    """
    n_samples, n_features = X.shape
    inputs = np.empty((n_samples, n_features + bool(intercept)), dtype=X.dtype)
    largest = np.finfo(inputs.dtype).max
    for start in range(0, n_samples, BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        scaled = (X[block] - offset) / scale
        if scaled.dtype != inputs.dtype:  # weights may leave a column almost no variance
            np.clip(scaled, -largest, largest, out=scaled)
        inputs[block, :n_features] = scaled
    if intercept:
        inputs[:, n_features] = 1.0
    return inputs


def clip_far_rows(scaled):
    """Return scaled rows, clipped so that a network's products with them are finite."""
    far = np.finfo(scaled.dtype).max ** 0.25
    return np.clip(scaled, -far, far)

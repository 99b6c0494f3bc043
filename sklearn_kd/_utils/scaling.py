"""Inputs brought to a common scale inside an estimator, with weighted statistics."""

import warnings

import numpy as np

from sklearn_kd.exceptions import PrecisionWarning

__all__ = ["fit_scaling", "scale_inputs"]


#: Rows per block: the float64 detour of a float32 X stays in the cache.
_BLOCK = 256


def fit_scaling(X, weights):
    """Offset and scale that center the columns of X and give its rows a mean squared norm of one.

    Column j is centered by its weighted mean and divided by its weighted standard deviation times
    the root of the number of columns that vary: each of those then adds the same to the norm,
    and the theory's ||x|| <= 1 holds on average. A constant column becomes zero.

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
        Where the spread of a column is within a thousand of the spacing of its numbers.
    """
    share = weights / weights.sum()
    low, high = (edge.astype(np.float64) for edge in (X.min(axis=0), X.max(axis=0)))
    offset, spread = _mean_and_spread(X, share, low, high)
    varies = (high > low) & (spread > 0)
    _warn_if_digits_are_lost(X.dtype, offset, spread, varies)
    scale = np.where(varies, spread * np.sqrt(max(1, varies.sum())), 1.0)
    # an exactly constant column must come out as exactly zero
    return np.where(varies, offset, low), scale


def _mean_and_spread(X, share, low, high):
    """Weighted mean and standard deviation of the columns, in float64."""
    offset = np.zeros(X.shape[1])
    for start in range(0, len(X), _BLOCK):
        block = slice(start, start + _BLOCK)
        offset += share[block] @ X[block].astype(np.float64, copy=False)
    peak = np.maximum(high - offset, offset - low)  # so that no square overflows or vanishes
    peak[~(peak > 0)] = 1.0
    # the second pass also takes out the rounding of the first, which a large offset magnifies
    rest, square = np.zeros((2, X.shape[1]))
    for start in range(0, len(X), _BLOCK):
        block = slice(start, start + _BLOCK)
        centered = (X[block] - offset) / peak
        rest += share[block] @ centered
        square += share[block] @ (centered * centered)
    return offset + rest * peak, peak * np.sqrt(np.maximum(square - rest * rest, 0.0))


def _warn_if_digits_are_lost(dtype, offset, spread, varies):
    spacing = np.finfo(dtype).eps * np.abs(offset)
    lost = np.flatnonzero(varies & (spread < 1e3 * spacing))
    if len(lost):
        shown = ", ".join(map(str, lost[:5])) + (", ..." if len(lost) > 5 else "")
        warnings.warn(
            f"columns {shown} vary by less than 1000 times the spacing of {dtype} numbers of "
            "their size, so most of their digits are lost: subtract a constant from them, or "
            "pass float64.",
            PrecisionWarning,
            stacklevel=5,
        )


def scale_inputs(X, offset, scale, *, intercept):
    """Rows as the network sees them: (X - offset) / scale, and a column of ones.

    Returns
    -------
    ndarray of shape (n_samples, n_features + intercept), in the dtype of X
    """
    n_samples, n_features = X.shape
    inputs = np.empty((n_samples, n_features + bool(intercept)), dtype=X.dtype)
    for start in range(0, n_samples, _BLOCK):
        block = slice(start, start + _BLOCK)
        inputs[block, :n_features] = (X[block] - offset) / scale
    if intercept:
        inputs[:, n_features] = 1.0
    return inputs

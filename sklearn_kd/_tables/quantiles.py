"""Edges of the pieces of a numeric column: weighted quantiles of its distinct values."""

import numpy as np

from sklearn_kd._utils.weighted_quantiles import SHARE_TOLERANCE, weighted_quantiles

#: Largest size of a number. Larger ones count as this one, so that no difference overflows.
MAX_NUMBER = np.finfo(np.float64).max / 8
#: Least width of a piece. Narrower ones are merged, so that its inverse does not overflow.
MIN_WIDTH = np.finfo(np.float64).tiny


def quantile_edges(values, shares, n_bins):
    """Return the edges of at most ``n_bins`` pieces that have equal weights.

    These are the quantiles 0, 1 / n_bins, ..., 1 as of `weighted_quantiles`, with ties merged. A
    column of at most ``n_bins + 1`` distinct values has an edge at each.

    Parameters
    ----------
    values : ndarray of float64 of shape (n_distinct,)
        Distinct values, increasing.
    shares : ndarray of shape (n_distinct,)
        Share of each value in the total weight.
    n_bins : int

    Returns
    -------
    ndarray of float64 of shape (n_edges,)
        Empty if the column is constant.
    """
    values = np.clip(values, -MAX_NUMBER, MAX_NUMBER)
    if len(values) <= n_bins + 1:
        edges = values
    else:
        inner = weighted_quantiles(values, shares, np.arange(1, n_bins) / n_bins)
        edges = np.concatenate([values[:1], inner, values[-1:]])
    wide = np.diff(edges) >= MIN_WIDTH
    edges = edges[np.append(True, wide)] if len(edges) else edges
    return edges if len(edges) > 1 else edges[:0]


def mean_pieces(values, shares, edges):
    """Return the weighted mean of each piece of the encoding of a column."""
    values = np.clip(values, -MAX_NUMBER, MAX_NUMBER)
    pieces = np.zeros(max(len(edges) - 1, 0))
    inner = np.searchsorted(values, edges[1:-1])
    bounds = np.concatenate([[0], inner, [len(values)]])
    for piece in range(len(pieces)):
        inside = slice(bounds[piece], bounds[piece + 1])
        unit = (values[inside] - edges[piece]) / (edges[piece + 1] - edges[piece])
        pieces[piece] = unit @ shares[inside] + shares[bounds[piece + 1] :].sum()
    return pieces


def distinct_values(values, shares):
    """Return the distinct values of a column, increasing, and the share of the weight of each.

    Parameters
    ----------
    values : ndarray of float64 of shape (n,)
    shares : ndarray of shape (n,) or float
        A number is the share of each.
    """
    if np.ndim(shares) == 0:
        found, counts = np.unique(values, return_counts=True)
        return found, counts * shares
    order = np.argsort(values)
    values = values[order]
    first = np.flatnonzero(np.append(True, values[1:] != values[:-1])[: len(values)])
    return values[first], np.add.reduceat(shares[order], first) if len(first) else shares[:0]


def group_ties(shares):
    """Return the rank of each share, largest first, where differences by rounding are ties."""
    order = np.argsort(-shares, kind="stable")
    rank = np.empty(len(shares), dtype=np.intp)
    rank[order] = np.cumsum(np.diff(shares[order], prepend=shares[order[:1]]) < -SHARE_TOLERANCE)
    return rank


def extreme_values(values, shares):
    """Return the least and the largest value, and shares that have the mean of all values."""
    if len(values) == 0:
        return values, shares
    values = np.clip(values, -MAX_NUMBER, MAX_NUMBER)
    low, high = values.min(), values.max()
    total = shares.sum()
    if low == high:
        return values[:1], np.array([total])
    above = ((values - low) / (high - low)) @ shares
    return np.array([low, high]), np.array([total - above, above])

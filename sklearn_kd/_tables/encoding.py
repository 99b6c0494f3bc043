"""Coordinates of nominal and numeric attributes, whose products give squared distances."""

import numpy as np


def encode_nominal(codes, weights, limit):
    """Encode categories as points at a squared distance of one from each other.

    Parameters
    ----------
    codes : ndarray of int of shape (n,)
    weights : ndarray of shape (n,)
        Weights, by which the most frequent categories are found.
    limit : int
        Number of categories that are distinguished. The others share a point.

    Returns
    -------
    ndarray of shape (n, n_coordinates)
    """
    _, codes = np.unique(codes, return_inverse=True)
    counts = np.bincount(codes, weights)
    if len(counts) == 1:
        return np.zeros((len(codes), 0))
    if len(counts) == 2:
        return codes[:, None].astype(np.float64)
    rank = np.empty(len(counts), dtype=np.intp)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    place = np.minimum(rank[codes], limit)
    out = np.zeros((len(codes), min(len(counts), limit + 1)))
    out[np.arange(len(codes)), place] = np.sqrt(0.5)
    return out


def encode_numbers(numbers):
    """Scale numbers to [0, 1] and put missing ones at a distance of one from all others.

    No point has the same distance to all points of a line. Therefore the two rows of a pair have
    different coordinates, here called key and query. With p = 1 if x is present, and p = 0 and
    x = 0 if it is missing,
    d^2 = p_x + p_y - 2 (x y + (p_x - x^2 / 2) p_y - p_x y^2 / 2).

    Returns
    -------
    key, query : ndarray of shape (n, n_coordinates)
    norm : ndarray of shape (n,)
        Of the keys. d^2 is norm - 2 key . query plus a term of the query alone.
    """
    present = ~np.isnan(numbers)
    largest = np.abs(numbers[present]).max()
    # scaled by a power of two first, so that the range does not overflow
    x = np.ldexp(np.where(present, numbers, 0.0), -np.frexp(largest)[1])
    low, high = x[present].min(), x[present].max()
    x = np.where(present, (x - low) / (high - low), 0.0)
    if present.all():
        return x[:, None], x[:, None], x**2
    p = present.astype(np.float64)
    half = x**2 / 2
    key = np.column_stack([x, p, -half])
    query = np.column_stack([x, p - half, p])
    return key, query, p

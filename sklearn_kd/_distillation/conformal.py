r"""Shift quantiles so that intervals between them have their coverage on rows not trained on.

Conformalized quantile regression: an interval [l(x), u(x)] contains the target y of a row if
s >= max(l(x) - y, y - u(x)). So the interval [l - s, u + s] with a quantile s of these scores over
rows that the model has not seen contains the target of a new row with about this probability.

References
----------
Romano, Patterson and Candes (2019), "Conformalized quantile regression", arXiv:1905.03222.
"""

import numpy as np

from sklearn_kd._utils.quantile_levels import COUNT_TOLERANCE, LEVEL_TOLERANCE, rows_needed


def paired_levels(levels):
    """Return the pairs of positions of levels q and 1 - q, and the other positions.

    The median is neither.

    Parameters
    ----------
    levels : ndarray of shape (n_levels,)
        Ascending.

    Returns
    -------
    pairs : list of (int, int)
        The lower level first.
    single : list of int
    """
    pairs, paired = [], set()
    for low in np.flatnonzero(levels < 0.5 - LEVEL_TOLERANCE):
        matches = np.flatnonzero(np.abs(levels + levels[low] - 1) < LEVEL_TOLERANCE)
        if len(matches):
            pairs.append((int(low), int(matches[0])))
            paired |= {int(low), int(matches[0])}
    is_median = np.abs(levels - 0.5) < LEVEL_TOLERANCE
    single = [k for k in range(len(levels)) if k not in paired and not is_median[k]]
    return pairs, single


def check_calibration_rows(levels, n_observations, n_samples):
    """Raise ValueError for fewer rows than the shift of these levels needs.

    Parameters
    ----------
    levels : ndarray of shape (n_levels,)
    n_observations : int
        Rows that calibrate, without copies.
    n_samples : int
        Training rows, for the message.
    """
    pairs, single = paired_levels(levels)
    coverages = [levels[high] - levels[low] for low, high in pairs]
    coverages += [max(levels[k], 1 - levels[k]) for k in single]
    coverage = max(coverages, default=0.0)
    n_needed = rows_needed(coverage)
    if n_observations < n_needed:
        raise ValueError(
            f"quantiles={levels.tolist()} have a coverage of up to {coverage:g}, whose calibration "
            f"needs at least {n_needed} rows, not counting copies, and there are {n_observations} "
            f"(n_samples={n_samples}): ask for levels nearer to 1/2, or fit more rows."
        )


def conformal_shift(quantiles, y, weight, levels, n_observations):
    """Return what is to be added to the quantiles of new rows.

    Parameters
    ----------
    quantiles : ndarray of shape (n_samples, n_levels)
        Of rows that the model has not seen.
    y : ndarray of shape (n_samples,)
        Their targets.
    weight : ndarray of shape (n_samples,)
        Their weights. Positive.
    levels : ndarray of shape (n_levels,)
        Ascending.
    n_observations : int
        Number of them without copies. The new row has the mean weight of these, so that a weight of
        k equals k copies.

    Returns
    -------
    ndarray of shape (n_levels,)
        Levels q and 1 - q are shifted by the same amount in opposite directions. A level without
        partner is shifted by its own error. The median is not shifted.
    """
    shift = np.zeros(len(levels))
    pairs, single = paired_levels(levels)
    for low, high in pairs:
        scores = np.maximum(quantiles[:, low] - y, y - quantiles[:, high])
        amount = _quantile(scores, weight, levels[high] - levels[low], n_observations)
        shift[low], shift[high] = 0.0 - amount, amount
    for k in single:
        sign = 1.0 if levels[k] > 0.5 else -1.0
        scores = sign * (y - quantiles[:, k])
        coverage = max(levels[k], 1 - levels[k])
        shift[k] = sign * _quantile(scores, weight, coverage, n_observations)
    return shift


def _quantile(scores, weight, coverage, n_observations):
    """Return the least score up to which the weights have a share of the coverage.

    With weights of one this is the ceil((n + 1) coverage)-th smallest of n scores: the new row is
    counted as one of an infinite score.
    """
    order = np.argsort(scores, kind="stable")
    share = np.cumsum(weight[order]) / weight.sum()
    wanted = coverage * (1 + 1 / n_observations) * (1 - COUNT_TOLERANCE)
    return scores[order[min(np.searchsorted(share, wanted), len(scores) - 1)]]

r"""Prediction intervals by jackknife+ and CV+ (Barber, Candes, Ramdas and Tibshirani 2021).

Let f_{-i} be the fit without row i, and R_i the absolute residual of row i under it. The interval
of a new row x at coverage 1 - a lies between the lower quantile of f_{-i}(x) - R_i and the upper
quantile of f_{-i}(x) + R_i, both of n values and one that is infinite. Quantiles of the target of x
are those of f_{-i}(x) + r_i with the signed residual r_i, and one value that is infinite.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sklearn_kd._core.kernel.linalg import cholesky_, cholesky_solve

#: Rounding of a share of the weights that does not count as more than the share.
SHARE_TOLERANCE = 1e-9


class LeaveOneOut:
    r"""Predictions of the fits without each row, from one factorization.

    With C = K + lambda diag(1/w), the vector k of the kernel of a new row, and the leave-one-out
    residual e_i = y_i - f_{-i}(x_i), the fit without row i predicts

    .. math:: f_{-i}(x) = f(x) - u_i e_i, \qquad u = C^{-1} k,

    since deleting row i is the same as replacing y_i by :math:`f_{-i}(x_i)`, which changes f(x) by
    u_i for each unit. With a free intercept u is the part of the rows of the solution of the
    bordered system, :math:`C^{-1} k + s (1 - 1' C^{-1} k) / 1' s` for :math:`s = C^{-1} 1`.

    Parameters
    ----------
    gram : tensor of shape (n, n)
        Is overwritten.
    weights : tensor of shape (n,)
    ridge : float
    free_intercept : bool
    """

    def __init__(self, gram: Tensor, weights: Tensor, ridge: float, *, free_intercept: bool):
        gram.diagonal().add_(ridge / weights)
        self.factor = cholesky_(gram)
        self.ones = None
        if free_intercept:
            self.ones = cholesky_solve(self.factor, torch.ones_like(weights[:, None]))

    def influences(self, cross: Tensor) -> Tensor:
        """Return u for the kernel (m, n) of new rows with the rows, (m, n)."""
        solved = cholesky_solve(self.factor, cross.mT)
        if self.ones is not None:
            solved += self.ones * ((1 - solved.sum(dim=0)) / self.ones.sum())
        return solved.mT


def interval_ends(
    values: Tensor, residuals: Tensor, weights: Tensor, coverage: float, n_distinct: int
) -> tuple[Tensor, Tensor]:
    """Return the lower and the upper end of the intervals of new rows.

    The value that is infinite has the mean weight of the distinct rows.

    Parameters
    ----------
    values : tensor of shape (m, n)
        Predictions for m new rows of the fits without each of n rows.
    residuals : tensor of shape (n,)
        Absolute residuals of these rows.
    weights : tensor of shape (n,)
    coverage : float
    n_distinct : int

    Returns
    -------
    lower, upper : tensor of shape (m,)
    """
    weights, share = weights / weights.sum(), coverage * (1 + 1 / n_distinct)
    upper = _quantiles(values + residuals, weights, [share])[0]
    return -_quantiles(residuals - values, weights, [share])[0], upper


def quantile_values(
    values: Tensor, residuals: Tensor, weights: Tensor, levels: Sequence[float], n_distinct: int
) -> Tensor:
    """Return one-sided quantiles of the targets of new rows, (m, n_levels).

    The value of a level q above 1/2 is the least one up to which there is a share of q, where the
    value that is infinite counts as one of the values. For a level below 1/2 it is the largest
    one from which on there is a share of 1 - q. The median is the mean of both.

    Parameters
    ----------
    values : tensor of shape (m, n)
        Predictions for m new rows of the fits without each of n rows.
    residuals : tensor of shape (n,)
        Signed residuals of these rows, the target less the prediction.
    weights : tensor of shape (n,)
    levels : sequence of float
        Ascending.
    n_distinct : int
        Of rows, whose mean weight the value that is infinite has.
    """
    weights, factor = weights / weights.sum(), 1 + 1 / n_distinct
    lower, upper = [q for q in levels if q <= 0.5], [q for q in levels if q >= 0.5]
    targets, found = values + residuals, []
    if lower:
        found += _quantiles(-targets, weights, [(1 - q) * factor for q in lower])
        found = [-each for each in found]
    if upper:
        found += _quantiles(targets, weights, [q * factor for q in upper])
    if 0.5 in levels:
        first = len(lower) - 1
        found[first : first + 2] = [(found[first] + found[first + 1]) / 2]
    return torch.stack(found, dim=1)


def _quantiles(values: Tensor, weights: Tensor, shares: Sequence[float]) -> list[Tensor]:
    """Return the least value of each row up to which the weights sum to each share, or the last."""
    ordered, order = values.sort(dim=1)
    sums = weights[order].cumsum(dim=1)
    wanted = sums.new_tensor(shares).mul_(1 - SHARE_TOLERANCE).repeat(len(sums), 1)
    position = torch.searchsorted(sums, wanted).clamp_(max=values.shape[1] - 1)
    return list(ordered.gather(1, position).unbind(dim=1))

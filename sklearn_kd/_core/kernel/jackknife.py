r"""Prediction intervals by jackknife+ and CV+ (Barber, Candes, Ramdas and Tibshirani 2021).

Let f_{-i} be the fit without row i, and R_i the absolute residual of row i under it. The interval
of a new row x at coverage 1 - a lies between the lower quantile of f_{-i}(x) - R_i and the upper
quantile of f_{-i}(x) + R_i, both of n values and one that is infinite.
"""

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
    share = coverage * (1 + 1 / n_distinct)
    weights = weights / weights.sum()
    upper = _quantile(values + residuals, weights, share)
    return -_quantile(residuals - values, weights, share), upper


def _quantile(values: Tensor, weights: Tensor, share: float) -> Tensor:
    """Return the least value of each row up to which the weights sum to ``share``, or the last."""
    ordered, order = values.sort(dim=1)
    sums = weights[order].cumsum(dim=1)
    wanted = sums.new_full((len(sums), 1), share * (1 - SHARE_TOLERANCE))
    position = torch.searchsorted(sums, wanted).clamp_(max=values.shape[1] - 1)
    return ordered.gather(1, position)[:, 0]

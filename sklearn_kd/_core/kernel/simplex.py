"""Quadratic programs over a simplex of rows, or of pairs of a row and another class."""

import math

import torch
from torch import Tensor

__all__ = ["Simplex", "duality_gap", "quadratic_program"]


#: Steps on a quadratic program before the rows that matter are chosen anew; doubled each time.
FIRST_STEPS = 100


class Simplex:
    """Weights q as one vector, over rows or over pairs of a row and another class."""

    def __init__(self, targets: Tensor) -> None:
        self.targets = targets
        self.is_binary = targets.shape[1] == 1
        self.other = targets == 0  # the pairs of K classes

    def weights(self, q: Tensor) -> Tensor:
        """Return q as it is shown, (n,) or (n, K)."""
        if self.is_binary:
            return q.clone()
        return torch.zeros_like(self.targets).masked_scatter_(self.other, q)

    def vector(self, weights: Tensor) -> Tensor:
        """Invert `weights`."""
        return weights if self.is_binary else weights[self.other]

    def coefficients(self, q: Tensor) -> Tensor:
        """M: q_i y_i, or the sum of row i of q at its own class and -q_ij elsewhere."""
        if self.is_binary:
            return self.targets * q[:, None]
        weights = self.weights(q)
        return self.targets * weights.sum(dim=1, keepdim=True) - weights

    def margins(self, logits: Tensor) -> Tensor:
        """y_i f_i, or f_{y_i} - f_ij; adjoint of `coefficients`. Trailing axes go along."""
        targets = self.targets.view(self.targets.shape + (1,) * (logits.ndim - 2))
        if self.is_binary:
            return (targets * logits)[:, 0]
        own = (targets * logits).sum(dim=1, keepdim=True)
        return (own - logits)[self.other]


def project_simplex(point: Tensor) -> Tensor:
    """Nearest point with non-negative entries that sum to one, of a vector (Held et al. 1974)."""
    falling = point.sort(descending=True).values
    excess = falling.cumsum(0) - 1
    count = torch.arange(1, len(point) + 1, device=point.device, dtype=point.dtype)
    last = int((falling * count > excess).sum()) - 1
    nearest: Tensor = (point - excess[last] / (last + 1)).clamp_(min=0)
    return nearest


def duality_gap(gradient: Tensor, q: Tensor) -> float:
    """Bound what a convex function can still fall by on the simplex."""
    return float(gradient @ q - gradient.min())


def quadratic_program(
    matrix: Tensor,
    factor: float,
    linear: Tensor,
    simplex: Simplex,
    start: Tensor,
    tol: float,
    max_iter: int,
) -> Tensor:
    """Minimize factor <M, matrix M>/2 + <linear, q> to a duality gap of ``tol``.

    On the rows that q rests on and those that pull it, which are few of many, in rounds that choose
    them anew. ``max_iter`` steps with all rows, or as many with fewer as take that time.
    """
    q, n = start, len(matrix)
    left, steps = float(max_iter), FIRST_STEPS
    while True:
        slope = simplex.margins(matrix @ simplex.coefficients(q)).mul_(factor).add_(linear)
        if left < 1 or duality_gap(slope, q) <= tol:
            return q
        matters = (q > 0) | (slope < slope @ q)
        by_row = simplex.weights(matters.to(q.dtype)).view(n, -1)
        rows = (by_row > 0).any(dim=1).nonzero()[:, 0]
        part, size = Simplex(simplex.targets[rows]), (len(rows) / n) ** 2
        within, taken = _accelerated(
            matrix if len(rows) == n else matrix[rows][:, rows],
            factor,
            part.vector(simplex.weights(linear)[rows]),
            part,
            part.vector(simplex.weights(q)[rows]),
            tol / 2,  # for the gap on all rows to be within tol
            min(steps, math.ceil(left / size)),
        )
        weights = torch.zeros_like(simplex.weights(q))
        weights[rows] = part.weights(within)
        q = simplex.vector(weights)
        left -= 1 + taken * size
        steps *= 2


def _accelerated(
    matrix: Tensor,
    factor: float,
    linear: Tensor,
    simplex: Simplex,
    start: Tensor,
    tol: float,
    max_iter: int,
) -> tuple[Tensor, int]:
    """Minimize likewise on all rows given; q and the number of steps.

    FISTA with restarts (O'Donoghue and Candes 2015). One product with the matrix a step: the
    gradient at an extrapolated point is extrapolated.
    """

    def gradient(point: Tensor) -> Tensor:
        product = matrix @ simplex.coefficients(point)
        return simplex.margins(product).mul_(factor).add_(linear)

    q, g = start, gradient(start)
    point, slope = q, g
    curvature = factor * float(matrix.diagonal().mean().clamp(min=1e-30))
    momentum = 1.0
    for iteration in range(max_iter):
        while True:
            following = project_simplex(point - slope / curvature)
            g_following = gradient(following)
            move = following - point
            if float(move @ (g_following - slope)) <= curvature * float(move @ move) * (1 + 1e-6):
                break
            curvature *= 2
        if float(slope @ (following - q)) > 0:
            momentum = 1.0
        grown = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = (momentum - 1) / grown
        point = following + ahead * (following - q)
        slope = g_following + ahead * (g_following - g)
        q, g, momentum = following, g_following, grown
        curvature *= 0.97  # that of the first steps is seldom met again: half the steps
        if iteration % 8 == 0 and duality_gap(g, q) <= tol:
            break
    return q, iteration + 1

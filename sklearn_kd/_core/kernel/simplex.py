"""Quadratic programs over the simplex of rows, or of pairs of a row and another class."""

import math

import torch
from torch import Tensor

#: Steps on the active rows of a quadratic program before these are chosen again. The number is
#: doubled each time.
INITIAL_STEPS = 100


class Simplex:
    """Weights q as one vector, over rows (two classes) or over pairs of a row and another class."""

    def __init__(self, targets: Tensor) -> None:
        self.targets = targets
        self.is_binary = targets.shape[1] == 1
        self.other = targets == 0  # the pairs for K classes

    def weights(self, q: Tensor) -> Tensor:
        """Return q in the shape (n,) for two classes or (n, K) for more."""
        if self.is_binary:
            return q.clone()
        return torch.zeros_like(self.targets).masked_scatter_(self.other, q)

    def vector(self, weights: Tensor) -> Tensor:
        """Return the vector q of `weights`."""
        return weights if self.is_binary else weights[self.other]

    def coefficients(self, q: Tensor) -> Tensor:
        """Return M: q_i y_i, or the sum of row i of q at its own class and -q_ij elsewhere."""
        if self.is_binary:
            return self.targets * q[:, None]
        weights = self.weights(q)
        return self.targets * weights.sum(dim=1, keepdim=True) - weights

    def margins(self, logits: Tensor) -> Tensor:
        """Return y_i f_i or f_{y_i} - f_ij, the adjoint of `coefficients`, with trailing axes."""
        targets = self.targets.view(self.targets.shape + (1,) * (logits.ndim - 2))
        if self.is_binary:
            return (targets * logits)[:, 0]
        own = (targets * logits).sum(dim=1, keepdim=True)
        return (own - logits)[self.other]


def project_simplex(point: Tensor) -> Tensor:
    """Return the nearest point of the simplex to a vector (Held et al. 1974)."""
    descending = point.sort(descending=True).values
    excess = descending.cumsum(0) - 1
    count = torch.arange(1, len(point) + 1, device=point.device, dtype=point.dtype)
    last = int((descending * count > excess).sum()) - 1
    nearest: Tensor = (point - excess[last] / (last + 1)).clamp_(min=0)
    return nearest


def duality_gap(gradient: Tensor, q: Tensor) -> float:
    """Return an upper bound of how much a convex function can still decrease on the simplex."""
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

    Each round runs on the rows whose weight is positive or would grow, which are often few of many,
    and the next round chooses these rows again. ``max_iter`` counts steps with all rows. More steps
    with fewer rows are allowed if they take as long.
    """
    q, n = start, len(matrix)
    left, steps = float(max_iter), INITIAL_STEPS
    while True:
        slope = simplex.margins(matrix @ simplex.coefficients(q)).mul_(factor).add_(linear)
        if left < 1 or duality_gap(slope, q) <= tol:
            return q
        is_active = (q > 0) | (slope < slope @ q)
        by_row = simplex.weights(is_active.to(q.dtype)).view(n, -1)
        rows = (by_row > 0).any(dim=1).nonzero()[:, 0]
        part, size = Simplex(simplex.targets[rows]), (len(rows) / n) ** 2
        within, taken = _accelerated(
            matrix if len(rows) == n else matrix[rows][:, rows],
            factor,
            part.vector(simplex.weights(linear)[rows]),
            part,
            part.vector(simplex.weights(q)[rows]),
            tol / 2,  # so that the gap on all rows can be within tol
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
    """Minimize on all rows and return q and the number of steps.

    The method is FISTA with restarts (O'Donoghue and Candes 2015). It needs one product with the
    matrix per step, since the gradient at an extrapolated point is extrapolated.
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
        curvature *= 0.97  # later steps seldom need the curvature of the first: half the steps
        if iteration % 8 == 0 and duality_gap(g, q) <= tol:
            break
    return q, iteration + 1

r"""Kernel ridge regression with out-of-sample values of the training rows.

.. math:: f = K \alpha + b, \qquad (K + \lambda\, diag(1 / w))\, \alpha = Y - b

for weights w and a ridge lambda that is not multiplied by the number of rows. The offset b is zero
or free. A free offset adds the condition that the weights alpha of each output sum to zero (the
bordered system).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sklearn_kd._core.kernel.linalg import (
    NotPositiveDefiniteError,
    Solution,
    SolverOptions,
    cholesky_,
    cholesky_solve,
    inverse_diagonal,
    solve_refined,
    solve_triangular,
    symmetric_product,
    symmetric_product_exactly,
    thin_product,
)

#: Losses up to this many times the least one are considered as good.
MAX_LOSS_RATIO = 1.01
#: Weight of the centers that a fold leaves out, relative to the other centers, in the estimate of
#: the part of all other rows. Rows close to such a center have a component in its direction.
#: Values from 0.25 to 1 work equally well.
LEFT_OUT_CENTER_WEIGHT = 0.5


@dataclass
class FoldFits:
    """Fits without each fold."""

    fold: Tensor  # (rows,), int64, the fold of each row
    dual: Tensor  # (rows or centers, folds, outputs)
    intercept: Tensor  # (folds, outputs)


@dataclass
class RidgeFit:
    """Dual weights, offset, and out-of-sample values of the rows."""

    dual: Tensor  # (rows or centers, outputs)
    intercept: Tensor  # (outputs,)
    out_of_sample: Tensor  # (rows, outputs)
    residual: float = 0.0
    n_iter: int = 0
    folds: FoldFits | None = None  # None if the values are leave-one-out values


def fit_exactly(
    gram: Tensor, weights: Tensor, targets: Tensor, ridge: float, *, free_intercept: bool
) -> RidgeFit:
    r"""Solve by Cholesky, with leave-one-out values in closed form. Overwrites ``gram``.

    With C = K + lambda diag(1/w), the value at row i of a fit without it is
    :math:`y_i - (C^{-1} (y - b))_i / (C^{-1})_{ii}`. With a free intercept, the inverse is that of
    the bordered matrix, whose diagonal is smaller by :math:`(C^{-1} 1)_i^2 / 1' C^{-1} 1`.
    """
    gram.diagonal().add_(ridge / weights)
    factor = cholesky_(gram)
    ones = torch.ones_like(targets[:, :1])
    solved = cholesky_solve(factor, torch.cat([targets, ones], dim=1))
    return _leave_one_out(
        solved[:, :-1], solved[:, -1], inverse_diagonal(factor), targets, free_intercept
    )


def _leave_one_out(
    dual: Tensor, ones: Tensor, inverse: Tensor, targets: Tensor, free_intercept: bool
) -> RidgeFit:
    """Return the fit of C^-1 Y, C^-1 1 and the diagonal of C^-1."""
    intercept = dual.new_zeros(dual.shape[1])
    if free_intercept:
        intercept = dual.sum(dim=0) / ones.sum()
        dual = dual - ones[:, None] * intercept
        inverse = inverse - ones.square() / ones.sum()
    # a single row with a free intercept leaves nothing to fit without it
    out = targets - dual / torch.where(inverse > 0, inverse, torch.inf)[:, None]
    return RidgeFit(dual, intercept, out)


@dataclass
class Spectrum:
    """Eigenvalues and vectors of the weighted kernel, sqrt(w) K sqrt(w)."""

    values: Tensor  # (rows,), ascending, not negative
    vectors: Tensor  # (rows, rows)
    root: Tensor  # (rows,), sqrt(w)

    def dual(self, targets: Tensor, gains: Tensor) -> Tensor:
        """Return sqrt(w) V diag(gains) V' sqrt(w) targets."""
        coefficients = self.vectors.mT @ (self.root[:, None] * targets)
        return self.root[:, None] * (self.vectors @ (gains[:, None] * coefficients))


def spectrum(gram: Tensor, weights: Tensor) -> Spectrum:
    """Compute the eigendecomposition. Overwrites ``gram`` if weights differ from one.

    It takes about 9 n^3 multiplications, as many as 13 solves. Negative eigenvalues become zero. An
    eigenvalue that is more negative than rounding explains is an error.
    """
    root = weights.sqrt()
    if (weights != 1).any():
        gram.mul_(root).mul_(root[:, None])
    values, vectors = torch.linalg.eigh(gram)
    bound = torch.finfo(values.dtype).eps * len(values) * float(values.abs().max())
    if float(values[0]) < -10 * bound:
        raise NotPositiveDefiniteError(f"the kernel matrix has the eigenvalue {float(values[0]):g}")
    return Spectrum(values.clamp_(min=0), vectors, root)


def leave_one_out_values(
    spectrum: Spectrum, targets: Tensor, ridges: Sequence[float], *, free_intercept: bool
) -> list[Tensor]:
    """Return the leave-one-out values (rows, outputs) of each ridge."""
    both = torch.cat([targets, torch.ones_like(targets[:, :1])], dim=1)
    coefficients = spectrum.vectors.mT @ (spectrum.root[:, None] * both)
    grid = torch.tensor(list(ridges), dtype=targets.dtype, device=targets.device)
    gains = 1 / (spectrum.values[:, None] + grid)  # (rows, ridges)
    inverses = spectrum.vectors.square() @ gains * spectrum.root.square()[:, None]
    values = []
    for column in range(len(ridges)):
        solved = spectrum.vectors @ (gains[:, column, None] * coefficients)
        solved *= spectrum.root[:, None]
        fit = _leave_one_out(
            solved[:, :-1], solved[:, -1], inverses[:, column], targets, free_intercept
        )
        values.append(fit.out_of_sample)
    return values


def select_ridge(ridges: Sequence[float], losses: Sequence[float]) -> float:
    """Return the largest ridge whose loss is within `MAX_LOSS_RATIO` of the least one.

    If the labels have no noise, the loss is flat for ridges close to zero, where the matrix is
    badly conditioned.
    """
    limit = MAX_LOSS_RATIO * min(losses)
    return max(ridge for ridge, loss in zip(ridges, losses, strict=True) if loss <= limit)


def gradient_flow(spectrum: Spectrum, targets: Tensor, times: Sequence[float]) -> list[Tensor]:
    r"""Return the dual weights of gradient flow on the squared loss at each of ``times``.

    The flow of :math:`\tfrac12 \sum_i w_i (f_i - y_i)^2` from f = 0 at rate one is at time t
    :math:`f_t(x) = k(x, X) \sqrt w\, V (1 - e^{-s t}) / s\, V' \sqrt w\, Y` with the eigenvalues s.
    Directions whose eigenvalue is zero up to rounding are never learned and left out, since their
    factor t would only multiply rounding errors.
    """
    duals = []
    s = spectrum.values
    is_learned = s > 10 * torch.finfo(s.dtype).eps * s.max()
    for time in times:
        gains = torch.where(is_learned, -torch.expm1(-s * time) / s, 0.0)
        duals.append(spectrum.dual(targets, gains))
    return duals


@dataclass
class FoldSystems:
    """Linear systems that share a matrix, one with all rows and one without each fold.

    System 0 has all rows and system 1 + k leaves out fold k. Columns are ordered by system and then
    by output. A free intercept adds a column of ones to each system.
    """

    weights: Tensor  # (rows,)
    fold: Tensor  # (rows,), int64, the fold of each row
    n_folds: int
    n_outputs: int
    free_intercept: bool

    @property
    def n_columns(self) -> int:
        """Number of columns of each system."""
        return self.n_outputs + self.free_intercept

    def roots(self) -> Tensor:
        """Return sqrt(weight) of each row in each system, zero if the system leaves it out."""
        inside = torch.ones(
            len(self.fold), 1 + self.n_folds, dtype=self.weights.dtype, device=self.weights.device
        )
        inside[torch.arange(len(self.fold), device=self.fold.device), 1 + self.fold] = 0.0
        return inside.mul_(self.weights.sqrt()[:, None])

    def right_hand_sides(self, targets: Tensor) -> Tensor:
        """Return the targets of all systems, (rows, systems * columns)."""
        if self.free_intercept:
            targets = torch.cat([targets, torch.ones_like(targets[:, :1])], dim=1)
        return targets.repeat(1, 1 + self.n_folds)

    def scale(self, values: Tensor, factors: Tensor) -> Tensor:
        """Multiply the columns of each system by its factors (rows, systems)."""
        shape = len(values), 1 + self.n_folds, self.n_columns
        return (values.reshape(shape) * factors[:, :, None]).view(len(values), -1)

    def to_fit(self, dual: Tensor, sums: Tensor, fitted: Tensor, solution: Solution) -> RidgeFit:
        """Return the fit of system 0, with values of each row from the system that left it out.

        Parameters
        ----------
        dual : tensor of shape (rows or centers, systems * columns)
        sums : tensor of shape (systems * columns,)
            Their ratios are the offsets.
        fitted : tensor of shape (rows, systems * columns)
            The kernel times ``dual``.
        solution : Solution
            Of the iterative solver.
        """
        shape = 1 + self.n_folds, self.n_columns
        dual, fitted = dual.view(len(dual), *shape), fitted.reshape(len(fitted), *shape)
        sums = sums.view(shape)
        n_outputs = self.n_outputs
        intercept = sums.new_zeros(shape[0], n_outputs)
        if self.free_intercept:
            ones = sums[:, n_outputs:]
            # a system without rows has no offset
            intercept = sums[:, :n_outputs] / torch.where(ones != 0, ones, torch.inf)
            dual = dual[:, :, :n_outputs] - dual[:, :, n_outputs:] * intercept
            fitted = fitted[:, :, :n_outputs] - fitted[:, :, n_outputs:] * intercept
        rows = torch.arange(len(fitted), device=fitted.device)
        left_out = 1 + self.fold
        out = fitted[rows, left_out] + intercept[left_out]
        residual = float(solution.residual.max())
        folds = FoldFits(self.fold, dual[:, 1:].clone(), intercept[1:])
        return RidgeFit(dual[:, 0].clone(), intercept[0], out, residual, solution.n_iter, folds)


def fit_iteratively(
    matrix: Tensor,
    low_rank: Tensor,
    systems: FoldSystems,
    targets: Tensor,
    ridge: float,
    options: SolverOptions,
) -> RidgeFit:
    r"""Solve all systems by conjugate gradients, in shared passes over the kernel matrix.

    Each system is :math:`(S K S + \lambda) \beta = S Y, \alpha = S \beta`, where S is the diagonal
    matrix of the square roots of its weights. The preconditioner has :math:`F F'` (``low_rank``) in
    place of K (``matrix``) and is inverted by Woodbury's identity.
    """
    roots = systems.roots()
    rhs = systems.scale(systems.right_hand_sides(targets), roots)
    factors = _woodbury_factors(low_rank, systems, ridge)

    def product(vectors: Tensor) -> Tensor:
        image = systems.scale(symmetric_product(matrix, systems.scale(vectors, roots)), roots)
        return image.add_(vectors, alpha=ridge)

    def product_exactly(vectors: Tensor) -> Tensor:
        scaled = systems.scale(vectors, roots.double())
        image = symmetric_product_exactly(matrix, scaled)
        return systems.scale(image, roots.double()).add_(vectors, alpha=ridge)

    def precondition(vectors: Tensor) -> Tensor:
        inner = thin_product(low_rank.mT, systems.scale(vectors, roots))
        parts = [
            cholesky_solve(factor, part).to(inner.dtype)
            for factor, part in zip(
                factors, inner.double().tensor_split(len(factors), dim=1), strict=True
            )
        ]
        explained = systems.scale(thin_product(low_rank, torch.cat(parts, dim=1)), roots)
        return (vectors - explained).div_(ridge)

    solution = solve_refined(product, product_exactly, precondition, rhs, options)
    dual = systems.scale(solution.values, roots)
    return systems.to_fit(dual, dual.sum(dim=0), symmetric_product(matrix, dual), solution)


def _woodbury_factors(low_rank: Tensor, systems: FoldSystems, ridge: float) -> list[Tensor]:
    """Return the Cholesky factors of lambda + F' S^2 F for each system, in float64."""
    parts = []
    for fold in range(systems.n_folds):
        rows = (systems.fold == fold).nonzero()[:, 0]
        part = low_rank[rows] * systems.weights[rows].sqrt()[:, None]
        parts.append((part.mT @ part).double())
    total = torch.stack(parts).sum(dim=0)
    factors = []
    for part in [torch.zeros_like(total), *parts]:
        matrix = total - part
        matrix.diagonal().add_(ridge)
        factors.append(cholesky_(matrix))
    return factors


def _falkon_factors(
    lower: Tensor, centers: Tensor, systems: FoldSystems, ridge: float
) -> list[Tensor]:
    r"""Return the Cholesky factors of an estimate of T'^-1 (sum w k k') T^-1 + lambda.

    There is one for each system. The terms of rows that are centers are known, since
    :math:`T'^{-1} k` is then a column of T. The sum over all other rows is estimated by the
    centers, where those of the fold that is left out have the weight `LEFT_OUT_CENTER_WEIGHT`.
    Without these their directions would have lambda alone, where rows close to them have much
    more, and the number of iterations would treble. If all rows are centers the estimate is exact.
    """
    roots = systems.roots()
    own = roots[centers].square_()  # (centers, systems)
    others = roots.square_().sum(dim=0) - own.sum(dim=0)
    shares = others.clamp_(min=0).div_(own[:, 0].sum())  # system 0 has all centers
    weighted = lower * own[:, :1].sqrt()
    total = weighted.mT @ weighted
    factors = []
    for system, share in enumerate(shares.tolist()):
        out = weighted[own[:, system] == 0]
        alpha = LEFT_OUT_CENTER_WEIGHT * share - (1 + share)
        matrix = torch.addmm(total, out.mT, out, beta=1 + share, alpha=alpha)
        # the difference has lost digits to rounding
        jitter = 10 * torch.finfo(matrix.dtype).eps * float(matrix.diagonal().max())
        matrix.diagonal().add_(ridge + jitter)
        factors.append(cholesky_(matrix))
    return factors


def fit_nystroem(
    blocks: Iterable[tuple[slice, Tensor]],
    center_gram: Tensor,
    centers: Tensor,
    systems: FoldSystems,
    targets: Tensor,
    ridge: float,
    options: SolverOptions,
) -> RidgeFit:
    r"""Fit kernel expansions on M centers in all systems at once. Overwrites ``center_gram``.

    Minimizes :math:`\sum_i w_i (y_i - k_i' \beta)^2 + \lambda \beta' K_M \beta` in the variables
    :math:`T \beta` with :math:`T' T = K_M`. The preconditioner estimates the sum over the rows by
    the centers (`_falkon_factors`; Rudi, Carratino and Rosasco 2017).

    Parameters
    ----------
    blocks : iterable of (slice, tensor of shape (rows of the block, centers))
        Rows and their kernel with the centers. Each pass iterates over it anew.
    center_gram : tensor of shape (centers, centers)
    centers : tensor of int of shape (centers,)
        Positions of the centers among the rows.
    systems : FoldSystems
    targets : tensor of shape (rows, outputs)
    ridge : float
    options : SolverOptions
    """
    n_centers = len(center_gram)
    jitter = 10 * torch.finfo(center_gram.dtype).eps * n_centers
    center_gram.diagonal().add_(jitter * (float(center_gram.diagonal().max()) or 1.0))
    lower = cholesky_(center_gram).tril()  # T' = lower
    factors = _falkon_factors(lower, centers, systems, ridge)
    squares = systems.roots().square_()

    def back(vectors: Tensor) -> Tensor:
        return solve_triangular(lower.mT.to(vectors.dtype), vectors, upper=True)

    def gather(values: Callable[[slice, Tensor], Tensor]) -> Tensor:
        """Return T'^-1 times the sum over blocks of k' S^2 values."""
        total: Tensor | float = 0.0
        for rows, block in blocks:
            part = values(rows, block)
            total = total + thin_product(
                block.mT.to(part.dtype), systems.scale(part, squares[rows])
            )
        assert isinstance(total, Tensor)
        return solve_triangular(lower.to(total.dtype), total, upper=False)

    def product(vectors: Tensor) -> Tensor:
        beta = back(vectors)
        return gather(lambda rows, block: thin_product(block.to(beta.dtype), beta)).add_(
            vectors, alpha=ridge
        )

    def precondition(vectors: Tensor) -> Tensor:
        parts = vectors.tensor_split(len(factors), dim=1)
        solved = [cholesky_solve(f, part) for f, part in zip(factors, parts, strict=True)]
        return torch.cat(solved, dim=1)

    rhs_rows = systems.right_hand_sides(targets)
    rhs = gather(lambda rows, block: rhs_rows[rows])
    solution = solve_refined(product, product, precondition, rhs, options)
    beta = back(solution.values)
    fitted = torch.cat([thin_product(block, beta) for _, block in blocks])
    # a free intercept is the offset that leaves residuals whose weighted sum is zero
    shape = len(targets), 1 + systems.n_folds, systems.n_columns
    gap = (rhs_rows - fitted).view(shape) * squares[:, :, None]
    return systems.to_fit(beta, gap.sum(dim=0).reshape(-1), fitted, solution)

r"""Kernel ridge regression with labels for each row from fits that have not seen it.

.. math:: f = K \alpha + b, \qquad (K + \lambda\, diag(1 / w))\, \alpha = Y - b

for weights w and a ridge lambda that is not multiplied by the number of rows. The offset b is zero,
or free; then the weights alpha of each output sum to zero (the bordered system).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sklearn_kd._core.kernel.linalg import (
    NotPositiveDefiniteError,
    Solution,
    cholesky_,
    cholesky_solve,
    inverse_diagonal,
    solve_refined,
    solve_triangular,
    symmetric_product,
    symmetric_product_exactly,
    thin_product,
)

#: A score this many times the least is as good.
AS_GOOD = 1.01
#: What a center of the fold left out stands for of the other rows, against the centers kept: in the
#: directions that only it has, a row close to it has a part of its size. 0.25 to 1 do alike.
OUT = 0.5

Progress = Callable[[int, float], None] | None


@dataclass
class Fit:
    """Dual weights, offset, and out-of-sample values of the rows."""

    dual: Tensor  # (rows or centers, outputs)
    intercept: Tensor  # (outputs,)
    out_of_sample: Tensor  # (rows, outputs)
    residual: float = 0.0
    n_iter: int = 0


def fit_exactly(
    gram: Tensor, weights: Tensor, targets: Tensor, ridge: float, *, free_intercept: bool
) -> Fit:
    r"""Solve by Cholesky, with leave-one-out values in closed form. Overwrites ``gram``.

    With C = K + lambda diag(1/w), the value of a fit without row i at row i is
    :math:`y_i - (C^{-1} (y - b))_i / (C^{-1})_{ii}`; with a free intercept, the inverse is that of
    the bordered matrix, whose diagonal is less by :math:`(C^{-1} 1)_i^2 / 1' C^{-1} 1`.
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
) -> Fit:
    """Put together C^-1 Y, C^-1 1 and the diagonal of C^-1."""
    intercept = dual.new_zeros(dual.shape[1])
    if free_intercept:
        intercept = dual.sum(dim=0) / ones.sum()
        dual = dual - ones[:, None] * intercept
        inverse = inverse - ones.square() / ones.sum()
    # one row with a free intercept: without it there is nothing to fit
    out = targets - dual / torch.where(inverse > 0, inverse, torch.inf)[:, None]
    return Fit(dual, intercept, out)


@dataclass
class Spectrum:
    """Eigenvalues and vectors of the weighted kernel, sqrt(w) K sqrt(w)."""

    values: Tensor  # (rows,), ascending, not negative
    vectors: Tensor  # (rows, rows)
    root: Tensor  # (rows,), sqrt(w)

    def dual(self, targets: Tensor, gains: Tensor) -> Tensor:
        """sqrt(w) V diag(gains) V' sqrt(w) targets."""
        coefficients = self.vectors.mT @ (self.root[:, None] * targets)
        return self.root[:, None] * (self.vectors @ (gains[:, None] * coefficients))


def spectrum(gram: Tensor, weights: Tensor) -> Spectrum:
    """Eigendecomposition, 9 n^3: worth 13 solves. Overwrites ``gram`` where weights differ.

    Negative eigenvalues become zero; one below what rounding can do is an error.
    """
    root = weights.sqrt()
    if (weights != 1).any():
        gram.mul_(root).mul_(root[:, None])
    values, vectors = torch.linalg.eigh(gram)
    bound = torch.finfo(values.dtype).eps * len(values) * float(values.abs().max())
    if float(values[0]) < -10 * bound:
        raise NotPositiveDefiniteError(f"the kernel matrix has the eigenvalue {float(values[0]):g}")
    return Spectrum(values.clamp_(min=0), vectors, root)


def choose_ridge(
    spectrum: Spectrum,
    targets: Tensor,
    ridges: Sequence[float],
    score: Callable[[Tensor], float],
    *,
    free_intercept: bool,
) -> float:
    """Ridge of the least ``score`` of leave-one-out values, all from one eigendecomposition.

    Of ridges that do within `AS_GOOD` as well it is the largest: the score of rows without noise is
    flat towards zero, where the matrix is worst conditioned.
    """
    both = torch.cat([targets, torch.ones_like(targets[:, :1])], dim=1)
    coefficients = spectrum.vectors.mT @ (spectrum.root[:, None] * both)
    grid = torch.tensor(list(ridges), dtype=targets.dtype, device=targets.device)
    gains = 1 / (spectrum.values[:, None] + grid)  # (rows, ridges)
    inverses = spectrum.vectors.square() @ gains * spectrum.root.square()[:, None]
    scores = []
    for column in range(len(ridges)):
        solved = spectrum.vectors @ (gains[:, column, None] * coefficients)
        solved *= spectrum.root[:, None]
        fit = _leave_one_out(
            solved[:, :-1], solved[:, -1], inverses[:, column], targets, free_intercept
        )
        scores.append(score(fit.out_of_sample))
    least = min(scores)
    return max(ridge for ridge, loss in zip(ridges, scores, strict=True) if loss <= AS_GOOD * least)


def flow(spectrum: Spectrum, targets: Tensor, times: Sequence[float]) -> list[Tensor]:
    r"""Dual weights of gradient flow on the squared loss, at each of ``times``.

    The flow of :math:`\tfrac12 \sum_i w_i (f_i - y_i)^2` from f = 0 at rate one is at time t
    :math:`f_t(x) = k(x, X) \sqrt w\, V (1 - e^{-s t}) / s\, V' \sqrt w\, Y` with the eigenvalues s.
    Directions whose s is zero, or rounding, are never learned, and left out: their factor t
    would only multiply rounding.
    """
    duals = []
    s = spectrum.values
    is_learned = s > 10 * torch.finfo(s.dtype).eps * s.max()
    for time in times:
        gains = torch.where(is_learned, -torch.expm1(-s * time) / s, 0.0)
        duals.append(spectrum.dual(targets, gains))
    return duals


@dataclass
class Groups:
    """Systems that share a matrix: all rows, and all rows but those of each fold.

    ``fold`` (rows,) is the fold of each row. System 0 has all rows, system 1 + k leaves out fold
    k. Columns are ordered by system, then by output, with a column of ones for a free intercept.
    """

    weights: Tensor  # (rows,)
    fold: Tensor  # (rows,), int64
    n_folds: int
    n_outputs: int
    free_intercept: bool

    @property
    def n_columns(self) -> int:
        """Columns of each system."""
        return self.n_outputs + self.free_intercept

    def roots(self) -> Tensor:
        """sqrt(weight) of each row in each system, zero where it is left out."""
        inside = torch.ones(
            len(self.fold), 1 + self.n_folds, dtype=self.weights.dtype, device=self.weights.device
        )
        inside[torch.arange(len(self.fold), device=self.fold.device), 1 + self.fold] = 0.0
        return inside.mul_(self.weights.sqrt()[:, None])

    def spread(self, targets: Tensor) -> Tensor:
        """Right-hand sides (rows, systems * columns)."""
        if self.free_intercept:
            targets = torch.cat([targets, torch.ones_like(targets[:, :1])], dim=1)
        return targets.repeat(1, 1 + self.n_folds)

    def scale(self, values: Tensor, factors: Tensor) -> Tensor:
        """Multiply the columns of each system by its factors (rows, systems)."""
        shape = len(values), 1 + self.n_folds, self.n_columns
        return (values.reshape(shape) * factors[:, :, None]).view(len(values), -1)

    def assemble(self, dual: Tensor, sums: Tensor, fitted: Tensor, solution: Solution) -> Fit:
        """Offsets, weights of system 0, and each row's value from the system that left it out.

        ``dual`` (rows or centers, systems * columns); ``sums`` (systems * columns,), whose ratios
        are the offsets; ``fitted`` (rows, systems * columns), K times dual.
        """
        shape = 1 + self.n_folds, self.n_columns
        dual, fitted = dual.view(len(dual), *shape), fitted.reshape(len(fitted), *shape)
        sums = sums.view(shape)
        n_outputs = self.n_outputs
        intercept = sums.new_zeros(shape[0], n_outputs)
        if self.free_intercept:
            ones = sums[:, n_outputs:]
            # a system without rows has nothing to take an offset from
            intercept = sums[:, :n_outputs] / torch.where(ones != 0, ones, torch.inf)
            dual = dual[:, :, :n_outputs] - dual[:, :, n_outputs:] * intercept
            fitted = fitted[:, :, :n_outputs] - fitted[:, :, n_outputs:] * intercept
        rows = torch.arange(len(fitted), device=fitted.device)
        left_out = 1 + self.fold
        out = fitted[rows, left_out] + intercept[left_out]
        residual = float(solution.residual.max())
        return Fit(dual[:, 0].clone(), intercept[0], out, residual, solution.n_iter)


def fit_iteratively(
    matrix: Tensor,
    low_rank: Tensor,
    groups: Groups,
    targets: Tensor,
    ridge: float,
    *,
    tol: float,
    max_iter: int,
    on_iteration: Progress = None,
) -> Fit:
    r"""Conjugate gradients on the kernel matrix, all systems in the same passes over it.

    Each system is :math:`(S K S + \lambda) \beta = S Y, \alpha = S \beta`, S the diagonal of its
    root weights. The preconditioner is the same with :math:`F F'` (``low_rank``) for K
    (``matrix``), inverted by Woodbury's identity in the columns of F.
    """
    roots = groups.roots()
    rhs = groups.scale(groups.spread(targets), roots)
    factors = _woodbury(low_rank, groups, ridge)

    def product(vectors: Tensor) -> Tensor:
        image = groups.scale(symmetric_product(matrix, groups.scale(vectors, roots)), roots)
        return image.add_(vectors, alpha=ridge)

    def product_exactly(vectors: Tensor) -> Tensor:
        scaled = groups.scale(vectors, roots.double())
        image = symmetric_product_exactly(matrix, scaled)
        return groups.scale(image, roots.double()).add_(vectors, alpha=ridge)

    def precondition(vectors: Tensor) -> Tensor:
        inner = thin_product(low_rank.mT, groups.scale(vectors, roots))
        parts = [
            cholesky_solve(factor, part).to(inner.dtype)
            for factor, part in zip(
                factors, inner.double().tensor_split(len(factors), dim=1), strict=True
            )
        ]
        explained = groups.scale(thin_product(low_rank, torch.cat(parts, dim=1)), roots)
        return (vectors - explained).div_(ridge)

    solution = solve_refined(
        product,
        product_exactly,
        precondition,
        rhs,
        tol=tol,
        max_iter=max_iter,
        on_iteration=on_iteration,
    )
    dual = groups.scale(solution.values, roots)
    return groups.assemble(dual, dual.sum(dim=0), symmetric_product(matrix, dual), solution)


def _woodbury(low_rank: Tensor, groups: Groups, ridge: float) -> list[Tensor]:
    """Cholesky factors of lambda + F' S^2 F for each system, in float64."""
    parts = []
    for fold in range(groups.n_folds):
        rows = (groups.fold == fold).nonzero()[:, 0]
        part = low_rank[rows] * groups.weights[rows].sqrt()[:, None]
        parts.append((part.mT @ part).double())
    total = torch.stack(parts).sum(dim=0)
    factors = []
    for part in [torch.zeros_like(total), *parts]:
        matrix = total - part
        matrix.diagonal().add_(ridge)
        factors.append(cholesky_(matrix))
    return factors


def _falkon(lower: Tensor, centers: Tensor, groups: Groups, ridge: float) -> list[Tensor]:
    r"""Cholesky factors of an estimate of T'^-1 (sum w k k') T^-1 + lambda for each system.

    The term of a row that is a center is known: :math:`T'^{-1} k` is its column of T. All centers
    stand for the other rows of the system, those of the fold left out at `OUT`. Without the latter
    their directions would have lambda alone, where rows close by have far more, and iterations
    treble; where all rows are centers nothing is left to stand for, and the inverse is exact.
    """
    roots = groups.roots()
    own = roots[centers].square_()  # (centers, systems)
    others = roots.square_().sum(dim=0) - own.sum(dim=0)
    shares = others.clamp_(min=0).div_(own[:, 0].sum())  # system 0 has all centers
    weighted = lower * own[:, :1].sqrt()
    total = weighted.mT @ weighted
    factors = []
    for system, share in enumerate(shares.tolist()):
        out = weighted[own[:, system] == 0]
        matrix = torch.addmm(total, out.mT, out, beta=1 + share, alpha=OUT * share - (1 + share))
        # what the difference has lost to rounding
        jitter = 10 * torch.finfo(matrix.dtype).eps * float(matrix.diagonal().max())
        matrix.diagonal().add_(ridge + jitter)
        factors.append(cholesky_(matrix))
    return factors


def fit_nystroem(
    blocks: Callable[[], Sequence[tuple[slice, Tensor]]],
    center_gram: Tensor,
    centers: Tensor,
    groups: Groups,
    targets: Tensor,
    ridge: float,
    *,
    tol: float,
    max_iter: int,
    on_iteration: Progress = None,
) -> Fit:
    r"""Ridge regression on functions of M centers, in all systems at once. Overwrites the matrix.

    Minimizes :math:`\sum_i w_i (y_i - k_i' \beta)^2 + \lambda \beta' K_M \beta` in the variables
    :math:`T \beta, T' T = K_M`, each system preconditioned as if the centers stood for the rows
    (`_falkon`; Rudi, Carratino and Rosasco 2017). ``centers`` (centers,) are the indices of their
    rows; ``blocks()`` goes through (rows, kernel of these rows and the centers).
    """
    n_centers = len(center_gram)
    jitter = 10 * torch.finfo(center_gram.dtype).eps * n_centers
    center_gram.diagonal().add_(jitter * (float(center_gram.diagonal().max()) or 1.0))
    lower = cholesky_(center_gram).tril()  # T' = lower
    factors = _falkon(lower, centers, groups, ridge)
    squares = groups.roots().square_()

    def back(vectors: Tensor) -> Tensor:
        return solve_triangular(lower.mT.to(vectors.dtype), vectors, upper=True)

    def gather(values: Callable[[slice, Tensor], Tensor]) -> Tensor:
        """T'^-1 sum over blocks of k' S^2 values."""
        total: Tensor | float = 0.0
        for rows, block in blocks():
            part = values(rows, block)
            total = total + thin_product(block.mT.to(part.dtype), groups.scale(part, squares[rows]))
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

    rhs_rows = groups.spread(targets)
    rhs = gather(lambda rows, block: rhs_rows[rows])
    solution = solve_refined(
        product,
        product,
        precondition,
        rhs,
        tol=tol,
        max_iter=max_iter,
        on_iteration=on_iteration,
    )
    beta = back(solution.values)
    fitted = torch.cat([thin_product(block, beta) for _, block in blocks()])
    # a free intercept is the offset that leaves residuals whose weighted sum is zero
    shape = len(targets), 1 + groups.n_folds, groups.n_columns
    gap = (rhs_rows - fitted).view(shape) * squares[:, :, None]
    return groups.assemble(beta, gap.sum(dim=0).reshape(-1), fitted, solution)

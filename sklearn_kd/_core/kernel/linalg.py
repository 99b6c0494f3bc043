"""Linear algebra on large positive definite matrices, in place and in blocks."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sklearn_kd._core.kernel.progress import Progress

#: Rows that are converted to float64 at a time.
FLOAT64_BLOCK_ROWS = 64
#: Columns of a block. Products of this size run at full speed, and scratch memory stays small.
BLOCK_COLUMNS = 512


class NotPositiveDefiniteError(ArithmeticError):
    """A matrix that must be positive definite is not."""


def cholesky_(matrix: Tensor) -> Tensor:
    """Overwrite a symmetric matrix by its Cholesky factor and return L with L L' = matrix.

    L is lower triangular and a view of the memory of ``matrix``. The values above its diagonal are
    not cleared. Nothing of the size of the matrix is allocated.
    """
    # the view is column-major, so that the factorization works on it without a copy
    factor = matrix.mT
    info = torch.empty((), dtype=torch.int32, device=matrix.device)
    torch.linalg.cholesky_ex(factor, out=(factor, info))
    if int(info):
        raise NotPositiveDefiniteError(f"the leading minor of order {int(info)} is not positive")
    return factor


def solve_triangular(factor: Tensor, rhs: Tensor, *, upper: bool) -> Tensor:
    """Solve with one triangle of ``factor``. The other triangle is not read."""
    solved: Tensor = torch.linalg.solve_triangular(factor, rhs, upper=upper)
    return solved


def cholesky_solve(factor: Tensor, rhs: Tensor) -> Tensor:
    """Return (L L')^-1 rhs, without the copy of L that torch.cholesky_solve makes."""
    half = solve_triangular(factor, rhs, upper=False)
    return solve_triangular(factor.mT, half, upper=True)


def inverse_diagonal(factor: Tensor) -> Tensor:
    """Return the diagonal of (L L')^-1, the squared norms of the columns of L^-1.

    It takes n^3 / 3 multiplications, in blocks.
    """
    n = len(factor)
    result = factor.new_empty(n)
    for start in range(0, n, BLOCK_COLUMNS):
        end = min(start + BLOCK_COLUMNS, n)
        # column j of L^-1 is zero above row j
        columns = factor.new_zeros(n - start, end - start)
        columns[: end - start].fill_diagonal_(1.0)
        columns = solve_triangular(factor[start:, start:], columns, upper=False)
        result[start:end] = columns.square_().sum(dim=0)
    return result


def thin_product(matrix: Tensor, vectors: Tensor) -> Tensor:
    """Return the product of a large matrix, or its transpose, with a few columns.

    The transposes are multiplied. For ten columns and a tall matrix BLAS is up to tens of times
    slower if the matrix comes first.
    """
    return (vectors.mT @ matrix.mT).mT


def symmetric_product(matrix: Tensor, vectors: Tensor) -> Tensor:
    """Return the product with a symmetric matrix by its rows, which is a third faster."""
    return thin_product(matrix.mT, vectors)


def symmetric_product_exactly(matrix: Tensor, vectors: Tensor) -> Tensor:
    """Return the float64 product with a matrix of any dtype, converted a few rows at a time."""
    if matrix.dtype == torch.float64:
        return symmetric_product(matrix, vectors)
    result = torch.empty_like(vectors)
    buffer = vectors.new_empty(FLOAT64_BLOCK_ROWS, len(matrix))
    for start in range(0, len(matrix), FLOAT64_BLOCK_ROWS):
        part = matrix[start : start + FLOAT64_BLOCK_ROWS]
        rows = buffer[: len(part)].copy_(part)
        torch.mm(rows, vectors, out=result[start : start + len(part)])
    return result


def pivoted_cholesky(
    matrix: Tensor, diagonal: Tensor, rank: int, generator: torch.Generator
) -> Tensor:
    """Return a low-rank factor F of a symmetric matrix, which is close to F F'.

    Randomly pivoted Cholesky of Chen, Epperly, Tropp and Webber (2025), in blocks. Pivots are drawn
    with the probability of the remaining diagonal, which is ``diagonal`` at first. Pivots that a
    block makes redundant are dropped.

    Returns
    -------
    tensor of shape (n, at most rank)
    """
    n = len(matrix)
    factor = matrix.new_zeros(n, rank)
    left = diagonal.clone()
    tiny = 10 * torch.finfo(diagonal.dtype).eps * float(diagonal.max())
    done = 0
    while done < rank:
        # drawn on the CPU, so that all devices draw the same pivots
        weights = left.double().cpu()
        n_candidates = int((weights > tiny).sum())
        if not n_candidates:
            break
        size = min(max(32, rank // 10), rank - done, n_candidates)
        weights = torch.where(weights > tiny, weights, 0.0)
        # the largest ratios to exponential draws sample without replacement; multinomial of torch
        # is limited to 2**24 rows
        clock = torch.empty_like(weights).exponential_(generator=generator)
        chosen = (weights / clock).topk(size).indices.to(left.device)
        # rows, which are contiguous, stand for the equal columns
        part = matrix[chosen].mT - factor[:, :done] @ factor[chosen, :done].mT
        kept, lower = _independent(part[chosen].double(), tiny)
        new = solve_triangular(lower.to(part.dtype), part[:, kept].mT, upper=False).mT
        factor[:, done : done + len(kept)] = new
        done += len(kept)
        left = (left - new.square().sum(dim=1)).clamp_(min=0)
        left[chosen] = 0.0
    return factor[:, :done]


def _independent(block: Tensor, tiny: float) -> tuple[Tensor, Tensor]:
    """Return the independent rows of a small matrix, and the Cholesky factor of that part."""
    block = (block + block.mT) / 2
    kept: list[int] = []
    left = block.diagonal().clone()
    rows = torch.zeros_like(block)  # of the pivoted factor, in the order of the pivots
    start = float(left.max())
    for step in range(len(block)):
        pivot = int(left.argmax())
        # a pivot that earlier ones explain would only add rounding errors
        if left[pivot] <= max(tiny, 1e-3 * start):
            break
        row = (block[pivot] - rows[:step, pivot] @ rows[:step]) / left[pivot].sqrt()
        rows[step] = row
        left = left - row.square()
        left[pivot] = -math.inf
        kept.append(pivot)
    index = torch.tensor(kept, dtype=torch.int64, device=block.device)
    lower: Tensor = torch.linalg.cholesky(block[index][:, index])
    return index, lower


@dataclass
class Solution:
    """Result of an iterative solver."""

    values: Tensor  # (rows, columns)
    residual: Tensor  # (columns,), relative
    n_iter: int


@dataclass(frozen=True)
class SolverOptions:
    """When an iterative solver stops, and how it reports its progress."""

    tol: float  # of the relative residual
    max_iter: int
    progress: Progress | None = None


def solve_refined(
    multiply: Callable[[Tensor], Tensor],
    multiply_exactly: Callable[[Tensor], Tensor],
    precondition: Callable[[Tensor], Tensor],
    rhs: Tensor,
    options: SolverOptions,
) -> Solution:
    """Solve by conjugate gradients for all columns at once, with iterative refinement.

    ``multiply_exactly`` computes the residual of the equation for float64 columns. Conjugate
    gradients with ``multiply``, in the dtype of ``rhs``, then solve for the correction. Without
    refinement float32 could not reach a residual below its precision times the largest eigenvalue,
    which is not accurate enough for large matrices (Higham 2002, chapter 12).

    The functions may treat columns differently, by masks or shifts. Each column is a system of its
    own, and all columns share the passes over the matrix.
    """
    wanted = rhs.double()
    size = torch.linalg.vector_norm(wanted, dim=0).clamp_(min=torch.finfo(torch.float64).tiny)
    values, residual = torch.zeros_like(wanted), wanted
    relative = torch.ones_like(size)
    # conjugate gradients cannot reduce the true residual much further in one round
    min_reduction = torch.finfo(rhs.dtype).eps ** 0.5
    tol, n_iter = options.tol, 0
    while n_iter < options.max_iter:
        worst = float(relative.max())
        step, taken = conjugate_gradients(
            multiply,
            precondition,
            (residual / size).to(rhs.dtype),
            # half, since the residual that the recurrence computes drifts from the true one
            tol=max(0.5 * tol, min_reduction * worst),
            max_iter=options.max_iter - n_iter,
            n_done=n_iter,
            progress=options.progress,
        )
        n_iter += taken
        trial = values + step.double() * size
        left = wanted - multiply_exactly(trial)
        after = torch.linalg.vector_norm(left, dim=0) / size
        better = after < relative
        values = torch.where(better, trial, values)
        residual = torch.where(better, left, residual)
        relative = torch.where(better, after, relative)
        if not taken or float(relative.max()) <= tol or float(relative.max()) > 0.5 * worst:
            break
    return Solution(values.to(rhs.dtype), relative, n_iter)


def conjugate_gradients(
    multiply: Callable[[Tensor], Tensor],
    precondition: Callable[[Tensor], Tensor],
    rhs: Tensor,
    *,
    tol: float,
    max_iter: int,
    n_done: int = 0,
    progress: Progress | None = None,
) -> tuple[Tensor, int]:
    """Run preconditioned conjugate gradients until the residual of no column exceeds ``tol``.

    ``n_done`` iterations were done before, which matters only for ``progress``.

    Returns
    -------
    values : tensor of the shape of ``rhs``
    n_iter : int
    """
    values = torch.zeros_like(rhs)
    residual = rhs.clone()
    z = precondition(residual)
    direction = z.clone()
    gain = (residual * z).sum(dim=0)
    for n_iter in range(max_iter):
        norm = float(torch.linalg.vector_norm(residual, dim=0).max())
        if progress is not None:
            progress.report(step=n_done + n_iter, residual=norm)
        if norm <= tol:
            return values, n_iter
        product = multiply(direction)
        curvature = (direction * product).sum(dim=0)
        # the residual of a solved column is zero
        step = torch.where(curvature > 0, gain / curvature, 0.0)
        values.addcmul_(direction, step)
        residual.addcmul_(product, step, value=-1.0)
        z = precondition(residual)
        gain, before = (residual * z).sum(dim=0), gain
        direction.mul_(torch.where(before > 0, gain / before, 0.0)).add_(z)
    return values, max_iter

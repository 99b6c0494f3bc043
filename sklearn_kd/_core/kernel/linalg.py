r"""Linear algebra on large positive matrices: in place, in blocks, with many right-hand sides."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "NotPositiveDefiniteError",
    "Solution",
    "cholesky_",
    "cholesky_solve",
    "inverse_diagonal",
    "solve_refined",
    "solve_triangular",
    "symmetric_product",
    "symmetric_product_exactly",
    "thin_product",
]


#: Rows that are taken to float64 at a time.
EXACT_ROWS = 64
#: Columns of a block: its products run at full speed and its scratch is small.
BLOCK = 512


class NotPositiveDefiniteError(ArithmeticError):
    """A Cholesky factorisation broke down."""


def cholesky_(matrix: Tensor) -> Tensor:
    """Overwrite a symmetric matrix by its factor and return L, lower triangular, L L' = matrix.

    L is a view of the memory of ``matrix``; what is above its diagonal is not cleared. Nothing
    of the size of the matrix is allocated.
    """
    # the view is column-major, which the factorisation then works on without a copy
    factor = matrix.mT
    info = torch.empty((), dtype=torch.int32, device=matrix.device)
    torch.linalg.cholesky_ex(factor, out=(factor, info))
    if int(info):
        raise NotPositiveDefiniteError(f"the leading minor of order {int(info)} is not positive")
    return factor


def solve_triangular(factor: Tensor, rhs: Tensor, *, upper: bool) -> Tensor:
    """Solve with one triangle of ``factor``; the other is not read."""
    solved: Tensor = torch.linalg.solve_triangular(factor, rhs, upper=upper)
    return solved


def cholesky_solve(factor: Tensor, rhs: Tensor) -> Tensor:
    """(L L')^-1 rhs, without the copy of L that torch.cholesky_solve makes."""
    half = solve_triangular(factor, rhs, upper=False)
    return solve_triangular(factor.mT, half, upper=True)


def inverse_diagonal(factor: Tensor) -> Tensor:
    """Diagonal of (L L')^-1: the squared norms of the columns of L^-1, n^3 / 3 in blocks."""
    n = len(factor)
    result = factor.new_empty(n)
    for start in range(0, n, BLOCK):
        end = min(start + BLOCK, n)
        # column j of L^-1 is zero above row j
        columns = factor.new_zeros(n - start, end - start)
        columns[: end - start].fill_diagonal_(1.0)
        columns = solve_triangular(factor[start:, start:], columns, upper=False)
        result[start:end] = columns.square_().sum(dim=0)
    return result


def thin_product(matrix: Tensor, vectors: Tensor) -> Tensor:
    """Product of a large matrix, or its transpose, with a few columns.

    Their transposes are multiplied: BLAS is up to tens of times slower where the matrix comes
    first, for ten columns and a tall matrix.
    """
    return (vectors.mT @ matrix.mT).mT


def symmetric_product(matrix: Tensor, vectors: Tensor) -> Tensor:
    """Product with a symmetric matrix, by its rows: a third faster where it is tall and thin."""
    return thin_product(matrix.mT, vectors)


def symmetric_product_exactly(matrix: Tensor, vectors: Tensor) -> Tensor:
    """Product in float64 with a matrix of any dtype, a few rows in float64 at a time."""
    if matrix.dtype == torch.float64:
        return symmetric_product(matrix, vectors)
    result = torch.empty_like(vectors)
    buffer = vectors.new_empty(EXACT_ROWS, len(matrix))
    for start in range(0, len(matrix), EXACT_ROWS):
        part = matrix[start : start + EXACT_ROWS]
        rows = buffer[: len(part)].copy_(part)
        torch.mm(rows, vectors, out=result[start : start + len(part)])
    return result


def pivoted_cholesky(
    columns: Callable[[Tensor], Tensor],
    diagonal: Tensor,
    rank: int,
    generator: torch.Generator,
) -> Tensor:
    """Low-rank factor F (n, at most rank), K close to F F', by random pivots.

    Chen, Epperly, Tropp and Webber 2025, "Randomly pivoted Cholesky", in blocks: pivots are drawn
    with the probability of what is left of the diagonal; pivots that a block makes redundant are
    dropped. ``columns(pivots)`` returns K[:, pivots].
    """
    n = len(diagonal)
    factor = diagonal.new_zeros(n, rank)
    left = diagonal.clone()
    tiny = 10 * torch.finfo(diagonal.dtype).eps * float(diagonal.max())
    done = 0
    while done < rank:
        # drawn on the CPU, so that every device draws alike
        weights = left.double().cpu()
        n_candidates = int((weights > tiny).sum())
        if not n_candidates:
            break
        size = min(max(32, rank // 10), rank - done, n_candidates)
        weights = torch.where(weights > tiny, weights, 0.0)
        # exponential clocks: multinomial without replacement, for any number of rows
        clock = torch.empty_like(weights).exponential_(generator=generator)
        chosen = (weights / clock).topk(size).indices.to(left.device)
        part = columns(chosen) - factor[:, :done] @ factor[chosen, :done].mT
        kept, lower = _independent(part[chosen].double(), tiny)
        new = solve_triangular(lower.to(part.dtype), part[:, kept].mT, upper=False).mT
        factor[:, done : done + len(kept)] = new
        done += len(kept)
        left = (left - new.square().sum(dim=1)).clamp_(min=0)
        left[chosen] = 0.0
    return factor[:, :done]


def _independent(block: Tensor, tiny: float) -> tuple[Tensor, Tensor]:
    """Rows of a small matrix that are independent, and the Cholesky factor of that part."""
    block = (block + block.mT) / 2
    kept: list[int] = []
    left = block.diagonal().clone()
    rows = torch.zeros_like(block)  # of the pivoted factor, in the order of the pivots
    start = float(left.max())
    for step in range(len(block)):
        pivot = int(left.argmax())
        # what a pivot drawn before has explained would only add rounding
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
    """Where an iterative solver ended."""

    values: Tensor  # (rows, columns)
    residual: Tensor  # (columns,), relative
    n_iter: int


def solve_refined(
    multiply: Callable[[Tensor], Tensor],
    multiply_exactly: Callable[[Tensor], Tensor],
    precondition: Callable[[Tensor], Tensor],
    rhs: Tensor,
    *,
    tol: float,
    max_iter: int,
    on_iteration: Callable[[int, float], None] | None = None,
) -> Solution:
    """Conjugate gradients for all columns side by side, refined until the equation holds.

    The residual that decides is that of the equation, by ``multiply_exactly`` on float64 columns;
    conjugate gradients with ``multiply`` (in the dtype of ``rhs``) solve for what is left of it.
    In float32 they cannot do better than rounding times the largest eigenvalue, which large
    matrices reach long before the labels are right (Higham 2002, chapter 12).

    The functions may treat columns differently (masks, shifts): each column is a system of its
    own, and all share passes over the matrix.
    """
    wanted = rhs.double()
    size = torch.linalg.vector_norm(wanted, dim=0).clamp_(min=torch.finfo(torch.float64).tiny)
    values, residual = torch.zeros_like(wanted), wanted
    relative = torch.ones_like(size)
    coarsest = torch.finfo(rhs.dtype).eps ** 0.5  # finer than this only the count would fall
    n_iter = 0
    while n_iter < max_iter:
        worst = float(relative.max())
        step, taken = conjugate_gradients(
            multiply,
            precondition,
            (residual / size).to(rhs.dtype),
            # half, since its own count of the residual drifts from the truth
            tol=max(0.5 * tol, coarsest * worst),
            max_iter=max_iter - n_iter,
            on_iteration=None
            if on_iteration is None
            else lambda k, r, done=n_iter: on_iteration(done + k, r),  # type: ignore[misc]
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
    on_iteration: Callable[[int, float], None] | None = None,
) -> tuple[Tensor, int]:
    """Preconditioned conjugate gradients until every column of the residual has norm ``tol``.

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
        if on_iteration is not None:
            on_iteration(n_iter, norm)
        if norm <= tol:
            return values, n_iter
        product = multiply(direction)
        curvature = (direction * product).sum(dim=0)
        # a column that is done has nothing left to divide
        step = torch.where(curvature > 0, gain / curvature, 0.0)
        values.addcmul_(direction, step)
        residual.addcmul_(product, step, value=-1.0)
        z = precondition(residual)
        gain, before = (residual * z).sum(dim=0), gain
        direction.mul_(torch.where(before > 0, gain / before, 0.0)).add_(z)
    return values, max_iter

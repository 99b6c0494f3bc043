"""In-place factorisations, random pivots and refined conjugate gradients."""

import numpy as np
import pytest
import torch

from sklearn_kd._core.kernel import linalg

DTYPES = [torch.float32, torch.float64]


def positive(n, seed=0, dtype=torch.float64, decay=1.0):
    """Positive matrix with eigenvalues k^-decay."""
    generator = torch.Generator().manual_seed(seed)
    Q, _ = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=generator))
    values = torch.arange(1, n + 1, dtype=torch.float64) ** -decay
    return ((Q * values) @ Q.mT).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", [1, 7, 530])
def test_cholesky_in_place_solves_and_gives_the_diagonal_of_the_inverse(n, dtype):
    A = positive(n, dtype=dtype) + torch.eye(n, dtype=dtype)
    inverse = torch.linalg.inv(A.double())
    B = torch.randn(n, 3, dtype=dtype, generator=torch.Generator().manual_seed(1))
    matrix = A.clone()
    factor = linalg.cholesky_(matrix)
    assert factor.data_ptr() == matrix.data_ptr()
    tolerance = 30 * torch.finfo(dtype).eps
    assert torch.allclose(factor.tril() @ factor.tril().mT, A, atol=tolerance)
    solved = linalg.cholesky_solve(factor, B).double()
    assert torch.allclose(solved, inverse @ B.double(), atol=10 * tolerance)
    diagonal = linalg.inverse_diagonal(factor).double()
    assert torch.allclose(diagonal, inverse.diagonal(), atol=tolerance)


def test_what_is_not_positive_is_an_error():
    with pytest.raises(linalg.NotPositiveDefiniteError, match="order 2"):
        linalg.cholesky_(torch.tensor([[1.0, 2.0], [2.0, 1.0]]))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_random_pivots_come_close_to_the_best_low_rank_factor(dtype):
    A = positive(400, dtype=dtype, decay=2.0)
    errors = []
    for seed in range(5):
        F = linalg.pivoted_cholesky(A, A.diagonal(), 60, torch.Generator().manual_seed(seed))
        assert F.shape == (400, 60)
        left = A.double() - F.double() @ F.double().mT
        assert torch.linalg.eigvalsh(left)[0] > -10 * torch.finfo(dtype).eps
        errors.append(float(left.trace()))
    best = float((torch.arange(61, 401, dtype=torch.float64) ** -2).sum())
    assert np.median(errors) < 4 * best


def test_random_pivots_end_at_the_rank():
    generator = torch.Generator().manual_seed(0)
    G = torch.randn(200, 7, dtype=torch.float64, generator=generator)
    A = G @ G.mT
    A = torch.cat([torch.cat([A, A], 1), torch.cat([A, A], 1)])  # and every row twice
    F = linalg.pivoted_cholesky(A, A.diagonal(), 100, generator)
    assert F.shape[1] == 7
    assert torch.allclose(F @ F.mT, A, atol=1e-10)
    zero = torch.zeros(5, 5)
    assert linalg.pivoted_cholesky(zero, zero[0], 3, generator).shape == (5, 0)


def test_pivots_that_rounding_has_used_up_are_left_out():
    A = torch.eye(3, dtype=torch.float64)
    # a diagonal that promises more than the columns have
    F = linalg.pivoted_cholesky(0 * A, A.diagonal(), 3, torch.Generator().manual_seed(0))
    assert F.shape == (3, 0)


def test_thin_products_are_products():
    generator = torch.Generator().manual_seed(0)
    tall = torch.randn(70, 9, dtype=torch.float64, generator=generator)
    few = torch.randn(9, 3, dtype=torch.float64, generator=generator)
    assert torch.allclose(linalg.thin_product(tall, few), tall @ few)
    assert torch.allclose(linalg.thin_product(tall.mT, tall @ few), tall.mT @ (tall @ few))


def solve(A, B, tol, max_iter=500, progress=None):
    return linalg.solve_refined(
        lambda V: A @ V,
        lambda V: A.double() @ V,
        lambda R: R / A.diagonal()[:, None],
        B,
        linalg.SolverOptions(tol, max_iter, progress),
    )


def test_refinement_passes_the_floor_of_float32():
    A = positive(300, dtype=torch.float32, decay=2.0) + 3e-6 * torch.eye(300)
    B = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    direct, _ = linalg.conjugate_gradients(
        lambda V: A @ V, lambda R: R.clone(), B / B.norm(dim=0), tol=0.0, max_iter=600
    )
    floor = (B / B.norm(dim=0) - (A.double() @ direct.double())).norm(dim=0).max()
    solution = solve(A, B, tol=1e-4, max_iter=5000)
    residual = (B - A.double() @ solution.values.double()).norm(dim=0) / B.norm(dim=0)
    assert float(solution.residual.max()) <= 1e-4 < float(floor)
    # the answer itself is rounded to float32 in the end
    assert float(residual.max()) < 10 * float(solution.residual.max()) + 1e-3


class Steps:
    """Progress that keeps the numbers of the steps."""

    def __init__(self):
        self.steps = []

    def report(self, step, residual):
        self.steps.append(step)


def test_columns_are_systems_of_their_own():
    A = positive(80) + 0.01 * torch.eye(80, dtype=torch.float64)
    B = torch.randn(80, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    B[:, 1] *= 1e-12
    B[:, 2] = 0
    seen = Steps()
    solution = solve(A, B, tol=1e-11, progress=seen)
    expected = torch.linalg.solve(A, B)
    scale = expected.norm(dim=0).clamp(min=1e-300)
    assert float(((solution.values - expected).norm(dim=0) / scale).max()) < 1e-9
    assert torch.equal(solution.values[:, 2], torch.zeros(80, dtype=torch.float64))
    assert solution.n_iter == max(seen.steps)


def test_iterations_end_at_their_number_with_an_honest_residual():
    A = positive(200, decay=3.0) + 1e-7 * torch.eye(200, dtype=torch.float64)
    B = torch.randn(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    solution = solve(A, B, tol=1e-10, max_iter=5)
    residual = (B - A @ solution.values).norm(dim=0) / B.norm(dim=0)
    assert solution.n_iter == 5
    assert torch.allclose(solution.residual, residual, rtol=1e-6)
    assert float(residual.max()) > 1e-10

"""Kernel ridge regression and its out-of-sample values against explicit refits."""

import math

import numpy as np
import pytest
import torch

from sklearn_kd._core.kernel import kernels, linalg, ridge as ridge_module
from sklearn_kd._core.kernel.linalg import SolverOptions

NTK = kernels.Kernel("ntk")


def doubles(values):
    return torch.tensor(values, dtype=torch.float64)


def problem(n=40, d=4, outputs=2, seed=0):
    rng = np.random.default_rng(seed)
    X = torch.from_numpy(rng.normal(size=(n, d)))
    Y = torch.from_numpy(rng.normal(size=(n, outputs)))
    w = torch.from_numpy(rng.uniform(0.3, 3, size=n))
    return X, Y, w


def solve(K, w, Y, ridge, free, keep=None):
    """Dual weights and offset by a dense solve of the (bordered) system."""
    keep = torch.arange(len(K)) if keep is None else keep
    n = len(keep)
    C = K[keep][:, keep] + ridge * torch.diag(1 / w[keep])
    if not free:
        return torch.linalg.solve(C, Y[keep]), torch.zeros(Y.shape[1], dtype=Y.dtype)
    bordered = torch.ones(n + 1, n + 1, dtype=K.dtype)
    bordered[:n, :n], bordered[n, n] = C, 0
    solved = torch.linalg.solve(bordered, torch.cat([Y[keep], torch.zeros_like(Y[:1])]))
    return solved[:n], solved[n]


def refits(K, w, Y, ridge, free, fold):
    """Value of each row in the fit without its fold."""
    out = torch.empty_like(Y)
    for k in range(int(fold.max()) + 1):
        keep, test = (fold != k).nonzero()[:, 0], (fold == k).nonzero()[:, 0]
        dual, intercept = solve(K, w, Y, ridge, free, keep)
        out[test] = K[test][:, keep] @ dual + intercept
    return out


@pytest.mark.parametrize("free", [False, True])
def test_leave_one_out_equals_a_refit_without_the_row(free):
    X, Y, w = problem()
    K = kernels.gram(X, NTK)
    fit = ridge_module.fit_exactly(K.clone(), w, Y, 0.1, free_intercept=free)
    dual, intercept = solve(K, w, Y, 0.1, free)
    assert torch.allclose(fit.dual, dual, atol=1e-11)
    assert torch.allclose(fit.intercept, intercept, atol=1e-11)
    expected = refits(K, w, Y, 0.1, free, torch.arange(len(X)))
    assert torch.allclose(fit.out_of_sample, expected, atol=1e-11)


def test_check_values():
    angles = doubles([0, math.pi / 3, 2 * math.pi / 3])
    X = torch.stack([angles.cos(), angles.sin()], dim=1)
    K, y, one = kernels.gram(X, NTK), doubles([[1], [-1], [1]]), torch.ones(3, dtype=torch.float64)
    fit = ridge_module.fit_exactly(K.clone(), one, y, 0.1, free_intercept=False)
    np.testing.assert_allclose(fit.out_of_sample[:, 0], [-0.576923, 0.645161, -0.576923], atol=5e-7)
    (dual,) = ridge_module.gradient_flow(ridge_module.spectrum(K.clone(), one), y, [2.0])
    np.testing.assert_allclose((K @ dual)[:, 0], [0.380412, -0.311196, 0.380412], atol=5e-7)
    at = kernels.cross(doubles([[0.0, 1.0]]), X, NTK) @ dual
    assert float(at) == pytest.approx(-0.034004, abs=5e-7)


@pytest.mark.parametrize("free", [False, True])
def test_ridge_of_the_least_score_of_refits(free):
    X, Y, w = problem(n=25)
    K = kernels.gram(X, NTK)
    ridges = [0.01, 0.1, 1.0, 10.0]
    spectrum = ridge_module.spectrum(K.clone(), w)
    values = ridge_module.leave_one_out_values(spectrum, Y, ridges, free_intercept=free)
    scores = [float((w[:, None] * (loo - Y) ** 2).sum()) for loo in values]
    chosen = ridge_module.select_ridge(ridges, scores)
    losses = []
    for ridge, loo in zip(ridges, values, strict=True):
        expected = refits(K, w, Y, ridge, free, torch.arange(len(X)))
        assert torch.allclose(loo, expected, atol=1e-10)
        losses.append(float((w[:, None] * (expected - Y) ** 2).sum()))
    good = [r for r, loss in zip(ridges, losses, strict=True) if loss <= 1.01 * min(losses)]
    assert chosen == max(good)


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("rank", [0, 10, 40])
def test_conjugate_gradients_equal_refits_of_every_fold(rank, free):
    X, Y, w = problem()
    K = kernels.gram(X, NTK)
    fold = torch.arange(40) % 5
    systems = ridge_module.FoldSystems(w, fold, 5, 2, free)
    values, vectors = torch.linalg.eigh(K)
    low_rank = vectors[:, 40 - rank :] * values[40 - rank :].clamp(min=0).sqrt()
    fit = ridge_module.fit_iteratively(K, low_rank, systems, Y, 0.05, SolverOptions(1e-12, 200))
    dual, intercept = solve(K, w, Y, 0.05, free)
    assert fit.residual <= 1e-12
    assert torch.allclose(fit.dual, dual, atol=1e-9)
    assert torch.allclose(fit.intercept, intercept, atol=1e-9)
    assert torch.allclose(fit.out_of_sample, refits(K, w, Y, 0.05, free, fold), atol=1e-9)
    if rank == 40:  # the preconditioner is then the inverse
        assert fit.n_iter <= 4


def nystroem_refit(k, M, w, Y, ridge, free, keep):
    """Weights of the centers and offset from the normal equations, rows ``keep``."""
    k, w, Y = k[keep], w[keep], Y[keep]
    if free:
        k = torch.cat([k, torch.ones_like(k[:, :1])], dim=1)
        M = torch.block_diag(M, torch.zeros(1, 1, dtype=M.dtype))
    beta = torch.linalg.solve(k.mT @ (w[:, None] * k) + ridge * M, k.mT @ (w[:, None] * Y))
    return (beta[:-1], beta[-1]) if free else (beta, torch.zeros(Y.shape[1], dtype=Y.dtype))


@pytest.mark.parametrize("free", [False, True])
def test_centers_equal_their_normal_equations_in_every_fold(free):
    X, Y, w = problem(n=60)
    centers = X[:15]
    k, M = kernels.cross(X, centers, NTK), kernels.gram(centers, NTK)
    fold = torch.arange(60) % 5
    systems = ridge_module.FoldSystems(w, fold, 5, 2, free)
    parts = [(slice(0, 25), k[:25]), (slice(25, 60), k[25:])]
    fit = ridge_module.fit_nystroem(
        parts, M.clone(), torch.arange(15), systems, Y, 0.1, SolverOptions(1e-13, 300)
    )
    everything = torch.arange(60)
    beta, intercept = nystroem_refit(k, M, w, Y, 0.1, free, everything)
    assert torch.allclose(k @ fit.dual + fit.intercept, k @ beta + intercept, atol=1e-8)
    expected = torch.empty_like(Y)
    for j in range(5):
        beta, intercept = nystroem_refit(k, M, w, Y, 0.1, free, everything[fold != j])
        expected[fold == j] = k[fold == j] @ beta + intercept
    assert torch.allclose(fit.out_of_sample, expected, atol=1e-8)


def test_centers_at_all_rows_are_the_exact_solution():
    X, Y, w = problem()
    K = kernels.gram(X, NTK)
    systems = ridge_module.FoldSystems(w, torch.arange(40) % 5, 5, 2, False)
    fit = ridge_module.fit_nystroem(
        [(slice(0, 40), K)],
        K.clone(),
        torch.arange(40),
        systems,
        Y,
        0.1,
        SolverOptions(1e-13, 300),
    )
    dual, _ = solve(K, w, Y, 0.1, False)
    assert torch.allclose(K @ fit.dual, K @ dual, atol=1e-8)


def test_flow_follows_its_differential_equation_and_ends_at_the_interpolant():
    X, Y, w = problem(n=12)
    K = kernels.gram(X, NTK)
    spectrum = ridge_module.spectrum(K.clone(), w)
    step, time = 1e-5, 0.7
    before, at, after = ridge_module.gradient_flow(spectrum, Y, [time - step, time, time + step])
    velocity = K @ (after - before) / (2 * step)
    assert torch.allclose(velocity, K @ (w[:, None] * (Y - K @ at)), atol=1e-7)
    (late,) = ridge_module.gradient_flow(spectrum, Y, [1e9])
    assert torch.allclose(K @ late, Y, atol=1e-5)


def test_centers_at_all_rows_leave_folds_out_at_a_small_ridge():
    """Errors in the directions of rows left out have no residual to speak of."""
    X, Y, w = problem()
    K, fold, ridge = kernels.gram(X, NTK), torch.arange(40) % 5, 1e-9
    systems = ridge_module.FoldSystems(w, fold, 5, 2, False)
    fit = ridge_module.fit_nystroem(
        [(slice(0, 40), K)],
        K.clone(),
        torch.arange(40),
        systems,
        Y,
        ridge,
        SolverOptions(1e-10, 300),
    )
    expected = refits(K, w, Y, ridge, False, fold)
    assert float((fit.out_of_sample - expected).norm() / expected.norm()) < 1e-2


def test_folds_converge_as_fast_as_all_rows_with_few_centers():
    X, _, w = problem(n=1500, d=20)
    X /= X.norm(dim=1, keepdim=True)
    Y, centers = X[:, :1] * X[:, 1:2], torch.arange(0, 1500, 10)
    K = kernels.gram(X, NTK)
    steps = []
    for n_folds in (1, 5):  # without the one fold there is no row
        systems = ridge_module.FoldSystems(w, torch.arange(1500) // 3 % n_folds, n_folds, 1, False)
        fit = ridge_module.fit_nystroem(
            [(slice(0, 1500), K[:, centers])],
            K[centers][:, centers].clone(),
            centers,
            systems,
            Y,
            0.01,
            SolverOptions(1e-6, 300),
        )
        steps.append(fit.n_iter)
    assert steps[1] <= 1.2 * steps[0]


def test_small_eigenvalues_are_kept_in_float32():
    X = torch.from_numpy(np.random.default_rng(0).normal(size=(600, 20)))
    X /= X.norm(dim=1, keepdim=True)
    one = torch.ones(600)
    narrow = ridge_module.spectrum(kernels.gram(X.float(), NTK), one).values
    wide = ridge_module.spectrum(kernels.gram(X, NTK), one.double()).values
    assert torch.allclose(
        narrow.double(), wide, atol=20 * torch.finfo(torch.float32).eps * wide[-1]
    )
    assert float(narrow.min()) > 0.01


def test_what_has_a_negative_eigenvalue_is_an_error():
    with pytest.raises(linalg.NotPositiveDefiniteError, match="eigenvalue -1"):
        ridge_module.spectrum(-torch.eye(3, dtype=torch.float64), torch.ones(3).double())


def test_directions_without_an_eigenvalue_stay_finite():
    K = torch.ones(4, 4, dtype=torch.float64)
    one = torch.ones(4, dtype=torch.float64)
    (dual,) = ridge_module.gradient_flow(
        ridge_module.spectrum(K.clone(), one), torch.eye(4).double(), [1e300]
    )
    assert torch.isfinite(dual).all()

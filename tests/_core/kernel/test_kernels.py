"""Kernels against float64 by angles, an independent recursion, and wide finite networks."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from sklearn_kd._core.kernel import kernels
from sklearn_kd._core.kernel.kernels import Kernel

DTYPES = [torch.float32, torch.float64]
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-12}
ALL = [
    Kernel("ntk"),
    Kernel("nngp"),
    Kernel("ntk-full"),
    Kernel("ntk-full", depth=4),
    Kernel("ntk-full", depth=10, bias=0.5),
    Kernel("laplace", bandwidth=0.7),
]


def hard_rows(n_inputs, dtype, seed=0, unit=True):
    """Rows with near-parallel, near-opposite, equal, scaled and zero ones among them."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(90, n_inputs))
    for place, size in ((10, 1e-2), (20, 1e-4), (30, 1e-7), (40, 1e-12)):
        X[place : place + 10] = X[:10] + size * rng.normal(size=(10, n_inputs))
    X[50:60] = -X[:10] + 1e-5 * rng.normal(size=(10, n_inputs))
    X[60:70] = X[:10]
    X[70:80] = -X[:10]
    if unit:
        X /= np.linalg.norm(X, axis=1, keepdims=True)
    X[80] = 0
    return torch.from_numpy(X).to(dtype)


def angle_after(theta):
    """Angle after a layer, without cancellation: by a series where it is small."""
    if theta < 1e-2:
        t, pi = theta, math.pi
        drop = t**2 / 2 - t**3 / (3 * pi) - t**4 / 24 + t**5 / (30 * pi) + t**6 / 720
        return 2 * math.asin(math.sqrt(drop / 2))
    return math.acos((math.sin(theta) + (math.pi - theta) * math.cos(theta)) / math.pi)


def reference(X, Z, kernel):
    """Float64, pair by pair, by the angle."""
    X, Z = X.double().numpy(), Z.double().numpy()
    if kernel.name == "laplace":
        return np.exp(-np.linalg.norm(X[:, None] - Z[None], axis=2) / kernel.bandwidth)
    r, s = np.linalg.norm(X, axis=1), np.linalg.norm(Z, axis=1)
    U = X / np.where(r > 0, r, 1)[:, None]
    V = Z / np.where(s > 0, s, 1)[:, None]
    theta = 2 * np.arctan2(
        np.linalg.norm(U[:, None] - V[None], axis=2), np.linalg.norm(U[:, None] + V[None], axis=2)
    )
    theta[np.outer(r == 0, s == 0)] = 0  # the diagonal of a row of zeros
    lengths = np.outer(r, s)

    def after(t):
        return (np.sin(t) + (np.pi - t) * np.cos(t)) / np.pi

    if kernel.name == "ntk":
        return lengths * np.cos(theta) * (np.pi - theta) / (2 * np.pi)
    if kernel.name == "nngp":
        return lengths * after(theta) / 2
    total, bias = np.cos(theta), 1.0
    for _ in range(kernel.depth):
        gain = (np.pi - theta) / np.pi
        total, bias = total * gain + after(theta), bias * gain + 1
        theta = np.vectorize(angle_after)(theta)
    share = (kernel.depth + 1) * (1 + kernel.bias**2)
    return (lengths * total + kernel.bias**2 * bias) / share


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("n_inputs", [2, 7, 300])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kernel", ALL, ids=lambda k: f"{k.name}-{k.depth}")
def test_values_agree_with_float64_by_angles(kernel, dtype, n_inputs, unit):
    X = hard_rows(n_inputs, dtype, unit=unit)
    expected = reference(X, X, kernel)
    K = kernels.gram(X, kernel).double().numpy()
    lengths = np.ones_like(expected)
    if not unit and kernel.name != "laplace":
        size = X.double().norm(dim=1).numpy()
        lengths = np.maximum(1, np.outer(size, size))
    assert np.max(np.abs(K - expected) / lengths) <= TOLERANCE[dtype]
    np.testing.assert_array_equal(K, K.T)


@pytest.mark.parametrize("depth", [2, 3, 10])
@pytest.mark.parametrize("theta", [1e-9, 1e-6, 1e-5, 1e-4, 5e-4])
def test_small_angles_keep_their_digits_through_the_layers(depth, theta):
    X = torch.tensor([[1.0, 0.0], [math.cos(theta), math.sin(theta)]], dtype=torch.float64)
    expected, angle = math.cos(theta), theta
    for _ in range(depth):
        after = math.cos(angle_after(angle))
        expected, angle = expected * (math.pi - angle) / math.pi + after, angle_after(angle)
    K = kernels.gram(X, Kernel("ntk-full", depth=depth))
    assert float(K[0, 1]) == pytest.approx(expected / (depth + 1), abs=1e-12)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kernel", ALL, ids=lambda k: f"{k.name}-{k.depth}")
def test_diagonal_is_exact(kernel, dtype):
    X = hard_rows(6, dtype, unit=False)
    square = (X.double() ** 2).sum(dim=1)
    expected = {
        "laplace": torch.ones_like(square),
        "ntk-full": (square + kernel.bias**2) / (1 + kernel.bias**2),
    }.get(kernel.name, square / 2)
    K = kernels.gram(X, kernel)
    assert torch.equal(K.diagonal(), kernels.diagonal(X, kernel))
    assert torch.allclose(K.diagonal().double(), expected, rtol=4 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kernel", ALL, ids=lambda k: f"{k.name}-{k.depth}")
def test_no_eigenvalue_is_negative_beyond_rounding(kernel, dtype):
    X = torch.cat([hard_rows(5, dtype, seed) for seed in range(3)])
    values = torch.linalg.eigvalsh(kernels.gram(X, kernel).double())
    assert values[0] > -8 * torch.finfo(dtype).eps * len(X) * values[-1]


@pytest.mark.parametrize("kernel", ALL, ids=lambda k: f"{k.name}-{k.depth}")
def test_block_equals_whole_at_any_tile(kernel, monkeypatch):
    X = hard_rows(6, torch.float64, unit=False)
    whole = kernels.gram(X, kernel)
    assert torch.allclose(kernels.cross(X[5:61], X[20:], kernel), whole[5:61, 20:], atol=1e-13)
    monkeypatch.setattr(kernels, "TILE_ROWS", 17)
    monkeypatch.setattr(kernels, "MAX_GATHERED_NUMBERS", 32)
    assert torch.allclose(kernels.gram(X, kernel), whole, atol=1e-13)
    out = torch.empty_like(whole)
    assert kernels.gram(X, kernel, out=out) is out


def test_check_values():
    angles = torch.tensor([0, math.pi / 3, math.pi / 2, 2 * math.pi / 3], dtype=torch.float64)
    X = torch.stack([angles.cos(), angles.sin()], dim=1)
    K = kernels.cross(X[:1], X, Kernel("ntk"))[0].numpy()
    N = kernels.cross(X[:1], X, Kernel("nngp"))[0].numpy()
    np.testing.assert_allclose(K, [0.5, 0.166667, 0, -0.083333], atol=5e-7)
    np.testing.assert_allclose(N, [0.5, 0.304499, 0.159155, 0.054499], atol=5e-7)
    full = kernels.cross(X[:1], X, Kernel("ntk-full"))[0].numpy()
    np.testing.assert_allclose(full, K + N, atol=1e-14)


def test_a_callable_is_made_symmetric_and_used_in_blocks(monkeypatch):
    monkeypatch.setattr(kernels, "TILE_ROWS", 20)
    calls, rng = [], np.random.default_rng(0)

    def skewed(A, B):
        calls.append(A.shape[0])
        return A @ B.T + 1e-9 * rng.random((len(A), len(B)))

    X = hard_rows(4, torch.float64)
    K = kernels.gram(X, Kernel("callable", function=skewed))
    assert max(calls) == 20
    assert torch.equal(K[:20, 20:], K[20:, :20].mT)
    assert torch.allclose(K, X @ X.T, atol=2e-9)


def network_tangent_kernel(X, depth, width, bias, generator):
    """Tangent kernel of a finite network at its start, by automatic differentiation.

    Layers keep lengths (weights of variance 2 / width), biases start at zero.
    """
    sizes = [X.shape[1], *[width] * depth, 1]
    weights = [torch.randn(b, a, dtype=X.dtype, generator=generator) for a, b in pairwise(sizes)]
    biases = [torch.zeros(b, dtype=X.dtype) for b in sizes[1:]]
    parameters = [p.requires_grad_() for p in [*weights, *biases]]

    def output(x):
        for layer, (W, b) in enumerate(zip(weights, biases, strict=True)):
            fan_in = 1 if layer == 0 else width
            x = W @ x * math.sqrt((1 if layer == 0 else 2) / fan_in) + bias * b
            x = x if layer == depth else x.relu()
        return x[0]

    rows = [torch.cat([g.ravel() for g in torch.autograd.grad(output(x), parameters)]) for x in X]
    J = torch.stack(rows)
    return J @ J.T / ((depth + 1) * (1 + bias**2))


@pytest.mark.parametrize(("depth", "bias"), [(1, 0.0), (2, 0.0), (3, 0.7)])
def test_wide_networks_have_this_tangent_kernel(depth, bias):
    generator = torch.Generator().manual_seed(0)
    X = hard_rows(4, torch.float64)[[0, 1, 2, 3, 10, 20, 70]]
    kernel = Kernel("ntk-full", depth=depth, bias=bias)
    draws = [network_tangent_kernel(X, depth, 512, bias, generator) for _ in range(12)]
    draws = torch.stack(draws)
    error = (draws.mean(dim=0) - kernels.gram(X, kernel)).abs()
    # a width of 512 is not infinite
    assert (error < 4 * draws.std(dim=0) / math.sqrt(len(draws)) + 0.01).all()
    assert error.mean() < 0.02

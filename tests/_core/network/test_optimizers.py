"""Optimizers against those of torch, their state and neurons that stand still."""

import numpy as np
import pytest
import torch

from sklearn_kd._core.network.optimizers import Adam, Nesterov


def problem(seed=0, n_steps=30):
    g = torch.Generator().manual_seed(seed)
    start = torch.randn(5, 3, generator=g, dtype=torch.float64)
    gradients = torch.randn(n_steps, 5, 3, generator=g, dtype=torch.float64)
    gradients *= torch.logspace(-6, 3, 15, dtype=torch.float64).view(5, 3)
    return start, gradients


def ours(optimizer, start, gradients, step_size, scale=0.5):
    weights = start.clone()
    for gradient in gradients:
        optimizer.step(weights, gradient.clone(), scale, step_size / scale)
    return weights


def torchs(make, start, gradients, step_sizes):
    """One torch optimizer for each row, so that each has its own step size."""
    rows = []
    for row, step in enumerate(step_sizes):
        weights = start[row].clone().requires_grad_()
        optimizer = make([weights], step)
        for gradient in gradients:
            weights.grad = gradient[row].clone()
            optimizer.step()
        rows.append(weights.detach())
    return torch.stack(rows)


STEPS = torch.tensor([1e-3, 0.1, 0.0, 1.0, 0.01], dtype=torch.float64)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_nesterov_is_torchs(momentum):
    start, gradients = problem()
    expected = torchs(
        lambda w, lr: torch.optim.SGD(w, lr=float(lr), momentum=momentum, nesterov=momentum > 0),
        start,
        gradients,
        STEPS,
    )
    weights = ours(Nesterov(start, momentum), start, gradients, STEPS[:, None])
    torch.testing.assert_close(weights, expected, rtol=1e-12, atol=1e-12)


def test_without_momentum_it_is_plain_descent_and_has_no_state():
    start, gradients = problem()
    optimizer = Nesterov(start, 0.0)
    weights = ours(optimizer, start, gradients, STEPS[:, None])
    torch.testing.assert_close(weights, start - STEPS[:, None] * gradients.sum(dim=0))
    assert optimizer.state() == []
    optimizer.load([])


@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_adam_is_torchs(momentum):
    start, gradients = problem()
    expected = torchs(
        lambda w, lr: torch.optim.Adam(w, lr=float(lr), betas=(momentum, 0.999), eps=1e-8),
        start,
        gradients,
        STEPS,
    )
    weights = ours(Adam(start, momentum), start, gradients, STEPS[:, None])
    torch.testing.assert_close(weights, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", [Nesterov, Adam])
def test_a_common_step_size_needs_no_factors(kind):
    start, gradients = problem()
    expected = ours(
        kind(start, 0.9), start, gradients, torch.full((5, 1), 0.03, dtype=torch.float64)
    )
    optimizer, weights = kind(start, 0.9), start.clone()
    for gradient in gradients:
        optimizer.step(weights, gradient.clone(), 0.03, None)
    torch.testing.assert_close(weights, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [Nesterov, Adam])
def test_a_loaded_state_goes_on_as_if_nothing_had_happened(kind):
    start, gradients = problem()
    step = STEPS[:, None]
    whole = ours(kind(start, 0.9), start, gradients, step)
    first = kind(start, 0.9)
    half = ours(first, start, gradients[:13], step)
    second = kind(start, 0.9)
    second.load([tensor.clone() for tensor in first.state()])
    torch.testing.assert_close(ours(second, half, gradients[13:], step), whole, rtol=0, atol=0)


@pytest.mark.parametrize("kind", [Nesterov, Adam])
def test_reset_neurons_stand_still_and_others_are_not_affected(kind):
    start, gradients = problem()
    optimizer, other = kind(start, 0.9), kind(start, 0.9)
    step = STEPS[:, None].clone()
    bad = gradients.clone()
    bad[:, 1] = float("nan")
    weights = ours(optimizer, start, bad[:5], step)
    expected = ours(other, start, gradients[:5], step)
    mask = torch.tensor([False, True, False, False, False])
    optimizer.reset_state(mask)
    weights[mask] = start[mask]
    step[mask] = 0.0
    weights = ours(optimizer, weights, gradients[5:], step)
    expected = ours(other, expected, gradients[5:], STEPS[:, None])
    assert torch.equal(weights[mask], start[mask])
    assert torch.equal(weights[~mask], expected[~mask])
    assert all(np.isfinite(tensor.numpy()).all() for tensor in optimizer.state())

"""Initialization, forward pass, gradients and projection of networks side by side."""

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from scipy import stats

from sklearn_kd._core.network import layers
from sklearn_kd._core.network.layers import RELU, Block, Workspace, blocks, initialize
from tests._helpers.references import naive_logits
from tests._helpers.theorems import TANH


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Batch:
    """Students of mixed widths side by side, with random weights and rows."""

    def __init__(self, widths, n_outputs, n_rows=7, n_inputs=4, seed=0, activation=RELU):
        g = generator(seed)
        self.widths, total = list(widths), sum(widths)
        self.hidden = torch.randn(total, n_inputs, generator=g, dtype=torch.float64)
        self.output = torch.randn(total, n_outputs, generator=g, dtype=torch.float64)
        self.X = torch.randn(n_rows, n_inputs, generator=g, dtype=torch.float64)
        self.residual = torch.randn(len(widths), n_outputs, n_rows, generator=g).double()
        self.inverse_sqrt = torch.tensor(np.repeat(widths, widths) ** -0.5)[:, None]
        self.scaled = self.output * self.inverse_sqrt
        self.work = Workspace(widths, self.scaled, n_rows, activation)

    def forward(self):
        return layers.forward(self.hidden, self.X, self.work)

    def each(self):
        start = 0
        for student, m in enumerate(self.widths):
            yield student, slice(start, start + m)
            start += m


WIDTHS = [[6], [2, 2, 2], [4, 2, 2, 8, 8, 2]]


def test_blocks_are_runs_of_equal_widths():
    assert blocks([4, 2, 2, 8]) == [
        Block(slice(0, 1), slice(0, 4), 4),
        Block(slice(1, 3), slice(4, 8), 2),
        Block(slice(3, 4), slice(8, 16), 8),
    ]
    assert [b.n_students for b in blocks([2, 2, 4, 2])] == [2, 1, 1]


@given(widths=st.lists(st.integers(1, 5), min_size=1, max_size=8))
def test_blocks_cover_every_student_and_neuron_once(widths):
    students = [s for b in blocks(widths) for s in range(b.students.start, b.students.stop)]
    neurons = [j for b in blocks(widths) for j in range(b.neurons.start, b.neurons.stop)]
    assert students == list(range(len(widths)))
    assert neurons == list(range(sum(widths)))
    assert all(widths[s] == b.width for b in blocks(widths) for s in range(10**6)[b.students])


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("symmetric", [True, False])
def test_initial_moments(n_outputs, symmetric):
    W, A = initialize(2000, 20, n_outputs, symmetric=symmetric, generator=generator())
    assert W.dtype == A.dtype == torch.float64
    assert W.shape == (2000, 20)
    assert A.shape == (2000, n_outputs)
    if symmetric:
        assert torch.equal(W[:1000], W[1000:])
        assert torch.equal(A[:1000], -A[1000:])
        W, A = W[:1000], A[:1000]
    assert set(A.unique().tolist()) == {-1.0, 1.0}
    n = A.numel()
    assert abs(A.mean()) < 4 / np.sqrt(n)
    assert stats.kstest(W.flatten().numpy(), "norm").pvalue > 1e-3
    covariance = np.cov(W.numpy(), rowvar=False)
    assert np.abs(covariance - np.eye(20)).max() < 5 * np.sqrt(2 / len(W))


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_symmetric_network_starts_at_zero(rng, n_outputs):
    W, A = initialize(64, 5, n_outputs, symmetric=True, generator=generator())
    X = rng.normal(size=(50, 5)) * 10 ** rng.uniform(-3, 3, size=(50, 1))
    size = np.linalg.norm(X, axis=1, keepdims=True)
    assert np.abs(naive_logits(X, W.numpy(), A.numpy()) / size).max() < 1e-13
    logits = layers.forward(W, torch.tensor(X), Workspace([64], A / 8, 50))
    assert np.abs(logits[0].T.numpy() / size).max() < 1e-13
    W, A = initialize(64, 5, n_outputs, symmetric=False, generator=generator())
    assert np.abs(naive_logits(X, W.numpy(), A.numpy()) / size).max() > 0.1


def test_initialization_is_reproducible_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    first = initialize(4, 3, 2, symmetric=True, generator=generator(5))
    again = initialize(4, 3, 2, symmetric=True, generator=generator(5))
    other = initialize(4, 3, 2, symmetric=True, generator=generator(6))
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("widths", WIDTHS)
def test_forward_against_loops(widths, n_outputs):
    batch = Batch(widths, n_outputs)
    logits = batch.forward()
    assert logits.shape == (len(widths), n_outputs, 7)
    for student, part in batch.each():
        expected = naive_logits(
            batch.X.numpy(), batch.hidden[part].numpy(), batch.output[part].numpy()
        )
        np.testing.assert_allclose(logits[student].T, expected, rtol=1e-12, atol=1e-13)
    before = logits.clone()
    batch.scaled *= 2  # the workspace sees the output layer change in place
    torch.testing.assert_close(batch.forward(), 2 * before)


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_gradients_against_autograd(activation, widths, n_outputs):
    ours, reference = {"relu": (RELU, torch.relu), "tanh": (TANH, torch.tanh)}[activation]
    batch = Batch(widths, n_outputs, activation=ours)
    logits = batch.forward()
    hidden_gradient, output_gradient = (
        torch.empty_like(batch.hidden),
        torch.empty_like(batch.output),
    )
    # in the order of the solver: the output's gradient reads the activations
    layers.backward_output(batch.residual, batch.inverse_sqrt, batch.work, output_gradient)
    layers.backward_hidden(batch.residual, batch.X, batch.work, hidden_gradient)
    for student, part in batch.each():
        W = batch.hidden[part].clone().requires_grad_()
        A = batch.output[part].clone().requires_grad_()
        f = reference(batch.X @ W.T) @ A / len(W) ** 0.5
        torch.testing.assert_close(logits[student].T, f.detach(), rtol=1e-12, atol=1e-13)
        (f * batch.residual[student].T).sum().backward()
        torch.testing.assert_close(hidden_gradient[part], W.grad, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(output_gradient[part], A.grad, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("activation", "function"), [(RELU, torch.relu), (TANH, torch.tanh)])
def test_activations_against_finite_differences(activation, function):
    z = torch.linspace(-4, 4, 82, dtype=torch.float64)  # without zero, where ReLU has a corner
    incoming = torch.linspace(2, -1, 82, dtype=torch.float64)
    active, gradient = z.clone(), incoming.clone()
    activation.forward(active)
    activation.backward(gradient, active)
    torch.testing.assert_close(active, function(z))
    slope = (function(z + 1e-6) - function(z - 1e-6)) / 2e-6
    torch.testing.assert_close(gradient, incoming * slope, rtol=1e-7, atol=1e-9)


@given(seed=st.integers(0, 2**16), radius=st.floats(0, 10))
def test_projection_is_the_euclidean_one(seed, radius):
    g = np.random.RandomState(seed)
    W0, W = g.normal(size=(2, 3, 4)) * 10 ** g.uniform(-2, 2)
    hidden = torch.tensor(W)
    layers.project(hidden, torch.tensor(W0), torch.full((3, 1), radius, dtype=torch.float64))
    P = hidden.numpy()
    distance = np.linalg.norm(P - W0, axis=1)
    assert (distance <= radius * (1 + 1e-12) + 1e-12).all()
    # the projection is the one point of the ball with <w - p, z - p> <= 0 for all z of the ball
    directions = g.normal(size=(200, 3, 4))
    Z = W0 + radius * directions / np.linalg.norm(directions, axis=2, keepdims=True)
    inner = ((W - P) * (Z - P)).sum(axis=2)
    size = np.linalg.norm(W - W0, axis=1) * max(radius, 1) + 1e-12
    assert (inner <= 1e-9 * size).all()
    inside = np.linalg.norm(W - W0, axis=1) <= radius
    np.testing.assert_allclose(P[inside], W[inside], rtol=1e-12, atol=1e-12)


def test_projection_without_a_bound_or_a_move_changes_nothing(rng):
    W0, W = rng.normal(size=(2, 4, 3))
    limits = torch.tensor([[np.inf], [np.inf], [1e-3], [0.5]], dtype=torch.float64)
    W[3] = W0[3]
    hidden = torch.tensor(W)
    layers.project(hidden, torch.tensor(W0), limits)
    np.testing.assert_allclose(hidden[[0, 1, 3]], W[[0, 1, 3]], rtol=1e-14, atol=1e-15)
    assert np.linalg.norm(hidden[2].numpy() - W0[2]) == pytest.approx(1e-3)

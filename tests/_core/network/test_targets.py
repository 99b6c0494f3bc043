"""Rules of targets, and tempered and mixed targets."""

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from sklearn_kd._core.network.targets import (
    Fixed,
    mixed_targets,
    tempered_targets,
    two_term_targets,
)
from tests._helpers.data import random_proba


def power(P, T):
    """p^(1/T), normalized: what tempering does, without logarithms; P (rows, classes)."""
    Q = P ** (1 / T)
    return Q / Q.sum(axis=1, keepdims=True)


def test_fixed_returns_all_rows_or_those_asked_for():
    values = torch.arange(24.0).reshape(2, 3, 4)
    rule = Fixed(values)
    logits = torch.zeros(2, 3, 4)
    assert torch.equal(rule(logits, None, 0), values)
    rows = torch.tensor([3, 0, 0])
    assert torch.equal(rule(logits[..., :3], rows, 7), values[:, :, [3, 0, 0]])


@pytest.mark.parametrize("n_classes", [2, 3, 6])
def test_temper_is_a_power_of_the_probabilities(rng, n_classes):
    P = random_proba(rng, 20, n_classes)
    temperatures = [0.5, 1.0, 3.0, 10.0]
    Q = tempered_targets(torch.tensor(P.T.copy()), torch.tensor(temperatures).double())
    assert Q.shape == (4, n_classes, 20)
    for q, T in zip(Q, temperatures, strict=True):
        np.testing.assert_allclose(q.T, power(P, T), rtol=1e-12)
    if n_classes == 2:  # one output: the second class
        q = tempered_targets(torch.tensor(P[:, 1:].T.copy()), torch.tensor(temperatures).double())
        np.testing.assert_allclose(q[:, 0], Q[:, 1], rtol=1e-12)


def test_temper_by_hand():
    # (.7, .2, .1) at T = 1/3 is its normalized cube; (.8, .2) at T = 2 is (2/3, 1/3)
    p = torch.tensor([[0.7], [0.2], [0.1]]).double()
    cubed = tempered_targets(p, torch.tensor([1 / 3], dtype=torch.float64))[0, :, 0]
    np.testing.assert_allclose(cubed, [0.974432, 0.022727, 0.002841], atol=5e-7)
    half = tempered_targets(
        torch.tensor([[0.2]], dtype=torch.float64), torch.tensor([2.0]).double()
    )
    assert half.item() == pytest.approx(1 / 3, rel=1e-14)


@pytest.mark.parametrize("T", [0.5, 1.0, 10.0])
def test_zero_and_one_stay(T):
    T = torch.tensor([T], dtype=torch.float64)
    assert tempered_targets(torch.tensor([[0.0, 1.0]]).double(), T).flatten().tolist() == [0, 1]
    P = torch.tensor([[1.0, 0.0], [0.0, 0.5], [0.0, 0.5]]).double()
    torch.testing.assert_close(tempered_targets(P, T)[0], P)


@given(seed=st.integers(0, 2**16), n_classes=st.integers(2, 6), T=st.floats(0.05, 100))
def test_temper_keeps_the_order_and_the_sum(seed, n_classes, T):
    P = random_proba(np.random.RandomState(seed), 4, n_classes, 0.5)
    temperature = torch.tensor([T], dtype=torch.float64)
    Q = tempered_targets(torch.tensor(P.T.copy()), temperature)[0].numpy()
    assert np.isfinite(Q).all()
    np.testing.assert_allclose(Q.sum(axis=0), 1)
    assert (Q[P.argmax(axis=1), range(4)] >= Q.max(axis=0) - 1e-15).all()
    # softer above T = 1, sharper below
    sign = np.sign(T - 1)
    assert (sign * (P.max(axis=1) - Q.max(axis=0)) > -1e-12).all()


def test_mix_and_stack(rng):
    P, Y = random_proba(rng, 5, 3).T.copy(), np.eye(3)[:, [0, 1, 2, 0, 1]]
    alpha = [0.0, 0.3, 1.0, 1.5]
    mixed = mixed_targets(
        torch.tensor(P), torch.tensor(Y), torch.tensor(alpha, dtype=torch.float64)
    )
    for m, a in zip(mixed, alpha, strict=True):
        np.testing.assert_allclose(m, a * P + (1 - a) * Y, rtol=1e-14)
    both = two_term_targets(torch.tensor(P), torch.tensor(Y), torch.tensor([1.0, 2.0]).double())
    assert both.shape == (2, 6, 5)
    np.testing.assert_allclose(both[1, :3].T, power(P.T, 2.0), rtol=1e-12)
    np.testing.assert_array_equal(both[:, 3:], np.stack([Y, Y]))

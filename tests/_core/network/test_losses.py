"""Losses against formulas in NumPy and finite differences."""

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from scipy.special import softmax, xlogy

from sklearn_kd._core.network import losses
from sklearn_kd._core.network.losses import (
    TwoTerm,
    binary_cross_entropy,
    binary_entropy,
    cross_entropy,
    entropy,
)
from sklearn_kd._core.network.targets import two_term_targets
from tests._helpers.data import random_proba
from tests._helpers.references import central_difference, naive_kl, naive_log_proba, naive_proba
from tests._helpers.theorems import squared_error

ALPHAS, TEMPERATURES = [0.0, 0.3, 1.0, 1.5], [0.5, 1.0, 3.0, 10.0]
GRID = [(a, T) for a in ALPHAS for T in TEMPERATURES]


def tensor(F):
    """(rows, outputs) as one student's (1, outputs, rows)."""
    return torch.tensor(np.ascontiguousarray(F.T))[None]


def columns(P, n_outputs):
    return P[:, 1:] if n_outputs == 1 else P


def tempered(P, T):
    return softmax(np.log(P) / T, axis=1)


def naive_two_term(F, P, Y, alpha, T):
    """Loss of distillation by row, cross-entropy in place of KL, which differs by a constant."""
    soft = -(tempered(P, T) * naive_log_proba(F / T)).sum(axis=1)
    hard = -(Y * naive_log_proba(F)).sum(axis=1)
    return alpha * T**2 * soft + (1 - alpha) * hard


def draw(n_outputs, n=6, seed=0):
    rng = np.random.RandomState(seed)
    n_classes = max(2, n_outputs)
    F = rng.normal(scale=3, size=(n, n_outputs))
    return F, random_proba(rng, n, n_classes), np.eye(n_classes)[rng.randint(n_classes, size=n)]


@pytest.mark.parametrize("n_outputs", [1, 2, 4])
def test_cross_entropy_value_and_gradient(n_outputs):
    F, P, _ = draw(n_outputs)
    value, gradient = cross_entropy(tensor(F), tensor(columns(P, n_outputs)))
    np.testing.assert_allclose(value[0], -(P * naive_log_proba(F)).sum(axis=1), rtol=1e-13)
    np.testing.assert_allclose(
        gradient[0].T, columns(naive_proba(F) - P, n_outputs), rtol=1e-12, atol=1e-15
    )
    numeric = central_difference(lambda f: -(P * naive_log_proba(f)).sum(), F)
    np.testing.assert_allclose(gradient[0].T, numeric, atol=1e-8)


def naive_binary(F, P):
    """Mean over labels of the cross-entropy of two classes by row."""
    return np.mean(
        [-(each * naive_log_proba(f)).sum(axis=1) for f, each in labels_of(F, P)], axis=0
    )


def labels_of(F, P):
    return [(f[:, None], np.stack([1 - p, p], axis=1)) for f, p in zip(F.T, P.T, strict=True)]


def draw_labels(n_labels, n=6):
    rng = np.random.RandomState(1)
    P = rng.uniform(size=(n, n_labels))
    return rng.normal(scale=3, size=(n, n_labels)), P, (rng.uniform(size=P.shape) < P) * 1.0


@pytest.mark.parametrize("n_labels", [1, 2, 4])
def test_binary_cross_entropy_value_and_gradient(n_labels):
    F, P, _ = draw_labels(n_labels)
    value, gradient = binary_cross_entropy(tensor(F), tensor(P))
    np.testing.assert_allclose(value[0], naive_binary(F, P), rtol=1e-13)
    numeric = central_difference(lambda f: naive_binary(f, P).sum(), F)
    np.testing.assert_allclose(gradient[0].T, numeric, atol=1e-8)
    # each label has the gradient of a network of two classes, divided by their number
    for k in range(n_labels):
        _, alone = cross_entropy(tensor(F[:, [k]]), tensor(P[:, [k]]))
        torch.testing.assert_close(gradient[0, k] * n_labels, alone[0, 0], rtol=1e-12, atol=1e-15)
    least, _ = binary_cross_entropy(torch.logit(tensor(P)), tensor(P))
    torch.testing.assert_close(least[0], binary_entropy(tensor(P))[0])
    assert not binary_entropy(torch.tensor([[[0.0], [1.0]]])).any()


def test_two_terms_of_several_labels():
    F, P, Y = draw_labels(3)
    alpha, T = torch.tensor(GRID, dtype=torch.float64).T
    soft, hard = (torch.tensor(np.ascontiguousarray(each.T)) for each in (P, Y))
    targets = two_term_targets(soft, hard, T, are_labels=True)
    loss = TwoTerm(alpha, T, binary_cross_entropy)
    value, gradient = loss(tensor(F).repeat(len(GRID), 1, 1), targets)

    def naive(F, a, t):
        parts = [
            naive_two_term(f, p, y, a, t)
            for (f, p), (_, y) in zip(labels_of(F, P), labels_of(F, Y), strict=True)
        ]
        return np.mean(parts, axis=0)

    for student, (a, t) in enumerate(GRID):
        np.testing.assert_allclose(value[student], naive(F, a, t), rtol=1e-12)
        numeric = central_difference(lambda f, a=a, t=t: naive(f, a, t).sum(), F)
        np.testing.assert_allclose(gradient[student].T, numeric, atol=2e-7)
    part = torch.tensor([1, 3])
    taken, _ = loss.take(part)(tensor(F).repeat(2, 1, 1), targets[part])
    torch.testing.assert_close(taken, value[part])


@pytest.mark.parametrize("n_outputs", [1, 2, 4])
def test_squared_error_value_and_gradient(n_outputs):
    F, P, _ = draw(n_outputs)
    P = columns(P, n_outputs)
    value, gradient = squared_error(tensor(F), tensor(P))
    np.testing.assert_allclose(value[0], [0.5 * np.sum(r**2) for r in F - P], rtol=1e-14)
    numeric = central_difference(lambda f: 0.5 * ((f - P) ** 2).sum(), F)
    np.testing.assert_allclose(gradient[0].T, numeric, atol=1e-8)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_two_term_value_and_gradient(n_outputs):
    # one student for each pair, all in one call
    F, P, Y = draw(n_outputs)
    alpha, T = torch.tensor(GRID, dtype=torch.float64).T
    targets = two_term_targets(
        torch.tensor(columns(P, n_outputs).T.copy()),
        torch.tensor(columns(Y, n_outputs).T.copy()),
        T,
    )
    logits = tensor(F).repeat(len(GRID), 1, 1)
    value, gradient = TwoTerm(alpha, T)(logits, targets)
    for student, (a, t) in enumerate(GRID):
        np.testing.assert_allclose(value[student], naive_two_term(F, P, Y, a, t), rtol=1e-12)
        numeric = central_difference(lambda f, a=a, t=t: naive_two_term(f, P, Y, a, t).sum(), F)
        np.testing.assert_allclose(gradient[student].T, numeric, atol=2e-7)
        f = torch.tensor(F, requires_grad=True)
        full = f if n_outputs > 1 else torch.cat([torch.zeros_like(f), f], dim=1)
        soft = -(torch.tensor(tempered(P, t)) * torch.log_softmax(full / t, 1)).sum()
        hard = -(torch.tensor(Y) * torch.log_softmax(full, 1)).sum()
        (a * t**2 * soft + (1 - a) * hard).backward()
        np.testing.assert_allclose(gradient[student].T, f.grad, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("T", TEMPERATURES)
def test_teacher_is_the_fixed_point_at_every_temperature(n_outputs, T):
    _, P, Y = draw(n_outputs)
    teacher = np.log(P[:, 1:] / P[:, :1]) if n_outputs == 1 else np.log(P)
    alpha, T = torch.tensor([1.0, 1.0]).double(), torch.tensor([T, 2.0]).double()
    targets = two_term_targets(
        torch.tensor(columns(P, n_outputs).T.copy()),
        torch.tensor(columns(Y, n_outputs).T.copy()),
        T,
    )
    _, gradient = TwoTerm(alpha, T)(tensor(teacher).repeat(2, 1, 1), targets)
    assert gradient.abs().max() < 1e-13


def test_tempering_one_side_only_would_have_another_fixed_point():
    # see docs/errata.md: (.7, .2, .1) at T = 3 would become (.974432, .022727, .002841)
    p, T = np.array([[0.7, 0.2, 0.1]]), torch.tensor([3.0]).double()
    one_sided = 3 * np.log(p)
    np.testing.assert_allclose(softmax(one_sided), [[0.974432, 0.022727, 0.002841]], atol=5e-7)
    targets = two_term_targets(torch.tensor(p.T.copy()), torch.zeros(3, 1).double(), T)
    _, gradient = TwoTerm(torch.ones(1).double(), T)(tensor(one_sided), targets)
    assert gradient.abs().max() > 0.5


def test_gradient_stays_of_one_size_in_the_temperature():
    # T^2 makes the soft gradient tend to (f - z) / K, both centered, instead of to zero
    F, P, Y = draw(3)
    T = torch.tensor([1e3]).double()
    targets = two_term_targets(torch.tensor(P.T.copy()), torch.tensor(Y.T.copy()), T)
    _, gradient = TwoTerm(torch.ones(1).double(), T)(tensor(F), targets)
    centered = (F - np.log(P)) - (F - np.log(P)).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(gradient[0].T, centered / 3, rtol=2e-2, atol=2e-2)


def test_at_temperature_one_both_terms_are_one_loss_on_mixed_targets():
    F, P, Y = draw(3)
    one = torch.ones(1).double()
    for a in ALPHAS:
        value, gradient = TwoTerm(a * one, one)(tensor(F), torch.cat([tensor(P), tensor(Y)], 1))
        mixed_value, mixed_gradient = cross_entropy(tensor(F), tensor(a * P + (1 - a) * Y))
        torch.testing.assert_close(value, mixed_value, rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(gradient, mixed_gradient, rtol=1e-13, atol=1e-13)


def test_entropy():
    P = np.array([[0.7, 0.2, 0.1], [1, 0, 0], [1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_allclose(entropy(torch.tensor(P.T)), [0.801819, 0, np.log(3)], atol=5e-7)
    binary = torch.tensor([[0.5, 1.0, 0.0, 0.25]]).double()
    np.testing.assert_allclose(entropy(binary), [np.log(2), 0, 0, 0.562335], atol=5e-7)
    outside = torch.tensor([[1.3, -0.2]]).double()
    assert entropy(outside).tolist() == [0, 0]


@given(seed=st.integers(0, 2**16), n_outputs=st.sampled_from([1, 2, 5]), scale=st.floats(0, 1e4))
def test_cross_entropy_less_entropy_is_the_divergence(seed, n_outputs, scale):
    rng = np.random.RandomState(seed)
    n_classes = max(2, n_outputs)
    P, F = random_proba(rng, 5, n_classes, 0.3), rng.normal(size=(5, n_outputs)) * scale
    target = tensor(columns(P, n_outputs))
    value, gradient = cross_entropy(tensor(F), target)
    divergence = (value - entropy(target))[0].numpy()
    assert np.isfinite(divergence).all()
    np.testing.assert_allclose(divergence, naive_kl(P, F), rtol=1e-9, atol=1e-9)
    assert (divergence > -1e-9 * (1 + scale)).all()
    if n_outputs > 1:  # shifting all logits changes nothing
        assert gradient.sum(dim=1).abs().max() < 1e-12
    assert gradient.abs().max() <= 1 + 1e-12
    np.testing.assert_allclose(entropy(target)[0], -xlogy(P, P).sum(axis=1), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_losses_write_over_the_logits_and_leave_targets_alone(n_outputs):
    F, P, Y = draw(n_outputs)
    logits, P, Y = tensor(F), tensor(columns(P, n_outputs)), tensor(columns(Y, n_outputs))
    both = torch.cat([P, Y], 1)
    one = torch.ones(1).double()
    for loss, target in [
        (cross_entropy, P),
        (squared_error, P),
        (TwoTerm(0.5 * one, one), both),
        (TwoTerm(0.5 * one, 3 * one), both),
    ]:
        target_before, given = target.clone(), logits.clone()
        _, gradient = loss(given, target)
        assert gradient.data_ptr() == given.data_ptr()
        gradient.zero_()  # the caller may overwrite it
        assert torch.equal(target, target_before)


# Losses of numbers


def naive_squared(F, Y):
    return np.mean((F - Y) ** 2, axis=1) / 2


def naive_huber(F, Y, epsilon=0.7):
    r = np.abs(F - Y)
    return np.where(r <= epsilon, r**2 / 2, epsilon * (r - epsilon / 2)).mean(axis=1)


def naive_pinball(F, Y, levels=(0.1, 0.5, 0.8)):
    losses = []
    for k in range(Y.shape[1]):
        for q, f in zip(levels, F[:, k * len(levels) :].T, strict=False):
            losses.append(np.maximum(q * (Y[:, k] - f), (q - 1) * (Y[:, k] - f)))
    return np.mean(losses, axis=0)


NUMBER_LOSSES = {
    "squared": (losses.squared_error, naive_squared, 1),
    "huber": (losses.Huber(0.7), naive_huber, 1),
    "pinball": (
        losses.Pinball(torch.tensor([0.1, 0.5, 0.8], dtype=torch.float64)),
        naive_pinball,
        3,
    ),
}


@pytest.mark.parametrize("n_targets", [1, 2])
@pytest.mark.parametrize("name", NUMBER_LOSSES)
def test_losses_of_numbers_value_and_gradient(name, n_targets):
    loss, naive, n_levels = NUMBER_LOSSES[name]
    rng = np.random.RandomState(0)
    F, Y, Z = rng.normal(size=(9, n_targets * n_levels)), *rng.normal(size=(2, 9, n_targets))
    value, gradient = loss(tensor(F), tensor(Y))
    np.testing.assert_allclose(value[0], naive(F, Y), rtol=1e-13)
    numeric = central_difference(lambda f: naive(f, Y).sum(), F)
    np.testing.assert_allclose(gradient[0].T, numeric, atol=1e-8)
    for alpha in ALPHAS:
        both = losses.WeightedSum(loss, alpha)
        value, gradient = both(tensor(F), torch.cat([tensor(Z), tensor(Y)], 1))
        np.testing.assert_allclose(value[0], alpha * naive(F, Z) + (1 - alpha) * naive(F, Y))
        numeric = central_difference(
            lambda f, a=alpha: (a * naive(f, Z) + (1 - a) * naive(f, Y)).sum(), F
        )
        np.testing.assert_allclose(gradient[0].T, numeric, atol=1e-8)


@pytest.mark.parametrize("name", NUMBER_LOSSES)
@pytest.mark.parametrize("is_sum", [False, True])
def test_losses_of_numbers_write_over_the_outputs_and_leave_targets_alone(name, is_sum):
    loss, _, n_levels = NUMBER_LOSSES[name]
    rng = np.random.RandomState(0)
    outputs, targets = tensor(rng.normal(size=(5, 2 * n_levels))), tensor(rng.normal(size=(5, 2)))
    if is_sum:
        loss, targets = losses.WeightedSum(loss, 0.3), torch.cat([targets, targets + 1], 1)
    outputs, before = outputs.repeat(2, 1, 1), targets.clone()  # two students share targets
    value, gradient = loss(outputs, targets)
    assert value.shape == (2, 5)
    assert gradient.data_ptr() == outputs.data_ptr()
    gradient.zero_()
    assert torch.equal(targets, before)


@pytest.mark.parametrize("n_targets", [1, 2])
def test_quantiles_of_a_teacher_value_and_gradient(n_targets):
    pinball, naive, n_levels = NUMBER_LOSSES["pinball"]
    rng = np.random.RandomState(0)
    F, S = rng.normal(size=(2, 9, n_targets * n_levels))
    Y, share = rng.normal(size=(9, n_targets)), rng.choice([0.0, 0.3, 1.0], size=(9, 1))

    def expected(f):
        return share[:, 0] * np.abs(f - S).mean(axis=1) / 2 + (1 - share[:, 0]) * naive(f, Y)

    outputs, targets = tensor(F).repeat(2, 1, 1), tensor(np.hstack([S, Y, share]))
    before = targets.clone()
    value, gradient = losses.QuantileDistillation(pinball)(outputs, targets)
    np.testing.assert_allclose(value, np.tile(expected(F), (2, 1)), rtol=1e-12)
    numeric = central_difference(lambda f: expected(f).sum(), F)
    np.testing.assert_allclose(gradient[1].T, numeric, atol=1e-8)
    assert gradient.data_ptr() == outputs.data_ptr()
    assert torch.equal(targets, before)


def test_squared_errors_of_two_targets_are_those_of_their_mean_up_to_a_constant():
    rng = np.random.RandomState(0)
    F, Y, Z = rng.normal(size=(3, 9, 2))
    for alpha in ALPHAS:
        both = losses.WeightedSum(losses.squared_error, alpha)
        _, gradient = both(tensor(F), torch.cat([tensor(Z), tensor(Y)], 1))
        mixed = tensor(alpha * Z + (1 - alpha) * Y)
        _, of_mixed = losses.squared_error(tensor(F), mixed)
        torch.testing.assert_close(gradient, of_mixed, rtol=1e-13, atol=1e-13)


def test_the_least_pinball_loss_is_at_the_quantiles():
    y, levels = np.random.RandomState(0).normal(size=(999, 1)), (0.1, 0.5, 0.8)
    f = np.quantile(y, levels)

    def loss(f):
        return naive_pinball(np.tile(f, (999, 1)), y).mean()

    for step in 0.02 * np.vstack([np.eye(3), -np.eye(3)]):
        assert loss(f) < loss(f + step)

"""Theorem 1 of self-distillation (Dong, Hou, Lu and Zhang, arXiv:1910.01255): Algorithm 1 as it is.

The paper sums the squared errors of n rows, the loop takes their mean: its gradient is a share 1/n
of the paper's, so the step eta = 1/(2 Gamma^2 n) is 1/(2 Gamma^2) here; Gamma = 1 for tanh.

Most tests take steps four times as long, a quarter as many, and let alpha fall four times as fast:
the outputs are the same to three digits.
"""

import math

import numpy as np
import pytest
import torch

from sklearn_kd._core.network import algorithm_1, problem, targets
from tests._helpers.theorems import TANH, Ramp, squared_error
from tests._helpers.training import run_training

CLUSTERS, SIZE, D, WIDTH = 4, 15, 50, 200
WRONG, RHO = 3, 0.2
STEP_SIZE = 0.5
PLAIN = math.inf  # tau of labels that are never corrected


class Clusterable:
    """An (epsilon, rho) dataset: unit rows about orthonormal centers, 3 of 15 labels wrong."""

    def __init__(self, seed, radius=0.3):
        rng = np.random.default_rng(seed)
        centers = np.linalg.qr(rng.normal(size=(D, CLUSTERS)))[0].T
        self.cluster = np.repeat(np.arange(CLUSTERS), SIZE)
        away = rng.normal(size=(len(self.cluster), D))
        away /= np.linalg.norm(away, axis=1, keepdims=True)
        X = centers[self.cluster] + radius * away
        self.X = X / np.linalg.norm(X, axis=1, keepdims=True)
        self.clean = np.where(self.cluster % 2 == 0, 1.0, -1.0)
        wrong = [k * SIZE + rng.choice(SIZE, WRONG, replace=False) for k in range(CLUSTERS)]
        self.wrong = np.concatenate(wrong)
        self.y = self.clean.copy()
        self.y[self.wrong] *= -1


def draw(seed):
    """W0 ~ N(0, 1), unpaired, and an output layer of which half is +1 and half is -1."""
    W = np.random.default_rng([seed, 1]).normal(size=(WIDTH, D))
    return W, np.repeat([1.0, -1.0], WIDTH // 2)


def train(data, taus, seeds, n_steps, *, faster=1, on_step=None):
    """Outputs (students, rows) after Algorithm 1 with alpha_t = exp(-t / tau) of each student."""
    drawn = [draw(seed) for seed in seeds]
    hidden, output = (torch.tensor(np.concatenate(parts)) for parts in zip(*drawn, strict=True))
    students = problem.Students([WIDTH] * len(seeds), hidden, output[:, None], hidden.clone())
    tau = torch.tensor(taus, dtype=torch.float64) / faster
    rule = algorithm_1.SelfDistilled(
        targets.Fixed(torch.tensor(data.y)[None, None]),
        Ramp(RHO),
        lambda logits, labels, rows, step: 1 - torch.exp(-step / tau),
    )
    plan = problem.TrainingConfig(
        step_size=torch.full_like(tau, faster * STEP_SIZE),
        output_step_size=None,
        max_move=torch.full_like(tau, math.inf),
        n_epochs=n_steps // faster,
        batch_size=None,
        optimizer="nesterov",
        momentum=0.0,
        decay=False,
        generator=torch.Generator(),
        activation=TANH,
    )
    weights = torch.full((1, 1), 1 / len(data.y), dtype=torch.float64)
    rows = problem.WeightedRows(torch.tensor(data.X), rule, weights)
    note = None if on_step is None else lambda epoch, _: on_step(hidden)
    outcome = run_training(students, rows, squared_error, plan, on_epoch=note)
    assert outcome.reasons[0] == "max_iter"
    W, v = hidden.numpy().reshape(-1, WIDTH, D), drawn[0][1] / math.sqrt(WIDTH)
    return np.stack([np.tanh(data.X @ w.T) @ v for w in W])


def rms(a, axis=-1):
    return np.sqrt(np.mean(np.square(a), axis=axis))


@pytest.mark.parametrize("tau", [PLAIN, 200.0, 5.0])
def test_algorithm_1_step_by_step(tau):
    """Against the paper's formulas in NumPy: sums over rows, eta = 1/(2 Gamma^2 n)."""
    data, n_steps, path = Clusterable(0), 60, []
    others = [200.0, tau, PLAIN]  # neighbors that must not be noticed
    train(data, others, [5, 6, 7], n_steps, on_step=lambda hidden: path.append(hidden.clone()))
    W, signs = draw(6)
    v, eta, linear = signs / math.sqrt(WIDTH), 1 / (2 * len(data.y)), 0
    for step in range(n_steps):
        Z = data.X @ W.T
        f = np.tanh(Z) @ v
        alpha = math.exp(-step / tau)
        inside = np.abs(f) <= (1 - 2 * RHO) / 4
        linear += inside.sum()
        h = np.where(inside, 4 * f / (1 - 2 * RHO), np.sign(f))
        label = alpha * data.y + (1 - alpha) * h
        gradient = np.zeros_like(W)
        for x, z, residual in zip(data.X, Z, f - label, strict=True):
            gradient += residual * np.outer(v / np.cosh(z) ** 2, x)
        W = W - eta * gradient
        ours = path[step][WIDTH : 2 * WIDTH].numpy()
        np.testing.assert_allclose(ours, W, rtol=1e-11, atol=1e-12)
    assert linear > 0  # both parts of h were met
    assert rms(W - draw(6)[0], axis=None) > 1e-3


def check_robust(data, corrected, plain):
    """Self-distillation ends at the clean labels, plain training at the given ones."""
    assert rms(corrected - data.clean) <= 0.05
    assert (corrected * data.clean).min() >= 0.85  # every row is right, and by far
    assert rms(plain - data.clean) >= 0.6
    assert np.mean(plain * data.clean > 0) <= 0.82
    assert np.mean(plain * data.y > 0) >= 0.98  # the wrong labels are learned by heart
    assert np.mean((plain * data.y)[data.wrong] > 0) >= 0.9


@pytest.mark.slow
def test_outputs_converge_to_the_clean_labels():
    data = Clusterable(0)
    corrected, plain = train(data, [200.0, PLAIN], [0, 0], 4000)
    check_robust(data, corrected, plain)
    # the shortcut of the other tests
    short = train(data, [200.0], [0], 4000, faster=4)[0]
    np.testing.assert_allclose(short, corrected, atol=2e-3)
    np.testing.assert_allclose(rms(short - data.clean), rms(corrected - data.clean), rtol=0.01)


def test_whatever_the_data_and_the_start():
    for seed in (1, 2):
        data = Clusterable(seed)
        check_robust(data, *train(data, [200.0, PLAIN], [seed, seed], 4000, faster=4))


@pytest.mark.slow
def test_thirty_times():
    for seed in range(30, 60):
        data = Clusterable(seed)
        check_robust(data, *train(data, [200.0, PLAIN], [seed, seed], 4000, faster=4))


def test_the_distance_goes_to_zero():
    """The theorem's claim in l2; what is left after 4,000 steps is no floor."""
    data = Clusterable(0)
    assert rms(train(data, [200.0], [0], 12_000, faster=4)[0] - data.clean) < 0.01


@pytest.mark.slow
def test_too_fast_a_decay_locks_whole_clusters_wrong():
    """At tau = 20 predictions are trusted before the labels have shaped them."""
    data, seeds = Clusterable(0), list(range(10))
    outputs = train(data, [20.0] * 10, seeds, 2000, faster=4)
    agreement = (outputs * data.clean).reshape(10, CLUSTERS, SIZE)
    locked = agreement.max(axis=2) < 0
    # a cluster is right as a whole or wrong as a whole, in either case with outputs near -1 or 1
    np.testing.assert_array_equal(locked, agreement.min(axis=2) < 0)
    assert rms(np.abs(outputs) - 1, axis=None) <= 0.1
    assert locked.any(axis=1).sum() >= 2
    # from the same starts, nothing is lost where alpha falls slowly
    lost = [seed for seed in seeds if locked[seed].any()][:2]
    slow = train(data, [200.0] * 2, lost, 4000, faster=4)
    assert (slow * data.clean).min() >= 0.85


def test_wide_clusters_are_learned_by_heart_while_alpha_is_large():
    """Radius .5, tau = 3,000: wrong rows stand apart, and are fitted before they are corrected."""
    for seed in (0, 1):
        data = Clusterable(seed, radius=0.5)
        kept, corrected = train(data, [3000.0, 200.0], [seed, seed], 4000, faster=4)
        assert rms(kept - data.clean) >= 0.6
        assert np.mean((kept * data.y)[data.wrong] > 0) >= 0.5
        assert np.mean(kept * data.clean > 0) <= 0.9
        # rows as far apart are corrected where alpha falls sooner
        assert rms(corrected - data.clean) <= 0.1
        assert np.mean(corrected * data.clean > 0) == 1


@pytest.mark.parametrize("batch_size", [None, 4])
def test_every_pass_takes_the_activation_of_the_plan(batch_size):
    """Both layers, minibatches and held-out scores, against autograd."""
    rng = np.random.default_rng(0)
    X, P, widths = torch.tensor(rng.normal(size=(12, 3))), torch.tensor(rng.random((1, 12))), [4, 6]
    hidden = torch.tensor(rng.normal(size=(10, 3)))
    output = torch.tensor(rng.choice([-1.0, 1.0], size=(10, 1)))
    start = [
        (w.clone(), a.clone())
        for w, a in zip(hidden.split(widths), output.split(widths), strict=True)
    ]
    plan = problem.TrainingConfig(
        step_size=torch.full((2,), 0.3, dtype=torch.float64),
        output_step_size=torch.full((2,), 0.1, dtype=torch.float64),
        max_move=torch.full((2,), math.inf, dtype=torch.float64),
        n_epochs=7,
        batch_size=batch_size,
        optimizer="nesterov",
        momentum=0.9,
        decay=False,
        generator=torch.Generator().manual_seed(3),
        activation=TANH,
    )
    share = torch.full((1, 1), 1 / 12, dtype=torch.float64)
    rows = problem.WeightedRows(X, targets.Fixed(P[None]), share)
    students = problem.Students(widths, hidden, output, hidden.clone())
    held_out = problem.ValidationSpec(
        problem.WeightedRows(X + 1, targets.Fixed(P[None]), share), patience=100
    )
    outcome = run_training(students, rows, squared_error, plan, held_out)
    order = torch.Generator().manual_seed(3)
    batches = [
        batch
        for _ in range(7)
        for batch in (
            [torch.arange(12)]
            if batch_size is None
            else torch.randperm(12, generator=order).tensor_split(3)
        )
    ]
    for i, (W, A) in enumerate(start):
        W.requires_grad_()
        A.requires_grad_()
        groups = [{"params": [W], "lr": 0.3}, {"params": [A], "lr": 0.1}]
        reference = torch.optim.SGD(groups, momentum=0.9, nesterov=True)
        scores = []
        for step, batch in enumerate(batches, start=1):
            f = (torch.tanh(X[batch] @ W.T) @ A)[:, 0] / len(W) ** 0.5
            reference.zero_grad()
            (0.5 * (f - P[0, batch]).square().mean()).backward()
            reference.step()
            if step % (len(batches) // 7) == 0:
                f = (torch.tanh((X + 1) @ W.T) @ A)[:, 0] / len(W) ** 0.5
                scores.append(float(0.5 * (f - P[0]).detach().square().mean()))
        ours = torch.stack(outcome.scores)[:, i].numpy()
        np.testing.assert_allclose(ours, scores, rtol=1e-12)
        assert float(outcome.best_score[i]) == ours.min()

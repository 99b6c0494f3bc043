"""The methods of the benchmark on noisy labels, against their papers' formulae written plainly.

The references work on (rows, classes), a row at a time where there is a memory, and take gradients
by autograd. The benchmark's have no code in common with them.
"""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from sklearn_kd import TwoLayerPGDClassifier
from sklearn_kd._core.network.targets import Fixed
from sklearn_kd._utils.scaling import fit_scaling

FOLDER = Path(__file__).parents[1]
MODULES = ["_tables", "_runs", "_noisy_baselines", "noisy_labels"]
METHODS = ["plain", "smoothing", "reed_soft", "reed_hard", "gce", "elr", "sat", "paper", "ours"]
K, N_ROWS, N_STEPS = 4, 12, 20


@pytest.fixture(scope="module", autouse=True)
def benchmark():
    """Import the script as one does that is run: its folder is on the path."""
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("noisy_labels")
    finally:
        sys.path.remove(str(FOLDER))
        for name in MODULES:
            sys.modules.pop(name, None)


def clamped(p):
    return p.clamp(1e-4, 1 - 1e-4)


class Reference:
    """Loss of each row of a minibatch, as the papers have it; f requires a gradient."""

    def __init__(self, method, codes, strength):
        self.method, self.strength = method, strength
        self.codes = codes
        self.labels = np.eye(K)[codes]
        # ELR's starts at zero, SAT's at the labels
        self.memory = self.labels.copy() if method == "sat" else np.zeros((len(codes), K))

    def __call__(self, f, rows, step):
        y = torch.tensor(self.labels[rows])
        p = torch.softmax(f, dim=1)
        q = p.detach()
        log_p = torch.log(p)
        if self.method == "plain":
            return -(y * log_p).sum(dim=1)
        if self.method == "smoothing":
            return torch.nn.functional.cross_entropy(
                f, torch.tensor(self.codes[rows]), label_smoothing=0.1, reduction="none"
            )
        if self.method == "reed_soft":  # the prediction in the target has a gradient
            return -((0.95 * y + 0.05 * p) * log_p).sum(dim=1)
        guess = torch.nn.functional.one_hot(q.argmax(dim=1), K).double()
        if self.method == "reed_hard":
            return -((0.8 * y + 0.2 * guess) * log_p).sum(dim=1)
        if self.method == "gce":
            return (1 - (y * p).sum(dim=1) ** 0.7) / 0.7
        if self.method == "elr":
            for i, row in enumerate(rows):
                now = clamped(q[i]).numpy()
                self.memory[row] = 0.7 * self.memory[row] + 0.3 * now / now.sum()
            t = torch.tensor(self.memory[rows])
            return -(y * log_p).sum(dim=1) + 3 * torch.log(1 - (t * clamped(p)).sum(dim=1))
        if self.method == "sat":
            if step < 0.3 * N_STEPS:
                return -(y * log_p).sum(dim=1)
            for i, row in enumerate(rows):
                self.memory[row] = 0.9 * self.memory[row] + 0.1 * q[i].numpy()
            t = torch.tensor(self.memory[rows])
            weights = t.max(dim=1).values
            weights = weights * len(rows) / weights.sum()
            return -weights * (t * log_p).sum(dim=1)
        right = float((q.argmax(dim=1).numpy() == self.codes[rows]).mean())
        if self.method == "ours":
            prior = np.bincount(self.codes).max() / len(self.codes)
            right = max(0.0, (right - prior) / (1 - prior))
        w = min(1.0, self.strength * right)
        return -(((1 - w) * y + w * guess) * log_p).sum(dim=1)


@pytest.mark.parametrize("strength", [0.6, 1.5])
@pytest.mark.parametrize("method", METHODS)
def test_every_step_is_that_of_the_paper(benchmark, rng, method, strength):
    """Values, gradients and memories over several epochs of minibatches."""
    codes = rng.randint(K, size=N_ROWS)
    labels = benchmark.one_hot(codes, K, torch.float64)
    rule, loss = benchmark.rule_and_loss(
        method, labels, n_steps=N_STEPS, strength=strength, warm_up=0.3
    )
    reference = Reference(method, codes, strength)
    for step in range(N_STEPS):
        if step % 4 == 0:
            order = rng.permutation(N_ROWS)
        rows = order[3 * (step % 4) :][:3]
        # wide enough for ELR's clamp on both sides; correct often enough for Algorithm 1
        F = rng.normal(scale=6, size=(3, K))
        F[np.arange(3), codes[rows]] += 5
        f = torch.tensor(F, requires_grad=True)
        expected = reference(f, rows, step)
        expected.sum().backward()

        logits = torch.tensor(np.ascontiguousarray(F.T))[None]
        value, gradient = loss(logits, rule(logits, torch.tensor(rows), step))
        np.testing.assert_allclose(value[0], expected.detach(), rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(gradient[0].T, f.grad, rtol=1e-9, atol=1e-13)
        assert gradient.data_ptr() == logits.data_ptr()  # the contract: written over the logits
    if method in ("elr", "sat"):
        np.testing.assert_allclose(rule.memory[0], reference.memory, rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_without_rows_all_are_meant(benchmark, rng, method):
    codes = rng.randint(K, size=N_ROWS)
    labels = benchmark.one_hot(codes, K, torch.float64)
    F = torch.tensor(rng.normal(size=(1, K, N_ROWS)))
    found = []
    for rows in (None, torch.arange(N_ROWS)):
        rule, loss = benchmark.rule_and_loss(method, labels, n_steps=1)
        logits = F.clone()
        found.append(loss(logits, rule(logits, rows, 0)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("method", METHODS)
def test_finite_where_float32_ends(benchmark, method):
    logits = torch.tensor([[200.0, -200.0, 0.0, 0.0], [-200.0, 200.0, 0.0, 0.0]]).T[None].clone()
    labels = benchmark.one_hot(np.array([0, 0]), K, torch.float32)
    rule, loss = benchmark.rule_and_loss(method, labels, n_steps=10, warm_up=0.5)
    for step in range(10):
        value, gradient = loss(given := logits.clone(), rule(given, torch.arange(2), step))
        assert torch.isfinite(value).all()
        assert torch.isfinite(gradient).all()


def test_gce_limits(benchmark, rng):
    """The cross-entropy as q vanishes, the absolute error at one."""
    F, y = (
        torch.tensor(rng.normal(size=(1, K, 6))),
        Fixed(torch.eye(K)[None, :, [0, 1, 2, 3, 0, 1]]),
    )
    labels = y.values.double()
    log_p = (labels * torch.log_softmax(F, dim=1)).sum(dim=1)
    small, _ = benchmark.GeneralizedCrossEntropy(1e-8)(F.clone(), labels)
    torch.testing.assert_close(small, -log_p, rtol=1e-6, atol=0)
    one, _ = benchmark.GeneralizedCrossEntropy(1.0)(F.clone(), labels)
    torch.testing.assert_close(one, 1 - log_p.exp())


def test_plain_training_is_the_estimators(benchmark):
    """Same network, start, order of rows and steps as the public class."""
    X, y = load_digits(return_X_y=True)
    X, y = X[:700], y[:700]
    model = TwoLayerPGDClassifier(
        32,
        max_iter=3,
        batch_size=128,
        early_stopping=False,
        encoder=None,
        init="symmetric",
        weight_decay=0.0,
        random_state=5,
        device="cpu",
    ).fit(X, y)
    inputs = benchmark.scaled(X, *fit_scaling(X, np.ones(len(X))))
    students = benchmark.train(inputs, y, "plain", n_classes=10, width=32, epochs=3, seed=5)
    np.testing.assert_allclose(students.hidden, model.hidden_weights_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(students.output, model.output_weights_, rtol=1e-8, atol=1e-10)
    logits = benchmark.logits_of(students, inputs)
    np.testing.assert_allclose(logits, model.decision_function(X), rtol=1e-8, atol=1e-9)


def test_held_out_rows_keep_the_best_epochs(benchmark, rng):
    inputs, codes = torch.tensor(rng.normal(size=(50, 3))), rng.randint(K, size=50)
    held_out = benchmark.HeldOutRows(inputs, codes)
    scores, students = [], benchmark.network(3, K, 8, [0, 0, 1], torch.float64)
    for epoch in range(1, 9):
        students.output.normal_(generator=torch.Generator().manual_seed(epoch))
        held_out.update(epoch, students)
        logits = benchmark.logits_of(students, inputs)
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(codes))
        scores.append([-loss.item(), benchmark.accuracy(logits, torch.tensor(codes))])
    best = np.argmax(scores, axis=0)
    for what, place, column in zip(["loss", "accuracy"], best, range(2), strict=True):
        score, epoch, kept = held_out.best[what]
        assert epoch == place + 1
        assert score == scores[place][column]
        kept_logits = benchmark.logits_of(kept, inputs)
        if what == "loss":
            kept_loss = torch.nn.functional.cross_entropy(kept_logits, torch.tensor(codes))
            assert -kept_loss.item() == score
        else:
            assert benchmark.accuracy(kept_logits, torch.tensor(codes)) == score

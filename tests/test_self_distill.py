"""SelfDistillClassifier against Algorithm 1 written naively, and what a user does with it."""

import copy
import math
import pickle

import numpy as np
import pandas as pd
import pytest
import skorch
import torch
from conftest import blobs, fitted_names, naive_gradient, naive_proba
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    ShuffleSplit,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklearn_kd import (
    DistilledClassifier,
    ModuleClassifier,
    SelfDistillClassifier,
    TwoLayerPGDClassifier,
)
from sklearn_kd._module_training import _held_rows
from sklearn_kd.datasets import add_label_noise
from sklearn_kd.exceptions import MissingClassWarning

# these have tests of their own; here labels are often clean, or rows few
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.CleanLabelsWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.ClassCollapseWarning"),
]

# Algorithm 1, written for clarity: a loop over rows, float64, no shared code with the package


def hardmax(p):
    """One for the largest, shared by several: where no neuron is active all outputs are zero."""
    best = [k for k in range(len(p)) if p[k] == max(p)]
    return np.array([1 / len(best) if k in best else 0.0 for k in range(len(p))])


class NaiveTargets:
    """Targets of rows from the probabilities (rows, classes) that a forward pass gives them."""

    def __init__(self, codes, weights, n_steps, options):
        self.codes, self.weights, self.n_steps = codes, weights, n_steps
        self.options = {
            "target": "hard",
            "target_temperature": 0.5,
            "strength": 1.0,
            "schedule": "chance-corrected",
            "memory": None,
            "warm_up": 0.05,
            **options,
        }
        mass = [weights[codes == k].sum() for k in range(codes.max() + 1)]
        self.prior = max(mass) / sum(mass)
        self.remembered = {}
        self.weight_curve = []
        self.confidence = np.zeros(len(codes))

    def schedule(self, step, accuracy):
        kind = self.options["schedule"]
        if kind == "accuracy":
            return accuracy
        if kind == "chance-corrected":
            return max(0.0, (accuracy - self.prior) / (1 - self.prior))
        if kind == "annealed":
            return step / self.n_steps
        return kind(step, accuracy, self.prior)

    def recall(self, row, p):
        memory = self.options["memory"]
        if memory is None:
            return p
        before = self.remembered.get(row, p)
        if memory == "previous-epoch":
            self.remembered[row] = p
            return before
        self.remembered[row] = memory * before + (1 - memory) * p
        return self.remembered[row]

    def label_function(self, p):
        if self.options["target"] == "hard":
            return hardmax(p)
        sharp = p ** (1 / self.options["target_temperature"])
        return sharp / sharp.sum()

    def __call__(self, P, rows, step):
        right = total = 0.0
        for p, row in zip(P, rows, strict=True):
            right += self.weights[row] * hardmax(p)[self.codes[row]]
            total += self.weights[row]
        weight = 0.0
        if step >= self.options["warm_up"] * self.n_steps:
            weight = self.options["strength"] * self.schedule(step, right / total)
        weight = min(1.0, max(0.0, weight))
        self.weight_curve.append(weight)
        targets = []
        for p, row in zip(P, rows, strict=True):
            label = np.eye(len(p))[self.codes[row]]
            corrected = self.label_function(self.recall(row, p))
            targets.append((1 - weight) * label + weight * corrected)
            self.confidence[row] += p[self.codes[row]]
        return np.array(targets)


def naive_fit(X, targets, weights, W, A, *, step_size, n_steps, trained, batches=None):
    """Descend from (W, A); lists of the weights after each step and of the losses before it."""
    path, losses = [], []
    for step in range(n_steps):
        rows = np.arange(len(X)) if batches is None else next(batches)
        batch, w = X[rows], weights[rows] / weights[rows].sum()
        if batches is not None:  # a batch estimates the mean over all rows
            w = weights[rows] / weights.sum() * len(X) / len(rows)
        hidden = np.maximum(batch @ W.T, 0) / math.sqrt(len(W))
        P = naive_proba(hidden @ A)
        Q = targets(P, rows, step)
        losses.append(float(-w @ (Q * np.log(P)).sum(axis=1)))
        # the reference takes the weighted mean over its rows
        G = naive_gradient(batch, Q, w, W, A) * w.sum()
        residual = (P - Q)[:, 1:] if A.shape[1] == 1 else P - Q
        output_gradient = hidden.T @ (w[:, None] * residual)
        W = W - step_size * G
        if trained:
            A = A - step_size * output_gradient
        path.append((W, A))
    return path, losses


def network(**options):
    params = {
        "width": 6,
        "learning_rate": 0.8,
        "optimizer": "nesterov",
        "momentum": 0.0,
        "batch_size": None,
        "n_init": 1,
        "early_stopping": False,
        "init": "standard",
        "output_layer": "fixed",
        "random_state": 0,
        **options,
    }
    return TwoLayerPGDClassifier(**params)


def start_of(net, X, y, weights):
    """Rows as the network sees them, and the weights that it starts from, (W, A)."""
    first = clone(net).set_params(max_iter=1, output_layer="fixed", early_stopping=False)
    first.fit(X, y, sample_weight=weights)  # which have a part in the scaling
    rows = (X - first.input_offset_) / first.input_scale_
    rows = np.column_stack([rows, np.ones(len(X))])
    return (
        rows,
        first.initial_weights_,
        first.output_weights_.reshape(len(first.initial_weights_), -1),
    )


def few_rows(n_classes, seed=0, n=18):
    """Overlapping, and some labels wrong: predictions and labels differ."""
    X, y = blobs(n, n_classes=n_classes, seed=seed, spread=4.0)
    y[:: n // 6] = (y[:: n // 6] + 1) % n_classes
    return X, y


def halfway(step, accuracy, prior):
    """Depend on each argument, and leave [0, 1] now and then."""
    assert isinstance(step, int)
    assert isinstance(accuracy, float)
    assert isinstance(prior, float)
    return 1.3 * accuracy - 0.5 * prior + 0.02 * step - 0.2


SCHEDULES = ["accuracy", "chance-corrected", "annealed", halfway]
MEMORIES = [None, "previous-epoch", 0.7]


def assert_follows(model, X, y, weights, naive, path, losses, n_steps):
    W, A = path[n_steps - 1]
    assert_allclose(model.estimator_.hidden_weights_, W, atol=1e-9)
    assert_allclose(model.estimator_.output_weights_.reshape(A.shape), A, atol=1e-9)
    assert_allclose(model.weight_curve_, naive.weight_curve[:n_steps], atol=1e-12)
    assert_allclose(model.loss_curve_, losses[:n_steps], atol=1e-9)
    assert model.n_iter_ == n_steps


@pytest.mark.parametrize("number", range(24))
def test_each_step_is_that_of_algorithm_1(number):
    """Each schedule, target and memory; the other settings take turns."""
    schedule, target = SCHEDULES[number % 4], ["hard", "soft"][number // 4 % 2]
    memory = MEMORIES[number // 8]
    n_classes = 2 + (number + number // 4) % 2
    warm_up = [0.0, 0.2, 0.0][(number + number // 8) % 3]
    trained = (number // 2 + number // 8) % 2 == 1
    X, y = few_rows(n_classes, seed=number)
    weights = np.ones(len(X))
    if number % 3:
        weights = np.random.RandomState(number).uniform(0.2, 3, len(X))
    options = {"schedule": schedule, "target": target, "memory": memory, "warm_up": warm_up}
    options["strength"] = [1.0, 0.6, 1.5][number // 3 % 3]
    net = network(output_layer="trained" if trained else "fixed")
    rows, W, A = start_of(net, X, y, weights)

    def follow(n_steps):
        naive = NaiveTargets(y, weights, n_steps, options)
        descent = {"step_size": 0.8, "n_steps": n_steps, "trained": trained}
        return naive, *naive_fit(rows, naive, weights, W, A, **descent)

    depends_on_the_end = warm_up > 0 or schedule == "annealed"
    once = follow(30)
    for n_steps in range(1, 31) if number % 3 == 0 else (1, 2, 3, 5, 8, 13, 21, 30):
        model = SelfDistillClassifier(clone(net).set_params(max_iter=n_steps), **options)
        model.fit(X, y, sample_weight=weights)
        naive = follow(n_steps) if depends_on_the_end else once
        assert_follows(model, X, y, weights, *naive, n_steps)
    # it was Algorithm 1 and not plain descent that was followed
    assert max(model.weight_curve_) > 0.05
    plain = clone(net).set_params(max_iter=30).fit(X, y, sample_weight=weights)
    assert abs(plain.hidden_weights_ - model.estimator_.hidden_weights_).max() > 1e-3
    if number % 3 == 0:
        assert_allclose(model.label_quality_, naive[0].confidence / 30, atol=1e-9)


@hypothesis_settings(max_examples=30)
@given(data=st.data())
def test_the_last_step_is_that_of_algorithm_1_for_any_settings(data):
    n_classes = data.draw(st.integers(2, 4), "classes")
    n_steps = data.draw(st.integers(1, 40), "steps")
    seed = data.draw(st.integers(0, 10_000), "seed")
    options = {
        "target": data.draw(st.sampled_from(["hard", "soft"])),
        "target_temperature": data.draw(st.sampled_from([0.2, 0.5, 1.0, 2.0])),
        "schedule": data.draw(st.sampled_from(SCHEDULES), "schedule"),
        "memory": data.draw(st.sampled_from([None, "previous-epoch", 0.1, 0.7]), "memory"),
        "warm_up": data.draw(st.sampled_from([0.0, 0.05, 0.5]), "warm_up"),
        "strength": data.draw(st.sampled_from([0.0, 0.5, 1.0, 5.0]), "strength"),
    }
    trained, weighted = data.draw(st.booleans(), "trained"), data.draw(st.booleans(), "weighted")
    size = data.draw(st.sampled_from([None, 5, 7]), "batch size")
    X, y = few_rows(n_classes, seed=seed, n=data.draw(st.integers(12, 20), "rows"))
    weights = np.random.RandomState(seed).uniform(0.2, 3, len(X)) if weighted else np.ones(len(X))
    net = network(
        output_layer="trained" if trained else "fixed", batch_size=size, random_state=seed
    )
    rows, W, A = start_of(net, X, y, weights)
    n_batches = 1 if size is None else math.ceil(len(X) / size)
    naive = NaiveTargets(y, weights, n_steps * n_batches, options)
    order = np.random.RandomState(seed).randint(2**31 - 1, size=2)[0]
    path, losses = naive_fit(
        rows,
        naive,
        weights,
        W,
        A,
        step_size=0.8,
        n_steps=n_steps * n_batches,
        trained=trained,
        batches=None if size is None else shuffled(len(X), n_batches, order),
    )
    model = SelfDistillClassifier(net.set_params(max_iter=n_steps), **options)
    model.fit(X, y, sample_weight=weights)
    assert_allclose(model.estimator_.hidden_weights_, path[-1][0], atol=1e-9)
    assert_allclose(model.estimator_.output_weights_.reshape(A.shape), path[-1][1], atol=1e-9)
    curve = np.reshape(naive.weight_curve, (n_steps, n_batches))
    assert_allclose(model.weight_curve_, curve.mean(axis=1), atol=1e-12)
    assert_allclose(model.loss_curve_, np.reshape(losses, curve.shape).mean(axis=1), atol=1e-9)
    assert_allclose(model.label_quality_, naive.confidence / n_steps, atol=1e-9)


def shuffled(n_rows, n_batches, seed):
    """Batches of rows in the order that a seed gives."""
    generator = torch.Generator().manual_seed(int(seed))
    while True:
        order = torch.randperm(n_rows, generator=generator)
        yield from (part.numpy() for part in order.tensor_split(n_batches))


@pytest.mark.parametrize(("n_classes", "memory"), [(2, None), (3, 0.7)])
def test_a_start_at_zero_needs_a_plain_first_step(n_classes, memory):
    """The symmetric start: all logits are zero, a tie for every row, until the first step."""
    X, y = few_rows(n_classes)
    net = network(init="symmetric", output_layer="trained")
    weights = np.ones(len(X))
    rows, W, A = start_of(net, X, y, weights)
    for n_steps in range(1, 31):
        options = {"memory": memory, "warm_up": 0.1}
        naive = NaiveTargets(y, weights, n_steps, options)
        path, losses = naive_fit(
            rows, naive, weights, W, A, step_size=0.8, n_steps=n_steps, trained=True
        )
        model = SelfDistillClassifier(net.set_params(max_iter=n_steps), **options).fit(X, y)
        assert_follows(model, X, y, weights, naive, path, losses, n_steps)
    assert max(model.weight_curve_) > 0.05


@pytest.mark.parametrize("n_classes", [2, 3])
def test_early_stopping_keeps_a_step_of_algorithm_1(n_classes):
    """The network that is kept has seen all rows; those that judge it leave rows out."""
    X, y = few_rows(n_classes, n=30)
    net = network(output_layer="trained", early_stopping=True, max_iter=60, n_iter_no_change=60)
    options, weights = {"memory": None, "warm_up": 0.1}, np.ones(len(X))
    rows, W, A = start_of(net, X, y, weights)
    naive = NaiveTargets(y, weights, 60, options)
    path, losses = naive_fit(rows, naive, weights, W, A, step_size=0.8, n_steps=60, trained=True)
    model = SelfDistillClassifier(net, **options).fit(X, y)
    best = model.estimator_.best_iter_
    assert_allclose(model.estimator_.hidden_weights_, path[best - 1][0], atol=1e-9)
    assert_allclose(model.weight_curve_, naive.weight_curve, atol=1e-12)
    assert_allclose(model.loss_curve_, losses, atol=1e-9)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_what_is_read_is_that_of_the_network_kept(n_classes, early_stopping):
    """Of several restarts, each of which corrects labels by its own predictions."""
    X, y = few_rows(n_classes, n=30)
    net = network(n_init=5, early_stopping=early_stopping, max_iter=25, n_iter_no_change=25)
    weights = np.random.RandomState(0).uniform(0.2, 3, 30)
    for seed in range(3):
        net.set_params(random_state=seed)
        model = SelfDistillClassifier(net, memory=0.5, warm_up=0.0)
        model.fit(X, y, sample_weight=weights)
        kept = model.estimator_
        rows = np.column_stack([(X - kept.input_offset_) / kept.input_scale_, np.ones(30)])
        W, A = kept.initial_weights_, kept.output_weights_.reshape(6, -1)
        naive = NaiveTargets(y, weights, 25, {"memory": 0.5, "warm_up": 0.0})
        descent = {"step_size": 0.8, "n_steps": 25, "trained": False}
        path, losses = naive_fit(rows, naive, weights, W, A, **descent)
        assert_allclose(kept.hidden_weights_, path[kept.best_iter_ - 1][0], atol=1e-9)
        assert_allclose(model.weight_curve_, naive.weight_curve, atol=1e-12)
        assert_allclose(model.loss_curve_, losses, atol=1e-9)
        assert_allclose(model.label_quality_, naive.confidence / 25, atol=1e-9)


def test_a_weight_of_zero_leaves_the_held_out_scores_of_a_plain_fit():
    """That held-out rows keep their labels otherwise is tested in test_label_quality."""
    X, y = few_rows(3, n=60)
    net = network(early_stopping=True, max_iter=1, batch_size=None)
    fits = [
        SelfDistillClassifier(net, memory=None, warm_up=0, schedule=lambda *_, w=w: w).fit(X, y)
        for w in (0.0, 1.0)
    ]
    for fitted, weight in zip(fits, (0.0, 1.0), strict=True):
        assert fitted.weight_curve_.tolist() == [weight]
    plain = clone(net).fit(X, y)
    assert fits[0].estimator_.validation_loss_curve_ == plain.validation_loss_curve_
    assert fits[1].estimator_.validation_loss_curve_ != plain.validation_loss_curve_


# ... and with any module


class Small(nn.Module):
    def __init__(self, input_shape, n_outputs, width=6):
        super().__init__()
        self.hidden = nn.Linear(math.prod(input_shape), width)
        self.out = nn.Linear(width, n_outputs)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x.flatten(1))))


def module(**options):
    params = {
        "optimizer": "sgd",
        "learning_rate": 0.5,
        "batch_size": None,
        "early_stopping": False,
        "input_scaling": False,
        "random_state": 0,
        **options,
    }
    return ModuleClassifier(Small, **params)


def autograd_fit(X, targets, weights, n_steps, *, lr, momentum=0.0, batches=None, n_classes):
    """Train with autograd and torch's own optimizer; the module, and the loss of each step."""
    seed = np.random.RandomState(0).randint(2**31 - 1, size=4)[0]
    with torch.random.fork_rng():
        torch.manual_seed(int(seed))
        net = Small(X.shape[1:], 1 if n_classes == 2 else n_classes).double()
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=momentum)
    losses = []
    for step in range(n_steps):
        rows = np.arange(len(X)) if batches is None else next(batches)
        logits = net(torch.tensor(X[rows]))
        if n_classes == 2:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        P = torch.softmax(logits.detach(), dim=1).numpy()
        Q = torch.tensor(targets(P, rows, step))
        w = torch.tensor(weights[rows] / weights.sum() * len(X) / len(rows))
        loss = (w * nn.functional.cross_entropy(logits, Q, reduction="none")).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return net, losses


def assert_same_module(fitted, net):
    for name, value in net.state_dict().items():
        assert_allclose(fitted.module_state_[name], value.numpy(), atol=1e-9)


@pytest.mark.parametrize("batch_size", [None, 7])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"schedule": "accuracy", "warm_up": 0.0},
        {"memory": "previous-epoch", "warm_up": 0.1},
        {"memory": 0.7, "target": "soft", "schedule": "annealed"},
        {"schedule": halfway, "target": "soft", "strength": 1.5},
    ],
    ids=["accuracy", "previous-epoch", "running-mean", "callable"],
)
def test_a_module_learns_by_algorithm_1(options, n_classes, batch_size):
    X, y = few_rows(n_classes, n=24)
    weights = np.random.RandomState(1).uniform(0.2, 3, len(X))
    order = np.random.RandomState(0).randint(2**31 - 1, size=4)[1]
    n_batches = 1 if batch_size is None else math.ceil(len(X) / batch_size)
    for n_epochs in (1, 2, 7, 30):
        naive = NaiveTargets(y, weights, n_epochs * n_batches, options)
        net, losses = autograd_fit(
            X,
            naive,
            weights,
            n_epochs * n_batches,
            lr=0.3,
            momentum=0.5,
            batches=None if batch_size is None else shuffled(len(X), n_batches, order),
            n_classes=n_classes,
        )
        student = module(
            batch_size=batch_size,
            learning_rate=0.3,
            optimizer_params={"momentum": 0.5},
            max_epochs=n_epochs,
        )
        model = SelfDistillClassifier(student, **options).fit(X, y, sample_weight=weights)
        assert_same_module(model.estimator_, net)
        curve = np.reshape(naive.weight_curve, (n_epochs, n_batches))
        assert_allclose(model.weight_curve_, curve.mean(axis=1), atol=1e-12)
        assert_allclose(model.loss_curve_, np.reshape(losses, curve.shape).mean(axis=1), atol=1e-9)
        assert_allclose(model.label_quality_, naive.confidence / n_epochs, atol=1e-9)


def test_a_module_learns_from_the_rows_that_are_not_held_out():
    X, y = few_rows(3, n=40)
    student = module(early_stopping=True, max_epochs=25, n_iter_no_change=25)
    seeds = np.random.RandomState(0).randint(2**31 - 1, size=4)
    held = _held_rows(student, X, y, np.ones(len(X)), True, seeds[2])
    assert 2 <= held.sum() <= 8
    naive = NaiveTargets(y[~held], np.ones((~held).sum()), 25, {"memory": 0.3})
    _, losses = autograd_fit(X[~held], naive, np.ones((~held).sum()), 25, lr=0.5, n_classes=3)
    model = SelfDistillClassifier(student, memory=0.3).fit(X, y)
    assert_allclose(model.loss_curve_, losses, atol=1e-9)
    assert_allclose(model.weight_curve_, naive.weight_curve, atol=1e-12)
    assert model.label_quality_.shape == (40,)
    # a copy that is trained for as long ends with the same weights
    best = model.estimator_.best_iter_
    naive = NaiveTargets(y[~held], np.ones((~held).sum()), 25, {"memory": 0.3})
    net, _ = autograd_fit(X[~held], naive, np.ones((~held).sum()), best, lr=0.5, n_classes=3)
    assert_same_module(model.estimator_, net)


# A generation that teaches the next


@pytest.mark.parametrize("schedule", ["chance-corrected", "accuracy", halfway])
@pytest.mark.parametrize("target", ["hard", "soft"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kind", ["network", "module"])
def test_the_last_generation_makes_the_targets_of_the_next(kind, n_classes, target, schedule):
    X, y = few_rows(n_classes, n=40)
    weights = np.random.RandomState(1).uniform(0.2, 3, len(X))
    student = network(width=20, early_stopping=True, max_iter=60)
    if kind == "module":
        student = module(early_stopping=True, max_epochs=40)
    options = {"target": target, "schedule": schedule, "strength": 0.9}
    model = SelfDistillClassifier(student, **options, memory="previous-generation")
    model.fit(X, y, sample_weight=weights)
    first = clone(student).fit(X, y, sample_weight=weights)
    naive = NaiveTargets(y, weights, 1, {**options, "warm_up": 0.0})
    Q = naive(first.predict_proba(X), range(len(X)), 0)
    second = clone(student).fit(X, y, sample_weight=weights, soft_targets=Q)
    assert_allclose(model.predict_proba(X), second.predict_proba(X), atol=1e-9)
    assert_allclose(model.weight_curve_, np.full(model.n_iter_, naive.weight_curve[0]), atol=1e-12)
    assert 0 < naive.weight_curve[0] < 1
    assert model.loss_curve_ == pytest.approx(second.loss_curve_, abs=1e-9)
    both = np.mean([each.predict_proba(X) for each in (first, second)], axis=0)
    assert_allclose(model.label_quality_, both[np.arange(len(y)), y], atol=1e-9)
    assert not np.allclose(model.predict_proba(X), first.predict_proba(X), atol=1e-3)


def test_auto_memory_goes_by_early_stopping():
    X, y = few_rows(3, n=40)
    for student in (network(max_iter=30), module(max_epochs=30)):
        stopped = clone(student).set_params(early_stopping=True)
        for net, schedule, memory in [
            (student, "accuracy", None),
            (stopped, "accuracy", "previous-generation"),
            (stopped, "annealed", None),
            (stopped, halfway, None),
        ]:
            fits = [
                SelfDistillClassifier(net, schedule=schedule, memory=each).fit(X, y)
                for each in ("auto", memory)
            ]
            first, second = (fitted.predict_proba(X) for fitted in fits)
            assert_array_equal(first, second)


def test_a_strength_of_zero_is_a_plain_fit():
    X, y = few_rows(3, n=40)
    for student in (network(max_iter=30), module(max_epochs=30), network(early_stopping=True)):
        plain = clone(student).fit(X, y)
        model = SelfDistillClassifier(student, strength=0).fit(X, y)
        assert_array_equal(model.predict_proba(X), plain.predict_proba(X))
        assert not model.weight_curve_.any()


# Sample weights


STUDENTS = {
    "network": network(max_iter=60, output_layer="trained"),
    "stopped": network(max_iter=60, output_layer="trained", early_stopping=True),
    "module": module(max_epochs=60),
    "stopped module": module(max_epochs=60, early_stopping=True),
}


@pytest.mark.parametrize("kind", STUDENTS)
@pytest.mark.parametrize(
    "options",
    [{}, {"target": "soft", "memory": 0.5}, {"schedule": "accuracy", "memory": "previous-epoch"}],
    ids=["default", "soft", "previous-epoch"],
)
def test_a_weight_is_a_number_of_copies(kind, options):
    X, y = few_rows(3, n=40)
    w = np.random.RandomState(0).randint(1, 4, len(X))
    model = SelfDistillClassifier(STUDENTS[kind], warm_up=0.1, **options)
    weighted = clone(model).fit(X, y, sample_weight=w)
    copies = np.repeat(np.arange(len(X)), w)
    np.random.RandomState(1).shuffle(copies)
    repeated = clone(model).fit(X[copies], y[copies])
    assert weighted.n_iter_ == repeated.n_iter_
    assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), atol=1e-7)
    assert_allclose(weighted.weight_curve_, repeated.weight_curve_, atol=1e-9)
    assert_allclose(weighted.refined_targets_[copies], repeated.refined_targets_, atol=1e-7)
    assert_allclose(weighted.label_quality_[copies], repeated.label_quality_, atol=1e-7)
    scaled = clone(model).fit(X, y, sample_weight=64.0 * w)
    assert_array_equal(scaled.predict_proba(X), weighted.predict_proba(X))


@pytest.mark.parametrize("kind", STUDENTS)
def test_a_weight_of_zero_is_absence(kind):
    X, y = few_rows(3, n=40)
    w = np.where(np.arange(40) % 5 == 0, 0.0, 1.5)
    model = SelfDistillClassifier(STUDENTS[kind])
    weighted = clone(model).fit(X, y, sample_weight=w)
    without = clone(model).fit(X[w > 0], y[w > 0])
    assert_array_equal(weighted.predict_proba(X), without.predict_proba(X))
    assert_array_equal(weighted.weight_curve_, without.weight_curve_)
    # what was absent has an entry all the same
    assert weighted.refined_targets_.shape == (40, 3)
    assert weighted.label_quality_.shape == (40,)
    assert_allclose(weighted.refined_targets_[w > 0], without.refined_targets_, atol=1e-12)
    assert_allclose(weighted.label_quality_[w > 0], without.label_quality_, atol=1e-12)
    assert_allclose(weighted.refined_targets_.sum(axis=1), 1, atol=1e-12)
    assert weighted.label_quality_.min() >= 0
    assert weighted.label_quality_.max() <= 1


@pytest.mark.parametrize("kind", STUDENTS)
def test_a_class_whose_rows_have_no_weight_is_absent(kind):
    X, y = few_rows(3, n=40)
    names = np.array(["a", "b", "c"])
    w = np.where(y == 1, 0.0, 1.0)
    model = SelfDistillClassifier(STUDENTS[kind]).fit(X, names[y], sample_weight=w)
    assert model.classes_.tolist() == ["a", "c"]
    assert model.refined_targets_.shape == (40, 2)
    assert_allclose(model.refined_targets_.sum(axis=1), 1, atol=1e-12)
    assert not model.label_quality_[y == 1].any()
    # nothing is known of their labels: the prediction alone
    assert_allclose(model.refined_targets_[y == 1], model.predict_proba(X[y == 1]), atol=1e-9)
    errors = model.find_label_errors(X, names[y], cv="in-sample")
    assert set(errors.given_label[: (y == 1).sum()]) == {"b"}
    assert set(errors.suggested_label) <= {"a", "c"}


# What a fit leaves


CHEAP = {"width": 16, "max_iter": 40, "n_init": 1, "random_state": 0}


def cheap(**options):
    return TwoLayerPGDClassifier(**{**CHEAP, **options})


def noisy_blobs(n=90, n_classes=3, seed=0, noise=0.2, **options):
    """Rows that are easy to tell, a share of the labels wrong: X, labels, true labels."""
    X, y = blobs(n, n_classes=n_classes, seed=seed, spread=1.0, **options)
    return X, add_label_noise(y, noise, random_state=seed).y, y


FORMS = {
    "default": SelfDistillClassifier(cheap()),
    "last step": SelfDistillClassifier(cheap(early_stopping=False)),
    "soft": SelfDistillClassifier(cheap(early_stopping=False), target="soft", memory=0.7),
    "strong": SelfDistillClassifier(cheap(), memory="previous-epoch", strength=5.0),
    "soft generations": SelfDistillClassifier(cheap(), target="soft", strength=5.0),
    "module": SelfDistillClassifier(module(max_epochs=40, input_scaling=True)),
    "minibatches": SelfDistillClassifier(cheap(batch_size=16), memory=0.9, strength=5.0),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("form", FORMS)
def test_fitted_attributes(form, n_classes, dtype):
    X, y, _ = noisy_blobs(n_classes=n_classes, dtype=dtype)
    unfitted = FORMS[form]
    inside = dict(vars(unfitted.estimator))
    model = clone(unfitted)
    estimator = model.estimator
    assert model.fit(X, y) is model
    assert model.classes_.tolist() == list(range(n_classes))
    assert model.refined_targets_.shape == (90, n_classes)
    assert_allclose(model.refined_targets_.sum(axis=1), 1, atol=1e-6)
    assert model.refined_targets_.min() >= 0
    assert model.refined_targets_.max() <= 1
    assert model.label_quality_.shape == (90,)
    assert model.label_quality_.min() >= 0
    assert model.label_quality_.max() <= 1
    assert model.weight_curve_.shape == (model.n_iter_,)
    assert model.weight_curve_.min() >= 0
    assert model.weight_curve_.max() <= 1
    assert model.weight_curve_.max() > 0.3
    assert len(model.loss_curve_) == model.n_iter_ == model.estimator_.n_iter_
    assert np.isfinite(model.loss_curve_).all()
    assert model.termination_condition_ in ("max_iter", "max_epochs", "early_stopping")
    assert 0 <= model.noise_rate_ <= 1
    assert model.n_features_in_ == 3
    assert not hasattr(model, "feature_names_in_")
    # the answers are those of the network
    assert type(model.estimator_) is type(estimator)
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        answer = getattr(model, method)(X)
        assert_array_equal(answer, getattr(model.estimator_, method)(X))
        assert len(answer) == 90
    assert model.predict_proba(X).dtype == dtype
    # what was passed is as it was
    assert model.estimator is estimator
    assert not fitted_names(estimator)
    assert dict(vars(unfitted.estimator)) == inside
    assert type(model.weight_curve_) is type(model.label_quality_) is np.ndarray
    for array in (model.weight_curve_, model.refined_targets_):
        assert np.isfinite(array).all()


@pytest.mark.parametrize("form", ["default", "soft", "module"])
def test_refined_targets_teach_any_student(form):
    X, y, clean = noisy_blobs()
    Q = clone(FORMS[form]).fit(X, y).refined_targets_
    assert (Q.argmax(axis=1) == clean).mean() > (y == clean).mean() + 0.1
    student = cheap().fit(X, y, soft_targets=Q)
    assert student.score(X, clean) > 0.9
    for student in (cheap(), LogisticRegression()):
        distilled = DistilledClassifier(LogisticRegression(), student, random_state=0)
        assert distilled.fit(X, y, soft_targets=Q).score(X, clean) > 0.9
        assert distilled.label_source_ == "given"


@pytest.mark.parametrize("form", FORMS)
def test_pickles_and_clones(form):
    X, y, _ = noisy_blobs()
    model = clone(FORMS[form]).fit(X, y)
    content = pickle.dumps(model)
    assert b"torch" not in content.replace(b"test_self_distill", b"")
    for other in (pickle.loads(content), copy.deepcopy(model)):
        assert_array_equal(other.predict_proba(X), model.predict_proba(X))
        assert_array_equal(other.refined_targets_, model.refined_targets_)
        assert other.find_label_errors(X, y, cv="in-sample").equals(
            model.find_label_errors(X, y, cv="in-sample")
        )
    unfitted = clone(model)
    assert not fitted_names(unfitted)
    assert "_given" not in vars(unfitted)
    assert unfitted.get_params(deep=False).keys() == model.get_params(deep=False).keys()
    # the same seed, the same bits
    again = unfitted.fit(X, y)
    assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert_array_equal(again.label_quality_, model.label_quality_)
    assert_array_equal(again.weight_curve_, model.weight_curve_)


def test_random_state():
    X, y, _ = noisy_blobs()
    loose = cheap(random_state=None)

    def proba(estimator=loose, **options):
        return SelfDistillClassifier(estimator, **options).fit(X, y).predict_proba(X)

    assert_array_equal(proba(random_state=0), proba(random_state=0))
    assert not np.array_equal(proba(random_state=0), proba(random_state=1))
    assert not np.array_equal(proba(), proba())
    generators = [np.random.RandomState(3), np.random.RandomState(3)]
    assert_array_equal(*(proba(random_state=each) for each in generators))
    # a seed of the network's own stays
    assert_array_equal(proba(cheap(), random_state=0), proba(cheap(), random_state=1))
    assert loose.random_state is None
    state = np.random.get_state()[1].copy(), torch.get_rng_state()
    proba(random_state=0)
    assert_array_equal(np.random.get_state()[1], state[0])
    assert torch.equal(torch.get_rng_state(), state[1])


def test_the_default_network():
    X, y, clean = noisy_blobs(n=40)
    model = SelfDistillClassifier(random_state=0).fit(X, y)
    assert type(model.estimator_) is TwoLayerPGDClassifier
    assert model.estimator_.width == 256
    assert model.estimator is None
    assert model.score(X, clean) > 0.9


@pytest.mark.parametrize("labels", [["no", "yes"], [False, True], ["a", "b", "c"], [7, 2, 5]])
@pytest.mark.parametrize("form", ["default", "last step", "module"])
def test_labels_of_any_kind(form, labels):
    X, y, _ = noisy_blobs(n_classes=len(labels))
    order = np.argsort(labels)
    named = np.array(labels)[order][y]
    model, plain = clone(FORMS[form]).fit(X, named), clone(FORMS[form]).fit(X, y)
    assert_array_equal(model.classes_, np.sort(labels))
    assert_array_equal(model.predict_proba(X), plain.predict_proba(X))
    assert_array_equal(model.refined_targets_, plain.refined_targets_)
    assert_array_equal(model.label_quality_, plain.label_quality_)
    assert model.predict(X).dtype == named.dtype
    assert model.score(X, named) > 0.7
    errors = model.set_params(random_state=0).find_label_errors(X, named, cv=2)
    assert_array_equal(errors.given_label, named[errors.row])
    assert set(errors.suggested_label) <= set(labels)
    series = pd.Series(named, index=np.arange(90)[::-1])
    assert clone(model).find_label_errors(X, series, cv=2).equals(errors)
    assert model.find_label_errors(X, series, cv="in-sample").row.is_unique
    assert clone(model).fit(X, list(named)).predict(X[:1]) == model.predict(X[:1])


def test_frames():
    X, y, _ = noisy_blobs()
    frame = pd.DataFrame(X, columns=["a", "b", "c"], index=np.arange(90) * 3)
    for form in ("default", "last step"):
        model = clone(FORMS[form]).fit(frame, y)
        assert model.feature_names_in_.tolist() == ["a", "b", "c"]
        plain = clone(model).fit(X, y)
        assert_allclose(model.predict_proba(frame), plain.predict_proba(X), atol=1e-12)
        assert_allclose(model.label_quality_, plain.label_quality_, atol=1e-12)
        with pytest.raises(ValueError, match="feature names"):
            model.predict(frame[["b", "a", "c"]])
        errors = model.set_params(random_state=0).find_label_errors(frame, y, cv=3)
        assert sorted(errors.row) == list(range(90))  # positions, not labels of the index
        plain = clone(model).find_label_errors(X, y, cv=3)
        assert_allclose(errors.label_quality, plain.label_quality, atol=1e-12)
        model.find_label_errors(frame, y, cv="in-sample")


def test_nothing_is_written_to():
    X, y, _ = noisy_blobs()
    w = np.random.RandomState(0).uniform(0.5, 2, 90)
    before = X.copy(), y.copy(), w.copy()
    for array in (X, y, w):
        array.flags.writeable = False
    for form in FORMS:
        model = clone(FORMS[form]).fit(X, y, sample_weight=w)
        model.predict_proba(X)
        model.find_label_errors(X, y, cv="in-sample")
    clone(FORMS["last step"]).find_label_errors(X, y, cv=2, sample_weight=w)
    for array, copied in zip((X, y, w), before, strict=True):
        assert_array_equal(array, copied)


def test_labels_that_are_kept_are_those_of_fit():
    """Whatever is done to y afterwards."""
    X, y, _ = noisy_blobs()
    labels = y.copy()
    model = clone(FORMS["last step"]).fit(X, labels)
    labels[:] = 0
    model.find_label_errors(X, y, cv="in-sample")
    with pytest.raises(ValueError, match="not those labels"):
        model.find_label_errors(X, labels, cv="in-sample")


def test_searches_and_pipelines():
    X, y, clean = noisy_blobs(n=120)
    model = SelfDistillClassifier(cheap())
    grid = {"strength": [0.0, 1.0], "estimator__width": [4, 16]}
    search = GridSearchCV(model, grid, cv=2).fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_estimator_.estimator_.width in (4, 16)
    assert search.predict_proba(X).shape == (120, 3)
    assert model.estimator.width == 16
    pipeline = make_pipeline(StandardScaler(), SelfDistillClassifier(cheap()))
    pipeline.fit(X, y)
    assert pipeline.score(X, clean) > 0.9
    pipeline.fit(X, y, selfdistillclassifier__sample_weight=np.where(clean == y, 1.0, 0.1))
    assert pipeline.score(X, clean) > 0.9
    assert cross_val_score(model, X, clean, cv=2).min() > 0.9


# Callbacks, and fits that do not end


class Listens:
    """Notes the tasks that begin; a callback."""

    def __init__(self):
        self.begun = []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context, **_):
        self.begun.append(context.task_name)

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None, **_):
        pass


class StopsAfter(Listens):
    """Ends training after some epochs."""

    def __init__(self, n_epochs):
        super().__init__()
        self.n_epochs = n_epochs

    def on_fit_task_end(self, estimator, context, **_):
        return context.task_name == "epochs" and context.task_id + 1 == self.n_epochs


class Raises(Listens):
    """Ends training by an error."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def on_fit_task_end(self, estimator, context, **_):
        if context.task_name == "epochs":
            raise self.error


def test_callbacks_see_labelled_subtasks():
    X, y, _ = noisy_blobs()
    for form, expected in [
        ("last step", ["fit-estimator"]),
        ("default", ["fit-first-generation", "fit-second-generation"]),
    ]:
        listens = Listens()
        model = clone(FORMS[form]).set_callbacks(listens).fit(X, y)
        assert listens.begun[1:] == expected
        assert not hasattr(model.estimator_, "_skl_callbacks")


@pytest.mark.parametrize("batch_size", [None, 16])
def test_a_callback_may_stop_training(batch_size):
    X, y, _ = noisy_blobs()
    net = cheap(early_stopping=False, batch_size=batch_size, learning_rate=0.5)
    shorter = SelfDistillClassifier(clone(net).set_params(max_iter=7), warm_up=0).fit(X, y)
    model = SelfDistillClassifier(net.set_callbacks(StopsAfter(7)), warm_up=0).fit(X, y)
    assert model.termination_condition_ == "callback"
    assert model.n_iter_ == len(model.weight_curve_) == len(model.loss_curve_) == 7
    assert_array_equal(model.weight_curve_, shorter.weight_curve_)
    assert_array_equal(model.predict_proba(X), shorter.predict_proba(X))
    assert_allclose(model.label_quality_, shorter.label_quality_, rtol=1e-12)


class Stops(skorch.callbacks.Callback):
    """Interrupts a module after its second epoch."""

    def on_epoch_end(self, net, **_):
        if len(net.history) == 2:
            raise MemoryError("no more")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("form", ["default", "last step"])
def test_a_fit_that_is_cut_short_leaves_nothing(form, error):
    X, y, _ = noisy_blobs()
    for before in (clone(FORMS[form]), clone(FORMS[form]).fit(X, y)):
        broken = copy.deepcopy(before)
        broken.estimator.set_callbacks(Raises(error()))
        state = dict(vars(broken))
        with pytest.raises(error):
            broken.fit(X[:, :2], (y + 1) % 2)
        assert vars(broken).keys() == state.keys()
        assert all(vars(broken)[name] is value for name, value in state.items())
        if hasattr(before, "classes_"):
            assert_array_equal(broken.predict_proba(X), before.predict_proba(X))
        else:
            with pytest.raises(NotFittedError):
                broken.predict(X)


@pytest.mark.parametrize("which", ["first", "second"])
def test_an_interrupt_in_either_generation(monkeypatch, which):
    X, y, _ = noisy_blobs()
    model = SelfDistillClassifier(cheap())
    whole, calls = TwoLayerPGDClassifier._fit_targets, []

    def cut_short(self, *args, **options):
        calls.append(1)
        whole(self, *args, **options)
        if len(calls) == {"first": 1, "second": 2}[which]:
            self.termination_condition_ = "interrupted"
            raise KeyboardInterrupt
        return self

    monkeypatch.setattr(TwoLayerPGDClassifier, "_fit_targets", cut_short)
    before = dict(vars(model))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert len(calls) == {"first": 1, "second": 2}[which]
    assert vars(model) == before
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_a_failing_module_leaves_nothing():
    X, y, _ = noisy_blobs()
    for early_stopping in (True, False):
        student = module(max_epochs=5, callbacks=[Stops()], early_stopping=early_stopping)
        model = SelfDistillClassifier(student)
        before = dict(vars(model))
        with pytest.raises(MemoryError):
            model.fit(X, y)
        assert vars(model) == before


def test_bad_data_leaves_a_fit_whole():
    X, y, _ = noisy_blobs()
    model = clone(FORMS["last step"]).fit(X, y)
    state = dict(vars(model))
    for bad_X, bad_y, weight in [
        (X * np.nan, y, None),
        (X[:50], y, None),
        (X, np.zeros(90), None),
        (X, y, np.full(90, -1.0)),
        (X, y + 0.5, None),
    ]:
        with pytest.raises(
            ValueError, match=r"NaN|inconsistent|at least 2 classes|[Nn]egative|label"
        ):
            model.fit(bad_X, bad_y, sample_weight=weight)
        assert all(vars(model)[name] is value for name, value in state.items())
        assert vars(model).keys() == state.keys()


# Label errors


def assert_table(errors, X, y):
    assert errors.columns.tolist() == ["row", "given_label", "suggested_label", "label_quality"]
    assert sorted(errors.row) == list(range(len(X)))
    assert_array_equal(errors.given_label, y[errors.row])
    assert errors.label_quality.is_monotonic_increasing
    assert errors.label_quality.between(0, 1).all()
    assert set(errors.suggested_label) <= set(y)
    assert errors.index.tolist() == list(range(len(X)))


@pytest.mark.parametrize(
    "cv",
    [None, 2, KFold(3, shuffle=True, random_state=0), StratifiedKFold(3), "in-sample", "splits"],
    ids=str,
)
@pytest.mark.parametrize("form", ["default", "last step", "module"])
def test_wrong_labels_come_first(form, cv):
    X, y, clean = noisy_blobs(n=120)
    model = clone(FORMS[form])
    if cv == "splits":
        cv = list(KFold(3).split(X))
    model.set_params(random_state=0)
    if isinstance(cv, str):
        model.fit(X, y)
    state = dict(vars(model))
    errors = model.find_label_errors(X, y, cv=cv)
    assert_table(errors, X, y)
    wrong = (y != clean)[errors.row]
    assert average_precision_score(wrong, 1 - errors.label_quality) > 0.9
    suspects = errors[errors.given_label != errors.suggested_label]
    assert (suspects.suggested_label == clean[suspects.row]).mean() > 0.85
    assert vars(model) == state  # nothing is fitted by it
    assert errors.equals(model.find_label_errors(X, y, cv=cv))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("form", ["default", "last step"])
def test_out_of_sample_is_a_fit_on_the_other_folds(form, weighted):
    X, y, _ = noisy_blobs()
    w = np.random.RandomState(0).uniform(0.3, 2, 90) if weighted else None
    cv = StratifiedKFold(3, shuffle=True, random_state=1)
    errors = clone(FORMS[form]).find_label_errors(X, y, cv=cv, sample_weight=w)
    proba = np.full((90, 3), np.nan)
    for train, test in cv.split(X, y):
        judge = clone(FORMS[form]).fit(
            X[train], y[train], sample_weight=w if w is None else w[train]
        )
        proba[test] = judge.predict_proba(X[test])
    quality = proba[np.arange(90), y]
    assert_allclose(errors.label_quality, quality[errors.row], atol=1e-12)
    assert_allclose(errors.label_quality, np.sort(quality), atol=1e-12)
    assert_array_equal(errors.suggested_label, proba.argmax(axis=1)[errors.row])


@pytest.mark.parametrize(("cv", "n_folds"), [(None, 5), (3, 3), (KFold(4), 4)])
def test_no_row_is_judged_by_a_fit_that_has_seen_it(monkeypatch, cv, n_folds):
    X, y, _ = noisy_blobs()
    X = np.column_stack([X, np.arange(90.0)])  # a name for each row
    trained, tested = [], []
    fit, predict_proba = SelfDistillClassifier.fit, SelfDistillClassifier.predict_proba

    def watched_fit(self, X, y, sample_weight=None):
        trained.append(X[:, -1])
        return fit(self, X, y, sample_weight=sample_weight)

    def watched_predict_proba(self, X):
        tested.append(X[:, -1])
        return predict_proba(self, X)

    monkeypatch.setattr(SelfDistillClassifier, "fit", watched_fit)
    monkeypatch.setattr(SelfDistillClassifier, "predict_proba", watched_predict_proba)
    SelfDistillClassifier(cheap(max_iter=5)).find_label_errors(X, y, cv=cv)
    assert len(trained) == len(tested) == n_folds
    for seen, judged in zip(trained, tested, strict=True):
        assert_array_equal(np.sort(np.r_[seen, judged]), np.arange(90))
    assert_array_equal(np.sort(np.concatenate(tested)), np.arange(90))


def test_a_label_does_not_testify_for_itself():
    """Over the labels that a row may be given its qualities sum to one; its class does not move."""
    X, y, _ = noisy_blobs(n=60)
    total, suggested = 0.0, set()
    for label in range(3):
        given_ = y.copy()
        given_[7] = label
        model = SelfDistillClassifier(cheap(early_stopping=False))
        errors = model.find_label_errors(X, given_, cv=KFold(3)).set_index("row")
        total += errors.label_quality[7]
        suggested.add(errors.suggested_label[7])
    assert total == pytest.approx(1)
    assert len(suggested) == 1


def test_folds_depend_on_the_seed():
    X, y, _ = noisy_blobs()
    first, same, other = (
        SelfDistillClassifier(cheap(), random_state=seed).find_label_errors(X, y)
        for seed in (0, 0, 1)
    )
    assert first.equals(same)
    assert not first.equals(other)


def test_folds_that_leave_rows_out():
    X, y, _ = noisy_blobs()
    model = SelfDistillClassifier(cheap(max_iter=5))
    for cv in (ShuffleSplit(2, random_state=0), [(np.arange(50), np.arange(50, 90))]):
        with pytest.raises(ValueError, match=r"cv tests \d+ of the 90 rows once"):
            model.find_label_errors(X, y, cv=cv)


def test_a_class_of_one_row_cannot_be_judged():
    X, y, _ = noisy_blobs()
    y[11] = 8
    model = SelfDistillClassifier(cheap(max_iter=10))
    with pytest.warns(MissingClassWarning, match=r"label of 1 rows, of the classes \[8\]"):
        errors = model.find_label_errors(X, y)
    assert_table(errors, X, y)
    row = errors.set_index("row").loc[11]
    assert row.label_quality == 1
    assert row.suggested_label == row.given_label == 8


def test_a_class_that_a_fold_has_to_itself_cannot_be_judged():
    X, y, _ = noisy_blobs()
    order = np.argsort(y, kind="stable")
    X, y = X[order], y[order]
    own = np.flatnonzero(y == 1)
    rest = np.random.RandomState(0).permutation(np.flatnonzero(y != 1))
    tests = [own, rest[::2], rest[1::2]]
    cv = [(np.setdiff1d(np.arange(90), test), test) for test in tests]
    model = SelfDistillClassifier(cheap(max_iter=10))
    with pytest.warns(
        MissingClassWarning, match=rf"label of {len(own)} rows, of the classes \[1\]"
    ):
        errors = model.find_label_errors(X, y, cv=cv)
    assert_table(errors, X, y)
    assert set(errors.row[errors.label_quality == 1]) >= set(own)
    quality = errors.set_index("row").label_quality
    assert (quality[rest] < 1).all()


def test_in_sample_needs_a_fit_and_its_labels():
    X, y, _ = noisy_blobs()
    model = clone(FORMS["last step"])
    with pytest.raises(NotFittedError):
        model.find_label_errors(X, y, cv="in-sample")
    model.fit(X, y)
    for other in (y[::-1], y[:-1], (y + 1) % 3):
        with pytest.raises(ValueError, match="not those labels: pass them, or set cv=None"):
            model.find_label_errors(X[: len(other)], other, cv="in-sample")
    errors = model.find_label_errors(X, y, cv="in-sample")
    assert_array_equal(errors.label_quality, np.sort(model.label_quality_))
    assert_array_equal(errors.suggested_label, model.predict(X)[errors.row])
    with pytest.raises(ValueError, match="cv"):
        model.find_label_errors(X, y, cv="out-of-sample")


# What it is for


@pytest.fixture(scope="module")
def noisy_digits():
    """Digits with 30 % wrong labels, which a wide network memorises; it, and self-distilled."""
    X, y = load_digits(n_class=4, return_X_y=True)
    noisy = add_label_noise(y, 0.3, random_state=0)
    net = TwoLayerPGDClassifier(256, max_iter=200, early_stopping=False, n_init=1, random_state=0)
    return X, y, noisy, clone(net).fit(X, noisy.y), SelfDistillClassifier(net).fit(X, noisy.y)


def test_it_repairs_digits(noisy_digits):
    X, y, noisy, plain, model = noisy_digits
    assert plain.score(X, noisy.y) > 0.95
    assert model.score(X, y) > plain.score(X, y) + 0.2
    assert model.score(X, y) > 0.95
    assert average_precision_score(noisy.is_wrong, -model.label_quality_) > 0.95


def test_refined_labels_are_right(noisy_digits):
    _, y, noisy, _, model = noisy_digits
    right = model.refined_targets_.argmax(axis=1) == y
    assert right.mean() > 0.95
    assert right[noisy.is_wrong].mean() > 0.9


@pytest.mark.parametrize("memory", [None, 0.9])
def test_a_module_repairs_blobs(memory):
    X, clean = blobs(300, n_classes=3, n_features=5, spread=1.0)
    noisy = add_label_noise(clean, 0.3, random_state=0)
    student = ModuleClassifier(
        Small,
        module_params={"width": 256},
        learning_rate=0.02,
        max_epochs=300,
        early_stopping=False,
        random_state=0,
    )
    plain = clone(student).fit(X, noisy.y)
    assert plain.score(X, noisy.y) > 0.85
    model = SelfDistillClassifier(student, memory=memory).fit(X, noisy.y)
    assert model.score(X, clean) > plain.score(X, clean) + 0.15
    assert model.score(X, clean) > 0.9


@pytest.mark.parametrize("seed", [0, 3])
def test_a_rare_class_is_kept_by_the_default_and_lost_by_accuracy(seed):
    rng = np.random.RandomState(seed)

    def draw(n):
        y = np.repeat([0, 1], [n - n // 20, n // 20])
        X = rng.normal(size=(n, 5))
        X[y == 1] += 6 / np.sqrt(5)
        return X, y

    (X, y), (X_test, y_test) = draw(400), draw(4000)
    net = TwoLayerPGDClassifier(
        32,
        learning_rate=0.5,
        momentum=0,
        max_iter=1000,
        early_stopping=False,
        n_init=1,
        random_state=0,
    )

    def recall(model):
        return (model.fit(X, y).predict(X_test[y_test == 1]) == 1).mean()

    plain = recall(clone(net))
    assert plain > 0.95
    assert recall(SelfDistillClassifier(net, schedule="accuracy", warm_up=0.02)) == 0
    assert recall(SelfDistillClassifier(net, warm_up=0.02)) > plain - 0.02


# Errors


class NoFit(BaseEstimator):
    pass


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(),
        make_pipeline(StandardScaler(), TwoLayerPGDClassifier()),
        DistilledClassifier(),
        SelfDistillClassifier(),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_other_estimators_are_refused(estimator):
    X, y, _ = noisy_blobs()
    model = SelfDistillClassifier(estimator)
    message = "must be a TwoLayerPGDClassifier or a ModuleClassifier, got a .*: put the steps of a"
    for call in (model.fit, model.find_label_errors):
        with pytest.raises(TypeError, match=message):
            call(X, y)
    assert not fitted_names(model)


@pytest.mark.parametrize(
    "options",
    [
        {"estimator": NoFit()},
        {"estimator": "network"},
        {"target": "sharp"},
        {"target_temperature": 0},
        {"target_temperature": -1.0},
        {"strength": -0.1},
        {"strength": "much"},
        {"schedule": "prior"},
        {"schedule": None},
        {"memory": 0.0},
        {"memory": 1.0},
        {"memory": 1},
        {"memory": "next-epoch"},
        {"warm_up": 1.0},
        {"warm_up": -0.1},
        {"random_state": "seed"},
        {"verbose": "loud"},
    ],
    ids=str,
)
def test_bad_parameters(options):
    X, y, _ = noisy_blobs()
    name = next(iter(options))
    with pytest.raises(ValueError, match=f"The '{name}' parameter of SelfDistillClassifier"):
        SelfDistillClassifier(**{"estimator": cheap(max_iter=2), **options}).fit(X, y)


def test_bad_parameters_of_the_network():
    X, y, _ = noisy_blobs()
    with pytest.raises(ValueError, match="The 'width' parameter of TwoLayerPGDClassifier"):
        SelfDistillClassifier(cheap(width=0)).fit(X, y)
    with pytest.raises(ValueError, match="width must be even"):
        SelfDistillClassifier(cheap(width=5)).fit(X, y)


def test_a_schedule_by_the_step_does_not_go_with_fixed_targets():
    X, y, _ = noisy_blobs()
    model = SelfDistillClassifier(cheap(), schedule="annealed", memory="previous-generation")
    with pytest.raises(ValueError, match=r"annealed.*set another memory or schedule"):
        model.fit(X, y)
    assert not fitted_names(model)


def test_checkpoints_are_refused_where_labels_change(tmp_path):
    X, y, _ = noisy_blobs()
    student = module(max_epochs=3, checkpoint_path=tmp_path / "fit.pt")
    with pytest.raises(ValueError, match="checkpoint_path cannot be used"):
        SelfDistillClassifier(student, memory=None).fit(X, y)
    assert not list(tmp_path.iterdir())


def test_a_callable_that_returns_no_number():
    X, y, _ = noisy_blobs()
    model = SelfDistillClassifier(cheap(early_stopping=False), schedule=lambda *_: None, warm_up=0)
    with pytest.raises(TypeError):
        model.fit(X, y)
    assert not fitted_names(model)

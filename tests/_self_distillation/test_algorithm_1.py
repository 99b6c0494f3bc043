"""Each step of SelfDistillClassifier is that of Algorithm 1, written naively."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings as hypothesis_settings, strategies as st
from numpy.testing import assert_allclose
from sklearn.base import clone
from torch import nn

from sklearn_kd import (
    SelfDistillClassifier,
)
from sklearn_kd._networks.module.fit_plan import select_validation_rows
from sklearn_kd._networks.tasks import ClassificationTask
from sklearn_kd._networks.training_data import TrainingData
from tests._helpers.references import naive_gradient, naive_proba
from tests._helpers.self_distillation import NaiveTargets, Small, few_rows, halfway, module, network

# these have tests of their own; here labels are often clean, or rows few
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.CleanLabelsWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.ClassCollapseWarning"),
]


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


@pytest.mark.slow
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
    for n_epochs in (1, 2, 7, 20):
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
    data = TrainingData(X, y, np.ones(len(X)), None, y, ClassificationTask(y.max() + 1))
    held = select_validation_rows(student, data, True, seeds[2])
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

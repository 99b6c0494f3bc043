"""ModuleClassifier is trained as by a plain loop: the loss, weights and early stopping."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax, xlogy
from sklearn.base import clone
from sklearn.datasets import load_digits
from torch import nn

from tests._helpers.data import blobs, one_hot, random_proba
from tests._helpers.modules import Small, assert_same, model
from tests._helpers.references import central_difference, naive_log_proba


class TwoOutputs(Small):
    """Has a logit for each of two classes."""

    def __init__(self, input_shape):
        super().__init__(input_shape, 2)


# The loss, against references


def start_of(n_classes=3, **params):
    """Weights that a fit with this module and random_state=0 starts from."""
    seed = np.random.RandomState(0).randint(2**31 - 1, size=4)[0]
    with torch.random.fork_rng():
        torch.manual_seed(int(seed))
        return Small((3,), 1 if n_classes == 2 else n_classes, **params)


def numpy_logits(weights, X):
    hidden, bias, out, out_bias = weights
    return np.maximum(X @ hidden.T + bias, 0) @ out.T + out_bias


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(("alpha", "temperature"), [(1.0, 1.0), (0.3, 1.0), (1.0, 4.0), (0.3, 4.0)])
def test_a_step_follows_the_gradient_of_the_two_term_loss(rng, n_classes, alpha, temperature):
    X, y = blobs(n_classes=n_classes)
    Q, w = random_proba(rng, len(y), n_classes), rng.uniform(0.1, 2, len(y))
    step = 1e-3
    fitted = model(
        optimizer="sgd",
        learning_rate=step,
        max_epochs=1,
        early_stopping=False,
        input_scaling=False,
        alpha=alpha,
        temperature=temperature,
    ).fit(X, y, sample_weight=w, soft_targets=Q)
    start = [p.detach().double().numpy() for p in start_of(n_classes).parameters()]
    tempered = softmax(np.log(Q) / temperature, axis=1)

    def loss(flat):
        weights = []
        for value in start:
            weights.append(flat[: value.size].reshape(value.shape))
            flat = flat[value.size :]
        F = numpy_logits(weights, X)
        soft = -(tempered * naive_log_proba(F / temperature)).sum(axis=1)
        hard = -(one_hot(y, n_classes) * naive_log_proba(F)).sum(axis=1)
        return np.average(alpha * temperature**2 * soft + (1 - alpha) * hard, weights=w)

    flat = np.concatenate([value.ravel() for value in start])
    moved = np.concatenate([value.ravel() for value in fitted.module_state_.values()]) - flat
    assert_allclose(moved, -step * central_difference(loss, flat), atol=1e-10)
    # the curve has no part that the targets do not allow to be less
    if temperature == 1:
        mixed = alpha * Q + (1 - alpha) * one_hot(y, n_classes)
        least = np.average(-xlogy(mixed, mixed).sum(axis=1), weights=w)
    else:
        entropy = -(tempered * np.log(tempered)).sum(axis=1)
        least = alpha * temperature**2 * np.average(entropy, weights=w)
    assert fitted.loss_curve_[0] == pytest.approx(loss(flat) - least, abs=1e-10)


def plain_loop(module, optimizer, X, y, n_steps):
    """Train with autograd and torch's own loss, all rows a step."""

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(module(X), y)
        loss.backward()
        return loss

    for _ in range(n_steps):
        optimizer.step(closure)


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("adam", torch.optim.Adam, {"betas": (0.8, 0.99)}),
        ("adamw", torch.optim.AdamW, {}),
        ("sgd", torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        (torch.optim.RMSprop, torch.optim.RMSprop, {}),
        (torch.optim.LBFGS, torch.optim.LBFGS, {"max_iter": 3}),
    ],
)
def test_full_batch_is_a_plain_loop(name, kind, options):
    X, y = blobs(n_classes=3)
    decay = 0.0 if kind is torch.optim.LBFGS else 0.01
    fitted = model(
        optimizer=name,
        optimizer_params=options,
        weight_decay=decay,
        early_stopping=False,
        input_scaling=False,
        max_epochs=20,
    ).fit(X, y)
    if decay:
        options = {**options, "weight_decay": decay}
    module = start_of().double()
    plain_loop(
        module, kind(module.parameters(), lr=0.02, **options), *map(torch.tensor, (X, y)), 20
    )
    for parameter, value in zip(module.parameters(), fitted.module_state_.values(), strict=True):
        assert_allclose(value, parameter.detach().numpy(), atol=1e-9)
    assert_allclose(fitted.decision_function(X), module(torch.tensor(X)).detach(), atol=1e-9)


def test_minibatches_are_as_accurate_as_a_plain_loop():
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    train, test = slice(0, 1200), slice(1200, None)
    options = {"early_stopping": False, "input_scaling": False, "max_epochs": 15, "batch_size": 64}
    ours, plain = [], []
    for seed in range(3):
        fitted = model(**{**options, "learning_rate": 1e-3}, random_state=seed)
        fitted.set_params(module_params={"width": 64})
        ours.append(fitted.fit(X[train], y[train]).score(X[test], y[test]))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            module = Small((64,), 10, width=64)
            optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
            rows, labels = torch.tensor(X), torch.tensor(y)
            for _ in range(15):
                for batch in torch.randperm(1200).split(64):
                    plain_loop(module, optimizer, rows[batch], labels[batch], 1)
            plain.append((module(rows[test]).argmax(1) == labels[test]).double().mean().item())
    assert np.mean(ours) == pytest.approx(np.mean(plain), abs=0.012)
    assert np.mean(ours) > 0.88


@pytest.mark.parametrize("early_stopping", [True, False])
def test_weights_are_copies_in_full_batch(rng, early_stopping):
    X, y = blobs(60, n_classes=3)
    Q, w = 0.5 * random_proba(rng, 60, 3) + 0.5 * one_hot(y, 3), rng.randint(0, 4, 60)
    fitted = model(early_stopping=early_stopping, alpha=0.5, temperature=2.0, max_epochs=300)
    weighted = clone(fitted).fit(X, y, sample_weight=w, soft_targets=Q)
    order = rng.permutation(w.sum())
    X2, y2, Q2 = (np.repeat(each, w, axis=0)[order] for each in (X, y, Q))
    repeated = clone(fitted).fit(X2, y2, soft_targets=Q2)
    assert weighted.n_iter_ == repeated.n_iter_
    assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), atol=1e-7)


def test_class_weight_multiplies():
    X, y = blobs(n_classes=3)
    factors = {0: 3.0, 1: 1.0, 2: 0.5}
    w = np.array([factors[label] for label in y])
    assert_same(
        model(class_weight=factors, max_epochs=20).fit(X, y),
        model(max_epochs=20).fit(X, y, sample_weight=w),
    )


def test_minibatches_weigh_rows():
    X, y = blobs(200, spread=3.0)
    heavy = np.where(y == 1, 20.0, 1.0)
    fits = [model(batch_size=32).fit(X, y, sample_weight=w) for w in (None, heavy)]
    shares = [(fitted.predict(X) == 1).mean() for fitted in fits]
    assert shares[1] > shares[0] + 0.1


def test_two_outputs_for_two_classes():
    X, y = blobs()
    fitted = model(TwoOutputs).fit(X, y)
    assert fitted.decision_function(X).shape == (len(X),)
    assert fitted.module_state_["out.weight"].shape == (2, 8)
    assert fitted.score(X, y) > 0.9
    frozen = start_of(2)
    assert frozen.out.out_features == 1


def flat_output(input_shape, n_outputs):
    return nn.Sequential(nn.Linear(input_shape[0], n_outputs), nn.Flatten(0))


def test_one_number_a_row_for_two_classes():
    X, y = blobs()
    assert model(flat_output).fit(X, y).score(X, y) > 0.9


def test_alpha_above_one_needs_a_bound(rng):
    X, y = blobs()
    Q = random_proba(rng, len(y), 2)
    with pytest.raises(ValueError, match=r"no least value: set weight_decay or early_stopping"):
        model(alpha=1.5, early_stopping=False).fit(X, y, soft_targets=Q)
    with pytest.raises(ValueError, match="temperature=1 only"):
        model(alpha=1.5, temperature=2.0).fit(X, y, soft_targets=Q)
    fitted = model(alpha=1.5, early_stopping=False, weight_decay=0.1).fit(X, y, soft_targets=Q)
    assert np.isfinite(fitted.loss_curve_).all()


# Early stopping


@pytest.mark.parametrize("batch_size", [None, 32])
def test_early_stopping_restores_the_best_weights(batch_size):
    X, y = blobs(120, spread=4.0)
    options = {"module_params": {"width": 64}, "learning_rate": 0.1, "batch_size": batch_size}
    fitted = model(**options, max_epochs=400, n_iter_no_change=7).fit(X, y)
    assert fitted.termination_condition_ == "early_stopping"
    assert fitted.n_iter_ == fitted.best_iter_ + 7
    assert fitted.best_iter_ == np.argmin(fitted.validation_loss_curve_) + 1
    assert len(fitted.loss_curve_) == len(fitted.validation_loss_curve_) == fitted.n_iter_
    shorter = model(**options, max_epochs=fitted.best_iter_, n_iter_no_change=7).fit(X, y)
    for name, value in fitted.module_state_.items():
        assert_array_equal(shorter.module_state_[name], value)

import functools
import math
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import skorch
import torch
from conftest import (
    FIXED,
    blobs,
    central_difference,
    fitted_names,
    naive_log_proba,
    one_hot,
    random_proba,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax, xlogy
from sklearn.base import clone
from sklearn.callback import ScoringMonitor
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from torch import nn

from sklearn_kd import DistilledClassifier, ModuleClassifier
from sklearn_kd._augment import make_augmentation
from sklearn_kd._module_training import _held_rows
from sklearn_kd.exceptions import DivergenceError, EarlyStoppingWarning


class Small(nn.Module):
    """One hidden layer, and what the parameters ask for."""

    def __init__(self, input_shape, n_outputs, width=8, norm=False, dropout=0.0):
        super().__init__()
        self.hidden = nn.Linear(math.prod(input_shape), width)
        self.norm = nn.BatchNorm1d(width) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, n_outputs)

    def forward(self, x):
        return self.out(self.dropout(torch.relu(self.norm(self.hidden(x.flatten(1))))))


class TwoOutputs(Small):
    """Has a logit for each of two classes."""

    def __init__(self, input_shape):
        super().__init__(input_shape, 2)


class Convolutional(nn.Module):
    def __init__(self, input_shape, n_outputs, channels=8):
        super().__init__()
        self.convolution = nn.Conv2d(input_shape[0], channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.out = nn.Linear(channels * 4, n_outputs)

    def forward(self, x):
        x = torch.relu(self.norm(self.convolution(x)))
        return self.out(nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))


FAST = {"learning_rate": 0.02, "max_epochs": 60, "random_state": 0}


def model(module=Small, **options):
    return ModuleClassifier(module, **{**FAST, **options})


def assert_same(first, second):
    assert first.module_state_.keys() == second.module_state_.keys()
    for name, value in first.module_state_.items():
        assert_array_equal(value, second.module_state_[name], err_msg=name)
    assert first.loss_curve_ == second.loss_curve_
    assert first.validation_loss_curve_ == second.validation_loss_curve_
    assert (first.n_iter_, first.best_iter_) == (second.n_iter_, second.best_iter_)


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


# Modes, generators, batches


class Spy(Small):
    """Writes down each call."""

    calls = []

    def forward(self, x):
        Spy.calls.append((self.training, torch.is_grad_enabled(), len(x), self.norm.training))
        return super().forward(x)


class Predicts(skorch.callbacks.Callback):
    def on_epoch_begin(self, net, dataset_valid=None, **_):
        net.predict_proba(dataset_valid.X)

    def on_batch_begin(self, net, batch=None, **_):
        net.predict(np.asarray(batch[0]))


@pytest.mark.parametrize("callbacks", [None, [Predicts()]])
@pytest.mark.parametrize("batch_size", [None, 64])
def test_modes(callbacks, batch_size):
    X, y = blobs(150)
    Spy.calls = []
    fitted = model(
        Spy,
        module_params={"norm": True, "dropout": 0.5},
        callbacks=callbacks,
        batch_size=batch_size,
        max_epochs=3,
    ).fit(X, y)
    in_steps = [call for call in Spy.calls if call[1]]
    others = [call for call in Spy.calls if not call[1]]
    n_steps = 3 if batch_size is None else 9
    assert len(in_steps) == n_steps
    assert all(training and norm for training, _, _, norm in in_steps)
    # the look at its outputs, held-out rows, and a prediction an epoch and a step
    assert len(others) == 1 + 3 + (callbacks is not None) * (3 + n_steps)
    assert not any(training or norm for training, _, _, norm in others)
    assert sum(n for _, _, n, _ in in_steps) == 3 * (135 if batch_size is None else 134)
    assert fitted.module_state_["norm.num_batches_tracked"] == fitted.best_iter_ * n_steps // 3
    Spy.calls = []
    first = fitted.predict_proba(X)
    assert_array_equal(first, fitted.predict_proba(X))
    assert [call[:2] for call in Spy.calls] == [(False, False)] * 2
    assert_allclose(first, np.vstack([fitted.predict_proba(x[None]) for x in X]), atol=1e-12)


@pytest.mark.parametrize("n", [65, 129, 193])
def test_no_batch_of_a_single_row(n):
    X, y = blobs(n)
    Spy.calls = []
    params = {"module_params": {"norm": True}, "batch_size": 64, "early_stopping": False}
    model(Spy, **params, max_epochs=1).fit(X, y)
    sizes = [n for training, _, n, _ in Spy.calls if training]
    assert sum(sizes) == n
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= 64


class Moody(Small):
    """Draws a number when it predicts, too."""

    def forward(self, x):
        return super().forward(x) + 1e-3 * torch.randn(1, dtype=x.dtype)


@pytest.mark.parametrize("options", [{}, {"batch_size": 16}])
def test_same_seed_same_bits_and_global_generators_are_left_alone(options):
    X, y = blobs()
    options = {**options, "module_params": {"dropout": 0.5}, "max_epochs": 5}
    before = torch.get_rng_state(), np.random.get_state()[1]
    first = model(Moody, **options).fit(X, y)
    proba = first.predict_proba(X)
    assert_array_equal(torch.get_rng_state(), before[0])
    assert_array_equal(np.random.get_state()[1], before[1])
    torch.rand(3), np.random.rand(3)
    second = model(Moody, **options).fit(X, y)
    assert_same(first, second)
    assert_array_equal(pickle.loads(pickle.dumps(second)).predict_proba(X), proba)
    other = model(Moody, **{**options, "random_state": 1}).fit(X, y)
    assert not np.array_equal(other.predict_proba(X), proba)
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="logits of shape"):
        model(Moody, module_params={"n_outputs": 5}).fit(X, y)
    assert_array_equal(torch.get_rng_state(), before)


def test_float32_starts_and_ends_near_float64():
    X, y = blobs(n_classes=3, dtype=np.float32)
    fits = [model().fit(X.astype(dtype), y) for dtype in (np.float32, np.float64)]
    for fitted, dtype in zip(fits, (np.float32, np.float64), strict=True):
        assert fitted.module_state_["out.weight"].dtype == dtype
        assert fitted.predict_proba(X).dtype == dtype
    assert_allclose(fits[0].predict_proba(X), fits[1].predict_proba(X), atol=1e-3)


# Early stopping, schedules, scaling


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


def test_nothing_to_hold_out_warns():
    X, y = np.zeros((4, 2)), [0, 1, 0, 1]
    with pytest.warns(EarlyStoppingWarning, match="no row to hold out"):
        fitted = model(max_epochs=5).fit(X, y)
    assert fitted.validation_loss_curve_ is None
    assert fitted.n_iter_ == fitted.best_iter_ == 5


@pytest.mark.parametrize("in_full", [True, False])
def test_a_class_keeps_a_row_to_train_on(in_full):
    X, y = blobs(60)
    X, y = np.vstack([X, [[9.0, 9.0, 9.0]]]), np.append(y, 2)
    for seed in range(20):
        held = _held_rows(model(), X, y, np.ones(61), in_full, seed)
        assert 5 <= held.sum() <= 7
        assert not held[-1]


class Rates(skorch.callbacks.Callback):
    seen = []

    def on_batch_end(self, net, **_):
        Rates.seen.append(net.optimizer_.param_groups[0]["lr"])


@pytest.mark.parametrize(
    ("scheduler", "params", "expected"),
    [
        (None, None, lambda t: 1.0),
        ("cosine", None, lambda t: 0.5 + 0.5 * math.cos(math.pi * (t // 2) / 6)),
        ("step", None, lambda t: 0.1 ** (t // 2 // 2)),
        ("step", {"step_size": 1, "gamma": 0.5}, lambda t: 0.5 ** (t // 2)),
        (torch.optim.lr_scheduler.ExponentialLR, {"gamma": 0.9}, lambda t: 0.9 ** (t // 2)),
        (torch.optim.lr_scheduler.ReduceLROnPlateau, {"patience": 100}, lambda t: 1.0),
        ("one-cycle", None, None),
    ],
)
def test_schedules(scheduler, params, expected):
    X, y = blobs(60)
    Rates.seen = []
    model(
        scheduler=scheduler,
        scheduler_params=params,
        optimizer="sgd",
        max_epochs=6,
        batch_size=30,
        early_stopping=False,
        callbacks=[Rates],
    ).fit(X, y)
    assert len(Rates.seen) == 12
    if scheduler == "one-cycle":  # read after each step: up to the rate and down to nothing
        assert 0.016 < max(Rates.seen) <= 0.02
        assert Rates.seen[-1] < 0.1 * max(Rates.seen)
    else:
        assert_allclose(Rates.seen, [0.02 * expected(t) for t in range(12)], rtol=1e-6)


@pytest.mark.parametrize("image_shape", [None, (1, 8, 8)])
def test_scaled_inputs_train_alike(image_shape):
    X, y = load_digits(return_X_y=True)
    X, y = X[:300], y[:300]
    options = {"image_shape": image_shape, "max_epochs": 30}
    first = model(**options).fit(X, y)
    assert first.input_offset_.shape == first.input_scale_.shape == (64,)
    for other in (X.astype(np.uint8), 16 - X, 1e5 * X - 3e7):
        again = model(**options).fit(other, y)
        # a mirrored column is another start
        assert again.score(other, y) == pytest.approx(first.score(X, y), abs=0.04)
    assert first.score(X, y) > 0.95
    scaled = (X - first.input_offset_) / first.input_scale_
    if image_shape is None:
        assert_allclose(scaled.std(axis=0)[X.std(axis=0) > 0], 1, rtol=1e-9)
        assert_allclose(scaled.mean(axis=0), 0, atol=1e-9)
    else:
        assert_allclose([scaled.mean(), scaled.std()], [0, 1], atol=1e-9)
        assert len(np.unique(first.input_scale_)) == 1


def test_channels_are_scaled_each_by_itself(rng):
    X = rng.uniform(0, [[1.0], [255.0], [3.0]], (40, 3, 16)).reshape(40, 48)
    w = rng.uniform(0.1, 2, 40)
    y = (X[:, 0] > 0.5).astype(int)
    fitted = model(image_shape=(3, 4, 4), max_epochs=1).fit(X, y, sample_weight=w)
    channels = ((X - fitted.input_offset_) / fitted.input_scale_).reshape(40, 3, 16)
    mean = np.average(channels.mean(axis=2), axis=0, weights=w)
    assert_allclose(mean, 0, atol=1e-9)
    assert_allclose(np.average((channels**2).mean(axis=2), axis=0, weights=w), 1, rtol=1e-9)
    raw = model(image_shape=(3, 4, 4), input_scaling=False, max_epochs=1).fit(X, y)
    assert (raw.input_offset_ == 0).all()
    assert (raw.input_scale_ == 1).all()


# Images and augmentation


@pytest.mark.parametrize(
    "augmentation", [None, "shift", ["shift", "crop"], {"noise": 0.2, "shift": 1}]
)
def test_images(augmentation):
    X, y = load_digits(return_X_y=True)
    X = X[:500].astype(np.float32)
    fitted = model(
        Convolutional,
        image_shape=[1, 8, 8],
        augmentation=augmentation,
        max_epochs=30,
        batch_size=50,
        module_params={"channels": 16},
    )
    assert fitted.fit(X, y[:500]).score(X, y[:500]) > 0.8
    assert_same(fitted, clone(fitted).fit(X, y[:500]))
    assert_allclose(
        pickle.loads(pickle.dumps(fitted)).predict_proba(X[:5]), fitted.predict_proba(X)[:5], 1e-4
    )


def test_augmentations_change_each_image_by_itself():
    images = torch.rand(2000, 3, 6, 5, generator=torch.Generator().manual_seed(0))

    def augmented(what, seed=0):
        generator = torch.Generator().manual_seed(seed)
        return make_augmentation(what, (3, 6, 5))(images, generator)

    padded = nn.functional.pad(images, (2, 2, 2, 2), mode="replicate")
    windows = {
        (i, j): padded[:, :, i : i + 6, j : j + 5].flatten(1) for i in range(5) for j in range(5)
    }
    shifted = augmented("shift").flatten(1)
    hits = torch.stack([(shifted == window).all(1) for window in windows.values()])
    assert hits.any(0).all()  # each image is one of the 25 views of it
    assert_allclose(hits.double().mean(1), 1 / 25, atol=0.02)
    flipped = augmented({"flip": 0.25})
    is_flipped = (flipped == images.flip(-1)).flatten(1).all(1)
    assert ((flipped == images).flatten(1).all(1) ^ is_flipped).all()
    assert is_flipped.double().mean() == pytest.approx(0.25, abs=0.03)
    noise = augmented({"noise": 0.3}) - images
    assert_allclose([noise.mean(), noise.std()], [0, 0.3], atol=0.01)
    cropped = augmented({"crop": 3})
    assert (cropped.flatten(1).amax(1) <= images.flatten(1).amax(1) + 1e-6).all()
    ramp = torch.arange(5.0).expand(2000, 3, 6, 5)  # enlarged: a ramp of less steep steps
    steps = make_augmentation({"crop": 3}, (3, 6, 5))(ramp, torch.Generator().manual_seed(0))
    slope = (steps[:, 0, 3, 3] - steps[:, 0, 3, 1]) / 2
    assert slope.min() > 0.3
    assert slope.max() <= 1 + 1e-5
    for what in ("shift", "crop", "flip", "noise"):
        assert torch.equal(augmented(what), augmented(what))
        assert not torch.equal(augmented(what), augmented(what, seed=1))
        assert augmented(what).shape == images.shape
    assert torch.equal(augmented(["flip", "shift"]), augmented({"flip": True, "shift": True}))
    assert make_augmentation({"shift": 0}, (1, 4, 4)) is None


def test_a_callable_augments_scaled_batches():
    X, y = blobs(50)
    seen = []

    def augment(batch, generator):
        seen.append(batch)
        return batch + 0.01 * torch.randn(batch.shape, generator=generator, dtype=batch.dtype)

    fits = [model(augmentation=augment, max_epochs=3).fit(100 + X, y) for _ in range(2)]
    assert_same(*fits)
    assert abs(seen[0].mean()) < 0.2


@pytest.mark.parametrize(
    ("augmentation", "message"),
    [
        ("turn", "knows no 'turn'; use shift, crop, flip, noise"),
        ("shift", "is for images: set image_shape"),
        ({"noise": -1.0}, "must be a number >= 0"),
        ({"noise": float("nan")}, "must be a number >= 0"),
        ({"flip": "often"}, "must be a number >= 0"),
        ({"shift": 1.5}, "must be whole pixels"),
        (["noise", "noise"], "names a change twice"),
    ],
)
def test_augmentations_that_cannot_be(augmentation, message):
    X, y = blobs()
    with pytest.raises(ValueError, match=message):
        model(augmentation=augmentation).fit(X, y)


def test_labels_recomputed_on_what_the_module_sees():
    X, y = load_digits(return_X_y=True)
    X, y = X[:200], y[:200]
    teacher = LogisticRegression(max_iter=500).fit(X / 16, y)
    seen = []

    def label(rows):
        seen.append(rows)
        return teacher.predict_proba(rows / 16)

    student = model(image_shape=(1, 8, 8), augmentation="shift", max_epochs=40, batch_size=50)
    soft = teacher.predict_proba(X / 16)
    student.fit(X, y, soft_targets=soft, labeler=label)
    rows = np.vstack(seen)
    assert rows.shape[1] == 64
    assert rows.min() == pytest.approx(0, abs=1e-9)  # in the units of X
    assert rows.max() == pytest.approx(16)
    assert student.score(X, y) > 0.9
    # a teacher that always says the same is believed, whatever the targets that came along
    student.set_params(early_stopping=False).fit(
        X, y, soft_targets=soft, labeler=lambda rows: np.full((len(rows), 10), 0.1)
    )
    assert_allclose(student.predict_proba(X), 0.1, atol=0.05)
    with pytest.raises(ValueError, match=r"shape \(50, 10\), a column for each .* got \(50, 3\)"):
        student.fit(X, y, soft_targets=soft, labeler=lambda rows: np.ones((len(rows), 3)))
    for options in ({}, {"soft_targets": soft}):
        with pytest.raises(ValueError, match="set augmentation and pass soft_targets"):
            model().fit(X, y, labeler=label, **options)


@pytest.mark.parametrize("as_frame", [False, True])
def test_a_distilled_student_gets_labels_of_what_it_sees(as_frame):
    import pandas as pd

    X, y = load_digits(return_X_y=True)
    X, y = X[:300] / 16, y[:300]
    if as_frame:
        X = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(64)])
    student = model(image_shape=(1, 8, 8), augmentation="shift", max_epochs=30, batch_size=50)
    options = {"cv": 2, "random_state": 0, "alpha": 1.0}
    teacher = LogisticRegression(max_iter=500)
    fixed, anew = (
        DistilledClassifier(teacher, student, augmented_labels=labels, **{**FIXED, **options}).fit(
            X, y
        )
        for labels in ("fixed", "recomputed")
    )
    moved = np.roll(np.asarray(X).reshape(-1, 8, 8), 2, axis=1).reshape(-1, 64)
    moved = pd.DataFrame(moved, columns=X.columns) if as_frame else moved
    # a shift by two rows makes another digit of a digit, for the teacher
    told = [(each.predict(moved) == anew.teacher_.predict(moved)).mean() for each in (fixed, anew)]
    assert told[1] > told[0] + 0.1
    with pytest.raises(ValueError, match="not a pipeline; it is a LogisticRegression"):
        anew.set_params(student=teacher).fit(X, y)
    with pytest.raises(ValueError, match="needs the teacher, which soft_targets replace"):
        anew.set_params(student=student).fit(X, y, soft_targets=one_hot(y, 10))


# Errors that say what to change


def test_a_module_in_place_of_a_class():
    X, y = blobs()
    with pytest.raises(TypeError, match=r"instance of Linear: pass module=Linear and what"):
        model(nn.Linear(3, 1)).fit(X, y)
    with pytest.raises(TypeError, match=r"must make a torch.nn.Module, made a dict"):
        model(dict).fit(X, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"module_params": {"n_outputs": 4}}, r"for 3 classes .* \(n, 3\), it returned \(n, 4\)"),
        ({"module_params": {"input_shape": (7,)}}, r"cannot take a batch of shape \(n, 3\)"),
        ({"image_shape": (1, 2, 2)}, r"\(1, 2, 2\) takes 4 numbers a row, X has 3 features"),
        ({"optimizer": "adamax"}, "'adamax' is not known: use adam, adamw, sgd"),
        ({"optimizer_params": {"nesterov": True}}, r"optimizer_params does not suit torch.*nest"),
        ({"scheduler": "linear"}, "'linear' is not known: use cosine, step, one-cycle"),
        ({"scheduler": "step", "scheduler_params": {"T": 1}}, "scheduler_params does not suit"),
        ({"mixed_precision": True, "device": "cpu"}, "needs a CUDA device and float32 rows"),
        ({"warm_start": True, "checkpoint_path": "x"}, "set one of them only"),
        ({"learning_rate": 1e30, "optimizer": "sgd"}, None),
    ],
)
def test_errors_leave_nothing_fitted(options, message):
    X, y = blobs(n_classes=3)
    fitted = model(**options)
    error = ValueError
    if message is None:
        error, message = DivergenceError, r"loss was .* in epoch \d+: choose a learning_rate below"
    with pytest.raises(error, match=message):
        fitted.fit(X, y)
    assert not fitted_names(fitted)
    good = model().fit(X, y)
    before = good.predict_proba(X)
    with pytest.raises(error, match=message):
        good.set_params(**options).fit(X, y)
    good.set_params(**{name: model().get_params()[name] for name in options})
    assert_array_equal(good.predict_proba(X), before)


class Hungry(Small):
    def forward(self, x):
        if self.training:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 PiB")
        return super().forward(x)


def test_out_of_memory():
    X, y = blobs()
    with pytest.raises(MemoryError, match=r"set a smaller batch_size.*Tried to allocate 1 PiB"):
        model(Hungry).fit(X, y)

    def vast(input_shape, n_outputs):
        return nn.Linear(2**50, 2)

    with pytest.raises(MemoryError, match="memory is full: set a smaller batch_size"):
        model(vast).fit(X, y)


def test_weights_that_no_longer_fit():
    X, y = blobs()
    fitted = model().fit(X, y).set_params(module_params={"width": 4})
    with pytest.raises(ValueError, match=r"module_state_ does not fit .* call fit again"):
        pickle.loads(pickle.dumps(fitted)).predict(X)
    with pytest.raises(ValueError, match="does not fit"):
        fitted.partial_fit(X, y)


# Interrupts and callbacks


class Interrupted(Small):
    after = 40
    how = "raise"

    def forward(self, x):
        if self.training:
            self.steps = getattr(self, "steps", 0) + 1
            if self.steps == self.after:
                if self.how == "raise":
                    raise KeyboardInterrupt("stop it")
                signal.raise_signal(signal.SIGINT)
        return super().forward(x)


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("batch_size", [None, 32])
@pytest.mark.parametrize("how", ["raise", "signal"])
def test_an_interrupt_keeps_the_best_weights_and_is_raised_on(
    monkeypatch, early_stopping, batch_size, how
):
    X, y = blobs()
    monkeypatch.setattr(Interrupted, "how", how)
    fitted = model(Interrupted, early_stopping=early_stopping, batch_size=batch_size)
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(X, y)
    assert fitted.termination_condition_ == "interrupted"
    assert 0 < fitted.n_iter_ < 40
    assert fitted.score(X, y) > 0.9
    monkeypatch.setattr(Interrupted, "after", -1)
    assert fitted.fit(X, y).termination_condition_ != "interrupted"


def test_an_interrupt_while_weights_are_no_numbers_leaves_nothing_fitted(monkeypatch):
    X, y = blobs()
    monkeypatch.setattr(Interrupted, "after", 3)
    options = {"early_stopping": False, "optimizer": "sgd", "learning_rate": 1e300}
    fitted = model(Interrupted, batch_size=16, **options)
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(X * 1e10, y)
    assert not fitted_names(fitted)


class CtrlC(skorch.callbacks.Callback):
    def on_epoch_end(self, net, **_):
        if len(net.history) == 3:
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_inside_a_callback_is_no_wish_to_stop():
    X, y = blobs()
    fitted = model(callbacks=[CtrlC()])
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(X, y)
    assert fitted.termination_condition_ == "interrupted"
    assert fitted.n_iter_ == 3


class StopsAtOnce(skorch.callbacks.Callback):
    def on_train_begin(self, net, **_):
        raise KeyboardInterrupt


class StopsAtAStep(skorch.callbacks.Callback):
    def on_grad_computed(self, net, **_):
        raise KeyboardInterrupt


@pytest.mark.parametrize("callback", [StopsAtOnce, StopsAtAStep])
def test_a_callback_may_stop_in_the_first_epoch(callback, tmp_path):
    X, y = blobs()
    fitted = model(callbacks=[callback], checkpoint_path=tmp_path / "fit.pt", verbose=1).fit(X, y)
    assert fitted.termination_condition_ == "callback"
    assert fitted.loss_curve_ == fitted.validation_loss_curve_ == []
    assert np.isfinite(fitted.predict_proba(X)).all()


def test_skorch_callbacks():
    X, y = blobs(100, spread=4.0)
    stopping = skorch.callbacks.EarlyStopping(monitor="valid_loss", patience=3)
    recorded = []

    class Records(skorch.callbacks.Callback):
        def on_train_end(self, net, X=None, y=None, **_):
            recorded.append((list(net.history), X, y))

    scoring = skorch.callbacks.EpochScoring("accuracy", lower_is_better=False, name="valid_acc")
    batches = skorch.callbacks.BatchScoring(
        lambda net, X, y: 0.5, name="half", on_train=True, target_extractor=lambda y: y[0]
    )
    fitted = model(
        callbacks=[("stop", stopping), Records, scoring, batches],
        max_epochs=500,
        n_iter_no_change=500,
        learning_rate=0.1,
        module_params={"width": 64},
    ).fit(X, y)
    assert fitted.termination_condition_ == "callback"
    history, rows, labels = recorded[0]
    assert len(history) == fitted.n_iter_
    assert_allclose([each["train_loss"] for each in history], fitted.loss_curve_)
    assert_allclose([each["valid_loss"] for each in history], fitted.validation_loss_curve_)
    assert all(0 <= each["valid_acc"] <= 1 for each in history[:-1])
    assert history[0]["half"] == 0.5
    assert set(labels) == {0, 1}
    assert len(rows) == len(labels) == 90
    assert history[0]["train_loss_best"]
    assert stopping.misses_ == 0, "the user's own instance is left alone"
    # what does not change training changes no bit
    plain = model(max_epochs=5).fit(X, y)
    assert_same(plain, model(max_epochs=5, callbacks=[scoring, Records()]).fit(X, y))


def test_sklearn_callbacks_and_output(capsys):
    X, y = blobs()
    monitor = ScoringMonitor(scoring=["accuracy", "neg_log_loss"])
    fitted = model(max_epochs=30, verbose=1, early_stopping=False).set_callbacks(monitor).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 30
    assert lines[0].startswith("[ModuleClassifier] epoch 1/30: loss ")
    data = monitor.get_logs(select="most_recent").data_as_pandas
    data = data[data["task_name"] == "epochs"]
    # the loss before step t + 1 is the score after step t
    assert_allclose(-data["neg_log_loss"].to_numpy()[:-1], fitted.loss_curve_[1:], rtol=1e-6)
    assert data["accuracy"].iloc[-1] == fitted.score(X, y)


# Going on


def test_warm_start_goes_on():
    X, y = blobs(n_classes=3)
    options = {"optimizer": "sgd", "early_stopping": False, "warm_start": True}
    fitted = model(**options, max_epochs=10).fit(X, y)
    first = fitted.loss_curve_
    fitted.fit(X, y)
    whole = model(**{**options, "warm_start": False}, max_epochs=20).fit(X, y)
    assert_allclose(first + fitted.loss_curve_, whole.loss_curve_, rtol=1e-12)
    assert_allclose(fitted.predict_proba(X), whole.predict_proba(X), rtol=1e-12)
    offset = fitted.input_offset_
    fitted.fit(X[y < 2] + 5, y[y < 2])
    assert fitted.predict_proba(X).shape == (len(X), 3)
    assert_array_equal(fitted.input_offset_, offset)
    with pytest.raises(ValueError, match="not among the classes"):
        fitted.fit(X, y + 1)


def test_partial_fit_goes_on_with_the_optimizer(rng):
    X, y = blobs(90, n_classes=3)
    options = {"batch_size": None, "early_stopping": False, "max_epochs": 6}
    whole = model(**options).fit(X, y)
    parts = model(**options)
    with pytest.raises(ValueError, match="classes must be passed"):
        parts.partial_fit(X, y)
    for _ in range(6):
        parts = pickle.loads(pickle.dumps(parts.partial_fit(X, y, classes=[0, 1, 2])))
        assert parts.n_iter_ == 1
    assert_allclose(parts.predict_proba(X), whole.predict_proba(X), rtol=1e-10)
    assert b"torch" not in pickle.dumps(parts)
    with pytest.raises(ValueError, match="not what the first call"):
        parts.partial_fit(X, y, classes=[0, 1])
    parts.set_params(learning_rate=1e-9).partial_fit(X[:1], y[:1])
    assert_allclose(parts.predict_proba(X), whole.predict_proba(X), atol=1e-6)
    parts.set_params(optimizer="sgd").partial_fit(X, y)  # another: begins anew
    with pytest.raises(ValueError, match="needs all rows at once"):
        parts.set_params(class_weight="balanced").partial_fit(X, y)


# Checkpoints

RESUMABLE = {
    "module_params": {"dropout": 0.3, "norm": True},
    "batch_size": 16,
    "augmentation": "noise",
    "scheduler": "cosine",
    "max_epochs": 40,
    "n_iter_no_change": 40,
}


def checkpointed(path=None, **options):
    return model(**{**RESUMABLE, **options}, checkpoint_path=path)


class Dies(skorch.callbacks.Callback):
    """Ends the process, or the fit, after some epochs."""

    def __init__(self, after, pause=0.0):
        self.after, self.pause = after, pause

    def on_epoch_begin(self, net, **_):
        time.sleep(self.pause)
        if len(net.losses) == self.after:
            raise RuntimeError("killed")


@pytest.mark.parametrize(
    ("early_stopping", "scheduler", "optimizer"),
    [
        (True, "cosine", "adam"),
        (False, "one-cycle", "adamw"),
        (True, "step", "sgd"),
        (False, None, "adam"),
    ],
)
def test_resumed_is_the_same_bit_for_bit(tmp_path, early_stopping, scheduler, optimizer):
    X, y = blobs(100, n_classes=3)
    options = {"early_stopping": early_stopping, "scheduler": scheduler, "optimizer": optimizer}
    whole = checkpointed(**options).fit(X, y)
    path = tmp_path / "fit.pt"
    for after in (1, 7, 20):
        with pytest.raises(RuntimeError, match="killed"):
            checkpointed(path, **options, callbacks=[Dies(after, 0.02)]).fit(X, y)
    assert_same(checkpointed(path, **options).fit(X, y), whole)
    assert [file.name for file in tmp_path.iterdir()] == ["fit.pt"]
    # what has ended returns at once
    done = checkpointed(path, **options, callbacks=[Dies(40)]).fit(X, y)
    assert_same(done, whole)
    assert_array_equal(done.predict_proba(X), whole.predict_proba(X))


@pytest.mark.slow
def test_sigkill(tmp_path):
    path = tmp_path / "fit.pt"
    code = """
import sys
sys.path[:0] = [sys.argv[2]]
from test_module import Dies, blobs, checkpointed
import numpy as np
X, y = blobs(100, n_classes=3)
pause = float(sys.argv[3])
fitted = checkpointed(sys.argv[1], callbacks=[Dies(-1, pause)] if pause else None).fit(X, y)
np.savez(sys.argv[1] + ".npz", **fitted.module_state_)
"""

    def start(path, pause):
        arguments = [str(path), str(Path(__file__).parent), str(pause)]
        return subprocess.Popen([sys.executable, "-c", code, *arguments])

    process = start(path, 0.1)
    for _ in range(1200):
        if path.exists():
            break
        time.sleep(0.05)
    time.sleep(0.5)  # some epochs on
    process.kill()
    assert process.wait() == -signal.SIGKILL
    n_done = len(torch.load(path, weights_only=True)["losses"])
    assert 0 < n_done < 40
    assert start(path, 0).wait(timeout=120) == 0
    X, y = blobs(100, n_classes=3)
    expected = checkpointed().fit(X, y).module_state_
    with np.load(f"{path}.npz") as resumed:
        assert set(resumed.files) == expected.keys()
        for name in resumed.files:
            assert_array_equal(resumed[name], expected[name])


def test_more_epochs_after_the_end(tmp_path):
    X, y = blobs(100)
    options = {"scheduler": None, "random_state": None}
    path = tmp_path / "fit.pt"
    short = checkpointed(path, **options, max_epochs=10).fit(X, y)
    longer = checkpointed(path, **options, max_epochs=30).fit(X, y)
    assert longer.n_iter_ == 30
    assert longer.loss_curve_[:10] == short.loss_curve_
    again = checkpointed(path, **options, max_epochs=30).fit(X, y)
    assert_same(again, longer)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"learning_rate": 0.5}, "learning_rate"),
        ({"module_params": {"width": 4}, "alpha": 0.5}, "alpha, module_params"),
        ({"module": functools.partial(Small, width=4)}, "module"),
        ({"max_epochs": 50}, "scheduler"),
        ({"random_state": 1}, "random_state"),
        ("X", "X"),
        ("y", "y"),
        ("sample_weight", "sample_weight"),
        ("soft_targets", "soft_targets"),
    ],
)
def test_a_checkpoint_of_another_fit(tmp_path, change, named):
    X, y = blobs(50)
    path = tmp_path / "fit.pt"
    checkpointed(path, module=Small).fit(X, y)
    data, fitted = {"X": X, "y": y}, checkpointed(path)
    if isinstance(change, dict):
        fitted.set_params(**change)
    else:
        other = {"X": X + 1, "y": 1 - y, "sample_weight": 1.0 + y, "soft_targets": one_hot(y, 2)}
        data[change] = other[change]
    with pytest.raises(ValueError, match=rf"differs in {named}: delete the file"):
        fitted.fit(**data)
    assert not fitted_names(fitted)
    path.write_text("nothing")
    with pytest.raises(ValueError, match="is not a checkpoint"):
        fitted.fit(X, y)


# With the others


def test_grid_over_width_and_distillation_both_ways():
    X, y = blobs(150, n_classes=3, spread=2.5)
    grid = {"module_params": [{"width": 2}, {"width": 16}]}
    search = GridSearchCV(model(), grid, cv=2, scoring="neg_log_loss").fit(X, y)
    narrow, wide = search.cv_results_["mean_test_score"]
    assert wide > narrow
    for teacher, student in (
        (LogisticRegression(), model()),
        (model(), LogisticRegression()),
        (model(module_params={"width": 32}), model(module_params={"width": 4})),
    ):
        distilled = DistilledClassifier(teacher, student, **FIXED).fit(X, y)
        assert distilled.score(X, y) > 0.75


def test_soft_targets_that_name_a_class_absent_from_y():
    import pandas as pd

    X, y = blobs(90, n_classes=3)
    Q = LogisticRegression().fit(X, y).predict_proba(X)
    kept = y != 2
    frame = pd.DataFrame(Q[kept], columns=[0, 1, 2])
    fitted = model(max_epochs=300).fit(X[kept], y[kept], soft_targets=frame)
    assert fitted.classes_.tolist() == [0, 1, 2]
    assert abs(fitted.predict_proba(X[kept])[:, 2] - Q[kept, 2]).mean() < 0.02


# What a second reader found


class InPlace(nn.Module):
    def __init__(self, input_shape, n_outputs, inplace):
        super().__init__()
        self.drop = nn.Dropout(0.2, inplace=inplace)
        self.out = nn.Linear(input_shape[0], n_outputs)

    def forward(self, x):
        return self.out(self.drop(x))


@pytest.mark.parametrize("options", [{}, {"batch_size": 16}])
def test_modules_and_augmentations_may_write_over_their_batch(options):
    X, y = blobs()
    before = X.copy()
    two = [
        model(InPlace, module_params={"inplace": inplace}, max_epochs=20, **options).fit(X, y)
        for inplace in (False, True)
    ]
    assert two[0].validation_loss_curve_ == two[1].validation_loss_curve_
    two = [
        model(augmentation=change, max_epochs=20, **options).fit(X, y)
        for change in (lambda batch, _: batch * 0.9, lambda batch, _: batch.mul_(0.9))
    ]
    assert two[0].loss_curve_ == two[1].loss_curve_
    np.testing.assert_array_equal(X, before)


def test_checkpoints_take_numpy_numbers(tmp_path):
    X, y = blobs()
    options = {
        "checkpoint_path": tmp_path / "a.pt",
        "optimizer_params": {"betas": (np.float64(0.9), np.float32(0.99))},
        "scheduler": "cosine",
    }
    first = model(learning_rate=np.float64(0.01), max_epochs=np.int64(5), **options).fit(X, y)
    again = model(learning_rate=0.01, max_epochs=5, **options).fit(X, y)
    np.testing.assert_equal(again.module_state_, first.module_state_)


def made(activation):
    def factory(input_shape, n_outputs):
        width = nn.Linear(input_shape[0], 4)
        return nn.Sequential(width, activation(), nn.Linear(4, n_outputs))

    return factory


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"augmentation": lambda b, g: b}, {"augmentation": lambda b, g: b * 0}),
        ({"augmentation": lambda b, g: b * 2}, {"augmentation": lambda b, g: b * 3}),
        ({"module": made(nn.ReLU)}, {"module": made(nn.Tanh)}),
        (
            {"augmentation": {"noise": 0.1, "shift": 1}, "image_shape": (1, 2, 2)},
            {"augmentation": {"shift": 1, "noise": 0.1}, "image_shape": (1, 2, 2)},
        ),
    ],
)
def test_a_checkpoint_tells_functions_by_what_they_do(tmp_path, first, second):
    X, y = blobs()
    path = tmp_path / "a.pt"
    if "image_shape" in first:
        X = np.c_[X, X, X, X][:, :4]
    model(**first, max_epochs=2, checkpoint_path=path).fit(X, y)
    with pytest.raises(ValueError, match=r"differs in (augmentation|module):"):
        model(**second, max_epochs=2, checkpoint_path=path).fit(X, y)


def test_a_checkpoint_knows_whether_labels_are_made_anew(tmp_path):
    X, y = blobs()
    fits = model(augmentation="noise", max_epochs=2, checkpoint_path=tmp_path / "a.pt")
    taught = DistilledClassifier(LogisticRegression(), fits, **FIXED)
    taught.fit(X, y)
    with pytest.raises(ValueError, match="differs in labeler"):
        taught.set_params(augmented_labels="recomputed").fit(X, y)


def test_damaged_checkpoints_and_folders_that_are_not_there(tmp_path):
    X, y = blobs()
    path = tmp_path / "a.pt"
    model(max_epochs=2, checkpoint_path=path).fit(X, y)
    content = bytearray(path.read_bytes())
    start = content.find(b"data/0") + 200
    content[start] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not a checkpoint"):
        model(max_epochs=2, checkpoint_path=path).fit(X, y)
    for wrong in (tmp_path / "nowhere" / "a.pt", tmp_path):
        with pytest.raises(ValueError, match="cannot be written"):
            model(checkpoint_path=wrong).fit(X, y)


def test_prediction_follows_the_parameters_whether_or_not_it_was_asked_before():
    X, y = blobs()
    fitted = model().fit(X, y)
    fitted.predict(X)
    fitted.set_params(module_params={"width": 9})
    with pytest.raises(ValueError, match="module_state_ does not fit"):
        fitted.predict(X)


class Noisy(Small):
    def forward(self, x):
        return super().forward(x + torch.randn_like(x))


def test_a_module_that_draws_when_it_predicts_draws_the_same():
    X, y = blobs()
    fitted = model(Noisy, max_epochs=3).fit(X, y)
    first, second = fitted.predict_proba(X), fitted.predict_proba(X)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("how", ["partial_fit", "warm_start"])
def test_going_on_draws_anew(how):
    X, y = blobs()
    drawn = []

    def augment(batch, generator):
        drawn.append(float(torch.rand(1, generator=generator)))
        return batch

    options = {"max_epochs": 1, "batch_size": None, "early_stopping": False}
    fitted = model(augmentation=augment, warm_start=how == "warm_start", **options)
    for _ in range(3):
        if how == "partial_fit":
            fitted.set_params(batch_size=len(X)).partial_fit(X, y, classes=np.unique(y))
        else:
            fitted.fit(X, y)
    assert len(set(drawn)) == 3


def test_skorch_checkpoints_are_written(tmp_path):
    X, y = blobs()
    keep = skorch.callbacks.Checkpoint(dirname=str(tmp_path), f_criterion=None)
    model(callbacks=[keep], max_epochs=3).fit(X, y)
    assert (tmp_path / "params.pt").exists()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (lambda rows: np.full((len(rows), 3), 5.0), "must be probabilities"),
        (lambda rows: np.full((len(rows), 3), 0.5), "must sum to 1"),
        (lambda rows: np.full((len(rows), 3), np.nan), "NaN or infinity"),
        (lambda rows: np.full((len(rows), 2), 0.5), "must return probabilities of shape"),
    ],
)
def test_labels_of_a_labeler_are_checked(labels, message):
    X, y = blobs(n_classes=3)
    Q = one_hot(y, 3)
    with pytest.raises(ValueError, match=message):
        model(augmentation="noise").fit(X, y, soft_targets=Q, labeler=labels)


class Squeezed(Small):
    def forward(self, x):
        return super().forward(x).squeeze()


def test_a_module_that_squeezes_predicts_one_row():
    X, y = blobs()
    fitted = model(Squeezed, max_epochs=3).fit(X, y)
    np.testing.assert_allclose(fitted.predict_proba(X[:1]), fitted.predict_proba(X)[:1])


def test_partial_fit_with_lbfgs_keeps_no_tensor():
    X, y = blobs()
    fitted = model(optimizer=torch.optim.LBFGS).partial_fit(X, y, classes=np.unique(y))
    assert b"torch" not in pickle.dumps(vars(fitted)["_optimizer_state"]["state"])
    fitted.partial_fit(X, y)


class StepsWithoutAnswer(torch.optim.SGD):
    def step(self, closure):
        super().step(closure)


def test_an_optimizer_may_return_nothing():
    X, y = blobs()
    answers, none = (
        model(optimizer=kind, max_epochs=5).fit(X, y)
        for kind in (torch.optim.SGD, StepsWithoutAnswer)
    )
    assert none.loss_curve_ == pytest.approx(answers.loss_curve_)


class Frozen(Small):
    def __init__(self, **params):
        super().__init__(**params)
        self.requires_grad_(False)


class Tuple(Small):
    def forward(self, x):
        return super().forward(x), None


@pytest.mark.parametrize(
    ("module", "message"),
    [(Frozen, "nothing to train"), (Tuple, "returned a tuple: let it return the logits alone")],
)
def test_modules_that_cannot_be_trained(module, message):
    X, y = blobs()
    with pytest.raises(ValueError, match=message):
        model(module).fit(X, y)


@pytest.mark.parametrize("shape", [(), (-1, -2, 1), (1.0, 2.0, 1.0), ("a", 2, 1)])
def test_image_shapes_are_positive_integers(shape):
    with pytest.raises(ValueError, match="must be positive integers"):
        model(image_shape=shape).fit(*blobs())

"""Modes, generators and batches of the skorch net."""

import pickle

import numpy as np
import pytest
import skorch
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from tests._helpers.data import blobs
from tests._helpers.modules import Small, assert_same, model


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
    # the look at its outputs, held-out rows, and a prediction an epoch and a batch, of which one an
    # epoch has the held-out rows
    assert len(others) == 1 + 3 + (callbacks is not None) * (3 + n_steps + 3)
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


# Modules that write over their input, squeeze it or draw


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


class Squeezed(Small):
    def forward(self, x):
        return super().forward(x).squeeze()


def test_a_module_that_squeezes_predicts_one_row():
    X, y = blobs()
    fitted = model(Squeezed, max_epochs=3).fit(X, y)
    np.testing.assert_allclose(fitted.predict_proba(X[:1]), fitted.predict_proba(X)[:1])


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

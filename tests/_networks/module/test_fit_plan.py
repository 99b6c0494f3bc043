"""Parameters of ModuleClassifier: validation rows, learning rate schedules and input scaling."""

import math

import numpy as np
import pytest
import skorch
import torch
from numpy.testing import assert_allclose
from sklearn.datasets import load_digits

from sklearn_kd._networks.module.fit_plan import (
    select_validation_rows,
    soft_epochs,
)
from sklearn_kd._networks.tasks import ClassificationTask
from sklearn_kd._networks.training_data import TrainingData
from sklearn_kd.exceptions import EarlyStoppingWarning
from tests._helpers.data import blobs
from tests._helpers.modules import assert_same, model


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
    data = TrainingData(X, y, np.ones(61), None, y, ClassificationTask(3))
    for seed in range(20):
        held = select_validation_rows(model(), data, in_full, seed)
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


@pytest.mark.parametrize(
    ("n_rows", "n_epochs"), [(2000, 188), (8000, 64), (20_000, 63), (50_000, 30)]
)
def test_soft_labels_have_between_3000_and_10000_steps_or_30_epochs(n_rows, n_epochs):
    assert soft_epochs(n_rows, 128) == n_epochs


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("batch_size", "n_epochs"), [(None, 300), (30, 1500)])
def test_soft_labels_have_a_short_schedule_on_all_rows(batch_size, n_epochs):
    X, y = blobs(60, spread=4.0)
    soft = np.column_stack([0.2 + 0.6 * (y == 0), 0.2 + 0.6 * (y == 1)])
    auto = model(max_epochs="auto", batch_size=batch_size, learning_rate=1e-3)
    fitted = auto.fit(X, y, soft_targets=soft)
    assert fitted.n_iter_ == n_epochs
    assert fitted.validation_loss_curve_ is None
    explicit = {"early_stopping": False, "scheduler": "cosine", "max_epochs": n_epochs}
    explicit = model(**explicit, batch_size=batch_size, learning_rate=1e-3)
    assert_same(fitted, explicit.fit(X, y, soft_targets=soft))


def test_hard_labels_and_validation_rows_stop_early_under_auto():
    X, y = blobs(60, spread=4.0)
    soft = np.column_stack([0.2 + 0.6 * (y == 0), 0.2 + 0.6 * (y == 1)])
    validation = {"X_val": X[:20], "y_val": y[:20]}
    for arguments in ({}, {"soft_targets": soft, **validation}):
        explicit = model(early_stopping=True, scheduler=None, max_epochs=4)
        assert_same(model(max_epochs=4).fit(X, y, **arguments), explicit.fit(X, y, **arguments))
    by_parts = model().partial_fit(X, y, classes=[0, 1], soft_targets=soft)
    explicit = model(scheduler=None).partial_fit(X, y, classes=[0, 1], soft_targets=soft)
    assert_same(by_parts, explicit)

"""Targets and losses of classes and of numbers."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from sklearn_kd._networks.tasks import ClassificationTask, MultilabelTask, RegressionTask

CPU = {"dtype": np.float64, "device": "cpu"}


def regression(n_targets=1, loss="squared_error", levels=()):
    return RegressionTask(n_targets, loss, 1.35, levels)


@pytest.mark.parametrize(
    ("task", "n_outputs"),
    [
        (ClassificationTask(2), 1),
        (ClassificationTask(3), 3),
        (MultilabelTask(2), 2),
        (regression(), 1),
        (regression(4, "huber"), 4),
        (regression(2, "quantile", (0.1, 0.5, 0.9)), 6),
    ],
)
def test_number_of_outputs(task, n_outputs):
    assert task.n_outputs == n_outputs


def test_a_row_counts_up_to_a_constant_above_its_least_loss():
    y, soft = np.array([0, 1]), np.array([[0.5, 0.5], [0.0, 1.0]])
    hard = ClassificationTask(2).loss_targets(y, None, 1.0, 1.0, **CPU)
    assert_allclose(hard.max_losses, math.log(1000))
    mixed = ClassificationTask(2).loss_targets(y, soft, 1.0, 1.0, **CPU)
    assert_allclose(mixed.min_losses, [math.log(2), 0])
    assert_allclose(mixed.max_losses, [math.log(2000), math.log(1000)])


def test_a_number_counts_up_to_a_constant_above_the_loss_of_the_mean():
    y = np.array([[0.0], [3.0], [-20.0]])
    squared = regression().loss_targets(y, None, 1.0, 1.0, **CPU)
    assert_allclose(squared.max_losses, math.log(1000) + np.array([0, 4.5, 200]))
    assert not squared.min_losses.any()
    quantile = regression(1, "quantile", (0.1, 0.9)).loss_targets(y, None, 1.0, 1.0, **CPU)
    assert_allclose(quantile.max_losses, math.log(1000) + np.array([0, 1.5, 10]))


@pytest.mark.parametrize("loss", ["squared_error", "huber", "quantile"])
def test_soft_targets_are_mixed_or_added(loss):
    rng = np.random.RandomState(0)
    y, soft, outputs = rng.normal(size=(3, 6, 2))
    task = regression(2, loss, (0.5,))
    found = task.loss_targets(y, soft, 0.3, 1.0, **CPU)
    _, gradient = found.loss(torch.tensor(outputs.T[None].copy()), found.values)
    expected = 0.0
    for target, share in ((soft, 0.3), (y, 0.7)):
        each = task.loss_targets(target, None, 1.0, 1.0, **CPU)
        _, part = each.loss(torch.tensor(outputs.T[None].copy()), each.values)
        expected = expected + share * part
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)


def test_rows_without_quantiles_of_a_teacher_have_the_pinball_loss():
    rng = np.random.RandomState(0)
    y, soft, outputs = rng.normal(size=(6, 2)), rng.normal(size=(6, 2, 3)), rng.normal(size=(6, 6))
    task, soft[:2] = regression(2, "quantile", (0.1, 0.5, 0.9)), np.nan
    found = task.loss_targets(y, soft, 0.3, 1.0, **CPU)
    rows, gradient = found.loss(torch.tensor(outputs.T[None].copy()), found.values)
    plain = task.loss_targets(y, None, 1.0, 1.0, **CPU)
    of_y, gradient_of_y = plain.loss(torch.tensor(outputs.T[None].copy()), plain.values)
    errors = outputs - soft.reshape(6, 6)
    expected = 0.3 * np.abs(errors).mean(axis=1) / 2 + 0.7 * of_y[0].numpy()
    assert_allclose(rows[0, :2], of_y[0, :2], rtol=1e-14)
    assert_allclose(rows[0, 2:], expected[2:], rtol=1e-12)
    assert_allclose(gradient[0, :, :2], gradient_of_y[0, :, :2], rtol=1e-14)
    assert_allclose(found.max_losses[:2], plain.max_losses[:2])


@pytest.mark.parametrize(("alpha", "temperature"), [(0.0, 3.0), (0.4, 1.0), (0.4, 3.0), (1.0, 0.5)])
def test_labels_have_the_mean_loss_of_tasks_of_two_classes(alpha, temperature):
    rng = np.random.RandomState(0)
    y, soft = rng.randint(2, size=(6, 3)), rng.uniform(size=(6, 3))
    F = torch.tensor(rng.normal(size=(1, 3, 6)))
    options = alpha, temperature
    found = MultilabelTask(3).loss_targets(y, soft, *options, **CPU)
    rows, _ = found.loss(F.clone(), found.values)
    each, least, most = [], [], []
    for k in range(3):
        two = np.stack([1 - soft[:, k], soft[:, k]], axis=1)
        alone = ClassificationTask(2).loss_targets(y[:, k], two, *options, **CPU)
        each.append(alone.loss(F[:, [k]].clone(), alone.values)[0])
        least.append(alone.min_losses)
        most.append(alone.max_losses)
    for value, parts in (
        (rows, each),
        (found.min_losses, least),
        (found.max_losses, most),
    ):
        torch.testing.assert_close(value, torch.stack(parts).mean(dim=0), rtol=1e-12, atol=1e-12)


def test_held_out_rows_are_stratified_by_class_alone():
    labels = np.array([0, 1, 1])
    assert ClassificationTask(2).strata(labels) is labels
    for task in (regression(2), MultilabelTask(2)):
        assert not task.strata(np.ones((3, 2))).any()

"""Step sizes of networks side by side, their decay, and the threshold of divergence."""

import numpy as np
import pytest
import torch

from sklearn_kd._core.network import losses
from sklearn_kd._core.network.step_size import CosineDecay, StepSize, divergence_threshold
from tests._helpers.references import naive_pgd
from tests._helpers.training import (
    doubles,
    make_data,
    make_plan,
    make_rows,
    make_students,
    run_training,
)

STUDENT_OF_NEURON = torch.tensor([0, 0, 1, 2])


def per_neuron(common, factors):
    """Step size of each neuron as an array."""
    return common * (np.ones(4) if factors is None else factors[:, 0].numpy())


def test_step_size_decays_along_a_half_cosine():
    X, P, weights = make_data()
    students, steps = make_students([4]), 10
    W, A = students.hidden.numpy().copy(), students.output.numpy()
    for step in range(steps):
        eta = 0.8 * 0.5 * (1 + np.cos(np.pi * step / steps))
        W = naive_pgd(X, P, W, A, step_size=eta, n_steps=1, weights=weights)[0][1]
    plan = make_plan(students, 0.8, n_epochs=steps, decay=True)
    run_training(students, make_rows(X, P, weights, 1), losses.cross_entropy, plan)
    np.testing.assert_allclose(students.hidden, W, rtol=1e-12, atol=1e-12)


def test_equal_step_sizes_are_one_factor():
    step_size = StepSize(doubles(0.3, 0.3, 0.3), STUDENT_OF_NEURON)
    assert (step_size.common, step_size.factors) == (0.3, None)
    assert step_size.take(torch.tensor([1, 3])).factors is None


def test_step_sizes_that_differ_have_factors_of_neurons():
    step_size = StepSize(doubles(0.1, 0.4, 0.2), STUDENT_OF_NEURON)
    values = per_neuron(step_size.common, step_size.factors)
    np.testing.assert_allclose(values, [0.1, 0.1, 0.4, 0.2])
    part = step_size.take(torch.tensor([1, 3]))
    np.testing.assert_allclose(part.common * part.factors[:, 0], [0.1, 0.2])


@pytest.mark.parametrize("sizes", [(0.2, 0.2, 0.2), (0.1, 0.4, 0.2)])
def test_stopped_neurons_take_no_step(sizes):
    step_size = StepSize(doubles(*sizes), STUDENT_OF_NEURON)
    stopped = step_size.stopped(torch.tensor([False, False, True, False]))
    expected = per_neuron(step_size.common, step_size.factors) * [1, 1, 0, 1]
    np.testing.assert_allclose(per_neuron(stopped.common, stopped.factors), expected)


def test_a_huge_step_size_leaves_the_others_finite():
    step_size = StepSize(doubles(1e308, 1.0, 1e-3), STUDENT_OF_NEURON)
    values = per_neuron(step_size.common, step_size.factors)
    assert np.isfinite(values).all()
    np.testing.assert_allclose(values[2:], [1.0, 1e-3])


@pytest.mark.parametrize("sizes", [(0.2, 0.2, 0.2), (0.1, 0.4, 0.2)])
@pytest.mark.parametrize(
    "is_decayed", [(True, True, True), (False, False, False), (True, False, True)]
)
@pytest.mark.parametrize("n_steps", [(10, 10, 10), (5, 10, 20)])
def test_each_network_decays_by_itself(sizes, is_decayed, n_steps):
    step_size = StepSize(doubles(*sizes), STUDENT_OF_NEURON)
    decay = CosineDecay(torch.tensor(is_decayed), torch.tensor(n_steps), STUDENT_OF_NEURON)
    for step in range(5):
        expected = [
            size * (0.5 * (1 + np.cos(np.pi * step / n)) if decays else 1.0)
            for size, decays, n in zip(sizes, is_decayed, n_steps, strict=True)
        ]
        values = per_neuron(*decay.decayed(step_size, step))
        np.testing.assert_allclose(values, np.array(expected)[STUDENT_OF_NEURON], rtol=1e-14)


def test_the_threshold_is_relative_to_the_untrained_loss():
    assert divergence_threshold(-3.0) == 4e4
    assert divergence_threshold(doubles(0.0, -1.0)).tolist() == [1e4, 2e4]

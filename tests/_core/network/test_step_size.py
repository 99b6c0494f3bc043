"""The schedule of the step size."""

import numpy as np

from sklearn_kd._core.network import losses
from tests._helpers.references import naive_pgd
from tests._helpers.training import make_data, make_plan, make_rows, make_students, run_training


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

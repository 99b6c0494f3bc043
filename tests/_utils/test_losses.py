"""Log losses of single rows."""

import numpy as np
from numpy.testing import assert_allclose
from sklearn.metrics import log_loss

from sklearn_kd._utils.losses import MIN_PROBABILITY, clipped_log, log_losses


def test_losses_of_rows_average_to_the_log_loss():
    rng = np.random.RandomState(0)
    proba, y_encoded = rng.dirichlet(np.ones(4), size=30), rng.randint(4, size=30)
    losses = log_losses(proba, y_encoded)
    assert_allclose(losses.mean(), log_loss(y_encoded, proba, labels=range(4)))


def test_a_probability_of_zero_has_a_finite_loss():
    proba = np.array([[0.0, 1.0], [1e-7, 1 - 1e-7], [1e-5, 1 - 1e-5], [np.nan, np.nan]])
    losses = log_losses(proba, np.zeros(4, dtype=int))
    assert_allclose(losses[:3], -np.log([MIN_PROBABILITY, MIN_PROBABILITY, 1e-5]))
    assert np.isnan(losses[3])
    assert_allclose(clipped_log(proba)[:3, 0], -losses[:3])

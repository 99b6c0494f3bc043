"""Means of paired differences and their standard errors."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sklearn_kd._utils.paired import paired_means


def differences(n=30, seed=0):
    return np.random.RandomState(seed).normal(size=n)


def test_equal_weights_give_the_textbook_standard_error():
    d = differences()
    expected = d.mean(), d.std(ddof=1) / np.sqrt(30)
    for n_observations in (None, 30):
        found = paired_means(d, np.ones(30), np.arange(30), n_observations=n_observations)
        assert_allclose(found, expected)


def test_corrected_resampled_variance_of_nadeau_and_bengio():
    d = differences(5)
    _, error = paired_means(d, np.ones(5), np.arange(5), test_to_train=5 * 0.25)
    assert_allclose(error, np.sqrt((1 / 5 + 0.25) * d.var(ddof=1)))


def test_weights_are_repetitions_and_groups_are_observations():
    d, counts = differences(), np.random.RandomState(1).randint(1, 4, size=30)
    rows = np.repeat(np.arange(30), counts)
    weighted = paired_means(d, counts.astype(float), np.arange(30))
    assert_allclose(paired_means(d[rows], np.ones(len(rows)), rows), weighted)
    twice = np.tile(np.arange(30), 2)
    expected = paired_means(d, np.ones(30), np.arange(30))
    assert_allclose(paired_means(d[twice], np.ones(60), twice), expected)
    assert_allclose(paired_means(d[twice], np.ones(60), twice, n_observations=30), expected)


def test_several_comparisons_at_once_and_failed_ones():
    d = np.array([differences(), differences(seed=1), np.full(30, -np.inf), np.zeros(30)])
    weights, groups = np.random.RandomState(2).uniform(1, 2, size=30), np.arange(30) // 2
    means, errors = paired_means(d, weights, groups)
    for row in (0, 1, 3):
        assert_allclose((means[row], errors[row]), paired_means(d[row], weights, groups))
    assert means[2] == -np.inf
    assert np.isnan(errors[2])
    assert errors[3] == 0


@pytest.mark.parametrize("n_observations", [None, 1])
def test_one_observation_has_no_error(n_observations):
    mean, error = paired_means(
        np.array([2.0]), np.ones(1), np.zeros(1, int), n_observations=n_observations
    )
    assert mean == 2
    assert np.isnan(error)

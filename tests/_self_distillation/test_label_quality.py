"""How many labels are wrong, and what the right ones are."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_breast_cancer

from sklearn_kd import SelfDistillClassifier
from sklearn_kd._self_distillation.label_quality import (
    estimate_noise_rate,
    predictions_without_label_influence,
)
from sklearn_kd._self_distillation.noise_model import (
    posterior_label_probabilities,
    symmetric_transition,
)
from sklearn_kd.datasets._label_noise import add_label_noise
from sklearn_kd.exceptions import CleanLabelsWarning
from tests._helpers.digits import DIGITS, TRUTH, long_network


def random_proba(rng, n, n_classes):
    return rng.dirichlet(np.ones(n_classes), size=n)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_noise_rate_counts_confident_contradictions(n_classes):
    rng = np.random.default_rng(n_classes)
    proba, y_encoded = random_proba(rng, 200, n_classes), rng.integers(n_classes, size=200)
    weights = rng.uniform(0.5, 2, size=200)
    threshold = [
        np.average(proba[y_encoded == k, k], weights=weights[y_encoded == k])
        for k in range(n_classes)
    ]
    counts = np.zeros((n_classes, n_classes))
    for p, code, weight in zip(proba, y_encoded, weights, strict=True):
        confident = [k for k in range(n_classes) if p[k] >= threshold[k]]
        if confident:
            counts[code, max(confident, key=lambda k: p[k])] += weight
    mass = np.array([weights[y_encoded == k].sum() for k in range(n_classes)])
    joint = counts / counts.sum(axis=1, keepdims=True) * mass[:, None] / mass.sum()
    assert estimate_noise_rate(proba, y_encoded, weights) == pytest.approx(1 - np.trace(joint))


def test_noise_rate_of_a_network_that_knows():
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=3000)
    noisy = add_label_noise(truth, 0.3, random_state=0)
    proba = np.where(np.eye(3)[truth] == 1, 0.8, 0.1)
    assert estimate_noise_rate(proba, noisy.y, np.ones(3000)) == pytest.approx(0.3)
    assert estimate_noise_rate(proba, truth, np.ones(3000)) == 0
    # a class without rows has no part in it
    wider = np.column_stack([proba, np.zeros(3000)])
    assert estimate_noise_rate(wider, noisy.y, np.ones(3000)) == pytest.approx(0.3)
    # weights are repetitions
    times = rng.integers(1, 4, size=3000)
    repeated = estimate_noise_rate(
        proba.repeat(times, 0), noisy.y.repeat(times), np.ones(sum(times))
    )
    assert estimate_noise_rate(proba, noisy.y, times) == pytest.approx(repeated)


def test_beliefs_are_what_is_left_without_the_label():
    given = np.eye(3)[[0, 1, 2, 0]] == 1
    beliefs = np.array([[0.98, 0.01, 0.01], [0.97, 0.02, 0.01], [0.01, 0.01, 0.98], [1.0, 0, 0]])
    learned = 0.4 * given + 0.6 * beliefs  # a network that has learned its targets
    assert_allclose(predictions_without_label_influence(learned, given, 0.6), beliefs)
    squares = learned**2 / (learned**2).sum(axis=1, keepdims=True)
    assert_allclose(predictions_without_label_influence(learned, given, None), squares)
    assert_allclose(predictions_without_label_influence(learned, given, 0.0), squares)
    # one that has not: its doubts are no contradictions
    unsure = np.tile([0.4, 0.3, 0.3], (4, 1))
    squares = unsure**2 / (unsure**2).sum(axis=1, keepdims=True)
    assert_allclose(predictions_without_label_influence(unsure, given, 0.6), squares)


@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.CleanLabelsWarning")
@pytest.mark.parametrize(
    ("options", "early_stopping", "is_share_subtracted"),
    [
        ({"memory": None}, False, True),
        ({"memory": None}, True, False),
        ({"schedule": "early-learning"}, False, False),
    ],
    ids=["long", "stopped", "early-learning"],
)
def test_the_share_of_the_label_is_subtracted_where_it_was_learned(
    options, early_stopping, is_share_subtracted
):
    """The targets of early learning have no such share, and a stopped network has not learned."""
    network = long_network(early_stopping=early_stopping)
    model = SelfDistillClassifier(network, **options).fit(DIGITS, TRUTH)
    proba, given = model.predict_proba(DIGITS), np.eye(4)[TRUTH] == 1
    weight = model.weight_curve_[-1] if is_share_subtracted else None
    adjusted = predictions_without_label_influence(proba, given, weight)
    rate = estimate_noise_rate(adjusted, TRUTH, np.ones(len(TRUTH)))
    assert model.noise_rate_ == rate
    transition = symmetric_transition(rate, 4)
    refined = posterior_label_probabilities(adjusted, given, transition)
    assert_allclose(model.refined_targets_, refined, rtol=1e-9)


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_rate_and_labels_of_noisy_digits(early_stopping, rate):
    noisy = add_label_noise(TRUTH, rate, random_state=0)
    network = long_network(early_stopping=early_stopping)
    model = SelfDistillClassifier(network).fit(DIGITS, noisy.y)
    assert model.noise_rate_ == pytest.approx(rate, abs=0.05)
    refined = model.refined_targets_.argmax(axis=1)
    assert np.mean(refined == TRUTH) > 0.95
    assert np.mean(refined == TRUTH) > np.mean(model.predict(DIGITS) == TRUTH) - 0.005


NETWORKS = {
    "narrow": {"width": 16, "max_iter": 300},
    "short": {"width": 64, "max_iter": 40},
    "long": {"width": 128, "max_iter": 400},
    "stopped": {"width": 32, "early_stopping": True},
}


@pytest.mark.parametrize("memory", [None, "auto"])
@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("rate", [0.0, 0.2])
def test_refined_labels_are_no_worse_than_given(rate, kind, memory):
    X, truth = load_breast_cancer(return_X_y=True)
    noisy = add_label_noise(truth, rate, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CleanLabelsWarning)
        model = SelfDistillClassifier(long_network(**NETWORKS[kind]), memory=memory)
        model.fit(X, noisy.y)
    right = np.mean(model.refined_targets_.argmax(axis=1) == truth)
    assert right > (0.9 if rate else 0.95)
    assert model.noise_rate_ == pytest.approx(rate, abs=0.06)

"""Temperatures and calibration of decision values against the losses that they minimize."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax

from sklearn_kd._utils.calibration import (
    PROBABILITY_OFFSET,
    apply_decision_value_calibration,
    apply_teacher_temperature,
    fit_decision_value_calibration,
    fit_teacher_temperature,
    fit_temperature,
    smoothed_class_weights,
)
from tests._helpers.distillation import brute_temperature, sharpen_by_hand


def test_decision_map_of_separated_or_constant_values_is_finite():
    y_encoded = np.repeat([0, 1, 2], 10)
    for F in (1e6 * np.eye(3)[y_encoded], np.zeros((30, 3)), 1e-9 * np.eye(3)[y_encoded]):
        proba = apply_decision_value_calibration(
            F, *fit_decision_value_calibration(F, y_encoded, np.ones(30))
        )
        assert np.isfinite(proba).all()
        np.testing.assert_allclose(proba.sum(axis=1), 1)
        np.testing.assert_allclose(proba.mean(axis=0), 1 / 3, atol=1e-6)


def smoothed_loss(P, y_encoded, w, T):
    """Weighted cross-entropy of the sharpened probabilities against Platt's targets."""
    K = P.shape[1]
    log_p = log_softmax(np.log(P + 0.01) / T, axis=1)
    total = 0.0
    for i, code in enumerate(y_encoded):
        mass = w[y_encoded == code].sum()
        for k in range(K):
            target = (mass + 1) / (mass + 2) if k == code else 1 / (mass + 2) / (K - 1)
            total -= w[i] * target * log_p[i, k]
    return total / w.sum()


@pytest.mark.parametrize("power", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_temperature_has_the_least_smoothed_loss(n_classes, power):
    rng = np.random.default_rng(n_classes)
    truth = rng.dirichlet(np.full(n_classes, 0.7), size=300)
    y_encoded = np.array([rng.choice(n_classes, p=p) for p in truth])
    P = truth**power / (truth**power).sum(axis=1, keepdims=True)
    w = rng.uniform(0.1, 3, size=300)
    T = fit_teacher_temperature(P, y_encoded, w, np.ones(n_classes, dtype=bool))
    assert (T < 1) == (power < 1) or power == 1.0
    least = smoothed_loss(P, y_encoded, w, T)
    for other in np.concatenate([np.geomspace(0.05, 20, 25), T * np.array([0.99, 1.01])]):
        assert least <= smoothed_loss(P, y_encoded, w, other) + 1e-12
    assert pytest.approx(brute_temperature(P, y_encoded, w), rel=1e-4) == T


def test_temperature_of_weights_is_that_of_copies():
    rng = np.random.default_rng(0)
    P, y_encoded = rng.dirichlet(np.ones(3), size=80), rng.integers(3, size=80)
    times = rng.integers(1, 4, size=80)
    known = np.ones(3, dtype=bool)
    copies = fit_teacher_temperature(
        P.repeat(times, 0), y_encoded.repeat(times), np.ones(times.sum()), known
    )
    assert fit_teacher_temperature(P, y_encoded, times.astype(float), known) == pytest.approx(
        copies, rel=1e-5
    )
    assert fit_teacher_temperature(P, y_encoded, np.ones(80), known) != pytest.approx(
        copies, rel=1e-2
    )


def test_temperature_is_blind_to_classes_that_the_teacher_does_not_know():
    rng = np.random.default_rng(0)
    P, y_encoded = rng.dirichlet(np.ones(3), size=80), rng.integers(3, size=80)
    wider, known = np.insert(P, 1, 0.0, axis=1), np.array([True, False, True, True])
    T = fit_teacher_temperature(P, y_encoded, np.ones(80), np.ones(3, dtype=bool))
    other = fit_teacher_temperature(wider, y_encoded + (y_encoded > 0), np.ones(80), known)
    assert other == pytest.approx(T, rel=1e-6)


@pytest.mark.parametrize("T", [0.3, 1.0, 4.0])
def test_sharpen_is_its_formula(T):
    assert PROBABILITY_OFFSET == 0.01
    P = np.array([[0.7, 0.3, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.2, 0.2, 0.0, 0.6]])
    known = np.array([True, True, False, True])
    S = apply_teacher_temperature(P.copy(), T, known)
    assert_allclose(S, sharpen_by_hand(P, T), rtol=1e-12)
    assert (S[:, 2] == 0).all()  # never seen
    assert (S[:, [0, 1, 3]] > 0).all()  # not voted for by chance
    assert_array_equal(apply_teacher_temperature(P, None, known), P)


@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_temperature_is_where_the_cross_entropy_is_least(n_classes):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(200, 1 if n_classes == 2 else n_classes)) * 7
    wide = np.c_[np.zeros(200), logits] if n_classes == 2 else logits
    y_encoded = (wide / 3.3 + rng.gumbel(size=wide.shape)).argmax(axis=1)
    mass = np.eye(n_classes)[y_encoded] * rng.uniform(0.5, 2, size=(200, 1))
    temperature, loss = fit_temperature(logits, mass)
    grid = temperature * np.exp(np.linspace(-0.5, 0.5, 101))
    losses = [-(mass * log_softmax(wide / t, axis=1)).sum() / mass.sum() for t in grid]
    assert losses[50] == min(losses) == pytest.approx(loss, rel=1e-12)
    for scale in (1e-30, 1e30):  # in units of the logits
        scaled, _ = fit_temperature(logits * scale, mass)
        assert scaled == pytest.approx(temperature * scale, rel=1e-8)


def test_smoothed_labels_keep_a_temperature_where_values_separate():
    logits = np.array([[3.0], [-2.0], [1.0], [-1.0]])
    mass = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    hard, _ = fit_temperature(logits, mass)
    smoothed = smoothed_class_weights(mass)
    soft, _ = fit_temperature(logits, smoothed)
    assert_allclose(smoothed.sum(axis=1), mass.sum(axis=1))
    assert_allclose(smoothed[0], [1 / 4, 3 / 4])  # (N + 1) / (N + 2), N = 2
    assert hard < 1e-2 < soft
    # weights that sum to one say no less than weights of one
    assert_allclose(smoothed_class_weights(mass / 4), smoothed / 4)
    assert fit_temperature(np.zeros((3, 1)), mass[:3])[0] == 1.0

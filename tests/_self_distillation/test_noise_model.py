"""How the given labels arise from the true classes."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.datasets import make_blobs, make_classification

from sklearn_kd import SelfDistillClassifier, TwoLayerPGDClassifier
from sklearn_kd._self_distillation.noise_model import (
    MIN_NOISE_RATE,
    NoiseModel,
    fit_noise_model,
    is_clearly_positive,
    noise_model_of_other_rows,
    posterior_label_probabilities,
    symmetric_transition,
)
from sklearn_kd.datasets import add_label_noise


def predictions_and_truth(n_classes, n=4000):
    """Log-probabilities, and true classes that are drawn from them."""
    rng = np.random.default_rng(0)
    log_proba = np.log(rng.dirichlet(np.full(n_classes, 0.1), size=n) + 1e-9)
    log_proba -= np.log(np.exp(log_proba).sum(axis=1, keepdims=True))
    return log_proba, (log_proba - np.log(rng.exponential(size=log_proba.shape))).argmax(axis=1)


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.4])
def test_the_noise_model_is_found(rate):
    """Of predictions that are too uncertain, since they were learned from wrong labels."""
    log_proba, truth = predictions_and_truth(3)
    noisy = add_label_noise(truth, rate, random_state=0).y
    model = fit_noise_model(0.5 * log_proba, noisy, np.ones(4000), np.arange(4000))
    assert_allclose(model.transition, symmetric_transition(rate, 3), atol=0.02)
    assert model.likeliest_rate == pytest.approx(rate, abs=0.02)
    assert model.inverse_temperature == pytest.approx(2, rel=0.15)


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("weight", [1.0, 0.01])
def test_any_transition_between_classes_is_found(n_classes, weight):
    log_proba, truth = predictions_and_truth(n_classes)
    transition = np.eye(n_classes)
    transition[0, :2] = 0.6, 0.4
    transition[-1, -2:] = 0.1, 0.9
    noisy = add_label_noise(truth, kind="class-conditional", transition=transition, random_state=0)
    model = fit_noise_model(0.5 * log_proba, noisy.y, np.full(4000, weight), np.arange(4000))
    assert_allclose(model.transition, noisy.transition, atol=0.04)
    assert model.likeliest_rate == pytest.approx(noisy.rate, abs=0.02)
    given = np.eye(n_classes)[noisy.y] == 1
    right = model.posterior(0.5 * log_proba, given).argmax(axis=1) == truth
    assert right.mean() > np.mean(noisy.y == truth) + 0.5 * noisy.rate


@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.ClassCollapseWarning")
@pytest.mark.parametrize("n_rare", [1, 3])
def test_a_class_of_few_rows_leaves_the_noise_of_the_others(n_rare):
    """Noise that is even over the other classes would give this class many labels."""
    X, y = make_blobs(500, centers=3, random_state=1)
    noisy = add_label_noise(y, 0.2, random_state=0).y
    y[:n_rare] = noisy[:n_rare] = 3
    network = TwoLayerPGDClassifier(32, max_iter=80, n_init=1, encoder=None)
    model = SelfDistillClassifier(network, random_state=0).fit(X, noisy)
    assert model.noise_rate_ == pytest.approx(0.2, abs=0.03)
    assert np.mean(model.refined_targets_.argmax(axis=1) == y) > 0.98


def test_predictions_that_are_too_certain_are_not_noise():
    """Mixing them with the shares of the classes improves them, as noise in proportion does."""
    rng = np.random.default_rng(0)
    y = rng.choice(5, 300, p=[0.6, 0.2, 0.1, 0.06, 0.04])
    log_proba = 2.0 * rng.normal(size=(300, 5)) + np.log(np.bincount(y) / 300)
    log_proba -= np.log(np.exp(log_proba).sum(axis=1, keepdims=True))
    model = fit_noise_model(log_proba, y, np.ones(300), np.arange(300))
    assert_allclose(model.transition, symmetric_transition(MIN_NOISE_RATE, 5))


def test_labels_that_the_predictions_say_nothing_about_are_right():
    """The uniform prediction explains them as well as a noise rate at which labels say nothing."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        y = rng.integers(2, size=200)
        log_proba = np.log(rng.dirichlet([0.005, 0.005], size=200) + 1e-9)
        model = fit_noise_model(log_proba, y, np.ones(200), np.arange(200))
        assert_allclose(model.transition, symmetric_transition(MIN_NOISE_RATE, 2))


def test_a_matrix_needs_more_rows_than_it_has_parameters():
    log_proba, truth = predictions_and_truth(20, n=300)
    noisy = add_label_noise(truth, 0.3, random_state=0).y
    model = fit_noise_model(log_proba, noisy, np.ones(300), np.arange(300))
    assert len(np.unique(model.transition.round(12))) == 2


def test_noise_that_is_not_clear_is_estimated_but_corrects_nothing():
    log_proba, truth = predictions_and_truth(3, n=40)
    noisy = add_label_noise(truth, 0.1, random_state=0).y
    model = fit_noise_model(log_proba, noisy, np.ones(40), np.arange(40))
    assert model.likeliest_rate > 0.03
    assert_allclose(model.transition, symmetric_transition(MIN_NOISE_RATE, 3))
    copies = np.arange(4000) % 40  # as many rows of their own make it clear
    model = fit_noise_model(log_proba[copies], noisy[copies], np.ones(4000), np.arange(4000))
    assert model.transition[0, 0] < 0.97


def test_labels_of_the_next_class_are_repaired():
    """A share of each class has the label of the next one."""
    X, y = make_classification(
        3000, 10, n_informative=8, n_redundant=0, n_classes=4, class_sep=2.5, random_state=0
    )
    noisy = add_label_noise(y, 0.3, kind="pair", random_state=0)
    network = TwoLayerPGDClassifier(32, max_iter=100, n_init=1, encoder=None, random_state=0)
    model = SelfDistillClassifier(network, random_state=0).fit(X, noisy.y)
    assert model.noise_rate_ == pytest.approx(0.3, abs=0.03)
    assert model.score(X, y) > clone(network).fit(X, noisy.y).score(X, y) + 0.02
    assert np.mean(model.refined_targets_.argmax(axis=1) == y) > 0.98


def test_refined_labels_are_bayes_rule():
    proba = np.array([[0.5, 0.3, 0.2], [0.9, 0.1, 0.0], [0.2, 0.2, 0.6]])
    given = np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]]) == 1
    refined = posterior_label_probabilities(proba, given, symmetric_transition(0.2, 3))
    assert_allclose(refined[0], np.array([0.05, 0.24, 0.02]) / 0.31)
    assert_allclose(refined[1], [0.9, 0.1, 0.0])  # the label has no probability: any other
    assert_allclose(refined[2], proba[2])  # a label that is no class tells nothing
    pairs = [[0.8, 0.2, 0], [0, 0.8, 0.2], [0.2, 0, 0.8]]  # class 2 is given to rows of class 1
    refined = posterior_label_probabilities(proba, given, np.array(pairs))
    assert_allclose(refined[:2], [np.array([0.1, 0.24, 0]) / 0.34, [0, 1, 0]])
    # without noise the label stands, also against a prediction without doubt
    assert_allclose(posterior_label_probabilities(proba, given, np.eye(3))[:2], given[:2])


def test_gains_count_by_their_standard_error():
    gain, weights, each = np.r_[np.full(90, -0.5), np.full(160, 1.0)], np.ones(250), np.arange(250)
    assert is_clearly_positive(gain, weights, each)
    assert is_clearly_positive(gain, 64.0 * weights, each)
    assert not is_clearly_positive(-gain, weights, each)
    gain -= gain.mean() - 1.9 * gain.std() / 250**0.5
    assert not is_clearly_positive(gain, weights, each)
    # rows of a group, and copies of a row, are no further evidence
    assert not is_clearly_positive(np.repeat(gain, 4), np.ones(1000), each.repeat(4))
    assert not is_clearly_positive(gain, 4.0 * weights, each)
    assert is_clearly_positive(np.repeat(gain, 4), np.ones(1000), np.arange(1000))


@pytest.mark.parametrize("rate", [0.0, 0.4])
def test_few_other_rows_may_have_right_labels(rate):
    rng = np.random.RandomState(0)
    share = rng.uniform(0.7, 1.0, 40)[:, None]  # of certainty
    log_proba = np.log(share * np.eye(3)[rng.randint(3, size=40)] + (1 - share) / 3)
    true = np.array([rng.choice(3, p=p) for p in np.exp(log_proba)])
    given = np.where(rng.uniform(size=40) < rate, (true + rng.randint(1, 3, 40)) % 3, true)
    model = NoiseModel(1.0, symmetric_transition(0.4, 3), 0.4, np.zeros(0))
    found = noise_model_of_other_rows(model, log_proba, given, np.ones(40))
    assert (found is model) == (rate > 0)
    assert rate > 0 or found.transition[0, 0] == 1 - MIN_NOISE_RATE

"""Targets by Bayes' rule from networks that have not seen the label, and early learning."""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from sklearn.base import clone
from sklearn.metrics import log_loss

from sklearn_kd import SelfDistillClassifier, TwoLayerPGDClassifier
from sklearn_kd._networks.input_checks import ValidationSource
from sklearn_kd._self_distillation.bayes_targets import (
    N_FOLDS,
    bayes_targets,
    early_learning_factor,
    held_out_folds,
    predict_fold,
)
from sklearn_kd._self_distillation.noise_model import (
    MIN_NOISE_RATE,
    fit_noise_model,
    symmetric_transition,
)
from sklearn_kd._self_distillation.rows import SelfDistillationRows
from sklearn_kd.datasets import add_label_noise
from tests._helpers.data import blobs
from tests._helpers.digits import DIGITS, TRUTH, long_network


def some_rows(n, n_classes=3, group=None, seed=0):
    """Rows whose first columns are logits of the true class, with 20 % wrong labels."""
    rng = np.random.RandomState(seed)
    X = 3 * rng.normal(size=(n, n_classes))
    truth = (X + rng.gumbel(size=X.shape)).argmax(axis=1)
    y = add_label_noise(truth, 0.2, random_state=seed).y
    weights = np.ones(n)
    return SelfDistillationRows(X, y, weights, X, y, weights, ValidationSource(group=group))


class Trained:
    """Networks that predict the logits of a row, and remember the rows of each training."""

    def __init__(self, better):
        self.better, self.parts = better, []

    def __call__(self, part, factor):
        self.parts.append((part.X, factor))
        is_better = (factor is None) == (self.better == "plain")

        def predict_log_proba(X):
            return np.log(softmax(X if is_better else X[:, ::-1], axis=1))

        return SimpleNamespace(predict_log_proba=predict_log_proba)


@pytest.mark.parametrize("better", ["plain", "early-learning"])
def test_rows_are_predicted_without_their_labels_by_the_better_networks(better):
    rows, train = some_rows(2000), Trained(better)
    found = bayes_targets(rows, 3, 0, train)
    factors = [factor for _, factor in train.parts]
    assert factors[0] is None
    assert factors[1] > 1
    assert factors[2:] == [factors[better != "plain"]] * (N_FOLDS - 1)
    fold = held_out_folds(rows, 0)
    assert_array_equal(train.parts[0][0], rows.X[fold != 0])
    for number in range(1, N_FOLDS):
        assert_array_equal(train.parts[number + 1][0], rows.X[fold != number])
    assert found.model.likeliest_rate == pytest.approx(0.2, abs=0.03)
    log_proba = np.log(softmax(rows.X, axis=1))
    model = fit_noise_model(log_proba, rows.y, np.ones(2000), np.arange(2000))
    assert_array_equal(found.model.transition, model.transition)
    targets = model.posterior(log_proba, rows.label_indicators(range(3)))
    assert_allclose(found.targets, targets, atol=1e-9)


def test_groups_are_held_out_as_a_whole():
    group = np.arange(400) // 8
    rows, train = some_rows(400, group=group), Trained("plain")
    fold = held_out_folds(rows, 0)
    assert sorted(set(fold)) == list(range(N_FOLDS))
    assert all(len(set(fold[group == number])) == 1 for number in range(50))
    assert bayes_targets(rows, 3, 0, train).targets.shape == (400, 3)


def test_rows_that_cannot_be_held_out_keep_their_labels():
    X = np.zeros((4, 2))
    y, weights = np.array([0, 1, 0, 1]), np.ones(4)
    rows = SelfDistillationRows(
        X, y, weights, X, y, weights, ValidationSource(group=np.zeros(4, int))
    )
    found = bayes_targets(rows, 2, 0, None)
    assert_array_equal(found.targets, np.eye(2)[y])
    assert found.model.likeliest_rate == MIN_NOISE_RATE
    assert_array_equal(found.model.transition, symmetric_transition(MIN_NOISE_RATE, 2))


def test_a_class_that_is_in_one_fold_cannot_be_predicted_there():
    rows, train = some_rows(40), Trained("plain")
    fold = np.where(rows.y == 2, 0, np.arange(40) % 2)
    log_proba = predict_fold(0, rows, fold, 3, train, None)
    known = (fold == 0) & (rows.y != 2)
    assert_array_equal(np.isfinite(log_proba), np.repeat(known[:, None], 3, axis=1))
    assert_array_equal(log_proba[known], np.log(softmax(rows.X[known], axis=1)))
    # nothing is trained on a single class
    fold = np.where(rows.y == 2, 1, 0)
    assert np.isnan(predict_fold(0, rows, fold, 3, None, None)).all()


def test_lambda_grows_with_the_noise():
    assert early_learning_factor(np.eye(10)) == pytest.approx(2.5)
    for rate, n_classes in [(0.45, 10), (0.25, 2)]:
        transition = symmetric_transition(rate, n_classes)
        assert early_learning_factor(transition) == pytest.approx(4)
    assert early_learning_factor(symmetric_transition(0.9, 10)) == 7
    pairs = 0.75 * np.eye(4) + 0.25 * np.roll(np.eye(4), 1, axis=1)
    assert early_learning_factor(pairs) == pytest.approx(4)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_early_learning_repairs_digits_in_one_training(n_classes):
    kept = np.isin(TRUTH, range(n_classes))
    X, y = DIGITS[kept], TRUTH[kept]
    noisy = add_label_noise(y, 0.3, random_state=0)
    network = long_network(max_iter=60, batch_size=32)
    model = SelfDistillClassifier(network, schedule="early-learning").fit(X, noisy.y)
    assert model.score(X, y) > clone(network).fit(X, noisy.y).score(X, y) + 0.1
    assert model.score(X, y) > 0.95
    assert model.weight_curve_[-1] == pytest.approx(0.3, abs=0.1)
    assert model.noise_rate_ == pytest.approx(0.3, abs=0.05)


def test_a_weight_is_a_number_of_copies_with_more_rows():
    X, y = blobs(210, n_classes=3, spread=2.0)
    w = np.random.RandomState(0).randint(0, 3, len(X))
    w[:200] += w[:200] == 0
    network = TwoLayerPGDClassifier(4, max_iter=20, n_init=1, encoder=None, random_state=0)
    model = SelfDistillClassifier(network)
    weighted = clone(model).fit(X, y, sample_weight=w)
    copies = np.repeat(np.arange(len(X)), w)
    repeated = clone(model).fit(X[copies], y[copies])
    assert weighted.noise_rate_ == repeated.noise_rate_
    assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), atol=1e-7)
    assert_allclose(weighted.refined_targets_[copies], repeated.refined_targets_, atol=1e-7)
    assert weighted.refined_targets_.shape == (210, 3)


@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.ClassCollapseWarning")
@pytest.mark.parametrize(
    "options",
    [{"strength": 2.0}, {"memory": None}, {"target": "soft"}, {"warm_up": 0.2}],
    ids=lambda options: next(iter(options)),
)
def test_a_parameter_of_algorithm_1_selects_it(options):
    X, y = blobs(210, n_classes=3, spread=2.0)
    network = TwoLayerPGDClassifier(4, max_iter=40, n_init=1, encoder=None, random_state=0)
    model = SelfDistillClassifier(network, **options).fit(X, y)
    same = SelfDistillClassifier(network, schedule="chance-corrected", **options).fit(X, y)
    assert_array_equal(model.predict_proba(X), same.predict_proba(X))
    assert_array_equal(model.weight_curve_, same.weight_curve_)


def test_held_out_predictions_repair_digits_and_keep_the_log_loss():
    train, test = np.arange(len(TRUTH)) % 3 > 0, np.arange(len(TRUTH)) % 3 == 0
    network = long_network(early_stopping="auto", width=32)
    for rate in (0.0, 0.3):
        labels = add_label_noise(TRUTH[train], rate, random_state=0).y
        plain = clone(network).fit(DIGITS[train], labels)
        model = SelfDistillClassifier(network).fit(DIGITS[train], labels)
        assert model.noise_rate_ == pytest.approx(rate, abs=0.05)
        losses = [log_loss(TRUTH[test], m.predict_proba(DIGITS[test])) for m in (model, plain)]
        assert losses[0] < losses[1] + 0.01 - 0.2 * (rate > 0)
        assert (
            model.score(DIGITS[test], TRUTH[test]) > plain.score(DIGITS[test], TRUTH[test]) - 0.02
        )
        right = model.refined_targets_.argmax(axis=1) == TRUTH[train]
        assert right.mean() > 0.9
        assert right.mean() > plain.score(DIGITS[train], TRUTH[train]) - 0.005


@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.ClassCollapseWarning")
@pytest.mark.parametrize("signal", [0.0, 0.6])
def test_classes_that_overlap_are_not_noise(signal):
    """Clean labels of a rare class that no row shows with certainty."""
    rng = np.random.RandomState(1)
    X = rng.normal(size=(300, 3))
    y = (signal * X[:, 0] + rng.logistic(size=300) > 1.4).astype(int)
    network = TwoLayerPGDClassifier(8, max_iter=100, n_init=1, encoder=None, random_state=0)
    model = SelfDistillClassifier(network, random_state=0).fit(X, y)
    plain = clone(network).fit(X, y)
    assert model.weight_curve_.max() < 0.01  # nothing is corrected
    assert model.predict_proba(X)[:, 1].mean() == pytest.approx(y.mean(), abs=0.05)
    test = rng.normal(size=(2000, 3))
    y_test = (signal * test[:, 0] + rng.logistic(size=2000) > 1.4).astype(int)
    losses = [log_loss(y_test, each.predict_proba(test)) for each in (model, plain)]
    assert losses[0] < losses[1] + 0.01


def test_verbose_names_each_fit(capsys):
    X, y = blobs(210, n_classes=3, spread=2.0)
    network = TwoLayerPGDClassifier(4, max_iter=20, n_init=1, encoder=None, random_state=0)
    SelfDistillClassifier(network, verbose=1).fit(X, y)
    *fits, last = capsys.readouterr().out.splitlines()
    n_rows = [int(line.split()[1]) for line in fits]
    assert len(n_rows) == N_FOLDS + 1  # the first fold is learned in two ways
    assert n_rows[0] == n_rows[1]
    assert sum(n_rows[1:]) == (N_FOLDS - 1) * 210
    assert fits[0].endswith("rows are learned plainly")
    assert fits[1].endswith("rows are learned by early-learning regularization")
    assert "of the labels are wrong; weight of the predictions" in last


@pytest.mark.parametrize("memory", ["previous-epoch", "previous-generation"])
def test_early_learning_needs_a_running_mean(memory):
    model = SelfDistillClassifier(long_network(), schedule="early-learning", memory=memory)
    with pytest.raises(ValueError, match=f"memory='{memory}' is not: set memory='auto'"):
        model.fit(DIGITS, TRUTH)


@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.ClassCollapseWarning")
@pytest.mark.parametrize("kind", ["copies", "absent"])
def test_weights_and_copies_do_not_count_as_rows(kind):
    X, y = blobs(150, n_classes=3, spread=2.0)
    network = TwoLayerPGDClassifier(4, max_iter=40, n_init=1, encoder=None, random_state=0)
    model, w = SelfDistillClassifier(network), np.full(150, 2.0)
    others = np.arange(300) % 150
    other_weights = None if kind == "copies" else np.repeat([2.0, 0.0], 150)
    weighted = clone(model).fit(X, y, sample_weight=w)
    repeated = clone(model).fit(X[others], y[others], sample_weight=other_weights)
    assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), atol=1e-7)

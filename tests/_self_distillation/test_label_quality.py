"""How many labels are wrong, and what the right ones are."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GroupKFold, RepeatedStratifiedKFold

from sklearn_kd import SelfDistillClassifier
from sklearn_kd._self_distillation.label_quality import (
    estimate_noise_rate,
    predictions_without_label_influence,
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


def test_in_sample_asks_for_the_rows_of_fit():
    model = SelfDistillClassifier(long_network(width=4, max_iter=30)).fit(DIGITS, TRUTH)
    for arguments in ({"groups": TRUTH}, {"sample_weight": np.ones(len(TRUTH))}):
        with pytest.raises(ValueError, match="are for the copies of cv"):
            model.find_label_errors(DIGITS, TRUTH, cv="in-sample", **arguments)
    with pytest.raises(ValueError, match="features"):
        model.find_label_errors(DIGITS[:, :5], TRUTH, cv="in-sample")


def test_the_index_of_a_frame_goes_with_its_rows():
    X = (
        pd.DataFrame(DIGITS)
        .add_prefix("pixel")
        .set_index(np.random.RandomState(0).permutation(720))
    )
    y = pd.Series(TRUTH, index=X.index)
    model = SelfDistillClassifier(long_network(width=4, max_iter=30)).fit(X, y)
    for cv in ("in-sample", 2):
        errors = model.find_label_errors(X, y, cv=cv)
        assert_array_equal(errors.index, X.index[errors.row])
        assert_array_equal(y[errors.index], errors.given_label)
    assert isinstance(model.find_label_errors(DIGITS, TRUTH, cv=2).index, pd.RangeIndex)


def test_folds_by_group_and_as_masks():
    model = SelfDistillClassifier(long_network(width=4, max_iter=30), random_state=0)
    groups = np.arange(len(TRUTH)) % 3
    by_group = model.find_label_errors(DIGITS, TRUTH, cv=GroupKFold(3), groups=groups)
    masks = [(groups != group, groups == group) for group in range(3)]
    assert sorted(by_group.row) == list(range(len(TRUTH)))
    with pytest.raises(ValueError, match="groups"):
        model.find_label_errors(DIGITS, TRUTH, cv=GroupKFold(3))
    indices = [(np.flatnonzero(train), np.flatnonzero(test)) for train, test in masks]
    answers = [model.find_label_errors(DIGITS, TRUTH, cv=cv) for cv in (masks, indices)]
    assert answers[0].equals(answers[1])


def test_folds_that_test_a_row_twice_and_numbers_that_are_none():
    model = SelfDistillClassifier(long_network(width=4, max_iter=2))
    with pytest.raises(ValueError, match="never or more often"):
        model.find_label_errors(DIGITS, TRUTH, cv=RepeatedStratifiedKFold(n_splits=2, n_repeats=2))
    with pytest.raises(ValueError, match="'in-sample', None, a number"):
        model.find_label_errors(DIGITS, TRUTH, cv="insample")
    for cv in (0, 1, -3, True):
        with pytest.raises(ValueError, match="not a number of folds"):
            model.find_label_errors(DIGITS, TRUTH, cv=cv)


def test_verbose_label_errors_print_each_fit(capsys):
    network = long_network(width=4, max_iter=5)
    SelfDistillClassifier(network, random_state=0, verbose=1).find_label_errors(DIGITS, TRUTH, cv=3)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        f"[SelfDistillClassifier] label errors: fit {number} of 3" for number in (1, 2, 3)
    ]
    assert lines[-1].endswith("about 0 s left")

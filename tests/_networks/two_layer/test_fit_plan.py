"""Sample weights, held-out rows and the values of "auto"."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris, load_wine, make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import recall_score
from sklearn.model_selection import train_test_split

from sklearn_kd import TwoLayerPGDClassifier
from sklearn_kd._networks.tasks import ClassificationTask
from sklearn_kd._networks.training_data import TrainingData
from sklearn_kd._networks.two_layer.fit_plan import resolve_parameters
from sklearn_kd.exceptions import EarlyStoppingWarning
from tests._helpers.data import blobs, one_hot
from tests._helpers.two_layer import FAST, soft_labels


def test_early_stopping_without_rows_to_hold_out_is_told():
    X, y = np.eye(3), np.arange(3)
    model = TwoLayerPGDClassifier(4, max_iter=5, random_state=0)
    with pytest.warns(EarlyStoppingWarning, match="no row to hold out"):
        model.set_params(batch_size=2).fit(X, y)
    assert model.validation_loss_curve_ is None
    with pytest.warns(EarlyStoppingWarning, match="5 epochs"):
        model.set_params(batch_size=None).fit(np.ones((4, 2)), [0, 1, 0, 1])
    # without a warning: a row can be held out, or nobody asked
    model.set_params(batch_size=2).fit(np.eye(4), [0, 1, 0, 1])
    assert len(model.validation_loss_curve_) == model.n_iter_
    model.set_params(early_stopping=False).fit(X, y)


def test_soft_labels_have_a_schedule_without_early_stopping():
    X, _ = blobs(n=30)
    P, y = soft_labels(X, 2)
    group = np.where(y == 1, 1, np.arange(30) % 2 * 2)  # one group of class 1: none to hold out
    model = TwoLayerPGDClassifier(4, n_init=3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model.fit(X, y, soft_targets=P, groups=group)
    assert model.validation_loss_curve_ is None
    assert (model.n_iter_, model.termination_condition_) == (500, "max_iter")
    assert model.loss_curve_[-1] < 0.05 * model.loss_curve_[0]
    with pytest.raises(ValueError, match="early stopping trains on some groups"):
        model.set_params(early_stopping=True).fit(X, y, soft_targets=P, groups=group)


@pytest.mark.parametrize(
    ("n", "n_steps"),
    [(1000, None), (2000, 3000), (6000, 3000), (12000, 6000), (20000, 10000), (160000, 20000)],
)
def test_steps_and_weight_decay_of_soft_labels_follow_the_rows(n, n_steps):
    y = np.arange(n) % 2
    data = TrainingData(
        np.arange(n * 1.0)[:, None], y, np.ones(n), np.full((n, 2), 0.5), y, ClassificationTask(2)
    )
    est = TwoLayerPGDClassifier(random_state=0)
    plan = resolve_parameters(est, data)
    if n_steps is None:  # in full batch
        assert plan.n_epochs == 500
        n_steps = 500
    else:
        np.testing.assert_allclose(plan.n_epochs * n / 128, n_steps, rtol=0.02)
    np.testing.assert_allclose(plan.weight_decay, 4.5 / n_steps, rtol=0.02)
    assert plan.validation_mask is plan.fold is None
    hard = resolve_parameters(est.set_params(alpha=0.0), data)
    assert hard.weight_decay == plan.weight_decay
    assert hard.stops_early
    for options, decay in (({"weight_decay": 0.1}, 0.1), ({"learning_rate": 0.1}, 0.0)):
        assert resolve_parameters(clone(est).set_params(**options), data).weight_decay == decay


# Weights


def test_class_weight_is_a_sample_weight():
    X, y = blobs(n=60, n_classes=3)
    y = np.array(["a", "b", "c"])[np.minimum(y, 1) + (np.arange(60) % 5 == 0)]
    weights = np.random.RandomState(0).uniform(0.5, 2, size=60)
    factors = {"a": 1.0, "b": 3.0, "c": 0.25}
    one = TwoLayerPGDClassifier(**FAST, class_weight=factors).fit(X, y, weights)
    other = TwoLayerPGDClassifier(**FAST).fit(X, y, weights * np.array([factors[c] for c in y]))
    np.testing.assert_allclose(one.hidden_weights_, other.hidden_weights_, rtol=1e-10)
    balanced = TwoLayerPGDClassifier(**FAST, class_weight="balanced").fit(X, y, weights)
    mass = {c: weights[y == c].sum() for c in "abc"}
    other = TwoLayerPGDClassifier(**FAST).fit(X, y, weights / np.array([mass[c] for c in y]))
    np.testing.assert_allclose(balanced.hidden_weights_, other.hidden_weights_, rtol=1e-7)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"early_stopping": False},
        {"optimizer": "nesterov"},
        {"learning_rate": 0.5},
        {"radius": 2.0, "n_init": 3},
        {"class_weight": "balanced"},
        {"alpha": 0.5, "temperature": 3.0},
        {"optimizer": "nesterov", "input_scaling": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_weight_k_is_k_copies_and_zero_is_absence(options, n_classes):
    X, _ = blobs(n=60, n_classes=n_classes, spread=3)
    P, y = soft_labels(X, n_classes)
    rng = np.random.RandomState(0)
    counts = rng.randint(0, 4, size=60)
    index = rng.permutation(np.repeat(np.arange(60), counts))
    model = TwoLayerPGDClassifier(8, max_iter=150, random_state=0).set_params(**options)
    soft = "temperature" in options
    weighted = model.fit(X, y, counts, P if soft else None).predict_proba(X)
    n_iter = model.best_iter_
    repeated = model.fit(X[index], y[index], None, P[index] if soft else None).predict_proba(X)
    assert model.best_iter_ == n_iter
    np.testing.assert_allclose(weighted, repeated, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("batch_size", [None, 16])
def test_weights_of_any_size(batch_size):
    X, y = blobs(n=60, n_classes=3)
    model = TwoLayerPGDClassifier(**FAST, batch_size=batch_size)
    weights = np.random.RandomState(0).choice([0.5, 1.0, 2.0], size=60)
    expected = model.fit(X, y, weights).predict_proba(X)
    for factor in (2.0**1022, 2.0**-1000):  # exact, as powers of two
        np.testing.assert_array_equal(model.fit(X, y, weights * factor).predict_proba(X), expected)
    assert np.isfinite(model.fit(X, y, np.full(60, 1e308)).predict_proba(X)).all()
    mixed = np.where(np.arange(60) % 7, 1e-300, 1e300)
    kept = mixed > 1
    proba = model.fit(X, y, mixed).predict_proba(X)
    np.testing.assert_array_equal(proba, model.fit(X[kept], y[kept]).predict_proba(X))
    one = np.where(np.arange(60), 1e-300, 1.0)
    model.set_params(input_scaling=False)  # one row alone has no spread
    assert np.isfinite(model.fit(X, y, one).predict_proba(X)).all()


def test_batch_auto_does_not_flip_between_weights_and_copies():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(400, 2))
    y = (X[:, 0] + rng.normal(size=400) > 0).astype(int)
    model = TwoLayerPGDClassifier(4, max_iter=30, random_state=0)
    weighted = model.fit(X, y, np.full(400, 3.0)).predict_proba(X)
    repeated = model.fit(np.tile(X, (3, 1)), np.tile(y, 3)).predict_proba(X)
    np.testing.assert_allclose(weighted, repeated, rtol=1e-7)


def test_imbalanced_small_data():
    X, y = make_blobs([190, 10], 4, centers=[[0] * 4, [4] * 4], random_state=0)
    model = TwoLayerPGDClassifier(random_state=0, max_iter=500).fit(X, y)
    assert recall_score(y, model.predict(X)) > 0.8
    proba = model.predict_proba(X)
    assert np.isfinite(proba).all()
    # a class of one row
    X, y = np.vstack([X, [[-9.0] * 4]]), np.r_[y, 2]
    model = TwoLayerPGDClassifier(8, random_state=0, max_iter=200).fit(X, y)
    assert np.isfinite(model.predict_proba(X)).all()
    assert model.classes_.tolist() == [0, 1, 2]


# Defaults


@pytest.mark.parametrize("load", [load_iris, load_wine], ids=lambda f: f.__name__)
def test_defaults_work_unseen(load):
    X, y = load(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    model = TwoLayerPGDClassifier(max_iter=500, random_state=0).fit(X_train, y_train)
    assert model.score(X_test, y_test) > 0.92


def test_batch_size_auto_and_minibatches_learn():
    X, y = blobs(n=1500, n_classes=3)
    model = TwoLayerPGDClassifier(8, max_iter=10, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.9
    # in minibatches the rows held out have no part in the curve; in full batch all have
    assert len(model.validation_loss_curve_) == 10


@pytest.mark.parametrize("batch_size", [None, 16])
@pytest.mark.parametrize("max_iter", [1, 7])
def test_every_epoch_has_a_held_out_loss(batch_size, max_iter):
    X, y = blobs(n_classes=3)
    model = TwoLayerPGDClassifier(4, batch_size=batch_size, max_iter=max_iter, random_state=0)
    model.fit(X, y)
    assert len(model.validation_loss_curve_) == len(model.loss_curve_) == max_iter
    # so short a fit is best at its end
    assert model.best_iter_ == np.argmin(model.validation_loss_curve_) + 1 == max_iter


@pytest.mark.parametrize("batch_size", [None, 16])
@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_early_stopping_works_at_any_temperature_with_probabilities_near_zero(batch_size, alpha):
    # the loss is T^2 times a cross-entropy: a cap that is not would be passed by every row
    X, y = blobs(n=120, n_classes=3)
    votes = np.round(20 * (0.9 * one_hot(y, 3) + 0.1 / 3)) / 20
    for P in (one_hot(y, 3), votes / votes.sum(axis=1, keepdims=True)):
        for temperature in (0.2, 5.0, 20.0):
            model = TwoLayerPGDClassifier(
                16,
                alpha=alpha,
                temperature=temperature,
                batch_size=batch_size,
                max_iter=100,
                early_stopping=True,
                random_state=0,
            ).fit(X, y, soft_targets=P)
            curve = model.validation_loss_curve_
            assert min(curve) < 0.6 * curve[0]
            assert model.score(X, y) > 0.9


@pytest.mark.parametrize("batch_size", [None, 16])
def test_early_stopping_works_at_any_temperature(batch_size):
    # T^2 times the entropy of tempered targets is larger than any cap on a row's loss
    X, _ = blobs(n=120)
    P, y = soft_labels(X, 3)
    errors = {}
    for temperature in (1.0, 10.0):
        model = TwoLayerPGDClassifier(
            16,
            temperature=temperature,
            batch_size=batch_size,
            max_iter=200,
            early_stopping=True,
            random_state=0,
        ).fit(X, y, soft_targets=P)
        curve = model.validation_loss_curve_
        assert min(curve) < 0.3 * curve[0]
        errors[temperature] = np.abs(model.predict_proba(X) - P).mean()
    assert errors[10.0] < 0.05

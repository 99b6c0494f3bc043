"""partial_fit of TwoLayerPGDClassifier."""

import copy

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from sklearn_kd import TwoLayerPGDClassifier
from sklearn_kd._core.network import problem
from tests._helpers.data import blobs
from tests._helpers.estimators import Recorder, fitted_names
from tests._helpers.references import naive_kl
from tests._helpers.two_layer import FAST, assert_same_state, soft_labels, state_of


def test_partial_fit_needs_and_keeps_the_classes():
    X, y = blobs(n_classes=3)
    model = TwoLayerPGDClassifier(**FAST)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(X, y)
    assert not fitted_names(model)
    model.partial_fit(X[y < 2], y[y < 2], classes=[2, 1, 0])
    assert model.classes_.tolist() == [0, 1, 2]
    before = state_of(model)
    with pytest.raises(ValueError, match="is not what the first call"):
        model.partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match="not among the classes"):
        model.partial_fit(X, y + 1)
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(X[:, :2], y)
    assert_same_state(model, before)
    model.partial_fit(X, y).partial_fit(X, y, classes=[0, 1, 2])
    assert model.predict_proba(X).shape == (len(X), 3)


@pytest.mark.parametrize("options", [{}, {"optimizer": "nesterov", "learning_rate": 0.5}])
def test_partial_fit_goes_on_where_it_stopped(options):
    X, y = blobs(n_classes=3)
    model = TwoLayerPGDClassifier(8, random_state=0, **options)
    for _ in range(60):
        model.partial_fit(X, y, classes=[0, 1, 2])
    # full batch: 60 calls are 60 epochs of a constant step size, momentum and all
    settings = {"n_init": 1, "early_stopping": False, "max_iter": 60}
    if not options:  # "auto" decays in fit; the number it starts from does not
        options = {"optimizer": "adam"}
        reference = TwoLayerPGDClassifier(8, random_state=0, **options, **settings)
        with pytest.MonkeyPatch.context() as patch:
            real = problem.TrainingConfig
            patch.setattr(problem, "TrainingConfig", lambda **k: real(**{**k, "decay": False}))
            reference.fit(X, y)
    else:
        reference = TwoLayerPGDClassifier(8, random_state=0, **options, **settings).fit(X, y)
    np.testing.assert_array_equal(model.initial_weights_, reference.initial_weights_)
    np.testing.assert_allclose(model.hidden_weights_, reference.hidden_weights_, rtol=1e-9)
    np.testing.assert_allclose(model.output_weights_, reference.output_weights_, rtol=1e-9)


def test_partial_fit_learns_from_batches_and_keeps_numpy_state():
    X, y = blobs(n=400, n_classes=3)
    model = TwoLayerPGDClassifier(16, encoder=None, random_state=0)
    scores = []
    for start in range(0, 400, 20):
        batch = slice(start, start + 20)
        model.partial_fit(X[batch], y[batch], classes=[0, 1, 2])
        scores.append(accuracy_score(y, model.predict(X)))
    assert scores[-1] > max(0.9, scores[0] - 1e-12)
    assert b"torch" not in __import__("pickle").dumps(model)
    offset, _ = model.input_offset_, model.input_scale_
    np.testing.assert_allclose(offset, X[:20].mean(axis=0))  # fixed by the first call


@pytest.mark.parametrize(
    ("before", "change"),
    [
        ({}, {"width": 16}),
        ({"width": 16}, {"width": 8}),
        ({}, {"input_intercept": False}),
        ({"input_intercept": False}, {"input_intercept": True}),
        ({}, {"input_scaling": False}),
        ({"output_layer": "trained"}, {"output_layer": "fixed"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_partial_fit_cannot_change_the_network(before, change, method):
    X, y = blobs()
    X = 3 * X + 1
    model = TwoLayerPGDClassifier(**{**FAST, **before})
    model.fit(X, y) if method == "fit" else model.partial_fit(X, y, classes=[0, 1])
    state, proba = state_of(model), model.predict_proba(X)
    model.set_params(**change)
    with pytest.raises(ValueError, match=next(iter(change)) + r"=.*or call fit"):
        model.partial_fit(X, y)
    assert_same_state(model, state)
    np.testing.assert_array_equal(model.predict_proba(X), proba)
    model.fit(X, y)


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": "adam"},
        {"optimizer": "nesterov", "momentum": 0.0},
        {"output_layer": "trained"},
        {"radius": 0.1},
    ],
    ids=str,
)
def test_partial_fit_follows_other_parameters_from_then_on(change):
    X, y = blobs()
    model = TwoLayerPGDClassifier(**FAST, optimizer="nesterov")
    for _ in range(3):
        model.partial_fit(X, y, classes=[0, 1])
    fresh = copy.deepcopy(model)
    kept = {"radius", "output_layer"} & change.keys()
    model.set_params(**change).partial_fit(X, y)
    if not kept:  # the memory of another optimizer is of no use
        del fresh._optimizer_state
        fresh.set_params(**change).partial_fit(X, y)
        np.testing.assert_array_equal(model.hidden_weights_, fresh.hidden_weights_)
    for _ in range(5):  # and back
        model.set_params(optimizer="nesterov", momentum=0.9).partial_fit(X, y)
    assert np.isfinite(model.predict_proba(X)).all()
    if "radius" in change:
        assert model.distance_from_init_.max() <= 0.1 / 2 * (1 + 1e-9)


@pytest.mark.parametrize(("n", "n_steps"), [(100, 1), (1000, 8), (1001, 8)])
def test_partial_fit_takes_minibatches_of_any_data(n, n_steps):
    X, y = blobs(n=n)
    model = TwoLayerPGDClassifier(**FAST).partial_fit(X, y, classes=[0, 1])
    assert int(model._optimizer_state["states"][0][-1]) == n_steps


def test_partial_fit_after_fit_and_with_soft_targets():
    X, _ = blobs()
    P, y = soft_labels(X, 2)
    model = TwoLayerPGDClassifier(16, max_iter=50, random_state=0).fit(X, y)
    start = naive_kl(P, model.decision_function(X)[:, None]).mean()
    for _ in range(50):
        model.partial_fit(X, y, soft_targets=P)
    assert naive_kl(P, model.decision_function(X)[:, None]).mean() < start


def test_a_failing_partial_fit_changes_nothing():
    X, y = blobs()
    model = TwoLayerPGDClassifier(**FAST).partial_fit(X, y, classes=[0, 1])
    before, optimizer = state_of(model), copy.deepcopy(model._optimizer_state)

    class Fails(Recorder):
        def on_fit_task_end(self, estimator, context, **_):
            if context.parent is None:
                raise RuntimeError("at the very end")

    model.set_callbacks(Fails())
    with pytest.raises(RuntimeError, match="at the very end"):
        model.partial_fit(X, y)
    assert_same_state(model, before)
    np.testing.assert_equal(model._optimizer_state, optimizer)

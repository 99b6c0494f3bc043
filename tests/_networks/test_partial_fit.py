"""partial_fit and warm_up of the networks."""

import copy
from contextlib import nullcontext as does_not_raise

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import accuracy_score

from sklearn_kd import (
    ModuleClassifier,
    ModuleRegressor,
    TableEncoder,
    TwoLayerPGDClassifier,
    TwoLayerPGDRegressor,
)
from sklearn_kd._core.network import problem
from sklearn_kd.exceptions import SmallBatchWarning
from sklearn_kd.modules import MLP
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


def network(kind, **params):
    kinds = {
        "classifier": TwoLayerPGDClassifier,
        "regressor": TwoLayerPGDRegressor,
        "module": ModuleClassifier,
        "module regressor": ModuleRegressor,
    }
    given = (MLP,) if "module" in kind else ()
    own = {"encoder": "auto"} if given else {"width": 8}
    return kinds[kind](*given, **{**own, "random_state": 0, **params})


def table(n=1200):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(n, 2)), columns=["a", "b"])
    X["level"] = rng.choice(["x", "y", "z"], n)
    P, y = soft_labels(np.c_[X[["a", "b"]], X["level"] == "x"], 3)
    return X, P, y


@pytest.mark.parametrize("kind", ["classifier", "module"])
def test_a_batch_without_y_is_learned_from_its_soft_targets_alone(kind):
    X, P, _ = table()
    labels = np.array(["r", "s", "t"])
    frame = pd.DataFrame(P[:, ::-1], columns=labels[::-1])
    named = network(kind).partial_fit(X, soft_targets=frame)  # the columns name the classes
    assert named.classes_.tolist() == labels.tolist()
    given = network(kind).partial_fit(X, classes=labels, soft_targets=P)
    for other_y in (labels[P.argmax(1)], labels[P.argmin(1)]):  # y has no part in the loss
        with pytest.warns() if other_y[0] != labels[P[0].argmax()] else does_not_raise():
            with_y = network(kind).partial_fit(X, other_y, classes=labels, soft_targets=P)
        for other in (named, given):
            np.testing.assert_array_equal(with_y.predict_proba(X), other.predict_proba(X))
    again = copy.deepcopy(given).partial_fit(X, soft_targets=P)
    with_y.partial_fit(X, labels[P.argmax(1)], soft_targets=P)
    np.testing.assert_array_equal(again.predict_proba(X), with_y.predict_proba(X))


@pytest.mark.parametrize("kind", ["regressor", "module regressor"])
def test_a_regressor_learns_a_batch_without_y(kind):
    X, P, _ = table()
    values = P[:, 0]
    model = network(kind).partial_fit(X, soft_targets=values)
    with_y = network(kind).partial_fit(X, values, soft_targets=values)
    np.testing.assert_array_equal(model.predict(X), with_y.predict(X))
    quantiles = {"loss": "quantile", "quantiles": (0.1, 0.5, 0.9)}
    spread = values[:, None] + [-0.1, 0.0, 0.1]
    model = network(kind, **quantiles).partial_fit(X, soft_targets=spread)
    with_y = network(kind, **quantiles).partial_fit(X, values, soft_targets=spread)
    np.testing.assert_array_equal(model.predict_quantiles(X), with_y.predict_quantiles(X))


def test_a_batch_without_y_needs_classes_and_labels_for_all_rows():
    X, P, y = table()
    missing = P.copy()
    missing[7] = np.nan
    for params, options, message in (
        ({}, {"soft_targets": P}, "pass classes, or soft_targets as a DataFrame"),
        ({}, {"classes": [0, 1, 2]}, "needs the targets y, or soft_targets"),
        ({}, {"classes": [0, 1, 2], "soft_targets": missing}, "row 7 of soft_targets is NaN"),
        ({}, {"classes": [0, 1, 2], "soft_targets": P[:, :2]}, "a column for each of the 3"),
        ({"alpha": 0.5}, {"classes": [0, 1, 2], "soft_targets": P}, "alpha=0.5 gives y the"),
        ({"class_weight": {0: 2.0}}, {"classes": [0, 1, 2], "soft_targets": P}, "class_weight="),
    ):
        model = network("classifier", **params)
        with pytest.raises(ValueError, match=message):
            model.partial_fit(X, **options)
        assert not fitted_names(model)
    several = network("classifier").partial_fit(X, np.eye(3)[y].astype(int), classes=[0, 1, 2])
    with pytest.raises(ValueError, match="pass an indicator of several labels"):
        several.partial_fit(X, soft_targets=P)
    with pytest.raises(ValueError, match=r"alpha=0\.5 gives y the"):
        network("regressor", alpha=0.5).partial_fit(X, soft_targets=P[:, 0])


@pytest.mark.parametrize("kind", ["classifier", "regressor", "module", "module regressor"])
def test_warm_up_fixes_the_encoder_and_the_scaling(kind):
    X, P, y = table()
    target = P[:, 0] if "regressor" in kind else y
    known = {} if "regressor" in kind else {"classes": [0, 1, 2]}
    whole = network(kind).partial_fit(X, target, **known)
    model = network(kind).warm_up(X)
    assert not model.__sklearn_is_fitted__()
    model.partial_fit(X[:50], target[:50], **known)  # without a warning, which would be an error
    for name in ("input_offset_", "input_scale_"):
        np.testing.assert_array_equal(getattr(model, name), getattr(whole, name))
    assert model.encoder_.categories_ == whole.encoder_.categories_
    with pytest.raises(ValueError, match="call warm_up before the first partial_fit"):
        model.warm_up(X)
    with pytest.raises(ValueError, match="feature"):
        network(kind).warm_up(X).partial_fit(X[["a", "b"]], target, **known)
    with pytest.raises(ValueError, match=r"but .* continues a fit with"):
        network(kind).warm_up(X).set_params(encoder=None).partial_fit(
            X[["a", "b"]], target, **known
        )
    # a fit begins anew
    part, options = X[:300], {"max_epochs" if "module" in kind else "max_iter": 2}
    warm = network(kind, **options).warm_up(X).fit(part, target[:300])
    cold = network(kind, **options).fit(part, target[:300])
    np.testing.assert_array_equal(warm.predict(X), cold.predict(X))


def test_warm_up_counts_weights_and_fails_without_a_trace():
    X = table()[0]
    weight = np.r_[np.zeros(600), np.ones(600)]
    model = network("classifier").warm_up(X, weight)
    np.testing.assert_array_equal(
        model.input_scale_, network("classifier").warm_up(X[600:]).input_scale_
    )
    broken = network("classifier")
    with pytest.raises(ValueError, match="infinit"):
        broken.warm_up(X.assign(a=np.inf))
    with pytest.raises(ValueError, match="at least one non-zero"):
        broken.warm_up(X, np.zeros(len(X)))
    assert not fitted_names(broken)


@pytest.mark.filterwarnings("default:.*rows decide the")
def test_few_rows_that_decide_the_inputs_warn():
    X, _, y = table()
    known = {"classes": [0, 1, 2]}
    both = r"100 rows decide the encoding and the scaling.*warm_up"
    with pytest.warns(SmallBatchWarning, match=both):
        model = network("classifier").partial_fit(X[:100], y[:100], **known)
    model.partial_fit(X[:100], y[:100])
    network("classifier").partial_fit(X, y, **known)
    weight = (np.arange(len(X)) < 100).astype(float)  # rows of weight zero decide nothing
    with pytest.warns(SmallBatchWarning, match=both):
        network("classifier").partial_fit(X, y, sample_weight=weight, **known)
    with pytest.warns(SmallBatchWarning, match=both):
        network("classifier").warm_up(X[:100]).partial_fit(X[:100], y[:100], **known)
    frozen = FrozenEstimator(TableEncoder().fit(X))
    with pytest.warns(SmallBatchWarning, match="100 rows decide the scaling"):
        network("classifier", encoder=frozen).partial_fit(X[:100], y[:100], **known)
    for encoder, part in ((None, X[["a"]]), (frozen, X)):  # nothing follows from these rows
        model = network("classifier", encoder=encoder, input_scaling=False)
        model.partial_fit(part[:100], y[:100], **known)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"image_shape": (1, 3, 2), "encoder": None}, "image_shape"),
        ({"image_shape": (1, 2, 1)}, "set encoder=None, or image_shape=None"),
        ({"width": 7}, "width must be even"),
    ],
    ids=str,
)
def test_warm_up_refuses_what_fit_refuses(params, message):
    X, _, _ = table()
    kind = "module" if "image_shape" in params else "classifier"
    model = network(kind, **params)
    with pytest.raises(ValueError, match=message):
        model.warm_up(X[["a", "b"]])
    assert not fitted_names(model)


def test_quantiles_of_as_many_targets_as_levels_are_numbers():
    X, P, _ = table()
    levels = {"loss": "quantile", "quantiles": (0.1, 0.5, 0.9)}
    model = network("regressor", **levels).partial_fit(X, P)
    other = copy.deepcopy(model).partial_fit(X, soft_targets=P)
    np.testing.assert_array_equal(
        other.predict(X), model.partial_fit(X, P, soft_targets=P).predict(X)
    )


def test_a_frozen_encoder_is_used_as_it_is():
    X, _, y = table()
    encoder = TableEncoder(n_bins=4).fit(X)
    frozen = network("classifier", encoder=FrozenEstimator(encoder))
    model = clone(frozen).partial_fit(X[:100], y[:100], classes=[0, 1, 2])
    assert model.encoder_ is encoder
    model.partial_fit(X, y)
    fitted = clone(frozen).set_params(max_iter=2).fit(X, y)
    own = network("classifier", encoder=TableEncoder(n_bins=4), max_iter=2).fit(X, y)
    np.testing.assert_array_equal(fitted.predict_proba(X), own.predict_proba(X))
    with pytest.raises(ValueError, match="feature names should match"):
        clone(frozen).fit(X[["b", "a", "level"]], y)
    with pytest.raises(ValueError, match="no fitted TableEncoder"):
        network("classifier", encoder=FrozenEstimator(TableEncoder())).fit(X, y)
    model.set_params(encoder=FrozenEstimator(TableEncoder(n_bins=4).fit(X[:500])))
    with pytest.raises(ValueError, match="continues a fit with"):
        model.partial_fit(X, y)

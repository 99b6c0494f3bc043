"""TwoLayerPGDClassifier: the formulas of its attributes and predictions, randomness and threads."""

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from sklearn_kd import TwoLayerPGDClassifier
from sklearn_kd._networks.two_layer.forward import network_outputs
from tests._helpers.data import blobs
from tests._helpers.references import naive_log_proba, naive_proba
from tests._helpers.two_layer import FAST, signs

# The formulas of attributes and predictions


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("scaling", [True, False])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("output_layer", ["fixed", "trained"])
def test_public_attributes_are_the_model(n_classes, scaling, intercept, output_layer):
    X, y = blobs(n_classes=n_classes)
    X = X * [1, 10, 0.1] + 2
    model = TwoLayerPGDClassifier(
        6,
        radius=3.0,
        max_iter=30,
        output_layer=output_layer,
        input_scaling=scaling,
        input_intercept=intercept,
        encoder=None,
        init="symmetric",
        random_state=0,
    ).fit(X, y)
    inputs = (X - model.input_offset_) / model.input_scale_
    if intercept:
        inputs = np.c_[inputs, np.ones(len(X))]
    logits = np.maximum(inputs @ model.hidden_weights_.T, 0) @ model.output_weights_ / np.sqrt(6)
    np.testing.assert_allclose(model.decision_function(X), logits, rtol=1e-10, atol=1e-12)
    F = logits.reshape(len(X), -1)
    np.testing.assert_allclose(model.predict_proba(X), naive_proba(F), rtol=1e-10)
    np.testing.assert_allclose(
        model.predict_log_proba(X), naive_log_proba(F), rtol=1e-9, atol=1e-13
    )
    np.testing.assert_array_equal(model.predict(X), model.classes_[naive_proba(F).argmax(axis=1)])
    assert model.hidden_weights_.shape == model.initial_weights_.shape == (6, 3 + intercept)
    assert model.output_weights_.shape == ((6,) if n_classes == 2 else (6, 3))
    moved = np.linalg.norm(model.hidden_weights_ - model.initial_weights_, axis=1)
    np.testing.assert_allclose(model.distance_from_init_, moved)
    assert moved.max() <= 3.0 / np.sqrt(6) * (1 + 1e-12)
    if output_layer == "fixed":
        assert set(np.unique(model.output_weights_)) == {-1.0, 1.0}
        np.testing.assert_array_equal(signs(model)[:3], -signs(model)[3:])
    else:
        assert len(np.unique(model.output_weights_)) > 2
    np.testing.assert_array_equal(model.initial_weights_[:3], model.initial_weights_[3:])
    if not scaling:
        np.testing.assert_array_equal(model.input_offset_, 0)
        np.testing.assert_array_equal(model.input_scale_, 1)
    else:
        np.testing.assert_allclose(model.input_offset_, X.mean(axis=0))
        np.testing.assert_allclose(model.input_scale_, X.std(axis=0) * np.sqrt(3))


@pytest.mark.parametrize("init", ["symmetric", "standard"])
def test_output_layer_auto_is_fixed_for_two_classes_with_a_symmetric_start(init):
    for n_classes, fixed in ((2, init == "symmetric"), (3, False)):
        X, y = blobs(n_classes=n_classes)
        weights = TwoLayerPGDClassifier(**FAST, init=init).fit(X, y).output_weights_
        assert (set(np.unique(weights)) == {-1.0, 1.0}) == fixed


def test_standard_init_is_not_paired():
    X, y = blobs()
    W = TwoLayerPGDClassifier(**FAST).fit(X, y).initial_weights_
    assert len(np.unique(W[:, 0])) == 4


def test_prediction_in_blocks():
    X, y = blobs(n_classes=3)
    model = TwoLayerPGDClassifier(**FAST).fit(X, y)
    weights = model.hidden_weights_, model.output_weights_
    blocks = network_outputs(
        X, *weights, model.input_offset_, model.input_scale_, block_bytes=7 * 8 * 4
    )
    np.testing.assert_allclose(blocks, model.decision_function(X), rtol=1e-12)


# Randomness, threads


@pytest.mark.parametrize(
    "options", [{}, {"batch_size": 16}, {"n_init": 1, "early_stopping": False}]
)
def test_same_seed_same_bits(options):
    X, y = blobs(n_classes=3)
    options = {"width": 8, "max_iter": 30, **options}
    first = TwoLayerPGDClassifier(**options, random_state=7).fit(X, y)
    np.random.seed(5)
    torch.manual_seed(5)
    again = TwoLayerPGDClassifier(**options, random_state=7).fit(X, y)
    other = TwoLayerPGDClassifier(**options, random_state=8).fit(X, y)
    state = TwoLayerPGDClassifier(**options, random_state=np.random.RandomState(7)).fit(X, y)
    for name in ("hidden_weights_", "initial_weights_", "output_weights_", "loss_curve_"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        np.testing.assert_array_equal(getattr(first, name), getattr(state, name))
    assert (first.initial_weights_ != other.initial_weights_).any()
    fresh = [TwoLayerPGDClassifier(**options).fit(X, y).initial_weights_ for _ in range(2)]
    assert (fresh[0] != fresh[1]).any()


def test_global_generators_are_left_alone():
    X, y = blobs(n_classes=3)
    before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()
    TwoLayerPGDClassifier(**FAST, batch_size=16).fit(X, y).partial_fit(X, y)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    assert torch.equal(torch.get_rng_state(), torch_before)


@pytest.mark.parametrize("optimizer", ["adam", "nesterov"])
def test_thread_count_changes_rounding_only(optimizer):
    X, y = blobs(n=300, n_classes=3, n_features=20)
    threads = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            with threadpool_limits(n):
                model = TwoLayerPGDClassifier(
                    32, max_iter=60, optimizer=optimizer, early_stopping=False, random_state=0
                ).fit(X, y)
            results.append(model.hidden_weights_)
            assert torch.get_num_threads() == n
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_allclose(results[0], results[1], rtol=1e-9, atol=1e-9)

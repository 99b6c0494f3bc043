"""Training of TwoLayerPGDClassifier against naive projected gradient descent."""

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax

from sklearn_kd import TwoLayerPGDClassifier
from tests._helpers.data import blobs, one_hot, random_proba
from tests._helpers.estimators import Recorder, fitted_names
from tests._helpers.references import naive_kl, naive_pgd
from tests._helpers.two_layer import PGD, signs, soft_labels

THEORY = {**PGD, "input_scaling": False, "input_intercept": False}


# The method


@pytest.mark.parametrize("labels", ["soft", "hard"])
@pytest.mark.parametrize("radius", [None, 1.0])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_fit_is_projected_gradient_descent(labels, radius, n_classes):
    X, y = blobs(n=40, n_classes=n_classes)
    X = X / np.linalg.norm(X, axis=1, keepdims=True)
    P = random_proba(np.random.RandomState(1), 40, n_classes)
    y = P.argmax(axis=1)
    weights = np.random.RandomState(2).uniform(0.2, 2, size=40)
    model = TwoLayerPGDClassifier(
        8,
        radius=radius,
        learning_rate=1.5,
        max_iter=60,
        output_layer="fixed",
        random_state=3,
        **THEORY,
    ).fit(X, y, sample_weight=weights, soft_targets=P if labels == "soft" else None)
    path, risks = naive_pgd(
        X,
        P if labels == "soft" else one_hot(y, n_classes),
        model.initial_weights_,
        signs(model),
        step_size=1.5,
        n_steps=60,
        radius=radius,
        weights=weights,
    )
    np.testing.assert_allclose(model.hidden_weights_, path[-1], rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(model.loss_curve_, risks, rtol=1e-9, atol=1e-12)
    assert model.average_loss_ == pytest.approx(risks.mean(), rel=1e-10)
    assert model.n_iter_ == model.best_iter_ == 60
    assert model.termination_condition_ == "max_iter"
    assert model.validation_loss_curve_ is None
    assert model.hidden_weights_.shape == (8, 3)  # no last column


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0, 10.0])
def test_fixed_point_is_the_teacher_at_every_temperature(temperature, n_classes):
    X = np.random.RandomState(0).normal(size=(200, 3))
    P, y = soft_labels(X, n_classes)
    model = TwoLayerPGDClassifier(
        32, temperature=temperature, max_iter=1500, n_init=1, early_stopping=False, random_state=0
    ).fit(X, y, soft_targets=P)
    assert np.abs(model.predict_proba(X) - P).mean() < 0.005
    assert model.loss_curve_[-1] < 1e-3 * model.loss_curve_[0]
    assert model.loss_curve_[-1] > -1e-9


@pytest.mark.parametrize("n_classes", [2, 3])
def test_loss_curve_of_the_two_term_loss(n_classes):
    # at the symmetric start f = 0: alpha T^2 KL(p_T || uniform) + (1 - alpha) ln K
    X, _ = blobs(n_classes=n_classes)
    P, y = soft_labels(X, n_classes)
    model = TwoLayerPGDClassifier(
        4, alpha=0.4, temperature=3.0, max_iter=1, early_stopping=False, n_init=1, random_state=0,
        init="symmetric",
    ).fit(X, y, soft_targets=P)  # fmt: skip
    tempered = softmax(np.log(P) / 3, axis=1)
    zero = np.zeros((len(X), n_classes))
    expected = 0.4 * 9 * naive_kl(tempered, zero).mean() + 0.6 * np.log(n_classes)
    assert model.loss_curve_[0] == pytest.approx(expected, rel=1e-9)


def test_alpha_above_one_is_projected_descent_on_targets_beyond_the_simplex():
    X, _ = blobs(n=40)
    P, y = soft_labels(X, 2)
    options = {**THEORY, "learning_rate": 0.5, "max_iter": 30, "random_state": 0}
    options["init"] = "symmetric"
    model = TwoLayerPGDClassifier(6, alpha=1.5, radius=1.0, **options)
    model.fit(X, y, soft_targets=P)
    W0, A = model.initial_weights_, model.output_weights_
    W, target = W0, 1.5 * P[:, 1] - 0.5 * y
    for _ in range(30):
        residual = expit(np.maximum(X @ W.T, 0) @ A / np.sqrt(6)) - target
        G = ((X @ W.T > 0) * residual[:, None] * A).T @ X / np.sqrt(6) / len(X)
        D = W - 0.5 * G - W0
        norm = np.linalg.norm(D, axis=1, keepdims=True)
        W = W0 + D * np.minimum(1, 1 / np.sqrt(6) / norm)
    np.testing.assert_allclose(model.hidden_weights_, W, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("batch_size", [None, 8])
def test_alpha_above_one_is_bounded_by_early_stopping(batch_size):
    X, _ = blobs(n=60)
    P, y = soft_labels(X, 2)
    options = {"alpha": 2.0, "batch_size": batch_size, "n_init": 1, "random_state": 0}
    model = TwoLayerPGDClassifier(16, max_iter=1000, n_iter_no_change=50, **options)
    model.fit(X, y, soft_targets=P)
    assert model.termination_condition_ == "early_stopping"
    assert model.best_iter_ < 200
    free = TwoLayerPGDClassifier(16, max_iter=1000, early_stopping=False, radius=1e6, **options)
    free.fit(X, y, soft_targets=P)
    assert free.loss_curve_[-1] < model.loss_curve_[model.best_iter_ - 1] - 0.05
    moved = [np.linalg.norm(m.hidden_weights_ - m.initial_weights_) for m in (model, free)]
    assert moved[0] < 0.7 * moved[1]


def test_alpha_above_one_needs_a_radius_where_nothing_is_held_out():
    X, y = np.eye(3), np.array(["a", "b", "c"])
    Q = 0.5 * np.eye(3) + 0.5 / 3
    model = TwoLayerPGDClassifier(4, alpha=1.5, max_iter=5, random_state=0)
    with pytest.raises(ValueError, match="set a finite radius"):
        model.partial_fit(X, y, classes=y, soft_targets=Q)
    model.set_params(batch_size=2)
    with pytest.raises(ValueError, match="no row to hold out: set a finite radius"):
        model.fit(X, y, soft_targets=Q)
    assert not fitted_names(model)
    model.set_params(radius=1.0).partial_fit(X, y, classes=y, soft_targets=Q)


def test_n_init_keeps_the_best():
    X, y = blobs(n=60, n_classes=3, spread=4)
    options = {"max_iter": 40, "early_stopping": False, "encoder": None, "random_state": 0}
    options["init"] = "symmetric"
    several = TwoLayerPGDClassifier(4, n_init=6, **options).fit(X, y)
    # the same six, one at a time, by handing out the drawn seeds again
    random = np.random.RandomState(0)
    random.randint(2**31 - 1, size=2)
    seeds = random.randint(2**31 - 1, size=6)
    losses_, starts = [], []
    for seed in seeds:
        generator = torch.Generator().manual_seed(int(seed))
        starts.append(torch.randn(2, 4, dtype=torch.float64, generator=generator).numpy())
    for start in starts:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "sklearn_kd._core.network.layers.torch.randn",
                lambda *a, start=start, **k: torch.tensor(start),
            )
            alone = TwoLayerPGDClassifier(4, n_init=1, **options).fit(X, y)
        losses_.append(alone.loss_curve_[-1])
    assert any(np.array_equal(several.initial_weights_[:2], start) for start in starts)
    spread = np.ptp(losses_)
    assert spread > 0
    single = [
        TwoLayerPGDClassifier(4, n_init=1, **{**options, "random_state": s}).fit(X, y)
        for s in range(8)
    ]
    assert several.loss_curve_[-1] <= np.median([m.loss_curve_[-1] for m in single])


def test_more_restarts_never_fit_worse():
    X, y = blobs(n=60, n_classes=3, spread=4)
    final = [
        TwoLayerPGDClassifier(
            4, n_init=n, max_iter=40, early_stopping=False, random_state=0
        ).fit(X, y).loss_curve_[-1]
        for n in (1, 2, 4, 8)
    ]  # fmt: skip
    assert (np.diff(final) <= 1e-12).all()
    assert final[-1] < final[0]


# Early stopping


def test_early_stopping_in_minibatches_keeps_the_best_epoch():
    X, y = blobs(n=300, spread=4)
    model = TwoLayerPGDClassifier(
        16, batch_size=32, max_iter=200, n_iter_no_change=15, n_init=1, random_state=0
    ).fit(X, y)
    curve = np.array(model.validation_loss_curve_)
    assert model.best_iter_ == curve.argmin() + 1
    assert model.termination_condition_ == "early_stopping"
    assert model.n_iter_ == len(model.loss_curve_) == len(curve) == model.best_iter_ + 15
    # the weights are those of that epoch
    again = TwoLayerPGDClassifier(
        16, batch_size=32, max_iter=200, n_iter_no_change=200, n_init=1, random_state=0
    ).fit(X, y)
    best = np.argmin(again.validation_loss_curve_)
    if best + 1 == model.best_iter_:
        np.testing.assert_array_equal(again.hidden_weights_, model.hidden_weights_)
    np.testing.assert_allclose(again.validation_loss_curve_[: len(curve)], curve)


def test_early_stopping_by_cross_validation_uses_all_rows():
    X, y = blobs(n=60, spread=4)
    options = {"width": 16, "max_iter": 100, "n_init": 1, "random_state": 0}
    model = TwoLayerPGDClassifier(**options).fit(X, y)
    assert model.best_iter_ == np.argmin(model.validation_loss_curve_) + 1
    # the same network on the same schedule without early stopping, watched at every epoch
    fixed = TwoLayerPGDClassifier(**options, early_stopping=False)
    recorder = Recorder()
    fixed.set_callbacks(recorder).fit(X, y)
    kept = recorder.models[model.best_iter_ - 1][0].hidden_weights_
    np.testing.assert_allclose(kept, model.hidden_weights_, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(
        fixed.loss_curve_[: model.n_iter_], model.loss_curve_, rtol=1e-8, atol=1e-10
    )

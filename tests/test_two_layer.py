"""TwoLayerPGDClassifier against its formulas, naive training, and what a user may do wrong."""

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from conftest import (
    blobs,
    fitted_names,
    naive_kl,
    naive_log_proba,
    naive_pgd,
    naive_proba,
    one_hot,
    random_proba,
)
from scipy.special import expit, softmax
from sklearn.callback import ScoringMonitor
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine, make_blobs
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, recall_score
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

from sklearn_kd import TwoLayerPGDClassifier
from sklearn_kd._core import losses, solvers
from sklearn_kd._two_layer import _folded
from sklearn_kd.exceptions import (
    DivergenceError,
    EarlyStoppingWarning,
    PrecisionWarning,
    SoftTargetsAlignmentWarning,
)

#: Plain projected gradient descent, as the theory has it.
PGD = {
    "momentum": 0.0,
    "optimizer": "nesterov",
    "batch_size": None,
    "n_init": 1,
    "early_stopping": False,
}
THEORY = {**PGD, "input_scaling": False, "input_intercept": False}
FAST = {"width": 4, "max_iter": 20, "n_init": 1, "random_state": 0}


def soft_labels(X, n_classes, seed=0):
    """Return probabilities of a linear teacher and labels drawn from them."""
    rng = np.random.RandomState(seed)
    F = X @ rng.normal(size=(X.shape[1], 1 if n_classes == 2 else n_classes))
    P = naive_proba(F)
    return P, np.array([rng.choice(n_classes, p=p) for p in P])


def signs(model):
    """Output weights as (width, outputs)."""
    return model.output_weights_.reshape(len(model.hidden_weights_), -1)


def state_of(model):
    return {name: copy.deepcopy(getattr(model, name)) for name in fitted_names(model)}


def assert_same_state(model, state):
    assert fitted_names(model) == set(state)
    for name, value in state.items():
        np.testing.assert_equal(getattr(model, name), value)


# The formulas of api.md


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


def test_output_layer_auto_is_fixed_for_two_classes_and_trained_for_more():
    for n_classes, fixed in ((2, True), (3, False)):
        X, y = blobs(n_classes=n_classes)
        weights = TwoLayerPGDClassifier(**FAST).fit(X, y).output_weights_
        assert (set(np.unique(weights)) == {-1.0, 1.0}) == fixed


def test_standard_init_is_not_paired():
    X, y = blobs()
    W = TwoLayerPGDClassifier(**FAST, init="standard").fit(X, y).initial_weights_
    assert len(np.unique(W[:, 0])) == 4


def test_prediction_in_blocks(monkeypatch):
    from sklearn_kd import _two_layer

    X, y = blobs(n_classes=3)
    model = TwoLayerPGDClassifier(**FAST).fit(X, y)
    whole = model.decision_function(X)
    monkeypatch.setattr(_two_layer, "PREDICT_BLOCK_BYTES", 7 * 8 * 4)
    np.testing.assert_allclose(model.decision_function(X), whole, rtol=1e-12)


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
        4, alpha=0.4, temperature=3.0, max_iter=1, early_stopping=False, n_init=1, random_state=0
    ).fit(X, y, soft_targets=P)
    tempered = softmax(np.log(P) / 3, axis=1)
    zero = np.zeros((len(X), n_classes))
    expected = 0.4 * 9 * naive_kl(tempered, zero).mean() + 0.6 * np.log(n_classes)
    assert model.loss_curve_[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_alpha_zero_is_the_fit_on_hard_labels(temperature):
    X, _ = blobs(n_classes=3)
    P, y = soft_labels(X, 3)
    hard = TwoLayerPGDClassifier(**FAST).fit(X, y)
    model = TwoLayerPGDClassifier(**FAST, alpha=0.0, temperature=temperature)
    model.fit(X, y, soft_targets=P)
    np.testing.assert_array_equal(model.hidden_weights_, hard.hidden_weights_)
    # and alpha and temperature do nothing without soft targets
    other = TwoLayerPGDClassifier(**FAST, alpha=0.5, temperature=5.0).fit(X, y)
    np.testing.assert_array_equal(other.hidden_weights_, hard.hidden_weights_)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_at_temperature_one_alpha_mixes_the_targets(n_classes):
    X, _ = blobs(n_classes=n_classes)
    P, y = soft_labels(X, n_classes)
    model = TwoLayerPGDClassifier(**FAST, alpha=0.3).fit(X, y, soft_targets=P)
    mixed = 0.3 * P + 0.7 * one_hot(y, n_classes)
    other = TwoLayerPGDClassifier(**FAST, alpha=1.0).fit(X, y, soft_targets=mixed)
    np.testing.assert_allclose(model.hidden_weights_, other.hidden_weights_, rtol=1e-8, atol=1e-9)


def test_one_hot_soft_targets_are_hard_labels():
    X, y = blobs(n_classes=3)
    hard = TwoLayerPGDClassifier(**FAST).fit(X, y)
    soft = TwoLayerPGDClassifier(**FAST).fit(X, y, soft_targets=one_hot(y, 3))
    np.testing.assert_allclose(soft.hidden_weights_, hard.hidden_weights_, rtol=1e-10)
    np.testing.assert_allclose(soft.loss_curve_, hard.loss_curve_, rtol=1e-10)


def test_alpha_above_one_is_projected_descent_on_targets_beyond_the_simplex():
    X, _ = blobs(n=40)
    P, y = soft_labels(X, 2)
    options = {**THEORY, "learning_rate": 0.5, "max_iter": 30, "random_state": 0}
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


def test_n_init_keeps_the_best():
    X, y = blobs(n=60, n_classes=3, spread=4)
    options = {"max_iter": 40, "early_stopping": False, "random_state": 0}
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
                "sklearn_kd._core.two_layer.torch.randn",
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


# Soft targets


def test_a_frame_of_soft_targets_goes_by_label():
    X, y = blobs(n_classes=3)
    y = np.array(["red", "blue", "green"])[y]
    P = LogisticRegression().fit(X, y).predict_proba(X)
    model = TwoLayerPGDClassifier(**FAST).fit(X, y, soft_targets=P)
    frame = pd.DataFrame(P, columns=np.unique(y))[["red", "blue", "green"]]
    other = TwoLayerPGDClassifier(**FAST).fit(X, y, soft_targets=frame)
    np.testing.assert_array_equal(model.hidden_weights_, other.hidden_weights_)
    assert not np.isin(["red"], frame.columns[1:]).any()  # it was permuted


@pytest.mark.parametrize("extra", ["amber", "purple", "white"])
def test_a_frame_may_name_classes_that_y_lacks(extra):
    X, y = blobs(n_classes=2)
    y = np.array(["blue", "red"])[y]
    P = LogisticRegression().fit(X, y).predict_proba(X) * 0.9
    frame = pd.DataFrame({extra: np.full(len(X), 0.1), "red": P[:, 1], "blue": P[:, 0]})
    model = TwoLayerPGDClassifier(16, max_iter=600, early_stopping=False, random_state=0)
    model.fit(X, y, soft_targets=frame)
    assert model.classes_.tolist() == sorted([extra, "red", "blue"])
    error = model.predict_proba(X) - frame[model.classes_].to_numpy()
    assert np.abs(error).mean() < 0.02


def test_soft_targets_are_not_modified(rng):
    X, y = blobs()
    P = random_proba(rng, len(X), 2)
    y = P.argmax(axis=1)
    weights = np.ones(len(X))
    arrays = [X, y, P, weights]
    before = [a.copy() for a in arrays]
    for array in arrays:
        array.flags.writeable = False
    TwoLayerPGDClassifier(**FAST, class_weight="balanced").fit(X, y, weights, P)
    for array, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, old)


# Bad input: a clear error and nothing half-fitted


def case_soft(change, X=None):
    def make():
        X, y = blobs(n_classes=3)
        P, y = soft_labels(X, 3)
        return X, y, {"soft_targets": change(P)}

    return make


def with_bad_value(value):
    def make():
        X, y = blobs()
        X[3, 1] = value
        return X, y, {}

    return make


BAD = {
    "nan": ({}, with_bad_value(np.nan), ValueError, "NaN"),
    "inf": ({}, with_bad_value(np.inf), ValueError, "infinity"),
    "one class": ({}, lambda: (blobs()[0], np.ones(80), {}), ValueError, "1 class"),
    "one class left by weights": (
        {},
        lambda: (*blobs(), {"sample_weight": (blobs()[1] == 1).astype(float)}),
        ValueError,
        "1 class",
    ),
    "one row": ({}, lambda: (np.ones((1, 3)), [1], {}), ValueError, "1 class|n_samples=1"),
    "no rows": ({}, lambda: (np.ones((0, 3)), [], {}), ValueError, "0 sample"),
    "no columns": ({}, lambda: (np.ones((5, 0)), [0, 1, 0, 1, 1], {}), ValueError, "0 feature"),
    "lengths": ({}, lambda: (np.ones((5, 2)), [0, 1], {}), ValueError, "inconsistent numbers"),
    "odd width": ({"width": 5}, lambda: (*blobs(), {}), ValueError, "width must be even.*got 5"),
    "width one": ({"width": 1}, lambda: (*blobs(), {}), ValueError, "width"),
    "negative radius": ({"radius": -1.0}, lambda: (*blobs(), {}), ValueError, "radius"),
    "continuous y": (
        {},
        lambda: (blobs()[0], blobs()[0][:, 0], {}),
        ValueError,
        "Unknown label type",
    ),
    "zero weights": (
        {},
        lambda: (*blobs(), {"sample_weight": np.zeros(80)}),
        ValueError,
        "weight.*zero|zero.*weight",
    ),
    "negative weights": (
        {},
        lambda: (*blobs(), {"sample_weight": np.full(80, -1.0)}),
        ValueError,
        "[Nn]egative",
    ),
    "infinite weights": (
        {},
        lambda: (*blobs(), {"sample_weight": np.full(80, np.inf)}),
        ValueError,
        "infinity",
    ),
    "class weight zero": (
        {"class_weight": {0: 0.0, 1: 1.0}},
        lambda: (*blobs(), {}),
        ValueError,
        "class_weight must be positive",
    ),
    "soft shape": ({}, case_soft(lambda P: P[:, :2]), ValueError, "2 columns.*3 classes"),
    "soft length": ({}, case_soft(lambda P: P[:-1]), ValueError, "n_samples=80"),
    "soft range": (
        {},
        case_soft(np.log),
        ValueError,
        "predict_proba, not decision values or logits",
    ),
    "soft sum": ({}, case_soft(lambda P: P * 0.9), ValueError, "sum to 1"),
    "soft nan": ({}, case_soft(lambda P: P * np.nan), ValueError, "soft_targets contains NaN"),
    "alpha and temperature": (
        {"alpha": 1.5, "temperature": 2.0, "radius": 1.0},
        case_soft(lambda P: P),
        ValueError,
        "alpha=1.5 is above 1.*temperature=1 only",
    ),
    "alpha unbounded": (
        {"alpha": 1.5, "early_stopping": False},
        case_soft(lambda P: P),
        ValueError,
        "finite radius or early_stopping=True",
    ),
    "diverging": (
        {"learning_rate": 1e8, "early_stopping": False},
        lambda: (*blobs(), {}),
        DivergenceError,
        "learning_rate=100000000.0.*choose a smaller one, or learning_rate='auto'",
    ),
    "sparse": (
        {},
        lambda: (sp.csr_array(blobs()[0]), blobs()[1], {}),
        TypeError,
        "[Ss]parse.*(toarray|dense)",
    ),
}


@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.SoftTargetsAlignmentWarning")
@pytest.mark.parametrize("case", BAD)
def test_bad_input_leaves_nothing_behind(case):
    params, make, error, message = BAD[case]
    X, y, options = make()
    model = TwoLayerPGDClassifier(**{**FAST, **params})
    with pytest.raises(error, match=message):
        model.fit(X, y, **options)
    assert not fitted_names(model)
    with pytest.raises(NotFittedError):
        model.predict(blobs()[0])
    # a fit there was before is untouched
    X_good, y_good = blobs(n_classes=3, n_features=5)
    model = TwoLayerPGDClassifier(**FAST).fit(X_good, np.array(["a", "b", "c"])[y_good])
    before, proba = state_of(model), model.predict_proba(X_good)
    model.set_params(**params)
    with pytest.raises(error, match=message):
        model.fit(X, y, **options)
    assert_same_state(model, before)
    np.testing.assert_array_equal(model.predict_proba(X_good), proba)


def test_misaligned_soft_targets_warn():
    X, _ = blobs(n=120, n_classes=3)
    P, y = soft_labels(2 * X, 3)
    with pytest.warns(SoftTargetsAlignmentWarning):
        TwoLayerPGDClassifier(**FAST).fit(X, y, soft_targets=np.roll(P, 1, axis=1))
    TwoLayerPGDClassifier(**FAST).fit(X, y, soft_targets=P)  # no warning


# Divergence


@pytest.mark.parametrize("learning_rate", [1e4, 1e30, 1e150, 1e300])
@pytest.mark.parametrize("max_iter", [1, 2, 50])
@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("batch_size", [None, 16])
def test_a_diverging_step_size_raises_or_gives_finite_probabilities(
    learning_rate, max_iter, early_stopping, batch_size
):
    X, y = blobs(n_classes=3)
    model = TwoLayerPGDClassifier(
        4,
        learning_rate=learning_rate,
        max_iter=max_iter,
        early_stopping=early_stopping,
        batch_size=batch_size,
        random_state=0,
    )
    message = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            model.fit(X, y)
        except DivergenceError as error:
            message = str(error)
    if message is not None:
        assert "learning_rate" in message
        assert not fitted_names(model)
        return
    proba = model.predict_proba(X)
    assert np.isfinite(proba).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert np.isfinite(model.hidden_weights_).all()


def test_the_radius_tames_any_step_size():
    X, y = blobs()
    model = TwoLayerPGDClassifier(8, radius=1.0, learning_rate=1e6, random_state=0, **PGD)
    model.set_params(max_iter=20).fit(X, y)
    assert model.distance_from_init_.max() <= 1 / np.sqrt(8) * (1 + 1e-12)


def test_auto_recovers_by_itself(monkeypatch):
    from sklearn_kd import _settings

    X, y = blobs()
    monkeypatch.setattr(_settings, "OUTPUT_STEP", 1e5)
    monkeypatch.setattr(_settings, "HIDDEN_STEP", 1e3)
    monkeypatch.setattr(_settings, "RETRIES", 12)
    model = TwoLayerPGDClassifier(8, output_layer="trained", max_iter=100, random_state=0)
    assert model.fit(X, y).score(X, y) > 0.9
    monkeypatch.setattr(_settings, "RETRIES", 0)
    with pytest.raises(DivergenceError):
        TwoLayerPGDClassifier(8, output_layer="trained", max_iter=100, random_state=0).fit(X, y)


def test_an_attempt_after_divergence_goes_on_with_the_same_report(monkeypatch):
    from sklearn_kd import _settings

    X, y = blobs(n_classes=3)
    train, attempts = solvers.train, []
    monkeypatch.setattr(solvers, "train", lambda *args: attempts.append(1) or train(*args))
    options = {"max_iter": 20, "n_init": 1, "early_stopping": False, "random_state": 0}
    for step in (0.2, 1e7):
        monkeypatch.setattr(_settings, "HIDDEN_STEP", step)
        recorder = Recorder()
        attempts.clear()
        TwoLayerPGDClassifier(8, **options).set_callbacks(recorder).fit(X, y)
        assert (len(attempts) > 1) == (step > 1)
        assert recorder.events[:2] == ["setup", ("begin", "fit")]
        assert recorder.events[2:-2] == [("begin", "epochs"), ("end", "epochs")] * 20
        assert recorder.events[-2:] == [("end", "fit"), "teardown"]


def test_divergence_of_auto_says_what_to_look_at(monkeypatch):
    from sklearn_kd import _settings

    monkeypatch.setattr(_settings, "HIDDEN_STEP", 1e200)
    X, y = blobs()
    model = TwoLayerPGDClassifier(8, early_stopping=False, random_state=0)
    with pytest.raises(DivergenceError, match=r"'auto': set a number.*temperature or weights"):
        model.fit(X, y)


def test_some_diverged_restarts_are_left_out_and_told(monkeypatch):
    X, y = blobs()
    train = solvers.train

    def with_one_bad(students, rows, loss, plan, *args):
        plan.step_size[0] = 1e200
        return train(students, rows, loss, plan, *args)

    monkeypatch.setattr(solvers, "train", with_one_bad)
    model = TwoLayerPGDClassifier(4, n_init=3, learning_rate=0.5, random_state=0, **{
        k: v for k, v in PGD.items() if k != "n_init"
    })  # fmt: skip
    with pytest.warns(ConvergenceWarning, match="1 of 3 networks diverged"):
        model.set_params(max_iter=100).fit(X, y)
    assert model.score(X, y) > 0.9
    assert model.distance_from_init_.max() > 0


# Columns in any unit


@pytest.mark.parametrize(
    "load", [load_breast_cancer, load_wine, load_iris, load_digits], ids=lambda f: f.__name__
)
def test_units_and_shifts_of_columns_do_not_matter(load):
    X, y = load(return_X_y=True)
    if len(X) > 700:
        X, y = X[:700], y[:700]
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    rng = np.random.RandomState(0)
    n = X.shape[1]
    factor = 10.0 ** rng.uniform(-3, 6, size=n)
    shift = rng.uniform(-1e6, 1e6, size=n)
    varies = X_train.std(axis=0) > 0
    factor[varies] /= X_train.std(axis=0)[varies]
    options = {"width": 16, "max_iter": 300, "n_init": 1, "random_state": 0}
    plain = TwoLayerPGDClassifier(**options).fit(X_train, y_train)
    moved = TwoLayerPGDClassifier(**options).fit(X_train * factor + shift, y_train)
    accuracy = plain.score(X_test, y_test)
    assert accuracy > 0.9
    # half a point of accuracy; a test set of less than 200 rows has no half points
    change = abs(moved.score(X_test * factor + shift, y_test) - accuracy)
    assert change < 0.005


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_far_away_have_probabilities(n_classes, dtype):
    X, y = blobs(n_classes=n_classes, dtype=dtype)
    model = TwoLayerPGDClassifier(**FAST).fit(X, y)
    largest = np.finfo(dtype).max
    for far in (1e10, largest / 1e8, largest):
        proba = model.predict_proba(np.full((1, 3), far, dtype=dtype) * [1, -1, 1])
        np.testing.assert_allclose(proba.sum(), 1)
        assert np.isfinite(proba).all()


@pytest.mark.parametrize("factor", [1e-300, 1e-160, 1e155, 1e200, 1e300])
def test_a_column_of_any_magnitude_is_used_or_refused(factor):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(80, 2))
    y = (X[:, 0] > 0).astype(int)
    X[:, 0] *= factor
    model = TwoLayerPGDClassifier(**{**FAST, "max_iter": 200})
    try:
        model.fit(X, y)
    except ValueError:
        assert not fitted_names(model)
    else:
        assert model.score(X, y) > 0.9


def test_float32_warns_where_digits_are_lost():
    X, y = blobs(dtype=np.float32)
    with pytest.warns(PrecisionWarning, match="columns 1 vary"):
        TwoLayerPGDClassifier(**FAST).fit(X + np.float32([0, 3e5, 0]), y)
    model = TwoLayerPGDClassifier(**FAST).fit(X + np.float32([0, 100, 0]), y)
    assert model.hidden_weights_.dtype == np.float32


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


# Interrupts


def interrupt_after(monkeypatch, n_calls, once=False):
    """Let the cross-entropy raise KeyboardInterrupt after n calls (and at each one later)."""
    real, calls = losses.cross_entropy, []

    def interrupted(logits, targets):
        calls.append(1)
        if len(calls) == n_calls + 1 or (len(calls) > n_calls and not once):
            raise KeyboardInterrupt("stop it")
        return real(logits, targets)

    monkeypatch.setattr(losses, "cross_entropy", interrupted)


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("batch_size", [None, 16])
def test_an_interrupt_keeps_the_best_weights_and_is_raised_on(
    monkeypatch, early_stopping, batch_size
):
    X, y = blobs()
    model = TwoLayerPGDClassifier(
        8, early_stopping=early_stopping, batch_size=batch_size, random_state=0
    )
    with monkeypatch.context() as patch:
        interrupt_after(patch, 200)
        with pytest.raises(KeyboardInterrupt, match="stop it"):
            model.fit(X, y)
    assert model.termination_condition_ == "interrupted"
    assert 0 < model.n_iter_ <= 200
    assert model.score(X, y) > 0.9
    # training again is not affected
    assert model.set_params(max_iter=20).fit(X, y).termination_condition_ != "interrupted"


@pytest.mark.parametrize("learning_rate", ["auto", 1e200])
def test_an_interrupt_of_a_diverging_fit_is_raised_on(monkeypatch, learning_rate):
    from sklearn_kd import _settings

    monkeypatch.setattr(_settings, "HIDDEN_STEP", 1e200)
    X, y = blobs()
    model = TwoLayerPGDClassifier(8, learning_rate=learning_rate, batch_size=16, random_state=0)
    interrupt_after(monkeypatch, 3, once=True)  # within the first epoch
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert np.isfinite(model.hidden_weights_).all()
    assert np.isfinite(model.predict_proba(X)).all()


def test_an_interrupt_by_a_callback():
    X, y = blobs()

    class Interrupts(Recorder):
        def on_fit_task_end(self, estimator, context, **_):
            if context.task_name == "epochs" and context.task_id == 2:
                raise KeyboardInterrupt

    model = TwoLayerPGDClassifier(8, max_iter=100, random_state=0).set_callbacks(Interrupts())
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert model.termination_condition_ == "interrupted"
    assert model.n_iter_ == 3
    model.predict(X)


def test_an_interrupt_before_training_keeps_the_previous_fit(monkeypatch):
    X, y = blobs()
    model = TwoLayerPGDClassifier(8, random_state=0)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 50)
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, y)
    before = state_of(model)

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(model, "_fit_targets", stop, raising=True)
        with pytest.raises(KeyboardInterrupt):
            model.fit(X[:, :2], y + 5)
    assert_same_state(model, before)
    model.predict(X)


def test_an_interrupt_between_the_step_and_the_projection_keeps_the_radius(monkeypatch):
    from sklearn_kd._core import two_layer

    X, y = blobs()
    real, calls = two_layer.project, []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 10:
            raise KeyboardInterrupt
        real(*args)

    monkeypatch.setattr(two_layer, "project", interrupted)
    model = TwoLayerPGDClassifier(8, radius=0.1, learning_rate=5.0, random_state=0, **PGD)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert model.distance_from_init_.max() <= 0.1 / np.sqrt(8) * (1 + 1e-9)


# partial_fit


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
            real = solvers.Plan
            patch.setattr(solvers, "Plan", lambda **k: real(**{**k, "decay": False}))
            reference.fit(X, y)
    else:
        reference = TwoLayerPGDClassifier(8, random_state=0, **options, **settings).fit(X, y)
    np.testing.assert_array_equal(model.initial_weights_, reference.initial_weights_)
    np.testing.assert_allclose(model.hidden_weights_, reference.hidden_weights_, rtol=1e-9)
    np.testing.assert_allclose(model.output_weights_, reference.output_weights_, rtol=1e-9)


def test_partial_fit_learns_from_batches_and_keeps_numpy_state():
    X, y = blobs(n=400, n_classes=3)
    model = TwoLayerPGDClassifier(16, random_state=0)
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


# Callbacks and output


class Recorder:
    """Follows the FitCallback protocol of scikit-learn."""

    def __init__(self):
        self.events, self.models = [], []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context, **_):
        self.events.append(("begin", context.task_name))

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None, X=None, y=None, **_):
        self.events.append(("end", context.task_name))
        self.models.append((fitted_estimator, X, y))


def test_callbacks_see_every_block_of_epochs():
    X, y = blobs(n_classes=3)
    recorder = Recorder()
    model = TwoLayerPGDClassifier(4, max_iter=250, early_stopping=False, random_state=0)
    model.set_callbacks(recorder).fit(X, y)
    epochs = [event for event in recorder.events if event == ("end", "epochs")]
    assert len(epochs) == 84  # blocks of three epochs
    assert recorder.events[:3] == ["setup", ("begin", "fit"), ("begin", "epochs")]
    assert recorder.events[-2:] == [("end", "fit"), "teardown"]
    begins = sum(event == ("begin", "epochs") for event in recorder.events)
    assert begins == len(epochs)
    last, X_seen, y_seen = recorder.models[-1]
    np.testing.assert_array_equal(last.predict_proba(X), model.predict_proba(X))
    assert X_seen is not None
    np.testing.assert_array_equal(y_seen, y)
    accuracies = [fitted.score(X, y) for fitted, *_ in recorder.models]
    assert accuracies[-1] > accuracies[0]
    without = TwoLayerPGDClassifier(4, max_iter=250, early_stopping=False, random_state=0)
    np.testing.assert_array_equal(without.fit(X, y).hidden_weights_, model.hidden_weights_)


def test_a_callback_may_stop_training():
    X, y = blobs()

    class Stops(Recorder):
        def on_fit_task_end(self, estimator, context, **_):
            return context.task_name == "epochs" and context.task_id == 4

    model = TwoLayerPGDClassifier(4, max_iter=100, random_state=0).set_callbacks(Stops())
    assert model.fit(X, y).termination_condition_ == "callback"
    assert model.n_iter_ == 5


def test_a_failing_callback_is_torn_down_and_leaves_nothing():
    X, y = blobs()

    class Fails(Recorder):
        def on_fit_task_end(self, estimator, context, **_):
            raise RuntimeError("callback")

    recorder = Fails()
    model = TwoLayerPGDClassifier(4, max_iter=10).set_callbacks(recorder)
    with pytest.raises(RuntimeError, match="callback"):
        model.fit(X, y)
    assert recorder.events[-1] == "teardown"
    assert not fitted_names(model)


def test_scoring_monitor():
    X, y = blobs()
    monitor = ScoringMonitor(scoring=["accuracy", "neg_log_loss"])
    model = TwoLayerPGDClassifier(8, max_iter=100, n_init=1, early_stopping=False, random_state=0)
    model.set_callbacks(monitor).fit(X, y)
    data = monitor.get_logs(select="most_recent").data_as_pandas
    data = data[data["task_name"] == "epochs"]
    assert len(data) == 100
    # the loss before step t + 1 is the score after step t
    np.testing.assert_allclose(
        -data["neg_log_loss"].to_numpy()[:-1], model.loss_curve_[1:], rtol=1e-6
    )
    assert data["accuracy"].iloc[-1] == model.score(X, y)


@pytest.mark.parametrize("early_stopping", [True, False])
def test_verbose_prints_the_loss(capsys, early_stopping):
    X, y = blobs()
    model = TwoLayerPGDClassifier(
        4, max_iter=200, verbose=1, early_stopping=early_stopping, random_state=0
    ).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == model.n_iter_ // 2
    assert lines[0].startswith("[TwoLayerPGDClassifier] epoch 2/200: loss ")
    assert ("held-out loss" in lines[0]) == early_stopping
    assert f"{model.loss_curve_[-1]:.5f}" in lines[-1] or model.n_iter_ % 2
    TwoLayerPGDClassifier(4, max_iter=10).fit(X, y)
    assert capsys.readouterr().out == ""


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
                    32, max_iter=200, optimizer=optimizer, early_stopping=False, random_state=0
                ).fit(X, y)
            results.append(model.hidden_weights_)
            assert torch.get_num_threads() == n
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_allclose(results[0], results[1], rtol=1e-9, atol=1e-9)


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
                max_iter=200,
                random_state=0,
            ).fit(X, y, soft_targets=P)
            curve = model.validation_loss_curve_
            assert min(curve) < 0.6 * curve[0]
            assert model.score(X, y) > 0.93


@pytest.mark.parametrize("batch_size", [None, 16])
def test_early_stopping_works_at_any_temperature(batch_size):
    # T^2 times the entropy of tempered targets is larger than any cap on a row's loss
    X, _ = blobs(n=120)
    P, y = soft_labels(X, 3)
    errors = {}
    for temperature in (1.0, 10.0):
        model = TwoLayerPGDClassifier(
            16, temperature=temperature, batch_size=batch_size, max_iter=300, random_state=0
        ).fit(X, y, soft_targets=P)
        curve = model.validation_loss_curve_
        assert min(curve) < 0.3 * curve[0]
        errors[temperature] = np.abs(model.predict_proba(X) - P).mean()
    assert errors[10.0] < 0.05


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shift", [0.0, 10.0, 1e3])
def test_many_rows_are_predicted_as_each_alone(dtype, shift):
    X, y = blobs(n_classes=3)
    X = (X / X.std(axis=0) + shift).astype(dtype)
    model = TwoLayerPGDClassifier(4, max_iter=30, random_state=0).fit(X, y)
    together = model.decision_function(X)
    alone = np.concatenate([model.decision_function(X[i : i + 1]) for i in range(len(X))])
    digits = 1e-4 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(together, alone, rtol=0, atol=digits * np.abs(alone).max())
    # one row so far away that products overflow leaves the others alone, and is finite itself
    X[3] = np.finfo(dtype).max / 4
    far = model.decision_function(X)
    assert np.isfinite(far).all()
    np.testing.assert_allclose(
        np.delete(far, 3, 0), np.delete(together, 3, 0), rtol=1e-3, atol=1e-4
    )


def test_prediction_of_many_rows_in_columns_of_extreme_scale():
    rng = np.random.RandomState(5)
    X = (rng.normal(size=(200, 2)) * [1e-40, 1.0]).astype(np.float32)
    y = (X[:, 0] > 0).astype(int)
    model = TwoLayerPGDClassifier(2, max_iter=20, random_state=5).fit(X, y)
    some = X[X[:, 0] < 0]
    alone = [model.decision_function(row[None])[0] for row in some]
    np.testing.assert_allclose(model.decision_function(some), alone, atol=1e-5)
    X = np.c_[rng.normal(size=60), np.full(60, 1e308)]
    model = TwoLayerPGDClassifier(2, max_iter=20, random_state=0).fit(X, X[:, 0] > 0)
    with np.errstate(all="raise"):
        assert np.isfinite(model.decision_function(X)).all()


def test_a_constant_column_keeps_prediction_of_many_rows_fast(monkeypatch):
    X, y = blobs()
    X = np.c_[X, np.ones((len(X), 300))]
    model = TwoLayerPGDClassifier(2, max_iter=20, random_state=0).fit(X, y)
    assert _folded(
        model.hidden_weights_[:, :-1],
        model.hidden_weights_[:, -1],
        model.input_offset_,
        model.input_scale_,
        X.dtype,
    )

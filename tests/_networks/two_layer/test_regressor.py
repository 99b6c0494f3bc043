"""TwoLayerPGDRegressor: what differs from the classifier, and the contract that both have."""

import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn import config_context
from sklearn.base import clone
from sklearn.callback import ScoringMonitor
from sklearn.datasets import load_diabetes, make_regression
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import mean_pinball_loss, r2_score
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, train_test_split
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kd import (
    DistilledClassifier,
    SelfDistillClassifier,
    TableEncoder,
    TwoLayerPGDRegressor,
)
from sklearn_kd.exceptions import PrecisionWarning, SoftTargetsAlignmentWarning
from tests._helpers.estimators import Recorder, fitted_names
from tests._helpers.two_layer import assert_same_state, state_of

FAST = {"encoder": None, "width": 8, "max_iter": 40, "n_init": 1, "random_state": 0}
LEVELS = (0.1, 0.5, 0.9)
LOSSES = [{}, {"loss": "huber"}, {"loss": "quantile", "quantiles": LEVELS}]
ALL_LOSSES = pytest.mark.parametrize("options", LOSSES, ids=str)


def regressor(**options):
    return TwoLayerPGDRegressor(**{**FAST, **options})


def numbers(n=100, n_targets=None, dtype=np.float64, seed=0):
    """Rows, and targets that bend along them, with noise."""
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(n, 3))
    y = np.abs(X[:, 0]) + 0.5 * X[:, 1] + 0.1 * rng.normal(size=n)
    if n_targets is not None:
        y = np.stack([y * (k + 1) - k * X[:, 2] for k in range(n_targets)], axis=1)
    return X.astype(dtype), y


# Predictions


@ALL_LOSSES
@pytest.mark.parametrize("n_targets", [None, 1, 3])
@pytest.mark.parametrize("n_members", [1, 3])
def test_the_prediction_is_that_of_the_formula(options, n_targets, n_members):
    X, y = numbers(60, n_targets)
    model = regressor(**options, n_members=n_members).fit(X, y)
    inputs = np.c_[(X - model.input_offset_) / model.input_scale_, np.ones(len(X))]
    outputs = []
    for r in range(n_members):
        signs = np.append(model.input_signs_[r], 1) if n_members > 1 else np.ones(4)
        A = (model.output_weights_[r] if n_members > 1 else model.output_weights_).reshape(8, -1)
        outputs.append(np.maximum(inputs * signs @ model.hidden_weights_.T, 0) @ A / np.sqrt(8))
    outputs = np.mean(outputs, axis=0)
    mean, deviation = np.mean(y, axis=0), np.std(y, axis=0)
    assert_allclose(model.target_offset_, mean)
    assert_allclose(model.target_scale_, deviation)
    if "quantiles" in options:
        expected = np.sort(outputs.reshape(len(X), -1, 3), axis=2)
        expected = np.reshape(mean, (-1, 1)) + np.reshape(deviation, (-1, 1)) * expected
        quantiles = model.predict_quantiles(X)
        assert_allclose(quantiles, expected.reshape(*y.shape, 3), rtol=1e-9, atol=1e-12)
        assert_array_equal(model.predict(X), quantiles[..., 1])
        return
    expected = (mean + deviation * outputs.reshape(len(X), -1)).reshape(y.shape)
    assert_allclose(model.predict(X), expected, rtol=1e-9, atol=1e-12)
    for row, one in zip(X[:5], expected, strict=False):
        assert_allclose(model.predict(row[None])[0], one, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("encoder", ["auto", None])
@pytest.mark.parametrize("n_members", [1, 2])
def test_float32(encoder, n_members):
    X, y = numbers(120, dtype=np.float32)
    model = regressor(encoder=encoder, n_members=n_members).fit(X, 1e6 + y)
    assert model.hidden_weights_.dtype == np.float32
    assert model.predict(X).dtype == model.predict(X[:1]).dtype == np.float32
    other = regressor(encoder=encoder, n_members=n_members).fit(X.astype(np.float64), 1e6 + y)
    assert_allclose(model.predict(X), other.predict(X), rtol=0, atol=0.3)
    single = np.concatenate([model.predict(x[None]) for x in X])
    assert_allclose(single, model.predict(X), rtol=1e-6)
    quantile = regressor(loss="quantile", quantiles=LEVELS).fit(X, y)
    assert quantile.predict_quantiles(X).dtype == np.float32


def test_it_bends_where_a_linear_model_does_not():
    X, y = numbers(300)
    X_test, y_test = numbers(300, seed=1)
    linear = LinearRegression().fit(X, y).score(X_test, y_test)
    for options in ({}, {"loss": "huber"}, {"loss": "quantile"}, {"n_members": 4}):
        model = TwoLayerPGDRegressor(16, random_state=0, max_iter=200, **options).fit(X, y)
        assert model.score(X_test, y_test) > max(0.9, linear + 0.3)
    rows, several = numbers(300, 3)
    model = TwoLayerPGDRegressor(32, random_state=0, max_iter=200).fit(rows, several)
    assert model.score(*numbers(300, 3, seed=1)) > 0.9


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_it_is_as_good_as_a_network_of_scikit_learn_on_diabetes():
    X, y = load_diabetes(return_X_y=True)
    cv = KFold(3, shuffle=True, random_state=0)
    model = TwoLayerPGDRegressor(16, max_iter=200, random_state=0)
    ours = cross_val_score(model, X, y, cv=cv).mean()
    network = MLPRegressor(hidden_layer_sizes=(16,), max_iter=300, random_state=0)
    theirs = cross_val_score(make_pipeline(StandardScaler(), network), X, y, cv=cv).mean()
    assert ours > max(0.35, theirs - 0.1)


# Units of the targets


@ALL_LOSSES
@pytest.mark.parametrize(("factor", "shift"), [(1e9, 0), (1e-9, 0), (np.pi, 1e5), (3.7, -12.0)])
@pytest.mark.parametrize("n_targets", [None, 2])
def test_units_of_targets_change_those_of_predictions_alone(options, factor, shift, n_targets):
    X, y = numbers(120, n_targets)
    soft = 0.9 * y
    plain = regressor(**options, alpha=0.5, early_stopping=True)
    moved = clone(plain).fit(X, y * factor + shift, soft_targets=soft * factor + shift)
    plain.fit(X, y, soft_targets=soft)
    assert moved.n_iter_ == plain.n_iter_
    back = (moved.predict(X) - shift) / factor
    assert_allclose(back, plain.predict(X), rtol=0, atol=1e-6 * np.std(y))
    assert_allclose(moved.loss_curve_, plain.loss_curve_, rtol=1e-6)


@ALL_LOSSES
@pytest.mark.parametrize("value", [0.0, -3.5, 1e9, 1e-9, 1e290])
def test_a_constant_target_is_predicted_exactly(options, value):
    X, _ = numbers(30)
    model = regressor(**options).fit(X, np.full(30, value))
    assert_array_equal(model.predict(X), value)
    assert model.target_scale_ == 0
    both = np.c_[np.full(30, value), X[:, 0]]
    assert_array_equal(regressor(**options).fit(X, both).predict(X)[:, 0], value)
    single = regressor(**options, early_stopping=False).fit(X[:1], [value])
    assert_array_equal(single.predict(X), value)


@ALL_LOSSES
def test_heavy_tails_are_learned(options):
    X, y = numbers(200)
    y = y + np.where(np.arange(200) % 50 == 0, 1e6, 0.0)
    model = regressor(**options).fit(X, y)
    assert np.isfinite(model.predict(X)).all()
    X, y = numbers(400)
    y = np.sinh(3 * y)
    assert regressor(max_iter=400).fit(X, y).score(X, y) > 0.8


def test_outliers_move_a_robust_fit_less():
    X, y = numbers(400)
    X_test, y_test = numbers(300, seed=1)
    wrong = y.copy()
    wrong[::20] += 30.0
    options = {"max_iter": 400, "early_stopping": False}
    squared = regressor(**options).fit(X, wrong).predict(X_test)
    for robust in ({"loss": "huber", "epsilon": 0.05}, {"loss": "quantile"}):
        found = regressor(**options, **robust).fit(X, wrong).predict(X_test)
        assert np.abs(found - y_test).mean() < 0.5 * np.abs(squared - y_test).mean()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("encoder", ["auto", None])
def test_missing_and_infinite_targets_are_errors(bad, encoder):
    X, y = numbers(30, 2)
    y[3, 1] = bad
    kind = "NaN" if np.isnan(bad) else "infinity"
    model = regressor(encoder=encoder)
    for target in (y, y[:, 1], pd.DataFrame(y), y[:, 1].tolist()):
        with pytest.raises(ValueError, match=f"Input y contains {kind}"):
            model.fit(X, target)
    assert not fitted_names(model)
    y[3, 1] = 0.0
    with pytest.raises(ValueError, match=f"Input y_val contains {kind}"):
        model.fit(X, y, X_val=X[:2], y_val=np.full((2, 2), bad))
    soft = y.copy()
    soft[3, 1] = bad
    with pytest.raises(ValueError, match="soft_targets contains"):
        model.fit(X, y, soft_targets=soft)


def test_other_targets_that_are_errors():
    X, y = numbers(30)
    for target, message in [
        (y + 1j, "Complex data not supported"),
        (np.where(y > 0, "high", "low"), "y must be numbers"),
        (pd.Series(np.where(y > 0, "high", "low")), "y must be numbers"),
        (y[:, None, None], "should be of shape"),
        (np.zeros((30, 0)), "should be of shape"),
        (y[:-1], "inconsistent numbers of samples"),
        (np.where(np.arange(30) == 4, 1e308, y), "too large"),
        (1e-310 * (np.arange(30) % 2), "too little"),
    ]:
        model = regressor()
        with pytest.raises(ValueError, match=message):
            model.fit(X, target)
        assert not fitted_names(model)
    with pytest.raises(ValueError, match="requires y"):
        regressor().fit(X, None)
    with pytest.raises(ValueError, match="too large for predictions in float32"):
        regressor().fit(X.astype(np.float32), 1e35 * y)
    with pytest.warns(PrecisionWarning, match="columns 0 of y vary"):
        regressor().fit(X, 1e9 + 1e-6 * y)


# Quantiles


def test_quantiles_are_those_of_the_noise():
    rng = np.random.RandomState(0)
    X = rng.uniform(-1, 1, size=(2000, 1))
    y = X[:, 0] + 0.3 * (1 + X[:, 0]) * rng.normal(size=2000)
    model = TwoLayerPGDRegressor(
        16, loss="quantile", quantiles=(0.1, 0.25, 0.5, 0.9), random_state=0, max_iter=60
    ).fit(X, y)
    found = model.predict_quantiles(X)
    assert (np.diff(found, axis=1) >= 0).all()
    assert_allclose((y[:, None] < found).mean(axis=0), model.quantiles_, atol=0.04)
    assert_allclose(found[:, 2], X[:, 0], atol=0.15)
    constant = [np.full(len(y), np.quantile(y, q)) for q in model.quantiles_]
    for q, ours, base in zip(model.quantiles_, found.T, constant, strict=True):
        of_base = mean_pinball_loss(y, base, alpha=q)
        assert mean_pinball_loss(y, ours, alpha=q) < 0.9 * of_base


@pytest.mark.parametrize(
    ("levels", "index"), [((0.2, 0.6), 1), ((0.3, 0.7), 0), ((0.9,), 0), (None, 0)]
)
def test_predict_is_the_quantile_next_to_the_median(levels, index):
    X, y = numbers(40)
    model = regressor(loss="quantile", quantiles=levels).fit(X, y)
    assert_array_equal(model.predict(X), model.predict_quantiles(X)[:, index])
    assert_array_equal(model.quantiles_, [0.5] if levels is None else levels)


def test_predict_quantiles_belongs_to_the_loss():
    X, y = numbers(30)
    assert not hasattr(regressor(), "predict_quantiles")
    with pytest.raises(AttributeError, match="has no attribute 'predict_quantiles'") as raised:
        regressor().fit(X, y).predict_quantiles(X)
    assert "needs loss='quantile'" in str(raised.value.__cause__)
    with pytest.raises(ValueError, match="was not 'quantile'"):
        regressor().fit(X, y).set_params(loss="quantile").predict_quantiles(X)
    with pytest.raises(NotFittedError):
        regressor(loss="quantile").predict_quantiles(X)
    for levels in ((0.5, 0.1), (0.5, 0.5), (0.0, 0.5), (0.5, 1.0), (), [[0.5]], ("a",), [np.nan]):
        with pytest.raises(ValueError, match="quantiles must be ascending"):
            regressor(loss="quantile", quantiles=levels).fit(X, y)
    with pytest.raises(ValueError, match="belong to loss='quantile'"):
        regressor(quantiles=(0.5,)).fit(X, y)


# Soft targets


def test_squared_errors_of_soft_targets_are_those_of_mixed_targets():
    X, y = numbers(80)
    soft = y + 0.1 * np.random.RandomState(1).normal(size=80)
    model = regressor(alpha=0.3).fit(X, y, soft_targets=soft)
    mixed = regressor(alpha=1.0).fit(X, y, soft_targets=0.3 * soft + 0.7 * y)
    assert_allclose(model.predict(X), mixed.predict(X), rtol=1e-6)


@pytest.mark.parametrize("options", [{}, *LOSSES[1:]], ids=str)
def test_soft_targets_and_alpha(options):
    X, y = numbers(80, 2)
    soft = y + np.random.RandomState(1).normal(size=y.shape)
    options = {**options, "early_stopping": False}
    hard, alone = regressor(**options).fit(X, y), regressor(**options).fit(X, soft)
    zero = regressor(alpha=0.0, **options).fit(X, y, soft_targets=soft)
    assert_allclose(zero.predict(X), hard.predict(X), rtol=1e-6)
    same = regressor(alpha=0.4, **options).fit(X, y, soft_targets=y)
    assert_allclose(same.predict(X), hard.predict(X), rtol=1e-6, atol=1e-9)
    # the units are those of y, so that only the optimum is the same as that of a fit on soft
    one = regressor(**{**options, "max_iter": 400}).fit(X, y, soft_targets=soft)
    assert r2_score(soft, one.predict(X)) > 0.5
    assert np.isfinite(alone.predict(X)).all()


@ALL_LOSSES
def test_rows_of_nan_have_no_soft_targets(options):
    X, y = numbers(80)
    soft = 0.9 * y
    some = np.where(np.arange(80) < 40, np.nan, soft)
    filled = np.where(np.arange(80) < 40, y, soft)
    one = regressor(**options).fit(X, y, soft_targets=some)
    other = regressor(**options).fit(X, y, soft_targets=filled)
    assert_array_equal(one.predict(X), other.predict(X))
    with pytest.warns(SoftTargetsAlignmentWarning, match="all rows"):
        regressor(**options).fit(X, y, soft_targets=np.full(80, np.nan))
    with pytest.raises(ValueError, match="NaN in a part of row 0"):
        regressor(**options).fit(X, np.c_[y, y], soft_targets=np.c_[some, y])


def test_soft_targets_in_another_order_or_shape():
    X, y = numbers(200)
    with pytest.warns(SoftTargetsAlignmentWarning, match="another order"):
        regressor().fit(X, y, soft_targets=np.random.RandomState(0).permutation(y))
    with pytest.raises(ValueError, match="must have the shape of y"):
        regressor().fit(X, y, soft_targets=np.c_[y, y])
    column = regressor().fit(X, y, soft_targets=y[:, None])
    assert_array_equal(column.predict(X), regressor().fit(X, y, soft_targets=y).predict(X))
    index = np.random.RandomState(0).permutation(200)
    frame, target = pd.DataFrame(X), pd.DataFrame(y)
    with pytest.raises(ValueError, match="index of X in another order"):
        regressor().fit(frame, y, soft_targets=target.loc[index])


QUANTILES = {"loss": "quantile", "quantiles": LEVELS}


def with_quantiles(n=200, n_targets=None, seed=0):
    """Rows, targets whose noise grows along a column, and the quantiles of the noise."""
    rng = np.random.RandomState(seed)
    X = rng.uniform(-1, 1, size=(n, 2))
    spread = 0.2 + np.abs(X[:, 0])
    y = X[:, 1] + spread * rng.normal(size=n)
    soft = X[:, 1:] + spread[:, None] * norm.ppf(LEVELS)
    if n_targets is None:
        return X, y, soft
    factors = np.arange(1, n_targets + 1)
    return X, y[:, None] * factors, soft[:, None] * factors[:, None]


@pytest.mark.parametrize("n_targets", [None, 1, 2])
def test_quantiles_of_a_teacher_are_learned(n_targets):
    X, y, soft = with_quantiles(200, n_targets)
    model = regressor(**QUANTILES, max_iter=500).fit(X, y, soft_targets=soft)
    assert model.validation_loss_curve_ is None
    found = model.predict_quantiles(X)
    assert found.shape == soft.shape
    assert np.abs(found - soft).mean() < 0.15 * soft.std()
    hard = regressor(**QUANTILES, max_iter=500).fit(X, y)
    assert np.abs(found - soft).mean() < np.abs(hard.predict_quantiles(X) - soft).mean()
    zero = regressor(**QUANTILES, alpha=0.0, early_stopping=False).fit(X, y, soft_targets=soft)
    plain = regressor(**QUANTILES, early_stopping=False).fit(X, y)
    assert_array_equal(zero.predict_quantiles(X), plain.predict_quantiles(X))


def test_one_quantile_of_a_teacher_is_a_column():
    X, y, soft = with_quantiles()
    options = {"loss": "quantile", "quantiles": (0.9,)}
    quantile = regressor(**options).fit(X, y, soft_targets=soft[:, 2:])
    number = regressor(**options).fit(X, y, soft_targets=soft[:, 2])
    absolute = regressor(loss="quantile", alpha=1.0).fit(X, y, soft_targets=soft[:, 2])
    assert_allclose(quantile.predict(X), absolute.predict(X), rtol=1e-6, atol=1e-9)
    assert np.abs(number.predict(X) - absolute.predict(X)).max() > 1e-3
    with pytest.raises(ValueError, match=r"alpha=1\.5 is above 1, where the loss of quantiles"):
        regressor(**options, alpha=1.5).fit(X, y, soft_targets=soft[:, 2:])


def test_rows_of_nan_have_no_quantiles_of_a_teacher():
    X, y, soft = with_quantiles()
    soft[:100] = np.nan
    some = regressor(**QUANTILES, alpha=1.0).fit(X, y, soft_targets=soft)
    assert np.isfinite(some.predict_quantiles(X)).all()
    with pytest.warns(SoftTargetsAlignmentWarning, match="all rows"):
        none = regressor(**QUANTILES, early_stopping=False).fit(X, y, soft_targets=soft * np.nan)
    plain = regressor(**QUANTILES, early_stopping=False).fit(X, y)
    assert_array_equal(none.predict_quantiles(X), plain.predict_quantiles(X))
    # rows without quantiles are trained on: they move the fit of the others
    others = regressor(**QUANTILES, alpha=1.0).fit(X[100:], y[100:], soft_targets=soft[100:])
    assert np.abs(others.predict_quantiles(X) - some.predict_quantiles(X)).max() > 1e-3


@pytest.mark.parametrize("n_targets", [None, 2])
@pytest.mark.parametrize(("factor", "shift"), [(1e9, 0), (3.7, -12.0)])
def test_units_and_copies_of_quantiles_of_a_teacher(factor, shift, n_targets):
    X, y, soft = with_quantiles(80, n_targets)
    soft[:9] = np.nan
    model = regressor(**QUANTILES, alpha=0.5, early_stopping=True)
    plain = clone(model).fit(X, y, soft_targets=soft).predict_quantiles(X)
    moved = clone(model).fit(X, factor * y + shift, soft_targets=factor * soft + shift)
    assert_allclose((moved.predict_quantiles(X) - shift) / factor, plain, atol=1e-6 * np.std(y))
    counts = np.random.RandomState(0).randint(0, 4, size=80)
    index = np.random.RandomState(1).permutation(np.repeat(np.arange(80), counts))
    weighted = clone(model).fit(X, y, counts, soft).predict_quantiles(X)
    repeated = clone(model).fit(X[index], y[index], None, soft[index]).predict_quantiles(X)
    assert_allclose(repeated, weighted, rtol=1e-7, atol=1e-7)


def test_soft_targets_set_the_schedule_as_soft_labels_do():
    X, y = numbers(80)
    short = TwoLayerPGDRegressor(8, random_state=0).fit(X, y, soft_targets=y)
    assert short.validation_loss_curve_ is None
    assert short.n_iter_ == 500
    for options in ({"alpha": 0.0}, {"alpha": 1.5}, {"early_stopping": True}):
        model = TwoLayerPGDRegressor(8, random_state=0, max_iter=30, **options)
        assert model.fit(X, y, soft_targets=y).validation_loss_curve_ is not None


# Weights


@ALL_LOSSES
@pytest.mark.parametrize("extra", [{}, {"encoder": "auto", "n_members": 2}], ids=str)
@pytest.mark.parametrize("n_targets", [None, 2])
def test_weight_k_is_k_copies_and_weight_zero_is_absence(options, extra, n_targets):
    X, y = numbers(60, n_targets)
    rng = np.random.RandomState(0)
    counts, soft = rng.randint(0, 4, size=60), y + rng.normal(size=y.shape)
    index = rng.permutation(np.repeat(np.arange(60), counts))
    for use_soft in (False, True):
        model = regressor(**options, **extra, alpha=0.5, early_stopping=True)
        weighted = clone(model).fit(X, y, counts, soft if use_soft else None)
        repeated = clone(model).fit(X[index], y[index], None, soft[index] if use_soft else None)
        assert weighted.n_iter_ == repeated.n_iter_
        assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-7, atol=1e-7)


def test_inputs_are_not_modified():
    X, y = numbers(60, 2)
    arrays = [X, y, np.ones(60), 0.9 * y]
    before = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    regressor().fit(*arrays).partial_fit(*arrays)
    for array, old in zip(arrays, before, strict=True):
        assert_array_equal(array, old)


# Early stopping


@ALL_LOSSES
@pytest.mark.parametrize("n_members", [1, 2])
def test_the_validation_loss_is_that_of_the_prediction(options, n_members):
    X, y = numbers(120)
    model = regressor(**options, n_members=n_members, batch_size=None)
    model.fit(X[:80], y[:80], X_val=X[80:], y_val=y[80:], sample_weight_val=np.arange(40))
    mean, deviation = y[:80].mean(), y[:80].std()
    target, weights = (y[80:] - mean) / deviation, np.arange(40) / np.arange(40).sum()
    if "quantiles" in options:
        losses = []
        for q, found in zip(LEVELS, model.predict_quantiles(X[80:]).T, strict=True):
            error = target - (found - mean) / deviation
            losses.append(np.maximum(q * error, (q - 1) * error))
        loss = np.mean(losses, axis=0)  # of sorted quantiles, which is at most that of the outputs
        assert weights @ loss <= min(model.validation_loss_curve_) + 1e-12
        return
    error = np.abs((model.predict(X[80:]) - mean) / deviation - target)
    loss = error**2 / 2
    if options:
        loss = np.where(error < 1.35, loss, 1.35 * error - 1.35**2 / 2)
    assert weights @ loss == pytest.approx(min(model.validation_loss_curve_), rel=1e-9)


@pytest.mark.parametrize("batch_size", [None, 16])
def test_groups_are_held_out_as_a_whole(batch_size):
    rng = np.random.RandomState(0)
    group = np.repeat(np.arange(40), 5)
    X = rng.normal(size=(40, 8))[group] + 1e-3 * rng.normal(size=(200, 8))
    y = rng.normal(size=40)[group]  # that nothing but the group tells
    model = regressor(width=32, max_iter=100, batch_size=batch_size, early_stopping=True)
    single_rows = min(model.fit(X, y).validation_loss_curve_)
    assert min(model.fit(X, y, groups=group).validation_loss_curve_) > 3 * single_rows
    with pytest.raises(ValueError, match="all rows are in one group"):
        model.fit(X, y, groups=np.zeros(200))
    model.set_params(early_stopping=False).fit(X, y, groups=np.zeros(200))


def test_validation_rows_that_are_errors():
    X, y = numbers(60)
    for rows, message in [
        ({"X_val": X[:5]}, "belong together"),
        ({"X_val": X[:5], "y_val": y[:4]}, "y_val has the shape"),
        ({"X_val": X[:5], "y_val": np.c_[y, y][:5]}, "y_val has the shape"),
        ({"X_val": X[:5, :2], "y_val": y[:5]}, "X_val has 2 features"),
    ]:
        with pytest.raises(ValueError, match=message):
            regressor().fit(X, y, **rows)


# Partial fit


@ALL_LOSSES
def test_partial_fit_learns_and_keeps_its_units(options):
    X, y = numbers(400, 2)
    model = TwoLayerPGDRegressor(16, encoder=None, random_state=0, **options)
    for _ in range(20):
        for batch in np.array_split(np.arange(400), 4):
            model.partial_fit(X[batch], y[batch])
    assert_allclose(model.target_offset_, y[:100].mean(axis=0))
    assert model.score(X, y) > 0.85
    before = state_of(model)
    with pytest.raises(ValueError, match="first call to partial_fit was given targets"):
        model.partial_fit(X, y[:, 0])
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(X[:, :2], y)
    assert_same_state(model, before)
    with pytest.raises(ValueError, match="continues a network of the quantiles"):
        model.set_params(loss="quantile", quantiles=(0.3,)).partial_fit(X, y)


def test_partial_fit_after_a_constant_batch():
    X, y = numbers(200)
    model = regressor().partial_fit(X[:5], np.full(5, 2.0))
    assert model.target_scale_ == 2
    for _ in range(60):
        model.partial_fit(X, y)
    assert model.score(X, y) > 0.7


# Joint training


@ALL_LOSSES
@pytest.mark.parametrize("batch_size", [None, 16])
@pytest.mark.parametrize("n_targets", [None, 2])
def test_joint_training_is_that_of_single_fits(options, batch_size, n_targets):
    X, y = numbers(80, n_targets)
    labels = [0.9 * y, y + 0.1]
    settings = [{"width": 4}, {"alpha": 0.5}, {"width": 4, "alpha": 0.0}, {"n_members": 2}]
    settings += [{"width": 6, "early_stopping": "auto"}, {"epsilon": 0.3}, {"n_init": 2}]
    base = regressor(batch_size=batch_size, early_stopping=True, **options)
    students, softs = [clone(base).set_params(**each) for each in settings], []
    for number, student in enumerate(students):
        *rows, soft = student._check_data(X, y, None, labels[number % 2])
        softs.append(soft)
    students.append(regressor(width=3))
    joint = TwoLayerPGDRegressor._fit_jointly(students, *rows, [*softs, None], y)
    joint.advance()
    assert "must be even" in str(joint.fits.pop().error)
    for number, (student, each) in enumerate(zip(students, settings, strict=False)):
        assert joint.fits[number].error is None
        alone = clone(base).set_params(**each).fit(X, y, soft_targets=labels[number % 2])
        assert student.n_iter_ == alone.n_iter_
        assert_allclose(student.predict(X), alone.predict(X), rtol=0, atol=1e-9)
        assert_allclose(student.loss_curve_, alone.loss_curve_, rtol=1e-9)


@pytest.mark.parametrize("kind", ["groups", "rows"])
def test_joint_training_holds_out_what_single_fits_do(kind):
    X, y = numbers(120)
    given = {"groups": np.repeat(np.arange(20), 6)}
    if kind == "rows":
        X_val, y_val = numbers(40, seed=1)
        given = {"X_val": X_val, "y_val": y_val, "sample_weight_val": np.arange(40)}
    students = [regressor(width=width, early_stopping=True) for width in (4, 8)]
    students.append(regressor(early_stopping=False))
    for student in students:
        rows = student._check_data(X, y, None, None)
    validation = students[0]._check_validation(X, rows[1], None, is_joint=True, **given)
    joint = TwoLayerPGDRegressor._fit_jointly(students, *rows, y, validation=validation)
    joint.advance()
    for student in students[:2]:
        alone = clone(student).fit(X, y, **given)
        assert_allclose(student.predict(X), alone.predict(X), rtol=0, atol=1e-9)
        assert_allclose(student.validation_loss_curve_, alone.validation_loss_curve_, rtol=1e-9)
    assert (joint.fits[2].error is None) == (kind == "groups")


def test_groups_that_cannot_be_held_out_end_single_fits_of_a_joint_training():
    X, y = numbers(60)
    students = [regressor(early_stopping=early_stopping) for early_stopping in (True, False)]
    for student in students:
        rows = student._check_data(X, y, None, None)
    groups = {"groups": np.zeros(60)}
    with pytest.raises(ValueError, match="all rows are in one group"):
        students[0]._check_validation(X, rows[1], None, **groups)
    validation = students[0]._check_validation(X, rows[1], None, is_joint=True, **groups)
    joint = TwoLayerPGDRegressor._fit_jointly(students, *rows, y, validation=validation)
    joint.advance()
    assert "all rows are in one group" in str(joint.fits[0].error)
    assert joint.fits[1].error is None


# Life as an estimator


def frame(n=150):
    rng = np.random.RandomState(0)
    X = pd.DataFrame({
        "size": rng.normal(size=n),
        "color": rng.choice(["red", "green", "blue"], n),
        "count": rng.randint(0, 9, n),
    })  # fmt: skip
    y = X["size"] ** 2 + 2.0 * (X["color"] == "red") + 0.1 * rng.normal(size=n)
    X.loc[::7, "size"] = np.nan
    X.loc[::5, "color"] = None
    return X, y


def test_frames_with_strings_and_missing_cells():
    X, y = frame()
    model = TwoLayerPGDRegressor(16, random_state=0, max_iter=200).fit(X, y)
    assert model.score(X, y) > 0.6
    assert_array_equal(model.feature_names_in_, X.columns)
    one = np.concatenate([model.predict(X.iloc[i : i + 1]) for i in range(10)])
    assert_allclose(one, model.predict(X)[:10], rtol=1e-9)
    polars = pytest.importorskip("polars")
    columns = {name: X[name].astype(object).where(X[name].notna(), None).tolist() for name in X}
    other = TwoLayerPGDRegressor(16, random_state=0, max_iter=200)
    other.fit(polars.DataFrame(columns), polars.Series(y.to_numpy()))
    assert_allclose(other.predict(polars.DataFrame(columns)), model.predict(X), rtol=1e-9)
    both = pd.DataFrame({"a": y, "b": -y}, dtype="Float64")
    several = TwoLayerPGDRegressor(8, max_iter=20, random_state=0).fit(X, both)
    again = TwoLayerPGDRegressor(8, max_iter=20, random_state=0)
    again.fit(X, polars.DataFrame({"a": y.to_numpy(), "b": -y.to_numpy()}))
    assert_array_equal(several.predict(X), again.predict(X))
    with pytest.raises(ValueError, match="could not convert string"):
        regressor().fit(X, y)


@ALL_LOSSES
def test_same_seed_same_bits_clone_and_pickle(options):
    X, y = numbers(150)
    model = TwoLayerPGDRegressor(8, max_iter=30, random_state=0, **options).fit(X, y)
    before = joblib.hash(model)
    expected = model.predict(X)
    assert joblib.hash(model) == before
    for other in (clone(model).fit(X, y), pickle.loads(pickle.dumps(model))):
        assert_array_equal(other.predict(X), expected)
    assert not any("torch" in type(value).__module__ for value in vars(model).values())
    restored = pickle.loads(pickle.dumps(model))
    assert type(restored.loss_curve_) is list


def test_searches_and_pipelines():
    X, y = numbers(150)
    search = GridSearchCV(regressor(), {"width": [2, 16]}, cv=3).fit(X, y)
    assert search.best_params_ == {"width": 16}
    pipeline = make_pipeline(StandardScaler(), regressor(max_iter=200)).fit(X, y)
    assert pipeline.score(X, y) > 0.8
    nested = regressor(encoder=TableEncoder())
    GridSearchCV(nested, {"encoder__n_bins": [1, 4]}, cv=2).fit(X, y)
    with config_context(enable_metadata_routing=True):
        network = regressor().set_fit_request(soft_targets=True, sample_weight=True)
        network.set_score_request(sample_weight=True)
        search = GridSearchCV(network, {"alpha": [0.0, 1.0]}, cv=2)
        search.fit(X, y, soft_targets=y, sample_weight=np.ones(150))
    assert set(search.best_params_) == {"alpha"}


def test_callbacks_and_output(capsys):
    X, y = numbers(150)
    recorder, monitor = Recorder(), ScoringMonitor(scoring="r2")
    model = regressor(verbose=1).set_callbacks(recorder, monitor).fit(X, y)
    assert recorder.setups == 0
    assert recorder.events.count(("end", "epochs")) == 40
    assert "[TwoLayerPGDRegressor] epoch 40/40: loss" in capsys.readouterr().out
    assert model.score(X, y) > 0


def test_an_interrupt_keeps_the_best_weights(monkeypatch):
    from sklearn_kd._core.network import losses

    X, y = numbers(80)
    real, calls = losses.squared_error, []

    def interrupted(outputs, targets):
        calls.append(1)
        if len(calls) > 20:
            raise KeyboardInterrupt
        return real(outputs, targets)

    monkeypatch.setattr(losses, "squared_error", interrupted)
    model = regressor()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert model.termination_condition_ == "interrupted"
    assert np.isfinite(model.predict(X)).all()


def test_a_failed_fit_keeps_the_former_one():
    X, y = numbers(60)
    model = regressor().fit(X, y)
    before = state_of(model)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(X[:, :2], np.full(60, np.nan))
    assert_same_state(model, before)


@pytest.mark.parametrize("learning_rate", [1e4, 1e150])
def test_a_diverging_step_size_raises_or_gives_finite_predictions(learning_rate):
    from sklearn_kd.exceptions import DivergenceError

    X, y = numbers(60)
    model = regressor(learning_rate=learning_rate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model.fit(X, y)
        except DivergenceError:
            assert not fitted_names(model)
            return
    assert np.isfinite(model.predict(X)).all()


def test_plain_gradient_descent_converges_at_the_step_size_auto():
    X, y = numbers(100)
    options = {"optimizer": "nesterov", "momentum": 0.0, "early_stopping": False, "max_iter": 300}
    model = regressor(**options).fit(X, y)
    assert (np.diff(model.loss_curve_) < 1e-12).all()
    fixed = regressor(init="symmetric", radius=5.0, **options).fit(X, y)
    assert_array_equal(np.abs(fixed.output_weights_), 1)
    assert fixed.distance_from_init_.max() <= 5.0 / np.sqrt(8) * (1 + 1e-12)


def test_rows_far_away_have_finite_predictions():
    for dtype, factor in [(np.float64, 1.0), (np.float64, 1e290), (np.float32, 1e25)]:
        X, y = numbers(60, dtype=dtype)
        model = regressor().fit(X, factor * y)
        for far in (1e10, np.finfo(dtype).max / 1e8, np.finfo(dtype).max):
            found = model.predict(np.full((1, 3), far, dtype=dtype))
            assert np.isfinite(found).all()
            assert found.dtype == dtype


def test_meta_estimators_of_classifiers_refuse_it():
    X, y = numbers(60)
    labels = (y > 0).astype(int)
    for model in (
        DistilledClassifier(Ridge(), regressor()),
        DistilledClassifier(student=regressor()),
        SelfDistillClassifier(regressor()),
        SelfDistillClassifier(regressor(early_stopping=False)),
    ):
        with pytest.raises(TypeError, match=r"TwoLayerPGDRegressor|regressor"):
            model.fit(X, labels)


@pytest.mark.parametrize("n_targets", [1, 5])
def test_the_learned_function_is_that_of_the_teacher(n_targets):
    X, y = make_regression(300, 5, n_targets=n_targets, noise=1.0, random_state=0)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    teacher = Ridge().fit(X_train, y_train)
    student = TwoLayerPGDRegressor(16, random_state=0)
    student.fit(X_train, y_train, soft_targets=teacher.predict(X_train))
    assert student.score(X_test, y_test) > 0.8


@ALL_LOSSES
def test_files_of_skops(options):
    io = pytest.importorskip("skops.io")
    from sklearn_kd.export import TRUSTED_TYPES

    X, y = numbers(60, 2)
    model = regressor(**options, encoder="auto").fit(X, y)
    data = io.dumps(model)
    assert set(io.get_untrusted_types(data=data)) <= set(TRUSTED_TYPES)
    loaded = io.loads(data, trusted=list(TRUSTED_TYPES))
    assert_array_equal(loaded.predict(X), model.predict(X))
    one = regressor(**options).fit(X, y[:, 0])
    loaded = io.loads(io.dumps(one), trusted=list(TRUSTED_TYPES))
    assert_array_equal(loaded.predict(X), one.predict(X))


def test_numbers_of_numpy_as_parameters():
    X, y = numbers(60)
    plain = regressor(width=4, loss="huber", epsilon=0.5, alpha=0.75).fit(X, y, soft_targets=y)
    scalars = {"width": np.int8(4), "epsilon": np.float16(0.5), "alpha": np.float16(0.75)}
    other = regressor(loss="huber", **scalars).fit(X, y, soft_targets=y)
    assert_array_equal(other.predict(X), plain.predict(X))
    for levels in ([0.25, 0.75], np.array([0.25, 0.75]), (0.25, 0.75)):
        model = regressor(loss="quantile", quantiles=levels).fit(X, y)
        assert_array_equal(clone(model).fit(X, y).quantiles_, [0.25, 0.75])

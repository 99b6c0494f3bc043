"""KernelTeacherRegressor: values and intervals against refits, weights, units, solvers, errors."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.callback import ScoringMonitor
from sklearn.datasets import load_diabetes
from sklearn.exceptions import NotFittedError
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_n_features_in_after_fitting,
    check_param_validation,
    parametrize_with_checks,
)

from sklearn_kd import KernelTeacher, KernelTeacherRegressor, TableEncoder
from sklearn_kd.exceptions import PrecisionWarning
from tests._helpers.estimators import PropagatedRecorder, fitted_names
from tests._helpers.tables import raw_table
from tests._kernel.test_classifier import AS_GIVEN, rbf

SOLVERS = [
    {},
    {"fit_intercept": True, "kernel": "nngp"},
    {"ridge": 0.1},
    {"solver": "pcg"},
    {"solver": "nystroem", "n_components": 20},
    {"training_time": 3.0},
]

FORMS = [
    KernelTeacherRegressor(),
    KernelTeacherRegressor("ntk-full", depth=2, bias=0.3, fit_intercept=True, encoder=None),
    KernelTeacherRegressor(rbf, ridge=0.1, encoder=TableEncoder(n_bins=2)),
    KernelTeacherRegressor(solver="pcg"),
    KernelTeacherRegressor(solver="nystroem", fit_intercept=True, encoder=None),
    KernelTeacherRegressor(training_time=5.0, input_norm=None),
]


@parametrize_with_checks(FORMS)
def test_sklearn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    "check",
    [
        check_param_validation,
        check_dataframe_column_names_consistency,
        check_n_features_in_after_fitting,
    ],
)
def test_checks_not_yielded(check):
    check("KernelTeacherRegressor", KernelTeacherRegressor())


def waves(n=60, n_outputs=None, seed=0, dtype=np.float64):
    """Return rows and noisy smooth targets, one or several."""
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(n, 3))
    Y = np.column_stack([np.sin(X[:, 0]) + X[:, 1], 100 * X[:, 2] - 7, np.cos(X.sum(axis=1))])
    Y += 0.3 * Y.std(axis=0) * rng.normal(size=Y.shape)
    return X.astype(dtype), Y[:, 0] if n_outputs is None else Y[:, :n_outputs]


def refit(K, t, weights, ridge, fit_intercept=False):
    """Return dual weights and offsets of an independent solver."""
    if not fit_intercept:
        model = KernelRidge(alpha=ridge, kernel="precomputed").fit(K, t, sample_weight=weights)
        return model.dual_coef_, np.zeros(t.shape[1])
    n = len(K)
    bordered = np.ones((n + 1, n + 1))
    bordered[:n, :n], bordered[n, n] = K + np.diag(ridge / weights), 0
    solved = np.linalg.solve(bordered, np.vstack([t, np.zeros((1, t.shape[1]))]))
    return solved[:n], solved[n]


def standardized(y, weights):
    Y = y.reshape(len(y), -1)
    mean = np.average(Y, axis=0, weights=weights)
    scale = np.sqrt(np.average((Y - mean) ** 2, axis=0, weights=weights))
    return (Y - mean) / scale, mean, scale


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("n_outputs", [None, 3])
def test_leave_one_out_equals_refits(n_outputs, fit_intercept, rng):
    X, y = waves(60, n_outputs)
    w = rng.uniform(0.5, 2, size=60)
    model = KernelTeacherRegressor(rbf, fit_intercept=fit_intercept, **AS_GIVEN).fit(X, y, w)
    t, mean, scale = standardized(y, w)
    np.testing.assert_allclose(model.target_offset_, mean)
    np.testing.assert_allclose(model.target_scale_, scale)
    K, ridge = rbf(X, X), model.ridge_
    for i in range(60):
        rest = np.arange(60) != i
        dual, offset = refit(K[rest][:, rest], t[rest], w[rest], ridge, fit_intercept)
        expected = mean + scale * (K[i, rest] @ dual + offset)
        difference = (np.atleast_1d(model.loo_prediction_[i]) - expected) / scale
        np.testing.assert_allclose(difference, 0, atol=1e-10)
    dual, offset = refit(K, t, w, ridge, fit_intercept)
    Z = rng.normal(size=(9, 3))
    expected = mean + scale * (rbf(Z, X) @ dual + offset)
    np.testing.assert_allclose(model.predict(Z), expected.reshape(model.predict(Z).shape))
    np.testing.assert_allclose(
        rbf(Z, model.X_fit_) @ model.dual_coef_ + model.intercept_, model.predict(Z)
    )
    assert model.predict(Z).shape == ((9,) if n_outputs is None else (9, 3))
    assert model.loo_prediction_.shape == y.shape


def test_the_ridge_has_the_least_leave_one_out_error(rng):
    X, Y = waves(80, 2)
    w = rng.uniform(0.5, 2, size=80)
    chosen = KernelTeacherRegressor(random_state=0).fit(X, Y, w)
    t, mean, scale = standardized(Y, w)

    def loss(ridge):
        model = clone(chosen).set_params(ridge=ridge).fit(X, Y, w)
        squares = ((model.loo_prediction_ - mean) / scale - t) ** 2
        return np.average(squares.mean(axis=1), weights=w)

    losses = [loss(chosen.ridge_ * 10.0 ** (step / 3)) for step in range(-12, 10)]
    assert loss(chosen.ridge_) <= 1.011 * min(losses)


def brute_force(K, crosses, t, groups, ridge, fit_intercept, coverage):
    """Return jackknife+ intervals by refits; each row is one copy, of weight one."""
    n, n_groups = len(t), groups.max() + 1
    lower, upper = np.empty((2, n, len(crosses), t.shape[1]))
    for i in range(n):
        rest = groups != groups[i]
        dual, offset = refit(K[rest][:, rest], t[rest], np.ones(rest.sum()), ridge, fit_intercept)
        residual = np.abs(t[i] - K[i, rest] @ dual - offset)
        values = crosses[:, rest] @ dual + offset
        lower[i], upper[i] = values - residual, values + residual
    rank = int(np.ceil(coverage * (n + n / n_groups) * (1 - 1e-9))) - 1
    lower, upper = -np.sort(-lower, axis=0)[rank], np.sort(upper, axis=0)[rank]
    return np.stack([lower, upper], axis=-1)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("counts", ["ones", "copies"])
@pytest.mark.parametrize("coverage", [0.9, 0.5])
def test_intervals_equal_jackknife_plus_by_refits(coverage, counts, fit_intercept, rng):
    X, Y = waves(30, 2)
    counts = np.ones(30, int) if counts == "ones" else rng.randint(1, 4, size=30)
    again = np.repeat(np.arange(30), counts)
    Y_again = Y[again] + rng.normal(size=(len(again), 2))  # copies with targets of their own
    Z = rng.normal(size=(7, 3))
    options = {"fit_intercept": fit_intercept, "ridge": 0.2, **AS_GIVEN}
    model = KernelTeacherRegressor(rbf, **options).fit(X[again], Y_again)
    t, mean, scale = standardized(Y_again, np.ones(len(again)))
    K, crosses = rbf(X[again], X[again]), rbf(Z, X[again])
    expected = brute_force(K, crosses, t, again, 0.2, fit_intercept, coverage)
    found = model.predict_interval(Z, coverage)
    assert found.shape == (7, 2, 2)
    difference = (found - mean[:, None]) / scale[:, None] - expected
    np.testing.assert_allclose(difference, 0, atol=1e-10)


LEVELS = (0.1, 0.3, 0.5, 0.9)


def quantiles_of(values, n_groups):
    """Return quantiles of values (n, ...) by their ranks among n and one infinite one."""
    found = []
    for q in LEVELS:
        n = len(values)
        rank = int(np.ceil(max(q, 1 - q) * (n + n / n_groups) * (1 - 1e-9))) - 1
        ascending = np.sort(values, axis=0)
        both = ascending[rank], ascending[::-1][rank]
        found.append(np.mean(both, axis=0) if q == 0.5 else both[int(q < 0.5)])
    return np.stack(found, axis=-1)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("counts", ["ones", "copies"])
def test_quantiles_equal_those_of_refits(counts, fit_intercept, rng):
    X, Y = waves(30, 2)
    counts = np.ones(30, int) if counts == "ones" else rng.randint(1, 4, size=30)
    again = np.repeat(np.arange(30), counts)
    Y_again = Y[again] + rng.normal(size=(len(again), 2))
    Z = rng.normal(size=(7, 3))
    model = KernelTeacherRegressor(rbf, fit_intercept=fit_intercept, ridge=0.2, **AS_GIVEN)
    model.fit(X[again], Y_again)
    t, mean, scale = standardized(Y_again, np.ones(len(again)))
    K, crosses = rbf(X[again], X[again]), rbf(Z, X[again])
    values = np.empty((len(t), 7, 2))
    for i in range(len(t)):
        rest = again != again[i]
        dual, offset = refit(K[rest][:, rest], t[rest], np.ones(rest.sum()), 0.2, fit_intercept)
        residual = t[i] - K[i, rest] @ dual - offset
        values[i] = crosses[:, rest] @ dual + offset + residual
    found = model.predict_quantiles(Z, LEVELS)
    assert found.shape == (7, 2, 4)
    difference = (found - mean[:, None]) / scale[:, None] - quantiles_of(values, 30)
    np.testing.assert_allclose(difference, 0, atol=1e-10)


@pytest.mark.parametrize("options", SOLVERS[3:], ids=str)
def test_intervals_of_other_solvers_equal_cv_plus_by_refits(options, rng):
    X, y = waves(50)
    Z = rng.normal(size=(7, 3))
    model = KernelTeacherRegressor(rbf, **{"ridge": 0.3, **options}, **AS_GIVEN, random_state=0)
    if "training_time" in options:
        model.set_params(ridge="loo")
    if options.get("solver") == "nystroem":
        model.set_params(n_components=50)  # otherwise refits have other centers
    model.fit(X, y)
    fold = model._held_out_["part"]
    assert sorted(np.bincount(fold)) == [10] * 5
    t, mean, scale = standardized(y, np.ones(50))
    K = rbf(X, X)
    lower, upper, signed = np.empty((3, 50, 7))
    for i in range(50):
        rest = fold != fold[i]
        if "training_time" in options:
            values, vectors = np.linalg.eigh(K[rest][:, rest])
            gains = -np.expm1(-3.0 * values) / values
            dual = vectors @ (gains * (vectors.T @ t[rest, 0]))
        else:
            dual = refit(K[rest][:, rest], t[rest], np.ones(rest.sum()), 0.3)[0][:, 0]
        own = K[i, rest] @ dual
        assert model.loo_prediction_[i] == pytest.approx(mean[0] + scale[0] * own, abs=1e-5)
        residual = t[i, 0] - own
        values = rbf(Z, X[rest]) @ dual
        lower[i], upper[i] = values - abs(residual), values + abs(residual)
        signed[i] = values + residual
    rank = 45  # ceil(0.9 * 51) - 1
    expected = np.column_stack([-np.sort(-lower, axis=0)[rank], np.sort(upper, axis=0)[rank]])
    np.testing.assert_allclose(
        model.predict_interval(Z), mean + scale * expected, atol=1e-5 * scale[0]
    )
    np.testing.assert_allclose(
        model.predict_quantiles(Z, LEVELS),
        mean + scale * quantiles_of(signed, 50),
        atol=1e-5 * scale[0],
    )


@pytest.mark.parametrize("options", SOLVERS, ids=str)
@pytest.mark.parametrize("n_outputs", [None, 2])
def test_weights_equal_repetition(options, n_outputs, rng):
    X, y = waves(60, n_outputs)
    counts = rng.randint(0, 4, size=60)
    again = np.repeat(np.arange(60), counts)
    order = rng.permutation(len(again))
    model = KernelTeacherRegressor(random_state=0, **options)
    weighted = clone(model).fit(X, y, counts)
    repeated = clone(model).fit(X[again][order], y[again][order])
    zero = counts == 0
    without = clone(model).fit(X[~zero], y[~zero], counts[~zero])
    close = {"rtol": 1e-9, "atol": 1e-9 * np.abs(y).max()}
    for other in (repeated, without):
        if weighted.ridge_ is not None:
            assert other.ridge_ == pytest.approx(weighted.ridge_, rel=1e-12)
        np.testing.assert_allclose(other.predict(X), weighted.predict(X), **close)
        np.testing.assert_allclose(
            other.predict_interval(X, 0.8), weighted.predict_interval(X, 0.8), **close
        )
        quantiles = [each.predict_quantiles(X, LEVELS) for each in (other, weighted)]
        np.testing.assert_allclose(*quantiles, **close)
    values = weighted.loo_prediction_
    np.testing.assert_allclose(repeated.loo_prediction_, values[again][order], **close)
    np.testing.assert_allclose(without.loo_prediction_, values[~zero], **close)
    np.testing.assert_allclose(values[zero], weighted.predict(X)[zero], **close)


@pytest.mark.parametrize(
    ("dtype", "factor"),
    [(np.float64, 1e-6), (np.float64, 1e307), (np.float32, 1e50), (np.float32, 1e-310)],
)
def test_a_common_factor_of_the_weights_has_no_effect(dtype, factor, rng):
    X, y = waves()
    X, w = X.astype(dtype), rng.uniform(0.5, 2, size=60)
    one, other = (KernelTeacherRegressor(random_state=0).fit(X, y, c * w) for c in (1, factor))
    close = {"rtol": 1e-8 if dtype == np.float64 else 1e-3}
    np.testing.assert_allclose(other.loo_prediction_, one.loo_prediction_, **close)
    np.testing.assert_allclose(other.predict_interval(X), one.predict_interval(X), **close)


def test_a_copy_of_weight_zero_has_the_value_of_its_row():
    X, y = waves(30)
    model = KernelTeacherRegressor(ridge=1e-3).fit(
        np.vstack([X, X[:1], X[:1] + 9]), np.r_[y, 0, 0], np.r_[np.ones(30), 0, 0]
    )
    assert model.loo_prediction_[30] == model.loo_prediction_[0] != model.predict(X[:1])[0]
    np.testing.assert_allclose(model.loo_prediction_[31:], model.predict(X[:1] + 9))


@pytest.mark.parametrize("options", SOLVERS, ids=str)
@pytest.mark.parametrize(
    ("scale", "shift"), [(1e9, 0), (1e-9, 0), (-3.0, 1e5), (1e-150, 0), (1e150, 1e152)]
)
def test_shift_and_scale_of_the_targets_are_units(options, scale, shift):
    X, y = waves()
    plain = KernelTeacherRegressor(random_state=0, **options).fit(X, y)
    other = KernelTeacherRegressor(random_state=0, **options).fit(X, scale * y + shift)
    close = {"rtol": 0, "atol": 1e-6}
    for name in ("predict", "predict_interval"):
        found = (getattr(other, name)(X) - shift) / scale
        if name == "predict_interval":
            found = np.sort(found, axis=1)
        np.testing.assert_allclose(found, getattr(plain, name)(X), **close)
    found = (other.loo_prediction_ - shift) / scale
    np.testing.assert_allclose(found, plain.loo_prediction_, **close)
    levels = LEVELS if scale > 0 else tuple(1 - q for q in reversed(LEVELS))
    found = np.sort((other.predict_quantiles(X, levels) - shift) / scale, axis=1)
    np.testing.assert_allclose(found, plain.predict_quantiles(X, LEVELS), **close)


@pytest.mark.parametrize("options", SOLVERS, ids=str)
def test_constant_targets(options):
    X, Y = waves(30, 2)
    Y[:, 0] = 0.1
    model = KernelTeacherRegressor(**options, random_state=0).fit(X, Y)
    np.testing.assert_array_equal(model.predict(X)[:, 0], 0.1)
    np.testing.assert_array_equal(model.loo_prediction_[:, 0], 0.1)
    np.testing.assert_array_equal(model.predict_interval(X)[:, 0], 0.1)
    np.testing.assert_array_equal(model.predict_quantiles(X, LEVELS)[:, 0], 0.1)
    assert model.target_scale_[0] == 0
    alone = KernelTeacherRegressor(**options, random_state=0).fit(X, Y[:, 0])
    np.testing.assert_array_equal(alone.predict(X), 0.1)
    np.testing.assert_array_equal(alone.predict_interval(X), 0.1)


@pytest.mark.parametrize("options", SOLVERS, ids=str)
@pytest.mark.parametrize("n_rows", [1, 2, 9])
def test_few_rows(options, n_rows):
    X, y = waves(n_rows)
    model = KernelTeacherRegressor(**options, random_state=0).fit(X, y)
    assert np.isfinite(model.loo_prediction_).all()
    if n_rows == 1:
        assert model.predict(X) == y
    with pytest.raises(ValueError, match=f"at least 10 distinct training rows.* has {n_rows}: "):
        model.predict_interval(X)
    with pytest.raises(ValueError, match="at least 10 distinct"):
        KernelTeacherRegressor().fit(np.repeat(X, 50, axis=0), np.repeat(y, 50)).predict_interval(X)
    with pytest.raises(ValueError, match=r"quantiles=\[0.5, 0.9\] need at least 10 distinct"):
        model.predict_quantiles(X, (0.5, 0.9))
    if n_rows == 9:
        assert (np.diff(model.predict_quantiles(X, (0.15, 0.5, 0.85))) > 0).all()
        assert (np.diff(model.predict_interval(X, 0.8)) > 0).all()


def test_heavy_tails(rng):
    X = rng.normal(size=(200, 3))
    y = X[:, 0] + rng.standard_cauchy(200)
    y[0] = 1e200
    model = KernelTeacherRegressor(random_state=0).fit(X, y)
    assert np.isfinite(model.loo_prediction_).all()
    inside = model.predict_interval(X[1:])
    assert np.mean((inside[:, 0] <= y[1:]) & (y[1:] <= inside[:, 1])) > 0.85
    with pytest.raises(ValueError, match="divide y by a constant"):
        KernelTeacherRegressor().fit(X, np.r_[-1.7e308, np.full(199, 1.7e308)])
    with pytest.warns(PrecisionWarning, match="columns 0 of y vary by less"):
        KernelTeacherRegressor().fit(X, 1e16 + 8.0 * rng.randint(2, size=200))


@pytest.mark.parametrize("options", SOLVERS, ids=str)
def test_several_outputs_are_those_of_single_fits(options):
    X, Y = waves(60, 3)
    both = KernelTeacherRegressor(random_state=0, **options).fit(X, Y)
    assert both.target_scale_.shape == both.intercept_.shape == (3,)
    for k in range(3):
        alone = KernelTeacherRegressor(random_state=0, **options)
        if both.ridge_ is not None:
            alone.set_params(ridge=both.ridge_)
        alone.fit(X, Y[:, k])
        close = {"rtol": 1e-6, "atol": 1e-7 * np.abs(Y[:, k]).max()}
        np.testing.assert_allclose(both.predict(X)[:, k], alone.predict(X), **close)
        np.testing.assert_allclose(both.loo_prediction_[:, k], alone.loo_prediction_, **close)
        np.testing.assert_allclose(
            both.predict_interval(X)[:, k], alone.predict_interval(X), **close
        )
    column = KernelTeacherRegressor(random_state=0, **options).fit(X, Y[:, :1])
    assert column.predict(X).shape == column.loo_prediction_.shape == (60, 1)
    assert column.predict_interval(X).shape == (60, 1, 2)
    assert column.predict_quantiles(X, LEVELS).shape == (60, 1, 4)


@pytest.mark.parametrize("options", SOLVERS, ids=str)
def test_float32_is_close_to_float64(options):
    X, y = waves(100, dtype=np.float32)
    y = y + 1e6  # whose digits float32 does not have
    narrow = KernelTeacherRegressor(random_state=0, **options).fit(X, y)
    wide = KernelTeacherRegressor(random_state=0, **options).fit(X.astype(np.float64), y)
    assert narrow.X_fit_.dtype == np.float32
    assert narrow.predict(X).dtype == narrow.dual_coef_.dtype == np.float64
    for name in ("predict", "predict_interval"):
        found, expected = (getattr(model, name)(X) for model in (narrow, wide))
        np.testing.assert_allclose(found, expected, rtol=0, atol=0.05)
    np.testing.assert_allclose(narrow.loo_prediction_, wide.loo_prediction_, rtol=0, atol=0.05)


def test_blocks_of_rows_do_not_matter(monkeypatch, rng):
    from sklearn_kd._kernel import intervals

    X, y = waves(40)
    Z = rng.normal(size=(33, 3))
    model = KernelTeacherRegressor().fit(X, y)
    expected = model.predict_interval(Z)
    monkeypatch.setattr(intervals, "KERNEL_BLOCK_BYTES", 20_000)
    np.testing.assert_allclose(model.predict_interval(Z), expected, rtol=1e-12)
    model.set_params(max_memory=1e-6)
    with pytest.raises(MemoryError, match=r"predict_interval needs about .*max_memory allows"):
        model.predict_interval(Z)


def test_quantiles_are_at_most_their_level_of_the_targets():
    X, y = waves(2000, seed=3)
    model = KernelTeacherRegressor(random_state=0).fit(X[:300], y[:300])
    found = model.predict_quantiles(X[300:], LEVELS)
    assert (np.diff(found) > 0).all()
    np.testing.assert_allclose((y[300:, None] <= found).mean(axis=0), LEVELS, atol=0.04)
    for bad in ((0.9, 0.1), 0.5, (0, 0.5), "median", ()):
        with pytest.raises(ValueError, match="quantiles must be ascending"):
            model.predict_quantiles(X, bad)


def test_intervals_grow_with_coverage():
    X, y = waves(100)
    model = KernelTeacherRegressor().fit(X, y)
    widths = [np.diff(model.predict_interval(X, c)).mean() for c in (0.5, 0.8, 0.9, 0.98)]
    assert widths == sorted(widths)
    for bad in (0, 1, 1.5, "0.9", np.nan):
        with pytest.raises((ValueError, TypeError), match="coverage"):
            model.predict_interval(X, bad)


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["cholesky", "pcg"])
def test_coverage_on_diabetes(solver):
    X, y = load_diabetes(return_X_y=True)
    covered = []
    for seed in range(20):
        X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=seed)
        model = KernelTeacherRegressor(solver=solver, random_state=seed).fit(X_train, y_train)
        lower, upper = model.predict_interval(X_test, 0.9).T
        covered.append(np.mean((lower <= y_test) & (y_test <= upper)))
    assert np.mean(covered) == pytest.approx(0.9, abs=0.03)


def test_out_of_sample_values_are_as_good_as_predictions_of_new_rows():
    X, y = load_diabetes(return_X_y=True)
    model = KernelTeacherRegressor(random_state=0).fit(X[:300], y[:300])
    new = model.score(X[300:], y[300:])
    assert new > 0.45
    assert r2_score(y[:300], model.loo_prediction_) == pytest.approx(new, abs=0.08)
    assert model.score(X[:300], y[:300]) > new + 0.05


def test_auto_takes_the_solver_that_fits(monkeypatch):
    from sklearn_kd._kernel import ridge_fit

    X, y = waves(300)
    exact = KernelTeacherRegressor(random_state=0).fit(X, y)
    monkeypatch.setattr(ridge_fit, "MAX_SELECTION_ROWS", 50)
    monkeypatch.setattr(ridge_fit, "CENTER_BLOCK_ROWS", 64)
    small = clone(exact).set_params(max_memory=6e-4, n_components=20).fit(X, y)
    monkeypatch.setattr(ridge_fit, "MAX_CHOLESKY_ROWS", {"cpu": 100, "cuda": 100})
    large = clone(exact).fit(X, y)
    assert (exact.solver_, small.solver_, large.solver_) == ("cholesky", "nystroem", "pcg")
    large.set_params(ridge=exact.ridge_).fit(X, y)
    np.testing.assert_allclose(large.predict(X), exact.predict(X), atol=1e-6)
    assert not hasattr(small, "fit_targets_")
    for model in (small, large):
        assert model.n_iter_ > 0
        assert model.predict_interval(X).shape == (300, 2)


@pytest.mark.parametrize("frame", ["pandas", "polars"])
def test_raw_tables(frame):
    if frame == "polars":
        pytest.importorskip("polars")
    X, labels = raw_table(80, frame)
    y = np.where(labels == "yes", 3.0, -1.0) + np.linspace(0, 1, 80)
    weights = np.r_[0, 0, np.ones(78)]
    model = KernelTeacherRegressor(random_state=0).fit(X, y, weights)
    plain = raw_table(80)[0]
    by_hand = clone(model).set_params(encoder=None)
    rows = TableEncoder().fit(plain[2:]).transform(plain)
    by_hand.fit(rows, y, weights)
    np.testing.assert_array_equal(model.predict(X), by_hand.predict(rows))
    np.testing.assert_array_equal(model.loo_prediction_, by_hand.loo_prediction_)
    np.testing.assert_array_equal(model.predict_interval(X), by_hand.predict_interval(rows))
    with pytest.raises(ValueError, match="set encoder='auto'"):
        KernelTeacherRegressor(encoder=None).fit(plain, y)


def test_in_a_pipeline_and_a_search():
    X, Y = waves(60, 2)
    pipeline = make_pipeline(StandardScaler(), KernelTeacherRegressor(random_state=0))
    grid = {
        "kernelteacherregressor__kernel": ["ntk", "laplace"],
        "kernelteacherregressor__ridge": ["loo", 10.0],
    }
    search = GridSearchCV(pipeline, grid, cv=2).fit(X, Y)
    assert search.best_params_["kernelteacherregressor__ridge"] == "loo"
    assert search.best_score_ > 0.5
    nested = KernelTeacherRegressor(encoder=TableEncoder()).set_params(encoder__n_bins=1)
    assert cross_val_score(nested, X, Y[:, 0], cv=2).mean() > 0.5


def test_pickles_hold_no_torch_and_predict_the_same(tmp_path):
    X, y = waves()
    for options in ({}, {"solver": "pcg"}):
        model = KernelTeacherRegressor(**options, random_state=0).fit(X, y)
        data = pickle.dumps(model)
        assert b"torch" not in data
        assert b"_kernel" not in data.replace(b"_kernel_params_", b"")
        again = pickle.loads(data)
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
        np.testing.assert_array_equal(again.predict_interval(X), model.predict_interval(X))
    assert not fitted_names(clone(model))
    code = "import sys, pickle; pickle.load(open(sys.argv[1], 'rb'))"
    code += "; assert 'torch' not in sys.modules"
    (tmp_path / "model.pkl").write_bytes(data)
    subprocess.run([sys.executable, "-c", code, tmp_path / "model.pkl"], check=True, timeout=120)


def test_parameters_set_after_the_fit_do_not_change_it():
    X, y = waves()
    model = KernelTeacherRegressor(random_state=0).fit(X, y)
    expected = model.predict_interval(X)
    model.set_params(kernel="laplace", input_norm=None, fit_intercept=True, ridge=9.0)
    np.testing.assert_array_equal(model.predict_interval(X), expected)


def test_callbacks():
    X, y = waves()
    recorder = PropagatedRecorder()
    model = KernelTeacherRegressor(random_state=0).set_callbacks(recorder).fit(X, y)
    assert recorder.begun == recorder.ended == [("fit", None)]
    with pytest.raises(ValueError, match="at least one non-zero"):
        model.fit(X, y, np.zeros(60))
    monitor = ScoringMonitor(scoring="r2")
    model.set_callbacks(monitor).fit(X, y)
    (row,) = monitor.get_logs(select="most_recent").data
    assert row["r2"] == model.score(X, y)


def test_verbose_names_the_estimator(capsys):
    KernelTeacherRegressor(verbose=2, solver="pcg").fit(*waves())
    printed = capsys.readouterr().out
    assert "[KernelTeacherRegressor] solver 'pcg'" in printed
    assert "[KernelTeacherRegressor] iteration" in printed


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"depth": 2}, "ntk-full"),
        ({"training_time": 1.0, "ridge": 0.1}, "replaces the ridge"),
        ({"training_time": 1.0, "fit_intercept": True}, "fit_intercept=False"),
        ({"kernel": lambda A, B: -np.exp(A @ B.T), "ridge": 1e-3}, "not positive definite"),
        ({"ridge": 0.0}, "ridge"),
        ({"kernel": "rbf"}, "kernel"),
    ],
    ids=lambda value: str(value).split(" at 0x")[0][:40],
)
def test_parameters_that_cannot_be_used(options, match):
    X, y = waves(30)
    model = KernelTeacherRegressor(**options)
    with pytest.raises(ValueError, match=match):
        model.fit(X, y)
    assert not fitted_names(model)
    with pytest.raises(NotFittedError):
        model.predict_interval(X)


def test_targets_that_cannot_be_used():
    X, y = waves(30)
    for encoder in ("auto", None):
        model = KernelTeacherRegressor(encoder=encoder)
        for bad, match in (
            (np.where(y > 0, "yes", "no"), "y must be numbers"),
            (np.where(y > 1, np.nan, y), "y contains NaN"),
            (np.where(y > 1, np.inf, y), "y contains infinity"),
            (y[:-1], "inconsistent numbers"),
            (y + 1j, "Complex"),
            (np.zeros((30, 2, 2)), "shape"),
            (None, "requires y to be passed"),
            (np.empty((30, 0)), "shape"),
        ):
            with pytest.raises(ValueError, match=match):
                model.fit(X, bad)
        assert not fitted_names(model)
        model.fit(X, (y > 0).tolist())  # numbers too
        with pytest.raises(ValueError, match="reshape"):
            model.fit(np.zeros((30, 4, 4)), y)


def test_classifiers_and_regressors_share_their_rows():
    X, y = waves()
    labels = y > 0
    teacher = KernelTeacher(ridge=0.1, calibration=None).fit(X, labels)
    codes = KernelTeacherRegressor(ridge=0.1, fit_intercept=True).fit(X, 2.0 * labels - 1)
    np.testing.assert_array_equal(teacher.X_fit_, codes.X_fit_)
    with_offset = KernelTeacher(ridge=0.1, calibration=None, fit_intercept=True).fit(X, labels)
    np.testing.assert_allclose(codes.loo_prediction_, with_offset.loo_decision_function_, atol=1e-9)

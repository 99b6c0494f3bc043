"""KernelTeacher through its public face: labels against refits, weights, solvers, errors."""

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.callback import ScoringMonitor
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_kd import DistilledClassifier, KernelTeacher, TableEncoder, TwoLayerPGDClassifier
from sklearn_kd._kernel import ridge_fit
from tests._helpers.data import blobs
from tests._helpers.estimators import PropagatedRecorder, fitted_names

AS_GIVEN = {"encoder": None, "input_scaling": False, "input_intercept": False, "input_norm": None}


class RBF:
    """Kernel whose text, of which names of cases are made, has no address."""

    def __call__(self, A, B):
        return np.exp(-((A[:, None] - B[None]) ** 2).sum(axis=2))

    def __repr__(self):
        return "rbf"


rbf = RBF()


FORMS = [
    KernelTeacher(),
    KernelTeacher("ntk-full", depth=3, bias=0.3),
    KernelTeacher("nngp", fit_intercept=True, encoder=None),
    KernelTeacher("laplace", ridge=0.1, encoder=TableEncoder(n_bins=2)),
    KernelTeacher(rbf),
    KernelTeacher(solver="pcg"),
    KernelTeacher(solver="nystroem", fit_intercept=True, encoder=None),
    KernelTeacher(training_time=5.0),
    KernelTeacher(input_norm=None, calibration=None, encoder=None),
]


@parametrize_with_checks(FORMS)
def test_sklearn_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(X))
    return X[order], y[order]


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kernel", ["ntk", "ntk-full", "laplace", rbf])
def test_leave_one_out_equals_a_refit_without_the_row(kernel, n_classes, fit_intercept, rng):
    X, y = blobs(40, n_classes)
    w = rng.uniform(0.5, 2, size=40)
    teacher = KernelTeacher(kernel, fit_intercept=fit_intercept, **AS_GIVEN, random_state=0)
    teacher.fit(X, y, w)
    held = clone(teacher).set_params(ridge=teacher.ridge_)
    for i in range(0, 40, 3):
        rest = np.arange(40) != i
        refit = held.fit(X[rest], y[rest], w[rest])
        value = refit.decision_function(X[[i]])[0]
        np.testing.assert_allclose(teacher.loo_decision_function_[i], value, atol=1e-9)


@pytest.mark.parametrize("solver", ["cholesky", "pcg", "nystroem"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_labels_of_every_solver_are_those_of_fits_without_the_row(solver, n_classes):
    """A row whose label is turned round keeps its own out-of-sample value."""
    X, y = blobs(60, n_classes)
    teacher = KernelTeacher(solver=solver, ridge=1e-2, random_state=0)
    before = teacher.fit(X, y).loo_decision_function_.copy()
    turned = y.copy()
    turned[7] = (y[7] + 1) % n_classes
    after = teacher.fit(X, turned).loo_decision_function_
    if solver == "cholesky":
        np.testing.assert_allclose(after[7], before[7], atol=1e-9)
    assert np.abs(np.delete(after, 7, axis=0) - np.delete(before, 7, axis=0)).max() > 1e-3
    # in folds the assignment follows the label, so the value may move, but never towards it
    fitted = teacher.decision_function(X)[7]
    assert np.abs(fitted - before[7]).max() > 3 * np.abs(after[7] - before[7]).max()


def test_noise_cannot_be_read_off_the_labels(rng):
    X, y = rng.normal(size=(300, 5)), rng.randint(2, size=300)
    for solver in ("cholesky", "pcg", "nystroem"):
        teacher = KernelTeacher(solver=solver, ridge=1e-3, random_state=0).fit(X, y)
        assert teacher.score(X, y) > 0.95
        assert np.mean(teacher.loo_proba_.argmax(axis=1) == y) < 0.6
        # a temperature that knows it knows nothing
        assert log_loss(y, teacher.loo_proba_) < 0.72


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ridge": 0.1},
        {"fit_intercept": True, "kernel": "nngp"},
        {"class_weight": "balanced"},
        {"solver": "pcg"},
        {"solver": "nystroem", "n_components": 20},
        {"training_time": 3.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_weights_equal_repetition(options, n_classes, rng):
    X, y = blobs(50, n_classes)
    counts = rng.randint(0, 4, size=50)
    again = np.repeat(np.arange(50), counts)
    teacher = KernelTeacher(random_state=0, **options)
    weighted = clone(teacher).fit(X, y, counts)
    order = rng.permutation(len(again))
    repeated = clone(teacher).fit(X[again][order], y[again][order])
    if weighted.ridge_ is not None:
        assert repeated.ridge_ == pytest.approx(weighted.ridge_, rel=1e-12)
    assert repeated.temperature_ == pytest.approx(weighted.temperature_, rel=1e-9)
    for name in ("decision_function", "predict_proba"):
        np.testing.assert_allclose(
            getattr(repeated, name)(X), getattr(weighted, name)(X), atol=1e-9
        )
    np.testing.assert_allclose(repeated.loo_proba_, weighted.loo_proba_[again][order], atol=1e-9)


def test_copies_share_a_label_that_has_seen_none_of_them():
    X, y = blobs(40)
    twice = np.concatenate([X, X[:5]])
    labels = np.concatenate([y, 1 - y[:5]])  # and contradict each other
    teacher = KernelTeacher(random_state=0, ridge=0.1).fit(twice, labels)
    np.testing.assert_array_equal(teacher.loo_proba_[:5], teacher.loo_proba_[40:])
    alone = KernelTeacher(random_state=0, ridge=0.1, **AS_GIVEN)
    value = alone.fit(twice, labels).loo_decision_function_[0]
    rest = np.r_[1:40, 41:45]
    refit = clone(alone).fit(twice[rest], labels[rest])
    assert value == pytest.approx(refit.decision_function(X[:1])[0], abs=1e-9)


def test_rows_of_weight_zero_get_their_ordinary_value():
    X, y = blobs(30, 3)
    w = np.ones(30)
    w[:4] = 0
    teacher = KernelTeacher(random_state=0).fit(X, y, w)
    np.testing.assert_allclose(teacher.loo_proba_[:4], teacher.predict_proba(X[:4]))
    without = KernelTeacher(random_state=0).fit(X[4:], y[4:])
    np.testing.assert_allclose(teacher.loo_proba_[4:], without.loo_proba_, atol=1e-12)


def test_the_solvers_agree(digits):
    X, y = digits[0][:600], digits[1][:600]
    exact = KernelTeacher(solver="cholesky", ridge=0.02, random_state=0).fit(X, y)
    other = KernelTeacher(solver="pcg", ridge=0.02, random_state=0).fit(X, y)
    centers = KernelTeacher(solver="nystroem", ridge=0.02, random_state=0).fit(X, y)
    Z = digits[0][600:]
    expected = exact.decision_function(Z)
    np.testing.assert_allclose(other.decision_function(Z), expected, atol=1e-8)
    np.testing.assert_allclose(centers.decision_function(Z), expected, atol=1e-5)  # jitter
    assert (exact.solver_, other.solver_, centers.solver_) == ("cholesky", "pcg", "nystroem")
    assert not hasattr(exact, "n_iter_")
    assert other.n_iter_ > 0
    few = KernelTeacher(solver="nystroem", n_components=100, encoder=None, random_state=0)
    few.fit(X, y)
    assert few.X_fit_.shape == (100, 65)
    assert few.score(Z, digits[1][600:]) > 0.9


def test_float32_is_close_to_float64(digits):
    X, y = digits[0][:600], digits[1][:600]
    for solver in ("cholesky", "pcg", "nystroem"):
        wide, narrow = (
            KernelTeacher(solver=solver, ridge=0.02, random_state=0).fit(X.astype(dtype), y)
            for dtype in (np.float64, np.float32)
        )
        for name in ("dual_coef_", "X_fit_", "loo_decision_function_", "loo_proba_"):
            assert getattr(narrow, name).dtype == np.float32
        assert narrow.decision_function(X.astype(np.float32)).dtype == np.float32
        assert narrow.predict_proba(X.astype(np.float32)).dtype == np.float32
        np.testing.assert_allclose(narrow.loo_proba_, wide.loo_proba_, atol=0.05)
        np.testing.assert_allclose(narrow.predict_proba(X), wide.predict_proba(X), atol=0.02)


def test_probabilities_are_honest(digits):
    X, y = digits
    teacher = KernelTeacher(random_state=0).fit(X[:900], y[:900])
    held_out = log_loss(y[900:], teacher.predict_proba(X[900:]))
    assert teacher.score(X[900:], y[900:]) > 0.97
    assert held_out < 0.12
    # what the training rows are told is what new rows will be told
    assert log_loss(y[:900], teacher.loo_proba_) == pytest.approx(held_out, abs=0.05)
    raw = KernelTeacher(random_state=0, calibration=None).fit(X[:900], y[:900])
    assert raw.temperature_ == 1.0
    assert log_loss(y[900:], raw.predict_proba(X[900:])) > 10 * held_out


def test_probabilities_follow_from_the_decision_function():
    for n_classes in (2, 3):
        X, y = blobs(60, n_classes)
        teacher = KernelTeacher(random_state=0).fit(X, y)
        f = teacher.decision_function(X) / teacher.temperature_
        if n_classes == 2:
            f = np.column_stack([np.zeros_like(f), f])
        expected = np.exp(f) / np.exp(f).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(teacher.predict_proba(X), expected, rtol=1e-12)
        np.testing.assert_allclose(np.exp(teacher.predict_log_proba(X)), expected, rtol=1e-12)
        np.testing.assert_array_equal(teacher.predict(X), teacher.classes_[expected.argmax(1)])
    # the expansion that the docstring states, with the rows as the kernel sees them
    own = KernelTeacher(rbf, random_state=0, fit_intercept=True).fit(X, y)
    K = rbf(own._rows(own.encoder_.transform(X)), own.X_fit_)
    np.testing.assert_allclose(own.decision_function(X), K @ own.dual_coef_ + own.intercept_)
    np.testing.assert_allclose(own.dual_coef_.sum(axis=0), 0, atol=1e-9)


def test_rows_reach_the_kernel_as_the_switches_say():
    X, y = blobs(30)
    X = X * [1, 1e3, 1e-3] + [0, 5, -1e4]
    on = KernelTeacher(random_state=0).fit(X, y)
    np.testing.assert_allclose(np.linalg.norm(on.X_fit_, axis=1), 1)
    scaled = (TableEncoder().fit_transform(X) - on.input_offset_) / on.input_scale_
    expected = np.column_stack([scaled, np.ones(30)])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(np.sort(on.X_fit_, axis=0), np.sort(expected, axis=0), atol=1e-12)
    off = KernelTeacher(**AS_GIVEN, random_state=0).fit(X, y)
    np.testing.assert_array_equal(np.sort(off.X_fit_, axis=0), np.sort(X, axis=0))


def test_scale_and_shift_of_columns_do_not_matter():
    X, y = blobs(80, 3)
    plain = KernelTeacher(random_state=0).fit(X, y)
    moved = X * [1e-3, 1.0, 1e6] + [1e6, -1e6, 0]
    other = KernelTeacher(random_state=0).fit(moved, y)
    np.testing.assert_allclose(other.predict_proba(moved), plain.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_stages_are_the_fits_to_those_times(n_classes):
    X, y = blobs(50, n_classes)
    teacher = KernelTeacher(training_time=7.0, random_state=0).fit(X, y)
    assert teacher.solver_ == "eigh"
    assert teacher.ridge_ is None
    times = [0.1, 7.0, 1e6]
    stages = list(teacher.staged_predict_proba(X, times))
    np.testing.assert_allclose(stages[1], teacher.predict_proba(X), atol=1e-12)
    for time, stage in zip(times, stages, strict=True):
        other = clone(teacher).set_params(training_time=time, calibration=None).fit(X, y)
        f = other.decision_function(X) / teacher.temperature_
        f = np.column_stack([np.zeros_like(f), f]) if n_classes == 2 else f
        expected = np.exp(f - f.max(1, keepdims=True))
        np.testing.assert_allclose(stage, expected / expected.sum(1, keepdims=True), atol=1e-6)
    assert list(teacher.staged_predict_proba(X, [])) == []
    # a teacher with a ridge has stages too, one of centers only has none
    assert len(list(KernelTeacher().fit(X, y).staged_predict_proba(X, times))) == 3
    with pytest.raises(ValueError, match="too few rows"):
        next(KernelTeacher(solver="nystroem").fit(X, y).staged_predict_proba(X, times))
    with pytest.raises(ValueError, match="free intercept"):
        next(KernelTeacher(fit_intercept=True).fit(X, y).staged_predict_proba(X, times))
    with pytest.raises(ValueError, match="positive and finite"):
        next(teacher.staged_predict_proba(X, [1.0, -1.0]))


def test_cross_fitted_values_of_a_training_time_leave_the_fold_out(rng):
    X, y = rng.normal(size=(200, 4)), rng.randint(2, size=200)
    teacher = KernelTeacher(training_time=1e4, random_state=0).fit(X, y)
    assert teacher.score(X, y) > 0.95
    assert np.mean(teacher.loo_proba_.argmax(axis=1) == y) < 0.62


@pytest.mark.parametrize("n_rows", [2, 3, 6])
def test_few_rows(n_rows):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(n_rows, 8)), np.arange(n_rows)
    for options in ({}, {"fit_intercept": True}, {"solver": "pcg"}, {"training_time": 1.0}):
        teacher = KernelTeacher(random_state=0, **options).fit(X, y)
        for P in (teacher.loo_proba_, teacher.predict_proba(X)):
            assert np.isfinite(P).all()
            np.testing.assert_allclose(P.sum(axis=1), 1)


@pytest.mark.parametrize("solver", ["cholesky", "pcg", "nystroem"])
def test_degenerate_rows(solver):
    X, y = blobs(40, 3)
    for bad in (
        np.zeros((40, 2)),  # one distinct row, of zeros
        np.column_stack([X, np.full(40, 3.0)]),  # a constant column
        np.repeat(X[:4], 10, axis=0),  # four distinct rows, every label in each
        np.column_stack([X[:, :1], X[:, :1], -X[:, :1]]),  # rank one
        np.vstack([X[:39], np.full((1, 3), 1e150)]),  # one row far away
    ):
        for options in ({}, AS_GIVEN):
            teacher = KernelTeacher(solver=solver, random_state=0, **options)
            teacher.fit(bad, y)
            P = np.concatenate([teacher.loo_proba_, teacher.predict_proba(bad)])
            assert np.isfinite(P).all()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"depth": 2}, "ntk-full"),
        ({"kernel": "nngp", "bias": 0.1}, "ntk-full"),
        ({"training_time": 1.0, "ridge": 0.1}, "replaces the ridge"),
        ({"training_time": 1.0, "fit_intercept": True}, "fit_intercept=False"),
        ({"training_time": 1.0, "method": "margin"}, "method='ridge'"),
        ({"method": "margin", "kernel": "nngp"}, "kernel='ntk'"),
        ({"kernel": lambda A, B: np.ones(3)}, "must return shape"),
        ({"kernel": lambda A, B: -np.exp(A @ B.T), "ridge": 1e-3}, "not positive definite"),
        ({"kernel": lambda A, B: -np.exp(A @ B.T), "training_time": 1.0}, "not positive definite"),
        ({"kernel": lambda A, B: (A @ B.T) * (2 + A[:, :1])}, "not symmetric"),
        ({"kernel": lambda A, B: np.full((len(A), len(B)), np.nan)}, "real and finite"),
        ({"kernel": "ntk", "bandwidth": 2.0}, "laplace"),
        ({"method": "margin", "ridge": 0.1}, "no ridge"),
        ({"method": "margin", "class_weight": "balanced"}, "no ridge, solver or class weights"),
        ({"kernel": "rbf"}, "kernel"),
        ({"depth": 11}, "depth"),
        ({"ridge": 0.0}, "ridge"),
        ({"ridge": "gcv"}, "ridge"),
    ],
    ids=lambda value: str(value).split(" at 0x")[0][:40],
)
def test_parameters_that_cannot_be_used(options, match):
    X, y = blobs(30)
    teacher = KernelTeacher(**options)
    with pytest.raises(ValueError, match=match):
        teacher.fit(X, y)
    assert not fitted_names(teacher)
    with pytest.raises(NotFittedError):
        teacher.predict(X)


@pytest.mark.parametrize("scale", [1e-310, 1e-40, 1e-6, 1 / 80])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_of_any_common_size_make_the_same_labels(scale, dtype):
    X, y = blobs(80, 3)
    one = KernelTeacher(random_state=0).fit(X.astype(dtype), y)
    other = KernelTeacher(random_state=0).fit(X.astype(dtype), y, np.full(80, scale))
    np.testing.assert_allclose(
        other.loo_proba_, one.loo_proba_, atol=1e-9 if dtype == np.float64 else 1e-5
    )
    assert other.ridge_ == pytest.approx(one.ridge_ * scale, rel=1e-6)


@pytest.mark.parametrize("scale", [2.0**-300, 2.0**1016])
@pytest.mark.parametrize("name", ["ridge", "training_time"])
def test_a_ridge_and_a_training_time_count_relative_to_the_weights(name, scale):
    X, y = blobs(40)
    X = X.astype(np.float32)
    of_scale = 0.25 * scale if name == "ridge" else 0.25 / scale
    teacher = KernelTeacher(calibration=None, random_state=0)
    one = clone(teacher).set_params(**{name: 0.25}).fit(X, y)
    other = teacher.set_params(**{name: of_scale}).fit(X, y, np.full(40, scale))
    np.testing.assert_array_equal(other.loo_proba_, one.loo_proba_)
    assert other.ridge_ == (of_scale if name == "ridge" else None)
    stages = one.staged_predict_proba(X, [1.0]), other.staged_predict_proba(X, [1 / scale])
    np.testing.assert_array_equal(*map(next, stages))


def test_parameters_set_after_the_fit_do_not_change_it():
    X, y = blobs(40)
    teacher = KernelTeacher(random_state=0).fit(X, y)
    expected = teacher.predict_proba(X)
    teacher.set_params(kernel="laplace", input_norm=None, input_intercept=False, bandwidth=3.0)
    np.testing.assert_array_equal(teacher.predict_proba(X), expected)


def test_a_copy_of_weight_zero_has_the_label_of_its_row():
    X, y = blobs(30)
    with_copy = np.vstack([X, X[:1], X[:1] + 9])
    w = np.r_[np.ones(30), 0, 0]
    teacher = KernelTeacher(ridge=1e-6, random_state=0).fit(with_copy, np.r_[y, y[0], 0], w)
    np.testing.assert_array_equal(teacher.loo_proba_[30], teacher.loo_proba_[0])
    np.testing.assert_allclose(teacher.loo_proba_[31:], teacher.predict_proba(X[:1] + 9))


def test_rows_beyond_all_numbers():
    X, y = blobs(30)
    teacher = KernelTeacher(encoder=None, input_norm=None, ridge=1e-6, random_state=0).fit(X, y)
    assert np.isfinite(teacher.predict_proba(X * 1e200)).all()
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="far from the training rows"):
        teacher.predict_proba(np.full((1, 3), 1.7e308))
    for encoder in (None, "auto"):
        sphere = KernelTeacher(encoder=encoder, random_state=0).fit(X, y)
        assert np.isfinite(sphere.predict_proba(X * 1e200)).all()
    with pytest.raises(ValueError, match="rescale X"):
        KernelTeacher(method="margin", **AS_GIVEN).fit(X * 1e160, y)


@pytest.mark.parametrize("solver", ["cholesky", "pcg", "nystroem"])
def test_one_distinct_row_with_both_labels(solver):
    teacher = KernelTeacher(solver=solver, fit_intercept=True, random_state=0)
    P = teacher.fit([[1, 2], [1, 2]], [0, 1]).loo_proba_
    np.testing.assert_allclose(P, 0.5)


def test_no_margin_warns():
    X, y = blobs(30)
    with pytest.warns(ConvergenceWarning, match="no margin"):
        KernelTeacher(method="margin", random_state=0).fit(
            np.vstack([X, X[:1]]), np.append(y, 1 - y[0])
        )
    with pytest.raises(MemoryError, match="max_memory"):
        KernelTeacher(method="margin", max_memory=0.01).fit(X, y)


def test_nystroem_leaves_rows_out_at_a_small_ridge(rng):
    X = rng.normal(size=(300, 4))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    exact = KernelTeacher(ridge=1e-6, solver="pcg", random_state=0).fit(X, y)
    centers = KernelTeacher(ridge=1e-6, solver="nystroem", random_state=0).fit(X, y)
    np.testing.assert_allclose(centers.loo_proba_, exact.loo_proba_, atol=0.02)


def test_a_failed_refit_loses_nothing():
    X, y = blobs(30)
    teacher = KernelTeacher(random_state=0).fit(X, y)
    expected = teacher.predict_proba(X)
    with pytest.raises(ValueError, match="at least 2 classes"):
        teacher.fit(X, np.zeros(30))
    np.testing.assert_array_equal(teacher.predict_proba(X), expected)


def test_memory_is_refused_before_it_is_taken(monkeypatch):
    X, y = blobs(400)

    def forbidden(*args, **kwargs):
        raise AssertionError("allocated")

    with monkeypatch.context() as patch:
        patch.setattr(ridge_fit.kernels, "gram", forbidden)
        tiny = 2e-4  # GiB
        for options in ({"solver": "cholesky"}, {"solver": "pcg"}, {"training_time": 1.0}):
            with pytest.raises(MemoryError, match=r"needs about .* of the .* max_memory allows: "):
                KernelTeacher(max_memory=tiny, encoder=None, **options).fit(X, y)
        with pytest.raises(MemoryError, match="n_components="):
            KernelTeacher(max_memory=tiny, encoder=None, solver="nystroem", ridge=0.1).fit(X, y)


def test_auto_takes_the_solver_that_fits_and_says_why(monkeypatch, caplog):
    X, y = blobs(300)
    monkeypatch.setattr(ridge_fit, "MAX_SELECTION_ROWS", 50)
    monkeypatch.setattr(ridge_fit, "N_COMPONENTS", 20)
    monkeypatch.setattr(ridge_fit, "CENTER_BLOCK_ROWS", 64)
    monkeypatch.setattr(ridge_fit, "MAX_RANK", 10)
    with caplog.at_level("INFO", logger="sklearn_kd"):
        assert KernelTeacher(random_state=0).fit(X, y).solver_ == "cholesky"
        monkeypatch.setattr(ridge_fit, "MAX_CHOLESKY_ROWS", {"cpu": 100, "cuda": 100})
        assert KernelTeacher(random_state=0).fit(X, y).solver_ == "pcg"
        small = KernelTeacher(random_state=0, max_memory=4e-4).fit(X, y)
        assert small.solver_ == "nystroem"
    assert small.X_fit_.shape == (20, 3 * 8 + 1)
    assert small.score(X, y) > 0.8
    assert "300 distinct rows on cpu" in caplog.text
    assert "GiB are available" in caplog.text


def test_centers_that_do_not_fit_are_computed_for_each_pass(monkeypatch):
    X, y = blobs(200, 3)
    kept = KernelTeacher(solver="nystroem", n_components=30, random_state=0).fit(X, y)
    monkeypatch.setattr(ridge_fit, "CENTER_BLOCK_ROWS", 37)
    monkeypatch.setattr(ridge_fit, "MAX_KEPT_MEMORY_SHARE", 0.0)
    streamed = KernelTeacher(
        solver="nystroem", n_components=30, random_state=0, ridge=kept.ridge_
    ).fit(X, y)
    np.testing.assert_allclose(streamed.predict_proba(X), kept.predict_proba(X), atol=1e-7)


def test_what_does_not_converge_warns(monkeypatch):
    X, y = blobs(100)
    monkeypatch.setattr(ridge_fit, "MAX_ITER", 2)
    teacher = KernelTeacher(solver="pcg", ridge=1e-6, random_state=0)
    with pytest.warns(ConvergenceWarning, match=r"relative residual.*: set ridge to a larger numb"):
        teacher.fit(X, y)
    with pytest.warns(ConvergenceWarning, match=r"larger number, or pass float64 rows\.$"):
        teacher.fit(X.astype(np.float32), y)


def test_verbose_prints_the_solver_and_the_residuals(capsys):
    X, y = blobs(60)
    KernelTeacher(verbose=1).fit(X, y)
    assert "solver 'cholesky': 60 distinct rows" in capsys.readouterr().out
    KernelTeacher(verbose=2, solver="pcg").fit(X, y)
    assert "relative residual" in capsys.readouterr().out


def test_pickles_hold_no_torch_and_predict_the_same(tmp_path):
    X, y = blobs(50, 3)
    teacher = KernelTeacher(random_state=0).fit(X, y)
    data = pickle.dumps(teacher)
    assert b"torch" not in data
    np.testing.assert_array_equal(pickle.loads(data).predict_proba(X), teacher.predict_proba(X))
    code = "import sys, pickle; pickle.load(open(sys.argv[1], 'rb'))"
    code += "; assert 'torch' not in sys.modules"
    (tmp_path / "teacher.pkl").write_bytes(data)
    subprocess.run([sys.executable, "-c", code, tmp_path / "teacher.pkl"], check=True, timeout=120)


def test_in_a_pipeline_and_a_search():
    X, y = blobs(60, 3)
    pipeline = make_pipeline(StandardScaler(), KernelTeacher(random_state=0))
    grid = {"kernelteacher__kernel": ["ntk", "laplace"], "kernelteacher__ridge": ["loo", 1.0]}
    search = GridSearchCV(pipeline, grid, cv=2, scoring="neg_log_loss").fit(X, y)
    assert search.best_score_ > -0.6


def test_a_student_learns_from_labels_that_left_its_row_out():
    X, y = blobs(80, 3)
    student = TwoLayerPGDClassifier(4, max_iter=50)
    distilled = DistilledClassifier(KernelTeacher(), student, random_state=0).fit(X, y)
    assert distilled.label_source_ == "loo"
    assert distilled.score(X, y) > 0.8


def test_it_is_the_default_teacher():
    X, y = blobs(60)
    distilled = DistilledClassifier(student=TwoLayerPGDClassifier(4, max_iter=20)).fit(X, y)
    assert isinstance(distilled.teacher_, KernelTeacher)
    assert distilled.label_source_ == "loo"
    forest = DistilledClassifier(student=RandomForestClassifier(5)).fit(X, y)
    assert isinstance(forest.teacher_, KernelTeacher)


@pytest.mark.parametrize("method", ["ridge", pytest.param("margin", marks=pytest.mark.slow)])
def test_callbacks(method):
    X, y = blobs(60, n_classes=2)
    recorder = PropagatedRecorder()
    model = KernelTeacher(method=method, random_state=0).set_callbacks(recorder).fit(X, y)
    assert recorder.begun == recorder.ended == [("fit", None)]
    assert recorder.setups == 0
    assert [name for name in vars(model) if "callback" in name] == ["_skl_callbacks"]
    with pytest.raises(ValueError, match="1 class"):
        model.fit(X, np.zeros(60))
    monitor = ScoringMonitor(scoring="accuracy")
    model.set_callbacks(monitor).fit(X, y)
    (row,) = monitor.get_logs(select="most_recent").data
    assert row["accuracy"] == model.score(X, y)


def test_callbacks_of_a_distiller_reach_the_teacher():
    X, y = blobs(60, n_classes=2)
    recorder = PropagatedRecorder()
    student = TwoLayerPGDClassifier(2, max_iter=2, n_init=1)
    model = DistilledClassifier(
        KernelTeacher(), student, alpha=0.5, temperature=1.0, augmentation=None
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.set_callbacks(recorder).fit(X, y)
    assert ("fit", "fit-teacher") in recorder.begun
    assert ("fit", "fit-teacher") in recorder.ended
    assert not [name for name in vars(model.teacher_) if "callback" in name]


@pytest.mark.parametrize("shape", [(40, 3, 4, 5), (40, 4, 5)])
def test_images_are_told_how_to_be_flat(shape):
    images, y = np.random.default_rng(0).normal(size=shape), np.arange(40) % 2
    message = r"dim <= 2.*X\.reshape\(len\(X\), -1\)\."
    with pytest.raises(ValueError, match=message):
        KernelTeacher().fit(images, y)
    fitted = KernelTeacher().fit(images.reshape(40, -1), y)
    for method in (fitted.predict, fitted.predict_proba, fitted.decision_function):
        with pytest.raises(ValueError, match=message):
            method(images)

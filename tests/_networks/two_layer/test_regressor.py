"""TwoLayerPGDRegressor: the contract of networks for regression, and what it alone has."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.callback import ScoringMonitor
from sklearn.datasets import load_diabetes, make_regression
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import mean_pinball_loss
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
from tests._helpers.estimators import Recorder, fitted_names
from tests._helpers.regressor import (
    ALL_LOSSES,
    LEVELS,
    RegressorContract,
    expected_units,
    numbers,
)

FAST = {"encoder": None, "width": 8, "max_iter": 40, "n_init": 1, "random_state": 0}


def regressor(**options):
    return TwoLayerPGDRegressor(**{**FAST, **options})


class TestContract(RegressorContract):
    def regressor(self, n_epochs=40, **options):
        return regressor(max_iter=n_epochs, **options)


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
    mean, deviation = expected_units(y, model.loss)
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


# Soft targets


def test_soft_targets_set_the_schedule_as_soft_labels_do():
    X, y = numbers(80)
    short = TwoLayerPGDRegressor(8, random_state=0).fit(X, y, soft_targets=y)
    assert short.validation_loss_curve_ is None
    assert short.n_iter_ == 500
    for options in ({"alpha": 0.0}, {"alpha": 1.5}, {"early_stopping": True}):
        model = TwoLayerPGDRegressor(8, random_state=0, max_iter=30, **options)
        assert model.fit(X, y, soft_targets=y).validation_loss_curve_ is not None


# Members


@ALL_LOSSES
def test_weights_of_members_are_copies(options):
    X, y = numbers(60, 2)
    rng = np.random.RandomState(0)
    counts = rng.randint(0, 4, size=60)
    index = rng.permutation(np.repeat(np.arange(60), counts))
    model = regressor(**options, encoder="auto", n_members=2)
    weighted = clone(model).fit(X, y, counts).predict(X)
    assert_allclose(clone(model).fit(X[index], y[index]).predict(X), weighted, atol=1e-7)


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

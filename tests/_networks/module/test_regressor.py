"""ModuleRegressor: the contract of networks for regression, and what it alone has."""

import pickle

import numpy as np
import pytest
import skorch
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error, r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn.functional import huber_loss, mse_loss

from sklearn_kd import ModuleRegressor, SelfDistillClassifier
from sklearn_kd.exceptions import DivergenceError, EarlyStoppingWarning
from sklearn_kd.modules import MLP, SmallCNN
from tests._helpers.estimators import Recorder, fitted_names
from tests._helpers.modules import FAST, Interrupted, Small, assert_same
from tests._helpers.regressor import (
    ALL_LOSSES,
    LEVELS,
    RegressorContract,
    expected_units,
    numbers,
)


def regressor(module=Small, n_epochs=60, width=8, **options):
    options = {**FAST, "max_epochs": n_epochs, "module__width": width, **options}
    return ModuleRegressor(module, **options)


class TestContractOfAModule(RegressorContract):
    test_files_of_skops = None  # which do not trust a module of the user

    def regressor(self, **options):
        return regressor(**options)


class TestContractOfAnMLP(RegressorContract):
    def regressor(self, **options):
        return regressor(MLP, module__depth=1, **options)


# Training is that of a plain loop


def naive_loss(outputs, targets, loss):
    if loss == "squared_error":
        return mse_loss(outputs, targets) / 2
    if loss == "huber":
        return huber_loss(outputs, targets, delta=1.35)
    levels = torch.tensor(LEVELS, dtype=outputs.dtype)
    error = targets[:, :, None] - outputs.view(len(outputs), -1, 3)
    return torch.maximum(levels * error, (levels - 1) * error).mean()


@ALL_LOSSES
@pytest.mark.parametrize("n_targets", [None, 2])
@pytest.mark.parametrize("is_soft", [False, True])
def test_weights_are_those_of_a_plain_loop(options, n_targets, is_soft):
    X, y = numbers(70, n_targets)
    soft = y + np.random.RandomState(0).normal(size=y.shape)
    model = regressor(n_epochs=20, early_stopping=False, scheduler=None, alpha=0.3, **options)
    model.fit(X, y, soft_targets=soft if is_soft else None)
    columns = y.reshape(70, -1)
    offset, scale = expected_units(columns, model.loss)
    rows, hard, soft = (
        torch.from_numpy(each)
        for each in (
            (X - X.mean(axis=0)) / X.std(axis=0),
            (columns - offset) / scale,
            (soft.reshape(70, -1) - offset) / scale,
        )
    )
    n_outputs = columns.shape[1] * (3 if "quantiles" in options else 1)
    with torch.random.fork_rng():
        seed = np.random.RandomState(0).randint(2**31 - 1, size=4)[0]
        torch.manual_seed(int(seed))
        module = Small((3,), n_outputs).double()
    optimizer, curve = torch.optim.Adam(module.parameters(), lr=0.02), []
    for _ in range(20):
        outputs, loss = module(rows), options.get("loss", "squared_error")
        value = naive_loss(outputs, hard, loss)
        if is_soft:
            value = 0.7 * value + 0.3 * naive_loss(outputs, soft, loss)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        curve.append(float(value.detach()))
    for name, value in module.state_dict().items():
        assert_allclose(model.module_state_[name], value.numpy(), rtol=1e-6, atol=1e-8)
    if not is_soft:  # else squared errors of mixed targets differ by a constant
        assert_allclose(model.loss_curve_, curve, rtol=1e-7)


@pytest.mark.parametrize("batch_size", [None, 32])
def test_it_learns_in_batches_of_any_size(batch_size):
    X, y = numbers(400, 2)
    X_test, y_test = numbers(200, 2, seed=1)
    for options in ({}, {"loss": "huber"}, {"loss": "quantile"}):
        model = regressor(MLP, width=32, batch_size=batch_size, **options).fit(X, y)
        assert model.score(X_test, y_test) > 0.9
        linear = Ridge().fit(X, y).score(X_test, y_test)
        assert model.score(X_test, y_test) > linear + 0.1


@pytest.mark.parametrize("module", [Small, MLP])
@pytest.mark.parametrize("encoder", ["auto", None])
def test_float32(module, encoder):
    X, y = numbers(120, dtype=np.float32)
    model = regressor(module, encoder=encoder).fit(X, 1e6 + y)
    assert {each.dtype for each in model.module_state_.values()} == {np.dtype(np.float32)}
    assert model.predict(X).dtype == model.predict(X[:1]).dtype == np.float32
    other = regressor(module, encoder=encoder).fit(X.astype(np.float64), 1e6 + y)
    assert_allclose(model.predict(X), other.predict(X), rtol=0, atol=0.3)
    quantile = regressor(module, loss="quantile", quantiles=LEVELS).fit(X, y)
    assert quantile.predict_quantiles(X).dtype == np.float32


def test_an_mlp_predicts_in_numpy_what_the_module_says():
    from sklearn_kd._networks.module import build

    X, y = numbers(90, 2)
    for options in ({}, {"loss": "quantile", "quantiles": LEVELS}):
        for norm in (False, True):
            model = regressor(MLP, module__batch_norm=norm, **options).fit(X, y)
            outputs = build.predict_outputs(model, X)
            assert_allclose(model._standardized(X), outputs, rtol=1e-10, atol=1e-12)
    two = regressor(MLP).fit(X, y)  # two outputs are not two classes
    assert two.predict(X).shape == (90, 2)
    for far in (1e10, np.finfo(float).max):
        assert np.isfinite(two.predict(np.full((1, 3), far))).all()


# The module


class Fixed(Small):
    def __init__(self, input_shape, outputs):
        super().__init__(input_shape, outputs)


def test_a_module_with_another_number_of_outputs_is_an_error():
    X, y = numbers(40)
    for y_given, options, outputs, message in [
        (y, {}, 2, r"for 1 target the module must return numbers of shape \(n, 1\) or \(n,\)"),
        (np.c_[y, y], {}, 1, r"for 2 targets the module must return numbers of shape \(n, 2\), it"),
        (y, {"loss": "quantile", "quantiles": LEVELS}, 1, r"for 1 target and 3 quantiles .*n, 3"),
    ]:
        model = ModuleRegressor(Fixed, module__outputs=outputs, **FAST, **options)
        with pytest.raises(ValueError, match=message):
            model.fit(X, y_given)
        assert not fitted_names(model)


class Flat(Small):
    def forward(self, x):
        return super().forward(x).squeeze(1)


def test_a_single_output_may_be_flat():
    X, y = numbers(60)
    flat, column = regressor(Flat).fit(X, y), regressor().fit(X, y)
    assert_array_equal(flat.predict(X), column.predict(X))
    assert flat.predict(X[:1]).shape == (1,)


class NotANumber(Small):
    def forward(self, x):
        return super().forward(x) if self.training else super().forward(x) * torch.nan


def test_outputs_that_are_no_numbers_are_shown():
    X, y = numbers(60)
    model = regressor(NotANumber, early_stopping=False).fit(X, y)
    assert np.isnan(model.predict(X)).all()


def test_images_and_augmentation():
    X, labels = load_digits(return_X_y=True)
    X, y = X[:300], labels[:300].astype(float)
    model = ModuleRegressor(
        SmallCNN,
        module__width=4,
        module__depth=2,
        image_shape=(1, 8, 8),
        augmentation=["shift", "noise"],
        max_epochs=20,
        batch_size=32,
        learning_rate=0.01,
        random_state=0,
    )
    assert model.fit(X, y, soft_targets=y).score(X, y) > 0.3
    plain = clone(model).set_params(augmentation=None).fit(X, y, soft_targets=y)
    assert not np.array_equal(plain.predict(X), model.predict(X))
    with pytest.raises(ValueError, match="encoder=None, or image_shape=None"):
        model.set_params(encoder="auto").fit(X, y)


# Going on


@ALL_LOSSES
def test_warm_start_goes_on_in_the_same_units(options):
    X, y = numbers(80, 2)
    settings = {"early_stopping": False, "optimizer": "sgd", "scheduler": None, **options}
    model = regressor(n_epochs=10, warm_start=True, **settings).fit(X, y)
    offset, first = model.target_offset_, model.loss_curve_
    model.fit(X, y)
    whole = regressor(n_epochs=20, **settings).fit(X, y)
    assert_allclose(first + model.loss_curve_, whole.loss_curve_, rtol=1e-9)
    assert_allclose(model.predict(X), whole.predict(X), rtol=1e-9)
    model.fit(X, 3 * y)
    assert_array_equal(model.target_offset_, offset)
    with pytest.raises(ValueError, match="the fit that training continues was given targets"):
        model.fit(X, y[:, 0])
    with pytest.raises(ValueError, match="continues a network of the quantiles"):
        model.set_params(loss="quantile", quantiles=(0.3,)).fit(X, y)


def test_warm_start_after_a_constant_target():
    X, y = numbers(80)
    model = regressor(warm_start=True, n_epochs=400, early_stopping=False)
    model.fit(X, np.full(80, 2.0))
    assert model.target_scale_ == 2
    assert_allclose(model.predict(X), 2.0, rtol=0.1)
    assert model.fit(X, y).score(X, y) > 0.7


def test_partial_fit_keeps_the_memory_of_the_optimizer():
    X, y = numbers(90)
    options = {"batch_size": None, "early_stopping": False, "n_epochs": 6, "scheduler": None}
    whole, parts = regressor(**options).fit(X, y), regressor(**options)
    for _ in range(6):
        parts = pickle.loads(pickle.dumps(parts.partial_fit(X, y)))
    assert_allclose(parts.predict(X), whole.predict(X), rtol=1e-9)
    assert b"torch" not in pickle.dumps(parts)


def test_a_checkpoint_continues_and_knows_its_fit(tmp_path):
    X, y = numbers(90)
    path = tmp_path / "fit"
    options = {"loss": "quantile", "quantiles": LEVELS, "scheduler": None}
    whole = regressor(n_epochs=30, **options).fit(X, y)
    model = regressor(n_epochs=12, checkpoint_path=path, **options).fit(X, y)
    model.set_params(max_epochs=30).fit(X, y)
    assert_array_equal(model.predict_quantiles(X), whole.predict_quantiles(X))
    # in other units the fit is the same
    model.fit(X, 4 * y)
    assert_allclose(model.predict(X), 4 * whole.predict(X), rtol=1e-9)
    with pytest.raises(ValueError, match="a fit that differs in y"):
        model.fit(X, y**2)
    with pytest.raises(ValueError, match="a fit that differs in loss, quantiles"):
        model.set_params(loss="huber", quantiles=None).fit(X, y)
    with pytest.raises(ValueError, match="cannot be used with warm_start"):
        model.set_params(warm_start=True).fit(X, y)


# Callbacks


class Sees(skorch.callbacks.Callback):
    """Keeps what a callback can ask for."""

    def initialize(self):
        self.batches, self.scores, self.losses = [], [], []

    def on_batch_end(self, net, batch, training, y_pred, **_):
        self.batches.append((batch[0].shape, batch[1], training))
        self.losses.append(float(net.get_loss(y_pred, batch[1])))
        SEEN.append(self)

    def on_epoch_end(self, net, dataset_train, **_):
        self.scores.append((net.predict(dataset_train.X), net.score(dataset_train.X, net_y(net))))


SEEN = []


def net_y(net):
    return net.problem.rows.y


@ALL_LOSSES
@pytest.mark.parametrize("n_targets", [None, 2])
def test_callbacks_of_skorch_get_the_units_of_y(options, n_targets):
    X, y = numbers(100, n_targets)
    y = 50 + 7 * y
    SEEN.clear()
    scoring = skorch.callbacks.EpochScoring("neg_mean_squared_error", lower_is_better=False)
    callbacks = [Sees(), ("score", scoring)]
    model = regressor(callbacks=callbacks, n_epochs=3, batch_size=None, **options)
    model.fit(X, y, X_val=X[:20], y_val=y[:20])
    seen = SEEN[-1]
    (shape, targets, training), (_, held, _) = seen.batches[-2:]
    assert training
    assert shape == (100, 3)
    assert_allclose(targets.numpy(), y, rtol=1e-9)
    assert_allclose(held.numpy(), y[:20], rtol=1e-9)
    predicted, score = seen.scores[-1]
    assert predicted.shape == y.shape
    assert score == pytest.approx(r2_score(y, predicted))
    assert model.best_iter_ == 3
    found = model.predict(X)
    assert_allclose(predicted, found, rtol=1e-9)
    assert seen.losses[-1] == pytest.approx(mean_squared_error(y[:20], found[:20]))
    recorder = Recorder()
    again = clone(model).set_params(callbacks=None).set_callbacks(recorder).fit(X, y)
    assert recorder.events.count(("end", "epochs")) == 3
    assert again.score(X, y) <= 1


def test_output(capsys):
    X, y = numbers(100)
    regressor(n_epochs=30, verbose=1).fit(X, y)
    assert "[ModuleRegressor] epoch 30/30: loss" in capsys.readouterr().out


def test_an_interrupt_keeps_the_best_weights(monkeypatch):
    X, y = numbers(100)
    monkeypatch.setattr(Interrupted, "after", 20)
    model = regressor(Interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert model.termination_condition_ == "interrupted"
    assert np.isfinite(model.predict(X)).all()


# Life as an estimator


def test_searches_and_pipelines():
    X, y = numbers(150)
    search = GridSearchCV(regressor(), {"module__width": [1, 16]}, cv=3).fit(X, y)
    assert search.best_params_ == {"module__width": 16}
    pipeline = make_pipeline(StandardScaler(), regressor(n_epochs=200)).fit(X, y)
    assert pipeline.score(X, y) > 0.8
    with pytest.raises(TypeError, match="ModuleRegressor got an unexpected keyword argument"):
        ModuleRegressor(MLP, width=3)


def test_same_seed_same_fit_and_a_failed_one_changes_nothing():
    X, y = numbers(100)
    one, other = (regressor(MLP, module__dropout=0.2, batch_size=16).fit(X, y) for _ in range(2))
    assert_same(one, other)
    with pytest.raises(DivergenceError, match="extreme weight"):
        one.set_params(learning_rate=1e9, optimizer="sgd").fit(X, y)
    one.set_params(learning_rate=0.02, optimizer="adam")
    assert_same(one, other)


def test_soft_targets_set_the_schedule_as_soft_labels_do():
    X, y = numbers(80)
    short = ModuleRegressor(Small, random_state=0).fit(X, y, soft_targets=y)
    assert short.validation_loss_curve_ is None
    assert short.n_iter_ == 300
    for options in ({"alpha": 0.0}, {"alpha": 1.5}, {"early_stopping": True}):
        model = regressor(**options).fit(X, y, soft_targets=y)
        assert model.validation_loss_curve_ is not None
    with pytest.warns(EarlyStoppingWarning, match="one distinct row"):
        regressor().fit(np.ones((20, 3)), y[:20])


def test_self_distillation_refuses_it():
    X, y = numbers(60)
    with pytest.raises(TypeError, match="must be a TwoLayerPGDClassifier or a ModuleClassifier"):
        SelfDistillClassifier(regressor()).fit(X, (y > 0).astype(int))

"""Interrupts and callbacks of ModuleClassifier."""

import signal

import numpy as np
import pytest
import skorch
from numpy.testing import assert_allclose
from sklearn.callback import ScoringMonitor

from tests._helpers.data import blobs
from tests._helpers.estimators import fitted_names
from tests._helpers.modules import Interrupted, assert_same, model


@pytest.fixture(autouse=True)
def handler_of_ctrl_c():
    """Let SIGINT raise KeyboardInterrupt, also where the parent process ignores it (nohup)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("batch_size", [None, 32])
def test_ctrl_c_keeps_the_best_weights_and_is_raised_on(monkeypatch, early_stopping, batch_size):
    X, y = blobs()
    monkeypatch.setattr(Interrupted, "how", "signal")
    monkeypatch.setattr(Interrupted, "after", 40)
    fitted = model(Interrupted, early_stopping=early_stopping, batch_size=batch_size)
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(X, y)
    assert fitted.termination_condition_ == "interrupted"
    assert 0 < fitted.n_iter_ < 40
    assert fitted.score(X, y) > 0.9
    monkeypatch.setattr(Interrupted, "after", -1)
    assert fitted.fit(X, y).termination_condition_ != "interrupted"


def test_an_interrupt_while_weights_are_no_numbers_leaves_nothing_fitted(monkeypatch):
    X, y = blobs()
    monkeypatch.setattr(Interrupted, "after", 3)
    options = {"early_stopping": False, "optimizer": "sgd", "learning_rate": 1e300}
    fitted = model(Interrupted, batch_size=16, **options)
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(X * 1e10, y)
    assert not fitted_names(fitted)


class CtrlC(skorch.callbacks.Callback):
    def on_epoch_end(self, net, **_):
        if len(net.history) == 3:
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_inside_a_callback_is_no_wish_to_stop():
    X, y = blobs()
    fitted = model(callbacks=[CtrlC()])
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(X, y)
    assert fitted.termination_condition_ == "interrupted"
    assert fitted.n_iter_ == 3


class StopsAtOnce(skorch.callbacks.Callback):
    def on_train_begin(self, net, **_):
        raise KeyboardInterrupt


class StopsAtAStep(skorch.callbacks.Callback):
    def on_grad_computed(self, net, **_):
        raise KeyboardInterrupt


@pytest.mark.parametrize("callback", [StopsAtOnce, StopsAtAStep])
def test_a_callback_may_stop_in_the_first_epoch(callback, tmp_path):
    X, y = blobs()
    fitted = model(callbacks=[callback], checkpoint_path=tmp_path / "fit.pt", verbose=1).fit(X, y)
    assert fitted.termination_condition_ == "callback"
    assert fitted.loss_curve_ == fitted.validation_loss_curve_ == []
    assert np.isfinite(fitted.predict_proba(X)).all()


def test_skorch_callbacks():
    X, y = blobs(100, spread=4.0)
    stopping = skorch.callbacks.EarlyStopping(monitor="valid_loss", patience=3)
    recorded = []

    class Records(skorch.callbacks.Callback):
        def on_train_end(self, net, X=None, y=None, **_):
            recorded.append((list(net.history), X, y))

    scoring = skorch.callbacks.EpochScoring("accuracy", lower_is_better=False, name="valid_acc")
    batches = skorch.callbacks.BatchScoring(
        lambda net, X, y: 0.5, name="half", on_train=True, target_extractor=lambda y: y[0]
    )
    fitted = model(
        callbacks=[("stop", stopping), Records, scoring, batches],
        max_epochs=500,
        n_iter_no_change=500,
        learning_rate=0.1,
        module_params={"width": 64},
    ).fit(X, y)
    assert fitted.termination_condition_ == "callback"
    history, rows, labels = recorded[0]
    assert len(history) == fitted.n_iter_
    assert_allclose([each["train_loss"] for each in history], fitted.loss_curve_)
    assert_allclose([each["valid_loss"] for each in history], fitted.validation_loss_curve_)
    assert all(0 <= each["valid_acc"] <= 1 for each in history[:-1])
    assert history[0]["half"] == 0.5
    assert set(labels) == {0, 1}
    assert len(rows) == len(labels) == 90
    assert history[0]["train_loss_best"]
    assert stopping.misses_ == 0, "the user's own instance is left alone"
    # what does not change training changes no bit
    plain = model(max_epochs=5).fit(X, y)
    assert_same(plain, model(max_epochs=5, callbacks=[scoring, Records()]).fit(X, y))


def test_sklearn_callbacks_and_output(capsys):
    X, y = blobs()
    monitor = ScoringMonitor(scoring=["accuracy", "neg_log_loss"])
    fitted = model(max_epochs=30, verbose=1, early_stopping=False).set_callbacks(monitor).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 30
    assert lines[0].startswith("[ModuleClassifier] epoch 1/30: loss ")
    data = monitor.get_logs(select="most_recent").data_as_pandas
    data = data[data["task_name"] == "epochs"]
    # the loss before step t + 1 is the score after step t
    assert_allclose(-data["neg_log_loss"].to_numpy()[:-1], fitted.loss_curve_[1:], rtol=1e-6)
    assert data["accuracy"].iloc[-1] == fitted.score(X, y)


def test_skorch_checkpoints_are_written(tmp_path):
    X, y = blobs()
    keep = skorch.callbacks.Checkpoint(dirname=str(tmp_path), f_criterion=None)
    model(callbacks=[keep], max_epochs=3).fit(X, y)
    assert (tmp_path / "params.pt").exists()

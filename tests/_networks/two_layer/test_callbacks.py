"""Interrupts, callbacks and output of TwoLayerPGDClassifier."""

import numpy as np
import pytest
from sklearn.callback import ScoringMonitor

from sklearn_kd import TwoLayerPGDClassifier
from tests._helpers.data import blobs
from tests._helpers.estimators import Recorder, fitted_names
from tests._helpers.two_layer import PGD, assert_same_state, interrupt_after, state_of

# Interrupts


@pytest.mark.parametrize("learning_rate", ["auto", 1e200])
def test_an_interrupt_of_a_diverging_fit_is_raised_on(monkeypatch, learning_rate):
    from sklearn_kd._networks.two_layer import fit_plan

    monkeypatch.setattr(fit_plan, "HIDDEN_STEP", 1e200)
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
    from sklearn_kd._core.network import layers

    X, y = blobs()
    real, calls = layers.project, []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 10:
            raise KeyboardInterrupt
        real(*args)

    monkeypatch.setattr(layers, "project", interrupted)
    model = TwoLayerPGDClassifier(8, radius=0.1, learning_rate=5.0, random_state=0, **PGD)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert model.distance_from_init_.max() <= 0.1 / np.sqrt(8) * (1 + 1e-9)


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

"""Interrupts and callbacks of ModuleClassifier."""

import signal

import numpy as np
import pytest
import skorch
import skorch.dataset
import skorch.helper
import torch
from numpy.testing import assert_allclose
from sklearn.callback import ScoringMonitor
from sklearn.metrics import check_scoring, f1_score, make_scorer
from skorch.scoring import loss_scoring
from torch import nn

from sklearn_kd import ModuleClassifier
from tests._helpers.data import blobs
from tests._helpers.estimators import fitted_names
from tests._helpers.modules import Interrupted, assert_same, model

pytestmark = pytest.mark.usefixtures("handler_of_ctrl_c")


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


class Recorder(skorch.callbacks.Callback):
    """Keeps the history of the last fit, and its batches."""

    def on_train_begin(self, net, **_):
        Recorder.net, Recorder.begun, Recorder.ended = net, [], []

    def on_batch_begin(self, net, batch=None, training=None, **_):
        Recorder.begun.append((training, len(batch[1])))

    def on_batch_end(self, net, batch=None, training=None, y_pred=None, loss=None, **_):
        Recorder.ended.append((training, len(batch[1])))
        assert len(batch[0]) == len(y_pred)
        assert float(loss.detach()) >= 0


def history_of(callbacks, X, y, **options):
    model(callbacks=[*callbacks, Recorder], **{"max_epochs": 3, **options}).fit(X, y)
    return Recorder.net.history


def share_of_right(net, X, y):
    return np.mean(net.predict(X) == y)


SCORES = {
    "roc_auc": 2,
    "average_precision": 2,
    "f1": 2,
    "roc_auc_ovr": 3,
    "neg_log_loss": 3,
    "balanced_accuracy": 3,
    "neg_brier_score": 3,
    None: 3,
}


@pytest.mark.parametrize("use_caching", [True, False])
@pytest.mark.parametrize("batch_size", [None, 32])
@pytest.mark.parametrize(("scoring", "n_classes"), SCORES.items())
def test_epoch_scores_are_those_of_scikit_learn(scoring, n_classes, batch_size, use_caching):
    """The score in the history is that of the net on the held-out rows."""
    X, y = blobs(120, n_classes=n_classes, spread=4.0)
    options = {"lower_is_better": False, "use_caching": use_caching}
    callback = skorch.callbacks.EpochScoring(scoring, **options)
    name = scoring or "score"
    history = history_of([callback], X, y, batch_size=batch_size)
    scores = history[:, name]
    assert len(scores) == 3
    net = Recorder.net
    rows = net.problem.validation_rows
    assert_allclose(scores[-1], check_scoring(net, scoring)(net, rows.X, rows.y))
    is_best = [score > max([-np.inf, *scores[:i]]) for i, score in enumerate(scores)]
    assert history[:, f"{name}_best"] == is_best


def scores_of(X, y):
    scoring = skorch.callbacks.EpochScoring
    positive = make_scorer(f1_score, pos_label=np.unique(y)[1])
    callbacks = [
        scoring("roc_auc", lower_is_better=False),
        scoring(positive, name="f1", lower_is_better=False),
        scoring(share_of_right, name="right", lower_is_better=False, on_train=True),
        skorch.callbacks.BatchScoring("accuracy", lower_is_better=False, name="batch_acc"),
    ]
    names = ["roc_auc", "f1", "right", "batch_acc", "valid_acc"]
    return history_of(callbacks, X, y)[:, names]


@pytest.mark.parametrize("labels", [["no", "yes"], [3, 7], [False, True], [-1.0, 1.0]])
def test_labels_of_any_kind_are_scored(labels):
    X, y = blobs(120, spread=4.0)
    scores = scores_of(X, np.array(labels)[y])
    assert scores == scores_of(X, y)
    assert all(batch_acc == valid_acc for *_, batch_acc, valid_acc in scores)


@pytest.mark.parametrize("batch_size", [None, 32])
@pytest.mark.parametrize("use_caching", [True, False])
def test_batch_scores(batch_size, use_caching):
    X, y = blobs(120, n_classes=3, spread=4.0)
    scoring = skorch.callbacks.BatchScoring
    callbacks = [
        scoring("accuracy", name="acc", lower_is_better=False, use_caching=use_caching),
        scoring("accuracy", name="train_acc", on_train=True, use_caching=use_caching),
        scoring("neg_log_loss", use_caching=use_caching),
        scoring(share_of_right, name="right", use_caching=use_caching),
        skorch.callbacks.PassthroughScoring("valid_loss"),
        skorch.callbacks.PassthroughScoring("train_loss", on_train=True),
        skorch.callbacks.EpochScoring(loss_scoring, name="criterion"),
    ]
    history = history_of(callbacks, X, y, batch_size=batch_size)
    n_batches = 1 if batch_size is None else 4
    assert Recorder.begun == Recorder.ended
    assert [n for training, n in Recorder.ended if training] == [108 // n_batches] * n_batches * 3
    assert [n for training, n in Recorder.ended if not training] == [12] * 3
    batches = history[-1, "batches"]
    assert sum("train_acc" in each for each in batches) == n_batches
    assert sum("acc" in each for each in batches) == 1
    assert history[:, "acc"] == history[:, "right"] == history[:, "valid_acc"]
    # hard labels: the loss is the log loss, as far as no row reaches the cap
    assert_allclose(history[:, "valid_loss"], -np.array(history[:, "neg_log_loss"]))
    assert_allclose(history[:, "valid_loss"], history[:, "criterion"])
    assert 0 < history[-1, "train_acc"] <= 1


@pytest.mark.parametrize("n_classes", [2, 3])
def test_train_scores_are_those_of_the_steps(n_classes):
    """As in skorch, outputs of the steps are scored, or those after the epoch without caching."""
    X, y = blobs(60, n_classes=n_classes, spread=4.0)
    options = {"on_train": True, "lower_is_better": False}
    callbacks = [
        skorch.callbacks.EpochScoring("neg_log_loss", name="steps", **options),
        skorch.callbacks.EpochScoring("neg_log_loss", name="after", use_caching=False, **options),
        skorch.callbacks.EpochScoring("accuracy", name="valid"),
    ]
    history = history_of(callbacks, X, y, batch_size=None, early_stopping=False)
    assert_allclose(-np.array(history[:, "steps"]), history[:, "train_loss"])
    # a step in full batch starts where the one before ended
    assert_allclose(history[:, "after"][:-1], history[:, "steps"][1:])
    assert "valid" not in history[-1], "no row is held out, and skorch records nothing then"
    assert not any("valid" in name for name in history[-1])


def test_losses_on_soft_labels_are_the_same_in_batches():
    X, y = blobs(120, spread=4.0)
    soft = np.column_stack([0.3 + 0.4 * (y == 0), 0.3 + 0.4 * (y == 1)])
    names = {"train_loss": True, "valid_loss": False}
    options = {"max_epochs": 3, "alpha": 0.5, "early_stopping": True}
    plain = model(**options).fit(X, y, soft_targets=soft)
    passed = [skorch.callbacks.PassthroughScoring(n, on_train=t) for n, t in names.items()]
    model(callbacks=[*passed, Recorder], **options).fit(X, y, soft_targets=soft)
    history = Recorder.net.history
    assert_allclose(history[:, "train_loss"], plain.loss_curve_, rtol=1e-9)
    assert_allclose(history[:, "valid_loss"], plain.validation_loss_curve_, rtol=1e-9)


@pytest.mark.parametrize("monitor", ["valid_loss_best", "valid_acc_best", "roc_auc_best"])
def test_checkpoints_of_a_score(tmp_path, monitor):
    X, y = blobs(120, spread=4.0)
    scoring = skorch.callbacks.EpochScoring("roc_auc", lower_is_better=False)
    options = {"dirname": str(tmp_path), "f_pickle": "net.pkl", "load_best": True}
    keep = skorch.callbacks.Checkpoint(monitor=monitor, **options)
    history = history_of([scoring, keep], X, y, max_epochs=10)
    assert history[:, "event_cp"] == history[:, monitor]
    assert {path.name for path in tmp_path.iterdir()} == {
        "params.pt", "optimizer.pt", "criterion.pt", "history.json", "net.pkl"
    }  # fmt: skip


def test_the_best_weights_of_a_checkpoint_are_kept_where_no_row_is_held_out(tmp_path):
    X, y = blobs(120, spread=4.0)
    accuracy = skorch.callbacks.EpochScoring(
        "accuracy", lower_is_better=False, on_train=True, use_caching=False, name="train_acc"
    )
    keep = skorch.callbacks.Checkpoint(
        monitor="train_acc_best", dirname=str(tmp_path), load_best=True
    )
    fitted = model(
        callbacks=[accuracy, keep, Recorder], max_epochs=30, early_stopping=False, learning_rate=0.5
    ).fit(X, y)
    assert fitted.score(X, y) == max(Recorder.net.history[:, "train_acc"])


@pytest.mark.parametrize(
    ("policy", "options"),
    [
        ("ReduceLROnPlateau", {"monitor": "valid_loss", "patience": 0, "factor": 0.5}),
        ("ReduceLROnPlateau", {"monitor": "valid_acc", "patience": 0, "factor": 0.5}),
        ("StepLR", {"step_size": 4, "step_every": "batch", "gamma": 0.5}),
        ("StepLR", {"step_size": 1, "gamma": 0.5}),
    ],
)
def test_schedules_of_skorch(policy, options):
    X, y = blobs(120, spread=4.0)
    rates = []

    class Rates(skorch.callbacks.Callback):
        def on_epoch_end(self, net, **_):
            rates.append(net.optimizer_.param_groups[0]["lr"])

    options = {"batch_size": 32, "max_epochs": 10, "n_iter_no_change": 50, **options}
    own = {name: options.pop(name) for name in ("batch_size", "max_epochs", "n_iter_no_change")}
    history_of([skorch.callbacks.LRScheduler(policy, **options), Rates], X, y, **own)
    if policy == "StepLR":
        assert_allclose(rates, 0.02 * 0.5 ** np.arange(1, 11))
    assert rates[-1] < 0.02


def test_early_stopping_by_a_score():
    X, y = blobs(120, spread=4.0)
    stopping = skorch.callbacks.EarlyStopping(
        monitor="valid_acc", lower_is_better=False, patience=3, sink=lambda _: None
    )
    fitted = model(callbacks=[stopping], max_epochs=500, n_iter_no_change=500).fit(X, y)
    assert fitted.termination_condition_ == "callback"


class Linear(nn.Module):
    """The same start in each net. skorch's classifier of several classes needs probabilities."""

    def __init__(self, n_outputs, softmax=False):
        super().__init__()
        self.out, self.softmax = nn.Linear(3, n_outputs), softmax
        with torch.no_grad():
            self.out.weight.copy_(torch.linspace(-1, 1, 3 * n_outputs).view(n_outputs, 3))
            self.out.bias.zero_()

    def forward(self, x):
        return self.out(x).softmax(1) if self.softmax else self.out(x)


@pytest.mark.parametrize("has_validation", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_histories_are_those_of_skorchs_own_classifiers(n_classes, has_validation):
    X, y = blobs(150, n_classes=n_classes, spread=4.0, dtype=np.float32)
    X, y, X_val, y_val = X[:100], y[:100], X[100:], y[100:].astype(np.int64)
    dtype = np.float32 if n_classes == 2 else np.int64
    held_out = skorch.dataset.Dataset(X_val, y_val.astype(dtype))
    epochs, batches = skorch.callbacks.EpochScoring, skorch.callbacks.BatchScoring
    callbacks = [Recorder]
    for part in ({"on_train": True}, {"on_train": False}, {"use_caching": False}):
        for scoring, kind, lower in (
            ("roc_auc_ovr", epochs, False),
            ("neg_log_loss", epochs, None),
            ("accuracy", epochs, True),
            (share_of_right, epochs, False),
            ("neg_brier_score", batches, False),
            ("balanced_accuracy", batches, True),
        ):
            name = f"score {len(callbacks)}"
            callbacks.append(kind(scoring, name=name, lower_is_better=lower, **part))
    options = {"max_epochs": 4, "batch_size": -1, "lr": 0.5, "callbacks": callbacks, "verbose": 0}
    options["train_split"] = skorch.helper.predefined_split(held_out) if has_validation else None
    if n_classes == 2:
        own = skorch.NeuralNetBinaryClassifier(Linear, module__n_outputs=1, **options)
    else:
        params = {"module__n_outputs": 3, "module__softmax": True}
        own = skorch.NeuralNetClassifier(Linear, **params, **options)
    expected = own.fit(X, y.astype(dtype)).history
    validation = {"X_val": X_val, "y_val": y_val} if has_validation else {}
    ModuleClassifier(
        Linear,
        optimizer="sgd",
        learning_rate=0.5,
        max_epochs=4,
        batch_size=None,
        input_scaling=False,
        early_stopping=has_validation,
        callbacks=callbacks,
    ).fit(X, y, **validation)
    history = Recorder.net.history
    known = {name for name in expected[-1] if "count" not in name} - {"batches", "dur"}
    assert known == set(history[-1]) - {"batches", "dur"}
    assert any(name.startswith("score") for name in known)
    for name in known:
        assert_allclose(
            np.array(history[:, name], float), np.array(expected[:, name], float), rtol=1e-4
        )

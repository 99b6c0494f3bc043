"""Checkpoints: a killed fit goes on bit for bit."""

import functools
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import skorch
import torch
from numpy.testing import assert_array_equal
from sklearn.linear_model import LogisticRegression
from torch import nn

from sklearn_kd import DistilledClassifier
from tests._helpers.data import FIXED, blobs, one_hot
from tests._helpers.estimators import fitted_names
from tests._helpers.modules import Small, assert_same, model

RESUMABLE = {
    "module_params": {"dropout": 0.3, "norm": True},
    "batch_size": 16,
    "augmentation": "noise",
    "scheduler": "cosine",
    "max_epochs": 40,
    "n_iter_no_change": 40,
}


def checkpointed(path=None, **options):
    return model(**{**RESUMABLE, **options}, checkpoint_path=path)


class Dies(skorch.callbacks.Callback):
    """Ends the process, or the fit, after some epochs."""

    def __init__(self, after, pause=0.0):
        self.after, self.pause = after, pause

    def on_epoch_begin(self, net, **_):
        time.sleep(self.pause)
        if len(net.losses) == self.after:
            raise RuntimeError("killed")


@pytest.mark.parametrize(
    ("early_stopping", "scheduler", "optimizer"),
    [
        (True, "cosine", "adam"),
        (False, "one-cycle", "adamw"),
        (True, "step", "sgd"),
        (False, None, "adam"),
    ],
)
def test_resumed_is_the_same_bit_for_bit(tmp_path, early_stopping, scheduler, optimizer):
    X, y = blobs(100, n_classes=3)
    options = {"early_stopping": early_stopping, "scheduler": scheduler, "optimizer": optimizer}
    whole = checkpointed(**options).fit(X, y)
    path = tmp_path / "fit.pt"
    for after in (1, 7, 20):
        with pytest.raises(RuntimeError, match="killed"):
            checkpointed(path, **options, callbacks=[Dies(after, 0.02)]).fit(X, y)
    assert_same(checkpointed(path, **options).fit(X, y), whole)
    assert [file.name for file in tmp_path.iterdir()] == ["fit.pt"]
    # what has ended returns at once
    done = checkpointed(path, **options, callbacks=[Dies(40)]).fit(X, y)
    assert_same(done, whole)
    assert_array_equal(done.predict_proba(X), whole.predict_proba(X))


@pytest.mark.slow
def test_sigkill(tmp_path):
    path = tmp_path / "fit.pt"
    code = """
import sys
sys.path[:0] = [sys.argv[2]]
from tests._helpers.data import blobs
from tests._networks.module.test_checkpoint import Dies, checkpointed
import numpy as np
X, y = blobs(100, n_classes=3)
pause = float(sys.argv[3])
fitted = checkpointed(sys.argv[1], callbacks=[Dies(-1, pause)] if pause else None).fit(X, y)
np.savez(sys.argv[1] + ".npz", **fitted.module_state_)
"""

    def start(path, pause):
        arguments = [str(path), str(Path(__file__).parents[3]), str(pause)]
        return subprocess.Popen([sys.executable, "-c", code, *arguments])

    process = start(path, 0.1)
    for _ in range(1200):
        if path.exists():
            break
        time.sleep(0.05)
    time.sleep(0.5)  # some epochs on
    process.kill()
    assert process.wait() == -signal.SIGKILL
    n_done = len(torch.load(path, weights_only=True)["losses"])
    assert 0 < n_done < 40
    assert start(path, 0).wait(timeout=120) == 0
    X, y = blobs(100, n_classes=3)
    expected = checkpointed().fit(X, y).module_state_
    with np.load(f"{path}.npz") as resumed:
        assert set(resumed.files) == expected.keys()
        for name in resumed.files:
            assert_array_equal(resumed[name], expected[name])


def test_more_epochs_after_the_end(tmp_path):
    X, y = blobs(100)
    options = {"scheduler": None, "random_state": None}
    path = tmp_path / "fit.pt"
    short = checkpointed(path, **options, max_epochs=10).fit(X, y)
    longer = checkpointed(path, **options, max_epochs=30).fit(X, y)
    assert longer.n_iter_ == 30
    assert longer.loss_curve_[:10] == short.loss_curve_
    again = checkpointed(path, **options, max_epochs=30).fit(X, y)
    assert_same(again, longer)


def test_what_may_change_between_fits(tmp_path, capsys):
    X, y = blobs(50)
    path = tmp_path / "fit.pt"
    options = {"scheduler": None, "device": "auto", "callbacks": [Dies(100)]}
    checkpointed(path, **options, max_epochs=10).fit(X, y)
    changed = {"scheduler": None, "device": "cpu", "callbacks": None, "verbose": 1}
    assert checkpointed(path, **changed, max_epochs=20).fit(X, y).n_iter_ == 20
    assert "epoch 20/20" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"learning_rate": 0.5}, "learning_rate"),
        ({"module_params": {"width": 4}, "alpha": 0.5}, "alpha, module_params"),
        ({"module": functools.partial(Small, width=4)}, "module"),
        ({"max_epochs": 50}, "scheduler"),
        ({"random_state": 1}, "random_state"),
        ("X", "X"),
        ("y", "y"),
        ("sample_weight", "sample_weight"),
        ("soft_targets", "soft_targets"),
        ("groups", "groups"),
    ],
)
def test_a_checkpoint_of_another_fit(tmp_path, change, named):
    X, y = blobs(50)
    path = tmp_path / "fit.pt"
    checkpointed(path, module=Small).fit(X, y)
    data, fitted = {"X": X, "y": y}, checkpointed(path)
    if isinstance(change, dict):
        fitted.set_params(**change)
    else:
        other = {"X": X + 1, "y": 1 - y, "sample_weight": 1.0 + y, "soft_targets": one_hot(y, 2)}
        other["groups"] = np.arange(50) // 2
        data[change] = other[change]
    with pytest.raises(ValueError, match=rf"differs in {named}: delete the file"):
        fitted.fit(**data)
    assert not fitted_names(fitted)
    path.write_text("nothing")
    with pytest.raises(ValueError, match="is not a checkpoint"):
        fitted.fit(X, y)


def test_groups_and_validation_rows_are_part_of_a_fit(tmp_path):
    X, y = blobs(50)
    X_val, y_val = blobs(20, seed=1)
    rows = {"X_val": X_val, "y_val": y_val, "sample_weight_val": 1.0 + y_val}
    grouped = {"groups": np.arange(50) // 2}
    others = {
        "sample_weight_val": {**rows, "sample_weight_val": None},
        "X_val": {**rows, "X_val": X_val + 1},
        "y_val": {**rows, "y_val": 1 - y_val},
        "groups": {"groups": np.arange(50) // 5},
    }
    for number, given in enumerate((rows, grouped)):
        path = tmp_path / f"{number}.pt"
        with pytest.raises(RuntimeError, match="killed"):
            checkpointed(path, callbacks=[Dies(20)]).fit(X, y, **given)
        for name, other in others.items():
            if name in given:
                with pytest.raises(ValueError, match=f"differs in .*{name}"):
                    checkpointed(path).fit(X, y, **other)
        whole = checkpointed().fit(X, y, **given)
        assert_same(checkpointed(path).fit(X, y, **given), whole)


def test_checkpoints_take_numpy_numbers(tmp_path):
    X, y = blobs()
    options = {
        "checkpoint_path": tmp_path / "a.pt",
        "optimizer_params": {"betas": (np.float64(0.9), np.float32(0.99))},
        "scheduler": "cosine",
    }
    first = model(learning_rate=np.float64(0.01), max_epochs=np.int64(5), **options).fit(X, y)
    again = model(learning_rate=0.01, max_epochs=5, **options).fit(X, y)
    np.testing.assert_equal(again.module_state_, first.module_state_)


def made(activation):
    def factory(input_shape, n_outputs):
        width = nn.Linear(input_shape[0], 4)
        return nn.Sequential(width, activation(), nn.Linear(4, n_outputs))

    return factory


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"augmentation": lambda b, g: b}, {"augmentation": lambda b, g: b * 0}),
        ({"augmentation": lambda b, g: b * 2}, {"augmentation": lambda b, g: b * 3}),
        ({"module": made(nn.ReLU)}, {"module": made(nn.Tanh)}),
        (
            {"augmentation": {"noise": 0.1, "shift": 1}, "image_shape": (1, 2, 2)},
            {"augmentation": {"shift": 1, "noise": 0.1}, "image_shape": (1, 2, 2)},
        ),
    ],
)
def test_a_checkpoint_tells_functions_by_what_they_do(tmp_path, first, second):
    X, y = blobs()
    path = tmp_path / "a.pt"
    if "image_shape" in first:
        X = np.c_[X, X, X, X][:, :4]
    model(**first, max_epochs=2, checkpoint_path=path).fit(X, y)
    with pytest.raises(ValueError, match=r"differs in (augmentation|module):"):
        model(**second, max_epochs=2, checkpoint_path=path).fit(X, y)


def test_a_checkpoint_knows_whether_labels_are_made_anew(tmp_path):
    X, y = blobs()
    fits = model(augmentation="noise", max_epochs=2, checkpoint_path=tmp_path / "a.pt")
    taught = DistilledClassifier(LogisticRegression(), fits, **FIXED)
    taught.fit(X, y)
    with pytest.raises(ValueError, match="differs in labeler"):
        taught.set_params(augmented_labels="recomputed").fit(X, y)


def test_damaged_checkpoints_and_folders_that_are_not_there(tmp_path):
    X, y = blobs()
    path = tmp_path / "a.pt"
    model(max_epochs=2, checkpoint_path=path).fit(X, y)
    content = bytearray(path.read_bytes())
    start = content.find(b"data/0") + 200
    content[start] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not a checkpoint"):
        model(max_epochs=2, checkpoint_path=path).fit(X, y)
    for wrong in (tmp_path / "nowhere" / "a.pt", tmp_path):
        with pytest.raises(ValueError, match="cannot be written"):
            model(checkpoint_path=wrong).fit(X, y)

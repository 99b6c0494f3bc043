"""Predictions of MLP in NumPy: the same as those of torch, for any parameters."""

import pickle

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone

from sklearn_kd._networks.module import build
from sklearn_kd.modules import MLP
from tests._helpers.data import blobs
from tests._helpers.modules import assert_same, model


class Subclass(MLP):
    """Answers the negative, which the layers do not show."""

    def forward(self, x):
        return -super().forward(x)


EVERY_OPTION = {"width": 6, "dropout": 0.3, "input_dropout": 0.2, "batch_norm": True}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("params", "n_classes"),
    [
        ({"width": 5, "depth": 1}, 2),
        ({"width": 4, "n_outputs": 2}, 2),
        ({"depth": 0}, 3),
        ({**EVERY_OPTION, "depth": 3}, 2),
        ({**EVERY_OPTION, "depth": 2}, 3),
    ],
)
def test_numpy_predicts_as_torch_does(params, n_classes, dtype):
    X, y = blobs(n_classes=n_classes, dtype=dtype)
    fitted = model(MLP, module_params=params, max_epochs=3).fit(X, y)
    logits = fitted.decision_function(X)
    expected = build.predict_logits(fitted, X)
    assert (
        (logits.dtype, logits.shape) == (expected.dtype, expected.shape) == (dtype, expected.shape)
    )
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    assert_allclose(logits, expected, rtol=tolerance, atol=tolerance)
    rows = np.concatenate([fitted.decision_function(X[i : i + 1]) for i in range(3)])
    assert_allclose(rows, logits[:3], rtol=tolerance, atol=tolerance)


def test_many_rows_are_predicted_in_blocks(monkeypatch):
    X, y = blobs()
    fitted = model(MLP, module_params={"width": 4}, max_epochs=2).fit(X, y)
    expected = fitted.decision_function(X)
    monkeypatch.setattr("sklearn_kd._networks.module.mlp.PREDICT_BLOCK_BYTES", 7 * 4 * 8)
    assert_allclose(fitted.decision_function(X), expected, rtol=1e-12)


def test_predictions_follow_a_second_fit():
    X, y = blobs(n_classes=3)
    fitted = model(MLP, module_params={"width": 4}, max_epochs=2).fit(X, y)
    fitted.predict(X)
    fitted.set_params(module__width=7).fit(X[y < 2], y[y < 2])
    assert_allclose(fitted.decision_function(X), build.predict_logits(fitted, X), rtol=1e-12)


def test_a_subclass_predicts_by_its_own_forward():
    X, y = blobs()
    fitted = model(Subclass, module_params={"width": 4}, max_epochs=2).fit(X, y)
    before = fitted.decision_function(X)
    fitted.set_params(module=MLP)
    assert_allclose(fitted.decision_function(X), -before, rtol=1e-12)


def test_a_loaded_estimator_is_a_full_one():
    X, y = blobs()
    fitted = model(MLP, module_params={"width": 4}, max_epochs=2).fit(X, y)
    content = pickle.dumps(fitted)
    assert b"modules" not in content, "whose import imports torch"
    for use in ("get_params", "clone", "fit", "pickle"):
        loaded = pickle.loads(content)
        assert_allclose(loaded.predict_proba(X), fitted.predict_proba(X), rtol=1e-12)
        assert "module" not in vars(loaded)
        if use == "get_params":
            assert loaded.get_params() == fitted.get_params()
            assert loaded.module is MLP
        elif use == "clone":
            assert clone(loaded).module is MLP
        elif use == "fit":
            assert_same(loaded.fit(X, y), fitted)
        else:
            before = joblib.hash(loaded)
            assert loaded.module is MLP
            assert joblib.hash(loaded) == before
            assert pickle.loads(pickle.dumps(loaded)).module is MLP
    loaded = pickle.loads(content).set_params(module=Subclass)
    assert_allclose(loaded.decision_function(X), -fitted.decision_function(X), rtol=1e-12)

"""Predictions of MLP in NumPy, as those of torch, and modules on encoded rows."""

import pickle

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from sklearn_kd import DistilledClassifier, TableEncoder
from sklearn_kd._networks.module import build
from sklearn_kd.modules import MLP
from tests._helpers.data import FIXED, blobs
from tests._helpers.modules import assert_same, model
from tests._helpers.tables import raw_table


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
    expected = build.predict_outputs(fitted, X)
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


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_rows_far_away_have_finite_logits(dtype, depth):
    X, y = blobs(n_classes=3, dtype=dtype)
    fitted = model(MLP, module_params={"depth": depth}, max_epochs=3).fit(X, y)
    far = np.finfo(dtype).max * np.array([[0.9, -0.9, 0.9], [-0.9, 0.9, 0.5], [0, 0, 0]])
    far = np.concatenate([far.astype(dtype), X])
    assert np.isfinite(fitted.decision_function(far)).all()
    assert_allclose(fitted.predict_proba(far).sum(axis=1), 1, rtol=1e-5)
    assert_array_equal(fitted.predict(far[3:]), fitted.predict(X))


def test_predictions_follow_a_second_fit():
    X, y = blobs(n_classes=3)
    fitted = model(MLP, module_params={"width": 4}, max_epochs=2).fit(X, y)
    fitted.predict(X)
    fitted.set_params(module__width=7).fit(X[y < 2], y[y < 2])
    assert_allclose(fitted.decision_function(X), build.predict_outputs(fitted, X), rtol=1e-12)


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


# With an encoder


def test_raw_rows_are_predicted_by_the_folded_first_layer():
    X, y = raw_table()
    for params in ({"width": 6, "batch_norm": True}, {"depth": 0}):
        fitted = model(MLP, module_params=params, encoder="auto").fit(X, y)
        encoded = fitted.encoder_.transform(X)
        assert fitted.input_offset_.shape == (encoded.shape[1],)
        assert fitted.n_features_in_ == 6
        logits = fitted.decision_function(X)
        assert_allclose(logits, build.predict_outputs(fitted, X), rtol=1e-12, atol=1e-12)
        rows = [fitted.decision_function(X[i : i + 1]) for i in range(9)]
        assert_allclose(np.concatenate(rows), logits[:9], rtol=1e-12, atol=1e-12)
        hashed = joblib.hash(fitted)
        loaded = pickle.loads(pickle.dumps(fitted))
        assert_allclose(loaded.decision_function(X), logits, rtol=1e-12)
        assert joblib.hash(fitted) == hashed
    assert fitted.score(X, y) > 0.6


def test_a_module_of_the_user_gets_encoded_rows():
    X, y = raw_table()
    fitted = model(encoder=TableEncoder(n_bins=2), max_epochs=20, image_shape=None)
    X_val, y_val = X[:40], y[:40]
    fitted.fit(X[40:], y[40:], X_val=X_val, y_val=y_val)
    encoded = fitted.encoder_.transform
    by_hand = clone(fitted).set_params(encoder=None)
    by_hand.fit(encoded(X[40:]), y[40:], X_val=encoded(X_val), y_val=y_val)
    assert_same(fitted, by_hand)
    assert_allclose(fitted.predict_proba(X), by_hand.predict_proba(encoded(X)), rtol=1e-12)
    fitted.set_params(encoder__n_bins=3).fit(X, y)
    assert fitted.encoder_.n_bins_ == 3
    going_on = model(encoder="auto", module_params={"width": 4})
    going_on.partial_fit(X, y, classes=["no", "yes"])
    encoder = going_on.encoder_
    going_on.partial_fit(X[:9], y[:9])
    assert going_on.encoder_ is encoder


@pytest.mark.parametrize("module", [MLP, Subclass])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_table_without_a_column_that_varies(module, dtype):
    X, y = np.ones((100, 2), dtype=dtype), np.repeat([0, 1], [30, 70])
    fitted = model(module=module, encoder="auto", image_shape=None, module_params={"width": 4})
    fitted.set_params(max_epochs=300, learning_rate=0.05, early_stopping=False).fit(X, y)
    for rows in (X, X + 1, X[:1]):
        assert_allclose(fitted.predict_proba(rows)[:, 1], 0.7, atol=0.02)
    fitted.set_params(early_stopping=True, max_epochs=2).fit(X, y, X_val=X[:9], y_val=y[-9:])
    assert fitted.partial_fit(X, y).predict(X).shape == (100,)


def test_tags_and_errors_follow_the_encoder():
    X, y = raw_table()
    for encoder in (None, "auto"):
        tags = model(encoder=encoder).__sklearn_tags__().input_tags
        assert tags.allow_nan == tags.string == (encoder is not None)
    with pytest.raises(ValueError, match="could not convert"):
        model().fit(X, y)
    encoded = model(encoder="auto", image_shape=(1, 2, 3))
    with pytest.raises(ValueError, match="set encoder=None, or image_shape=None"):
        encoded.fit(X, y)
    soft = np.full((len(X), 2), 0.5)
    with pytest.raises(ValueError, match="set encoder=None, or pass no labeler"):
        model(encoder="auto", augmentation="noise").fit(X, y, soft_targets=soft, labeler=len)
    distilled = DistilledClassifier(
        LogisticRegression(), model(encoder="auto", augmentation="noise"), **FIXED
    ).set_params(augmented_labels="recomputed")
    with pytest.raises(ValueError, match="encoder=None on the ModuleClassifier"):
        distilled.fit(X[["age"]], y)

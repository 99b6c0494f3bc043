"""Training in half precision, and the layout of images."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from sklearn_kd import ModuleClassifier, ModuleRegressor
from sklearn_kd._networks.module import precision as precision_module
from sklearn_kd.modules import MLP, SmallCNN
from tests._helpers.data import blobs
from tests._helpers.estimators import fitted_names
from tests._helpers.modules import model


def digits(n_rows=600):
    X, y = load_digits(return_X_y=True)
    return X[:n_rows].astype(np.float32), y[:n_rows]


def cnn(**options):
    settings = {"max_epochs": 6, "batch_size": 64, "learning_rate": 0.01, "early_stopping": False}
    return ModuleClassifier(
        SmallCNN,
        module_params={"width": 8, "depth": 2, "dropout": 0.0},
        image_shape=(1, 8, 8),
        random_state=0,
        device="cpu",
        **{**settings, **options},
    )


def test_bfloat16_learns_as_much_as_float32():
    X, y = digits(1500)
    half, full = (cnn(mixed_precision=each).fit(X[:1000], y[:1000]) for each in ("bfloat16", False))
    assert (half.precision_, full.precision_) == ("bfloat16", "float32")
    scores = half.score(X[1000:], y[1000:]), full.score(X[1000:], y[1000:])
    assert scores[0] == pytest.approx(scores[1], abs=0.02)
    assert scores[0] > 0.9
    for name, value in half.module_state_.items():
        assert value.dtype == full.module_state_[name].dtype
    np.testing.assert_allclose(half.predict_proba(X).sum(axis=1), 1, rtol=1e-5)  # float32
    assert np.abs(half.predict_proba(X) - full.predict_proba(X)).max() > 0


def test_predictions_in_an_autocast_of_the_user_are_float32():
    X, y = digits()
    fitted = cnn(max_epochs=2).fit(X, y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = fitted.predict_proba(X)
    full = fitted.predict_proba(X)
    assert half.dtype == full.dtype == np.float32
    np.testing.assert_allclose(half, full, atol=0.05)
    assert np.abs(half - full).max() > 0


def test_training_in_bfloat16_is_deterministic_and_resumes_to_the_bit(tmp_path):
    X, y = digits()
    whole = cnn(mixed_precision=True).fit(X, y)
    again = cnn(mixed_precision=True).fit(X, y)
    path = tmp_path / "fit.pt"
    cnn(mixed_precision=True, max_epochs=3, scheduler=None, checkpoint_path=path).fit(X, y)
    resumed = cnn(mixed_precision=True, scheduler=None, checkpoint_path=path).fit(X, y)
    for name, value in whole.module_state_.items():
        np.testing.assert_array_equal(again.module_state_[name], value)
        np.testing.assert_array_equal(resumed.module_state_[name], value)


def test_statistics_of_batches_are_computed_in_float32():
    seen = []

    class Normalized(nn.Module):
        def __init__(self, n_outputs):
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten())
            self.last = nn.Linear(4 * 36, n_outputs)

        def forward(self, x):
            hidden = self.layers(x)
            if self.training:
                seen.append((hidden.dtype, self.layers[1].running_mean.dtype))
            return self.last(hidden)

    X, y = digits()
    model = ModuleClassifier(
        Normalized, image_shape=(1, 8, 8), max_epochs=2, mixed_precision=True, device="cpu"
    ).fit(100 * X, y)
    assert set(seen) == {(torch.bfloat16, torch.float32)}
    assert all(np.isfinite(value).all() for value in model.module_state_.values())


@pytest.mark.parametrize(
    ("is_native", "module", "dtype", "expected"),
    [
        (True, nn.Conv2d(1, 2, 3), torch.float32, torch.bfloat16),
        (True, nn.Conv2d(1, 2, 3), torch.float64, torch.float64),
        (False, nn.Conv2d(1, 2, 3), torch.float32, torch.float32),
        (True, nn.Linear(256, 256), torch.float32, torch.bfloat16),
        (True, nn.Linear(256, 255), torch.float32, torch.float32),
    ],
)
def test_auto_takes_bfloat16_where_it_gains(monkeypatch, is_native, module, dtype, expected):
    capabilities = {"avx512_bf16": is_native, "avx2": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    device = torch.device("cpu")
    chosen = precision_module.resolve_precision(cnn(mixed_precision="auto"), module, dtype, device)
    assert chosen == expected


def test_the_number_format_is_reported():
    X, y = blobs(n_classes=3)
    assert model().fit(X, y).precision_ == "float64"
    assert model(mixed_precision="auto").fit(X, y).precision_ == "float64"
    fitted = ModuleRegressor(MLP, mixed_precision=True, max_epochs=2, device="cpu")
    assert fitted.fit(X.astype(np.float32), y).precision_ == "bfloat16"


@pytest.mark.parametrize(
    ("mixed_precision", "dtype", "message"),
    [
        (True, np.float64, r"needs float32 rows, X is float64: .*X\.astype\('float32'\)"),
        ("bfloat16", np.float64, "needs float32 rows"),
        ("float16", np.float32, "needs a CUDA device, got device='cpu': .*'bfloat16'"),
    ],
)
def test_what_cannot_be_had_is_refused_before_the_fit(mixed_precision, dtype, message):
    X, y = blobs(n_classes=3)
    fitted = model(mixed_precision=mixed_precision, device="cpu")
    with pytest.raises(ValueError, match=message):
        fitted.fit(X.astype(dtype), y)
    assert not fitted_names(fitted)

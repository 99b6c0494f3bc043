"""Modules that return probabilities in place of logits."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklearn_kd import DistilledClassifier, ModuleClassifier, SelfDistillClassifier
from sklearn_kd.exceptions import ProbabilityOutputWarning
from tests._helpers.data import FIXED, blobs
from tests._helpers.modules import Small, assert_same, model


def ends_in(*last):
    """Return a function that makes a network with these modules at its end."""

    def make(input_shape, n_outputs):
        layers = nn.Linear(input_shape[0], 8), nn.ReLU(), nn.Linear(8, n_outputs)
        return nn.Sequential(*layers, *last)

    return make


class Functional(Small):
    """Applies a function to its outputs."""

    def __init__(self, function, **params):
        super().__init__(**params)
        self.function = function

    def forward(self, x):
        return self.function(super().forward(x))


class TwoOutputs(Functional):
    def __init__(self, n_outputs, **params):
        super().__init__(n_outputs=2, **params)


class Gated(Small):
    """Multiplies its outputs by a gate, which is the last module that it calls."""

    def __init__(self, **params):
        super().__init__(**params)
        self.gate = nn.Sigmoid()

    def forward(self, x):
        outputs = super().forward(x).abs() / 100  # in [0, 1], as is the product
        return outputs * self.gate(outputs)


class GatedInside(Small):
    def __init__(self, **params):
        super().__init__(**params)
        self.gate = nn.Sigmoid()

    def forward(self, x):
        hidden = self.hidden(x)
        return self.out(hidden * self.gate(hidden))


class SwitchesInTraining(Small):
    """Returns logits while it trains, and probabilities where it predicts."""

    def forward(self, x):
        logits = super().forward(x)
        return logits if self.training else logits.softmax(1)


def tiny(input_shape, n_outputs):
    module = Small(input_shape, n_outputs)
    with torch.no_grad():
        for each in module.parameters():
            each.mul_(1e-6)
    return module


PROBABILITIES = [
    (3, ends_in(nn.Softmax(dim=1)), {}),
    (3, ends_in(nn.Sigmoid()), {}),
    (3, Functional, {"function": lambda logits: logits.softmax(1)}),
    (3, SwitchesInTraining, {}),
    (2, ends_in(nn.Sigmoid()), {}),
    (2, ends_in(nn.Sigmoid(), nn.Flatten(0)), {}),
    (2, ends_in(nn.Softmax(dim=1)), {}),  # of one output, which is always one
    (2, Functional, {"function": torch.sigmoid}),
    (2, Functional, {"function": lambda logits: logits.sigmoid_().squeeze(1)}),
    (2, Functional, {"function": lambda logits: logits.sigmoid().clamp(1e-6, 1 - 1e-6).float()}),
    (2, TwoOutputs, {"function": lambda logits: logits.softmax(1)}),
]
LOGITS = [
    (3, ends_in(nn.LogSoftmax(dim=1)), {}),
    (3, ends_in(nn.ReLU()), {}),
    (3, tiny, {}),
    (3, Gated, {}),
    (3, Functional, {"function": lambda logits: 5 * logits.softmax(1)}),
    (2, ends_in(), {}),
    (2, ends_in(nn.ReLU()), {}),
    (2, tiny, {}),
    (2, Gated, {}),
    (2, GatedInside, {}),
    (2, Functional, {"function": lambda logits: 10 * torch.sigmoid(logits) - 5}),
    (2, TwoOutputs, {"function": lambda logits: logits.log_softmax(1)}),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n_classes", "module", "params"), PROBABILITIES)
def test_probabilities_warn(n_classes, module, params, dtype):
    X, y = blobs(n_classes=n_classes, dtype=dtype)
    fitted = model(module, module_params=params, max_epochs=2)
    with pytest.warns(ProbabilityOutputWarning, match="takes outputs as logits") as caught:
        fitted.fit(X, y)
    (warning,) = (each for each in caught if each.category is ProbabilityOutputWarning)
    assert warning.filename == __file__


@pytest.mark.parametrize(("n_classes", "module", "params"), LOGITS)
def test_logits_do_not_warn(n_classes, module, params):
    X, y = blobs(n_classes=n_classes)
    model(module, module_params=params, max_epochs=2).fit(X, y)


def test_digits_by_probabilities_and_by_logits():
    """The log loss of a module that ends in a softmax is far above that of its logits."""
    X, y = load_digits(return_X_y=True)
    with_softmax, without = (
        ModuleClassifier(ends_in(*last), max_epochs=20, learning_rate=0.01, random_state=0)
        for last in ([nn.Softmax(dim=1)], [])
    )
    with pytest.warns(ProbabilityOutputWarning, match="Remove the softmax"):
        with_softmax.fit(X, y)
    without.fit(X, y)
    assert without.validation_loss_curve_[without.best_iter_ - 1] < 0.3
    assert with_softmax.validation_loss_curve_[with_softmax.best_iter_ - 1] > 1.4


def test_partial_fit_warns_at_its_first_call():
    X, y = blobs()
    fitted = model(ends_in(nn.Sigmoid()))
    with pytest.warns(ProbabilityOutputWarning):
        fitted.partial_fit(X, y, classes=[0, 1])
    fitted.partial_fit(X, y)


class Sigmoid(Small):
    """Counts its calls in a buffer and draws numbers in each."""

    def __init__(self, **params):
        super().__init__(norm=True, dropout=0.5, **params)
        self.register_buffer("n_calls", torch.zeros(()))

    def forward(self, x):
        self.n_calls += 1
        return super().forward(x) + 1e-3 * torch.randn(1, dtype=x.dtype)


class SigmoidAtEnd(Sigmoid):
    def forward(self, x):
        return super().forward(x).sigmoid()


def test_the_check_takes_no_part_in_the_training():
    X, y = blobs(200)
    options = {"max_epochs": 3, "early_stopping": False}
    plain = model(Sigmoid, **options).fit(X, y)
    assert plain.module_state_["n_calls"] == 1 + 3
    assert plain.module_state_["norm.num_batches_tracked"] == 3
    with pytest.warns(ProbabilityOutputWarning):
        warned = model(SigmoidAtEnd, **options).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_same(warned, model(SigmoidAtEnd, **options).fit(X, y))


def messages_of(fit, *args):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(*args)
    return [str(each.message) for each in caught if each.category is ProbabilityOutputWarning]


@pytest.mark.parametrize(
    "make",
    [
        lambda module: DistilledClassifier(module, LogisticRegression(), cv=3, **FIXED),
        lambda module: DistilledClassifier(RandomForestClassifier(10), module, random_state=0),
        lambda module: DistilledClassifier(
            LogisticRegression(), make_pipeline(StandardScaler(), module), **FIXED
        ),
        lambda module: DistilledClassifier(module, module, alpha=0.5, temperature=1.0),
        lambda module: SelfDistillClassifier(module),
        lambda module: SelfDistillClassifier(module, schedule="accuracy"),
    ],
)
def test_a_fit_of_several_modules_warns_once(make):
    X, y = blobs(150, spread=4.0)
    estimator = make(model(ends_in(nn.Sigmoid()), max_epochs=3))
    assert len(messages_of(estimator.fit, X, y)) == 1
    assert len(messages_of(estimator.fit, X, y)) == 1  # a second fit warns again


def test_label_errors_of_several_folds_warn_once():
    X, y = blobs(150, spread=4.0)
    estimator = SelfDistillClassifier(model(ends_in(nn.Sigmoid()), max_epochs=3))
    assert len(messages_of(estimator.find_label_errors, X, y)) == 1

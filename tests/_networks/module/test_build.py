"""Modules that cannot be built or trained: errors that say what to change."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.linear_model import LogisticRegression
from torch import nn

from sklearn_kd import DistilledClassifier
from sklearn_kd.exceptions import DivergenceError, ProbabilityOutputWarning
from tests._helpers.data import FIXED, blobs
from tests._helpers.estimators import fitted_names
from tests._helpers.modules import Small, model


def test_a_module_in_place_of_a_class():
    X, y = blobs()
    with pytest.raises(TypeError, match=r"pass module=Linear and its arguments"):
        model(nn.Linear(3, 1)).fit(X, y)
    with pytest.raises(TypeError, match=r"must make a torch.nn.Module, made a dict"):
        model(dict).fit(X, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"module_params": {"n_outputs": 4}}, r"for 3 classes .* \(n, 3\), it returned \(n, 4\)"),
        ({"module_params": {"input_shape": (7,)}}, r"cannot take a batch of shape \(n, 3\)"),
        ({"image_shape": (1, 2, 2)}, r"\(1, 2, 2\) takes 4 numbers a row, X has 3 features"),
        ({"optimizer": "adamax"}, "'adamax' is not known: use adam, adamw, sgd"),
        ({"optimizer_params": {"nesterov": True}}, r"optimizer_params does not suit torch.*nest"),
        ({"scheduler": "linear"}, "'linear' is not known: use cosine, step, one-cycle"),
        ({"scheduler": "step", "scheduler_params": {"T": 1}}, "scheduler_params does not suit"),
        ({"mixed_precision": True, "device": "cpu"}, "needs float32 rows"),
        ({"warm_start": True, "checkpoint_path": "x"}, "set one of them only"),
        ({"learning_rate": 1e30, "optimizer": "sgd"}, None),
    ],
)
def test_errors_leave_nothing_fitted(options, message):
    X, y = blobs(n_classes=3)
    fitted = model(**options)
    error = ValueError
    if message is None:
        error, message = DivergenceError, r"loss was .* in epoch \d+: choose a learning_rate below"
    with pytest.raises(error, match=message):
        fitted.fit(X, y)
    assert not fitted_names(fitted)
    good = model().fit(X, y)
    before = good.predict_proba(X)
    with pytest.raises(error, match=message):
        good.set_params(**options).fit(X, y)
    good.set_params(**{name: model().get_params()[name] for name in options})
    assert_array_equal(good.predict_proba(X), before)


def test_a_divergence_advises_what_is_not_set_yet():
    X, y = blobs(n_classes=3)
    options = {"learning_rate": 1e30, "optimizer": "sgd"}
    with pytest.raises(DivergenceError, match=r"set clip_norm=1\.0") as caught:
        model(**options).fit(X, y)
    assert "input_scaling" not in str(caught.value)
    with pytest.raises(DivergenceError, match="set input_scaling=True") as caught:
        model(**options, clip_norm=1e30, input_scaling=False).fit(X, y)
    assert "clip_norm" not in str(caught.value)


class Hungry(Small):
    def forward(self, x):
        if self.training:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 PiB")
        return super().forward(x)


def test_out_of_memory():
    X, y = blobs()
    with pytest.raises(MemoryError, match=r"set a smaller batch_size.*Tried to allocate 1 PiB"):
        model(Hungry).fit(X, y)

    def vast(input_shape, n_outputs):
        return nn.Linear(2**50, 2)

    with pytest.raises(MemoryError, match="memory is full: set a smaller batch_size"):
        model(vast).fit(X, y)


def test_weights_that_no_longer_fit():
    X, y = blobs()
    fitted = model().fit(X, y).set_params(module_params={"width": 4})
    with pytest.raises(ValueError, match=r"module_state_ does not fit .* call fit again"):
        pickle.loads(pickle.dumps(fitted)).predict(X)
    with pytest.raises(ValueError, match="does not fit"):
        fitted.partial_fit(X, y)


class Frozen(Small):
    def __init__(self, **params):
        super().__init__(**params)
        self.requires_grad_(False)


class Tuple(Small):
    def forward(self, x):
        return super().forward(x), None


@pytest.mark.parametrize(
    ("module", "message"),
    [(Frozen, "nothing to train"), (Tuple, "returned a tuple: let it return the logits alone")],
)
def test_modules_that_cannot_be_trained(module, message):
    X, y = blobs()
    with pytest.raises(ValueError, match=message):
        model(module).fit(X, y)


@pytest.mark.parametrize("shape", [(), (-1, -2, 1), (1.0, 2.0, 1.0), ("a", 2, 1)])
def test_image_shapes_are_positive_integers(shape):
    with pytest.raises(ValueError, match="must be positive integers"):
        model(image_shape=shape).fit(*blobs())


# dtypes


class Casts(Small):
    """Computes in the dtype of a cast in forward."""

    def __init__(self, cast, **params):
        super().__init__(**params)
        self.cast = cast

    def forward(self, x):
        return super().forward(x.to(self.cast))


class Projects(Small):
    """Multiplies by a tensor that is no buffer, so that it keeps its dtype."""

    def __init__(self, input_shape, **params):
        super().__init__(input_shape=(2,), **params)
        self.projection = torch.randn(input_shape[0], 2)

    def forward(self, x):
        return super().forward(x @ self.projection)


class Recurrent(Small):
    """Starts from a hidden state of the default dtype."""

    def __init__(self, input_shape, **params):
        super().__init__(input_shape=(4,), **params)
        self.cell = nn.GRUCell(input_shape[0], 4)

    def forward(self, x):
        return super().forward(self.cell(x, torch.zeros(len(x), 4)))


@pytest.mark.parametrize(
    ("module", "params"), [(Casts, {"cast": torch.float32}), (Projects, {}), (Recurrent, {})]
)
@pytest.mark.parametrize("call", ["fit", "partial_fit"])
def test_float64_rows_in_a_module_with_float32_inside(module, params, call):
    X, y = blobs()
    fitted = model(module, module_params=params, max_epochs=3)
    more = {"classes": [0, 1]} if call == "partial_fit" else {}
    with pytest.raises(
        ValueError, match=r"dtype float64.*float32 inside.*X\.astype\(np\.float32\)"
    ) as e:
        getattr(fitted, call)(X, y, **more)
    assert "image_shape" not in str(e.value)
    getattr(fitted, call)(X.astype(np.float32), y, **more).predict(X)


def test_float32_rows_in_a_module_with_float64_inside():
    X, y = blobs(dtype=np.float32)
    fitted = model(Casts, module_params={"cast": torch.float64}, max_epochs=3)
    with pytest.raises(
        ValueError, match=r"dtype float32.*float64 inside.*X\.astype\(np\.float64\)"
    ):
        fitted.fit(X, y)
    fitted.fit(X.astype(np.float64), y)


class EmbedsAColumn(nn.Module):
    def __init__(self, n_outputs, input_shape):
        super().__init__()
        self.embedding = nn.Embedding(10, n_outputs)
        self.out = nn.Linear(input_shape[0], n_outputs)

    def forward(self, x):
        return self.out(x) + self.embedding(x[:, 0])


def test_floats_in_a_layer_of_indices():
    X, y = blobs()
    with pytest.raises(ValueError, match=r"takes indices.*\.long\(\) on their columns") as e:
        model(EmbedsAColumn, module_params=None, max_epochs=3).fit(X, y)
    assert "image_shape" not in str(e.value)


class Embeds(nn.Module):
    def __init__(self, n_outputs, casts):
        super().__init__()
        self.embedding, self.out = nn.Embedding(10, 4), nn.Linear(12, n_outputs)
        self.casts = casts

    def forward(self, x):
        return self.out(self.embedding(x.long() if self.casts else x).flatten(1))


@pytest.mark.parametrize("casts", [True, False])
def test_indices_are_neither_scaled_nor_floats(casts):
    _, y = blobs()
    X = np.random.default_rng(0).integers(0, 10, size=(len(y), 3))
    message = r"takes indices.*call x\.long\(\), and set input_scaling=False"
    fitted = model(Embeds, module_params={"casts": casts}, max_epochs=3)
    with pytest.raises(ValueError, match=message):
        fitted.fit(X, y)
    fitted.set_params(input_scaling=False)
    if casts:
        fitted.fit(X, y)
    else:
        with pytest.raises(ValueError, match=message):
            fitted.fit(X, y)


# Before the fits of a teacher


class NeverFitted(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        raise AssertionError("the teacher is fitted")


@pytest.mark.parametrize("settings", [{}, FIXED])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"module_params": {"n_outputs": 4}}, r"it returned \(n, 4\)"),
        ({"module": Casts, "module_params": {"cast": torch.float32}}, r"astype\(np\.float32\)"),
        ({"module": Frozen}, "nothing to train"),
        ({"optimizer": "adamax"}, "'adamax' is not known"),
        ({"scheduler": "linear"}, "'linear' is not known"),
        ({"augmentation": "shift"}, "is for images"),
        ({"mixed_precision": "float16", "device": "cpu"}, "needs float32 rows"),
    ],
)
def test_errors_of_a_student_come_before_the_teacher(options, message, settings):
    X, y = blobs(n_classes=3)
    with pytest.raises(ValueError, match=message):
        DistilledClassifier(NeverFitted(), model(**options), **settings).fit(X, y)


def test_the_warning_of_probabilities_comes_before_the_teacher():
    X, y = blobs(n_classes=3)

    def ends_in_softmax(input_shape, n_outputs):
        return nn.Sequential(nn.Linear(*input_shape, n_outputs), nn.Softmax(dim=1))

    with (
        pytest.warns(ProbabilityOutputWarning),
        pytest.raises(AssertionError, match="the teacher is fitted"),
    ):
        DistilledClassifier(NeverFitted(), model(ends_in_softmax)).fit(X, y)


@pytest.mark.parametrize("scheduler", ["one-cycle", "cosine", "step", None])
def test_students_with_schedules_are_fitted(scheduler):
    X, y = blobs(n_classes=3)
    student = model(scheduler=scheduler, max_epochs=3)
    assert DistilledClassifier(LogisticRegression(), student, **FIXED).fit(X, y).classes_.size == 3


def convolution(n_outputs):
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.LazyLinear(n_outputs))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_module_for_images_needs_their_shape(dtype):
    X, y = np.random.default_rng(0).normal(size=(20, 16)).astype(dtype), np.arange(20) % 2
    fitted = model(convolution, max_epochs=2)
    with pytest.raises(ValueError, match=r"\(n, 16\) and dtype .*: set image_shape, or the sizes"):
        fitted.fit(X, y)
    fitted.set_params(image_shape=(1, 4, 4)).fit(X, y)

"""All estimators on a CUDA device, and where there is none."""

import numpy as np
import pytest
import torch

from sklearn_kd import (
    BatchedGridSearchCV,
    KernelTeacher,
    ModuleClassifier,
    ModuleRegressor,
    SelfDistillClassifier,
    TwoLayerPGDClassifier,
    TwoLayerPGDRegressor,
)
from sklearn_kd._networks.two_layer import training
from tests._helpers.data import blobs
from tests._helpers.estimators import fitted_names

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def test_a_fit_that_would_not_fit_says_what_to_set(monkeypatch):
    X, y = blobs()
    asked = []

    def refuse(n_bytes, device, advice):
        asked.append(n_bytes)
        raise MemoryError(f"needs {n_bytes}: {advice}")

    monkeypatch.setattr(training, "check_budget", refuse)
    for width in (4, 400):
        student = TwoLayerPGDClassifier(width, max_iter=2, encoder=None)
        with pytest.raises(MemoryError, match="set a smaller batch_size, width or n_init"):
            student.fit(X, y)
        assert not fitted_names(student)
    # restarts and fold networks of (width, rows) and (width, inputs) at least
    assert asked[1] > 8 * 6 * 400 * (2 * len(X) + 5 * 4)


def test_a_width_beyond_the_memory_is_refused_before_it_is_taken():
    X, y = blobs()
    with pytest.raises(MemoryError, match=r"GiB free: set a smaller"):
        TwoLayerPGDClassifier(2 * 10**9, max_iter=1, encoder=None).fit(X, y)


@needs_cuda
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("options", [{}, {"batch_size": 20}, {"radius": 2.0, "learning_rate": 0.5}])
def test_cuda_trains_the_same_network(dtype, n_classes, options):
    X, y = blobs(n_classes=n_classes, dtype=dtype)
    options = {"max_iter": 50, "random_state": 0, **options}
    cpu, cuda = (
        TwoLayerPGDClassifier(8, device=device, **options, encoder=None).fit(X, y)
        for device in ("cpu", "cuda")
    )
    np.testing.assert_array_equal(cpu.initial_weights_, cuda.initial_weights_)
    assert cuda.hidden_weights_.dtype == dtype
    tolerance = 1e-6 if dtype == np.float64 else 1e-2
    np.testing.assert_allclose(cpu.predict_proba(X), cuda.predict_proba(X), atol=tolerance)


@needs_cuda
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("solver", ["cholesky", "pcg", "nystroem"])
def test_cuda_fits_the_same_kernel_teacher(solver, dtype):
    X, y = blobs(200, n_classes=3, dtype=dtype)
    cpu, cuda = (
        KernelTeacher(solver=solver, ridge=0.05, device=device, random_state=0).fit(X, y)
        for device in ("cpu", "cuda")
    )
    tolerance = 1e-6 if dtype == np.float64 else 2e-2
    np.testing.assert_allclose(cpu.loo_proba_, cuda.loo_proba_, atol=tolerance)
    np.testing.assert_allclose(cpu.predict_proba(X), cuda.predict_proba(X), atol=tolerance)


@needs_cuda
@pytest.mark.parametrize("batch_size", [None, 20])
def test_cuda_trains_the_same_batch_of_networks(batch_size):
    X, y = blobs(n_classes=3)
    soft = np.full((len(y), 3), 0.1)
    soft[np.arange(len(y)), y] = 0.8
    # networks of several widths, bounds and losses, which leave at different times
    grid = {
        "width": [2, 4],
        "radius": [2.0, None],
        "temperature": [1.0, 3.0],
        "max_iter": [20, 40],
    }
    cpu, cuda = (
        BatchedGridSearchCV(
            TwoLayerPGDClassifier(
                batch_size=batch_size, device=device, random_state=0, encoder=None
            ),
            grid,
            cv=2,
            scoring="neg_log_loss",
        ).fit(X, y, soft_targets=soft)
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(
        cpu.cv_results_["mean_test_score"], cuda.cv_results_["mean_test_score"], atol=1e-6
    )


@needs_cuda
def test_a_model_from_cuda_holds_no_torch():
    import pickle

    X, y = blobs()
    model = TwoLayerPGDClassifier(4, max_iter=5, device="cuda", random_state=0, encoder=None).fit(
        X, y
    )
    model.partial_fit(X, y)
    assert b"torch" not in pickle.dumps(model)
    model.set_params(device="cpu").partial_fit(X, y)


def module(input_shape, n_outputs):
    layers = torch.nn.Linear(input_shape[0], 16), torch.nn.BatchNorm1d(16), torch.nn.ReLU()
    return torch.nn.Sequential(*layers, torch.nn.Linear(16, n_outputs))


@needs_cuda
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", [{}, {"batch_size": 20, "scheduler": "one-cycle"}])
def test_cuda_trains_the_same_module(dtype, options):
    import pickle

    X, y = blobs(n_classes=3, dtype=dtype)
    options = {"learning_rate": 0.02, "max_epochs": 30, "random_state": 0, **options}
    cpu, cuda = (
        ModuleClassifier(module, device=device, **options).fit(X, y) for device in ("cpu", "cuda")
    )
    tolerance = 1e-6 if dtype == np.float64 else 1e-2
    np.testing.assert_allclose(cpu.predict_proba(X), cuda.predict_proba(X), atol=tolerance)
    content = pickle.dumps(cuda)
    assert b"torch" not in content
    moved = pickle.loads(content).set_params(device="cpu")
    np.testing.assert_allclose(moved.predict_proba(X), cuda.predict_proba(X), atol=tolerance)


@needs_cuda
@pytest.mark.parametrize("is_module", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"loss": "huber"}, {"loss": "quantile", "quantiles": (0.1, 0.9)}], ids=str
)
def test_cuda_trains_the_same_regressor(options, is_module):
    import pickle

    X, labels = blobs(100)
    y = np.stack([X[:, 0] + labels, np.abs(X[:, 1])], axis=1)

    def fitted(device):
        params = {"device": device, "random_state": 0, "alpha": 0.5, **options}
        if is_module:
            model = ModuleRegressor(module, max_epochs=30, **params)
        else:
            model = TwoLayerPGDRegressor(8, max_iter=30, encoder=None, **params)
        return model.fit(X, y, soft_targets=0.9 * y)

    cpu, cuda = fitted("cpu"), fitted("cuda")
    np.testing.assert_allclose(cpu.predict(X), cuda.predict(X), atol=1e-6)
    content = pickle.dumps(cuda)
    assert b"torch" not in content
    moved = pickle.loads(content).set_params(device="cpu")
    np.testing.assert_allclose(moved.predict(X), cuda.predict(X), atol=1e-6)


@needs_cuda
@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.CleanLabelsWarning")
@pytest.mark.parametrize(
    "options",
    [{"memory": "previous-generation"}, {}, {"memory": 0.7, "target": "soft"}],
    ids=["two generations", "hard", "soft"],
)
@pytest.mark.parametrize("kind", ["network", "minibatches", "module"])
def test_cuda_corrects_the_same_labels(kind, options):
    import pickle

    X, y = blobs(n_classes=3)
    y[::7] = (y[::7] + 1) % 3
    params = {"early_stopping": False, "random_state": 0}

    def student(device):
        if kind == "module":
            return ModuleClassifier(module, device=device, max_epochs=30, **params)
        size = 20 if kind == "minibatches" else None
        return TwoLayerPGDClassifier(
            8, max_iter=30, batch_size=size, device=device, **params, encoder=None
        )

    cpu, cuda = (
        SelfDistillClassifier(student(device), **options).fit(X, y) for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(cpu.predict_proba(X), cuda.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(cpu.weight_curve_, cuda.weight_curve_, atol=1e-9)
    np.testing.assert_allclose(cpu.label_quality_, cuda.label_quality_, atol=1e-6)
    np.testing.assert_allclose(cpu.refined_targets_, cuda.refined_targets_, atol=1e-6)
    content = pickle.dumps(cuda)
    assert b"torch" not in content
    np.testing.assert_array_equal(pickle.loads(content).predict_proba(X), cuda.predict_proba(X))


@needs_cuda
@pytest.mark.parametrize("mixed_precision", [True, "bfloat16", "float16"])
def test_mixed_precision(mixed_precision, tmp_path):
    X, y = blobs(300, n_classes=3, dtype=np.float32)
    options = {"batch_size": 32, "learning_rate": 0.01, "max_epochs": 30, "random_state": 0}
    half, full = (
        ModuleClassifier(module, device="cuda", mixed_precision=precision, **options).fit(X, y)
        for precision in (mixed_precision, False)
    )
    assert half.module_state_["0.weight"].dtype == np.float32
    assert half.score(X, y) == pytest.approx(full.score(X, y), abs=0.03)
    state = torch.cuda.get_rng_state()
    resumed = half.set_params(checkpoint_path=tmp_path / "fit.pt").fit(X, y)
    assert resumed.score(X, y) == pytest.approx(full.score(X, y), abs=0.03)
    assert torch.equal(torch.cuda.get_rng_state(), state)


@needs_cuda
def test_a_module_beyond_the_memory_of_the_device():
    def vast(input_shape, n_outputs):
        layers = torch.nn.Linear(input_shape[0], 2**20), torch.nn.Linear(2**20, n_outputs)
        return torch.nn.Sequential(*layers)

    X, y = blobs(100_000, dtype=np.float32)
    model = ModuleClassifier(vast, device="cuda", batch_size=None, early_stopping=False)
    with pytest.raises(MemoryError, match="set a smaller batch_size"):
        model.fit(X, y)
    assert not fitted_names(model)

"""Resolving a device, and moving arrays to it and back."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

from sklearn_kd import (
    BatchedGridSearchCV,
    DistilledClassifier,
    KernelTeacher,
    ModuleClassifier,
    SelfDistillClassifier,
    TwoLayerPGDClassifier,
)
from sklearn_kd._core.kernel import kernels
from sklearn_kd._core.network.training import TrainingState
from sklearn_kd._networks.module import build
from sklearn_kd._networks.module.net import ModuleNet
from sklearn_kd._utils.device import (
    MIN_PARALLEL_MULTIPLICATIONS,
    check_budget,
    resolve_device,
    thread_scope,
    to_numpy,
    to_tensor,
)
from sklearn_kd.modules import MLP
from tests._helpers.data import blobs
from tests._helpers.estimators import fitted_names
from tests._helpers.modules import Small

without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


def test_resolve():
    assert resolve_device("cpu") == torch.device("cpu")
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert resolve_device("auto").type == expected


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "'gpu' is not a device; use 'auto'"),
        ("", "not a device"),
        ("meta", "'meta' is not supported"),
        ("mps", "'mps' is not supported"),
        ("cuda:99", "torch finds .* CUDA devices; use device='cpu'"),
    ],
)
def test_devices_that_are_not_there(device, message):
    with pytest.raises(ValueError, match=message):
        resolve_device(device)
    X, y = blobs()
    student = TwoLayerPGDClassifier(4, max_iter=2, device=device, encoder=None)
    with pytest.raises(ValueError, match=message):
        student.fit(X, y)
    assert not fitted_names(student)


@without_cuda
def test_cuda_is_not_replaced_by_the_cpu():
    X, y = blobs()
    for device in ("cuda", "cuda:0"):
        with pytest.raises(ValueError, match="torch finds 0 CUDA devices"):
            TwoLayerPGDClassifier(4, max_iter=2, device=device, encoder=None).fit(X, y)


def test_to_tensor_shares_or_copies():
    array = np.arange(6.0).reshape(2, 3)
    assert to_tensor(array).data_ptr() == array.ctypes.data
    assert to_tensor(array, dtype=np.float32).dtype == torch.float32
    for given in (pd.DataFrame(array).to_numpy(), array.T, array[::-1], array[:, ::2]):
        given.flags.writeable = False
        tensor = to_tensor(given)  # no warning of torch's
        np.testing.assert_array_equal(tensor.numpy(), given)
        tensor.zero_()
    np.testing.assert_array_equal(array, np.arange(6.0).reshape(2, 3))


def test_to_numpy_copies():
    tensor = torch.arange(10.0)
    array = to_numpy(tensor[2:4])
    assert array.base is None
    tensor.zero_()
    assert array.tolist() == [2, 3]


def test_budget():
    cpu = torch.device("cpu")
    check_budget(1, cpu, "nothing to do")
    with pytest.raises(MemoryError, match=r"needs about 1048576\.00 GiB on cpu.*free: buy more"):
        check_budget(2**50, cpu, "buy more")


@pytest.fixture
def two_threads():
    """Let torch have two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def threads_of_mkl():
    """Return MKL's number of threads for this thread as a text, empty where torch has no MKL."""
    return re.findall(r"mkl_get_max_threads\(\) : \d+", torch.__config__.parallel_info())


@pytest.mark.usefixtures("two_threads")
def test_small_steps_take_one_thread_and_give_it_back():
    before = torch.get_num_threads()
    assert before == 2
    of_mkl = threads_of_mkl()  # which set_num_threads sets too
    with thread_scope(0):
        assert torch.get_num_threads() == 1
        assert all(each.endswith(" 1") for each in threads_of_mkl())
    assert torch.get_num_threads() == before
    assert threads_of_mkl() == of_mkl
    with pytest.raises(RuntimeError, match="inside"), thread_scope(0):
        raise RuntimeError("inside")
    assert torch.get_num_threads() == before
    with thread_scope(MIN_PARALLEL_MULTIPLICATIONS):
        assert torch.get_num_threads() == before


@pytest.mark.usefixtures("two_threads")
def test_the_limit_holds_for_its_thread_only():
    def inside_and_after():
        with thread_scope(0):
            inside = torch.get_num_threads()
        return inside, torch.get_num_threads()

    with thread_scope(0), ThreadPoolExecutor(1) as pool:
        assert pool.submit(inside_and_after).result() == (1, 2)
    with ThreadPoolExecutor(1) as pool:  # a thread that starts later has the number of the user
        assert pool.submit(torch.get_num_threads).result() == 2


@pytest.mark.usefixtures("two_threads")
def test_fits_at_the_same_time_leave_the_number_of_threads_as_it_was():
    """The scopes overlap, end in another order than they began, and one ends by an error."""
    n_fits, inside = 4, []
    entered = threading.Barrier(n_fits, timeout=60)
    turns, ended = ([threading.Event() for _ in range(n_fits)] for _ in range(2))

    def fit(number):
        if number:
            turns[number - 1].wait(60)
        with thread_scope(0):
            turns[number].set()
            entered.wait()
            if number:  # the first to begin is the first to end
                ended[number - 1].wait(60)
            inside.append(torch.get_num_threads())
            if number == 1:
                ended[number].set()
                raise RuntimeError("inside")
        ended[number].set()
        return torch.get_num_threads()

    with ThreadPoolExecutor(n_fits) as pool:
        fits = [pool.submit(fit, number) for number in range(n_fits)]
        assert isinstance(fits[1].exception(), RuntimeError)
        assert [each.result() for each in (fits[0], *fits[2:])] == [2, 2, 2]
        assert set(pool.map(lambda _: torch.get_num_threads(), range(n_fits))) == {2}
    assert inside == [1] * n_fits
    assert torch.get_num_threads() == 2
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 2


@contextmanager
def seen_threads(monkeypatch, owner, name):
    """Collect torch's numbers of threads at the calls of a function, which may raise an error."""
    seen, original = set(), getattr(owner, name)

    def spy(*args, **kwargs):
        seen.add(torch.get_num_threads())
        return original(*args, **kwargs)

    with monkeypatch.context() as context:
        context.setattr(owner, name, spy)
        yield seen


def module(max_epochs=3):
    return ModuleClassifier(MLP, module_params={"width": 4}, max_epochs=max_epochs)


LOOPS = {
    "two-layer": (TwoLayerPGDClassifier(4, max_iter=3, encoder=None), TrainingState, "train_epoch"),
    "minibatches": (
        TwoLayerPGDClassifier(4, max_iter=3, batch_size=16, encoder=None),
        TrainingState,
        "train_epoch",
    ),
    "joint": (
        BatchedGridSearchCV(
            TwoLayerPGDClassifier(4, max_iter=3, encoder=None), {"radius": [1.0, None]}, cv=2
        ),
        TrainingState,
        "train_epoch",
    ),
    "self-distilled": (
        SelfDistillClassifier(
            TwoLayerPGDClassifier(
                4, max_iter=3, early_stopping=False, encoder=None, init="symmetric"
            )
        ),
        TrainingState,
        "train_epoch",
    ),
    "distilled": (
        DistilledClassifier(student=TwoLayerPGDClassifier(4, max_iter=3, encoder=None)),
        TrainingState,
        "train_epoch",
    ),
    "module": (module(), ModuleNet, "train_step"),
    "kernel": (KernelTeacher(), kernels, "gram"),
    "gradient flow": (KernelTeacher(training_time=1.0), kernels, "gram"),
}


@pytest.mark.usefixtures("two_threads")
@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.CleanLabelsWarning")
@pytest.mark.parametrize("name", LOOPS)
def test_small_fits_take_one_thread_whatever_torch_is_set_to(name, monkeypatch):
    estimator, owner, method = LOOPS[name]
    X, y = blobs()
    with seen_threads(monkeypatch, owner, method) as seen:
        estimator.fit(X, y)
    assert seen == {1}
    assert torch.get_num_threads() == 2
    monkeypatch.setattr(owner, method, lambda *args, **kwargs: 1 / 0)
    with pytest.raises((ZeroDivisionError, ValueError)):  # a search raises that all fits failed
        clone(estimator).fit(X, y)
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("name", ["two-layer", "module", "kernel"])
def test_large_fits_take_the_threads_of_the_user(name, monkeypatch):
    estimator, owner, method = LOOPS[name]
    monkeypatch.setattr("sklearn_kd._utils.device.MIN_PARALLEL_MULTIPLICATIONS", 0)
    with seen_threads(monkeypatch, owner, method) as seen:
        estimator.fit(*blobs())
    assert seen == {2}


@pytest.mark.usefixtures("two_threads")
def test_small_predictions_take_one_thread(monkeypatch):
    X, y = blobs()
    # an MLP would predict in NumPy
    fitted = [ModuleClassifier(Small, max_epochs=1).fit(X, y), KernelTeacher().fit(X, y)]
    for estimator, (owner, name) in zip(
        fitted, [(build, "to_loss_layout"), (kernels, "cross")], strict=True
    ):
        with seen_threads(monkeypatch, owner, name) as seen:
            estimator.predict(X)
        assert seen == {1}
    assert torch.get_num_threads() == 2

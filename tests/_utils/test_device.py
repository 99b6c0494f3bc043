"""Resolving a device, and moving arrays to it and back."""

import numpy as np
import pandas as pd
import pytest
import torch

from sklearn_kd import TwoLayerPGDClassifier
from sklearn_kd._utils.device import (
    MIN_PARALLEL_MULTIPLICATIONS,
    check_budget,
    resolve_device,
    thread_scope,
    to_numpy,
    to_tensor,
)
from tests._helpers.data import blobs
from tests._helpers.estimators import fitted_names

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
    student = TwoLayerPGDClassifier(4, max_iter=2, device=device)
    with pytest.raises(ValueError, match=message):
        student.fit(X, y)
    assert not fitted_names(student)


@without_cuda
def test_cuda_is_not_replaced_by_the_cpu():
    X, y = blobs()
    for device in ("cuda", "cuda:0"):
        with pytest.raises(ValueError, match="torch finds 0 CUDA devices"):
            TwoLayerPGDClassifier(4, max_iter=2, device=device).fit(X, y)


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


@pytest.mark.usefixtures("two_threads")
def test_small_steps_take_one_thread_and_give_it_back():
    before = torch.get_num_threads()
    assert before == 2
    with thread_scope(0):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    with pytest.raises(RuntimeError, match="inside"), thread_scope(0):
        raise RuntimeError("inside")
    assert torch.get_num_threads() == before
    with thread_scope(MIN_PARALLEL_MULTIPLICATIONS):
        assert torch.get_num_threads() == before

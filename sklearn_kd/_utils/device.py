"""Devices, conversion between NumPy and torch, threads, and checks of free memory.

This module imports torch, so that estimators import it inside `fit`.
"""

import ctypes
import math
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import ThreadpoolController

from sklearn_kd._utils.memory import free_bytes

#: Multiplications of a step from which several threads are faster than one.
MIN_PARALLEL_MULTIPLICATIONS = 2**24


def resolve_device(device):
    """Return the torch device of a ``device`` parameter, or raise ValueError if it is missing."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"device={device!r} is not a device; use 'auto', 'cpu', 'cuda' or 'cuda:1'."
        ) from error
    if resolved.type not in ("cpu", "cuda"):
        raise ValueError(f"device={device!r} is not supported; use 'auto', 'cpu' or 'cuda'.")
    if resolved.type == "cuda" and not (
        torch.cuda.is_available() and (resolved.index or 0) < torch.cuda.device_count()
    ):
        raise ValueError(
            f"device={device!r} is not available, since torch finds {torch.cuda.device_count()} "
            "CUDA devices; use device='cpu', or device='auto' to choose an available device."
        )
    return resolved


def to_tensor(array, *, dtype=None, device="cpu"):
    """Return a tensor of a NumPy array. It shares memory with a writeable array of its dtype.

    Read-only arrays, which pandas returns, are copied, since torch would warn.
    """
    array = np.asarray(array, dtype=dtype)
    if not array.flags.writeable:
        array = array.copy()
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def to_numpy(tensor):
    """Return a contiguous copy on the CPU, which keeps no larger buffer alive."""
    return np.array(tensor.detach().cpu().numpy(), order="C", copy=True)


def dtype_name(dtype):
    """Return the name of a torch dtype, which NumPy takes as a dtype."""
    return str(dtype).removeprefix("torch.")


@cache
def _controller():
    """Find the thread pools once, since this takes longer than the first steps of a small fit."""
    return ThreadpoolController()


@cache
def _mkl_threads_setter():
    """Return MKL's function that sets the threads of the calling thread and returns the former.

    `torch.set_num_threads` sets them too, and they then take precedence over those of OpenMP. torch
    has MKL inside its own library, where threadpoolctl does not look. Other builds of torch have no
    such function, and follow OpenMP.
    """
    for library in (Path(torch.__file__).parent / "lib").glob("*torch_cpu.*"):
        with suppress(OSError, AttributeError):
            return ctypes.CDLL(str(library)).MKL_Set_Num_Threads_Local
    return lambda n_threads: 0


@contextmanager
def thread_scope(step_size):
    """Limit a fit with small steps to one thread in this context.

    The limit holds for the calling thread only, so that fits in several threads do not disturb each
    other, and what was set before is restored on leaving, also after an error. The number of
    threads is never increased, so that parallel workers do not oversubscribe the CPU.

    Parameters
    ----------
    step_size : float
        Number of multiplications of a step.
    """
    torch.get_num_threads()  # a thread takes over torch's number at first use, which ends a limit
    if step_size >= MIN_PARALLEL_MULTIPLICATIONS:
        yield
        return
    set_mkl_threads = _mkl_threads_setter()
    with _controller().limit(limits=1, user_api="openmp"):
        before = set_mkl_threads(1)
        try:
            yield
        finally:
            set_mkl_threads(before)


def available_bytes(device):
    """Return the free memory of a device in bytes, or infinity if the platform does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return free_bytes()


def check_budget(n_bytes, device, advice, *, limit=math.inf, what="training"):
    """Raise MemoryError if ``n_bytes`` would not fit, before anything is allocated.

    ``limit`` is the number of bytes that the user allows, which may be less than what is free, and
    ``what`` is what the message says needs the memory.
    """
    available = available_bytes(device)
    if n_bytes > min(available, limit):
        there = f"which has {_size(available)} free"
        if limit < available:
            there = f"of the {_size(limit)} that max_memory allows"
        raise MemoryError(f"{what} needs about {_size(n_bytes)} on {device}, {there}: {advice}.")


def _size(n_bytes):
    """Format a number of bytes in GiB or MiB."""
    return f"{n_bytes / 2**30:.2f} GiB" if n_bytes >= 2**28 else f"{n_bytes / 2**20:.2f} MiB"

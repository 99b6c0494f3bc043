"""Devices, dtypes, tensors, generators and bytes: where NumPy meets torch.

Imports torch, so estimators import it inside `fit`.
"""

import math
from contextlib import nullcontext
from functools import cache

import numpy as np
import torch
from threadpoolctl import ThreadpoolController

from sklearn_kd._utils.memory import free_bytes

__all__ = [
    "available_bytes",
    "check_budget",
    "resolve_device",
    "thread_scope",
    "to_numpy",
    "to_tensor",
]


#: Multiplications of a step below which waking a second thread costs more than it saves.
ONE_THREAD_STEP = 2**24


def resolve_device(device):
    """Return the torch device of a ``device`` parameter; one that is not there is an error."""
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
            f"device={device!r} was asked for but torch sees {torch.cuda.device_count()} CUDA "
            "devices; use device='cpu', or device='auto' for what is there."
        )
    return resolved


def to_tensor(array, *, dtype=None, device="cpu"):
    """Tensor of a NumPy array; shares memory only with a writeable array of the same dtype.

    pandas hands out read-only arrays, which torch cannot alias without a warning: those are
    copied.
    """
    array = np.asarray(array, dtype=dtype)
    if not array.flags.writeable:
        array = array.copy()
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def to_numpy(tensor):
    """Return a contiguous copy on the CPU, so that no view of a larger buffer is kept alive."""
    return np.array(tensor.detach().cpu().numpy(), order="C", copy=True)


@cache
def _controller():
    """Find the thread pools once: a look takes longer than a small fit's first steps."""
    return ThreadpoolController()


def thread_scope(step_size):
    """Context of a fit: one thread where its steps are small, else as many as there are.

    ``step_size`` is the number of multiplications of one step. The number of threads is this
    thread's own and comes back at the end, on an error too; it is never raised, so that parallel
    workers do not oversubscribe.
    """
    if step_size >= ONE_THREAD_STEP:
        return nullcontext()
    return _controller().limit(limits=1)


def available_bytes(device):
    """Memory that is free on a device; infinity where the platform does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return free_bytes()


def check_budget(n_bytes, device, advice, *, limit=math.inf):
    """Raise MemoryError where ``n_bytes`` would not fit, before anything is allocated.

    ``limit`` is what the user allows, in bytes, if that is less than what is free.
    """
    available = available_bytes(device)
    if n_bytes > min(available, limit):
        there = f"which has {_size(available)} free"
        if limit < available:
            there = f"of the {_size(limit)} that max_memory allows"
        raise MemoryError(f"training needs about {_size(n_bytes)} on {device}, {there}: {advice}.")


def _size(n_bytes):
    """Bytes in a unit that shows them."""
    return f"{n_bytes / 2**30:.2f} GiB" if n_bytes >= 2**28 else f"{n_bytes / 2**20:.2f} MiB"

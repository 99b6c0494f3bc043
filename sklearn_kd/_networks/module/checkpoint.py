"""Checkpoints: files from which a fit continues that has been interrupted."""

import functools
import hashlib
import inspect
import os
import time
import types
import zipfile

import numpy as np
import torch

#: Ratio of the time between two writes to the time that the last one took.
TRAINING_TIME_PER_WRITE = 20
#: Levels of nested values that `describe` goes down.
MAX_DEPTH = 8
#: Parameters that may change, since they change nothing in what has been trained so far.
FREE_PARAMETERS = {"callbacks", "checkpoint_path", "device", "max_epochs", "verbose"}


def describe(value, depth=0):
    """Return a text that is the same for the same value in every process.

    Functions count with their code, so that two lambdas differ. Classes, and what is nested deeper
    than `MAX_DEPTH`, count by name. Lists equal tuples, and numbers of NumPy those of Python.
    """
    if depth > MAX_DEPTH:
        return type(value).__qualname__
    return _describe(value, functools.partial(describe, depth=depth + 1))


@functools.singledispatch
def _describe(value, describe_part):
    if inspect.isroutine(value):  # methods of built-in classes have no module
        return f"{getattr(value, '__module__', None)}.{value.__qualname__}"
    text = repr(value)
    if " at 0x" in text:  # the default, which names an address
        return f"{type(value).__qualname__} {describe_part(getattr(value, '__dict__', {}))}"
    return text


@_describe.register(np.generic)
def _(value, describe_part):
    return _describe(value.item(), describe_part)


@_describe.register(torch.Tensor)
def _(value, describe_part):
    return f"tensor {_digest(value.detach().cpu().numpy())}"


@_describe.register(np.ndarray)
def _(value, describe_part):
    return f"array {_digest(value)}"


@_describe.register(np.random.RandomState)
def _(value, describe_part):
    return "RandomState"


@_describe.register(type)
def _(value, describe_part):
    return f"{value.__module__}.{value.__qualname__}"


@_describe.register(types.CodeType)
def _(value, describe_part):
    return describe_part([value.co_code.hex(), value.co_names, value.co_consts])


@_describe.register(types.FunctionType)
def _(value, describe_part):
    cells = [cell.cell_contents for cell in value.__closure__ or ()]
    inner = describe_part([value.__code__, value.__defaults__, value.__kwdefaults__, cells])
    digest = hashlib.sha256(inner.encode()).hexdigest()[:16]
    return f"{value.__module__}.{value.__qualname__} {digest}"


@_describe.register(functools.partial)
def _(value, describe_part):
    return f"partial({', '.join(map(describe_part, (value.func, value.args, value.keywords)))})"


@_describe.register(dict)
def _(value, describe_part):
    keys = sorted(value, key=repr)
    return "{" + ", ".join(f"{key!r}: {describe_part(value[key])}" for key in keys) + "}"


@_describe.register(list)
@_describe.register(tuple)
def _(value, describe_part):
    return "(" + ", ".join(map(describe_part, value)) + ")"


def _digest(array):
    """Return a hash of the values, the shape and the dtype of an array; "None" for None."""
    if array is None:
        return "None"
    digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


class Checkpoint:
    """Checkpoint file of one fit.

    Parameters
    ----------
    path : str or path-like
    params : dict
        Parameters of the estimator, by name.
    data : dict
        Arrays or None, by the name of the argument of ``fit`` that they come from.
    """

    def __init__(self, path, params, data):
        self.path = os.path.expanduser(os.fspath(path))
        folder = os.path.dirname(self.path) or "."
        if os.path.isdir(self.path) or not os.access(folder, os.W_OK | os.X_OK):
            raise ValueError(
                f"checkpoint_path={self.path!r} cannot be written: pass a file in an existing "
                "folder in which you may write."
            )
        self.mark = {name: describe(params[name]) for name in params if name not in FREE_PARAMETERS}
        self.mark |= {name: _digest(array) for name, array in data.items()}
        self.next_write = 0.0

    def read(self):
        """Return what a fit with the same parameters and data wrote last, or None without a file.

        A file that is damaged, or that another fit wrote, raises ValueError.
        """
        if not os.path.exists(self.path):
            return None
        try:
            with zipfile.ZipFile(self.path) as archive:  # torch.load does not look at checksums
                if archive.testzip() is not None:
                    raise ValueError("damaged")
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            mark = content.pop("mark")
        except Exception as error:
            raise ValueError(
                f"checkpoint_path={self.path!r} is not a checkpoint of a fit: delete "
                "the file or choose another path."
            ) from error
        differs = [name for name in {**self.mark, **mark} if self.mark.get(name) != mark.get(name)]
        if differs:
            raise ValueError(
                f"checkpoint_path={self.path!r} was written by a fit that differs in "
                f"{', '.join(differs)}: delete the file to begin again, choose another path, or "
                "restore what differs."
            )
        return content

    def is_due(self):
        """Return whether it is time to write again: writing takes a small share of the time."""
        return time.monotonic() >= self.next_write

    def write(self, content):
        """Replace the file in one step, so that a killed process leaves the old file or the new."""
        start = time.monotonic()
        temporary = f"{self.path}.tmp"  # a killed process may have left one
        try:
            with open(temporary, "wb") as file:
                torch.save({"mark": self.mark, **content}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)
        end = time.monotonic()
        self.next_write = end + TRAINING_TIME_PER_WRITE * (end - start)

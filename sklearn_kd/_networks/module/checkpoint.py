"""A file that a killed fit goes on from."""

import functools
import hashlib
import inspect
import os
import time
import zipfile

import numpy as np
import torch

__all__ = ["Checkpoint", "describe"]


#: Training goes on for so many times as long as the last writing took.
WRITING_SHARE = 20
#: Levels of nested values that `describe` goes down.
DEEPEST = 8
#: Parameters that may differ: they change nothing in what has been trained so far.
FREE = {"callbacks", "checkpoint_path", "device", "max_epochs", "verbose"}


def describe(value, depth=0):
    """Text that is the same for the same value in every process.

    Functions count with their code, classes and what is nested deeper than `DEEPEST` by name.
    """
    if depth > DEEPEST:
        return type(value).__qualname__
    within = functools.partial(describe, depth=depth + 1)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, torch.Tensor):
        return f"tensor {_digest(value.detach().cpu().numpy())}"
    if inspect.iscode(value):
        return within([value.co_code.hex(), value.co_names, value.co_consts])
    if inspect.isfunction(value):  # what it does, not only its name: lambdas share one
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        inner = within([value.__code__, value.__defaults__, value.__kwdefaults__, cells])
        digest = hashlib.sha256(inner.encode()).hexdigest()[:16]
        return f"{value.__module__}.{value.__qualname__} {digest}"
    if isinstance(value, functools.partial):
        parts = value.func, value.args, value.keywords
        return f"partial({', '.join(map(within, parts))})"
    if isinstance(value, dict):
        keys = sorted(value, key=repr)
        return "{" + ", ".join(f"{key!r}: {within(value[key])}" for key in keys) + "}"
    if isinstance(value, list | tuple):
        return "(" + ", ".join(map(within, value)) + ")"
    if inspect.isclass(value) or inspect.isroutine(value):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, np.random.RandomState):
        return "RandomState"
    if isinstance(value, np.ndarray):
        return f"array {_digest(value)}"
    text = repr(value)
    if " at 0x" in text:
        return f"{type(value).__qualname__} {within(getattr(value, '__dict__', {}))}"
    return text


def _digest(array):
    if array is None:
        return "None"
    digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


class Checkpoint:
    """The file of one fit.

    Parameters
    ----------
    path : str or path-like
    params : dict
        Parameters of the estimator, by name.
    data : dict
        Arrays or None, by the name of the argument of ``fit`` that they come from.
    free : set of str
        Parameters that may differ from those of the file.
    """

    def __init__(self, path, params, data, free=frozenset(FREE)):
        self.path = os.path.expanduser(os.fspath(path))
        folder = os.path.dirname(self.path) or "."
        if os.path.isdir(self.path) or not os.access(folder, os.W_OK | os.X_OK):
            raise ValueError(
                f"checkpoint_path={self.path!r} cannot be written: name a file in a folder that is "
                "there and can be written to."
            )
        self.mark = {name: describe(params[name]) for name in params if name not in free}
        self.mark |= {name: _digest(array) for name, array in data.items()}
        self.next_write = 0.0

    def read(self):
        """Return what a fit with the same parameters and data wrote last; None without a file."""
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
                f"checkpoint_path={self.path!r} is not a checkpoint of a ModuleClassifier: delete "
                "the file or choose another path."
            ) from error
        differs = [name for name in {**self.mark, **mark} if self.mark.get(name) != mark.get(name)]
        if differs:
            raise ValueError(
                f"checkpoint_path={self.path!r} was written by a fit that differs in "
                f"{', '.join(differs)}: delete the file to begin again, choose another path, or "
                "set back what differs."
            )
        return content

    def is_due(self):
        """Tell whether it is time to write again, so that writing takes little of the whole."""
        return time.monotonic() >= self.next_write

    def write(self, content):
        """Replace the file at once: whenever the process is killed, the old or the new is whole."""
        start = time.monotonic()
        temporary = f"{self.path}.tmp"  # one that a killed process has left is written over
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
        self.next_write = end + WRITING_SHARE * (end - start)

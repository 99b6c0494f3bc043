"""Arrays of other libraries where scikit-learn dispatches to them (``array_api_dispatch``)."""

import functools

import numpy as np
from sklearn import get_config


def numpy_inputs(function):
    """Decorate a function or method: all estimators of this package compute with NumPy arrays.

    Without dispatch scikit-learn converts what NumPy can read, torch tensors among it. With
    dispatch it leaves them as they are, so that arguments are converted here. The results are
    NumPy arrays in both cases.
    """

    @functools.wraps(function)
    def with_numpy(*args, **kwargs):
        if get_config()["array_api_dispatch"]:
            args = [_to_numpy(value) for value in args]
            kwargs = {name: _to_numpy(value) for name, value in kwargs.items()}
        return function(*args, **kwargs)

    return with_numpy


def _to_numpy(value):
    """Return an array of another library as a NumPy array, and anything else as it is."""
    if isinstance(value, np.ndarray | np.generic | type):
        return value
    is_tensor = type(value).__module__.split(".")[0] == "torch" and hasattr(value, "detach")
    if not (is_tensor or hasattr(value, "__array_namespace__")):
        return value
    try:
        return np.asarray(value)
    except Exception as error:  # each library has errors of its own
        number = ".float()" if "bfloat16" in str(getattr(value, "dtype", "")) else ""
        advice = f"X.detach().cpu(){number}.numpy()" if is_tensor else "a NumPy array"
        library, name = type(value).__module__.split(".")[0], type(value).__name__
        raise TypeError(
            f"an argument is a {library} {name} that NumPy cannot read ({error}), and sklearn_kd "
            f"computes with NumPy: pass {advice} in place of X, for example."
        ) from error

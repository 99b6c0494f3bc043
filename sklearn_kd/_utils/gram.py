"""Gram matrix of a named, callable or precomputed kernel."""

import numpy as np
from sklearn.utils import check_array

from sklearn_kd._utils.validation import check_option

#: Names of kernels.
KERNELS = ("ntk", "ntk-full", "nngp", "laplace")


def gram_matrix(X, kernel):
    """Return the Gram matrix of the rows of X in float64.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The Gram matrix itself for ``kernel="precomputed"``.
    kernel : str or callable
        One of `KERNELS`, "precomputed", or a function of two arrays of rows.

    Returns
    -------
    ndarray of shape (n_samples, n_samples)
    """
    if not callable(kernel):
        check_option(kernel, "kernel", (*KERNELS, "precomputed"))
    X = check_array(X, dtype=np.float64)
    if kernel in KERNELS:
        from sklearn_kd._core.kernel.kernels import Kernel, gram
        from sklearn_kd._utils.device import to_numpy, to_tensor

        return to_numpy(gram(to_tensor(X), Kernel(kernel)))
    matrix = X if kernel == "precomputed" else check_array(kernel(X, X), dtype=np.float64)
    if matrix.shape != (len(X), len(X)) or not np.allclose(matrix, matrix.T, rtol=1e-5):
        raise ValueError(f"a Gram matrix must be square and symmetric, got {matrix.shape}.")
    return matrix

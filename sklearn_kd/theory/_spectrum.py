"""Spectrum of a kernel, and the share of the labels in its leading eigenvectors."""

import math
from dataclasses import dataclass, field
from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_array, check_scalar

from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.gram import gram_matrix
from sklearn_kd._utils.labels import encode_labels
from sklearn_kd.theory._margin import signs_or_one_hot


@dataclass(frozen=True)
class KernelSpectrum:
    """Spectrum of a Gram matrix, returned by `kernel_spectrum`.

    Attributes
    ----------
    eigenvalues : ndarray of shape (n_samples,)
        Eigenvalues in decreasing order. Negative rounding errors are set to zero.
    label_power : ndarray of shape (n_samples,) or None
        Share of the squared norm of the labels in the first 1, 2, ... eigenvectors. The last value
        is one. None without labels.
    """

    __module__ = "sklearn_kd.theory"

    eigenvalues: np.ndarray = field(repr=False)
    label_power: np.ndarray | None = field(repr=False)

    def effective_dimension(self, ridge):
        r"""Return :math:`\sum_i \lambda_i / (\lambda_i + \mathrm{ridge})`.

        Parameters
        ----------
        ridge : float
            Positive.

        Returns
        -------
        float
            Trace of the matrix that maps labels to the values of kernel ridge regression.
        """
        check_scalar(ridge, "ridge", Real, min_val=0, include_boundaries="neither")
        return float((self.eigenvalues / (self.eigenvalues + ridge)).sum())


@numpy_inputs
def information_ratio(X, labels, *, k=5, kernel="ntk-full", center=True):
    r"""Share of a label vector's norm in the top k eigenvectors of a kernel.

    .. math:: \|U_k^\top y\| / \|y\|

    After t steps a network has learned the share 1 - (1 - eta lambda)^t of the labels along an
    eigenvector of eigenvalue lambda, so that labels with a large ratio are learned early. If n
    labels of -1 and 1 are flipped at the rate rho, the ratio without centering satisfies
    :math:`E[\mathrm{ratio}^2] = (1 - 2\rho)^2 \mathrm{ratio}^2 + 4\rho(1-\rho) k/n`.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Used as given. With ``kernel="precomputed"`` the Gram matrix (n_samples, n_samples).
    labels : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Numbers are used as given (code two classes as -1 and 1). Strings are coded as -1 and 1, or
        one-hot for more than two labels. The norm of several columns is the Frobenius norm.
    k : int, default=5
        Number of eigenvectors. Choose it at a gap of the spectrum, see `kernel_spectrum`.
    kernel : str or callable, default="ntk-full"
        "ntk", "ntk-full", "nngp", "laplace" or "precomputed". A callable is called with
        (X, X) and returns the Gram matrix.
    center : bool, default=True
        Whether to subtract the mean of the labels. Otherwise imbalance counts as information.

    Returns
    -------
    ratio : float
        In [0, 1].

    Raises
    ------
    ValueError
        If shapes differ, values are not finite, k is not in 1..n_samples, or all labels are equal.

    References
    ----------
    Dong, B., Hou, J., Lu, Y., and Zhang, Z. (2019). arXiv:1910.01255 (k = 5).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_kd.theory import information_ratio
    >>> angle = 2 * np.pi * np.arange(12) / 12 + 0.1
    >>> X = np.column_stack([np.cos(angle), np.sin(angle)])
    >>> y = np.where(angle < np.pi, 1, -1)
    >>> round(information_ratio(X, y, k=3), 3)
    0.911
    """
    gram = gram_matrix(X, kernel)
    check_scalar(k, "k", Integral, min_val=1, max_val=len(gram))
    _, power = _eigen(gram, _label_columns(labels, len(gram), center))
    return math.sqrt(min(float(power[k - 1]), 1.0))


@numpy_inputs
def kernel_spectrum(X, labels=None, *, kernel="ntk-full", center=True):
    """Compute the eigenvalues of a Gram matrix and the share of the labels along them.

    Parameters
    ----------
    X, labels, kernel, center
        As in `information_ratio`. Without labels there is no ``label_power``.

    Returns
    -------
    KernelSpectrum
        Eigenvalues, label power and the method ``effective_dimension(ridge)``.

    References
    ----------
    Caponnetto, A., and De Vito, E. (2007). Found. Comput. Math. 7 (effective dimension).

    Examples
    --------
    >>> from sklearn_kd.theory import kernel_spectrum
    >>> spectrum = kernel_spectrum([[1, 0], [0, 1]], [-1, 1], kernel="ntk")
    >>> spectrum.eigenvalues, spectrum.effective_dimension(0.5)
    (array([0.5, 0.5]), 1.0)
    """
    gram = gram_matrix(X, kernel)
    columns = None if labels is None else _label_columns(labels, len(gram), center)
    return KernelSpectrum(*_eigen(gram, columns))


def _label_columns(labels, n_samples, center):
    """Return the labels as float64 columns (n_samples, n_outputs)."""
    columns = np.asarray(labels)
    if columns.dtype.kind not in "biuf":
        classes, y_encoded = encode_labels(columns)
        columns = signs_or_one_hot(y_encoded, len(classes), np.float64)
    columns = check_array(columns, dtype=np.float64, ensure_2d=False, input_name="labels")
    columns = columns.reshape(len(columns), -1)
    if len(columns) != n_samples:
        raise ValueError(f"labels has {len(columns)} rows where X has {n_samples}.")
    if not (np.ptp(columns, axis=0) if center else columns).any():
        raise ValueError("labels are all equal or zero, so that they hold no information.")
    return columns - columns.mean(axis=0) if center else columns


def _eigen(gram, columns):
    """Return the eigenvalues in decreasing order and the cumulative power of the columns."""
    values, vectors = np.linalg.eigh(gram)
    eigenvalues = np.maximum(values[::-1], 0.0)
    if columns is None:
        return eigenvalues, None
    power = ((vectors[:, ::-1].T @ columns) ** 2).sum(axis=1)
    return eigenvalues, np.cumsum(power) / power.sum()

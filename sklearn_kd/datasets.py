"""Image data for examples, tests and benchmarks: from a local file, else from OpenML."""

import os
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from sklearn.datasets import fetch_openml
from sklearn.utils import Bunch

__all__ = ["fetch_fashion_mnist", "fetch_mnist"]

_KEYS = ("x_train", "y_train", "x_test", "y_test")
_SIDE = 28
#: Both data sets have this many training rows, which come first on OpenML.
_N_TRAIN, _N_TEST = 60_000, 10_000
_MNIST_TRAIN_COUNTS = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
_FASHION_TRAIN_COUNTS = (6000,) * 10
_FASHION_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def _find_file(filename, data_home):
    """Look in ``data_home``, then in the folders of SKLEARN_KD_DATA; None where it is in none."""
    folders = [] if data_home is None else [os.fspath(data_home)]
    folders += os.environ.get("SKLEARN_KD_DATA", "").split(os.pathsep)
    for folder in folders:
        path = Path(folder).expanduser() / filename
        if folder and path.is_file():
            return path
    return None


def _read_npz(path):
    """Read and check the four arrays of a file in the format of Keras (uint8 pixels)."""
    try:
        # NumPy leaves a file that it opened itself open where it fails.
        with path.open("rb") as file, np.load(file) as archive:
            missing = [key for key in _KEYS if key not in archive]
            if not missing:
                x_train, y_train, x_test, y_test = (archive[key] for key in _KEYS)
    except (AttributeError, BadZipFile, EOFError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a readable .npz file of arrays; replace it.") from error
    if missing:
        raise ValueError(f"{path} lacks the arrays {missing}; it must have {list(_KEYS)}.")
    for name, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        if x.shape[1:] != (_SIDE, _SIDE) or x.dtype != np.uint8:
            raise ValueError(
                f"x_{name} of {path} must be uint8 of shape (n, {_SIDE}, {_SIDE}), got "
                f"{x.dtype} of shape {x.shape}."
            )
        if y.shape != (len(x),) or y.dtype.kind not in "iu":
            raise ValueError(
                f"y_{name} of {path} must be integers of shape ({len(x)},), one for each image, "
                f"got {y.dtype} of shape {y.shape}."
            )
    return x_train, y_train, x_test, y_test


def _read_openml(openml_name, train_counts, data_home):
    """Fetch the same four arrays from OpenML, whose rows are training rows, then test rows."""
    try:
        table = fetch_openml(openml_name, version=1, data_home=data_home, as_frame=False)
    except OSError as error:
        raise OSError(
            f"OpenML could not be reached for {openml_name}. Save the data as a .npz file with "
            f"the arrays {list(_KEYS)} in data_home or in a folder named by SKLEARN_KD_DATA."
        ) from error
    x = np.asarray(table.data)
    y = np.asarray(table.target).astype(np.int64)
    if x.shape != (_N_TRAIN + _N_TEST, _SIDE**2):
        raise ValueError(
            f"OpenML returned {openml_name} with shape {x.shape}, not "
            f"{(_N_TRAIN + _N_TEST, _SIDE**2)}; clear its cache in data_home and try again."
        )
    if tuple(np.bincount(y[:_N_TRAIN], minlength=10)) != train_counts:
        raise ValueError(
            f"the first {_N_TRAIN} rows of {openml_name} from OpenML are not the published "
            "training rows (other class counts); use a local .npz file."
        )
    x = x.astype(np.uint8).reshape(-1, _SIDE, _SIDE)
    return x[:_N_TRAIN], y[:_N_TRAIN], x[_N_TRAIN:], y[_N_TRAIN:]


def _fetch(
    title, filename, openml_name, *, train_counts, target_names, data_home, as_images, dtype,
    download_if_missing,
):  # fmt: skip
    dtype = np.dtype(dtype)
    if dtype.kind != "f":
        raise ValueError(f"dtype must be a floating one, as pixels are in [0, 1]; got {dtype}.")
    path = _find_file(filename, data_home)
    if path is not None:
        arrays, source = _read_npz(path), str(path)
    elif download_if_missing:
        arrays = _read_openml(openml_name, train_counts, data_home)
        source = f"OpenML {openml_name}, version 1"
    else:
        raise FileNotFoundError(
            f"{filename} is neither in data_home={data_home!r} nor in a folder named by the "
            "environment variable SKLEARN_KD_DATA, and download_if_missing=False. Put the file "
            "in one of them or allow the download from OpenML."
        )
    x_train, y_train, x_test, y_test = arrays
    shape = (-1, 1, _SIDE, _SIDE) if as_images else (-1, _SIDE**2)
    X_train, X_test = (x.reshape(shape).astype(dtype) for x in (x_train, x_test))
    X_train /= 255
    X_test /= 255
    return Bunch(
        X_train=X_train,
        y_train=y_train.astype(np.int64),
        X_test=X_test,
        y_test=y_test.astype(np.int64),
        target_names=list(target_names),
        DESCR=(
            f"{title}: {len(y_train)} training and {len(y_test)} test grey images of "
            f"{_SIDE} x {_SIDE} pixels in [0, 1], ten classes. Source: {source}."
        ),
        source=source,
    )


def fetch_mnist(*, data_home=None, as_images=False, dtype=np.float32, download_if_missing=True):
    """Load MNIST, 60,000 + 10,000 images of handwritten digits.

    Read from ``mnist.npz`` with the arrays ``x_train, y_train, x_test, y_test`` (the file of
    Keras), in ``data_home`` or else in one of the folders that the environment variable
    ``SKLEARN_KD_DATA`` names, separated by ``os.pathsep``; else from OpenML ("mnist_784",
    version 1), cached by scikit-learn.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder searched first, and the folder of scikit-learn's OpenML cache (None:
        ``~/scikit_learn_data``).
    as_images : bool, default=False
        False gives flat rows (n, 784), for estimators; True gives (n, 1, 28, 28), for modules.
    dtype : floating numpy dtype, default=np.float32
        Of the pixels. float64 doubles the memory, 220 MB for the training rows in float32.
    download_if_missing : bool, default=True
        Whether OpenML may be asked where no file is found.

    Returns
    -------
    data : Bunch
        ``X_train``, ``X_test`` : ndarray, pixels in [0, 1].
        ``y_train``, ``y_test`` : ndarray of int64, the digit.
        ``target_names`` : list of str, per label.
        ``DESCR`` : str, what was read.
        ``source`` : str, the path of the file or the name on OpenML.

    Raises
    ------
    FileNotFoundError
        If there is no file and the download is not allowed.
    OSError
        If OpenML cannot be reached.
    ValueError
        If the file lacks an array, an array has another shape or dtype, OpenML returns other
        rows, or ``dtype`` is not floating.

    See Also
    --------
    fetch_fashion_mnist : A harder drop-in replacement.

    References
    ----------
    LeCun, Y., Bottou, L., Bengio, Y., and Haffner, P. (1998). Gradient-based learning applied
    to document recognition. Proceedings of the IEEE, 86(11), 2278-2324.

    Examples
    --------
    A folder with a file of the same format, here a tiny one:

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from sklearn_kd.datasets import fetch_mnist
    >>> x, y = np.full((3, 28, 28), 255, dtype=np.uint8), np.array([5, 0, 4])
    >>> with TemporaryDirectory() as folder:
    ...     np.savez(Path(folder) / "mnist.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    ...     digits = fetch_mnist(data_home=folder)
    >>> digits.X_train.shape, digits.X_train.max(), digits.y_train
    ((3, 784), np.float32(1.0), array([5, 0, 4]))
    """
    return _fetch(
        "MNIST handwritten digits",
        "mnist.npz",
        "mnist_784",
        train_counts=_MNIST_TRAIN_COUNTS,
        target_names=[str(digit) for digit in range(10)],
        data_home=data_home,
        as_images=as_images,
        dtype=dtype,
        download_if_missing=download_if_missing,
    )


def fetch_fashion_mnist(
    *, data_home=None, as_images=False, dtype=np.float32, download_if_missing=True
):
    """Load Fashion-MNIST, 60,000 + 10,000 images of articles of clothing.

    Read from ``fashion_mnist.npz`` with the arrays ``x_train, y_train, x_test, y_test``, in
    ``data_home`` or else in one of the folders that the environment variable
    ``SKLEARN_KD_DATA`` names, separated by ``os.pathsep``; else from OpenML ("Fashion-MNIST",
    version 1), cached by scikit-learn.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder searched first, and the folder of scikit-learn's OpenML cache (None:
        ``~/scikit_learn_data``).
    as_images : bool, default=False
        False gives flat rows (n, 784), for estimators; True gives (n, 1, 28, 28), for modules.
    dtype : floating numpy dtype, default=np.float32
        Of the pixels. float64 doubles the memory, 220 MB for the training rows in float32.
    download_if_missing : bool, default=True
        Whether OpenML may be asked where no file is found.

    Returns
    -------
    data : Bunch
        ``X_train``, ``X_test`` : ndarray, pixels in [0, 1].
        ``y_train``, ``y_test`` : ndarray of int64, the position in ``target_names``.
        ``target_names`` : list of str, per label.
        ``DESCR`` : str, what was read.
        ``source`` : str, the path of the file or the name on OpenML.

    Raises
    ------
    FileNotFoundError
        If there is no file and the download is not allowed.
    OSError
        If OpenML cannot be reached.
    ValueError
        If the file lacks an array, an array has another shape or dtype, OpenML returns other
        rows, or ``dtype`` is not floating.

    See Also
    --------
    fetch_mnist : The digits it replaces.

    References
    ----------
    Xiao, H., Rasul, K., and Vollgraf, R. (2017). Fashion-MNIST: a novel image dataset for
    benchmarking machine learning algorithms. arXiv:1708.07747.

    Examples
    --------
    A folder with a file of the same format, here a tiny one:

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from sklearn_kd.datasets import fetch_fashion_mnist
    >>> x, y = np.zeros((2, 28, 28), dtype=np.uint8), np.array([9, 0])
    >>> with TemporaryDirectory() as folder:
    ...     np.savez(Path(folder) / "fashion_mnist.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    ...     clothes = fetch_fashion_mnist(data_home=folder, as_images=True)
    >>> clothes.X_train.shape, [clothes.target_names[label] for label in clothes.y_train]
    ((2, 1, 28, 28), ['Ankle boot', 'T-shirt/top'])
    """
    return _fetch(
        "Fashion-MNIST articles of clothing",
        "fashion_mnist.npz",
        "Fashion-MNIST",
        train_counts=_FASHION_TRAIN_COUNTS,
        target_names=_FASHION_NAMES,
        data_home=data_home,
        as_images=as_images,
        dtype=dtype,
        download_if_missing=download_if_missing,
    )

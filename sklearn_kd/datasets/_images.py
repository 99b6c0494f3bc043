"""Image data from a local file or from OpenML, noise on pixels and subsets of classes."""

from numbers import Real
from textwrap import indent

import numpy as np
from sklearn.utils import check_array, check_random_state, check_scalar, gen_batches

from sklearn_kd.datasets._image_files import CIFAR10, FASHION_MNIST, MNIST, load_images

_SOURCE = """
Read from ``{filename}`` with the arrays ``x_train, y_train, x_test, y_test`` in the format of
Keras, in ``data_home`` or else in one of the folders that the environment variable
``SKLEARN_KD_DATA`` names, separated by ``os.pathsep``. If no such file exists, the images are
downloaded from OpenML ("{openml_name}", version 1) and cached by scikit-learn.
"""

_PARAMETERS = """
data_home : str or path-like, default=None
    Folder that is searched first, and folder of scikit-learn's OpenML cache. None stands for
    ``~/scikit_learn_data``.
as_images : bool, default=False
    False gives flat rows (n, {n_values}), for estimators. True gives images of shape
    (n, {image_shape}), for modules.
dtype : floating numpy dtype, default=np.float32
    Dtype of the pixels. float64 doubles the memory, which is {megabytes} MB for the training rows
    in float32.
download_if_missing : bool, default=True
    Whether to download from OpenML if no file is found.
"""

_RETURNS = """
data : Bunch
    ``X_train``, ``X_test`` : ndarray, pixels in [0, 1].
    ``y_train``, ``y_test`` : ndarray of int64, the position in ``target_names``.
    ``target_names`` : list of str, the name of each label.
    ``DESCR`` : str, what was read.
    ``source`` : str, the path of the file or the name on OpenML.
"""

_RAISES = """
FileNotFoundError
    If there is no file and the download is not allowed.
OSError
    If OpenML cannot be reached.
ValueError
    If the file lacks an array, an array has another shape or dtype, OpenML returns other
    rows, or ``dtype`` is not floating.
"""


def _document(about):
    """Decorate a fetcher: fill the sections that all of them share into its docstring."""
    channels, height, width = about.image_shape
    n_values = channels * height * width
    values = {
        "filename": about.filename,
        "openml_name": about.openml_name,
        "n_values": n_values,
        "image_shape": f"{channels}, {height}, {width}",
        "megabytes": 10 * round(sum(about.train_counts) * n_values * 4 / 1e7),
    }
    sections = {"source": _SOURCE, "parameters": _PARAMETERS, "returns": _RETURNS}
    sections["raises"] = _RAISES

    def fill(fetcher):
        if fetcher.__doc__ is not None:  # python -OO removes docstrings
            for name, text in sections.items():
                text = indent(text.format(**values).strip(), "    ")
                fetcher.__doc__ = fetcher.__doc__.replace(f"    <{name}>", text)
        return fetcher

    return fill


@_document(MNIST)
def fetch_mnist(*, data_home=None, as_images=False, dtype=np.float32, download_if_missing=True):
    """Load MNIST, 60,000 + 10,000 images of handwritten digits.

    <source>

    Parameters
    ----------
    <parameters>

    Returns
    -------
    <returns>

    Raises
    ------
    <raises>

    See Also
    --------
    fetch_fashion_mnist : Images of the same size that are harder to classify.
    fetch_cifar10 : Color images, which are still harder.

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
    return load_images(MNIST, data_home, as_images, dtype, download_if_missing)


@_document(FASHION_MNIST)
def fetch_fashion_mnist(
    *, data_home=None, as_images=False, dtype=np.float32, download_if_missing=True
):
    """Load Fashion-MNIST, 60,000 + 10,000 images of articles of clothing.

    <source>

    Parameters
    ----------
    <parameters>

    Returns
    -------
    <returns>

    Raises
    ------
    <raises>

    See Also
    --------
    fetch_mnist : Images of digits, which are easier to classify.

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
    return load_images(FASHION_MNIST, data_home, as_images, dtype, download_if_missing)


@_document(CIFAR10)
def fetch_cifar10(*, data_home=None, as_images=False, dtype=np.float32, download_if_missing=True):
    """Load CIFAR-10, 50,000 + 10,000 color images of animals and vehicles.

    <source>

    Parameters
    ----------
    <parameters>

    Returns
    -------
    <returns>

    Raises
    ------
    <raises>

    See Also
    --------
    select_classes : The rows of some classes, such as cats and dogs.
    add_gaussian_noise : Noise on the pixels.

    Notes
    -----
    Images in the file are uint8 of shape (n, 32, 32, 3), with red, green and blue last. Flat rows
    hold the red pixels, then the green and then the blue, so that ``image_shape=(3, 32, 32)`` of
    ``ModuleClassifier`` restores the image.

    Rows are in the order of the file, which may be sorted by class: shuffle before taking the first
    ones.

    References
    ----------
    Krizhevsky, A. (2009). Learning multiple layers of features from tiny images. Technical report,
    University of Toronto.

    Examples
    --------
    A folder with a file of the same format, here a tiny one of pure red:

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from sklearn_kd.datasets import fetch_cifar10
    >>> x, y = np.zeros((2, 32, 32, 3), dtype=np.uint8), np.array([3, 5])
    >>> x[..., 0] = 255
    >>> with TemporaryDirectory() as folder:
    ...     np.savez(Path(folder) / "cifar10.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    ...     images = fetch_cifar10(data_home=folder)
    >>> images.X_train.shape, images.X_train[0, :1024].min(), images.X_train[0, 1024:].max()
    ((2, 3072), np.float32(1.0), np.float32(0.0))
    >>> [images.target_names[label] for label in images.y_train]
    ['cat', 'dog']
    """
    return load_images(CIFAR10, data_home, as_images, dtype, download_if_missing)


def add_gaussian_noise(X, scale, *, random_state=None):
    """Return a copy of X with independent Gaussian noise on every value.

    Parameters
    ----------
    X : array-like of floats, of shape (n_samples, ...)
        Flat rows or images. X is not changed.
    scale : float
        Standard deviation of the noise, in the unit of X. For pixels in [0, 1], 0.1 is a tenth of
        their range. 0 adds nothing.
    random_state : int, RandomState instance or None, default=None
        Seed of the noise. The same seed gives the same noise in every dtype, and ``scale`` times
        the same draws at every scale.

    Returns
    -------
    noisy : ndarray of the shape and dtype of X
        Pixels are not clipped to [0, 1], since the noise would not be Gaussian otherwise.

    Raises
    ------
    TypeError
        If X is not of a floating dtype.
    ValueError
        If ``scale`` is negative, or if it or X is not finite.

    Notes
    -----
    Mandal, Lin and Srikant, arXiv:2412.09579, section 4 and Figure 1, add Gaussian noise to images
    without saying at which scale of the pixels, or whether they clip.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_kd.datasets import add_gaussian_noise
    >>> X = np.full((1000, 64), 0.5)
    >>> noisy = add_gaussian_noise(X, 0.2, random_state=0)
    >>> noisy.mean().round(2), noisy.std().round(2)
    (np.float64(0.5), np.float64(0.2))
    """
    check_scalar(scale, "scale", Real, min_val=0)
    if not np.isfinite(scale):
        raise ValueError(f"scale must be finite, got {scale}.")
    X = check_array(X, dtype=None, ensure_2d=False, allow_nd=True)
    if X.dtype.kind != "f":
        raise TypeError(
            f"X must have a floating dtype, got {X.dtype}: divide integer pixels by 255 to get "
            "values in [0, 1]."
        )
    noisy = X.copy()
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    rng = np.random.default_rng(seed)
    # in blocks of rows, since the draws are float64 and X may be large
    for rows in gen_batches(len(X), 1000):
        noisy[rows] += scale * rng.standard_normal(X[rows].shape)
    return noisy


def select_classes(X, y, classes, *, target_names=None):
    """Return the rows of X and y whose label is one of ``classes``, in their order.

    Parameters
    ----------
    X : ndarray of shape (n_samples, ...)
        Flat rows or images.
    y : array-like of shape (n_samples,)
        Labels.
    classes : iterable
        Labels to keep, or their names if ``target_names`` is given. Two classes make a binary task.
    target_names : sequence of str, default=None
        Name of each label 0, 1, ..., as the fetchers return them.

    Returns
    -------
    X, y : ndarray, ndarray
        Copies of the rows; the labels keep their values.

    Raises
    ------
    ValueError
        If y has no row of a class, or is not as long as X.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_kd.datasets import select_classes
    >>> X, y = np.arange(4.0)[:, None], np.array([1, 0, 2, 1])
    >>> X, y = select_classes(X, y, ("cat", "dog"), target_names=["bird", "cat", "dog"])
    >>> X.ravel(), y
    (array([0., 2., 3.]), array([1, 2, 1]))
    """
    X, y = np.asarray(X), np.asarray(y)
    if y.shape != X.shape[:1]:
        raise ValueError(f"y must have one label per row of X, {X.shape[:1]}, got {y.shape}.")
    if isinstance(classes, str):
        raise ValueError(f"classes must be a sequence of classes, got {classes!r}.")
    classes = list(classes)
    labels = {label: label for label in np.unique(y).tolist()}
    if target_names is not None:
        labels = {name: label for label, name in enumerate(target_names) if label in labels}
    unknown = [name for name in classes if name not in labels]
    if unknown:
        raise ValueError(f"y has no rows of the classes {unknown}, only of {list(labels)}.")
    rows = np.isin(y, [labels[name] for name in classes])
    return X[rows], y[rows]

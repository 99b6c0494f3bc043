"""Image data for examples, tests and benchmarks: from a local file, else from OpenML.

And what makes such data harder or smaller: noise, and subsets of classes.
"""

from numbers import Real

import numpy as np
from sklearn.utils import check_array, check_random_state, check_scalar, gen_batches

from sklearn_kd.datasets._image_files import CIFAR10, FASHION_MNIST, MNIST, load_images

__all__ = [
    "add_gaussian_noise",
    "fetch_cifar10",
    "fetch_fashion_mnist",
    "fetch_mnist",
    "select_classes",
]


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
    fetch_cifar10 : Color images, harder still.

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
    FileNotFoundError, OSError, ValueError
        As :func:`fetch_mnist`.

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
    return load_images(FASHION_MNIST, data_home, as_images, dtype, download_if_missing)


def fetch_cifar10(*, data_home=None, as_images=False, dtype=np.float32, download_if_missing=True):
    """Load CIFAR-10, 50,000 + 10,000 color images of animals and vehicles.

    Read from ``cifar10.npz`` in the folders of :func:`fetch_mnist`, with the same four arrays, the
    images uint8 of shape (n, 32, 32, 3), red, green and blue last; else from OpenML ("CIFAR_10",
    version 1).

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder searched first, and the folder of scikit-learn's OpenML cache.
    as_images : bool, default=False
        False gives flat rows (n, 3072), for estimators; True gives (n, 3, 32, 32), for modules.
        Flat rows hold the red pixels, then the green, then the blue, so that
        ``image_shape=(3, 32, 32)`` of ``ModuleClassifier`` restores the image.
    dtype : floating numpy dtype, default=np.float32
        Of the pixels. float64 doubles the memory, 610 MB for the training rows in float32.
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

        Rows come in the order of the file, which may be sorted by class: shuffle before you take
        the first ones.

    Raises
    ------
    FileNotFoundError, OSError, ValueError
        As :func:`fetch_mnist`.

    See Also
    --------
    select_classes : The rows of some classes, such as cats and dogs.
    add_gaussian_noise : Noise on the pixels.

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
        Flat rows or images. Not changed.
    scale : float
        Standard deviation of the noise, in the unit of X: 0.1 is a tenth of the range of pixels in
        [0, 1]. 0 adds nothing.
    random_state : int, RandomState instance or None, default=None
        Seed of the noise. The same seed gives the same noise in every dtype, and ``scale`` times
        the same draws at every scale.

    Returns
    -------
    noisy : ndarray of the shape and dtype of X
        Not clipped: pixels leave [0, 1], as the noise would not be Gaussian otherwise.

    Raises
    ------
    TypeError
        If X is not of a floating dtype.
    ValueError
        If ``scale`` is negative or X is not finite.

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
    X = check_array(X, dtype=None, ensure_2d=False, allow_nd=True)
    if X.dtype.kind != "f":
        raise TypeError(
            f"X must be floating, as the noise is, got {X.dtype}; integer pixels are X / 255 in "
            "[0, 1]."
        )
    noisy = X.copy()
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    rng = np.random.default_rng(seed)
    # blocks of rows, as the draws are float64 and X may be large
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
    classes : sequence
        Labels to keep, or their names if ``target_names`` is given; two make a binary task.
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
    labels = {label: label for label in np.unique(y).tolist()}
    if target_names is not None:
        labels = {name: label for label, name in enumerate(target_names) if label in labels}
    unknown = [name for name in classes if name not in labels]
    if unknown:
        raise ValueError(f"y has no rows of the classes {unknown}, only of {list(labels)}.")
    rows = np.isin(y, [labels[name] for name in classes])
    return X[rows], y[rows]

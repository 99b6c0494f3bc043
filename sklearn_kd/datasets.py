"""Image data for examples, tests and benchmarks: from a local file, else from OpenML.

And what makes such data harder or smaller: noise, and subsets of classes.
"""

from numbers import Real

import numpy as np
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.utils import Bunch, check_array, check_random_state, check_scalar, gen_batches

from sklearn_kd._image_files import CIFAR10, FASHION_MNIST, MNIST, load_images
from sklearn_kd._validation import _check_y, check_probabilities, encode_labels

__all__ = [
    "add_gaussian_noise",
    "add_label_noise",
    "fetch_cifar10",
    "fetch_fashion_mnist",
    "fetch_mnist",
    "select_classes",
]

#: What each kind of label noise takes: what it needs first, then what it may do without.
_LABEL_NOISE = {
    "symmetric": (("rate",), ("include_true",)),
    "pair": (("rate",), ()),
    "class-conditional": (("transition",), ()),
    "feature-dependent": (("rate", "X"), ("estimator",)),
}


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
    fetch_cifar10 : Colour images, harder still.

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
    """Load CIFAR-10, 50,000 + 10,000 colour images of animals and vehicles.

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


def add_label_noise(
    y,
    rate=None,
    *,
    kind="symmetric",
    include_true=False,
    transition=None,
    X=None,
    estimator=None,
    random_state=None,
):
    r"""Return a copy of y with wrong labels, and which they are.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        True labels, of two classes or more. Not changed.
    rate : float, default=None
        Share of the rows in [0, 1] that get another label: ``round(rate * n_samples)`` of them,
        drawn without replacement. Needed by every kind but "class-conditional".
    kind : str, default="symmetric"
        - "symmetric": every other class is as likely.
        - "pair": class k becomes k + 1, the last one becomes the first, in the order of
          ``np.unique(y)``.
        - "class-conditional": drawn row by row from ``transition``.
        - "feature-dependent": a row becomes the class that it resembles most beside its own, and
          is the likelier drawn the nearer it is to the boundary of the two; see Notes.
    include_true : bool, default=False
        "symmetric" alone. True: the rows drawn get any class, their own too, so that only
        ``rate * (1 - 1 / n_classes)`` of all are wrong in the mean. Papers mean either.
    transition : array-like of shape (n_classes, n_classes), default=None
        "class-conditional" alone: P(given class | true class), a row for each true class, in the
        order of ``np.unique(y)``.
    X : array-like of shape (n_samples, n_features), default=None
        "feature-dependent" alone: the features of the rows. Not changed.
    estimator : classifier with ``predict_proba``, default=None
        "feature-dependent" alone: its cross-validated probabilities (three folds) say what
        resembles what. None: :class:`~sklearn.discriminant_analysis.LinearDiscriminantAnalysis`
        with shrinkage, 15 seconds for 60,000 rows of 784; for boundaries that are not planes take
        another, such as a forest, with a ``random_state`` of its own.
    random_state : int, RandomState instance or None, default=None
        Seed. Under the same seed, a higher ``rate`` keeps the wrong labels of a lower one.

    Returns
    -------
    noisy : Bunch
        ``y`` : ndarray of shape (n_samples,) and the dtype of y, the noisy labels.
        ``is_wrong`` : ndarray of bool of shape (n_samples,), whether the label changed.
        ``rate`` : float, the share of the rows whose label changed.
        ``transition`` : ndarray of shape (n_classes, n_classes), what came of it: the share of
        the rows of each true class (row) with each given class (column).
        ``classes`` : ndarray of shape (n_classes,), of rows and columns.

    Raises
    ------
    ValueError
        If the kind lacks what it needs or gets what it has no use for, a value is not as above, y
        has one class or, for "feature-dependent", fewer than three rows of a class.

    Notes
    -----
    Feature-dependent: with the probabilities :math:`p` of ``estimator`` and
    :math:`m = \max(0, p_y - \max_{k \ne y} p_k)`, the next row is drawn with a probability
    proportional to :math:`1 - m^2`, the Type-I noise of Zhang et al. A rate beyond the share of
    hard rows makes nearly all of these wrong: what their true class is, no training can tell.

    References
    ----------
    Zhang, Y., Zheng, S., Wu, P., Goswami, M., and Chen, C. (2021). Learning with
    feature-dependent label noise: a progressive approach. ICLR, arXiv:2103.07756.

    Han, B., et al. (2018). Co-teaching. NeurIPS, arXiv:1804.06872 (symmetric and pair).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_kd.datasets import add_label_noise
    >>> y = np.repeat(["cat", "dog", "owl"], 100)
    >>> noisy = add_label_noise(y, 0.2, kind="pair", random_state=0)
    >>> noisy.rate, bool((noisy.is_wrong == (noisy.y != y)).all())
    (0.2, True)
    >>> noisy.transition.round(2)
    array([[0.75, 0.25, 0.  ],
           [0.  , 0.84, 0.16],
           [0.19, 0.  , 0.81]])
    """
    settings = {"rate": rate, "include_true": include_true or None, "transition": transition}
    settings |= {"X": X, "estimator": estimator}
    if kind not in _LABEL_NOISE:
        raise ValueError(f"kind must be one of {list(_LABEL_NOISE)}, got {kind!r}.")
    needed, optional = _LABEL_NOISE[kind]
    for name, value in settings.items():
        if value is None and name in needed:
            raise ValueError(f"kind={kind!r} needs {name}.")
        if value is not None and name not in needed + optional:
            raise ValueError(f"kind={kind!r} has no use for {name}; leave it out.")
    if rate is not None and not 0 <= rate <= 1:
        raise ValueError(f"rate must be a share in [0, 1], such as 0.3 for 30 %, got {rate}.")
    classes, codes = encode_labels(_check_y(y))
    n_samples, n_classes = len(codes), len(classes)
    if n_classes < 2:
        raise ValueError(f"y must have two classes or more, got {classes.tolist()} alone.")
    rng = check_random_state(random_state)

    if kind == "class-conditional":
        given = _draw_given(codes, n_classes, transition, rng)
    else:
        weights = np.ones(n_samples)
        if kind == "feature-dependent":
            other, weights = _resembled(codes, n_classes, X, estimator, rng)
        elif kind == "pair":
            other = (codes + 1) % n_classes
        else:
            steps = rng.randint(0 if include_true else 1, n_classes, n_samples)
            other = (codes + steps) % n_classes
        # the smallest of exponential times are a draw by weight without replacement
        times = rng.standard_exponential(n_samples) / weights
        rows = np.argsort(times, kind="stable")[: round(rate * n_samples)]
        given = codes.copy()
        given[rows] = other[rows]

    is_wrong = given != codes
    return Bunch(
        y=classes[given],
        is_wrong=is_wrong,
        rate=float(is_wrong.mean()),
        transition=confusion_matrix(codes, given, normalize="true"),
        classes=classes,
    )


def _draw_given(codes, n_classes, transition, rng):
    """Draw a class for each row from the row of ``transition`` of its own class."""
    P = np.asarray(transition, dtype=np.float64)
    if P.shape != (n_classes, n_classes):
        raise ValueError(
            f"transition must have shape {(n_classes, n_classes)}, a row and a column for each "
            f"class of y, got {P.shape}."
        )
    check_probabilities(P, "transition")
    P = np.clip(P, 0, 1)
    P /= P.sum(axis=1, keepdims=True)
    given = np.empty_like(codes)
    for k in range(n_classes):
        rows = codes == k
        given[rows] = rng.choice(n_classes, size=rows.sum(), p=P[k])
    return given


def _resembled(codes, n_classes, X, estimator, rng):
    """Return which other class each row resembles most, and the weight of 1 - margin^2."""
    if np.bincount(codes).min() < 3:
        raise ValueError("kind='feature-dependent' needs three rows of each class, one per fold.")
    if estimator is None:
        estimator = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    folds = StratifiedKFold(3, shuffle=True, random_state=rng.randint(np.iinfo(np.int32).max))
    proba = cross_val_predict(clone(estimator), X, codes, cv=folds, method="predict_proba")
    own = np.arange(n_classes) == codes[:, None]
    others = np.where(own, -1, proba)
    margin = np.clip(proba[own] - others.max(axis=1), 0, 1)
    # rows far from every boundary come last, but at rate 1 they come
    return others.argmax(axis=1), np.maximum(1 - margin**2, np.finfo(np.float64).eps)


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

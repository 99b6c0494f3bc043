"""Reading sets of images from local files or from OpenML."""

import os
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
from sklearn.datasets import fetch_openml
from sklearn.utils import Bunch

_KEYS = ("x_train", "y_train", "x_test", "y_test")
_N_TEST = 10_000


class DataSet(NamedTuple):
    """A set of images: its name, file, shape and classes."""

    title: str
    filename: str
    openml_name: str
    image_shape: tuple[int, ...]  # channels, height, width
    train_counts: tuple[int, ...]  # of each class; the training rows come first on OpenML
    target_names: tuple[str, ...]

    @property
    def file_shape(self):
        """Shape of an image in a file of Keras, with colors last and no axis for gray."""
        channels, height, width = self.image_shape
        return (height, width) if channels == 1 else (height, width, channels)


MNIST = DataSet(
    title="MNIST handwritten digits",
    filename="mnist.npz",
    openml_name="mnist_784",
    image_shape=(1, 28, 28),
    train_counts=(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    target_names=tuple("0123456789"),
)
FASHION_MNIST = DataSet(
    title="Fashion-MNIST articles of clothing",
    filename="fashion_mnist.npz",
    openml_name="Fashion-MNIST",
    image_shape=(1, 28, 28),
    train_counts=(6000,) * 10,
    target_names=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
)
CIFAR10 = DataSet(
    title="CIFAR-10 animals and vehicles",
    filename="cifar10.npz",
    openml_name="CIFAR_10",
    image_shape=(3, 32, 32),
    train_counts=(5000,) * 10,
    target_names=(
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
)


def find_file(filename, data_home):
    """Return the path in ``data_home`` or a folder of SKLEARN_KD_DATA, or None."""
    folders = [] if data_home is None else [os.fspath(data_home)]
    folders += os.environ.get("SKLEARN_KD_DATA", "").split(os.pathsep)
    for folder in folders:
        path = Path(folder).expanduser() / filename
        if folder and path.is_file():
            return path
    return None


def _read_npz(path, about):
    """Read and check the four arrays of a file of Keras, and move the colors first."""
    try:
        # NumPy leaves a file that it opened itself open if it fails
        with path.open("rb") as file, np.load(file) as archive:
            missing = [key for key in _KEYS if key not in archive]
            if not missing:
                x_train, y_train, x_test, y_test = (archive[key] for key in _KEYS)
    except (AttributeError, BadZipFile, EOFError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a readable .npz file of arrays; replace it.") from error
    if missing:
        raise ValueError(f"{path} lacks the arrays {missing}; it must have {list(_KEYS)}.")
    for name, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        if x.shape[1:] != about.file_shape or x.dtype != np.uint8:
            raise ValueError(
                f"x_{name} of {path} must be uint8 of shape "
                f"(n, {', '.join(map(str, about.file_shape))}), got {x.dtype} of shape {x.shape}."
            )
        if y.shape != (len(x),) or y.dtype.kind not in "iu":
            raise ValueError(
                f"y_{name} of {path} must be integers of shape ({len(x)},), one for each image, "
                f"got {y.dtype} of shape {y.shape}."
            )
    if about.image_shape[0] > 1:
        x_train, x_test = (np.moveaxis(x, -1, 1) for x in (x_train, x_test))
    return x_train, y_train, x_test, y_test


def _read_openml(about, data_home):
    """Fetch the same four arrays from OpenML."""
    openml_name, n_train = about.openml_name, sum(about.train_counts)
    shape = (n_train + _N_TEST, int(np.prod(about.image_shape)))
    try:
        table = fetch_openml(openml_name, version=1, data_home=data_home, as_frame=False)
    except OSError as error:
        raise OSError(
            f"OpenML could not be reached for {openml_name}. Save the data as a .npz file with "
            f"the arrays {list(_KEYS)} in data_home or in a folder named by SKLEARN_KD_DATA."
        ) from error
    x = np.asarray(table.data)
    y = np.asarray(table.target).astype(np.int64)
    if x.shape != shape:
        raise ValueError(
            f"OpenML returned {openml_name} with shape {x.shape}, not {shape}; clear its cache in "
            "data_home and try again."
        )
    if tuple(np.bincount(y[:n_train], minlength=10)) != about.train_counts or x.max() != 255:
        raise ValueError(
            f"the first {n_train} rows of {openml_name} from OpenML are not the published "
            "training rows (other class counts or pixels); use a local .npz file."
        )
    x = x.astype(np.uint8).reshape(-1, *about.image_shape)
    return x[:n_train], y[:n_train], x[n_train:], y[n_train:]


def load_images(about, data_home, as_images, dtype, download_if_missing):
    """Return the Bunch that :func:`sklearn_kd.datasets.fetch_mnist` describes."""
    dtype = np.dtype(dtype)
    if dtype.kind != "f":
        raise ValueError(f"dtype must be floating, since pixels are in [0, 1], got {dtype}.")
    path = find_file(about.filename, data_home)
    if path is not None:
        arrays, source = _read_npz(path, about), str(path)
    elif download_if_missing:
        arrays = _read_openml(about, data_home)
        source = f"OpenML {about.openml_name}, version 1"
    else:
        raise FileNotFoundError(
            f"{about.filename} is neither in data_home={data_home!r} nor in a folder named by the "
            "environment variable SKLEARN_KD_DATA, and download_if_missing=False. Put the file "
            "in one of them or allow the download from OpenML."
        )
    x_train, y_train, x_test, y_test = arrays
    channels, height, width = about.image_shape
    shape = about.image_shape if as_images else (channels * height * width,)
    # order="C", since a copy of moved axes would keep the colors last in memory
    X_train, X_test = (
        x.astype(dtype, order="C").reshape(len(x), *shape) for x in (x_train, x_test)
    )
    X_train /= 255
    X_test /= 255
    return Bunch(
        X_train=X_train,
        y_train=y_train.astype(np.int64),
        X_test=X_test,
        y_test=y_test.astype(np.int64),
        target_names=list(about.target_names),
        DESCR=(
            f"{about.title}: {len(y_train)} training and {len(y_test)} test "
            f"{'gray' if channels == 1 else 'color'} images of {height} x {width} pixels in "
            f"[0, 1], ten classes. Source: {source}."
        ),
        source=source,
    )

"""Fetchers on tiny files and a stand-in for OpenML; no network and no data folder needed."""

import os
from urllib.error import URLError

import numpy as np
import pytest
from sklearn.utils import Bunch

from sklearn_kd.datasets import (
    _image_files,
    _images,
    add_gaussian_noise,
    fetch_cifar10,
    fetch_fashion_mnist,
    fetch_mnist,
    select_classes,
)

FETCHERS = {"mnist": fetch_mnist, "fashion_mnist": fetch_fashion_mnist, "cifar10": fetch_cifar10}
#: Of an image in the file, and of the same image for a module.
FILE_SHAPES = {"mnist": (28, 28), "fashion_mnist": (28, 28), "cifar10": (32, 32, 3)}
IMAGE_SHAPES = {"mnist": (1, 28, 28), "fashion_mnist": (1, 28, 28), "cifar10": (3, 32, 32)}


@pytest.fixture(params=sorted(FETCHERS))
def name(request):
    return request.param


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """No data folder and no OpenML, unless a test puts them in place."""

    def refuse(*args, **kwargs):
        pytest.fail("OpenML was asked")

    data = os.environ.get("SKLEARN_KD_DATA", "")
    monkeypatch.delenv("SKLEARN_KD_DATA", raising=False)
    monkeypatch.setattr(_image_files, "fetch_openml", refuse)
    return data


def make_arrays(name, seed=0, n_train=4, n_test=2):
    rng = np.random.default_rng(seed)
    return {
        "x_train": rng.integers(0, 256, (n_train, *FILE_SHAPES[name]), dtype=np.uint8),
        "y_train": rng.integers(0, 10, n_train, dtype=np.uint8),
        "x_test": rng.integers(0, 256, (n_test, *FILE_SHAPES[name]), dtype=np.uint8),
        "y_test": rng.integers(0, 10, n_test, dtype=np.uint8),
    }


def channels_first(x):
    """Return the images (n, channels, height, width) of a file, by an index at a time."""
    x = x.reshape(*x.shape[:3], -1)
    n, height, width, channels = x.shape
    images = np.empty((n, channels, height, width))
    for channel in range(channels):
        for row in range(height):
            for column in range(width):
                images[:, channel, row, column] = x[:, row, column, channel]
    return images


def test_rows_are_pixels_in_the_unit_interval(name, tmp_path):
    arrays = make_arrays(name)
    np.savez(tmp_path / f"{name}.npz", **arrays)
    data = FETCHERS[name](data_home=tmp_path)
    assert data.X_train.shape == (4, np.prod(IMAGE_SHAPES[name]))
    assert data.X_test.shape == (2, np.prod(IMAGE_SHAPES[name]))
    assert data.X_train.dtype == np.float32
    expected = channels_first(arrays["x_train"]).reshape(4, -1) / 255
    np.testing.assert_allclose(data.X_train, expected, rtol=1e-6)
    np.testing.assert_array_equal(data.y_train, arrays["y_train"])
    np.testing.assert_array_equal(data.y_test, arrays["y_test"])
    assert data.y_train.dtype == data.y_test.dtype == np.int64
    assert data.source == str(tmp_path / f"{name}.npz")
    assert data.source in data.DESCR
    assert len(data.target_names) == 10


@pytest.mark.parametrize("dtype", [np.float64, "float32", np.float16])
def test_images_and_dtype(name, tmp_path, dtype):
    arrays = make_arrays(name)
    np.savez_compressed(tmp_path / f"{name}.npz", **arrays)
    flat = FETCHERS[name](data_home=str(tmp_path), dtype=dtype)
    images = FETCHERS[name](data_home=str(tmp_path), dtype=dtype, as_images=True)
    assert images.X_test.shape == (2, *IMAGE_SHAPES[name])
    assert images.X_test.flags.c_contiguous
    assert flat.X_test.flags.c_contiguous
    assert images.X_test.dtype == flat.X_test.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(images.X_test.reshape(2, -1), flat.X_test)
    if np.dtype(dtype) == np.float64:
        np.testing.assert_array_equal(images.X_test, channels_first(arrays["x_test"]) / 255)


def test_folders_are_searched_in_order(name, tmp_path, monkeypatch):
    folders = [tmp_path / letter for letter in "abc"]
    for seed, folder in enumerate(folders):
        folder.mkdir()
        if seed:
            np.savez(folder / f"{name}.npz", **make_arrays(name, seed))
    monkeypatch.setenv("SKLEARN_KD_DATA", os.pathsep.join(map(str, folders)))
    # the first folder of the variable has no such file
    assert FETCHERS[name]().source == str(folders[1] / f"{name}.npz")
    assert FETCHERS[name](data_home=folders[2]).source == str(folders[2] / f"{name}.npz")
    assert FETCHERS[name](data_home=folders[0]).source == str(folders[1] / f"{name}.npz")


def test_an_empty_variable_is_not_the_working_directory(name, tmp_path, monkeypatch):
    np.savez(tmp_path / f"{name}.npz", **make_arrays(name))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SKLEARN_KD_DATA", "")
    with pytest.raises(FileNotFoundError):
        FETCHERS[name](download_if_missing=False)


def test_missing_file_says_where_to_put_it(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"^{name}\.npz.*SKLEARN_KD_DATA.*OpenML"):
        FETCHERS[name](data_home=tmp_path, download_if_missing=False)


def test_missing_keys(name, tmp_path):
    arrays = make_arrays(name)
    del arrays["y_train"], arrays["x_test"]
    np.savez(tmp_path / f"{name}.npz", **arrays)
    with pytest.raises(ValueError, match=r"lacks the arrays \['y_train', 'x_test'\]"):
        FETCHERS[name](data_home=tmp_path)


@pytest.mark.parametrize(
    ("key", "change", "match"),
    [
        (
            "x_train",
            lambda x: x.reshape(len(x), -1),
            r"x_train of .*got uint8 of shape \(4, (784|3072)\)",
        ),
        ("x_test", lambda x: x / 255, "x_test of .* must be uint8"),
        ("y_train", lambda y: y[:-1], r"y_train of .*shape \(4,\).*got uint8 of shape \(3,\)"),
        ("y_test", lambda y: np.eye(10)[y], r"y_test of .* must be integers"),
    ],
)
def test_wrong_arrays(name, tmp_path, key, change, match):
    arrays = make_arrays(name)
    arrays[key] = change(arrays[key])
    np.savez(tmp_path / f"{name}.npz", **arrays)
    with pytest.raises(ValueError, match=match):
        FETCHERS[name](data_home=tmp_path)


@pytest.mark.parametrize("content", ["empty", "text", "npy", "cut", "objects"])
def test_unreadable_files(name, tmp_path, content):
    path = tmp_path / f"{name}.npz"
    np.savez(path, **make_arrays(name))
    if content == "empty":
        path.write_bytes(b"")
    elif content == "text":
        path.write_text("version https://git-lfs.github.com/spec/v1")
    elif content == "npy":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif content == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        np.savez(path, **(make_arrays(name) | {"x_test": np.array([{}], dtype=object)}))
    with pytest.raises(ValueError, match="not a readable"):
        FETCHERS[name](data_home=tmp_path)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_dtype_must_be_floating(name, dtype):
    with pytest.raises(ValueError, match="dtype must be floating"):
        FETCHERS[name](dtype=dtype)


SETS = {
    "mnist": _image_files.MNIST,
    "fashion_mnist": _image_files.FASHION_MNIST,
    "cifar10": _image_files.CIFAR10,
}


def openml_table(about):
    """Table of the size of OpenML's: training rows with these class counts, then test rows."""
    n_train = sum(about.train_counts)
    y = np.concatenate([np.repeat(np.arange(10), about.train_counts), np.arange(10_000) % 10])
    data = np.zeros((n_train + 10_000, np.prod(about.image_shape)), dtype=np.uint8)
    data[:, 0] = y
    data[n_train:, -1] = 255
    return Bunch(data=data, target=y.astype(str).astype(object))


def test_openml_rows_are_train_then_test(name, tmp_path, monkeypatch):
    asked = {}
    about = SETS[name]
    if name == "cifar10":  # 60,000 of its rows take seconds
        about = about._replace(train_counts=(50,) * 10)
        monkeypatch.setattr(_images, "CIFAR10", about)

    def fetch(openml_name, **kwargs):
        asked.update(kwargs, name=openml_name)
        return openml_table(about)

    monkeypatch.setattr(_image_files, "fetch_openml", fetch)
    data = FETCHERS[name](data_home=tmp_path, dtype=np.float16)
    openml_name = {"mnist": "mnist_784", "cifar10": "CIFAR_10"}.get(name, "Fashion-MNIST")
    assert asked == {"name": openml_name, "version": 1, "data_home": tmp_path, "as_frame": False}
    assert data.source == f"OpenML {openml_name}, version 1"
    assert data.X_train.shape == (sum(about.train_counts), np.prod(about.image_shape))
    assert data.X_test.shape == (10_000, np.prod(about.image_shape))
    assert not data.X_train[:, -1].any()
    assert (data.X_test[:, -1] == 1).all()
    np.testing.assert_array_equal(data.X_train[:, 0], (data.y_train / 255).astype(np.float16))
    assert tuple(np.bincount(data.y_train)) == about.train_counts
    np.testing.assert_array_equal(data.y_test, np.arange(10_000) % 10)


def test_openml_with_other_rows_is_refused(monkeypatch):
    table = openml_table(_image_files.FASHION_MNIST)
    monkeypatch.setattr(_image_files, "fetch_openml", lambda *args, **kwargs: table)
    with pytest.raises(ValueError, match="not the published training rows"):
        fetch_mnist()
    # pixels in [0, 1] would be cut off to 0
    table = openml_table(_image_files.MNIST)
    monkeypatch.setattr(_image_files, "fetch_openml", lambda *args, **kwargs: table)
    table.data //= 255
    with pytest.raises(ValueError, match="not the published training rows"):
        fetch_mnist()
    table.data = table.data[:100]
    with pytest.raises(ValueError, match=r"shape \(100, 784\)"):
        fetch_mnist()


def test_openml_out_of_reach(name, monkeypatch):
    def fetch(*args, **kwargs):
        raise URLError("no route")

    monkeypatch.setattr(_image_files, "fetch_openml", fetch)
    with pytest.raises(OSError, match=r"could not be reached.*\.npz"):
        FETCHERS[name]()


def test_real_file(name, offline, monkeypatch):
    monkeypatch.setenv("SKLEARN_KD_DATA", offline)
    if _image_files.find_file(f"{name}.npz", None) is None:
        pytest.skip(f"{name}.npz is in no folder named by SKLEARN_KD_DATA")
    data = FETCHERS[name](dtype=np.float32, as_images=True)
    assert data.X_train.shape == (sum(SETS[name].train_counts), *IMAGE_SHAPES[name])
    assert data.X_test.shape == (10_000, *IMAGE_SHAPES[name])
    # The same counts tell apart what OpenML returns.
    assert tuple(np.bincount(data.y_train)) == SETS[name].train_counts
    assert data.X_train.min() == 0
    assert data.X_train.max() == 1
    if name == "cifar10":
        # red, green and blue as published for the original; ours went through JPEG
        means = data.X_train[::10].mean(axis=(0, 2, 3), dtype=float)
        np.testing.assert_allclose(means, [0.4914, 0.4822, 0.4465], atol=0.005)


def test_noise_has_the_scale_asked_for_and_its_own_copy():
    X = np.linspace(0, 1, 5000 * 20).reshape(5000, 4, 5)
    X.flags.writeable = False
    noise = add_gaussian_noise(X, 0.3, random_state=0) - X
    # 100,000 draws: five standard errors of mean and of standard deviation
    assert abs(noise.mean()) < 5 * 0.3 / np.sqrt(noise.size)
    assert abs(noise.std() - 0.3) < 5 * 0.3 / np.sqrt(2 * noise.size)
    assert abs((np.abs(noise) < 0.3).mean() - 0.6827) < 0.01
    # no two values share their noise, blocks of rows neither
    assert len(np.unique(noise)) > 0.999 * noise.size
    assert abs(np.corrcoef(noise[:1000].ravel(), noise[1000:2000].ravel())[0, 1]) < 0.05


def test_noise_is_seeded_and_the_same_in_every_dtype():
    X = np.random.default_rng(0).uniform(size=(30, 8))
    noisy = add_gaussian_noise(X, 0.5, random_state=3)
    assert noisy.dtype == np.float64
    np.testing.assert_array_equal(noisy, add_gaussian_noise(X, 0.5, random_state=3))
    assert np.abs(noisy - add_gaussian_noise(X, 0.5, random_state=4)).min() > 0
    single = add_gaussian_noise(X.astype(np.float32), 0.5, random_state=3)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, noisy, atol=1e-6)
    half = add_gaussian_noise(X, 0.25, random_state=3)
    np.testing.assert_allclose(half - X, (noisy - X) / 2, atol=1e-15)
    nothing = add_gaussian_noise(X, 0)
    np.testing.assert_array_equal(nothing, X)
    assert not np.shares_memory(nothing, X)


def test_noise_refuses_what_would_be_cut_off():
    with pytest.raises(TypeError, match=r"floating.*uint8.*by 255"):
        add_gaussian_noise(np.zeros((2, 3), dtype=np.uint8), 0.1)
    with pytest.raises(ValueError, match="scale == -1"):
        add_gaussian_noise(np.zeros((2, 3)), -1)
    with pytest.raises(ValueError, match="NaN"):
        add_gaussian_noise(np.full((2, 3), np.nan), 1)
    for scale in (np.nan, np.inf):
        with pytest.raises(ValueError, match="scale must be finite"):
            add_gaussian_noise(np.zeros((2, 3)), scale)


def test_select_classes_keeps_rows_and_labels():
    X, y = np.arange(24.0).reshape(6, 2, 2), np.array([5, 3, 0, 3, 5, 9])
    names = list("abcdefghij")
    X_two, y_two = select_classes(X, y, ["d", "f"], target_names=names)
    np.testing.assert_array_equal(X_two, X[[0, 1, 3, 4]])
    np.testing.assert_array_equal(y_two, [5, 3, 3, 5])
    for classes in ([5, 3], (3, 5), np.array([3, 5]), iter([5, 3])):
        np.testing.assert_array_equal(select_classes(X, y, classes)[0], X_two)
    texts = np.array(names)[y]
    np.testing.assert_array_equal(select_classes(X, texts, ["f", "d"])[1], ["f", "d", "d", "f"])


@pytest.mark.parametrize(
    ("classes", "target_names", "match"),
    [
        ([3, 4], None, r"no rows of the classes \[4\], only of \[0, 3\]"),
        (["cat", "dgo"], ["dog", "bird", "fish", "cat"], r"\['dgo'\], only of \['dog', 'cat'\]"),
        (["cat", "bird"], ["dog", "bird", "fish", "cat"], r"no rows of the classes \['bird'\]"),
        ("cat", ["dog", "bird", "fish", "cat"], "sequence of classes, got 'cat'"),
    ],
)
def test_select_classes_names_what_is_not_there(classes, target_names, match):
    with pytest.raises(ValueError, match=match):
        select_classes(np.zeros((2, 1)), [3, 0], classes, target_names=target_names)


def test_select_classes_wants_a_label_per_row():
    with pytest.raises(ValueError, match=r"one label per row of X, \(3,\), got \(2,\)"):
        select_classes(np.zeros((3, 1)), [0, 1], [0])

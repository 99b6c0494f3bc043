"""Fetchers on tiny files and a stand-in for OpenML; no network and no data folder needed."""

import os
from urllib.error import URLError

import numpy as np
import pytest
from sklearn.utils import Bunch

from sklearn_kd import datasets
from sklearn_kd.datasets import fetch_fashion_mnist, fetch_mnist

FETCHERS = {"mnist": fetch_mnist, "fashion_mnist": fetch_fashion_mnist}


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
    monkeypatch.setattr(datasets, "fetch_openml", refuse)
    return data


def make_arrays(seed=0, n_train=4, n_test=2):
    rng = np.random.default_rng(seed)
    return {
        "x_train": rng.integers(0, 256, (n_train, 28, 28), dtype=np.uint8),
        "y_train": rng.integers(0, 10, n_train, dtype=np.uint8),
        "x_test": rng.integers(0, 256, (n_test, 28, 28), dtype=np.uint8),
        "y_test": rng.integers(0, 10, n_test, dtype=np.uint8),
    }


def test_rows_are_pixels_in_the_unit_interval(name, tmp_path):
    arrays = make_arrays()
    np.savez(tmp_path / f"{name}.npz", **arrays)
    data = FETCHERS[name](data_home=tmp_path)
    assert data.X_train.shape == (4, 784)
    assert data.X_test.shape == (2, 784)
    assert data.X_train.dtype == np.float32
    np.testing.assert_allclose(
        data.X_train, arrays["x_train"].reshape(4, 784) / 255, rtol=1e-6, strict=False
    )
    np.testing.assert_array_equal(data.y_train, arrays["y_train"])
    np.testing.assert_array_equal(data.y_test, arrays["y_test"])
    assert data.y_train.dtype == data.y_test.dtype == np.int64
    assert data.source == str(tmp_path / f"{name}.npz")
    assert data.source in data.DESCR
    assert len(data.target_names) == 10


@pytest.mark.parametrize("dtype", [np.float64, "float32", np.float16])
def test_images_and_dtype(name, tmp_path, dtype):
    arrays = make_arrays()
    np.savez_compressed(tmp_path / f"{name}.npz", **arrays)
    flat = FETCHERS[name](data_home=str(tmp_path), dtype=dtype)
    images = FETCHERS[name](data_home=str(tmp_path), dtype=dtype, as_images=True)
    assert images.X_test.shape == (2, 1, 28, 28)
    assert images.X_test.dtype == flat.X_test.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(images.X_test.reshape(2, 784), flat.X_test)
    if np.dtype(dtype) == np.float64:
        np.testing.assert_array_equal(images.X_test[:, 0], arrays["x_test"] / 255)


def test_folders_are_searched_in_order(name, tmp_path, monkeypatch):
    folders = [tmp_path / letter for letter in "abc"]
    for seed, folder in enumerate(folders):
        folder.mkdir()
        if seed:
            np.savez(folder / f"{name}.npz", **make_arrays(seed))
    monkeypatch.setenv("SKLEARN_KD_DATA", os.pathsep.join(map(str, folders)))
    # the first folder of the variable has no such file
    assert FETCHERS[name]().source == str(folders[1] / f"{name}.npz")
    assert FETCHERS[name](data_home=folders[2]).source == str(folders[2] / f"{name}.npz")
    assert FETCHERS[name](data_home=folders[0]).source == str(folders[1] / f"{name}.npz")


def test_an_empty_variable_is_not_the_working_directory(name, tmp_path, monkeypatch):
    np.savez(tmp_path / f"{name}.npz", **make_arrays())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SKLEARN_KD_DATA", "")
    with pytest.raises(FileNotFoundError):
        FETCHERS[name](download_if_missing=False)


def test_missing_file_says_where_to_put_it(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"^{name}\.npz.*SKLEARN_KD_DATA.*OpenML"):
        FETCHERS[name](data_home=tmp_path, download_if_missing=False)


def test_missing_keys(name, tmp_path):
    arrays = make_arrays()
    del arrays["y_train"], arrays["x_test"]
    np.savez(tmp_path / f"{name}.npz", **arrays)
    with pytest.raises(ValueError, match=r"lacks the arrays \['y_train', 'x_test'\]"):
        FETCHERS[name](data_home=tmp_path)


@pytest.mark.parametrize(
    ("key", "change", "match"),
    [
        (
            "x_train",
            lambda x: x.reshape(len(x), 784),
            r"x_train of .*got uint8 of shape \(4, 784\)",
        ),
        ("x_test", lambda x: x / 255, "x_test of .* must be uint8"),
        ("y_train", lambda y: y[:-1], r"y_train of .*shape \(4,\).*got uint8 of shape \(3,\)"),
        ("y_test", lambda y: np.eye(10)[y], r"y_test of .* must be integers"),
    ],
)
def test_wrong_arrays(name, tmp_path, key, change, match):
    arrays = make_arrays()
    arrays[key] = change(arrays[key])
    np.savez(tmp_path / f"{name}.npz", **arrays)
    with pytest.raises(ValueError, match=match):
        FETCHERS[name](data_home=tmp_path)


@pytest.mark.parametrize("content", ["empty", "text", "npy", "cut", "objects"])
def test_unreadable_files(name, tmp_path, content):
    path = tmp_path / f"{name}.npz"
    np.savez(path, **make_arrays())
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
        np.savez(path, **(make_arrays() | {"x_test": np.array([{}], dtype=object)}))
    with pytest.raises(ValueError, match="not a readable"):
        FETCHERS[name](data_home=tmp_path)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_dtype_must_be_floating(name, dtype):
    with pytest.raises(ValueError, match="dtype must be a floating one"):
        FETCHERS[name](dtype=dtype)


def openml_table(train_counts):
    """Table of the size of OpenML's: training rows with these class counts, then test rows."""
    y = np.concatenate([np.repeat(np.arange(10), train_counts), np.arange(10_000) % 10])
    data = np.zeros((70_000, 784), dtype=np.uint8)
    data[:, 0] = y
    data[60_000:, 783] = 255
    return Bunch(data=data, target=y.astype(str).astype(object))


TRAIN_COUNTS = {
    "mnist": datasets._MNIST_TRAIN_COUNTS,
    "fashion_mnist": datasets._FASHION_TRAIN_COUNTS,
}


def test_openml_rows_are_train_then_test(name, tmp_path, monkeypatch):
    asked = {}

    def fetch(openml_name, **kwargs):
        asked.update(kwargs, name=openml_name)
        return openml_table(TRAIN_COUNTS[name])

    monkeypatch.setattr(datasets, "fetch_openml", fetch)
    data = FETCHERS[name](data_home=tmp_path, dtype=np.float16)
    openml_name = {"mnist": "mnist_784", "fashion_mnist": "Fashion-MNIST"}[name]
    assert asked == {"name": openml_name, "version": 1, "data_home": tmp_path, "as_frame": False}
    assert data.source == f"OpenML {openml_name}, version 1"
    assert data.X_train.shape == (60_000, 784)
    assert data.X_test.shape == (10_000, 784)
    assert not data.X_train[:, 783].any()
    assert (data.X_test[:, 783] == 1).all()
    assert tuple(np.bincount(data.y_train)) == TRAIN_COUNTS[name]
    np.testing.assert_array_equal(data.y_test, np.arange(10_000) % 10)


def test_openml_with_other_rows_is_refused(monkeypatch):
    table = openml_table(datasets._FASHION_TRAIN_COUNTS)
    monkeypatch.setattr(datasets, "fetch_openml", lambda *args, **kwargs: table)
    with pytest.raises(ValueError, match="not the published training rows"):
        fetch_mnist()
    table.data = table.data[:100]
    with pytest.raises(ValueError, match=r"shape \(100, 784\)"):
        fetch_mnist()


def test_openml_out_of_reach(name, monkeypatch):
    def fetch(*args, **kwargs):
        raise URLError("no route")

    monkeypatch.setattr(datasets, "fetch_openml", fetch)
    with pytest.raises(OSError, match=r"could not be reached.*\.npz"):
        FETCHERS[name]()


def test_real_file(name, offline, monkeypatch):
    monkeypatch.setenv("SKLEARN_KD_DATA", offline)
    if datasets._find_file(f"{name}.npz", None) is None:
        pytest.skip(f"{name}.npz is in no folder named by SKLEARN_KD_DATA")
    data = FETCHERS[name](dtype=np.float16, as_images=True)
    assert data.X_train.shape == (60_000, 1, 28, 28)
    assert data.X_test.shape == (10_000, 1, 28, 28)
    # The same counts tell apart what OpenML returns.
    assert tuple(np.bincount(data.y_train)) == TRAIN_COUNTS[name]
    assert data.X_train.min() == 0
    assert data.X_train.max() == 1

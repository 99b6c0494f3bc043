"""What files contain of the training rows, and what they do when they are loaded.

SECURITY.md states what is tested here.
"""

import io
import json
import pickle
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier

from sklearn_kd import (
    DistilledClassifier,
    KernelTeacher,
    ModuleClassifier,
    TableEncoder,
    TwoLayerPGDClassifier,
)
from sklearn_kd.export import CompactModel, compact, to_c, to_onnx
from sklearn_kd.export._compact_model import _unpack
from sklearn_kd.modules import MLP

NETWORK = TwoLayerPGDClassifier(2, max_iter=2, early_stopping=False, n_init=1, random_state=0)


def table(n_rare, n=1000):
    """Return a table in which one level has so many rows, and labels."""
    town = np.where(np.arange(n) % 2, "north", "south").astype(object)
    town[:n_rare] = "hamlet"
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"pay": rng.normal(size=n), "town": town})
    return X, np.where(rng.random(n) < 0.5, "approved", "declined")


def contents(kind, model):
    """Return the bytes of a file without compression."""
    if kind == "pickle":
        return pickle.dumps(model)
    if kind == "skops":
        from skops.io import dumps

        with zipfile.ZipFile(io.BytesIO(dumps(model))) as archive:
            return b"".join(map(archive.read, archive.namelist()))
    if kind == "compact":
        spec, arrays = _unpack(compact(model).__reduce__()[1][0])
        return json.dumps(spec).encode() + b"".join(array.tobytes() for array in arrays)
    return to_onnx(model).SerializeToString() if kind == "onnx" else to_c(model).encode()


def holds(content, text):
    """Return whether a text is in bytes, as text or as NumPy stores it."""
    return any(text.encode(code) in content for code in ("utf-8", "utf-32-le"))


@pytest.mark.parametrize("kind", ["pickle", "skops", "compact", "onnx", "c"])
def test_rare_levels_are_in_no_file(kind):
    for n_rare, is_stored in [(4, False), (5, True)]:
        X, y = table(n_rare)  # of 1000 rows, min_frequency=0.005
        content = contents(kind, NETWORK.fit(X, y))
        assert holds(content, "hamlet") == is_stored
        assert holds(content, "north")
        assert holds(content, "pay")
        assert holds(content, "approved")


def test_min_frequency_is_a_share():
    for n, min_frequency, is_stored in [
        (200, 0.005, True),
        (202, 0.005, False),
        (200, 0.01, False),
    ]:
        X, y = table(1, n)
        model = (
            clone(NETWORK).set_params(encoder=TableEncoder(min_frequency=min_frequency)).fit(X, y)
        )
        assert holds(contents("compact", model), "hamlet") == is_stored


def test_edges_have_the_extreme_numbers_and_rare_codes():
    X, _ = table(0)
    X["code"] = np.where(np.arange(1000) == 7, 777.0, np.arange(1000) % 8)
    edges = TableEncoder().fit(X).edges_
    assert edges[0][[0, -1]].tolist() == [X["pay"].min(), X["pay"].max()]
    assert 777.0 in edges[2]
    one_piece = TableEncoder(n_bins=1).fit(X).edges_
    assert one_piece[0].tolist() == [X["pay"].min(), X["pay"].max()]


def test_the_kernel_teacher_stores_its_rows_and_its_student_does_not():
    X, y = table(0, 60)
    model = DistilledClassifier(KernelTeacher(), NETWORK, alpha=0.5, augmentation=None).fit(X, y)
    rows = model.teacher_.X_fit_
    assert len(rows) == len(X)
    assert rows.tobytes() in pickle.dumps(model)
    assert rows.tobytes() not in pickle.dumps(model.without_teacher())
    stored = np.sort(rows.astype(np.float32).ravel())
    initializers = to_onnx(model.teacher_).graph.initializer
    arrays = [np.frombuffer(each.raw_data, np.float32) for each in initializers if each.dims]
    assert any(np.array_equal(np.sort(array), stored) for array in arrays)


@pytest.mark.parametrize("kind", ["pickle", "compact"])
def test_trees_store_all_levels(kind):
    X, y = table(1)
    model = HistGradientBoostingClassifier(categorical_features=["town"], max_iter=1)
    assert holds(contents(kind, model.fit(X, y)), "hamlet")


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_compact_files_and_checkpoints_run_nothing(tmp_path):
    trap, path = Trap(str(tmp_path / "was_run")), tmp_path / "file"
    path.write_bytes(pickle.dumps(trap))
    with pytest.raises(ValueError, match="no compact model"):
        CompactModel.load(path)
    torch.save({"mark": trap}, path)
    model = ModuleClassifier(MLP, max_epochs=1, checkpoint_path=path, random_state=0)
    X = np.random.default_rng(0).normal(size=(40, 2))
    with pytest.raises(ValueError, match="not a checkpoint"):
        model.fit(X, X[:, 0] > 0)
    assert not (tmp_path / "was_run").exists()
    pickle.loads(pickle.dumps(trap)).close()
    assert (tmp_path / "was_run").exists()

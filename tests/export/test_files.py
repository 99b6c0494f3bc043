"""Files beside a compact model, and files of skops."""

import base64
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import is_regressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier
from skops import io

import sklearn_kd
from sklearn_kd import (
    BatchedGridSearchCV,
    DistilledClassifier,
    DistilledRegressor,
    KernelTeacher,
    KernelTeacherRegressor,
    ModuleClassifier,
    ModuleRegressor,
    SelfDistillClassifier,
    TableEncoder,
    TwoLayerPGDClassifier,
    TwoLayerPGDRegressor,
)
from sklearn_kd.export import TRUSTED_TYPES, CompactModel, compact, write_pair
from sklearn_kd.export.__main__ import main
from sklearn_kd.modules import MLP
from tests._helpers.tables import raw_table

REGRESSOR = TwoLayerPGDRegressor(4, max_iter=5, n_init=1, random_state=0)
NETWORK = TwoLayerPGDClassifier(4, max_iter=5, early_stopping=False, n_init=1, random_state=0)
TEACHER = make_pipeline(TableEncoder(), LogisticRegression())
MODELS = {
    "TwoLayerPGDClassifier": NETWORK,
    "TwoLayerPGDRegressor": REGRESSOR,
    "KernelTeacher": KernelTeacher(),
    "KernelTeacherRegressor": KernelTeacherRegressor(),
    "ModuleClassifier": ModuleClassifier(MLP, encoder="auto", max_epochs=2, random_state=0),
    "ModuleRegressor": ModuleRegressor(MLP, encoder="auto", max_epochs=2, random_state=0),
    "DistilledClassifier": DistilledClassifier(TEACHER, NETWORK, alpha=0.5, augmentation=None),
    "DistilledRegressor": DistilledRegressor(
        make_pipeline(TableEncoder(), Ridge()), REGRESSOR, alpha=0.5, augmentation=None
    ),
    "SelfDistillClassifier": SelfDistillClassifier(NETWORK),
    "BatchedGridSearchCV": BatchedGridSearchCV(NETWORK, {"width": [2, 4]}, cv=2),
    "TableEncoder": make_pipeline(TableEncoder(), LogisticRegression()),
}


def test_all_public_estimators_are_tried():
    estimators = {name for name in sklearn_kd.__all__ if name[0].isupper()}
    assert estimators == MODELS.keys()
    assert {f"sklearn_kd.{name}" for name in estimators} < set(TRUSTED_TYPES)


@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.ClassCollapseWarning")
@pytest.mark.parametrize("name", MODELS)
def test_files_of_skops(name):
    X, y = raw_table(80)
    model = MODELS[name]
    model.fit(X, np.arange(80.0) if is_regressor(model) else y)
    data = io.dumps(model)
    assert set(io.get_untrusted_types(data=data)) <= set(TRUSTED_TYPES)
    loaded = io.loads(data, trusted=list(TRUSTED_TYPES))
    methods = ("predict_proba", "predict_interval", "predict")
    method = next(each for each in methods if hasattr(model, each))
    np.testing.assert_array_equal(getattr(loaded, method)(X), getattr(model, method)(X))


def environment():
    """Return variables with which another process finds this package."""
    root = Path(sklearn_kd.__file__).parent.parent
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path}


def test_the_pair(tmp_path):
    X, y = raw_table(80)
    model = NETWORK.fit(X, y)
    for made in (model, compact(model)):
        path, runtime = write_pair(made, tmp_path / "new" / "folder")
        assert CompactModel.load(path).predict(X).tolist() == model.predict(X).tolist()
        assert runtime.read_text().startswith('"""Predict with the file of a compact model')


def test_the_pair_from_a_shell(tmp_path, capsys):
    X, y = raw_table(80)
    model = MODELS["DistilledClassifier"].fit(X, y).without_teacher()
    io.dump(model, tmp_path / "model.skops")
    command = [sys.executable, "-m", "sklearn_kd.export", "model.skops", "out"]
    output = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert output.returncode == 0, output.stderr
    assert "model.skdc" in output.stdout
    made = CompactModel.load(tmp_path / "out" / "model.skdc")
    np.testing.assert_allclose(made.predict_proba(X), model.predict_proba(X), atol=1e-6)
    with pytest.raises(SystemExit):
        main([str(tmp_path / "model.pkl"), str(tmp_path)])
    assert "write_pair" in capsys.readouterr().err
    io.dump({"a": 1}, tmp_path / "dict.skops")
    for name, folder, said in (
        ("absent.skops", "out", "[Errno"),
        ("model.skops", "model.skops", "or the name of a new one: [Errno"),
        ("model.skops", "model.skops/new", "or the name of a new one: [Errno"),
        ("dict.skops", "out", "Pass a file with a fitted classifier or regressor"),
    ):
        with pytest.raises(SystemExit):
            main([str(tmp_path / name), str(tmp_path / folder)])
        assert said in capsys.readouterr().err
    io.dump(
        DecisionTreeClassifier(max_depth=2).fit(np.eye(4), [0, 0, 1, 1]), tmp_path / "tree.skops"
    )
    with pytest.raises(SystemExit):
        main([str(tmp_path / "tree.skops"), str(tmp_path)])
    assert "without_teacher() is saved" in capsys.readouterr().err


def test_help_describes_each_argument(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "two files: model.skdc, which contains the model, and compact_model.py" in text
    assert "--dtype {float64,float32} type of the stored weights. float32, the default" in text


def test_the_pair_of_a_regressor(tmp_path):
    X, _ = raw_table(80)
    model = MODELS["TwoLayerPGDRegressor"].fit(X, np.arange(80.0))
    io.dump(model, tmp_path / "model.skops")
    main([str(tmp_path / "model.skops"), str(tmp_path), "--dtype", "float64"])
    made = CompactModel.load(tmp_path / "model.skdc")
    np.testing.assert_allclose(made.predict(X), model.predict(X), rtol=1e-12)


def test_files_of_the_first_format_are_read():
    """They were written before version 0.2, and are not to be written again."""
    kept = json.loads((Path(__file__).parent / "format_1.json").read_text())
    for name, each in kept["models"].items():
        made = CompactModel(base64.b64decode(each["file"]))
        proba = made.predict_proba(kept["rows"])
        np.testing.assert_allclose(proba, each["proba"], rtol=0, atol=1e-12, err_msg=name)
        assert made.classes_.tolist() == ["no", "perhaps", "yes"]
        assert made.dtype_ == name.split(", ")[1]
        assert made.versions_["sklearn_kd"]


@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.ClassCollapseWarning")
def test_models_predict_without_torch(tmp_path):
    X, y = raw_table(80)
    models = {name: model for name, model in MODELS.items() if "Kernel" not in name}
    models = [
        model.fit(X, np.arange(80.0) if is_regressor(model) else y) for model in models.values()
    ]
    expected = [getattr(model, "predict_proba", model.predict)(X) for model in models]
    (tmp_path / "models.pickle").write_bytes(pickle.dumps((models, X, expected)))
    script = """
import pickle, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "skorch"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
models, X, expected = pickle.load(open("models.pickle", "rb"))
for model, values in zip(models, expected, strict=True):
    found = getattr(model, "predict_proba", model.predict)(X)
    assert abs(found - values).max() < 1e-12
from sklearn_kd.export import compact, to_c
compact(models[0]), compact(models[1]), to_c(models[0])
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, env=environment())

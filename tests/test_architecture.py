"""The folders of the package: who imports whom, and what stays unloaded."""

import ast
import functools
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import sklearn_kd

ROOT = Path(sklearn_kd.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in FILES]

#: Floor of each folder or top-level file. A file imports from lower floors and from its own folder.
FLOORS = {
    "exceptions": 1,
    "_core": 1,
    "_utils": 2,
    "modules": 2,
    "_tables": 3,
    "_networks": 3,
    "_kernel": 3,
    "_search": 3,
    "datasets": 3,
    "theory": 3,
    "metrics": 3,
    "_distillation": 4,
    "_self_distillation": 4,
    "inspection": 5,
    "export": 5,
    "": 6,  # the package itself
}
#: The only folder that others on its floor may import.
SHARED = "_tables"
#: Folders on one floor of which the first one may import the second one.
ALLOWED = {("inspection", "export")}
#: Public folders: a thin `__init__` over private files.
PUBLIC = {"datasets", "export", "inspection", "theory"}
#: The only modules outside `_core` that import torch, directly or not, when they are imported.
IMPORT_TORCH = {
    "modules",
    "_utils.device",
    "_kernel.ridge_fit",
    "_kernel.margin_fit",
    "_kernel.intervals",
    "_networks.tasks",
    "_networks.training_data",
    "_networks.two_layer.stacked",
    "_networks.two_layer.training",
    "_networks.two_layer.joint_training",
    "_networks.module.build",
    "_networks.module.callback_nets",
    "_networks.module.checkpoint",
    "_networks.module.fit_plan",
    "_networks.module.image_augmentation",
    "_networks.module.net",
    "_networks.module.precision",
    "_networks.module.training",
    "_self_distillation.corrected_targets",
}


def module_of(path):
    """Return the dotted name of a file below the package: "" for the package itself."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def folder_of(module):
    return module.split(".")[0]


def imports(path, *, top_level=False):
    """Yield (module, name or None) of each import; without those inside functions if asked."""
    tree = ast.parse(path.read_text())
    nodes = _outside_functions(tree) if top_level else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield from ((node.module, alias.name) for alias in node.names)


def _outside_functions(tree):
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from _outside_functions(node)


def own_imports(path, **options):
    """Yield (module, name or None) of the imports from this package, below its root."""
    for module, name in imports(path, **options):
        if module.split(".")[0] != "sklearn_kd":
            continue
        inner = module.removeprefix("sklearn_kd").lstrip(".")
        as_module = f"{inner}.{name}".lstrip(".")
        yield (as_module, None) if as_module in MODULES else (inner, name)


def roots(path, **options):
    return {module.split(".")[0] for module, _ in imports(path, **options)}


def test_each_folder_has_a_floor():
    assert {folder_of(module) for module in MODULES} <= FLOORS.keys()


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_imports_go_down(path):
    here = folder_of(module_of(path))
    for module, _ in own_imports(path):
        there = folder_of(module)
        shared = there == SHARED and FLOORS[here] == FLOORS[SHARED]
        allowed = there == here or shared or (here, there) in ALLOWED
        assert allowed or FLOORS[there] < FLOORS[here], f"{here} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_the_two_kinds_of_network_do_not_know_each_other(path):
    other = {"two_layer": "module", "module": "two_layer"}.get(path.parent.name)
    if path.parent.parent.name == "_networks":
        assert not any(module.startswith(f"_networks.{other}") for module, _ in own_imports(path))


@pytest.mark.parametrize("path", [p for p in FILES if module_of(p).startswith("_core")], ids=str)
def test_core_knows_torch_and_the_standard_library_only(path):
    assert roots(path) <= {*sys.stdlib_module_names, "torch", "sklearn_kd"}
    assert {folder_of(module) for module, _ in own_imports(path)} <= {"_core"}


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_one_module_imports_private_names_of_scikit_learn(path):
    private = [
        (module, name)
        for module, name in imports(path)
        if module.split(".")[0] == "sklearn"
        and any(part.startswith("_") for part in [*module.split("."), name or ""])
    ]
    assert module_of(path) == "_utils.sklearn_compat" or not private


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_private_names_stay_in_their_folder(path):
    here = module_of(path)
    for module, name in own_imports(path):
        if folder_of(module) == folder_of(here) or not here:
            continue
        assert not (name or "").startswith("_"), f"{here} imports {module}.{name}"
        in_public_folder = folder_of(module) in PUBLIC
        assert not (in_public_folder and "._" in module), f"{here} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_default_estimators_are_imported_inside_functions(path):
    if FLOORS[folder_of(module_of(path))] == 4:
        estimators = {"_networks", "_kernel"}
        found = {folder_of(module) for module, _ in own_imports(path, top_level=True)}
        assert not found & estimators


def test_imports_have_no_circle():
    graph = {}
    for name, path in MODULES.items():
        if name:
            below = {module for module, _ in own_imports(path, top_level=True)} & MODULES.keys()
            graph[name] = below - {name, ""}
    TopologicalSorter(graph).prepare()  # CycleError names a circle
    assert sum(map(len, graph.values())) > len(graph)


@functools.cache
def loads(module):
    """Return whether importing a module of this package loads torch or skorch."""
    path = MODULES[module]
    if roots(path, top_level=True) & {"torch", "skorch"}:
        return True
    return any(
        loads(other) for other, _ in own_imports(path, top_level=True) if other not in ("", module)
    )


def test_torch_is_loaded_by_the_modules_that_train_only():
    found = {module for module in MODULES if not module.startswith("_core") and loads(module)}
    assert found == IMPORT_TORCH


def test_faces_of_public_folders_are_thin():
    for folder in PUBLIC & {folder_of(module) for module in MODULES}:
        tree = ast.parse(MODULES[folder].read_text())
        kinds = {type(node) for node in tree.body[1:]}
        assert kinds == {ast.ImportFrom, ast.Assign}, folder
    for module, path in MODULES.items():
        # files of version 0.1 name a class of _search, which says that they cannot be loaded
        is_private = module not in ("", "_search") and folder_of(module) not in PUBLIC
        if path.name == "__init__.py" and is_private:
            assert not ast.parse(path.read_text()).body, f"{module}/__init__.py is not empty"


def in_a_fresh_interpreter(code, *arguments):
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_importing_loads_no_torch():
    code = """
import sys
import sklearn_kd
assert "torch" not in sys.modules and "pandas" not in sys.modules
assert not any(name.startswith("sklearn_kd.") for name in sys.modules), "not lazy"
for name in sklearn_kd.__all__:
    assert name in dir(sklearn_kd)
    if name != "modules":  # torch's own
        getattr(sklearn_kd, name)
assert "torch" not in sys.modules and "skorch" not in sys.modules
try:
    sklearn_kd.nothing
except AttributeError as error:
    assert "nothing" in str(error)
else:
    raise AssertionError
"""
    in_a_fresh_interpreter(code)


@pytest.mark.parametrize("kind", ["student", "distilled", "regressor", "module"])
def test_unpickling_and_predicting_load_no_torch(kind, tmp_path):
    import pickle

    import numpy as np
    from sklearn.linear_model import LogisticRegression

    from sklearn_kd import (
        DistilledClassifier,
        ModuleClassifier,
        ModuleRegressor,
        TwoLayerPGDClassifier,
        TwoLayerPGDRegressor,
    )
    from sklearn_kd.modules import MLP
    from tests._helpers.data import FIXED, blobs

    X, y = blobs(n_classes=3)
    model = TwoLayerPGDClassifier(4, max_iter=10, random_state=0)
    if kind == "distilled":
        student = ModuleClassifier(MLP, module_params={"width": 4}, max_epochs=10, random_state=0)
        model = DistilledClassifier(LogisticRegression(), student, **FIXED)
    if kind == "regressor":
        model = TwoLayerPGDRegressor(4, max_iter=10, random_state=0)
    if kind == "module":
        model = ModuleRegressor(MLP, module_params={"width": 4}, max_epochs=10, random_state=0)
    model.fit(X, y)
    predict = "predict" if kind in ("regressor", "module") else "predict_proba"
    with open(tmp_path / "model.pkl", "wb") as file:
        pickle.dump(model, file)
    np.save(tmp_path / "X.npy", X)
    code = """
import pickle, sys
import numpy as np
folder = sys.argv[1]
with open(folder + "/model.pkl", "rb") as file:
    model = pickle.load(file)
X = np.load(folder + "/X.npy")
for name in "predict", "predict_log_proba", "decision_function", "predict_proba":
    if hasattr(model, name):
        np.save(folder + f"/{name}.npy", getattr(model, name)(X))
assert "torch" not in sys.modules
"""
    in_a_fresh_interpreter(code, tmp_path)
    found = np.load(tmp_path / f"{predict}.npy")
    np.testing.assert_array_equal(found, getattr(model, predict)(X))

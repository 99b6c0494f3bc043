"""The walls of the house: who imports what, and what stays unloaded."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sklearn_kd

ROOT = Path(sklearn_kd.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in FILES]
METAS = [
    *("_candidates.py", "_distilled.py", "_meta.py", "_row_expansion.py", "_search.py"),
    *("_label_noise.py", "_self_distill.py", "_split_fits.py", "_teacher_labels.py"),
    *("_answers.py", "_choice.py", "_distillation.py", "_lesson.py", "_report.py"),
    *("_measure.py", "_should_distill.py"),
]
STUDENTS = {"_two_layer", "_training", "_together", "_module", "_module_training"}


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


def own(path, **options):
    """Return which of our modules a file imports, by their last name."""
    found = set()
    for module, name in imports(path, **options):
        parts = module.split(".")
        if parts[0] == "sklearn_kd":
            found.add(parts[1] if len(parts) > 1 else name)
    return found


def roots(path, **options):
    return {module.split(".")[0] for module, _ in imports(path, **options)}


@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name == "_core"], ids=str)
def test_core_knows_torch_and_the_standard_library_only(path):
    allowed = {*sys.stdlib_module_names, "torch", "sklearn_kd"}
    assert roots(path) <= allowed
    assert own(path) <= {"_core"}


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_only_validation_imports_private_names_of_scikit_learn(path):
    private = [
        (module, name)
        for module, name in imports(path)
        if module.split(".")[0] == "sklearn"
        and any(part.startswith("_") for part in [*module.split("."), name or ""])
    ]
    assert path.name == "_validation.py" or not private


@pytest.mark.parametrize("path", [ROOT / name for name in METAS], ids=METAS)
def test_metas_know_the_student_protocol_and_no_student(path):
    assert not own(path, top_level=True) & STUDENTS
    assert not own(path) & {"_training", "_together", "_core"}


#: What each module may import; `_core` has a test of its own.
ALLOWED = {
    "__init__": set(),
    "exceptions": set(),
    "inspection": {"_candidates", "_information", "_report", "_report_displays", "_search"}
    | {"_should_distill"},
    "_should_distill": {"_distilled", "_meta", "_row_expansion", "_teacher_labels"}
    | {"_unseen_losses", "_validation"},
    "_unseen_losses": {"_label_calibration", "_meta", "_teacher_labels", "_validation"},
    "_report": {"_distilled", "_measure", "_report_displays"},
    "_report_displays": {"_information", "_measure", "_validation", "metrics"},
    "_measure": {"_distilled", "_meta", "_teacher_labels", "_validation", "metrics"},
    "_information": {"_validation", "theory"},
    "metrics": {"_validation"},
    "datasets": {"_image_files", "_transfer_rows", "_validation", "_wrong_labels"},
    "_wrong_labels": {"_validation"},
    "_transfer_rows": {"_mixed_table", "_validation"},
    "_mixed_table": set(),
    "_image_files": set(),
    "modules": set(),
    "theory": {"_validation", "_device", "_core"},
    "_validation": {"exceptions"},
    "_device": {"_memory", "exceptions"},
    "_scaling": {"exceptions"},
    "_held_out": set(),
    "_memory": set(),
    "_base": {"_validation", "_device", "exceptions"},
    "_two_layer": {"_base", "_student", "_validation", "_together", "_training"},
    "_training": {"_base", "_batch", "_core", "_device", "_settings", "exceptions"},
    "_together": {"_batch", "_device", "_settings", "_student", "_training"},
    "_batch": {"_core", "_device", "_scaling"},
    "_settings": {"_held_out", "_scaling", "_validation"},
    "_student": {"_validation"},
    "_module": {"_base", "_built_module", "_module_training", "_student", "_validation"},
    "_module_training": {"_augment", "_base", "_batch", "_built_module", "_checkpoint", "_device"}
    | {"_held_out", "_module_net", "_scaling", "_settings", "_validation", "exceptions"},
    "_module_net": {"_built_module", "_core", "exceptions"},
    "_built_module": {"_base", "_device", "_scaling"},
    "_augment": set(),
    "_checkpoint": set(),
    "_kernel_teacher": {"_base", "_held_out", "_scaling", "_validation"}
    | {"_kernel_fit", "_margin_fit"},
    "_kernel_fit": {"_core", "_device", "_held_out"},
    "_margin_fit": {"_core", "_device", "_held_out"},
    "_meta": {"_validation", "exceptions"},
    "_teacher_labels": {"_label_calibration", "_validation", "exceptions"},
    "_label_calibration": set(),
    "_answers": {"_validation"},
    "_row_expansion": {"_answers", "_memory", "_validation", "exceptions"},
    "_lesson": {"_answers", "_meta", "_teacher_labels", "_validation"},
    "_choice": {
        *("_answers", "_held_out", "_label_calibration", "_lesson", "_row_expansion"),
        *("_validation", "exceptions"),
    },
    "_distillation": {
        *("_answers", "_choice", "_lesson", "_meta", "_row_expansion", "_student"),
        *("_teacher_labels", "_transfer_rows", "_validation", "exceptions"),
    },
    "_search": {"_candidates", "_split_fits", "_validation"},
    "_split_fits": {"_candidates"},
    "_candidates": {"_row_expansion"},
    "_distilled": {
        *("_answers", "_distillation", "_meta", "_validation"),
        *("_two_layer", "_kernel_teacher"),  # the defaults, not at import
    },
    "_self_distill": {
        *("_base", "_label_noise", "_meta", "_refinement", "_validation", "exceptions"),
        "_two_layer",  # the default, not at import
    },
    "_label_noise": {"_meta", "_teacher_labels", "_validation", "exceptions"},
    "_refinement": {"_core", "_device"},
}


@pytest.mark.parametrize("path", [path for path in FILES if path.parent == ROOT], ids=str)
def test_dependencies_point_one_way(path):
    assert path.stem in ALLOWED, "say what the new module may import"
    assert own(path) <= ALLOWED[path.stem]
    assert {f"{name}.py" for name in ALLOWED} <= {path.name for path in FILES}


#: The only modules beside `_core` that import torch when they are imported.
ENGINE_ROOM = {
    *("_training.py", "_together.py", "_batch.py", "_device.py", "_kernel_fit.py"),
    *("_margin_fit.py", "_refinement.py", "modules.py"),
    *("_module_training.py", "_module_net.py", "_built_module.py", "_augment.py", "_checkpoint.py"),
}


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_only_the_engine_room_imports_torch(path):
    engine_room = path.parent.name == "_core" or path.name in ENGINE_ROOM
    loaded = roots(path, top_level=True) & {"torch", "skorch"}
    assert engine_room or not loaded
    # nor through one of them
    assert engine_room or not {f"{name}.py" for name in own(path, top_level=True)} & ENGINE_ROOM


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_no_file_is_longer_than_a_reader_bears(path):
    assert len(path.read_text().splitlines()) <= 500


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
import sklearn_kd._two_layer, sklearn_kd._distilled
assert "torch" not in sys.modules and "skorch" not in sys.modules
try:
    sklearn_kd.nothing
except AttributeError as error:
    assert "nothing" in str(error)
else:
    raise AssertionError
"""
    in_a_fresh_interpreter(code)


@pytest.mark.parametrize("kind", ["student", "distilled"])
def test_unpickling_and_predicting_load_no_torch(kind, tmp_path):
    import pickle

    import numpy as np
    from sklearn.linear_model import LogisticRegression

    from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
    from tests._helpers.data import blobs

    X, y = blobs(n_classes=3)
    model = TwoLayerPGDClassifier(4, max_iter=10, random_state=0)
    if kind == "distilled":
        model = DistilledClassifier(LogisticRegression(), model)
    model.fit(X, y)
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
model.predict(X), model.predict_log_proba(X), model.decision_function(X)
np.save(folder + "/proba.npy", model.predict_proba(X))
assert "torch" not in sys.modules
"""
    in_a_fresh_interpreter(code, tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "proba.npy"), model.predict_proba(X))

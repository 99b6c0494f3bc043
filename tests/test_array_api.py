"""Arrays of other libraries where scikit-learn dispatches to them."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from sklearn_kd._utils import array_api

#: SciPy reads its switch when it is imported, so that this runs in an interpreter of its own.
SCRIPT = """
import numpy as np
import sklearn
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn_kd import *
from sklearn_kd import inspection, metrics, theory
from sklearn_kd.modules import MLP
from tests._helpers.data import blobs

X, y = blobs(60, n_classes=3)
weight = np.random.RandomState(0).uniform(0.5, 1.5, len(y))
Q = LogisticRegression().fit(X, y).predict_proba(X)
network = TwoLayerPGDClassifier(4, max_iter=5, n_init=1, random_state=0)
fixed = {"alpha": 0.5, "temperature": 1.0, "augmentation": None, "random_state": 0}
forest = RandomForestClassifier(5)
teacher = LogisticRegression()


def predictions(model, X, y, **params):
    model.fit(X, y, **params)
    found = [model.predict(X), model.predict_proba(X), model.score(X, y)]
    assert not any(isinstance(each, torch.Tensor) for each in found)
    assert not any(isinstance(each, torch.Tensor) for each in vars(model).values())
    return found[1]


cases = {
    "network": lambda X, y, w, Q: predictions(network, X, y, sample_weight=w, soft_targets=Q),
    "partial_fit": lambda X, y, w, Q: TwoLayerPGDClassifier(4, random_state=0)
    .partial_fit(X, y, classes=y, sample_weight=w).predict_proba(X),
    "regressor": lambda X, y, w, Q: TwoLayerPGDRegressor(4, max_iter=5, n_init=1, random_state=0)
    .fit(X, Q[:, 0], sample_weight=w, soft_targets=Q[:, 0]).predict(X),
    "module": lambda X, y, w, Q: predictions(
        ModuleClassifier(MLP, max_epochs=2, random_state=0), X, y, soft_targets=Q
    ),
    "kernel": lambda X, y, w, Q: predictions(KernelTeacher(), X, y, sample_weight=w),
    "self": lambda X, y, w, Q: predictions(
        SelfDistillClassifier(network, random_state=0), X, y, sample_weight=w
    ),
    "errors": lambda X, y, w, Q: SelfDistillClassifier(network, random_state=0)
    .fit(X, y).find_label_errors(X, y, cv=2)["label_quality"],
    "native": lambda X, y, w, Q: predictions(
        DistilledClassifier(teacher, network, **fixed), X, y, sample_weight=w, X_unlabeled=X[:9]
    ),
    "expansion": lambda X, y, w, Q: predictions(
        DistilledClassifier(forest, forest, **fixed), X, y, sample_weight=w
    ),
    "soft targets": lambda X, y, w, Q: predictions(
        DistilledClassifier(None, network, **fixed), X, y, soft_targets=Q
    ),
    "search": lambda X, y, w, Q: predictions(
        BatchedGridSearchCV(network, {"width": [2, 4]}, cv=2), X, y, sample_weight=w
    ),
    "scikit-learn's search": lambda X, y, w, Q: predictions(
        GridSearchCV(network, {"width": [2, 4]}, cv=2), X, y
    ),
    "pipeline": lambda X, y, w, Q: predictions(make_pipeline(StandardScaler(), network), X, y),
    "cross-validation": lambda X, y, w, Q: cross_val_score(
        DistilledClassifier(teacher, network, **fixed), X, y, cv=2
    ),
    "report": lambda X, y, w, Q: inspection.distillation_report(
        teacher, network, X, y, cv=2, n_seeds=1, n_latency=2, sample_weight=w,
        distiller=DistilledClassifier(**fixed),
    ).frame["log_loss"],
    "metrics": lambda X, y, w, Q: [
        metrics.agreement_score(y, y, sample_weight=w), metrics.soft_log_loss(Q, Q),
        metrics.fidelity_score(Q, Q), metrics.expected_calibration_error(y, Q, sample_weight=w),
    ],
    "theory": lambda X, y, w, Q: [
        theory.ntk_margin(X, y > 0, random_state=0).gamma, theory.information_ratio(X, Q[:, 0])
    ],
}
for name, case in cases.items():
    expected = case(X, y, weight, Q)
    arrays = [torch.from_numpy(array) for array in (X, y, weight, Q)]
    with sklearn.config_context(array_api_dispatch=True):
        found = case(*arrays)
    np.testing.assert_allclose(found, expected, atol=1e-12, err_msg=name)

with sklearn.config_context(array_api_dispatch=True):
    for model in (network, KernelTeacher(), DistilledClassifier(), SelfDistillClassifier()):
        try:
            model.fit(torch.from_numpy(X).requires_grad_(), torch.from_numpy(y))
        except TypeError as error:
            assert "X.detach().cpu().numpy()" in str(error), error
        else:
            raise AssertionError(model)
"""


@pytest.mark.slow
def test_tensors_give_the_results_of_numpy_arrays():
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "SCIPY_ARRAY_API": "1"},
    )
    assert run.returncode == 0, run.stderr


class OtherArray:
    """An array of a library that NumPy cannot read."""

    def __array_namespace__(self):
        return None

    def __array__(self, dtype=None, copy=None):
        raise ValueError("it lives elsewhere")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (torch.ones(2, requires_grad=True), r"torch Tensor .*requires grad.*pass X\.detach"),
        (torch.ones(2, device="meta"), r"torch Tensor .*pass X\.detach\(\)\.cpu\(\)\.numpy\(\)"),
        (
            torch.ones(2, dtype=torch.bfloat16),
            r"torch Tensor .*BFloat16.*pass X.*\.float\(\)\.numpy",
        ),
        (OtherArray(), r"tests OtherArray .*lives elsewhere.* pass a NumPy array"),
    ],
    ids=["gradient", "device", "dtype", "library"],
)
def test_what_numpy_cannot_read_is_a_type_error(monkeypatch, value, says):
    first = array_api.numpy_inputs(lambda X, *, y=None: (X, y))
    assert first(value) == (value, None)  # without dispatch
    monkeypatch.setattr(array_api, "get_config", lambda: {"array_api_dispatch": True})
    with pytest.raises(TypeError, match=says):
        first(value)
    with pytest.raises(TypeError, match=says):
        first(0, y=value)
    assert first("text", y=[1]) == ("text", [1])
    X, y = first(torch.ones(2), y=np.ones(3))
    assert isinstance(X, np.ndarray)
    assert isinstance(y, np.ndarray)

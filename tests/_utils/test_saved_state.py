"""What files of estimators contain, and files of version 0.1."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sklearn_kd
from sklearn_kd import (
    BatchedGridSearchCV,
    DistilledClassifier,
    KernelTeacher,
    ModuleClassifier,
    SelfDistillClassifier,
    TwoLayerPGDClassifier,
)
from sklearn_kd._utils.saved_state import without_history
from sklearn_kd.modules import MLP
from tests._helpers.data import FIXED, blobs

pytestmark = pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.CleanLabelsWarning")

CURVES = ("loss_curve_", "validation_loss_curve_")
X, y = blobs(n_classes=3)


def network(max_iter=60, **options):
    options = {"n_init": 1, "encoder": None, "random_state": 0, **options}
    return TwoLayerPGDClassifier(4, max_iter=max_iter, **options)


def module():
    return ModuleClassifier(MLP, module_params={"width": 4}, max_epochs=5, random_state=0)


def distilled(student):
    return DistilledClassifier(LogisticRegression(), student, random_state=0, **FIXED)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
@pytest.mark.parametrize(
    "model", [network(), module(), SelfDistillClassifier(network(init="symmetric"))]
)
def test_curves_are_lists_before_and_after(model, copied):
    model = clone(model).fit(X, y)
    again = copied(model)
    for name in CURVES:
        if hasattr(model, name):
            assert type(getattr(again, name)) is list
            assert getattr(again, name) == getattr(model, name)
            assert type(getattr(again, name)[0]) is float
    module_names = {"module", "_module_name"}  # a module of this package is saved by its name
    assert set(vars(again)) - module_names == set(vars(model)) - module_names
    assert not any(isinstance(value, list) for value in model.__getstate__().values())


def test_a_fit_without_early_stopping_is_saved():
    model = network(early_stopping=False).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    assert again.validation_loss_curve_ is None
    assert again.loss_curve_ == model.loss_curve_


DEPLOYED = {
    "network": (network(), lambda small: small.student_, ("initial_weights_", *CURVES)),
    "pipeline": (
        make_pipeline(StandardScaler(), network()),
        lambda small: small.student_[-1],
        ("initial_weights_", *CURVES),
    ),
    "module": (module(), lambda small: small.student_, CURVES),
    "self-distilled": (
        SelfDistillClassifier(network(init="symmetric")),
        lambda small: small.student_.estimator_,
        ("initial_weights_", *CURVES),
    ),
}


@pytest.mark.parametrize("name", DEPLOYED)
def test_the_deployed_model_has_no_history(name):
    student, network_of, dropped = DEPLOYED[name]
    model = distilled(clone(student)).fit(X, y)
    before = pickle.dumps(model)
    kept, small = model.without_teacher(), model.without_teacher(keep_history=False)
    assert pickle.dumps(model) == before  # the student is not changed
    assert network_of(kept).loss_curve_ == network_of(model).loss_curve_
    assert kept.candidates_ is None
    for each in (small, pickle.loads(pickle.dumps(small)), copy.deepcopy(small)):
        np.testing.assert_array_equal(each.predict_proba(X), model.predict_proba(X))
        for attribute in dropped:
            with pytest.raises(AttributeError, match=rf"{attribute} was dropped .*keep_history"):
                getattr(network_of(each), attribute)
            assert not hasattr(network_of(each), attribute)
        with pytest.raises(AttributeError, match=r"candidates_ was dropped by without_teacher"):
            _ = each.candidates_
        with pytest.raises(AttributeError, match="has no attribute 'other_'"):
            _ = network_of(each).other_
    assert len(pickle.dumps(small)) < len(pickle.dumps(kept))


def test_what_a_small_student_takes():
    model = distilled(TwoLayerPGDClassifier(8, random_state=0)).fit(X, y)
    student = model.student_
    weights = [student.hidden_weights_, student.output_weights_, student.input_offset_]
    n_bytes = sum(array.nbytes for array in weights)
    small = model.without_teacher(keep_history=False)
    assert len(pickle.dumps(small)) < n_bytes + 3500
    assert (
        len(pickle.dumps(model.without_teacher())) > len(pickle.dumps(small)) + 8 * student.n_iter_
    )


def test_the_best_estimator_of_a_search_has_no_history():
    search = BatchedGridSearchCV(network(), {"radius": [1.0, None]}, cv=2).fit(X, y)
    small = without_history(search)
    assert not hasattr(small.best_estimator_, "loss_curve_")
    assert search.best_estimator_.loss_curve_
    np.testing.assert_array_equal(small.predict_proba(X), search.predict_proba(X))


def test_a_model_without_history_is_fitted_again():
    model = distilled(network()).fit(X, y)
    small = model.without_teacher(keep_history=False)
    again = small.set_params(teacher=LogisticRegression()).fit(X, y)
    assert again.student_.loss_curve_ == model.student_.loss_curve_
    slim = without_history(network().fit(X, y))
    assert slim.fit(X, y).loss_curve_
    assert slim.initial_weights_.shape == slim.hidden_weights_.shape


def test_estimators_of_others_are_returned_as_they_are():
    for other in (LogisticRegression().fit(X, y), KernelTeacher().fit(X, y)):
        assert without_history(other) is other
    pipeline = make_pipeline(LogisticRegression()).fit(X, y)
    assert without_history(pipeline) is pipeline


def test_unavailable_methods_keep_their_messages():
    class Voter(BaseEstimator):
        _estimator_type = "classifier"

    model = DistilledClassifier(LogisticRegression(), Voter())
    with pytest.raises(AttributeError, match="predict_proba"):
        model.predict_proba(X)


FORMER = {
    "_two_layer": "TwoLayerPGDClassifier",
    "_distilled": "DistilledClassifier",
    "_kernel_teacher": "KernelTeacher",
    "_module": "ModuleClassifier",
    "_self_distill": "SelfDistillClassifier",
    "_search": "BatchedGridSearchCV",
    "_report": "DistillationReport",
}


@pytest.mark.parametrize(
    "module_name",
    # each starts an interpreter
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name not in ("_two_layer", "_search")))
        for name in FORMER
    ],
)
def test_files_of_the_first_version_name_both_versions(module_name):
    name = FORMER[module_name]
    content = f"csklearn_kd.{module_name}\n{name}\n.".encode()  # what such a file begins with
    subject = name if module_name == "_search" else f"A class of sklearn_kd.{module_name}"
    versions = rf"{subject} was saved by sklearn-kd 0\.1.*{sklearn_kd.__version__} cannot load"
    with pytest.raises(ImportError, match=versions):
        pickle.loads(content)
    code = "import pickle, sys; pickle.loads(sys.argv[1].encode())"
    run = subprocess.run(
        [sys.executable, "-c", code, content.decode()], capture_output=True, text=True, check=False
    )
    assert "was saved by sklearn-kd 0.1" in run.stderr


@pytest.mark.parametrize(
    "estimator",
    [
        network(),
        module(),
        KernelTeacher(),
        SelfDistillClassifier(),
        DistilledClassifier(),
        BatchedGridSearchCV(network(), {}),
    ],
)
def test_a_state_of_no_version_makes_no_model(estimator):
    state = vars(clone(estimator))
    with pytest.raises(pickle.UnpicklingError, match=r"0\.1.*0\.2"):
        type(estimator).__new__(type(estimator)).__setstate__(state)


def test_submodules_of_former_modules_are_found():
    from sklearn_kd._search import candidates

    assert candidates.Candidate
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        from sklearn_kd._search import nothing  # noqa: F401

"""What DistilledClassifier and DistilledRegressor have in common, as estimators."""

import copy
import pickle
import re
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.callback import CallbackSupportMixin
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from sklearn_kd import (
    BatchedGridSearchCV,
    DistilledClassifier,
    DistilledRegressor,
    TwoLayerPGDClassifier,
    TwoLayerPGDRegressor,
)
from sklearn_kd.exceptions import NoGainWarning
from tests._helpers.distillation import Interrupted, three_classes
from tests._helpers.estimators import PropagatedRecorder


class InterruptedRegressor(Ridge):
    def fit(self, X, y, sample_weight=None):
        raise KeyboardInterrupt


def numbers(n=150, seed=0):
    X = three_classes(n, seed)[0]
    return X, np.sin(X[:, 0]) + X[:, 1] + np.random.default_rng(seed).normal(size=n)


@dataclass(frozen=True)
class Kind:
    """One of the two distillers, and estimators of its kind."""

    distiller: Any
    linear: Any
    tree: Any
    forest: Any
    network: Any
    interrupted: Any
    data: Any
    answer: str  # the method whose result replaces labels of a teacher
    fixed: dict  # parameters without "auto" that the other one does not have

    def distil(self, teacher=None, student=None, **params):
        """Return a distiller of the labels of the teacher alone."""
        params = {"alpha": 1.0, "augmentation": None, **self.fixed, **params}
        parts = [clone(self.linear) if part is None else part for part in (teacher, student)]
        return self.distiller(*parts, **params)

    def predict(self, model, X):
        return getattr(model, self.answer)(X)


KINDS = {
    "classes": Kind(
        DistilledClassifier,
        LogisticRegression(),
        DecisionTreeClassifier(max_depth=3),
        RandomForestClassifier(50, random_state=0),
        TwoLayerPGDClassifier,
        Interrupted(),
        three_classes,
        "predict_proba",
        {"temperature": 1.0, "calibration": None},
    ),
    "numbers": Kind(
        DistilledRegressor,
        Ridge(),
        DecisionTreeRegressor(max_depth=3),
        RandomForestRegressor(50, random_state=0),
        TwoLayerPGDRegressor,
        InterruptedRegressor(),
        numbers,
        "predict",
        {},
    ),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


# ---- what a fit leaves behind


@pytest.mark.parametrize("interrupted", ["teacher", "student"])
def test_interrupt_is_raised_on_and_leaves_nothing_half_fitted(kind, interrupted):
    X, y = kind.data()
    model = kind.distil()
    broken = clone(model).set_params(**{interrupted: kind.interrupted})
    before = set(vars(broken))
    with pytest.raises(KeyboardInterrupt):
        broken.fit(X, y)
    assert set(vars(broken)) == before
    with pytest.raises(NotFittedError):
        broken.predict(X)
    # a fit that worked before stays whole
    fitted = model.fit(X, y)
    predictions, state = kind.predict(fitted, X), dict(vars(fitted))
    fitted.set_params(**{interrupted: kind.interrupted})
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(X[:, :1], np.where(y == y[0], 7, y))
    np.testing.assert_array_equal(kind.predict(fitted, X), predictions)
    assert {k for k in vars(fitted) if vars(fitted)[k] is not state[k]} == {interrupted}


def test_without_teacher(kind):
    X, y = kind.data()
    model = kind.distil(kind.forest).fit(X, y)
    small = model.without_teacher()
    assert len(pickle.dumps(small)) < 0.1 * len(pickle.dumps(model))
    assert not hasattr(small, "teacher_")
    assert small.teacher is None
    assert hasattr(model, "teacher_")
    again = pickle.loads(pickle.dumps(small))
    np.testing.assert_array_equal(kind.predict(again, X), kind.predict(model, X))
    again.fit(X, y, soft_targets=kind.predict(model, X))  # needs none
    assert again.label_source_ == "given"
    with config_context(enable_metadata_routing=True):
        again.fit(X, y, soft_targets=kind.predict(model, X))
    with pytest.raises(NotFittedError):
        clone(model).without_teacher()


def test_without_teacher_holds_one_student(kind):
    X, y = kind.data()
    forest = clone(kind.forest).fit(X, y)  # as student, by mistake fitted
    model = kind.distil(student=forest).fit(X, y)
    small = model.without_teacher()
    assert not hasattr(small.student, "estimators_")
    assert len(model.student.estimators_) == 50  # the user's own is left alone
    assert len(pickle.dumps(small)) < 1.1 * len(pickle.dumps(model.student_))


def test_pickle_copy_and_clone(kind):
    X, y = kind.data()
    model = kind.distil(student=kind.network(8, max_iter=20)).fit(X, y)
    stored = pickle.dumps(model)
    assert b"torch" not in stored
    for other in (pickle.loads(stored), copy.deepcopy(model)):
        np.testing.assert_array_equal(kind.predict(other, X), kind.predict(model, X))
    assert not hasattr(clone(model), "student_")


@pytest.mark.slow
def test_same_seed_same_fit_whatever_n_jobs(kind):
    X, y = kind.data()
    model = kind.distil(random_state=3)
    first = kind.predict(clone(model).fit(X, y), X)
    np.testing.assert_array_equal(kind.predict(clone(model).fit(X, y), X), first)
    two = kind.predict(clone(model).set_params(n_jobs=2).fit(X, y), X)
    np.testing.assert_allclose(two, first, rtol=1e-9)
    other = kind.predict(clone(model).set_params(random_state=4).fit(X, y), X)
    assert not np.array_equal(other, first)


def test_verbose(kind, capsys):
    kind.distil(verbose=1).fit(*kind.data())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "'cv'" in lines[0]
    assert type(kind.linear).__name__ in lines[1]
    assert all(re.search(r" \d+\.\d s$", line) for line in lines)


def test_inputs_are_not_written_to(kind):
    X, y = kind.data()
    w = np.linspace(0.5, 2, len(y))
    soft = kind.predict(clone(kind.linear).fit(X, y), X)
    given = (X, y, w, soft)
    before = [each.copy() for each in given]
    for each in given:
        each.setflags(write=False)
    kind.distil().fit(X, y, w)
    kind.distil(alpha=0.5, student=kind.network(4, max_iter=3)).fit(X, y, w, soft_targets=soft)
    for each, copied in zip(given, before, strict=True):
        np.testing.assert_array_equal(each, copied)


# ---- weights


@pytest.mark.parametrize("cv", ["auto", 3, "explicit", "predefined"])
def test_zero_weight_is_absence(kind, cv):
    X, y = kind.data()
    rng = np.random.default_rng(0)
    w = rng.integers(0, 3, len(y)).astype(float)
    groups = rng.integers(0, 3, len(y))
    keep = w > 0
    cv_all = cv_kept = cv
    if cv == "explicit":
        cv_all = [(np.flatnonzero(groups != g), groups == g) for g in range(3)]
        cv_kept = [(groups[keep] != g, np.flatnonzero(groups[keep] == g)) for g in range(3)]
    elif cv == "predefined":
        cv_all, cv_kept = PredefinedSplit(groups), PredefinedSplit(groups[keep])
    model = kind.distil(random_state=0)
    first = clone(model).set_params(cv=cv_all).fit(X, y, sample_weight=w)
    second = clone(model).set_params(cv=cv_kept).fit(X[keep], y[keep], sample_weight=w[keep])
    np.testing.assert_allclose(kind.predict(first, X), kind.predict(second, X), rtol=1e-9)
    np.testing.assert_array_equal(first.teacher_.coef_, second.teacher_.coef_)


# ---- callbacks


def test_callbacks_see_two_labeled_subtasks(kind):
    X, y = kind.data()
    model = kind.distil(clone(kind.tree), clone(kind.tree), cv=3)
    recorder = PropagatedRecorder(0)
    model.set_callbacks(recorder).fit(X, y)
    tasks = ["fit-teacher", "fit-student"]
    assert [name for name, _ in recorder.begun] == ["fit", *tasks]
    assert [name for name, _ in recorder.ended] == [*tasks, "fit"]
    assert recorder.setups == 0
    assert recorder.scores == [model.score(X, y)] * 2
    recorder.begun.clear()
    model.fit(X, y, soft_targets=kind.predict(model, X))
    assert [name for name, _ in recorder.begun] == ["fit", *tasks]


def test_callbacks_see_the_comparison_of_settings(kind):
    model = kind.distil(clone(kind.tree), clone(kind.tree), alpha="auto")
    recorder = PropagatedRecorder()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoGainWarning)
        model.set_callbacks(recorder).fit(*kind.data())
    tasks = ["select-setting", "fit-teacher", "fit-student"]
    assert [name for name, _ in recorder.begun] == ["fit", *tasks]
    assert [name for name, _ in recorder.ended] == [*tasks, "fit"]


def test_callbacks_reach_the_sub_estimators(kind):
    part = kind.network(4, max_iter=3)
    assert isinstance(part, CallbackSupportMixin)
    model = kind.distil(part, part, cv=3)
    recorder = PropagatedRecorder()
    model.set_callbacks(recorder).fit(*kind.data())
    merged = [source for name, source in recorder.begun if source is not None]
    assert merged == ["fit-teacher", "fit-student"]
    assert "_skl_callbacks" not in vars(model.teacher_)
    assert recorder.setups == 0


def test_callbacks_are_torn_down_after_an_error(kind):
    recorder = PropagatedRecorder()
    model = kind.distil(kind.interrupted).set_callbacks(recorder)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*kind.data())
    assert recorder.setups == 0


# ---- parameters of the default estimators


def test_parameters_of_default_estimators_are_set_on_new_ones(kind):
    model = kind.distiller().set_params(student__width=8)
    assert model.student.width == 8
    assert model.teacher is None
    model.set_params(student=None, student__max_iter=7)
    assert model.student.width == 64
    assert model.student.max_iter == 7
    with pytest.raises(ValueError, match="Invalid parameter 'widht' for estimator TwoLayerPGD"):
        model.set_params(student__widht=8)
    with pytest.raises(ValueError, match="Invalid parameter 'studnet'"):
        model.set_params(studnet__width=8)


@pytest.mark.parametrize("search_class", [GridSearchCV, BatchedGridSearchCV])
def test_grids_over_parameters_of_default_estimators(kind, search_class):
    X, y = kind.data()
    model = kind.distiller(alpha=1.0, augmentation=None, **kind.fixed, random_state=0)
    grid = {"student__width": [2, 4], "student__max_iter": [3], "teacher__ridge": [0.1]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # short trainings
        search = search_class(model, grid, cv=2).fit(X, y)
    assert search.best_estimator_.teacher_.ridge == 0.1
    assert search.best_estimator_.student_.max_iter == 3
    assert search.best_estimator_.student_.width == search.best_params_["student__width"]
    assert model.student is None  # the estimator given is left alone


def test_metadata_follows_the_requests(kind):
    X, y = kind.data()
    w = np.linspace(0.1, 3, len(y))
    weighted = kind.distil(random_state=0).fit(X, y, sample_weight=w)
    with config_context(enable_metadata_routing=True):
        yes = clone(kind.linear).set_fit_request(sample_weight=True)
        no = clone(kind.linear).set_fit_request(sample_weight=False)
        model = kind.distil(yes, yes, random_state=0).fit(X, y, sample_weight=w)
        np.testing.assert_array_equal(kind.predict(model, X), kind.predict(weighted, X))
        model = kind.distil(no, yes, random_state=0).fit(X, y, sample_weight=w)
        np.testing.assert_array_equal(model.teacher_.coef_, clone(no).fit(X, y).coef_)
        with pytest.raises(ValueError, match="sample_weight"):  # asked for by nobody
            kind.distil().fit(X, y, sample_weight=w)

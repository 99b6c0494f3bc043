"""Held-out rows do not reach the fits that are evaluated on them."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    StratifiedKFold,
    TimeSeriesSplit,
    cross_val_predict,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kd import DistilledClassifier
from tests._helpers.estimators import SoftmaxStudent
from tests._helpers.selection import (
    LOG,
    PLAIN_STUDENTS,
    RecordingStep,
    RecordingTeacher,
    overlapping,
    quietly,
    recording,
    values_in,
)


@pytest.fixture(autouse=True)
def empty_log():
    LOG.clear()


@pytest.mark.parametrize("student", PLAIN_STUDENTS)
@pytest.mark.parametrize(
    "params",
    [{}, {"alpha": 0.5, "temperature": 1.0, "augmentation": "gibbs"}],
    ids=["auto", "fixed"],
)
def test_no_row_outside_the_fold_gets_into_a_fit(student, params):
    X, y = overlapping(220, 2)
    for train, test in StratifiedKFold(2).split(X, y):
        LOG.clear()
        model = quietly(recording(student, **params), X[train], y[train])
        fits = [seen for what, seen, *_ in LOG if what in ("teacher", "student")]
        # gibbs makes rows of values of X: each value says which row it is from
        assert len(fits) > 6
        assert all(seen <= values_in(X[train]) for seen in fits)
        assert not any(seen & values_in(X[test]) for seen in fits)
        answered = [asked for what, _, asked in (e for e in LOG if e[0] == "answers")]
        assert not any(asked & values_in(X[test]) for asked in answered)
        if params:
            assert model.n_augmented_ == 3 * len(train)


@pytest.mark.parametrize("augmentation", ["auto", "munge", "gibbs"])
def test_markers_of_the_test_fold_never_show_up(augmentation):
    X, y = overlapping(150, 2)
    cv = KFold(3, shuffle=True, random_state=0)
    fold = np.empty(150, dtype=object)
    for number, (_, test) in enumerate(cv.split(X)):
        fold[test] = f"fold {number}"
    frame = pd.DataFrame(X, columns=list("abc")).assign(fold=fold)

    class Marked(RecordingStep):
        def fit(self, X, y=None):
            self.seen_ = set(X["fold"])
            LOG.append((set(X["fold"]), len(X)))
            return self

        def transform(self, X):
            LOG.append((set(X["fold"]), 0))
            return self._numbers(X)

        def _numbers(self, X):
            return X[["a", "b", "c"]].to_numpy()

    model = DistilledClassifier(
        make_pipeline(Marked(), LogisticRegression()),
        make_pipeline(Marked(), SoftmaxStudent(l2=1e-2)),
        alpha=0.5,
        augmentation=augmentation,
        n_augmented=500,
        random_state=0,
    )
    n_fits = 0
    for train, test in cv.split(X):
        LOG.clear()
        model.fit(frame.iloc[train], y[train])
        markers, sizes = zip(*LOG, strict=True)
        assert set.union(*markers) == set(fold[train])
        assert not set.union(*markers) & set(fold[test])
        n_fits += sum(size > len(train) for size in sizes)  # with transfer rows
        assert model.teacher_[0].seen_ == set(fold[train])
    assert n_fits > 0
    expected = cross_val_predict(model, frame, y, cv=cv, method="predict_proba")
    assert_allclose(expected[test], model.predict_proba(frame.iloc[test]), rtol=1e-9)


@pytest.mark.parametrize("student", PLAIN_STUDENTS)
@pytest.mark.parametrize("augmentation", ["gibbs", "callable", "auto"])
def test_rows_held_out_by_the_trial_are_nowhere_in_it(student, augmentation):
    X, y = overlapping()

    def noted(X, n_rows, seed):
        LOG.append(("augmented", values_in(X)))
        return X[np.random.default_rng(seed).integers(len(X), size=n_rows)]

    model = recording(student, augmentation=noted if augmentation == "callable" else augmentation)
    quietly(model, X, y)
    judged = [
        (number, seen, held)
        for number, (what, seen, *rest) in enumerate(LOG)
        for held in rest
        if what == "judged"
    ]
    assert len(judged) >= len(model.candidates_["alpha"])
    held_out = []
    for _, seen, held in judged:
        assert not seen & held
        assert len(seen | held) == X.size
        if held not in held_out:
            held_out.append(held)
    assert len(held_out) == (2 if student == "network" else 1)
    for held in held_out:
        # students that train alone do so on a quarter of the rows
        share = 0.25 if student == "network" else 0.75
        assert abs(len(held) / X.size - share) < 0.02
    # all that the trial came to, in the order of its parts: teachers and transfer rows first
    before = LOG[: judged[-1][0]]
    teachers = [seen for what, seen, *_ in before if what == "teacher"]
    assert len(teachers) == 6 * len(held_out)  # on all rows, and on five folds
    for part, held in enumerate(held_out):
        for seen in teachers[6 * part : 6 * part + 6]:
            assert not seen & held
    asked = [entry[2] for entry in before if entry[0] == "answers"]
    made = [seen for what, seen in (e for e in before if e[0] == "augmented")]
    for values in asked + made:
        assert any(not values & held for held in held_out)
    assert len(made) == (len(held_out) if augmentation == "callable" else 0)
    # then these judge the teachers that have not seen them, and then there are all rows
    after = [entry for entry in LOG[judged[-1][0] + 1 :] if entry[0] != "augmented"]
    n_asked = [what for what, *_ in after].index("teacher")
    assert n_asked == len(held_out)
    for what, seen, held in after[:n_asked]:
        assert what == "answers"
        assert not seen & held
    assert after[n_asked][1] == values_in(X)


@pytest.mark.parametrize("routed", [False, True])
@pytest.mark.parametrize("augmentation", [None, "gibbs"])
def test_groups_stay_apart_in_the_trial(routed, augmentation):
    X, y = overlapping(240)
    groups = np.arange(240) // 20
    X = np.column_stack([X, groups + 1000.0])
    group_values = set((groups + 1000.0).tolist())
    student = make_pipeline(RecordingStep(), StandardScaler(), SoftmaxStudent(l2=1e-2))
    teacher = RecordingTeacher()
    params = {"augmentation": augmentation, "random_state": 0}
    if routed:
        with config_context(enable_metadata_routing=True):
            model = DistilledClassifier(teacher, student, cv=GroupKFold(4), **params)
            quietly(model, X, y, groups=groups)
    else:
        splits = list(GroupKFold(4).split(X, y, groups))
        model = quietly(DistilledClassifier(teacher, student, cv=splits, **params), X, y)
    assert model.candidates_ is not None
    judged = [entry for entry in LOG if entry[0] == "judged"]
    assert judged
    for _, seen, held in judged:
        assert not seen & held & group_values
        assert len(held & group_values) == 3
        assert len(seen & group_values) == 9
    # a teacher on part of the groups answers for others alone
    n_apart = 0
    for _, seen, asked in (entry for entry in LOG if entry[0] == "answers"):
        if len(seen & group_values) not in (9, 12):
            assert not seen & asked & group_values
            n_apart += 1
    assert n_apart >= 2
    for what, seen in (entry for entry in LOG[: LOG.index(judged[-1])] if entry[0] == "teacher"):
        assert what == "teacher"
        assert not seen & judged[0][2] & group_values


def test_a_held_out_group_stays_apart_where_it_alone_has_a_class():
    X, y = overlapping(240)
    groups = np.arange(240) // 20
    y[(groups == groups.max()) & (np.arange(240) % 2 == 0)] = 3
    X = np.column_stack([X, groups + 1000.0])
    group_values = set((groups + 1000.0).tolist())
    splits = [(np.flatnonzero(groups % 4 != k), np.flatnonzero(groups % 4 == k)) for k in range(4)]
    student = make_pipeline(RecordingStep(), StandardScaler(), SoftmaxStudent(l2=1e-2))
    model = DistilledClassifier(
        RecordingTeacher(), student, cv=splits, augmentation=None, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    judged = [entry for entry in LOG if entry[0] == "judged"]
    assert judged
    for _, seen, held in judged:
        assert not seen & held & group_values


def test_the_future_is_held_out():
    X, y = overlapping(200)
    X[:, 0] = np.arange(200)
    student = make_pipeline(RecordingStep(), StandardScaler(), SoftmaxStudent(l2=1e-2))
    model = DistilledClassifier(
        RecordingTeacher(), student, cv=TimeSeriesSplit(3), augmentation=None, random_state=0
    )
    quietly(model, X, y)
    judged = [entry for entry in LOG if entry[0] == "judged"]
    assert judged
    times = set(range(200))
    for _, seen, held in judged:
        assert max(seen & times) < min(held & times)
        assert len(held & times) == 50

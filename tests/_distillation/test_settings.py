"""Settings that "auto" compares, and its defaults for few rows."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, StratifiedKFold

from sklearn_kd import DistilledClassifier
from tests._helpers.data import FIXED
from tests._helpers.estimators import SoftmaxStudent
from tests._helpers.selection import (
    CONTAINERS,
    LOG,
    PLAIN_STUDENTS,
    few,
    overlapping,
    quietly,
    recording,
)


@pytest.fixture(autouse=True)
def empty_log():
    LOG.clear()


# ---- numbers are honored


def n_teacher_fits(model, X, y, **params):
    LOG.clear()
    quietly(model, X, y, **params)
    return sum(entry[0] == "teacher" for entry in LOG)


@pytest.mark.parametrize("student", PLAIN_STUDENTS)
def test_numbers_alone_make_no_trial(student):
    X, y = overlapping()
    model = recording(student, **FIXED)
    assert n_teacher_fits(model, X, y) == 6
    assert model.candidates_ is None
    assert (model.alpha_, model.temperature_, model.n_augmented_) == (0.5, 1.0, 0)
    model.set_params(augmentation="munge", n_augmented=50, cv=3)
    assert n_teacher_fits(model, X, y) == 4
    assert model.candidates_ is None
    assert model.n_augmented_ == 50


@pytest.mark.parametrize("student", PLAIN_STUDENTS)
def test_numbers_are_not_searched(student):
    X, y = overlapping(120)
    base = DistilledClassifier(LogisticRegression(), PLAIN_STUDENTS[student], random_state=0)
    with_temperature = student != "expansion"

    alpha = 0.3 if with_temperature else 1.0
    model = quietly(clone(base).set_params(alpha=alpha, augmentation=None), X, y)
    assert set(model.candidates_["alpha"]) == {alpha}
    assert set(model.candidates_["temperature"]) == {0.5, 1.0, 2.0, 3.0, 5.0}
    assert set(model.candidates_["label_source"]) == {"cv"}
    assert model.alpha_ == alpha

    model = quietly(clone(base).set_params(temperature=2.0, augmentation=None), X, y)
    hard = model.candidates_["label_source"] == "hard"
    assert set(model.candidates_["temperature"][~hard]) == {2.0}
    assert set(model.candidates_["alpha"][~hard]) <= ({0.5} if with_temperature else {1.0})
    assert model.temperature_ == (1.0 if model.label_source_ == "hard" else 2.0)

    model = quietly(clone(base).set_params(augmentation="munge", n_augmented=70), X, y)
    hard = model.candidates_["label_source"] == "hard"
    assert set(model.candidates_["n_augmented"][~hard]) == {70}
    assert set(model.candidates_["n_augmented"][hard]) == {0}

    model = quietly(clone(base).set_params(n_augmented=70), X, y)
    assert set(model.candidates_["n_augmented"]) == {0, 70}

    model = quietly(clone(base).set_params(alpha=alpha, temperature=1.0), X, y)
    assert set(model.candidates_["alpha"]) == {alpha}
    assert set(model.candidates_["temperature"]) == {1.0}
    assert 0 in model.candidates_["n_augmented"]
    assert model.candidates_["n_augmented"].max() == 360


@pytest.mark.parametrize("container", CONTAINERS)
def test_below_a_hundred_distinct_rows_there_is_no_trial(container):
    convert = CONTAINERS[container]
    base = DistilledClassifier(LogisticRegression(), LogisticRegression(), random_state=0)
    X, y = few(100)
    assert quietly(clone(base), convert(X), y).candidates_ is not None
    copies = np.append(np.arange(99), np.zeros(60, dtype=int))
    of_twenty = np.arange(100) % 20
    for rows in (np.arange(99), copies, of_twenty):
        model = clone(base).fit(convert(X[rows]), y[rows])
        assert model.candidates_ is None
        assert (model.alpha_, model.temperature_, model.n_augmented_) == (0.5, 1.0, 0)
        assert model.label_source_ == "cv"
    # rows without weight do not count
    weight = (np.arange(100) > 0).astype(float)
    assert clone(base).fit(convert(X), y, sample_weight=weight).candidates_ is None


@pytest.mark.parametrize("cv", [3, KFold(4, shuffle=True, random_state=0), "splits"])
def test_copies_count_once_whatever_the_folds(cv):
    X, y = few(100)
    X, y = X[np.arange(150) % 30], y[np.arange(150) % 30]
    if cv == "splits":
        cv = list(StratifiedKFold(3).split(X, y))
    base = DistilledClassifier(LogisticRegression(), LogisticRegression(), cv=cv, random_state=0)
    model = quietly(base, X, y)
    assert model.candidates_ is None
    assert model.alpha_ == 0.5


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, (0.5, 1.0)),
        ({"alpha": 0.3}, (0.3, 1.0)),
        ({"alpha": 1.0}, (1.0, 1.0)),
        ({"temperature": 2.0}, (0.5, 2.0)),
        ({"alpha": 0.3, "temperature": 2.0}, (0.3, 2.0)),
        ({"class_weight": "balanced"}, (0.5, 1.0)),
    ],
    ids=str,
)
@pytest.mark.parametrize("student", ["native", "network"])
def test_what_auto_is_without_a_trial(student, params, expected):
    X, y = few()
    model = DistilledClassifier(LogisticRegression(), PLAIN_STUDENTS[student], **params).fit(X, y)
    assert (model.alpha_, model.temperature_) == expected
    assert model.candidates_ is None


@pytest.mark.parametrize(
    ("params", "expected"), [({"alpha": 1.0}, (1.0, 1.0)), ({"temperature": 2.0}, (1.0, 2.0))]
)
def test_what_auto_is_for_row_expansion_without_a_trial(params, expected):
    X, y = few()
    model = DistilledClassifier(LogisticRegression(), LogisticRegression(), **params).fit(X, y)
    assert (model.alpha_, model.temperature_) == expected


@pytest.mark.parametrize("cv", [2, KFold(2, shuffle=True, random_state=0)])
def test_two_halves_are_no_trial(cv):
    # of the half that is trained on, no fold would label a row
    X, y = overlapping(150)
    model = DistilledClassifier(LogisticRegression(), LogisticRegression(), cv=cv).fit(X, y)
    assert model.candidates_ is None
    assert (model.alpha_, model.label_source_) == (0.5, "cv")


def test_a_single_split_is_no_trial():
    X, y = overlapping()
    split = [(np.arange(0, 160, 2), np.arange(1, 160, 2))]
    model = DistilledClassifier(LogisticRegression(), SoftmaxStudent(l2=1e-2), cv=split).fit(X, y)
    assert model.candidates_ is None
    assert (model.alpha_, model.temperature_, model.n_augmented_) == (0.5, 1.0, 0)
    assert model.label_source_ == "cv"


@pytest.mark.parametrize("student", PLAIN_STUDENTS)
def test_a_number_of_folds_a_splitter_and_its_splits_are_the_same(student):
    X, y = overlapping()
    base = DistilledClassifier(LogisticRegression(), PLAIN_STUDENTS[student], random_state=0)
    splitter = StratifiedKFold(4)
    masks = [
        (np.isin(np.arange(160), train), np.isin(np.arange(160), test))
        for train, test in splitter.split(X, y)
    ]
    models = [
        quietly(clone(base).set_params(cv=cv), X, y)
        for cv in (4, splitter, list(splitter.split(X, y)), masks)
    ]
    assert "in-sample" not in models[0].candidates_["label_source"]
    for model in models[1:]:
        assert_array_equal(model.predict_proba(X), models[0].predict_proba(X))
        for name, column in model.candidates_.items():
            assert_array_equal(column, models[0].candidates_[name])

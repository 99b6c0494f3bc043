"""Groups of rows: no label of a group comes from a fit that has seen the group."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    LeaveOneGroupOut,
    StratifiedGroupKFold,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kd import DistilledClassifier, KernelTeacher, ModuleClassifier, TwoLayerPGDClassifier
from sklearn_kd.exceptions import DividedGroupsWarning
from tests._helpers.distillation import GroupOracle, GroupRecorder, fixed, visits
from tests._helpers.selection import overlapping, quietly


@pytest.fixture(autouse=True)
def log():
    GroupRecorder.LOG.clear()
    return GroupRecorder.LOG


def codes(groups):
    return np.unique(groups, return_inverse=True)[1]


SPLITTERS = ["auto", 5, None, GroupKFold(4), StratifiedGroupKFold(3), LeaveOneGroupOut()]


@pytest.mark.parametrize("cv", SPLITTERS, ids=str)
@pytest.mark.parametrize("own", [None, "oob", "loo"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_no_label_comes_from_a_fit_that_has_seen_the_group(cv, own, n_classes, log):
    X, y, groups = visits(n_classes=n_classes)
    model = fixed(GroupOracle(own), GroupRecorder(), cv=cv).fit(X, y, groups=groups)
    assert model.label_source_ == "cv"
    (fit,) = log
    assert_allclose(fit["soft"], 1 / n_classes)


@pytest.mark.parametrize("cv", ["auto", 4, GroupKFold(4)], ids=str)
@pytest.mark.parametrize("own", [None, "oob", "loo"])
def test_the_trial_of_auto_does_not_see_the_groups_either(cv, own, log):
    X, y, groups = visits()
    quietly(
        DistilledClassifier(
            GroupOracle(own), GroupRecorder(), cv=cv, augmentation=None, random_state=0
        ),
        X,
        y,
        groups=groups,
    )
    assert len(log) > 2
    for fit in log:
        # hard labels are one of the candidates
        assert_allclose(fit["soft"], 0.5 if fit["alpha"] else np.eye(2)[fit["y"]])
        seen = set(fit["X"][:, 0])
        assert len(fit["X"]) == 6 * len(seen)  # whole groups
        assert len(seen) in (24, 18, 6)
    assert {len(set(fit["X"][:, 0])) for fit in log[:-1]} != {24}


def test_teachers_of_this_package_and_of_scikit_learn_are_cross_fitted():
    X, y, groups = visits()
    for teacher in (KernelTeacher(), RandomForestClassifier(20, oob_score=True)):
        model = fixed(teacher, LogisticRegression()).fit(X, y, groups=groups)
        assert model.label_source_ == "cv"
        assert fixed(teacher, LogisticRegression()).fit(X, y).label_source_ in ("loo", "oob")


def test_a_number_of_folds_is_a_stratified_splitter_by_group():
    X, y = overlapping(120)
    groups = np.arange(120) // 4
    for cv, n_folds in ((3, 3), (None, 5)):
        splits = list(StratifiedGroupKFold(n_folds).split(X, y, groups))
        by_number, by_splits, by_splitter = (
            fixed(LogisticRegression(), LogisticRegression(), cv=each)
            .fit(X, y, groups=groups)
            .predict_proba(X)
            for each in (cv, splits, StratifiedGroupKFold(n_folds))
        )
        assert_array_equal(by_number, by_splits)
        assert_array_equal(by_number, by_splitter)


@pytest.mark.filterwarnings("ignore:A column-vector")
@pytest.mark.parametrize("cv", ["auto", 3, GroupKFold(3)], ids=str)
def test_groups_may_be_in_a_column(cv):
    X, y, groups = visits()
    model = fixed(LogisticRegression(), GroupRecorder(), cv=cv)
    expected = clone(model).fit(X, y, groups=groups).predict_proba(X)
    for column in (groups[:, None], pd.DataFrame({"patient": groups})):
        assert_array_equal(clone(model).fit(X, y, groups=column).predict_proba(X), expected)


@pytest.mark.parametrize("kind", ["int", "str", "list", "series"])
def test_groups_may_be_labels_of_any_kind(kind):
    X, y = overlapping(120)
    groups = np.arange(120) // 4
    expected = fixed(LogisticRegression(), LogisticRegression()).fit(X, y, groups=groups)
    other = {
        "int": 7 * groups - 3,
        "str": np.array([f"patient {group:02}" for group in groups]),
        "list": groups.tolist(),
        "series": pd.Series(groups, index=np.arange(120)[::-1]),
    }[kind]
    found = fixed(LogisticRegression(), LogisticRegression()).fit(X, y, groups=other)
    assert_array_equal(found.predict_proba(X), expected.predict_proba(X))


def test_rows_of_weight_zero_are_absent():
    X, y = overlapping(120)
    groups = np.arange(120) // 4
    weight = np.where(groups % 5 == 0, 0.0, 1.0)
    kept = weight > 0
    for cv in ("auto", 3, GroupKFold(3)):
        model = fixed(LogisticRegression(), LogisticRegression(), cv=cv)
        found = clone(model).fit(X, y, sample_weight=weight, groups=groups).predict_proba(X)
        expected = clone(model).fit(X[kept], y[kept], groups=groups[kept]).predict_proba(X)
        assert_allclose(found, expected, rtol=1e-6)


class SplitterOfAnotherPackage:
    def __init__(self, groups_seen):
        self.groups_seen = groups_seen

    def split(self, X, y=None, groups=None):
        self.groups_seen.append(groups)
        return GroupKFold(4).split(X, y, groups)

    def get_n_splits(self, X=None, y=None, groups=None):
        return 4


def test_splitters_get_the_groups_as_they_were_given():
    X, y, groups = visits()
    names = np.array([f"g{group:02}" for group in groups])
    seen = []
    splitter = SplitterOfAnotherPackage(seen)
    fixed(GroupOracle(), LogisticRegression(), cv=splitter).fit(X, y, groups=names)
    assert_array_equal(seen[-1], names)


def test_plain_splitters_get_no_groups_and_a_warning_that_they_divide_them():
    X, y, groups = visits()
    model = fixed(GroupOracle(), LogisticRegression(), cv=KFold(4, shuffle=True, random_state=0))
    with pytest.warns(DividedGroupsWarning, match="GroupKFold"):
        model.fit(X, y, groups=groups)
    splits = [(np.arange(72), np.arange(72, 144)), (np.arange(70, 144), np.arange(72))]
    with pytest.warns(DividedGroupsWarning, match="fold 1 of cv trains on rows of 1 groups"):
        clone(model).set_params(cv=splits).fit(X, y, groups=groups)
    clone(model).set_params(cv=KFold(4)).fit(X, y, groups=groups)  # 24 groups in order


def test_errors_come_before_anything_is_fitted():
    X, y, groups = visits()

    class Unfit(LogisticRegression):
        def fit(self, X, y, sample_weight=None):
            raise AssertionError("nothing must be fitted")

    def fit(cv="auto", **params):
        fixed(Unfit(), Unfit(), cv=cv).fit(X, y, **params)

    for cv in ("auto", 3, GroupKFold(3)):
        with pytest.raises(ValueError, match=r"classes \[1\] are in one group each"):
            fit(cv, groups=np.where(y == 1, 1, groups + 2))
    with pytest.raises(ValueError, match="groups has 3 entries for 144 rows"):
        fit(groups=[1, 2, 3])
    with pytest.raises(ValueError, match="groups contains NaN"):
        fit(groups=np.where(groups == 2, np.nan, groups))
    for cv in (GroupKFold(3), LeaveOneGroupOut(), StratifiedGroupKFold(3)):
        with pytest.raises(ValueError, match="pass groups to fit"):
            fit(cv)
        with (
            config_context(enable_metadata_routing=True),
            pytest.raises(ValueError, match="pass groups to fit"),
        ):
            fit(cv)
    with pytest.raises(ValueError, match=r"25 folds by group.*there are 24"):
        fit(25, groups=groups)


# The student


@pytest.mark.parametrize("cv", ["auto", GroupKFold(5)], ids=str)
@pytest.mark.parametrize("student", ["alone", "in a pipeline"])
@pytest.mark.parametrize("is_routed", [False, True])
def test_the_student_is_told(cv, student, is_routed, log):
    X, y, groups = visits()
    last = GroupRecorder()
    student = last if student == "alone" else make_pipeline(StandardScaler(), make_pipeline(last))
    with config_context(enable_metadata_routing=is_routed):
        fixed(GroupOracle(), student, cv=cv).fit(X, y, groups=groups + 3)
    assert_array_equal(log[-1]["groups"], groups)
    fixed(GroupOracle(), student).fit(X, y)
    assert log[-1]["groups"] is None


class Copies(LogisticRegression):
    """Student of another package that takes groups, but no soft labels."""

    def fit(self, X, y, sample_weight=None, groups=None):
        self.rows_, self.groups_ = X, groups
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize("is_routed", [False, True])
@pytest.mark.parametrize("is_pipeline", [False, True])
def test_copies_of_a_row_keep_its_group(is_routed, is_pipeline):
    X, y = overlapping(150)
    groups = np.arange(150) // 5
    X = np.column_stack([groups, X])
    student = make_pipeline("passthrough", Copies()) if is_pipeline else Copies()
    with config_context(enable_metadata_routing=is_routed):
        model = fixed(LogisticRegression(), student).fit(X, y, groups=groups)
    last = model.student_[-1] if is_pipeline else model.student_
    assert len(last.rows_) == 450
    assert_array_equal(last.groups_, last.rows_[:, 0])


@pytest.mark.parametrize("augmentation", ["gibbs", "munge", "callable"])
@pytest.mark.parametrize("frame", [False, True])
def test_transfer_rows_are_of_the_group_of_their_origin(augmentation, frame, log):
    X, y, groups = visits(n_groups=12, n_visits=12)
    more = 1000 + np.arange(12.0).reshape(3, 4) ** 2

    def jitter(X, n_rows, seed):
        rng = np.random.default_rng(seed)
        rows = np.asarray(X)[rng.integers(len(X), size=n_rows)]
        rows = rows + [0, 0, 0, 1e-3] * rng.normal(size=rows.shape)
        return pd.DataFrame(rows, columns=X.columns) if hasattr(X, "columns") else rows

    as_rows = (lambda X: pd.DataFrame(X, columns=list("gabc"))) if frame else np.asarray
    model = fixed(
        GroupOracle(),
        GroupRecorder(),
        augmentation=jitter if augmentation == "callable" else augmentation,
        n_augmented=200,
    )
    model.fit(as_rows(X), y, groups=groups, X_unlabeled=as_rows(more))
    (fit,) = log
    told = fit["groups"]
    assert_array_equal(told[:144], groups)
    assert_array_equal(told[144:147], [12, 13, 14])  # each on its own
    assert len(told) == len(fit["X"]) > 240
    centers = np.array([X[groups == group, 1:].mean(axis=0) for group in range(12)])
    for row, group in zip(fit["X"][147:, 1:], told[147:], strict=True):
        if group < 12:  # neighbors are of the same group
            assert np.abs(centers - row).max(axis=1).argmin() == group
    assert set(told[147:]) >= set(range(12))
    # nor has the teacher of a transfer row seen its group
    assert_allclose(fit["soft"], 0.5)


def test_a_callable_may_return_more_transfer_rows_of_a_group_than_asked_for(log):
    X, y, groups = visits()

    def twice_as_many(X, n_rows, seed):
        rng = np.random.default_rng(seed)
        return X[rng.integers(len(X), size=2 * n_rows)] + [0, 0, 0, 1e-3]

    model = fixed(GroupOracle(), GroupRecorder(), augmentation=twice_as_many, n_augmented=60)
    model.fit(X, y, groups=groups)
    (fit,) = log
    assert model.n_augmented_ == 60
    assert_array_equal(fit["groups"][144:], fit["X"][144:, 0] - 100)  # visits number them so
    assert_allclose(fit["soft"], 0.5)


@pytest.mark.parametrize("augmentation", ["gibbs", "callable"])
@pytest.mark.parametrize("kind", ["splitter", "splits"])
def test_no_transfer_rows_are_made_of_groups_that_each_teacher_has_seen(augmentation, kind, log):
    X, y, groups = visits(n_groups=12, n_visits=12)

    def jitter(X, n_rows, seed):
        rng = np.random.default_rng(seed)
        return X[rng.integers(len(X), size=n_rows)] + [0, 0, 0, 1e-3]

    cv = GroupShuffleSplit(2, test_size=0.4, random_state=0)
    if kind == "splits":
        cv = list(GroupKFold(6).split(X, y, groups))[:4]
    model = fixed(
        GroupOracle(),
        GroupRecorder(),
        cv=cv,
        augmentation=jitter if augmentation == "callable" else augmentation,
        n_augmented=60,
    )
    model.fit(X, y, groups=groups)
    (fit,) = log
    is_tested = fit["soft"][:144].max(axis=1) < 1
    assert 0 < np.mean(is_tested) < 1
    assert set(fit["groups"][144:]) <= set(groups[is_tested])
    assert len(fit["X"]) > 144 + 30
    assert_allclose(fit["soft"][144:], 0.5)


def test_transfer_rows_of_given_labels_are_labeled_by_teachers_of_other_groups(log):
    X, y, groups = visits()
    model = fixed(GroupOracle(), GroupRecorder(), augmentation="gibbs", n_augmented=100)
    Q = np.where(np.eye(2)[y] == 1, 0.8, 0.2)
    model.fit(X, y, groups=groups, soft_targets=Q)
    assert model.label_source_ == "given"
    assert_allclose(log[-1]["soft"][:144], Q)
    assert_allclose(log[-1]["soft"][144:], 0.5)


def test_no_row_of_a_held_out_group_trains_where_a_class_has_one_group_left(log):
    X, y, groups = visits()
    y = np.where(groups < 2, 2, y)  # one of these two groups is held out by the trial
    splits = [(np.flatnonzero(groups % 2 != k), np.flatnonzero(groups % 2 == k)) for k in range(2)]
    splits += [(np.flatnonzero(groups % 4 != k), np.flatnonzero(groups % 4 == k)) for k in range(2)]
    quietly(
        DistilledClassifier(
            RandomForestClassifier(10), GroupRecorder(), cv=splits, augmentation="gibbs"
        ),
        X,
        y,
        groups=groups,
    )
    in_trial = [fit for fit in log if fit["X_val"] is not None]
    assert in_trial
    for fit in in_trial:
        assert not set(fit["X"][:, 0]) & set(fit["X_val"][:, 0])


@pytest.mark.slow
@pytest.mark.parametrize("student", ["two-layer", "module"])
def test_networks_do_not_learn_the_patients(student):
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 15)
    centers, others = rng.normal(size=(40, 8)), rng.normal(size=(400, 8))
    label, truth = (
        (c[:, 0] + 1.5 * rng.normal(size=len(c)) > 0).astype(int) for c in (centers, others)
    )
    X, y = centers[groups] + 0.05 * rng.normal(size=(600, 8)), label[groups]
    network = TwoLayerPGDClassifier(32, encoder=None)
    if student == "module":
        pytest.importorskip("torch")
        from sklearn_kd.modules import MLP

        network = ModuleClassifier(MLP, module_params={"width": 64, "depth": 1}, max_epochs=200)
    losses = {}
    for name, params in {"rows": {}, "groups": {"groups": groups}}.items():
        model = fixed(RandomForestClassifier(50), network, alpha=0.5).fit(X, y, **params)
        losses[name] = log_loss(truth, model.predict_proba(others))
    base = log_loss(truth, LogisticRegression().fit(X, y).predict_proba(others))
    assert losses["groups"] < min(losses["rows"], base + 0.15)


# Metadata routing


def test_groups_go_to_teachers_that_take_them():
    class Teacher(LogisticRegression):
        def fit(self, X, y, sample_weight=None, groups=None):
            self.groups_ = groups
            return super().fit(X, y, sample_weight)

    X, y = overlapping(120)
    groups = np.arange(120) // 4
    model = fixed(Teacher(), LogisticRegression())
    assert_array_equal(clone(model).fit(X, y, groups=groups).teacher_.groups_, groups)
    with config_context(enable_metadata_routing=True):
        assert clone(model).fit(X, y, groups=groups).teacher_.groups_ is None
        model.set_params(teacher=Teacher().set_fit_request(groups=True))
        assert_array_equal(clone(model).fit(X, y, groups=groups).teacher_.groups_, groups)


def test_a_search_as_teacher_gets_groups_by_routing():
    X, y = overlapping(120)
    groups = np.arange(120) // 4
    search = GridSearchCV(LogisticRegression(), {"C": [0.01, 1.0]}, cv=GroupKFold(3))
    with config_context(enable_metadata_routing=True):
        model = fixed(search, LogisticRegression()).fit(X, y, groups=groups)
    assert model.teacher_.n_splits_ == 3


@pytest.mark.parametrize("request_", ["default", "set", "refused"])
@pytest.mark.parametrize("cv", ["auto", StratifiedGroupKFold(2)], ids=str)
def test_searches_slice_the_groups(request_, cv, log):
    X, y, groups = visits()
    grid = {"alpha": [0.5, 1.0]}
    with config_context(enable_metadata_routing=True):
        model = fixed(GroupOracle(), GroupRecorder(), cv=cv)
        if request_ == "set":
            model.set_fit_request(groups=True)
        if request_ == "refused":
            model.set_params(cv="auto").set_fit_request(groups=False)
        search = GridSearchCV(model, grid, cv=GroupKFold(3), error_score="raise")
        search.fit(X, y, groups=groups)
        found = clone(model).get_metadata_routing().consumes("fit", ["groups"])
    assert found == (set() if request_ == "refused" else {"groups"})
    for fit in log[:-1]:
        if request_ == "refused":
            assert fit["groups"] is None
        else:
            assert_array_equal(fit["groups"], codes(fit["X"][:, 0]))
            assert_allclose(fit["soft"], 0.5)
            assert len(np.unique(fit["groups"])) == 16

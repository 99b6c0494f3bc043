"""Labels of the teacher against cross_val_predict, out-of-bag votes and refits."""

import warnings

import numpy as np
import pytest
from scipy.special import expit
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import _sigmoid_calibration
from sklearn.datasets import load_breast_cancer, load_iris, make_classification
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import (
    KFold,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
    TimeSeriesSplit,
    cross_val_predict,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.metaestimators import available_if

from sklearn_kd._utils.calibration import fit_decision_value_calibration
from sklearn_kd._utils.folds import stratified_folds
from sklearn_kd._utils.labels import apply_temperature
from sklearn_kd.exceptions import InSampleLabelsWarning, MissingClassWarning, UntestedRowsWarning
from sklearn_kd.inspection import should_distill
from tests._helpers.distillation import distil, labels_of, three_classes
from tests._helpers.estimators import LeaveOneOut, SoftmaxStudent


def test_cross_fitting_is_cross_val_predict():
    X, y = three_classes()
    for cv in (None, 4, StratifiedKFold(3), list(KFold(5).split(X))):
        expected = cross_val_predict(LogisticRegression(), X, y, cv=cv, method="predict_proba")
        labels = labels_of(LogisticRegression(), X, y, cv)
        np.testing.assert_allclose(labels.values, expected, rtol=1e-12)
        assert labels.source == "cv"
    np.testing.assert_allclose(
        labels.teacher.coef_, LogisticRegression().fit(X, y).coef_, rtol=1e-12
    )


def test_noise_labels_do_not_leak():
    shares = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(600, 5)), rng.integers(0, 2, 600)
        Q = labels_of(KNeighborsClassifier(1), X, y, seed=seed).values
        shares.append(Q[np.arange(600), y].mean())
    assert abs(np.mean(shares) - 0.5) < 3 * 0.5 / np.sqrt(600 * 5)


@pytest.mark.parametrize(
    ("teacher", "noise"),
    [
        (KNeighborsClassifier(1), False),
        (KNeighborsClassifier(1), True),
        (DecisionTreeClassifier(random_state=0), False),
        (DecisionTreeClassifier(random_state=0), True),
        (RandomForestClassifier(50, random_state=0), False),
        (RandomForestClassifier(50, random_state=0), True),
        (GradientBoostingClassifier(random_state=0), False),  # noise it does not memorize
    ],
    ids=lambda value: str(value) if isinstance(value, bool) else type(value).__name__,
)
def test_in_sample_warns_of_a_teacher_that_memorizes(teacher, noise):
    X, y = load_breast_cancer(return_X_y=True)
    if noise:
        y = np.random.default_rng(0).integers(0, 2, len(y))
    model = distil(teacher, DecisionTreeClassifier(max_depth=3), cv="in-sample", random_state=0)
    with pytest.warns(InSampleLabelsWarning, match="memorized"):
        model.fit(X, y)
    assert model.label_source_ == "in-sample"


@pytest.mark.parametrize(
    "data", [load_breast_cancer(return_X_y=True), load_iris(return_X_y=True), three_classes()]
)
def test_in_sample_is_silent_about_a_teacher_that_does_not(data):
    X, y = data
    X = StandardScaler().fit_transform(X)
    model = distil(LogisticRegression(), LogisticRegression(), cv="in-sample", random_state=0)
    model.fit(X, y)
    Q = LogisticRegression().fit(X, y).predict_proba(X)
    given = clone(model).fit(X, y, soft_targets=Q)
    np.testing.assert_allclose(model.predict_proba(X), given.predict_proba(X), rtol=1e-9)


def test_folds_that_miss_a_class_warn():
    X, y = three_classes(90)
    order = np.argsort(y)
    X, y = X[order], y[order]
    with pytest.warns(MissingClassWarning, match="3 of 3 folds"):
        labels = labels_of(LogisticRegression(), X, y, KFold(3))
    assert (labels.values[np.arange(90), y] == 0).all()
    np.testing.assert_allclose(labels.values.sum(axis=1), 1)
    with pytest.warns(MissingClassWarning):
        decisions = labels_of(LinearSVC(), X, y, KFold(3))
    assert (decisions.values[np.arange(90), y] == 0).all()
    np.testing.assert_allclose(decisions.values.sum(axis=1), 1)


def test_auto_folds_never_miss_a_class():
    X, y = three_classes(60)
    y[:2] = 3  # fewer rows than folds
    folds = stratified_folds(np.searchsorted(np.unique(y), y), 5, 0)
    assert len(folds) == 5
    assert all(set(y[train]) == {0, 1, 2, 3} for train, _ in folds)
    np.testing.assert_array_equal(np.sort(np.concatenate([t for _, t in folds])), np.arange(60))
    labels_of(LogisticRegression(), X, y)  # without a warning
    y[0] = 4
    with pytest.warns(MissingClassWarning, match="one distinct row each"):
        labels = labels_of(LogisticRegression(), X, y)
    np.testing.assert_array_equal(labels.values[:2], np.eye(5)[[4, 3]])


def test_copies_are_labeled_by_teachers_that_have_not_seen_them():
    rng = np.random.RandomState(0)
    X, y = np.repeat(rng.normal(size=(40, 2)), 3, axis=0), rng.randint(2, size=120)
    values = labels_of(KNeighborsClassifier(1), X, y).values.reshape(40, 3, 2)
    np.testing.assert_array_equal(values, values[:, [0, 0, 0]])
    # rows of four combinations are no copies: teachers have seen the others
    X = np.tile([[0, 0], [0, 1], [1, 0], [1, 1]], (30, 1))
    labels = labels_of(DecisionTreeClassifier(), X, X[:, 0] ^ X[:, 1])
    np.testing.assert_array_equal(labels.values.argmax(axis=1), X[:, 0] ^ X[:, 1])


def test_rows_that_no_fold_tests_keep_hard_labels_and_repeats_are_averaged():
    X, y = three_classes()
    cv = TimeSeriesSplit(3)
    tested = np.concatenate([test for _, test in cv.split(X)])
    untested = np.setdiff1d(np.arange(len(y)), tested)
    labels = labels_of(LogisticRegression(), X, y, cv)
    np.testing.assert_array_equal(labels.values[untested], np.eye(3)[y[untested]])
    assert (labels.values[tested].max(axis=1) < 1).all()

    cv = RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0)
    expected = np.zeros((len(y), 3))
    for train, test in cv.split(X, y):
        expected[test] += LogisticRegression().fit(X[train], y[train]).predict_proba(X[test]) / 2
    np.testing.assert_allclose(labels_of(LogisticRegression(), X, y, cv).values, expected)


def test_folds_that_test_few_rows_or_none():
    X, y = three_classes()
    model = distil(LogisticRegression(), LogisticRegression())
    with pytest.raises(ValueError, match="cv has no splits"):
        clone(model).set_params(cv=[]).fit(X, y)
    with pytest.raises(ValueError, match="cv tests no row"):
        clone(model).set_params(cv=[(np.arange(100), np.arange(0))]).fit(X, y)
    weights = (np.arange(len(y)) < 100).astype(float)
    unseen = clone(model).set_params(cv=[(np.arange(100), np.arange(100, 150))])
    with pytest.raises(ValueError, match="cv tests no row"):  # all of those it tests are absent
        unseen.fit(X, y, sample_weight=weights)
    with pytest.warns(UntestedRowsWarning, match="10% of the rows"):
        clone(model).set_params(cv=ShuffleSplit(1, test_size=0.1, random_state=0)).fit(X, y)
    clone(model).set_params(cv=[(np.arange(0, 150, 2), np.arange(1, 150, 2))]).fit(X, y)  # half


@pytest.mark.parametrize("n_estimators", [3, 60])
@pytest.mark.parametrize("kind", [RandomForestClassifier, ExtraTreesClassifier, BaggingClassifier])
def test_out_of_bag_labels(kind, n_estimators):
    X, y = three_classes()
    teacher = kind(n_estimators=n_estimators, random_state=0)
    if kind is ExtraTreesClassifier:
        teacher.set_params(bootstrap=True)
    labels = labels_of(teacher, X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own = clone(teacher).set_params(oob_score=True).fit(X, y).oob_decision_function_
    inside = np.isfinite(own).all(axis=1) & (own.sum(axis=1) > 0)
    assert inside.all() == (n_estimators == 60)
    np.testing.assert_allclose(labels.values[inside], own[inside])
    assert labels.source == "oob"
    for train, test in stratified_folds(y, 5, 0):  # the others are cross-fitted
        test = test[~inside[test]]
        if len(test):
            expected = clone(teacher).fit(X[train], y[train]).predict_proba(X[test])
            np.testing.assert_allclose(labels.values[test], expected)
    assert not teacher.oob_score


def test_no_out_of_bag_labels_without_bootstrap_or_in_a_pipeline():
    X, y = three_classes()
    assert labels_of(ExtraTreesClassifier(5), X, y).source == "cv"
    assert labels_of(make_pipeline(RandomForestClassifier(5)), X, y).source == "cv"
    assert labels_of(RandomForestClassifier(5, warm_start=True), X, y).source == "cv"
    assert labels_of(RandomForestClassifier(5), X, y, 3).source == "cv"


def test_leave_one_out_labels():
    X, y = three_classes()
    labels = labels_of(LeaveOneOut(), X, y)
    assert labels.source == "loo"
    expected = apply_temperature(LogisticRegression().fit(X, y).predict_proba(X), 2.0)
    np.testing.assert_allclose(labels.values, expected)
    frozen = FrozenEstimator(LeaveOneOut().fit(X, y))
    labels = labels_of(frozen, X, y)  # its rows are unknown
    assert labels.source == "frozen"
    np.testing.assert_allclose(labels.values, frozen.predict_proba(X))


def test_frozen_teacher_keeps_its_classes():
    X, y = three_classes(names=["a", "b", "c"])
    teacher = LogisticRegression().fit(X, y)
    few = y != "c"
    for student in (LogisticRegression(), SoftmaxStudent(l2=1e-3)):
        model = distil(FrozenEstimator(teacher), student, cv=3).fit(X[few], y[few])
        np.testing.assert_array_equal(model.classes_, ["a", "b", "c"])
        assert model.predict_proba(X).shape == (len(X), 3)
        assert (model.predict(X) == teacher.predict(X)).mean() > 0.9
        assert model.predict(X).dtype == model.classes_.dtype
        assert model.teacher_.estimator is teacher
    with pytest.warns(MissingClassWarning, match=r"\['d'\]"):
        distil(FrozenEstimator(teacher), LogisticRegression()).fit(X, np.where(y == "a", "d", y))
    with pytest.raises(ValueError, match="different kinds"):
        distil(FrozenEstimator(teacher), LogisticRegression()).fit(X, np.arange(150) % 3)


@pytest.mark.parametrize("routing", [False, True])
def test_a_frozen_last_step_is_a_frozen_teacher(routing):
    X, y = three_classes(names=["a", "b", "c"])
    scaler = StandardScaler().fit(X)
    inner = LogisticRegression().fit(scaler.transform(X), y)
    pipeline = make_pipeline(StandardScaler(), FrozenEstimator(inner))
    fits = []

    class Counting(StandardScaler):
        def fit(self, X, y=None, sample_weight=None):
            fits.append(len(X))
            return super().fit(X, y, sample_weight)

    pipeline.steps[0] = ("scaler", Counting())
    few = y != "c"
    w = np.linspace(0.5, 2, few.sum())
    student = LogisticRegression()
    with config_context(enable_metadata_routing=routing):
        if routing:
            student.set_fit_request(sample_weight=True)
            pipeline[0].set_fit_request(sample_weight=False)
        model = distil(pipeline, student, random_state=0).fit(X[few], y[few], sample_weight=w)
    assert model.label_source_ == "frozen"
    assert fits == [few.sum()]  # once, on these rows
    assert model.teacher_[-1].estimator is inner
    np.testing.assert_array_equal(model.classes_, ["a", "b", "c"])
    np.testing.assert_allclose(model.teacher_[0].mean_, X[few].mean(axis=0))
    assert not hasattr(pipeline[0], "mean_")


def test_platt_scaling_for_two_classes():
    X, y = make_classification(200, n_features=5, flip_y=0.1, random_state=0)
    w = np.random.default_rng(0).integers(1, 4, len(y)).astype(float)
    labels = labels_of(LinearSVC(), X, y, 5, sample_weight=w)
    f = cross_val_predict(LinearSVC(), X, y, cv=5, method="decision_function")
    a, b = _sigmoid_calibration(f, y, sample_weight=w)
    np.testing.assert_allclose(labels.values[:, 1], expit(-(a * f + b)), atol=1e-3)
    # weights are repetitions
    slope, offsets = fit_decision_value_calibration(np.column_stack([-f, f]), y, w)
    repeated = np.repeat(np.arange(len(y)), w.astype(int))
    again = fit_decision_value_calibration(
        np.column_stack([-f, f])[repeated], y[repeated], np.ones(len(repeated))
    )
    np.testing.assert_allclose([slope, *offsets], [again[0], *again[1]], rtol=1e-9)


@pytest.mark.parametrize("teacher", [LinearSVC(), SVC(), RidgeClassifier()])
def test_decision_values_become_calibrated_probabilities(teacher):
    X, y = three_classes(300, names=["x", "y", "z"])
    fresh, fresh_y = three_classes(3000, names=["x", "y", "z"])
    labels = labels_of(teacher, X, y)
    np.testing.assert_allclose(labels.values.sum(axis=1), 1)
    np.testing.assert_allclose(
        labels.values.mean(axis=0), (y[:, None] == labels.task.classes).mean(axis=0), atol=0.02
    )
    proba = labels.predict_labels(fresh)
    y_encoded = np.searchsorted(labels.task.classes, fresh_y)
    loss = -np.log(proba[np.arange(3000), y_encoded]).mean()
    logistic = LogisticRegression().fit(X, y).predict_proba(fresh)
    assert loss < 1.2 * -np.log(logistic[np.arange(3000), y_encoded]).mean()


class ProbabilitiesOfEvenRows(LogisticRegression):
    """A search may choose a model without probabilities on some rows; here the number decides."""

    def fit(self, X, y):
        self.is_even_ = len(X) % 2 == 0
        return super().fit(X, y)

    @available_if(lambda self: getattr(self, "is_even_", True))
    def predict_proba(self, X):
        return super().predict_proba(X)


def test_folds_with_and_without_probabilities():
    X, y = three_classes(151)
    (one, other), _ = folds = list(KFold(2).split(X))  # of 75 and 76 training rows
    labels = labels_of(ProbabilitiesOfEvenRows(), X, y, folds, calibrate=False)
    expected = LogisticRegression().fit(X[other], y[other]).predict_proba(X[one])
    np.testing.assert_allclose(labels.values[one], expected)
    alone = labels_of(ProbabilitiesOfEvenRows(), X, y, [(one, other)], calibrate=False)
    np.testing.assert_allclose(labels.values[other], alone.values[other])
    np.testing.assert_allclose(labels.values.sum(axis=1), 1)
    np.testing.assert_allclose(labels.predict_labels(X), alone.predict_labels(X))
    with pytest.raises(ValueError, match="predict_proba in some folds"):
        should_distill(ProbabilitiesOfEvenRows(), LogisticRegression(), X, y, cv=KFold(2))


def test_one_value_per_pair_of_classes_is_refused():
    X, y = three_classes()
    with pytest.raises(ValueError, match="decision_function_shape"):
        labels_of(SVC(decision_function_shape="ovo"), X, y)


def test_teacher_without_probabilities_or_bad_ones():
    class Logits(LogisticRegression):
        def predict_proba(self, X):
            return self.decision_function(X)

    class Labels(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.classes_ = np.unique(y)
            return self

        def predict(self, X):
            return np.full(len(X), self.classes_[0])

    X, y = three_classes()
    with pytest.raises(ValueError, match="teacher Logits must be probabilities"):
        labels_of(Logits(), X, y)
    with pytest.raises(TypeError, match="neither predict_proba nor decision_function"):
        labels_of(Labels(), X, y)

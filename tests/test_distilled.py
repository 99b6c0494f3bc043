"""DistilledClassifier against explicit constructions, closed forms and refits."""

import copy
import pickle
import subprocess
import sys
import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import SoftmaxStudent
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import _sigmoid_calibration
from sklearn.callback import CallbackSupportMixin
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_iris, make_blobs, make_classification
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    PredefinedSplit,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
    TimeSeriesSplit,
    cross_val_predict,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier, _memory
from sklearn_kd._answers import temper, untemper_log
from sklearn_kd._label_calibration import apply_decision_map, fit_decision_map
from sklearn_kd._meta import stack_rows
from sklearn_kd._teacher_labels import (
    label_rows,
    stratified_folds,
    user_folds,
)
from sklearn_kd._validation import last_step
from sklearn_kd.exceptions import (
    IgnoredSampleWeightWarning,
    InSampleLabelsWarning,
    MissingClassWarning,
    SoftTargetsAlignmentWarning,
    TransferRowsWarning,
    UntestedRowsWarning,
)

# the teacher's labels alone, as they are: what most of these tests are about
distil = partial(
    DistilledClassifier, alpha=1.0, temperature=1.0, calibration=None, augmentation=None
)


class PlainNative(SoftmaxStudent):
    """Takes soft targets, has no parameters for the loss."""

    def __init__(self, l2=0.0):
        self.l2 = l2

    def fit(self, X, y, sample_weight=None, soft_targets=None):
        self.alpha = self.temperature = 1.0
        super().fit(X, y, sample_weight, soft_targets)
        del self.alpha, self.temperature
        return self


class LeaveOneOutTeacher(LogisticRegression):
    """Stands for a teacher with leave-one-out probabilities."""

    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        self.loo_proba_ = temper(self.predict_proba(X), 2.0)
        return self


class Interrupted(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        raise KeyboardInterrupt


def three_classes(n=150, seed=0, names=None):
    X, y = make_blobs(n, centers=3, cluster_std=2.5, random_state=seed)
    return X, y if names is None else np.array(names)[y]


def free_logistic():
    """Logistic regression without a penalty, converged."""
    return LogisticRegression(C=np.inf, solver="newton-cg", tol=1e-10, max_iter=1000)


def expand(X, y, Q, w=None):
    """Row expansion written out, row by row."""
    rows, labels, weights = [], [], []
    classes = np.unique(y)
    for i, q in enumerate(Q):
        for k, mass in enumerate(q):
            if mass > 0:
                rows.append(X[i])
                labels.append(classes[k])
                weights.append(mass * (1 if w is None else w[i]))
    return np.array(rows), np.array(labels), np.array(weights)


def test_float32_stays_float32():
    X, y = three_classes()
    X = X.astype(np.float32)
    model = distil(LogisticRegression(), LogisticRegression(), temperature=2.0)
    model.fit(X, y)
    assert model.predict_proba(X).dtype == model.student_.predict_proba(X).dtype
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1, atol=1e-6)


# ---- the loss


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("student", [SoftmaxStudent(), free_logistic()], ids=["native", "expanded"])
def test_fixed_point_is_the_teacher(student, temperature):
    X, y = three_classes(300)
    X = StandardScaler().fit_transform(X)
    teacher = LogisticRegression(C=0.05).fit(X, y)
    model = distil(FrozenEstimator(teacher), student, temperature=temperature)
    model.fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), teacher.predict_proba(X), atol=1e-4)
    np.testing.assert_allclose(
        model.predict_log_proba(X), np.log(teacher.predict_proba(X)), atol=1e-3
    )
    assert model.temperature_ == temperature
    assert model.label_source_ == "frozen"


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_two_class_decision_function_is_the_logit(temperature):
    X, y = make_classification(200, n_features=4, random_state=0)
    teacher = LogisticRegression(C=0.05).fit(X, y)
    model = distil(FrozenEstimator(teacher), free_logistic(), temperature=temperature)
    model.fit(X, y)
    np.testing.assert_allclose(expit(model.decision_function(X)), model.predict_proba(X)[:, 1])
    np.testing.assert_allclose(
        model.decision_function(X), teacher.decision_function(X), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("alpha", "temperature"), [(1.0, 1.0), (1.0, 3.0), (0.3, 1.0), (0.0, 1.0)])
def test_row_expansion_equals_the_explicit_one(alpha, temperature, weighted):
    X, y = three_classes(names=["b", "a", "c"])
    w = np.random.default_rng(0).uniform(0.5, 2, len(y)) if weighted else None
    Q = LogisticRegression().fit(X, y).predict_proba(X)
    Q[::7] = [0, 1, 0]  # copies of weight zero
    model = distil(
        DummyClassifier(), LogisticRegression(), alpha=alpha, temperature=temperature
    ).fit(X, y, sample_weight=w, soft_targets=Q)
    onehot = (y[:, None] == np.unique(y)).astype(float)
    with np.errstate(divide="ignore"):
        labels = softmax(np.log(Q) / temperature, axis=1)
    student = LogisticRegression()
    rows, names, weights = expand(X, y, alpha * labels + (1 - alpha) * onehot, w)
    student.fit(rows, names, sample_weight=weights)
    np.testing.assert_allclose(model.student_.coef_, student.coef_, rtol=1e-9)
    expected = student.predict_proba(X) ** temperature
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(X), expected, rtol=1e-8)
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(expected), rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(model.predict(X), student.predict(X))
    assert model.label_source_ == "given"
    assert not hasattr(model, "teacher_")


def test_native_student_gets_loss_weights_and_labelled_targets():
    X, y = three_classes()
    w = np.random.default_rng(0).uniform(0.5, 2, len(y))
    Q = LogisticRegression().fit(X, y).predict_proba(X)
    model = distil(LogisticRegression(), SoftmaxStudent(l2=1e-2), alpha=0.4, temperature=2.5).fit(
        X, y, sample_weight=w, soft_targets=Q
    )
    alone = SoftmaxStudent(alpha=0.4, temperature=2.5, l2=1e-2).fit(X, y, w, Q)
    np.testing.assert_allclose(model.student_.received_, Q, rtol=1e-12)
    np.testing.assert_allclose(model.student_.coef_, alone.coef_, rtol=1e-6)
    assert (model.student.alpha, model.student.temperature) == (1.0, 1.0)


def test_native_student_without_loss_parameters_gets_mixed_targets():
    X, y = three_classes()
    Q = LogisticRegression().fit(X, y).predict_proba(X)
    model = distil(DummyClassifier(), PlainNative(), alpha=0.25)
    model.fit(X, y, soft_targets=Q)
    np.testing.assert_allclose(model.student_.received_, 0.25 * Q + 0.75 * np.eye(3)[y])


@pytest.mark.parametrize(
    ("student", "alpha", "temperature"),
    [
        (LogisticRegression(), 0.5, 2.0),
        (LogisticRegression(), 0.0, 2.0),
        (LogisticRegression(), 1.5, 1.0),
        (PlainNative(), 1.0, 2.0),
        (PlainNative(), 1.5, 1.0),
        (SoftmaxStudent(), 1.5, 2.0),
    ],
)
def test_pairs_that_no_student_can_honour(student, alpha, temperature):
    X, y = three_classes()
    model = distil(Interrupted(), student, alpha=alpha, temperature=temperature)
    with pytest.raises(ValueError, match=r"alpha=.*temperature="):  # before anything is fitted
        model.fit(X, y)
    assert not vars(model).keys() & {"student_", "classes_"}


def test_alpha_above_one_reaches_a_native_student():
    X, y = three_classes()
    model = distil(LogisticRegression(), SoftmaxStudent(l2=0.1), alpha=1.5).fit(X, y)
    assert model.student_.alpha == 1.5


@pytest.mark.parametrize("params", [{"alpha": -0.1}, {"temperature": 0}, {"temperature": "cold"}])
def test_parameter_constraints(params):
    X, y = three_classes()
    with pytest.raises(ValueError, match=next(iter(params))):
        distil(LogisticRegression(), LogisticRegression(), **params).fit(X, y)


def test_tempering_is_inverted():
    Q = np.array([[0.7, 0.2, 0.1], [1.0, 0.0, 0.0], [1e-300, 1 - 1e-9, 1e-9]])
    for T in (0.01, 0.5, 3.0, 100.0):
        assert np.isfinite(temper(Q, T)).all()
        np.testing.assert_allclose(temper(Q, T).sum(axis=1), 1)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(np.exp(untemper_log(np.log(temper(Q, 3.0)), 3.0)), Q, atol=1e-12)
    np.testing.assert_allclose(temper(Q[:1], 1 / 3), [[0.974432, 0.022727, 0.002841]], atol=1e-6)


@pytest.mark.parametrize(
    ("student", "name", "value"),
    [
        (HistGradientBoostingClassifier(max_iter=3), "early_stopping", False),
        (SGDClassifier(loss="log_loss", early_stopping=True), "early_stopping", False),
        (MLPClassifier((2,), max_iter=2, early_stopping=True), "early_stopping", False),
        (GradientBoostingClassifier(n_estimators=3, n_iter_no_change=2), "n_iter_no_change", None),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("in_pipeline", [False, True])
def test_validation_split_of_the_student_is_switched_off(student, name, value, in_pipeline):
    X, y = three_classes(60)
    whole = make_pipeline(StandardScaler(), student) if in_pipeline else student
    model = distil(LogisticRegression(), whole).fit(X, y)
    fitted = model.student_[-1] if in_pipeline else model.student_
    assert getattr(fitted, name) is value
    assert getattr(student, name) is not value


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_validation_split_of_estimators_inside_the_student_is_switched_off():
    X, y = three_classes(60)
    net = MLPClassifier((2,), max_iter=2, early_stopping=True)
    boosted = GradientBoostingClassifier(n_estimators=2, n_iter_no_change=2)
    for student in (
        BaggingClassifier(net, 2),
        make_pipeline(StandardScaler(), BaggingClassifier(make_pipeline(boosted), 2)),
    ):
        model = distil(LogisticRegression(), student, random_state=0)
        inner = last_step(model.fit(X, y).student_).estimators_[0]
        params = last_step(inner).get_params()
        assert not params.get("early_stopping")
        assert params.get("early_stopping") is False or params["n_iter_no_change"] is None
    assert net.early_stopping
    assert boosted.n_iter_no_change == 2


@pytest.mark.parametrize("in_pipeline", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("names", [[0, 1, 2], ["b", "a", "c"]])
def test_balanced_class_weight_counts_rows_and_not_copies(names, weighted, in_pipeline):
    X, y = three_classes(names=names)
    keep = np.r_[np.flatnonzero(y == names[0])[:8], np.flatnonzero(y != names[0])]
    X, y = X[keep], y[keep]
    w = np.random.default_rng(0).uniform(0.5, 2, len(y)) if weighted else None
    Q = LogisticRegression().fit(X, y).predict_proba(X)
    balanced = LogisticRegression(class_weight="balanced")
    student = make_pipeline(balanced) if in_pipeline else balanced
    model = distil(student=student, alpha=0.5).fit(X, y, sample_weight=w, soft_targets=Q)
    mixed = 0.5 * Q + 0.5 * (y[:, None] == np.unique(y))
    rows, labels, weights = expand(X, y, mixed, w)
    mass = np.array([weights[labels == label].sum() for label in np.unique(y)])
    weights = weights * (mass.sum() / 3 / mass)[np.searchsorted(np.unique(y), labels)]
    expected = LogisticRegression().fit(rows, labels, sample_weight=weights)
    np.testing.assert_allclose(last_step(model.student_).coef_, expected.coef_, rtol=1e-5)
    assert balanced.class_weight == "balanced"


@pytest.mark.parametrize(
    "student",
    [
        DecisionTreeClassifier(max_depth=3, random_state=0),
        RandomForestClassifier(20, max_depth=3, random_state=0),
        HistGradientBoostingClassifier(max_iter=20, random_state=0),
    ],
    ids=lambda student: type(student).__name__,
)
def test_balanced_class_weight_does_something_in_every_student(student):
    X, y = make_classification(400, weights=[0.9], flip_y=0.05, random_state=0)
    y = np.array(["no", "yes"])[y]
    shares = [
        (distil(LogisticRegression(), clone(student).set_params(class_weight=c)).fit(X, y)
         .predict(X) == "yes").mean()
        for c in (None, "balanced")
    ]  # fmt: skip
    assert shares[1] > 1.3 * shares[0]


@pytest.mark.parametrize(
    "student",
    [LinearRegression(), make_pipeline(StandardScaler(), DecisionTreeRegressor())],
    ids=["plain", "pipeline"],
)
def test_a_regressor_is_no_student(student):
    X, y = three_classes()
    with pytest.raises(TypeError, match=r"is a regressor.*give a classifier"):
        distil(LogisticRegression(), student).fit(X, y)


def test_predictions_that_are_no_labels_are_not_made_into_some():
    class Untagged:
        """Says nothing of what it is, and predicts numbers in between."""

        def get_params(self, deep=True):
            return {}

        def fit(self, X, y, sample_weight=None):
            return self

        def predict(self, X):
            return np.full(len(X), 0.7)

    X, y = three_classes()
    model = distil(student=Untagged())
    model.fit(X, y, soft_targets=np.eye(3)[y])
    with pytest.raises(ValueError, match=r"predicts 0.7, which is not one of the classes"):
        model.predict(X)
    frame = pd.DataFrame(X)  # objects are fine
    names = pd.Series(np.array(["a", "b", "c"])[y])
    model = distil(LogisticRegression(), DecisionTreeClassifier()).fit(frame, names)
    assert model.predict(frame).dtype == model.classes_.dtype


@pytest.mark.parametrize("convert", [np.asarray, sp.csr_array, pd.DataFrame, np.ndarray.tolist])
def test_copies_that_would_not_fit_are_not_made(convert, monkeypatch):
    X, y = three_classes()
    Q = np.eye(3)[y] * 0.7 + 0.1
    model = distil(student=DecisionTreeClassifier())
    monkeypatch.setattr(_memory, "free_bytes", lambda: 3 * X.nbytes - 1)
    if convert is np.ndarray.tolist:  # of which only the pointers are copied
        model.fit(convert(X), y, soft_targets=Q)
        return
    with pytest.raises(MemoryError, match=r"450 copies of 150 rows.*float32"):
        model.fit(convert(X), y, soft_targets=Q)
    Q = np.where(np.eye(3)[y] == 1, 0.75, 0.0) + 0.25 * np.eye(3)[0]  # two copies at most
    model.fit(convert(X), y, soft_targets=Q)


def test_free_memory_is_told():
    assert 2**20 < _memory.free_bytes() < 2**60


def test_student_pipeline_preprocesses_each_row_once():
    X, y = three_classes()
    Q = LogisticRegression().fit(X, y).predict_proba(X)
    Q[y == 0] = [1, 0, 0]  # those rows have one copy, the others three
    student = make_pipeline(make_pipeline(StandardScaler()), make_pipeline(LogisticRegression()))
    model = distil(DummyClassifier(), student).fit(X, y, soft_targets=Q)
    np.testing.assert_allclose(model.student_[0][0].mean_, X.mean(axis=0))
    rows, labels, weights = expand(StandardScaler().fit_transform(X), y, Q)
    expected = LogisticRegression().fit(rows, labels, sample_weight=weights)
    np.testing.assert_allclose(model.student_[-1][-1].coef_, expected.coef_, rtol=1e-9)
    assert not hasattr(student[0][0], "mean_")


def test_class_without_mass_is_a_column_of_zeros():
    X, y = three_classes()
    Q = np.where(y[:, None] == 0, [0.9, 0.1, 0.0], [0.2, 0.8, 0.0])
    for temperature in (1.0, 2.0):
        model = distil(DummyClassifier(), LogisticRegression(), temperature=temperature).fit(
            X, y, soft_targets=Q
        )
        proba = model.predict_proba(X)
        assert proba.shape == (len(X), 3)
        assert (proba[:, 2] == 0).all()
        np.testing.assert_allclose(proba.sum(axis=1), 1)
        assert np.isneginf(model.predict_log_proba(X)[:, 2]).all()
        decision = model.decision_function(X)
        np.testing.assert_array_equal(decision.argmax(axis=1), proba.argmax(axis=1))
        np.testing.assert_array_equal(decision.argmin(axis=1), 2)


# ---- the teacher's labels


def labels_of(teacher, X, y, cv="auto", seed=0, **changes):
    """Soft labels of the rows, and where they are from."""
    rows = np.arange(len(y))
    arguments = {
        "cv": cv,
        "fit_params": {},
        "folds": None if isinstance(cv, str) else user_folds(cv, X, y, rows, len(y), {}),
        "n_jobs": None,
        "seed": seed,
        "propagate": lambda _: warnings.catch_warnings(),
    }
    return label_rows(teacher, X, y, np.unique(y), **{**arguments, **changes})


def test_cross_fitting_is_cross_val_predict():
    X, y = three_classes()
    for cv in (None, 4, StratifiedKFold(3), list(KFold(5).split(X))):
        expected = cross_val_predict(LogisticRegression(), X, y, cv=cv, method="predict_proba")
        labels = labels_of(LogisticRegression(), X, y, cv)
        np.testing.assert_allclose(labels.proba, expected, rtol=1e-12)
        assert labels.source == "cv"
    np.testing.assert_allclose(
        labels.teacher.coef_, LogisticRegression().fit(X, y).coef_, rtol=1e-12
    )


def test_noise_labels_do_not_leak():
    shares = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(600, 5)), rng.integers(0, 2, 600)
        Q = labels_of(KNeighborsClassifier(1), X, y, seed=seed).proba
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
        (GradientBoostingClassifier(random_state=0), False),  # noise it does not memorise
    ],
    ids=lambda value: str(value) if isinstance(value, bool) else type(value).__name__,
)
def test_in_sample_warns_of_a_teacher_that_memorises(teacher, noise):
    X, y = load_breast_cancer(return_X_y=True)
    if noise:
        y = np.random.default_rng(0).integers(0, 2, len(y))
    model = distil(teacher, DecisionTreeClassifier(max_depth=3), cv="in-sample", random_state=0)
    with pytest.warns(InSampleLabelsWarning, match="memorised"):
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
    assert (labels.proba[np.arange(90), y] == 0).all()
    np.testing.assert_allclose(labels.proba.sum(axis=1), 1)
    with pytest.warns(MissingClassWarning):
        decisions = labels_of(LinearSVC(), X, y, KFold(3))
    assert (decisions.proba[np.arange(90), y] == 0).all()
    np.testing.assert_allclose(decisions.proba.sum(axis=1), 1)


def test_auto_folds_never_miss_a_class():
    X, y = three_classes(60)
    y[:2] = 3  # fewer rows than folds
    folds = stratified_folds(np.searchsorted(np.unique(y), y), 5, 0)
    assert len(folds) == 5
    assert all(set(y[train]) == {0, 1, 2, 3} for train, _ in folds)
    np.testing.assert_array_equal(np.sort(np.concatenate([t for _, t in folds])), np.arange(60))
    labels_of(LogisticRegression(), X, y)  # without a warning
    y[0] = 4
    with pytest.warns(MissingClassWarning, match="one row each"):
        labels = labels_of(LogisticRegression(), X, y)
    np.testing.assert_array_equal(labels.proba[:2], np.eye(5)[[4, 3]])


def test_rows_that_no_fold_tests_keep_hard_labels_and_repeats_are_averaged():
    X, y = three_classes()
    cv = TimeSeriesSplit(3)
    tested = np.concatenate([test for _, test in cv.split(X)])
    untested = np.setdiff1d(np.arange(len(y)), tested)
    labels = labels_of(LogisticRegression(), X, y, cv)
    np.testing.assert_array_equal(labels.proba[untested], np.eye(3)[y[untested]])
    assert (labels.proba[tested].max(axis=1) < 1).all()

    cv = RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0)
    expected = np.zeros((len(y), 3))
    for train, test in cv.split(X, y):
        expected[test] += LogisticRegression().fit(X[train], y[train]).predict_proba(X[test]) / 2
    np.testing.assert_allclose(labels_of(LogisticRegression(), X, y, cv).proba, expected)


def test_folds_that_test_few_rows_or_none():
    X, y = three_classes()
    model = distil(LogisticRegression(), LogisticRegression())
    for cv in ([], [(np.arange(100), np.arange(0))]):
        with pytest.raises(ValueError, match="cv tests no row"):
            clone(model).set_params(cv=cv).fit(X, y)
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
    np.testing.assert_allclose(labels.proba[inside], own[inside])
    assert labels.source == "oob"
    for train, test in stratified_folds(y, 5, 0):  # the others are cross-fitted
        test = test[~inside[test]]
        if len(test):
            expected = clone(teacher).fit(X[train], y[train]).predict_proba(X[test])
            np.testing.assert_allclose(labels.proba[test], expected)
    assert not teacher.oob_score


def test_no_out_of_bag_labels_without_bootstrap_or_in_a_pipeline():
    X, y = three_classes()
    assert labels_of(ExtraTreesClassifier(5), X, y).source == "cv"
    assert labels_of(make_pipeline(RandomForestClassifier(5)), X, y).source == "cv"
    assert labels_of(RandomForestClassifier(5, warm_start=True), X, y).source == "cv"
    assert labels_of(RandomForestClassifier(5), X, y, 3).source == "cv"


def test_leave_one_out_labels():
    X, y = three_classes()
    labels = labels_of(LeaveOneOutTeacher(), X, y)
    assert labels.source == "loo"
    expected = temper(LogisticRegression().fit(X, y).predict_proba(X), 2.0)
    np.testing.assert_allclose(labels.proba, expected)
    frozen = FrozenEstimator(LeaveOneOutTeacher().fit(X, y))
    labels = labels_of(frozen, X, y)  # its rows are unknown
    assert labels.source == "frozen"
    np.testing.assert_allclose(labels.proba, frozen.predict_proba(X))


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
    np.testing.assert_allclose(labels.proba[:, 1], expit(-(a * f + b)), atol=1e-3)
    # weights are repetitions
    slope, offsets = fit_decision_map(np.column_stack([-f, f]), y, w)
    repeated = np.repeat(np.arange(len(y)), w.astype(int))
    again = fit_decision_map(
        np.column_stack([-f, f])[repeated], y[repeated], np.ones(len(repeated))
    )
    np.testing.assert_allclose([slope, *offsets], [again[0], *again[1]], rtol=1e-9)


@pytest.mark.parametrize("teacher", [LinearSVC(), SVC(), RidgeClassifier()])
def test_decision_values_become_calibrated_probabilities(teacher):
    X, y = three_classes(300, names=["x", "y", "z"])
    fresh, fresh_y = three_classes(3000, names=["x", "y", "z"])
    labels = labels_of(teacher, X, y)
    np.testing.assert_allclose(labels.proba.sum(axis=1), 1)
    np.testing.assert_allclose(
        labels.proba.mean(axis=0), (y[:, None] == labels.classes).mean(axis=0), atol=0.02
    )
    proba = labels.label_more(fresh)
    codes = np.searchsorted(labels.classes, fresh_y)
    loss = -np.log(proba[np.arange(3000), codes]).mean()
    logistic = LogisticRegression().fit(X, y).predict_proba(fresh)
    assert loss < 1.2 * -np.log(logistic[np.arange(3000), codes]).mean()


def test_decision_map_of_separated_or_constant_values_is_finite():
    codes = np.repeat([0, 1, 2], 10)
    for F in (1e6 * np.eye(3)[codes], np.zeros((30, 3)), 1e-9 * np.eye(3)[codes]):
        proba = apply_decision_map(F, *fit_decision_map(F, codes, np.ones(30)))
        assert np.isfinite(proba).all()
        np.testing.assert_allclose(proba.sum(axis=1), 1)
        np.testing.assert_allclose(proba.mean(axis=0), 1 / 3, atol=1e-6)


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


# ---- weights


@pytest.mark.parametrize("cv", ["auto", 3, "explicit", "predefined"])
def test_zero_weight_is_absence(cv):
    X, y = three_classes()
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
    model = distil(LogisticRegression(), LogisticRegression(), random_state=0)
    first = clone(model).set_params(cv=cv_all).fit(X, y, sample_weight=w)
    second = clone(model).set_params(cv=cv_kept).fit(X[keep], y[keep], sample_weight=w[keep])
    np.testing.assert_allclose(first.predict_proba(X), second.predict_proba(X), rtol=1e-9)
    np.testing.assert_array_equal(first.teacher_.coef_, second.teacher_.coef_)


def test_explicit_splits_beyond_the_rows_are_an_error():
    X, y = three_classes()
    model = distil(
        LogisticRegression(), LogisticRegression(), cv=[(np.arange(100), np.arange(100, 200))]
    )
    with pytest.raises(IndexError):
        model.fit(X, y)


def test_weights_that_one_of_the_two_cannot_use():
    class NoWeights(SoftmaxStudent):
        def fit(self, X, y, soft_targets=None):
            return super().fit(X, y, soft_targets=soft_targets)

    X, y = three_classes()
    w = np.linspace(0.5, 2, len(y))
    with pytest.warns(IgnoredSampleWeightWarning, match="teacher LinearDiscriminantAnalysis"):
        distil(LinearDiscriminantAnalysis(), LogisticRegression()).fit(X, y, w)
    with pytest.warns(IgnoredSampleWeightWarning, match="student NoWeights"):
        distil(LogisticRegression(), NoWeights()).fit(X, y, w)
    with pytest.raises(ValueError, match="weight"):
        distil(LogisticRegression(), LogisticRegression()).fit(X, y, 0 * w)


@pytest.mark.parametrize(
    "teacher",
    [
        VotingClassifier([("one", LogisticRegression())], voting="soft"),
        StackingClassifier([("one", LogisticRegression())], cv=2),
        GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2),
    ],
    ids=lambda teacher: type(teacher).__name__,
)
def test_a_teacher_that_takes_weights_by_routing_is_told_so(teacher):
    X, y = three_classes()
    w = np.linspace(0.5, 2, len(y))
    model = distil(teacher, LogisticRegression(), cv=2)
    name = type(teacher).__name__
    with pytest.warns(IgnoredSampleWeightWarning, match=f"{name} .*metadata routing only"):
        model.fit(X, y, sample_weight=w)
    with config_context(enable_metadata_routing=True):
        asking = LogisticRegression().set_fit_request(sample_weight=True)
        asking.set_score_request(sample_weight=True)
        part = {"estimator": asking} if name == "GridSearchCV" else {"one": clone(asking)}
        if name == "StackingClassifier":
            part["final_estimator"] = clone(asking)
        model.set_params(teacher=clone(teacher).set_params(**part), student=asking)
        model.fit(X, y, sample_weight=w)  # without a warning


def test_weights_reach_the_last_step_of_pipelines():
    X, y = three_classes()
    w = np.linspace(0.1, 3, len(y))
    pipeline = make_pipeline(make_pipeline(LogisticRegression()))
    for student in (LogisticRegression(), SoftmaxStudent(l2=1e-3)):
        deep = make_pipeline(make_pipeline(clone(student)))
        first = distil(pipeline, deep, random_state=0).fit(X, y, w)
        second = distil(LogisticRegression(), student, random_state=0).fit(X, y, w)
        np.testing.assert_allclose(first.predict_proba(X), second.predict_proba(X), rtol=1e-7)


# ---- soft targets and more rows


def test_soft_targets_as_array_or_labelled_frame():
    X, y = three_classes(names=["a", "b", "c"])
    Q = LogisticRegression().fit(X, y).predict_proba(X)
    model = distil(LogisticRegression(), LogisticRegression())
    by_array = clone(model).fit(X, y, soft_targets=Q).predict_proba(X)
    frame = pd.DataFrame(Q[:, [2, 0, 1]], columns=["c", "a", "b"])
    np.testing.assert_allclose(
        clone(model).fit(X, y, soft_targets=frame).predict_proba(X), by_array
    )
    few = y != "c"
    wider = clone(model).fit(X[few], y[few], soft_targets=frame[few])
    np.testing.assert_array_equal(wider.classes_, ["a", "b", "c"])
    with pytest.raises(ValueError, match="DataFrame"):
        clone(model).fit(X[few], y[few], soft_targets=Q[few])
    with pytest.warns(SoftTargetsAlignmentWarning) as caught:
        clone(model).set_params(student=SoftmaxStudent()).fit(X, y, soft_targets=Q[:, [1, 2, 0]])
    assert len(caught) == 1


def test_given_targets_replace_an_earlier_teacher():
    X, y = three_classes()
    model = distil(LogisticRegression(), LogisticRegression()).fit(X, y)
    assert hasattr(model, "teacher_")
    model.fit(X, y, soft_targets=model.predict_proba(X))
    assert not hasattr(model, "teacher_")


@pytest.mark.parametrize("teacher", [LogisticRegression(), LinearSVC()])
@pytest.mark.parametrize("given", [False, True])
def test_more_rows_equal_the_rows_with_their_labels(teacher, given):
    X, y = three_classes(names=["a", "b", "c"])
    more, _ = three_classes(40, seed=1)
    Q = LogisticRegression(C=0.1).fit(X, y).predict_proba(X) if given else None
    w = np.linspace(0.5, 2, len(y))
    model = distil(teacher, LogisticRegression(), alpha=0.5, random_state=0)
    model.fit(X, y, sample_weight=w, soft_targets=Q, X_unlabeled=more)
    labels = labels_of(
        teacher,
        X,
        y,
        seed=int(np.random.RandomState(0).randint(2**31 - 1, size=2)[0]),
        fit_params={"sample_weight": w},
        sample_weight=w,
    )
    extra = labels.label_more(more)
    both = np.concatenate([labels.proba if Q is None else Q, extra])
    hard = np.concatenate([y, labels.classes[extra.argmax(axis=1)]])
    expected = distil(DummyClassifier(), LogisticRegression(), alpha=0.5).fit(
        np.concatenate([X, more]), hard, np.append(w, np.full(40, w.mean())), soft_targets=both
    )
    np.testing.assert_allclose(model.predict_proba(X), expected.predict_proba(X), rtol=1e-6)
    assert model.label_source_ == ("given" if given else "cv")
    assert hasattr(model, "teacher_")


def test_more_rows_in_every_container():
    X, y = three_classes()
    more, _ = three_classes(40, seed=1)
    model = distil(LogisticRegression(), LogisticRegression(), cv=3)
    expected = clone(model).fit(X, y, X_unlabeled=more).predict_proba(X)
    for convert in (sp.csr_array, sp.coo_array, lambda a: pd.DataFrame(a, columns=["u", "v"])):
        got = clone(model).fit(convert(X), y, X_unlabeled=convert(more))
        np.testing.assert_allclose(got.predict_proba(convert(X)), expected, rtol=1e-4, atol=1e-5)
    got = clone(model).fit(X.tolist(), y, X_unlabeled=more.tolist())
    np.testing.assert_allclose(got.predict_proba(X), expected, rtol=1e-9)
    frame = pd.DataFrame(X, columns=["u", "v"])
    with pytest.raises(TypeError, match="DataFrame"):
        clone(model).set_params(teacher=make_pipeline(PassArrays(), LogisticRegression())).fit(
            frame, y, X_unlabeled=more
        )
    with pytest.raises(ValueError, match="features"):
        clone(model).fit(X, y, X_unlabeled=more[:, :1])
    with pytest.warns(TransferRowsWarning):
        clone(model).fit(X, y, X_unlabeled=X + 1)


def test_more_rows_count_like_the_mean_of_the_others():
    X, y = three_classes()
    more, _ = three_classes(40, seed=1)
    model = distil(LogisticRegression(C=np.inf), free_logistic(), cv=3)
    plain = clone(model).fit(X, y, X_unlabeled=more).predict_proba(X)
    for size in (1e-6, 1.0, 50.0):  # and no rows for weights of zero
        weighted = clone(model).fit(
            np.vstack([X, X[:9]]), np.append(y, y[:9]), np.r_[np.full(150, size), np.zeros(9)],
            X_unlabeled=more,
        )  # fmt: skip
        np.testing.assert_allclose(weighted.predict_proba(X), plain, atol=1e-5)


def test_more_rows_keep_the_dtypes_of_x():
    x = np.linspace(0, 1, 100)
    colour = pd.Categorical(["red", "blue"] * 50)
    frame = pd.DataFrame({"colour": colour, "x": x.astype(np.float32), "n": np.arange(100)})
    more = pd.DataFrame({"n": np.arange(9), "x": x[:9], "colour": pd.Categorical(["red"] * 9)})
    both = stack_rows(frame, more)
    pd.testing.assert_series_equal(both.dtypes, frame.dtypes)
    assert both["colour"].tolist() == frame["colour"].tolist() + ["red"] * 9
    boosted = HistGradientBoostingClassifier(max_iter=3, categorical_features="from_dtype")
    y = np.where(frame["colour"] == "red", "yes", "no")
    model = distil(boosted, boosted).fit(frame, y, X_unlabeled=more)
    assert model.score(frame, y) == 1
    assert both["n"].dtype == frame["n"].dtype
    more["colour"] = pd.Categorical(["green"] * 9)
    with pytest.raises(ValueError, match=r"'colour' of X_unlabeled has the categories \['green'\]"):
        distil(boosted, boosted).fit(frame, y, X_unlabeled=more)
    lacking = more.assign(colour=pd.Categorical([None] * 9, categories=["green"]))
    assert stack_rows(frame, lacking)["colour"].isna().sum() == 9


class PassArrays(BaseEstimator):
    """A step that takes frames and arrays alike."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.asarray(X)

    def __sklearn_is_fitted__(self):
        return True


# ---- temperature="auto"


def test_automatic_temperature_has_the_least_held_out_loss():
    X, y = three_classes(200)
    model = distil(
        LogisticRegression(),
        DecisionTreeClassifier(max_depth=3),
        temperature="auto",
        random_state=0,
    ).fit(X, y)
    seeds = np.random.RandomState(0).randint(2**31 - 1, size=2)
    Q = labels_of(LogisticRegression(), X, y, seed=int(seeds[0])).proba
    losses = {}
    for T in (0.5, 1.0, 2.0, 3.0, 5.0):
        losses[T] = 0.0
        for train, test in stratified_folds(y, 3, int(seeds[1])):
            one = distil(DummyClassifier(), DecisionTreeClassifier(max_depth=3), temperature=T).fit(
                X[train], y[train], soft_targets=Q[train]
            )
            proba = one.predict_proba(X[test])[np.arange(len(test)), y[test]]
            losses[T] -= np.log(np.maximum(proba, 1e-15)).mean()
    assert model.temperature_ == min(losses, key=losses.get)
    assert clone(model).fit(X, y).temperature_ == model.temperature_


def test_automatic_temperature_of_a_native_student_with_weights_and_more_rows():
    X, y = three_classes(90)
    model = distil(LogisticRegression(), SoftmaxStudent(l2=1e-2), alpha=0.5, temperature="auto")
    model.fit(X, y, sample_weight=np.linspace(0.5, 2, 90), X_unlabeled=X[:50] + 0.1)
    assert model.student_.temperature == model.temperature_


# ---- any container, any sub-estimator


def mixed_table(n=120, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=n),
            "colour": rng.choice(["red", "green", "blue"], n),
            "weight": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
        }
    )
    y = np.where(frame["size"] + (frame["colour"] == "red") > 0.3, "yes", "no")
    return frame, y


def test_raw_frames_go_through_both_pipelines():
    frame, y = mixed_table()
    encode = make_column_transformer(
        (OneHotEncoder(), ["colour"]), (StandardScaler(), ["size"]), remainder="drop"
    )
    teacher = make_pipeline(encode, RandomForestClassifier(20, random_state=0))
    for student in (LogisticRegression(), SoftmaxStudent(l2=1e-3)):
        model = distil(teacher, make_pipeline(clone(encode), student), random_state=0)
        model.fit(frame, y, X_unlabeled=frame[:30])
        assert model.score(frame, y) > 0.9
        np.testing.assert_array_equal(model.feature_names_in_, frame.columns)
        assert model.n_features_in_ == 3
        # columns by name, as the encoder takes them
        np.testing.assert_array_equal(
            model.predict(frame[frame.columns[::-1]]), model.predict(frame)
        )


def test_students_without_probabilities_or_soft_labels():
    X, y = three_classes()
    model = distil(LogisticRegression(), LinearSVC(), temperature=2.0).fit(X, y)
    assert model.score(X, y) > 0.6
    assert not hasattr(model, "predict_proba")
    assert hasattr(model, "decision_function")
    tree = distil(LogisticRegression(), DecisionTreeClassifier())
    assert not hasattr(tree, "decision_function")
    assert hasattr(tree, "predict_proba")
    with pytest.raises(NotFittedError):
        tree.predict_proba(X)
    model = distil(LogisticRegression(), KNeighborsClassifier())
    with pytest.raises(TypeError, match="neither soft_targets nor sample_weight"):
        model.fit(X, y)


def test_skorch_teacher():
    torch = pytest.importorskip("torch")
    skorch = pytest.importorskip("skorch")
    X, y = three_classes()
    X = X.astype(np.float32)

    def fit_net():
        torch.manual_seed(0)
        return skorch.NeuralNetClassifier(
            torch.nn.Linear,
            module__in_features=2,
            module__out_features=3,
            criterion=torch.nn.CrossEntropyLoss,
            train_split=None,
            max_epochs=3,
            verbose=0,
        )

    model = distil(fit_net(), LogisticRegression(), cv=3).fit(X, y)
    assert model.label_source_ == "cv"
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1, atol=1e-6)
    frozen = FrozenEstimator(fit_net().fit(X, y))
    model = distil(frozen, SoftmaxStudent()).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), frozen.predict_proba(X), atol=1e-3)
    assert b"torch" not in pickle.dumps(model.without_teacher())
    told = fit_net().set_params(classes=[0, 1, 2])
    few = y != 2
    model = distil(told, LogisticRegression(), cv=3).fit(X[few], y[few])
    np.testing.assert_array_equal(model.classes_, [0, 1, 2])


def test_a_distilled_student_of_a_distilled_teacher():
    X, y = three_classes()
    teacher = distil(RandomForestClassifier(20, random_state=0), LogisticRegression())
    student = distil(DummyClassifier(), DecisionTreeClassifier(max_depth=4))
    model = distil(teacher, student, cv=3, temperature=2.0).fit(X, y)
    assert model.student_.label_source_ == "given"
    assert model.student_.temperature == 2.0
    assert model.score(X, y) > 0.6


def test_default_student():
    X, y = three_classes(names=["a", "b", "c"])
    model = distil(RandomForestClassifier(20), alpha=0.7, temperature=2.0, random_state=0)
    first = clone(model).fit(X, y)
    assert isinstance(first.student_, TwoLayerPGDClassifier)
    assert (first.student_.alpha, first.student_.temperature) == (0.7, 2.0)
    fresh, fresh_y = three_classes(2000, names=["a", "b", "c"])
    assert first.score(fresh, fresh_y) > first.teacher_.score(fresh, fresh_y) - 0.02
    assert b"torch" not in pickle.dumps(first.student_)
    assert b"torch" not in pickle.dumps(first)
    np.testing.assert_allclose(clone(model).fit(X, y).predict_proba(X), first.predict_proba(X))


def test_two_layer_student_ends_at_a_frozen_teacher():
    X, y = three_classes(60)
    teacher = LogisticRegression(C=0.01).fit(X, y)
    student = TwoLayerPGDClassifier(32, max_iter=800, early_stopping=False, n_init=1)
    for temperature in (1.0, 3.0):
        model = distil(
            FrozenEstimator(teacher), student, temperature=temperature, random_state=0
        ).fit(X, y)
        gap = abs(model.predict_proba(X) - teacher.predict_proba(X)).max()
        assert gap < 0.02


def test_alpha_above_one_is_the_native_students_to_bound():
    X, y = three_classes()
    student = TwoLayerPGDClassifier(4, max_iter=20, early_stopping=False)
    model = distil(LogisticRegression(), student, alpha=1.5)
    with pytest.raises(ValueError, match="radius"):
        model.fit(X, y)
    assert not hasattr(model, "student_")
    model.set_params(student__radius=3.0).fit(X, y)


# ---- errors and what fit leaves behind


@given(data=st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_small_input_gives_a_clear_error_or_probabilities(data):
    n = data.draw(st.integers(1, 14), "n")
    rng = np.random.default_rng(data.draw(st.integers(0, 99), "seed"))
    X = rng.normal(size=(n, 2)) * data.draw(st.sampled_from([1.0, 1e-6, 1e6, 0.0]), "scale")
    y = rng.integers(0, data.draw(st.integers(1, 4), "classes"), n)
    if data.draw(st.booleans(), "nan"):
        X[0, 0] = np.nan
    weight = data.draw(st.sampled_from([None, "some", "zeros"]), "weight")
    weight = {"some": rng.integers(0, 3, n), "zeros": np.zeros(n)}.get(weight)
    soft = data.draw(st.sampled_from([None, "right", "wide", "sum"]), "soft")
    if soft:
        K = len(np.unique(y)) + (soft == "wide")
        soft = rng.dirichlet(np.ones(K), n) * (1.1 if soft == "sum" else 1)
    draw = {
        "teacher": [LogisticRegression(), RidgeClassifier(), RandomForestClassifier(3)],
        "student": [DecisionTreeClassifier(), SoftmaxStudent(l2=0.1), LogisticRegression()],
        "alpha": [0.0, 0.5, 1.0],
        "temperature": [0.2, 1.0, 4.0, "auto"],
        "cv": ["auto", "in-sample", 2, None],
    }
    model = distil(
        **{name: data.draw(st.sampled_from(draw[name]), name) for name in draw}, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model.fit(X, y, sample_weight=weight, soft_targets=soft)
        except ValueError as error:
            message = str(error)
    if not hasattr(model, "classes_"):
        assert len(message) > 20
        return
    X = rng.normal(size=(5, 2))
    proba = model.predict_proba(X)
    assert proba.shape == (5, len(model.classes_))
    assert np.isfinite(proba).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1)


def test_clear_errors():
    X, y = three_classes()
    logistic = LogisticRegression()
    with pytest.raises(ValueError, match="two classes"):
        distil(logistic, logistic).fit(X, np.zeros(len(y)))
    with pytest.raises(ValueError, match="two classes"):
        distil(logistic, logistic).fit(X, y, sample_weight=(y == 1).astype(float))
    with pytest.raises(ValueError, match="NaN"):
        distil(logistic, logistic).fit(np.where(X > 3, np.nan, X), y)
    with pytest.raises(ValueError, match="inconsistent"):
        distil(logistic, logistic).fit(X, y[:-1])
    with pytest.raises(ValueError, match="enable_metadata_routing"):
        distil(logistic, logistic).fit(X, y, groups=y)


@pytest.mark.parametrize("interrupted", ["teacher", "student"])
def test_interrupt_is_raised_on_and_leaves_nothing_half_fitted(interrupted):
    X, y = three_classes()
    model = distil(LogisticRegression(), LogisticRegression())
    broken = clone(model).set_params(**{interrupted: Interrupted()})
    before = set(vars(broken))
    with pytest.raises(KeyboardInterrupt):
        broken.fit(X, y)
    assert set(vars(broken)) == before
    with pytest.raises(NotFittedError):
        broken.predict(X)
    # a fit that worked before stays whole
    fitted = model.fit(X, y)
    proba, state = fitted.predict_proba(X), dict(vars(fitted))
    fitted.set_params(**{interrupted: Interrupted()})
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(X[:, :1], np.where(y == 0, 7, y))
    np.testing.assert_array_equal(fitted.predict_proba(X), proba)
    assert {k for k in vars(fitted) if vars(fitted)[k] is not state[k]} == {interrupted}


def test_without_teacher():
    X, y = three_classes()
    model = distil(
        RandomForestClassifier(50, random_state=0), LogisticRegression(), temperature=2.0
    ).fit(X, y)
    small = model.without_teacher()
    assert len(pickle.dumps(small)) < 0.1 * len(pickle.dumps(model))
    assert not hasattr(small, "teacher_")
    assert small.teacher is None
    assert hasattr(model, "teacher_")
    again = pickle.loads(pickle.dumps(small))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    again.fit(X, y, soft_targets=model.predict_proba(X))  # needs none
    assert again.label_source_ == "given"
    with config_context(enable_metadata_routing=True):
        again.fit(X, y, soft_targets=model.predict_proba(X))
    with pytest.raises(NotFittedError):
        clone(model).without_teacher()


def test_without_teacher_holds_one_student():
    X, y = three_classes()
    forest = RandomForestClassifier(50, random_state=0).fit(X, y)  # as student, by mistake fitted
    model = distil(LogisticRegression(), forest).fit(X, y)
    small = model.without_teacher()
    assert not hasattr(small.student, "estimators_")
    assert len(model.student.estimators_) == 50  # the user's own is left alone
    assert len(pickle.dumps(small)) < 1.1 * len(pickle.dumps(model.student_))


def test_torch_stays_away_from_fits_without_it():
    code = """
import sys
from sklearn.linear_model import LogisticRegression
from sklearn_kd import DistilledClassifier
X, y = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]
model = DistilledClassifier(LogisticRegression(), LogisticRegression()).fit(X, y)
model.predict_proba(X)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pickle_copy_and_clone():
    X, y = three_classes(names=["a", "b", "c"])
    model = distil(LogisticRegression(), SoftmaxStudent(l2=1e-3)).fit(X, y)
    stored = pickle.dumps(model)
    assert b"torch" not in stored
    for other in (pickle.loads(stored), copy.deepcopy(model)):
        np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
    assert not hasattr(clone(model), "student_")


def test_same_seed_same_fit_whatever_n_jobs():
    X, y = three_classes()
    model = distil(LogisticRegression(), LogisticRegression(), random_state=3)
    first = clone(model).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(clone(model).fit(X, y).predict_proba(X), first)
    two = clone(model).set_params(n_jobs=2).fit(X, y).predict_proba(X)
    np.testing.assert_allclose(two, first, rtol=1e-9)
    other = clone(model).set_params(random_state=4).fit(X, y).predict_proba(X)
    assert not np.array_equal(other, first)


def test_one_seed_makes_teacher_and_student_reproducible():
    X, y = three_classes()
    model = distil(
        make_pipeline(RandomForestClassifier(5, max_features=1)),
        DecisionTreeClassifier(max_features=1, max_depth=3),
        random_state=0,
    )
    first, second = clone(model).fit(X, y), clone(model).fit(X, y)
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))
    assert model.teacher[-1].random_state is None
    model.set_params(student__random_state=7)
    assert model.fit(X, y).student_.random_state == 7
    model.set_params(random_state=None)
    assert model.fit(X, y).teacher_[-1].random_state is None


def test_verbose(capsys):
    X, y = three_classes()
    distil(LogisticRegression(), LogisticRegression(), verbose=1).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "'cv'" in lines[0]
    assert "LogisticRegression" in lines[1]


# ---- callbacks and metadata routing


class Recorder:
    """Writes down the tasks it sees."""

    def __init__(self, max_propagation_depth=None):
        self.max_propagation_depth = max_propagation_depth
        self.begun, self.ended, self.setups, self.scores = [], [], 0, []

    def setup(self, estimator, context):
        self.setups += 1

    def teardown(self, estimator, context):
        self.setups -= 1

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
        self.begun.append((context.task_name, context.source_task_name))

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        self.ended.append((context.task_name, context.source_task_name))
        if fitted_estimator is not None and isinstance(estimator, DistilledClassifier):
            self.scores.append(fitted_estimator.score(X, y))


class OwnRecorder(Recorder):
    max_propagation_depth = property()  # not a propagated one

    def __init__(self):
        self.begun, self.ended, self.setups, self.scores = [], [], 0, []


def test_callbacks_see_two_labelled_subtasks():
    X, y = three_classes()
    model = distil(DecisionTreeClassifier(), DecisionTreeClassifier(), cv=3)
    recorder = Recorder(0)
    model.set_callbacks(recorder).fit(X, y)
    tasks = ["fit-teacher", "fit-student"]
    assert [name for name, _ in recorder.begun] == ["fit", *tasks]
    assert [name for name, _ in recorder.ended] == [*tasks, "fit"]
    assert recorder.setups == 0
    assert recorder.scores == [model.score(X, y)] * 2
    recorder.begun.clear()
    model.fit(X, y, soft_targets=model.predict_proba(X))
    assert [name for name, _ in recorder.begun] == ["fit", *tasks]


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_callbacks_reach_the_sub_estimators(in_pipeline):
    assert issubclass(LogisticRegression, CallbackSupportMixin)
    X, y = three_classes()
    part = LogisticRegression()
    student = make_pipeline(StandardScaler(), part) if in_pipeline else part
    model = distil(part, student, cv=3)
    recorder = Recorder()
    model.set_callbacks(recorder).fit(X, y)
    merged = [source for name, source in recorder.begun if source is not None]
    assert merged == ["fit-teacher", "fit-student"]
    assert "_skl_callbacks" not in vars(model.teacher_)
    assert recorder.setups == 0


def test_callbacks_are_torn_down_after_an_error():
    X, y = three_classes()
    recorder = Recorder()
    model = distil(Interrupted(), LogisticRegression()).set_callbacks(recorder)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert recorder.setups == 0


def test_routing_follows_the_requests():
    X, y = three_classes()
    w = np.linspace(0.1, 3, len(y))
    plain = distil(LogisticRegression(), LogisticRegression(), random_state=0)
    weighted = clone(plain).fit(X, y, sample_weight=w)
    with config_context(enable_metadata_routing=True):
        yes = LogisticRegression().set_fit_request(sample_weight=True)
        no = LogisticRegression().set_fit_request(sample_weight=False)
        model = clone(plain).set_params(teacher=yes, student=yes)
        np.testing.assert_array_equal(
            model.fit(X, y, sample_weight=w).predict_proba(X), weighted.predict_proba(X)
        )
        model = clone(plain).set_params(teacher=no, student=yes).fit(X, y, sample_weight=w)
        np.testing.assert_array_equal(model.teacher_.coef_, LogisticRegression().fit(X, y).coef_)
        model = clone(plain).set_params(teacher=yes, student=no).fit(X, y, sample_weight=w)
        labels = labels_of(
            LogisticRegression(),
            X,
            y,
            seed=int(np.random.RandomState(0).randint(2**31 - 1, size=2)[0]),
            fit_params={"sample_weight": w},
        )
        expected = clone(plain).fit(X, y, soft_targets=labels.proba)
        np.testing.assert_allclose(model.predict_proba(X), expected.predict_proba(X))
        with pytest.raises(ValueError, match="sample_weight"):  # asked for by nobody
            clone(plain).fit(X, y, sample_weight=w)
        clone(plain).fit(X, y)


@pytest.mark.parametrize("last", [LogisticRegression(), SoftmaxStudent(l2=1e-3)])
def test_routing_into_pipelines(last):
    X, y = three_classes()
    w = np.linspace(0.1, 3, len(y))
    with config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=True)
        part = clone(last).set_fit_request(sample_weight=True)
        inner = clone(last).set_fit_request(sample_weight=True)
        model = distil(
            make_pipeline(scaler, LogisticRegression().set_fit_request(sample_weight=True)),
            make_pipeline(scaler, make_pipeline(part)),
            random_state=0,
        ).fit(X, y, sample_weight=w)
        Z = StandardScaler().fit(X, sample_weight=w)
        np.testing.assert_allclose(model.student_[0].mean_, Z.mean_)
        Q = model.student_[-1][-1]
        assert Q.classes_.shape == (3,)
        # without weights nothing needs to be requested
        model = distil(
            make_pipeline(StandardScaler(), LogisticRegression()),
            make_pipeline(StandardScaler(), make_pipeline(clone(last))),
        ).fit(X, y)
        assert model.score(X, y) > 0.6
        assert inner is not part


def test_groups_are_routed_to_the_splitter():
    X, y = three_classes()
    groups = np.arange(len(y)) % 7
    w = np.ones(len(y))
    w[::5] = 0
    with config_context(enable_metadata_routing=True):
        part = LogisticRegression().set_fit_request(sample_weight=True)
        model = distil(part, part, cv=GroupKFold(7))
        model.fit(X, y, sample_weight=w, groups=groups)
    keep = w > 0
    splits = list(GroupKFold(7).split(X[keep], y[keep], groups[keep]))
    expected = distil(LogisticRegression(), LogisticRegression(), cv=splits)
    expected.fit(X[keep], y[keep])
    np.testing.assert_allclose(model.predict_proba(X), expected.predict_proba(X))


def test_more_rows_through_a_routed_pipeline():
    X, y = three_classes()
    more, _ = three_classes(40, seed=1)
    model = distil(LogisticRegression(), SoftmaxStudent(l2=1e-3), random_state=0)
    scaler = StandardScaler().fit(X)
    expected = clone(model).fit(scaler.transform(X), y, X_unlabeled=scaler.transform(more))
    with config_context(enable_metadata_routing=True):
        last = clone(model).set_fit_request(X_unlabeled=True, soft_targets=True)
        pipeline = make_pipeline(StandardScaler(), last, transform_input=["X_unlabeled"])
        pipeline.fit(X, y, X_unlabeled=more)
        np.testing.assert_allclose(
            pipeline.predict_proba(X), expected.predict_proba(scaler.transform(X)), rtol=1e-9
        )
        Q = LogisticRegression().fit(X, y).predict_proba(X)
        # a student that could take soft_targets itself does not stand in their way
        pipeline.fit(X, y, soft_targets=Q)
    np.testing.assert_allclose(pipeline[-1].student_.received_, Q, rtol=1e-12)


def test_tags_are_those_of_both():
    tags = distil(LogisticRegression(), LogisticRegression()).__sklearn_tags__()
    assert tags.input_tags.sparse
    assert not tags.input_tags.allow_nan
    hist = HistGradientBoostingClassifier()
    tags = distil(hist, hist).__sklearn_tags__()
    assert tags.input_tags.allow_nan
    assert not distil(hist, LogisticRegression()).__sklearn_tags__().input_tags.sparse
    frozen = FrozenEstimator(LogisticRegression())
    assert not distil(frozen, LogisticRegression()).__sklearn_tags__()._skip_test

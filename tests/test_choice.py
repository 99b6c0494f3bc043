"""What "auto" chooses on held-out rows, and that nothing of a held-out row gets into a fit."""

import itertools
import warnings
from functools import partial

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import FIXED, SoftmaxStudent, blobs, fitted_names
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    StratifiedKFold,
    TimeSeriesSplit,
    cross_val_predict,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from sklearn_kd import (
    BatchedGridSearchCV,
    DistilledClassifier,
    KernelTeacher,
    TwoLayerPGDClassifier,
)
from sklearn_kd._choice import _Trial
from sklearn_kd._lesson import Lesson, Rows, Setting
from sklearn_kd.exceptions import (
    DivergenceError,
    IgnoredSampleWeightWarning,
    InSampleLabelsWarning,
    MissingClassWarning,
    NoGainWarning,
    TransferRowsWarning,
    UntestedRowsWarning,
)

#: What the recording estimators saw: (what, values) in order.
LOG = []
network = partial(TwoLayerPGDClassifier, 4, max_iter=60, random_state=0)


@pytest.fixture(autouse=True)
def empty_log():
    LOG.clear()


def quietly(model, *args, **params):
    """Fit, whatever the choice."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoGainWarning)
        return model.fit(*args, **params)


def values_in(X):
    return set(np.asarray(X).ravel().tolist())


class RecordingTeacher(GaussianNB):
    def fit(self, X, y, sample_weight=None):
        self.seen_ = values_in(X)
        LOG.append(("teacher", self.seen_))
        return super().fit(np.asarray(X, dtype=float), y, sample_weight)

    def predict_proba(self, X):
        LOG.append(("answers", self.seen_, values_in(X)))
        return super().predict_proba(np.asarray(X, dtype=float))


class RecordingStep(TransformerMixin, BaseEstimator):
    """First step of a student: notes the rows that the next is fitted on, and those judged by."""

    def fit(self, X, y=None):
        self.seen_ = values_in(X)
        LOG.append(("student", self.seen_))
        return self

    def fit_transform(self, X, y=None):
        return self.fit(X)._numbers(X)

    def transform(self, X):
        LOG.append(("judged", self.seen_, values_in(X)))
        return self._numbers(X)

    def _numbers(self, X):
        return np.asarray(X, dtype=float)


class LeaveOneOut(LogisticRegression):
    """Stands for a teacher with leave-one-out probabilities: its own, made cautious."""

    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        P = self.predict_proba(X) ** 0.7
        self.loo_proba_ = P / P.sum(axis=1, keepdims=True)
        return self


class Oracle(ClassifierMixin, BaseEstimator):
    """Teacher that knows the truth of `noisy_labels`."""

    def __init__(self, coef):
        self.coef = coef

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        f = np.asarray(X) @ np.asarray(self.coef)
        return np.column_stack([expit(-f), expit(f)])

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class Noise(ClassifierMixin, BaseEstimator):
    """Teacher whose probabilities have nothing to do with the classes, sure as they are."""

    def fit(self, X, y, sample_weight=None):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        K = len(self.classes_)
        chaos = 1e4 * np.sin(1e4 * np.asarray(X, dtype=float).sum(axis=1))
        at_random = np.floor(chaos).astype(int) % K
        return np.where(np.eye(K)[at_random] == 1, 0.9, 0.1 / (K - 1))

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def noisy_labels(n, n_features=12, seed=0):
    """Rows whose labels are drawn from probabilities, and what gives those."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, n_features))
    coef = rng.normal(size=n_features) / 2
    return X, (rng.random(n) < expit(X @ coef)).astype(int), tuple(coef)


def overlapping(n=160, n_classes=3, seed=0):
    return blobs(n, n_classes, spread=4.0, seed=seed)


# ---- nothing of a held-out row gets into a fit


PLAIN_STUDENTS = {
    "expansion": LogisticRegression(),
    "native": SoftmaxStudent(l2=1e-2),
    "network": network(),
}


def recording(student, **params):
    params = {"random_state": 0, **params}
    student = make_pipeline(RecordingStep(), PLAIN_STUDENTS[student])
    return DistilledClassifier(RecordingTeacher(), student, **params)


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
    assert len(judged) > 2
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
    after = LOG[judged[-1][0] + 1 :]
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


# ---- the candidates


def sharpen_by_hand(P, T):
    powers = (P + 0.01) ** (1 / T)
    return powers / powers.sum(axis=1, keepdims=True)


def temperature_by_hand(P, codes, w):
    K = P.shape[1]
    mass = np.array([w[codes == k].sum() for k in range(K)])[codes]
    target = np.repeat(1 / (mass + 2) / (K - 1), K).reshape(-1, K)
    target[np.arange(len(codes)), codes] = (mass + 1) / (mass + 2)
    grid = np.geomspace(0.05, 20, 400)
    for _ in range(4):
        losses = [-w @ (target * np.log(sharpen_by_hand(P, T))).sum(axis=1) for T in grid]
        best = int(np.argmin(losses))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
        grid = np.linspace(low, high, 41)
    return grid[20]


def trial_by_hand(X, y, w, splits, settings, student):
    """Losses and errors (settings, rows) on the last fold, labels from the others."""
    train, test = splits[-1]
    classes = np.unique(y)
    codes = np.searchsorted(classes, y)
    P = np.full((len(y), len(classes)), np.nan)
    for part, held in splits[:-1]:
        part, held = np.intersect1d(part, train), np.intersect1d(held, train)
        teacher = LogisticRegression(C=0.05).fit(X[part], y[part], w[part])
        P[held] = teacher.predict_proba(X[held])
    temperature = temperature_by_hand(P[train], codes[train], w[train])
    Q = sharpen_by_hand(P[train], temperature)
    hard = np.eye(len(classes))[codes[train]]
    losses, errors = [], []
    for alpha, T in settings:
        taught = clone(student)
        if isinstance(student, SoftmaxStudent):
            taught.set_params(alpha=alpha, temperature=T)
            labels = pd.DataFrame(Q if alpha else hard, columns=classes)
            taught.fit(X[train], y[train], sample_weight=w[train], soft_targets=labels)
            proba = taught.predict_proba(X[test])
        else:
            target = Q ** (1 / T) / (Q ** (1 / T)).sum(axis=1, keepdims=True)
            target = alpha * target + (1 - alpha) * hard
            rows = np.repeat(train, len(classes))
            taught.fit(X[rows], np.tile(classes, len(train)), (w[train, None] * target).ravel())
            if not hasattr(taught, "predict_proba"):
                errors.append((taught.predict(X[test]) != y[test]).astype(float))
                losses.append(errors[-1])
                continue
            proba = taught.predict_proba(X[test]) ** T
            proba /= proba.sum(axis=1, keepdims=True)
        losses.append(-np.log(proba[np.arange(len(test)), codes[test]]))
        errors.append((proba.argmax(axis=1) != codes[test]).astype(float))
    teacher = LogisticRegression(C=0.05).fit(X[train], y[train], w[train])
    Q = sharpen_by_hand(teacher.predict_proba(X[test]), temperature)
    own = -np.log(Q[np.arange(len(test)), codes[test]])
    if not hasattr(student, "predict_proba"):
        own = Q.argmax(axis=1) != codes[test]
    return np.array(losses), np.array(errors), np.average(own, weights=w[test])


TRIALS = {
    "native": (
        {},
        SoftmaxStudent(l2=1e-2),
        [(0.0, 1.0), (0.5, 1.0), (0.5, 3.0)],
    ),
    "expansion": ({}, LogisticRegression(tol=1e-9, max_iter=1000), [(0.0, 1.0), (0.5, 1.0)]),
    "decision": ({}, LinearSVC(tol=1e-9, max_iter=100000), [(0.0, 1.0), (0.5, 1.0)]),
    "alpha": (
        {"alpha": 0.7},
        SoftmaxStudent(l2=1e-2),
        [(0.7, T) for T in (1.0, 0.5, 2.0, 3.0, 5.0)],
    ),
    "expansion alpha": (
        {"alpha": 1.0},
        LogisticRegression(tol=1e-9, max_iter=1000),
        [(1.0, T) for T in (1.0, 0.5, 2.0, 3.0, 5.0)],
    ),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", TRIALS)
def test_candidates_are_those_of_the_trial_by_hand(name, weighted):
    params, student, settings = TRIALS[name]
    # with the other seed the errors of the two differ
    X, y = overlapping(160, seed=9 if name == "decision" else 0)
    y = np.array(["a", "b", "c"])[y]
    w = np.random.default_rng(0).uniform(0.3, 2, 160) if weighted else None
    splits = list(KFold(4, shuffle=True, random_state=0).split(X))
    model = DistilledClassifier(
        LogisticRegression(C=0.05), student, cv=splits, augmentation=None, **params
    )
    model.set_params(random_state=0)
    quietly(model, X, y, sample_weight=w)
    table = model.candidates_
    assert list(zip(table["alpha"], table["temperature"], strict=True)) == settings
    ones = np.ones(160) if w is None else w
    losses, errors, teacher_loss = trial_by_hand(X, y, ones, splits, settings, student)
    share = ones[splits[-1][1]] / ones[splits[-1][1]].sum()
    for values, loss, gain, error in (
        (losses, "loss", "gain", "gain_error"),
        (errors, None, "accuracy_gain", "accuracy_gain_error"),
    ):
        if loss:
            assert_allclose(table[loss], values @ share, rtol=1e-4)
        gains = values[0] - values
        means = gains @ share
        assert_allclose(table[gain], means, rtol=1e-3, atol=1e-6)
        by_hand = [
            np.sqrt(
                sum(s**2 * (g - mean) ** 2 for s, g in zip(share, row, strict=True))
                / (1 - sum(share**2))
            )
            for row, mean in zip(gains, means, strict=True)
        ]
        assert_allclose(table[error], by_hand, rtol=1e-3, atol=1e-7)
        if not weighted:
            assert_allclose(by_hand, gains.std(axis=1, ddof=1) / np.sqrt(gains.shape[1]))
    assert (table["n_augmented"] == 0).all()
    sources = ["cv"] * len(settings)
    if not params:
        sources[0] = "hard"
    assert table["label_source"].tolist() == sources
    # the least loss; T other than 1 where it is better by one and a half standard errors (than hard
    # labels, if those are better than the best at T = 1)
    loss = losses @ share
    soft = [i for i, (alpha, _) in enumerate(settings) if alpha]
    plain = min((i for i in soft if settings[i][1] == 1), key=lambda i: loss[i])
    first = plain if params or loss[plain] <= loss[0] else 0
    for i in soft:
        gains = losses[first] - losses[i]
        spread = np.sqrt(share**2 @ (gains - gains @ share) ** 2 / (1 - sum(share**2)))
        if settings[i][1] != 1 and gains @ share <= 1.5 * spread:
            loss[i] = np.inf
    # hard labels where they are better by half a standard error, by two if the teacher's loss is
    # less than theirs
    if not params:
        slack = 2 if teacher_loss < losses[0] @ share else 0.5
        level = (table["gain"] >= -slack * table["gain_error"] - 1e-12) & (
            table["accuracy_gain"] >= -slack * table["accuracy_gain_error"] - 1e-12
        )
        loss = np.where(level & (np.arange(len(loss)) > 0), loss, np.inf)
    chosen = int(loss.argmin()) if np.isfinite(loss).any() else 0
    assert_array_equal(np.flatnonzero(table["chosen"]), [chosen])
    assert (model.alpha_, model.temperature_) == settings[chosen]


@pytest.mark.parametrize("student", PLAIN_STUDENTS)
@pytest.mark.parametrize("data", ["noisy", "blobs"])
def test_candidates_are_consistent(student, data):
    X, y, *_ = noisy_labels(160) if data == "noisy" else overlapping()
    model = DistilledClassifier(LogisticRegression(), PLAIN_STUDENTS[student], random_state=0)
    table = quietly(model, X, y).candidates_
    assert len({len(column) for column in table.values()}) == 1
    assert table["label_source"][0] == "hard"
    assert_allclose(table["gain"], table["loss"][0] - table["loss"], atol=1e-12)
    for name in ("gain", "gain_error", "accuracy_gain", "accuracy_gain_error"):
        assert table[name][0] == 0
        assert (np.abs(table[name][1:]) >= 0).all()
    hard = table["label_source"] == "hard"
    assert (table["alpha"][hard] == 0).all()
    assert (table["n_augmented"][hard] == 0).all()
    (chosen,) = np.flatnonzero(table["chosen"])
    assert model.alpha_ == table["alpha"][chosen]
    assert model.temperature_ == table["temperature"][chosen]
    assert model.label_source_ == table["label_source"][chosen]
    assert model.n_augmented_ == table["n_augmented"][chosen]
    assert {"cv", "in-sample", "hard"} == set(table["label_source"])
    assert set(table["n_augmented"]) == {0, 480}


# ---- hard labels, soft labels


HARD = {
    "network": network(),
    "logistic": LogisticRegression(),
    "balanced": LogisticRegression(class_weight="balanced"),
    "native": SoftmaxStudent(l2=1e-2),
    "tree": DecisionTreeClassifier(max_depth=3, random_state=0),
    "pipeline": make_pipeline(StandardScaler(), network(class_weight="balanced")),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("student", HARD)
def test_hard_labels_win_where_the_teacher_is_noise(student, weighted):
    X, y = blobs(240, 3, spread=1.0)
    keep = (y > 0) | (np.arange(240) % 2 == 0)
    X, y = X[keep], np.array(["a", "b", "c"])[y[keep]]
    student = HARD[student]
    w = np.random.default_rng(0).uniform(0.3, 2, len(y)) if weighted else None
    key = f"{student.steps[-1][0]}__sample_weight" if hasattr(student, "steps") else "sample_weight"
    teacher = make_pipeline(StandardScaler(), Noise())
    model = DistilledClassifier(teacher, student, random_state=0)
    with pytest.warns(NoGainWarning, match="did not pay") as record:
        model.fit(X, y, sample_weight=w)
    assert len(record) == 1
    assert (model.label_source_, model.alpha_, model.temperature_) == ("hard", 0.0, 1.0)
    assert model.n_augmented_ == 0
    assert np.isnan(model.copy_share_)
    plain = clone(student)
    plain.fit(X, y, **({key: w} if weighted else {}))
    assert_allclose(model.predict_proba(X), plain.predict_proba(X), rtol=1e-7, atol=1e-12)
    assert_array_equal(model.predict(X), plain.predict(X))
    assert (model.candidates_["gain"][1:] < 0).all()


def test_hard_labels_with_class_weights():
    X, y = blobs(240, 3, spread=1.0)
    weights = {0: 1.0, 1: 3.0, 2: 0.5}
    student = LogisticRegression(tol=1e-9, max_iter=1000)
    model = DistilledClassifier(Noise(), student, class_weight=weights, random_state=0)
    with pytest.warns(NoGainWarning):
        model.fit(X, y)
    plain = clone(student).set_params(class_weight=weights).fit(X, y)
    assert_allclose(model.predict_proba(X), plain.predict_proba(X), rtol=1e-5)


@pytest.mark.parametrize("student", ["network", "expansion", "native"])
@pytest.mark.parametrize("frozen", [False, True])
def test_soft_labels_win_where_the_teacher_knows(student, frozen):
    X, y, coef = noisy_labels(300, 20)
    teacher = Oracle(coef)
    if frozen:
        teacher = FrozenEstimator(teacher.fit(X, y))
    student = {
        "network": network(max_iter=600, early_stopping=False),
        "expansion": LogisticRegression(C=1e4, max_iter=1000),
        "native": SoftmaxStudent(l2=1e-4),
    }[student]
    model = DistilledClassifier(teacher, student, augmentation=None, random_state=0).fit(X, y)
    table = model.candidates_
    # the labels of this teacher are the truth, in-sample too
    assert model.label_source_ in ({"frozen"} if frozen else {"cv", "in-sample"})
    assert model.alpha_ in (0.5, 1.0)
    (chosen,) = np.flatnonzero(table["chosen"])
    assert table["gain"][chosen] > 2 * table["gain_error"][chosen]
    fresh, fresh_y, _ = noisy_labels(4000, 20)
    truth = Oracle(coef).fit(fresh, fresh_y).predict_proba(fresh)
    hard = clone(student).fit(X, y)
    off = [np.abs(m.predict_proba(fresh) - truth).mean() for m in (model, hard)]
    assert off[0] < 0.7 * off[1]


class SureOfItsOwn(Oracle):
    """Knows the truth about the rows it was fitted on, but is too sure of it; of others nothing."""

    def fit(self, X, y, sample_weight=None):
        self.known_ = values_in(X)
        return super().fit(X, y)

    def predict_proba(self, X):
        P = super().predict_proba(X) ** 4
        P /= P.sum(axis=1, keepdims=True)
        new = [not values_in(row) <= self.known_ for row in np.asarray(X)]
        P[new] = 0.5
        return P


def test_a_network_of_in_sample_labels_is_calibrated():
    X, y, coef = noisy_labels(600, 12)
    student = network(max_iter=2000, early_stopping=False)
    params = {"temperature": 1.0, "augmentation": None, "random_state": 0}
    base = DistilledClassifier(SureOfItsOwn(coef), student, **params)
    model = clone(base).fit(X, y)
    assert model.label_source_ == "in-sample"
    assert model.student_temperature_ > 1.1, model.student_temperature_
    T, fresh = model.student_temperature_, noisy_labels(2000, 12)[0]
    own = model.student_.predict_proba(fresh) ** (1 / T)
    proba = own / own.sum(axis=1, keepdims=True)
    assert_allclose(model.predict_proba(fresh), proba, rtol=1e-5)
    assert_allclose(np.exp(model.predict_log_proba(fresh)), proba, rtol=1e-5)
    logits = model.student_.decision_function(fresh) / T
    assert_allclose(model.decision_function(fresh), logits, rtol=1e-5)
    assert_array_equal(model.predict(fresh), model.student_.predict(fresh))
    # and this is better
    truth = Oracle(coef).fit(X, y).predict_proba(fresh)
    plain = model.student_.predict_proba(fresh)
    assert -(truth * np.log(proba)).sum() < -(truth * np.log(plain)).sum()

    weighted = clone(student).set_params(class_weight="balanced")
    for change in ({"calibration": None}, {"class_weight": "balanced"}, {"student": weighted}):
        other = clone(base).set_params(**change).fit(X, y)
        assert other.label_source_ == "in-sample"
        assert other.student_temperature_ == 1.0
    scaled = clone(base).fit(X, y, sample_weight=np.full(600, 1e-3))
    assert scaled.student_temperature_ == pytest.approx(T, rel=1e-3)


def test_labels_of_rows_not_seen_leave_the_network_as_it_is():
    X, y, coef = noisy_labels(300, 20)
    model = DistilledClassifier(Oracle(coef), network(max_iter=600), cv=3, augmentation=None)
    model.set_params(random_state=0).fit(X, y)
    assert model.label_source_ == "cv"
    assert model.student_temperature_ == 1.0


def test_soft_labels_as_good_as_hard_ones_are_taken():
    # hard ones are for where they are better: here neither makes an error
    X, y = blobs(200, 2, spread=0.3)
    model = DistilledClassifier(LogisticRegression(), LinearSVC(), augmentation=None)
    model.set_params(random_state=0).fit(X, y)
    assert (model.candidates_["loss"] == 0).all()
    assert model.label_source_ != "hard"


def test_what_is_tried_in_brief_counts_by_what_it_adds():
    X, y = overlapping(40, 2)
    rows = Rows(X, y, None, None, {"teacher": {}, "student": {}}, None)
    lesson = partial(Lesson, teacher=None, classes=np.array([0, 1]))
    trial = _Trial(
        network(), "native", rows, lambda r, _: lesson(r), 0, *np.split(np.arange(40), 2)
    )
    plain, *others = (Setting(0.5, T, "own") for T in (1.0, 2.0, 3.0))
    numbers = np.random.default_rng(0).uniform(size=(2, 4, 20))
    trial.losses[plain], trial.mistakes[plain] = numbers[:, 0]
    trial.log_proba[plain] = "at length"
    ran = []

    def run(settings, n_jobs, effort):
        ran.append((settings, effort))
        for number, setting in enumerate(settings, 1):
            trial.losses[setting], trial.mistakes[setting] = numbers[:, number]
            trial.log_proba[setting] = "in brief"

    trial.run = run
    trial.run_beside(plain, others, None)
    ((settings, effort),) = ran
    assert settings == [plain, *others]
    assert effort < 0.2
    for noted, (known, brief, *each) in zip((trial.losses, trial.mistakes), numbers, strict=True):
        assert_allclose(noted[plain], known)
        for setting, values in zip(others, each, strict=True):
            assert_allclose(noted[setting], known + values - brief)
    assert set(trial.log_proba.values()) == {"at length"}
    for failed in (0, 1):  # at length, in brief
        numbers[:, failed] = np.inf
        trial.losses[plain], trial.mistakes[plain] = numbers[:, 0]
        trial.run_beside(plain, others, None)
        assert all((trial.losses[setting] == np.inf).all() for setting in others)


def test_transfer_rows_are_taken_where_rows_are_few_and_the_teacher_knows():
    X, y, coef = noisy_labels(120, 30)
    student = TwoLayerPGDClassifier(4, random_state=0)
    model = DistilledClassifier(Oracle(coef), student, random_state=0).fit(X, y)
    assert model.n_augmented_ == 360
    with_more = model.candidates_["n_augmented"] > 0
    assert_array_equal(model.candidates_["chosen"], with_more)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_one_loss_for_all_candidates_is_that_of_each(n_classes, monkeypatch):
    X, y = overlapping(150, n_classes)
    model = DistilledClassifier(GaussianNB(), network(), random_state=0, augmentation=None)
    together = quietly(clone(model), X, y).candidates_["loss"]
    monkeypatch.setattr("sklearn_kd._batch.JOINT_BYTES", 0)
    assert_allclose(quietly(model, X, y).candidates_["loss"], together, rtol=1e-9)


class Undefined(SoftmaxStudent):
    def predict_proba(self, X):
        return np.full((len(X), 3), np.nan)


def test_students_whose_probabilities_are_not_numbers_are_told():
    X, y = overlapping(150)
    model = DistilledClassifier(LogisticRegression(), Undefined(), random_state=0)
    with pytest.raises(ValueError, match="Undefined are not finite on held-out rows"):
        model.fit(X, y)


@pytest.mark.parametrize("n", [80, 150])
def test_row_expansion_at_a_temperature_has_labels_of_rows_not_seen(n):
    X, y = overlapping(n)
    model = DistilledClassifier(RandomForestClassifier(10), LogisticRegression(), temperature=2.0)
    quietly(model.set_params(augmentation=None, random_state=0), X, y)
    if n == 80:
        assert (model.label_source_, model.alpha_) == ("oob", 1.0)
    else:
        assert set(model.candidates_["label_source"]) == {"hard", "oob", "in-sample"}


@pytest.mark.parametrize("n_augmented", [10, 300])
def test_as_many_rows_as_are_asked_for_must_be_new(n_augmented):
    grid = np.array(list(itertools.product(range(5), range(6), range(6))), dtype=float)
    X = grid[np.random.RandomState(0).permutation(180)[:130]]
    model = DistilledClassifier(LogisticRegression(), LogisticRegression(), alpha=0.5)
    model.set_params(temperature=1.0, n_augmented=n_augmented, random_state=0)
    y = (X.sum(axis=1) > 6).astype(int)
    if n_augmented == 10:
        assert model.fit(X, y).candidates_["n_augmented"].tolist() == [0, 10]
    else:
        with pytest.warns(TransferRowsWarning, match="n_augmented=300 with augmentation='auto'"):
            model.fit(X, y)
        assert model.candidates_ is None


# ---- what it costs


@pytest.mark.parametrize("student", ["native", "expansion"])
def test_a_trial_one_by_one_trains_on_twice_the_rows_at_most(student):
    X, y = overlapping(240, 2)

    class Counting(StandardScaler):
        def fit_transform(self, X, y=None):
            LOG.append(len(X))
            return super().fit_transform(X)

    last = {"native": SoftmaxStudent(l2=1e-2), "expansion": LogisticRegression()}[student]
    model = DistilledClassifier(GaussianNB(), make_pipeline(Counting(), last), random_state=0)
    model = quietly(model, X, y)
    *trial, final = LOG
    assert sorted(trial)[-1] > 200  # with transfer rows
    assert sum(trial) <= 2 * 240 + len(trial)
    assert final == 240 + model.n_augmented_


# ---- numbers are honoured


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
    assert set(model.candidates_["alpha"][~hard]) <= (
        {0.25, 0.5, 1.0} if with_temperature else {1.0}
    )
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


# ---- too few rows


def few(n=99):
    X, y = overlapping(100)
    return X[:n], y[:n]


CONTAINERS = {
    "array": lambda X: X,
    "float32": lambda X: X.astype(np.float32),
    "list": lambda X: X.tolist(),
    "frame": lambda X: pd.DataFrame(X, columns=list("abc")),
    "csr": sp.csr_matrix,
    "csc": sp.csc_array,
}


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


# ---- weights


def weighted_and_copied(student, teacher, times, **params):
    X, y = overlapping(150)
    part = PLAIN_STUDENTS[student]
    if student == "expansion":
        part = LogisticRegression(tol=1e-10, max_iter=2000)
    model = DistilledClassifier(teacher, part, random_state=0, **params)
    copied = quietly(clone(model), X.repeat(times, 0), y.repeat(times))
    return quietly(model, X, y, sample_weight=times.astype(float)), copied, X


TIMES = {"two": np.full(150, 2), "some": np.random.default_rng(0).integers(1, 4, size=150)}
BY_THEMSELVES = {"loo": LeaveOneOut(C=0.1), "kernel": KernelTeacher()}


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize(
    ("student", "teacher"),
    [("expansion", "loo"), ("native", "loo"), ("network", "loo"), ("network", "kernel")],
)
def test_a_weight_of_k_is_k_copies(student, teacher, times):
    weighted, copied, X = weighted_and_copied(
        student, BY_THEMSELVES[teacher], TIMES[times], augmentation=None
    )
    assert (weighted.alpha_, weighted.label_source_) == (copied.alpha_, copied.label_source_)
    for name in ("loss", "gain", "accuracy_gain"):
        assert_allclose(weighted.candidates_[name], copied.candidates_[name], rtol=1e-5, atol=1e-7)
    assert_allclose(weighted.predict_proba(X), copied.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("times", TIMES)
def test_standard_errors_take_a_weight_of_k_for_k_copies(times):
    # hard labels are preferred by standard errors: were these others, so could the choice be
    weighted, copied, _ = weighted_and_copied(
        "expansion", BY_THEMSELVES["loo"], TIMES[times], augmentation=None
    )
    for name in ("gain_error", "accuracy_gain_error"):
        assert_allclose(weighted.candidates_[name], copied.candidates_[name], rtol=1e-4)


@pytest.mark.parametrize("cv", ["auto", 4])
@pytest.mark.parametrize("student", PLAIN_STUDENTS)
def test_a_weight_of_zero_is_absence(student, cv):
    X, y = overlapping(200)
    w = np.random.default_rng(0).integers(0, 4, size=200).astype(float)
    keep = w > 0
    model = DistilledClassifier(
        LogisticRegression(), PLAIN_STUDENTS[student], cv=cv, random_state=0
    )
    absent = quietly(clone(model), X[keep], y[keep], sample_weight=w[keep])
    quietly(model, X, y, sample_weight=w)
    assert_array_equal(model.predict_proba(X), absent.predict_proba(X))
    for name, column in model.candidates_.items():
        assert_array_equal(column, absent.candidates_[name])


def test_the_order_of_the_rows_does_not_matter():
    X, y = overlapping(150)
    order = np.random.default_rng(0).permutation(150)
    part = LogisticRegression(tol=1e-10, max_iter=2000)
    model = DistilledClassifier(LeaveOneOut(), part, augmentation=None, random_state=0)
    other = quietly(clone(model), X[order], y[order])
    quietly(model, X, y)
    assert_allclose(model.candidates_["loss"], other.candidates_["loss"], rtol=1e-5)
    assert_allclose(model.predict_proba(X), other.predict_proba(X), atol=1e-6)


# ---- candidates that fail


class Picky(LogisticRegression):
    """Student that refuses hard labels, soft ones, all of them, or none."""

    def __init__(self, refuses="none", C=1.0):
        super().__init__(C=C)
        self.refuses = refuses

    def fit(self, X, y, sample_weight=None):
        is_hard = sample_weight is None or (np.asarray(sample_weight) == 1).all()
        if self.refuses == "all" or self.refuses == ("hard" if is_hard else "soft"):
            raise ArithmeticError(f"no {self.refuses} labels")
        return super().fit(X, y, sample_weight)


def test_soft_candidates_that_all_fail_say_why():
    X, y = overlapping()
    model = DistilledClassifier(LogisticRegression(), Picky("soft"), random_state=0)
    with pytest.raises(ArithmeticError, match="no soft labels"):
        model.fit(X, y)
    assert not hasattr(model, "student_")


def test_a_hard_candidate_that_fails_leaves_soft_ones():
    X, y = overlapping()
    model = DistilledClassifier(LogisticRegression(), Picky("hard"), random_state=0).fit(X, y)
    assert model.label_source_ in ("cv", "in-sample")
    assert np.isinf(model.candidates_["loss"][0])
    assert np.isfinite(model.candidates_["loss"][1:]).all()


def test_a_soft_candidate_that_fails_leaves_other_soft_ones():
    class NoHeat(SoftmaxStudent):
        def fit(self, X, y, sample_weight=None, soft_targets=None):
            if self.temperature in bad:
                raise ArithmeticError("too hot")
            return super().fit(X, y, sample_weight, soft_targets)

    X, y = overlapping()
    model = DistilledClassifier(LogisticRegression(), NoHeat(l2=1e-2), alpha=0.7, random_state=0)
    for bad in ({0.5}, {3.0, 5.0}, {0.5, 1.0, 2.0}):  # the first of them too
        model.fit(X, y)
        plain = model.candidates_["n_augmented"] == 0
        failed = np.isinf(model.candidates_["loss"][plain])
        assert set(model.candidates_["temperature"][plain][failed]) == bad
        assert model.temperature_ not in bad


def test_all_candidates_failing_is_the_error_of_one():
    X, y = overlapping()
    model = DistilledClassifier(LogisticRegression(), Picky("all"), random_state=0)
    with pytest.raises(ArithmeticError, match="no all labels"):
        model.fit(X, y)
    assert not fitted_names(model)
    diverging = network(learning_rate=1e30)
    with pytest.raises(DivergenceError):
        DistilledClassifier(LogisticRegression(), diverging, random_state=0).fit(X, y)


# ---- containers


def text_frame(n=120):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=n),
            "colour": rng.choice(["red", "green", "blue"], n),
            "shape": pd.Categorical(rng.choice(["round", "square"], n)),
            "height": rng.normal(size=n).astype(np.float32),
            "age": rng.integers(0, 90, n),
        },
        index=rng.permutation(n) + 7,
    )
    noise = rng.normal(size=n)
    y = np.where(frame["size"] + (frame["colour"] == "red") + noise > 0.3, "yes", "no")
    return frame, y


@pytest.mark.parametrize("student", PLAIN_STUDENTS)
def test_frames_with_text(student):
    frame, y = text_frame()
    encode = make_column_transformer(
        (OneHotEncoder(), ["colour", "shape"]),
        (StandardScaler(), ["size", "age"]),
        sparse_threshold=0,
    )
    part = make_pipeline(encode, PLAIN_STUDENTS[student])
    teacher = make_pipeline(clone(encode), LogisticRegression())
    model = DistilledClassifier(teacher, part, random_state=0)
    quietly(model, frame, y)
    assert model.candidates_["n_augmented"].max() == 360
    assert model.score(frame, y) > 0.6
    assert_array_equal(model.feature_names_in_, frame.columns)
    index = quietly(clone(model), frame.reset_index(drop=True), pd.Series(y))
    assert_array_equal(index.predict_proba(frame), model.predict_proba(frame))
    model.set_params(alpha=0.5, augmentation="munge").fit(frame, y)
    assert model.n_augmented_ == 360


def test_sparse_matrices_and_lists_have_no_transfer_rows():
    X, y = overlapping()
    base = DistilledClassifier(LogisticRegression(), LogisticRegression(), random_state=0)
    dense = quietly(clone(base).set_params(augmentation=None), X, y)
    for container in ("csr", "csc", "list"):
        rows = CONTAINERS[container](X)
        model = quietly(clone(base), rows, y)
        assert model.n_augmented_ == 0
        assert (model.candidates_["n_augmented"] == 0).all()
        assert model.score(rows, y) > 0.5
    # a list holds out what an array does
    assert_array_equal(model.candidates_["loss"], dense.candidates_["loss"])
    assert_array_equal(model.predict_proba(X.tolist()), dense.predict_proba(X))


@pytest.mark.parametrize("container", [list, np.array, pd.Series])
def test_documents(container):
    rng = np.random.default_rng(0)
    y = np.arange(160) % 2
    words = [["good", "fine", "a", "the"], ["bad", "poor", "a", "the"]]
    documents = container([" ".join(rng.choice(words[k], 5)) + f" {i}" for i, k in enumerate(y)])
    part = make_pipeline(CountVectorizer(token_pattern="[a-z]+"), LogisticRegression())
    model = quietly(DistilledClassifier(part, part, random_state=0), documents, y)
    assert model.candidates_ is not None
    assert model.n_augmented_ == 0
    assert model.score(documents, y) > 0.9


def test_wide_tables_have_no_transfer_rows():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(120, 257)), np.arange(120) % 2
    base = DistilledClassifier(LogisticRegression(), LogisticRegression(), alpha=0.5)
    assert base.set_params(temperature=1.0).fit(X, y).candidates_ is None
    assert base.fit(X[:, :256], y).candidates_["n_augmented"].tolist() == [0, 360]


def with_infinite_values(n_infinite, **params):
    """No rows are made of a column with infinite values, which both estimators drop here."""
    X, y = overlapping(150)
    X = np.column_stack([X, np.where(np.arange(150) < n_infinite, np.inf, 1.0)])
    drop = make_column_transformer(("passthrough", [0, 1, 2]))
    part = make_pipeline(drop, SoftmaxStudent(l2=1e-2))
    return DistilledClassifier(part, part, alpha=1.0, temperature=1.0, **params), X, y


def test_rows_that_cannot_be_made_are_told():
    model, X, y = with_infinite_values(150, random_state=0)
    with pytest.warns(TransferRowsWarning, match="no transfer rows were made"):
        model.fit(X, y)
    assert model.n_augmented_ == 0


@pytest.mark.parametrize("seed", range(4))
def test_automatic_transfer_rows_never_fail(seed):
    # whether the row that cannot be used is held out or not
    model, X, y = with_infinite_values(1, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TransferRowsWarning)
        assert model.fit(X, y).n_augmented_ == 0


# ---- given labels, more rows


@pytest.mark.parametrize("student", PLAIN_STUDENTS)
@pytest.mark.parametrize("good", [True, False])
def test_given_labels_are_candidates(student, good):
    X, y, coef = noisy_labels(300, 20)
    part = {
        "network": network(max_iter=600, early_stopping=False),
        "expansion": LogisticRegression(C=1e4, max_iter=1000),
        "native": SoftmaxStudent(l2=1e-4),
    }[student]
    teacher = Oracle(coef).fit(X, y)
    Q = teacher.predict_proba(X)
    if not good:  # agrees with y as often as chance does
        y = (X @ coef > 0).astype(int)
        Q = np.where(np.random.default_rng(0).random((300, 1)) < 0.5, [0.9, 0.1], [0.1, 0.9])
    model = DistilledClassifier(RecordingTeacher(), part, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y, soft_targets=Q)
    assert not LOG
    assert model.label_source_ == ("given" if good else "hard")
    assert set(model.candidates_["label_source"]) == {"hard", "given"}
    assert (model.candidates_["n_augmented"] == 0).all()
    assert not hasattr(model, "teacher_")


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("student", PLAIN_STUDENTS)
def test_more_rows_and_munge_together(student, given):
    X, y = overlapping()
    more = np.random.default_rng(1).normal(size=(45, 3))
    Q = LogisticRegression(C=0.1).fit(X, y).predict_proba(X) if given else None
    model = DistilledClassifier(
        LogisticRegression(C=0.1), PLAIN_STUDENTS[student], augmentation="munge", n_augmented=90
    ).set_params(random_state=0)
    quietly(model, X, y, X_unlabeled=more, soft_targets=Q)
    assert set(model.candidates_["n_augmented"]) == {0, 90}
    assert set(model.candidates_["label_source"]) >= {"hard", "given" if given else "cv"}
    assert model.n_augmented_ == (0 if model.label_source_ == "hard" else 90)
    assert hasattr(model, "teacher_")
    assert model.score(X, y) > 0.5


def test_a_frozen_teacher_is_not_fitted_in_the_trial():
    X, y = overlapping()
    frozen = FrozenEstimator(RecordingTeacher().fit(X, y))
    LOG.clear()
    model = quietly(DistilledClassifier(frozen, network(), random_state=0), X, y)
    assert not any(entry[0] == "teacher" for entry in LOG)
    assert set(model.candidates_["label_source"]) == {"hard", "frozen"}
    assert model.teacher_.estimator is frozen.estimator
    assert model.label_temperature_ == 1.0


def test_a_frozen_teacher_with_more_classes():
    X, y = overlapping(240)
    teacher = LogisticRegression().fit(X, y)
    few = y != 1
    for student in PLAIN_STUDENTS.values():
        model = DistilledClassifier(FrozenEstimator(teacher), student, random_state=0)
        quietly(model, X[few], y[few])
        assert_array_equal(model.classes_, [0, 1, 2])
        assert model.predict_proba(X).shape == (240, 3)
        assert np.isfinite(model.candidates_["loss"]).all()


# ---- reproducible, or not fitted at all


class Interrupting(TransformerMixin, BaseEstimator):
    """Step that is interrupted at the n-th of all fits."""

    def fit(self, X, y=None):
        LOG.append("fit")
        if len(LOG) == STOP_AT[0]:
            raise KeyboardInterrupt
        return self

    def transform(self, X):
        return np.asarray(X)

    def __sklearn_is_fitted__(self):
        return True


STOP_AT = [0]


@pytest.mark.parametrize("student", PLAIN_STUDENTS)
@pytest.mark.parametrize("stop_at", [1, 2, 3])
@pytest.mark.parametrize("fitted_before", [False, True])
def test_an_interrupted_trial_leaves_nothing_behind(student, stop_at, fitted_before):
    X, y = overlapping()
    part = make_pipeline(Interrupting(), PLAIN_STUDENTS[student])
    model = DistilledClassifier(LogisticRegression(), part, random_state=0)
    before = {}
    if fitted_before:
        STOP_AT[0] = 0
        quietly(model.set_params(**FIXED), X[:50], y[:50])
        model.set_params(alpha="auto", temperature="auto", augmentation="auto")
        before = dict(vars(model))
    LOG.clear()
    STOP_AT[0] = stop_at
    with pytest.raises(KeyboardInterrupt):
        quietly(model, X, y)
    assert len(LOG) == stop_at
    if fitted_before:
        assert vars(model).keys() == before.keys()
        assert all(vars(model)[name] is before[name] for name in before)
    else:
        assert not fitted_names(model)
        with pytest.raises(NotFittedError):
            model.predict(X)


def test_interrupted_while_rows_are_made():
    X, y = overlapping()

    def interrupt(X, n_rows, seed):
        raise KeyboardInterrupt

    model = DistilledClassifier(LogisticRegression(), network(), augmentation=interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert not fitted_names(model)


@pytest.mark.slow
@pytest.mark.parametrize(
    "student",
    [TwoLayerPGDClassifier(4, max_iter=60), DecisionTreeClassifier(max_depth=4, max_features=1)],
)
def test_one_seed_makes_all_of_it_reproducible(student):
    X, y = overlapping()
    forest = RandomForestClassifier(20, max_depth=4)
    model = DistilledClassifier(forest, student, random_state=3)
    first = quietly(clone(model), X, y)
    for n_jobs in (None, 2):
        np.random.seed(n_jobs)
        with joblib.parallel_config("threading"):
            again = quietly(clone(model).set_params(n_jobs=n_jobs), X, y)
        assert_array_equal(again.predict_proba(X), first.predict_proba(X))
        for name, column in again.candidates_.items():
            assert_array_equal(column, first.candidates_[name])
    other = quietly(clone(model).set_params(random_state=4), X, y)
    assert not np.array_equal(other.candidates_["loss"], first.candidates_["loss"])
    assert model.random_state == 3
    assert forest.random_state is None


# ---- batched searches


@pytest.mark.parametrize("in_grid", [False, True])
@pytest.mark.parametrize("name", ["alpha", "temperature", "augmentation"])
def test_batched_searches_refuse_auto_by_name(name, in_grid):
    X, y = overlapping()
    model = DistilledClassifier(LogisticRegression(), network(), **FIXED)
    grid = {"student__width": [2, 4]}
    if in_grid:
        grid[name] = [FIXED[name], "auto"]
    else:
        model.set_params(**{name: "auto"})
    with pytest.raises(ValueError, match=f"{name}='auto' cannot be batched"):
        BatchedGridSearchCV(model, grid, cv=2).fit(X, y)
    pipeline = make_pipeline(StandardScaler(), model)
    grid = {f"distilledclassifier__{key}": values for key, values in grid.items()}
    with pytest.raises(ValueError, match=f"distilledclassifier__{name}='auto' cannot be batched"):
        BatchedGridSearchCV(pipeline, grid, cv=2).fit(X, y)


SEARCHES = {
    "munge": {"augmentation": "munge", "n_augmented": 80},
    "class_weight": {"class_weight": "balanced"},
    "class_prior": {"class_prior": "uniform"},
    "all": {
        "augmentation": "gibbs",
        "n_augmented": 80,
        "class_weight": "balanced",
        "class_prior": "training",
    },
    "none": {},
}


@pytest.mark.parametrize("name", SEARCHES)
def test_batched_searches_are_grid_searches(name):
    X, y = overlapping(120)
    keep = (y > 0) | (np.arange(120) % 3 == 0)
    X, y = X[keep], y[keep]
    params = {"sample_weight": np.linspace(0.5, 2, len(y))} if name == "all" else {}
    student = network(max_iter=30, early_stopping=False, n_init=1)
    model = DistilledClassifier(LogisticRegression(), student, random_state=0)
    model.set_params(**{**FIXED, **SEARCHES[name]})
    grid = {"alpha": [0.0, 0.4, 1.0]}
    if "class_weight" not in SEARCHES[name]:
        grid = [grid, {"alpha": [0.5], "temperature": [2.0]}]
    scoring = ["neg_log_loss", "accuracy"]
    options = {"cv": 2, "scoring": scoring, "refit": "neg_log_loss"}
    expected = GridSearchCV(model, grid, **options).fit(X, y, **params)
    search = BatchedGridSearchCV(model, grid, **options).fit(X, y, **params)
    for score in scoring:
        for fold in range(2):
            key = f"split{fold}_test_{score}"
            assert_allclose(search.cv_results_[key], expected.cv_results_[key], rtol=1e-6)
    # the settings differ: that they agree says something
    assert len(np.unique(expected.cv_results_["mean_test_neg_log_loss"].round(6))) > 2
    assert search.best_params_ == expected.best_params_
    best = search.best_estimator_
    assert_allclose(best.predict_proba(X), expected.best_estimator_.predict_proba(X), rtol=1e-6)
    assert best.n_augmented_ == SEARCHES[name].get("n_augmented", 0)
    assert best.alpha_ == search.best_params_["alpha"]


# ---- warnings point at the line that called fit


def warn_no_gain(X, y):
    return DistilledClassifier(Noise(), LogisticRegression(), random_state=0), {}, NoGainWarning


def warn_ignored_weights(X, y):
    model = DistilledClassifier(Oracle((1.0, 0.0, 0.0)), LogisticRegression(), **FIXED)
    return model, {"sample_weight": np.ones(len(y))}, IgnoredSampleWeightWarning


def warn_sliceable(X, y):
    model = DistilledClassifier(LogisticRegression(), LogisticRegression(), **FIXED)
    return model, {"X_unlabeled": X + 0.1}, TransferRowsWarning


def warn_in_sample(X, y):
    tree = DecisionTreeClassifier(random_state=0)
    return DistilledClassifier(tree, tree, cv="in-sample", **FIXED), {}, InSampleLabelsWarning


def warn_untested(X, y):
    part = LogisticRegression()
    cv = [(np.arange(30, 150), np.arange(30))]
    return DistilledClassifier(part, part, cv=cv, **FIXED), {}, UntestedRowsWarning


def warn_missing(X, y):
    part = LogisticRegression()
    y[0] = 2
    return DistilledClassifier(part, part, **FIXED), {}, MissingClassWarning


def warn_few(X, y):
    part, params = LogisticRegression(), {**FIXED, "augmentation": lambda X, n, seed: X[:3]}
    return DistilledClassifier(part, part, **params), {}, TransferRowsWarning


@pytest.mark.parametrize(
    "make",
    [
        warn_no_gain,
        warn_ignored_weights,
        warn_sliceable,
        warn_in_sample,
        warn_untested,
        warn_missing,
        warn_few,
    ],
)
def test_warnings_point_at_the_call_of_fit(make):
    X, y = blobs(150, 2, spread=1.0)
    model, params, category = make(X, y)
    with pytest.warns(category) as record:
        model.fit(X, y, **params)
    (warning,) = [r for r in record if issubclass(r.category, category)]
    assert warning.filename == __file__

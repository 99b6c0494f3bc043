"""What a DistilledClassifier teaches: calibrated labels, class weights, priors, transfer rows."""

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import DecisionOnly, SoftmaxStudent, blobs
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import TimeSeriesSplit
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
from sklearn_kd._label_calibration import (
    SMOOTHING,
    fit_student_temperature,
    fit_temperature,
    sharpen,
)
from sklearn_kd.exceptions import MissingClassWarning, NoGainWarning, TransferRowsWarning


class Recording(SoftmaxStudent):
    """Native student that keeps all that it was fitted on."""

    def fit(self, X, y, sample_weight=None, soft_targets=None):
        super().fit(X, y, sample_weight, soft_targets)
        self.rows_, self.labels_, self.weight_ = X, np.asarray(y), sample_weight
        return self


class LeaveOneOut(LogisticRegression):
    """Stands for a teacher with leave-one-out probabilities: its own, made cautious."""

    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        P = self.predict_proba(X) ** 0.5
        self.loo_proba_ = P / P.sum(axis=1, keepdims=True)
        return self


class Oracle(ClassifierMixin, BaseEstimator):
    """Teacher that knows the true logit of two classes, up to a factor."""

    def __init__(self, coef, scale=1.0):
        self.coef = coef
        self.scale = scale

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        f = self.scale * np.asarray(X) @ np.asarray(self.coef)
        return np.column_stack([expit(-f), expit(f)])

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def fixed(teacher, student, **params):
    """Classifier that chooses nothing."""
    params = {"alpha": 1.0, "temperature": 1.0, "augmentation": None, "random_state": 0, **params}
    return DistilledClassifier(teacher, student, **params)


def oracle_data(n, coef=(2.0, -1.0), seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, len(coef)))
    return X, (rng.random(n) < expit(X @ np.array(coef))).astype(int)


def frozen_teacher(n_classes=3):
    """A teacher of other rows of the same blobs."""
    X, y = blobs(300, n_classes)
    return FrozenEstimator(LogisticRegression(C=0.1).fit(X, y))


# ---- calibration


def sharpen_by_hand(P, T):
    """Loops; zeros where no row has the class."""
    S = np.zeros_like(P)
    for i, p in enumerate(P):
        for k in range(P.shape[1]):
            if P[:, k].max() > 0:
                S[i, k] = (p[k] + 0.01) ** (1 / T)
        S[i] /= S[i].sum()
    return S


def smoothed_loss(P, codes, w, T):
    """Weighted cross-entropy of the sharpened probabilities against Platt's targets."""
    K = P.shape[1]
    log_p = log_softmax(np.log(P + 0.01) / T, axis=1)
    total = 0.0
    for i, code in enumerate(codes):
        mass = w[codes == code].sum()
        for k in range(K):
            target = (mass + 1) / (mass + 2) if k == code else 1 / (mass + 2) / (K - 1)
            total -= w[i] * target * log_p[i, k]
    return total / w.sum()


def brute_temperature(P, codes, w=None):
    """Least of `smoothed_loss` on a grid, then on a finer one."""
    w = np.ones(len(P)) if w is None else w
    K = P.shape[1]
    mass = np.array([w[codes == k].sum() for k in range(K)])[codes]
    target = np.where(
        np.eye(K)[codes] == 1,
        ((mass + 1) / (mass + 2))[:, None],
        (1 / (mass + 2) / (K - 1))[:, None],
    )
    z = np.log(P + 0.01)
    grid = np.geomspace(0.05, 20, 401)
    for _ in range(4):
        losses = [-w @ (target * log_softmax(z / T, axis=1)).sum(axis=1) for T in grid]
        best = int(np.argmin(losses))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
        grid = np.linspace(low, high, 41)
    return grid[20]


@pytest.mark.parametrize("power", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_temperature_has_the_least_smoothed_loss(n_classes, power):
    rng = np.random.default_rng(n_classes)
    truth = rng.dirichlet(np.full(n_classes, 0.7), size=300)
    codes = np.array([rng.choice(n_classes, p=p) for p in truth])
    P = truth**power / (truth**power).sum(axis=1, keepdims=True)
    w = rng.uniform(0.1, 3, size=300)
    T = fit_temperature(P, codes, w, np.ones(n_classes, dtype=bool))
    assert (T < 1) == (power < 1) or power == 1.0
    least = smoothed_loss(P, codes, w, T)
    for other in np.concatenate([np.geomspace(0.05, 20, 25), T * np.array([0.99, 1.01])]):
        assert least <= smoothed_loss(P, codes, w, other) + 1e-12
    assert pytest.approx(brute_temperature(P, codes, w), rel=1e-4) == T


def test_temperature_of_weights_is_that_of_copies():
    rng = np.random.default_rng(0)
    P, codes = rng.dirichlet(np.ones(3), size=80), rng.integers(3, size=80)
    times = rng.integers(1, 4, size=80)
    known = np.ones(3, dtype=bool)
    copies = fit_temperature(P.repeat(times, 0), codes.repeat(times), np.ones(times.sum()), known)
    assert fit_temperature(P, codes, times.astype(float), known) == pytest.approx(copies, rel=1e-5)
    assert fit_temperature(P, codes, np.ones(80), known) != pytest.approx(copies, rel=1e-2)


@pytest.mark.parametrize("n_rows", [5, 50, 2000])
def test_student_temperature_has_the_least_penalised_loss(n_rows):
    rng = np.random.default_rng(0)
    P = rng.dirichlet(np.ones(3), size=n_rows)
    codes = np.array([rng.choice(3, p=p) for p in P])
    w = rng.uniform(0.2, 2, n_rows)
    sure = 3 * np.log(P)  # by T = 3
    T = fit_student_temperature(sure, codes, w)

    def loss(T):
        z = log_softmax(sure / T, axis=1)[np.arange(n_rows), codes]
        return -w @ z + np.log(T) ** 2 / (2 * 0.3**2)

    grid = np.geomspace(T / 1.01, T * 1.01, 101)
    assert abs(np.argmin([loss(t) for t in grid]) - 50) <= 1
    if n_rows == 5:  # few rows do not move it far
        assert abs(np.log(T)) < 0.15
    if n_rows == 2000:
        assert pytest.approx(3, rel=0.1) == T
    copies = np.repeat(np.arange(n_rows), 2)
    doubled = fit_student_temperature(sure[copies], codes[copies], w[copies] / 2)
    assert doubled == pytest.approx(T, rel=1e-5)


def test_temperature_is_blind_to_classes_that_the_teacher_does_not_know():
    rng = np.random.default_rng(0)
    P, codes = rng.dirichlet(np.ones(3), size=80), rng.integers(3, size=80)
    wider, known = np.insert(P, 1, 0.0, axis=1), np.array([True, False, True, True])
    T = fit_temperature(P, codes, np.ones(80), np.ones(3, dtype=bool))
    other = fit_temperature(wider, codes + (codes > 0), np.ones(80), known)
    assert other == pytest.approx(T, rel=1e-6)


@pytest.mark.parametrize("T", [0.3, 1.0, 4.0])
def test_sharpen_is_its_formula(T):
    assert SMOOTHING == 0.01
    P = np.array([[0.7, 0.3, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.2, 0.2, 0.0, 0.6]])
    known = np.array([True, True, False, True])
    S = sharpen(P.copy(), T, known)
    assert_allclose(S, sharpen_by_hand(P, T), rtol=1e-12)
    assert (S[:, 2] == 0).all()  # never seen
    assert (S[:, [0, 1, 3]] > 0).all()  # not voted for by chance
    assert_array_equal(sharpen(P, None, known), P)


TEACHERS = {
    "oob": (RandomForestClassifier(40, max_depth=2, random_state=0), "auto"),
    "loo": (LeaveOneOut(), "auto"),
    "cv": (GaussianNB(), "auto"),
    "cv 4": (LogisticRegression(C=0.01), 4),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", TEACHERS)
def test_labels_of_rows_not_seen_are_calibrated(name, weighted):
    teacher, cv = TEACHERS[name]
    X, y = blobs(150, 3, spread=4.0)
    w = np.random.default_rng(0).uniform(0.2, 2, size=150) if weighted else None
    model = fixed(teacher, Recording(l2=1e-3), cv=cv)
    raw = clone(model).set_params(calibration=None).fit(X, y, sample_weight=w)
    model.fit(X, y, sample_weight=w)
    assert model.label_source_ == raw.label_source_ == name.split()[0]
    T = brute_temperature(raw.student_.received_, y, w)
    assert abs(np.log(T)) > 0.05  # it does something
    assert model.label_temperature_ == pytest.approx(T, rel=1e-4)
    assert_allclose(
        model.student_.received_, sharpen_by_hand(raw.student_.received_, T), rtol=1e-3, atol=1e-6
    )
    assert raw.label_temperature_ == 1.0


@pytest.mark.parametrize(
    ("teacher", "cv", "source"),
    [
        (frozen_teacher(), "auto", "frozen"),
        (make_pipeline(StandardScaler(), frozen_teacher()), "auto", "frozen"),
        (LogisticRegression(C=0.01), "in-sample", "in-sample"),
        (LinearSVC(), "auto", "cv"),
        (DecisionOnly(), 3, "cv"),
    ],
    ids=["frozen", "frozen last step", "in-sample", "decision", "decision 3"],
)
def test_other_labels_are_not_calibrated(teacher, cv, source):
    X, y = blobs(150, 3, spread=4.0)
    model = fixed(teacher, Recording(l2=1e-3), cv=cv)
    raw = clone(model).set_params(calibration=None).fit(X, y, X_unlabeled=X[:20] + 0.1)
    model.fit(X, y, X_unlabeled=X[:20] + 0.1)
    assert model.label_source_ == source
    assert model.label_temperature_ == 1.0
    assert_array_equal(model.student_.received_, raw.student_.received_)


def test_given_labels_are_not_calibrated():
    X, y = blobs(150, 3, spread=4.0)
    Q = LogisticRegression(C=0.01).fit(X, y).predict_proba(X)
    model = fixed(LogisticRegression(), Recording(l2=1e-3)).fit(X, y, soft_targets=Q)
    assert_allclose(model.student_.received_, Q, rtol=1e-12)
    assert not hasattr(model, "label_temperature_")
    assert not hasattr(model, "teacher_")


def test_rows_that_no_fold_tests_are_not_calibrated():
    X, y = blobs(160, 3, spread=4.0)
    cv = TimeSeriesSplit(3)
    untested = next(cv.split(X))[0]
    model = fixed(LogisticRegression(C=0.01), Recording(l2=1e-3), cv=cv)
    raw = clone(model).set_params(calibration=None).fit(X, y).student_.received_
    model.fit(X, y)
    tested = np.setdiff1d(np.arange(160), untested)
    assert_array_equal(model.student_.received_[untested], np.eye(3)[y[untested]])
    T = brute_temperature(raw[tested], y[tested])
    assert model.label_temperature_ == pytest.approx(T, rel=1e-4)
    expected = sharpen_by_hand(raw[tested], T)
    assert_allclose(model.student_.received_[tested], expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("scale", "low", "high"), [(0.4, 0.25, 0.6), (1, 0.85, 1.2), (3, 2, 4)])
def test_temperature_undoes_what_the_teacher_does(scale, low, high):
    X, y = oracle_data(3000)
    student = LogisticRegression()
    model = fixed(Oracle((2.0, -1.0), scale), student).fit(X, y)
    assert low < model.label_temperature_ < high
    # the labels are nearer to the truth than the teacher's own
    truth, raw = (Oracle((2.0, -1.0), s).fit(X, y).predict_proba(X) for s in (1.0, scale))
    labels = fixed(Oracle((2.0, -1.0), scale), Recording(l2=1e-3)).fit(X, y).student_.received_
    if scale != 1:
        assert np.abs(labels - truth).mean() < 0.45 * np.abs(raw - truth).mean()


@pytest.mark.parametrize("n_more", [1, 2, 7])
def test_the_label_of_a_row_does_not_depend_on_the_rows_beside_it(n_more):
    X, y = blobs(150, 3)
    more, _ = blobs(60, 3, seed=0, spread=1.0)
    forest = RandomForestClassifier(30, random_state=0)
    labels = {}
    for n in (n_more, 60):
        model = fixed(forest, Recording(l2=1e-3)).fit(X, y, X_unlabeled=more[:n])
        labels[n] = model.student_.received_[150:]
    assert_allclose(labels[n_more], labels[60][:n_more], rtol=1e-12)


# ---- the loss: class weights, hard and soft parts, more rows


def hand_written(X, Q, weight, v):
    """Copies of each row for each class, of weight w_i v_k q_ik, row by row."""
    rows, labels, weights = [], [], []
    for i, k in itertools.product(range(len(X)), range(Q.shape[1])):
        if Q[i, k] > 0:
            rows.append(X[i])
            labels.append(k)
            weights.append(weight[i] * v[k] * Q[i, k])
    return np.array(rows), np.array(labels), np.array(weights)


def converged(**params):
    return LogisticRegression(tol=1e-10, max_iter=5000, **params)


@pytest.mark.parametrize("class_weight", [None, {0: 0.5, 1: 4.0, 2: 1.5}, {1: 3.0}, "balanced"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("more", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_loss_is_the_hand_written_one(class_weight, weighted, more, alpha):
    X, y = blobs(90, 3, spread=3.0)
    keep = (y > 0) | (np.arange(90) % 3 == 0)  # class 0 is rare
    X, y = X[keep], y[keep]
    n, rng = len(X), np.random.default_rng(1)
    w = rng.uniform(0.3, 2, n) if weighted else np.ones(n)
    unlabeled, made = rng.normal(size=(25, 3)), rng.normal(size=(31, 3))
    teacher = frozen_teacher()
    v = np.ones(3)
    if class_weight == "balanced":
        v = np.array([w.sum() / (3 * w[y == k].sum()) for k in range(3)])
    elif class_weight is not None:
        v = np.array([class_weight.get(k, 1.0) for k in range(3)])

    one_hot = np.eye(3)
    rows, Q, weight = [X], [alpha * teacher.predict_proba(X) + (1 - alpha) * one_hot[y]], [w]
    params, fit_params = {}, {"sample_weight": w} if weighted else {}
    if more:
        guess = teacher.predict_proba(unlabeled)
        rows += [unlabeled, made]
        Q += [
            alpha * guess + (1 - alpha) * one_hot[guess.argmax(axis=1)],
            teacher.predict_proba(made),  # no hard part
        ]
        weight += [np.full(25, w.mean()), np.full(31, w.mean())]
        params = {"augmentation": lambda X, n_rows, seed: made, "n_augmented": 31}
        fit_params["X_unlabeled"] = unlabeled
    rows, Q, weight = (np.concatenate(part) for part in (rows, Q, weight))
    copies = hand_written(rows, Q, weight, v)

    model = fixed(teacher, converged(), alpha=alpha, class_weight=class_weight, **params)
    model.fit(X, y, **fit_params)
    expected = converged().fit(*copies[:2], sample_weight=copies[2])
    assert_allclose(model.student_.coef_, expected.coef_, rtol=1e-5, atol=1e-7)

    model.set_params(student=SoftmaxStudent(l2=1e-2)).fit(X, y, **fit_params)
    expected = SoftmaxStudent(l2=1e-2).fit(*copies[:2], sample_weight=copies[2])
    assert_allclose(model.predict_proba(X), expected.predict_proba(X), rtol=1e-7)
    assert model.alpha_ == alpha


def test_class_weights_of_a_network_are_those_of_copies():
    X, y = blobs(90, 3, spread=3.0)
    teacher, v = frozen_teacher(), np.array([0.5, 4.0, 1.5])
    network = TwoLayerPGDClassifier(4, max_iter=60, early_stopping=False, random_state=0)
    model = fixed(teacher, network, alpha=0.3, class_weight=dict(enumerate(v))).fit(X, y)
    Q = 0.3 * teacher.predict_proba(X) + 0.7 * np.eye(3)[y]
    weight = Q @ v
    expected = clone(network).set_params(alpha=1.0)
    expected.fit(X, y, sample_weight=weight, soft_targets=Q * v / weight[:, None])
    assert_allclose(model.predict_proba(X), expected.predict_proba(X), rtol=1e-7)
    plain = fixed(teacher, network, alpha=0.3).fit(X, y)
    assert np.abs(plain.predict_proba(X) - model.predict_proba(X)).max() > 0.02


@pytest.mark.parametrize("T", [2.0, 5.0])
def test_class_weights_at_another_temperature_are_those_of_the_labels(T):
    X, y = blobs(120, 3)
    v = np.array([1.0, 4.0, 0.5])
    frozen = FrozenEstimator(LogisticRegression(C=0.1).fit(X, y))
    params = {"alpha": 1.0, "temperature": T, "class_weight": dict(enumerate(v))}
    model = fixed(frozen, SoftmaxStudent(l2=1e-2), **params).fit(X, y)
    weighted = frozen.predict_proba(X) * v
    by_hand = SoftmaxStudent(l2=1e-2, alpha=1.0, temperature=T)
    mass = weighted.sum(axis=1)
    by_hand.fit(X, y, sample_weight=mass, soft_targets=weighted / mass[:, None])
    assert_allclose(model.predict_proba(X), by_hand.predict_proba(X), rtol=1e-6)


def test_automatic_temperature_with_class_weights_is_one():
    X, y = blobs(150, 3)
    for student in (SoftmaxStudent(l2=1e-2), TwoLayerPGDClassifier(4, max_iter=60)):
        model = fixed(
            frozen_teacher(), student, alpha=0.5, temperature="auto", class_weight="balanced"
        ).fit(X, y)
        assert model.temperature_ == 1.0
        assert model.candidates_ is None


def test_temperature_above_one_keeps_the_two_parts():
    X, y = blobs(90, 3, spread=3.0)
    teacher, made = frozen_teacher(), np.random.default_rng(0).normal(size=(30, 3))
    model = fixed(
        teacher,
        Recording(l2=1e-2),
        alpha=0.3,
        temperature=2.0,
        augmentation=lambda X, n_rows, seed: made,
        n_augmented=30,
    ).fit(X, y)
    student, P = model.student_, teacher.predict_proba(np.concatenate([X, made]))
    assert (student.alpha, student.temperature) == (0.3, 2.0)
    assert_allclose(student.received_, P, rtol=1e-12)
    assert_array_equal(student.labels_[:90], y)
    assert_array_equal(student.labels_[90:], P[90:].argmax(axis=1))


# ---- class prior


def imbalanced(seed=0):
    X, y = blobs(240, 3, spread=3.0, seed=seed)
    keep = (y == 2) | (np.arange(240) % np.array([6, 3, 1])[y] == 0)
    return X[keep], np.array(["a", "b", "c"])[y[keep]]


STUDENTS = {
    "expansion": LogisticRegression(),
    "native": SoftmaxStudent(l2=1e-3),
    "tree": DecisionTreeClassifier(max_depth=3),
    "network": TwoLayerPGDClassifier(4, max_iter=60),
}


@pytest.mark.parametrize("student", STUDENTS)
@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("prior", ["uniform", "training", (0.2, 0.7, 0.1), (20, 70, 10)])
def test_prior_multiplies_the_probabilities(student, class_weight, prior):
    X, y = imbalanced()
    w = np.random.default_rng(0).uniform(0.3, 2, len(y))
    codes = np.searchsorted(["a", "b", "c"], y)
    model = fixed(
        LogisticRegression(), STUDENTS[student], alpha=0.4, cv=3, class_weight=class_weight
    )
    plain = clone(model).fit(X, y, sample_weight=w)
    model.set_params(class_prior=prior).fit(X, y, sample_weight=w)
    # the shares of the classes in what the student was taught, by hand
    recorded = clone(model).set_params(student=Recording(l2=1e-3)).fit(X, y, sample_weight=w)
    Q = recorded.student_.received_
    if class_weight is None:
        Q = 0.4 * Q + 0.6 * np.eye(3)[codes]
    weight = recorded.student_.weight_
    learnt = weight @ Q
    wanted = {
        "uniform": np.ones(3),
        "training": np.array([w[codes == k].sum() for k in range(3)]),
    }.get(prior, prior)
    expected = plain.predict_proba(X) * np.array(wanted) / learnt
    expected /= expected.sum(axis=1, keepdims=True)
    assert_allclose(model.predict_proba(X), expected, rtol=1e-6, atol=1e-12)
    assert np.abs(expected - plain.predict_proba(X)).max() > 1e-3


@pytest.mark.parametrize("student", STUDENTS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_answers_agree_under_a_prior(student, n_classes):
    X, y = imbalanced()
    if n_classes == 2:
        X, y = X[y != "b"], y[y != "b"]
    model = fixed(LogisticRegression(), STUDENTS[student], cv=3, class_prior="uniform")
    model.fit(X, y)
    proba = model.predict_proba(X)
    assert_allclose(proba.sum(axis=1), 1)
    assert_array_equal(model.predict(X), model.classes_[proba.argmax(axis=1)])
    with np.errstate(divide="ignore"):
        log_proba = np.log(proba)
    assert_allclose(model.predict_log_proba(X), log_proba, rtol=1e-9, atol=1e-12)
    if student == "tree":
        assert not hasattr(model, "decision_function")
        return
    decision = model.decision_function(X)
    if n_classes == 2:
        assert_allclose(expit(decision), proba[:, 1], rtol=1e-9)
    else:
        assert_allclose(softmax(decision, axis=1), proba, rtol=1e-9)
    # a prior for a rare class makes it more frequent
    before = clone(model).set_params(class_prior=None).fit(X, y).predict_proba(X)
    assert proba[:, 0].mean() > 1.2 * before[:, 0].mean()


def test_prior_after_row_expansion_at_a_temperature():
    X, y = imbalanced()
    model = fixed(LogisticRegression(), LogisticRegression(), temperature=2.0, cv=3)
    plain = clone(model).fit(X, y).predict_proba(X)
    Q = fixed(LogisticRegression(), Recording(l2=1e-3), cv=3).fit(X, y).student_.received_
    expected = plain / Q.mean(axis=0)
    expected /= expected.sum(axis=1, keepdims=True)
    model.set_params(class_prior="uniform").fit(X, y)
    assert_allclose(model.predict_proba(X), expected, rtol=1e-6)


@pytest.mark.parametrize("prior", [(0.5, 0.5), (0.2, 0.8)])
def test_prior_recovers_the_posterior_of_gaussians(prior):
    # classes N(-1, 1) and N(1, 1): the log-odds at x are 2 x + ln(prior odds)
    rng = np.random.default_rng(0)
    y = (np.arange(6000) % 10 == 0).astype(int)
    X = rng.normal(size=(6000, 1)) + 2 * y[:, None] - 1
    model = fixed(
        LogisticRegression(C=np.inf), LogisticRegression(C=np.inf), alpha=0.5, class_prior=prior
    ).fit(X, y)
    grid = np.linspace(-2, 2, 9)[:, None]
    odds = 2 * grid[:, 0] + np.log(prior[1] / prior[0])
    assert_allclose(model.decision_function(grid), odds, atol=0.25)
    assert_allclose(model.predict_proba(grid)[:, 1], expit(odds), atol=0.03)
    plain = clone(model).set_params(class_prior=None).fit(X, y)
    assert np.abs(plain.predict_proba(grid)[:, 1] - expit(odds)).max() > 0.3


def test_training_prior_undoes_class_weights():
    # labels that a logistic regression represents with any class weights
    X, y = oracle_data(400, (2.0, -3.0))
    teacher = FrozenEstimator(Oracle((2.0, -3.0)).fit(X, y))
    free = converged(C=np.inf)
    logit = X @ [2.0, -3.0]
    q = expit(logit).mean()
    model = fixed(teacher, free, class_weight={0: 1.0, 1: 5.0}).fit(X, y)
    assert_allclose(model.decision_function(X), logit + np.log(5), atol=1e-4)
    model.set_params(class_prior="training").fit(X, y)
    shift = np.log(y.mean() / (1 - y.mean())) - np.log(q / (1 - q))
    assert_allclose(model.decision_function(X), logit + shift, atol=1e-4)


def test_a_prior_of_zero_rules_a_class_out():
    X, y = imbalanced()
    model = fixed(LogisticRegression(), LogisticRegression(), cv=3, class_prior=[1, 0, 1])
    proba = model.fit(X, y).predict_proba(X)
    assert (proba[:, 1] == 0).all()
    assert_allclose(proba.sum(axis=1), 1)
    assert set(model.predict(X)) == {"a", "c"}


@pytest.mark.parametrize(
    "prior", [[0.5, 0.5], [1, -1, 1], [0, 0, 0], [np.nan, 1, 1], [np.inf, 1, 1], np.ones((3, 1))]
)
def test_bad_priors(prior):
    X, y = imbalanced()
    model = fixed(LogisticRegression(), LogisticRegression(), cv=3, class_prior=prior)
    with pytest.raises(ValueError, match="class_prior must be 3 non-negative numbers"):
        model.fit(X, y)


def test_a_prior_needs_probabilities():
    X, y = imbalanced()
    model = fixed(LogisticRegression(), LinearSVC(), cv=3, class_prior="uniform")
    with pytest.raises(TypeError, match="class_prior corrects probabilities"):
        model.fit(X, y)


# ---- transfer rows


@pytest.mark.parametrize("method", ["munge", "gibbs", "callable"])
@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_transfer_rows_have_calibrated_labels_and_no_hard_part(method, alpha):
    X, y = blobs(120, 3, spread=4.0)
    w = np.random.default_rng(0).uniform(0.3, 2, 120)
    calls = []

    def jitter(X, n_rows, seed):
        calls.append((X.copy(), n_rows, seed))
        rng = np.random.default_rng(seed)
        return X[rng.integers(len(X), size=n_rows)] + 0.1 * rng.normal(size=(n_rows, X.shape[1]))

    model = fixed(
        GaussianNB(),
        Recording(l2=1e-3),
        alpha=alpha,
        augmentation=jitter if method == "callable" else method,
        n_augmented=200,
    )
    raw = clone(model).set_params(augmentation=None, calibration=None, alpha=1.0)
    raw.fit(X, y, sample_weight=w)
    model.fit(X, y, sample_weight=w)
    student = model.student_
    assert model.n_augmented_ == 200
    assert len(student.rows_) == 320
    assert_array_equal(student.rows_[:120], X)
    assert not {tuple(row) for row in student.rows_[120:]} & {tuple(row) for row in X}
    # own rows: calibrated out-of-fold labels, mixed
    own = sharpen_by_hand(raw.student_.received_, model.label_temperature_)
    mixed = alpha * own + (1 - alpha) * np.eye(3)[y]
    assert_allclose(student.received_[:120], mixed, rtol=1e-9, atol=1e-12)
    # the others: the teacher's, calibrated by the same temperature
    teacher = GaussianNB().fit(X, y, sample_weight=w)
    theirs = sharpen_by_hand(teacher.predict_proba(student.rows_[120:]), model.label_temperature_)
    assert_allclose(student.received_[120:], theirs, rtol=1e-7, atol=1e-12)
    assert (student.alpha, model.alpha_) == (1.0, alpha)
    # their weight is the mean of the others
    assert_allclose(student.weight_, np.append(w, np.full(200, w.mean())))
    if method == "callable":
        ((rows, n_rows, seed),) = calls
        assert_array_equal(rows, X)
        assert n_rows == 200
        assert isinstance(seed, int)
        assert np.isnan(model.copy_share_)
    else:
        assert 0 <= model.copy_share_ < 1
    assert raw.n_augmented_ == 0
    assert np.isnan(raw.copy_share_)


def test_number_of_transfer_rows_is_three_times_the_rows():
    X, y = blobs(60, 2)
    model = fixed(LogisticRegression(), Recording(l2=1e-3), augmentation="munge").fit(X, y)
    assert model.n_augmented_ == 180
    assert len(model.student_.rows_) == 240
    assert model.student_.weight_ is None


def test_transfer_rows_start_from_unlabeled_rows_too():
    X, y = blobs(60, 2)
    unlabeled = X[:40] + 100.0
    given = []

    def take(X, n_rows, seed):
        given.append(X)
        return X[-n_rows:] + 0.5

    params = {"augmentation": take, "n_augmented": 10}
    model = fixed(LogisticRegression(), Recording(l2=1e-3), **params)
    model.fit(X, y, X_unlabeled=unlabeled)
    assert_array_equal(given[0], np.concatenate([X, unlabeled]))
    assert_array_equal(model.student_.rows_, np.concatenate([X, unlabeled, unlabeled[-10:] + 0.5]))
    assert model.n_augmented_ == 10
    # those that are made come from both
    model.set_params(augmentation="gibbs", n_augmented=200).fit(X, y, X_unlabeled=unlabeled)
    made = model.student_.rows_[100:]
    far = (made > 50).mean(axis=1)
    assert 0.2 < far.mean() < 0.6


def test_a_callable_gets_and_gives_frames():
    frame = pd.DataFrame(blobs(60, 2)[0], columns=list("abc")).set_index(np.arange(60) * 2)
    y = blobs(60, 2)[1]
    given = []

    def take(X, n_rows, seed):
        given.append(X)
        return X.sample(n_rows, random_state=seed) + 0.01

    params = {"augmentation": take, "n_augmented": 15}
    model = fixed(LogisticRegression(), Recording(l2=1e-3), **params).fit(frame, y)
    pd.testing.assert_frame_equal(given[0], frame)
    assert list(model.student_.rows_.columns) == ["a", "b", "c"]
    assert len(model.student_.rows_) == 75
    assert_array_equal(model.feature_names_in_, ["a", "b", "c"])


@pytest.mark.parametrize("n_made", [0, 7, 20, 33])
def test_a_callable_that_gives_another_number_of_rows(n_made):
    X, y = blobs(60, 2)
    made = np.random.default_rng(0).normal(size=(n_made, 3))
    model = fixed(
        LogisticRegression(), Recording(l2=1e-3), augmentation=lambda *_: made, n_augmented=20
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TransferRowsWarning)
        model.fit(X, y)
    used = len(model.student_.rows_) - 60
    assert used == min(n_made, 20)
    assert model.n_augmented_ == used
    assert_array_equal(model.student_.rows_[60:], made[:20])


def test_a_callable_in_the_wrong_container_is_told():
    X, y = blobs(60, 2)
    frame = pd.DataFrame(X, columns=list("abc"))
    model = fixed(LogisticRegression(), SoftmaxStudent(), augmentation=lambda X, n, s: X.to_numpy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the teacher, about names of columns
        with pytest.raises((TypeError, ValueError), match="augmentation"):
            model.fit(frame, y)


def test_a_callable_makes_rows_of_any_container():
    X, y = blobs(60, 2)
    params = {"augmentation": lambda X, n_rows, seed: X[:n_rows], "n_augmented": 20}
    model = fixed(LogisticRegression(), LogisticRegression(), **params)
    expected = clone(model).fit(X, y).predict_proba(X)
    for convert in (sp.csr_matrix, sp.csr_array, lambda X: X.tolist()):
        copy = clone(model).fit(convert(X), y)
        assert copy.n_augmented_ == 20
        assert_allclose(copy.predict_proba(convert(X)), expected, rtol=1e-5)


@pytest.mark.parametrize("method", ["munge", "gibbs"])
def test_sparse_matrices_have_no_transfer_rows(method):
    X, y = blobs(60, 2)
    model = fixed(LogisticRegression(), LogisticRegression(), augmentation=method)
    with pytest.raises(TypeError, match="sparse"):
        model.fit(sp.csr_matrix(X), y)


def full_factorial():
    """Like the car data: each combination of categories once."""
    levels = [["low", "med", "high"]] * 3 + [["2", "4", "more"]] * 2
    frame = pd.DataFrame(list(itertools.product(*levels)), columns=list("abcde"))
    y = np.where((frame["a"] == "low") | (frame["d"] == "more") & (frame["b"] != "high"), "y", "n")
    return frame, y


@pytest.mark.parametrize("method", ["munge", "gibbs"])
def test_a_table_of_all_combinations_has_no_transfer_rows(method):
    frame, y = full_factorial()
    part = make_pipeline(OneHotEncoder(), LogisticRegression())
    model = fixed(part, part, alpha=0.5, augmentation=method)
    with pytest.warns(TransferRowsWarning, match="0 transfer rows"):
        model.fit(frame, y)
    assert model.n_augmented_ == 0
    assert model.copy_share_ == 1.0
    plain = fixed(part, part, alpha=0.5).fit(frame, y)
    assert_allclose(model.predict_proba(frame), plain.predict_proba(frame), rtol=1e-9)


@pytest.mark.parametrize("alpha", ["auto", 0.5])
def test_automatic_transfer_rows_of_a_table_of_all_combinations(alpha):
    frame, y = full_factorial()
    part = make_pipeline(OneHotEncoder(), LogisticRegression())
    model = fixed(part, part, alpha=alpha, augmentation="auto")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoGainWarning)
        model.fit(frame, y)
    assert model.n_augmented_ == 0
    assert np.isnan(model.copy_share_)
    # in a trial there would be new rows, those held out: there are none for the fit on all rows
    if alpha == 0.5:
        assert model.candidates_ is None
    else:
        assert (model.candidates_["n_augmented"] == 0).all()


def test_transfer_rows_with_given_labels_and_unlabeled_rows():
    X, y = blobs(60, 3, spread=3.0)
    unlabeled = X[:25] + 0.05
    Q = np.random.default_rng(0).dirichlet(np.ones(3), size=60)
    Q[np.arange(60), y] += 1
    Q /= Q.sum(axis=1, keepdims=True)
    model = fixed(
        LogisticRegression(), Recording(l2=1e-3), alpha=0.5, augmentation="munge", n_augmented=80
    ).fit(X, y, soft_targets=Q, X_unlabeled=unlabeled)
    student, teacher = model.student_, LogisticRegression().fit(X, y)
    assert model.label_source_ == "given"
    assert model.n_augmented_ == 80
    assert_array_equal(student.rows_[60:85], unlabeled)
    one_hot = np.eye(3)
    assert_allclose(student.received_[:60], 0.5 * Q + 0.5 * one_hot[y], rtol=1e-12)
    P = teacher.predict_proba(student.rows_[60:])
    guess = one_hot[P[:25].argmax(axis=1)]
    assert_allclose(student.received_[60:85], 0.5 * P[:25] + 0.5 * guess, rtol=1e-5)
    assert_allclose(student.received_[85:], P[25:], rtol=1e-5)
    assert_allclose(model.teacher_.coef_, teacher.coef_)


def test_transfer_rows_of_a_teacher_with_decision_values():
    X, y = blobs(120, 3, spread=3.0)
    model = fixed(LinearSVC(), Recording(l2=1e-3), augmentation="munge", n_augmented=50)
    P = model.fit(X, y).student_.received_[120:]
    assert_allclose(P.sum(axis=1), 1)
    # one slope for all values, an offset for each class
    F = LinearSVC().fit(X, y).decision_function(model.student_.rows_[120:])
    odds = np.log(P[:, 1:] / P[:, :1]).T.ravel()
    design = np.column_stack([(F[:, 1:] - F[:, :1]).T.ravel(), np.repeat(np.eye(2), 50, axis=0)])
    theta, *_ = np.linalg.lstsq(design, odds)
    assert theta[0] > 0.5
    assert_allclose(design @ theta, odds, atol=1e-9)


def test_transfer_rows_do_not_shift_with_weights_of_zero():
    X, y = blobs(90, 2, spread=3.0)
    w = (np.arange(90) % 3 > 0).astype(float)
    model = fixed(LogisticRegression(), Recording(l2=1e-3), alpha=0.5, augmentation="gibbs")
    absent = clone(model).fit(X[w > 0], y[w > 0], sample_weight=w[w > 0])
    model.fit(X, y, sample_weight=w)
    assert_array_equal(model.student_.rows_, absent.student_.rows_)
    assert_array_equal(model.student_.received_, absent.student_.received_)


def test_a_class_of_one_row_with_transfer_rows():
    X, y = blobs(90, 2, spread=3.0)
    y[0] = 2
    model = fixed(LogisticRegression(), Recording(l2=1e-3), alpha=0.5, augmentation="munge")
    with pytest.warns(MissingClassWarning, match="one row each"):
        model.fit(X, y)
    assert_allclose(model.student_.received_[0], np.eye(3)[2])  # kept as it is
    assert_allclose(model.student_.received_.sum(axis=1), 1)

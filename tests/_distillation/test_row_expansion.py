"""Students without soft_targets learn from weighted copies of each row."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import AdaBoostClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sklearn_kd._utils import memory
from sklearn_kd._utils.sub_estimators import last_step
from tests._helpers.distillation import distil, three_classes


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


def test_balanced_class_weight_inside_a_student_counts_rows_and_not_copies():
    X, y = three_classes()
    X, y = X[y < 2][:60], y[y < 2][:60]
    Q = np.array([[0.9, 0.1], [0.4, 0.6]])[y]
    balanced = DecisionTreeClassifier(max_depth=2, class_weight="balanced", random_state=0)
    alone = distil(student=balanced).fit(X, y, soft_targets=Q)
    model = distil(student=AdaBoostClassifier(balanced, n_estimators=1))
    inner = model.fit(X, y, soft_targets=Q).student_.estimators_[0]
    np.testing.assert_allclose(inner.predict_proba(X), alone.student_.predict_proba(X))
    # a calibration undoes the weights, which the soft labels must not have
    student = CalibratedClassifierCV(balanced, cv=2)
    model = distil(student=student).fit(X, y, soft_targets=Q)
    rows, labels, weights = expand(X, y, Q)
    expected = clone(student).fit(rows, labels, sample_weight=weights)
    np.testing.assert_allclose(model.predict_proba(X), expected.predict_proba(X))


@pytest.mark.parametrize("convert", [np.asarray, sp.csr_array, pd.DataFrame, np.ndarray.tolist])
def test_copies_that_would_not_fit_are_not_made(convert, monkeypatch):
    X, y = three_classes()
    Q = np.eye(3)[y] * 0.7 + 0.1
    model = distil(student=DecisionTreeClassifier())
    monkeypatch.setattr(memory, "free_bytes", lambda: 3 * X.nbytes - 1)
    if convert is np.ndarray.tolist:  # of which only the pointers are copied
        model.fit(convert(X), y, soft_targets=Q)
        return
    with pytest.raises(MemoryError, match=r"450 copies of 150 rows.*float32"):
        model.fit(convert(X), y, soft_targets=Q)
    Q = np.where(np.eye(3)[y] == 1, 0.75, 0.0) + 0.25 * np.eye(3)[0]  # two copies at most
    model.fit(convert(X), y, soft_targets=Q)


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


def many_classes(n=400, n_classes=100, seed=0):
    """Rows of which each has a positive probability for each class."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    Q = softmax(X @ rng.normal(size=(4, n_classes)) * 1.5, axis=1)
    y = (np.cumsum(Q, axis=1) < rng.uniform(size=(n, 1))).sum(axis=1)
    y[:n_classes] = np.arange(n_classes)
    return X, y, Q


class Copies(ClassifierMixin, BaseEstimator):
    """Remembers the copies that it is fitted on."""

    def fit(self, X, y, sample_weight=None):
        self.X_, self.y_, self.weight_ = np.asarray(X), y, sample_weight
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])

    def labels_of(self, X, n_classes):
        """Return the soft labels of the rows X that the copies have."""
        at = {tuple(row): i for i, row in enumerate(X)}
        Q = np.zeros((len(X), n_classes))
        np.add.at(Q, ([at[tuple(row)] for row in self.X_], self.y_), self.weight_)
        return Q


@pytest.mark.parametrize("in_pipeline", [False, True])
@pytest.mark.parametrize("concentration", [0.1, 1.0, 5.0])
def test_a_row_of_many_classes_has_few_copies(in_pipeline, concentration):
    X, y, Q = many_classes()
    Q = softmax(np.log(Q) * concentration, axis=1)
    student = make_pipeline(Copies()) if in_pipeline else Copies()
    model = distil(student=student).fit(X, y, soft_targets=Q)
    copies = last_step(model.student_)
    counts = np.unique(copies.X_, axis=0, return_counts=True)[1]
    assert len(counts) == len(X)
    assert counts.max() <= 20
    received = copies.labels_of(X, 100)
    np.testing.assert_allclose(received.sum(axis=1), 1)
    assert (received[Q == 0] == 0).all()
    # the most probable classes are kept as they are
    order = np.argsort(-Q, axis=1)
    top = np.take_along_axis(Q, order, axis=1)
    n_kept = np.minimum((np.cumsum(top, axis=1) < 0.999).sum(axis=1) + 1, 15)
    for i in range(len(X)):
        kept = order[i, : n_kept[i]]
        np.testing.assert_allclose(received[i, kept], Q[i, kept], rtol=1e-12)
    if concentration == 5.0:  # confident labels have fewer
        assert counts.mean() < 15


def test_the_classes_drawn_do_not_change_the_expected_loss():
    X, y, Q = many_classes(4000)
    received = distil(student=Copies()).fit(X, y, soft_targets=Q).student_.labels_of(X, 100)
    assert (received > 0).sum(axis=1).max() <= 20
    # sums over rows of q times functions of the row: 1 and its columns
    functions = np.column_stack([np.ones(len(X)), X])
    gap = functions.T @ (received - Q)
    # of independent draws: a class that is drawn has the weight r / 5
    order = np.argsort(-Q, axis=1)
    is_kept = np.zeros(Q.shape, bool)
    np.put_along_axis(is_kept, order[:, :15], True, axis=1)
    tail = np.where(is_kept, 0, Q)
    r = tail.sum(axis=1, keepdims=True)
    error = np.sqrt(functions.T**2 @ (tail * (r / 5)))
    assert np.abs(gap / error).max() < 5
    assert (gap / error).std() < 1.1
    # a class in nobody's first ones is drawn too
    rare = np.full((4000, 60), 0.01)
    rare[:, 40:] = 0.03
    y = (np.cumsum(rare, axis=1) < np.random.default_rng(0).uniform(size=(4000, 1))).sum(axis=1)
    received = distil(student=Copies()).fit(X, y, soft_targets=rare).student_.labels_of(X, 60)
    np.testing.assert_allclose(received.mean(axis=0), rare[0], rtol=0.15)


def test_few_classes_have_all_their_copies():
    X, y, Q = many_classes(200, 20)
    received = distil(student=Copies()).fit(X, y, soft_targets=Q).student_
    assert len(received.y_) == 200 * 20
    np.testing.assert_allclose(received.weight_, Q.ravel(), rtol=1e-12)
    # 100 classes, of which each row has few
    X, y, Q = many_classes(200, 100)
    Q *= np.sort(Q, axis=1)[:, [-20]] <= Q
    Q /= Q.sum(axis=1, keepdims=True)
    received = distil(student=Copies()).fit(X, y, soft_targets=Q).student_
    np.testing.assert_allclose(received.labels_of(X, 100), Q, rtol=1e-12)


@pytest.mark.parametrize("convert", [np.asarray, sp.csr_array, pd.DataFrame])
def test_a_weight_equals_copies_of_a_row_of_many_classes(convert):
    X, y, Q = many_classes(200)
    k = np.random.default_rng(1).integers(1, 4, size=200)
    tree = DecisionTreeClassifier(max_depth=4, random_state=0)
    model = distil(student=tree, alpha=0.7)
    weighted = clone(model).fit(convert(X), y, sample_weight=k, soft_targets=Q)
    rows = np.repeat(np.arange(200), k)
    copied = clone(model).fit(convert(X[rows]), y[rows], soft_targets=Q[rows])
    np.testing.assert_allclose(
        weighted.predict_proba(convert(X)), copied.predict_proba(convert(X)), rtol=1e-9
    )

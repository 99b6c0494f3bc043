"""Training set of the student: given labels, unlabeled rows, class weights, mixed labels."""

import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from sklearn_kd import TwoLayerPGDClassifier
from sklearn_kd._utils.containers import stack_rows
from sklearn_kd.exceptions import SoftTargetsAlignmentWarning, TransferRowsWarning
from tests._helpers.data import blobs
from tests._helpers.distillation import (
    Recording,
    converged,
    distil,
    fixed,
    free_logistic,
    frozen_teacher,
    labels_of,
    three_classes,
)
from tests._helpers.estimators import SoftmaxStudent

# ---- soft targets and more rows


def test_soft_targets_as_array_or_labeled_frame():
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
    extra = labels.predict_labels(more)
    both = np.concatenate([labels.values if Q is None else Q, extra])
    hard = np.concatenate([y, labels.task.classes[extra.argmax(axis=1)]])
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
    color = pd.Categorical(["red", "blue"] * 50)
    frame = pd.DataFrame({"color": color, "x": x.astype(np.float32), "n": np.arange(100)})
    more = pd.DataFrame({"n": np.arange(9), "x": x[:9], "color": pd.Categorical(["red"] * 9)})
    both = stack_rows(frame, more)
    pd.testing.assert_series_equal(both.dtypes, frame.dtypes)
    assert both["color"].tolist() == frame["color"].tolist() + ["red"] * 9
    boosted = HistGradientBoostingClassifier(max_iter=3, categorical_features="from_dtype")
    y = np.where(frame["color"] == "red", "yes", "no")
    model = distil(boosted, boosted).fit(frame, y, X_unlabeled=more)
    assert model.score(frame, y) == 1
    assert both["n"].dtype == frame["n"].dtype
    more["color"] = pd.Categorical(["green"] * 9)
    with pytest.raises(ValueError, match=r"'color' of X_unlabeled has the categories \['green'\]"):
        distil(boosted, boosted).fit(frame, y, X_unlabeled=more)
    lacking = more.assign(color=pd.Categorical([None] * 9, categories=["green"]))
    assert stack_rows(frame, lacking)["color"].isna().sum() == 9


class PassArrays(BaseEstimator):
    """A step that takes frames and arrays alike."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.asarray(X)

    def __sklearn_is_fitted__(self):
        return True


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
    network = TwoLayerPGDClassifier(
        4, max_iter=60, early_stopping=False, random_state=0, encoder=None
    )
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
    for student in (SoftmaxStudent(l2=1e-2), TwoLayerPGDClassifier(4, max_iter=60, encoder=None)):
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

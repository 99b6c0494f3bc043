"""Any container of rows, any teacher and any student."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from sklearn_kd import TwoLayerPGDClassifier
from tests._helpers.distillation import distil, three_classes
from tests._helpers.estimators import SoftmaxStudent


def mixed_table(n=120, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=n),
            "color": rng.choice(["red", "green", "blue"], n),
            "weight": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
        }
    )
    y = np.where(frame["size"] + (frame["color"] == "red") > 0.3, "yes", "no")
    return frame, y


def test_raw_frames_go_through_both_pipelines():
    frame, y = mixed_table()
    encode = make_column_transformer(
        (OneHotEncoder(), ["color"]), (StandardScaler(), ["size"]), remainder="drop"
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
    student = TwoLayerPGDClassifier(32, max_iter=800, early_stopping=False, n_init=1, encoder=None)
    for temperature in (1.0, 3.0):
        model = distil(
            FrozenEstimator(teacher), student, temperature=temperature, random_state=0
        ).fit(X, y)
        gap = abs(model.predict_proba(X) - teacher.predict_proba(X)).max()
        assert gap < 0.02


def test_alpha_above_one_is_the_native_students_to_bound():
    X, y = three_classes()
    student = TwoLayerPGDClassifier(4, max_iter=20, early_stopping=False, encoder=None)
    model = distil(LogisticRegression(), student, alpha=1.5)
    with pytest.raises(ValueError, match="radius"):
        model.fit(X, y)
    assert not hasattr(model, "student_")
    model.set_params(student__radius=3.0).fit(X, y)

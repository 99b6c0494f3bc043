"""Teachers and students whose predictions have other forms than those of scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kd import DistilledClassifier
from sklearn_kd.exceptions import NoGainWarning
from tests._helpers.distillation import distil, fixed, labels_of, three_classes
from tests._helpers.estimators import LeaveOneOut
from tests._helpers.third_party import OtherPackage, as_column

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])
FORMS = {
    "list": np.ndarray.tolist,
    "float16": lambda P: P.astype(np.float16),
    "frame": pd.DataFrame,
    "named frame": lambda P: pd.DataFrame(P, columns=NAMES)[NAMES[::-1]],
    "objects": lambda P: P.astype(object),
}


def linear():
    return LogisticRegression(max_iter=1000)


@pytest.mark.parametrize("y", [Y, NAMES[Y], NAMES[Y].astype(object)], ids=["int", "str", "object"])
@pytest.mark.parametrize("change", [as_column, np.ndarray.tolist, pd.Series])
def test_labels_of_the_student_are_one_dimensional(y, change):
    model = fixed(linear(), OtherPackage(labels=change), alpha=0.5).fit(X, y)
    plain = fixed(linear(), OtherPackage(), alpha=0.5).fit(X, y)
    predicted = model.predict(X)
    assert predicted.shape == (150,)
    assert predicted.dtype == model.classes_.dtype
    assert_array_equal(predicted, plain.predict(X))
    assert (predicted == y).mean() == model.score(X, y) > 0.95


def test_labels_as_a_column_with_the_defaults():
    model = DistilledClassifier(linear(), OtherPackage(labels=as_column), random_state=0)
    with pytest.warns(NoGainWarning):
        predicted = model.fit(X, Y).predict(X)
    assert predicted.shape == (150,)
    assert (predicted == Y).mean() > 0.96


@pytest.mark.parametrize("form", FORMS)
def test_probabilities_in_other_forms(form):
    y = NAMES[Y]
    plain = fixed(OtherPackage(), OtherPackage()).fit(X, y)
    student = OtherPackage(proba=FORMS[form], log_proba=FORMS[form], decision=FORMS[form])
    model = fixed(OtherPackage(proba=FORMS[form]), student).fit(X, y)
    atol = 2e-3 if form == "float16" else 0
    for method in ("predict_proba", "predict_log_proba", "decision_function"):
        values = getattr(model, method)(X)
        assert isinstance(values, np.ndarray)
        assert values.dtype == np.float64
        assert_allclose(values, getattr(plain, method)(X), atol=10 * atol, rtol=10 * atol)
    assert_allclose(model.predict_proba(X).sum(axis=1), 1, atol=1e-12)
    labels = labels_of(OtherPackage(proba=FORMS[form]), X, y).values
    assert_allclose(labels, labels_of(OtherPackage(), X, y).values, atol=atol)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda P: P[:, 1:], r"OtherPackage has returned the shape \(\d+, 2\) for \d+ rows and 3"),
        (lambda P: np.column_stack([P, P]), r"shape \(\d+, 6\) for \d+ rows and 3 classes"),
        (lambda P: P[:, 1], r"shape \(\d+,\) for \d+ rows and 3 classes"),
        (lambda P: P[1:], r"shape \(\d+, 3\) for \d+ rows and 3 classes"),
        (lambda P: P / 2, r"predict_proba of the \w+ OtherPackage must sum to 1 .*sums to 0.5"),
        (lambda P: P * np.nan, r"predict_proba of the \w+ OtherPackage contains NaN"),
        (lambda P: 10 * P - 5, r"predict_proba of the \w+ OtherPackage must be probabilities"),
    ],
)
def test_what_are_no_probabilities_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        fixed(OtherPackage(proba=change), linear()).fit(X, Y)
    model = fixed(linear(), OtherPackage(proba=change)).fit(X, Y)
    with pytest.raises(ValueError, match=message):
        model.predict_proba(X)


@pytest.mark.parametrize(
    "change", [as_column, np.ndarray.tolist, pd.Series, lambda f: np.column_stack([-f, f]) / 2]
)
def test_decision_values_of_two_classes(change):
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X[:, :5])
    plain = fixed(linear(), OtherPackage()).fit(X, y)
    model = fixed(linear(), OtherPackage(decision=change)).fit(X, y)
    assert model.decision_function(X).shape == (len(y),)
    assert_allclose(model.decision_function(X), plain.decision_function(X), rtol=1e-12)


@pytest.mark.parametrize("change", [as_column, np.ndarray.tolist, pd.Series])
def test_decision_values_of_a_teacher(change):
    class Decisions(OtherPackage):
        predict_proba = property()  # hasattr is False

    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X[:, :5])
    given = labels_of(Decisions(decision=change), X, y).values
    assert_allclose(given, labels_of(Decisions(), X, y).values, rtol=1e-12)


@pytest.mark.parametrize("change", [pd.DataFrame, np.ndarray.tolist, np.float16])
def test_own_labels_of_a_teacher(change):
    class Own(LeaveOneOut):
        def fit(self, X, y, sample_weight=None):
            super().fit(X, y, sample_weight)
            self.loo_proba_ = change(self.loo_proba_)
            return self

    labels, plain = (labels_of(kind(max_iter=1000), X, Y) for kind in (Own, LeaveOneOut))
    assert labels.source == "loo"
    assert_allclose(labels.values, plain.values, atol=2e-3 if change is np.float16 else 0)


@pytest.mark.parametrize("name", ["loo_proba_", "oob_decision_function_"])
def test_own_labels_of_another_width_are_named(name):
    class Own(RandomForestClassifier):
        def fit(self, X, y, sample_weight=None):
            super().fit(X, y, sample_weight)
            setattr(self, name, np.ones((len(X), 1)))
            return self

    with pytest.raises(ValueError, match=rf"{name} of the teacher Own has .* \(150, 1\) for 150"):
        labels_of(Own(10, oob_score=True), X, Y)


def test_order_of_classes_of_a_student_is_its_own():
    class Reversed(OtherPackage):
        def fit(self, X, y, sample_weight=None):
            super().fit(X, y, sample_weight)
            self.classes_ = self.classes_[::-1]
            return self

    change = {name: (lambda P: P[:, ::-1]) for name in ("proba", "log_proba", "decision")}
    plain, model = (fixed(linear(), student) for student in (OtherPackage(), Reversed(**change)))
    for each in (plain, model):
        each.fit(X, Y)
    for method in ("predict_proba", "predict_log_proba", "decision_function"):
        assert_array_equal(getattr(model, method)(X), getattr(plain, method)(X))
    two = Y < 2
    change = {**change, "decision": np.negative}
    model = fixed(linear(), Reversed(**change)).fit(X[two], Y[two])
    plain = clone(plain).fit(X[two], Y[two])
    assert_array_equal(model.decision_function(X), plain.decision_function(X))


def test_a_student_with_classes_of_its_own_is_refused():
    class Codes(OtherPackage):
        def fit(self, X, y, sample_weight=None):
            super().fit(X, y, sample_weight)
            self.classes_ = np.arange(3)
            return self

    model = fixed(linear(), Codes()).fit(X, Y + 1)
    with pytest.raises(ValueError, match=r"\[0, 1, 2\] are not all among the classes \[1, 2, 3\]"):
        model.predict_proba(X)


def test_objects_as_classes_of_a_teacher_are_labels():
    class Objects(OtherPackage):
        def fit(self, X, y, sample_weight=None):
            super().fit(X, y, sample_weight)
            self.classes_ = self.classes_.astype(object)
            return self

    model = fixed(Objects(), linear()).fit(X, Y)
    assert model.classes_.dtype == Y.dtype
    assert_array_equal(
        model.predict_proba(X), fixed(OtherPackage(), linear()).fit(X, Y).predict_proba(X)
    )


@pytest.mark.parametrize("dtype", [bool, np.int8, np.float64])
def test_classes_keep_the_dtype_of_y(dtype):
    class Int64(OtherPackage):
        def fit(self, X, y, sample_weight=None):
            super().fit(X, y.astype(int), sample_weight)
            return self

    y = (Y > 0).astype(dtype)
    model = fixed(Int64(), Int64()).fit(X, y)
    assert model.classes_.dtype == model.predict(X).dtype == dtype
    assert model.score(X, y) > 0.9


def test_last_step_of_a_pipeline():
    student = make_pipeline(StandardScaler(), OtherPackage(labels=as_column))
    teacher = make_pipeline(StandardScaler(), OtherPackage(proba=FORMS["list"]))
    X, y = three_classes(names=["a", "b", "c"])
    predicted = distil(teacher, student, random_state=0).fit(X, y).predict(X)
    assert predicted.shape == y.shape
    plain = make_pipeline(StandardScaler(), OtherPackage())
    assert_array_equal(predicted, distil(plain, plain, random_state=0).fit(X, y).predict(X))

"""What parameters and shapes tell is an error before the first fit of DistilledClassifier."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kd import (
    DistilledClassifier,
    DistilledRegressor,
    ModuleClassifier,
    TwoLayerPGDClassifier,
    TwoLayerPGDRegressor,
)
from sklearn_kd.modules import MLP
from tests._helpers.data import FIXED
from tests._helpers.distillation import three_classes


class NeverFitted(LogisticRegression):
    """A teacher whose fit ends the test."""

    def fit(self, X, y, sample_weight=None):
        pytest.fail("the teacher was fitted before the error")


def wide(**params):
    return TwoLayerPGDClassifier(width=4, max_iter=3, **params, encoder=None)


class Sampler(StandardScaler):
    """A step that makes other rows, as those of imbalanced-learn do."""

    def fit_resample(self, X, y):
        return X, y


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"class_prior": [1, 2]}, "class_prior must be 3 non-negative numbers"),
        ({"class_prior": ["a", "b", "c"]}, "class_prior must be 3 non-negative numbers"),
        ({"class_prior": {"a": 1, "b": 2}}, r"class_prior has the keys \['a', 'b'\]"),
        ({"class_prior": {0: 1, 1: 1, 2: 1}}, r"class_prior has the keys \[0, 1, 2\]"),
        ({"class_weight": {"a": 2.0, "z": 1.0}}, "are not in class_weight"),
        ({"class_weight": {"a": -1.0}}, "class_weight must be positive"),
        ({"student": wide(class_weight={"z": 1.0})}, "are not in class_weight"),
        ({"student": LogisticRegression(class_weight={"z": 1})}, "are not in class_weight"),
        ({"augmented_labels": "recomputed"}, "a ModuleClassifier and not a pipeline"),
        (
            {"augmented_labels": "recomputed", "student": ModuleClassifier(MLP)},
            "is for a student with augmentation",
        ),
        ({"student": wide().set_params(width=5)}, "width must be even"),
        ({"student": ModuleClassifier(MLP, image_shape=(1, 3, 3))}, "takes 9 numbers a row"),
        ({"student": make_pipeline(StandardScaler(), wide().set_params(width=5))}, "must be even"),
        ({"student": wide().set_params(width=-2)}, "'width' parameter of TwoLayerPGDClassifier"),
        ({"student": LogisticRegression(C=-1.0)}, "'C' parameter of LogisticRegression"),
        (
            {"student": make_pipeline(StandardScaler(), LogisticRegression(C=-1.0))},
            "'C' parameter of LogisticRegression",
        ),
        (
            {"student": make_pipeline(Sampler(), wide())},
            r"(?s)step 'sampler'.*resamples the rows.*into the teacher's pipeline, or around",
        ),
        (
            {"student": make_pipeline(make_pipeline(Sampler()), LogisticRegression())},
            "resamples the rows",
        ),
    ],
)
@pytest.mark.parametrize("auto", [False, True])
def test_parameters(params, message, auto):
    X, y = three_classes(names=["a", "b", "c"])
    params = {"student": wide(), **({} if auto else FIXED), **params}
    with pytest.raises((TypeError, ValueError), match=message):
        DistilledClassifier(NeverFitted(), **params).fit(X, y)


def with_nan(X):
    X = X.copy()
    X[3, 1] = np.nan
    return X


@pytest.mark.parametrize(
    ("make_X", "make_unlabeled", "params", "message"),
    [
        (np.asarray, lambda X: X[:0], {}, "X_unlabeled has no rows"),
        (np.asarray, lambda X: X[:5, :1], {}, "X_unlabeled has 1 features"),
        (np.asarray, lambda X: with_nan(X[:5]), {}, "contains NaN"),
        (
            pd.DataFrame,
            lambda X: pd.DataFrame(X[:5]).rename(columns={0: "zero"}),
            {},
            "must have the columns of X",
        ),
        (with_nan, None, {}, "X contains NaN"),
        (sp.csr_array, None, {"augmentation": "gibbs"}, "Sparse data"),
        (np.asarray, None, {"augmentation": lambda X, n, seed: X[:, :1]}, "returns has 1 features"),
        (
            np.asarray,
            None,
            {"augmentation": lambda X, n, seed: pd.DataFrame(X)},
            "do not go together",
        ),
        (lambda X: X.astype(str) + "!", None, {}, "could not convert string"),
        (
            lambda X: ["a word"] * len(X),
            None,
            {"augmentation": "munge"},
            "could not convert string",
        ),
    ],
)
def test_rows(make_X, make_unlabeled, params, message):
    X, y = three_classes()
    more = None if make_unlabeled is None else make_unlabeled(X)
    model = DistilledClassifier(NeverFitted(), wide(), **{**FIXED, **params})
    with pytest.raises((TypeError, ValueError), match=message):
        model.fit(make_X(X), y, X_unlabeled=more)


@pytest.mark.parametrize("student", [wide(), LogisticRegression()])
def test_class_weight_of_a_class_that_only_the_teacher_knows(student):
    X, y = three_classes()
    teacher = FrozenEstimator(LogisticRegression().fit(X, y))
    for weight in (0.0, -1.0, np.nan):
        model = DistilledClassifier(teacher, student, **FIXED, class_weight={2: weight})
        with pytest.raises(ValueError, match="class_weight must be positive"):
            model.fit(X[y < 2], y[y < 2])


def test_shares_of_classes_by_label():
    X, y = three_classes(names=["a", "b", "c"])
    model = DistilledClassifier(LogisticRegression(), LogisticRegression(), **FIXED, cv=3)
    listed = model.set_params(class_prior=[1, 2, 3]).fit(X, y).predict_proba(X)
    by_label = model.set_params(class_prior={"c": 3, "a": 1, "b": 2}).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(by_label, listed)
    counts = pd.Series({"c": 3, "b": 2, "a": 1})  # as value_counts sorts them
    by_series = model.set_params(class_prior=counts).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(by_series, listed)
    by_place = model.set_params(class_prior=pd.Series([1, 2, 3])).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(by_place, listed)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_columns_of_more_rows_may_be_in_another_order(library):
    frames = pytest.importorskip(library)
    X, y = three_classes()
    names = [f"x{column}" for column in range(X.shape[1])]
    rows, more = (
        frames.DataFrame(dict(zip(names, part.T, strict=True))) for part in (X, X[:7] + 0.1)
    )
    mixed = more[names[::-1]]
    students = (LogisticRegression(), TwoLayerPGDClassifier(4, max_iter=10, encoder=None))
    for student in students:
        model = DistilledClassifier(LogisticRegression(), student, **FIXED, random_state=0)
        expected, found = (
            model.fit(rows, y, X_unlabeled=each).predict_proba(rows) for each in (more, mixed)
        )
        np.testing.assert_array_equal(found, expected)
        expected, found = (
            model.set_params(augmentation=lambda X, n, seed, each=each: each, n_augmented=7)
            .fit(rows, y)
            .predict_proba(rows)
            for each in (more, mixed)
        )
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", [DistilledClassifier, DistilledRegressor])
def test_columns_of_y_in_another_order_are_an_error(kind):
    X, y = three_classes()
    y = pd.DataFrame(np.column_stack([y > 0, y > 1]).astype(int), columns=["a", "b"])
    network = TwoLayerPGDClassifier if kind is DistilledClassifier else TwoLayerPGDRegressor
    model = kind(NeverFitted(), network(4, early_stopping=True), alpha=0.5, augmentation=None)
    if kind is DistilledRegressor:
        model, y = model.set_params(teacher=None), y + X[:, :2]
    message = r"{0} has the columns of y in another order: pass {0}\[y.columns\]"
    with pytest.raises(ValueError, match=message.format("soft_targets")):
        model.fit(X, y, soft_targets=y[["b", "a"]])
    with pytest.raises(ValueError, match=message.format("y_val")):
        model.fit(X, y, X_val=X[:50], y_val=y[["b", "a"]][:50])


def test_a_sampler_may_be_in_the_teacher():
    X, y = three_classes()
    teacher = make_pipeline(Sampler(), LogisticRegression())
    model = DistilledClassifier(teacher, LogisticRegression(), **FIXED).fit(X, y)
    assert model.score(X, y) > 0.6

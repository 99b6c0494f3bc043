"""A table that an estimator of scikit-learn cannot read is an error that says both ways out."""

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
from sklearn_kd._tables.readable import check_readable
from sklearn_kd.inspection import should_distill
from tests._helpers.tables import raw_table

FOREST, BOOSTING = RandomForestClassifier(), HistGradientBoostingClassifier()


def read(frame, dtypes):
    """Return the columns of `raw_table` in a library, with some dtypes."""
    X, _ = raw_table(20, frame)
    if frame == "pandas":
        return X.astype(dtypes)
    pl = pytest.importorskip("polars")
    categories = {"category": pl.Categorical, "float": pl.Float64}
    return X.with_columns(pl.col(name).cast(categories[to]) for name, to in dtypes.items())


@pytest.mark.parametrize("frame", ["pandas", "polars"])
@pytest.mark.parametrize(
    ("estimator", "dtypes", "words"),
    [
        (FOREST, {}, ["color", "job", "level"]),
        (FOREST, {"color": "category"}, ["color", "job", "level"]),
        (BaggingClassifier(), {}, ["color", "job", "level"]),
        (LogisticRegression(), {}, ["color", "job", "level"]),
        (BOOSTING, {}, ["color", "job"]),
        (BOOSTING, {"color": "category"}, ["job"]),
        (BOOSTING, {"color": "category", "job": "category"}, []),
        (HistGradientBoostingClassifier(categorical_features=["color", "job", "level"]), {}, []),
        (HistGradientBoostingClassifier(categorical_features=["color"]), {}, ["job", "level"]),
        (DummyClassifier(), {}, []),
        (FrozenEstimator(FOREST), {}, []),
        (make_pipeline(OneHotEncoder(), FOREST), {}, []),
        (VotingClassifier([("forest", FOREST)]), {}, []),
        (GridSearchCV(make_pipeline(OneHotEncoder(), FOREST), {}), {}, []),
    ],
)
def test_strings(frame, estimator, dtypes, words):
    X = read(frame, dtypes)
    if not words:
        check_readable("teacher", estimator, X)
        return
    with pytest.raises(ValueError, match="does not read strings") as caught:
        check_readable("teacher", estimator, X)
    message, name = str(caught.value), type(estimator).__name__
    assert f"the teacher {name} " in message
    assert f"the columns {words} of X" in message
    assert f"make_pipeline(TableEncoder(), {name}())" in message
    assert "categorical_features" in message
    assert "dtype 'category'" in message


@pytest.mark.parametrize(
    ("estimator", "is_error"),
    [(FOREST, False), (BOOSTING, False), (GradientBoostingClassifier(), True)],
)
def test_missing_cells(estimator, is_error):
    X = pd.DataFrame({"whole": [1, 2, 3], "part": [0.5, None, 1.0]})
    if not is_error:
        check_readable("student", estimator, X)
        return
    with pytest.raises(ValueError, match=r"takes no missing cells.*\['part'\].*TableEncoder"):
        check_readable("student", estimator, X)


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (np.array([["a", 1], ["b", 2]], dtype=object), [0]),
        (np.array([["a", "1"]]), [0, 1]),
        (np.array([[0.5, 1], [None, True]], dtype=object), []),
        (np.ones((2, 2)), []),
        (np.array(["a text", "another"]), []),
        (["a text", "another"], []),
        (pd.DataFrame({"numbers": pd.Categorical([1, 2]), "cells": ["1", "2.5"]}), []),
        (pd.DataFrame({"when": pd.date_range("2020-01-01", periods=2)}), ["when"]),
        (pd.DataFrame({"nullable": pd.array([1, None], "Int64"), "flag": [True, False]}), []),
        (pd.DataFrame({"strings": pd.array(["1", "b"], "string")}), ["strings"]),
    ],
)
def test_containers_and_dtypes(X, words):
    if not words:
        check_readable("teacher", FOREST, X)
        return
    with pytest.raises(ValueError, match="does not read strings") as caught:
        check_readable("teacher", FOREST, X)
    assert f"the columns {words} of X" in str(caught.value)


def test_cells_that_nothing_encodes():
    X = np.array([[0.5, {"a": 1}], [0.5, 2]], dtype=object)
    with pytest.raises(TypeError, match=r"column 1 of X: .*argument must be .* string .* number"):
        check_readable("teacher", FOREST, X)


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_error_before_any_fit(role):
    class NeverFitted(LogisticRegression):
        def fit(self, X, y, sample_weight=None):
            pytest.fail("fitted before the error")

    estimators = {"teacher": NeverFitted(), "student": TwoLayerPGDClassifier(4), role: FOREST}
    X, y = raw_table(20)
    with pytest.raises(ValueError, match=rf"the {role} RandomForestClassifier does not read"):
        DistilledClassifier(**estimators).fit(X, y)
    with pytest.raises(ValueError, match=rf"the {role} RandomForestClassifier does not read"):
        should_distill(**estimators, X=X, y=y)

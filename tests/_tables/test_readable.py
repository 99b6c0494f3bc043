"""A table that an estimator of scikit-learn cannot read is an error that says both ways out."""

import datetime

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
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

from sklearn_kd import DistilledClassifier, TableEncoder, TwoLayerPGDClassifier
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
        (np.array([["a", "1"]]), [0]),
        (np.array([["1", "2.5"]]), []),
        (np.array([[b"1", b"b"]]), [1]),
        (np.array([[0.5, 1], [None, True]], dtype=object), []),
        (np.ones((2, 2)), []),
        (np.array(["a text", "another"]), []),
        (["a text", "another"], []),
        (pd.DataFrame({"numbers": pd.Categorical([1, 2]), "cells": ["1", "2.5"]}), []),
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


BY_LIST = HistGradientBoostingClassifier(categorical_features=["color"])


@pytest.mark.parametrize(
    ("estimator", "advice"),
    [
        (
            BY_LIST,
            r"columns \['level'\] of X have: they are not in categorical_features=\['color'\], "
            r"which turns the dtype 'category' off. Add them there, or give every column of "
            r"strings the dtype 'category' in a DataFrame and leave categorical_features at "
            r"'from_dtype', or",
        ),
        (
            HistGradientBoostingClassifier(categorical_features=None),
            r"columns \['color', 'level'\] of X have: they are not in categorical_features=None",
        ),
        (BOOSTING, r"columns \['color'\] of X have: .* or name every column of strings and categ"),
    ],
)
def test_a_list_turns_the_dtype_off(estimator, advice):
    X = raw_table(20)[0][["size", "color", "level"]]
    with pytest.raises(ValueError, match=advice):
        check_readable("teacher", estimator, X)
    # what the message says
    given = ["color", "level"]
    check_readable("teacher", clone(estimator).set_params(categorical_features=given), X)
    X = X.astype({"color": "category"})
    check_readable("teacher", clone(estimator).set_params(categorical_features="from_dtype"), X)


DAY = datetime.datetime(2020, 1, 31, 12)


@pytest.mark.parametrize("estimator", [FOREST, BOOSTING])
@pytest.mark.parametrize(
    ("cells", "code"),
    [
        (pd.Series([DAY, None]), "X['when'].dt.year"),
        (pd.Series([DAY, None], dtype=object), "pd.to_datetime(X['when']).dt.year"),
        (pd.Series([DAY.date(), None]), "pd.to_datetime(X['when']).dt.year"),
        (
            pd.Series([DAY.time(), None]),
            "X['when'].map(lambda time: time.hour, na_action='ignore')",
        ),
        (pd.Series([DAY - DAY, None]), "X['when'].dt.total_seconds()"),
        (pd.Series([DAY - DAY], dtype=object), "pd.to_timedelta(X['when']).dt.total_seconds()"),
        (pd.Series(pd.period_range("2020", periods=2, freq="M")), "X['when'].dt.year"),
    ],
)
def test_dates(estimator, cells, code):
    X = pd.DataFrame({"when": cells, "size": 1.0})
    with pytest.raises(ValueError, match=r"dates or times, which the columns \['when'\]") as caught:
        check_readable("teacher", estimator, X)
    assert "strings" not in str(caught.value)
    assert f"for example {code}." in str(caught.value)
    with pytest.raises(TypeError) as caught:
        TableEncoder().fit(X)
    assert f"for example {code}" in str(caught.value)
    numbers = eval(code, {"X": X, "pd": pd})
    assert numbers.dtype.kind in "if"
    check_readable("teacher", BOOSTING, X.assign(when=numbers))


def test_dates_and_strings():
    X = pd.DataFrame({"color": ["red", "blue"], "when": [DAY, DAY]})
    message = (
        r"the teacher HistGradientBoostingClassifier does not read strings or categories, which "
        r"the columns \['color'\] of X have: give them .*\. It does not read dates or times, which "
        r"the columns \['when'\] of X have: make numbers"
    )
    with pytest.raises(ValueError, match=message):
        check_readable("teacher", BOOSTING, X)


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

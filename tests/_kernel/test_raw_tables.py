"""KernelTeacher on raw tables, which its encoder reads."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.utils import get_tags

from sklearn_kd import KernelTeacher, TableEncoder
from tests._helpers.tables import raw_table


def test_a_raw_table_goes_in_as_it_is_encoded(rng):
    X, y = raw_table(60)
    weights, weights[:5] = rng.uniform(1, 2, size=60), 0
    teacher = KernelTeacher(class_weight={"yes": 3, "no": 1}, random_state=0)
    teacher.fit(X, y, weights)
    encoder = TableEncoder().fit(X[5:], sample_weight=weights[5:])
    by_hand = clone(teacher).set_params(encoder=None)
    by_hand.fit(encoder.transform(X), y, weights)
    rows = encoder.transform(X)
    np.testing.assert_array_equal(teacher.loo_proba_, by_hand.loo_proba_)
    np.testing.assert_array_equal(teacher.predict_proba(X), by_hand.predict_proba(rows))
    for own, expected in zip(
        teacher.staged_predict_proba(X, [1.0, 9.0]),
        by_hand.staged_predict_proba(rows, [1.0, 9.0]),
        strict=True,
    ):
        np.testing.assert_array_equal(own, expected)
    assert len(teacher.input_offset_) == rows.shape[1] > X.shape[1] == teacher.n_features_in_
    assert (teacher.encoder, by_hand.encoder_) == ("auto", None)

    polars_X = pytest.importorskip("polars") and raw_table(60, "polars")[0]
    from_polars = clone(teacher).fit(polars_X, y, weights)
    np.testing.assert_array_equal(from_polars.predict_proba(polars_X), teacher.predict_proba(X))
    np.testing.assert_array_equal(from_polars.loo_proba_, teacher.loo_proba_)


def test_cells_that_training_rows_lack_are_predicted():
    X, y = raw_table(40)
    teacher = KernelTeacher(ridge=0.1).fit(X, y)
    new = X[:3].assign(color=[None, "violet", "red"], age=[np.nan, 1e300, 30])
    assert np.isfinite(teacher.predict_proba(new)).all()


def test_rows_that_cannot_be_read():
    X, y = raw_table(40)
    auto, plain = KernelTeacher(), KernelTeacher(encoder=None)
    numbers = X[["age"]].to_numpy(dtype=float)
    with pytest.raises(ValueError, match=r"could not convert string.*set encoder='auto'"):
        plain.fit(X, y)
    with pytest.raises(ValueError, match=r"Cannot cast.*set encoder='auto'"):
        plain.fit(X[["color"]].astype("category").assign(n=pd.array([1] * len(X), "Int64")), y)
    with pytest.raises(ValueError, match=r"Input X contains NaN.*set encoder='auto'"):
        plain.fit(np.where(numbers > 50, np.nan, numbers), y)
    for teacher in (auto, plain):
        with pytest.raises(TypeError, match=r"toarray\(\)"):
            teacher.fit(sp.csr_array(numbers), y)
        with pytest.raises(ValueError, match="infinit"):
            teacher.fit(np.where(numbers > 50, np.inf, numbers), y)
        teacher.fit(numbers, y)
        with pytest.raises(ValueError, match="infinit"):
            teacher.predict(numbers * np.inf)
    auto.fit(X.assign(age=np.nan), y)  # a column without a value
    with pytest.raises(ValueError, match="feature names"):
        auto.predict(X[X.columns[::-1]])
    for teacher, reads in ((auto, True), (plain, False)):
        tags = get_tags(teacher).input_tags
        assert (tags.allow_nan, tags.string, tags.categorical) == (reads, reads, reads)


@pytest.mark.parametrize("bad", [np.inf, "word"])
def test_rows_of_weight_zero_are_read_before_the_fit(bad, monkeypatch):
    from sklearn_kd._kernel import ridge_fit

    X = raw_table(40)[0][["age"]].astype(object)
    y = X["age"] > 50
    X.loc[3, "age"] = bad
    weights = np.ones(40)
    weights[3] = 0
    margin = KernelTeacher(method="margin").fit(X, y, weights)  # has no values for these rows
    assert margin.solver_ == "margin"

    def fit(*args):
        raise AssertionError("fitted before the rows were read")

    monkeypatch.setattr(ridge_fit, "fit_ridge", fit)
    with pytest.raises((TypeError, ValueError), match="column 'age' of X"):
        KernelTeacher().fit(X, y, weights)


def test_a_table_without_a_column_that_varies():
    X, y = np.ones((10, 2)), np.arange(10) % 2
    for options in ({}, {"input_intercept": False}):
        teacher = KernelTeacher(random_state=0, **options).fit(X, y)
        np.testing.assert_allclose(teacher.loo_proba_, 0.5)
        np.testing.assert_allclose(teacher.predict_proba(X + 1), 0.5)

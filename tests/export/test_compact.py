"""Compact models: answers of every kind of model, rows of every kind, and damaged files."""

import inspect
import json
import pickle
import struct
import subprocess
import sys
import threading
import zlib
from collections import UserDict, namedtuple
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
from sklearn.base import is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.impute import MissingIndicator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics import log_loss, r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    OneHotEncoder,
    OrdinalEncoder,
    QuantileTransformer,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier

from sklearn_kd import (
    DistilledClassifier,
    KernelTeacherRegressor,
    ModuleClassifier,
    TableEncoder,
    TwoLayerPGDRegressor,
)
from sklearn_kd.export import CompactModel, _compact_model, compact
from sklearn_kd.modules import MLP
from tests._helpers.exported_models import (
    assert_answers_close,
    beside_thresholds,
    boosted_categories,
    boosted_numbers,
    cases,
    expected_answers,
    fitted,
    labels,
    network,
    new_rows,
    numbers,
    one_answer,
    regressor,
    table,
    targets,
    with_unseen_class,
)

TOLERANCE = {"float64": 1e-12, "float32": 1e-6}


def assert_answers(model, made, X, tolerance):
    """Check answers, labels and single rows against those of the model."""
    expected = expected_answers(model, X)
    assert_answers_close(expected_answers(made, X), expected, tolerance, model)
    one = [one_answer(made, row) for row in X.to_dict("records")]
    assert_answers_close(one, expected, tolerance, model)
    found = made.predict(X)
    first = made.predict_one(X.iloc[0].to_dict())
    if is_regressor(model):
        assert found.shape == model.predict(X).shape
        assert np.shape(first) == found.shape[1:]
        assert isinstance(first, float) == (found.ndim == 1)
        return
    is_clear = np.diff(np.sort(expected, axis=1)[:, -2:], axis=1)[:, 0] > 10 * tolerance
    assert found.dtype == model.classes_.dtype
    np.testing.assert_array_equal(found[is_clear], model.predict(X)[is_clear])
    assert first == found[0]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize(("name", "n", "kind"), cases())
def test_answers_are_those_of_the_model(name, n, kind):
    model = fitted(name, n, kind)
    for dtype, tolerance in TOLERANCE.items():
        assert_answers(model, compact(model, dtype=dtype), new_rows(), tolerance)
        compact(model, table(), dtype=dtype)  # compares the answers


def test_categories_of_boosted_trees():
    model, new = boosted_categories()
    made = compact(model)
    assert_answers(model, made, new, 1e-6)
    assert made.kinds_[2] == "text"


def test_boosted_trees_take_infinite_numbers():
    model, rows = boosted_numbers()
    np.testing.assert_allclose(compact(model).predict_proba(rows), model.predict_proba(rows))


def test_classes_that_the_student_never_saw():
    model = with_unseen_class()
    assert model.classes_.tolist() == [-1, 3, 9]
    assert_answers(model, compact(model), new_rows(), 1e-6)


@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_a_number_beside_a_threshold_is_on_the_side_of_the_model(shift):
    model, rows = beside_thresholds(shift)
    made = compact(model, dtype="float64")
    np.testing.assert_array_equal(made.predict_proba(rows), model.predict_proba(rows))


@pytest.mark.parametrize("container", ["frame", "polars", "columns", "dicts", "lists", "array"])
def test_rows_in_any_container(container):
    model = fitted("network")
    X = table()[:40].reset_index(drop=True)
    made, expected = compact(model), model.predict_proba(X)
    rows = {
        "frame": lambda: X,
        "polars": lambda: pytest.importorskip("polars").DataFrame(
            {name: [None if pd.isna(cell) else cell for cell in X[name]] for name in X}
        ),
        "columns": lambda: {name: X[name].tolist() for name in reversed(X.columns)},
        "dicts": lambda: X.to_dict("records"),
        "lists": lambda: X.to_numpy(dtype=object).tolist(),
        "array": lambda: X.to_numpy(dtype=object),
    }[container]()
    np.testing.assert_allclose(made.predict_proba(rows), expected, atol=1e-6)
    np.testing.assert_allclose(made.predict_proba_one(X.iloc[3]), expected[3], atol=1e-6)
    assert made.predict_proba(X[:0]).shape == (0, 2)


@pytest.mark.parametrize("params", [{}, {"encoder": None}, {"n_members": 2}, {"init": "standard"}])
def test_networks_that_were_fitted_in_float32(params):
    X = np.random.RandomState(0).normal(size=(60, 3)).astype(np.float32)
    model = network(**params).set_params(width=6).fit(X, np.arange(60) % 3)
    assert model.hidden_weights_.dtype == np.float32
    assert compact(model, X, dtype="float64").largest_change_ < 1e-12
    assert compact(model, [list(row) for row in X], dtype="float64").largest_change_ < 1e-12


def test_numbers_without_names():
    X = np.random.RandomState(0).normal(size=(60, 3)).astype(np.float32)
    model = network().fit(X, X[:, 0] > 0)
    made = compact(model)
    expected = model.predict_proba(X)
    assert not hasattr(made, "feature_names_in_")
    np.testing.assert_allclose(made.predict_proba(X), expected, atol=1e-6)
    np.testing.assert_allclose(made.predict_proba_one(X[0]), expected[0], atol=1e-6)
    np.testing.assert_allclose(made.predict_proba_one(tuple(X[0])), expected[0], atol=1e-6)
    with pytest.raises(TypeError, match="fitted without names"):
        made.predict_one({"a": 1.0})


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"extra": 1}, ValueError, r"unknown \['extra'\]"),
        ({"size": "1.5"}, TypeError, "'size' takes numbers"),
        ({"size": [1]}, TypeError, "'size' takes numbers"),
        ({"size": np.inf}, ValueError, "'size' has an infinite number"),
        ({"age": 10**400}, ValueError, "'age' has an integer that is too large"),
        ({"color": 3}, TypeError, "'color' takes text"),
        ({"color": ["red"]}, TypeError, "'color' takes text"),
        ({"flag": "True"}, TypeError, "'flag' takes boolean"),
    ],
)
def test_errors_of_a_row_name_the_column(change, error, match):
    made = compact(fitted("network"))
    row = {**table().iloc[0].to_dict(), **change}
    with pytest.raises(error, match=match):
        made.predict_one(row)
    with pytest.raises(error, match=match):
        made.predict([row])


def test_a_row_has_the_columns_of_the_training_rows():
    made, row = compact(fitted("network")), table().iloc[0].to_dict()
    absent = {name: cell for name, cell in row.items() if name != "age"}
    with pytest.raises(ValueError, match=r"lacks \['age'\]"):
        made.predict_one(absent)
    with pytest.raises(ValueError, match=r"lacks \['age'\]"):
        made.predict(pd.DataFrame([absent]))
    with pytest.raises(ValueError, match="a row has 10 cells"):
        made.predict_one(list(absent.values()))
    with pytest.raises(TypeError, match="a dict, a Series or a sequence"):
        made.predict_one("text")
    with pytest.raises(ValueError, match="one row is for predict_one"):
        made.predict(np.array(list(row.values()), dtype=object))


def test_unused_columns_may_be_absent():
    model = fitted("distilled network of few columns")
    made, X = compact(model), new_rows()
    used = model.student_[0].get_feature_names_out().tolist()
    assert [kind != "unused" for kind in made.kinds_] == [name in used for name in X]
    assert len(used) == 3
    expected, few = made.predict_proba(X), X[used]
    for rows in (few, few.to_dict("list"), few.to_dict("records"), X[[*used[1:], "rare", used[0]]]):
        np.testing.assert_array_equal(made.predict_proba(rows), expected)
    row = few.iloc[4].to_dict()
    for same in (row, few.iloc[4], UserDict(row), {**row, "constant": "anything"}):
        np.testing.assert_allclose(made.predict_proba_one(same), expected[4], atol=1e-12)
    absent = {name: row[name] for name in used[1:]}
    for predict, rows in ((made.predict_one, absent), (made.predict, few[used[1:]])):
        with pytest.raises(ValueError, match=rf"lacks \['{used[0]}'\]\.$"):
            predict(rows)
    with pytest.raises(ValueError, match=r"has the unknown \['other'\]\.$"):
        made.predict_one({**row, "other": 1})
    with pytest.raises(ValueError, match="a row has 10 cells"):
        made.predict_one(list(row.values()))


@pytest.mark.parametrize("cell", [None, float("nan"), pd.NA, pd.NaT, np.float32("nan")])
def test_missing_cells_have_one_meaning(cell):
    made, row = compact(fitted("network")), table().iloc[0].to_dict()
    for column in ("size", "color", "age"):
        expected = made.predict_proba_one({**row, column: None})
        np.testing.assert_array_equal(made.predict_proba_one({**row, column: cell}), expected)
        many = made.predict_proba([{**row, column: cell}] * 2)
        np.testing.assert_allclose(many[0], expected, rtol=0, atol=1e-12)


def test_a_model_that_takes_no_missing_cells_says_so():
    X = np.random.RandomState(0).normal(size=(60, 2))
    made = compact(LogisticRegression().fit(X, X[:, 0] > 0))
    for predict, rows in ((made.predict_one, [1.0, None]), (made.predict, [[1.0, None]])):
        with pytest.raises(ValueError, match="column 1 has a missing cell"):
            predict(rows)


@pytest.mark.parametrize("dtype", ["float16", "int8"])
@pytest.mark.parametrize("name", ["distilled", "regressor", "quantiles", "regression boosting"])
def test_rounded_weights_say_what_they_change(name, dtype):
    model, X = fitted(name), table()
    with pytest.raises(ValueError, match="needs rows X"):
        compact(model, dtype=dtype)
    y = targets(1, "numbers") if is_regressor(model) else labels(2, "text")
    made = compact(model, X, y, dtype=dtype, max_change=0.2)
    found, expected = expected_answers(made, X), expected_answers(model, X)
    change, unit = np.abs(found - expected).max(), 1.0
    if is_regressor(model):  # a pipeline has no quantiles
        unit = expected.std()
        before, after = (r2_score(y, each[:, 0]) for each in (expected, found))
        assert made.r2_change_ == after - before
        assert not hasattr(made, "log_loss_change_")
    else:
        before, after = (log_loss(y, each) for each in (expected, found))
        assert made.log_loss_change_ == after - before
    np.testing.assert_allclose(made.largest_change_, change / unit, rtol=1e-12)
    assert 0 < made.largest_change_ < 0.2
    assert made.n_bytes_ < compact(model).n_bytes_
    assert CompactModel(made.__reduce__()[1][0]).largest_change_ == made.largest_change_
    assert compact(model, X[:1], y[:1], dtype="float32").largest_change_ < 1e-6
    with pytest.raises(ValueError, match="more than 1e-06"):
        compact(model, X, dtype=dtype, max_change=1e-6)


def test_rounded_predictions_that_do_not_vary():
    X, _ = numbers()
    model = LinearRegression().fit(X, np.full(200, 1e9))
    assert compact(model, X, dtype="int8").largest_change_ == 0
    assert compact(model.fit(X, np.zeros(200)), X[:1], [0.0], dtype="int8").r2_change_ is None


def test_a_network_that_has_learned_little_is_as_exact_as_its_targets():
    """Predictions vary much less than the outputs of neurons, whose weights are rounded."""
    X, _ = numbers()
    y = np.random.RandomState(0).normal(size=200)
    model = regressor(encoder=None).set_params(max_iter=1).fit(X, y)
    model.output_weights_ = model.output_weights_ - model.output_weights_.mean(axis=0)
    model.hidden_weights_ = np.tile(model.hidden_weights_[:1], (4, 1)) + 1e-9 * np.eye(4)
    assert model.predict(X).std() < 1e-8
    compact(model, X)  # compares the answers


def test_methods_that_a_model_does_not_have():
    plain, quantiles, of_classes = map(compact, map(fitted, ("regressor", "quantiles", "network")))
    row = table().iloc[0].to_dict()
    for made, name in (
        (plain, "predict_proba"), (plain, "predict_proba_one"), (quantiles, "predict_proba_one"),
    ):  # fmt: skip
        assert not hasattr(made, name)
        with pytest.raises(AttributeError, match="predicts numbers, take predict or predict_one"):
            getattr(made, name)
    for made in (plain, of_classes):
        assert not hasattr(made, "quantiles_")
        for name in ("predict_quantiles", "predict_quantiles_one"):
            with pytest.raises(AttributeError, match="has learned no quantiles"):
                getattr(made, name)
    assert not hasattr(plain, "classes_")
    assert not hasattr(of_classes, "n_targets_")
    assert quantiles.quantiles_.tolist() == [0.05, 0.4, 0.6, 0.95]
    assert quantiles.predict_quantiles_one(row).shape == (4,)
    assert (np.diff(quantiles.predict_quantiles(new_rows())) >= 0).all()
    assert plain.predict(table()[:0]).shape == (0,)
    assert repr(plain).startswith("<CompactModel of 10 columns and 1 target, ")
    assert repr(of_classes).startswith("<CompactModel of 10 columns and 2 classes, ")
    two = compact(fitted("quantiles", 2, "numbers"))
    assert two.n_targets_ == 2
    assert two.predict_quantiles(table()[:3]).shape == (3, 2, 4)
    assert inspect.signature(CompactModel.predict_proba_one).parameters.keys() == {"self", "row"}


def assert_compact(model, X, tolerance=1e-12, dtype="float64"):
    made, expected = compact(model, dtype=dtype), expected_answers(model, X)
    np.testing.assert_allclose(expected_answers(made, X), expected, rtol=0, atol=tolerance)
    rows = X.to_numpy(dtype=object) if hasattr(X, "to_numpy") else X
    one = [one_answer(made, row) for row in rows[:20]]
    np.testing.assert_allclose(one, expected[:20], rtol=0, atol=tolerance)


@pytest.mark.parametrize("offset", [0.0, 2000.0, 1e6, 1e9])
@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCE.items())
def test_columns_far_from_zero_keep_their_digits(offset, dtype, tolerance):
    X, y = numbers()
    X = 10 * X + offset
    assert_compact(network(encoder=None).fit(X, y), X, tolerance, dtype)
    assert_compact(regressor(encoder=None).fit(X, y), X, tolerance, dtype)
    if offset < 1e6:
        assert_compact(LogisticRegression(max_iter=1000).fit(X, y), X, tolerance, dtype)
        assert_compact(Ridge().fit(X, y), X, tolerance, dtype)


def test_columns_in_units_of_their_own():
    """Coefficients of columns far from zero are stored as they are, and so is the intercept."""
    X, y = numbers()
    X = X * [1e-12, 1.0, 1e12] + [1e-6, 1e9, 0.0]
    model = LinearRegression().fit(X, 1e6 + y)
    made = compact(model, dtype="int8", X=X)
    np.testing.assert_allclose(made.predict(X), model.predict(X), rtol=1e-15)


@pytest.mark.parametrize(
    "step",
    [
        MaxAbsScaler(clip=True),
        make_column_transformer((StandardScaler(), [0, 1]), ("passthrough", [2])).set_params(
            transformer_weights={"standardscaler": 5.0, "passthrough": 0.5}
        ),
    ],
    ids=["clip", "weights"],
)
def test_parameters_of_steps(step):
    X, y = numbers()
    for last in (LogisticRegression(), DecisionTreeClassifier(max_depth=5, random_state=0)):
        assert_compact(make_pipeline(step, last).fit(X, y), 3 * X)


@pytest.mark.parametrize("method", ["sigmoid", "isotonic", "temperature"])
def test_calibration_of_tempered_trees(method):
    X, y = numbers(n_classes=3)
    trees = DecisionTreeClassifier(max_depth=3, random_state=0)
    fixed = {"temperature": 3.0, "alpha": 1.0, "augmentation": None, "cv": 2}
    model = DistilledClassifier(RandomForestClassifier(5, random_state=0), trees, **fixed)
    for labels_ in (y, y > 0):
        assert_compact(CalibratedClassifierCV(model, method=method, cv=2).fit(X, labels_), X)


def test_steep_isotonic_curves():
    X, y = numbers()
    model = CalibratedClassifierCV(network(encoder=None), method="isotonic", cv=2).fit(X, y)
    assert_compact(model, X, 1e-6, "float32")


def test_levels_that_are_large_numbers():
    X = np.tile([[1e17], [5e16]], (30, 1))
    one_hot = OneHotEncoder(handle_unknown="ignore")
    model = make_pipeline(one_hot, LogisticRegression()).fit(X, np.arange(60) % 2)
    assert_compact(model, np.array([[1e17], [5e16], [7.0]]))


def test_unknown_levels_that_a_linear_model_refuses():
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    X = pd.DataFrame({"a": ["x", "y"] * 30})
    made = compact(make_pipeline(encoder, LogisticRegression()).fit(X, np.arange(60) % 2))
    assert made.predict_one({"a": "y"}) == 1
    with pytest.raises(ValueError, match="'a' has the unknown level 'z'"):
        made.predict_one({"a": "z"})


@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.EarlyStoppingWarning")
def test_a_table_of_which_no_column_varies():
    X = pd.DataFrame({"a": [1.0] * 40, "b": ["x"] * 40})
    module = ModuleClassifier(MLP, encoder="auto", max_epochs=2, random_state=0)
    for model in (network(), network(n_members=2), module):
        assert_compact(model.fit(X, np.arange(40) % 2), X, 1e-7)


def test_one_class_and_a_first_step_that_does_nothing():
    X, y = numbers()
    assert compact(DecisionTreeClassifier().fit(X, 0 * y)).predict_proba(X).shape == (200, 1)
    assert_compact(make_pipeline("passthrough", LogisticRegression()).fit(X, y), X)


class Squared(StandardScaler):
    def transform(self, X, copy=None):
        return super().transform(X) ** 2


class Half(LogisticRegression):
    def predict_proba(self, X):
        return np.full((len(X), 2), 0.5)


def check_array(X):
    return X**2


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (Half(), "Half is none"),
        (make_pipeline(Squared(), LogisticRegression()), "the step Squared"),
        (make_pipeline(FunctionTransformer(check_array), LogisticRegression()), "may do anything"),
        (make_pipeline(MissingIndicator(features="all"), LogisticRegression()), "MissingIndicator"),
        (
            make_pipeline(
                StandardScaler(), TableEncoder(categorical_features=[0]), LogisticRegression()
            ),
            "levels of a column that was scaled",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_could_be_written_wrongly_is_refused(model, match):
    X, y = numbers()
    with pytest.raises(ValueError, match=match):
        compact(model.fit(X.round(), y))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("model", "match"),
    [
        (RidgeClassifier(), "RidgeClassifier predicts no probabilities"),
        (MLPRegressor(activation="tanh", max_iter=2), "MLPRegressor has the activation 'tanh'"),
        (
            TransformedTargetRegressor(Ridge(), transformer=QuantileTransformer(n_quantiles=9)),
            "another transformation than StandardScaler",
        ),
        (
            TransformedTargetRegressor(Ridge(), func=np.sqrt, inverse_func=np.square),
            "numpy.expm1 as inverse_func",
        ),
        (KernelTeacherRegressor(), "KernelTeacherRegressor is none of the models"),
        (GradientBoostingRegressor(n_estimators=2), "GradientBoostingRegressor is none of"),
    ],
    ids=str,
)
def test_regressors_that_cannot_be_written_are_named(model, match):
    X, y = numbers()
    with pytest.raises(ValueError, match=match):
        compact(model.fit(X, y))


def test_networks_of_several_labels_are_refused():
    X, y = numbers()
    for model in (network(), make_pipeline(TableEncoder(), network(encoder=None))):
        with pytest.raises(ValueError, match="TwoLayerPGDClassifier predicts several labels"):
            compact(model.fit(X, np.column_stack([y, 1 - y])))
    model = MLPClassifier((4,), max_iter=9, random_state=0)
    with pytest.warns(match="hasn't converged"):
        model.fit(X, np.column_stack([y, 1 - y]))
    with pytest.raises(ValueError, match="MLPClassifier with several labels"):
        compact(model)


def test_levels_that_no_file_holds_are_refused():
    X = pd.DataFrame({"a": pd.cut(np.arange(60.0), 3)})
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(X, np.arange(60) % 2)
    with pytest.raises(ValueError, match="column 0 has levels of the type Interval"):
        compact(model)


def test_rows_that_are_other_mappings_or_have_other_lengths():
    model = fitted("network")
    made, row = compact(model), table().iloc[4].to_dict()
    expected = made.predict_proba_one(row)
    names = list(row)
    named = namedtuple("Row", names[::-1])(**row)
    for same in (MappingProxyType(row), UserDict(row), pd.Series(row)[::-1], named):
        np.testing.assert_array_equal(made.predict_proba_one(same), expected)
        np.testing.assert_allclose(made.predict_proba([same])[0], expected, atol=1e-12)
    with pytest.raises(TypeError, match="a dict, a Series or a sequence"):
        made.predict_one(set(names))
    with pytest.raises(ValueError, match="has a name twice"):
        made.predict(pd.concat([table(), table()[["age"]]], axis=1))
    with pytest.raises(TypeError, match="one row is for predict_one"):
        made.predict({**row, "color": "red"})
    with pytest.raises(TypeError, match="got a table: it is for predict"):
        made.predict_one(table()[:1])
    for one in (pd.Series(row), list(row.values())):
        with pytest.raises(TypeError, match=r"sequence of rows, and holds .* predict_one"):
            made.predict(one)
    X, y = numbers()
    plain = compact(LogisticRegression().fit(X, y))
    with pytest.raises(ValueError, match="a row has 3 cells"):
        plain.predict_one(pd.Series([1.0, 2.0, 3.0, 4.0]))


def test_what_cannot_be_written_is_named():
    X = np.random.RandomState(0).normal(size=(60, 3))
    y = X[:, 0] > 0
    with pytest.raises(ValueError, match="the step PCA"):
        compact(make_pipeline(PCA(), LogisticRegression()).fit(X, y))
    with pytest.raises(ValueError, match="dtype must be one of"):
        compact(LogisticRegression().fit(X, y), dtype="int4")
    with pytest.raises(ValueError, match="search with refit"):
        compact(GridSearchCV(LogisticRegression(), {"C": [1, 2]}, refit=False).fit(X, y))


def test_a_frozen_model_is_written():
    X = np.random.RandomState(0).normal(size=(60, 3))
    frozen = FrozenEstimator(LogisticRegression().fit(X, X[:, 0] > 0))
    np.testing.assert_allclose(
        compact(frozen).predict_proba(X), frozen.predict_proba(X), rtol=0, atol=1e-6
    )


def test_saving_into_a_folder_that_does_not_exist_names_both(tmp_path):
    made, path = compact(fitted("distilled")), tmp_path / "new" / "model.skdc"
    with pytest.raises(FileNotFoundError) as error:
        made.save(path)
    assert str(error.value) == (
        f"{str(path)!r} cannot be written: the folder {str(path.parent)!r} does not exist."
    )


def test_files(tmp_path):
    model = fitted("distilled")
    made, path = compact(model), tmp_path / "model.skdc"
    made.save(path)
    assert path.stat().st_size == made.n_bytes_
    loaded = CompactModel.load(path)
    np.testing.assert_array_equal(loaded.predict_proba(table()), made.predict_proba(table()))
    assert loaded.classes_.tolist() == ["no", "yes"]
    assert loaded.feature_names_in_.tolist() == table().columns.tolist()
    assert loaded.versions_["sklearn_kd"]
    assert loaded.kinds_[:3] == ["number", "number", "text"]
    assert pickle.loads(pickle.dumps(loaded)).predict_one(table().iloc[0]) == loaded.predict(
        table()[:1]
    )
    assert list(tmp_path.iterdir()) == [path]
    data = path.read_bytes()
    assert compact(model).__reduce__()[1][0] == data  # deterministic


@pytest.mark.parametrize(
    "y",
    [
        pd.Series(["a", "b"] * 30),
        pd.Series(["a", "b"] * 30, dtype=object),
        pd.Series(["a", "b"] * 30, dtype="category"),
        np.array(["a", "b"] * 30),
        ["a", "b"] * 30,
        pd.Series([3, 7] * 30),
        pd.Series([True, False] * 30),
        np.array([1, 2] * 30, dtype=np.float32),
    ],
    ids=lambda y: str(getattr(y, "dtype", "list")),
)
def test_labels_of_one_row(y):
    X = pd.DataFrame({"a": np.tile([0.0, 1.0], 30)})
    model = DecisionTreeClassifier().fit(X, y)
    label = compact(model).predict_one({"a": 1.0})
    assert label == np.asarray(y)[1]
    assert type(label) in (str, int, bool, float)


def test_damaged_files(tmp_path):
    compact(fitted("network")).save(tmp_path / "model.skdc")
    data = (tmp_path / "model.skdc").read_bytes()
    for match, damaged in [
        ("no compact model", b""),
        ("no compact model", b"PK\x03\x04" + data[4:]),
        ("cut short", data[:-1]),
        ("cut short", data[:100]),
        ("cut short", data + b"\x00"),
        ("checksum differs", data[:-1] + bytes([data[-1] ^ 1])),
        ("format 2", data[:8] + struct.pack("<H", 2) + data[10:]),
    ]:
        with pytest.raises(ValueError, match=match):
            CompactModel(damaged)


def resealed(data, change):
    """Return a file whose description is changed, with the checksum that belongs to it."""
    header = _compact_model.HEADER
    raw = zlib.decompress(data[header.size + 8 :])
    (n_text,) = struct.unpack_from("<I", raw)
    spec = json.loads(raw[4 : 4 + n_text])
    text = json.dumps(change(spec)).encode()
    raw = struct.pack("<I", len(text)) + text + raw[4 + n_text :]
    body = struct.pack("<Q", len(raw)) + zlib.compress(raw)
    return header.pack(data[:8], 1, sha256(body).digest(), len(body)) + body


def leaves_of(spec, path=()):
    """Yield the path of each value of a description."""
    if isinstance(spec, dict):
        for key in spec:
            yield from leaves_of(spec[key], (*path, key))
    elif isinstance(spec, list) and spec:
        for i in range(min(len(spec), 3)):
            yield from leaves_of(spec[i], (*path, i))
    else:
        yield path


def with_value(spec, path, value):
    spec = json.loads(json.dumps(spec))
    inner = spec
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return spec


@pytest.mark.parametrize(
    "change",
    [
        {"classes_dtype": "<U500000000"},
        {"classes_dtype": "M8[s]"},
        {"names": "abcdefghij"},
        {"names": ["a"] * 10},
        {"kinds": ["unused"] * 10},
        {"arrays": [["<f8", [], True]]},
        {"arrays": [["|i1", [2**30], True]]},
    ],
    ids=str,
)
def test_a_forged_description_is_an_error(change):
    data = compact(fitted("network")).__reduce__()[1][0]
    with pytest.raises(ValueError, match=r"the file (holds no valid model|is)"):
        CompactModel(resealed(data, lambda spec: {**spec, **change}))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["network of members", "tree", "boosting", "isotonic", "MLP", "quantiles of members"]
    + ["regression tree", "gamma boosting"],
)
def test_a_file_that_was_forged_is_an_error_or_a_model(name):
    """Each value of the description is replaced, and the checksum made anew."""
    data = compact(fitted(name)).__reduce__()[1][0]
    specs = []
    resealed(data, lambda spec: specs.append(spec) or spec)
    row = table().iloc[0].to_dict()
    for path in leaves_of(specs[0]):
        for value in (None, -1, 10**9, "x", [], {}, 1.5, True):
            forged = with_value(specs[0], path, value)
            try:
                made = CompactModel(resealed(data, lambda _, forged=forged: forged))
                answer = one_answer(made, row)
            except (ValueError, TypeError):
                continue
            assert np.isfinite(answer).all(), path


@pytest.mark.slow
def test_a_file_with_random_bytes_is_an_error():
    data = compact(fitted("network")).__reduce__()[1][0]
    rng = np.random.RandomState(0)
    for _ in range(2000):
        damaged = bytearray(data)
        for place in rng.randint(0, len(data), rng.randint(1, 9)):
            damaged[place] ^= rng.randint(1, 256)
        if bytes(damaged) != data:
            with pytest.raises(ValueError, match="the file"):
                CompactModel(bytes(damaged))


def test_threads_share_a_model():
    made, X = compact(fitted("network")), table()
    expected, rows = made.predict_proba(X), X.to_dict("records")
    found = [None] * 8

    def predict(i):
        found[i] = [made.predict_proba_one(row) for row in rows]

    threads = [threading.Thread(target=predict, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in found:
        np.testing.assert_allclose(each, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["distilled", "quantiles"])
def test_the_file_of_the_runtime_needs_numpy_alone(name, tmp_path):
    model = fitted(name)
    compact(model).save(tmp_path / "model.skdc")
    runtime = Path(_compact_model.__file__).read_bytes()
    (tmp_path / "compact_model.py").write_bytes(runtime)
    row = {"size": 0.3, "age": 40, "color": "red", "job": "cook", "flag": True, "level": "low"}
    row |= {"stamp": 1e6, "rare": "common", "count": 2, "constant": 7}
    method = {"distilled": "predict_proba", "quantiles": "predict_quantiles"}[name]
    script = f"""
import sys
before = set(sys.modules)
import numpy
with_numpy = set(sys.modules)
from compact_model import CompactModel
print(CompactModel.load("model.skdc").{method}_one({row!r}).tolist())
new = {{name.split(".")[0] for name in set(sys.modules) - with_numpy}}
assert new <= set(sys.stdlib_module_names) | {{"numpy", "compact_model"}}, new
assert "numpy.ma" not in sys.modules and "tempfile" not in sys.modules  # which start slowly
"""
    output = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert output.returncode == 0, output.stderr
    expected = getattr(model, method)(pd.DataFrame([row]))[0]
    np.testing.assert_allclose(json.loads(output.stdout), expected, atol=1e-6)


@pytest.mark.parametrize(("func", "inverse_func"), [(np.log, np.exp), (np.log1p, np.expm1)])
def test_rounding_is_allowed_what_an_exponential_makes_of_it(func, inverse_func):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 3))
    y = np.exp(2 * X[:, 0] + rng.normal(size=150) * (1 + np.abs(X[:, 1])))
    for seed in range(3):
        network = TwoLayerPGDRegressor(8, max_iter=60, n_init=1, random_state=seed)
        model = TransformedTargetRegressor(network, func=func, inverse_func=inverse_func)
        expected = model.fit(X, y).predict(X)
        found = compact(model, X).predict(X)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())

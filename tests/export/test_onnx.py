"""Models in ONNX: answers of onnxruntime, inputs, metadata and what cannot be written."""

import json

import numpy as np
import onnx
import pandas as pd
import pytest
import skl2onnx
import torch
from sklearn.base import is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingRegressor, GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from sklearn_kd import (
    BatchedGridSearchCV,
    KernelTeacher,
    KernelTeacherRegressor,
    ModuleClassifier,
    ModuleRegressor,
    SelfDistillClassifier,
    TableEncoder,
)
from sklearn_kd.export import compact, register_onnx_converters, to_onnx
from sklearn_kd.export._onnx import graph as onnx_graph, write as onnx_write
from sklearn_kd.modules import MLP, SmallCNN
from tests._helpers.exported_models import (
    assert_answers_close,
    beside_thresholds,
    boosted_categories,
    boosted_numbers,
    cases,
    distilled,
    distilled_regressor,
    expected_answers,
    fitted,
    labels,
    network,
    new_rows,
    numbers,
    regressor,
    table,
    targets,
    with_unseen_class,
)
from tests._helpers.onnx_sessions import answers, session_of

TOLERANCE = {"float64": 1e-12, "float32": 1e-6}
NEWEST = onnx.defs.onnx_opset_version()


def assert_answers(model, X, tolerance=None, **options):
    graph = to_onnx(model, **options)
    expected = expected_answers(model, X)
    tolerance = tolerance or TOLERANCE[options.get("dtype", "float32")]
    first, *others = answers(graph, X)
    if is_regressor(model):
        n = expected.shape[1]
        found = np.column_stack([each.reshape(len(X), -1) for each in (first, *others)])
        assert_answers_close(found[:, :n], expected, tolerance, model)
        assert all(each.dtype == float for each in (first, *others))
        return graph
    np.testing.assert_allclose(others[0], expected, rtol=0, atol=tolerance)
    is_clear = np.diff(np.sort(expected, axis=1)[:, -2:], axis=1)[:, 0] > 10 * tolerance
    np.testing.assert_array_equal(first[is_clear], model.predict(X)[is_clear])
    return graph


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize(("name", "n", "kind"), cases())
def test_answers_are_those_of_the_model(name, n, kind):
    model, X = fitted(name, n, kind), new_rows()
    if set(compact(model).kinds_) == {"unused"}:  # trees do not split targets of 1e-9
        with pytest.raises(ValueError, match="reads no column"):
            to_onnx(model)
        return
    for dtype, tolerance in TOLERANCE.items():
        for opset in (13, NEWEST):
            options = {"dtype": dtype, "target_opset": opset, "by_column": opset == 13}
            graph = assert_answers(model, X, tolerance, **options)
            assert graph.opset_import[0].version == opset
        to_onnx(model, table(), dtype=dtype)  # compares the answers
    found = answers(graph, X)[0]
    codes = {"text": "O", "boolean": "b", "integer": "i"}
    assert found.dtype.kind == codes.get(kind, "f")


def test_inputs_outputs_and_metadata():
    X = table().rename(columns={"size": "mean radius (mm)", "age": "b-c"})
    model = network().fit(X, labels(2, "integer"))
    graph = assert_answers(model, X)
    session = session_of(graph)
    kinds = {each.name: each.type for each in session.get_inputs()}
    assert list(kinds) == X.columns.tolist()[:-1]  # the last one is constant
    assert kinds["b-c"] == kinds["flag"] == "tensor(double)"
    assert kinds["color"] == "tensor(string)"
    assert [each.name for each in session.get_outputs()] == ["label", "probabilities"]
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == [-1, 3]
    assert json.loads(metadata["versions"])["sklearn_kd"]
    together = session_of(to_onnx(model, by_column=False))
    assert [each.name for each in together.get_inputs()] == ["numbers", "texts"]


@pytest.mark.parametrize("n", [1, 2])
def test_outputs_and_metadata_of_regressors(n):
    X = table().rename(columns={"size": "label", "age": "probabilities"})
    model = regressor(loss="quantile", quantiles=(0.1, 0.5)).fit(X, targets(n, "numbers"))
    session = session_of(to_onnx(model, X))
    outputs = {each.name: (each.type, each.shape) for each in session.get_outputs()}
    assert outputs == {
        "variable": ("tensor(double)", ["n", n]),
        "quantiles": ("tensor(double)", ["n", *[2] * n]),
    }
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["quantiles"]) == [0.1, 0.5]
    assert "classes" not in metadata
    plain = to_onnx(regressor().fit(X, targets(n, "numbers")), X)
    assert [each.name for each in plain.graph.output] == ["variable"]
    assert {each.key for each in plain.metadata_props} == {"columns", "versions"}
    X = X.rename(columns={"label": "variable"})
    with pytest.raises(ValueError, match=r"\['variable'\] cannot be inputs of ONNX"):
        to_onnx(model.fit(X, targets(n, "numbers")))


def test_columns_that_the_model_does_not_read_are_no_inputs():
    X = table()[["age", "color"]].assign(other="text")
    tree = DecisionTreeClassifier(max_depth=1, random_state=0)
    graph = assert_answers(make_pipeline(TableEncoder(), tree).fit(X, X["age"] > 40), X)
    assert [each.name for each in graph.graph.input] == ["age"]


@pytest.mark.parametrize("name", ["", "label", "probabilities", "/age"])
def test_names_that_no_input_can_have(name):
    X = table()[["age"]].set_axis([name], axis=1)
    model = network().fit(X, labels(2, "text"))
    with pytest.raises(ValueError, match=r"cannot be inputs of ONNX.*by_column=False"):
        to_onnx(model)
    assert_answers(model, X, by_column=False)


def test_missing_cells_of_texts():
    X = pd.DataFrame({"a": ["x", "y", None] * 20, "b": ["None", "nan", "x"] * 20})
    model = make_pipeline(TableEncoder(), LogisticRegression()).fit(X, np.arange(60) % 2)
    session = session_of(to_onnx(model))

    def proba(a, b):
        cells = {"a": np.array([[a]], dtype=object), "b": np.array([[b]], dtype=object)}
        return session.run(["probabilities"], cells)[0]

    for missing in (None, np.nan, pd.NA, pd.NaT, "nan"):
        expected = model.predict_proba(pd.DataFrame({"a": [None], "b": ["x"]}))
        np.testing.assert_allclose(proba(missing, "x"), expected, atol=1e-6)
    for level in ("None", "nan"):  # which the training rows have
        expected = model.predict_proba(pd.DataFrame({"a": ["x"], "b": [level]}))
        np.testing.assert_allclose(proba("x", level), expected, atol=1e-6)


def test_rows_that_the_model_refuses_have_no_probabilities():
    one_hot = OneHotEncoder(handle_unknown="error")
    X = pd.DataFrame({"a": ["x", "y"] * 30})
    graph = to_onnx(make_pipeline(one_hot, LogisticRegression()).fit(X, np.arange(60) % 2))
    _, proba = answers(graph, pd.DataFrame({"a": ["x", "z", None]}))
    assert np.isnan(proba).all(axis=1).tolist() == [False, True, True]
    X, y = numbers()
    rows = np.array([[0.0, 0.0, 0.0], [0.0, np.inf, 0.0], [np.nan, 0.0, 0.0]])
    tree = DecisionTreeClassifier(max_depth=3)
    for model, refused in (
        (network(encoder=None), [False, True, True]),
        (LogisticRegression(), [False, True, True]),
        (network(), [False, True, False]),
        (network(n_members=2), [False, True, False]),
        (make_pipeline(MinMaxScaler(clip=True), LogisticRegression()), [False, True, True]),
        (make_pipeline(MinMaxScaler(clip=True), SimpleImputer(), tree), [False, True, False]),
        (tree, [False, True, False]),
    ):
        _, proba = answers(to_onnx(model.fit(X, y)), rows)
        assert np.isnan(proba).all(axis=1).tolist() == refused


def test_boosted_trees_take_infinite_numbers():
    model, rows = boosted_numbers()
    assert_answers(model, rows, 1e-6)


@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_a_number_beside_a_threshold_is_on_the_side_of_the_model(shift):
    model, rows = beside_thresholds(shift)
    assert_answers(model, rows, dtype="float64")


def test_categories_of_boosted_trees():
    model, new = boosted_categories()
    assert_answers(model, new, dtype="float64")


def test_classes_that_the_student_never_saw():
    graph = assert_answers(with_unseen_class(), new_rows(), dtype="float64")
    assert json.loads(graph.metadata_props[0].value) == [-1, 3, 9]


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e9])
def test_columns_far_from_zero_keep_their_digits(offset):
    X, y = numbers()
    model = network(encoder=None).fit(10 * X + offset, y)
    for dtype, tolerance in TOLERANCE.items():
        assert_answers(model, 10 * X + offset, tolerance, dtype=dtype)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"kernel": "nngp"},
        {"kernel": "ntk-full", "depth": 3, "bias": 0.3},
        {"kernel": "laplace"},
        {"input_norm": None, "input_intercept": False},
        {"kernel": "ntk-full", "input_norm": None, "bias": 0.5},
        {"kernel": "laplace", "input_norm": None},
    ],
    ids=str,
)
def test_kernel_teachers(n_classes, params):
    """The rows of the fit are among those that are predicted, whose kernels are the hardest."""
    X = pd.concat([table(), new_rows()]).astype({"flag": object})
    model = KernelTeacher(**params, ridge=1e-6).fit(table(), labels(n_classes, "text"))
    assert_answers(model, X, 1e-7, dtype="float64")
    assert_answers(model, X, 1e-4)


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize(
    "params",
    [{}, {"kernel": "laplace", "fit_intercept": True}, {"kernel": "ntk-full", "input_norm": None}],
    ids=str,
)
def test_kernel_regressors(n, params):
    X = pd.concat([table(), new_rows()]).astype({"flag": object})
    for kind in ("numbers", "large", "far"):
        model = KernelTeacherRegressor(**params, ridge=1e-3).fit(table(), targets(n, kind))
        assert_answers(model, X, 1e-7, dtype="float64")
        assert_answers(model, X, 1e-4)
        to_onnx(model, table())  # compares the answers


class Network(torch.nn.Module):
    """Has an operator that onnxruntime lacks in float64, and draws its start."""

    def __init__(self, n_outputs):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(3, 4),
            torch.nn.GELU(),
            torch.nn.Dropout(),
            torch.nn.Linear(4, n_outputs),
        )

    def forward(self, rows):
        return self.layers(rows)


class NetworkThatBranches(Network):
    def forward(self, rows):
        logits = super().forward(rows)
        return logits if logits.sum() > 0 else 2 * logits


@pytest.mark.slow
def test_a_module_leaves_no_trace_of_its_export(capfd):
    X, y = numbers()
    model = ModuleClassifier(Network, max_epochs=1, random_state=0).fit(X, y)
    state = torch.get_rng_state()
    graph = to_onnx(model, X)
    assert torch.equal(state, torch.get_rng_state())
    assert capfd.readouterr() == ("", "")
    np.testing.assert_allclose(answers(graph, X)[1], model.predict_proba(X), rtol=0, atol=1e-5)
    assert model.module_state_["layers.0.weight"].dtype == np.float64


@pytest.mark.slow
def test_a_module_that_torch_cannot_export():
    X, y = numbers()
    model = ModuleClassifier(NetworkThatBranches, max_epochs=1, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match=r"torch\.onnx cannot export the module"):
        to_onnx(model)


@pytest.mark.parametrize("n_classes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_modules_of_torch(n_classes):
    X = np.random.RandomState(0).rand(30, 64).astype(np.float32)
    model = ModuleClassifier(SmallCNN, image_shape=(1, 8, 8), max_epochs=1, random_state=0)
    graph = to_onnx(model.fit(X, np.arange(30) % n_classes), X)
    for rows in (X, X[:1]):
        np.testing.assert_allclose(answers(graph, rows)[1], model.predict_proba(rows), atol=1e-5)
    with pytest.raises(ValueError, match="target_opset must be at least 18"):
        to_onnx(model, target_opset=13)
    model = ModuleRegressor(SmallCNN, image_shape=(1, 8, 8), max_epochs=1, random_state=0)
    y = 1e6 + np.arange(30 * n_classes).reshape(30, -1)
    found = answers(to_onnx(model.fit(X, y), X), X)[0]
    np.testing.assert_allclose(found, model.predict(X.astype(float)), atol=1e-3)


#: Pipelines with a step that has no description, so that skl2onnx converts them.
CONVERTED = {
    "network": make_pipeline(PCA(3), network(encoder=None)),
    "distilled": distilled(
        make_pipeline(PCA(3), network(encoder=None)), temperature=2.0, class_prior="uniform"
    ),
    "distilled, in a pipeline": make_pipeline(PCA(3), distilled(network(encoder=None))),
    "self-distilled": make_pipeline(PCA(3), SelfDistillClassifier(network(encoder=None))),
    "search": GridSearchCV(
        make_pipeline(PCA(), network(encoder=None)), {"pca__n_components": [2, 3]}, cv=2
    ),
    "batched search": make_pipeline(
        PCA(3), BatchedGridSearchCV(network(encoder=None), {"width": [2, 4]}, cv=2)
    ),
    "kernel": make_pipeline(PCA(3), KernelTeacher()),
    "MLP": make_pipeline(
        PCA(3), ModuleClassifier(MLP, module_params={"width": 4}, max_epochs=1, random_state=0)
    ),
    "calibrated": make_pipeline(PCA(3), CalibratedClassifierCV(network(encoder=None), cv=2)),
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", CONVERTED)
def test_models_that_skl2onnx_converts(name, n_classes):
    X = np.random.RandomState(0).normal(size=(150, 4))
    model = CONVERTED[name].fit(X, labels(n_classes, "text"))
    assert_answers(model, X, 1e-6, dtype="float64")
    assert_answers(model, X.astype(np.float32).astype(np.float64), 1e-5)


CONVERTED_REGRESSORS = {
    "MLP": make_pipeline(PCA(3), ModuleRegressor(MLP, max_epochs=1, random_state=0)),
    "network": make_pipeline(PCA(3), regressor(encoder=None)),
    "quantiles": make_pipeline(
        PCA(3), regressor(encoder=None, loss="quantile", quantiles=(0.2, 0.7))
    ),
    "search": GridSearchCV(
        make_pipeline(PCA(), regressor(encoder=None)), {"pca__n_components": [2, 3]}, cv=2
    ),
    "batched search": make_pipeline(
        PCA(3), BatchedGridSearchCV(regressor(encoder=None), {"width": [2, 4]}, cv=2)
    ),
    "distilled": distilled_regressor(make_pipeline(PCA(3), regressor(encoder=None))),
    "distilled, in a pipeline": make_pipeline(PCA(3), distilled_regressor(regressor(encoder=None))),
    "distilled boosting": distilled_regressor(
        GradientBoostingRegressor(n_estimators=3, random_state=0)
    ),
    "distilled neighbors": distilled_regressor(KNeighborsRegressor(3)),
    "pipeline of distilled tree": make_pipeline(
        PCA(3), distilled_regressor(DecisionTreeRegressor(max_depth=3))
    ),
    "kernel": make_pipeline(PCA(3), KernelTeacherRegressor()),
    "boosting": GradientBoostingRegressor(n_estimators=3, random_state=0),
    "linear": make_pipeline(PCA(3), Ridge()),
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "n"),
    [
        (name, n)
        for name in CONVERTED_REGRESSORS
        for n in (1, 2)
        if n == 1 or "boosting" not in name
    ],
)
def test_regressors_that_skl2onnx_converts(name, n):
    X = np.random.RandomState(0).normal(size=(150, 4)).astype(np.float32).astype(np.float64)
    y = X @ np.arange(8).reshape(4, 2)[:, :n] + 5.0
    model = CONVERTED_REGRESSORS[name].fit(X, y if n > 1 else y[:, 0])
    if (
        "boosting" not in name and "tree" not in name
    ):  # trees of skl2onnx have thresholds of float32
        found = answers(to_onnx(model, X, dtype="float64"), X)[0]
        np.testing.assert_allclose(found.ravel(), model.predict(X).ravel(), atol=1e-5)
    graph = to_onnx(model, X)
    found = answers(graph, X)[0]
    np.testing.assert_allclose(found.ravel(), model.predict(X).ravel(), rtol=1e-5, atol=1e-4)
    (output,) = graph.graph.output
    assert output.name == "variable"
    assert output.type.tensor_type.shape.dim[1].dim_value == n


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_several_targets_that_skl2onnx_does_not_convert():
    X = np.random.RandomState(0).normal(size=(30, 4))
    model = BaggingRegressor(Ridge(), 2, random_state=0).fit(X, X[:, :2])
    with pytest.raises(ValueError, match=r"60 rows of .* for 30 rows: .* model for each target"):
        to_onnx(model, X)
    single = model.fit(X, X[:, 0])
    found = answers(to_onnx(single, X), X)[0]
    np.testing.assert_allclose(found[:, 0], single.predict(X), atol=1e-5)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_quantiles_of_a_student_that_skl2onnx_converts():
    X = np.random.RandomState(0).normal(size=(60, 4)).astype(np.float32).astype(np.float64)
    options = {"teacher": KernelTeacherRegressor(), "quantiles": (0.1, 0.9), "alpha": 1.0}
    model = distilled_regressor(KNeighborsRegressor(3), **options).fit(X, X[:, 0])
    found = answers(to_onnx(model, X), X)
    np.testing.assert_allclose(found[0][:, 0], model.predict(X), atol=1e-5)


def test_encoded_tables_before_other_steps():
    X, new = table(), new_rows()
    model = make_pipeline(TableEncoder(), PCA(3), LogisticRegression()).fit(X, labels(3, "text"))
    graph = to_onnx(model, X, dtype="float64")
    np.testing.assert_allclose(answers(graph, new)[1], model.predict_proba(new), rtol=0, atol=1e-6)
    assert [each.name for each in graph.graph.input] == X.columns.tolist()
    with pytest.raises(ValueError, match=r"the step PCA .* skl2onnx needs rows X"):
        to_onnx(model)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_columns_that_a_converted_pipeline_takes_by_name():
    X = table().assign(flag=np.array([True, False, None] * 50, dtype=object))
    steps = make_column_transformer(
        (StandardScaler(), ["stamp", "count"]),
        (OneHotEncoder(handle_unknown="ignore"), ["rare"]),
        (TableEncoder(), ["color", "job"]),
        (TableEncoder(), ["flag"]),
    )
    model = make_pipeline(steps, PCA(3), LogisticRegression()).fit(X, labels(2, "text"))
    graph = to_onnx(model, X, dtype="float64")
    np.testing.assert_allclose(answers(graph, X)[1], model.predict_proba(X), rtol=0, atol=1e-6)
    mixed = make_column_transformer((TableEncoder(), ["stamp", "color"]))
    model = make_pipeline(mixed, PCA(1), LogisticRegression()).fit(X, labels(2, "text"))
    with pytest.raises(ValueError, match=r"column 0 of a step has texts in place of numbers"):
        to_onnx(model, X)


def test_missing_cells_in_columns_of_objects():
    flag = pd.Series([True, False, pd.NA, None] * 15, dtype=object)
    X = pd.DataFrame({"flag": flag, "a": np.linspace(0.0, 1.0, 60)})
    model = make_pipeline(TableEncoder(), LogisticRegression()).fit(X, [0, 1, 1] * 20)
    for by_column in (True, False):
        to_onnx(model, X, by_column=by_column)  # compares the answers


def test_a_student_that_skl2onnx_converts():
    X, y = numbers()
    student = GradientBoostingClassifier(n_estimators=3, random_state=0)
    model = distilled(student, alpha=1.0, temperature=2.0).fit(X, y)
    rows = X.astype(np.float32).astype(np.float64)
    assert_answers(model, rows, 1e-5)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "model",
    [
        KernelTeacher(),
        distilled(KernelTeacher()),
        distilled(network(encoder=None), class_prior="uniform"),
    ],
    ids=str,
)
def test_decision_values_that_are_no_logits(model, n_classes):
    """Values before the temperature, and with a class prior: skl2onnx calibrates them."""
    register_onnx_converters()
    X, y = numbers(n_classes=n_classes)
    options = {id(model): {"zipmap": False, "raw_scores": True}}
    types = [("X", skl2onnx.common.data_types.DoubleTensorType([None, None]))]
    graph = skl2onnx.convert_sklearn(model.fit(X, y), initial_types=types, options=options)
    decision = model.decision_function(X)
    expected = np.column_stack([-decision, decision]) if n_classes == 2 else decision
    found = session_of(graph).run(None, {"X": X})[1]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)
    to_onnx(CalibratedClassifierCV(model, cv=2).fit(X, y), X, dtype="float64")
    with pytest.raises(ValueError, match="needs target_opset=13 or more, got 12"):
        skl2onnx.to_onnx(model, X[:1], target_opset=12)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_options_of_skl2onnx():
    register_onnx_converters()
    register_onnx_converters()
    X, y = numbers()
    for n_classes in (2, 3):
        y = np.arange(len(X)) % n_classes
        model = network(encoder=None).fit(X, y)
        options = {id(model): {"zipmap": False, "raw_scores": True}}
        graph = skl2onnx.to_onnx(model, X[:1], options=options)
        scores = session_of(graph).run(None, {"X": X})[1]
        decision = model.decision_function(X)
        expected = np.column_stack([-decision, decision]) if n_classes == 2 else decision
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-12)
        single = X.astype(np.float32)
        mapped = session_of(skl2onnx.to_onnx(model, single[:1])).run(None, {"X": single})[1]
        found = [[row[label] for label in model.classes_] for row in mapped]
        np.testing.assert_allclose(found, model.predict_proba(single * 1.0), rtol=0, atol=1e-5)


def test_rows_are_compared():
    X, y = numbers()
    model = make_pipeline(StandardScaler(), PCA(2), network(encoder=None)).fit(X + 1e6, y)
    with pytest.raises(ValueError, match=r"differ by .* more than 0\.0001"):
        to_onnx(model, X + 1e6)
    to_onnx(model, X + 1e6, check=False)
    to_onnx(model, X + 1e6, dtype="float64")
    network_ = network().fit(table(), labels(2, "text"))
    to_onnx(network_, table())
    network_.output_weights_ = network_.output_weights_ * np.float64("nan")
    with pytest.raises(ValueError, match="more than 1e-06"):
        to_onnx(network_, table())


def test_rows_of_polars_are_compared():
    polars = pytest.importorskip("polars")
    X = table()
    rows = {name: [None if pd.isna(cell) else cell for cell in X[name]] for name in X}
    rows = polars.DataFrame(rows)
    to_onnx(network().fit(rows, labels(2, "text")), rows)
    model = make_pipeline(TableEncoder(), PCA(3), LogisticRegression())
    to_onnx(model.fit(rows, labels(2, "text")), rows, dtype="float64")


@pytest.mark.parametrize("dtype", ["Float32", "Float64"])
def test_numbers_of_polars_are_compared(dtype):
    polars = pytest.importorskip("polars")
    X, y = numbers()
    rows = polars.DataFrame(X, schema=dict.fromkeys("abcd"[: X.shape[1]], getattr(polars, dtype)))
    model = network().fit(rows, y)
    to_onnx(model, rows, dtype="float64")
    assert compact(model, rows, dtype="float64").largest_change_ < 1e-12
    to_onnx(make_pipeline(StandardScaler(), PCA(2), LogisticRegression()).fit(rows, y), rows)


def test_rows_are_compared_in_blocks(monkeypatch):
    """A laplace kernel has a number for each row, each training row and each column at once."""
    X, y = numbers()
    model = KernelTeacher(kernel="laplace", input_intercept=False).fit(X, y)
    monkeypatch.setattr(onnx_write, "BLOCK_VALUES", 7 * model.X_fit_.size)
    graph = to_onnx(model, X, dtype="float64")
    assert onnx_write._rows_of_a_block(graph) == 7
    with pytest.raises(ValueError, match=r"differ by .* more than 1e-18"):
        onnx_write._check_answers(graph, model, X, 1e-18)


@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.EarlyStoppingWarning")
def test_a_model_that_reads_no_column():
    X, y = pd.DataFrame({"a": [1.0] * 60, "b": ["x"] * 60}), np.arange(60) % 2
    mlp = ModuleClassifier(MLP, encoder="auto", max_epochs=1, random_state=0)
    for model in (network(), network(n_members=2), mlp):
        with pytest.raises(ValueError, match="reads no column"):
            to_onnx(model.fit(X, y))


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_rows_that_cannot_be_compared():
    X, y = table(), labels(2, "text")
    model = network().fit(X, y)
    with pytest.raises(ValueError, match=r"feature names should match"):
        to_onnx(model, X.drop(columns="color"))
    with pytest.raises(ValueError, match=r"the rows X lack the columns \['size'"):
        to_onnx(model, X.to_numpy())
    X, y = numbers()
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    with pytest.warns(UserWarning, match="X has feature names"):
        to_onnx(model, pd.DataFrame(X, columns=["a", "b", "c"]))
    with pytest.raises(ValueError, match="contains infinity"):
        to_onnx(model, np.full((1, 3), np.inf))


def test_what_cannot_be_written():
    X, y = numbers()
    with pytest.raises(ValueError, match="dtype must be one of"):
        to_onnx(LogisticRegression().fit(X, y), dtype="int8")
    for model in (LogisticRegression(), make_pipeline(PCA(2), LogisticRegression())):
        for opset, error in ((12, "must be >= 13"), (0, "must be >= 13"), (999, "must be <=")):
            with pytest.raises(ValueError, match=f"target_opset == {opset}, {error}"):
                to_onnx(model.fit(X, y), target_opset=opset)
        with pytest.raises(TypeError, match="target_opset must be an instance of int"):
            to_onnx(model, target_opset="13")
    with pytest.raises(ValueError, match=r"KMeans is none of the models .*guide.*lists\.$"):
        to_onnx(KMeans(2, n_init=1).fit(X), X)
    boosting = make_pipeline(PCA(2), GradientBoostingClassifier(n_estimators=2))
    with pytest.raises(ValueError, match=r"not valid for dtype='float64'"):
        to_onnx(boosting.fit(X, y), dtype="float64")
    with pytest.raises(ValueError, match=r"labels of ONNX are integers below 2\*\*63"):
        to_onnx(LogisticRegression().fit(X, y.astype(np.uint64) + 2**63))
    with pytest.raises(ValueError, match=r"kernel that is a function\. skl2onnx cannot"):
        to_onnx(KernelTeacher(kernel=lambda a, b: a @ b.T).fit(X, y))
    with pytest.raises(ValueError, match=r"a mean over random draws\. skl2onnx cannot"):
        to_onnx(KernelTeacher(method="margin").fit(*numbers(12)))
    with pytest.raises(ValueError, match="search with refit"):
        to_onnx(GridSearchCV(LogisticRegression(), {"C": [1, 2]}, refit=False).fit(X, y))
    with pytest.raises(ValueError, match="LinearSVC has no predict_proba"):
        to_onnx(LinearSVC().fit(X, y))
    ordinal = OrdinalEncoder()
    mixed = pd.DataFrame({"a": pd.Series([1, "x"] * 30, dtype=object)})
    with pytest.raises((ValueError, TypeError)):
        to_onnx(make_pipeline(ordinal, LogisticRegression()).fit(mixed, np.arange(60) % 2))


def test_a_package_that_is_missing(monkeypatch):
    X, y = numbers()
    model = LogisticRegression().fit(X, y)

    def import_module(name):
        raise ImportError(name)

    monkeypatch.setattr(onnx_graph.importlib, "import_module", import_module)
    with pytest.raises(ImportError, match=r"pip install 'sklearn-kd\[onnx\]'"):
        to_onnx(model)

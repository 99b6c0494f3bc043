"""Types of parameters, labels and cells that NumPy and pandas users pass."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_kd import (
    BatchedGridSearchCV,
    DistilledClassifier,
    KernelTeacher,
    ModuleClassifier,
    SelfDistillClassifier,
    TwoLayerPGDClassifier,
)
from sklearn_kd.datasets import add_label_noise, make_transfer_rows
from sklearn_kd.exceptions import TransferRowsWarning
from sklearn_kd.inspection import should_distill
from sklearn_kd.modules import MLP
from sklearn_kd.theory import required_width
from tests._helpers.data import blobs

X, Y = blobs(60, n_classes=2)
NETWORK = TwoLayerPGDClassifier(
    4, max_iter=4, n_init=1, init="symmetric", random_state=0, encoder=None
)
MODULE = ModuleClassifier(MLP, max_epochs=2, random_state=0)
FIXED = {"alpha": 0.5, "temperature": 1.0, "augmentation": None, "random_state": 0}
DISTILLED = DistilledClassifier(LogisticRegression(), NETWORK, **FIXED)
SELF = SelfDistillClassifier(
    clone(NETWORK).set_params(early_stopping=False), memory=None, random_state=0
)
#: Estimator, and values of its numeric parameters that float16 and int8 represent exactly.
NUMBERS = {
    "network": (
        NETWORK,
        {
            "width": 6, "radius": 1.0, "learning_rate": 0.25, "max_iter": 3, "batch_size": 20,
            "n_init": 2, "momentum": 0.5, "alpha": 0.75, "temperature": 2.0,
            "validation_fraction": 0.25, "n_iter_no_change": 2, "random_state": 3,
        },
    ),
    "module": (
        MODULE,
        {
            "learning_rate": 0.25, "max_epochs": 3, "batch_size": 20, "weight_decay": 0.5,
            "clip_norm": 2.0, "alpha": 0.75, "temperature": 2.0, "validation_fraction": 0.25,
            "n_iter_no_change": 2, "random_state": 3,
        },
    ),
    "kernel": (
        KernelTeacher("ntk-full", random_state=0),
        {"depth": 2, "bias": 0.5, "ridge": 0.5, "training_time": 2.0, "max_memory": 4.0},
    ),
    "laplace": (KernelTeacher("laplace"), {"bandwidth": 2.0}),
    "nystroem": (KernelTeacher(solver="nystroem", random_state=0), {"n_components": 20}),
    "distilled": (
        DISTILLED, {"alpha": 0.75, "temperature": 2.0, "n_augmented": 50, "random_state": 3},
    ),
    "self": (
        SELF.set_params(target="soft"),
        {"target_temperature": 0.25, "strength": 0.5, "memory": 0.5, "warm_up": 0.25},
    ),
    "search": (
        BatchedGridSearchCV(NETWORK, {"width": [2, 4]}, cv=2),
        {"halving_factor": 2.0, "max_memory": 4.0},
    ),
}  # fmt: skip
CASES = [(name, parameter) for name, (_, values) in NUMBERS.items() for parameter in values]
FLOATS = [np.float32, np.float16, np.longdouble]
INTEGERS = [np.int64, np.int8, np.uint8]


def fitted_proba(estimator, X):
    soft = {}
    if hasattr(estimator, "alpha") and not hasattr(estimator, "teacher"):
        soft = {"soft_targets": np.column_stack([1 - Y * 0.5 - 0.25, Y * 0.5 + 0.25])}
    return estimator.fit(X, Y, **soft).predict_proba(X)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("name", "parameter"), CASES)
@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.CleanLabelsWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_numpy_numbers_are_numbers(name, parameter, dtype):
    estimator, values = NUMBERS[name]
    value = values[parameter]
    expected = fitted_proba(clone(estimator).set_params(**{parameter: value}), X.astype(dtype))
    for kind in INTEGERS if isinstance(value, int) else FLOATS:
        given = kind(value)
        model = clone(estimator).set_params(**{parameter: given})
        np.testing.assert_array_equal(fitted_proba(model, X.astype(dtype)), expected)
        assert getattr(model, parameter) is given


def test_whole_numbers_are_floats():
    expected = clone(NETWORK).set_params(radius=1.0).fit(X, Y).predict_proba(X)
    for value in (1, np.int64(1), np.int8(1), np.uint8(1)):
        model = clone(NETWORK).set_params(radius=value).fit(X, Y)
        np.testing.assert_array_equal(model.predict_proba(X), expected)


def test_numbers_that_float16_rounds():
    """1 - alpha in float16 would give labels that do not sum to one."""
    third = np.float16(0.1)
    plain, rounded = (
        DistilledClassifier(LogisticRegression(), RandomForestClassifier(5), **FIXED)
        .set_params(alpha=alpha)
        .fit(X, Y)
        .predict_proba(X)
        for alpha in (float(third), third)
    )
    np.testing.assert_array_equal(rounded, plain)
    far = TwoLayerPGDClassifier(2, max_iter=2, temperature=np.float16(300), random_state=0)
    assert np.isfinite(fitted_proba(far, X)).all()  # 300 ** 2 is not finite in float16


def test_numbers_of_functions():
    wide = required_width(0.25, 0.125, 100, labels="hard", delta=0.125)
    small = required_width(
        np.float16(0.25), np.float32(0.125), np.uint8(100), labels="hard", delta=np.float16(0.125)
    )
    assert small == wide
    rows = make_transfer_rows(X, 200, method="gibbs", random_state=0)
    again = make_transfer_rows(X, np.uint8(200), n_neighbors=np.int8(5), method="gibbs",
                               random_state=0)  # fmt: skip
    np.testing.assert_array_equal(again, rows)
    third = np.float16(0.1)
    plain, rounded = (
        should_distill(LogisticRegression(), LogisticRegression(), X, Y, alpha=alpha, cv=2)
        for alpha in (float(third), third)
    )
    assert rounded.label_gain == plain.label_gain
    assert type(rounded.alpha) is float
    with pytest.raises(ValueError, match="bias must be at most 1e"):
        KernelTeacher("ntk-full", bias=2e6).fit(X, Y)


# ---- labels

ESTIMATORS = {
    "network": NETWORK,
    "module": MODULE,
    "kernel": KernelTeacher(),
    "native": DISTILLED,
    "expansion": DistilledClassifier(LogisticRegression(), RandomForestClassifier(5), **FIXED),
    "self": SELF,
    "search": BatchedGridSearchCV(NETWORK, {"width": [2, 4]}, cv=2),
}
FLAGS = Y.astype(bool)
LABELS = {
    "bool": (FLAGS, bool),
    "list": (FLAGS.tolist(), bool),
    "Series": (pd.Series(FLAGS), bool),
    "nullable": (pd.Series(FLAGS, dtype="boolean"), bool),
    "categories of bool": (pd.Series(FLAGS, dtype="category"), bool),
    "int8": (Y.astype(np.int8), np.int8),
    "uint8": (Y.astype(np.uint8), np.uint8),
    "float32": (Y.astype(np.float32), np.float32),
    "Int64": (pd.Series(Y, dtype="Int64"), np.int64),
    "UInt8": (pd.Series(Y, dtype="UInt8"), np.uint8),
    "categories of int": (pd.Series(Y, dtype="category"), np.int64),
    "str": (np.where(FLAGS, "a", "b"), "<U1"),
    "list of np.str_": (list(np.where(FLAGS, "a", "b")), "<U1"),
    "categories of str": (pd.Series(np.where(FLAGS, "a", "b"), dtype="category"), object),
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.CleanLabelsWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_labels_keep_their_type(name, kind):
    y, dtype = LABELS[kind]
    model = clone(ESTIMATORS[name]).fit(X, y)
    assert model.classes_.dtype == dtype
    predicted = model.predict(X)
    assert predicted.dtype == dtype
    assert model.score(X, y) == np.mean(predicted == np.asarray(y, dtype=dtype))


@pytest.mark.parametrize(
    "columns",
    [[False, True], [0, 1], [0.0, 1.0], pd.Index([False, True], dtype=object)],
    ids=["bool", "int", "float", "objects"],
)
@pytest.mark.parametrize("name", ["network", "module", "native", "expansion"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_boolean_labels_with_the_columns_of_soft_targets(name, columns):
    soft = np.column_stack([1 - Y * 0.5 - 0.25, Y * 0.5 + 0.25])
    model = clone(ESTIMATORS[name]).fit(X, FLAGS, soft_targets=pd.DataFrame(soft, columns=columns))
    assert model.classes_.dtype == bool
    assert model.predict(X).dtype == bool
    plain = clone(ESTIMATORS[name]).fit(X, FLAGS, soft_targets=soft)
    np.testing.assert_array_equal(model.predict_proba(X), plain.predict_proba(X))
    # a third class needs another type
    wide = pd.DataFrame(np.column_stack([soft, np.zeros(60)]), columns=[0, 1, 2])
    model = clone(ESTIMATORS[name]).fit(X, FLAGS, soft_targets=wide)
    assert model.classes_.tolist() == [0, 1, 2]


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.float64])
def test_boolean_labels_with_a_frozen_teacher_of_numbers(dtype):
    teacher = FrozenEstimator(LogisticRegression().fit(X, Y.astype(dtype)))
    for student in (NETWORK, RandomForestClassifier(5)):
        model = DistilledClassifier(teacher, student, **FIXED).fit(X, FLAGS)
        assert model.classes_.dtype == bool
        assert model.predict(X).dtype == bool
        assert model.score(X, FLAGS) > 0.8


def test_boolean_labels_of_other_functions():
    flags = pd.Series(FLAGS, dtype="boolean")
    noisy = add_label_noise(flags, 0.2, random_state=0)
    assert noisy.y.dtype == bool
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        errors = clone(SELF).fit(X, flags).find_label_errors(X, flags, cv=2)
    assert errors["given_label"].dtype == errors["suggested_label"].dtype == bool


# ---- cells

UNHASHABLE = {
    "list": [1, 2],
    "dict": {"a": 1},
    "set": {1, 2},
    "ndarray": np.arange(2),
}


@pytest.mark.parametrize("method", ["gibbs", "munge"])
@pytest.mark.parametrize("kind", UNHASHABLE)
def test_cells_without_a_hash_are_named_before_any_fit(kind, method):
    cells = pd.Series([UNHASHABLE[kind]] * 60, dtype=object)
    frame = pd.DataFrame({"x": X[:, 0], "tags": cells})
    says = rf"column 'tags' of X has cells of the type {kind}, which cannot be compared"
    with pytest.raises(TypeError, match=says):
        make_transfer_rows(frame, 10, method=method)
    objects = np.empty((60, 2), dtype=object)
    objects[:, 0] = X[:, 0]
    for row in range(60):
        objects[row, 1] = UNHASHABLE[kind]
    with pytest.raises(TypeError, match=says.replace("'tags'", "1")):
        make_transfer_rows(objects, 10, method=method)

    def refuse(frame):
        raise AssertionError("fitted before the check")

    pipeline = make_pipeline(FunctionTransformer(refuse), LogisticRegression())
    model = DistilledClassifier(pipeline, pipeline, augmentation=method)
    with pytest.raises(TypeError, match=says):
        model.fit(frame, Y)


def test_cells_without_a_hash_in_a_default_fit():
    rng = np.random.RandomState(0)
    frame = pd.DataFrame({"x": rng.normal(size=150), "tags": [[1]] * 150})
    pipeline = make_pipeline(FunctionTransformer(lambda X: X[["x"]]), LogisticRegression())
    y = (frame["x"] > 0).astype(int)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        model = DistilledClassifier(pipeline, pipeline, random_state=0).fit(frame, y)
    assert model.score(frame, y) > 0.9
    (about_rows,) = [each for each in shown if each.category is TransferRowsWarning]
    assert "column 'tags' of X has cells of the type list" in str(about_rows.message)
    # tuples are values like others
    frame["tags"] = [(1, k) for k in range(150)]
    assert len(make_transfer_rows(frame, 50, method="gibbs", random_state=0)) == 50

"""Anything small goes in; a clear error or probabilities come out."""

import warnings

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, example, given, settings, strategies as st
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning

from sklearn_kd import TwoLayerPGDClassifier, TwoLayerPGDRegressor, exceptions
from sklearn_kd.exceptions import DivergenceError
from tests._helpers.estimators import fitted_names

ALLOWED_ERRORS = (ValueError, TypeError, DivergenceError)
ALLOWED_WARNINGS = (
    ConvergenceWarning,
    DataConversionWarning,  # y as a column
    *(getattr(exceptions, name) for name in exceptions.__all__ if name.endswith("Warning")),
)

MAGNITUDES = [1e-300, 1e-200, 1e-30, 1e-3, 1.0, 1.0, 1.0, 1e6, 1e30, 1e200, 1e300]


@st.composite
def rows(draw, n, d):
    rng = np.random.RandomState(draw(st.integers(0, 2**16)))
    X = rng.normal(size=(n, d))
    if draw(st.booleans()):  # few distinct values: duplicate rows, constant columns
        X = np.round(X)
    for column in range(d):
        X[:, column] *= draw(st.sampled_from(MAGNITUDES))
        if draw(st.integers(0, 4)) == 0:
            X[:, column] += draw(st.sampled_from([1.0, 1e6, 1e15, 1e300]))
        if draw(st.integers(0, 5)) == 0:
            X[:, column] = draw(st.sampled_from([0.0, 0.1, -1e300, 1e-320]))
    dtype = draw(st.sampled_from([np.float64, np.float64, np.float32, np.int32, np.float16]))
    limits = np.finfo(dtype) if np.dtype(dtype).kind == "f" else np.iinfo(dtype)
    X = X.clip(float(limits.min), float(limits.max)).astype(dtype)
    if draw(st.integers(0, 9)) == 0 and X.dtype.kind == "f":
        X[draw(st.integers(0, n - 1)), 0] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    return draw(st.sampled_from([X, X, np.asfortranarray(X), pd.DataFrame(X), X.tolist()]))


@st.composite
def labels(draw, n):
    alphabet = draw(
        st.sampled_from([
            [0, 1],
            [-1, 1],
            [3, 1, 7],
            ["b", "a"],
            ["x", "", "long label", "z"],
            [True, False],
            [0.0, 1.0],
            [5],
        ])
    )  # fmt: skip
    y = [draw(st.sampled_from(alphabet)) for _ in range(n)]
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return pd.Series(y)
    if kind == 1:
        return np.array(y, dtype=object)
    if kind == 2:
        return np.array(y)[:, None]
    return np.array(y)


@st.composite
def row_weights(draw, n):
    kind = draw(st.integers(0, 5))
    if kind <= 1:
        return None
    values = [0.0, 1.0, 0.5, 3.0]
    values += {2: [], 3: [1e-300, 1e300], 4: [-1.0], 5: [np.nan]}[kind]
    return [draw(st.sampled_from(values)) for _ in range(n)]


@st.composite
def soft(draw, n, y):
    kind = draw(st.integers(0, 7))
    if kind <= 2:
        return None
    rng = np.random.RandomState(draw(st.integers(0, 2**16)))
    classes = np.unique(np.ravel(np.asarray(y)))
    K = len(classes) + (kind == 3)
    Q = rng.dirichlet(np.full(K, 0.3), size=n)
    if draw(st.booleans()):
        Q = (Q.max(axis=1, keepdims=True) == Q).astype(float)
    if kind == 4:
        return Q * draw(st.sampled_from([0.5, 1.00001, np.nan, -1.0]))
    if kind == 5:
        return pd.DataFrame(Q, columns=classes).iloc[:, rng.permutation(K)]
    return Q


PARAMS = st.fixed_dictionaries(
    {
        "width": st.sampled_from([2, 4, 4, 8, 3]),
        "max_iter": st.sampled_from([1, 2, 8]),
        "n_init": st.sampled_from([1, 1, 3]),
        "early_stopping": st.booleans(),
        "random_state": st.integers(0, 3),
    },
    optional={
        "radius": st.sampled_from([None, 1e-3, 1.0, 1e300]),
        "learning_rate": st.sampled_from(["auto", 1e-300, 0.1, 1.0, 1e3, 1e100, 1e300]),
        "batch_size": st.sampled_from([None, 1, 3, "auto"]),
        "output_layer": st.sampled_from(["fixed", "trained"]),
        "init": st.sampled_from(["symmetric", "standard"]),
        "optimizer": st.sampled_from(["adam", "nesterov"]),
        "momentum": st.sampled_from([0.0, 0.5, 0.99]),
        "alpha": st.sampled_from([0.0, 0.5, 1.0, 1.3]),
        "temperature": st.sampled_from([0.01, 0.5, 1.0, 10.0, 1e6]),
        "class_weight": st.sampled_from([None, "balanced"]),
        "input_scaling": st.booleans(),
        "input_intercept": st.booleans(),
    },
)


@st.composite
def problems(draw):
    n, d = draw(st.integers(1, 14)), draw(st.integers(1, 4))
    X, y = draw(rows(n, d)), draw(labels(n))
    return X, y, draw(row_weights(n)), draw(soft(n, y)), draw(PARAMS)


def check_model(model, X):
    proba = model.predict_proba(X)
    assert np.isfinite(proba).all()
    assert ((proba >= 0) & (proba <= 1)).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
    assert proba.shape[1] == len(model.classes_) >= 2
    assert np.isin(model.predict(X), model.classes_).all()
    assert not np.isnan(model.predict_log_proba(X)).any()
    for name in ("hidden_weights_", "output_weights_", "distance_from_init_"):
        assert np.isfinite(getattr(model, name)).all()
    if model.radius is not None:
        limit = model.radius / np.sqrt(model.width)
        spacing = np.abs(model.initial_weights_).max() * np.finfo(proba.dtype).eps
        assert model.distance_from_init_.max() <= limit * (1 + 1e-5) + 10 * spacing


def attempt(model, call, X):
    message = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            call()
        except ALLOWED_ERRORS as error:
            message = str(error)
        else:
            check_model(model, X)
    if message is not None:
        assert len(message) > 15, message
        assert not fitted_names(model)
    for warning in caught:
        # scikit-learn looks for NaN by a sum, which may be inf - inf
        of_sklearn = str(warning.message) == "invalid value encountered in reduce"
        assert of_sklearn or issubclass(warning.category, ALLOWED_WARNINGS), str(warning)


QUICK = settings(max_examples=200, suppress_health_check=list(HealthCheck))


@QUICK
@given(problem=problems())
def test_any_input_to_fit(problem):
    X, y, weights, soft_targets, params = problem
    model = TwoLayerPGDClassifier(**params)
    attempt(model, lambda: model.fit(X, y, weights, soft_targets), X)


@settings(QUICK, max_examples=80)
@given(problem=problems())
def test_any_input_to_partial_fit(problem):
    X, y, weights, soft_targets, params = problem
    model = TwoLayerPGDClassifier(**params)
    classes = np.unique(np.ravel(np.asarray(y)))

    def call():
        model.partial_fit(X, y, classes, weights, soft_targets)

    attempt(model, call, X)
    if fitted_names(model):  # again, or an error that keeps what there was
        before = model.hidden_weights_.copy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                call()
            except ALLOWED_ERRORS:
                np.testing.assert_array_equal(model.hidden_weights_, before)
        check_model(model, X)


@settings(QUICK, max_examples=60)
@given(
    value=st.one_of(
        st.none(), st.text(max_size=3), st.integers(), st.lists(st.text(max_size=2), max_size=3),
        st.lists(st.lists(st.floats(), max_size=2), max_size=3), st.just(object()),
        st.just(np.zeros((2, 2, 2))), st.just(np.array([[1 + 2j, 0], [0, 1]])),
    ),
    where=st.sampled_from(["X", "y", "sample_weight", "soft_targets"]),
)  # fmt: skip
@example(value=None, where="y")
def test_nonsense(value, where):
    given_values = {
        "X": np.array([[0.0, 1], [1, 0], [2, 1], [3, 3]]),
        "y": [0, 1, 0, 1],
        "sample_weight": None,
        "soft_targets": None,
    }
    given_values[where] = value
    model = TwoLayerPGDClassifier(2, max_iter=1, n_init=1)
    attempt(model, lambda: model.fit(**given_values), np.zeros((2, 2)))


@st.composite
def numbers(draw, n):
    rng = np.random.RandomState(draw(st.integers(0, 2**16)))
    n_targets = draw(st.sampled_from([None, 1, 2]))
    y = rng.normal(size=n if n_targets is None else (n, n_targets))
    y = y * draw(st.sampled_from([0.0, *MAGNITUDES])) + draw(st.sampled_from([0, 0, 1e9, 1e300]))
    if draw(st.booleans()):
        y = np.round(y)
    if draw(st.integers(0, 9)) == 0:
        y.ravel()[0] = draw(st.sampled_from([np.nan, np.inf, 1e12]))
    return y


@settings(QUICK, max_examples=80)
@given(data=st.data(), n=st.integers(1, 12), d=st.integers(1, 3))
def test_any_numbers_as_targets(data, n, d):
    X, y = data.draw(rows(n, d)), data.draw(numbers(n))
    loss = data.draw(st.sampled_from(["squared_error", "huber", "quantile"]))
    weights = data.draw(st.sampled_from([None, np.arange(n) % 3, np.full(n, 1e-300)]))
    soft = data.draw(st.sampled_from([None, 0.5 * y]))
    encoder = data.draw(st.sampled_from([None, "auto"]))
    model = TwoLayerPGDRegressor(
        2, loss=loss, max_iter=3, n_init=1, encoder=encoder, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for allowed in ALLOWED_WARNINGS:
            warnings.simplefilter("ignore", allowed)
        try:
            model.fit(X, y, weights, soft)
        except ALLOWED_ERRORS:
            assert not fitted_names(model)
            return
        found = model.predict(X)
    assert found.shape == y.shape
    assert np.isfinite(found).all()

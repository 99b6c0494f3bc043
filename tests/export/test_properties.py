"""Files of tables that hypothesis makes answer as the model."""

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings, strategies as st
from sklearn.base import is_regressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from sklearn_kd import TableEncoder
from sklearn_kd.export import compact, to_onnx
from sklearn_kd.export._onnx.readers import MISSING_TEXTS
from tests._helpers.exported_models import (
    QUANTILES,
    expected_answers,
    network,
    one_answer,
    regressor,
)
from tests._helpers.onnx_sessions import answers

N_ROWS = 24
#: Texts that stand for missing cells in ONNX are levels there only where training rows have them.
TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4
).filter(lambda text: text not in MISSING_TEXTS)
NUMBERS = st.floats(-1e12, 1e12) | st.integers(-5, 5).map(float) | st.sampled_from([1e300, -1e300])
CELLS = {
    "number": st.none() | NUMBERS,
    "whole": st.integers(-3, 10**9),
    "flag": st.booleans(),
    "text": st.none() | TEXTS,
}
MODELS = {
    "linear": lambda: make_pipeline(TableEncoder(), LogisticRegression(max_iter=30)),
    "tree": lambda: make_pipeline(TableEncoder(), DecisionTreeClassifier(random_state=0)),
    "network": network,
    "members": lambda: network(n_members=2),
    "ridge": lambda: make_pipeline(TableEncoder(), Ridge()),
    "regression tree": lambda: make_pipeline(TableEncoder(), DecisionTreeRegressor(random_state=0)),
    "regressor": regressor,
    "quantiles of members": lambda: regressor(**QUANTILES, n_members=2),
}
#: Units of the targets of regressors: scale and offset.
UNITS = st.sampled_from([(1.0, 0.0), (1e9, 0.0), (1e-9, 0.0), (1.0, 1e9), (0.0, 5.0)])
DTYPES = {"number": float, "whole": np.int64, "flag": bool, "text": object}


@st.composite
def tables(draw):
    """Return training rows, labels, units of targets, and rows with cells that these lack."""
    kinds = draw(st.lists(st.sampled_from(list(CELLS)), min_size=1, max_size=4))
    names = draw(
        st.lists(TEXTS.filter(bool), min_size=len(kinds), max_size=len(kinds), unique=True)
    )
    frames = []
    for _ in range(2):
        columns = {}
        for name, kind in zip(names, kinds, strict=True):
            few = draw(st.lists(CELLS[kind], min_size=1, max_size=8))
            picked = draw(st.lists(st.sampled_from(few), min_size=N_ROWS, max_size=N_ROWS))
            columns[name] = pd.Series(picked, dtype=DTYPES[kind])
        frames.append(pd.DataFrame(columns))
    return frames[0], np.arange(N_ROWS) % draw(st.sampled_from([2, 3])), draw(UNITS), frames[1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_files_of_any_table(name):
    @settings(max_examples=100, deadline=None)
    @given(tables())
    def check(parts):
        X, y, (scale, offset), new = parts
        model = MODELS[name]()
        if name in ("linear", "tree", "ridge", "regression tree"):  # which need a column
            assume(len(TableEncoder().fit(X).means_))
        if is_regressor(model):
            y = offset + scale * y
        model.fit(X, y)
        rows = pd.concat([X, new], ignore_index=True)
        expected = expected_answers(model, rows)
        bounds = {"rtol": 0, "atol": 1e-11}
        if is_regressor(model):
            bounds = {"rtol": 1e-14, "atol": 1e-11 * np.abs(expected - expected.mean()).max()}
        made = compact(model, dtype="float64")
        again = pickle.loads(pickle.dumps(made))
        np.testing.assert_allclose(expected_answers(again, rows), expected, **bounds)
        one = [one_answer(again, row) for row in rows.to_dict("records")]
        np.testing.assert_allclose(one, expected, **bounds)
        if any(kind != "unused" for kind in made.kinds_):
            graph = to_onnx(model, dtype="float64", by_column=False)
            found = answers(graph, rows)[not is_regressor(model) :]
            found = np.column_stack(found)[:, : expected.shape[1]]
            np.testing.assert_allclose(found, expected, **bounds)

    check()

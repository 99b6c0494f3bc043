"""The benchmark of the time of a raw row in C on a small table."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

COMPILER = shutil.which("cc") or shutil.which("gcc")


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
@pytest.mark.skipif(shutil.which("size") is None, reason="there is no program size")
@pytest.mark.parametrize("is_of_numbers", [False, True])
def test_each_model_is_timed(c_rows, toy_table, is_of_numbers):
    X, y, X_test = c_rows.load(toy_table, 150)
    y = np.arange(150.0) if is_of_numbers else y
    names = []
    for name, model, dtype in c_rows.models(X, y, X_test, SimpleNamespace(width=4, trees=3)):
        found = c_rows.measure(model, X_test, dtype, n_calls=100, compiler=COMPILER)
        assert 0 < found["p50"] <= found["p99"]
        assert 0 < found["Os"] < found["source"]
        names.append((name, dtype))
    assert len(names) == 4


def test_cells_are_constants_of_c(c_rows):
    assert [c_rows.as_c(cell, False) for cell in (1, 0.5, None)] == ["1.0", "0.5", "NAN"]
    assert c_rows.as_c('a"', True) == '"\\141\\042"'
    assert c_rows.as_c(float("nan"), True) == "NULL"

"""The benchmark of the files of other packages on small rows."""

import shutil

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from conftest import benchmark

pytest.importorskip("lightgbm")


@pytest.fixture(scope="module")
def peers():
    with benchmark("peers") as module:
        yield module


@pytest.fixture
def frame():
    texts = pd.Categorical(["b", None, "a"], categories=["a", "b"])
    return pd.DataFrame({"number": [0.5, np.nan, 2.0], "text": texts})


def test_codes_of_a_row_are_those_of_the_table(peers, frame):
    expected = [[0.5, 1.0], [np.nan, np.nan], [2.0, 0.0]]
    assert_array_equal(peers.coded(frame), expected)
    call = peers.code_call(lambda rows: rows, frame, np.float64)
    rows = frame.astype(object).to_dict("records")
    assert_array_equal(np.concatenate([call(row) for row in rows]), expected)


@pytest.mark.skipif(not (shutil.which("cc") and shutil.which("size")), reason="needs cc and size")
def test_c_is_compiled_and_timed(peers):
    source = "static int twice(const float *row) { return 2 * (row[0] > row[1]); }"
    rows = np.arange(6.0).reshape(3, 2)
    microseconds, n_bytes = peers.c_figures(source, rows, "answer[0] = twice(row)", ctype="float")
    assert 0 <= microseconds < 100
    assert 0 < n_bytes < 10_000


def test_a_line_has_means_of_scores_and_ratios_of_times(peers):
    form = {"accuracy": 0.5, "log_loss": 0.1, "auc": 0.6, "bytes": 10, "microseconds": 20.0}
    rows = [
        {"table": "a", "network, compact": form, "C": {**form, "accuracy": 1.0, "microseconds": 5}},
        {"table": "b", "network, compact": {**form, "accuracy": 0.7, "bytes": 20}},
    ]
    first, second = peers.lines_of(rows)
    assert first == ["network, compact", "0.6000", "0.1000", "0.6000", "15", "20", "1"]
    assert second[1] == "1.0000"
    assert second[-2:] == ["5.00", "0.25"]
    assert peers.lines_of(rows, "b")[0][:2] == ["b", "network, compact"]

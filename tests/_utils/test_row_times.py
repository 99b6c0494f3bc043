"""Raw rows of every container, and the times of a call of known duration."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.sparse import coo_array

from sklearn_kd._utils import row_times
from sklearn_kd._utils.row_times import median_microseconds, raw_rows

CELLS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


@pytest.mark.parametrize("make", [np.array, list, pd.DataFrame, coo_array])
def test_rows_without_names_are_lists(make):
    assert raw_rows(make(CELLS), 2) == CELLS[:2]
    assert raw_rows(make(CELLS)) == CELLS


def test_rows_with_names_are_dicts():
    frame = pd.DataFrame({"size": [1.0, 2.0], "kind": ["a", None]})
    assert raw_rows(frame, 1) == [{"size": 1.0, "kind": "a"}]
    polars = pytest.importorskip("polars")
    assert raw_rows(polars.DataFrame({"size": [1.0], "kind": ["a"]})) == raw_rows(frame, 1)


class Clock:
    """Predictions of 3 ms, and of 30 ms as long as they are not measured."""

    def __init__(self):
        self.rows, self.now = [], 0.0

    def predict(self, row):
        self.rows.append(row)
        self.now += 0.03 if len(self.rows) <= row_times.N_WARM_UP_ROWS else 0.003

    def perf_counter(self):
        return self.now


@pytest.mark.parametrize(
    ("options", "n_timed"),
    [
        ({"n_timed": 50}, 50),
        ({"n_timed": 50, "max_seconds": 0.0}, 10),
        ({"n_timed": 4, "max_seconds": 0.0}, 4),
        ({"n_timed": 50, "max_seconds": 0.6 + 0.0599}, 20),
    ],
)
def test_the_median_leaves_the_first_calls_out(monkeypatch, options, n_timed):
    clock = Clock()
    monkeypatch.setattr(row_times, "time", clock)
    assert_allclose(median_microseconds(clock.predict, "abc", **options), 3000)
    assert "".join(clock.rows) == ("abc" * 90)[1 : 1 + row_times.N_WARM_UP_ROWS + n_timed]

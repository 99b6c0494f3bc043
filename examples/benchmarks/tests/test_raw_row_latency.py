"""The benchmark of the time of a raw row on a small table."""

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("container", ["frame", "object array", "numbers only"])
def test_each_model_is_timed(raw_row_latency, toy_table, container):
    params = {"width": 4, "trees": 3, "rounds": 5, "max_rows": 150}
    medians = raw_row_latency.measure(toy_table, container, params)
    assert set(medians) == set(raw_row_latency.NAMES) - {"version 0.1"}
    line = raw_row_latency.line(toy_table, container, {**medians, "version 0.1": 1000.0})
    assert line[-1] == f"{1000 / medians['network']:,.1f}"

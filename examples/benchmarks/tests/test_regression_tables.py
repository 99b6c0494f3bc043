"""The benchmark on tables of numbers."""

import numpy as np
import pytest


def test_lines_have_means_and_paired_differences(regression_tables):
    names = ("ours 4", "mlp 4", "ridge", "boosting")
    rows = [
        {"table": "a", "n_train": 9}
        | {name: {"r2": 0.5 + 0.1 * seed, "fit_seconds": 2.0} for name in names}
        | {"mlp 4": {"r2": 0.4 + 0.1 * seed, "fit_seconds": 1.0}}
        for seed in range(3)
    ]
    (line,) = regression_tables.r2_lines(rows, [4])
    assert line[:5] == ["a", 9, 4, "0.600 +- 0.058", "0.500 +- 0.058"]
    assert line[7:10] == ["+0.100 +- 0.000", "2.0", "1.0"]


@pytest.mark.slow
def test_a_run_has_all_scores(regression_tables):
    row = regression_tables.run("diabetes", 0, [4], 200, quantiles=True)
    assert row["ridge"]["r2"] > 0.2
    for name in ("ours 4", "mlp 4", "boosting"):
        assert np.isfinite(row[name]["r2"])
    found = row["quantiles 4"]
    assert 0.6 < found["coverage"] <= 1
    assert found["crossing"] == 0
    assert found["pinball"] < 0.2
    assert len(regression_tables.interval_lines([{"table": "diabetes", **row}], [4])) == 2

"""The benchmark of distilled regressors."""

import numpy as np
import pytest

MODELS = {"forest": 0.8, "hard 4": 0.6, "forest 4": 0.75, "mlp 4": 0.5}


def rows_of(r2):
    """Return results on a table of three splits, between which all R2 differ alike."""
    costs = {"microseconds": 9.0, "microseconds_compact": 3.0, "bytes": 100}
    chosen = {"chosen": ["oob", 0.5, 0]}
    return [
        {"table": "a", "n_train": 9}
        | {name: {"r2": value + 0.01 * seed, **costs, **chosen} for name, value in r2.items()}
        for seed in range(3)
    ]


def test_shares_are_of_the_lead_over_the_same_student(distilled_regression):
    assert distilled_regression.recovered_share(rows_of(MODELS), "forest", "4") == pytest.approx(
        0.75
    )


def test_there_is_no_share_without_a_lead(distilled_regression):
    rows = rows_of(MODELS | {"hard 4": 0.8})
    assert distilled_regression.recovered_share(rows, "forest", "4") is None


def test_the_report_has_a_line_for_each_table_and_the_median(distilled_regression, capsys):
    distilled_regression.report(rows_of(MODELS), ["forest"], ["4"])
    printed = capsys.readouterr().out.splitlines()
    assert printed[2].startswith("| forest | 4 | a | 9 | 0.8100 +- 0.0058 | 0.6100 +- 0.0058 |")
    assert "| all | 4 | 75% | 1 |" in printed


@pytest.mark.slow
def test_a_run_has_all_scores(distilled_regression):
    row = distilled_regression.run("diabetes", 0, ["forest"], ["4", "tree"], 20, 200)
    for name in ("forest", "hard 4", "forest 4", "hard tree", "forest tree", "mlp 4"):
        assert np.isfinite(row[name]["r2"])
    assert 0 < row["forest 4"]["bytes"] < 10_000
    assert row["forest 4"]["microseconds_compact"] < row["forest"]["microseconds"]

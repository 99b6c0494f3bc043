"""The benchmark of the same network by skorch and by the estimators of this package."""

import pytest

from conftest import benchmark


@pytest.fixture
def skorch_tables():
    with benchmark("skorch_tables") as module:
        yield module


def test_each_network_has_a_line(skorch_tables, toy_table, monkeypatch):
    monkeypatch.setattr(skorch_tables, "MOST_EPOCHS", 3)
    row = {"table": toy_table} | skorch_tables.run(toy_table, 0, width=2, max_rows=100)
    lines = skorch_tables.lines_of([row])
    assert [line[0].split(",")[0] for line in lines] == [
        "skorch",
        "ModuleClassifier",
        "TwoLayerPGDClassifier",
        "TwoLayerPGDClassifier",
    ]
    assert lines[0][-1] == "1.00"
    assert 0.3 < row["skorch"]["accuracy"] <= 1
    assert 0 < row["skorch"]["log_loss"] < 2  # of probabilities, not of logits

"""The benchmark of several labels."""

import numpy as np
import pytest
from sklearn.metrics import log_loss

from conftest import benchmark


@pytest.fixture
def several_labels():
    with benchmark("several_labels") as module:
        yield module


def test_scores_are_means_over_labels(several_labels, rng):
    Y = rng.randint(2, size=(50, 3))
    proba = rng.uniform(0.1, 0.9, size=(50, 3))
    found = several_labels.scores(proba, Y)
    losses = [log_loss(Y[:, k], proba[:, k]) for k in range(3)]
    assert found["log_loss"] == pytest.approx(np.mean(losses))
    as_list = [np.column_stack([1 - p, p]) for p in proba.T]
    assert several_labels.scores(as_list, Y) == found
    assert several_labels.scores(0.8 * Y + 0.1, Y)["accuracy"] == 1


@pytest.mark.slow
def test_a_run_and_its_report(several_labels, capsys):
    row = several_labels.run("made", 0, [4], 10, 150)
    assert row["n_train"] == 150
    for name in ("teacher", "hard 4", "distilled 4"):
        assert np.isfinite([row[name][score] for score in several_labels.SCORES]).all()
    several_labels.report([{"table": "made", **row}] * 2, [4])
    assert "| 4 | made | 150 | 6 |" in capsys.readouterr().out

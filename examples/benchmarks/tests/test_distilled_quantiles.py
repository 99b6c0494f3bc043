"""The benchmark of distilled quantiles."""

import functools

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyRegressor

from sklearn_kd import TwoLayerPGDRegressor


def rows_of(widths, n_splits=3):
    """Return results of a teacher on a table of several splits."""
    rows = [
        {"table": "a", "teacher": "boosting", "n_train": 90, "label_source": "cv"}
        for _ in range(n_splits)
    ]
    for row in rows:
        for name, width in widths.items():
            row[name] = {"coverage": 0.9, "width": width, "pinball": 0.1}
    return rows


def test_there_are_20_splits_by_default(distilled_quantiles, monkeypatch):
    cells = []
    monkeypatch.setattr(distilled_quantiles, "run_cells", lambda of, *_, **__: cells.extend(of))
    with pytest.raises(AttributeError):  # there are no results to report
        distilled_quantiles.main([])
    assert sum(cell["table"] == "diabetes" for cell in cells) == 20 * 2
    assert {cell["seed"] for cell in cells} == set(range(20))


def test_split_conformal_intervals_cover_the_rank_of_the_scores(distilled_quantiles):
    rng = np.random.RandomState(0)
    y = rng.permutation(100).astype(float)
    X = pd.DataFrame({"a": np.zeros(100)})
    levels = distilled_quantiles.LEVELS
    teacher = {q: DummyRegressor(strategy="quantile", quantile=q) for q in levels}
    found = distilled_quantiles.split_conformal(teacher, X, y, X[:1], np.random.RandomState(1))
    fitted, held = np.array_split(np.random.RandomState(1).permutation(100), 2)
    low, middle, high = np.quantile(y[fitted], levels)
    # the interval is the smallest one around these quantiles that has 46 of the 50 held-out rows
    shift = found[0, 2] - high
    assert found[0] == pytest.approx([low - shift, middle, high + shift])
    inside = (found[0, 0] - 1e-9 <= y[held]) & (y[held] <= found[0, 2] + 1e-9)
    tighter = (found[0, 0] + 1e-9 <= y[held]) & (y[held] <= found[0, 2] - 1e-9)
    assert tighter.sum() < np.ceil(0.9 * 51) == 46 <= inside.sum()


def test_the_report_has_widths_beside_the_split_conformal_ones(distilled_quantiles, capsys):
    distilled_quantiles.report(rows_of({"all": 1.0, "split": 2.0, "distilled": 1.5}))
    header, _, *lines = capsys.readouterr().out.splitlines()
    place = header.split(" | ").index("width / split conformal")
    ratios = {line.split(" | ")[4]: line.split(" | ")[place] for line in lines}
    assert ratios == {
        "teacher": "0.50",
        "teacher, split conformal": "1.00",
        "distilled student, shifted": "0.75",
    }


@pytest.mark.slow
@pytest.mark.parametrize("teacher", ["boosting", "kernel"])
def test_a_run_has_all_scores(distilled_quantiles, teacher, monkeypatch):
    short = functools.partial(TwoLayerPGDRegressor, n_init=1, max_iter=100)
    monkeypatch.setattr(distilled_quantiles, "TwoLayerPGDRegressor", short)
    row = distilled_quantiles.run("diabetes", 0, teacher, width=4, rows=120)
    methods = set(distilled_quantiles.METHODS) - ({"interval"} if teacher == "boosting" else set())
    for name in methods:
        assert 0.5 < row[name]["coverage"] <= 1
        assert row[name]["width"] > 0
        assert row[name]["pinball"] > 0
    assert ("interval" in row) == (teacher == "kernel")

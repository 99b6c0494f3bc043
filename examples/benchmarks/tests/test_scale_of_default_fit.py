"""The lines that the benchmark prints, for few rows and classes."""

import functools
import importlib
import sys
from pathlib import Path

import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor


@pytest.fixture
def scale(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    module = importlib.import_module("scale_of_default_fit")
    monkeypatch.setattr(module, "N_TEST_ROWS", 100)
    monkeypatch.setattr(module, "N_ROWS_OF_CLASSES", 60)
    for kind in (HistGradientBoostingClassifier, HistGradientBoostingRegressor):
        monkeypatch.setattr(module, kind.__name__, functools.partial(kind, max_iter=3))
    yield module
    for name in ("scale_of_default_fit", "_tables", "_runs"):
        sys.modules.pop(name, None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "sizes", "options"),
    [
        ("fit", [150], []),
        ("fit", [100, 150], ["--kinds", "regressor", "--columns", "6"]),
        ("columns", [8], ["--kinds", "regressor", "--rows", "120", "--teacher", "kernel"]),
        ("rows", [50, 100], []),
        ("classes", [3], []),
    ],
)
def test_each_size_has_a_line(scale, what, sizes, options, capsys):
    scale.main(["--threads", "1", what, *map(str, sizes), *options])
    header, rule, *lines = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("|")
    ]
    assert [line.split("|")[1].strip() for line in lines] == [str(size) for size in sizes]
    assert all(line.count("|") == header.count("|") == rule.count("|") for line in lines)

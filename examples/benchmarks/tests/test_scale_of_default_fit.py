"""The lines that the benchmark prints, for few rows and classes."""

import functools
import importlib
import sys
from pathlib import Path

import pytest
from sklearn.ensemble import HistGradientBoostingClassifier


@pytest.fixture
def scale(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    module = importlib.import_module("scale_of_default_fit")
    monkeypatch.setattr(module, "N_TEST_ROWS", 100)
    monkeypatch.setattr(module, "N_ROWS_OF_CLASSES", 60)
    short = functools.partial(HistGradientBoostingClassifier, max_iter=3)
    monkeypatch.setattr(module, "HistGradientBoostingClassifier", short)
    yield module
    for name in ("scale_of_default_fit", "_tables", "_runs"):
        sys.modules.pop(name, None)


@pytest.mark.slow
@pytest.mark.parametrize(("what", "sizes"), [("fit", [150]), ("rows", [50, 100]), ("classes", [3])])
def test_each_size_has_a_line(scale, what, sizes, capsys):
    scale.main(["--threads", "1", what, *map(str, sizes)])
    header, rule, *lines = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("|")
    ]
    assert [line.split("|")[1].strip() for line in lines] == [str(size) for size in sizes]
    assert all(line.count("|") == header.count("|") == rule.count("|") for line in lines)

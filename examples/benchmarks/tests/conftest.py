"""Access to the scripts of the benchmarks, and to the data that they need."""

import importlib
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

FOLDER = Path(__file__).parents[1]


@pytest.fixture
def rng():
    return np.random.RandomState(0)


@contextmanager
def benchmark(name):
    """Import a benchmark as one does that is run: its folder is on the path."""
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module(name)
    finally:
        sys.path.remove(str(FOLDER))
        for script in FOLDER.glob("*.py"):
            sys.modules.pop(script.stem, None)


@contextmanager
def benchmark_on_tables(name):
    """Import a benchmark, and skip without tables."""
    with benchmark(name) as module:
        try:
            importlib.import_module("_tables").table_path("sick")
        except SystemExit as reason:
            pytest.skip(str(reason))
        yield module


@pytest.fixture
def toy_table(tmp_path, monkeypatch):
    """Write a small table of numbers and text with missing cells, and return its name."""
    rng, n_rows = np.random.default_rng(0), 240
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=n_rows).round(2),
            "count": rng.integers(0, 5, n_rows),
            "color": rng.choice(["red", "green", "blue"], n_rows),
        }
    )
    frame["target"] = np.where((frame["size"].abs() < 0.6) ^ (frame["color"] == "red"), "yes", "no")
    frame.loc[rng.random(n_rows) < 0.1, ["size", "color"]] = np.nan
    (tmp_path / "tabular").mkdir()
    frame.to_csv(tmp_path / "tabular" / "toy.csv.gz", index=False)
    monkeypatch.setenv("SKLEARN_KD_DATA", str(tmp_path))
    return "toy"


def _script(name):
    """Return a fixture that imports a benchmark."""

    @pytest.fixture(scope="module", name=name.removeprefix("_"))
    def script():
        with benchmark(name) as module:
            yield module

    return script


scores = _script("_scores")
regression_tables = _script("regression_tables")
row_steps = _script("_row_steps")
c_rows = _script("c_rows")
distilled_tables = _script("distilled_tables")
distilled_regression = _script("distilled_regression")
distilled_quantiles = _script("distilled_quantiles")
distillation_advice = _script("distillation_advice")
fewer_inputs = _script("fewer_inputs")
raw_row_latency = _script("raw_row_latency")
small_trees = _script("small_trees")
soft_label_students = _script("soft_label_students")
table_encodings = _script("table_encodings")
trial_agreement = _script("trial_agreement")


@pytest.fixture(scope="module")
def self_distill_tables():
    with benchmark_on_tables("self_distill_tables") as module:
        yield module

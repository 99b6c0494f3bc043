"""Access to the scripts of the benchmarks, and to the data that they need."""

import importlib
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1]


@pytest.fixture
def rng():
    return np.random.RandomState(0)


@contextmanager
def benchmark_on_tables(name):
    """Import a benchmark as one does that is run, its folder on the path; skip without tables."""
    sys.path.insert(0, str(FOLDER))
    try:
        module = importlib.import_module(name)
        try:
            importlib.import_module("_tables").table_path("sick")
        except SystemExit as reason:
            pytest.skip(str(reason))
        yield module
    finally:
        sys.path.remove(str(FOLDER))
        for each in (name, "_tables", "_runs"):
            sys.modules.pop(each, None)


@pytest.fixture(scope="module")
def distilled_tables():
    with benchmark_on_tables("distilled_tables") as module:
        yield module


@pytest.fixture(scope="module")
def self_distill_tables():
    with benchmark_on_tables("self_distill_tables") as module:
        yield module

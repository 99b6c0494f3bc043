"""Settings of every run of the tests, doctests and tests of the benchmarks included."""

import gc
import os
import sys

import pytest

# The problems of the tests are too small for several threads, which cost more than they save,
# above all where other processes share the cores. Read by NumPy and torch when they are imported.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("MPLBACKEND", "Agg")  # figures without a window


@pytest.fixture(autouse=True)
def close_figures():
    """Close the figures of pyplot that a test or a doctest leaves: it warns of more than 20."""
    yield
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")


def pytest_collection_finish(session):
    """Keep garbage collections from visiting the thousands of collected cases."""
    gc.collect()
    gc.freeze()

"""Settings of every run of the tests, doctests and tests of the benchmarks included."""

import gc
import os

# The problems of the tests are too small for several threads, which cost more than they save,
# above all where other processes share the cores. Read by NumPy and torch when they are imported.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")


def pytest_collection_finish(session):
    """Keep garbage collections from visiting the thousands of collected cases."""
    gc.collect()
    gc.freeze()

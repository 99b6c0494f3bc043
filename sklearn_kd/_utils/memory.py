"""Size of data and of the free main memory in bytes."""

import math
import os


def free_bytes():
    """Return the free main memory in bytes, or infinity if the platform does not say."""
    try:
        with open("/proc/meminfo") as lines:  # sysconf does not count the page cache as free
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return math.inf


def _bytes_of(X):
    """Return the bytes of an array, sparse array or DataFrame, or of the pointers of a list."""
    if hasattr(X, "nnz"):
        return X.nnz * (X.dtype.itemsize + 4)
    if hasattr(X, "memory_usage"):
        return int(X.memory_usage().sum())
    if hasattr(X, "estimated_size"):  # of polars
        return int(X.estimated_size())
    return getattr(X, "nbytes", 8 * len(X))


def check_copies(X, n_samples, n_copies):
    """Raise MemoryError if ``n_copies`` of the rows of X would not fit, before they are made."""
    _check_free(
        _bytes_of(X) / n_samples * n_copies,
        f"row expansion makes {n_copies} copies of {n_samples} rows, which take",
        "pass fewer rows or float32, or use a student whose fit has soft_targets "
        "(TwoLayerPGDClassifier)",
    )


def check_encoded_rows(shape, itemsize):
    """Raise MemoryError if encoded rows of this shape would not fit, before they are made."""
    _check_free(
        shape[0] * shape[1] * itemsize,
        f"{shape[0]} rows of {shape[1]} encoded columns take",
        "pass fewer rows or an array of float32, or set an encoder with a smaller n_bins",
    )


def _check_free(needed, text, advice):
    free = free_bytes()
    if needed > free:
        raise MemoryError(
            f"{text} about {needed / 2**30:.2f} GiB where {free / 2**30:.2f} GiB are free: "
            f"{advice}."
        )

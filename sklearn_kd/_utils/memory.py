"""Bytes: what data take, and what is free. Without torch, so that any module may ask."""

import math
import os

__all__ = ["check_copies", "free_bytes"]


def free_bytes():
    """Return the main memory that is free; infinity where the platform does not tell."""
    try:
        with open("/proc/meminfo") as lines:  # free pages leave out what the cache can give
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return math.inf


def _bytes_of(X):
    """Bytes of rows in an array, sparse array, frame or list (its pointers)."""
    if hasattr(X, "nnz"):
        return X.nnz * (X.dtype.itemsize + 4)
    if hasattr(X, "memory_usage"):
        return int(X.memory_usage().sum())
    return getattr(X, "nbytes", 8 * len(X))


def check_copies(X, n_samples, n_copies):
    """Raise MemoryError where ``n_copies`` of the rows of X would not fit, before they are made."""
    needed, free = _bytes_of(X) / n_samples * n_copies, free_bytes()
    if needed > free:
        raise MemoryError(
            f"row expansion makes {n_copies} copies of {n_samples} rows, which take about "
            f"{needed / 2**30:.2f} GiB where {free / 2**30:.2f} GiB are free: pass fewer rows or "
            "float32, or take a student whose fit takes soft_targets (TwoLayerPGDClassifier)."
        )

"""Backends of joblib for tests."""

import pickle
import sys

from joblib.parallel import ParallelBackendBase


def read_only_copy(value):
    """Return a copy by pickle whose arrays are read-only."""
    buffers = []
    data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[bytes(each.raw()) for each in buffers])


class CopyingBackend(ParallelBackendBase):
    """Calls a copy of each task, whatever ``n_jobs`` is, as the backend of dask does.

    Arrays arrive read-only, as with the backend of ray.

    Attributes
    ----------
    task_bytes : list of int
        Sizes of the pickled arguments of each task. As with the backends of dask and ray, those
        whose own size is more than 1,000 bytes are sent apart from the tasks.
    """

    def __init__(self, **options):
        super().__init__(**options)
        self.task_bytes = []

    def effective_n_jobs(self, n_jobs):
        return 2

    def submit(self, func, callback=None):
        for _, arguments, _ in func.items:
            sent = [each for each in arguments if sys.getsizeof(each) <= 1000]
            self.task_bytes.append(len(pickle.dumps(sent)))
        result = read_only_copy(read_only_copy(func)())
        callback(result)
        return result

    def retrieve_result(self, out, timeout=None):
        return out

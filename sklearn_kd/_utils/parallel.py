"""Calls that are independent of each other, in parallel by joblib."""

import functools
import itertools
import operator

from sklearn.utils.parallel import Parallel, delayed


class _SentOnce(functools.partial):
    """Function that a cluster sends to a worker once, and not again with each task.

    The backends of dask and of ray send an argument apart from the task if it is large, and keep it
    for further tasks with the same object. Both ask ``sys.getsizeof``, which does not count what an
    object refers to.
    """

    def __sizeof__(self):
        return 2**20


def parallel_results(function, tasks, n_jobs):
    """Call a function with the arguments of each task, and yield the results in their order.

    Each result comes as soon as it and those before it are known, so that progress can be reported.
    A few backends, such as that of ray, return all of them at once.

    Parameters
    ----------
    function : callable
        With several processes it has to be a function of a module, with what all calls share, the
        rows above all, as arguments of a ``functools.partial``.
    tasks : iterable of tuple
        Further positional arguments of each call.
    n_jobs : int or None
        As for :class:`joblib.Parallel`, whose backend is that of the caller's ``parallel_config``.

    Returns
    -------
    iterator
    """
    try:
        parallel = Parallel(n_jobs=n_jobs, return_as="generator")
    except ValueError:
        parallel = Parallel(n_jobs=n_jobs)
    task = functools.partial(delayed(operator.call), _SentOnce(function))
    return iter(parallel(itertools.starmap(task, tasks)))

"""Calls that are independent of each other, in parallel by joblib."""

import itertools

from sklearn.utils.parallel import Parallel, delayed


def parallel_results(function, tasks, n_jobs):
    """Call a function with the arguments of each task, and yield the results in their order.

    Each result comes as soon as it and those before it are known, so that progress can be reported.
    A few backends, such as that of ray, return all of them at once.

    Parameters
    ----------
    function : callable
        With several processes it has to be a function of a module.
    tasks : iterable of tuple
        Positional arguments of each call.
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
    return iter(parallel(itertools.starmap(delayed(function), tasks)))

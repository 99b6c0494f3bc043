"""Search over 500 networks on a cluster of processes, and compare with one process.

    pip install "sklearn-kd[cluster]"
    OMP_NUM_THREADS=1 python examples/search_on_a_cluster.py --jobs 2

`BatchedGridSearchCV` divides the splits and the candidates, in groups of 16 or more, among the
workers of the joblib backend that `joblib.parallel_config` names. Here they are processes on this
machine, a `dask.distributed.LocalCluster`. With the address of a scheduler, ``--scheduler
tcp://...``, they are those of any other cluster of dask, whose machines need the same versions of
the packages. The same search is done by the processes that joblib starts without a cluster (loky)
and by one process.

The grid has 50 widths and ten initial weights. The start of the processes, and their import of the
packages in a first small search, are timed apart: they are paid once for all searches of a session.
The script checks that the scores are equal bit for bit. It takes under two minutes on two cores.
"""

import argparse
import time
import warnings

import joblib
import numpy as np
import pandas as pd
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning

from sklearn_kd import BatchedGridSearchCV, TwoLayerPGDClassifier

WIDTHS = range(2, 102, 2)
SEEDS = range(10)


def make_search(widths, seeds, n_jobs, epochs):
    """Return a search over widths and initial weights."""
    network = TwoLayerPGDClassifier(
        n_init=1, max_iter=epochs, early_stopping=False, batch_size=128, encoder=None
    )
    return BatchedGridSearchCV(
        network,
        {"width": list(widths), "random_state": list(seeds)},
        scoring="neg_log_loss",
        cv=3,
        share_minibatches=True,
        refit=False,
        n_jobs=n_jobs,
    )


def timed_search(backend, n_jobs, X, y, epochs):
    """Return the search, and the seconds of the first call and of the search after it."""
    with joblib.parallel_config(backend):
        start = time.perf_counter()
        # a small search, by which the workers import the packages
        make_search([2], range(1), n_jobs, 1).fit(X[:300], y[:300])
        ready = time.perf_counter()
        search = make_search(WIDTHS, SEEDS, n_jobs, epochs).fit(X, y)
    return search, ready - start, time.perf_counter() - ready


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="processes on this machine")
    parser.add_argument("--scheduler", help="address of a scheduler of dask, in place of them")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args(arguments)
    try:
        from dask.distributed import Client
    except ImportError:
        raise SystemExit('dask is missing: pip install "sklearn-kd[cluster]"') from None

    # five epochs suffice to compare times
    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    X, y = make_classification(
        options.rows, 20, n_informative=10, n_clusters_per_class=4, random_state=0
    )
    start = time.perf_counter()
    if options.scheduler:
        client = Client(options.scheduler)
    else:
        client = Client(n_workers=options.jobs, threads_per_worker=1, dashboard_address=":0")
    lines, searches = [], []
    with client:
        started = time.perf_counter() - start
        n_workers = sum(client.ncores().values())
        runs = [("dask", n_workers, started), ("loky", options.jobs, 0.0), ("loky", 1, 0.0)]
        for backend, n_jobs, before in runs:
            search, first, seconds = timed_search(backend, n_jobs, X, y, options.epochs)
            name = "one process" if n_jobs == 1 else backend
            lines.append({"backend": name, "n_jobs": n_jobs, "start, s": before + first})
            lines[-1]["search, s"] = seconds
            searches.append(search)
    table = pd.DataFrame(lines)
    table["this / one process"] = table["search, s"] / table["search, s"].iloc[-1]

    scores = [search.cv_results_["mean_test_score"] for search in searches]
    n_candidates = len(scores[0])
    print(f"{n_candidates} candidates, 3 folds, {options.rows} rows, {options.epochs} epochs")
    print(table.round(2).to_string(index=False))
    equal = all(np.array_equal(each, scores[-1]) for each in scores)
    print(f"\nbest: {searches[0].best_params_}, log loss {-searches[0].best_score_:.3f}")
    print("the scores are equal bit for bit" if equal else "the scores differ")


if __name__ == "__main__":
    main()

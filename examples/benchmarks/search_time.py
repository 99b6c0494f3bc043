"""Compare the time per model of a batched search with that of one fit after the other.

    SKLEARN_KD_DATA=... python examples/benchmarks/search_time.py --threads 2
    SKLEARN_KD_DATA=... python examples/benchmarks/search_time.py --jobs 1 2 --busy 0 1

Every method is a whole search with its scoring and without the refit. All methods are measured in
one run, on the same float32 rows, folds, epochs and minibatches, without early stopping. A model is
one trained network, and restarts are counted.

- batched: ``BatchedGridSearchCV`` over ``TwoLayerPGDClassifier``: widths x radii x restarts
  (``n_init``).
- one by one: ``GridSearchCV`` over the same student and grid.
- MLPClassifier: ``GridSearchCV`` over ``MLPClassifier``, widths x restarts (``random_state``). It
  has no radius.

On a table with numbers to predict these are ``TwoLayerPGDRegressor`` with the cross-validated
predictions of boosted trees as soft targets, widths x alphas x restarts, and ``MLPRegressor``.

The last two have ``n_jobs`` equal to ``--threads`` and one thread per fit, which is best for them.
With ``--jobs`` all methods have one thread and each of these numbers as ``n_jobs``, after a first
search that starts the processes. ``--busy`` does it beside as many other processes that never rest.
"covertype" is made: 54 columns, 44 of them indicators, and seven classes.
With ``--sweep`` the number of candidates and the width vary, with a single restart and fold each.
``--floor`` times a step of all candidates of one split, as the difference between two numbers of
epochs, and compares it with the two products with the rows that are unavoidable. The script prints
Markdown.
"""

import argparse
import itertools
import multiprocessing
import time
import warnings
from contextlib import contextmanager

import numpy as np
import torch
from _runs import environment, markdown, thread_limit
from _tables import REGRESSION, load_encoded
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, ParameterGrid, cross_val_predict
from sklearn.neural_network import MLPClassifier, MLPRegressor

from sklearn_kd import BatchedGridSearchCV, TwoLayerPGDClassifier, TwoLayerPGDRegressor
from sklearn_kd.datasets import fetch_mnist

WIDTHS = [4, 6, 8, 12, 16, 20, 24, 32]
RADII = [10.0, 100.0, None]
ALPHAS = [0.0, 0.5, 1.0]
RESTARTS = 4


def like_covertype(n_rows=50_000):
    """Return ten columns of numbers and two sets of indicators, and labels of seven classes."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(n_rows, 10))
    area, soil = rng.integers(4, size=n_rows), rng.integers(40, size=n_rows)
    X = np.hstack([numbers, np.eye(4)[area], np.eye(40)[soil]]).astype(np.float32)
    hidden = np.maximum(X @ rng.normal(size=(54, 30)), 0)
    scores = hidden @ rng.normal(size=(30, 7)) + 2 * rng.gumbel(size=(n_rows, 7))
    return X, scores.argmax(axis=1)


def load(name, max_rows):
    """Return rows in float32 and labels."""
    if name == "covertype":
        X, y = like_covertype()
        return X[:max_rows], y[:max_rows]
    data = fetch_mnist() if name == "mnist" else load_encoded(name, 0, dtype=np.float32)
    X, y = data.X_train, data.y_train
    if name != "mnist":
        X = (X - X.mean(axis=0)) / np.where(X.std(axis=0) > 0, X.std(axis=0), 1)
    return X[:max_rows], y[:max_rows]


def soft_targets(name, X, y):
    """Return further arguments of ``fit``."""
    if name not in REGRESSION:
        return {}
    return {"soft_targets": cross_val_predict(HistGradientBoostingRegressor(random_state=0), X, y)}


def student(epochs, batch_size, kind=TwoLayerPGDClassifier, **params):
    return kind(
        max_iter=epochs,
        batch_size=batch_size,
        early_stopping=False,
        output_layer="trained",
        encoder=None,
        random_state=0,
        device="cpu",
        **params,
    )


def mlp(epochs, batch_size, kind=MLPClassifier):
    return kind(
        max_iter=epochs, batch_size=batch_size, tol=0, n_iter_no_change=epochs, random_state=0
    )


def seconds_of(search, X, y, **params):
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(X, y, **params)
    return time.perf_counter() - start


def searches(methods, grid, restarts, cv, epochs, batch_size, n_jobs, by_processes):
    """Yield name, number of models for each split, search, and threads."""
    kinds = (TwoLayerPGDClassifier, MLPClassifier)
    if "alpha" in grid:
        kinds = (TwoLayerPGDRegressor, MLPRegressor)
    widths, n_models = grid["width"], len(ParameterGrid(grid)) * restarts
    if "batched" in methods:
        network = student(epochs, batch_size, kinds[0], n_init=restarts)
        search = BatchedGridSearchCV(network, grid, cv=cv, refit=False)
        if by_processes:
            search.set_params(n_jobs=n_jobs)
        yield "batched", n_models, search, 1 if by_processes else n_jobs
    if "one by one" in methods:
        network = student(epochs, batch_size, kinds[0], n_init=restarts)
        search = GridSearchCV(network, grid, cv=cv, refit=False, n_jobs=n_jobs)
        yield "one by one", n_models, search, 1
    if "MLPClassifier" in methods:
        grid = {
            "hidden_layer_sizes": [(width,) for width in widths],
            "random_state": list(range(restarts)),
        }
        network = mlp(epochs, batch_size, kinds[1])
        search = GridSearchCV(network, grid, cv=cv, refit=False, n_jobs=n_jobs)
        yield kinds[1].__name__, len(widths) * restarts, search, 1


def measure(title, data, args, grid, restarts, cv, n_jobs):
    """Return lines of the table for one comparison of the methods on (X, y, more of ``fit``)."""
    X, y, more = data
    n_splits, rows, per_model = (cv if isinstance(cv, int) else len(cv)), [], {}
    by_processes = args.jobs is not None
    options = restarts, cv, args.epochs, args.batch_size, n_jobs, by_processes
    for name, n_models, search, threads in searches(args.methods, grid, *options):
        with thread_limit(threads):
            if by_processes and n_jobs > 1:  # its processes start in another search
                part = slice(2000)
                few = {name: value[part] for name, value in more.items()}
                seconds_of(clone(search), X[part], y[part], **({} if name[:3] == "MLP" else few))
            seconds = seconds_of(search, X, y, **({} if name.startswith("MLP") else more))
        per_model[name] = seconds / (n_models * n_splits)
        rows.append((name, n_models * n_splits, seconds))
        print(f"{title}: {name} {seconds:.1f} s", flush=True)
    return [
        [title, name, n_models, f"{seconds:.1f}", f"{1e3 * seconds / n_models:.1f}"]
        + [f"{per_model[name] / per_model['batched']:.1f}" if "batched" in per_model else ""]
        for name, n_models, seconds in rows
    ]


def spin():
    """Never rest."""
    while True:
        pass


@contextmanager
def busy_processes(number):
    """Return a context in which so many other processes never rest."""
    processes = [multiprocessing.Process(target=spin, daemon=True) for _ in range(number)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()


def floor(title, X, y, args):
    """Return a line: milliseconds of a step of all networks together, and of its two products."""
    rows = np.arange(len(X))
    n_steps = -(-len(X) // args.batch_size)
    seconds = []
    with thread_limit(args.threads):
        for epochs in (1, 1, 1 + args.epochs):  # the first call loads everything into memory
            search = BatchedGridSearchCV(
                student(epochs, args.batch_size, n_init=RESTARTS),
                {"width": WIDTHS, "radius": RADII},
                cv=[(rows, rows[:2])],
                refit=False,
            )
            seconds.append(seconds_of(search, X, y))
        step = 1e3 * (seconds[2] - seconds[1]) / (args.epochs * n_steps)
        n_neurons = sum(WIDTHS) * len(RADII) * RESTARTS
        W = torch.randn(n_neurons, X.shape[1] + 1)
        batch = torch.randn(args.batch_size, X.shape[1] + 1)
        hidden, gradient = W.new_empty(n_neurons, args.batch_size), torch.empty_like(W)
        times = []
        for _ in range(100):
            start = time.perf_counter()
            torch.mm(W, batch.T, out=hidden)
            torch.mm(hidden, batch, out=gradient)
            times.append(1e3 * (time.perf_counter() - start))
    products = np.median(times)
    return [title, n_neurons, f"{step:.2f}", f"{products:.2f}", f"{step / products:.1f}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=["adult", "letter", "mnist"])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--max-rows", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--jobs", type=int, nargs="+", help="in place of threads")
    parser.add_argument("--busy", type=int, nargs="+", default=[0], help="other busy processes")
    methods = ["batched", "one by one", "MLPClassifier"]
    parser.add_argument("--methods", nargs="+", default=methods, choices=methods)
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--floor", action="store_true")
    parser.add_argument("--candidates", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 32, 128, 256])
    args = parser.parse_args()
    lines = []
    for name in args.data:
        X, y = load(name, args.max_rows)
        title = f"{name}, {len(X)} x {X.shape[1]}"
        if args.floor:
            lines.append(floor(title, X, y, args))
            continue
        if not args.sweep:
            grid = {"width": WIDTHS, "radius": RADII}
            if name in REGRESSION:
                grid = {"width": WIDTHS, "alpha": ALPHAS}
            data = X, y, soft_targets(name, X, y)
            for busy, n_jobs in itertools.product(args.busy, args.jobs or [args.threads]):
                what = f"{title}, n_jobs={n_jobs}, {busy} busy" if args.jobs else title
                with busy_processes(busy):
                    lines += measure(what, data, args, grid, RESTARTS, 5, n_jobs)
            continue
        half = [(np.arange(0, len(X), 2), np.arange(1, len(X), 2))]
        for width in args.widths:
            for count in args.candidates:
                radii = list(np.geomspace(10, 1000, count))
                what = f"{title}, {count} of width {width}"
                # MLPClassifier has no radius, and restarts take as long
                grid = {"width": [width], "radius": radii}
                lines += measure(what, (X, y, {}), args, grid, 1, half, args.threads)
    print(environment(f"{args.threads} thread(s)"))
    print(f"{args.epochs} epochs, minibatches of {args.batch_size}, float32.\n")
    header = ["data", "method", "models", "s", "ms per model", "this / batched"]
    if args.floor:
        header = ["data", "neurons", "ms a step", "ms of the products", "ratio"]
    print(markdown(header, lines))


if __name__ == "__main__":
    main()

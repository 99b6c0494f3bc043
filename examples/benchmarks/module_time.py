"""Compare the time per epoch of ModuleClassifier, a manual loop, skorch and MLPClassifier.

    SKLEARN_KD_DATA=... python examples/benchmarks/module_time.py

All methods use the same network (``sklearn_kd.modules.MLP``, two classes with two outputs), float32
rows, Adam and number of epochs. Every method is fitted for ``--epochs`` + 1 epochs and for one. The
difference is the time of epochs, without validation, scaling and initialization. Methods take turns
within each repeat, so that a slow period of the machine affects all of them. Times are medians over
the repeats, and ratios are those of medians. On a shared machine, CPU time is more reliable than
wall time.

- ours: ``ModuleClassifier(early_stopping=False)``.
- plain loop: rows as a tensor, batches by ``index_select`` from a permutation, ``cross_entropy``
  and ``backward``, and ``torch.optim.Adam`` with its defaults.
- plain loop, fused: the same with ``Adam(fused=True)``, which ModuleClassifier uses.
- skorch: ``NeuralNetClassifier`` with its default loader, without validation split or output.
- MLPClassifier: no early stopping.

The script prints Markdown.
"""

import argparse
import time
import warnings
from functools import partial
from itertools import product

import numpy as np
import torch
from _runs import environment, markdown, thread_limit
from search_time import load
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from skorch import NeuralNetClassifier

from sklearn_kd import ModuleClassifier
from sklearn_kd.modules import MLP

LEARNING_RATE = 1e-3


def network_params(X, y, width, depth):
    return {
        "n_outputs": int(y.max()) + 1,
        "input_shape": (X.shape[1],),
        "width": width,
        "depth": depth,
    }


def fit_ours(X, y, width, depth, batch_size, epochs):
    ModuleClassifier(
        MLP,
        module_params=network_params(X, y, width, depth),
        learning_rate=LEARNING_RATE,
        max_epochs=epochs,
        batch_size=batch_size,
        early_stopping=False,
        random_state=0,
        device="cpu",
    ).fit(X, y)


def fit_plain(X, y, width, depth, batch_size, epochs, **options):
    module = MLP(**network_params(X, y, width, depth))
    optimizer = torch.optim.Adam(module.parameters(), lr=LEARNING_RATE, **options)
    inputs, labels = torch.from_numpy(X), torch.from_numpy(y)
    for _ in range(epochs):
        total = 0.0
        for batch in torch.randperm(len(inputs)).split(batch_size):
            optimizer.zero_grad()
            logits = module(inputs.index_select(0, batch))
            loss = torch.nn.functional.cross_entropy(logits, labels.index_select(0, batch))
            loss.backward()
            optimizer.step()
            total += loss.detach()


def fit_fused(*args):
    fit_plain(*args, fused=True)


def fit_skorch(X, y, width, depth, batch_size, epochs):
    NeuralNetClassifier(
        MLP,
        **{f"module__{name}": value for name, value in network_params(X, y, width, depth).items()},
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=LEARNING_RATE,
        max_epochs=epochs,
        batch_size=batch_size,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    ).fit(X, y)


def fit_mlp(X, y, width, depth, batch_size, epochs):
    model = MLPClassifier(
        (width,) * depth,
        learning_rate_init=LEARNING_RATE,
        alpha=0.0,
        max_iter=epochs,
        batch_size=batch_size,
        early_stopping=False,
        n_iter_no_change=10**6,
        tol=0,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)


METHODS = {
    "ours": fit_ours,
    "plain loop": fit_plain,
    "plain loop, fused": fit_fused,
    "skorch": fit_skorch,
    "MLPClassifier": fit_mlp,
}


def clocked(fit, *args):
    """Return the seconds of CPU time and wall time of a fit."""
    cpu, wall = time.process_time(), time.perf_counter()
    fit(*args)
    return time.process_time() - cpu, time.perf_counter() - wall


def epoch_times(X, y, args):
    """Return the seconds of an epoch, (CPU, wall), by (width, batch, method)."""
    cells = list(product(args.widths, args.batches, METHODS))
    long, short = {cell: [] for cell in cells}, {cell: [] for cell in cells}
    for width, batch, method in cells:  # the first fit in a process includes imports
        METHODS[method](X[:2048], y[:2048], width, args.depth, batch, 1)
    for _ in range(args.repeats):
        for width, batch, method in cells:
            fit = partial(METHODS[method], X, y, width, args.depth, batch)
            short[width, batch, method].append(clocked(fit, 1))
            long[width, batch, method].append(clocked(fit, args.epochs + 1))
    return {
        cell: (np.median(long[cell], axis=0) - np.median(short[cell], axis=0)) / args.epochs
        for cell in cells
    }


def report(seconds):
    """Return lines of the table for one data set."""
    lines = []
    for (width, batch, method), times in seconds.items():
        cells = [width, batch, method, *(f"{1e3 * value:.0f}" for value in times)]
        if method == "ours":
            cells += ["", "", ""]
        else:
            cpu, wall = seconds[width, batch, "ours"] / times
            cells += [f"{cpu:.2f}", f"{wall:.2f}", f"{1 / cpu:.2f}"]
        lines.append(cells)
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=["adult", "mnist"])
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 512, 1024])
    parser.add_argument("--widths", type=int, nargs="+", default=[64])
    parser.add_argument("--depth", type=int, default=1, help="hidden layers")
    parser.add_argument("--epochs", type=int, default=8, help="timed, after the first")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--max-rows", type=int)
    args = parser.parse_args()
    lines = []
    with thread_limit(args.threads):
        print(environment(f"{args.threads} thread(s), on the CPU"))
        print(
            f"{args.depth} hidden layer(s), {args.epochs} epochs after the first, medians of "
            f"{args.repeats} repeats.\n",
            flush=True,
        )
        for name in args.data:
            X, y = load(name, args.max_rows)
            X, y = np.ascontiguousarray(X, np.float32), np.unique(y, return_inverse=True)[1]
            title = f"{name}, {len(X):,} x {X.shape[1]}"
            lines += [[title, *line] for line in report(epoch_times(X, y, args))]
    header = ["data", "width", "batch", "method", "an epoch, ms of CPU", "ms of wall"]
    header += ["ours / this, CPU", "ours / this, wall", "this / ours, CPU"]
    print(markdown(header, lines))


if __name__ == "__main__":
    main()

"""Compare training times on MNIST with MLPClassifier, skorch and a lower bound.

    SKLEARN_KD_DATA=... python examples/benchmarks/training_time.py --threads 2
    SKLEARN_KD_DATA=... python examples/benchmarks/training_time.py --profile --widths 64

All methods use the same number of epochs, width and batch size. Every method is fitted twice, for
``--epochs`` and for one epoch. The difference is the time of the epochs, and the rest is set-up
(validation, scaling, initialization). Nothing is omitted from the fits. Methods take turns within
each repeat, so that a slow period of the machine affects all of them. Ratios are those of medians.

- ours: ``TwoLayerPGDClassifier(early_stopping=False, n_init=1, output_layer="trained")``.
- MLPClassifier: no early stopping, ``tol=0``.
- skorch: ``NeuralNetClassifier`` on the same module with Adam and its default loader, no
  validation split, at the widths of ``--skorch-widths``.
- floor: what every method of this kind has to do, in torch with preallocated buffers: gather the
  batch, the product of hidden weights and rows, and the product of the gradient and rows.

The script prints Markdown.
"""

import argparse
import cProfile
import pstats
import time
from itertools import product

import numpy as np
import torch
from _runs import environment, markdown, thread_limit, timed_fit
from sklearn.neural_network import MLPClassifier
from skorch import NeuralNetClassifier

from sklearn_kd import TwoLayerPGDClassifier
from sklearn_kd.datasets import fetch_mnist

N_CLASSES = 10


def fit_ours(X, y, width, batch_size, epochs):
    return timed_fit(
        TwoLayerPGDClassifier(
            width,
            max_iter=epochs,
            batch_size=batch_size,
            early_stopping=False,
            n_init=1,
            output_layer="trained",
            encoder=None,
            device="cpu",
            random_state=0,
        ),
        X,
        y,
    )


def fit_mlp(X, y, width, batch_size, epochs):
    return timed_fit(
        MLPClassifier(
            (width,),
            max_iter=epochs,
            batch_size=batch_size,
            early_stopping=False,
            n_iter_no_change=10**6,
            tol=0,
            shuffle=True,
            random_state=0,
        ),
        X,
        y,
    )


class TwoLayer(torch.nn.Sequential):
    """Module for skorch."""

    def __init__(self, n_features=784, width=8):
        super().__init__(
            torch.nn.Linear(n_features, width),
            torch.nn.ReLU(),
            torch.nn.Linear(width, N_CLASSES, bias=False),
        )


def fit_skorch(X, y, width, batch_size, epochs):
    net = NeuralNetClassifier(
        TwoLayer,
        module__n_features=X.shape[1],
        module__width=width,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=1e-3,
        max_epochs=epochs,
        batch_size=batch_size,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    return timed_fit(net, X, y)


def fit_floor(X, y, width, batch_size, epochs):
    start = time.perf_counter()
    inputs = torch.from_numpy(X)
    n_rows, n_inputs = inputs.shape
    hidden, out = torch.randn(width, n_inputs), torch.empty(width, n_inputs)
    buffers = {}
    for _ in range(epochs):
        for batch in torch.randperm(n_rows).split(batch_size):
            if len(batch) not in buffers:
                buffers[len(batch)] = (
                    torch.empty(len(batch), n_inputs),
                    torch.empty(width, len(batch)),
                )
            rows, active = buffers[len(batch)]
            torch.index_select(inputs, 0, batch, out=rows)
            torch.mm(hidden, rows.T, out=active)
            torch.mm(active, rows, out=out)
    return time.perf_counter() - start


METHODS = {"ours": fit_ours, "MLPClassifier": fit_mlp, "skorch": fit_skorch, "floor": fit_floor}


def measure(X, y, args):
    """Return median seconds, by (width, batch, method), of the long and the short fit."""
    cells = [
        (width, batch, method)
        for width, batch, method in product(args.widths, args.batches, METHODS)
        if method != "skorch" or width in args.skorch_widths
    ]
    long, short = {cell: [] for cell in cells}, {cell: [] for cell in cells}
    for cell in cells:  # the first fit in a process includes imports and thread pools
        METHODS[cell[2]](X[:2048], y[:2048], cell[0], cell[1], 1)
    for _ in range(args.repeats):
        for width, batch, method in cells:
            fit = METHODS[method]
            long[width, batch, method].append(fit(X, y, width, batch, args.epochs))
            short[width, batch, method].append(fit(X, y, width, batch, 1))
    return {cell: (np.median(long[cell]), np.median(short[cell])) for cell in cells}


def report(seconds, args):
    header = ["width", "batch", "method", f"fit of {args.epochs} epochs, s", "an epoch, s"]
    header += ["set-up, s", "fit, ours / this", "an epoch, ours / this"]
    lines = []
    for (width, batch, method), (long, short) in seconds.items():
        epoch = (long - short) / (args.epochs - 1)
        ours_long, ours_short = seconds[width, batch, "ours"]
        ours_epoch = (ours_long - ours_short) / (args.epochs - 1)
        lines.append(
            [width, batch, method, f"{long:.2f}", f"{epoch:.3f}", f"{short - epoch:.2f}"]
            + [f"{ours_long / long:.2f}", f"{ours_epoch / epoch:.2f}"]
        )
    print(markdown(header, lines))


def profile(X, y, args):
    """Print where the time of our fit is spent: Python calls, then torch operators."""
    for width, batch in product(args.widths, args.batches):
        print(f"\n#### Profile: width {width}, batch {batch}, {args.epochs} epochs\n\n```")
        calls = cProfile.Profile()
        calls.runcall(fit_ours, X, y, width, batch, args.epochs)
        pstats.Stats(calls).sort_stats("tottime").print_stats(15)
        # one epoch, because the profiler keeps every event in memory
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as events:
            fit_ours(X, y, width, batch, 1)
        print(events.key_averages().table(sort_by="self_cpu_time_total", row_limit=15))
        print("```")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 64, 512])
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 1024])
    parser.add_argument("--epochs", type=int, default=3, help="of the long fit, at least 2")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--skorch-widths", type=int, nargs="*", default=[8])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--profile", action="store_true", help="profile ours instead")
    args = parser.parse_args()
    if args.epochs < 2:
        parser.error("--epochs must be at least 2")
    data = fetch_mnist()
    X, y = data.X_train[: args.rows], data.y_train[: args.rows]
    with thread_limit(args.threads):
        print(environment(f"{args.threads} thread(s), on the CPU"))
        print(f"MNIST, {X.shape[0]:,} x {X.shape[1]} {X.dtype}, {args.repeats} repeats.\n")
        if args.profile:
            profile(X, y, args)
        else:
            report(measure(X, y, args), args)


if __name__ == "__main__":
    main()

"""Reproduce Table 1 of the paper on self-distillation: accuracy after training on wrong labels.

    SKLEARN_KD_DATA=... python examples/reproduce_self_distillation.py
    SKLEARN_KD_DATA=... python examples/reproduce_self_distillation.py --full --results table.jsonl

In Algorithm 1 of Dong, Hou, Lu and Zhang (arXiv:1910.01255), the label of a row is mixed with the
hard prediction of the network during training. The weight of the prediction is lambda times the
accuracy of the batch with respect to the given labels. The paper claims that this requires no early
stopping. An exact share of the training rows gets the label of another class, each of the other
classes being equally likely. For each data set the table contains the accuracy on clean test rows
of

- plain training at its last epoch, at the epoch with the best accuracy on 5,000 training images
  that are held out with their noisy labels, and at the best epoch on the test rows. The last is an
  oracle and the upper limit of what early stopping can reach;
- label smoothing of 0.2, the amount of the recipe of the network;
- early-learning regularization (ELR, Liu et al. 2020) with its published beta 0.7 and lambda 3, by
  ``SelfDistillClassifier(schedule="early-learning")``;
- Algorithm 1, with the lambda of the paper, which was chosen with known noise: 1, 1, 1, 1.5, 1.5 on
  CIFAR-10 and 0.6, 1, 1, 1.4, 1.6 on Fashion-MNIST at 0, 20, 40, 60 and 80 %, and linear between
  them. MNIST is not in the paper and has the values of CIFAR-10;
- Algorithm 1 with a chance-corrected weight, which does not know the noise:
  ``SelfDistillClassifier(schedule="chance-corrected")``;
- `SelfDistillClassifier` with its defaults: Bayes' rule, for a network that stops early on a tenth
  of the training images. It does not know the noise either. It takes seven fits, six of them on
  four fifths of the images.

All train the same network, `FastCNN`, on the same images with the same noise, order and start, by
SGD along a one-cycle schedule, in bfloat16 where the processor has instructions for it. Held-out
images and test images take no part in training. Plain training is scored at several epochs, and the
other methods as they end.

The reduced setting has 8,000 images, a network of 16, 64 and 64 channels and 20 epochs, in which it
memorizes wrong labels. ``--full`` has all images, shifted by up to 2 pixels and flipped (not the
digits), 64, 256 and 256 channels (two million weights) and 12 epochs, and takes about ten
minutes a fit on two cores with matrix instructions for bfloat16. ``--results`` names a file of
finished fits, to continue after an interruption. The recipe of the network on CIFAR-10 without
noise is ``--full --data cifar10 --rates 0 --methods smoothing``.

glibc gives the memory of each step back to the system by default. A fit of the full setting takes a
fifth less time with ``MALLOC_MMAP_THRESHOLD_=8589934592 MALLOC_TRIM_THRESHOLD_=17179869184`` in the
environment.

A data set that is not in a folder of SKLEARN_KD_DATA (``mnist.npz``, ``fashion_mnist.npz``,
``cifar10.npz``) is omitted. Without any of them the digits bundled with scikit-learn are used, and
the output states this.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.callback import ScoringMonitor
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_kd import ModuleClassifier, SelfDistillClassifier
from sklearn_kd.datasets import add_label_noise, fetch_cifar10, fetch_fashion_mnist, fetch_mnist
from sklearn_kd.exceptions import CleanLabelsWarning
from sklearn_kd.modules import FastCNN

FETCH = {"mnist": fetch_mnist, "fashion_mnist": fetch_fashion_mnist, "cifar10": fetch_cifar10}
SHAPES = {"cifar10": (3, 32, 32), "digits": (1, 8, 8)}
RATES = [0.0, 0.2, 0.4, 0.6, 0.8]
#: Lambda of the paper and its results ("Ours") at these rates. Others: lambda of CIFAR-10.
STRENGTHS = {"cifar10": [1.0, 1.0, 1.0, 1.5, 1.5], "fashion_mnist": [0.6, 1.0, 1.0, 1.4, 1.6]}
PAPER = {
    "cifar10": [94.31, 93.75, 90.82, 86.72, 73.91],
    "fashion_mnist": [95.21, 94.58, 93.78, 92.63, 89.21],
}
#: Rows (None: all), epochs, width of the network, and whether images are shifted and flipped.
REDUCED, FULL = (8000, 20, 16, False), (None, 12, 64, True)
#: Number of training images that choose the epoch of plain training, see `n_held_out`.
HELD_OUT = 5000
BATCH_SIZE = 256
SMOOTHING = 0.2
METHODS = {
    "plain": "plain",
    "smoothing": "label smoothing",
    "elr": "ELR",
    "paper": "Algorithm 1",
    "chance": "Algorithm 1, chance-corrected",
    "ours": "SelfDistillClassifier",
}
#: Lines of the table: title, method, and what it is.
LINES = [
    ("plain, last epoch", "plain", "last"),
    ("plain, epoch chosen on noisy images", "plain", "stopped"),
    ("plain, best epoch (an oracle)", "plain", "best"),
    *((title, method, "last") for method, title in METHODS.items() if method != "plain"),
]


def load(name):
    """Return rows and labels for training and testing, or raise FileNotFoundError."""
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        X = (X / 16).astype(np.float32)
        X, X_test, y, y_test = train_test_split(X, y, train_size=1000, stratify=y, random_state=0)
        return X, y, X_test, y_test
    data = FETCH[name](download_if_missing=False)
    return data.X_train, data.y_train, data.X_test, data.y_test


def n_held_out(n_rows):
    """Return how many of the rows choose the epoch of plain training."""
    return min(HELD_OUT, n_rows // 9)


def make_network(name, size, seed, device):
    """Return the network and its recipe."""
    _, epochs, width, is_augmented = size
    is_small = name == "digits"
    # a mirrored digit may be another digit
    has_mirror = name in ("cifar10", "fashion_mnist")
    augmentation = {"shift": 2} | ({"flip": True} if has_mirror else {})
    batch_size = 64 if is_small else BATCH_SIZE
    return ModuleClassifier(
        FastCNN,
        module_params={"width": width, "depth": 2 if is_small else 3, "mirror": has_mirror},
        image_shape=SHAPES.get(name, (1, 28, 28)),
        augmentation=augmentation if is_augmented else None,
        optimizer="sgd",
        learning_rate=0.75 * batch_size / 512,  # of the recipe, which has larger batches
        optimizer_params={"momentum": 0.85, "nesterov": True},
        weight_decay=0.0013,
        scheduler="one-cycle",
        scheduler_params={
            "pct_start": 0.23,
            "anneal_strategy": "linear",
            "div_factor": 5,
            "final_div_factor": 3,
            "cycle_momentum": False,
        },
        max_epochs=epochs,
        batch_size=batch_size,
        early_stopping=False,
        mixed_precision="auto",
        random_state=seed,
        device=device,
    )


def fit(method, network, strength, X, y):
    """Train by a method, and return the fitted classifier."""
    if method == "plain":
        return network.fit(X, y)
    if method == "smoothing":
        labels = (y[:, None] == np.unique(y)).astype(float)
        smooth = (1 - SMOOTHING) * labels + SMOOTHING / labels.shape[1]
        return network.fit(X, y, soft_targets=smooth)
    if method == "elr":
        model = SelfDistillClassifier(network, schedule="early-learning")
    elif method == "paper":
        model = SelfDistillClassifier(
            network, schedule="accuracy", strength=strength, memory=None, warm_up=0.0
        )
    elif method == "chance":
        model = SelfDistillClassifier(network, schedule="chance-corrected")
    else:
        model = SelfDistillClassifier(network.set_params(early_stopping=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CleanLabelsWarning)  # a column of the table is
        return model.fit(X, y)


def accuracy(model, X, y):
    """Return the accuracy, computed in bfloat16 where that is faster."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # newer than torch 2.6
    is_fast = any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_fast):
        return float(model.score(X, y))


def run(name, data, rate, seed, method, size, device):
    """Run one fit and return a line of the results."""
    X, y, X_test, y_test = data
    n_rows = size[0]
    noisy = add_label_noise(y, rate, random_state=seed)
    given, is_wrong = noisy.y, noisy.is_wrong
    order = np.random.RandomState(seed).permutation(len(X))
    held, rows = np.split(order, [n_held_out(len(X))])
    rows = rows[:n_rows]

    def scores(model, *_):
        return {
            "test": accuracy(model, X_test, y_test),
            "held_out": accuracy(model, X[held], given[held]),
        }

    network, monitor = make_network(name, size, seed, device), ScoringMonitor(scoring=scores)
    if method == "plain":
        network.set_callbacks(monitor)
    strength = float(np.interp(rate, RATES, STRENGTHS.get(name, STRENGTHS["cifar10"])))
    start = time.perf_counter()
    model = fit(method, network, strength, X[rows], given[rows])
    result = {"realized": noisy.rate, "seconds": time.perf_counter() - start}
    result["last"] = accuracy(model, X_test, y_test)
    if method == "plain":
        logs = [log for log in monitor.get_logs().data if log["task_name"] == "epochs"]
        result["best"] = max(log["test"] for log in logs)
        result["stopped"] = max(logs, key=lambda log: log["held_out"])["test"]
    if is_wrong[rows].any():
        wrong = rows[is_wrong[rows]]
        result["memorized"] = accuracy(model, X[wrong], given[wrong])
    return result


def percent(values):
    """Return the mean over seeds in percent, with the standard deviation over several seeds."""
    values = 100 * values.astype(float).dropna()
    if not len(values):
        return "-"
    return f"{values.mean():.2f}" + (f" ± {values.std():.2f}" if len(values) > 1 else "")


def report(name, frame, rates):
    """Print the accuracies of a data set, and how many wrong labels were learned."""
    titles = [f"{100 * frame[frame.rate == rate]['realized'].mean():.0f} % wrong" for rate in rates]
    found = frame.method.unique()

    def line(title, method, column):
        mine = frame[frame.method == method]
        return [title, *(percent(mine[mine.rate == rate][column]) for rate in rates)]

    accuracies = [line(*each) for each in LINES if each[1] in found]
    if name in PAPER:
        theirs = dict(zip(RATES, PAPER[name], strict=True))
        cells = (f"{theirs[rate]:.2f}" if rate in theirs else "-" for rate in rates)
        accuracies.append(["the paper's Algorithm 1, its network, 600 epochs", *cells])
    tables = {"test accuracy, %": accuracies}
    if "memorized" in frame:
        learned = [line(title, key, "memorized") for key, title in METHODS.items() if key in found]
        tables["wrong labels learned, %"] = learned
    for first, lines in tables.items():
        header = [first, *titles]
        lines = [header, ["---"] * len(header), *lines]
        print("\n" + "\n".join("| " + " | ".join(each) + " |" for each in lines))
    print(flush=True)


def draw(frame, path):
    """Draw test accuracy against the noise, with a panel for each data set."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print('no picture: matplotlib is missing, pip install "sklearn-kd[plot]"')
        return
    names = frame["data"].unique()
    figure = Figure(figsize=(4 * len(names), 3.6), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        of_data = frame[frame["data"] == name]
        for number, (title, method, column) in enumerate(LINES):
            mine = of_data[of_data.method == method]
            if len(mine):
                mean = 100 * mine.groupby("realized")[column].mean()
                axis.plot(mean, "o-", color=f"C{number}", label=title)
        axis.set(title=name, xlabel="share of wrong labels", ylabel="test accuracy, %")
        axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(path, dpi=120)
    print(f"picture: {Path(path).resolve()}")


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--full", action="store_true", help="all images, and the network of two million weights")
    add("--data", nargs="+", choices=FETCH, default=["cifar10", "fashion_mnist"])
    add("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    add("--rates", type=float, nargs="+", default=RATES, help="shares of wrong labels")
    add("--seeds", type=int, default=1)
    add("--epochs", type=int, help="instead of what the setting says")
    add("--rows", type=int, help="training rows, likewise")
    add("--width", type=int, help="channels of the first stage, likewise")
    add("--device", default="auto")
    add("--results", metavar="FILE", help="JSON lines of finished fits, to go on from")
    add("--picture", metavar="FILE", help="where to save a picture")
    return parser.parse_args()


def read_data(names):
    """Return the rows of each data set that is found, or the digits of scikit-learn."""
    found = {}
    for name in names:
        try:
            found[name] = load(name)
        except FileNotFoundError:
            print(f"{name} is omitted: there is no {name}.npz in a folder of SKLEARN_KD_DATA.")
    if not found:
        print("The digits bundled with scikit-learn are used instead.")
        found["digits"] = load("digits")
    return found


def read_results(path):
    """Return finished fits by what was fitted."""
    if path is None or not Path(path).is_file():
        return {}
    lines = map(json.loads, Path(path).read_text().splitlines())
    return {json.dumps(cell): result for cell, result in lines}


def main():
    args, start = parse(), time.perf_counter()
    n_rows, epochs, width, is_augmented = FULL if args.full else REDUCED
    size = args.rows or n_rows, args.epochs or epochs, args.width or width, is_augmented
    done, lines = read_results(args.results), []
    for name, data in read_data(args.data).items():
        first = len(lines)
        n_all = len(data[0]) - n_held_out(len(data[0]))
        n_used = min(size[0] or n_all, n_all)
        print(f"{name}: {n_used:,} training rows, width {size[2]}, {size[1]} epochs", flush=True)
        for seed in range(args.seeds):
            for rate in args.rates:
                for method in args.methods:
                    cell = {"data": name, "rate": rate, "seed": seed, "method": method}
                    key = json.dumps([*cell.values(), *size])
                    if key not in done:
                        done[key] = run(name, data, rate, seed, method, size, args.device)
                        if args.results is not None:
                            with open(args.results, "a") as file:
                                file.write(f"[{key}, {json.dumps(done[key])}]\n")
                    result = done[key]
                    lines.append({**cell, **result})
                    print(
                        f"  {result['realized']:.3f} wrong, seed {seed}, {METHODS[method]}: "
                        f"{100 * result['last']:.2f} % in {result['seconds']:.0f} s",
                        flush=True,
                    )
        report(name, pd.DataFrame(lines[first:]), args.rates)
    if PAPER.keys() & {line["data"] for line in lines}:
        print("The row of the paper is for orientation: it has a shake-shake network, and it")
        print("does not say whether its noise may draw the true class.")
    print(f"{time.perf_counter() - start:.0f} s in all")
    if args.picture is not None:
        draw(pd.DataFrame(lines), args.picture)


if __name__ == "__main__":
    main()

"""Reproduce Table 1 of the paper on self-distillation: accuracy after training on wrong labels.

    SKLEARN_KD_DATA=... python examples/reproduce_self_distillation.py           # for two cores
    SKLEARN_KD_DATA=... python examples/reproduce_self_distillation.py --full    # for a GPU

In Algorithm 1 of Dong, Hou, Lu and Zhang (arXiv:1910.01255), the label of a row is mixed with the
hard prediction of the network during training. The weight of the prediction is lambda times the
accuracy of the batch with respect to the given labels. The paper claims that this requires no early
stopping. An exact share of the training rows gets the label of another class, each of the other
classes being equally likely. Test labels are clean. For each data set the table contains the test
accuracy of

- plain training at its last epoch, and at its best epoch on the test rows. The latter is an oracle
  and the upper limit of what early stopping can reach;
- Algorithm 1 at its last epoch, with the lambda of the paper, which was chosen with known noise: 1,
  1, 1, 1.5, 1.5 on CIFAR-10 and 0.6, 1, 1, 1.4, 1.6 on Fashion-MNIST at 0, 20, 40, 60 and 80 %,
  and linear between them. MNIST is not in the paper and uses the values of CIFAR-10;
- `SelfDistillClassifier` with its defaults, except for the strength, which is the same lambda. The
  weight follows the accuracy above that of predicting the largest class, after a short warm-up.

Initialization, order and noise of a seed are the same for all. A second table concerns the training
rows: how often the predictions and the most probable classes of ``refined_targets_`` are correct,
and how many of the wrong labels the network has memorized.

- ``--full``: all rows, 600 epochs of SGD with momentum 0.9, weight decay 1e-4, batches of 128, the
  step size from 0.1 to 0 along a cosine, images shifted by up to 4 pixels and flipped (digits
  shifted by up to 2), three seeds, and half precision on a GPU. A WRN-16-4 replaces the shake-shake
  network of the paper, which has about as many weights and an initial step size of 0.2. These are
  135 fits, which take days on a single GPU. See ``--data``, ``--rates`` and ``--epochs``, and
  ``--results``, which continues after an interruption.
- The reduced setting: MNIST and Fashion-MNIST with 10,000 rows, a two-layer network of 512 neurons
  and 30 epochs. CIFAR-10 with 8,000 rows, 2,000 for testing, a convolutional network of five layers
  (8, 16 and 32 channels) and 15 epochs. Adam, no augmentation, one seed. It takes at most 25
  minutes on two cores. Such networks memorize wrong labels too, but their accuracy is not
  comparable with that of the paper.

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

from sklearn_kd import ModuleClassifier, SelfDistillClassifier, TwoLayerPGDClassifier
from sklearn_kd.datasets import add_label_noise, fetch_cifar10, fetch_fashion_mnist, fetch_mnist
from sklearn_kd.exceptions import CleanLabelsWarning
from sklearn_kd.modules import ResNet, SmallCNN

FETCH = {"mnist": fetch_mnist, "fashion_mnist": fetch_fashion_mnist, "cifar10": fetch_cifar10}
SHAPES = {"cifar10": (3, 32, 32), "digits": (1, 8, 8)}
RATES = [0.0, 0.2, 0.4, 0.6, 0.8]
#: Lambda of the paper and its results ("Ours") at these rates. Others: lambda of CIFAR-10.
STRENGTHS = {"cifar10": [1.0, 1.0, 1.0, 1.5, 1.5], "fashion_mnist": [0.6, 1.0, 1.0, 1.4, 1.6]}
PAPER = {
    "cifar10": [94.31, 93.75, 90.82, 86.72, 73.91],
    "fashion_mnist": [95.21, 94.58, 93.78, 92.63, 89.21],
}
#: Rows for training and for testing, and epochs, of the reduced setting.
REDUCED = {
    "mnist": (10_000, 5_000, 30),
    "fashion_mnist": (10_000, 5_000, 30),
    "cifar10": (8_000, 2_000, 15),
    "digits": (1_000, 797, 30),
}
FULL_EPOCHS = 600
METHODS = {"plain": "plain", "paper": "Algorithm 1", "corrected": "chance-corrected"}


def load(name):
    """Return rows and labels for training and testing, or raise FileNotFoundError."""
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        X = (X / 16).astype(np.float32)
        X, X_test, y, y_test = train_test_split(X, y, train_size=1000, stratify=y, random_state=0)
        return X, y, X_test, y_test
    data = FETCH[name](download_if_missing=False)
    return data.X_train, data.y_train, data.X_test, data.y_test


def make_network(name, epochs, seed, args):
    """Return a network without early stopping, which the method does not require."""
    shape = SHAPES.get(name, (1, 28, 28))
    if args.full:
        is_digits = name in ("mnist", "digits")
        return ModuleClassifier(
            ResNet,
            module_params={"width": 64, "depth": 2},
            image_shape=shape,
            optimizer="sgd",
            learning_rate=0.1,
            optimizer_params={"momentum": 0.9},
            weight_decay=1e-4,
            scheduler="cosine",
            max_epochs=epochs,
            batch_size=128,
            early_stopping=False,
            # a mirrored digit may be another digit
            augmentation={"shift": 2} if is_digits else {"shift": 4, "flip": True},
            mixed_precision=torch.cuda.is_available() and args.device != "cpu",
            random_state=seed,
            device=args.device,
        )
    if name == "cifar10":
        return ModuleClassifier(
            SmallCNN,
            # dropout would prevent such a short training from memorizing labels
            module_params={"width": 8, "dropout": 0.0},
            image_shape=shape,
            learning_rate=0.003,
            scheduler="cosine",
            max_epochs=epochs,
            batch_size=128,
            early_stopping=False,
            random_state=seed,
            device=args.device,
        )
    return TwoLayerPGDClassifier(
        512,
        max_iter=epochs,
        batch_size=128,
        early_stopping=False,
        encoder=None,
        init="symmetric",
        weight_decay=0.0,
        random_state=seed,
        device=args.device,
    )


def make_model(method, network, strength):
    if method == "plain":
        return network
    if method == "paper":
        return SelfDistillClassifier(
            network, schedule="accuracy", strength=strength, memory=None, warm_up=0.0
        )
    return SelfDistillClassifier(network, strength=strength)


def run(name, rows, epochs, rate, seed, method, args):
    """Run one fit and return a line of the results."""
    X, y, X_test, y_test = rows
    noisy = add_label_noise(y, rate, random_state=seed)
    # after each epoch, or a hundred times in a longer training, including the last epoch
    monitor = ScoringMonitor(scoring=lambda model, X, y: {"test": model.score(X_test, y_test)})
    network = make_network(name, epochs, seed, args).set_callbacks(monitor)
    strength = float(np.interp(rate, RATES, STRENGTHS.get(name, STRENGTHS["cifar10"])))
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CleanLabelsWarning)  # a column of the table is
        model = make_model(method, network, strength).fit(X, noisy.y)
    seconds = time.perf_counter() - start
    scores = [log["test"] for log in monitor.get_logs().data if log["task_name"] == "epochs"]
    predicted, refined = model.predict(X), None
    if method != "plain":
        labels = model.classes_[model.refined_targets_.argmax(axis=1)]
        refined = float(np.mean(labels == y))
    learned = (predicted == noisy.y)[noisy.is_wrong]
    return {
        "realized": noisy.rate,
        "last": scores[-1],
        "best": max(scores),
        "predicted": float(np.mean(predicted == y)),
        "refined": refined,
        "memorized": float(np.mean(learned)) if len(learned) else None,
        "seconds": seconds,
    }


def percent(values):
    """Return the mean over seeds in percent, with the standard deviation over several seeds."""
    values = 100 * values.astype(float).dropna()
    if not len(values):
        return "-"
    return f"{values.mean():.1f}" + (f" ± {values.std():.1f}" if len(values) > 1 else "")


def markdown(frame, lines, rates, first):
    """Return cells of a table: a line for each (title, method, column), with rates as columns."""
    realized = [frame[frame.rate == rate]["realized"].mean() for rate in rates]
    table = [[first, *(f"{100 * rate:.1f} % wrong" for rate in realized)]]
    table.append(["---"] * len(table[0]))
    for title, method, column in lines:
        mine = frame[frame.method == method]
        table.append([title, *(percent(mine[mine.rate == rate][column]) for rate in rates)])
    return table


def report(name, frame, rates):
    """Print both tables of a data set."""
    plain, paper, corrected = METHODS
    accuracy = markdown(
        frame,
        [
            ("plain, last epoch", plain, "last"),
            ("plain, best epoch (an oracle)", plain, "best"),
            ("Algorithm 1, last epoch", paper, "last"),
            ("chance-corrected, last epoch", corrected, "last"),
        ],
        rates,
        "test accuracy, %",
    )
    if name in PAPER:
        theirs = dict(zip(RATES, PAPER[name], strict=True))
        cells = (f"{theirs[rate]:.2f}" if rate in theirs else "-" for rate in rates)
        accuracy.append(["the paper's, its network and all rows", *cells])
    training = markdown(
        frame,
        [
            ("predictions right, plain", plain, "predicted"),
            ("predictions right, Algorithm 1", paper, "predicted"),
            ("predictions right, chance-corrected", corrected, "predicted"),
            ("refined labels right, Algorithm 1", paper, "refined"),
            ("refined labels right, chance-corrected", corrected, "refined"),
            ("wrong labels learned, plain", plain, "memorized"),
            ("wrong labels learned, Algorithm 1", paper, "memorized"),
            ("wrong labels learned, chance-corrected", corrected, "memorized"),
        ],
        rates,
        "training rows, %",
    )
    for table in (accuracy, training):
        print("\n" + "\n".join("| " + " | ".join(line) + " |" for line in table))
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
        mine = frame[frame["data"] == name]
        for method, title, color in zip(METHODS, METHODS.values(), ("C7", "C0", "C1"), strict=True):
            mean = 100 * mine[mine.method == method].groupby("realized")["last"].mean()
            axis.plot(mean, "o-", color=color, label=f"{title}, last epoch")
        best = 100 * mine[mine.method == "plain"].groupby("realized")["best"].mean()
        axis.plot(best, "o--", color="C7", label="plain, best epoch (an oracle)")
        axis.set(title=name, xlabel="share of wrong labels", ylabel="test accuracy, %")
        axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(path, dpi=120)
    print(f"picture: {Path(path).resolve()}")


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--full", action="store_true", help="the paper's size, for a GPU")
    add("--data", nargs="+", choices=FETCH, default=list(FETCH))
    add("--rates", type=float, nargs="+", default=RATES, help="shares of wrong labels")
    add("--seeds", type=int, help="1, or 3 with --full")
    add("--epochs", type=int, help="instead of what the setting says")
    add("--rows", type=int, help="training rows, likewise")
    add("--test-rows", type=int, help="likewise")
    add("--device", default="auto")
    add("--results", metavar="FILE", help="JSON lines of finished fits, to go on from")
    add("--plot", metavar="FILE", help="where to save a picture")
    return parser.parse_args()


def read_data(args):
    """Return the rows of each data set that is found, or the digits of scikit-learn."""
    found = {}
    for name in args.data:
        try:
            found[name] = load(name)
        except FileNotFoundError:
            print(f"{name} is left out: there is no {name}.npz in a folder of SKLEARN_KD_DATA.")
    if not found:
        print("The digits bundled with scikit-learn take their place.")
        found["digits"] = load("digits")
    return found


def main():
    args, start = parse(), time.perf_counter()
    args.seeds = args.seeds or (3 if args.full else 1)
    done = {}
    if args.results is not None and Path(args.results).is_file():
        for line in Path(args.results).read_text().splitlines():
            key, result = json.loads(line)
            done[json.dumps(key)] = result

    lines = []
    for name, (X, y, X_test, y_test) in read_data(args).items():
        n_rows, n_test, epochs = (None, None, FULL_EPOCHS) if args.full else REDUCED[name]
        n_rows, n_test = args.rows or n_rows, args.test_rows or n_test
        epochs = args.epochs or epochs
        # files may be sorted by class
        test = np.random.RandomState(0).permutation(len(X_test))[:n_test]
        first = len(lines)
        for seed in range(args.seeds):
            some = np.random.RandomState(seed).permutation(len(X))[:n_rows]
            rows = X[some], y[some], X_test[test], y_test[test]
            if seed == 0:
                print(f"{name}: {len(some):,} training and {len(test):,} test rows, ", end="")
                print(f"{epochs} epochs, {args.seeds} seed(s)", flush=True)
            for rate in args.rates:
                for method in METHODS:
                    cell = {"data": name, "rate": rate, "seed": seed, "method": method}
                    key = [*cell.values(), args.full, epochs, len(some), len(test)]
                    result = done.get(json.dumps(key))
                    if result is None:
                        result = run(name, rows, epochs, rate, seed, method, args)
                        if args.results is not None:
                            with open(args.results, "a") as file:
                                file.write(json.dumps([key, result]) + "\n")
                    lines.append({**cell, **result})
                    print(
                        f"  {result['realized']:.3f} wrong, seed {seed}, {METHODS[method]}: "
                        f"{100 * result['last']:.1f} % in {result['seconds']:.0f} s",
                        flush=True,
                    )
        report(name, pd.DataFrame(lines[first:]), args.rates)
    if PAPER.keys() & {line["data"] for line in lines}:
        print("The paper's row is for orientation: another network, and all rows and epochs, which")
        print("are those of --full; whether its noise may draw the true class it does not say.")
    print(f"{time.perf_counter() - start:.0f} s in all")
    if args.plot is not None:
        draw(pd.DataFrame(lines), args.plot)


if __name__ == "__main__":
    main()

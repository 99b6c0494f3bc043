"""Compress a forest of 500 trees into a network of 16 neurons and compare accuracy, size and speed.

    python examples/quickstart.py

The script takes under a minute and needs no download. It prints one table per data set and writes
``quickstart.png`` into the current folder.
"""

import pickle
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
from sklearn_kd.metrics import agreement_score, expected_calibration_error

TEACHER, HARD, DISTILLED = "teacher: 500 trees", "student, hard labels", "student, distilled"


def train(X_train, y_train):
    """Return the three fitted models by name."""
    forest = RandomForestClassifier(500, random_state=0)
    network = TwoLayerPGDClassifier(width=16, random_state=0)

    distilled = DistilledClassifier(forest, network, random_state=0).fit(X_train, y_train)

    return {
        TEACHER: distilled.teacher_,  # the same forest on all training rows
        HARD: network.fit(X_train, y_train),
        # both students keep the record of their fits, which keep_history=False leaves out
        DISTILLED: distilled.without_teacher(),
    }


def single_row_p50(model, X, seconds=1.0):
    """Median time of `predict_proba` for one row, in microseconds."""
    times, stop = [], time.perf_counter() + seconds
    while time.perf_counter() < stop:
        row = X[[len(times) % len(X)]]
        start = time.perf_counter()
        model.predict_proba(row)
        times.append(time.perf_counter() - start)
    return 1e6 * np.median(times)


def rows_per_second(model, X, n_rows=10_000):
    """Return the number of rows per second of `predict_proba`, the best of three repeats."""
    rows = np.resize(X, (n_rows, X.shape[1]))
    times = []
    for _ in range(3):
        start = time.perf_counter()
        model.predict_proba(rows)
        times.append(time.perf_counter() - start)
    return n_rows / min(times)


def measure(models, X_test, y_test):
    """Return one line per model as a DataFrame."""
    y_teacher = models[TEACHER].predict(X_test)
    lines = {}
    for name, model in models.items():
        proba, y_pred = model.predict_proba(X_test), model.predict(X_test)
        lines[name] = {
            "accuracy": accuracy_score(y_test, y_pred),
            "log loss": log_loss(y_test, proba, labels=model.classes_),
            "calibration error": expected_calibration_error(y_test, proba, labels=model.classes_),
            "agrees with teacher": agreement_score(y_teacher, y_pred),
            "bytes": len(pickle.dumps(model)),
            "one row, us": single_row_p50(model, X_test),
            "rows per second": rows_per_second(model, X_test),
        }
    return pd.DataFrame(lines).T


def paired(values):
    """Mean of one difference per test row, and two standard errors of it."""
    return np.mean(values), 2 * np.std(values, ddof=1) / np.sqrt(len(values))


def verdict(name, table, models, X_test, y_test):
    """Summarize the effect of distillation from the numbers alone."""
    hard, distilled = models[HARD], models[DISTILLED]
    column = np.searchsorted(hard.classes_, y_test)[:, None]
    losses = [
        -np.log(np.take_along_axis(model.predict_proba(X_test), column, axis=1).clip(1e-15))
        for model in (hard, distilled)
    ]
    right = [model.predict(X_test) == y_test for model in (hard, distilled)]
    points, points_error = paired(100.0 * right[1] - 100.0 * right[0])
    nats, nats_error = paired(losses[1] - losses[0])

    def word(gain, error):
        return "no clear change" if abs(gain) <= error else "better" if gain > 0 else "worse"

    ratio = table.loc[TEACHER] / table.loc[DISTILLED]
    gap = 100 * (table["accuracy"][DISTILLED] - table["accuracy"][TEACHER])
    return (
        f"on {name} the distilled network has 1/{ratio['bytes']:.0f} of the forest's bytes, is "
        f"{ratio['one row, us']:.0f} times as fast on one row and {gap:+.1f} points of accuracy "
        f"away from it, and distilling instead of training on hard labels changed accuracy by "
        f"{points:+.1f} +- {points_error:.1f} points ({word(points, points_error)}) and log loss "
        f"by {nats:+.3f} +- {nats_error:.3f} ({word(-nats, nats_error)})"
    )


def draw(tables, path="quickstart.png"):
    """Draw accuracy and log loss against bytes. Return True if matplotlib is installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots(2, len(tables), sharex=True, squeeze=False)
    for (top, bottom), (name, table) in zip(axes.T, tables.items(), strict=True):
        top.set_title(name)
        for axis, score in ((top, "accuracy"), (bottom, "log loss")):
            for (label, line), marker in zip(table.iterrows(), "os^", strict=True):
                axis.plot(line["bytes"], line[score], marker, markersize=9, label=label)
            axis.set(xscale="log", ylabel=score)
            axis.grid(alpha=0.3)
        bottom.set_xlabel("bytes on disk")
    axes[0, 0].legend()
    figure.savefig(path, dpi=120)
    return True


def main():
    tables, sentences = {}, []
    for name, load in (("breast cancer", load_breast_cancer), ("digits", load_digits)):
        X, y = load(return_X_y=True)
        X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
        models = train(X_train, y_train)
        tables[name] = table = measure(models, X_test, y_test)
        sentences.append(verdict(name, table, models, X_test, y_test))

        decimals = dict.fromkeys(table.columns[:4], "{:.3f}".format)
        whole = dict.fromkeys(table.columns[4:], "{:,.0f}".format)
        print(f"{name}: {len(y_train)} training rows, {len(y_test)} test rows")
        print(table.to_string(formatters=decimals | whole), end="\n\n")

    if draw(tables):
        print(f"picture: {Path('quickstart.png').resolve()}\n")
    else:
        print('no picture: matplotlib is missing, pip install "sklearn-kd[plot]"\n')
    print(textwrap.fill(f"In short, {'; '.join(sentences)}.", 100))


if __name__ == "__main__":
    main()

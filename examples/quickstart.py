"""Compress boosted trees into a small network that reads the raw table.

    python examples/quickstart.py

The table is made by the rules in `make_table`: numbers, strings, categories, and cells that are
missing. Nothing is encoded or imputed. The script takes well under a minute and needs no download.
It prints a table and writes ``quickstart.png`` into the current folder.
"""

import pickle
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
from sklearn_kd.metrics import agreement_score, expected_calibration_error

TEACHER, HARD, DISTILLED = "teacher", "student, hard labels", "student, distilled"
REGIONS = ["center", "coast", "hills", "lakes", "plains", "north"]


def make_table(n_rows=4000, seed=0, sharpness=1.0):
    """Return customers as a DataFrame, and whether each of them renews a subscription.

    The logarithm of the odds of "renews" is a sum of

    - age: high for the young and the old, low in between,
    - income: rises with its logarithm, up to a limit,
    - months: a peak after each year, which fades,
    - region and plan: an effect of each pair,
    - visits: help those who use a phone, and nobody else,
    - a missing income, which is a bad sign. An age is missing at random.

    It is multiplied by ``sharpness``: with a large one, the columns decide nearly every label.
    """
    rng = np.random.default_rng(seed)
    age = rng.uniform(18, 85, n_rows)
    income = rng.lognormal(10.3, 0.7, n_rows)
    months = rng.integers(0, 60, n_rows)
    visits = rng.poisson(5, n_rows)
    region, plan = rng.integers(0, 6, n_rows), rng.integers(0, 3, n_rows)
    device = rng.integers(0, 3, n_rows)
    no_age, no_income, no_device = (rng.random(n_rows) < share for share in (0.1, 0.15, 0.05))
    effect_of_pair = np.random.default_rng(1).normal(0, 1, (6, 3))
    log_odds = (
        1.5 * (((age - 50) / 20) ** 2 - 1)
        + 1.5 * np.clip(np.log(income) - 10.3, -1, 0.5)
        + 2.0 * np.cos(2 * np.pi * months / 12) * np.exp(-months / 36)
        + effect_of_pair[region, plan]
        + np.where((device == 0) & ~no_device, 0.6 * (visits - 5), 0.0)
        - 1.5 * no_income
    )
    table = pd.DataFrame(
        {
            "age": np.where(no_age, np.nan, np.round(age)),
            "income": np.where(no_income, np.nan, np.round(income)),
            "months": months,
            "visits": visits,
            "region": np.array(REGIONS)[region],
            "plan": pd.Categorical.from_codes(plan, ["basic", "plus", "family"]),
            "device": np.where(no_device, None, np.array(["phone", "tablet", "desktop"])[device]),
            "newsletter": rng.random(n_rows) < 0.5,
        }
    )
    return table, np.where(
        rng.random(n_rows) < 1 / (1 + np.exp(-sharpness * log_odds)), "renews", "leaves"
    )


def train(X_train, y_train):
    """Return the three fitted models by name."""
    trees = HistGradientBoostingClassifier(
        categorical_features=["region", "plan", "device"], random_state=0
    )
    network = TwoLayerPGDClassifier(width=16, random_state=0)

    distilled = DistilledClassifier(trees, network, random_state=0).fit(X_train, y_train)
    teacher = distilled.teacher_  # the same trees on all training rows

    # alpha=0 fits the network to hard labels alone, so that both students are saved alike
    fixed = {"alpha": 0.0, "temperature": 1.0, "augmentation": None}
    hard = DistilledClassifier(FrozenEstimator(teacher), network, **fixed).fit(X_train, y_train)

    return {
        TEACHER: teacher,
        HARD: hard.without_teacher(keep_history=False),
        DISTILLED: distilled.without_teacher(keep_history=False),
    }


def single_row_p50(model, X, seconds=1.0):
    """Median time of `predict_proba` for one raw row, in microseconds."""
    rows = [X.iloc[[i]] for i in range(min(len(X), 100))]
    times, stop = [], time.perf_counter() + seconds
    while time.perf_counter() < stop:
        row = rows[len(times) % len(rows)]
        start = time.perf_counter()
        model.predict_proba(row)
        times.append(time.perf_counter() - start)
    return 1e6 * np.median(times)


def rows_per_second(model, X, n_rows=10_000):
    """Return the number of rows per second of `predict_proba`, the best of three repeats."""
    rows = X.sample(n_rows, replace=True, random_state=0)
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
            "one raw row, us": single_row_p50(model, X_test),
            "rows per second": rows_per_second(model, X_test),
        }
    return pd.DataFrame(lines).T


def paired(values):
    """Mean of one difference per test row, and two standard errors of it."""
    return np.mean(values), 2 * np.std(values, ddof=1) / np.sqrt(len(values))


def verdict(table, models, X_test, y_test):
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
    more = "more" if gap > 0 else "less"
    return (
        f"the distilled network has 1/{ratio['bytes']:.0f} of the teacher's bytes, is "
        f"{ratio['one raw row, us']:.0f} times as fast on one raw row and {abs(gap):.1f} points "
        f"{more} accurate than it, and distilling instead of training on hard labels changed "
        f"accuracy by {points:+.1f} +- {points_error:.1f} points ({word(points, points_error)}) "
        f"and log loss by {nats:+.3f} +- {nats_error:.3f} ({word(-nats, nats_error)})"
    )


def chosen(model):
    """Describe the settings that "auto" has chosen."""
    if model.label_source_ == "hard":
        return "hard labels, since soft ones did not improve the held-out log loss"
    return (
        f"alpha {model.alpha_:g}, temperature {model.temperature_:g}, "
        f"{model.n_augmented_:,} transfer rows"
    )


def draw(table, path="quickstart.png"):
    """Draw accuracy and log loss against bytes. Return True if matplotlib is installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(9, 4), layout="constrained")
    figure.suptitle("Boosted trees and networks of 16 neurons on the raw table")
    for axis, score in zip(figure.subplots(1, 2), ("accuracy", "log loss"), strict=True):
        for (label, line), marker in zip(table.iterrows(), "os^", strict=True):
            axis.plot(line["bytes"], line[score], marker, markersize=9, label=label)
        axis.set(xscale="log", xlabel="bytes on disk", ylabel=score)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(path, dpi=120)
    return True


def main():
    X, y = make_table()
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    print(X_train.head().to_string(), end="\n\n")
    models = train(X_train, y_train)
    table = measure(models, X_test, y_test)

    decimals = dict.fromkeys(table.columns[:4], "{:.3f}".format)
    whole = dict.fromkeys(table.columns[4:], "{:,.0f}".format)
    print(f"{len(y_train)} training rows, {len(y_test)} test rows")
    print(table.to_string(formatters=decimals | whole), end="\n\n")
    print(f'"auto" has chosen: {chosen(models[DISTILLED])}\n')

    if draw(table):
        print(f"picture: {Path('quickstart.png').resolve()}\n")
    else:
        print('no picture: matplotlib is missing, pip install "sklearn-kd[plot]"\n')
    print(textwrap.fill(f"In short, {verdict(table, models, X_test, y_test)}.", 100))


if __name__ == "__main__":
    with threadpool_limits(1):  # the trees would wait for threads where cores are busy
        main()

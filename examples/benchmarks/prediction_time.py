"""Compare prediction times of a distilled network, an MLPClassifier and a forest of 500 trees.

    SKLEARN_KD_DATA=... python examples/benchmarks/prediction_time.py

The network and the MLPClassifier have the same width. Times are for one row (median and 99th
percentile of ``predict_proba``) and for 10,000 rows at once. Models take turns, so that a slow
period of the machine affects all of them. Digits is bundled with scikit-learn. adult is omitted if
it is not in ``SKLEARN_KD_DATA``. The networks are trained for a few epochs only, because prediction
takes the same time. The script prints Markdown.
"""

import argparse
import time

import numpy as np
from _runs import environment, markdown, thread_limit, timed_fit
from _tables import load_encoded
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier

OURS, META, MLP, FOREST = "TwoLayerPGDClassifier", "DistilledClassifier", "MLPClassifier", "forest"
#: The slow forest is timed in one of this many rounds.
FOREST_EVERY = 50


def load(name, max_rows):
    """Return training and test rows, or None if the table is not available."""
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        return train_test_split(X, y, stratify=y, random_state=0)
    try:
        data = load_encoded(name, 0, max_rows=max_rows)
    except SystemExit as missing:
        print(f"{name} is left out: {missing}\n")
        return None
    return data.X_train, data.X_test, data.y_train, data.y_test


def train(X, y, args):
    network = TwoLayerPGDClassifier(args.width, max_iter=20, random_state=0)
    forest = RandomForestClassifier(args.trees, n_jobs=1, random_state=0)
    distilled = DistilledClassifier(forest, network, alpha=0.5, augmentation=None, random_state=0)
    mlp = MLPClassifier((args.width,), max_iter=20, random_state=0)
    for model in (network, distilled, mlp):
        timed_fit(model, X, y)
    return {
        OURS: network,
        META: distilled.without_teacher(),
        MLP: mlp,
        FOREST: distilled.teacher_,
    }


def single_rows(models, X, rounds):
    """Return the microseconds of each call on one row, by model."""
    times = {name: [] for name in models}
    for number in range(rounds):
        row = X[[number % len(X)]]
        for name, model in models.items():
            if name == FOREST and number % FOREST_EVERY:
                continue
            start = time.perf_counter()
            model.predict_proba(row)
            times[name].append(1e6 * (time.perf_counter() - start))
    return times


def bulk(models, X, repeats):
    """Return rows per second by model, from the median time of a call."""
    times = {name: [] for name in models}
    for _ in range(repeats):
        for name, model in models.items():
            start = time.perf_counter()
            model.predict_proba(X)
            times[name].append(time.perf_counter() - start)
    return {name: len(X) / np.median(spent) for name, spent in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", default=["digits", "adult"])
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--trees", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3000, help="calls on one row")
    parser.add_argument("--repeats", type=int, default=5, help="calls on all rows")
    parser.add_argument("--max-rows", type=int, default=10_000, help="training rows")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    with thread_limit(args.threads):
        print(environment(f"{args.threads} thread(s)"))
        print(f"Width {args.width}, {args.trees} trees (n_jobs=1), float64, predict_proba.\n")
        lines = []
        for name in args.tables:
            data = load(name, args.max_rows)
            if data is None:
                continue
            X_train, X_test, y_train, _ = data
            models = train(X_train, y_train, args)
            single_rows(models, X_test, 50)
            one = single_rows(models, X_test, args.rounds)
            many = bulk(models, np.resize(X_test, (10_000, X_test.shape[1])), args.repeats)
            p50 = {model: np.median(times) for model, times in one.items()}
            for model in models:
                lines.append(
                    [name, X_test.shape[1], model, f"{p50[model]:.0f}"]
                    + [f"{np.percentile(one[model], 99):.0f}", f"{p50[model] / p50[OURS]:.2f}"]
                    + [f"{many[model]:,.0f}", f"{many[OURS] / many[model]:.2f}"]
                )
        header = ["table", "inputs", "model", "one row p50, us", "p99, us", "p50 / ours"]
        header += ["rows per second", "ours / this"]
        print(markdown(header, lines))


if __name__ == "__main__":
    main()

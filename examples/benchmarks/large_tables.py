"""Compare what "auto" chooses on larger tables with hard labels and with settings as numbers.

    python examples/benchmarks/large_tables.py --json runs.jsonl

Tables are drawn by `make_classification` with 20 columns, of which 12 are informative, four
clusters of each class and 1 % of wrong labels. The teacher is a `HistGradientBoostingClassifier`.
Each line has the accuracy and the log loss, on 20,000 test rows, of the student on hard labels, of
students with fixed settings, and of the `DistilledClassifier` with its defaults, with the seconds
of its fit and those of the slowest fit with fixed settings. The script uses one thread. To compare
two versions of the package, run it once with each. Prints Markdown.
"""

import argparse
import time
import warnings

import numpy as np
from _runs import environment, markdown, run_cells, test_scores
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier

N_TEST_ROWS = 20000
#: Settings as numbers that "auto" is compared with.
FIXED = {
    "soft 0.25": {"alpha": 0.25, "augmentation": None},
    "soft 0.5": {"alpha": 0.5, "augmentation": None},
    "transfer rows": {"alpha": 0.25, "augmentation": "gibbs"},
}


def load(n_rows, seed, n_test_rows=N_TEST_ROWS):
    """Return training and test rows: X, y, X_test, y_test."""
    X, y = make_classification(
        n_rows + n_test_rows,
        n_informative=12,
        n_clusters_per_class=4,
        flip_y=0.01,
        random_state=seed,
    )
    return X[:n_rows], y[:n_rows], X[n_rows:], y[n_rows:]


def run(n_rows, seed, width, n_test_rows=N_TEST_ROWS, max_iter="auto"):
    """Fit all students on one table, and return their scores, seconds and what "auto" chose."""
    X, y, X_test, y_test = load(n_rows, seed, n_test_rows)
    student = TwoLayerPGDClassifier(width, max_iter=max_iter, random_state=seed)
    teacher = HistGradientBoostingClassifier(random_state=seed)
    auto = DistilledClassifier(teacher, student, random_state=seed)
    models = {"hard": student}
    for name, settings in FIXED.items():
        models[name] = clone(auto).set_params(temperature=1.0, **settings)
    models["auto"] = auto
    result = {}
    for name, model in models.items():
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model.fit(X, y)
        seconds = time.perf_counter() - start
        result[name] = {**test_scores(model, X_test, y_test), "seconds": seconds}
    label = f"{auto.label_source_} {auto.alpha_:g}, T = {auto.temperature_:g}"
    result["chosen"] = f"{label}, {auto.n_augmented_:,} transfer rows"
    return result


def table(rows):
    """Return one line for each run."""
    names = ["hard", *FIXED, "auto"]
    header = ["rows", "width", "seed", *names, '"auto" chose', 'seconds, "auto"', "slowest fixed"]
    lines = []
    for row in rows:
        line = [f"{row['n_rows']:,}", row["width"], row["seed"]]
        line += [f"{row[name]['accuracy']:.4f}, {row[name]['log_loss']:.4f}" for name in names]
        slowest = max(row[name]["seconds"] for name in FIXED)
        seconds = row["auto"]["seconds"]
        lines.append([*line, row["chosen"], f"{seconds:.0f}", f"{slowest:.0f}"])
    return markdown(header, lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[20000, 40000])
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--seeds", type=int, default=2, help="tables, and seeds of the fits")
    parser.add_argument("--jobs", type=int, default=1, help="more than one distorts times")
    parser.add_argument("--json", metavar="FILE", help="finished fits, to go on from")
    args = parser.parse_args()
    cells = [
        {"n_rows": n_rows, "seed": seed, "width": width}
        for n_rows in args.rows
        for seed in range(args.seeds)
        for width in args.widths
    ]
    rows = run_cells(cells, run, jobs=args.jobs, path=args.json)
    print(environment(f"one thread a fit, {args.jobs} at a time"))
    print(f"Accuracy, log loss. {len(rows)} of {len(cells)} runs.\n")
    if rows:
        print(table(rows))
        best = [min(row[name]["log_loss"] for name in ("hard", *FIXED)) for row in rows]
        gaps = np.subtract([row["auto"]["log_loss"] for row in rows], best)
        print(f'\nLog loss of "auto" above the best of the others: {np.mean(gaps):.4f}.')
    if len(rows) < len(cells):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

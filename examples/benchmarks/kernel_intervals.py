"""Measure coverage and width of the intervals of KernelTeacherRegressor on four tables.

    SKLEARN_KD_DATA=... python examples/benchmarks/kernel_intervals.py --jobs 2 --json runs.jsonl

Each split has up to ``--rows`` random training rows and up to 2,000 other rows that are tested.
``KernelTeacherRegressor()`` with its defaults makes intervals by jackknife+, and with
``solver="pcg"`` by CV+. The baseline is split conformal prediction: the same regressor is fitted on
half of the training rows, and the interval is its prediction plus and minus a quantile of the
absolute residuals of the other half. Finished splits are appended to the file of ``--json`` and
not repeated. The script prints Markdown.
"""

import argparse
import time
import warnings

import numpy as np
from _runs import environment, markdown, run_cells
from _tables import REGRESSION, load_frame
from sklearn.datasets import load_diabetes

from sklearn_kd import KernelTeacherRegressor

METHODS = {"jackknife": "jackknife+", "cv": "CV+, five folds", "split": "split conformal"}
COVERAGE = 0.9
TEST_ROWS = 2000


def load(table):
    if table == "diabetes":
        return load_diabetes(return_X_y=True, as_frame=True)
    return load_frame(table)


def split_conformal(model, X, y, X_new, rng):
    """Return intervals by a fit on half of the rows and the residuals of the other half."""
    order = rng.permutation(len(y))
    fitted, held = np.array_split(order, 2)
    model.fit(X.iloc[fitted], y[fitted])
    residuals = np.sort(np.abs(y[held] - model.predict(X.iloc[held])))
    rank = int(np.ceil(COVERAGE * (len(held) + 1))) - 1
    center = model.predict(X_new)
    return np.column_stack([center - residuals[rank], center + residuals[rank]])


def run(table, seed, rows):
    """Return coverage, mean width relative to the deviation of y, and R2 on one split."""
    X, y = load(table)
    y = np.asarray(y, dtype=float)
    rng = np.random.RandomState(seed)
    order = rng.permutation(len(y))
    n_train = min(rows, 3 * len(y) // 4)
    train, test = order[:n_train], order[n_train : n_train + TEST_ROWS]
    X_train, y_train = X.iloc[train], y[train]
    X_test, y_test = X.iloc[test], y[test]
    result = {"n_train": n_train, "n_test": len(test)}
    for method in METHODS:
        solver = "pcg" if method == "cv" else "auto"
        model = KernelTeacherRegressor(solver=solver, random_state=seed, device="cpu")
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if method == "split":
                ends, fitted = split_conformal(model, X_train, y_train, X_test, rng), None
            else:
                model.fit(X_train, y_train)
                fitted = time.perf_counter()
                ends = model.predict_interval(X_test, COVERAGE)
        end = time.perf_counter()
        lower, upper = ends.T
        result[method] = {
            "coverage": float(np.mean((lower <= y_test) & (y_test <= upper))),
            "width": float(np.mean(upper - lower) / y.std()),
            "r2": float(model.score(X_test, y_test)),
            "time_over_fit": fitted and (end - fitted) / (fitted - start),
        }
    return result


def report(rows):
    lines = []
    for table in dict.fromkeys(row["table"] for row in rows):
        mine = [row for row in rows if row["table"] == table]
        widths = {m: np.array([row[m]["width"] for row in mine]) for m in METHODS}
        for method, title in METHODS.items():
            coverage = np.array([row[method]["coverage"] for row in mine])
            ratio = np.exp(np.log(widths[method] / widths["split"]).mean())
            times = [row[method]["time_over_fit"] for row in mine]
            lines.append(
                [
                    table,
                    mine[0]["n_train"],
                    title,
                    f"{100 * coverage.mean():.1f}",
                    f"{100 * coverage.min():.1f} to {100 * coverage.max():.1f}",
                    f"{widths[method].mean():.3f}",
                    f"{ratio:.2f}",
                    f"{np.mean([row[method]['r2'] for row in mine]):.3f}",
                    "" if None in times else f"{np.median(times):.2f}",
                ]
            )
    header = [
        "table",
        "training rows",
        "intervals",
        "coverage, %",
        "of single splits",
        "mean width / deviation of y",
        "width / split conformal",
        "R2",
        "time / fit",
    ]
    print(markdown(header, lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", default=["diabetes", *REGRESSION])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json")
    options = parser.parse_args()
    cells = [
        {"table": table, "seed": seed, "rows": options.rows}
        for seed in range(options.seeds)
        for table in options.tables
    ]
    rows = run_cells(cells, run, jobs=options.jobs, path=options.json)
    print(environment("one thread per fit"))
    print()
    report(rows)


if __name__ == "__main__":
    main()

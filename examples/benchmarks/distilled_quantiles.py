"""Measure coverage, width and pinball loss of distilled quantiles on four tables.

    SKLEARN_KD_DATA=... python examples/benchmarks/distilled_quantiles.py --json runs.jsonl

Three tables and diabetes, which scikit-learn has, are split by rows, 20 times by default, and
training rows are limited to ``--rows``. Quantiles of the levels .05, .5 and .95 are predicted by

- a teacher: boosted trees for each level, or ``KernelTeacherRegressor()``,
- the same teacher fitted on half of the rows, with intervals that are calibrated on the other half
  (split conformal prediction, Romano et al. 2019),
- ``predict_interval`` of ``KernelTeacherRegressor()``, whose middle is its prediction,
- ``TwoLayerPGDRegressor(width, loss="quantile")`` on the targets alone,
- ``DistilledRegressor(teacher, TwoLayerPGDRegressor(width), quantiles=...)`` with its defaults, and
  its student before the shift.

Widths are printed in deviations of y, and as ratios to those of split conformal prediction. Every
fit has one thread. Finished cells are appended to the file of ``--json`` and not repeated. The
script prints Markdown.
"""

import argparse
import warnings

import numpy as np
from _runs import environment, markdown, run_cells, timed_fit
from _tables import REGRESSION
from _teachers import categorical
from regression_tables import load
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import mean_pinball_loss

from sklearn_kd import DistilledRegressor, KernelTeacherRegressor, TwoLayerPGDRegressor

TABLES = ("diabetes", *REGRESSION)
TEACHERS = ("boosting", "kernel")
LEVELS = (0.05, 0.5, 0.95)
METHODS = {
    "all": "teacher",
    "split": "teacher, split conformal",
    "interval": "predict_interval",
    "hard": "student on targets",
    "plain": "distilled student",
    "distilled": "distilled student, shifted",
}
MAX_TEST_ROWS = 2000


def make_teacher(name, seed):
    """Return a teacher of quantiles."""
    if name == "kernel":
        return KernelTeacherRegressor(random_state=seed, device="cpu")
    options = {"loss": "quantile", "min_samples_leaf": 10, "max_iter": 50, "random_state": seed}
    return {q: HistGradientBoostingRegressor(quantile=q, **options) for q in LEVELS}


def teacher_quantiles(teacher, X, y, X_new):
    """Fit a teacher and return its quantiles for new rows, sorted."""
    if not isinstance(teacher, dict):
        return clone(teacher).fit(X, y).predict_quantiles(X_new, LEVELS)
    columns = [clone(each).fit(X, y).predict(X_new) for each in teacher.values()]
    return np.sort(np.stack(columns, axis=1), axis=1)


def split_conformal(teacher, X, y, X_new, rng):
    """Return quantiles of a teacher of half of the rows, shifted by the scores of the others."""
    fitted, held = np.array_split(rng.permutation(len(y)), 2)
    both = np.arange(len(held)), len(held) + np.arange(len(X_new))
    rows = [X.iloc[held], X_new]
    found = [teacher_quantiles(teacher, X.iloc[fitted], y[fitted], each) for each in rows]
    values = np.concatenate(found)
    low, high = values[both[0], 0], values[both[0], -1]
    scores = np.sort(np.maximum(low - y[held], y[held] - high))
    rank = int(np.ceil((LEVELS[-1] - LEVELS[0]) * (len(held) + 1) - 1e-9)) - 1
    return np.sort(values[both[1]] + scores[rank] * np.array([-1, 0, 1]), axis=1)


def run(table, seed, teacher, width, rows):
    """Return the scores of all methods on one split."""
    data = load(table, seed, rows)
    X, X_test = categorical(data.X_train, data.X_test)
    X_test, y_test = X_test.iloc[:MAX_TEST_ROWS], data.y_test[:MAX_TEST_ROWS]
    y, quantile_teacher = data.y_train, make_teacher(teacher, seed)
    student = TwoLayerPGDRegressor(width, device="cpu")
    quantiles = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantiles["all"] = teacher_quantiles(quantile_teacher, X, y, X_test)
        rng = np.random.RandomState(seed)
        quantiles["split"] = split_conformal(quantile_teacher, X, y, X_test, rng)
        if teacher == "kernel":
            fitted = clone(quantile_teacher).fit(X, y)
            low, high = fitted.predict_interval(X_test, LEVELS[-1] - LEVELS[0]).T
            quantiles["interval"] = np.column_stack([low, fitted.predict(X_test), high])
        hard = clone(student).set_params(loss="quantile", quantiles=LEVELS, random_state=seed)
        quantiles["hard"] = hard.fit(X, y).predict_quantiles(X_test)
        distilled = DistilledRegressor(
            quantile_teacher, student, quantiles=LEVELS, random_state=seed
        )
        seconds = timed_fit(distilled, X, y)
        quantiles["distilled"] = distilled.predict_quantiles(X_test)
        quantiles["plain"] = distilled.student_.predict_quantiles(X_test)
    result = {"n_train": len(y), "fit_seconds": seconds, "label_source": distilled.label_source_}
    for name, values in quantiles.items():
        losses = [
            mean_pinball_loss(y_test, each, alpha=level)
            for each, level in zip(values.T, LEVELS, strict=True)
        ]
        low, _, high = values.T
        result[name] = {
            "coverage": float(np.mean((low <= y_test) & (y_test <= high))),
            "width": float(np.mean(high - low) / y.std()),
            "pinball": float(np.mean(losses) / y.std()),
        }
    return result


def report(rows):
    """Print a line for each table, teacher and method."""
    lines, keys = [], dict.fromkeys((row["table"], row["teacher"]) for row in rows)
    for table, teacher in keys:
        mine = [row for row in rows if (row["table"], row["teacher"]) == (table, teacher)]
        split = np.array([row["split"]["width"] for row in mine])
        n_hard = sum(row["label_source"] == "hard" for row in mine)
        for method, title in METHODS.items():
            if method not in mine[0]:
                continue
            scores = {
                score: np.array([row[method][score] for row in mine])
                for score in ("coverage", "width", "pinball")
            }
            error = scores["coverage"].std(ddof=1) / len(mine) ** 0.5 if len(mine) > 1 else np.nan
            ratio = np.exp(np.log(scores["width"] / split).mean())
            lines.append(
                [table, mine[0]["n_train"], len(mine), teacher, title]
                + [f"{100 * scores['coverage'].mean():.1f} +- {100 * error:.1f}"]
                + [f"{scores['width'].mean():.3f}", f"{ratio:.2f}"]
                + [f"{scores['pinball'].mean():.4f}"]
                + [f"{n_hard} of {len(mine)}" if method == "distilled" else ""]
            )
    header = ["table", "training rows", "splits", "teacher", "quantiles", "coverage, %"]
    header += ["width / deviation of y", "width / split conformal", "pinball loss / deviation of y"]
    print(markdown([*header, "targets alone selected"], lines))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    parser.add_argument("--teachers", nargs="+", default=TEACHERS, choices=TEACHERS)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--rows", type=int, default=500, help="training rows to keep")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", help="file of finished cells")
    args = parser.parse_args(arguments)
    cells = [
        {"table": table, "seed": seed, "teacher": teacher, "width": args.width, "rows": args.rows}
        for seed in range(args.seeds)
        for teacher in args.teachers
        for table in args.tables
    ]
    rows = run_cells(cells, run, jobs=args.jobs, path=args.json)
    rows.sort(key=lambda row: (args.tables.index(row["table"]), row["teacher"], row["seed"]))
    print(environment("one thread per fit"))
    report(rows)


if __name__ == "__main__":
    main()

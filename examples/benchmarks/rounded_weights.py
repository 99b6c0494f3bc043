"""Compare compact files of every dtype with the distilled student that they are written of.

    SKLEARN_KD_DATA=... python examples/benchmarks/rounded_weights.py --jobs 2 --json runs.jsonl

On 24 tables, a network is distilled from a forest on raw training rows and written by
`export.compact` with weights of each dtype. Accuracy and log loss, or R2 on tables of numbers such
as "diamonds", are those of test rows. A training row decides nothing, so that the largest change of
a probability, or of a number in standard deviations of the predictions, is measured on 1,000 of
them. All tables have to be of one kind. Finished fits are appended to the file of ``--json`` and
not repeated. The script prints Markdown.
"""

import argparse

import numpy as np
from _runs import environment, markdown, run_cells, test_scores, timed_fit
from _tables import CLASSIFICATION, load_split
from compact_rows import kinds_of
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline

from sklearn_kd import TableEncoder
from sklearn_kd.export import compact

DTYPES = ("float64", "float32", "float16", "int8")


def scores_of(model, X, y):
    """Return accuracy and log loss, or R2."""
    if hasattr(model, "predict_proba"):
        return test_scores(model, X, y)
    return {"r2": r2_score(y, model.predict(X))}


def run(table, seed, width, n_trees, max_rows):
    """Fit a student on one split, and score it and its files."""
    data = load_split(table, seed, max_rows=max_rows)
    forest, _, _, student, distiller = kinds_of(data.y_train)
    teacher = make_pipeline(TableEncoder(n_bins=1), forest(n_trees, random_state=seed))
    fixed = {"alpha": 0.5, "augmentation": None, "random_state": seed}
    model = distiller(teacher, student(width, random_state=seed), **fixed)
    timed_fit(model, data.X_train, data.y_train)
    model = model.without_teacher()
    result = {"model": scores_of(model, data.X_test, data.y_test)}
    rows = data.X_train[:1000]
    for dtype in DTYPES:
        made = compact(model, rows, dtype=dtype, max_change=10.0)
        scores = scores_of(made, data.X_test, data.y_test)
        result[dtype] = {**scores, "bytes": made.n_bytes_, "change": made.largest_change_}
    return result


def report(rows):
    """Return Markdown: one line for each dtype, over all tables and seeds."""
    lines, names = [], list(rows[0]["model"])
    for dtype in DTYPES:
        scores = []
        for name in names:
            difference = np.array([row[dtype][name] - row["model"][name] for row in rows])
            worst = difference.max() if name == "log_loss" else difference.min()
            if name == "accuracy":
                scores += [f"{100 * difference.mean():+.3f}", f"{100 * worst:+.2f}"]
            else:
                scores += [f"{difference.mean():+.5f}", f"{worst:+.4f}"]
        change = np.array([row[dtype]["change"] for row in rows])
        size = np.array([row[dtype]["bytes"] for row in rows])
        lines.append(
            [
                dtype,
                f"{np.median(size):,.0f}",
                f"{np.median(size / [row['float32']['bytes'] for row in rows]):.2f}",
                *scores,
                f"{np.median(change):.1g}",
                f"{change.max():.1g}",
                f"{np.mean(change <= 0.01):.0%}",
            ]
        )
    titles = {"accuracy": "accuracy, points", "log_loss": "log loss", "r2": "R2"}
    header = ["dtype", "bytes, median", "of float32"]
    header += [title for name in names for title in (titles[name], "worst")]
    return markdown([*header, "largest change, median", "worst", "at most .01"], lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", default=CLASSIFICATION, metavar="NAME")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--max-rows", type=int, default=3000, help="training rows")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", help="file to which finished fits are appended")
    args = parser.parse_args()
    fixed = {"width": args.width, "n_trees": args.trees, "max_rows": args.max_rows}
    cells = [
        {"table": table, "seed": seed, **fixed}
        for seed in range(args.seeds)
        for table in args.tables
    ]
    rows = run_cells(cells, run, jobs=args.jobs, path=args.json)
    print(environment("one thread"))
    print(f"\n{len(rows)} fits.\n\n{report(rows)}")


if __name__ == "__main__":
    main()

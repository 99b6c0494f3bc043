"""Compare compact files of every dtype with the distilled student that they are written of.

    SKLEARN_KD_DATA=... python examples/benchmarks/rounded_weights.py --jobs 2 --json runs.jsonl

On 24 tables, a network is distilled from a forest on raw training rows and written by
`export.compact` with weights of each dtype. Accuracy and log loss are those of test rows. A
training row decides nothing, so that the largest change of a probability is measured on 1,000 of
them. Finished fits are appended to the file of ``--json`` and not repeated. The script prints
Markdown.
"""

import argparse

import numpy as np
from _runs import environment, markdown, run_cells, test_scores, timed_fit
from _tables import CLASSIFICATION, load_split
from _teachers import make_teacher

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
from sklearn_kd.export import compact

DTYPES = ("float64", "float32", "float16", "int8")


def run(table, seed, width, n_trees, max_rows):
    """Fit a student on one split, and score it and its files."""
    data = load_split(table, seed, max_rows=max_rows)
    student = TwoLayerPGDClassifier(width, random_state=seed)
    fixed = {"alpha": 0.5, "augmentation": None, "random_state": seed}
    model = DistilledClassifier(make_teacher("forest", n_trees, seed, "raw"), student, **fixed)
    timed_fit(model, data.X_train, data.y_train)
    model = model.without_teacher()
    result = {"model": test_scores(model, data.X_test, data.y_test)}
    rows = data.X_train[:1000]
    for dtype in DTYPES:
        made = compact(model, rows, dtype=dtype, max_change=1.0)
        scores = test_scores(made, data.X_test, data.y_test)
        result[dtype] = {**scores, "bytes": made.n_bytes_, "change": made.largest_change_}
    return result


def report(rows):
    """Return Markdown: one line for each dtype, over all tables and seeds."""
    lines = []
    for dtype in DTYPES:
        accuracy, loss = (
            np.array([row[dtype][score] - row["model"][score] for row in rows])
            for score in ("accuracy", "log_loss")
        )
        change = np.array([row[dtype]["change"] for row in rows])
        size = np.array([row[dtype]["bytes"] for row in rows])
        lines.append(
            [
                dtype,
                f"{np.median(size):,.0f}",
                f"{np.median(size / [row['float32']['bytes'] for row in rows]):.2f}",
                f"{100 * accuracy.mean():+.3f}",
                f"{100 * accuracy.min():+.2f}",
                f"{loss.mean():+.5f}",
                f"{loss.max():+.4f}",
                f"{np.median(change):.1g}",
                f"{change.max():.1g}",
                f"{np.mean(change <= 0.01):.0%}",
            ]
        )
    header = ["dtype", "bytes, median", "of float32", "accuracy, points", "worst", "log loss"]
    header += ["worst", "largest change, median", "worst", "at most .01"]
    return markdown(header, lines)


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

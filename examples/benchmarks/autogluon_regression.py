"""Distill numbers with AutoGluon, on the splits of distilled_regression.py.

    SKLEARN_KD_DATA=... AUTOGLUON_PYTHON examples/benchmarks/autogluon_regression.py --json ag.jsonl

AutoGluon is not a requirement of this package. The script runs in an environment that has
``autogluon.tabular[lightgbm]`` and this package. ``TabularPredictor.fit`` trains a forest,
extra trees, LightGBM and a network with their defaults, and a weighted ensemble of them, which is
the teacher. ``distill`` then trains students on its predictions for the training rows and for rows
that "spunge", its default, makes [1]_. Students are LightGBM, a forest and a network. On hard
labels they are those that ``fit`` has trained. Bytes are those of a copy for deployment of one
model on disk, and times are medians of ``predict`` of single raw rows: of a model in memory, and of
one that each call reads from disk, as AutoGluon does unless ``persist`` is called. Finished splits
are appended to the file of ``--json`` and not repeated. The script prints Markdown.

References
----------
.. [1] Fakoor, Mueller, Erickson, Chaudhari and Smola, "Fast, accurate, and simple models for
   tabular data via augmented distillation", NeurIPS 2020, arXiv:2006.14284.
"""

import argparse
import tempfile
from importlib.metadata import version

import numpy as np
from _autogluon import STUDENTS, bytes_on_disk, distill, fit_teacher, row_microseconds
from _runs import environment, markdown, run_cells
from _tables import REGRESSION, load_split
from sklearn.datasets import load_diabetes
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split

TABLES = ("diabetes", *REGRESSION)


def load(table, seed, max_rows):
    """Return training and test rows and targets, as regression_tables.py has them."""
    if table != "diabetes":
        data = load_split(table, seed, max_rows=max_rows)
        return data.X_train, data.X_test, data.y_train, data.y_test
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    return train_test_split(X, y.to_numpy(), test_size=0.25, random_state=seed)


def scores(predictor, model, X, y):
    """Return R2, bytes on disk and the times of a raw row of one model of a predictor."""

    def predict(rows):
        return predictor.predict(rows, model=model)

    memory, disk = row_microseconds(predict, predictor, model, X)
    return {
        "r2": r2_score(y, predict(X)),
        "bytes": bytes_on_disk(predictor, model),
        "microseconds": memory,
        "file_microseconds": disk,
    }


def run(table, seed, max_rows, seconds):
    """Fit, distill and score on one split."""
    X, X_test, y, y_test = load(table, seed, max_rows)
    with tempfile.TemporaryDirectory() as folder:
        predictor, _ = fit_teacher(X, y, "regression", folder, seconds)
        models = {"teacher": predictor.model_best}
        distilled, _ = distill(predictor, STUDENTS, seconds)
        for name in STUDENTS.values():
            models[f"hard {name}"] = name
            if name in distilled:
                models[f"distilled {name}"] = distilled[name]
        return {"n_train": len(y)} | {
            name: scores(predictor, model, X_test, y_test) for name, model in models.items()
        }


def lines_of(rows, table):
    """Return a line for each model: mean R2 and its standard error, medians of the others."""
    mine = [row for row in rows if row["table"] == table]
    lines = []
    for name in dict.fromkeys(name for row in mine for name in row if isinstance(row[name], dict)):
        values = [row[name] for row in mine if name in row]
        error = np.std([v["r2"] for v in values]) / max(len(values) - 1, 1) ** 0.5
        cells = [table, mine[0]["n_train"], name]
        cells.append(f"{np.mean([v['r2'] for v in values]):.4f} +- {error:.4f}")
        for key in ("bytes", "microseconds", "file_microseconds"):
            cells.append(f"{np.median([v[key] for v in values]):,.0f}")
        lines.append(cells)
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--max-rows", type=int, default=3000, help="training rows to keep")
    parser.add_argument("--seconds", type=int, default=300, help="limit of fit and of distill")
    parser.add_argument("--json", metavar="FILE", help="finished splits, to go on from")
    args = parser.parse_args()
    fixed = {"max_rows": args.max_rows, "seconds": args.seconds}
    cells = [
        {"table": table, "seed": seed, **fixed}
        for seed in range(args.seeds)
        for table in args.tables
    ]
    rows = run_cells(cells, run, jobs=1, path=args.json)
    packages = ("autogluon.tabular", "lightgbm", "pandas")
    print(environment("one thread"), ", ".join(f"{each} {version(each)}" for each in packages))
    print()
    header = ["table", "rows", "model", "R2", "bytes", "us a row", "us, file"]
    print(markdown(header, [line for table in args.tables for line in lines_of(rows, table)]))


if __name__ == "__main__":
    main()

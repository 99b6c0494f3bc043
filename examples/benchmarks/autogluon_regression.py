"""Distill numbers with AutoGluon, on the splits of distilled_regression.py.

    SKLEARN_KD_DATA=... AUTOGLUON_PYTHON examples/benchmarks/autogluon_regression.py --json ag.jsonl

AutoGluon is not a requirement of this package. The script runs in an environment that has
``autogluon.tabular[lightgbm]``, torch and scikit-learn. ``TabularPredictor.fit`` trains a forest,
extra trees, LightGBM and a network with their defaults, and a weighted ensemble of them, which is
the teacher. ``distill`` then trains students on its predictions for the training rows and for rows
that "spunge", its default, makes [1]_. Students are LightGBM, a forest and a network. On hard
labels they are those that ``fit`` has trained. Bytes are those of a copy for deployment of one
model on disk, and times are medians of ``predict`` of single raw rows.

References
----------
.. [1] Fakoor, Mueller, Erickson, Chaudhari and Smola, "Fast, accurate, and simple models for
   tabular data via augmented distillation", NeurIPS 2020, arXiv:2006.14284.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from _tables import REGRESSION, load_split
from autogluon.tabular import TabularPredictor
from sklearn.datasets import load_diabetes
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split

TABLES = ("diabetes", *REGRESSION)
#: Students by the name of AutoGluon.
STUDENTS = {"GBM": "LightGBM", "RF": "RandomForest", "NN_TORCH": "NeuralNetTorch"}
TEACHERS = {"RF": {}, "XT": {}, "GBM": {}, "NN_TORCH": {}}
N_TIMED = 20


def load(table, seed, max_rows):
    """Return training and test rows and targets, as regression_tables.py has them."""
    if table != "diabetes":
        data = load_split(table, seed, max_rows=max_rows)
        return data.X_train, data.X_test, data.y_train, data.y_test
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    return train_test_split(X, y.to_numpy(), test_size=0.25, random_state=seed)


def scores(predictor, model, X, y):
    """Return R2, bytes on disk and the time of a raw row of one model of a predictor."""
    rows = [X.iloc[row : row + 1] for row in range(N_TIMED + 1)]
    times = []
    for row in rows:
        start = time.perf_counter()
        predictor.predict(row, model=model)
        times.append(time.perf_counter() - start)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "copy"
        predictor.clone_for_deployment(str(path), model=model)
        n_bytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return {
        "r2": r2_score(y, predictor.predict(X, model=model)),
        "bytes": n_bytes,
        "microseconds": 1e6 * float(np.median(times[1:])),
    }


def run(table, seed, max_rows, seconds):
    """Fit, distill and score on one split."""
    X_train, X_test, y_train, y_test = load(table, seed, max_rows)
    with tempfile.TemporaryDirectory() as folder:
        predictor = TabularPredictor("target", "regression", path=folder, verbosity=0)
        predictor.fit(
            X_train.assign(target=y_train),
            hyperparameters=TEACHERS,
            time_limit=seconds,
            num_cpus=1,
            num_gpus=0,
        )
        teacher = predictor.model_best
        distilled = predictor.distill(
            time_limit=seconds, hyperparameters={name: {} for name in STUDENTS}, verbosity=0
        )
        result = {"n_train": len(y_train), "teacher": scores(predictor, teacher, X_test, y_test)}
        for name in STUDENTS.values():
            result[f"hard {name}"] = scores(predictor, name, X_test, y_test)
            for model in distilled:
                if model.startswith(name):
                    result[f"distilled {name}"] = scores(predictor, model, X_test, y_test)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--max-rows", type=int, default=3000, help="training rows to keep")
    parser.add_argument("--seconds", type=int, default=300, help="limit of fit and of distill")
    parser.add_argument("--json", required=True, help="file of finished runs, to go on from")
    args = parser.parse_args()
    path = Path(args.json)
    lines = path.read_text().splitlines() if path.is_file() else []
    done = {tuple(row["cell"]): row for row in map(json.loads, lines)}
    for seed in range(args.seeds):
        for table in args.tables:
            cell = (table, seed, args.max_rows)
            if cell in done:
                continue
            done[cell] = {"cell": cell, **run(*cell, args.seconds)}
            with path.open("a") as file:
                file.write(json.dumps(done[cell]) + "\n")
    print("| table | rows | model | R2 | bytes | us a row |\n| --- | --- | --- | --- | --- | --- |")
    for table in args.tables:
        mine = [row for cell, row in done.items() if cell[0] == table and cell[2] == args.max_rows]
        models = [name for name in mine[0] if isinstance(mine[0][name], dict)] if mine else []
        for name in models:
            values = [row[name] for row in mine if name in row]
            error = np.std([v["r2"] for v in values]) / max(len(values) - 1, 1) ** 0.5
            cells = [table, mine[0]["n_train"], name]
            cells.append(f"{np.mean([v['r2'] for v in values]):.4f} +- {error:.4f}")
            cells += [
                f"{np.median([v[k] for v in values]):,.0f}" for k in ("bytes", "microseconds")
            ]
            print("| " + " | ".join(map(str, cells)) + " |")


if __name__ == "__main__":
    main()

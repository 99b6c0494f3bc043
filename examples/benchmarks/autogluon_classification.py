"""Distill classifiers with AutoGluon and with this package, on the same splits.

    SKLEARN_KD_DATA=... AUTOGLUON_PYTHON examples/benchmarks/autogluon_classification.py --json FILE

AutoGluon is not a requirement of this package. The script runs in an environment that has
``autogluon.tabular[lightgbm]`` and this package, and does everything with one thread.

- AutoGluon: ``TabularPredictor.fit`` trains a forest, extra trees, LightGBM and a network with
  their defaults, and a weighted ensemble of them, which is the teacher. ``distill`` trains one
  student at a time (LightGBM or a network; forests take hundreds of megabytes) on what the teacher
  says about rows that "spunge", its default, makes [1]_. "hard" is what ``fit`` has trained of the
  same kind. Bytes are those of a copy for deployment of one model on disk. Students of two classes
  are regressors, and predict "probabilities" below 0 and above 1: "outside" is the largest distance
  from there, and the log loss is that of values that are clipped to .01 and .99, the range into
  which AutoGluon brings the labels.
- ours: ``DistilledClassifier(teacher, TwoLayerPGDClassifier(width))`` with its defaults, under
  LightGBM with its defaults. Bytes are those of the compact file in float32.

Times are medians of ``predict_proba`` of a frame of one raw row, with the model in memory; "file"
is that of AutoGluon without ``persist``, which reads the model at each call, and that of the
compact file for a dict. Seconds are CPU time of a fit, without the teacher's for AutoGluon's
students and with it for ours. Finished splits are appended to the file of ``--json`` and not
repeated. The script prints Markdown.

References
----------
.. [1] Fakoor, Mueller, Erickson, Chaudhari and Smola, "Fast, accurate, and simple models for
   tabular data via augmented distillation", NeurIPS 2020, arXiv:2006.14284.
"""

import argparse
import tempfile
import time
import warnings
from importlib.metadata import version

import numpy as np
from _autogluon import (
    N_TIMED,
    STUDENTS,
    Clock,
    bytes_on_disk,
    distill,
    fit_teacher,
    row_microseconds,
)
from _runs import environment, markdown, run_cells, timed_fit
from _scores import probability_scores, row_times
from _tables import load_split
from lightgbm import LGBMClassifier
from small_trees import readable

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
from sklearn_kd.export import compact

TABLES = ("titanic", "german_credit", "phoneme", "segment", "telco_churn", "mammography")
#: AutoGluon brings the labels of two classes into this range before it distills.
RANGE = 0.01, 0.99
SCORES = ("accuracy", "log_loss", "auc")


def autogluon_scores(predictor, model, X, y):
    """Return what one model of a predictor scores and takes."""
    classes = np.asarray(predictor.class_labels)

    def predict(rows):
        return predictor.predict_proba(rows, model=model)

    memory, disk = row_microseconds(predict, predictor, model, X)
    proba = predict(X)[list(classes)].to_numpy()
    outside = max(-float(proba.min()), float(proba.max()) - 1, 0.0)
    if outside > 1e-5:
        proba = np.clip(proba, *RANGE)
        proba /= proba.sum(axis=1, keepdims=True)
    return {
        **probability_scores(proba, classes, y),
        "outside": outside,
        "bytes": bytes_on_disk(predictor, model),
        "microseconds": memory,
        "file_microseconds": disk,
    }


def run_autogluon(X, y, X_test, y_test, *, students, seconds):
    """Return the scores of AutoGluon's teacher and students by name."""
    problem = "binary" if len(np.unique(y)) == 2 else "multiclass"
    with tempfile.TemporaryDirectory() as folder:
        predictor, taken = fit_teacher(X, y, problem, folder, seconds)
        models = {"teacher": (predictor.model_best, taken)}
        fitted = predictor.model_names()
        for kind in students:
            name = STUDENTS[kind]
            if name in fitted:
                models[f"hard {name}"] = name, {}
            distilled, taken = distill(predictor, [kind], seconds)
            for model in distilled.values():
                models[f"distilled {name}"] = model, taken
        return {
            f"AutoGluon, {name}": autogluon_scores(predictor, model, X_test, y_test) | taken
            for name, (model, taken) in models.items()
        }


def run_ours(X, y, X_test, y_test, *, width, seed):
    """Return the scores of our teacher and student by name."""
    teacher = LGBMClassifier(n_jobs=1, verbosity=-1, random_state=seed)
    student = TwoLayerPGDClassifier(width, random_state=seed)
    model = DistilledClassifier(teacher, student, random_state=seed)
    taken = Clock()
    timed_fit(model, X, y)
    taken = taken.read()
    small = model.without_teacher()
    made = compact(small)
    times = []
    for row in X_test[: N_TIMED + 1].to_dict("records"):
        start = time.perf_counter()
        made.predict_proba_one(row)
        times.append(1e6 * (time.perf_counter() - start))
    return {
        "ours, teacher": {
            **probability_scores(model.teacher_.predict_proba(X_test), model.classes_, y_test),
            "microseconds": float(np.median(row_times(model.teacher_, X_test, N_TIMED))),
        },
        "ours, network": {
            **probability_scores(small.predict_proba(X_test), small.classes_, y_test),
            "bytes": made.n_bytes_,
            "microseconds": float(np.median(row_times(small, X_test, N_TIMED))),
            "file_microseconds": float(np.median(times[1:])),
            **taken,
        },
    }


def run(table, seed, students, width, max_rows, seconds):
    """Fit, distill and score on one split."""
    data = load_split(table, seed, max_rows=max_rows)
    rows = data.X_train, data.y_train, data.X_test, data.y_test
    warnings.simplefilter("ignore")
    result = {"n_train": len(data.y_train)} | run_autogluon(
        *rows, students=students, seconds=seconds
    )
    X, X_test = readable(data.X_train, data.X_test)
    return result | run_ours(X, data.y_train, X_test, data.y_test, width=width, seed=seed)


def lines_of(rows, table=None):
    """Return a line for each model: means of scores, medians of what it takes, the most outside."""
    mine = [row for row in rows if table in (None, row["table"])]
    names = dict.fromkeys(name for row in mine for name in row if isinstance(row[name], dict))
    lines = []
    for name in names:
        values = [row[name] for row in mine if name in row]
        cells = [name] if table is None else [table, mine[0]["n_train"], name]
        cells += [f"{np.mean([value[score] for value in values]):.4f}" for score in SCORES]
        for key, spec in (
            ("outside", ".2f"),
            ("bytes", ",.0f"),
            ("microseconds", ",.0f"),
            ("file_microseconds", ",.0f"),
            ("seconds", ".1f"),
        ):
            known = [value[key] for value in values if key in value]
            center = np.max if key == "outside" else np.median
            cells.append(format(center(known), spec) if known else "")
        lines.append([*cells, len(values)])
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", default=TABLES, metavar="NAME")
    parser.add_argument("--students", nargs="+", default=["GBM", "NN_TORCH"], choices=STUDENTS)
    parser.add_argument("--width", type=int, default=64, help="of our student")
    parser.add_argument("--seeds", type=int, default=2, help="splits, and seeds of the fits")
    parser.add_argument("--max-rows", type=int, default=2000, help="training rows to keep")
    parser.add_argument("--seconds", type=int, default=3600, help="limit of fit and of distill")
    parser.add_argument("--json", metavar="FILE", help="finished splits, to go on from")
    args = parser.parse_args()
    fixed = {name: vars(args)[name] for name in ("students", "width", "max_rows", "seconds")}
    cells = [
        {"table": table, "seed": seed, **fixed}
        for seed in range(args.seeds)
        for table in args.tables
    ]
    rows = run_cells(cells, run, jobs=1, path=args.json)
    packages = ("autogluon.tabular", "lightgbm", "pandas")
    print(environment("one thread"), ", ".join(f"{each} {version(each)}" for each in packages))
    print(f"\nWidth {args.width}, {len(rows)} of {len(cells)} splits.\n")
    header = [*SCORES, "outside", "bytes", "us a row", "us, file", "seconds", "splits"]
    header = [name.replace("_", " ").replace("auc", "AUC") for name in header]
    if rows:
        print(markdown(["model", *header], lines_of(rows)) + "\n")
        lines = [line for table in args.tables for line in lines_of(rows, table)]
        print(markdown(["table", "rows", "model", *header], lines))


if __name__ == "__main__":
    main()

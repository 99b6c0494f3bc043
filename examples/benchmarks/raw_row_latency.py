"""Time one raw row: a forest, a student behind a ColumnTransformer, and one that encodes itself.

    SKLEARN_KD_DATA=... python examples/benchmarks/raw_row_latency.py [--old-python PATH]

The ColumnTransformer imputes, scales and encodes, as version 0.1 needed it on tables of numbers and
text (`make_encoder`). Times are those of ``predict_proba`` of a row in a frame, in an object array,
and in a float array of the numeric columns, on which all models are fitted again. Models take
turns, so that a slow period of the machine affects all of them. The networks are trained for a few
epochs only, because prediction takes the same time. ``--old-python`` names an interpreter with
version 0.1, which times its own pipeline in a process of its own. "student_" is the network without
the DistilledClassifier around it. The script prints Markdown.
"""

import argparse
import json
import subprocess

import numpy as np
import pandas as pd
from _runs import environment, markdown, thread_limit, timed_fit
from _scores import row_time
from _tables import load_split, make_encoder
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from version_0_1 import run_old

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier

TABLES = ("adult", "bank_marketing", "telco_churn")
CONTAINERS = ("frame", "object array", "numbers only")
TEACHER, PIPELINE, OLD = "forest", "ColumnTransformer, network", "version 0.1"
FUSED, STUDENT = "network", "network, student_"
NAMES = (TEACHER, PIPELINE, OLD, FUSED, STUDENT)


def rows_in(container, X):
    """Return a frame in a container."""
    if container == "frame":
        return X
    if container == "object array":
        return X.to_numpy(dtype=object)
    return X.select_dtypes("number").to_numpy(dtype=np.float64)


def column_transformer(X):
    """Return an unfitted `make_encoder` for the columns of a frame, by position for an array."""
    if isinstance(X, pd.DataFrame):
        return make_encoder(X)
    frame = pd.DataFrame(X).infer_objects()
    return make_encoder(frame.rename(columns={name: i for i, name in enumerate(frame)}))


def make_models(X, width, n_trees, *, old):
    """Return unfitted models by name."""
    forest = make_pipeline(
        column_transformer(X), RandomForestClassifier(n_trees, n_jobs=1, random_state=0)
    )

    def distilled(student):
        return DistilledClassifier(forest, student, alpha=0.5, augmentation=None, random_state=0)

    plain = {} if old else {"encoder": None}
    pipeline = make_pipeline(
        column_transformer(X),
        TwoLayerPGDClassifier(width, max_iter=10, random_state=0, **plain),
    )
    if old:
        return {OLD: distilled(pipeline)}
    fused = TwoLayerPGDClassifier(width, max_iter=10, random_state=0)
    return {PIPELINE: distilled(pipeline), FUSED: distilled(fused)}


def fit(models, X, y):
    """Fit models and return students by name, with the teacher of one of them."""
    students = {}
    for name, model in models.items():
        timed_fit(model, X, y)
        students[name] = model.without_teacher()
    students = {TEACHER: model.teacher_, **students}
    return students | ({STUDENT: students[FUSED].student_} if FUSED in students else {})


def times_of(models, X, rounds, slow_every=20):
    """Return the microseconds of each call on one row, by model. The forest has fewer calls."""
    rows = X.iloc if isinstance(X, pd.DataFrame) else X
    times = {name: [] for name in models}
    for number in range(-20, rounds):  # a few calls to begin with are not counted
        row = rows[number % len(X) : number % len(X) + 1]
        for name, model in models.items():
            if name == TEACHER and number % slow_every:
                continue
            microseconds = row_time(model, row)
            if number >= 0:
                times[name].append(microseconds)
    return times


def measure(table, container, args, *, old=False):
    """Return the median microseconds of a row, by model."""
    data = load_split(table, 0, max_rows=args["max_rows"])
    X, X_test = (rows_in(container, each) for each in (data.X_train, data.X_test))
    models = fit(make_models(X, args["width"], args["trees"], old=old), X, data.y_train)
    if old:
        models.pop(TEACHER)
    times = times_of(models, X_test, args["rounds"])
    return {name: float(np.median(each)) for name, each in times.items()}


def of_version_0_1(python, table, container, args):
    """Return what `measure` returns in the environment of an interpreter."""
    command = [__file__, "--worker", json.dumps([table, container, args])]
    printed = run_old(python, command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(printed.splitlines()[-1])


def line(table, container, medians):
    """Return one line: the medians, and ratios to the fused student."""
    pipeline = medians.get(OLD, medians[PIPELINE])
    cells = [table, container, *(f"{medians[name]:,.0f}" for name in (TEACHER, PIPELINE))]
    cells.append(f"{medians[OLD]:,.0f}" if OLD in medians else "-")
    cells += [f"{medians[name]:,.1f}" for name in (FUSED, STUDENT)]
    return [*cells, *(f"{x / medians[FUSED]:,.1f}" for x in (medians[TEACHER], pipeline))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", default=TABLES, metavar="NAME")
    parser.add_argument("--containers", nargs="+", default=CONTAINERS, choices=CONTAINERS)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=2000, help="calls on one row")
    parser.add_argument("--max-rows", type=int, default=2000, help="training rows")
    parser.add_argument("--old-python", metavar="PATH", help="interpreter with version 0.1")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    with thread_limit(1):
        if args.worker:
            print(json.dumps(measure(*json.loads(args.worker), old=True)))
            return
        params = {name: vars(args)[name] for name in ("width", "trees", "rounds", "max_rows")}
        print(environment("one thread"))
        print(
            f"Width {args.width}, {args.trees} trees (n_jobs=1), median of {args.rounds} calls.\n"
        )
        lines = []
        for table in args.tables:
            for container in args.containers:
                medians = measure(table, container, params)
                if args.old_python:
                    medians |= of_version_0_1(args.old_python, table, container, params)
                lines.append(line(table, container, medians))
        header = ["table", "row in", *(f"{name}, us" for name in NAMES)]
        print(markdown([*header, "forest / network", "pipeline / network"], lines))


if __name__ == "__main__":
    main()

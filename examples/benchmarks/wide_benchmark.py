"""Measure teachers, students on hard labels and distilled students on all classification tables.

    SKLEARN_KD_DATA=... python examples/benchmarks/wide_benchmark.py --jobs 2

Each of 24 tables is split in two, and its raw training rows are fitted by every teacher (a forest,
HistGradientBoosting, LightGBM, `KernelTeacher` and a stack), by networks of several widths on the
labels, and by ``DistilledClassifier`` with each teacher and each of these networks. All of them
have their defaults otherwise. A forest and a stack have a `TableEncoder` in front, and boosted
trees get text as categories. LightGBM is left out where it is not installed.

A line of ``--json`` has the models of one table, seed and teacher, with the commit, the command,
the seed and the versions that produced them. The script may be interrupted: finished lines are
not measured again. ``examples/plot_benchmark.py`` makes tables and pictures of the file.

"log loss", "AUC" and "accuracy" are those of the test rows. "bytes" are those of the compact file
of a network, in float32, and of a teacher those of its numbers in packed arrays, which is less
than its pickle. "microseconds" are those of the probabilities of one raw row from a dict: of the
compact file for a network, and through a DataFrame of one row for a teacher. They are medians,
and models of one line take turns. "fit seconds" of a distilled network are without the
fits of its teacher, which are in "teacher seconds". Fits have one thread.
"""

import argparse
import functools
import importlib.util
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
from _runs import environment, run_cells, timed_fit
from _scores import needed_bytes, probability_scores
from _tables import CLASSIFICATION
from _teachers import TEACHERS, Clock, make_teacher, ordinary
from compact_rows import frame_call, measure
from distilled_tables import load

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
from sklearn_kd.export import compact

ROOT = Path(__file__).resolve().parents[2]
#: The measurements that the documentation shows.
MEASUREMENTS = ROOT / "docs" / "wide_benchmark.jsonl"
#: Students on hard labels do not depend on a teacher and are measured once.
LABELS = "labels"
WIDTHS = (8, 16, 64)
#: Calls of each network with one row.
N_TIMED = 300


def all_teachers():
    """Return the names of the teachers that can be fitted here."""
    return (*TEACHERS, "lightgbm") if importlib.util.find_spec("lightgbm") else TEACHERS


def of_teacher(model, X, seconds):
    """Return what is known of a fitted teacher before its test rows."""
    return model, frame_call(model, X), needed_bytes(model), {"fit_seconds": seconds}


def of_student(model, X, seconds, **more):
    """Return what is known of a fitted student before its test rows."""
    made = compact(model, X)
    return model, made.predict_proba_one, made.n_bytes_, {"fit_seconds": seconds, **more}


def fit_students(X, y, seed, widths):
    """Return name to fitted networks on the labels."""
    models = {}
    for width in widths:
        network = TwoLayerPGDClassifier(width, random_state=seed)
        models[f"hard {width}"] = of_student(network, X, timed_fit(network, X, y))
    return models


def fit_distilled(X, y, seed, widths, teacher):
    """Return name to the fitted teacher and networks that are distilled from it."""
    Clock.seconds = 0.0
    alone = make_teacher(*teacher)
    models = {"teacher": of_teacher(alone, X, timed_fit(alone, X, y))}
    for width in widths:
        network = TwoLayerPGDClassifier(width, random_state=seed)
        distilled = DistilledClassifier(make_teacher(*teacher), network, random_state=seed)
        before = Clock.seconds
        seconds = timed_fit(distilled, X, y) - (Clock.seconds - before)
        models[f"distilled {width}"] = of_student(
            distilled.without_teacher(),
            X,
            seconds,
            labels=distilled.label_source_,
            alpha=distilled.alpha_,
            n_augmented=distilled.n_augmented_,
        )
    # all fits and predictions of the teacher, which later widths have reused
    for name, (*_, found) in models.items():
        if name != "teacher":
            found["teacher_seconds"] = Clock.seconds
    fitted, _, n_bytes, found = models["teacher"]
    fitted = ordinary(fitted)
    models["teacher"] = fitted, frame_call(fitted, X), n_bytes, found
    return models


def run(table, seed, teacher, widths, n_trees, max_rows, provenance):
    """Fit and measure all models of one table, seed and teacher."""
    X, X_test, y, y_test = load(table, seed, "raw", teacher, max_rows)
    if teacher == LABELS:
        models = fit_students(X, y, seed, widths)
    else:
        models = fit_distilled(X, y, seed, widths, (teacher, n_trees, seed, "raw"))
    calls = {name: (call,) for name, (_, call, *_) in models.items()}
    times = measure(calls, X_test[:N_TIMED].to_dict("records"), N_TIMED, slow=("teacher",))
    shape = {"n_rows": len(y), "n_columns": X.shape[1], "n_classes": len(np.unique(y))}
    return {
        **provenance,
        **shape,
        "models": {
            name: {
                **{key: rounded(value) for key, value in found.items()},
                **scored(model, X_test, y_test),
                "bytes": int(n_bytes),
                "microseconds": rounded(float(np.median(times[name]))),
            }
            for name, (model, _, n_bytes, found) in models.items()
        },
    }


def scored(model, X_test, y_test):
    """Return the scores of a model on test rows."""
    proba = model.predict_proba(X_test)
    scores = probability_scores(proba, model.classes_, y_test)
    return {name: rounded(score) for name, score in scores.items()}


def rounded(value):
    """Return a number with five digits: the file is read by people too."""
    return float(f"{value:.5g}") if isinstance(value, float) else value


def provenance(threads):
    """Return the commit, the command and the versions of this run."""

    def git(*arguments):
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    commit = git("rev-parse", "--short", "HEAD") or "unknown"  # of an archive of the source
    # the measurements themselves change while this script runs
    changed = git("status", "--porcelain", "-uno", "--", ".", ":!docs/wide_benchmark.jsonl")
    words = [
        word
        for before, word in zip(sys.argv, sys.argv[1:], strict=False)
        if "--json" not in (before, word)  # a path of the machine
    ]
    command = ["python", "examples/benchmarks/wide_benchmark.py", *words]
    return {
        "commit": commit + ("+" if changed else ""),
        "command": shlex.join(command),
        "versions": environment(threads),
    }


def main():
    names = all_teachers()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teachers", nargs="+", default=names, choices=names)
    parser.add_argument("--tables", nargs="+", default=CLASSIFICATION, metavar="NAME")
    parser.add_argument("--widths", nargs="+", type=int, default=WIDTHS)
    parser.add_argument("--seeds", type=int, default=1, help="splits, and seeds of the fits")
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument(
        "--max-rows", type=int, default=2000, help="training rows to keep (default: %(default)s)"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--json", default=str(MEASUREMENTS), metavar="FILE", help="measurements")
    args = parser.parse_args()
    fixed = {"widths": list(args.widths), "n_trees": args.trees, "max_rows": args.max_rows}
    cells = [
        {"table": table, "seed": seed, "teacher": teacher, **fixed}
        for seed in range(args.seeds)
        for table in args.tables
        for teacher in (LABELS, *args.teachers)
    ]
    made = provenance(f"one thread a fit, {args.jobs} at a time")
    measured = run_cells(
        cells, functools.partial(run, provenance=made), jobs=args.jobs, path=args.json
    )
    print(f"{len(measured)} of {len(cells)} lines are in {args.json}.")
    if len(measured) < len(cells):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

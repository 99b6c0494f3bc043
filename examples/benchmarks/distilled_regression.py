"""Compare distilled students of numbers with the same students on the targets alone.

    SKLEARN_KD_DATA=... python examples/benchmarks/distilled_regression.py --json runs.jsonl

Three tables and diabetes, which scikit-learn has, are split by rows, and training rows are limited
to ``--max-rows``. ``DistilledRegressor(teacher, student)`` is compared with the student alone and
with ``MLPRegressor`` of the same width, all of them with their defaults. Networks of this package,
and the boosting teacher, get raw frames. A forest and a tree have a `TableEncoder` in front, and
``MLPRegressor`` has standardized, one-hot encoded columns and standardized targets.

The lead is the difference of R2 between the teacher and the student on the targets alone, and the
recovered share is that of the distilled student. It is reported where the mean lead over the splits
is above its standard error, since other shares are ratios of noise. Bytes are those of the compact
file in float32. Times are medians of single raw rows: of ``predict`` of the estimators, and of
``predict_one`` of the compact file.

Students share the fits of a teacher. Every fit has one thread. Finished fits are appended to the
file of ``--json`` and not repeated. The script prints Markdown.
"""

import argparse
import time

import numpy as np
from _runs import environment, finished_cells, markdown, run_cells, timed_fit
from _tables import paired_summary
from _teachers import categorical, ordinary, remembering
from regression_tables import TABLES, by_table, in_standard_units, load, mean_text
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.metrics import r2_score
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeRegressor

from sklearn_kd import (
    DistilledRegressor,
    KernelTeacherRegressor,
    TableEncoder,
    TwoLayerPGDRegressor,
)
from sklearn_kd.export import compact

TEACHERS = ("forest", "boosting", "kernel")
STUDENTS = ("16", "64", "tree")
#: Test rows that are predicted one by one.
N_TIMED = 50


def make_teacher(name, n_trees, seed):
    """Return an unfitted teacher for raw frames, whose fits are shared."""
    teacher = {
        "forest": RandomForestRegressor(n_trees, n_jobs=1, random_state=seed),
        "boosting": HistGradientBoostingRegressor(random_state=seed),
        "kernel": KernelTeacherRegressor(random_state=seed),
    }[name]
    teacher = remembering(type(teacher))(**teacher.get_params(deep=False))
    return make_pipeline(TableEncoder(n_bins=1), teacher) if name == "forest" else teacher


def make_student(name, seed):
    """Return an unfitted student for raw frames."""
    if name == "tree":
        tree = DecisionTreeRegressor(max_depth=6, random_state=seed)
        return make_pipeline(TableEncoder(n_bins=1), tree)
    return TwoLayerPGDRegressor(int(name), random_state=seed, device="cpu")


def median_microseconds(predict, rows):
    """Return the median time of calls with one row each, after one that is not counted."""
    predict(rows[0])
    times = []
    for row in rows:
        start = time.perf_counter()
        predict(row)
        times.append(time.perf_counter() - start)
    return 1e6 * float(np.median(times))


def scores(model, X, y, *, is_small=True):
    """Return R2, and the time of a raw row; of a small model also the bytes of its file."""
    frames = [X.iloc[row : row + 1] for row in range(N_TIMED)]
    result = {
        "r2": r2_score(y, model.predict(X)),
        "microseconds": median_microseconds(model.predict, frames),
    }
    if is_small:
        file = compact(model, dtype="float32")
        rows = X.iloc[:N_TIMED].to_dict("records")
        result["bytes"] = int(file.n_bytes_)
        result["microseconds_compact"] = median_microseconds(file.predict_one, rows)
    return result


def run(table, seed, teachers, students, n_trees, max_rows):
    """Fit and score the students alone, the teachers, and the distilled students on one split."""
    data = load(table, seed, max_rows)
    result = {"n_train": len(data.y_train)}
    for name in students:
        model = make_student(name, seed)
        seconds = timed_fit(model, data.X_train, data.y_train)
        result[f"hard {name}"] = scores(model, data.X_test, data.y_test) | {"fit_seconds": seconds}
        if name != "tree":
            network = MLPRegressor(hidden_layer_sizes=(int(name),), random_state=seed)
            network = in_standard_units(network, data.X_train)
            timed_fit(network, data.X_train, data.y_train)
            result[f"mlp {name}"] = {"r2": r2_score(data.y_test, network.predict(data.X_test))}
    for teacher in teachers:
        result |= run_teacher(data, teacher, students, n_trees, seed)
    return result


def run_teacher(data, teacher, students, n_trees, seed):
    """Fit and score a teacher and the students that it teaches."""
    X_train, X_test = data.X_train, data.X_test
    if teacher == "boosting":
        X_train, X_test = categorical(X_train, X_test)
    result = {}
    for name in students:
        taught_by = make_teacher(teacher, n_trees, seed)
        model = DistilledRegressor(taught_by, make_student(name, seed), random_state=seed)
        seconds = timed_fit(model, X_train, data.y_train)
        small = model.without_teacher(keep_history=False)
        result[f"{teacher} {name}"] = scores(small, X_test, data.y_test) | {
            "fit_seconds": seconds,
            "chosen": [model.label_source_, model.alpha_, model.n_augmented_],
        }
        if teacher not in result:
            fitted = ordinary(model.teacher_)
            result[teacher] = scores(fitted, X_test, data.y_test, is_small=False)
    return result


def lead(rows, teacher, name):
    """Return the lead of a teacher over a student on the targets alone: a `PairedSummary`."""
    return gain(rows, teacher, f"hard {name}")


def gain(rows, ours, theirs):
    """Return the difference of R2 of two models: a `PairedSummary`."""
    return paired_summary([row[ours]["r2"] for row in rows], [row[theirs]["r2"] for row in rows])


def recovered_share(rows, teacher, name):
    """Return the share of the lead that the distilled student has, None without a lead."""
    whole = lead(rows, teacher, name)
    if not whole.mean > whole.se:
        return None
    return gain(rows, f"{teacher} {name}", f"hard {name}").mean / whole.mean


def lines_of(rows, teacher, name):
    """Return a line for each table that compares a student with its teacher."""
    lines, ours, hard = [], f"{teacher} {name}", f"hard {name}"
    for table, mine in by_table(rows).items():
        gained, share = gain(mine, ours, hard), recovered_share(mine, teacher, name)
        mlp = mean_text(mine, f"mlp {name}", "r2") if f"mlp {name}" in mine[0] else "-"
        costs = ("bytes", "microseconds", "microseconds_compact")
        median = {key: np.median([row[ours][key] for row in mine]) for key in costs}
        of_teacher = np.median([row[teacher]["microseconds"] for row in mine])
        chosen = [
            f"{source} {alpha:g}/{n}" for source, alpha, n in (r[ours]["chosen"] for r in mine)
        ]
        lines.append(
            [teacher, name, table, mine[0]["n_train"]]
            + [mean_text(mine, key, "r2", digits=4) for key in (teacher, hard, ours)]
            + [f"{gained.mean:+.4f} +- {gained.se:.4f}"]
            + ["-" if share is None else f"{share:.0%}", mlp]
            + [f"{value:,.0f}" for value in (*median.values(), of_teacher)]
            + [", ".join(chosen)]
        )
    return lines


HEADER = ["teacher", "student", "table", "rows", "R2, teacher", "R2, hard", "R2, distilled"]
HEADER += ["distilled - hard", "share of the lead", "R2, MLPRegressor", "bytes", "us a row"]
HEADER += ["us, compact", "us, teacher", "labels, alpha/transfer rows"]


def report(rows, teachers, students):
    """Print a line for each teacher, student and table, and the medians of the shares."""
    lines, medians = [], []
    for name in students:
        all_shares = []
        for teacher in teachers:
            lines += lines_of(rows, teacher, name)
            shares = [recovered_share(mine, teacher, name) for mine in by_table(rows).values()]
            shares = [share for share in shares if share is not None]
            all_shares += shares
            medians.append([teacher, name, *median_text(shares)])
        medians.append(["all", name, *median_text(all_shares)])
    print(markdown(HEADER, lines))
    print()
    print(markdown(["teacher", "student", "median share", "of leads"], medians))


def median_text(shares):
    """Return the median of shares as text, and their number."""
    return (f"{np.median(shares):.0%}" if shares else "-"), len(shares)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    parser.add_argument("--teachers", nargs="+", default=TEACHERS, choices=TEACHERS)
    parser.add_argument("--students", nargs="+", default=STUDENTS, choices=STUDENTS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--max-rows", type=int, default=3000, help="training rows to keep")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", help="file of finished fits")
    parser.add_argument("--report", action="store_true", help="print what is finished alone")
    args = parser.parse_args()
    shared = {"teachers": args.teachers, "students": args.students}
    shared |= {"n_trees": args.trees, "max_rows": args.max_rows}
    cells = [
        {"table": table, "seed": seed, **shared}
        for seed in range(args.seeds)
        for table in args.tables
    ]
    if args.report:
        rows = finished_cells(cells, args.json)
    else:
        rows = run_cells(cells, run, jobs=args.jobs, path=args.json)
    rows.sort(key=lambda row: (args.tables.index(row["table"]), row["seed"]))
    print(environment("one thread per fit"))
    report(rows, args.teachers, args.students)


if __name__ == "__main__":
    main()

"""Compare the advice of should_distill for regressors with what distillation changes.

    SKLEARN_KD_DATA=... python examples/benchmarks/distillation_advice.py --json runs.jsonl

Three tables and diabetes, which scikit-learn has, are split by rows, and training rows are limited
to ``--max-rows``. ``should_distill(teacher, student)`` gets the training rows, with its defaults.
Its ``gain``, or ``recoverable`` where that alone says "no", is the predicted one. The measured gain
is the squared error of the student on the targets minus that of ``DistilledRegressor(teacher,
student, alpha=0.5, augmentation=None)`` on the test rows, in units of the variance of y.

Students share the fits of a teacher. Every fit has one thread. Finished cells are appended to the
file of ``--json`` and not repeated. The script prints Markdown.
"""

import argparse
import warnings

import numpy as np
from _runs import environment, markdown, run_cells, timed_fit
from _teachers import categorical
from distilled_regression import make_student, make_teacher
from regression_tables import TABLES, by_table, load
from scipy.stats import spearmanr
from sklearn.metrics import mean_squared_error

from sklearn_kd import DistilledRegressor
from sklearn_kd.inspection import should_distill

TEACHERS = ("forest", "boosting")
STUDENTS = ("16", "tree")
DECISIONS = ("yes", "undecided", "no")


def run(table, seed, teacher, student, n_trees, max_rows):
    """Return the advice and the measured gain on one split."""
    data = load(table, seed, max_rows)
    X, X_test = data.X_train, data.X_test
    if teacher == "boosting":
        X, X_test = categorical(X, X_test)
    y, y_test = data.y_train, data.y_test
    big, small = make_teacher(teacher, n_trees, seed), make_student(student, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        advice = should_distill(big, small, X, y, random_state=seed)
        timed_fit(small, X, y)
        distilled = DistilledRegressor(
            big, make_student(student, seed), alpha=0.5, augmentation=None, random_state=seed
        )
        timed_fit(distilled, X, y)
    losses = [
        mean_squared_error(y_test, model.predict(X_test)) / y.var()
        for model in (small, distilled, distilled.teacher_)
    ]
    return {
        "n_train": len(y),
        "decision": advice.decision,
        "recoverable": advice.recoverable.value,
        "gain": None if advice.gain is None else advice.gain.value,
        "margin": advice.margin,
        "measured": losses[0] - losses[1],
        "lead": losses[0] - losses[2],
    }


def predicted(row):
    """Return the gain that the advice predicts."""
    return row["recoverable"] if row["gain"] is None else row["gain"]


def table_lines(rows):
    """Return a line for each teacher, student and table."""
    lines = []
    pairs = dict.fromkeys((row["teacher"], row["student"]) for row in rows)
    for teacher, student in pairs:
        of_pair = [row for row in rows if (row["teacher"], row["student"]) == (teacher, student)]
        for table, mine in by_table(of_pair).items():
            values = [[predicted(row) for row in mine]]
            values += [[row[name] for row in mine] for name in ("measured", "lead")]
            decisions = ", ".join(row["decision"] for row in mine)
            means = [f"{np.mean(each):+.4f}" for each in values]
            lines.append([teacher, student, table, mine[0]["n_train"], decisions, *means])
    return lines


def decision_lines(rows):
    """Return a line for each decision: how many pairs gained, and how much."""
    lines = []
    for decision in DECISIONS:
        mine = [row for row in rows if row["decision"] == decision]
        gains = [row["measured"] for row in mine]
        gained = sum(gain > 0 for gain in gains)
        beyond = sum(row["measured"] > row["margin"] for row in mine)
        texts = [f"{each(gains):+.4f}" for each in (np.min, np.median, np.max)] if mine else []
        lines.append([decision, len(mine), gained, beyond, *(texts or ["-"] * 3)])
    return lines


def agreement(rows):
    """Return the rank correlations of both predictions with the measured gain, and their rows."""
    lines = []
    for name in (None, *dict.fromkeys(row["student"] for row in rows)):
        mine = [row for row in rows if name in (None, row["student"])]
        with_gain = [row for row in mine if row["gain"] is not None]
        line = ["all" if name is None else name]
        for key, of in (("recoverable", mine), ("gain", with_gain)):
            pairs = [(row[key], row["measured"]) for row in of]
            line += [f"{spearmanr(*zip(*pairs, strict=True))[0]:.2f}" if len(of) > 2 else "-"]
            line += [len(of)]
        lines.append(line)
    return lines


def report(rows):
    """Print what was predicted and measured."""
    header = ["teacher", "student", "table", "rows", "decisions", "predicted gain"]
    header += ["measured gain", "lead of the teacher"]
    print(markdown(header, table_lines(rows)))
    header = ["decision", "pairs", "gained", "by more than the margin", "least gain"]
    print("\n" + markdown([*header, "median gain", "largest gain"], decision_lines(rows)))
    header = ["student", "rank correlation, recoverable", "pairs", "rank correlation, gain"]
    print("\n" + markdown([*header, "pairs"], agreement(rows)))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    parser.add_argument("--teachers", nargs="+", default=TEACHERS, choices=TEACHERS)
    parser.add_argument("--students", nargs="+", default=STUDENTS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trees", type=int, default=50)
    parser.add_argument("--max-rows", type=int, default=2000, help="training rows to keep")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", help="file of finished cells")
    args = parser.parse_args(arguments)
    cells = [
        {"table": table, "seed": seed, "teacher": teacher, "student": student}
        | {"n_trees": args.trees, "max_rows": args.max_rows}
        for seed in range(args.seeds)
        for table in args.tables
        for teacher in args.teachers
        for student in args.students
    ]
    rows = run_cells(cells, run, jobs=args.jobs, path=args.json)
    rows.sort(key=lambda row: (args.tables.index(row["table"]), row["seed"]))
    print(environment("one thread per fit"))
    report(rows)


if __name__ == "__main__":
    main()

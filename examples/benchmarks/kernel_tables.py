"""Compare KernelTeacher and its students with forests, boosting and a support vector machine.

    SKLEARN_KD_DATA=... python examples/benchmarks/kernel_tables.py --jobs 2 --json runs.jsonl

All estimators have their defaults: ``KernelTeacher()``, ``RandomForestClassifier()``,
``HistGradientBoostingClassifier()`` and, for up to 20,000 rows, ``CalibratedClassifierCV(SVC())``
after a StandardScaler. They get the same encoded float64 arrays and one thread per fit. Networks of
each of ``--widths`` are trained on the leave-one-out labels of the teacher, on their mean with the
hard labels (the default of DistilledClassifier), on its in-sample labels and on hard labels.
Finished fits are appended to the file of ``--json`` and not repeated. The script prints
Markdown.
"""

import argparse

import numpy as np
from _runs import (
    below_text,
    compare,
    environment,
    markdown,
    per_table,
    run_cells,
    scores_of,
    test_scores,
    timed_fit,
)
from _tables import CLASSIFICATION, load_encoded
from scipy.stats import rankdata
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from sklearn_kd import KernelTeacher, TwoLayerPGDClassifier

TEACHERS = {"kernel": "KernelTeacher", "forest": "forest", "boosting": "boosting", "svc": "SVC"}
LABELS = {
    "loo": "leave-one-out",
    "half": "half leave-one-out, half hard",
    "in_sample": "in-sample",
    "hard": "hard",
}
SVC_ROWS = 20_000


def run(table, seed, widths, max_rows):
    """Fit and score teachers and students on one split."""
    data = load_encoded(table, seed, max_rows=max_rows)
    X, y = data.X_train, data.y_train
    kernel = KernelTeacher(random_state=seed, device="cpu")
    models = {
        "kernel": kernel,
        "forest": RandomForestClassifier(random_state=seed),
        "boosting": HistGradientBoostingClassifier(random_state=seed),
    }
    if len(y) <= SVC_ROWS and np.unique(y, return_counts=True)[1].min() >= 5:
        svc = CalibratedClassifierCV(SVC(random_state=seed), ensemble=False)
        models["svc"] = make_pipeline(StandardScaler(), svc)
    result = {"n_train": len(y), "n_features": X.shape[1]}
    for method, model in models.items():
        seconds = timed_fit(model, X, y)
        result[method] = {**test_scores(model, data.X_test, data.y_test), "fit_seconds": seconds}
    result["ridge"], result["solver"] = kernel.ridge_, kernel.solver_
    one_hot = np.eye(len(kernel.classes_))[np.searchsorted(kernel.classes_, y)]
    targets = {
        "loo": kernel.loo_proba_,
        "half": 0.5 * kernel.loo_proba_ + 0.5 * one_hot,
        "in_sample": kernel.predict_proba(X),
        "hard": None,
    }
    for width in widths:
        for labels, soft_targets in targets.items():
            student = TwoLayerPGDClassifier(width, random_state=seed, device="cpu")
            seconds = timed_fit(student, X, y, None, soft_targets)
            scores = test_scores(student, data.X_test, data.y_test)
            result[f"{labels} {width}"] = {**scores, "fit_seconds": seconds}
    return result


def mean_over_tables(rows, method, score):
    tables = dict.fromkeys(row["table"] for row in rows)
    return np.mean([scores_of(rows, table, method, score).mean() for table in tables])


def versus(rows, ours, theirs, titles):
    total = compare(rows, ours, theirs)
    return [
        f"{titles[ours]} against {titles[theirs]}",
        total["n_tables"],
        f"{100 * (total['accuracy'][0] - total['accuracy'][1]):+.2f}",
        total["wins"],
        total["losses"],
        below_text(total["below"]),
        f"{total['better_log_loss']} of {total['n_tables']}",
    ]


VERSUS = ["", "tables", "accuracy, points", "wins", "losses", "tables below", "log loss better"]


def report_teachers(rows):
    full = [row for row in rows if "svc" in row]
    print("\n### Teachers\n")
    for methods, mine in ((list(TEACHERS), full), (list(TEACHERS)[:3], rows)):
        if not mine:
            continue
        tables = list(dict.fromkeys(row["table"] for row in mine))
        lines = []
        ranks = {}
        for score, sign in (("accuracy", -1), ("log_loss", 1)):
            values = [[scores_of(mine, t, m, score).mean() * sign for m in methods] for t in tables]
            ranks[score] = np.mean([rankdata(row) for row in values], axis=0)
        for i, method in enumerate(methods):
            scores = [f"{mean_over_tables(mine, method, s):.4f}" for s in ("accuracy", "log_loss")]
            seconds = sum(scores_of(mine, t, method, "fit_seconds").mean() for t in tables)
            mean_ranks = [f"{ranks[s][i]:.2f}" for s in ("accuracy", "log_loss")]
            lines.append([TEACHERS[method], len(tables), *scores, *mean_ranks, f"{seconds:.0f}"])
        header = ["", "tables", "accuracy", "log loss", "rank, accuracy", "rank, log loss", "fit s"]
        print(markdown(header, lines), "\n")
    others = [m for m in TEACHERS if m != "kernel"]
    lines = [
        versus([r for r in rows if other in r], "kernel", other, TEACHERS)
        for other in others
        if any(other in row for row in rows)
    ]
    print(markdown(VERSUS, lines), "\n")
    print(per_table(rows, dict(list(TEACHERS.items())[:3]), difference=("kernel", "forest")))


def report_students(rows, widths):
    print("\n### Students\n")
    for width in widths:
        titles = {f"{labels} {width}": f"{title}, {width}" for labels, title in LABELS.items()}
        lines = [
            [title, *(f"{mean_over_tables(rows, m, s):.4f}" for s in ("accuracy", "log_loss"))]
            for m, title in titles.items()
        ]
        print(markdown(["labels, width", "accuracy", "log loss"], lines), "\n")
        loo, half, in_sample, hard = titles
        pairs = (loo, in_sample), (loo, hard), (half, hard), (in_sample, hard)
        lines = [versus(rows, ours, theirs, titles) for ours, theirs in pairs]
        print(markdown(VERSUS, lines), "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=int, nargs="*", default=[8, 32])
    parser.add_argument("--seeds", type=int, default=5, help="splits, and seeds of the fits")
    parser.add_argument("--tables", nargs="+", default=CLASSIFICATION, metavar="NAME")
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--max-rows", type=int, help="training rows to keep (default: all)")
    parser.add_argument("--json", metavar="FILE", help="finished fits, to go on from")
    args = parser.parse_args()
    cells = [
        {"table": table, "seed": seed, "widths": args.widths, "max_rows": args.max_rows}
        for seed in range(args.seeds)
        for table in args.tables
    ]
    rows = run_cells(cells, run, jobs=args.jobs, path=args.json)
    print(environment(f"one thread a fit, {args.jobs} at a time"))
    print(f"{len(rows)} of {len(cells)} runs. Means over tables of means over seeds.")
    if rows:
        report_teachers(rows)
        report_students(rows, args.widths)
    if len(rows) < len(cells):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

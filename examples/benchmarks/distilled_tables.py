"""Compare students distilled from four teachers with the same students on hard labels.

    SKLEARN_KD_DATA=... python examples/benchmarks/distilled_tables.py --jobs 2 --json runs.jsonl

On 24 tables, ``DistilledClassifier(teacher, student)`` is compared with the student alone, with all
defaults, including early stopping. Students share the fits of a teacher. All get the same encoded
float64 arrays, and every fit has one thread. A forest of 500 trees takes gigabytes on the largest
tables, so that ``--max-rows`` limits the training rows. Finished fits are appended to the file of
``--json`` and not repeated. The script prints Markdown. ``--plot`` draws ranks with the critical
difference. ``--levers`` distills with each option alone and with all of them.
"""

import argparse
import copy
import functools
import pickle
import time
import warnings

import joblib
import numpy as np
from _runs import below_text, compare, environment, markdown, run_cells
from _tables import CLASSIFICATION, load_encoded
from scipy.stats import friedmanchisquare, rankdata, studentized_range
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
)
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score
from sklearn.tree import DecisionTreeClassifier

from sklearn_kd import DistilledClassifier, KernelTeacher, TwoLayerPGDClassifier
from sklearn_kd.exceptions import NoGainWarning
from sklearn_kd.metrics import agreement_score, expected_calibration_error

TEACHERS = ("forest", "boosting", "kernel", "stack")
STUDENTS = ("8", "16", "64", "tree")
FITS = {}
#: Settings that each add one option to hard labels, and the defaults, which use all.
LEVERS = {
    "in-sample": {"alpha": 0.5, "cv": "in-sample"},
    "out-of-fold": {"alpha": 0.5, "calibration": None},
    "calibrated": {"alpha": 0.5},
    "calibrated, alpha=1": {"alpha": 1.0},
    "calibrated, T=3": {"alpha": 0.5, "temperature": 3.0},
    "calibrated, munge": {"alpha": 0.5, "augmentation": "munge"},
    "calibrated, gibbs": {"alpha": 0.5, "augmentation": "gibbs"},
    "auto, no transfer rows": {"alpha": "auto", "temperature": "auto"},
    "auto": {"alpha": "auto", "temperature": "auto", "augmentation": "auto"},
}


def make_teacher(name, n_trees, seed):
    """Return an unfitted teacher by name."""
    forest = RandomForestClassifier(n_trees, n_jobs=1, random_state=seed)
    boosting = HistGradientBoostingClassifier(random_state=seed)
    kernel = KernelTeacher(random_state=seed)
    if name == "stack":
        parts = [("forest", forest), ("boosting", boosting), ("kernel", kernel)]
        return remembering(StackingClassifier)(parts, cv=3)
    teacher = {"forest": forest, "boosting": boosting, "kernel": kernel}[name]
    return remembering(type(teacher))(**teacher.get_params(deep=False))


@functools.cache
def remembering(kind):
    """Return a subclass of a teacher that fits once for the same rows: students share it."""

    def fit(self, X, y, sample_weight=None):
        key = joblib.hash((kind.__name__, self.get_params(), X, y, sample_weight))
        if key not in FITS:
            if len(FITS) > 40:  # those of earlier cells
                FITS.clear()
            weights = {} if sample_weight is None else {"sample_weight": sample_weight}
            FITS[key] = vars(kind(**self.get_params(deep=False)).fit(X, y, **weights))
        vars(self).update(FITS[key])
        return self

    return type(kind.__name__, (kind,), {"fit": fit})


def make_student(name, seed):
    """Return an unfitted student by name, where a number is the width of a network."""
    if name == "tree":
        return DecisionTreeClassifier(max_depth=6, random_state=seed)
    return TwoLayerPGDClassifier(int(name), random_state=seed)


def scores(model, data, n_latency=50):
    """Return scores on the test rows, bytes and the median time of a row."""
    proba = model.predict_proba(data.X_test)
    y, classes = data.y_test, model.classes_
    known = np.isin(y, classes)
    of_label = np.where(y[:, None] == classes, proba, 0.0).sum(axis=1)
    auc = np.nan
    if len(np.unique(y)) == len(classes):
        auc = roc_auc_score(
            y, proba[:, 1] if len(classes) == 2 else proba, multi_class="ovr", labels=classes
        )
    times = []
    for row in range(n_latency):
        rows = data.X_test[row : row + 1]
        start = time.perf_counter()
        model.predict_proba(rows)
        times.append(time.perf_counter() - start)
    return {
        "accuracy": accuracy_score(y, classes[proba.argmax(axis=1)]),
        "balanced_accuracy": balanced_accuracy_score(y, classes[proba.argmax(axis=1)]),
        "log_loss": float(-np.log(np.clip(of_label, 1e-15, 1)).mean()),
        "auc": auc,
        "calibration_error": expected_calibration_error(y[known], proba[known], labels=classes),
        "bytes": len(pickle.dumps(model)),
        "latency_ms": 1000 * float(np.median(times)),
    }


def fit_distilled(teacher, student, data, seed, **params):
    """Return a distilled model and its scores."""
    model = DistilledClassifier(teacher, student, random_state=seed, **params)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoGainWarning)
        model.fit(data.X_train, data.y_train)
    seconds = time.perf_counter() - start
    result = scores(model.without_teacher(), data)
    labels = model.teacher_.predict(data.X_test)
    result["agreement"] = agreement_score(labels, model.predict(data.X_test))
    result["fit_seconds"] = seconds
    result["chosen"] = [model.label_source_, model.alpha_, model.temperature_, model.n_augmented_]
    return model, result


def run(table, seed, teacher, students, n_trees, max_rows, levers):
    """Fit and score a teacher and students, distilled and alone, on one split."""
    data = load_encoded(table, seed, max_rows=max_rows)
    result = {"n_train": len(data.y_train), "n_features": data.X_train.shape[1]}
    taught_by = make_teacher(teacher, n_trees, seed)
    for name in students:
        student = make_student(name, seed)
        start = time.perf_counter()
        alone = student.fit(data.X_train, data.y_train)
        result[f"hard {name}"] = {"fit_seconds": time.perf_counter() - start, **scores(alone, data)}
        if levers:
            fixed = {"alpha": 0.5, "temperature": 1.0, "augmentation": None}
            for lever, params in LEVERS.items():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # in-sample labels that are memorized
                    _, scored = fit_distilled(taught_by, student, data, seed, **{**fixed, **params})
                result[f"{lever} {name}"] = scored
            continue
        model, result[f"distilled {name}"] = fit_distilled(taught_by, student, data, seed)
        if "taught by" not in result:
            fitted = copy.copy(model.teacher_)
            fitted.__class__ = type(fitted).__base__  # what can be pickled
            result["taught by"] = {"fit_seconds": np.nan, **scores(fitted, data)}
    return result


def mean_of(rows, method, score):
    """Return the mean over seeds of a score, by table."""
    tables = list(dict.fromkeys(row["table"] for row in rows))
    return np.array(
        [np.nanmean([row[method][score] for row in rows if row["table"] == t]) for t in tables]
    )


def recovered(rows, ours, hard):
    """Return recovered shares of the lead in accuracy, where the teacher leads by a point."""
    hard, ours, teacher = (
        mean_of(rows, method, "accuracy") for method in (hard, ours, "taught by")
    )
    leads = teacher - hard > 0.01
    return (ours - hard)[leads] / (teacher - hard)[leads]


def comparison(rows, teacher, name, ours=None):
    """Return one line: a distilled student and the same student on hard labels."""
    ours, hard = ours or f"distilled {name}", f"hard {name}"
    total = compare(rows, ours, hard)
    gain = mean_of(rows, ours, "accuracy") - mean_of(rows, hard, "accuracy")
    line = [teacher, name if "distilled" in ours else ours.rsplit(" ", 1)[0], total["n_tables"]]
    line += [f"{100 * gain.mean():+.2f}", int((gain >= 0).sum()), below_text(total["below"])]
    after, before = total["log_loss"]
    line += [total["better_log_loss"], f"{before:.4f} -> {after:.4f}"]
    if "taught by" not in rows[0]:
        return line
    shares = recovered(rows, ours, hard)
    line.append(f"{np.median(shares):.0%} of {len(shares)}" if len(shares) else "no lead")
    auc = mean_of(rows, ours, "auc") / mean_of(rows, "taught by", "auc")
    size = mean_of(rows, ours, "bytes") / mean_of(rows, "taught by", "bytes")
    line += [f"{np.nanmean(auc):.1%}", f"{np.median(size):.2%}"]
    line.append(f"{np.median(mean_of(rows, ours, 'latency_ms')):.2f}")
    line.append(f"{np.median(mean_of(rows, 'taught by', 'latency_ms')):.1f}")
    return line


HEADER = ["teacher", "student", "tables", "accuracy, points", "not worse", "clearly below"]
HEADER += ["log loss better", "log loss"]
AGAINST_TEACHER = ["lead recovered, median", "AUC kept", "bytes of the teacher's", "ms a row"]
AGAINST_TEACHER += ["ms, teacher"]


def critical_difference(ranks, alpha=0.05):
    """Return the critical difference of Nemenyi of mean ranks (tables, methods)."""
    n_tables, n_methods = ranks.shape
    q = studentized_range.ppf(1 - alpha, n_methods, np.inf) / np.sqrt(2)
    return q * np.sqrt(n_methods * (n_methods + 1) / (6 * n_tables))


def plot_ranks(named, path):
    """Draw mean ranks of methods, (name: losses by table), and bars of those that do not differ."""
    from matplotlib.figure import Figure

    names = list(named)
    ranks = rankdata(np.column_stack([named[name] for name in names]), axis=1)
    mean, gap = ranks.mean(axis=0), critical_difference(ranks)
    order = np.argsort(mean)
    figure = Figure(figsize=(8, 0.5 + 0.35 * len(names)), layout="constrained")
    ax = figure.subplots()
    ax.plot(mean[order], np.arange(len(names)), "o", color="black")
    for place, index in enumerate(order):
        ax.plot(
            [mean[index], mean[index] + gap], [place, place], color="gray", linewidth=3, alpha=0.4
        )
    ax.set_yticks(np.arange(len(names)), [names[index] for index in order])
    ax.invert_yaxis()
    p = friedmanchisquare(*ranks.T).pvalue
    ax.set_xlabel(f"mean rank in log loss, {len(ranks)} tables; bar: critical difference {gap:.2f}")
    ax.set_title(f"Friedman p = {p:.1g}", loc="right", fontsize="small")
    figure.savefig(path, dpi=120)


def per_table(rows, name):
    """Return one line for each table: teacher, hard and distilled student."""
    header = ["table", "rows", "accuracy, teacher", "hard", "distilled", "log loss, teacher"]
    header += ["hard", "distilled", "chosen"]
    lines = []
    for table in dict.fromkeys(row["table"] for row in rows):
        mine = [row for row in rows if row["table"] == table]
        methods = ("taught by", f"hard {name}", f"distilled {name}")
        line = [table, mine[0]["n_train"]]
        for score in ("accuracy", "log_loss"):
            line += [f"{np.mean([row[m][score] for row in mine]):.4f}" for m in methods]
        chosen = [row[methods[2]]["chosen"] for row in mine]
        line.append(", ".join(f"{s} {a:g}/{t:g}/{n}" for s, a, t, n in chosen))
        lines.append(line)
    return markdown(header, lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teachers", nargs="+", default=TEACHERS, choices=TEACHERS)
    parser.add_argument("--students", nargs="+", default=STUDENTS, metavar="WIDTH|tree")
    parser.add_argument("--trees", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=5, help="splits, and seeds of the fits")
    parser.add_argument("--tables", nargs="+", default=CLASSIFICATION, metavar="NAME")
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument(
        "--max-rows", type=int, default=20_000, help="training rows to keep (default: %(default)s)"
    )
    parser.add_argument("--json", metavar="FILE", help="finished fits, to go on from")
    parser.add_argument("--levers", action="store_true", help="each means alone and together")
    parser.add_argument("--plot", metavar="FILE", help="picture of the ranks")
    parser.add_argument("--details", action="store_true", help="a line for each table too")
    args = parser.parse_args()
    fixed = {"n_trees": args.trees, "max_rows": args.max_rows, "levers": args.levers}
    cells = [
        {"table": table, "seed": seed, "teacher": teacher, "students": list(args.students), **fixed}
        for seed in range(args.seeds)
        for teacher in args.teachers
        for table in args.tables
    ]
    rows = run_cells(cells, run, jobs=args.jobs, path=args.json)
    print(environment(f"one thread a fit, {args.jobs} at a time"))
    print(
        f"{args.trees} trees, at most {args.max_rows:,} training rows, seeds 0 to {args.seeds - 1};"
    )
    print(f"{len(rows)} of {len(cells)} runs.\n")
    lines, losses = [], {}
    for teacher in args.teachers:
        mine = [row for row in rows if row["teacher"] == teacher]
        if not mine:
            continue
        for name in args.students:
            if args.levers:
                lines += [comparison(mine, teacher, name, f"{lever} {name}") for lever in LEVERS]
                continue
            lines.append(comparison(mine, teacher, name))
            losses.setdefault(f"hard, {name}", mean_of(mine, f"hard {name}", "log_loss"))
            losses[f"{teacher}, {name}"] = mean_of(mine, f"distilled {name}", "log_loss")
    print(markdown(HEADER + ([] if args.levers else AGAINST_TEACHER), lines))
    if args.details and not args.levers:
        for teacher in args.teachers:
            for name in args.students:
                mine = [row for row in rows if row["teacher"] == teacher]
                print(f"\n{teacher}, {name}\n\n{per_table(mine, name)}")
    if args.plot and len({len(loss) for loss in losses.values()}) == 1:
        plot_ranks(losses, args.plot)
    if len(rows) < len(cells):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

"""Compare distilled students with the same students on hard labels, and with those of version 0.1.

    SKLEARN_KD_DATA=... python examples/benchmarks/distilled_tables.py --jobs 2 --json runs.jsonl

On 24 tables, ``DistilledClassifier(teacher, student)`` is compared with the student alone, all of
them with their defaults. With ``--rows raw`` they get raw frames: networks take them as they are,
the boosting teacher has text as categories, and a forest, a stack and a tree have a `TableEncoder`
in front. The teacher is then a pipeline, which is cross-fitted. With ``--rows encoded`` they get
the arrays of `load_encoded`, and the out-of-bag labels of a forest are used.

The lead is that of the teacher over the network of 16 neurons of version 0.1 on hard labels, which
gets encoded arrays. ``--baseline`` is the file that `version_0_1.py` has written, and
``--old-python`` runs what is missing there. The median share of the lead that a student recovers is
over tables where the lead is at least .01, of accuracy, log loss or AUC. For the forest these are
the tables of the baseline's own forest, so that no student decides which they are.

Students share the fits of a teacher, whose time is not counted. Every fit has one thread. A forest
takes gigabytes on the largest tables, so that ``--max-rows`` limits the training rows. Finished
fits are appended to the file of ``--json`` and not repeated. The script prints Markdown.
``--levers`` distills with each option alone and with all of them, on encoded arrays.

Students are "16", a network of that width, "64m8", one of 64 neurons in each of 8 members, "64d2",
one with two hidden layers of 64 neurons as the guide trains it, "tree", and "auto", what
``student="auto"`` chooses.
"""

import argparse
import re

import numpy as np
from _row_steps import counted
from _runs import below_text, compare, environment, level, markdown, run_cells, timed_fit
from _scores import int8_copy, scores
from _tables import CLASSIFICATION, load_encoded, load_split
from _teachers import TEACHERS, categorical, make_teacher, ordinary
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier
from version_0_1 import LEAST_LEAD, baseline, baseline_cells

from sklearn_kd import DistilledClassifier, ModuleClassifier, TwoLayerPGDClassifier
from sklearn_kd.metrics import agreement_score

STUDENTS = ("8", "16", "64", "64m8", "64d2", "tree", "auto")
#: The network of version 0.1 on hard labels over which teachers lead.
YARDSTICK = "plain 16"
SOFT = {"alpha": 0.5, "temperature": 1.0, "augmentation": None}
#: Parameters of the student, and of its distillation (None: hard labels), of each option.
LEVERS = {
    "soft labels": ({"encoder": None}, SOFT),
    "soft labels, gibbs rows": ({"encoder": None}, {**SOFT, "augmentation": "gibbs"}),
    "encoder": ({}, None),
    "encoder, soft labels": ({}, SOFT),
    "encoder, soft labels, gibbs rows": ({}, {**SOFT, "augmentation": "gibbs"}),
    "auto without encoder": ({"encoder": None}, {}),
    "auto": ({}, {}),
    "auto, early stopping": ({"early_stopping": True}, {}),
    "auto, symmetric and fixed": ({"init": "symmetric", "output_layer": "fixed"}, {}),
    "auto, no weight decay": ({"weight_decay": 0.0}, {}),
    "auto, 8 members": ({"n_members": 8}, {}),
}


#: Training of a deeper network on a table, as in the guide.
TRAINING_OF_DEEP = {
    "optimizer": "adamw",
    "learning_rate": 3e-3,
    "weight_decay": 0.1,
    "batch_size": 128,
}


def make_student(name, seed, rows="encoded", **params):
    """Return an unfitted student by name, None for "auto"."""
    if name == "auto":
        return None
    if name == "tree":
        tree = DecisionTreeClassifier(max_depth=6, random_state=seed)
        if rows == "encoded":
            return tree
        from sklearn_kd import TableEncoder

        return make_pipeline(TableEncoder(n_bins=1), tree)
    width, kind, number = re.fullmatch(r"(\d+)(?:([md])(\d+))?", name).groups()
    if kind == "d":
        from sklearn_kd.modules import MLP

        size = {"width": int(width), "depth": int(number), "dropout": 0.1}
        return ModuleClassifier(
            MLP, module_params=size, encoder="auto", random_state=seed, **TRAINING_OF_DEEP
        )
    members = {} if kind is None else {"n_members": int(number)}
    return TwoLayerPGDClassifier(int(width), random_state=seed, **members, **params)


def load(table, seed, rows, teacher, max_rows):
    """Return X_train, X_test, y_train and y_test."""
    if rows == "encoded":
        data = load_encoded(table, seed, max_rows=max_rows)
        return data.X_train, data.X_test, data.y_train, data.y_test
    data = load_split(table, seed, max_rows=max_rows)
    X_train, X_test = data.X_train, data.X_test
    if teacher in ("boosting", "lightgbm"):
        X_train, X_test = categorical(X_train, X_test)
    if teacher == "lightgbm":  # refuses names such as "char_freq_["
        names = [f"x{number}" for number in range(X_train.shape[1])]
        X_train, X_test = X_train.set_axis(names, axis=1), X_test.set_axis(names, axis=1)
    return X_train, X_test, data.y_train, data.y_test


def fit(model, X, y):
    """Fit a model and return what it cost, without teachers."""
    with counted() as cost:
        timed_fit(model, X, y)
    return {"fit_seconds": cost.pop("seconds"), **cost}


def run(table, seed, teacher, student, n_trees, max_rows, rows="encoded", levers=False):
    """Fit and score a teacher and a student, distilled and alone, on one split."""
    X_train, X_test, y_train, y_test = load(table, seed, rows, teacher, max_rows)
    taught_by = make_teacher(teacher, n_trees, seed, rows)
    result = {"n_train": len(y_train), "n_features": X_train.shape[1]}
    plans = {"hard": ({}, None), **(LEVERS if levers else {"distilled": ({}, {})})}
    for plan, (params, distillation) in plans.items():
        alone = make_student(student, seed, rows, **params)
        if alone is None and distillation is None:
            continue  # "auto" is compared with other students on hard labels
        model = alone
        if distillation is not None:
            chosen = "auto" if alone is None else alone
            model = DistilledClassifier(taught_by, chosen, random_state=seed, **distillation)
        cost = fit(model, X_train, y_train)
        scored = model if distillation is None else model.without_teacher()
        result[f"{plan} {student}"] = {**cost, **scores(scored, X_test, y_test)}
        if distillation is None:
            continue
        labels = model.teacher_.predict(X_test)
        result[f"{plan} {student}"] |= {
            "agreement": agreement_score(labels, model.predict(X_test)),
            "student": type(model.student_).__name__,
            "chosen": [model.label_source_, model.alpha_, model.temperature_, model.n_augmented_],
        }
        rounded = None if levers else int8_copy(scored)
        if rounded is not None:
            of_rounded = {**scores(rounded[0], X_test, y_test), "bytes": rounded[1]}
            result[f"{plan} {student}, int8"] = {**cost, **of_rounded}
        if "taught by" not in result:
            scored = scores(ordinary(model.teacher_), X_test, y_test)
            result["taught by"] = {"fit_seconds": np.nan, **scored}
    return result


def merged(rows):
    """Return one row for each table, seed and teacher, with all of its students."""
    by_split = {}
    for row in rows:
        by_split.setdefault((row["table"], row["seed"], row["teacher"]), {}).update(row)
    return list(by_split.values())


def with_baseline(rows, scored):
    """Return rows with the models of version 0.1 on the same split, see `baseline`."""
    models = dict.fromkeys(model for _, _, model in scored)
    return [
        row | {m: scored[key] for m in models if (key := (row["table"], row["seed"], m)) in scored}
        for row in rows
    ]


def has(rows, method):
    """Return whether all rows have a method."""
    return bool(rows) and all(method in row for row in rows)


def mean_of(rows, method, score):
    """Return the mean over seeds of a score, by table."""
    tables = list(dict.fromkeys(row["table"] for row in rows))
    return np.array(
        [np.nanmean([row[method][score] for row in rows if row["table"] == t]) for t in tables]
    )


def lead(rows, start, score, model="taught by"):
    """Return by how much a model, the teacher, is better than another one, by table."""
    sign = -1 if score == "log_loss" else 1
    return sign * (mean_of(rows, model, score) - mean_of(rows, start, score))


def recovered(rows, ours, start, score="accuracy"):
    """Return recovered shares of the lead over ``start``, of tables where it is a hundredth."""
    # tables that another version's forest on encoded arrays leads on, whatever the teacher here
    fixed = rows[0]["teacher"] == "forest" and start == YARDSTICK and has(rows, "forest")
    ahead = lead(rows, start, score, "forest" if fixed else "taught by") >= LEAST_LEAD
    # a pipeline may not lead where the forest on encoded arrays does
    whole = lead(rows, start, score)
    ahead &= whole > 0
    return lead(rows, start, score, ours)[ahead] / whole[ahead]


def share_text(rows, ours, start, score="accuracy"):
    """Return the median of `recovered`, and of how many tables."""
    if not has(rows, start) or not has(rows, ours):
        return "-"
    shares = recovered(rows, ours, start, score)
    return f"{np.median(shares):.0%} of {len(shares)}" if len(shares) else "no lead"


def gains(rows, ours, theirs):
    """Return the cells of a line that compares two methods on hard test labels."""
    total = compare(rows, ours, theirs)
    gain = mean_of(rows, ours, "accuracy") - mean_of(rows, theirs, "accuracy")
    before, after = total["log_loss"][::-1]
    return [
        total["n_tables"],
        f"{100 * gain.mean():+.2f}",
        int((gain > -1e-12).sum()),  # rounding of means
        below_text(total["below"]),
        total["better_log_loss"],
        level(rows, ours, [theirs]),
        f"{before:.4f} -> {after:.4f}",
    ]


GAINS = ["tables", "accuracy, points", "not worse", "clearly below", "log loss better"]
GAINS += ["or within one standard error", "log loss"]
LEADS = ["teacher", "student", "accuracy", "log loss", "AUC", "accuracy, same width"]
LEADS += ["accuracy, same student", "AUC kept, median", "bytes", "of the teacher's", "us a row"]
LEADS += ["us, teacher"]
COSTS = ["teacher", "student", "seconds, hard", "seconds", "ratio", "ratio in row-steps", "largest"]
COSTS += ["trial's, in seconds", "in row-steps", "ended at hard labels", "transfer rows"]
COSTS += ["student chosen"]


def lead_line(rows, title, name, ours):
    """Return one line: shares of the lead, and what a prediction takes."""
    line = [
        *title,
        *(share_text(rows, ours, YARDSTICK, s) for s in ("accuracy", "log_loss", "auc")),
    ]
    line.append(share_text(rows, ours, f"plain {name}"))
    line.append(share_text(rows, ours, f"hard {name}"))
    auc = mean_of(rows, ours, "auc") / mean_of(rows, "taught by", "auc")
    size, of_teacher = (mean_of(rows, method, "bytes") for method in (ours, "taught by"))
    line += [f"{np.nanmedian(auc):.2%}", f"{np.median(size):,.0f}"]
    line.append(f"{np.median(size / of_teacher):.2%}")
    for method in (ours, "taught by"):
        line.append(f"{1000 * np.median(mean_of(rows, method, 'latency_ms')):,.0f}")
    return line


def cost_line(rows, teacher, name):
    """Return one line: the cost of a default fit, relative to that on hard labels."""
    ours, hard = f"distilled {name}", f"hard {name}"
    cost = {s: mean_of(rows, ours, s) for s in ("fit_seconds", "row_steps")}
    cost |= {s: mean_of(rows, ours, s) for s in ("trial_seconds", "trial_row_steps")}
    line = [teacher, name]
    if has(rows, hard):
        seconds, row_steps = mean_of(rows, hard, "fit_seconds"), mean_of(rows, hard, "row_steps")
        line += [f"{np.median(seconds):.2f}", f"{np.median(cost['fit_seconds']):.2f}"]
        line.append(f"{np.median(cost['fit_seconds'] / seconds):.1f}")
        if (row_steps > 0).all():
            ratio, trial = cost["row_steps"] / row_steps, cost["trial_row_steps"] / row_steps
            of_steps = [f"{np.median(ratio):.1f}", f"{ratio.max():.1f}", f"{np.median(trial):.1f}"]
        else:  # not a TwoLayerPGDClassifier
            of_steps = ["-", "-", "-"]
        line += [*of_steps[:2], f"{np.median(cost['trial_seconds'] / seconds):.1f}", of_steps[2]]
    else:
        line += ["-", f"{np.median(cost['fit_seconds']):.2f}", *["-"] * 5]
    source = [row[ours]["chosen"] for row in rows]
    line.append(f"{np.mean([s == 'hard' for s, *_ in source]):.0%}")
    line.append(f"{np.mean([n > 0 for *_, n in source]):.0%}")
    kinds = [row[ours]["student"] for row in rows]
    line.append(", ".join(f"{kind} {kinds.count(kind)}" for kind in dict.fromkeys(kinds)))
    return line


def per_table(rows, name):
    """Return one line for each table: teacher, plain, hard and distilled student."""
    ours = f"distilled {name}"
    methods = {"teacher": "taught by", "0.1": YARDSTICK, "hard": f"hard {name}", "distilled": ours}
    methods = {title: method for title, method in methods.items() if has(rows, method)}
    header = ["table", "rows"]
    header += [f"{score}, {title}" for score in ("accuracy", "log loss") for title in methods]
    header += ["share of the lead", "AUC kept", "bytes", "seconds", "chosen"]
    lines = []
    for table in dict.fromkeys(row["table"] for row in rows):
        mine = [row for row in rows if row["table"] == table]
        line = [table, mine[0]["n_train"]]
        for score in ("accuracy", "log_loss"):
            line += [f"{mean_of(mine, method, score)[0]:.4f}" for method in methods.values()]
        shares = recovered(mine, ours, YARDSTICK) if has(mine, YARDSTICK) else []
        line.append(f"{shares[0]:.0%}" if len(shares) else "-")
        kept = mean_of(mine, ours, "auc") / mean_of(mine, "taught by", "auc")
        line += [f"{kept[0]:.1%}", f"{mean_of(mine, ours, 'bytes')[0]:,.0f}"]
        line.append(f"{mean_of(mine, ours, 'fit_seconds')[0]:.1f}")
        chosen = [row[ours]["chosen"] for row in mine]
        line.append(", ".join(f"{s} {a:g}/{t:g}/{n}" for s, a, t, n in chosen))
        lines.append(line)
    return markdown(header, lines)


def report(rows, teachers, students, levers):
    """Print the Markdown of all comparisons."""
    against_plain, against_hard, lead_lines, cost_lines = [], [], [], []
    for teacher in teachers:
        mine = [row for row in rows if row["teacher"] == teacher]
        if not mine:
            continue
        if teacher == "forest" and has(mine, "distilled 16, 0.1"):
            lead_lines.append(lead_line(mine, [teacher, "16, 0.1"], "16", "distilled 16, 0.1"))
        for name in students:
            for plan in LEVERS if levers else ["distilled"]:
                ours = f"{plan} {name}"
                title = [teacher, f"{plan}, {name}" if levers else name]
                plain = f"plain {name}" if has(mine, f"plain {name}") else YARDSTICK
                if has(mine, plain):
                    against_plain.append([*title, plain, *gains(mine, ours, plain)])
                hard = f"hard {name}" if has(mine, f"hard {name}") else "hard 64"
                if has(mine, hard):
                    against_hard.append([*title, hard, *gains(mine, ours, hard)])
                lead_lines.append(lead_line(mine, title, name, ours))
                if has(mine, f"{ours}, int8"):
                    title = [teacher, f"{name}, int8"]
                    lead_lines.append(lead_line(mine, title, name, f"{ours}, int8"))
            if not levers:
                cost_lines.append(cost_line(mine, teacher, name))
    header = ["teacher", "student", "against", *GAINS]
    if against_plain:
        print(
            f"Against networks of version 0.1 on hard labels\n\n{markdown(header, against_plain)}"
        )
    print(f"\nAgainst the same student on hard labels\n\n{markdown(header, against_hard)}")
    print(f"\nMedian share of the teacher's lead over {YARDSTICK} of version 0.1\n")
    print(markdown(LEADS, lead_lines))
    if cost_lines:
        print("\nMedian cost of a default fit without the teacher's, and as a multiple of that of ")
        print(f"the same student on hard labels\n\n{markdown(COSTS, cost_lines)}")


def baseline_of(args):
    """Return the scores of version 0.1 on all splits, an empty dict without a file."""
    if args.baseline is None:
        return {}
    models = ["forest", "plain 16", *args.baseline_models]
    cells = baseline_cells(args.tables, range(args.seeds), models, args.trees, args.max_rows)
    scored = baseline(args.old_python, args.baseline, cells, args.jobs)
    # "distilled 16" is the name of the student of this version
    names = {model: f"{model}, 0.1" if "distilled" in model else model for model in models}
    return {(table, seed, names[model]): row for (table, seed, model), row in scored.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teachers", nargs="+", default=TEACHERS, choices=TEACHERS)
    parser.add_argument("--students", nargs="+", default=STUDENTS, metavar="NAME")
    parser.add_argument("--rows", choices=("raw", "encoded"), default="raw")
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5, help="splits, and seeds of the fits")
    parser.add_argument("--tables", nargs="+", default=CLASSIFICATION, metavar="NAME")
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument(
        "--max-rows", type=int, default=2000, help="training rows to keep (default: %(default)s)"
    )
    parser.add_argument("--json", metavar="FILE", help="finished fits, to go on from")
    parser.add_argument("--baseline", metavar="FILE", help="scores of version 0.1")
    parser.add_argument(
        "--baseline-models", nargs="+", default=["plain 8", "plain 64", "distilled 16"],
        help='beside "forest" and "plain 16" (default: %(default)s)',
    )  # fmt: skip
    parser.add_argument("--old-python", metavar="PATH", help="interpreter with version 0.1")
    parser.add_argument("--levers", action="store_true", help="each means alone and together")
    parser.add_argument("--details", action="store_true", help="a line for each table too")
    args = parser.parse_args()
    if args.levers and args.rows == "raw":
        parser.error("--levers needs --rows encoded, since encoder=None takes numbers only")
    fixed = {"n_trees": args.trees, "max_rows": args.max_rows, "rows": args.rows}
    cells = [
        {"table": table, "seed": seed, "teacher": teacher, "student": student, **fixed}
        for seed in range(args.seeds)
        for teacher in args.teachers
        for table in args.tables
        for student in args.students
    ]
    if args.levers:
        cells = [{**cell, "levers": True} for cell in cells]
    parsed = run_cells(cells, run, jobs=args.jobs, path=args.json)
    rows = with_baseline(merged(parsed), baseline_of(args))
    print(environment(f"one thread a fit, {args.jobs} at a time"))
    print(
        f"{args.rows.capitalize()} rows, {args.trees} trees, at most {args.max_rows:,} training "
        f"rows, seeds 0 to {args.seeds - 1}; {len(parsed)} of {len(cells)} runs.\n"
    )
    report(rows, args.teachers, args.students, args.levers)
    if args.details and not args.levers:
        for teacher in args.teachers:
            mine = [row for row in rows if row["teacher"] == teacher]
            for name in args.students:
                if has(mine, f"distilled {name}"):
                    print(f"\n{teacher}, {name}\n\n{per_table(mine, name)}")
    if len(parsed) < len(cells):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

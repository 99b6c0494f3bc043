"""Compare distilled students of several labels with the same students on hard labels.

    SKLEARN_KD_DATA=... python examples/benchmarks/several_labels.py --json runs.jsonl

Two sets of rows with labels come from ``make_multilabel_classification``, with and without many
columns of noise. Two tables have columns that are labels here: the services that a customer of
telco_churn has booked, predicted from the contract, the charges and the household, and the loans of
a customer of bank_marketing (mortgage, personal loan, in default, subscribed a deposit), predicted
from the other columns. They are split by rows, and training rows are limited to ``--max-rows``.

The teacher is a forest, behind a `TableEncoder` on the tables. ``DistilledClassifier(forest,
student)`` is compared with the student alone, both with their defaults. Scores on the test rows are
the log loss, as the mean over labels, the mean of the areas under the ROC curves of the labels, and
the share of rows with all labels right.

Every fit has one thread. Finished fits are appended to the file of ``--json`` and not repeated. The
script prints Markdown.
"""

import argparse

import numpy as np
from _runs import environment, finished_cells, markdown, run_cells, timed_fit
from _tables import load_frame, paired_summary
from regression_tables import by_table
from sklearn.datasets import make_multilabel_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from sklearn_kd import DistilledClassifier, TableEncoder, TwoLayerPGDClassifier

SERVICES = ("multiple_lines", "online_security", "online_backup", "device_protection")
SERVICES += ("tech_support", "streaming_tv", "streaming_movies")
LOANS = ("housing", "loan", "default")
TABLES = ("made", "made_noisy", "telco_churn", "bank_marketing")
SCORES = ("log_loss", "auc", "accuracy")


def load(table, seed, max_rows):
    """Return training and test rows and labels."""
    if table.startswith("made"):
        # 20 columns are words of topics, and others are noise
        X, Y = make_multilabel_classification(
            6000, n_features=20, n_classes=6, n_labels=2, random_state=seed
        )
        if table == "made_noisy":
            X = np.c_[X, np.random.RandomState(seed).normal(size=(len(X), 60))]
    else:
        X, y = load_frame(table)
        names = list(SERVICES if table == "telco_churn" else LOANS)
        Y = np.isin(X[names].to_numpy(), ["Yes", "yes"])
        if table == "bank_marketing":
            Y = np.c_[Y, y == "yes"]
        X, Y = X.drop(columns=names), Y.astype(np.int64)
    X_train, X_test, Y_train, Y_test = train_test_split(X, Y, test_size=0.25, random_state=seed)
    return X_train[:max_rows], X_test, Y_train[:max_rows], Y_test


def make_teacher(table, n_trees, seed):
    """Return an unfitted forest for the rows of a table."""
    forest = RandomForestClassifier(n_trees, n_jobs=1, random_state=seed)
    return forest if table.startswith("made") else make_pipeline(TableEncoder(n_bins=1), forest)


def scores(proba, Y):
    """Return log loss, area under the curve and share of rows with all labels right."""
    if isinstance(proba, list):
        proba = np.column_stack([of_label[:, 1] for of_label in proba])
    of_y = np.where(Y == 1, proba, 1 - proba)
    return {
        "log_loss": -np.log(np.maximum(of_y, 1e-6)).mean(),
        "auc": roc_auc_score(Y, proba),
        "accuracy": ((proba > 0.5) == Y).all(axis=1).mean(),
    }


def run(table, seed, widths, n_trees, max_rows):
    """Fit and score the teacher, and the students alone and distilled, on one split."""
    X_train, X_test, Y_train, Y_test = load(table, seed, max_rows)
    result = {"n_train": len(Y_train), "n_labels": Y_train.shape[1]}
    for width in widths:
        student = TwoLayerPGDClassifier(width, random_state=seed, device="cpu")
        timed_fit(student, X_train, Y_train)
        result[f"hard {width}"] = scores(student.predict_proba(X_test), Y_test)
        teacher = make_teacher(table, n_trees, seed)
        model = DistilledClassifier(teacher, student, random_state=seed)
        timed_fit(model, X_train, Y_train)
        result[f"distilled {width}"] = scores(model.predict_proba(X_test), Y_test)
        result[f"distilled {width}"]["chosen"] = [model.label_source_, model.n_augmented_]
        if "teacher" not in result:
            result["teacher"] = scores(model.teacher_.predict_proba(X_test), Y_test)
    return result


def report(rows, widths):
    """Print a line for each width and table."""
    lines = []
    for width in widths:
        hard, ours = f"hard {width}", f"distilled {width}"
        for table, mine in by_table(rows).items():
            line = [width, table, mine[0]["n_train"], mine[0]["n_labels"]]
            for score in SCORES:
                means = [
                    np.mean([r[name][score] for r in mine]) for name in ("teacher", hard, ours)
                ]
                line.append(" / ".join(f"{mean:.3f}" for mean in means))
                gain = paired_summary(*([row[n][score] for row in mine] for n in (ours, hard)))
                line.append(f"{gain.mean:+.3f} +- {gain.se:.3f}")
            line.append(", ".join(f"{s}/{n}" for s, n in (row[ours]["chosen"] for row in mine)))
            lines.append(line)
    header = ["student", "table", "rows", "labels"]
    for score in ("log loss", "AUC", "accuracy"):
        header += [f"{score}: teacher / hard / distilled", "distilled - hard"]
    print(markdown([*header, "labels/transfer rows"], lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    parser.add_argument("--widths", nargs="+", type=int, default=[16, 64])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--max-rows", type=int, default=2000, help="training rows to keep")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", help="file of finished fits")
    parser.add_argument("--report", action="store_true", help="print what is finished alone")
    args = parser.parse_args()
    shared = {"widths": args.widths, "n_trees": args.trees, "max_rows": args.max_rows}
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
    report(rows, args.widths)


if __name__ == "__main__":
    main()

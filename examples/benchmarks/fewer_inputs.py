"""Measure a student on fewer raw columns, of which the teacher has all, by how they are chosen.

    SKLEARN_KD_DATA=... python examples/benchmarks/fewer_inputs.py --json runs.jsonl

The teacher is a forest on all columns behind a ``TableEncoder``, and the student a network of 16
neurons on the out-of-bag labels of the forest (``alpha=0.5``) and on some of the columns. These are
chosen on the training rows by

- permutation importance of the teacher, or of a network on hard labels, in three folds: the
  increase of the held-out log loss where the cells of a raw column are permuted;
- the same of the teacher, where the least important quarter of the columns is removed, at least one
  of them, and the teacher is fitted again (recursive);
- impurity importance of a forest behind an ``OrdinalEncoder``, which has one for each raw column;
- weights of a network on hard labels, summed over the encoded columns of a raw column;
- mutual information of a column and the label.

Finished splits are appended to the file of ``--json`` and not repeated. The script uses one thread
a fit and prints Markdown.
"""

import argparse
import warnings

import numpy as np
from _runs import environment, markdown, run_cells, test_scores
from _tables import load_split, paired_summary
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import mutual_info_classif
from sklearn.inspection import permutation_importance
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from sklearn_kd import TableEncoder, TwoLayerPGDClassifier

TABLES = ("adult", "bank_marketing", "telco_churn", "spambase", "kr_vs_kp", "satimage")
N_COLUMNS = (1, 2, 3, 4, 6, 8, 12, 16)
TEACHER, RECURSIVE, STUDENT = "teacher, permuted", "the same, recursive", "network, permuted"
IMPURITY, WEIGHTS, MUTUAL = "forest, impurity", "network, weights", "mutual information"
RULES = (TEACHER, RECURSIVE, STUDENT, IMPURITY, WEIGHTS, MUTUAL)


def permuted(model, X, y, seed):
    """Return the mean permutation importance of raw columns in three folds."""
    found = []
    for train, test in StratifiedKFold(3, shuffle=True, random_state=seed).split(X, y):
        fit = clone(model).fit(X.iloc[train], y[train])
        found.append(
            permutation_importance(
                fit, X.iloc[test], y[test], scoring="neg_log_loss", n_repeats=2, random_state=seed
            ).importances_mean
        )
    return np.mean(found, axis=0)


def recursive_order(model, X, y, seed):
    """Return positions of columns, the last removed first."""
    left, order = np.arange(X.shape[1]), []
    while len(left) > 1:
        importance = permuted(model, X.iloc[:, left], y, seed)
        n_removed = max(len(left) // 4, 1)
        weakest = np.argsort(importance)[:n_removed]
        order += left[weakest].tolist()
        left = np.delete(left, weakest)
    return np.array([*order, *left])[::-1]


def summed(encoder, importance):
    """Return the sum of the importances of encoded columns over each raw column."""
    names = encoder.get_feature_names_out()
    starts = [f"{name}_" for name in encoder.feature_names_in_]
    owner = [max((s for s in starts if f"{name}_".startswith(s)), key=len) for name in names]
    return np.array([sum(importance[np.array(owner) == s]) for s in starts])


def mutual_information(X, y, seed):
    """Return the mutual information of each raw column and the label, missing cells as a value."""
    columns, discrete = [], []
    for name in X:
        is_number = X[name].dtype.kind in "iuf"
        cells = X[name].fillna(X[name].min() - 1) if is_number else X[name].fillna("").astype(str)
        columns.append(cells if is_number else np.unique(cells, return_inverse=True)[1])
        discrete.append(not is_number)
    table = np.column_stack(columns).astype(float)
    return mutual_info_classif(table, y, discrete_features=discrete, random_state=seed)


def orders(forest, network, X, y, seed):
    """Return rule to positions of columns, the most important first."""
    ordinal = make_pipeline(OrdinalEncoder(encoded_missing_value=-1), clone(forest[-1])).fit(X, y)
    hard = clone(network).fit(X, y)
    weights = np.abs(hard.hidden_weights_[:, : len(hard.input_scale_)]).sum(axis=0)
    importances = {
        TEACHER: permuted(forest, X, y, seed),
        STUDENT: permuted(network, X, y, seed),
        IMPURITY: ordinal[-1].feature_importances_,
        WEIGHTS: summed(hard.encoder_, weights),
        MUTUAL: mutual_information(X, y, seed),
    }
    found = {rule: np.argsort(-importance) for rule, importance in importances.items()}
    found[RECURSIVE] = recursive_order(forest, X, y, seed)
    return found


def run(table, seed, width, n_trees, max_rows):
    """Fit and score students on the columns that each rule chooses on one split."""
    warnings.simplefilter("ignore")
    data = load_split(table, seed, max_rows=max_rows)
    X, y, X_test = data.X_train, data.y_train, data.X_test
    X.columns = X_test.columns = [f"x{j}" for j in range(X.shape[1])]
    forest = make_pipeline(
        TableEncoder(), RandomForestClassifier(n_trees, min_samples_leaf=2, random_state=seed)
    )
    fitted = clone(forest).set_params(randomforestclassifier__oob_score=True).fit(X, y)
    soft = fitted[1].oob_decision_function_
    network = TwoLayerPGDClassifier(width, random_state=seed)

    def student(columns):
        columns = sorted(columns)
        if tuple(columns) not in known:
            fit = clone(network).set_params(alpha=0.5)
            fit.fit(X.iloc[:, columns], y, soft_targets=soft)
            known[tuple(columns)] = test_scores(fit, X_test.iloc[:, columns], data.y_test)
        return known[tuple(columns)]

    known, n_columns = {}, X.shape[1]
    result = {
        "n_train": len(y),
        "n_features": n_columns,
        "teacher": test_scores(fitted, X_test, data.y_test),
        "all": student(range(n_columns)),
    }
    for rule, order in orders(forest, network, X, y, seed).items():
        result[rule] = {str(k): student(order[:k]) for k in N_COLUMNS if k < n_columns}
    return result


def by_number(rows, score):
    """Return a line for each table and rule: the mean score by the number of columns."""
    header = ["table", "columns", "teacher", "all columns", "chosen by"]
    header += [str(k) for k in N_COLUMNS]
    lines = []
    for table in dict.fromkeys(row["table"] for row in rows):
        mine = [row for row in rows if row["table"] == table]
        start = [table, mine[0]["n_features"]]
        start += [
            f"{np.mean([row[name][score] for row in mine]):.4f}" for name in ("teacher", "all")
        ]
        for rule in RULES:
            cells = [
                f"{np.mean([row[rule][str(k)][score] for row in mine]):.4f}"
                if str(k) in mine[0][rule]
                else ""
                for k in N_COLUMNS
            ]
            lines.append([*start, rule, *cells])
            start = [""] * 4
    return markdown(header, lines)


def against_teacher(rows):
    """Return a line for each rule: log loss minus that of the teacher's permutation importance."""
    lines = []
    for rule in RULES[1:]:
        cells = []
        for k in map(str, N_COLUMNS):
            tables = dict.fromkeys(row["table"] for row in rows if k in row[rule])
            gaps = [
                paired_summary(
                    [row[rule][k]["log_loss"] for row in rows if row["table"] == table],
                    [row[TEACHER][k]["log_loss"] for row in rows if row["table"] == table],
                ).mean
                for table in tables
            ]
            error = np.std(gaps, ddof=1) / np.sqrt(len(gaps)) if len(gaps) > 1 else np.nan
            cells.append(f"{np.mean(gaps):+.4f} +- {error:.4f}")
        lines.append([rule, *cells])
    return markdown(["chosen by", *(str(k) for k in N_COLUMNS)], lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--trees", type=int, default=100, help="of the teacher")
    parser.add_argument("--seeds", type=int, default=3, help="splits, and seeds of the fits")
    parser.add_argument("--tables", nargs="+", default=TABLES, metavar="NAME")
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--max-rows", type=int, default=3000, help="training rows to keep")
    parser.add_argument("--json", metavar="FILE", help="finished splits, to go on from")
    args = parser.parse_args()
    fixed = {"width": args.width, "n_trees": args.trees, "max_rows": args.max_rows}
    cells = [
        {"table": table, "seed": seed, **fixed}
        for seed in range(args.seeds)
        for table in args.tables
    ]
    rows = run_cells(cells, run, jobs=args.jobs, path=args.json)
    print(environment(f"one thread a fit, {args.jobs} at a time"))
    print(
        f"Width {args.width}, {args.trees} trees, at most {args.max_rows:,} training rows, "
        f"seeds 0 to {args.seeds - 1}; {len(rows)} of {len(cells)} runs.\n"
    )
    if rows:
        for score in ("log_loss", "accuracy"):
            print(f"{score}, by the number of columns:\n\n{by_number(rows, score)}\n")
        print(f"Log loss minus that of {TEACHER!r}, mean over tables:\n\n{against_teacher(rows)}")
    if len(rows) < len(cells):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

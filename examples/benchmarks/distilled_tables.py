"""A network of 16 neurons distilled from a 500-tree forest against the same one on hard labels.

    SKLEARN_KD_DATA=... python examples/benchmarks/distilled_tables.py --jobs 2 --json runs.jsonl

All defaults, unless ``--alpha`` or ``--temperature`` says otherwise. The same encoded float64
arrays go to all; every fit has one thread. A forest of 500 trees takes gigabytes on the largest
tables, hence the limit of ``--max-rows`` training rows. Finished fits are appended to the file of
``--json`` and not repeated. Prints Markdown.
"""

import argparse

from _runs import (
    below_text,
    compare,
    environment,
    markdown,
    per_table,
    run_cells,
    test_scores,
    timed_fit,
)
from _tables import CLASSIFICATION, load_encoded
from sklearn.ensemble import RandomForestClassifier

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
from sklearn_kd.metrics import agreement_score, expected_calibration_error, fidelity_score

METHODS = {"distilled": "distilled", "hard": "hard labels", "teacher": "teacher"}


def run(table, seed, width, n_trees, max_rows, **params):
    """Fit and score teacher and both students on one split."""
    data = load_encoded(table, seed, max_rows=max_rows)
    network = TwoLayerPGDClassifier(width, random_state=seed)
    forest = RandomForestClassifier(n_trees, n_jobs=1, random_state=seed)
    distilled = DistilledClassifier(forest, network, random_state=seed, **params)
    seconds = {
        "hard": timed_fit(network, data.X_train, data.y_train),
        "distilled": timed_fit(distilled, data.X_train, data.y_train),
        "teacher": timed_fit(forest, data.X_train, data.y_train),
    }
    proba_teacher, y_teacher = forest.predict_proba(data.X_test), forest.predict(data.X_test)
    result = {"n_train": len(data.y_train), "n_features": data.X_train.shape[1]}
    result["label_source"] = distilled.label_source_
    for method, model in {"teacher": forest, "hard": network, "distilled": distilled}.items():
        proba = model.predict_proba(data.X_test)
        result[method] = {
            **test_scores(model, data.X_test, data.y_test),
            "calibration_error": expected_calibration_error(
                data.y_test, proba, labels=model.classes_
            ),
            "agreement": agreement_score(y_teacher, model.predict(data.X_test)),
            "fidelity": fidelity_score(proba_teacher, proba),
            "fit_seconds": seconds[method],
        }
    return result


def mean_score(rows, method, score):
    """Mean over tables of the mean over seeds."""
    tables = dict.fromkeys(row["table"] for row in rows)
    means = []
    for table in tables:
        values = [row[method][score] for row in rows if row["table"] == table]
        means.append(sum(values) / len(values))
    return sum(means) / len(means)


def number_or_auto(text):
    return text if text == "auto" else float(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--trees", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=5, help="splits, and seeds of the fits")
    parser.add_argument("--tables", nargs="+", default=CLASSIFICATION, metavar="NAME")
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument(
        "--max-rows", type=int, default=20_000, help="training rows to keep (default: %(default)s)"
    )
    parser.add_argument("--json", metavar="FILE", help="finished fits, to go on from")
    parser.add_argument("--alpha", type=float, help="of DistilledClassifier")
    parser.add_argument("--temperature", type=number_or_auto, help="of DistilledClassifier")
    args = parser.parse_args()
    params = {"alpha": args.alpha, "temperature": args.temperature}
    params = {name: value for name, value in params.items() if value is not None}
    fixed = {"width": args.width, "n_trees": args.trees, "max_rows": args.max_rows, **params}
    cells = [
        {"table": table, "seed": seed, **fixed}
        for table in args.tables
        for seed in range(args.seeds)
    ]
    rows = run_cells(cells, run, jobs=args.jobs, path=args.json)
    print(environment(f"one thread a fit, {args.jobs} at a time"))
    print(f"Width {args.width}, {args.trees} trees, at most {args.max_rows:,} training rows.")
    print(f"DistilledClassifier({', '.join(f'{k}={v!r}' for k, v in params.items())}).")
    print(f"{len(rows)} of {len(cells)} runs. Means over tables of means over seeds.\n")
    if rows:
        scores = ["accuracy", "log_loss", "calibration_error", "agreement", "fidelity"]
        print(
            markdown(
                ["", *(score.replace("_", " ") for score in scores)],
                [
                    [title, *(f"{mean_score(rows, method, score):.4f}" for score in scores)]
                    for method, title in METHODS.items()
                ],
            )
        )
        print()
        lines = []
        for ours, theirs in (("distilled", "hard"), ("distilled", "teacher"), ("hard", "teacher")):
            total = compare(rows, ours, theirs)
            lines.append(
                [f"{METHODS[ours]} against {METHODS[theirs]}", total["n_tables"]]
                + [f"{100 * (total['accuracy'][0] - total['accuracy'][1]):+.2f}"]
                + [total["wins"], total["losses"], below_text(total["below"])]
                + [f"{total['better_log_loss']} of {total['n_tables']}"]
            )
        header = ["", "tables", "accuracy, points", "wins", "losses", "tables below"]
        print(markdown([*header, "log loss better"], lines))
        print()
        print(per_table(rows, METHODS, difference=("distilled", "hard")))
    if len(rows) < len(cells):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

"""Compare TwoLayerPGDClassifier with MLPClassifier of the same width on labels, with defaults.

    SKLEARN_KD_DATA=... python examples/benchmarks/accuracy_tables.py --jobs 2 --json runs.jsonl

Both get the same encoded float64 arrays, and every fit has one thread. Finished fits are appended
to the file of ``--json`` and not repeated, so that the script can be interrupted and restarted.
Delete the file when the package has changed. The script prints Markdown.
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
from sklearn.neural_network import MLPClassifier

from sklearn_kd import TwoLayerPGDClassifier

METHODS = {"ours": "ours", "mlp": "MLPClassifier"}


def run(table, seed, width, max_rows):
    """Fit and score both on one split."""
    data = load_encoded(table, seed, max_rows=max_rows)
    models = {
        "ours": TwoLayerPGDClassifier(width, random_state=seed),
        "mlp": MLPClassifier((width,), random_state=seed),
    }
    result = {"n_train": len(data.y_train), "n_features": data.X_train.shape[1]}
    for method, model in models.items():
        seconds = timed_fit(model, data.X_train, data.y_train)
        scores = test_scores(model, data.X_test, data.y_test)
        result[method] = {**scores, "fit_seconds": seconds, "n_iter": int(model.n_iter_)}
    return result


def report(rows, widths):
    header = ["width", "tables", "accuracy, ours", "MLPClassifier", "difference, points"]
    header += ["wins", "losses", "tables below", "log loss better", "fit s, ours", "MLPClassifier"]
    lines, sections = [], []
    for width in widths:
        mine = [row for row in rows if row["width"] == width]
        if not mine:
            continue
        total = compare(mine, "ours", "mlp")
        ours, theirs = total["accuracy"]
        lines.append(
            [width, total["n_tables"], f"{ours:.4f}", f"{theirs:.4f}"]
            + [f"{100 * (ours - theirs):+.2f}", total["wins"], total["losses"]]
            + [below_text(total["below"])]
            + [f"{total['better_log_loss']} of {total['n_tables']}"]
            + [f"{seconds:.0f}" for seconds in total["fit_seconds"]]
        )
        table = per_table(mine, METHODS, difference=("ours", "mlp"))
        sections.append(f"#### Width {width}\n\n{table}")
    print(markdown(header, lines), *sections, sep="\n\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 32, 128])
    parser.add_argument("--seeds", type=int, default=5, help="splits, and seeds of the fits")
    parser.add_argument("--tables", nargs="+", default=CLASSIFICATION, metavar="NAME")
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--max-rows", type=int, help="training rows to keep (default: all)")
    parser.add_argument("--json", metavar="FILE", help="finished fits, to go on from")
    args = parser.parse_args()
    cells = [
        {"table": table, "seed": seed, "width": width, "max_rows": args.max_rows}
        for table in args.tables
        for seed in range(args.seeds)
        for width in args.widths
    ]
    rows = run_cells(cells, run, jobs=args.jobs, path=args.json)
    limit = "all training rows" if args.max_rows is None else f"at most {args.max_rows:,}"
    print(environment(f"one thread a fit, {args.jobs} at a time"))
    print(f"Training rows: {limit}. {len(rows)} of {len(cells)} runs.")
    print("Accuracy and log loss: mean over tables of the mean over seeds. Tables below: by more")
    print("than two standard errors of the paired difference plus half a point. Fit seconds: sum")
    print("over tables of the mean over seeds.\n")
    if rows:
        report(rows, args.widths)
    if len(rows) < len(cells):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

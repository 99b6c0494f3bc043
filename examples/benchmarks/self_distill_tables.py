"""Compare SelfDistillClassifier with plain training of the same network on wrong labels.

    SKLEARN_KD_DATA=... python examples/benchmarks/self_distill_tables.py --json runs.jsonl

The data are tables. Labels of the training rows are flipped (symmetric, never to the true class),
and those of the test rows are not. Both methods get the same float32 arrays, the same network and
the same seed of the network, so that they have the same initialization and hold out the same rows.
Every fit has one thread. Finished fits are appended to the file of ``--json`` and not repeated. The
script prints Markdown.
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
    test_scores,
    timed_fit,
)
from _tables import CLASSIFICATION, load_encoded
from sklearn.metrics import recall_score

from sklearn_kd import SelfDistillClassifier, TwoLayerPGDClassifier
from sklearn_kd.datasets import add_label_noise

METHODS = {"self": "self-distilled", "plain": "plain"}


def run(table, seed, rate, width, max_rows):
    """Fit and score both on one split."""
    data = load_encoded(table, seed, dtype=np.float32, max_rows=max_rows)
    noisy = add_label_noise(data.y_train, rate, random_state=seed)
    network = TwoLayerPGDClassifier(width, random_state=seed)
    models = {"plain": network, "self": SelfDistillClassifier(network, random_state=seed)}
    classes, counts = np.unique(data.y_train, return_counts=True)
    rarest = classes[counts.argmin()]
    result = {"n_train": len(data.y_train), "n_features": data.X_train.shape[1]}
    for method, model in models.items():
        seconds = timed_fit(model, data.X_train, noisy.y)
        predicted = model.predict(data.X_test)
        recall = recall_score(data.y_test, predicted, labels=[rarest], average=None)[0]
        result[method] = {
            **test_scores(model, data.X_test, data.y_test),
            "recall": recall,
            "fit_seconds": seconds,
        }
    model = models["self"]
    refined = model.classes_[model.refined_targets_.argmax(axis=1)]
    result["noise_rate"] = model.noise_rate_
    result["refined_right"] = float(np.mean(refined == data.y_train))
    return result


def report(rows, rates):
    header = ["noise", "tables", "accuracy, self-distilled", "plain", "difference, points", "wins"]
    header += ["losses", "tables below", "recall of the rarest class", "plain", "noise_rate_"]
    header += ["refined labels right", "fit s", "plain"]
    lines, sections = [], []
    for rate in rates:
        mine = [row for row in rows if row["rate"] == rate]
        if not mine:
            continue
        total = compare(mine, "self", "plain")
        ours, theirs = total["accuracy"]
        recalls = [np.mean([row[method]["recall"] for row in mine]) for method in METHODS]
        lines.append(
            [rate, total["n_tables"], f"{ours:.4f}", f"{theirs:.4f}"]
            + [f"{100 * (ours - theirs):+.2f}", total["wins"], total["losses"]]
            + [below_text(total["below"]), *(f"{recall:.3f}" for recall in recalls)]
            + [f"{np.mean([row['noise_rate'] for row in mine]):.3f}"]
            + [f"{np.mean([row['refined_right'] for row in mine]):.3f}"]
            + [f"{seconds:.0f}" for seconds in total["fit_seconds"]]
        )
        table = per_table(mine, METHODS, difference=("self", "plain"))
        sections.append(f"#### Noise {rate}\n\n{table}")
    print(markdown(header, lines))
    print("\n" + recalls_of(rows, rates))
    print(*sections, sep="\n\n")


def recalls_of(rows, rates):
    """Return the recall of the rare class of two imbalanced tables of two classes."""
    header = ["table", "noise", "recall, self-distilled", "plain", "difference, points"]
    lines = []
    for table in ("mammography", "sick"):
        for rate in rates:
            mine = [row for row in rows if (row["table"], row["rate"]) == (table, rate)]
            if not mine:
                continue
            ours, theirs = (np.array([row[m]["recall"] for row in mine]) for m in METHODS)
            gap = 100 * (ours - theirs)
            error = f" +- {gap.std(ddof=1) / len(gap) ** 0.5:.1f}" if len(gap) > 1 else ""
            means = f"{ours.mean():.3f}", f"{theirs.mean():.3f}"
            lines.append([table, rate, *means, f"{gap.mean():+.1f}{error}"])
    return markdown(header, lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rates", type=float, nargs="+", default=[0.0, 0.2, 0.4])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=3, help="splits, noise and seeds of the fits")
    parser.add_argument("--tables", nargs="+", default=CLASSIFICATION, metavar="NAME")
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--max-rows", type=int, help="training rows to keep (default: all)")
    parser.add_argument("--json", metavar="FILE", help="finished fits, to go on from")
    args = parser.parse_args()
    cells = [
        {"table": table, "seed": seed, "rate": rate, "width": args.width, "max_rows": args.max_rows}
        for seed in range(args.seeds)
        for table in args.tables
        for rate in args.rates
    ]
    rows = run_cells(cells, run, jobs=args.jobs, path=args.json)
    limit = "all training rows" if args.max_rows is None else f"at most {args.max_rows:,}"
    print(environment(f"one thread a fit, {args.jobs} at a time"))
    print(f"Training rows: {limit}; width {args.width}. {len(rows)} of {len(cells)} runs.\n")
    if rows:
        report(rows, args.rates)
    if len(rows) < len(cells):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

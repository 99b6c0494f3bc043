"""Compare what "auto" chose in its trial with the best of its candidates after full fits.

    SKLEARN_KD_DATA=... python examples/benchmarks/trial_agreement.py --json runs.jsonl
    python examples/benchmarks/trial_agreement.py --tables --made 20000 40000 --json runs.jsonl

A `DistilledClassifier` with its defaults fits its candidates to a part of the training rows, and
compares them on the others. Here each candidate is fitted to all training rows, and scored on the
test rows. The choice agrees where its log loss is at most one standard error of the paired
difference, over test rows, above that of the best candidate, both averaged over seeds. Since the
best one is found on the same rows, chance makes a choice look worse. ``--made`` adds tables of
`large_tables`. The script uses one thread a fit and prints Markdown.
"""

import argparse
import warnings

import numpy as np
from _runs import environment, markdown, run_cells
from _tables import CLASSIFICATION, load_encoded
from _teachers import make_teacher
from large_tables import load
from sklearn.base import clone

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier


def candidate(auto, number):
    """Return an unfitted model with the settings of a candidate of a fitted one as numbers."""
    settings = {name: values[number] for name, values in auto.candidates_.items()}
    if settings["label_source"] == "hard":
        return clone(auto.student)
    n_augmented = int(settings["n_augmented"])
    return clone(auto).set_params(
        alpha=float(settings["alpha"]),
        temperature=float(settings["temperature"]),
        augmentation="gibbs" if n_augmented else None,
        n_augmented=n_augmented or "auto",
    )


def row_losses(model, X, y):
    """Return the log loss of each row."""
    of_label = np.where(y[:, None] == model.classes_, model.predict_proba(X), 0).sum(axis=1)
    return -np.log(np.clip(of_label, 1e-15, 1))


def run(table, seed, width, teacher, n_trees, max_rows):
    """Fit all candidates on one split, and return their losses and the one that was chosen."""
    if isinstance(table, int):
        X, y, X_test, y_test = load(table, seed)
    else:
        data = load_encoded(table, seed, max_rows=max_rows)
        X, y, X_test, y_test = data.X_train, data.y_train, data.X_test, data.y_test
    student = TwoLayerPGDClassifier(width, random_state=seed)
    auto = DistilledClassifier(make_teacher(teacher, n_trees, seed), student, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        auto.fit(X, y)
        if auto.candidates_ is None:
            return {"names": [], "losses": [], "chosen": 0, "gap": 0.0, "error": 0.0}
        chosen = int(np.flatnonzero(auto.candidates_["chosen"])[0])
        losses = []
        for number in range(len(auto.candidates_["chosen"])):
            model = auto if number == chosen else candidate(auto, number).fit(X, y)
            losses.append(row_losses(model, X_test, y_test))
    means = np.mean(losses, axis=1)
    gap = losses[chosen] - losses[int(means.argmin())]
    shown = ("label_source", "alpha", "temperature", "n_augmented")
    columns = [auto.candidates_[name] for name in shown]
    return {
        "names": [" ".join(str(value) for value in row) for row in zip(*columns, strict=True)],
        "losses": means.tolist(),
        "chosen": chosen,
        "gap": float(gap.mean()),
        "error": float(gap.std(ddof=1) / np.sqrt(len(gap))),
    }


def summary(rows):
    """Return one line for each table, and on how many the choice agrees."""
    header = ["table", "chosen", "best", "above the best", "standard error", "agrees"]
    lines = []
    for table in dict.fromkeys(row["table"] for row in rows):
        mine = [row for row in rows if row["table"] == table and row["names"]]
        if not mine:
            continue
        gap, error = (np.mean([row[name] for row in mine]) for name in ("gap", "error"))
        chosen = [row["names"][row["chosen"]] for row in mine]
        best = [row["names"][int(np.argmin(row["losses"]))] for row in mine]
        line = [table, ", ".join(chosen), ", ".join(best), f"{gap:.4f}", f"{error:.4f}"]
        lines.append([*line, "yes" if gap <= error else "no"])
    agrees = sum(line[-1] == "yes" for line in lines)
    return f"{markdown(header, lines)}\n\nThe choice agrees on {agrees} of {len(lines)} tables."


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="*", default=CLASSIFICATION, metavar="NAME")
    parser.add_argument("--made", nargs="*", type=int, default=[], help="rows of made tables")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--teacher", default="forest", help="forest, boosting or kernel")
    parser.add_argument("--trees", type=int, default=200, help="of the forest")
    parser.add_argument("--seeds", type=int, default=2, help="splits, and seeds of the fits")
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--max-rows", type=int, default=2000, help="training rows to keep")
    parser.add_argument("--json", metavar="FILE", help="finished fits, to go on from")
    args = parser.parse_args()
    fixed = {"width": args.width, "teacher": args.teacher, "n_trees": args.trees}
    cells = [
        {"table": table, "seed": seed, **fixed, "max_rows": args.max_rows}
        for seed in range(args.seeds)
        for table in [*args.tables, *args.made]
    ]
    rows = run_cells(cells, run, jobs=args.jobs, path=args.json)
    print(environment(f"one thread a fit, {args.jobs} at a time"))
    print(
        f"Width {args.width}, teacher {args.teacher}, at most {args.max_rows:,} training rows, "
        f"seeds 0 to {args.seeds - 1}; {len(rows)} of {len(cells)} runs.\n"
    )
    print(summary(rows))
    if len(rows) < len(cells):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

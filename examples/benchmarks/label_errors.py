"""Compare SelfDistillClassifier with cleanlab and a ranking by the loss in finding wrong labels.

    pip install cleanlab  # the other method; without it: --peers none
    SKLEARN_KD_DATA=... python examples/benchmarks/label_errors.py --json label_errors.jsonl

In an exact share ``--rates`` of the rows, the label is replaced by that of another class: by any,
where each is equally likely ("symmetric"), by the next one ("pair"), or by the one that the row
resembles most, near the class boundaries ("feature-dependent"). Every method gets the same rows,
labels and seed and the same network, ``TwoLayerPGDClassifier(width)``, and ranks the rows by how
suspicious their labels are:

- self-distilled: ``label_quality_`` of a fitted ``SelfDistillClassifier`` with its defaults. The
  network has early stopping, and its targets are made by others that have not seen the labels.
- self-distilled, cross-validated: its ``find_label_errors(X, y)``, which fits five copies with
  ``schedule="chance-corrected"``, each without one of five folds.
- self-distilled, no early stopping: one network, which corrects its labels in every step, and the
  mean probability of the given label over the epochs.
- loss: the loss of the given label under the network that was fitted on it, with and without early
  stopping. It is computed from the logits, so that memorized labels do not tie.
- cleanlab: ``label_quality`` of ``CleanLearning(network, cv_n_folds=5).find_label_issues(X, y)``.

A seed determines the rows, the noise, the initialization of the network and the order of its rows.
Features are encoded as in the other benchmarks, in float32, and the rows are training rows of their
splits. The labels of the tables count as true before noise is added, although they may contain
errors of their own.

Average precision and the area under the ROC curve are for the event that a label is wrong. "top" is
the share of wrong labels among as many of the most suspicious rows as there are wrong labels. By
chance, average precision and top equal the noise rate, and the area is 0.5. Times are those of fit
and ranking, on one thread. Finished cells are appended to the file of ``--json`` and not repeated,
so that the script can be interrupted and restarted. Delete the file when the package has changed.
The script prints Markdown.
"""

import argparse
import time
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
import pandas as pd
from _runs import environment, markdown, run_cells
from _tables import load_encoded, verdict_below
from scipy.special import logsumexp
from sklearn.metrics import average_precision_score, roc_auc_score

from sklearn_kd import SelfDistillClassifier, TwoLayerPGDClassifier
from sklearn_kd.datasets import add_label_noise, fetch_mnist

TABLES = (
    "segment",
    "splice",
    "spambase",
    "waveform5000",
    "phoneme",
    "satimage",
    "pendigits",
    "magic_telescope",
    "letter",
    "adult",
)
MNIST = "mnist"
KINDS = ("symmetric", "pair", "feature-dependent")

METHODS = {
    "self": "self-distilled",
    "self_cv": "self-distilled, cross-validated",
    "self_long": "self-distilled, no early stopping",
    "loss": "loss",
    "loss_long": "loss, no early stopping",
    "cleanlab": "cleanlab",
}
PEER = "cleanlab"
SCORES = {"ap": "average precision", "auc": "area under the curve", "top": "top"}
#: Smallest relevant difference in average precision or area, in addition to two standard errors.
RELEVANT_DIFFERENCE = 0.005


def load(table, seed, n_rows):
    """Return rows in float32 and true labels 0, 1, ..., which cleanlab requires."""
    if table == MNIST:
        images = fetch_mnist()
        rows = np.random.RandomState(seed).permutation(len(images.X_train))[:n_rows]
        return images.X_train[rows], images.y_train[rows]
    data = load_encoded(table, seed, dtype=np.float32, max_rows=n_rows)
    return data.X_train, np.unique(data.y_train, return_inverse=True)[1]


def loss_of(model, X, y):
    """Return the cross-entropy of the given labels by a fitted network, accurate where it is tiny.

    ``-log(predict_proba)`` is zero for every row whose probability is rounded to one, which are
    most rows of a network that has memorized its labels.
    """
    logits = model.decision_function(X).astype(np.float64)
    if logits.ndim == 1:
        logits = np.column_stack([np.zeros_like(logits), logits])
    codes = np.searchsorted(model.classes_, y)[:, None]
    given = np.take_along_axis(logits, codes, axis=1)[:, 0]
    np.put_along_axis(logits, codes, -np.inf, axis=1)
    return np.logaddexp(0, logsumexp(logits, axis=1) - given)


def suspicion(method, X, y, *, width, seed):
    """Return how suspicious each label is by one method, where higher is more suspicious."""
    network = TwoLayerPGDClassifier(
        width,
        early_stopping=not method.endswith("_long"),
        random_state=seed,
        device="cpu",  # times are of one thread
    )
    if method == PEER:
        from cleanlab.classification import CleanLearning

        # the CPU time would not include its pool of processes
        finder = CleanLearning(
            network, seed=seed, cv_n_folds=5, find_label_issues_kwargs={"n_jobs": 1}
        )
        return -finder.find_label_issues(X, y)["label_quality"].to_numpy()
    if method.startswith("loss"):
        return loss_of(network.fit(X, y), X, y)
    model = SelfDistillClassifier(network, random_state=seed)
    if method != "self_cv":
        return -model.fit(X, y).label_quality_
    ranked = model.find_label_errors(X, y)
    scores = np.empty(len(y))
    scores[ranked["row"]] = -ranked["label_quality"]
    return scores


def run(table, kind, rate, seed, method, width, n_rows):
    """Rank the rows of one noisy table by one method, and score the ranking."""
    X, y = load(table, seed, n_rows)
    rows = {"X": X} if kind == "feature-dependent" else {}
    noisy = add_label_noise(y, rate, kind=kind, random_state=seed, **rows)
    global_state = np.random.get_state()  # cleanlab sets its seed
    if method == PEER:
        import cleanlab.classification  # noqa: F401  # not part of its time
    cpu, wall = time.process_time(), time.perf_counter()
    scores = suspicion(method, X, noisy.y, width=width, seed=seed)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    np.random.set_state(global_state)

    worst = np.argsort(-scores, kind="stable")[: noisy.is_wrong.sum()]
    return {
        "n_used": len(y),
        "n_features": X.shape[1],
        "n_classes": len(noisy.classes),
        "ap": float(average_precision_score(noisy.is_wrong, scores)),
        "auc": float(roc_auc_score(noisy.is_wrong, scores)),
        "top": float(noisy.is_wrong[worst].mean()),
        "wall": wall,
        "cpu": cpu,
    }


def comparable(results, methods):
    """Return results of the noisy tables that every method has, as a DataFrame."""
    frame = pd.DataFrame(results)
    n_methods = frame.groupby(["table", "kind", "rate", "seed"]).method.transform("nunique")
    return frame[n_methods == len(methods)]


def against_peer(frame, method, score):
    """Return the number of tables where a method is better, and the clearly worse ones."""
    pivot = frame.pivot(index=["table", "seed"], columns="method", values=score)
    by_table = pivot.groupby("table")
    above = int((by_table[method].mean() > by_table[PEER].mean()).sum())
    seeds = by_table.size()
    if seeds.min() < 2:
        return f"{above} of {len(seeds)}", "needs two seeds"
    below = [
        name
        for name, mine in by_table
        if verdict_below(mine[method], mine[PEER], RELEVANT_DIFFERENCE)
    ]
    return f"{above} of {len(seeds)}", ", ".join(below) or "none"


def summary(frame, methods):
    """Return a Markdown table: one line per method, means over tables of the mean over seeds."""
    means = frame.groupby(["method", "table"])[[*SCORES, "wall", "cpu"]].mean()
    means = means.groupby("method").mean()
    has_peer = PEER in methods
    header = ["method", *SCORES.values(), "wall s", "CPU s"]
    if has_peer:
        header += [f"wall / {PEER}'s", f"AP above {PEER}'s", "AUC above", "AP clearly below"]
    lines = []
    for method in methods:
        mine = means.loc[method]
        line = [METHODS[method], *(f"{mine[score]:.4f}" for score in SCORES)]
        line += [f"{mine.wall:.1f}", f"{mine.cpu:.1f}"]
        if has_peer:
            line.append(f"{mine.wall / means.loc[PEER].wall:.2f}")
            if method == PEER:
                line += ["-"] * 3
            else:
                above, below = against_peer(frame, method, "ap")
                line += [above, against_peer(frame, method, "auc")[0], below]
        lines.append(line)
    return markdown(header, lines)


def per_table(frame, methods):
    """Return a Markdown table: one line per table and method, with the deviation over seeds."""
    header = ["table", "rows", "inputs", "classes", "seeds", "method", *SCORES.values(), "wall s"]
    lines = []
    for table, of_table in frame.groupby("table", sort=False):
        for method in methods:
            mine = of_table[of_table.method == method]
            first = mine.iloc[0]
            line = [table, first.n_used, first.n_features, first.n_classes, len(mine)]
            line.append(METHODS[method])
            for score in SCORES:
                spread = f" ± {mine[score].std():.4f}" if len(mine) > 1 else ""
                line.append(f"{mine[score].mean():.4f}{spread}")
            lines.append([*line, f"{mine.wall.mean():.1f}"])
    return markdown(header, lines)


def report(frame, methods):
    """Print the tables of every kind and rate of noise, with a separate summary for MNIST."""
    for (kind, rate), mine in frame.groupby(["kind", "rate"], sort=False):
        images = mine.table == MNIST
        for title, part in {"tables": mine[~images], "MNIST": mine[images]}.items():
            if len(part):
                count = f"{part.table.nunique()} {title}" if title == "tables" else title
                print(f"\n#### {rate:.0%} of the labels wrong, {kind}: {count}\n")
                print(summary(part, methods))
        print(f"\n##### {rate:.0%}, {kind}, table by table\n")
        print(per_table(mine, methods))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", default=[*TABLES, MNIST], metavar="NAME")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--rates", type=float, nargs="+", default=[0.1, 0.2, 0.4])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--peers", choices=[PEER, "none"], default=PEER)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--max-rows", type=int, default=3000, help="of a table")
    parser.add_argument("--mnist-rows", type=int, default=10000)
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--json", metavar="FILE", help="finished cells, to go on from")
    parser.add_argument("--out", metavar="FILE", help="CSV of all cells")
    args = parser.parse_args()
    methods = [m for m in METHODS if m in args.methods and not (m == PEER and args.peers == "none")]
    if PEER in methods and find_spec(PEER) is None:
        raise SystemExit(
            "cleanlab, which this benchmark compares with, is not installed: run `pip install "
            "cleanlab`, or go without it by `--peers none`."
        )
    cells = [
        {
            "table": table,
            "kind": kind,
            "rate": rate,
            "seed": seed,
            "method": method,
            "width": args.width,
            "n_rows": args.mnist_rows if table == MNIST else args.max_rows,
        }
        for kind in args.kinds
        for rate in args.rates
        for seed in range(args.seeds)
        for table in args.tables
        for method in methods
    ]
    results = run_cells(cells, run, jobs=args.jobs, path=args.json)
    print(environment(f"one thread a cell, {args.jobs} at a time"))
    peer = f", cleanlab {version(PEER)}" if PEER in methods else ""
    print(
        f"At most {args.max_rows:,} rows of a table and {args.mnist_rows:,} of MNIST, float32, "
        f"width {args.width}, {args.seeds} seed(s){peer}. {len(results)} of {len(cells)} cells."
    )
    print("Summaries: mean over tables of the mean over seeds, of what all methods have finished.")
    print("AP clearly below: by more than two standard errors of the paired difference plus 0.005.")
    if results:
        frame = comparable(results, methods)
        if args.out is not None:
            frame.to_csv(args.out, index=False)
        report(frame, methods)
    if len(results) < len(cells):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

"""Compare classifiers behind a TableEncoder with the same ones behind a ColumnTransformer.

    SKLEARN_KD_DATA=... python examples/benchmarks/table_encodings.py --json runs.jsonl
    SKLEARN_KD_DATA=... python examples/benchmarks/table_encodings.py --taught --json runs.jsonl

All models are fitted to raw frames. In front of them is either what standardizes numbers and
encodes text (`make_encoder`, "standard"), the same with a robust scale and a smooth clip in place
of standardizing ("robust"), or a `TableEncoder` ("encoder"), which networks have inside. "linear"
is ``TableEncoder(n_bins=1)``, and "scaled" standardizes what the encoder returns. Models learn hard
labels with their defaults. With ``--taught`` they are students of a forest. ``--held-out`` scores
training rows that are held out in place of test rows, for choices. Finished fits are appended to
the file of ``--json`` and not repeated. The script uses one thread a fit and prints Markdown.
"""

import argparse

import numpy as np
from _runs import (
    below_text,
    compare,
    environment,
    markdown,
    run_cells,
    scores_of,
    timed_fit,
)
from _scores import scores
from _tables import (
    CLASSIFICATION,
    Split,
    duplicate_groups,
    load_split,
    make_encoder,
    split_rows,
)
from _teachers import make_teacher
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.validation import validate_data

from sklearn_kd import DistilledClassifier, KernelTeacher, TableEncoder, TwoLayerPGDClassifier

FRONTS = ("standard", "robust", "linear", "scaled", "encoder")
MODELS = ("network 16", "network 64", "kernel", "MLPClassifier 64", "LogisticRegression", "tree")
MODELS += ("forest", "boosting")
#: Rows that are scored with ``--held-out``, at most.
MAX_HELD_OUT_ROWS = 4000


class SmoothClip(TransformerMixin, BaseEstimator):
    """Subtract the median, divide by the interquartile range, and clip smoothly to (-3, 3).

    A column of no interquartile range is divided by half of its range. As in Holzmueller et al.
    (2024), Better by default, appendix B.2.
    """

    def fit(self, X, y=None):
        """Find medians and scales of the columns."""
        X = validate_data(self, X)
        low, self.median_, high = np.percentile(X, [25, 50, 75], axis=0)
        scale = np.where(high > low, high - low, np.ptp(X, axis=0) / 2)
        self.scale_ = np.where(scale > 0, scale, 1.0)
        return self

    def transform(self, X):
        """Scale and clip rows."""
        z = (validate_data(self, X, reset=False) - self.median_) / self.scale_
        return z / np.sqrt(1 + (z / 3) ** 2)


def make_front(name, X):
    """Return an unfitted transformer of raw frames."""
    if name == "encoder":
        return TableEncoder()
    if name == "linear":
        return TableEncoder(n_bins=1)
    if name == "scaled":
        return make_pipeline(TableEncoder(), StandardScaler())
    front = make_encoder(X)
    if name == "robust" and front.transformers[0][0] == "numeric":
        imputer = front.transformers[0][1].steps[0][1]
        numbers = ("numeric", make_pipeline(imputer, SmoothClip()), front.transformers[0][2])
        front.transformers = [numbers, *front.transformers[1:]]
    return front


def make_model(name, front, X, seed):
    """Return an unfitted model of raw frames."""
    kind, _, size = name.partition(" ")
    encoder = "auto" if front == "encoder" else None
    if kind in ("network", "kernel"):
        if kind == "network":
            model = TwoLayerPGDClassifier(int(size), encoder=encoder, random_state=seed)
        else:
            model = KernelTeacher(encoder=encoder, random_state=seed)
        return model if front == "encoder" else make_pipeline(make_front(front, X), model)
    model = {
        "MLPClassifier": lambda: MLPClassifier((int(size),), random_state=seed),
        "LogisticRegression": lambda: LogisticRegression(max_iter=1000),
        "tree": lambda: DecisionTreeClassifier(max_depth=6, random_state=seed),
        "forest": lambda: RandomForestClassifier(200, n_jobs=1, random_state=seed),
        "boosting": lambda: HistGradientBoostingClassifier(random_state=seed),
    }[kind]()
    return make_pipeline(make_front(front, X), model)


def hold_out(table, seed, max_rows):
    """Return a split of the training rows of a table, of which ``max_rows`` are for training."""
    data = load_split(table, seed)
    X, y = data.X_train, data.y_train
    codes = np.unique(y, return_inverse=True)[1]
    rng = np.random.default_rng(seed)
    is_held_out = split_rows(duplicate_groups(X), codes, test_size=0.25, rng=rng)
    train = np.flatnonzero(~is_held_out)[:max_rows]
    test = np.flatnonzero(is_held_out & np.isin(y, y[train]))[:MAX_HELD_OUT_ROWS]
    return Split(table, seed, X.iloc[train], X.iloc[test], y[train], y[test])


def run(table, seed, model, front, max_rows, n_trees, held_out=False):
    """Fit and score one model on one split, taught by a forest of ``n_trees`` if there are any."""
    if held_out:
        data = hold_out(table, seed, max_rows)
    else:
        data = load_split(table, seed, max_rows=max_rows)
    estimator = make_model(model, front, data.X_train, seed)
    if n_trees:
        teacher = make_teacher("forest", n_trees, seed, "raw")
        estimator = DistilledClassifier(teacher, estimator, random_state=seed)
    seconds = timed_fit(estimator, data.X_train, data.y_train)
    if n_trees:
        estimator = estimator.without_teacher()
    scored = scores(estimator, data.X_test, data.y_test)
    return {"n_train": len(data.y_train), "fit_seconds": seconds, **scored}


def merged(results):
    """Return one row for each split, with a dict of scores for each (model, front)."""
    rows = {}
    for result in results:
        key = result["table"], result["seed"]
        row = rows.setdefault(key, {"table": result["table"], "seed": result["seed"]})
        row[result["model"], result["front"]] = result
    return list(rows.values())


def line(rows, ours, theirs):
    """Return one line that compares two (model, front)."""
    rows = [row for row in rows if ours in row and theirs in row]
    if not rows:
        return None
    total = compare(rows, ours, theirs)
    accuracy, log_loss, seconds = (total[s] for s in ("accuracy", "log_loss", "fit_seconds"))
    return [
        ", ".join(ours),
        ", ".join(theirs),
        total["n_tables"],
        f"{accuracy[1]:.4f} -> {accuracy[0]:.4f}",
        total["wins"],
        total["losses"],
        below_text(total["below"]),
        total["better_log_loss"],
        f"{log_loss[1]:.4f} -> {log_loss[0]:.4f}",
        f"{seconds[1]:.0f} -> {seconds[0]:.0f}",
    ]


HEADER = ["model", "against", "tables", "accuracy", "wins", "losses", "clearly below"]
HEADER += ["log loss better", "log loss", "fit s, all"]


def per_table(rows, methods):
    """Return one line for each table: accuracy and log loss of each (model, front)."""
    header = ["table", *(f"{s}, {', '.join(m)}" for s in ("accuracy", "log loss") for m in methods)]
    lines = []
    for table in dict.fromkeys(row["table"] for row in rows):
        cells = [table]
        for score in ("accuracy", "log_loss"):
            cells += [f"{scores_of(rows, table, m, score).mean():.4f}" for m in methods]
        lines.append(cells)
    return markdown(header, lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="NAME")
    parser.add_argument("--fronts", nargs="+", default=["standard", "encoder"], choices=FRONTS)
    parser.add_argument("--taught", action="store_true", help="by a forest")
    parser.add_argument("--trees", type=int, default=200, help="of the teacher")
    parser.add_argument("--held-out", action="store_true", help="score training rows held out")
    parser.add_argument("--seeds", type=int, default=5, help="splits, and seeds of the fits")
    parser.add_argument("--tables", nargs="+", default=CLASSIFICATION, metavar="NAME")
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--max-rows", type=int, default=2000, help="training rows to keep")
    parser.add_argument("--json", metavar="FILE", help="finished fits, to go on from")
    parser.add_argument("--details", action="store_true", help="a line for each table too")
    args = parser.parse_args()
    fixed = {"max_rows": args.max_rows, "n_trees": args.trees if args.taught else 0}
    fixed |= {"held_out": True} if args.held_out else {}
    cells = [
        {"table": table, "seed": seed, "model": model, "front": front, **fixed}
        for seed in range(args.seeds)
        for table in args.tables
        for model in args.models
        for front in args.fronts
    ]
    results = run_cells(cells, run, jobs=args.jobs, path=args.json)
    rows = merged(results)
    methods = [(model, front) for model in args.models for front in args.fronts]
    print(environment(f"one thread a fit, {args.jobs} at a time"))
    print(
        f"{f'Taught by {args.trees} trees' if args.taught else 'Hard labels'}, at most "
        f"{args.max_rows:,} training rows{', scored on others held out' * args.held_out}, seeds 0 "
        f"to {args.seeds - 1}; "
        f"{len(results)} of {len(cells)} runs.\n"
    )
    first, last = args.fronts[0], args.fronts[-1]
    pairs = [((m, front), (m, first)) for m in args.models for front in args.fronts[1:]]
    rivals = [m for m in args.models if m.split()[0] in ("MLPClassifier", "LogisticRegression")]
    networks = [m for m in args.models if m.startswith("network")]
    pairs += [
        ((m, last), (rival, front)) for m in networks for rival in rivals for front in args.fronts
    ]
    lines = [line(rows, *pair) for pair in pairs]
    print(markdown(HEADER, [each for each in lines if each]))
    complete = [row for row in rows if all(method in row for method in methods)]
    if args.details and complete:
        print(f"\n{per_table(complete, methods)}")
    if len(results) < len(cells):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

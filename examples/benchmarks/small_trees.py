"""Compare a distilled network with boosted trees of few bytes, on hard labels and taught.

    SKLEARN_KD_DATA=... python examples/benchmarks/small_trees.py --json runs.jsonl

The network is what ``DistilledClassifier(forest, TwoLayerPGDClassifier(width))`` makes of a raw
frame. Rivals are a LightGBM of 20 trees of 8 leaves, with its learning rate of .1 or with one that
is chosen, and a HistGradientBoosting of trees of 8 leaves with the bytes of the network, of which
learning rate and number of trees are chosen. Both choices are by the log loss on a fifth of the
training rows. Each rival learns hard labels, and those of the forest by row expansion. The network
under that LightGBM and ``student="auto"`` are compared, too. All get frames in which text columns
are categories. Without lightgbm its lines are left out. Finished splits are appended to the file of
``--json`` and not repeated. The script uses one thread a fit and prints Markdown.
"""

import argparse

import numpy as np
from _runs import below_text, compare, environment, level, markdown, run_cells, timed_fit
from _scores import needed_bytes, scores
from _tables import CLASSIFICATION, load_split
from _teachers import categorical, make_teacher
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier

try:
    from lightgbm import LGBMClassifier
except ImportError:
    LGBMClassifier = None

N_LEAVES = 8
LEARNING_RATES = (0.1, 0.3)
MOST_TREES = 300
NETWORK, AUTO = "network", '"auto"'


def split_of(y, seed):
    """Return positions of training and held-out rows, where each class has training rows."""
    train, held_out = train_test_split(np.arange(len(y)), test_size=0.2, random_state=seed)
    lost = ~np.isin(y[held_out], y[train])
    return np.append(train, held_out[lost]), held_out[~lost]


def small_lightgbm(seed, **params):
    """Return an unfitted LightGBM of 20 trees of 8 leaves."""
    return LGBMClassifier(
        n_estimators=20, num_leaves=N_LEAVES, n_jobs=1, random_state=seed, verbosity=-1, **params
    )


def held_out_loss(model, X, y):
    """Return the log loss of a fitted model."""
    return log_loss(y, model.predict_proba(X), labels=model.classes_)


def tuned_lightgbm(X, y, seed):
    """Return an unfitted LightGBM with the learning rate of the least held-out loss."""
    train, held_out = split_of(y, seed)
    fits = [
        small_lightgbm(seed, learning_rate=rate).fit(X.iloc[train], y[train])
        for rate in LEARNING_RATES
    ]
    losses = [held_out_loss(fit, X.iloc[held_out], y[held_out]) for fit in fits]
    return clone(fits[int(np.argmin(losses))])


def small_boosting(X, y, n_bytes, seed):
    """Return an unfitted HistGradientBoosting of so many bytes, of the least held-out loss."""
    train, held_out = split_of(y, seed)
    best = (np.inf, None)
    for rate in LEARNING_RATES:
        model = HistGradientBoostingClassifier(
            learning_rate=rate,
            max_iter=MOST_TREES,
            max_leaf_nodes=N_LEAVES,
            early_stopping=False,
            random_state=seed,
        )
        least = needed_bytes(clone(model).set_params(max_iter=1).fit(X, y))  # of one iteration
        model.set_params(max_iter=int(np.clip(n_bytes // least, 1, MOST_TREES)))
        fit = clone(model).fit(X.iloc[train], y[train])
        for n_iter, proba in enumerate(fit.staged_predict_proba(X.iloc[held_out]), start=1):
            loss = log_loss(y[held_out], proba, labels=fit.classes_)
            if loss < best[0]:
                best = loss, clone(model).set_params(max_iter=n_iter)
    return best[1]


def readable(X_train, X_test):
    """Return frames as the libraries of trees take them, which all models get.

    Those take no columns without a number, at most 255 levels, of which the most frequent ones are
    kept, and no names with special characters.
    """
    X_train = X_train.loc[:, X_train.notna().any()]
    frames = [X[X_train.columns] for X in (X_train, X_test)]
    for column in X_train.select_dtypes(exclude="number"):
        frequent = X_train[column].value_counts().index[:254]
        frames = [
            X.assign(
                **{column: X[column].where(X[column].isin(frequent) | X[column].isna(), "other")}
            )
            for X in frames
        ]
    names = [f"x{j}" for j in range(X_train.shape[1])]
    return categorical(*(X.set_axis(names, axis=1) for X in frames))


def run(table, seed, width, n_trees, max_rows):
    """Fit and score all models on one split."""
    data = load_split(table, seed, max_rows=max_rows)
    X, X_test = readable(data.X_train, data.X_test)
    y = data.y_train
    forest = make_teacher("forest", n_trees, seed, "raw")

    def taught(student, teacher=forest):
        return DistilledClassifier(teacher, student, random_state=seed)

    network = TwoLayerPGDClassifier(width, random_state=seed)
    models = {NETWORK: taught(network), AUTO: taught("auto")}
    result = {"n_train": len(y), "n_features": X.shape[1]}

    def score(name, model):
        seconds = timed_fit(model, X, y)
        scored = model.without_teacher() if isinstance(model, DistilledClassifier) else model
        result[name] = {"fit_seconds": seconds, **scores(scored, X_test, data.y_test)}
        if name == AUTO:
            result[name]["student"] = type(model.student_).__name__

    for name, model in models.items():
        score(name, model)
    rivals = {"boosting": small_boosting(X, y, result[NETWORK]["bytes"], seed)}
    if LGBMClassifier is not None:
        rivals["LightGBM"] = small_lightgbm(seed)
        rivals["LightGBM, tuned"] = tuned_lightgbm(X, y, seed)
        score(f"{NETWORK} under LightGBM", taught(network, rivals["LightGBM"]))
    for name, model in rivals.items():
        score(name, clone(model))
        score(f"{name}, taught", taught(model))
    return result


def summary(rows):
    """Return one line for each model beside the network."""
    names = [name for name in rows[0] if isinstance(rows[0][name], dict)]
    header = ["model", "accuracy", "log loss", "bytes, median", "us a row, median", "tables"]
    header += ["network better in log loss", "or within one standard error"]
    header += ["network's accuracy above, points", "network clearly below", "it has fewer bytes on"]
    lines = []
    for name in names:
        mean = {
            score: np.array(
                [
                    np.mean([row[name][score] for row in rows if row["table"] == table])
                    for table in dict.fromkeys(row["table"] for row in rows)
                ]
            )
            for score in ("accuracy", "log_loss", "bytes", "latency_ms")
        }
        line = [name, f"{mean['accuracy'].mean():.4f}", f"{mean['log_loss'].mean():.4f}"]
        line.append(f"{np.median(mean['bytes']):,.0f}")
        line.append(f"{1000 * np.median(mean['latency_ms']):,.0f}")
        if name == NETWORK:
            lines.append([*line, len(mean["bytes"]), *["-"] * 5])
            continue
        total = compare(rows, NETWORK, name)
        gain = total["accuracy"][0] - total["accuracy"][1]
        line += [total["n_tables"], total["better_log_loss"], level(rows, NETWORK, [name])]
        line += [f"{100 * gain:+.2f}", below_text(total["below"])]
        fewer = [row[NETWORK]["bytes"] <= row[name]["bytes"] for row in rows]
        lines.append([*line, f"{np.mean(fewer):.0%} of fits"])
    return markdown(header, lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--trees", type=int, default=200, help="of the teacher")
    parser.add_argument("--seeds", type=int, default=5, help="splits, and seeds of the fits")
    parser.add_argument("--tables", nargs="+", default=CLASSIFICATION, metavar="NAME")
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--max-rows", type=int, default=2000, help="training rows to keep")
    parser.add_argument("--json", metavar="FILE", help="finished fits, to go on from")
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
        print(summary(rows))
        others = [NETWORK, "boosting", "boosting, taught"]
        n_tables = len({row["table"] for row in rows})
        kinds = [row[AUTO]["student"] for row in rows]
        chosen = ", ".join(f"{kind} {kinds.count(kind)}" for kind in dict.fromkeys(kinds))
        print(
            f"\n{AUTO} is level with the best of network and boosting on "
            f"{level(rows, AUTO, others)} of {n_tables} tables; it chose {chosen}."
        )
    if len(rows) < len(cells):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

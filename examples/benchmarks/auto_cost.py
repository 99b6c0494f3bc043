"""Measure the cost of "auto" relative to one fit of the student on the same rows (goal: at most 3).

    SKLEARN_KD_DATA=... python examples/benchmarks/auto_cost.py --json runs.jsonl

A `DistilledClassifier` with its defaults compares settings on held-out rows and then fits the
student with the best of them. Its time is compared with that of a `DistilledClassifier` with these
settings as numbers, which makes the same rows and fits the same student. If it chose hard labels,
its time is compared with that of the student alone. The time in ``fit`` and ``predict_proba`` of
the teacher is not counted on either side. Both are timed one after the other, ``--repeats`` times,
and the shortest time of each is used. The script uses one thread, and nothing else should run
beside it. Finished cells are appended to the file of ``--json`` and not repeated. Prints Markdown.
"""

import argparse
import time
import warnings

import joblib
import numpy as np
from _runs import environment, markdown, run_cells
from _tables import CLASSIFICATION, load_encoded
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
from sklearn_kd.exceptions import InSampleLabelsWarning, NoGainWarning

STUDENTS = ("8", "16", "64", "tree")
PROMISED = 3.0


class RememberingForest(RandomForestClassifier):
    """Forest that fits and predicts once for the same rows, and whose time can be subtracted."""

    fits, answers = {}, {}
    seconds = 0.0

    @classmethod
    def reset(cls):
        """Forget all fits and predictions."""
        cls.fits, cls.answers, cls.seconds = {}, {}, 0.0

    def fit(self, X, y, sample_weight=None):
        """Fit, or reuse the fit of an equal forest on equal rows."""
        cls, start = type(self), time.perf_counter()
        key = joblib.hash((self.get_params(), X, y, sample_weight))
        if key not in cls.fits:
            super().fit(X, y, sample_weight)
            cls.fits[key] = {**vars(self), "key_": key}
        vars(self).update(cls.fits[key])
        cls.seconds += time.perf_counter() - start
        return self

    def predict_proba(self, X):
        """Predict, or return the earlier predictions for equal rows."""
        cls, start = type(self), time.perf_counter()
        key = joblib.hash((self.key_, X))
        if key not in cls.answers:
            cls.answers[key] = super().predict_proba(X)
        proba = cls.answers[key].copy()
        cls.seconds += time.perf_counter() - start
        return proba


def make_student(name, seed):
    """Return an unfitted student by name, where a number is the width of a network."""
    if name == "tree":
        return DecisionTreeClassifier(max_depth=6, random_state=seed)
    return TwoLayerPGDClassifier(int(name), random_state=seed)


def own_seconds(model, X, y):
    """Fit a clone and return it with the seconds that it took, without those of the teacher."""
    model, taught = clone(model), RememberingForest.seconds
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoGainWarning)
        warnings.simplefilter("ignore", InSampleLabelsWarning)
        model.fit(X, y)
    return model, time.perf_counter() - start - (RememberingForest.seconds - taught)


def told(auto, automatic, student):
    """Return an unfitted model with the settings of a fitted automatic one as numbers."""
    if automatic.label_source_ == "hard":
        return student
    chosen = automatic.candidates_
    n_augmented = 0 if chosen is None else int(chosen["n_augmented"][chosen["chosen"]][0])
    return clone(auto).set_params(
        alpha=automatic.alpha_,
        temperature=automatic.temperature_,
        augmentation="gibbs" if n_augmented else None,
        n_augmented=n_augmented or "auto",
        cv="in-sample" if automatic.label_source_ == "in-sample" else "auto",
    )


def run(table, seed, student, n_trees, max_rows, repeats):
    """Time both ways of fitting a student on one split, one after the other."""
    data = load_encoded(table, seed, max_rows=max_rows)
    X, y = data.X_train, data.y_train
    RememberingForest.reset()
    forest = RememberingForest(n_trees, n_jobs=1, random_state=seed)
    network = make_student(student, seed)
    auto = DistilledClassifier(forest, network, random_state=seed)
    seconds = {"auto": [], "told": []}
    for _ in range(repeats):
        automatic, spent = own_seconds(auto, X, y)
        seconds["auto"].append(spent)
        same, spent = own_seconds(told(auto, automatic, network), X, y)
        seconds["told"].append(spent)
    # transfer rows of in-sample labels are calibrated in one and not in the other
    gap = np.abs(automatic.predict_proba(data.X_test) - same.predict_proba(data.X_test)).max()
    source = automatic.label_source_
    return {
        "n_train": len(y),
        "n_features": X.shape[1],
        "auto": min(seconds["auto"]),
        "told": min(seconds["told"]),
        "chosen": [source, automatic.alpha_, automatic.temperature_, automatic.n_augmented_],
        "gap": float(gap),
    }


def ratios(rows):
    """Return the time of "auto" divided by that of a fit with the settings that it found."""
    return np.array([row["auto"] / row["told"] for row in rows])


def summary(rows, students):
    """Return one line for each student, and one for all."""
    header = ["student", "fits", "seconds, told", "seconds, auto", "ratio, median", "largest"]
    header += ["where", f"share above {PROMISED:g}", "ended at hard labels"]
    lines = []
    for name in (*students, "all"):
        mine = [row for row in rows if name in ("all", row["student"])]
        if not mine:
            continue
        ratio, worst = ratios(mine), mine[int(ratios(mine).argmax())]
        line = [name, len(mine)]
        line += [f"{np.median([row[way] for row in mine]):.2f}" for way in ("told", "auto")]
        line += [f"{np.median(ratio):.2f}", f"{ratio.max():.2f}"]
        line += [f"{worst['table']}, seed {worst['seed']}", f"{(ratio > PROMISED).mean():.0%}"]
        line += [sum(row["chosen"][0] == "hard" for row in mine)]
        lines.append(line)
    return markdown(header, lines)


def details(rows):
    """Return one line for each fit."""
    header = ["table", "rows", "inputs", "seed", "student", "seconds, told", "seconds, auto"]
    header += ["ratio", "labels, alpha, T, transfer rows", "largest gap between the two"]
    lines = []
    for row in rows:
        source, alpha, temperature, n_augmented = row["chosen"]
        line = [row[name] for name in ("table", "n_train", "n_features", "seed", "student")]
        line += [f"{row['told']:.3f}", f"{row['auto']:.3f}", f"{row['auto'] / row['told']:.2f}"]
        line += [f"{source}, {alpha:g}, {temperature:g}, {n_augmented}", f"{row['gap']:.1g}"]
        lines.append(line)
    return markdown(header, lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--students", nargs="+", default=STUDENTS, metavar="WIDTH|tree")
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3, help="splits, and seeds of the fits")
    parser.add_argument("--tables", nargs="+", default=CLASSIFICATION, metavar="NAME")
    parser.add_argument("--jobs", type=int, default=1, help="more than one distorts times")
    parser.add_argument(
        "--max-rows", type=int, default=2000, help="training rows to keep (default: %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="the shortest of them is taken")
    parser.add_argument("--json", metavar="FILE", help="finished fits, to go on from")
    parser.add_argument("--details", action="store_true", help="a line for each fit too")
    args = parser.parse_args()
    fixed = {"n_trees": args.trees, "max_rows": args.max_rows, "repeats": args.repeats}
    cells = [
        {"table": table, "seed": seed, "student": student, **fixed}
        for seed in range(args.seeds)
        for table in args.tables
        for student in args.students
    ]
    rows = run_cells(cells, run, jobs=args.jobs, path=args.json)
    print(environment(f"one thread a fit, {args.jobs} at a time"))
    print(
        f"Teacher: {args.trees} trees, their time left out; at most {args.max_rows:,} training ",
        end="",
    )
    print(f"rows, seeds 0 to {args.seeds - 1}, best of {args.repeats};")
    print(f"{len(rows)} of {len(cells)} runs.\n")
    if rows:
        print(summary(rows, args.students))
    if rows and args.details:
        print(f"\n{details(rows)}")
    if len(rows) < len(cells):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

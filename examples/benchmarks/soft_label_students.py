"""Compare settings of TwoLayerPGDClassifier on the labels of a forest, on held-out training rows.

    SKLEARN_KD_DATA=... python examples/benchmarks/soft_label_students.py --rows gibbs

The training rows of a table are divided again: up to ``--max-rows`` of them (at most 70 %) train a
forest of 200 trees, whose calibrated out-of-bag labels the students learn at alpha .5, and up to
4,000 others score them. The test rows are not read. ``--students`` names settings of `STUDENTS`,
the first of which the others are compared with. The script prints Markdown.
"""

import argparse
import warnings

import numpy as np
from _runs import environment, markdown, test_scores, thread_limit, timed_fit
from _scores import row_times
from _tables import load_split, make_encoder
from sklearn.ensemble import RandomForestClassifier

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
from sklearn_kd._networks.resolve import BATCH_SIZE
from sklearn_kd._networks.training_data import MAX_FULL_BATCH_ROWS
from sklearn_kd._networks.two_layer.fit_plan import SOFT_LABELS

TABLES = ("vehicle", "german_credit", "sick", "phoneme", "satimage", "telco_churn")
TABLES += ("magic_telescope", "bank_marketing", "electricity", "adult")
#: Parameters of a student by name, after its width. "steps" are in multiples of those of "auto".
STUDENTS = {
    "auto": {},
    "early": {"early_stopping": True},
    **{f"{share}x": {"early_stopping": False, "steps": share} for share in (0.5, 2.0, 4.0)},
    **{f"{n}members": {"n_members": n} for n in (2, 4, 8)},
}


class FrameForest(RandomForestClassifier):
    """Forest on the encoded columns of frames."""

    def fit(self, X, y, sample_weight=None):
        """Fit the encoder and the forest."""
        self.encoder_ = make_encoder(X).fit(X)
        return super().fit(self.encoder_.transform(X), y, sample_weight)

    def predict_proba(self, X):
        """Predict frames, and arrays that are encoded already."""
        return super().predict_proba(self.encoder_.transform(X) if hasattr(X, "iloc") else X)


class Recorder(TwoLayerPGDClassifier):
    """Student that keeps what it would be trained on."""

    def fit(self, X, y, sample_weight=None, soft_targets=None):
        """Keep the arguments."""
        self.classes_ = np.unique(y)
        self.given_ = (X, y, sample_weight, soft_targets)
        return self

    def predict_proba(self, X):
        """Return equal probabilities."""
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


def labeled_rows(table, rows, max_rows, seed=0):
    """Return the arguments of a fit of students, and the rows and labels that score them."""
    split = load_split(table, seed)
    X, y = split.X_train.reset_index(drop=True), split.y_train
    n = min(max_rows, int(0.7 * len(X)))
    model = DistilledClassifier(
        FrameForest(200, random_state=seed),
        Recorder(),
        alpha=0.5,
        temperature=1.0,
        augmentation=None if rows == "none" else rows,
        random_state=seed,
    ).fit(X[:n], y[:n])
    known = np.isin(y, model.classes_)
    known[:n] = known[n + 4000 :] = False
    return model.student_.given_, X[known], y[known]


def n_epochs(n_rows):
    """Return the epochs of a default fit on soft labels."""
    batch_size = None if n_rows <= MAX_FULL_BATCH_ROWS else BATCH_SIZE
    return SOFT_LABELS.n_epochs(n_rows, batch_size)


def run(table, rows, students, max_rows):
    """Return the scores of each student on one table."""
    (X, y, weights, soft), X_held, y_held = labeled_rows(table, rows, max_rows)
    results = {}
    for name in students:
        width, setting = name.split("-")
        params = dict(STUDENTS[setting])
        student = TwoLayerPGDClassifier(int(width), alpha=0.5, random_state=0)
        if "steps" in params:
            params["max_iter"] = round(params.pop("steps") * n_epochs(len(X)))
        student.set_params(**params)
        seconds = timed_fit(student, X, y, sample_weight=weights, soft_targets=soft)
        weights_of = (student.hidden_weights_, student.output_weights_)
        results[name] = {
            **test_scores(student, X_held, y_held),
            "seconds": seconds,
            "numbers": sum(w.size for w in weights_of),
            "ms": float(np.median(row_times(student, X_held, 30))) / 1000,
        }
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--students", nargs="+", default=["16-auto", "16-early"], metavar="WIDTH-X")
    parser.add_argument("--rows", default="gibbs", help="none, or a method of transfer rows")
    parser.add_argument("--tables", nargs="+", default=TABLES, metavar="NAME")
    parser.add_argument("--max-rows", type=int, default=2000)
    args = parser.parse_args()
    results = {}
    with thread_limit(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for table in args.tables:
            results[table] = run(table, args.rows, args.students, args.max_rows)
            losses = [f"{each['log_loss']:.4f}" for each in results[table].values()]
            print(table, *losses, flush=True)
    lines, first = [], args.students[0]
    for name in args.students:
        rows = [each[name] for each in results.values()]
        mean = {key: np.mean([row[key] for row in rows]) for key in rows[0]}
        better = sum(each[name]["log_loss"] < each[first]["log_loss"] for each in results.values())
        lines.append([name, f"{mean['log_loss']:.4f}", better, f"{mean['accuracy']:.4f}"])
        lines[-1] += [f"{mean['numbers']:.0f}", f"{mean['ms']:.2f}", f"{mean['seconds']:.1f}"]
    print(environment("one thread"))
    header = ["student", "log loss", f"better than {first}", "accuracy", "weights", "ms a row"]
    print(markdown([*header, "seconds"], lines))


if __name__ == "__main__":
    main()

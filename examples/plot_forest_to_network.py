"""From a forest to a network of 16 neurons, on a table of mixed types
===================================================================

The table is ``adult``, with 14 columns of numbers and text and with missing cells. The task is to
predict who earns more than 50,000 dollars a year. The table is read from ``tabular/adult.csv.gz``
in a folder of ``SKLEARN_KD_DATA``, or fetched from OpenML. If neither is available, it is replaced
by the mixed table that ``quickstart.py`` makes. The first line of the output states which table is
used. Of the 48,842 rows of adult, 4,000 are used for training (``--rows``) and 10,000 for testing,
and the forest has 100 trees (``--trees``), so that the script takes under a minute on two cores.

Teacher and student take the raw DataFrame:

1. the teacher: a pipeline of a `TableEncoder` and a forest;
2. the student on hard labels: a network, which encodes the table itself;
3. the same student in a `DistilledClassifier` with its defaults. The teacher labels the training
   rows and additional rows that are similar to them, and the settings are chosen on held-out rows.

The following command writes the picture. Without a path it is shown in a window::

    SKLEARN_KD_DATA=... python examples/plot_forest_to_network.py forest_to_network.png
"""

import argparse
import os
import pickle
import time
from pathlib import Path

import numpy as np
import pandas as pd
from quickstart import make_table
from sklearn.datasets import fetch_openml
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from sklearn_kd import DistilledClassifier, TableEncoder, TwoLayerPGDClassifier
from sklearn_kd.inspection import DistillationDisplay, FidelityDisplay
from sklearn_kd.metrics import expected_calibration_error

TEACHER, HARD, DISTILLED = "teacher: the forest", "student, hard labels", "student, distilled"


def load_table():
    """Return a raw frame, its labels, and where they came from."""
    for folder in filter(None, os.environ.get("SKLEARN_KD_DATA", "").split(os.pathsep)):
        path = Path(folder) / "tabular" / "adult.csv.gz"
        if path.is_file():
            X = pd.read_csv(path)
            return X, X.pop("target").to_numpy(dtype=str), f"adult, {path}"
    try:
        X, y = fetch_openml("adult", version=2, return_X_y=True, as_frame=True, n_retries=1)
        return X, y.to_numpy(dtype=str), "adult, version 2 of OpenML"
    except OSError as error:
        reason = f"no tabular/adult.csv.gz in SKLEARN_KD_DATA, and no OpenML: {error}"
    return *make_table(14_000), f"the customers of quickstart.py ({reason})"


def one_row(calls, X, n_rows=50):
    """Return the median milliseconds of calls, by name, for a DataFrame with a single row."""
    times = {name: [] for name in calls}
    for number in range(n_rows):
        row = X.iloc[[number % len(X)]]
        for name, call in calls.items():  # in turns, so that a busy machine affects all of them
            call(row)  # the first call after one of another model is slower
            start = time.perf_counter()
            call(row)
            times[name].append(time.perf_counter() - start)
    return {name: 1000 * np.median(seconds) for name, seconds in times.items()}


def measure(model, X_test, y_test):
    """Return one line of the table."""
    y_pred, proba = model.predict(X_test), model.predict_proba(X_test)
    return {
        "accuracy": accuracy_score(y_test, y_pred),
        "balanced accuracy": balanced_accuracy_score(y_test, y_pred),
        "log loss": log_loss(y_test, proba, labels=model.classes_),
        "calibration error": expected_calibration_error(y_test, proba, labels=model.classes_),
        "bytes": len(pickle.dumps(model)),
    }


def print_choice(model):
    """Print what "auto" has chosen, and the candidates."""
    if model.candidates_ is None:
        print("\nToo few rows to try settings on: the usual ones were taken.")
        return
    print("\nWhat was tried on held-out rows; gains are over hard labels:\n")
    tried = pd.DataFrame(model.candidates_).drop(columns="accuracy_gain_error")
    tried["chosen"] = np.where(tried["chosen"], "<-", "")
    print(tried.round(4).to_string(index=False))
    if model.label_source_ == "hard":
        print("\nChosen: hard labels, since the teacher's gave no gain.")
        return
    sources = {"cv": "by forests that had not seen the row", "in-sample": "by the forest itself"}
    print(f"\nChosen: alpha = {model.alpha_:g}, temperature = {model.temperature_:g}, ", end="")
    print(f"{model.n_augmented_:,} transfer rows, and labels made")
    print(f'{sources[model.label_source_]} (label_source_ = "{model.label_source_}").')


def draw(models, table, X_test):
    """Draw the student against the teacher, and the log loss against size and speed.

    Return None without matplotlib.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        return None
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(12, 5), width_ratios=[1, 1.3], layout="constrained"
    )
    figure.suptitle("A forest distilled into 16 neurons: predictions, loss, size and time")
    proba = [models[name].predict_proba(X_test) for name in (TEACHER, DISTILLED)]
    FidelityDisplay.from_predictions(*proba, ax=left)
    left.set_title(f"Distilled student and teacher: {left.get_title()}", fontsize="medium")
    # points as faint as these are invisible in a legend
    for handle in left.legend(loc="lower right", fontsize="small").legend_handles:
        handle.set_alpha(1)
    names = {"model": ["teacher", "hard", "distilled"], "log_loss": table["log loss"]}
    names |= {"bytes": table["bytes"], "latency_p50_ms": table["one row, ms"]}
    # a single split into training and test rows: one fold, hence no error bars
    frame = pd.DataFrame(names).assign(fold=0, n_train=1, n_test=len(X_test))
    display = DistillationDisplay(frame=frame, score_name="log_loss").plot(right)
    for axis in (left, *display.ax_):
        axis.grid(alpha=0.3)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", nargs="?", help="where to save the picture; shown if left out")
    parser.add_argument("--rows", type=int, default=4000, help="training rows, at most")
    parser.add_argument("--trees", type=int, default=100)
    args = parser.parse_args()

    X, y, source = load_table()
    print(f"Table: {source}")
    n_train = min(args.rows, round(0.75 * len(y)))
    n_test = min(10_000, len(y) - n_train)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, train_size=n_train, test_size=n_test, stratify=y, random_state=0
    )
    n_text = X.shape[1] - X.select_dtypes("number").shape[1]
    print(
        f"{n_train:,} training and {n_test:,} test rows of {len(y):,}, {X.shape[1]} columns, ",
        end="",
    )
    print(f"{n_text} of them text, {X.isna().to_numpy().sum():,} cells missing")

    # The teacher is the whole pipeline, not only the forest. It therefore takes raw rows, and
    # transfer rows are made before the encoding, so that a text column contains one of its
    # categories and not an average of several. The disadvantage is that a pipeline hides the
    # out-of-bag votes of its forest. The labels come from five more forests, each fitted without
    # a fifth of the rows. For out-of-bag labels, which cost no fit, encode first and use the
    # forest itself as the teacher:
    # make_pipeline(TableEncoder(n_bins=1), DistilledClassifier(forest, network)).
    forest = RandomForestClassifier(args.trees, random_state=0)
    teacher = make_pipeline(TableEncoder(n_bins=1), forest)
    student = TwoLayerPGDClassifier(16, random_state=0)

    start = time.perf_counter()
    distilled = DistilledClassifier(teacher, student, random_state=0).fit(X_train, y_train)
    middle = time.perf_counter()
    # alpha=0 fits the student to hard labels alone, so that both students are saved alike
    fixed = {"alpha": 0.0, "temperature": 1.0, "augmentation": None}
    hard = DistilledClassifier(FrozenEstimator(distilled.teacher_), student, **fixed)
    hard.fit(X_train, y_train)
    print(f"Fitted in {time.perf_counter() - middle:.1f} s (student, hard labels) and ", end="")
    print(f"{middle - start:.1f} s (teacher, labels, choice and student)\n")

    small, hard = (model.without_teacher(keep_history=False) for model in (distilled, hard))
    classes = small.classes_
    models = {TEACHER: distilled.teacher_, HARD: hard, DISTILLED: small}
    table = pd.DataFrame({name: measure(model, X_test, y_test) for name, model in models.items()}).T
    calls = {name: model.predict_proba for name, model in models.items()}
    table["one row, ms"] = pd.Series(one_row(calls, X_test))
    formats = dict.fromkeys(table.columns[:4], "{:.4f}".format)
    formats |= {"bytes": "{:,.0f}".format, "one row, ms": "{:.2f}".format}
    print(table.to_string(formatters=formats))
    losses = [
        -np.log(model.predict_proba(X_test)[np.arange(n_test), np.searchsorted(classes, y_test)])
        for model in (small, hard)
    ]
    change = losses[0] - losses[1]
    error = change.std() / np.sqrt(n_test)  # from the test rows alone, not from other training rows
    print(f"\nLog loss, distilled less hard labels: {change.mean():+.4f} +- {error:.4f}")
    print_choice(distilled)

    figure = draw(models, table, X_test)
    if figure is None:
        print('\nno picture: matplotlib is missing, pip install "sklearn-kd[plot]"')
    elif args.path is None:
        import matplotlib.pyplot as plt

        plt.show()
    else:
        figure.savefig(args.path, dpi=120)
        print(f"\npicture: {args.path}")


if __name__ == "__main__":
    main()

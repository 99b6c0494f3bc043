"""Log loss against the number of raw columns that the student reads
=================================================================

The data are the 30 measurements of the breast cancer table that is bundled with scikit-learn. The
teacher is a forest on all of them, and the students are networks of 8 neurons on some, which are
selected in the training rows: those of the largest importances of one forest (`SelectFromModel`),
or what remains if the three least important ones are removed and the forest is fitted again, step
by step (`RFE`), since many of the measurements say the same. One search tries both with each number
of columns, measures the compact file of each model, and takes the smallest one whose log loss is
within a standard error of the best one. The script takes under a minute on one core.

The following command writes the picture. Without a path it is shown in a window::

    python examples/plot_fewer_inputs.py fewer_inputs.png
"""

import argparse

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import RFE, SelectFromModel
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
from sklearn_kd.export import budget_scoring, compact, smallest_within

N_COLUMNS = [1, 2, 4, 8, 16, 30]
N_FOLDS = 5
STEP = "student__selection"


def selections():
    """Return the selections that are tried, each with the name of its number of columns."""
    forest = RandomForestClassifier(50, random_state=0)
    found = {
        "SelectFromModel": (SelectFromModel(forest, threshold=-np.inf), "max_features"),
        "RFE": (RFE(forest, step=3), "n_features_to_select"),
    }
    return {
        name: (step.set_output(transform="pandas"), f"{STEP}__{number}")
        for name, (step, number) in found.items()
    }


def summary(search):
    """Return one line for each candidate: its selection, losses, bytes and microseconds."""
    results = pd.DataFrame(search.cv_results_)
    folds = results[[f"split{i}_test_score" for i in range(N_FOLDS)]]
    numbers = [f"param_{number}" for _, number in selections().values()]
    return pd.DataFrame(
        {
            "selection": [type(step).__name__ for step in results[f"param_{STEP}"]],
            "columns": results[numbers].max(axis=1).astype(int),
            "log_loss": -results["mean_test_score"],
            "error": folds.std(axis=1) / np.sqrt(N_FOLDS),
            "bytes": results["mean_test_n_bytes"],
            "microseconds": results["mean_test_microseconds"],
        }
    )


def plot(table, chosen, teacher):
    """Draw log losses, and bytes and microseconds, against the number of columns."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for name, line in table.groupby("selection", sort=False):
        style = {"marker": "o", "capsize": 3, "label": name}
        left.errorbar(line["columns"], line["log_loss"], line["error"], **style)
    left.axhline(teacher, color="gray", linestyle="--", label="teacher, 30 columns")
    style = {"markersize": 14, "markerfacecolor": "none", "color": "black"}
    style["label"] = "chosen by smallest_within"
    left.plot(chosen["columns"], chosen["log_loss"], "o", **style)
    left.set(ylabel="Log loss (lower is better)", title="Mean and standard error of five folds")
    left.legend()
    costs = table.groupby("columns")[["bytes", "microseconds"]].mean()
    for ax, name, color, marker, label in (
        (right, "bytes", "C2", "o", "Bytes of the compact file"),
        (right.twinx(), "microseconds", "C3", "s", "Microseconds of a raw row"),
    ):
        ax.plot(costs.index, costs[name], color=color, marker=marker)
        ax.set_ylabel(label, color=color)
        ax.set_ylim(0)
    right.set_title("Cost of the student")
    for ax in (left, right):
        ax.set(xlabel="Raw columns that the student reads", xscale="log")
        ax.set_xticks(N_COLUMNS, labels=N_COLUMNS)
        ax.minorticks_off()
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", nargs="?", help="where to save the picture; shown if left out")
    path = parser.parse_args().path

    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    teacher = RandomForestClassifier(50, random_state=0)
    student = Pipeline([("selection", None), ("network", TwoLayerPGDClassifier(width=8))])
    fixed = {"alpha": 0.5, "temperature": 1.0, "augmentation": None, "random_state": 0}
    search = GridSearchCV(
        DistilledClassifier(teacher, student, **fixed),
        [{STEP: [step], number: N_COLUMNS} for step, number in selections().values()],
        scoring=budget_scoring("neg_log_loss"),
        refit=smallest_within("1 se"),
        cv=N_FOLDS,
    ).fit(X, y)

    table = summary(search)
    loss = -cross_val_score(teacher, X, y, scoring="neg_log_loss", cv=N_FOLDS).mean()
    print(f"Log loss on {len(X)} rows in five folds; the teacher's on 30 columns is {loss:.3f}")
    print(f"{'columns':>7}  {'SelectFromModel':>15}  {'RFE':>15}  {'bytes':>6}  {'us a row':>8}")
    for number in N_COLUMNS:
        lines = table[table["columns"] == number]
        cells = [f"{line.log_loss:.3f} +- {line.error:.3f}" for line in lines.itertuples()]
        costs = lines[["bytes", "microseconds"]].mean()
        print(
            f"{number:>7}  {cells[0]:>15}  {cells[1]:>15}  {costs['bytes']:>6,.0f}  "
            f"{costs['microseconds']:>8.1f}"
        )
    small, chosen = compact(search.best_estimator_), table.loc[search.best_index_]
    used = [
        name
        for name, kind in zip(small.feature_names_in_, small.kinds_, strict=True)
        if kind != "unused"
    ]
    print(f"Taken: {chosen['selection']}, a file of {small.n_bytes_:,} bytes on")
    print(f"  {', '.join(used)}")
    row = X.loc[0, used].to_dict()  # a row needs no other columns
    print(f"Probabilities of the first row: {small.predict_proba_one(row).round(3).tolist()}")

    figure = plot(table, chosen, loss)
    if path is None:
        import matplotlib.pyplot as plt

        plt.show()
    else:
        figure.savefig(path, dpi=120, bbox_inches="tight")
        print(f"picture: {path}")


if __name__ == "__main__":
    main()

"""Choosing the width of a distilled network by cross-validation
=============================================================

The table is synthetic (NumPy with a seed), because no table that is bundled with scikit-learn
contains numbers, text and missing cells. It has 4,000 customers, three numeric columns, two text
columns, missing cells in one of each, and labels that are drawn from a known probability. The
accuracy of this probability is printed as the upper limit that no classifier exceeds on average.

A `Pipeline` contains a `TableEncoder`, which encodes the table for the forest and for the network,
and a `DistilledClassifier`. The search refits all three within every fold, so that there is no
leakage. The script takes under a minute on two cores.

The following command writes the picture. Without a path it is shown in a window::

    python examples/plot_grid_search_width.py grid_search_width.png
"""

import argparse

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV, cross_validate, train_test_split
from sklearn.pipeline import Pipeline

from sklearn_kd import DistilledClassifier, TableEncoder, TwoLayerPGDClassifier

WIDTHS = [2, 4, 8, 16, 32]


def make_customers(n_rows=4000, seed=0):
    """Return a DataFrame of mixed types, labels, and the probability they were drawn from."""
    rng = np.random.default_rng(seed)
    months = rng.integers(1, 73, n_rows)
    charge = rng.gamma(6.0, 10.0, n_rows)
    age = rng.normal(45, 15, n_rows).clip(18, 90)
    plan = rng.choice(["basic", "family", "student"], n_rows, p=[0.5, 0.3, 0.2])
    payment = rng.choice(["card", "transfer", "cheque"], n_rows, p=[0.4, 0.4, 0.2])
    logit = (
        1.5
        - 0.08 * months
        + 0.04 * (charge - 60) * np.where(plan == "basic", 1.0, -0.5)
        + 1.5 * (payment == "cheque")
        - 2.0 * np.abs(age - 45) / 15 * (plan == "family")
    )
    p_leaves = expit(1.5 * logit)
    X = pd.DataFrame(
        {"months": months, "charge": charge, "age": age, "plan": plan, "payment": payment}
    )
    X.loc[rng.random(n_rows) < 0.1, "age"] = np.nan
    X.loc[rng.random(n_rows) < 0.1, "payment"] = np.nan
    y = np.where(rng.random(n_rows) < p_leaves, "leaves", "stays")
    return X, y, p_leaves


def make_model():
    """Return an encoder followed by a forest that teaches a small network."""
    distill = DistilledClassifier(
        RandomForestClassifier(100, min_samples_leaf=5, random_state=0),
        TwoLayerPGDClassifier(encoder=None, random_state=0),  # of rows that are encoded already
        # every width is scored with the same labels: "auto" would search within each fit
        alpha=0.5,
        temperature=1.0,
        augmentation=None,
        random_state=0,
    )
    return Pipeline([("prepare", TableEncoder()), ("distill", distill)])


def draw(results, teacher, path):
    """Draw the cross-validated scores of each width."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print('no picture: matplotlib is missing, pip install "sklearn-kd[plot]"')
        return
    figure = plt.figure(figsize=(9, 4), layout="constrained")
    figure.suptitle("Distilled networks of each width, and the forest that is their teacher")
    signs = {"accuracy": 1, "neg_log_loss": -1}
    for axis, (score, sign) in zip(figure.subplots(1, 2), signs.items(), strict=True):
        axis.errorbar(
            WIDTHS,
            sign * results[f"mean_test_{score}"],
            results[f"std_test_{score}"],
            fmt="o-",
            capsize=3,
            label="distilled (mean and std of folds)",
        )
        axis.axhline(sign * teacher[score], color="black", linestyle="--", label="teacher")
        direction = "higher" if sign > 0 else "lower"
        name = score.removeprefix("neg_").replace("_", " ").capitalize()
        axis.set(xscale="log", xlabel="Neurons", ylabel=f"{name} ({direction} is better)")
        axis.set_xticks(WIDTHS, [str(width) for width in WIDTHS])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axis.legend()
    if path is None:
        plt.show()
    else:
        figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", nargs="?", help="where to save the picture; shown if left out")
    path = parser.parse_args().path

    X, y, p_leaves = make_customers()
    X_train, X_test, y_train, y_test, _, p_test = train_test_split(
        X, y, p_leaves, stratify=y, random_state=0
    )
    scoring = ["accuracy", "neg_log_loss"]
    search = GridSearchCV(
        make_model(),
        {"distill__student__width": WIDTHS},
        scoring=scoring,
        refit="neg_log_loss",
        cv=3,
        n_jobs=2,
    ).fit(X_train, y_train)

    results = pd.DataFrame(search.cv_results_)
    table = results[["param_distill__student__width", "mean_fit_time"]].rename(columns=str)
    table.columns = ["width", "fit seconds"]
    table["accuracy"] = results["mean_test_accuracy"]
    table["log loss"] = -results["mean_test_neg_log_loss"]
    print(f"{len(X_train)} training rows, 3 folds, n_jobs=2")
    print(table.round(3).to_string(index=False), end="\n\n")

    model = search.best_estimator_
    prepared, distilled = model["prepare"].transform(X_test), model["distill"]
    lines = {
        "true probability": (
            np.where(p_test > 0.5, "leaves", "stays"),
            np.column_stack([p_test, 1 - p_test]),
        ),
        "teacher": (
            distilled.teacher_.predict(prepared),
            distilled.teacher_.predict_proba(prepared),
        ),
        f"distilled, width {search.best_params_['distill__student__width']}": (
            model.predict(X_test),
            model.predict_proba(X_test),
        ),
    }
    test = pd.DataFrame(
        {
            name: {"accuracy": accuracy_score(y_test, y_pred), "log loss": log_loss(y_test, proba)}
            for name, (y_pred, proba) in lines.items()
        }
    ).T
    print(f"{len(X_test)} test rows, the width of least cross-validated log loss")
    print(test.round(3).to_string(), end="\n\n")

    # the teacher alone, on the same folds
    teacher = clone(search.estimator).set_params(distill=search.estimator["distill"].teacher)
    folds = cross_validate(teacher, X_train, y_train, cv=3, scoring=scoring, n_jobs=2)
    draw(results, {score: folds[f"test_{score}"].mean() for score in scoring}, path)


if __name__ == "__main__":
    main()

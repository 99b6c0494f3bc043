"""Compare teachers with students on 24 tables: AUC, microseconds, bytes and ranks.

    python examples/plot_benchmark.py cost.png ranks.png

Without paths the figures are shown in windows. All numbers come from the file that
``examples/benchmarks/wide_benchmark.py`` has written; its first lines say how they are measured.
Teachers (a forest, HistGradientBoosting, LightGBM, `KernelTeacher` and a stack), networks that are
trained on the labels alone ("hard"), and networks that `DistilledClassifier` has trained on the
labels of a teacher ("distilled") get the same raw training rows of real tables, at most 2,000.

The first figure shows the mean AUC on test rows against the time of a prediction and the size of
the model. The second figure shows the mean ranks of the models in log loss. Models whose ranks
differ by less than the critical difference of the Nemenyi test [1]_ cannot be told apart by these
tables.

References
----------
.. [1] Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7, 2006.
"""

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import rankdata, studentized_range

MEASUREMENTS = Path("docs", "wide_benchmark.jsonl")
TITLES = {"boosting": "HistGradientBoosting", "kernel": "KernelTeacher", "lightgbm": "LightGBM"}
COLORS = {"teacher": "tab:gray", "hard": "tab:orange", "distilled": "tab:blue"}


def read_measurements(path):
    """Return a DataFrame with one row for each model: its scores, and what produced them."""
    rows = []
    for line in Path(path).read_text().splitlines():
        parts = json.loads(line)
        run = parts["cell"] | parts["result"]
        for name, found in run.pop("models").items():
            kind, _, width = name.partition(" ")
            rows.append({**run, "kind": kind, "width": int(width or 0), **found})
    models = pd.DataFrame(rows).drop(columns="widths")
    models["teacher"] = models["teacher"].replace(TITLES)
    neurons = models["width"].astype(str) + " neurons"
    students = np.where(models["kind"] == "hard", "hard", models["teacher"]) + ", " + neurons
    return models.assign(model=students.where(models["kind"] != "teacher", models["teacher"]))


def complete(models):
    """Return the models of the tables and seeds on which all of them were measured."""
    of_split = models.groupby(["table", "seed"])["model"].transform("nunique")
    return models[of_split == models["model"].nunique()]


def medians(models):
    """Return a row for each model: means of scores and medians of costs over the tables."""
    how = {"kind": "first", "teacher": "first", "width": "first", "auc": "mean"}
    how |= {"log_loss": "mean", "bytes": "median", "microseconds": "median"}
    return models.groupby("model").agg({**how, "fit_seconds": "median"})


def pareto_front(cost, score):
    """Return which models have no other one that is at least as good and costs less."""
    order = np.lexsort((-score, cost))
    best = np.maximum.accumulate(score[order])
    front = np.zeros(len(order), dtype=bool)
    front[order] = np.r_[True, best[1:] > best[:-1]]
    return front


def plot_costs(found, n_tables):
    """Draw AUC against microseconds and bytes, with the Pareto fronts."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
    costs = {"microseconds": "time of one raw row (microseconds)", "bytes": "size (bytes)"}
    for ax, (cost, label) in zip(axes, costs.items(), strict=True):
        for kind, color in COLORS.items():
            mine = found[found["kind"] == kind]
            ax.scatter(mine[cost], mine["auc"], color=color, label=kind, zorder=3)
        for name, model in found[found["kind"] == "teacher"].iterrows():
            ax.annotate(
                name,
                (model[cost], model["auc"]),
                xytext=(0, 6),
                textcoords="offset points",
                ha="center",
                fontsize="small",
            )
        front = found[pareto_front(found[cost].to_numpy(), found["auc"].to_numpy())]
        front = front.sort_values(cost)
        ax.step(front[cost], front["auc"], where="post", color="black", linewidth=0.8)
        ax.set_xscale("log")
        ax.set_xlabel(label)
        ax.margins(x=0.12, y=0.12)
    axes[0].set_ylabel(f"mean AUC on test rows of {n_tables} tables")
    axes[0].legend(title="model", loc="lower right")
    taught = found[found["kind"] == "distilled"].set_index("teacher")
    taught = taught[taught["width"] == taught["width"].max()]
    teachers = found[found["kind"] == "teacher"].set_index("teacher").loc[taught.index]
    faster, smaller = (
        (teachers[cost] / taught[cost]).median() for cost in ("microseconds", "bytes")
    )
    kept = (taught["auc"] / teachers["auc"]).median()
    figure.suptitle(
        f"Distilled networks of {taught['width'].iloc[0]} neurons: {kept:.1%} of the AUC of their "
        f"teachers, {faster:,.0f} times faster, {smaller:,.0f} times smaller"
    )
    return figure


def critical_difference(n_tables, n_models, alpha=0.05):
    """Return the critical difference of mean ranks of the Nemenyi test."""
    q = studentized_range.ppf(1 - alpha, n_models, np.inf) / np.sqrt(2)
    return q * np.sqrt(n_models * (n_models + 1) / (6 * n_tables))


def plot_ranks(losses, kinds):
    """Draw mean ranks of models, with bars as long as the critical difference.

    Parameters
    ----------
    losses : DataFrame of shape (n_tables, n_models)
    kinds : Series
        "teacher", "hard" or "distilled", by model.
    """
    ranks = pd.Series(rankdata(losses, axis=1).mean(axis=0), index=losses.columns).sort_values()
    gap = critical_difference(*losses.shape)
    figure, ax = plt.subplots(figsize=(8, 1 + 0.3 * len(ranks)), layout="constrained")
    places = np.arange(len(ranks))
    colors = kinds.loc[ranks.index].map(COLORS)
    ax.hlines(places, ranks, ranks + gap, color="lightgray", linewidth=4)
    ax.scatter(ranks, places, color=colors, zorder=3)
    ax.set_yticks(places, ranks.index)
    for label, color in zip(ax.get_yticklabels(), colors, strict=True):
        label.set_color(color)
    ax.invert_yaxis()
    ax.set_xlabel("mean rank in log loss (1 is best)")
    ax.set_title(f"{len(losses)} tables; bars: critical difference of {gap:.1f} ranks")
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("paths", nargs="*", help="where to save the two pictures")
    args = parser.parse_args()
    models = complete(read_measurements(MEASUREMENTS))
    found = medians(models)
    print(found.sort_values("auc", ascending=False).round(4).to_string())
    for commit, version in set(zip(models["commit"], models["versions"], strict=True)):
        print(f"commit {commit}: {version}")
    widest = models["width"].max()
    ranked = models[(models["kind"] != "distilled") | (models["width"] == widest)]
    losses = ranked.pivot_table(index="table", columns="model", values="log_loss")
    figures = [
        plot_costs(found, models["table"].nunique()),
        plot_ranks(losses, found["kind"]),
    ]
    if not args.paths:
        plt.show()
    for figure, path in zip(figures, args.paths, strict=False):
        figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()

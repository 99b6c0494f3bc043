"""Teachers and students on 24 tables: accuracy, time and size
===========================================================

A forest, HistGradientBoosting, LightGBM, `KernelTeacher` and a stack are the teachers. Students are
networks that are trained on the labels alone ("hard"), or by `DistilledClassifier` on the labels of
a teacher ("distilled"). All of them get the same training rows of real tables, at most 2,000 and
raw, and are scored on the same test rows. For boosted trees and their students, texts are
categories of at most 255 levels. The numbers come from one file that
``examples/benchmarks/wide_benchmark.py`` has written, where the first lines say how they are
measured.

The first picture leads from each teacher to its student: accuracy against the time of one raw row
and the size of the model. The larger a marker of a network, the more neurons it has (8, 16 or 64).
The second picture has the mean ranks of the models in log loss. Models whose ranks differ by less
than the critical difference of the Nemenyi test (Demšar, JMLR 7, 2006) cannot be told apart by
these tables.

The following command writes the pictures. Without paths they are shown in windows::

    python examples/plot_benchmark.py cost.png ranks.png
"""

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter
from scipy.stats import friedmanchisquare, rankdata, studentized_range

try:
    ROOT = Path(__file__).resolve().parents[1]
except NameError:  # the build of the documentation runs scripts in their own folder
    ROOT = Path("..")
MEASUREMENTS = ROOT / "docs" / "wide_benchmark.jsonl"
TITLES = {"boosting": "HistGradientBoosting", "kernel": "KernelTeacher", "lightgbm": "LightGBM"}
COLORS = {"teacher": "dimgray", "hard": "tab:orange", "distilled": "tab:blue"}
MARKERS = {"stack": "*", "forest": "^", "KernelTeacher": "D", "LightGBM": "s"}
MARKERS |= {"HistGradientBoosting": "P", "labels": "o"}
COSTS = {"microseconds": "time of one raw row (microseconds)", "bytes": "size (bytes)"}


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


def by_model(models):
    """Return a row for each model: means of scores and medians of costs over the tables."""
    how = {"kind": "first", "teacher": "first", "width": "first"}
    how |= {
        "accuracy": "mean",
        "auc": "mean",
        "log_loss": "mean",
        "bytes": "median",
        "microseconds": "median",
    }
    return models.groupby("model").agg({**how, "fit_seconds": "median"})


def pareto_front(cost, score):
    """Return which models have no other one that is at least as good and costs less."""
    order = np.lexsort((-score, cost))
    best = np.maximum.accumulate(score[order])
    front = np.zeros(len(order), dtype=bool)
    front[order] = np.r_[True, best[1:] > best[:-1]]
    return front


def pairs(found):
    """Return the widest distilled networks and their teachers, by the name of the teacher."""
    taught = found[found["kind"] == "distilled"]
    taught = taught[taught["width"] == taught["width"].max()].reset_index().set_index("teacher")
    teachers = found[found["kind"] == "teacher"].set_index("teacher").loc[taught.index]
    return taught, teachers


def ratios(models):
    """Return by how much each distilled network is faster and smaller, by split and model."""
    split = ["table", "seed", "teacher"]
    ours = models[models["kind"] == "distilled"].set_index([*split, "model"])[list(COSTS)]
    teachers = models[models["kind"] == "teacher"].set_index(split)[list(COSTS)]
    return teachers.reindex(ours.index.droplevel("model")).set_axis(ours.index) / ours


def comparisons(models):
    """Return, for each distilled network, how it compares with hard labels and with its teacher."""
    losses = models.pivot_table(index=["table", "seed"], columns="model", values="log_loss")
    cheaper = ratios(models).groupby("model").agg(["median", "min"])
    found = {}
    for name, ours in models[models["kind"] == "distilled"].groupby("model", sort=False):
        teacher, width = ours[["teacher", "width"]].iloc[0]
        hard = losses[f"hard, {width} neurons"]
        found[name] = {
            "lower than hard": (losses[name] < hard).sum(),
            "equal": (losses[name] == hard).sum(),
            "lower than the teacher": (losses[name] < losses[teacher]).sum(),
            "times faster, median": f"{cheaper.loc[name, ('microseconds', 'median')]:.0f}",
            "faster, least": f"{cheaper.loc[name, ('microseconds', 'min')]:.0f}",
            "smaller, median": f"{cheaper.loc[name, ('bytes', 'median')]:.1f}",
            "smaller, least": f"{cheaper.loc[name, ('bytes', 'min')]:.1f}",
            "seconds of a fit": f"{ours['fit_seconds'].median():.1f}",
            "of the teacher": f"{ours['teacher_seconds'].median():.1f}",
        }
    return pd.DataFrame(found).T.rename_axis("student")


def markdown(frame):
    """Return a DataFrame as a table of Markdown."""
    lines = [[frame.index.name, *frame.columns], ["---"] * (1 + len(frame.columns))]
    lines += [[str(cell) for cell in row] for row in frame.itertuples()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def summary(found):
    """Return a line for each teacher: what it, its widest student and that on hard labels have."""
    taught, teachers = pairs(found)
    hard = found[(found["kind"] == "hard") & (found["width"] == taught["width"].iloc[0])].iloc[0]
    lines = {}
    for name, teacher in teachers.sort_values("accuracy", ascending=False).iterrows():
        models = teacher, hard, taught.loc[name]
        lines[name] = {
            "accuracy (%): teacher, hard, distilled": [
                f"{100 * m['accuracy']:.1f}" for m in models
            ],
            "log loss": [f"{m['log_loss']:.3f}" for m in models],
            "bytes: teacher, student": [f"{m['bytes']:,.0f}" for m in models[::2]],
            "microseconds a row": [f"{m['microseconds']:,.0f}" for m in models[::2]],
        }
    return pd.DataFrame(lines).T.map(lambda each: " / ".join(each)).rename_axis("teacher")


def plot_costs(models):
    """Draw accuracy against microseconds and bytes, with the Pareto fronts."""
    found = by_model(models)
    taught, teachers = pairs(found)
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True, layout="constrained")
    for ax, (cost, label) in zip(axes, COSTS.items(), strict=True):
        for _, model in found.iterrows():
            size = 20 + 2 * (model["width"] or taught["width"].max())
            marker, color = MARKERS[model["teacher"]], COLORS[model["kind"]]
            ax.scatter(
                model[cost], model["accuracy"], size, color, marker=marker, alpha=0.9, zorder=3
            )
        for name in taught.index:
            ends = [
                (each.loc[name, cost], each.loc[name, "accuracy"]) for each in (teachers, taught)
            ]
            style = {"arrowstyle": "->", "color": "silver", "shrinkA": 8, "shrinkB": 8}
            ax.annotate("", ends[1], ends[0], arrowprops=style)
        front = found[pareto_front(found[cost].to_numpy(), found["accuracy"].to_numpy())]
        front = front.sort_values(cost)
        ax.step(front[cost], front["accuracy"], where="post", color="black", linewidth=0.8)
        ax.set_xscale("log")
        ax.set_xlabel(label)
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=2))
        ax.margins(x=0.12)
        ax.grid(alpha=0.3)
    axes[0].set_ylabel(f"accuracy on test rows, mean of {models['table'].nunique()} tables")
    kinds = [Line2D([], [], color=color, label=kind, lw=6) for kind, color in COLORS.items()]
    shapes = [
        Line2D([], [], color="black", marker=marker, ls="", label=name)
        for name, marker in MARKERS.items()
    ]
    front = Line2D([], [], color="black", lw=0.8, label="Pareto front")
    figure.legend(handles=[*kinds, *shapes, front], loc="outside right center", frameon=False)
    cheaper = ratios(models).groupby("model").median().loc[taught["model"]]
    faster, smaller = (cheaper[cost].agg(["min", "max"]) for cost in COSTS)
    figure.suptitle(
        f"Networks of {taught['width'].iloc[0]} neurons are {faster['min']:.0f} to "
        f"{faster['max']:.0f} times faster than their teachers and {smaller['min']:.1f} to "
        f"{smaller['max']:.0f} times smaller (medians)"
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
    ax.set_title(
        f"Ranks on {len(losses)} tables; a bar is the critical difference of {gap:.1f} ranks"
    )
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("paths", nargs="*", help="where to save the two pictures")
    args = parser.parse_args()
    models = complete(read_measurements(MEASUREMENTS))
    found = by_model(models)
    widest = models["width"].max()
    ranked = models[(models["kind"] != "distilled") | (models["width"] == widest)]
    losses = ranked.pivot_table(index="table", columns="model", values="log_loss")

    shown = found.drop(columns=["kind", "teacher", "width"]).sort_values("accuracy")[::-1]
    digits = {"bytes": 0, "microseconds": 0, "fit_seconds": 1}
    print(shown.round({name: digits.get(name, 4) for name in shown}).to_string())
    print(f"\n{markdown(summary(found))}")
    print(f"\nNumber of {models['table'].nunique()} tables with a log loss that is ...")
    print(markdown(comparisons(models)))
    print(
        f"\nFriedman test of equal ranks: p = {friedmanchisquare(*losses.to_numpy().T).pvalue:.1g}"
    )
    for commit, version in sorted(set(zip(models["commit"], models["versions"], strict=True))):
        print(f"commit {commit}: {version}")

    figures = [plot_costs(models), plot_ranks(losses, found["kind"])]
    if not args.paths:
        plt.show()
    for figure, path in zip(figures, args.paths, strict=False):
        figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()

"""Prediction intervals of a small student
=======================================

A small network learns the quantiles of boosted trees. The targets of the table that the script
makes have noise that is three times as large in one half of the rows. The teacher is a boosted
ensemble for each of three quantiles. A network of 16 neurons learns them, and the targets by the
pinball loss (`DistilledRegressor(quantiles=...)`), and is calibrated on rows that it has not seen.

The pictures are those of `IntervalDisplay` on test rows: a line for the interval of each row, and
its target. The script prints the coverage of narrow and of wide intervals, the mean pinball loss,
and the bytes of the compact file. It takes under a minute.

The following command writes the picture. Without a path it is shown in a window::

    python examples/plot_intervals.py intervals.png
"""

import argparse

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import mean_pinball_loss

from sklearn_kd import DistilledRegressor, TwoLayerPGDRegressor
from sklearn_kd.export import compact
from sklearn_kd.inspection import IntervalDisplay

LEVELS = (0.05, 0.5, 0.95)


def make_rows(n_rows, seed):
    """Return rows and targets, whose noise depends on the sign of the third column."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2, 2, (n_rows, 4))
    noise = np.where(X[:, 2] > 0, 0.75, 0.25) * rng.standard_normal(n_rows)
    return X, np.sin(2 * X[:, 0]) + X[:, 1] + noise


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", nargs="?", help="where to save the picture; shown if left out")
    path = parser.parse_args().path
    import matplotlib.pyplot as plt

    X, y = make_rows(1500, 0)
    X_test, y_test = make_rows(2000, 1)
    trees = {"loss": "quantile", "max_iter": 100, "max_leaf_nodes": 8, "min_samples_leaf": 20}
    model = DistilledRegressor(
        {q: HistGradientBoostingRegressor(quantile=q, **trees) for q in LEVELS},
        TwoLayerPGDRegressor(width=16),
        alpha=0.5,
        augmentation=None,
        quantiles=LEVELS,
        random_state=0,
    ).fit(X, y)
    quantiles = {
        "teacher": model.teacher_.predict_quantiles(X_test, LEVELS),
        "distilled student": model.predict_quantiles(X_test),
    }
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), sharey=True, layout="constrained")
    figure.suptitle("Intervals of 90 % for test rows: boosted trees, and a student of 16 neurons")
    for panel, (name, values) in zip(axes, quantiles.items(), strict=True):
        lower, median, upper = values.T
        display = IntervalDisplay.from_predictions(
            y_test, lower, upper, median, coverage=LEVELS[-1] - LEVELS[0], ax=panel
        )
        title = panel.get_title()
        panel.set_title(f"{name}: {title}", fontsize="medium")
        pairs = zip(LEVELS, values.T, strict=True)
        loss = np.mean([mean_pinball_loss(y_test, each, alpha=level) for level, each in pairs])
        print(f"{name}: {title}, mean pinball loss {loss:.4f}")
        formats = dict.fromkeys(("lower", "upper", "width", "coverage"), "{:.3f}".format)
        print(f"{display.bins_.to_string(index=False, formatters=formats)}\n")
    print(f"compact file of the student: {compact(model).n_bytes_:,} bytes")

    if path is None:
        plt.show()
    else:
        figure.savefig(path, dpi=120)
        print(f"picture: {path}")


if __name__ == "__main__":
    main()

"""Compare units of the targets under Huber and pinball losses, on clean targets and with outliers.

    SKLEARN_KD_DATA=... python examples/benchmarks/target_units.py --json runs.jsonl

The training rows of three tables, and of diabetes, are divided once more: networks are fitted on
``--max-rows`` of them and compared on up to 2000 others. Other data sets are made: "sensor", whose
targets are noise around zero but for a fifth of the rows, "claims", four fifths of which are zeros
and the others log-normal, and "heavy", log-normal. The units are

- deviation: the weighted mean and standard deviation, as under the squared loss,
- quartiles: the median and .7413 of the interquartile range,
- 0.9, 0.95, 0.98: the median and the deviation of `fit_target_units` with this share of the weight
  as the core.

With ``--outlier`` the first target is 1e6 standard deviations above the mean, and the squared loss
is compared too. Every fit has one thread. Finished cells are appended to the file of ``--json`` and
not repeated. The script prints Markdown.
"""

import argparse
from functools import partial
from unittest.mock import patch

import numpy as np
from _runs import environment, markdown, run_cells, timed_fit
from regression_tables import LEVELS, TABLES, load
from scipy.stats import norm
from sklearn.metrics import mean_absolute_error, mean_pinball_loss, r2_score

from sklearn_kd import TwoLayerPGDRegressor
from sklearn_kd._networks import input_checks
from sklearn_kd._utils import regression_targets

MADE = ("sensor", "claims", "heavy")
UNITS = ("deviation", "quartiles", "0.9", "0.95", "0.98")
N_HELD_OUT = 2000


def make_rows(name, n_rows, seed):
    """Return rows and targets of a data set that is made."""
    rng = np.random.default_rng(seed)
    X, noise = rng.normal(size=(n_rows, 4)), rng.normal(size=n_rows)
    if name == "sensor":
        active = X[:, 0] > norm.ppf(0.8)
        return X, np.where(active, 5 + X[:, 1] + 0.3 * noise, 0.01 * noise)
    y = np.exp(X[:, 0] + np.sin(2 * X[:, 1]) + noise)
    return X, y * (X[:, 2] > norm.ppf(0.8)) if name == "claims" else y


def read_rows(name, seed, max_rows):
    """Return the rows and targets to fit on, and those to compare on."""
    if name in MADE:
        X, y = make_rows(name, max_rows + N_HELD_OUT, seed)
        return X[:max_rows], y[:max_rows], X[max_rows:], y[max_rows:]
    data = load(name, seed, None)
    n_train = min(max_rows, 2 * len(data.y_train) // 3)
    used = np.random.RandomState(seed).permutation(len(data.y_train))[: n_train + N_HELD_OUT]
    X, y = data.X_train.iloc[used].reset_index(drop=True), data.y_train[used].astype(float)
    return X[:n_train], y[:n_train], X[n_train:].reset_index(drop=True), y[n_train:]


def quartile_units(y, weights, dtype=None, *, is_robust=False, is_first=False):
    """Return the median and .7413 of the interquartile range of one target of equal weights."""
    low, median, high = np.quantile(y, [0.25, 0.5, 0.75])
    if high == low:
        return regression_targets.fit_target_units(y, weights)
    return median, 0.7413 * (high - low)


def with_units(name):
    """Return a context in which networks standardize targets by other units."""
    if name == "quartiles":
        return patch.object(input_checks, "fit_target_units", quartile_units)
    if name == "deviation":
        units = partial(_units_of, is_robust=False)
        return patch.object(input_checks, "fit_target_units", units)
    share = float(name)
    c = norm.ppf((1 + share) / 2)
    normal = np.sqrt(share - 2 * c * norm.pdf(c) + (1 - share) * c**2)
    return patch.multiple(regression_targets, CORE_SHARE=share, NORMAL_CORE_DEVIATION=float(normal))


def _units_of(y, weights, dtype, *, is_robust, is_first, **ignored):
    return regression_targets.fit_target_units(y, weights, dtype, is_first=is_first)


def run(table, seed, width, max_rows, units, outlier):
    """Return the scores of the losses in each unit."""
    X, y, X_new, y_new = read_rows(table, seed, max_rows)
    deviation, result = y.std(), {}
    if outlier:
        y = y.copy()
        y[0] = y.mean() + 1e6 * deviation
    shared = {"width": width, "random_state": seed, "device": "cpu"}
    if outlier:
        squared = TwoLayerPGDRegressor(**shared)
        timed_fit(squared, X, y)
        error = mean_absolute_error(y_new, squared.predict(X_new)) / deviation
        result["squared_error"] = {"mae": error}
    for name in units:
        with with_units(name):
            huber = TwoLayerPGDRegressor(loss="huber", **shared)
            timed_fit(huber, X, y)
            network = TwoLayerPGDRegressor(loss="quantile", quantiles=LEVELS, **shared)
            timed_fit(network, X, y)
        predicted, quantiles = huber.predict(X_new), network.predict_quantiles(X_new)
        losses = [
            mean_pinball_loss(y_new, each, alpha=level)
            for each, level in zip(quantiles.T, LEVELS, strict=True)
        ]
        low, _, high = quantiles.T
        result[name] = {
            "unit": float(huber.target_scale_ / deviation),
            "r2": r2_score(y_new, predicted),
            "mae": mean_absolute_error(y_new, predicted) / deviation,
            "pinball": float(np.mean(losses) / deviation),
            "coverage": float(np.mean((low <= y_new) & (y_new <= high))),
        }
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = (*TABLES, *MADE)
    parser.add_argument("--tables", nargs="+", default=names, choices=names)
    parser.add_argument("--units", nargs="+", default=UNITS, choices=UNITS)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--max-rows", type=int, default=600, help="training rows to keep")
    parser.add_argument("--outlier", action="store_true", help="one target far from the others")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", help="file of finished cells")
    args = parser.parse_args()
    shared = {name: getattr(args, name) for name in ("width", "max_rows", "units", "outlier")}
    cells = [
        {"table": table, "seed": seed, **shared}
        for table in args.tables
        for seed in range(args.seeds)
    ]
    found = run_cells(cells, run, jobs=args.jobs, path=args.json)
    print(environment("one thread per fit"))
    lines = []
    for table in args.tables:
        mine = [row for row in found if row["table"] == table]
        for name in (["squared_error"] * args.outlier) + list(args.units):
            scores = {key: np.mean([row[name][key] for row in mine]) for key in mine[0][name]}
            texts = [
                f"{scores[key]:.{digits}f}" if key in scores else ""
                for key, digits in [("unit", 2), ("r2", 3), ("mae", 3), ("pinball", 4)]
            ]
            coverage = f"{scores['coverage']:.1%}" if "coverage" in scores else ""
            lines.append([table, name, *texts, coverage])
    header = ["table", "unit", "unit / deviation", "R2, Huber", "absolute error, Huber"]
    print(markdown([*header, "pinball loss", "coverage at 90%"], lines))


if __name__ == "__main__":
    main()

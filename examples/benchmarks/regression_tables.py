"""Compare TwoLayerPGDRegressor with networks, linear models and boosted trees of scikit-learn.

    SKLEARN_KD_DATA=... python examples/benchmarks/regression_tables.py --jobs 2 --json runs.jsonl

Three tables and diabetes, which scikit-learn has, are split by rows, and training rows are limited
to ``--max-rows``. ``TwoLayerPGDRegressor(width)`` gets raw frames, with its defaults.
``HistGradientBoostingRegressor()`` gets raw frames with text columns as categories. The networks
``MLPRegressor(hidden_layer_sizes=(width,))`` and ``Ridge()`` have their defaults too. They get the
standardized and one-hot encoded arrays of `make_encoder`, and targets that a
``TransformedTargetRegressor`` standardizes; without it the network fails where targets are large.
With ``--quantiles`` the coverage and the width of the intervals between the quantiles .05 and .95
are compared with those of boosted trees of these quantiles.

Every fit has one thread. Finished fits are appended to the file of ``--json`` and not repeated. The
script prints Markdown.
"""

import argparse

import numpy as np
from _runs import environment, markdown, run_cells, timed_fit
from _tables import REGRESSION, Split, load_split, make_encoder, paired_summary
from _teachers import categorical
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_pinball_loss, r2_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kd import TwoLayerPGDRegressor

TABLES = ("diabetes", *REGRESSION)
#: Levels of the interval, and the median.
LEVELS = (0.05, 0.5, 0.95)


def load(table, seed, max_rows):
    """Return a `Split` of a table."""
    if table != "diabetes":
        return load_split(table, seed, max_rows=max_rows)
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    rows = train_test_split(X, y.to_numpy(), test_size=0.25, random_state=seed)
    return Split(table, seed, *rows)


def in_standard_units(model, X):
    """Return a model with encoded rows and standardized targets."""
    pipeline = make_pipeline(make_encoder(X), model)
    return TransformedTargetRegressor(pipeline, transformer=StandardScaler())


def run(table, seed, widths, max_rows, quantiles):
    """Fit and score all models on one split."""
    data = load(table, seed, max_rows)
    rows = data.X_train, data.X_test
    categories = categorical(*rows)
    models = {
        "ridge": (in_standard_units(Ridge(), rows[0]), rows),
        "boosting": (HistGradientBoostingRegressor(random_state=seed), categories),
    }
    for width in widths:
        network = MLPRegressor(hidden_layer_sizes=(width,), random_state=seed)
        models[f"mlp {width}"] = (in_standard_units(network, rows[0]), rows)
        ours = TwoLayerPGDRegressor(width, random_state=seed, device="cpu")
        models[f"ours {width}"] = (ours, rows)
    result = {"n_train": len(data.y_train), "n_features": rows[0].shape[1]}
    for name, (model, (X_train, X_test)) in models.items():
        seconds = timed_fit(model, X_train, data.y_train)
        result[name] = {
            "r2": r2_score(data.y_test, model.predict(X_test)),
            "fit_seconds": seconds,
        }
    if quantiles:
        result |= interval_scores(data, categories, widths, seed)
    return result


def interval_scores(data, categories, widths, seed):
    """Return the scores of quantiles of our networks and of boosted trees."""
    found, result = {}, {}
    for width in widths:
        model = TwoLayerPGDRegressor(
            width, loss="quantile", quantiles=LEVELS, random_state=seed, device="cpu"
        )
        seconds = timed_fit(model, data.X_train, data.y_train)
        found[f"quantiles {width}"] = model.predict_quantiles(data.X_test), seconds
    columns, seconds = [], 0.0
    for level in LEVELS:
        model = HistGradientBoostingRegressor(loss="quantile", quantile=level, random_state=seed)
        seconds += timed_fit(model, categories[0], data.y_train)
        columns.append(model.predict(categories[1]))
    found["quantiles boosting"] = np.stack(columns, axis=1), seconds
    deviation = data.y_train.std()
    for name, (values, seconds) in found.items():
        low, high = values[:, 0], values[:, -1]
        losses = [
            mean_pinball_loss(data.y_test, each, alpha=level) / deviation
            for each, level in zip(values.T, LEVELS, strict=True)
        ]
        result[name] = {
            "coverage": float(np.mean((low <= data.y_test) & (data.y_test <= high))),
            "width": float(np.mean(high - low) / deviation),
            "pinball": float(np.mean(losses)),
            "crossing": float(np.mean((np.diff(values, axis=1) < 0).any(axis=1))),
            "fit_seconds": seconds,
        }
    return result


def by_table(rows):
    """Return a table and its rows, for each table."""
    tables = dict.fromkeys(row["table"] for row in rows)
    return {table: [row for row in rows if row["table"] == table] for table in tables}


def mean_text(rows, name, score, digits=3):
    """Return mean and standard error over seeds."""
    values = [row[name][score] for row in rows]
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{np.mean(values):.{digits}f} +- {error:.{digits}f}"


def r2_lines(rows, widths):
    """Return lines with R2 of all models, and the difference from the network of scikit-learn."""
    lines = []
    for table, mine in by_table(rows).items():
        for width in widths:
            ours, mlp = f"ours {width}", f"mlp {width}"
            names = (ours, mlp, "ridge", "boosting")
            gap = paired_summary([r[ours]["r2"] for r in mine], [r[mlp]["r2"] for r in mine])
            seconds = [f"{np.mean([r[name]['fit_seconds'] for r in mine]):.1f}" for name in names]
            lines.append(
                [table, mine[0]["n_train"], width, *(mean_text(mine, name, "r2") for name in names)]
                + [f"{gap.mean:+.3f} +- {gap.se:.3f}", *seconds]
            )
    return lines


def interval_lines(rows, widths):
    """Return lines with the scores of quantiles."""
    lines = []
    for table, mine in by_table(rows).items():
        for name in (*(f"quantiles {width}" for width in widths), "quantiles boosting"):
            crossing = np.mean([row[name]["crossing"] for row in mine])
            scores = [mean_text(mine, name, score) for score in ("coverage", "width", "pinball")]
            lines.append([table, name.removeprefix("quantiles "), *scores, f"{crossing:.1%}"])
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--max-rows", type=int, default=3000, help="training rows to keep")
    parser.add_argument("--quantiles", action="store_true", help="compare intervals too")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", help="file of finished fits")
    args = parser.parse_args()
    shared = {"widths": args.widths, "max_rows": args.max_rows, "quantiles": args.quantiles}
    cells = [
        {"table": table, "seed": seed, **shared}
        for seed in range(args.seeds)
        for table in args.tables
    ]
    rows = run_cells(cells, run, jobs=args.jobs, path=args.json)
    rows.sort(key=lambda row: (args.tables.index(row["table"]), row["seed"]))
    print(environment("one thread per fit"))
    names = ("TwoLayerPGDRegressor", "MLPRegressor", "Ridge", "boosting")
    header = ["table", "rows", "width", *(f"R2, {name}" for name in names)]
    header += ["ours - MLPRegressor", *(f"fit s, {name}" for name in names)]
    print(markdown(header, r2_lines(rows, args.widths)))
    if args.quantiles:
        header = ["table", "model", "coverage at 90%", "width", "pinball loss", "rows that cross"]
        print(markdown(header, interval_lines(rows, args.widths)))


if __name__ == "__main__":
    main()

"""From a boosted ensemble that predicts prices to one file of at most 10 kB
=========================================================================

The table is california_housing (prices of houses in 20,640 districts) if a folder of the
environment variable ``SKLEARN_KD_DATA`` has it as ``tabular/california_housing.csv.gz``, and
otherwise rents that the script makes: numbers, texts and missing cells.

The teacher is an ensemble of 300 boosted trees. A network of 48 neurons is fitted on the targets
alone, and another one on the mean of targets and the teacher's predictions, and on three times as
many transfer rows, which the teacher labels. Each is written as a compact file, which NumPy alone
reads. The script prints R2 and the root mean squared error on test rows, bytes, and the median time
of a raw row, a dict as a service gets it, with one thread. It takes under a minute.

The following command writes the picture. Without a path it is shown in a window::

    python examples/plot_regression.py regression.png
"""

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from plot_deploy import in_digits, microseconds
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import r2_score, root_mean_squared_error
from sklearn.model_selection import train_test_split

from sklearn_kd import DistilledRegressor, TwoLayerPGDRegressor
from sklearn_kd.export import CompactModel, compact

MAX_BYTES = 10_000


def load_table():
    """Return the name of a table, its raw rows and its targets."""
    for folder in filter(None, os.environ.get("SKLEARN_KD_DATA", "").split(os.pathsep)):
        path = Path(folder) / "tabular" / "california_housing.csv.gz"
        if path.is_file():
            X = pd.read_csv(path)
            X["ocean_proximity"] = X["ocean_proximity"].astype("category")
            return "california_housing, prices in 100,000 dollars", X, X.pop("target") / 1e5
    return "made-up rents", *make_rents(4000)


def make_rents(n_rows, seed=0):
    """Return flats as a DataFrame, and their rents."""
    rng = np.random.default_rng(seed)
    area, year = rng.lognormal(4.1, 0.4, n_rows), rng.integers(1900, 2025, n_rows)
    floor, district = rng.integers(0, 8, n_rows), rng.integers(0, 12, n_rows)
    has_lift = rng.random(n_rows) < np.where(year > 1970, 0.8, 0.2)
    period = np.searchsorted([1918, 1949, 1978, 2002], year)
    per_area = np.random.default_rng(1).uniform(8, 16, (12, 5))[district, period]
    per_area += np.where(has_lift, 0.4, -0.5) * floor - 2 * (area > 90) + 3 * (area < 40)
    rent = area * per_area * rng.lognormal(0, 0.1, n_rows)
    X = pd.DataFrame(
        {
            "area": np.round(area),
            "year": np.where(rng.random(n_rows) < 0.1, np.nan, year),
            "floor": floor,
            "district": pd.Categorical.from_codes(district, [f"district {k}" for k in range(12)]),
            "has_lift": has_lift,
        }
    )
    return X, pd.Series(rent, name="rent")


def measure(model, path, X, y, dtype):
    """Write a model, and return scores of the file, bytes, microseconds and its predictions."""
    compact(model, X, dtype=dtype).save(path)
    loaded = CompactModel.load(path)
    predicted = loaded.predict(X)
    line = {
        "R2": r2_score(y, predicted),
        "RMSE": root_mean_squared_error(y, predicted),
        "bytes": path.stat().st_size,
        "microseconds": microseconds(loaded.predict_one, X.to_dict("records")),
    }
    return line, predicted


def draw(lines, predictions):
    """Draw R2 against bytes, and the student's predictions. Return None without matplotlib."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        return None
    from sklearn_kd.inspection import FidelityDisplay

    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    figure.suptitle("Boosted trees distilled into a network of 48 neurons")
    for (name, line), marker, color in zip(
        lines.items(), "Dso", ("black", "C0", "C1"), strict=True
    ):
        axes[0].plot(line["bytes"], line["R2"], marker, color=color, label=name, markersize=9)
    ends = MAX_BYTES / 3, 2 * lines["teacher"]["bytes"]
    axes[0].axvspan(MAX_BYTES, ends[1], color="0.93", zorder=0, label="over 10 kB")
    axes[0].set(xscale="log", xlim=ends, xlabel="Compact file (bytes)")
    axes[0].set_ylabel("R2 on test rows (higher is better)")
    axes[0].xaxis.set_major_formatter("{x:,.0f}")
    axes[0].legend(loc="lower right")
    FidelityDisplay.from_predictions(
        predictions["teacher"], predictions["distilled student"], ax=axes[1]
    )
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", nargs="?", help="where to save the picture; shown if left out")
    path = parser.parse_args().path

    title, X, y = load_table()
    X, X_test, y, y_test = train_test_split(X, y, train_size=2000, test_size=2000, random_state=0)
    print(f"{title}: {len(X)} training rows of {X.shape[1]} raw columns, {len(X_test)} test rows")
    teacher = HistGradientBoostingRegressor(
        learning_rate=0.06,
        max_iter=300,
        max_leaf_nodes=16,
        categorical_features="from_dtype",
        random_state=0,
    )
    student = TwoLayerPGDRegressor(width=48, random_state=0)
    model = DistilledRegressor(teacher, student, alpha=0.5, augmentation="gibbs", random_state=0)
    model.fit(X, y)
    models = {
        "teacher": model.teacher_,
        "student on targets": student.fit(X, y),
        "distilled student": model.without_teacher(),
    }
    lines, predictions = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, each in models.items():
            dtype = "float32" if name == "teacher" else "float16"
            file = Path(folder) / f"{name}.skdc"
            lines[name], predictions[name] = measure(each, file, X_test, y_test, dtype)
    formats = {"R2": "{:.4f}".format, "RMSE": "{:.4g}".format}
    formats |= {"bytes": "{:,.0f}".format, "microseconds": in_digits}
    print("\n" + pd.DataFrame(lines).T.to_string(formatters=formats))
    of_teacher, of_hard, of_distilled = (line["R2"] for line in lines.values())
    print(
        f"\nThe distilled student recovers {(of_distilled - of_hard) / (of_teacher - of_hard):.0%} "
        "of the teacher's lead in R2 over a student on targets of the same size."
    )
    assert lines["distilled student"]["bytes"] <= MAX_BYTES

    figure = draw(lines, predictions)
    if figure is None:
        print('\nno picture: matplotlib is missing, pip install "sklearn-kd[plot]"')
    elif path is None:
        import matplotlib.pyplot as plt

        plt.show()
    else:
        figure.savefig(path, dpi=120)
        print(f"picture: {path}")


if __name__ == "__main__":
    main()

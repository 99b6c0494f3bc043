"""The best model of at most 20 kB that answers in 50 microseconds
===============================================================

The table is the one that ``quickstart.py`` makes: numbers, strings, categories and missing cells.
The teacher is an ensemble of 300 boosted trees. `CompressionCurveDisplay` fits networks of 2 to 32
neurons, small boosted trees, decision trees and a linear model in two folds, each on the labels
alone ("hard") and on the mean of labels and the teacher's probabilities ("distilled"). It measures
the compact file of each fit: its bytes, and the median time in which it predicts a raw row. The
smallest file whose log loss is nearly the best one within the budget is chosen, fitted on all
training rows, and written. The script takes under a minute on one core.

The following command writes the picture. Without a path it is shown in a window::

    python examples/plot_compression_curve.py compression_curve.png
"""

import argparse
import tempfile
from pathlib import Path

from quickstart import make_table
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
from sklearn_kd.export import CompactModel, compact
from sklearn_kd.inspection import CompressionCurveDisplay


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", nargs="?", help="where to save the picture; shown if left out")
    parser.add_argument("--bytes", type=float, default=20_000, help="at most so many bytes")
    parser.add_argument("--microseconds", type=float, default=50, help="at most so many for a row")
    args = parser.parse_args()

    X, y = make_table(3000)
    X, X_test, y, y_test = train_test_split(X, y, test_size=1000, stratify=y, random_state=0)
    teacher = HistGradientBoostingClassifier(
        learning_rate=0.05,
        max_iter=300,
        max_leaf_nodes=4,
        categorical_features=["region", "plan", "device"],
        random_state=0,
    )
    half_and_half = {"alpha": 0.5, "temperature": 1.0, "augmentation": None}
    network = TwoLayerPGDClassifier(n_init=1)
    model = DistilledClassifier(teacher, network, **half_and_half, random_state=0)
    display = CompressionCurveDisplay.from_estimator(
        model,
        X,
        y,
        widths=[2, 4, 8, 16, 32],
        max_bytes=args.bytes,
        max_microseconds=args.microseconds,
        tolerance=0.005,
        scoring="neg_log_loss",
        cv=2,
        negate_score=True,
        verbose=1,
    )
    display.figure_.suptitle("Students of boosted trees: loss against size and time of their files")
    display.figure_.axes[0].set_ylabel("Log loss (lower is better)")
    formats = dict.fromkeys(("score", "score_error"), "{:.4f}".format)
    formats |= {"n_bytes": "{:,.0f}".format, "microseconds": "{:.1f}".format}
    formats |= {"chosen": lambda chosen: "<-" if chosen else ""}
    print(f"\nMeans over two folds of {len(X)} rows. A larger score is a smaller log loss.\n")
    print(display.table_.to_string(index=False, formatters=formats))

    budget = f"{args.bytes:,.0f} bytes and {args.microseconds:g} microseconds"
    if display.best_estimator_ is None:
        print(f"\nNo candidate is within {budget}.")
    else:
        print(f"\nWithin {budget}: {', '.join(filter(None, display.best_params_.values()))}.")
        best = display.best_estimator_.fit(X, y)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.skdc"
            compact(best).save(path)
            small = CompactModel.load(path)
            loss = log_loss(y_test, small.predict_proba(X_test))
            print(
                f"Its file has {path.stat().st_size:,} bytes, and a log loss of {loss:.4f} on ",
                end="",
            )
        loss = log_loss(y_test, teacher.fit(X, y).predict_proba(X_test))
        print(f"{len(X_test)} test rows. That of the teacher is {loss:.4f}.")

    if args.path is None:
        import matplotlib.pyplot as plt

        plt.show()
    else:
        display.figure_.savefig(args.path, dpi=120)
        print(f"picture: {args.path}")


if __name__ == "__main__":
    main()

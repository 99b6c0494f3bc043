"""Compare numbers of steps of TwoLayerPGDClassifier in minibatches: held-out loss and epochs.

    SKLEARN_KD_DATA=... python examples/benchmarks/training_steps.py --steps 10000 30000 60000

Each fit has early stopping that waits for 2,000 steps, and is scored on a fifth of the training
rows of the table, which it does not see. The test rows are not read. With ``--outliers`` four rows
of each column are multiplied by 300, which makes the other rows similar to each other. The script
prints Markdown.
"""

import argparse
import math

import numpy as np
from _runs import environment, markdown, test_scores, thread_limit, timed_fit
from _tables import CLASSIFICATION, load_encoded

from sklearn_kd import TwoLayerPGDClassifier

BATCH_SIZE = 128
PATIENCE_STEPS = 2000


def with_outliers(X, rng):
    X = X.copy()
    for column in range(X.shape[1]):
        X[rng.choice(len(X), 4), column] *= 300
    return X


def run(table, n_steps, max_rows, *, outliers=False):
    """Return what one fit has reached, as a dict."""
    data = load_encoded(table, 0, dtype=np.float32, max_rows=max_rows)
    n_train = int(0.8 * len(data.X_train))
    X, y = data.X_train, data.y_train
    if outliers:
        X = with_outliers(X, np.random.RandomState(0))
    model = TwoLayerPGDClassifier(
        batch_size=BATCH_SIZE,
        max_iter=max(30, math.ceil(n_steps * BATCH_SIZE / n_train)),
        n_iter_no_change=max(10, PATIENCE_STEPS * BATCH_SIZE // n_train),
        random_state=0,
    )
    seconds = timed_fit(model, X[:n_train], y[:n_train])
    return {
        **test_scores(model, X[n_train:], y[n_train:]),
        "validation_loss": min(model.validation_loss_curve_),
        "n_epochs": model.n_iter_,
        "seconds": seconds,
        "ended": model.termination_condition_,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[10000, 30000, 60000])
    parser.add_argument("--tables", nargs="+", default=CLASSIFICATION[3:], metavar="NAME")
    parser.add_argument("--max-rows", type=int, default=14000)
    parser.add_argument("--outliers", action="store_true")
    args = parser.parse_args()
    names = ["steps", "loss", "accuracy", "loss of early stopping", "epochs", "seconds", "ended"]
    lines = []
    with thread_limit(1):
        for table in args.tables:
            for n_steps in args.steps:
                row = run(table, n_steps, args.max_rows, outliers=args.outliers)
                lines.append(
                    [table, n_steps, f"{row['log_loss']:.4f}", f"{row['accuracy']:.4f}"]
                    + [f"{row['validation_loss']:.4f}", row["n_epochs"]]
                    + [f"{row['seconds']:.1f}", row["ended"]]
                )
    print(environment("one thread"))
    print(markdown(["table", *names], lines))


if __name__ == "__main__":
    main()

"""A compact student in front of its teacher
=========================================

The teacher answers the rows of which the student is not sure. The data are the digits that are
bundled with scikit-learn. The teacher is a forest of 300 trees, and the student a network of 8
neurons, written as a compact file. Both are fitted on half of the rows. On a quarter of the rows
`DeferralDisplay` shows the accuracy of both together against the share of rows that the student
defers to the teacher, and the threshold is chosen that reaches the accuracy of the teacher less
half a point with the fewest of them. On the last quarter the rows are answered one by one, as in a
service, and timed. The script takes about 20 seconds on one core.

The following command writes the picture. Without a path it is shown in a window::

    python examples/plot_deferral.py deferral.png
"""

import argparse
import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
from sklearn_kd.export import compact
from sklearn_kd.inspection import DeferralDisplay


class Cascade:
    """A compact student that defers rows of low confidence to a teacher."""

    def __init__(self, student, teacher, threshold):
        self.student, self.teacher, self.threshold = student, teacher, threshold

    def predict_one(self, row):
        """Return the label of one row, and whether the teacher has given it."""
        proba = self.student.predict_proba_one(row)
        if proba.max() >= self.threshold:
            return self.student.classes_[proba.argmax()], False
        return self.teacher.predict(row[None])[0], True


def timed(cascade, X, y):
    """Return accuracy, share of rows deferred and mean microseconds of rows one by one."""
    start = time.perf_counter()
    labels, deferred = zip(*(cascade.predict_one(row) for row in X), strict=True)
    seconds = time.perf_counter() - start
    return np.mean(np.array(labels) == y), np.mean(deferred), 1e6 * seconds / len(X)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", nargs="?", help="where to save the picture; shown if left out")
    path = parser.parse_args().path

    import matplotlib.pyplot as plt

    X, y = load_digits(return_X_y=True)
    X_train, X_rest, y_train, y_rest = train_test_split(X, y, test_size=0.5, random_state=0)
    X_choice, X_test, y_choice, y_test = train_test_split(
        X_rest, y_rest, test_size=0.5, random_state=0
    )
    forest = RandomForestClassifier(300, random_state=0)
    network = TwoLayerPGDClassifier(width=8)
    fixed = {"alpha": 0.5, "temperature": 1.0, "augmentation": None, "random_state": 0}
    model = DistilledClassifier(forest, network, **fixed).fit(X_train, y_train)
    small = compact(model)

    models = {"student": 0.0, "teacher": np.inf}  # thresholds with which each answers all rows
    measured = {
        name: timed(Cascade(small, model.teacher_, threshold), X_choice, y_choice)
        for name, threshold in models.items()
    }
    costs = measured["student"][2], measured["teacher"][2] - measured["student"][2]
    display = DeferralDisplay.from_estimator(model, X_choice, y_choice, costs=costs)
    wanted = display.frame["accuracy"].iloc[-1] - 0.005
    chosen = display.choose_threshold(min_score=wanted)
    plt.close(display.figure_)  # without a threshold
    display.plot(threshold=chosen["threshold"])
    display.ax_.set_title("A network of 8 neurons defers the digits it is unsure of to a forest")
    display.cost_ax_.set_xlabel("Mean microseconds of a row")

    print(f"{len(X_test)} test rows, one by one; a compact file of {small.n_bytes_:,} bytes")
    print(f"{'answered by':<24}  {'accuracy':>8}  {'deferred':>8}  {'us a row':>8}")
    thresholds = {**models, f"both, threshold {chosen['threshold']:.3f}": chosen["threshold"]}
    for name, threshold in thresholds.items():
        accuracy, deferred, microseconds = timed(
            Cascade(small, model.teacher_, threshold), X_test, y_test
        )
        print(f"{name:<24}  {accuracy:>8.4f}  {deferred:>8.1%}  {microseconds:>8,.0f}")

    if path is None:
        plt.show()
    else:
        display.figure_.savefig(path, dpi=120, bbox_inches="tight")
        print(f"picture: {path}")


if __name__ == "__main__":
    main()

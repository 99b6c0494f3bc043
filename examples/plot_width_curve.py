"""Accuracy against the width of the student
=========================================

The curve is drawn for hard labels and for those of the teacher. The data are the digits that are
bundled with scikit-learn, and the teacher is a forest of 200 trees. Students of 2 to 32 neurons are
trained on the labels alone ("hard") and on the mean of labels and the out-of-bag probabilities of
the forest ("soft"), each from three random initializations, in three folds. `WidthCurveDisplay`
trains the 30 students of a fold together. The script takes under a minute on one core.

The following command writes the picture. Without a path it is shown in a window::

    python examples/plot_width_curve.py width_curve.png
"""

import argparse

from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
from sklearn_kd.inspection import WidthCurveDisplay


def summary(frame):
    """Return mean and spread over seeds of the accuracy, one line for each width."""
    students = frame[frame["labels"] != "teacher"]
    by_seed = students.groupby(["labels", "width", "seed"])["score"].mean()
    return by_seed.groupby(["width", "labels"]).agg(["mean", "std"]).unstack("labels")


def narrowest(table, level):
    """Return a sentence on the smallest width that reaches a level, on each kind of labels."""
    words = []
    for labels in ("hard", "soft"):
        enough = table.index[table["mean", labels] >= level]
        width = f"{enough.min()} neurons" if len(enough) else "none of these widths"
        words.append(f"{width} on {labels} labels")
    return ", ".join(words)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", nargs="?", help="where to save the picture; shown if left out")
    path = parser.parse_args().path

    X, y = load_digits(return_X_y=True)
    forest = RandomForestClassifier(200, random_state=0)
    # pixels as they are; so many epochs are sufficient here, and fast
    student = TwoLayerPGDClassifier(max_iter=60, encoder=None)
    half_and_half = {"alpha": 0.5, "temperature": 1.0, "augmentation": None}
    model = DistilledClassifier(forest, student, **half_and_half, random_state=0)
    display = WidthCurveDisplay.from_estimator(
        model, X, y, widths=[2, 4, 8, 16, 32], seeds=3, cv=3, scoring="accuracy"
    )
    display.ax_.set_title("Digits: students of a forest, mean and standard deviation")

    table = summary(display.frame)
    teacher = display.frame.loc[display.frame["labels"] == "teacher", "score"].mean()
    print(f"Accuracy on {len(X)} digits, three folds; the teacher's is {teacher:.3f}")
    print(f"{'width':>5}  {'hard labels':>15}  {'soft labels':>15}")
    for width, line in table.iterrows():
        cells = [f"{line['mean', k]:.3f} +- {line['std', k]:.3f}" for k in ("hard", "soft")]
        print(f"{width:>5}  {cells[0]:>15}  {cells[1]:>15}")
    print("+- is one standard deviation over three starts, the band of the picture.")
    level = teacher - 0.03
    print(f"Within three points of the teacher ({level:.3f}): {narrowest(table, level)}.")

    if path is None:
        import matplotlib.pyplot as plt

        plt.show()
    else:
        display.figure_.savefig(path, dpi=120, bbox_inches="tight")
        print(f"picture: {path}")


if __name__ == "__main__":
    main()

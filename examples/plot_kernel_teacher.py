"""Out-of-sample labels and training time of the kernel teacher
============================================================

The data are the digits bundled with scikit-learn, with one label in ten replaced by another digit.
The left panel shows the confidence of the teacher in the given labels, in-sample and left out.
In-sample, the teacher has memorized the wrong labels. Left out, its most probable digit is correct
more often than the given labels, and a student is trained on these probabilities. The right panel
shows accuracy along training time, from one eigendecomposition: the true digits are learned first,
the wrong labels last.

The script takes seconds.

The following command writes the picture. Without a path it is shown in a window::

    python examples/plot_kernel_teacher.py kernel_teacher.png
"""

import argparse

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split

from sklearn_kd import KernelTeacher

TIMES = np.logspace(-1, 5, 25)


def wrong_labels(y, rate, random):
    """Return labels of which a share is drawn among the other digits."""
    flipped = random.random_sample(len(y)) < rate
    return np.where(flipped, (y + random.randint(1, 10, size=len(y))) % 10, y)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", nargs="?", help="where to save the picture; shown if left out")
    path = parser.parse_args().path

    random = np.random.RandomState(0)
    X, digits = load_digits(return_X_y=True)
    X_train, X_test, clean, y_test = train_test_split(X, digits, test_size=0.3, random_state=0)
    y_train = wrong_labels(clean, 0.1, random)

    teacher = KernelTeacher(ridge=1e-3, encoder=None, random_state=0).fit(X_train, y_train)
    labels = {"in-sample": teacher.predict_proba(X_train), "left out": teacher.loo_proba_}
    print("Labels of the training rows, one in ten of which was given a wrong digit")
    for name, proba in labels.items():
        given, true = (accuracy_score(y, proba.argmax(axis=1)) for y in (y_train, clean))
        print(
            f"  {name:>9}: the given digit on {given:.3f} of the rows, the true one on {true:.3f}"
        )

    chosen = KernelTeacher(encoder=None, random_state=0).fit(X_train, y_train)
    small, large = teacher.score(X_test, y_test), chosen.score(X_test, y_test)
    print(f"Test accuracy with ridge 0.001: {small:.3f}, with the one chosen on left-out values")
    print(f"({chosen.ridge_:.3g}): {large:.3f}")

    given, test = (
        [
            accuracy_score(y, proba.argmax(axis=1))
            for proba in teacher.staged_predict_proba(X, TIMES)
        ]
        for X, y in ((X_train, y_train), (X_test, y_test))
    )
    best = int(np.argmax(test))
    print(
        f"Best training time: {TIMES[best]:.3g}, test accuracy {test[best]:.3f}; at {TIMES[-1]:.3g}"
    )
    print(f"it is {test[-1]:.3f}, and {given[-1]:.3f} of the given labels are reproduced")
    plot(labels, y_train, given, test, path)


def plot(labels, y_train, given, test, path):
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("no picture: matplotlib is missing, pip install sklearn-kd[plot]")
        return
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    figure.suptitle("Kernel teacher on digits, one label in ten of which is wrong")
    bins = np.linspace(0, 1, 21)
    for name, proba in labels.items():
        left.hist(
            proba[np.arange(len(y_train)), y_train], bins, histtype="step", label=name, lw=1.5
        )
    left.set(xlabel="Probability of the given label", ylabel="Training rows", yscale="log")
    left.set_title("In-sample, wrong labels look like right ones")
    left.legend()
    right.semilogx(TIMES, given, label="given labels, training rows")
    right.semilogx(TIMES, test, label="true labels, test rows")
    right.set(xlabel="Training time", ylabel="Accuracy")
    right.set_title("Wrong labels are learned last")
    right.legend()
    if path is None:
        plt.show()
    else:
        figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()

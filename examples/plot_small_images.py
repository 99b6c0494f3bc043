"""A convolutional network teaches smaller ones to read digits
===========================================================

Of the 8 x 8 digits that are bundled with scikit-learn, 300 have a label, 599 more have none, and
898 are used for testing. The teacher is a convolutional network of 32 channels that is trained on
digits shifted by up to a pixel. The students are convolutional networks of a few channels, and two-
layer networks, which predict without torch. Each is trained

- on the 300 labels alone,
- on the mean of these and of the probabilities of the teacher ("distilled"),
- likewise, and on the probabilities of the teacher for the unlabeled images ("more images").

The script takes under a minute on two cores.

The following command writes the picture. Without a path it is shown in a window::

    python examples/plot_small_images.py small_images.png
"""

import argparse
import pickle
import time

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import cross_val_predict, train_test_split

from sklearn_kd import DistilledClassifier, ModuleClassifier, TwoLayerPGDClassifier
from sklearn_kd.modules import SmallCNN

KINDS = ["300 labels", "distilled", "more images"]
SEEDS = [0, 1, 2]


def convolutional(width, n_rows, **params):
    """Return an unfitted convolutional network that trains for about 200 steps of 64 rows."""
    return ModuleClassifier(
        SmallCNN,
        module_params={"width": width, "dropout": params.pop("dropout", 0.0)},
        image_shape=(1, 8, 8),
        batch_size=64,
        max_epochs=max(1, round(200 * 64 / n_rows)),
        learning_rate=0.005,
        scheduler="one-cycle",
        early_stopping=False,
        random_state=0,
        **params,
    )


def students(n_rows):
    """Return students by kind and width."""
    networks = {("convolutional", width): convolutional(width, n_rows) for width in (4, 8)}
    for width in (8, 16, 32):
        # in full batch an epoch is one step
        networks["two-layer", width] = TwoLayerPGDClassifier(
            width, batch_size=None, max_iter=200, early_stopping=False, encoder=None
        )
    return networks


def measure(model, X):
    """Return size and speed: bytes on disk, microseconds for one row, rows per second in bulk."""
    times, many = [], np.resize(X, (5000, X.shape[1]))
    for rows in [X[:1]] * 100 + [many] * 2:
        start = time.perf_counter()
        model.predict(rows)
        times.append(time.perf_counter() - start)
    return {
        "bytes": len(pickle.dumps(model)),
        "one row, us": 1e6 * np.median(times[:100]),
        "rows per second": len(many) / min(times[100:]),
    }


def draw(table, teacher, axis):
    """Draw accuracy against size, one line for each kind of student and of labels."""
    for (student, lines), style in zip(table.groupby("student"), ("o-", "s--"), strict=True):
        for kind, color in zip(KINDS, ("C7", "C0", "C1"), strict=True):
            mean, std = lines[kind, "mean"], lines[kind, "std"]
            sizes, label = lines["bytes", ""], f"{student}, {kind}"
            axis.errorbar(sizes, mean, std, fmt=style, color=color, capsize=3, label=label)
    axis.plot(teacher["bytes"], teacher["accuracy"], "k*", markersize=12, label="teacher")
    axis.set(xscale="log", xlabel="Bytes of the pickled model", ylabel="Accuracy on test images")
    axis.set_title("Students learn most from the teacher's labels of more images")
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", nargs="?", help="where to save the picture; shown if left out")
    path = parser.parse_args().path

    X, y = load_digits(return_X_y=True)
    X = X.astype(np.float32)  # half the memory and time of float64
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.5, stratify=y, random_state=0)
    X, X_unlabeled, y, _ = train_test_split(X, y, train_size=300, stratify=y, random_state=0)

    teacher = convolutional(32, len(X), dropout=0.5, augmentation={"shift": 1})
    # On the rows that it was fitted on, the teacher is confident and correct, and its labels add
    # nothing. These labels come from five fits without the row, as DistilledClassifier makes them
    # itself. Here they are made once for all students.
    labels = cross_val_predict(teacher, X, y, cv=5, method="predict_proba")
    teacher.fit(X, y)

    scores, sizes = [], {}
    for kind in KINDS:
        rows = len(X) + len(X_unlabeled) if kind == "more images" else len(X)
        for key, student in students(rows).items():
            for seed in SEEDS:
                model = clone(student).set_params(random_state=seed)
                if kind == "300 labels":
                    model.fit(X, y)
                else:
                    more = X_unlabeled if kind == "more images" else None
                    # transfer rows are for tables, not for images
                    fixed = {"alpha": 0.5, "temperature": 1.0, "augmentation": None}
                    model = DistilledClassifier(FrozenEstimator(teacher), model, **fixed)
                    model.fit(X, y, soft_targets=labels, X_unlabeled=more)
                    model = model.student_  # the model to deploy
                scores.append((*key, kind, model.score(X_test, y_test)))
            sizes[key] = measure(model, X_test)

    index = ["student", "width"]
    scores = pd.DataFrame(scores, columns=[*index, "labels", "accuracy"])
    table = scores.groupby([*index, "labels"])["accuracy"].agg(["mean", "std"])
    table = table.unstack("labels").swaplevel(axis=1)
    for name, values in pd.DataFrame(sizes).T.rename_axis(index).items():
        table[name, ""] = values
    about = {"accuracy": teacher.score(X_test, y_test)} | measure(teacher, X_test)

    print(f"Test accuracy of the teacher: {about['accuracy']:.3f}; of the students, mean and")
    print(f"standard deviation over {len(SEEDS)} starts:\n")
    head = [f"{kind:>15}" for kind in KINDS]
    print(f"{'':<17}", *head, f"{'bytes':>8}", f"{'one row, us':>12}", f"{'rows per s':>11}")
    for (student, width), line in table.iterrows():
        cells = [f"{line[kind, 'mean']:.3f} +- {line[kind, 'std']:.3f}" for kind in KINDS]
        cells = [f"{cell:>15}" for cell in cells]
        size, one, many = (line[name, ""] for name in ("bytes", "one row, us", "rows per second"))
        print(f"{student:<14}{width:>3}", *cells, f"{size:>8,.0f} {one:>12,.0f} {many:>11,.0f}")
    size, one, many = (about[name] for name in ("bytes", "one row, us", "rows per second"))
    print(f"{'teacher':<14}{32:>3}", " " * 47, f"{size:>8,.0f} {one:>12,.0f} {many:>11,.0f}\n")
    for kind in KINDS[1:]:
        gain = 100 * (table[kind, "mean"] - table[KINDS[0], "mean"])
        print(f"{kind}: {gain.mean():+.1f} points ({gain.min():+.1f} to {gain.max():+.1f})")

    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4.5), layout="constrained")
    draw(table, about, axis)
    if path is None:
        plt.show()
    else:
        figure.savefig(path, dpi=120)
        print(f"picture: {path}")


if __name__ == "__main__":
    main()

"""Finding the wrong labels of a table, and training in spite of them
==================================================================

The table is bundled with scikit-learn. It contains 569 tumors, 30 columns of measurements of cells,
and whether the tumor was malignant or benign. One label in five of the training rows is replaced by
the other class, so that the wrong labels are known. The test labels are unchanged.

1. A network is trained on these labels, and the same network is trained in a
   `SelfDistillClassifier`, which trusts its own predictions more than a label that many similar
   rows contradict.
2. `find_label_errors` ranks the rows by how suspicious their labels are, by networks that are each
   trained without a fifth of the rows. In practice one inspects such a list from the top.

The script takes under a minute on two cores.

The following command writes the picture. Without a path it is shown in a window::

    python examples/plot_noisy_labels.py noisy_labels.png
"""

import argparse

import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from sklearn_kd import SelfDistillClassifier, TwoLayerPGDClassifier
from sklearn_kd.datasets import add_label_noise

RATE = 0.2


def draw(quality, is_wrong, path):
    """Draw the label quality of right and wrong labels, and the search along the ranking."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print('no picture: matplotlib is missing, pip install "sklearn-kd[plot]"')
        return
    figure = plt.figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    bins = np.linspace(0, 1, 21)
    for rows, name, color in ((~is_wrong, "right labels", "C0"), (is_wrong, "wrong labels", "C3")):
        left.hist(quality[rows], bins, color=color, alpha=0.6, label=name)
    left.set(
        xlabel="Label quality", ylabel="Training rows", title="Wrong labels have a low quality"
    )
    left.legend()
    found = is_wrong[np.argsort(quality, kind="stable")].cumsum()
    n_looked = np.arange(1, len(found) + 1)
    right.plot(n_looked, found, color="C3", label="ranked by label quality")
    right.plot(n_looked, np.minimum(n_looked, found[-1]), "k--", lw=1, label="best possible")
    right.plot(n_looked, n_looked * found[-1] / len(found), "k:", lw=1, label="any order")
    right.set(
        xlabel="Rows looked through",
        ylabel="Wrong labels found",
        title="They come first in the ranking",
    )
    right.legend()
    if path is None:
        plt.show()
    else:
        figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", nargs="?", help="where to save the picture; shown if left out")
    path = parser.parse_args().path

    data = load_breast_cancer(as_frame=True)
    X, y = data.data, data.target_names[data.target]  # the words "malignant" and "benign"
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.3, stratify=y, random_state=0
    )
    noisy = add_label_noise(y_train, RATE, random_state=0)
    # noisy.y is what is known in practice. noisy.is_wrong is only used for checking the results.
    n_wrong = noisy.is_wrong.sum()
    print(f"{len(X_train)} rows for training, {n_wrong} of their labels wrong; ", end="")
    print(f"{len(X_test)} for testing, all right\n")

    # Early stopping is on by default. It ends the training when the loss on held-out rows
    # increases, which happens once wrong labels are memorized.
    network = TwoLayerPGDClassifier(width=128, random_state=0)
    models = {
        "network, trained to the end": clone(network).set_params(early_stopping=False),
        "network with early stopping": network,
        "SelfDistillClassifier": SelfDistillClassifier(network, random_state=0),
    }
    print("Accuracy on the test rows")
    for name, model in models.items():
        model.fit(X_train, noisy.y)
        print(f"{name:>29}: {model.score(X_test, y_test):.3f}")
    model = models["SelfDistillClassifier"]
    print(f"\nEstimated share of wrong labels: {model.noise_rate_:.2f}, ", end="")
    print(f"the true one: {noisy.rate:.2f}\n")

    # Five copies of the model are fitted, each without a fifth of the rows. The label of a row is
    # evaluated by the copy without it and by the others. cv="in-sample" would use the model fitted
    # above at no cost.
    errors = model.find_label_errors(X_train, noisy.y)
    errors["truly wrong"] = noisy.is_wrong[errors["row"]]
    errors["mean radius"] = X_train["mean radius"].to_numpy()[errors["row"]].round(1)
    print("The ten most suspicious labels\n")
    print(errors.head(10).round(3).to_string(index=False), end="\n\n")
    for n in (10, n_wrong):
        print(f"Of the first {n} labels {errors['truly wrong'][:n].mean():.0%} are truly wrong.")
    suspects = errors[errors["given_label"] != errors["suggested_label"]]
    found, precise = suspects["truly wrong"].sum(), suspects["truly wrong"].mean()
    print(
        f"The networks contradict {len(suspects)} labels, {precise:.0%} of them rightly, and find"
    )
    print(f"{found} of the {n_wrong} wrong ones.")

    ordered = errors.sort_values("row")
    draw(ordered["label_quality"].to_numpy(), noisy.is_wrong, path)


if __name__ == "__main__":
    main()

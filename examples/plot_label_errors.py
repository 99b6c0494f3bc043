"""Looking through the most suspicious labels of images
====================================================

The images are the 1,797 handwritten digits that are bundled with scikit-learn. Three annotators
label two thirds of them. Two make mistakes anywhere, and the third takes each digit for the next
one in a part of the table. The label of an image is the one with the most votes.

1. `find_label_errors` ranks these labels by how suspicious they are, by networks that are each
   trained without a fifth of the images. `LabelErrorDisplay` shows the ranking page by page.
2. A person looks through the first pages and corrects what is wrong. Here the true labels do.
3. The same network is trained on the labels with the most votes, on the votes as soft targets, and
   on the corrected labels.

The votes contain wrong labels, unlike the probabilities of a teacher. Therefore early stopping is
switched on. By default, a network learns soft targets to the end, and here memorizes wrong votes.

The script takes under a minute on one core.

The following command writes the picture. Without a path it is shown in a window::

    python examples/plot_label_errors.py label_errors.png
"""

import argparse

from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_kd import SelfDistillClassifier, TwoLayerPGDClassifier
from sklearn_kd.datasets import add_label_noise, votes_to_soft_targets
from sklearn_kd.inspection import LabelErrorDisplay

RATE = 0.35  # wrong labels of each annotator
N_PAGES, PAGE_SIZE = 8, 20


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", nargs="?", help="where to save the picture; shown if left out")
    path = parser.parse_args().path

    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=1 / 3, stratify=y, random_state=0
    )
    noisy = add_label_noise(y_train, RATE, kind="annotators", X=X_train, random_state=0)
    # noisy.y and noisy.votes are what is known in practice. noisy.is_wrong only checks the results.
    n_wrong = noisy.is_wrong.sum()
    print(f"{len(X_train)} images for training. Each annotator is wrong on {RATE:.0%} of them, ")
    print(f"and the label with the most votes on {n_wrong}, or {noisy.rate:.1%}.\n")

    # pixels as they are
    network = TwoLayerPGDClassifier(128, encoder=None, early_stopping=True, random_state=0)
    model = SelfDistillClassifier(network, random_state=0)
    errors = model.find_label_errors(X_train, noisy.y)

    print("Wrong labels on each page of the ranking")
    for start in range(0, N_PAGES * PAGE_SIZE, PAGE_SIZE):
        page = errors["row"][start : start + PAGE_SIZE]
        print(f"  {start + 1:>3} to {start + PAGE_SIZE:>3}: {noisy.is_wrong[page].sum():>2}")
    looked_at = errors["row"][: N_PAGES * PAGE_SIZE].to_numpy()
    found = noisy.is_wrong[looked_at].sum()
    print(f"{len(looked_at)} images were looked at, and {found} of {n_wrong} wrong labels found.\n")
    corrected = noisy.y.copy()
    corrected[looked_at] = y_train[looked_at]

    print("Accuracy of the same network on the test images")
    soft_targets = votes_to_soft_targets(noisy.votes)
    to_the_end = {"early_stopping": "auto"}
    for name, labels, targets, parameters in [
        ("labels with the most votes", noisy.y, None, {}),
        ("votes as soft targets", noisy.y, soft_targets, {}),
        ("votes, no early stopping", noisy.y, soft_targets, to_the_end),
        (f"{len(looked_at)} labels checked", corrected, None, {}),
        ("true labels", y_train, None, {}),
    ]:
        student = clone(network).set_params(**parameters)
        student.fit(X_train, labels, soft_targets=targets)
        print(f"  {name:>26}: {student.score(X_test, y_test):.3f}")

    try:
        display = LabelErrorDisplay.from_errors(errors, X_train, image_shape=(1, 8, 8))
    except ImportError:
        print('\nno picture: matplotlib is missing, pip install "sklearn-kd[plot]"')
        return
    if path is None:
        import matplotlib.pyplot as plt

        plt.show()
    else:
        display.figure_.savefig(path, dpi=120)


if __name__ == "__main__":
    main()

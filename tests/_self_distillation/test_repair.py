"""SelfDistillClassifier repairs wrong labels, and keeps a rare class."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score

from sklearn_kd import ModuleClassifier, SelfDistillClassifier, TwoLayerPGDClassifier
from sklearn_kd.datasets._label_noise import add_label_noise
from tests._helpers.data import blobs
from tests._helpers.self_distillation import Small

# these have tests of their own; here labels are often clean, or rows few
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.CleanLabelsWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.ClassCollapseWarning"),
]


@pytest.fixture(scope="module")
def noisy_digits():
    """Digits with 30 % wrong labels, which a wide network memorizes; it, and self-distilled."""
    X, y = load_digits(n_class=4, return_X_y=True)
    noisy = add_label_noise(y, 0.3, random_state=0)
    net = TwoLayerPGDClassifier(
        256,
        max_iter=200,
        early_stopping=False,
        n_init=1,
        random_state=0,
        encoder=None,
        init="symmetric",
        weight_decay=0.0,
    )
    return X, y, noisy, clone(net).fit(X, noisy.y), SelfDistillClassifier(net).fit(X, noisy.y)


def test_it_repairs_digits(noisy_digits):
    X, y, noisy, plain, model = noisy_digits
    assert plain.score(X, noisy.y) > 0.95
    assert model.score(X, y) > plain.score(X, y) + 0.2
    assert model.score(X, y) > 0.95
    assert average_precision_score(noisy.is_wrong, -model.label_quality_) > 0.95


def test_refined_labels_are_right(noisy_digits):
    _, y, noisy, _, model = noisy_digits
    right = model.refined_targets_.argmax(axis=1) == y
    assert right.mean() > 0.95
    assert right[noisy.is_wrong].mean() > 0.9


@pytest.mark.parametrize("memory", [None, 0.9])
def test_a_module_repairs_blobs(memory):
    X, clean = blobs(300, n_classes=3, n_features=5, spread=1.0)
    noisy = add_label_noise(clean, 0.3, random_state=0)
    student = ModuleClassifier(
        Small,
        module_params={"width": 256},
        learning_rate=0.02,
        max_epochs=300,
        early_stopping=False,
        random_state=0,
    )
    plain = clone(student).fit(X, noisy.y)
    assert plain.score(X, noisy.y) > 0.85
    model = SelfDistillClassifier(student, memory=memory).fit(X, noisy.y)
    assert model.score(X, clean) > plain.score(X, clean) + 0.15
    assert model.score(X, clean) > 0.9


@pytest.mark.parametrize("seed", [0, 3])
def test_a_rare_class_is_kept_by_the_default_and_lost_by_accuracy(seed):
    rng = np.random.RandomState(seed)

    def draw(n):
        y = np.repeat([0, 1], [n - n // 20, n // 20])
        X = rng.normal(size=(n, 5))
        X[y == 1] += 6 / np.sqrt(5)
        return X, y

    (X, y), (X_test, y_test) = draw(400), draw(4000)
    net = TwoLayerPGDClassifier(
        32,
        learning_rate=0.5,
        momentum=0,
        max_iter=1000,
        early_stopping=False,
        n_init=1,
        random_state=0,
        encoder=None,
    )

    def recall(model):
        return (model.fit(X, y).predict(X_test[y_test == 1]) == 1).mean()

    plain = recall(clone(net))
    assert plain > 0.95
    assert recall(SelfDistillClassifier(net, schedule="accuracy", warm_up=0.02)) == 0
    assert recall(SelfDistillClassifier(net, warm_up=0.02)) > plain - 0.02

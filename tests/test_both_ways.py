"""Modules teach and learn from everything else: each pair through DistilledClassifier."""

import numpy as np
import pytest
import skorch
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_kd import DistilledClassifier, ModuleClassifier, TwoLayerPGDClassifier
from sklearn_kd.metrics import fidelity_score
from sklearn_kd.modules import MLP, VGG, SmallCNN

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def digits():
    """Even and odd rows of three digits, in float32."""
    X, y = load_digits(n_class=3, return_X_y=True)
    X = X.astype(np.float32)
    return X[::2], y[::2], X[1::2], y[1::2]


def network(module, epochs=25, **params):
    shape = None if module is MLP else (1, 8, 8)
    return ModuleClassifier(
        module,
        module_params=params,
        image_shape=shape,
        batch_size=32,
        max_epochs=epochs,
        early_stopping=False,
        random_state=0,
        device="cpu",
    )


def skorch_net():
    """Return a user's own net, which takes images and answers with logits."""
    torch.manual_seed(0)
    net = skorch.NeuralNetClassifier(
        SmallCNN(n_outputs=3, input_shape=(1, 8, 8), width=4, depth=1),
        criterion=torch.nn.CrossEntropyLoss,
        classes=[0, 1, 2],
        lr=0.1,
        max_epochs=15,
        verbose=0,
    )
    return make_pipeline(FunctionTransformer(lambda X: X.reshape(-1, 1, 8, 8) / 16), net)


PAIRS = {
    "VGG to a small VGG": (
        network(VGG, width=4, n_conv=4, dropout=0.0),
        network(VGG, width=4, n_conv=2, dropout=0.0),
    ),
    "a module to two layers": (network(SmallCNN, width=4, epochs=15), TwoLayerPGDClassifier(4)),
    "a forest to a CNN": (RandomForestClassifier(50), network(SmallCNN, width=4, depth=2)),
    "a forest to a scaled MLP": (
        RandomForestClassifier(50),
        make_pipeline(StandardScaler(), network(MLP, width=8, depth=1)),
    ),
    "several, averaged, to a module": (
        VotingClassifier(
            [
                ("cnn", network(SmallCNN, epochs=5, width=4)),
                ("mlp", network(MLP, epochs=5, width=16)),
                ("logistic", make_pipeline(StandardScaler(), LogisticRegression())),
            ],
            voting="soft",
        ),
        network(MLP, width=8, depth=1),
    ),
    "a module to a regression": (
        network(SmallCNN, width=4, epochs=15),
        LogisticRegression(max_iter=2000),
    ),
}


TAUGHT = {"alpha": 1.0, "temperature": 1.0, "calibration": None, "augmentation": None}


@pytest.mark.parametrize("name", PAIRS)
def test_students_learn_what_the_teacher_says(digits, name):
    X, y, X_test, y_test = digits
    teacher, student = (clone(each) for each in PAIRS[name])
    model = DistilledClassifier(teacher, student, **TAUGHT, cv=2, random_state=0).fit(X, y)
    assert model.score(X_test, y_test) > 0.9
    taught = model.teacher_.predict_proba(X_test)
    assert fidelity_score(taught, model.predict_proba(X_test)) > 0.8


def test_a_skorch_net_of_the_users_teaches(digits):
    X, y, X_test, y_test = digits
    teacher = skorch_net().fit(X, y)
    student = network(SmallCNN, width=2, depth=1)
    model = DistilledClassifier(FrozenEstimator(teacher), student, **TAUGHT).fit(X, y)
    assert model.label_source_ == "frozen"
    assert model.score(X_test, y_test) > 0.9
    # it is the net that is learned from, not the labels
    turned = DistilledClassifier(FrozenEstimator(teacher), student, **TAUGHT).fit(X, (y + 1) % 3)
    np.testing.assert_allclose(turned.predict_proba(X_test), model.predict_proba(X_test), atol=1e-5)

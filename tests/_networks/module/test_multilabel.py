"""ModuleClassifier on several labels."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit
from sklearn.base import clone
from sklearn.datasets import make_multilabel_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import f1_score, roc_auc_score
from skorch.callbacks import EpochScoring
from torch import nn

from sklearn_kd import DistilledClassifier, ModuleClassifier, TwoLayerPGDClassifier
from sklearn_kd.exceptions import ProbabilityOutputWarning
from sklearn_kd.modules import MLP
from tests._helpers.estimators import fitted_names
from tests._helpers.references import central_difference


class Linear(nn.Linear):
    """One layer that starts at zero."""

    def __init__(self, input_shape, n_outputs):
        super().__init__(input_shape[0], n_outputs)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)


class Sigmoid(Linear):
    def forward(self, x):
        return super().forward(x).sigmoid()


def rows(n=150, n_labels=3):
    X, Y = make_multilabel_classification(
        n, n_features=5, n_classes=n_labels, n_labels=2, random_state=0
    )
    return X, Y, 0.8 * Y + 0.1


def module(kind=MLP, **options):
    fast = {"max_epochs": 10, "learning_rate": 0.05, "device": "cpu", "random_state": 0}
    return ModuleClassifier(kind, **{**fast, **options})


@pytest.mark.parametrize("n_labels", [2, 3])
@pytest.mark.parametrize("kind", [MLP, Linear])
def test_shapes(kind, n_labels):
    X, Y, Q = rows(n_labels=n_labels)
    model = module(kind).fit(X, Y, soft_targets=Q)
    proba = model.predict_proba(X)
    assert proba.shape == Y.shape
    assert_allclose(proba, expit(model.decision_function(X)))
    assert_allclose(model.predict_log_proba(X), np.log(proba))
    assert_array_equal(model.predict(X), proba > 0.5)
    assert_array_equal(model.classes_, np.arange(n_labels))
    assert model.multilabel_
    assert roc_auc_score(Y, proba) > 0.75


@pytest.mark.parametrize("options", [{}, {"alpha": 0.4, "temperature": 3.0}], ids=str)
def test_a_step_is_the_gradient_of_the_mean_loss_over_labels(options):
    X, Y, Q = rows(40)
    a, T = options.get("alpha", 1.0), options.get("temperature", 1.0)
    step = {"optimizer": "sgd", "optimizer_params": {"momentum": 0.0}, "scheduler": None}
    model = module(Linear, **options, **step, batch_size=None, early_stopping=False)
    with pytest.warns(match="stopped after"):
        model.set_params(max_epochs=1, learning_rate=1e-2).fit(X, Y, soft_targets=Q)
    inputs = (X - model.input_offset_) / model.input_scale_
    tempered = expit(np.log(Q / (1 - Q)) / T)

    def loss(W):
        F = inputs @ W.T

        def cross_entropy(P, F):
            return -(P * np.log(expit(F)) + (1 - P) * np.log(expit(-F))).mean()

        return a * T**2 * cross_entropy(tempered, F / T) + (1 - a) * cross_entropy(Y, F)

    W = np.zeros((3, 5))
    gradient = central_difference(loss, W)
    assert_allclose(model.module_state_["weight"], -1e-2 * gradient, atol=1e-9)


def test_it_learns_like_the_two_layer_network():
    X, Y, Q = rows(400)
    train, test = slice(200), slice(200, 400)
    ours = module(module_params={"width": 32}, max_epochs=60).fit(
        X[train], Y[train], soft_targets=Q[train]
    )
    other = TwoLayerPGDClassifier(32, random_state=0).fit(X[train], Y[train], soft_targets=Q[train])
    scores = [roc_auc_score(Y[test], each.predict_proba(X[test])) for each in (ours, other)]
    assert scores[0] > scores[1] - 0.05


@pytest.mark.parametrize("n_labels", [2, 3])
def test_callbacks_of_skorch_score_several_labels(n_labels):
    X, Y, _ = rows(n_labels=n_labels)
    found = []

    class Keep(EpochScoring):
        def on_epoch_end(self, net, *args, **kwargs):
            super().on_epoch_end(net, *args, **kwargs)
            found.append((net.history[-1, self.name_], net.history[-1, "valid_acc"]))

    for scoring, measure in (("f1_micro", f1_score), ("roc_auc", roc_auc_score)):
        found.clear()
        callbacks = [Keep(scoring, lower_is_better=False)]
        model = module(callbacks=callbacks, max_epochs=1, early_stopping=True)
        with pytest.warns(match="stopped after"):
            model.fit(X, Y, X_val=X[:60], y_val=Y[:60])
        if measure is f1_score:
            expected = f1_score(Y[:60], model.predict(X[:60]), average="micro")
        else:
            expected = roc_auc_score(Y[:60], model.predict_proba(X[:60]))
        assert_allclose(found, [(expected, model.score(X[:60], Y[:60]))], rtol=1e-6)


def test_partial_fit_and_warm_start():
    X, Y, _ = rows()
    model = module().partial_fit(X, Y, classes=np.arange(3))
    model.partial_fit(X, Y)
    with pytest.raises(ValueError, match="one label for each row"):
        model.partial_fit(X, Y[:, 0])
    warm = module(warm_start=True).fit(X, Y).fit(X, Y)
    assert warm.predict(X).shape == Y.shape
    with pytest.raises(ValueError, match="y has 2 columns for the labels"):
        warm.fit(X, Y[:, :2])


def test_a_checkpoint_is_resumed(tmp_path):
    X, Y, Q = rows()
    model = module(checkpoint_path=tmp_path / "fit.pt")
    first = clone(model).fit(X, Y, soft_targets=Q)
    again = clone(model).fit(X, Y, soft_targets=Q)
    assert_array_equal(first.predict_proba(X), again.predict_proba(X))
    with pytest.raises(ValueError, match="soft_targets"):
        clone(model).fit(X, Y, soft_targets=Q[::-1] * 0.5 + Q * 0.5)


def test_augmented_rows_are_labeled_by_the_teacher():
    X, Y, Q = rows()
    calls = []

    def labeler(batch):
        calls.append(len(batch))
        return np.full((len(batch), 3), 0.9)

    model = module(augmentation=lambda rows, generator: rows + 0.1, image_shape=(1, 1, 5))
    model.set_params(module_params={"width": 8})
    model.fit(X, Y, soft_targets=Q, labeler=labeler)
    assert calls
    assert model.predict_proba(X).mean() > 0.7
    with pytest.raises(ValueError, match=r"probabilities of shape \(\d+, 3\)"):
        clone(model).fit(X, Y, soft_targets=Q, labeler=lambda batch: np.ones((len(batch), 2)))
    with pytest.raises(ValueError, match=r"probabilities in \[0, 1\]"):
        clone(model).fit(X, Y, soft_targets=Q, labeler=lambda batch: np.full((len(batch), 3), 2))


def test_errors_and_warnings_of_modules():
    X, Y, _ = rows()
    with pytest.raises(ValueError, match=r"for 3 labels the module must return logits of shape"):
        module(Linear, module_params={"n_outputs": 2}).fit(X, Y)
    with pytest.raises(ValueError, match="set class_weight=None for several labels"):
        module(class_weight="balanced").fit(X, Y)
    with pytest.warns(ProbabilityOutputWarning, match="those of a sigmoid"):
        module(Sigmoid).fit(X, Y)


def test_a_distilled_module():
    X, Y, _ = rows(300)
    forest = RandomForestClassifier(30, min_samples_leaf=3, random_state=0)
    model = DistilledClassifier(
        forest, module(), alpha=0.5, temperature=2.0, augmentation=None, random_state=0
    ).fit(X, Y)
    assert model.label_source_ == "oob"
    assert_array_equal(model.predict_proba(X), model.student_.predict_proba(X))
    assert "multilabel_" in fitted_names(model.student_)

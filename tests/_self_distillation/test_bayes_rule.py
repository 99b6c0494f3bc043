"""Networks that are trained on targets by Bayes' rule, and what is read from them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from sklearn_kd import SelfDistillClassifier, TwoLayerPGDClassifier
from tests._helpers.data import blobs

X, Y = blobs(260, n_classes=3, spread=2.0)


def network(**options):
    params = {"max_iter": 20, "n_init": 1, "random_state": 0, "encoder": None, **options}
    return TwoLayerPGDClassifier(4, **params)


class Trainings:
    """Records the parameters and the targets of each network, of which none trains for long."""

    def __init__(self, monkeypatch):
        self.params, self.targets, self.is_corrected, self.validation = [], [], [], []
        fit_targets = TwoLayerPGDClassifier._fit_targets

        def recorded(model, rows, y_encoded, weights, targets, y, **options):
            self.params.append(model.get_params())
            self.targets.append(targets)
            self.is_corrected.append(options.get("correction") is not None)
            self.validation.append(options["validation"])
            model.set_params(max_iter=2)
            return fit_targets(model, rows, y_encoded, weights, targets, y, **options)

        monkeypatch.setattr(TwoLayerPGDClassifier, "_fit_targets", recorded)


@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.ClassCollapseWarning")
@pytest.mark.parametrize(
    ("options", "batch_size", "n_epochs"),
    [
        ({"max_iter": "auto"}, 128, 500),  # at most
        ({"max_iter": "auto", "batch_size": 8}, 8, 116),  # 3000 steps of 26 an epoch
        ({"max_iter": "auto", "batch_size": 1}, 1, 30),  # at least
        ({"max_iter": "auto", "batch_size": None}, None, 500),
        ({"max_iter": 40}, 128, 40),
    ],
)
def test_early_learning_trains_to_the_end(monkeypatch, options, batch_size, n_epochs):
    trainings = Trainings(monkeypatch)
    SelfDistillClassifier(network(**options)).fit(X, Y)
    assert trainings.is_corrected[:2] == [False, True]
    for params, is_corrected in zip(trainings.params, trainings.is_corrected, strict=True):
        assert params["early_stopping"] == (not is_corrected)
        if is_corrected:
            assert params["batch_size"] == batch_size
            # rows are held out by their content: a fold has about a fifth
            assert params["max_iter"] == pytest.approx(n_epochs, abs=1)
    assert not trainings.is_corrected[-1]


@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.ClassCollapseWarning")
def test_attributes_are_those_of_the_targets_and_of_the_network(monkeypatch):
    trainings, w = Trainings(monkeypatch), np.random.RandomState(0).uniform(0.2, 3, 260)
    w[::13] = 0.0
    kept, given = w > 0, np.eye(3)[Y] == 1
    model = SelfDistillClassifier(network()).fit(X, Y, sample_weight=w)
    targets, proba = trainings.targets[-1], model.predict_proba(X)
    assert all(each is None for each in trainings.targets[:-1])
    share = np.average(1 - targets[given[kept]], weights=w[kept])
    assert_allclose(model.weight_curve_, np.full(model.n_iter_, share), rtol=1e-9)
    mean = np.sqrt(targets * proba[kept])
    mean /= mean.sum(axis=1, keepdims=True)
    assert_allclose(model.refined_targets_[kept], mean, rtol=1e-9)
    assert_allclose(model.label_quality_, proba[given], rtol=1e-9)
    assert model.first_generation_ is None


@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.ClassCollapseWarning")
def test_validation_rows_have_targets_by_bayes_rule_too(monkeypatch):
    trainings, w = Trainings(monkeypatch), np.arange(40) % 3.0
    X_val, y_val = blobs(40, n_classes=3, spread=2.0, seed=1)
    SelfDistillClassifier(network()).fit(X, Y, X_val=X_val, y_val=y_val, sample_weight_val=w)
    for is_corrected, validation in zip(trainings.is_corrected, trainings.validation, strict=True):
        assert validation.has_rows != is_corrected  # which trains to the last epoch
    first, *_, last = trainings.validation
    assert_array_equal(first.y_encoded, y_val[w > 0])
    shares = np.zeros((40, 3))
    places = (X_val[:, None] == last.X).all(axis=2).argmax(axis=0)
    shares[places, last.y_encoded] = last.weights
    assert_allclose(shares.sum(axis=1)[w > 0], first.weights, rtol=0.01)
    assert (shares[w == 0] == 0).all()


@pytest.mark.parametrize("options", [{}, {"schedule": "chance-corrected"}])
def test_automatic_early_stopping_is_early_stopping(options):
    """Though a network on soft targets would not stop early: those of a teacher have no noise."""
    fits = [
        SelfDistillClassifier(network(early_stopping=each, max_iter="auto"), **options)
        for each in ("auto", True)
    ]
    first, second = (clone(model).fit(X, Y) for model in fits)
    assert_array_equal(first.predict_proba(X), second.predict_proba(X))
    assert first.loss_curve_ == second.loss_curve_

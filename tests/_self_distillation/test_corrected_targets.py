"""Corrected labels: generations, memory and schedules."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from sklearn_kd import SelfDistillClassifier
from tests._helpers.estimators import fitted_names
from tests._helpers.self_distillation import (
    NaiveTargets,
    cheap,
    few_rows,
    halfway,
    module,
    network,
    noisy_blobs,
)

# these have tests of their own; here labels are often clean, or rows few
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.CleanLabelsWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.ClassCollapseWarning"),
]


@pytest.mark.parametrize("schedule", ["chance-corrected", "accuracy", halfway])
@pytest.mark.parametrize("target", ["hard", "soft"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kind", ["network", "module"])
def test_the_last_generation_makes_the_targets_of_the_next(kind, n_classes, target, schedule):
    X, y = few_rows(n_classes, n=40)
    weights = np.random.RandomState(1).uniform(0.2, 3, len(X))
    student = network(width=20, early_stopping=True, max_iter=30)
    if kind == "module":
        student = module(early_stopping=True, max_epochs=20)
    options = {"target": target, "schedule": schedule, "strength": 0.9}
    model = SelfDistillClassifier(student, **options, memory="previous-generation")
    model.fit(X, y, sample_weight=weights)
    first = clone(student).fit(X, y, sample_weight=weights)
    naive = NaiveTargets(y, weights, 1, {**options, "warm_up": 0.0})
    Q = naive(first.predict_proba(X), range(len(X)), 0)
    second = clone(student).fit(X, y, sample_weight=weights, soft_targets=Q)
    assert_allclose(model.predict_proba(X), second.predict_proba(X), atol=1e-9)
    assert_allclose(model.weight_curve_, np.full(model.n_iter_, naive.weight_curve[0]), atol=1e-12)
    assert 0 < naive.weight_curve[0] < 1
    assert model.loss_curve_ == pytest.approx(second.loss_curve_, abs=1e-9)
    both = np.mean([each.predict_proba(X) for each in (first, second)], axis=0)
    assert_allclose(model.label_quality_, both[np.arange(len(y)), y], atol=1e-9)
    assert not np.allclose(model.predict_proba(X), first.predict_proba(X), atol=1e-3)


def test_auto_memory_goes_by_early_stopping():
    X, y = few_rows(3, n=40)
    for student in (network(max_iter=30), module(max_epochs=30)):
        stopped = clone(student).set_params(early_stopping=True)
        for net, schedule, memory in [
            (student, "accuracy", None),
            (stopped, "accuracy", "previous-generation"),
            (stopped, "annealed", None),
            (stopped, halfway, None),
        ]:
            fits = [
                SelfDistillClassifier(net, schedule=schedule, memory=each).fit(X, y)
                for each in ("auto", memory)
            ]
            first, second = (fitted.predict_proba(X) for fitted in fits)
            assert_array_equal(first, second)


def test_a_strength_of_zero_is_a_plain_fit():
    X, y = few_rows(3, n=40)
    for student in (network(max_iter=30), module(max_epochs=30), network(early_stopping=True)):
        plain = clone(student).fit(X, y)
        model = SelfDistillClassifier(student, strength=0).fit(X, y)
        assert_array_equal(model.predict_proba(X), plain.predict_proba(X))
        assert not model.weight_curve_.any()


def test_a_callable_that_returns_no_number():
    X, y, _ = noisy_blobs()
    model = SelfDistillClassifier(cheap(early_stopping=False), schedule=lambda *_: None, warm_up=0)
    with pytest.raises(TypeError):
        model.fit(X, y)
    assert not fitted_names(model)

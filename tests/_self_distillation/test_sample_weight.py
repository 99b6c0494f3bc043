"""Sample weights of SelfDistillClassifier."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from sklearn_kd import SelfDistillClassifier
from tests._helpers.self_distillation import few_rows, module, network

# these have tests of their own; here labels are often clean, or rows few
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.CleanLabelsWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.ClassCollapseWarning"),
]


STUDENTS = {
    "network": network(max_iter=60, output_layer="trained"),
    "stopped": network(max_iter=60, output_layer="trained", early_stopping=True),
    "module": module(max_epochs=60),
    "stopped module": module(max_epochs=60, early_stopping=True),
}


@pytest.mark.parametrize("kind", STUDENTS)
@pytest.mark.parametrize(
    "options",
    [{}, {"target": "soft", "memory": 0.5}, {"schedule": "accuracy", "memory": "previous-epoch"}],
    ids=["default", "soft", "previous-epoch"],
)
def test_a_weight_is_a_number_of_copies(kind, options):
    X, y = few_rows(3, n=40)
    w = np.random.RandomState(0).randint(1, 4, len(X))
    model = SelfDistillClassifier(STUDENTS[kind], warm_up=0.1, **options)
    weighted = clone(model).fit(X, y, sample_weight=w)
    copies = np.repeat(np.arange(len(X)), w)
    np.random.RandomState(1).shuffle(copies)
    repeated = clone(model).fit(X[copies], y[copies])
    assert weighted.n_iter_ == repeated.n_iter_
    assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), atol=1e-7)
    assert_allclose(weighted.weight_curve_, repeated.weight_curve_, atol=1e-9)
    assert_allclose(weighted.refined_targets_[copies], repeated.refined_targets_, atol=1e-7)
    assert_allclose(weighted.label_quality_[copies], repeated.label_quality_, atol=1e-7)
    scaled = clone(model).fit(X, y, sample_weight=64.0 * w)
    assert_array_equal(scaled.predict_proba(X), weighted.predict_proba(X))


@pytest.mark.parametrize("kind", STUDENTS)
def test_a_weight_of_zero_is_absence(kind):
    X, y = few_rows(3, n=40)
    w = np.where(np.arange(40) % 5 == 0, 0.0, 1.5)
    model = SelfDistillClassifier(STUDENTS[kind])
    weighted = clone(model).fit(X, y, sample_weight=w)
    without = clone(model).fit(X[w > 0], y[w > 0])
    assert_array_equal(weighted.predict_proba(X), without.predict_proba(X))
    assert_array_equal(weighted.weight_curve_, without.weight_curve_)
    # what was absent has an entry all the same
    assert weighted.refined_targets_.shape == (40, 3)
    assert weighted.label_quality_.shape == (40,)
    assert_allclose(weighted.refined_targets_[w > 0], without.refined_targets_, atol=1e-12)
    assert_allclose(weighted.label_quality_[w > 0], without.label_quality_, atol=1e-12)
    assert_allclose(weighted.refined_targets_.sum(axis=1), 1, atol=1e-12)
    assert weighted.label_quality_.min() >= 0
    assert weighted.label_quality_.max() <= 1


@pytest.mark.parametrize("kind", STUDENTS)
def test_a_class_whose_rows_have_no_weight_is_absent(kind):
    X, y = few_rows(3, n=40)
    names = np.array(["a", "b", "c"])
    w = np.where(y == 1, 0.0, 1.0)
    model = SelfDistillClassifier(STUDENTS[kind]).fit(X, names[y], sample_weight=w)
    assert model.classes_.tolist() == ["a", "c"]
    assert model.refined_targets_.shape == (40, 2)
    assert_allclose(model.refined_targets_.sum(axis=1), 1, atol=1e-12)
    assert not model.label_quality_[y == 1].any()
    # nothing is known of their labels: the prediction alone
    assert_allclose(model.refined_targets_[y == 1], model.predict_proba(X[y == 1]), atol=1e-9)
    errors = model.find_label_errors(X, names[y], cv="in-sample")
    assert set(errors.given_label[: (y == 1).sum()]) == {"b"}
    assert set(errors.suggested_label) <= {"a", "c"}

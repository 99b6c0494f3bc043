"""Fits that end at their last epoch while the loss still improves."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kd import (
    BatchedGridSearchCV,
    DistilledClassifier,
    ModuleClassifier,
    SelfDistillClassifier,
    TwoLayerPGDClassifier,
)
from sklearn_kd._networks.tasks import ClassificationTask
from sklearn_kd._networks.training_data import TrainingData
from sklearn_kd._networks.two_layer.fit_plan import resolve_parameters
from sklearn_kd.modules import MLP

X, y = load_iris(return_X_y=True)


def student(max_iter=5, **options):
    return TwoLayerPGDClassifier(8, max_iter=max_iter, random_state=0, **options, encoder=None)


def module(max_epochs=5, **options):
    params = {"module_params": {"width": 8}, "learning_rate": 0.01, "random_state": 0, **options}
    return ModuleClassifier(MLP, max_epochs=max_epochs, **params)


def convergence_warnings(fit):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit()
    return [str(w.message) for w in caught if w.category is ConvergenceWarning]


@pytest.mark.parametrize(
    ("estimator", "parameter", "kind"),
    [
        (student(), "max_iter", "validation"),
        (student(batch_size=32), "max_iter", "validation"),
        (student(max_iter=1), "max_iter", "validation"),
        (student(learning_rate=0.1), "max_iter", "validation"),
        (student(early_stopping=False), "max_iter", "training"),
        (module(), "max_epochs", "validation"),
        (module(early_stopping=False), "max_epochs", "training"),
        (make_pipeline(StandardScaler(), student()), "max_iter", "validation"),
        (SelfDistillClassifier(student()), "max_iter", "validation"),
        (
            DistilledClassifier(LogisticRegression(max_iter=1000), student(), random_state=0),
            "max_iter",
            "training",
        ),
        (BatchedGridSearchCV(student(), {"radius": [1.0, None]}), "max_iter", "validation"),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "fit") else value,
)
@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.CleanLabelsWarning")
def test_one_warning_says_what_to_increase(estimator, parameter, kind):
    messages = convergence_warnings(lambda: estimator.fit(X, y))
    assert len(messages) == 1
    assert f"its {kind} loss still improved: increase {parameter}" in messages[0]


def test_a_search_warns_of_each_fit():
    search = GridSearchCV(student(), {"radius": [1.0, None]}, cv=2)
    assert len(convergence_warnings(lambda: search.fit(X, y))) == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    "estimator",
    [
        student("auto"),
        student(2000, early_stopping=False),
        student(400, n_iter_no_change=400),
        module(300, n_iter_no_change=300),
        module(scheduler="cosine"),  # which ends training by design
        DistilledClassifier(LogisticRegression(max_iter=1000), student("auto"), random_state=0),
        SelfDistillClassifier(student(early_stopping=False)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_warning_where_more_epochs_change_little(estimator):
    assert not convergence_warnings(lambda: estimator.fit(X, y))


def test_no_warning_from_partial_fit():
    est = student()
    assert not convergence_warnings(lambda: est.partial_fit(X, y, classes=[0, 1, 2]))


def test_a_warning_that_is_an_error_leaves_no_model():
    est = student()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConvergenceWarning):
            est.fit(X, y)
    assert not hasattr(est, "classes_")


@pytest.mark.parametrize(
    ("n", "options", "n_epochs", "patience"),
    [
        (1000, {}, 2000, 400),
        (11000, {}, 699, 23),  # 60000 steps, of which 2000 may pass without improvement
        (11000, {"early_stopping": False}, 117, 23),
        (11000, {"max_iter": 50}, 50, 10),
        (500000, {}, 30, 10),
    ],
)
def test_number_of_epochs(n, options, n_epochs, patience):
    codes = np.arange(n) % 2
    data = TrainingData(
        np.arange(n * 1.0)[:, None], codes, np.ones(n), None, codes, ClassificationTask(2)
    )
    plan = resolve_parameters(TwoLayerPGDClassifier(random_state=0, **options, encoder=None), data)
    assert (plan.n_epochs, plan.patience) == (n_epochs, patience)


def test_the_default_trains_until_the_loss_no_longer_improves():
    """Outliers make the other rows similar: 10000 steps ended at an accuracy of .946."""
    rng = np.random.RandomState(0)
    rows = rng.normal(size=(4000, 2))
    labels = (np.sin(3 * rows[:, 0]) + rows[:, 1] > 0).astype(int)
    rows[:2] *= 50
    est = TwoLayerPGDClassifier(
        16, n_init=1, random_state=0, encoder=None, init="symmetric", weight_decay=0.0
    )
    assert not convergence_warnings(lambda: est.fit(rows[:3000], labels[:3000]))
    assert est.termination_condition_ == "early_stopping"
    assert est.score(rows[3000:], labels[3000:]) > 0.955

"""Batched searches over students inside a DistilledClassifier."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kd import BatchedGridSearchCV, DistilledClassifier
from tests._helpers.data import FIXED
from tests._helpers.searches import (
    assert_same_search,
    distilled,
    distilled_regressor,
    numbers,
    regressor,
    student,
)
from tests._helpers.selection import network, overlapping


def test_batched_searches_name_all_that_is_auto():
    X, y = overlapping()
    model = DistilledClassifier(LogisticRegression(), network())
    text = "set alpha=0.5, temperature=1.0, augmentation=None, for example"
    with pytest.raises(ValueError, match=text):
        BatchedGridSearchCV(model, {"student__width": [2, 4]}, cv=2).fit(X, y)


@pytest.mark.parametrize("in_grid", [False, True])
@pytest.mark.parametrize("name", ["alpha", "temperature", "augmentation"])
def test_batched_searches_refuse_auto_by_name(name, in_grid):
    X, y = overlapping()
    model = DistilledClassifier(LogisticRegression(), network(), **FIXED)
    grid = {"student__width": [2, 4]}
    if in_grid:
        grid[name] = [FIXED[name], "auto"]
    else:
        model.set_params(**{name: "auto"})
    with pytest.raises(ValueError, match=f"{name}='auto' cannot be batched"):
        BatchedGridSearchCV(model, grid, cv=2).fit(X, y)
    pipeline = make_pipeline(StandardScaler(), model)
    grid = {f"distilledclassifier__{key}": values for key, values in grid.items()}
    with pytest.raises(ValueError, match=f"distilledclassifier__{name}='auto' cannot be batched"):
        BatchedGridSearchCV(pipeline, grid, cv=2).fit(X, y)


SEARCHES = {
    "munge": {"augmentation": "munge", "n_augmented": 80},
    "class_weight": {"class_weight": "balanced"},
    "class_prior": {"class_prior": "uniform"},
    "all": {
        "augmentation": "gibbs",
        "n_augmented": 80,
        "class_weight": "balanced",
        "class_prior": "training",
    },
    "none": {},
}


@pytest.mark.parametrize("name", SEARCHES)
def test_batched_searches_are_grid_searches(name):
    X, y = overlapping(120)
    keep = (y > 0) | (np.arange(120) % 3 == 0)
    X, y = X[keep], y[keep]
    params = {"sample_weight": np.linspace(0.5, 2, len(y))} if name == "all" else {}
    student = network(max_iter=15, early_stopping=False, n_init=1)
    model = DistilledClassifier(LogisticRegression(), student, random_state=0)
    model.set_params(**{**FIXED, **SEARCHES[name]})
    grid = {"alpha": [0.0, 0.4, 1.0]}
    if "class_weight" not in SEARCHES[name]:
        grid = [grid, {"alpha": [0.5], "temperature": [2.0]}]
    scoring = ["neg_log_loss", "accuracy"]
    options = {"cv": 2, "scoring": scoring, "refit": "neg_log_loss"}
    expected = GridSearchCV(model, grid, **options).fit(X, y, **params)
    search = BatchedGridSearchCV(model, grid, **options).fit(X, y, **params)
    for score in scoring:
        for fold in range(2):
            key = f"split{fold}_test_{score}"
            assert_allclose(search.cv_results_[key], expected.cv_results_[key], rtol=1e-6)
    # the settings differ: that they agree says something
    assert len(np.unique(expected.cv_results_["mean_test_neg_log_loss"].round(6))) > 2
    assert search.best_params_ == expected.best_params_
    best = search.best_estimator_
    assert_allclose(best.predict_proba(X), expected.best_estimator_.predict_proba(X), rtol=1e-6)
    assert best.n_augmented_ == SEARCHES[name].get("n_augmented", 0)
    assert best.alpha_ == search.best_params_["alpha"]


@pytest.mark.parametrize("augmentation", [None, "munge", "gibbs"])
@pytest.mark.parametrize("n_targets", [None, 2])
def test_batched_searches_over_regressors_are_grid_searches(augmentation, n_targets):
    X, y = numbers(120, n_targets=n_targets)
    inner = regressor(max_iter=15, early_stopping=False)
    model = distilled_regressor(inner=inner, augmentation=augmentation)
    if augmentation is not None:
        model.set_params(n_augmented=80)
    grid = [
        {"alpha": [0.0, 0.4, 1.0], "student__width": [2, 4]},
        {"student__loss": ["huber"], "teacher__alpha": [0.1, 100.0]},
    ]
    params = {"sample_weight": np.linspace(0.5, 2, 120)}
    search = assert_same_search(model, grid, (X, y), params, atol=1e-6, cv=2, scoring=None)
    assert len(np.unique(search.cv_results_["mean_test_score"].round(6))) > 6
    best = search.best_estimator_
    assert best.n_augmented_ == (0 if augmentation is None else 80)
    assert best.alpha_ == search.best_params_.get("alpha", 0.5)
    assert best.predict(X).shape == y.shape


def test_batched_searches_over_regressors_name_all_that_is_auto():
    X, y = numbers()
    model = distilled_regressor(alpha="auto", augmentation="auto")
    text = "alpha='auto', augmentation='auto' cannot be batched.*set alpha=0.5, augmentation=None"
    with pytest.raises(ValueError, match=text):
        BatchedGridSearchCV(model, {"student__width": [2, 4]}, cv=2).fit(X, y)
    model = distilled_regressor(quantiles=(0.1, 0.9))
    with pytest.raises(ValueError, match="set quantiles=None, or use GridSearchCV"):
        BatchedGridSearchCV(model, {"student__width": [2, 4]}, cv=2).fit(X, y)


#: The networks of these searches are trained for 25 epochs.
SHORT = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def grouped_table():
    X, y = overlapping(120)
    return X, y, np.arange(120) // 4


@pytest.mark.slow
@SHORT
@pytest.mark.parametrize("cv", ["auto", GroupKFold(3), 3], ids=str)
@pytest.mark.parametrize("augmentation", [None, "gibbs"])
def test_groups_reach_the_students_of_each_split(cv, augmentation):
    X, y, groups = grouped_table()
    with config_context(enable_metadata_routing=True):
        model = distilled(cv=cv, augmentation=augmentation).set_fit_request(groups=True)
        grid = {"alpha": [0.5, 1.0], "student__width": [2, 4]}
        search = assert_same_search(
            model, grid, (X, y), cv=GroupKFold(3), fit_params={"groups": groups}
        )
        assert search.best_estimator_.label_source_ == "cv"
        pipeline = make_pipeline(StandardScaler(), model)
        grid = {"distilledclassifier__student__width": [2, 4]}
        options = {"cv": GroupKFold(3), "fit_params": {"groups": groups}}
        assert_same_search(pipeline, grid, (X, y), **options)


@SHORT
@pytest.mark.parametrize("cv", ["auto", GroupKFold(3)], ids=str)
def test_groups_and_soft_targets_reach_the_regressors_of_each_split(cv):
    X, y = numbers(120)
    params = {"groups": np.arange(120) // 4, "soft_targets": 0.9 * y}
    with config_context(enable_metadata_routing=True):
        model = distilled_regressor(cv=cv).set_fit_request(groups=True)
        grid = {"alpha": [0.5, 1.0], "student__width": [2, 4]}
        options = {"cv": GroupKFold(3), "fit_params": {"groups": params["groups"]}}
        search = assert_same_search(model, grid, (X, y), **options)
        assert search.best_estimator_.label_source_ == "cv"
        model.set_fit_request(soft_targets=True)
        options["fit_params"] = params
        search = assert_same_search(model, grid, (X, y), **options)
        assert search.best_estimator_.label_source_ == "given"
    pipeline = make_pipeline(StandardScaler(), distilled_regressor())
    assert_same_search(pipeline, {"distilledregressor__alpha": [0.0, 0.5, 1.0]}, (X, y))


@SHORT
def test_groups_without_routing_are_for_the_splitter_as_in_grid_search():
    X, y, groups = grouped_table()
    options = {"cv": GroupKFold(3), "fit_params": {"groups": groups}}
    assert_same_search(distilled(), {"student__width": [2, 4]}, (X, y), **options)
    data = X, X[:, 0] + y
    assert_same_search(distilled_regressor(), {"student__width": [2, 4]}, data, **options)


@SHORT
@pytest.mark.parametrize("is_routed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_validation_rows_reach_the_students_as_they_are(is_routed):
    X, y, _ = grouped_table()
    X_val, y_val = overlapping(50, seed=1)
    rows = {"X_val": X_val, "y_val": y_val, "sample_weight_val": np.linspace(1, 2, 50)}
    with config_context(enable_metadata_routing=is_routed):
        model, network = distilled(), student()
        if is_routed:
            for each in (model, network):
                each.set_fit_request(**dict.fromkeys(rows, True))
        grid = {"alpha": [0.5, 1.0], "student__width": [2, 4]}
        assert_same_search(model, grid, (X, y), fit_params=rows)
        assert_same_search(network, {"width": [2, 4]}, (X, y), fit_params=rows)
        model, network, data = distilled_regressor(), regressor(), (X, X[:, 0] + y)
        if is_routed:
            for each in (model, network):
                each.set_fit_request(**dict.fromkeys(rows, True))
        rows = {**rows, "y_val": X_val[:, 0] + y_val}
        assert_same_search(model, grid, data, fit_params=rows)
        assert_same_search(network, {"width": [2, 4]}, data, fit_params=rows)


@SHORT
def test_rows_in_time_are_held_out_as_in_grid_search():
    X, y, _ = grouped_table()
    grid = {
        "student__width": [2, 4],
        "student__early_stopping": [True, False],
        "student__validation_fraction": [0.1, 0.3],
    }
    for model, target in ((distilled, y), (distilled_regressor, X[:, 0] + y)):
        model = model(cv=TimeSeriesSplit(3))
        search = assert_same_search(model, grid, (X, target), cv=TimeSeriesSplit(2))
        losses = search.cv_results_["mean_test_score"]
        assert len(np.unique(losses.round(9))) > 4  # of stopping early with each fraction, or not


@SHORT
@pytest.mark.slow
def test_rows_in_time_are_held_out_for_hard_labels_as_in_grid_search():
    X, y, _ = grouped_table()
    grid = {"alpha": [0.0, 0.5, 1.0, 1.5], "student__early_stopping": ["auto", True, False]}
    model = distilled(inner=student(radius=2.0), cv=TimeSeriesSplit(3))
    search = assert_same_search(model, grid, (X, y), cv=TimeSeriesSplit(2))
    losses = search.cv_results_["mean_test_score"].round(9).reshape(4, 3)
    # on soft labels "auto" does not stop early
    assert (losses[:, 0] == losses[:, 1]).tolist() == [True, False, False, True]

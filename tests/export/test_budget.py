"""Searches by the bytes and the time of the compact model."""

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

from sklearn_kd import BatchedGridSearchCV, TwoLayerPGDClassifier
from sklearn_kd.export import budget_scoring, compact, smallest_within
from tests._helpers.data import blobs
from tests._helpers.tables import raw_table

NETWORK = TwoLayerPGDClassifier(max_iter=5, early_stopping=False, n_init=1, random_state=0)
RESULTS = {
    "params": [{"width": width} for width in (2, 4, 8, 16)],
    "mean_test_score": [0.70, 0.79, 0.81, 0.80],
    "std_test_score": [0.02, 0.02, 0.02, 0.02],
    "mean_test_n_bytes": [100, 200, 300, 400],
    "mean_test_microseconds": [20.0, 10.0, 30.0, 40.0],
    **{f"split{i}_test_score": [0] * 4 for i in range(5)},
}


@pytest.mark.parametrize("search", [GridSearchCV, BatchedGridSearchCV])
def test_the_bytes_are_those_of_the_compact_model(search):
    X, y = raw_table(80)
    found = search(
        NETWORK,
        {"width": [8, 2]},
        scoring=budget_scoring("accuracy"),
        refit=smallest_within(1.0),
        cv=[(np.arange(80), np.arange(40))],  # that of all rows
    ).fit(X, y)
    assert found.best_params_ == {"width": 2}
    assert found.cv_results_["mean_test_n_bytes"][1] == compact(found.best_estimator_).n_bytes_
    assert found.cv_results_["mean_test_n_bytes"][0] > found.cv_results_["mean_test_n_bytes"][1]
    assert (found.cv_results_["mean_test_microseconds"] > 0).all()
    expected = found.best_estimator_.score(X[:40], y[:40])
    assert found.cv_results_["mean_test_score"][1] == expected


def test_rows_without_names():
    X, y = blobs(60)
    scorers = budget_scoring()
    model = NETWORK.fit(X, y)
    assert scorers["score"](model, X, y) == model.score(X, y)
    assert scorers["microseconds"](model, X, y) > 0


@pytest.mark.parametrize(
    ("tolerance", "options", "index"),
    [
        (0.0, {}, 2),
        (0.02, {}, 1),
        (0.011, {"by": "microseconds"}, 2),
        (0.05, {"by": "microseconds"}, 1),
        (1.0, {}, 0),
        ("1 se", {}, 2),  # .02 / 2
        ("2.1se", {}, 1),
        (0.0, {"max_bytes": 200}, 1),
        (0.0, {"max_bytes": 400, "max_microseconds": 15}, 1),
        (0.2, {"max_microseconds": 15}, 1),
    ],
)
def test_the_smallest_candidate_within_the_tolerance(tolerance, options, index):
    assert smallest_within(tolerance, **options)(RESULTS) == index


def test_errors():
    with pytest.raises(ValueError, match=r"smallest one is \{'width': 2\}, with 100 bytes"):
        smallest_within(0.1, max_bytes=50)(RESULTS)
    with pytest.raises(ValueError, match=r"no mean_test_n_bytes.*budget_scoring"):
        smallest_within(0.1)({"mean_test_score": [1]})
    with pytest.raises(ValueError, match="tolerance must be"):
        smallest_within("one")
    with pytest.raises(ValueError, match="tolerance must be"):
        smallest_within(-1)
    with pytest.raises(ValueError, match="by must be one of"):
        smallest_within(0.1, by="bytes")
    failed = {**RESULTS, "mean_test_score": [np.nan] * 4}
    with pytest.raises(ValueError, match="all candidates have failed"):
        smallest_within(0.1)(failed)

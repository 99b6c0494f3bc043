"""Searches by the bytes and the time of the compact model."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PowerTransformer, StandardScaler

from sklearn_kd import BatchedGridSearchCV, TwoLayerPGDClassifier, TwoLayerPGDRegressor
from sklearn_kd.export import budget_scoring, compact, smallest_within
from tests._helpers.data import blobs
from tests._helpers.tables import raw_table

NETWORK = TwoLayerPGDClassifier(max_iter=5, early_stopping=False, n_init=1, random_state=0)
REGRESSOR = TwoLayerPGDRegressor(max_iter=5, early_stopping=False, n_init=1, random_state=0)
RESULTS = {
    "params": [{"width": width} for width in (2, 4, 8, 16)],
    "mean_test_score": [0.70, 0.79, 0.81, 0.80],
    "std_test_score": [0.02, 0.02, 0.02, 0.02],
    "mean_test_n_bytes": [100, 200, 300, 400],
    "mean_test_microseconds": [20.0, 10.0, 30.0, 40.0],
    **{f"split{i}_test_score": [0] * 4 for i in range(5)},
}


@pytest.mark.parametrize(
    ("search", "network", "scoring"),
    [
        (GridSearchCV, NETWORK, "accuracy"),
        (BatchedGridSearchCV, NETWORK, "accuracy"),
        (GridSearchCV, REGRESSOR, "r2"),
    ],
)
def test_the_bytes_are_those_of_the_compact_model(search, network, scoring):
    X, y = raw_table(80)
    y = np.arange(80.0) if scoring == "r2" else y
    found = search(
        network,
        {"width": [8, 2]},
        scoring=budget_scoring(scoring),
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


def test_weights_of_a_search_count_in_the_score_alone():
    X, y = blobs(60)
    weight = np.random.RandomState(0).randint(0, 3, 60).astype(float)
    folds = [(np.arange(30), np.arange(30, 60))]

    def score_and_bytes(scoring, **params):
        search = GridSearchCV(
            NETWORK, {"width": [2]}, scoring=scoring, refit=smallest_within(0), cv=folds
        ).fit(X, y, **params)
        return [search.cv_results_[f"mean_test_{name}"][0] for name in ("score", "n_bytes")]

    model = clone(NETWORK).set_params(width=2).fit(X[:30], y[:30], sample_weight=weight[:30])
    rows, own = (X[30:], y[30:]), weight[30:]
    loss = -log_loss(rows[1], model.predict_proba(rows[0]), sample_weight=own)
    accuracy = model.score(*rows, sample_weight=own)
    for scoring, expected in (("neg_log_loss", loss), (None, accuracy)):
        found = score_and_bytes(budget_scoring(scoring), sample_weight=weight)
        np.testing.assert_allclose(found, [expected, compact(model).n_bytes_], rtol=1e-12)
    scoring = budget_scoring(lambda estimator, X, y: 0.5)
    with pytest.warns(UserWarning, match="does not support sample_weight"):
        score, _ = score_and_bytes(scoring, sample_weight=weight)
    assert score == 0.5


@pytest.mark.filterwarnings("ignore:Scoring failed", "ignore:One or more of the test")
def test_candidates_without_a_compact_file_do_not_count():
    X, y = blobs(60)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    search = GridSearchCV(
        model,
        {"standardscaler": [PowerTransformer(), StandardScaler()]},
        scoring=budget_scoring("accuracy"),
        refit=smallest_within(0.0),
        cv=2,
    )
    assert search.fit(X, y).best_index_ == 1
    bytes_of_none = {**RESULTS, "mean_test_n_bytes": [np.nan] * 4}
    for options in ({}, {"max_bytes": 50}):
        with pytest.raises(ValueError, match="n_bytes of no candidate could be measured"):
            smallest_within(0.1, **options)(bytes_of_none)
    bytes_of_some = {**RESULTS, "mean_test_n_bytes": [np.nan, 200, np.nan, 400]}
    assert smallest_within(0.0)(bytes_of_some) == 3
    with pytest.raises(ValueError, match=r"smallest one is \{'width': 4\}, with 200 bytes"):
        smallest_within(0.0, max_bytes=50)(bytes_of_some)


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
    for tolerance in ("one", "1.2.3 se", "-1 se", -1, np.nan, None, [1]):
        with pytest.raises(ValueError, match="tolerance must be"):
            smallest_within(tolerance)
    with pytest.raises(TypeError, match="max_bytes must be an instance of float"):
        smallest_within(0.1, max_bytes="20 kB")
    with pytest.raises(ValueError, match="max_microseconds == 0, must be > 0"):
        smallest_within(0.1, max_microseconds=0)
    with pytest.raises(ValueError, match="'acuracy' is not a valid scoring"):
        budget_scoring("acuracy")
    with pytest.raises(ValueError, match="by must be one of"):
        smallest_within(0.1, by="bytes")
    failed = {**RESULTS, "mean_test_score": [np.nan] * 4}
    with pytest.raises(ValueError, match="all candidates have failed"):
        smallest_within(0.1)(failed)

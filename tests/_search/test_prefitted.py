"""The grid search that scores fits which have happened before."""

import traceback
import warnings

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from sklearn_kd import BatchedGridSearchCV, TwoLayerPGDClassifier
from sklearn_kd._search.prefitted import FitQueue, PrefittedEstimator, PrefittedScorer
from tests._helpers.estimators import PropagatedRecorder
from tests._helpers.searches import (
    WIDTHS,
    assert_same_results,
    batched,
    distilled,
    student,
    table,
)


def plain(estimator, X, y):
    return estimator.score(X, y)


def weighted(estimator, X, y, sample_weight=None):
    return estimator.score(X, y, sample_weight)


@pytest.mark.parametrize("scoring", [None, plain, weighted, "accuracy", ["accuracy", "f1_macro"]])
def test_scorers_get_the_weights_that_they_take(scoring):
    X, y = table()
    weights = np.linspace(0.1, 3, len(y))
    results, messages = [], []
    for kind in (GridSearchCV, BatchedGridSearchCV):
        search = kind(student(), WIDTHS, cv=3, scoring=scoring, refit=False)
        with warnings.catch_warnings(record=True) as record:
            warnings.simplefilter("always")
            warnings.filterwarnings("ignore", ".* still improved")
            results.append(search.fit(X, y, sample_weight=weights))
        # of the search itself, which follows, the messages differ
        messages.append(sorted({str(w.message).split("which may")[0] for w in record}))
    assert_same_results(results[1], results[0])
    assert messages[0] == messages[1]
    assert any("does not support sample_weight" in text for text in messages[0]) == (
        scoring is plain
    )


def test_scorers_get_the_metadata_that_they_request():
    X, y = table()
    weights = np.linspace(0.1, 3, len(y))
    with config_context(enable_metadata_routing=True):
        one = student().set_fit_request(sample_weight=False)
        first = make_scorer(accuracy_score).set_score_request(sample_weight=True)
        second = make_scorer(accuracy_score).set_score_request(sample_weight=False)
        for options in (
            {"scoring": first},
            {"scoring": {"a": first, "b": second}, "refit": "a"},
        ):
            expected, search = (
                kind(one, WIDTHS, cv=3, **options).fit(X, y, sample_weight=weights)
                for kind in (GridSearchCV, BatchedGridSearchCV)
            )
            assert_same_results(search, expected)
    scores = search.cv_results_
    assert not np.allclose(scores["mean_test_a"], scores["mean_test_b"])


def test_several_scores_share_the_predictions(monkeypatch):
    X, y = table()
    calls, original = [], TwoLayerPGDClassifier.predict

    def predict(self, X):
        calls.append(len(X))
        return original(self, X)

    monkeypatch.setattr(TwoLayerPGDClassifier, "predict", predict)
    batched(scoring=["accuracy", "f1_macro"], refit=False).fit(X, y)
    assert calls == [30] * 6


def test_propagated_callbacks_hear_of_the_refit_and_leave_nothing():
    X, y = table()
    for estimator, grid in (
        (student(), WIDTHS),
        (make_pipeline(StandardScaler(), student()), {"twolayerpgdclassifier__width": [2, 4]}),
        (distilled(), {"student__width": [2, 4]}),
    ):
        recorder = PropagatedRecorder()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", ".* still improved")
            search = batched(estimator, grid, cv=2).set_callbacks(recorder).fit(X, y)
        assert recorder.setups == 0
        assert ("fit", "refit-with-best-params") in recorder.begun
        assert not [name for name in vars(search.best_estimator_) if "callback" in name]


class Names(PropagatedRecorder):
    """Notes what callbacks are told of the tasks."""

    def __init__(self):
        super().__init__()
        self.names = []

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
        self.names.append((context.estimator_name, context.task_name))
        assert "Prefitted" not in f"{context.source_estimator_name}{type(estimator).__name__}"

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        if context.estimator_name == "TwoLayerPGDClassifier" and fitted_estimator is not None:
            self.scores.append((context.task_name, fitted_estimator.width))


@pytest.mark.parametrize("halving_factor", [None, 2.0])
def test_callbacks_hear_of_candidates_and_public_classes(halving_factor):
    X, y = table()
    names = Names()
    search = batched(grid=WIDTHS, cv=2, halving_factor=halving_factor).set_callbacks(names)
    search.fit(X, y)
    assert {name for name, _ in names.names} == {"BatchedGridSearchCV", "TwoLayerPGDClassifier"}
    assert names.names[0] == ("BatchedGridSearchCV", "fit")
    first = [("TwoLayerPGDClassifier", f"width={width}") for width in WIDTHS["width"]]
    trained = [name for name in names.names if name[1].startswith("width=")]
    assert trained[: 2 * len(first)] == [name for name in first for _ in range(2)]
    assert {text for text, width in names.scores if text == f"width={width}"} == {
        text for _, text in first
    }
    names = Names()
    batched(distilled(), {"student__width": [2]}, cv=2).set_callbacks(names).fit(X, y)
    assert ("DistilledClassifier", "student__width=2") in names.names


def test_an_error_of_several_fits_keeps_its_traceback():
    try:
        raise ValueError("no")
    except ValueError as raised:
        error = raised
    queue = FitQueue()
    estimators = [clone(PrefittedEstimator(student(), queue)) for _ in range(3)]
    texts = []
    for _ in range(2):  # rounds
        queue.put([error] * 3)
        for estimator in estimators:
            with pytest.raises(ValueError, match="no") as caught:
                estimator.fit(None)
            texts.append(traceback.format_exception(caught.value))
    assert all(text == texts[0] for text in texts)


def test_a_prefitted_estimator_is_like_the_one_in_it():
    queue, inner = FitQueue(), distilled()
    estimator = PrefittedEstimator(inner, queue)
    assert estimator.get_params() == inner.get_params()
    assert get_tags(estimator) == get_tags(inner)
    copied = clone(estimator).set_params(student__width=6)
    assert inner.student.width == 2
    assert copied.get_params()["student__width"] == 6
    queue.put([inner])
    assert copied.fit(None).fitted_ is inner
    queue.is_closed = True
    assert type(clone(copied)) is type(inner)
    assert clone(copied).student.width == 6


def test_a_prefitted_scorer_is_like_the_one_in_it():
    scorer = make_scorer(accuracy_score)
    prefitted = PrefittedScorer(scorer)
    assert repr(prefitted) == repr(scorer)
    assert prefitted._accept_sample_weight()
    assert not hasattr(PrefittedScorer(plain), "_accept_sample_weight")

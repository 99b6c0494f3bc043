"""Candidates that fail or cannot be trained jointly, and the student that records."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils import get_tags

from sklearn_kd import BatchedGridSearchCV, TableEncoder, TwoLayerPGDClassifier
from sklearn_kd._networks.two_layer import joint_training, stacked
from sklearn_kd._search.candidates import RecordingStudent
from sklearn_kd.exceptions import DivergenceError
from tests._helpers.estimators import fitted_names
from tests._helpers.searches import batched, distilled, distilled_regressor, student, table


@pytest.mark.parametrize("error_score", [np.nan, -7.0])
def test_a_candidate_that_fails_leaves_the_others_alone(error_score):
    X, y = table()
    estimator = student(optimizer="nesterov", early_stopping=False)
    grid = [
        {"width": [2, 3, 4, "wide", 0], "learning_rate": [0.1, 1e200]},
        {"class_weight": [{0: 1.0}, "balanced"], "alpha": [1.0, -1.0]},
    ]
    results = []
    for kind in (GridSearchCV, BatchedGridSearchCV):
        search = kind(estimator, grid, cv=2, error_score=error_score)
        with warnings.catch_warnings(record=True) as record:
            warnings.simplefilter("always")
            results.append(search.fit(X, y))
        assert FitFailedWarning in [w.category for w in record]
        # GridSearchCV warns of each fit that ends at max_iter, the batched search of the last only
        others = [w for w in record if "still improved" not in str(w.message)]
        results[-1].messages = sorted({w.category.__name__ for w in others})
    assert results[0].messages == results[1].messages
    scores = [search.cv_results_["mean_test_score"] for search in results]
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-12)
    assert len(set(scores[0])) > 1


def test_error_score_raise():
    X, y = table()
    for grid, match in (
        ({"width": [2, 3]}, "width must be even"),
        ({"learning_rate": [0.1, 1e200]}, "diverged at learning_rate=1e"),
    ):
        search = batched(student(optimizer="nesterov"), grid, error_score="raise")
        with pytest.raises((ValueError, DivergenceError), match=match):
            search.fit(X, y)
        assert not fitted_names(search)


def no_training(monkeypatch):
    def fail(*args, **options):
        raise AssertionError("training has begun")

    for kind in (TwoLayerPGDClassifier, LogisticRegression, StandardScaler):
        monkeypatch.setattr(kind, "fit", fail)
    monkeypatch.setattr(TwoLayerPGDClassifier, "_fit_jointly", fail)


@pytest.mark.parametrize(
    ("estimator", "grid", "name"),
    [
        (distilled(), {"temperature": [1.0, "auto"]}, "temperature='auto'"),
        (distilled(temperature="auto"), {"student__width": [2]}, "temperature='auto'"),
        (
            make_pipeline(distilled()),
            {"distilledclassifier__temperature": ["auto"]},
            "distilledclassifier__temperature",
        ),
        (distilled(), {"student": [student(), SVC()], "alpha": [1.0]}, "parameter student "),
        (distilled(), {"student": [student(width=4)]}, "parameter student "),
        (
            Pipeline([("scale", StandardScaler()), ("net", student())]),
            {"net": [student(), "passthrough"]},
            "parameter net ",
        ),
        (student(), {"widht": [2, 4]}, "widht"),
        (distilled(), {"alpha": [0.5], "student__depth": [3]}, "depth"),
    ],
)
def test_what_cannot_be_batched_is_named_before_any_training(monkeypatch, estimator, grid, name):
    X, y = table()
    no_training(monkeypatch)
    search = batched(estimator, grid)
    with pytest.raises(ValueError, match=name):
        search.fit(X, y)
    assert not fitted_names(search)


class Sines(TwoLayerPGDClassifier):
    def fit(self, X, y, sample_weight=None, soft_targets=None):
        return super().fit(np.sin(X), y, sample_weight, soft_targets)


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        distilled(inner=LogisticRegression()),
        batched(),
        make_pipeline(student(), "passthrough"),
        distilled(inner=distilled()),  # which of the two sets alpha?
        distilled_regressor(inner=LogisticRegression()),
        distilled_regressor(inner=distilled_regressor()),
        Sines(),  # a fit of its own would be passed over
    ],
)
def test_other_estimators_are_refused_before_any_training(monkeypatch, estimator):
    X, y = table()
    no_training(monkeypatch)
    with pytest.raises(TypeError, match=r"trains a TwoLayerPGDClassifier.*GridSearchCV"):
        batched(estimator, {}).fit(X, y)


def test_a_candidate_that_cannot_be_set_up_leaves_the_others_alone():
    X, y = table()
    grid = {"width": [2, 10**10]}
    with pytest.warns(FitFailedWarning, match="GiB"):
        search = batched(student(), grid, error_score=0.0, refit=False).fit(X, y)
    assert (search.cv_results_["mean_test_score"] > 0.3).tolist() == [True, False]
    with pytest.warns(FitFailedWarning, match="meta"):
        search = batched(student(), {"device": ["cpu", "meta"]}, error_score=0.0).fit(X, y)
    assert search.best_params_ == {"device": "cpu"}


@pytest.mark.parametrize(
    "options",
    [
        {"scoring": ["accuracy", "neg_log_loss"]},
        {"scoring": {"a": "nope"}},
        {"scoring": []},
        {"scoring": ["accuracy"], "refit": "zz"},
        {"scoring": "nope"},
    ],
)
def test_mistakes_in_the_scoring_come_up_before_any_training(monkeypatch, options):
    X, y = table()
    no_training(monkeypatch)
    with pytest.raises(ValueError, match=r"refit|nope|scoring|Empty"):
        batched(**options).fit(X, y)


def test_a_splitter_that_miscounts_is_refused_before_any_training(monkeypatch):
    class Miscounting(KFold):
        def get_n_splits(self, X=None, y=None, groups=None):
            return 7

    X, y = table()
    no_training(monkeypatch)
    with pytest.raises(ValueError, match="3 splits, but its get_n_splits says 7"):
        batched(cv=Miscounting(3)).fit(X, y)


def test_one_batch_that_fails_leaves_the_others_alone(monkeypatch):
    X, y = table()
    make = stacked.StackedNetworks

    def out_of_memory(rows, jobs, *rest):
        if jobs[0].est.momentum == 0.5:
            raise RuntimeError("out of memory")
        return make(rows, jobs, *rest)

    monkeypatch.setattr(joint_training, "StackedNetworks", out_of_memory)
    with pytest.warns(FitFailedWarning, match="out of memory"):
        search = batched(student(), {"momentum": [0.9, 0.5]}, error_score=0.0).fit(X, y)
    assert search.best_params_ == {"momentum": 0.9}


def test_warnings_made_errors_are_those_of_one_candidate():
    X, y = table()
    grid = {"learning_rate": [0.1, 300.0], "n_init": [3]}
    estimator = student(optimizer="nesterov", early_stopping=False)
    results = []
    for kind in (BatchedGridSearchCV, GridSearchCV):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", ConvergenceWarning)
            warnings.filterwarnings("ignore", ".* still improved")
            search = kind(estimator, grid, cv=3, refit=False, error_score=-1.0).fit(X, y)
        results.append(search.cv_results_["mean_test_score"])
    np.testing.assert_allclose(*results, atol=1e-9)


def test_a_recording_student_keeps_what_a_student_would_train_on():
    X, y = table()
    weights = np.linspace(0, 2, len(y))
    soft = np.full((len(y), 3), 1 / 3)
    one = student()
    recording = RecordingStudent.like(one).fit(X.tolist(), y, weights, soft)
    expected = one._check_data(X, y, weights, soft)
    checked, kept = recording.training_set(one)
    for name, array in zip(("X", "y_encoded", "weights", "soft"), expected, strict=True):
        assert_array_equal(kept[name], array)
    assert kept["y"] is y
    assert_array_equal(checked.classes_, [0, 1, 2])
    encoded = recording.training_set(student(encoder="auto"))[1]
    again = recording.training_set(student(encoder=TableEncoder(), width=4))[1]
    assert again is encoded  # once for both
    expected = TableEncoder().fit(X, sample_weight=weights).transform(X[weights > 0])
    assert_array_equal(encoded["X"], expected)
    assert get_tags(recording) == get_tags(one)
    assert recording.random_state == one.random_state
    with pytest.raises(NotFittedError, match="never trained"):
        recording.predict_proba(X)


def test_tags_are_those_of_what_gets_the_rows():
    for encoder, takes in ((TableEncoder(), True), (StandardScaler(), False)):
        estimator = make_pipeline(encoder, student())
        tags = get_tags(BatchedGridSearchCV(estimator, {})).input_tags
        assert tags.string is tags.categorical is tags.allow_nan is takes


def test_a_recording_student_has_the_metadata_requests_of_the_student():
    with config_context(enable_metadata_routing=True):
        one = student().set_fit_request(sample_weight=True, soft_targets="labels")
        requests = RecordingStudent.like(one).get_metadata_routing().fit.requests
        assert requests == one.get_metadata_routing().fit.requests
        assert (requests["sample_weight"], requests["soft_targets"]) == (True, "labels")


def test_an_error_of_a_loss_names_the_student():
    X, y = table()
    model = distilled(class_weight="balanced")
    search = batched(model, {"alpha": [1.5], "temperature": [2.0]}, error_score="raise")
    with pytest.raises(ValueError, match="the student is TwoLayerPGDClassifier"):
        search.fit(X, y)

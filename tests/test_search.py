"""BatchedGridSearchCV against GridSearchCV, its reference in everything but the time it takes."""

import gc
import pickle
import threading
import time
import warnings
import weakref

import joblib
import numpy as np
import pandas as pd
import pytest
from conftest import FIXED, blobs, fitted_names
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    ParameterGrid,
    ShuffleSplit,
    StratifiedKFold,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import KernelCenterer, StandardScaler
from sklearn.random_projection import GaussianRandomProjection
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from test_two_layer import Recorder

from sklearn_kd import (
    BatchedGridSearchCV,
    DistilledClassifier,
    TwoLayerPGDClassifier,
    _settings,
    _together,
    _training,
)
from sklearn_kd._core.run import Run
from sklearn_kd._settings import TrainingData, prepare
from sklearn_kd.exceptions import DivergenceError

WIDTHS = {"width": [2, 4]}


def student(**options):
    return TwoLayerPGDClassifier(
        **{"width": 2, "max_iter": 25, "n_init": 1, "random_state": 0, **options}
    )


def distilled(teacher=None, inner=None, **options):
    teacher = LogisticRegression() if teacher is None else teacher
    options = {"random_state": 0, **options}
    options = {**FIXED, **options}
    return DistilledClassifier(teacher, student() if inner is None else inner, **options)


def batched(estimator=None, grid=WIDTHS, **options):
    estimator = student() if estimator is None else estimator
    return BatchedGridSearchCV(estimator, grid, **{"cv": 3, **options})


def table(n_classes=3, n=90, seed=0):
    return blobs(n, n_classes, spread=3, seed=seed)


def assert_same_results(search, expected, atol=1e-9):
    results = search.cv_results_
    assert list(results) == list(expected.cv_results_)
    assert results["params"] == expected.cv_results_["params"]
    for name, values in expected.cv_results_.items():
        if "_test_" in name or "_train_" in name:
            np.testing.assert_allclose(results[name], values, rtol=0, atol=atol, err_msg=name)
    assert fitted_names(search) == fitted_names(expected)
    assert type(search.scorer_) is type(expected.scorer_)
    for name in ("best_params_", "best_index_", "multimetric_", "n_splits_"):
        assert getattr(search, name, None) == getattr(expected, name, None)


def assert_same_search(estimator, grid=WIDTHS, data=None, fit_params=None, atol=1e-9, **options):
    """Fit both searches; return ours."""
    X, y = table() if data is None else data
    options = {"cv": 3, "scoring": "neg_log_loss", **options}
    fit_params = {} if fit_params is None else fit_params
    expected = GridSearchCV(clone(estimator), grid, **options).fit(X, y, **fit_params)
    search = BatchedGridSearchCV(estimator, grid, **options).fit(X, y, **fit_params)
    assert_same_results(search, expected, atol)
    if hasattr(expected, "best_estimator_"):
        assert type(search.best_estimator_) is type(expected.best_estimator_)
        np.testing.assert_array_equal(search.classes_, expected.classes_)
        np.testing.assert_allclose(
            search.predict_proba(X), expected.predict_proba(X), rtol=0, atol=atol
        )
        assert search.score(X, y) == pytest.approx(expected.score(X, y), abs=atol)
    return search


# Scores are those of GridSearchCV


@pytest.mark.parametrize("optimizer", ["adam", "nesterov"])
@pytest.mark.parametrize("batch_size", [None, 64])
@pytest.mark.parametrize("load", [load_breast_cancer, load_iris, load_wine])
def test_scores_are_those_of_grid_search(load, batch_size, optimizer):
    grid = {"width": [2, 6], "radius": [1.0, None], "random_state": [0, 1]}
    estimator = student(max_iter=50, batch_size=batch_size, optimizer=optimizer)
    if optimizer == "nesterov":  # at the edge of stability rounding would grow
        estimator.set_params(learning_rate=0.1)
    assert_same_search(estimator, grid, load(return_X_y=True))


def test_every_parameter_of_the_student_may_vary():
    grid = [
        {"optimizer": ["adam", "nesterov"], "momentum": [0.0, 0.5], "init": ["standard"]},
        {"learning_rate": [0.01, "auto"], "max_iter": [1, 40], "output_layer": ["fixed"]},
        {"input_scaling": [False, True], "input_intercept": [False, True]},
        {"n_init": [3, "auto"], "output_layer": ["trained"], "n_iter_no_change": [3, "auto"]},
        {"class_weight": ["balanced", {0: 1.0, 1: 2.0, 2: 3.0}, None], "early_stopping": [False]},
        {"batch_size": [32, "auto", 1000], "validation_fraction": [0.1, 0.3]},
        {"random_state": [1, np.random.RandomState(3)], "verbose": [0], "device": ["cpu"]},
    ]
    assert_same_search(student(), grid)


def test_early_stopping_is_that_of_each_alone():
    X, y = table(2)
    grid = {"width": [2, 6], "learning_rate": [0.3, 3.0], "n_iter_no_change": [3, 10]}
    for batch_size in (None, 16):
        estimator = student(max_iter=60, batch_size=batch_size, n_init=2)
        search = assert_same_search(estimator, grid, (X, y))
        alone = clone(estimator).set_params(**search.best_params_).fit(X, y)
        assert search.best_estimator_.n_iter_ == alone.n_iter_


@pytest.mark.parametrize("cv", [KFold(3), ShuffleSplit(2, random_state=0), StratifiedKFold(2)])
def test_splitters(cv):
    X, y = table()  # in KFold without shuffling of sorted labels a class is missing
    order = np.argsort(y)
    assert_same_search(student(), WIDTHS, (X[order], y[order]), cv=cv, scoring="accuracy")


def test_splits_as_a_generator_and_without_a_seed():
    X, y = table()
    splits = list(KFold(2).split(X))
    expected = batched(cv=splits).fit(X, y).cv_results_["mean_test_score"]
    given = batched(cv=(split for split in splits)).fit(X, y)
    np.testing.assert_array_equal(given.cv_results_["mean_test_score"], expected)
    # the rows that are scored are those that were not trained on
    seen = []

    def scoring(estimator, X, y):
        seen.append((estimator.input_offset_, X))
        return 0.0

    batched(cv=ShuffleSplit(2), scoring=scoring).fit(X, y)
    whole = X.sum(axis=0)
    for offset, rows in seen:
        np.testing.assert_allclose((whole - rows.sum(axis=0)) / (len(X) - len(rows)), offset)


@pytest.mark.parametrize(
    "options",
    [
        {"scoring": None, "refit": False},
        {"scoring": "roc_auc_ovr", "return_train_score": True},
        {"scoring": ["accuracy", "neg_log_loss"], "refit": "neg_log_loss"},
        {"scoring": {"a": "accuracy", "b": "f1_macro"}, "refit": False, "return_train_score": True},
        {"refit": lambda results: int(np.argmin(results["mean_test_score"]))},
        {"scoring": lambda e, X, y: {"a": e.score(X, y), "w": e.width}, "refit": "w"},
    ],
)
def test_scorers_and_refits(options):
    X, y = table()
    expected = GridSearchCV(student(), WIDTHS, cv=3, **options).fit(X, y)
    assert_same_results(batched(**options).fit(X, y), expected)


class Seen:
    """Scorer that keeps the estimators it is shown."""

    def __init__(self):
        self.estimators = []

    def __call__(self, estimator, X, y):
        self.estimators.append(estimator)
        return estimator.score(X, y)


@pytest.mark.parametrize(
    ("estimator", "grid"),
    [
        (student(), {"width": [2, 4]}),
        (distilled(), {"student__width": [2, 4], "alpha": [0.5, 1.0]}),
        (make_pipeline(StandardScaler(), student()), {"twolayerpgdclassifier__width": [2, 4]}),
    ],
)
def test_scorers_see_what_a_fit_leaves(estimator, grid):
    X, y = table()
    scorers = [Seen(), Seen()]
    for kind, scorer in zip((GridSearchCV, BatchedGridSearchCV), scorers, strict=True):
        kind(estimator, grid, cv=2, scoring=scorer).fit(X, y)
    for expected, seen in zip(*(scorer.estimators for scorer in scorers), strict=True):
        assert type(seen) is type(estimator)
        assert vars(seen).keys() == vars(expected).keys()
        assert str(seen) == str(expected)
        np.testing.assert_allclose(seen.predict_proba(X), expected.predict_proba(X), atol=1e-9)
        assert pickle.loads(pickle.dumps(seen)).score(X, y) == expected.score(X, y)
    inner, reference = scorers[1].estimators[-1], scorers[0].estimators[-1]
    for step in ("student_", "steps"):
        inner, reference = getattr(inner, step, inner), getattr(reference, step, reference)
    if isinstance(inner, list):
        inner, reference = inner[-1][1], reference[-1][1]
    assert inner.get_params() == reference.get_params()
    for name in fitted_names(reference):
        ours, theirs = getattr(inner, name), getattr(reference, name)
        assert type(ours) is type(theirs)
        if not isinstance(theirs, str):
            np.testing.assert_allclose(np.array(ours, float), np.array(theirs, float), atol=1e-9)


# Metadata


def test_groups_and_weights():
    y = table()[1]
    weights = np.random.RandomState(0).uniform(0, 2, len(y))
    weights[::7] = 0
    assert_same_search(
        student(),
        {"width": [2, 4], "class_weight": [None, "balanced"]},
        cv=GroupKFold(3),
        fit_params={"groups": np.arange(len(y)) % 7, "sample_weight": weights},
    )
    assert_same_search(
        distilled(), {"student__width": [2, 4]}, fit_params={"sample_weight": weights}
    )


@pytest.mark.parametrize("labelled", [False, True])
def test_soft_targets_are_sliced(labelled):
    X, y = table()
    Q = LogisticRegression().fit(X, y).predict_proba(X)
    given = pd.DataFrame(Q, columns=[0, 1, 2]) if labelled else Q
    grid = {"alpha": [0.0, 0.5, 1.0], "temperature": [0.5, 1.0, 3.0], "width": [2, 4]}
    assert_same_search(student(), grid, fit_params={"soft_targets": given})
    grid = {"alpha": [0.5, 1.0], "temperature": [1.0, 3.0], "student__width": [2, 4]}
    search = assert_same_search(distilled(), grid, fit_params={"soft_targets": given})
    assert search.best_estimator_.label_source_ == "given"


def test_metadata_routing():
    X, y = table()
    Q = LogisticRegression().fit(X, y).predict_proba(X)
    w = np.linspace(0.5, 2, len(y))
    with config_context(enable_metadata_routing=True):
        one = student().set_fit_request(soft_targets=True, sample_weight=True)
        one.set_score_request(sample_weight=True)
        both = {"soft_targets": Q, "sample_weight": w}
        options = {"fit_params": both, "scoring": None}
        assert_same_search(one, {"alpha": [0.5, 1.0]}, **options)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=True), one)
        assert_same_search(pipeline, {"twolayerpgdclassifier__alpha": [0.5, 1.0]}, **options)
        model = DistilledClassifier(
            LogisticRegression().set_fit_request(sample_weight=True),
            student().set_fit_request(sample_weight=True),
            **FIXED,
            random_state=0,
        ).set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=True)
        grid = {"alpha": [0.5, 1.0], "teacher__C": [0.1, 1.0]}
        assert_same_search(model, grid, fit_params={"sample_weight": w}, scoring=None)
        grouped = {"groups": np.arange(len(y)) % 5, "soft_targets": Q}
        one = student().set_fit_request(soft_targets=True, sample_weight=False)
        cv = GroupKFold(3)
        assert_same_search(one, {"alpha": [0.5, 1.0]}, fit_params=grouped, cv=cv)


# Candidates that fail


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
        results[-1].messages = sorted({w.category.__name__ for w in record})
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
    monkeypatch.setattr(TwoLayerPGDClassifier, "_fit_together", fail)


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
        Sines(),  # a fit of its own would be passed over
    ],
)
def test_other_estimators_are_refused_before_any_training(monkeypatch, estimator):
    X, y = table()
    no_training(monkeypatch)
    with pytest.raises(TypeError, match=r"trains a TwoLayerPGDClassifier.*GridSearchCV"):
        batched(estimator, {}).fit(X, y)


# What comes before the student


class CountedTeacher(LogisticRegression):
    fits = []

    def fit(self, X, y, sample_weight=None):
        CountedTeacher.fits.append((len(X), self.C))
        return super().fit(X, y, sample_weight)


class CountedScaler(TransformerMixin, BaseEstimator):
    fits = []

    def __init__(self, factor=1.0):
        self.factor = factor

    def fit(self, X, y=None):
        CountedScaler.fits.append((len(X), self.factor))
        self.mean_ = X.mean(axis=0)
        return self

    def transform(self, X):
        return (X - self.mean_) * self.factor


@pytest.fixture
def counts():
    CountedTeacher.fits.clear()
    CountedScaler.fits.clear()


@pytest.mark.usefixtures("counts")
def test_a_teacher_is_fitted_once_for_each_split_and_setting():
    X, y = table()
    model = distilled(CountedTeacher(), cv="in-sample", alpha=1.0)
    grid = {
        "alpha": [0.5, 1.0],
        "temperature": [1.0, 3.0],
        "student__width": [2, 4],
        "student__random_state": [0, 1],
    }
    batched(model, grid, cv=3, refit=False).fit(X, y)
    assert CountedTeacher.fits == [(60, 1.0)] * 3
    CountedTeacher.fits.clear()
    grid = {"teacher__C": [0.1, 1.0], "student__width": [2, 4, 6], "random_state": [0, 1]}
    batched(model, grid, cv=2, refit=False).fit(X, y)
    assert sorted(CountedTeacher.fits) == [(45, 0.1)] * 4 + [(45, 1.0)] * 4


@pytest.mark.usefixtures("counts")
def test_other_steps_are_fitted_once_for_each_split_and_setting():
    X, y = table()
    steps = Pipeline([("scale", CountedScaler()), ("net", student())])
    grid = {"scale__factor": [1.0, 2.0], "net__width": [2, 4], "net__radius": [1.0, None]}
    batched(steps, grid, cv=2, refit=False).fit(X, y)
    assert sorted(CountedScaler.fits) == [(45, 1.0)] * 2 + [(45, 2.0)] * 2


def test_distilled_scores_are_those_of_grid_search():
    grid = [
        {"alpha": [0.0, 0.5, 1.0], "temperature": [0.5, 3.0], "student__width": [2, 4]},
        {"random_state": [0, 1], "teacher__C": [0.01, 1.0], "student__random_state": [None, 0]},
        {"teacher": [LogisticRegression(), DecisionTreeClassifier(max_depth=2, random_state=0)]},
        {"cv": [None, 2, "in-sample"], "student__alpha": [0.3]},
    ]
    assert_same_search(distilled(LogisticRegression(C=0.1)), grid)


def test_unlabeled_rows_reach_the_students():
    more = blobs(40, 3, seed=5)[0]
    grid = {"alpha": [0.5, 1.0], "student__width": [2, 4]}
    search = assert_same_search(distilled(), grid, fit_params={"X_unlabeled": more})
    without = assert_same_search(distilled(), grid)
    assert search.best_score_ != without.best_score_


@pytest.mark.parametrize(
    ("estimator", "grid"),
    [
        (
            Pipeline([("pca", PCA(2, random_state=0)), ("net", student())]),
            {"pca__n_components": [1, 2], "net__width": [2, 4], "pca": [PCA(2), "passthrough"]},
        ),
        (
            distilled(inner=Pipeline([("pca", PCA(2)), ("net", student())])),
            {"student__pca__whiten": [True, False], "student__net__width": [2, 4]},
        ),
        (
            Pipeline([("scale", StandardScaler()), ("kd", distilled())]),
            {"kd__alpha": [0.5, 1.0], "kd__student__width": [2, 4], "kd__teacher__C": [0.1, 1]},
        ),
        (
            make_pipeline(make_pipeline(StandardScaler(), make_pipeline(PCA(2), student()))),
            {"pipeline__pipeline__twolayerpgdclassifier__width": [2, 4]},
        ),
    ],
)
def test_pipelines(estimator, grid):
    if "pca" in grid:
        grid = [grid | {"pca": [PCA(2)]}, {"pca": ["passthrough", PCA(1)], "net__width": [2, 4]}]
    assert_same_search(estimator, grid)


def test_pipeline_memory(tmp_path):
    steps = [("scale", StandardScaler()), ("net", student())]
    assert_same_search(Pipeline(steps, memory=str(tmp_path)), {"net__width": [2, 4]})


# Containers, seeds, life of the search


def test_frames_and_string_labels():
    X, y = table()
    frame = pd.DataFrame(X, columns=["a", "b", "c"], index=np.arange(len(X))[::-1])
    labels = pd.Series(np.array(["x", "y", "z"])[y], index=frame.index)
    for estimator, grid in (
        (student(), WIDTHS),
        (distilled(), {"student__width": [2, 4]}),
        (make_pipeline(StandardScaler(), student()), {"twolayerpgdclassifier__width": [2, 4]}),
    ):
        search = assert_same_search(estimator, grid, (frame, labels))
        assert search.feature_names_in_.tolist() == ["a", "b", "c"]
        assert set(search.predict(frame)) <= {"x", "y", "z"}
    assert_same_search(student(), WIDTHS, (X.tolist(), labels.tolist()))
    assert_same_search(student(), WIDTHS, (X.astype(np.float32), y), atol=1e-5)


def test_no_seed_is_one_for_all_candidates_of_a_split():
    X, y = table()
    seen = Seen()
    grid = {"radius": [None, 50.0, 100.0], "max_iter": [1]}
    batched(student(random_state=None), grid, cv=2, scoring=seen, refit=False).fit(X, y)
    starts = [estimator.initial_weights_ for estimator in seen.estimators]
    assert all(estimator.random_state is None for estimator in seen.estimators)
    for split in (0, 1):
        np.testing.assert_array_equal(starts[split], starts[2 + split])
        np.testing.assert_array_equal(starts[split], starts[4 + split])
    assert not np.array_equal(starts[0], starts[1])
    again = Seen()
    batched(student(random_state=None), grid, cv=2, scoring=again, refit=False).fit(X, y)
    assert not np.array_equal(again.estimators[0].initial_weights_, starts[0])


def test_minibatches_can_be_shared_between_seeds():
    X, y = table()
    grid = {"random_state": [0, 1, 2]}
    estimator = student(batch_size=16)
    seen = Seen()
    batched(estimator, grid, cv=2, share_minibatches=True, scoring=seen, refit=False).fit(X, y)
    alone = Seen()
    batched(estimator, grid, cv=2, scoring=alone, refit=False).fit(X, y)
    same = [
        np.allclose(a.hidden_weights_, b.hidden_weights_)
        for a, b in zip(seen.estimators, alone.estimators, strict=True)
    ]
    assert same == [True, True, False, False, False, False]  # the first has minibatches of its own
    for a, b in zip(seen.estimators, alone.estimators, strict=True):
        np.testing.assert_array_equal(a.initial_weights_, b.initial_weights_)


def test_less_memory_makes_smaller_batches_or_an_error():
    X, y = table()
    grid = {"width": [2, 4, 8], "n_init": [1, 2]}
    expected = batched(grid=grid, scoring="neg_log_loss").fit(X, y)
    with pytest.raises(MemoryError, match=r"that max_memory allows: set a smaller"):
        batched(grid=grid, max_memory=1e-9).fit(X, y)
    sizes, batch = [], _together.Batch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_together, "Batch", lambda *a: sizes.append(len(a[1])) or batch(*a))
        search = batched(grid=grid, scoring="neg_log_loss", max_memory=3e-4).fit(X, y)
    assert len(sizes) > 3  # more than one for each split
    assert sum(sizes) == 3 * 6
    assert_same_results(search, expected)


@pytest.mark.parametrize("fitted", [False, True])
def test_a_fit_that_is_interrupted_or_fails_leaves_what_there_was(monkeypatch, fitted):
    X, y = table()
    search = batched(cv=2)
    before = vars(search.fit(X, y)).copy() if fitted else vars(search).copy()
    calls, fit = [], _together.Together

    def interrupted(*args, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit(*args, **options)

    monkeypatch.setattr(_together, "Together", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, y)
    with pytest.raises(ValueError, match="fits failed"):
        search.fit(X, np.zeros(len(y)))
    assert vars(search) == before


def test_an_interrupt_in_training_is_raised(monkeypatch):
    X, y = table()
    search, note = batched(), Run.note_ended

    def interrupted(run):
        if run.n_done == 5:
            raise KeyboardInterrupt
        return note(run)

    monkeypatch.setattr(Run, "note_ended", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, y)
    assert not fitted_names(search)


def test_verbose(capsys):
    X, y = table()
    batched(cv=2).fit(X, y)
    assert capsys.readouterr().out == ""
    batched(cv=2, verbose=1).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:38] for line in lines] == [
        f"[BatchedGridSearchCV] split {split}/2: 2 fit" for split in (1, 2)
    ]
    batched(cv=2, verbose=2).fit(X, y)
    assert "split 1/2: 0 of 2 done, 2 begin" in capsys.readouterr().out


def test_fit_times_add_up():
    X, y = table()
    start = time.perf_counter()
    search = batched(grid={"width": [2, 16], "max_iter": [5, 200]}, cv=2, refit=False).fit(X, y)
    whole = time.perf_counter() - start
    seconds = search.cv_results_["mean_fit_time"]
    assert (seconds > 0).all()
    assert (search.cv_results_["std_fit_time"] >= 0).all()
    assert 0.1 * whole < 2 * seconds.sum() < whole
    # by neurons and epochs: (max_iter, width) = (5, 2), (5, 16), (200, 2), (200, 16)
    assert seconds.argmax() == 3
    assert seconds[0] == seconds.min()


def test_threads():
    X, y = table()
    expected = batched(scoring="neg_log_loss").fit(X, y)
    searches = [batched(scoring="neg_log_loss") for _ in range(3)]
    threads = [threading.Thread(target=search.fit, args=(X, y)) for search in searches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with joblib.parallel_config("threading", n_jobs=2):
        searches.append(batched(scoring="neg_log_loss").fit(X, y))
    for search in searches:
        assert_same_results(search, expected)


def test_odd_grids():
    X, y = table()
    grids = [
        {},
        [{"width": [2, 2]}, {"width": [2]}, {}],
        {"width": np.array([2, 4]), "radius": np.array([0.5, 2.0])},
        {"width": np.array([2, 4], dtype=object), "radius": [None]},
    ]
    for grid in grids:
        assert_same_search(student(), grid, cv=2)
    for grid in ([], {"width": []}):
        errors = []
        for kind in (GridSearchCV, BatchedGridSearchCV):
            with pytest.raises(ValueError, match=r"fits|non-empty") as error:
                kind(student(), grid).fit(X, y)
            errors.append(str(error.value))
        assert errors[0] == errors[1]


def test_callbacks():
    X, y = table()
    with pytest.raises(ValueError, match="callbacks of the estimator"):
        batched(student().set_callbacks(Recorder())).fit(X, y)
    events = []
    for kind in (GridSearchCV, BatchedGridSearchCV):
        recorder = Recorder()
        search = kind(student(), WIDTHS, cv=2).set_callbacks(recorder).fit(X, y)
        events.append(recorder.events)
        assert not hasattr(search.best_estimator_, "_skl_callbacks")
    assert events[0] == events[1]


def test_a_candidate_that_cannot_be_set_up_leaves_the_others_alone():
    X, y = table()
    grid = {"width": [2, 10**10]}
    with pytest.warns(FitFailedWarning, match="GiB"):
        search = batched(student(), grid, error_score=0.0, refit=False).fit(X, y)
    assert (search.cv_results_["mean_test_score"] > 0.3).tolist() == [True, False]
    with pytest.warns(FitFailedWarning, match="meta"):
        search = batched(student(), {"device": ["cpu", "meta"]}, error_score=0.0).fit(X, y)
    assert search.best_params_ == {"device": "cpu"}


def test_steps_that_draw_after_the_student_get_their_own_seeds():
    steps = [("zproj", GaussianRandomProjection(2)), ("net", student())]
    assert_same_search(distilled(inner=Pipeline(steps)), {"student__net__width": [2, 4]})
    grid = {"student__random_state": [None, 0, 3], "student__width": [2, 4]}
    assert_same_search(distilled(), grid)


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


def test_scorers_in_a_dict_leave_nothing_of_the_replay():
    X, y = table()
    search = batched(scoring={"a": None, "b": "f1_macro"}, refit="a").fit(X, y)
    assert pickle.loads(pickle.dumps(search)).score(X, y) == search.score(X, y)


def test_labels_are_needed():
    X, _ = table()
    with pytest.raises(ValueError, match="needs the labels y"):
        batched().fit(X)


def test_pairwise_steps_get_square_parts():
    X, y = table()
    kernel = Pipeline([("centre", KernelCenterer()), ("net", student())])
    assert_same_search(kernel, {"net__width": [2, 4]}, data=(X @ X.T, y))


def test_replaced_steps_are_what_is_named():
    X, y = table()
    pipeline = Pipeline([("c", StandardScaler()), ("n", student())])
    grid = {"c__with_mean": [True], "steps": [[("c", StandardScaler()), ("m", student())]]}
    with pytest.raises(ValueError, match="parameter steps cannot"):
        batched(pipeline, grid).fit(X, y)


def test_the_global_generator_is_left_alone_where_all_have_seeds():
    X, y = table()
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    batched().fit(X, y)
    assert (np.random.get_state()[1] == before).all()


def test_a_network_beyond_max_memory_is_refused_before_any_training(monkeypatch):
    X, y = table()
    monkeypatch.setattr(_together, "Batch", None)
    search = batched(student(), {"width": [2, 4000]}, max_memory=1e-3, error_score=0.0)
    with pytest.raises(MemoryError, match="or raise max_memory"):
        search.fit(X, y)


def test_outputs_count_as_memory():
    X, y = table()
    many = np.arange(len(y)) % 30
    job, wide = (
        prepare(student(), TrainingData(X, codes, np.ones(len(y)), None, y, k))
        for codes, k in ((y, 3), (many, 30))
    )
    few = _training.needed_bytes([job], TrainingData(X, y, np.ones(len(y)), None, y, 3))
    more = _training.needed_bytes([wide], TrainingData(X, many, np.ones(len(y)), None, y, 30))
    # five arrays of logits of each network: a restart with its folds
    assert more[0] - few[0] == 5 * 27 * len(y) * job.n_students * X.itemsize


def test_one_batch_that_fails_leaves_the_others_alone(monkeypatch):
    X, y = table()
    make = _together.Batch

    def out_of_memory(rows, jobs, *rest):
        if jobs[0].est.momentum == 0.5:
            raise RuntimeError("out of memory")
        return make(rows, jobs, *rest)

    monkeypatch.setattr(_together, "Batch", out_of_memory)
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
            search = kind(estimator, grid, cv=3, refit=False, error_score=-1.0).fit(X, y)
        results.append(search.cv_results_["mean_test_score"])
    np.testing.assert_allclose(*results, atol=1e-9)


# Early discarding


def halved(grid=None, **options):
    return batched(
        student(max_iter=27, n_iter_no_change=27),
        grid or {"width": [2, 4, 8], "radius": [1e-3, 1.0, None]},
        halving_factor=3,
        **options,
    )


def rounds(search):
    """Yield the numbers, in the grid, of the candidates of each round."""
    every = list(ParameterGrid(search.param_grid))
    results = search.cv_results_
    for number in range(results["iter"].max() + 1):
        yield [
            every.index(params)
            for params, at in zip(results["params"], results["iter"], strict=True)
            if at == number
        ]


@pytest.mark.parametrize("options", [{}, {"early_stopping": False}, {"batch_size": 16}])
def test_candidates_that_are_kept_end_as_if_nothing_had_been_discarded(options):
    X, y = table()
    search = halved(scoring="neg_log_loss")
    search.estimator.set_params(**options)
    search.fit(X, y)
    whole = batched(search.estimator, search.param_grid, scoring="neg_log_loss").fit(X, y)
    *_, last = rounds(search)
    assert len(last) == 1
    kept = search.cv_results_["iter"] == 2
    for key in ("mean_test_score", "std_test_score"):
        np.testing.assert_allclose(
            search.cv_results_[key][kept], whole.cv_results_[key][last], rtol=0, atol=1e-9
        )
    assert search.best_index_ == np.flatnonzero(kept)[0]
    assert search.best_params_ == whole.cv_results_["params"][last[0]]


def test_each_round_keeps_the_leading_third_at_its_share_of_the_epochs():
    X, y = table()
    seen = []

    def score(model, X, y):
        seen.append((model.width, model.n_iter_))
        return model.score(X, y)

    search = halved(scoring=score, cv=2).fit(X, y)
    results = search.cv_results_
    assert [len(numbers) for numbers in rounds(search)] == [9, 3, 1]
    assert [n_iter for _, n_iter in seen] == [3] * 18 + [9] * 6 + [27] * 2
    np.testing.assert_allclose(results["share_of_epochs"], [1 / 9] * 9 + [1 / 3] * 3 + [1])
    first, second, third = rounds(search)
    leading = np.argsort(-results["mean_test_score"][:9], kind="stable")[:3]
    assert second == sorted(np.array(first)[leading])
    assert set(third) < set(second)
    assert (results["mean_fit_time"] > 0).all()


def test_a_round_scores_the_weights_of_shorter_training():
    """With a constant step size training for fewer epochs is the start of training for more."""
    X, y = table()
    options = {"learning_rate": 0.1, "optimizer": "nesterov", "early_stopping": False}
    short = batched(student(max_iter=3, **options), {"width": [2, 4, 8]}, scoring="neg_log_loss")
    long = halved({"width": [2, 4, 8]}, scoring="neg_log_loss")
    long.estimator.set_params(max_iter=9, **options)  # two rounds: three candidates, then one
    short.fit(X, y), long.fit(X, y)
    np.testing.assert_allclose(
        long.cv_results_["mean_test_score"][:3], short.cv_results_["mean_test_score"], atol=1e-12
    )


def test_halving_through_pipelines_teachers_and_different_lengths():
    X, y = table()
    grid = {
        "distilledclassifier__student__width": [2, 4],
        "distilledclassifier__student__max_iter": [9, 18],
        "distilledclassifier__alpha": [0.3, 1.0],
        "standardscaler__with_mean": [True, False],
    }
    pipe = make_pipeline(StandardScaler(), distilled())
    search = batched(pipe, grid, halving_factor=4, cv=2, scoring="neg_log_loss").fit(X, y)
    whole = batched(pipe, grid, cv=2, scoring="neg_log_loss").fit(X, y)
    assert [len(numbers) for numbers in rounds(search)] == [16, 4, 1]
    *_, last = rounds(search)
    assert search.best_score_ == pytest.approx(whole.cv_results_["mean_test_score"][last[0]])


@pytest.mark.filterwarnings("ignore:One or more of the test scores")
def test_candidates_that_fail_are_discarded_first():
    X, y = table()
    grid = {"learning_rate": [1e200, 0.1, 0.01], "width": [2]}
    estimator = student(optimizer="nesterov", max_iter=9)
    with pytest.warns(FitFailedWarning, match="diverged"):
        search = batched(estimator, grid, halving_factor=3).fit(X, y)
    assert np.isnan(search.cv_results_["mean_test_score"][0])
    assert search.best_params_["learning_rate"] < 1
    with pytest.raises(DivergenceError):
        batched(estimator, grid, halving_factor=3, error_score="raise").fit(X, y)


@pytest.mark.slow
def test_attempts_at_smaller_steps_count_as_the_same_candidate(monkeypatch):
    X, y = table()
    monkeypatch.setattr(_settings, "HIDDEN_STEP", 1e200)
    monkeypatch.setattr(_settings, "RETRIES", 1000)
    estimator = student(max_iter=9, batch_size=16)
    whole = batched(estimator, WIDTHS, scoring="neg_log_loss").fit(X, y)
    search = batched(estimator, WIDTHS, scoring="neg_log_loss", halving_factor=2).fit(X, y)
    last = list(rounds(search))[-1][0]
    assert search.best_score_ == pytest.approx(whole.cv_results_["mean_test_score"][last], abs=1e-9)


@pytest.mark.filterwarnings("ignore:One or more of the test scores")
@pytest.mark.parametrize("max_iter", [3, 9])
def test_what_diverges_at_a_pause_has_failed(max_iter):
    """With a first round of one epoch the divergence shows in the books of the next one only."""
    X, y = table()
    grid = {"learning_rate": [1e200, 0.1, 0.01]}
    estimator = student(optimizer="nesterov", max_iter=max_iter)
    with pytest.warns(FitFailedWarning, match="diverged"):
        search = batched(estimator, grid, halving_factor=3).fit(X, y)
    assert np.isnan(search.cv_results_["mean_test_score"][0])


def test_what_is_tried_again_at_a_pause_trains_once(monkeypatch):
    X, y = table()
    sizes, batch = [], _together.Batch
    monkeypatch.setattr(_together, "Batch", lambda *a: sizes.append(len(a[1])) or batch(*a))
    estimator = student(max_iter=2, early_stopping=False, input_scaling=False)
    trained = []
    for factor in (None, 2):
        batched(estimator, {"width": [2, 4, 6]}, cv=2, halving_factor=factor).fit(X * 1e8, y)
        trained.append(sum(sizes))
        sizes.clear()
    assert trained[0] > 12  # some are tried again
    assert trained[1] <= trained[0]


def test_a_round_that_fails_leaves_the_round_before(monkeypatch):
    X, y = table()
    advance = _together.Together.advance

    def failing(self, share=1.0):
        advance(self, share)
        if share == 1:
            for fit in self.fits:
                fit.error = DivergenceError("late")

    monkeypatch.setattr(_together.Together, "advance", failing)
    with pytest.warns(FitFailedWarning, match="all 1 candidates left failed on their way to 100%"):
        search = halved().fit(X, y)
    assert search.cv_results_["iter"].max() == 1
    assert search.best_score_ > 0


def test_models_that_a_scorer_keeps_stay_as_they_were():
    X, y = table()
    kept = []

    def score(model, X, y):
        kept.append((model, model[-1].n_iter_, model.predict_proba(X)))
        return model.score(X, y)

    pipe = make_pipeline(StandardScaler(), student(max_iter=9))
    grid = {"twolayerpgdclassifier__width": [2, 4, 6]}
    rows = np.arange(len(X))
    batched(pipe, grid, cv=[(rows, rows)], scoring=score, halving_factor=3, refit=False).fit(X, y)
    assert len({n_iter for _, n_iter, _ in kept}) == 2
    for model, n_iter, proba in kept:
        assert model[-1].n_iter_ == n_iter
        np.testing.assert_array_equal(model.predict_proba(X), proba)


def test_a_batch_that_failed_lets_its_memory_go(monkeypatch):
    X, y = table()
    made, make = [], _together.Batch

    def counted(*args):
        gc.collect()
        alive.append(sum(each() is not None for each in made))
        batch = make(*args)
        made.append(weakref.ref(batch))
        return batch

    def out_of_memory(self, training, until):
        raise RuntimeError("out of memory")

    alive = []
    monkeypatch.setattr(_together, "Batch", counted)
    monkeypatch.setattr(make, "advance", out_of_memory)
    grid = {"momentum": [0.1, 0.2, 0.3]}
    with pytest.raises(ValueError, match="fits failed"):
        batched(student(), grid, error_score=0.0).fit(X, y)
    assert len(alive) == 9
    assert max(alive) <= 1


def test_no_candidates_are_the_error_of_grid_search():
    for factor in (None, 3):
        with pytest.raises(ValueError, match="No fits were performed"):
            batched(grid=[], halving_factor=factor).fit(*table())


def test_few_candidates_are_not_discarded():
    X, y = table()
    search = halved(WIDTHS).fit(X, y)
    assert "iter" not in search.cv_results_
    assert_same_results(search, batched(search.estimator, WIDTHS).fit(X, y))


def test_halving_ranks_by_the_score_that_refit_names():
    X, y = table()
    scoring = ["accuracy", "neg_log_loss"]
    search = halved(scoring=scoring, refit="neg_log_loss").fit(X, y)
    results = search.cv_results_
    _, second, _ = rounds(search)
    leading = np.argsort(-results["mean_test_neg_log_loss"][:9], kind="stable")[:3]
    assert second == sorted(leading)
    two = {"score": lambda model, X, y: model.width, "b": lambda model, X, y: -model.width}
    narrow = halved({"width": [2, 4, 8]}, scoring=two, refit="b").fit(X, y)
    assert narrow.best_params_ == {"width": 2}
    for scores in (scoring, lambda model, X, y: {"a": 1.0, "b": 0.0}):
        with pytest.raises(ValueError, match="set refit to the name of a scorer"):
            halved(scoring=scores, refit=False).fit(X, y)
    chosen = halved(refit=lambda results: 4).fit(X, y)
    assert chosen.best_index_ == 4


def test_halving_takes_its_memory_before_any_training(monkeypatch):
    X, y = table()
    grid = {"width": [2, 4, 8], "n_init": [1, 2]}
    batched(grid=grid, max_memory=3e-4).fit(X, y)
    train = _together.Together.advance
    monkeypatch.setattr(_together.Together, "advance", None)
    with pytest.raises(MemoryError, match="set halving_factor=None, or raise max_memory"):
        batched(grid=grid, max_memory=3e-4, halving_factor=2).fit(X, y)
    monkeypatch.setattr(_together.Together, "advance", train)
    batched(grid=grid, max_memory=1e-2, halving_factor=2).fit(X, y)


@pytest.mark.parametrize("factor", [1, 0.5, "3"])
def test_the_factor_is_above_one(factor):
    with pytest.raises(ValueError, match="halving_factor"):
        batched(halving_factor=factor).fit(*table())


def test_callbacks_hear_of_every_round():
    X, y = table()
    recorder = Recorder()
    halved(cv=2).set_callbacks(recorder).fit(X, y)
    for event in ("begin", "end"):
        assert recorder.events.count((event, "halving-iteration")) == 3
        assert recorder.events.count((event, "candidate-split-evaluation")) == 2 * (9 + 3 + 1)

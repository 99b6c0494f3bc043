"""BatchedGridSearchCV against GridSearchCV, its reference in everything but the time it takes."""

import pickle
import threading
import time
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    ShuffleSplit,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kd import BatchedGridSearchCV, DistilledClassifier
from sklearn_kd._core.network.training import TrainingState
from sklearn_kd._networks.tasks import ClassificationTask
from sklearn_kd._networks.training_data import TrainingData
from sklearn_kd._networks.two_layer import joint_training, stacked, training
from sklearn_kd._networks.two_layer.fit_plan import resolve_parameters
from tests._helpers.data import FIXED
from tests._helpers.estimators import Recorder, fitted_names
from tests._helpers.searches import (
    WIDTHS,
    assert_same_results,
    assert_same_search,
    batched,
    distilled,
    numbers,
    predictions,
    regressor,
    student,
    table,
)

# Scores are those of GridSearchCV


@pytest.mark.parametrize("optimizer", ["adam", "nesterov"])
@pytest.mark.parametrize("batch_size", [None, 64])
@pytest.mark.parametrize("load", [load_breast_cancer, load_iris, load_wine])
def test_scores_are_those_of_grid_search(load, batch_size, optimizer):
    grid = {"width": [2, 6], "radius": [1.0, None], "random_state": [0, 1]}
    estimator = student(max_iter=20, batch_size=batch_size, optimizer=optimizer)
    X, y = load(return_X_y=True)
    some = slice(None, None, 1 + len(y) // 200)
    if optimizer == "nesterov":  # at the edge of stability rounding would grow
        estimator.set_params(learning_rate=0.1)
    assert_same_search(estimator, grid, (X[some], y[some]), cv=2)


@pytest.mark.parametrize("optimizer", ["adam", pytest.param("nesterov", marks=pytest.mark.slow)])
@pytest.mark.parametrize("batch_size", [None, 64])
@pytest.mark.parametrize("n_targets", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_scores_of_regressors_are_those_of_grid_search(n_targets, batch_size, optimizer):
    grid = {"width": [2, 6], "radius": [1.0, None], "random_state": [0, 1]}
    estimator = regressor(max_iter=20, batch_size=batch_size, optimizer=optimizer)
    if optimizer == "nesterov":
        estimator.set_params(learning_rate=0.1)
    data = numbers(n=150, n_targets=n_targets)
    for scoring in (None, "neg_root_mean_squared_error"):
        search = assert_same_search(estimator, grid, data, cv=2, scoring=scoring)
    assert search.n_splits_ == 2
    default = BatchedGridSearchCV(estimator, WIDTHS).fit(*data)  # KFold, and R2
    expected = [cross_val_score(clone(estimator).set_params(width=w), *data) for w in (2, 4)]
    found = [default.cv_results_[f"split{number}_test_score"] for number in range(5)]
    np.testing.assert_allclose(np.transpose(found), expected, atol=1e-9)


def test_losses_of_regressors_may_vary():
    _, y = numbers()
    grid = [
        {"loss": ["squared_error", "huber"], "width": [2, 4]},
        {"loss": ["huber"], "epsilon": [0.1, 0.5]},
        {"loss": ["quantile"], "quantiles": [None, (0.1, 0.5), np.array([0.5])], "width": [2, 4]},
        {"n_members": [2], "encoder": ["auto", None], "early_stopping": [False]},
    ]
    search = assert_same_search(regressor(), grid)
    assert len(np.unique(search.cv_results_["mean_test_score"].round(9))) > 9
    grid = {"alpha": [0.0, 0.5, 1.0, 1.5], "width": [2, 4], "loss": ["squared_error", "huber"]}
    soft = {"soft_targets": y + np.random.RandomState(0).normal(size=len(y))}
    for batch_size in (None, 16):
        assert_same_search(regressor(batch_size=batch_size), grid, fit_params=soft, cv=2)


def test_candidates_of_regressors_that_fail_leave_the_others_alone():
    X, y = numbers()
    grid = [
        {"quantiles": [(0.9, 0.1), (0.5,)], "loss": ["quantile", "squared_error"]},
        {"loss": ["absolute"]},
        {"width": [3], "epsilon": [1.0]},
    ]
    scores = []
    for kind in (GridSearchCV, BatchedGridSearchCV):
        with pytest.warns(FitFailedWarning), pytest.warns(UserWarning, match="non-finite"):
            search = kind(regressor(), grid, cv=2).fit(X, y)
        scores.append(search.cv_results_["mean_test_score"])
        assert search.best_params_ == {"loss": "quantile", "quantiles": (0.5,)}
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-9)
    assert np.isfinite(scores[0]).sum() == 1


@pytest.mark.slow
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


@pytest.mark.slow
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
        (regressor(), {"width": [2, 4]}),
        (make_pipeline(StandardScaler(), regressor()), {"twolayerpgdregressor__width": [2, 4]}),
    ],
)
def test_scorers_see_what_a_fit_leaves(estimator, grid):
    X, y = table() if is_classifier(estimator) else numbers()
    scorers = [Seen(), Seen()]
    for kind, scorer in zip((GridSearchCV, BatchedGridSearchCV), scorers, strict=True):
        kind(estimator, grid, cv=2, scoring=scorer).fit(X, y)
    for expected, seen in zip(*(scorer.estimators for scorer in scorers), strict=True):
        assert type(seen) is type(estimator)
        assert vars(seen).keys() == vars(expected).keys()
        assert str(seen) == str(expected)
        np.testing.assert_allclose(predictions(seen, X), predictions(expected, X), atol=1e-9)
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
        if theirs is not None and not isinstance(theirs, str):
            np.testing.assert_allclose(np.array(ours, float), np.array(theirs, float), atol=1e-9)


# Metadata


def test_a_class_in_a_single_group_is_an_error_of_fits_that_hold_groups_out():
    X, y = table()
    Q = LogisticRegression(C=0.1).fit(X, y).predict_proba(X)
    given = {"groups": np.where(y == 2, 0, np.arange(len(y))), "soft_targets": Q}
    grid = {"width": [2, 4], "early_stopping": ["auto", True, False]}
    scores = []
    with config_context(enable_metadata_routing=True):
        estimator = student().set_fit_request(soft_targets=True, groups=True)
        for kind in (GridSearchCV, BatchedGridSearchCV):
            search = kind(estimator, grid, cv=3, refit=False)
            with warnings.catch_warnings(record=True) as record:
                warnings.simplefilter("always")
                search.fit(X, y, **given)
            (message,) = [str(w.message) for w in record if w.category is FitFailedWarning]
            assert "classes [2] are in one group each" in message
            scores.append(search.cv_results_["mean_test_score"])
    np.testing.assert_allclose(scores[1], scores[0])
    assert np.isnan(scores[0]).tolist() == [False, False, True, True, False, False]


def test_quantiles_are_those_of_the_best_estimator():
    X, y = numbers()
    levels = {"loss": "quantile", "quantiles": (0.1, 0.5, 0.9)}
    search = batched(regressor(**levels), WIDTHS)
    with pytest.raises(NotFittedError):
        search.predict_quantiles(X)
    quantiles = search.fit(X, y).predict_quantiles(X)
    np.testing.assert_array_equal(quantiles, search.best_estimator_.predict_quantiles(X))
    np.testing.assert_array_equal(quantiles[:, 1], search.predict(X))
    for without in (
        batched(regressor(), WIDTHS),
        batched(regressor(**levels), WIDTHS, refit=False),
    ):
        assert not hasattr(without.fit(X, y), "predict_quantiles")
    with pytest.raises(AttributeError, match="no attribute 'predict_quantiles'") as error:
        without.predict_quantiles(X)
    assert "refit=False" in str(error.value.__cause__)


def test_groups_and_weights_of_regressors():
    y = numbers()[1]
    weights = np.random.RandomState(0).uniform(0, 2, len(y))
    weights[::7] = 0
    options = {"cv": GroupKFold(3), "scoring": None}
    given = {"groups": np.arange(len(y)) % 7, "sample_weight": weights}
    assert_same_search(regressor(), WIDTHS, fit_params=given, **options)
    frame = pd.DataFrame(numbers()[0], columns=["a", "b", "c"])
    frame["d"] = np.where(np.arange(len(y)) % 3, "x", "y")
    assert_same_search(regressor(encoder="auto"), WIDTHS, (frame, y))
    with config_context(enable_metadata_routing=True):
        one = regressor(early_stopping=True)
        one.set_fit_request(groups=True, sample_weight=True).set_score_request(sample_weight=True)
        assert_same_search(one, WIDTHS, fit_params=given, **options)


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


@pytest.mark.parametrize("labeled", [False, True])
def test_soft_targets_are_sliced(labeled):
    X, y = table()
    Q = LogisticRegression().fit(X, y).predict_proba(X)
    given = pd.DataFrame(Q, columns=[0, 1, 2]) if labeled else Q
    grid = {"alpha": [0.0, 0.5, 1.0], "temperature": [1.0, 3.0], "width": [2, 4]}
    assert_same_search(student(), grid, fit_params={"soft_targets": given}, cv=2)
    grid = {"alpha": [0.5, 1.0], "temperature": [1.0, 3.0], "student__width": [2, 4]}
    search = assert_same_search(distilled(), grid, fit_params={"soft_targets": given}, cv=2)
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
        one = student().set_fit_request(soft_targets=True, sample_weight=False, groups=True)
        cv = GroupKFold(3)
        assert_same_search(one, {"alpha": [0.5, 1.0]}, fit_params=grouped, cv=cv)


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
    sizes, batch = [], stacked.StackedNetworks
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            joint_training, "StackedNetworks", lambda *a: sizes.append(len(a[1])) or batch(*a)
        )
        with pytest.warns(UserWarning, match="memory was too small"):
            search = batched(grid=grid, scoring="neg_log_loss", max_memory=3e-4).fit(X, y)
    assert len(sizes) > 3  # more than one for each split
    assert sum(sizes) == 3 * 6
    assert_same_results(search, expected)


@pytest.mark.parametrize("fitted", [False, True])
def test_a_fit_that_is_interrupted_or_fails_leaves_what_there_was(monkeypatch, fitted):
    X, y = table()
    search = batched(cv=2)
    before = vars(search.fit(X, y)).copy() if fitted else vars(search).copy()
    calls, fit = [], joint_training.JointTraining

    def interrupted(*args, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit(*args, **options)

    monkeypatch.setattr(joint_training, "JointTraining", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, y)
    with pytest.raises(ValueError, match="fits failed"):
        search.fit(X, np.zeros(len(y)))
    assert vars(search) == before


def test_an_interrupt_in_training_is_raised(monkeypatch):
    X, y = table()
    search, note = batched(), TrainingState.mark_ended

    def interrupted(run):
        if run.n_epochs_done == 5:
            raise KeyboardInterrupt
        return note(run)

    monkeypatch.setattr(TrainingState, "mark_ended", interrupted)
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
    assert "s of training ahead" in lines[0]
    assert "ahead" not in lines[1]
    batched(cv=2, verbose=2).fit(X, y)
    printed = capsys.readouterr().out
    assert "split 1/2: 0 of 2 done, 2 begin" in printed
    for split in (1, 2):
        for width in (2, 4):
            assert f"[BatchedGridSearchCV] split {split}/2: width={width}: trained, " in printed
    grid = {"width": [4, 5], "radius": [1.0]}
    with pytest.warns(FitFailedWarning), pytest.warns(UserWarning, match="non-finite"):
        batched(grid=grid, cv=2, verbose=2).fit(X, y)  # an odd width
    assert "split 2/2: radius=1.0, width=5: failed (ValueError), " in capsys.readouterr().out


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


def test_scorers_in_a_dict_leave_nothing_of_the_prefitted_search():
    X, y = table()
    search = batched(scoring={"a": None, "b": "f1_macro"}, refit="a").fit(X, y)
    assert pickle.loads(pickle.dumps(search)).score(X, y) == search.score(X, y)


def test_targets_are_needed():
    X, _ = table()
    with pytest.raises(ValueError, match="needs the targets y"):
        batched().fit(X)


def test_the_global_generator_is_left_alone_where_all_have_seeds():
    X, y = table()
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    batched().fit(X, y)
    assert (np.random.get_state()[1] == before).all()


def test_a_network_beyond_max_memory_is_refused_before_any_training(monkeypatch):
    X, y = table()
    monkeypatch.setattr(joint_training, "StackedNetworks", None)
    search = batched(student(), {"width": [2, 4000]}, max_memory=1e-3, error_score=0.0)
    with pytest.raises(MemoryError, match="or raise max_memory"):
        search.fit(X, y)


def test_outputs_count_as_memory():
    X, y = table()
    many = np.arange(len(y)) % 30
    job, wide = (
        resolve_parameters(
            student(), TrainingData(X, y_encoded, np.ones(len(y)), None, y, ClassificationTask(k))
        )
        for y_encoded, k in ((y, 3), (many, 30))
    )
    few = training.needed_bytes(
        [job], TrainingData(X, y, np.ones(len(y)), None, y, ClassificationTask(3))
    )
    more = training.needed_bytes(
        [wide], TrainingData(X, many, np.ones(len(y)), None, y, ClassificationTask(30))
    )
    # five arrays of logits of each network: a restart with its folds
    assert more[0] - few[0] == 5 * 27 * len(y) * job.n_students * X.itemsize

"""Searches by several processes or threads."""

import pickle
import weakref

import joblib
import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kd._networks.two_layer import joint_training
from sklearn_kd._search import split_fits
from sklearn_kd._search.split_fits import SplitFits
from tests._helpers.backends import CopyingBackend
from tests._helpers.searches import batched, distilled, student, table

#: 18 candidates, more than share their products.
GRID = {"radius": [0.1, 1.0, None], "random_state": [0, 1], "width": [2, 4, 8]}


def assert_equal_searches(search, expected):
    for name, values in expected.cv_results_.items():
        if not name.endswith("_time"):
            np.testing.assert_array_equal(search.cv_results_[name], values, err_msg=name)
    X, _ = table()
    np.testing.assert_array_equal(search.predict_proba(X), expected.predict_proba(X))


@pytest.mark.parametrize("factor", [None, 3])
@pytest.mark.parametrize(
    ("backend", "n_jobs"),
    [("loky", 2), ("threading", 3), pytest.param("multiprocessing", 3, marks=pytest.mark.slow)],
)
def test_results_do_not_depend_on_the_number_of_processes(backend, n_jobs, factor):
    X, y = table()
    options = {"grid": GRID, "halving_factor": factor, "scoring": "neg_log_loss", "cv": 2}
    estimator = student(batch_size=32)
    expected = batched(estimator, **options).fit(X, y)
    with joblib.parallel_config(backend):
        search = batched(estimator, n_jobs=n_jobs, **options).fit(X, y)
    assert_equal_searches(search, expected)


def test_the_number_of_processes_may_come_from_the_context():
    X, y = table()
    expected = batched(grid=GRID).fit(X, y)
    with joblib.parallel_config("threading", n_jobs=2):
        assert_equal_searches(batched(grid=GRID).fit(X, y), expected)


@pytest.mark.parametrize("n_jobs", [None, 1])
@pytest.mark.parametrize("factor", [None, 3])
def test_fits_are_scored_where_they_wait(factor, n_jobs):
    X, y = table()
    options = {"grid": GRID, "halving_factor": factor, "scoring": "neg_log_loss", "cv": 2}
    expected = batched(**options).fit(X, y)
    with joblib.parallel_config(CopyingBackend()):
        search = batched(n_jobs=n_jobs, **options).fit(X, y)
    assert_equal_searches(search, expected)


def test_tasks_are_few_for_many_candidates():
    X, y = table()
    grid, backend = {"width": [2] * 100}, CopyingBackend()
    estimator = student(max_iter=2)
    expected = batched(estimator, grid, cv=2, refit=False).fit(X, y)
    with joblib.parallel_config(backend):
        search = batched(estimator, grid, cv=2, refit=False, n_jobs=2).fit(X, y)
    assert len(backend.task_bytes) == 8  # four for each of two processes, in place of 14 stacks
    scores = search.cv_results_["mean_test_score"]
    np.testing.assert_array_equal(scores, expected.cv_results_["mean_test_score"])


class BackendOfFit(LogisticRegression):
    """Teacher that records the backend of joblib that its fit finds."""

    def fit(self, X, y, sample_weight=None):
        self.backend_ = type(joblib.parallel.get_active_backend()[0]).__name__
        return super().fit(X, y, sample_weight)


def test_the_refit_finds_the_backend_of_the_caller():
    X, y = table()
    outside = type(joblib.parallel.get_active_backend()[0]).__name__
    with joblib.parallel_config("threading"):
        search = batched(distilled(BackendOfFit()), {"alpha": [0.5, 1.0]}).fit(X, y)
    assert search.best_estimator_.teacher_.backend_ == "ThreadingBackend"
    with pytest.raises(ValueError, match="even"):
        batched(grid={"width": [5]}, error_score="raise").fit(X, y)
    assert type(joblib.parallel.get_active_backend()[0]).__name__ == outside


@pytest.mark.parametrize(
    ("estimator", "grid"),
    [
        (distilled(), {"teacher__C": [0.1, 1.0], "student__width": [2, 4], "alpha": [0.5, 1.0]}),
        (
            make_pipeline(StandardScaler(), student()),
            {"twolayerpgdclassifier__width": [2, 4], "standardscaler__with_mean": [True, False]},
        ),
    ],
    ids=["distiller", "pipeline"],
)
def test_what_precedes_the_student_is_fitted_in_each_process(estimator, grid):
    X, y = table()
    with joblib.parallel_config("threading"):
        search = batched(estimator, grid, n_jobs=2).fit(X, y)
    assert_equal_searches(search, batched(estimator, grid).fit(X, y))


def test_candidates_of_a_split_share_a_seed_in_all_processes():
    X, y = table()
    equal = {"width": [4] * 20}
    with joblib.parallel_config("threading"):
        search = batched(
            student(random_state=None), equal, scoring="neg_log_loss", n_jobs=2, refit=False
        ).fit(X, y)
    scores = np.array([search.cv_results_[f"split{split}_test_score"] for split in range(3)])
    np.testing.assert_allclose(scores, np.broadcast_to(scores[:, :1], scores.shape), atol=1e-9)


def test_errors_in_other_processes_are_those_of_the_fits():
    X, y = table()
    options = {"scoring": "neg_log_loss", "cv": 2, "n_jobs": 2, "grid": {"width": [2, 4, 5]}}
    with (
        pytest.warns(FitFailedWarning, match="2 fits failed out of a total of 6") as shown,
        pytest.warns(UserWarning, match="non-finite"),
    ):
        search = batched(refit=False, **options).fit(X, y)
    assert "in _check_values" in str(shown[0].message)  # the traceback of the other process
    np.testing.assert_array_equal(
        np.isnan(search.cv_results_["mean_test_score"]), [False, False, True]
    )
    with pytest.raises(ValueError, match="even"):
        batched(error_score="raise", **options).fit(X, y)
    with pytest.raises(MemoryError, match="raise max_memory"):
        batched(max_memory=1e-9, **options).fit(X, y)


def test_memory_that_changes_what_trains_together_is_reported_once():
    X, y = table()
    options = {"grid": GRID, "cv": 2, "refit": False, "n_jobs": 2}
    with pytest.warns(UserWarning, match="memory was too small") as shown:
        batched(max_memory=1e-4, **options).fit(X, y)
    assert len(shown) == 1
    batched(max_memory=1, **options).fit(X, y)  # warnings are errors


def test_each_split_is_reported_once(capsys):
    X, y = table()
    with joblib.parallel_config("threading"):
        batched(grid=GRID, verbose=1, n_jobs=2).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        f"[BatchedGridSearchCV] split {number}/3: 18 fits" for number in (1, 2, 3)
    ]


@pytest.fixture
def sent(monkeypatch):
    """Pass what several processes do through pickle, and collect the bytes of each round.

    They are those of its tasks and those of their results.
    """
    rounds, in_process = [], split_fits.parallel_results

    def parallel_results(function, tasks, n_jobs):
        if n_jobs is None:
            return in_process(function, tasks, n_jobs)
        there = [pickle.dumps(task) for task in tasks]
        back = [pickle.dumps(function(*pickle.loads(task))) for task in there]
        rounds.append((there, back))
        return map(pickle.loads, back)

    monkeypatch.setattr(split_fits, "parallel_results", parallel_results)
    return rounds


def width(model, X, y):
    """Score by which the widest networks are kept."""
    return model.width


def test_what_a_paused_search_sends_back_does_not_grow_with_the_rows(sent):
    sizes = []
    for n in (100, 1000):
        X, y = table(n=n)
        estimator = student(batch_size=20, n_iter_no_change=25)
        options = {"scoring": width, "cv": 2, "halving_factor": 3, "refit": False}
        batched(estimator, GRID, n_jobs=2, **options).fit(X, y)
        sizes.append([sum(map(len, back)) for _, back in sent])
        sent.clear()
    grown = np.subtract(*reversed(sizes))
    assert (grown < 4 * 1000).all()  # a byte for each row and part, which says if it is held out
    assert min(sizes[1][:2]) > 4 * 1000


def test_each_round_sends_what_trains_on(sent):
    X, y = table()
    options = {"scoring": width, "cv": 2, "halving_factor": 2}
    grid = {"width": [2] * 16 + [4] * 16}
    batched(student(n_iter_no_change=25), grid, n_jobs=2, refit=False, **options).fit(X, y)
    assert [len(there) for there, _ in sent] == [4, 2, 2]
    kept = [len(pickle.loads(task)[0].candidates) for task in sent[2][0]]
    assert kept == [8, 8]


def test_a_stack_of_which_all_candidates_are_kept_trains_on_as_before(sent):
    """Arrays of such a stack are not copied at the pause, and pickle divides those that overlap."""
    X, y = table()
    scoring = {"width": width, "loss": "neg_log_loss"}
    options = {"scoring": scoring, "refit": "width", "cv": 2, "halving_factor": 2}
    grid = {"radius": np.linspace(0.1, 2, 16), "width": [2, 4]}
    estimator = student(batch_size=32, early_stopping=False)
    search = batched(estimator, grid, n_jobs=2, **options).fit(X, y)
    assert {len(pickle.loads(task)[0].candidates) for task in sent[1][0]} == {16}
    expected = batched(estimator, grid, **options).fit(X, y)
    assert_equal_searches(search, expected)


def test_networks_that_have_ended_keep_their_results(sent):
    X, y = table()
    options = {"scoring": "neg_log_loss", "cv": 2, "halving_factor": 2}
    grid = {"n_iter_no_change": [1], "width": [2, 4, 6, 8]}
    estimator = student(batch_size=10, max_iter=400)
    search = batched(estimator, grid, n_jobs=2, **options).fit(X, y)
    assert [len(there) for there, _ in sent][1:] == [0, 0]
    assert_equal_searches(search, batched(estimator, grid, **options).fit(X, y))


def test_lines_of_several_parts_name_the_part(capsys):
    X, y = table()
    with joblib.parallel_config("threading"):
        batched(grid=GRID, verbose=2, cv=2, n_jobs=2).fit(X, y)
    printed = capsys.readouterr().out
    for part in (1, 2):
        assert f"split 2/2: part {part}/2, 0 of" in printed


def test_training_rows_of_a_split_are_freed_before_the_next(monkeypatch):
    alive, references = [], []
    prepare = SplitFits.prepare

    def counted(self, *args):
        alive.append(sum(each() is not None for each in references))
        prepare(self, *args)
        references.extend(weakref.ref(group.joint_training) for group in self.groups)

    monkeypatch.setattr(SplitFits, "prepare", counted)
    batched(grid=GRID, n_jobs=1).fit(*table())
    assert alive == [0, 0, 0]


class TwoArgumentsError(Exception):
    """An error that pickle cannot restore."""

    def __init__(self, what, where):
        super().__init__(f"{what} in {where}")


class Failing(TransformerMixin, BaseEstimator):
    def __init__(self, fails=False):
        self.fails = fails

    def fit(self, X, y=None):
        if self.fails:
            raise TwoArgumentsError("a fault", "a step")
        return self

    def transform(self, X):
        return X


def test_errors_that_cannot_be_sent_keep_their_message():
    X, y = table()
    estimator = make_pipeline(Failing(), student())
    options = {"grid": {"failing__fails": [False, True]}, "cv": 2, "n_jobs": 2}
    with (
        pytest.warns(FitFailedWarning, match="TwoArgumentsError: a fault in a step") as shown,
        pytest.warns(UserWarning, match="non-finite"),
    ):
        search = batched(estimator, **options).fit(X, y)
    assert search.best_params_ == {"failing__fails": False}
    line = 'raise TwoArgumentsError("a fault", "a step")'
    assert line in str(shown[0].message)
    with pytest.raises(RuntimeError, match="a fault in a step") as raised:
        batched(estimator, error_score="raise", **options).fit(X, y)
    assert line in str(raised.value.__cause__)


def test_no_stack_has_more_fits_than_it_may(monkeypatch):
    X, y = table()
    sizes, train = [], joint_training.JointTraining.advance_by_stack

    def recorded(self, share=1.0):
        for done, size, total in train(self, share):
            sizes.append(size)
            yield done, size, total

    monkeypatch.setattr(joint_training.JointTraining, "advance_by_stack", recorded)
    monkeypatch.setattr(joint_training, "MAX_STEP_BYTES", 60 * 100 * 8)  # of 3 networks of width 16
    batched(grid={"alpha": [0.5, 1.0], "width": [2] * 15 + [16] * 15}, cv=2, refit=False).fit(X, y)
    assert sum(sizes) == 2 * 60
    assert max(sizes) <= 16
    assert min(sizes) < 5

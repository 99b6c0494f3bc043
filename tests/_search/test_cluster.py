"""The calls that take ``n_jobs`` on a cluster of two processes, by dask or by ray.

Each test needs its package and is skipped without it. The steps and teachers below are tasks of
other processes: they wait for files in place of times, and give up after `LIMIT` seconds.
"""

import functools
import os
import signal
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from joblib.externals.loky.process_executor import TerminatedWorkerError
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sklearn_kd._utils.parallel import parallel_results
from sklearn_kd.inspection import distillation_report, should_distill
from tests._helpers.searches import batched, distilled, student, table
from tests._search.test_jobs import GRID, assert_equal_searches

pytestmark = pytest.mark.slow

#: Seconds after which a wait is a failure. The machine may be busy.
LIMIT = 300


def wait_for(condition):
    """Wait until a function returns something true, and return that."""
    end = time.monotonic() + LIMIT
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {LIMIT} s")
        time.sleep(0.01)
    return value


def dask_client():
    """Return a client of a new cluster of two processes, which end with it."""
    distributed = pytest.importorskip("distributed")
    return distributed.Client(n_workers=2, threads_per_worker=1, dashboard_address=":0")


@pytest.fixture(scope="module")
def dask():
    with dask_client():
        yield functools.partial(joblib.parallel_config, "dask")


@pytest.fixture(scope="module")
def ray():
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.util.joblib").register_ray()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield functools.partial(joblib.parallel_config, "ray")
    ray.shutdown()


@pytest.fixture
def loky():
    return functools.partial(joblib.parallel_config, "loky")


@pytest.fixture(params=["dask", "ray"])
def cluster(request):
    """Return a function whose result is the context in which joblib uses a cluster."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["loky", "dask"])
def processes(request):
    return request.getfixturevalue(request.param)


class Step(TransformerMixin, BaseEstimator):
    """A step of a pipeline that returns its rows. Subclasses do something in ``fit``."""

    def __init__(self, folder=None, caller=None):
        self.folder, self.caller = folder, caller

    def fit(self, X, y=None):
        self.act(Path(self.folder))
        return self

    def transform(self, X):
        return X


class MeetsAnother(Step):
    """Ends when a second process fits a copy."""

    def act(self, folder):
        (folder / str(os.getpid())).touch()
        wait_for(lambda: len(list(folder.iterdir())) >= 2)


class WaitsToGoOn(Step):
    """Ends when the caller lets it."""

    def act(self, folder):
        (folder / "begun").touch()
        wait_for((folder / "go on").exists)


class EndsItsProcess(Step):
    def act(self, folder):
        assert os.getpid() != self.caller
        os.kill(os.getpid(), signal.SIGKILL)


class EndsOneProcess(Step):
    """Ends the first of two processes, as soon as both of them have the rows."""

    def act(self, folder):
        (folder / str(os.getpid())).touch()
        wait_for(lambda: len(list(folder.iterdir())) >= 2)
        try:
            (folder / "ended").touch(exist_ok=False)
        except FileExistsError:
            return
        assert os.getpid() != self.caller
        os.kill(os.getpid(), signal.SIGKILL)


class FailsElsewhere(Step):
    def act(self, folder):
        if os.getpid() != self.caller:
            raise LookupError("no rows in this process")


class Counted:
    """An object that leaves a byte in a file whenever it is read from a message."""

    def __init__(self, path):
        self.path = path

    def __setstate__(self, state):
        self.path = state["path"]
        with open(self.path, "ab") as file:
            file.write(b"1")


def number_of(shared, number):
    return number


def search_with(step, **options):
    """Return a search whose two splits are a task each, of one candidate behind a step."""
    grid = {"twolayerpgdclassifier__width": [2]}
    options = {"cv": 2, "scoring": "neg_log_loss", "error_score": "raise", **options}
    return batched(make_pipeline(step, student()), grid, n_jobs=2, refit=False, **options)


def test_searches_have_the_scores_of_one_process(cluster):
    X, y = table()
    # both rounds of a search that discards candidates: the fits go there and back
    options = {"halving_factor": 3, "scoring": "neg_log_loss", "cv": 2}
    grid = {"width": [2, 4, 8], "radius": [0.1, None]}
    expected = batched(student(batch_size=32), grid, **options).fit(X, y)
    with cluster():
        search = batched(student(batch_size=32), grid, n_jobs=2, **options).fit(X, y)
    assert_equal_searches(search, expected)


def test_candidates_of_a_split_are_divided(dask):
    X, y = table()
    expected = batched(grid=GRID, scoring="neg_log_loss").fit(X, y)
    for n_jobs in (2, 1, None):
        with dask():
            search = batched(grid=GRID, scoring="neg_log_loss", n_jobs=n_jobs).fit(X, y)
        assert_equal_searches(search, expected)


def test_other_calls_have_the_results_of_one_process(dask):
    X, y = table(2)

    def call(n_jobs):
        model = distilled(cv=3, n_jobs=n_jobs).fit(X, y)
        data, options = (LogisticRegression(), student(), X, y), {"cv": 2, "n_jobs": n_jobs}
        report = distillation_report(*data, distiller=distilled(), n_latency=1, **options).frame
        advice = should_distill(*data, **options)
        scores = ["model", "fold", "seed", "accuracy", "log_loss"]
        return model.predict_proba(X), report[scores], advice

    expected = call(1)
    with dask():
        probabilities, report, advice = call(2)
    np.testing.assert_array_equal(probabilities, expected[0])
    pd.testing.assert_frame_equal(report, expected[1], check_exact=True)
    assert advice.recoverable == expected[2].recoverable


def test_tasks_run_at_the_same_time_in_other_processes(cluster, tmp_path):
    with cluster():
        search_with(MeetsAnother(str(tmp_path))).fit(*table())
    found = {int(path.name) for path in tmp_path.iterdir()}
    assert len(found) == 2
    assert os.getpid() not in found


def test_errors_of_workers_are_raised(cluster):
    search = search_with(FailsElsewhere("", os.getpid()))
    with cluster(), pytest.raises(LookupError, match="no rows in this process"):
        search.fit(*table())


def test_what_tasks_share_is_sent_once_to_each_worker(dask, tmp_path):
    # ray reads it from a store that the workers of a machine share, without copies of arrays
    path, n_tasks = tmp_path / "read", 40
    function = functools.partial(number_of, Counted(str(path)))
    with dask():
        found = list(parallel_results(function, ((n,) for n in range(n_tasks)), 2))
    assert found == list(range(n_tasks))
    assert 1 <= len(path.read_bytes()) <= 4


@pytest.mark.usefixtures("handler_of_ctrl_c")
def test_a_search_can_be_interrupted(processes, tmp_path):
    X, y = table()

    def interrupt():
        wait_for((tmp_path / "begun").exists)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with processes():
        with pytest.raises(KeyboardInterrupt):
            search_with(WaitsToGoOn(str(tmp_path))).fit(X, y)
        thread.join()
        (tmp_path / "go on").touch()
        # the workers are there for the next call
        search = batched(n_jobs=2).fit(X, y)
    assert_equal_searches(search, batched().fit(X, y))


def test_the_end_of_all_processes_is_an_error(tmp_path):
    search = search_with(EndsItsProcess(str(tmp_path), os.getpid()))
    with joblib.parallel_config("loky"), pytest.raises(TerminatedWorkerError):
        search.fit(*table())
    with dask_client():
        from distributed import KilledWorker

        # the other error is that the only process that had the rows has ended
        with joblib.parallel_config("dask"), pytest.raises((KilledWorker, CancelledError)):
            search.fit(*table())


def test_a_process_that_ends_costs_only_its_tasks(tmp_path):
    X, y = table()
    expected = batched(cv=2, scoring="neg_log_loss", refit=False).fit(X, y)
    with dask_client(), joblib.parallel_config("dask"):
        search = search_with(EndsOneProcess(str(tmp_path), os.getpid())).fit(X, y)
    assert (tmp_path / "ended").exists()
    for split in range(2):
        name = f"split{split}_test_score"
        np.testing.assert_array_equal(search.cv_results_[name], expected.cv_results_[name][:1])


def test_a_search_reports_its_splits_in_the_caller(dask, capfd):
    with dask():
        batched(verbose=1, n_jobs=2).fit(*table())
    lines = capfd.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        f"[BatchedGridSearchCV] split {number}/3: 2 fits" for number in (1, 2, 3)
    ]

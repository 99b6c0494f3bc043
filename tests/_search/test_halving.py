"""Early discarding of candidates."""

import gc
import weakref

import joblib
import numpy as np
import pytest
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kd._core.network.training import ResumableTraining
from sklearn_kd._networks.two_layer import fit_plan, joint_training, stacked
from sklearn_kd.exceptions import DivergenceError, SoftTargetsAlignmentWarning
from tests._helpers.estimators import Recorder
from tests._helpers.searches import (
    WIDTHS,
    assert_same_results,
    batched,
    distilled,
    numbers,
    regressor,
    student,
    table,
)


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
@pytest.mark.parametrize(
    ("make", "data", "scoring"), [(student, table, "neg_log_loss"), (regressor, numbers, "r2")]
)
def test_candidates_that_are_kept_end_as_if_nothing_had_been_discarded(
    make, data, scoring, options
):
    X, y = data()
    search = halved(scoring=scoring)
    search.estimator = make(max_iter=27, n_iter_no_change=27, **options)
    search.fit(X, y)
    whole = batched(search.estimator, search.param_grid, scoring=scoring).fit(X, y)
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
    monkeypatch.setattr(fit_plan, "HIDDEN_STEP", 1e200)
    monkeypatch.setattr(fit_plan, "RETRIES", 1000)
    estimator = student(max_iter=9, batch_size=16)
    whole = batched(estimator, WIDTHS, scoring="neg_log_loss").fit(X, y)
    search = batched(estimator, WIDTHS, scoring="neg_log_loss", halving_factor=2).fit(X, y)
    last = list(rounds(search))[-1][0]
    assert search.best_score_ == pytest.approx(whole.cv_results_["mean_test_score"][last], abs=1e-9)


@pytest.mark.filterwarnings("ignore:One or more of the test scores")
@pytest.mark.parametrize("max_iter", [3, 9])
def test_what_diverges_at_a_pause_has_failed(max_iter):
    """With a first round of one epoch the divergence shows in the losses of the next one only."""
    X, y = table()
    grid = {"learning_rate": [1e200, 0.1, 0.01]}
    estimator = student(optimizer="nesterov", max_iter=max_iter)
    with pytest.warns(FitFailedWarning, match="diverged"):
        search = batched(estimator, grid, halving_factor=3).fit(X, y)
    assert np.isnan(search.cv_results_["mean_test_score"][0])


def test_what_is_tried_again_at_a_pause_trains_once(monkeypatch):
    X, y = table()
    sizes, batch = [], stacked.StackedNetworks
    monkeypatch.setattr(
        joint_training, "StackedNetworks", lambda *a: sizes.append(len(a[1])) or batch(*a)
    )
    estimator = student(max_iter=2, early_stopping=False, input_scaling=False, init="symmetric")
    trained = []
    for factor in (None, 2):
        batched(estimator, {"width": [2, 4, 6]}, cv=2, halving_factor=factor).fit(X * 1e8, y)
        trained.append(sum(sizes))
        sizes.clear()
    assert trained[0] > 12  # some are tried again
    assert trained[1] <= trained[0]


def test_a_round_that_fails_leaves_the_round_before(monkeypatch):
    X, y = table()
    advance = joint_training.JointTraining.advance_by_stack

    def failing(self, share=1.0):
        yield from advance(self, share)
        if share == 1:
            for fit in self.fits:
                fit.error = DivergenceError("late")

    monkeypatch.setattr(joint_training.JointTraining, "advance_by_stack", failing)
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
    made, make = [], stacked.StackedNetworks

    def counted(*args):
        gc.collect()
        alive.append(sum(each() is not None for each in made))
        batch = make(*args)
        made.append(weakref.ref(batch))
        return batch

    def out_of_memory(self, until):
        raise RuntimeError("out of memory")

    alive = []
    monkeypatch.setattr(joint_training, "StackedNetworks", counted)
    monkeypatch.setattr(ResumableTraining, "advance", out_of_memory)
    grid = {"momentum": [0.1, 0.2, 0.3]}
    with pytest.raises(ValueError, match="fits failed"):
        batched(student(), grid, error_score=0.0).fit(X, y)
    assert len(alive) == 9
    assert max(alive) <= 1


def test_rows_that_are_checked_again_warn_once():
    X, y = table()
    soft = np.eye(3)[(y + 1) % 3] * 0.7 + 0.1  # columns in another order than the labels
    counts = []
    for factor in (None, 3):
        with pytest.warns(SoftTargetsAlignmentWarning, match="another order") as shown:
            batched(grid={"width": [2, 4, 6]}, halving_factor=factor, refit=False).fit(
                X, y, soft_targets=soft
            )
        counts.append(len(shown))
    assert counts[0] == counts[1]


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
    with pytest.warns(UserWarning, match="memory was too small"):
        batched(grid=grid, max_memory=3e-4).fit(X, y)
    train = joint_training.JointTraining.advance_by_stack
    monkeypatch.setattr(joint_training.JointTraining, "advance_by_stack", None)
    with pytest.raises(MemoryError, match="set halving_factor=None, or raise max_memory"):
        batched(grid=grid, max_memory=3e-4, halving_factor=2).fit(X, y)
    monkeypatch.setattr(joint_training.JointTraining, "advance_by_stack", train)
    batched(grid=grid, max_memory=1e-2, halving_factor=2).fit(X, y)


def test_the_rows_of_all_that_trains_at_the_same_time_are_counted():
    X, y = table(n=9000)
    row_bytes = 2 * 8 * 4500 * (X.shape[1] + 1)
    estimator = student(batch_size=50, max_iter=1, early_stopping=False)
    options = {"grid": {"width": [2] * 20}, "cv": 2, "halving_factor": 20, "refit": False}
    options["max_memory"] = 3.5 * row_bytes / 2**30
    batched(estimator, n_jobs=1, **options).fit(X, y)
    # two splits of two parts
    with joblib.parallel_config("threading"), pytest.raises(MemoryError, match="halving_factor"):
        batched(estimator, n_jobs=4, **options).fit(X, y)


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

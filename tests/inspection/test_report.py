"""distillation_report against plain fits and scikit-learn, its verdict against formulas."""

import pickle
import time
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin, clone, config_context
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    log_loss,
    roc_auc_score,
)
from sklearn.model_selection import KFold, RepeatedStratifiedKFold, ShuffleSplit, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
from sklearn_kd.export import compact
from sklearn_kd.inspection import _measurements
from sklearn_kd.inspection._class_scores import ClassScorer
from sklearn_kd.inspection._report import DistillationReport, distillation_report
from sklearn_kd.metrics import agreement_score, expected_calibration_error, fidelity_score
from tests._helpers.data import blobs
from tests._helpers.estimators import DecisionOnly
from tests._helpers.third_party import OtherPackage, as_column

SCORES = ["accuracy", "balanced_accuracy", "log_loss", "roc_auc", "average_precision"]
SCORES += ["calibration_error", "agreement", "fidelity"]
SPEED = ["latency_p50_ms", "latency_p99_ms", "rows_per_second", "compact_latency_us"]
SPEED += ["fit_seconds"]


def table(n_classes=2, n=90):
    X, y_encoded = blobs(n, n_classes, spread=3.0)
    return X, np.array(["ant", "bee", "cat", "dog"])[y_encoded]


def tree(**params):
    return DecisionTreeClassifier(**{"max_depth": 2, "max_features": 1, **params})


def forest(n=5):
    return RandomForestClassifier(n, max_depth=3)


def quick(*args, **options):
    return distillation_report(*args, **{"n_latency": 2, "n_seeds": 1, "cv": 2, **options})


def line_of(frame, model, fold, seed):
    own = frame[(frame["model"] == model) & (frame["fold"] == fold) & (frame["seed"] == seed)]
    assert len(own) == 1
    return own.iloc[0]


def one_hot(y):
    return (y[:, None] == np.unique(y)).astype(int)


def reference_scores(model, teacher, X, y, rarer, weight=None):
    labels, P = model.predict(X), model.predict_proba(X)
    weights = {"sample_weight": weight}
    if P.shape[1] == 2:
        area = roc_auc_score(y, P[:, 1], **weights)
        column = list(model.classes_).index(rarer)
        precision = average_precision_score(y == rarer, P[:, column], **weights)
    else:
        area = roc_auc_score(y, P, multi_class="ovr", **weights)
        precision = average_precision_score(one_hot(y), P, **weights)
    return {
        "accuracy": accuracy_score(y, labels, **weights),
        "balanced_accuracy": balanced_accuracy_score(y, labels, **weights),
        "log_loss": log_loss(y, P, labels=model.classes_, **weights),
        "roc_auc": area,
        "average_precision": precision,
        "calibration_error": expected_calibration_error(y, P, labels=model.classes_, **weights),
        "agreement": agreement_score(teacher.predict(X), labels, **weights),
        "fidelity": fidelity_score(teacher.predict_proba(X), P, **weights),
    }


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_lines_are_those_of_plain_fits(n_classes, weighted):
    X, y = table(n_classes)
    if n_classes == 2:  # the first one is the rarer
        X, y = X[15:], np.sort(y)[15:]
        X = X + 2 * (y == "bee")[:, None] * [1, 0, 0]
    rarer = "ant"
    weight = np.random.RandomState(0).uniform(0.5, 1.5, len(y)) if weighted else None
    cv = StratifiedKFold(2, shuffle=True, random_state=7)
    report = distillation_report(
        forest(), tree(), X, y, cv=cv, n_seeds=2, sample_weight=weight, n_latency=2
    )
    frame = report.frame
    assert_array_equal(frame["model"], ["teacher", "hard", "distilled"] * 2 * 2)
    seeds = frame["seed"].unique()
    assert len(seeds) == 2
    for fold, (train, test) in enumerate(cv.split(X, y)):
        fit_params = {} if weight is None else {"sample_weight": weight[train]}
        for seed in map(int, seeds):
            model = DistilledClassifier(forest(), tree(), random_state=seed)
            model.fit(X[train], y[train], **fit_params)
            hard = tree(random_state=model.student_.random_state)
            hard.fit(X[train], y[train], **fit_params)
            models = {"teacher": model.teacher_, "hard": hard, "distilled": model}
            for name, each in models.items():
                line = line_of(frame, name, fold, seed)
                held_out = None if weight is None else weight[test]
                scores = reference_scores(each, model.teacher_, X[test], y[test], rarer, held_out)
                for score, expected in scores.items():
                    assert_allclose(line[score], expected, rtol=1e-9, err_msg=f"{name} {score}")
                small = each.without_teacher(keep_history=False) if name == "distilled" else each
                assert line["bytes"] == len(pickle.dumps(small))
                assert (line["n_train"], line["n_test"]) == (len(train), len(test))
            line = line_of(frame, "distilled", fold, seed)
            assert line["alpha"] == getattr(model, "alpha_", model.alpha)
            assert line["temperature"] == model.temperature_
            assert line["label_source"] == model.label_source_ == "oob"
    # by hand, without any of our metrics or scikit-learn's
    accuracy = line_of(frame, "hard", fold, seed)["accuracy"]
    right = hard.predict(X[test]) == y[test]
    assert_allclose(accuracy, np.average(right, weights=held_out))


def test_rarer_class_decides_the_average_precision():
    X, y = table()
    rows = np.r_[np.flatnonzero(y == "ant"), np.flatnonzero(y == "bee")[:20]]
    X, y = X[rows], y[rows]
    folds = list(StratifiedKFold(2).split(X, y))
    report = quick(GaussianNB(), LogisticRegression(), X, y, cv=folds)
    train, test = folds[0]
    P = LogisticRegression().fit(X[train], y[train]).predict_proba(X[test])
    got = line_of(report.frame, "hard", 0, report.frame["seed"][0])["average_precision"]
    assert_allclose(got, average_precision_score(y[test] == "bee", P[:, 1]))
    # even classes: the second
    scorer = ClassScorer(np.array([0, 1]), np.array([5, 5]))
    assert scorer.rarer == 1


@pytest.mark.slow
def test_a_whole_number_of_folds_is_shuffled_and_stratified_and_seeds_are_reproducible():
    X, y = table(3)
    order = np.argsort(y, kind="stable")
    X, y = X[order], y[order]
    first = quick(GaussianNB(), tree(), X, y, cv=3)
    again = quick(GaussianNB(), tree(), X, y, cv=3)
    other = quick(GaussianNB(), tree(), X, y, cv=3, random_state=1)
    same = [column for column in first.frame if column not in SPEED]
    assert_frame_equal(first.frame[same], again.frame[same])
    assert not set(first.frame["seed"]) & set(other.frame["seed"])
    assert first.frame["n_test"].unique().tolist() == [30]
    assert first.frame["accuracy"].notna().all()
    assert first.frame["roc_auc"].notna().all()  # each fold has each class
    assert not first.frame["accuracy"].equals(other.frame["accuracy"])
    five = quick(GaussianNB(), LogisticRegression(), X, y, cv=None)
    assert five.frame["fold"].nunique() == 5


class Recording(ClassifierMixin, BaseEstimator):
    """Nearest class mean that writes down what it is asked; a student and a teacher."""

    log = []

    def __init__(self, name="", random_state=None):
        self.name = name
        self.random_state = random_state

    def fit(self, X, y, sample_weight=None):
        self.classes_ = np.unique(y)
        weight = np.ones(len(y)) if sample_weight is None else sample_weight
        self.means_ = np.array(
            [np.average(X[y == c], axis=0, weights=weight[y == c]) for c in self.classes_]
        )
        self.log.append(("fit", self.name, np.unique(X[:, 0]), self.random_state))
        return self

    def predict_proba(self, X):
        self.log.append(("predict_proba", self.name, X[:, 0].copy(), None))
        P = np.exp(-((X[:, None] - self.means_) ** 2).sum(axis=2))
        return P / P.sum(axis=1, keepdims=True)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def test_all_models_see_the_same_rows_and_the_teacher_is_fitted_once():
    X, y = table(n=60)
    Recording.log.clear()
    folds = list(StratifiedKFold(3).split(X, y))
    teacher, student = Recording("teacher"), Recording("student")
    own = DistilledClassifier(cv="in-sample")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = distillation_report(
            teacher, student, X, y, cv=folds, n_seeds=2, distiller=own, n_latency=5
        )
    fits = [entry for entry in Recording.log if entry[0] == "fit"]
    of_teacher = [entry for entry in fits if entry[1] == "teacher"]
    of_student = [entry for entry in fits if entry[1] == "student"]
    assert len(of_teacher) == 3 * 2
    assert len(of_student) == 3 * 2 * 2
    for number in range(6):
        rows = np.sort(X[folds[number // 2][0], 0])
        assert_array_equal(of_teacher[number][2], rows)
        distilled, hard = of_student[2 * number : 2 * number + 2]
        assert_array_equal(distilled[2], rows)
        assert_array_equal(hard[2], rows)
        assert distilled[3] == hard[3] is not None
        assert of_teacher[number][3] is not None
    assert len({entry[3] for entry in of_student}) == 3 * 2 - 4  # one a seed
    assert (teacher.random_state, student.random_state) == (None, None)
    assert not hasattr(own, "classes_")
    assert own.teacher is None
    assert set(report.frame["label_source"].dropna()) == {"in-sample"}


def test_speed_is_that_of_single_rows_after_all_fits_on_the_first_seed():
    X, y = table(n=60)
    Recording.log.clear()
    folds = list(StratifiedKFold(2).split(X, y))
    report = distillation_report(
        Recording("teacher"), Recording("student"), X, y, cv=folds, n_seeds=2, n_latency=4
    )
    log = Recording.log
    last_fit = max(number for number, entry in enumerate(log) if entry[0] == "fit")
    # after it, the scores of the three models (labels, probabilities)
    calls = [entry[1:3] for entry in log[last_fit + 1 :]][6:]
    expected = []
    for _, test in folds:
        rows = X[test, 0]
        chosen = rows[np.linspace(0, len(test) - 1, 4).astype(int)]
        assert len(np.unique(chosen)) == 4
        for name in ("teacher", "student", "student"):
            singles = [*(chosen[number % 4] for number in range(10)), *chosen]
            expected += [(name, [value]) for value in singles] + [(name, rows)] * 3
    assert len(calls) == len(expected)
    for (name, rows), (expected_name, expected_rows) in zip(calls, expected, strict=True):
        assert name == expected_name
        assert_array_equal(rows, expected_rows)
    first, second = report.frame["seed"].unique()
    speed = ["latency_p50_ms", "latency_p99_ms", "rows_per_second"]
    of_first = report.frame[report.frame["seed"] == first]
    assert (of_first[speed] > 0).all(axis=None)
    assert (of_first["latency_p50_ms"] <= of_first["latency_p99_ms"]).all()
    assert report.frame.loc[report.frame["seed"] == second, speed].isna().all(axis=None)
    seconds = report.frame.set_index("model")["fit_seconds"]
    assert seconds["teacher"].isna().all()
    assert (seconds[["hard", "distilled"]] > 0).all()


COMPACT = ["compact_bytes", "compact_latency_us"]


def test_bytes_of_compact_files_are_those_of_the_same_fits():
    X, y = table(3)
    cv = StratifiedKFold(2, shuffle=True, random_state=7)
    report = distillation_report(forest(), tree(), X, y, cv=cv, n_seeds=2, n_latency=2)
    frame = report.frame
    assert "compact_refusal" not in frame
    first, second = map(int, frame["seed"].unique())
    for fold, (train, _) in enumerate(cv.split(X, y)):
        model = DistilledClassifier(forest(), tree(), random_state=first).fit(X[train], y[train])
        hard = tree(random_state=model.student_.random_state).fit(X[train], y[train])
        for name, each in {"teacher": model.teacher_, "hard": hard, "distilled": model}.items():
            line = line_of(frame, name, fold, first)
            assert line["compact_bytes"] == compact(each).n_bytes_
            assert line["compact_latency_us"] > 0
    assert frame.loc[frame["seed"] == second, COMPACT].isna().all(axis=None)
    means = frame.groupby("model")[["bytes", *COMPACT]].mean()
    for name, ratio in zip(
        COMPACT, (report.compact_bytes_ratio, report.compact_latency_ratio), strict=True
    ):
        assert_allclose(ratio, means.loc["distilled", name] / means.loc["teacher", name])
        assert_allclose(report.summary.loc["hard", (name, "mean")], means.loc["hard", name])
    for name, title in (("distilled", "distilled student"), ("teacher", "teacher")):
        pickled, written, _ = means.loc[name]
        said = f"The {title} takes a pickle of {pickled:,.0f} bytes and a compact file of "
        assert said + f"{written:,.0f} bytes." in report.verdict
    assert f"{means.loc['distilled', 'compact_bytes']:,.0f}" in str(report).splitlines()[-1]


def test_models_without_a_compact_file_say_why(monkeypatch):
    X, y = table()
    report = quick(GaussianNB(), tree(), X, y)
    refused = report.frame.set_index("model")["compact_refusal"]
    reason = (
        "GaussianNB is none of the models that can be written, which the guide to deployment lists"
    )
    assert refused["teacher"].str.endswith(reason).all()
    assert refused[["hard", "distilled"]].isna().all()
    assert report.frame.set_index("model").loc["teacher", COMPACT].isna().all(axis=None)
    assert np.isnan([report.compact_bytes_ratio, report.compact_latency_ratio]).all()
    assert "There is no compact file of the teacher: GaussianNB cannot be" in report.verdict
    monkeypatch.setattr(_measurements, "MAX_BYTES_TO_COMPACT", 100)
    report = quick(GaussianNB(), tree(), X, y)
    assert (report.frame["compact_refusal"].str.contains("bytes takes long to")).all()
    # a row that the model takes and its file does not
    costs = _measurements.compact_costs(tree().fit(X, y), 0, X[:, :2], 2)
    assert "a row has 3 cells" in costs["compact_refusal"]


class Slow:
    """Takes 5 ms a call, but for one in five that takes 20."""

    def __init__(self):
        self.calls = 0

    def predict(self, X):
        self.calls += 1
        time.sleep(0.02 if self.calls % 5 == 0 else 0.005)


def test_measures_of_a_model_of_known_speed():
    X = np.zeros((40, 2))
    seconds = _measurements.model_latency(Slow(), X, 20)
    assert len(seconds) == 20
    assert 0.005 <= np.percentile(seconds, 50) < 0.015
    assert np.percentile(seconds, 99) >= 0.02
    assert len(_measurements.model_latency(Slow(), X[:3], 20)) == 3
    assert 40 / 0.02 < _measurements.model_throughput(Slow(), X) <= 40 / 0.005
    many = np.zeros((10_001, 1))
    assert _measurements.model_throughput(Slow(), many) <= 10_000 / 0.005
    assert _measurements.model_bytes(tree()) == len(pickle.dumps(tree()))
    with pytest.raises(TypeError, match="function cannot be pickled"):
        _measurements.model_bytes(lambda: 0)


class OnAClock:
    """Takes a number of milliseconds a call on a clock of its own, and notes the rows of calls."""

    def __init__(self, milliseconds):
        self.milliseconds, self.rows, self.now = milliseconds, [], 0.0

    def predict(self, X):
        self.rows.append(len(X))
        self.now += self.milliseconds / 1000

    def perf_counter(self):
        return self.now


@pytest.mark.parametrize(
    ("milliseconds", "budget", "n_warm_up", "n_rows", "n_bulk"),
    [
        (2, 0.0, 3, 10, 1),  # the least number of rows
        (2, 0.005, 3, 10, 3),
        (2, 0.1001, 10, 50, 3),
        (1, 100.0, 10, 200, 3),  # enough time for the largest number
    ],
)
def test_the_number_of_single_rows_follows_the_budget(
    monkeypatch, milliseconds, budget, n_warm_up, n_rows, n_bulk
):
    X = np.arange(300.0)[:, None]

    def calls(measure, *options):
        model = OnAClock(milliseconds)
        monkeypatch.setattr(_measurements, "time", model)
        return measure(model, *options), model.rows

    seconds, rows = calls(_measurements.model_latency, X, "auto", budget)
    assert_allclose(seconds, [milliseconds / 1000] * n_rows)
    assert rows == [1] * (n_warm_up + n_rows)
    # all rows where there are fewer, and a number is a number
    assert len(calls(_measurements.model_latency, X[:7], "auto", budget)[0]) == 7
    assert len(calls(_measurements.model_latency, X, 25, budget)[0]) == 25
    per_second, rows = calls(_measurements.model_throughput, X, budget)
    assert_allclose(per_second, 300 / milliseconds * 1000)
    assert rows == [300] * n_bulk


def test_a_report_of_fast_fits_makes_few_calls_and_says_how_long_it_takes(capsys):
    X, y = table(n=60)
    options = {"cv": 2, "n_seeds": 2, "verbose": 1}
    Recording.log.clear()
    report = distillation_report(Recording("teacher"), Recording("student"), X, y, **options)
    assert (report.frame["latency_p50_ms"].dropna() > 0).all()
    log = Recording.log
    last_fit = max(number for number, entry in enumerate(log) if entry[0] == "fit")
    singles = [entry for entry in log[last_fit:] if entry[0] != "fit" and len(entry[2]) == 1]
    assert 2 * 3 * (3 + 10) <= len(singles) <= 2 * 3 * (10 + 30)
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if " s left" in line]) == 4
    assert lines[3].endswith("about 0 s left")
    with pytest.raises(TypeError, match="n_latency"):
        quick(GaussianNB(), GaussianNB(), X, y, n_latency="all")


def frame_of(hard, distilled, teacher=None, column="accuracy", n_train=200, n_test=100, **more):
    """Frame of scores (folds, seeds) of each model."""
    lines = []
    models = {"teacher": teacher, "hard": hard, "distilled": distilled}
    for model, scores in models.items():
        for fold, of_fold in enumerate([] if scores is None else scores):
            for seed, score in enumerate(np.atleast_1d(of_fold)):
                line = {"model": model, "fold": fold, "seed": 10 + seed, column: score, **more}
                if "bytes" in more:
                    line["bytes"] = {"teacher": 9000, "hard": 100, "distilled": 90}[model]
                    line["latency_p50_ms"] = {"teacher": 2.0, "hard": 1.0, "distilled": 3.0}[model]
                lines.append(line)
    return pd.DataFrame(lines).assign(n_train=n_train, n_test=n_test)


@pytest.mark.parametrize("n_seeds", [1, 3])
def test_interval_is_the_corrected_resampled_t_test(n_seeds):
    rng = np.random.RandomState(0)
    hard, distilled = rng.uniform(0.7, 0.9, size=(2, 4, n_seeds))
    frame = frame_of(hard, distilled, n_train=300, n_test=100)
    report = DistillationReport(frame, decide_by="accuracy")
    d = (distilled - hard).mean(axis=1)
    variance = (1 / 4 + 100 / 300) * d.var(ddof=1)
    half = stats.t.ppf(0.975, 3) * np.sqrt(variance)
    assert_allclose(report.difference, d.mean(), rtol=1e-12)
    assert_allclose(report.interval, [d.mean() - half, d.mean() + half], rtol=1e-12)
    assert report.n_folds == 4
    # standard errors by the same formula, and lines in any order
    means = distilled.mean(axis=1)
    error = np.sqrt((1 / 4 + 1 / 3) * means.var(ddof=1))
    assert_allclose(report.summary.loc["distilled", "accuracy"], [means.mean(), error])
    mixed = DistillationReport(frame.sample(frac=1, random_state=0), decide_by="accuracy")
    assert_allclose(mixed.interval, report.interval, rtol=1e-12)
    # folds of different sizes: totals
    sizes = frame.assign(n_test=80 + 10 * frame["fold"], n_train=300 - 10 * frame["fold"])
    half *= np.sqrt((1 / 4 + 380 / 1140) / (1 / 4 + 100 / 300))
    assert_allclose(
        np.ptp(DistillationReport(sizes, decide_by="accuracy").interval), 2 * half, rtol=1e-12
    )


def test_interval_covers_the_mean_of_correlated_folds():
    """Simulated: equal correlations of n_test / (n_test + n_train) between folds."""
    rng, n_folds, n_draws, covered, naive = np.random.RandomState(0), 5, 400, 0, 0
    rho = 1 / 5
    shared = rng.normal(size=(n_draws, 1)) * np.sqrt(rho)
    d = 0.3 + shared + rng.normal(size=(n_draws, n_folds)) * np.sqrt(1 - rho)
    frame = pd.DataFrame({"fold": np.arange(n_folds), "n_train": 400, "n_test": 100})
    for own in d:
        mean, error, n = _measurements.over_folds(frame.assign(d=own), "d")
        assert n == n_folds
        quantile = stats.t.ppf(0.975, n_folds - 1)
        covered += abs(mean - 0.3) <= quantile * error
        naive += abs(mean - 0.3) <= quantile * stats.sem(own)
    assert stats.binomtest(covered, n_draws, 0.95).pvalue > 0.01
    assert stats.binomtest(naive, n_draws, 0.95).pvalue < 1e-6


GOOD = [0.030, 0.032, 0.028]
NOISY = [0.050, -0.060, 0.020]
TINY = [0.0010, -0.0010, 0.0002]


@pytest.mark.parametrize(
    ("gains", "decision", "says"),
    [
        (GOOD, "worth it", "is better"),
        (np.negative(GOOD), "not worth it", "is better"),
        (TINY, "not worth it", "The whole interval is within the margin of 0.0050"),
        (NOISY, "undecided", "exceeds the margin of 0.0050, so that more rows or folds are needed"),
    ],
)
@pytest.mark.parametrize("column", ["accuracy", "log_loss", "r2"])
def test_decisions(column, gains, decision, says):
    hard = np.array([0.5, 0.5, 0.5]) if column == "log_loss" else np.array([0.80, 0.81, 0.82])
    sign = -1 if column == "log_loss" else 1
    report = DistillationReport(
        frame_of(hard, hard + sign * np.array(gains), column=column), decide_by=column
    )
    assert report.decision == decision
    assert_allclose(report.margin, 0.01 * 0.5 if column == "log_loss" else 0.005)
    text = report.verdict
    assert text.startswith(decision.capitalize() + ": ")
    assert says in text
    assert f"a difference of {sign * np.mean(gains):+.4f}" in text
    assert f"95 % interval {report.interval[0]:+.4f} to {report.interval[1]:+.4f}" in text
    assert "3 folds, 1 seed" in text
    assert ("higher" if sign > 0 else "lower") + " is better" in text
    # no teacher and no costs in this frame
    assert "teacher" not in text
    assert np.isnan([report.recovered, report.bytes_ratio, report.latency_ratio]).all()


def test_the_margin_decides_between_no_difference_and_no_answer():
    hard = np.array([0.8, 0.8, 0.8])
    frame = frame_of(hard, hard + NOISY)
    assert DistillationReport(frame, decide_by="accuracy", margin=0.5).decision == "not worth it"
    frame = frame_of(hard, hard + TINY)
    assert DistillationReport(frame, decide_by="accuracy", margin=0).decision == "undecided"
    # surely better, by less than anyone minds
    frame = frame_of(hard, hard + 0.001)
    report = DistillationReport(frame, decide_by="accuracy")
    assert report.decision == "not worth it"
    assert "The whole interval is within the margin" in report.verdict
    assert DistillationReport(frame, decide_by="accuracy", margin=0.0005).decision == "worth it"
    assert DistillationReport(frame_of(hard, hard), decide_by="accuracy").decision == "not worth it"


def test_one_fold_is_undecided():
    report = DistillationReport(frame_of([0.8], [0.9]), decide_by="accuracy")
    assert report.decision == "undecided"
    assert report.interval == (-np.inf, np.inf)
    assert "There is no interval for one fold" in report.verdict
    assert np.isnan(report.summary.loc["hard", ("accuracy", "standard error")])


@pytest.mark.parametrize(
    ("teacher", "recovered", "says"),
    [
        (0.90, 0.5, "That is 50 % of the lead of the teacher, whose accuracy is 0.9000."),
        (0.79, np.nan, "The teacher, with 0.7900, has no lead to recover."),
        (0.803, np.nan, "has a lead within the margin of 0.0050 to recover."),
        (np.nan, np.nan, "The teacher has no accuracy."),
    ],
)
def test_what_is_said_of_the_teacher(teacher, recovered, says):
    hard = np.full(3, 0.8)
    frame = frame_of(hard, hard + [0.04, 0.05, 0.06], np.full(3, teacher), bytes=0)
    report = DistillationReport(frame, decide_by="accuracy")
    assert_allclose(report.recovered, recovered)
    assert says in report.verdict
    assert_allclose([report.bytes_ratio, report.latency_ratio], [0.01, 1.5])
    assert "has 1/100 of the bytes and 1.5 times the latency of the teacher" in report.verdict


def test_folds_without_the_score_are_left_out_and_counted():
    hard, distilled = np.array([0.8, 0.9, np.nan, 0.8]), np.array([0.82, 0.93, np.nan, 0.81])
    report = DistillationReport(frame_of(hard, distilled, column="roc_auc"), decide_by="roc_auc")
    d = np.array([0.02, 0.03, 0.01])
    half = stats.t.ppf(0.975, 2) * np.sqrt((1 / 3 + 1 / 2) * d.var(ddof=1))
    assert_allclose(report.interval, [d.mean() - half, d.mean() + half])
    assert report.n_folds == 3
    assert "3 of 4 folds, since the others have no ROC AUC" in report.verdict
    with pytest.raises(ValueError, match="no fold has a roc_auc of both students"):
        DistillationReport(
            frame_of(hard * np.nan, distilled, column="roc_auc"), decide_by="roc_auc"
        )


def test_frames_that_are_none():
    frame = frame_of([0.8, 0.9], [0.8, 0.9])
    with pytest.raises(ValueError, match="lacks the columns \\['n_test', 'log_loss'\\]"):
        DistillationReport(frame.drop(columns="n_test"))
    with pytest.raises(ValueError, match="one line of the model 'hard'"):
        DistillationReport(pd.concat([frame, frame]), decide_by="accuracy")
    with pytest.raises(ValueError, match="one line of the model 'distilled'"):
        DistillationReport(frame[frame["model"] == "hard"], decide_by="accuracy")
    with pytest.raises(ValueError, match="must have the same folds"):
        DistillationReport(frame.iloc[:-1], decide_by="accuracy")
    with pytest.raises(ValueError, match="decide_by must be one of"):
        DistillationReport(frame, decide_by="fidelity")
    with pytest.raises(ValueError, match="margin"):
        DistillationReport(frame, decide_by="accuracy", margin=-1.0)


def test_report_of_a_run():
    X, y = table(3)
    cv = RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=0)
    student = TwoLayerPGDClassifier(4, max_iter=50, n_init=1, encoder=None)
    report = quick(GaussianNB(), student, X, y, cv=cv, decide_by="accuracy")
    scores = report.frame.pivot(index=["fold", "seed"], columns="model", values="accuracy")
    d = (scores["distilled"] - scores["hard"]).groupby("fold").mean().to_numpy()
    half = stats.t.ppf(0.975, 3) * np.sqrt((1 / 4 + 1) * d.var(ddof=1))
    assert_allclose(report.interval, [d.mean() - half, d.mean() + half], atol=1e-12)
    assert list(report.summary.index) == ["teacher", "hard", "distilled"]
    assert report.summary.columns.get_level_values(0).unique().tolist() == [
        *SCORES,
        "bytes",
        "compact_bytes",
        *SPEED,
    ]
    by_hand = report.frame[report.frame["model"] == "hard"]["log_loss"].mean()
    assert_allclose(report.summary.loc["hard", ("log_loss", "mean")], by_hand)
    text = str(report)
    assert repr(report) == text
    assert text.startswith(report.verdict + "\n\n")
    lines = text.splitlines()[2:]
    assert [line.split()[0] for line in lines[1:]] == ["teacher", "hard", "distilled"]
    assert f"{scores['teacher'].mean():.4f} +- " in lines[1]
    assert max(map(len, lines)) < 130
    assert "<th>distilled</th>" in report._repr_html_()
    # decided again, by another score
    again = DistillationReport(report.frame)
    assert again.decide_by == "log_loss"
    assert again.difference != report.difference


def test_frames_and_pipelines():
    rng = np.random.RandomState(0)
    size = rng.normal(size=80)
    kind = rng.choice(["red", "green", "blue"], size=80)
    y = np.where(size + (kind == "red") + rng.normal(size=80) > 0, "yes", "no")
    X = pd.DataFrame({"size": size, "kind": kind}, index=np.arange(80) * 3)
    head = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["kind"]), (StandardScaler(), ["size"])
    )
    before = X.copy()
    folds = list(StratifiedKFold(2).split(X, y))
    report = quick(
        make_pipeline(head, GaussianNB()),
        make_pipeline(head, LogisticRegression()),
        X,
        pd.Series(y, index=X.index),
        cv=folds,
        sample_weight=np.linspace(1, 2, 80),
    )
    assert_frame_equal(X, before)
    train, test = folds[1]
    plain = make_pipeline(head, LogisticRegression())
    plain.fit(
        X.iloc[train], y[train], logisticregression__sample_weight=np.linspace(1, 2, 80)[train]
    )
    got = line_of(report.frame, "hard", 1, report.frame["seed"][0])
    expected = log_loss(
        y[test], plain.predict_proba(X.iloc[test]), sample_weight=np.linspace(1, 2, 80)[test]
    )
    assert_allclose(got["log_loss"], expected)
    assert report.frame["latency_p50_ms"].notna().all()


def test_weights_under_metadata_routing():
    X, y = table()
    weight = np.linspace(0.2, 2, len(y))
    plain = quick(GaussianNB(), LogisticRegression(), X, y, sample_weight=weight)
    with config_context(enable_metadata_routing=True):
        teacher = GaussianNB().set_fit_request(sample_weight=True)
        student = LogisticRegression().set_fit_request(sample_weight=True)
        routed = quick(teacher, student, X, y, sample_weight=weight)
    assert_allclose(routed.frame[SCORES], plain.frame[SCORES])


def test_weight_zero_is_absence():
    X, y = table(3)
    weight = np.linspace(1, 2, len(y))
    report = quick(GaussianNB(), LogisticRegression(), X, y, sample_weight=weight)
    more = np.r_[X, X[:20] + 5], np.r_[y, np.full(20, "dog")]
    padded = quick(
        GaussianNB(), LogisticRegression(), *more, sample_weight=np.r_[weight, np.zeros(20)]
    )
    same = [column for column in report.frame if column not in [*SPEED, "bytes"]]
    assert_frame_equal(padded.frame[same], report.frame[same])
    folds = [(np.arange(20, len(y)), np.arange(20))]
    with pytest.raises(ValueError, match="fold 0 of cv has 70 training and 0 test rows"):
        quick(
            GaussianNB(),
            LogisticRegression(),
            X,
            y,
            cv=folds,
            sample_weight=np.r_[np.zeros(20), np.ones(70)],
        )


def test_a_class_missing_in_a_test_fold_and_in_a_training_fold():
    X, y = table(3)
    order = np.argsort(y, kind="stable")
    X, y = X[order], y[order]
    few = np.flatnonzero(y == "cat")
    others = np.flatnonzero(y != "cat")
    folds = [
        (np.r_[others[::2], few], others[1::2]),  # no cat to test
        (others[1::2], np.r_[others[::2], few]),  # no cat to learn from
    ]
    mask = np.zeros(len(y), dtype=bool)
    mask[folds[0][1]] = True
    report = quick(GaussianNB(), LogisticRegression(), X, y, cv=[(~mask, mask), folds[1]])
    frame = report.frame.set_index(["model", "fold"])
    train, test = np.flatnonzero(~mask), np.flatnonzero(mask)
    plain = LogisticRegression().fit(X[train], y[train])
    line = frame.loc[("hard", 0)]
    assert np.isnan(line["roc_auc"])
    assert np.isnan(line["average_precision"])
    assert_allclose(
        line["log_loss"], log_loss(y[test], plain.predict_proba(X[test]), labels=plain.classes_)
    )
    right = plain.predict(X[test]) == y[test]
    recalls = [right[y[test] == name].mean() for name in ("ant", "bee")]
    assert_allclose(line["balanced_accuracy"], np.mean(recalls))
    train, test = folds[1]
    plain = LogisticRegression().fit(X[train], y[train])
    line = frame.loc[("hard", 1)]
    P = np.c_[plain.predict_proba(X[test]), np.zeros(len(test))]
    assert_allclose(line["log_loss"], log_loss(y[test], P, labels=["ant", "bee", "cat"]))
    assert_allclose(line["roc_auc"], roc_auc_score(y[test], P, multi_class="ovr"))
    with pytest.raises(ValueError, match="no fold has a roc_auc of both students"):
        quick(GaussianNB(), LogisticRegression(), X, y, cv=[folds[0]], decide_by="roc_auc")


def test_a_frozen_teacher_is_used_as_it_is_and_may_know_more_classes():
    X, y = table(4, n=200)
    teacher = GaussianNB().fit(X[:100], y[:100])
    rows = 100 + np.flatnonzero(y[100:] != "cat")
    folds = list(KFold(2, shuffle=True, random_state=0).split(rows))
    report = quick(FrozenEstimator(teacher), tree(), X[rows], y[rows], cv=folds)
    frame = report.frame
    for fold, (_, test) in enumerate(folds):
        line = line_of(frame, "teacher", fold, frame["seed"][0])
        P = teacher.predict_proba(X[rows][test])
        assert_allclose(line["log_loss"], log_loss(y[rows][test], P, labels=teacher.classes_))
        area = [roc_auc_score(y[rows][test] == c, P[:, k]) for k, c in ((0, "ant"), (1, "bee"))]
        area.append(roc_auc_score(y[rows][test] == "dog", P[:, 3]))
        assert_allclose(line["roc_auc"], np.mean(area))
        assert line["bytes"] == len(pickle.dumps(FrozenEstimator(teacher)))
    assert set(frame["label_source"].dropna()) == {"frozen"}
    assert frame[SCORES].notna().all(axis=None)


def test_defaults_are_those_of_the_distilled_classifier():
    X, y = table(n=40)
    own = DistilledClassifier(GaussianNB(), tree(random_state=3), alpha=1.0, temperature=2.0)
    report = quick(None, None, X, y, distiller=own)
    assert set(report.frame["alpha"].dropna()) == {1.0}
    assert set(report.frame["temperature"].dropna()) == {2.0}
    given = quick(
        GaussianNB(),
        tree(random_state=3),
        X,
        y,
        distiller=clone(own).set_params(teacher=forest(), student=LogisticRegression()),
    )
    same = [column for column in report.frame if column not in SPEED]
    assert_frame_equal(report.frame[same], given.frame[same])
    defaults = DistilledClassifier()
    with pytest.raises(ValueError, match="1 class"):
        distillation_report(None, None, X, np.zeros(40))
    report = quick(None, None, X, y)
    model = defaults.set_params(random_state=int(report.frame["seed"][0]))
    assert isinstance(model._get_student(), TwoLayerPGDClassifier)
    assert set(report.frame["label_source"].dropna()) == {"loo"}  # KernelTeacher


class Choosing(DistilledClassifier):
    """What the next DistilledClassifier says of itself."""

    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        self.alpha_, self.n_augmented_ = 0.25, 7
        return self


def test_chosen_settings_are_in_the_frame():
    X, y = table(n=40)
    frame = quick(GaussianNB(), tree(), X, y, distiller=Choosing(alpha=0.75)).frame
    own = frame[frame["model"] == "distilled"]
    assert_array_equal(own["alpha"], 0.25)
    assert_array_equal(own["n_augmented"], 7)
    assert frame.loc[frame["model"] != "distilled", ["alpha", "n_augmented"]].isna().all(axis=None)


@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.NoGainWarning")
def test_what_auto_chooses_in_each_fold_is_in_the_frame():
    X, y = table(3, 240)
    folds = list(StratifiedKFold(2, shuffle=True, random_state=0).split(X, y))
    frame = quick(forest(), tree(random_state=0), X, y, cv=folds).frame
    own = frame[frame["model"] == "distilled"]
    for (train, _), (_, line) in zip(folds, own.iterrows(), strict=True):
        model = DistilledClassifier(forest(), tree(random_state=0))
        model.set_params(random_state=int(line["seed"])).fit(X[train], y[train])
        assert model.candidates_ is not None
        for name in ("alpha", "temperature", "label_source", "n_augmented"):
            assert line[name] == getattr(model, f"{name}_")


def test_models_without_probabilities():
    X, y = table(3)
    report = quick(DecisionOnly(), tree(), X, y)
    of_proba = ["log_loss", "roc_auc", "average_precision", "calibration_error", "fidelity"]
    frame = report.frame.set_index("model")
    assert frame.loc["teacher", of_proba].isna().all(axis=None)
    assert frame.loc["teacher", ["accuracy", "agreement", "latency_p50_ms"]].notna().all(axis=None)
    assert frame.loc["distilled", "fidelity"].isna().all()
    assert frame.loc["distilled", "log_loss"].notna().all()
    assert "The teacher has no log loss." in report.verdict
    assert "nan" in str(report)
    for decide_by in ("log_loss", "roc_auc", "average_precision"):
        with pytest.raises(
            ValueError, match="RidgeClassifier does not have: set decide_by='accuracy'"
        ):
            quick(GaussianNB(), RidgeClassifier(), X, y, decide_by=decide_by)
    report = quick(GaussianNB(), RidgeClassifier(), X, y, decide_by="balanced_accuracy")
    assert report.decide_by == "balanced_accuracy"
    assert report.frame.set_index("model").loc["hard", of_proba].isna().all(axis=None)
    assert "log_loss" in str(report)  # the teacher's


@pytest.mark.slow  # workers that import all of it
def test_parallel_fits_are_the_same():
    X, y = table(n=40)
    options = {"n_seeds": 2, "cv": 2}
    one = quick(GaussianNB(), tree(), X, y, **options)
    two = quick(GaussianNB(), tree(), X, y, n_jobs=2, **options)
    same = [column for column in one.frame if column not in [*SPEED, "bytes"]]
    assert_frame_equal(one.frame[same], two.frame[same])
    assert_array_equal(two.frame["compact_bytes"], one.frame["compact_bytes"])
    # a pickle names twice what has come from another process and was one object here
    assert_allclose(two.frame["bytes"], one.frame["bytes"], rtol=0.1)
    assert_array_equal(one.frame["latency_p50_ms"].isna(), two.frame["latency_p50_ms"].isna())


def test_inputs_may_be_read_only_lists_or_sparse(capsys):
    import scipy.sparse as sp

    X, y = table(n=40)
    X = np.abs(X)
    X.setflags(write=False)
    y.setflags(write=False)
    cv = StratifiedKFold(2)
    dense = quick(LogisticRegression(C=2), LogisticRegression(), X, y, cv=cv)
    lists = quick(LogisticRegression(C=2), LogisticRegression(), X.tolist(), y.tolist(), cv=cv)
    sparse = quick(
        LogisticRegression(C=2), LogisticRegression(), sp.coo_array(X), y, cv=cv, verbose=1
    )
    for other in (lists, sparse):
        assert_allclose(other.frame[SCORES], dense.frame[SCORES], rtol=1e-6)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 4
    assert said[1].startswith("[distillation_report] fold 2 of 2, seed 1 of 1: distilled in ")


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("role", ["teacher", "student"])
def test_predictions_of_other_packages(role, n_classes):
    X, y = table(n_classes)
    change = OtherPackage(labels=as_column, proba=pd.DataFrame)
    frames = {}
    for name, other in (("changed", change), ("plain", OtherPackage())):
        pair = (other, tree()) if role == "teacher" else (GaussianNB(), other)
        frames[name] = quick(*pair, X, y, cv=3).frame[SCORES]
    assert_frame_equal(frames["changed"], frames["plain"])


def test_options_that_are_none():
    X, y = table(n=40)
    pair = GaussianNB(), LogisticRegression()
    with pytest.raises(
        TypeError,
        match="distiller must be a DistilledClassifier or a DistilledRegressor, an instance",
    ):
        quick(*pair, X, y, distiller=make_pipeline(DistilledClassifier()))
    with pytest.raises(TypeError, match="got DistilledClassifier"):
        quick(*pair, X, y, distiller=DistilledClassifier)
    with pytest.raises(ValueError, match="n_seeds"):
        quick(*pair, X, y, n_seeds=0)
    with pytest.raises(ValueError, match="n_latency"):
        quick(*pair, X, y, n_latency=0)
    with pytest.raises(ValueError, match="decide_by must be one of"):
        quick(*pair, X, y, decide_by="f1")
    with pytest.raises(ValueError, match="Negative values"):
        quick(*pair, X, y, sample_weight=-np.ones(40))
    with pytest.raises(ValueError, match="inconsistent numbers"):
        quick(*pair, X, y[:-1])
    with pytest.raises(TypeError, match="is a regressor"):
        quick(GaussianNB(), LinearRegression(), X, y)
    report = quick(*pair, X, y, cv=ShuffleSplit(1, random_state=0))
    assert report.decision == "undecided"


def test_a_score_that_the_student_lacks_is_an_error_before_any_fit():
    class NeverFitted(GaussianNB):
        def fit(self, X, y, sample_weight=None):
            pytest.fail("the teacher was fitted")

    X, y = blobs(60, 2)
    with pytest.raises(ValueError, match="decide_by='roc_auc' needs a student with predict_proba"):
        quick(NeverFitted(), RidgeClassifier(), X, y, decide_by="roc_auc")

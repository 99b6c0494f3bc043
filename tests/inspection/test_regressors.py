"""Reports, advice and displays of regressors against plain fits, scikit-learn and formulas."""

import pickle
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.datasets import make_friedman1
from sklearn.ensemble import (
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, QuantileRegressor, Ridge
from sklearn.metrics import (
    mean_absolute_error,
    mean_pinball_loss,
    mean_squared_error,
    r2_score,
)
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, ShuffleSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from sklearn_kd import (
    DistilledClassifier,
    DistilledRegressor,
    KernelTeacherRegressor,
    TwoLayerPGDRegressor,
)
from sklearn_kd.export import compact
from sklearn_kd.inspection import (
    CompressionCurveDisplay,
    DeferralDisplay,
    DistillationDisplay,
    DistillationReport,
    FidelityDisplay,
    IntervalDisplay,
    WidthCurveDisplay,
    distillation_report,
    should_distill,
)
from sklearn_kd.inspection._answers import default_distiller
from sklearn_kd.inspection._compression_candidates import candidates_of
from sklearn_kd.inspection._measurements import model_bytes
from tests._helpers.data import blobs

figure = pytest.importorskip("matplotlib.figure")

SCORES = ["r2", "rmse", "mae", "fidelity"]
SPEED = ["latency_p50_ms", "latency_p99_ms", "rows_per_second", "compact_latency_us"]
SPEED += ["fit_seconds"]
FIXED = {"alpha": 0.5, "augmentation": None}


@pytest.fixture
def ax():
    return figure.Figure().subplots()


def table(n=90, seed=0):
    return make_friedman1(n, n_features=5, noise=2.0, random_state=seed)


def forest():
    return RandomForestRegressor(10, min_samples_leaf=3)


def tree(**params):
    return DecisionTreeRegressor(**{"max_depth": 3, "max_features": 2, **params})


def distiller(**params):
    return DistilledRegressor(**FIXED, **params)


def quick(*args, **options):
    options = {"n_latency": 2, "n_seeds": 1, "cv": 2, "distiller": distiller(), **options}
    return distillation_report(*args, **options)


def line_of(frame, model, fold, seed):
    own = frame[(frame["model"] == model) & (frame["fold"] == fold) & (frame["seed"] == seed)]
    assert len(own) == 1
    return own.iloc[0]


class Mean(RegressorMixin, BaseEstimator):
    """A regressor whose predictions another package makes, as a column of a frame or so."""

    def __init__(self, change=np.asarray):
        self.change = change

    def fit(self, X, y, sample_weight=None):
        self.inner_ = LinearRegression().fit(X, y, sample_weight)
        return self

    def predict(self, X):
        return self.change(self.inner_.predict(X))


class NeverFitted(LinearRegression):
    """A regressor that must not be fitted."""

    def fit(self, X, y, sample_weight=None):
        pytest.fail("a model was fitted")


# Reports


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_targets", [1, 2])
def test_lines_are_those_of_plain_fits(n_targets, weighted):
    X, y = table()
    if n_targets == 2:
        y = np.column_stack([y, 100 * X[:, 1] - y])
    weight = np.random.RandomState(0).uniform(0.5, 1.5, len(y)) if weighted else None
    cv = KFold(2, shuffle=True, random_state=7)
    report = quick(forest(), tree(), X, y, cv=cv, n_seeds=2, sample_weight=weight)
    frame = report.frame
    assert_array_equal(frame["model"], ["teacher", "hard", "distilled"] * 2 * 2)
    assert frame.columns.tolist()[:7] == ["model", "fold", "seed", *SCORES]
    for fold, (train, test) in enumerate(cv.split(X)):
        fit_params = {} if weight is None else {"sample_weight": weight[train]}
        held_out = None if weight is None else weight[test]
        for seed in map(int, frame["seed"].unique()):
            model = distiller(teacher=forest(), student=tree(), random_state=seed)
            model.fit(X[train], y[train], **fit_params)
            hard = tree(random_state=model.student_.random_state)
            hard.fit(X[train], y[train], **fit_params)
            models = {"teacher": model.teacher_, "hard": hard, "distilled": model}
            for name, each in models.items():
                line, values = line_of(frame, name, fold, seed), each.predict(X[test])
                w = {"sample_weight": held_out}
                assert_allclose(line["r2"], r2_score(y[test], values, **w))
                raw = mean_squared_error(y[test], values, multioutput="raw_values", **w)
                assert_allclose(line["rmse"], np.sqrt(raw).mean())
                assert_allclose(line["mae"], mean_absolute_error(y[test], values, **w))
                of_teacher = r2_score(model.teacher_.predict(X[test]), values, **w)
                assert_allclose(line["fidelity"], of_teacher)
                small = each.without_teacher(keep_history=False) if name == "distilled" else each
                assert line["bytes"] == len(pickle.dumps(small))
            line = line_of(frame, "distilled", fold, seed)
            assert (line["alpha"], line["label_source"]) == (0.5, "oob")
    assert "temperature" not in frame
    # by hand
    error = (hard.predict(X[test]) - y[test]).reshape(len(test), -1)
    expected = np.average(np.abs(error).mean(axis=1), weights=held_out)
    assert_allclose(line_of(frame, "hard", fold, seed)["mae"], expected)


@pytest.mark.parametrize(
    "kind", ["numbers", pytest.param("quantiles", marks=pytest.mark.slow), "classes"]
)
def test_models_that_write_into_the_rows_do_not_change_the_scores_of_others(kind):
    X, y = table(60)
    X = 3 * X + 5
    kept = X.copy()

    def measured(*, copy):
        def scaled(model):
            return make_pipeline(StandardScaler(copy=copy), model)

        teacher, student = scaled(Ridge()), scaled(LinearRegression())
        own = distiller(cv=2)
        if kind == "quantiles":
            levels = (0.25, 0.5, 0.75)
            teacher = {q: scaled(QuantileRegressor(quantile=q, alpha=0)) for q in levels}
            student = scaled(TwoLayerPGDRegressor(4, max_iter=5, early_stopping=False))
            own = distiller(quantiles=levels)
        if kind == "classes":
            teacher, student = scaled(LogisticRegression()), scaled(LogisticRegression(C=0.1))
            own = DistilledClassifier(**FIXED)
        target = y > np.median(y) if kind == "classes" else y
        report = quick(teacher, student, X, target, distiller=own, random_state=0)
        found = [report.frame.drop(columns=[*SPEED, "bytes"])]
        if kind != "quantiles":
            found.append(should_distill(teacher, student, X, target, random_state=0).recoverable)
        model = clone(own).set_params(teacher=teacher, student=student, random_state=0)
        model.fit(X, target)
        display = FidelityDisplay.from_estimator(model, X, ax=figure.Figure().subplots())
        return [*found, display.frame]

    expected, found = measured(copy=True), measured(copy=False)
    assert_array_equal(X, kept)
    for ours, plain in ((found[0], expected[0]), (found[-1], expected[-1])):
        assert_frame_equal(ours, plain)
    assert found[1:-1] == expected[1:-1]


def test_a_number_of_folds_is_shuffled_and_reproducible():
    X, y = table()
    order = np.argsort(y)
    X, y = X[order], y[order]
    first, again = (quick(Ridge(), tree(), X, y, cv=3).frame for _ in range(2))
    same = [column for column in first if column not in SPEED]
    assert_frame_equal(first[same], again[same])
    assert first["n_test"].unique().tolist() == [30]
    # rows in the order of y in folds without shuffling have negative R2
    ordered = quick(Ridge(), tree(), X, y, cv=KFold(3)).frame
    assert ordered["r2"].mean() < first["r2"].mean()


def test_groups_stay_together():
    X, y = table()
    groups = np.arange(90) // 5
    for cv in (3, GroupKFold(3)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            report = quick(Ridge(), tree(), X, y, cv=cv, groups=groups)
        assert report.frame["n_test"].unique().tolist() == [30]
        advice = should_distill(Ridge(), tree(), X, y, cv=cv, groups=groups)
        assert advice.frame["n_train"].unique().tolist() == [60]
    by_row = should_distill(Ridge(), tree(), X, y, cv=GroupKFold(3), groups=np.arange(90))
    assert by_row.gap != advice.gap


def test_weight_zero_is_absence():
    X, y = table()
    weight = np.linspace(1, 2, len(y))
    options = {"sample_weight": weight, "cv": 3}
    report, advice = (
        judge(Ridge(), LinearRegression(), X, y, **options) for judge in (quick, should_distill)
    )
    more = np.r_[X, X[:20] + 5], np.r_[y, np.full(20, 1e6)]
    options["sample_weight"] = np.r_[weight, np.zeros(20)]
    padded = quick(Ridge(), LinearRegression(), *more, **options)
    same = [column for column in report.frame if column not in [*SPEED, "bytes"]]
    assert_frame_equal(padded.frame[same], report.frame[same])
    other = should_distill(Ridge(), LinearRegression(), *more, **options)
    assert_allclose(other.gap, advice.gap)
    assert_allclose(other.recoverable, advice.recoverable)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_units_of_y_are_the_units_of_the_scores(scale):
    X, y = table()
    pair = LinearRegression(), Ridge(100.0)
    one, other = (quick(*pair, X, values, cv=3) for values in (y, scale * y + scale))
    for name in ("rmse", "mae"):
        assert_allclose(other.frame[name], scale * one.frame[name], rtol=1e-6)
    for name in ("r2", "fidelity"):
        assert_allclose(other.frame[name], one.frame[name], rtol=1e-6)
    assert other.decision == one.decision
    assert_allclose(other.interval, scale * np.array(one.interval), rtol=1e-6)
    means = [each.disagreement.select_dtypes(float).to_numpy() for each in (one, other)]
    assert_allclose(means[1], scale * means[0], rtol=1e-6)
    pair = Ridge(1.0), LinearRegression()
    advice, same = (should_distill(*pair, X, each, margin=0) for each in (y, scale * y + scale))
    assert advice.decision == same.decision
    for name in ("gap", "recoverable", "label_gain", "overfitting", "gain"):
        assert_allclose(getattr(same, name), getattr(advice, name), rtol=1e-6)


@pytest.mark.parametrize(
    ("decide_by", "margin", "form"),
    [("rmse", None, ".4g"), ("mae", None, ".4g"), ("r2", 0.005, ".4f")],
)
def test_a_verdict_is_about_the_score_that_decides(decide_by, margin, form):
    X, y = table(300)
    deep = DecisionTreeRegressor(random_state=0)
    report = quick(forest(), deep, X, y, cv=4, decide_by=decide_by)
    lines = report.frame.set_index("model")
    means = lines.groupby("model")[decide_by].mean()
    assert_allclose(report.margin, 0.01 * means["hard"] if margin is None else margin)
    assert_allclose(report.difference, means["distilled"] - means["hard"])
    name = decide_by.upper()
    better = "higher" if decide_by == "r2" else "lower"
    said = f"distillation changes the {name} of the student from {means['hard']:{form}} to "
    assert said + f"{means['distilled']:{form}}, a difference of " in report.verdict
    assert f"{better} is better" in report.verdict
    assert (
        f"of the lead of the teacher, whose {name} is {means['teacher']:{form}}" in report.verdict
    )
    text = str(report)
    for heading in ("R2", "RMSE", "MAE", "fidelity"):
        assert heading in text.splitlines()[2]
    again = DistillationReport(report.frame)
    assert again.decide_by == "rmse"
    assert pickle.loads(pickle.dumps(report)).verdict == report.verdict


def test_the_first_estimator_that_is_given_decides_the_kind():
    X, y = table(60)
    options = {"cv": 2, "n_seeds": 1, "n_latency": 2}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for pair in ((Ridge(), None), (None, Ridge())):
            report = distillation_report(*pair, X[:40], y[:40], **options)
            assert "r2" in report.frame
    report = quick(None, None, X, y, distiller=distiller(teacher=Ridge(), student=tree()))
    assert "r2" in report.frame
    for judge in (distillation_report, should_distill):
        with pytest.raises(TypeError, match="the student RandomForestClassifier is a classifier"):
            judge(Ridge(), RandomForestClassifier(), X, y)
        with pytest.raises(TypeError, match="is a regressor"):
            judge(RandomForestClassifier(), Ridge(), *blobs(60, 2))
        with pytest.raises(TypeError, match="a dict of regressors teaches quantiles"):
            judge({0.1: Ridge(), 0.9: Ridge()}, Ridge(), X, y)
    untagged = SimpleNamespace(predict=None)  # does not say what it is
    assert isinstance(default_distiller(untagged, Ridge()), DistilledRegressor)


def test_errors_before_a_fit():
    X, y = table(60)
    pair = NeverFitted(), NeverFitted()
    for judge in (quick, should_distill):
        with pytest.raises(ValueError, match="y must have at least two different values"):
            judge(*pair, X, np.ones(60))
        with pytest.raises(ValueError, match="y must be numbers"):
            judge(*pair, X, np.array(["a"] * 60))
        with pytest.raises(ValueError, match="decide_by must be one of"):
            judge(*pair, X, y, decide_by="log_loss")
        with pytest.raises(ValueError, match="inconsistent numbers"):
            judge(*pair, X, y[:-1])
        with pytest.raises(ValueError, match="NaN"):
            judge(*pair, X, np.where(np.arange(60) == 3, np.nan, y))
    with pytest.raises(ValueError, match="score_name must be one of"):
        DistillationDisplay.from_estimator(distiller(), X, y, score_name="accuracy")


def test_a_frozen_teacher_is_used_as_it_is():
    X, y = table()
    teacher = Ridge().fit(X[:40], y[:40])
    folds = list(KFold(2).split(X[40:]))
    report = quick(FrozenEstimator(teacher), tree(), X[40:], y[40:], cv=folds)
    seed = report.frame["seed"].iloc[0]
    for fold, (_, test) in enumerate(folds):
        line = line_of(report.frame, "teacher", fold, seed)
        assert_allclose(line["r2"], r2_score(y[40:][test], teacher.predict(X[40:][test])))
    assert set(report.frame["label_source"].dropna()) == {"frozen"}
    advice = should_distill(FrozenEstimator(teacher), tree(), X[40:], y[40:])
    assert advice.cost.teacher_fit < 0.1


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_predictions_of_other_packages(role):
    X, y = table()
    frames = []
    for change in (np.asarray, pd.DataFrame, as_float32):
        other = Mean(change)
        pair = (other, tree(random_state=0)) if role == "teacher" else (Ridge(), other)
        frames.append(quick(*pair, X, y, cv=3).frame[SCORES])
    assert_allclose(frames[1], frames[0], rtol=1e-6)
    assert_allclose(frames[2], frames[0], rtol=1e-4)
    with pytest.raises(ValueError, match="NaN or infinity"):
        quick(Ridge(), Mean(as_infinite), X, y)


def as_float32(values):
    return values.astype(np.float32)


def as_infinite(values):
    return values + np.inf


@pytest.mark.parametrize("cv", [KFold(3), ShuffleSplit(3, test_size=0.5, random_state=0)], ids=str)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_subgroups_have_means_of_absolute_differences(cv, is_weighted):
    X, y = table(120)
    region = np.random.RandomState(0).choice(["north", "south"], 120)
    weight = np.random.RandomState(1).uniform(0.5, 2, 120) if is_weighted else None
    report = quick(
        Ridge(), tree(random_state=0), X, y, cv=cv, subgroups=region, sample_weight=weight
    )
    found = report.disagreement
    assert "class" not in found
    assert found["subgroup"].tolist() == [None, "north", "south"]
    parts = []
    for fold, (train, test) in enumerate(cv.split(X)):
        params = {} if weight is None else {"sample_weight": weight[train]}
        model = distiller(teacher=Ridge(), student=tree(random_state=0))
        model.set_params(random_state=int(report.frame["seed"][0]))
        model.fit(X[train], y[train], **params)
        hard = tree(random_state=0).fit(X[train], y[train], **params)
        models = {"teacher": model.teacher_, "hard": hard, "distilled": model}
        values = {name: each.predict(X[test]) for name, each in models.items()}
        part = pd.DataFrame({name: np.abs(values[name] - y[test]) for name in values})
        part["disagreement"] = np.abs(values["distilled"] - values["teacher"])
        part = part.assign(fold=fold, region=region[test])
        parts.append(part.assign(weight=1.0 if weight is None else weight[test]))
    rows = pd.concat(parts)
    for line in found.itertuples():
        own = rows if line.subgroup is None else rows[rows["region"] == line.subgroup]
        for name in ("disagreement", "teacher", "hard", "distilled"):
            expected = np.average(own[name], weights=own["weight"])
            assert_allclose(getattr(line, name), expected)
    if not is_weighted and isinstance(cv, KFold):
        for name in ("teacher", "hard", "distilled"):
            mae, error = report.summary.loc[name, "mae"]
            assert_allclose([found[name][0], found[f"{name}_error"][0]], [mae, error])


def test_subgroups_on_which_student_and_teacher_differ_more_are_printed():
    X, y = table(200)
    report = quick(Ridge(), tree(), X, y)
    frame = report.disagreement
    assert "clearly" not in str(report)  # there is no subgroup
    lines = [
        (None, 500, 1.0, 0.1),
        ("a", 100, 2.0, 0.2),
        ("b", 100, 1.2, 0.01),
        ("c", 19, 9.0, 0.1),
    ]
    names = ["subgroup", "n_rows", "disagreement", "disagreement_error"]
    made_up = pd.DataFrame(lines, columns=names)
    for name in ("teacher", "hard", "distilled"):
        made_up = made_up.assign(**{name: 3.0, f"{name}_error": 0.1})
    assert set(made_up) == set(frame)
    shown = DistillationReport(report.frame, disagreement=made_up)
    assert "differ by 1 on average, and by clearly more on these:" in str(shown)
    assert [line.split()[0] for line in str(shown).splitlines()[-1:]] == ["a"]
    calm = DistillationReport(report.frame, disagreement=made_up.iloc[[0, 2]])
    assert str(calm).endswith("by clearly more on no subgroup.")


def test_a_display_of_an_estimator_is_that_of_its_report():
    X, y = table()
    model, cv = distiller(teacher=Ridge(), student=tree(random_state=0)), KFold(3)
    axes = figure.Figure().subplots(1, 2)
    options = {"cv": cv, "n_latency": 2}
    display = DistillationDisplay.from_estimator(model, X, y, ax=axes, **options)
    report = quick(None, None, X, y, distiller=model, **options)
    same = [column for column in report.frame if column not in SPEED]
    assert_frame_equal(display.frame[same], report.frame[same])
    assert axes[0].get_ylabel() == "R2 (higher is better)"
    labels = [text.get_text() for text in axes[1].get_legend().get_texts()]
    assert labels[:3] == ["teacher", "student on hard targets", "distilled student"]
    for score, label in (("mae", "MAE (lower is better)"), ("coverage", "Coverage")):
        axes = figure.Figure().subplots(1, 2)
        DistillationDisplay(frame=report.frame.assign(coverage=0.9), score_name=score).plot(axes)
        assert axes[0].get_ylabel() == label
    axes = figure.Figure().subplots(1, 2)
    assert report.plot(axes).ax_[0].get_ylabel() == "RMSE (lower is better)"


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_scores_of_quantiles_are_those_of_plain_fits():
    X, y = table(150)
    weight = np.random.RandomState(0).uniform(0.5, 1.5, 150)
    network = TwoLayerPGDRegressor(8, max_iter=30, n_init=1, encoder=None)
    levels = (0.1, 0.25, 0.9)
    own = distiller(student=network, quantiles=levels)
    cv = KFold(2, shuffle=True, random_state=0)
    report = quick(None, None, X, y, distiller=own, cv=cv, sample_weight=weight)
    frame, seed = report.frame, int(report.frame["seed"][0])
    of_quantiles = ["pinball_loss", "coverage", "interval_width"]
    assert frame.columns.tolist()[3:10] == ["r2", "rmse", "mae", *of_quantiles, "fidelity"]
    for fold, (train, test) in enumerate(cv.split(X)):
        params = {"sample_weight": weight[train]}
        model = clone(own).set_params(random_state=seed).fit(X[train], y[train], **params)
        teacher = model.teacher_.predict_quantiles(X[test], quantiles=[0.1, 0.25, 0.5, 0.9])
        quantiles = {
            "distilled": model.predict_quantiles(X[test]),
            "teacher": teacher[:, [0, 1, 3]],
        }
        points = {"distilled": model.predict(X[test]), "teacher": teacher[:, 2]}
        for name, values in quantiles.items():
            line, w = line_of(frame, name, fold, seed), {"sample_weight": weight[test]}
            pairs = zip(levels, values.T, strict=True)
            losses = [mean_pinball_loss(y[test], q, alpha=level, **w) for level, q in pairs]
            assert_allclose(line["pinball_loss"], np.mean(losses))
            inside = (values[:, 0] <= y[test]) & (y[test] <= values[:, 2])
            assert_allclose(line["coverage"], np.average(inside, weights=weight[test]))
            width = np.average(np.ptp(values, axis=1), weights=weight[test])
            assert_allclose(line["interval_width"], width)
            assert_allclose(line["r2"], r2_score(y[test], points[name], **w))
        # without a weight of the teacher, its labels have no effect
        hard = clone(own).set_params(alpha=0.0, teacher=FrozenEstimator(model.teacher_))
        seeded = clone(network).set_params(random_state=model.student_.random_state)
        hard.set_params(student=seeded, random_state=seed).fit(X[train], y[train], **params)
        line = line_of(frame, "hard", fold, seed)
        assert_allclose(line["r2"], r2_score(y[test], hard.predict(X[test]), **w))
        assert line["bytes"] == len(pickle.dumps(hard.without_teacher(keep_history=False)))
    assert report.decide_by == "pinball_loss"
    assert "changes the pinball loss of the student from" in report.verdict
    fidelity = FidelityDisplay.from_estimator(model, X[test], ax=figure.Figure().subplots())
    assert_allclose(fidelity.frame["teacher"], teacher[:, 2])
    display = IntervalDisplay.from_estimator(model, X[test], y[test], ax=figure.Figure().subplots())
    assert_allclose(display.coverage_, inside_of(quantiles["distilled"], y[test]).mean())
    for each in (WidthCurveDisplay, CompressionCurveDisplay):
        axes = figure.Figure().subplots(1, 2)
        with pytest.raises(ValueError, match="quantiles are calibrated by more fits"):
            each.from_estimator(own, X, y, ax=axes)
    with pytest.raises(ValueError, match="needs quantiles: set quantiles of the distiller"):
        quick(Ridge(), NeverFitted(), X, y, decide_by="pinball_loss")
    with pytest.raises(ValueError, match="LinearRegression has no loss of quantiles"):
        quick(None, LinearRegression(), X, y, distiller=clone(own).set_params(alpha=1.0))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_dict_of_teachers_is_called_so():
    X, y = table()
    levels = (0.25, 0.5, 0.75)
    teachers = {q: QuantileRegressor(quantile=q, alpha=0) for q in levels}
    student = TwoLayerPGDRegressor(4, max_iter=100, n_init=1, encoder=None)
    own = distiller(teacher=teachers, student=student, quantiles=levels)
    report = quick(None, None, X, y, distiller=own)
    assert "There is no compact file of the teacher: a dict of regressors" in report.verdict
    assert "LevelRegressors" not in repr(report) + report._repr_html_()
    frozen = {q: FrozenEstimator(each.fit(X, y)) for q, each in teachers.items()}
    for teacher in (teachers, frozen):
        fitted = clone(own).set_params(teacher=teacher).fit(X, y).teacher_
        with pytest.raises(ValueError, match="write them one by one"):
            compact(fitted)
    fitted.estimator.regressors_[0].callback_ = lambda: None
    with pytest.raises(TypeError, match="the dict of regressors cannot be pickled"):
        model_bytes(fitted)


def inside_of(values, y):
    return (values[:, 0] <= y) & (y <= values[:, -1])


# Advice


@pytest.mark.parametrize("decide_by", ["squared_error", "absolute_error"])
@pytest.mark.parametrize("n_targets", [1, 2])
def test_advice_against_a_loop(decide_by, n_targets):
    X, y = table(121)
    if n_targets == 2:
        y = np.column_stack([y, 1e3 * X[:, 1] - y])
    weight = np.random.RandomState(0).uniform(0.5, 1.5, 121)
    # its numbers are leave-one-out, so that no folds are drawn
    teacher, student = KernelTeacherRegressor(), tree(random_state=0)
    folds = [(np.arange(121) % 3 != k, np.arange(121) % 3 == k) for k in range(3)]
    advice = should_distill(
        teacher, student, X, y, cv=folds, decide_by=decide_by, alpha=0.3, sample_weight=weight
    )
    mean = np.average(y, axis=0, weights=weight)
    scale = np.sqrt(np.average((y - mean) ** 2, axis=0, weights=weight))

    def loss(values, rows):
        errors = np.abs((values - y[rows]) / scale).reshape(rows.sum(), -1)
        return (errors**2 if decide_by == "squared_error" else errors).mean(axis=1)

    s, t, m, inside, soft = (np.zeros(121) for _ in range(5))
    for train, test in folds:
        params = {"sample_weight": weight[train]}
        a, b = (clone(each).fit(X[train], y[train], **params) for each in (student, teacher))
        P, Q = a.predict(X[test]), b.predict(X[test])
        s[test], t[test], m[test] = loss(P, test), loss(Q, test), loss(0.7 * P + 0.3 * Q, test)
        inside[train] += loss(a.predict(X[train]), train) / 2
        model = DistilledRegressor(teacher, student, alpha=0.3, augmentation=None)
        soft[test] = loss(model.fit(X[train], y[train], **params).predict(X[test]), test)
    pairs = {"gap": s - t, "label_gain": s - m, "overfitting": s - inside, "gain": s - soft}
    for name, d in pairs.items():
        shares = weight / weight.sum()
        center = shares @ d
        variance = 121 / 120 * (shares**2 @ (d - center) ** 2)
        n_train = np.mean([train.sum() for train, _ in folds])
        half = 1.959964 * np.sqrt(variance * (1 + 121 / n_train))
        expected = center, center - half, center + half
        assert_allclose(getattr(advice, name), expected, rtol=1e-6)
    both = zip(advice.label_gain, np.divide(advice.overfitting, 2), strict=True)
    assert_allclose(advice.recoverable, [min(pair) for pair in both])
    assert_allclose(advice.margin, 0.01 * np.average(s, weights=weight))
    unit = "variances" if decide_by == "squared_error" else "standard deviations"
    assert f"{unit} of y on held-out rows" in advice.verdict
    assert f"({unit} of y)" in str(advice)
    assert "soft targets" in advice.verdict
    assert "labels" not in advice.verdict


def test_answers_that_are_known():
    X, y = table(300)
    same = should_distill(LinearRegression(), LinearRegression(), X, y)
    assert same.decision == "no"
    assert_allclose(same.gap, 0, atol=1e-12)
    assert "the teacher's targets offer no larger gain" in same.verdict
    # a deep tree overfits, and the forest that is its teacher does not
    deep = DecisionTreeRegressor(max_leaf_nodes=64, random_state=0)
    advice = should_distill(RandomForestRegressor(50, random_state=0), deep, X, y)
    assert advice.decision == "yes"
    shuffled = np.random.RandomState(0).permutation(y)
    bad = FrozenEstimator(LinearRegression().fit(X, shuffled))
    wrong = should_distill(bad, LinearRegression(), X, y)
    assert wrong.decision == "no"
    assert "the teacher's targets would increase the loss" in wrong.verdict


def test_overfitting_halved_is_the_estimation_error_of_least_squares():
    """The variance of noise times p / n, for p parameters."""
    found = []
    for seed in range(12):
        rng = np.random.RandomState(seed)
        X = rng.randn(400, 10)
        y = X[:, 0] + rng.randn(400)
        advice = should_distill(LinearRegression(), LinearRegression(), X, y, cv=2)
        found.append(advice.overfitting.value / 2 * np.var(y))
    assert_allclose(np.mean(found), 11 / 200, rtol=0.25)


# Displays


def test_fidelity_of_a_regressor(ax):
    X, y = table(200)
    model = distiller(teacher=Ridge(), student=tree(random_state=0)).fit(X[::2], y[::2])
    weight = np.linspace(0.5, 2, 100)
    options = {"sample_weight": weight, "n_bins": 4, "ax": ax}
    display = FidelityDisplay.from_estimator(model, X[1::2], y[1::2], **options)
    teacher, student = model.teacher_.predict(X[1::2]), model.predict(X[1::2])
    frame = display.frame
    assert list(frame) == ["teacher", "student", "weight", "target"]
    assert_allclose(frame["teacher"], teacher)
    assert_allclose(frame["student"], student)
    fidelity = r2_score(teacher, student, sample_weight=weight)
    distance = np.sqrt(mean_squared_error(teacher, student, sample_weight=weight))
    scores = [r2_score(y[1::2], each, sample_weight=weight) for each in (teacher, student)]
    title = f"fidelity {fidelity:.3f}, root mean squared difference {distance:.4g}\n"
    assert ax.get_title() == title + "R2: teacher {:.3f}, student {:.3f}".format(*scores)
    bins = display.bins_
    assert bins["n_rows"].tolist() == [25] * 4
    for line in bins.itertuples():
        own = (teacher >= line.lower) & (teacher <= line.upper)
        assert_allclose(line.student, np.average(student[own], weights=weight[own]))
    diagonal, mean = display.lines_
    assert_allclose(diagonal.get_xdata(), diagonal.get_ydata())
    assert_allclose(mean.get_xydata(), bins[["teacher", "student"]])
    assert_allclose(display.points_[0].get_offsets(), np.c_[teacher, student])
    again = FidelityDisplay.from_predictions(teacher, student, sample_weight=weight, ax=ax)
    assert_frame_equal(again.frame, frame.drop(columns="target"))
    with pytest.raises(ValueError, match="inconsistent numbers"):
        FidelityDisplay.from_predictions(teacher, student[:-1], ax=ax)
    with pytest.raises(
        ValueError, match=r"no teacher_ to compare with.*or the predictions of both"
    ):
        FidelityDisplay.from_estimator(model.without_teacher(), X, ax=ax)
    two = distiller(teacher=Ridge(), student=tree()).fit(X, np.column_stack([y, X]))
    with pytest.raises(ValueError, match=rf"predicts {X.shape[1] + 1} targets.*from_predictions"):
        FidelityDisplay.from_estimator(two, X, ax=ax)
    with pytest.raises(TypeError, match=r"DeferralDisplay .* a DistilledRegressor does not have"):
        DeferralDisplay.from_estimator(model, X, y, ax=ax)


@pytest.mark.parametrize("scoring", [None, "neg_mean_absolute_error"])
@pytest.mark.parametrize("is_pipeline", [False, True])
def test_a_width_curve_is_that_of_single_fits(ax, is_pipeline, scoring):
    X, y = table()
    network = TwoLayerPGDRegressor(max_iter=15, n_init=2, encoder=None)
    model, name = distiller(teacher=KernelTeacherRegressor(), student=network), "student__"
    if is_pipeline:
        model, name = make_pipeline(StandardScaler(), model), f"distilledregressor__{name}"
    cv = KFold(2, shuffle=True, random_state=0)
    display = WidthCurveDisplay.from_estimator(
        model, X, y, widths=[2, 6], seeds=[3, 11], cv=cv, scoring=scoring, ax=ax
    )
    frame = display.frame
    assert len(frame) == 2 * 2 * 2 * 2 + 2
    for width in (2, 6):
        for labels, alpha in (("hard", 0.0), ("soft", 0.5)):
            for seed in (3, 11):
                params = {f"{name}width": width, f"{name}random_state": seed}
                params[f"{name.removesuffix('student__')}alpha"] = alpha
                single = clone(model).set_params(**params)
                expected = cross_val_score(single, X, y, cv=cv, scoring=scoring)
                own = frame[(frame["labels"] == labels) & (frame["seed"] == seed)]
                own = own[own["width"] == width].sort_values("split")
                assert_allclose(own["score"], expected, rtol=1e-7)
    teacher = KernelTeacherRegressor()
    if is_pipeline:
        teacher = make_pipeline(StandardScaler(), teacher)
    expected = cross_val_score(teacher, X, y, cv=cv, scoring=scoring)
    of_teacher = frame[frame["labels"] == "teacher"].sort_values("split")["score"]
    assert_allclose(of_teacher, expected, rtol=1e-9)
    assert ax.get_ylabel() == ("R2" if scoring is None else "Negative mean absolute error")


def test_a_compression_curve_is_that_of_plain_fits():
    X, y = table(80)
    network = TwoLayerPGDRegressor(max_iter=15, n_init=1, encoder=None)
    model = distiller(teacher=forest(), student=network, random_state=0)
    cv = KFold(2)
    students = {"tree": (DecisionTreeRegressor(), {"max_leaf_nodes": [3, 6]})}
    axes = figure.Figure().subplots(1, 2)
    display = CompressionCurveDisplay.from_estimator(
        model, X, y, widths=[2, 4], students=students, cv=cv, tolerance=0, ax=axes
    )
    frame = display.frame
    assert len(frame) == 2 * (4 + 4 + 1)
    candidates = {("network", f"width={width}"): network for width in (2, 4)}
    candidates |= {("tree", f"max_leaf_nodes={n}"): DecisionTreeRegressor() for n in (3, 6)}
    for split, (train, test) in enumerate(cv.split(X)):
        for (family, size), student in candidates.items():
            name, value = size.split("=")
            whole = clone(model).set_params(student=clone(student).set_params(**{name: int(value)}))
            whole.fit(X[train], y[train])
            hard = clone(whole.student).set_params(random_state=whole.student_.random_state)
            hard.fit(X[train], y[train])
            for labels, each in (("hard", hard), ("distilled", whole)):
                own = frame[(frame["student"] == family) & (frame["size"] == size)]
                line = own[(own["labels"] == labels) & (own["split"] == split)].iloc[0]
                assert_allclose(line["score"], r2_score(y[test], each.predict(X[test])), rtol=1e-7)
                assert_allclose(line["n_bytes"], compact(each).n_bytes_, atol=8)
                assert line["microseconds"] > 0
        teacher = frame[(frame["labels"] == "teacher") & (frame["split"] == split)].iloc[0]
        assert_allclose(teacher["score"], r2_score(y[test], whole.teacher_.predict(X[test])))
    assert axes[0].get_ylabel() == "R2"
    best = display.table_.loc[display.table_["score"].idxmax()]
    assert display.best_params_ == best[["student", "size", "labels"]].to_dict()


@pytest.mark.slow
def test_default_families_of_a_compression_curve_are_regressors():
    X, y = table(60)
    network = TwoLayerPGDRegressor(max_iter=15, n_init=1)
    model = distiller(teacher=Ridge(), student=network)
    axes = figure.Figure().subplots(1, 2)
    display = CompressionCurveDisplay.from_estimator(model, X, y, widths=2, cv=2, ax=axes)
    families = ["network", "boosted trees", "tree", "linear"]
    assert display.frame["student"].unique().tolist() == [*families, "teacher"]
    display.best_estimator_.fit(X, y)


def test_default_families_of_several_targets_take_them():
    model = distiller(teacher=Ridge(), student=TwoLayerPGDRegressor(), random_state=0)
    found = candidates_of(model, [2], "auto", n_targets=2)
    assert {each.family for each in found} == {"network", "tree", "linear"}


def test_families_of_the_user_take_several_targets():
    X, y = table()
    y = np.stack([y, -y], axis=1)
    families = {"boosted": HistGradientBoostingRegressor(max_iter=3), "tree": tree()}
    model = distiller(teacher=Ridge(), student=tree())
    options = {"widths": None, "cv": 2}
    with pytest.raises(ValueError, match=r"the student 'boosted', HistGradient.* predicts one"):
        CompressionCurveDisplay.from_estimator(model, X, y, students=families, **options)
    del families["boosted"]
    display = CompressionCurveDisplay.from_estimator(model, X, y, students=families, **options)
    assert set(display.frame["student"]) == {"student", "tree", "teacher"}


class WithIntervals(LinearRegression):
    """Predictions plus and minus a number for each row."""

    def predict_interval(self, X, coverage=0.9):
        values, half = self.predict(X), coverage * (1 + np.abs(X[:, 0]))
        return np.column_stack([values - half, values + half])


class WithQuantiles(LinearRegression):
    quantiles_ = np.array([0.1, 0.25, 0.5, 0.9])

    def predict_quantiles(self, X):
        return self.predict(X)[:, None] + 4 * (self.quantiles_ - 0.5) * (1 + np.abs(X[:, :1]))


def test_intervals_and_their_coverage(ax):
    X, y = table(300)
    model = WithIntervals().fit(X, y)
    weight = np.linspace(0, 2, 300)
    options = {"sample_weight": weight, "max_rows": 50, "ax": ax, "n_bins": 3}
    display = IntervalDisplay.from_estimator(model, X, y, coverage=0.7, **options)
    ends, frame = model.predict_interval(X, coverage=0.7), display.frame
    assert list(frame) == ["target", "prediction", "lower", "upper", "weight"]
    assert_allclose(frame[["lower", "upper"]], ends)
    assert_allclose(frame["prediction"], model.predict(X))
    inside = (ends[:, 0] <= y) & (y <= ends[:, 1])
    coverage, width = (np.average(v, weights=weight) for v in (inside, np.ptp(ends, axis=1)))
    assert_allclose([display.coverage_, display.mean_width_], [coverage, width])
    expected = f"coverage {coverage:.3f} (nominal 0.7), mean width {width:.4g}"
    assert ax.get_title() == expected
    assert ax.get_xlabel().endswith(", 50 of 300")
    assert len(display.intervals_.get_segments()) == 50
    assert sum(len(points.get_offsets()) for points in display.points_) == 50
    (line,) = display.lines_
    assert (np.diff(line.get_ydata()) >= 0).all()
    bins = display.bins_
    assert bins["n_rows"].sum() == 300
    assert_allclose(np.average(bins["coverage"], weights=bins["n_rows"]), inside.mean(), atol=0.1)
    assert (np.diff(bins["width"]) > 0).all()


def test_intervals_of_quantiles(ax):
    X, y = table(100)
    model = WithQuantiles().fit(X, y)
    outer = IntervalDisplay.from_estimator(model, X, y, ax=ax)
    assert outer.nominal == 0.8
    assert_allclose(outer.frame[["lower", "upper"]], model.predict_quantiles(X)[:, [0, 3]])
    inner = IntervalDisplay.from_estimator(model, X, y, coverage=0.4, ax=ax)
    assert_allclose(inner.frame[["lower", "upper"]], model.predict_quantiles(X)[:, [2, 3]])
    with pytest.raises(ValueError, match="no two of the quantiles"):
        IntervalDisplay.from_estimator(model, X, y, coverage=0.5, ax=ax)
    with pytest.raises(TypeError, match="LinearRegression predicts neither quantiles nor"):
        IntervalDisplay.from_estimator(LinearRegression().fit(X, y), X, y, ax=ax)


@pytest.mark.parametrize("last", [WithIntervals, WithQuantiles])
def test_intervals_of_pipelines_and_searches(last, ax):
    X, y = table(100)
    X = 100 * X
    model = make_pipeline(StandardScaler(copy=False), last()).fit(X.copy(), y)
    search = GridSearchCV(model, {"standardscaler__with_mean": [True]}, cv=2).fit(X.copy(), y)
    expected = IntervalDisplay.from_estimator(
        model[-1], StandardScaler().fit_transform(X), y, ax=ax
    )
    for fitted in (model, search, FrozenEstimator(model)):
        display = IntervalDisplay.from_estimator(fitted, X.copy(), y, ax=ax)
        assert_frame_equal(display.frame, expected.frame)
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(X, y)
    with pytest.raises(TypeError, match="LinearRegression predicts neither quantiles nor"):
        IntervalDisplay.from_estimator(model, X, y, ax=ax)


def test_interval_displays_that_are_none(ax):
    with pytest.raises(ValueError, match="lower must not be above upper"):
        IntervalDisplay.from_predictions([1, 2], [1, 3], [2, 2], ax=ax)
    with pytest.raises(ValueError, match="inconsistent numbers"):
        IntervalDisplay.from_predictions([1, 2], [1], [2, 2], ax=ax)
    display = IntervalDisplay.from_predictions([1, 2], [1, 1], [2, 3], ax=ax)
    assert_allclose(display.frame["prediction"], [1.5, 2])
    with pytest.raises(ValueError, match="no line"):
        IntervalDisplay(frame=display.frame[:0]).plot(ax)
    with pytest.raises(ValueError, match="lacks the columns \\['upper'\\]"):
        IntervalDisplay(frame=display.frame.drop(columns="upper")).plot(ax)
    with pytest.raises(ValueError, match="max_rows"):
        display.plot(ax, max_rows=0)


def test_a_report_of_classes_has_no_number_scores():
    X, y = blobs(60, 2)
    report = distillation_report(
        *(None, None, X, y),
        **{"cv": 2, "n_seeds": 1, "n_latency": 2},
        distiller=DistilledClassifier(
            RandomForestClassifier(5),
            RandomForestClassifier(2),
            alpha=0.5,
            temperature=1.0,
            augmentation=None,
        ),
    )
    assert "accuracy" in report.frame
    assert "r2" not in report.frame

"""WidthCurveDisplay against loops of scikit-learn, and the artists against its frame."""

import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import ShuffleSplit, StratifiedKFold, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

from sklearn_kd import DistilledClassifier, KernelTeacher, TwoLayerPGDClassifier
from sklearn_kd._networks.two_layer import joint_training, stacked
from sklearn_kd.inspection import WidthCurveDisplay, _width_curve_display
from tests._helpers.data import FIXED

figure = pytest.importorskip("matplotlib.figure")

COLUMNS = ["width", "labels", "seed", "split", "score"]


@pytest.fixture
def ax():
    return figure.Figure().subplots()


def student(**params):
    return TwoLayerPGDClassifier(**{"max_iter": 15, "n_init": 2, **params}, encoder=None)


def distilled(teacher=None, own=None, **params):
    own = student() if own is None else own
    teacher = GaussianNB() if teacher is None else teacher
    return DistilledClassifier(teacher, own, **{**FIXED, "random_state": 0, **params})


def table(n=60):
    X, y = load_iris(return_X_y=True)
    rows = np.random.RandomState(0).permutation(len(y))[:n]
    return X[rows][:, :2], y[rows]


def scores(frame, **place):
    for column, value in place.items():
        frame = frame[frame[column] == value]
    return frame.sort_values("split")["score"].to_numpy()


@pytest.mark.parametrize("shape", ["distilled", "pipeline", "inner pipeline"])
@pytest.mark.parametrize("scoring", [None, "neg_log_loss"])
def test_scores_are_those_of_single_fits(shape, scoring, ax):
    X, y = table()
    cv = StratifiedKFold(2, shuffle=True, random_state=0)
    prefix, before = "", []
    if shape == "inner pipeline":
        model = distilled(own=make_pipeline(StandardScaler(), student()), alpha=0.7, temperature=2)
        own = "student__twolayerpgdclassifier__"
    else:
        model, own = distilled(alpha=0.7, temperature=2), "student__"
    if shape == "pipeline":
        model = make_pipeline(StandardScaler(), model)
        prefix, before = "distilledclassifier__", [StandardScaler()]
    display = WidthCurveDisplay.from_estimator(
        model, X, y, widths=[6, 2], seeds=[3, 11], cv=cv, scoring=scoring, ax=ax
    )
    frame = display.frame
    assert list(frame.columns) == COLUMNS
    assert len(frame) == 2 * 2 * 2 * 2 + 2
    for width in (2, 6):
        for labels, alpha in (("hard", 0.0), ("soft", 0.7)):
            for seed in (3, 11):
                params = {"width": width, "random_state": seed}
                single = clone(model).set_params(
                    **{f"{prefix}{own}{name}": value for name, value in params.items()},
                    **{f"{prefix}alpha": alpha},
                )
                expected = cross_val_score(single, X, y, cv=cv, scoring=scoring)
                got = scores(frame, width=width, labels=labels, seed=seed)
                assert_allclose(got, expected, rtol=1e-7)
    teacher = make_pipeline(*before, GaussianNB())
    expected = cross_val_score(teacher, X, y, cv=cv, scoring=scoring)
    assert_allclose(scores(frame, labels="teacher"), expected, rtol=1e-12)


def test_soft_labels_are_the_teachers_and_hard_ones_need_none(ax):
    X, y = load_breast_cancer(return_X_y=True)
    X, y = X[:120], y[:120]
    cv = StratifiedKFold(2)
    fixed = {**FIXED, "alpha": 1.0, "calibration": None}
    model = DistilledClassifier(KernelTeacher(), student(), **fixed, random_state=0)
    frame = WidthCurveDisplay.from_estimator(
        model, X, y, widths=4, seeds=2, cv=cv, scoring="neg_log_loss", ax=ax
    ).frame
    for split, (train, test) in enumerate(cv.split(X, y)):
        # the ridge looks at all rows here, so that the teacher has no randomness
        teacher = KernelTeacher().fit(X[train], y[train])
        held_out = X[test], y[test]
        level = np.log(teacher.predict_proba(X[test])[np.arange(len(test)), y[test]]).mean()
        assert_allclose(scores(frame, labels="teacher")[split], level, rtol=1e-7)
        for seed in (0, 1):
            for labels, soft in (("hard", None), ("soft", teacher.loo_proba_)):
                alone = student(width=4, random_state=seed)
                alone.fit(X[train], y[train], soft_targets=soft)
                proba = alone.predict_proba(held_out[0])[np.arange(len(test)), held_out[1]]
                got = scores(frame, labels=labels, seed=seed)[split]
                assert_allclose(got, np.log(proba).mean(), rtol=1e-6)


@pytest.mark.parametrize("more", ["transfer rows", "unlabeled rows"])
def test_rows_that_a_teacher_labels_are_none_of_the_hard_labels(more, ax):
    X, y = table()
    teacher = FrozenEstimator(GaussianNB().fit(X, (y + 1) % 3))
    splits = list(StratifiedKFold(2, shuffle=True, random_state=0).split(X, y))
    options = {"widths": [4], "seeds": 1, "scoring": "neg_log_loss", "ax": ax}
    plain = WidthCurveDisplay.from_estimator(distilled(teacher), X, y, cv=splits, **options).frame
    if more == "transfer rows":
        model, params = distilled(teacher, augmentation="gibbs", n_augmented=20), {}
        single = clone(model).set_params(student__width=4, student__random_state=0)
    else:
        model = make_pipeline("passthrough", distilled(teacher))
        params = {"distilledclassifier__X_unlabeled": X[:20] + 0.1}
        single = make_pipeline(distilled(teacher, student(width=4, random_state=0)))
    # a splitter that makes other folds in each call
    cv = StratifiedKFold(2, shuffle=True, random_state=np.random.RandomState(0))
    frame = WidthCurveDisplay.from_estimator(model, X, y, cv=cv, fit_params=params, **options).frame
    assert len(frame) == len(plain)
    for labels in ("hard", "teacher"):
        assert_allclose(scores(frame, labels=labels), scores(plain, labels=labels))
    expected = cross_val_score(single, X, y, cv=splits, scoring="neg_log_loss", params=params)
    assert_allclose(scores(frame, labels="soft"), expected, rtol=1e-7)


def test_teacher_is_fitted_and_scored_once_for_each_fold(ax):
    calls = {"fit": 0, "predict": 0}

    class Counting(GaussianNB):
        def fit(self, X, y, sample_weight=None):
            calls["fit"] += 1
            return super().fit(X, y, sample_weight)

        def predict(self, X):
            calls["predict"] += 1
            return super().predict(X)

    X, y = table()
    model = distilled(Counting(), cv="in-sample")
    display = WidthCurveDisplay.from_estimator(model, X, y, widths=[2, 4], seeds=2, cv=3, ax=ax)
    seen = dict(calls)
    calls.update(fit=0, predict=0)
    for train, _ in StratifiedKFold(3).split(X, y):
        clone(model).fit(X[train], y[train])
    assert seen["fit"] == calls["fit"]
    assert seen["predict"] == calls["predict"] + 3
    assert len(display.frame) == 2 * 2 * 2 * 3 + 3


def test_frozen_teacher_has_a_score_in_each_fold(ax):
    X, y = table()
    teacher = LogisticRegression().fit(X[::2], y[::2])
    own = make_pipeline(StandardScaler(copy=False), student())  # which writes into its rows
    frame = WidthCurveDisplay.from_estimator(
        distilled(FrozenEstimator(teacher), own), X, y, widths=[2, 4], seeds=1, cv=4, ax=ax
    ).frame
    expected = [teacher.score(X[test], y[test]) for _, test in StratifiedKFold(4).split(X, y)]
    assert len(set(expected)) > 1
    assert_allclose(scores(frame, labels="teacher"), expected)


def test_given_labels_need_no_teacher(ax):
    X, y = table()
    Q = LogisticRegression().fit(X, y).predict_proba(X)
    display = WidthCurveDisplay.from_estimator(
        distilled(), X, y, widths=[2, 4], seeds=2, cv=3, ax=ax, fit_params={"soft_targets": Q}
    )
    assert set(display.frame["labels"]) == {"hard", "soft"}
    assert [line.get_label() for line in display.lines_] == ["hard labels", "soft labels"]
    single = distilled(own=student(width=4, random_state=1))
    expected = cross_val_score(single, X, y, cv=3, params={"soft_targets": Q})
    assert_allclose(scores(display.frame, width=4, labels="soft", seed=1), expected)


def test_artists_show_the_frame(ax):
    X, y = table()
    cv = ShuffleSplit(3, random_state=0)
    display = WidthCurveDisplay.from_estimator(
        distilled(), X, y, widths=[8, 2, 4], seeds=3, cv=cv, scoring="neg_log_loss", ax=ax
    )
    frame = display.frame
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    labels = ["hard labels", "soft labels", "teacher"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == labels

    def check(sign):
        for name, line, band in zip(
            ["hard", "soft"], display.lines_, display.fill_between_, strict=False
        ):
            means = np.array(
                [
                    [scores(frame, width=w, labels=name, seed=s).mean() for s in range(3)]
                    for w in (2, 4, 8)
                ]
            )
            assert_allclose(line.get_xdata(), [2, 4, 8])
            assert_allclose(line.get_ydata(), sign * means.mean(axis=1))
            spread = means.std(axis=1, ddof=1)
            corners = band.get_paths()[0].vertices
            for width, mean, std in zip((2, 4, 8), means.mean(axis=1), spread, strict=True):
                heights = corners[corners[:, 0] == width, 1]
                assert_allclose(heights.min(), sign * mean - std)
                assert_allclose(heights.max(), sign * mean + std)
        level = sign * scores(frame, labels="teacher").mean()
        assert_allclose(display.lines_[-1].get_ydata(), level)

    check(1)
    assert ax.get_xscale() == "log"
    assert ax.xaxis.get_transform().base == 2
    assert [text.get_text() for text in ax.get_xticklabels()] == ["2", "4", "8"]
    assert ax.get_ylabel() == "Negative log loss"
    assert "neurons" in ax.get_xlabel()
    other = figure.Figure().subplots()
    assert display.plot(other, negate_score=True, score_name="loss") is display
    assert display.ax_ is other
    assert other.get_ylabel() == "loss"
    check(-1)
    display.plot(
        figure.Figure().subplots(), std_display_style=None, line_kw={"marker": "x", "linewidth": 3}
    )
    assert display.fill_between_ is None
    assert display.lines_[0].get_linewidth() == 3
    display.plot(figure.Figure().subplots(), fill_between_kw={"alpha": 0.5})
    assert display.fill_between_[0].get_alpha() == 0.5


def test_one_seed_has_no_band_and_a_new_figure_is_made():
    X, y = table()
    display = WidthCurveDisplay.from_estimator(distilled(), X, y, widths=[2], seeds=1, cv=2)
    assert display.fill_between_ is None
    assert display.ax_ in display.figure_.axes
    first = display.figure_
    assert display.plot().figure_ is not first


def test_frames_of_two_runs_make_one_picture(ax):
    X, y = table()
    parts = [
        WidthCurveDisplay.from_estimator(distilled(), X, y, widths=w, seeds=2, cv=3, ax=ax).frame
        for w in ([2], [4])
    ]
    whole = WidthCurveDisplay.from_estimator(
        distilled(), X, y, widths=[2, 4], seeds=2, cv=3, ax=figure.Figure().subplots()
    )
    both = WidthCurveDisplay(frame=pd.concat(parts), score_name="Accuracy")
    both.plot(figure.Figure().subplots())
    for one, other in zip(both.lines_, whole.lines_, strict=True):
        assert_allclose(one.get_ydata(), other.get_ydata())
    assert both.ax_.get_ylabel() == whole.ax_.get_ylabel() == "Accuracy"


def test_frames_with_text_columns_and_labels(ax):
    X, y = table()
    frame = pd.DataFrame(X, columns=["length", "width"])
    frame["size"] = np.where(X[:, 0] > 5.8, "large", "small")
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    cut = make_pipeline(encode, distilled(RandomForestClassifier(10)))
    display = WidthCurveDisplay.from_estimator(
        cut, frame, pd.Series(names), widths=[2, 8], seeds=2, cv=3, ax=ax
    )
    single = clone(cut).set_params(
        distilledclassifier__student__width=8, distilledclassifier__student__random_state=1
    )
    expected = cross_val_score(single, frame, names, cv=3)
    assert_allclose(scores(display.frame, width=8, labels="soft", seed=1), expected)


def test_minibatches_share_products_and_learn(ax, monkeypatch):
    jobs, make = [], stacked.StackedNetworks

    def counted(rows, batch, *rest):
        jobs.append(len(batch))
        return make(rows, batch, *rest)

    monkeypatch.setattr(joint_training, "StackedNetworks", counted)
    X, y = load_breast_cancer(return_X_y=True)
    own = student(batch_size=64, max_iter=10, early_stopping=True, init="symmetric")
    frame = WidthCurveDisplay.from_estimator(
        distilled(GaussianNB(), own), X, y, widths=[2, 8], seeds=2, cv=2, ax=ax
    ).frame
    assert frame["score"].min() > 0.8
    assert jobs == [8, 8]  # in each fold two widths, two seeds and two kinds of labels at once
    by_seed = [scores(frame, width=2, labels="hard", seed=seed) for seed in (0, 1)]
    assert not np.array_equal(*by_seed) or not np.array_equal(
        *[scores(frame, width=2, labels="soft", seed=seed) for seed in (0, 1)]
    )


def test_default_student_and_estimator_are_left_alone(ax, monkeypatch):
    seen = {}

    class Search:
        def __init__(self, estimator, grid, **options):
            seen.update(estimator=estimator, grid=grid, **options)

        def fit(self, X, y):
            raise KeyboardInterrupt

    monkeypatch.setattr(_width_curve_display, "BatchedGridSearchCV", Search)
    model = DistilledClassifier(GaussianNB(), **FIXED)
    with pytest.raises(KeyboardInterrupt):
        WidthCurveDisplay.from_estimator(model, *table(), ax=ax)
    assert model.student is None
    assert isinstance(seen["estimator"].student, TwoLayerPGDClassifier)
    assert seen["grid"] == {
        "alpha": [0.0, 0.5],
        "student__width": [2, 4, 8, 16, 32, 64],
        "student__random_state": [0, 1, 2, 3, 4],
    }
    assert seen["share_minibatches"] is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": []}, "one at least"),
        ({"widths": [2, 3]}, "even integers of at least 2, got 3"),
        ({"widths": [0]}, "got 0"),
        ({"widths": [2.0]}, "got 2.0"),
        ({"widths": [2, 2]}, "must differ"),
        ({"seeds": 0}, "at least 1"),
        ({"seeds": []}, "one at least"),
        ({"seeds": [1, 1]}, "must differ"),
        ({"seeds": [-1]}, "non-negative"),
        ({"seeds": 1.5}, "number of seeds"),
        ({"std_display_style": "bars"}, "'bars'"),
    ],
)
def test_wrong_options_are_errors_before_any_together(options, message, ax, monkeypatch):
    monkeypatch.setattr(_width_curve_display, "BatchedGridSearchCV", None)
    with pytest.raises(ValueError, match=message):
        WidthCurveDisplay.from_estimator(distilled(), *table(), ax=ax, **options)


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (student(), TypeError, "DistilledClassifier.*got TwoLayerPGDClassifier"),
        (distilled(own=LogisticRegression()), TypeError, "got .* > LogisticRegression"),
        (make_pipeline(StandardScaler(), GaussianNB()), TypeError, "got Pipeline > GaussianNB"),
        (DistilledClassifier, TypeError, "instance"),
        (distilled(temperature="auto"), ValueError, "temperature='auto'"),
        (distilled(alpha=0), ValueError, "alpha=0"),
        (make_pipeline(StandardScaler(), distilled(alpha=0)), ValueError, "distilledcl.*__alpha=0"),
    ],
)
def test_wrong_estimators_are_errors_before_any_together(model, error, message, ax, monkeypatch):
    monkeypatch.setattr(_width_curve_display, "BatchedGridSearchCV", None)
    with pytest.raises(error, match=message):
        WidthCurveDisplay.from_estimator(model, *table(), ax=ax)


def test_scorers(ax):
    X, y = table()
    with pytest.raises(TypeError, match="one scorer"):
        WidthCurveDisplay.from_estimator(distilled(), X, y, scoring=["accuracy"], ax=ax)
    with pytest.raises(ValueError, match="teacher, RidgeClassifier, cannot be scored"):
        WidthCurveDisplay.from_estimator(
            distilled(RidgeClassifier()), X, y, widths=2, scoring="neg_log_loss", cv=2, ax=ax
        )
    options = {"widths": 2, "seeds": 1, "cv": 2, "ax": ax}
    display = WidthCurveDisplay.from_estimator(
        distilled(), X, y, scoring=make_scorer(accuracy_score), **options
    )
    assert display.score_name == "Accuracy score"
    own = WidthCurveDisplay.from_estimator(
        distilled(), X, y, scoring=lambda model, X, y: model.score(X, y), **options
    )
    assert_allclose(own.frame["score"], display.frame["score"])
    negated = WidthCurveDisplay.from_estimator(
        distilled(), X, y, scoring="neg_log_loss", negate_score=True, **options
    )
    assert negated.score_name == "Log loss"


def test_a_failing_fit_is_an_error(ax):
    X, y = table()
    with pytest.raises(ValueError, match="radius"):
        WidthCurveDisplay.from_estimator(
            distilled(own=student(radius=-1.0)), X, y, widths=2, cv=2, ax=ax
        )


def test_frames_that_are_none(ax):
    with pytest.raises(ValueError, match=r"lacks the columns \['split', 'score'\]"):
        WidthCurveDisplay(frame=pd.DataFrame(columns=COLUMNS[:3])).plot(ax)
    with pytest.raises(ValueError, match="no scores of students"):
        WidthCurveDisplay(frame=pd.DataFrame(columns=COLUMNS)).plot(ax)


def test_without_matplotlib_the_error_comes_first_and_names_the_remedy(monkeypatch):
    monkeypatch.setattr(_width_curve_display, "BatchedGridSearchCV", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install \"sklearn-kd\[plot\]\""):
        WidthCurveDisplay.from_estimator(distilled(), *table())


def test_weights_count_in_the_scores_too(ax):
    X, y = table()
    weights = np.random.RandomState(1).uniform(0.2, 3, size=len(y))
    cv = StratifiedKFold(3, shuffle=True, random_state=0)
    display = WidthCurveDisplay.from_estimator(
        distilled(), X, y, widths=[4], seeds=1, cv=cv, fit_params={"sample_weight": weights}, ax=ax
    )
    expected = []
    for train, test in cv.split(X, y):
        model = clone(distilled(own=student(width=4, random_state=0)))
        model.fit(X[train], y[train], sample_weight=weights[train])
        expected.append(
            [
                model.score(X[test], y[test], sample_weight=weights[test]),
                model.teacher_.score(X[test], y[test], sample_weight=weights[test]),
            ]
        )
    soft, teacher = scores(display.frame, labels="soft"), scores(display.frame, labels="teacher")
    assert_allclose(np.column_stack([soft, teacher]), expected, atol=1e-9)

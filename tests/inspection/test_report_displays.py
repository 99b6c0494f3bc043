"""DistillationDisplay and FidelityDisplay: their frames against plain predictions, the artists."""

import itertools
import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import accuracy_score
from sklearn.model_selection import StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

from sklearn_kd import DistilledClassifier
from sklearn_kd.inspection._distillation_display import DistillationDisplay
from sklearn_kd.inspection._fidelity_display import FidelityDisplay
from sklearn_kd.inspection._report import distillation_report
from sklearn_kd.metrics import agreement_score, fidelity_score
from tests._helpers.data import blobs
from tests._helpers.estimators import DecisionOnly

figure = pytest.importorskip("matplotlib.figure")

SPEED = ["latency_p50_ms", "latency_p99_ms", "rows_per_second", "compact_latency_us"]
SPEED += ["fit_seconds"]
LABELS = ["teacher", "student on hard labels", "distilled student"]


@pytest.fixture
def axes():
    return figure.Figure().subplots(1, 2)


@pytest.fixture
def ax():
    return figure.Figure().subplots()


def table(n_classes=3, n=90):
    X, y_encoded = blobs(n, n_classes, spread=3.0)
    return X, np.array(["ant", "bee", "cat"])[y_encoded]


def distilled(student=None, teacher=None, **params):
    student = DecisionTreeClassifier(max_depth=2) if student is None else student
    teacher = GaussianNB() if teacher is None else teacher
    return DistilledClassifier(teacher, student, **params)


def frame_of(n_folds=3, n_seeds=2):
    """Made-up measures, the speed on the first seed only."""
    rng, lines = np.random.RandomState(0), []
    for model, size, base in (("teacher", 5e4, 0.9), ("hard", 900, 0.8), ("distilled", 950, 0.85)):
        for fold in range(n_folds):
            for seed in range(n_seeds):
                line = {"model": model, "fold": fold, "seed": seed, "n_train": 200, "n_test": 100}
                line |= {"accuracy": base + rng.uniform(0, 0.02), "log_loss": rng.uniform()}
                line |= {"bytes": size + rng.randint(50)}
                line["latency_p50_ms"] = rng.uniform(0.1, 9) if seed == 0 else np.nan
                lines.append(line)
    return pd.DataFrame(lines)


@pytest.mark.parametrize("score", ["accuracy", "log_loss"])
def test_markers_are_means_and_bars_are_corrected_standard_errors(axes, score):
    frame = frame_of()
    before = frame.copy()
    display = DistillationDisplay(frame=frame).plot(axes, score_name=score)
    assert_frame_equal(frame, before)
    assert list(display.ax_) == list(axes)
    assert display.figure_ is axes[0].figure
    assert [each.get_label() for each in display.errorbar_] == LABELS * 2
    names = [
        (model, column)
        for column in ("bytes", "latency_p50_ms")
        for model in ("teacher", "hard", "distilled")
    ]
    for bars, (model, column) in zip(display.errorbar_, names, strict=True):
        own = frame[frame["model"] == model]
        marker, _, (segments,) = bars
        folds = own.groupby("fold")[score].mean()
        error = folds.std() * np.sqrt(1 / 3 + 100 / 200)
        assert_allclose(marker.get_xydata(), [[own[column].mean(), folds.mean()]])
        ends = np.array(segments.get_segments()[0])[:, 1]
        assert_allclose(ends, [folds.mean() - error, folds.mean() + error])
    better = "higher" if score == "accuracy" else "lower"
    name = "Accuracy" if score == "accuracy" else "Log loss"
    assert axes[0].get_ylabel() == f"{name} ({better} is better)"
    assert [ax.get_xlabel() for ax in axes] == ["Size (bytes)", "Median time of one row (ms)"]
    assert [ax.get_xscale() for ax in axes] == ["log", "log"]
    # everything is inside
    for ax, bars in zip(np.repeat(axes, 3), display.errorbar_, strict=True):
        (x,), (y,) = bars[0].get_data()
        assert ax.get_xlim()[0] < x < ax.get_xlim()[1]
        assert ax.get_ylim()[0] < y < ax.get_ylim()[1]
    assert [text.get_text() for text in axes[1].get_legend().get_texts()] == LABELS


@pytest.mark.parametrize(
    ("sizes", "ticks"),
    [
        ((30_000, 41_000, 40_000), ["30,000", "41,000"]),
        ((12_345_678, 1234, 50_000), ["12,345,678", "1,234", "50,000"]),
        ((99.4, 99.4, 99.4), ["99"]),
        ((0.123, np.nan, 4.56), ["0.12", "4.6"]),
    ],
)
@pytest.mark.parametrize("column", ["bytes", "latency_p50_ms"])
def test_ticks_are_few_plain_numbers_that_do_not_overlap(column, sizes, ticks):
    frame = frame_of()
    for model, size in zip(("teacher", "hard", "distilled"), sizes, strict=True):
        frame.loc[frame["model"] == model, column] = size
    display = DistillationDisplay(frame=frame).plot()
    display.figure_.canvas.draw()
    panel = display.ax_[["bytes", "latency_p50_ms"].index(column)]
    labels = [*panel.get_xticklabels(), *panel.get_xticklabels(minor=True)]
    assert [label.get_text() for label in labels] == ticks
    boxes = sorted(label.get_window_extent().extents[::2].tolist() for label in labels)
    assert all(left[1] < right[0] for left, right in itertools.pairwise(boxes))


def test_students_of_one_size_are_drawn_apart(axes):
    frame = frame_of()
    frame.loc[frame["model"] != "teacher", "bytes"] = 900
    display = DistillationDisplay(frame=frame).plot(axes)
    pixels = [bars[0].get_transform().transform([900, 0.8])[0] for bars in display.errorbar_[1:3]]
    assert_allclose(pixels[1] - pixels[0], 8 / 72 * axes[0].figure.dpi)


def test_compact_files_are_hollow_markers_at_the_score_of_their_model(axes):
    frame = frame_of()
    assert DistillationDisplay(frame=frame).plot(axes).compact_ == []
    is_written = frame["model"] != "teacher"
    frame["compact_bytes"] = np.where(is_written, frame["bytes"] / 3, np.nan)
    frame["compact_latency_us"] = np.where(is_written, 20 * frame["latency_p50_ms"], np.nan)
    axes = figure.Figure().subplots(1, 2)
    display = DistillationDisplay(frame=frame).plot(axes)
    names = [(c, m) for c in ("bytes", "latency_p50_ms") for m in ("hard", "distilled")]
    for line, (column, model) in zip(display.compact_, names, strict=True):
        own = frame[frame["model"] == model]
        score = own.groupby("fold")["accuracy"].mean().mean()
        size = own[column].mean()
        share = 1 / 3 if column == "bytes" else 20 / 1000
        assert_allclose(line.get_xydata(), [[size, score], [share * size, score]])
        assert line.get_markevery() == [1]
        filled = display.errorbar_[1 if model == "hard" else 2][0]
        assert line.get_marker() == filled.get_marker()
        assert line.axes.get_xlim()[0] < share * size
    said = [text.get_text() for text in axes[1].get_legend().get_texts()]
    assert said == [*LABELS, "its compact file"]
    # the smallest one has a tick
    display = DistillationDisplay(frame=frame).plot()
    smallest = frame.loc[frame["model"] == "distilled", "compact_bytes"].mean()
    assert f"{smallest:,.0f}" in [tick.get_text() for tick in display.ax_[0].get_xticklabels()]


def test_axes_may_be_none_one_or_two(ax):
    display = DistillationDisplay(frame=frame_of())
    assert display.plot() is display
    first, second = display.ax_
    assert first.get_shared_y_axes().joined(first, second)
    (legend,) = display.figure_.legends
    assert [text.get_text() for text in legend.get_texts()] == LABELS
    display.figure_.canvas.draw()
    # the legend is above the panels
    assert legend.get_window_extent().y0 >= first.get_window_extent().y1
    one = display.plot(ax)
    assert len(one.ax_) == 2
    assert one.figure_ is ax.figure
    assert not ax.axison
    figure_ = figure.Figure()
    with pytest.raises(ValueError, match="ax must be one Axes or two, got 3"):
        display.plot(figure_.subplots(3))
    with pytest.raises(ValueError, match="no place in a grid"):
        display.plot(figure_.add_axes((0, 0, 1, 1)))


def test_errorbar_options_a_single_fold_and_absent_models(axes):
    frame = frame_of(n_folds=1)
    frame = frame[frame["model"] != "teacher"]
    options = {"marker": "x", "color": "red"}
    display = DistillationDisplay(frame=frame).plot(axes, errorbar_kw=options)
    assert [each.get_label() for each in display.errorbar_] == LABELS[1:] * 2
    assert {each[0].get_marker() for each in display.errorbar_} == {"x"}
    assert not any(each.has_yerr for each in display.errorbar_)


def test_display_of_an_estimator_is_that_of_its_report(axes):
    X, y = table()
    cv = StratifiedKFold(2)
    model = distilled(alpha=1.0, cv="in-sample")
    weight = np.linspace(1, 2, len(y))
    options = {"cv": cv, "n_latency": 2, "random_state": 3, "sample_weight": weight}
    display = DistillationDisplay.from_estimator(
        model, X, y, ax=axes, score_name="fidelity", **options
    )
    report = distillation_report(None, None, X, y, distiller=model, n_seeds=1, **options)
    same = [column for column in report.frame if column not in SPEED]
    assert_frame_equal(display.frame[same], report.frame[same])
    assert axes[0].get_ylabel() == "Fidelity (higher is better)"
    assert not hasattr(model, "classes_")
    drawn = report.plot(figure.Figure().subplots(1, 2))
    assert isinstance(drawn, DistillationDisplay)
    assert drawn.frame is report.frame
    assert drawn.ax_[0].get_ylabel() == "Log loss (lower is better)"
    drawn = report.plot(figure.Figure().subplots(1, 2), score_name="roc_auc")
    assert drawn.ax_[0].get_ylabel() == "ROC AUC (higher is better)"


def test_distillation_displays_that_are_none(axes, monkeypatch):
    X, y = table()
    with pytest.raises(TypeError, match="estimator must be a DistilledClassifier"):
        DistillationDisplay.from_estimator(GaussianNB(), X, y, ax=axes)
    with pytest.raises(ValueError, match="score_name must be one of"):
        DistillationDisplay.from_estimator(distilled(), X, y, ax=axes, score_name="f1")
    with pytest.raises(ValueError, match="lacks the columns \\['bytes', 'f1'\\]"):
        DistillationDisplay(frame=frame_of().drop(columns="bytes")).plot(axes, score_name="f1")
    with pytest.raises(ValueError, match="no line of a model"):
        DistillationDisplay(frame=frame_of()[:0]).plot(axes)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match="DistillationDisplay draws with matplotlib"):
        DistillationDisplay.from_estimator("never looked at", X, y)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_fidelity_of_a_fitted_model(ax, n_classes):
    X, y = table(n_classes)
    model = distilled(random_state=0).fit(X[::2], y[::2])
    held_out, truth = X[1::2], y[1::2]
    weight = np.linspace(0.5, 2, len(truth))
    display = FidelityDisplay.from_estimator(
        model, held_out, truth, sample_weight=weight, n_bins=5, ax=ax
    )
    P, Q = model.teacher_.predict_proba(held_out), model.predict_proba(held_out)
    frame = display.frame
    assert list(frame) == [
        "top_class",
        "teacher",
        "student",
        "student_class",
        "distance",
        "weight",
        "label",
    ]
    assert_array_equal(frame["top_class"], model.teacher_.predict(held_out))
    assert_array_equal(frame["student_class"], model.predict(held_out))
    assert_allclose(frame["teacher"], P.max(axis=1))
    assert_allclose(frame["student"], [q[p.argmax()] for p, q in zip(P, Q, strict=True)])
    assert_allclose(frame["distance"], np.abs(P - Q).sum(axis=1) / 2, atol=1e-15)
    assert_array_equal(frame["label"], truth)
    agrees = agreement_score(frame["top_class"], frame["student_class"], sample_weight=weight)
    fidelity = fidelity_score(P, Q, sample_weight=weight)
    rights = [
        accuracy_score(truth, each.predict(held_out), sample_weight=weight)
        for each in (model.teacher_, model)
    ]
    title = f"agreement {agrees:.3f}, fidelity {fidelity:.3f}\n"
    title += "accuracy: teacher {:.3f}, student {:.3f}".format(*rights)
    assert ax.get_title() == title
    # without labels
    display = FidelityDisplay.from_estimator(model, held_out, ax=ax)
    assert "label" not in display.frame
    assert "accuracy" not in ax.get_title()


def test_bins_are_means_of_their_rows(ax):
    rng = np.random.RandomState(0)
    P, Q = rng.dirichlet([1, 1, 1], size=(2, 200))
    P[0], P[1] = [0.5, 0.25, 0.25], [0.75, 0.25, 0.0]  # on an edge: the bin below
    weight = rng.uniform(size=200)
    display = FidelityDisplay.from_predictions(P, Q, sample_weight=weight, n_bins=4, ax=ax)
    assert_array_equal(display.frame["top_class"], P.argmax(axis=1))
    top, same = P.max(axis=1), P.argmax(axis=1) == Q.argmax(axis=1)
    bins = display.bins_
    assert_array_equal(bins["lower"], [0.25, 0.5, 0.75])
    assert bins["n_rows"].sum() == 200
    student = Q[np.arange(200), P.argmax(axis=1)]
    for line in bins.itertuples():
        own = (top > line.lower) & (top <= line.upper)
        assert line.n_rows == own.sum()
        for name, values in (("teacher", top), ("student", student), ("agreement", same)):
            assert_allclose(getattr(line, name), np.average(values[own], weights=weight[own]))
    diagonal, mean, share = display.lines_
    assert_allclose(diagonal.get_xydata(), [[0, 0], [1, 1]])
    assert_allclose(mean.get_xydata(), bins[["teacher", "student"]])
    assert_allclose(share.get_xydata(), bins[["teacher", "agreement"]])
    agree, differ = display.points_
    assert_allclose(agree.get_offsets(), np.c_[top, student][same])
    assert_allclose(differ.get_offsets(), np.c_[top, student][~same])
    # again, in other bins
    again = FidelityDisplay(frame=display.frame).plot(
        ax, n_bins=1, line_kw={"color": "red"}, scatter_kw={"s": 3}
    )
    assert len(again.bins_) == 1
    assert again.lines_[1].get_color() == "red"
    assert again.points_[0].get_sizes() == [3]
    # rows of weight zero fill no bin
    only = FidelityDisplay.from_predictions(P[:2], Q[:2], sample_weight=[1, 0], n_bins=4, ax=ax)
    assert only.bins_["upper"].tolist() == [0.5]


def test_a_copy_agrees_and_the_legend_is_off_the_points():
    P = np.random.RandomState(0).dirichlet([1, 1], size=50)
    display = FidelityDisplay.from_predictions(P, P)
    assert len(display.points_) == 1
    assert display.ax_.get_title() == "agreement 1.000, fidelity 1.000"
    (legend,) = display.figure_.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == [
        "same class",
        "student = teacher",
        "bins: mean",
        "bins: share of the same class",
    ]
    display.figure_.canvas.draw()
    assert legend.get_window_extent().y1 <= display.ax_.get_window_extent().y0


def test_classes_of_a_frozen_teacher_and_of_frames(ax):
    X, y = table()
    teacher = GaussianNB().fit(X, y)
    rows = np.flatnonzero(y != "ant")
    model = distilled(LogisticRegression(), FrozenEstimator(teacher)).fit(X[rows], y[rows])
    display = FidelityDisplay.from_estimator(model, X, ax=ax)
    assert_array_equal(display.frame["top_class"], teacher.predict(X))
    P = pd.DataFrame(teacher.predict_proba(X), columns=teacher.classes_)
    display = FidelityDisplay.from_predictions(P, P, ax=ax)
    assert_array_equal(display.frame["student_class"], teacher.predict(X))


def test_fidelity_displays_that_are_none(ax):
    X, y = table()
    model = distilled().fit(X, y)
    with pytest.raises(ValueError, match=r"no teacher_ to compare with: without_teacher\(\) has"):
        FidelityDisplay.from_estimator(model.without_teacher(), X, ax=ax)
    given = distilled().fit(X, y, soft_targets=GaussianNB().fit(X, y).predict_proba(X))
    with pytest.raises(ValueError, match="soft_targets took its place in fit"):
        FidelityDisplay.from_estimator(given, X, ax=ax)
    with pytest.raises(NotFittedError):
        FidelityDisplay.from_estimator(distilled(), X, ax=ax)
    with pytest.raises(
        TypeError,
        match="must be a DistilledClassifier or a DistilledRegressor, an instance; got Pipeline",
    ):
        FidelityDisplay.from_estimator(make_pipeline(model), X, ax=ax)
    with pytest.raises(TypeError, match="the teacher DecisionOnly has no predict_proba"):
        FidelityDisplay.from_estimator(distilled(teacher=DecisionOnly()).fit(X, y), X, ax=ax)
    with pytest.raises(TypeError, match="the student RidgeClassifier has no predict_proba"):
        FidelityDisplay.from_estimator(distilled(RidgeClassifier()).fit(X, y), X, ax=ax)
    P = np.full((4, 2), 0.5)
    with pytest.raises(ValueError, match="must have the same rows and classes"):
        FidelityDisplay.from_predictions(P, P[:3], ax=ax)
    with pytest.raises(ValueError, match="must name 2 columns, got 3 labels"):
        FidelityDisplay.from_predictions(P, P, classes=[1, 2, 3], ax=ax)
    with pytest.raises(ValueError, match=r"classes must differ, got \[1, 1\]"):
        FidelityDisplay.from_predictions(P, P, classes=[1, 1], ax=ax)
    with pytest.raises(ValueError, match=r"y has the labels \[2, 5\], which no column has"):
        FidelityDisplay.from_predictions(P, P, [0, 5, 2, 1], ax=ax)
    with pytest.raises(ValueError, match="inconsistent numbers"):
        FidelityDisplay.from_predictions(P, P, [0, 1], ax=ax)
    with pytest.raises(ValueError, match="n_bins"):
        FidelityDisplay.from_predictions(P, P, n_bins=0, ax=ax)
    display = FidelityDisplay.from_predictions(P, P, ax=ax)
    with pytest.raises(ValueError, match="lacks the columns \\['distance'\\]"):
        FidelityDisplay(frame=display.frame.drop(columns="distance")).plot(ax)
    with pytest.raises(ValueError, match="no line"):
        FidelityDisplay(frame=display.frame[:0]).plot(ax)


class Silent(GaussianNB):
    """A teacher that must not predict."""

    def predict_proba(self, X):
        pytest.fail("the teacher has predicted")


@pytest.mark.parametrize(
    ("student", "n_labels", "message"),
    [
        (RidgeClassifier(), 300, "the student RidgeClassifier has no predict_proba"),
        (GaussianNB(), 299, "inconsistent numbers of samples"),
    ],
)
def test_a_fidelity_display_is_refused_before_the_teacher_predicts(student, n_labels, message):
    X, y = table(n=300)
    model = distilled(student, alpha=0.5, temperature=1.0, augmentation=None).fit(X, y)
    model.teacher_ = Silent()
    with pytest.raises((TypeError, ValueError), match=message):
        FidelityDisplay.from_estimator(model, X, y[:n_labels])

"""DeferralDisplay: its curve against predictions row by row, the choice of a threshold, errors."""

import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib import figure
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import accuracy_score, log_loss, recall_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline

from sklearn_kd import DistilledClassifier
from sklearn_kd.inspection import DeferralDisplay
from tests._helpers.data import blobs


@pytest.fixture
def ax():
    return figure.Figure().subplots()


def probabilities(n=60, n_classes=3, seed=0):
    """Return probabilities of a teacher and of a student, labels and weights, some of them zero."""
    rng = np.random.RandomState(seed)
    P, Q = rng.dirichlet(np.ones(n_classes), size=(2, n)).round(2)
    P[:, -1], Q[:, -1] = 1 - P[:, :-1].sum(axis=1), 1 - Q[:, :-1].sum(axis=1)
    y = np.where(rng.rand(n) < 0.5, P.argmax(axis=1), rng.randint(0, n_classes, n))
    return np.abs(P), np.abs(Q), y, rng.randint(0, 3, n).astype(float)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_each_line_is_what_a_threshold_gives(ax, n_classes, is_weighted):
    P, Q, y, weight = probabilities(n_classes=n_classes)
    weight = weight if is_weighted else None
    labels = np.array(["ant", "bee", "cow"])[:n_classes]
    options = {"classes": labels, "sample_weight": weight, "ax": ax}
    frame = DeferralDisplay.from_predictions(P, Q, labels[y], **options).frame
    known = Q if weight is None else Q[weight > 0]
    assert len(frame) == 1 + len(np.unique(known.max(axis=1)))
    for line in frame.itertuples():
        deferred = Q.max(axis=1) < line.threshold
        both = np.where(deferred[:, None], P, Q)
        predicted = both.argmax(axis=1)
        assert_allclose(line.deferred, np.average(deferred, weights=weight), atol=1e-15)
        options = {"sample_weight": weight}
        assert_allclose(line.accuracy, accuracy_score(y, predicted, **options))
        recall = recall_score(y, predicted, average="macro", **options)
        assert_allclose(line.balanced_accuracy, recall)
        assert_allclose(line.log_loss, log_loss(y, both, labels=range(n_classes), **options))
    assert frame["threshold"].is_monotonic_increasing
    assert frame["deferred"].iloc[[0, -1]].tolist() == [0.0, 1.0]
    assert frame["threshold"].iloc[[0, -1]].tolist() == [0.0, np.inf]


def test_adjacent_confidences_have_a_threshold_between(ax):
    top = np.array([0.75, np.nextafter(0.75, 1), np.nextafter(np.nextafter(0.75, 1), 1)])
    Q = np.column_stack([top, 1 - top])
    frame = DeferralDisplay.from_predictions(Q, Q, [0, 0, 0], ax=ax).frame
    found = [(top < threshold).sum() for threshold in frame["threshold"]]
    assert found == [0, 1, 2, 3]


def test_a_weight_is_a_number_of_copies_and_zero_is_absence(ax):
    P, Q, y, weight = probabilities()
    copies = np.repeat(np.arange(len(y)), weight.astype(int))
    weighted = DeferralDisplay.from_predictions(P, Q, y, sample_weight=weight, ax=ax).frame
    repeated = DeferralDisplay.from_predictions(P[copies], Q[copies], y[copies], ax=ax).frame
    assert_frame_equal(weighted, repeated, atol=1e-12)


def distilled(student=None, teacher=None):
    return DistilledClassifier(
        GaussianNB() if teacher is None else teacher,
        LogisticRegression(C=0.01) if student is None else student,
        alpha=1.0, temperature=1.0, augmentation=None, random_state=0,
    )  # fmt: skip


def test_a_fitted_model(ax):
    X, y = blobs(n_classes=3)
    model = distilled().fit(X[::2], y[::2])
    P, Q = model.teacher_.predict_proba(X[1::2]), model.predict_proba(X[1::2])
    weight = np.linspace(1, 2, len(P))
    options = {"sample_weight": weight, "costs": (1.0, 9.0), "ax": ax}
    display = DeferralDisplay.from_estimator(model, X[1::2], y[1::2], **options)
    same = DeferralDisplay.from_predictions(P, Q, y[1::2], classes=model.classes_, **options)
    assert_frame_equal(display.frame, same.frame)
    assert display.costs == (1.0, 9.0)
    frames = [pd.DataFrame(proba, columns=model.classes_) for proba in (P, Q)]
    unweighted = DeferralDisplay.from_predictions(*frames, pd.Series(y[1::2]), ax=ax)
    alone = [accuracy_score(y[1::2], each.predict(X[1::2])) for each in (model, model.teacher_)]
    assert_allclose(unweighted.frame["accuracy"].iloc[[0, -1]], alone)


def test_what_is_drawn(ax):
    P, Q, y, _ = probabilities()
    display = DeferralDisplay.from_predictions(
        P, Q, y, costs=(2.0, 10.0), threshold=0.6, line_kw={"color": "red"}, ax=ax
    )
    frame = display.frame
    curve, at_random, student, teacher, mark = display.lines_
    assert curve.get_color() == "red"
    assert_array_equal(curve.get_xydata(), frame[["deferred", "accuracy"]])
    assert_array_equal(at_random.get_xydata(), frame[["deferred", "accuracy"]].iloc[[0, -1]])
    assert {*student.get_ydata(), *teacher.get_ydata()} == {*frame["accuracy"].iloc[[0, -1]]}
    deferred = (Q.max(axis=1) < 0.6).mean()
    assert abs(mark.get_xdata()[0] - deferred) <= 1 / len(y) + 1e-9
    assert f"{mark.get_xdata()[0]:.1%} deferred" in mark.get_label()
    assert ax.get_ylabel() == "Accuracy (higher is better)"
    ax.figure.draw_without_rendering()
    shares = np.array(ax.get_xlim())
    assert_allclose(display.cost_ax_.get_xlim(), 2 + 10 * shares)
    again = DeferralDisplay(frame=frame).plot(ax, score_name="log_loss")
    assert again.cost_ax_ is None
    assert len(again.lines_) == 4
    assert ax.get_ylabel() == "Log loss (lower is better)"
    assert_array_equal(again.lines_[0].get_ydata(), frame["log_loss"])


def test_the_legend_of_a_new_figure_is_below_it():
    P, Q, y, _ = probabilities()
    display = DeferralDisplay.from_predictions(P, Q, y, costs=(1, 2))
    display.figure_.canvas.draw()
    (legend,) = display.figure_.legends
    assert legend.get_window_extent().y1 <= display.ax_.get_window_extent().y0


def frame_of(**columns):
    return pd.DataFrame(
        {
            "threshold": [0.0, 0.5, 0.7, 0.9, np.inf],
            "deferred": [0.0, 0.1, 0.3, 0.6, 1.0],
            "accuracy": [0.80, 0.84, 0.90, 0.90, 0.88],
            "log_loss": [0.5, 0.4, 0.3, 0.2, 0.4],
            **columns,
        }
    )


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        ({"min_score": 0.85}, 2),
        ({"min_score": 0.1}, 0),
        ({"min_score": 0.84, "max_deferred": 0.1}, 1),
        ({"max_deferred": 0.2}, 1),
        ({"max_deferred": 1.0}, 2),  # of equal scores the one of fewer rows
        ({"max_deferred": 0}, 0),
        ({"min_score": 0.3, "score_name": "log_loss"}, 2),
        ({"max_deferred": 0.7, "score_name": "log_loss"}, 3),
    ],
)
def test_choice_of_a_threshold(wanted, line):
    frame = frame_of()
    found = DeferralDisplay(frame=frame).choose_threshold(**wanted)
    assert found.to_dict() == frame.iloc[line].to_dict()


@pytest.mark.parametrize(
    ("wanted", "match"),
    [
        ({}, "pass min_score, max_deferred or both"),
        ({"min_score": 0.95}, r"no threshold has the accuracy 0\.95: the best is 0\.9,"),
        ({"min_score": 0.85, "max_deferred": 0.2}, r"at most 0\.2 .*the best is 0\.84, where 0\.1"),
        ({"min_score": 0.1, "score_name": "log_loss"}, r"log_loss 0\.1: the best is 0\.2"),
        ({"max_deferred": 1.5}, "max_deferred"),
        ({"max_deferred": 0.5, "score_name": "roc_auc"}, "score_name must be one of"),
        ({"max_deferred": 0.5, "score_name": "balanced_accuracy"}, "lacks the columns"),
    ],
)
def test_thresholds_that_do_not_exist_are_errors(wanted, match):
    with pytest.raises(ValueError, match=match):
        DeferralDisplay(frame=frame_of()).choose_threshold(**wanted)


def test_invalid_inputs_are_errors(ax):
    X, y = blobs(n_classes=3)
    model = distilled().fit(X, y)
    for wrong, match in (
        ({"costs": (1.0,)}, "costs must be the cost of a row"),
        ({"costs": (1.0, 0.0)}, "costs must be the cost of a row"),
        ({"score_name": "f1"}, "score_name must be one of"),
        ({"sample_weight": np.zeros(len(y))}, "no row has a positive weight|zero"),
    ):
        with pytest.raises(ValueError, match=match):
            DeferralDisplay.from_estimator(model, X, y, ax=ax, **wrong)
    with pytest.raises(ValueError, match=r"both to DeferralDisplay\.from_predictions"):
        DeferralDisplay.from_estimator(model.without_teacher(), X, y, ax=ax)
    with pytest.raises(NotFittedError):
        DeferralDisplay.from_estimator(distilled(), X, y, ax=ax)
    with pytest.raises(TypeError, match="must be a DistilledClassifier"):
        DeferralDisplay.from_estimator(make_pipeline(model), X, y, ax=ax)
    with pytest.raises(TypeError, match="the student RidgeClassifier has no predict_proba"):
        DeferralDisplay.from_estimator(distilled(RidgeClassifier()).fit(X, y), X, y, ax=ax)
    P = np.full((4, 2), 0.5)
    with pytest.raises(ValueError, match="must have the same rows and classes"):
        DeferralDisplay.from_predictions(P, P[:3], [0, 1, 0, 1], ax=ax)
    with pytest.raises(ValueError, match="must name 2 columns, got 3 labels"):
        DeferralDisplay.from_predictions(P, P, [0, 1, 0, 1], classes=[1, 2, 3], ax=ax)
    with pytest.raises(ValueError, match=r"classes must differ, got \[1, 1\]"):
        DeferralDisplay.from_predictions(P, P, [1, 1, 1, 1], classes=[1, 1], ax=ax)
    with pytest.raises(ValueError, match=r"y has the labels \[2, 5\], which no column has"):
        DeferralDisplay.from_predictions(P, P, [0, 5, 2, 1], ax=ax)
    with pytest.raises(ValueError, match="inconsistent numbers"):
        DeferralDisplay.from_predictions(P, P, [0, 1], ax=ax)
    with pytest.raises(ValueError, match="no line"):
        DeferralDisplay(frame=frame_of()[:0]).plot(ax)
    with pytest.raises(ValueError, match=r"lacks the columns \['balanced_accuracy'\]"):
        DeferralDisplay(frame=frame_of()).plot(ax, score_name="balanced_accuracy")


class Silent(GaussianNB):
    """A teacher that must not predict."""

    def predict_proba(self, X):
        pytest.fail("the teacher has predicted")


@pytest.mark.parametrize("wrong", [{"costs": 3}, {"score_name": "f1"}, {"threshold": "high"}])
def test_errors_come_before_the_teacher_predicts(wrong):
    X, y = blobs(n_classes=3)
    model = distilled().fit(X, y)
    model.teacher_ = Silent()
    with pytest.raises((TypeError, ValueError)):
        DeferralDisplay.from_estimator(model, X, y, **wrong)
    with pytest.raises(ValueError, match="inconsistent numbers"):
        DeferralDisplay.from_estimator(model, X, y[1:])


def test_without_matplotlib(monkeypatch):
    P, Q, y, _ = probabilities()
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match="DeferralDisplay draws with matplotlib"):
        DeferralDisplay.from_predictions(P, Q, y)

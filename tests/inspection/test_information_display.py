"""InformationDisplay against refits and theory.information_ratio, and the artists on its frame."""

import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

from sklearn_kd import ModuleClassifier, SelfDistillClassifier, TwoLayerPGDClassifier, inspection
from sklearn_kd.datasets._label_noise import add_label_noise
from sklearn_kd.inspection._information_display import InformationDisplay
from sklearn_kd.theory import information_ratio

figure = pytest.importorskip("matplotlib.figure")

#: Networks here are too short or do not move, to say when they are looked at.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.ClassCollapseWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.CleanLabelsWarning"),
]

COLUMNS = ["epoch", "weight", "given", "refined", "predicted", "gain"]


@pytest.fixture
def ax():
    return figure.Figure().subplots()


def table(n_classes=3, n=90):
    """Clusters of unit rows, labels with some wrong, and the clean ones."""
    rng = np.random.RandomState(0)
    clean = np.arange(n) % n_classes
    X = normalize(3 * np.eye(5)[clean] + rng.normal(size=(n, 5)))
    names = np.array(["ant", "bee", "cat"])[clean]
    return X, add_label_noise(names, 0.3, random_state=0).y, names


def network(**params):
    defaults = {"learning_rate": 0.5, "max_iter": 12, "n_init": 1, "early_stopping": False}
    params = {**defaults, "init": "symmetric", **params}
    return TwoLayerPGDClassifier(16, **params, encoder=None)


def distilled(own=None, **params):
    options = {"memory": None, "warm_up": 0, "schedule": "accuracy", "random_state": 0, **params}
    return SelfDistillClassifier(network() if own is None else own, **options)


def accuracy_after_the_first_step(step, accuracy, prior):
    """Return the paper's weight, but for logits whose signs are those of rounding errors."""
    return accuracy if step else 0.0


def one_hot(y):
    return (y[:, None] == np.unique(y)).astype(float)


def hardmax(decision):
    if decision.ndim == 1:
        positive = (np.sign(decision) + 1) / 2
        return np.c_[1 - positive, positive]
    largest = decision == decision.max(axis=1, keepdims=True)
    return largest / largest.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kernel", ["ntk-full", lambda A, B: (1 + A @ B.T) ** 2])
def test_ratios_are_those_of_refits_that_stop_there(n_classes, kernel, ax):
    X, y, clean = table(n_classes)
    model = distilled(schedule=accuracy_after_the_first_step)
    options = {"k": 4, "kernel": kernel}
    frame = InformationDisplay.from_estimator(model, X, y, y_clean=clean, ax=ax, **options).frame
    assert list(frame.columns) == [*COLUMNS, "clean"]
    assert_array_equal(frame["epoch"], np.arange(1, 13))
    given = information_ratio(X, one_hot(y), **options)
    assert_allclose(frame["given"], given, rtol=1e-10)
    assert_allclose(frame["given"], information_ratio(X, y, **options), rtol=1e-10)
    assert_allclose(frame["clean"], information_ratio(X, clean, **options), rtol=1e-10)
    gain = frame["refined"] - given
    assert_allclose(frame["gain"][1:], gain[1:], rtol=1e-12)
    assert_allclose([frame["gain"][0], gain[0]], 0, atol=1e-14)  # the labels as given
    assert np.isnan(frame["predicted"][0])  # the untrained network says the same of every row
    for epoch in range(2, 13):
        # targets of epoch t are made by the weights after t - 1 steps
        before = clone(model).set_params(estimator__max_iter=epoch - 1).fit(X, y)
        h = hardmax(before.decision_function(X))
        weight = (h * one_hot(y)).sum(axis=1).mean()
        refined = (1 - weight) * one_hot(y) + weight * h
        line = frame.iloc[epoch - 1]
        assert_allclose(line["weight"], weight, rtol=1e-10)
        assert_allclose(line["refined"], information_ratio(X, refined, **options), rtol=1e-9)
        proba = before.predict_proba(X)
        assert_allclose(line["predicted"], information_ratio(X, proba, **options), rtol=1e-6)
    assert frame["gain"].iloc[-1] > 0.1


def test_estimator_is_left_alone_and_a_fitted_one_is_cloned(ax):
    X, y, _ = table()
    model = distilled(warm_up=0.2).fit(X, y)
    before = dict(vars(model))
    fitted = InformationDisplay.from_estimator(model, X, y, ax=ax).frame
    assert vars(model) == before
    model = distilled(warm_up=0.2)
    anew = InformationDisplay.from_estimator(model, pd.DataFrame(X), pd.Series(y), ax=ax).frame
    pd.testing.assert_frame_equal(fitted, anew, rtol=1e-7)
    with pytest.warns(DataConversionWarning):
        column = InformationDisplay.from_estimator(model, X, y[:, None], ax=ax).frame
    pd.testing.assert_frame_equal(fitted, column, rtol=1e-7)
    model.fit(X, y)
    assert_allclose(fitted["weight"], model.weight_curve_, rtol=1e-12)


def standing(**params):
    """Return a network that hardly moves from a start which tells rows apart."""
    return network(init="standard", learning_rate=1e-9, **params)


@pytest.mark.parametrize("kind", ["two-layer", "module"])
def test_minibatches_record_each_row_once_an_epoch(kind, ax):
    X, y, _ = table()
    own = standing(batch_size=20, max_iter=4)
    if kind == "module":
        modules = pytest.importorskip("sklearn_kd.modules")
        own = ModuleClassifier(
            modules.MLP,
            module_params={"width": 8, "depth": 1},
            learning_rate=1e-9,
            max_epochs=4,
            batch_size=20,
            weight_decay=0.0,
            early_stopping=False,
        )
    model = distilled(own, schedule=lambda step, accuracy, prior: 0.2 * (step // 5))
    frame = InformationDisplay.from_estimator(model, X, y, every=2, ax=ax).frame
    assert frame["epoch"].tolist() == [1, 3]
    assert_allclose(frame["weight"], [0, 0.4], atol=1e-6)
    end = clone(model).fit(X, y)
    refined = 0.6 * one_hot(y) + 0.4 * hardmax(end.decision_function(X))
    assert_allclose(frame["gain"][0], 0, atol=1e-12)
    assert_allclose(frame["refined"][1], information_ratio(X, refined), rtol=1e-5)
    assert_allclose(frame["predicted"], information_ratio(X, end.predict_proba(X)), rtol=1e-5)


def test_of_networks_side_by_side_the_kept_one_is_shown(ax):
    X, y, _ = table()
    model = distilled(standing(max_iter=2))
    expected = []
    for n_init in (1, 4):
        model.set_params(estimator__n_init=n_init)
        frame = InformationDisplay.from_estimator(model, X, y, ax=ax).frame
        expected.append(information_ratio(X, clone(model).fit(X, y).predict_proba(X)))
        assert_allclose(frame["predicted"], expected[-1], rtol=1e-5)
    assert abs(np.diff(expected)) > 1e-3  # another one than the first


def test_rows_are_drawn_and_stay_in_order(ax):
    X, y, _ = table()
    seen = []

    def kernel(A, B):
        seen.append(A)
        return A @ B.T

    for seed in (1, 1, 2):
        frame = InformationDisplay.from_estimator(
            distilled(), X, y, n_rows=20, k=3, kernel=kernel, random_state=seed, ax=ax
        ).frame
        rows = [int(np.flatnonzero((row == X).all(axis=1))[0]) for row in seen[-1]]
        assert len(rows) == 20
        assert rows == sorted(set(rows))
        ratio = information_ratio(X[rows], one_hot(y[rows]), k=3, kernel=kernel)
        seen.pop()
        assert_allclose(frame["given"], ratio, rtol=1e-10)
        end = clone(distilled()).set_params(estimator__max_iter=11).fit(X, y)
        proba = end.predict_proba(X)[rows]
        ratio = information_ratio(X[rows], proba, k=3, kernel=kernel)
        seen.pop()
        assert_allclose(frame["predicted"].iloc[-1], ratio, rtol=1e-6)
    assert_array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[1], seen[2])


def test_early_stopping_in_full_batch_holds_no_row_out(ax):
    X, y, _ = table()
    own = network(early_stopping=True)
    frame = InformationDisplay.from_estimator(distilled(own), X, y, ax=ax).frame
    assert len(frame) >= 1
    own.set_params(batch_size=20)
    with pytest.raises(ValueError, match=r"rows are held out .* early_stopping=False"):
        InformationDisplay.from_estimator(distilled(own), X, y, ax=ax)


def test_artists_show_the_frame(ax):
    X, y, clean = table()
    display = InformationDisplay.from_estimator(distilled(), X, y, y_clean=clean, ax=ax)
    frame = display.frame
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    names = ["refined labels", "predictions", "given labels", "clean labels"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == names
    for line, column in zip(display.lines_, ["refined", "predicted"], strict=False):
        assert_array_equal(line.get_xdata(), frame["epoch"])
        assert_array_equal(line.get_ydata(), frame[column])
    assert_allclose(display.lines_[2].get_ydata(), frame["given"][0])
    assert_allclose(display.lines_[3].get_ydata(), frame["clean"][0])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Epoch", "Information ratio")

    other = figure.Figure().subplots()
    assert display.plot(other, quantity="gain", line_kw={"linewidth": 3}) is display
    assert display.ax_ is other
    assert other.get_ylabel() == "Information gain"
    gain, given, right = display.lines_
    assert gain.get_linewidth() == 3
    assert_array_equal(gain.get_ydata(), frame["gain"])
    assert_allclose(given.get_ydata(), 0, atol=1e-12)
    assert_allclose(right.get_ydata(), frame["clean"][0] - frame["given"][0])
    again = InformationDisplay(frame=frame[COLUMNS]).plot(figure.Figure().subplots())
    assert [line.get_label() for line in again.lines_] == names[:3]


def test_a_new_figure_is_made():
    X, y, _ = table()
    display = InformationDisplay.from_estimator(distilled(), X, y, quantity="gain")
    assert display.ax_ in display.figure_.axes
    first = display.figure_
    assert display.plot().figure_ is not first


def forbid_fits(monkeypatch):
    def fail(*args, **options):
        raise AssertionError("a fit has begun")

    for name in ("fit", "_fit"):
        monkeypatch.setattr(SelfDistillClassifier, name, fail)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k == 0"),
        ({"k": 91}, "k == 91"),
        ({"n_rows": 1}, "n_rows == 1"),
        ({"every": 0}, "every == 0"),
        ({"kernel": "rbf"}, "kernel must be one of"),
        ({"kernel": "precomputed"}, "pass a callable"),
        ({"quantity": "loss"}, "quantity must be one of"),
        ({"y_clean": ["ant"]}, "inconsistent numbers of samples"),
    ],
)
def test_wrong_options_are_errors_before_any_fit(options, message, ax, monkeypatch):
    forbid_fits(monkeypatch)
    X, y, _ = table()
    with pytest.raises(ValueError, match=message):
        InformationDisplay.from_estimator(distilled(), X, y, ax=ax, **options)


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (network(), TypeError, "got TwoLayerPGDClassifier"),
        (make_pipeline(StandardScaler(), distilled()), TypeError, "got Pipeline.* before"),
        (SelfDistillClassifier, TypeError, "an instance; got SelfDistillClassifier"),
        (distilled(memory="previous-generation"), ValueError, "set memory=None"),
        (SelfDistillClassifier(), ValueError, "set memory=None, and early_stopping=False"),
    ],
)
def test_wrong_estimators_are_errors_before_any_fit(model, error, message, ax, monkeypatch):
    forbid_fits(monkeypatch)
    X, y, _ = table()
    with pytest.raises(error, match=message):
        InformationDisplay.from_estimator(model, X, y, ax=ax)


def test_networks_that_cannot_be_corrected_are_refused_by_fit(ax):
    X, y, _ = table()
    with pytest.raises(TypeError, match="must be a TwoLayerPGDClassifier or a ModuleClassifier"):
        InformationDisplay.from_estimator(distilled(LogisticRegression()), X, y, ax=ax)


def test_equal_labels_have_no_information(ax):
    X, _, _ = table()
    same = np.where(np.arange(90) < 89, "ant", "bee")
    with pytest.raises(ValueError, match="labels of the 9 rows are all equal"):
        InformationDisplay.from_estimator(distilled(), X, same, n_rows=9, random_state=0, ax=ax)


def test_frames_that_are_none(ax):
    with pytest.raises(ValueError, match=r"lacks the columns \['gain'\]"):
        InformationDisplay(frame=pd.DataFrame(columns=COLUMNS[:5])).plot(ax)
    with pytest.raises(ValueError, match="no line"):
        InformationDisplay(frame=pd.DataFrame(columns=COLUMNS)).plot(ax)
    with pytest.raises(ValueError, match="quantity"):
        InformationDisplay(frame=pd.DataFrame(columns=COLUMNS)).plot(ax, quantity="both")


def test_without_matplotlib_the_error_comes_first_and_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"InformationDisplay .* \"sklearn-kd\[plot\]\""):
        inspection.InformationDisplay.from_estimator(None, None, None)

"""LabelErrorDisplay: pages of the most suspicious labels, as images and as a table."""

import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from scipy.sparse import csr_array
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sklearn_kd import ModuleClassifier, SelfDistillClassifier, TwoLayerPGDClassifier
from sklearn_kd.inspection import LabelErrorDisplay
from tests._helpers.modules import Small

figure = pytest.importorskip("matplotlib.figure")

IMAGES, DIGITS = (values[:60] for values in load_digits(return_X_y=True))
SHAPE = (1, 8, 8)
ERRORS = ["row", "given_label", "suggested_label", "label_quality"]


@pytest.fixture
def ax():
    return figure.Figure().subplots()


def ranking(n=60, index=None):
    """A ranking of rows as of find_label_errors, without any fit."""
    row = np.random.RandomState(0).permutation(n)
    given = DIGITS[row % 60]
    columns = (row, given, (given + 1) % 10, np.linspace(0.001, 1, n))
    frame = pd.DataFrame(dict(zip(ERRORS, columns, strict=True)))
    return frame if index is None else frame.set_axis(index[row])


def model(**params):
    network = TwoLayerPGDClassifier(4, max_iter=3, n_init=1, encoder=None)
    return SelfDistillClassifier(network, random_state=0, **params)


def cells_of(display):
    """Return the texts of the table that was drawn, line by line."""
    (drawn,) = display.axes_[0].tables
    cells = drawn.get_celld()
    n_lines, n_columns = (max(place[axis] for place in cells) + 1 for axis in (0, 1))
    return [[cells[i, j].get_text().get_text() for j in range(n_columns)] for i in range(n_lines)]


@pytest.mark.parametrize(("n_rows", "start", "n_shown"), [(20, 0, 20), (7, 21, 7), (20, 50, 10)])
def test_images_have_the_pixels_and_the_labels_of_their_rows(n_rows, start, n_shown, ax):
    errors = ranking()
    display = LabelErrorDisplay.from_errors(
        errors, IMAGES, image_shape=SHAPE, n_rows=n_rows, start=start, ax=ax
    )
    assert len(display.axes_) == n_shown
    assert display.figure_ is ax.figure
    assert f"Labels {start + 1} to {start + n_shown} of 60" in ax.get_title()
    shown = IMAGES[errors["row"][start : start + n_shown]]
    for own, (_, line) in zip(display.axes_, errors[start:].iterrows(), strict=False):
        (image,) = own.images
        pixels = IMAGES[int(line["row"])].reshape(8, 8)
        expected = (pixels - shown.min()) / (shown.max() - shown.min())
        assert_allclose(image.get_array(), expected)
        assert image.get_clim() == (0, 1)
        title = own.get_title()
        for text in (
            f"row {int(line['row'])}",
            f"given {int(line['given_label'])}",
            f"suggested {int(line['suggested_label'])}",
            f"quality {line['label_quality']:.2g}",
        ):
            assert text in title.splitlines()


def test_colors_are_the_last_axis_of_an_image(ax):
    rows = np.random.RandomState(0).uniform(size=(3, 12))
    display = LabelErrorDisplay.from_errors(ranking(3), rows, image_shape=(3, 2, 2), ax=ax)
    shown = display.axes_[1].images[0].get_array()
    row = rows[display.frame["row"][1]].reshape(3, 2, 2)
    assert_allclose(shown, (row.transpose(1, 2, 0) - rows.min()) / (rows.max() - rows.min()))


def test_an_image_without_contrast_is_drawn(ax):
    LabelErrorDisplay.from_errors(ranking(2), np.ones((2, 4)), image_shape=(1, 2, 2), ax=ax)


@pytest.mark.parametrize("kind", ["pandas", "polars", "array", "sparse", "list"])
def test_a_table_has_the_cells_of_its_rows(kind, ax):
    numbers = np.random.RandomState(0).normal(size=(9, 3))
    frame = pd.DataFrame(numbers, columns=["row", "b", "c"])
    if kind in ("pandas", "polars"):
        frame["d"] = ["several words\nthat are longer than a cell"] * 9
    index = np.array([f"patient {k}" for k in range(9)]) if kind == "pandas" else None
    X = {
        "pandas": lambda: frame if index is None else frame.set_axis(index),
        "polars": lambda: pl.DataFrame(frame.to_dict("list")),
        "array": lambda: numbers,
        "sparse": lambda: csr_array(numbers),
        "list": numbers.tolist,
    }[kind]()
    errors = ranking(9, index)[ERRORS[::-1]].assign(more=0.5)
    display = LabelErrorDisplay.from_errors(errors, X, n_rows=4, start=2, ax=ax)
    page = display.page(n_rows=4, start=2)
    assert_frame_equal(page.iloc[:, :4], errors[ERRORS][2:6], check_column_type=False)
    row = errors["row"][2:6]
    assert_allclose(page.iloc[:, 4:7].to_numpy(dtype=float), numbers[row])
    names = ["row", "b", "c", "d"] if kind in ("pandas", "polars") else [0, 1, 2]
    assert page.columns[4:].tolist() == names
    heads, *lines = cells_of(display)
    assert heads == ["row", "given", "suggested", "quality", *map(str, names)]
    assert len(lines) == 4
    for line, own in zip(lines, page.itertuples(), strict=True):
        name = own.Index if kind == "pandas" else own.row
        assert line[:3] == [str(name), str(own.given_label), str(own.suggested_label)]
        assert line[3:7] == [f"{value:.3g}" for value in own[4:8]]
        assert kind not in ("pandas", "polars") or line[7] == "several words that ar..."
    if kind == "pandas":
        assert_array_equal(page.index, index[row])


def test_a_wide_table_shows_eight_columns_or_those_that_are_named(ax):
    errors = ranking()
    display = LabelErrorDisplay.from_errors(errors, IMAGES, n_rows=3, ax=ax)
    assert cells_of(display)[0][4:] == [str(k) for k in range(8)]
    assert ax.get_title().endswith("most suspicious first, 8 of 64 columns")
    assert display.page().shape == (20, 4 + 64)
    ax.clear()
    display.plot(ax, n_rows=3, columns=[20, 3])
    assert cells_of(display)[0][4:] == ["20", "3"]
    assert ax.get_title().endswith("most suspicious first")
    assert display.page(columns=[20, 3]).columns[4:].tolist() == [20, 3]


def test_whole_and_large_numbers_have_no_exponent(ax):
    X = np.array([[31000.0, 1234.6, 12.345, np.nan, 1e12]])
    display = LabelErrorDisplay.from_errors(ranking(1), X, ax=ax)
    assert cells_of(display)[1][4:] == ["31000", "1235", "12.3", "nan", "1e+12"]


def test_texts_are_a_table_of_one_column(ax):
    texts = [f"text {k}" for k in range(5)]
    display = LabelErrorDisplay.from_errors(ranking(5), texts, ax=ax)
    assert [line[4] for line in cells_of(display)[1:]] == [texts[k] for k in display.frame["row"]]


@pytest.mark.parametrize("image_shape", [None, (1, 2, 2)])
def test_dollar_signs_are_no_formulas(image_shape, ax):
    errors = ranking(4).assign(given_label="from $5 to $6", suggested_label=r"$\frac and $")
    X = csr_array(np.arange(16.0).reshape(4, 4))
    display = LabelErrorDisplay.from_errors(errors, X, image_shape=image_shape, ax=ax)
    display.figure_.canvas.draw()
    shown = display.axes_[0].get_title() if image_shape else " ".join(cells_of(display)[1])
    assert "from $5 to $6" in shown


def test_the_estimator_ranks_the_labels(ax):
    groups = np.arange(60) // 2
    options = {"cv": 2, "groups": groups, "sample_weight": np.linspace(1, 2, 60)}
    display = LabelErrorDisplay.from_estimator(
        model(), IMAGES, DIGITS, **options, image_shape=SHAPE, n_rows=5, start=5, ax=ax
    )
    assert_frame_equal(display.frame, model().find_label_errors(IMAGES, DIGITS, **options))
    assert "Labels 6 to 10 of 60" in ax.get_title()
    ax.clear()
    assert len(display.plot(ax, n_rows=3, start=10).axes_) == 3  # the next page


def test_the_shape_of_images_is_that_of_the_module(ax):
    network = ModuleClassifier(Small, max_epochs=1, image_shape=SHAPE)
    own = SelfDistillClassifier(network, random_state=0)
    display = LabelErrorDisplay.from_estimator(own, IMAGES, DIGITS, cv=2, n_rows=2, ax=ax)
    assert display.image_shape == SHAPE
    assert display.axes_[0].images


def test_without_an_axes_there_is_a_new_figure():
    for options in ({"image_shape": SHAPE}, {}):
        display = LabelErrorDisplay.from_errors(ranking(), IMAGES, **options)
        display.figure_.draw_without_rendering()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 60}, "start=60 is behind the last of 60 rows"),
        ({"start": -1}, "start"),
        ({"n_rows": 0}, "n_rows"),
        ({"image_shape": (8, 8)}, "channels, height, width"),
        ({"image_shape": (2, 8, 4)}, "one channel, or three"),
        ({"image_shape": (1, 7, 8)}, "has 64 values, and an image of .* has 56"),
        ({"image_shape": SHAPE, "columns": [0]}, "images have no columns"),
        ({"columns": [3, 64]}, r"X has no columns \[64\]"),
    ],
)
def test_options_that_fit_nothing(options, message, ax):
    with pytest.raises(ValueError, match=message):
        LabelErrorDisplay.from_errors(ranking(), IMAGES, **options, ax=ax)


def test_errors_come_before_the_fits(monkeypatch, ax):
    monkeypatch.setattr(SelfDistillClassifier, "fit", lambda *_, **__: pytest.fail("fitted"))
    for options in (
        {"start": 60},
        {"image_shape": (1, 2, 2)},
        {"columns": ["none"]},
        {"image_shape": SHAPE, "columns": [1]},
    ):
        with pytest.raises(ValueError, match=next(reversed(options))):
            LabelErrorDisplay.from_estimator(model(), IMAGES, DIGITS, **options, ax=ax)
    with pytest.raises(TypeError, match=r"ranks labels by a SelfDistillClassifier.*from_errors"):
        LabelErrorDisplay.from_estimator(make_pipeline(model()), IMAGES, DIGITS, ax=ax)
    with pytest.raises(TypeError, match="ranks labels by a SelfDistillClassifier"):
        LabelErrorDisplay.from_estimator(LogisticRegression(), IMAGES, DIGITS, ax=ax)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match="LabelErrorDisplay draws with matplotlib"):
        LabelErrorDisplay.from_estimator(model(), IMAGES, DIGITS)


def test_frames_and_rows_that_do_not_belong_together(ax):
    with pytest.raises(ValueError, match="lacks the columns"):
        LabelErrorDisplay(frame=ranking()[["row"]], X=IMAGES).plot(ax)
    with pytest.raises(ValueError, match="has row 59, and X has 50 rows"):
        LabelErrorDisplay.from_errors(ranking(), IMAGES[:50], n_rows=60, ax=ax)
    with pytest.raises(ValueError, match="no lines of a table: pass image_shape"):
        LabelErrorDisplay.from_errors(ranking(), IMAGES.reshape(60, 8, 8), ax=ax)
    alone = figure.Figure().add_axes((0, 0, 1, 1))
    with pytest.raises(ValueError, match="not part of a grid"):
        LabelErrorDisplay.from_errors(ranking(), IMAGES, image_shape=SHAPE, ax=alone)

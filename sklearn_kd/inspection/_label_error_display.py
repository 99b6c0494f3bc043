"""Private implementation of :class:`sklearn_kd.inspection.LabelErrorDisplay`."""

import math
from numbers import Integral

import numpy as np
from sklearn.utils import check_scalar

from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.containers import as_pandas, is_dataframe
from sklearn_kd._utils.sklearn_compat import num_samples, safe_indexing
from sklearn_kd.inspection._plotting import check_columns, pyplot

COLUMNS = ["row", "given_label", "suggested_label", "label_quality"]
#: Number of columns of X that a table shows if none are named.
N_COLUMNS = 8
#: Characters of a cell of the table. Longer texts are shortened.
CELL_WIDTH = 24
#: Inches of an image with its title, and of a line and a cell of a table, in a new figure.
IMAGE_SIZE, LINE_HEIGHT, WIDTH_OF_CELL = (1.4, 1.75), 0.24, 1.0


class LabelErrorDisplay:
    """The rows with the most suspicious labels, as images or as a table, page by page.

    Each row is shown with its position in X, or its index if X is a DataFrame of pandas, its given
    label, the label that the model suggests, and the quality of the given label. Rows are in the
    order of :meth:`~sklearn_kd.SelfDistillClassifier.find_label_errors`, the most suspicious first.
    A page has ``n_rows`` of them, and ``plot(start=20)`` shows the next one without any further
    fit.

    Use :meth:`from_estimator` or :meth:`from_errors` to create a display. The constructor takes the
    frame of an existing display.

    Parameters
    ----------
    frame : DataFrame of shape (n_samples, 4)
        The result of ``find_label_errors``, or some of its lines. Further columns have no effect.
    X : array-like or dataframe of shape (n_samples, n_features)
        The rows, in the order to which the column ``row`` of the frame refers. They need not be
        those that a model was fitted on: the raw rows of a pipeline are easier to read.
    image_shape : tuple of three ints or None, default=None
        (channels, height, width), if the rows are images. Images have one channel, or three for
        red, green and blue. None: the rows are the lines of a table.

    Attributes
    ----------
    frame : DataFrame
        That was passed.
    X : array-like or dataframe
        That was passed.
    image_shape : tuple of three ints or None
        That was passed.
    axes_ : ndarray of matplotlib Axes
        One for each image, or one for the table.
    figure_ : matplotlib Figure

    See Also
    --------
    InformationDisplay : Which part of the labels corrections restore during training.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_kd import SelfDistillClassifier, TwoLayerPGDClassifier
    >>> from sklearn_kd.datasets import add_label_noise
    >>> from sklearn_kd.inspection import LabelErrorDisplay
    >>> X, y = load_digits(n_class=4, return_X_y=True)
    >>> noisy = add_label_noise(y, 0.1, random_state=0)
    >>> network = TwoLayerPGDClassifier(width=32, n_init=1, encoder=None)
    >>> model = SelfDistillClassifier(network, random_state=0).fit(X, noisy.y)
    >>> display = LabelErrorDisplay.from_estimator(
    ...     model, X, noisy.y, cv="in-sample", image_shape=(1, 8, 8)
    ... )
    >>> display = display.plot(start=20)  # the next page
    >>> page = display.page(start=20)
    >>> bool(noisy.is_wrong[page["row"]].mean() > 0.8)
    True
    """

    __module__ = "sklearn_kd.inspection"

    def __init__(self, *, frame, X, image_shape=None):
        self.frame = frame
        self.X = X
        self.image_shape = image_shape

    @classmethod
    @numpy_inputs
    def from_estimator(  # noqa: PLR0913
        cls,
        estimator,
        X,
        y,
        *,
        cv=None,
        groups=None,
        sample_weight=None,
        n_jobs=None,
        image_shape=None,
        n_rows=20,
        start=0,
        columns=None,
        ax=None,
    ):
        """Rank the labels by a classifier, and plot a page of the most suspicious ones.

        Parameters
        ----------
        estimator : SelfDistillClassifier
            Its method ``find_label_errors`` ranks the labels. Only ``cv="in-sample"`` needs it
            fitted.
        X : array-like or dataframe of shape (n_samples, n_features)
            Rows as the estimator takes them.
        y : array-like of shape (n_samples,)
            Labels, some of which are wrong.
        cv, groups, sample_weight, n_jobs
            As for :meth:`~sklearn_kd.SelfDistillClassifier.find_label_errors`. The default fits
            five copies of the estimator.
        image_shape : tuple of three ints or None, default=None
            As for the class. None: the ``image_shape`` of a
            :class:`~sklearn_kd.ModuleClassifier` inside the estimator, if it has one.
        n_rows, start, columns, ax
            As for :meth:`plot`.

        Returns
        -------
        display : LabelErrorDisplay

        Raises
        ------
        ImportError
            Before any fit, if matplotlib is not installed.
        TypeError
            If the estimator does not rank labels. For a pipeline, rank the labels by its last step
            and pass them to :meth:`from_errors`.
        ValueError
            As by :meth:`plot`, before any fit, and by ``find_label_errors``.
        """
        if ax is None:
            pyplot(cls.__name__)
        if not hasattr(estimator, "find_label_errors"):
            raise TypeError(
                f"{cls.__name__} ranks labels by a SelfDistillClassifier, got a "
                f"{type(estimator).__name__}. For a pipeline, pass what the find_label_errors of "
                "its last step returns, and the raw rows, to from_errors."
            )
        if image_shape is None:
            image_shape = getattr(estimator.estimator, "image_shape", None)
        _check_page(n_rows, start, num_samples(X))
        _check_view(X, image_shape, columns)
        options = {"cv": cv, "groups": groups, "sample_weight": sample_weight, "n_jobs": n_jobs}
        errors = estimator.find_label_errors(X, y, **options)
        display = cls(frame=errors, X=X, image_shape=image_shape)
        return display.plot(ax, n_rows=n_rows, start=start, columns=columns)

    @classmethod
    @numpy_inputs
    def from_errors(cls, errors, X, *, image_shape=None, n_rows=20, start=0, columns=None, ax=None):
        """Plot a page of labels that have been ranked already.

        Parameters
        ----------
        errors : DataFrame
            The result of ``find_label_errors``, or some of its lines, such as those of one class.
        X : array-like or dataframe of shape (n_samples, n_features)
            The rows, as for the class.
        image_shape : tuple of three ints or None, default=None
            As for the class.
        n_rows, start, columns, ax
            As for :meth:`plot`.

        Returns
        -------
        display : LabelErrorDisplay

        Raises
        ------
        ValueError
            As by :meth:`plot`.
        """
        display = cls(frame=errors, X=X, image_shape=image_shape)
        return display.plot(ax, n_rows=n_rows, start=start, columns=columns)

    def page(self, *, n_rows=20, start=0, columns=None):
        """Return a page of the ranking with the cells of its rows, as a DataFrame.

        Parameters
        ----------
        n_rows : int, default=20
            Number of rows. The last page may have fewer.
        start : int, default=0
            Place of the first one in the ranking.
        columns : list or None, default=None
            Labels of columns of X, which for an array are their numbers. None: all columns.

        Returns
        -------
        page : DataFrame of shape (n_rows, 4 + n_columns)
            Lines of ``frame`` with its four columns, and beside them columns of X.

        Raises
        ------
        ValueError
            For a page behind the end, a column that X does not have, or a row that is not in X.
        """
        import pandas as pd

        check_columns(self.frame, COLUMNS)
        _check_page(n_rows, start, len(self.frame))
        lines = self.frame[COLUMNS].iloc[start : start + n_rows]
        cells = _cells(self._rows(lines), columns)
        return pd.concat([lines, cells.set_axis(lines.index)], axis=1)

    def plot(self, ax=None, *, n_rows=20, start=0, columns=None):
        """Draw a page of the ranking.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. Images share its place in the figure. None: a new figure.
        n_rows : int, default=20
            Number of rows. The last page may have fewer.
        start : int, default=0
            Place of the first one in the ranking: 20 for the second page of 20 rows.
        columns : list or None, default=None
            Labels of the columns of X that a table shows. None: the first eight. Images have none.

        Returns
        -------
        display : LabelErrorDisplay
            The display, with the attributes of what was drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            For a page behind the end, a column that X does not have, a row that is not in X, or
            rows that are no images of ``image_shape``.
        """
        check_columns(self.frame, COLUMNS)
        _check_page(n_rows, start, len(self.frame))
        _check_view(self.X, self.image_shape, columns)
        if self.image_shape is None:
            self.axes_ = np.array([self._plot_table(ax, n_rows, start, columns)], dtype=object)
        else:
            self.axes_ = self._plot_images(ax, self.frame.iloc[start : start + n_rows], start)
        self.figure_ = self.axes_[0].figure
        return self

    def _rows(self, lines):
        """Return the rows of X of some lines of the frame."""
        rows = lines["row"].to_numpy()
        n_samples = num_samples(self.X)
        if rows.max() >= n_samples:
            raise ValueError(
                f"the ranking has row {rows.max()}, and X has {n_samples} rows: pass the rows that "
                "were ranked, all of them and in the same order."
            )
        return safe_indexing(self.X, rows)

    def _names(self, rows):
        """Return the index of rows of a pandas DataFrame, else their positions."""
        return self.X.index[rows] if hasattr(self.X, "iloc") else rows

    def _title(self, n_shown, start):
        return (
            f"Labels {start + 1} to {start + n_shown} of {len(self.frame)}, most suspicious first"
        )

    def _plot_images(self, ax, lines, start):
        images = np.asarray(_dense(self._rows(lines)), dtype=np.float64)
        images = images.reshape(len(lines), *self.image_shape).transpose(0, 2, 3, 1)
        lowest, highest = images.min(), images.max()
        images = (images - lowest) / ((highest - lowest) or 1.0)
        n_wide = math.ceil(math.sqrt(1.25 * len(lines)))
        n_high = math.ceil(len(lines) / n_wide)
        if ax is None:
            size = (n_wide * IMAGE_SIZE[0], n_high * IMAGE_SIZE[1] + 0.5)
            figure = pyplot(type(self).__name__).figure(figsize=size, layout="constrained")
            axes = figure.subplots(n_high, n_wide, squeeze=False).ravel()
            figure.suptitle(self._title(len(lines), start), fontsize="medium")
        else:
            place = ax.get_subplotspec()
            if place is None:
                raise ValueError(
                    "ax is not part of a grid, so that images cannot share its place: make it with "
                    "subplots."
                )
            ax.set_axis_off()
            ax.set_title(self._title(len(lines), start))
            axes = place.subgridspec(n_high, n_wide).subplots(squeeze=False).ravel()
        for each in axes:
            each.set_axis_off()
        names = self._names(lines["row"].to_numpy())
        for each, image, name, line in zip(axes, images, names, lines.itertuples(), strict=False):
            pixels = image if image.shape[2] == 3 else image[..., 0]
            each.imshow(pixels, cmap="gray", vmin=0, vmax=1)
            each.set_title(
                f"row {name}\ngiven {line.given_label}\nsuggested {line.suggested_label}\n"
                f"quality {line.label_quality:.2g}",
                fontsize="x-small",
                parse_math=False,  # dollar signs may be prices
            )
        return axes[: len(lines)]

    def _plot_table(self, ax, n_rows, start, columns):
        page = self.page(n_rows=n_rows, start=start, columns=columns)
        n_cells = page.shape[1] - len(COLUMNS)
        title = self._title(len(page), start)
        if columns is None and n_cells > N_COLUMNS:
            title += f", {N_COLUMNS} of {n_cells} columns"
            page = page.iloc[:, : len(COLUMNS) + N_COLUMNS]
        heads = ["row", "given", "suggested", "quality", *page.columns[len(COLUMNS) :]]
        names = self._names(page.iloc[:, 0].to_numpy())  # X may have a column "row" too
        cells = [
            [_cell(value) for value in (name, *line[1:])]
            for name, line in zip(names, page.itertuples(index=False, name=None), strict=True)
        ]
        if ax is None:
            size = (len(heads) * WIDTH_OF_CELL, (len(page) + 3) * LINE_HEIGHT)
            options = {"figsize": size, "layout": "constrained"}
            ax = pyplot(type(self).__name__).subplots(**options)[1]
        ax.set_axis_off()
        ax.set_title(title, fontsize="medium")
        drawn = ax.table(cellText=cells, colLabels=[_cell(head) for head in heads], loc="center")
        for cell in drawn.get_celld().values():
            cell.get_text().set_parse_math(False)  # dollar signs may be prices
        drawn.auto_set_font_size(False)
        drawn.set_fontsize("small")
        drawn.auto_set_column_width(range(len(heads)))
        return ax


def _check_page(n_rows, start, n_samples):
    check_scalar(n_rows, "n_rows", Integral, min_val=1)
    check_scalar(start, "start", Integral, min_val=0)
    if start >= n_samples:
        raise ValueError(f"start={start} is behind the last of {n_samples} rows of the ranking.")


def _check_view(X, image_shape, columns):
    """Raise ValueError if rows of X cannot be shown as images, or as a table of these columns."""
    first = safe_indexing(X, [0])
    if image_shape is None:
        _cells(first, columns)
        return
    if columns is not None:
        raise ValueError("images have no columns: leave out columns, or image_shape.")
    if len(image_shape) != 3 or image_shape[0] not in (1, 3):
        raise ValueError(
            "image_shape must be (channels, height, width) with one channel, or three for red, "
            f"green and blue, got {image_shape}."
        )
    n_values = np.asarray(_dense(first)).size
    if n_values != math.prod(image_shape):
        raise ValueError(
            f"a row of X has {n_values} values, and an image of image_shape={image_shape} has "
            f"{math.prod(image_shape)}."
        )


def _cells(rows, columns):
    """Return columns (None: all) of rows in any container as a DataFrame."""
    import pandas as pd

    if is_dataframe(rows):
        cells = as_pandas(rows)
    else:
        rows = np.asarray(_dense(rows))
        if rows.ndim > 2:
            raise ValueError(
                f"rows of shape {rows.shape[1:]} are no lines of a table: pass image_shape."
            )
        cells = pd.DataFrame(rows)
    unknown = [] if columns is None else [column for column in columns if column not in cells]
    if unknown:
        raise ValueError(f"X has no columns {unknown}, only {cells.columns.tolist()}.")
    return cells if columns is None else cells[list(columns)]


def _dense(rows):
    """Return rows as an array if they are a sparse matrix, else as they are."""
    return rows.toarray() if hasattr(rows, "toarray") else rows


def _cell(value):
    """Return what a table shows of a value."""
    if isinstance(value, float | np.floating):
        # whole numbers and large ones without an exponent
        is_whole = value.is_integer() or abs(value) >= 1000
        return f"{value:.0f}" if is_whole and abs(value) < 1e9 else f"{value:.3g}"
    text = " ".join(str(value).split())  # in one line
    return text if len(text) <= CELL_WIDTH else f"{text[: CELL_WIDTH - 3]}..."

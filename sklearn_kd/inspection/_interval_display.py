"""Private implementation of :class:`sklearn_kd.inspection.IntervalDisplay`."""

from numbers import Integral, Real

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import check_consistent_length, check_scalar, column_or_1d
from sklearn.utils.validation import check_is_fitted

from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.containers import own_copy
from sklearn_kd._utils.regression_targets import check_numbers
from sklearn_kd._utils.validation import validate_sample_weight
from sklearn_kd.inspection._plotting import (
    binned_means,
    check_columns,
    pyplot,
    quantile_edges,
)

COLUMNS = ["target", "prediction", "lower", "upper", "weight"]


class IntervalDisplay:
    """Prediction intervals of a regressor and the targets, row by row.

    Rows are in the order of their prediction. A vertical line is the interval of a row, and a point
    its target, red if it is outside of the interval. The title has the share of targets inside.

    Use :meth:`from_estimator` or :meth:`from_predictions` to create a display. The constructor
    takes the frame of an existing display.

    Parameters
    ----------
    frame : DataFrame
        One line for each row, with the columns of the attribute ``frame``.
    nominal : float, default=None
        Coverage that the intervals are made for, which the title states.

    Attributes
    ----------
    frame : DataFrame of shape (n_samples, 5)
        Columns ``target``, ``prediction``, ``lower``, ``upper`` and ``weight``.
    nominal : float or None
        The value that was passed.
    coverage_ : float
        Share of the targets that are inside, ends included.
    mean_width_ : float
        Mean of ``upper - lower``, in units of y.
    bins_ : DataFrame of shape (n_filled_bins, 5)
        Coverage of narrow and of wide intervals: ``lower`` and ``upper`` (ends of a bin of widths,
        each of about as many rows), ``n_rows``, and the means ``width`` and ``coverage``. Intervals
        whose width tells where predictions are uncertain have about the same coverage in all bins.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    intervals_ : matplotlib LineCollection
    lines_ : list of matplotlib Line2D
        The predictions.
    points_ : list of matplotlib PathCollection
        Targets inside, and targets outside. Empty collections are left out.

    See Also
    --------
    sklearn.metrics.mean_pinball_loss : Loss of one quantile.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn_kd import KernelTeacherRegressor
    >>> from sklearn_kd.inspection import IntervalDisplay
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = KernelTeacherRegressor().fit(X[::2], y[::2])
    >>> display = IntervalDisplay.from_estimator(model, X[1::2], y[1::2], coverage=0.8)
    >>> bool(0.7 < display.coverage_ < 0.9)
    True
    """

    __module__ = "sklearn_kd.inspection"

    def __init__(self, *, frame, nominal=None):
        self.frame = frame
        self.nominal = nominal

    @classmethod
    @numpy_inputs
    def from_estimator(  # noqa: PLR0913
        cls,
        estimator,
        X,
        y,
        *,
        coverage=None,
        sample_weight=None,
        n_bins=5,
        max_rows=200,
        ax=None,
        scatter_kw=None,
        line_kw=None,
    ):
        """Predict intervals with a fitted regressor, and plot them.

        Parameters
        ----------
        estimator : regressor
            Fitted, with ``predict_quantiles`` and ``quantiles_``, such as a
            :class:`~sklearn_kd.DistilledRegressor` or
            :class:`~sklearn_kd.TwoLayerPGDRegressor` that has learned quantiles, or with
            ``predict_interval``, such as :class:`~sklearn_kd.KernelTeacherRegressor`. It may be
            the last step of a pipeline, or have been found by a search.
        X : array-like or dataframe of shape (n_samples, n_features)
            Rows on which the estimator was not fitted.
        y : array-like of shape (n_samples,)
            Their targets.
        coverage : float, default=None
            Of ``predict_interval``, and between the two quantiles that are drawn. None: that
            between the lowest and the highest quantile, and 0.9 for ``predict_interval``.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows. None: equal weights.
        n_bins, max_rows, ax, scatter_kw, line_kw
            As for :meth:`plot`.

        Returns
        -------
        display : IntervalDisplay

        Raises
        ------
        TypeError
            If the estimator predicts neither quantiles nor intervals.
        ValueError
            If no two quantiles of the estimator have this coverage between them.
        """
        check_is_fitted(estimator)
        check_consistent_length(X, y, sample_weight)
        lower, upper, nominal = _ends(estimator, own_copy(X), coverage)
        options = {"coverage": nominal, "sample_weight": sample_weight, "n_bins": n_bins}
        options |= {"max_rows": max_rows, "ax": ax, "scatter_kw": scatter_kw, "line_kw": line_kw}
        return cls.from_predictions(y, lower, upper, estimator.predict(X), **options)

    @classmethod
    @numpy_inputs
    def from_predictions(  # noqa: PLR0913
        cls,
        y,
        lower,
        upper,
        prediction=None,
        *,
        coverage=None,
        sample_weight=None,
        n_bins=5,
        max_rows=200,
        ax=None,
        scatter_kw=None,
        line_kw=None,
    ):
        """Plot given intervals.

        Parameters
        ----------
        y, lower, upper : array-like of shape (n_samples,)
            Targets and the ends of the intervals.
        prediction : array-like of shape (n_samples,), default=None
            What orders the rows. None: the middles of the intervals.
        coverage : float, default=None
            Coverage that the intervals are made for.
        sample_weight, n_bins, max_rows, ax, scatter_kw, line_kw
            As for :meth:`from_estimator`.

        Returns
        -------
        display : IntervalDisplay

        Raises
        ------
        ValueError
            If shapes differ, or a lower end is above its upper end.

        Examples
        --------
        >>> from sklearn_kd.inspection import IntervalDisplay
        >>> display = IntervalDisplay.from_predictions([1, 2, 3, 4], [0] * 4, [3] * 4)
        >>> display.coverage_, display.mean_width_
        (0.75, 3.0)
        """
        import pandas as pd

        given = {"target": y, "prediction": prediction, "lower": lower, "upper": upper}
        columns = {
            name: column_or_1d(check_numbers(values, name))
            for name, values in given.items()
            if values is not None
        }
        check_consistent_length(*columns.values())
        if (columns["lower"] > columns["upper"]).any():
            raise ValueError("lower must not be above upper in any row.")
        columns.setdefault("prediction", (columns["lower"] + columns["upper"]) / 2)
        columns["weight"] = validate_sample_weight(sample_weight, columns["target"])
        display = cls(frame=pd.DataFrame(columns)[COLUMNS], nominal=coverage)
        return display.plot(
            ax, n_bins=n_bins, max_rows=max_rows, scatter_kw=scatter_kw, line_kw=line_kw
        )

    def plot(self, ax=None, *, n_bins=5, max_rows=200, scatter_kw=None, line_kw=None):
        """Draw intervals and targets in the order of the predictions.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None: a new figure.
        n_bins : int, default=5
            Number of bins of widths in ``bins_``.
        max_rows : int, default=200
            Number of rows that are drawn, spread evenly over their order. The coverage is that of
            all rows.
        scatter_kw, line_kw : dict, default=None
            Keyword arguments of ``ax.scatter`` for targets, and of ``ax.plot`` for predictions.

        Returns
        -------
        display : IntervalDisplay
            The display, with the attributes of what was drawn.
        """
        check_scalar(n_bins, "n_bins", Integral, min_val=1)
        check_scalar(max_rows, "max_rows", Integral, min_val=1)
        check_columns(self.frame, COLUMNS)
        if not len(self.frame):
            raise ValueError("the frame has no line.")
        if ax is None:
            _, ax = pyplot(type(self).__name__).subplots(layout="constrained")

        frame, weight = self.frame, self.frame["weight"].to_numpy(dtype=float)
        is_inside = frame["target"].between(frame["lower"], frame["upper"]).to_numpy()
        width = (frame["upper"] - frame["lower"]).to_numpy(dtype=float)
        self.coverage_ = float(np.average(is_inside, weights=weight))
        self.mean_width_ = float(np.average(width, weights=weight))
        edges = quantile_edges(width, weight, int(n_bins))
        means = {"width": width, "coverage": is_inside}
        self.bins_ = binned_means(width, edges, means, weight)

        order = np.argsort(frame["prediction"].to_numpy(), kind="stable")
        n_shown = min(len(order), int(max_rows))
        rows = order[np.linspace(0, len(order) - 1, n_shown).astype(int)]
        shown, places = frame.iloc[rows], np.arange(n_shown)
        style = {"color": "C0", "alpha": 0.3, "label": "interval"}
        self.intervals_ = ax.vlines(places, shown["lower"], shown["upper"], **style)
        style = {"color": "black", "linewidth": 1, "label": "prediction", **(line_kw or {})}
        self.lines_, self.points_ = ax.plot(places, shown["prediction"], **style), []
        for chosen, color, text in (
            (is_inside[rows], "C0", "target inside"),
            (~is_inside[rows], "C3", "target outside"),
        ):
            if chosen.any():
                style = {"s": 8, "color": color, "label": text, "zorder": 3, **(scatter_kw or {})}
                points = ax.scatter(places[chosen], shown["target"][chosen], **style)
                self.points_.append(points)
        nominal = "" if self.nominal is None else f" (nominal {self.nominal:.3g})"
        ax.set_title(f"coverage {self.coverage_:.3f}{nominal}, mean width {self.mean_width_:.4g}")
        some = "" if n_shown == len(frame) else f", {n_shown} of {len(frame):,}"
        ax.set_xlabel(f"Rows in the order of their prediction{some}")
        ax.set_ylabel("Target")
        ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _ends(estimator, X, coverage):
    """Return the ends of the intervals of a fitted regressor, and their nominal coverage."""
    if coverage is not None:
        options = {"min_val": 0, "max_val": 1, "include_boundaries": "neither"}
        check_scalar(coverage, "coverage", Real, **options)
    if isinstance(estimator, FrozenEstimator):
        return _ends(estimator.estimator, X, coverage)
    if hasattr(estimator, "best_estimator_"):  # a search
        return _ends(estimator.best_estimator_, X, coverage)
    if isinstance(estimator, Pipeline):  # which passes neither method on
        if len(estimator.steps) > 1:
            X = estimator[:-1].transform(X)
        return _ends(estimator.steps[-1][1], X, coverage)
    levels = getattr(estimator, "quantiles_", None)
    if hasattr(estimator, "predict_quantiles") and levels is not None:
        low, high = _outer_pair(np.asarray(levels, dtype=np.float64), coverage)
        quantiles = _of_one_target(estimator.predict_quantiles(X))
        nominal = float(np.round(levels[high] - levels[low], 12))
        return quantiles[:, low], quantiles[:, high], nominal
    if hasattr(estimator, "predict_interval"):
        nominal = 0.9 if coverage is None else coverage
        ends = _of_one_target(estimator.predict_interval(X, coverage=nominal))
        return ends[:, 0], ends[:, 1], nominal
    raise TypeError(
        f"{type(estimator).__name__} predicts neither quantiles nor intervals: pass a "
        "regressor with predict_quantiles and quantiles_, or with predict_interval, or the ends of "
        "intervals to IntervalDisplay.from_predictions."
    )


def _of_one_target(values):
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(
            "the estimator predicts several targets: pass the intervals of one of them to "
            "IntervalDisplay.from_predictions."
        )
    return values


def _outer_pair(levels, coverage):
    """Return the positions of the two levels with a coverage between them, the outer by default."""
    if coverage is None:
        if len(levels) < 2:
            raise ValueError(f"an interval needs two quantiles, and there is {levels.tolist()}.")
        return 0, len(levels) - 1
    pairs = [(low, high) for high in range(len(levels)) for low in range(high)]
    fits = [pair for pair in pairs if np.isclose(levels[pair[1]] - levels[pair[0]], coverage)]
    if not fits:
        raise ValueError(
            f"no two of the quantiles {levels.tolist()} have a coverage of {coverage:g} between "
            "them: fit others, or leave coverage out."
        )
    # of several, the one nearest to equal tails
    return min(fits, key=lambda pair: abs(levels[pair[0]] + levels[pair[1]] - 1))
